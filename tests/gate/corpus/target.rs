//! Request targets (RFC 9112 section 3.2, RFC 3986).

use super::{Case, GET, case, line};

pub fn cases() -> Vec<Case> {
    let of = |target: &str| line(&format!("GET {target} HTTP/1.1"));
    let mut cases = vec![
        case(
            "origin form with a query",
            "RFC 9112 3.2.1",
            of("/public/@@@@?a=1&b=%2f..;//x"),
        )
        .granted("GET /public/@@@@?a=1&b=%2f..;//x"),
        case(
            "what many clients do not encode in a query",
            "WHATWG URL",
            of("/public/@@@@?a={b}[c]|d^`e\\f"),
        )
        .granted("GET /public/@@@@?a={b}[c]|d^`e\\f"),
        case(
            "a second question mark is of the query",
            "RFC 3986 3.4; Heimdall CVE-2026-32811",
            of("/public/@@@@?a?b"),
        )
        .granted("GET /public/@@@@?a?b"),
        case(
            "absolute form",
            "RFC 9112 3.2.2",
            of("http://localhost/public/@@@@"),
        )
        .granted(GET),
        case(
            "absolute form with https",
            "RFC 9112 3.2.2",
            of("https://localhost/public/@@@@"),
        )
        .granted(GET),
        case(
            "absolute form in another case",
            "RFC 3986 3.1",
            of("HTTP://LOCALHOST/public/@@@@"),
        )
        .granted(GET),
        case(
            "absolute form of another scheme",
            "RFC 9110 4.2",
            of("ftp://localhost/public/@@@@"),
        )
        .refused(400),
        case(
            "absolute form of a file",
            "RFC 9110 4.2",
            of("file:///public/@@@@"),
        )
        .refused(400),
        case(
            "absolute form with user information",
            "RFC 9110 4.2.4",
            of("http://user@localhost/public/@@@@"),
        )
        .refused(400),
        case(
            "absolute form with a password",
            "RFC 9110 4.2.4",
            of("http://a:b@localhost/public/@@@@"),
        )
        .refused(400),
        case(
            "absolute form without a host",
            "RFC 9110 4.2.1",
            of("http:///public/@@@@"),
        )
        .refused(400),
        case(
            "absolute form of another host",
            "RFC 9112 3.2.2",
            of("http://other/public/@@@@"),
        )
        .refused(400),
        case(
            "absolute form of another port",
            "RFC 9112 3.2.2",
            of("http://localhost:81/public/@@@@"),
        )
        .refused(400),
        case(
            "absolute form with a space for the host",
            "RFC 3986 3.2.2",
            of("http://%20/public/@@@@"),
        )
        .refused(400),
        case(
            "scheme without slashes",
            "RFC 9112 3.2",
            of("http:public/@@@@"),
        )
        .refused(400),
        case("authority form", "RFC 9112 3.2.3", of("localhost:443")).refused(400),
        case("a relative path", "RFC 9112 3.2", of("public/@@@@")).refused(400),
        case("a backslash in front", "RFC 9112 3.2", of("\\public\\@@@@")).refused(400),
        case("a fragment", "HAProxy CVE-2023-45539", of("/public/@@@@#x")).refused(400),
        case(
            "a fragment that hides a suffix",
            "HAProxy CVE-2023-45539",
            of("/admin/@@@@#/public/x.png"),
        )
        .refused(400),
        case(
            "a fragment in the query",
            "oauth2-proxy GHSA-pxq7-h93f-9jrg",
            of("/public/@@@@?x#y"),
        )
        .refused(400),
        case(
            "an opening angle bracket",
            "RFC 3986 2",
            of("/public/@@@@?<script"),
        )
        .refused(400),
        case("a quotation mark", "RFC 3986 2", of("/public/@@@@?\"")).refused(400),
        case(
            "NUL",
            "RFC 3986 2; Envoy CVE-2019-9900",
            of("/public/@@@@\0"),
        )
        .refused(400),
        case("DEL", "RFC 3986 2", of("/public/@@@@\x7f")).refused(400),
        case("UTF-8 as it is", "RFC 3986 2", of("/public/@@@@/\u{fc}")).refused(400),
        case("a tab", "RFC 3986 2", of("/public/@@@@?a\tb")).refused(400),
        case("a bare CR", "RFC 9112 2.2", of("/public/@@@@?a\rb")).refused(400),
    ];
    let latin = b"GET /public/@@@@/\xfc HTTP/1.1\r\nHost: localhost\r\n\r\n";
    cases.push(case("Latin-1 as it is", "RFC 3986 2", latin).refused(400));
    cases
}
