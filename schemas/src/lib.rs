//! The standards of Shuqiao: identifiers, record types, code tables and the compiled validator.
//!
//! One meaning for a code, a licence, a case, whichever department speaks. The crate knows no network and no store, and is meant
//! to be used alone as well.

pub mod engine;
pub mod identifier;
pub mod registry;
