//! `shuqiao schema diff`: what differs between versions, whether a promise of compatibility holds, and which grants are hit.

use std::{path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use serde::Serialize;
use shuqiao_schemas::engine::{
    RecordType,
    compatibility::{self, Difference},
};

use super::{
    super::{
        connection::Connection,
        error::Error,
        exit::Exit,
        output::{self, Format},
        resource,
    },
    Tables,
    hits::{self, Grants},
    load,
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

/// `shuqiao schema diff OLD… NEW`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Diff {
    /// The versions that are there, oldest first, then the one that is to follow them: names (`enterprise/v1`), files or directories.
    #[arg(required = true, num_args = 2.., value_names = ["OLD", "NEW"])]
    versions: Vec<String>,
    /// The promise that must hold.
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Hold the promise to every version that is given, not to the last one alone.
    #[arg(long)]
    transitive: bool,
    /// Manifests of grants and of their datasets, as `list` prints them: tell which grants a difference hits, and where. `-` is standard input. A grant
    /// without its dataset is taken for one on the record type.
    #[arg(long, value_name = "FILE")]
    grants: Vec<PathBuf>,
    /// Take grants and datasets from the node, those that you may see, and record types that this program does not have.
    #[arg(long, conflicts_with = "grants")]
    ask_node: bool,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    tables: Tables,
    #[command(flatten)]
    connection: Connection,
}

/// The whole answer.
#[derive(Debug, Serialize)]
struct Answer {
    /// The versions that the new one was compared with.
    old: Vec<String>,
    new: String,
    /// Of all differences together.
    class: &'static str,
    mode: &'static str,
    /// Whether the promise holds.
    compatible: bool,
    differences: Vec<Told>,
    /// Nothing where no grants were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    hits: Option<Vec<hits::Hit>>,
}

/// One difference.
#[derive(Debug, Serialize)]
struct Told {
    /// The earlier version.
    against: String,
    change: &'static str,
    class: &'static str,
    fields: Vec<String>,
    /// Whether it breaks the promise.
    breaks: bool,
}

impl Diff {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        let mut client = if self.ask_node { Some(resource::connect(&self.connection).await?) } else { None };
        let mut versions = Vec::with_capacity(self.versions.len());
        for version in &self.versions {
            versions.push(self.load(version, client.as_mut()).await?);
        }
        let grants = match &mut client {
            Some(client) => Some(Grants::new(resource::datasets_and_grants(client).await?)),
            None if self.grants.is_empty() => None,
            None => Some(Grants::read(&self.grants)?),
        };
        let Some((new, history)) = versions.split_last() else {
            return Err(Error::Usage("two versions or more".to_owned()));
        };
        let history: Vec<&RecordType> = history.iter().map(|version| &**version).collect();
        let answer = compare(&history, new, self.mode, self.transitive, grants.as_ref());
        output::print(&match self.output {
            Format::Json => output::json(&answer)?,
            Format::Yaml => output::yaml(&answer)?,
            Format::Table => answer.tables(),
        })?;
        output::note(&answer.summary());
        match grants.map_or(0, |grants| grants.unplaced()) {
            0 => {}
            unplaced => output::note(&format!(
                "{} without a dataset's manifest: taken for grants on {}",
                output::count(unplaced, "grant"),
                answer.old.join(", ")
            )),
        }
        Ok(if answer.compatible { Exit::Success } else { Exit::Invalid })
    }
}

impl Diff {
    async fn load(&self, version: &str, client: Option<&mut resource::Client>) -> Result<Arc<RecordType>, Error> {
        match (load(version, &self.tables), client) {
            (Err(Error::NotFound(_)), Some(client)) => resource::compiled(client, version).await?.ok_or_else(|| {
                Error::NotFound(format!(
                    "{version} is no record type here or at the node, or this program cannot compile it"
                ))
            }),
            (found, _) => found,
        }
    }
}

