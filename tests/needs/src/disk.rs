//! A small disk that can be filled.

use std::{
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Need, cannot_run};

/// A file system of its own in memory; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    directory: tempfile::TempDir,
    /// What `mount` and `umount` stand behind: nothing, or sudo.
    before: &'static [&'static str],
}

impl SmallDisk {
    /// Mounts one of so many MiB, as root or with sudo where it asks for no password; or the test is left out.
    ///
    /// # Panics
    /// If there is no temporary directory.
    pub fn mount(mebibytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let owner = directory.path().metadata().expect("the directory's owner");
        let options = format!("size={mebibytes}m,mode=755,uid={},gid={}", owner.uid(), owner.gid());
        for before in [[].as_slice(), &["sudo", "-n"]] {
            if run(before, &["mount", "-t", "tmpfs", "-o", &options, "tmpfs"], directory.path()) {
                return Some(Self { directory, before });
            }
        }
        cannot_run(Need::Mount);
        None
    }

    /// Gives it so many MiB, with everything that lies on it.
    ///
    /// # Panics
    /// If it cannot.
    pub fn grow(&self, mebibytes: u32) {
        let options = format!("remount,size={mebibytes}m");
        assert!(run(self.before, &["mount", "-o", &options], self.path()), "it does not grow");
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Bytes that are free.
    ///
    /// # Panics
    /// If nobody can say.
    pub fn free_bytes(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.path()).expect("statvfs");
        disk.f_bavail * disk.f_frsize
    }

    /// Takes every byte that is free. Answers with the file that has them.
    pub fn fill(&self) -> PathBuf {
        self.fill_but(0)
    }

    /// Writes a file that leaves so many bytes free, and answers it.
    ///
    /// # Panics
    /// If there is no room for an empty file.
    pub fn fill_but(&self, leave_bytes: u64) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = std::fs::File::create(&path).expect("the filler");
        let block = vec![0xa5_u8; 64 << 10];
        loop {
            let free = self.free_bytes();
            if free <= leave_bytes {
                return path;
            }
            let bytes = usize::try_from((free - leave_bytes).min(block.len() as u64)).unwrap_or(block.len());
            // The last block may not fit: somebody else writes, too.
            if file.write_all(&block[..bytes]).is_err() {
                return path;
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if !run(self.before, &["umount", "--lazy"], self.path()) {
            eprintln!("{} stays mounted", self.path().display());
        }
    }
}

/// Whether the command ends well.
fn run(before: &[&str], command: &[&str], place: &Path) -> bool {
    let words = [before, command].concat();
    Command::new(words[0]).args(&words[1..]).arg(place).output().is_ok_and(|output| output.status.success())
}
