//! Waiting before trying again: doubling, bounded, and jittered so that fifty adapters do not come back in the same second.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// The first wait.
pub(crate) const FIRST: Duration = Duration::from_millis(200);
/// No wait is longer.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);

/// The waits after consecutive failures.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Notes a failure and says how long to wait: between half and the whole of 200 ms, 400 ms, ... 30 s; at least what the other side
    /// asks for (`hint`, bounded to 30 s too).
    pub(crate) fn next(&mut self, hint: Option<Duration>) -> Duration {
        let whole = FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // RandomState is seeded by the system: enough randomness for a jitter, and no generator to carry along.
        let random = RandomState::new().build_hasher().finish() % 1024;
        let half = whole / 2;
        let jittered = half + half.mul_f64(f64::from(u32::try_from(random).unwrap_or(0)) / 1024.0);
        jittered.max(hint.unwrap_or_default().min(LONGEST))
    }

    /// How many failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Something worked.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_stay_within_their_bounds() {
        let mut backoff = Backoff::default();
        let mut whole = FIRST;
        for _ in 0..40 {
            let wait = backoff.next(None);
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
            whole = (whole * 2).min(LONGEST);
        }
        assert_eq!(backoff.next(Some(Duration::from_secs(3_600))), LONGEST);
        backoff.reset();
        assert!(backoff.next(None) <= FIRST);
        assert_eq!(backoff.next(Some(Duration::from_secs(7))), Duration::from_secs(7));
    }
}
