//! The section `listeners`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::config::Source;
use crate::config::document::At;
use crate::config::file::{ListenerFile, RedirectFile};
use crate::config::scalar::{Choice, Flag, Items, Number};
use crate::identity::address::AddressBlocks;
use crate::listen::spec::{ListenerSpec, PerAddress, PlainLogin, Protocol, ProxyProtocol};
use crate::proxy::spec::Redirect;
use crate::tls::spec::ClientAuthSpec;

use super::redirect::{self, HttpsPort};
use super::{address, addresses, choose, client_auth, in_range};

/// Open connections where nothing is written: each costs some 50 KiB with TLS, so these fit in the
/// memory of a small device, and no browser population of one comes near.
const DEFAULT_MAX_CONNECTIONS: usize = 10_000;

/// For an address with a problem, so that the listener's protocol still counts.
const STAND_IN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A listener and what of it can only be understood beside the others.
struct Placed<'d> {
    at: At<'d>,
    spec: ListenerSpec,
    has_address: bool,
    redirect: Option<RedirectFile>,
}

#[derive(Clone, Copy)]
enum Word {
    Https,
    Http,
}

/// The listeners, and what some of them ask their clients for. One with a problem still says what
/// it speaks.
pub(super) fn lower(
    written: Option<Items<ListenerFile>>,
    trusted_proxies: &AddressBlocks,
    source: &Source<'_>,
    at: &At<'_>,
) -> (Vec<ListenerSpec>, BTreeMap<usize, ClientAuthSpec>) {
    let missing = "say where to listen, as \"- address: 0.0.0.0:8443\"";
    let Some(written) = at.required("listeners", written, missing) else {
        return Default::default();
    };
    let at = at.key("listeners");
    if written.0.is_empty() {
        at.problem(format!("none; {missing}"));
    }
    let mut listeners: Vec<Placed<'_>> = Vec::new();
    let mut asking = BTreeMap::new();
    for (at, mut listener) in at.items(written) {
        let client_auth = listener.client_auth.take();
        let mut placed = lower_one(listener, trusted_proxies, at);
        placed.spec.number = listeners.len();
        if let Some(client_auth) = client_auth {
            let at = placed.at.key("client_auth");
            if placed.spec.protocol != Protocol::Https {
                at.key_problem("only for protocol: https; in the clear there are no certificates");
            }
            let client_auth = client_auth::lower_one(client_auth, source, &at);
            asking.insert(placed.spec.number, client_auth);
        }
        let address = placed.spec.address;
        let same = |other: &&Placed<'_>| other.spec.address == address;
        if address.port() != 0
            && let Some(other) = listeners.iter().find(same)
        {
            let other = other.at.path();
            let at = placed.at.key("address");
            at.problem(format!("{other} already uses this address"));
        }
        listeners.push(placed);
    }
    let https = https_port(&listeners);
    let specs = listeners.into_iter();
    let specs = specs.map(|placed| placed.with_redirect(https));
    (specs.collect(), asking)
}

fn https_port(listeners: &[Placed<'_>]) -> HttpsPort {
    let speaks_https = |placed: &&Placed<'_>| placed.spec.protocol == Protocol::Https;
    match listeners.iter().find(speaks_https) {
        None => HttpsPort::None,
        Some(placed) if !placed.has_address => HttpsPort::Refused,
        Some(placed) => match placed.spec.address.port() {
            0 => HttpsPort::Chosen,
            port => HttpsPort::Known(port),
        },
    }
}

impl Placed<'_> {
    fn with_redirect(mut self, https: HttpsPort) -> ListenerSpec {
        if let Some(written) = self.redirect {
            let at = self.at.key("redirect");
            let redirect = redirect::lower(written, &self.spec, https, &at);
            self.spec.redirect = redirect.map(Arc::new);
        }
        self.spec
    }
}

