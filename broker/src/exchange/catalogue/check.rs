//! What a command's content must look like, judged before it is appended.
//!
//! [`form`] needs the command and the record types that there are; [`fit`] holds grants and filters against the dataset's record type. Both name every
//! violation at once, in English and Chinese, and quote no value. Bounds are those of `catalogue_service.proto`.

use std::sync::Arc;

use shuqiao_schemas::{
    engine::{Flaw, RecordType},
    identifier::{self, Kind},
    own,
    registry::MAX_REGISTRY_BYTES,
};

use super::{
    access::{Access, RowFilter, nearest, project},
    command::{Command, Entry, NewGrant, NewRecordType},
    resource::{Dataset, Department, FieldGrant, RowCondition, SharingClass, Treatment},
    snapshot::{Snapshot, Standing},
};
use crate::exchange::{
    Error,
    error::FieldViolation,
    model::{PARTITIONS_MAX, RecordTypeName},
    policy,
};

use super::record_types::RecordTypes;

/// Characters of a text.
pub const TEXT_CHARACTERS_MAX: usize = 1_000;
/// Entries of a list.
pub const LIST_ENTRIES_MAX: usize = 1_000;
/// Record types of one department, at most: what they compile to stays in every node's memory.
pub(super) const RECORD_TYPES_MAX: usize = 64;
/// Bytes of a whole command: well below what both homes of the log take as one entry.
pub(super) const COMMAND_BYTES_MAX: usize = 512 * 1024;
/// Retention at least: a minute. Below it a subscriber that reconnects could miss changes.
pub(super) const RETENTION_MS_MIN: u64 = 60_000;
/// Retention at most: a hundred years, far from where time arithmetic ends.
pub(super) const RETENTION_MS_MAX: u64 = 100 * 366 * 24 * 3_600_000;

/// Violations found so far.
#[derive(Debug, Default)]
pub struct Violations(Vec<FieldViolation>);

impl Violations {
    /// Adds one.
    pub fn add(&mut self, path: impl Into<String>, rule: &str, en: impl Into<String>, zh: impl Into<String>) {
        self.0.push(FieldViolation::new(path, rule, en, zh));
    }

