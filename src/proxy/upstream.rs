//! What one thread has of the backends: their addresses as it knows them, its idle connections to
//! each, and its requests under way.
//!
//! A connection comes back only when its last exchange ended cleanly, and is tried before it is
//! used again: a backend may have closed it, and one that sent bytes unasked is not trusted to
//! answer the next request. It serves requests for the address, the upstream and the trust that it
//! was made for, and no others.
//!
//! Which addresses there are is for `endpoint` to say, which of them gets a request for `choice`;
//! `connection` makes one.

mod choice;
pub mod connection;
pub mod endpoint;
pub mod transport;

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::spec::UpstreamSpec;
use choice::Candidate;
use connection::{ConnectFailure, UpstreamConnection};
use endpoint::{Endpoint, Endpoints, Upstream};

/// The backends as one thread has them.
pub struct UpstreamPool {
    /// Among how many threads the bound on requests is divided.
    threads: usize,
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
    /// The number of the next slot.
    next: u64,
    /// Requests under way.
    requests: usize,
}

/// One address of it.
struct Slot {
    /// Never used again, also when the same address comes back.
    number: u64,
    endpoint: Arc<Endpoint>,
    /// Its address as it is logged: a copy of this thread's own, so that the threads do not count
    /// their users of it in one place.
    address: Arc<str>,
    /// See [`choice::take_turn`].
    turn: i64,
    /// The last used comes last.
    idle: Vec<Idle>,
}

struct Idle {
    connection: UpstreamConnection,
    until: Instant,
}

impl UpstreamPool {
    /// The pool of one of `threads` threads.
    #[must_use]
    pub fn new(upstreams: &[Arc<Upstream>], threads: usize) -> Self {
        let backends = upstreams.iter().map(|upstream| Backend::new(upstream));
        Self {
            threads: threads.max(1),
            backends: Mutex::new(backends.collect()),
        }
    }

    /// Counts a request in, chooses an address for it, and gives it an idle connection there that
    /// still works, if there is one: the last used first.
    ///
    /// # Errors
    /// [`ConnectFailure::Full`] when this thread's share of what the backend may get is under way,
    /// [`ConnectFailure::Unresolved`] when it has no address.
    pub fn enter<'p>(
        &'p self,
        upstream: &'p Upstream,
        now: Instant,
    ) -> Result<(UnderWay<'p>, Option<UpstreamConnection>), ConnectFailure> {
        let share = upstream.spec.max_requests.div_ceil(self.threads).max(1);
        let mut backends = self.backends.lock();
        let backend = backends.get_mut(upstream.id.0);
        let backend = backend.ok_or(ConnectFailure::Unresolved)?;
        if backend.requests >= share {
            return Err(ConnectFailure::Full);
        }
        backend.refresh();
        let Some(at) = backend.choose(&[]) else {
            upstream.look_up_again();
            return Err(ConnectFailure::Unresolved);
        };
        backend.requests += 1;
        let slot = &mut backend.slots[at];
        let under_way = UnderWay {
            pool: self,
            upstream,
            at,
            number: slot.number,
            address: Arc::clone(&slot.address),
            tried: Vec::new(),
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
            }
        }
    }
}

/// A request under way to one address of a backend; ends when dropped.
pub struct UnderWay<'p> {
    pool: &'p UpstreamPool,
    upstream: &'p Upstream,
    /// Where its slot was when it was chosen, and its number.
    at: usize,
    number: u64,
    address: Arc<str>,
    /// The numbers of those that it was at before.
    tried: Vec<u64>,
    /// A connection that can serve another request.
    connection: Option<Idle>,
}

