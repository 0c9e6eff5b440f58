//! What TLS is configured to be.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::secret::Secret;

/// The TLS settings of the https listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSpec {
    /// What clients are shown. The first is for those who ask for no name, or for one that nobody
    /// has. None: a self-signed one, made at start.
    pub certificates: Vec<CertificateSpec>,
    /// How handshakes are done.
    pub policy: Policy,
    /// How sessions are resumed.
    pub tickets: TicketSpec,
    /// Where the self-signed certificate is kept, so that it stays the same.
    pub state: Option<PathBuf>,
    /// What clients are asked for.
    pub client_auth: ClientAuthSpecs,
}

impl TlsSpec {
    /// All files that are read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let tickets = match &self.tickets {
            TicketSpec::Files { files, .. } => files.as_slice(),
            TicketSpec::Random | TicketSpec::Off => &[],
        };
        let of_certificates = self.certificates.iter().flat_map(CertificateSpec::files);
        of_certificates
            .chain(tickets.iter().map(PathBuf::as_path))
            .chain(self.client_auth.all().flat_map(ClientAuthSpec::files))
    }
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSpec {
    /// Where it is written, as `portcullis.yaml:3:5: tls.certificates[0]`, for messages.
    pub place: String,
    /// Where both are.
    pub source: CertificateSource,
    /// A file with the OCSP response to staple (RFC 6960, DER).
    pub ocsp: Option<PathBuf>,
}

impl CertificateSpec {
    fn files(&self) -> impl Iterator<Item = &Path> {
        let (first, second, secrets) = match &self.source {
            CertificateSource::Files {
                cert,
                key,
                passphrase,
            } => (cert, Some(key), [passphrase.as_ref(), None]),
            CertificateSource::Keystore {
                path,
                password,
                key_password,
                ..
            } => (path, None, [password.as_ref(), key_password.as_ref()]),
        };
        let secrets = secrets.into_iter().flatten().filter_map(Secret::file);
        let named = [Some(first), second, self.ocsp.as_ref()];
        named
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .chain(secrets)
    }
}

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// In files of their own, PEM or DER; or in one, PEM.
    Files {
        /// The certificate and its intermediates.
        cert: PathBuf,
        /// The private key; the same file where nothing is said.
        key: PathBuf,
        /// What the key is encrypted with.
        passphrase: Option<Secret>,
    },
    /// Together in a keystore, PKCS#12 or JKS.
    Keystore {
        /// The keystore.
        path: PathBuf,
        /// What it is sealed with.
        password: Option<Secret>,
        /// The entry; may be left out where there is one key only.
        alias: Option<String>,
        /// What the key is encrypted with; that of the store where nothing is said.
        key_password: Option<Secret>,
    },
}

impl CertificateSource {
    /// The file that the certificate is in.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Files { cert, .. } => cert,
            Self::Keystore { path, .. } => path,
        }
    }
}

/// How a backend is spoken to over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTlsSpec {
    /// Where it is written, as `portcullis.yaml:3:5: upstreams.ui`, for messages.
    pub place: String,
    /// The name or address that is asked for (SNI) and must stand in its certificate. None: the host
    /// that is connected to, as it is configured.
    pub server_name: Option<String>,
    /// Who may vouch for it. Nobody is named: whom this system trusts, or nobody where pins are.
    pub trust: Vec<TrustSource>,
    /// SHA-256 of the public keys (SubjectPublicKeyInfo) of which it must have one. None: any.
    pub pins: Vec<[u8; 32]>,
    /// What it is shown when it asks who we are.
    pub certificate: Option<CertificateSpec>,
    /// The oldest version spoken.
    pub min_version: MinVersion,
    /// Nobody has to vouch for it: whoever can put himself between can read all and be the backend.
    pub skips_verification: bool,
    /// What is spoken over it (ALPN, RFC 7301).
    pub application: UpstreamApplication,
}

/// What is spoken to a backend over TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamApplication {
    /// HTTP/1.1, which a backend need not say.
    #[default]
    Http11,
    /// HTTP/2, which a backend has to choose.
    Http2,
}

impl UpstreamApplication {
    /// The only protocol that is offered, as the handshake has it: behind its length.
    #[must_use]
    pub const fn offered(self) -> &'static [u8] {
        match self {
            Self::Http11 => b"\x08http/1.1",
            Self::Http2 => b"\x02h2",
        }
    }
}

