//! The rules of the repository, so that a local test run and CI agree on them. Each lists everything that breaks it, not only the first.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Lines of code of a source file, at most; comments and blank lines are free. Past 500 lines in all there is a seam to be found; this is where nobody can say
/// that it was not seen.
const LINES_MAX: usize = 600;

/// Everything that may lie at the top. A new entry is a decision: make it here.
const TOP: [&str; 19] = [
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "adapters",
    "broker",
    "changelog.d",
    "clippy.toml",
    "deny.toml",
    "deploy",
    "proto",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "schemas",
    "tests",
];

fn root() -> PathBuf {
    shuqiao_tests::fixtures::binaries::workspace()
}

/// Every file of the repository: all but what git keeps for itself and what builds leave behind.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default();
            if name == ".git" || name == "target" {
                continue;
            }
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn with_ending(ending: &str) -> Vec<PathBuf> {
    files().into_iter().filter(|path| path.extension().is_some_and(|found| found == ending)).collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", shown(path)))
}

#[track_caller]
fn none(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

#[test]
fn every_top_level_entry_was_decided_on() {
    let allowed: BTreeSet<_> = TOP.into_iter().collect();
    let entries = fs::read_dir(root()).expect("the root").map(|entry| entry.expect("an entry").file_name());
    let names = entries.map(|name| name.to_string_lossy().into_owned());
    let strangers = names.filter(|name| name != ".git" && name != "target" && !allowed.contains(name.as_str()));
    none("not in the list of what may lie at the top", strangers.collect());
}

#[test]
fn no_source_file_is_longer_than_anybody_reads() {
    let sources = with_ending("rs").into_iter().filter(|path| path.components().any(|part| part.as_os_str() == "src"));
    let long = sources.filter_map(|path| {
        let code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        let lines = text(&path).lines().filter(code).count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines", shown(&path)))
    });
    none("longer than 600 lines: find the seam", long.collect());
}

#[test]
fn every_source_file_begins_by_saying_what_it_is() {
    let silent = with_ending("rs").into_iter().filter(|path| !text(path).starts_with("//!"));
    none("begins without //!", silent.map(|path| shown(&path)).collect());
}

/// What the comment of a call says, by the words that it is said with.
const STATEMENTS: [&str; 4] = ["Idempotency:", "Ordering:", "Bounds:", "Status:"];
/// The codes of gRPC that a status has.
const CODES: [&str; 15] = [
    "CANCELLED",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Every reason of `error_details.proto` by the code that `rpc/status.rs` gives it.
fn reasons() -> BTreeMap<String, String> {
    let snake = |name: &str| {
        let mut snake = String::new();
        for letter in name.chars() {
            if letter.is_ascii_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_uppercase());
        }
        snake
    };
    let table = text(&root().join("broker/src/rpc/status.rs"));
    let rows = table.split("(Code::").skip(1).filter_map(|row| {
        let (code, rest) = row.split_once(", Reason::")?;
        let (reason, _) = rest.split_once(')')?;
        Some((snake(reason), snake(code)))
    });
    rows.collect()
}

/// Whether nothing but a bracket follows.
fn opens(rest: &str) -> bool {
    rest.trim_start().starts_with('(')
}

/// The reasons that a statement about status names, each in the brackets behind its code; and what is wrong with it. A code that is a reason's name, too,
/// names it.
fn named(statement: &str, reasons: &BTreeMap<String, String>) -> (BTreeSet<String>, Vec<String>) {
    let (mut found, mut broken) = (BTreeSet::new(), Vec::new());
    // The code before each bracket that is open.
    let (mut open, mut last): (Vec<Option<&str>>, Option<&str>) = (Vec::new(), None);
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let is_word = |letter: char| letter.is_ascii_uppercase() || letter == '_';
        let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end.max(first.len_utf8()));
        rest = behind;
        match first {
            '(' => open.push(last.take()),
            ')' => drop(open.pop()),
            _ if end > 4 && word != "REJECTED" => {
                let code = open.iter().rev().copied().flatten().next();
                match (reasons.get(word), code) {
                    (Some(wanted), Some(code)) if wanted == code => drop(found.insert(word.to_owned())),
                    (Some(wanted), None) if wanted == word => drop(found.insert(word.to_owned())),
                    (Some(wanted), _) => broken.push(format!("{word} comes with {wanted}")),
                    (None, _) if CODES.contains(&word) => {}
                    (None, _) => broken.push(format!("no status and no reason {word}")),
                }
                last = CODES.into_iter().find(|code| *code == word && opens(rest));
            }
            _ => {}
        }
    }
    (found, broken)
}

