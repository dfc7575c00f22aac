//! What a command's content must look like, judged before it is appended.
//!
//! [`form`] needs the command alone; [`fit`] holds grants and filters against the dataset's record type. Both name every violation at once, in English and
//! Chinese, and quote no value. Bounds are those of `catalogue_service.proto`.

use shuqiao_schemas::{
    engine::{Flaw, RecordType},
    identifier::{self, Kind},
};

use super::{
    access::{nearest, project},
    command::{Command, NewGrant},
    resource::{FieldGrant, RowCondition, SharingClass, Treatment},
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

/// Judges what the command says by itself.
///
/// # Errors
/// [`Error::InvalidField`] with every violation.
pub(super) fn form(command: &Command, record_types: &RecordTypes) -> Result<(), Error> {
    let mut found = Violations::default();
    match command {
        Command::CreateDepartment(new) => {
            credit_code(&mut found, &new.unified_social_credit_code);
            found.required("display_name", &new.display_name);
        }
        Command::UpdateDepartment(change) => found.required("display_name", &change.display_name),
        Command::CreateDataset(new) => {
            record_type(&mut found, &new.record_type, record_types);
            if !(1..=PARTITIONS_MAX).contains(&new.partitions) {
                let (en, zh) = (format!("between 1 and {PARTITIONS_MAX}"), format!("须在 1 至 {PARTITIONS_MAX} 之间"));
                found.add("partitions", "OUT_OF_RANGE", en, zh);
            }
            found.dataset(&new.title, new.sharing_class, &new.legal_basis, new.retention_ms, new.listed);
        }
        Command::UpdateDataset(new) => {
            found.dataset(&new.title, new.sharing_class, &new.legal_basis, new.retention_ms, new.listed);
        }
        Command::CreateGrant(NewGrant { fields, rows, purpose, legal_basis, start_ms, end_ms, .. }) => {
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
/// [`Error::InvalidField`] with every violation.
pub(super) fn fit(command: &Command, snapshot: &Snapshot, standing: &Standing) -> Result<(), Error> {
    let of = |dataset: Option<&str>| {
        let dataset = dataset.and_then(|id| snapshot.dataset(id));
        dataset.filter(|one| policy::sees_dataset(snapshot, standing, one)).map(|one| one.compiled.clone())
    };
    let of_grant = |id: &str| of(snapshot.grant(id).map(|grant| grant.dataset.as_str()));
    let of_subscription = |id: &str| of(snapshot.subscription(id).map(|one| one.dataset.as_str()));
    let mut found = Violations::default();
    match command {
        Command::CreateGrant(new) => {
            if let Some(record_type) = of(Some(new.dataset.as_str())) {
                fields_fit(&mut found, &record_type, &new.fields);
                conditions_fit(&mut found, &record_type, "rows", &new.rows);
            }
        }
        Command::UpdateGrant(change) => {
            if let Some(record_type) = of_grant(change.id.as_str()) {
                fields_fit(&mut found, &record_type, &change.fields);
                conditions_fit(&mut found, &record_type, "rows", &change.rows);
            }
        }
        Command::CreateSubscription(new) => {
            if let Some(record_type) = of(Some(new.dataset.as_str())) {
                conditions_fit(&mut found, &record_type, "filter", &new.filter);
            }
        }
        Command::UpdateSubscription(change) => {
            if let Some(record_type) = of_subscription(change.id.as_str()) {
                conditions_fit(&mut found, &record_type, "filter", &change.filter);
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

fn record_type(found: &mut Violations, name: &RecordTypeName, known: &RecordTypes) {
    if known.get(name.as_str()).is_none() {
        let names = known.names().collect::<Vec<_>>().join(", ");
        let (en, zh) = (format!("no such record type; known: {names}"), format!("没有此记录标准；已有：{names}"));
        found.add("record_type", "UNKNOWN_RECORD_TYPE", en, zh);
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
                let (en, zh) =
                    ("the record type declares no such treatment for it", "记录标准未为该字段规定此种处理方式");
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
