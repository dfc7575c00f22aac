//! What is said again, by hand and against logs that compaction has shortened at random places.

use std::collections::HashMap;

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::exchange::{envelope, model::Record};

const REGIONS: [&str; 3] = ["320600", "320601", "3206"];

/// A log under construction.
#[derive(Default)]
struct Written(Vec<StoredEntry>);

impl Written {
    fn push(&mut self, entry: log::Entry) {
        let of_partition = self.0.iter().filter(|stored| stored.partition == entry.partition);
        let offset = of_partition.map(|stored| stored.offset + 1).max().unwrap_or(0);
        self.0.push(stored(entry, offset));
    }

    /// What compaction leaves once everything before `horizon` is past the window: of each key the last entry there, and what comes after.
    fn compacted(&self, horizon: usize) -> Vec<StoredEntry> {
        let mut last = HashMap::new();
        for (place, entry) in self.0[..horizon].iter().enumerate() {
            last.insert((entry.partition, entry.key.clone()), place);
        }
        let is_left = |(place, entry): &(usize, &StoredEntry)| {
            *place >= horizon || last[&(entry.partition, entry.key.clone())] == *place
        };
        self.0.iter().enumerate().filter(is_left).map(|(_, entry)| entry.clone()).collect()
    }
}

/// What the follower does in one round.
fn restate(bench: &Bench, written: &mut Written) -> usize {
    let (entries, _) = bench.applier.restatements(1_000).unwrap();
    let count = entries.len();
    entries.into_iter().for_each(|entry| written.push(entry));
    count
}

/// Live records and what each index leads to.
fn shown(bench: &Bench) -> Vec<Vec<String>> {
    let reader = bench.reader();
    let versioned = |item: Result<Item, _>| {
        let record = item.map(|item: Item| item.record).unwrap();
        format!("{}@{} v{} {}", record.key, record.sequence, record.source_version, record.source.as_str())
    };
    let mut shown = vec![reader.records(None).map(versioned).collect()];
    shown.extend(REGIONS.map(|region| reader.by_index(0, region, None).map(versioned).collect::<Vec<_>>()));
    shown
}

#[test]
fn the_state_is_said_again_behind_a_late_version_and_behind_a_copy_and_only_then() {
    let (directory, mut bench) = Bench::fresh();
    let mut written = Written::default();
    let archive = |sequence, key| Said { source: ARCHIVE, version: 1, ..said(sequence, key, "320601") };
    for one in [said(5, "late", "320600"), deleted(6, "gone"), said(7, "copied", "320600"), said(8, "calm", "320600")] {
        written.push(one.entry(0));
    }
    bench.apply(&written.0);
    assert_eq!(restate(&bench, &mut written), 0, "the last entry of each key is its state");

    for one in [archive(1, "late"), archive(2, "gone"), said(7, "copied", "320600"), archive(3, "new")] {
        written.push(one.entry(0));
    }
    let tally = bench.apply(&written.0);
    assert_eq!(tally, Tally { applied: 1, stale: 2, repeats: 1, ..Tally::default() });
    // A node that is killed here knows it still.
    drop(bench);
    let mut bench = Bench::open(directory.path());
    assert_eq!(restate(&bench, &mut written), 3);
    let before = shown(&bench);
    let said_again: Vec<_> =
        written.0[8..].iter().map(|entry| envelope::Decoder::default().decode(entry).unwrap()).collect();
    let place = |one: &Record| one.restates.map(|said| (said.offset, said.behind));
    let mut names: Vec<_> = said_again.iter().map(|one| (&*one.key, one.sequence, place(one))).collect();
    names.sort_unstable();
    assert_eq!(names, [("copied", 7, Some((2, 6))), ("gone", 6, Some((1, 5))), ("late", 5, Some((0, 4)))]);
    // Another node has said the same.
    written.0.extend_from_within(8..);
    for (place, entry) in (8..).zip(&mut written.0[8..]) {
        entry.offset = place;
    }
    assert_eq!(bench.apply(&written.0), Tally { repeats: 6, ..Tally::default() });
    assert_eq!(shown(&bench), before);
    assert_eq!(history(&bench.reader(), "late"), "(1) 5");
    assert_eq!(restate(&bench, &mut written), 0, "what was read back is in order");
    assert_eq!(bench.reader().high_water(REGISTRY).unwrap(), [(0, 8)]);
}