/// What is wrong with the comment of a call, where its service's says what is true `of every call`, `of a command`; and the reasons that it names.
fn judge(service: &str, comment: &str, reasons: &BTreeMap<String, String>) -> (BTreeSet<String>, Vec<String>) {
    let missing = STATEMENTS.into_iter().filter(|statement| !comment.contains(statement));
    let mut broken: Vec<_> = missing.map(|statement| format!("nothing about {statement}")).collect();
    let status = comment.split_once("Status:").map(|(_, status)| status.trim()).unwrap_or_default();
    let borrowed = status.split("; ").take_while(|part| part.starts_with("of ")).map(|part| part.trim_end_matches('.'));
    for part in borrowed {
        if !service.contains(&format!("Status {part}")) {
            broken.push(format!("the service says no \"Status {part}\""));
        }
    }
    let (found, wrong) = named(status, reasons);
    broken.extend(wrong);
    if found.is_empty() && !status.starts_with("of ") {
        broken.push("Status: names none".to_owned());
    }
    (found, broken)
}

/// The comment of every call says what a caller must know. Its reasons exist and come with the code that it names, and every reason is told somewhere.
#[test]
fn every_rpc_says_whether_it_repeats_in_which_order_within_which_bounds_and_how_it_fails() {
    let reasons = reasons();
    let mut broken = Vec::new();
    let mut told = BTreeSet::new();
    let mut calls = 0;
    for path in with_ending("proto") {
        let (mut service, mut comment) = (String::new(), String::new());
        for line in text(&path).lines().map(str::trim) {
            if let Some(words) = line.strip_prefix("//") {
                comment.push_str(words.trim());
                comment.push(' ');
            } else if line.starts_with("service ") {
                service = std::mem::take(&mut comment);
                let status = service.find("Status ").and_then(|at| service.get(at..)).unwrap_or_default();
                let (found, wrong) = named(status, &reasons);
                told.extend(found);
                broken.extend(wrong.into_iter().map(|wrong| format!("{}: {line}: {wrong}", shown(&path))));
            } else if let Some(call) = line.strip_prefix("rpc ") {
                calls += 1;
                let name = call.split('(').next().unwrap_or_default();
                let (found, wrong) = judge(&service, &comment, &reasons);
                told.extend(found);
                broken.extend(wrong.into_iter().map(|wrong| format!("{}: {name}: {wrong}", shown(&path))));
                comment.clear();
            } else {
                comment.clear();
            }
        }
    }
    assert!(calls > 20, "only {calls} calls were found: the rule looks in the wrong place");
    let nowhere = reasons.keys().filter(|reason| !told.contains(*reason));
    broken.extend(nowhere.map(|reason| format!("no call names {reason}")));
    none("comments of calls", broken);
}

#[test]
fn a_comment_that_says_too_little_or_the_wrong_thing_is_seen() {
    let reasons = reasons();
    let wrong = |service: &str, comment: &str| judge(service, comment, &reasons).1;
    let good = "Words. Idempotency: a. Ordering: b. Bounds: c. Status: of every call; NOT_FOUND (RESOURCE_NOT_FOUND: x), DATA_LOSS.";
    let service = "Status of every call: INTERNAL.";
    assert_eq!(wrong(service, good), [""; 0]);
    let (found, _) = judge(service, good, &reasons);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["DATA_LOSS", "RESOURCE_NOT_FOUND"]);
    assert_eq!(wrong("", good), ["the service says no \"Status of every call\""]);
    for statement in ["Idempotency: a. ", "Ordering: b. ", "Bounds: c. "] {
        assert_eq!(wrong(service, &good.replace(statement, "")).len(), 1, "{statement}");
    }
    assert_eq!(
        wrong(service, &good.replace("RESOURCE_NOT_FOUND", "NOTHING_FOUND")),
        ["no status and no reason NOTHING_FOUND"]
    );
    assert_eq!(
        wrong(service, &good.replace("RESOURCE_NOT_FOUND", "NOT_OWNER")),
        ["NOT_OWNER comes with PERMISSION_DENIED"]
    );
    assert_eq!(wrong(service, &good.replace("DATA_LOSS", "DISK_FULL")), ["DISK_FULL comes with RESOURCE_EXHAUSTED"]);
    assert_eq!(wrong(service, "Idempotency: a. Ordering: b. Bounds: c. Status: some."), ["Status: names none"]);
}

