//! Resources of the catalogue as messages, and messages as commands. What a message says wrongly is reported by field, all of it at once.

use std::str::FromStr;

use prost::Message;
use shuqiao_proto::v1;
use shuqiao_schemas::engine::Problem;

use super::convert;
use crate::exchange::{
    Error,
    catalogue::{
        Dataset, Department, Etag, FieldGrant, Grant, OwnRecordType, Role, RowCondition, SharingClass, Start,
        Subscription, Treatment,
        command::{
            DatasetChange, DepartmentChange, GrantChange, NewDataset, NewDepartment, NewGrant, NewRecordType,
            NewSubscription, SubscriptionChange,
        },
    },
    error::FieldViolation,
    model::{DatasetId, MalformedId, Position, RecordTypeName, SubscriptionId},
};

/// Gathers what is wrong with a message.
#[derive(Default)]
pub(super) struct Fields(Vec<FieldViolation>);

impl Fields {
    /// An id, or a violation and nothing.
    pub(super) fn id<T: FromStr<Err = MalformedId>>(&mut self, path: &str, text: &str) -> Option<T> {
        match text.parse() {
            Ok(id) => Some(id),
            Err(malformed) => {
                let zh = format!("应符合规则：{}", malformed.rule_zh);
                self.add(path, "MALFORMED", malformed.to_string(), zh);
                None
            }
        }
    }

    /// The id in a resource name, `{collection}/{id}`.
    pub(super) fn name<T: FromStr<Err = MalformedId>>(
        &mut self,
        path: &str,
        collection: &str,
        text: &str,
    ) -> Option<T> {
        match text.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/')) {
            Some(id) => self.id(path, id),
            None => {
                self.add(path, "MALFORMED", format!("must be {collection}/…"), format!("应为 {collection}/…"));
                None
            }
        }
    }

    /// The version that an etag shows.
    pub(super) fn etag(&mut self, text: &str) -> Option<u64> {
        match text.parse::<Etag>() {
            Ok(Etag(version)) => Some(version),
            Err(_) if text.is_empty() => {
                self.add("etag", "REQUIRED", "send back the etag that you read", "须附上读取时的 etag");
                None
            }
            Err(_) => {
                self.add("etag", "MALFORMED", "is no etag of this exchange", "不是本平台的 etag");
                None
            }
        }
    }

    /// A department that the resource's own name says already.
    fn named(&mut self, path: &str, sent: &str, alias: &str) {
        if !sent.is_empty() && sent != alias {
            let (en, zh) = ("must be empty or the alias that the name begins with", "应为空，或与名称开头的部门一致");
            self.add(path, "NOT_THE_NAMES", en, zh);
        }
    }

    /// A field that never changes: what the caller sends of it must be what is there.
    fn fixed<T: PartialEq + ?Sized>(&mut self, path: &str, sent: &T, nothing: &T, current: Option<&T>) {
        if sent != nothing && current.is_some_and(|current| sent != current) {
            self.add(path, "IMMUTABLE", "never changes: make a new one", "不可变更，请新建");
        }
    }

    fn time(&mut self, path: &str, time: Option<prost_types::Timestamp>) -> Option<i64> {
        let time = time?;
        let milliseconds = convert::milliseconds(&time);
        if milliseconds.is_none() {
            self.add(
                path,
                "MALFORMED",
                "must be a time between the years 1 and 9999",
                "应为公元 1 年至 9999 年间的时间",
            );
        }
        milliseconds
    }

    fn add(&mut self, path: &str, rule: &str, en: impl Into<String>, zh: impl Into<String>) {
        self.0.push(FieldViolation::new(path, rule, en, zh));
    }

    /// What was read, if nothing was wrong.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, Error> {
        match read {
            Some(read) if self.0.is_empty() => Ok(read),
            _ => Err(Error::InvalidField(self.0)),
        }
    }
}

/// A message that must be there.
pub(super) fn required<T>(path: &str, message: Option<T>) -> Result<T, Error> {
    message.ok_or_else(|| Error::invalid(path, "REQUIRED", "required", "必填"))
}

