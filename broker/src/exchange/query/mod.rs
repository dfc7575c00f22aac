//! Queries: what the view of this node says, as far as a grant shows it.
//!
//! Every query goes the same way: permission (by the newest snapshot and the time), form, positions to be waited for, permission again, one moment of the view,
//! audit, answer. What is not granted leaves the payload before the answer is counted, digested or sent.
//!
//! Promises:
//!
//! - a dataset that the caller may not know of answers like one that does not exist, and a row that the grant hides like a record that does not exist;
//! - nobody narrows, compares or looks up by a field that it is not shown in clear: the answer would disclose the field;
//! - the purpose is the grant's own, or begins with it (`核查：案件 17` under a grant for `核查`);
//! - nothing is released before its audit entry is durable. Denials leave an entry too; what failed without a verdict (view behind, log away, quota) released
//!   nothing and leaves none. A question across datasets leaves an entry for each dataset that it was shown something of, so that an auditor who asks by dataset finds it;
//! - pages, scans, waits and queries at once are bounded. A page may be shorter than asked for, even empty, and not the last: only an empty token says that.

mod admission;
mod check;
mod compare;
mod metrics;
mod page;
mod places;
mod token;
mod trail;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use shuqiao_proto::digest::RecordsDigest;
use shuqiao_schemas::engine::Scratch;
use tokio_util::sync::CancellationToken;

pub use check::{COMPARED_FIELDS_MAX, CONDITIONS_MAX, VALUES_MAX};
pub use metrics::Metrics;
pub use token::PageKey;

use super::{
    Error,
    audit::{Action, Audit, NewEntry},
    catalogue::{Access, Catalogue, RowCondition, RowFilter, Violations},
    clock::Clock,
    identity::Identity,
    model::{DatasetId, Operation, Position, Record},
    refusal::refuse,
};
use crate::view::{self, View};
use admission::{Asked, exhausted};
use page::{Budget, Ended};
use places::{Place, Places};
use token::Binding;
use trail::{Released, Verdict};

/// Records between two looks at whether anybody still waits for the answer.
const RECORDS_BETWEEN_LOOKS: u64 = 1_000;

/// How queries are bounded.
#[derive(Clone, Debug)]
pub struct Options {
    /// Queries that read the view at once; as many again may wait for a position. Of either, any one department has half at most.
    pub at_once_max: usize,
    /// How long a query waits for the positions that it names.
    pub wait_max: Duration,
    /// Datasets that one page of a question across datasets looks into.
    pub datasets_at_once_max: usize,
    /// What page tokens are sealed with, the same on every node.
    pub page_key: PageKey,
    /// What is counted.
    pub metrics: Metrics,
}

impl Options {
    /// The defaults: 64 at once, 5 s, 256 datasets.
    pub fn new(page_key: PageKey) -> Self {
        Self {
            at_once_max: 64,
            wait_max: Duration::from_secs(5),
            datasets_at_once_max: 256,
            page_key,
            metrics: Metrics::default(),
        }
    }
}

/// What every question about one dataset says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Id of the dataset, as the caller wrote it.
    pub dataset: String,
    /// What the answer is for.
    pub purpose: String,
    /// What must be seen.
    pub at_least: Vec<Position>,
}

/// Which page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paging {
    /// Records, at most; 0 means 100, and more than 1,000 means that.
    pub size: u32,
    /// Empty for the first page, then what the page before said.
    pub token: String,
}

/// One field to compare.
#[derive(Clone, PartialEq, Eq)]
pub struct Compared {
    /// JSON Pointer of a granted single value.
    pub path: String,
    /// Strings without quotes, numbers and booleans as in JSON.
    pub value: String,
}

/// Without the value.
impl std::fmt::Debug for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compared").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A record as the caller may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Of this dataset.
    pub dataset: DatasetId,
    /// With the payload that the grant leaves.
    pub record: Record,
    /// Where it lies.
    pub position: Position,
    /// False for an older source version that arrived after a newer one.
    pub applied: bool,
}

/// A page of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In the order of the question.
    pub records: Vec<Shown>,
    /// Empty on the last page.
    pub next: String,
}

/// What reconciliation compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetDigest {
    /// Live records that the caller sees.
    pub count: u64,
    /// Over them, as `shuqiao_proto::digest` lays it out.
    pub digest: [u8; 32],
    /// Next offset of each partition at that moment.
    pub applied: Vec<u64>,
}

/// Answers queries. One a node.
#[derive(Debug)]
pub struct Query {
    catalogue: Arc<Catalogue>,
    audit: Arc<Audit>,
    view: Arc<View>,
    options: Options,
    clock: Clock,
    running: Arc<Places>,
    waiting: Arc<Places>,
}

