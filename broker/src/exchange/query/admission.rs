//! Who may ask: permission by the newest snapshot and the time, the form of the question, the positions that it waits for, and permission again.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Query, Question, check, places::Full};
use crate::exchange::{
    Error,
    audit::{Action, NewEntry, SubjectKind},
    catalogue::{Access, Violations},
    identity::Identity,
    policy,
};

/// When to come back where too many ask at once.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// A query under way: what will stand in the trail, and since when.
pub(super) struct Asked {
    pub(super) entry: NewEntry,
    pub(super) begun: Instant,
}

impl Query {
    /// A question as it will stand in the trail.
    pub(super) fn asked(&self, caller: &Identity, action: Action, purpose: &str) -> Asked {
        let mut entry = NewEntry::new(caller, action);
        // A purpose that breaks the rules is refused below, and must not swell a trail that is kept for ever.
        let mut form = Violations::default();
        form.required("purpose", purpose);
        if form.finish().is_ok() {
            purpose.clone_into(&mut entry.purpose);
        }
        Asked { entry, begun: Instant::now() }
    }

    /// Permission, form, what must be waited for, and permission again.
    pub(super) async fn admit(
        &self,
        caller: &Identity,
        question: &Question,
        asked: &mut Asked,
        form: impl Fn(&mut Violations, &Access),
    ) -> Result<Arc<Access>, Error> {
        asked.entry.dataset = question.dataset.parse().ok();
        let access = self.may_read(caller, question, asked, &form)?;
        if question.at_least.is_empty() {
            return Ok(access);
        }
        let place = self.waiting.take(&caller.department);
        let _place =
            place.map_err(|full| exhausted(full, "waiting queries", "the department's share of waiting queries"))?;
        let until: Vec<_> = question.at_least.iter().map(|at| (at.partition, at.offset.saturating_add(1))).collect();
        self.view.wait_applied(&access.dataset.id, &until, self.options.wait_max).await?;
        // Seconds may have passed.
        self.may_read(caller, question, asked, &form)
    }

    fn may_read(
        &self,
        caller: &Identity,
        question: &Question,
        asked: &mut Asked,
        form: &impl Fn(&mut Violations, &Access),
    ) -> Result<Arc<Access>, Error> {
        let access = policy::may_read(&self.catalogue.snapshot(), caller, &question.dataset, self.clock.now_ms())?;
        asked.entry.grant.clone_from(&access.grant);
        let mut found = Violations::default();
        found.required("purpose", &question.purpose);
        if !access.serves(&question.purpose) {
            found.refuse_purpose();
        }
        let partitions = access.dataset.partitions;
        if question.at_least.iter().any(|at| at.partition >= partitions) {
            let (en, zh) =
                (format!("the dataset has {partitions} partitions"), format!("该数据资源有 {partitions} 个分区"));
            found.add("at_least", "OUT_OF_RANGE", en, zh);
        }
        if question.at_least.len() > usize::try_from(partitions).unwrap_or(usize::MAX) {
            found.add("at_least", "TOO_MANY", "at most one position a partition", "每个分区至多一个位点");
        }
        form(&mut found, &access);
        found.finish()?;
        Ok(access)
    }

    /// What the caller may read for the purpose and find subjects in, in order of dataset.
    pub(super) fn admit_subject(
        &self,
        caller: &Identity,
        purpose: &str,
        (kind, value): (&str, &str),
        asked: &mut Asked,
    ) -> Result<Vec<Arc<Access>>, Error> {
        let snapshot = self.catalogue.snapshot();
        if snapshot.department(caller.department.as_str()).is_none() {
            return Err(Error::IdentityUnknown);
        }
        asked.entry.target.subject = Some((SubjectKind::new(kind), self.audit.key().subject(kind, value)));
        let mut found = Violations::default();
        found.required("purpose", purpose);
        check::subject(&mut found, kind, value);
        let mut accesses = policy::readable(&snapshot, caller, self.clock.now_ms());
        accesses.retain(|access| access.grants_subject());
        let readable = !accesses.is_empty();
        accesses.retain(|access| access.serves(purpose));
        if readable && accesses.is_empty() {
            found.refuse_purpose();
        }
        found.finish()?;
        Ok(accesses)
    }
}

/// Too many at once.
pub(super) fn exhausted(full: Full, node: &'static str, department: &'static str) -> Error {
    let what = match full {
        Full::Node => node,
        Full::Department => department,
    };
    Error::QuotaExhausted { what, retry_after: RETRY_AFTER }
}
