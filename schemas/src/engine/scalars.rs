//! The rules of single values: texts, numbers, enumerations.

use super::compile::{At, Compiler};
use super::dates::Decimal;
use super::json::Json;
use super::pattern::{Pattern, PatternError};
use super::profile;
use super::program::{Choice, Form, IntegerRules, NumberRules, Shape, TextRules};
use super::schema_error::Flaw;
use std::sync::Arc;

impl<'s> Compiler<'s> {
    pub(super) fn text(&mut self, schema: &'s Json, at: &At, among: Option<&[&Json]>) -> Shape {
        let mut rules = TextRules {
            least: self.bound(schema, at, "minLength", profile::MAX_LENGTH),
            most: self.bound(schema, at, "maxLength", profile::MAX_LENGTH),
            most_gb18030: self.bound(schema, at, "x-max-bytes-gb18030", profile::MAX_LENGTH),
            ..TextRules::default()
        };
        self.ordered(at, rules.least, rules.most);
        if rules.most_gb18030.is_some() {
            super::text::prepare_gb18030();
        }
        if let Some(source) = self.text_of(schema, at, "pattern") {
            rules.pattern = self.pattern(source, &at.below("pattern"));
        }
        if let Some(among) = among {
            rules.among = Some(Choice::new(among.iter().filter_map(|value| value.text())));
        }
        if let Some(name) = self.text_of(schema, at, "x-code-table") {
            rules.table = self.tables.get(name).cloned();
            if rules.table.is_none() {
                self.problem(&at.below("x-code-table"), Flaw::UnknownTable(name.to_owned()));
            }
        }
        if let Some(name) = self.text_of(schema, at, "x-identifier") {
            rules.identifier = name.parse().ok();
            if rules.identifier.is_none() {
                self.problem(&at.below("x-identifier"), Flaw::UnknownIdentifier(name.to_owned()));
            }
        }
        rules.form = self.form(schema, at);
        rules.lines = self.flag(schema, "x-lines", &at.schema);
        let closed = ["x-code-table", "x-identifier"].iter().any(|keyword| schema.get(keyword).is_some());
        if schema.get("x-lines").is_some() && (closed || !rules.is_free()) {
            self.problem(&at.schema, Flaw::MisplacedKeyword("x-lines".to_owned()));
        }
        let bounded = rules.most.is_some()
            || rules.most_gb18030.is_some()
            || rules.among.is_some()
            || rules.form != Form::Free
            || ["x-code-table", "x-identifier", "maxLength", "x-max-bytes-gb18030"]
                .iter()
                .any(|keyword| schema.get(keyword).is_some());
        if !bounded {
            self.problem(&at.schema, Flaw::MissingKeyword("maxLength"));
        }
        rules.settle();
        Shape::Text(Arc::new(rules))
    }

    /// A pattern, if what all patterns may take together has room for it.
    fn pattern(&mut self, source: &str, at: &str) -> Option<Pattern> {
        if self.pattern_bytes_left == 0 {
            self.problem("", Flaw::PatternsTooLarge(profile::MAX_PATTERN_TABLES_BYTES));
            return None;
        }
        let compiled = Pattern::compile(source);
        // One that is too large was compiled as far as the bound: that costs as much as one that fits.
        let bytes = match &compiled {
            Ok(pattern) => pattern.bytes(),
            Err(PatternError::TooLarge) => profile::MAX_PATTERN_TABLE_BYTES,
            Err(_) => 0,
        };
        self.pattern_bytes_left = self.pattern_bytes_left.saturating_sub(bytes);
        compiled.map_err(|error| self.problem(at, Flaw::Pattern(error))).ok()
    }

    fn form(&mut self, schema: &'s Json, at: &At) -> Form {
        let long_term = self.flag(schema, "x-long-term", &at.schema);
        let form = match self.text_of(schema, at, "format") {
            None => Form::Free,
            Some("date") => Form::Date { long_term },
            Some("date-time") => Form::DateTime,
            Some(_) => {
                self.problem(&at.below("format"), Flaw::Expected("\"date\" or \"date-time\""));
                Form::Free
            }
        };
        if schema.get("x-long-term").is_some() && !matches!(form, Form::Date { .. }) {
            self.problem(&at.schema, Flaw::MisplacedKeyword("x-long-term".to_owned()));
        }
        let Some(decimal) = schema.get("x-decimal") else {
            return form;
        };
        if form != Form::Free {
            self.problem(&at.schema, Flaw::MisplacedKeyword("x-decimal".to_owned()));
        }
        Form::Decimal(self.decimal(decimal, &at.below("x-decimal")))
    }