pub(super) fn department(one: &Department) -> v1::Department {
    let role = |role: &Role| match role {
        Role::Administrator => v1::Role::Administrator.into(),
        Role::Auditor => v1::Role::Auditor.into(),
    };
    v1::Department {
        name: format!("departments/{}", one.alias),
        etag: Etag(one.version).to_string(),
        unified_social_credit_code: one.unified_social_credit_code.clone(),
        display_name: one.display_name.clone(),
        roles: one.roles.iter().map(role).collect(),
        create_time: Some(convert::timestamp(one.create_time_ms)),
        update_time: Some(convert::timestamp(one.update_time_ms)),
    }
}

fn roles(fields: &mut Fields, message: &v1::Department) -> Vec<Role> {
    let mut roles = Vec::with_capacity(message.roles.len());
    for (number, role) in message.roles.iter().enumerate() {
        match v1::Role::try_from(*role) {
            Ok(v1::Role::Administrator) => roles.push(Role::Administrator),
            Ok(v1::Role::Auditor) => roles.push(Role::Auditor),
            // A number that this software does not know is refused, not ignored.
            Ok(v1::Role::Unspecified) | Err(_) => {
                let path = format!("roles[{number}]");
                fields.add(&path, "UNKNOWN_VALUE", "administrator or auditor", "应为管理员或审计员");
            }
        }
    }
    roles
}

pub(super) fn new_department(message: v1::Department) -> Result<NewDepartment, Error> {
    let mut fields = Fields::default();
    let alias = fields.name("name", "departments", &message.name);
    let roles = roles(&mut fields, &message);
    let v1::Department { unified_social_credit_code, display_name, .. } = message;
    fields.finish(alias.map(|alias| NewDepartment { alias, unified_social_credit_code, display_name, roles }))
}

pub(super) fn department_change(
    message: v1::Department,
    current: Option<&Department>,
) -> Result<DepartmentChange, Error> {
    let mut fields = Fields::default();
    let code = current.map(|current| current.unified_social_credit_code.as_str());
    fields.fixed("unified_social_credit_code", message.unified_social_credit_code.as_str(), "", code);
    let alias = fields.name("name", "departments", &message.name);
    let expected = fields.etag(&message.etag);
    let roles = roles(&mut fields, &message);
    let display_name = message.display_name;
    let read = alias.zip(expected);
    fields.finish(read.map(|(alias, expected)| DepartmentChange { alias, expected, display_name, roles }))
}

/// Characters of each text of a problem that is told of a record type; it may quote the document.
const PROBLEM_CHARACTERS_MAX: usize = 500;
/// Bytes of the problems that are told of one record type: as many as fit. One alone is smaller.
pub(super) const PROBLEMS_BYTES_MAX: usize = 16 << 10;

/// Why this software cannot compile a record type, as far as it fits.
fn problems(found: &[Problem]) -> Vec<v1::FieldViolation> {
    let short = |text: &str| text.chars().take(PROBLEM_CHARACTERS_MAX).collect::<String>();
    let problem = |one: &Problem| v1::FieldViolation {
        path: short(&one.pointer),
        rule: one.flaw.code().to_owned(),
        message_en: short(&one.flaw.to_string()),
        message_zh: short(&one.flaw.message_zh()),
    };
    let mut bytes = 0;
    let fits = |one: &v1::FieldViolation| {
        // With its tag and length.
        bytes += one.encoded_len() + 4;
        bytes <= PROBLEMS_BYTES_MAX
    };
    found.iter().map(problem).take_while(fits).collect()
}

