//! The section `listeners`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::document::At;
use crate::config::file::ListenerFile;
use crate::config::scalar::{Flag, Items};
use crate::listen::spec::{ListenerSpec, PlainLogin, Protocol};

use super::{address, choose, in_range};

/// Open connections where nothing is written: each costs some 50 KiB with TLS, so these fit in the
/// memory of a small device, and no browser population of one comes near.
const DEFAULT_MAX_CONNECTIONS: usize = 10_000;

/// For an address with a problem, so that the listener's protocol still counts.
const STAND_IN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

#[derive(Clone, Copy)]
enum Word {
    Https,
    Http,
}

/// The listeners. One with a problem still says what it speaks.
pub(super) fn lower(written: Option<Items<ListenerFile>>, at: &At<'_>) -> Vec<ListenerSpec> {
    let missing = "say where to listen, as \"- address: 0.0.0.0:8443\"";
    let Some(written) = at.required("listeners", written, missing) else {
        return Vec::new();
    };
    let at = at.key("listeners");
    if written.0.is_empty() {
        at.problem(format!("none; {missing}"));
    }
    let mut listeners: Vec<(At<'_>, ListenerSpec)> = Vec::new();
    for (at, listener) in at.items(written) {
        let spec = lower_one(listener, &at);
        let same = |other: &&(At<'_>, ListenerSpec)| other.1.address == spec.address;
        if spec.address.port() != 0
            && let Some((other, _)) = listeners.iter().find(same)
        {
            let other = other.path();
            at.key("address")
                .problem(format!("{other} already uses this address"));
        }
        listeners.push((at, spec));
    }
    listeners.into_iter().map(|(_, spec)| spec).collect()
}

fn lower_one(written: ListenerFile, at: &At<'_>) -> ListenerSpec {
    let ListenerFile {
        address,
        protocol,
        max_connections,
        unsafe_login_without_tls,
    } = written;
    let protocol = lower_protocol(protocol, unsafe_login_without_tls, at);
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
    ListenerSpec {
        name: written.unwrap_or_default().into(),
        address: address.unwrap_or(STAND_IN),
        protocol,
        max_connections,
    }
}

fn lower_protocol(written: Option<String>, plain_login: Option<Flag>, at: &At<'_>) -> Protocol {
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
