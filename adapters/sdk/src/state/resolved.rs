//! Letters that close without anybody replaying them: what they were about has been mended since. They keep everything that they say, until they are forgotten
//! ([`Kept`]), and the books, which count what was set aside and not what is open, stay as they are.

use sqlx::{Sqlite, Transaction};

use super::{Error, now_ms, to_stored};
use crate::Record;

/// Begins a way through the whole of the source.
pub(super) async fn begin_pass(transaction: &mut Transaction<'static, Sqlite>) -> Result<(), Error> {
    sqlx::query("UPDATE counter SET value = value + 1 WHERE name = 'passes'").execute(&mut **transaction).await?;
    Ok(())
}

/// A way through the whole of the source has ended: a letter that did not come again is about bytes that are no longer there. One whose key waits in
/// the outbox is left to what the exchange says of it.
pub(super) async fn end_pass(transaction: &mut Transaction<'static, Sqlite>) -> Result<(), Error> {
    sqlx::query(
        "UPDATE dead_letter SET state = 'resolved', closed_at_ms = ? WHERE state = 'open' AND direction = 'source' \
         AND pass < (SELECT value FROM counter WHERE name = 'passes') \
         AND (key IS NULL OR key NOT IN (SELECT key FROM outbox))",
    )
    .bind(now_ms())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Whether any letter of this direction is open: almost never, so that nothing is looked for record by record.
pub(super) async fn any_open(
    transaction: &mut Transaction<'static, Sqlite>,
    direction: &'static str,
) -> Result<bool, Error> {
    let open = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM dead_letter WHERE state = 'open' AND direction = ?)");
    Ok(open.bind(direction).fetch_one(&mut **transaction).await?)
}

/// A row says what is published, or waits, already: its own letters are past. Its key's are past only where the source makes no ways through the whole of it.
/// Where it does, the same export may have another row of the key, which the exchange refuses each time: closed here, it would come as a new letter
/// with every pass. What is no longer there, [`end_pass`] closes.
pub(super) async fn by_unchanged(
    transaction: &mut Transaction<'static, Sqlite>,
    key: &str,
    row: Option<&[u8]>,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE dead_letter SET state = 'resolved', closed_at_ms = ?3 WHERE state = 'open' AND direction = 'source' \
         AND ((key = ?1 AND pass = 0) OR row_sha256 = ?2)",
    )
    .bind(key)
    .bind(row)
    .bind(now_ms())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// The record with the number `sequence` stands for its key, and for the row that it was read from: the letters of before are past.
pub(super) async fn by_record(
    transaction: &mut Transaction<'static, Sqlite>,
    key: Option<&str>,
    row: Option<&[u8]>,
    sequence: i64,
) -> Result<(), Error> {
    if key.is_none() && row.is_none() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE dead_letter SET state = 'resolved', closed_at_ms = ?4 WHERE state = 'open' AND direction = 'source' \
         AND at_sequence < ?3 AND (key = ?1 OR row_sha256 = ?2)",
    )
    .bind(key)
    .bind(row)
    .bind(sequence)
    .bind(now_ms())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// The row says something else by now, and is set aside with that: its other letters are past.
pub(super) async fn by_other_bytes(
    transaction: &mut Transaction<'static, Sqlite>,
    row: &[u8],
    raw_sha256: &[u8],
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE dead_letter SET state = 'resolved', closed_at_ms = ?3 WHERE state = 'open' AND direction = 'source' \
         AND row_sha256 = ?1 AND raw_sha256 <> ?2",
    )
    .bind(row)
    .bind(raw_sha256)
    .bind(now_ms())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// A sink has taken this record, so it holds what a letter of the same key kept, or what is newer.
pub(super) async fn by_delivery(transaction: &mut Transaction<'static, Sqlite>, record: &Record) -> Result<(), Error> {
    sqlx::query(
        "UPDATE dead_letter SET state = 'resolved', closed_at_ms = ?5 WHERE state = 'open' AND direction = 'sink' \
         AND key = ?1 AND json_extract(record, '$.dataset') = ?2 \
         AND (json_extract(record, '$.source_version'), json_extract(record, '$.position[1]')) <= (?3, ?4)",
    )
    .bind(&record.key)
    .bind(&record.dataset)
    .bind(to_stored(record.source_version))
    .bind(to_stored(record.position.1))
    .bind(now_ms())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// How many closed letters are kept, and for how long: their raw bytes are personal data, and nobody has to look at them any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// Those closed before this are forgotten.
    since_ms: i64,
    /// So many, the last closed, are kept at most.
    letters_max: i64,
}

