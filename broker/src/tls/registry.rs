//! Every connection that is open, counted against its bounds and held ready to be cut.
//!
//! Who has not finished its handshake is nobody yet, and may be anybody: such a socket keeps its place only as long as nobody else needs it. Where a bound is
//! reached, the oldest of them goes, of the same address where that has its share, else of the address that has the most. An honest handshake is over
//! in a few round trips; whoever wants to push it out must in that time open as many sockets as the bound allows.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    net::IpAddr,
    sync::Arc,
};

use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use super::{Metrics, connection::Cut};
use crate::exchange::{identity::Identity, model::DepartmentAlias};

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) total: usize,
    pub(super) per_address: usize,
    pub(super) per_department: usize,
    /// Of the total, those whose handshake is not over.
    pub(super) handshakes: usize,
    pub(super) handshakes_per_address: usize,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("the node has too many connections")]
    Total,
    #[error("the address has too many connections")]
    Address,
    #[error("the department has too many connections")]
    Department,
    #[error("its handshake was not over when others needed the place")]
    Displaced,
}

impl Full {
    pub(super) fn outcome(self) -> &'static str {
        match self {
            Self::Total => "refused_total",
            Self::Address => "refused_address",
            Self::Department => "refused_department",
            Self::Displaced => "displaced",
        }
    }
}

/// One live connection.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) chain: Arc<[CertificateDer<'static>]>,
    /// The last second in which its certificate holds, since 1970.
    pub(super) not_after_s: i64,
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
    addresses: HashMap<IpAddr, Address>,
    /// Handshakes that are not over, by their number, which is also their order.
    handshakes: BTreeMap<u64, Handshake>,
    /// The addresses of these, by how many each has; of equals, the one with the oldest comes last.
    crowds: BTreeSet<(usize, Reverse<u64>, IpAddr)>,
    /// `None`: certificates without identity share one count.
    departments: HashMap<Option<DepartmentAlias>, usize>,
    live: HashMap<u64, Live>,
    next: u64,
}

/// What one address has open.
#[derive(Debug, Default)]
struct Address {
    connections: usize,
    /// Of these, the handshakes that are not over.
    handshakes: BTreeSet<u64>,
}

impl Address {
    fn crowd(&self, address: IpAddr) -> Option<(usize, Reverse<u64>, IpAddr)> {
        self.handshakes.first().map(|oldest| (self.handshakes.len(), Reverse(*oldest), address))
    }
}

#[derive(Debug)]
struct Handshake {
    address: IpAddr,
    displaced: CancellationToken,
}

impl State {
    /// The handshake that has to go so that there is room for one more of the address; `None` where there is.
    fn in_the_way(&mut self, limits: &Limits, address: IpAddr) -> Result<Option<u64>, Full> {
        if let Some(own) = self.addresses.get(&address)
            && (own.connections >= limits.per_address || own.handshakes.len() >= limits.handshakes_per_address)
        {
            return own.handshakes.first().copied().map(Some).ok_or(Full::Address);
        }
        if self.total >= limits.total || self.handshakes.len() >= limits.handshakes {
            return self.crowds.last().map(|(_, Reverse(oldest), _)| Some(*oldest)).ok_or(Full::Total);
        }
        Ok(None)
    }

    /// Changes the handshakes of an address, which changes where it stands among the others.
    fn change(&mut self, address: IpAddr, change: impl FnOnce(&mut BTreeSet<u64>)) {
        let own = self.addresses.entry(address).or_default();
        if let Some(crowd) = own.crowd(address) {
            self.crowds.remove(&crowd);
        }
        change(&mut own.handshakes);
        self.crowds.extend(own.crowd(address));
    }

    fn open(&mut self, address: IpAddr) -> (u64, CancellationToken) {
        let (number, displaced) = (self.next, CancellationToken::new());
        self.next += 1;
        self.total += 1;
        self.handshakes.insert(number, Handshake { address, displaced: displaced.clone() });
        self.addresses.entry(address).or_default().connections += 1;
        self.change(address, |own| {
            own.insert(number);
        });
        (number, displaced)
    }

    /// Takes one from the handshakes that are not over; `None` where it is not among them.
    fn finish(&mut self, number: u64) -> Option<Handshake> {
        let found = self.handshakes.remove(&number)?;
        self.change(found.address, |own| {
            own.remove(&number);
        });
        Some(found)
    }

    /// Gives a connection's place back. An address at zero is forgotten: the map is as large as what is connected now.
    fn close(&mut self, address: IpAddr) {
        self.total -= 1;
        if let Some(own) = self.addresses.get_mut(&address) {
            own.connections -= 1;
            if own.connections == 0 {
                self.addresses.remove(&address);
            }
        }
    }
}

impl Registry {
    pub(super) fn new(limits: Limits, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { limits, metrics, state: Mutex::default() })
    }

    /// Counts a connection before its first byte.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Slot, Full> {
        let mut state = self.state.lock();
        let goes = state.in_the_way(&self.limits, address)?;
        if let Some(goes) = goes.and_then(|number| state.finish(number)) {
            // Its place is free at once; its task closes the socket when it gets to it.
            state.close(goes.address);
            self.metrics.connections.dec();
            goes.displaced.cancel();
        }
        let (number, displaced) = state.open(address);
        self.metrics.connections.inc();
        Ok(Slot { registry: self.clone(), address, number, displaced })
    }

    /// All live connections.
    pub(super) fn live(&self) -> Vec<Live> {
        self.state.lock().live.values().cloned().collect()
    }

    /// Live connections whose certificate ended before this second, without those that are being cut.
    pub(super) fn ended(&self, now_s: i64) -> Vec<Live> {
        let state = self.state.lock();
        let ended = state.live.values().filter(|live| live.not_after_s < now_s && !live.revoked.is_cancelled());
        ended.cloned().collect()
    }
}

