//! The domain: catalogue, policy, publishing, delivery, query, audit. Names neither tonic nor rdkafka nor a store.

pub mod administration;
pub mod audit;
pub mod catalogue;
pub mod clock;
pub mod delivery;
pub mod envelope;
pub mod error;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod identity;
pub mod model;
pub mod policy;
pub mod publishing;
pub mod query;
mod refusal;

pub use error::Error;
