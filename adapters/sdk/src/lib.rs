//! What every adapter shares: traits, the runner's loop, checkpoints, dead letters and reconciliation.
//!
//! An adapter is a process at a department's edge: read-only on a source, or writing only to an inbox that the department owns. This crate has
//! the loop, the adapter has the department. An adapter implements [`Adapter`], and behind it [`Source`] or [`Sink`]; or takes one from here: [`mod@file`] and
//! [`database`] read rows for which a department writes a [`rows::RowMapping`], [`inbox`] fills a table.
//!
//! Promises: a row that a source yields is accepted by the exchange, unchanged, or set aside with its raw bytes and the reason; a record
//! that the exchange delivers is accepted by the sink or set aside; nothing is lost and nothing is doubled over any crash of either side.
//! Refuses: guessing, dropping, and waiting without a bound.

mod adapter;
pub mod check;
pub mod config;
#[expect(clippy::expect_used, clippy::panic, reason = "assertions for tests")]
pub mod contract;
pub mod database;
pub mod dead_letter;
mod error;
pub mod exchange;
pub mod file;
pub mod inbox;
pub mod metrics;
pub mod reconcile;
mod retry;
pub mod rows;
pub mod runner;
mod sink;
mod source;
pub mod state;
pub mod text;
mod violation;
mod words;

pub use adapter::{Adapter, Context, Descriptor, ErasedAdapter, Roles};
pub use async_trait::async_trait;
pub use bytes::Bytes;
pub use check::CheckReport;
pub use error::{AdapterError, ErrorClass, chain};
pub use sink::{Mark, Outcome, Record, Sink};
pub use source::{Batch, MappingError, Operation, Pass, Position, Row, Source, SourceRecord};
pub use violation::Violation;
pub use words::plural;
