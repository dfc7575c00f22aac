//! A city with a subscriber, over a log that is watched.

use std::{path::Path, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;

use super::super::{Batch, Delivery, Event, Open, Options, Stream};
use crate::{
    exchange::{
        Error,
        catalogue::{
            Command, FieldGrant, RowCondition, Start, Treatment,
            command::{GrantChange, GrantRef, NewGrant, NewSubscription, SubscriptionChange},
            fixtures::{new_grant, new_subscription, system},
        },
        clock::Clock,
        fixtures::{City, DATASET, OWNER, Watched},
        identity::Identity,
        model::{Operation, Position},
        publishing::NewRecord,
    },
    log::Topic,
};

pub(crate) const SUBSCRIPTION: &str = "taxation.sample";
pub(crate) const GRANT: &str = "market-supervision.shows-sample";

/// The city, with delivery.
pub(crate) struct House {
    pub(crate) city: City,
    pub(crate) log: Arc<Watched>,
    pub(crate) delivery: Arc<Delivery>,
}

pub(crate) fn options() -> Options {
    Options {
        check_interval: Duration::from_millis(20),
        cursor_delay: Duration::from_millis(20),
        ..Options::new("test")
    }
}

pub(crate) fn topic() -> Topic {
    Topic::dataset("test", &DATASET.parse().unwrap())
}

pub(crate) fn taxation() -> Arc<Identity> {
    Arc::new(system("taxation"))
}

impl House {
    pub(crate) async fn open(directory: &Path) -> Self {
        Self::with(directory, options()).await
    }

    pub(crate) async fn with(directory: &Path, options: Options) -> Self {
        let clock = Clock::manual(1_000_000);
        let log = Arc::new(Watched::open(directory, clock.clone()));
        let city = City::on(log.clone(), directory, clock).await;
        let delivery = Delivery::open(
            city.log.clone(),
            city.catalogue.clone(),
            city.audit.clone(),
            city.view.clone(),
            options,
            city.clock.clone(),
            &city.tasks,
        );
        let delivery = delivery.await.expect("delivery opens");
        Self { city, log, delivery }
    }

    /// With a grant of everything to taxation, and its subscription from the beginning.
    pub(crate) async fn granted(directory: &Path) -> Self {
        let house = Self::open(directory).await;
        house.grant(new_grant(GRANT, DATASET, "taxation")).await;
        house.subscription(new_subscription(SUBSCRIPTION, DATASET)).await;
        house
    }

    pub(crate) async fn grant(&self, grant: NewGrant) {
        self.city.command(&system(OWNER), Command::CreateGrant(grant)).await;
    }

    pub(crate) async fn subscription(&self, subscription: NewSubscription) {
        self.city.command(&taxation(), Command::CreateSubscription(subscription)).await;
    }

    pub(crate) async fn revoke(&self) {
        let expected = self.city.catalogue.snapshot().grant(GRANT).unwrap().version;
        let id = GRANT.parse().unwrap();
        self.city.command(&system(OWNER), Command::RevokeGrant(GrantRef { id, expected })).await;
    }

    /// Leaves of the grant only these fields.
    pub(crate) async fn narrow(&self, fields: &[&str]) {
        self.change_grant(|change| change.fields = clear(fields)).await;
    }

    pub(crate) async fn change_grant(&self, what: impl FnOnce(&mut GrantChange)) {
        let old = self.city.catalogue.snapshot().grant(GRANT).unwrap().clone();
        let mut change = GrantChange {
            id: old.id.clone(),
            expected: old.version,
            fields: old.fields.clone(),
            rows: old.rows.clone(),
            purpose: old.purpose.clone(),
            legal_basis: old.legal_basis.clone(),
            start_ms: old.start_ms,
            end_ms: old.end_ms,
        };
        what(&mut change);
        self.city.command(&system(OWNER), Command::UpdateGrant(change)).await;
    }

    pub(crate) async fn seek(&self, seek: Start) {
        self.try_seek(seek).await.expect("is sought");
    }

    pub(crate) async fn try_seek(&self, seek: Start) -> Result<(), Error> {
        let old = self.city.catalogue.snapshot().subscription(SUBSCRIPTION).unwrap().clone();
        let change = SubscriptionChange {
            id: old.id.clone(),
            expected: old.version,
            filter: old.filter.clone(),
            purpose: old.purpose.clone(),
            seek: Some(seek),
        };
        self.city.catalogue.execute(&taxation(), Command::UpdateSubscription(change)).await.map(drop)
    }

    pub(crate) async fn publish(&self, records: Vec<NewRecord>) {
        let mut session = self.city.session().await;
        for records in records.chunks(1_000) {
            self.city.publish(&mut session, records.to_vec()).await;
        }
    }

    pub(crate) async fn try_stream(&self, id: &str, credit: u32, held: Vec<Position>) -> Result<Stream, Error> {
        self.delivery.subscribe(&taxation(), Open { subscription: id.into(), held, credit }).await
    }

    pub(crate) async fn stream(&self, credit: u32) -> Stream {
        self.try_stream(SUBSCRIPTION, credit, Vec::new()).await.expect("the stream opens")
    }

    /// The durable cursor of the subscription.
    pub(crate) fn cursor(&self) -> Vec<u64> {
        let snapshot = self.city.catalogue.snapshot();
        let subscription = snapshot.subscription(SUBSCRIPTION).expect("it is there");
        self.delivery.cursor(subscription).iter().map(|position| position.offset).collect()
    }

    /// How many readers were opened on the dataset so far.
    pub(crate) fn readers(&self) -> usize {
        self.log.readers(&topic())
    }

    /// The entries of the trail with an action, as JSON.
    pub(crate) async fn trail(&self, action: &str) -> Vec<serde_json::Value> {
        let page =
            self.city.audit.list(&crate::exchange::audit::Query::default()).await.expect("the trail is readable");
        let entries = page.lines.iter().map(|line| serde_json::from_slice(&line.canonical).expect("an entry"));
        entries.filter(|entry: &serde_json::Value| entry["action"] == action).collect()
    }

    pub(crate) async fn close(self) {
        self.city.close().await;
    }
}

pub(crate) fn clear(fields: &[&str]) -> Vec<FieldGrant> {
    fields.iter().map(|path| FieldGrant { path: (*path).into(), treatment: Treatment::Clear }).collect()
}

pub(crate) fn region(value: &str) -> RowCondition {
    RowCondition { field: "region".into(), values: vec![value.into()] }
}

/// The next batch, passing over moves of the cursor.
pub(crate) async fn batch(stream: &mut Stream) -> Batch {
    let next = async {
        loop {
            if let Event::Batch(batch) = stream.next().await.expect("the stream goes on") {
                return batch;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), next).await.expect("a batch comes")
}

/// At least so many records.
pub(crate) async fn records(stream: &mut Stream, count: usize) -> Vec<super::super::Delivered> {
    let mut records = Vec::new();
    while records.len() < count {
        records.extend(batch(stream).await.records);
    }
    records
}

/// No batch comes for a while.
pub(crate) async fn nothing(stream: &mut Stream) {
    let next = async {
        loop {
            if let Event::Batch(batch) = stream.next().await.expect("the stream goes on") {
                return batch;
            }
        }
    };
    if let Ok(batch) = tokio::time::timeout(Duration::from_millis(200), next).await {
        panic!("{} records came", batch.records.len());
    }
}

/// How the stream ends.
pub(crate) async fn end(stream: &mut Stream) -> Error {
    let next = async {
        loop {
            match stream.next().await {
                Ok(Event::Batch(batch)) => panic!("{} records came", batch.records.len()),
                Ok(Event::CursorMoved(_)) => {}
                Err(error) => return error,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), next).await.expect("the stream ends")
}

/// Sequence and operation of each, in order of sequence.
pub(crate) fn told(records: &[super::super::Delivered]) -> Vec<(u64, Operation)> {
    let mut told: Vec<_> =
        records.iter().map(|one| (one.record().expect("a record").sequence, one.operation())).collect();
    told.sort_unstable_by_key(|(sequence, _)| *sequence);
    told
}

pub(crate) fn sequences(records: &[super::super::Delivered]) -> Vec<u64> {
    told(records).into_iter().map(|(sequence, _)| sequence).collect()
}

pub(crate) fn places(records: &[super::super::Delivered]) -> Vec<Position> {
    records.iter().map(|one| one.position()).collect()
}

/// The value of the first metric whose line begins so; 0 where nothing was counted yet.
pub(crate) fn measured(registry: &Registry, begins: &str) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let line = text.lines().find(|line| line.starts_with(begins));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0, |value| value.parse().unwrap())
}
