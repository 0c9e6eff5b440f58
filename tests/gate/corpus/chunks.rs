//! Bodies in chunks (RFC 9112 section 7.1). What is wrong in them shows when the request is on its
//! way: then its connections end.

use super::{Case, POST, case, post};

pub fn cases() -> Vec<Case> {
    let of = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let inner = "GET /public/smuggled-@@@@ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    vec![
        case(
            "two chunks",
            "RFC 9112 7.1",
            of("1\r\no\r\n1\r\nk\r\n0\r\n\r\n"),
        )
        .granted_with(POST, b"ok"),
        case("no chunk", "RFC 9112 7.1", of("0\r\n\r\n")).granted(POST),
        case(
            "a size in upper case",
            "RFC 9112 7.1",
            of("A\r\n0123456789\r\n0\r\n\r\n"),
        )
        .granted_with(POST, b"0123456789"),
        case(
            "zeros before a size",
            "RFC 9112 7.1",
            of("0002\r\nok\r\n000\r\n\r\n"),
        )
        .granted_with(POST, b"ok"),
        case(
            "an extension is not passed on",
            "RFC 9112 7.1.1",
            of("2;a=b;c=\"d\"\r\nok\r\n0;e\r\n\r\n"),
        )
        .granted_with(POST, b"ok"),
        case(
            "trailers",
            "RFC 9112 7.1.2",
            of("2\r\nok\r\n0\r\nX: y\r\n\r\n"),
        )
        .granted_with(POST, b"ok"),
        case(
            "a request in a chunk",
            "RFC 9112 7.1",
            of(&format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len())),
        )
        .granted_with(POST, inner.as_bytes()),
        case(
            "a bare LF behind a size",
            "RFC 9112 2.2",
            of("2\nok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "a bare LF behind an extension",
            "CVE-2025-55315 TERM.EXT",
            of("2;\nxx\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "a bare LF in an extension",
            "CVE-2025-55315 EXT.TERM",
            of("2;a\nok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "a bare CR behind a size",
            "CVE-2025-55315",
            of("2\rok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "a bare CR in an extension",
            "CVE-2025-55315",
            of("2;a\rb\r\nok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "CR LF in a quoted extension",
            "CVE-2025-55315",
            of("2;a=\"\r\nok\r\n0\r\n\r\n\"\r\n"),
        )
        .cut(400),
        case(
            "NUL in an extension",
            "RFC 9112 7.1.1",
            of("2;a\0\r\nok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "an extension of 1 KiB",
            "CVE-2023-39326",
            of(&format!("2;{}\r\nok\r\n0\r\n\r\n", "a".repeat(1024))),
        )
        .cut(400),
        case(
            "a size with 0x",
            "RFC 9112 7.1",
            of("0x2\r\nok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case("a signed size", "RFC 9112 7.1", of("+2\r\nok\r\n0\r\n\r\n")).cut(400),
        case(
            "a negative size",
            "RFC 9112 7.1",
            of("-2\r\nok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "a space before a size",
            "RFC 9112 7.1",
            of(" 2\r\nok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "a space behind a size",
            "RFC 9112 7.1",
            of("2 \r\nok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "a tab behind a size",
            "RFC 9112 7.1",
            of("2\t\r\nok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "an underscore in a size",
            "RFC 9112 7.1",
            of("0_2\r\nok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case("no size", "RFC 9112 7.1", of("\r\nok\r\n0\r\n\r\n")).cut(400),
        case(
            "an extension without a size",
            "RFC 9112 7.1",
            of(";a\r\nok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "a size that is no number",
            "RFC 9112 7.1",
            of("g\r\nok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "a size of 17 digits",
            "RFC 9112 7.1",
            of("10000000000000002\r\nok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "more data than its size says",
            "CVE-2025-55315 SPILL",
            of("2\r\nokx\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "less data than its size says",
            "RFC 9112 7.1",
            of("3\r\nok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "a bare LF behind data",
            "CVE-2025-55315 SPILL",
            of("2\r\nok\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "two bytes that are no CR LF behind data",
            "Kettle 2024 TE.TE",
            of("2\r\nokXX0\r\n\r\n"),
        )
        .cut(400),
        case(
            "a length in the trailers",
            "RFC 9110 6.5.1",
            of("2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n"),
        )
        .cut(400),
        case(
            "a coding in the trailers",
            "RFC 9110 6.5.1",
            of("2\r\nok\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        )
        .cut(400),
        case(
            "a host in the trailers",
            "RFC 9110 6.5.1",
            of("2\r\nok\r\n0\r\nHost: other\r\n\r\n"),
        )
        .cut(400),
        case(
            "a bare LF in the trailers",
            "RFC 9112 2.2",
            of("2\r\nok\r\n0\r\nX: y\n\r\n"),
        )
        .cut(400),
        case(
            "a folded trailer",
            "RFC 9112 5.2",
            of("2\r\nok\r\n0\r\nX: y\r\n z\r\n\r\n"),
        )
        .cut(400),
        case(
            "a trailer without a colon",
            "RFC 9112 5",
            of("2\r\nok\r\n0\r\nGET /public/smuggled-@@@@ HTTP/1.1\r\n\r\n"),
        )
        .cut(400),
        case(
            "trailers of 9 KiB",
            "RFC 9112 7.1.2",
            of(&format!(
                "2\r\nok\r\n0\r\nX: {}\r\n\r\n",
                "y".repeat(9 << 10)
            )),
        )
        .cut(400),
    ]
}
