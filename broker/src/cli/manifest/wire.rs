//! Between what people write and what the wire carries.

use shuqiao_proto::v1;

use super::{
    Dataset, Department, FieldGrant, Grant, Position, Role, RowCondition, SharingClass, Start, Subscription, Time,
    Treatment, full_name, time,
};

fn rows(conditions: Vec<v1::RowCondition>) -> Vec<RowCondition> {
    conditions.into_iter().map(|row| RowCondition { field: row.field, values: row.values }).collect()
}

fn wire_rows(conditions: Vec<RowCondition>) -> Vec<v1::RowCondition> {
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
    pub(in crate::cli) fn to_wire(&self) -> v1::StartPosition {
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
