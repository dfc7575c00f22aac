//! What to do about a node that does not start.

use std::{borrow::Cow, fmt::Display, io, path::Path};

use super::Error;
use crate::{
    chain::io_kind,
    exchange, log, pki,
    store_mark::{Damage, MARK},
    telemetry, view,
};

const NOTHING_LOST: &str = "mend the cause and start again: what was accepted is in the log";

impl Error {
    /// What to do about it.
    pub fn next_step(&self) -> Cow<'static, str> {
        match self {
            Self::NoDataset(_) => "check the name with `shuqiao list datasets`".into(),
            Self::Listen { source, .. } | Self::Telemetry(telemetry::Error::Listen { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                "take a port from 1024 on, in [node], or give the service the right to a lower one".into()
            }
            Self::Listen { .. } | Self::Telemetry(telemetry::Error::Listen { .. }) => {
                "stop what listens there, or change the address in [node]".into()
            }
            Self::DataDirectory { path, source } => on_disk(path, source).unwrap_or(NOTHING_LOST.into()),
            Self::Key(pki::Error::Io { path, source, .. }) => on_disk(path, source).unwrap_or(NOTHING_LOST.into()),
            Self::Key(pki::Error::Malformed { path, .. }) => format!(
                "restore {} from the backup (deploy/README.md, Backup tells what hangs on it); a node makes a new one only where there is none",
                path.display()
            )
            .into(),
            Self::OpenLog { path, source: log::Error::InUse }
            | Self::OpenView { path, source: view::Error::InUse } => format!(
                "another node, or a command of one (`shuqiao view rebuild`), works in {}: stop it first, or give this node directories of its own (node.data_dir)",
                path.display()
            )
            .into(),
            Self::OpenLog { path, source: log::Error::Corrupt(cause) } => restore(path, &**cause).into(),
            Self::OpenLog { path, source } => on_disk(path, source).unwrap_or(NOTHING_LOST.into()),
            Self::OpenView { path, source: view::Error::Disk(cause) } => {
                on_disk(path, &**cause).unwrap_or(NOTHING_LOST.into())
            }
            Self::OpenView { path, .. } => build_anew(path.display()).into(),
            Self::View(error) if error.is_damage() => build_anew("the view's directory").into(),
            Self::Catalogue(exchange::Error::DataLoss(_)) | Self::Cursors(exchange::Error::DataLoss(_)) => {
                "restore the log from its backup (deploy/README.md, Backup): it holds entries that cannot be read".into()
            }
            Self::Catalogue(exchange::Error::DiskFull(_))
            | Self::Cursors(exchange::Error::DiskFull(_))
            | Self::Log(log::Error::DiskFull(_)) => {
                "make room on the log's disk (it keeps log.embedded.free_bytes_min free) and start again: what was accepted is there".into()
            }
            Self::Log(log::Error::BelowFloor { .. })
            | Self::Catalogue(exchange::Error::LogBelowFloor(_))
            | Self::Cursors(exchange::Error::LogBelowFloor(_))
            | Self::View(view::Error::Log(log::Error::BelowFloor { .. })) => {
                "mend the topic with Kafka's own tools (kafka-configs, kafka-reassign-partitions), or lower the floor in [log.kafka], and start again: what was accepted is in the log".into()
            }
            Self::Tls(_) => "look with `shuqiao config check`; `shuqiao pki issue server HOST` makes the files".into(),
            _ => NOTHING_LOST.into(),
        }
    }
}

/// A view has nothing that the log has not, unless the log has lost something: so it is moved, not removed.
fn build_anew(what: impl Display) -> String {
    format!(
        "move {what} away and start again: the view is built anew from the log. Keep what was moved until `shuqiao status` says ready"
    )
}

