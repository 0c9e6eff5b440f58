//! Feeds the HTTP/1 codec with arbitrary bytes, as a request, as a response and as a body in chunks,
//! and holds it to four rules: it never panics; how the bytes are cut into reads makes no
//! difference; what it accepts, `httparse` reads the same way; what it writes, it reads back.
//!
//! Run it from the root of the repository: `scripts/fuzz 600 http1`. With cargo-fuzz, a stable toolchain
//! will do too:
//!
//! ```text
//! mkdir -p fuzz/corpus/http1
//! RUSTC_BOOTSTRAP=1 cargo fuzz run http1 fuzz/corpus/http1 fuzz/seeds/http1 -- -max_len=2048
//! ```

#![no_main]

use bytes::{Bytes, BytesMut};
use http::Method;
use libfuzzer_sys::fuzz_target;

use http1::body::{BodyDecoder, BodyError, Decoded};
use http1::fields::Fields;
use http1::head::{HeadLimits, RequestHead, Version};
use http1::response::ResponseHead;
use http1::write::{self, BodyEncoder};

#[allow(dead_code)]
#[path = "../../src/http1"]
mod http1 {
    pub mod body;
    pub mod fields;
    pub mod head;
    pub mod response;
    pub mod write;
}

/// Small, so that the fuzzer meets them often.
const LIMITS: HeadLimits = HeadLimits {
    bytes: 1024,
    fields: 16,
    target: 512,
};

fuzz_target!(|input: &[u8]| {
    request(input);
    response(input, &Method::GET);
    response(input, &Method::HEAD);
    chunks(input);
});

// === Requests ===

fn request(input: &[u8]) {
    let parse = |buffer: &mut BytesMut| RequestHead::parse(buffer, &LIMITS);
    let whole = feed(input, input.len(), parse);
    let slow = feed(input, 1, parse);
    assert_eq!(whole.as_ref().map(seen), slow.as_ref().map(seen));
    if let Ok(Some((head, rest))) = whole {
        let taken = &input[..input.len() - rest];
        httparse_reads_the_same_request(taken, &head);
        read_back_request(&head);
        read_as_http2(&head);
    }
}

/// Everything a request head says, for comparison.
fn seen(outcome: &Option<(RequestHead, usize)>) -> Option<(String, Vec<(&str, &[u8])>, usize)> {
    let (head, rest) = outcome.as_ref()?;
    Some((said(head), head.fields().iter().collect(), *rest))
}

fn said(head: &RequestHead) -> String {
    assert_eq!(
        head.target(),
        match head.query() {
            Some(query) => format!("{}?{query}", head.path()),
            None => head.path().to_owned(),
        }
    );
    format!(
        "{} {} {:?} {:?} {:?} {} {}",
        head.method(),
        head.target(),
        head.version(),
        head.authority(),
        head.framing(),
        head.keep_alive(),
        head.expects_continue(),
    )
}

fn httparse_reads_the_same_request(taken: &[u8], head: &RequestHead) {
    let mut fields = [httparse::EMPTY_HEADER; LIMITS.fields];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(
        request.parse(taken),
        Ok(httparse::Status::Complete(taken.len()))
    );
    assert_eq!(request.method, Some(head.method().as_str()));
    let target = request.path.unwrap();
    assert!(
        target.ends_with(head.target().trim_start_matches('/')),
        "{target}"
    );
    assert_eq!(
        request.version,
        Some(u8::from(head.version() == Version::Http11))
    );
    assert_eq!(
        pairs(request.headers),
        head.fields().iter().collect::<Vec<_>>()
    );
}

fn read_back_request(head: &RequestHead) {
    let mut out = Vec::new();
    write::request_line(&mut out, head.method(), head.target());
    write_fields(&mut out, head.fields());
    // A request of HTTP/1.0 is written as one of HTTP/1.1, where it may lack its Host.
    if head.version() == Version::Http11 {
        let limits = HeadLimits {
            bytes: usize::MAX,
            ..LIMITS
        };
        let again = RequestHead::parse(&mut BytesMut::from(&out[..]), &limits);
        let again = again.expect("a legal head").expect("a whole head");
        assert_eq!(said(&again), said(head));
        assert!(again.fields().iter().eq(head.fields().iter()));
    }
}

/// The same request over HTTP/2, where it can be one, has the same target and the same fields.
fn read_as_http2(head: &RequestHead) {
    let Some(authority) = head.authority() else {
        return;
    };
    let mut request = http::Request::builder()
        .method(head.method())
        .uri(format!("https://{authority}{}", head.target()));
    for (name, value) in head.fields().iter() {
        request = request.header(name, value);
    }
    let Ok(request) = request.body(()) else {
        return;
    };
    let limits = HeadLimits {
        bytes: usize::MAX,
        ..LIMITS
    };
    if let Ok(again) = RequestHead::from_http2(request.into_parts().0, false, &limits) {
        assert_eq!(again.target(), head.target());
        assert_eq!(again.authority(), Some(authority));
        assert_eq!(again.fields().len(), head.fields().len());
    }
}

// === Responses ===

