//! A legacy system as a table of MySQL or MariaDB: first all of it in the order of its key, then what changes.
//!
//! Changes are read in the order of (update column, key), so that rows of one moment lie on both sides of a page's end without loss. Each round begins
//! an overlap before the newest change seen: a transaction that ends late shows rows with a time that has passed already. What is read twice
//! says nothing new, and the runner counts it as unchanged. Once a round says the same for as long as the overlap, the table is only asked how
//! much lies there, and read again when that changes.
//!
//! What it cannot see: a row that vanishes (name a column that says so in `database.deleted`), and a row that changes while its update column does
//! not move. An adapter's README has to say both.

mod client;
mod config;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use shuqiao_schemas::identifier::{Kind, Reason, detect};
use tokio::time::Instant;

use self::client::{Client, Extent, Found};
pub use self::config::{DatabaseConfig, Deleted};
use crate::{
    AdapterError, Batch, CheckReport, Context, MappingError, Pass, Position, Row, Source, SourceRecord, Violation,
    rows::{Mapped, RowMapping},
    text::{BadByte, LegacyEncoding, decode},
};

/// Where changes are read from in a table that has none yet.
const BEGINNING: &str = "1971-01-01 00:00:00";

/// Where reading stands. Moments are written as the database writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum Stand {
    /// In the table, in the order of the key. `since`: the newest change when it began.
    #[serde(rename = "snapshot")]
    Snapshot { since: String, after: Option<String> },
    /// In a round of changes that began an overlap before `from`. `newest`: where the next round begins.
    #[serde(rename = "changes")]
    Changes { from: String, newest: String, after: Option<(String, String)> },
}

/// What a round came to: whether the next one says the same.
#[derive(Default)]
struct Round {
    digest: Sha256,
    /// It began in this process, so that it has seen everything from its beginning on.
    whole: bool,
}

/// Reads the table, and follows it.
pub struct DatabaseSource {
    client: Client,
    reading: Reading,
    stand: Option<Stand>,
    once: bool,
    poll: Duration,
    overlap: Duration,
    look_at: Instant,
    round: Round,
    /// The last whole round, and when one last said something else.
    said: Option<([u8; 32], Instant)>,
    /// Nothing is read again while this much lies there.
    quiet: Option<Extent>,
}

impl fmt::Debug for DatabaseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseSource").field("once", &self.once).field("poll", &self.poll).finish_non_exhaustive()
    }
}

impl DatabaseSource {
    /// Connects, looks at the table's columns, and begins where the context says.
    ///
    /// # Errors
    /// [`AdapterError`]: transient while the database is not reachable, configuration where the table does not fit.
    pub async fn open(
        config: DatabaseConfig,
        mapping: Arc<dyn RowMapping>,
        context: &Context,
    ) -> Result<Self, AdapterError> {
        let stand = context.position.as_ref().map(Position::decode).transpose()?;
        let (poll, overlap) = (config.poll, config.overlap);
        let reading = Reading { config, mapping };
        let client = Client::connect(&reading.config, reading.wanted()).await?;
        let whole = matches!(&stand, Some(Stand::Changes { after: None, .. }));
        Ok(Self {
            client,
            reading,
            stand,
            once: context.once,
            poll,
            overlap,
            look_at: Instant::now(),
            round: Round { whole, ..Round::default() },
            said: None,
            quiet: None,
        })
    }

    fn batch(&self, found: Vec<Found>, stand: &Stand) -> Batch {
        let rows = found.into_iter().map(|found| self.reading.row(&self.client, found)).collect();
        // What vanishes is not noticed, so no way through it is one through everything.
        Batch { rows, position: Position::encode(stand), pass: Pass::default() }
    }

    async fn snapshot(&mut self, since: String, after: Option<String>) -> Result<Batch, AdapterError> {
        let found = self.client.snapshot(after.as_deref()).await?;
        let stand = match found.last() {
            Some(last) if found.len() >= self.client.page() => Stand::Snapshot { since, after: Some(last.key.clone()) },
            _ => {
                self.round = Round { whole: true, ..Round::default() };
                Stand::Changes { from: since.clone(), newest: since, after: None }
            }
        };
        let batch = self.batch(found, &stand);
        self.stand = Some(stand);
        Ok(batch)
    }

