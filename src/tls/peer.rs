//! A client as its connection knows it: which certificate it showed, and how that stands at the
//! time of each request.
//!
//! The handshake is long ago by then. Dates pass, CAs and revocation lists change, and BoringSSL
//! checks nothing when it resumes a session. So what the client showed is kept, and checked again
//! when time or a reload asks for it.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boring::error::ErrorStack;
use boring::sha::sha256;
use boring::ssl::{NameType, SslRef};
use boring::stack::Stack;
use boring::x509::{GeneralNameRef, X509, X509Ref};
use parking_lot::Mutex;
use sha3::{Digest as _, Sha3_256};

use super::acceptor::Inner;
use super::certs::{now, unix_seconds};
use super::client_auth::{ClientPolicy, Verified};
use super::dn;
use super::inspect::ip_address;
use super::policies::ClientAuth;
use super::spec::ClientAuthMode;
use crate::identity::certificate::{
    CertificateProof, ClientIdentity, InvalidCertificate, Peer, ShownCertificate, Standing,
};
use crate::identity::host::HostName;
use crate::identity::{InvalidIdentity, NoIdentity};

/// How long what was found wrong with a certificate is taken to be so, in seconds.
const NEXT_TRY: i64 = 10;

/// The most certificates beside its own that are kept of a client: as many as can be followed.
const MOST_OTHERS: usize = 16;

/// The most of the subject of a certificate that was refused, in bytes.
const MOST_SUBJECT: usize = 1024;

/// What a client sent in its handshake, or in the one that its session began with.
pub(super) struct Presented {
    leaf: X509,
    others: Stack<X509>,
    /// The URI in the certificate that we showed it.
    by: Option<Arc<str>>,
}

impl Presented {
    /// What came with a handshake that is done, or is about to be. It is kept as long as the
    /// connection is, so there is an end to it.
    pub(super) fn of(ssl: &SslRef) -> Option<Self> {
        let leaf = ssl.peer_certificate()?;
        let mut others = Stack::new().ok()?;
        for other in ssl
            .peer_cert_chain()
            .into_iter()
            .flatten()
            .take(MOST_OTHERS)
        {
            others.push(other.to_owned()).ok()?;
        }
        let ours = ssl.certificate().and_then(X509Ref::subject_alt_names);
        let by = ours.and_then(|names| names.iter().find_map(|name| name.uri().map(Arc::from)));
        Some(Self { leaf, others, by })
    }

    /// Whether it is good by this policy.
    pub(super) fn verify(
        &self,
        policy: &ClientPolicy,
        now: i64,
    ) -> Result<Verified, InvalidCertificate> {
        policy.verify(&self.leaf, &self.others, now)
    }

    /// What the log calls it.
    pub(super) fn shown(&self) -> ShownCertificate {
        // ASCII only, so it can be cut anywhere. The log has no room for more.
        let mut subject = dn::subject(&self.leaf).map_or_else(String::new, |it| it.to_string());
        subject.truncate(MOST_SUBJECT);
        let der = self.leaf.to_der().unwrap_or_default();
        ShownCertificate {
            subject,
            sha256: sha256(&der),
        }
    }

    fn identity(
        &self,
        mode: ClientAuthMode,
        verified: &Verified,
    ) -> Result<ClientIdentity, InvalidCertificate> {
        self.read(mode, verified)
            .ok()
            .flatten()
            .ok_or(InvalidCertificate::Damaged)
    }

