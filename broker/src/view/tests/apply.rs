//! One batch after another, by hand.

use std::{fs, path::Path};

use super::*;
use crate::view::Error;

#[test]
fn a_batch_is_applied_with_its_position_or_not_at_all() {
    let (directory, mut bench) = Bench::fresh();
    bench.apply(&at_zero(0, &[said(1, "a", "320600")]));
    let before = bench.digest();
    // The last entry of the batch cannot be: nothing of the batch is.
    let mut broken = at_zero(1, &[said(2, "a", "320601"), said(3, "b", "320600")]);
    broken.push(said(4, "c", "320600").at(PARTITIONS, 0));
    assert!(matches!(bench.applier.apply(&bench.target, &broken), Err(Error::Corrupt(_))));
    assert_eq!(bench.digest(), before);
    assert_eq!(bench.applier.next(), [1, 0]);
    drop(bench);

    let mut bench = Bench::open(directory.path());
    assert_eq!((bench.digest(), bench.applier.next()), (before, [1, 0].as_slice()));
    // The reader of the log may begin further back than the view stands: what was applied is passed over.
    let tally = bench.apply(&at_zero(0, &[said(1, "a", "320600"), said(2, "a", "320601")]));
    assert_eq!(tally, Tally { applied: 1, ..Tally::default() });
    assert_eq!(history(&bench.reader(), "a"), "2 1");
}

/// Cuts the journal where a power cut could, opens what is left, and goes on.
#[test]
fn a_torn_journal_ends_at_a_whole_batch_and_the_log_makes_up_for_the_rest() {
    let (directory, mut bench) = Bench::fresh();
    let batches: Vec<_> = (0..12_u64)
        .map(|batch| {
            let said = (1..=5).map(|n| {
                let sequence = batch * 5 + n;
                (sequence, format!("k{}", sequence % 7))
            });
            let entries = said.map(|(sequence, key)| {
                let one = if sequence % 11 == 0 { deleted(sequence, &key) } else { said_in(sequence, &key) };
                one.at(0, sequence - 1)
            });
            entries.collect::<Vec<_>>()
        })
        .collect();
    let mut after = vec![bench.digest()];
    for entries in &batches {
        bench.apply(entries);
        after.push(bench.digest());
    }
    let whole = directory.path().join("whole");
    copy(directory.path(), &whole);
    drop(bench);
    let journal = newest_journal(&whole);
    let bytes = fs::read(&journal).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut reached = std::collections::BTreeSet::new();
    for cut in (0..used).step_by(used / 23 + 1).chain([used - 1]) {
        let torn = directory.path().join(format!("torn-{cut}"));
        copy(&whole, &torn);
        fs::write(newest_journal(&torn), &bytes[..cut]).unwrap();
        let mut bench = Bench::open(&torn);
        let digest = bench.digest();
        let batch = after.iter().position(|one| *one == digest).expect("the state after a whole batch");
        assert_eq!(bench.applier.next()[0], batch as u64 * 5, "the position is that batch's");
        reached.insert(batch);
        // The log gives everything again from the position on.
        for entries in &batches[batch..] {
            bench.apply(entries);
        }
        assert_eq!(bench.digest(), after[batches.len()], "cut at {cut}");
    }
    assert!(reached.len() > 5, "cuts fell into different batches: {reached:?}");
}

fn said_in(sequence: u64, key: &str) -> Said<'_> {
    said(sequence, key, ["320600", "320601"][usize::try_from(sequence % 2).unwrap()])
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let is_copy =
            from.file_name().is_some_and(|name| name == "whole" || name.to_string_lossy().starts_with("torn"));
        if from.is_dir() && !is_copy {
            copy(&from, &to);
        } else if from.is_file() {
            fs::copy(from, to).unwrap();
        }
    }
}

fn newest_journal(directory: &Path) -> std::path::PathBuf {
    let mut journals: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect();
    journals.sort_by_key(|path| path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok()));
    journals.pop().expect("a journal")
}

