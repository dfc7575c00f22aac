//! What tests need from the machine, and how one that cannot run is seen.
//!
//! Rust's test harness knows passed and failed: a test that finds nothing to run on returns early, and looks like one that passed. So each asks here, and
//! [`cannot_run`] is the one place where it gives up: the test fails where `SHUQIAO_TEST_STRICT` promises what it lacks; otherwise it is told, and written
//! into the file that `SHUQIAO_TEST_LEFT_OUT` names, from which `tests/run` says at its end what was left out.

mod disk;

use std::{io::Write as _, path::PathBuf};

pub use disk::SmallDisk;

/// Something that is not on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A Kafka cluster, and the means to start one of the test's own.
    Kafka,
    /// A PostgreSQL in which the test may make schemas, roles and databases.
    Postgres,
    /// A MariaDB in which it may make databases and users, and the means to start one of its own.
    MariaDb,
    /// The right to mount a small file system, which can be filled.
    Mount,
    /// The export of a real registry, which is not ours to copy into the repository.
    RealRegistry,
}

impl Need {
    /// The word for it in `SHUQIAO_TEST_STRICT`, which separates words by spaces.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
            Self::Mount => "mount",
            Self::RealRegistry => "real-registry",
        }
    }

    /// What to do about it.
    fn remedy(self) -> &'static str {
        match self {
            Self::Kafka => "SHUQIAO_TEST_KAFKA names no cluster (deploy/kafka/start one DIR)",
            Self::Postgres => "SHUQIAO_TEST_POSTGRES names no PostgreSQL (tests/services/postgres start DIR)",
            Self::MariaDb => "SHUQIAO_TEST_MARIADB names no MariaDB (tests/services/mariadb start DIR)",
            Self::Mount => {
                "no file system may be mounted here (root, or sudo without a password, outside a container that forbids it)"
            }
            Self::RealRegistry => {
                "the export of 5,072 enterprises is not here (SHUQIAO_TEST_NANTONG, or ../shared/data/nantong-enterprises.csv)"
            }
        }
    }
}

/// Gives a test up for want of something: says so, and puts it on the list of what was left out.
///
/// # Panics
/// Where `SHUQIAO_TEST_STRICT` promises that it is there, and where the list cannot be written.
pub fn cannot_run(need: Need) {
    let test = test();
    let promised = std::env::var("SHUQIAO_TEST_STRICT").unwrap_or_default();
    let promised = promised.split_whitespace().any(|word| word == need.word());
    assert!(!promised, "{test} cannot run, and SHUQIAO_TEST_STRICT promises {}: {}", need.word(), need.remedy());
    eprintln!("LEFT OUT {test}: {}", need.remedy());
    if let Some(list) = std::env::var_os("SHUQIAO_TEST_LEFT_OUT").filter(|list| !list.is_empty()) {
        let mut list =
            std::fs::File::options().create(true).append(true).open(list).expect("the list of what is left out");
        // One write: tests of several processes add to the list at once.
        let line = format!("{test}: {}\n", need.remedy());
        list.write_all(line.as_bytes()).expect("the list of what is left out");
    }
}

/// The test that runs: its program and its name. The harness gives a test's thread its name.
fn test() -> String {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(|path| path.file_stem()?.to_str()).unwrap_or_default();
    // Cargo puts a hash behind the name.
    let program = program.rsplit_once('-').map_or(program, |(name, _)| name);
    let thread = std::thread::current();
    format!("{program} {}", thread.name().unwrap_or("a test"))
}

fn named(variable: &str, need: Need) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        cannot_run(need);
    }
    value
}

/// Bootstrap servers of a Kafka cluster, or the test is left out.
pub fn kafka() -> Option<String> {
    named("SHUQIAO_TEST_KAFKA", Need::Kafka)
}

/// `postgres://user@host:port/database`, or the test is left out.
pub fn postgres() -> Option<String> {
    named("SHUQIAO_TEST_POSTGRES", Need::Postgres)
}

/// `mysql://user:password@host:port/database`, or the test is left out.
pub fn mariadb() -> Option<String> {
    named("SHUQIAO_TEST_MARIADB", Need::MariaDb)
}

/// The CSV file of a real registry, 5,072 rows in UTF-8, or the test is left out: what `SHUQIAO_TEST_NANTONG` names, or where it lies beside the repository.
pub fn real_registry() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/nantong-enterprises.csv");
    let path = std::env::var_os("SHUQIAO_TEST_NANTONG").map_or_else(|| beside.into(), PathBuf::from);
    if path.is_file() {
        return Some(path);
    }
    cannot_run(Need::RealRegistry);
    None
}
