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
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use boring::error::ErrorStack;
use boring::ex_data::Index;
use boring::sha::sha256;
use boring::ssl::{
    AlpnError, ClientHello, ErrorCode, ExtensionType, NameType, SelectCertError, Ssl, SslAcceptor,
    SslAcceptorBuilder, SslCipherRef, SslContext, SslMethod, SslOptions, SslRef,
    SslSessionCacheMode, SslVerifyError, SslVerifyMode, SslVersion, select_next_proto,
};
use boring::x509::X509Ref;
use pingora_core::protocols::IO;
use pingora_core::protocols::tls::SslStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt};
use tokio::time::timeout;

use super::certs::{CertError, CertifiedKey, KeyKind, common_name, dns_names, now, unix_seconds};
use super::client_auth::{ClientPolicy, Verified, alert};
use super::names::Names;
use super::ocsp::Staple;
use super::peer::{Asked, PlainPeer, Presented, TlsPeer};
use super::policies::{ClientAuth, TrustProblem};
use super::secret::Answers;
use super::self_signed;
use super::spec::{
    Alpn, CertificateSource, CertificateSpec, ClientAuthMode, MinVersion, Policy, TicketSpec,
    TlsSpec,
};
use super::store;
use super::tickets::{TicketError, TicketKeySet, Tickets};
use super::trust::TrustError;
use crate::identity::certificate::{InvalidCertificate, Peer, ShownCertificate};
use crate::identity::host::HostName;

/// Ends TLS for the listeners. Cheap to clone: all clones change together.
#[derive(Clone)]
pub struct Acceptor(Arc<Inner>);

pub(super) struct Inner {
    pub(super) current: ArcSwap<Loaded>,
    /// Counts the changes of what clients are asked for; raised after `current` was swapped.
    pub(super) generation: AtomicU64,
    tickets: Tickets,
}

