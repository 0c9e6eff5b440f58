//! From a policy and certificates to finished handshakes.
//!
//! A connection begins with a context that has no certificate. When the client has said which name
//! it wants and what it can do, it is moved to the context of the certificate that fits. All of
//! them are built anew when anything changes, and swapped whole; connections that are there keep
//! theirs.
//!
//! What a move takes over from the new context: certificate, key, session id context, cipher
//! list, ALPN callback. What stays that of the first: versions, groups, options, ticket keys. So
//! all are made by `context` below, and differ in the certificate only.
//!
//! Early data stays off: a replayed request would pass the gate twice.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use boring::error::ErrorStack;
use boring::sha::sha256;
use boring::ssl::{
    AlpnError, ClientHello, ErrorCode, ExtensionType, NameType, SelectCertError, SslAcceptor,
    SslAcceptorBuilder, SslCipherRef, SslContext, SslMethod, SslOptions, SslRef,
    SslSessionCacheMode, SslVersion, select_next_proto,
};
use pingora_core::protocols::IO;
use pingora_core::protocols::tls::SslStream;
use pingora_core::protocols::tls::server::prepare_tls_stream;

use super::certs::{CertError, CertifiedKey, KeyKind, common_name, dns_names, now, unix_seconds};
use super::names::Names;
use super::ocsp::Staple;
use super::secret::Answers;
use super::self_signed;
use super::spec::{
    Alpn, CertificateSource, CertificateSpec, MinVersion, Policy, TicketSpec, TlsSpec,
};
use super::tickets::{TicketError, TicketKeySet, Tickets};

/// Ends TLS for the listeners. Cheap to clone: all clones change together.
#[derive(Clone)]
pub struct Acceptor(Arc<Inner>);

struct Inner {
    current: ArcSwap<Loaded>,
    tickets: Tickets,
}

/// All that is built from a configuration and the files that it names.
struct Loaded {
    front: SslAcceptor,
    served: Vec<Served>,
    certificates: Vec<CertificateFacts>,
    warnings: Vec<String>,
    tickets: TicketSpec,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// A certificate that is shown to clients, for metrics and the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFacts {
    /// Its common name, or its first DNS name.
    pub subject: String,
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// Its last moment, in seconds since 1970.
    pub not_after: i64,
    /// The last moment of the OCSP response that is stapled to it, where there is one that says so.
    pub staple_until: Option<i64>,
    /// The file that it is in.
    pub path: String,
}

