//! One line of the trail and its canonical bytes.
//!
//! The canonical bytes are what a Merkle leaf hashes (RFC 6962 section 2.1: SHA-256 over a zero byte and the entry), so they are frozen: JSON, UTF-8, no
//! spaces, every member present and in this order, numbers whole, digests as 64 lower-case hexadecimal digits, absent things `null`:
//!
//! | member | what |
//! |---|---|
//! | `v` | 1 |
//! | `time_ms` | when the node wrote it, milliseconds since 1970 |
//! | `node` | id of the node |
//! | `actor` | `department/{alias}/system/{name}` or `…/person/{name}` |
//! | `certificate` | serial number of its certificate, hexadecimal |
//! | `action` | snake_case name of an [`Action`] |
//! | `dataset` | id |
//! | `grant` | `{"id":…,"version":…}` |
//! | `purpose` | as the caller named it |
//! | `target` | `{"resource":…,"command":…,"key":…,"subject":{"kind":…,"digest":…},"fields":[…],"filter":…}` |
//! | `positions` | `[[partition,first,last],…]`; of a change of the catalogue, where its entry lies in the catalogue's log |
//! | `count` | records; of `refused_calls`, calls |
//! | `digest` | over what was released or taken, as the action defines it |
//! | `outcome` | `"allowed"` or `{"denied":"GRANT_REVOKED"}` |
//!
//! Strings are escaped as serde_json does: `"`, `\` and control characters, nothing else. A change of any of this is a larger `v` beside the old one.
//!
//! Refuses: payloads and keys. A key, a subject or a value filtered by may be a person's, so only their keyed digests ([`super::AuditKey`]) fit the types here.

use serde::Serialize;

use super::KeyedDigest;
use crate::exchange::{
    identity::Identity,
    model::{DatasetId, GrantId, SourceId},
};

/// The version of the canonical bytes.
pub const VERSION: u32 = 1;

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What was done, or asked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $($(#[$doc])* $name,)* }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

actions! {
    /// A batch was taken.
    Publish = "publish",
    /// A batch was delivered.
    Deliver = "deliver",
    /// A stream of a subscription was opened.
    Subscribe = "subscribe",
    /// QueryService.GetRecord.
    GetRecord = "get_record",
    /// QueryService.ListRecords.
    ListRecords = "list_records",
    /// QueryService.ListSubjectRecords.
    ListSubjectRecords = "list_subject_records",
    /// QueryService.ListRecordHistory.
    ListRecordHistory = "list_record_history",
    /// QueryService.CompareRecord.
    CompareRecord = "compare_record",
    /// QueryService.GetDatasetDigest.
    GetDatasetDigest = "get_dataset_digest",
    /// A command to the catalogue.
    CatalogueChange = "catalogue_change",
    /// AuditService.ListAuditEntries.
    ReadAudit = "read_audit",
    /// A command to the catalogue that changed it, and was without its entry ([`super::Recovery`]).
    RecoveredChange = "recovered_catalogue_change",
    /// Calls that were refused without an entry each: more came than the trail takes (`refusals.rs`).
    RefusedCalls = "refused_calls",
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done, or what it asked for was released.
    Allowed,
    /// It was refused; nothing was released.
    Denied(
        /// The stable reason, as the status carries it: `GRANT_REVOKED`.
        &'static str,
    ),
}

/// What was asked about: ids that are public, digests of what may be personal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Name of a resource: `subscriptions/taxation.enterprise`.
    pub resource: Option<String>,
    /// Name of a command to the catalogue: `create_grant`.
    pub command: Option<&'static str>,
    /// Of a record key ([`super::AuditKey::key`]).
    pub key: Option<KeyedDigest>,
    /// Kind and digest of a subject ([`super::AuditKey::subject`]).
    pub subject: Option<(SubjectKind, KeyedDigest)>,
    /// Fields compared or filtered by: names, never values.
    pub fields: Vec<String>,
    /// Of the values compared with or filtered by ([`super::AuditKey::values`]).
    pub filter: Option<KeyedDigest>,
}

/// The stable name of a kind of subject, checked: nobody smuggles an identifier in as its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SubjectKind(String);

impl SubjectKind {
    /// The kind where it is at most 32 of `a-z _`, otherwise `other`.
    pub fn new(kind: &str) -> Self {
        let named =
            (1..=32).contains(&kind.len()) && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        Self(if named { kind.to_owned() } else { "other".to_owned() })
    }
}

/// An entry to append: everything but time and node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Who acted.
    pub actor: SourceId,
    /// Of its certificate.
    pub certificate_serial: String,
    /// What it did.
    pub action: Action,
    /// With which dataset.
    pub dataset: Option<DatasetId>,
    /// By which grant and version of it; none for an owner.
    pub grant: Option<(GrantId, u64)>,
    /// As the caller named it.
    pub purpose: String,
    /// What was asked about.
    pub target: Target,
    /// Partition, first and last offset; of a change of the catalogue, in the catalogue's log.
    pub positions: Vec<(u32, u64, u64)>,
    /// Records released or taken; of [`Action::RefusedCalls`], calls.
    pub count: u64,
    /// Over what was released or taken.
    pub digest: Option<[u8; 32]>,
    /// What came of it.
    pub outcome: Outcome,
}