    fn read(
        &self,
        mode: ClientAuthMode,
        verified: &Verified,
    ) -> Result<Option<ClientIdentity>, ErrorStack> {
        let leaf = &self.leaf;
        let der = leaf.to_der()?;
        let (Some(subject), Some(issuer)) = (dn::subject(leaf), dn::issuer(leaf)) else {
            return Ok(None);
        };
        let serial = leaf.serial_number().to_bn()?.to_hex_str()?;
        let names = leaf.subject_alt_names();
        let names = || names.iter().flatten();
        let chain = verified.intermediates.iter().map(|it| it.to_der());
        Ok(Some(ClientIdentity {
            proof: match mode {
                ClientAuthMode::Pinned => CertificateProof::Possession,
                _ => CertificateProof::Chain,
            },
            subject,
            issuer,
            serial: plain_number(&serial),
            san_dns: texts(names(), GeneralNameRef::dnsname),
            san_uri: texts(names(), GeneralNameRef::uri),
            san_email: texts(names(), GeneralNameRef::email),
            san_ip: names()
                .filter_map(|it| ip_address(it.ipaddress()?))
                .collect(),
            sha256: sha256(&der),
            spki_sha256: sha256(&leaf.public_key()?.public_key_to_der()?),
            thingsboard: Sha3_256::digest(STANDARD.encode(&der)).into(),
            not_before: unix_seconds(leaf.not_before())?,
            not_after: unix_seconds(leaf.not_after())?,
            chain: chain.collect::<Result<_, _>>()?,
            der,
            by: self.by.clone(),
        }))
    }
}

fn texts<'n>(
    names: impl Iterator<Item = &'n GeneralNameRef>,
    text: fn(&GeneralNameRef) -> Option<&str>,
) -> Vec<String> {
    names.filter_map(text).map(str::to_owned).collect()
}

/// Without zeros in front, in lower case.
fn plain_number(hex: &str) -> String {
    let digits = hex.trim_start_matches('0').to_ascii_lowercase();
    if digits.is_empty() {
        "0".into()
    } else {
        digits
    }
}

// === A connection over TLS ===

/// A connection over TLS.
pub(super) struct TlsPeer {
    shared: Arc<Inner>,
    /// The place of its listener among them.
    listener: usize,
    /// The name that the client asked for.
    server_name: Option<HostName>,
    presented: Option<Presented>,
    checked: Mutex<Checked>,
    /// What the log calls the certificate, found out when it is first asked for.
    shown: OnceLock<Option<ShownCertificate>>,
}

/// What a connection was asked for, and what was in force then.
#[derive(Clone)]
pub(super) struct Asked {
    /// Which of all changes that was after.
    pub(super) generation: u64,
    pub(super) client_auth: Arc<ClientAuth>,
    /// That of all policies which the connection falls under.
    pub(super) policy: Arc<ClientPolicy>,
}

/// What the last check came to.
struct Checked {
    asked: Asked,
    /// When to check again in any case, in seconds since 1970.
    until: i64,
    outcome: Result<Arc<ClientIdentity>, NoIdentity>,
}

impl fmt::Debug for TlsPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsPeer")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl TlsPeer {
    /// A connection whose handshake is done. `verified` is what it came to, where the certificate
    /// was checked in it.
    pub(super) fn new(
        shared: Arc<Inner>,
        listener: usize,
        ssl: &SslRef,
        asked: Asked,
        verified: Option<Result<Verified, InvalidCertificate>>,
    ) -> Self {
        let presented = match asked.policy.mode {
            ClientAuthMode::Off => None,
            _ => Presented::of(ssl),
        };
        let mut checked = Checked {
            until: i64::MAX,
            outcome: Err(absent(&asked.policy)),
            asked,
        };
        if let Some(presented) = &presented {
            let now = now();
            let verify = || presented.verify(&checked.asked.policy, now);
            let verified = verified.unwrap_or_else(verify);
            checked.decide(presented, verified, now);
        }
        Self {
            listener,
            server_name: ssl.servername(NameType::HOST_NAME).map(HostName::of_name),
            presented,
            checked: Mutex::new(checked),
            shown: OnceLock::new(),
            shared,
        }
    }

    /// Whether the client showed a certificate.
    pub(super) fn has_certificate(&self) -> bool {
        self.presented.is_some()
    }

    /// Checks again, by what is in force now.
    fn check(&self, checked: &mut Checked, generation: u64, now: i64) {
        let client_auth = Arc::clone(&self.shared.current.load().client_auth);
        let name = self.server_name.as_ref();
        checked.asked = Asked {
            generation,
            policy: Arc::clone(client_auth.of(self.listener, name)),
            client_auth,
        };
        checked.until = i64::MAX;
        let policy = &checked.asked.policy;
        match &self.presented {
            Some(presented) if policy.mode != ClientAuthMode::Off => {
                let verified = presented.verify(policy, now);
                checked.decide(presented, verified, now);
            }
            _ => checked.outcome = Err(absent(policy)),
        }
    }

    /// Whether a request for this host came over a connection that was made for another one.
    /// One that names no host (HTTP/1.0) is for nobody in particular, as a hello without a name is.
    fn is_misdirected(&self, asked: &Asked, authority: Option<&str>) -> bool {
        if !asked.client_auth.depends_on_name() {
            return false;
        }
        let host = authority.map(HostName::from_authority);
        let wanted = asked.client_auth.of(self.listener, host.as_ref());
        wanted.digest != asked.policy.digest
    }
}

