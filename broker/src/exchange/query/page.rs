//! A page in the making: what is looked at, what of it is shown, and where the next page goes on.

use std::sync::Arc;

use shuqiao_schemas::engine::Scratch;
use tokio_util::sync::CancellationToken;

use super::{Access, Error, Operation, RowFilter, Shown, view};
use crate::{
    exchange::model::MESSAGE_BYTES_MAX,
    view::{Item, Reader},
};

/// Records of one page, at most.
const RECORDS_MAX: usize = 1_000;
/// Records of a page that does not say.
const RECORDS_DEFAULT: usize = 100;
/// Records that one page looks at: a narrow filter answers with a short page and a token, not with a long wait.
const LOOKED_AT_MAX: usize = 20_000;
/// Bytes of payload that one page looks at.
const LOOKED_AT_BYTES_MAX: usize = 64 << 20;

/// What one page may still take.
pub(super) struct Budget {
    pub(super) records: Vec<Shown>,
    size: usize,
    bytes: usize,
    looked_at: usize,
    looked_at_bytes: usize,
    scratch: Scratch,
}

/// How gathering ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nothing is left.
    Done,
    /// The page is full; the next one begins after this key, or where this one did.
    More(Option<Arc<str>>),
}

impl Budget {
    pub(super) fn new(size: u32) -> Self {
        let size = match usize::try_from(size).unwrap_or(RECORDS_MAX) {
            0 => RECORDS_DEFAULT,
            size => size.min(RECORDS_MAX),
        };
        Self { records: Vec::new(), size, bytes: 0, looked_at: 0, looked_at_bytes: 0, scratch: Scratch::new() }
    }

    fn is_full(&self) -> bool {
        self.records.len() >= self.size
            || self.looked_at >= LOOKED_AT_MAX
            || self.looked_at_bytes >= LOOKED_AT_BYTES_MAX
    }

    fn look_at(&mut self, item: &Item) {
        self.looked_at += 1;
        self.looked_at_bytes += item.record.payload.len();
    }

    /// Adds a record; false if it must wait for the next page.
    fn add(&mut self, shown: Shown) -> bool {
        let bytes = shown.record.message_bytes(&shown.dataset, shown.record.payload.len());
        if !self.records.is_empty() && self.bytes + bytes > MESSAGE_BYTES_MAX {
            return false;
        }
        self.bytes += bytes;
        self.records.push(shown);
        true
    }
}

/// The live record of a key, if the access shows it.
pub(super) fn visible(reader: &Reader, access: &Access, key: &str) -> Result<Item, Error> {
    let item = reader.get(key)?.filter(|item| access.shows(&item.record.payload, &mut Scratch::new()));
    item.ok_or_else(|| Error::RecordNotFound { dataset: access.dataset.id.clone() })
}

/// The record as the access shows it.
pub(super) fn show(access: &Access, item: Item) -> Result<Shown, Error> {
    let Item { mut record, position, applied } = item;
    record.payload = access.project(&record.payload)?;
    Ok(Shown { dataset: access.dataset.id.clone(), record, position, applied })
}

/// Takes live records in key order as far as the page goes.
pub(super) fn gather(
    items: impl Iterator<Item = Result<Item, view::Error>>,
    access: &Access,
    narrowing: &RowFilter,
    budget: &mut Budget,
    stop: &CancellationToken,
) -> Result<Ended, Error> {
    let mut last = None;
    for item in items {
        let item = item?;
        if budget.is_full() || stop.is_cancelled() {
            return Ok(Ended::More(last));
        }
        budget.look_at(&item);
        let (key, payload) = (item.record.key.clone(), &item.record.payload);
        let narrowed = narrowing.shows(access.record_type(), payload, &mut budget.scratch);
        if narrowed && access.shows(payload, &mut budget.scratch) && !budget.add(show(access, item)?) {
            return Ok(Ended::More(last));
        }
        last = Some(key);
    }
    Ok(Ended::Done)
}

/// Takes the changes of one key, newest first; the offset below which the next page begins, if there is one.
pub(super) fn gather_history(
    reader: &Reader,
    access: &Access,
    key: &str,
    before: Option<u64>,
    budget: &mut Budget,
    stop: &CancellationToken,
) -> Result<Option<u64>, Error> {
    let mut last = before;
    for item in reader.history(key, before)? {
        let item = item?;
        if budget.is_full() || stop.is_cancelled() {
            return Ok(last);
        }
        budget.look_at(&item);
        let offset = item.position.offset;
        if is_visible_change(reader, access, &item, &mut budget.scratch)? && !budget.add(show(access, item)?) {
            return Ok(last);
        }
        last = Some(offset);
    }
    Ok(None)
}

/// A deletion says nothing about the row; what it deleted does. Where that is no longer kept, the deletion is not shown to who does not see every row.
fn is_visible_change(
    reader: &Reader,
    access: &Access,
    item: &Item,
    scratch: &mut Scratch,
) -> Result<bool, view::Error> {
    if !access.has_row_filter() {
        return Ok(true);
    }
    match item.record.operation {
        Operation::Upsert => Ok(access.shows(&item.record.payload, scratch)),
        Operation::Delete => {
            let before = reader.state_before(&item.record.key, item.position)?;
            Ok(before.is_some_and(|before| access.shows(&before.record.payload, scratch)))
        }
    }
}