impl NewEntry {
    /// An allowed action of the caller, about nothing yet.
    pub fn new(caller: &Identity, action: Action) -> Self {
        Self {
            actor: caller.source.clone(),
            certificate_serial: caller.certificate_serial.clone(),
            action,
            dataset: None,
            grant: None,
            purpose: String::new(),
            target: Target::default(),
            positions: Vec::new(),
            count: 0,
            digest: None,
            outcome: Outcome::Allowed,
        }
    }

    /// The canonical bytes.
    ///
    /// # Errors
    /// None that can happen: every member is text, a whole number or a list of these.
    pub fn canonical(&self, node: &str, time_ms: i64) -> Result<Vec<u8>, serde_json::Error> {
        let hex = |digest: &KeyedDigest| hex::encode(digest.as_bytes());
        serde_json::to_vec(&Canonical {
            v: VERSION,
            time_ms,
            node,
            actor: self.actor.as_str(),
            certificate: &self.certificate_serial,
            action: self.action.as_str(),
            dataset: self.dataset.as_ref().map(DatasetId::as_str),
            grant: self.grant.as_ref().map(|(id, version)| CanonicalGrant { id: id.as_str(), version: *version }),
            purpose: &self.purpose,
            target: CanonicalTarget {
                resource: self.target.resource.as_deref(),
                command: self.target.command,
                key: self.target.key.as_ref().map(hex),
                subject: self
                    .target
                    .subject
                    .as_ref()
                    .map(|(kind, digest)| CanonicalSubject { kind, digest: hex(digest) }),
                fields: &self.target.fields,
                filter: self.target.filter.as_ref().map(hex),
            },
            positions: &self.positions,
            count: self.count,
            digest: self.digest.map(hex::encode),
            outcome: self.outcome,
        })
    }
}

/// The members in their order: serde writes them as they stand here.
#[derive(Serialize)]
struct Canonical<'a> {
    v: u32,
    time_ms: i64,
    node: &'a str,
    actor: &'a str,
    certificate: &'a str,
    action: &'a str,
    dataset: Option<&'a str>,
    grant: Option<CanonicalGrant<'a>>,
    purpose: &'a str,
    target: CanonicalTarget<'a>,
    positions: &'a [(u32, u64, u64)],
    count: u64,
    digest: Option<String>,
    outcome: Outcome,
}

#[derive(Serialize)]
struct CanonicalGrant<'a> {
    id: &'a str,
    version: u64,
}

#[derive(Serialize)]
struct CanonicalTarget<'a> {
    resource: Option<&'a str>,
    command: Option<&'a str>,
    key: Option<String>,
    subject: Option<CanonicalSubject<'a>>,
    fields: &'a [String],
    filter: Option<String>,
}

