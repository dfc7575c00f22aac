//! A legacy system as a CSV file that is exported now and then.
//!
//! A file is known by the SHA-256 of its content. Reading goes through it twice: once to know the content and which keys it repeats, once to yield its
//! rows. A restart within the same content goes on where it was; other content is a new pass from the first row, in which the runner
//! recognises the rows that say nothing new. A row that vanishes is no delete: an export says nothing about what it leaves out.
//!
//! A key that stands in several rows of one file is taken from the last of them; the others are set aside as `KEY_REPEATED`, unless they are the
//! same bytes. So one file always comes to the same records, and reading it again publishes nothing.
//!
//! Other content that has been read to its end closes the dead letters of rows that are no longer in it.

mod config;
mod frame;
mod reader;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    fs::File,
    hash::{BuildHasher, RandomState},
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{task::JoinHandle, time::Instant};

pub use self::config::FileConfig;
use self::reader::{Layout, RawRow, Reader, unreadable};
use crate::{
    AdapterError, Batch, CheckReport, Context, ErrorClass, MappingError, Pass as Way, Position, Row, Source,
    SourceRecord, Violation,
    rows::{Mapped, RowMapping},
};

const BATCH_ROWS: usize = 500;
const BATCH_BYTES: usize = 1 << 20;
/// A file that was written into so lately may be half of one.
const IS_WRITTEN: Duration = Duration::from_secs(60);

/// What the file is and what its rows become: shared by the source and by the blocking work.
struct Settings {
    config: FileConfig,
    mapping: Arc<dyn RowMapping>,
    /// Whether to wait for what may still come.
    follows: bool,
}

/// Where reading stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePosition {
    /// SHA-256 of the whole content, hex.
    file: String,
    /// Where the next row begins.
    offset: u64,
    /// The number of its line.
    line: u64,
}

/// Size and time: whether it is worth reading again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self { bytes: metadata.len(), modified: metadata.modified().ok() }
    }

    /// Whether somebody wrote into it a moment ago.
    fn is_fresh(self) -> bool {
        self.modified.and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age < IS_WRITTEN)
    }
}

/// Which keys stand in several rows, and where each stands last: line, and SHA-256 of the row.
#[derive(Debug, Default)]
struct Repeated(HashMap<String, (u64, [u8; 32])>);

impl Repeated {
    /// Reads to the end.
    fn scan(reader: &mut Reader, mapping: &dyn RowMapping) -> Result<Self, AdapterError> {
        // A hash of each key, and the key itself only once its hash has come twice: nine bytes a row instead of a hundred.
        let (hasher, mut seen, mut repeated) = (RandomState::new(), HashSet::new(), HashMap::new());
        while let Some(raw) = reader.next()? {
            if let Ok(mapped) = map_row(&raw, &reader.layout, mapping)
                && !seen.insert(hasher.hash_one(&mapped.record.key))
            {
                repeated.insert(mapped.record.key, (raw.line, sha256(&raw.bytes)));
            }
        }
        Ok(Self(repeated))
    }

