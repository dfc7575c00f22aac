//! What the catalogue's log holds: commands, as canonical JSON.
//!
//! One entry is one object with its members in this order, without spaces: `v` (1), `id` (the command's, a UUID), `time_ms`, `actor`, `command`. A command
//! is an object with one member, its name in snake_case, around its arguments. Optional members are `null`, never left out; member names are never
//! reused with another meaning; a changed meaning is a larger `v`.
//!
//! Refuses: an unknown `v`, an unknown command or member. Whoever skipped such an entry would go on with another catalogue than its peers, so the node
//! that meets one stops ([`super::Catalogue`]) and says that it needs newer software.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::resource::{FieldGrant, Role, RowCondition, SharingClass, Start};
use crate::exchange::{
    identity::Identity,
    model::{DatasetId, DepartmentAlias, GrantId, RecordTypeName, SourceId, SubscriptionId},
};

/// The version of the entries that this software writes, and the only one that it reads.
pub const VERSION: u32 = 1;

/// Why an entry of the catalogue's log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// The entry has no value: somebody else wrote into the topic.
    #[error("the entry has no value")]
    Empty,
    /// Another version than [`VERSION`].
    #[error("the entry has version {found}, this software reads {VERSION}: upgrade it")]
    Version {
        /// What it says.
        found: u32,
    },
    /// No entry of this version.
    #[error("the entry is no command of this version")]
    Form(#[source] serde_json::Error),
}

/// Who gives a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The department's system or person.
    pub source: SourceId,
    /// The department, as the source names it.
    pub department: DepartmentAlias,
    /// Of the certificate.
    pub certificate_serial: String,
    /// Whether the configuration of the node that took the command names the source as an administrator. It lies in the log because a verdict must not
    /// depend on the configuration of the node that reads it.
    pub configured_administrator: bool,
}

impl Actor {
    /// The caller of this node.
    pub fn new(identity: &Identity, configured_administrator: bool) -> Self {
        Self {
            source: identity.source.clone(),
            department: identity.department.clone(),
            certificate_serial: identity.certificate_serial.clone(),
            configured_administrator,
        }
    }
}

/// One entry of the catalogue's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// [`VERSION`].
    pub v: u32,
    /// By which the node that appended it knows its verdict.
    pub id: Uuid,
    /// When it was given, by the clock of the node that appended it.
    pub time_ms: i64,
    /// Who gave it.
    pub actor: Actor,
    /// What is to be done.
    pub command: Command,
}

impl Entry {
    /// A new command's entry.
    pub fn new(actor: Actor, time_ms: i64, command: Command) -> Self {
        Self { v: VERSION, id: Uuid::now_v7(), time_ms, actor, command }
    }

    /// The canonical bytes.
    ///
    /// # Errors
    /// None that can happen: every member is a string, a number, a boolean or a list of these.
    pub fn encode(&self) -> Result<Bytes, serde_json::Error> {
        serde_json::to_vec(self).map(Bytes::from)
    }

    /// Reads an entry back.
    ///
    /// # Errors
    /// [`Undecodable`]: the reader must stop.
    pub fn decode(value: Option<&[u8]>) -> Result<Self, Undecodable> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u32,
        }
        let value = value.ok_or(Undecodable::Empty)?;
        let Versioned { v } = serde_json::from_slice(value).map_err(Undecodable::Form)?;
        if v != VERSION {
            return Err(Undecodable::Version { found: v });
        }
        serde_json::from_slice(value).map_err(Undecodable::Form)
    }
}

/// What can be done to the catalogue. `expected` is the version that the caller has seen.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Enrols a department.
    CreateDepartment(NewDepartment),
    /// Replaces name and roles.
    UpdateDepartment(DepartmentChange),
    /// Takes a department out.
    DeleteDepartment(DepartmentRef),
    /// Registers a record type of a department's own.
    CreateRecordType(NewRecordType),
    /// Takes a record type out; its name keeps its meaning.
    DeleteRecordType(RecordTypeRef),
    /// Registers a dataset.
    CreateDataset(NewDataset),
    /// Replaces what may change of a dataset.
    UpdateDataset(DatasetChange),
    /// Takes a dataset out; its log stays.
    DeleteDataset(DatasetRef),
    /// Grants.
    CreateGrant(NewGrant),
    /// Replaces what may change of a grant.
    UpdateGrant(GrantChange),
    /// Revokes; safe to repeat.
    RevokeGrant(GrantRef),
    /// Subscribes.
    CreateSubscription(NewSubscription),
    /// Replaces filter and purpose, and seeks.
    UpdateSubscription(SubscriptionChange),
    /// Takes a subscription out.
    DeleteSubscription(SubscriptionRef),
}

/// What it is and about what. Its arguments are the caller's own words.
impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command")
            .field("name", &self.name())
            .field("resource", &self.resource())
            .finish_non_exhaustive()
    }
}

macro_rules! arguments {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* })*
    };
}

