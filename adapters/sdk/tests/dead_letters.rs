//! Dead letters from the moment they are set aside until they are closed, and the books beside them. A small adapter maps `key=value`; lines that
//! begin with `bad:` map only once it is mended.

use std::{collections::BTreeSet, path::Path};

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use shuqiao_adapter_sdk::{
    Adapter, AdapterError, Batch, Bytes, CheckReport, Context, Descriptor, ErrorClass, MappingError, Operation,
    Outcome, Pass, Position, Record, Roles, Row, Sink, SourceRecord, Violation, async_trait,
    config::{self, Config},
    dead_letter,
    state::{LetterState, Replay, State, Verdict},
};
use shuqiao_proto::{digest::RecordsDigest, v1};

struct Small;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SmallConfig {
    #[serde(default)]
    mended: bool,
}

#[async_trait]
impl Adapter for Small {
    type Config = SmallConfig;

    fn descriptor() -> Descriptor {
        Descriptor {
            name: "small",
            title_en: "Small",
            title_zh: "小",
            source: true,
            sink: true,
            record_types: &["enterprise/v1"],
            example: "",
        }
    }

    async fn check(_config: &SmallConfig) -> CheckReport {
        CheckReport::default()
    }

    async fn open(config: SmallConfig, _context: Context) -> Result<Roles, AdapterError> {
        Ok(Roles::sink(Inbox { mended: config.mended }))
    }

    async fn remap(
        config: &SmallConfig,
        raws: &[&[u8]],
    ) -> Result<Vec<Result<SourceRecord, MappingError>>, AdapterError> {
        Ok(raws.iter().map(|raw| map(raw, config.mended)).collect())
    }
}

/// Refuses everything until it is mended.
struct Inbox {
    mended: bool,
}

#[async_trait]
impl Sink for Inbox {
    async fn deliver(&self, records: &[Record]) -> Result<Vec<Outcome>, AdapterError> {
        let refused = || Outcome::Rejected { reason: violation("STILL_REFUSED") };
        Ok(records.iter().map(|_| if self.mended { Outcome::Accepted } else { refused() }).collect())
    }

    async fn digest(&self) -> Result<(u64, [u8; 32]), AdapterError> {
        Ok(RecordsDigest::default().finish())
    }
}

fn violation(rule: &str) -> Violation {
    Violation::new("/x", rule, "not so", "不可")
}

fn map(raw: &[u8], mended: bool) -> Result<SourceRecord, MappingError> {
    let text = std::str::from_utf8(raw).map_err(|_| MappingError::from(violation("NOT_TEXT")))?;
    let text = match text.strip_prefix("bad:") {
        Some(_) if !mended => return Err(violation("BAD").into()),
        Some(text) => text,
        None => text,
    };
    let (key, value) = text.split_once('=').ok_or_else(|| MappingError::from(violation("NO_VALUE")))?;
    let (operation, payload) = if value.is_empty() {
        (Operation::Delete, Bytes::new())
    } else {
        (Operation::Upsert, Bytes::from(format!("{{\"v\":\"{value}\"}}")))
    };
    Ok(SourceRecord { key: key.to_owned(), operation, source_version: None, payload })
}

fn batch(lines: &[&str]) -> Batch {
    let row = |line: &&str| Row {
        raw: Bytes::copy_from_slice(line.as_bytes()),
        place: format!("line of {} bytes", line.len()),
        id: None,
        mapped: map(line.as_bytes(), false),
        warnings: Vec::new(),
    };
    let position = Position(Bytes::from_static(b"here"));
    Batch { rows: lines.iter().map(row).collect(), position, pass: Pass::default() }
}

fn config(directory: &Path, mended: bool) -> Config {
    let text = format!(
        "adapter = 'small'\n[broker]\nendpoint = 'https://localhost:1'\nauthorities = 'a'\ncertificate = 'b'\nkey = 'c'\n[state]\n\
         path = '{}/state.db'\n[publish]\ndataset = 'd.d'\nrecord_type = 'enterprise/v1'\n[small]\nmended = {mended}\n",
        directory.display()
    );
    config::from_text(&text, &[&Small], std::iter::empty()).expect("whole")
}