/// All that is built from a configuration and the files that it names.
pub(super) struct Loaded {
    front: SslContext,
    pub(super) client_auth: Arc<ClientAuth>,
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
    #[error("{place}: {error}")]
    Trust { place: String, error: TrustError },
    #[error("{place}: {error}")]
    Tickets { place: String, error: TicketError },
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

impl From<TrustProblem> for LoadProblem {
    fn from(TrustProblem { place, error }: TrustProblem) -> Self {
        Self::Trust { place, error }
    }
}

impl<E: Into<LoadProblem>> From<E> for LoadError {
    fn from(problem: E) -> Self {
        Self(vec![problem.into()])
    }
}

/// What a handshake settled, for routing and the log.
#[derive(Clone, Debug)]
pub struct TlsFacts {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The cipher suite by its OpenSSL name.
    pub cipher: String,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Whether HTTP/2 was agreed on.
    pub http2: bool,
    /// Whether the client showed a certificate, good or not.
    pub client_certificate: bool,
    /// The connection, asked at each request.
    pub peer: Arc<dyn Peer>,
}

/// A handshake that failed.
#[derive(Clone, Debug)]
pub struct HandshakeError {
    /// Why, in the words of the metrics.
    pub failure: HandshakeFailure,
    /// The client's certificate, where that was the reason.
    pub refused: Option<RefusedCertificate>,
}

/// A client's certificate that ended a handshake.
#[derive(Clone, Debug)]
pub struct RefusedCertificate {
    /// What was wrong with it.
    pub why: InvalidCertificate,
    /// What it was.
    pub shown: Option<ShownCertificate>,
}

/// A revocation list, for metrics and the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RevocationFacts {
    /// Whose it is, as RFC 4514 writes it.
    pub issuer: String,
    /// Its last moment, in seconds since 1970, where it has one.
    pub next_update: Option<i64>,
    /// The file that it is in.
    pub path: String,
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
    /// The client has to show a certificate, and showed none.
    ClientCertRequired,
    /// The client's certificate has expired.
    ClientCertExpired,
    /// The client's certificate was revoked.
    ClientCertRevoked,
    /// Something else is wrong with the client's certificate.
    ClientCertInvalid,
    /// The client's certificate is of nobody who is trusted.
    UnknownCa,
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
            Self::ClientCertRequired => "client_cert_required",
            Self::ClientCertExpired => "client_cert_expired",
            Self::ClientCertRevoked => "client_cert_revoked",
            Self::ClientCertInvalid => "client_cert_invalid",
            Self::UnknownCa => "unknown_ca",
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
        let (keys, of_tickets) = match ticket_keys(&spec.tickets) {
            Ok(keys) => (keys, Vec::new()),
            // What is wrong elsewhere is said too.
            Err(problem) => (TicketKeySet::none(), vec![problem]),
        };
        let tickets = Tickets::new(keys);
        match Loaded::load(spec, answers, &tickets, None) {
            Ok((loaded, _)) if of_tickets.is_empty() => Ok(Self::new(loaded, tickets)),
            Ok(_) => Err(LoadError(of_tickets)),
            Err(LoadError(others)) => Err(LoadError(
                [others, of_tickets].into_iter().flatten().collect(),
            )),
        }
    }

    /// Shows one certificate to everybody.
    ///
    /// # Errors
    /// Where BoringSSL does not take the pair.
    pub fn with(pair: CertifiedKey) -> Result<Self, LoadError> {
        let tickets = Tickets::new(random_ticket_keys()?);
        let settings = Arc::new(Settings {
            policy: Policy::default(),
            resumption: TicketSpec::Random,
            tickets: tickets.clone(),
        });
        let client_auth = Arc::new(ClientAuth::off()?);
        let served = vec![Served::new(None, Arc::new(pair), &settings, &client_auth)?];
        let loaded = Loaded::build(served, &settings, client_auth, Vec::new())?;
        Ok(Self::new(loaded, tickets))
    }

    fn new(loaded: Loaded, tickets: Tickets) -> Self {
        Self(Arc::new(Inner {
            current: ArcSwap::from_pointee(loaded),
            generation: AtomicU64::new(0),
            tickets,
        }))
    }

    /// Loads everything anew. A certificate or trust source that cannot be loaded keeps what was
    /// loaded for it before, and is among the problems that are given back; the others change. Sessions can be
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
        let is_same = loaded.client_auth.is_same(&before.client_auth);
        self.0.current.store(Arc::new(loaded));
        if !is_same {
            // Connections that are there look at their next request.
            self.0.generation.fetch_add(1, Ordering::Release);
        }
        Ok((!kept.is_empty()).then_some(LoadError(kept)))
    }

    /// A new random ticket key encrypts from now on, where the keys are ours.
    ///
    /// # Errors
    /// Where there is no randomness to be had.
    pub fn rotate_ticket_keys(&self) -> Result<(), LoadError> {
        match self.0.current.load().tickets {
            TicketSpec::Random => Ok(self.0.tickets.rotate().map_err(of_random_keys)?),
            TicketSpec::Files { .. } | TicketSpec::Off => Ok(()),
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

    /// What is odd about the certificates and trust sources at this moment, and no error.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let loaded = self.0.current.load();
        let of_time = stale_lists(&loaded.client_auth);
        loaded.warnings.iter().cloned().chain(of_time).collect()
    }

    /// The certificates that clients' certificates are checked against, but for a system's whole
    /// bundle, which others renew.
    #[must_use]
    pub fn authorities(&self) -> Vec<CertificateFacts> {
        const MOST: usize = 32;
        let loaded = self.0.current.load();
        let policies = loaded.client_auth.all();
        let small = policies.filter(|policy| policy.anchors.len() <= MOST);
        let facts = small.flat_map(|policy| {
            let anchors = policy.anchors.iter();
            anchors.filter_map(|anchor| {
                let facts = CertificateFacts::of_certificate(anchor).ok()?;
                let path = policy.place.clone();
                Some(CertificateFacts { path, ..facts })
            })
        });
        let unique: HashSet<_> = facts.collect();
        unique.into_iter().collect()
    }

    /// The revocation lists that clients' certificates are looked up in.
    #[must_use]
    pub fn revocation_lists(&self) -> Vec<RevocationFacts> {
        let loaded = self.0.current.load();
        let policies = loaded.client_auth.all();
        let lists = policies.flat_map(|policy| &policy.lists);
        let facts = lists.map(|list| RevocationFacts {
            issuer: list.issuer.clone(),
            next_update: list.next_update,
            path: list.path.display().to_string(),
        });
        facts.collect()
    }

    /// What a listener asks its clients for, and how many certificates it trusts for that; `None`
    /// where it asks for nothing.
    #[must_use]
    pub fn asks_for(&self, listener: usize) -> Option<(ClientAuthMode, usize)> {
        let loaded = self.0.current.load();
        let policy = loaded.client_auth.of(listener, None);
        (policy.mode != ClientAuthMode::Off).then_some((policy.mode, policy.anchors.len()))
    }

    /// How connections in the clear beside the ones over TLS are looked at.
    #[must_use]
    pub fn peer_in_the_clear(&self) -> Arc<dyn Peer> {
        Arc::new(PlainPeer(Arc::clone(&self.0)))
    }

    /// Performs the handshake on a new connection to a listener. The caller sets the deadline.
    ///
    /// # Errors
    /// [`HandshakeError`]; the connection is of no more use.
    pub async fn accept<S: IO>(
        &self,
        io: S,
        listener: usize,
    ) -> Result<(SslStream<S>, TlsFacts), HandshakeError> {
        // Read before what it counts: of a change in between the first request hears.
        let generation = self.0.generation.load(Ordering::Acquire);
        let mut stream = {
            let loaded: Guard<Arc<Loaded>> = self.0.current.load();
            let stream = Ssl::new(&loaded.front).map_err(|_| HandshakeFailure::Other);
            let mut ssl = stream?;
            ssl.set_ex_data(*LISTENER, listener);
            SslStream::new(ssl, io).map_err(|_| HandshakeFailure::Other)?
        };
        match stream.accept().await {
            Ok(()) => {
                let facts = self.facts(stream.ssl(), listener, generation)?;
                Ok((stream, facts))
            }
            Err(error) => {
                let failed = HandshakeError::of(&error, stream.ssl());
                if failed.failure.is_about_certificate() {
                    let goodbye = say_goodbye(stream.get_mut());
                    // Whoever does not listen so long has had its chance.
                    let _in_time = timeout(GOODBYE, goodbye).await;
                }
                Err(failed)
            }
        }
    }

    fn facts(
        &self,
        ssl: &SslRef,
        listener: usize,
        generation: u64,
    ) -> Result<TlsFacts, HandshakeFailure> {
        // It was put there when the certificate was chosen.
        let asked = ssl.ex_data(*ASKED).ok_or(HandshakeFailure::Other)?;
        let asked = Asked {
            generation,
            ..asked.clone()
        };
        let verified = ssl.ex_data(*VERIFIED).cloned();
        let peer = TlsPeer::new(Arc::clone(&self.0), listener, ssl, asked, verified);
        Ok(TlsFacts::of(ssl, peer))
    }
}

