//! The head of a request to a backend that speaks HTTP/2.
//!
//! It is made of the very head that an HTTP/1 backend would get, so that there is one place that says
//! what a backend is told, and one that refuses what it must not be.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, TE};
use http::{HeaderMap, Request, Uri};

use super::{HOP_BY_HOP, UpstreamRequest, is_one_of};
use crate::http1::fields::{Fields, list_elements};

/// Fields of HTTP/1 that HTTP/2 says in another way, beside [`HOP_BY_HOP`]. A client that waits for
/// 100 Continue gets it from us: few servers of HTTP/2 know it.
const SAID_OTHERWISE: &[&str] = &["host", "expect"];

impl UpstreamRequest<'_> {
    /// The head as HTTP/2 has it; `None` where it cannot be written so.
    #[must_use]
    pub fn http2_head(&self) -> Option<Request<()>> {
        let mut written = Vec::with_capacity(1024);
        self.write(&mut written);
        let written = Bytes::from(written);
        let fields = Fields::of_written(written.clone()).ok()?;
        let line = written.split(|byte| *byte == b'\r').next()?;
        let target = line.split(|byte| *byte == b' ').nth(1)?;
        let scheme = match self.upstream.spec.tls {
            Some(_) => "https",
            None => "http",
        };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(fields.get("host")?)
            .path_and_query(target)
            .build();
        let uri = uri.ok()?;
        // What would be changed or cut off is not sent.
        if uri.path_and_query()?.as_str().as_bytes() != target {
            return None;
        }
        let mut request = Request::new(());
        *request.method_mut() = self.head.method().clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = header_map(&fields, |name| {
            !is_one_of(name, HOP_BY_HOP) && !is_one_of(name, SAID_OTHERWISE)
        })?;
        if takes_trailers(self.head.fields()) {
            // The one thing that may be said of trailers here (RFC 9113 section 8.2.2); gRPC needs it.
            let trailers = HeaderValue::from_static("trailers");
            request.headers_mut().insert(TE, trailers);
        }
        Some(request)
    }
}

/// Whether a client has said that it takes trailers.
fn takes_trailers(fields: &Fields) -> bool {
    let mut codings = fields.get_all("te").flat_map(list_elements);
    codings.any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// Those fields whose names may stay; `None` where one is none for HTTP/2.
fn header_map(fields: &Fields, stays: impl Fn(&[u8]) -> bool) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields.received().filter(|field| stays(field.name())) {
        let name = HeaderName::from_bytes(field.name()).ok()?;
        let value = HeaderValue::from_bytes(field.value()).ok()?;
        map.try_append(name, value).ok()?;
    }
    Some(map)
}

/// All fields, which were checked before.
#[must_use]
pub fn trailer_map(trailers: &Fields) -> HeaderMap {
    header_map(trailers, |_| true).unwrap_or_default()
}
