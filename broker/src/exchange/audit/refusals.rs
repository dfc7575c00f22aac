//! How many refusals the trail takes.
//!
//! A refusal costs its caller nothing and the trail, which is kept for ever, an entry. So refusals have a rate, of each identity and of all together; beyond it a
//! call is answered QUOTA_EXHAUSTED, which says nothing of what was asked and leaves no entry of its own. Such calls are counted, and once a minute each
//! identity's are summed in one entry (`refused_calls`).
//!
//! - Whoever is not enrolled has a small rate: a certificate of the authority is all that it takes to be refused, and a few entries tell what many would.
//! - Whoever is enrolled has a large one, with or without a grant: that it asks again and again for what it may not see is what an auditor looks for, and whoever
//!   operates the exchange knows whom to ask. Strangers do not use it up.
//! - What is granted has no rate here, nor has the end of a stream that was: one entry each, as ever.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Action, Audit, NewEntry, Outcome, Target};
use crate::{
    exchange::{Error, model::SourceId},
    shutdown::Tasks,
};

/// Identities of which a rate is kept, of each kind. Those with nothing to tell are forgotten; where all have, further identities share what is for all, and
/// are counted in the metric alone.
const IDENTITIES_MAX: usize = 1_024;
/// How often what was left out is summed.
const SUM_INTERVAL: Duration = Duration::from_secs(60);
/// Entries that one round appends; those with the most calls come first, the others next time.
const SUMS_MAX: usize = 32;
/// How long the last sum may take when the node stops.
const LAST_SUM: Duration = Duration::from_secs(1);

/// A bucket of tokens: so many at once, and one more each interval.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    interval: Duration,
}

/// Of one identity that is not enrolled: 20, then one a second.
const STRANGER: Rate = Rate { burst: 20, interval: Duration::from_secs(1) };
/// Of all of these: 200, then five a second. With entries of 2 KiB that is under 1 GB a day.
const STRANGERS: Rate = Rate { burst: 200, interval: Duration::from_millis(200) };
/// Of one that is enrolled: 1,000, then ten a second.
const MEMBER: Rate = Rate { burst: 1_000, interval: Duration::from_millis(100) };
/// Of all of these: 10,000, then fifty a second.
const MEMBERS: Rate = Rate { burst: 10_000, interval: Duration::from_millis(20) };

/// When a bucket is full again, which says how much is in it now (the generic cell rate algorithm, ITU-T I.371).
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: Rate,
    full_at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { rate, full_at: now }
    }

    /// How long until it holds a token.
    fn wait(&self, now: Instant) -> Duration {
        let missing = self.full_at.saturating_duration_since(now) + self.rate.interval;
        missing.saturating_sub(self.rate.interval * self.rate.burst)
    }

    fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.rate.interval;
    }
}

/// One identity's share, and its calls that no entry tells yet.
#[derive(Debug)]
struct Own {
    bucket: Bucket,
    left_out: u64,
    certificate_serial: String,
}

/// Strangers, or members.
#[derive(Debug)]
struct Kind {
    rate: Rate,
    all: Bucket,
    own: HashMap<SourceId, Own>,
}

impl Kind {
    fn new(rate: Rate, all: Rate, now: Instant) -> Self {
        Self { rate, all: Bucket::full(all, now), own: HashMap::new() }
    }

    fn admit(&mut self, entry: &NewEntry, now: Instant) -> Result<(), Duration> {
        let of_all = self.all.wait(now);
        let Some(own) = self.own(entry, now) else {
            if !of_all.is_zero() {
                return Err(of_all);
            }
            self.all.take(now);
            return Ok(());
        };
        let wait = own.bucket.wait(now).max(of_all);
        if wait.is_zero() {
            own.bucket.take(now);
            self.all.take(now);
            return Ok(());
        }
        own.left_out += 1;
        own.certificate_serial.clone_from(&entry.certificate_serial);
        Err(wait)
    }

    fn own(&mut self, entry: &NewEntry, now: Instant) -> Option<&mut Own> {
        if !self.own.contains_key(&entry.actor) {
            if self.own.len() >= IDENTITIES_MAX {
                self.own.retain(|_, own| own.left_out > 0 || own.bucket.full_at > now);
            }
            if self.own.len() >= IDENTITIES_MAX {
                return None;
            }
            let bucket = Bucket::full(self.rate, now);
            let own = Own { bucket, left_out: 0, certificate_serial: entry.certificate_serial.clone() };
            self.own.insert(entry.actor.clone(), own);
        }
        self.own.get_mut(&entry.actor)
    }
}

/// The rates of one node's trail.
#[derive(Debug)]
pub(super) struct Refusals(Mutex<[Kind; 2]>);

impl Default for Refusals {
    fn default() -> Self {
        let now = Instant::now();
        Self(Mutex::new([Kind::new(STRANGER, STRANGERS, now), Kind::new(MEMBER, MEMBERS, now)]))
    }
}

impl Refusals {
    fn admit(&self, entry: &NewEntry, enrolled: bool) -> Result<(), Duration> {
        let [strangers, members] = &mut *self.0.lock();
        let kind = if enrolled { members } else { strangers };
        kind.admit(entry, Instant::now())
    }

