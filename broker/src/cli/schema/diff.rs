//! `shuqiao schema diff`: what differs between two versions, and whether a promise of compatibility holds.

use clap::{Args, ValueEnum};
use serde::Serialize;
use shuqiao_schemas::engine::{
    RecordType,
    compatibility::{self, Difference},
};

use super::{
    super::{
        error::Error,
        exit::Exit,
        output::{self, Format},
    },
    Tables, load,
};

/// Which promise the new version must keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Whoever knows the new version reads every record of the old one: the log holds both.
    #[default]
    Backward,
    /// Whoever knows only the old version reads every record of the new one.
    Forward,
    /// Both.
    Full,
}

impl From<Mode> for compatibility::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Backward => Self::Backward,
            Mode::Forward => Self::Forward,
            Mode::Full => Self::Full,
        }
    }
}

/// `shuqiao schema diff OLD NEW`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Diff {
    /// The version that is there: a name (`enterprise/v1`), a file or a directory.
    old: String,
    /// The version that is to follow it.
    new: String,
    /// The promise that must hold.
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    tables: Tables,
}

/// The whole answer.
#[derive(Debug, Serialize)]
struct Answer {
    old: String,
    new: String,
    /// Of all differences together.
    class: &'static str,
    mode: &'static str,
    /// Whether the promise holds.
    compatible: bool,
    differences: Vec<Told>,
}

/// One difference.
#[derive(Debug, Serialize)]
struct Told {
    change: &'static str,
    class: &'static str,
    fields: Vec<String>,
    /// Whether it breaks the promise.
    breaks: bool,
}

impl Diff {
    pub(super) fn run(self) -> Result<Exit, Error> {
        let (old, new) = (load(&self.old, &self.tables)?, load(&self.new, &self.tables)?);
        let answer = compare(&old, &new, self.mode);
        output::print(&match self.output {
            Format::Json => output::json(&answer)?,
            Format::Yaml => output::yaml(&answer)?,
            Format::Table => output::table(
                ["change", "class", "breaks", "fields"],
                answer.differences.iter().map(|one| {
                    let breaks = if one.breaks { "yes" } else { "no" };
                    vec![one.change.to_owned(), one.class.to_owned(), breaks.to_owned(), one.fields.join(" ")]
                }),
            ),
        })?;
        output::note(&answer.summary());
        Ok(if answer.compatible { Exit::Success } else { Exit::Invalid })
    }
}

fn compare(old: &RecordType, new: &RecordType, mode: Mode) -> Answer {
    let promise = compatibility::Mode::from(mode);
    let differences = compatibility::compare(old, new);
    let class = compatibility::class(&differences);
    let told = |one: Difference| Told {
        change: one.name,
        class: one.class.as_str(),
        breaks: !one.class.keeps(promise),
        fields: one.fields,
    };
    Answer {
        old: old.name().to_owned(),
        new: new.name().to_owned(),
        class: class.as_str(),
        mode: match mode {
            Mode::Backward => "backward",
            Mode::Forward => "forward",
            Mode::Full => "full",
        },
        compatible: class.keeps(promise),
        differences: differences.into_iter().map(told).collect(),
    }
}

impl Answer {
    fn summary(&self) -> String {
        let count = self.differences.len();
        let head = format!("{} to {}: {count} differences, {}", self.old, self.new, self.class);
        if self.compatible {
            return format!("{head}; {} compatibility holds", self.mode);
        }
        let breaking = self.differences.iter().filter(|one| one.breaks).count();
        format!(
            "{head}; {breaking} break {} compatibility\n  next: take these back, or publish the new version beside the old one and serve both",
            self.mode
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shuqiao_schemas::engine::CodeTables;

    fn version(number: u32, more: &str) -> RecordType {
        let schema = format!(
            r#"{{"$id":"urn:shuqiao:record-type:t:v{number}","type":"object","additionalProperties":false,"required":["id"],"x-key":["/id"],
            "properties":{{"id":{{"type":"string","maxLength":9}}{more}}}}}"#
        );
        RecordType::compile(schema.as_bytes(), &CodeTables::new()).expect("in the profile")
    }

    #[test]
    fn a_difference_is_named_with_its_class_and_fields_and_judged_by_the_mode() {
        let (old, new) = (version(1, ""), version(2, r#","note":{"type":"string","maxLength":9}"#));
        for (mode, compatible) in [(Mode::Backward, true), (Mode::Forward, false), (Mode::Full, false)] {
            let answer = compare(&old, &new, mode);
            assert_eq!((answer.compatible, answer.class), (compatible, "backward"), "{mode:?}");
            let [one] = &*answer.differences else { panic!("{answer:?}") };
            assert_eq!((one.change, one.class, one.breaks), ("field-added", "backward", !compatible));
            assert_eq!(one.fields, ["/note"]);
            assert_eq!(answer.summary().contains("next: "), !compatible);
        }
        assert!(compare(&old, &old, Mode::Full).compatible);
    }
}
