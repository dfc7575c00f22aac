//! From entries of the log to a batch that may leave: rows, fields, what has left the rows, the audit entry.
//!
//! What a subscriber is sent keeps its copy equal to what it may see:
//!
//! | the record | was visible before | is sent |
//! |---|---|---|
//! | an upsert among the rows | – | as the grant shows it |
//! | an upsert that is not | yes | as a delete: the key has left what the subscriber may see |
//! | an upsert that is not | no | nothing |
//! | a delete | yes, or no rows are hidden | as a delete |
//! | a delete | no | nothing |
//!
//! "Rows" are the grant's and the subscription's filter together. Whether the key was visible is asked of the view, as it stood just before the record; it
//! remembers as far back as retention. An older source version that arrives after a newer one changes nothing that was visible; what is said again behind it
//! (`view::restate`) takes it back where it was sent.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use ring::digest::{Context, SHA256};
use shuqiao_schemas::engine::Scratch;

use super::{
    Room,
    arrival::{Arrival, Form, Shown},
    reading::HISTORY_MAX,
};
use crate::{
    exchange::{
        Error,
        audit::{Action, NewEntry, Target},
        catalogue::{Access, Subscription},
        identity::Identity,
        model::{Operation, Position, Record},
    },
    view,
};

/// One record as it leaves: an entry, and the form in which this subscriber is shown it. Both are shared.
#[derive(Clone)]
pub struct Delivered {
    arrival: Arc<Arrival>,
    form: Arc<Form>,
}

impl Delivered {
    /// Where it lies.
    pub fn position(&self) -> Position {
        self.arrival.position
    }

    /// What the subscriber is told of the key: a record that left its rows is a delete to it.
    pub fn operation(&self) -> Operation {
        self.form.operation
    }

    /// As the grant shows it; empty for a delete.
    pub fn payload(&self) -> &Bytes {
        &self.form.payload
    }

    /// The record beside what is said above: its key, source and numbers. Its payload is the source's own and does not leave.
    pub(crate) fn record(&self) -> Option<&Record> {
        self.arrival.record.as_ref()
    }

    /// The record as a message: laid out by `encode` for the first subscriber that is sent it in this form, and shared by the others. So `encode` may look at
    /// the record and the dataset alone.
    pub fn encoded(&self, encode: impl FnOnce() -> Bytes) -> Bytes {
        self.arrival.encoded(&self.form, encode)
    }
}

/// Neither key nor payload.
impl fmt::Debug for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivered")
            .field("position", &self.position())
            .field("operation", &self.operation())
            .field("payload_bytes", &self.payload().len())
            .finish_non_exhaustive()
    }
}

/// Entries on their way to one subscriber.
#[derive(Debug)]
pub(super) struct Candidates {
    pub(super) room: Arc<Room>,
    pub(super) caller: Arc<Identity>,
    pub(super) subscription: Arc<Subscription>,
    pub(super) access: Arc<Access>,
    /// Each with a record.
    pub(super) arrivals: Vec<Arc<Arrival>>,
}

/// What became of them. The audit entry is durable.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) candidates: Candidates,
    pub(super) records: Vec<Delivered>,
    /// Not for this subscriber.
    pub(super) passed: Vec<Position>,
    /// So many of the candidates were judged; the others make the next batch, because as the grant shows them they are larger than one message.
    pub(super) judged: usize,
}

/// What one record is to one subscriber.
enum Verdict {
    Send(Arc<Form>),
    /// It depends on whether the key was visible before.
    AskTheView,
    Pass,
}

impl Candidates {
    /// Judges, projects, and puts what will leave on record.
    pub(super) async fn prepare(self) -> Result<Prepared, Error> {
        let mut verdicts = self.judge();
        if verdicts.iter().any(|verdict| matches!(verdict, Verdict::AskTheView)) {
            self.ask_the_view(&mut verdicts).await?;
        }
        let (mut records, mut passed, mut judged, mut bytes) = (Vec::with_capacity(verdicts.len()), Vec::new(), 0, 0);
        for (arrival, verdict) in self.arrivals.iter().zip(verdicts) {
            match verdict {
                Verdict::Send(form) => {
                    let record = arrival.record.as_ref();
                    bytes += record.map_or(0, |one| one.message_bytes(&self.access.dataset.id, form.payload.len()));
                    if bytes > self.room.options.batch_bytes_max && !records.is_empty() {
                        break;
                    }
                    records.push(Delivered { arrival: arrival.clone(), form });
                }
                Verdict::AskTheView | Verdict::Pass => passed.push(arrival.position),
            }
            judged += 1;
        }
        if !records.is_empty() {
            self.room.audit.append(self.audit_entry(&records)).await?;
        }
        Ok(Prepared { candidates: self, records, passed, judged })
    }

