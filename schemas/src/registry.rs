//! The record types and code tables that come with the crate.
