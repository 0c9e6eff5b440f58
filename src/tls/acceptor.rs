//! From a policy to finished handshakes.
//!
//! The context starts from Mozilla's intermediate profile, version 5, without its finite-field
//! Diffie-Hellman suites: BoringSSL has none. Early data stays off: a replayed request would pass
//! the gate twice.

use std::sync::Arc;

use boring::ssl::{
    AlpnError, ErrorCode, SslAcceptor, SslMethod, SslOptions, SslRef, SslSessionCacheMode,
    SslVersion, select_next_proto,
};
use pingora_core::protocols::IO;
use pingora_core::protocols::tls::SslStream;
use pingora_core::protocols::tls::server::prepare_tls_stream;

use super::certs::{CertError, CertifiedKey};
use super::spec::{MinVersion, TlsSpec};

/// ALPN names in order of preference, each after its length (RFC 7301 section 3.1).
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// X25519MLKEM768 first: what is recorded today must not be read by a quantum computer later.
const GROUPS: &str = "X25519MLKEM768:X25519:P-256:P-384";

/// Ends TLS for a listener.
#[derive(Clone)]
pub struct Acceptor(Arc<SslAcceptor>);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// What a handshake settled, for routing and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The cipher suite by its OpenSSL name.
    pub cipher: String,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The name the client asked for.
    pub server_name: Option<String>,
    /// Whether HTTP/2 was agreed on.
    pub http2: bool,
}

/// Why a handshake failed, in the words of `tls_handshake_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client closed or reset the connection.
    Eof,
    /// No cipher suite, group or signature that both sides know.
    NoSharedCipher,
    /// No version that both sides accept.
    ProtocolVersion,
    /// HTTP in the clear on the TLS port.
    PlainHttp,
    /// The client did not accept our certificate.
    CertificateRefused,
    /// Anything else.
    Other,
}

impl HandshakeFailure {
    /// The label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eof => "eof",
            Self::NoSharedCipher => "no_shared_cipher",
            Self::ProtocolVersion => "protocol_version",
            Self::PlainHttp => "plain_http",
            Self::CertificateRefused => "certificate_refused",
            Self::Other => "other",
        }
    }
}

impl Acceptor {
    /// Loads the certificate that `spec` names and builds the context.
    ///
    /// # Errors
    /// [`CertError`], naming the file and the fix.
    pub fn load(spec: &TlsSpec) -> Result<Self, CertError> {
        Self::new(&CertifiedKey::load(spec)?, spec.min_version)
    }

    /// Builds the context for a pair that is already checked.
    ///
    /// # Errors
    /// [`CertError::Library`] where BoringSSL does not take the pair.
    pub fn new(pair: &CertifiedKey, min_version: MinVersion) -> Result<Self, CertError> {
        let mut context = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
        context.set_min_proto_version(Some(match min_version {
            MinVersion::Tls12 => SslVersion::TLS1_2,
            MinVersion::Tls13 => SslVersion::TLS1_3,
        }))?;
        context.set_curves_list(GROUPS)?;
        context.set_certificate(&pair.leaf)?;
        for intermediate in &pair.intermediates {
            context.add_extra_chain_cert(intermediate.clone())?;
        }
        context.set_private_key(&pair.key)?;
        context.set_options(SslOptions::NO_RENEGOTIATION);
        // Tickets carry resumption; a cache of ids would be memory that a client can fill.
        context.set_session_cache_mode(SslSessionCacheMode::OFF);
        context.set_alpn_select_callback(|_ssl, offered| {
            select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::ALERT_FATAL)
        });
        Ok(Self(Arc::new(context.build())))
    }

    /// Performs the handshake on a new connection. The caller sets the deadline.
    ///
    /// # Errors
    /// [`HandshakeFailure`]; the connection is of no more use.
    pub async fn accept<S: IO>(&self, io: S) -> Result<(SslStream<S>, TlsFacts), HandshakeFailure> {
        let mut stream = prepare_tls_stream(&self.0, io).map_err(|_| HandshakeFailure::Other)?;
        match stream.accept().await {
            Ok(()) => {
                let facts = TlsFacts::of(stream.ssl());
                Ok((stream, facts))
            }
            Err(error) => Err(classify(&error)),
        }
    }
}

impl TlsFacts {
    fn of(ssl: &SslRef) -> Self {
        Self {
            version: ssl.version_str().trim_start_matches("TLSv"),
            cipher: ssl
                .current_cipher()
                .map_or_else(String::new, |cipher| cipher.name().to_owned()),
            resumed: ssl.session_reused(),
            server_name: ssl
                .servername(boring::ssl::NameType::HOST_NAME)
                .map(str::to_owned),
            http2: ssl.selected_alpn_protocol() == Some(b"h2"),
        }
    }
}

fn classify(error: &boring::ssl::Error) -> HandshakeFailure {
    if error.io_error().is_some() || error.code() == ErrorCode::ZERO_RETURN {
        return HandshakeFailure::Eof;
    }
    let reasons = error.ssl_error().map(|stack| stack.errors());
    for reason in reasons.into_iter().flatten().filter_map(|e| e.reason()) {
        match reason {
            "NO_SHARED_CIPHER" | "NO_SHARED_GROUP" | "NO_COMMON_SIGNATURE_ALGORITHMS" => {
                return HandshakeFailure::NoSharedCipher;
            }
            "UNSUPPORTED_PROTOCOL" | "WRONG_VERSION_NUMBER" => {
                return HandshakeFailure::ProtocolVersion;
            }
            "HTTP_REQUEST" | "HTTPS_PROXY_REQUEST" => return HandshakeFailure::PlainHttp,
            "TLSV1_ALERT_UNKNOWN_CA"
            | "SSLV3_ALERT_BAD_CERTIFICATE"
            | "SSLV3_ALERT_CERTIFICATE_UNKNOWN"
            | "SSLV3_ALERT_CERTIFICATE_EXPIRED" => {
                return HandshakeFailure::CertificateRefused;
            }
            _ => {}
        }
    }
    match error.code() {
        ErrorCode::SYSCALL => HandshakeFailure::Eof,
        _ => HandshakeFailure::Other,
    }
}
