//! The program as operators and service managers meet it: arguments, mistakes, exit codes, signals.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Output, Stdio},
};

use shuqiao_adapter_runner::{adapters, command_line, exit};
use shuqiao_adapter_sdk::ErrorClass;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shuqiao-adapter"));
    command.env_remove("SHUQIAO_ADAPTER_CONFIG").env_remove("SHUQIAO_ADAPTER_LOG");
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A certificate authority, and a certificate that carries the SPIFFE id of a system.
fn credentials(directory: &Path) {
    let authority_key = rcgen::KeyPair::generate().expect("key");
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issued = authority.self_signed(&authority_key).expect("signs");
    fs::write(directory.join("ca.pem"), issued.pem()).expect("writes");
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().expect("key");
    let mut system = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    let name = "spiffe://sandbox.example/department/market-supervision/system/registry";
    system.subject_alt_names = vec![rcgen::SanType::URI(name.try_into().expect("ASCII"))];
    fs::write(directory.join("system.pem"), system.signed_by(&key, &issuer).expect("signs").pem()).expect("writes");
    fs::write(directory.join("system.key"), key.serialize_pem()).expect("writes");
}

/// A configuration whose exchange is a port at which nobody listens.
fn configuration(directory: &Path, more: &str) -> String {
    let at = directory.display();
    format!(
        "adapter = 'market-supervision'\n[broker]\nendpoint = 'https://127.0.0.1:1'\nauthorities = '{at}/ca.pem'\n\
         certificate = '{at}/system.pem'\nkey = '{at}/system.key'\n[state]\npath = '{at}/state.db'\n[publish]\n\
         dataset = 'market-supervision.enterprise'\nrecord_type = 'enterprise/v1'\n{more}\n\
         [market-supervision.file]\npath = '{at}/export.csv'\nencoding = 'utf-8'\n"
    )
}

#[test]
fn the_definitions_are_sound_and_the_long_help_has_every_exit_code() {
    command_line().debug_assert();
    let help = text(&program().arg("--help").output().expect("runs"));
    for (exit, meaning) in exit::TABLE {
        // Long lines are wrapped.
        let beginning: String = meaning.chars().take(30).collect();
        assert!(help.contains(&format!("{}  {beginning}", exit.code())), "{help}");
    }
}

/// Goal: the service unit starts a command that exists, begins it again after whatever waiting may mend, and leaves the rest to a person.
#[test]
fn the_service_unit_restarts_after_what_may_pass_and_after_nothing_else() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/systemd/shuqiao-adapter@.service");
    let unit = fs::read_to_string(path).expect("the unit");
    let values = |key: &str| {
        let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let prevented: Vec<u8> = values("RestartPreventExitStatus")
        .iter()
        .flat_map(|codes| codes.split(' '))
        .map(|code| code.parse().expect("a code"))
        .collect();
    let hopeless = [exit::Exit::Usage, ErrorClass::Configuration.into(), ErrorClass::Protocol.into()];
    assert_eq!(prevented, hopeless.map(exit::Exit::code));
    for hopeful in [exit::Exit::Failure, ErrorClass::Transient.into()] {
        assert!(!prevented.contains(&hopeful.code()), "{hopeful:?}");
    }
    assert_eq!((values("Restart"), values("StartLimitIntervalSec")), (vec!["on-failure".into()], vec!["0".into()]));
    // Anything before the run that fails while the legacy system is away would keep the run from waiting for it.
    let commands: Vec<String> = ["ExecStartPre", "ExecCondition", "ExecStart"].into_iter().flat_map(values).collect();
    let [command] = commands.as_slice() else { panic!("{commands:?}") };
    command_line().try_get_matches_from(command.split(' ')).expect("a command line of ours");
    // What an example of an adapter calls its state lies where an instance of that name may write.
    assert_eq!(values("StateDirectory"), ["shuqiao-adapter/%i"]);
    for adapter in adapters() {
        let descriptor = adapter.describe();
        let config = shuqiao_adapter_sdk::config::from_text(descriptor.example, &adapters(), std::iter::empty());
        let directory = format!("/var/lib/shuqiao-adapter/{}", descriptor.name);
        assert_eq!(config.expect("is whole").state.directory(), Path::new(&directory));
    }
}

#[test]
fn every_adapter_of_the_build_is_described_and_its_example_is_a_whole_configuration() {
    let described = text(&program().arg("describe").output().expect("runs"));
    for adapter in adapters() {
        let descriptor = adapter.describe();
        assert!(described.contains(descriptor.title_en) && described.contains(descriptor.title_zh), "{described}");
        let example = program().args(["describe", descriptor.name, "--example"]).output().expect("runs");
        assert_eq!(String::from_utf8_lossy(&example.stdout), descriptor.example);
        shuqiao_adapter_sdk::config::from_text(descriptor.example, &adapters(), std::iter::empty()).expect("is whole");
    }
    let unknown = program().args(["describe", "weather"]).output().expect("runs");
    assert_eq!(unknown.status.code(), Some(2));
}

