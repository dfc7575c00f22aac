//! From text to [`Config`], with every mistake told at once.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value, de::DeTable};

use super::{
    Broker, Config, Metrics, Publish, Run, StateFile, Subscribe,
    section::{self, Reading},
};
use crate::{ErasedAdapter, plural};

/// Everything that is wrong with a configuration, a line each: the key, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} {}:\n  {}", .0.len(), plural(.0.len() as u64, "mistake"), .0.join("\n  "))]
pub struct Mistakes(pub Vec<String>);

/// Reads a file, applies the environment's overrides, and checks all of it against the adapter that it names.
///
/// # Errors
/// [`Mistakes`], all of them.
pub fn load(
    path: &Path,
    adapters: &[&'static dyn ErasedAdapter],
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Config, Mistakes> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        // A relative path means another file from another directory.
        let here = std::env::current_dir().ok().filter(|_| path.is_relative());
        let from = here.map(|here| format!(" (looked for from {})", here.display())).unwrap_or_default();
        Mistakes(vec![format!("{}: {error}{from}", path.display())])
    })?;
    from_text(&text, adapters, environment)
}

/// Where a configuration with mistakes says to look nevertheless: what is named rightly.
#[derive(Clone, Default)]
pub struct Named {
    /// `broker.authorities`
    pub authorities: Option<PathBuf>,
    /// `broker.certificate`
    pub certificate: Option<PathBuf>,
    /// `broker.key`
    pub key: Option<PathBuf>,
    /// The directory of `state.path`.
    pub state: Option<PathBuf>,
    /// The adapter with its own table, where that has no mistake.
    pub adapter: Option<(&'static dyn ErasedAdapter, Table)>,
}

/// What an adapter's table says may be a password.
impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").field("state", &self.state).finish_non_exhaustive()
    }
}

/// What the file names, whatever else is wrong with it; nothing where it cannot be read or is no TOML.
pub fn named(
    path: &Path,
    adapters: &[&'static dyn ErasedAdapter],
    environment: impl Iterator<Item = (String, String)>,
) -> Named {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let Ok(mut table) = syntax(&text) else { return Named::default() };
    override_from(&mut table, environment);
    let file = |section: &str, key: &str| {
        let path = table.get(section)?.get(key)?.as_str()?;
        Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty())
    };
    let adapter = meant(adapters, &table).and_then(|adapter| {
        let own = table.get(adapter.describe().name)?.as_table()?.clone();
        adapter.config_mistakes(&own).is_empty().then_some((adapter, own))
    });
    Named {
        authorities: file("broker", "authorities"),
        certificate: file("broker", "certificate"),
        key: file("broker", "key"),
        state: file("state", "path").map(|path| StateFile { path }.directory()),
        adapter,
    }
}

