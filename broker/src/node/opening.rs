//! What to do about a node that does not start.

use std::{borrow::Cow, io, path::Path};

use super::Error;
use crate::{chain::io_kind, exchange, log, pki, telemetry, view};

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
            Self::OpenLog { path, source: log::Error::Corrupt(_) } => format!(
                "restore {} from the backup (deploy/README.md, Backup), and keep what is there now until the node is ready; the view is kept meanwhile",
                path.display()
            )
            .into(),
            Self::OpenLog { path, source } => on_disk(path, source).unwrap_or(NOTHING_LOST.into()),
            Self::OpenView { path, source } => match (on_disk(path, source), io_kind(source)) {
                (Some(next), _) => next,
                // A file that is missing or cut short, or what the store cannot read.
                (None, None | Some(io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)) => format!(
                    "move {} away and start again: the view is built anew from the log. Keep what was moved until `shuqiao status` says ready",
                    path.display()
                )
                .into(),
                (None, Some(_)) => NOTHING_LOST.into(),
            },
            Self::View(view::Error::Corrupt(_)) => {
                "build the view anew with `shuqiao view rebuild --config FILE` while the node is stopped".into()
            }
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
        let source = view::Error::Corrupt("space");
        let text = told(&Error::OpenView { path: path(), source });
        assert!(text.contains("next: move /srv/data away and start again"), "{text}");
        let full = Arc::new(io::Error::from(io::ErrorKind::StorageFull));
        let text = told(&Error::OpenView { path: path(), source: view::Error::Disk(full) });
        assert!(text.contains("make room on the disk of /srv/data"), "{text}");
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = told(&Error::DataDirectory { path: path(), source });
        assert!(text.contains("cannot make the data directory /srv/data") && text.contains("chown -R"), "{text}");
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
