//! A log that has lost its tail, or all of itself, behind the view: a restored backup, a journal cut short, a directory that is gone.
//!
//! Then the view's rows may be the only copy of the records, and what the sources were told is held is not. So the rows are kept as they are, sources
//! are not served (or they would fill the gap with other records, and nobody could see it any more), the node says that it is not ready, and an operator
//! decides: restore the log, or accept the loss with `shuqiao view rebuild`, which says how much it was.

use std::sync::{Arc, atomic::Ordering};

use super::{Error, HighWaters, View, follow::blocking};
use crate::{
    exchange::model::DatasetId,
    log::{self, Bounds, Log},
};

/// The log ends before what the view has read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "partition {partition} of the log ends at offset {log}, and the view has read it up to {view}: the log has lost records"
)]
pub struct Ahead {
    /// The first such partition.
    pub partition: u32,
    /// Next offset that the view would read.
    pub view: u64,
    /// Next offset that the log would give.
    pub log: u64,
}

/// Compares what was applied with where the log ends. Ask for `applied` first: both only grow.
pub fn ahead(applied: &[u64], bounds: &[Bounds]) -> Option<Ahead> {
    (0..).zip(applied.iter().zip(bounds)).find_map(|(partition, (view, bounds))| {
        (*view > bounds.next).then_some(Ahead { partition, view: *view, log: bounds.next })
    })
}

impl View {
    /// The datasets of which the log has lost records, as found so far.
    pub fn lost(&self) -> Vec<(DatasetId, Ahead)> {
        self.lost.lock().iter().map(|(id, ahead)| (id.clone(), *ahead)).collect()
    }

    /// The datasets whose rows are here, also those that the catalogue does not know.
    pub fn held_datasets(&self) -> Vec<DatasetId> {
        let mut held: Vec<_> = self.datasets.read().keys().cloned().collect();
        held.sort();
        held
    }

    /// Whether the log has lost records of a dataset that the catalogue does not know: then it is not deleted, but forgotten.
    ///
    /// # Errors
    /// [`Error::Log`].
    pub async fn forgotten(
        &self,
        log: &dyn Log,
        high_waters: &HighWaters,
        dataset: &DatasetId,
    ) -> Result<Option<Ahead>, Error> {
        let applied = self.applied(dataset);
        let bounds = match log.bounds(&high_waters.dataset_topic(dataset)).await {
            Err(log::Error::TopicNotFound { .. }) => vec![Bounds { first: 0, next: 0 }; applied.len()],
            bounds => bounds?,
        };
        Ok(ahead(&applied, &bounds))
    }

    /// Removes the rows of a dataset, and says how many records they were: an operator's decision, for one that the log and the catalogue have lost.
    ///
    /// # Errors
    /// [`Error::NotReady`] where there are none; [`Error::Store`], [`Error::Reopening`].
    pub async fn abandon(self: &Arc<Self>, dataset: &DatasetId) -> Result<u64, Error> {
        let (view, id) = (self.clone(), dataset.clone());
        let (records, _) = blocking(move || view.records_digest(&id)).await?;
        self.forget(dataset).await?;
        Ok(records)
    }

    /// Removes the rows of a dataset that is gone. Readers that hold a snapshot keep what they see.
    pub(super) async fn forget(&self, id: &DatasetId) -> Result<(), Error> {
        // Before anything is let go of: without a store the dataset stays known, and is removed when the catalogue is looked at again.
        let store = self.store()?;
        self.lost.lock().remove(id);
        let Some(held) = self.datasets.write().remove(id) else { return Ok(()) };
        let (id, space) = (id.clone(), held.space.swap(super::layout::NOWHERE, Ordering::AcqRel));
        blocking(move || {
            store.retire(&id, space)?;
            store.drop_space(space)
        })
        .await
    }

    /// Says once that rows are kept.
    pub(super) fn tell_lost(&self, dataset: &DatasetId, ahead: Ahead) {
        if self.lost.lock().insert(dataset.clone(), ahead) == Some(ahead) {
            return;
        }
        tracing::error!(
            %dataset, partition = ahead.partition, view = ahead.view, log = ahead.log,
            "the log ends before what the view has read: records are lost from it. The view's rows are kept and sources wait; \
             stop the node and restore the log, or accept the loss with `shuqiao view rebuild`"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_view_that_is_ahead_tells_of_a_loss() {
        let bounds = [Bounds { first: 0, next: 5 }, Bounds { first: 7, next: 7 }];
        assert_eq!(ahead(&[5, 7], &bounds), None);
        assert_eq!(ahead(&[0, 3], &bounds), None, "behind, and overtaken by retention");
        assert_eq!(ahead(&[5, 8], &bounds), Some(Ahead { partition: 1, view: 8, log: 7 }));
    }
}