#[test]
fn a_deletion_is_not_forgotten_before_it_was_said_again() {
    let (_directory, mut bench) = Bench::fresh();
    let mut written = Written::default();
    let late = Said { source: ARCHIVE, version: 1, time_ms: 2_000, ..said(1, "gone", "320601") };
    for one in [deleted(6, "gone"), late] {
        written.push(one.entry(0));
    }
    bench.apply(&written.0);
    // The deletion is older than the retention, the late version is not.
    bench.applier.prune(1_500, 100).unwrap();
    assert_eq!(restate(&bench, &mut written), 1);
    bench.apply(&written.0);
    bench.applier.prune(1_500, 100).unwrap();
    let state = bench.store.records.get(super::super::layout::record_key(bench.space, "gone")).unwrap();
    assert!(state.is_none(), "then it goes");
    let (_other, mut anew) = Bench::fresh();
    anew.apply(&written.compacted(3));
    assert_eq!(names(anew.reader().records(None)), [] as [&str; 0]);
}

#[test]
fn a_deletion_after_the_late_version_need_not_be_said_again_and_goes() {
    let (_directory, mut bench) = Bench::fresh();
    let late = Said { source: ARCHIVE, version: 1, ..said(1, "gone", "320601") };
    bench.apply(&at_zero(0, &[deleted(6, "gone"), late, deleted(7, "gone")]));
    bench.applier.prune_all(1_500, 1).unwrap();
    assert_eq!(history(&bench.reader(), "gone"), "");
    assert_eq!(bench.store.versions.iter().count(), 0);
    assert_eq!(bench.applier.restatements(1_000).unwrap().0.len(), 0);
}

#[test]
fn what_is_said_again_behind_where_pruning_was_leaves_nothing_too_old() {
    let mut written = Written::default();
    let (_directory, mut bench) = Bench::fresh();
    for one in [said(5, "a", "320600"), Said { source: ARCHIVE, version: 1, ..said(1, "a", "320601") }] {
        written.push(one.entry(0));
    }
    bench.apply(&written.0);
    assert_eq!(restate(&bench, &mut written), 1);
    // A view that begins after compaction took the first entry, and prunes before it has read on.
    let (_other, mut anew) = Bench::fresh();
    anew.apply(&written.0[1..2]);
    anew.applier.prune_all(1_500, 1).unwrap();
    assert_eq!(names(anew.reader().records(None)), ["a@1"]);
    anew.apply(&written.0[2..]);
    assert_eq!(
        (names(anew.reader().records(None)), history(&anew.reader(), "a")),
        (vec!["a@5".into()], "(1) 5".into())
    );
    anew.applier.prune_all(1_500, 1).unwrap();
    assert_eq!(history(&anew.reader(), "a"), "5");
    assert_eq!(anew.store.versions.iter().count(), 1);
}

#[test]
fn deletions_that_must_stay_keep_nothing_else_from_going() {
    const KEPT: usize = 7;
    let (_directory, mut bench) = Bench::fresh();
    let keys: Vec<_> = (0..KEPT).map(|number| format!("gone{number}")).collect();
    let mut all: Vec<_> = (1..).zip(&keys).map(|(sequence, key)| deleted(sequence, key)).collect();
    all.extend([said(20, "a", "320600"), said(21, "a", "320601")]);
    for (sequence, key) in (1..).zip(&keys) {
        all.push(Said { source: ARCHIVE, version: 0, time_ms: 2_000, ..said(sequence, key, "320601") });
    }
    bench.apply(&at_zero(0, &all));
    bench.apply(&[said(1, "b", "320600").at(1, 0), said(2, "b", "320601").at(1, 1)]);
    // Each step looks at two rows, of which none may go at first.
    let mut steps = 0;
    while bench.applier.prune(1_500, 2).unwrap() {
        steps += 1;
        assert!(steps <= KEPT + 3, "it comes to an end");
    }
    assert!(steps >= KEPT / 2, "{steps}: no step looks at all of them");
    assert_eq!((history(&bench.reader(), "a"), history(&bench.reader(), "b")), ("21".into(), "2".into()));
    bench.applier.prune_all(1_500, 2).unwrap();
    let (entries, _) = bench.applier.restatements(1_000).unwrap();
    assert_eq!(entries.len(), KEPT, "they are remembered still");
}

