//! Answers on standard output: a table for people or JSON for programs. A reader that has seen enough (`| head`) is no error.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;
use shuqiao_adapter_sdk::{
    CheckReport, Descriptor,
    check::Verdict,
    plural,
    reconcile::Reconciliation,
    runner::Report,
    state::{Anew, Counts, DeadLetter, Replay},
    text::{LegacyEncoding, decode},
};

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON value; of a list, one a line.
    Json,
}

/// Writes a line to standard output.
pub(crate) fn say(text: impl AsRef<str>) {
    bytes(text.as_ref().as_bytes());
    bytes(b"\n");
}

/// Writes bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) {
    // A reader that has gone away has seen enough, and there is nobody else to tell.
    let _gone = io::stdout().write_all(bytes);
}

/// Writes a line to standard error: what went wrong, for a person.
pub(crate) fn complain(text: impl AsRef<str>) {
    let _gone = writeln!(io::stderr(), "{}", text.as_ref());
}

fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => say(text),
        Err(error) => complain(error.to_string()),
    }
}

fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    say(table.trim_fmt());
}

/// What a check found.
pub(crate) fn check(report: &CheckReport, format: Format) {
    if format == Format::Json {
        return json(report);
    }
    for finding in &report.findings {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok     ",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED ",
        };
        say(format!("{verdict}  {}: {}", finding.item, finding.message));
        if !finding.remedy.is_empty() {
            say(format!("         -> {}", finding.remedy.replace('\n', "\n            ")));
        }
    }
}

/// What a run did.
pub(crate) fn run(report: &Report, format: Format) {
    if format == Format::Json {
        return json(report);
    }
    say("in this run");
    counts(&report.run);
    rules("open dead letters, by reason", &report.reasons);
    rules("published with something repaired or left out, by rule", &report.warnings);
}

/// What reconciliation says.
pub(crate) fn reconciliation(answer: &Reconciliation, format: Format) {
    if format == Format::Json {
        return json(answer);
    }
    say(if answer.balanced { "the books are balanced" } else { "THE BOOKS ARE NOT BALANCED" });
    counts(&answer.counts);
    rules("open dead letters, by reason", &answer.dead_letters);
    for comparison in &answer.comparisons {
        say(format!(
            "{} {}: {}",
            comparison.role,
            comparison.dataset,
            if comparison.equal { "equal" } else { "DIFFERENT" }
        ));
        table(
            &["side", "records", "digest"],
            [("ours", &comparison.ours), ("exchange", &comparison.exchange)]
                .map(|(side, held)| vec![side.to_owned(), held.count.to_string(), held.digest.clone()]),
        );
    }
    for left_out in &answer.not_compared {
        say(format!("{}: not compared, since {} {}", left_out.role, left_out.reason_en, left_out.reason_zh));
    }
}

/// What the next run will do.
pub(crate) fn resync(anew: &Anew, format: Format) {
    if format == Format::Json {
        return json(anew);
    }
    let Anew { records, deletions, next_sequence } = anew;
    let (were, wait) = (if *records == 1 { "was" } else { "were" }, if *deletions == 1 { "waits" } else { "wait" });
    say(format!(
        "the next run reads the source from its beginning and publishes it once more, from sequence {next_sequence} on: {records} {} {were} published, \
         {deletions} {} {wait} already",
        plural(*records, "record"),
        plural(*deletions, "deletion"),
    ));
}

/// What the next run will ask for.
pub(crate) fn refresh(format: Format) {
    #[derive(Serialize)]
    struct Shown {
        anew: bool,
    }
    match format {
        Format::Json => json(&Shown { anew: true }),
        Format::Table => {
            say("the next run asks the exchange for everything once more, from where the subscription begins")
        }
    }
}

fn counts(counts: &Counts) {
    let source = counts.read + counts.accepted + counts.waiting > 0;
    if source {
        say(format!(
            "  read {} = accepted {} + unchanged {} + set aside {} + waiting {} (a row counts each time it is read)",
            counts.read, counts.accepted, counts.unchanged, counts.dead_letters, counts.waiting
        ));
    }
    if counts.delivered > 0 {
        say(format!("  delivered {} = taken {} + set aside {}", counts.delivered, counts.taken, counts.refused));
    }
    if !source && counts.delivered == 0 {
        say("  nothing");
    }
}

