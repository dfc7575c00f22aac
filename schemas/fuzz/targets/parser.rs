//! The bytes are a payload.
#![no_main]

#[path = "../../tests/fuzz/judges.rs"]
#[allow(dead_code, reason = "each target uses a part")]
mod judges;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| judges::parser(payload));