/// A reason that nobody explains helps nobody.
#[test]
fn every_reason_says_what_is_the_matter_and_is_given_by_the_one_table() {
    let given = reasons();
    let mut broken = Vec::new();
    let mut known = BTreeSet::new();
    let mut before = "";
    let details = text(&root().join("proto/shuqiao/exchange/v1/error_details.proto"));
    for line in details.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("REASON_").and_then(|rest| rest.split(" = ").next()) {
            known.insert(name.to_owned());
            if name != "UNSPECIFIED" && !before.starts_with("// ") {
                broken.push(format!("{name}: says nothing"));
            }
            if name != "UNSPECIFIED" && !given.contains_key(name) {
                broken.push(format!("{name}: rpc/status.rs never gives it"));
            }
        }
        before = line;
    }
    broken.extend(given.keys().filter(|name| !known.contains(*name)).map(|name| format!("{name}: is no reason")));
    assert!(known.len() > 20, "only {} reasons were found: the rule looks in the wrong place", known.len());
    none("reasons", broken);
}

#[test]
fn every_enum_of_the_wire_has_an_unspecified_zero() {
    let mut broken = Vec::new();
    for path in with_ending("proto") {
        let mut inside = None;
        for line in text(&path).lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("enum ") {
                inside = Some(name.trim_end_matches(" {").to_owned());
            } else if let Some(name) = &inside
                && line.ends_with("= 0;")
            {
                if !line.contains("_UNSPECIFIED = 0;") {
                    broken.push(format!("{}: {name}: {line}", shown(&path)));
                }
                inside = None;
            }
        }
    }
    none("zero must be _UNSPECIFIED", broken);
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    let mut broken = Vec::new();
    let mut links = 0;
    for path in with_ending("md") {
        let mut fenced = false;
        for line in text(&path).lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            if fenced {
                continue;
            }
            let inline = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            let reference =
                line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target.trim());
            for target in inline.chain(reference) {
                if target.contains("://") || target.starts_with("mailto:") || target.starts_with('#') {
                    continue;
                }
                links += 1;
                let file = target.split('#').next().unwrap_or_default();
                if !path.parent().unwrap_or(&path).join(file).exists() {
                    broken.push(format!("{}: {target}", shown(&path)));
                }
            }
        }
    }
    assert!(links > 0, "no link was found: the rule looks in the wrong place");
    none("links to nothing", broken);
}

#[test]
fn every_configuration_file_parses() {
    let broken = with_ending("toml").into_iter().filter_map(|path| {
        let error = toml::from_str::<toml::Table>(&text(&path)).err()?;
        Some(format!("{}: {error}", shown(&path)))
    });
    none("no TOML", broken.collect());
    for name in ["embedded.toml", "kafka.toml"] {
        let path = root().join("deploy/config").join(name);
        if let Err(error) = shuqiao_broker::config::Config::parse(&text(&path), &|_| None) {
            panic!("{name}: {error}");
        }
    }
}