async fn open() -> (tempfile::TempDir, State) {
    let directory = tempfile::tempdir().expect("directory");
    let state = State::open(&directory.path().join("state.db")).await.expect("opens");
    state.adopt(0).await.expect("adopts");
    (directory, state)
}

/// The exchange takes everything that waits.
async fn accept_all(state: &State) {
    let entries = state.outbox_after(0, 1_000, usize::MAX).await.expect("reads");
    let accepted: Vec<_> = entries
        .iter()
        .map(|entry| (entry.sequence, Verdict::Accepted(v1::Position { partition: 0, offset: entry.sequence })))
        .collect();
    state.acknowledge(&accepted, None).await.expect("acknowledges");
}

async fn assert_balanced(state: &State) {
    let counts = state.counts().await.expect("counts");
    assert!(counts.balanced(), "{counts:?}");
}

/// What was published is published once more, deletions too, under numbers and versions that nobody has seen; the books stay balanced.
#[tokio::test]
async fn beginning_anew_repeats_everything_behind_what_was_and_keeps_the_books() {
    let directory = tempfile::tempdir().expect("directory");
    let state = State::open(&directory.path().join("state.db")).await.expect("opens");
    let at = v1::Position { partition: 0, offset: 9 };
    let record = |key: &str, operation| SourceRecord {
        key: key.into(),
        operation,
        source_version: None,
        payload: if operation == Operation::Delete { Bytes::new() } else { Bytes::from_static(b"{}") },
    };
    let rows = |records: Vec<SourceRecord>| Batch {
        rows: records
            .into_iter()
            .map(|record| Row {
                place: "here".into(),
                id: None,
                raw: Bytes::from_static(b"x"),
                mapped: Ok(record),
                warnings: Vec::new(),
            })
            .collect(),
        position: Position(Bytes::from_static(b"1")),
        pass: Pass::default(),
    };
    let live = || vec![record("a", Operation::Upsert), record("b", Operation::Upsert)];
    for batch in [rows(live()), rows(vec![record("b", Operation::Delete)])] {
        state.record(&batch).await.expect("records");
        let waiting = state.outbox_after(0, 10, 1 << 20).await.expect("reads");
        let verdicts: Vec<_> = waiting.iter().map(|entry| (entry.sequence, Verdict::Accepted(at))).collect();
        state.acknowledge(&verdicts, None).await.expect("acknowledges");
    }
    assert_eq!(state.accepted_sequence().await.expect("asks"), 3);

    let anew = state.begin_anew().await.expect("begins");
    assert_eq!((anew.records, anew.deletions, anew.next_sequence), (1, 1, 4));
    assert_eq!(state.accepted_sequence().await.expect("asks"), 0);
    assert_eq!(state.checkpoint().await.expect("asks"), None);
    assert!(state.accepted_positions().await.expect("asks").is_empty());
    let recorded = state.record(&rows(vec![record("a", Operation::Upsert)])).await.expect("records");
    assert_eq!((recorded.waiting, recorded.unchanged), (1, 0), "said once, and said again");
    let waiting = state.outbox_after(0, 10, 1 << 20).await.expect("reads");
    let numbers: Vec<_> = waiting.iter().map(|entry| (entry.sequence, entry.key.as_str(), entry.operation)).collect();
    assert_eq!(numbers, [(4, "b", Operation::Delete), (5, "a", Operation::Upsert)]);
    assert!(waiting[1].source_version > 3, "behind every version that was counted");
    let counts = state.counts().await.expect("counts");
    assert!(counts.balanced(), "{counts:?}");
}

