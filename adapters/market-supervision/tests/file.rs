//! The registry as a file: the adapter contract on a dirty GB18030 export, and what a run leaves in the books.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use encoding_rs::GB18030;
use shuqiao_adapter_market_supervision::MarketSupervision;
use shuqiao_adapter_sdk::{
    Batch, Context, ErasedAdapter, ErrorClass, Row, Source, contract,
    state::{LetterState, Recorded, State},
};
use shuqiao_schemas::identifier::{OrganisationCode, RegistrationNumber, Uscc};
use tokio_util::sync::CancellationToken;

const HEADER: &str =
    "企业名称,统一社会信用代码,注册日期,企业类型,法人代表,注册资金,经营范围,所在省份,地区,注册地址\r\n";

fn code(number: u32) -> String {
    let organisation = OrganisationCode::from_body(&format!("MA{number:06}")).expect("body");
    Uscc::compose("91", "320602", &organisation).expect("composes").as_str().to_owned()
}

fn line(name: &str, code: &str, capital: &str) -> String {
    format!("{name},{code},1985-06-01,N/A,顾某某,{capital},\"纺织品制造、销售,批发\",江苏,南通,示例路 8 号\r\n")
}

fn gb(text: &str) -> Vec<u8> {
    GB18030.encode(text).0.into_owned()
}

fn table(path: &Path, encoding: &str) -> toml::Table {
    let mut file = toml::Table::new();
    file.insert("path".into(), path.display().to_string().into());
    if !encoding.is_empty() {
        file.insert("encoding".into(), encoding.into());
    }
    file.insert("poll".into(), "20ms".into());
    let mut table = toml::Table::new();
    table.insert("file".into(), file.into());
    table
}

/// Every kind of dirt once, between rows that are right.
fn dirty() -> Vec<u8> {
    let mut bytes = gb(HEADER);
    let mut push = |row: &[u8]| bytes.extend_from_slice(row);
    push(&gb(&line("𠮷䶮第一示例厂", &code(1), "158(万元人民币)")));
    push(b"\r\n");
    push(&gb(&line("旧号示例厂", RegistrationNumber::from_body("32060211000123").expect("body").as_str(), "N/A")));
    push(&gb(&line("老号示例厂", "3206021100123", "N/A")));
    push(&gb(&line("机构代码示例厂", "13830295-X", "N/A")));
    push(&gb(&line("表格示例厂", "9.1E+17", "N/A")));
    push(&gb(&line("全角示例厂", "９１３３０１０６ＭＡ２ＸＹ０Ｋ３８Ａ", "30(万美元)")));
    push(&[b"\xFF".to_vec(), gb(&line("坏字节示例厂", &code(2), "N/A"))].concat());
    push(&gb(&line("币种不明示例厂", &code(3), "50(万)")));
    push(&gb(&format!("少一栏示例厂,{},1985-06-01\r\n", code(4))));
    push(&gb(&format!("未闭合示例厂,{},1985-06-01,\"N/A,顾某某,N/A,范围,江苏,南通,示例路\r\n", code(5))));
    push(&gb(&line("其后示例厂", &code(6), "50万人民币")));
    push(&gb(&format!("\"名\"外示例厂,{},1985-06-01,N/A,顾某某,N/A,范围,江苏,南通,示例路\r\n", code(7))));
    push(&gb(&line("多行示例厂", &code(8), "N/A").replace("销售,", "销售\r\n第二行")));
    for number in 100..160 {
        push(&gb(&line(&format!("批量示例厂{number}"), &code(number), "N/A")));
    }
    // The last line has no line end.
    push(gb(&line("末行示例厂", &code(9), "\"1,000(万元人民币)\"")).strip_suffix(b"\r\n").expect("ends"));
    bytes
}

fn rules(rows: &[Row]) -> BTreeMap<String, usize> {
    let mut rules = BTreeMap::new();
    for violation in rows.iter().filter_map(|row| row.mapped.as_ref().err()).flat_map(|error| &error.violations) {
        assert!(!violation.message_en.is_empty() && !violation.message_zh.is_empty());
        *rules.entry(violation.rule.clone()).or_default() += 1;
    }
    rules
}

#[test]
fn the_descriptor_and_its_example_are_whole() {
    contract::descriptor_is_whole(&MarketSupervision);
}

