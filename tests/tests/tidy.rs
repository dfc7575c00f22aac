//! The rules of the repository, so that a local test run and CI agree on them. Each lists everything that breaks it, not only the first.

use std::{
    collections::BTreeSet,
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

/// The comment of every call, together with its service's, says what a caller must know.
#[test]
fn every_rpc_says_whether_it_repeats_in_which_order_within_which_bounds_and_how_it_fails() {
    let mut broken = Vec::new();
    let mut calls = 0;
    for path in with_ending("proto") {
        let (mut service, mut comment) = (String::new(), String::new());
        for line in text(&path).lines().map(str::trim) {
            if let Some(words) = line.strip_prefix("//") {
                comment.push_str(words);
            } else if line.starts_with("service ") {
                service = std::mem::take(&mut comment);
            } else if let Some(call) = line.strip_prefix("rpc ") {
                calls += 1;
                let name = call.split('(').next().unwrap_or_default();
                let said = format!("{service} {comment}").to_lowercase();
                let several = call.contains("stream ") || name.starts_with("List");
                let wanted: [(&str, bool, &[&str]); 4] = [
                    ("idempotency", true, &["idempoten", "safe to repeat", "guarded by etag", "at least once"]),
                    ("ordering", several, &["order", "newest first"]),
                    ("bounds", several, &["at most", "bounds"]),
                    ("status codes", true, &["status"]),
                ];
                for (what, needed, words) in wanted {
                    if needed && !words.iter().any(|word| said.contains(word)) {
                        broken.push(format!("{}: {name}: nothing about {what}", shown(&path)));
                    }
                }
                if comment.is_empty() {
                    broken.push(format!("{}: {name}: no comment", shown(&path)));
                }
                comment.clear();
            } else {
                comment.clear();
            }
        }
    }
    assert!(calls > 20, "only {calls} calls were found: the rule looks in the wrong place");
    none("comments of calls", broken);
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
