//! The tonic services: translate messages, call `exchange`, and build every `Status` in one place.

pub mod audit;
pub mod catalogue;
pub mod convert;
pub mod node;
pub mod peer;
pub mod publish;
pub mod query;
pub mod status;
pub mod subscribe;
