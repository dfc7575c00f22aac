//! The bytes are an identifier, of every kind in turn.
#![no_main]

#[path = "../../tests/fuzz/judges.rs"]
#[allow(dead_code, reason = "each target uses a part")]
mod judges;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| judges::identifiers(bytes));