    /// Where the row is that counts instead of this one.
    fn instead_of(&self, record: &SourceRecord, raw: &RawRow) -> Option<u64> {
        let (line, digest) = self.0.get(&record.key)?;
        (*line != raw.line && *digest != sha256(&raw.bytes)).then_some(*line)
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn map_row(raw: &RawRow, layout: &Layout, mapping: &dyn RowMapping) -> Result<Mapped, MappingError> {
    match &raw.fields {
        Ok(fields) => mapping.upsert(&layout.pick(fields)),
        Err(fault) => Err(fault.violation().into()),
    }
}

fn repeated_key(line: u64) -> MappingError {
    Violation::new(
        "key",
        "KEY_REPEATED",
        format!("line {line} of the file has the same key and is taken instead"),
        format!("文件第 {line} 行有相同的主键，以该行为准"),
    )
    .into()
}

/// One way through one content.
struct Pass {
    reader: Reader,
    repeated: Repeated,
    digest: String,
    stamp: Stamp,
    /// Nothing of it has been yielded, by this process or by one before.
    is_new: bool,
    /// Every row has been yielded.
    has_ended: bool,
}

/// What one step of blocking work came to.
enum Step {
    Batch(Batch),
    /// Nothing that was not read already.
    End,
}

/// Everything that the blocking work needs; it travels to the worker thread and back.
struct Cursor {
    settings: Arc<Settings>,
    position: Option<FilePosition>,
    pass: Option<Pass>,
    /// What was read to its end.
    done: Option<Stamp>,
}

impl Cursor {
    fn step(&mut self) -> Result<Step, AdapterError> {
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None => match self.open()? {
                Some(pass) => pass,
                None => return Ok(Step::End),
            },
        };
        let (rows, ends) = rows(&mut pass, &*self.settings.mapping)?;
        // Written into while it was read: half of one content and half of another is neither. Asked afterwards, so that no row came later.
        if Stamp::of(&pass.reader.file().metadata().map_err(unreadable)?) != pass.stamp {
            return Err(AdapterError::transient("the file changed while it was read; it is read anew"));
        }
        // A file without rows says nothing of rows that are gone.
        if rows.is_empty() && (pass.is_new || pass.has_ended) {
            self.done = Some(pass.stamp);
            return Ok(Step::End);
        }
        let way = Way { begins: pass.is_new, ends };
        (pass.is_new, pass.has_ended) = (false, ends);
        let position = FilePosition { file: pass.digest.clone(), offset: pass.reader.offset, line: pass.reader.line };
        self.position = Some(position.clone());
        self.pass = Some(pass);
        Ok(Step::Batch(Batch { rows, position: Position::encode(&position), pass: way }))
    }

    /// `None`: the file is what was read to its end.
    fn open(&mut self) -> Result<Option<Pass>, AdapterError> {
        let file = open(&self.settings.config)?;
        let stamp = Stamp::of(&file.metadata().map_err(unreadable)?);
        if self.done == Some(stamp) {
            return Ok(None);
        }
        let Settings { config, mapping, follows } = &*self.settings;
        let mut reader = Reader::open(file, config, &mapping.columns()).map_err(|error| {
            // The header of half a file is none of its owner's mistakes.
            match error.class() {
                ErrorClass::Configuration | ErrorClass::Protocol if *follows && stamp.is_fresh() => {
                    AdapterError::transient("the file does not fit, and may still be written").because(error)
                }
                _ => error,
            }
        })?;
        let (first, line) = (reader.offset, reader.line);
        let repeated = Repeated::scan(&mut reader, &**mapping)?;
        let digest = hex::encode(reader.digest());
        let stand = self.position.as_ref().filter(|position| position.file == digest);
        match stand {
            Some(position) => reader.resume(position.offset, position.line)?,
            None => reader.resume(first, line)?,
        }
        let is_new = stand.is_none();
        tracing::info!(bytes = stamp.bytes, repeated = repeated.0.len(), line = reader.line, "reading the file");
        Ok(Some(Pass { reader, repeated, digest, stamp, is_new, has_ended: false }))
    }
}

fn open(config: &FileConfig) -> Result<File, AdapterError> {
    File::open(&config.path).map_err(|cause| {
        let message = format!("the file {} cannot be opened", config.path.display());
        match cause.kind() {
            // It may be on its way.
            io::ErrorKind::NotFound => AdapterError::transient(message),
            io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory => AdapterError::configuration(message),
            _ => AdapterError::transient(message),
        }
        .because(cause)
    })
}

/// The next rows, and whether they are the last ones.
fn rows(pass: &mut Pass, mapping: &dyn RowMapping) -> Result<(Vec<Row>, bool), AdapterError> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while rows.len() < BATCH_ROWS && bytes < BATCH_BYTES {
        let Some(raw) = pass.reader.next()? else { return Ok((rows, true)) };
        bytes += raw.bytes.len();
        let (mapped, warnings) = match map_row(&raw, &pass.reader.layout, mapping) {
            Ok(mapped) => match pass.repeated.instead_of(&mapped.record, &raw) {
                Some(line) => (Err(repeated_key(line)), Vec::new()),
                None => (Ok(mapped.record), mapped.warnings),
            },
            Err(error) => (Err(error), Vec::new()),
        };
        rows.push(Row { place: format!("line {}", raw.line), id: None, raw: raw.bytes, mapped, warnings });
    }
    Ok((rows, false))
}

/// The cursor comes back with what its step came to.
type Done = (Box<Cursor>, Result<Step, AdapterError>);

/// Reads the file, and follows it.
pub struct FileSource {
    /// With us while no work is under way.
    cursor: Option<Box<Cursor>>,
    work: Option<JoinHandle<Done>>,
    once: bool,
    poll: Duration,
    look_at: Instant,
}

impl fmt::Debug for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource").field("once", &self.once).field("poll", &self.poll).finish_non_exhaustive()
    }
}

impl FileSource {
    /// Begins where the context says. The file itself is opened when it is read.
    ///
    /// # Errors
    /// Configuration: the position is another kind of source's.
    pub fn open(config: FileConfig, mapping: Arc<dyn RowMapping>, context: &Context) -> Result<Self, AdapterError> {
        let position = context.position.as_ref().map(Position::decode).transpose()?;
        let poll = config.poll;
        let settings = Arc::new(Settings { config, mapping, follows: !context.once });
        let cursor = Some(Box::new(Cursor { settings, position, pass: None, done: None }));
        Ok(Self { cursor, work: None, once: context.once, poll, look_at: Instant::now() })
    }
}