impl Query {
    /// Over the rooms of one node.
    pub fn new(catalogue: Arc<Catalogue>, audit: Arc<Audit>, view: Arc<View>, options: Options, clock: Clock) -> Self {
        let (running, waiting) = (Places::new(options.at_once_max), Places::new(options.at_once_max));
        Self { catalogue, audit, view, options, clock, running, waiting }
    }

    /// The newest state of one key.
    ///
    /// # Errors
    /// [`Error::RecordNotFound`], also where a row is hidden; those of [`policy::may_read`](super::policy::may_read); [`Error::InvalidField`]; [`Error::ViewBehind`];
    /// [`Error::QuotaExhausted`]; those of [`Audit::append`]. The same for every query.
    pub async fn get(&self, caller: &Identity, question: &Question, key: &str) -> Result<Shown, Error> {
        let mut asked = self.asked(caller, Action::GetRecord, &question.purpose);
        let found = async {
            let access = self.admit(caller, question, &mut asked, |found, _| check::key(found, key)).await?;
            asked.entry.target.key = Some(self.audit.key().key(&access.dataset.id, key));
            let _place = self.place(caller)?;
            let item = page::visible(&self.view.reader(&access.dataset.id)?, &access, key)?;
            let shown = page::show(&access, item)?;
            let released = Released::records(&access, std::slice::from_ref(&shown));
            Ok((shown, vec![released]))
        };
        let found = found.await;
        self.settle(asked, found).await
    }

    /// Records in key order; with conditions, those for which all hold. The first condition chooses the index.
    ///
    /// # Errors
    /// As [`Query::get`]; a condition on a field that is not indexed, or not shown in clear, is [`Error::InvalidField`].
    pub async fn list(
        &self,
        caller: &Identity,
        question: &Question,
        filter: &[RowCondition],
        paging: &Paging,
    ) -> Result<Page, Error> {
        let mut asked = self.asked(caller, Action::ListRecords, &question.purpose);
        let found = async {
            let check = |found: &mut Violations, access: &Access| check::filter(found, access, filter);
            let access = self.admit(caller, question, &mut asked, check).await?;
            if !filter.is_empty() {
                let values: Vec<_> = filter.iter().flat_map(|one| one.values.iter().map(String::as_str)).collect();
                asked.entry.target.filter = Some(self.audit.key().values(&values));
                asked.entry.target.fields = filter.iter().map(|one| one.field.clone()).collect();
            }
            let binding = Binding::new(Action::ListRecords, caller, &question.purpose)
                .text(access.dataset.id.as_str())
                .conditions(filter);
            let after = match self.options.page_key.open(&binding, &paging.token)? {
                Some(bytes) => Some(token::text(bytes)?),
                None => None,
            };
            let narrowing = compile(&access, filter.get(1..).unwrap_or_default())?;
            let index = filter.first().map(|first| index_of(&access, first)).transpose()?;
            let reader = self.view.reader(&access.dataset.id)?;
            let mut budget = Budget::new(paging.size);
            let key = self.options.page_key.clone();
            self.read(caller, move |stop| {
                let after = after.as_deref();
                let ended = match index {
                    None => page::gather(reader.records(after), &access, &narrowing, &mut budget, stop)?,
                    Some((field, values)) => {
                        let streams = values.iter().map(|value| reader.by_index(field, value, after));
                        page::gather(page::merged(streams), &access, &narrowing, &mut budget, stop)?
                    }
                };
                let next = match ended {
                    Ended::Done => String::new(),
                    Ended::More(last) => key.seal(&binding, last.as_deref().unwrap_or_default().as_bytes())?,
                };
                let released = Released::records(&access, &budget.records);
                Ok((Page { records: budget.records, next }, vec![released]))
            })
            .await
        };
        let found = found.await;
        self.settle(asked, found).await
    }

