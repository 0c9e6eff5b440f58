//! Why a request was not forwarded to its end: what is logged of it, and what the client is answered.

use http::StatusCode;

use crate::http1::read::ReadError;
use crate::proxy::exchange::{BodyFailure, ClientGone};
use crate::proxy::rewrite::PrefixMismatch;
use crate::proxy::shares::NoShare;
use crate::proxy::spool::SpoolError;
use crate::proxy::upstream::connection::ConnectFailure;
use crate::proxy::upstream_login::LoginRefusal;
use crate::tls::connector::TlsFault;

/// Why a request was not forwarded to its end.
#[derive(Debug, thiserror::Error)]
pub enum ForwardFailure {
    /// No connection to the backend.
    #[error(transparent)]
    Connect(#[from] ConnectFailure),
    /// The connection broke before any of the answer came.
    #[error("the backend closed the connection before it answered")]
    NoAnswer,
    /// No answer, or no more of it, in time.
    #[error("the backend took too long")]
    TooSlow,
    /// What the backend sent is not HTTP/1 as we accept it.
    #[error("the backend's answer is not acceptable: {0}")]
    BadAnswer(ReadError),
    /// The backend gave the request up before any of the answer came (RST_STREAM).
    #[error("the backend gave the request up: {0}")]
    Reset(h2::Reason),
    /// The backend has said that it has not looked at the request (RFC 9113 section 8.7).
    #[error("the backend did not take the request")]
    NotProcessed,
    /// What is asked for cannot be written as HTTP/2.
    #[error("the request cannot be written as HTTP/2")]
    NotHttp2,
    /// The answer was cut short.
    #[error("the backend broke off its answer: {0}")]
    CutShort(ReadError),
    /// It switched to another protocol, and not as it was asked to.
    #[error("the backend's answer to a WebSocket handshake is not one")]
    BadUpgrade,
    /// The client's body failed.
    #[error("the request body failed: {0:?}")]
    Body(BodyFailure),
    /// The client went away.
    #[error("the client went away")]
    ClientGone,
    /// It would not be let in any more.
    #[error("what the request was let in for has ended")]
    NoLongerPermitted,
    /// The patience of a drain is at its end.
    #[error("the server ends")]
    CutOff,
    /// Its path does not begin as its route says.
    #[error(transparent)]
    Prefix(#[from] PrefixMismatch),
    /// The backend does not let us in.
    #[error("the backend does not let us in: {0}")]
    LoginRefused(#[from] LoginRefusal),
    /// It would last, and its client has as many of those as are left for all others.
    #[error("one client has as many WebSockets as are left for all others")]
    TooManyTunnels,
    /// Its body cannot be kept until it is whole.
    #[error(transparent)]
    NotKept(#[from] SpoolError),
}

impl From<NoShare> for ForwardFailure {
    fn from(why: NoShare) -> Self {
        match why {
            NoShare::Full => Self::Connect(ConnectFailure::Full),
            NoShare::TooMuch => Self::TooManyTunnels,
        }
    }
}

impl From<ClientGone> for ForwardFailure {
    fn from(_: ClientGone) -> Self {
        Self::ClientGone
    }
}

impl ForwardFailure {
    /// A stable word for logs (`error.type`) and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Connect(ConnectFailure::Unresolved) => "upstream_unresolved",
            Self::Connect(ConnectFailure::Refused) => "upstream_refused",
            Self::Connect(ConnectFailure::TimedOut) => "upstream_connect_timeout",
            Self::Connect(ConnectFailure::Full) => "upstream_full",
            Self::Connect(ConnectFailure::NotHttp2) => "upstream_http2_not_spoken",
            Self::Connect(ConnectFailure::Tls(fault)) => match fault {
                TlsFault::Untrusted => "upstream_tls_untrusted",
                TlsFault::Expired => "upstream_tls_expired",
                TlsFault::NotYetValid => "upstream_tls_not_yet_valid",
                TlsFault::WrongName => "upstream_tls_wrong_name",
                TlsFault::WrongKey => "upstream_tls_wrong_key",
                TlsFault::Refused => "upstream_tls_refused",
                TlsFault::NotTls => "upstream_tls_not_spoken",
                TlsFault::NotHttp2 => "upstream_http2_not_spoken",
                TlsFault::Failed => "upstream_tls_failed",
            },
            Self::NoAnswer => "upstream_closed",
            Self::TooSlow => "upstream_timeout",
            Self::BadAnswer(_) => "upstream_bad_answer",
            Self::Reset(_) => "upstream_reset",
            Self::NotProcessed => "upstream_refused_stream",
            Self::NotHttp2 => "not_http2",
            Self::BadUpgrade => "upstream_bad_upgrade",
            Self::CutShort(_) => "upstream_cut_short",
            Self::Body(BodyFailure::ClientGone) | Self::ClientGone => "client_gone",
            Self::Body(BodyFailure::TooSlow) => "body_timeout",
            Self::Body(BodyFailure::Malformed) => "body_malformed",
            Self::Body(BodyFailure::TooLarge) => "body_too_large",
            Self::Body(BodyFailure::Lost) | Self::NotKept(SpoolError::Failed(_)) => "buffer_failed",
            Self::NotKept(SpoolError::TooLarge) => "body_too_large",
            Self::NotKept(SpoolError::Full) => "buffer_full",
            Self::NotKept(SpoolError::TooMuch) | Self::TooManyTunnels => "client_share",
            Self::NotKept(SpoolError::DiskFull(_)) => "buffer_disk_full",
            Self::NotKept(SpoolError::TooSlow) => "buffer_timeout",
            Self::LoginRefused(_) => "upstream_login_refused",
            Self::NoLongerPermitted => "no_longer_permitted",
            Self::CutOff => "draining",
            Self::Prefix(PrefixMismatch) => "path_prefix",
        }
    }

    /// Whether it is the backend's.
    #[must_use]
    pub const fn is_upstream(&self) -> bool {
        !matches!(
            self,
            Self::Body(_)
                | Self::ClientGone
                | Self::NoLongerPermitted
                | Self::CutOff
                | Self::NotHttp2
                | Self::Prefix(_)
                | Self::TooManyTunnels
                | Self::NotKept(_)
        )
    }

    /// Whether it says something about the backend's address: there was no answer, or none that is
    /// one. An answer that breaks off may be one that does so always.
    pub(super) const fn leaves_doubt(&self) -> bool {
        matches!(
            self,
            Self::NotProcessed
                | Self::Reset(_)
                | Self::NoAnswer
                | Self::TooSlow
                | Self::BadAnswer(_)
        )
    }

    /// Whether nobody is left to answer.
    #[must_use]
    pub const fn is_client_gone(&self) -> bool {
        matches!(self, Self::ClientGone | Self::Body(BodyFailure::ClientGone))
    }

    /// What the client is answered, where the answer has not begun.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Connect(ConnectFailure::TimedOut) | Self::TooSlow => StatusCode::GATEWAY_TIMEOUT,
            Self::Connect(ConnectFailure::Full)
            | Self::NotProcessed
            | Self::CutOff
            | Self::Body(BodyFailure::Lost) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect(_)
            | Self::NoAnswer
            | Self::BadAnswer(_)
            | Self::BadUpgrade
            | Self::Reset(_)
            | Self::CutShort(_)
            | Self::LoginRefused(_) => StatusCode::BAD_GATEWAY,
            Self::Body(BodyFailure::TooLarge) | Self::NotKept(SpoolError::TooLarge) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::TooManyTunnels | Self::NotKept(SpoolError::TooMuch) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::NotKept(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Body(BodyFailure::TooSlow) => StatusCode::REQUEST_TIMEOUT,
            Self::NoLongerPermitted => StatusCode::FORBIDDEN,
            Self::Body(_) | Self::NotHttp2 | Self::ClientGone | Self::Prefix(_) => {
                StatusCode::BAD_REQUEST
            }
        }
    }
}
