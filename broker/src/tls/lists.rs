//! Whose revocation lists they are.
//!
//! rustls takes any list that it can parse, and then refuses everybody whose authority has none that holds: a list in the wrong place would cut off every
//! department. So each is held against the authorities before any of them comes into force.

use std::path::Path;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer, revocation_list::CertificateRevocationList, x509::X509Name,
};

use super::Error;

/// Whether each list was signed by one of the authorities, and each authority has a list. Answers with when the first one runs out, seconds since 1970.
///
/// # Errors
/// [`Error::MalformedList`], [`Error::ForeignList`], [`Error::ForgedList`], [`Error::NoList`], [`Error::MalformedCertificate`].
pub(super) fn judge(
    lists: &[CertificateRevocationListDer<'_>],
    lists_path: &Path,
    authorities: &[CertificateDer<'_>],
    authorities_path: &Path,
) -> Result<Option<i64>, Error> {
    let parsed = authorities.iter().map(|der| X509Certificate::from_der(der).map(|(_, authority)| authority));
    let authorities: Vec<_> = parsed
        .collect::<Result<_, _>>()
        .map_err(|_| Error::MalformedCertificate { path: authorities_path.to_path_buf() })?;
    let parsed = lists.iter().map(|der| CertificateRevocationList::from_der(der).map(|(_, list)| list));
    let lists: Vec<_> =
        parsed.collect::<Result<_, _>>().map_err(|_| Error::MalformedList { path: lists_path.to_path_buf() })?;
    for list in &lists {
        // An authority that changed its key has two certificates of one name.
        let mut named = authorities.iter().filter(|authority| same(authority.subject(), list.issuer())).peekable();
        if named.peek().is_none() {
            return Err(Error::ForeignList { path: lists_path.to_path_buf(), issuer: list.issuer().to_string() });
        }
        if !named.any(|authority| list.verify_signature(authority.public_key()).is_ok()) {
            return Err(Error::ForgedList { path: lists_path.to_path_buf(), issuer: list.issuer().to_string() });
        }
    }
    if let Some(bare) =
        authorities.iter().find(|authority| !lists.iter().any(|list| same(authority.subject(), list.issuer())))
    {
        return Err(Error::NoList { path: lists_path.to_path_buf(), authority: bare.subject().to_string() });
    }
    Ok(lists.iter().filter_map(|list| list.next_update()).map(|time| time.timestamp()).min())
}

/// Byte for byte, as the verifier compares them.
fn same(one: &X509Name<'_>, other: &X509Name<'_>) -> bool {
    one.as_raw() == other.as_raw()
}
