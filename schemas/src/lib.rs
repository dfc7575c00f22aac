//! The standards of Shuqiao: identifiers, record types, code tables and the compiled validator.
//!
//! One meaning for a code, a licence, a case, whichever department speaks. The crate knows no network and no store, and is meant
//! to be used alone as well.

pub mod engine;
pub mod examples;
pub mod identifier;
pub mod own;
pub mod registry;

/// The Rust of README.md, compiled and run with the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
