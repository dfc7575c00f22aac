//! The bytes are a code table.
#![no_main]

#[path = "../../tests/fuzz/judges.rs"]
#[allow(dead_code, reason = "each target uses a part")]
mod judges;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|document: &[u8]| judges::table(document));