#[tokio::test]
async fn a_mended_letter_is_published_and_the_books_stay_balanced() {
    let (directory, state) = open().await;
    state.record(&batch(&["a=1", "bad:b=2"])).await.expect("records");
    accept_all(&state).await;
    let letters = dead_letter::list(&config(directory.path(), false), true, 10).await.expect("lists");
    let [letter] = letters.as_slice() else { panic!("one letter: {letters:?}") };
    assert_eq!((letter.violations[0].rule.as_str(), letter.raw.len()), ("BAD", 0), "a list shows no bytes");
    let id = letter.id;
    let shown = dead_letter::show(&config(directory.path(), false), id).await.expect("shows");
    assert_eq!(shown.raw, b"bad:b=2");

    let unmended = dead_letter::replay(&Small, &config(directory.path(), false), id).await.expect("replays");
    assert_eq!(unmended, Replay::StillBad);
    assert_balanced(&state).await;

    let mended = config(directory.path(), true);
    assert_eq!(dead_letter::replay_all(&Small, &mended).await.expect("replays"), [(id, Replay::Queued)]);
    assert_balanced(&state).await;
    assert_eq!(state.dead_letter(id).await.expect("reads").expect("there").state, LetterState::Replaying);
    assert_eq!(dead_letter::replay(&Small, &mended, id).await.expect("replays"), Replay::NotOpen, "never twice");
    accept_all(&state).await;
    assert_eq!(state.dead_letter(id).await.expect("reads").expect("there").state, LetterState::Replayed);
    assert_balanced(&state).await;
    let mut digest = RecordsDigest::default();
    digest.add("a", 1, br#"{"v":"1"}"#);
    digest.add("b", 1, br#"{"v":"2"}"#);
    assert_eq!(state.published_digest().await.expect("digest"), digest.finish());
    assert!(dead_letter::list(&mended, true, 10).await.expect("lists").is_empty());
}

/// Goal: a dirty file that is read again after one row of it was edited makes no second letter, while the books count each reading.
#[tokio::test]
async fn a_letter_is_one_however_often_its_bytes_are_seen_and_the_books_count_each_time() {
    let (directory, state) = open().await;
    for edited in ["a=1", "a=2"] {
        state.record(&batch(&[edited, "c=3", "bad:b=2", "no value", "nor here"])).await.expect("records");
        accept_all(&state).await;
    }
    let counts = state.counts().await.expect("counts");
    assert_eq!((counts.read, counts.accepted, counts.unchanged, counts.dead_letters), (10, 3, 1, 6));
    assert_balanced(&state).await;
    let reasons = state.dead_letter_reasons().await.expect("reasons");
    assert_eq!(reasons, [("NO_VALUE".to_owned(), 2), ("BAD".to_owned(), 1)]);
    assert_eq!(state.open_letters().await.expect("counts"), 3);
    let letters = dead_letter::list(&config(directory.path(), false), true, 10).await.expect("lists");
    assert_eq!(letters.iter().map(|letter| letter.occurrences).collect::<Vec<_>>(), [2, 2, 2]);
    let mended = config(directory.path(), true);
    dead_letter::replay(&Small, &mended, letters[0].id).await.expect("replays");
    accept_all(&state).await;
    assert_eq!(state.open_letters().await.expect("counts"), 2, "a letter that was taken at last is closed");
    assert_balanced(&state).await;
}

#[tokio::test]
async fn a_letter_never_comes_over_what_was_published_after_it() {
    let (directory, state) = open().await;
    let mended = config(directory.path(), true);
    state.record(&batch(&["bad:a=old"])).await.expect("records");
    state.record(&batch(&["a=new"])).await.expect("records");
    let id = state.dead_letters(true, 0, 10).await.expect("lists")[0].id;
    assert_eq!(dead_letter::replay(&Small, &mended, id).await.expect("replays"), Replay::Superseded);
    accept_all(&state).await;
    let mut digest = RecordsDigest::default();
    digest.add("a", 1, br#"{"v":"new"}"#);
    assert_eq!(state.published_digest().await.expect("digest"), digest.finish());
    assert_balanced(&state).await;
}

#[tokio::test]
async fn a_letter_keeps_its_place_among_what_waits_when_numbering_goes_on_behind_the_exchange() {
    let (directory, state) = open().await;
    state.record(&batch(&["a=old", "bad:a=new", "bad:b=old"])).await.expect("records");
    state.record(&batch(&["b=new"])).await.expect("records");
    assert!(state.adopt(100).await.expect("adopts"), "the exchange knows more than the file");
    let replayed = dead_letter::replay_all(&Small, &config(directory.path(), true)).await.expect("replays");
    let results: Vec<Replay> = replayed.into_iter().map(|(_, result)| result).collect();
    assert_eq!(results, [Replay::Queued, Replay::Superseded]);
    let sequences = state.outbox_after(0, 10, usize::MAX).await.expect("reads");
    assert_eq!(sequences.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [101, 102, 103]);
    assert_balanced(&state).await;
}

#[tokio::test]
async fn no_more_of_a_row_is_kept_than_the_bound_and_the_letter_says_so() {
    let (_directory, state) = open().await;
    let mut long = batch(&["bad:a=1"]);
    long.rows[0].raw = Bytes::from(vec![b'x'; (4 << 20) + 1]);
    state.record(&long).await.expect("records");
    let id = state.dead_letters(true, 0, 10).await.expect("lists")[0].id;
    let letter = state.dead_letter(id).await.expect("reads").expect("there");
    let rules: Vec<_> = letter.violations.iter().map(|violation| violation.rule.as_str()).collect();
    assert_eq!((letter.raw.len(), rules), (4 << 20, vec!["BAD", "RAW_CUT"]));
}

#[tokio::test]
async fn a_letter_that_says_what_is_published_is_closed_without_publishing() {
    let (directory, state) = open().await;
    state.record(&batch(&["a=1"])).await.expect("records");
    accept_all(&state).await;
    state.record(&batch(&["bad:a=1"])).await.expect("records");
    let id = state.dead_letters(true, 0, 10).await.expect("lists")[0].id;
    let result = dead_letter::replay(&Small, &config(directory.path(), true), id).await.expect("replays");
    assert_eq!(result, Replay::Unchanged);
    assert_eq!(state.counts().await.expect("counts").waiting, 0);
    assert_balanced(&state).await;
}

#[tokio::test]
async fn a_replayed_record_that_the_exchange_refuses_is_an_open_letter_again_with_its_reasons() {
    let (directory, state) = open().await;
    state.record(&batch(&["bad:a=1"])).await.expect("records");
    let id = state.dead_letters(true, 0, 10).await.expect("lists")[0].id;
    dead_letter::replay(&Small, &config(directory.path(), true), id).await.expect("replays");
    state.acknowledge(&[(1, Verdict::Rejected(vec![violation("REQUIRED")]))], None).await.expect("acknowledges");
    let open = state.dead_letters(true, 0, 10).await.expect("lists");
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(open[0].violations[0].rule, "REQUIRED");
    assert_eq!(state.dead_letter(open[0].id).await.expect("reads").expect("there").raw, b"bad:a=1");
    assert_balanced(&state).await;
}

#[tokio::test]
async fn what_a_sink_refused_is_delivered_again_once_the_inbox_is_mended() {
    let (directory, state) = open().await;
    let record = Record {
        dataset: "d.d".into(),
        record_type: "enterprise/v1".into(),
        key: "k".into(),
        operation: Operation::Upsert,
        source_version: 3,
        payload: Bytes::from_static(b"{}"),
        source: "department/a/system/b".into(),
        sequence: 7,
        accept_time_ms: 1,
        position: (0, 9),
    };
    state.delivered(&[], &[(&record, &violation("REFUSED"))], None).await.expect("keeps");
    assert_balanced(&state).await;
    let id = state.dead_letters(true, 0, 10).await.expect("lists")[0].id;
    let unmended = dead_letter::replay(&Small, &config(directory.path(), false), id).await.expect("replays");
    assert_eq!(unmended, Replay::StillBad);
    assert_eq!(state.dead_letter_reasons().await.expect("reasons"), [("STILL_REFUSED".to_owned(), 1)]);
    let mended = dead_letter::replay(&Small, &config(directory.path(), true), id).await.expect("replays");
    assert_eq!(mended, Replay::Queued);
    assert!(state.dead_letters(true, 0, 10).await.expect("lists").is_empty());
    assert_balanced(&state).await;
}

#[tokio::test]
async fn looking_where_no_adapter_has_run_makes_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let error = dead_letter::list(&config(directory.path(), false), true, 10).await.expect_err("nothing there");
    assert_eq!(error.class(), ErrorClass::Configuration);
    assert_eq!(std::fs::read_dir(directory.path()).expect("lists").count(), 0);
}

/// Goal: read = accepted + unchanged + dead letters + waiting, after every step of any history, with crashes (the file is opened anew) in between;
/// and what is published in the end is the newest state of every key.
#[tokio::test]
async fn the_books_balance_after_every_step_of_any_history() {
    const STEPS: usize = 300;
    for seed in 0..4 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (directory, mut state) = open().await;
        let path = directory.path().join("state.db");
        let mended = config(directory.path(), true);
        for _ in 0..STEPS {
            match random.random_range(0..6) {
                0 | 1 => {
                    let lines: Vec<String> = (0..random.random_range(0..5))
                        .map(|_| {
                            let bad = if random.random_bool(0.3) { "bad:" } else { "" };
                            let value = ["", "1", "2"].choose(&mut random).copied().unwrap_or_default();
                            format!("{bad}k{}={value}", random.random_range(0..4))
                        })
                        .collect();
                    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                    state.record(&batch(&lines)).await.expect("records");
                }
                2 | 3 => {
                    let entries = state.outbox_after(0, 3, usize::MAX).await.expect("reads");
                    let verdicts: Vec<_> = entries
                        .iter()
                        .map(|entry| {
                            let position = v1::Position { partition: 0, offset: entry.sequence };
                            let verdict = match random.random_range(0..10) {
                                0 => Verdict::Rejected(vec![violation("REFUSED")]),
                                1 => Verdict::Unknown,
                                _ => Verdict::Accepted(position),
                            };
                            (entry.sequence, verdict)
                        })
                        .collect();
                    state.acknowledge(&verdicts, None).await.expect("acknowledges");
                    // A lost reply: the same once more changes nothing.
                    let before = state.counts().await.expect("counts");
                    state.acknowledge(&verdicts, None).await.expect("acknowledges");
                    assert_eq!(state.counts().await.expect("counts"), before);
                }
                4 => {
                    let letters = state.dead_letters(true, 0, 100).await.expect("lists");
                    if let Some(letter) = letters.choose(&mut random) {
                        dead_letter::replay(&Small, &mended, letter.id).await.expect("replays");
                    }
                }
                _ => {
                    state.close().await;
                    state = State::open(&path).await.expect("opens again");
                }
            }
            assert_balanced(&state).await;
        }
        let sequences: Vec<u64> =
            state.outbox_after(0, 1_000, usize::MAX).await.expect("reads").iter().map(|entry| entry.sequence).collect();
        assert_eq!(sequences.iter().collect::<BTreeSet<_>>().len(), sequences.len(), "a sequence is given once");
        accept_all(&state).await;
        assert_balanced(&state).await;
        assert_eq!(state.counts().await.expect("counts").waiting, 0);
    }
}

#[test]
fn the_environment_reaches_sections_within_sections() {
    let mut table: toml::Table =
        "[market-supervision.database]\ntable = 't'\n[broker]\nkey = 'a'\n".parse().expect("TOML");
    let environment = [
        ("SHUQIAO_ADAPTER__MARKET_SUPERVISION__DATABASE__URL", "mysql://host/db"),
        ("SHUQIAO_ADAPTER__BROKER__ENDPOINT", "https://other:1"),
        ("SHUQIAO_ADAPTER__NEW__KEY", "value"),
        ("SHUQIAO_ADAPTER__ALONE", "ignored"),
        ("PATH", "/bin"),
    ];
    config::override_from(&mut table, environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter());
    let expected: toml::Table =
        "[market-supervision.database]\ntable = 't'\nurl = 'mysql://host/db'\n[broker]\nkey = 'a'\n\
                                 endpoint = 'https://other:1'\n[new]\nkey = 'value'\n"
            .parse()
            .expect("TOML");
    assert_eq!(table, expected);
}
