//! The tonic services: translate messages, call `exchange`, and build every `Status` in one place.

pub mod convert;
pub mod node;
pub mod peer;
mod publish;
pub mod query;
pub mod status;
