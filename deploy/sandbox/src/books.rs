//! The state files of both adapters, looked at beside their runs.

use std::time::Duration;

use shuqiao_adapter_sdk::state::{Counts, State};
use tokio::time::Instant;

use crate::{Error, adapters::Adapter, console::thousands};

/// How long a sink may take to count what it has written.
const NOTED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What both adapters have noted: one publishes, the other is delivered to.
pub(crate) struct Books {
    pub(crate) source: State,
    sink: State,
}

impl Books {
    /// Opens both; they have been made.
    pub(crate) async fn open(source: &Adapter, sink: &Adapter) -> Result<Self, Error> {
        let source = State::open_beside(&source.config.state.path).await?;
        Ok(Self { source, sink: State::open_beside(&sink.config.state.path).await? })
    }

    /// Since the city was made.
    pub(crate) async fn counts(&self) -> Result<Counts, Error> {
        let source = self.source.counts().await?;
        let Counts { delivered, taken, refused, .. } = self.sink.counts().await?;
        Ok(Counts { delivered, taken, refused, ..source })
    }

    /// The same, once the sink has noted what lies in its table: it writes first and counts then.
    pub(crate) async fn settled_counts(&self, in_inbox: u64) -> Result<Counts, Error> {
        let until = Instant::now() + NOTED_WITHIN;
        loop {
            let counts = self.counts().await?;
            if counts.delivered >= in_inbox || Instant::now() > until {
                return Ok(counts);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// How far the city is, on one line; with the time behind it 79 columns for a city of the usual size. `None` while that cannot be told.
    pub(crate) async fn progress(&self, registry_rows: u64) -> Option<String> {
        let counts = self.counts().await.ok()?;
        let letters = self.source.open_letters().await.ok()?;
        Some(progress(&counts, letters, registry_rows))
    }
}

/// What is read is counted each time, so a registry that is read again has been read beyond its rows.
fn progress(counts: &Counts, letters: u64, registry_rows: u64) -> String {
    let rows = Some(registry_rows).filter(|rows| *rows >= counts.read);
    format!(
        "  read {}{}, published {}, set aside {}, delivered {}",
        thousands(counts.read),
        rows.map(|rows| format!(" of {}", thousands(rows))).unwrap_or_default(),
        thousands(counts.accepted),
        thousands(letters),
        thousands(counts.delivered),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_was_read_twice_has_its_letters_once() {
        let once = Counts { read: 3_000, accepted: 2_841, dead_letters: 159, delivered: 2_841, ..Counts::default() };
        let line = progress(&once, 159, 3_000);
        assert_eq!(line, "  read 3,000 of 3,000, published 2,841, set aside 159, delivered 2,841");
        assert!(format!("{line}, 99 s").len() <= 79);
        let twice = Counts { read: 6_000, accepted: 2_842, unchanged: 2_840, dead_letters: 318, ..once };
        let line = progress(&twice, 159, 3_000);
        assert_eq!(line, "  read 6,000, published 2,842, set aside 159, delivered 2,841");
    }
}
