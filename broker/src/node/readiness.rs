//! Whether a node is fit to serve, watched all the time it runs.

use std::time::Duration;

use super::rooms::Rooms;
use crate::{
    exchange::{catalogue::Catalogue, model::DatasetId},
    log::{Health, Log},
    shutdown::Tasks,
    telemetry::Readiness,
    view::{View, ahead},
};

/// How often the log and the catalogue are asked: cheap questions to this process's own memory.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long one wait for the view lasts before the reason is told anew.
const VIEW_WAIT: Duration = Duration::from_secs(5);

const LOG: &str = "log";
const CATALOGUE: &str = "catalogue";
const VIEW: &str = "view";
const RECORDS: &str = "records";
const TOPICS: &str = "topics";

/// Watches the rooms until the tasks are told to stop. A node whose view has not yet read what the log held at start is not ready: queries would answer from the
/// past. Nor is one whose view cannot write what it reads, until it has caught up again.
pub(super) fn watch(rooms: &Rooms, readiness: &Readiness, tasks: &Tasks) {
    for condition in [LOG, CATALOGUE, VIEW, RECORDS, TOPICS] {
        readiness.expect(condition);
    }
    let (log, catalogue, view) = (rooms.log.clone(), rooms.catalogue.clone(), rooms.view.clone());
    let (reporting, token, all) = (readiness.clone(), tasks.token(), tasks.clone());
    tasks.spawn("readiness", async move {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = ticks.tick() => {}
            }
            match log.health() {
                Health::Good => reporting.met(LOG),
                Health::Bad(reason) => reporting.unmet(LOG, reason),
            }
            match view.lost().as_slice() {
                [] => reporting.met(RECORDS),
                [(dataset, ahead), more @ ..] => {
                    let more = and_more(more.len());
                    reporting.unmet(RECORDS, format!("{dataset}: {ahead}; `shuqiao view rebuild` accepts that{more}"));
                }
            }
            tell_of_topics(&catalogue, &reporting);
            match catalogue.failure() {
                None => reporting.met(CATALOGUE),
                Some(error) => {
                    reporting.unmet(CATALOGUE, error.to_string());
                    tracing::error!(%error, "the catalogue cannot be followed: the node ends");
                    all.token().cancel();
                }
            }
        }
    });

    let (log, catalogue, view) = (rooms.log.clone(), rooms.catalogue.clone(), rooms.view.clone());
    let (readiness, token) = (readiness.clone(), tasks.token());
    tasks.spawn("readiness of the view", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = watch_view(&*log, &catalogue, &view, &readiness) => {}
        }
    });
}

/// A dataset whose topic is below the floor takes nothing, and only an operator can mend that.
fn tell_of_topics(catalogue: &Catalogue, readiness: &Readiness) {
    match catalogue.below_floor().as_slice() {
        [] => readiness.met(TOPICS),
        [error, more @ ..] => readiness.unmet(TOPICS, format!("{error}{}", and_more(more.len()))),
    }
}

fn and_more(datasets: usize) -> String {
    match datasets {
        0 => String::new(),
        1 => "; and 1 more dataset".to_owned(),
        others => format!("; and {others} more datasets"),
    }
}

/// Holds the view's condition against what the view says of itself. Ends only if the view is gone.
async fn watch_view(log: &dyn Log, catalogue: &Catalogue, view: &View, readiness: &Readiness) {
    let mut trouble = view.trouble();
    loop {
        let reason = trouble.borrow_and_update().clone();
        match reason {
            Some(reason) => readiness.unmet(VIEW, reason),
            None => tokio::select! {
                biased;
                changed = trouble.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = catch_up(log, catalogue, view, readiness) => {}
            },
        }
        if trouble.changed().await.is_err() {
            return;
        }
    }
}

/// Waits until the view has applied what the log of each dataset held when it was asked.
async fn catch_up(log: &dyn Log, catalogue: &Catalogue, view: &View, readiness: &Readiness) {
    let snapshot = catalogue.snapshot();
    // What this software cannot read at all, nobody waits for: whoever asks is told so.
    let readable = || snapshot.datasets().filter(|dataset| dataset.compiled.is_some());
    let total = readable().count();
    for (done, dataset) in readable().enumerate() {
        // One that is deleted meanwhile is waited for no longer.
        while catalogue.snapshot().dataset(dataset.id.as_str()).is_some()
            && let Err(reason) = caught_up(log, view, &dataset.id, &dataset.topic).await
        {
            readiness.unmet(VIEW, format!("{reason}; {done} of {total} datasets have caught up"));
        }
    }
    readiness.met(VIEW);
}

