//! CatalogueService.

use shuqiao_proto::v1;
use tonic::{Code, Request};
use tonic_types::StatusExt;

use super::fixture::{
    Site, administrator, anonymous, by, bystander, dataset, grant, limits, owner, reason, subscription, taxation,
    violations,
};
use crate::exchange::fixtures::DATASET;

const HIDDEN: &str = "market-supervision.hidden";

#[tokio::test]
async fn repeating_a_create_answers_the_same_and_other_content_under_the_name_does_not() {
    let mut site = Site::open().await;
    let first = site.dataset("market-supervision.other", true).await;
    assert_eq!(
        (first.partitions, first.owner.as_str()),
        (4, "market-supervision"),
        "the node's default, the name's owner"
    );
    assert_eq!(site.dataset("market-supervision.other", true).await, first);
    let taken = Some(dataset("market-supervision.other", false));
    let refused = site.catalogue.create_dataset(by(&owner(), v1::CreateDatasetRequest { dataset: taken })).await;
    let refused = refused.expect_err("other content");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "ALREADY_EXISTS"));

    let first = site.grant("one", DATASET).await;
    assert_eq!(site.grant("one", DATASET).await, first);
    let wanted = || Some(subscription("taxation.sample", DATASET));
    let request = || by(&taxation(), v1::CreateSubscriptionRequest { subscription: wanted() });
    let first = site.catalogue.create_subscription(request()).await.expect("granted").into_inner();
    assert_eq!(first.subscriber, "taxation");
    assert_eq!(site.catalogue.create_subscription(request()).await.expect("the same").into_inner(), first);
    site.close().await;
}

#[tokio::test]
async fn a_stale_etag_changes_nothing() {
    let mut site = Site::open().await;
    let stale = site.dataset("market-supervision.other", true).await;
    let update = |dataset: &v1::Dataset, title: &str| {
        let dataset = Some(v1::Dataset { title: title.into(), ..dataset.clone() });
        by(&owner(), v1::UpdateDatasetRequest { dataset })
    };
    let newest = site.catalogue.update_dataset(update(&stale, "一")).await.expect("seen").into_inner();
    assert_ne!(newest.etag, stale.etag);
    let refused = site.catalogue.update_dataset(update(&stale, "二")).await.expect_err("stale");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    let delete =
        |etag: &str| by(&owner(), v1::DeleteDatasetRequest { name: stale.name.clone(), etag: etag.to_owned() });
    let refused = site.catalogue.delete_dataset(delete(&stale.etag)).await.expect_err("stale");
    assert_eq!(reason(&refused), "ETAG_MISMATCH");
    for (etag, rule) in [("", "REQUIRED"), ("7", "MALFORMED"), ("v0A", "MALFORMED")] {
        let refused = site.catalogue.delete_dataset(delete(etag)).await.expect_err("no etag");
        assert_eq!((refused.code(), violations(&refused)), (Code::InvalidArgument, vec![format!("etag {rule}")]));
    }
    let request = by(&owner(), v1::GetDatasetRequest { name: stale.name.clone() });
    assert_eq!(site.catalogue.get_dataset(request).await.expect("there").into_inner(), newest);
    site.catalogue.delete_dataset(delete(&newest.etag)).await.expect("seen");

    // Made again under its name, it has no etag that it had before.
    let again = site.dataset("market-supervision.other", true).await;
    assert!(again.etag != stale.etag && again.etag != newest.etag);
    site.close().await;
}

#[tokio::test]
async fn that_a_grants_id_is_taken_is_told_to_nobody_who_may_not_see_the_grant() {
    let mut site = Site::open().await;
    site.grant("one", DATASET).await;
    let own = "civil-affairs.own";
    let request = by(&bystander(), v1::CreateDatasetRequest { dataset: Some(dataset(own, true)) });
    site.catalogue.create_dataset(request).await.expect("its own");
    let tried = |id: &str| v1::Grant { name: format!("grants/{id}"), ..grant("", own) };
    let mut refusals = Vec::new();
    for id in ["market-supervision.one", "market-supervision.free", "free", "civil-affairs-free"] {
        let request = by(&bystander(), v1::CreateGrantRequest { grant: Some(tried(id)) });
        let refused = site.catalogue.create_grant(request).await.expect_err(id);
        assert_eq!(violations(&refused), ["name ALIAS_MISMATCH"], "{id}");
        refusals.push(anonymous(&refused, id));
    }
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");
    let request = by(&bystander(), v1::CreateGrantRequest { grant: Some(tried("civil-affairs.free")) });
    site.catalogue.create_grant(request).await.expect("in its own name");
    site.close().await;
}

