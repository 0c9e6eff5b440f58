//! The opening handshake of WebSocket (RFC 6455 section 4): what a client has to send, and what a
//! backend has to answer.
//!
//! Subprotocols and extensions are between the two; they pass as they are.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use http::{Method, StatusCode};
use sha1::{Digest, Sha1};

use crate::http1::fields::{Fields, list_elements};
use crate::http1::head::{RequestFraming, RequestHead, Version};
use crate::http1::response::ResponseHead;

/// The only version there is (RFC 6455 section 4.1).
pub(super) const VERSION: &str = "13";

/// What the key is hashed with (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// 16 random bytes. Some clients write random letters, whose last bits then mean nothing.
const KEY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);
const KEY_LENGTH: usize = 16;

/// A handshake that may be forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// What the backend has to answer in `Sec-WebSocket-Accept`.
    accept: String,
}

/// Why something that says it is a handshake is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHandshake {
    /// Only GET may ask for it.
    #[error("a WebSocket handshake that is not a GET")]
    Method,
    /// `Upgrade` without `Connection: Upgrade`: meant for somebody before us, or for nobody.
    #[error("a WebSocket handshake without `Connection: Upgrade`")]
    Connection,
    /// Whether the body, or WebSocket, follows the head would be anybody's guess.
    #[error("a WebSocket handshake with a body")]
    Body,
    /// None, several, or one that is not 16 bytes.
    #[error("a WebSocket handshake without one Sec-WebSocket-Key of 16 bytes")]
    Key,
    /// None, or several.
    #[error("a WebSocket handshake without one Sec-WebSocket-Version")]
    NoVersion,
    /// One that nobody speaks.
    #[error("a version of WebSocket other than 13")]
    OtherVersion,
}

impl BadHandshake {
    /// What the client is answered.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Method | Self::Connection | Self::Body | Self::Key | Self::NoVersion => {
                StatusCode::BAD_REQUEST
            }
            Self::OtherVersion => StatusCode::UPGRADE_REQUIRED,
        }
    }
}

/// Whether a request asks to go on with WebSocket. Every other protocol in `Upgrade` is ignored, as
/// RFC 9110 section 7.8 has it, and the request is served as it is.
#[must_use]
pub fn is_asked_for(head: &RequestHead) -> bool {
    head.asks_upgrade() && has_option(head.fields(), "upgrade", b"websocket")
}

impl Handshake {
    /// Reads the handshake of a request that [asks for it](is_asked_for).
    ///
    /// # Errors
    /// [`BadHandshake`]. It must not be forwarded then: two servers could read it differently.
    pub fn read(head: &RequestHead) -> Result<Self, BadHandshake> {
        let fields = head.fields();
        if head.method() != Method::GET {
            return Err(BadHandshake::Method);
        }
        if !has_option(fields, "connection", b"upgrade") {
            return Err(BadHandshake::Connection);
        }
        if !matches!(
            head.framing(),
            RequestFraming::None | RequestFraming::Length(0)
        ) {
            return Err(BadHandshake::Body);
        }
        match only(fields, "sec-websocket-version") {
            None => return Err(BadHandshake::NoVersion),
            Some(version) if version != VERSION.as_bytes() => {
                return Err(BadHandshake::OtherVersion);
            }
            Some(_) => {}
        }
        let key = only(fields, "sec-websocket-key").ok_or(BadHandshake::Key)?;
        let decoded = KEY.decode(key).map_err(|_| BadHandshake::Key)?;
        if decoded.len() != KEY_LENGTH {
            return Err(BadHandshake::Key);
        }
        let mut digest = Sha1::new();
        digest.update(key);
        digest.update(GUID);
        Ok(Self {
            accept: STANDARD.encode(digest.finalize()),
        })
    }

    /// Whether a 101 is the right answer to it (RFC 6455 section 4.2.2). One that was not made for
    /// this very handshake comes from something that does not speak WebSocket.
    #[must_use]
    pub fn is_answered_by(&self, head: &ResponseHead) -> bool {
        let fields = head.fields();
        let upgrade = only(fields, "upgrade");
        let has_body =
            fields.contains("transfer-encoding") || head.declared_length().unwrap_or(0) > 0;
        head.status() == StatusCode::SWITCHING_PROTOCOLS
            && head.version() == Version::Http11
            && upgrade.is_some_and(|it| it.eq_ignore_ascii_case(b"websocket"))
            && has_option(fields, "connection", b"upgrade")
            && only(fields, "sec-websocket-accept") == Some(self.accept.as_bytes())
            && !has_body
    }
}

