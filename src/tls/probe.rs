//! Asks a server what it shows: a handshake in which nothing is refused, so that all can be seen.
//!
//! The one deadline is the caller's; every step reports when it is done, so that a server that goes
//! silent can be told from one that is not there.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use boring::error::ErrorStack;
use boring::ssl::{
    HandshakeError, Ssl, SslContext, SslContextBuilder, SslMethod, SslRef, SslVerifyMode,
    SslVersion, StatusType,
};
use boring::x509::X509;
use boring::x509::store::X509StoreBuilder;

use super::inspect::{CertificateFacts, Chain, chain, facts};
use super::trust;

/// h2 and HTTP/1.1, each after its length.
const ALPN: &[u8] = b"\x02h2\x08http/1.1";

/// Whom to ask.
#[derive(Clone, Debug)]
pub struct Target {
    /// A name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The name to ask for, and to look for in the certificate.
    pub server_name: String,
}

/// What a server showed.
#[derive(Debug)]
pub struct Shown {
    /// Where it answered.
    pub address: SocketAddr,
    /// TLSv1.3 and so on.
    pub version: String,
    /// The cipher suite, as IANA calls it.
    pub cipher: Option<String>,
    /// The protocol chosen of those we offered.
    pub alpn: Option<String>,
    /// Whether an OCSP response came along.
    pub has_ocsp: bool,
    /// Its certificates, in the order sent.
    pub certificates: Vec<CertificateFacts>,
    /// How these follow from each other.
    pub chain: Option<Chain>,
    /// Whether the first is for the name that was asked for.
    pub is_name_right: bool,
    /// Whether this system trusts it; else why not.
    pub trust: Result<(), String>,
    /// Why the handshake did not come to its end, though certificates had been seen by then.
    pub broken_off: Option<String>,
}

/// How far it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The name is being looked up.
    Resolving,
    /// A connection is being made.
    Connecting,
    /// The handshake is under way.
    Handshake,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The name is not known.
    #[error("cannot find the address of this host")]
    Resolve(#[source] io::Error),
    /// Nobody there.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// Somebody, but without TLS.
    #[error("no TLS handshake: {0}; is this a port with TLS?")]
    Handshake(String),
    /// Somebody with TLS, but not for us.
    #[error("no TLS handshake: {0}; perhaps it knows other names only (--server-name)")]
    Refused(String),
    /// Silence.
    #[error("{}", match step {
        Step::Resolving => "the address of this host was not found in time",
        Step::Connecting => "no connection in time; a firewall may drop it",
        Step::Handshake => "connected, but no TLS handshake in time; is this a port with TLS?",
    })]
    Timeout {
        /// What was waited for.
        step: Step,
    },
    /// The TLS library failed before anything was sent.
    #[error("TLS library")]
    Library(#[from] ErrorStack),
}

/// Connects and shakes hands, all within `timeout`.
///
/// # Errors
/// [`ProbeError`].
pub fn probe(target: &Target, timeout: Duration) -> Result<Shown, ProbeError> {
    let deadline = Instant::now() + timeout;
    let (reports, reported) = mpsc::channel();
    let target = target.clone();
    // Looking up a name cannot be given a deadline, so all of it is left behind when time is up.
    std::thread::spawn(move || {
        let result = ask(&target, timeout, &reports);
        // Nobody may be waiting any more.
        let _ = reports.send(Report::Done(Box::new(result)));
    });
    let mut step = Step::Resolving;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match reported.recv_timeout(left) {
            Ok(Report::Began(next)) => step = next,
            Ok(Report::Done(result)) => return *result,
            Err(_) => return Err(ProbeError::Timeout { step }),
        }
    }
}

enum Report {
    Began(Step),
    Done(Box<Result<Shown, ProbeError>>),
}