/// Documents, comments and scripts speak of the repository and of the machines that it is installed on, never of the one that it was written on.
#[test]
fn nobodys_home_is_named() {
    // Put together here, so that this file does not break its own rule.
    let homes = ["root", "Users", "work", "home"].map(|name| format!("/{name}/"));
    let binary = ["png", "jpg", "ico", "woff2", "bin", "lock"];
    let mut broken = Vec::new();
    for path in files() {
        if path.extension().is_some_and(|ending| binary.iter().any(|one| ending == *one)) {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        // In a program the last one may be a JSON Pointer.
        let names = if path.extension().is_some_and(|ending| ending == "rs") { &homes[..3] } else { &homes[..] };
        for (number, line) in text.lines().enumerate() {
            for home in names {
                let named = line.match_indices(home.as_str()).any(|(at, _)| {
                    let before = line.as_bytes()[..at].last();
                    // A path begins here: what stands before is not a part of one.
                    before.is_none_or(|byte| !byte.is_ascii_alphanumeric() && !b"-_.}*/".contains(byte))
                });
                if named {
                    broken.push(format!("{}:{}: {home}", shown(&path), number + 1));
                }
            }
        }
    }
    none("an absolute path of somebody's machine", broken);
}

/// Arrows point one way: what a room may not name (ARCHITECTURE.md, "The map").
#[test]
fn no_room_names_what_it_may_not_know() {
    /// A room, what it may not name, and the part of it that may.
    const DOMAIN: &[&str] = &[
        "exchange::catalogue",
        "exchange::policy",
        "exchange::publishing",
        "exchange::delivery",
        "exchange::query",
        "exchange::audit",
        "crate::view",
        "crate::log",
    ];
    const RULES: [(&str, &[&str], &[&str]); 12] = [
        ("broker/src/exchange", &["tonic", "rdkafka", "rustls", "fjall", "axum"], &[]),
        ("broker/src/log", &["tonic", "axum", "rustls"], &[]),
        ("broker/src/view", &["tonic", "rdkafka", "rustls"], &[]),
        ("broker/src/rpc", &["rdkafka", "fjall"], &[]),
        ("broker/src", &["shuqiao_adapter", "sqlx"], &[]),
        ("broker/src", &["rdkafka"], &["broker/src/log/kafka"]),
        ("broker/src", &["rustls"], &["broker/src/tls"]),
        ("broker/src/tls", DOMAIN, &[]),
        ("broker/src/cli", DOMAIN, &[]),
        ("adapters", &["shuqiao_broker", "rdkafka", "fjall"], &[]),
        ("schemas/src", &["tonic", "tokio", "rdkafka", "fjall", "shuqiao_proto", "shuqiao_broker"], &[]),
        ("proto/src", &["tokio", "shuqiao_schemas", "shuqiao_broker", "shuqiao_adapter"], &[]),
    ];
    let mut broken = Vec::new();
    for path in with_ending("rs") {
        let name = shown(&path);
        for (room, forbidden, except) in RULES {
            let inside = Path::new(&name).starts_with(room);
            if !inside || except.iter().any(|one| name.starts_with(one)) {
                continue;
            }
            for (number, line) in text(&path).lines().enumerate() {
                let code = line.trim_start();
                let speech = code.starts_with("//");
                for one in forbidden {
                    let apart =
                        |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
                    let named = [format!("{one}::"), format!("use {one}")].iter().any(|form| {
                        code.match_indices(form.as_str()).any(|(at, _)| {
                            let (before, rest) = code.as_bytes().split_at(at);
                            apart(before.last()) && (form.ends_with(':') || apart(rest.get(form.len())))
                        })
                    });
                    if named && !speech {
                        broken.push(format!("{name}:{}: {one}", number + 1));
                    }
                }
            }
        }
    }
    none("a room names what it may not know", broken);
}

#[test]
fn only_one_file_builds_a_status() {
    let mut broken = Vec::new();
    for path in with_ending("rs") {
        let name = shown(&path);
        if !name.starts_with("broker/src") || name == "broker/src/rpc/status.rs" || name.contains("tests") {
            continue;
        }
        for (number, line) in text(&path).lines().enumerate() {
            if line.contains("Status::new(") || line.contains("Status::with_") || line.contains("into_status()") {
                broken.push(format!("{name}:{}", number + 1));
            }
        }
    }
    none("a Status is built elsewhere than in rpc/status.rs", broken);
}

#[test]
fn departments_do_not_import_each_other() {
    let departments: Vec<_> = fs::read_dir(root().join("adapters"))
        .expect("adapters")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| !["sdk", "runner"].contains(&name.as_str()))
        .collect();
    let mut broken = Vec::new();
    for department in &departments {
        let manifest = text(&root().join("adapters").join(department).join("Cargo.toml"));
        for other in departments.iter().filter(|other| *other != department) {
            if manifest.contains(&format!("shuqiao-adapter-{other}")) {
                broken.push(format!("{department} names {other}"));
            }
        }
    }
    none("departments", broken);
}

#[test]
fn every_crate_keeps_the_workspaces_lints_and_dependency_table() {
    let mut broken = Vec::new();
    for path in with_ending("toml").into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        let manifest: toml::Table = toml::from_str(&text(&path)).expect("TOML");
        if manifest.contains_key("workspace") {
            continue;
        }
        let inherits =
            |value: Option<&toml::Value>| value.and_then(|value| value.get("workspace")?.as_bool()) == Some(true);
        if !inherits(manifest.get("lints")) {
            broken.push(format!("{}: lints are not the workspace's", shown(&path)));
        }
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let table = manifest.get(section).and_then(toml::Value::as_table);
            for (name, value) in table.into_iter().flatten() {
                if !inherits(Some(value)) {
                    broken.push(format!("{}: {section}.{name} is not from the workspace's table", shown(&path)));
                }
            }
        }
    }
    none("manifests", broken);
}