    /// [`Error::InvalidField`] with all of them, where there are any.
    ///
    /// # Errors
    /// The violations.
    pub fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::InvalidField(self.0)) }
    }

    /// A text that may be empty.
    pub fn text(&mut self, path: &str, text: &str) {
        if text.chars().nth(TEXT_CHARACTERS_MAX).is_some() {
            let (en, zh) =
                (format!("at most {TEXT_CHARACTERS_MAX} characters"), format!("不得超过 {TEXT_CHARACTERS_MAX} 个字符"));
            self.add(path, "TOO_LONG", en, zh);
        }
        if text.chars().any(|one| one.is_control() && !matches!(one, '\n' | '\t')) {
            self.add(path, "CONTROL_CHARACTER", "must not contain control characters", "不得包含控制字符");
        }
    }

    /// A text that must say something.
    pub fn required(&mut self, path: &str, text: &str) {
        if text.trim().is_empty() {
            self.add(path, "REQUIRED", "must not be empty", "不能为空");
        }
        self.text(path, text);
    }

    /// Tells that a purpose is not the grant's ([`Access::serves`]).
    pub fn refuse_purpose(&mut self) {
        let (en, zh) = ("must be the grant's purpose, or begin with it", "应为授权所载用途，或以其开头");
        self.add("purpose", "PURPOSE_NOT_GRANTED", en, zh);
    }

    fn list(&mut self, path: &str, entries: usize) {
        if entries > LIST_ENTRIES_MAX {
            let (en, zh) = (format!("at most {LIST_ENTRIES_MAX} entries"), format!("不得超过 {LIST_ENTRIES_MAX} 项"));
            self.add(path, "TOO_MANY", en, zh);
        }
    }

    fn dataset(&mut self, title: &str, class: SharingClass, legal_basis: &str, retention_ms: u64, listed: bool) {
        self.required("title", title);
        self.text("legal_basis", legal_basis);
        if class == SharingClass::NotShared {
            if legal_basis.trim().is_empty() {
                let (en, zh) = ("not shared needs a legal basis", "不予共享须有法律、行政法规或国家政策依据");
                self.add("legal_basis", "REQUIRED", en, zh);
            }
            if listed {
                let (en, zh) = ("a dataset that is not shared is not listed", "不予共享的数据资源不得公开列示");
                self.add("listed", "NOT_SHARED", en, zh);
            }
        }
        if !(RETENTION_MS_MIN..=RETENTION_MS_MAX).contains(&retention_ms) {
            let (en, zh) = ("between a minute and a hundred years", "须在一分钟至一百年之间");
            self.add("retention_seconds", "OUT_OF_RANGE", en, zh);
        }
    }

    fn conditions(&mut self, path: &str, conditions: &[RowCondition]) {
        self.list(path, conditions.len());
        for (number, condition) in conditions.iter().enumerate().take(LIST_ENTRIES_MAX) {
            self.required(&format!("{path}[{number}].field"), &condition.field);
            let values = format!("{path}[{number}].values");
            self.list(&values, condition.values.len());
            if condition.values.is_empty() {
                self.add(&values, "REQUIRED", "name at least one value", "至少列出一个取值");
            }
            condition.values.iter().take(LIST_ENTRIES_MAX).for_each(|value| self.text(&values, value));
        }
    }

    fn grant(
        &mut self,
        fields: &[FieldGrant],
        rows: &[RowCondition],
        texts: (&str, &str),
        period: (Option<i64>, Option<i64>),
    ) {
        self.list("fields", fields.len());
        if fields.is_empty() {
            let (en, zh) =
                ("name at least one field; \"\" grants the whole record", "至少列出一个字段；\"\" 表示整条记录");
            self.add("fields", "REQUIRED", en, zh);
        }
        for (number, field) in fields.iter().enumerate().take(LIST_ENTRIES_MAX) {
            self.text(&format!("fields[{number}].path"), &field.path);
        }
        self.conditions("rows", rows);
        self.required("purpose", texts.0);
        self.required("legal_basis", texts.1);
        let empty = match period {
            (Some(start), Some(end)) => end <= start,
            (None, Some(end)) => end <= 0,
            _ => false,
        };
        if empty {
            self.add("end_time", "PERIOD_EMPTY", "must be after the start", "须晚于开始时间");
        }
    }
}

/// Judges what the command says by itself, and the record types that it brings or names.
///
/// # Errors
/// [`Error::InvalidField`] with every violation.
pub(super) fn form(command: &Command, snapshot: &Snapshot, standards: &RecordTypes) -> Result<(), Error> {
    let mut found = Violations::default();
    match command {
        Command::CreateDepartment(new) => {
            credit_code(&mut found, &new.unified_social_credit_code);
            found.required("display_name", &new.display_name);
        }
        Command::UpdateDepartment(change) => found.required("display_name", &change.display_name),
        Command::CreateRecordType(new) => own_record_type(&mut found, new, snapshot),
        Command::CreateDataset(new) => {
            known_record_type(&mut found, &new.record_type, snapshot, standards);
            if !(1..=PARTITIONS_MAX).contains(&new.partitions) {
                let (en, zh) = (format!("between 1 and {PARTITIONS_MAX}"), format!("须在 1 至 {PARTITIONS_MAX} 之间"));
                found.add("partitions", "OUT_OF_RANGE", en, zh);
            }
            found.dataset(&new.title, new.sharing_class, &new.legal_basis, new.retention_ms, new.listed);
        }
        Command::UpdateDataset(new) => {
            found.dataset(&new.title, new.sharing_class, &new.legal_basis, new.retention_ms, new.listed);
        }
        Command::CreateGrant(NewGrant {
            id, dataset, fields, rows, purpose, legal_basis, start_ms, end_ms, ..
        }) => {
            // That an id is taken tells that a grant exists: so it tells only those who see every grant whose id begins so.
            if !id.as_str().strip_prefix(dataset.owner()).is_some_and(|rest| rest.starts_with('.')) {
                let (en, zh) = (
                    "the id must begin with the alias of the dataset's owner and a dot",
                    "标识须以数据资源提供部门的简称加点开头",
                );
                found.add("name", "ALIAS_MISMATCH", en, zh);
            }
            found.grant(fields, rows, (purpose, legal_basis), (*start_ms, *end_ms));
        }
        Command::UpdateGrant(change) => {
            let texts = (change.purpose.as_str(), change.legal_basis.as_str());
            found.grant(&change.fields, &change.rows, texts, (change.start_ms, change.end_ms));
        }
        Command::CreateSubscription(new) => {
            found.conditions("filter", &new.filter);
            found.required("purpose", &new.purpose);
            start(&mut found, "start", &new.start);
        }
        Command::UpdateSubscription(change) => {
            found.conditions("filter", &change.filter);
            found.required("purpose", &change.purpose);
            if let Some(seek) = &change.seek {
                start(&mut found, "seek", seek);
            }
        }
        Command::DeleteDepartment(_)
        | Command::DeleteRecordType(_)
        | Command::DeleteDataset(_)
        | Command::RevokeGrant(_)
        | Command::DeleteSubscription(_) => {}
    }
    found.finish()
}

