//! A department writes a record type of its own, registers it with the command line, and it is as good as any standard: held to the profile, published into,
//! granted, queried, subscribed to, and still there when the node comes back.

use std::path::{Path, PathBuf};

use serde_json::Value;
use shuqiao_tests::{
    fixtures::{City, PURPOSE, eventually},
    on_both_homes,
};

const OWNER: &str = "department/market-supervision/system/registry";
const READER: &str = "department/taxation/system/inbox";
const OTHER: &str = "department/civil-affairs/system/desk";
const NAME: &str = "market-supervision.dog-licence/v1";
const DOGS: &str = "market-supervision.dogs";

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "$id": "urn:shuqiao:record-type:market-supervision.dog-licence:v1",
  "title": "Dog licence",
  "x-title-zh": "养犬登记",
  "x-key": ["/licence_number"],
  "x-indexed": ["/region"],
  "type": "object", "additionalProperties": false, "required": ["licence_number", "breed"],
  "properties": {
    "licence_number": {"type": "string", "minLength": 1, "maxLength": 20},
    "breed": {"type": "string", "x-code-table": "dog-breed"},
    "region": {"type": "string", "x-identifier": "region"},
    "keeper": {"type": "string", "maxLength": 20, "x-sensitivity": {"level": "general", "personal": "personal", "mask": "name"}},
    "note": {"type": "string", "maxLength": 99, "pattern": "^[^<>]*$"}
  }
}
"#;

const BREEDS: &str = r#"{"name": "dog-breed", "title": {"en": "Breeds", "zh": "犬种"}, "source": "ours; no national code is known",
  "codes": [{"code": "corgi", "en": "Corgi", "zh": "柯基"}, {"code": "akita", "en": "Akita", "zh": "秋田"}]}"#;

const RESOURCES: &str = "
kind: dataset
name: market-supervision.dogs
record_type: market-supervision.dog-licence/v1
title: 养犬登记
sharing_class: conditional
listed: true
---
kind: grant
name: market-supervision.taxation-dogs
dataset: market-supervision.dogs
grantee: taxation
fields:
  - {path: /licence_number, treatment: clear}
  - {path: /region, treatment: clear}
  - {path: /keeper, treatment: masked}
purpose: 风险核查
legal_basis: 某条例第三条
";

/// How a command ended, and what it wrote to both of its outputs.
async fn run(city: &City, who: &str, arguments: &[&str]) -> (i32, String) {
    let output = city.shuqiao(who, arguments).await;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code().unwrap_or(-1), said)
}

#[track_caller]
fn ends((code, said): (i32, String), expected: i32, words: &[&str]) {
    assert_eq!(code, expected, "{said}");
    for word in words {
        assert!(said.contains(word), "{word} is not in:\n{said}");
    }
}

/// A directory as `schema check` reads it.
fn write(directory: &Path, schema: &str) -> PathBuf {
    let types = directory.join("types");
    std::fs::create_dir_all(types.join("dog-licence/v1")).expect("directories");
    std::fs::create_dir_all(types.join("tables")).expect("directories");
    std::fs::write(types.join("dog-licence/v1/schema.json"), schema).expect("written");
    std::fs::write(types.join("tables/dog-breed.json"), BREEDS).expect("written");
    types
}

async fn query(city: &City, arguments: &[&str]) -> Option<Value> {
    let (code, said) = run(city, READER, &[&["query"], arguments, &["--purpose", PURPOSE]].concat()).await;
    (code == 0).then(|| serde_json::from_str(said.lines().next().unwrap_or("null")).expect("a line of JSON"))
}

