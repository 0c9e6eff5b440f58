//! Request lines (RFC 9112 sections 2 and 3).

use super::{Case, GET, case, line};

pub fn cases() -> Vec<Case> {
    vec![
        case(
            "a request line is method, target and version",
            "RFC 9112 3",
            line("GET /public/@@@@ HTTP/1.1"),
        )
        .granted(GET),
        case(
            "two spaces before the target",
            "RFC 9112 3",
            line("GET  /public/@@@@ HTTP/1.1"),
        )
        .refused(400),
        case(
            "two spaces before the version",
            "RFC 9112 3",
            line("GET /public/@@@@  HTTP/1.1"),
        )
        .refused(400),
        case(
            "a tab for a space",
            "RFC 9112 3",
            line("GET\t/public/@@@@ HTTP/1.1"),
        )
        .refused(400),
        case(
            "a vertical tab for a space",
            "RFC 9112 3",
            line("GET\x0b/public/@@@@ HTTP/1.1"),
        )
        .refused(400),
        case(
            "a form feed before the version",
            "RFC 9112 3",
            line("GET /public/@@@@\x0cHTTP/1.1"),
        )
        .refused(400),
        case(
            "a space at the end",
            "RFC 9112 3",
            line("GET /public/@@@@ HTTP/1.1 "),
        )
        .refused(400),
        case(
            "a space at the beginning",
            "RFC 9112 3",
            line(" GET /public/@@@@ HTTP/1.1"),
        )
        .refused(400),
        case(
            "a space in the target",
            "RFC 9112 3.2",
            line("GET /public/@@@@ x HTTP/1.1"),
        )
        .refused(400),
        case(
            "a second version in the target",
            "RFC 9112 3; cache poisoning by HTTP/1.1 HTTP/1.1",
            line("GET /public/@@@@ HTTP/1.1 HTTP/1.1"),
        )
        .refused(400),
        case(
            "no version (HTTP/0.9)",
            "RFC 9112 C.1.1",
            "GET /public/@@@@\r\n\r\n",
        )
        .refused(400),
        case("no target", "RFC 9112 3", line("GET HTTP/1.1")).refused(400),
        case(
            "the name of the protocol in lower case",
            "RFC 9112 2.3",
            line("GET /public/@@@@ http/1.1"),
        )
        .refused(400),
        case(
            "another protocol",
            "RFC 9112 2.3",
            line("GET /public/@@@@ ICAP/1.0"),
        )
        .refused(400),
        case(
            "a version of two digits",
            "RFC 9112 2.3",
            line("GET /public/@@@@ HTTP/1.10"),
        )
        .refused(400),
        case(
            "a version of one digit",
            "RFC 9112 2.3",
            line("GET /public/@@@@ HTTP/1"),
        )
        .refused(400),
        case(
            "a version with a comma",
            "RFC 9112 2.3",
            line("GET /public/@@@@ HTTP/1,1"),
        )
        .refused(400),
        case(
            "version 1.2",
            "RFC 9110 15.6.6",
            line("GET /public/@@@@ HTTP/1.2"),
        )
        .refused(505),
        case(
            "version 2.0",
            "RFC 9110 15.6.6",
            line("GET /public/@@@@ HTTP/2.0"),
        )
        .refused(505),
        case(
            "version 0.9 by name",
            "RFC 9110 15.6.6",
            line("GET /public/@@@@ HTTP/0.9"),
        )
        .refused(505),
        case(
            "version 3.0",
            "RFC 9110 15.6.6",
            line("GET /public/@@@@ HTTP/3.0"),
        )
        .refused(505),
        case(
            "an HTTP/2 preface in TLS for HTTP/1.1",
            "RFC 9113 3.4",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        )
        .refused(505),
        case(
            "bare LF behind the request line",
            "RFC 9112 2.2",
            "GET /public/@@@@ HTTP/1.1\nHost: localhost\r\n\r\n",
        )
        .refused(400),
        case(
            "bare LF everywhere",
            "RFC 9112 2.2",
            "GET /public/@@@@ HTTP/1.1\nHost: localhost\n\n",
        )
        .refused(400),
        case(
            "bare CR behind the request line",
            "RFC 9112 2.2",
            "GET /public/@@@@ HTTP/1.1\rHost: localhost\r\n\r\n",
        )
        .refused(400),
        case(
            "CR CR LF behind the request line",
            "RFC 9112 2.2",
            "GET /public/@@@@ HTTP/1.1\r\r\nHost: localhost\r\n\r\n",
        )
        .refused(400),
        case(
            "an empty line before the request line",
            "RFC 9112 2.2",
            "\r\nGET /public/@@@@ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .refused(400),
        case(
            "a bare LF before the request line",
            "RFC 9112 2.2",
            "\nGET /public/@@@@ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .refused(400),
        case(
            "white space between the request line and the fields",
            "RFC 9112 2.2",
            "GET /public/@@@@ HTTP/1.1\r\n X: y\r\nHost: localhost\r\n\r\n",
        )
        .refused(400),
        case(
            "NUL before the method",
            "RFC 9112 3",
            line("\0GET /public/@@@@ HTTP/1.1"),
        )
        .refused(400),
        case(
            "a byte order mark before the method",
            "RFC 9112 3",
            line("\u{feff}GET /public/@@@@ HTTP/1.1"),
        )
        .refused(400),
        case(
            "TLS inside TLS",
            "RFC 9112 3",
            b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
        )
        .refused(400),
        case(
            "an answer for a request",
            "RFC 9112 3",
            "HTTP/1.1 200 OK\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        )
        .refused(400),
        case(
            "a target longer than a head may be",
            "RFC 9110 15.5.15",
            format!(
                "GET /public/@@@@{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "a".repeat(33 << 10)
            ),
        )
        .refused(414),
    ]
}
