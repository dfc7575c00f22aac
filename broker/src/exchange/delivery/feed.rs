//! The one reader at the end of a dataset's log, however many subscribe: it fills the [`Tail`] and waits for nobody.
//!
//! It runs while at least one stream of the dataset is open on this node.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Room,
    reading::{For, Reading},
    tail::Tail,
};
use crate::exchange::{Error, catalogue::Dataset, model::DatasetId};

/// Before the log is asked again after it did not answer.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Keeps the reader running. Shared by the streams of one dataset.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) tail: Arc<Tail>,
    _stop: DropGuard,
}

/// Held while the feed of a dataset opens: two streams that come at once share one, and those of other datasets do not wait.
type Place = tokio::sync::Mutex<Weak<Feed>>;

/// The feeds of one node. Dead ones go when the next one is made, so there are never more than datasets.
#[derive(Debug, Default)]
pub(super) struct Feeds(Mutex<HashMap<DatasetId, Arc<Place>>>);

impl Feeds {
    /// The feed of a dataset; begins at the log's end if nobody was reading there.
    pub(super) async fn of(&self, room: &Arc<Room>, dataset: &Arc<Dataset>) -> Result<Arc<Feed>, Error> {
        let place = self.place(&dataset.id);
        let mut held = place.lock().await;
        if let Some(feed) = held.upgrade()
            && feed.tail.failure().is_none()
        {
            return Ok(feed);
        }
        let feed = Arc::new(Feed::open(room.clone(), dataset.clone()).await?);
        *held = Arc::downgrade(&feed);
        Ok(feed)
    }

    fn place(&self, dataset: &DatasetId) -> Arc<Place> {
        let mut feeds = self.0.lock();
        if let Some(place) = feeds.get(dataset) {
            return place.clone();
        }
        // Who opens one holds its place as well.
        let is_needed = |place: &Arc<Place>| {
            Arc::strong_count(place) > 1 || place.try_lock().is_ok_and(|one| one.strong_count() > 0)
        };
        feeds.retain(|_, place| is_needed(place));
        feeds.entry(dataset.clone()).or_default().clone()
    }
}

impl Feed {
    async fn open(room: Arc<Room>, dataset: Arc<Dataset>) -> Result<Self, Error> {
        let next: Vec<_> = room.log.bounds(&dataset.topic).await?.iter().map(|bounds| bounds.next).collect();
        let tail = Arc::new(Tail::new(&next, room.options.tail_bytes_max, room.held.clone()));
        let from: Vec<_> = (0..).zip(next).collect();
        let mut reading = Reading::open(room.clone(), dataset.clone(), &from, For::Tail(tail.projected())).await?;
        let stop = room.tasks.token().child_token();
        let (filled, stopped) = (tail.clone(), stop.clone());
        // Every subscriber's, not the first one's.
        room.tasks.clone().spawn_apart("delivery-feed", async move {
            stopped.run_until_cancelled(fill(&room, &dataset, &mut reading, &filled)).await;
            room.metrics().tail_bytes(&dataset.id, 0);
        });
        Ok(Self { tail, _stop: CancellationToken::drop_guard(stop) })
    }
}

async fn fill(room: &Room, dataset: &Dataset, reading: &mut Reading, tail: &Tail) {
    loop {
        match reading.next().await {
            Ok(arrivals) => room.metrics().tail_bytes(&dataset.id, tail.push(arrivals)),
            Err(error @ (Error::LogUnavailable(_) | Error::DiskFull(_) | Error::ViewBehind)) => {
                tracing::warn!(dataset = %dataset.id, %error, "delivery waits for the log");
                tokio::time::sleep(RETRY_DELAY).await;
            }
            Err(error) => return tail.fail(error),
        }
    }
}