/// Nothing mends a log that lacks something, but a copy of it.
fn restore(path: &Path, cause: &(dyn std::error::Error + 'static)) -> String {
    let log = path.display();
    let next = format!(
        "restore {log} from the backup (deploy/README.md, Backup), and keep what is there now until the node is ready; the view is kept meanwhile"
    );
    match cause.downcast_ref() {
        Some(Damage::Short { .. }) => format!(
            "{next}. Without a newer copy, remove {}: the node starts with what is left, and what is cut off is lost, changes of grants among it",
            path.join(MARK).display()
        ),
        _ => next,
    }
}

/// What a system's refusal asks for, where it is about files.
fn on_disk(path: &Path, error: &(dyn std::error::Error + 'static)) -> Option<Cow<'static, str>> {
    let path = path.display();
    let next = match io_kind(error)? {
        io::ErrorKind::PermissionDenied => {
            format!(
                "give {path} and all that is in it to the user that runs the node (`chown -R`), or run this as that user"
            )
        }
        io::ErrorKind::ReadOnlyFilesystem => format!("make the disk of {path} writable, or name another directory"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("make room on the disk of {path} and start again: what was accepted is there")
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            format!("{path} must be a directory, or not be there: a file stands in its place or above it")
        }
        _ => return None,
    };
    Some(next.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        chain::chain,
        exchange::{clock::Clock, fixtures::Disk},
        store_mark,
    };

    /// As the command line tells it.
    fn told(error: &Error) -> String {
        format!("error: {}\n  next: {}", chain(error), error.next_step())
    }

    fn refused(kind: io::ErrorKind) -> log::Error {
        log::Error::Unavailable(Arc::new(io::Error::from(kind)))
    }

    #[test]
    fn whatever_keeps_a_directory_shut_is_told_with_its_name_and_the_next_step() {
        let path = || Path::new("/srv/data").to_path_buf();
        for (source, step) in [
            (refused(io::ErrorKind::PermissionDenied), "to the user that runs the node (`chown -R`)"),
            (refused(io::ErrorKind::ReadOnlyFilesystem), "make the disk of /srv/data writable"),
            (refused(io::ErrorKind::StorageFull), "make room on the disk of /srv/data"),
            (log::Error::DiskFull(Arc::new(io::Error::from(io::ErrorKind::StorageFull))), "make room on the disk"),
            (refused(io::ErrorKind::NotADirectory), "/srv/data must be a directory"),
            (log::Error::InUse, "stop it first, or give this node directories of its own"),
            (log::Error::Corrupt(Arc::new(io::Error::other("x"))), "restore /srv/data from the backup"),
            (refused(io::ErrorKind::Other), NOTHING_LOST),
        ] {
            let text = told(&Error::OpenLog { path: path(), source });
            assert!(
                text.starts_with("error: cannot open the log in /srv/data: ") && text.contains(step),
                "{step}: {text}"
            );
        }
        let missing = || view::Error::from(io::Error::from(io::ErrorKind::NotFound));
        for source in [view::Error::Corrupt("space"), missing()] {
            let text = told(&Error::OpenView { path: path(), source });
            assert!(text.contains("next: move /srv/data away and start again"), "{text}");
        }
        let text = told(&Error::View(missing()));
        assert!(text.contains("next: move the view's directory away and start again"), "{text}");
        let full = Arc::new(io::Error::from(io::ErrorKind::StorageFull));
        let text = told(&Error::OpenView { path: path(), source: view::Error::Disk(full) });
        assert!(text.contains("make room on the disk of /srv/data"), "{text}");
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = told(&Error::DataDirectory { path: path(), source });
        assert!(text.contains("cannot make the data directory /srv/data") && text.contains("chown -R"), "{text}");
    }

    /// What somebody did to a store, and what the node then says is wrong.
    type Harm<'a> = (&'a str, fn(&Path), &'a str);

    fn empty_newest(keyspace: &Path) {
        let current = std::fs::read(keyspace.join("current")).expect("current");
        let number = u64::from_le_bytes(current[..8].try_into().expect("a number"));
        std::fs::File::options().write(true).truncate(true).open(keyspace.join(format!("v{number}"))).expect("emptied");
    }

    const HARMS: [Harm<'static>; 5] = [
        (
            "version",
            |store| std::fs::remove_file(store.join("version")).expect("removed"),
            "its file version is missing",
        ),
        (
            "the list of keyspaces",
            |store| std::fs::remove_file(store.join("keyspaces/0/current")).expect("removed"),
            "its file keyspaces/0/current is missing",
        ),
        (
            "a keyspace",
            |store| std::fs::remove_dir_all(store.join("keyspaces/1")).expect("removed"),
            "its file keyspaces/1/current is missing",
        ),
        (
            "the beginning of a keyspace",
            |store| std::fs::remove_file(store.join("keyspaces/2/current")).expect("removed"),
            "its file keyspaces/2/current is missing",
        ),
        ("an empty file", |store| empty_newest(&store.join("keyspaces/0")), ""),
    ];

    /// Goal: what is missing is never taken for what never was, the files that are left stay, and the next step is one that helps.
    #[tokio::test]
    async fn a_store_that_lacks_something_is_refused_with_what_is_missing_and_what_helps() {
        let directory = tempfile::tempdir().expect("a directory");
        for (number, (what, harm, said)) in HARMS.into_iter().enumerate() {
            let log = directory.path().join(format!("log-{number}"));
            let open_log = || {
                let options = log::embedded::Options { free_bytes_min: 0, ..log::embedded::Options::at(&log) };
                log::embedded::Embedded::open(options, Clock::system(), log::Metrics::default())
            };
            let opened = open_log().expect("a new one");
            log::Log::close(&opened).await;
            drop(opened);
            harm(&log);
            // As often as somebody tries.
            for _ in 0..2 {
                let text = told(&Error::OpenLog { path: log.clone(), source: open_log().map(drop).expect_err(what) });
                let next = format!("\n  next: restore {} from the backup", log.display());
                assert!(text.contains(said) && text.contains(&next), "{what}: {text}");
            }
            assert!(log.join("keyspaces/5/current").exists(), "{what}: what was left of it is gone");

            let view = directory.path().join(format!("view-{number}"));
            let open_view = || view::View::open(&view, view::Options::default());
            drop(open_view().expect("a new one"));
            harm(&view);
            for _ in 0..2 {
                let text =
                    told(&Error::OpenView { path: view.clone(), source: open_view().map(drop).expect_err(what) });
                let next = format!("\n  next: move {} away and start again", view.display());
                assert!(text.contains(said) && text.contains(&next), "{what}: {text}");
            }
            std::fs::rename(&view, directory.path().join("kept")).expect("moved away");
            open_view().map(drop).expect("made anew");
            std::fs::remove_dir_all(directory.path().join("kept")).expect("removed");
        }
    }

    /// Goal: the way out of a log that was cut short, for whoever has no copy of it.
    #[tokio::test]
    async fn a_log_that_was_cut_short_opens_once_its_mark_is_given_up() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        let mut mark = store_mark::Mark::default();
        mark.ends.insert("city.catalogue".into(), vec![3]);
        let open = || {
            let options = log::embedded::Options { free_bytes_min: 0, ..log::embedded::Options::at(path) };
            log::embedded::Embedded::open(options, Clock::system(), log::Metrics::default())
        };
        log::Log::close(&open().expect("a new one")).await;
        mark.write(path).expect("noted");
        let text = told(&Error::OpenLog { path: path.into(), source: open().map(drop).expect_err("cut short") });
        let way = format!("remove {}: ", path.join(MARK).display());
        assert!(text.contains("partition 0 of city.catalogue ends at offset 0") && text.contains(&way), "{text}");
        std::fs::remove_file(path.join(MARK)).expect("given up");
        open().map(drop).expect("opens");
    }

    #[test]
    fn a_log_and_a_view_on_a_full_disk_ask_for_room() {
        let Some(disk) = Disk::mount(96) else { return };
        let ballast = disk.fill();
        let [log_path, view_path] = ["log", "view"].map(|name| disk.path().join(name));
        let open_log = || {
            let options = log::embedded::Options { free_bytes_min: 0, ..log::embedded::Options::at(&log_path) };
            log::embedded::Embedded::open(options, Clock::system(), log::Metrics::default())
        };
        let open_view = || view::View::open(&view_path, view::Options::default());
        let source = open_log().expect_err("full");
        let text = told(&Error::OpenLog { path: log_path.clone(), source });
        assert!(text.contains("make room on the disk of ") && text.contains("No space left"), "{text}");
        let source = open_view().expect_err("full");
        let text = told(&Error::OpenView { path: view_path.clone(), source });
        assert!(text.contains("make room on the disk of ") && text.contains("No space left"), "{text}");
        // And that is all that it takes: no half of a store is left to be called damaged.
        std::fs::remove_file(ballast).expect("room");
        open_log().expect("there is room");
        open_view().expect("there is room");
    }
}
