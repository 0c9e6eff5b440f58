//! Frames of HTTP/2 (RFC 9113 sections 4 to 6), and field blocks that cannot be read (RFC 7541).

use super::http2::*;
use super::{Arrives, Case};
use crate::harness::frames::*;

const GET: &str = "GET /public/@@@@";
const POST: &str = "POST /public/@@@@";

pub fn cases() -> Vec<Case> {
    let request = headers(&with(&[]));
    let begun = headers_of_body(&post_with(&[]));
    let fields = block(&with(&[]));
    let part = |flags: u8, bytes: &[u8]| frame(HEADERS, flags, 1, bytes);
    let continued =
        |flags: u8, stream: u32, bytes: &[u8]| frame(CONTINUATION, flags, stream, bytes);
    let (half, rest) = fields.split_at(fields.len() / 2);
    let of = |parts: &[&[u8]]| parts.concat();
    let ok = frame(DATA, END_STREAM, 1, b"ok");
    vec![
        case(
            "a head in two frames",
            "RFC 9113 6.10",
            of(&[&part(END_STREAM, half), &continued(END_HEADERS, 1, rest)]),
        )
        .granted(GET),
        case(
            "a padded head",
            "RFC 9113 6.2",
            part(
                END_STREAM | END_HEADERS | PADDED,
                &of(&[&[2], &fields, &[0, 0]]),
            ),
        )
        .granted(GET),
        case(
            "padded data",
            "RFC 9113 6.1",
            of(&[
                &begun,
                &frame(DATA, END_STREAM | PADDED, 1, &[2, b'o', b'k', 0, 0]),
            ]),
        )
        .granted_with(POST, b"ok"),
        case(
            "a frame of a kind that there is not",
            "RFC 9113 5.5",
            of(&[&frame(0x42, 0xff, 0, b"x"), &request]),
        )
        .granted(GET),
        case(
            "data behind the end",
            "Envoy CVE-2026-26311",
            of(&[&begun, &ok, &frame(DATA, END_STREAM, 1, b"more")]),
        )
        .comes_to(
            Outcome::Ended,
            Arrives::Perhaps(POST.into(), b"ok".to_vec()),
        ),
        case(
            "data before a head",
            "RFC 9113 5.1",
            of(&[&frame(DATA, 0, 1, b"x"), &request]),
        )
        .ends(),
        case(
            "data on the connection",
            "RFC 9113 6.1",
            frame(DATA, 0, 0, b"x"),
        )
        .ends(),
        case(
            "a head on the connection",
            "RFC 9113 6.2",
            frame(HEADERS, END_HEADERS | END_STREAM, 0, &fields),
        )
        .ends(),
        case(
            "a head on a stream of the server",
            "RFC 9113 5.1.1",
            frame(HEADERS, END_HEADERS | END_STREAM, 2, &fields),
        )
        .ends(),
        case(
            "a head that another frame interrupts",
            "RFC 9113 6.10",
            of(&[
                &part(END_STREAM, half),
                &frame(PING, 0, 0, &[0; 8]),
                &continued(END_HEADERS, 1, rest),
            ]),
        )
        .ends(),
        case(
            "a head that goes on on another stream",
            "RFC 9113 6.10",
            of(&[&part(END_STREAM, half), &continued(END_HEADERS, 3, rest)]),
        )
        .ends(),
        case(
            "what goes on without a head",
            "RFC 9113 6.10",
            continued(END_HEADERS, 1, &fields),
        )
        .ends(),
        case(
            "padding longer than its frame",
            "RFC 9113 6.1",
            of(&[&begun, &frame(DATA, END_STREAM | PADDED, 1, &[200, b'o'])]),
        )
        .ends(),
        case(
            "a stream that depends on itself",
            "RFC 9113 5.3.1",
            of(&[&frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0]), &request]),
        )
        .comes_to(Outcome::Reset(PROTOCOL_ERROR), Arrives::Nothing),
        case(
            "an acknowledgement with settings in it",
            "RFC 9113 6.5",
            frame(SETTINGS, 1, 0, &[0, 1, 0, 0, 0, 0]),
        )
        .ends(),
        case(
            "settings on a stream",
            "RFC 9113 6.5",
            frame(SETTINGS, 0, 1, &[]),
        )
        .ends(),
        case(
            "settings of five bytes",
            "RFC 9113 6.5",
            frame(SETTINGS, 0, 0, &[0; 5]),
        )
        .ends(),
        case(
            "a window that is too large",
            "RFC 9113 6.5.2",
            frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        )
        .ends(),
        case(
            "a window that grows by nothing",
            "RFC 9113 6.9",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        )
        .ends(),
        case(
            "a window that overflows",
            "RFC 9113 6.9.1",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        )
        .ends(),
        case(
            "a ping of seven bytes",
            "RFC 9113 6.7",
            frame(PING, 0, 0, &[0; 7]),
        )
        .ends(),
        case(
            "a reset of a stream that was never",
            "RFC 9113 6.4",
            frame(RST_STREAM, 0, 1, &[0; 4]),
        )
        .ends(),
        case(
            "a promise of a client",
            "RFC 9113 8.4",
            of(&[
                &begun,
                &frame(PUSH_PROMISE, END_HEADERS, 1, &of(&[&[0, 0, 0, 2], &fields])),
            ]),
        )
        .comes_to(Outcome::Ended, Arrives::Cut),
        case(
            "a frame larger than may be",
            "RFC 9113 4.2",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0; 17 << 10]),
        )
        .ends(),
        case(
            "an index that is 0",
            "RFC 7541 6.1",
            part(END_HEADERS | END_STREAM, &[0x80]),
        )
        .ends(),
        case(
            "an index that nothing is at",
            "RFC 7541 2.3.3",
            part(END_HEADERS | END_STREAM, &[0xff, 0x20]),
        )
        .ends(),
        case(
            "an integer that does not end",
            "RFC 7541 5.1",
            part(END_HEADERS | END_STREAM, &[0xff; 16]),
        )
        .ends(),
        case(
            "a string longer than its block",
            "RFC 7541 5.2",
            part(END_HEADERS | END_STREAM, &[0x10, 0x7e, b'x']),
        )
        .ends(),
        case(
            "Huffman code with an end inside",
            "RFC 7541 5.2",
            part(
                END_HEADERS | END_STREAM,
                &[0x10, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'x'],
            ),
        )
        .ends(),
        case(
            "a table larger than agreed",
            "RFC 7541 6.3",
            part(
                END_HEADERS | END_STREAM,
                &of(&[&[0x3f, 0xe2, 0x1f], &fields]),
            ),
        )
        .ends(),
        case(
            "trailers that do not end the stream",
            "RFC 9113 8.1",
            of(&[
                &begun,
                &frame(HEADERS, END_HEADERS, 1, &block(&[("x", "y")])),
            ]),
        )
        .comes_to(Outcome::Reset(PROTOCOL_ERROR), Arrives::Cut),
        raw(
            "HTTP/1.1 where HTTP/2 was agreed",
            "RFC 9113 3.4",
            "GET /public/@@@@ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .ends(),
        raw(
            "a broken preface",
            "RFC 9113 3.4",
            "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        )
        .ends(),
        case(
            "an end of the connection that names no stream",
            "RFC 9113 6.8",
            of(&[&frame(GOAWAY, 0, 0, &[0; 8]), &request]),
        )
        .granted(GET),
    ]
}
