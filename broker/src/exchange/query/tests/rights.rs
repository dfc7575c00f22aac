//! What a grant shows, and to whom nothing is told.

use super::*;

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
