//! The digest by which a source, the view and a sink find out whether they hold the same records (对账).
//!
//! SHA-256 over one block a live record, in ascending byte order of the keys:
//!
//! ```text
//! u32be(len(key)) key  u64be(source_version)  sha256(payload)
//! ```
//!
//! Deleted records are not part of it. Lengths are prefixed, so no two different lists of records share an input.

use ring::digest::{Context, SHA256, digest};

/// Takes records in ascending key order and yields their count and digest.
#[derive(Clone)]
pub struct RecordsDigest {
    context: Context,
    count: u64,
}

impl std::fmt::Debug for RecordsDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordsDigest").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Default for RecordsDigest {
    fn default() -> Self {
        Self { context: Context::new(&SHA256), count: 0 }
    }
}

impl RecordsDigest {
    /// Adds one live record. The caller keeps the order: ascending bytes of the key.
    pub fn add(&mut self, key: &str, source_version: u64, payload: &[u8]) {
        let payload_digest = digest(&SHA256, payload);
        self.add_hashed(key, source_version, payload_digest.as_ref());
    }

    /// Adds one live record whose payload's SHA-256 (32 bytes) is known already.
    pub fn add_hashed(&mut self, key: &str, source_version: u64, payload_sha256: &[u8]) {
        // A key is at most 512 bytes (exchange::model), so the length always fits.
        let key_length = u32::try_from(key.len()).unwrap_or(u32::MAX);
        self.context.update(&key_length.to_be_bytes());
        self.context.update(key.as_bytes());
        self.context.update(&source_version.to_be_bytes());
        self.context.update(payload_sha256);
        self.count += 1;
    }

    /// Count of the records, and the 32 bytes.
    pub fn finish(self) -> (u64, [u8; 32]) {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.context.finish().as_ref());
        (self.count, bytes)
    }
}

/// SHA-256 of a payload, for [`RecordsDigest::add_hashed`].
pub fn payload_digest(payload: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, payload).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_tells_apart_where_one_key_ends_and_the_next_field_begins() {
        let of = |records: &[(&str, u64, &[u8])]| {
            let mut digest = RecordsDigest::default();
            for (key, version, payload) in records {
                digest.add(key, *version, payload);
            }
            digest.finish()
        };
        assert_eq!(of(&[("a", 1, b"{}")]), of(&[("a", 1, b"{}")]));
        assert_ne!(of(&[("a", 1, b"{}")]).1, of(&[("a", 2, b"{}")]).1);
        assert_ne!(of(&[("ab", 1, b"{}")]).1, of(&[("a", 1, b"b{}")]).1);
        assert_eq!(of(&[]).0, 0);
        // SHA-256 of nothing: an empty dataset has a well-known digest.
        assert_eq!(hex::encode(of(&[]).1), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
