//! Random sequences of what sources say, in random batches with reopening at random points, against a model that is a few lines of maps.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use shuqiao_proto::digest::RecordsDigest;

use super::*;

const REGIONS: [&str; 3] = ["320600", "320601", "3206"];
const SOURCES: [&str; 2] = [REGISTRY, ARCHIVE];

/// One change as the model remembers it.
struct Change {
    said: (u64, u64, Bytes),
    region: Option<&'static str>,
    applied: bool,
}

#[derive(Default)]
struct Model {
    keys: BTreeMap<String, Vec<Change>>,
    high_water: BTreeMap<(&'static str, u32), u64>,
}

impl Model {
    fn take(&mut self, partition: u32, source: &'static str, said: &Said<'_>, region: Option<&'static str>) {
        let held = self.high_water.entry((source, partition)).or_default();
        if said.sequence <= *held {
            return;
        }
        *held = said.sequence;
        let changes = self.keys.entry(said.key.to_owned()).or_default();
        let newest = changes.iter().filter(|one| one.applied).map(|one| one.said.1).next_back();
        let applied = newest.is_none_or(|newest| said.version >= newest);
        changes.push(Change { said: (said.sequence, said.version, said.payload()), region, applied });
    }

    fn live(&self) -> impl Iterator<Item = (&str, &Change)> {
        self.keys.iter().filter_map(|(key, changes)| {
            let state = changes.iter().rfind(|one| one.applied)?;
            state.region.map(|_| (key.as_str(), state))
        })
    }

    /// Everything that the reader says is what the model says.
    fn check(&self, reader: &Reader, seed: u64) {
        let mut digest = RecordsDigest::default();
        self.live().for_each(|(key, state)| digest.add(key, state.said.1, &state.said.2));
        assert_eq!(reader.records_digest().unwrap(), digest.finish(), "records, seed {seed}");
        for region in REGIONS {
            let of = |(key, state): (&str, &Change)| format!("{key}@{}", state.said.0);
            let expected: Vec<_> = self.live().filter(|(_, state)| state.region == Some(region)).map(of).collect();
            assert_eq!(names(reader.by_index(0, region, None)), expected, "index, seed {seed}");
        }
        for (key, changes) in &self.keys {
            let name = |one: &Change| if one.applied { one.said.0.to_string() } else { format!("({})", one.said.0) };
            let expected: Vec<_> = changes.iter().rev().map(name).collect();
            assert_eq!(history(reader, key), expected.join(" "), "history of {key}, seed {seed}");
        }
        for source in SOURCES {
            let held = self.high_water.iter().filter(|((name, _), _)| *name == source);
            let expected: Vec<_> = held.map(|((_, partition), sequence)| (*partition, *sequence)).collect();
            assert_eq!(reader.high_water(source).unwrap(), expected, "high water, seed {seed}");
        }
    }
}

/// A log: what two sources said, repeats and late versions among it, interleaved over the partitions.
fn random_log(random: &mut ChaCha8Rng, model: &mut Model) -> Vec<StoredEntry> {
    let mut entries = Vec::new();
    let mut offsets = [0_u64; PARTITIONS as usize];
    let mut sequences: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    let keys: Vec<_> = (0..6).map(|number| format!("k{number}")).collect();
    for _ in 0..random.random_range(20..150) {
        let number = random.random_range(0..keys.len());
        let partition = u32::try_from(number).unwrap() % PARTITIONS;
        let source = *SOURCES.choose(random).unwrap();
        let last = sequences.entry((source, partition)).or_default();
        // One in six is sent again, however old.
        let sequence = if random.random_ratio(1, 6) { random.random_range(1..=(*last).max(1)) } else { *last + 1 };
        *last = sequence.max(*last);
        let region = if random.random_ratio(1, 5) { None } else { Some(*REGIONS.choose(random).unwrap()) };
        let version = random.random_range(1..30);
        let said = Said { source, sequence, version, key: &keys[number], region, time_ms: 1_000 };
        let offset = &mut offsets[partition as usize];
        entries.push(said.at(partition, *offset));
        // Offsets may have gaps.
        *offset += random.random_range(1..=2);
        model.take(partition, source, &said, region);
    }
    entries
}

#[test]
fn whatever_the_batches_and_wherever_it_was_killed_the_rows_are_the_same() {
    for seed in 0..40 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut model = Model::default();
        let entries = random_log(&mut random, &mut model);

        let (_one, mut whole) = Bench::fresh();
        whole.apply(&entries);
        model.check(&whole.reader(), seed);

        let (directory, mut bench) = Bench::fresh();
        let mut at = 0;
        let mut digests = BTreeSet::new();
        while at < entries.len() {
            let end = (at + random.random_range(1..=20)).min(entries.len());
            bench.apply(&entries[at..end]);
            digests.insert(bench.digest().rows_digest);
            at = end;
            if random.random_ratio(1, 4) {
                drop(bench);
                bench = Bench::open(directory.path());
                // The log's reader begins at the position; here it begins even earlier.
                at -= random.random_range(0..=at.min(10));
            }
        }
        assert_eq!(bench.digest(), whole.digest(), "seed {seed}");
        assert!(digests.len() > 1, "the digest tells states apart");
    }
}
