//! Whether a node is fit to serve, watched all the time it runs.

use std::{sync::Arc, time::Duration};

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

/// Watches the rooms until the tasks are told to stop. A node whose view has not yet read what the log held at start is not ready: queries would answer from the
/// past.
pub(super) fn watch(rooms: &Rooms, readiness: &Readiness, tasks: &Tasks) {
    for condition in [LOG, CATALOGUE, VIEW, RECORDS] {
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
                    let more =
                        if more.is_empty() { String::new() } else { format!("; and {} more datasets", more.len()) };
                    reporting.unmet(RECORDS, format!("{dataset}: {ahead}; `shuqiao view rebuild` accepts that{more}"));
                }
            }
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
            () = catch_up(log, catalogue, view, readiness) => {}
        }
    });
}

/// Waits until the view has applied what the log of each dataset held when it was asked.
async fn catch_up(log: Arc<dyn Log>, catalogue: Arc<Catalogue>, view: Arc<View>, readiness: Readiness) {
    let snapshot = catalogue.snapshot();
    // What this software cannot read at all, nobody waits for: whoever asks is told so.
    let readable = || snapshot.datasets().filter(|dataset| dataset.compiled.is_some());
    let total = readable().count();
    for (done, dataset) in readable().enumerate() {
        while let Err(reason) = caught_up(&*log, &view, &dataset.id, &dataset.topic).await {
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
    use super::*;
    use crate::exchange::{
        catalogue::{Command, fixtures as catalogue},
        fixtures::{City, OWNER},
    };

    #[tokio::test]
    async fn a_dataset_that_this_software_cannot_read_keeps_no_node_from_being_ready() {
        const OWN: &str = "market-supervision.own/v1";
        let directory = tempfile::tempdir().expect("tempdir");
        let city = City::open(directory.path()).await;
        let owner = catalogue::system(OWNER);
        city.command(&owner, Command::CreateRecordType(catalogue::new_record_type(OWN))).await;
        city.command(&owner, Command::CreateDataset(catalogue::new_dataset_of("market-supervision.of-own", OWN))).await;
        city.close().await;
        let city = City::compiling(directory.path(), catalogue::STRICTER).await;
        let readiness = Readiness::default();
        readiness.expect(VIEW);
        let caught_up = catch_up(city.log.clone(), city.catalogue.clone(), city.view.clone(), readiness.clone());
        tokio::time::timeout(2 * VIEW_WAIT, caught_up).await.expect("nobody waits for it");
        assert_eq!(readiness.reasons(), Vec::<String>::new());
        city.close().await;
    }
}
