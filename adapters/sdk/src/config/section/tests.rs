//! One table with every kind of value: right, empty, wrong in each key, and held against rules.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use serde::Deserialize;

use super::*;
use crate::{
    config::{Secret, duration},
    text::LegacyEncoding,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    url: Secret,
    path: PathBuf,
    listen: SocketAddr,
    bytes: ByteSize,
    #[serde(deserialize_with = "duration")]
    poll: Duration,
    encoding: LegacyEncoding,
    page: u32,
    create: bool,
    delimiter: char,
    values: Vec<String>,
    inner: Inner,
    maybe: Option<Inner>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    column: String,
    number: Option<u16>,
}

const WHOLE: &str = "url = 'u'\npath = 'p'\nlisten = '[::1]:1'\nbytes = '4MiB'\npoll = '30s'\nencoding = 'gbk'\npage = 7\n\
                     create = true\ndelimiter = ','\nvalues = ['a']\ninner = { column = 'c' }\n";

fn mistakes(text: &str) -> Vec<String> {
    let rules = |whole: &Whole| vec![format!("page, inner.column: {}", whole.page), "create: is not right".into()];
    own_table("a", &text.parse().expect("TOML"), rules).map(drop).expect_err("has mistakes")
}

#[test]
fn what_is_right_is_read_and_numbers_may_stand_as_text() {
    let whole = |text: &str| own_table::<Whole>("a", &text.parse().expect("TOML"), |_| Vec::new()).expect("reads");
    let read = whole(WHOLE);
    assert_eq!((read.page, read.bytes, read.poll), (7, ByteSize::mib(4), Duration::from_secs(30)));
    assert_eq!((read.encoding, read.values.len(), read.maybe.is_none()), (LegacyEncoding::Gb18030, 1, true));
    assert_eq!((read.url.reveal(), read.path, read.delimiter), ("u", PathBuf::from("p"), ','));
    assert_eq!((read.listen.port(), read.inner.column.as_str(), read.inner.number), (1, "c", None));
    let read = whole(&WHOLE.replace("page = 7", "page = '7'").replace("create = true", "create = 'true'"));
    assert_eq!((read.page, read.create), (7, true));
}

#[test]
fn an_empty_table_is_told_every_key_that_it_lacks() {
    let told = mistakes("");
    let keys = ["url", "path", "listen", "bytes", "poll", "encoding", "page", "create", "delimiter", "values", "inner"];
    assert_eq!(told, keys.map(|key| format!("a.{key}: is missing")), "and no rule speaks of what was filled in");
}

#[test]
fn every_value_that_is_wrong_is_told_at_once_by_key_and_rule_and_none_is_quoted() {
    let told = mistakes(
        "url = 4711\npath = true\nlisten = 'here'\nbytes = 'many'\npoll = 'soon'\nencoding = 'ascii'\npage = -1\ncreate = 'perhaps'\n\
         delimiter = ',;'\nvalues = 'a'\ninner = { column = 1, number = 99999, further = 2 }\nmaybe = { number = 'x' }\nnothing = 4711\n",
    );
    for expected in [
        "a.url: must be text in quotes, not a whole number",
        "a.path: must be a path in quotes, not true or false",
        "a.listen: must be an IP address and port, like \"127.0.0.1:9464\"",
        "a.bytes: must be a size, like \"4MiB\"",
        "a.poll: must be a duration, like \"30s\" or \"2m\"",
        "a.encoding: must be one of utf-8, gb18030, gbk",
        "a.page: must be a whole number, not below 0 and not too large",
        "a.create: must be true or false, not text",
        "a.delimiter: must be one character in quotes",
        "a.values: must be a list, not text",
        "a.inner.column: must be text in quotes, not a whole number",
        "a.inner.number: must be a whole number, not below 0 and not too large",
        "a.inner.further: is unknown; known here: column, number",
        "a.maybe.column: is missing",
        "a.maybe.number: must be a whole number, not below 0 and not too large, not text",
        "a.nothing: is unknown; known here: url,",
    ] {
        assert!(told.iter().any(|mistake| mistake.starts_with(expected)), "{expected}: {told:#?}");
    }
    assert_eq!(told.len(), 16, "{told:#?}");
    assert!(!told.join("").contains("4711"), "{told:#?}");
}

#[test]
fn a_rule_speaks_of_keys_that_are_right_beside_one_that_is_not() {
    let told = mistakes(&WHOLE.replace("poll = '30s'", "poll = 30"));
    assert_eq!(
        told,
        ["a.poll: must be a duration, like \"30s\" or \"2m\"", "a.page, a.inner.column: 7", "a.create: is not right"]
    );
    let told = mistakes(&WHOLE.replace("column = 'c'", "column = 1"));
    assert_eq!(told, ["a.inner.column: must be text in quotes, not a whole number", "a.create: is not right"]);
}
