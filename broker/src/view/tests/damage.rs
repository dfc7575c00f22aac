//! Files of the view that somebody or something has damaged.

use std::{fs, time::Duration};

use super::*;
use crate::{
    exchange::{
        self,
        fixtures::{City, DATASET, upsert},
        model::DatasetId,
    },
    view::{Error, View},
};

const RECORDS: u64 = 300;

/// Other bits in the middle of every table.
fn flip(keyspace: &Path) {
    let tables: Vec<_> = fs::read_dir(keyspace.join("tables")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!tables.is_empty(), "nothing was flushed");
    for table in tables {
        let mut bytes = fs::read(&table).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 8].iter_mut().for_each(|byte| *byte ^= 0xff);
        fs::write(&table, bytes).unwrap();
    }
}

async fn holds(view: &View, id: &DatasetId, records: u64) -> [u8; 32] {
    for _ in 0..500 {
        if let Ok((count, digest)) = view.records_digest(id)
            && count == records
        {
            return digest;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the view does not hold {records} records");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_fail_their_checksum_are_told_to_who_asks_and_to_the_operator_and_come_back_from_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let id: DatasetId = DATASET.parse().unwrap();
    let city = City::open(directory.path()).await;
    let mut session = city.session().await;
    let records = (1..=RECORDS).map(|number| upsert(number, &format!("k{number}"), "320600")).collect();
    city.publish(&mut session, records).await;
    let digest = holds(&city.view, &id, RECORDS).await;
    let store = city.view.store().unwrap();
    store.versions.rotate_memtable_and_wait().unwrap();
    let versions = store.versions.path().to_owned();
    drop((store, session));
    city.close().await;
    flip(&versions);

    let city = City::open(directory.path()).await;
    let error = city.view.records_digest(&id).expect_err("no count of what can be read");
    assert!(matches!(error, Error::Damaged(_)), "{error:?}");
    assert!(matches!(exchange::Error::from(error), exchange::Error::DataLoss(_)));
    let told = city.view.trouble().borrow().clone().expect("told");
    assert!(told.contains("move the view's directory away") && told.contains("built anew from the log"), "{told}");
    city.close().await;

    let view = directory.path().join("view");
    fs::rename(&view, directory.path().join("moved")).unwrap();
    let city = City::open(directory.path()).await;
    assert_eq!(holds(&city.view, &id, RECORDS).await, digest);
    assert_eq!(*city.view.trouble().borrow(), None);
    city.close().await;
}
