//! Requests that a trusted proxy brings: who they come from, by what it says of them.
//!
//! Only a connection from an address of `trusted_proxies` is believed, and `X-Forwarded-For` only as
//! far to the left as trusted proxies have written it. Whatever is believed can only take rights
//! away: a session over TLS to the proxy and in the clear from there is for the listener to allow.
//! A client's certificate is never taken from fields, whoever sends them.

use std::net::{IpAddr, SocketAddr};

use super::client::{
    Behind, ClientFacts, Scheme, SessionsAccepted, StrictTransport, forwarded_for, forwarding_lines,
};
use crate::http1::fields::{Fields, list_elements};
use crate::identity::address::AddressBlocks;

/// The most proxies that are believed to stand one behind the other. Further to the left nobody
/// looks; the client is the last one that was seen then.
const MOST_HOPS: usize = 32;

/// The longest host or path prefix that is passed on.
const LONGEST: usize = 255;

impl ClientFacts {
    /// The address that rules of routes are about: none that anybody can have, where a trusted proxy
    /// has said something that cannot be read. Its own would let in whoever comes through it.
    pub(super) fn vouched_for(&self) -> IpAddr {
        match self.is_known {
            true => self.ip,
            false => IpAddr::from([0, 0, 0, 0]),
        }
    }

    /// What is known of the client of one request with these fields; nothing more than of its
    /// connection, where that is not from a trusted proxy. Many clients may share the connection of
    /// one, so this is asked for each request.
    pub(super) fn brought_by(&self, trusted: &AddressBlocks, fields: &Fields) -> Option<Box<Self>> {
        // First the question that costs nothing: most gates trust nobody.
        if trusted.is_empty() || !trusted.contains(self.ip) {
            return None;
        }
        let mut client = Box::new(self.clone());
        client.believe(trusted, fields);
        Some(client)
    }

    fn believe(&mut self, trusted: &AddressBlocks, fields: &Fields) {
        let before = self.behind.take();
        let peer = match before {
            Some(before) => before.peer,
            None => self.address.clone(),
        };
        let (ip, hops, is_known) = client_of(self.ip, trusted, fields);
        self.is_known = is_known;
        let host = single(fields, "x-forwarded-host").filter(|host| is_authority(host));
        let prefix = single(fields, "x-forwarded-prefix").map(|it| it.trim_end_matches('/'));
        let prefix = prefix.filter(|prefix| is_prefix(prefix));
        let scheme = scheme_of(fields);
        let port = single(fields, "x-forwarded-port").filter(|port| is_port(port));
        let port = match (port, scheme) {
            (Some(port), _) => Some(port.to_owned()),
            (None, Some(scheme)) => Some(port_of(host, scheme)),
            (None, None) => None,
        };
        if let Some(scheme) = scheme {
            self.came_by(scheme);
        }
        if self.ip != ip {
            // Only the proxy knows it.
            self.source_port = 0;
        }
        self.ip = ip;
        self.address = ip.to_string();
        // Only what trusted proxies have written: what stands further to the left anybody may have.
        let mut chain = self.address.clone();
        let mut forwarded = String::new();
        for hop in hops.iter().rev() {
            chain.push_str(", ");
            chain.push_str(&hop.to_string());
            forwarded.push_str(", ");
            forwarded.push_str(&forwarded_for(*hop));
        }
        self.forwarding = self.told(&chain, port);
        self.forwarded = format!("{};proto={}", forwarded_for(ip), self.scheme.as_str()).into();
        self.logged.take();
        self.behind = Some(Box::new(Behind {
            peer,
            is_trusted: true,
            host: host.map(Into::into),
            prefix: prefix.map(Into::into),
            forwarded,
        }));
    }

    fn told(&self, chain: &str, port: Option<String>) -> Box<[u8]> {
        let port = port.unwrap_or_else(|| self.local.port().to_string());
        forwarding_lines(chain, self.scheme, &port, &self.address)
    }

