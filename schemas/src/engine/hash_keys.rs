//! Keyed hashes: the same value gives the same text, and nobody without the key can try values until one fits.
//!
//! A bare hash of a resident id is no protection: there are few enough of them to try all. HMAC (RFC 2104) over SHA-256 or SM3
//! (GB/T 32905) with a secret of the exchange is. The pointer of the field goes in before the value, so that equal values of
//! different fields cannot be matched.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sm3::Sm3;

/// Shortest key, in bytes: below the 128 bits of strength that GB/T 39786 asks for, a key could be searched.
pub const MIN_KEY_BYTES: usize = 16;

/// Separates these hashes from any other use of the same key. It goes into the key once and not into every message: pointer and number
/// then mostly fit one block of the hash beside the two that every HMAC has, of which the key's own are done when it is set up.
const DOMAIN: &[u8] = b"shuqiao keyed hash v1";

/// The hash under the HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// HMAC-SHA256.
    HmacSha256,
    /// HMAC-SM3.
    HmacSm3,
}

/// A key that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashKeyError {
    /// Too short to resist a search.
    #[error("a hash key needs at least {MIN_KEY_BYTES} bytes")]
    TooShort,
}

/// A secret key, set up for hashing. `Debug` shows only the algorithm.
#[derive(Clone)]
pub struct HashKeys {
    keyed: Keyed,
}

#[derive(Clone)]
enum Keyed {
    Sha256(Hmac<Sha256>),
    Sm3(Hmac<Sm3>),
}

impl HashKeys {
    /// Sets up a key.
    ///
    /// # Errors
    /// [`HashKeyError::TooShort`] below [`MIN_KEY_BYTES`].
    pub fn new(algorithm: HashAlgorithm, key: &[u8]) -> Result<HashKeys, HashKeyError> {
        if key.len() < MIN_KEY_BYTES {
            return Err(HashKeyError::TooShort);
        }
        let keyed = match algorithm {
            HashAlgorithm::HmacSha256 => Keyed::Sha256(of_domain(key)?),
            HashAlgorithm::HmacSm3 => Keyed::Sm3(of_domain(key)?),
        };
        Ok(HashKeys { keyed })
    }

    /// Which algorithm the key is for.
    pub fn algorithm(&self) -> HashAlgorithm {
        match self.keyed {
            Keyed::Sha256(_) => HashAlgorithm::HmacSha256,
            Keyed::Sm3(_) => HashAlgorithm::HmacSm3,
        }
    }

    /// The hash of a field's value: 64 lower-case hexadecimal digits.
    pub fn hash(&self, pointer: &str, value: &str) -> [u8; 64] {
        let digest: [u8; 32] = match &self.keyed {
            Keyed::Sha256(mac) => finish(mac.clone(), pointer, value),
            Keyed::Sm3(mac) => finish(mac.clone(), pointer, value),
        };
        let mut hex = [0u8; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(digest) {
            for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
            }
        }
        hex
    }
}

/// HMAC under the key of this domain, itself an HMAC of the domain's name under the key that was given.
fn of_domain<M: Mac + KeyInit>(key: &[u8]) -> Result<M, HashKeyError> {
    // HMAC takes a key of any length, so its own error is the same refusal and cannot happen.
    let mut derive = <M as KeyInit>::new_from_slice(key).map_err(|_| HashKeyError::TooShort)?;
    derive.update(DOMAIN);
    <M as KeyInit>::new_from_slice(&derive.finalize().into_bytes()).map_err(|_| HashKeyError::TooShort)
}

fn finish<M: Mac<OutputSize = hmac::digest::consts::U32>>(mut mac: M, pointer: &str, value: &str) -> [u8; 32] {
    mac.update(pointer.as_bytes());
    // A pointer of the profile has no NUL, so it cannot run into the value.
    mac.update(&[0]);
    mac.update(value.as_bytes());
    mac.finalize().into_bytes().into()
}

impl std::fmt::Debug for HashKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashKeys").field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn text(hash: [u8; 64]) -> String {
        String::from_utf8(hash.to_vec()).unwrap()
    }

    #[test]
    fn hashes_are_those_of_independent_implementations() {
        // Python, for hash in "sha256", "sm3": inner = hmac.new(KEY, b"shuqiao keyed hash v1", hash).digest(); then
        // hmac.new(inner, b"/id\0" + b"330106199003070014", hash).hexdigest()
        let sha = HashKeys::new(HashAlgorithm::HmacSha256, KEY).unwrap();
        let sm3 = HashKeys::new(HashAlgorithm::HmacSm3, KEY).unwrap();
        assert_eq!(
            text(sha.hash("/id", "330106199003070014")),
            "0c8fd7b03cd3f505e26abedbc87eafe600c58e4119a1734e63707f3a75d653d2"
        );
        assert_eq!(
            text(sm3.hash("/id", "330106199003070014")),
            "9d63a791a7516ccfb6da0363d6d68148a6aca46fc408457e663ccd78ccb959fb"
        );
    }

    #[test]
    fn fields_keys_and_algorithms_separate_equal_values() {
        let sha = HashKeys::new(HashAlgorithm::HmacSha256, KEY).unwrap();
        let other = HashKeys::new(HashAlgorithm::HmacSha256, &KEY[1..]).unwrap();
        let sm3 = HashKeys::new(HashAlgorithm::HmacSm3, KEY).unwrap();
        let hashes =
            [sha.hash("/a", "v"), sha.hash("/b", "v"), sha.hash("/a", "w"), other.hash("/a", "v"), sm3.hash("/a", "v")];
        for (index, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..index].contains(hash));
        }
        assert_eq!(sha.hash("/a", "v"), sha.hash("/a", "v"));
    }

    #[test]
    fn a_key_is_long_enough_and_never_shown() {
        assert_eq!(HashKeys::new(HashAlgorithm::HmacSm3, &KEY[..15]).unwrap_err(), HashKeyError::TooShort);
        assert_eq!(
            format!("{:?}", HashKeys::new(HashAlgorithm::HmacSm3, KEY).unwrap()),
            "HashKeys { algorithm: HmacSm3, .. }"
        );
    }
}
