//! A whole small city on one machine, for newcomers and for tests: the exchange on its embedded log, a registry that publishes, a tax office that
//! subscribes, and a third department that may see nothing. All of it in one process, over the same mutual TLS that separate machines would speak.
//!
//! Promises: no cluster, no container, no account; every row of the registry ends as a record on both sides or as a dead letter with a reason, and
//! the exit code says whether it did; a start after any end (Ctrl-C, a crash) goes on where that one was. Refuses: a directory that is not its own.

mod adapters;
mod books;
mod city;
mod commands;
mod console;
mod directory;
mod error;
mod granted;
mod identities;
mod node;
mod options;
pub mod registry;
mod report;
mod resources;
mod telemetry;

pub use city::{Outcome, run};
pub use error::Error;
pub use options::{Options, ROWS_MAX};
pub use report::{Reason, Report};