    fn decimal(&mut self, decimal: &Json, pointer: &str) -> Decimal {
        const MOST_DIGITS: usize = 38;
        self.only(decimal, pointer, &["integer-digits", "fraction-digits", "negative"]);
        let mut digits = |name: &'static str, least: usize| {
            let count = decimal.get(name).and_then(Json::unsigned).and_then(|count| usize::try_from(count).ok());
            count.filter(|count| (least..=MOST_DIGITS).contains(count)).unwrap_or_else(|| {
                self.problem(&format!("{pointer}/{name}"), Flaw::OutOfBounds { least, most: MOST_DIGITS });
                0
            })
        };
        let (integer_digits, fraction_digits) = (digits("integer-digits", 1), digits("fraction-digits", 0));
        Decimal { integer_digits, fraction_digits, negative: self.flag(decimal, "negative", pointer) }
    }

    /// A member that is true or false, and false where it is not there.
    fn flag(&mut self, json: &Json, name: &str, pointer: &str) -> bool {
        let value = json.get(name).map(Json::boolean);
        if value == Some(None) {
            self.problem(&format!("{pointer}/{name}"), Flaw::Expected("true or false"));
        }
        value.flatten().unwrap_or_default()
    }

    pub(super) fn integer(&mut self, schema: &Json, at: &At, among: Option<&[&Json]>) -> Shape {
        let mut bound = |keyword: &'static str| {
            let value = schema.get(keyword)?;
            let number = value.integer();
            if number.is_none() {
                self.problem(&at.below(keyword), Flaw::Expected("a whole number within 64 bits"));
            }
            number
        };
        let (least, most) = (bound("minimum"), bound("maximum"));
        self.ordered(at, least, most);
        Shape::Integer(Arc::new(IntegerRules {
            least,
            most,
            among: among.map(|among| among.iter().filter_map(|value| value.integer()).collect()),
        }))
    }

    pub(super) fn number(&mut self, schema: &Json, at: &At, among: Option<&[&Json]>) -> Shape {
        let mut bound = |keyword: &'static str| {
            let value = schema.get(keyword)?;
            let number = value.float();
            if number.is_none() {
                self.problem(&at.below(keyword), Flaw::Expected("a number"));
            }
            number
        };
        let (least, most) = (bound("minimum"), bound("maximum"));
        self.ordered(at, least, most);
        Shape::Number(Arc::new(NumberRules {
            least,
            most,
            among: among.map(|among| among.iter().filter_map(|value| value.float()).collect()),
        }))
    }

    /// The values that `enum` and `const` leave, if either is there.
    pub(super) fn among(&mut self, schema: &'s Json, at: &At) -> Option<Vec<&'s Json>> {
        let types = schema.get("type");
        let fits = |value: &Json| {
            let names: &[Json] = match types {
                Some(Json::Array(names)) => names,
                Some(one) => std::slice::from_ref(one),
                None => &[],
            };
            names.iter().filter_map(Json::text).any(|name| match value {
                Json::Null => name == "null",
                Json::Bool(_) => name == "boolean",
                Json::Text(_) => name == "string",
                Json::Number(_) => name == "number" || (name == "integer" && value.integer().is_some()),
                Json::Array(_) | Json::Object(_) => false,
            })
        };
        let mut left: Option<Vec<&'s Json>> = None;
        if let Some(list) = schema.get("enum") {
            let members = list.array().unwrap_or_default();
            if members.is_empty() || members.len() > profile::MAX_ENUM {
                self.problem(&at.below("enum"), Flaw::OutOfBounds { least: 1, most: profile::MAX_ENUM });
            }
            let members = members.get(..profile::MAX_ENUM).unwrap_or(members);
            for (index, member) in members.iter().enumerate() {
                if !fits(member) {
                    self.problem(&format!("{}/enum/{index}", at.schema), Flaw::Expected("a scalar of the type"));
                }
                if members.iter().take(index).any(|earlier| earlier == member) {
                    self.problem(&format!("{}/enum/{index}", at.schema), Flaw::Repeated("this value".to_owned()));
                }
            }
            left = Some(members.iter().collect());
        }
        if let Some(value) = schema.get("const") {
            if !fits(value) {
                self.problem(&at.below("const"), Flaw::Expected("a scalar of the type"));
            }
            if left.as_ref().is_some_and(|members| !members.contains(&value)) {
                self.problem(&at.schema, Flaw::EmptyRange);
            }
            left = Some(vec![value]);
        }
        left
    }
}