/// Everything that is wrong with what TLS is configured to be.
#[derive(Debug)]
pub struct LoadError(Vec<LoadProblem>);

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
enum LoadProblem {
    #[error("{place}: {error}")]
    Certificate { place: String, error: CertError },
    #[error("tls.tickets: {0}")]
    Tickets(#[from] TicketError),
    #[error("TLS: {0}")]
    Library(#[from] ErrorStack),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let line_end = if at == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

impl<E: Into<LoadProblem>> From<E> for LoadError {
    fn from(problem: E) -> Self {
        Self(vec![problem.into()])
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
    /// Loads all that `spec` names and builds the contexts.
    ///
    /// # Errors
    /// Everything that is wrong, each with its file and the fix.
    pub fn load(spec: &TlsSpec, answers: &Answers) -> Result<Self, LoadError> {
        let keys = ticket_keys(&spec.tickets)?;
        let tickets = Tickets::new(keys);
        let (loaded, _) = Loaded::load(spec, answers, &tickets, None)?;
        Ok(Self(Arc::new(Inner {
            current: ArcSwap::from_pointee(loaded),
            tickets,
        })))
    }

    /// Shows one certificate to everybody.
    ///
    /// # Errors
    /// Where BoringSSL does not take the pair.
    pub fn with(pair: CertifiedKey) -> Result<Self, LoadError> {
        let tickets = Tickets::new(TicketKeySet::random()?);
        let policy = Policy::default();
        let context = || context(&policy, &TicketSpec::Random, &tickets);
        let served = vec![Served::new(None, Arc::new(pair), &policy, context()?)?];
        let loaded = Loaded::build(served, context()?, &TicketSpec::Random, Vec::new())?;
        Ok(Self(Arc::new(Inner {
            current: ArcSwap::from_pointee(loaded),
            tickets,
        })))
    }

    /// Loads everything anew. A certificate that cannot be loaded keeps what was loaded for it
    /// before, and is among the problems that are given back; the others change. Sessions can be
    /// resumed afterwards as far as the policy is the same and the ticket keys are.
    ///
    /// # Errors
    /// Everything that is wrong, each with its file and the fix, where something is missing for
    /// which there is nothing from before. All stays as it is then.
    pub fn reload(
        &self,
        spec: &TlsSpec,
        answers: &Answers,
    ) -> Result<Option<LoadError>, LoadError> {
        let before = self.0.current.load();
        let keys = match (&spec.tickets, &before.tickets) {
            // Ours are changed by time, not by a reload.
            (TicketSpec::Random, TicketSpec::Random) => None,
            (other, _) => Some(ticket_keys(other)?),
        };
        let (loaded, kept) = Loaded::load(spec, answers, &self.0.tickets, Some(&before))?;
        if let Some(keys) = keys {
            self.0.tickets.replace(keys);
        }
        self.0.current.store(Arc::new(loaded));
        Ok((!kept.is_empty()).then_some(LoadError(kept)))
    }

    /// A new random ticket key encrypts from now on, where the keys are ours.
    ///
    /// # Errors
    /// Where there is no randomness to be had.
    pub fn rotate_ticket_keys(&self) -> Result<(), LoadError> {
        match self.0.current.load().tickets {
            TicketSpec::Random => Ok(self.0.tickets.rotate()?),
            TicketSpec::Files(_) | TicketSpec::Off => Ok(()),
        }
    }

    /// The certificates that clients are shown.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateFacts> {
        self.0.current.load().certificates.clone()
    }

    /// Whether a certificate that was made here ends so soon that a reload makes another.
    #[must_use]
    pub fn has_made_one_that_ends(&self) -> bool {
        let loaded = self.0.current.load();
        let made = loaded.known(None);
        made.is_some_and(|made| !self_signed::is_good_for_a_while(made))
    }

    /// What is odd about the certificates and no error.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.0.current.load().warnings.clone()
    }

    /// Performs the handshake on a new connection. The caller sets the deadline.
    ///
    /// # Errors
    /// [`HandshakeFailure`]; the connection is of no more use.
    pub async fn accept<S: IO>(&self, io: S) -> Result<(SslStream<S>, TlsFacts), HandshakeFailure> {
        let mut stream = {
            let loaded: Guard<Arc<Loaded>> = self.0.current.load();
            prepare_tls_stream(&loaded.front, io).map_err(|_| HandshakeFailure::Other)?
        };
        match stream.accept().await {
            Ok(()) => {
                let facts = TlsFacts::of(stream.ssl());
                Ok((stream, facts))
            }
            Err(error) => Err(classify(&error)),
        }
    }
}

/// Loads all that `spec` names, and keeps nothing. Gives back what is odd and no error. Where no
/// certificate is configured, none is made.
///
/// # Errors
/// Everything that is wrong, each with its file and the fix.
pub fn check(spec: &TlsSpec, answers: &Answers) -> Result<Vec<String>, LoadError> {
    if spec.certificates.is_empty() {
        ticket_keys(&spec.tickets)?;
        let note = "no certificate is configured; a self-signed one will be made at start";
        return Ok(vec![note.to_owned()]);
    }
    Ok(Acceptor::load(spec, answers)?.warnings())
}

fn ticket_keys(spec: &TicketSpec) -> Result<TicketKeySet, TicketError> {
    match spec {
        TicketSpec::Random => TicketKeySet::random(),
        TicketSpec::Files(files) => TicketKeySet::read(files),
        TicketSpec::Off => Ok(TicketKeySet::none()),
    }
}

// === Building ===

impl Loaded {
    /// Loads all that `spec` names. A certificate that cannot be loaded and is in `before` is taken
    /// from there, with what is wrong beside.
    fn load(
        spec: &TlsSpec,
        answers: &Answers,
        tickets: &Tickets,
        before: Option<&Self>,
    ) -> Result<(Self, Vec<LoadProblem>), LoadError> {
        let context = || context(&spec.policy, &spec.tickets, tickets);
        if spec.certificates.is_empty() {
            let made = before.and_then(|before| before.known(None));
            let (pair, note) = self_signed::load(spec.state.as_deref(), made)?;
            let served = vec![Served::new(None, pair, &spec.policy, context()?)?];
            let loaded = Self::build(served, context()?, &spec.tickets, vec![note])?;
            return Ok((loaded, Vec::new()));
        }
        let (mut all, mut problems, mut is_whole) = (Vec::new(), Vec::new(), true);
        for certificate in &spec.certificates {
            let source = Some(&certificate.source);
            let error = match Served::load(certificate, answers, &spec.policy, context()?) {
                Ok(served) => {
                    all.push(served);
                    continue;
                }
                Err(error) => error,
            };
            let place = certificate.place.clone();
            problems.push(LoadProblem::Certificate { place, error });
            match before.and_then(|before| before.known(source)) {
                Some(kept) => {
                    let pair = Arc::clone(kept);
                    all.push(Served::new(source, pair, &spec.policy, context()?)?);
                }
                None => is_whole = false,
            }
        }
        if !is_whole {
            return Err(LoadError(problems));
        }
        let loaded = Self::build(all, context()?, &spec.tickets, Vec::new())?;
        Ok((loaded, problems))
    }

    /// The pair that came from this source.
    fn known(&self, source: Option<&CertificateSource>) -> Option<&Arc<CertifiedKey>> {
        let mut served = self.served.iter();
        let known = served.find(|served| served.source.as_ref() == source);
        known.map(|served| &served.pair)
    }

    fn build(
        served: Vec<Served>,
        mut front: SslAcceptorBuilder,
        resumption: &TicketSpec,
        mut warnings: Vec<String>,
    ) -> Result<Self, LoadError> {
        let suites: Vec<_> = front.ciphers().into_iter().flatten().collect();
        let ecdsa = suites
            .iter()
            .filter(|suite| suite.name().contains("-ECDSA-"));
        let table = Table::new(&served, ecdsa.map(|suite| suite.protocol_id()).collect());
        warnings.extend(served.iter().filter_map(|it| it.without_suite(&suites)));
        // The note about one that was made here says it all.
        let found = served.iter().filter(|it| it.source.is_some());
        warnings.extend(found.flat_map(|it| it.pair.warnings.clone()));
        front.set_select_certificate_callback(move |hello| table.choose(hello));
        let certificates = served.iter().map(CertificateFacts::of);
        Ok(Self {
            certificates: certificates.collect::<Result<_, _>>()?,
            front: front.build(),
            served,
            warnings,
            tickets: resumption.clone(),
        })
    }
}

/// A certificate with its context.
struct Served {
    /// Where it came from; `None` where it was made here.
    source: Option<CertificateSource>,
    pair: Arc<CertifiedKey>,
    choice: Arc<Choice>,
}

impl Served {
    /// Says so where no suite of TLS 1.2 works with this kind of key. Without TLS 1.2 there are
    /// always some in the list, and none is needed.
    fn without_suite(&self, suites: &[&SslCipherRef]) -> Option<String> {
        let kind = match self.pair.kind {
            KeyKind::Ecdsa { .. } => "ECDSA",
            KeyKind::Rsa => "RSA",
        };
        let mark = format!("-{kind}-");
        let is_there = suites.iter().any(|suite| suite.name().contains(&mark));
        let path = self.source.as_ref()?.path().display();
        (!is_there).then(|| {
            format!(
                "{path}: tls.ciphers names no suite for its {kind} key, so that clients with TLS 1.2 \
                 cannot connect"
            )
        })
    }

    fn load(
        spec: &CertificateSpec,
        answers: &Answers,
        policy: &Policy,
        context: SslAcceptorBuilder,
    ) -> Result<Self, CertError> {
        let pair = Arc::new(CertifiedKey::load(spec, answers)?);
        let served = Self::new(Some(&spec.source), pair, policy, context);
        served.map_err(|source| CertError::Unusable {
            path: spec.source.path().to_owned(),
            source,
        })
    }

    fn new(
        source: Option<&CertificateSource>,
        pair: Arc<CertifiedKey>,
        policy: &Policy,
        mut context: SslAcceptorBuilder,
    ) -> Result<Self, ErrorStack> {
        context.set_certificate(&pair.leaf)?;
        for intermediate in &pair.intermediates {
            context.add_extra_chain_cert(intermediate.clone())?;
        }
        context.set_private_key(&pair.key)?;
        let names = dns_names(&pair.leaf);
        context.set_session_id_context(&resumable(policy, &names))?;
        let choice = Choice {
            context: context.build().into_context(),
            kind: pair.kind,
            staple: pair.staple.clone(),
            names,
        };
        Ok(Self {
            source: source.cloned(),
            pair,
            choice: Arc::new(choice),
        })
    }
}

/// A context with everything but a certificate.
fn context(
    policy: &Policy,
    resumption: &TicketSpec,
    tickets: &Tickets,
) -> Result<SslAcceptorBuilder, ErrorStack> {
    let mut context = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
    context.set_min_proto_version(Some(match policy.min_version {
        MinVersion::Tls12 => SslVersion::TLS1_2,
        MinVersion::Tls13 => SslVersion::TLS1_3,
    }))?;
    context.set_strict_cipher_list(&policy.ciphers.join(":"))?;
    let groups: Vec<_> = policy.groups.iter().map(|group| group.name()).collect();
    context.set_curves_list(&groups.join(":"))?;
    context.set_options(SslOptions::NO_RENEGOTIATION | SslOptions::CIPHER_SERVER_PREFERENCE);
    // Tickets carry resumption; a cache of ids would be memory that a client can fill.
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    if *resumption == TicketSpec::Off {
        context.set_options(SslOptions::NO_TICKET);
    }
    tickets.install(&mut context);
    context.set_session_id_context(&resumable(policy, &[]))?;
    let protocols = protocols(&policy.alpn);
    context.set_alpn_select_callback(move |_ssl, offered| {
        select_next_proto(protocols, offered).ok_or(AlpnError::ALERT_FATAL)
    });
    Ok(context)
}

/// A ticket says where it was given; BoringSSL resumes it only where this is the same: the policy, and
/// the names of the certificate. Made from their contents, it is the same on every replica and for a
/// renewed certificate, and another after a change. Without it, a session from a lax name could be
/// resumed into a strict one, or that of one server by another that only has the same ticket keys.
fn resumable(policy: &Policy, names: &[String]) -> [u8; 32] {
    let names: BTreeSet<_> = names.iter().map(|it| it.to_ascii_lowercase()).collect();
    sha256(format!("portcullis {policy} {names:?}").as_bytes())
}

/// ALPN names in order of preference, each after its length (RFC 7301 section 3.1).
const fn protocols(alpn: &[Alpn]) -> &'static [u8] {
    match alpn {
        [Alpn::H2, Alpn::Http11, ..] => b"\x02h2\x08http/1.1",
        [Alpn::Http11, Alpn::H2, ..] => b"\x08http/1.1\x02h2",
        [Alpn::H2, ..] => b"\x02h2",
        [Alpn::Http11, ..] | [] => b"\x08http/1.1",
    }
}

impl CertificateFacts {
    fn of(served: &Served) -> Result<Self, ErrorStack> {
        let leaf = &served.pair.leaf;
        let common = common_name(leaf.subject_name());
        let subject = match common.is_empty() {
            true => dns_names(leaf).into_iter().next().unwrap_or_default(),
            false => common,
        };
        let serial = leaf.serial_number().to_bn()?.to_hex_str()?.to_string();
        let path = served.source.as_ref().map(|it| it.path().display());
        Ok(Self {
            subject,
            serial: serial.to_ascii_lowercase(),
            not_after: unix_seconds(leaf.not_after())?,
            staple_until: served.pair.staple.as_ref().and_then(Staple::until),
            path: path.map_or_else(String::new, |path| path.to_string()),
        })
    }
}

// === Choosing a certificate ===

/// The contexts by name.
struct Table {
    names: Names<Choices>,
    /// For clients that ask for no name, or for one that nobody has.
    default: Choices,
    /// The suites of TLS 1.2 that need an ECDSA certificate.
    ecdsa_suites: HashSet<u16>,
}

/// The certificates for one name, at most one of each kind of key.
#[derive(Clone, Default)]
struct Choices {
    ecdsa: Option<Arc<Choice>>,
    rsa: Option<Arc<Choice>>,
}

/// A certificate, ready to be moved to.
struct Choice {
    context: SslContext,
    kind: KeyKind,
    staple: Option<Staple>,
    names: Vec<String>,
}

impl Choices {
    /// Takes a certificate where there is none of its kind yet: of several, the first counts.
    fn add(&mut self, choice: &Arc<Choice>) {
        let place = match choice.kind {
            KeyKind::Ecdsa { .. } => &mut self.ecdsa,
            KeyKind::Rsa => &mut self.rsa,
        };
        place.get_or_insert_with(|| Arc::clone(choice));
    }

