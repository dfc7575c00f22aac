//! The promises of the exchange, kept by whole systems: real nodes, real clients, real faults. One file a promise.
//!
//! `tests/run` builds the binaries, starts Kafka and PostgreSQL and runs all of it. By hand: `cargo build --workspace --bins`, then
//! `cargo test -p shuqiao-tests --test promises -- --test-threads 8` (tests wait more than they work). What needs a cluster, a database, root or a
//! real registry's file is left out where there is none (SHUQIAO_TEST_KAFKA, SHUQIAO_TEST_POSTGRES, SHUQIAO_TEST_MARIADB, SHUQIAO_TEST_NANTONG), and
//! `tests/needs` tells what that was.

mod adapter_crashes;
mod admission;
mod crashes;
mod disk_full;
mod end_to_end;
mod grants;
mod inboxes;
mod kafka_away;
mod lifecycle;
mod lost_tail;
mod payloads;
mod record_types;
mod reflection;
mod registry_away;
mod revocation;
mod sequences;
mod slow_clients;
mod trail;
mod unread_answers;
mod views;
mod walkthrough;
mod watching;