fn compare(history: &[&RecordType], new: &RecordType, mode: Mode, transitive: bool, grants: Option<&Grants>) -> Answer {
    let promise = compatibility::Mode::from(mode);
    let first = if transitive { 0 } else { history.len().saturating_sub(1) };
    let old = history.get(first..).unwrap_or_default();
    let told = |against: &RecordType, one: Difference| Told {
        against: against.name().to_owned(),
        change: one.name,
        class: one.class.as_str(),
        breaks: !one.class.keeps(promise),
        fields: one.fields,
    };
    let (mut class, mut differences) = (compatibility::Class::Full, Vec::new());
    let mut hit = grants.map(|_| Vec::new());
    for old in old {
        let found = compatibility::compare(old, new);
        if let (Some(grants), Some(hit)) = (grants, &mut hit) {
            hit.append(&mut grants.hit_by(old, &found));
        }
        class = class.and(compatibility::class(&found));
        differences.extend(found.into_iter().map(|one| told(old, one)));
    }
    Answer {
        old: old.iter().map(|version| version.name().to_owned()).collect(),
        new: new.name().to_owned(),
        class: class.as_str(),
        mode: match mode {
            Mode::Backward => "backward",
            Mode::Forward => "forward",
            Mode::Full => "full",
        },
        compatible: compatibility::check(history, new, promise, transitive).is_empty(),
        differences,
        hits: hit,
    }
}

impl Answer {
    fn tables(&self) -> String {
        let rows = self.differences.iter().map(|one| {
            let breaks = if one.breaks { "yes" } else { "no" };
            vec![
                one.against.clone(),
                one.change.to_owned(),
                one.class.to_owned(),
                breaks.to_owned(),
                one.fields.join(" "),
            ]
        });
        let differences = output::table(["against", "change", "class", "breaks", "fields"], rows);
        match &self.hits {
            Some(hits) => format!("{differences}\n\n{}", hits::table(hits)),
            None => differences,
        }
    }

    fn summary(&self) -> String {
        let count = output::count(self.differences.len(), "difference");
        let mut head = format!("{} to {}: {count}, {}", self.old.join(", "), self.new, self.class);
        if let Some(hits) = &self.hits {
            head.push_str(&format!(", {} hit", output::count(hits::grants(hits), "grant")));
        }
        if self.compatible {
            return format!("{head}; {} compatibility holds", self.mode);
        }
        let breaking = self.differences.iter().filter(|one| one.breaks).count();
        format!(
            "{head}; {breaking} of them against {} compatibility\n  next: take these back, or publish the new version beside the old one and serve both",
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
            let answer = compare(&[&old], &new, mode, false, None);
            assert_eq!((answer.compatible, answer.class), (compatible, "backward"), "{mode:?}");
            let [one] = &*answer.differences else { panic!("{answer:?}") };
            assert_eq!((one.change, one.class, one.breaks), ("field-added", "backward", !compatible));
            assert_eq!(one.fields, ["/note"]);
            assert_eq!(answer.summary().contains("next: "), !compatible);
        }
        assert!(compare(&[&old], &old, Mode::Full, true, None).compatible);
    }

    #[test]
    fn a_transitive_promise_is_held_to_every_version() {
        let first = version(1, r#","note":{"type":"string","maxLength":9}"#);
        let (second, third) = (version(2, ""), version(3, r#","note":{"type":"string","maxLength":5}"#));
        let last = compare(&[&first, &second], &third, Mode::Backward, false, None);
        assert!(last.compatible && last.old == ["t/v2"], "{last:?}");
        let all = compare(&[&first, &second], &third, Mode::Backward, true, None);
        let breaking: Vec<_> =
            all.differences.iter().filter(|one| one.breaks).map(|one| (&*one.against, one.change)).collect();
        assert_eq!(breaking, [("t/v1", "max-length-changed")]);
        assert!(!all.compatible && all.old == ["t/v1", "t/v2"] && all.summary().starts_with("t/v1, t/v2 to t/v3: "));
    }

    #[test]
    fn the_grants_that_are_hit_are_told_with_change_and_field() {
        let (old, new) = (version(1, r#","note":{"type":"string","maxLength":9}"#), version(2, ""));
        let grants = Grants::parse(
            "kind: grant\nname: a.b\ndataset: a.c\ngrantee: b\nfields: [{path: /note, treatment: clear}]\npurpose: x\nlegal_basis: x\n",
            "test",
        );
        let grants = grants.expect("a manifest");
        let answer = compare(&[&old], &new, Mode::Forward, false, Some(&grants));
        assert!(
            answer.compatible && answer.summary().contains("1 difference, forward, 1 grant hit"),
            "{}",
            answer.summary()
        );
        let text = answer.tables();
        let last = text.lines().last().expect("a row").split_whitespace().collect::<Vec<_>>();
        assert_eq!(last, ["a.b", "a.c", "b", "t/v1", "field-removed", "forward", "/note"]);
        // Without grants nobody asked for hits, and none are claimed.
        let answer = compare(&[&old], &new, Mode::Forward, false, None);
        assert!(answer.hits.is_none() && !answer.tables().contains("GRANT"));
    }
}