arguments! {
    /// Arguments of [`Command::CreateDepartment`].
    NewDepartment {
        /// Its alias.
        alias: DepartmentAlias,
        /// Its own credit code.
        unified_social_credit_code: String,
        /// For people.
        display_name: String,
        /// In any order.
        roles: Vec<Role>,
    }
    /// Arguments of [`Command::UpdateDepartment`].
    DepartmentChange {
        /// Which.
        alias: DepartmentAlias,
        /// The version seen.
        expected: u64,
        /// For people.
        display_name: String,
        /// In any order.
        roles: Vec<Role>,
    }
    /// Arguments of [`Command::DeleteDepartment`].
    DepartmentRef {
        /// Which.
        alias: DepartmentAlias,
        /// The version seen.
        expected: u64,
    }
    /// Arguments of [`Command::CreateRecordType`].
    NewRecordType {
        /// Begins with the owner's alias.
        name: RecordTypeName,
        /// The schema document, JSON text as it was sent.
        schema: String,
        /// The documents of the code tables that it brings.
        code_tables: Vec<String>,
    }
    /// Arguments of [`Command::DeleteRecordType`].
    RecordTypeRef {
        /// Which.
        name: RecordTypeName,
        /// The version seen.
        expected: u64,
    }
    /// Arguments of [`Command::CreateDataset`].
    NewDataset {
        /// Begins with the owner's alias.
        id: DatasetId,
        /// The standard.
        record_type: RecordTypeName,
        /// For people.
        title: String,
        /// How it may be shared.
        sharing_class: SharingClass,
        /// Obligatory for not shared.
        legal_basis: String,
        /// 1-256; 0 before `execute` has put the node's default.
        partitions: u32,
        /// Milliseconds; 0 before `execute` has put the node's default.
        retention_ms: u64,
        /// Whether its existence is public.
        listed: bool,
    }
    /// Arguments of [`Command::UpdateDataset`].
    DatasetChange {
        /// Which.
        id: DatasetId,
        /// The version seen.
        expected: u64,
        /// For people.
        title: String,
        /// How it may be shared.
        sharing_class: SharingClass,
        /// Obligatory for not shared.
        legal_basis: String,
        /// Milliseconds; 0 before `execute` has put what the dataset has.
        retention_ms: u64,
        /// Whether its existence is public.
        listed: bool,
    }
    /// Arguments of [`Command::DeleteDataset`].
    DatasetRef {
        /// Which.
        id: DatasetId,
        /// The version seen.
        expected: u64,
    }
    /// Arguments of [`Command::CreateGrant`].
    NewGrant {
        /// Which.
        id: GrantId,
        /// What is shown.
        dataset: DatasetId,
        /// To whom.
        grantee: DepartmentAlias,
        /// What is shown of a record.
        fields: Vec<FieldGrant>,
        /// Which records.
        rows: Vec<RowCondition>,
        /// What for.
        purpose: String,
        /// On which basis.
        legal_basis: String,
        /// Begin of the period.
        start_ms: Option<i64>,
        /// End of the period.
        end_ms: Option<i64>,
    }
    /// Arguments of [`Command::UpdateGrant`].
    GrantChange {
        /// Which.
        id: GrantId,
        /// The version seen.
        expected: u64,
        /// What is shown of a record.
        fields: Vec<FieldGrant>,
        /// Which records.
        rows: Vec<RowCondition>,
        /// What for.
        purpose: String,
        /// On which basis.
        legal_basis: String,
        /// Begin of the period.
        start_ms: Option<i64>,
        /// End of the period.
        end_ms: Option<i64>,
    }
    /// Arguments of [`Command::RevokeGrant`].
    GrantRef {
        /// Which.
        id: GrantId,
        /// The version seen.
        expected: u64,
    }
    /// Arguments of [`Command::CreateSubscription`].
    NewSubscription {
        /// Begins with the subscriber's alias.
        id: SubscriptionId,
        /// What is read.
        dataset: DatasetId,
        /// Where to begin.
        start: Start,
        /// Which records.
        filter: Vec<RowCondition>,
        /// What for.
        purpose: String,
    }
    /// Arguments of [`Command::UpdateSubscription`].
    SubscriptionChange {
        /// Which.
        id: SubscriptionId,
        /// The version seen.
        expected: u64,
        /// Which records.
        filter: Vec<RowCondition>,
        /// What for.
        purpose: String,
        /// Where to go on; `None` leaves the cursor alone.
        seek: Option<Start>,
    }
    /// Arguments of [`Command::DeleteSubscription`].
    SubscriptionRef {
        /// Which.
        id: SubscriptionId,
        /// The version seen.
        expected: u64,
    }
}