/// A record type without its documents, as lists show it.
pub(super) fn listed_record_type(one: &OwnRecordType) -> v1::RecordType {
    let (title, digest, problems) = match &one.compiled {
        Ok(compiled) => {
            let root = compiled.fields().first();
            let title = root.and_then(|root| root.title_zh.clone().or_else(|| root.title_en.clone()));
            (title.unwrap_or_default(), compiled.digest().to_vec(), Vec::new())
        }
        Err(error) => {
            let digest = ring::digest::digest(&ring::digest::SHA256, one.schema.as_bytes());
            (String::new(), digest.as_ref().to_vec(), problems(error.problems()))
        }
    };
    v1::RecordType {
        name: format!("recordTypes/{}", one.name),
        etag: Etag(one.version).to_string(),
        owner: one.owner.to_string(),
        schema: String::new(),
        code_tables: Vec::new(),
        title,
        digest,
        problems,
        create_time: Some(convert::timestamp(one.create_time_ms)),
    }
}

pub(super) fn record_type(one: &OwnRecordType) -> v1::RecordType {
    v1::RecordType { schema: one.schema.clone(), code_tables: one.code_tables.clone(), ..listed_record_type(one) }
}

pub(super) fn new_record_type(message: v1::RecordType) -> Result<NewRecordType, Error> {
    let mut fields = Fields::default();
    let name = fields.name::<RecordTypeName>("name", "recordTypes", &message.name);
    if let Some(owner) = name.as_ref().and_then(RecordTypeName::owner) {
        fields.named("owner", &message.owner, owner);
    }
    let v1::RecordType { schema, code_tables, .. } = message;
    fields.finish(name.map(|name| NewRecordType { name, schema, code_tables }))
}

pub(super) fn dataset(one: &Dataset) -> v1::Dataset {
    let sharing_class = match one.sharing_class {
        SharingClass::Unconditional => v1::SharingClass::Unconditional,
        SharingClass::Conditional => v1::SharingClass::Conditional,
        SharingClass::NotShared => v1::SharingClass::NotShared,
    };
    v1::Dataset {
        name: format!("datasets/{}", one.id),
        etag: Etag(one.version).to_string(),
        owner: one.owner.to_string(),
        record_type: one.record_type.to_string(),
        title: one.title.clone(),
        sharing_class: sharing_class.into(),
        legal_basis: one.legal_basis.clone(),
        partitions: one.partitions,
        retention_seconds: one.retention_ms / 1_000,
        listed: one.listed,
        create_time: Some(convert::timestamp(one.create_time_ms)),
        update_time: Some(convert::timestamp(one.update_time_ms)),
    }
}

fn sharing_class(fields: &mut Fields, message: &v1::Dataset) -> Option<SharingClass> {
    match message.sharing_class() {
        v1::SharingClass::Unconditional => Some(SharingClass::Unconditional),
        v1::SharingClass::Conditional => Some(SharingClass::Conditional),
        v1::SharingClass::NotShared => Some(SharingClass::NotShared),
        v1::SharingClass::Unspecified => {
            let (en, zh) = ("unconditional, conditional or not shared", "应为无条件共享、有条件共享或不予共享");
            fields.add("sharing_class", "REQUIRED", en, zh);
            None
        }
    }
}

pub(super) fn new_dataset(message: v1::Dataset) -> Result<NewDataset, Error> {
    let mut fields = Fields::default();
    let id = fields.name::<DatasetId>("name", "datasets", &message.name);
    let record_type = fields.id("record_type", &message.record_type);
    let sharing_class = sharing_class(&mut fields, &message);
    if let Some(id) = &id {
        fields.named("owner", &message.owner, id.owner());
    }
    let v1::Dataset { title, legal_basis, partitions, retention_seconds, listed, .. } = message;
    let read = id.zip(record_type).zip(sharing_class).map(|((id, record_type), sharing_class)| NewDataset {
        id,
        record_type,
        title,
        sharing_class,
        legal_basis,
        partitions,
        retention_ms: retention_seconds.saturating_mul(1_000),
        listed,
    });
    fields.finish(read)
}

