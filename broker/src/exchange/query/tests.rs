//! Queries over a real embedded log, catalogue, view and trail.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::exchange::{
    audit,
    catalogue::{
        Command, FieldGrant, Treatment,
        command::{GrantRef, NewDataset, NewGrant},
        fixtures::{new_dataset, new_grant, system},
    },
    fixtures::{City, DATASET, OWNER, delete, upsert},
    publishing::{Batch, Fate, NewRecord},
};

const HIDDEN: &str = "market-supervision.hidden";
const SAMPLE: &str = "sample/v1";
const FILE: &str = "file/v1";

/// A city with queries.
struct Desk {
    city: City,
    query: Query,
    _directory: TempDir,
}

impl Desk {
    async fn open() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let city = City::open(directory.path()).await;
        let mut options = Options::new(PageKey::new(&[4; 32]).unwrap());
        change(&mut options);
        let (catalogue, audit, view) = (city.catalogue.clone(), city.audit.clone(), city.view.clone());
        let query = Query::new(catalogue, audit, view, options, city.clock.clone());
        Self { city, query, _directory: directory }
    }

    /// Publishes as the dataset's owner; the positions of what was accepted.
    async fn publish(&self, dataset: &str, record_type: &str, records: Vec<NewRecord>) -> Vec<Position> {
        let owner = dataset.split('.').next().unwrap();
        let mut session = self.city.publisher.open(&Arc::new(system(owner)), dataset, "").await.unwrap();
        let batch = Batch { batch_id: 1, record_type: record_type.into(), records };
        let answer = session.submit(batch).await.unwrap().await.unwrap().unwrap();
        let position = |(_, fate): &(u64, Fate)| match fate {
            Fate::Accepted { position, .. } => *position,
            other => panic!("not accepted: {other:?}"),
        };
        answer.results.iter().map(position).collect()
    }

    /// As [`Desk::publish`], and waits until queries see it.
    async fn held(&self, dataset: &str, record_type: &str, records: Vec<NewRecord>) -> Vec<Position> {
        let positions = self.publish(dataset, record_type, records).await;
        let until: Vec<_> = positions.iter().map(|at| (at.partition, at.offset + 1)).collect();
        self.city.view.wait_applied(&dataset.parse().unwrap(), &until, Duration::from_secs(10)).await.unwrap();
        positions
    }

    async fn command(&self, department: &str, command: Command) {
        self.city.command(&system(department), command).await;
    }

    /// Grants the taxation office fields of the dataset.
    async fn grant(&self, dataset: &str, fields: &[(&str, Treatment)], rows: &[(&str, &str)]) {
        let fields = fields.iter().map(|(path, treatment)| FieldGrant { path: (*path).into(), treatment: *treatment });
        let grant = NewGrant {
            fields: fields.collect(),
            rows: conditions(rows),
            ..new_grant(&dataset.replace('.', "-"), dataset, "taxation")
        };
        self.command(dataset.split('.').next().unwrap(), Command::CreateGrant(grant)).await;
    }

    async fn revoke(&self, dataset: &str) {
        let id: crate::exchange::model::GrantId = dataset.replace('.', "-").parse().unwrap();
        let expected = self.city.catalogue.snapshot().grant(id.as_str()).unwrap().version;
        self.command(dataset.split('.').next().unwrap(), Command::RevokeGrant(GrantRef { id, expected })).await;
    }

    /// The trail of queries, oldest first.
    async fn trail(&self) -> Vec<Value> {
        let page = self.city.audit.list(&audit::Query::default()).await.unwrap();
        let entries = page.lines.iter().map(|line| serde_json::from_slice::<Value>(&line.canonical).unwrap());
        entries.filter(|entry| entry["action"] != "publish" && entry["action"] != "catalogue_change").collect()
    }

    async fn get(&self, department: &str, dataset: &str, key: &str) -> Result<Shown, Error> {
        self.query.get(&system(department), &question(dataset), key).await
    }

    async fn list(&self, department: &str, filter: &[(&str, &str)], paging: Paging) -> Result<Page, Error> {
        self.query.list(&system(department), &question(DATASET), &conditions(filter), &paging).await
    }

    async fn compare(&self, key: &str, fields: &[(&str, &str)]) -> Result<Vec<bool>, Error> {
        let fields: Vec<_> =
            fields.iter().map(|(path, value)| Compared { path: (*path).into(), value: (*value).into() }).collect();
        self.query.compare(&system("taxation"), &question(DATASET), key, &fields).await
    }

    async fn subject(&self, department: &str, kind: &str, value: &str, paging: Paging) -> Result<Page, Error> {
        self.query.by_subject(&system(department), "核查", (kind, value), &paging).await
    }

    async fn close(self) {
        drop(self.query);
        self.city.close().await;
    }
}