impl UpstreamTlsSpec {
    /// Whether somebody has to vouch for its certificate, and for its name.
    #[must_use]
    pub const fn is_vouched_for(&self) -> bool {
        !self.skips_verification && (!self.trust.is_empty() || self.pins.is_empty())
    }

    /// Whether those count whom this system trusts.
    #[must_use]
    pub const fn asks_system(&self) -> bool {
        self.is_vouched_for() && self.trust.is_empty()
    }

    /// All files that are read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let trust = self.trust.iter().flat_map(TrustSource::files);
        trust.chain(self.certificate.iter().flat_map(CertificateSpec::files))
    }
}

/// What clients are asked for, by listener and by the name that they ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientAuthSpecs {
    /// Where nothing else is said.
    pub default: ClientAuthSpec,
    /// On a listener, by its place among them: in place of the default.
    pub listeners: BTreeMap<usize, ClientAuthSpec>,
    /// For names that clients ask for (SNI), on all listeners: in place of the default, and of what
    /// the listener says unless that is stricter.
    pub names: Vec<(Vec<String>, ClientAuthSpec)>,
}

impl ClientAuthSpecs {
    /// All that are written.
    pub fn all(&self) -> impl Iterator<Item = &ClientAuthSpec> {
        let by_name = self.names.iter().map(|(_, spec)| spec);
        [&self.default]
            .into_iter()
            .chain(self.listeners.values())
            .chain(by_name)
    }
}

impl ClientAuthSpecs {
    /// Whether others say the same, wherever it is written.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let names = |it: &Self| {
            let names = it.names.iter().map(|(names, _)| names.clone());
            names.collect::<Vec<_>>()
        };
        let mut pairs = self.all().zip(other.all());
        self.listeners.keys().eq(other.listeners.keys())
            && names(self) == names(other)
            && pairs.all(|(one, other)| one.says_the_same_as(other))
    }
}

/// What a client is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientAuthSpec {
    /// Where it is written, as `portcullis.yaml:3:5: tls.client_auth`, for messages.
    pub place: String,
    /// Whether a certificate is asked for, and what becomes of those without.
    pub mode: ClientAuthMode,
    /// Who may issue it.
    pub trust: Vec<TrustSource>,
    /// Files and folders with revocation lists. None: nothing is taken back.
    pub crl: Vec<PathBuf>,
    /// What is looked up in them.
    pub revocation: RevocationScope,
    /// The most intermediates between a client's certificate and a trusted one.
    pub depth: u8,
    /// Whether clients are told which CAs are trusted.
    pub send_ca_names: bool,
    /// Whether keys and signatures that can be broken will do.
    pub takes_weak: bool,
}

impl ClientAuthSpec {
    /// Whether another one says the same, wherever it is written.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let place = self.place.clone();
        *self
            == Self {
                place,
                ..other.clone()
            }
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        let trust = self.trust.iter().flat_map(TrustSource::files);
        trust.chain(self.crl.iter().map(PathBuf::as_path))
    }
}

/// Whether clients are asked for a certificate; from the laxest to the strictest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientAuthMode {
    /// They are not.
    #[default]
    Off,
    /// They are; who has none, or one that is not good, is still connected, and routes decide.
    Optional,
    /// The same, but nobody vouches for a certificate, and only its fingerprint says whose it is.
    Pinned,
    /// They are; without a good one there is no connection.
    Required,
}

impl ClientAuthMode {
    /// As the configuration has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
            Self::Pinned => "pinned",
        }
    }
}

/// Certificates, or a folder of them, or a keystore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustSource {
    /// The file or folder.
    pub path: PathBuf,
    /// What a keystore is sealed with.
    pub password: Option<Secret>,
}

impl TrustSource {
    fn files(&self) -> impl Iterator<Item = &Path> {
        let secret = self.password.as_ref().and_then(Secret::file);
        [Some(self.path.as_path()), secret].into_iter().flatten()
    }
}

/// Which certificates of a chain are looked up in the revocation lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RevocationScope {
    /// All but the trusted end: each issuer needs a list.
    #[default]
    Chain,
    /// That of the client: only its issuer needs a list.
    Leaf,
}

