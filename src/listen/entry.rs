//! Who may connect to a listener: what stands before the first byte of TLS or HTTP.
//!
//! A PROXY protocol header first, where the listener asks for one, so that everything after it is
//! about the client and not about the proxy; then the lists of addresses, and how many connections
//! one client may have. How many all may have together is `accept`'s business.

use std::hash::BuildHasher as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashMapExt as _};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::socket::ClientSocket;
use super::spec::{ListenerSpec, PerAddress, ProxyProtocol};
use crate::identity::address::{AddressRules, ClientSite};
use crate::proxy_protocol::Header;

/// Who may connect.
#[derive(Debug)]
pub(super) struct Entry {
    addresses: AddressRules,
    proxy_protocol: ProxyProtocol,
    per_address: PerAddress,
    open: OpenConnections,
    complaint: Mutex<Complaint>,
}

/// Why a connection is closed before anything is said on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    /// The listener is not for this address.
    Address,
    /// The client has as many connections as it may.
    TooMany,
    /// It is not from a proxy that is trusted, and only those may connect.
    UntrustedProxy,
    /// It does not begin with a PROXY protocol header.
    ProxyHeader,
    /// The header did not come in time.
    ProxyHeaderTimeout,
    /// It was closed before there was a header: proxies look so whether we are there.
    Gone,
}

impl NotAdmitted {
    /// A word for log and metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address_not_allowed",
            Self::TooMany => "too_many_of_address",
            Self::UntrustedProxy => "untrusted_proxy",
            Self::ProxyHeader => "proxy_header",
            Self::ProxyHeaderTimeout => "proxy_header_timeout",
            Self::Gone => "gone",
        }
    }

    /// What in the configuration it comes from, where that is one thing.
    pub(super) const fn hint(self) -> Option<&'static str> {
        match self {
            Self::TooMany => Some("listeners[].max_connections_per_address"),
            Self::UntrustedProxy => Some("trusted_proxies"),
            Self::ProxyHeader | Self::ProxyHeaderTimeout => Some("listeners[].proxy_protocol"),
            Self::Address | Self::Gone => None,
        }
    }
}

impl Entry {
    /// As the listener is configured.
    pub(super) fn new(spec: &ListenerSpec) -> Self {
        Self {
            addresses: spec.addresses.clone(),
            proxy_protocol: spec.proxy_protocol.clone(),
            per_address: spec.per_address.clone(),
            open: OpenConnections::default(),
            complaint: Mutex::default(),
        }
    }

    /// Whether not everybody is let in.
    pub(super) fn goes_by_address(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Lets a connection in, as that of the client that it is from. A header may take `limit`.
    ///
    /// # Errors
    /// Why it is to be closed.
    pub(super) async fn admit(
        self: &Arc<Self>,
        socket: &mut ClientSocket,
        limit: Duration,
    ) -> Result<Place, NotAdmitted> {
        if let ProxyProtocol::RequiredFrom(proxies) = &self.proxy_protocol {
            if !proxies.contains(socket.peer.ip().to_canonical()) {
                return Err(NotAdmitted::UntrustedProxy);
            }
            // Boxed: most listeners have none, and all connections would carry the room for it.
            let announced = Box::pin(timeout(limit, announced(socket))).await;
            if let Header::Proxied {
                source,
                destination,
            } = announced.map_err(|_| NotAdmitted::ProxyHeaderTimeout)??
            {
                socket.announce(source, destination);
            }
        }
        self.place_for(socket.peer)
    }

    fn place_for(self: &Arc<Self>, client: SocketAddr) -> Result<Place, NotAdmitted> {
        let client = client.ip().to_canonical();
        if !self.addresses.admit(client) {
            return Err(NotAdmitted::Address);
        }
        let site = self.counted_as(client);
        if let Some(site) = site
            && !self.open.enter(site, self.per_address.most)
        {
            return Err(NotAdmitted::TooMany);
        }
        Ok(Place {
            entry: Arc::clone(self),
            site,
        })
    }

    fn counted_as(&self, client: IpAddr) -> Option<ClientSite> {
        let counted = !self.per_address.exempt.contains(client);
        counted.then(|| ClientSite::of(client))
    }

    /// How many were refused since somebody was told last; `None` while that is not to be said
    /// again.
    pub(super) fn complain(&self) -> Option<u64> {
        self.complaint.lock().note()
    }
}

async fn announced(socket: &mut ClientSocket) -> Result<Header, NotAdmitted> {
    loop {
        match Header::parse(socket.read_ahead()) {
            Ok(Some((header, length))) => {
                socket.skip(length);
                return Ok(header);
            }
            Ok(None) => {}
            Err(_) => return Err(NotAdmitted::ProxyHeader),
        }
        match socket.read_more().await {
            Ok(0) | Err(_) if socket.read_ahead().is_empty() => return Err(NotAdmitted::Gone),
            Ok(0) | Err(_) => return Err(NotAdmitted::ProxyHeader),
            Ok(_) => {}
        }
    }
}

/// A connection that was let in. It counts until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    entry: Arc<Entry>,
    site: Option<ClientSite>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(site) = self.site {
            self.entry.open.leave(site);
        }
    }
}

