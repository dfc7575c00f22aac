//! What ends a live stream: a revoked certificate.

use shuqiao_tests::fixtures::{City, Home, enterprise::records, grant, refused, subscription, within};
use tonic::Code;

#[tokio::test]
async fn a_revoked_certificate_loses_its_live_streams_within_five_seconds_and_nobody_else_does() {
    let city = City::on(Home::Embedded).await;
    let registry = city.market_supervision().await;
    registry.grants(grant("market-supervision.taxation-reads", "taxation", &[""])).await;
    let mut publishing = registry.publishes().await;
    publishing.accepted(records(1..11)).await;
    let (taxation, other) = (city.taxation().await, city.taxation().await);
    let first = taxation.subscribes(subscription("taxation.first", "taxation")).await;
    let second = other.subscribes(subscription("taxation.second", "taxation")).await;
    let (mut cut, mut kept) = (taxation.reads(&first, 1000).await, other.reads(&second, 1000).await);
    cut.take(10).await;
    kept.take(10).await;

    city.revoke(&taxation.identity);
    let (_, status) = cut.ended_within(5).await;
    refused(Err::<(), _>(status), Code::Unauthenticated, "CERTIFICATE_REVOKED");
    // The same department's other certificate reads on.
    publishing.accepted(records(11..21)).await;
    assert_eq!(kept.take(10).await.len(), 10);

    city.revoke(&registry.identity);
    let status = within(5, "the publish stream ends", publishing.acknowledgement()).await;
    refused(status, Code::Unauthenticated, "CERTIFICATE_REVOKED");
    // The cut connection is gone; nothing can be asked on it, and no new one is made.
    within(5, "the connection is cut", async {
        while registry.status().await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}
