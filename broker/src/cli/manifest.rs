//! Resources as people write them: YAML or JSON, several documents a file.
//!
//! Field names are those of the proto. What `get -o yaml` prints, `apply` takes: output-only fields are accepted and, except for the etag, ignored.
//! Unknown fields are refused by name.

mod record_type;

use serde::{Deserialize, Serialize};
use shuqiao_proto::v1;

pub(super) use self::record_type::RecordType;
use super::error::Error;

/// A time, written as RFC 3339 with any offset, shown in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Time(jiff::Timestamp);

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

fn rows(conditions: Vec<v1::RowCondition>) -> Vec<RowCondition> {
    conditions.into_iter().map(|row| RowCondition { field: row.field, values: row.values }).collect()
}

pub(super) fn wire_rows(conditions: Vec<RowCondition>) -> Vec<v1::RowCondition> {
    conditions.into_iter().map(|row| v1::RowCondition { field: row.field, values: row.values }).collect()
}

fn positions(wire: Vec<v1::Position>) -> Vec<Position> {
    wire.into_iter().map(|position| Position { partition: position.partition, offset: position.offset }).collect()
}

impl From<v1::Department> for Department {
    fn from(wire: v1::Department) -> Self {
        Self {
            kind: "department".into(),
            name: wire.name,
            etag: wire.etag,
            unified_social_credit_code: wire.unified_social_credit_code,
            display_name: wire.display_name,
            roles: wire.roles.into_iter().filter_map(Role::from_wire).collect(),
            create_time: time(wire.create_time),
            update_time: time(wire.update_time),
        }
    }
}

impl From<Department> for v1::Department {
    fn from(manifest: Department) -> Self {
        Self {
            name: full_name("departments", &manifest.name),
            etag: manifest.etag,
            unified_social_credit_code: manifest.unified_social_credit_code,
            display_name: manifest.display_name,
            roles: manifest.roles.into_iter().map(Role::to_wire).collect(),
            create_time: None,
            update_time: None,
        }
    }
}

impl From<v1::Dataset> for Dataset {
    fn from(wire: v1::Dataset) -> Self {
        Self {
            kind: "dataset".into(),
            name: wire.name,
            etag: wire.etag,
            owner: wire.owner,
            record_type: wire.record_type,
            title: wire.title,
            sharing_class: SharingClass::from_wire(wire.sharing_class),
            legal_basis: wire.legal_basis,
            partitions: wire.partitions,
            retention_seconds: wire.retention_seconds,
            listed: wire.listed,
            create_time: time(wire.create_time),
            update_time: time(wire.update_time),
        }
    }
}

impl From<Dataset> for v1::Dataset {
    fn from(manifest: Dataset) -> Self {
        Self {
            name: full_name("datasets", &manifest.name),
            etag: manifest.etag,
            owner: manifest.owner,
            record_type: manifest.record_type,
            title: manifest.title,
            sharing_class: manifest.sharing_class.map_or(0, SharingClass::to_wire),
            legal_basis: manifest.legal_basis,
            partitions: manifest.partitions,
            retention_seconds: manifest.retention_seconds,
            listed: manifest.listed,
            create_time: None,
            update_time: None,
        }
    }
}

impl From<v1::Grant> for Grant {
    fn from(wire: v1::Grant) -> Self {
        let field = |field: v1::FieldGrant| {
            Some(FieldGrant { path: field.path, treatment: Treatment::from_wire(field.treatment)? })
        };
        Self {
            kind: "grant".into(),
            name: wire.name,
            etag: wire.etag,
            dataset: wire.dataset,
            grantee: wire.grantee,
            fields: wire.fields.into_iter().filter_map(field).collect(),
            rows: rows(wire.rows),
            purpose: wire.purpose,
            legal_basis: wire.legal_basis,
            start_time: time(wire.start_time),
            end_time: time(wire.end_time),
            revoked: wire.revoked,
            create_time: time(wire.create_time),
            update_time: time(wire.update_time),
        }
    }
}

impl From<Grant> for v1::Grant {
    fn from(manifest: Grant) -> Self {
        let field = |field: FieldGrant| v1::FieldGrant { path: field.path, treatment: field.treatment.to_wire() };
        Self {
            name: full_name("grants", &manifest.name),
            etag: manifest.etag,
            dataset: manifest.dataset,
            grantee: manifest.grantee,
            fields: manifest.fields.into_iter().map(field).collect(),
            rows: wire_rows(manifest.rows),
            purpose: manifest.purpose,
            legal_basis: manifest.legal_basis,
            start_time: manifest.start_time.map(Time::to_wire),
            end_time: manifest.end_time.map(Time::to_wire),
            revoked: false,
            create_time: None,
            update_time: None,
        }
    }
}

impl Start {
    pub(super) fn to_wire(&self) -> v1::StartPosition {
        use v1::start_position::Start as Wire;
        let start = match self {
            Self::Beginning => Wire::Beginning(true),
            Self::Now => Wire::Now(true),
            Self::Time(time) => Wire::Time(time.to_wire()),
            Self::Positions(positions) => Wire::Positions(v1::PositionList {
                positions: positions
                    .iter()
                    .map(|position| v1::Position { partition: position.partition, offset: position.offset })
                    .collect(),
            }),
        };
        v1::StartPosition { start: Some(start) }
    }

