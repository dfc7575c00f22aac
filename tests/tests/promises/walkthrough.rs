//! The documented sequence of commands, `deploy/walkthrough/run`, ends well: a file through Kafka into PostgreSQL, and both questions on the trail.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use shuqiao_tests::fixtures::{
    adapter::{registry_rows, write_registry},
    binaries, within,
};

/// Files of a directory with other ports in them, so that a walkthrough of this machine's user may run beside it.
fn copy(from: &Path, to: &Path, ports: &[(&str, String)]) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("readable") {
        let (from, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("an entry");
        let text = fs::read_to_string(&from).expect("a text");
        let text = ports.iter().fold(text, |text, (port, other)| text.replace(port, other));
        fs::write(&to, text).expect("written");
        fs::set_permissions(&to, fs::metadata(&from).expect("its permissions").permissions()).expect("permissions");
    }
}

fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port().to_string()
}

/// What the first of both adapters says that it did: the publishing one.
fn of_the_first_run(said: &str) -> &str {
    said.lines().skip_while(|line| *line != "in this run").nth(1).expect(said).trim()
}

#[tokio::test]
async fn the_walkthrough_ends_with_every_row_accounted_for_and_both_questions_on_the_trail() {
    let (Some(_), Some(_)) = (shuqiao_test_needs::kafka(), shuqiao_test_needs::postgres()) else { return };
    // What it writes lies beside its scripts: a repository of its own.
    let repository = tempfile::tempdir().expect("a directory");
    // PostgreSQL runs as a user of its own where we are root.
    fs::set_permissions(repository.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    let ports = [("7643", free_port()), ("7680", free_port())];
    for directory in ["deploy/walkthrough", "deploy/kafka", "tests/services"] {
        copy(&binaries::workspace().join(directory), &repository.path().join(directory), &ports);
    }
    let file = repository.path().join("registry.csv");
    let (rows, dirty) = registry_rows(200);
    write_registry(&file, &rows, false);
    let run = async || {
        let mut command = Command::new(repository.path().join("deploy/walkthrough/run"));
        command.arg(&file).env("SHUQIAO_BIN", binaries::path("shuqiao").parent().expect("a directory"));
        if std::env::var_os("KAFKA_JARS").is_none() {
            command.env("KAFKA_JARS", binaries::workspace().join("target/kafka-jars"));
        }
        let ended = tokio::task::spawn_blocking(move || command.output().expect("the script runs"));
        let output = within(120, "the walkthrough ends", ended).await.expect("no panic");
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).join("\n");
        assert!(output.status.success(), "{said}");
        assert!(said.contains("\nboth are on the trail\n"), "{said}");
        said
    };
    let first = run().await;
    let read = format!("read {} = accepted 200 + unchanged 0 + set aside {dirty} + waiting 0", 200 + dirty);
    assert!(of_the_first_run(&first).starts_with(&read), "{first}");
    assert_eq!(first.matches(": equal").count(), 2, "{first}");
    let again = run().await;
    let published = of_the_first_run(&again);
    assert!(published == "nothing" || published.contains("= accepted 0 "), "{again}");
    assert_eq!(again.matches(": equal").count(), 2, "{again}");
}

/// Goal: what is wrong with its arguments a script says before it builds or starts anything.
#[test]
fn a_script_without_what_it_needs_says_so_and_starts_nothing() {
    let repository = tempfile::tempdir().expect("a directory");
    for directory in ["deploy/walkthrough", "deploy/kafka", "tests/services"] {
        copy(&binaries::workspace().join(directory), &repository.path().join(directory), &[]);
    }
    for (script, argument, words) in [
        ("deploy/walkthrough/run", Some("no/such.csv"), "no/such.csv: no file that can be read"),
        ("deploy/kafka/stop", None, "usage: stop DIR"),
    ] {
        let mut command = Command::new(repository.path().join(script));
        let output = command.args(argument).output().expect("the script runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{script}: {said}");
        assert!(said.starts_with(words), "{script}: {said}");
    }
    assert!(!repository.path().join("target").exists());
}