    /// `None`: the round has ended.
    async fn changes(
        &mut self,
        from: String,
        newest: String,
        after: Option<(String, String)>,
    ) -> Result<Option<Batch>, AdapterError> {
        let found = self.client.changes(&from, after.as_ref()).await?;
        let Some(last) = found.last() else { return Ok(None) };
        let (_, future) = self.client.newest().await?;
        // Moments of one column are written alike, so their texts are in their order.
        let times = found.iter().filter_map(|found| found.updated.as_ref());
        let newest =
            times.filter(|updated| **updated <= future).max().filter(|at| **at > newest).cloned().unwrap_or(newest);
        let after = Some((last.updated.clone().unwrap_or_default(), last.key.clone()));
        let stand = Stand::Changes { from, newest, after };
        let batch = self.batch(found, &stand);
        for row in &batch.rows {
            self.round.digest.update(Sha256::digest(&row.raw));
        }
        self.stand = Some(stand);
        Ok(Some(batch))
    }

    /// The round from `from` has ended; the next one begins at `newest`. Whether it had begun here, and so had seen everything.
    async fn end_round(&mut self, from: String, newest: String) -> Result<bool, AdapterError> {
        let whole = self.round.whole;
        if whole && from == newest {
            let digest: [u8; 32] = self.round.digest.clone().finalize().into();
            let same_since = match self.said {
                Some((said, since)) if said == digest => since,
                _ => Instant::now(),
            };
            self.said = Some((digest, same_since));
            if same_since.elapsed() >= self.overlap {
                self.quiet = Some(self.client.extent(&newest).await?);
            }
        }
        self.round = Round { whole: true, ..Round::default() };
        self.stand = Some(Stand::Changes { from: newest.clone(), newest, after: None });
        Ok(whole)
    }
}

#[async_trait]
impl Source for DatabaseSource {
    /// Cancel safe: `self` changes only after an answer is complete.
    async fn next_batch(&mut self) -> Result<Option<Batch>, AdapterError> {
        loop {
            tokio::time::sleep_until(self.look_at).await;
            match self.stand.clone() {
                None => {
                    let (newest, _) = self.client.newest().await?;
                    let since = newest.unwrap_or_else(|| BEGINNING.to_owned());
                    tracing::info!("reading the whole table");
                    self.stand = Some(Stand::Snapshot { since, after: None });
                }
                Some(Stand::Snapshot { since, after }) => return Ok(Some(self.snapshot(since, after).await?)),
                Some(Stand::Changes { from, newest, after }) => {
                    if let Some(quiet) = &self.quiet {
                        if *quiet == self.client.extent(&from).await? {
                            self.look_at = Instant::now() + self.poll;
                            continue;
                        }
                        self.quiet = None;
                    }
                    if let Some(batch) = self.changes(from.clone(), newest.clone(), after).await? {
                        return Ok(Some(batch));
                    }
                    let whole = self.end_round(from, newest).await?;
                    if whole && self.once {
                        return Ok(None);
                    }
                    if whole {
                        self.look_at = Instant::now() + self.poll;
                    }
                }
            }
        }
    }

    async fn settle(&mut self, _position: &Position) -> Result<(), AdapterError> {
        // Nothing is kept there: a user that may only read suffices.
        Ok(())
    }
}

/// From a row of the table to a row for the runner; and from what a dead letter keeps of one, by the same way.
struct Reading {
    config: DatabaseConfig,
    mapping: Arc<dyn RowMapping>,
}

/// Bytes that are no text of the declared encoding, as a dead letter keeps them.
const BYTES: &str = "hex";

