//! Queries over a real embedded log, catalogue, view and trail.

mod answers;
mod pages;
mod record;
mod rights;

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::exchange::{
    audit,
    catalogue::{
        Command, FieldGrant, Treatment,
        command::{GrantRef, NewGrant},
        fixtures::{new_grant, system},
    },
    fixtures::{City, DATASET, OWNER, delete, upsert},
    publishing::{Batch, Fate, NewRecord},
};

const SAMPLE: &str = "sample/v1";

/// A city with queries.
struct Desk {
    city: City,
    query: Query,
    _directory: TempDir,
}

impl Desk {
    async fn open() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let city = City::open(directory.path()).await;
        let mut options = Options::new(PageKey::new(&[4; 32]));
        change(&mut options);
        let (catalogue, audit, view) = (city.catalogue.clone(), city.audit.clone(), city.view.clone());
        let query = Query::new(catalogue, audit, view, options, city.clock.clone());
        Self { city, query, _directory: directory }
    }

    /// Publishes as the dataset's owner; the positions of what was accepted.
    async fn publish(&self, dataset: &str, record_type: &str, records: Vec<NewRecord>) -> Vec<Position> {
        let owner = dataset.split('.').next().unwrap();
        let mut session = self.city.publisher.open(&Arc::new(system(owner)), dataset, "").await.unwrap();
        let batch = Batch { batch_id: 1, record_type: record_type.into(), records };
        let answer = session.submit(batch).await.unwrap().await.unwrap().unwrap();
        let position = |(_, fate): &(u64, Fate)| match fate {
            Fate::Accepted { position, .. } => *position,
            other => panic!("not accepted: {other:?}"),
        };
        answer.results.iter().map(position).collect()
    }

    /// As [`Desk::publish`], and waits until queries see it.
    async fn held(&self, dataset: &str, record_type: &str, records: Vec<NewRecord>) -> Vec<Position> {
        let positions = self.publish(dataset, record_type, records).await;
        let until: Vec<_> = positions.iter().map(|at| (at.partition, at.offset + 1)).collect();
        self.city.view.wait_applied(&dataset.parse().unwrap(), &until, Duration::from_secs(10)).await.unwrap();
        positions
    }

    async fn command(&self, department: &str, command: Command) {
        self.city.command(&system(department), command).await;
    }

    /// Grants the taxation office fields of the dataset.
    async fn grant(&self, dataset: &str, fields: &[(&str, Treatment)], rows: &[(&str, &str)]) {
        let fields = fields.iter().map(|(path, treatment)| FieldGrant { path: (*path).into(), treatment: *treatment });
        let grant =
            NewGrant { fields: fields.collect(), rows: conditions(rows), ..new_grant(dataset, dataset, "taxation") };
        self.command(dataset.split('.').next().unwrap(), Command::CreateGrant(grant)).await;
    }

    async fn revoke(&self, dataset: &str) {
        let id: crate::exchange::model::GrantId = dataset.parse().unwrap();
        let expected = self.city.catalogue.snapshot().grant(id.as_str()).unwrap().version;
        self.command(dataset.split('.').next().unwrap(), Command::RevokeGrant(GrantRef { id, expected })).await;
    }

    /// The trail of queries, oldest first.
    async fn trail(&self) -> Vec<Value> {
        let page = self.city.audit.list(&audit::Query::default()).await.unwrap();
        let entries = page.lines.iter().map(|line| serde_json::from_slice::<Value>(&line.canonical).unwrap());
        entries.filter(|entry| entry["action"] != "publish" && entry["action"] != "catalogue_change").collect()
    }

    async fn get(&self, department: &str, dataset: &str, key: &str) -> Result<Shown, Error> {
        self.query.get(&system(department), &question(dataset), key).await
    }

    async fn list(&self, department: &str, filter: &[(&str, &str)], paging: Paging) -> Result<Page, Error> {
        self.query.list(&system(department), &question(DATASET), &conditions(filter), &paging).await
    }

    async fn compare(&self, key: &str, fields: &[(&str, &str)]) -> Result<Vec<bool>, Error> {
        let fields: Vec<_> =
            fields.iter().map(|(path, value)| Compared { path: (*path).into(), value: (*value).into() }).collect();
        self.query.compare(&system("taxation"), &question(DATASET), key, &fields).await
    }

    async fn subject(&self, department: &str, kind: &str, value: &str, paging: Paging) -> Result<Page, Error> {
        self.query.by_subject(&system(department), "核查", (kind, value), &paging).await
    }

    async fn close(self) {
        drop(self.query);
        self.city.close().await;
    }
}

fn question(dataset: &str) -> Question {
    Question { dataset: dataset.into(), purpose: "核查".into(), at_least: Vec::new() }
}

/// Several values of one field are separated by commas.
fn conditions(rows: &[(&str, &str)]) -> Vec<RowCondition> {
    let condition = |(field, values): &(&str, &str)| RowCondition {
        field: (*field).into(),
        values: values.split(',').map(str::to_owned).collect(),
    };
    rows.iter().map(condition).collect()
}

fn page(size: u32) -> Paging {
    Paging { size, token: String::new() }
}

fn keys(page: &Page) -> Vec<&str> {
    page.records.iter().map(|shown| &*shown.record.key).collect()
}

fn payload(shown: &Shown) -> &str {
    std::str::from_utf8(&shown.record.payload).unwrap()
}

/// The error in one word; of violations each path and rule.
fn word<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result.unwrap_err() {
        Error::InvalidField(violations) => {
            violations.iter().map(|one| format!("{} {}", one.path, one.rule)).collect::<Vec<_>>().join(", ")
        }
        other => other.reason().into(),
    }
}
