//! What one thread has of the backends: their addresses as it knows them, its idle connections to
//! each, and its requests under way.
//!
//! A connection comes back only when its last exchange ended cleanly, and is tried before it is
//! used again: a backend may have closed it, and one that sent bytes unasked is not trusted to
//! answer the next request. It serves requests for the address, the upstream and the trust that it
//! was made for, and no others.
//!
//! Which addresses there are is for `endpoint` to say, whether one can be used for `condition`; which
//! of them gets a request is decided here, with `choice` and `affinity`. `connection` makes one.

pub mod affinity;
mod budget;
mod choice;
pub mod condition;
pub mod connection;
pub mod endpoint;
pub mod http2;
mod places;
pub mod probe;
pub mod transport;

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::spec::balance::Balance;
use super::spec::{ServerRole, UpstreamSpec};
use crate::proxy_protocol::Header;
use affinity::Affinity;
use budget::Budget;
use choice::Candidate;
use condition::Usable;
use connection::{ConnectFailure, UpstreamConnection};
use endpoint::{Endpoint, Endpoints, Upstream};
use http2::{Http2Connections, Place, Sharing};
use places::Held;

/// The backends as one thread has them.
pub struct UpstreamPool {
    /// In the order of their ids. Only its own thread takes this lock, so nobody ever waits for it.
    backends: Mutex<Vec<Backend>>,
}

/// One of them.
struct Backend {
    /// Its addresses at this moment.
    current: Cache<Arc<ArcSwap<Endpoints>>, Arc<Endpoints>>,
    /// Those that `slots` were made of.
    known: Arc<Endpoints>,
    slots: Vec<Slot>,
    /// Room for requests.
    places: Held,
    budget: Budget,
}

/// One address of it.
struct Slot {
    destination: Arc<Destination>,
    /// See [`choice::take_turn`].
    turn: i64,
    /// The last used comes last.
    idle: Vec<Idle>,
}

/// An address as one thread knows it. A value of this thread's own, so that the threads do not count
/// their users of an address in one place. One that goes and comes back is another one.
#[derive(Debug)]
pub struct Destination {
    endpoint: Arc<Endpoint>,
    /// As it is logged.
    pub address: Box<str>,
    /// Connections that several requests share.
    http2: Arc<Http2Connections>,
}

struct Idle {
    connection: UpstreamConnection,
    until: Instant,
}

impl UpstreamPool {
    /// The pool of one of `threads` threads.
    #[must_use]
    pub fn new(upstreams: &[Arc<Upstream>], threads: usize) -> Self {
        let backends = upstreams.iter().map(|it| Backend::new(it, threads));
        Self {
            backends: Mutex::new(backends.collect()),
        }
    }

    /// Counts a request in, chooses an address for it, and gives it an idle connection there that
    /// still works, if there is one: the last used first.
    ///
    /// # Errors
    /// [`ConnectFailure::Full`] when all that the backend may get is under way,
    /// [`ConnectFailure::Unresolved`] when it has no address.
    pub fn enter<'p>(
        &'p self,
        upstream: &'p Upstream,
        (purpose, affinity): (Purpose, Option<Affinity>),
        now: Instant,
    ) -> Result<(UnderWay<'p>, Option<UpstreamConnection>), ConnectFailure> {
        let mut backends = self.backends.lock();
        let backend = backends.get_mut(upstream.id.0);
        let backend = backend.ok_or(ConnectFailure::Unresolved)?;
        // First: whoever is chosen may be on trial, which is not for a request that cannot go there.
        if purpose == Purpose::Request && !backend.places.enter(&upstream.places) {
            return Err(ConnectFailure::Full);
        }
        backend.refresh();
        let Some(at) = backend.choose(upstream, affinity, &[], now) else {
            if purpose == Purpose::Request {
                backend.places.leave(&upstream.places);
            }
            upstream.look_up_again();
            return Err(ConnectFailure::Unresolved);
        };
        backend.budget.earn();
        let slot = &mut backend.slots[at];
        slot.destination.endpoint.begin(upstream);
        let under_way = UnderWay {
            pool: self,
            upstream,
            purpose,
            affinity,
            at,
            destination: Arc::clone(&slot.destination),
            tried: Vec::new(),
            retries: 0,
            connection: None,
        };
        Ok((under_way, slot.take_idle(&upstream.spec, now)))
    }

    /// Closes what has been idle for too long, or is to an address that is not one any more.
    pub fn prune(&self) {
        let now = Instant::now();
        for backend in self.backends.lock().iter_mut() {
            backend.refresh();
            for slot in &mut backend.slots {
                slot.idle.retain(|kept| kept.until > now);
                slot.destination.http2.prune(now);
            }
        }
    }
}