/// How long a client may take to hear why it is not let in.
const GOODBYE: Duration = Duration::from_millis(500);

/// Lets the alert arrive. In TLS 1.3 a client takes its handshake for done and is sending already;
/// to close on that would make the kernel reset the connection, and the alert be lost.
async fn say_goodbye<S: IO>(io: &mut S) -> std::io::Result<()> {
    const MOST: usize = 64;
    AsyncWriteExt::flush(io).await?;
    AsyncWriteExt::shutdown(io).await?;
    let mut unwanted = [0; 1024];
    for _ in 0..MOST {
        if io.read(&mut unwanted).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// The listener that a connection came to, by its place among them.
static LISTENER: LazyLock<Index<Ssl, usize>> = LazyLock::new(index);

/// What the client of a connection is asked for.
static ASKED: LazyLock<Index<Ssl, Asked>> = LazyLock::new(index);

/// What the check of the client's certificate in the handshake came to.
static VERIFIED: LazyLock<Index<Ssl, Result<Verified, InvalidCertificate>>> = LazyLock::new(index);

/// A place for something of ours beside a connection. There are as many as there is memory for.
fn index<T: Send + Sync + 'static>() -> Index<Ssl, T> {
    Ssl::new_ex_index().expect("a number can be counted up")
}

/// Loads all that `spec` names, and keeps nothing. Gives back what is odd and no error. Where no
/// certificate is configured, none is made.
///
/// # Errors
/// Everything that is wrong, each with its file and the fix.
pub fn check(spec: &TlsSpec, answers: &Answers) -> Result<Vec<String>, LoadError> {
    if spec.certificates.is_empty() {
        let of_tickets = ticket_keys(&spec.tickets).err();
        let of_clients = ClientAuth::load(&spec.client_auth, answers, None);
        let client_auth = match (of_clients, of_tickets) {
            (Ok((client_auth, _)), None) => client_auth,
            (of_clients, of_tickets) => {
                let of_clients = of_clients.err().unwrap_or_default();
                let of_clients = of_clients.into_iter().map(LoadProblem::from);
                return Err(LoadError(of_clients.chain(of_tickets).collect()));
            }
        };
        let note = "no certificate is configured; a self-signed one will be made at start";
        let mut warnings = vec![note.to_owned()];
        warnings.extend(client_auth.all().flat_map(|it| it.warnings.clone()));
        warnings.extend(stale_lists(&client_auth));
        return Ok(warnings);
    }
    Ok(Acceptor::load(spec, answers)?.warnings())
}

fn random_ticket_keys() -> Result<TicketKeySet, LoadProblem> {
    TicketKeySet::random().map_err(of_random_keys)
}

fn of_random_keys(error: TicketError) -> LoadProblem {
    let place = "tls.tickets".into();
    LoadProblem::Tickets { place, error }
}

fn ticket_keys(spec: &TicketSpec) -> Result<TicketKeySet, LoadProblem> {
    match spec {
        TicketSpec::Random => random_ticket_keys(),
        TicketSpec::Files { place, files } => {
            TicketKeySet::read(files).map_err(|error| LoadProblem::Tickets {
                place: place.clone(),
                error,
            })
        }
        TicketSpec::Off => Ok(TicketKeySet::none()),
    }
}

// === Building ===

impl Loaded {
    /// Loads all that `spec` names. What cannot be loaded and is in `before` is taken from there,
    /// with what is wrong beside.
    fn load(
        spec: &TlsSpec,
        answers: &Answers,
        tickets: &Tickets,
        before: Option<&Self>,
    ) -> Result<(Self, Vec<LoadProblem>), LoadError> {
        let settings = Arc::new(Settings {
            policy: spec.policy.clone(),
            resumption: spec.tickets.clone(),
            tickets: tickets.clone(),
        });
        let of_clients = before.map(|before| &*before.client_auth);
        let (client_auth, mut problems) =
            match ClientAuth::load(&spec.client_auth, answers, of_clients) {
                Ok((client_auth, problems)) => (Some(Arc::new(client_auth)), problems),
                Err(problems) => (None, problems),
            };
        let mut problems: Vec<_> = problems.drain(..).map(LoadProblem::from).collect();
        // What is wrong with certificates is said too, whatever becomes of it.
        let for_certificates = match &client_auth {
            Some(client_auth) => Arc::clone(client_auth),
            None => Arc::new(ClientAuth::off()?),
        };
        let mut notes = Vec::new();
        let certificates = if spec.certificates.is_empty() {
            let made = before.and_then(|before| before.known(None));
            let (pair, note) = self_signed::load(spec.state.as_deref(), made)?;
            notes.push(note);
            Some(vec![Served::new(None, pair, &settings, &for_certificates)?])
        } else {
            load_certificates(
                spec,
                (answers, &settings, &for_certificates),
                before,
                &mut problems,
            )?
        };
        let (Some(certificates), Some(client_auth)) = (certificates, client_auth) else {
            return Err(LoadError(problems));
        };
        let loaded = Self::build(certificates, &settings, client_auth, notes)?;
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
        settings: &Settings,
        client_auth: Arc<ClientAuth>,
        mut warnings: Vec<String>,
    ) -> Result<Self, LoadError> {
        let mut front = settings.context()?;
        store::limit_chains(&mut front);
        let suites: Vec<_> = front.ciphers().into_iter().flatten().collect();
        let ecdsa = suites
            .iter()
            .filter(|suite| suite.name().contains("-ECDSA-"));
        let ecdsa = ecdsa.map(|suite| suite.protocol_id()).collect();
        let table = Table::new(&served, ecdsa, Arc::clone(&client_auth));
        warnings.extend(served.iter().filter_map(|it| it.without_suite(&suites)));
        // The note about one that was made here says it all.
        let found = served.iter().filter(|it| it.source.is_some());
        warnings.extend(found.flat_map(|it| it.pair.warnings.clone()));
        warnings.extend(client_auth.all().flat_map(|it| it.warnings.clone()));
        front.set_select_certificate_callback(move |hello| table.choose(hello));
        let certificates = served.iter().map(CertificateFacts::of);
        Ok(Self {
            certificates: certificates.collect::<Result<_, _>>()?,
            front: front.build().into_context(),
            client_auth,
            served,
            warnings,
            tickets: settings.resumption.clone(),
        })
    }
}

/// The certificates that are configured; `None` where one cannot be had.
fn load_certificates(
    spec: &TlsSpec,
    (answers, settings, client_auth): (&Answers, &Arc<Settings>, &ClientAuth),
    before: Option<&Loaded>,
    problems: &mut Vec<LoadProblem>,
) -> Result<Option<Vec<Served>>, LoadError> {
    let (mut all, mut is_whole) = (Vec::new(), true);
    for certificate in &spec.certificates {
        let source = Some(&certificate.source);
        let error = match Served::load(certificate, answers, settings, client_auth) {
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
                all.push(Served::new(source, pair, settings, client_auth)?);
            }
            None => is_whole = false,
        }
    }
    Ok(is_whole.then_some(all))
}