on_both_homes! {
    async fn a_departments_own_record_type_is_as_good_as_a_standard_and_outlasts_the_node(home) {
        let mut city = City::on(home).await;
        let directory = city.directory().to_path_buf();

        // What is outside the profile is refused by the node, by name and place, in both languages; nothing of it stays.
        for (wrong, right, rule) in [
            (r#""maxLenght": 20"#, r#""maxLength": 20"#, "schema/properties/keeper: UNKNOWN_KEYWORD: unknown keyword `maxLenght` / 未知关键字 `maxLenght`"),
            (r#""pattern": "(?:a{1000}){1000}""#, r#""pattern": "^[^<>]*$""#, "schema/properties/note/pattern: PATTERN"),
            (r##""$defs": {"a": {"$ref": "#/$defs/a"}}, "type": "object""##, r#""type": "object""#, "schema/$defs/a/$ref: SELF_REFERENCE"),
        ] {
            let from = if rule.contains("keeper") { SCHEMA.replace(&format!("{right}, \"x-s"), &format!("{wrong}, \"x-s")) } else { SCHEMA.replace(right, wrong) };
            let types = write(&directory, &from).display().to_string();
            ends(run(&city, OWNER, &["apply", "-f", &types]).await, 3, &["INVALID_FIELD", rule, "not applied"]);
        }
        ends(run(&city, OWNER, &["get", "record-type", NAME]).await, 4, &["RESOURCE_NOT_FOUND"]);

        let types = write(&directory, SCHEMA).display().to_string();
        ends(run(&city, OTHER, &["apply", "-f", &types]).await, 5, &["NOT_OWNER"]);
        ends(run(&city, OWNER, &["apply", "-f", &types, "--dry-run"]).await, 0, &["would be created"]);
        ends(run(&city, OWNER, &["apply", "-f", &types]).await, 0, &[&format!("recordTypes/{NAME} created")]);
        ends(run(&city, OWNER, &["apply", "-f", &types]).await, 0, &["unchanged"]);
        write(&directory, &SCHEMA.replace("\"maxLength\": 99", "\"maxLength\": 98"));
        ends(run(&city, OWNER, &["apply", "-f", &types]).await, 6, &["/v2 beside /v1"]);
        ends(run(&city, OTHER, &["list", "record-types"]).await, 0, &[NAME, "养犬登记"]);
        ends(run(&city, OTHER, &["describe", "record-type", NAME]).await, 0, &["key      /licence_number", "dog-breed", "/keeper"]);
        // What get prints, apply takes.
        let (code, yaml) = run(&city, OWNER, &["get", "record-type", NAME, "-o", "yaml"]).await;
        assert_eq!(code, 0, "{yaml}");
        let copy = directory.join("copy.yaml");
        std::fs::write(&copy, yaml).expect("written");
        ends(run(&city, OWNER, &["apply", "-f", &copy.display().to_string()]).await, 0, &["unchanged"]);

        let resources = directory.join("dogs.yaml");
        std::fs::write(&resources, RESOURCES).expect("written");
        ends(run(&city, OWNER, &["apply", "-f", &resources.display().to_string()]).await, 0, &["datasets/market-supervision.dogs created", "grants/market-supervision.taxation-dogs created"]);
        // A next version that no longer has the keeper: whoever governs it asks which grants show one.
        let next = directory.join("next.json");
        let without: Vec<_> = SCHEMA.lines().filter(|line| !line.contains("\"keeper\"")).collect();
        std::fs::write(&next, without.join("\n").replace("dog-licence:v1", "dog-licence:v2")).expect("written");
        let (next, tables) = (next.display().to_string(), format!("{types}/tables"));
        let diff = ["schema", "diff", NAME, &next, "--tables", &tables, "--mode", "forward", "--ask-node"];
        ends(run(&city, OWNER, &diff).await, 0, &["field-removed", "market-supervision.taxation-dogs", "/keeper", "1 grant hit"]);
        ends(run(&city, OWNER, &["delete", "record-type", NAME]).await, 6, &["STILL_REFERRED_TO", "datasets/market-supervision.dogs"]);
        let unfit = directory.join("unfit.yaml");
        let grant = RESOURCES.split("---").nth(1).expect("the grant").replace("/region", "/colour").replace("reads-dogs", "reads-colours");
        std::fs::write(&unfit, grant).expect("written");
        ends(run(&city, OWNER, &["apply", "-f", &unfit.display().to_string()]).await, 3, &["fields[1].path: UNKNOWN_FIELD_PATH"]);

        // Two records that are right and one that is not: a breed that the department's own table does not have.
        let records = directory.join("dogs.jsonl");
        std::fs::write(&records, concat!(
            r#"{"licence_number":"杭犬00001","breed":"corgi","region":"330106","keeper":"张示例","note":"短腿"}"#, "\n",
            r#"{"licence_number":"杭犬00002","breed":"wolf","region":"330106"}"#, "\n",
            r#"{"licence_number":"杭犬00003","breed":"akita","region":"330105"}"#, "\n",
        )).expect("written");
        let records = records.display().to_string();
        ends(run(&city, OWNER, &["publish", DOGS, &records, "-o", "json"]).await, 3, &["\"accepted\": 2", "\"rejected\": 1", "/breed", "UNKNOWN_CODE"]);

        let mut found = None;
        eventually(20, "taxation sees the dog", async || {
            found = query(&city, &["get", DOGS, "杭犬00001"]).await;
            found.is_some()
        }).await;
        let found = found.expect("seen");
        assert_eq!(found["record_type"], NAME);
        let payload = &found["payload"];
        assert_eq!((&payload["licence_number"], &payload["region"]), (&"杭犬00001".into(), &"330106".into()));
        assert!(payload["keeper"].is_string() && payload["keeper"] != "张示例", "masked: {payload}");
        assert!(payload["breed"].is_null() && payload["note"].is_null(), "not granted: {payload}");
        // By the index that the record type declares.
        let listed = query(&city, &["list", DOGS, "--where", "region=330105"]).await.expect("listed");
        assert_eq!(listed["key"], "杭犬00003");
        ends(run(&city, OTHER, &["query", "get", DOGS, "杭犬00001", "--purpose", PURPOSE]).await, 5, &["GRANT_MISSING"]);

        city.crash().await;
        let more = directory.join("more.jsonl");
        std::fs::write(&more, concat!(
            r#"{"licence_number":"杭犬00004","breed":"corgi","region":"330105"}"#, "\n",
            r#"{"licence_number":"杭犬00005","breed":"corgi","note":"<b>"}"#, "\n",
        )).expect("written");
        ends(run(&city, OWNER, &["publish", DOGS, &more.display().to_string(), "-o", "json"]).await, 3, &["\"accepted\": 1", "\"rejected\": 1", "/note"]);
        eventually(20, "taxation sees the new dog beside the old", async || {
            query(&city, &["get", DOGS, "杭犬00004"]).await.is_some() && query(&city, &["get", DOGS, "杭犬00001"]).await.is_some()
        }).await;
        ends(run(&city, OWNER, &["apply", "-f", &copy.display().to_string()]).await, 0, &["unchanged"]);
        let subscription = directory.join("subscription.yaml");
        std::fs::write(&subscription, format!(
            "kind: subscription\nname: taxation.dogs\ndataset: {DOGS}\nsubscriber: taxation\nfilter: [{{field: region, values: ['330105']}}]\npurpose: {PURPOSE}\n"
        )).expect("written");
        ends(run(&city, READER, &["apply", "-f", &subscription.display().to_string()]).await, 0, &["created"]);
        let (code, said) = run(&city, READER, &["subscribe", "taxation.dogs", "--limit", "2", "--idle", "20s"]).await;
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("杭犬00003") && said.contains("杭犬00004") && !said.contains("杭犬00001") && !said.contains("akita"), "{said}");

        // Everything was put on the trail, the refusals too.
        let trail = city.administrator().await.trail().await;
        let outcomes: Vec<_> = trail
            .iter()
            .filter(|entry| entry["target"]["resource"] == format!("recordTypes/{NAME}"))
            .map(|entry| (entry["target"]["command"].clone(), entry["outcome"].clone()))
            .collect();
        let denied = |reason: &str| serde_json::json!({ "denied": reason });
        assert_eq!(outcomes, [
            ("create_record_type".into(), denied("INVALID_FIELD")),
            ("create_record_type".into(), denied("INVALID_FIELD")),
            ("create_record_type".into(), denied("INVALID_FIELD")),
            ("create_record_type".into(), denied("NOT_OWNER")),
            ("create_record_type".into(), "allowed".into()),
            ("delete_record_type".into(), denied("STILL_REFERRED_TO")),
        ]);
    }
}
