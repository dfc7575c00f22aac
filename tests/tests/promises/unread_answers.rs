//! A client that asks and does not read is refused further calls, and what it is refused was not done.

use std::time::Duration;

use shuqiao_proto::v1;
use shuqiao_tests::fixtures::{City, Client, Home, KEY, eventually, grant, refused};
use tokio::task::JoinSet;
use tonic::{Code, transport::Endpoint};

const GRANT: &str = "market-supervision.taxation-reads";
/// Bytes of the grant, about: four fit into what a department may leave unread here, five do not.
const GRANT_BYTES: usize = 450_000;

/// The grant with conditions that nobody would write.
fn long(purpose: &str, known: &v1::Grant) -> v1::Grant {
    let values = (0..GRANT_BYTES / 900).map(|number| format!("{number:0>900}")).collect();
    let rows = vec![v1::RowCondition { field: "region".into(), values }];
    v1::Grant { rows, purpose: purpose.into(), ..known.clone() }
}

/// A client with no room at all for the messages of its calls.
async fn deaf(city: &City, source: &str) -> Client {
    let identity = city.certificate(source);
    let connector = identity.connector(&city.authorities()).await;
    let endpoint = Endpoint::from_shared(city.node.endpoint()).expect("an address").initial_stream_window_size(0);
    let channel = endpoint.connect_with_connector(connector).await.expect("a connection");
    Client::new(identity, channel)
}

#[tokio::test]
async fn a_command_of_a_client_that_reads_no_answers_is_refused_before_it_is_carried_out() {
    let plan = City::plan(Home::Embedded).with("limits.batch_bytes_max", "1MiB");
    let city = plan.with("limits.message_bytes_max", "2MiB").with("limits.unsent_bytes_max", "4MiB").build().await;
    let owner = city.market_supervision().await;
    let made = owner.grants(long("风险核查", &grant(GRANT, "taxation", &[KEY]))).await;

    let flooding = deaf(&city, "department/market-supervision/system/registry").await;
    let mut asks = JoinSet::new();
    for _ in 0..10 {
        let mut catalogue = flooding.catalogue();
        let request = v1::GetGrantRequest { name: made.name.clone() };
        asks.spawn(async move { catalogue.get_grant(request).await });
    }
    let unread = async || city.node.metric("shuqiao_answers_unsent_bytes").await;
    let refusals = async || city.node.metric("shuqiao_answers_refused_total").await;
    eventually(20, "four answers wait and six are refused", async || refusals().await >= 6.0).await;
    assert!(unread().await > 4.0 * 450_000.0, "{}", unread().await);

    let update = || v1::UpdateGrantRequest { grant: Some(long("另一用途", &made)) };
    for _ in 0..2 {
        refused(owner.catalogue().update_grant(update()).await, Code::ResourceExhausted, "QUOTA_EXHAUSTED");
    }
    // Others go on, and see that nothing has changed.
    let administrator = city.administrator().await;
    let request = v1::GetGrantRequest { name: made.name.clone() };
    let seen = administrator.catalogue().get_grant(request).await.expect("room of its own").into_inner();
    assert_eq!((&seen.etag, &seen.purpose), (&made.etag, &made.purpose), "nothing was done");

    // The flood goes away; the same command is carried out, once.
    asks.shutdown().await;
    drop(flooding);
    eventually(20, "what ends makes room", async || unread().await < 450_000.0).await;
    let updated = owner.catalogue().update_grant(update()).await.expect("by the etag that was never used").into_inner();
    assert_eq!(updated.purpose, "另一用途");
    let trail = administrator.trail().await;
    let updates = trail.iter().filter(|entry| entry["target"]["command"] == "update_grant").count();
    assert_eq!(updates, 1, "{trail:?}");
    tokio::time::timeout(Duration::from_secs(5), owner.status()).await.expect("in time").expect("goes on");
}