/// Holds a grant or a filter against the record type of its dataset. A dataset that is not there, or not for the caller to see, is the state machine's to
/// refuse: its record type tells that it exists.
///
/// # Errors
/// [`Error::InvalidField`] with every violation; [`Error::RecordTypeUnusable`] where nobody can judge.
pub(super) fn fit(entry: &Entry, snapshot: &Snapshot, standing: &Standing) -> Result<(), Error> {
    let of = |dataset: Option<&str>| {
        let dataset = dataset.and_then(|id| snapshot.dataset(id));
        dataset.filter(|one| policy::sees_dataset(snapshot, standing, one))
    };
    let of_grant = |id: &str| of(snapshot.grant(id).map(|grant| grant.dataset.as_str()));
    let mut found = Violations::default();
    match &entry.command {
        Command::CreateGrant(new) => {
            if let Some(dataset) = of(Some(new.dataset.as_str())) {
                grant_fits(&mut found, dataset.standard()?, &new.fields, &new.rows);
            }
        }
        Command::UpdateGrant(change) => {
            if let Some(dataset) = of_grant(change.id.as_str()) {
                grant_fits(&mut found, dataset.standard()?, &change.fields, &change.rows);
            }
        }
        Command::CreateSubscription(new) => {
            if let Some(dataset) = of(Some(new.dataset.as_str())) {
                conditions_fit(&mut found, dataset.standard()?, "filter", &new.filter);
                // One that is there may be asked for again, whatever has become of its grant.
                if snapshot.subscription(new.id.as_str()).is_none() {
                    let access = access_of(snapshot, standing.department.as_ref(), dataset, entry.time_ms);
                    filter_granted(&mut found, dataset, access.as_deref(), &new.filter);
                    purpose_granted(&mut found, access.as_deref(), &new.purpose);
                }
            }
        }
        Command::UpdateSubscription(change) => {
            let subscription = snapshot.subscription(change.id.as_str());
            if let Some((subscription, dataset)) =
                subscription.and_then(|one| Some((one, of(Some(one.dataset.as_str()))?)))
            {
                conditions_fit(&mut found, dataset.standard()?, "filter", &change.filter);
                let subscriber = snapshot.department(subscription.subscriber.as_str());
                let access = access_of(snapshot, subscriber, dataset, entry.time_ms);
                filter_granted(&mut found, dataset, access.as_deref(), &change.filter);
                purpose_granted(&mut found, access.as_deref(), &change.purpose);
            }
        }
        _ => {}
    }
    found.finish()
}

fn credit_code(found: &mut Violations, code: &str) {
    if code.is_empty() {
        found.add("unified_social_credit_code", "REQUIRED", "must not be empty", "不能为空");
    } else if let Err(reason) = identifier::check_exact(Kind::Uscc, code.as_bytes()) {
        found.add("unified_social_credit_code", reason.code(), reason.message_en(), reason.message_zh());
    }
}

fn known_record_type(found: &mut Violations, name: &RecordTypeName, snapshot: &Snapshot, standards: &RecordTypes) {
    const PATH: &str = "record_type";
    match snapshot.record_type(name.as_str()) {
        Some(own) if own.compiled.is_err() => {
            let (en, zh) = ("this node's software cannot compile it any more", "本节点软件已无法编译该记录标准");
            found.add(PATH, "RECORD_TYPE_UNUSABLE", en, zh);
        }
        Some(_) => {}
        None if standards.get(name.as_str()).is_some() => {}
        None => {
            let names = standards.names().collect::<Vec<_>>().join(", ");
            let en = format!("no such record type; standards: {names}; departments' own are listed by ListRecordTypes");
            let zh = format!("没有此记录标准；平台标准：{names}；部门自有标准见 ListRecordTypes");
            found.add(PATH, "UNKNOWN_RECORD_TYPE", en, zh);
        }
    }
}