fn lower_one<'d>(written: ListenerFile, trusted_proxies: &AddressBlocks, at: At<'d>) -> Placed<'d> {
    let ListenerFile {
        address,
        protocol,
        max_connections,
        max_connections_per_address,
        allow,
        deny,
        proxy_protocol,
        unsafe_login_without_tls,
        plaintext,
        redirect,
        client_auth: _, // Taken out before: it belongs to TLS.
    } = written;
    let protocol = lower_protocol(protocol, unsafe_login_without_tls, &at);
    let plaintext = lower_plaintext(plaintext.as_deref(), protocol, &at.key("plaintext"));
    let max_connections = in_range(
        max_connections,
        DEFAULT_MAX_CONNECTIONS,
        1..=1_000_000,
        &at.key("max_connections"),
    );
    let written = at.required("address", address, "write host:port, as 0.0.0.0:8443");
    let address = written
        .as_deref()
        .and_then(|written| address::lower(written, &at.key("address")));
    let spec = ListenerSpec {
        name: written.as_deref().unwrap_or_default().into(),
        number: 0,
        address: address.unwrap_or(STAND_IN),
        protocol,
        max_connections,
        per_address: lower_per_address(
            max_connections_per_address,
            max_connections,
            trusted_proxies,
            &at.key("max_connections_per_address"),
        ),
        addresses: addresses::lower_rules(allow, deny, &at),
        proxy_protocol: lower_proxy_protocol(
            proxy_protocol.as_deref(),
            trusted_proxies,
            &at.key("proxy_protocol"),
        ),
        redirect: plaintext.map(Arc::new),
    };
    Placed {
        at,
        spec,
        has_address: address.is_some(),
        redirect,
    }
}

/// Where nothing is written: enough for an office behind one address, and too few for one client to
/// keep all others out. Whoever comes from this machine is a proxy, mostly, with many behind it.
fn lower_per_address(
    written: Option<Number>,
    max_connections: usize,
    trusted_proxies: &AddressBlocks,
    at: &At<'_>,
) -> PerAddress {
    let default = (max_connections / 4).max(100);
    let exempt = match written {
        Some(_) => trusted_proxies.clone(),
        None => trusted_proxies.with(AddressBlocks::this_machine()),
    };
    PerAddress {
        most: in_range(written, default, 1..=1_000_000, at),
        exempt,
    }
}

fn lower_proxy_protocol(
    written: Option<&str>,
    trusted_proxies: &AddressBlocks,
    at: &At<'_>,
) -> ProxyProtocol {
    let choices = [("off", Some(false)), ("required", Some(true))];
    if !choose(written, false, &choices, at) {
        return ProxyProtocol::Off;
    }
    if trusted_proxies.is_empty() {
        at.problem("from whom? write the addresses of the proxies in trusted_proxies");
    }
    ProxyProtocol::RequiredFrom(trusted_proxies.clone())
}

fn lower_plaintext(written: Option<&str>, protocol: Protocol, at: &At<'_>) -> Option<Redirect> {
    match (protocol, written) {
        (Protocol::Https, written) => redirect::lower_plaintext(written, at),
        (Protocol::Http(_), None) => None,
        (Protocol::Http(_), Some(_)) => {
            at.key_problem("only for protocol: https; on an http listener write redirect: https");
            None
        }
    }
}

fn lower_protocol(written: Option<Choice>, plain_login: Option<Flag>, at: &At<'_>) -> Protocol {
    let choices = [
        ("https", Some(Word::Https)),
        ("http", Some(Word::Http)),
        ("tls", None),
        ("mqtt", None),
    ];
    let word = choose(
        written.as_deref(),
        Word::Https,
        &choices,
        &at.key("protocol"),
    );
    match (word, plain_login) {
        (Word::Http, Some(Flag(true))) => Protocol::Http(PlainLogin::Accept),
        (Word::Http, _) => Protocol::Http(PlainLogin::Refuse),
        (Word::Https, Some(Flag(true))) => {
            let at = at.key("unsafe_login_without_tls");
            at.problem("only for protocol: http; an https listener accepts logins anyway");
            Protocol::Https
        }
        (Word::Https, _) => Protocol::Https,
    }
}
