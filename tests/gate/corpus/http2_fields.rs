//! Fields of HTTP/2 and what they become in HTTP/1 (RFC 9113 section 8.2).

use super::Case;
use super::http2::{PROTOCOL_ERROR, case, headers, headers_of_body, long_headers, post_with, with};
use crate::harness::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, block, frame};

const GET: &str = "GET /public/@@@@";
const POST: &str = "POST /public/@@@@";

pub fn cases() -> Vec<Case> {
    let of = |name: &str, value: &str| headers(&with(&[(name, value)]));
    let body = |fields: &[(&str, &str)], data: &[u8]| {
        [
            headers_of_body(&post_with(fields)),
            frame(DATA, END_STREAM, 1, data),
        ]
        .concat()
    };
    let behind = |fields: &[(&str, &str)]| {
        let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields));
        [
            headers_of_body(&post_with(&[])),
            frame(DATA, 0, 1, b"ok"),
            trailers,
        ]
        .concat()
    };
    vec![
        case("a field", "RFC 9113 8.2", of("x", "y")).granted(GET),
        case("an empty value", "RFC 9110 5.5", of("x", "")).granted(GET),
        case(
            "two cookies become one",
            "RFC 9113 8.2.3",
            headers(&with(&[("cookie", "a=1"), ("cookie", "b=2")])),
        )
        .granted(GET),
        case("a name in upper case", "RFC 9113 8.2.1", of("X", "y")).ends(),
        case("an empty name", "HAProxy CVE-2023-25725", of("", "y")).ends(),
        case(
            "a colon in a name",
            "Kettle 2021; header name splitting",
            of("x: y\r\nhost", "z"),
        )
        .ends(),
        case("a space in a name", "RFC 9113 8.2.1", of("x y", "z")).ends(),
        case(
            "CR LF in a name",
            "Kettle 2021",
            of("x\r\ntransfer-encoding", "chunked"),
        )
        .ends(),
        case("NUL in a name", "RFC 9113 8.2.1", of("x\0", "y")).ends(),
        case(
            "CR LF in a value",
            "Kettle 2021; H2.TE by injection",
            of("x", "y\r\ntransfer-encoding: chunked"),
        )
        .ends(),
        case(
            "a request in a value",
            "Kettle 2021; nginx CVE-2026-42926",
            of(
                "x",
                "y\r\n\r\nGET /public/smuggled-@@@@ HTTP/1.1\r\nHost: localhost",
            ),
        )
        .ends(),
        case("LF in a value", "RFC 9113 8.2.1", of("x", "y\nz")).ends(),
        case("CR in a value", "RFC 9113 8.2.1", of("x", "y\rz")).ends(),
        case("NUL in a value", "RFC 9113 8.2.1", of("x", "y\0z")).ends(),
        case("a space before a value", "RFC 9113 8.2.1", of("x", " y")).refused(400),
        case("a tab behind a value", "RFC 9113 8.2.1", of("x", "y\t")).refused(400),
        case("Connection", "RFC 9113 8.2.2", of("connection", "close")).reset(PROTOCOL_ERROR),
        case(
            "Connection that names a field of ours",
            "Fabio CVE-2025-48865",
            of("connection", "x-forwarded-for"),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "Keep-Alive",
            "RFC 9113 8.2.2",
            of("keep-alive", "timeout=5"),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "Proxy-Connection",
            "RFC 9113 8.2.2",
            of("proxy-connection", "close"),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "Upgrade",
            "RFC 9113 8.2.2; h2c smuggling",
            of("upgrade", "h2c"),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "Transfer-Encoding",
            "RFC 9113 8.2.2; H2.TE",
            body(
                &[("transfer-encoding", "chunked")],
                b"0\r\n\r\nGET /public/smuggled-@@@@ HTTP/1.1\r\n\r\n",
            ),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "a coding spelt with an underscore",
            "Kettle 2021",
            body(&[("transfer_encoding", "chunked")], b"0\r\n\r\n"),
        )
        .refused(400),
        case(
            "a length spelt with an underscore",
            "Kettle 2021",
            body(&[("content_length", "0")], b"ok"),
        )
        .refused(400),
        case(
            "TE that is not trailers",
            "RFC 9113 8.2.2",
            of("te", "gzip"),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "TE that is trailers",
            "RFC 9113 8.2.2",
            of("te", "trailers"),
        )
        .granted(GET),
        case("a body", "RFC 9113 8.1", body(&[], b"ok")).granted_with(POST, b"ok"),
        case(
            "a length that is right",
            "RFC 9113 8.1.1",
            body(&[("content-length", "2")], b"ok"),
        )
        .granted_with(POST, b"ok"),
        case(
            "a body longer than its length",
            "RFC 9113 8.1.1; H2.CL",
            body(
                &[("content-length", "0")],
                b"GET /public/smuggled-@@@@ HTTP/1.1\r\n\r\n",
            ),
        )
        .cut_by_reset(PROTOCOL_ERROR),
        case(
            "a body shorter than its length",
            "RFC 9113 8.1.1; H2.CL",
            body(&[("content-length", "9")], b"ok"),
        )
        .cut_by_reset(PROTOCOL_ERROR),
        case(
            "a length without a body",
            "RFC 9113 8.1.1",
            headers(&post_with(&[("content-length", "9")])),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "two lengths",
            "RFC 9112 6.3",
            body(&[("content-length", "2"), ("content-length", "2")], b"ok"),
        )
        .refused(400),
        case(
            "a length that is none",
            "RFC 9110 8.6",
            body(&[("content-length", "+2")], b"ok"),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "an empty length",
            "HAProxy CVE-2023-40225",
            body(&[("content-length", "")], b"ok"),
        )
        .reset(PROTOCOL_ERROR),
        case(
            "a request as a body",
            "RFC 9113 8.1",
            body(
                &[],
                b"GET /public/smuggled-@@@@ HTTP/1.1\r\nHost: localhost\r\n\r\n",
            ),
        )
        .granted_with(
            POST,
            b"GET /public/smuggled-@@@@ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ),
        case(
            "the end of chunks as a body",
            "RFC 9113 8.1",
            body(&[], b"0\r\n\r\n"),
        )
        .granted_with(POST, b"0\r\n\r\n"),
        case("trailers", "RFC 9113 8.1", behind(&[("x", "y")])).granted_with(POST, b"ok"),
        case(
            "a claim in the trailers",
            "RFC 9110 6.5.1",
            behind(&[("x-forwarded-user", "root")]),
        )
        .granted_with(POST, b"ok"),
        case(
            "an obfuscated Expect",
            "Kettle 2025 0.CL",
            body(&[("expect", "x 100-continue")], b"ok"),
        )
        .refused(417),
        case(
            "a list of fields of more than 32 KiB",
            "RFC 9113 6.5.2",
            long_headers(&with(&[("x", &"y".repeat(33 << 10))])),
        )
        .refused(431),
        case(
            "101 fields",
            "RFC 6585 5",
            headers(&with(&[("x", "y"); 101])),
        )
        .refused(431),
    ]
}
