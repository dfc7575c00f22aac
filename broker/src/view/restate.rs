//! Saying the state of a key again, where a later entry would outlive it.
//!
//! Compaction keeps the last entry of each key, and knows neither source versions nor repeats. Where an older source version was stored after a newer one, or
//! one record twice (two nodes, one source), the last entry is not what the view holds: once both are past the retention, a view made anew and a subscriber
//! from the beginning would get that one. So the view remembers such a key in the batch that passes the late entry over, and whoever follows the dataset
//! appends the key's state once more, with the record's own id and bytes and the place where it first lay ([`envelope::restate`]).
//!
//! Why that holds:
//!
//! - Compaction looks only at what is older than the retention, so the state's own entry is there until the late one is that old. A round begins as often as marks
//!   are written ([`super::high_water`]), so the state lies behind the late entry before that, where any node follows the dataset for so long once within its
//!   retention.
//! - A restatement says up to which offset it is the state of its key. A view judges it by its version and as if it lay there: it changes nothing where the first
//!   entry was applied, stands for it where compaction took it, and loses to what is newer. That needs no order between nodes: two that restate one key say the
//!   same twice, and one that was late restates what has meanwhile been replaced, which is one more late entry and is answered by the next round.
//! - The memory of the key goes with the batch that reads the restatement back, so a crash in between costs one more restatement at most.
//! - No high water depends on it: a restatement is no repeat by its sequence, and raises its source's only as far as the record that it restates had.
//! - A deletion that is to be restated is not forgotten by the view before, and its tombstone begins its time in the log anew.
//!
//! Delivery sends restatements like any record: to who has it, it is a record once more, with an id and a version that a sink compares; to who came after
//! compaction, it is the only one.
//!
//! In the normal case no key is remembered, and a look at nothing is what this costs. A source that goes back again and again costs each node that follows it one
//! entry a key and round; so do entries that are stored twice, again and again.

use std::sync::Arc;

use super::{Error, Item, Reader, Target, apply::Applier, layout};
use crate::{
    exchange::envelope,
    log::{self, Log},
};

/// Keys of one round.
const KEYS_MAX: usize = 1_000;
/// Bytes of one round, about.
const BYTES_MAX: usize = 1 << 20;

impl Applier {
    /// The states that are to be said again, one round of them, and whether more may be left. Forgets keys that are in order by themselves. Only the task
    /// that applies may call it.
    pub(super) fn restatements(&self, now_ms: i64) -> Result<(Vec<log::Entry>, bool), Error> {
        let (store, space) = (&self.store, self.space);
        let reader = Reader { store: store.clone(), space, snapshot: store.database.snapshot() };
        let (mut entries, mut bytes, mut more) = (Vec::new(), 0, false);
        let mut in_order = store.batch();
        for (number, remembered) in store.meta.prefix(layout::outlived_prefix(space)).enumerate() {
            if number == KEYS_MAX || bytes >= BYTES_MAX {
                more = true;
                break;
            }
            let (row_key, by) = remembered.into_inner()?;
            let key = layout::read_outlived_key(&row_key)?;
            let by = layout::read_u64(&by)?;
            match reader.state(key)?.filter(|state| state.position.offset < by) {
                Some(Item { record, position, .. }) => {
                    bytes += key.len() + record.payload.len();
                    entries.push(envelope::restate(&record, position, by, now_ms));
                }
                // A newer entry has come since.
                None => in_order.remove(&store.meta, row_key),
            }
        }
        in_order.commit()?;
        Ok((entries, more))
    }
}

/// Appends what is to be said again, and tells the positions that have to be read before the next round. That makes up for a failure.
pub(super) fn append(
    log: Arc<dyn Log>,
    target: &Target,
    entries: Vec<log::Entry>,
) -> impl Future<Output = Vec<(u32, u64)>> + Send + use<> {
    let (topic, dataset) = (target.topic.clone(), target.id.clone());
    async move {
        let partitions: Vec<_> = entries.iter().map(|entry| entry.partition).collect();
        let fates = match log.submit(&topic, entries).await {
            Ok(pending) => pending.await,
            Err(error) => vec![Err(error)],
        };
        if let Some(Err(error)) = fates.iter().find(|fate| fate.is_err()) {
            tracing::warn!(%dataset, %error, "what a late entry would outlive in the log is not said again yet");
        }
        partitions.into_iter().zip(fates).filter_map(|(partition, fate)| Some((partition, fate.ok()?))).collect()
    }
}

/// Whether everything at these positions is read.
pub(super) fn is_read(next: &[u64], positions: &[(u32, u64)]) -> bool {
    positions.iter().all(|(partition, offset)| {
        usize::try_from(*partition).ok().and_then(|partition| next.get(partition)).is_some_and(|next| next > offset)
    })
}
