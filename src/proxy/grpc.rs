//! What gRPC says in HTTP/2: whether a request is a call, and statuses of our own in its words.
//!
//! Messages are nobody's business here; they pass as any body does.

use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::http1::fields::Fields;
use crate::http1::head::{RequestHead, Version};

/// The media type of all that gRPC sends.
pub const MEDIA_TYPE: &str = "application/grpc";

/// Whether a request is a gRPC call. Only what can be one gets its 200: a refusal must look like one
/// to everybody else.
#[must_use]
pub fn is_call(head: &RequestHead) -> bool {
    let can_be = head.version() == Version::Http2 && *head.method() == Method::POST;
    let media_type = || head.fields().get("content-type");
    can_be && media_type().is_some_and(is_media_type)
}

/// `application/grpc`, with a message format or parameters behind it. gRPC-Web is something else.
fn is_media_type(value: &[u8]) -> bool {
    let start = value.split_at_checked(MEDIA_TYPE.len());
    start.is_some_and(|(name, rest)| {
        name.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes())
            && matches!(rest, [] | [b'+' | b';' | b' ', ..])
    })
}

/// What a backend has said that a call came to.
#[must_use]
pub fn status(fields: &Fields) -> Option<u16> {
    str::from_utf8(fields.get("grpc-status")?)
        .ok()?
        .parse()
        .ok()
}

/// The status of a call that is answered with this one of HTTP: as gRPC's "HTTP to gRPC status code
/// mapping" has it, which Envoy follows too, and the size of a message for 413.
#[must_use]
pub const fn status_of(status: StatusCode) -> Status {
    match status.as_u16() {
        400 | 431 => Status::Internal,
        401 => Status::Unauthenticated,
        403 => Status::PermissionDenied,
        404 | 405 => Status::Unimplemented,
        413 => Status::ResourceExhausted,
        429 | 502 | 503 | 504 => Status::Unavailable,
        _ => Status::Unknown,
    }
}

/// Those of the status codes of gRPC that we give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// UNKNOWN
    Unknown,
    /// PERMISSION_DENIED
    PermissionDenied,
    /// RESOURCE_EXHAUSTED
    ResourceExhausted,
    /// UNIMPLEMENTED
    Unimplemented,
    /// INTERNAL
    Internal,
    /// UNAVAILABLE
    Unavailable,
    /// UNAUTHENTICATED
    Unauthenticated,
}

impl Status {
    /// The code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "2",
            Self::PermissionDenied => "7",
            Self::ResourceExhausted => "8",
            Self::Unimplemented => "12",
            Self::Internal => "13",
            Self::Unavailable => "14",
            Self::Unauthenticated => "16",
        }
    }
}

/// What is said to people, as `grpc-message` carries it: percent-encoded UTF-8.
#[must_use]
pub fn message(text: &str) -> String {
    const NOT_PRINTABLE: &AsciiSet = &CONTROLS.add(b'%');
    utf8_percent_encode(text, NOT_PRINTABLE).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_media_type_of_grpc_makes_a_call() {
        for value in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=utf-8",
            "Application/gRPC+json",
        ] {
            assert!(is_media_type(value.as_bytes()), "{value}");
        }
        for value in ["", "application/grpc-web", "application/grpcx", "text/html"] {
            assert!(!is_media_type(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn a_message_is_printable_and_can_be_read_back() {
        assert_eq!(message("100 % ä\n"), "100 %25 %C3%A4%0A");
    }
}
