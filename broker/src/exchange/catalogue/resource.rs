//! The five kinds of resource, as the catalogue holds them.
//!
//! Promises: what is here has passed [`super::check`] and [`super::apply`]; it never changes in place: a change makes a new value with a larger version.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use shuqiao_schemas::engine::{RecordType, SchemaError};

use super::access::RowFilter;
use crate::{
    exchange::{
        Error,
        model::{DatasetId, DepartmentAlias, GrantId, Position, RecordTypeName, SubscriptionId},
    },
    log::Topic,
};

/// What a department may do beyond its own datasets and grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Registers departments and datasets, sees every resource. Reads no records by this.
    Administrator,
    /// Reads the audit trail.
    Auditor,
}

/// How a dataset may be shared (政务数据共享条例: 无条件共享, 有条件共享, 不予共享).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharingClass {
    /// 无条件共享.
    Unconditional,
    /// 有条件共享.
    Conditional,
    /// 不予共享: needs a legal basis, is never listed and takes no grants.
    NotShared,
}

/// How a granted field leaves the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    /// As it is.
    Clear,
    /// Through the mask that the record type declares.
    Masked,
    /// As a keyed hash: equal for equal values of the same field (by its JSON Pointer) shown to the same department, whatever the grant.
    KeyedHash,
}

/// One line of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldGrant {
    /// JSON Pointer into the payload; empty for the whole record, `*` for every element of an array.
    pub path: String,
    /// How it is shown.
    pub treatment: Treatment,
}

/// Rows: the field has one of the values. Of several conditions all must hold.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowCondition {
    /// Name of an indexed field of the record type.
    pub field: String,
    /// Values that it may have.
    pub values: Vec<String>,
}

/// The values may be somebody's.
impl fmt::Debug for RowCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowCondition").field("field", &self.field).field("values", &self.values.len()).finish()
    }
}

/// An organ of government.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Department {
    /// Its name in certificates and ids.
    pub alias: DepartmentAlias,
    /// Its own unified social credit code (GB 32100-2015), which never changes.
    pub unified_social_credit_code: String,
    /// For people.
    pub display_name: String,
    /// Sorted, each once.
    pub roles: Vec<Role>,
    /// Milliseconds since 1970.
    pub create_time_ms: i64,
    /// Milliseconds since 1970.
    pub update_time_ms: i64,
    /// Grows with every change (see [`Etag`]).
    pub version: u64,
}

/// A department's catalogued holding of records of one record type (数据资源).
#[derive(Clone, Serialize)]
pub struct Dataset {
    /// Begins with the owner's alias.
    pub id: DatasetId,
    /// The department that publishes into it.
    pub owner: DepartmentAlias,
    /// The standard that its records keep.
    pub record_type: RecordTypeName,
    /// That standard, compiled; nothing where it is a department's own that this software cannot compile.
    #[serde(skip)]
    pub compiled: Option<Arc<RecordType>>,
    /// For people.
    pub title: String,
    /// How it may be shared.
    pub sharing_class: SharingClass,
    /// Law, regulation or policy; never empty for [`SharingClass::NotShared`].
    pub legal_basis: String,
    /// 1-256, fixed for its life.
    pub partitions: u32,
    /// How long every change is kept before compaction, milliseconds.
    pub retention_ms: u64,
    /// Whether its existence is public.
    pub listed: bool,
    /// Where its records lie.
    #[serde(skip)]
    pub topic: Topic,
    /// Milliseconds since 1970.
    pub create_time_ms: i64,
    /// Milliseconds since 1970.
    pub update_time_ms: i64,
    /// Grows with every change (see [`Etag`]).
    pub version: u64,
}

/// Without the compiled record type, which is long.
impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataset")
            .field("id", &self.id)
            .field("record_type", &self.record_type)
            .field("partitions", &self.partitions)
            .field("listed", &self.listed)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Dataset {
    /// The standard, compiled.
    ///
    /// # Errors
    /// [`Error::RecordTypeUnusable`].
    pub fn standard(&self) -> Result<&Arc<RecordType>, Error> {
        self.compiled.as_ref().ok_or_else(|| self.unusable())
    }

    /// Why nobody reads it or publishes into it on this node.
    pub(crate) fn unusable(&self) -> Error {
        Error::RecordTypeUnusable { dataset: self.id.clone(), record_type: self.record_type.clone() }
    }
}

/// A record type of a department's own (部门自有记录标准). It never changes: another meaning is another version under a name of its own.
#[derive(Clone, Serialize)]
pub struct OwnRecordType {
    /// Begins with the owner's alias.
    pub name: RecordTypeName,
    /// The department that registered it.
    pub owner: DepartmentAlias,
    /// The schema document, byte for byte.
    pub schema: String,
    /// The code tables that came with it, in the order in which they were sent.
    pub code_tables: Vec<String>,
    /// What they compile to, or why this software cannot: an earlier one could. Nothing in the catalogue depends on which of the two it is.
    #[serde(skip)]
    pub compiled: Result<Arc<RecordType>, Arc<SchemaError>>,
    /// Milliseconds since 1970.
    pub create_time_ms: i64,
    /// See [`Etag`].
    pub version: u64,
}

