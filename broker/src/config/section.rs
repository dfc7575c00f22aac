//! One declaration a section: the struct, its reader and its part of the manual come from the same lines, so they cannot drift apart.
//!
//! ```text
//! section! {
//!     /// What the section is about.
//!     pub struct Limits {
//!         /// What the field means.
//!         value batch_records_max: u32 = 1000, within 1, 10000;
//!         value address: SocketAddr = "127.0.0.1:7443", env "SHUQIAO_ADDRESS";
//!         section kafka: Kafka;
//!     }
//! }
//! ```
//!
//! A default is written as in the file and read by the same code. `pub struct Limits, then check {` calls `Limits::check` once every key has a value, for what
//! keys must be to one another.

use std::collections::BTreeSet;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{report::Report, value::Value};

/// A table of the file.
pub(super) trait Section: Sized {
    fn read(reader: Reader<'_, '_>) -> Option<Self>;
    fn describe(path: &str, manual: &mut Vec<Described>);
}

/// A section or a field, as the manual shows it.
#[derive(Clone, Debug)]
pub(super) enum Described {
    Section { path: String, docs: Vec<&'static str> },
    Field(Field),
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) path: String,
    pub(super) kind: String,
    pub(super) default: Option<&'static str>,
    pub(super) bounds: Option<(&'static str, &'static str)>,
    pub(super) environment: Option<&'static str>,
    pub(super) docs: Vec<&'static str>,
}

/// Reads one table, and knows at the end which keys nobody asked for.
pub(super) struct Reader<'r, 't> {
    table: Option<&'r DeTable<'t>>,
    path: String,
    known: BTreeSet<&'static str>,
    report: &'r mut Report<'t>,
}

impl<'r, 't> Reader<'r, 't> {
    pub(super) fn new(table: Option<&'r DeTable<'t>>, path: String, report: &'r mut Report<'t>) -> Self {
        Self { table, path, known: BTreeSet::new(), report }
    }

    fn find(&mut self, field: &'static str) -> Option<&'r Spanned<DeValue<'t>>> {
        self.known.insert(field);
        self.table.and_then(|table| table.get(field))
    }

    /// A value: from the environment, else from the file, else the default.
    pub(super) fn value<T: Value>(&mut self, field: &'static str, default: &[&str], environment: &[&str]) -> Option<T> {
        let found = self.find(field);
        let path = join(&self.path, field);
        for name in environment {
            if let Some(text) = self.report.environment(name) {
                let kept = keep(T::parse_text(&text), |message| {
                    self.report.mistake(format!("{path} (environment variable {name})"), None, message);
                });
                return kept.or_else(|| instead(default));
            }
        }
        match (found, default.first()) {
            (Some(value), _) => keep(T::parse(value.get_ref()), |message| {
                self.report.mistake(path, Some(value.span()), message);
            })
            .or_else(|| instead(default)),
            (None, Some(default)) => keep(literal(default), |message| self.report.mistake(path, None, message)),
            (None, None) => {
                let absent = T::absent();
                if absent.is_none() {
                    self.report.mistake(path, None, format!("is missing: {}", T::kind()));
                }
                absent
            }
        }
    }

    /// Complains about a value outside of its bounds.
    pub(super) fn bounded<T: Value + PartialOrd>(
        &mut self,
        field: &'static str,
        value: Option<T>,
        (low, high): (&str, &str),
    ) -> Option<T> {
        let value = value?;
        let inside =
            literal::<T>(low).is_ok_and(|low| value >= low) && literal::<T>(high).is_ok_and(|high| value <= high);
        if !inside {
            let span = self.find(field).map(Spanned::span);
            self.report.mistake(join(&self.path, field), span, format!("must be from {low} to {high}"));
        }
        Some(value)
    }

    /// A table within this one. One that is not there is read as empty: its obligatory keys are then missing.
    pub(super) fn section<T: Section>(&mut self, field: &'static str) -> Option<T> {
        let path = join(&self.path, field);
        let table = match self.find(field) {
            None => None,
            Some(value) => match value.get_ref().as_table() {
                Some(table) => Some(table),
                None => {
                    self.report.mistake(&path, Some(value.span()), format!("must be a table: [{path}]"));
                    return None;
                }
            },
        };
        T::read(Reader::new(table, path, self.report))
    }

