//! The command line against a node of its own: the real binary on both ends, mutual TLS between them, every answer and exit code as a script meets them.

mod doors;
mod site;

use site::{ADMINISTRATOR, BYSTANDER, CODE, DATASET, Node, OWNER, SHARED, TAXATION, alone, record, text};

const SUBSCRIPTION: &str = "
kind: subscription
name: taxation.enterprise
dataset: market-supervision.enterprise
subscriber: taxation
start: beginning
purpose: 税务登记
";

#[test]
fn resources_are_applied_shown_changed_and_deleted() {
    let node = Node::start();
    node.file("manifests/10-departments.yaml", site::DEPARTMENTS);
    node.file("manifests/20-shared.json", SHARED);
    node.file("manifests/README.md", "no manifest");
    let manifests = node.path("manifests");
    let apply = ["apply", "-f", text(&manifests)];

    node.ask(OWNER, &apply, "").fails(5, "IDENTITY_UNKNOWN");
    let said = node.ask(ADMINISTRATOR, &["apply", "--dry-run", "-f", text(&manifests)], "").ok();
    assert_eq!(said.matches("would be created").count(), 5, "{said}");
    let created = node.ask(ADMINISTRATOR, &apply, "").ok();
    assert_eq!(
        created.lines().collect::<Vec<_>>(),
        [
            "departments/market-supervision created",
            "departments/taxation created",
            "departments/civil-affairs created",
            "datasets/market-supervision.enterprise created",
            "grants/market-supervision.taxation-enterprise created",
        ]
    );
    let again = node.ask(ADMINISTRATOR, &apply, "").ok();
    assert_eq!(again, created.replace(" created", " unchanged"), "the second time nothing is changed");
    assert_eq!(
        node.ask(TAXATION, &["apply", "-f", "-"], SUBSCRIPTION).ok(),
        "subscriptions/taxation.enterprise created\n"
    );

    // What get prints, apply takes.
    for (kind, name) in
        [("dataset", DATASET), ("grant", "market-supervision.taxation-enterprise"), ("department", "taxation")]
    {
        for format in ["yaml", "json"] {
            let shown = node.ask(ADMINISTRATOR, &["get", kind, name, "-o", format], "").ok();
            let said = node.ask(ADMINISTRATOR, &["apply", "-f", "-"], &shown).ok();
            assert_eq!(said, format!("{kind}s/{name} unchanged\n"), "{shown}");
        }
    }
    let listed = node.ask(BYSTANDER, &["list", "datasets", "-o", "json"], "").ok();
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed[0]["name"], "datasets/market-supervision.enterprise");
    let described = node.ask(OWNER, &["describe", "dataset", DATASET], "").ok();
    for part in [
        "record_type: enterprise/v1",
        "# grants\n",
        "market-supervision.taxation-enterprise",
        "# progress on node node-1",
    ] {
        assert!(described.contains(part), "{part}: {described}");
    }
    let described = node.ask(TAXATION, &["describe", "grant", "market-supervision.taxation-enterprise"], "").ok();
    for part in ["# in force: yes, until 2098-12-31T16:00:00Z", "企业登记信息", "conditional", "# fields: "] {
        assert!(described.contains(part), "{part}: {described}");
    }
    assert!(described.lines().any(|line| line.starts_with("/name ") && line.contains(" clear ")), "{described}");
    let described = node.ask(TAXATION, &["describe", "subscription", "taxation.enterprise"], "").ok();
    assert!(described.contains("subscriber: taxation"), "{described}");

    // A changed title, then a stale etag.
    let retitled = SHARED.replace("企业登记信息", "企业登记信息（新）");
    let said = node.ask(OWNER, &["apply", "-f", "-"], &retitled).ok();
    assert!(said.contains("datasets/market-supervision.enterprise updated"), "{said}");
    let moved = SHARED.replace("enterprise/v1", "licence/v1");
    node.ask(OWNER, &["apply", "-f", "-"], &moved).fails(3, "IMMUTABLE");
    node.ask(OWNER, &["delete", "dataset", DATASET, "--etag", "v1"], "").fails(6, "ETAG_MISMATCH");
    node.ask(OWNER, &["delete", "dataset", DATASET], "").fails(6, "STILL_REFERRED_TO");
    node.ask(TAXATION, &["delete", "dataset", DATASET], "").fails(5, "NOT_OWNER");
    node.ask(TAXATION, &["get", "dataset", "market-supervision.none"], "").fails(4, "DATASET_NOT_FOUND");

    // Revoked is not unchanged.
    assert_eq!(
        node.ask(OWNER, &["delete", "grant", "market-supervision.taxation-enterprise"], "").ok(),
        "grants/market-supervision.taxation-enterprise revoked\n"
    );
    let said = node.ask(OWNER, &["apply", "-f", "-"], &retitled);
    assert!(said.code == 6 && said.err.contains("is revoked, and stays so"), "{said:?}");

    // Auditors see who did all this, denials too.
    let trail = node.ask(TAXATION, &["audit", "list", "-o", "json", "--limit", "1000"], "").ok();
    for part in [r#""command":"create_grant""#, r#"{"denied":"NOT_OWNER"}"#, r#"{"denied":"STILL_REFERRED_TO"}"#] {
        assert!(trail.contains(part), "{part}: {trail}");
    }

    // The newest of them, without what the asking adds.
    let index = |line: &str| -> u64 {
        let entry: serde_json::Value = serde_json::from_str(line).expect("JSON");
        entry["index"].as_u64().expect("an index")
    };
    let end = trail.lines().map(index).max().expect("entries") + 1;
    let list =
        |arguments: &[&str]| node.ask(TAXATION, &[&["audit", "list", "-o", "json"], arguments].concat(), "").ok();
    let newest = list(&["--last", "3"]);
    // The reading of the whole trail stands last.
    assert_eq!(newest.lines().map(index).collect::<Vec<_>>(), [end - 2, end - 1, end], "{newest}");
    let theirs: Vec<_> =
        trail.lines().filter(|line| line.contains(r#""actor":"department/market-supervision/"#)).collect();
    let newest = list(&["--last", "2", "--department", "market-supervision"]);
    assert_eq!(newest.lines().collect::<Vec<_>>(), theirs[theirs.len() - 2..], "however far back they are");
    let all = list(&["--last", "10000", "--department", "market-supervision"]);
    assert_eq!(all.lines().collect::<Vec<_>>(), theirs, "and no more than there are");
    let table = node.ask(TAXATION, &["audit", "list", "--limit", "2"], "");
    assert!(table.out.contains("PURPOSE") && table.err.contains("--last the newest"), "{table:?}");
    node.stop();
}

#[test]
fn a_record_is_published_queried_subscribed_to_and_refused_without_a_grant() {
    let node = Node::founded();
    node.ask(TAXATION, &["apply", "-f", "-"], SUBSCRIPTION).ok();
    let record = record();
    let said = node.ask(OWNER, &["publish", DATASET, "-o", "json"], &record).ok();
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&said["read"], &said["accepted"]), (&1.into(), &1.into()), "{said}");
    let wrong = record.replace("0740", "0741");
    // What is refused takes no number: the next record gets it.
    let said = node.ask(OWNER, &["publish", DATASET, "-o", "json"], &wrong);
    let summary: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((said.code, &summary["rejected"], &summary["last_sequence"]), (3, &1.into(), &1.into()), "{said:?}");
    assert!(said.err.contains("warning: without --source-version"), "{said:?}");
    node.ask(TAXATION, &["publish", DATASET], &record).fails(5, "NOT_OWNER");
    // A line that is no payload does not hide what became of those before it.
    let said = node.ask(OWNER, &["publish", DATASET, "--batch-records", "1", "-o", "json"], &format!("{record}\n{{\n"));
    assert!(said.code == 3 && said.err.contains("line 2: not JSON"), "{said:?}");
    let summary: serde_json::Value = serde_json::from_str(&said.out).expect("a summary all the same");
    assert_eq!((&summary["read"], &summary["accepted"]), (&1.into(), &1.into()), "{summary}");

    let line = node.ask(TAXATION, &["subscribe", "taxation.enterprise", "--limit", "1", "--idle", "30s"], "").ok();
    let line: serde_json::Value = serde_json::from_str(&line).expect("one line of JSON");
    assert_eq!((&line["key"], &line["payload"]["name"]), (&CODE.into(), &"杭州最小示例有限公司".into()));

    let ask = |caller: &str| node.ask(caller, &["query", "get", DATASET, CODE, "--purpose", "税务登记"], "");
    assert!(ask(TAXATION).ok().contains(r#""payload":{"unified_social_credit_code": "91330100MA00000740""#));
    ask(BYSTANDER).fails(5, "GRANT_MISSING");
    let list = |filter| {
        node.ask(TAXATION, &["query", "list", DATASET, "--purpose", "税务登记", "--where", filter, "-o", "table"], "")
    };
    list("status=nonsense").fails(3, "UNKNOWN_CODE: not a code of the table enterprise-status");
    list("nothing=1").fails(3, "NOT_INDEXED: no indexed field; indexed: name, registration_number, status, region");
    assert!(list("name=杭州最小示例有限公司").ok().contains(CODE));
    let subject = ["query", "subject", "uscc", CODE, "--purpose", "税务登记"];
    assert!(node.ask(TAXATION, &subject, "").ok().contains(DATASET));
    let digest = ["view", "digest", DATASET, "--purpose", "对账", "-o", "json"];
    let digest: serde_json::Value = serde_json::from_str(&node.ask(OWNER, &digest, "").ok()).expect("JSON");
    assert_eq!(digest["count"], 1);
    node.ask(OWNER, &["delete", "grant", "market-supervision.taxation-enterprise"], "").ok();
    ask(TAXATION).fails(5, "GRANT_REVOKED");
    node.stop();
}

#[test]
fn a_receipt_is_verified_without_the_node_until_a_byte_of_it_changes() {
    let node = Node::founded();
    let file = node.path("receipts.jsonl");
    let record = record();
    let publish = ["publish", DATASET, "--source-version", "7", "--batch-records", "1", "--receipts", text(&file)];
    let said = node.ask(OWNER, &publish, &format!("{record}\n{}\n{record}\n", record.replace("0740", "0741")));
    assert!(said.code == 3 && !said.err.contains("--source-version"), "{said:?}");
    let status = node.ask(OWNER, &["status", "-o", "json"], "").ok();
    let status_file = node.file("status.json", &status);
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let key = status["receipt_public_key"].as_str().expect("a key").to_owned();
    node.ask(OWNER, &publish, &record).ok();
    let _site = node.stop();
    let receipts = std::fs::read_to_string(&file).expect("written");
    assert_eq!(receipts.lines().count(), 3, "one a batch in which something was accepted, run after run: {receipts}");
    let verify = ["receipt", "verify", text(&file), "--status", text(&status_file)];
    let said = alone(&verify, "").ok();
    assert_eq!(said.matches("good").count(), 3, "{said}");
    alone(&["receipt", "verify", "--public-key", &key], &receipts).ok();

    let tampered = receipts.replacen(r#""accepted_count":1"#, r#""accepted_count":2"#, 1);
    let said = alone(&["receipt", "verify", "--public-key", &key, "-o", "json"], &tampered);
    let answers: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    let verdicts = [0, 1, 2].map(|number| answers[number]["verdict"].as_str().unwrap_or("none").to_owned());
    assert_eq!(verdicts, ["bad_signature", "good", "good"]);
    said.fails(3, "1 of 3 receipts not signed");
    alone(&["receipt", "verify", "--public-key", &"0".repeat(64)], &receipts).fails(3, "3 of 3 receipts not signed");
    alone(&["receipt", "verify", "--public-key", "00"], &receipts).code_is(2);
    alone(&["receipt", "verify", "--public-key", &key], "\n").code_is(3);
}

#[test]
fn tools_answer_without_a_node() {
    let codes = format!("{CODE}\n{}\n\n330106199003070022\n", CODE.replace("740", "741"));
    let said = alone(&["inspect", "identifiers", "-o", "jsonl"], &codes);
    let rows: Vec<serde_json::Value> = said.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let verdicts: Vec<_> = rows.iter().map(|row| (row["kind"].as_str(), row["verdict"].as_str())).collect();
    let row = |kind, verdict| (Some(kind), Some(verdict));
    assert_eq!(verdicts[..2], [row("uscc", "ok"), row("uscc", "error")]);
    assert_eq!((verdicts.len(), verdicts[3].0), (4, Some("resident_id")), "an answer for every line, in order");
    assert_eq!(said.code, 0);
    let csv = format!("name,code\na,{CODE}\n\"b, c\",x\n");
    let said = alone(&["inspect", "identifiers", "--column", "code", "-o", "csv"], &csv).ok();
    assert_eq!(said.lines().next(), Some("input,kind,normal,verdict,reason,changes"));
    assert!(
        said.lines().nth(1).is_some_and(|line| line.starts_with("91330100MA00000740,uscc,91330100MA00000740,ok,")),
        "{said}"
    );
    assert_eq!(said.lines().count(), 3);
    let said = alone(&["inspect", "identifiers", "--column", "none"], &csv);
    assert!(said.code == 3 && said.err.contains("it has: name, code"), "{said:?}");

    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(alone(&["completions", shell], "").ok().contains("shuqiao"), "{shell}");
    }
    let said = alone(&["schema", "describe", "enterprise/v1", "-o", "json"], "").ok();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&said).expect("JSON")["name"], "enterprise/v1");
    assert_eq!(alone(&["schema", "describe", "nosuch/v1"], "").code, 4);
    let schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas");
    alone(&["schema", "check", schemas], "").code_is(0);
    alone(&["schema", "diff", "enterprise/v1", &format!("{schemas}/enterprise/v1"), "--mode", "full"], "").code_is(0);
    let said = alone(&["schema", "diff", "enterprise/v1", "licence/v1", "-o", "json"], "");
    assert!(said.code == 3 && said.out.contains("name-changed") && said.err.contains("next: "), "{said:?}");
    let said = alone(&["get", "dataset", "x"], "");
    assert!(said.code == 2 && said.err.contains("Missing: --endpoint"), "{said:?}");
    assert!(said.err.contains("in the sandbox: --profile target/sandbox/clients/taxation.toml"), "{said:?}");
    let said = alone(&["inspect", "identifiers"], &format!("{CODE}\n"));
    assert!(said.err.contains("1 row: 1 ok, 0 warnings, 0 errors"), "{said:?}");
    let said = alone(&["apply", "-f", "-"], "kind: department\n\tname: x\n");
    assert!(said.code == 3 && said.err.starts_with("error: standard input, document 1: "), "{said:?}");
    assert_eq!(said.err.matches("error").count(), 1, "{said:?}");
}
