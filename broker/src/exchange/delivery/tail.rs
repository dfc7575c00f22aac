//! The newest entries of one dataset in memory, shared by all who read at its end.
//!
//! Bounded in bytes, what is projected and encoded included: the oldest entry goes first, whoever still wants it reads the log. So a slow subscriber neither holds
//! memory nor anybody else.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{arrival::Arrival, count::Count};
use crate::exchange::Error;

/// See the module.
#[derive(Debug)]
pub(super) struct Tail {
    state: Mutex<State>,
    projected: Arc<Count>,
    /// What is held outside of tails.
    held: Arc<Count>,
    bytes_max: usize,
    moved: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    partitions: Vec<Partition>,
    /// Partition of each entry, oldest first.
    order: VecDeque<u32>,
    bytes: usize,
    failure: Option<Error>,
}

/// Holds every entry from `first` to before `next`.
#[derive(Debug)]
struct Partition {
    first: u64,
    next: u64,
    arrivals: VecDeque<Arc<Arrival>>,
}

/// First offset that the tail holds of a partition, and the one that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) next: u64,
}

impl Tail {
    /// Empty, at these next offsets. What leaves it and is still held is counted in `held`.
    pub(super) fn new(next: &[u64], bytes_max: usize, held: Arc<Count>) -> Self {
        let empty = |next: &u64| Partition { first: *next, next: *next, arrivals: VecDeque::new() };
        let partitions = next.iter().map(empty).collect();
        let state = State { partitions, order: VecDeque::new(), bytes: 0, failure: None };
        Self { state: Mutex::new(state), projected: Arc::default(), held, bytes_max, moved: watch::Sender::new(()) }
    }

    /// What entries of this tail count with what was made of them.
    pub(super) fn projected(&self) -> Arc<Count> {
        self.projected.clone()
    }

    /// Changes when something arrived, and when the tail failed.
    pub(super) fn moved(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// Takes entries in and pushes the oldest out. Returns the bytes held.
    pub(super) fn push(&self, arrivals: Vec<Arc<Arrival>>) -> usize {
        let mut state = self.state.lock();
        for arrival in arrivals {
            let number = arrival.position.partition;
            let Some(partition) = state.partition(number) else { continue };
            partition.next = arrival.position.offset + 1;
            let bytes = arrival.bytes;
            partition.arrivals.push_back(arrival);
            state.order.push_back(number);
            state.bytes += bytes;
        }
        let bytes = self.evict(&mut state);
        drop(state);
        self.moved.send_replace(());
        bytes
    }

    /// Keeps the bound after entries have been projected and encoded.
    pub(super) fn trim(&self) {
        if self.projected.get() > 0 {
            self.evict(&mut self.state.lock());
        }
    }

    fn evict(&self, state: &mut State) -> usize {
        loop {
            let bytes = state.bytes + self.projected.get();
            if bytes <= self.bytes_max {
                return bytes;
            }
            let Some(number) = state.order.pop_front() else { return bytes };
            let Some(partition) = state.partition(number) else { continue };
            let Some(oldest) = partition.arrivals.pop_front() else { continue };
            partition.first = oldest.position.offset + 1;
            state.bytes -= oldest.bytes;
            oldest.leave(&self.held);
        }
    }

    /// No more comes: every subscriber ends with this.
    pub(super) fn fail(&self, error: Error) {
        self.state.lock().failure = Some(error);
        self.moved.send_replace(());
    }

    /// Why no more comes.
    pub(super) fn failure(&self) -> Option<Error> {
        self.state.lock().failure.clone()
    }

    /// What is held, a partition.
    pub(super) fn spans(&self) -> Vec<Span> {
        let state = self.state.lock();
        state.partitions.iter().map(|partition| Span { first: partition.first, next: partition.next }).collect()
    }

    /// Entries of a partition from an offset on, at least one if there is any, at most so many and about so many bytes. Nothing where the tail no longer holds
    /// the offset.
    pub(super) fn read(&self, partition: usize, from: u64, records_max: usize, bytes_max: usize) -> Vec<Arc<Arrival>> {
        let state = self.state.lock();
        let Some(partition) = state.partitions.get(partition).filter(|partition| partition.first <= from) else {
            return Vec::new();
        };
        let begin = partition.arrivals.partition_point(|arrival| arrival.position.offset < from);
        let mut bytes = 0;
        let fits = |arrival: &&Arc<Arrival>| {
            let fits = bytes < bytes_max;
            bytes += arrival.bytes;
            fits
        };
        partition.arrivals.range(begin..).take(records_max).take_while(fits).cloned().collect()
    }
}

impl State {
    fn partition(&mut self, number: u32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(number).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::model::Position;

    fn arrival(partition: u32, offset: u64) -> Arc<Arrival> {
        Arc::new(Arrival::in_tail(Position { partition, offset }, None, &Arc::default()))
    }

    fn offsets(tail: &Tail, partition: usize, from: u64) -> Vec<u64> {
        tail.read(partition, from, 100, usize::MAX).iter().map(|arrival| arrival.position.offset).collect()
    }

    #[test]
    fn the_oldest_goes_first_and_what_is_gone_is_not_answered_for() {
        let one = arrival(0, 0).bytes;
        let tail = Tail::new(&[5, 0], 3 * one, Arc::default());
        tail.push(vec![arrival(0, 5), arrival(1, 0), arrival(0, 9)]);
        assert_eq!((offsets(&tail, 0, 5), offsets(&tail, 0, 6), offsets(&tail, 1, 0)), (vec![5, 9], vec![9], vec![0]));
        assert_eq!(tail.push(vec![arrival(1, 1)]), 3 * one);
        assert_eq!(offsets(&tail, 0, 5), [] as [u64; 0], "5 is gone: only the log has it");
        assert_eq!((offsets(&tail, 0, 6), offsets(&tail, 1, 0)), (vec![9], vec![0, 1]));
        assert_eq!(tail.spans(), [Span { first: 6, next: 10 }, Span { first: 0, next: 2 }]);
    }

    #[test]
    fn a_read_is_bounded_and_returns_at_least_one() {
        let tail = Tail::new(&[0], usize::MAX, Arc::default());
        tail.push((0..10).map(|offset| arrival(0, offset)).collect());
        assert_eq!(tail.read(0, 0, 4, usize::MAX).len(), 4);
        assert_eq!(tail.read(0, 0, 4, 1).len(), 1);
        assert_eq!(tail.read(0, 10, 4, 1).len(), 0);
    }
}