/// What a connection to a backend is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A request and its answer.
    Request,
    /// A WebSocket: those are counted by [`Upstream::tunnels`], for all threads together.
    Tunnel,
}

/// A request under way to one address of a backend; ends when dropped.
pub struct UnderWay<'p> {
    pool: &'p UpstreamPool,
    upstream: &'p Upstream,
    purpose: Purpose,
    affinity: Option<Affinity>,
    destination: Arc<Destination>,
    /// Where its slot was when it was chosen.
    at: usize,
    /// Where it was before.
    tried: Vec<Arc<Destination>>,
    /// How often it was tried again.
    retries: u32,
    /// A connection that can serve another request.
    connection: Option<Idle>,
}

impl UnderWay<'_> {
    /// Where it is.
    #[must_use]
    pub const fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    /// Makes a new connection to that address, for the client that is `announced` where the backend
    /// wants to know that.
    ///
    /// # Errors
    /// [`ConnectFailure`], within the upstream's connect time.
    pub async fn connect(&self, announced: Header) -> Result<UpstreamConnection, ConnectFailure> {
        UpstreamConnection::make(&self.upstream.spec, &self.destination.endpoint, announced).await
    }

    /// A place on an HTTP/2 connection to that address, a new one where need be. Where a connection is
    /// announced as one client's, it is that client's alone.
    ///
    /// # Errors
    /// [`ConnectFailure`], within the upstream's connect time.
    pub async fn place(
        &self,
        sharing: Sharing,
        announced: Header,
    ) -> Result<Place, ConnectFailure> {
        let spec = &self.upstream.spec;
        let sharing = match spec.proxy_protocol {
            Some(_) => Sharing::Never,
            None => sharing,
        };
        let Destination {
            endpoint, http2, ..
        } = &*self.destination;
        http2.place(spec, endpoint, sharing, announced).await
    }

    /// It was answered there, with this status.
    pub fn answered(&self, status: u16) {
        let counts_as_failure = |statuses: &[u16]| statuses.contains(&status);
        let eject = self.upstream.spec.eject.as_ref();
        match eject.is_some_and(|eject| counts_as_failure(&eject.statuses)) {
            true => self.failed(Instant::now()),
            false => self.destination.endpoint.condition.answered(),
        }
    }

    /// It failed there, which was not its own fault.
    pub fn failed(&self, now: Instant) {
        let Some(eject) = &self.upstream.spec.eject else {
            return;
        };
        let endpoints = self.upstream.endpoints();
        let condition = &self.destination.endpoint.condition;
        let out = endpoints.iter().filter(|it| it.condition.is_left_out());
        let others = out
            .count()
            .saturating_sub(usize::from(condition.is_left_out()));
        let may_leave_out = others < eject.most_of(endpoints.len());
        condition.failed(self.upstream.millis(now), may_leave_out.then_some(eject));
    }

    /// Goes to another address, one where it has not been: with an idle connection there, if there
    /// is one. `None` where there is no such address.
    #[must_use]
    pub fn pass_on(&mut self, now: Instant) -> Option<Option<UpstreamConnection>> {
        self.tried.push(Arc::clone(&self.destination));
        let (upstream, affinity) = (self.upstream, self.affinity);
        let mut backends = self.pool.backends.lock();
        let backend = backends.get_mut(upstream.id.0)?;
        backend.refresh();
        let Some(at) = backend.choose(upstream, affinity, &self.tried, now) else {
            upstream.look_up_again();
            return None;
        };
        let slot = &mut backend.slots[at];
        self.destination.endpoint.end(upstream);
        slot.destination.endpoint.begin(upstream);
        (self.at, self.destination) = (at, Arc::clone(&slot.destination));
        Some(slot.take_idle(&upstream.spec, now))
    }

    /// The same for what may have reached the address where it was: as often as is configured, and
    /// as the budget has it.
    #[must_use]
    pub fn retry(&mut self, now: Instant) -> Option<Option<UpstreamConnection>> {
        if self.retries >= self.upstream.spec.retries {
            return None;
        }
        self.retries += 1;
        let mut backends = self.pool.backends.lock();
        if !backends.get_mut(self.upstream.id.0)?.budget.spend() {
            return None;
        }
        drop(backends);
        self.pass_on(now)
    }

    /// How often it went to another address so far.
    #[must_use]
    pub fn moves(&self) -> usize {
        self.tried.len()
    }

    /// Ends it, and keeps the connection, on which its exchange ended cleanly; but not one that the
    /// backend takes for one client's.
    pub fn done(mut self, mut connection: UpstreamConnection, last_used: Instant) {
        if self.upstream.spec.proxy_protocol.is_some() {
            return;
        }
        connection.buffer.release();
        self.connection = Some(Idle {
            connection,
            until: last_used + self.upstream.spec.idle_timeout,
        });
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.destination.endpoint.end(self.upstream);
        let mut backends = self.pool.backends.lock();
        let Some(backend) = backends.get_mut(self.upstream.id.0) else {
            return;
        };
        if self.purpose == Purpose::Request {
            backend.places.leave(&self.upstream.places);
        }
        let connection = self.connection.take();
        // As many as were under way at one time, which `enter` bounds.
        if let Some(slot) = backend.slot(self.at, &self.destination) {
            slot.idle.extend(connection);
        }
    }
}

