//! The exchange: a gRPC broker over a durable log, and the `shuqiao` command line.
//!
//! The log is the truth; everything else here is rebuilt from it. `ARCHITECTURE.md` has the map and the invariants.

mod chain;
pub mod cli;
pub mod config;
pub mod exchange;
pub mod log;
pub mod node;
pub mod pki;
pub mod request;
pub mod rpc;
pub mod shutdown;
mod store_mark;
pub mod telemetry;
mod throttle;
pub mod tls;
pub mod view;