/// Goal: one reading tells everything, several mistakes of one section too, each by its key and with what would be right; and no value, which may be a password.
#[test]
fn every_mistake_of_a_configuration_is_told_at_once() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("adapter.toml");
    fs::write(
        &path,
        "adapter = 'market-supervision'\n[broker]\nendpoint = 'http://plain'\nca = 'a'\ncertificate = 5\nkey = 'c'\n\
         connect_timeout = 4711\n[publish]\ndataset = ''\nrecord_type = 'licence/v1'\nbatch_records = 0\n\
         batch_bytes = 'many'\n[subscribe]\nsubscription = 's'\nwindow = 0\n[run]\nonce_idle = 'soon'\nshutdown_grace = 'later'\n\
         [metrics]\nlisten = 'here'\n[weather]\n[market-supervision.file]\npath = ''\ndelimiter = 'x'\nencoding = 'ascii'\n\
         [market-supervision.database]\nurl = 4711\ntable = 't'\nkey = ''\nupdated = 'u'\npage = 'x'\n\
         [market-supervision.columns]\nname = ''\nnames = 'x'\n",
    )
    .expect("writes");
    let expected = [
        "broker.endpoint: must be https://host:port",
        "broker.ca: is unknown; known here: endpoint, server_name, authorities,",
        "broker.authorities: is missing",
        "broker.certificate: must be a path in quotes, not a whole number",
        "broker.connect_timeout: must be a duration, like \"30s\" or \"2m\"",
        "state.path: is missing",
        "publish.dataset: must name a dataset",
        "publish.record_type: must be one that the adapter market-supervision maps to: enterprise/v1",
        "publish.batch_records: must be from 1 to 1000",
        "publish.batch_bytes: must be a size, like \"4MiB\"",
        "subscribe: must be left out: the adapter market-supervision has no sink",
        "subscribe.window (environment variable SHUQIAO_ADAPTER__SUBSCRIBE__WINDOW): must be from 1 to 10000",
        "run.once_idle: must be a duration",
        "run.shutdown_grace: must be a duration",
        "metrics.listen: must be an IP address and port",
        "weather: is unknown; known here: adapter, broker, state,",
        "market-supervision.file, market-supervision.database: give one of them, not both",
        "market-supervision.file.path: must name a file",
        "market-supervision.file.delimiter: must be one ASCII character",
        "market-supervision.file.encoding: must be one of utf-8, gb18030, gbk",
        "market-supervision.database.url: must be text in quotes, not a whole number",
        "market-supervision.database.key: must have from 1 to 64 characters",
        "market-supervision.database.page: must be a whole number",
        "market-supervision.columns.name: must name a column",
        "market-supervision.columns.names: is unknown",
    ];
    for command in ["check", "run", "reconcile"] {
        let output = program()
            .args([command, "--config"])
            .arg(&path)
            .env("SHUQIAO_ADAPTER__SUBSCRIBE__WINDOW", "10001")
            .output()
            .expect("runs");
        let told = text(&output);
        assert_eq!(output.status.code(), Some(3), "{command}: {told}");
        for mistake in expected {
            assert_eq!(told.matches(mistake).count(), 1, "{command}: {mistake}: {told}");
        }
        assert!(!told.contains("4711"), "{command}: {told}");
        assert!(told.contains("describe ADAPTER --example"), "{command}: {told}");
        if command != "check" {
            assert!(told.contains(&format!("has {} mistakes", expected.len())), "{command}: {told}");
        }
    }
}

