//! What the handbook tells operators to watch is there to be watched: a rule that names a series that no page shows never fires.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use shuqiao_tests::fixtures::{
    City, DATASET, Enterprise, Home,
    adapter::{Adapter, registry_rows, write_registry},
    binaries, eventually, grant,
    node::{METRICS_PORT, own_address, page},
    refused, subscription,
};
use tonic::Code;

/// What an operator must be able to see, and the series that shows it.
const WATCHED: [(&str, &str); 7] = [
    ("ingest", "shuqiao_publish_records_total"),
    ("acknowledgement latency", "shuqiao_publish_acknowledge_seconds_bucket"),
    ("lag per subscription", "shuqiao_subscription_lag"),
    ("lag per view", "shuqiao_view_lag_records"),
    ("dead letters", "shuqiao_adapter_dead_letters_total"),
    ("denials", "shuqiao_denials_total"),
    ("log health", "shuqiao_log_healthy"),
];

/// Every series that a document names in code.
fn named(document: &str) -> BTreeSet<String> {
    let spans = document.split('`').skip(1).step_by(2);
    let words = spans.flat_map(|span| span.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_'));
    words.filter(|word| word.starts_with("shuqiao_")).map(str::to_owned).collect()
}

/// The names of a page's samples, as a scraper stores them.
fn samples(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_series_that_the_handbook_names_is_on_a_live_page() {
    let handbook = std::fs::read_to_string(binaries::workspace().join("deploy/README.md")).expect("the handbook");
    let named = named(&handbook);
    for (what, name) in WATCHED {
        assert!(named.contains(name), "the handbook does not say how to watch {what}: {name}");
    }

    // A little of everything: an adapter with dirty rows, a reader that goes on, a question that is denied.
    let city = City::on(Home::Embedded).await;
    city.market_supervision().await.grants(grant("market-supervision.taxation-reads", "taxation", &[""])).await;
    let csv = city.directory().join("registry.csv");
    let (rows, _) = registry_rows(20);
    write_registry(&csv, &rows, false);
    let address = SocketAddr::from((own_address(), METRICS_PORT));
    let adapter = Adapter::registry(&city, "registry", &csv, "utf-8").shows_metrics_at(address);
    let mut following = adapter.follow();
    let taxation = city.taxation().await;
    let id = taxation.subscribes(subscription("taxation.enterprise", "taxation")).await;
    let mut reader = taxation.reads(&id, 100).await;
    reader.take(20).await;
    refused(
        city.civil_affairs().await.looks_up(&Enterprise::number(1).code).await,
        Code::PermissionDenied,
        "GRANT_MISSING",
    );

    let absent = async || -> Vec<String> {
        let theirs = page(address, "/metrics").await.map(|(_, text)| samples(&text)).unwrap_or_default();
        let ours = samples(&city.node.metrics().await);
        named.iter().filter(|name| !ours.contains(*name) && !theirs.contains(*name)).cloned().collect()
    };
    let mut missing = absent().await;
    for _ in 0..200 {
        if missing.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        missing = absent().await;
    }
    assert!(missing.is_empty(), "the handbook names series that no page shows: {missing:?}\n{}", adapter.lines());

    // They say what happened, and not only that they are there.
    let accepted = format!("shuqiao_publish_records_total{{dataset=\"{DATASET}\",status=\"accepted\"}}");
    eventually(10, "what the adapter published", async || city.node.metric(&accepted).await == 20.0).await;
    assert_eq!(city.node.metric("shuqiao_denials_total{reason=\"GRANT_MISSING\"}").await, 1.0);
    assert_eq!(city.node.metric("shuqiao_log_healthy").await, 1.0);
    let (_, theirs) = page(address, "/metrics").await.expect("the adapter shows its metrics");
    assert!(theirs.contains("\nshuqiao_adapter_dead_letters_total 4\n"), "{theirs}");
    assert_eq!(following.ended(), None, "{}", adapter.lines());
}
