//! What a listener is configured to be.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::identity::address::{AddressBlocks, AddressRules};
use crate::proxy::spec::Redirect;

/// One address that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSpec {
    /// Its name in logs and metrics: the address as configured.
    pub name: Arc<str>,
    /// Its place among the listeners.
    pub number: usize,
    /// Where to bind; port 0 lets the system choose.
    pub address: SocketAddr,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Connections open at one time; further ones wait until one closes.
    pub max_connections: usize,
    /// How many of them one client may have.
    pub per_address: PerAddress,
    /// Who may connect at all.
    pub addresses: AddressRules,
    /// Whether something in front says who connects.
    pub proxy_protocol: ProxyProtocol,
    /// Where requests in the clear are sent instead of being served. Without it, an http listener
    /// serves them, and an https listener closes the connection.
    pub redirect: Option<Arc<Redirect>>,
}

/// How many connections one client may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerAddress {
    /// Open at one time; further ones are closed.
    pub most: usize,
    /// Of whom they are not counted: proxies, behind whose address there are many.
    pub exempt: AddressBlocks,
}

/// Whether connections begin with a PROXY protocol header. Never both ways: where it was optional,
/// any client could send one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// They do not.
    Off,
    /// They do, and come from one of these.
    RequiredFrom(AddressBlocks),
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/2 over TLS.
    Https,
    /// HTTP/1.1 in the clear. Whether people may log in there is said apart: a password and a
    /// session cookie would cross the network readable.
    Http(PlainLogin),
}

/// Whether passwords and session cookies are accepted without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainLogin {
    /// No: only public routes can be used.
    Refuse,
    /// Yes: `unsafe_login_without_tls`, for a listener behind something else that ends TLS.
    Accept,
}
