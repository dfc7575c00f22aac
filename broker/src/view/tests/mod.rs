//! The view's promises: rows by hand (`apply`, `read`, `restate`), over a log (`opening`, `follow`), over one that has forgotten
//! (`compacted`), with damaged files (`damage`), and against a model (`model`).

mod apply;
mod compacted;
mod damage;
mod follow;
mod model;
mod opening;
mod read;
mod restate;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    Digest, Item, Reader, Tally, Target,
    apply::Applier,
    layout::Space,
    row::ROW_VERSION,
    store::{Found, Store},
};
use crate::{
    exchange::{catalogue::fixtures::record_types, envelope::Encoder, model::Operation},
    log::{self, Headers, StoredEntry, Topic},
};

const PARTITIONS: u32 = 2;
const RETENTION_MS: u64 = 3_600_000;
const REGISTRY: &str = "department/market-supervision/system/registry";
const ARCHIVE: &str = "department/market-supervision/system/archive";
const CACHE_BYTES: u64 = 1 << 20;

/// A dataset of a record type of the fixtures.
fn target(record_type: &str) -> Target {
    let id = "market-supervision.sample".parse().expect("an id");
    Target {
        topic: Topic::dataset("test", &id),
        id,
        compiled: record_types().get(record_type).expect("a fixture").clone(),
        retention_ms: RETENTION_MS,
    }
}

/// What a source said of a key.
#[derive(Clone, Copy, Debug)]
struct Said<'a> {
    source: &'a str,
    sequence: u64,
    version: u64,
    key: &'a str,
    /// `None` deletes.
    region: Option<&'a str>,
    time_ms: i64,
}

/// The registry's upsert with version = sequence.
fn said<'a>(sequence: u64, key: &'a str, region: &'a str) -> Said<'a> {
    Said { source: REGISTRY, sequence, version: sequence, key, region: Some(region), time_ms: 1_000 }
}

/// The registry's delete with version = sequence.
fn deleted(sequence: u64, key: &str) -> Said<'_> {
    Said { region: None, ..said(sequence, key, "") }
}

impl Said<'_> {
    fn payload(&self) -> Bytes {
        let Self { key, sequence, .. } = self;
        self.region.map_or_else(Bytes::new, |region| {
            format!(r#"{{"id":"{key}","region":"{region}","note":"n{sequence}"}}"#).into()
        })
    }

    fn entry(&self, partition: u32) -> log::Entry {
        let encoder = Encoder::new(&self.source.parse().expect("a source"), &"sample/v1".parse().expect("a name"));
        let operation = if self.region.is_some() { Operation::Upsert } else { Operation::Delete };
        let key = Bytes::copy_from_slice(self.key.as_bytes());
        encoder.encode(partition, key, operation, self.sequence, self.version, self.payload(), self.time_ms)
    }

    fn at(&self, partition: u32, offset: u64) -> StoredEntry {
        stored(self.entry(partition), offset)
    }
}

fn stored(entry: log::Entry, offset: u64) -> StoredEntry {
    StoredEntry {
        partition: entry.partition,
        offset,
        key: entry.key,
        headers: Headers(entry.headers.into_iter().map(|(name, value)| (name.into(), value)).collect()),
        value: entry.value,
        timestamp_ms: entry.timestamp_ms,
    }
}

/// All of partition 0, from an offset.
fn at_zero(first: u64, all: &[Said<'_>]) -> Vec<StoredEntry> {
    (first..).zip(all).map(|(offset, one)| one.at(0, offset)).collect()
}

/// The rows of one dataset without a log. Dropping it leaves what a killed process would leave.
struct Bench {
    store: Store,
    space: Space,
    applier: Applier,
    target: Target,
}

impl Bench {
    fn open(path: &Path) -> Self {
        Self::of(path, target("sample/v1"))
    }

    fn of(path: &Path, target: Target) -> Self {
        let (store, live) = Store::open(path, CACHE_BYTES).expect("the store opens");
        let space = match live.first() {
            Some(Found { space, .. }) => *space,
            None => {
                let space = store.begin_space(&target.id, &[ROW_VERSION], &[0; PARTITIONS as usize]).expect("a space");
                store.make_live(&target.id, space, None).expect("made live");
                space
            }
        };
        let applier = Applier::load(&store, &target.id, space, Vec::new()).expect("loads");
        Self { store, space, applier, target }
    }

    fn fresh() -> (TempDir, Self) {
        let directory = tempfile::tempdir().expect("a directory");
        let bench = Self::open(directory.path());
        (directory, bench)
    }

    fn apply(&mut self, entries: &[StoredEntry]) -> Tally {
        self.applier.apply(&self.target, entries).expect("applies")
    }

    fn reader(&self) -> Reader {
        Reader { store: self.store.clone(), space: self.space, snapshot: self.store.database.snapshot() }
    }

    fn digest(&self) -> Digest {
        self.reader().digest().expect("a digest")
    }
}

/// Key and sequence of each.
fn names(items: impl Iterator<Item = Result<Item, super::Error>>) -> Vec<String> {
    items.map(|item| item.expect("readable").record).map(|one| format!("{}@{}", one.key, one.sequence)).collect()
}

/// Sequence of each change of a key, newest first; those that never were the state in parentheses.
fn history(reader: &Reader, key: &str) -> String {
    let name = |item: Item| {
        let sequence = item.record.sequence;
        if item.applied { sequence.to_string() } else { format!("({sequence})") }
    };
    let items = reader.history(key, None).expect("readable");
    items.map(|item| name(item.expect("readable"))).collect::<Vec<_>>().join(" ")
}

fn open_log(directory: &Path, clock: &crate::exchange::clock::Clock) -> Arc<log::embedded::Embedded> {
    let options = log::embedded::Options { free_bytes_min: 0, ..log::embedded::Options::at(directory) };
    let opened = log::embedded::Embedded::open(options, clock.clone(), log::Metrics::default());
    Arc::new(opened.expect("the log opens"))
}
