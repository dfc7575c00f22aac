//! A table read into a type that derives `Deserialize`, with every mistake told at once and no value quoted.
//!
//! serde stops at the first mistake. So a table is read again and again: a key with a mistake is left out, one that is missing is filled in, until the
//! rest reads; what was filled in is thrown away with the answer. So an adapter's table needs nothing but the derive, and its own rules are held against
//! the keys that are right even where others are not.

use std::{cell::RefCell, collections::BTreeMap, fmt};

use serde::{
    de::{
        self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess,
        Unexpected, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use toml::{Table, Value};

/// No table has as many keys.
const TURNS_MAX: usize = 1_000;

/// What reading one table came to.
pub(super) struct Reading<T> {
    /// What was read; with other values in the place of the mistaken ones. `None`: too little of it can be understood.
    pub(super) read: Option<T>,
    /// "key: what is wrong and what would be right", each key with its whole path.
    pub(super) mistakes: Vec<String>,
    replaced: BTreeMap<String, usize>,
}

impl<T> Reading<T> {
    /// Adds what a rule says of `keys` (one, or several with commas between them), unless one of them has its mistake already.
    pub(super) fn rule(&mut self, keys: &str, message: &str) {
        let is_told = |key: &str| {
            self.replaced.keys().any(|path| {
                key.strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        if !keys.split(", ").any(is_told) {
            self.mistakes.push(format!("{keys}: {message}"));
        }
    }
}

/// Reads what stands at `path`.
pub(super) fn read<T: DeserializeOwned>(path: &str, table: &Table) -> Reading<T> {
    let (value, notes) = (Value::Table(table.clone()), RefCell::new(Notes::default()));
    let mut read = None;
    for _ in 0..TURNS_MAX {
        let reader = Reader { notes: &notes, path: path.to_owned(), value: &value };
        match T::deserialize(reader) {
            Ok(complete) => {
                read = Some(complete);
                break;
            }
            Err(error) => {
                if !notes.borrow_mut().go_on(error, path) {
                    break;
                }
            }
        }
    }
    let Notes { mistakes, replaced, .. } = notes.into_inner();
    Reading { read, mistakes, replaced }
}

/// Reads an adapter's own table, `[{name}]`, and asks it for what its type cannot express.
///
/// # Errors
/// Every mistake.
pub(crate) fn own_table<T: DeserializeOwned>(
    name: &str,
    table: &Table,
    rules: impl FnOnce(&T) -> Vec<String>,
) -> Result<T, Vec<String>> {
    let mut reading = read::<T>(name, table);
    for mistake in reading.read.as_ref().map(rules).unwrap_or_default() {
        let (keys, message) = mistake.split_once(": ").unwrap_or(("", &mistake));
        let keys: Vec<String> = keys.split(", ").map(|key| join(name, key)).collect();
        reading.rule(&keys.join(", "), message);
    }
    match reading.read {
        Some(config) if reading.mistakes.is_empty() => Ok(config),
        _ => Err(reading.mistakes),
    }
}

fn join(path: &str, key: &str) -> String {
    match (path, key) {
        ("", key) => key.to_owned(),
        (path, "") => path.to_owned(),
        (path, key) => format!("{path}.{key}"),
    }
}

/// What the turns have come to so far.
#[derive(Default)]
struct Notes {
    mistakes: Vec<String>,
    /// Left out or filled in: with which of the [`TEXTS`], where it is filled in. What is left out has [`LEFT_OUT`].
    replaced: BTreeMap<String, usize>,
    unknown: Vec<String>,
}

const LEFT_OUT: usize = usize::MAX;
/// One of these is what a text may have to be: a duration, a size, an address, anything.
const TEXTS: [&str; 4] = ["1s", "1MiB", "127.0.0.1:1", "x"];

impl Notes {
    /// Whether another turn can tell more.
    fn go_on(&mut self, error: Error, root: &str) -> bool {
        let path = error.path.unwrap_or_else(|| root.to_owned());
        let before = self.replaced.get(&path).copied();
        match (error.what, before) {
            (What::Missing(_), None) => {
                self.mistakes.push(format!("{path}: is missing"));
                self.replaced.insert(path, 0);
            }
            (What::Missing(_), Some(LEFT_OUT)) => {
                self.replaced.insert(path, 0);
            }
            (What::Wrong(_), Some(text)) if text != LEFT_OUT && text + 1 < TEXTS.len() => {
                self.replaced.insert(path, text + 1);
            }
            (What::Wrong(message), None) => {
                self.mistakes.push(format!("{path}: {message}"));
                if path == root {
                    return false;
                }
                self.replaced.insert(path, LEFT_OUT);
            }
            (What::Missing(_) | What::Wrong(_), Some(_)) => return false,
        }
        true
    }

    fn unknown(&mut self, path: String, known: &[&str]) {
        if !self.unknown.contains(&path) {
            self.mistakes.push(format!("{path}: is unknown; known here: {}", known.join(", ")));
            self.unknown.push(path);
        }
    }
}

/// Why a turn ended.
#[derive(Debug)]
struct Error {
    /// The key's, once it is known.
    path: Option<String>,
    what: What,
}

#[derive(Debug)]
enum What {
    Missing(&'static str),
    Wrong(String),
}

impl Error {
    fn at(mut self, path: &str) -> Self {
        if self.path.is_none() {
            self.path = Some(match self.what {
                What::Missing(key) => join(path, key),
                What::Wrong(_) => path.to_owned(),
            });
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Missing(key) => write!(f, "{key} is missing"),
            What::Wrong(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

/// serde's own words quote the value, which may be a password.
impl de::Error for Error {
    fn custom<M: fmt::Display>(message: M) -> Self {
        let message = match message.to_string().as_str() {
            "invalid socket address syntax" => "must be an IP address and port, like \"127.0.0.1:9464\"".into(),
            message => message.to_owned(),
        };
        Self { path: None, what: What::Wrong(message) }
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::custom(format!("must be {}, not {}", words(wanted), kind(found)))
    }

    fn invalid_value(_: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::custom(format!("must be {}", words(wanted)))
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self::custom(format!("must be one of {}", known.join(", ")))
    }

    fn missing_field(key: &'static str) -> Self {
        Self { path: None, what: What::Missing(key) }
    }
}

/// What serde and the types of values call what they want, in the words of a configuration.
fn words(wanted: &dyn Expected) -> String {
    let wanted = wanted.to_string();
    match wanted.as_str() {
        "a string" => "text in quotes".into(),
        "path string" => "a path in quotes".into(),
        "a character" => "one character in quotes".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        "socket address" => "an IP address and port, like \"127.0.0.1:9464\"".into(),
        // As `bytesize` says it.
        "an integer or string" | "parsable string" | "integer overflow" => "a size, like \"4MiB\"".into(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not below 0 and not too large".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        table if table.starts_with("struct ") => "a table".into(),
        _ => wanted,
    }
}

fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number with a point",
        Unexpected::Char(_) | Unexpected::Str(_) => "text",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a table",
        _ => "what stands there",
    }
}

/// One value, and where it stands.
struct Reader<'a> {
    notes: &'a RefCell<Notes>,
    path: String,
    value: &'a Value,
}

/// A number, and a yes or no, may stand as text: the environment has nothing else.
macro_rules! also_as_text {
    ($($method:ident $visit:ident $type:ty;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.value.as_str().and_then(|text| text.trim().parse::<$type>().ok()) {
                Some(value) => visitor.$visit(value),
                None => self.deserialize_any(visitor),
            }
        }
    )+};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::String(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(yes) => visitor.visit_bool(*yes),
            Value::Datetime(moment) => visitor.visit_string(moment.to_string()),
            Value::Array(values) => visitor.visit_seq(Elements { list: &self, values: values.iter() }),
            Value::Table(table) => {
                let keys = table.iter().map(|(key, value)| (key.as_str(), Entry::Given(value))).collect();
                visitor.visit_map(Entries::new(&self, keys))
            }
        }
    }

    also_as_text! {
        deserialize_bool visit_bool bool;
        deserialize_u8 visit_u64 u64; deserialize_u16 visit_u64 u64; deserialize_u32 visit_u64 u64; deserialize_u64 visit_u64 u64;
        deserialize_i8 visit_i64 i64; deserialize_i16 visit_i64 i64; deserialize_i32 visit_i64 i64; deserialize_i64 visit_i64 i64;
        deserialize_f32 visit_f64 f64; deserialize_f64 visit_f64 f64;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Value::Table(table) = self.value else { return self.deserialize_any(visitor) };
        for key in table.keys().filter(|key| !fields.contains(&key.as_str())) {
            self.notes.borrow_mut().unknown(join(&self.path, key), fields);
        }
        let entry = |field: &&'static str| {
            let replaced = self.notes.borrow().replaced.get(&join(&self.path, field)).copied();
            match (replaced, table.get(*field)) {
                (Some(LEFT_OUT), _) | (None, None) => None,
                (Some(text), _) => Some((*field, Entry::Filled(text))),
                (None, Some(value)) => Some((*field, Entry::Given(value))),
            }
        };
        let keys = fields.iter().filter_map(entry).collect();
        visitor.visit_map(Entries::new(&self, keys)).map_err(|error| error.at(&self.path))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => Err(de::Error::custom(format!("must be one of {}", variants.join(", ")))),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

enum Entry<'a> {
    Given(&'a Value),
    Filled(usize),
}

/// The keys of a table, in order.
struct Entries<'a> {
    table: &'a Reader<'a>,
    keys: std::vec::IntoIter<(&'a str, Entry<'a>)>,
    value: Option<(&'a str, Entry<'a>)>,
}

impl<'a> Entries<'a> {
    fn new(table: &'a Reader<'a>, keys: Vec<(&'a str, Entry<'a>)>) -> Self {
        Self { table, keys: keys.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.value = self.keys.next();
        self.value.as_ref().map(|(key, _)| seed.deserialize((*key).into_deserializer())).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (key, entry) = self.value.take().ok_or_else(|| de::Error::custom("a value without a key"))?;
        let path = join(&self.table.path, key);
        let value = match entry {
            Entry::Given(value) => seed.deserialize(Reader { notes: self.table.notes, path: path.clone(), value }),
            Entry::Filled(text) => seed.deserialize(Anything(text)),
        };
        value.map_err(|error| error.at(&path))
    }
}

/// The values of a list. A mistake in one is its key's.
struct Elements<'a> {
    list: &'a Reader<'a>,
    values: std::slice::Iter<'a, Value>,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(value) = self.values.next() else { return Ok(None) };
        seed.deserialize(Reader { notes: self.list.notes, path: self.list.path.clone(), value }).map(Some)
    }
}

/// In the place of what is missing: whatever is asked for.
#[derive(Clone, Copy)]
struct Anything(usize);

impl IntoDeserializer<'_, Error> for Anything {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! any_number {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_u64(1)
        }
    )+};
}

impl<'de> Deserializer<'de> for Anything {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(TEXTS[self.0])
    }

    any_number! {
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_i8 deserialize_i16 deserialize_i32
        deserialize_i64 deserialize_f32 deserialize_f64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(true)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_char('x')
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(SeqDeserializer::<_, Error>::new(std::iter::empty::<Self>()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(MapDeserializer::<_, Error>::new(std::iter::empty::<(&str, Self)>()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(MapDeserializer::new(fields.iter().map(|field| (*field, self))))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(variants.first().copied().unwrap_or_default().into_deserializer())
    }

    forward_to_deserialize_any! {
        i128 u128 str string bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests;
