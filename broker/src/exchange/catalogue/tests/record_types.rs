//! Departments' own record types: who may, what keeps one, what a name means, and what happens where software cannot compile one any more; then what is
//! refused before it gets into the log.

use shuqiao_schemas::own;

use super::{super::check, *};
use crate::exchange::policy;

const OWN: &str = "market-supervision.own/v1";
const OF_OWN: &str = "market-supervision.of-own";

fn create(name: &str) -> Command {
    Command::CreateRecordType(new_record_type(name))
}

fn delete(desk: &Desk, name: &str) -> Command {
    let expected = desk.snapshot.record_type(name).map_or(0, |one| one.version);
    Command::DeleteRecordType(RecordTypeRef { name: name.parse().unwrap(), expected })
}

/// A document of the same name that says something else.
fn changed(name: &str) -> Command {
    let new = new_record_type(name);
    Command::CreateRecordType(NewRecordType { schema: new.schema.replace("样例", "另一样例"), ..new })
}

/// The city with a record type of the owner's own, a dataset of it, a grant to taxation and its subscription.
fn connected_by_own(compile: Compile) -> Desk {
    let mut desk = Desk::default();
    desk.context.compile = compile;
    for number in 0..DEPARTMENTS.len() {
        desk.give(&administrator(), new_department(number)).unwrap();
    }
    let owner = system(OWNER);
    check(&mut desk, &owner, create(OWN), "changed");
    check(&mut desk, &owner, Command::CreateDataset(new_dataset_of(OF_OWN, OWN)), "changed");
    check(&mut desk, &owner, Command::CreateGrant(new_grant("own", OF_OWN, "taxation")), "changed");
    let new = new_subscription("taxation.own", OF_OWN);
    check(&mut desk, &system("taxation"), Command::CreateSubscription(new), "changed");
    desk
}

#[test]
fn a_department_registers_its_own_and_nobody_elses() {
    let mut desk = Desk::city();
    let owner = system(OWNER);
    check(&mut desk, &system("taxation"), create(OWN), "NOT_OWNER");
    check(&mut desk, &owner, create(OWN), "changed");
    check(&mut desk, &owner, create(OWN), "unchanged");
    check(&mut desk, &administrator(), create(OWN), "unchanged");
    check(&mut desk, &owner, changed(OWN), "ALREADY_EXISTS");
    let with_table = NewRecordType { code_tables: vec!["{}".into()], ..new_record_type(OWN) };
    check(&mut desk, &owner, Command::CreateRecordType(with_table), "ALREADY_EXISTS");
    check(&mut desk, &administrator(), create("taxation.own/v1"), "changed");
    check(&mut desk, &administrator(), create("nobody.own/v1"), "NO department");
    check(&mut desk, &system("stranger"), create("stranger.own/v1"), "IDENTITY_UNKNOWN");
    // A name without an alias is a standard of the software, whoever asks.
    for caller in [owner.clone(), administrator()] {
        check(&mut desk, &caller, create("sample/v1"), "name ALIAS_MISSING");
    }
    let gone = delete(&desk, OWN);
    check(&mut desk, &system("taxation"), gone.clone(), "NOT_OWNER");
    check(&mut desk, &owner, gone.clone(), "changed");
    check(&mut desk, &owner, gone, "NO record type");
}

#[test]
fn a_record_type_stays_while_a_dataset_names_it_and_its_department_stays_with_it() {
    let mut desk = Desk::city();
    let taxation = system("taxation");
    check(
        &mut desk,
        &taxation,
        Command::CreateDataset(new_dataset_of("taxation.of-own", OWN)),
        "record_type UNKNOWN_RECORD_TYPE",
    );
    check(&mut desk, &system(OWNER), create(OWN), "changed");
    // Whoever sees a record type may use it.
    let hidden = NewDataset { listed: false, ..new_dataset_of("taxation.of-own", OWN) };
    check(&mut desk, &taxation, Command::CreateDataset(hidden), "changed");
    let gone = delete(&desk, OWN);
    check(&mut desk, &system(OWNER), gone.clone(), "REFERRED TO BY a dataset that is not listed");
    check(&mut desk, &administrator(), gone, "REFERRED TO BY datasets/taxation.of-own");
    let expected = desk.snapshot.dataset("taxation.of-own").unwrap().version;
    let which = DatasetRef { id: "taxation.of-own".parse().unwrap(), expected };
    check(&mut desk, &taxation, Command::DeleteDataset(which), "changed");

    let expected = desk.snapshot.dataset(DATASET).unwrap().version;
    let which = DatasetRef { id: DATASET.parse().unwrap(), expected };
    check(&mut desk, &system(OWNER), Command::DeleteDataset(which), "changed");
    let expected = desk.snapshot.department(OWNER).unwrap().version;
    let dissolve = Command::DeleteDepartment(DepartmentRef { alias: OWNER.parse().unwrap(), expected });
    check(&mut desk, &administrator(), dissolve.clone(), &format!("REFERRED TO BY recordTypes/{OWN}"));
    let gone = delete(&desk, OWN);
    check(&mut desk, &system(OWNER), gone, "changed");
    check(&mut desk, &administrator(), dissolve, "changed");
}