fn rules(title: &str, rules: &[(String, u64)]) {
    if !rules.is_empty() {
        say(title);
        for (rule, count) in rules {
            say(format!("  {count:>8}  {rule}"));
        }
    }
}

/// A list of letters.
pub(crate) fn letters(letters: &[DeadLetter], format: Format) {
    if format == Format::Json {
        letters.iter().for_each(json);
        return;
    }
    let rows = letters.iter().map(|letter| {
        let reasons = letter.violations.iter().map(|violation| format!("{} {}", violation.rule, violation.path));
        vec![
            letter.id.to_string(),
            word(&letter.state),
            letter.place.clone(),
            reasons.collect::<Vec<_>>().join(", "),
            letter.occurrences.to_string(),
        ]
    });
    table(&["ID", "STATE", "PLACE", "REASONS", "TIMES SEEN"], rows);
}

/// The name that JSON gives to a variant.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// One letter with its bytes, as far as they are text.
pub(crate) fn letter(letter: &DeadLetter, format: Format) {
    let (encoding, text) = legible(&letter.raw);
    if format == Format::Json {
        #[derive(Serialize)]
        struct Shown<'a> {
            #[serde(flatten)]
            letter: &'a DeadLetter,
            encoding: &'a str,
            raw: &'a str,
        }
        return json(&Shown { letter, encoding, raw: &text });
    }
    say(format!("dead letter {}, {}, {}", letter.id, word(&letter.state), letter.place));
    for violation in &letter.violations {
        let path = if violation.path.is_empty() { "(row)" } else { &violation.path };
        say(format!("  {path} {}: {}", violation.rule, violation.message_en));
        say(format!("  {}", violation.message_zh));
    }
    let (seen, bytes) = (letter.occurrences, letter.raw.len() as u64);
    say(format!("seen {seen} {}; its {bytes} {} ({encoding}):", plural(seen, "time"), plural(bytes, "byte")));
    say(&text);
}

/// Bytes as a person reads them: text, or text with `\xNN` for what is none.
fn legible(raw: &[u8]) -> (&'static str, String) {
    if let Ok(text) = decode(LegacyEncoding::Utf8, raw) {
        return ("UTF-8", text);
    }
    if let Ok(text) = decode(LegacyEncoding::Gb18030, raw) {
        return ("GB18030", text);
    }
    ("not text", raw.escape_ascii().to_string())
}

/// What replaying came to.
pub(crate) fn replays(replays: &[(i64, Replay)], format: Format) {
    if format == Format::Json {
        #[derive(Serialize)]
        struct Shown {
            id: i64,
            result: Replay,
        }
        replays.iter().for_each(|(id, result)| json(&Shown { id: *id, result: *result }));
        return;
    }
    for (id, result) in replays {
        let words = match result {
            Replay::Queued => "taken; a source's waits in the outbox for the running or the next run",
            Replay::Unchanged => "says what is published already; closed",
            Replay::Superseded => "its key has moved on since; closed",
            Replay::StillBad => "still cannot be taken; stays open, with the reasons of now",
            Replay::NotOpen => "is not open",
        };
        say(format!("{id}: {words}"));
    }
}

/// The adapters of this build.
pub(crate) fn descriptors(descriptors: &[Descriptor], format: Format) {
    #[derive(Serialize)]
    struct Shown {
        name: &'static str,
        title_en: &'static str,
        title_zh: &'static str,
        source: bool,
        sink: bool,
        record_types: &'static [&'static str],
    }
    for &Descriptor { name, title_en, title_zh, source, sink, record_types, .. } in descriptors {
        if format == Format::Json {
            json(&Shown { name, title_en, title_zh, source, sink, record_types });
            continue;
        }
        let roles = match (source, sink) {
            (true, true) => "publishes and subscribes",
            (true, false) => "publishes",
            (false, _) => "subscribes",
        };
        say(format!("{name}\n  {title_en}\n  {title_zh}\n  {roles}: {}", record_types.join(", ")));
    }
}