impl Reading {
    /// The columns to read, each once.
    fn wanted(&self) -> Vec<String> {
        let columns = self.mapping.columns().into_iter();
        let mut wanted: Vec<String> = Vec::new();
        for name in columns.chain(self.config.deleted.as_ref().map(|deleted| deleted.column.as_str())) {
            if !wanted.iter().any(|there| there == name) {
                wanted.push(name.to_owned());
            }
        }
        wanted
    }

    fn row(&self, client: &Client, found: Found) -> Row {
        let encoding = client::arrives_in(&self.config);
        let values = client.columns().iter().zip(found.values).map(|(name, value)| {
            let value = match value {
                None => Value::Null,
                Some(bytes) => match decode(encoding, &bytes) {
                    Ok(text) => Value::String(text),
                    Err(_) => serde_json::json!({ BYTES: hex::encode(bytes) }),
                },
            };
            (name.clone(), value)
        });
        let raw: Map<String, Value> = values.collect();
        let (mapped, warnings) = match self.map(&raw) {
            Ok(mapped) => (Ok(mapped.record), mapped.warnings),
            Err(error) => (Err(error), Vec::new()),
        };
        // Texts and texts in hex: this cannot fail.
        let raw = serde_json::to_vec(&raw).unwrap_or_default().into();
        let place = self.place(&found.key, client.has_integer_key());
        Row { raw, place, id: Some(found.key.into_bytes().into()), mapped, warnings }
    }

    fn place(&self, key: &str, is_integer: bool) -> String {
        let table = &self.config.table;
        match may_be_shown(key, is_integer) {
            true => format!("table {table}, {} {key}", self.config.key),
            false => format!("table {table}, a key that is not shown"),
        }
    }

    fn map(&self, raw: &Map<String, Value>) -> Result<Mapped, MappingError> {
        let encoding = client::arrives_in(&self.config);
        let mut violations = Vec::new();
        let mut texts = Vec::new();
        for name in self.mapping.columns() {
            match raw.get(name) {
                Some(Value::Object(bytes)) => violations.push(undecodable(name, encoding, bytes)),
                value => texts.push(value.and_then(Value::as_str)),
            }
        }
        if !violations.is_empty() {
            return Err(MappingError { violations });
        }
        let is_deleted = self.config.deleted.as_ref().is_some_and(|deleted| {
            let value = raw.get(&deleted.column).and_then(Value::as_str);
            value.is_some_and(|value| deleted.values.iter().any(|listed| listed == value))
        });
        if is_deleted { self.mapping.delete(&texts) } else { self.mapping.upsert(&texts) }
    }
}

/// Maps again what dead letters keep of rows. The database is not asked.
///
/// # Errors
/// Protocol: a letter does not hold the columns of a row.
pub fn remap(
    config: &DatabaseConfig,
    mapping: Arc<dyn RowMapping>,
    raws: &[&[u8]],
) -> Result<Vec<Result<SourceRecord, MappingError>>, AdapterError> {
    let reading = Reading { config: config.clone(), mapping };
    let again = |raw: &&[u8]| -> Result<Result<SourceRecord, MappingError>, AdapterError> {
        // Why not is not told: it may quote what the letter holds.
        let raw: Map<String, Value> = serde_json::from_slice(raw)
            .map_err(|_| AdapterError::protocol("the dead letter does not hold the columns of a row"))?;
        Ok(reading.map(&raw).map(|mapped| mapped.record))
    };
    raws.iter().map(again).collect()
}

/// Whether a key may stand in lists, where people see it. A key of text may be anything, a name, a passport's number or a telephone's: only what is certainly an
/// organisation's number is shown, and what numbers rows.
fn may_be_shown(key: &str, is_integer: bool) -> bool {
    let verdict = detect(key);
    match verdict.kind {
        Kind::Uscc | Kind::OrganisationCode | Kind::RegistrationNumber => {
            verdict.is_accepted() && verdict.reason != Some(Reason::AmbiguousKind)
        }
        Kind::ResidentId | Kind::ForeignerId | Kind::TaxNumber => false,
        _ => is_integer && !(key.len() == MOBILE_DIGITS && key.starts_with('1')),
    }
}

