//! One entry of a dataset's log as delivery sees it: decoded and judged once for everybody, projected, hashed and encoded once for each distinct view.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use parking_lot::Mutex;
use shuqiao_proto::receipt::{Accepted, BatchDigest};
use shuqiao_schemas::engine::Scratch;

use super::count::Count;
use crate::exchange::{
    catalogue::{Access, ViewId},
    model::{Operation, Position, Record},
};

/// What an entry costs beside its key and payload: headers, numbers, allocations.
const OVERHEAD_BYTES: usize = 256;
/// What a view costs beside its payload.
const FORM_BYTES: usize = size_of::<(ViewId, Shown)>() + size_of::<Form>();
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

/// What was made of it so far. The lock is held while a view is projected: a second subscriber waits microseconds instead of doing the work again.
struct Views {
    kept: Vec<(ViewId, Shown)>,
    /// The record as a delete, which shows everybody the same.
    deleted: Option<Arc<Form>>,
    /// Bytes that are counted below.
    bytes: usize,
    /// Of an entry in a tail, the tail's count of what was made of it; of another, a stream's count of all that it is.
    counted: Arc<Count>,
}

/// An upsert as one view shows it.
#[derive(Clone)]
pub(super) enum Shown {
    Visible(Arc<Form>),
    /// Not among the rows, or no valid record any more.
    Hidden,
}

/// A record in the form in which it leaves, shared by all who are shown the same.
pub(super) struct Form {
    pub(super) operation: Operation,
    /// As the view shows it; empty for a delete.
    pub(super) payload: Bytes,
    /// See [`leaf`].
    pub(super) leaf: [u8; 32],
    /// As a message, once somebody sends it.
    encoded: OnceLock<Bytes>,
}

impl Form {
    fn new(record: &Record, position: Position, operation: Operation, payload: Bytes) -> Arc<Self> {
        let leaf = leaf(record, position, operation, &payload);
        Arc::new(Self { operation, payload, leaf, encoded: OnceLock::new() })
    }
}

/// Sizes only.
impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("position", &self.position).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Arrival {
    /// For a tail, which counts the entry's own bytes itself.
    pub(super) fn in_tail(position: Position, record: Option<Record>, projected: &Arc<Count>) -> Self {
        let own = record.as_ref().map_or(0, |record| record.key.len() + record.payload.len());
        let views = Views { kept: Vec::new(), deleted: None, bytes: 0, counted: projected.clone() };
        Self { position, record, bytes: own + OVERHEAD_BYTES, views: Mutex::new(views) }
    }

    /// For one stream.
    pub(super) fn in_stream(position: Position, record: Option<Record>, held: &Arc<Count>) -> Self {
        let mut arrival = Self::in_tail(position, record, held);
        let bytes = arrival.bytes;
        arrival.views.get_mut().grow(bytes);
        arrival
    }

    /// An upsert as the access shows it.
    pub(super) fn shown(&self, record: &Record, access: &Access, scratch: &mut Scratch) -> Shown {
        let mut views = self.views.lock();
        if let Some((_, shown)) = views.kept.iter().find(|(view, _)| *view == access.view_id) {
            return shown.clone();
        }
        let shown = self.project(record, access, scratch);
        if views.kept.len() < VIEWS_MAX {
            let payload = match &shown {
                Shown::Visible(form) if !access.is_identity() => form.payload.len(),
                Shown::Visible(_) | Shown::Hidden => 0,
            };
            views.grow(payload + FORM_BYTES);
            views.kept.push((access.view_id, shown.clone()));
        }
        shown
    }

    /// The record as a delete: what it is itself, or what an upsert is to who may no longer see it.
    pub(super) fn deleted(&self, record: &Record) -> Arc<Form> {
        let mut views = self.views.lock();
        if let Some(form) = &views.deleted {
            return form.clone();
        }
        let form = Form::new(record, self.position, Operation::Delete, Bytes::new());
        views.deleted = Some(form.clone());
        views.grow(FORM_BYTES);
        form
    }

    /// One of this entry's forms as a message: laid out by `encode` the first time, then shared.
    pub(super) fn encoded(&self, form: &Form, encode: impl FnOnce() -> Bytes) -> Bytes {
        let encoded = form.encoded.get_or_init(|| {
            let encoded = encode();
            self.views.lock().grow(encoded.len());
            encoded
        });
        encoded.clone()
    }

    fn project(&self, record: &Record, access: &Access, scratch: &mut Scratch) -> Shown {
        if !access.shows(&record.payload, scratch) {
            return Shown::Hidden;
        }
        match access.project(&record.payload) {
            Ok(payload) => Shown::Visible(Form::new(record, self.position, Operation::Upsert, payload)),
            Err(error) => {
                // A foreign entry must not stop a dataset for its subscribers; what cannot be judged is not shown.
                let Position { partition, offset } = self.position;
                tracing::warn!(dataset = %access.dataset.id, partition, offset, %error, "stored entry is no valid record and is not delivered");
                Shown::Hidden
            }
        }
    }

    /// Leaves the tail: it is held by the streams that have yet to send it, if any.
    pub(super) fn leave(&self, held: &Arc<Count>) {
        let mut views = self.views.lock();
        views.counted.subtract(views.bytes);
        views.counted = held.clone();
        views.bytes += self.bytes;
        held.add(views.bytes);
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let views = self.views.get_mut();
        views.counted.subtract(views.bytes);
    }
}

impl Views {
    fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.counted.add(bytes);
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