fn ask(target: &Target, timeout: Duration, reports: &Sender<Report>) -> Result<Shown, ProbeError> {
    let began = |step| drop(reports.send(Report::Began(step)));
    let context = context()?;
    let host = target.host.as_str();
    let addresses: Vec<_> = (host, target.port)
        .to_socket_addrs()
        .map_err(ProbeError::Resolve)?
        .collect();
    began(Step::Connecting);
    let stream = connect(&addresses, timeout).map_err(ProbeError::Connect)?;
    let address = stream.peer_addr().map_err(ProbeError::Connect)?;
    // Only so that the thread does not outlive the wait by much.
    let set = stream.set_read_timeout(Some(timeout));
    set.and_then(|()| stream.set_write_timeout(Some(timeout)))
        .map_err(ProbeError::Connect)?;
    began(Step::Handshake);
    let mut ssl = Ssl::new(&context)?;
    if target.server_name.parse::<IpAddr>().is_err() {
        ssl.set_hostname(&target.server_name)?;
    }
    ssl.set_status_type(StatusType::OCSP)?;
    match ssl.connect(stream) {
        Ok(stream) => Ok(shown(stream.ssl(), target, address, None)?),
        Err(HandshakeError::SetupFailure(error)) => Err(ProbeError::Library(error)),
        Err(HandshakeError::Failure(middle) | HandshakeError::WouldBlock(middle)) => {
            let broken_off = BrokenOff::of(middle.error());
            if middle.ssl().peer_certificate().is_none() {
                return Err(match broken_off {
                    BrokenOff::ByServer(_) => ProbeError::Refused(broken_off.to_string()),
                    BrokenOff::ByUs(_) => ProbeError::Handshake(broken_off.to_string()),
                });
            }
            let why = Some(broken_off.to_string());
            Ok(shown(middle.ssl(), target, address, why)?)
        }
    }
}

/// To the first address that answers; none of them may use up the time of all.
fn connect(addresses: &[SocketAddr], timeout: Duration) -> io::Result<TcpStream> {
    let each = timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect_timeout(address, each.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Takes any certificate and every version, but looks at the chain with the system's trust.
fn context() -> Result<SslContext, ErrorStack> {
    let mut context = SslContextBuilder::new(SslMethod::tls())?;
    // Devices that speak nothing newer are what this is asked about.
    context.set_min_proto_version(Some(SslVersion::TLS1))?;
    context.set_alpn_protos(ALPN)?;
    // The chain is checked all the same, and the outcome kept.
    context.set_verify(SslVerifyMode::NONE);
    let mut store = X509StoreBuilder::new()?;
    store.set_default_paths()?;
    for certificate in trust::of_system() {
        store.add_cert(&certificate)?;
    }
    context.set_cert_store(store.build());
    Ok(context.build())
}

fn shown(
    ssl: &SslRef,
    target: &Target,
    address: SocketAddr,
    broken_off: Option<String>,
) -> Result<Shown, ErrorStack> {
    let sent = ssl.peer_cert_chain();
    let sent: Vec<X509> = sent
        .iter()
        .flat_map(|sent| sent.iter())
        .map(ToOwned::to_owned)
        .collect();
    let name = &target.server_name;
    let is_name_right = match sent.first() {
        Some(leaf) if name.parse::<IpAddr>().is_ok() => leaf.check_ip_asc(name)?,
        Some(leaf) => leaf.check_host(name)?,
        None => false,
    };
    let cipher = ssl
        .current_cipher()
        .and_then(|cipher| cipher.standard_name());
    let alpn = ssl.selected_alpn_protocol();
    let verified = ssl.verify_result();
    Ok(Shown {
        address,
        version: ssl.version_str().to_owned(),
        cipher: cipher.map(str::to_owned),
        alpn: alpn.map(|alpn| String::from_utf8_lossy(alpn).into_owned()),
        has_ocsp: ssl
            .ocsp_status()
            .is_some_and(|response| !response.is_empty()),
        certificates: facts(&sent)?,
        chain: chain(&sent),
        is_name_right,
        trust: verified.map_err(|error| error.error_string().to_owned()),
        broken_off,
    })
}

/// Who ended a handshake, and why.
enum BrokenOff {
    ByServer(String),
    ByUs(String),
}

impl BrokenOff {
    /// From the innermost of what the TLS library says, which names what was received an alert.
    fn of(error: &boring::ssl::Error) -> Self {
        let errors = error.ssl_error().map_or(&[][..], ErrorStack::errors);
        let Some(reason) = errors.iter().rev().find_map(|error| error.reason()) else {
            let text = error.io_error().map(ToString::to_string);
            return Self::ByUs(text.unwrap_or_else(|| "the connection was closed".to_owned()));
        };
        let reason = reason.to_ascii_lowercase().replace('_', " ");
        match reason.split_once(" alert ") {
            Some((_, alert)) => Self::ByServer(alert.to_owned()),
            // The one alert that has a name of its own.
            None if reason == "handshake failure on client hello" => {
                Self::ByServer("handshake failure".to_owned())
            }
            None => Self::ByUs(reason),
        }
    }
}

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByServer(alert) => write!(f, "the server answered \"{alert}\""),
            Self::ByUs(reason) => f.write_str(reason),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}