/// Digits of a mobile telephone's number, of which the first is 1.
const MOBILE_DIGITS: usize = 11;

fn undecodable(column: &str, encoding: LegacyEncoding, bytes: &Map<String, Value>) -> Violation {
    let bytes = bytes.get(BYTES).and_then(Value::as_str).and_then(|text| hex::decode(text).ok()).unwrap_or_default();
    let number = decode(encoding, &bytes).err().map_or(0, BadByte::offset) + 1;
    Violation::new(
        column,
        "BAD_BYTE",
        format!("byte {number} of the column is no text of the declared encoding"),
        format!("该列第 {number} 个字节不符合所声明的编码"),
    )
}

/// Connects, and looks at the table, its columns and its rows; changes nothing. `section` is the adapter's, which a remedy names.
pub async fn check(section: &str, config: &DatabaseConfig, mapping: Arc<dyn RowMapping>, report: &mut CheckReport) {
    let reading = Reading { config: config.clone(), mapping };
    let pool = match client::connect(config).await {
        Ok(pool) => pool,
        Err(error) => {
            let help = format!("check {section}.database: url, user, password, and that the database runs");
            report.failed("database", error.chain(), help);
            return;
        }
    };
    report.ok("database", "reachable");
    let types = match client::column_types(&pool, &config.table).await {
        Ok(types) => types,
        Err(error) => {
            report.failed("table", error.chain(), "check the user's permissions");
            return;
        }
    };
    let mistakes = client::mistakes(config, &reading.wanted(), &types);
    if mistakes.is_empty() {
        report.ok("table", format!("{} has every column", config.table));
    }
    for mistake in &mistakes {
        report.failed("table", mistake, format!("check {section}.database and the names in {section}.columns"));
    }
    if !mistakes.is_empty() {
        return;
    }
    for (name, why) in [
        (&config.key, "rows without a key are read at most once"),
        (&config.updated, "a row without a time is read once, and its changes never"),
    ] {
        if types.get(name).is_some_and(|column| column.nullable) {
            report.warning("table", format!("{name} may be null: {why}"), "make it NOT NULL, or name another column");
        }
    }
    let client = match Client::connect(config, reading.wanted()).await {
        Ok(client) => client,
        Err(error) => {
            report.failed("rows", error.chain(), "check the user's permissions");
            return;
        }
    };
    match client.snapshot(None).await {
        Err(error) => report.failed("rows", error.chain(), "give the user SELECT on the table"),
        Ok(found) => {
            let read = found.len();
            let rows = found.into_iter().map(|found| reading.row(&client, found));
            let bad = rows.filter(|row| row.mapped.is_err()).count();
            let message = format!("{bad} of the first {read} would be set aside");
            match (read, bad) {
                (0, _) => report.warning("rows", "the table has no rows", "check database.table"),
                (_, 0) => report.ok("rows", format!("the first {read} map")),
                _ if bad == read => report.failed("rows", message, "check columns and database.encoding"),
                _ => report.warning("rows", message, "expected of old registries; see dead-letters after a run"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_only_where_it_is_certainly_no_persons() {
        for (key, is_integer) in [
            ("1", true),
            ("202411280001", true),
            ("91350100M000100Y43", false),
            ("13830295-X", false),
            // Numbers of organisations are as well kept as integers.
            ("3205000000000", true),
        ] {
            assert!(may_be_shown(key, is_integer), "{key}");
        }
        for (key, is_integer) in [
            // Names, telephones, passports, citizens' numbers of either length; whatever a column of text holds.
            ("顾某某", false),
            ("Gu Moumou", false),
            ("13800000000", false),
            ("13800000000", true),
            ("E12345678", false),
            ("11010519491231002X", false),
            ("110105491231002", false),
            ("110105491231002", true),
            ("1", false),
            ("", false),
        ] {
            assert!(!may_be_shown(key, is_integer), "{key}");
        }
    }
}
