//! What a message says about its connection (RFC 9110 section 7.6, RFC 9112 section 9).

use super::{Arrives, Case, GET, case, get, post};

pub fn cases() -> Vec<Case> {
    let many = (0..33)
        .map(|n| format!("x{n}"))
        .collect::<Vec<_>>()
        .join(", ");
    let pipelined = "GET /public/@@@@/1 HTTP/1.1\r\nHost: localhost\r\n\r\n\
                     GET /admin/@@@@ HTTP/1.1\r\nHost: localhost\r\n\r\n\
                     GET /public/@@@@/2 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let each = |lines: &[&str]| {
        let lines = lines.iter().map(|line| ((*line).to_owned(), Vec::new()));
        Arrives::Requests(lines.collect())
    };
    let closing = "GET /public/@@@@ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n\
                   GET /public/smuggled-@@@@ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    vec![
        case("each of several is judged by itself", "RFC 9112 9.3.2", pipelined).answered(&[200, 401, 200], each(&["GET /public/@@@@/1", "GET /public/@@@@/2"])),
        case("what follows the end of a connection is not served", "RFC 9112 9.6", closing).granted(GET),
        case("HTTP/1.0 ends its connection", "RFC 9112 9.3", "GET /public/@@@@ HTTP/1.0\r\nHost: localhost\r\n\r\nGET /public/smuggled-@@@@ HTTP/1.0\r\n\r\n").granted(GET),
        case("a connection option takes out its field", "RFC 9110 7.6.1", get("Connection: X-Hop\r\nX-Hop: y\r\n")).granted(GET),
        case("options cannot take out what the gate writes", "Fabio CVE-2025-48865, Traefik CVE-2024-45410", get("Connection: X-Forwarded-For, X-Real-IP, Host, X-Request-Id\r\n")).granted(GET),
        case("options cannot take out the length", "Kettle 2019", post("Content-Length: 2\r\nConnection: Content-Length\r\n", "ok")).granted_with("POST /public/@@@@", b"ok"),
        case("options cannot take out the coding", "Kettle 2019", post("Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n", "2\r\nok\r\n0\r\n\r\n")).granted_with("POST /public/@@@@", b"ok"),
        case("33 options", "RFC 9110 7.6.1", get(&format!("Connection: {many}\r\n"))).refused(400),
        case("Keep-Alive is of this connection", "RFC 9112 C.2.2", get("Keep-Alive: timeout=5\r\nConnection: keep-alive\r\n")).granted(GET),
        case("Proxy-Connection is of no connection", "RFC 9112 C.2.2", get("Proxy-Connection: keep-alive\r\n")).granted(GET),
        case("TE is of this connection", "RFC 9110 10.1.4", get("TE: trailers, gzip\r\nConnection: TE\r\n")).granted(GET),
    ]
}