/// The value of a field that is there just once.
fn only<'f>(fields: &'f Fields, name: &'f str) -> Option<&'f [u8]> {
    let mut values = fields.get_all(name);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

fn has_option(fields: &Fields, name: &str, option: &[u8]) -> bool {
    let values = fields.get_all(name);
    values
        .flat_map(list_elements)
        .any(|element| element.eq_ignore_ascii_case(option))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::http1::head::HeadLimits;

    /// That of RFC 6455 section 1.2.
    const GOOD: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";

    fn request(text: &str) -> RequestHead {
        let mut bytes = BytesMut::from(text);
        let head = RequestHead::parse(&mut bytes, &HeadLimits::default());
        head.unwrap().unwrap()
    }

    #[track_caller]
    fn check(from: &str, to: &str, expected: Result<(), BadHandshake>) {
        assert!(GOOD.contains(from), "{from}");
        let head = request(&GOOD.replacen(from, to, 1));
        assert!(is_asked_for(&head), "{to}");
        assert_eq!(Handshake::read(&head).map(|_| ()), expected, "{from} {to}");
    }

    #[test]
    fn a_handshake_is_taken_in_the_forms_that_clients_send() {
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned();
        assert_eq!(Handshake::read(&request(GOOD)), Ok(Handshake { accept }));
        check("Upgrade: websocket", "Upgrade: WebSocket", Ok(()));
        check("Upgrade: websocket", "Upgrade: h2c, websocket", Ok(()));
        check(
            "Connection: Upgrade",
            "Connection: keep-alive, upgrade",
            Ok(()),
        );
        check("Version: 13", "Version: 13\r\nContent-Length: 0", Ok(()));
        check("ub25jZQ==", "ub25jZR==", Ok(()));
    }

    #[test]
    fn what_is_not_quite_a_handshake_is_refused() {
        check("GET", "POST", Err(BadHandshake::Method));
        check("Connection: Upgrade\r\n", "", Err(BadHandshake::Connection));
        check(
            "Connection: Upgrade",
            "Connection: close",
            Err(BadHandshake::Connection),
        );
        for body in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
            let with = format!("Version: 13\r\n{body}");
            check("Version: 13", &with, Err(BadHandshake::Body));
        }
        for key in [
            "",
            "dGhlIHNhbXBsZSBub25j",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "SGVsbG8sIHdvcmxkIQ==",
        ] {
            check("dGhlIHNhbXBsZSBub25jZQ==", key, Err(BadHandshake::Key));
        }
        check(
            "Sec-WebSocket-Version: 13\r\n",
            "",
            Err(BadHandshake::NoVersion),
        );
        check(
            "Version: 13",
            "Version: 13\r\nSec-WebSocket-Version: 8",
            Err(BadHandshake::NoVersion),
        );
        for version in ["8", "13, 8", "013", ""] {
            let other = format!("Version: {version}");
            check("Version: 13", &other, Err(BadHandshake::OtherVersion));
        }
    }

    #[test]
    fn other_protocols_and_other_versions_of_http_ask_for_nothing() {
        for other in [
            GOOD.replace("Upgrade: websocket", "Upgrade: h2c"),
            GOOD.replace("Upgrade: websocket", "Upgrade: websockets"),
            GOOD.replace("Upgrade: websocket", "Upgrade: websocket/13"),
            GOOD.replace("HTTP/1.1", "HTTP/1.0"),
            GOOD.replace("Upgrade: websocket\r\n", ""),
        ] {
            assert!(!is_asked_for(&request(&other)), "{other}");
        }
    }

    #[test]
    fn only_the_answer_to_this_handshake_accepts_it() {
        const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        let handshake = Handshake::read(&request(GOOD)).unwrap();
        let is_answer = |from: &str, to: &str| {
            assert!(ANSWER.contains(from), "{from}");
            let mut bytes = BytesMut::from(&*ANSWER.replacen(from, to, 1));
            let limits = HeadLimits::default();
            let head = ResponseHead::parse(&mut bytes, &Method::GET, &limits);
            handshake.is_answered_by(&head.unwrap().unwrap())
        };
        assert!(is_answer("", ""));
        assert!(is_answer("websocket", "WebSocket"));
        assert!(is_answer(
            "Connection: Upgrade",
            "Connection: keep-alive, upgrade"
        ));
        for (from, to) in [
            ("101 Switching Protocols", "200 OK"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("Upgrade: websocket\r\n", ""),
            ("Upgrade: websocket", "Upgrade: h2c"),
            ("Upgrade: websocket", "Upgrade: websocket, h2c"),
            ("Connection: Upgrade\r\n", ""),
            (
                "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
                "s3pPLMBiTxaQ9kYGzzhZRbK+xOo",
            ),
            ("s3pP", "S3pP"),
            ("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", ""),
            ("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n"),
        ] {
            assert!(!is_answer(from, to), "{from} {to}");
        }
    }
}
