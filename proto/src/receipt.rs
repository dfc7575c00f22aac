//! The bytes that a receipt signs.
//!
//! A receipt says that a node holds the accepted records of one batch. Its digest is SHA-256 over one block an accepted record, in batch order:
//!
//! ```text
//! u64be(sequence)  u32be(partition)  u64be(offset)  u8(operation)  u64be(source_version)  u32be(len(key)) key  u32be(len(payload)) payload
//! ```
//!
//! A repeat is laid out with the position that the acknowledgement names. The signature is Ed25519 (RFC 8032) over:
//!
//! ```text
//! "shuqiao.receipt.v1\0"  u32be(len) node  u32be(len) dataset  u32be(len) source  u64be(first_sequence)  u64be(last_sequence)
//! u32be(accepted_count)  digest (32)  i64be(sign_time_ms)
//! ```

use ring::{
    digest::{Context, SHA256},
    signature::{ED25519, UnparsedPublicKey},
};

use crate::v1;

const DOMAIN: &[u8] = b"shuqiao.receipt.v1\0";

/// Digest over the accepted records of one batch, in batch order.
#[derive(Clone)]
pub struct BatchDigest(Context);

impl std::fmt::Debug for BatchDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BatchDigest")
    }
}

impl Default for BatchDigest {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

/// One accepted record, as the digest lays it out.
#[derive(Clone, Copy)]
pub struct Accepted<'a> {
    /// The source's number.
    pub sequence: u64,
    /// Partition and offset that the acknowledgement names.
    pub position: (u32, u64),
    /// `v1::Operation` as its number.
    pub operation: u8,
    /// The source's version of the key.
    pub source_version: u64,
    /// The record key.
    pub key: &'a str,
    /// The payload's bytes, empty for a delete.
    pub payload: &'a [u8],
}

/// Neither key nor payload: both may be personal data.
impl std::fmt::Debug for Accepted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accepted")
            .field("sequence", &self.sequence)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl BatchDigest {
    /// Adds one accepted record.
    pub fn add(&mut self, record: &Accepted<'_>) {
        let mut head = [0_u8; 33];
        head[..8].copy_from_slice(&record.sequence.to_be_bytes());
        head[8..12].copy_from_slice(&record.position.0.to_be_bytes());
        head[12..20].copy_from_slice(&record.position.1.to_be_bytes());
        head[20] = record.operation;
        head[21..29].copy_from_slice(&record.source_version.to_be_bytes());
        head[29..].copy_from_slice(&length(record.key.len()));
        self.0.update(&head);
        self.0.update(record.key.as_bytes());
        self.0.update(&length(record.payload.len()));
        self.0.update(record.payload);
    }

    /// The 32 bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

/// Keys and payloads are bounded far below 4 GiB by the exchange.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

/// The message that the node signs. The receipt's `signature` is not part of it.
pub fn signed_bytes(receipt: &v1::Receipt) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(DOMAIN.len() + 128);
    bytes.extend_from_slice(DOMAIN);
    for text in [&receipt.node, &receipt.dataset, &receipt.source] {
        bytes.extend_from_slice(&length(text.len()));
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&receipt.first_sequence.to_be_bytes());
    bytes.extend_from_slice(&receipt.last_sequence.to_be_bytes());
    bytes.extend_from_slice(&receipt.accepted_count.to_be_bytes());
    bytes.extend_from_slice(&receipt.digest);
    bytes.extend_from_slice(&receipt.sign_time_ms.to_be_bytes());
    bytes
}

/// Whether the node that owns `public_key` (32 bytes, from `NodeStatus`) signed this receipt.
pub fn verify(receipt: &v1::Receipt, public_key: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(&signed_bytes(receipt), &receipt.signature).is_ok()
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    #[test]
    fn a_receipt_verifies_until_one_field_changes() {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes");
        let mut digest = BatchDigest::default();
        digest.add(&Accepted {
            sequence: 1,
            position: (0, 9),
            operation: 1,
            source_version: 3,
            key: "k",
            payload: b"{}",
        });
        let mut receipt = v1::Receipt {
            node: "node-1".into(),
            dataset: "a.b".into(),
            source: "s".into(),
            first_sequence: 1,
            last_sequence: 1,
            accepted_count: 1,
            digest: digest.finish(),
            sign_time_ms: 5,
            signature: Vec::new(),
        };
        receipt.signature = key.sign(&signed_bytes(&receipt)).as_ref().to_vec();
        assert!(verify(&receipt, key.public_key().as_ref()));
        receipt.last_sequence = 2;
        assert!(!verify(&receipt, key.public_key().as_ref()));
    }
}
