//! What the identifiers promise: vectors of the standards, error detection, robustness, inspection of files, real rows.

#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test that meets None or cuts a character should fail"
)]

mod detecting_kinds;
mod detection;
mod inspecting;
mod properties;
mod real_rows;
mod types;
mod vectors;