    /// Complains about every key that nobody asked for.
    pub(super) fn finish(&mut self) {
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if !self.known.contains(name) {
                let known = self.known.iter().copied().collect::<Vec<_>>().join(", ");
                self.report.mistake(
                    join(&self.path, name),
                    Some(key.span()),
                    format!("is unknown; known here: {known}"),
                );
            }
        }
    }

    /// For what no key can know of another.
    pub(super) fn report(&mut self) -> &mut Report<'t> {
        self.report
    }
}

/// What a malformed value is read as: its mistake is on the report and refuses the file, and the keys beside it are to be held against one another all the same.
fn instead<T: Value>(default: &[&str]) -> Option<T> {
    default.first().and_then(|default| literal(default).ok()).or_else(T::absent)
}

fn keep<T>(parsed: Result<T, String>, complain: impl FnOnce(String)) -> Option<T> {
    parsed.map_err(complain).ok()
}

/// Reads a default or a bound, which stand in the source as they would stand in the file.
fn literal<T: Value>(text: &str) -> Result<T, String> {
    let value =
        DeValue::parse(text).map_err(|error| format!("the default {text} is malformed: {}", error.message()))?;
    T::parse(value.get_ref())
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

macro_rules! section {
    (
        $(#[doc = $section_doc:literal])*
        pub struct $name:ident $(, then $check:ident)? {
            $(
                $(#[doc = $doc:literal])*
                $how:ident $field:ident: $type:ty $(= $default:expr)? $(, within $low:expr, $high:expr)? $(, env $environment:literal)?;
            )*
        }
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl $crate::config::section::Section for $name {
            fn read(mut reader: $crate::config::section::Reader<'_, '_>) -> Option<Self> {
                $(
                    let $field = section!(@read $how reader, $type, stringify!($field), [$(stringify!($default))?], [$($environment)?]);
                    $(let $field = reader.bounded(stringify!($field), $field, (stringify!($low), stringify!($high)));)?
                )*
                reader.finish();
                // Only now: every mistake of the section has been found.
                let section = Self { $($field: $field?,)* };
                $(section.$check(reader.report());)?
                Some(section)
            }

            fn describe(path: &str, manual: &mut Vec<$crate::config::section::Described>) {
                manual.push($crate::config::section::Described::Section { path: path.to_owned(), docs: vec![$($section_doc),*] });
                $(
                    let field_path = if path.is_empty() { stringify!($field).to_owned() } else { format!("{path}.{}", stringify!($field)) };
                    section!(@describe $how manual, field_path, $type, [$(stringify!($default))?], [$((stringify!($low), stringify!($high)))?], [$($environment)?], [$($doc),*]);
                )*
            }
        }
    };
    (@read value $reader:ident, $type:ty, $field:expr, [$($default:expr)?], [$($environment:expr)?]) => {
        $reader.value::<$type>($field, &[$($default)?], &[$($environment)?])
    };
    (@read section $reader:ident, $type:ty, $field:expr, [], []) => {
        $reader.section::<$type>($field)
    };
    (@describe value $manual:ident, $path:ident, $type:ty, [$($default:expr)?], [$($bounds:expr)?], [$($environment:expr)?], [$($doc:expr),*]) => {
        $manual.push($crate::config::section::Described::Field($crate::config::section::Field {
            path: $path,
            kind: <$type as $crate::config::value::Value>::kind(),
            default: [$($default)?].first().copied(),
            bounds: [$($bounds)?].first().copied(),
            environment: [$($environment)?].first().copied(),
            docs: vec![$($doc),*],
        }));
    };
    (@describe section $manual:ident, $path:ident, $type:ty, [], [], [], [$($doc:expr),*]) => {
        <$type as $crate::config::section::Section>::describe(&$path, $manual);
    };
}
pub(super) use section;
