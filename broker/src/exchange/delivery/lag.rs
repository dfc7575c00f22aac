//! How far each subscription is behind its dataset, whether anybody reads or not: who has stopped is who must be noticed.
//!
//! Each round asks the log once for the ends of every dataset that is subscribed to, a few at a time, and takes the rest from memory: the durable cursors, with what
//! is acknowledged and on its way there. A subscription that was never read is behind from its start. One whose cursor cannot be read has to be sought, and counts as
//! one that has read nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::{StreamExt, stream};
use tokio::time::MissedTickBehavior;

use super::Room;
use crate::{
    exchange::{
        Error,
        catalogue::{Dataset, Snapshot, Start, Subscription},
        model::SubscriptionId,
    },
    log::{self, Bounds},
};

/// Datasets of which the log is asked at once.
const AT_ONCE: usize = 4;

/// Measures until it is dropped.
pub(super) async fn watch(room: &Room) {
    let mut lags = Lags { room, shown: HashSet::new(), by_time: HashMap::new() };
    let mut changes = room.catalogue.changes();
    let mut ticks = tokio::time::interval(room.options.lag_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => lags.measure(&room.catalogue.snapshot()).await,
            changed = changes.changed() => if changed.is_err() { return },
        }
        // What was deleted while it was measured is gone as well.
        lags.forget(&room.catalogue.snapshot());
    }
}

/// Bounded by the subscriptions.
struct Lags<'a> {
    room: &'a Room,
    /// That have a series.
    shown: HashSet<SubscriptionId>,
    /// Where the start by time of a seek generation lies: the log need not search for it again.
    by_time: HashMap<SubscriptionId, (u64, Vec<u64>)>,
}

impl Lags<'_> {
    async fn measure(&mut self, snapshot: &Snapshot) {
        let subscribed: Vec<_> = snapshot
            .datasets()
            .filter(|dataset| snapshot.subscriptions_to(&dataset.id).next().is_some())
            .cloned()
            .collect();
        let room = self.room;
        let bounds_of = |dataset: Arc<Dataset>| async move {
            let bounds = room.log.bounds(&dataset.topic).await;
            (dataset, bounds)
        };
        let mut asked = stream::iter(subscribed).map(bounds_of).buffer_unordered(AT_ONCE);
        while let Some((dataset, bounds)) = asked.next().await {
            match self.measure_dataset(snapshot, &dataset, bounds).await {
                Ok(()) => {}
                // What was measured before stands: the log's own health is told elsewhere.
                Err(error) => tracing::debug!(dataset = %dataset.id, %error, "subscriptions are not measured now"),
            }
        }
    }

    async fn measure_dataset(
        &mut self,
        snapshot: &Snapshot,
        dataset: &Dataset,
        bounds: Result<Vec<Bounds>, log::Error>,
    ) -> Result<(), Error> {
        let bounds = bounds?;
        for subscription in snapshot.subscriptions_to(&dataset.id) {
            let cursor = match self.room.cursors.newest(subscription) {
                Ok(Some(cursor)) => cursor,
                Ok(None) => self.start(subscription, dataset, &bounds).await?,
                Err(_) => bounds.iter().map(|bounds| bounds.first).collect(),
            };
            let lag = bounds.iter().zip(&cursor).map(|(bounds, cursor)| bounds.next.saturating_sub(*cursor)).sum();
            self.room.metrics().lag(&subscription.id, lag);
            self.shown.insert(subscription.id.clone());
        }
        Ok(())
    }

    async fn start(
        &mut self,
        subscription: &Subscription,
        dataset: &Dataset,
        bounds: &[Bounds],
    ) -> Result<Vec<u64>, Error> {
        let generation = subscription.seek_generation;
        match self.by_time.get(&subscription.id) {
            Some((known, start)) if *known == generation => return Ok(start.clone()),
            _ => {}
        }
        let start = self.room.start(subscription, &dataset.topic, bounds).await?;
        // A time after the newest record is where the next one will be, wherever the log ends by then.
        let is_reached = start.iter().zip(bounds).all(|(start, bounds)| *start < bounds.next);
        if matches!(subscription.start, Start::Time(_)) && is_reached {
            self.by_time.insert(subscription.id.clone(), (generation, start.clone()));
        }
        Ok(start)
    }

    fn forget(&mut self, snapshot: &Snapshot) {
        let room = self.room;
        let is_there = |id: &SubscriptionId| snapshot.subscription(id.as_str()).is_some();
        self.by_time.retain(|id, _| is_there(id));
        self.shown.retain(|id| {
            let stays = is_there(id);
            if !stays {
                room.metrics().forget_lag(id);
            }
            stays
        });
    }
}
