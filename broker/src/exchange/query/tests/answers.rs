//! Digests, positions, subjects, and how many may ask.

use tokio::time::Instant;

use super::*;
use crate::exchange::catalogue::{command::NewDataset, fixtures::new_dataset};

const FILE: &str = "file/v1";

fn file(sequence: u64, key: &str, kind: &str, holder: &str) -> NewRecord {
    let payload = format!(r#"{{"id":"{key}","holder":"{holder}","holder_kind":"{kind}"}}"#).into();
    NewRecord { payload, ..upsert(sequence, key, "") }
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
    assert!(begun.elapsed() < Duration::from_secs(20));
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
        [("market-supervision.files", Value::from("market-supervision.files")), ("taxation.files", Value::Null)];
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
async fn queries_at_once_are_bounded_and_the_next_one_is_told_when_to_come_back() {
    let desk = Desk::with(|options| options.at_once_max = 1).await;
    desk.held(DATASET, SAMPLE, vec![upsert(1, "a", "320600")]).await;
    for _ in 0..3 {
        assert!(desk.get(OWNER, DATASET, "a").await.is_ok(), "an ended query makes room");
    }
    let before = desk.trail().await.len();
    let held = desk.query.running.take(&"taxation".parse().unwrap()).unwrap();
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

#[tokio::test]
async fn a_subject_in_more_datasets_than_one_page_looks_into_is_found_page_by_page() {
    let desk = Desk::with(|options| options.datasets_at_once_max = 1).await;
    for dataset in ["taxation.one", "taxation.three", "taxation.two"] {
        let new = NewDataset { record_type: FILE.parse().unwrap(), ..new_dataset(dataset) };
        desk.command("taxation", Command::CreateDataset(new)).await;
        if dataset != "taxation.three" {
            desk.held(dataset, FILE, vec![file(1, "f", "uscc", "913206")]).await;
        }
    }
    let (mut paging, mut pages) = (page(0), Vec::new());
    loop {
        let page = desk.subject("taxation", "uscc", "913206", paging.clone()).await.unwrap();
        pages.push(page.records.iter().map(|one| one.dataset.to_string()).collect::<Vec<_>>());
        if page.next.is_empty() {
            break;
        }
        paging.token = page.next;
    }
    assert_eq!(pages, [vec!["taxation.one"], vec![], vec!["taxation.two"]]);
    desk.close().await;
}