#[tokio::test]
async fn an_unlisted_dataset_answers_like_an_unknown_one() {
    let mut site = Site::open().await;
    let hidden = site.dataset(HIDDEN, false).await;
    let mut refusals = Vec::new();
    for id in [HIDDEN, "market-supervision.none"] {
        let name = format!("datasets/{id}");
        let mut told = Vec::new();
        let got = site.catalogue.get_dataset(by(&taxation(), v1::GetDatasetRequest { name: name.clone() })).await;
        told.push(got.map(|_| ()).expect_err("get"));
        // The etag is right for one of the two; whoever cannot see the dataset learns nothing from that.
        let changed = v1::Dataset { name: name.clone(), record_type: "other/v1".into(), ..hidden.clone() };
        let request = v1::UpdateDatasetRequest { dataset: Some(changed) };
        told.push(site.catalogue.update_dataset(by(&taxation(), request)).await.map(|_| ()).expect_err("update"));
        let request = v1::DeleteDatasetRequest { name, etag: hidden.etag.clone() };
        told.push(site.catalogue.delete_dataset(by(&taxation(), request)).await.map(|_| ()).expect_err("delete"));
        let request = v1::CreateGrantRequest { grant: Some(grant("mine", id)) };
        told.push(site.catalogue.create_grant(by(&taxation(), request)).await.map(|_| ()).expect_err("grant"));
        let request = v1::CreateSubscriptionRequest { subscription: Some(subscription("taxation.x", id)) };
        told.push(
            site.catalogue.create_subscription(by(&taxation(), request)).await.map(|_| ()).expect_err("subscribe"),
        );
        assert!(told.iter().all(|status| status.code() == Code::NotFound), "{told:?}");
        refusals.push(told.iter().map(|status| anonymous(status, id)).collect::<Vec<_>>());
    }
    assert_eq!(refusals[0], refusals[1]);
    // Nor does a command that is wrong for another reason find out what the dataset's records look like.
    let mut wrong = Vec::new();
    for id in [HIDDEN, "market-supervision.none"] {
        let filter = vec![v1::RowCondition { field: "none".into(), values: vec!["x".into()] }];
        let wanted = Some(v1::Subscription { filter, ..subscription("civil-affairs.x", id) });
        let request = by(&taxation(), v1::CreateSubscriptionRequest { subscription: wanted });
        let refused = site.catalogue.create_subscription(request).await.expect_err("another's name");
        assert_eq!(violations(&refused), ["name ALIAS_MISMATCH"]);
        wrong.push(anonymous(&refused, id));
    }
    assert_eq!(wrong[0], wrong[1]);
    let listed = site.catalogue.list_datasets(by(&taxation(), v1::ListDatasetsRequest::default())).await;
    let names: Vec<_> = listed.expect("enrolled").into_inner().datasets.into_iter().map(|one| one.name).collect();
    assert_eq!(names, [format!("datasets/{DATASET}")]);
    site.close().await;
}