/// How handshakes are done. Part of what a session ticket is bound to: one that was given under
/// another policy is not resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The oldest version accepted.
    pub min_version: MinVersion,
    /// The suites of TLS 1.2 in order of preference, by their OpenSSL names. Those of TLS 1.3 are
    /// always on.
    pub ciphers: Vec<&'static str>,
    /// The groups for the key exchange in order of preference.
    pub groups: Vec<Group>,
    /// What is agreed on in the handshake, in order of preference.
    pub alpn: Vec<Alpn>,
}

impl Default for Policy {
    /// Mozilla's intermediate profile, version 5, without its finite-field Diffie-Hellman suites
    /// (BoringSSL has none), and with the hybrid group first: what is recorded today must not be
    /// read by a quantum computer later.
    fn default() -> Self {
        Self {
            min_version: MinVersion::default(),
            ciphers: vec![
                "ECDHE-ECDSA-AES128-GCM-SHA256",
                "ECDHE-RSA-AES128-GCM-SHA256",
                "ECDHE-ECDSA-AES256-GCM-SHA384",
                "ECDHE-RSA-AES256-GCM-SHA384",
                "ECDHE-ECDSA-CHACHA20-POLY1305",
                "ECDHE-RSA-CHACHA20-POLY1305",
            ],
            groups: vec![
                Group::X25519MlKem768,
                Group::X25519,
                Group::P256,
                Group::P384,
            ],
            alpn: vec![Alpn::H2, Alpn::Http11],
        }
    }
}

/// The oldest TLS version that a listener accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 with forward secrecy and AEAD ciphers only.
    #[default]
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

/// A group for the key exchange (RFC 8446 section 4.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Hybrid of X25519 and ML-KEM-768: safe as long as one of the two is.
    X25519MlKem768,
    /// Curve25519 (RFC 7748).
    X25519,
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
}

impl Group {
    /// All, with the names that they go by; the first is BoringSSL's.
    pub const ALL: [(Self, &'static [&'static str]); 5] = [
        (Self::X25519MlKem768, &["X25519MLKEM768"]),
        (Self::X25519, &["X25519"]),
        (Self::P256, &["P-256", "secp256r1", "prime256v1"]),
        (Self::P384, &["P-384", "secp384r1"]),
        (Self::P521, &["P-521", "secp521r1"]),
    ];

    /// The name that BoringSSL knows.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(group, _)| *group == self);
        found.map_or("", |(_, names)| names[0])
    }
}

/// A protocol to agree on in the handshake (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/2.
    H2,
    /// HTTP/1.1.
    Http11,
}

impl Alpn {
    /// Its registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::H2 => "h2",
            Self::Http11 => "http/1.1",
        }
    }
}

/// How sessions are resumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TicketSpec {
    /// With keys that nobody else has, changed by and by.
    #[default]
    Random,
    /// With keys from files, so that several servers resume each other's sessions. The first key
    /// encrypts, all decrypt.
    Files {
        /// Where they are written, for messages.
        place: String,
        /// The files.
        files: Vec<PathBuf>,
    },
    /// Not at all.
    Off,
}

/// Names a cipher suite: its two names, or why it cannot be had.
///
/// # Errors
/// [`UnusableCipher`].
pub fn cipher(name: &str) -> Result<&'static str, UnusableCipher> {
    let same = |known: &&(&str, &str)| known.0 == name || known.1 == name;
    match CIPHERS.iter().find(same) {
        Some((openssl, _)) => Ok(openssl),
        None if TLS13_CIPHERS.contains(&name) => Err(UnusableCipher::AlwaysOn),
        None => Err(UnusableCipher::Unknown),
    }
}

/// Why a cipher suite cannot be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnusableCipher {
    /// It belongs to TLS 1.3, whose suites are all good and all on.
    AlwaysOn,
    /// There is none of this name, or none that has both forward secrecy and integrity that holds.
    Unknown,
}

/// The suites of TLS 1.2 that can be chosen, by their OpenSSL and IANA names. Those without forward
/// secrecy or with CBC are not among them: each has had its attack.
pub const CIPHERS: [(&str, &str); 6] = [
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
];

const TLS13_CIPHERS: [&str; 3] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];

/// A policy as bytes: equal for equal policies, here and on other machines.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<_> = self.groups.iter().map(|group| group.name()).collect();
        let alpn: Vec<_> = self.alpn.iter().map(|alpn| alpn.name()).collect();
        let (ciphers, min) = (&self.ciphers, self.min_version);
        write!(f, "{min:?} {ciphers:?} {groups:?} {alpn:?}")
    }
}
