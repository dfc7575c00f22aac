//! What the newcomer sees: lines, and one line that is drawn anew while something goes on.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use shuqiao_adapter_sdk::plural;
use tokio::time::{Instant, MissedTickBehavior, interval};

const DRAW_EVERY: Duration = Duration::from_millis(200);
const SAY_EVERY: Duration = Duration::from_secs(2);

/// Standard output. A line that cannot be written is lost: there is nowhere left to complain, and the exit code still tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    terminal: bool,
}

impl Console {
    pub(crate) fn new() -> Self {
        Self { terminal: io::stdout().is_terminal() }
    }

    /// Says a line, or several.
    pub(crate) fn say(self, text: &str) {
        let mut out = io::stdout().lock();
        drop(writeln!(out, "{text}").and_then(|()| out.flush()));
    }

    /// Shows `line` and the seconds since `began_at` while the work goes on: on a terminal one line drawn anew, otherwise a line now and then, where
    /// more than the time has changed.
    pub(crate) async fn watch<T>(
        self,
        work: impl Future<Output = T>,
        began_at: Instant,
        line: impl AsyncFn() -> Option<String>,
    ) -> T {
        let mut ticks = interval(if self.terminal { DRAW_EVERY } else { SAY_EVERY });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // The first tick is at once, and there is nothing to show yet.
        ticks.tick().await;
        let mut said = String::new();
        tokio::pin!(work);
        loop {
            let done = tokio::select! {
                done = &mut work => Some(done),
                _ = ticks.tick() => None,
            };
            let news = line().await.filter(|now| self.terminal || *now != said);
            if let Some(now) = news {
                let seconds = began_at.elapsed().as_secs();
                if self.terminal {
                    let mut out = io::stdout().lock();
                    // Back to the line's beginning, and clear it to its end.
                    drop(write!(out, "\r{now}, {seconds} s\x1b[K").and_then(|()| out.flush()));
                } else {
                    self.say(&format!("{now}, {seconds} s"));
                    said = now;
                }
            }
            if let Some(done) = done {
                if self.terminal {
                    self.say("");
                }
                return done;
            }
        }
    }
}

/// `12,345`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `12,345 rows`.
pub(crate) fn counted(number: u64, what: &str) -> String {
    format!("{} {}", thousands(number), plural(number, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_told_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }
}