#[tokio::test]
async fn a_dirty_export_keeps_the_contract_and_every_fault_has_its_name() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("export.csv");
    let bytes = dirty();
    std::fs::write(&path, &bytes).expect("writes");
    let rows = contract::source_keeps_its_promises(&MarketSupervision, &table(&path, "gb18030")).await;
    let expected = [
        ("BAD_BYTE", 1),
        ("EXCEL_SCIENTIFIC_NOTATION", 1),
        ("FIELD_COUNT", 1),
        ("OLD_REGISTRATION_NUMBER_INSTEAD", 1),
        ("ORGANISATION_CODE_INSTEAD", 1),
        ("QUOTE_MISPLACED", 1),
        ("QUOTE_NOT_CLOSED", 1),
        ("REGISTRATION_NUMBER_INSTEAD", 1),
    ];
    assert_eq!(rules(&rows), expected.map(|(rule, count)| (rule.to_owned(), count)).into());
    assert_eq!(rows.len(), 74);
    // Raw bytes are the file's own, in order and without a gap but for the empty line.
    let joined: Vec<u8> = rows.iter().flat_map(|row| row.raw.to_vec()).collect();
    let mut expected = bytes[gb(HEADER).len()..].to_vec();
    let empty = gb(&line("𠮷䶮第一示例厂", &code(1), "158(万元人民币)")).len();
    expected.drain(empty..empty + 2);
    assert_eq!(joined, expected);

    let first = rows[0].mapped.as_ref().expect("maps");
    assert_eq!(first.key, code(1));
    let payload = std::str::from_utf8(&first.payload).expect("UTF-8");
    assert!(payload.contains("𠮷䶮第一示例厂") && payload.contains(r#""amount":"158","unit":"万元","currency":"CNY""#));
    let place = |name: &str| {
        let row = rows.iter().find(|row| row.raw.starts_with(&gb(name))).expect(name);
        (row.place.clone(), row.warnings.iter().map(|warning| warning.rule.clone()).collect::<Vec<_>>())
    };
    assert_eq!(place("旧号").0, "line 4");
    assert!(place("全角").1.contains(&"CODE_NORMALISED".to_owned()));
    assert!(place("币种").1.contains(&"CAPITAL_WITHOUT_CURRENCY".to_owned()));
    // A row behind one that spans two lines still says its own line.
    assert_eq!(place("批量示例厂100").0, "line 17");
}

async fn open(table: &toml::Table, position: Option<shuqiao_adapter_sdk::Position>, once: bool) -> Box<dyn Source> {
    let context = Context::new(position, once, std::env::temp_dir(), CancellationToken::new());
    MarketSupervision.open_with(table, context).await.expect("opens").source.expect("a source")
}

/// Reads to the end and keeps every batch, as a run does.
async fn keep(table: &toml::Table, state: &State) -> Recorded {
    let mut source = open(table, state.checkpoint().await.expect("checkpoint"), true).await;
    let mut sum = Recorded::default();
    while let Some(batch) = source.next_batch().await.expect("reads") {
        let recorded = state.record(&batch).await.expect("records");
        sum.read += recorded.read;
        sum.unchanged += recorded.unchanged;
        sum.dead_letters += recorded.dead_letters;
        sum.waiting += recorded.waiting;
        for (rule, more) in recorded.warnings {
            *sum.warnings.entry(rule).or_default() += more;
        }
    }
    sum
}

#[tokio::test]
async fn an_unchanged_file_is_not_read_twice_and_a_changed_one_publishes_only_the_change() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("export.csv");
    let table = table(&path, "utf-8");
    let state = State::open(&directory.path().join("state.db")).await.expect("opens");
    let mut text = HEADER.to_owned();
    for number in 0..1_200 {
        write!(text, "{}", line("示例厂", &code(number), "N/A")).expect("writes");
    }
    text.push_str(&line("旧号示例厂", "13830295-X", "N/A"));
    std::fs::write(&path, &text).expect("writes");
    let first = keep(&table, &state).await;
    assert_eq!((first.read, first.waiting, first.unchanged, first.dead_letters), (1_201, 1_200, 0, 1));
    let second = keep(&table, &state).await;
    assert_eq!(second, Recorded::default(), "the same content again");

    // The same content under another time is recognised, too.
    std::fs::write(&path, &text).expect("writes");
    assert_eq!(keep(&table, &state).await, Recorded::default());

    let changed = text.replace(&line("示例厂", &code(7), "N/A"), &line("示例新厂", &code(7), "N/A"));
    std::fs::write(&path, changed).expect("writes");
    let third = keep(&table, &state).await;
    assert_eq!((third.read, third.waiting, third.unchanged, third.dead_letters), (1_201, 1, 1_199, 1));
    assert!(state.counts().await.expect("counts").balanced());
    assert_eq!(state.dead_letters(true, 0, 10).await.expect("lists").len(), 1, "the same letter is one letter");

    // Mended at the registry: its letter is closed by the next export, and still there.
    let mended = text.replace(&line("旧号示例厂", "13830295-X", "N/A"), &line("旧号示例厂", &code(2_000), "N/A"));
    std::fs::write(&path, mended).expect("writes");
    keep(&table, &state).await;
    assert_eq!(state.open_letters().await.expect("counts"), 0);
    let letters = state.dead_letters(false, 0, 10).await.expect("lists");
    let kept: Vec<_> = letters.iter().map(|letter| (letter.state, letter.occurrences)).collect();
    assert_eq!(kept, [(LetterState::Resolved, 2)]);
    let counts = state.counts().await.expect("counts");
    assert!(counts.balanced() && counts.dead_letters == 2, "{counts:?}");
}