/// The revocation lists that are out of date by now, in words.
fn stale_lists(client_auth: &ClientAuth) -> Vec<String> {
    let now = now();
    let stale = client_auth.all().flat_map(|policy| policy.stale_lists(now));
    let words = stale.map(|list| {
        format!(
            "{}: the revocation list of {} is out of date, so that no certificate of that issuer \
             is accepted; fetch a new one",
            list.path.display(),
            list.issuer
        )
    });
    words.collect()
}

/// What all contexts are made by.
struct Settings {
    policy: Policy,
    resumption: TicketSpec,
    tickets: Tickets,
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
        settings: &Arc<Settings>,
        client_auth: &ClientAuth,
    ) -> Result<Self, CertError> {
        let pair = Arc::new(CertifiedKey::load(spec, answers)?);
        let served = Self::new(Some(&spec.source), pair, settings, client_auth);
        served.map_err(|source| CertError::Unusable {
            path: spec.source.path().to_owned(),
            source,
        })
    }

    fn new(
        source: Option<&CertificateSource>,
        pair: Arc<CertifiedKey>,
        settings: &Arc<Settings>,
        client_auth: &ClientAuth,
    ) -> Result<Self, ErrorStack> {
        let choice = Choice {
            kind: pair.kind,
            staple: pair.staple.clone(),
            names: dns_names(&pair.leaf),
            contexts: client_auth.all().map(|_| OnceLock::new()).collect(),
            settings: Arc::clone(settings),
            pair: Arc::clone(&pair),
        };
        // Whether it can be used at all is found out now; another policy changes nothing of that.
        if let Some(policy) = client_auth.all().next() {
            choice.context(0, policy)?;
        }
        Ok(Self {
            source: source.cloned(),
            pair,
            choice: Arc::new(choice),
        })
    }
}

