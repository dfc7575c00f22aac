//! What one stream has in flight, and the one cursor behind it.
//!
//! Acknowledgements come in any order; the cursor of a partition stands at the oldest record that is not acknowledged, or where reading goes on. What the
//! client named as held counts as in flight without having been sent on this stream.

use std::collections::{BTreeMap, BTreeSet};

use crate::exchange::model::Position;

#[derive(Debug, Default)]
struct Partition {
    /// Everything below was looked at: it is in flight, acknowledged, or passed over.
    looked_at: u64,
    /// Offset and bytes.
    outstanding: BTreeMap<u64, usize>,
    /// Held by the client and acknowledged before this stream came to it: not to be sent.
    done_ahead: BTreeSet<u64>,
}

/// See the module. Bounded by what the session lets in.
#[derive(Debug)]
pub(super) struct InFlight {
    partitions: Vec<Partition>,
    records: usize,
    bytes: usize,
}

impl InFlight {
    /// Begins at a cursor. Of what is `held` only what lies between the cursor and the log's end counts.
    pub(super) fn new(cursor: &[u64], held: &[Position], end: &[u64]) -> Self {
        let partitions = cursor.iter().map(|next| Partition { looked_at: *next, ..Partition::default() }).collect();
        let mut in_flight = Self { partitions, records: 0, bytes: 0 };
        for Position { partition, offset } in held {
            let index = index(*partition);
            let (Some(end), Some(partition)) = (end.get(index), in_flight.partitions.get_mut(index)) else { continue };
            if (partition.looked_at..*end).contains(offset) && partition.outstanding.insert(*offset, 0).is_none() {
                in_flight.records += 1;
            }
        }
        in_flight
    }

    /// Moves past a record. True if it is to be sent; it is in flight from now on.
    pub(super) fn take(&mut self, position: Position, bytes: usize) -> bool {
        let Some(partition) = self.partitions.get_mut(index(position.partition)) else { return false };
        partition.looked_at = partition.looked_at.max(position.offset + 1);
        if partition.done_ahead.remove(&position.offset) || partition.outstanding.contains_key(&position.offset) {
            return false;
        }
        partition.outstanding.insert(position.offset, bytes);
        self.records += 1;
        self.bytes += bytes;
        true
    }

    /// Moves past something that nobody is sent.
    pub(super) fn pass(&mut self, position: Position) {
        if let Some(partition) = self.partitions.get_mut(index(position.partition)) {
            partition.looked_at = partition.looked_at.max(position.offset + 1);
        }
    }

    /// Lets go of a record. False if it was not in flight.
    pub(super) fn settle(&mut self, position: Position) -> bool {
        let Some(partition) = self.partitions.get_mut(index(position.partition)) else { return false };
        let Some(bytes) = partition.outstanding.remove(&position.offset) else { return false };
        if position.offset >= partition.looked_at {
            partition.done_ahead.insert(position.offset);
        }
        self.records -= 1;
        self.bytes -= bytes;
        true
    }

    /// Records that are in flight.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The offset of each partition below which everything is settled.
    pub(super) fn cursor(&self) -> Vec<u64> {
        self.partitions
            .iter()
            .map(|partition| {
                let oldest = partition.outstanding.first_key_value().map(|(offset, _)| *offset);
                oldest.map_or(partition.looked_at, |oldest| oldest.min(partition.looked_at))
            })
            .collect()
    }
}

fn index(partition: u32) -> usize {
    usize::try_from(partition).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, seq::SliceRandom};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn at(offset: u64) -> Position {
        Position { partition: 0, offset }
    }

    #[test]
    fn acknowledgements_out_of_order_move_one_cursor() {
        let mut in_flight = InFlight::new(&[10], &[], &[20]);
        for offset in [10, 11, 13] {
            assert!(in_flight.take(at(offset), 5));
        }
        in_flight.pass(at(14));
        assert_eq!((in_flight.records(), in_flight.bytes(), in_flight.cursor()), (3, 15, vec![10]));
        assert!(in_flight.settle(at(13)));
        assert_eq!(in_flight.cursor(), [10]);
        assert!(in_flight.settle(at(10)));
        assert_eq!(in_flight.cursor(), [11]);
        assert!(!in_flight.settle(at(10)), "a second acknowledgement means nothing");
        assert!(in_flight.settle(at(11)));
        assert_eq!((in_flight.records(), in_flight.bytes(), in_flight.cursor()), (0, 0, vec![15]));
    }

    #[test]
    fn what_a_client_holds_is_not_sent_again_and_holds_the_cursor() {
        // 9 is settled already, 30 does not exist yet.
        let mut in_flight = InFlight::new(&[10], &[at(9), at(11), at(12), at(30)], &[20]);
        assert_eq!(in_flight.records(), 2);
        assert!(in_flight.settle(at(12)), "acknowledged before the stream came to it");
        let sent: Vec<_> = (10..14).filter(|offset| in_flight.take(at(*offset), 1)).collect();
        assert_eq!(sent, [10, 13]);
        for offset in sent {
            in_flight.settle(at(offset));
        }
        assert_eq!(in_flight.cursor(), [11]);
        in_flight.settle(at(11));
        assert_eq!(in_flight.cursor(), [14]);
        assert!(in_flight.take(at(30), 1), "nobody can hold what was not there");
    }

    #[test]
    fn the_cursor_never_passes_what_is_not_acknowledged() {
        for seed in 0..200 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut in_flight = InFlight::new(&[0], &[], &[0]);
            let (mut sent, mut last, mut offset) = (Vec::new(), 0, 0);
            for _ in 0..200 {
                if random.random_bool(0.5) {
                    offset += random.random_range(1..4);
                    if random.random_bool(0.8) {
                        in_flight.take(at(offset), 1);
                        sent.push(offset);
                    } else {
                        in_flight.pass(at(offset));
                    }
                } else {
                    sent.shuffle(&mut random);
                    if let Some(acknowledged) = sent.pop() {
                        in_flight.settle(at(acknowledged));
                    }
                }
                let cursor = in_flight.cursor()[0];
                assert!(cursor >= last, "it went back, seed {seed}");
                assert!(sent.iter().all(|open| *open >= cursor), "it passed a record in flight, seed {seed}");
                assert_eq!(in_flight.records(), sent.len());
                last = cursor;
            }
        }
    }
}