impl UnderWay<'_> {
    /// The address, as it is logged.
    #[must_use]
    pub fn address(&self) -> Arc<str> {
        Arc::clone(&self.address)
    }

    /// Makes a new connection to that address.
    ///
    /// # Errors
    /// [`ConnectFailure`], within the upstream's connect time.
    pub async fn connect(&self) -> Result<UpstreamConnection, ConnectFailure> {
        // Where it is not one of the backend any more, nobody should be there.
        let endpoint = self.endpoint().ok_or(ConnectFailure::Refused)?;
        UpstreamConnection::make(&self.upstream.spec, &endpoint).await
    }

    fn endpoint(&self) -> Option<Arc<Endpoint>> {
        let mut backends = self.pool.backends.lock();
        let backend = backends.get_mut(self.upstream.id.0)?;
        let slot = backend.slot(self.at, self.number)?;
        Some(Arc::clone(&slot.endpoint))
    }

    /// Goes to another address, one where it has not been: with an idle connection there, if there
    /// is one. `None` where there is no such address.
    #[must_use]
    pub fn move_on(&mut self, now: Instant) -> Option<Option<UpstreamConnection>> {
        self.tried.push(self.number);
        let mut backends = self.pool.backends.lock();
        let backend = backends.get_mut(self.upstream.id.0)?;
        backend.refresh();
        let Some(at) = backend.choose(&self.tried) else {
            self.upstream.look_up_again();
            return None;
        };
        let slot = &mut backend.slots[at];
        (self.at, self.number) = (at, slot.number);
        self.address = Arc::clone(&slot.address);
        Some(slot.take_idle(&self.upstream.spec, now))
    }

    /// Ends it, and keeps the connection, on which its exchange ended cleanly.
    pub fn done(mut self, mut connection: UpstreamConnection, last_used: Instant) {
        connection.buffer.release();
        self.connection = Some(Idle {
            connection,
            until: last_used + self.upstream.spec.idle_timeout,
        });
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut backends = self.pool.backends.lock();
        let Some(backend) = backends.get_mut(self.upstream.id.0) else {
            return;
        };
        backend.requests = backend.requests.saturating_sub(1);
        let connection = self.connection.take();
        // As many as were under way at one time, which `enter` bounds.
        if let Some(slot) = backend.slot(self.at, self.number) {
            slot.idle.extend(connection);
        }
    }
}

// === impl Backend ===

impl Backend {
    fn new(upstream: &Upstream) -> Self {
        let mut backend = Self {
            current: upstream.watch(),
            known: Arc::default(),
            slots: Vec::new(),
            next: 0,
            requests: 0,
        };
        backend.refresh();
        let weights = backend.slots.iter().map(|it| u64::from(it.endpoint.weight));
        for _ in 0..choice::somewhere(weights.sum()) {
            backend.choose(&[]);
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
            let same = old
                .iter()
                .position(|it| Arc::ptr_eq(&it.endpoint, endpoint));
            self.slots.push(match same {
                Some(at) => old.swap_remove(at),
                None => Slot::new(&mut self.next, endpoint),
            });
        }
    }

    /// Which address gets the next request that was not at one of those `tried`. Backups only where
    /// no other is left.
    fn choose(&mut self, tried: &[u64]) -> Option<usize> {
        if let ([_], []) = (&*self.slots, tried) {
            return Some(0);
        }
        let left = |slot: &Slot| !tried.contains(&slot.number);
        let roles = self.slots.iter().filter(|it| left(it));
        let role = roles.map(|it| it.endpoint.role).min()?;
        let numbered = self.slots.iter_mut().enumerate();
        let may = numbered.filter(|(_, slot)| left(slot) && slot.endpoint.role == role);
        choice::take_turn(may.map(|(at, slot)| Candidate {
            at,
            weight: slot.endpoint.weight,
            turn: &mut slot.turn,
        }))
    }

    /// The slot with this number, which was at `at`.
    fn slot(&mut self, at: usize, number: u64) -> Option<&mut Slot> {
        let at = match self.slots.get(at) {
            Some(slot) if slot.number == number => at,
            _ => self.slots.iter().position(|it| it.number == number)?,
        };
        self.slots.get_mut(at)
    }
}

impl Slot {
    fn new(next: &mut u64, endpoint: &Arc<Endpoint>) -> Self {
        let number = *next;
        *next += 1;
        Self {
            number,
            endpoint: Arc::clone(endpoint),
            address: endpoint.address.to_string().into(),
            turn: 0,
            idle: Vec::new(),
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
