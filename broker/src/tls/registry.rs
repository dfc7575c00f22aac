//! Every connection that is open, counted against its bounds and held ready to be cut.

use std::{collections::HashMap, hash::Hash, net::IpAddr, sync::Arc};

use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Metrics, connection::Cut};
use crate::exchange::{identity::Identity, model::DepartmentAlias};

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) total: usize,
    pub(super) per_address: usize,
    pub(super) per_department: usize,
    /// Handshakes at once of one address; not a reason to refuse, see [`Slot::turns`].
    pub(super) handshakes_per_address: usize,
}

/// Which bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Total,
    Address,
    Department,
}

impl Full {
    pub(super) fn outcome(self) -> &'static str {
        match self {
            Self::Total => "refused_total",
            Self::Address => "refused_address",
            Self::Department => "refused_department",
        }
    }
}

/// One live connection.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) chain: Arc<[CertificateDer<'static>]>,
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) revoked: CancellationToken,
    pub(super) cut: Arc<Cut>,
}

#[derive(Debug)]
pub(super) struct Registry {
    limits: Limits,
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    total: usize,
    addresses: HashMap<IpAddr, usize>,
    /// Of the same addresses.
    turns: HashMap<IpAddr, Arc<Semaphore>>,
    /// `None`: certificates without identity share one count.
    departments: HashMap<Option<DepartmentAlias>, usize>,
    live: HashMap<u64, Live>,
    next: u64,
}

impl Registry {
    pub(super) fn new(limits: Limits, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { limits, metrics, state: Mutex::default() })
    }

    /// Counts a connection from its first byte on.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Slot, Full> {
        let mut state = self.state.lock();
        if state.total >= self.limits.total {
            return Err(Full::Total);
        }
        add(&mut state.addresses, address, self.limits.per_address).ok_or(Full::Address)?;
        state.total += 1;
        let fresh = || Arc::new(Semaphore::new(self.limits.handshakes_per_address));
        let turns = state.turns.entry(address).or_insert_with(fresh).clone();
        self.metrics.connections.inc();
        Ok(Slot { registry: self.clone(), address, turns, live: None })
    }

    /// All live connections.
    pub(super) fn live(&self) -> Vec<Live> {
        self.state.lock().live.values().cloned().collect()
    }
}

/// A place in the counts, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    registry: Arc<Registry>,
    address: IpAddr,
    turns: Arc<Semaphore>,
    live: Option<u64>,
}

impl Slot {
    /// The handshakes that its address may have at once.
    pub(super) fn turns(&self) -> Arc<Semaphore> {
        self.turns.clone()
    }

    /// Makes the connection one that can be cut, once it is known whose it is.
    pub(super) fn enter(&mut self, live: Live) -> Result<(), Full> {
        let mut state = self.registry.state.lock();
        let department = live.identity.as_ref().map(|identity| identity.department.clone());
        add(&mut state.departments, department, self.registry.limits.per_department).ok_or(Full::Department)?;
        let id = state.next;
        state.next += 1;
        state.live.insert(id, live);
        self.live = Some(id);
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.registry.state.lock();
        state.total -= 1;
        if subtract(&mut state.addresses, self.address) {
            state.turns.remove(&self.address);
        }
        if let Some(live) = self.live.and_then(|id| state.live.remove(&id)) {
            subtract(&mut state.departments, live.identity.as_ref().map(|identity| identity.department.clone()));
        }
        self.registry.metrics.connections.dec();
    }
}

fn add<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K, limit: usize) -> Option<()> {
    let count = counts.entry(key).or_default();
    if *count >= limit {
        return None;
    }
    *count += 1;
    Some(())
}

/// Forgets a key at zero, and says so: the map is as large as what is connected now.
fn subtract<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) -> bool {
    let std::collections::hash_map::Entry::Occupied(mut entry) = counts.entry(key) else { return false };
    *entry.get_mut() -= 1;
    let gone = *entry.get() == 0;
    if gone {
        entry.remove();
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(department: &str) -> Live {
        let uri = format!("spiffe://x/department/{department}/system/a");
        Live {
            chain: Arc::new([]),
            identity: Some(Arc::new(Identity::parse(&uri, "x", "01".into()).expect("well-formed"))),
            revoked: CancellationToken::new(),
            cut: Arc::new(Cut::default()),
        }
    }

    #[test]
    fn each_bound_refuses_the_next_connection_and_a_closed_one_makes_room() {
        let limits = Limits { total: 4, per_address: 2, per_department: 2, handshakes_per_address: 1 };
        let registry = Registry::new(limits, Metrics::default());
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut first = registry.admit(address(1)).expect("room");
        let mut second = registry.admit(address(1)).expect("room");
        assert_eq!(registry.admit(address(1)).expect_err("address"), Full::Address);
        let mut third = registry.admit(address(2)).expect("room");
        first.enter(live("taxation")).expect("room");
        second.enter(live("taxation")).expect("room");
        assert_eq!(third.enter(live("taxation")), Err(Full::Department));
        third.enter(live("customs")).expect("another department");
        let fourth = registry.admit(address(3)).expect("room");
        assert_eq!(registry.admit(address(4)).expect_err("total"), Full::Total);
        assert_eq!(registry.live().len(), 3);
        drop((first, second, third, fourth));
        let state = registry.state.lock();
        assert_eq!((state.total, state.live.len()), (0, 0));
        assert!(state.addresses.is_empty() && state.turns.is_empty() && state.departments.is_empty());
    }
}
