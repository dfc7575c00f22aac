//! The key with which a node signs its receipts.

use std::{os::unix::fs::PermissionsExt, path::Path};

use ring::signature::Ed25519KeyPair;
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};

use super::{Error, files};

/// Loads the Ed25519 key at `path` (PKCS#8 in PEM), or makes one where there is none.
///
/// A node keeps its key for life: receipts of the past are verified with it. Back it up with the data directory.
///
/// # Errors
/// [`Error::KeyExposed`] if others may read the file, [`Error::Malformed`] if it is no Ed25519 key, [`Error::Io`].
pub fn receipt_key(path: &Path) -> Result<Ed25519KeyPair, Error> {
    if !path.exists() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        if files::create(path, pair.serialize_pem().as_bytes(), files::PRIVATE)? {
            tracing::info!(path = %path.display(), "made a receipt key");
        }
    }
    let mode = std::fs::metadata(path).map_err(files::io("read", path))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Error::KeyExposed(path.to_path_buf()));
    }
    let malformed = || Error::Malformed { path: path.to_path_buf(), expected: "an Ed25519 key (PKCS#8, PEM)" };
    let pem = files::read(path)?;
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| malformed())?;
    // Keys made elsewhere (openssl) lack the public half that ring would check against: accept those too.
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(|_| malformed())
}