/// One stream in key order from several, whose keys are all different.
pub(super) fn merged<I: Iterator<Item = Result<Item, view::Error>>>(
    streams: impl Iterator<Item = I>,
) -> impl Iterator<Item = Result<Item, view::Error>> {
    let mut streams: Vec<_> = streams.map(Iterator::peekable).collect();
    std::iter::from_fn(move || {
        // A failure sorts first.
        let heads = streams.iter_mut().enumerate().filter_map(|(number, stream)| {
            let head = stream.peek()?;
            Some((head.as_ref().ok().map(|item| item.record.key.clone()), number))
        });
        let (_, least) = heads.min()?;
        streams.get_mut(least)?.next()
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::exchange::{
        catalogue::{
            RowCondition,
            command::{Command, NewGrant},
            fixtures::{Desk, new_grant, system},
        },
        model::{Position, Record},
        policy,
    };

    fn item(key: &str, bytes: usize) -> Item {
        let record = Record {
            record_type: "sample/v1".parse().unwrap(),
            key: key.into(),
            operation: Operation::Upsert,
            source_version: 1,
            payload: Bytes::from(vec![b' '; bytes]),
            source: "department/a/system/b".parse().unwrap(),
            sequence: 1,
            accept_time_ms: 0,
            restates: None,
        };
        Item { record, position: Position { partition: 0, offset: 0 }, applied: true }
    }

    #[test]
    fn merging_keeps_key_order_and_lets_a_failure_through_at_once() {
        let streams = [vec!["a", "d", "e"], vec!["b"], vec![], vec!["c", "f"]];
        let of = |keys: &Vec<&str>| keys.iter().map(|key| Ok(item(key, 0))).collect::<Vec<_>>().into_iter();
        let keys: Vec<_> = merged(streams.iter().map(of)).map(|item| item.unwrap().record.key).collect();
        assert_eq!(keys.join(""), "abcdef");
        let broken = vec![vec![Ok(item("a", 0))], vec![Err(view::Error::Closed)]];
        assert!(merged(broken.into_iter().map(Vec::into_iter)).next().unwrap().is_err());
    }

    #[test]
    fn a_page_of_hidden_rows_is_short_and_says_where_to_go_on() {
        let mut desk = Desk::city();
        let rows = vec![RowCondition { field: "region".into(), values: vec!["320600".into()] }];
        let grant = NewGrant { rows, ..new_grant("reads", "market-supervision.sample", "taxation") };
        desk.give(&system("market-supervision"), Command::CreateGrant(grant)).unwrap();
        let access = policy::may_read(&desk.snapshot, &system("taxation"), "market-supervision.sample", 0).unwrap();
        let items = |after: Option<&str>| {
            let after = after.map_or(0, |key| key.parse().unwrap());
            (after + 1..LOOKED_AT_MAX + 100).map(|number| {
                let mut item = item(&format!("{number:06}"), 0);
                let region = if number == LOOKED_AT_MAX + 50 { "320600" } else { "320601" };
                item.record.payload = format!(r#"{{"id":"{number:06}","region":"{region}"}}"#).into();
                Ok(item)
            })
        };
        let (everything, stop) = (RowFilter::default(), CancellationToken::new());
        let mut budget = Budget::new(10);
        let Ended::More(Some(last)) = gather(items(None), &access, &everything, &mut budget, &stop).unwrap() else {
            panic!("there is more than one page may look at")
        };
        assert!(budget.records.is_empty());
        let mut budget = Budget::new(10);
        assert_eq!(gather(items(Some(&*last)), &access, &everything, &mut budget, &stop).unwrap(), Ended::Done);
        assert_eq!(budget.records.len(), 1);
        // Nobody waits for it any more.
        stop.cancel();
        let mut budget = Budget::new(10);
        assert_eq!(gather(items(None), &access, &everything, &mut budget, &stop).unwrap(), Ended::More(None));
    }

    #[test]
    fn a_page_never_exceeds_its_bytes_and_always_takes_one_record() {
        let mut budget = Budget::new(1_000);
        let shown = |bytes| {
            let Item { record, position, applied } = item("k", bytes);
            Shown { dataset: "a.b".parse().unwrap(), record, position, applied }
        };
        assert!(budget.add(shown(MESSAGE_BYTES_MAX + 1)), "the first record always fits");
        let mut budget = Budget::new(1_000);
        let taken = (0..10).take_while(|_| budget.add(shown(1 << 20))).count();
        assert_eq!(taken, 3);
        assert!(budget.bytes <= MESSAGE_BYTES_MAX);
        assert_eq!((Budget::new(0).size, Budget::new(7).size, Budget::new(u32::MAX).size), (100, 7, 1_000));
    }
}
