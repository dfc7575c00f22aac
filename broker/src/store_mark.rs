//! What the embedded stores, of log and view, keep beside fjall's files, and what is looked at before fjall sees them.
//!
//! fjall takes what is missing for what never was: where the file `version` is not there it begins a store, without its own list of keyspaces it removes
//! the directories of all, and for a keyspace without a directory it makes an empty one. Whoever opens it then finds a store that is whole and lacks
//! something. So a file beside says which directories there must be; and of a log, where each partition ended when it was last closed, since a journal that is
//! cut short looks like one in whose last write a process died.
//!
//! It shows what went missing: files lost, cut short, or left out of a copy. It shows nothing against whoever may write here, and may write this file, too.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

/// The name of the file.
pub(crate) const MARK: &str = "mark.json";

/// fjall's names.
const VERSION: &str = "version";
const KEYSPACES: &str = "keyspaces";
const CURRENT: &str = "current";
/// The keyspace in which fjall lists the others.
const LIST: &str = "0";

/// What a store must hold, at least.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The directories of its keyspaces, once all were made.
    pub(crate) keyspaces: Vec<String>,
    /// Of a log: the next offset of each partition of each topic when it was last closed. It never falls, so this holds for as long as the store does.
    #[serde(default)]
    pub(crate) ends: BTreeMap<String, Vec<u64>>,
}

/// What a store lacks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    /// A file, named within the store.
    #[error("its file {0} is missing")]
    Missing(String),
    /// The mark itself.
    #[error("its file {MARK} cannot be read")]
    Mark(#[source] serde_json::Error),
    /// The end of a log.
    #[error(
        "partition {partition} of {topic} ends at offset {now}, and when the log was last closed it ended at {then}{more}"
    )]
    Short {
        /// The first topic that is short.
        topic: String,
        /// Its partition.
        partition: usize,
        /// Next offset now.
        now: u64,
        /// Next offset then.
        then: u64,
        /// How many others there are, in words; empty for none.
        more: String,
    },
}

/// Whether a store that meets this while it reads its own files is damaged, and not the disk or the rights.
pub(crate) fn is_damage(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        // A file that is not there, or ends before it should (an empty one is read from a place before its beginning: "invalid argument").
        Kind::NotFound | Kind::UnexpectedEof | Kind::InvalidInput | Kind::InvalidData
        // What a store that is begun in the remains of another one finds in its way.
        | Kind::AlreadyExists | Kind::NotADirectory | Kind::IsADirectory
    )
}

/// Whether an error of the store says that its files are damaged. What the system says of a file is judged by [`is_damage`].
pub(crate) fn is_stores_damage(error: &fjall::Error) -> bool {
    use fjall::Error as Fjall;
    matches!(
        error,
        Fjall::Storage(_)
            | Fjall::JournalRecovery(_)
            | Fjall::InvalidVersion(_)
            | Fjall::Decompress(_)
            | Fjall::InvalidTrailer
            | Fjall::InvalidTag(_)
            | Fjall::Unrecoverable
    )
}

/// Looks at a store's directory, before the store is opened. `None`: no mark, since nothing is there yet or former software has made it.
///
/// # Errors
/// What the system says; [`io::ErrorKind::InvalidData`] with a [`Damage`].
pub(crate) fn look(path: &Path) -> io::Result<Option<Mark>> {
    let mark = match fs::read(path.join(MARK)) {
        Ok(bytes) => Some(serde_json::from_slice::<Mark>(&bytes).map_err(|cause| damaged(Damage::Mark(cause)))?),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
        Err(error) => return Err(error),
    };
    let keyspace = |name: &str| format!("{KEYSPACES}/{name}/{CURRENT}");
    let mut needed = Vec::new();
    if mark.is_some() || has_keyspaces(path)? {
        needed.extend([VERSION.to_owned(), keyspace(LIST)]);
    }
    needed.extend(mark.iter().flat_map(|mark| &mark.keyspaces).map(|name| keyspace(name)));
    for name in needed {
        if !path.join(&name).try_exists()? {
            return Err(damaged(Damage::Missing(name)));
        }
    }
    Ok(mark)
}

/// Whether there are keyspaces beside fjall's own list: it makes those when it has made everything else.
fn has_keyspaces(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path.join(KEYSPACES)) {
        Ok(entries) => {
            for entry in entries {
                if entry?.file_name() != LIST {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What to note of a store that is open: its keyspaces, named by their directories.
pub(crate) fn names<'a>(directories: impl IntoIterator<Item = &'a Path>) -> Vec<String> {
    let names = directories.into_iter().filter_map(Path::file_name);
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

impl Mark {
    /// Writes it, whole or not at all, and waits until it survives a power cut.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        // One process has the store open, so nobody else writes beside.
        let (to, beside) = (path.join(MARK), path.join(format!("{MARK}.new")));
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            fs::rename(&beside, &to)
        };
        write().inspect_err(|_| drop(fs::remove_file(&beside)))?;
        File::open(path)?.sync_all()
    }

    /// Compares where each partition of the open log ends with where it ended when it was closed.
    ///
    /// # Errors
    /// [`Damage::Short`].
    pub(crate) fn compare(&self, ends: &BTreeMap<String, Vec<u64>>) -> Result<(), Damage> {
        let now = |topic: &str, partition: usize| {
            ends.get(topic).and_then(|ends| ends.get(partition)).copied().unwrap_or_default()
        };
        let partitions = self.ends.iter().flat_map(|(topic, ends)| {
            ends.iter().enumerate().map(move |(partition, then)| (topic, partition, *then, now(topic, partition)))
        });
        let mut short = partitions.filter(|(.., then, now)| now < then);
        let Some((topic, partition, then, now)) = short.next() else { return Ok(()) };
        let more = match short.count() {
            0 => String::new(),
            1 => "; and 1 more partition".to_owned(),
            others => format!("; and {others} more partitions"),
        };
        Err(Damage::Short { topic: topic.clone(), partition, now, then, more })
    }
}

fn damaged(damage: Damage) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, damage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_log_that_ends_before_where_it_was_closed_is_short() {
        let ends =
            |all: &[(&str, &[u64])]| all.iter().map(|(topic, ends)| ((*topic).to_owned(), ends.to_vec())).collect();
        let mark = Mark { keyspaces: Vec::new(), ends: ends(&[("a", &[3, 5]), ("b", &[0])]) };
        let told = |now: &[(&str, &[u64])]| mark.compare(&ends(now)).map_err(|damage| damage.to_string());
        assert_eq!(told(&[("a", &[3, 5]), ("b", &[0])]), Ok(()));
        assert_eq!(
            told(&[("a", &[4, 5]), ("c", &[1])]),
            Ok(()),
            "a killed process has written on; an empty topic never was"
        );
        let told = |now| told(now).expect_err("short");
        assert!(told(&[("a", &[3, 4])]).starts_with("partition 1 of a ends at offset 4, "));
        assert!(told(&[]).ends_with("it ended at 3; and 1 more partition"));
    }

    #[test]
    fn a_mark_that_is_damaged_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(look(directory.path()).expect("nothing there"), None);
        fs::write(directory.path().join(MARK), "{").expect("written");
        let error = look(directory.path()).expect_err("half of it");
        assert!(error.kind() == io::ErrorKind::InvalidData && error.to_string().contains(MARK), "{error}");
    }
}