impl Settings {
    /// A context with everything but a certificate.
    fn context(&self) -> Result<SslAcceptorBuilder, ErrorStack> {
        let policy = &self.policy;
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
        if self.resumption == TicketSpec::Off {
            context.set_options(SslOptions::NO_TICKET);
        }
        self.tickets.install(&mut context);
        context.set_session_id_context(&resumable(policy, &[0; 32], &[]))?;
        let protocols = protocols(&policy.alpn);
        context.set_alpn_select_callback(move |_ssl, offered| {
            select_next_proto(protocols, offered).ok_or(AlpnError::ALERT_FATAL)
        });
        Ok(context)
    }
}

/// A ticket says where it was given; BoringSSL resumes it only where this is the same: the policy,
/// what the client was asked for, and the names of the certificate. Made from their contents, it is
/// the same on every replica and for a renewed certificate, and another after a change. Without it, a
/// session from a lax name could be resumed into a strict one, or that of one server by another that
/// only has the same ticket keys: BoringSSL asks for no certificate when it resumes.
fn resumable(policy: &Policy, client_auth: &[u8; 32], names: &[String]) -> [u8; 32] {
    let names: BTreeSet<_> = names.iter().map(|it| it.to_ascii_lowercase()).collect();
    let client_auth = base16ct::lower::encode_string(client_auth);
    sha256(format!("portcullis {policy} {client_auth} {names:?}").as_bytes())
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
        let path = served.source.as_ref().map(|it| it.path().display());
        Ok(Self {
            staple_until: served.pair.staple.as_ref().and_then(Staple::until),
            path: path.map_or_else(String::new, |path| path.to_string()),
            ..Self::of_certificate(&served.pair.leaf)?
        })
    }

    fn of_certificate(leaf: &X509Ref) -> Result<Self, ErrorStack> {
        let common = common_name(leaf.subject_name());
        let subject = match common.is_empty() {
            true => dns_names(leaf).into_iter().next().unwrap_or_default(),
            false => common,
        };
        let serial = leaf.serial_number().to_bn()?.to_hex_str()?.to_string();
        Ok(Self {
            subject,
            serial: serial.to_ascii_lowercase(),
            not_after: unix_seconds(leaf.not_after())?,
            staple_until: None,
            path: String::new(),
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
    client_auth: Arc<ClientAuth>,
}

/// The certificates for one name, at most one of each kind of key.
#[derive(Clone, Default)]
struct Choices {
    ecdsa: Option<Arc<Choice>>,
    rsa: Option<Arc<Choice>>,
}

/// A certificate, ready to be moved to.
struct Choice {
    kind: KeyKind,
    staple: Option<Staple>,
    names: Vec<String>,
    /// By policy for client certificates. All but the first are made when somebody needs them: with
    /// many certificates and many policies few of them ever meet.
    contexts: Box<[OnceLock<SslContext>]>,
    settings: Arc<Settings>,
    pair: Arc<CertifiedKey>,
}

impl Choice {
    /// The context for the policy in this place.
    fn context(&self, at: usize, policy: &ClientPolicy) -> Result<&SslContext, ErrorStack> {
        let place = self.contexts.get(at).ok_or_else(ErrorStack::get)?;
        if let Some(made) = place.get() {
            return Ok(made);
        }
        let made = self.make(policy)?;
        Ok(place.get_or_init(|| made))
    }

    fn make(&self, policy: &ClientPolicy) -> Result<SslContext, ErrorStack> {
        let mut context = self.settings.context()?;
        context.set_certificate(&self.pair.leaf)?;
        for intermediate in &self.pair.intermediates {
            context.add_extra_chain_cert(intermediate.clone())?;
        }
        context.set_private_key(&self.pair.key)?;
        if policy.sends_ca_names {
            for anchor in &policy.anchors {
                context.add_client_ca(anchor)?;
            }
        }
        let id = resumable(&self.settings.policy, &policy.digest, &self.names);
        context.set_session_id_context(&id)?;
        Ok(context.build().into_context())
    }
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
    fn new(served: &[Served], ecdsa_suites: HashSet<u16>, client_auth: Arc<ClientAuth>) -> Self {
        let mut table = Self {
            names: Names::new(),
            default: Choices::default(),
            ecdsa_suites,
            client_auth,
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
        let asked = asked.map(HostName::of_name);
        let named = asked.iter().flat_map(|name| self.names.find(name));
        let choice = self.best(&hello, named.flat_map(Choices::preferred));
        let choice = choice.or_else(|| self.best(&hello, self.default.preferred()));
        let choice = choice.ok_or(SelectCertError::ERROR)?;
        let listener = hello.ssl().ex_data(*LISTENER).copied();
        let listener = listener.ok_or(SelectCertError::ERROR)?;
        let policy = Arc::clone(self.client_auth.of(listener, asked.as_ref()));
        let position = self.client_auth.position(&policy);
        let context = position.map(|position| choice.context(position, &policy));
        let context = context.and_then(Result::ok).ok_or(SelectCertError::ERROR)?;
        let ssl = hello.ssl_mut();
        ssl.set_ssl_context(context)
            .map_err(|_| SelectCertError::ERROR)?;
        ask_for_certificate(ssl, Arc::clone(&self.client_auth), policy);
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

/// Makes BoringSSL ask the client for what the policy wants, and us whether it is good.
///
/// Set on the connection and not on its context: `boring` looks up what belongs to a context in the
/// one that the connection was moved to, and aborts where it is not there.
fn ask_for_certificate(ssl: &mut SslRef, client_auth: Arc<ClientAuth>, policy: Arc<ClientPolicy>) {
    let asked = Asked {
        generation: 0,
        client_auth,
        policy: Arc::clone(&policy),
    };
    ssl.set_ex_data(*ASKED, asked);
    let mode = match policy.mode {
        ClientAuthMode::Off => return ssl.set_verify(SslVerifyMode::NONE),
        ClientAuthMode::Optional | ClientAuthMode::Pinned => SslVerifyMode::PEER,
        ClientAuthMode::Required => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
    };
    ssl.set_custom_verify_callback(mode, move |ssl| {
        let presented = Presented::of(ssl).ok_or(InvalidCertificate::Damaged);
        let verified = presented.and_then(|presented| presented.verify(&policy, now()));
        let refused = verified.as_ref().err().copied();
        ssl.set_ex_data(*VERIFIED, verified);
        match refused {
            Some(why) if policy.mode == ClientAuthMode::Required => {
                Err(SslVerifyError::Invalid(alert(why)))
            }
            // Whoever is connected without a good one hears so in answer to a request.
            _ => Ok(()),
        }
    });
}

/// The numbers of 16 bits in a list that has its length in front, in so many bytes.
fn numbers(list: &[u8], length: usize) -> impl Iterator<Item = u16> {
    let list = list.get(length..).unwrap_or_default();
    list.chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

// === What comes of a handshake ===

impl TlsFacts {
    fn of(ssl: &SslRef, peer: TlsPeer) -> Self {
        Self {
            version: ssl.version_str().trim_start_matches("TLSv"),
            cipher: ssl
                .current_cipher()
                .map_or_else(String::new, |cipher| cipher.name().to_owned()),
            resumed: ssl.session_reused(),
            http2: ssl.selected_alpn_protocol() == Some(b"h2"),
            client_certificate: peer.has_certificate(),
            peer: Arc::new(peer),
        }
    }
}

impl HandshakeError {
    fn of(error: &boring::ssl::Error, ssl: &SslRef) -> Self {
        let verified = ssl.ex_data(*VERIFIED);
        let why = verified.and_then(|it| it.as_ref().err().copied());
        let failure = match why {
            Some(why) if is_refusal(error) => HandshakeFailure::of(why),
            _ => classify(error),
        };
        let was_shown =
            failure.is_about_certificate() && failure != HandshakeFailure::ClientCertRequired;
        let refused = was_shown.then(|| RefusedCertificate {
            why: why.unwrap_or(InvalidCertificate::WrongPurpose),
            shown: Presented::of(ssl).map(|presented| presented.shown()),
        });
        Self { failure, refused }
    }
}

impl From<HandshakeFailure> for HandshakeError {
    fn from(failure: HandshakeFailure) -> Self {
        Self {
            failure,
            refused: None,
        }
    }
}

impl HandshakeFailure {
    /// Whether we ended the handshake because of the client's certificate, or for want of one.
    const fn is_about_certificate(self) -> bool {
        matches!(
            self,
            Self::ClientCertRequired
                | Self::ClientCertExpired
                | Self::ClientCertRevoked
                | Self::ClientCertInvalid
                | Self::UnknownCa
        )
    }

    const fn of(why: InvalidCertificate) -> Self {
        match why {
            InvalidCertificate::Expired => Self::ClientCertExpired,
            InvalidCertificate::Revoked => Self::ClientCertRevoked,
            InvalidCertificate::UnknownAuthority | InvalidCertificate::SelfSigned => {
                Self::UnknownCa
            }
            _ => Self::ClientCertInvalid,
        }
    }
}

fn reasons(error: &boring::ssl::Error) -> impl Iterator<Item = &str> {
    let reasons = error.ssl_error().map(|stack| stack.errors());
    reasons.into_iter().flatten().filter_map(|it| it.reason())
}

/// Whether we ended the handshake because of the client's certificate.
fn is_refusal(error: &boring::ssl::Error) -> bool {
    reasons(error).any(|reason| reason == "CERTIFICATE_VERIFY_FAILED")
}

fn classify(error: &boring::ssl::Error) -> HandshakeFailure {
    if error.io_error().is_some() || error.code() == ErrorCode::ZERO_RETURN {
        return HandshakeFailure::Eof;
    }
    for reason in reasons(error) {
        match reason {
            "NO_SHARED_CIPHER" | "NO_SHARED_GROUP" | "NO_COMMON_SIGNATURE_ALGORITHMS" => {
                return HandshakeFailure::NoSharedCipher;
            }
            "UNSUPPORTED_PROTOCOL" | "WRONG_VERSION_NUMBER" => {
                return HandshakeFailure::ProtocolVersion;
            }
            "HTTP_REQUEST" | "HTTPS_PROXY_REQUEST" => return HandshakeFailure::PlainHttp,
            "PEER_DID_NOT_RETURN_A_CERTIFICATE" => return HandshakeFailure::ClientCertRequired,
            // Of the client's certificate, which is not for signing.
            "KEY_USAGE_BIT_INCORRECT" => return HandshakeFailure::ClientCertInvalid,
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
