//! From text to [`Config`], with every mistake told at once.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{Broker, Config, Metrics, Publish, Run, StateFile, Subscribe};
use crate::{ErasedAdapter, plural};

/// Everything that is wrong with a configuration, a line each.
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
    let text = std::fs::read_to_string(path).map_err(|error| Mistakes(vec![format!("{}: {error}", path.display())]))?;
    from_text(&text, adapters, environment)
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
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| Mistakes(vec![error.to_string()]))?;
    override_from(&mut table, environment);
    let mut reader = Reader { table, mistakes: Vec::new() };

    let adapter: Option<String> = reader.required("adapter");
    let broker: Option<Broker> = reader.required("broker");
    let state: Option<StateFile> = reader.required("state");
    let publish: Option<Publish> = reader.optional("publish");
    let subscribe: Option<Subscribe> = reader.optional("subscribe");
    let run: Option<Run> = reader.optional("run");
    let metrics: Option<Metrics> = reader.optional("metrics");
    let own: Option<Table> = adapter.as_deref().and_then(|name| reader.optional(name));
    let Reader { table: rest, mut mistakes } = reader;
    mistakes.extend(rest.keys().map(|key| format!("{key}: unknown key or section")));

    if let Some(broker) = &broker {
        check_broker(broker, &mut mistakes);
    }
    if let Some(publish) = &publish {
        check_publish(publish, &mut mistakes);
    }
    if let Some(subscribe) = &subscribe {
        if subscribe.subscription.is_empty() {
            mistakes.push("[subscribe] subscription: empty".into());
        }
        if !(1..=10_000).contains(&subscribe.window) {
            mistakes.push("[subscribe] window: must be 1-10000".into());
        }
    }
    if run.as_ref().and_then(|run| run.purpose.as_deref()).is_some_and(|purpose| purpose.trim().is_empty()) {
        mistakes.push("[run] purpose: empty; leave it out, or say what the exchange is asked for".into());
    }
    let own = own.unwrap_or_default();
    if let Some(name) = &adapter {
        check_adapter(name, adapters, &own, publish.as_ref(), subscribe.is_some(), &mut mistakes);
    }
    match (adapter, broker, state, mistakes.is_empty()) {
        (Some(adapter), Some(broker), Some(state), true) => {
            Ok(Config { adapter, broker, state, publish, subscribe, run: run.unwrap_or_default(), metrics, table: own })
        }
        _ => Err(Mistakes(mistakes)),
    }
}

/// Puts `SHUQIAO_ADAPTER__{SECTION}__{KEY}` into the table: section and key in upper case, `-` as `_`, a section within a section behind one more
/// `__`. A value is taken as text.
pub fn override_from(table: &mut Table, environment: impl Iterator<Item = (String, String)>) {
    for (name, value) in environment {
        let Some(path) = name.strip_prefix("SHUQIAO_ADAPTER__") else { continue };
        let path = path.to_ascii_lowercase();
        let Some((sections, key)) = path.rsplit_once("__") else { continue };
        let mut place = Some(&mut *table);
        for section in sections.split("__") {
            place = place.and_then(|table| {
                // `[market-supervision]` is MARKET_SUPERVISION in the environment: prefer the section that is there.
                let there = table.keys().find(|existing| existing.replace('-', "_") == section).cloned();
                let entry = table.entry(there.unwrap_or_else(|| section.to_owned()));
                entry.or_insert_with(|| Value::Table(Table::new())).as_table_mut()
            });
        }
        if let Some(section) = place {
            section.insert(key.to_owned(), Value::String(value));
        }
    }
}

struct Reader {
    table: Table,
    mistakes: Vec<String>,
}

impl Reader {
    fn optional<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.table.remove(key)?;
        let is_table = value.is_table();
        match value.try_into() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let place = if is_table { format!("[{key}]") } else { format!("{key}:") };
                self.mistakes.push(format!("{place} {}", error.message()));
                None
            }
        }
    }

    fn required<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        if !self.table.contains_key(key) {
            self.mistakes.push(format!("{key}: missing"));
        }
        self.optional(key)
    }
}

fn check_broker(broker: &Broker, mistakes: &mut Vec<String>) {
    match broker.endpoint.parse::<http::Uri>() {
        Ok(uri) if uri.scheme_str() == Some("https") && uri.host().is_some() => {}
        _ => mistakes.push("[broker] endpoint: must be https://host:port".into()),
    }
}

fn check_publish(publish: &Publish, mistakes: &mut Vec<String>) {
    if publish.dataset.is_empty() {
        mistakes.push("[publish] dataset: empty".into());
    }
    if !publish.record_type.contains("/v") {
        mistakes.push("[publish] record_type: must be name/vN, as in enterprise/v1".into());
    }
    if !(1..=1_000).contains(&publish.batch_records) {
        mistakes.push("[publish] batch_records: must be 1-1000".into());
    }
    if !(4 << 10..=4 << 20).contains(&publish.batch_bytes.as_u64()) {
        mistakes.push("[publish] batch_bytes: must be 4KiB-4MiB".into());
    }
    if publish.outbox_bytes.as_u64() < 1 << 20 {
        mistakes.push("[publish] outbox_bytes: must be at least 1MiB".into());
    }
}

fn check_adapter(
    name: &str,
    adapters: &[&'static dyn ErasedAdapter],
    own: &Table,
    publish: Option<&Publish>,
    subscribes: bool,
    mistakes: &mut Vec<String>,
) {
    let Some(adapter) = adapters.iter().find(|adapter| adapter.describe().name == name) else {
        let known: Vec<_> = adapters.iter().map(|adapter| adapter.describe().name).collect();
        mistakes.push(format!("adapter: no adapter is called {name:?}; this build has {}", known.join(", ")));
        return;
    };
    let descriptor = adapter.describe();
    if publish.is_some() && !descriptor.source {
        mistakes.push(format!("[publish] the adapter {name} has no source"));
    }
    if let Some(publish) = publish
        && !descriptor.record_types.contains(&publish.record_type.as_str())
    {
        let known = descriptor.record_types.join(", ");
        mistakes.push(format!("[publish] record_type: the adapter {name} maps to {known}"));
    }
    if subscribes && !descriptor.sink {
        mistakes.push(format!("[subscribe] the adapter {name} has no sink"));
    }
    if publish.is_none() && !subscribes {
        mistakes.push("neither [publish] nor [subscribe] is there: the adapter would do nothing".into());
    }
    mistakes.extend(adapter.config_mistakes(own));
}
