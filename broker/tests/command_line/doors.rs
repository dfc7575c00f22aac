//! What an operator meets at the door: a configuration with mistakes, files that do not fit, a directory that somebody else uses or that is damaged. Each is
//! told by name, all at once, with the next step; and that step helps.

use std::{io::Write, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use crate::site::{
    ADMINISTRATOR, BYSTANDER, CODE, DATASET, Node, OWNER, PATIENCE, Said, Site, TAXATION, alone, record, text,
};

/// The mistakes as told, a line each, without what is the same in all.
fn mistakes(said: &Said) -> Vec<&str> {
    said.err.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with("next: ")).collect()
}

fn overwrite(path: &Path, content: &[u8]) {
    std::fs::write(path, content).expect("written");
}

#[test]
fn every_mistake_of_a_configuration_and_of_its_files_is_told_at_once() {
    let site = Site::lay_out();
    let good = site.here(&["config", "check"]);
    assert!(good.code == 0 && good.out.contains("no mistakes, 0 warnings"), "{good:?}");

    let pki = site.path("pki");
    // Another's key, an authority that is none, a list that is none, a directory that is a file, a secret that everybody reads.
    std::fs::copy(pki.join("ca.key.pem"), pki.join("issued/server-localhost.key.pem")).expect("copied");
    overwrite(&pki.join("ca.pem"), b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    overwrite(&pki.join("crl.pem"), b"nothing of the kind\n");
    let secret = site.file("exchange.secret", &"0".repeat(64));
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).expect("opened to all");
    site.configured("data\"", &format!("node.toml\"\nexchange_secret = \"{}\"", secret.display()));
    site.configured("name = \"node-1\"", "name = \"node\\u0007\"\ngrace_period = 20\nnmae = \"y\"");
    site.configured("[\"department/data-bureau/person/first\"]", "[\"first\", \"department/a/person/b\", \"second\"]");
    site.configured("free_bytes_min = \"16MiB\"", "free_bytes_min = \"1MiB\"\ncache_bytes = \"4MB\"\ntail_bytes = 1");
    site.configured(
        "[log.embedded]",
        "[view]\ncache_bytes = 1\n[delivery]\nstreams_max = 0\ncursor_delay = \"1h\"\n\
         [datasets]\npartitions_default = 257\nretention_default = \"0s\"\n\
         [limits]\nmessage_bytes_max = \"2MiB\"\nkeepalive = \"1ms\"\nqueries_at_once_max = -1\n[log.embedded]",
    );
    let said = site.here(&["config", "check"]);
    let told = mistakes(&said);
    for path in [
        "node.name",
        "node.grace_period",
        "node.nmae",
        "node.administrators: items 1, 3",
        "log.embedded.free_bytes_min",
        "log.embedded.cache_bytes",
        "log.embedded.tail_bytes",
        "view.cache_bytes",
        "delivery.streams_max",
        "delivery.cursor_delay",
        "datasets.partitions_default",
        "datasets.retention_default",
        "limits.message_bytes_max",
        "limits.keepalive",
        "limits.queries_at_once_max",
        "tls.key",
        "tls.authorities",
        "tls.revocation_lists",
        "node.data_dir",
        "node.exchange_secret",
    ] {
        let of_it = told.iter().filter(|mistake| mistake.contains(path));
        assert_eq!(of_it.count(), 1, "{path}: {said:?}");
    }
    assert!(said.err.starts_with("error: the configuration has 20 mistakes:\n") && told.len() == 20, "{said:?}");
    assert!(said.code == 1 && said.err.contains("\n  next: mend these"), "{said:?}");
    assert!(told.iter().any(|mistake| mistake.contains("is not the key of the certificate in ")), "{said:?}");
    // What the check says, a start says too.
    assert_eq!(site.here(&["serve"]).err, said.err);
}

