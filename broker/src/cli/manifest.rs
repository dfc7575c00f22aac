//! Resources as people write them: YAML or JSON, several documents a file.
//!
//! Field names are those of the proto. What `get -o yaml` prints, `apply` takes: output-only fields are accepted and, except for the etag, ignored.
//! Unknown fields are refused by name.

mod document;
mod record_type;
mod wire;

use serde::{Deserialize, Serialize};
use shuqiao_proto::v1;

pub(super) use self::{document::Manifest, record_type::RecordType};

/// A time, written as RFC 3339 with any offset, shown in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "jiff::Timestamp", try_from = "String")]
pub(super) struct Time(jiff::Timestamp);

impl From<Time> for jiff::Timestamp {
    fn from(time: Time) -> Self {
        time.0
    }
}

impl TryFrom<String> for Time {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Time {
    pub(super) fn from_wire(time: &prost_types::Timestamp) -> Option<Self> {
        jiff::Timestamp::new(time.seconds, time.nanos).ok().map(Self)
    }

    /// As a node keeps it: cut to the millisecond, towards the past.
    pub(super) fn to_the_millisecond(self) -> Self {
        let nanoseconds = self.0.as_nanosecond().div_euclid(1_000_000) * 1_000_000;
        jiff::Timestamp::from_nanosecond(nanoseconds).map_or(self, Self)
    }

    pub(super) fn as_millisecond(self) -> i64 {
        self.0.as_millisecond()
    }

    pub(super) fn to_wire(self) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds: self.0.as_second(), nanos: self.0.subsec_nanosecond() }
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Time {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| "a time is written 2026-01-31T09:00:00+08:00".to_owned())
    }
}

fn time(time: Option<prost_types::Timestamp>) -> Option<Time> {
    time.as_ref().and_then(Time::from_wire)
}

/// An enum of the proto by its short name, in snake case.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident of $wire:path { $($variant:ident),* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub(super) enum $name { $($variant),* }

        impl $name {
            fn from_wire(number: i32) -> Option<Self> {
                use $wire as Wire;
                match Wire::try_from(number).ok()? {
                    $(Wire::$variant => Some(Self::$variant),)*
                    Wire::Unspecified => None,
                }
            }
            fn to_wire(self) -> i32 {
                use $wire as Wire;
                match self { $(Self::$variant => Wire::$variant.into(),)* }
            }
        }
    };
}
words!(Role of v1::Role { Administrator, Auditor });
words!(SharingClass of v1::SharingClass { Unconditional, Conditional, NotShared });
words!(Treatment of v1::Treatment { Clear, Masked, KeyedHash });

/// A department (部门).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Department {
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) etag: String,
    pub(super) unified_social_credit_code: String,
    pub(super) display_name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) roles: Vec<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) create_time: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) update_time: Option<Time>,
}

/// A dataset (数据资源).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dataset {
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) etag: String,
    /// Not there: the department that the name begins with.
    #[serde(default)]
    pub(super) owner: String,
    pub(super) record_type: String,
    pub(super) title: String,
    pub(super) sharing_class: Option<SharingClass>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) legal_basis: String,
    /// 0, or not there: the node's default.
    #[serde(default)]
    pub(super) partitions: u32,
    /// 0, or not there: the node's default.
    #[serde(default)]
    pub(super) retention_seconds: u64,
    #[serde(default)]
    pub(super) listed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) create_time: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) update_time: Option<Time>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldGrant {
    pub(super) path: String,
    pub(super) treatment: Treatment,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RowCondition {
    pub(super) field: String,
    pub(super) values: Vec<String>,
}

/// The values may be somebody's.
impl std::fmt::Debug for RowCondition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowCondition")
            .field("field", &self.field)
            .field("values", &self.values.len())
            .finish_non_exhaustive()
    }
}

/// A grant (授权).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grant {
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) etag: String,
    pub(super) dataset: String,
    pub(super) grantee: String,
    pub(super) fields: Vec<FieldGrant>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) rows: Vec<RowCondition>,
    pub(super) purpose: String,
    pub(super) legal_basis: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) start_time: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) end_time: Option<Time>,
    /// Output only: a grant is revoked by deleting it.
    #[serde(default)]
    pub(super) revoked: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) create_time: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) update_time: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    pub(super) partition: u32,
    pub(super) offset: u64,
}

/// `beginning`, `now`, `{time: …}` or `{positions: […]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Start {
    Beginning,
    Now,
    Time(Time),
    Positions(Vec<Position>),
}

/// A subscription (订阅).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscription {
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) etag: String,
    pub(super) dataset: String,
    pub(super) subscriber: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) start: Option<Start>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) filter: Vec<RowCondition>,
    pub(super) purpose: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) create_time: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) update_time: Option<Time>,
    /// Output only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) cursor: Vec<Position>,
}

/// `taxation` and `departments/taxation` are the same department.
pub(super) fn full_name(collection: &str, name: &str) -> String {
    if name.starts_with(&format!("{collection}/")) { name.to_owned() } else { format!("{collection}/{name}") }
}