    fn from_wire(wire: v1::StartPosition) -> Option<Self> {
        use v1::start_position::Start as Wire;
        match wire.start? {
            Wire::Beginning(_) => Some(Self::Beginning),
            Wire::Now(_) => Some(Self::Now),
            Wire::Time(time) => Time::from_wire(&time).map(Self::Time),
            Wire::Positions(list) => Some(Self::Positions(positions(list.positions))),
        }
    }
}

impl From<v1::Subscription> for Subscription {
    fn from(wire: v1::Subscription) -> Self {
        Self {
            kind: "subscription".into(),
            name: wire.name,
            etag: wire.etag,
            dataset: wire.dataset,
            subscriber: wire.subscriber,
            start: wire.start.and_then(Start::from_wire),
            filter: rows(wire.filter),
            purpose: wire.purpose,
            create_time: time(wire.create_time),
            update_time: time(wire.update_time),
            cursor: positions(wire.cursor),
        }
    }
}

impl From<Subscription> for v1::Subscription {
    fn from(manifest: Subscription) -> Self {
        Self {
            name: full_name("subscriptions", &manifest.name),
            etag: manifest.etag,
            dataset: manifest.dataset,
            subscriber: manifest.subscriber,
            start: manifest.start.as_ref().map(Start::to_wire),
            filter: wire_rows(manifest.filter),
            purpose: manifest.purpose,
            create_time: None,
            update_time: None,
            cursor: Vec::new(),
        }
    }
}

/// One document of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Manifest {
    Department(Department),
    RecordType(RecordType),
    Dataset(Dataset),
    Grant(Grant),
    Subscription(Subscription),
}

impl Manifest {
    /// What must be there first comes first: a grant needs its dataset, a dataset its record type, and that its department.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Department(_) => 0,
            Self::RecordType(_) => 1,
            Self::Dataset(_) => 2,
            Self::Grant(_) => 3,
            Self::Subscription(_) => 4,
        }
    }

    /// Every document of a text. `origin` is named in errors.
    pub(super) fn parse_all(text: &str, origin: &str) -> Result<Vec<Self>, Error> {
        let mut manifests = Vec::new();
        let mut mistakes = Vec::new();
        for (number, document) in
            documents(text).map_err(|mistake| Error::Input(format!("{origin}: {mistake}")))?.iter().enumerate()
        {
            match Self::parse(document) {
                Ok(manifest) => manifests.push(manifest),
                Err(mistake) => mistakes.push(format!("{origin}, document {}: {mistake}", number + 1)),
            }
        }
        if mistakes.is_empty() { Ok(manifests) } else { Err(Error::Input(mistakes.join("\n"))) }
    }

    fn parse(document: &str) -> Result<Self, String> {
        /// Read first, so that the rest is read by the types of its kind: codes of digits stay text.
        #[derive(Deserialize)]
        struct Head {
            kind: Option<String>,
        }
        fn of<T: serde::de::DeserializeOwned>(document: &str) -> Result<T, String> {
            serde_saphyr::from_str(document).map_err(|error| {
                // The library begins with a word that the message has already.
                let text = error.to_string();
                text.strip_prefix("error: ").map_or(text.clone(), str::to_owned)
            })
        }
        let head: Head = of(document)?;
        match head.kind.as_deref() {
            Some("department") => of(document).map(Self::Department),
            Some("record-type") => of(document).map(Self::RecordType),
            Some("dataset") => of(document).map(Self::Dataset),
            Some("grant") => of(document).map(Self::Grant),
            Some("subscription") => of(document).map(Self::Subscription),
            Some(other) => {
                Err(format!("kind {other:?} is not department, record-type, dataset, grant or subscription"))
            }
            None => Err("kind is missing: department, record-type, dataset, grant or subscription".into()),
        }
    }
}

/// The documents of a text: a JSON list, JSON objects one after the other, or YAML between lines of `---`.
fn documents(text: &str) -> Result<Vec<String>, String> {
    let json = |value: &serde_json::Value| value.to_string();
    match text.trim_start().chars().next() {
        Some('[') => {
            let list: Vec<serde_json::Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
            Ok(list.iter().map(json).collect())
        }
        Some('{') => serde_json::Deserializer::from_str(text)
            .into_iter::<serde_json::Value>()
            .map(|value| value.map(|value| json(&value)).map_err(|error| error.to_string()))
            .collect(),
        _ => {
            let mut documents = vec![String::new()];
            for line in text.lines() {
                // YAML 1.2.2 section 9.1.2: the marker stands at the beginning of a line, whatever surrounds it.
                if let Some(rest) =
                    line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
                {
                    documents.push(format!("{}\n", rest.trim_start()));
                } else if let Some(document) = documents.last_mut() {
                    document.push_str(line);
                    document.push('\n');
                }
            }
            let says_something = |document: &String| {
                document.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
            };
            Ok(documents.into_iter().filter(says_something).collect())
        }
    }
}
