//! AuditService, and what the catalogue's commands leave on the trail.

use std::{sync::Arc, time::Duration};

use ring::digest::{SHA256, digest};
use shuqiao_proto::v1::{self, catalogue_service_server::CatalogueService};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};

use super::fixture::{Site, administrator, by, bystander, grant, limits, owner, reason, taxation, violations};
use crate::{
    exchange::{
        administration::Administration, delivery::tests::fixture::House, fixtures::DATASET, identity::Identity,
    },
    rpc::{Unsent, UnsentMetrics, catalogue::CatalogueRpc, peer::Peer},
};

/// The entries that a caller is shown, as JSON; each is held to its hash.
async fn entries(site: &mut Site, caller: &Identity, request: v1::ListAuditEntriesRequest) -> Vec<serde_json::Value> {
    let page = site.audit.list_audit_entries(by(caller, request)).await.expect("a page").into_inner();
    page.entries
        .iter()
        .map(|entry| {
            let leaf = digest(&SHA256, &[&[0], &*entry.canonical].concat());
            assert_eq!(entry.leaf_hash, leaf.as_ref(), "RFC 6962 section 2.1");
            serde_json::from_slice(&entry.canonical).expect("JSON")
        })
        .collect()
}

#[tokio::test]
async fn a_denied_command_is_on_the_trail() {
    let mut site = Site::open().await;
    site.grant("one", DATASET).await;
    let request = by(&taxation(), v1::CreateGrantRequest { grant: Some(grant("two", DATASET)) });
    let refused = site.catalogue.create_grant(request).await.expect_err("not the owner");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_OWNER"));
    let request =
        by(&bystander(), v1::DeleteGrantRequest { name: "grants/market-supervision.one".into(), etag: "v1".into() });
    assert_eq!(site.catalogue.delete_grant(request).await.expect_err("hidden").code(), Code::NotFound);

    let trail = entries(&mut site, &administrator(), v1::ListAuditEntriesRequest::default()).await;
    let told: Vec<_> = trail
        .iter()
        .map(|entry| {
            let actor = entry["actor"].as_str().expect("text").split('/').nth(1).expect("an alias").to_owned();
            let target = &entry["target"];
            (actor, target["command"].clone(), target["resource"].clone(), entry["outcome"].clone())
        })
        .collect();
    let row = |actor: &str, command: &str, resource: &str, outcome: serde_json::Value| {
        (actor.to_owned(), command.into(), resource.into(), outcome)
    };
    assert_eq!(
        told,
        [
            row("market-supervision", "create_grant", "grants/market-supervision.one", "allowed".into()),
            row(
                "taxation",
                "create_grant",
                "grants/market-supervision.two",
                serde_json::json!({"denied": "NOT_OWNER"})
            ),
            row(
                "civil-affairs",
                "revoke_grant",
                "grants/market-supervision.one",
                serde_json::json!({"denied": "RESOURCE_NOT_FOUND"})
            ),
        ]
    );
    site.close().await;
}

#[tokio::test]
async fn a_message_that_makes_no_command_is_refused_and_on_the_trail() {
    let mut site = Site::open().await;
    let nothing = site.catalogue.create_grant(by(&owner(), v1::CreateGrantRequest { grant: None })).await;
    let unnamed = by(&taxation(), v1::DeleteGrantRequest { name: "of no form".into(), etag: String::new() });
    let refused = [nothing.map(|_| ()), site.catalogue.delete_grant(unnamed).await.map(|_| ())];
    assert!(refused.iter().all(|one| one.as_ref().is_err_and(|status| status.code() == Code::InvalidArgument)));
    let trail = entries(&mut site, &administrator(), v1::ListAuditEntriesRequest::default()).await;
    let told = |entry: &serde_json::Value| {
        assert_eq!(entry["action"], "catalogue_change");
        // No text of the caller's choosing gets into the trail.
        assert_eq!(entry["target"]["resource"], serde_json::Value::Null);
        let (command, outcome) = (&entry["target"]["command"], &entry["outcome"]["denied"]);
        format!("{} {command} {outcome}", entry["actor"].as_str().expect("text")).replace('"', "")
    };
    assert_eq!(
        trail.iter().map(told).collect::<Vec<_>>(),
        [
            "department/market-supervision/system/registry create_grant INVALID_FIELD",
            "department/taxation/system/registry revoke_grant INVALID_FIELD",
        ]
    );
    site.close().await;
}