#[test]
fn a_name_keeps_its_meaning_after_it_was_deleted() {
    let mut desk = Desk::city();
    let owner = system(OWNER);
    check(&mut desk, &owner, create(OWN), "changed");
    let first = desk.snapshot.record_type(OWN).unwrap().version;
    for _ in 0..2 {
        let gone = delete(&desk, OWN);
        check(&mut desk, &owner, gone, "changed");
        // Records of the name may lie in the log of a dataset that was deleted and comes back.
        check(&mut desk, &owner, changed(OWN), "ALREADY_EXISTS");
        check(&mut desk, &administrator(), changed(OWN), "ALREADY_EXISTS");
        check(&mut desk, &owner, create(OWN), "changed");
    }
    check(&mut desk, &owner, changed("market-supervision.own/v2"), "changed");
    let stale = RecordTypeRef { name: OWN.parse().unwrap(), expected: first };
    check(&mut desk, &owner, Command::DeleteRecordType(stale), "ETAG_MISMATCH");
}

#[test]
fn software_that_cannot_compile_a_record_type_any_more_keeps_the_catalogue_and_says_so() {
    let before = connected_by_own(context().compile);
    // A node that replays the same log with a later software.
    let mut after = connected_by_own(STRICTER);
    assert_eq!(after.snapshot.digest().unwrap(), before.snapshot.digest().unwrap());
    assert!(policy::may_publish(&before.snapshot, &system(OWNER), OF_OWN).is_ok());
    assert!(policy::may_read(&before.snapshot, &system("taxation"), OF_OWN, 0).is_ok());
    assert_eq!(policy::readable(&before.snapshot, &system("taxation"), 0).len(), 1);

    let refused = [
        policy::may_publish(&after.snapshot, &system(OWNER), OF_OWN).map(|_| ()).unwrap_err(),
        policy::may_read(&after.snapshot, &system(OWNER), OF_OWN, 0).map(|_| ()).unwrap_err(),
        policy::may_read(&after.snapshot, &system("taxation"), OF_OWN, 0).map(|_| ()).unwrap_err(),
    ];
    assert_eq!(refused.map(|error| error.reason()), ["RECORD_TYPE_UNUSABLE"; 3]);
    // Whoever has no right learns no more than it did.
    let stranger = policy::may_read(&after.snapshot, &system("civil-affairs"), OF_OWN, 0).unwrap_err();
    assert_eq!(stranger.reason(), "GRANT_MISSING");
    assert_eq!(policy::readable(&after.snapshot, &system("taxation"), 0).len(), 0);

    // What nobody can judge is not appended; what ends something is.
    let standing = after.snapshot.standing(&system(OWNER)).unwrap();
    let entry = |command| Entry::new(Actor::new(&system(OWNER), false), 1, command);
    let grant = entry(Command::CreateGrant(new_grant("more", OF_OWN, "civil-affairs")));
    assert_eq!(check::fit(&grant, &after.snapshot, &standing).unwrap_err().reason(), "RECORD_TYPE_UNUSABLE");
    let dataset = Command::CreateDataset(new_dataset_of("market-supervision.more", OWN));
    let told = check::form(&dataset, &after.snapshot, &after.context.record_types);
    assert_eq!(word(&told.map(|()| unreachable!("refused"))), "record_type RECORD_TYPE_UNUSABLE");
    let revoke = grant_ref(&after, "own");
    check(&mut after, &system(OWNER), Command::RevokeGrant(revoke), "changed");
    let renamed = DatasetChange {
        id: OF_OWN.parse().unwrap(),
        expected: after.snapshot.dataset(OF_OWN).unwrap().version,
        ..dataset_change(&after, "新标题")
    };
    check(&mut after, &system(OWNER), Command::UpdateDataset(renamed), "changed");
}

