//! Lines of the trail, read up to an end that was asked for before.

use std::{sync::Arc, time::Duration};

use tokio::time::error::Elapsed;

use super::Audit;
use crate::{
    exchange::Error,
    log::{self, Reader, StoredEntry},
};

/// Offsets may have gaps, and one at the very end would be waited for without end: it is taken to be no longer than this.
pub(super) const LAST_LINES: u64 = 16;
/// How long a line is waited for that the log says it holds.
const PATIENCE: Duration = Duration::from_secs(5);
const LINES_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 1 << 20;

/// See the module.
pub(super) struct Scan {
    reader: Box<dyn Reader>,
    from: u64,
    next: u64,
    end: u64,
    late: Option<Elapsed>,
}

impl Scan {
    /// Over the lines of a trail from an offset that it holds to one before `end`.
    ///
    /// # Errors
    /// Those of [`log::Log::read`].
    pub(super) async fn open(audit: &Audit, from: u64, end: u64) -> Result<Self, log::Error> {
        let reader = audit.log.read(&audit.topic, &[(0, from)]).await?;
        Ok(Self::over(reader, from, end))
    }

    fn over(reader: Box<dyn Reader>, from: u64, end: u64) -> Self {
        Self { reader, from, next: from, end, late: None }
    }

    /// The next lines; none at the end, and none where they do not come in time. [`Scan::finish`] tells the two apart.
    ///
    /// # Errors
    /// Those of [`Reader::next`].
    pub(super) async fn more(&mut self) -> Result<Vec<StoredEntry>, log::Error> {
        if self.next >= self.end {
            return Ok(Vec::new());
        }
        let told = tokio::time::timeout(PATIENCE, self.reader.next(LINES_AT_ONCE, BYTES_AT_ONCE)).await;
        let mut lines = match told {
            Ok(lines) => lines?,
            Err(late) => {
                self.late = Some(late);
                return Ok(Vec::new());
            }
        };
        if let Some(last) = lines.last() {
            self.next = last.offset + 1;
        }
        let end = self.end;
        lines.retain(|line| line.offset < end);
        Ok(lines)
    }

    /// For whoever concludes something from a line that was not there: a slow log must not look like a short one.
    ///
    /// # Errors
    /// [`Error::LogUnavailable`] where a line did not come in time, unless so few are left that it is taken for a gap at the very end. Where nothing was read at
    /// all, the log is slow: whoever finishes a scan began it at a line.
    pub(super) fn finish(self) -> Result<(), Error> {
        let near_the_end = self.next > self.from && self.end.saturating_sub(self.next) <= LAST_LINES;
        match self.late {
            Some(late) if !near_the_end => Err(Error::LogUnavailable(Arc::new(late))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells of a line at each of these offsets, and then of nothing any more.
    struct Stalling(Vec<u64>);

    #[async_trait::async_trait]
    impl Reader for Stalling {
        async fn next(&mut self, _: usize, _: usize) -> Result<Vec<StoredEntry>, log::Error> {
            if self.0.is_empty() {
                std::future::pending::<()>().await;
            }
            let line = |offset| StoredEntry {
                partition: 0,
                offset,
                key: None,
                headers: log::Headers::default(),
                value: None,
                timestamp_ms: 0,
            };
            Ok(std::mem::take(&mut self.0).into_iter().map(line).collect())
        }
    }

    /// How many lines there are before `end`, and whether those are all.
    async fn read(offsets: &[u64], end: u64) -> (usize, Result<(), Error>) {
        let mut scan = Scan::over(Box::new(Stalling(offsets.to_vec())), 0, end);
        let mut count = 0;
        loop {
            let lines = scan.more().await.unwrap();
            if lines.is_empty() {
                return (count, scan.finish());
            }
            count += lines.len();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_log_does_not_look_like_a_short_one() {
        let (count, all) = read(&[0, 1, 2], 100).await;
        assert!(count == 3 && matches!(all, Err(Error::LogUnavailable(_))), "{count} {all:?}");
        let (count, all) = read(&[], 3).await;
        assert!(count == 0 && matches!(all, Err(Error::LogUnavailable(_))), "{count} {all:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_at_the_very_end_and_lines_behind_it_are_not_waited_for() {
        for (offsets, end, expected) in [(&[0_u64, 1, 2][..], 3, 3), (&[0, 1, 2][..], 5, 3), (&[0, 1, 7][..], 5, 2)] {
            let (count, all) = read(offsets, end).await;
            assert!(count == expected && all.is_ok(), "{offsets:?} {end}: {count} {all:?}");
        }
    }
}
