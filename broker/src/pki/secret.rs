//! The exchange's secret: what keyed hashes in grants and digests in the trail are made with, the same on every node.

use std::{fmt, os::unix::fs::PermissionsExt, path::Path};

use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};

use super::{Error, files};

/// 32 random bytes. `Debug` does not show them.
#[derive(Clone)]
pub struct ExchangeSecret(hmac::Key);

impl fmt::Debug for ExchangeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExchangeSecret")
    }
}

impl ExchangeSecret {
    /// Loads the secret at `path` (64 hexadecimal digits), or makes one where there is none. Whoever loses it can no longer match old digests of the trail,
    /// and keyed hashes change: back it up with the data directory.
    ///
    /// # Errors
    /// [`Error::KeyExposed`] if others may read the file, [`Error::Malformed`], [`Error::Io`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        let malformed = || Error::Malformed { path: path.to_path_buf(), expected: "64 hexadecimal digits" };
        if !path.exists() {
            let mut fresh = [0_u8; 32];
            SystemRandom::new().fill(&mut fresh).map_err(|_| malformed())?;
            if files::create(path, hex::encode(fresh).as_bytes(), files::PRIVATE)? {
                tracing::info!(path = %path.display(), "made an exchange secret");
            }
        }
        let mode = std::fs::metadata(path).map_err(files::io("read", path))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(Error::KeyExposed(path.to_path_buf()));
        }
        let mut bytes = [0_u8; 32];
        hex::decode_to_slice(files::read(path)?.trim(), &mut bytes).map_err(|_| malformed())?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// A key of its own for one use, so that no use learns of another's: HMAC-SHA256 over the use's name.
    pub fn derive(&self, name: &str) -> [u8; 32] {
        let tag = hmac::sign(&self.0, name.as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(tag.as_ref());
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_kept_private_and_gives_each_use_its_own_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exchange.secret");
        let first = ExchangeSecret::load(&path).unwrap();
        let second = ExchangeSecret::load(&path).unwrap();
        assert_eq!(first.derive("audit"), second.derive("audit"));
        assert_ne!(first.derive("audit"), first.derive("hash"));

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(ExchangeSecret::load(&path), Err(Error::KeyExposed(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "too short").unwrap();
        assert!(matches!(ExchangeSecret::load(&path), Err(Error::Malformed { .. })));
    }
}