#[test]
fn a_grant_and_a_filter_that_nobody_judged_show_nothing() {
    // As if the judgement before the log had been passed by: another dataset of the name was there when the command was given.
    let mut desk = connected_by_own(context().compile);
    let none = vec![FieldGrant { path: "/none".into(), treatment: Treatment::Clear }];
    let unfit = NewGrant { fields: none, ..new_grant("unfit", OF_OWN, "civil-affairs") };
    check(&mut desk, &system(OWNER), Command::CreateGrant(unfit), "changed");
    let refused = policy::may_read(&desk.snapshot, &system("civil-affairs"), OF_OWN, 0).unwrap_err();
    assert_eq!(refused.reason(), "RECORD_TYPE_UNUSABLE");
    let filter = vec![RowCondition { field: "note".into(), values: vec!["x".into()] }];
    let new = NewSubscription { filter, ..new_subscription("taxation.unfit", OF_OWN) };
    check(&mut desk, &system("taxation"), Command::CreateSubscription(new), "changed");
    let access = policy::may_read(&desk.snapshot, &system("taxation"), OF_OWN, 0).unwrap();
    let rows = &desk.snapshot.subscription("taxation.unfit").unwrap().rows;
    let mut scratch = shuqiao_schemas::engine::Scratch::new();
    assert!(!access.grants_filter(rows));
    assert!(!rows.shows(access.record_type(), br#"{"id":"1","note":"x"}"#, &mut scratch));
}

/// What is said of a command before it is appended.
fn judge(desk: &Desk, caller: &Identity, command: Command) -> String {
    let standing = desk.snapshot.standing(caller).unwrap();
    let entry = Entry::new(Actor::new(caller, false), 1, command);
    let judged = check::fit(&entry, &desk.snapshot, &standing);
    word(&judged.map(|()| Outcome { resource: None, changed: true, entry: None }))
}

#[test]
fn a_grant_and_a_filter_are_judged_before_the_log() {
    let mut desk = connected_by_own(context().compile);
    let fields = |paths: &[&str]| {
        paths.iter().map(|path| FieldGrant { path: (*path).into(), treatment: Treatment::Masked }).collect()
    };
    let grant =
        |paths| Command::CreateGrant(NewGrant { fields: fields(paths), ..new_grant("more", OF_OWN, "civil-affairs") });
    assert_eq!(
        judge(&desk, &system(OWNER), grant(&["/none"])),
        "fields[0].path UNKNOWN_FIELD_PATH, fields KEY_NOT_CLEAR"
    );
    assert_eq!(
        judge(&desk, &system(OWNER), grant(&["/note"])),
        "fields[0].treatment NO_TREATMENT, fields KEY_NOT_CLEAR"
    );
    let narrow = ["/id", "/note"].map(|path| FieldGrant { path: path.into(), treatment: Treatment::Clear });
    let narrow = GrantChange { fields: narrow.to_vec(), ..grant_change(&desk, "own") };
    assert_eq!(judge(&desk, &system(OWNER), Command::UpdateGrant(narrow.clone())), "changed");
    check(&mut desk, &system(OWNER), Command::UpdateGrant(narrow), "changed");
    let filtered = |field: &str| vec![RowCondition { field: field.into(), values: vec!["1".into()] }];
    let new = |field| {
        Command::CreateSubscription(NewSubscription {
            filter: filtered(field),
            ..new_subscription("taxation.more", OF_OWN)
        })
    };
    assert_eq!(judge(&desk, &system("taxation"), new("note")), "filter[0].field NOT_INDEXED");
    assert_eq!(judge(&desk, &system("taxation"), new("region")), "filter NOT_GRANTED");
    let change = SubscriptionChange { filter: filtered("region"), ..subscription_change(&desk, "taxation.own", None) };
    assert_eq!(judge(&desk, &system("taxation"), Command::UpdateSubscription(change)), "filter NOT_GRANTED");
}

#[test]
fn a_subscription_names_the_grants_purpose() {
    let desk = connected_by_own(context().compile);
    let new = |id, purpose: &str| {
        Command::CreateSubscription(NewSubscription { purpose: purpose.into(), ..new_subscription(id, OF_OWN) })
    };
    for purpose in ["核查", "核查：案件 17"] {
        assert_eq!(judge(&desk, &system("taxation"), new("taxation.more", purpose)), "changed");
    }
    for purpose in ["玩", "核查员", "案件核查"] {
        let refused = "purpose PURPOSE_NOT_GRANTED";
        assert_eq!(judge(&desk, &system("taxation"), new("taxation.more", purpose)), refused, "{purpose}");
        let change = SubscriptionChange { purpose: purpose.into(), ..subscription_change(&desk, "taxation.own", None) };
        assert_eq!(judge(&desk, &system("taxation"), Command::UpdateSubscription(change)), refused, "{purpose}");
    }
}

#[test]
fn a_department_has_no_more_record_types_than_a_node_can_hold() {
    let mut desk = Desk::city();
    let form = |desk: &Desk, command: &Command| check::form(command, &desk.snapshot, &desk.context.record_types);
    for number in 0..check::RECORD_TYPES_MAX {
        let command = create(&format!("taxation.own-{number}/v1"));
        form(&desk, &command).unwrap();
        check(&mut desk, &system("taxation"), command, "changed");
    }
    let one_more = form(&desk, &create("taxation.one-more/v1")).map(|()| unreachable!("refused"));
    assert_eq!(word(&one_more), "name TOO_MANY");
    form(&desk, &create("taxation.own-0/v1")).unwrap();
    form(&desk, &create(OWN)).unwrap();
}

#[test]
fn whatever_the_profile_refuses_never_gets_into_the_log() {
    let desk = Desk::city();
    let told = |schema: String, code_tables: Vec<String>| {
        let command = Command::CreateRecordType(NewRecordType { schema, code_tables, ..new_record_type(OWN) });
        word(&check::form(&command, &desk.snapshot, &desk.context.record_types).map(|()| Outcome {
            resource: None,
            changed: true,
            entry: None,
        }))
    };
    let schema = own_schema(OWN);
    let note = r#""maxLength": 40}
  }"#;
    assert!(schema.contains(note));
    let with = |more: &str| schema.replace(note, &format!(r#""maxLength": 40{more}}} }}"#));
    let field = |field: &str| with(&format!(r#"}}, "f": {}"#, field.trim_end_matches('}')));
    assert_eq!(told(schema.clone(), Vec::new()), "changed");
    assert_eq!(told(own_schema("market-supervision.own/v2"), Vec::new()), "schema/$id OTHER_NAME");
    assert_eq!(told(with(r#", "allOf": []"#), Vec::new()), "schema/properties/note UNKNOWN_KEYWORD");
    assert_eq!(told(field(r#"{"type": "string"}"#), Vec::new()), "schema/properties/f MISSING_KEYWORD");
    assert_eq!(
        told(field(r#"{"type": "string", "maxLength": 9, "pattern": "(?:a{1000}){1000}"}"#), Vec::new()),
        "schema/properties/f/pattern PATTERN"
    );
    // Small, and linear at a thousand steps a byte.
    assert_eq!(
        told(field(r#"{"type": "string", "maxLength": 99, "pattern": "^[ab]*a[ab]{1000}$"}"#), Vec::new()),
        "schema/properties/f/pattern PATTERN"
    );
    let definitions = |definitions: &str| {
        schema.replacen(r#""type": "object""#, &format!(r#""$defs": {{{definitions}}}, "type": "object""#), 1)
    };
    assert_eq!(
        told(definitions(r##""a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}"##), Vec::new()),
        "schema/$defs/b/$ref SELF_REFERENCE"
    );
    // Doubled at each of sixteen steps.
    let mut doubling = r#""d0": {"type": "integer"}"#.to_owned();
    for step in 1..16 {
        let below = format!(r##"{{"$ref": "#/$defs/d{}"}}"##, step - 1);
        doubling.push_str(&format!(
            r#", "d{step}": {{"type": "object", "additionalProperties": false, "properties": {{"a": {below}, "b": {below}}}}}"#
        ));
    }
    assert_eq!(told(definitions(&doubling), Vec::new()), "schema TOO_MANY_PLACES");
    let deep = (0..20).fold(r#"{"type": "integer"}"#.to_owned(), |inner, _| {
        format!(r#"{{"type": "array", "maxItems": 1, "items": {inner}}}"#)
    });
    assert!(told(definitions(&format!(r#""deep": {deep}"#)), Vec::new()).contains("TOO_DEEP"));
    let many = (0..200).map(|number| format!(r#""m{number}": {{"type": "integer"}}"#)).collect::<Vec<_>>().join(", ");
    let wide = format!(r#""wide": {{"type": "object", "additionalProperties": false, "properties": {{{many}}}}}"#);
    assert_eq!(told(definitions(&wide), Vec::new()), "schema/$defs/wide/properties OUT_OF_BOUNDS");
    assert_eq!(told(" ".repeat(own::MAX_BYTES + 1), Vec::new()), "schema TOO_LARGE");
    assert_eq!(told("{".into(), Vec::new()), "schema NOT_JSON");

    let table = |codes: usize| {
        let codes: Vec<_> = (0..codes).map(|code| format!(r#"{{"code":"{code}","en":"x","zh":"x"}}"#)).collect();
        format!(r#"{{"name":"own","title":{{"en":"x","zh":"x"}},"source":"ours","codes":[{}]}}"#, codes.join(","))
    };
    let coded = field(r#"{"type": "string", "x-code-table": "own"}"#);
    assert_eq!(told(coded.clone(), vec![table(9)]), "changed");
    assert_eq!(told(coded.clone(), vec![table(own::MAX_CODES + 1)]), "code_tables[0]/codes TOO_MANY_CODES");
    assert_eq!(told(coded, Vec::new()), "schema/properties/f/x-code-table UNKNOWN_TABLE");
    assert_eq!(told(schema, vec![table(1)]), "code_tables[0]/name UNUSED_TABLE");
}
