//! Follows the files: replaces what is in force, and cuts whoever is no longer trusted.
//!
//! The files are read whole every second instead of asking the file system for events: they are small, a read works on every mount (secrets are often
//! swapped by renaming a directory), and equal bytes mean nothing happened.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Acceptor, Error,
    material::{Raw, Trust},
    registry::Live,
};
use crate::{exchange::clock::Clock, shutdown::Tasks};

/// What else a verdict depends on ends by time as well (an intermediate certificate, a revocation list): all are judged this often without any file having
/// changed.
const JUDGE_INTERVAL: Duration = Duration::from_secs(60);
/// How often an old revocation list is complained about.
const COMPLAIN_INTERVAL: Duration = Duration::from_secs(3600);
/// Connections judged before other tasks get their turn.
const JUDGED_AT_ONCE: usize = 16;

pub(super) async fn run(acceptor: Arc<Acceptor>, mut seen: [u8; 32], tasks: Tasks) {
    let token = tasks.token();
    let mut judged = Instant::now();
    let mut complained: Option<Instant> = None;
    let mut unreadable = false;
    report(&acceptor);
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(acceptor.options.reload_interval) => {}
        }
        let mut replaced = false;
        match Raw::read(&acceptor.options.files).await {
            Ok(raw) => {
                unreadable = false;
                let digest = raw.digest();
                if digest != seen {
                    // Also after a failure: the same broken bytes are not tried, and not logged, again.
                    seen = digest;
                    replaced = replace(&acceptor, &raw);
                }
            }
            Err(error) if !unreadable => {
                unreadable = true;
                failed(&acceptor, &error);
            }
            Err(_) => {}
        }
        if replaced || judged.elapsed() >= JUDGE_INTERVAL {
            judged = Instant::now();
            judge(&acceptor, acceptor.registry.live(), &tasks).await;
        } else {
            // A certificate's own end is known beforehand.
            judge(&acceptor, acceptor.registry.ended(now_s()), &tasks).await;
        }
        if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_INTERVAL) && list_is_old(&acceptor) {
            complained = Some(Instant::now());
            tracing::warn!("a revocation list is past its nextUpdate: revocations since then are not known here");
        }
    }
}

fn replace(acceptor: &Acceptor, raw: &Raw) -> bool {
    match Trust::build(raw, &acceptor.options.files, acceptor.options.crl_expiry) {
        Ok(trust) => {
            acceptor.trust.store(Arc::new(trust));
            acceptor.metrics.reload("replaced");
            report(acceptor);
            tracing::info!("certificate files replaced");
            true
        }
        Err(error) => {
            failed(acceptor, &error);
            false
        }
    }
}

fn failed(acceptor: &Acceptor, error: &Error) {
    acceptor.metrics.reload("failed");
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(%error, cause, "certificate files cannot be used: the former ones stay in force");
}

fn report(acceptor: &Acceptor) {
    let trust = acceptor.trust.load();
    acceptor.metrics.crl_next_update.set(trust.next_update.unwrap_or(0));
    acceptor.metrics.certificate_not_after.set(trust.not_after);
}

fn list_is_old(acceptor: &Acceptor) -> bool {
    acceptor.trust.load().next_update.is_some_and(|end| end < now_s())
}

/// As the verifier counts them.
fn now_s() -> i64 {
    Clock::system().now_ms().div_euclid(1000)
}

/// Judges live connections, and cuts those that would not be let in now.
async fn judge(acceptor: &Acceptor, live: Vec<Live>, tasks: &Tasks) {
    let trust = acceptor.trust.load_full();
    let mut cut = Vec::new();
    for (count, live) in live.into_iter().enumerate() {
        if count % JUDGED_AT_ONCE == JUDGED_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        if live.revoked.is_cancelled() {
            continue;
        }
        if let Err(error) = trust.judge(&live.chain) {
            // The department and the number: the end of a person's SPIFFE id is a name.
            let (department, serial) = live
                .identity
                .as_ref()
                .map_or(("", ""), |identity| (identity.department.as_str(), identity.certificate_serial.as_str()));
            tracing::warn!(%error, department, serial, "a live connection's certificate lost its force: cutting it");
            acceptor.metrics.cut.inc();
            live.revoked.cancel();
            cut.push(live.cut);
        }
    }
    if !cut.is_empty() {
        let delay = acceptor.options.cut_delay;
        let token = tasks.token();
        tasks.spawn("tls cut", async move {
            // Draining ends every connection anyway; no need to keep the process waiting.
            tokio::select! { () = tokio::time::sleep(delay) => {} () = token.cancelled() => {} }
            cut.iter().for_each(|cut| cut.fire());
        });
    }
}
