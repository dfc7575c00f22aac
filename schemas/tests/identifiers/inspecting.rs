//! A file is answered row by row, in order, whatever its bytes, in bounded memory.

use std::io::{self, BufReader, Read};

use shuqiao_schemas::identifier::Kind;
use shuqiao_schemas::identifier::inspect::{self, Error, Format, Options, ROW_BYTES_MAX, Summary};

fn run(input: &[u8], column: Option<&str>, format: Format) -> (String, Summary) {
    let options = Options {
        column: column.map(str::to_owned),
        format,
    };
    let mut out = Vec::new();
    // A tiny buffer, so that lines and records straddle it.
    let summary = inspect::run(BufReader::with_capacity(7, input), &mut out, &options).unwrap();
    let mut whole = Vec::new();
    assert_eq!(inspect::run(input, &mut whole, &options).unwrap(), summary);
    assert_eq!(
        whole, out,
        "the answer does not depend on how the input arrives"
    );
    (String::from_utf8(out).unwrap(), summary)
}

#[test]
fn lines_are_answered_in_order() {
    let input =
        "91340000711771143j\n\n11010519491231002X\r\n9134OOOO711771143J\n9.1E+17\nE12345678";
    let (out, summary) = run(input.as_bytes(), None, Format::Csv);
    assert_eq!(
        out.lines().collect::<Vec<_>>(),
        [
            "input,kind,normal,verdict,reason,changes",
            "91340000711771143j,uscc,91340000711771143J,ok,,upper_cased",
            ",unknown,,error,EMPTY,",
            "11010519491231002X,resident_id,11010519491231002X,ok,,",
            "9134OOOO711771143J,uscc,9134OOOO711771143J,error,WRONG_CHARACTER,suggest=91340000711771143J",
            "9.1E+17,unknown,9.1E+17,error,EXCEL_SCIENTIFIC_NOTATION,",
            "E12345678,unknown,E12345678,error,NO_KIND_FITS,",
        ]
    );
    assert_eq!(
        (summary.rows, summary.ok, summary.warning, summary.error),
        (6, 2, 0, 4)
    );
    assert_eq!(
        (summary.of_kind(Kind::Uscc), summary.of_kind(Kind::Unknown)),
        (2, 3)
    );
}

#[test]
fn json_lines_are_json() {
    let (out, _) = run(
        "a\"b\\\n\u{1}9134 0000711771143J\n".as_bytes(),
        None,
        Format::Jsonl,
    );
    let rows: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows[0]["input"], "a\"b\\");
    assert_eq!(rows[1]["input"], "\u{1}9134 0000711771143J");
    assert_eq!(rows[1]["verdict"], "error");
    let names: Vec<_> = rows[0]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(names.len(), 6);
    for name in ["input", "kind", "normal", "verdict", "reason", "changes"] {
        assert!(names.contains(&name), "{name}");
    }
}

#[test]
fn csv_cells_survive_a_csv_reader() {
    let (out, _) = run(
        "编号\n\"a,\"\"b\"\"\nc\"\n\"'91340000711771143J\"\n".as_bytes(),
        Some("编号"),
        Format::Csv,
    );
    let mut reader = csv::Reader::from_reader(out.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(&rows[0][0], "a,\"b\"\nc");
    assert_eq!(
        (&rows[1][0], &rows[1][5]),
        ("'91340000711771143J", "apostrophe_removed")
    );
}

#[test]
fn a_table_does_not_let_a_value_steer_the_terminal() {
    let (out, _) = run(
        "\u{1b}[2J\n南通\n91340000711771143J\n".as_bytes(),
        None,
        Format::Table,
    );
    assert!(!out.contains('\u{1b}') && out.contains("\\u{1b}"));
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0].find("kind"), lines[3].find("uscc"));
    // Two ideographs take four columns, so two characters fewer stand before the next column.
    let columns = |line: &str, word: &str| line[..line.find(word).unwrap()].chars().count();
    assert_eq!(columns(lines[2], "unknown") + 2, columns(lines[0], "kind"));
    assert!(lines[3].ends_with("ok"));
}

#[test]
fn bytes_that_are_not_utf8_can_be_had_back() {
    let (out, summary) = run(
        b"\xC4\xCF\xCD\xA8\\x\n91340000711771143J\n",
        None,
        Format::Jsonl,
    );
    let first: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(
        first["input"],
        r"\xC4\xCF\u{368}\\x".replace(r"\u{368}", "\u{368}")
    );
    assert_eq!(
        (first["reason"].as_str(), first["verdict"].as_str()),
        (Some("NOT_UTF8"), Some("error"))
    );
    assert_eq!((summary.ok, summary.error), (1, 1));
}

