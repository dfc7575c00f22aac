//! A whole small city on one machine, for newcomers and for tests.

pub mod registry;
