//! The nouns of the domain that every room shares: ids, positions, records.
//!
//! Promises: an id that exists is well-formed, so no room checks it again; ids are cheap to clone.

use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;

/// A key is at most this many bytes: it becomes a Kafka key and a part of the view's keys.
pub const KEY_BYTES_MAX: usize = 512;
/// A payload is at most this many bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Bytes of the records of one message, at most: what stands around them stays within the 4 MiB that a gRPC client takes unless told otherwise.
pub const MESSAGE_BYTES_MAX: usize = (4 << 20) - (16 << 10);
/// What a message needs for a record beside its texts: numbers, times, tags.
const MESSAGE_OVERHEAD_BYTES: usize = 96;
/// Partitions of one dataset, at most.
pub const PARTITIONS_MAX: u32 = 256;

/// Why a text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must be {rule}")]
pub struct MalformedId {
    /// What it should have been.
    pub kind: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
    /// The same in Chinese.
    pub rule_zh: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:expr, $rule:literal, $rule_zh:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// Maps by id are looked up by text: the order and equality of an id are its text's.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(MalformedId { kind: $kind, rule: $rule, rule_zh: $rule_zh })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = MalformedId;
            fn try_from(text: String) -> Result<Self, MalformedId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

/// `a-z`, digits and inner hyphens, beginning with a letter.
fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.last().is_some_and(|last| *last != b'-')
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
}

/// Labels joined by dots, at least `at_least` of them, short enough for a topic's name (Kafka: 249).
fn is_dotted(text: &str, at_least: usize) -> bool {
    text.len() <= 180 && text.split('.').count() >= at_least && text.split('.').all(is_label)
}

id!(
    /// A department's short alias: `market-supervision`.
    DepartmentAlias, "department", is_label, "1-63 of a-z, 0-9 and inner hyphens, beginning with a letter",
    "1 至 63 个小写字母、数字或连字符，以字母开头，不以连字符结尾"
);
id!(
    /// A dataset: the owner's alias, a dot, and a name: `market-supervision.enterprise`.
    DatasetId, "dataset", |text| is_dotted(text, 2), "labels of a-z, 0-9 and hyphens joined by dots, beginning with the owner's alias",
    "以点连接的若干段小写字母、数字或连字符，首段为所有部门的别名"
);
id!(
    /// A grant: the alias of the dataset's owner, a dot, and a name: `market-supervision.taxation-enterprise`.
    GrantId, "grant", |text| is_dotted(text, 1), "labels of a-z, 0-9 and hyphens, may be joined by dots",
    "一段或以点连接的若干段小写字母、数字或连字符"
);
id!(
    /// A subscription: the subscriber's alias, a dot, and a name: `taxation.enterprise`.
    SubscriptionId, "subscription", |text| is_dotted(text, 2), "labels of a-z, 0-9 and hyphens joined by dots, beginning with the subscriber's alias",
    "以点连接的若干段小写字母、数字或连字符，首段为订阅部门的别名"
);
id!(
    /// A record type with its version: `enterprise/v1`, or a department's own with the department's alias before a dot: `taxation.notice/v1`.
    RecordTypeName, "record type", is_record_type,
    "a name, a slash and a version: enterprise/v1, or a department's own: taxation.notice/v1",
    "名称、斜线和版本，如 enterprise/v1；部门自有的在名称前加别名和点，如 taxation.notice/v1"
);
id!(
    /// A system of a department, as its certificate names it: `department/market-supervision/system/registry`.
    SourceId, "source",
    |text| { let parts: Vec<_> = text.split('/').collect(); parts.len() == 4 && parts[0] == "department" && is_label(parts[1]) && matches!(parts[2], "system" | "person") && is_label(parts[3]) },
    "department/{alias}/system/{name} or department/{alias}/person/{name}",
    "department/{alias}/system/{name} 或 department/{alias}/person/{name}"
);

/// A standard's name has no dot, a department's own has exactly one: whatever standards come, the two never meet.
fn is_record_type(text: &str) -> bool {
    let is_version = |number: &str| (1..5).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('/').is_some_and(|(name, version)| {
        (is_label(name) || name.split_once('.').is_some_and(|(alias, own)| is_label(alias) && is_label(own)))
            && version.strip_prefix('v').is_some_and(is_version)
    })
}

impl RecordTypeName {
    /// The alias of the department whose own it is; nothing for a standard of the software.
    pub fn owner(&self) -> Option<&str> {
        self.0.split_once('.').map(|(alias, _)| alias)
    }
}

