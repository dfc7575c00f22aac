//! The domain: catalogue, policy, publishing, delivery, query, audit. Names neither tonic nor rdkafka nor a store.

pub mod audit;
pub mod catalogue;
pub mod clock;
pub mod envelope;
pub mod error;
pub mod identity;
pub mod model;
pub mod policy;

pub use error::Error;