#[derive(Serialize)]
struct CanonicalSubject<'a> {
    kind: &'a SubjectKind,
    digest: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{audit::AuditKey, catalogue::fixtures::system};

    fn key() -> AuditKey {
        AuditKey::new(&[9; 32])
    }

    fn full(action: Action) -> NewEntry {
        let dataset: DatasetId = "market-supervision.enterprise".parse().unwrap();
        NewEntry {
            dataset: Some(dataset.clone()),
            grant: Some(("taxation-reads".parse().unwrap(), 7)),
            purpose: "风险\"核查\"".into(),
            target: Target {
                resource: Some("subscriptions/taxation.enterprise".into()),
                command: None,
                key: Some(key().key(&dataset, "91320600MA1MWN8P6K")),
                subject: Some((SubjectKind::new("uscc"), key().subject("uscc", "91320600MA1MWN8P6K"))),
                fields: vec!["region".into()],
                filter: Some(key().values(&["320602"])),
            },
            positions: vec![(0, 5, 9), (1, 2, 2)],
            count: 4,
            digest: Some([0xab; 32]),
            outcome: Outcome::Allowed,
            ..NewEntry::new(&system("taxation"), action)
        }
    }

    fn text(entry: &NewEntry) -> String {
        String::from_utf8(entry.canonical("node-1", 1_700_000_000_000).unwrap()).unwrap()
    }

    #[test]
    fn the_canonical_bytes_of_every_action_are_frozen() {
        // A change here makes every hash taken before unverifiable. The keyed digests are those of an independent implementation (Python's hmac).
        let rest = concat!(
            r#""dataset":"market-supervision.enterprise","grant":{"id":"taxation-reads","version":7},"purpose":"风险\"核查\"","#,
            r#""target":{"resource":"subscriptions/taxation.enterprise","command":null,"#,
            r#""key":"9e153bfbb6499df88bdbd9eb0b31247b6fe6e2d837191f024bc57d3cdfd87f02","subject":{"kind":"uscc","digest":"cff68414ab76f7d09fdd73a754cb5b943f2bce0524100d66098d0a11366dc097"},"fields":["region"],"filter":"835ac76f62245fdefb79c9e096e361fba88dc51f360c4667a3597ab4254e0af3"},"#,
            r#""positions":[[0,5,9],[1,2,2]],"count":4,"#,
            r#""digest":"abababababababababababababababababababababababababababababababab","outcome":"allowed"}"#,
        );
        let names = [
            "publish",
            "deliver",
            "subscribe",
            "get_record",
            "list_records",
            "list_subject_records",
            "list_record_history",
            "compare_record",
            "get_dataset_digest",
            "catalogue_change",
            "read_audit",
            "recovered_catalogue_change",
            "refused_calls",
        ];
        assert_eq!(Action::ALL.len(), names.len());
        for (action, name) in Action::ALL.iter().zip(names) {
            let head = concat!(
                r#"{"v":1,"time_ms":1700000000000,"node":"node-1","actor":"department/taxation/system/registry","#,
                r#""certificate":"01","action":""#
            );
            assert_eq!(text(&full(*action)), format!("{head}{name}\",{rest}"));
        }
    }

    #[test]
    fn what_is_absent_is_null_and_a_denial_says_why() {
        let mut entry = NewEntry::new(&system("taxation"), Action::GetRecord);
        entry.outcome = Outcome::Denied("GRANT_REVOKED");
        let expected = concat!(
            r#"{"v":1,"time_ms":1700000000000,"node":"node-1","actor":"department/taxation/system/registry","certificate":"01","#,
            r#""action":"get_record","dataset":null,"grant":null,"purpose":"","#,
            r#""target":{"resource":null,"command":null,"key":null,"subject":null,"fields":[],"filter":null},"#,
            r#""positions":[],"count":0,"digest":null,"outcome":{"denied":"GRANT_REVOKED"}}"#,
        );
        assert_eq!(text(&entry), expected);
    }

    #[test]
    fn a_kind_that_could_be_an_identifier_is_not_written() {
        assert_eq!(SubjectKind::new("resident_id").0, "resident_id");
        for smuggled in ["330106199003070014", "张三", "", &"a".repeat(33)] {
            assert_eq!(SubjectKind::new(smuggled).0, "other");
        }
    }
}
