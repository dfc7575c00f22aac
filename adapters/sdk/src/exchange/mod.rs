//! The exchange as an adapter sees it: a connection, and what its statuses mean for the loop.

mod connection;
mod error;

pub use connection::{Connection, Credentials, Identity};
pub use error::Error;
