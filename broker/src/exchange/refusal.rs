//! The one way of every refusal: counted, put on the trail, then answered.

use super::{
    Error,
    audit::{Audit, NewEntry, Outcome},
    catalogue::Catalogue,
};

/// Counts a refusal and puts it on the trail, as the denial of what was asked. Answers with the refusal, or with what kept it from the trail. An error that is
/// no refusal leaves no entry.
pub(super) async fn refuse(catalogue: &Catalogue, audit: &Audit, asked: NewEntry, error: Error) -> Error {
    let Some(reason) = error.refusal() else { return error };
    catalogue.metrics().deny(reason);
    let entry = NewEntry { outcome: Outcome::Denied(reason), ..asked };
    audit.append(entry).await.err().unwrap_or(error)
}