    /// The client reached the proxy by `scheme`. In the clear there are no sessions, however we were
    /// reached; over TLS, the listener has to accept them all the same.
    fn came_by(&mut self, scheme: Scheme) {
        self.scheme = scheme;
        if scheme == Scheme::Http {
            self.sessions = SessionsAccepted::OnlyOverTls;
            self.strict_transport = StrictTransport::Never;
        }
    }
}

/// The client by `X-Forwarded-For`: from the right, the first that is not trusted itself, and the
/// proxies that it came through, the nearest first. What is no address ends it: then it stands under
/// the one that was read last, and nobody knows who it is.
fn client_of(
    peer: IpAddr,
    trusted: &AddressBlocks,
    fields: &Fields,
) -> (IpAddr, Vec<IpAddr>, bool) {
    let entries: Vec<&[u8]> = fields
        .get_all("x-forwarded-for")
        .flat_map(list_elements)
        .collect();
    let (mut client, mut hops) = (peer, Vec::new());
    for entry in entries.iter().rev().take(MOST_HOPS) {
        if !trusted.contains(client) {
            break;
        }
        let Some(before) = address_of(entry) else {
            return (client, hops, false);
        };
        hops.push(client);
        client = before;
    }
    let is_known = entries.len() <= MOST_HOPS || !trusted.contains(client);
    (client, hops, is_known)
}

/// An address, alone or with a port, as some proxies write it.
fn address_of(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address: Option<IpAddr> = match bare {
        Some(bare) => bare.parse().ok().filter(IpAddr::is_ipv6),
        None => text.parse().ok(),
    };
    let with_port = || text.parse().ok().map(|it: SocketAddr| it.ip());
    address.or_else(with_port).map(|it| it.to_canonical())
}

/// The value of a field that is there once.
fn single<'f>(fields: &'f Fields, name: &'static str) -> Option<&'f str> {
    let mut values = fields.get_all(name);
    let value = values.next().filter(|_| values.next().is_none())?;
    std::str::from_utf8(value).ok()
}

/// How the client reached the first proxy. Of several, one in the clear is enough for it to be that.
fn scheme_of(fields: &Fields) -> Option<Scheme> {
    let schemes = fields
        .get_all("x-forwarded-proto")
        .flat_map(list_elements)
        .map(|scheme| match scheme {
            it if it.eq_ignore_ascii_case(b"https") || it.eq_ignore_ascii_case(b"wss") => {
                Some(Scheme::Https)
            }
            it if it.eq_ignore_ascii_case(b"http") || it.eq_ignore_ascii_case(b"ws") => {
                Some(Scheme::Http)
            }
            _ => None,
        });
    // What is neither says nothing, and nothing is made of a list with it.
    schemes.reduce(|all, next| match (all, next) {
        (Some(Scheme::Http), _) | (_, Some(Scheme::Http)) => Some(Scheme::Http),
        (Some(Scheme::Https), Some(Scheme::Https)) => Some(Scheme::Https),
        (None, _) | (_, None) => None,
    })?
}

/// A host with or without a port, of what can stand in one.
fn is_authority(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(legal)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|it| it.is_ascii_digit()) && text.parse().is_ok_and(|port: u16| port > 0)
}

/// The port that the client used, where the proxy does not say.
fn port_of(host: Option<&str>, scheme: Scheme) -> String {
    let after_host = host.and_then(|host| host.rsplit_once(':'));
    match (after_host, scheme) {
        (Some((_, port)), _) if is_port(port) => port.to_owned(),
        (_, Scheme::Https) => "443".to_owned(),
        (_, Scheme::Http) => "80".to_owned(),
    }
}

/// A path on this site that means the same to everybody.
fn is_prefix(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    text.len() <= LONGEST
        && text.starts_with('/')
        && text.bytes().all(legal)
        && !text.contains("//")
        && text
            .split('/')
            .all(|segment| !matches!(segment, "." | ".."))
}