#[test]
fn a_view_of_a_compacted_log_shows_what_the_live_ones_show() {
    let mut said_again = 0;
    for seed in 0..60 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut written = Written::default();
        let (_one, mut prompt) = Bench::fresh();
        let (_two, mut slow) = Bench::fresh();
        let keys: Vec<_> = (0..6).map(|number| format!("k{number}")).collect();
        let mut before: HashMap<(&str, u32), Vec<Said<'_>>> = HashMap::new();
        for _ in 0..random.random_range(20..120) {
            let number = random.random_range(0..keys.len());
            let partition = u32::try_from(number).unwrap() % PARTITIONS;
            let source = *[REGISTRY, ARCHIVE].choose(&mut random).unwrap();
            let before = before.entry((source, partition)).or_default();
            // One in five is stored once more, as another node might.
            let one = match before.choose(&mut random).filter(|_| random.random_ratio(1, 5)) {
                Some(copy) => *copy,
                None => {
                    let region = if random.random_ratio(1, 5) { None } else { REGIONS.choose(&mut random).copied() };
                    let (sequence, version) = (before.len() as u64 + 1, random.random_range(1..8));
                    let new = Said { source, sequence, version, key: &keys[number], region, time_ms: 1_000 };
                    before.push(new);
                    new
                }
            };
            written.push(one.entry(partition));
            if random.random_ratio(1, 6) {
                prompt.apply(&written.0);
                said_again += restate(&prompt, &mut written);
            }
            // Another node says again what it knew a while ago.
            if random.random_ratio(1, 8) {
                let reached = random.random_range(0..=written.0.len());
                slow.apply(&written.0[..reached]);
                said_again += restate(&slow, &mut written);
            }
        }
        for round in 0.. {
            prompt.apply(&written.0);
            slow.apply(&written.0);
            if restate(&prompt, &mut written) + restate(&slow, &mut written) == 0 {
                break;
            }
            assert!(round < 3, "it comes to an end, seed {seed}");
        }
        let expected = shown(&prompt);
        assert_eq!(shown(&slow), expected, "seed {seed}");
        assert_eq!(slow.digest(), prompt.digest(), "seed {seed}");
        prompt.applier.prune_all(i64::MAX, 5).unwrap();
        assert_eq!(prompt.store.versions.iter().count(), expected[0].len(), "only live records are left, seed {seed}");
        for horizon in [0, random.random_range(0..=written.0.len()), written.0.len()] {
            let (_three, mut anew) = Bench::fresh();
            anew.applier = Applier::load(&anew.store, &anew.target.id, anew.space, prompt.applier.seen()).unwrap();
            let compacted = written.compacted(horizon);
            for entries in compacted.chunks(random.random_range(1..=compacted.len())) {
                anew.apply(entries);
            }
            assert_eq!(shown(&anew), expected, "seed {seed}, horizon {horizon}");
            assert_eq!(restate(&anew, &mut Written::default()), 0, "seed {seed}, horizon {horizon}");
            // What is old enough may have gone at any time.
            anew.applier.prune_all(i64::MAX, 5).unwrap();
            assert_eq!(anew.digest(), prompt.digest(), "seed {seed}, horizon {horizon}");
        }
    }
    assert!(said_again > 100, "there was something to say again");
}
