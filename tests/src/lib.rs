//! Whole-system tests, fault tests and benchmarks.
//!
//! The library holds what they share; each promise is a test under `tests/`.

pub mod fixtures;
