//! The `shuqiao-adapter` program: one process beside one legacy system.
//!
//! Promises: the exit code says what kind of failure it was ([`exit::TABLE`]); every mistake of a configuration is told at once; what a command answers
//! goes to standard output, log lines to standard error; SIGTERM drains, a second signal ends at once, and neither loses anything.
//! Refuses: two adapters on one state file.

mod adapters;
mod command;
pub mod exit;
mod output;
mod telemetry;

pub use adapters::adapters;
pub use command::{command_line, main};