    fn judge(&self) -> Vec<Verdict> {
        let (access, filter) = (&self.access, &self.subscription.rows);
        let rows_are_hidden = access.has_row_filter() || !filter.is_empty();
        let mut scratch = Scratch::new();
        let mut judge = |arrival: &Arc<Arrival>| {
            let Some(record) = &arrival.record else { return Verdict::Pass };
            match record.operation {
                Operation::Delete if rows_are_hidden => Verdict::AskTheView,
                Operation::Delete => Verdict::Send(arrival.deleted(record)),
                Operation::Upsert => match arrival.shown(record, access, &mut scratch) {
                    Shown::Visible(form) if filter.shows(access.record_type(), &record.payload, &mut scratch) => {
                        Verdict::Send(form)
                    }
                    Shown::Visible(_) | Shown::Hidden if rows_are_hidden => Verdict::AskTheView,
                    Shown::Visible(_) | Shown::Hidden => Verdict::Pass,
                },
            }
        };
        self.arrivals.iter().map(&mut judge).collect()
    }

    /// Replaces every [`Verdict::AskTheView`].
    async fn ask_the_view(&self, verdicts: &mut [Verdict]) -> Result<(), Error> {
        let room = &self.room;
        let asked: Vec<_> = verdicts
            .iter()
            .zip(&self.arrivals)
            .enumerate()
            .filter(|(_, (verdict, _))| matches!(verdict, Verdict::AskTheView))
            .map(|(index, (_, arrival))| (index, arrival.clone()))
            .collect();
        // The last of each partition covers those before it.
        let until: Vec<_> =
            asked.iter().map(|(_, arrival)| (arrival.position.partition, arrival.position.offset + 1)).collect();
        room.view.wait_applied(&self.access.dataset.id, &until, room.options.view_timeout).await?;
        let (view, access, subscription) = (room.view.clone(), self.access.clone(), self.subscription.clone());
        let answers = tokio::task::spawn_blocking(move || {
            let reader = view.reader(&access.dataset.id)?;
            let mut scratch = Scratch::new();
            let mut answers = Vec::with_capacity(asked.len());
            for (index, arrival) in asked {
                let Some(record) = &arrival.record else { continue };
                let was_visible = was_shown(&reader, record, arrival.position, |payload| {
                    access.shows(payload, &mut scratch)
                        && subscription.rows.shows(access.record_type(), payload, &mut scratch)
                })?;
                answers.push((index, if was_visible { Verdict::Send(arrival.deleted(record)) } else { Verdict::Pass }));
            }
            Ok::<_, view::Error>(answers)
        });
        for (index, answer) in answers.await.map_err(Error::internal)?? {
            if let Some(verdict) = verdicts.get_mut(index) {
                *verdict = answer;
            }
        }
        Ok(())
    }

    fn audit_entry(&self, records: &[Delivered]) -> NewEntry {
        let mut positions: Vec<(u32, u64, u64)> = Vec::new();
        let mut digest = Context::new(&SHA256);
        for record in records {
            let Position { partition, offset } = record.position();
            match positions.iter_mut().find(|(candidate, _, _)| *candidate == partition) {
                Some((_, _, last)) => *last = offset,
                None => positions.push((partition, offset, offset)),
            }
            digest.update(&record.form.leaf);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.finish().as_ref());
        NewEntry {
            positions,
            count: records.len() as u64,
            digest: Some(bytes),
            grant: self.access.grant.clone(),
            ..audit_entry(&self.caller, Action::Deliver, &self.subscription)
        }
    }
}

/// An entry about a subscription.
pub(super) fn audit_entry(caller: &Identity, action: Action, subscription: &Subscription) -> NewEntry {
    NewEntry {
        dataset: Some(subscription.dataset.clone()),
        purpose: subscription.purpose.clone(),
        target: Target { resource: Some(format!("subscriptions/{}", subscription.id)), ..Target::default() },
        ..NewEntry::new(caller, action)
    }
}

/// Whether `shows` is true of the key's live payload just before the record; false as well where the record itself never became the state. What is said again is said
/// behind versions that came too late to become the state, and were delivered all the same: then any payload of the key counts.
fn was_shown(
    reader: &view::Reader,
    record: &Record,
    position: Position,
    mut shows: impl FnMut(&[u8]) -> bool,
) -> Result<bool, view::Error> {
    let mut history = reader.history(&record.key, Some(position.offset + 1))?;
    if record.restates.is_some() {
        for item in history.take(HISTORY_MAX) {
            let past = item?.record;
            if past.operation == Operation::Upsert && shows(&past.payload) {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    if history.next().transpose()?.is_some_and(|own| own.position == position && !own.applied) {
        return Ok(false);
    }
    Ok(reader.state_before(&record.key, position)?.is_some_and(|before| shows(&before.record.payload)))
}
