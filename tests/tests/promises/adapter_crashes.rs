//! An adapter that is killed loses nothing and publishes nothing twice, wherever it was: between reading and keeping, between sending and hearing the
//! acknowledgement, between the acknowledgement and noting it.
//!
//! The process is killed (-9) in ever later moments, on a file long enough that some of them fall among batches on their way. What lies in the log
//! is then read past the exchange, since a record that was published twice would look like one in every view.

use std::{collections::BTreeSet, time::Duration};

use shuqiao_tests::fixtures::{
    City, Home,
    adapter::{Adapter, registry_rows, write_registry},
    raw_log,
};

const ROWS: u32 = 6_000;
const KILLS: u32 = 16;
/// Kills are this far apart from each other, counted from the start of their run.
const STEP: Duration = Duration::from_millis(40);

#[tokio::test]
async fn an_adapter_that_is_killed_again_and_again_loses_nothing_and_publishes_nothing_twice() {
    let mut city = City::on(Home::Embedded).await;
    let csv = city.directory().join("registry.csv");
    let (rows, dirty) = registry_rows(ROWS);
    write_registry(&csv, &rows, true);
    let registry = Adapter::registry(&city, "registry", &csv, "gb18030");
    for kill in 1..=KILLS {
        let mut running = registry.follow();
        tokio::time::sleep(STEP * kill).await;
        assert_eq!(running.ended(), None, "{}", registry.lines());
        // Dropping kills.
        drop(running);
    }
    let report = registry.run_once().await;
    let total = &report["total"];
    assert_eq!(
        (&total["read"], &total["dead_letters"]),
        (&(u64::from(ROWS) + dirty as u64).into(), &dirty.into()),
        "{report}"
    );
    assert_eq!((&total["accepted"], &total["waiting"]), (&ROWS.into(), &0.into()), "{report}");
    let answer = registry.reconcile().await;
    assert_eq!((&answer["balanced"], &answer["comparisons"][0]["equal"]), (&true.into(), &true.into()), "{answer}");

    city.node.terminate().await;
    let entries = raw_log::entries(&city).await;
    let keys: BTreeSet<_> = entries.iter().map(|entry| &entry.key).collect();
    let sequences: BTreeSet<_> = entries.iter().map(|entry| entry.sequence).collect();
    assert_eq!((entries.len(), keys.len()), (ROWS as usize, ROWS as usize), "a record lies in the log twice");
    assert!(sequences.into_iter().eq(1..=u64::from(ROWS)), "a sequence was left out or given twice");
}
