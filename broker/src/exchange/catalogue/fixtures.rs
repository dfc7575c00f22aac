//! A small city for tests: three departments, a tiny record type, commands in one line each.

use std::sync::Arc;

use shuqiao_schemas::engine::{CodeTables, RecordType};

use super::{
    command::{Actor, Command, Entry, NewDataset, NewDepartment, NewGrant, NewRecordType, NewSubscription},
    *,
};

/// Alias and a valid credit code of each.
pub(crate) const DEPARTMENTS: [(&str, &str); 3] = [
    ("market-supervision", "11320600014149957J"),
    ("taxation", "11320600014149965D"),
    ("civil-affairs", "113206000141499738"),
];

/// A key, a code that is indexed, a name that can be masked and a note.
const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "$id": "urn:shuqiao:record-type:sample:v1",
  "title": "Sample", "x-title-zh": "样例",
  "x-key": ["/id"],
  "x-indexed": ["/region"],
  "type": "object", "required": ["id"], "additionalProperties": false,
  "properties": {
    "id": {"title": "Id", "x-title-zh": "编号", "type": "string", "minLength": 1, "maxLength": 40},
    "region": {"title": "Region", "x-title-zh": "区划", "type": "string", "maxLength": 40},
    "person": {"title": "Person", "x-title-zh": "姓名", "type": "string", "maxLength": 40,
      "x-sensitivity": {"level": "general", "personal": "personal", "mask": "name"}},
    "note": {"title": "Note", "x-title-zh": "备注", "type": "string", "maxLength": 40}
  }
}"#;

/// A key and whom it is about, whose kind stands beside it.
const FILE_SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "$id": "urn:shuqiao:record-type:file:v1",
  "title": "File", "x-title-zh": "档案",
  "x-key": ["/id"],
  "x-subject": {"value": "/holder", "kind-field": "/holder_kind"},
  "type": "object", "required": ["id"], "additionalProperties": false,
  "properties": {
    "id": {"title": "Id", "x-title-zh": "编号", "type": "string", "minLength": 1, "maxLength": 40},
    "holder": {"title": "Holder", "x-title-zh": "持有人", "type": "string", "maxLength": 40},
    "holder_kind": {"title": "Kind", "x-title-zh": "证件类型", "type": "string", "maxLength": 40}
  }
}"#;

pub(crate) fn record_types() -> RecordTypes {
    let compile =
        |schema: &str| RecordType::compile(schema.as_bytes(), &CodeTables::default()).expect("a schema above");
    [SCHEMA, FILE_SCHEMA].map(|schema| Arc::new(compile(schema))).into_iter().collect()
}

pub(crate) fn secret() -> HashSecret {
    HashSecret::new(&[7; 32])
}

pub(crate) fn context() -> Context {
    let compile = options().compile;
    Context { record_types: record_types(), compile, secret: secret(), topic_prefix: "test".into() }
}

pub(crate) fn options() -> Options {
    let mut options = Options::new("test", record_types(), secret());
    options.administrators = vec![administrator().source];
    options.topics_interval = std::time::Duration::from_millis(100);
    options
}

/// A system of a department.
pub(crate) fn system(department: &str) -> Identity {
    identity(&format!("spiffe://test/department/{department}/system/registry"))
}

/// The administrator of the configuration; its department is never enrolled here.
pub(crate) fn administrator() -> Identity {
    identity("spiffe://test/department/data-bureau/person/first")
}

pub(crate) fn identity(uri: &str) -> Identity {
    Identity::parse(uri, "test", "01".into()).expect("well-formed")
}

pub(crate) fn new_department(number: usize) -> Command {
    let (alias, code) = DEPARTMENTS[number];
    Command::CreateDepartment(NewDepartment {
        alias: alias.parse().expect("an alias"),
        unified_social_credit_code: code.into(),
        display_name: "某局".into(),
        roles: Vec::new(),
    })
}

/// A later software, whose profile has become so narrow that it takes no department's own record type.
pub(crate) const STRICTER: Compile = |_, _| Err(CodeTables::new().add_json(b"{}").expect_err("no table"));

/// The sample under a department's own name, as its document says it.
pub(crate) fn own_schema(name: &str) -> String {
    SCHEMA.replace("sample:v1", &name.replace('/', ":"))
}

pub(crate) fn new_record_type(name: &str) -> NewRecordType {
    NewRecordType { name: name.parse().expect("a name"), schema: own_schema(name), code_tables: Vec::new() }
}

/// A dataset of a department's own record type.
pub(crate) fn new_dataset_of(id: &str, record_type: &str) -> NewDataset {
    NewDataset { record_type: record_type.parse().expect("a name"), ..new_dataset(id) }
}

pub(crate) fn new_dataset(id: &str) -> NewDataset {
    NewDataset {
        id: id.parse().expect("an id"),
        record_type: "sample/v1".parse().expect("a name"),
        title: "样例".into(),
        sharing_class: SharingClass::Conditional,
        legal_basis: String::new(),
        partitions: 2,
        retention_ms: 3_600_000,
        listed: true,
    }
}

pub(crate) fn new_grant(id: &str, dataset: &str, grantee: &str) -> NewGrant {
    NewGrant {
        id: id.parse().expect("an id"),
        dataset: dataset.parse().expect("an id"),
        grantee: grantee.parse().expect("an alias"),
        fields: vec![FieldGrant { path: String::new(), treatment: Treatment::Clear }],
        rows: Vec::new(),
        purpose: "核查".into(),
        legal_basis: "某办法第三条".into(),
        start_ms: None,
        end_ms: None,
    }
}

pub(crate) fn new_subscription(id: &str, dataset: &str) -> NewSubscription {
    NewSubscription {
        id: id.parse().expect("an id"),
        dataset: dataset.parse().expect("an id"),
        start: Start::Beginning,
        filter: Vec::new(),
        purpose: "核查".into(),
    }
}

/// A catalogue without a log: each command is applied at the next offset.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) snapshot: Snapshot,
    pub(crate) context: Context,
    pub(crate) now_ms: i64,
}

impl Default for Desk {
    fn default() -> Self {
        let snapshot = Snapshot::empty([administrator().source]);
        Self { snapshot, context: context(), now_ms: 1_000 }
    }
}

impl Desk {
    /// With the three departments, and `market-supervision.sample`.
    pub(crate) fn city() -> Self {
        let mut desk = Self::default();
        for number in 0..DEPARTMENTS.len() {
            desk.give(&administrator(), new_department(number)).expect("enrolled");
        }
        desk.give(&system("market-supervision"), Command::CreateDataset(new_dataset("market-supervision.sample")))
            .expect("registered");
        desk
    }

    pub(crate) fn give(&mut self, caller: &Identity, command: Command) -> Verdict {
        let actor = Actor::new(caller, self.snapshot.is_configured_administrator(caller));
        let entry = Entry::new(actor, self.now_ms, command);
        let offset = self.snapshot.epoch;
        apply(&mut self.snapshot, offset, &entry, &self.context).expect("this software holds it")
    }
}
