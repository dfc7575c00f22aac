//! The tonic services: translate messages, call `exchange`, and build every `Status` in one place.

pub mod peer;
pub mod status;
