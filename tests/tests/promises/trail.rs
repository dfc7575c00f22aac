//! Nothing is released without a trace, and the trace holds no payload.

use shuqiao_tests::{
    fixtures::{City, DATASET, Enterprise, KEY, PURPOSE, enterprise::records, grant, positions, refused, subscription},
    on_both_homes,
};
use tonic::Code;

on_both_homes! {
    async fn the_trail_shows_publishing_delivery_questions_and_refusals(home) {
        let mut city = City::on(home).await;
        let registry = city.market_supervision().await;
        registry.grants(grant("market-supervision.taxation-reads", "taxation", &[KEY, "/name"])).await;
        let accepted = registry.publishes().await.accepted(records(1..11)).await;
        let at = positions(&accepted);
        let code = Enterprise::number(1).code;
        let taxation = city.taxation().await;
        taxation.looks_up_after(&code, at).await.expect("granted");
        let id = taxation.subscribes(subscription("taxation.enterprise", "taxation")).await;
        taxation.reads(&id, 100).await.take(10).await;
        refused(city.civil_affairs().await.looks_up(&code).await, Code::PermissionDenied, "GRANT_MISSING");

        // It is durable: a node without power has lost none of it.
        city.crash().await;
        let trail = city.administrator().await.trail().await;
        let of = |actor: &str, action: &str| -> Vec<&serde_json::Value> {
            let matches = |entry: &&serde_json::Value| entry["actor"] == actor && entry["action"] == action;
            trail.iter().filter(matches).collect()
        };
        let published = of("department/market-supervision/system/registry", "publish");
        assert_eq!(published.len(), 1);
        assert_eq!((&published[0]["count"], &published[0]["dataset"]), (&10.into(), &DATASET.into()));

        let asked = of("department/taxation/system/inbox", "get_record");
        assert_eq!(asked.len(), 1);
        assert_eq!((&asked[0]["outcome"], &asked[0]["purpose"]), (&"allowed".into(), &PURPOSE.into()));
        assert_eq!(asked[0]["grant"]["id"], "market-supervision.taxation-reads");
        assert_eq!(asked[0]["certificate"], taxation.identity.serial.as_str());

        let delivered = of("department/taxation/system/inbox", "deliver");
        let counts: u64 = delivered.iter().filter_map(|entry| entry["count"].as_u64()).sum();
        assert_eq!(counts, 10);

        let denied = of("department/civil-affairs/system/desk", "get_record");
        assert_eq!(denied.len(), 1);
        assert_eq!(denied[0]["outcome"]["denied"], "GRANT_MISSING");
        assert_eq!(denied[0]["count"], 0);

        let whole = trail.iter().map(ToString::to_string).collect::<String>();
        assert!(!whole.contains(&code) && !whole.contains("南通示例"), "neither keys nor payloads");
        // A department reads its own entries only.
        let own = city.taxation().await.trail().await;
        let mine = |entry: &serde_json::Value| {
            entry["actor"].as_str().is_some_and(|actor| actor.starts_with("department/taxation/"))
        };
        assert!(!own.is_empty() && own.iter().all(mine));
    }
}

#[tokio::test]
async fn no_log_line_and_no_metric_holds_a_key_or_a_payload() {
    let city = City::plan(shuqiao_tests::fixtures::Home::Embedded).with("node.log_level", "debug").build().await;
    let registry = city.market_supervision().await;
    registry.grants(grant("market-supervision.taxation-reads", "taxation", &[""])).await;
    let mut stream = registry.publishes().await;
    stream.accepted(records(1..21)).await;
    let code = Enterprise::number(1).code;
    stream.rejected(shuqiao_tests::fixtures::upsert(100, &code, 1, "{\"name\": \"秘密名称\"}")).await;
    let taxation = city.taxation().await;
    let id = taxation.subscribes(subscription("taxation.enterprise", "taxation")).await;
    taxation.reads(&id, 100).await.take(20).await;
    taxation.looks_up(&code).await.expect("granted");
    refused(city.civil_affairs().await.looks_up(&code).await, Code::PermissionDenied, "GRANT_MISSING");
    let (lines, metrics) = (city.node.lines(), city.node.metrics().await);
    assert!(!lines.is_empty() && metrics.contains("shuqiao_audit_appends"));
    for secret in [code.as_str(), "330106199003070014", "欧阳示例", "秘密名称", "南通示例"] {
        assert!(!lines.contains(secret), "{secret} stands in the log lines");
        assert!(!metrics.contains(secret), "{secret} stands in the metrics");
    }
}
