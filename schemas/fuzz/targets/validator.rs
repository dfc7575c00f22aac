//! The first byte chooses the record type, the rest is the payload.
#![no_main]

#[path = "../../tests/fuzz/judges.rs"]
#[allow(dead_code, reason = "each target uses a part")]
mod judges;

use libfuzzer_sys::fuzz_target;
use shuqiao_schemas::engine::Scratch;

fuzz_target!(|data: &[u8]| {
    if let Some((number, payload)) = data.split_first() {
        judges::validator(judges::record_type(usize::from(*number)), payload, &mut Scratch::new());
    }
});
