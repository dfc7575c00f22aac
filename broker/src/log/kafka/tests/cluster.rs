//! A cluster of a test's own, on which faults may be inflicted.

use std::{path::Path, process::Command};

use super::options;

/// Ends with the test.
pub(super) struct Cluster {
    directory: tempfile::TempDir,
    nodes: &'static str,
    arguments: Vec<String>,
    pub(super) brokers: String,
}

impl Cluster {
    /// Starts one where tests against Kafka are asked for; or the test is left out.
    pub(super) fn start(nodes: &'static str, arguments: &[&str]) -> Option<Self> {
        Self::start_in(tempfile::tempdir().expect("a directory"), nodes, arguments)
    }

    /// In a directory where something may have been prepared.
    pub(super) fn start_in(directory: tempfile::TempDir, nodes: &'static str, arguments: &[&str]) -> Option<Self> {
        options()?;
        // RUST_LOG=debug shows what the library says.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _set_before = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut cluster = Self { directory, nodes, arguments, brokers: String::new() };
        cluster.brokers = cluster.run("start", &[]);
        Some(cluster)
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs a script of `deploy/kafka` on this cluster.
    pub(super) fn run(&self, script: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kafka/").to_owned() + script);
        if script == "start" {
            command.arg(self.nodes).arg(self.path()).args(&self.arguments);
        } else {
            command.arg(self.path());
        }
        let output = command.args(arguments).output().expect("the script runs");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// The servers that the cluster's `env` names.
    pub(super) fn environment(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.path().join("env")).expect("env");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.expect(name).to_owned()
    }

    /// A signal to a node: `STOP` makes it hang, as a machine under water does.
    pub(super) fn signal(&self, node: u32, signal: &str) {
        let pid = std::fs::read_to_string(self.path().join(format!("{node}/pid"))).expect("a pid");
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(pid.trim()).status().expect("kill runs");
        assert!(sent.success());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.run("stop", &["--kill"]);
    }
}
