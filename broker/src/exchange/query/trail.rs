//! What a query leaves in the trail.

use ring::digest::{Context, SHA256};
use shuqiao_proto::digest::RecordsDigest;

use super::{Access, Compared, Error, NewEntry, Position, Shown};
use crate::exchange::model::{DatasetId, GrantId};

/// What one dataset released. The digest is over the released records in the order of the answer, as `shuqiao_proto::digest` lays records out; of a comparison
/// over the fields and verdicts; of a dataset's digest that digest itself.
pub(super) struct Released {
    pub(super) dataset: DatasetId,
    pub(super) grant: Option<(GrantId, u64)>,
    pub(super) positions: Vec<(u32, u64, u64)>,
    pub(super) count: u64,
    pub(super) digest: Option<[u8; 32]>,
}

impl Released {
    pub(super) fn nothing(access: &Access) -> Self {
        let (dataset, grant) = (access.dataset.id.clone(), access.grant.clone());
        Self { dataset, grant, positions: Vec::new(), count: 0, digest: None }
    }

    pub(super) fn records(access: &Access, records: &[Shown]) -> Self {
        let mut released = Self::nothing(access);
        let mut digest = RecordsDigest::default();
        for Shown { record, position, .. } in records {
            digest.add(&record.key, record.source_version, &record.payload);
            released.span(*position);
        }
        let (count, digest) = digest.finish();
        Self { count, digest: (count > 0).then_some(digest), ..released }
    }

    pub(super) fn verdicts(access: &Access, position: Position, fields: &[Compared], verdicts: &[bool]) -> Self {
        let mut context = Context::new(&SHA256);
        for (field, equal) in fields.iter().zip(verdicts) {
            context.update(&field.path.len().to_be_bytes());
            context.update(field.path.as_bytes());
            context.update(&[u8::from(*equal)]);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        let mut released = Self { count: 1, digest: Some(digest), ..Self::nothing(access) };
        released.span(position);
        released
    }

    /// Widens the span of the position's partition.
    fn span(&mut self, Position { partition, offset }: Position) {
        match self.positions.iter_mut().find(|(candidate, _, _)| *candidate == partition) {
            Some((_, first, last)) => (*first, *last) = ((*first).min(offset), (*last).max(offset)),
            None => self.positions.push((partition, offset, offset)),
        }
    }
}

/// One entry for each dataset that released something, or the one that says that nothing was.
pub(super) fn entries(asked: NewEntry, released: Vec<Released>) -> Vec<NewEntry> {
    if released.is_empty() {
        return vec![asked];
    }
    let entry = |Released { dataset, grant, positions, count, digest }| NewEntry {
        dataset: Some(dataset),
        grant,
        positions,
        count,
        digest,
        ..asked.clone()
    };
    released.into_iter().map(entry).collect()
}

/// What an error means for the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is an answer: nothing is there.
    Answer,
    /// A refusal.
    Denial,
    /// No verdict was reached; nothing was released.
    None,
}

impl Verdict {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::RecordNotFound { .. } => Self::Answer,
            _ => error.refusal().map_or(Self::None, |_| Self::Denial),
        }
    }

    /// As metrics name it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answered",
            Self::Denial => "denied",
            Self::None => "failed",
        }
    }
}
