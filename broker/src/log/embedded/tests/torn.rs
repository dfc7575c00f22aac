//! A journal that ends in the middle of something: what a power cut leaves, made by hand at many places, because a kill may never hit the bad one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;

/// What the library gives a fresh journal: it is written over zeros, so that is what lies behind a torn end.
const JOURNAL_BYTES: u64 = 64 << 20;

/// A log of several groups, and how far its journal reached after each.
struct Written {
    _directory: tempfile::TempDir,
    /// A copy without the journal's bytes.
    whole: PathBuf,
    journal: PathBuf,
    bytes: Vec<u8>,
    /// After each group: the journal's length, and how many entries were acknowledged.
    after: Vec<(usize, u64)>,
}

/// Sizes from a few bytes to several pages.
fn sized(number: u64) -> Entry {
    numbered(number, usize::try_from(number * 397 % 9_000).expect("small"))
}

async fn written() -> Written {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    let log = open(Options::at(&path));
    let topic = made(&log).await;
    let journal = journal(&path);
    let mut after = vec![(used(&fs::read(&journal).expect("the journal")), 0)];
    for group in 1..=12 {
        let first = after.last().expect("some").1;
        let entries = (first..first + group).map(sized).collect();
        assert!(log.submit(&topic, entries).await.expect("submitted").await.iter().all(Result::is_ok));
        after.push((used(&fs::read(&journal).expect("the journal")), first + group));
    }
    assert!(after.is_sorted_by(|one, next| one.0 < next.0), "each group has made the journal longer: {after:?}");
    // As it lies there while the process lives: nothing was closed in order.
    let mut bytes = fs::read(&journal).expect("the journal");
    bytes.truncate(used(&bytes));
    let whole = directory.path().join("whole");
    copy(&path, &whole);
    let journal = journal.strip_prefix(&path).expect("inside").to_owned();
    log.close().await;
    Written { _directory: directory, whole, journal, bytes, after }
}

/// The newest journal of a log.
fn journal(directory: &Path) -> PathBuf {
    let names = fs::read_dir(directory).expect("the log").map(|entry| entry.expect("an entry").path());
    let journals = names.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    journals.max_by_key(|path| path.file_stem()?.to_str()?.parse::<u64>().ok()).expect("a journal")
}

fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Everything but journals, which are large.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("readable") {
        let (from, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("an entry");
        if from.is_dir() {
            copy(&from, &to);
        } else if from.extension().is_none_or(|extension| extension != "jnl") {
            fs::copy(from, to).expect("copied");
        }
    }
}

impl Written {
    /// A log with this in its journal, and zeros behind it where the file is as long as it was.
    fn with(&self, bytes: &[u8], behind: bool) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        copy(&self.whole, directory.path());
        let path = directory.path().join(&self.journal);
        fs::write(&path, bytes).expect("written");
        if behind {
            fs::File::options().write(true).open(&path).and_then(|file| file.set_len(JOURNAL_BYTES)).expect("longer");
        }
        directory
    }

    /// Opens it, and reads all that it holds: the first so many entries, with every byte. Then appends one, and looks whether it is there when it is opened anew.
    async fn goes_on(path: &Path) -> Result<u64, Error> {
        // A reader that waits for what will never come is a failure, too.
        tokio::time::timeout(PATIENCE, Self::goes_on_in_time(path)).await.expect("it can be read to its end")
    }

    async fn goes_on_in_time(path: &Path) -> Result<u64, Error> {
        let options = || Options { free_bytes_min: 0, ..Options::at(path) };
        let log = Embedded::open(options(), Clock::system(), Metrics::default())?;
        let topic = made(&log).await;
        let count = Self::prefix(&log, &topic).await?;
        let appended = log.submit(&topic, vec![sized(count)]).await?.await;
        assert_eq!(appended.into_iter().collect::<Result<Vec<_>, _>>()?, [count]);
        log.close().await;
        drop(log);
        let log = open(options());
        assert_eq!(Self::prefix(&log, &topic).await?, count + 1);
        log.close().await;
        Ok(count)
    }

    async fn prefix(log: &Embedded, topic: &Topic) -> Result<u64, Error> {
        let bounds = log.bounds(topic).await?[0];
        assert_eq!(bounds.first, 0);
        let mut reader = log.read(topic, &[(0, 0)]).await?;
        let mut next = 0;
        while next < bounds.next {
            for entry in reader.next(10_000, 8 << 20).await? {
                assert_eq!((entry.offset, entry.value), (next, sized(next).value), "not what was appended there");
                next += 1;
            }
        }
        Ok(next)
    }

    /// How many entries were acknowledged before the journal was so long.
    fn acknowledged(&self, length: usize) -> u64 {
        self.after.iter().rev().find(|(after, _)| *after <= length).map_or(0, |(_, count)| *count)
    }
}

/// Goal: whatever of the last write reached the disk, a log holds all that was acknowledged before it, nothing that was not appended, and takes more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_was_cut_anywhere_holds_all_groups_before_the_cut_and_takes_more() {
    let written = written().await;
    let ends = written.after.iter().flat_map(|(end, _)| [end - 1, *end, end + 1]);
    let between = (written.after[0].0..written.bytes.len()).step_by(written.bytes.len() / 37);
    let mut reached = std::collections::BTreeSet::new();
    for (index, cut) in ends.chain(between).filter(|cut| *cut <= written.bytes.len()).enumerate() {
        let torn = written.with(&written.bytes[..cut], index % 2 == 0);
        let held = Written::goes_on(torn.path()).await.unwrap_or_else(|error| panic!("cut at {cut}: {error:?}"));
        assert_eq!(held, written.acknowledged(cut), "cut at {cut} of {}", written.bytes.len());
        reached.insert(held);
    }
    assert_eq!(reached.len(), written.after.len(), "cuts fell into every group: {reached:?}");
}

/// Goal: what the last write left half on the disk is either passed over or refused by name, and is never taken for entries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_last_group_with_bytes_that_are_not_its_own_is_passed_over_or_refused_and_never_read() {
    let written = written().await;
    let (begin, before) = written.after[written.after.len() - 2];
    let all = written.after.last().expect("some").1;
    let mut tally = [0; 2];
    for (index, at) in (begin..written.bytes.len()).step_by((written.bytes.len() - begin) / 97).enumerate() {
        let mut bytes = written.bytes.clone();
        match index % 3 {
            0 => bytes[at] ^= 0x01,
            1 => bytes[at] ^= 0xff,
            // A page that never reached the disk, before others that did.
            _ => bytes[at..].iter_mut().take(4 << 10).for_each(|byte| *byte = 0),
        }
        let torn = written.with(&bytes, true);
        match Written::goes_on(torn.path()).await {
            Ok(held) => {
                assert!((before..=all).contains(&held), "{held} held, {before} acknowledged before it, at {at}");
                tally[0] += 1;
            }
            Err(Error::Corrupt(_)) => {
                // Refused, nothing is thrown away: the journal is as it was, with all that was acknowledged.
                let left = fs::read(torn.path().join(&written.journal)).expect("the journal");
                assert!(left.starts_with(&bytes), "a log that is refused was changed at {at}");
                tally[1] += 1;
            }
            Err(error) => panic!("at {at}: {error:?}"),
        }
    }
    println!("passed over {}, refused {}", tally[0], tally[1]);
    assert!(tally.iter().all(|count| *count > 0), "{tally:?}");
}