#[test]
fn a_repeat_is_stored_once_and_sources_count_each_for_itself() {
    let (_directory, mut bench) = Bench::fresh();
    let other = Said { source: ARCHIVE, version: 3, ..said(1, "a", "320601") };
    let all = [said(1, "a", "320600"), said(2, "b", "320600"), said(1, "a", "320600"), other, said(2, "b", "320600")];
    assert_eq!(bench.apply(&at_zero(0, &all)), Tally { applied: 3, repeats: 2, ..Tally::default() });
    // Across batches, and a sequence that was never there but is below what was.
    assert_eq!(bench.apply(&at_zero(5, &[other, said(3, "c", "320600"), said(2, "z", "320600")])).repeats, 2);
    assert_eq!(names(bench.reader().records(None)), ["a@1", "b@2", "c@3"]);
    assert_eq!(history(&bench.reader(), "a"), "1 1");
    // In another partition the same source counts anew.
    assert_eq!(bench.apply(&[said(1, "d", "320600").at(1, 0)]).applied, 1);
    assert_eq!(bench.reader().high_water(REGISTRY).unwrap(), [(0, 3), (1, 1)]);
    assert_eq!(bench.reader().high_water(ARCHIVE).unwrap(), [(0, 1)]);
    assert_eq!(bench.reader().high_water("department/market-supervision/system/reg").unwrap(), []);
}

#[test]
fn an_older_source_version_never_overwrites_a_newer_one_and_stays_in_the_history() {
    let (_directory, mut bench) = Bench::fresh();
    let late = Said { version: 1, ..said(3, "a", "320699") };
    let tally = bench.apply(&at_zero(0, &[said(1, "a", "320600"), said(2, "a", "320601"), late]));
    assert_eq!((tally.applied, tally.stale), (2, 1));
    let reader = bench.reader();
    assert_eq!(reader.get("a").unwrap().unwrap().record.payload, said(2, "a", "320601").payload());
    assert_eq!(history(&reader, "a"), "(3) 2 1");
    assert_eq!(names(reader.by_index(0, "320699", None)), [""; 0], "nor is it indexed");
    assert_eq!(reader.high_water(REGISTRY).unwrap(), [(0, 3)], "but it is held");

    // The same version again is a correction of the source, and counts.
    let corrected = Said { version: 2, ..said(4, "a", "320602") };
    assert_eq!(bench.apply(&at_zero(3, &[corrected])).applied, 1);
    assert_eq!(history(&bench.reader(), "a"), "4 (3) 2 1");

    // A deletion holds its version for as long as the retention.
    let retained = i64::try_from(RETENTION_MS).unwrap();
    let gone = Said { version: 9, ..deleted(5, "a") };
    let early = Said { version: 8, time_ms: 1_000 + retained, ..said(6, "a", "320600") };
    let after = Said { version: 8, time_ms: 1_001 + retained, ..said(7, "a", "320603") };
    let tally = bench.apply(&at_zero(4, &[gone, early, after]));
    assert_eq!((tally.applied, tally.stale), (2, 1));
    assert_eq!(bench.reader().get("a").unwrap().unwrap().record.sequence, 7);
}

#[test]
fn a_deletion_takes_the_record_out_of_every_answer() {
    let (_directory, mut bench) = Bench::fresh();
    bench.apply(&at_zero(0, &[said(1, "a", "320600"), said(2, "b", "320600")]));
    bench.apply(&at_zero(2, &[deleted(3, "a"), deleted(4, "never")]));
    let reader = bench.reader();
    assert!(reader.get("a").unwrap().is_none());
    assert_eq!(names(reader.records(None)), ["b@2"]);
    assert_eq!(names(reader.by_index(0, "320600", None)), ["b@2"]);
    assert_eq!(reader.records_digest().unwrap().0, 1);
    assert_eq!((history(&reader, "a"), history(&reader, "never")), ("3 1".into(), "4".into()));
    // And back.
    bench.apply(&at_zero(4, &[said(5, "a", "320601")]));
    assert_eq!(names(bench.reader().by_index(0, "320601", None)), ["a@5"]);
    assert_eq!(history(&bench.reader(), "a"), "5 3 1");
}

