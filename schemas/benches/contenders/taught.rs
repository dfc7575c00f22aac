//! `jsonschema` taught what else our record type asks of single values, by keywords of its own: dates, decimals, code tables, lengths in
//! GB18030, identifiers. Without rules between fields, and without finding key, subject and indexed fields, it still does less.

use jsonschema::{Keyword, ValidationError, Validator};
use serde_json::{Map, Value};
use shuqiao_schemas::engine::CodeTables;
use shuqiao_schemas::identifier::{Kind, check_exact};
use std::collections::HashSet;

/// A keyword that asks something of a text.
struct Text<F>(F);

impl<'i, F: Fn(&str) -> bool + Send + Sync> Keyword<'i> for Text<F> {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) { Ok(()) } else { Err(ValidationError::custom("refused")) }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        instance.as_str().is_none_or(&self.0)
    }
}

type Taught<'a> = Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'a>>;

fn taught<'a>(ask: impl Fn(&str) -> bool + Send + Sync + 'static) -> Taught<'a> {
    Ok(Box::new(Text(ask)))
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

fn decimal(text: &str, whole: usize, fraction: usize) -> bool {
    let (before, after) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str, most: usize| {
        !part.is_empty() && part.len() <= most && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    digits(before, whole) && digits(after, fraction) && (before.len() == 1 || !before.starts_with('0'))
}

/// A validator of the schema with our keywords.
pub(crate) fn validator(schema: &Value, tables: &CodeTables) -> Validator {
    let tables = tables.clone();
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    jsonschema::options()
        .with_keyword("x-identifier", |_: &Map<_, _>, value: &Value, _| {
            let kind: Kind = value.as_str().unwrap().parse().unwrap();
            taught(move |text| check_exact(kind, text.as_bytes()).is_ok())
        })
        .with_keyword("x-code-table", move |_: &Map<_, _>, value: &Value, _| {
            let table = tables.get(value.as_str().unwrap()).unwrap();
            let codes: HashSet<String> = table.codes().iter().map(|code| code.code.clone()).collect();
            taught(move |text| codes.contains(text))
        })
        .with_keyword("x-max-bytes-gb18030", move |_: &Map<_, _>, value: &Value, _| {
            let most = number(value);
            taught(move |text| text.len() * 2 <= most || encoding_rs::GB18030.encode(text).0.len() <= most)
        })
        .with_keyword("x-decimal", move |_: &Map<_, _>, value: &Value, _| {
            let (whole, fraction) = (number(&value["integer-digits"]), number(&value["fraction-digits"]));
            taught(move |text| decimal(text, whole, fraction))
        })
        .with_keyword("format", |parent: &Map<_, _>, _: &Value, _| {
            let long_term = parent.get("x-long-term").is_some();
            taught(move |text| (long_term && text == "长期") || is_date(text))
        })
        .build(schema)
        .unwrap()
}