pub(super) fn dataset_change(message: v1::Dataset, current: Option<&Dataset>) -> Result<DatasetChange, Error> {
    let mut fields = Fields::default();
    fields.fixed("owner", message.owner.as_str(), "", current.map(|current| current.owner.as_str()));
    fields.fixed("record_type", message.record_type.as_str(), "", current.map(|current| current.record_type.as_str()));
    fields.fixed("partitions", &message.partitions, &0, current.map(|current| &current.partitions));
    let id = fields.name("name", "datasets", &message.name);
    let expected = fields.etag(&message.etag);
    let sharing_class = sharing_class(&mut fields, &message);
    let v1::Dataset { title, legal_basis, retention_seconds, listed, .. } = message;
    let read = id.zip(expected).zip(sharing_class).map(|((id, expected), sharing_class)| DatasetChange {
        id,
        expected,
        title,
        sharing_class,
        legal_basis,
        retention_ms: retention_seconds.saturating_mul(1_000),
        listed,
    });
    fields.finish(read)
}

pub(super) fn grant(one: &Grant) -> v1::Grant {
    let field = |one: &FieldGrant| {
        let treatment = match one.treatment {
            Treatment::Clear => v1::Treatment::Clear,
            Treatment::Masked => v1::Treatment::Masked,
            Treatment::KeyedHash => v1::Treatment::KeyedHash,
        };
        v1::FieldGrant { path: one.path.clone(), treatment: treatment.into() }
    };
    v1::Grant {
        name: format!("grants/{}", one.id),
        etag: Etag(one.version).to_string(),
        dataset: one.dataset.to_string(),
        grantee: one.grantee.to_string(),
        fields: one.fields.iter().map(field).collect(),
        rows: one.rows.iter().map(condition).collect(),
        purpose: one.purpose.clone(),
        legal_basis: one.legal_basis.clone(),
        start_time: one.start_ms.map(convert::timestamp),
        end_time: one.end_ms.map(convert::timestamp),
        revoked: one.revoked,
        create_time: Some(convert::timestamp(one.create_time_ms)),
        update_time: Some(convert::timestamp(one.update_time_ms)),
    }
}

fn condition(one: &RowCondition) -> v1::RowCondition {
    v1::RowCondition { field: one.field.clone(), values: one.values.clone() }
}

pub(super) fn conditions(messages: Vec<v1::RowCondition>) -> Vec<RowCondition> {
    messages.into_iter().map(|one| RowCondition { field: one.field, values: one.values }).collect()
}

fn field_grants(fields: &mut Fields, messages: Vec<v1::FieldGrant>) -> Vec<FieldGrant> {
    let mut read = Vec::with_capacity(messages.len());
    for (number, message) in messages.into_iter().enumerate() {
        let treatment = match message.treatment() {
            v1::Treatment::Clear => Treatment::Clear,
            v1::Treatment::Masked => Treatment::Masked,
            v1::Treatment::KeyedHash => Treatment::KeyedHash,
            v1::Treatment::Unspecified => {
                let path = format!("fields[{number}].treatment");
                fields.add(&path, "REQUIRED", "clear, masked or keyed hash", "应为明文、脱敏或密钥散列");
                continue;
            }
        };
        read.push(FieldGrant { path: message.path, treatment });
    }
    read
}

pub(super) fn new_grant(message: v1::Grant) -> Result<NewGrant, Error> {
    let mut fields = Fields::default();
    let id = fields.name("name", "grants", &message.name);
    let dataset = fields.id("dataset", &message.dataset);
    let grantee = fields.id("grantee", &message.grantee);
    let granted = field_grants(&mut fields, message.fields);
    let start_ms = fields.time("start_time", message.start_time);
    let end_ms = fields.time("end_time", message.end_time);
    let read = id.zip(dataset).zip(grantee).map(|((id, dataset), grantee)| NewGrant {
        id,
        dataset,
        grantee,
        fields: granted,
        rows: conditions(message.rows),
        purpose: message.purpose,
        legal_basis: message.legal_basis,
        start_ms,
        end_ms,
    });
    fields.finish(read)
}

