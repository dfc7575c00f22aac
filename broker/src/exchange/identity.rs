//! Who is at the other end: the SPIFFE id of a certificate, parsed once a connection.
//!
//! `spiffe://{exchange}/department/{alias}/system/{name}`; a person's ends in `/person/{name}`. What a department may do is not here:
//! roles come from the catalogue.

use super::model::{DepartmentAlias, SourceId};

/// Why a certificate's URI is no identity of this exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate's URI is not spiffe://{{exchange}}/department/{{alias}}/system/{{name}} of this exchange")]
pub struct Malformed;

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The department's alias.
    pub department: DepartmentAlias,
    /// The path of the SPIFFE id without its leading slash: also the source that this system publishes as.
    pub source: SourceId,
    /// Serial number of the certificate, as its big-endian bytes in hex.
    pub certificate_serial: String,
}

impl Identity {
    /// Parses `uri` against the trust domain `exchange`.
    ///
    /// # Errors
    /// [`Malformed`] for another scheme, trust domain or shape.
    pub fn parse(uri: &str, exchange: &str, certificate_serial: String) -> Result<Self, Malformed> {
        let path = uri
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.strip_prefix(exchange))
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or(Malformed)?;
        let source: SourceId = path.parse().map_err(|_| Malformed)?;
        let department = path.split('/').nth(1).and_then(|alias| alias.parse().ok()).ok_or(Malformed)?;
        Ok(Self { department, source, certificate_serial })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_of_this_exchange_are_identities() {
        let parse = |uri: &str| Identity::parse(uri, "nantong.example", "01".into());
        let identity = parse("spiffe://nantong.example/department/taxation/system/inbox").expect("well-formed");
        assert_eq!(identity.department.as_str(), "taxation");
        assert_eq!(identity.source.as_str(), "department/taxation/system/inbox");
        for bad in [
            "spiffe://other.example/department/taxation/system/inbox",
            "spiffe://nantong.example.evil/department/taxation/system/inbox",
            "https://nantong.example/department/taxation/system/inbox",
            "spiffe://nantong.example/department/taxation",
            "spiffe://nantong.example/department/../system/inbox",
        ] {
            assert_eq!(parse(bad), Err(Malformed), "{bad}");
        }
    }
}