// === impl Backend ===

impl Backend {
    fn new(upstream: &Upstream, threads: usize) -> Self {
        let mut backend = Self {
            current: upstream.watch(),
            known: Arc::default(),
            slots: Vec::new(),
            places: Held::none(&upstream.places, threads),
            budget: Budget::default(),
        };
        backend.refresh();
        let endpoints = backend.slots.iter().map(|it| &it.destination.endpoint);
        let round = endpoints.map(|it| u64::from(it.weight)).sum();
        for _ in 0..choice::somewhere(round) {
            backend.take_turn(|_| true);
        }
        backend
    }

    /// Looks whether its addresses are others now. Connections to those that are gone are closed;
    /// requests that are under way there go on.
    fn refresh(&mut self) {
        let current = self.current.load();
        if Arc::ptr_eq(current, &self.known) {
            return;
        }
        self.known = Arc::clone(current);
        let mut old = std::mem::take(&mut self.slots);
        for endpoint in &*self.known {
            let mut same = old.iter();
            let same = same.position(|it| Arc::ptr_eq(&it.destination.endpoint, endpoint));
            self.slots.push(match same {
                Some(at) => old.swap_remove(at),
                None => Slot::new(endpoint),
            });
        }
    }

    /// Which address gets the request that was at those `tried`.
    fn choose(
        &mut self,
        upstream: &Upstream,
        affinity: Option<Affinity>,
        tried: &[Arc<Destination>],
        now: Instant,
    ) -> Option<usize> {
        if let ([_], []) = (&*self.slots, tried) {
            return Some(0);
        }
        let now = upstream.millis(now);
        let left = |slot: &Slot| !tried.iter().any(|it| Arc::ptr_eq(it, &slot.destination));
        let ranks = || self.slots.iter().map(|slot| (slot, slot.rank(now)));
        // Where none can be used, all are tried: one of them may be back, and nothing is lost.
        let usable = ranks().filter(|(_, rank)| rank.is_usable());
        let is_panic = usable.count() == 0;
        let allowed = ranks().filter(|(slot, rank)| left(slot) && (is_panic || rank.is_usable()));
        let rank = allowed.map(|(_, rank)| rank).min()?;
        let may = |slot: &Slot| left(slot) && slot.rank(now) == rank;
        let at = match (affinity, &upstream.spec.balance) {
            (Some(affinity), _) => self.most_drawn(affinity, may)?,
            (None, Balance::LeastConnections) => {
                let least = self.slots.iter().filter(|slot| may(slot));
                let least = least.map(|slot| slot.destination.endpoint.load()).min()?;
                let least = |slot: &Slot| slot.destination.endpoint.load() <= least;
                // Others may have changed it meanwhile, and then all are alike.
                self.take_turn(|slot| may(slot) && least(slot))
                    .or_else(|| self.take_turn(may))?
            }
            (None, _) => self.take_turn(may)?,
        };
        let condition = &self.slots[at].destination.endpoint.condition;
        if let (Usable::OneMayTry, Some(eject)) = (condition.usable(now), &upstream.spec.eject) {
            condition.try_out(now, eject);
        }
        Some(at)
    }

