//! A call's id: in its answer, in its refusal, and in the lines that are written for it.

use std::{io, sync::Arc};

use parking_lot::Mutex;
use shuqiao_proto::v1::{self, catalogue_service_client::CatalogueServiceClient};
use tonic::Status;
use tonic_types::StatusExt;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt};

use super::fixture::{Site, administrator, by, owner};
use crate::exchange::identity::Identity;

const HEADER: &str = "x-request-id";

/// Log lines as a node writes them for collectors.
#[derive(Clone, Default)]
pub(in crate::rpc) struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Begins to keep what this thread writes.
    pub(in crate::rpc) fn keep(&self, filter: &str) -> tracing::subscriber::DefaultGuard {
        let kept = self.clone();
        let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(move || kept.clone());
        let filter: EnvFilter = filter.parse().expect("a filter");
        tracing::subscriber::set_default(tracing_subscriber::registry().with(filter).with(lines))
    }

    pub(in crate::rpc) fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).expect("text")
    }

    /// The spans of the first line with this message, outermost first.
    pub(in crate::rpc) fn spans_of(&self, message: &str, with: &str) -> Vec<serde_json::Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let mut found = lines.filter(|line| line["message"] == message && line.to_string().contains(with));
        let line = found.next().unwrap_or_else(|| panic!("no line {message:?} with {with}: {text}"));
        line["spans"].as_array().cloned().unwrap_or_default()
    }
}

pub(in crate::rpc) fn refused_id(status: &Status) -> String {
    status.get_error_details().request_info().expect("every refusal names its request").request_id.clone()
}

fn header(metadata: &tonic::metadata::MetadataMap) -> String {
    metadata.get(HEADER).expect("every answer says its id").to_str().expect("ASCII").to_owned()
}

#[tokio::test]
async fn a_call_has_one_id_in_its_answer_its_refusal_and_its_lines() {
    let lines = Lines::default();
    let _kept = lines.keep("shuqiao_broker=debug");
    let mut site = Site::open().await;
    let list = || v1::ListDatasetsRequest::default();
    let answered = site.catalogue.list_datasets(by(&owner(), list())).await.expect("enrolled");
    let answered = header(answered.metadata());
    let name = "datasets/market-supervision.nothing-of-that-name".to_owned();
    let status = site.catalogue.get_dataset(by(&owner(), v1::GetDatasetRequest { name })).await.expect_err("none");
    let refused = refused_id(&status);
    assert_eq!(header(status.metadata()), refused, "the header and the details of one refusal");
    assert_ne!(answered, refused, "each call has its own");

    let span = |id: &str, method: &str| {
        serde_json::json!({
            "name": "call",
            "request_id": id,
            "method": format!("/shuqiao.exchange.v1.CatalogueService/{method}"),
            "department": "market-supervision",
            "system": "registry",
        })
    };
    assert_eq!(lines.spans_of("answered", &answered), [span(&answered, "ListDatasets")]);
    assert_eq!(lines.spans_of("request refused", &refused), [span(&refused, "GetDataset")]);
    assert!(!lines.text().contains("nothing-of-that-name"), "what a caller asks for is in no line");

    // A command runs on a task of its own, and is a part of its call all the same.
    let dataset = super::fixture::dataset("market-supervision.sample", true);
    let create = v1::CreateDatasetRequest { dataset: Some(dataset) };
    let status = site.catalogue.create_dataset(by(&owner(), create)).await.expect_err("it is there, and another");
    assert_eq!(header(status.metadata()), refused_id(&status));
    site.close().await;
}

#[tokio::test]
async fn no_line_names_a_person_or_a_method_that_a_client_made_up() {
    let lines = Lines::default();
    let _kept = lines.keep("shuqiao_broker=debug");
    let mut site = Site::open().await;
    let person: Identity = administrator();
    assert!(person.source.as_str().ends_with("/person/first"));
    let list = v1::ListDatasetsRequest::default();
    let answered = site.catalogue.list_datasets(by(&person, list.clone())).await.expect("an administrator");
    let id = header(answered.metadata());
    let spans = lines.spans_of("answered", &id);
    assert_eq!((&spans[0]["department"], &spans[0]["system"]), (&"data-bureau".into(), &"(person)".into()));

    let origin: http::Uri = "http://exchange.example/91320600MA1MWN8P6K".parse().expect("an address");
    let mut astray = CatalogueServiceClient::with_origin(site.channel.clone(), origin);
    astray.list_datasets(by(&owner(), list)).await.expect_err("no such method");
    let unknown: Vec<_> = lines.text().lines().filter(|line| line.contains("\"unknown\"")).map(str::to_owned).collect();
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    assert!(!lines.text().contains("91320600MA1MWN8P6K"), "{}", lines.text());
    assert!(!lines.text().contains("person/first"), "{}", lines.text());
    site.close().await;
}