async fn caught_up(log: &dyn Log, view: &View, dataset: &DatasetId, topic: &crate::log::Topic) -> Result<(), String> {
    let applied = view.applied(dataset);
    let bounds = match log.bounds(topic).await {
        Ok(bounds) => bounds,
        Err(error) => {
            tokio::time::sleep(INTERVAL).await;
            return Err(error.to_string());
        }
    };
    if let Some(ahead) = ahead(&applied, &bounds) {
        tokio::time::sleep(INTERVAL).await;
        return Err(format!("{dataset}: {ahead}"));
    }
    let ends: Vec<_> = (0..).zip(bounds.iter().map(|bounds| bounds.next)).collect();
    view.wait_applied(dataset, &ends, VIEW_WAIT).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::exchange::{
        catalogue::{Command, fixtures as catalogue},
        clock::Clock,
        fixtures::{City, DATASET, Disk, OWNER, Watched, batch, upsert},
        publishing::Batch,
    };

    #[tokio::test]
    async fn a_dataset_that_this_software_cannot_read_keeps_no_node_from_being_ready() {
        const OWN: &str = "market-supervision.own/v1";
        let directory = tempfile::tempdir().expect("tempdir");
        let city = City::open(directory.path()).await;
        let owner = catalogue::system(OWNER);
        city.command(&owner, Command::CreateRecordType(catalogue::new_record_type(OWN))).await;
        city.command(&owner, Command::CreateDataset(catalogue::new_dataset_of("market-supervision.of-own", OWN))).await;
        // Something that a view which begins anew would have to apply.
        let owner = Arc::new(owner);
        let mut session = city.publisher.open(&owner, "market-supervision.of-own", "").await.expect("its own");
        let records = Batch { record_type: OWN.into(), ..batch(vec![upsert(1, "a", "1")]) };
        session.submit(records).await.expect("taken").await.expect("ends").expect("acknowledged");
        drop(session);
        city.close().await;
        std::fs::remove_dir_all(directory.path().join("view")).expect("the view is gone");
        let city = City::compiling(directory.path(), catalogue::STRICTER).await;
        let readiness = Readiness::default();
        readiness.expect(VIEW);
        let caught_up = catch_up(&*city.log, &city.catalogue, &city.view, &readiness);
        tokio::time::timeout(2 * VIEW_WAIT, caught_up).await.expect("nobody waits for it");
        assert_eq!(readiness.reasons(), Vec::<String>::new());
        city.close().await;
    }

    #[tokio::test]
    async fn a_dataset_whose_topic_falls_below_the_floor_is_told_until_it_is_mended() {
        let directory = tempfile::tempdir().expect("tempdir");
        let clock = Clock::manual(1_000_000);
        let log = Arc::new(Watched::open(directory.path(), clock.clone()));
        let city = City::on(log.clone(), directory.path(), clock).await;
        let readiness = Readiness::default();
        let told = || {
            tell_of_topics(&city.catalogue, &readiness);
            readiness.reasons().join("\n")
        };
        assert_eq!(told(), "");
        let topic = city.catalogue.snapshot().dataset(DATASET).expect("it is there").topic.clone();
        log.below.lock().replace(topic.clone());
        until("it is told", || told() == format!("topics: topic {topic} is below the floor: as the test wants it"))
            .await;
        log.below.lock().take();
        until("it is well again", || told().is_empty()).await;
        city.close().await;
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..500 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("waited in vain: {what}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_whose_view_cannot_write_is_not_ready_until_it_has_caught_up_again() {
        let Some(disk) = Disk::mount(32) else { return };
        let directory = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink(disk.path(), directory.path().join("view")).expect("a link");
        let city = City::open(directory.path()).await;
        let readiness = Readiness::default();
        readiness.expect(VIEW);
        let (log, catalogue, view, told) =
            (city.log.clone(), city.catalogue.clone(), city.view.clone(), readiness.clone());
        let token = city.tasks.token();
        city.tasks.spawn("readiness", async move {
            token.run_until_cancelled(watch_view(&*log, &catalogue, &view, &told)).await;
        });
        until("ready at first", || readiness.is_ready()).await;

        let mut session = city.session().await;
        let ballast = disk.fill();
        let mut sequence = 0;
        while readiness.is_ready() {
            sequence += 1;
            assert!(sequence < 1_000, "still ready: {:?}", readiness.reasons());
            city.publish(&mut session, vec![upsert(sequence, &format!("k{sequence}"), "320600")]).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let reasons = readiness.reasons().join("\n");
        assert!(reasons.contains("view: ") && reasons.contains("disk"), "{reasons}");
        // Whether it stays so depends on what opening the store again sets free: a merge may leave room enough.
        std::fs::remove_file(ballast).expect("the ballast goes");
        until("ready again", || readiness.is_ready()).await;
        let id = crate::exchange::fixtures::DATASET.parse().expect("an id");
        assert_eq!(city.view.records_digest(&id).expect("readable").0, sequence, "it has caught up");
        drop(session);
        city.close().await;
    }
}