impl Command {
    /// Its stable name, for the audit trail and metrics: `create_dataset`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateDepartment(_) => "create_department",
            Self::UpdateDepartment(_) => "update_department",
            Self::DeleteDepartment(_) => "delete_department",
            Self::CreateRecordType(_) => "create_record_type",
            Self::DeleteRecordType(_) => "delete_record_type",
            Self::CreateDataset(_) => "create_dataset",
            Self::UpdateDataset(_) => "update_dataset",
            Self::DeleteDataset(_) => "delete_dataset",
            Self::CreateGrant(_) => "create_grant",
            Self::UpdateGrant(_) => "update_grant",
            Self::RevokeGrant(_) => "revoke_grant",
            Self::CreateSubscription(_) => "create_subscription",
            Self::UpdateSubscription(_) => "update_subscription",
            Self::DeleteSubscription(_) => "delete_subscription",
        }
    }

    /// The dataset that the command names; a grant or subscription that is only referred to names none.
    pub fn dataset(&self) -> Option<&DatasetId> {
        match self {
            Self::CreateDataset(NewDataset { id, .. })
            | Self::UpdateDataset(DatasetChange { id, .. })
            | Self::DeleteDataset(DatasetRef { id, .. }) => Some(id),
            Self::CreateGrant(NewGrant { dataset, .. }) | Self::CreateSubscription(NewSubscription { dataset, .. }) => {
                Some(dataset)
            }
            _ => None,
        }
    }

    /// The name of the resource, as the wire says it: `datasets/market-supervision.enterprise`.
    pub fn resource(&self) -> String {
        match self {
            Self::CreateDepartment(NewDepartment { alias, .. })
            | Self::UpdateDepartment(DepartmentChange { alias, .. })
            | Self::DeleteDepartment(DepartmentRef { alias, .. }) => format!("departments/{alias}"),
            Self::CreateRecordType(NewRecordType { name, .. }) | Self::DeleteRecordType(RecordTypeRef { name, .. }) => {
                format!("recordTypes/{name}")
            }
            Self::CreateDataset(NewDataset { id, .. })
            | Self::UpdateDataset(DatasetChange { id, .. })
            | Self::DeleteDataset(DatasetRef { id, .. }) => format!("datasets/{id}"),
            Self::CreateGrant(NewGrant { id, .. })
            | Self::UpdateGrant(GrantChange { id, .. })
            | Self::RevokeGrant(GrantRef { id, .. }) => format!("grants/{id}"),
            Self::CreateSubscription(NewSubscription { id, .. })
            | Self::UpdateSubscription(SubscriptionChange { id, .. })
            | Self::DeleteSubscription(SubscriptionRef { id, .. }) => format!("subscriptions/{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            v: VERSION,
            id: Uuid::from_u128(1),
            time_ms: 5,
            actor: Actor {
                source: "department/taxation/system/inbox".parse().unwrap(),
                department: "taxation".parse().unwrap(),
                certificate_serial: "01".into(),
                configured_administrator: false,
            },
            command: Command::UpdateSubscription(SubscriptionChange {
                id: "taxation.enterprise".parse().unwrap(),
                expected: 3,
                filter: vec![RowCondition { field: "region".into(), values: vec!["320602".into()] }],
                purpose: "风险核查".into(),
                seek: Some(Start::Positions(vec![(0, 7)])),
            }),
        }
    }

    #[test]
    fn the_canonical_bytes_are_frozen() {
        // A change here makes every catalogue written before unreadable.
        let bytes = entry().encode().unwrap();
        let expected = concat!(
            r#"{"v":1,"id":"00000000-0000-0000-0000-000000000001","time_ms":5,"#,
            r#""actor":{"source":"department/taxation/system/inbox","department":"taxation","certificate_serial":"01","configured_administrator":false},"#,
            r#""command":{"update_subscription":{"id":"taxation.enterprise","expected":3,"#,
            r#""filter":[{"field":"region","values":["320602"]}],"purpose":"风险核查","seek":{"positions":[[0,7]]}}}}"#,
        );
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), expected);
        assert_eq!(Entry::decode(Some(&bytes)).unwrap(), entry());
        let name = "taxation.notice/v1".parse().unwrap();
        let new = NewRecordType { name, schema: r#"{"$id":"…"}"#.into(), code_tables: vec!["{}".into()] };
        let command = serde_json::to_string(&Command::CreateRecordType(new)).unwrap();
        let expected =
            r#"{"create_record_type":{"name":"taxation.notice/v1","schema":"{\"$id\":\"…\"}","code_tables":["{}"]}}"#;
        assert_eq!(command, expected);
        let which = RecordTypeRef { name: "taxation.notice/v1".parse().unwrap(), expected: 3 };
        let command = serde_json::to_string(&Command::DeleteRecordType(which)).unwrap();
        assert_eq!(command, r#"{"delete_record_type":{"name":"taxation.notice/v1","expected":3}}"#);
    }

    #[test]
    fn what_this_version_does_not_know_is_refused_and_not_skipped() {
        assert!(matches!(Entry::decode(None), Err(Undecodable::Empty)));
        assert!(matches!(Entry::decode(Some(b"{\"v\":2}")), Err(Undecodable::Version { found: 2 })));
        let text = String::from_utf8(entry().encode().unwrap().to_vec()).unwrap();
        for changed in [
            text.replace("\"expected\":3", "\"expected\":3,\"more\":1"),
            text.replace("update_subscription", "merge_subscription"),
            text.replace("\"expected\":3,", ""),
            text.replace("taxation.enterprise", "Taxation"),
        ] {
            assert_ne!(changed, text);
            assert!(matches!(Entry::decode(Some(changed.as_bytes())), Err(Undecodable::Form(_))), "{changed}");
        }
    }
}
