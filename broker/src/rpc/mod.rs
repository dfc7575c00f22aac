//! The tonic services: translate messages, call `exchange`, and build every `Status` in one place.

mod answers;
pub mod audit;
pub mod catalogue;
pub mod convert;
pub mod exchange;
pub mod node;
pub mod peer;
mod publish;
pub mod query;
mod resources;
mod server;
pub mod status;
mod subscribe;

#[cfg(test)]
mod tests;

pub use server::{
    Admitted, Aged, Arriving, ArrivingMetrics, Called, Calls, Guarded, Layers, Room, Unsent, UnsentMetrics, aged,
    server,
};