    /// Everything about one subject in the datasets that the caller may read for this purpose and find subjects in, by dataset and key. The kind is
    /// compared, never guessed.
    ///
    /// # Errors
    /// As [`Query::get`], but for those of one dataset: what the caller may not read is passed over.
    pub async fn by_subject(
        &self,
        caller: &Identity,
        purpose: &str,
        subject: (&str, &str),
        paging: &Paging,
    ) -> Result<Page, Error> {
        let mut asked = self.asked(caller, Action::ListSubjectRecords, purpose);
        let found = async {
            let accesses = self.admit_subject(caller, purpose, subject, &mut asked)?;
            let (kind, value) = (subject.0.to_owned(), subject.1.to_owned());
            let binding = Binding::new(Action::ListSubjectRecords, caller, purpose).text(&kind).text(&value);
            let (dataset, mut after) = match self.options.page_key.open(&binding, &paging.token)? {
                Some(bytes) => token::split(bytes)?,
                None => (String::new(), None),
            };
            let mut accesses = accesses.into_iter().filter(|access| access.dataset.id.as_str() >= dataset.as_str());
            let mut readers = Vec::new();
            for access in accesses.by_ref().take(self.options.datasets_at_once_max) {
                readers.push((self.view.reader(&access.dataset.id)?, access));
            }
            let beyond = accesses.next().map(|access| access.dataset.id.clone());
            let mut budget = Budget::new(paging.size);
            let key = self.options.page_key.clone();
            self.read(caller, move |stop| {
                let (everything, mut released, mut next) = (RowFilter::default(), Vec::new(), String::new());
                if let Some(beyond) = beyond {
                    next = key.seal(&binding, &token::join(beyond.as_str(), None))?;
                }
                for (reader, access) in readers {
                    let id = access.dataset.id.as_str();
                    let after = after.take_if(|_| id == dataset);
                    let before = budget.records.len();
                    let rows = reader.by_subject(&kind, &value, after.as_deref());
                    let ended = page::gather(rows, &access, &everything, &mut budget, stop)?;
                    let shown = budget.records.get(before..).unwrap_or_default();
                    if !shown.is_empty() {
                        released.push(Released::records(&access, shown));
                    }
                    if let Ended::More(last) = ended {
                        next = key.seal(&binding, &token::join(id, last.or(after).as_deref()))?;
                        break;
                    }
                }
                Ok((Page { records: budget.records, next }, released))
            })
            .await
        };
        let found = found.await;
        self.settle(asked, found).await
    }

    /// Every change of one key that is kept, newest first. A change is judged by its own payload, a deletion by what it deleted.
    ///
    /// # Errors
    /// As [`Query::get`], without [`Error::RecordNotFound`]: a key without history has an empty one.
    pub async fn history(
        &self,
        caller: &Identity,
        question: &Question,
        key: &str,
        paging: &Paging,
    ) -> Result<Page, Error> {
        let mut asked = self.asked(caller, Action::ListRecordHistory, &question.purpose);
        let found = async {
            let access = self.admit(caller, question, &mut asked, |found, _| check::key(found, key)).await?;
            asked.entry.target.key = Some(self.audit.key().key(&access.dataset.id, key));
            let binding = Binding::new(Action::ListRecordHistory, caller, &question.purpose)
                .text(access.dataset.id.as_str())
                .text(key);
            let before = match self.options.page_key.open(&binding, &paging.token)? {
                Some(bytes) => Some(token::offset(&bytes)?),
                None => None,
            };
            let (reader, key) = (self.view.reader(&access.dataset.id)?, key.to_owned());
            let mut budget = Budget::new(paging.size);
            let page_key = self.options.page_key.clone();
            self.read(caller, move |stop| {
                let next = match page::gather_history(&reader, &access, &key, before, &mut budget, stop)? {
                    None => String::new(),
                    Some(offset) => page_key.seal(&binding, &offset.to_be_bytes())?,
                };
                let released = Released::records(&access, &budget.records);
                Ok((Page { records: budget.records, next }, vec![released]))
            })
            .await
        };
        let found = found.await;
        self.settle(asked, found).await
    }

    /// Whether the record says what the caller holds: yes or no a field, in the order asked. An absent field and a null are no.
    ///
    /// # Errors
    /// As [`Query::get`]; a field that is not shown in clear is [`Error::InvalidField`].
    pub async fn compare(
        &self,
        caller: &Identity,
        question: &Question,
        key: &str,
        fields: &[Compared],
    ) -> Result<Vec<bool>, Error> {
        let mut asked = self.asked(caller, Action::CompareRecord, &question.purpose);
        let found = async {
            let check = |found: &mut Violations, access: &Access| {
                check::key(found, key);
                check::compared(found, access, fields);
            };
            let access = self.admit(caller, question, &mut asked, check).await?;
            let target = &mut asked.entry.target;
            target.key = Some(self.audit.key().key(&access.dataset.id, key));
            target.fields = fields.iter().map(|field| field.path.clone()).collect();
            let values: Vec<_> = fields.iter().map(|field| field.value.as_str()).collect();
            target.filter = Some(self.audit.key().values(&values));
            let _place = self.place(caller)?;
            let item = page::visible(&self.view.reader(&access.dataset.id)?, &access, key)?;
            let says = |field: &Compared| compare::says(&item.record.payload, &field.path, &field.value);
            let verdicts = fields.iter().map(says).collect::<Result<Vec<_>, _>>();
            let verdicts = verdicts.map_err(|error| Error::DataLoss(Arc::new(error)))?;
            let released = Released::verdicts(&access, item.position, fields, &verdicts);
            Ok((verdicts, vec![released]))
        };
        let found = found.await;
        self.settle(asked, found).await
    }