impl DatasetId {
    /// The alias of the owner: everything before the first dot.
    pub fn owner(&self) -> &str {
        self.0.split_once('.').map_or(&*self.0, |(owner, _)| owner)
    }
}

impl SourceId {
    /// The alias of its department.
    pub fn department(&self) -> &str {
        self.0.split('/').nth(1).unwrap_or_default()
    }
}

impl SubscriptionId {
    /// The alias of the subscriber: everything before the first dot.
    pub fn subscriber(&self) -> &str {
        self.0.split_once('.').map_or(&*self.0, |(subscriber, _)| subscriber)
    }
}

/// Where a record stands in the log of its dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// 0-based.
    pub partition: u32,
    /// 0-based, may have gaps.
    pub offset: u64,
}

/// What a record says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The payload is the key's whole new state.
    Upsert,
    /// The key no longer exists at the source.
    Delete,
}

/// One fact, as it lies in the log (see [`super::envelope`]).
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The version of the standard it was checked against.
    pub record_type: RecordTypeName,
    /// The record key, at most [`KEY_BYTES_MAX`] bytes of UTF-8.
    pub key: Arc<str>,
    /// What happened to the key.
    pub operation: Operation,
    /// Larger is newer.
    pub source_version: u64,
    /// JSON text; empty for a delete.
    pub payload: Bytes,
    /// Together with `sequence` the record's id.
    pub source: SourceId,
    /// The source's number.
    pub sequence: u64,
    /// When the broker took it, milliseconds since 1970.
    pub accept_time_ms: i64,
    /// What this one says again ([`super::envelope`]); `None` where it says something new.
    pub restates: Option<Restated>,
}

/// Where a record that is said again stands among the entries of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restated {
    /// Offset of its own first entry.
    pub offset: u64,
    /// The offset up to which it is the state of its key, whatever else lies there.
    pub behind: u64,
}

impl Record {
    /// Bytes that the record takes in a message, at most, with a payload of so many.
    pub fn message_bytes(&self, dataset: &DatasetId, payload_bytes: usize) -> usize {
        let texts = dataset.as_str().len() + self.record_type.as_str().len() + self.source.as_str().len();
        self.key.len() + payload_bytes + texts + MESSAGE_OVERHEAD_BYTES
    }
}

/// Neither key nor payload: both may be personal data.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("record_type", &self.record_type)
            .field("operation", &self.operation)
            .field("source", &self.source)
            .field("sequence", &self.sequence)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// The partition of a key, the same on every node and for ever: Kafka's own default partitioner (murmur2 of the key, sign bit cleared, modulo), so that any
/// Kafka client finds a key where we put it.
///
/// A dataset's partition count is fixed for its life, so a key never moves.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2::murmur2(key, murmur2::KAFKA_SEED) & 0x7fff_ffff) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_refuse_what_a_topic_or_a_certificate_could_not_carry() {
        assert!("market-supervision.enterprise".parse::<DatasetId>().is_ok());
        for bad in ["enterprise", "a..b", "A.b", "a.b-", "a.b/c", ""] {
            assert!(bad.parse::<DatasetId>().is_err(), "{bad}");
        }
        assert!("department/taxation/system/inbox".parse::<SourceId>().is_ok());
        assert!("department/taxation/inbox".parse::<SourceId>().is_err());
        assert!("enterprise/v1".parse::<RecordTypeName>().is_ok());
        let owner = |text: &str| text.parse::<RecordTypeName>().map(|name| name.owner().map(str::to_owned));
        assert_eq!(owner("enterprise/v1"), Ok(None));
        assert_eq!(owner("taxation.notice/v1"), Ok(Some("taxation".into())));
        for bad in ["enterprise/1", "a.b.c/v1", ".b/v1", "a./v1", "a.b/v", "a.b/v12345", "a.b"] {
            assert!(owner(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_lies_where_kafkas_own_partitioner_looks_for_it() {
        // Vectors of Kafka's UtilsTest.testMurmur2, as the unsigned hash with the sign bit cleared.
        for (key, hash) in [("21", -973_932_308_i32), ("foobar", -790_332_482), ("abc", 479_470_107)] {
            let positive = u32::from_ne_bytes(hash.to_ne_bytes()) & 0x7fff_ffff;
            assert_eq!(partition_of(key.as_bytes(), PARTITIONS_MAX), positive % PARTITIONS_MAX, "{key}");
        }
        let spread: std::collections::BTreeSet<_> =
            (0..100).map(|n| partition_of(format!("key-{n}").as_bytes(), 4)).collect();
        assert_eq!(spread.len(), 4);
    }
}
