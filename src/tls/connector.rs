//! TLS to backends: whom to trust there, what to show them, and why a handshake failed.
//!
//! Which backends there are, and their connections, is the proxy's business; how clients are dealt
//! with is in `acceptor`.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arc_swap::ArcSwapOption;
use boring::error::ErrorStack;
use boring::ssl::{
    SslAlert, SslConnector, SslMethod, SslRef, SslVerifyError, SslVerifyMode, SslVersion,
};
use boring::x509::store::{X509Store, X509StoreBuilder};
use boring::x509::verify::X509CheckFlags;
use boring::x509::{X509, X509Ref, X509VerifyError};
use pingora_core::tls::tokio_ssl::SslStream;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::certs::{CertError, CertifiedKey};
use super::secret::Answers;
use super::spec::{MinVersion, UpstreamApplication, UpstreamTlsSpec};
use super::trust::{self, TrustError};

/// A connection to a backend, with TLS.
pub type UpstreamTlsStream = SslStream<Ends>;

/// A connection below TLS, whose end is an error: TLS has an end of its own (RFC 8446 section 6.1),
/// after which nothing is read. Without it, whoever is in between could cut an answer short that ends
/// with its connection (RFC 9112 section 9.8).
#[derive(Debug)]
pub struct Ends(TcpStream);

impl Ends {
    /// The connection below TLS.
    #[must_use]
    pub const fn tcp(&self) -> &TcpStream {
        &self.0
    }
}

impl AsyncRead for Ends {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        match buf.filled().len() > before || buf.remaining() == 0 {
            true => Poll::Ready(Ok(())),
            false => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

impl AsyncWrite for Ends {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Makes connections to one backend secure, as it was loaded last.
pub struct Connector {
    spec: UpstreamTlsSpec,
    /// `None` until it is loaded: there is no connection before that.
    loaded: ArcSwapOption<Trust>,
}

/// What a connection was made with. While it is the same, the connection may be used again.
pub struct Trust {
    context: SslConnector,
}

/// Why a backend's TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// Whom to trust cannot be read.
    #[error("{place}: {source}")]
    Trust {
        /// Where it is configured.
        place: String,
        /// Why.
        source: TrustError,
    },
    /// What to show cannot be read.
    #[error("{}: {source}", place)]
    Certificate {
        /// Where it is configured.
        place: String,
        /// Why.
        source: CertError,
    },
    /// This system trusts nobody.
    #[error(
        "{place}: this system has no certificates of CAs; name that of the backend, as \"ca: \
         backend-ca.crt\", or install ca-certificates"
    )]
    NoSystemTrust {
        /// Where it is configured.
        place: String,
    },
    /// BoringSSL does not take it.
    #[error("{place}: {source}")]
    Library {
        /// Where it is configured.
        place: String,
        /// Why.
        source: ErrorStack,
    },
}

/// Why a handshake with a backend failed. Nothing was sent then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// Nobody whom we trust vouches for it.
    #[error("the backend's certificate is of nobody who is trusted")]
    Untrusted,
    /// Its time is over.
    #[error("the backend's certificate has expired")]
    Expired,
    /// Its time has not come.
    #[error("the backend's certificate is not valid yet")]
    NotYetValid,
    /// It is for another name.
    #[error("the backend's certificate is for another name")]
    WrongName,
    /// Its key is not one of those that it may have.
    #[error("the backend's key is not one that is pinned")]
    WrongKey,
    /// It did not want us.
    #[error("the backend broke off the TLS handshake")]
    Refused,
    /// It speaks something else.
    #[error("the backend does not speak TLS, or none that is new enough")]
    NotTls,
    /// It did not choose HTTP/2.
    #[error("the backend does not speak HTTP/2 over TLS")]
    NotHttp2,
    /// Something else went wrong.
    #[error("the TLS handshake with the backend failed")]
    Failed,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connector").field(&self.spec).finish()
    }
}

/// Equal where they are configured alike.
impl PartialEq for Connector {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl Eq for Connector {}

impl Connector {
    /// One that is still to be loaded.
    #[must_use]
    pub fn new(spec: UpstreamTlsSpec) -> Self {
        Self {
            spec,
            loaded: ArcSwapOption::empty(),
        }
    }

