//! The services as their clients meet them: real messages, mostly over a loopback connection, each promise of the `.proto` files a test.

mod answers;
mod audit;
pub(super) mod calls;
mod catalogue;
mod fixture;
mod node;
mod query;
mod record_types;
mod subscribe;