/// Enough that threads rarely meet in one.
const SHARDS: usize = 16;

/// The connections open, by client. Never more entries than connections.
#[derive(Debug)]
struct OpenConnections {
    hasher: RandomState,
    shards: [Mutex<HashMap<ClientSite, usize>>; SHARDS],
}

impl Default for OpenConnections {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            shards: std::array::from_fn(|_| Mutex::new(HashMap::new())),
        }
    }
}

impl OpenConnections {
    fn shard(&self, site: ClientSite) -> &Mutex<HashMap<ClientSite, usize>> {
        let hash = self.hasher.hash_one(site);
        // The lower bits choose the place in a shard.
        &self.shards[usize::from((hash >> 56) as u8) % SHARDS]
    }

    /// Counts one more, unless there are as many as there may be.
    fn enter(&self, site: ClientSite, most: usize) -> bool {
        let mut shard = self.shard(site).lock();
        let open = shard.entry(site).or_insert(0);
        let has_room = *open < most;
        *open += usize::from(has_room);
        has_room
    }

    fn leave(&self, site: ClientSite) {
        let mut shard = self.shard(site).lock();
        if let Some(open) = shard.get_mut(&site) {
            *open -= 1;
            if *open == 0 {
                shard.remove(&site);
            }
        }
    }
}

/// Keeps those who are refused from filling the log.
#[derive(Debug, Default)]
struct Complaint {
    last: Option<Instant>,
    untold: u64,
}

impl Complaint {
    const EVERY: Duration = Duration::from_secs(10);

    fn note(&mut self) -> Option<u64> {
        self.untold += 1;
        if self.last.is_some_and(|last| last.elapsed() < Self::EVERY) {
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(text: &str) -> ClientSite {
        ClientSite::of(text.parse().unwrap())
    }

    #[test]
    fn one_client_has_so_many_connections_and_another_has_its_own() {
        let open = OpenConnections::default();
        let (ours, theirs) = (site("192.0.2.1"), site("192.0.2.2"));
        assert!(open.enter(ours, 2) && open.enter(ours, 2));
        assert!(!open.enter(ours, 2));
        assert!(open.enter(theirs, 2));
        open.leave(ours);
        assert!(open.enter(ours, 2));
    }

    #[test]
    fn nothing_is_kept_of_clients_that_are_gone() {
        let open = OpenConnections::default();
        for client in 0..1000_u32 {
            let site = ClientSite::of(IpAddr::V4(client.into()));
            assert!(open.enter(site, 1));
            open.leave(site);
        }
        assert!(open.shards.iter().all(|shard| shard.lock().is_empty()));
    }

    #[test]
    fn many_refusals_are_one_line_that_counts_them() {
        let mut complaint = Complaint::default();
        assert_eq!(complaint.note(), Some(1));
        assert_eq!((complaint.note(), complaint.note()), (None, None));
        complaint.last = Instant::now().checked_sub(Complaint::EVERY);
        assert_eq!(complaint.note(), Some(3));
    }
}
