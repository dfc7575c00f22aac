//! A log that came back without its tail is noticed by everybody who knows better, and nobody fills the gap in silence.

use std::path::Path;

use shuqiao_tests::fixtures::{
    City, Home,
    adapter::{Adapter, registry_rows, write_registry},
    eventually,
};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("lists") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copies");
        }
    }
}

#[tokio::test]
async fn a_log_restored_from_a_backup_is_told_by_node_and_adapter_and_everything_is_published_once_more_on_demand() {
    let mut city = City::on(Home::Embedded).await;
    let csv = city.directory().join("export.csv");
    let registry = Adapter::registry(&city, "registry", &csv, "utf-8");
    let (rows, _) = registry_rows(200);
    write_registry(&csv, &rows[..100], false);
    registry.run_once().await;
    city.node.terminate().await;
    let (log, backup) = (city.data().join("log"), city.directory().join("backup"));
    copy(&log, &backup);
    city.node.start();
    city.node.ready().await;
    write_registry(&csv, &rows[..200], false);
    registry.run_once().await;
    let client = city.market_supervision().await;
    eventually(20, "the view has all of it", async || {
        client.digest(Vec::new()).await.is_ok_and(|(count, _)| count == 200)
    })
    .await;
    city.node.terminate().await;
    std::fs::remove_dir_all(&log).expect("the log goes");
    copy(&backup, &log);

    city.node.start();
    eventually(20, "the node says why it is not ready", async || {
        city.node.health().await.is_some_and(|(code, text)| code == 503 && text.contains("the log has lost records"))
    })
    .await;
    assert!(city.node.lines().contains("the log ends before what the view has read"), "{}", city.node.lines());
    let (code, told) = registry.ends(&["reconcile"]).await;
    assert_eq!(code, 4, "{told}");
    city.node.terminate().await;
    let rebuilt = city.shuqiao("department/market-supervision/system/registry", &["view", "rebuild"]).await;
    let text = String::from_utf8_lossy(&rebuilt.stdout).into_owned();
    assert!(rebuilt.status.success() && text.contains("DIFFERENT"), "{text}");
    assert!(text.contains("200 records before, 100 now"), "{text}");

    // The view is the log's again; what the adapter was promised is still missing.
    city.node.start();
    city.node.ready().await;
    for command in [["run", "--once"].as_slice(), &["reconcile"]] {
        let (code, told) = registry.ends(command).await;
        assert_eq!(code, 4, "{command:?}: {told}");
        assert!(told.contains("has lost what it acknowledged") && told.contains("resync"), "{told}");
    }
    let (code, told) = registry.ends(&["resync"]).await;
    assert_eq!(code, 0, "{told}");
    registry.run_once().await;
    let answer = registry.reconcile().await;
    let comparison = &answer["comparisons"][0];
    assert_eq!((&answer["balanced"], &comparison["equal"]), (&true.into(), &true.into()), "{answer}");
    assert_eq!(comparison["exchange"]["count"], 200, "{answer}");
}