pub(super) fn grant_change(message: v1::Grant, current: Option<&Grant>) -> Result<GrantChange, Error> {
    let mut fields = Fields::default();
    fields.fixed("dataset", message.dataset.as_str(), "", current.map(|current| current.dataset.as_str()));
    fields.fixed("grantee", message.grantee.as_str(), "", current.map(|current| current.grantee.as_str()));
    let id = fields.name("name", "grants", &message.name);
    let expected = fields.etag(&message.etag);
    let granted = field_grants(&mut fields, message.fields);
    let start_ms = fields.time("start_time", message.start_time);
    let end_ms = fields.time("end_time", message.end_time);
    let read = id.zip(expected).map(|(id, expected)| GrantChange {
        id,
        expected,
        fields: granted,
        rows: conditions(message.rows),
        purpose: message.purpose,
        legal_basis: message.legal_basis,
        start_ms,
        end_ms,
    });
    fields.finish(read)
}

/// A subscription, with its cursor where this node knows one.
pub(super) fn subscription(one: &Subscription, cursor: Vec<v1::Position>) -> v1::Subscription {
    use v1::start_position::Start as Wire;
    let start = match &one.start {
        Start::Beginning => Wire::Beginning(true),
        Start::Now(_) => Wire::Now(true),
        Start::Time(time_ms) => Wire::Time(convert::timestamp(*time_ms)),
        Start::Positions(positions) => Wire::Positions(v1::PositionList {
            positions: positions
                .iter()
                .map(|(partition, offset)| convert::position(Position { partition: *partition, offset: *offset }))
                .collect(),
        }),
    };
    v1::Subscription {
        name: format!("subscriptions/{}", one.id),
        etag: Etag(one.version).to_string(),
        dataset: one.dataset.to_string(),
        subscriber: one.subscriber.to_string(),
        start: Some(v1::StartPosition { start: Some(start) }),
        filter: one.filter.iter().map(condition).collect(),
        purpose: one.purpose.clone(),
        create_time: Some(convert::timestamp(one.create_time_ms)),
        update_time: Some(convert::timestamp(one.update_time_ms)),
        cursor,
    }
}

/// Where to begin; the ends of the log that "now" means are put in by the catalogue.
fn start(fields: &mut Fields, path: &str, message: Option<v1::StartPosition>) -> Option<Start> {
    use v1::start_position::Start as Wire;
    match message.and_then(|message| message.start) {
        None | Some(Wire::Beginning(_)) => Some(Start::Beginning),
        Some(Wire::Now(_)) => Some(Start::Now(Vec::new())),
        Some(Wire::Time(time)) => fields.time(path, Some(time)).map(Start::Time),
        Some(Wire::Positions(list)) => Some(Start::positions(list.positions.into_iter().map(convert::read_position))),
    }
}

pub(super) fn new_subscription(message: v1::Subscription) -> Result<NewSubscription, Error> {
    let mut fields = Fields::default();
    let id = fields.name::<SubscriptionId>("name", "subscriptions", &message.name);
    let dataset = fields.id("dataset", &message.dataset);
    if let Some(id) = &id {
        fields.named("subscriber", &message.subscriber, SubscriptionId::subscriber(id));
    }
    let start = start(&mut fields, "start", message.start);
    let read = id.zip(dataset).zip(start).map(|((id, dataset), start)| NewSubscription {
        id,
        dataset,
        start,
        filter: conditions(message.filter),
        purpose: message.purpose,
    });
    fields.finish(read)
}

pub(super) fn subscription_change(
    message: v1::Subscription,
    seek: Option<v1::StartPosition>,
    current: Option<&Subscription>,
) -> Result<SubscriptionChange, Error> {
    let mut fields = Fields::default();
    fields.fixed("dataset", message.dataset.as_str(), "", current.map(|current| current.dataset.as_str()));
    fields.fixed("subscriber", message.subscriber.as_str(), "", current.map(|current| current.subscriber.as_str()));
    let id = fields.name("name", "subscriptions", &message.name);
    let expected = fields.etag(&message.etag);
    let seek = seek.map(|seek| start(&mut fields, "seek", Some(seek)));
    let read = id.zip(expected).map(|(id, expected)| SubscriptionChange {
        id,
        expected,
        filter: conditions(message.filter),
        purpose: message.purpose,
        seek: seek.flatten(),
    });
    fields.finish(read)
}
