//! How long a body is (RFC 9112 section 6).

use super::{Arrives, Bytes, Case, POST, case, post};

/// What would be a request if the body was shorter than it is.
const INNER: &str = "GET /public/smuggled-@@@@ HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub fn cases() -> Vec<Case> {
    let chunked = |line: &str| post(&format!("{line}\r\n"), "2\r\nok\r\n0\r\n\r\n");
    let length = |value: &str| post(&format!("Content-Length: {value}\r\n"), "ok");
    let inner_length = format!("Content-Length: {}\r\n", INNER.len());
    let mut cases = vec![
        case("a length", "RFC 9112 6.2", length("2")).granted_with(POST, b"ok"),
        case("a length of 0", "RFC 9112 6.2", post("Content-Length: 0\r\n", "")).granted(POST),
        case("zeros before a length", "RFC 9110 8.6", length("0002")).granted_with(POST, b"ok"),
        case("chunks", "RFC 9112 7.1", chunked("Transfer-Encoding: chunked")).granted_with(POST, b"ok"),
        case("chunks in another case", "RFC 9112 7", chunked("tRANSFER-eNCODING: CHUNKED")).granted_with(POST, b"ok"),
        case("no body", "RFC 9112 6.3", post("", "")).granted(POST),
        case("a request as the body of another", "RFC 9112 6.3", post(&inner_length, INNER)).granted_with(POST, INNER.as_bytes()),
        case("a request as the body of a GET", "Kettle 2022 CL.0", format!("GET /public/@@@@ HTTP/1.1\r\nHost: localhost\r\n{inner_length}\r\n{INNER}")).granted_with("GET /public/@@@@", INNER.as_bytes()),
        case("a request as the body of a DELETE", "Kettle 2022 CL.0", format!("DELETE /public/@@@@ HTTP/1.1\r\nHost: localhost\r\n{inner_length}\r\n{INNER}")).granted_with("DELETE /public/@@@@", INNER.as_bytes()),
        case("a request in a chunk of OPTIONS", "TE.0, 2024", format!("OPTIONS /public/@@@@ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{INNER}\r\n0\r\n\r\n", INNER.len())).granted_with("OPTIONS /public/@@@@", INNER.as_bytes()),
        case("length and coding", "RFC 9112 6.1; CL.TE", post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nG")).refused(400),
        case("coding and length", "RFC 9112 6.1; TE.CL", post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "1\r\nx\r\n0\r\n\r\n")).refused(400),
        case("length of 0 and coding", "RFC 9112 6.1; CL.0", post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")).refused(400),
        case("two lengths", "RFC 9112 6.3", post("Content-Length: 2\r\nContent-Length: 0\r\n", "ok")).refused(400),
        case("the same length twice", "RFC 9110 8.6", post("Content-Length: 2\r\nContent-Length: 2\r\n", "ok")).refused(400),
        case("two lengths in different case", "RFC 9112 6.3", post("Content-Length: 2\r\ncontent-length: 0\r\n", "ok")).refused(400),
        case("an empty length", "HAProxy CVE-2023-40225", post("Content-Length:\r\n", "")).refused(400),
        case("an empty length beside one", "HAProxy CVE-2023-40225", post("Content-Length:\r\nContent-Length: 2\r\n", "ok")).refused(400),
        case("a length of 20 digits", "HAProxy CVE-2021-40346", length("18446744073709551618")).refused(400),
        case("a length with an exponent", "RFC 9110 8.6", length("2e0")).refused(400),
        case("a length in hex", "RFC 9110 8.6", length("0x2")).refused(400),
        case("a signed length", "RFC 9110 8.6", length("+2")).refused(400),
        case("a negative length", "RFC 9110 8.6", length("-2")).refused(400),
        case("a length with a separator", "RFC 9110 8.6", length("1_0")).refused(400),
        case("a list of lengths", "RFC 9110 8.6", length("2, 2")).refused(400),
        case("a length in quotes", "RFC 9110 8.6", length("\"2\"")).refused(400),
        case("a length of two words", "RFC 9110 8.6", length("2 2")).refused(400),
        case("a length with a fraction", "RFC 9110 8.6", length("2.0")).refused(400),
        case("a length with a semicolon", "RFC 9110 8.6", length("2;x")).refused(400),
        case("a length spelt with an underscore", "Kettle 2021", post("Content_Length: 2\r\n", "ok")).refused(400),
        case("a coding spelt with an underscore", "Kettle 2021", post("Transfer_Encoding: chunked\r\n", "0\r\n\r\n")).refused(400),
        case("a length as another field", "RFC 9112 6.3", post("X-Content-Length: 9\r\nContent-Length: 2\r\n", "ok")).granted_with(POST, b"ok"),
        case("a coding that nobody knows", "RFC 9112 6.1", chunked("Transfer-Encoding: xchunked")).refused(400),
        case("identity", "RFC 9112 6.1", chunked("Transfer-Encoding: identity")).refused(400),
        case("gzip before chunked", "RFC 9112 6.1", chunked("Transfer-Encoding: gzip, chunked")).refused(501),
        case("chunked before identity", "RFC 9112 6.1", chunked("Transfer-Encoding: chunked, identity")).refused(400),
        case("chunked twice", "RFC 9112 7.1", chunked("Transfer-Encoding: chunked, chunked")).refused(400),
        case("two codings", "RFC 9112 6.1", chunked("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity")).refused(400),
        case("the same coding twice", "RFC 9112 6.1", chunked("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")).refused(400),
        case("an empty coding", "RFC 9112 6.1", chunked("Transfer-Encoding:")).refused(400),
        case("a coding with a parameter", "RFC 9112 7", chunked("Transfer-Encoding: chunked;q=1")).refused(400),
        case("a coding in quotes", "Kettle 2019", chunked("Transfer-Encoding: \"chunked\"")).refused(400),
        case("a comma before the coding", "Kettle 2019", chunked("Transfer-Encoding: ,chunked")).refused(400),
        case("a vertical tab before the coding", "Kettle 2019", chunked("Transfer-Encoding: \x0bchunked")).refused(400),
        case("a space before the colon of a coding", "Kettle 2019", chunked("Transfer-Encoding : chunked")).refused(400),
        case("a folded coding", "Kettle 2019", chunked("Transfer-Encoding:\r\n chunked")).refused(400),
        case("a coding behind a bare LF", "Kettle 2019", chunked("X: y\nTransfer-Encoding: chunked")).refused(400),
        case("a coding behind a bare CR", "Kettle 2019", chunked("X: y\rTransfer-Encoding: chunked")).refused(400),
        case("a coding in HTTP/1.0", "Pingora CVE-2026-2835", "POST /public/@@@@ HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").refused(400),
        case("a body longer than it may be", "RFC 9110 15.5.14", post("Content-Length: 999999999999\r\n", "")).refused(413),
        case("Expect", "RFC 9110 10.1.1", post("Content-Length: 2\r\nExpect: 100-continue\r\n", "ok")).granted_with(POST, b"ok"),
        case("an obfuscated Expect", "Kettle 2025 0.CL", post("Content-Length: 2\r\nExpect: y 100-continue\r\n", "ok")).refused(417),
        case("an empty Expect", "Kettle 2025 0.CL", post("Content-Length: 2\r\nExpect:\r\n", "ok")).refused(417),
        case("two of Expect", "Kettle 2025 0.CL", post("Content-Length: 2\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n", "ok")).refused(400),
        case("Expect of something else", "RFC 9110 10.1.1", post("Content-Length: 2\r\nExpect: 200-ok\r\n", "ok")).refused(417),
        case("Expect without a body", "Kettle 2025 0.CL", post("Expect: 100-continue\r\n", "")).granted(POST),
        case("a body of a refused request is none of the next", "Pingora CVE-2025-4366", format!("POST /admin/@@@@ HTTP/1.1\r\nHost: localhost\r\n{inner_length}\r\n{INNER}")).refused(401),
        case("a body that comes after the refusal is none of the next", "Kettle 2022 pause-based", format!("POST /admin/@@@@ HTTP/1.1\r\nHost: localhost\r\n{inner_length}\r\n")).refused_then(401, INNER),
        case("a body in chunks that comes after the refusal", "Kettle 2022 pause-based", "POST /admin/@@@@ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").refused_then(401, format!("{:x}\r\n{INNER}\r\n0\r\n\r\n", INNER.len())),
        case("an awaited body that comes after the refusal", "Kettle 2025 0.CL", format!("POST /admin/@@@@ HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n{inner_length}\r\n")).refused_then(401, INNER),
    ];
    // The body comes later, and is the body all the same.
    let arrives = Arrives::Requests(vec![(POST.into(), INNER.into())]);
    cases.push(Case {
        name: "a body that comes later is none of the next",
        source: "Kettle 2022 pause-based",
        bytes: Bytes::Http1(vec![
            (post(&inner_length, "").into(), Vec::new()),
            (INNER.into(), vec![200]),
        ]),
        arrives,
    });
    cases
}
