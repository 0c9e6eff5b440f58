//! The addresses of a backend at this moment, shared by all threads.
//!
//! Addresses and sockets that are written down are there from the start and stay. What a name
//! stands for is looked up by the server, which tells it here; a request only looks. Connections are
//! the pool's business, each thread's own.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::{ArcSwap, Cache};
use tokio::sync::watch;
use tokio::time::Instant;

use super::affinity;
use super::condition::Condition;
use super::places::Places;
use crate::gate::route::UpstreamId;
use crate::proxy::shares::Shares;
use crate::proxy::spec::balance::Balance;
use crate::proxy::spec::{ServerRole, UpstreamPlace, UpstreamServer, UpstreamSpec};

/// The most addresses that one name may stand for: more than any service has behind one name, and a
/// bound for what a name server can make us keep.
const MOST_ADDRESSES: usize = 256;

/// A backend while it runs.
#[derive(Debug)]
pub struct Upstream {
    /// Its place among all of them.
    pub id: UpstreamId,
    /// How it is configured.
    pub spec: UpstreamSpec,
    /// Room for requests to it, as far as no thread has it.
    pub(super) places: Places,
    /// Its WebSockets, and handshakes for them: as many as requests, and counted by themselves. They
    /// may last for hours, and a client that opens many takes no place from requests.
    pub tunnels: Arc<Shares>,
    /// Its addresses, in the order of the configuration.
    endpoints: Arc<ArcSwap<Endpoints>>,
    /// Wakes all who look after them.
    changed: watch::Sender<()>,
    /// Wakes all who look its names up.
    look_up: watch::Sender<()>,
    /// When its clock began.
    begun: Instant,
}

/// All addresses of a backend.
pub type Endpoints = Vec<Arc<Endpoint>>;

/// One address of a backend. It is the same one as long as it is there: what is known of it, and
/// the connections to it, are not for one that comes in its place.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it is.
    pub address: EndpointAddress,
    /// The host that is configured for it, which its certificate has to be for.
    pub host: Arc<str>,
    /// How many requests it gets for one that another with weight 1 gets.
    pub weight: u32,
    /// When it gets any.
    pub role: ServerRole,
    /// Whether it can be used.
    pub condition: Condition,
    /// The address as `affinity` has it.
    pub(super) digest: u64,
    /// Requests under way there, of all threads; counted where that decides who gets the next one.
    under_way: AtomicU32,
    /// Which of the configured places it belongs to.
    server: usize,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointAddress {
    /// At a TCP port.
    Tcp(SocketAddr),
    /// At a port of this machine, 127.0.0.1 or else ::1: servers that listen on `localhost` may have
    /// either, and one server is one address. RFC 6761 section 6.3 says that it need not be looked up.
    Localhost(u16),
    /// At a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Upstream {
    /// The backends of a configuration.
    #[must_use]
    pub fn all(specs: Vec<UpstreamSpec>) -> Vec<Arc<Self>> {
        let numbered = specs.into_iter().enumerate();
        numbered
            .map(|(id, spec)| Arc::new(Self::new(UpstreamId(id), spec)))
            .collect()
    }

    /// A backend with the addresses that need not be looked up.
    #[must_use]
    pub fn new(id: UpstreamId, spec: UpstreamSpec) -> Self {
        let numbered = spec.servers.iter().enumerate();
        let endpoints = numbered
            .filter_map(|(number, server)| Endpoint::known(number, server))
            .collect();
        Self {
            id,
            places: Places::new(spec.max_requests),
            tunnels: Shares::of(spec.max_requests as u64),
            spec,
            endpoints: Arc::new(ArcSwap::from_pointee(endpoints)),
            changed: watch::Sender::new(()),
            look_up: watch::Sender::new(()),
            begun: Instant::now(),
        }
    }

    /// Its addresses, for who looks at them again and again: a look costs one load.
    #[must_use]
    pub fn watch(&self) -> Cache<Arc<ArcSwap<Endpoints>>, Arc<Endpoints>> {
        Cache::new(Arc::clone(&self.endpoints))
    }

    /// Its addresses now.
    #[must_use]
    pub fn endpoints(&self) -> Arc<Endpoints> {
        self.endpoints.load_full()
    }

    /// The time by its own clock, in milliseconds.
    #[must_use]
    pub fn millis(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.begun);
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }

    /// The places of it that are names: their numbers, and the names.
    pub fn names(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.spec.servers.iter().enumerate();
        numbered.filter_map(|(number, server)| Some((number, name_of(&server.place)?)))
    }

    /// From now on the place with this number is at these addresses. Those that were there before
    /// stay the same. Whether anything has changed.
    pub fn resolved(&self, number: usize, addresses: &[IpAddr]) -> bool {
        let Some(server) = self.spec.servers.get(number) else {
            return false;
        };
        let UpstreamPlace::Tcp { port, .. } = &server.place else {
            return false;
        };
        // In an order of our own: name servers turn theirs with each answer.
        let mut addresses = addresses.to_vec();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MOST_ADDRESSES);
        let old = self.endpoints.load_full();
        let there = |ip: &IpAddr| {
            let address = EndpointAddress::Tcp(SocketAddr::new(*ip, *port));
            let mut same = old.iter().filter(|it| it.server == number);
            let same = same.find(|it| it.address == address).cloned();
            same.unwrap_or_else(|| Arc::new(Endpoint::new(number, server, address)))
        };
        let before = old.iter().take_while(|it| it.server < number).cloned();
        let after = old.iter().skip_while(|it| it.server <= number).cloned();
        let here = addresses.iter().map(there);
        let endpoints: Endpoints = before.chain(here).chain(after).collect();
        let is_same = endpoints.len() == old.len()
            && endpoints.iter().zip(&*old).all(|(a, b)| Arc::ptr_eq(a, b));
        if !is_same {
            self.endpoints.store(Arc::new(endpoints));
            self.changed.send_replace(());
        }
        !is_same
    }

    /// Tells each time that its addresses have changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// How many of its addresses can be used.
    #[must_use]
    pub fn usable(&self) -> usize {
        let endpoints = self.endpoints.load();
        let conditions = endpoints.iter().map(|it| &it.condition);
        conditions
            .filter(|it| it.is_healthy() && !it.is_left_out())
            .count()
    }

    /// None of its addresses could be connected to: its names may stand for others by now.
    pub fn look_up_again(&self) {
        self.look_up.send_replace(());
    }

    /// Tells each time that this is asked for.
    #[must_use]
    pub fn look_ups_wanted(&self) -> watch::Receiver<()> {
        self.look_up.subscribe()
    }
}