/// Holds a department's own record type to the profile and to the bounds of [`own`].
fn own_record_type(found: &mut Violations, new: &NewRecordType, snapshot: &Snapshot) {
    let Some(owner) = new.name.owner().and_then(|owner| owner.parse().ok()) else {
        let (en, zh) = ("a department's own begins with its alias and a dot", "部门自有记录标准须以部门简称加点号开头");
        return found.add("name", "ALIAS_MISSING", en, zh);
    };
    // What is there was judged when it came. Whether this is the same is for the state machine to say.
    if snapshot.record_type(new.name.as_str()).is_some() {
        return;
    }
    if snapshot.record_types_of(&owner).count() >= RECORD_TYPES_MAX {
        let en = format!("a department has at most {RECORD_TYPES_MAX} record types: delete one that no dataset names");
        let zh = format!("每个部门至多 {RECORD_TYPES_MAX} 个自有记录标准，请先删除无数据资源使用的标准");
        found.add("name", "TOO_MANY", en, zh);
    }
    let findings = match own::examine(new.name.as_str(), &new.schema, &new.code_tables) {
        Err(findings) => findings,
        Ok(examined) => {
            let held = snapshot.record_types().filter_map(|one| one.compiled.as_ref().ok()).map(|one| one.bytes());
            if held.sum::<usize>() + examined.bytes() > MAX_REGISTRY_BYTES {
                let full = Flaw::RegistryFull(MAX_REGISTRY_BYTES);
                found.add("schema", full.code(), full.to_string(), full.message_zh());
            }
            Vec::new()
        }
    };
    for own::Finding { document, problem } in findings {
        let path = match document {
            own::Document::Schema => format!("schema{}", problem.pointer),
            own::Document::Table(number) => format!("code_tables[{number}]{}", problem.pointer),
        };
        found.add(path, problem.flaw.code(), problem.flaw.to_string(), problem.flaw.message_zh());
    }
}

fn start(found: &mut Violations, path: &str, start: &super::resource::Start) {
    use super::resource::Start;
    match start {
        Start::Time(time_ms) if *time_ms < 0 => {
            found.add(path, "OUT_OF_RANGE", "must not be before 1970", "不得早于 1970 年");
        }
        Start::Positions(positions) => {
            found.list(path, positions.len());
            if positions.windows(2).any(|pair| matches!(pair, [(one, _), (other, _)] if one == other)) {
                found.add(path, "DUPLICATE", "name each partition once", "每个分区只能出现一次");
            }
        }
        Start::Beginning | Start::Now(_) | Start::Time(_) => {}
    }
}

fn fields_fit(found: &mut Violations, record_type: &RecordType, fields: &[FieldGrant]) {
    for (number, field) in fields.iter().enumerate() {
        let path = format!("fields[{number}].path");
        if fields.iter().take(number).any(|earlier| earlier.path == field.path) {
            found.add(path, "DUPLICATE", "name each field once", "每个字段只能出现一次");
            continue;
        }
        // One at a time, so that each violation is told with the number of its line.
        let Err(error) = project(record_type, std::slice::from_ref(field)) else { continue };
        match error.problems().first().map(|problem| &problem.flaw) {
            Some(Flaw::NoTreatment(_)) => {
                let has = treatments(record_type, &field.path);
                let (en, zh) = (
                    format!("the record type declares no such treatment for it; it has: {}", has.join(", ")),
                    format!("记录标准未为该字段规定此种处理方式；可用：{}", has.join("、")),
                );
                found.add(format!("fields[{number}].treatment"), "NO_TREATMENT", en, zh);
            }
            _ => found.add(path, "UNKNOWN_FIELD_PATH", "the record type has no such field", "记录标准没有此字段"),
        }
    }
    // The key travels beside every payload: whoever may not see its fields may not have the record.
    for key in record_type.key() {
        if nearest(fields, key) != Some(Treatment::Clear) {
            let (en, zh) = (format!("the key field {key} must be granted clear"), format!("主键字段 {key} 须明文授权"));
            found.add("fields", "KEY_NOT_CLEAR", en, zh);
        }
    }
}

