//! Pages, their tokens, and the orders in which they come.

use super::*;

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
