//! Whether the process may open as many files as its bounds allow.

/// Files that a node keeps for other things than clients: the stores' tables, the log's segments, Kafka's sockets, the metrics port.
const RESERVED: usize = 1024;

/// As many connections as the process's file descriptors carry, at most those wanted. Says what to do where it is fewer: beyond its descriptors a node could
/// accept nobody, and read neither its stores nor its certificate files.
pub(super) fn connections(wanted: usize) -> usize {
    // proc(5); elsewhere nothing is known, and nothing is changed.
    let Some(files) = std::fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(open_files) else {
        return wanted;
    };
    let room = room(files);
    if room >= wanted {
        return wanted;
    }
    tracing::warn!(
        files,
        connections_max = wanted,
        lowered_to = room,
        "the process may not open files enough for limits.connections_max, which is lowered: raise LimitNOFILE of the service unit (or ulimit -n) by what is missing, or lower limits.connections_max"
    );
    room
}

/// What is left for clients. Of a small allowance the half: no store keeps more open by itself.
fn room(files: usize) -> usize {
    files - RESERVED.min(files / 2)
}

/// The soft limit of open files in the form of /proc/self/limits. `None` where it is unlimited.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_fitted_to_the_files_that_may_be_open() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max core file size        0                    unlimited            bytes     \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(open_files("Max open files            unlimited            unlimited            files\n"), None);
        assert_eq!((room(1024), room(4096), room(65536)), (512, 3072, 64512));
        let own = std::fs::read_to_string("/proc/self/limits").expect("Linux");
        let files = open_files(&own).expect("limited");
        assert_eq!(connections(1), 1);
        assert_eq!(connections(usize::MAX), room(files), "never more than fit");
    }
}
