//! The data directory: what lies where, and what is remembered from one start to the next.
//!
//! Promises: one sandbox at a time; a file appears whole or not at all; nothing is removed from a directory that is not a city's.

use std::{
    fs::{self, File, TryLockError},
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Error, Options};

const MARK: &str = "city.toml";
const LOCK: &str = "sandbox.lock";
const SEED: u64 = 7;
const ROWS: u32 = 3_000;

/// What the enterprises of a city are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct City {
    pub(crate) seed: u64,
    pub(crate) rows: u32,
}

impl City {
    /// A city's registry grows, and never becomes another: what is published stays published.
    fn choose(remembered: Option<Self>, seed: Option<u64>, rows: Option<u32>) -> Result<Self, Error> {
        let Some(Self { seed: old_seed, rows: old_rows }) = remembered else {
            return Ok(Self { seed: seed.unwrap_or(SEED), rows: rows.unwrap_or(ROWS) });
        };
        if seed.is_some_and(|seed| seed != old_seed) || rows.is_some_and(|rows| rows < old_rows) {
            return Err(Error::OtherCity { remembered: old_seed, rows: old_rows });
        }
        Ok(Self { seed: old_seed, rows: rows.unwrap_or(old_rows) })
    }
}

/// The directory of one city, held for as long as the sandbox runs.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
    /// As the newcomer wrote it: for commands to copy.
    shown: PathBuf,
    pub(crate) city: City,
    /// Whether there was a city before.
    pub(crate) is_new: bool,
    _lock: File,
}

impl Directory {
    pub(crate) fn open(options: &Options) -> Result<Self, Error> {
        let shown = options.data_dir.clone();
        fs::create_dir_all(&shown).map_err(Error::io("make", &shown))?;
        let root = shown.canonicalize().map_err(Error::io("find", &shown))?;
        if root.to_str().is_none() {
            return Err(Error::NotUtf8(root));
        }
        let entries = entries(&root)?;
        let ours = |path: &Path| [MARK, LOCK].iter().any(|name| path.ends_with(name));
        if !entries.is_empty() && !entries.iter().any(|path| ours(path)) {
            return Err(Error::Foreign(root));
        }
        let lock_path = root.join(LOCK);
        let lock = File::create(&lock_path).map_err(Error::io("make", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Running(root)),
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", lock_path)(source)),
        }
        if options.fresh {
            clear(&root)?;
        }
        let mark = root.join(MARK);
        let remembered = match fs::read_to_string(&mark) {
            Ok(text) => Some(toml::from_str(&text).map_err(|_| Error::Damaged(mark.clone()))?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("read", mark)(error)),
        };
        let city = City::choose(remembered, options.seed, options.rows)?;
        let directory = Self { root, shown, city, is_new: remembered.is_none(), _lock: lock };
        let text = format!(
            "# What the enterprises are made from: see `cargo run -- --help`.\nseed = {}\nrows = {}\n",
            city.seed, city.rows
        );
        directory.write(MARK, &text)?;
        Ok(directory)
    }

    /// Where something lies.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// The same, as a newcomer may type it.
    pub(crate) fn shown(&self, name: impl AsRef<Path>) -> String {
        self.shown.join(name).display().to_string()
    }

    /// A path as a TOML string.
    pub(crate) fn quoted(&self, name: impl AsRef<Path>) -> String {
        quoted(&self.path(name))
    }

    /// Writes a file of the city beside its place and renames it.
    pub(crate) fn write(&self, name: impl AsRef<Path>, text: &str) -> Result<PathBuf, Error> {
        let path = self.path(name);
        let failed = |source| Error::Io { action: "write", path: path.clone(), source };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let partial = path.with_extension("partial");
        let mut file = File::create(&partial).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&partial, &path).map_err(failed)?;
        Ok(path)
    }
}

/// A path as a TOML string. The root is UTF-8, and so is every name below it.
pub(crate) fn quoted(path: &Path) -> String {
    toml::Value::from(path.display().to_string()).to_string()
}

fn entries(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = || Error::io("read", root);
    let entries = fs::read_dir(root).map_err(failed())?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed())).collect()
}

/// Removes everything but the lock that we hold; the mark last, so that what a crash leaves is still a city's.
fn clear(root: &Path) -> Result<(), Error> {
    let mut entries = entries(root)?;
    entries.retain(|path| !path.ends_with(LOCK));
    entries.sort_by_key(|path| path.ends_with(MARK));
    for path in entries {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(Error::io("remove", path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn open(directory: &Path, more: &[&str]) -> Result<Directory, Error> {
        let base = ["shuqiao-sandbox", "--data-dir", directory.to_str().expect("UTF-8")];
        Directory::open(&Options::parse_from(base.iter().chain(more)))
    }

    #[test]
    fn a_directory_of_somebody_else_is_left_alone() {
        let directory = tempfile::tempdir().expect("directory");
        let letter = directory.path().join("letter.txt");
        fs::write(&letter, "dear").expect("write");
        assert!(matches!(open(directory.path(), &["--fresh"]), Err(Error::Foreign(_))));
        assert_eq!(entries(directory.path()).expect("entries"), [letter]);
    }

    #[test]
    fn a_city_grows_and_never_becomes_another() {
        let directory = tempfile::tempdir().expect("directory");
        let at = |more: &[&str]| open(directory.path(), more).map(|directory| (directory.city, directory.is_new));
        assert_eq!(at(&["--rows", "10"]).expect("opens"), (City { seed: SEED, rows: 10 }, true));
        assert_eq!(at(&[]).expect("opens"), (City { seed: SEED, rows: 10 }, false));
        assert_eq!(at(&["--rows", "12", "--seed", "7"]).expect("grows"), (City { seed: SEED, rows: 12 }, false));
        assert!(matches!(at(&["--rows", "11"]), Err(Error::OtherCity { rows: 12, .. })));
        assert!(matches!(at(&["--seed", "8"]), Err(Error::OtherCity { remembered: SEED, .. })));
        assert_eq!(at(&["--fresh", "--seed", "8"]).expect("begins"), (City { seed: 8, rows: ROWS }, true));
    }

    #[test]
    fn two_sandboxes_do_not_share_a_directory() {
        let directory = tempfile::tempdir().expect("directory");
        let first = open(directory.path(), &[]).expect("opens");
        assert!(matches!(open(directory.path(), &["--fresh"]), Err(Error::Running(_))));
        drop(first);
        assert!(open(directory.path(), &[]).is_ok());
    }
}
