//! The first byte chooses the record type that the rest, a schema, is compared with.
#![no_main]

#[path = "../../tests/fuzz/judges.rs"]
#[allow(dead_code, reason = "each target uses a part")]
mod judges;

use libfuzzer_sys::fuzz_target;
use shuqiao_schemas::engine::Scratch;

fuzz_target!(|data: &[u8]| {
    if let Some((number, document)) = data.split_first() {
        judges::schema(document, judges::record_type(usize::from(*number)), &[], &mut Scratch::new());
    }
});
