//! The view: a read sees the write whose position it names; a view made anew equals the one that lived.

use shuqiao_proto::v1;
use shuqiao_tests::{
    fixtures::{City, DATASET, Enterprise, PURPOSE, Source, refused, within},
    on_both_homes,
};
use tonic::Code;

on_both_homes! {
    async fn a_position_makes_a_read_see_its_write(home) {
        let city = City::on(home).await;
        let registry = city.market_supervision().await;
        let mut stream = registry.publishes().await;
        for version in 1..51_u64 {
            let enterprise = Enterprise::number(7).with("employee_count", version);
            let accepted = stream.accepted(vec![enterprise.record(version, version)]).await;
            let at = accepted.results[0].position.expect("a position");
            let record = registry.looks_up_after(&enterprise.code, vec![at]).await.expect("the record");
            assert_eq!((record.source_version, record.payload), (version, enterprise.payload()));
        }
        // A position that the log does not hold yet is waited for, boundedly.
        let future = v1::Position { partition: 0, offset: 1_000_000 };
        let code = Enterprise::number(7).code;
        let ahead = registry.looks_up_after(&code, vec![future]);
        refused(within(10, "the answer", ahead).await, Code::FailedPrecondition, "VIEW_BEHIND");

        let history = v1::ListRecordHistoryRequest {
            dataset: DATASET.into(),
            key: Enterprise::number(7).code,
            page_size: 1000,
            purpose: PURPOSE.into(),
            ..Default::default()
        };
        let history = registry.query().list_record_history(history).await.expect("the history").into_inner();
        let versions: Vec<_> =
            history.records.iter().filter_map(|one| Some(one.record.as_ref()?.source_version)).collect();
        assert_eq!(versions, (1..51).rev().collect::<Vec<_>>(), "newest first");
    }

    async fn a_view_made_anew_equals_the_one_that_lived(home) {
        let mut city = City::on(home).await;
        let mut source = Source::seeded(7, 100);
        let client = city.market_supervision().await;
        for _ in 0..2 {
            tokio::select! {
                status = source.publish_until_broken(&client) => panic!("{status}"),
                () = tokio::time::sleep(std::time::Duration::from_millis(400)) => {}
            }
        }
        source.settle(&client).await.expect("settled");
        let live = client.digest(source.positions()).await.expect("the digest");
        assert_eq!(live, source.digest());

        let owner = "department/market-supervision/system/registry";
        let shown = city.shuqiao(owner, &["view", "digest", DATASET, "--purpose", PURPOSE]).await;
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        let said = String::from_utf8_lossy(&shown.stderr).into_owned();
        assert!(shown.status.success() && text.contains(&hex::encode(&live.1)), "{text}{said}");

        city.node.terminate().await;
        let rebuilt = city.shuqiao(owner, &["view", "rebuild", DATASET]).await;
        let text = String::from_utf8_lossy(&rebuilt.stdout).into_owned();
        let said = String::from_utf8_lossy(&rebuilt.stderr).into_owned();
        assert!(rebuilt.status.success() && text.contains(&hex::encode(&live.1)), "{text}{said}");
        assert!(text.contains("equal") && !text.contains("DIFFERENT"), "{text}");

        // Nothing but the log: the whole view is gone, and comes back.
        std::fs::remove_dir_all(city.data().join("view")).expect("the view's directory");
        city.node.start();
        city.node.ready().await;
        let client = city.market_supervision().await;
        assert_eq!(client.digest(source.positions()).await.expect("the digest"), live);
        assert_eq!(client.publishes().await.opened.last_sequence, *source.accepted.last().expect("records"));
    }
}