#[test]
fn an_entry_that_is_no_record_is_counted_and_passed() {
    let (_directory, mut bench) = Bench::fresh();
    let mut foreign = said(1, "a", "320600").at(0, 0);
    foreign.headers = Headers::default();
    let mut invalid = said(1, "a", "320600").at(0, 1);
    invalid.value = Some(Bytes::from_static(b"{\"id\":1}"));
    let mut torn = said(2, "a", "320600").at(0, 2);
    torn.value = Some(Bytes::from_static(b"{\"id\":"));
    let mut about_another = said(3, "a", "320600").at(0, 3);
    about_another.key = Some(Bytes::from_static(b"b"));
    let good = said(4, "c", "320600").at(0, 4);
    let tally = bench.apply(&[foreign, invalid, torn, about_another, good]);
    assert_eq!(tally, Tally { applied: 1, skipped: 4, ..Tally::default() });
    assert_eq!(names(bench.reader().records(None)), ["c@4"]);
    assert_eq!(bench.applier.next(), [5, 0]);
    // What the log holds of a source it holds, valid or not: sending it again is a repeat.
    assert_eq!(bench.apply(&at_zero(5, &[said(3, "a", "320600")])).repeats, 1);
}

#[test]
fn history_goes_back_as_far_as_retention_and_one_change_further() {
    let (_directory, mut bench) = Bench::fresh();
    let at = |time_ms, one| Said { time_ms, ..one };
    let all = [
        at(100, said(1, "a", "320600")),
        at(200, said(2, "a", "320601")),
        at(250, deleted(3, "b")),
        at(300, said(4, "a", "320602")),
        at(350, deleted(5, "a")),
        at(400, said(6, "c", "320600")),
    ];
    bench.apply(&at_zero(0, &all));
    // One row at a time, as upkeep does when there is much to do.
    let prune = |bench: &mut Bench, cutoff_ms| while bench.applier.prune(cutoff_ms, 1).unwrap() {};
    prune(&mut bench, 200);
    assert_eq!(history(&bench.reader(), "a"), "5 4 2 1", "what was replaced at the cutoff is still kept");
    prune(&mut bench, 300);
    assert_eq!(history(&bench.reader(), "a"), "5 4 2");
    assert_eq!(history(&bench.reader(), "b"), "", "the memory of a deletion goes too");
    prune(&mut bench, 351);
    assert_eq!((history(&bench.reader(), "a"), history(&bench.reader(), "c")), (String::new(), "6".into()));
    assert_eq!(bench.reader().high_water(REGISTRY).unwrap(), [(0, 6)], "a repeat is still one");
    // Nothing is left of it in any keyspace: the same as if only the last record had been there.
    let (_other, mut fresh) = Bench::fresh();
    fresh.apply(&[all[5].at(0, 5)]);
    assert_eq!(bench.digest(), fresh.digest());
}

#[test]
fn what_a_crash_left_half_built_is_gone_when_the_store_opens() {
    let (directory, mut bench) = Bench::fresh();
    bench.apply(&at_zero(0, &[said(1, "a", "320600")]));
    let digest = bench.digest();
    let half = bench.store.begin_space(&bench.target.id, &[ROW_VERSION], &[0; PARTITIONS as usize]).unwrap();
    let mut applier = Applier::load(&bench.store, &bench.target.id, half, Vec::new()).unwrap();
    applier.apply(&bench.target, &at_zero(0, &[said(1, "x", "320600")])).unwrap();
    let rows = |store: &Store| [&store.records, &store.indexes, &store.meta].map(|one| one.iter().count());
    let with_half = rows(&bench.store);
    drop((bench, applier));

    let bench = Bench::open(directory.path());
    assert_eq!(bench.digest(), digest);
    // A record, its index row, and of the space itself: its description, two positions, a high water.
    assert_eq!(rows(&bench.store), [with_half[0] - 1, with_half[1] - 1, with_half[2] - 4]);
    assert!(
        bench.store.begin_space(&bench.target.id, &[ROW_VERSION], &[0]).unwrap() > half,
        "its number is never used again"
    );
}

