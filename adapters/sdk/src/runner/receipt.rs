//! Whether a receipt says what its acknowledgement says, and whether the node has signed it.

use shuqiao_proto::{
    receipt::{Accepted, BatchDigest, verify},
    v1,
};

use crate::{
    Operation,
    exchange::Error,
    state::{Entry, Verdict},
};

/// What a receipt has to name.
pub(super) struct Expected<'a> {
    pub(super) node: &'a v1::NodeStatus,
    pub(super) dataset: &'a str,
    pub(super) source: &'a str,
}

/// `v1::Operation`'s number.
pub(super) fn wire_operation(operation: Operation) -> v1::Operation {
    match operation {
        Operation::Upsert => v1::Operation::Upsert,
        Operation::Delete => v1::Operation::Delete,
    }
}

/// Verifies the receipt of one acknowledgement; returns it where anything was accepted.
pub(super) fn check(
    receipt: Option<v1::Receipt>,
    entries: &[Entry],
    verdicts: &[(u64, Verdict)],
    expected: &Expected<'_>,
) -> Result<Option<v1::Receipt>, Error> {
    let mut digest = BatchDigest::default();
    let (mut first, mut last, mut count) = (u64::MAX, 0, 0_u32);
    for (entry, (_, verdict)) in entries.iter().zip(verdicts) {
        let Verdict::Accepted(position) = verdict else { continue };
        digest.add(&Accepted {
            sequence: entry.sequence,
            position: (position.partition, position.offset),
            // Operation's numbers are 1 and 2.
            operation: if entry.operation == Operation::Upsert { 1 } else { 2 },
            source_version: entry.source_version,
            key: &entry.key,
            payload: &entry.payload,
        });
        first = first.min(entry.sequence);
        last = last.max(entry.sequence);
        count += 1;
    }
    if count == 0 {
        return Ok(None);
    }
    let receipt = receipt.ok_or(Error::Receipt("there is none, though records were accepted"))?;
    if receipt.node != expected.node.node {
        return Err(Error::Receipt("it names another node"));
    }
    if receipt.dataset != expected.dataset || receipt.source != expected.source {
        return Err(Error::Receipt("it names another dataset or source"));
    }
    if (receipt.first_sequence, receipt.last_sequence, receipt.accepted_count) != (first, last, count) {
        return Err(Error::Receipt("it counts other records"));
    }
    if receipt.digest != digest.finish() {
        return Err(Error::Receipt("its digest is of other records"));
    }
    if !verify(&receipt, &expected.node.receipt_public_key) {
        return Err(Error::Receipt("its signature is not the node's"));
    }
    Ok(Some(receipt))
}
