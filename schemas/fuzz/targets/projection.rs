//! The first byte chooses the record type, the next sixteen say in turn how each field is shown, the rest is the payload.
#![no_main]

#[path = "../../tests/fuzz/judges.rs"]
#[allow(dead_code, reason = "each target uses a part")]
mod judges;

use libfuzzer_sys::fuzz_target;
use shuqiao_schemas::engine::Scratch;

fuzz_target!(|data: &[u8]| {
    if let Some((head, payload)) = data.split_first_chunk::<17>() {
        let [number, choices @ ..] = head;
        let mut choices = choices.iter().copied().cycle();
        let record_type = judges::record_type(usize::from(*number));
        judges::projection(record_type, payload, &mut Scratch::new(), || choices.next().unwrap_or_default());
    }
});