    /// All, the one that we would rather show first.
    fn preferred(&self) -> impl Iterator<Item = &Choice> + Clone {
        [&self.ecdsa, &self.rsa]
            .into_iter()
            .flatten()
            .map(|it| &**it)
    }
}

impl Table {
    fn new(served: &[Served], ecdsa_suites: HashSet<u16>) -> Self {
        let mut table = Self {
            names: Names::new(),
            default: Choices::default(),
            ecdsa_suites,
        };
        for Served { choice, .. } in served {
            for name in &choice.names {
                table.names.entry(name).add(choice);
            }
        }
        if let Some(first) = served.first() {
            table.default.add(&first.choice);
        }
        table.choose_default();
        table
    }

    /// The default is the first certificate, and what its first name has beside it.
    fn choose_default(&mut self) {
        let first = self.default.ecdsa.as_ref().or(self.default.rsa.as_ref());
        let beside = first
            .and_then(|first| first.names.first())
            .and_then(|name| self.names.of(name))
            .cloned();
        for choice in beside.iter().flat_map(|it| [&it.ecdsa, &it.rsa]).flatten() {
            self.default.add(choice);
        }
    }

    /// Moves the connection to the certificate for the name that the client asks for.
    fn choose(&self, mut hello: ClientHello<'_>) -> Result<(), SelectCertError> {
        let asked = hello.servername(NameType::HOST_NAME);
        let named = asked.into_iter().flat_map(|name| self.names.find(name));
        let choice = self.best(&hello, named.flat_map(Choices::preferred));
        let choice = choice.or_else(|| self.best(&hello, self.default.preferred()));
        let choice = choice.ok_or(SelectCertError::ERROR)?;
        let ssl = hello.ssl_mut();
        ssl.set_ssl_context(&choice.context)
            .map_err(|_| SelectCertError::ERROR)?;
        // A handshake without it is better than none.
        if let Some(staple) = choice.staple.as_ref().filter(|it| it.is_current(now())) {
            drop(ssl.set_ocsp_status(&staple.response));
        }
        Ok(())
    }

