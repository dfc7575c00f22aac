//! What to do about a node that does not start.

use std::{borrow::Cow, error::Error, io, path::Path};

use crate::{chain::io_kind, exchange, log, node, pki, telemetry, view};

const NOTHING_LOST: &str = "mend the cause and start again: what was accepted is in the log";

/// The next step.
pub(super) fn next(error: &node::Error) -> Cow<'static, str> {
    match error {
        node::Error::NoDataset(_) => "check the name with `shuqiao list datasets`".into(),
        node::Error::Listen { source, .. } | node::Error::Telemetry(telemetry::Error::Listen { source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            "take a port from 1024 on, in [node], or give the service the right to a lower one".into()
        }
        node::Error::Listen { .. } | node::Error::Telemetry(telemetry::Error::Listen { .. }) => "stop what listens there, or change the address in [node]".into(),
        node::Error::DataDirectory { path, source } => on_disk(path, source).unwrap_or(NOTHING_LOST.into()),
        node::Error::Key(pki::Error::Io { path, source, .. }) => on_disk(path, source).unwrap_or(NOTHING_LOST.into()),
        node::Error::Key(pki::Error::Malformed { path, .. }) => format!(
            "restore {} from the backup (deploy/README.md, Backup tells what hangs on it); a node makes a new one only where there is none",
            path.display()
        )
        .into(),
        node::Error::OpenLog { path, source: log::Error::InUse }
        | node::Error::OpenView { path, source: view::Error::InUse } => format!(
            "another node, or a command of one (`shuqiao view rebuild`), works in {}: stop it first, or give this node directories of its own (node.data_dir)",
            path.display()
        )
        .into(),
        node::Error::OpenLog { path, source: log::Error::Corrupt(_) } => format!(
            "restore {} from the backup (deploy/README.md, Backup), and keep what is there now until the node is ready; the view is kept meanwhile",
            path.display()
        )
        .into(),
        node::Error::OpenLog { path, source } => on_disk(path, source).unwrap_or(NOTHING_LOST.into()),
        node::Error::OpenView { path, source } => match (on_disk(path, source), io_kind(source)) {
            (Some(next), _) => next,
            // A file that is missing or cut short, or what the store cannot read.
            (None, None | Some(io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)) => format!(
                "move {} away and start again: the view is built anew from the log. Keep what was moved until `shuqiao status` says ready",
                path.display()
            )
            .into(),
            (None, Some(_)) => NOTHING_LOST.into(),
        },
        node::Error::View(view::Error::Corrupt(_)) => {
            "build the view anew with `shuqiao view rebuild --config FILE` while the node is stopped".into()
        }
        node::Error::Catalogue(exchange::Error::DataLoss(_)) | node::Error::Cursors(exchange::Error::DataLoss(_)) => {
            "restore the log from its backup (deploy/README.md, Backup): it holds entries that cannot be read".into()
        }
        node::Error::Catalogue(exchange::Error::DiskFull(_))
        | node::Error::Cursors(exchange::Error::DiskFull(_))
        | node::Error::Log(log::Error::DiskFull(_)) => {
            "make room on the log's disk (it keeps log.embedded.free_bytes_min free) and start again: what was accepted is there".into()
        }
        node::Error::Tls(_) => "look with `shuqiao config check`; `shuqiao pki issue server HOST` makes the files".into(),
        _ => NOTHING_LOST.into(),
    }
}

/// What a system's refusal asks for, where it is about files.
fn on_disk(path: &Path, error: &(dyn Error + 'static)) -> Option<Cow<'static, str>> {
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
        cli::error::Error as Failure,
        exchange::{clock::Clock, fixtures::Disk},
    };

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
            let text = Failure::from(node::Error::OpenLog { path: path(), source }).explain();
            assert!(
                text.starts_with("error: cannot open the log in /srv/data: ") && text.contains(step),
                "{step}: {text}"
            );
        }
        let source = view::Error::Corrupt("space");
        let text = Failure::from(node::Error::OpenView { path: path(), source }).explain();
        assert!(text.contains("next: move /srv/data away and start again"), "{text}");
        let full = Arc::new(io::Error::from(io::ErrorKind::StorageFull));
        let text = Failure::from(node::Error::OpenView { path: path(), source: view::Error::Disk(full) }).explain();
        assert!(text.contains("make room on the disk of /srv/data"), "{text}");
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = Failure::from(node::Error::DataDirectory { path: path(), source }).explain();
        assert!(text.contains("cannot make the data directory /srv/data") && text.contains("chown -R"), "{text}");
    }

    #[test]
    fn a_log_and_a_view_on_a_full_disk_ask_for_room() {
        let Some(disk) = Disk::mount(8) else { return };
        disk.fill();
        let path = disk.path().join("log");
        let options = log::embedded::Options { free_bytes_min: 0, ..log::embedded::Options::at(&path) };
        let source =
            log::embedded::Embedded::open(options, Clock::system(), log::Metrics::default()).expect_err("full");
        let text = Failure::from(node::Error::OpenLog { path, source }).explain();
        assert!(text.contains("make room on the disk of ") && text.contains("No space left"), "{text}");
        let path = disk.path().join("view");
        let source = view::View::open(&path, view::Options::default()).expect_err("full");
        let text = Failure::from(node::Error::OpenView { path, source }).explain();
        assert!(text.contains("make room on the disk of ") && text.contains("No space left"), "{text}");
    }
}