    /// Who has calls that no entry tells, those with the most first, and how many.
    fn left_out(&self) -> Vec<(SourceId, String, u64)> {
        let kinds = self.0.lock();
        let all = kinds.iter().flat_map(|kind| &kind.own).filter(|(_, own)| own.left_out > 0);
        let mut all: Vec<_> =
            all.map(|(actor, own)| (actor.clone(), own.certificate_serial.clone(), own.left_out)).collect();
        all.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        all.truncate(SUMS_MAX);
        all
    }

    /// So many calls of an identity are told now.
    fn told(&self, actor: &SourceId, mut count: u64) {
        for kind in &mut *self.0.lock() {
            // Whoever was enrolled meanwhile may be in both.
            if let Some(own) = kind.own.get_mut(actor) {
                let here = own.left_out.min(count);
                own.left_out -= here;
                count -= here;
            }
        }
    }
}

impl Audit {
    /// Whether a refusal gets its entry; otherwise when the caller may come back.
    ///
    /// # Errors
    /// [`Error::QuotaExhausted`] in place of the refusal.
    pub(in crate::exchange) fn admit_refusal(&self, entry: &NewEntry, enrolled: bool) -> Result<(), Error> {
        self.refusals.admit(entry, enrolled).map_err(|retry_after| {
            self.options.metrics.refused_calls.inc();
            Error::QuotaExhausted { what: "the rate of refused calls", retry_after }
        })
    }

    /// Sums what was left out, once a minute for as long as the node lives, and when it stops.
    pub fn sum_refusals(self: Arc<Self>, tasks: &Tasks) {
        let token = tasks.token();
        tasks.spawn("audit-refusals", async move {
            while token.run_until_cancelled(tokio::time::sleep(SUM_INTERVAL)).await.is_some() {
                self.try_sum().await;
            }
            if tokio::time::timeout(LAST_SUM, self.try_sum()).await.is_err() {
                tracing::warn!("refused calls of the last minute may be on the trail in no sum");
            }
        });
    }

    async fn try_sum(&self) {
        if let Err(error) = self.sum_now().await {
            // The next round has them all.
            tracing::warn!(%error, "refused calls are not summed on the trail yet");
        }
    }

    /// Appends the sums that are due, and says how many calls they tell.
    pub(in crate::exchange) async fn sum_now(&self) -> Result<u64, Error> {
        let mut told = 0;
        for (actor, certificate_serial, count) in self.refusals.left_out() {
            // The department and the number: the end of a person's SPIFFE id is a name.
            let department = actor.department().to_owned();
            tracing::warn!(department, serial = certificate_serial, count, "refused calls without an entry each");
            self.append(sum(actor.clone(), certificate_serial, count)).await?;
            self.refusals.told(&actor, count);
            told += count;
        }
        Ok(told)
    }
}

fn sum(actor: SourceId, certificate_serial: String, count: u64) -> NewEntry {
    NewEntry {
        actor,
        certificate_serial,
        action: Action::RefusedCalls,
        dataset: None,
        grant: None,
        purpose: String::new(),
        target: Target::default(),
        positions: Vec::new(),
        count,
        digest: None,
        outcome: Outcome::Denied("QUOTA_EXHAUSTED"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::catalogue::fixtures::{identity, system};

    fn entry(alias: &str) -> NewEntry {
        NewEntry::new(&system(alias), Action::GetRecord)
    }

    fn admitted(refusals: &Refusals, entry: &NewEntry, enrolled: bool, calls: u32) -> u32 {
        (0..calls).map(|_| u32::from(refusals.admit(entry, enrolled).is_ok())).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn each_identity_has_its_burst_then_its_rate() {
        let refusals = Refusals::default();
        assert_eq!(admitted(&refusals, &entry("one"), false, 1_000), 20);
        assert_eq!(admitted(&refusals, &entry("two"), false, 1_000), 20, "another's is its own");
        assert_eq!(refusals.admit(&entry("one"), false), Err(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(admitted(&refusals, &entry("one"), false, 1_000), 3);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(admitted(&refusals, &entry("one"), false, 1_000), 20, "no more than that is saved up");
        assert_eq!(admitted(&refusals, &entry("one"), true, 2_000), 1_000, "once enrolled it has another");
    }

    #[tokio::test(start_paused = true)]
    async fn many_strangers_share_a_rate_and_leave_the_members_theirs() {
        let refusals = Refusals::default();
        let strangers: u32 = (0..5_000)
            .map(|number| {
                let uri = format!("spiffe://test/department/stranger-{number}/system/a");
                admitted(&refusals, &NewEntry::new(&identity(&uri), Action::GetRecord), false, 2)
            })
            .sum();
        assert_eq!(strangers, 200);
        assert!(refusals.0.lock()[0].own.len() <= IDENTITIES_MAX);
        assert_eq!(admitted(&refusals, &entry("taxation"), true, 2_000), 1_000);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(admitted(&refusals, &entry("late"), false, 100), 20, "who comes later is not shut out");
        assert_eq!(refusals.left_out().len(), SUMS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_is_told_once() {
        let refusals = Refusals::default();
        admitted(&refusals, &entry("one"), false, 25);
        admitted(&refusals, &entry("two"), false, 120);
        let counts = || refusals.left_out().into_iter().map(|(_, _, count)| count).collect::<Vec<_>>();
        assert_eq!(counts(), [100, 5]);
        admitted(&refusals, &entry("two"), false, 1);
        refusals.told(&entry("two").actor, 100);
        assert_eq!(counts(), [5, 1]);
    }
}
