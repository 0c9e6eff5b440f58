//! HEAD (RFC 9110 section 9.3.2): what comes with it means nothing, but is framed as with any other
//! method, and its answer has no content, whatever that says of its length.

use super::http2::{self, PROTOCOL_ERROR, headers, headers_of_body, replaced};
use super::{Arrives, Bytes, Case, case};
use crate::harness::frames::{DATA, END_STREAM, frame};

const HEAD: &str = "HEAD /public/@@@@";

/// What would be a request if the body was shorter than it is.
const INNER: &str = "GET /public/smuggled-@@@@ HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A HEAD with these field lines, and this behind it.
fn head(lines: &str, behind: &str) -> String {
    format!("{HEAD} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{behind}")
}

/// The same where nobody may be without a login.
fn refused_head(lines: &str, behind: &str) -> String {
    head(lines, behind).replacen("/public/", "/admin/", 1)
}

pub fn cases() -> Vec<Case> {
    let mut cases = over_http1();
    cases.extend(over_http2());
    cases
}

fn over_http1() -> Vec<Case> {
    let length = |value: &str| head(&format!("Content-Length: {value}\r\n"), "ok");
    let chunks = |lines: &str, body: &str| head(&format!("{lines}\r\n"), body);
    let inner_length = format!("Content-Length: {}\r\n", INNER.len());
    let inner_chunk = format!("{:x}\r\n{INNER}\r\n0\r\n\r\n", INNER.len());
    let chunked = "Transfer-Encoding: chunked";
    let next = "GET /public/next-@@@@ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let both = |body: &[u8]| {
        let first = (HEAD.to_owned(), body.to_vec());
        Arrives::Requests(vec![first, ("GET /public/next-@@@@".into(), Vec::new())])
    };
    let mut cases = vec![
        case("HEAD", "RFC 9110 9.3.2", head("", "")).granted(HEAD),
        case(
            "HEAD with a length of 0",
            "RFC 9112 6.2",
            head("Content-Length: 0\r\n", ""),
        )
        .granted(HEAD),
        case("HEAD with a length", "RFC 9112 6.2", length("2")).granted_with(HEAD, b"ok"),
        case(
            "HEAD with chunks",
            "RFC 9112 7.1",
            chunks(chunked, "2\r\nok\r\n0\r\n\r\n"),
        )
        .granted_with(HEAD, b"ok"),
        case(
            "HEAD with no chunk",
            "RFC 9112 7.1",
            chunks(chunked, "0\r\n\r\n"),
        )
        .granted(HEAD),
        case(
            "HEAD that waits for its body",
            "RFC 9110 10.1.1",
            head("Content-Length: 2\r\nExpect: 100-continue\r\n", "ok"),
        )
        .granted_with(HEAD, b"ok"),
        case(
            "HEAD, and the next request",
            "RFC 9112 9.3.2",
            head("", next),
        )
        .answered(&[200, 200], both(b"")),
        case(
            "HEAD with a body, and the next request",
            "RFC 9112 6.3",
            head("Content-Length: 2\r\n", &format!("ok{next}")),
        )
        .answered(&[200, 200], both(b"ok")),
        case(
            "HEAD with chunks, and the next request",
            "RFC 9112 7.1",
            chunks(chunked, &format!("2\r\nok\r\n0\r\n\r\n{next}")),
        )
        .answered(&[200, 200], both(b"ok")),
        case(
            "a request as the body of HEAD",
            "Kettle 2022 CL.0",
            head(&inner_length, INNER),
        )
        .granted_with(HEAD, INNER.as_bytes()),
        case(
            "a request in a chunk of HEAD",
            "TE.0, 2024",
            chunks(chunked, &inner_chunk),
        )
        .granted_with(HEAD, INNER.as_bytes()),
        case(
            "HEAD with length and coding",
            "RFC 9112 6.1; CL.TE",
            head(
                "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\nG",
            ),
        )
        .refused(400),
        case(
            "HEAD with coding and length",
            "RFC 9112 6.1; TE.CL",
            head(
                "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
                "1\r\nx\r\n0\r\n\r\n",
            ),
        )
        .refused(400),
        case(
            "HEAD with a length of 0 and a coding",
            "RFC 9112 6.1; CL.0",
            head(
                "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
                &inner_chunk,
            ),
        )
        .refused(400),
        case(
            "HEAD with two lengths",
            "RFC 9112 6.3",
            head("Content-Length: 0\r\nContent-Length: 2\r\n", "ok"),
        )
        .refused(400),
        case(
            "HEAD with the same length twice",
            "RFC 9110 8.6",
            head("Content-Length: 2\r\nContent-Length: 2\r\n", "ok"),
        )
        .refused(400),
        case(
            "HEAD with a list of lengths",
            "RFC 9110 8.6",
            length("2, 2"),
        )
        .refused(400),
        case("HEAD with a signed length", "RFC 9110 8.6", length("+2")).refused(400),
        case(
            "HEAD with a coding that nobody knows",
            "RFC 9112 6.1",
            chunks("Transfer-Encoding: xchunked", &inner_chunk),
        )
        .refused(400),
        case(
            "HEAD with chunked before identity",
            "RFC 9112 6.3",
            chunks("Transfer-Encoding: chunked, identity", &inner_chunk),
        )
        .refused(400),
        case(
            "HEAD with a coding spelt with an underscore",
            "Kettle 2021",
            chunks("Transfer_Encoding: chunked", &inner_chunk),
        )
        .refused(400),
        case(
            "HEAD with a coding in HTTP/1.0",
            "Pingora CVE-2026-2835",
            chunks(chunked, &inner_chunk).replace(
                "HTTP/1.1\r\nHost: localhost\r\nTr",
                "HTTP/1.0\r\nHost: localhost\r\nTr",
            ),
        )
        .refused(400),
        case(
            "HEAD with more data than its size says",
            "CVE-2025-55315 SPILL",
            chunks(chunked, "2\r\nokx\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "HEAD with a bare LF behind a size",
            "RFC 9112 2.2",
            chunks(chunked, "2\nok\r\n0\r\n\r\n"),
        )
        .cut(400),
        case(
            "HEAD with a length in the trailers",
            "RFC 9110 6.5.1",
            chunks(chunked, "2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n"),
        )
        .cut(400),
        case(
            "a body of a refused HEAD is none of the next",
            "Pingora CVE-2025-4366",
            refused_head(&inner_length, INNER),
        )
        .refused(401),
        case(
            "chunks of a refused HEAD are none of the next",
            "Pingora CVE-2025-4366",
            refused_head("Transfer-Encoding: chunked\r\n", &inner_chunk),
        )
        .refused(401),
        case(
            "a body that comes after the refusal of a HEAD",
            "Kettle 2022 pause-based",
            refused_head(&inner_length, ""),
        )
        .refused_then(401, INNER),
        case(
            "chunks that come after the refusal of a HEAD",
            "Kettle 2022 pause-based",
            refused_head("Transfer-Encoding: chunked\r\n", ""),
        )
        .refused_then(401, &inner_chunk),
    ];
    // Begun as a HEAD: its answer has no content, however late its body comes.
    cases.push(Case {
        name: "a body of HEAD that comes later is none of the next",
        source: "Kettle 2022 pause-based",
        bytes: Bytes::Http1(vec![
            (head(&inner_length, INNER).into(), vec![200]),
            (next.into(), vec![200]),
        ]),
        arrives: Arrives::Requests(vec![
            (HEAD.into(), INNER.into()),
            ("GET /public/next-@@@@".into(), Vec::new()),
        ]),
    });
    cases
}

