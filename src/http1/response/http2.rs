//! Response heads that came over HTTP/2: the same checks, where the frames do not make them.

use http::{HeaderMap, Method, response};

use super::{Meaning, ResponseError, ResponseFraming, ResponseHead, has_no_body};
use crate::http1::fields::{FieldError, Fields};
use crate::http1::head::{HeadLimits, Version, check_http2_fields};

impl ResponseHead {
    /// Makes the checks of [`ResponseHead::parse`] on a response of HTTP/2. Its connection serves
    /// others whatever becomes of this one.
    ///
    /// # Errors
    ///
    /// When the response is malformed (RFC 9113, 8.1.1) or one that this gate does not accept. Only
    /// the stream is affected.
    pub fn from_http2(
        parts: &response::Parts,
        end_of_stream: bool,
        request_method: &Method,
        limits: &HeadLimits,
    ) -> Result<Self, ResponseError> {
        if !(100..=599).contains(&parts.status.as_u16()) {
            return Err(ResponseError::StatusLine);
        }
        let fields = http2_fields(&parts.headers, limits)?;
        let declared_length = Meaning::of(&fields)?.content_length;
        let framing = match declared_length {
            _ if has_no_body(parts.status, request_method) => ResponseFraming::None,
            Some(length) => ResponseFraming::Length(length),
            None if end_of_stream => ResponseFraming::Length(0),
            None => ResponseFraming::Stream,
        };
        Ok(Self {
            status: parts.status,
            version: Version::Http2,
            reason: 0..0,
            fields,
            framing,
            keep_alive: true,
            declared_length,
        })
    }
}

impl Fields {
    /// The trailers of a response of HTTP/2, with the same checks as its head.
    ///
    /// # Errors
    ///
    /// When they are malformed, or beyond the limits.
    pub fn from_http2_trailers(
        trailers: &HeaderMap,
        limits: &HeadLimits,
    ) -> Result<Self, ResponseError> {
        http2_fields(trailers, limits)
    }
}

/// The fields of a head of HTTP/2, or of its trailers, within the limits. Sizes are counted as RFC
/// 9113, 6.5.2 has it.
fn http2_fields(fields: &HeaderMap, limits: &HeadLimits) -> Result<Fields, ResponseError> {
    const OVERHEAD: usize = 32;
    if fields.len() > limits.fields {
        return Err(FieldError::TooMany.into());
    }
    let sizes = fields.iter();
    let sizes = sizes.map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD);
    if sizes.sum::<usize>() > limits.bytes {
        return Err(ResponseError::TooLarge);
    }
    check_http2_fields(fields).map_err(|_| ResponseError::ConnectionField)?;
    let pairs = fields.iter();
    let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_bytes()));
    Ok(Fields::from_pairs(pairs)?)
}

#[cfg(test)]
mod tests {
    use http::{Response, StatusCode};

    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 1000,
        fields: 5,
        target: 0,
    };

    #[track_caller]
    fn read(
        status: u16,
        fields: &[(&str, &str)],
        end: bool,
        method: &Method,
    ) -> Result<ResponseFraming, ResponseError> {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let (parts, ()) = response.body(()).unwrap().into_parts();
        let head = ResponseHead::from_http2(&parts, end, method, &LIMITS)?;
        assert_eq!(head.status(), StatusCode::from_u16(status).unwrap());
        assert_eq!(head.fields().len(), fields.len());
        Ok(head.framing())
    }

    #[test]
    fn a_body_is_as_long_as_the_head_or_the_stream_says() {
        let get = |status, fields: &[_], end| read(status, fields, end, &Method::GET).unwrap();
        let length = [("content-length", "5")];
        assert_eq!(get(200, &length, false), ResponseFraming::Length(5));
        assert_eq!(get(200, &[], false), ResponseFraming::Stream);
        assert_eq!(get(200, &[], true), ResponseFraming::Length(0));
        assert_eq!(get(204, &[], false), ResponseFraming::None);
        assert_eq!(get(304, &length, true), ResponseFraming::None);
        let head = read(200, &length, true, &Method::HEAD);
        assert_eq!(head, Ok(ResponseFraming::None));
    }

    #[test]
    fn what_two_could_read_differently_is_refused() {
        use ResponseError::*;
        let get = |status, fields: &[_]| read(status, fields, false, &Method::GET);
        assert_eq!(get(600, &[]), Err(StatusLine));
        let twice = [("content-length", "5"), ("content-length", "6")];
        assert_eq!(get(200, &twice), Err(DifferentContentLengths));
        assert_eq!(get(200, &[("content-length", "+5")]), Err(ContentLength));
        for name in ["connection", "transfer-encoding", "upgrade", "keep-alive"] {
            assert_eq!(get(200, &[(name, "x")]), Err(ConnectionField), "{name}");
        }
        assert_eq!(get(200, &[("x", "y "), ("a", "b")]), Err(ConnectionField));
        assert_eq!(get(200, &[("x", "y"); 6]), Err(FieldError::TooMany.into()));
        let long = "y".repeat(1000);
        assert_eq!(get(200, &[("x", &long)]), Err(TooLarge));
    }
}
