//! Following the log: one task a dataset, started and stopped with the catalogue.
//!
//! A task reads batches, applies each on a blocking thread, and announces how far it is. What fails is taken up again from the last applied batch, with a
//! growing delay. Where retention has overtaken the view, or the dataset's standard is another than the rows were made with, it builds the rows anew. Where
//! the log ends before what was read of it, it leaves everything as it is ([`super::loss`]).
//! Where a late entry would outlive a key's state in the log, the state is said again ([`super::restate`]).
//! When the catalogue no longer knows the dataset, its rows go. What it has seen of the sources it writes down ([`super::high_water`]) from time to time and
//! when it is told to stop.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{FutureExt, future::Fuse, future::FusedFuture};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    Ahead, Error, Held, HighWaters, Metrics, Rebuilt, Request, Target, View, ahead, apply::Applier, layout::Space,
    restate, row::ROW_VERSION, store,
};
use crate::{
    chain::chain,
    exchange::{catalogue::Catalogue, model::DatasetId},
    log::{self, Bounds, Log, StoredEntry},
    shutdown::Tasks,
};

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Rebuilds that may wait for one another.
const REQUESTS_MAX: usize = 4;
/// History rows looked at, and removed where they are too old, between two batches.
const PRUNE_ROWS_MAX: usize = 5_000;
/// Between two of these steps, at least.
const PRUNE_PAUSE_MIN: Duration = Duration::from_millis(5);
/// How long a task that is told to stop waits until what it has seen of the sources is durable.
const LAST_WORD_MAX: Duration = Duration::from_secs(2);

impl View {
    /// Follows every dataset of the catalogue on `tasks`, and those that are registered later.
    pub fn follow(
        self: &Arc<Self>,
        log: Arc<dyn Log>,
        catalogue: Arc<Catalogue>,
        high_waters: Arc<HighWaters>,
        tasks: &Tasks,
    ) {
        let (view, on) = (self.clone(), tasks.clone());
        tasks.spawn("view", async move {
            let token = on.token();
            let mut changes = catalogue.changes();
            let mut followed: HashMap<DatasetId, (CancellationToken, JoinHandle<()>)> = HashMap::new();
            loop {
                changes.borrow_and_update();
                let snapshot = catalogue.snapshot();
                let ids: HashSet<_> = snapshot.datasets().map(|dataset| dataset.id.clone()).collect();
                let gone: Vec<_> = view.datasets.read().keys().filter(|id| !ids.contains(*id)).cloned().collect();
                for id in gone {
                    // Its task ends first: a dataset of that name that is registered again begins with rows of its own.
                    if let Some((stop, task)) = followed.remove(&id) {
                        stop.cancel();
                        drop(task.await);
                    } else {
                        // Deleted while this node was away, or lost from the catalogue as from its own log.
                        match view.forgotten(&*log, &high_waters, &id).await {
                            Ok(None) => {}
                            Ok(Some(ahead)) => {
                                view.tell_lost(&id, ahead);
                                continue;
                            }
                            Err(error) => {
                                tracing::warn!(dataset = %id, %error, "rows of a dataset that the catalogue does not know stay");
                                continue;
                            }
                        }
                    }
                    if let Err(error) = view.forget(&id).await {
                        tracing::warn!(dataset = %id, %error, "rows of a deleted dataset stay until the next start");
                    }
                }
                // A task that found its dataset gone has ended by itself; the dataset may be back.
                followed.retain(|_, (_, task)| !task.is_finished());
                for id in ids {
                    followed.entry(id.clone()).or_insert_with(|| {
                        let stop = token.child_token();
                        let catalogue = catalogue.clone();
                        let target = move || target(&catalogue, &id);
                        let task = view.follow_one(log.clone(), high_waters.clone(), target, stop.clone(), &on);
                        (stop, task)
                    });
                }
                tokio::select! {
                    () = token.cancelled() => return,
                    changed = changes.changed() => if changed.is_err() { return },
                }
            }
        });
    }