    fn take_turn(&mut self, may: impl Fn(&Slot) -> bool) -> Option<usize> {
        let numbered = self.slots.iter_mut().enumerate();
        let may = numbered.filter(|(_, slot)| may(slot));
        choice::take_turn(may.map(|(at, slot)| Candidate {
            at,
            weight: slot.destination.endpoint.weight,
            turn: &mut slot.turn,
        }))
    }

    fn most_drawn(&self, affinity: Affinity, may: impl Fn(&Slot) -> bool) -> Option<usize> {
        let numbered = self.slots.iter().enumerate().filter(|(_, slot)| may(slot));
        let drawn = numbered.map(|(at, slot)| {
            let endpoint = &slot.destination.endpoint;
            (at, affinity.draw(endpoint.digest, endpoint.weight))
        });
        let most = drawn.max_by(|(_, one), (_, other)| one.total_cmp(other));
        most.map(|(at, _)| at)
    }

    /// The slot of a destination, which was at `at`.
    fn slot(&mut self, at: usize, destination: &Arc<Destination>) -> Option<&mut Slot> {
        let is_it = |slot: &Slot| Arc::ptr_eq(&slot.destination, destination);
        let at = match self.slots.get(at) {
            Some(slot) if is_it(slot) => at,
            _ => self.slots.iter().position(is_it)?,
        };
        self.slots.get_mut(at)
    }
}

/// Who comes first. The first two can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Primary,
    Backup,
    UnusablePrimary,
    UnusableBackup,
}

impl Rank {
    fn is_usable(self) -> bool {
        self <= Self::Backup
    }
}

impl Slot {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        let destination = Destination {
            endpoint: Arc::clone(endpoint),
            address: endpoint.address.to_string().into(),
            http2: Arc::default(),
        };
        Self {
            destination: Arc::new(destination),
            turn: 0,
            idle: Vec::new(),
        }
    }

    fn rank(&self, now: u64) -> Rank {
        let endpoint = &self.destination.endpoint;
        let is_usable = endpoint.condition.usable(now) != Usable::No;
        match (endpoint.role, is_usable) {
            (ServerRole::Primary, true) => Rank::Primary,
            (ServerRole::Backup, true) => Rank::Backup,
            (ServerRole::Primary, false) => Rank::UnusablePrimary,
            (ServerRole::Backup, false) => Rank::UnusableBackup,
        }
    }

    fn take_idle(&mut self, upstream: &UpstreamSpec, now: Instant) -> Option<UpstreamConnection> {
        while let Some(mut kept) = self.idle.pop() {
            let connection = &mut kept.connection;
            if kept.until > now && connection.is_as_new(upstream) && connection.is_quiet() {
                return Some(kept.connection);
            }
        }
        None
    }
}