#[tokio::test]
async fn everybody_sees_what_concerns_it_and_nothing_else() {
    let mut site = Site::open().await;
    site.dataset(HIDDEN, false).await;
    site.grant("one", DATASET).await;
    site.grant("two", HIDDEN).await;
    let wanted = Some(subscription("taxation.hidden", HIDDEN));
    let request = by(&taxation(), v1::CreateSubscriptionRequest { subscription: wanted });
    site.catalogue.create_subscription(request).await.expect("granted");
    // Datasets, grants, subscriptions: how many of each. Get and list must agree.
    for (caller, expected) in
        [(administrator(), (2, 2, 1)), (owner(), (2, 2, 1)), (taxation(), (2, 2, 1)), (bystander(), (1, 0, 0))]
    {
        let datasets = site.catalogue.list_datasets(by(&caller, v1::ListDatasetsRequest::default())).await;
        let grants = site.catalogue.list_grants(by(&caller, v1::ListGrantsRequest::default())).await;
        let subscriptions =
            site.catalogue.list_subscriptions(by(&caller, v1::ListSubscriptionsRequest::default())).await;
        let seen = (
            datasets.expect("enrolled").into_inner().datasets.len(),
            grants.expect("enrolled").into_inner().grants.len(),
            subscriptions.expect("enrolled").into_inner().subscriptions.len(),
        );
        assert_eq!(seen, expected, "{}", caller.source);
        let got = site
            .catalogue
            .get_grant(by(&caller, v1::GetGrantRequest { name: "grants/market-supervision.two".into() }))
            .await;
        assert_eq!(got.is_ok(), seen.1 == 2);
        let name = "subscriptions/taxation.hidden".to_owned();
        let got = site.catalogue.get_subscription(by(&caller, v1::GetSubscriptionRequest { name })).await;
        assert_eq!(got.map_err(|status| status.code()).err(), (seen.2 == 0).then_some(Code::NotFound));
    }
    let of_one = v1::ListGrantsRequest { dataset: HIDDEN.into(), ..Default::default() };
    let of_one = site.catalogue.list_grants(by(&owner(), of_one)).await.expect("the owner's").into_inner();
    assert_eq!(
        of_one.grants.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        ["grants/market-supervision.two"]
    );
    // Every enrolled department knows every other.
    let all = site.catalogue.list_departments(by(&bystander(), v1::ListDepartmentsRequest::default())).await;
    assert_eq!(all.expect("enrolled").into_inner().departments.len(), 3);
    site.close().await;
}

#[tokio::test]
async fn who_is_not_enrolled_learns_nothing() {
    let mut site = Site::open().await;
    let stranger = crate::exchange::catalogue::fixtures::system("stranger");
    let refused = site.catalogue.list_datasets(by(&stranger, v1::ListDatasetsRequest::default())).await;
    let refused = refused.expect_err("not enrolled");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "IDENTITY_UNKNOWN"));
    // Nor how a right command would look.
    let request =
        by(&stranger, v1::CreateGrantRequest { grant: Some(v1::Grant { rows: Vec::new(), ..grant("g", DATASET) }) });
    assert_eq!(reason(&site.catalogue.create_grant(request).await.expect_err("not enrolled")), "IDENTITY_UNKNOWN");
    let nobody = Request::new(v1::ListDatasetsRequest::default());
    let refused = site.catalogue.list_datasets(nobody).await.expect_err("no identity");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "IDENTITY_MALFORMED"));
    site.close().await;
}

#[tokio::test]
async fn pages_cover_everything_once_and_none_is_larger_than_a_client_takes() {
    let mut site = Site::open().await;
    // Eight grants of some 400 KiB: more than one message may hold.
    let values: Vec<_> = (0..1_000).map(|number| format!("{number:0>400}")).collect();
    for number in 0..8 {
        let rows = vec![v1::RowCondition { field: "region".into(), values: values.clone() }];
        let grant = Some(v1::Grant { rows, ..grant(&format!("g{number}"), DATASET) });
        site.catalogue.create_grant(by(&owner(), v1::CreateGrantRequest { grant })).await.expect("new");
    }
    for page_size in [0, 3, u32::MAX] {
        let (mut seen, mut pages, mut page_token) = (Vec::new(), 0, String::new());
        loop {
            let request = v1::ListGrantsRequest { page_size, page_token, ..Default::default() };
            let page = site.catalogue.list_grants(by(&taxation(), request)).await.expect("a page").into_inner();
            assert!(prost::Message::encoded_len(&page) < 4 << 20);
            assert!(page.grants.len() <= if page_size == 3 { 3 } else { 1_000 });
            seen.extend(page.grants.into_iter().map(|grant| grant.name));
            pages += 1;
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, (0..8).map(|number| format!("grants/market-supervision.g{number}")).collect::<Vec<_>>());
        assert!(pages > 1, "{pages} pages");
    }
    site.close().await;
}

