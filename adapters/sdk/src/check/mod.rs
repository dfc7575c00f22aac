//! Whether a run would work, told before it is tried.

mod report;

pub use report::{CheckReport, Finding, Verdict};
