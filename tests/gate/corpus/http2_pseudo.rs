//! Pseudo fields of HTTP/2 and what they become in HTTP/1 (RFC 9113 section 8.3).

use super::Case;
use super::http2::{PROTOCOL_ERROR, case, headers, headers_of_body, replaced, with};
use crate::harness::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, block, frame};

const GET: &str = "GET /public/@@@@";

pub fn cases() -> Vec<Case> {
    let path = |path: &str| headers(&replaced(":path", Some(path)));
    let method = |method: &str| headers(&replaced(":method", Some(method)));
    let authority = |authority: &str| headers(&replaced(":authority", Some(authority)));
    let scheme = |scheme: &str| headers(&replaced(":scheme", Some(scheme)));
    let first = |fields: &[(&str, &str)]| {
        let mut all: Vec<(String, Vec<u8>)> = Vec::new();
        all.extend(
            fields
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into())),
        );
        all.extend(with(&[]));
        headers(&all)
    };
    vec![
        case("a request", "RFC 9113 8.3.1", headers(&with(&[]))).granted(GET),
        case(
            "a path with a query",
            "RFC 9113 8.3.1",
            path("/public/@@@@?a=%2f//..;"),
        )
        .granted("GET /public/@@@@?a=%2f//..;"),
        case(
            "no method",
            "RFC 9113 8.3.1",
            headers(&replaced(":method", None)),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "no scheme",
            "RFC 9113 8.3.1",
            headers(&replaced(":scheme", None)),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "no path",
            "RFC 9113 8.3.1",
            headers(&replaced(":path", None)),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "no authority",
            "RFC 9113 8.3.1",
            headers(&replaced(":authority", None)),
        )
        .refused(400),
        case("an empty path", "RFC 9113 8.3.1", path("")).reset(PROTOCOL_ERROR),
        case("an empty method", "RFC 9110 9.1", method("")).ends(),
        case("two methods", "RFC 9113 8.3", first(&[(":method", "POST")])).reset(PROTOCOL_ERROR),
        case("two paths", "RFC 9113 8.3", first(&[(":path", "/admin/")])).reset(PROTOCOL_ERROR),
        case(
            "two authorities",
            "RFC 9113 8.3",
            first(&[(":authority", "other")]),
        )
        .reset(PROTOCOL_ERROR),
        case("two schemes", "RFC 9113 8.3", first(&[(":scheme", "http")])).reset(PROTOCOL_ERROR),
        case(
            "a pseudo field that there is not",
            "RFC 9113 8.3",
            first(&[(":foo", "bar")]),
        )
        .ends(),
        case(
            "the pseudo field of an answer",
            "RFC 9113 8.3",
            first(&[(":status", "200")]),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "a pseudo field behind others",
            "RFC 9113 8.3",
            headers(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "localhost"),
                ("x", "y"),
                (":path", "/public/@@@@"),
            ]),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "a pseudo field in upper case",
            "RFC 9113 8.2.1",
            first(&[(":Path", "/admin/")]),
        )
        .ends(),
        case(
            "a space in the path",
            "Kettle 2021; request line injection",
            path("/public/@@@@ HTTP/1.1"),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "CR LF in the path",
            "Kettle 2021; request splitting",
            path("/public/@@@@ HTTP/1.1\r\nHost: x\r\n\r\nGET /smuggled-@@@@"),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "LF in the path",
            "Kettle 2021; nginx CVE-2026-42926",
            path("/public/@@@@\nX: y"),
        )
        .reset(PROTOCOL_ERROR),
        case("NUL in the path", "RFC 9113 8.2.1", path("/public/@@@@\0")).reset(PROTOCOL_ERROR),
        case(
            "a quotation mark in the path",
            "RFC 3986 2",
            path("/public/@@@@\""),
        )
        .refused(400),
        case(
            "UTF-8 in the path",
            "RFC 3986 2",
            path("/public/@@@@/\u{fc}"),
        )
        .refused(400),
        case("a relative path", "RFC 9113 8.3.1", path("public/@@@@")).reset(PROTOCOL_ERROR),
        case(
            "an absolute path of another host",
            "RFC 9113 8.3.1",
            path("http://other/public/@@@@"),
        )
        .reset(PROTOCOL_ERROR),
        case("asterisk form with GET", "RFC 9113 8.3.1", path("*")).refused(400),
        case(
            "two slashes in front of the path",
            "OPA-Envoy CVE-2026-26205",
            path("//admin/@@@@"),
        )
        .refused(400),
        case(
            "dots in the path",
            "RFC 3986 5.2.4",
            path("/public/@@@@/../../admin/"),
        )
        .refused(400),
        case(
            "an encoded slash in the path",
            "Envoy CVE-2021-29492",
            path("/public/@@@@%2fa"),
        )
        .refused(400),
        case(
            "an encoded slash on a route that allows it",
            "Envoy CVE-2021-29492",
            path("/relaxed/@@@@%2fa"),
        )
        .granted("GET /relaxed/@@@@%2fa"),
        case(
            "dots behind an encoded slash on that route",
            "Envoy CVE-2021-29492",
            path("/relaxed/@@@@/..%2f..%2fadmin"),
        )
        .refused(400),
        case(
            "a method with a space",
            "Kettle 2021; request line injection",
            method("GET /admin/ HTTP/1.1\r\nX:"),
        )
        .ends(),
        case("a method with CR LF", "Kettle 2021", method("GET\r\n")).ends(),
        case("a method in lower case", "RFC 9110 9.1", method("get")).refused(501),
        case("CONNECT with a path", "RFC 9113 8.5", method("CONNECT")).reset(PROTOCOL_ERROR),
        case(
            "CONNECT",
            "RFC 9113 8.5",
            headers(&[(":method", "CONNECT"), (":authority", "localhost:443")]),
        )
        .refused(405),
        case("TRACE", "RFC 9110 9.3.8", method("TRACE")).refused(405),
        case(
            "an authority with user information",
            "RFC 9113 8.3.1",
            authority("user@localhost"),
        )
        .refused(400),
        case(
            "an authority with CR LF",
            "Kettle 2021",
            authority("localhost\r\nX: y"),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "an authority with a space",
            "Kettle 2021",
            authority("localhost x"),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "an authority with a path",
            "Kettle 2021",
            authority("localhost/admin"),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "another host than the authority",
            "RFC 9113 8.3.1",
            headers(&with(&[("host", "other")])),
        )
        .refused(400),
        case(
            "the same host as the authority",
            "RFC 9113 8.3.1",
            headers(&with(&[("host", "localhost")])),
        )
        .granted(GET),
        case(
            "two hosts beside the authority",
            "RFC 9112 3.2",
            headers(&with(&[("host", "localhost"), ("host", "localhost")])),
        )
        .refused(400),
        case(
            "a host without an authority",
            "RFC 9113 8.3.1",
            headers(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "/public/@@@@"),
                ("host", "localhost"),
            ]),
        )
        .granted(GET),
        case("another scheme", "RFC 9113 8.3.1", scheme("ftp")).refused(400),
        case(
            "a scheme with a URL in it",
            "Kettle 2021; URL prefix injection",
            scheme("https://other/x?"),
        )
        .reset(PROTOCOL_ERROR),
        case("a scheme with a space", "Kettle 2021", scheme("https ")).reset(PROTOCOL_ERROR),
        case("the scheme http", "RFC 9113 8.3.1", scheme("http")).granted(GET),
        case(
            "pseudo fields in the trailers go nowhere: h2 leaves them out",
            "RFC 9113 8.1",
            [
                headers_of_body(&with(&[])),
                frame(DATA, 0, 1, b"ok"),
                frame(
                    HEADERS,
                    END_STREAM | END_HEADERS,
                    1,
                    &block(&[(":path", "/admin/")]),
                ),
            ]
            .concat(),
        )
        .granted_with(GET, b"ok"),
    ]
}
