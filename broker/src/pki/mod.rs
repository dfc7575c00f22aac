//! A small certificate authority for sandboxes and small sites, the node's receipt key and the exchange's secret.
//!
//! Promises: every file appears whole or not at all (written beside its place, synced, renamed); private keys are readable by their owner
//! only; a revocation is in the index and in the CRL before [`Authority::revoke`] returns. Keys are ECDSA P-256 (certificates) and Ed25519
//! (receipts), both by `ring`.
//!
//! Refuses: to overwrite an existing authority, and to sign a name that is no name of this exchange. A site that has an authority of its own uses
//! that one; nothing else in the broker knows this module's files.

mod authority;
mod files;
mod receipt;
mod secret;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use authority::{Authority, Entry, Issued, NewAuthority, Request, Status, Subject};
pub use receipt::receipt_key;
pub use secret::ExchangeSecret;

/// Name of the authority's certificate in its directory.
pub const CA_CERTIFICATE: &str = "ca.pem";
/// Name of the revocation list in the authority's directory.
pub const CRL: &str = "crl.pem";

/// What can go wrong with the authority's files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// "read", "write", "lock".
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The directory holds an authority already.
    #[error("{} holds an authority already: issue from it, or choose another directory", .0.display())]
    Exists(PathBuf),
    /// The directory holds no authority.
    #[error("{} holds no authority: make one with `shuqiao pki init`", .0.display())]
    NoAuthority(PathBuf),
    /// A file does not hold what it should.
    #[error("{} is not {expected}", .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// A private key is readable by everybody.
    #[error("{} is readable by others: run chmod 600 on it", .0.display())]
    KeyExposed(PathBuf),
    /// A name that no certificate of this exchange may carry.
    #[error("{name:?} is no {kind}: {rule}")]
    Name {
        /// The name as given.
        name: String,
        /// What it was to be.
        kind: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// A validity of no days, or of more than ten years.
    #[error("a certificate is valid for 1 to 3650 days")]
    Validity,
    /// No certificate has this serial number.
    #[error("no certificate has the serial number {0}: `shuqiao pki list` shows those that have been issued")]
    UnknownSerial(String),
    /// The library refused to make or sign something.
    #[error("cannot make the certificate")]
    Certificate(#[from] rcgen::Error),
    /// The system gave no random bytes, or the key is not usable.
    #[error("cannot make or use the key")]
    Key,
}