#[tokio::test]
async fn a_code_that_stands_twice_is_taken_from_its_last_row_and_publishes_nothing_the_next_time() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("export.csv");
    let table = table(&path, "utf-8");
    let state = State::open(&directory.path().join("state.db")).await.expect("opens");
    let rows = [
        line("重复旧名示例厂", &code(1), "N/A"),
        line("别的示例厂", &code(2), "N/A"),
        line("同样示例厂", &code(3), "N/A"),
        line("同样示例厂", &code(3), "N/A"),
        line("重复新名示例厂", &code(1), "N/A"),
    ];
    std::fs::write(&path, format!("{HEADER}{}", rows.concat())).expect("writes");
    let rows = contract::source_keeps_its_promises(&MarketSupervision, &table).await;
    assert_eq!(rules(&rows), BTreeMap::from([("KEY_REPEATED".to_owned(), 1)]));
    assert!(rows[0].mapped.as_ref().is_err_and(|error| error.violations[0].message_en.starts_with("line 6 of")));
    let first = keep(&table, &state).await;
    assert_eq!((first.read, first.waiting, first.unchanged, first.dead_letters), (5, 3, 1, 1));

    // Another file with the same rows: nothing is published, and nothing goes back and forth.
    let text = std::fs::read_to_string(&path).expect("reads");
    std::fs::write(&path, text + "\r\n").expect("writes");
    let second = keep(&table, &state).await;
    assert_eq!((second.read, second.waiting, second.unchanged, second.dead_letters), (5, 0, 4, 1));
}

#[tokio::test]
async fn a_run_that_follows_takes_the_next_export_when_it_comes() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("export.csv");
    std::fs::write(&path, format!("{HEADER}{}", line("示例厂", &code(1), "N/A"))).expect("writes");
    let mut source = open(&table(&path, "utf-8"), None, false).await;
    let next = |batch: Option<Batch>| batch.expect("follows").rows.len();
    assert_eq!(next(source.next_batch().await.expect("reads")), 1);
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(200), source.next_batch()).await;
    assert!(waiting.is_err(), "the same file is not read again");
    let partial = directory.path().join("partial");
    let text = format!("{HEADER}{}{}", line("示例厂", &code(1), "N/A"), line("示例新厂", &code(2), "N/A"));
    std::fs::write(&partial, text).expect("writes");
    std::fs::rename(&partial, &path).expect("renames");
    let next = tokio::time::timeout(std::time::Duration::from_secs(10), source.next_batch()).await.expect("in time");
    assert_eq!(next.expect("reads").expect("follows").rows.len(), 2);
}

#[tokio::test]
async fn a_file_that_changes_under_the_reader_is_read_anew() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("export.csv");
    let many = |name: &str| (0..1_500).fold(HEADER.to_owned(), |text, number| text + &line(name, &code(number), "N/A"));
    std::fs::write(&path, many("示例厂")).expect("writes");
    let mut source = open(&table(&path, "utf-8"), None, true).await;
    source.next_batch().await.expect("reads").expect("a batch");
    std::fs::write(&path, many("另一示例厂")).expect("writes in place");
    let error = source.next_batch().await.expect_err("changed");
    assert_eq!(error.class(), ErrorClass::Transient);
    let mut rows = 0;
    while let Some(batch) = source.next_batch().await.expect("reads") {
        assert!(batch.rows.iter().all(|row| row.raw.starts_with("另一".as_bytes())));
        rows += batch.rows.len();
    }
    assert_eq!(rows, 1_500);
}

#[tokio::test]
async fn half_of_a_header_is_waited_for_while_the_file_is_fresh() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("export.csv");
    let table = table(&path, "utf-8");
    let whole = format!("{HEADER}{}", line("示例厂", &code(1), "N/A"));
    let half: String = HEADER.chars().take(20).collect();
    std::fs::write(&path, &half).expect("writes");
    let mut source = open(&table, None, false).await;
    let error = source.next_batch().await.expect_err("half a header");
    assert_eq!(error.class(), ErrorClass::Transient, "{}", error.chain());
    assert!(error.chain().contains("no column"), "{}", error.chain());
    std::fs::write(&path, &whole).expect("writes");
    assert_eq!(source.next_batch().await.expect("reads").expect("a batch").rows.len(), 1);

    // One that nobody has written into for an hour is as its owner wants it.
    std::fs::write(&path, &half).expect("writes");
    let file = std::fs::File::options().write(true).open(&path).expect("opens");
    let an_hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600);
    file.set_modified(an_hour_ago).expect("sets its time");
    let error = open(&table, None, false).await.next_batch().await.expect_err("not the file");
    assert_eq!(error.class(), ErrorClass::Configuration, "{}", error.chain());
}