    /// The first that the client can do with. Where that is none, the first: it hears so in the
    /// handshake.
    fn best<'c>(
        &self,
        hello: &ClientHello<'_>,
        mut choices: impl Iterator<Item = &'c Choice> + Clone,
    ) -> Option<&'c Choice> {
        let mut usable = choices.clone();
        let usable = usable.find(|choice| self.takes(hello, choice.kind));
        usable.or_else(|| choices.next())
    }

    /// Whether a client can do with a certificate that has this kind of key.
    fn takes(&self, hello: &ClientHello<'_>, kind: KeyKind) -> bool {
        let KeyKind::Ecdsa { scheme, curve } = kind else {
            return true;
        };
        let schemes = hello.get_extension(ExtensionType::SIGNATURE_ALGORITHMS);
        let knows_scheme = schemes.is_some_and(|list| numbers(list, 2).any(|it| it == scheme));
        let versions = hello.get_extension(ExtensionType::SUPPORTED_VERSIONS);
        let is_13 = |list: &[u8]| numbers(list, 1).any(|version| version == 0x0304);
        if versions.is_some_and(is_13) {
            return knows_scheme;
        }
        // Before TLS 1.3, the suite says what kind of key the server has, and the groups are also
        // those that its certificate may be on (RFC 8422 section 5.1).
        let mut suites = numbers(hello.ciphers(), 0);
        let groups = hello.get_extension(ExtensionType::SUPPORTED_GROUPS);
        let knows_curve = match (groups, curve) {
            (Some(list), Some(curve)) => numbers(list, 2).any(|it| it == curve),
            (None, _) | (_, None) => true,
        };
        knows_scheme && knows_curve && suites.any(|suite| self.ecdsa_suites.contains(&suite))
    }
}

/// The numbers of 16 bits in a list that has its length in front, in so many bytes.
fn numbers(list: &[u8], length: usize) -> impl Iterator<Item = u16> {
    let list = list.get(length..).unwrap_or_default();
    list.chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

// === What comes of a handshake ===

impl TlsFacts {
    fn of(ssl: &SslRef) -> Self {
        Self {
            version: ssl.version_str().trim_start_matches("TLSv"),
            cipher: ssl
                .current_cipher()
                .map_or_else(String::new, |cipher| cipher.name().to_owned()),
            resumed: ssl.session_reused(),
            server_name: ssl.servername(NameType::HOST_NAME).map(str::to_owned),
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