impl Checked {
    fn decide(
        &mut self,
        presented: &Presented,
        verified: Result<Verified, InvalidCertificate>,
        now: i64,
    ) {
        let identity = verified.and_then(|verified| {
            self.until = verified.until;
            presented.identity(self.asked.policy.mode, &verified)
        });
        self.outcome = match (identity, &self.outcome) {
            // Whoever remembers something about it finds it again.
            (Ok(identity), Ok(known)) if identity == **known => Ok(Arc::clone(known)),
            (Ok(identity), _) => Ok(Arc::new(identity)),
            (Err(why), _) => {
                // What is not valid yet may become so, and a clock may be set. Not at each request:
                // that would be work at a stranger's command.
                self.until = now.saturating_add(NEXT_TRY);
                Err(NoIdentity::Invalid(InvalidIdentity::Certificate(why)))
            }
        };
    }
}

/// Why there is no certificate where none was shown.
fn absent(policy: &ClientPolicy) -> NoIdentity {
    match policy.mode {
        ClientAuthMode::Off => NoIdentity::NotRequested,
        _ => NoIdentity::NotPresented,
    }
}

impl Peer for TlsPeer {
    fn standing(&self, authority: Option<&str>, now: i64) -> Standing {
        let generation = self.shared.generation.load(Ordering::Acquire);
        let mut checked = self.checked.lock();
        if checked.asked.generation != generation || now >= checked.until {
            self.check(&mut checked, generation, now);
        }
        if self.is_misdirected(&checked.asked, authority) {
            return Standing::Misdirected;
        }
        match &checked.outcome {
            Err(why) if checked.asked.policy.mode == ClientAuthMode::Required => {
                Standing::Refused(*why)
            }
            outcome => Standing::Certificate(outcome.clone()),
        }
    }

    fn shown(&self) -> Option<&ShownCertificate> {
        let make = || self.presented.as_ref().map(Presented::shown);
        self.shown.get_or_init(make).as_ref()
    }
}

// === A connection in the clear ===

/// A connection in the clear. It has no certificate, and so does not reach a name that nobody
/// reaches without one.
#[derive(Clone)]
pub(super) struct PlainPeer(pub(super) Arc<Inner>);

impl fmt::Debug for PlainPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainPeer")
    }
}

impl Peer for PlainPeer {
    fn standing(&self, authority: Option<&str>, _now: i64) -> Standing {
        let loaded = self.0.current.load();
        let host = authority.filter(|_| loaded.client_auth.depends_on_name());
        let policy = host.and_then(|host| {
            let host = HostName::from_authority(host);
            loaded.client_auth.of_name(&host)
        });
        match policy {
            Some(policy) if policy.mode == ClientAuthMode::Required => Standing::Misdirected,
            _ => Standing::Certificate(Err(NoIdentity::NotRequested)),
        }
    }

    fn shown(&self) -> Option<&ShownCertificate> {
        None
    }
}
