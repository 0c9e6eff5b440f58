//! The key `tls` of an upstream.

use std::sync::Arc;

use crate::config::Source;
use crate::config::document::At;
use crate::config::file::UpstreamTlsFile;
use crate::config::scalar::{Flag, OneOrMany};
use crate::proxy::spec::HttpVersion;
use crate::tls::connector::Connector;
use crate::tls::spec::{MinVersion, UpstreamApplication, UpstreamTlsSpec};

use super::clients::read_spki;
use super::{client_auth, tls};

/// How a backend is spoken to over TLS.
pub(super) fn lower(
    written: UpstreamTlsFile,
    version: HttpVersion,
    source: &Source<'_>,
    at: &At<'_>,
) -> Arc<Connector> {
    let UpstreamTlsFile {
        ca,
        pins,
        server_name,
        certificate,
        min_version,
        unsafe_skip_verify,
    } = written;
    let skips_verification = unsafe_skip_verify == Some(Flag(true));
    for (key, is_there) in [("ca", ca.is_some()), ("pins", pins.is_some())] {
        if skips_verification && is_there {
            at.key(key).key_problem(
                "nothing is verified with unsafe_skip_verify; take one of the two out",
            );
        }
    }
    if skips_verification {
        at.key("unsafe_skip_verify").warn(
            "whoever can put himself between this and the backend can read all and answer for it; \
             pin the backend's key instead",
        );
    }
    let ca_at = at.key("ca");
    let trust = ca.map(|ca| client_auth::lower_trust(ca, source, &ca_at));
    let version_at = at.key("min_version");
    let min_version = tls::lower_min_version(min_version, MinVersion::default(), &version_at);
    let certificate = certificate
        .and_then(|written| tls::lower_certificate(written, source, &at.key("certificate")));
    Arc::new(Connector::new(UpstreamTlsSpec {
        place: at.place(),
        server_name: server_name.map(|name| lower_name(name, &at.key("server_name"))),
        trust: trust.unwrap_or_default(),
        pins: pins
            .map(|pins| lower_pins(pins, &at.key("pins")))
            .unwrap_or_default(),
        certificate,
        min_version,
        skips_verification,
        application: match version {
            HttpVersion::Http10 | HttpVersion::Http11 => UpstreamApplication::Http11,
            HttpVersion::Http2 => UpstreamApplication::Http2,
        },
    }))
}

/// Without a name nothing could be looked for in a certificate.
fn lower_name(name: String, at: &At<'_>) -> String {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = (1..=253).contains(&name.len()) && name.bytes().all(legal);
    let is_name = is_name && !name.ends_with('.');
    if !is_name && name.parse::<std::net::IpAddr>().is_err() {
        let got = at.quoted(&name);
        at.problem(format!(
            "expected a name like backend.example.com or an address, got {got}"
        ));
    }
    name
}

fn lower_pins(written: OneOrMany, at: &At<'_>) -> Vec<[u8; 32]> {
    if written.is_empty() {
        at.problem("none; write the fingerprint of a key, or leave the key out");
    }
    let mut pins = Vec::new();
    for (at, pin) in at.texts(written) {
        match read_spki(&pin) {
            Ok(pin) => pins.push(pin),
            Err(problem) => at.problem(problem),
        }
    }
    pins
}
