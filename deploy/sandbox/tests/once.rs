//! The sandbox as a newcomer runs it, with `--once`: a process, its exit code, and the account that it leaves in `report.json`.
//!
//! Each test has a directory of its own, and the ports are whatever is free, so that they run beside each other and beside a sandbox that is up.

use std::{
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use serde_json::Value;
use shuqiao_adapter_sdk::{config, runner, state::State};
use shuqiao_adapter_taxation::Taxation;
use shuqiao_sandbox::registry::{Dirt, Generator};

/// As the sandbox invents when it is not told otherwise.
const SEED: u64 = 7;
/// A machine that runs other tests meanwhile is slow.
const PATIENCE: Duration = Duration::from_secs(240);

fn command(directory: &Path, rows: u32) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shuqiao-sandbox"));
    command.args(["--once", "--port", "0", "--rows", &rows.to_string(), "--data-dir"]).arg(directory.join("city"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end; answers with what it said and the account.
fn run(directory: &Path, rows: u32) -> (String, Value) {
    let output = command(directory, rows).output().expect("starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    let log = std::fs::read_to_string(directory.join("city/sandbox.log")).unwrap_or_default();
    assert!(output.status.success(), "{}\n{said}\n{complained}\n{log}", output.status);
    let report = std::fs::read_to_string(directory.join("city/report.json")).expect("an account");
    (said, serde_json::from_str(&report).expect("JSON"))
}

/// How many of the rows come to records, and how many are set aside.
fn expected(rows: u32) -> (u64, u64) {
    let beyond_repair = |dirt: Option<Dirt>| dirt.is_some_and(|dirt| !dirt.is_repairable());
    let bad = Generator::new(SEED).take(rows as usize).filter(|row| beyond_repair(row.dirt)).count() as u64;
    (u64::from(rows) - bad, bad)
}

fn number(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer} in {report}"))
}

/// Nobody's name, code or address: a row's own words.
fn tells_nothing_of_a_row(said: &str, rows: u32) {
    let code = Generator::new(SEED).find(|row| row.dirt.is_none()).map(|row| row.columns[1].clone());
    for row in Generator::new(SEED).take(rows as usize).filter(|row| row.dirt.is_some()) {
        for column in [&row.columns[0], &row.columns[1], &row.columns[9]] {
            assert!(Some(column) == code.as_ref() || !said.contains(column.as_str()), "{column} in\n{said}");
        }
    }
}

#[test]
fn every_row_is_a_record_on_both_sides_or_a_letter_and_a_second_start_publishes_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let (good, bad) = expected(400);

    let (said, first) = run(directory.path(), 400);
    assert_eq!((number(&first, "/run/read"), number(&first, "/run/accepted")), (400, good), "{said}");
    assert_eq!((number(&first, "/run/dead_letters"), number(&first, "/run/taken")), (bad, good), "{said}");
    for side in ["source", "view", "inbox"] {
        assert_eq!(number(&first, &format!("/{side}/count")), good, "{side}");
        assert_eq!(first[side]["digest"], first["view"]["digest"], "{side}");
    }
    assert_eq!(first["unaccounted"], 0);
    let reasons = first["set_aside"].as_array().expect("reasons");
    let letters: u64 = reasons.iter().map(|reason| number(reason, "/letters")).sum();
    assert_eq!(letters, bad);
    for reason in reasons {
        let (rule, example) = (reason["rule"].as_str().expect("rule"), reason["example"].as_str().expect("place"));
        assert!(said.contains(rule) && example.starts_with("line "), "{rule} {example}\n{said}");
    }
    assert!(said.contains("query get market-supervision.enterprise 91320"), "{said}");
    tells_nothing_of_a_row(&said, 400);

    let (said, second) = run(directory.path(), 400);
    assert_eq!(number(&second, "/run/accepted"), 0, "{said}");
    assert_eq!(number(&second, "/run/taken"), 0, "{said}");
    assert_eq!(number(&second, "/run/read"), number(&second, "/run/unchanged"), "{said}");
    assert_eq!(second["view"], first["view"]);
    assert!(said.contains("departments/taxation unchanged"), "{said}");

    // A registry that has grown is read anew: what it had says nothing new, and only what came with it is published.
    let (good_of_500, bad_of_500) = expected(500);
    let (said, third) = run(directory.path(), 500);
    assert_eq!((number(&third, "/run/read"), number(&third, "/run/unchanged")), (500, good), "{said}");
    assert_eq!(number(&third, "/run/accepted"), good_of_500 - good, "{said}");
    assert_eq!(number(&third, "/view/count"), good_of_500);
    let letters: u64 = third["set_aside"].as_array().expect("reasons").iter().map(|one| number(one, "/letters")).sum();
    assert_eq!(letters, bad_of_500);
}

/// Goal: who narrows the grant as its file shows how is told what differs and why, and waits for nothing that does not come.
#[test]
fn a_grant_narrowed_after_delivery_is_told_as_what_it_is_and_soon() {
    let directory = tempfile::tempdir().expect("directory");
    run(directory.path(), 60);
    let path = directory.path().join("city/resources/2-grant.yaml");
    let grant = std::fs::read_to_string(&path).expect("the grant");
    let whole = "- path: \"\"\n  treatment: clear\n";
    assert_eq!(grant.matches(whole).count(), 1, "{grant}");
    let narrowed = grant.replace(whole, "").replace("#- path", "- path").replace("#  treatment", "  treatment");
    assert_eq!(narrowed.matches("\n- path: /").count(), 2, "{narrowed}");
    std::fs::write(&path, narrowed).expect("narrows");

    let output = command(directory.path(), 60).output().expect("starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read_to_string(directory.path().join("city/report.json")).expect("an account");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!((&report["inbox"], &report["source"]), (&report["view"], &report["view"]), "{said}");
    assert_eq!(report["shown"]["count"], report["view"]["count"], "{said}");
    assert_ne!(report["shown"]["digest"], report["view"]["digest"], "{said}");
    for words in ["the exchange shows taxation 平台对税务可见", report["shown"]["digest"].as_str().expect("a digest")]
    {
        assert!(said.contains(words), "{words}\n{said}");
    }
    assert!(said.contains("narrowed after delivery"), "{said}");
    assert!(said.contains("refresh --config") && said.contains("city/taxation.toml"), "{said}");
    // A minute is what it would wait while something moves.
    assert!(number(&report, "/elapsed_ms") < 40_000, "{said}");
    // Without a terminal a line says something new, or is not said.
    let progress = said.lines().filter(|line| line.starts_with("  read ")).filter_map(|line| line.rsplit_once(", "));
    let mut numbers: Vec<_> = progress.map(|(numbers, _)| numbers).collect();
    let lines = numbers.len();
    numbers.dedup();
    assert!(lines > 0 && numbers.len() == lines, "{said}");

    // Asked anew, the inbox holds what the grant shows by now.
    let path = directory.path().join("city/taxation.toml");
    let config = config::load(&path, &[&Taxation], std::iter::empty()).expect("the inbox's configuration");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(runner::refresh(&config)).expect("asks anew");
    let (said, report) = run(directory.path(), 60);
    assert_eq!((&report["inbox"], &report["granted_whole"]), (&report["shown"], &false.into()), "{said}");
}

/// Goal: a registry that is edited is read again whole; its letters are counted as letters, and the books still add up.
#[test]
fn a_registry_edited_by_hand_is_read_again_and_its_letters_stay_as_many() {
    let directory = tempfile::tempdir().expect("directory");
    let (good, bad) = expected(300);
    run(directory.path(), 300);
    let path = directory.path().join("city/market-supervision/enterprises.csv");
    let bytes = std::fs::read(&path).expect("the registry");
    // A clean row's capital, ASCII in every encoding.
    let at = bytes.windows(4).position(|four| four == b"158(").expect("a capital");
    let mut edited = bytes;
    edited[at] = b'2';
    std::fs::write(&path, edited).expect("edits");

    let (said, report) = run(directory.path(), 300);
    assert!(said.contains("(300 rows, edited by hand, GB18030)"), "{said}");
    assert_eq!((number(&report, "/total/read"), number(&report, "/total/dead_letters")), (600, 2 * bad), "{said}");
    assert_eq!((number(&report, "/run/accepted"), number(&report, "/run/unchanged")), (1, good - 1), "{said}");
    let letters: u64 = report["set_aside"].as_array().expect("reasons").iter().map(|one| number(one, "/letters")).sum();
    assert_eq!(letters, bad, "{said}");
    assert!(said.contains(&format!("{bad} rows set aside (open dead letters)")), "{said}");
    assert!(said.contains(&format!(", set aside {bad}, delivered ")), "{said}");
    assert_eq!((&report["balanced"], &report["unaccounted"]), (&true.into(), &0.into()), "{said}");

    // Cut by its last hundred rows: what was published of them stays published, and nobody calls that accounted for.
    let edited = std::fs::read(&path).expect("the registry");
    let lines: Vec<&[u8]> = edited.split_inclusive(|byte| *byte == b'\n').collect();
    std::fs::write(&path, lines[..201].concat()).expect("cuts");
    let output = command(directory.path(), 300).output().expect("starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("(200 rows, edited by hand, GB18030)"), "{said}");
    // Letters of rows that are gone are closed.
    let fewer = format!("{} rows fewer in the registry", good - expected(200).0);
    assert!(said.contains(&fewer) && !said.contains("every row is accounted for"), "{said}");
}

/// Goal: whoever reads what it says may leave (`| head`): the city is made all the same, and the exit code still tells.
#[test]
fn a_reader_that_has_gone_changes_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let mut sandbox = command(directory.path(), 60).spawn().expect("starts");
    drop(sandbox.stdout.take());
    let output = sandbox.wait_with_output().expect("ends");
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{complained}", output.status);
    let report = std::fs::read_to_string(directory.path().join("city/report.json")).expect("an account");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!((number(&report, "/inbox/count"), &report["accounted"]), (expected(60).0, &true.into()), "{report}");
}

/// A process that does not outlive its test.
struct Started(Child);

impl Started {
    fn kill(&mut self) -> ExitStatus {
        self.0.kill().expect("SIGKILL");
        self.0.wait().expect("gone")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn what_a_kill_in_the_middle_leaves_is_completed_by_the_next_start() {
    const ROWS: u32 = 20_000;
    let directory = tempfile::tempdir().expect("directory");
    let (good, bad) = expected(ROWS);
    let state_file = directory.path().join("city/market-supervision/state.db");

    // Killed in ever later moments: while it starts, with the first records on their way, and with many.
    for accepted_at_least in [0, 1, good / 2] {
        let mut quiet = command(directory.path(), ROWS);
        let mut sandbox = Started(quiet.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("starts"));
        let accepted = tokio::time::timeout(PATIENCE, async {
            loop {
                assert_eq!(sandbox.0.try_wait().expect("a child"), None, "it ended by itself");
                let accepted = if state_file.exists() { accepted(&state_file).await } else { None };
                match accepted {
                    Some(accepted) if accepted >= accepted_at_least => return accepted,
                    _ => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
        let accepted = accepted.await.expect("it gets so far");
        let status = sandbox.kill();
        assert!(!status.success(), "{status}");
        // A busy machine may have finished by the time that this test looks, when half is what it waits for.
        assert!(accepted < good || accepted_at_least > 1, "killed in the middle: {accepted} of {good}");
    }

    let (said, report) = tokio::task::spawn_blocking({
        let path = directory.path().to_owned();
        move || run(&path, ROWS)
    })
    .await
    .expect("runs");
    assert_eq!((number(&report, "/total/read"), number(&report, "/total/accepted")), (u64::from(ROWS), good), "{said}");
    assert_eq!(number(&report, "/total/dead_letters"), bad, "{said}");
    assert!(number(&report, "/run/accepted") < good, "the last run began anew\n{said}");
    for side in ["source", "view", "inbox"] {
        assert_eq!(number(&report, &format!("/{side}/count")), good, "{side}");
        assert_eq!(report[side]["digest"], report["view"]["digest"], "{side}");
    }
    assert_eq!(report["unaccounted"], 0);
}

/// What the exchange has acknowledged; `None` while the state file is being made.
async fn accepted(state_file: &Path) -> Option<u64> {
    let state = State::open_beside(state_file).await.ok()?;
    let counts = state.counts().await.ok();
    state.close().await;
    counts.map(|counts| counts.accepted)
}