#[tokio::test]
async fn a_first_row_in_the_place_of_the_header_is_not_quoted() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("export.csv");
    let row = line("示例厂", &code(1), "N/A");
    let cr = |text: &str| text.replace("\r\n", "\r");
    let many: String = (0..2_000).map(|number| line("示例厂", &code(number), "N/A")).collect();
    for (content, words) in [
        (row.clone(), "has 10 columns, none that is configured; is the header line missing?"),
        (cr(&format!("{HEADER}{row}")), "do lines end with CR alone?"),
        (cr(&format!("{HEADER}{many}")), "do lines end with CR alone?"),
        (format!("企业名称,示例街道 8 号\r\n{row}"), "2 columns, of which 企业名称 are configured"),
    ] {
        std::fs::write(&path, &content).expect("writes");
        let error = open(&table(&path, "utf-8"), None, true).await.next_batch().await.expect_err("no header");
        let told = format!("{} {error:?}", error.chain());
        assert!(told.contains(words), "{told}");
        for personal in ["顾某某", "示例", &code(1)] {
            assert!(!told.contains(personal), "{told}");
        }
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_what_it_should_be_is_told_before_a_row_is_read() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("export.csv");
    let row = line("示例厂", &code(1), "N/A");
    let utf8 = format!("{HEADER}{row}");
    for (bytes, encoding, words) in [
        (utf8.clone().into_bytes(), "", "must be declared"),
        (gb(&utf8), "utf-8", "header is not UTF-8"),
        ([b"\xEF\xBB\xBF", utf8.as_bytes()].concat(), "gb18030", "byte order mark says UTF-8"),
        (b"\xFF\xFEa\0".to_vec(), "utf-8", "UTF-16"),
        (utf8.replace("企业名称", "名称").into_bytes(), "utf-8", "no column 企业名称"),
        (utf8.replace("地区", "企业名称").into_bytes(), "utf-8", "no column 地区"),
        (Vec::new(), "utf-8", "no column"),
    ] {
        std::fs::write(&path, bytes).expect("writes");
        let mut source = open(&table(&path, encoding), None, true).await;
        let error = source.next_batch().await.expect_err(words);
        assert_eq!(error.class(), ErrorClass::Configuration, "{}", error.chain());
        assert!(error.chain().contains(words), "{words}: {}", error.chain());
        let report = MarketSupervision.check_with(&table(&path, encoding)).await;
        assert!(!report.passed(), "{words}");
    }
    for bytes in [[b"\xEF\xBB\xBF", utf8.as_bytes()].concat(), [b"\x84\x31\x95\x33".to_vec(), gb(&utf8)].concat()] {
        std::fs::write(&path, bytes).expect("writes");
        let mut source = open(&table(&path, ""), None, true).await;
        assert!(source.next_batch().await.expect("reads").expect("a batch").rows[0].mapped.is_ok());
        assert!(MarketSupervision.check_with(&table(&path, "")).await.passed());
    }
}

#[tokio::test]
async fn a_quote_that_never_closes_takes_no_other_row_with_it() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("export.csv");
    let mut text = HEADER.to_owned();
    text.push_str(&format!("\"未闭合示例厂,{},1985-06-01,N/A\r\n", code(0)));
    for number in 1..2_000 {
        // No quote follows that could close it, for more than a row may be long.
        let scope = "批发、零售。".repeat(30);
        write!(text, "示例厂,{},1985-06-01,N/A,顾某某,N/A,{scope},江苏,南通,示例路\r\n", code(number)).expect("writes");
    }
    // And one that is longer than any row.
    text.push_str(&"长".repeat(700_000));
    text.push_str("\r\n");
    text.push_str(&line("末行示例厂", &code(2_000), "N/A"));
    std::fs::write(&path, &text).expect("writes");
    let mut source = open(&table(&path, "utf-8"), None, true).await;
    let mut rows = Vec::new();
    while let Some(batch) = source.next_batch().await.expect("reads") {
        rows.extend(batch.rows);
    }
    let expected = [("QUOTE_NOT_CLOSED".to_owned(), 1), ("ROW_TOO_LONG".to_owned(), 1)];
    assert_eq!(rules(&rows), BTreeMap::from(expected));
    assert_eq!(rows.len(), 2_002);
    assert_eq!(rows.last().expect("rows").place, "line 2003");
}