    /// Follows one dataset until it is told to stop or `target` no longer knows it.
    pub(super) fn follow_one(
        self: &Arc<Self>,
        log: Arc<dyn Log>,
        high_waters: Arc<HighWaters>,
        target: impl Fn() -> Option<Target> + Send + Sync + 'static,
        stop: CancellationToken,
        tasks: &Tasks,
    ) -> JoinHandle<()> {
        let follower = Follower { view: self.clone(), log, high_waters, target: Box::new(target), stop };
        tasks.spawn("view-dataset", async move { follower.run().await })
    }
}

fn target(catalogue: &Catalogue, id: &DatasetId) -> Option<Target> {
    let snapshot = catalogue.snapshot();
    let dataset = snapshot.dataset(id.as_str())?;
    Some(Target {
        id: dataset.id.clone(),
        topic: dataset.topic.clone(),
        // Without its standard no record can be indexed: the rows stay as they are until software comes that compiles it.
        compiled: dataset.compiled.clone()?,
        retention_ms: dataset.retention_ms,
    })
}

/// Rows made with another standard have other indexes, and those of other software another layout.
fn description(target: &Target) -> Vec<u8> {
    [target.compiled.name().as_bytes(), b"\0", target.compiled.digest(), &[ROW_VERSION]].concat()
}

struct Follower {
    view: Arc<View>,
    log: Arc<dyn Log>,
    high_waters: Arc<HighWaters>,
    target: Box<dyn Fn() -> Option<Target> + Send + Sync>,
    stop: CancellationToken,
}