#[test]
fn a_line_beyond_the_bound_is_answered_and_passed() {
    let fits = "7".repeat(ROW_BYTES_MAX);
    let beyond = "7".repeat(ROW_BYTES_MAX + 1);
    let input = format!(
        "{fits}\n{beyond}\n{}\n91340000711771143J",
        "8".repeat(ROW_BYTES_MAX * 3)
    );
    let (out, summary) = run(input.as_bytes(), None, Format::Csv);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[1].split(',').next(), Some(&*fits));
    assert_eq!(
        lines[2],
        format!("{}…,unknown,,error,INPUT_TOO_LONG,", "7".repeat(64))
    );
    assert_eq!(
        lines[3],
        format!("{}…,unknown,,error,INPUT_TOO_LONG,", "8".repeat(64))
    );
    assert_eq!(lines[4], "91340000711771143J,uscc,91340000711771143J,ok,,");
    assert_eq!(summary.rows, 4);
}

#[test]
fn a_record_beyond_the_bounds_is_answered_and_passed() {
    let wide = vec![""; 5_000].join(",");
    let input = format!(
        "a,code\n1,{}\n2,91340000711771143J\n{wide}\n3\n4,11010519491231002X\n\"open {}",
        "9".repeat(200_000),
        "x".repeat(70_000)
    );
    let (out, summary) = run(input.as_bytes(), Some("code"), Format::Csv);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines[1],
        format!("1{}…,unknown,,error,INPUT_TOO_LONG,", "9".repeat(63))
    );
    assert_eq!(lines[2], "91340000711771143J,uscc,91340000711771143J,ok,,");
    assert_eq!(lines[3], "…,unknown,,error,INPUT_TOO_LONG,");
    assert_eq!(lines[4], ",unknown,,error,EMPTY,");
    assert_eq!(
        lines[5],
        "11010519491231002X,resident_id,11010519491231002X,ok,,"
    );
    assert!(
        lines[6].starts_with("open xxx") && lines[6].ends_with("INPUT_TOO_LONG,"),
        "{}",
        lines[6]
    );
    assert_eq!(summary.rows, 6);
}

#[test]
fn a_byte_order_mark_belongs_to_the_file() {
    let (out, _) = run("\u{FEFF}91340000711771143J\n".as_bytes(), None, Format::Csv);
    assert_eq!(
        out.lines().nth(1),
        Some("91340000711771143J,uscc,91340000711771143J,ok,,")
    );
    let (out, _) = run(
        "\u{FEFF}代码,x\n91340000711771143J,1\n".as_bytes(),
        Some("代码"),
        Format::Csv,
    );
    assert_eq!(
        out.lines().nth(1),
        Some("91340000711771143J,uscc,91340000711771143J,ok,,")
    );
}

#[test]
fn a_column_that_is_not_there_is_refused_with_those_that_are() {
    let open = |input: &str| {
        let options = Options {
            column: Some("code".to_owned()),
            format: Format::Csv,
        };
        let mut out = Vec::new();
        let error = inspect::run(input.as_bytes(), &mut out, &options).unwrap_err();
        assert!(out.is_empty(), "nothing is answered");
        error
    };
    assert!(matches!(open("a,b\n1,2\n"), Error::NoSuchColumn { found } if found == ["a", "b"]));
    assert!(matches!(open("code,code\n1,2\n"), Error::AmbiguousColumn));
    assert!(matches!(open(""), Error::NoHeader));
    assert!(matches!(
        open(&"x".repeat(ROW_BYTES_MAX + 1)),
        Error::NoHeader
    ));
}

#[test]
fn an_empty_input_has_no_rows() {
    assert_eq!(
        run(b"", None, Format::Jsonl),
        (String::new(), Summary::default())
    );
    assert_eq!(
        run(b"", None, Format::Csv).0,
        "input,kind,normal,verdict,reason,changes\r\n"
    );
    assert_eq!(run(b"\n", None, Format::Csv).1.rows, 1);
}

#[test]
fn an_input_that_breaks_off_is_an_error() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let input = BufReader::new(b"91340000711771143J\n".chain(Broken));
    let error = inspect::run(input, io::sink(), &Options::default()).unwrap_err();
    assert!(matches!(error, Error::Read(cause) if cause.kind() == io::ErrorKind::ConnectionReset));
}