#[tokio::test]
async fn auditors_read_all_a_department_its_own_doing_and_the_reading_is_on_the_trail() {
    let mut site = Site::open().await;
    site.make_taxation_auditor().await;
    site.grant("one", DATASET).await;
    let own = entries(&mut site, &owner(), v1::ListAuditEntriesRequest::default()).await;
    assert_eq!(own.len(), 1);
    assert_eq!(own[0]["target"]["resource"], "grants/market-supervision.one");
    // Asked for another's, it is shown none.
    let of_another = v1::ListAuditEntriesRequest { department: "data-bureau".into(), ..Default::default() };
    assert!(entries(&mut site, &owner(), of_another.clone()).await.is_empty());
    assert_eq!(entries(&mut site, &taxation(), of_another).await.len(), 1);
    let of_dataset = v1::ListAuditEntriesRequest { dataset: DATASET.into(), ..Default::default() };
    assert_eq!(entries(&mut site, &taxation(), of_dataset).await.len(), 1);

    let readings = v1::ListAuditEntriesRequest { from_index: 2, ..Default::default() };
    let readings = entries(&mut site, &taxation(), readings).await;
    let told: Vec<_> = readings.iter().map(|entry| (entry["action"].as_str(), entry["count"].as_u64())).collect();
    let read = |count| (Some("read_audit"), Some(count));
    assert_eq!(told, [read(1), read(0), read(1), read(1)]);
    site.close().await;
}

#[tokio::test]
async fn pages_of_the_trail_follow_one_another_and_end() {
    let mut site = Site::open().await;
    for number in 0..7 {
        site.grant(&format!("g{number}"), DATASET).await;
    }
    let (mut indexes, mut page_token) = (Vec::new(), String::new());
    loop {
        let department = "market-supervision".to_owned();
        let request = v1::ListAuditEntriesRequest { page_size: 3, page_token, department, ..Default::default() };
        let page = site.audit.list_audit_entries(by(&administrator(), request)).await.expect("a page").into_inner();
        assert!(page.entries.len() <= 3);
        indexes.extend(page.entries.iter().map(|entry| entry.index));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(indexes, [0, 1, 2, 3, 4, 5, 6]);
    for token in ["x", "-1", "18446744073709551616"] {
        let request = v1::ListAuditEntriesRequest { page_token: token.into(), ..Default::default() };
        let refused = site.audit.list_audit_entries(by(&administrator(), request)).await.expect_err(token);
        assert_eq!(violations(&refused), ["page_token MALFORMED"]);
    }
    let beyond = v1::ListAuditEntriesRequest { page_token: u64::MAX.to_string(), ..Default::default() };
    assert!(entries(&mut site, &administrator(), beyond.clone()).await.is_empty());
    // Where the trail ends a reading says that shows nothing, and the next one says the same and itself.
    let mut end = async || {
        let request = by(&administrator(), beyond.clone());
        site.audit.list_audit_entries(request).await.expect("an answer").into_inner().end_index
    };
    let (first, second) = (end().await, end().await);
    assert!(first > 6 && second == first + 1, "{first} {second}");
    site.close().await;
}

#[tokio::test]
async fn the_trail_is_closed_to_who_is_not_enrolled() {
    let mut site = Site::open().await;
    let stranger = crate::exchange::catalogue::fixtures::system("stranger");
    let refused = site.audit.list_audit_entries(by(&stranger, v1::ListAuditEntriesRequest::default())).await;
    assert_eq!(reason(&refused.expect_err("not enrolled")), "IDENTITY_UNKNOWN");
    // That it asked is on the trail.
    let trail = entries(&mut site, &administrator(), v1::ListAuditEntriesRequest::default()).await;
    let [entry] = &trail[..] else { panic!("one entry: {trail:?}") };
    assert_eq!(
        (entry["action"].as_str(), entry["actor"].as_str()),
        (Some("read_audit"), Some(stranger.source.as_str()))
    );
    assert_eq!(entry["outcome"]["denied"], "IDENTITY_UNKNOWN");
    site.close().await;
}

#[tokio::test]
async fn a_command_whose_caller_goes_away_is_on_the_trail_all_the_same() {
    let directory = tempfile::tempdir().expect("tempdir");
    let house = House::open(directory.path()).await;
    let administration = Administration::new(house.city.catalogue.clone(), house.city.audit.clone());
    let tasks = house.city.tasks.clone();
    let unsent = Unsent::new(&limits(), UnsentMetrics::default(), &tasks);
    let rpc = CatalogueRpc::new(administration, house.delivery.clone(), tasks, unsent);
    let mut request = Request::new(v1::CreateGrantRequest { grant: Some(grant("one", DATASET)) });
    let peer = Peer { identity: Some(Arc::new(owner())), address: None, revoked: CancellationToken::new() };
    request.extensions_mut().insert(peer);

    // The command stands, its entry waits; then the caller resets the call.
    house.log.audit_waits.send_replace(true);
    let mut call = rpc.create_grant(request);
    while house.city.catalogue.snapshot().grant("market-supervision.one").is_none() {
        assert!(
            tokio::time::timeout(Duration::from_millis(10), &mut call).await.is_err(),
            "no answer before its entry"
        );
    }
    drop(call);
    house.log.audit_waits.send_replace(false);
    let entry = async {
        loop {
            if let Some(entry) = house.trail("catalogue_change").await.pop() {
                return entry;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let entry = tokio::time::timeout(Duration::from_secs(10), entry).await.expect("on the trail");
    assert_eq!(
        (&entry["target"]["resource"], &entry["outcome"]),
        (&"grants/market-supervision.one".into(), &"allowed".into())
    );
    drop(rpc);
    house.close().await;
}
