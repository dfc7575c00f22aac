//! Keyed digests of what may be personal.
//!
//! A record key or a subject may be a resident id, and of those there are few enough to try all against a bare hash. HMAC-SHA256 (RFC 2104) under a secret of
//! the exchange can be matched by who holds the secret (an auditor asking "who looked at this person?") and by nobody else.

use std::fmt;

use ring::hmac;

use crate::exchange::model::DatasetId;

/// The exchange's secret for digests in the trail, the same on every node. `Debug` does not show it.
#[derive(Clone)]
pub struct AuditKey(hmac::Key);

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey")
    }
}

/// A digest that only [`AuditKey`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedDigest([u8; 32]);

impl KeyedDigest {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl AuditKey {
    /// Sets the secret up.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Of a record's key: HMAC over `key`, the dataset and the key.
    pub fn key(&self, dataset: &DatasetId, key: &str) -> KeyedDigest {
        self.digest(&["key", dataset.as_str(), key])
    }

    /// Of a subject: HMAC over `subject`, the kind and the identifier.
    pub fn subject(&self, kind: &str, subject: &str) -> KeyedDigest {
        self.digest(&["subject", kind, subject])
    }

    /// Of values compared with or filtered by: HMAC over `values` and each, in their order.
    pub fn values(&self, values: &[&str]) -> KeyedDigest {
        let mut parts = vec!["values"];
        parts.extend_from_slice(values);
        self.digest(&parts)
    }

    /// Each part with its length (u32, big-endian) before it, so that no two lists of parts share an input.
    fn digest(&self, parts: &[&str]) -> KeyedDigest {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"shuqiao audit v1\0");
        for part in parts {
            // Keys, values and ids are bounded far below 4 GiB by the exchange.
            context.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        KeyedDigest(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_an_independent_implementation_and_keep_their_kinds_apart() {
        // Python: hmac.new(bytes([9]) * 32, b"shuqiao audit v1\0" + b"".join(len(p).to_bytes(4, "big") + p for p in parts), "sha256")
        let key = AuditKey::new(&[9; 32]);
        let dataset: DatasetId = "a.b".parse().unwrap();
        assert_eq!(
            hex::encode(key.key(&dataset, "k").0),
            "09aa403c80a405040f81ac5ec5e995a9be18f4e772379b1b6b2f42834a540e1a"
        );
        assert_ne!(key.values(&["ab", "c"]), key.values(&["a", "bc"]));
        assert_ne!(key.subject("a.b", "k"), key.key(&dataset, "k"));
        assert_ne!(key.key(&dataset, "k"), AuditKey::new(&[8; 32]).key(&dataset, "k"));
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", AuditKey::new(&[9; 32])), "AuditKey");
    }
}
