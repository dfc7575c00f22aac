//! Whole-system tests, fault tests and benchmarks.
