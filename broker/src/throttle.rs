//! Log lines that strangers can cause, once in a while: a flood of them would bury every other line, and fill a disk.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lets one line of each kind through an interval, and counts what it keeps back. Kinds are constants of the program, so there are few.
#[derive(Debug)]
pub(crate) struct Throttle {
    interval: Duration,
    kinds: Mutex<HashMap<&'static str, Kind>>,
}

#[derive(Debug)]
struct Kind {
    last: Instant,
    left_out: u64,
}

impl Throttle {
    /// One line of a kind each `interval`.
    pub(crate) fn each(interval: Duration) -> Self {
        Self { interval, kinds: Mutex::default() }
    }

    /// Whether a line may be written now: the number of lines of its kind that were not, since the last one that was.
    pub(crate) fn pass(&self, kind: &'static str) -> Option<u64> {
        let now = Instant::now();
        let mut kinds = self.kinds.lock();
        let Some(kind) = kinds.get_mut(kind) else {
            kinds.insert(kind, Kind { last: now, left_out: 0 });
            return Some(0);
        };
        if now.duration_since(kind.last) < self.interval {
            kind.left_out += 1;
            return None;
        }
        kind.last = now;
        Some(std::mem::take(&mut kind.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_a_line_a_second_that_says_how_many_it_stands_for() {
        let throttle = Throttle::each(Duration::from_secs(1));
        assert_eq!((throttle.pass("failed"), throttle.pass("timeout")), (Some(0), Some(0)), "each kind for itself");
        for _ in 0..1_000 {
            assert_eq!(throttle.pass("failed"), None);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((throttle.pass("failed"), throttle.pass("failed")), (Some(1_000), None));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((throttle.pass("failed"), throttle.pass("timeout")), (Some(1), Some(0)));
    }
}