    /// What it is made of.
    #[must_use]
    pub const fn spec(&self) -> &UpstreamTlsSpec {
        &self.spec
    }

    /// Reads all files anew. New connections are made with what is in them.
    ///
    /// # Errors
    /// [`ConnectorError`]. All stays as it is then.
    pub fn load(&self, answers: &Answers) -> Result<(), ConnectorError> {
        let trust = Trust::load(&self.spec, answers)?;
        self.loaded.store(Some(Arc::new(trust)));
        Ok(())
    }

    /// What connections are made with now.
    #[must_use]
    pub fn trust(&self) -> Option<Arc<Trust>> {
        self.loaded.load_full()
    }

    /// Shakes hands with what is at `host`, as it is configured. The caller has the deadline.
    ///
    /// # Errors
    /// [`TlsFault`].
    pub async fn connect(
        &self,
        trust: &Trust,
        host: &str,
        tcp: TcpStream,
    ) -> Result<UpstreamTlsStream, TlsFault> {
        let name = self.spec.server_name.as_deref().unwrap_or(host);
        let configuration = trust.context.configure();
        let checks_name = self.spec.is_vouched_for();
        let mut ssl = configuration
            .map(|it| it.verify_hostname(checks_name))
            .and_then(|it| it.into_ssl(name))
            .map_err(|_| TlsFault::Failed)?;
        // A common name is no name to look for (RFC 9525 section 2): a client's may be anything.
        let names = X509CheckFlags::NO_PARTIAL_WILDCARDS | X509CheckFlags::NEVER_CHECK_SUBJECT;
        ssl.verify_param_mut().set_hostflags(names);
        let mut stream = SslStream::new(ssl, Ends(tcp)).map_err(|_| TlsFault::Failed)?;
        match Pin::new(&mut stream).connect().await {
            Ok(()) => self.speaks_as_wanted(stream),
            Err(error) => Err(self.fault(stream.ssl(), &error)),
        }
    }

    /// RFC 9113 section 3.2: HTTP/2 over TLS is spoken where both have said so, and nowhere else.
    fn speaks_as_wanted(&self, stream: UpstreamTlsStream) -> Result<UpstreamTlsStream, TlsFault> {
        let chosen = stream.ssl().selected_alpn_protocol();
        match self.spec.application {
            UpstreamApplication::Http2 if chosen != Some(b"h2") => Err(TlsFault::NotHttp2),
            UpstreamApplication::Http2 | UpstreamApplication::Http11 => Ok(stream),
        }
    }

