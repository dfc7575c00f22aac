//! Files that appear whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::Error;

/// Readable by everybody: certificates, revocation lists.
pub(super) const PUBLIC: u32 = 0o644;
/// Readable by the owner only: private keys.
pub(super) const PRIVATE: u32 = 0o600;

/// An error about one file.
pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io { action, path, source }
}

/// Reads a text file.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(io("read", path))
}

/// Replaces `path`: readers see the old content or the new one.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let beside = write_beside(path, content, mode)?;
    fs::rename(&beside, path).map_err(io("write", path))?;
    sync_directory(path)
}

/// Makes `path` unless it exists. Answers whether it was made.
pub(super) fn create(path: &Path, content: &[u8], mode: u32) -> Result<bool, Error> {
    let beside = write_beside(path, content, mode)?;
    // A link, unlike a rename, fails where the name is taken: of two processes that start at once one wins and both read its key.
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside).map_err(io("write", &beside))?;
    match linked {
        Ok(()) => sync_directory(path).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(io("write", path)(error)),
    }
}

/// Takes the directory's lock until the file is dropped: two commands at once do not lose each other's entry.
pub(super) fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(PRIVATE)
        .open(&path)
        .map_err(io("lock", &path))?;
    file.lock().map_err(io("lock", &path))?;
    Ok(file)
}

fn write_beside(path: &Path, content: &[u8], mode: u32) -> Result<PathBuf, Error> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", uuid::Uuid::new_v4().simple()));
    let beside = path.with_file_name(name);
    let write = || {
        // The mode is set when the file is made: there is no moment in which others could open a key.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(content)?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(beside),
        Err(error) => {
            // Half a file that nobody would look at again, and one more with each start that a full disk refuses. Where it cannot go either, it is empty.
            drop(fs::remove_file(&beside));
            Err(io("write", path)(error))
        }
    }
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|file| file.sync_all()).map_err(io("write", directory))
}