impl Endpoint {
    /// Counts a request in.
    pub(super) fn begin(&self, upstream: &Upstream) {
        if upstream.spec.balance == Balance::LeastConnections {
            self.under_way.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one out that was counted in.
    pub(super) fn end(&self, upstream: &Upstream) {
        if upstream.spec.balance == Balance::LeastConnections {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// What it would have to do with one more, for its weight.
    pub(super) fn load(&self) -> u64 {
        let requests = u64::from(self.under_way.load(Ordering::Relaxed)) + 1;
        (requests << 16) / u64::from(self.weight.max(1))
    }

    fn new(number: usize, server: &UpstreamServer, address: EndpointAddress) -> Self {
        Self {
            digest: affinity::digest(address.to_string().as_bytes()),
            condition: Condition::default(),
            under_way: AtomicU32::new(0),
            address,
            host: match &server.place {
                UpstreamPlace::Tcp { host, .. } => host.as_str().into(),
                UpstreamPlace::Unix(_) => "localhost".into(),
            },
            weight: server.weight,
            role: server.role,
            server: number,
        }
    }

    /// That of a place that is no name to be looked up.
    fn known(number: usize, server: &UpstreamServer) -> Option<Arc<Self>> {
        let address = match &server.place {
            UpstreamPlace::Unix(path) => EndpointAddress::Unix(path.clone()),
            UpstreamPlace::Tcp { host, port } if is_localhost(host) => {
                EndpointAddress::Localhost(*port)
            }
            UpstreamPlace::Tcp { host, port } => {
                let ip: IpAddr = host.parse().ok()?;
                EndpointAddress::Tcp(SocketAddr::new(ip, *port))
            }
        };
        Some(Arc::new(Self::new(number, server, address)))
    }
}

/// The name of a place that has to be looked up.
fn name_of(place: &UpstreamPlace) -> Option<&str> {
    match place {
        UpstreamPlace::Tcp { host, .. } => {
            let is_name = !is_localhost(host) && host.parse::<IpAddr>().is_err();
            is_name.then_some(host)
        }
        UpstreamPlace::Unix(_) => None,
    }
}

fn is_localhost(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn server(host: &str) -> UpstreamServer {
        let (host, port) = (host.to_owned(), 80);
        UpstreamPlace::Tcp { host, port }.into()
    }

    fn upstream(hosts: &[&str]) -> Upstream {
        let servers = hosts.iter().map(|host| server(host)).collect();
        Upstream::new(UpstreamId(0), UpstreamSpec::new("test", servers))
    }

    fn shown(upstream: &Upstream) -> Vec<String> {
        let endpoints = upstream.endpoints();
        endpoints.iter().map(|it| it.address.to_string()).collect()
    }

    fn ips(addresses: &[&str]) -> Vec<IpAddr> {
        addresses.iter().map(|it| it.parse().unwrap()).collect()
    }

    #[test]
    fn only_names_have_to_be_looked_up() {
        let upstream = upstream(&["10.0.0.1", "app.internal", "::1", "localhost", "other"]);
        let names: Vec<_> = upstream.names().collect();
        assert_eq!(names, [(1, "app.internal"), (4, "other")]);
        assert_eq!(
            shown(&upstream),
            ["10.0.0.1:80", "[::1]:80", "localhost:80"]
        );
    }

    #[test]
    fn what_a_name_stands_for_takes_its_place_and_what_stays_is_the_same() {
        let upstream = upstream(&["10.0.0.1", "app.internal", "10.0.0.9"]);
        assert!(upstream.resolved(1, &ips(&["10.1.0.2", "10.1.0.1", "10.1.0.2"])));
        let first = ["10.0.0.1:80", "10.1.0.1:80", "10.1.0.2:80", "10.0.0.9:80"];
        assert_eq!(shown(&upstream), first);
        let before = upstream.endpoints();
        assert!(!upstream.resolved(1, &ips(&["10.1.0.1", "10.1.0.2"])));
        assert!(upstream.resolved(1, &ips(&["10.1.0.2", "10.1.0.3"])));
        let second = ["10.0.0.1:80", "10.1.0.2:80", "10.1.0.3:80", "10.0.0.9:80"];
        assert_eq!(shown(&upstream), second);
        let after = upstream.endpoints();
        assert!(Arc::ptr_eq(&before[0], &after[0]));
        assert!(Arc::ptr_eq(&before[2], &after[1]));
        assert!(Arc::ptr_eq(&before[3], &after[3]));
        let many: Vec<_> = (0..1000u32).map(|it| Ipv4Addr::from(it).into()).collect();
        assert!(upstream.resolved(1, &many));
        assert_eq!(upstream.endpoints().len(), MOST_ADDRESSES + 2);
    }
}
