//! One entry of a dataset's log as delivery sees it: decoded and judged once for everybody, projected once for each distinct view.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use shuqiao_proto::receipt::{Accepted, BatchDigest};
use shuqiao_schemas::engine::Scratch;

use crate::exchange::{
    catalogue::{Access, ViewId},
    model::{Operation, Position, Record},
};

/// What an entry costs beside its key and payload: headers, numbers, allocations.
const OVERHEAD_BYTES: usize = 256;
/// Views of one entry that are kept; further ones are projected for each of their subscribers.
const VIEWS_MAX: usize = 16;

/// An entry that was read.
pub(super) struct Arrival {
    pub(super) position: Position,
    /// `None` is passed over for everybody: a repeat, or no record.
    pub(super) record: Option<Record>,
    /// Bytes that it is counted with.
    pub(super) bytes: usize,
    views: Mutex<Views>,
}

/// What was projected so far. The lock is held while a view is projected: a second subscriber waits microseconds instead of doing the work again.
#[derive(Default)]
struct Views {
    kept: Vec<(ViewId, Shown)>,
    /// Bytes of `kept` beyond the record's own.
    bytes: usize,
    /// The tail's count of such bytes, while the entry is in the tail.
    counted: Option<Arc<AtomicUsize>>,
}

/// An upsert as one view shows it.
#[derive(Clone)]
pub(super) enum Shown {
    /// The payload, and the record's [`leaf`].
    Visible(Bytes, [u8; 32]),
    /// Not among the rows, or no valid record any more.
    Hidden,
}

/// Sizes only.
impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("position", &self.position).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Arrival {
    /// `counted` is the tail's count of projected bytes, for an entry that goes into a tail.
    pub(super) fn new(position: Position, record: Option<Record>, counted: Option<Arc<AtomicUsize>>) -> Self {
        let own = record.as_ref().map_or(0, |record| record.key.len() + record.payload.len());
        let views = Views { counted, ..Views::default() };
        Self { position, record, bytes: own + OVERHEAD_BYTES, views: Mutex::new(views) }
    }

    /// An upsert's payload as the access shows it.
    pub(super) fn shown(&self, record: &Record, access: &Access, scratch: &mut Scratch) -> Shown {
        let mut views = self.views.lock();
        if let Some((_, shown)) = views.kept.iter().find(|(view, _)| *view == access.view_id) {
            return shown.clone();
        }
        let shown = self.project(record, access, scratch);
        if views.kept.len() < VIEWS_MAX {
            let bytes = match &shown {
                Shown::Visible(payload, _) if !access.is_identity() => payload.len() + size_of::<(ViewId, Shown)>(),
                Shown::Visible(..) | Shown::Hidden => size_of::<(ViewId, Shown)>(),
            };
            views.bytes += bytes;
            if let Some(counted) = &views.counted {
                counted.fetch_add(bytes, Ordering::Relaxed);
            }
            views.kept.push((access.view_id, shown.clone()));
        }
        shown
    }

    fn project(&self, record: &Record, access: &Access, scratch: &mut Scratch) -> Shown {
        if !access.shows(&record.payload, scratch) {
            return Shown::Hidden;
        }
        match access.project(&record.payload) {
            Ok(payload) => {
                let leaf = leaf(record, self.position, Operation::Upsert, &payload);
                Shown::Visible(payload, leaf)
            }
            Err(error) => {
                // A foreign entry must not stop a dataset for its subscribers; what cannot be judged is not shown.
                let Position { partition, offset } = self.position;
                tracing::warn!(dataset = %access.dataset.id, partition, offset, %error, "stored entry is no valid record and is not delivered");
                Shown::Hidden
            }
        }
    }

    /// Leaves the tail: what is projected from now on is no longer the tail's.
    pub(super) fn leave(&self) {
        let mut views = self.views.lock();
        if let Some(counted) = views.counted.take() {
            counted.fetch_sub(views.bytes, Ordering::Relaxed);
        }
    }
}

/// SHA-256 over one record as it is delivered, laid out as in a receipt (`shuqiao_proto::receipt`). An audit entry's digest is SHA-256 over the leaves of its batch
/// in order, so that a record is hashed once for all who are shown the same.
pub(super) fn leaf(record: &Record, position: Position, operation: Operation, payload: &[u8]) -> [u8; 32] {
    let mut digest = BatchDigest::default();
    digest.add(&Accepted {
        sequence: record.sequence,
        position: (position.partition, position.offset),
        operation: match operation {
            Operation::Upsert => 1,
            Operation::Delete => 2,
        },
        source_version: record.source_version,
        key: &record.key,
        payload,
    });
    let mut leaf = [0; 32];
    leaf.copy_from_slice(&digest.finish());
    leaf
}