#[test]
fn a_partition_with_much_old_history_does_not_keep_the_others_waiting() {
    let (_directory, mut bench) = Bench::fresh();
    let busy: Vec<_> = (1..=20).map(|sequence| said(sequence, "a", "320600")).collect();
    bench.apply(&at_zero(0, &busy));
    bench.apply(&[said(1, "b", "320600").at(1, 0), said(2, "b", "320601").at(1, 1)]);
    assert_eq!(history(&bench.reader(), "b"), "2 1");
    assert!(bench.applier.prune(i64::MAX, 3).unwrap(), "more is left");
    assert!(bench.applier.prune(i64::MAX, 3).unwrap());
    assert_eq!(history(&bench.reader(), "b"), "2", "the second partition had the second turn");
    while bench.applier.prune(i64::MAX, 3).unwrap() {}
    assert_eq!(history(&bench.reader(), "a"), "20");
}

#[test]
fn what_a_record_replaced_counts_no_more_once_it_is_removed() {
    let at = |time_ms, one| Said { time_ms, ..one };
    let newest = [at(300, said(3, "a", "320602")).at(0, 2), at(310, said(4, "a", "320602")).at(0, 3)];
    let (_directory, mut bench) = Bench::fresh();
    bench.apply(&at_zero(0, &[at(100, said(1, "a", "320600")), at(200, said(2, "a", "320601"))]));
    bench.apply(&newest);
    while bench.applier.prune(305, 1).unwrap() {}
    assert_eq!(history(&bench.reader(), "a"), "4 3");
    // A view that is made anew from a compacted log has never seen the first two.
    let (_other, mut fresh) = Bench::fresh();
    fresh.apply(&newest);
    while fresh.applier.prune(305, 1).unwrap() {}
    assert_eq!(bench.digest(), fresh.digest());
    // And what is younger counts.
    let (_other, mut without) = Bench::fresh();
    without.apply(&newest[1..]);
    while without.applier.prune(305, 1).unwrap() {}
    assert_ne!(bench.digest(), without.digest());
}

#[test]
fn an_expired_deletion_leaves_the_same_whether_it_was_removed_before_its_key_came_back_or_not() {
    let retained = i64::try_from(RETENTION_MS).unwrap();
    let back = Said { version: 1, time_ms: 1_002 + retained, ..said(4, "a", "320602") };
    let all = at_zero(0, &[said(1, "a", "320600"), said(2, "a", "320601"), deleted(3, "a"), back]);
    let mut digests = Vec::new();
    for (batch, prune_before) in [(4, false), (3, false), (3, true), (2, false), (1, false)] {
        let (_directory, mut bench) = Bench::fresh();
        let mut batches = all.chunks(batch);
        while let Some(entries) = batches.next() {
            if prune_before && batches.len() == 0 {
                while bench.applier.prune(1_001, 2).unwrap() {}
                assert_eq!(bench.reader().digest().unwrap().records, 0);
                assert_eq!(bench.store.versions.iter().count(), 0);
            }
            bench.apply(entries);
        }
        assert_eq!(names(bench.reader().records(None)), ["a@4"]);
        while bench.applier.prune(1_001, 2).unwrap() {}
        assert_eq!(history(&bench.reader(), "a"), "4");
        assert_eq!(bench.store.versions.iter().count(), 1);
        digests.push(bench.digest());
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[test]
fn rows_of_another_layout_go_when_the_store_opens() {
    let (directory, mut bench) = Bench::fresh();
    bench.apply(&at_zero(0, &[said(1, "a", "320600")]));
    let older = bench.store.begin_space(&bench.target.id, &[ROW_VERSION - 1], &[0; PARTITIONS as usize]).unwrap();
    bench.store.make_live(&bench.target.id, older, Some(bench.space)).unwrap();
    bench.store.records.insert([older.to_be_bytes().as_slice(), b"a"].concat(), "a row of it").unwrap();
    let former = bench.store.database.keyspace("history", fjall::KeyspaceCreateOptions::default).unwrap();
    former.insert("past", "row").unwrap();
    drop((former, bench));
    let (store, live) = Store::open(directory.path(), CACHE_BYTES).unwrap();
    assert!(live.is_empty());
    assert!(!store.database.keyspace_exists("history"));
    let left = [&store.records, &store.versions, &store.indexes].map(|rows| rows.iter().count());
    assert_eq!((left, store.meta.iter().count()), ([0; 3], 1), "the next number is all that is left");
}
