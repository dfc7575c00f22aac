//! CatalogueService: departments' own record types.

use shuqiao_proto::v1;
use tonic::Code;
use tonic_types::StatusExt;

use super::fixture::{Site, administrator, by, bystander, owner, reason, taxation, violations};
use crate::exchange::catalogue::fixtures::own_schema;

const NAME: &str = "market-supervision.own/v1";

fn create(name: &str) -> v1::CreateRecordTypeRequest {
    let record_type =
        v1::RecordType { name: format!("recordTypes/{name}"), schema: own_schema(name), ..Default::default() };
    v1::CreateRecordTypeRequest { record_type: Some(record_type) }
}

fn get(name: &str) -> v1::GetRecordTypeRequest {
    v1::GetRecordTypeRequest { name: format!("recordTypes/{name}") }
}

#[tokio::test]
async fn a_record_type_is_registered_once_and_shown_to_everybody() {
    let mut site = Site::open().await;
    let made = site.catalogue.create_record_type(by(&owner(), create(NAME))).await.expect("new").into_inner();
    assert_eq!((made.owner.as_str(), made.schema.as_str()), ("market-supervision", own_schema(NAME).as_str()));
    assert_eq!((made.title.as_str(), made.digest.len(), made.problems.len()), ("样例", 32, 0));
    let again = site.catalogue.create_record_type(by(&owner(), create(NAME))).await.expect("the same").into_inner();
    assert_eq!(again, made);
    let mut other = create(NAME);
    other.record_type.as_mut().expect("there").schema.push('\n');
    let refused = site.catalogue.create_record_type(by(&owner(), other)).await.expect_err("other bytes");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "ALREADY_EXISTS"));
    let refused = site.catalogue.create_record_type(by(&taxation(), create("market-supervision.b/v1"))).await;
    let refused = refused.expect_err("another department's");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_OWNER"));
    site.catalogue.create_record_type(by(&administrator(), create("taxation.own/v1"))).await.expect("for them");

    for caller in [owner(), administrator(), bystander()] {
        let got = site.catalogue.get_record_type(by(&caller, get(NAME))).await.expect("public").into_inner();
        assert_eq!(got, made);
        let listed = site.catalogue.list_record_types(by(&caller, v1::ListRecordTypesRequest::default())).await;
        let listed = listed.expect("public").into_inner().record_types;
        let names: Vec<_> = listed.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["recordTypes/market-supervision.own/v1", "recordTypes/taxation.own/v1"]);
        assert!(listed.iter().all(|one| one.schema.is_empty() && one.title == "样例"), "without the documents");
    }
    let request = v1::ListRecordTypesRequest { page_size: 1, ..Default::default() };
    let first = site.catalogue.list_record_types(by(&owner(), request)).await.expect("a page").into_inner();
    let request = v1::ListRecordTypesRequest { page_size: 1, page_token: first.next_page_token };
    let second = site.catalogue.list_record_types(by(&owner(), request)).await.expect("a page").into_inner();
    assert_eq!((first.record_types.len(), second.record_types.len()), (1, 1));
    assert_eq!((second.record_types[0].owner.as_str(), second.next_page_token.as_str()), ("taxation", ""));
    let stranger = crate::exchange::catalogue::fixtures::system("stranger");
    let refused = site.catalogue.get_record_type(by(&stranger, get(NAME))).await.expect_err("not enrolled");
    assert_eq!(reason(&refused), "IDENTITY_UNKNOWN");
    site.close().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_record_type_is_told_by_document_and_place_in_both_languages() {
    let mut site = Site::open().await;
    for (name, told) in [
        ("sample/v1", "name ALIAS_MISSING"),
        ("a.b.c/v1", "name MALFORMED"),
        ("market-supervision.own/v0001", "schema/$id BAD_ID"),
    ] {
        let refused = site.catalogue.create_record_type(by(&owner(), create(name))).await.expect_err(name);
        assert_eq!((refused.code(), &violations(&refused)[0]), (Code::InvalidArgument, &told.to_owned()));
    }
    let mut wrong = create(NAME);
    let record_type = wrong.record_type.as_mut().expect("there");
    record_type.schema = record_type.schema.replace("\"x-indexed\"", "\"x-index\"");
    record_type.code_tables = vec!["{}".into()];
    record_type.owner = "taxation".into();
    let refused = site.catalogue.create_record_type(by(&owner(), wrong.clone())).await.expect_err("another's");
    assert_eq!(violations(&refused), ["owner NOT_THE_NAMES"]);
    wrong.record_type.as_mut().expect("there").owner.clear();
    let refused = site.catalogue.create_record_type(by(&owner(), wrong)).await.expect_err("wrong");
    let told = violations(&refused);
    assert!(told.contains(&"schema UNKNOWN_KEYWORD".to_owned()) && told[0].starts_with("code_tables[0]/"), "{told:?}");
    let details = refused.get_error_details();
    let violations = &details.bad_request().expect("by field").field_violations;
    let keyword = violations.iter().find(|one| one.field == "schema").expect("told");
    assert_eq!(keyword.description, "UNKNOWN_KEYWORD: unknown keyword `x-index` / 未知关键字 `x-index`");
    let refused = site.catalogue.get_record_type(by(&owner(), get(NAME))).await.expect_err("nothing of it stays");
    assert_eq!(reason(&refused), "RESOURCE_NOT_FOUND");
    site.close().await;
}

#[tokio::test]
async fn a_record_type_goes_only_when_no_dataset_names_it_and_with_its_etag() {
    let mut site = Site::open().await;
    let made = site.catalogue.create_record_type(by(&owner(), create(NAME))).await.expect("new").into_inner();
    let dataset =
        v1::Dataset { record_type: NAME.into(), ..super::fixture::dataset("market-supervision.of-own", true) };
    let request = v1::CreateDatasetRequest { dataset: Some(dataset) };
    let dataset = site.catalogue.create_dataset(by(&owner(), request)).await.expect("new").into_inner();
    let delete = |etag: &str| v1::DeleteRecordTypeRequest { name: made.name.clone(), etag: etag.into() };
    let refused = site.catalogue.delete_record_type(by(&owner(), delete(&made.etag))).await.expect_err("named");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "STILL_REFERRED_TO"));
    let request = v1::DeleteDatasetRequest { name: dataset.name, etag: dataset.etag };
    site.catalogue.delete_dataset(by(&owner(), request)).await.expect("nothing refers to it");
    let refused = site.catalogue.delete_record_type(by(&owner(), delete("v1"))).await.expect_err("stale");
    assert_eq!(reason(&refused), "ETAG_MISMATCH");
    let refused = site.catalogue.delete_record_type(by(&taxation(), delete(&made.etag))).await.expect_err("not theirs");
    assert_eq!(reason(&refused), "NOT_OWNER");
    site.catalogue.delete_record_type(by(&owner(), delete(&made.etag))).await.expect("gone");
    let refused = site.catalogue.get_record_type(by(&owner(), get(NAME))).await.expect_err("gone");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    site.close().await;
}