impl Kept {
    const DAYS: i64 = 90;
    const LETTERS_MAX: i64 = 10_000;

    /// As it is now.
    pub(super) fn now() -> Self {
        Self { since_ms: now_ms() - Self::DAYS * 24 * 60 * 60 * 1_000, letters_max: Self::LETTERS_MAX }
    }
}

/// Deletes the closed letters that are no longer kept. An open one, and one that is on its way again, stays for as long as it is that.
pub(super) async fn forget(transaction: &mut Transaction<'static, Sqlite>, kept: Kept) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM dead_letter WHERE closed_at_ms < ?1 OR id IN (SELECT id FROM dead_letter \
         WHERE closed_at_ms IS NOT NULL ORDER BY closed_at_ms DESC, id DESC LIMIT -1 OFFSET ?2)",
    )
    .bind(kept.since_ms)
    .bind(kept.letters_max)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use shuqiao_proto::v1;

    use super::super::{Counts, LetterState, State, Verdict};
    use super::{Kept, forget};
    use crate::{Batch, Bytes, MappingError, Mark, Operation, Pass, Position, Record, Row, SourceRecord, Violation};

    const WITHIN: Pass = Pass { begins: false, ends: false };
    const BEGINS: Pass = Pass { begins: true, ends: false };
    const ENDS: Pass = Pass { begins: false, ends: true };

    fn violation() -> Violation {
        Violation::new("/x", "BAD", "not so", "不可")
    }

    /// "key=value" maps, anything else does not; what stands before a `#` is what the system knows the row by.
    fn row(line: &str) -> Row {
        let (id, text) = line.split_once('#').map_or((None, line), |(id, text)| (Some(id), text));
        let mapped = match text.split_once('=') {
            Some((key, value)) => Ok(SourceRecord {
                key: key.into(),
                operation: Operation::Upsert,
                source_version: None,
                payload: Bytes::from(format!("{{\"v\":\"{value}\"}}")),
            }),
            None => Err(MappingError::from(violation())),
        };
        let id = id.map(|id| Bytes::copy_from_slice(id.as_bytes()));
        Row { raw: Bytes::copy_from_slice(text.as_bytes()), place: "here".into(), id, mapped, warnings: Vec::new() }
    }

    struct Desk {
        state: State,
        _directory: tempfile::TempDir,
    }

    impl Desk {
        async fn open() -> Self {
            let directory = tempfile::tempdir().expect("directory");
            let state = State::open(&directory.path().join("state.db")).await.expect("opens");
            state.adopt(0).await.expect("adopts");
            Self { state, _directory: directory }
        }

        async fn read(&self, pass: Pass, lines: &[&str]) {
            let rows = lines.iter().map(|line| row(line)).collect();
            let batch = Batch { rows, position: Position(Bytes::from_static(b"1")), pass };
            self.state.record(&batch).await.expect("records");
            self.counts().await;
        }

        /// The exchange says the same of everything that waits.
        async fn answers(&self, verdict: impl Fn(u64) -> Verdict) {
            let waiting = self.state.outbox_after(0, 100, usize::MAX).await.expect("reads");
            let verdicts: Vec<_> = waiting.iter().map(|entry| (entry.sequence, verdict(entry.sequence))).collect();
            self.state.acknowledge(&verdicts, None).await.expect("acknowledges");
            self.counts().await;
        }

        async fn accepts(&self) {
            self.answers(|offset| Verdict::Accepted(v1::Position { partition: 0, offset })).await;
        }

        async fn refuses(&self) {
            self.answers(|_| Verdict::Rejected(vec![violation()])).await;
        }

        async fn forgets(&self, since_ms: i64, letters_max: i64) {
            let mut transaction = self.state.begin().await.expect("begins");
            forget(&mut transaction, Kept { since_ms, letters_max }).await.expect("forgets");
            transaction.commit().await.expect("commits");
            self.counts().await;
        }

        /// Balanced, whatever is closed.
        async fn counts(&self) -> Counts {
            let counts = self.state.counts().await.expect("counts");
            assert!(counts.balanced(), "{counts:?}");
            counts
        }

        /// The state of every letter, in the order in which they were set aside.
        async fn letters(&self) -> Vec<LetterState> {
            let letters = self.state.dead_letters(false, 0, 100).await.expect("lists");
            for letter in &letters {
                assert_eq!(letter.closed_at_ms.is_some(), letter.state != LetterState::Open, "{letter:?}");
                assert!(!letter.violations.is_empty(), "the history is kept");
            }
            let open = letters.iter().filter(|letter| letter.state == LetterState::Open).count() as u64;
            assert_eq!(self.state.open_letters().await.expect("counts"), open);
            letters.into_iter().map(|letter| letter.state).collect()
        }
    }

    use LetterState::{Open, Resolved};

    #[tokio::test]
    async fn a_refused_record_is_past_once_its_key_is_accepted_and_not_before() {
        let desk = Desk::open().await;
        desk.read(WITHIN, &["a=1", "b=1"]).await;
        desk.refuses().await;
        desk.read(WITHIN, &["a=2"]).await;
        assert_eq!(desk.letters().await, [Open, Open], "it only waits");
        desk.accepts().await;
        assert_eq!(desk.letters().await, [Resolved, Open]);
        // What was accepted before a letter says nothing of it; what is read again and is published already does.
        desk.read(WITHIN, &["a=3"]).await;
        desk.refuses().await;
        assert_eq!(desk.letters().await, [Resolved, Open, Open]);
        desk.read(WITHIN, &["a=2"]).await;
        assert_eq!(desk.letters().await, [Resolved, Open, Resolved]);
        assert_eq!(desk.counts().await.dead_letters, 3, "the books count what was set aside");
    }

    #[tokio::test]
    async fn a_row_that_its_system_knows_has_one_open_letter_at_most_and_none_once_it_is_mended() {
        let desk = Desk::open().await;
        desk.read(WITHIN, &["17#bad", "18#bad too"]).await;
        desk.read(WITHIN, &["17#still bad"]).await;
        assert_eq!(desk.letters().await, [Resolved, Open, Open]);
        desk.read(WITHIN, &["17#k=1"]).await;
        assert_eq!(desk.letters().await, [Resolved, Open, Resolved]);
        // Mended under another key than the one under which it was refused.
        desk.refuses().await;
        desk.read(WITHIN, &["17#m=1"]).await;
        desk.accepts().await;
        assert_eq!(desk.letters().await, [Resolved, Open, Resolved, Resolved]);
    }

    #[tokio::test]
    async fn what_a_whole_way_through_the_source_does_not_show_again_is_past() {
        let desk = Desk::open().await;
        desk.read(BEGINS, &["bad", "worse", "a=1"]).await;
        desk.refuses().await;
        desk.read(ENDS, &[]).await;
        assert_eq!(desk.letters().await, [Open, Open, Open], "all of them are of this way");
        // A way that is not ended says nothing.
        desk.read(BEGINS, &["worse"]).await;
        assert_eq!(desk.letters().await, [Open, Open, Open]);
        desk.read(BEGINS, &["worse", "mended=1", "a=1"]).await;
        desk.read(ENDS, &[]).await;
        assert_eq!(desk.letters().await, [Resolved, Open, Open], "what waits is left to the exchange");
        desk.refuses().await;
        assert_eq!(desk.letters().await.len(), 4, "{:?}", desk.letters().await);
        desk.read(BEGINS, &["bad"]).await;
        desk.read(ENDS, &["good=1"]).await;
        assert_eq!(desk.letters().await, [Resolved, Resolved, Resolved, Resolved, Open], "bad again is another letter");
    }

    /// Goal: a key that an export has twice, once as it is published and once as the exchange refuses it, is one letter however often it is read.
    #[tokio::test]
    async fn a_key_repeated_in_an_export_is_one_open_letter_in_every_pass_until_the_row_is_gone() {
        let desk = Desk::open().await;
        for pass in 1..=3 {
            desk.read(BEGINS, &["k=a", "k=b"]).await;
            desk.read(ENDS, &[]).await;
            let first = |offset| match offset {
                1 => Verdict::Accepted(v1::Position { partition: 0, offset }),
                _ => Verdict::Rejected(vec![violation()]),
            };
            desk.answers(first).await;
            assert_eq!(desk.letters().await, [Open], "pass {pass}");
        }
        let letters = desk.state.dead_letters(true, 0, 100).await.expect("lists");
        assert_eq!(letters.first().map(|letter| letter.occurrences), Some(3));
        desk.read(BEGINS, &["k=a"]).await;
        assert_eq!(desk.letters().await, [Open], "the rest of the export may have it");
        desk.read(ENDS, &[]).await;
        assert_eq!(desk.letters().await, [Resolved]);
    }

    #[tokio::test]
    async fn closed_letters_are_kept_up_to_a_number_and_a_time_and_open_ones_for_ever() {
        let desk = Desk::open().await;
        desk.read(BEGINS, &["bad", "worse", "worst"]).await;
        desk.read(BEGINS, &["worst"]).await;
        desk.read(ENDS, &[]).await;
        assert_eq!(desk.letters().await, [Resolved, Resolved, Open]);
        desk.forgets(0, 2).await;
        assert_eq!(desk.letters().await, [Resolved, Resolved, Open]);
        desk.forgets(0, 1).await;
        assert_eq!(desk.letters().await, [Resolved, Open]);
        desk.forgets(i64::MAX, 1).await;
        assert_eq!(desk.letters().await, [Open]);
        assert_eq!(desk.counts().await.dead_letters, 4, "the books count what was set aside");
    }

    #[tokio::test]
    async fn what_a_sink_refused_is_past_once_it_takes_the_same_or_something_newer() {
        let desk = Desk::open().await;
        let record = |dataset: &str, version, offset| Record {
            dataset: dataset.into(),
            record_type: "enterprise/v1".into(),
            key: "k".into(),
            operation: Operation::Upsert,
            source_version: version,
            payload: Bytes::from_static(b"{}"),
            source: "department/a/system/b".into(),
            sequence: offset + 1,
            accept_time_ms: 1,
            position: (0, offset),
        };
        let refused = record("d.d", 3, 9);
        let takes = async |taken: &Record| desk.state.delivered(&[taken], &[], None).await.expect("keeps");
        desk.state.delivered(&[], &[(&refused, &violation())], None).await.expect("keeps");
        for other in [record("d.other", 5, 20), record("d.d", 2, 12), record("d.d", 3, 8)] {
            takes(&other).await;
            assert_eq!(desk.letters().await, [Open], "{other:?}");
        }
        takes(&refused).await;
        assert_eq!(desk.letters().await, [Resolved]);
        desk.state.delivered(&[], &[(&refused, &violation())], None).await.expect("keeps");
        takes(&record("d.d", 4, 10)).await;
        assert_eq!(desk.letters().await, [Resolved, Resolved]);
        let counts = desk.counts().await;
        assert_eq!((counts.delivered, counts.taken, counts.refused), (7, 5, 2));
    }

    #[tokio::test]
    async fn the_mark_of_an_inbox_is_kept_with_the_delivery_and_forgotten_when_everything_is_asked_for_anew() {
        let desk = Desk::open().await;
        assert_eq!(desk.state.inbox_mark().await.expect("asks"), None);
        let mark = Mark { inbox: "a".into(), deliveries: 3 };
        desk.state.delivered(&[], &[], Some(&mark)).await.expect("keeps");
        desk.state.delivered(&[], &[], None).await.expect("keeps");
        assert_eq!(desk.state.inbox_mark().await.expect("asks"), Some(mark));
        assert!(!desk.state.asks_anew().await.expect("asks"));
        desk.state.ask_anew().await.expect("asks");
        assert_eq!(
            (desk.state.inbox_mark().await.expect("asks"), desk.state.asks_anew().await.expect("asks")),
            (None, true)
        );
        desk.state.asked_anew().await.expect("asked");
        assert!(!desk.state.asks_anew().await.expect("asks"));
    }
}
