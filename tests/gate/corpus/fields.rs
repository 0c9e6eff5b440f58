//! Field lines (RFC 9110 section 5, RFC 9112 section 5).

use super::{Case, GET, POST, case, get, post};

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case(
            "white space around a value",
            "RFC 9112 5",
            get("X: \t y \t\r\n"),
        )
        .granted(GET),
        case(
            "no white space before a value",
            "RFC 9112 5",
            get("X:y\r\n"),
        )
        .granted(GET),
        case("an empty value", "RFC 9110 5.5", get("X:\r\n")).granted(GET),
        case(
            "a name with all signs of a token",
            "RFC 9110 5.6.2",
            get("!#$%&'*+-.^_`|~9aZ: y\r\n"),
        )
        .granted(GET),
        case("a space before the colon", "RFC 9112 5.1", get("X : y\r\n")).refused(400),
        case("a tab before the colon", "RFC 9112 5.1", get("X\t: y\r\n")).refused(400),
        case(
            "a space before the colon of a length",
            "RFC 9112 5.1",
            post("Content-Length : 2\r\n", "ok"),
        )
        .refused(400),
        case("a space in a name", "RFC 9110 5.1", get("X Y: z\r\n")).refused(400),
        case("a folded value", "RFC 9112 5.2", get("X: y\r\n z\r\n")).refused(400),
        case(
            "a value folded by a tab",
            "RFC 9112 5.2",
            get("X: y\r\n\tz\r\n"),
        )
        .refused(400),
        case(
            "a folded length",
            "RFC 9112 5.2",
            post("Content-Length:\r\n 2\r\n", "ok"),
        )
        .refused(400),
        case(
            "a line of white space",
            "RFC 9112 5.2",
            get("X: y\r\n \r\nZ: z\r\n"),
        )
        .refused(400),
        case("an empty name", "HAProxy CVE-2023-25725", get(": y\r\n")).refused(400),
        case(
            "an empty name before a length",
            "HAProxy CVE-2023-25725",
            post(":x\r\nContent-Length: 2\r\n", "ok"),
        )
        .refused(400),
        case("no colon", "RFC 9112 5", get("X\r\n")).refused(400),
        case("a colon only", "HAProxy CVE-2023-25725", get(":\r\n")).refused(400),
        case("NUL in a name", "RFC 9110 5.1", get("X\0Y: z\r\n")).refused(400),
        case("NUL in a value", "Envoy CVE-2019-9900", get("X: y\0z\r\n")).refused(400),
        case("a bell in a value", "RFC 9110 5.5", get("X: y\x07z\r\n")).refused(400),
        case("DEL in a value", "RFC 9110 5.5", get("X: y\x7fz\r\n")).refused(400),
        case(
            "a bare CR in a value",
            "RFC 9112 2.2",
            get("X: y\rZ: z\r\n"),
        )
        .refused(400),
        case(
            "a bare LF in a value",
            "RFC 9112 2.2",
            get("X: y\nZ: z\r\n"),
        )
        .refused(400),
        case("CR CR LF behind a value", "RFC 9112 2.2", get("X: y\r\r\n")).refused(400),
        case(
            "a bare LF for the empty line",
            "RFC 9112 2.2",
            "GET /public/@@@@ HTTP/1.1\r\nHost: localhost\r\n\n\r\n",
        )
        .refused(400),
        case(
            "CR CR LF for the empty line",
            "RFC 9112 2.2",
            "GET /public/@@@@ HTTP/1.1\r\nHost: localhost\r\n\r\r\n\r\n",
        )
        .refused(400),
        case(
            "a smuggled length behind a bare LF",
            "Kettle 2019",
            post(
                "X: y\nContent-Length: 44\r\n",
                "GET /public/smuggled-@@@@ HTTP/1.1\r\n\r\n",
            ),
        )
        .refused(400),
        case(
            "a name with a bracket",
            "RFC 9110 5.6.2",
            get("X[Y]: z\r\n"),
        )
        .refused(400),
        case("a name with a slash", "RFC 9110 5.6.2", get("X/Y: z\r\n")).refused(400),
        case("a name in quotes", "RFC 9110 5.6.2", get("\"X\": z\r\n")).refused(400),
        case(
            "a name outside ASCII",
            "RFC 9110 5.6.2",
            get("X\u{e9}: z\r\n"),
        )
        .refused(400),
        case(
            "a comment before a name",
            "RFC 9110 5.6.5",
            get("(x)X: z\r\n"),
        )
        .refused(400),
        case("101 fields", "RFC 6585 5", get(&"X: y\r\n".repeat(100))).refused(431),
        case("100 fields", "RFC 6585 5", get(&"X: y\r\n".repeat(99))).granted(GET),
        case(
            "a head of more than 32 KiB",
            "RFC 6585 5",
            get(&format!("X: {}\r\n", "y".repeat(32 << 10))),
        )
        .refused(431),
        case(
            "a length in a comment",
            "RFC 9112 6.3",
            post("X: (Content-Length: 9)\r\nContent-Length: 2\r\n", "ok"),
        )
        .granted_with(POST, b"ok"),
    ];
    let latin = b"GET /public/@@@@ HTTP/1.1\r\nHost: localhost\r\nX: caf\xe9\r\n\r\n";
    cases.push(case("Latin-1 in a value", "RFC 9110 5.5", latin).granted(GET));
    cases
}