fn grant_fits(found: &mut Violations, record_type: &RecordType, fields: &[FieldGrant], rows: &[RowCondition]) {
    fields_fit(found, record_type, fields);
    conditions_fit(found, record_type, "rows", rows);
}

/// What a subscriber is shown. Who may not read at all is refused by the state machine, in its own words.
fn access_of(
    snapshot: &Snapshot,
    subscriber: Option<&Arc<Department>>,
    dataset: &Dataset,
    now_ms: i64,
) -> Option<Arc<Access>> {
    policy::read_as(snapshot, &subscriber?.alias, false, dataset.id.as_str(), now_ms).ok()
}

/// Whether a filter asks only about what the subscriber is shown. The state machine judges that for standards of the software; for a department's own nobody
/// does after this.
fn filter_granted(found: &mut Violations, dataset: &Dataset, access: Option<&Access>, filter: &[RowCondition]) {
    if dataset.record_type.owner().is_none() || !found.0.is_empty() {
        return;
    }
    let granted = access.is_none_or(|access| {
        RowFilter::compile(access.record_type(), filter).is_ok_and(|rows| access.grants_filter(&rows))
    });
    if !granted {
        let (en, zh) = ("only fields granted clear can be filtered by", "只能按明文授权的字段筛选");
        found.add("filter", "NOT_GRANTED", en, zh);
    }
}

/// Whether a subscription's purpose is its grant's. The state machine does not ask, so that what it took before this rule stays what it was; delivery asks
/// again, each time.
fn purpose_granted(found: &mut Violations, access: Option<&Access>, purpose: &str) {
    if access.is_some_and(|access| !access.serves(purpose)) {
        found.refuse_purpose();
    }
}

/// What a grant can do with a field, as a manifest says it.
fn treatments(record_type: &RecordType, path: &str) -> Vec<&'static str> {
    let all = [(Treatment::Clear, "clear"), (Treatment::Masked, "masked"), (Treatment::KeyedHash, "keyed_hash")];
    let has = |treatment| project(record_type, &[FieldGrant { path: path.to_owned(), treatment }]).is_ok();
    all.into_iter().filter(|(treatment, _)| has(*treatment)).map(|(_, word)| word).collect()
}

fn conditions_fit(found: &mut Violations, record_type: &RecordType, path: &str, conditions: &[RowCondition]) {
    let indexed = record_type.indexed_fields();
    for (number, condition) in conditions.iter().enumerate() {
        if indexed.iter().all(|field| field.name != condition.field) {
            let names = indexed.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ");
            let (en, zh) = (format!("no indexed field; indexed: {names}"), format!("不是可检索字段；可检索：{names}"));
            found.add(format!("{path}[{number}].field"), "NOT_INDEXED", en, zh);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::record_types, *};

    #[test]
    fn who_asks_for_a_treatment_that_a_field_has_not_is_told_which_it_has() {
        let known = record_types();
        let sample = known.get("sample/v1").expect("a record type of the fixtures");
        let told = |path: &str, treatment| {
            let mut found = Violations::default();
            let key = FieldGrant { path: "/id".into(), treatment: Treatment::Clear };
            fields_fit(&mut found, sample, &[key, FieldGrant { path: path.into(), treatment }]);
            found.0.into_iter().map(|one| (one.rule, one.message_en, one.message_zh)).collect::<Vec<_>>()
        };
        for (path, en, zh) in
            [("", "it has: clear", "可用：clear"), ("/note", "it has: clear, keyed_hash", "可用：clear、keyed_hash")]
        {
            let told = told(path, Treatment::Masked);
            let [(rule, message_en, message_zh)] = told.as_slice() else { panic!("{path}: {told:?}") };
            assert_eq!(&**rule, "NO_TREATMENT", "{path}");
            assert!(message_en.ends_with(en) && message_zh.ends_with(zh), "{path}: {message_en} {message_zh}");
        }
        assert_eq!(told("/person", Treatment::Masked), []);
    }
}