/// A place in the counts, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    registry: Arc<Registry>,
    address: IpAddr,
    number: u64,
    displaced: CancellationToken,
}

impl Slot {
    /// Cancelled when another connection has got the place; never after [`Slot::enter`].
    pub(super) fn displaced(&self) -> CancellationToken {
        self.displaced.clone()
    }

    /// Makes the connection one that can be cut, once it is known whose it is.
    pub(super) fn enter(&mut self, live: Live) -> Result<(), Full> {
        let mut state = self.registry.state.lock();
        if !state.handshakes.contains_key(&self.number) {
            return Err(Full::Displaced);
        }
        let department = live.identity.as_ref().map(|identity| identity.department.clone());
        add(&mut state.departments, department, self.registry.limits.per_department).ok_or(Full::Department)?;
        state.finish(self.number);
        state.live.insert(self.number, live);
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.registry.state.lock();
        let live = state.live.remove(&self.number);
        if live.is_none() && state.finish(self.number).is_none() {
            // Displaced: its place was given back then.
            return;
        }
        state.close(self.address);
        if let Some(live) = live {
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

/// Forgets a key at zero: the map is as large as what is connected now.
fn subtract<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    let std::collections::hash_map::Entry::Occupied(mut entry) = counts.entry(key) else { return };
    *entry.get_mut() -= 1;
    if *entry.get() == 0 {
        entry.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { total: 4, per_address: 2, per_department: 2, handshakes: 4, handshakes_per_address: 2 };

    fn live(department: &str) -> Live {
        let uri = format!("spiffe://x/department/{department}/system/a");
        Live {
            chain: Arc::new([]),
            not_after_s: 100,
            identity: Some(Arc::new(Identity::parse(&uri, "x", "01".into()).expect("well-formed"))),
            revoked: CancellationToken::new(),
            cut: Arc::new(Cut::default()),
        }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn empty(registry: &Registry) -> bool {
        let state = registry.state.lock();
        let open = state.total + state.live.len() + state.handshakes.len() + state.crowds.len();
        open == 0
            && state.addresses.is_empty()
            && state.departments.is_empty()
            && registry.metrics.connections.get() == 0
    }

    #[test]
    fn each_bound_refuses_the_next_connection_and_a_closed_one_makes_room() {
        let registry = Registry::new(LIMITS, Metrics::default());
        let mut first = registry.admit(address(1)).expect("room");
        let mut second = registry.admit(address(1)).expect("room");
        first.enter(live("taxation")).expect("room");
        second.enter(live("taxation")).expect("room");
        assert_eq!(registry.admit(address(1)).expect_err("address"), Full::Address);
        let mut third = registry.admit(address(2)).expect("room");
        assert_eq!(third.enter(live("taxation")), Err(Full::Department));
        third.enter(live("customs")).expect("another department");
        let mut fourth = registry.admit(address(3)).expect("room");
        fourth.enter(live("customs")).expect("room");
        assert_eq!(registry.admit(address(4)).expect_err("total"), Full::Total);
        assert_eq!(registry.live().len(), 4);
        drop(third);
        drop(registry.admit(address(4)).expect("room again"));
        drop((first, second, fourth));
        assert!(empty(&registry));
    }

    #[test]
    fn an_unfinished_handshake_gives_its_place_to_the_next_and_a_finished_one_never() {
        let registry = Registry::new(LIMITS, Metrics::default());
        let mut stays = registry.admit(address(1)).expect("room");
        let silent = registry.admit(address(1)).expect("room");
        stays.enter(live("taxation")).expect("room");
        // The address is full: what it has open and says nothing goes.
        let mut next = registry.admit(address(1)).expect("the silent one goes");
        assert!(silent.displaced().is_cancelled() && !stays.displaced().is_cancelled());
        next.enter(live("taxation")).expect("room");
        let mut late = silent;
        assert_eq!(late.enter(live("customs")), Err(Full::Displaced));
        drop(late);
        assert_eq!(registry.state.lock().total, 2, "given back once");

        // The node is full.
        let alone = registry.admit(address(2)).expect("room");
        let crowd = registry.admit(address(3)).expect("room");
        assert!(!alone.displaced().is_cancelled());
        let fifth = registry.admit(address(4)).expect("of equals the oldest goes");
        assert!(alone.displaced().is_cancelled() && !crowd.displaced().is_cancelled());
        drop((stays, next, alone, crowd, fifth));
        assert!(empty(&registry));
    }

    #[test]
    fn many_silent_sockets_displace_their_own_kind() {
        let limits =
            Limits { total: 100, per_address: 50, per_department: 2, handshakes: 8, handshakes_per_address: 4 };
        let registry = Registry::new(limits, Metrics::default());
        let mut honest = registry.admit(address(9)).expect("room");
        let silent: Vec<_> = (0..200).map(|n| registry.admit(address(n % 5)).expect("room")).collect();
        assert_eq!(silent.iter().filter(|one| !one.displaced().is_cancelled()).count(), 7);
        honest.enter(live("taxation")).expect("older than all of them, and still there");
        drop((honest, silent));
        assert!(empty(&registry));
    }

    #[test]
    fn who_has_ended_is_told_until_it_is_being_cut() {
        let registry = Registry::new(LIMITS, Metrics::default());
        let mut slot = registry.admit(address(1)).expect("room");
        let one = live("taxation");
        slot.enter(one.clone()).expect("room");
        assert_eq!((registry.ended(100).len(), registry.ended(101).len()), (0, 1), "its last second counts");
        one.revoked.cancel();
        assert!(registry.ended(101).is_empty());
    }
}
