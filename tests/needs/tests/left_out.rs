//! A test that cannot run does not look like one that ran: it fails where the machine was promised to have what it needs, and is on a list elsewhere.

use std::process::{Command, Output};

use shuqiao_test_needs::{Need, kafka, mariadb, postgres, real_registry};

/// Not a test of its own: what the others run in a process with an environment of its own.
#[test]
#[ignore = "run by the tests beside it"]
fn needs_everything_that_a_variable_names() {
    assert_eq!((kafka(), postgres(), mariadb(), real_registry()), (None, None, None, None));
}

fn child(strict: &str, list: &std::path::Path) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["needs_everything_that_a_variable_names", "--exact", "--ignored"]);
    for variable in ["SHUQIAO_TEST_KAFKA", "SHUQIAO_TEST_POSTGRES", "SHUQIAO_TEST_MARIADB"] {
        command.env_remove(variable);
    }
    command.env("SHUQIAO_TEST_NANTONG", list.with_file_name("absent.csv"));
    command.env("SHUQIAO_TEST_STRICT", strict).env("SHUQIAO_TEST_LEFT_OUT", list).output().expect("it runs")
}

#[test]
fn what_is_promised_and_not_there_fails_the_test_and_names_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let list = directory.path().join("left-out");
    for need in [Need::Kafka, Need::Postgres, Need::MariaDb, Need::RealRegistry] {
        let output = child(&format!("something {} else", need.word()), &list);
        assert!(!output.status.success(), "{need:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(&format!("SHUQIAO_TEST_STRICT promises {}", need.word())), "{said}");
    }
}

#[test]
fn what_is_not_promised_is_left_out_and_stands_on_the_list_with_its_name_and_the_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let list = directory.path().join("left-out");
    assert!(child("mount", &list).status.success());
    let lines = std::fs::read_to_string(&list).expect("the list");
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (line, remedy) in lines.iter().zip(["deploy/kafka/start", "services/postgres", "services/mariadb", "NANTONG"]) {
        assert!(line.starts_with("left_out needs_everything_that_a_variable_names: "), "{line}");
        assert!(line.contains(remedy), "{line}");
    }
}