fn response(input: &[u8], method: &Method) {
    let parse = |buffer: &mut BytesMut| ResponseHead::parse(buffer, method, &LIMITS);
    let whole = feed(input, input.len(), parse);
    let slow = feed(input, 1, parse);
    let all = |outcome: &Option<(ResponseHead, usize)>| {
        let (head, rest) = outcome.as_ref()?;
        let fields = head
            .fields()
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some((
            answered(head),
            head.version(),
            fields.collect::<Vec<_>>(),
            *rest,
        ))
    };
    assert_eq!(whole.as_ref().map(all), slow.as_ref().map(all));
    if let Ok(Some((head, rest))) = whole {
        httparse_reads_the_same_response(&input[..input.len() - rest], &head);
        read_back_response(&head, method);
    }
}

fn answered(head: &ResponseHead) -> String {
    format!(
        "{} {:?} {} {:?}",
        head.status(),
        head.framing(),
        head.keep_alive(),
        head.declared_length()
    )
}

fn httparse_reads_the_same_response(taken: &[u8], head: &ResponseHead) {
    let mut fields = [httparse::EMPTY_HEADER; LIMITS.fields];
    let mut response = httparse::Response::new(&mut fields);
    assert_eq!(
        response.parse(taken),
        Ok(httparse::Status::Complete(taken.len()))
    );
    assert_eq!(response.code, Some(head.status().as_u16()));
    if head.reason().is_ascii() && !head.reason().contains('?') {
        assert_eq!(response.reason, Some(&*head.reason()));
    }
    assert_eq!(
        pairs(response.headers),
        head.fields().iter().collect::<Vec<_>>()
    );
}

fn read_back_response(head: &ResponseHead, method: &Method) {
    let mut out = Vec::new();
    write::status_line(&mut out, head.status());
    write_fields(&mut out, head.fields());
    let limits = HeadLimits {
        bytes: usize::MAX,
        ..LIMITS
    };
    let again = ResponseHead::parse(&mut BytesMut::from(&out[..]), method, &limits);
    let again = again.expect("a legal head").expect("a whole head");
    assert!(again.fields().iter().eq(head.fields().iter()));
    if head.version() == Version::Http11 {
        assert_eq!(answered(&again), answered(head));
    }
}

// === Bodies ===

fn chunks(input: &[u8]) {
    let whole = decode(input, input.len());
    for piece in [1, 2, 7] {
        assert_eq!(whole, decode(input, piece));
    }
    let Ok((content, trailers, _)) = whole else {
        return;
    };
    let trailers_again = Fields::from_pairs(
        trailers
            .iter()
            .map(|(name, value)| (name.as_str(), &value[..])),
    );
    let trailers_again = trailers_again.expect("trailers that were read can be written");
    for piece in [1, 10, 4096] {
        let mut out = Vec::new();
        let mut encoder = BodyEncoder::Chunked;
        for data in content.chunks(piece) {
            encoder
                .encode(data, &mut out)
                .expect("chunks have no limit");
        }
        encoder
            .finish(Some(&trailers_again), &mut out)
            .expect("chunks can end anywhere");
        let again = decode(&out, out.len());
        assert_eq!(again, Ok((content.clone(), trailers.clone(), 0)));
    }
}

/// The content, the trailers and the number of bytes left over.
type Body = (Vec<u8>, Vec<(String, Vec<u8>)>, usize);

fn decode(input: &[u8], piece: usize) -> Result<Body, BodyError> {
    let mut decoder = BodyDecoder::chunked();
    let mut content = Vec::new();
    let mut buffer = BytesMut::new();
    let mut unread = input.chunks(piece.max(1));
    loop {
        match decoder.decode(&mut buffer)? {
            Decoded::Data(data) => {
                assert_ne!(data, Bytes::new());
                content.extend_from_slice(&data);
            }
            Decoded::NeedMore => match unread.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => decoder.end_of_input()?,
            },
            Decoded::End => break,
        }
    }
    let trailers = decoder.trailers().unwrap_or_default();
    let trailers = trailers
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let rest = buffer.len() + unread.map(<[u8]>::len).sum::<usize>();
    Ok((content, trailers.collect(), rest))
}

// === Helpers ===

/// Parses after each piece of so many bytes; the first answer, and how many bytes are left over.
fn feed<Head, Error>(
    input: &[u8],
    piece: usize,
    parse: impl Fn(&mut BytesMut) -> Result<Option<Head>, Error>,
) -> Result<Option<(Head, usize)>, Error> {
    let mut buffer = BytesMut::new();
    let mut unread = input.len();
    for piece in input.chunks(piece.max(1)) {
        buffer.extend_from_slice(piece);
        unread -= piece.len();
        if let Some(head) = parse(&mut buffer)? {
            return Ok(Some((head, buffer.len() + unread)));
        }
    }
    Ok(None)
}

fn pairs<'a>(headers: &[httparse::Header<'a>]) -> Vec<(&'a str, &'a [u8])> {
    headers
        .iter()
        .map(|header| (header.name, header.value))
        .collect()
}

fn write_fields(out: &mut Vec<u8>, fields: &Fields) {
    for (name, value) in fields.iter() {
        write::field(out, name, value);
    }
    write::end_of_head(out);
}