    /// Count and digest of the live records as the caller sees them. Costs a scan, which ends early if nobody waits for it any more.
    ///
    /// # Errors
    /// As [`Query::get`].
    pub async fn digest(&self, caller: &Identity, question: &Question) -> Result<DatasetDigest, Error> {
        let mut asked = self.asked(caller, Action::GetDatasetDigest, &question.purpose);
        let found = async {
            let access = self.admit(caller, question, &mut asked, |_, _| ()).await?;
            let reader = self.view.reader(&access.dataset.id)?;
            self.read(caller, move |stop| {
                let (mut digest, mut scratch) = (RecordsDigest::default(), Scratch::new());
                for (number, item) in (0_u64..).zip(reader.records(None)) {
                    if number % RECORDS_BETWEEN_LOOKS == 0 && stop.is_cancelled() {
                        return Err(Error::Draining);
                    }
                    let record = item?.record;
                    if access.shows(&record.payload, &mut scratch) {
                        let payload: Bytes = access.project(&record.payload)?;
                        digest.add(&record.key, record.source_version, &payload);
                    }
                }
                let (count, digest) = digest.finish();
                let released = Released { count, digest: Some(digest), ..Released::nothing(&access) };
                Ok((DatasetDigest { count, digest, applied: reader.applied()? }, vec![released]))
            })
            .await
        };
        let found = found.await;
        self.settle(asked, found).await
    }

    /// Room for one reading of the view.
    fn place(&self, caller: &Identity) -> Result<Place, Error> {
        let place = self.running.take(&caller.department);
        place.map_err(|full| exhausted(full, "queries at once", "the department's share of queries at once"))
    }

    /// Reads rows on a blocking thread, as far as there is room. The look-up of one key does not come here: it reads a block or two, mostly from memory,
    /// and to change threads for it would cost more than the reading does.
    async fn read<T: Send + 'static>(
        &self,
        caller: &Identity,
        work: impl FnOnce(&CancellationToken) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        // Held by the thread and not by the request: who goes away early makes room when the work has ended.
        let place = self.place(caller)?;
        let stop = CancellationToken::new();
        let gone = stop.clone().drop_guard();
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&stop);
            drop(place);
            done
        })
        .await;
        drop(gone);
        done.unwrap_or_else(|error| Err(Error::internal(error)))
    }

    /// Puts the question on record and hands the answer over.
    async fn settle<T>(&self, asked: Asked, found: Result<(T, Vec<Released>), Error>) -> Result<T, Error> {
        let Asked { entry, begun } = asked;
        let action = entry.action;
        let answer = match found {
            Ok((answer, released)) => {
                let entries = trail::entries(entry, released).into_iter().map(|entry| self.audit.append(entry));
                futures::future::try_join_all(entries).await.map(|_| answer)
            }
            Err(error) => Err(match Verdict::of(&error) {
                // That nothing is there is an answer like any other.
                Verdict::Answer => self.audit.append(entry).await.err().unwrap_or(error),
                Verdict::Denial | Verdict::None => refuse(&self.catalogue, &self.audit, entry, error).await,
            }),
        };
        let outcome = match &answer {
            Ok(_) => "answered",
            Err(error) => Verdict::of(error).as_str(),
        };
        self.options.metrics.observe(action.as_str(), outcome, begun.elapsed());
        answer
    }
}

fn compile(access: &Access, conditions: &[RowCondition]) -> Result<RowFilter, Error> {
    // Checked by `check::filter`.
    RowFilter::compile(access.record_type(), conditions).map_err(Error::internal)
}

/// Number of the condition's field among the indexed ones, and its values, each once.
fn index_of(access: &Access, condition: &RowCondition) -> Result<(u16, Vec<String>), Error> {
    let fields = access.record_type().indexed_fields();
    let number = (0_u16..).zip(fields).find(|(_, field)| field.name == condition.field).map(|(number, _)| number);
    let number = number.ok_or_else(|| Error::internal(super::catalogue::NotIndexed { number: 0 }))?;
    let values: std::collections::BTreeSet<_> = condition.values.iter().cloned().collect();
    Ok((number, values.into_iter().collect()))
}