/// The adapter that a file names; or, where it names none, the only one that has a table in it.
fn meant(adapters: &[&'static dyn ErasedAdapter], table: &Table) -> Option<&'static dyn ErasedAdapter> {
    let mut meant = adapters.iter().filter(|adapter| match table.get("adapter") {
        Some(name) => name.as_str() == Some(adapter.describe().name),
        None => table.contains_key(adapter.describe().name),
    });
    let first = meant.next().copied();
    first.filter(|_| meant.next().is_none())
}

/// Everything but the adapter's own table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    adapter: String,
    broker: Broker,
    state: StateFile,
    publish: Option<Publish>,
    subscribe: Option<Subscribe>,
    #[serde(default)]
    run: Run,
    metrics: Option<Metrics>,
}

/// As [`load`], from text.
///
/// # Errors
/// [`Mistakes`], all of them.
pub fn from_text(
    text: &str,
    adapters: &[&'static dyn ErasedAdapter],
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Config, Mistakes> {
    let mut table = syntax(text)?;
    let overridden = override_from(&mut table, environment);
    // A section that is not there is read as empty: its keys are then missing.
    for section in ["broker", "state"] {
        table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    }
    let adapter = meant(adapters, &table);
    let own = adapter.and_then(|adapter| table.remove(adapter.describe().name));
    let mut reading = section::read::<Sections>("", &table);
    if let Some(sections) = reading.read.take() {
        rules(&sections, &mut reading);
        match adapter {
            Some(adapter) => fits(adapter, &sections, &mut reading),
            None => {
                let known: Vec<_> = adapters.iter().map(|adapter| adapter.describe().name).collect();
                reading.rule("adapter", &format!("must be one that this build has: {}", known.join(", ")));
            }
        }
        reading.read = Some(sections);
    }
    let own = match (own, adapter.map(|adapter| adapter.describe().name)) {
        (Some(Value::Table(own)), _) => own,
        (None, _) | (_, None) => Table::new(),
        (Some(_), Some(name)) => {
            reading.rule(name, &format!("must be a table: [{name}]"));
            Table::new()
        }
    };
    let mut mistakes = reading.mistakes;
    mistakes.extend(adapter.map(|adapter| adapter.config_mistakes(&own)).unwrap_or_default());
    match reading.read {
        Some(Sections { adapter, broker, state, publish, subscribe, run, metrics }) if mistakes.is_empty() => {
            Ok(Config { adapter, broker, state, publish, subscribe, run, metrics, table: own })
        }
        _ => Err(Mistakes(mistakes.into_iter().map(|mistake| with_variable(mistake, &overridden)).collect())),
    }
}

/// The text as a table; or each place where it is no TOML. Its lines are not quoted: one may hold a password.
fn syntax(text: &str) -> Result<Table, Mistakes> {
    let (_, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let line = |error: &toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            before.matches('\n').count() + 1
        };
        let mut told: Vec<_> = errors.iter().map(|error| (line(error), error.message())).collect();
        told.sort_unstable();
        return Err(Mistakes(told.into_iter().map(|(line, message)| format!("line {line}: {message}")).collect()));
    }
    text.parse().map_err(|error: toml::de::Error| Mistakes(vec![error.message().to_owned()]))
}

/// Says so where what is wrong does not stand in the file.
fn with_variable(mistake: String, overridden: &[(String, String)]) -> String {
    let from = |(path, variable): &(String, String)| {
        let message = mistake.strip_prefix(path)?.strip_prefix(": ")?;
        Some(format!("{path} (environment variable {variable}): {message}"))
    };
    overridden.iter().find_map(from).unwrap_or(mistake)
}

/// Puts `SHUQIAO_ADAPTER__{SECTION}__{KEY}` into the table: section and key in upper case, `-` as `_`, a section within a section behind one more
/// `__`. Returns each key's path, with the variable's name.
pub fn override_from(table: &mut Table, environment: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut overridden = Vec::new();
    for (name, value) in environment {
        let Some(path) = name.strip_prefix("SHUQIAO_ADAPTER__") else { continue };
        let path = path.to_ascii_lowercase();
        let Some((sections, key)) = path.rsplit_once("__") else { continue };
        let (mut place, mut at) = (Some(&mut *table), String::new());
        for section in sections.split("__") {
            place = place.and_then(|table| {
                // `[market-supervision]` is MARKET_SUPERVISION in the environment: prefer the section that is there.
                let there = table.keys().find(|existing| existing.replace('-', "_") == section).cloned();
                let section = there.unwrap_or_else(|| section.to_owned());
                at.push_str(&section);
                at.push('.');
                table.entry(section).or_insert_with(|| Value::Table(Table::new())).as_table_mut()
            });
        }
        if let Some(section) = place {
            section.insert(key.to_owned(), Value::String(value));
            overridden.push((at + key, name));
        }
    }
    overridden
}

/// What the types cannot express.
fn rules(sections: &Sections, reading: &mut Reading<Sections>) {
    let Sections { broker, state, publish, subscribe, run, .. } = sections;
    let is_https = |uri: http::Uri| uri.scheme_str() == Some("https") && uri.host().is_some();
    if !broker.endpoint.parse().is_ok_and(is_https) {
        reading.rule("broker.endpoint", "must be https://host:port");
    }
    let files = [
        ("broker.authorities", &broker.authorities),
        ("broker.certificate", &broker.certificate),
        ("broker.key", &broker.key),
        ("state.path", &state.path),
    ];
    for (key, _) in files.into_iter().filter(|(_, path)| path.as_os_str().is_empty()) {
        reading.rule(key, "must name a file");
    }
    if let Some(publish) = publish {
        if publish.dataset.is_empty() {
            reading
                .rule("publish.dataset", "must name a dataset of your department, as in market-supervision.enterprise");
        }
        if !(1..=1_000).contains(&publish.batch_records) {
            reading.rule("publish.batch_records", "must be from 1 to 1000");
        }
        if !(4 << 10..=4 << 20).contains(&publish.batch_bytes.as_u64()) {
            reading.rule("publish.batch_bytes", "must be from 4KiB to 4MiB");
        }
        if publish.outbox_bytes.as_u64() < 1 << 20 {
            reading.rule("publish.outbox_bytes", "must be at least 1MiB");
        }
    }
    if let Some(subscribe) = subscribe {
        if subscribe.subscription.is_empty() {
            reading.rule(
                "subscribe.subscription",
                "must name a subscription of your department, as in taxation.enterprise",
            );
        }
        if !(1..=10_000).contains(&subscribe.window) {
            reading.rule("subscribe.window", "must be from 1 to 10000");
        }
    }
    if run.purpose.as_deref().is_some_and(|purpose| purpose.trim().is_empty()) {
        reading.rule("run.purpose", "must say what the exchange is asked for, or be left out");
    }
}

/// What the adapter can do, beside what the file asks of it.
fn fits(adapter: &dyn ErasedAdapter, sections: &Sections, reading: &mut Reading<Sections>) {
    let descriptor = adapter.describe();
    let name = descriptor.name;
    match &sections.publish {
        Some(_) if !descriptor.source => {
            reading.rule("publish", &format!("must be left out: the adapter {name} has no source"));
        }
        Some(publish) if !descriptor.record_types.contains(&publish.record_type.as_str()) => {
            let known = descriptor.record_types.join(", ");
            reading.rule("publish.record_type", &format!("must be one that the adapter {name} maps to: {known}"));
        }
        _ => {}
    }
    if sections.subscribe.is_some() && !descriptor.sink {
        reading.rule("subscribe", &format!("must be left out: the adapter {name} has no sink"));
    }
    if sections.publish.is_none() && sections.subscribe.is_none() {
        let wanted = match (descriptor.source, descriptor.sink) {
            (true, true) => "publish, subscribe",
            (true, false) => "publish",
            (false, _) => "subscribe",
        };
        reading.rule(wanted, "is missing: without it the adapter would do nothing");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_toml_is_told_by_its_lines_and_no_line_is_quoted() {
        let Err(Mistakes(told)) = syntax("a = 1\npassword = secret\n\n[broker\nb = 2\n") else { panic!("is no TOML") };
        assert!(told.len() >= 2 && told[0].starts_with("line 2: "), "{told:#?}");
        assert!(told.iter().any(|mistake| mistake.starts_with("line 4: ")), "{told:#?}");
        assert!(!told.join("").contains("secret"), "{told:#?}");
    }
}