#[tokio::test]
async fn a_page_token_that_was_tampered_with_is_refused_or_shows_no_more_than_a_list() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let mut site = Site::open().await;
    site.dataset(HIDDEN, false).await;
    for token in ["!", "YQ==", &URL_SAFE_NO_PAD.encode([0xff, 0xfe])] {
        let request = v1::ListDatasetsRequest { page_token: token.to_owned(), ..Default::default() };
        let refused = site.catalogue.list_datasets(by(&taxation(), request)).await.expect_err(token);
        assert_eq!(violations(&refused), ["page_token MALFORMED"]);
    }
    for (after, expected) in [("", 1), ("market-supervision.h", 1), ("zzz", 0), ("\0\u{10ffff}", 1)] {
        let request = v1::ListDatasetsRequest { page_token: URL_SAFE_NO_PAD.encode(after), ..Default::default() };
        let page = site.catalogue.list_datasets(by(&taxation(), request)).await.expect("a page").into_inner();
        assert_eq!(page.datasets.len(), expected, "after {after:?}");
        assert!(page.datasets.iter().all(|dataset| !dataset.name.contains(HIDDEN)));
    }
    site.close().await;
}

#[tokio::test]
async fn a_field_that_never_changes_is_refused_by_name_and_not_passed_over() {
    let mut site = Site::open().await;
    let held = site.dataset("market-supervision.other", true).await;
    let wanted =
        v1::Dataset { owner: "taxation".into(), record_type: "other/v1".into(), partitions: 9, ..held.clone() };
    let request = by(&owner(), v1::UpdateDatasetRequest { dataset: Some(wanted) });
    let refused = site.catalogue.update_dataset(request).await.expect_err("fixed");
    assert_eq!(violations(&refused), ["owner IMMUTABLE", "record_type IMMUTABLE", "partitions IMMUTABLE"]);
    // What is left out is left alone.
    let silent = v1::Dataset { owner: String::new(), record_type: String::new(), partitions: 0, ..held };
    let request = by(&owner(), v1::UpdateDatasetRequest { dataset: Some(silent) });
    site.catalogue.update_dataset(request).await.expect("nothing of it changes");

    let held = site.grant("one", DATASET).await;
    let wanted = v1::Grant { grantee: "civil-affairs".into(), ..held };
    let refused = site.catalogue.update_grant(by(&owner(), v1::UpdateGrantRequest { grant: Some(wanted) })).await;
    assert_eq!(violations(&refused.expect_err("fixed")), ["grantee IMMUTABLE"]);

    let wanted = v1::Subscription { subscriber: "civil-affairs".into(), ..subscription("taxation.sample", DATASET) };
    let request = by(&taxation(), v1::CreateSubscriptionRequest { subscription: Some(wanted) });
    let refused = site.catalogue.create_subscription(request).await.expect_err("another's");
    assert_eq!(violations(&refused), ["subscriber NOT_THE_NAMES"]);

    let request = by(&administrator(), v1::GetDepartmentRequest { name: "departments/taxation".into() });
    let held = site.catalogue.get_department(request).await.expect("enrolled").into_inner();
    let wanted = v1::Department { unified_social_credit_code: "11320600014149957J".into(), ..held };
    let request = by(&administrator(), v1::UpdateDepartmentRequest { department: Some(wanted) });
    let refused = site.catalogue.update_department(request).await.expect_err("fixed");
    assert_eq!(violations(&refused), ["unified_social_credit_code IMMUTABLE"]);
    site.close().await;
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_message_is_told_at_once_in_both_languages() {
    let mut site = Site::open().await;
    let wrong =
        v1::Dataset { name: "dataset/x".into(), record_type: "sample".into(), sharing_class: 9, ..Default::default() };
    let request = by(&owner(), v1::CreateDatasetRequest { dataset: Some(wrong) });
    let refused = site.catalogue.create_dataset(request).await.expect_err("wrong");
    assert_eq!(violations(&refused), ["name MALFORMED", "record_type MALFORMED", "sharing_class REQUIRED"]);
    let details = refused.get_error_details();
    let told = &details.bad_request().expect("by field").field_violations;
    assert!(told.iter().all(|one| one.description.contains(" / ") && !one.description.is_ascii()), "{told:?}");
    let refused = site.catalogue.create_dataset(by(&owner(), v1::CreateDatasetRequest::default())).await;
    assert_eq!(violations(&refused.expect_err("nothing")), ["dataset REQUIRED"]);
    let department = v1::Department { name: "departments/x".into(), roles: vec![1, 77], ..Default::default() };
    let request = by(&administrator(), v1::CreateDepartmentRequest { department: Some(department) });
    let refused = site.catalogue.create_department(request).await.expect_err("a role that nobody knows");
    assert_eq!(violations(&refused), ["roles[1] UNKNOWN_VALUE"]);
    site.close().await;
}

#[tokio::test]
async fn revoking_is_safe_to_repeat_and_the_grant_stays_on_record() {
    let mut site = Site::open().await;
    let held = site.grant("one", DATASET).await;
    for _ in 0..2 {
        let request = v1::DeleteGrantRequest { name: held.name.clone(), etag: held.etag.clone() };
        site.catalogue.delete_grant(by(&owner(), request)).await.expect("revoked");
    }
    let got = site.catalogue.get_grant(by(&taxation(), v1::GetGrantRequest { name: held.name.clone() })).await;
    assert!(got.expect("on record").into_inner().revoked);
    let request = by(&owner(), v1::CreateGrantRequest { grant: Some(grant("one", DATASET)) });
    let refused = site.catalogue.create_grant(request).await.expect_err("the name is taken");
    assert_eq!(reason(&refused), "ALREADY_EXISTS");
    site.close().await;
}

#[tokio::test]
async fn what_is_still_referred_to_is_not_deleted() {
    let mut site = Site::open().await;
    site.grant("one", DATASET).await;
    let request = by(&owner(), v1::GetDatasetRequest { name: format!("datasets/{DATASET}") });
    let held = site.catalogue.get_dataset(request).await.expect("there").into_inner();
    let request = by(&owner(), v1::DeleteDatasetRequest { name: held.name, etag: held.etag });
    let refused = site.catalogue.delete_dataset(request).await.expect_err("granted");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "STILL_REFERRED_TO"));
    let details = refused.get_error_details();
    let failure = &details.precondition_failure().expect("says by what").violations[0];
    assert!(failure.description.contains("grants/market-supervision.one"), "{failure:?}");
    site.close().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let mut site = Site::open().await;
    let title = "x".repeat(limits().message_bytes_max.bytes());
    let request = v1::CreateDatasetRequest { dataset: Some(v1::Dataset { title, ..dataset("a.b", true) }) };
    let refused = site.catalogue.create_dataset(by(&owner(), request)).await.expect_err("too large");
    assert_eq!(refused.code(), Code::OutOfRange);
    site.dataset("market-supervision.other", true).await;
    site.close().await;
}

#[tokio::test]
async fn a_refusal_of_a_thousand_fields_reaches_the_client_with_its_reason() {
    let mut site = Site::open().await;
    let wrong = v1::FieldGrant { path: "/nothing/like/this/is/in/the/record/type".into(), treatment: 1 };
    let fields = (0..1_000).map(|number| v1::FieldGrant { path: format!("{}{number}", wrong.path), ..wrong.clone() });
    let grant = Some(v1::Grant { fields: fields.collect(), ..grant("one", DATASET) });
    let refused = site.catalogue.create_grant(by(&owner(), v1::CreateGrantRequest { grant })).await;
    let refused = refused.expect_err("no such fields");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    let told = violations(&refused);
    assert_eq!(told[0], "fields[0].path UNKNOWN_FIELD_PATH");
    assert_eq!(told.last().map(String::as_str), Some(" TOO_MANY_VIOLATIONS"));
    let name = format!("grants/{}", "x".repeat(1 << 20));
    let refused = site.catalogue.get_grant(by(&owner(), v1::GetGrantRequest { name })).await.expect_err("no name");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    site.close().await;
}