impl Follower {
    async fn run(self) {
        let (sender, mut requests) = mpsc::channel(REQUESTS_MAX);
        let mut delay = RETRY_MIN;
        while let Some(target) = (self.target)() {
            let mut progress = false;
            let given_up = self.view.given_up();
            // What is still being written when the store is given up ends before the store is opened again, which nobody can who is not alone with it.
            let ended =
                given_up.run_until_cancelled(self.session(&target, &sender, &mut requests, &mut progress)).await;
            let ended = ended.unwrap_or(Err(Error::Reopening));
            if self.stop.is_cancelled() {
                break;
            }
            let Err(error) = ended else { continue };
            self.view.trouble.note(&error);
            if matches!(error, Error::Reopening) || store::is_poisoned(&error) {
                tokio::select! {
                    () = self.stop.cancelled() => break,
                    () = self.view.mend(&given_up, &error) => {}
                }
                if matches!(error, Error::Reopening) {
                    continue;
                }
            }
            if progress {
                delay = RETRY_MIN;
            }
            self.view.options.metrics.failures.get_or_create(&Metrics::labels(&target.id)).inc();
            tracing::warn!(dataset = %target.id, error = %chain(&error), "view lost its place in the log and takes it up again");
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(delay) => delay = (delay * 2).min(RETRY_MAX),
            }
        }
    }

    /// Follows until it is told to stop or something else must be done first: `Ok` after a rebuild. What writes the store runs to its end either way, so
    /// that nobody writes beside the next session.
    async fn session(
        &self,
        target: &Target,
        sender: &mpsc::Sender<Request>,
        requests: &mut mpsc::Receiver<Request>,
        progress: &mut bool,
    ) -> Result<(), Error> {
        let applied = self.view.applied(&target.id);
        // Asked once: a round trip for each dataset.
        let bounds = self.log.bounds(&target.topic).await?;
        if let Some(held) = self.view.held(&target.id)
            && let Some(ahead) = ahead(&applied, &bounds)
        {
            *held.requests.lock() = Some(sender.clone());
            return self.keep(target, &held, ahead, requests).await;
        }
        let held = self.hold(target, &bounds).await?;
        *held.requests.lock() = Some(sender.clone());
        let mut applier = self.load(target, held.space.load(Ordering::Acquire), &bounds).await?;
        let from: Vec<_> = (0_u32..).zip(applier.next().iter().copied()).collect();
        let mut reader = match self.log.read(&target.topic, &from).await {
            Err(log::Error::OutOfRange { .. }) => {
                tracing::warn!(dataset = %target.id, "the log no longer holds the view's position; building the view anew");
                let until = self.log.bounds(&target.topic).await?.iter().map(|bounds| bounds.next).collect();
                return self.build(target, &held, until).await;
            }
            opened => opened?,
        };
        let mut upkeep = tokio::time::interval(self.view.options.upkeep_interval);
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let interval = self.high_water_interval(target);
        let mut raised_at: Option<Instant> = None;
        let mut prune_at: Option<Instant> = None;
        let mut raising = std::pin::pin!(Fuse::terminated());
        let mut restating = std::pin::pin!(Fuse::terminated());
        // The next round waits until what the last one said is read back.
        let mut restated = Vec::new();
        let mut more_to_restate = false;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    raising.set(Fuse::terminated());
                    drop(tokio::time::timeout(LAST_WORD_MAX, self.raise(target, &applier)).await);
                    return Ok(());
                }
                () = &mut raising, if !raising.is_terminated() => {}
                said = &mut restating, if !restating.is_terminated() => restated = said,
                request = requests.recv() => {
                    let Some(Request::Rebuild(answer)) = request else { return Err(Error::Closed) };
                    let rebuilt = self.rebuild(target, &held, applier).await;
                    // Nobody may be waiting any more; the rebuild stands all the same.
                    drop(answer.send(rebuilt));
                    return Ok(());
                }
                _ = upkeep.tick() => {
                    self.measure(target, applier.next()).await?;
                    let Some(newest) = (self.target)() else { return Ok(()) };
                    // What is applied, removed and written down of the sources goes by the retention, too.
                    if description(&newest) != description(target) || newest.retention_ms != target.retention_ms {
                        return Ok(());
                    }
                    (applier, prune_at) = self.prune(target, applier).await?;
                    let is_due = raised_at.is_none_or(|last| last.elapsed() >= interval);
                    if raising.is_terminated() && is_due {
                        raised_at = Some(Instant::now());
                        raising.set(self.raise(target, &applier).fuse());
                    }
                    let goes_on = is_due || more_to_restate;
                    if restating.is_terminated() && goes_on && restate::is_read(applier.next(), &restated) {
                        let entries;
                        (applier, entries, more_to_restate) = self.restatements(applier).await?;
                        if !entries.is_empty() {
                            restating.set(restate::append(self.log.clone(), target, entries).fuse());
                        }
                    }
                }
                () = tokio::time::sleep_until(prune_at.unwrap_or_else(Instant::now)), if prune_at.is_some() => {
                    (applier, prune_at) = self.prune(target, applier).await?;
                }
                entries = reader.next(self.view.options.batch_entries_max, self.view.options.batch_bytes_max) => {
                    applier = self.apply(target, applier, entries?).await?;
                    held.applied.send_replace(applier.next().to_vec());
                    *progress = true;
                }
            }
        }
    }

    /// Leaves rows of which the log has lost the entries as they are, until an operator accepts that, or the dataset goes.
    async fn keep(
        &self,
        target: &Target,
        held: &Arc<Held>,
        ahead: Ahead,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<(), Error> {
        self.view.tell_lost(&target.id, ahead);
        let mut upkeep = tokio::time::interval(self.view.options.upkeep_interval);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                request = requests.recv() => {
                    let Some(Request::Rebuild(answer)) = request else { return Err(Error::Closed) };
                    let loaded = match self.log.bounds(&target.topic).await {
                        Ok(bounds) => self.load(target, held.space.load(Ordering::Acquire), &bounds).await,
                        Err(error) => Err(error.into()),
                    };
                    let rebuilt = match loaded {
                        Ok(applier) => self.rebuild(target, held, applier).await,
                        Err(error) => Err(error),
                    };
                    if rebuilt.is_ok() {
                        self.view.lost.lock().remove(&target.id);
                    }
                    drop(answer.send(rebuilt));
                    return Ok(());
                }
                _ = upkeep.tick() => if (self.target)().is_none() { return Ok(()) },
            }
        }
    }

    /// The dataset's live rows: those found at opening, new ones at the log's beginning, or rows made anew for another standard.
    async fn hold(&self, target: &Target, bounds: &[Bounds]) -> Result<Arc<Held>, Error> {
        if let Some(held) = self.view.held(&target.id) {
            let (store, space) = (self.view.store()?, held.space.load(Ordering::Acquire));
            let made_with = blocking(move || store.description(space)).await?;
            if made_with != description(target) {
                tracing::info!(dataset = %target.id, "the record type has changed; building the view anew");
                let until = held.applied.borrow().clone();
                self.build(target, &held, until).await?;
            }
            return Ok(held);
        }
        let first = self.begin(target, bounds).await?;
        let (store, id) = (self.view.store()?, target.id.clone());
        let (space, applied) = blocking(move || {
            store.make_live(&id, first, None)?;
            Ok((first, store.applied(first)?))
        })
        .await?;
        let held = Arc::new(Held::new(space, applied));
        self.view.datasets.write().insert(target.id.clone(), held.clone());
        self.view.opened.send_replace(());
        Ok(held)
    }

    /// An empty space that begins where the log does.
    async fn begin(&self, target: &Target, bounds: &[Bounds]) -> Result<Space, Error> {
        let first: Vec<_> = bounds.iter().map(|bounds| bounds.first).collect();
        let (store, id, description) = (self.view.store()?, target.id.clone(), description(target));
        blocking(move || store.begin_space(&id, &description, &first)).await
    }

    async fn load(&self, target: &Target, space: Space, bounds: &[Bounds]) -> Result<Applier, Error> {
        let ends: Vec<_> = bounds.iter().map(|bounds| bounds.next).collect();
        let (store, id) = (self.view.store()?, target.id.clone());
        let marks = self.high_waters.marks(&target.id, &ends);
        blocking(move || Applier::load(&store, &id, space, marks)).await
    }

    fn high_water_interval(&self, target: &Target) -> Duration {
        self.view.options.high_water_interval.min(Duration::from_millis(target.retention_ms / 8))
    }

    /// Writes down what was seen of the sources. The next time makes up for a failure.
    fn raise(&self, target: &Target, applier: &Applier) -> impl Future<Output = ()> + Send + use<> {
        let (high_waters, id, seen) = (self.high_waters.clone(), target.id.clone(), applier.seen());
        async move {
            if let Err(error) = high_waters.raise(&id, &seen).await {
                tracing::warn!(dataset = %id, %error, "how far the sources came is not written down yet");
            }
        }
    }

    async fn restatements(&self, applier: Applier) -> Result<(Applier, Vec<log::Entry>, bool), Error> {
        let now_ms = self.view.options.clock.now_ms();
        blocking(move || {
            let (entries, more) = applier.restatements(now_ms)?;
            Ok((applier, entries, more))
        })
        .await
    }

    async fn apply(&self, target: &Target, mut applier: Applier, entries: Vec<StoredEntry>) -> Result<Applier, Error> {
        let given = target.clone();
        let (applier, tally) = blocking(move || {
            let tally = applier.apply(&given, &entries)?;
            Ok((applier, tally))
        })
        .await?;
        self.view.options.metrics.count(&target.id, tally);
        Ok(applier)
    }

    /// Removes some of what is too old. Says when to go on where more may be left: as much time as this took belongs to reading first.
    async fn prune(&self, target: &Target, mut applier: Applier) -> Result<(Applier, Option<Instant>), Error> {
        let cutoff_ms = self.view.options.clock.now_ms().saturating_sub_unsigned(target.retention_ms);
        let begun = Instant::now();
        let (applier, more) = blocking(move || {
            let more = applier.prune(cutoff_ms, PRUNE_ROWS_MAX)?;
            Ok((applier, more))
        })
        .await?;
        Ok((applier, more.then(|| Instant::now() + begun.elapsed().max(PRUNE_PAUSE_MIN))))
    }

    async fn measure(&self, target: &Target, applied: &[u64]) -> Result<(), Error> {
        let bounds = self.log.bounds(&target.topic).await?;
        let lag: u64 = bounds.iter().zip(applied).map(|(bounds, next)| bounds.next.saturating_sub(*next)).sum();
        let labels = Metrics::labels(&target.id);
        self.view.options.metrics.lag.get_or_create(&labels).set(i64::try_from(lag).unwrap_or(i64::MAX));
        Ok(())
    }

    async fn rebuild(&self, target: &Target, held: &Arc<Held>, mut applier: Applier) -> Result<Rebuilt, Error> {
        let until = applier.next().to_vec();
        let cutoff_ms = self.view.options.clock.now_ms().saturating_sub_unsigned(target.retention_ms);
        // Both sides are pruned to the same moment, or the digests would tell only that time has passed.
        blocking(move || applier.prune_all(cutoff_ms, PRUNE_ROWS_MAX)).await?;
        let (view, id) = (self.view.clone(), target.id.clone());
        let before = blocking(move || view.digest(&id)).await?;
        self.build_pruned(target, held, until, cutoff_ms).await?;
        let (view, id) = (self.view.clone(), target.id.clone());
        let after = blocking(move || view.digest(&id)).await?;
        Ok(Rebuilt { before, after })
    }

    async fn build(&self, target: &Target, held: &Arc<Held>, until: Vec<u64>) -> Result<(), Error> {
        let cutoff_ms = self.view.options.clock.now_ms().saturating_sub_unsigned(target.retention_ms);
        self.build_pruned(target, held, until, cutoff_ms).await
    }

    /// Builds rows from the log's beginning up to `until`, and puts them in the place of the live ones.
    async fn build_pruned(
        &self,
        target: &Target,
        held: &Arc<Held>,
        until: Vec<u64>,
        cutoff_ms: i64,
    ) -> Result<(), Error> {
        let bounds = self.log.bounds(&target.topic).await?;
        let space = self.begin(target, &bounds).await?;
        let built = self.fill(target, space, &until, cutoff_ms, &bounds).await;
        let (store, id) = (self.view.store()?, target.id.clone());
        let applied = match built {
            Ok(applied) => applied,
            Err(error) => {
                blocking(move || store.drop_space(space)).await?;
                return Err(error);
            }
        };
        let old = held.space.load(Ordering::Acquire);
        blocking(move || store.make_live(&id, space, Some(old))).await?;
        held.space.store(space, Ordering::Release);
        held.applied.send_replace(applied);
        self.view.options.metrics.rebuilds.get_or_create(&Metrics::labels(&target.id)).inc();
        let store = self.view.store()?;
        blocking(move || store.drop_space(old)).await
    }

    async fn fill(
        &self,
        target: &Target,
        space: Space,
        until: &[u64],
        cutoff_ms: i64,
        end: &[Bounds],
    ) -> Result<Vec<u64>, Error> {
        let mut applier = self.load(target, space, end).await?;
        let from: Vec<_> = (0_u32..).zip(applier.next().iter().copied()).collect();
        let mut reader = self.log.read(&target.topic, &from).await?;
        let below = |entry: &StoredEntry| {
            let limit = usize::try_from(entry.partition).ok().and_then(|partition| until.get(partition));
            limit.is_some_and(|limit| entry.offset < *limit)
        };
        // Also entries from `until` on tell that everything before them has been read: what lay there may have been compacted away.
        let mut reached = applier.next().to_vec();
        while is_behind(&reached, until, end) {
            let mut entries = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Error::Closed),
                entries = reader.next(self.view.options.batch_entries_max, self.view.options.batch_bytes_max) => entries?,
            };
            for entry in &entries {
                let partition = usize::try_from(entry.partition).ok();
                if let Some(reached) = partition.and_then(|partition| reached.get_mut(partition)) {
                    *reached = entry.offset + 1;
                }
            }
            entries.retain(below);
            applier = self.apply(target, applier, entries).await?;
        }
        let applied = applier.next().to_vec();
        blocking(move || applier.prune_all(cutoff_ms, PRUNE_ROWS_MAX)).await?;
        Ok(applied)
    }
}

/// Whether something below `until` has yet to be read, as far as the log goes at all: it may have lost its end, and an operator has accepted that.
fn is_behind(next: &[u64], until: &[u64], end: &[Bounds]) -> bool {
    next.iter().zip(until).zip(end).any(|((next, until), end)| *next < (*until).min(end.next))
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // A panic in the store's thread; the task's own error handling takes it up again.
        Err(_) => Err(Error::Closed),
    }
}