#[test]
fn check_finds_everything_that_is_wrong_and_one_failure_does_not_hide_the_next() {
    let directory = tempfile::tempdir().expect("directory");
    credentials(directory.path());
    let path = directory.path().join("adapter.toml");
    fs::write(&path, configuration(directory.path(), "")).expect("writes");
    fs::write(directory.path().join("export.csv"), "名称,统一社会信用代码\n").expect("writes");
    fs::remove_file(directory.path().join("system.key")).expect("removes");
    let output = program().args(["check", "-o", "json", "--config"]).arg(&path).output().expect("runs");
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let failed: Vec<&str> = report["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .filter(|finding| finding["verdict"] == "failed")
        .map(|finding| finding["item"].as_str().expect("item"))
        .collect();
    assert_eq!(failed, ["certificate", "exchange", "file"], "{report}");
    assert!(!directory.path().join("state.db").exists(), "a check makes no state");
}

/// Goal: a configuration with mistakes hides nothing that can be looked at: a mistyped `adapter` not the mistakes of its table, and these not the files.
#[test]
fn check_tells_mistakes_of_the_file_and_of_what_it_names_at_once() {
    let directory = tempfile::tempdir().expect("directory");
    credentials(directory.path());
    let path = directory.path().join("adapter.toml");
    let text_of = configuration(directory.path(), "").replace("adapter =", "adaptor =").replace("'utf-8'", "'ascii'");
    fs::write(&path, text_of).expect("writes");
    for file in ["ca.pem", "system.key"] {
        fs::remove_file(directory.path().join(file)).expect("removes");
    }
    let output = program().args(["check", "--config"]).arg(&path).output().expect("runs");
    let told = text(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    for mistake in [
        "adaptor: is unknown; known here: adapter,",
        "adapter: is missing",
        "market-supervision.file.encoding: must be one of utf-8",
        "ca.pem\" cannot be used",
        "system.key\" cannot be used",
    ] {
        assert_eq!(told.matches(mistake).count(), 1, "{mistake}: {told}");
    }

    // Right in itself, the adapter's table is looked behind as well.
    let text_of = configuration(directory.path(), "[weather]");
    fs::write(&path, text_of).expect("writes");
    let told = text(&program().args(["check", "--config"]).arg(&path).output().expect("runs"));
    assert!(told.contains("weather: is unknown") && told.contains("check market-supervision.file.path"), "{told}");
}

#[test]
fn looking_at_letters_makes_no_state_file() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("adapter.toml");
    fs::write(&path, configuration(directory.path(), "")).expect("writes");
    let output = program().args(["dead-letters", "list", "--config"]).arg(&path).output().expect("runs");
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("has not run yet"), "{}", text(&output));
    assert!(!directory.path().join("state.db").exists());
}

#[test]
fn a_run_that_gives_up_says_that_repeating_is_safe_and_the_environment_overrides() {
    let directory = tempfile::tempdir().expect("directory");
    credentials(directory.path());
    let path = directory.path().join("adapter.toml");
    fs::write(&path, configuration(directory.path(), "[run]\nonce_attempts = 2")).expect("writes");
    fs::write(directory.path().join("export.csv"), "").expect("writes");
    let output = program()
        .args(["run", "--once", "--log-format", "json", "--config"])
        .arg(&path)
        .env("SHUQIAO_ADAPTER__STATE__PATH", directory.path().join("elsewhere.db"))
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert!(text(&output).contains("gave up after 2 attempts"), "{}", text(&output));
    let text_of = text(&output);
    let refused: Vec<_> = text_of.lines().filter(|line| line.contains("Connection refused")).collect();
    for line in &refused {
        assert!(line.contains("https://127.0.0.1:1"), "{line}");
        assert_eq!(line.matches("Connection refused").count(), 1, "{line}");
    }
    assert!(!refused.is_empty(), "{text_of}");
    let first = String::from_utf8_lossy(&output.stderr).lines().next().map(str::to_owned).expect("a log line");
    let line: serde_json::Value = serde_json::from_str(&first).expect("a log line is JSON");
    assert_eq!(line["level"], "WARN");
    assert!(directory.path().join("elsewhere.db").exists() && !directory.path().join("state.db").exists());
}

/// Goal: a service manager stops the process, and it drains; its metrics answer until then; a second process on its state file is refused.
#[test]
fn a_running_adapter_shows_its_metrics_refuses_a_second_one_and_drains_on_sigterm() {
    let directory = tempfile::tempdir().expect("directory");
    credentials(directory.path());
    let path = directory.path().join("adapter.toml");
    fs::write(&path, configuration(directory.path(), "[metrics]\nlisten = '127.0.0.1:0'")).expect("writes");
    fs::write(directory.path().join("export.csv"), "").expect("writes");
    let mut running = program()
        .args(["run", "--log-format", "json", "--config"])
        .arg(&path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(running.stderr.take().expect("standard error")).lines();
    let mut address = String::new();
    for line in lines.by_ref() {
        let line: serde_json::Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        if line["message"] == "metrics" {
            address = line["address"].as_str().expect("address").to_owned();
        }
        // The state file is open once the exchange has been tried.
        if line["message"] == "trying again" {
            break;
        }
    }
    let mut page = String::new();
    let mut stream = TcpStream::connect(&address).expect("connects");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("asks");
    stream.read_to_string(&mut page).expect("answers");
    for metric in ["shuqiao_adapter_build_info", "shuqiao_adapter_rows_read_total", "shuqiao_adapter_failures_total"] {
        assert!(page.contains(metric), "{page}");
    }
    let quiet = fs::read_to_string(&path).expect("reads").replace("[metrics]\nlisten = '127.0.0.1:0'", "");
    let second_path = directory.path().join("second.toml");
    fs::write(&second_path, quiet).expect("writes");
    let second = program().args(["run", "--once", "--config"]).arg(&second_path).output().expect("runs");
    assert_eq!(second.status.code(), Some(3), "{}", text(&second));
    assert!(text(&second).contains("another adapter runs"), "{}", text(&second));

    let stopped = Command::new("kill").arg(running.id().to_string()).status().expect("kill");
    assert!(stopped.success());
    let status = running.wait().expect("ends");
    assert_eq!(status.code(), Some(0));
}