#[async_trait]
impl Source for FileSource {
    /// Cancel safe: work that is under way stays in `self` and is waited for by the next call.
    async fn next_batch(&mut self) -> Result<Option<Batch>, AdapterError> {
        loop {
            tokio::time::sleep_until(self.look_at).await;
            let lost = || AdapterError::protocol("the reader of the file has ended");
            let work = match &mut self.work {
                Some(work) => work,
                None => {
                    let mut cursor = self.cursor.take().ok_or_else(lost)?;
                    self.work.insert(tokio::task::spawn_blocking(move || {
                        let step = cursor.step();
                        (cursor, step)
                    }))
                }
            };
            let outcome = work.await;
            self.work = None;
            let (cursor, step) = outcome.map_err(|cause| lost().because(cause))?;
            self.cursor = Some(cursor);
            match step? {
                Step::Batch(batch) => return Ok(Some(batch)),
                Step::End if self.once => return Ok(None),
                Step::End => self.look_at = Instant::now() + self.poll,
            }
        }
    }

    async fn settle(&mut self, _position: &Position) -> Result<(), AdapterError> {
        // Nothing is kept beside the file.
        Ok(())
    }
}

/// Opens the file and reads its header and its first rows; changes nothing. `section` is the adapter's, which a remedy names.
pub fn check(section: &str, config: &FileConfig, mapping: &dyn RowMapping, report: &mut CheckReport) {
    const LOOK_AT: usize = 100;
    let opened = open(config).and_then(|file| Reader::open(file, config, &mapping.columns()));
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(error) => {
            let remedy =
                format!("check {section}.file.path, {section}.file.encoding and the names in {section}.columns");
            report.failed("file", error.chain(), remedy);
            return;
        }
    };
    report.ok("file", format!("{} has every column", config.path.display()));
    let (mut read, mut set_aside) = (0_usize, Vec::new());
    while read < LOOK_AT {
        match reader.next() {
            Ok(Some(raw)) => {
                read += 1;
                let rule = |error: MappingError| error.violations.into_iter().next().map(|violation| violation.rule);
                set_aside.extend(map_row(&raw, &reader.layout, mapping).err().and_then(rule));
            }
            Ok(None) => break,
            Err(error) => {
                report.failed("rows", error.chain(), "check the file and its disk");
                return;
            }
        }
    }
    let dirty = set_aside.len();
    set_aside.sort();
    set_aside.dedup();
    match (read, dirty) {
        (0, _) => report.warning("rows", "the file has no rows", "check the export"),
        (_, 0) => report.ok("rows", format!("the first {read} map")),
        (_, dirty) => {
            let message = format!("{dirty} of the first {read} would be set aside: {}", set_aside.join(", "));
            if dirty == read {
                report.failed("rows", message, "check file.encoding, file.delimiter and columns");
            } else {
                report.warning("rows", message, "expected of old registries; see dead-letters after a run");
            }
        }
    }
}

/// Maps rows' bytes again: the columns are as the file's header says now, and a row of the file with the same key comes first. One way through the file,
/// however many rows there are.
///
/// # Errors
/// The file cannot be read, or has no header that fits.
pub fn remap(
    config: &FileConfig,
    mapping: &dyn RowMapping,
    raws: &[&[u8]],
) -> Result<Vec<Result<SourceRecord, MappingError>>, AdapterError> {
    let mut reader = Reader::open(open(config)?, config, &mapping.columns())?;
    let again = |raw: &&[u8]| {
        let fields = reader.layout.dialect.fields(raw, reader.layout.width);
        let raw = RawRow { bytes: raw.to_vec().into(), line: 0, fields };
        map_row(&raw, &reader.layout, mapping).map(|mapped| mapped.record)
    };
    let mut records: Vec<Result<SourceRecord, MappingError>> = raws.iter().map(again).collect();
    let keys = records.iter().flatten().map(|record| (record.key.clone(), None));
    // Where each of the keys stands last: line, and the row's bytes.
    let mut last: HashMap<String, Option<(u64, bytes::Bytes)>> = keys.collect();
    while let Some(other) = reader.next()? {
        if let Ok(mapped) = map_row(&other, &reader.layout, mapping)
            && let Some(place) = last.get_mut(&mapped.record.key)
        {
            *place = Some((other.line, other.bytes));
        }
    }
    for (record, raw) in records.iter_mut().zip(raws) {
        let Some(place) = record.as_ref().ok().and_then(|record| last.get(&record.key)) else { continue };
        if let Some((line, bytes)) = place
            && bytes != raw
        {
            *record = Err(repeated_key(*line));
        }
    }
    Ok(records)
}