#[test]
fn what_needs_looking_after_is_a_warning_and_keeps_nobody_from_starting() {
    let site = Site::lay_out();
    let directory = site.path("pki").display().to_string();
    alone(&["pki", "issue", "server", "localhost", "--days", "1", "--directory", &directory], "").ok();
    let key = site.path("pki/issued/server-localhost.key.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("opened to all");
    let said = site.here(&["config", "check"]);
    assert!(said.code == 0 && said.out.contains("no mistakes, 1 warning\n"), "a day is a day's whole life: {said:?}");
    assert!(said.err.starts_with("warning: tls.key: ") && said.err.contains("readable by everybody"), "{said:?}");
    site.start().stop();
}

#[test]
fn a_configuration_in_another_encoding_is_told_with_its_place_and_the_way_out() {
    let site = Site::lay_out();
    let mut content = std::fs::read(site.path("node.toml")).expect("readable");
    let offset = content.len() + 2;
    // 数桥 in GB18030.
    content.extend_from_slice(b"# \xca\xfd\xc7\xc5\n");
    let line = content.iter().filter(|byte| **byte == b'\n').count();
    overwrite(&site.path("node.toml"), &content);
    let said = site.here(&["config", "check"]);
    let place = format!("is not UTF-8: line {line}, byte {offset} of the file\n");
    assert!(said.err.contains(&place) && said.err.contains("iconv -f GB18030 -t UTF-8"), "{place} {said:?}");
    said.fails(1, "node.toml");
}

#[test]
fn a_directory_in_use_says_so_to_whoever_comes_second() {
    let node = Node::start();
    let log = node.path("data/log");
    node.here(&["view", "rebuild"])
        .fails(1, &format!("cannot open the log in {}: another process has it open", log.display()));
    // A second node, with ports of its own.
    let content = std::fs::read_to_string(node.path("node.toml")).expect("readable");
    let ports = content.lines().map(|line| match line.split_once("listen = ") {
        Some((name, _)) => format!("{name}listen = \"127.0.0.1:0\"\n"),
        None => format!("{line}\n"),
    });
    let second = node.file("second.toml", &ports.collect::<String>());
    let said = alone(&["serve", "--config", text(&second)], "");
    assert!(said.err.contains("another node, or a command of one"), "{said:?}");
    said.fails(1, text(&log));
    node.stop();
}

#[test]
fn a_damaged_view_names_itself_and_is_built_anew_where_it_is_moved_away() {
    let node = Node::founded();
    node.ask(OWNER, &["publish", DATASET, "--source-version", "1"], &record()).ok();
    let site = node.stop();
    let view = site.path("data/view");
    overwrite(&view.join("version"), b"scribble");
    let said = site.here(&["serve"]);
    assert!(said.err.contains(&format!("  next: move {} away and start again", view.display())), "{said:?}");
    said.fails(1, &format!("cannot open the view in {}", view.display()));
    std::fs::rename(&view, site.path("moved")).expect("moved");
    let node = site.start();
    assert!(node.ask(TAXATION, &["query", "get", DATASET, CODE, "--purpose", "税务登记"], "").ok().contains(CODE));
    let site = node.stop();

    let log = site.path("data/log");
    overwrite(&log.join("version"), b"scribble");
    let said = site.here(&["serve"]);
    assert!(said.err.contains(&format!("  next: restore {} from the backup", log.display())), "{said:?}");
    said.fails(1, &format!("cannot open the log in {}: stored entries are corrupt", log.display()));
}

#[test]
fn a_node_that_is_killed_while_it_opens_opens_the_next_time() {
    let node = Node::founded();
    node.ask(OWNER, &["publish", DATASET, "--source-version", "1"], &record()).ok();
    let mut site = node.kill();
    for delay_ms in [0, 30, 60, 120, 240] {
        site = site.start_and_kill(std::time::Duration::from_millis(delay_ms));
    }
    let node = site.start();
    assert!(node.ask(TAXATION, &["query", "get", DATASET, CODE, "--purpose", "税务登记"], "").ok().contains(CODE));
    node.stop();
}

#[test]
fn a_hang_up_ends_nothing_and_a_stop_does() {
    let node = Node::start();
    node.signal("-HUP");
    std::thread::sleep(std::time::Duration::from_millis(300));
    node.ask(ADMINISTRATOR, &["status"], "").ok();
    node.stop();
}

#[test]
fn an_older_version_is_kept_in_the_history_and_changes_nothing_else() {
    let node = Node::founded();
    let older = record().replace("最小", "从前");
    for (version, payload) in [("5", record()), ("4", older)] {
        let said = node.ask(OWNER, &["publish", DATASET, "--source-version", version, "-o", "json"], &payload).ok();
        assert!(said.contains("\"accepted\": 1"), "{said}");
    }
    // A node that is ready has applied what its log holds.
    let node = node.stop().start();
    let ask =
        |question: &str| node.ask(TAXATION, &["query", question, DATASET, CODE, "--purpose", "税务登记"], "").ok();
    let newest = ask("get");
    assert!(newest.contains("最小") && !newest.contains("从前"), "{newest}");
    let history = ask("history");
    assert!(history.contains("最小") && history.contains("从前"), "{history}");
    // As the help says.
    let help = alone(&["publish", "--help"], "").ok();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("kept in the key's history (`shuqiao query history`)"), "{help}");
    node.stop();
}

#[test]
fn a_node_that_stops_while_records_come_leaves_an_account_of_what_it_took() {
    let node = Node::founded();
    let mut publisher =
        node.command(OWNER, &["publish", DATASET, "--source-version", "1", "--batch-records", "1", "-o", "json"]);
    let mut publisher =
        publisher.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut input = publisher.stdin.take().expect("piped");
    writeln!(input, "{}", record()).expect("it reads");
    let held = || {
        let status = node.ask(OWNER, &["status", "-o", "json"], "").ok();
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        status["datasets"][0]["log_end"].as_str().is_some_and(|ends| ends.contains(":1"))
    };
    let begun = std::time::SystemTime::now();
    while !held() {
        assert!(begun.elapsed().expect("the clock goes on") < PATIENCE, "the record is not in the log");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    node.stop();
    writeln!(input, "{}", record()).expect("it reads");
    drop(input);
    let said = Said::from(publisher.wait_with_output().expect("it ends"));
    let summary: serde_json::Value = serde_json::from_str(&said.out).expect("a summary all the same");
    assert_eq!((&summary["accepted"], &summary["unknown"]), (&1.into(), &1.into()), "{said:?}");
    said.fails(7, "");
}

/// The long help tells the codes; a command ends with each of them.
#[test]
fn every_exit_code_of_the_help_is_met_by_a_command() {
    let help = alone(&["--help"], "").ok();
    let (_, codes) = help.split_once("Exit codes:\n").expect("a table");
    let codes: Vec<i32> = codes.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    let site = Site::lay_out();
    let pki = site.path("pki").display().to_string();
    let csv = "a,b\n1,2\n";
    let mut met = vec![
        alone(&["config", "manual"], "").code,
        alone(&["config", "check", "/nonexistent/node.toml"], "").code,
        alone(&["get"], "").code,
        alone(&["inspect", "identifiers", "--column", "c"], csv).code,
        alone(&["schema", "describe", "nosuch/v1"], "").code,
        alone(&["pki", "init", "city.example", "--directory", &pki], "").code,
        site.ask(ADMINISTRATOR, &["status"], "").code,
    ];
    let node = site.start();
    met.push(node.ask(BYSTANDER, &["list", "datasets"], "").code);
    node.stop();
    met.sort_unstable();
    assert_eq!(met, codes, "{help}");
    assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7], "scripts count on them");
}