    /// Why it failed, from what was found out about the certificate, and else from what was said.
    fn fault(&self, ssl: &SslRef, error: &boring::ssl::Error) -> TlsFault {
        let errors = error.ssl_error().map_or(&[][..], ErrorStack::errors);
        let reasons = || errors.iter().filter_map(|error| error.reason());
        let says = |word: &str| reasons().any(|reason| reason.contains(word));
        if says("CERTIFICATE_VERIFY_FAILED") {
            return match ssl.verify_result() {
                _ if !self.spec.is_vouched_for() => TlsFault::WrongKey,
                Err(X509VerifyError::CERT_HAS_EXPIRED) => TlsFault::Expired,
                Err(X509VerifyError::CERT_NOT_YET_VALID) => TlsFault::NotYetValid,
                Err(X509VerifyError::HOSTNAME_MISMATCH | X509VerifyError::IP_ADDRESS_MISMATCH) => {
                    TlsFault::WrongName
                }
                Err(X509VerifyError::APPLICATION_VERIFICATION) => TlsFault::WrongKey,
                Ok(()) | Err(_) => TlsFault::Untrusted,
            };
        }
        if says("NO_APPLICATION_PROTOCOL") {
            return match self.spec.application {
                UpstreamApplication::Http2 => TlsFault::NotHttp2,
                UpstreamApplication::Http11 => TlsFault::Refused,
            };
        }
        // Some alerts have names of their own.
        if says("ALERT") || says("HANDSHAKE_FAILURE_ON_CLIENT_HELLO") {
            return TlsFault::Refused;
        }
        let is_other = [
            "WRONG_VERSION_NUMBER",
            "UNSUPPORTED_PROTOCOL",
            "HTTP_REQUEST",
        ];
        match is_other.iter().any(|word| says(word)) {
            true => TlsFault::NotTls,
            false => TlsFault::Failed,
        }
    }
}

impl Trust {
    fn load(spec: &UpstreamTlsSpec, answers: &Answers) -> Result<Self, ConnectorError> {
        let place = || spec.place.clone();
        let library = |source| ConnectorError::Library {
            place: place(),
            source,
        };
        let anchors = trust::certificates(&spec.trust, answers);
        let anchors = anchors.map_err(|source| ConnectorError::Trust {
            place: place(),
            source,
        })?;
        let anchors = match spec.asks_system() {
            true => trust::of_system(),
            false => anchors,
        };
        if anchors.is_empty() && spec.is_vouched_for() {
            return Err(ConnectorError::NoSystemTrust { place: place() });
        }
        let shown = spec.certificate.as_ref();
        let shown = shown.map(|shown| CertifiedKey::load(shown, answers));
        let shown = shown
            .transpose()
            .map_err(|source| ConnectorError::Certificate {
                place: place(),
                source,
            })?;
        let context = context(spec, &anchors, shown.as_ref()).map_err(library)?;
        Ok(Self { context })
    }
}

/// Keys are looked at during the handshake, so that nobody else is shown ours.
fn context(
    spec: &UpstreamTlsSpec,
    anchors: &[X509],
    shown: Option<&CertifiedKey>,
) -> Result<SslConnector, ErrorStack> {
    let mut context = SslConnector::builder(SslMethod::tls())?;
    context.set_min_proto_version(Some(match spec.min_version {
        MinVersion::Tls12 => SslVersion::TLS1_2,
        MinVersion::Tls13 => SslVersion::TLS1_3,
    }))?;
    context.set_alpn_protos(spec.application.offered())?;
    context.set_cert_store(store(anchors)?);
    if spec.is_vouched_for() && spec.pins.is_empty() {
        context.set_verify(SslVerifyMode::PEER);
    } else if spec.is_vouched_for() {
        let pins = spec.pins.clone();
        context.set_verify_callback(SslVerifyMode::PEER, move |is_right, chain| {
            let is_leaf = chain.error_depth() == 0;
            let is_pinned = !is_leaf || chain.current_cert().is_some_and(|it| has_key(it, &pins));
            if is_right && !is_pinned {
                chain.set_error(Err(X509VerifyError::APPLICATION_VERIFICATION));
            }
            is_right && is_pinned
        });
    } else if !spec.pins.is_empty() {
        // The key says all there is to say.
        let pins = spec.pins.clone();
        context.set_custom_verify_callback(SslVerifyMode::PEER, move |ssl| {
            let unknown = SslVerifyError::Invalid(SslAlert::BAD_CERTIFICATE);
            is_pinned(ssl, &pins).then_some(()).ok_or(unknown)
        });
    } else {
        context.set_verify(SslVerifyMode::NONE);
    }
    if let Some(shown) = shown {
        context.set_certificate(&shown.leaf)?;
        for intermediate in &shown.intermediates {
            context.add_extra_chain_cert(intermediate.clone())?;
        }
        context.set_private_key(&shown.key)?;
    }
    Ok(context.build())
}

/// A backend's own certificate, or an intermediate, may be trusted without its issuer.
fn store(anchors: &[X509]) -> Result<X509Store, ErrorStack> {
    let mut store: X509StoreBuilder = super::store::with_anchors(anchors)?;
    store.try_set_flags(boring::x509::verify::X509VerifyFlags::TRUSTED_FIRST)?;
    Ok(store.build())
}

/// Whether the backend's key is one of these. That it has the key, the handshake proves.
fn is_pinned(ssl: &SslRef, pins: &[[u8; 32]]) -> bool {
    ssl.peer_certificate().is_some_and(|it| has_key(&it, pins))
}

fn has_key(certificate: &X509Ref, pins: &[[u8; 32]]) -> bool {
    let key = certificate.public_key();
    let Ok(der) = key.and_then(|key| key.public_key_to_der()) else {
        return false;
    };
    let digest: [u8; 32] = Sha256::digest(der).into();
    pins.contains(&digest)
}
