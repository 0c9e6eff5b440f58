//! Offers of another protocol (RFC 9110 section 7.8, RFC 6455, RFC 9931): what follows one is HTTP
//! until the backend has agreed.

use super::{Arrives, Case, GET, POST, case, get, post};

/// What a client would send that takes the offer for accepted.
const INNER: &str = "GET /public/@@@@/next HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub fn cases() -> Vec<Case> {
    let offer = |protocol: &str| get(&format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n"));
    let both = || {
        let lines = [GET.to_owned(), format!("{GET}/next")];
        Arrives::Requests(lines.map(|line| (line, Vec::new())).into())
    };
    let inner_length = format!("Content-Length: {}\r\n", INNER.len());
    vec![
        case("an offer that the backend does not take", "RFC 9110 7.8", offer("foo/1")).granted(GET),
        case("an offer of h2c is never passed on", "RFC 9113 3.1; h2c smuggling", get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n")).granted(GET),
        case("what follows an offer is a request, not a tunnel", "RFC 9931; Pingora CVE-2026-2833, Envoy CVE-2024-23326", [offer("foo/1"), INNER.into()].concat()).answered(&[200, 200], both()),
        case("what follows an offer of h2c is a request", "RFC 9931; h2c smuggling", [offer("h2c"), INNER.into()].concat()).answered(&[200, 200], both()),
        case("a preface behind an offer of h2c", "RFC 9931; h2c smuggling", [offer("h2c"), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()].concat()).answered(&[200, 505], Arrives::Requests(vec![(GET.into(), Vec::new())])),
        case("an offer with a body", "nghttpx CVE-2026-58055", post(&format!("Connection: Upgrade\r\nUpgrade: foo/1\r\n{inner_length}"), INNER)).granted_with(POST, INNER.as_bytes()),
        case("an offer that Connection does not name", "RFC 9110 7.8", get("Upgrade: foo/1\r\n")).granted(GET),
        case("an offer to a protected route", "RFC 9110 15.5.2", format!("GET /admin/@@@@ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n{}", "\u{1}".repeat(4))).answered(&[401, 400], Arrives::Nothing),
        case("an offer in HTTP/1.0", "RFC 9110 7.8", "GET /public/@@@@ HTTP/1.0\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: foo/1\r\n\r\n").granted(GET),
    ]
}