/// Without the documents, which are long.
impl fmt::Debug for OwnRecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnRecordType")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Who may see which fields and rows of a dataset, for which purpose, on which legal basis, until when (授权).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// Chosen by the owner.
    pub id: GrantId,
    /// What is shown.
    pub dataset: DatasetId,
    /// To whom.
    pub grantee: DepartmentAlias,
    /// What is not named here is absent.
    pub fields: Vec<FieldGrant>,
    /// Which records; empty for all.
    pub rows: Vec<RowCondition>,
    /// What the data may be used for.
    pub purpose: String,
    /// Law, regulation or policy.
    pub legal_basis: String,
    /// First millisecond of the period; `None`: since it was made.
    pub start_ms: Option<i64>,
    /// First millisecond after the period; `None`: until revoked.
    pub end_ms: Option<i64>,
    /// Set once. A revoked grant stays on record.
    pub revoked: bool,
    /// Milliseconds since 1970.
    pub create_time_ms: i64,
    /// Milliseconds since 1970.
    pub update_time_ms: i64,
    /// Grows with every change (see [`Etag`]).
    pub version: u64,
}

impl Grant {
    /// Whether it is neither revoked nor outside its period.
    pub fn is_valid_at(&self, now_ms: i64) -> bool {
        !self.revoked && self.start_ms.is_none_or(|start| start <= now_ms) && self.end_ms.is_none_or(|end| now_ms < end)
    }
}

/// Where a subscription begins, or goes on after a seek.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The oldest record that the log holds.
    Beginning,
    /// The next record after the command: the log's ends when it was given, one a partition, so that a first stream opened later misses nothing.
    Now(Vec<u64>),
    /// The first record accepted at or after this time, milliseconds since 1970.
    Time(i64),
    /// Partition and offset, sorted by partition; partitions that are not named begin at the beginning.
    Positions(Vec<(u32, u64)>),
}

impl Start {
    /// Positions as they are kept: sorted by partition.
    pub fn positions(positions: impl IntoIterator<Item = Position>) -> Self {
        let mut sorted: Vec<_> = positions.into_iter().map(|position| (position.partition, position.offset)).collect();
        sorted.sort_unstable();
        Self::Positions(sorted)
    }

    /// Whether a repeated command means the same: "now" is the same wish whenever it is said.
    pub(super) fn is_same_wish(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Now(_), Self::Now(_))) || self == other
    }
}

/// A department's durable, named place in a dataset's stream (订阅).
#[derive(Clone, Debug, Serialize)]
pub struct Subscription {
    /// Begins with the subscriber's alias.
    pub id: SubscriptionId,
    /// What is read.
    pub dataset: DatasetId,
    /// Who reads.
    pub subscriber: DepartmentAlias,
    /// Where it begins; replaced by a seek.
    pub start: Start,
    /// As the subscriber wrote it; all must hold.
    pub filter: Vec<RowCondition>,
    /// The same, compiled for the dataset's record type.
    #[serde(skip)]
    pub rows: RowFilter,
    /// What the data is used for.
    pub purpose: String,
    /// Milliseconds since 1970.
    pub create_time_ms: i64,
    /// Milliseconds since 1970.
    pub update_time_ms: i64,
    /// Grows with every change (see [`Etag`]).
    pub version: u64,
    /// The version at which `start` was set. A cursor of another generation is not this subscription's any more: after a seek, and after a deleted
    /// subscription's name is taken again.
    pub seek_generation: u64,
}

/// A version as the wire shows it: opaque text.
///
/// A version is one more than the log's offset of the change that made it: unique over the catalogue's whole life, so that a resource deleted and made
/// again never has an etag that it had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Etag(pub u64);

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{:x}", self.0)
    }
}

/// A text that no version shows as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no etag of this exchange")]
pub struct NoEtag;

impl FromStr for Etag {
    type Err = NoEtag;
    fn from_str(text: &str) -> Result<Self, NoEtag> {
        let version = text.strip_prefix('v').and_then(|hex| u64::from_str_radix(hex, 16).ok()).ok_or(NoEtag)?;
        // One spelling each: "v0A" is not "va".
        if Self(version).to_string() == text { Ok(Self(version)) } else { Err(NoEtag) }
    }
}

/// One resource, whichever kind.
#[derive(Clone, Debug)]
pub enum Resource {
    /// A department.
    Department(Arc<Department>),
    /// A department's own record type.
    RecordType(Arc<OwnRecordType>),
    /// A dataset.
    Dataset(Arc<Dataset>),
    /// A grant.
    Grant(Arc<Grant>),
    /// A subscription.
    Subscription(Arc<Subscription>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_has_one_spelling() {
        for version in [1, 10, 0xdead_beef, u64::MAX] {
            assert_eq!(Etag(version).to_string().parse(), Ok(Etag(version)));
        }
        for bad in ["", "1", "v", "v0A", "vA", "v01", "v+1", "v11111111111111111"] {
            assert_eq!(bad.parse::<Etag>(), Err(NoEtag), "{bad}");
        }
    }

    #[test]
    fn a_grant_is_valid_from_its_first_millisecond_to_before_its_end() {
        let grant = |start_ms, end_ms, revoked| Grant {
            id: "g".parse().unwrap(),
            dataset: "a.b".parse().unwrap(),
            grantee: "c".parse().unwrap(),
            fields: Vec::new(),
            rows: Vec::new(),
            purpose: String::new(),
            legal_basis: String::new(),
            start_ms,
            end_ms,
            revoked,
            create_time_ms: 0,
            update_time_ms: 0,
            version: 1,
        };
        let bounded = grant(Some(10), Some(20), false);
        assert_eq!([9, 10, 19, 20].map(|now| bounded.is_valid_at(now)), [false, true, true, false]);
        assert!(grant(None, None, false).is_valid_at(i64::MAX));
        assert!(!grant(None, None, true).is_valid_at(15));
    }
}
