//! Whom a request is for (RFC 9110 section 7.2, RFC 9112 section 3.2).

use super::{Case, GET, case};

pub fn cases() -> Vec<Case> {
    let with = |lines: &str| format!("GET /public/@@@@ HTTP/1.1\r\n{lines}\r\n");
    let host = |host: &str| with(&format!("Host: {host}\r\n"));
    vec![
        case("one host", "RFC 9112 3.2", host("localhost")).granted(GET),
        case("a host with a port", "RFC 9112 3.2", host("localhost:8443")).granted(GET),
        case("an IPv6 address", "RFC 3986 3.2.2", host("[::1]:8443")).granted(GET),
        case(
            "HTTP/1.0 without a host",
            "RFC 9112 3.2",
            "GET /public/@@@@ HTTP/1.0\r\n\r\n",
        )
        .granted(GET),
        case("HTTP/1.1 without a host", "RFC 9112 3.2", with("X: y\r\n")).refused(400),
        case(
            "two hosts",
            "RFC 9112 3.2",
            with("Host: localhost\r\nHost: other\r\n"),
        )
        .refused(400),
        case(
            "the same host twice",
            "RFC 9112 3.2",
            with("Host: localhost\r\nHost: localhost\r\n"),
        )
        .refused(400),
        case(
            "a second host in another case",
            "RFC 9112 3.2",
            with("Host: localhost\r\nhOST: other\r\n"),
        )
        .refused(400),
        case(
            "a second host with a space before the colon",
            "RFC 9112 5.1",
            with("Host: localhost\r\nHost : other\r\n"),
        )
        .refused(400),
        case(
            "a second host on a folded line",
            "RFC 9112 5.2",
            with("Host: localhost\r\n Host: other\r\n"),
        )
        .refused(400),
        case("an empty host", "RFC 9110 7.2", host("")).refused(400),
        case("user information", "RFC 9110 4.2.4", host("user@localhost")).refused(400),
        case("a path", "RFC 9110 7.2", host("localhost/admin")).refused(400),
        case("a query", "RFC 9110 7.2", host("localhost?x")).refused(400),
        case("a fragment", "RFC 9110 7.2", host("localhost#x")).refused(400),
        case(
            "two hosts in a list",
            "RFC 9110 7.2",
            host("localhost, other"),
        )
        .refused(400),
        case(
            "two hosts in one value",
            "RFC 9110 7.2",
            host("localhost other"),
        )
        .refused(400),
        case("a scheme", "RFC 9110 7.2", host("http://localhost")).refused(400),
        case(
            "a port that is none",
            "RFC 9110 4.2.1",
            host("localhost:http"),
        )
        .refused(400),
        case(
            "a port of six digits",
            "RFC 9110 4.2.1",
            host("localhost:999999"),
        )
        .refused(400),
        case(
            "a port that is too high",
            "RFC 9110 4.2.1",
            host("localhost:65536"),
        )
        .refused(400),
        case("a signed port", "RFC 9110 4.2.1", host("localhost:+80")).refused(400),
        case("two ports", "RFC 9110 4.2.1", host("localhost:80:81")).refused(400),
        case("percent-encoding", "RFC 3986 3.2.2", host("local%68ost")).refused(400),
        case("an unclosed bracket", "RFC 3986 3.2.2", host("[::1")).refused(400),
        case(
            "what is no IPv6 address",
            "RFC 3986 3.2.2",
            host("[localhost]"),
        )
        .refused(400),
        case("a zone", "RFC 6874", host("[fe80::1%25eth0]")).refused(400),
        case("a backslash", "RFC 9110 7.2", host("localhost\\other")).refused(400),
        case("a control character", "RFC 9110 5.5", host("local\x01host")).refused(400),
        case("UTF-8", "RFC 3986 3.2.2", host("l\u{f6}calhost")).refused(400),
        case(
            "host and absolute form in different case",
            "RFC 9110 4.2.3",
            "GET http://LocalHost/public/@@@@ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .granted(GET),
        case(
            "X-Forwarded-Host changes nothing",
            "Traefik GHSA-6384-m2mw-rf54",
            with("Host: localhost\r\nX-Forwarded-Host: other\r\n"),
        )
        .granted(GET),
    ]
}