fn question(dataset: &str) -> Question {
    Question { dataset: dataset.into(), purpose: "核查".into(), at_least: Vec::new() }
}

/// Several values of one field are separated by commas.
fn conditions(rows: &[(&str, &str)]) -> Vec<RowCondition> {
    let condition = |(field, values): &(&str, &str)| RowCondition {
        field: (*field).into(),
        values: values.split(',').map(str::to_owned).collect(),
    };
    rows.iter().map(condition).collect()
}

fn page(size: u32) -> Paging {
    Paging { size, token: String::new() }
}

fn keys(page: &Page) -> Vec<&str> {
    page.records.iter().map(|shown| &*shown.record.key).collect()
}

fn payload(shown: &Shown) -> &str {
    std::str::from_utf8(&shown.record.payload).unwrap()
}

/// The error in one word; of violations each path and rule.
fn word<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result.unwrap_err() {
        Error::InvalidField(violations) => {
            violations.iter().map(|one| format!("{} {}", one.path, one.rule)).collect::<Vec<_>>().join(", ")
        }
        other => other.reason().into(),
    }
}

fn file(sequence: u64, key: &str, kind: &str, holder: &str) -> NewRecord {
    let payload = format!(r#"{{"id":"{key}","holder":"{holder}","holder_kind":"{kind}"}}"#).into();
    NewRecord { payload, ..upsert(sequence, key, "") }
}

#[tokio::test]
async fn what_is_not_granted_leaves_the_payload_in_every_answer() {
    let desk = Desk::open().await;
    desk.held(DATASET, SAMPLE, vec![upsert(1, "a", "320600"), upsert(2, "a", "320601")]).await;
    desk.grant(DATASET, &[("/id", Treatment::Clear), ("/person", Treatment::Masked)], &[]).await;

    let expected = r#"{"id":"a","person":"顾*某"}"#;
    let shown = desk.get("taxation", DATASET, "a").await.unwrap();
    assert_eq!(payload(&shown), expected);
    assert_eq!((shown.dataset.as_str(), shown.record.source_version, shown.applied), (DATASET, 2, true));
    let listed = desk.list("taxation", &[], page(0)).await.unwrap();
    assert_eq!(listed.records, [shown]);
    let history = desk.query.history(&system("taxation"), &question(DATASET), "a", &page(0)).await.unwrap();
    assert_eq!(history.records.iter().map(payload).collect::<Vec<_>>(), [expected, expected]);
    // The owner sees what it sent.
    assert!(payload(&desk.get(OWNER, DATASET, "a").await.unwrap()).contains("n2"));
    desk.close().await;
}

#[tokio::test]
async fn a_hidden_row_answers_like_a_record_that_does_not_exist() {
    let desk = Desk::open().await;
    desk.held(DATASET, SAMPLE, vec![upsert(1, "here", "320600"), upsert(2, "there", "320601")]).await;
    desk.grant(DATASET, &[("", Treatment::Clear)], &[("region", "320600,320699")]).await;

    assert_eq!(&*desk.get("taxation", DATASET, "here").await.unwrap().record.key, "here");
    for key in ["there", "nowhere"] {
        assert_eq!(word(desk.get("taxation", DATASET, key).await), "RECORD_NOT_FOUND");
        assert_eq!(word(desk.compare(key, &[("/region", "320601")]).await), "RECORD_NOT_FOUND");
        let history = desk.query.history(&system("taxation"), &question(DATASET), key, &page(0)).await.unwrap();
        assert!(history.records.is_empty() && history.next.is_empty());
    }
    assert_eq!(keys(&desk.list("taxation", &[], page(0)).await.unwrap()), ["here"]);
    assert!(desk.list("taxation", &[("region", "320601")], page(0)).await.unwrap().records.is_empty());
    assert_eq!(desk.query.digest(&system("taxation"), &question(DATASET)).await.unwrap().count, 1);

    // The trail of the two differs in the digest of the key alone: whoever may read it learns nothing either.
    let mut gets: Vec<_> = desk.trail().await.into_iter().filter(|one| one["action"] == "get_record").skip(1).collect();
    assert_eq!(gets.len(), 2);
    assert_ne!(gets[0]["target"]["key"], gets[1]["target"]["key"]);
    gets.iter_mut().for_each(|entry| entry["target"]["key"] = Value::Null);
    assert_eq!(gets[0], gets[1]);
    assert_eq!((&gets[0]["outcome"], &gets[0]["count"]), (&"allowed".into(), &0.into()));
    desk.close().await;
}

#[tokio::test]
async fn every_refusal_is_the_policys_and_is_on_record() {
    let desk = Desk::open().await;
    let hidden = NewDataset { listed: false, ..new_dataset(HIDDEN) };
    desk.command(OWNER, Command::CreateDataset(hidden)).await;
    desk.held(DATASET, SAMPLE, vec![upsert(1, "a", "320600")]).await;

    assert_eq!(word(desk.get("stranger", DATASET, "a").await), "IDENTITY_UNKNOWN");
    assert_eq!(word(desk.get("taxation", "market-supervision.none", "a").await), "DATASET_NOT_FOUND");
    assert_eq!(word(desk.get("taxation", HIDDEN, "a").await), "DATASET_NOT_FOUND");
    assert_eq!(word(desk.get("taxation", "no id at all", "a").await), "DATASET_NOT_FOUND");
    assert_eq!(word(desk.get("taxation", DATASET, "a").await), "GRANT_MISSING");
    desk.grant(DATASET, &[("", Treatment::Clear)], &[]).await;
    desk.get("taxation", DATASET, "a").await.unwrap();
    desk.revoke(DATASET).await;
    assert_eq!(word(desk.get("taxation", DATASET, "a").await), "GRANT_REVOKED");
    assert_eq!(word(desk.list("taxation", &[], page(0)).await), "GRANT_REVOKED");
    assert_eq!(word(desk.compare("a", &[("/id", "a")]).await), "GRANT_REVOKED");
    assert_eq!(word(desk.query.digest(&system("taxation"), &question(DATASET)).await), "GRANT_REVOKED");
    let history = desk.query.history(&system("taxation"), &question(DATASET), "a", &page(0)).await;
    assert_eq!(word(history), "GRANT_REVOKED");
    assert_eq!(word(desk.subject("stranger", "uscc", "1", page(0)).await), "IDENTITY_UNKNOWN");

    let outcomes: Vec<_> = desk
        .trail()
        .await
        .iter()
        .map(|entry| entry["outcome"]["denied"].as_str().unwrap_or("allowed").to_owned())
        .collect();
    let expected = "IDENTITY_UNKNOWN DATASET_NOT_FOUND DATASET_NOT_FOUND DATASET_NOT_FOUND GRANT_MISSING allowed GRANT_REVOKED GRANT_REVOKED \
                    GRANT_REVOKED GRANT_REVOKED GRANT_REVOKED IDENTITY_UNKNOWN";
    assert_eq!(outcomes.join(" "), expected);
    desk.close().await;
}

#[tokio::test]
async fn an_entry_says_who_asked_what_for_which_purpose_and_what_was_released() {
    let desk = Desk::open().await;
    let positions = desk.held(DATASET, SAMPLE, vec![upsert(1, "a", "320600")]).await;
    desk.grant(DATASET, &[("", Treatment::Clear)], &[]).await;
    let shown = desk.get("taxation", DATASET, "a").await.unwrap();
    desk.list("taxation", &[("region", "320600")], page(0)).await.unwrap();
    desk.compare("a", &[("/region", "320600")]).await.unwrap();

    let trail = desk.trail().await;
    let mut digest = RecordsDigest::default();
    digest.add("a", 1, &shown.record.payload);
    let at = positions[0];
    for entry in &trail[..2] {
        assert_eq!(entry["digest"], hex::encode(digest.clone().finish().1));
    }
    for entry in &trail {
        assert_eq!(entry["actor"], "department/taxation/system/registry");
        assert_eq!((&entry["dataset"], &entry["purpose"]), (&DATASET.into(), &"核查".into()));
        assert_eq!(entry["grant"]["id"], "market-supervision-sample");
        assert_eq!(entry["positions"], serde_json::json!([[at.partition, at.offset, at.offset]]));
        assert_eq!((&entry["count"], &entry["outcome"]), (&1.into(), &"allowed".into()));
        let text = entry.to_string();
        assert!(!text.contains("320600") && !text.contains("顾"), "no value is in the trail");
    }
    let key = desk.city.audit.key();
    assert_eq!(trail[0]["target"]["key"], hex::encode(key.key(&DATASET.parse().unwrap(), "a").as_bytes()));
    for (entry, field) in [(&trail[1], "region"), (&trail[2], "/region")] {
        assert_eq!(entry["target"]["fields"], serde_json::json!([field]));
        assert_eq!(entry["target"]["filter"], hex::encode(key.values(&["320600"]).as_bytes()));
    }
    desk.close().await;
}

#[tokio::test]
async fn nothing_is_released_before_its_audit_entry_is_durable() {
    let desk = Desk::open().await;
    desk.held(DATASET, SAMPLE, vec![upsert(1, "a", "320600")]).await;
    assert!(desk.get(OWNER, DATASET, "a").await.is_ok());
    // The view still has the record; the trail takes nothing any more.
    desk.city.log.close().await;
    assert!(desk.city.view.get(&DATASET.parse().unwrap(), "a").unwrap().is_some());
    assert!(matches!(desk.get(OWNER, DATASET, "a").await, Err(Error::Draining)));
    assert!(matches!(desk.list(OWNER, &[], page(0)).await, Err(Error::Draining)));
    // Even that nothing is there is an answer.
    assert!(matches!(desk.get(OWNER, DATASET, "b").await, Err(Error::Draining)));
    desk.close().await;
}

#[tokio::test]
async fn nobody_narrows_or_compares_by_a_field_that_it_is_not_shown() {
    let desk = Desk::open().await;
    desk.held(DATASET, SAMPLE, vec![upsert(1, "a", "320600")]).await;
    desk.grant(DATASET, &[("/id", Treatment::Clear), ("/person", Treatment::Masked)], &[]).await;

    assert_eq!(
        word(desk.list("taxation", &[("region", "320600")], page(0)).await),
        "filter[0].field FIELD_NOT_GRANTED"
    );
    assert_eq!(word(desk.list("taxation", &[("note", "n1")], page(0)).await), "filter[0].field NOT_INDEXED");
    // Masked is not clear: comparing would find out what the mask hides.
    for path in ["/person", "/region", "/unknown", "", "/id/0"] {
        assert_eq!(
            word(desk.compare("a", &[("/id", "a"), (path, "x")]).await),
            "fields[1].path FIELD_NOT_GRANTED",
            "{path}"
        );
    }
    assert_eq!(word(desk.compare("a", &[("/*", "x")]).await), "fields[0].path NOT_A_VALUE");
    assert_eq!(word(desk.compare("a", &[]).await), "fields REQUIRED");
    assert_eq!(word(desk.compare("a", &[("/id", "a"); 65]).await), "fields TOO_MANY");
    assert_eq!(desk.compare("a", &[("/id", "a"), ("/id", "b")]).await.unwrap(), [true, false]);
    desk.close().await;
}

#[tokio::test]
async fn pages_give_every_record_once_in_key_order_while_records_come_and_go() {
    let desk = Desk::open().await;
    let name = |number: u64| format!("k{number:03}");
    desk.held(DATASET, SAMPLE, (1..=25).map(|n| upsert(n, &name(n), "320600")).collect()).await;

    let mut paging = page(10);
    let mut seen = Vec::new();
    let mut pages = 0;
    loop {
        let page = desk.list(OWNER, &[], paging.clone()).await.unwrap();
        assert!(page.records.len() <= 10);
        seen.extend(keys(&page).into_iter().map(str::to_owned));
        pages += 1;
        if page.next.is_empty() {
            break;
        }
        paging.token = page.next;
        if pages == 1 {
            // The page's own last record goes, one before it and one after it come.
            let change = vec![delete(26, &name(10)), upsert(27, "k000", "320600"), upsert(28, "k010a", "320600")];
            desk.held(DATASET, SAMPLE, change).await;
        }
    }
    let mut expected: Vec<_> = (1..=25).map(name).collect();
    expected.insert(10, "k010a".into());
    assert_eq!((seen, pages), (expected, 3));

    // A page that ends with the last record is the last page.
    let exact = desk.list(OWNER, &[], page(26)).await.unwrap();
    assert_eq!((exact.records.len(), exact.next.is_empty()), (26, true));
    desk.close().await;
}

#[tokio::test]
async fn a_page_token_belongs_to_its_question_alone() {
    let desk = Desk::open().await;
    desk.grant(DATASET, &[("", Treatment::Clear)], &[]).await;
    desk.held(DATASET, SAMPLE, (1..=4).map(|n| upsert(n, &format!("k{n}"), "320600")).collect()).await;
    let first = desk.list(OWNER, &[], page(2)).await.unwrap();
    let token = |size| Paging { size, token: first.next.clone() };
    // The size may change, the question may not.
    assert_eq!(keys(&desk.list(OWNER, &[], token(1)).await.unwrap()), ["k3"]);
    let foreign = "page_token NOT_OF_THIS_QUERY";
    assert_eq!(word(desk.list(OWNER, &[("region", "320600")], token(2)).await), foreign);
    assert_eq!(word(desk.list("taxation", &[], token(2)).await), foreign);
    assert_eq!(word(desk.query.history(&system(OWNER), &question(DATASET), "k1", &token(2)).await), foreign);
    // Permission is judged anew for every page.
    let granted = desk.list("taxation", &[], page(2)).await.unwrap();
    desk.revoke(DATASET).await;
    assert_eq!(word(desk.list("taxation", &[], Paging { size: 2, token: granted.next }).await), "GRANT_REVOKED");
    desk.close().await;
}

#[tokio::test]
async fn an_index_answers_for_several_values_in_key_order_and_further_conditions_narrow() {
    let desk = Desk::open().await;
    let region = |n: u64| ["320600", "320601", "320602"][usize::try_from(n % 3).unwrap()];
    desk.held(DATASET, SAMPLE, (1..=12).map(|n| upsert(n, &format!("k{n:02}"), region(n))).collect()).await;
    let filter = [("region", "320602,320600,320602")];
    let mut paging = page(3);
    let mut seen = Vec::new();
    loop {
        let page = desk.list(OWNER, &filter, paging.clone()).await.unwrap();
        seen.extend(keys(&page).into_iter().map(str::to_owned));
        if page.next.is_empty() {
            break;
        }
        paging.token = page.next;
    }
    assert_eq!(seen.join(" "), "k02 k03 k05 k06 k08 k09 k11 k12");
    let both = [("region", "320600,320601"), ("region", "320601,320602")];
    assert_eq!(keys(&desk.list(OWNER, &both, page(0)).await.unwrap()), ["k01", "k04", "k07", "k10"]);
    // What has moved is found under its new value alone.
    desk.held(DATASET, SAMPLE, vec![upsert(13, "k01", "320699")]).await;
    assert_eq!(keys(&desk.list(OWNER, &[("region", "320699")], page(0)).await.unwrap()), ["k01"]);
    assert_eq!(keys(&desk.list(OWNER, &both, page(0)).await.unwrap()), ["k04", "k07", "k10"]);
    desk.close().await;
}

#[tokio::test]
async fn history_is_newest_first_and_shows_what_was_among_the_granted_rows() {
    let desk = Desk::open().await;
    let stale = NewRecord { source_version: 1, ..upsert(4, "a", "320600") };
    let records =
        vec![upsert(1, "a", "320600"), upsert(2, "a", "320601"), upsert(3, "a", "320600"), stale, delete(5, "a")];
    desk.held(DATASET, SAMPLE, records).await;
    desk.held(DATASET, SAMPLE, vec![upsert(6, "a", "320601"), delete(7, "a")]).await;
    desk.grant(DATASET, &[("", Treatment::Clear)], &[("region", "320600")]).await;

    let read = async |department: &str, size| {
        let (mut paging, mut all) = (page(size), Vec::new());
        loop {
            let page = desk.query.history(&system(department), &question(DATASET), "a", &paging).await.unwrap();
            all.extend(page.records.iter().map(|one| (one.record.sequence, one.applied)));
            if page.next.is_empty() {
                return all;
            }
            paging.token = page.next;
        }
    };
    let everything = [(7, true), (6, true), (5, true), (4, false), (3, true), (2, true), (1, true)];
    assert_eq!(read(OWNER, 0).await, everything);
    assert_eq!(read(OWNER, 2).await, everything);
    // Of the deletions only the one that took a granted row away.
    assert_eq!(read("taxation", 0).await, [(5, true), (4, false), (3, true), (1, true)]);
    desk.close().await;
}

#[tokio::test]
async fn a_digest_is_over_what_the_caller_sees_and_says_up_to_where() {
    let desk = Desk::open().await;
    desk.held(DATASET, SAMPLE, (1..=9).map(|n| upsert(n, &format!("k{n}"), "320600")).collect()).await;
    desk.held(DATASET, SAMPLE, vec![delete(10, "k1"), upsert(11, "k2", "320601")]).await;
    desk.grant(DATASET, &[("/id", Treatment::Clear)], &[("region", "320600")]).await;

    let answer = desk.query.digest(&system("taxation"), &question(DATASET)).await.unwrap();
    // As a sink computes it from what it was delivered.
    let mut digest = RecordsDigest::default();
    for number in 3..=9 {
        digest.add(&format!("k{number}"), number, format!(r#"{{"id":"k{number}"}}"#).as_bytes());
    }
    assert_eq!((answer.count, answer.digest), digest.finish());
    assert_eq!(answer.applied, desk.city.view.applied(&DATASET.parse().unwrap()));
    assert_eq!(answer.applied.iter().sum::<u64>(), 11);
    let entry = desk.trail().await.pop().unwrap();
    assert_eq!((&entry["count"], &entry["digest"]), (&7.into(), &hex::encode(answer.digest).into()));
    desk.close().await;
}

#[tokio::test]
async fn a_query_sees_the_write_whose_position_it_names_or_says_that_it_cannot() {
    let desk = Desk::with(|options| options.wait_max = Duration::from_millis(200)).await;
    for number in 1..=20 {
        let position = desk.publish(DATASET, SAMPLE, vec![upsert(number, "a", "320600")]).await[0];
        let asked = Question { at_least: vec![position], ..question(DATASET) };
        let shown = desk.query.get(&system(OWNER), &asked, "a").await.unwrap();
        assert!(shown.record.sequence >= number, "version {} after {number} was published", shown.record.sequence);
    }
    let never = |partition| Question { at_least: vec![Position { partition, offset: 1_000 }], ..question(DATASET) };
    let before = desk.trail().await.len();
    let begun = Instant::now();
    assert_eq!(word(desk.query.get(&system(OWNER), &never(0), "a").await), "VIEW_BEHIND");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(desk.trail().await.len(), before, "nothing was answered and nothing refused");
    assert_eq!(word(desk.query.get(&system(OWNER), &never(2), "a").await), "at_least OUT_OF_RANGE");
    let many = Question { at_least: vec![Position { partition: 0, offset: 0 }; 3], ..question(DATASET) };
    assert_eq!(word(desk.query.get(&system(OWNER), &many, "a").await), "at_least TOO_MANY");
    desk.close().await;
}

#[tokio::test]
async fn a_subject_is_found_across_the_datasets_that_the_caller_may_read() {
    let desk = Desk::open().await;
    let datasets = ["civil-affairs.files", "market-supervision.files", "market-supervision.more", "taxation.files"];
    for dataset in datasets {
        let new = NewDataset { record_type: FILE.parse().unwrap(), ..new_dataset(dataset) };
        desk.command(dataset.split('.').next().unwrap(), Command::CreateDataset(new)).await;
        let files = vec![
            file(1, "f1", "uscc", "913206"),
            file(2, "f2", "uscc", "913206"),
            file(3, "f3", "resident_id", "913206"),
            file(4, "f4", "uscc", "9132060"),
        ];
        desk.held(dataset, FILE, files).await;
    }
    desk.grant("market-supervision.files", &[("", Treatment::Clear)], &[]).await;
    // Whoever is not shown the subject cannot search by it.
    desk.grant("market-supervision.more", &[("/id", Treatment::Clear)], &[]).await;

    let found = desk.subject("taxation", "uscc", "913206", page(0)).await.unwrap();
    let places: Vec<_> = found.records.iter().map(|one| format!("{} {}", one.dataset, one.record.key)).collect();
    assert_eq!(
        places,
        ["market-supervision.files f1", "market-supervision.files f2", "taxation.files f1", "taxation.files f2"]
    );
    assert!(found.records.iter().all(|one| one.record.accept_time_ms == desk.city.clock.now_ms()));
    assert_eq!(found.records[0].record.source.department(), "market-supervision");

    // One entry a dataset: its owner finds it, with the grant that showed it.
    let trail = desk.trail().await;
    let lines: Vec<_> = trail.iter().map(|one| (&one["dataset"], &one["grant"]["id"], &one["count"])).collect();
    let expected =
        [("market-supervision.files", Value::from("market-supervision-files")), ("taxation.files", Value::Null)];
    assert_eq!(lines.len(), 2);
    for (line, (dataset, grant)) in lines.iter().zip(&expected) {
        assert_eq!(*line, (&Value::from(*dataset), grant, &2.into()));
    }
    assert_eq!(trail[0]["target"]["subject"]["kind"], "uscc");

    // Page by page, across datasets.
    for size in 1..=4 {
        let (mut paging, mut seen) = (page(size), Vec::new());
        loop {
            let page = desk.subject("taxation", "uscc", "913206", paging.clone()).await.unwrap();
            seen.extend(page.records);
            if page.next.is_empty() {
                break;
            }
            paging.token = page.next;
        }
        assert_eq!(seen, found.records, "pages of {size}");
    }
    // The kind is compared and never guessed, the value is compared whole.
    assert_eq!(keys(&desk.subject("taxation", "resident_id", "913206", page(1)).await.unwrap()), ["f3"]);
    assert!(desk.subject("taxation", "passport", "913206", page(0)).await.unwrap().records.is_empty());
    assert!(desk.subject("taxation", "uscc", "91320", page(0)).await.unwrap().records.is_empty());
    assert_eq!(word(desk.subject("taxation", "", "913206", page(0)).await), "subject_kind REQUIRED");
    assert_eq!(word(desk.subject("taxation", "a\u{1f}b", "9", page(0)).await), "subject_kind CONTROL_CHARACTER");
    // Who may read nothing finds nothing, and that is on record.
    let before = desk.trail().await.len();
    let other = desk.query.by_subject(&system("civil-affairs"), "核查", ("uscc", "1"), &page(0)).await.unwrap();
    assert!(other.records.is_empty());
    assert_eq!(desk.trail().await.len(), before + 1);
    desk.close().await;
}

#[tokio::test]
async fn a_query_serves_the_purpose_of_its_grant() {
    let desk = Desk::open().await;
    desk.held(DATASET, SAMPLE, vec![upsert(1, "a", "320600")]).await;
    desk.grant(DATASET, &[("", Treatment::Clear)], &[]).await;
    let ask = async |department: &str, purpose: &str| {
        let question = Question { purpose: purpose.into(), ..question(DATASET) };
        desk.query.get(&system(department), &question, "a").await
    };
    for purpose in ["核查", " 核查 ", "核查：案件 17", "核查/年报"] {
        assert!(ask("taxation", purpose).await.is_ok(), "{purpose}");
    }
    for purpose in ["营销", "核查员的好奇", "为了核查"] {
        assert_eq!(word(ask("taxation", purpose).await), "purpose PURPOSE_NOT_GRANTED", "{purpose}");
    }
    assert_eq!(word(ask("taxation", " ").await), "purpose REQUIRED, purpose PURPOSE_NOT_GRANTED");
    assert_eq!(word(ask(OWNER, "").await), "purpose REQUIRED");
    assert!(ask(OWNER, "自用").await.is_ok());
    let long = "核".repeat(5_000);
    assert_eq!(word(ask(OWNER, &long).await), "purpose TOO_LONG");
    // What breaks the rules does not get into a trail that is kept for ever.
    assert_eq!(desk.trail().await.pop().unwrap()["purpose"], "");
    let other = desk.query.by_subject(&system("taxation"), "营销", ("uscc", "1"), &page(0)).await;
    assert!(other.unwrap().records.is_empty(), "nothing that is granted has subjects");
    desk.close().await;
}

#[tokio::test]
async fn queries_at_once_are_bounded_and_the_next_one_is_told_when_to_come_back() {
    let desk = Desk::with(|options| options.at_once_max = 1).await;
    desk.held(DATASET, SAMPLE, vec![upsert(1, "a", "320600")]).await;
    for _ in 0..3 {
        assert!(desk.get(OWNER, DATASET, "a").await.is_ok(), "an ended query makes room");
    }
    let before = desk.trail().await.len();
    let held = desk.query.running.clone().acquire_owned().await.unwrap();
    assert_eq!(word(desk.get(OWNER, DATASET, "a").await), "QUOTA_EXHAUSTED");
    assert_eq!(desk.trail().await.len(), before);
    drop(held);
    assert!(desk.get(OWNER, DATASET, "a").await.is_ok());
    // Waiting for a position takes no room from who need not wait.
    let never = Question { at_least: vec![Position { partition: 0, offset: 1_000 }], ..question(DATASET) };
    let caller = system(OWNER);
    let mut waiting = Box::pin(desk.query.get(&caller, &never, "a"));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
    assert!(desk.get(OWNER, DATASET, "a").await.is_ok());
    assert_eq!(word(desk.query.get(&caller, &never, "a").await), "QUOTA_EXHAUSTED");
    drop(waiting);
    desk.close().await;
}