fn over_http2() -> Vec<Case> {
    let with = |fields: &[(&str, &str)]| {
        let mut all = replaced(":method", Some("HEAD"));
        let fields = fields.iter();
        all.extend(fields.map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())));
        all
    };
    let body = |fields: &[(&str, &str)], data: &[u8]| {
        let head = headers_of_body(&with(fields));
        [head, frame(DATA, END_STREAM, 1, data)].concat()
    };
    let length = [("content-length", "2")];
    vec![
        http2::case("HEAD", "RFC 9110 9.3.2", headers(&with(&[]))).granted(HEAD),
        http2::case("HEAD with a body", "RFC 9113 8.1", body(&[], b"ok")).granted_with(HEAD, b"ok"),
        http2::case(
            "HEAD with a length that is right",
            "RFC 9113 8.1.1",
            body(&length, b"ok"),
        )
        .granted_with(HEAD, b"ok"),
        http2::case(
            "a request as the body of HEAD",
            "RFC 9113 8.1",
            body(&[], INNER.as_bytes()),
        )
        .granted_with(HEAD, INNER.as_bytes()),
        http2::case(
            "the end of chunks as the body of HEAD",
            "H2.TE",
            body(&[], b"0\r\n\r\n"),
        )
        .granted_with(HEAD, b"0\r\n\r\n"),
        http2::case(
            "HEAD with a body longer than its length",
            "RFC 9113 8.1.1; H2.CL",
            body(&[("content-length", "0")], INNER.as_bytes()),
        )
        .cut_by_reset(PROTOCOL_ERROR),
        http2::case(
            "HEAD with a body shorter than its length",
            "RFC 9113 8.1.1; H2.CL",
            body(&[("content-length", "9")], b"ok"),
        )
        .cut_by_reset(PROTOCOL_ERROR),
        http2::case(
            "HEAD with a length and no body",
            "RFC 9113 8.1.1",
            headers(&with(&length)),
        )
        .reset(PROTOCOL_ERROR),
        http2::case(
            "HEAD with two lengths",
            "RFC 9112 6.3",
            body(&[length, length].concat(), b"ok"),
        )
        .refused(400),
        http2::case(
            "HEAD with a coding",
            "RFC 9113 8.2.2; H2.TE",
            body(&[("transfer-encoding", "chunked")], b"0\r\n\r\n"),
        )
        .reset(PROTOCOL_ERROR),
        http2::case(
            "HEAD with a coding spelt with an underscore",
            "Kettle 2021",
            body(&[("transfer_encoding", "chunked")], b"0\r\n\r\n"),
        )
        .refused(400),
    ]
}
