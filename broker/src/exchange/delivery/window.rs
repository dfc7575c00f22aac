//! What a stream shares with its handles: the credit, what is in flight, and the mark that becomes its cursor.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Place, Room, in_flight::InFlight};
use crate::exchange::model::{DatasetId, Position};

/// What a stream and its handles share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) place: Place,
    pub(super) dataset: DatasetId,
    pub(super) generation: u64,
    pub(super) window: Mutex<Window>,
    pub(super) wake: Notify,
}

#[derive(Debug)]
pub(super) struct Window {
    /// Records that may still be sent.
    pub(super) credit: u64,
    pub(super) in_flight: InFlight,
    /// As last marked for writing.
    pub(super) marked: Vec<u64>,
}

impl Shared {
    pub(super) fn room(&self) -> &Room {
        &self.place.room
    }

    /// Notes the cursor for writing where it has moved. Under the window's lock, so that marks come in order.
    pub(super) fn mark(&self, window: &mut Window, acknowledged: usize) {
        let cursor = window.in_flight.cursor();
        if cursor != window.marked {
            window.marked.clone_from(&cursor);
            self.room().cursors.mark(&self.place.subscription, self.generation, cursor, acknowledged);
        }
    }
}

/// Takes what the client says, whatever the stream is doing. Clones share it.
#[derive(Clone, Debug)]
pub struct Handle(pub(super) Arc<Shared>);

impl Handle {
    /// Allows so many more records to be in flight.
    pub fn credit(&self, records: u32) {
        let mut window = self.0.window.lock();
        window.credit = window.credit.saturating_add(u64::from(records));
        drop(window);
        self.0.wake.notify_one();
    }

    /// Takes acknowledgements, in any order. A position that is not in flight is ignored.
    pub fn acknowledge(&self, positions: impl IntoIterator<Item = Position>) {
        let mut window = self.0.window.lock();
        let settled = positions.into_iter().filter(|position| window.in_flight.settle(*position)).count();
        if settled > 0 {
            self.0.mark(&mut window, settled);
            drop(window);
            self.0.room().metrics().acknowledged(&self.0.dataset, settled);
            self.0.wake.notify_one();
        }
    }
}
