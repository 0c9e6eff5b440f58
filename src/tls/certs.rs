//! Certificate and key: read, checked against each other, put in order, ready to serve.
//!
//! A pair is loaded whole or not at all. Each thing that can be wrong has its own message, with
//! the file and what would be right. What bytes mean is for `pem` and `keystore`.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use boring::asn1::{Asn1Time, Asn1TimeRef};
use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{Id, PKey, Private};
use boring::x509::{X509, X509NameRef, X509Ref};
use zeroize::Zeroizing;

use super::extensions::Extensions;
use super::files;
use super::inspect::{is_self_signed, printable, walk_up};
use super::keystore::{self, KeystoreError, Passwords};
use super::ocsp::{OcspError, Staple};
use super::pem::{self, Flaw};
use super::secret::{Answers, Secret, SecretError};
use super::spec::{CertificateSource, CertificateSpec};

/// A certificate chain and the key of its leaf.
#[derive(Clone)]
pub struct CertifiedKey {
    pub(super) leaf: X509,
    pub(super) intermediates: Vec<X509>,
    pub(super) key: PKey<Private>,
    pub(super) kind: KeyKind,
    pub(super) staple: Option<Staple>,
    /// What is odd about it and no error, with the file.
    pub(super) warnings: Vec<String>,
}

impl std::fmt::Debug for CertifiedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertifiedKey")
            .field("chain", &(1 + self.intermediates.len()))
            .finish_non_exhaustive()
    }
}

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// The file cannot be read.
    #[error("{}: cannot read the {what}: {source}{}", path.display(), files::hint(source))]
    Unreadable {
        /// Certificate, private key or keystore.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No certificate in the certificate file.
    #[error("{}: found {found}; expected a certificate, PEM (-----BEGIN CERTIFICATE-----) or DER", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// A certificate that cannot be parsed.
    #[error("{}: the certificate is damaged: {source}", path.display())]
    DamagedCertificate {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: ErrorStack,
    },
    /// No usable key in the key file.
    #[error("{}: found {found}; expected a private key, PEM (-----BEGIN PRIVATE KEY-----) or DER", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// A key that cannot be parsed.
    #[error("{}: the private key is damaged: {source}", path.display())]
    DamagedKey {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: ErrorStack,
    },
    /// The key needs a passphrase.
    #[error(
        "{}: the private key is encrypted; write its passphrase beside it, as \
         \"passphrase: {{file: /run/secrets/key-pass}}\"", path.display()
    )]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// The key is encrypted with another passphrase.
    #[error("{}: the passphrase does not open this private key; write the one that it was encrypted with", path.display())]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// The key is encrypted in a way that is not known.
    #[error(
        "{}: the private key is encrypted, and {what}; encrypt it anew with: \
         openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -in {} -out NEW", path.display(), path.display()
    )]
    UnknownEncryption {
        /// The file.
        path: PathBuf,
        /// What is not known.
        what: &'static str,
    },
    /// The passphrase cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A keystore that cannot be used.
    #[error("{}: {source}", path.display())]
    Keystore {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeystoreError,
    },
    /// A keystore that has a password.
    #[error(
        "{}: the keystore has a password; write it beside the path, as \
         \"password: {{file: /run/secrets/store-pass}}\"", path.display()
    )]
    NoPassword {
        /// The file.
        path: PathBuf,
    },
    /// Another file where a keystore is expected.
    #[error("{}: found {found}; expected a keystore, PKCS#12 or JKS (PEM and DER go under cert and key)", path.display())]
    NoKeystore {
        /// The file.
        path: PathBuf,
        /// What is there instead.
        found: &'static str,
    },
    /// The two do not belong together.
    #[error("{}: this key does not belong to {}; give the key that the certificate was made for", key.display(), certificate(cert, *count))]
    Mismatch {
        /// The certificate file.
        cert: PathBuf,
        /// How many certificates are in it.
        count: usize,
        /// The key file.
        key: PathBuf,
    },
    /// The leaf has run out.
    #[error("{}: the certificate expired on {not_after}; renew it", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// Its last moment.
        not_after: String,
    },
    /// A key that no suite of today can use.
    #[error("{}: {what}; make a new key, ECDSA P-256 or RSA with 2048 bits or more", path.display())]
    WeakKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A CA's certificate, which may sign and not serve.
    #[error(
        "{}: this is the certificate of a CA, which signs others and serves nobody; make one for \
         this server with: portcullis certs server --ca {} NAME", path.display(), path.display()
    )]
    Authority {
        /// The file.
        path: PathBuf,
    },
    /// A pair that BoringSSL does not take for a server.
    #[error("{}: cannot be used for a server: {source}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What BoringSSL says.
        source: ErrorStack,
    },
    /// An OCSP response that cannot be stapled.
    #[error("{}: {source}", path.display())]
    Ocsp {
        /// The file.
        path: PathBuf,
        /// Why.
        source: OcspError,
    },
    /// The TLS library failed in a way that the files do not explain.
    #[error("TLS: {0}")]
    Library(#[from] ErrorStack),
}

fn certificate(path: &Path, count: usize) -> String {
    let path = path.display();
    match count {
        1 => format!("the certificate in {path}"),
        _ => format!("any of the {count} certificates in {path}"),
    }
}

/// What TLS can do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// With its signature scheme, and its curve as a group (RFC 8446 sections 4.2.3 and 4.2.7).
    /// Ed25519 counts as one in suites, and its curve is no group (RFC 8422 section 5.1.1).
    Ecdsa {
        scheme: u16,
        curve: Option<u16>,
    },
    Rsa,
}

impl KeyKind {
    /// What can be done with a key, or why nothing.
    fn of(key: &PKey<Private>) -> Result<Self, String> {
        let ecdsa = |scheme, curve| Self::Ecdsa {
            scheme,
            curve: Some(curve),
        };
        let curve = || key.ec_key().ok().and_then(|key| key.group().curve_name());
        match key.id() {
            Id::RSA if key.bits() < 2048 => {
                let bits = key.bits();
                Err(format!("an RSA key of {bits} bits can be broken"))
            }
            Id::RSA => Ok(Self::Rsa),
            Id::EC => match curve() {
                Some(Nid::X9_62_PRIME256V1) => Ok(ecdsa(0x0403, 0x0017)),
                Some(Nid::SECP384R1) => Ok(ecdsa(0x0503, 0x0018)),
                Some(Nid::SECP521R1) => Ok(ecdsa(0x0603, 0x0019)),
                _ => Err("an ECDSA key on a curve that clients do not know".into()),
            },
            Id::ED25519 => Ok(Self::Ecdsa {
                scheme: 0x0807,
                curve: None,
            }),
            _ => Err("a key that is neither ECDSA, RSA nor Ed25519; clients know no other".into()),
        }
    }
}

/// A chain and a key as they were found, not yet known to belong together.
struct Found {
    certificates: Vec<X509>,
    key: PKey<Private>,
    cert_path: PathBuf,
    key_path: PathBuf,
}

impl CertifiedKey {
    /// Checks what was read from these two files, a key in the clear.
    pub(super) fn of_pem(
        (cert, cert_pem): (&Path, &[u8]),
        (key, key_pem): (&Path, &[u8]),
    ) -> Result<Self, CertError> {
        arrange(Found {
            certificates: pem::certificates(cert_pem)
                .map_err(|flaw| not_certificates(cert, flaw, cert_pem))?,
            key: pem::private_key(key_pem, None).map_err(|flaw| not_a_key(key, flaw, key_pem))?,
            cert_path: cert.to_owned(),
            key_path: key.to_owned(),
        })
    }

    /// Reads and checks the pair that `spec` names.
    ///
    /// # Errors
    /// [`CertError`], naming the file and the fix.
    pub fn load(spec: &CertificateSpec, answers: &Answers) -> Result<Self, CertError> {
        let found = match &spec.source {
            CertificateSource::Files {
                cert,
                key,
                passphrase,
            } => from_files(cert, key, passphrase.as_ref(), answers)?,
            CertificateSource::Keystore {
                path,
                password,
                alias,
                key_password,
            } => {
                let password = password_of(path, password.as_ref(), answers)?;
                let key_password = key_password.as_ref().map(Secret::read).transpose()?;
                from_keystore(path, &password, key_password.as_ref(), alias.as_deref())?
            }
        };
        let mut pair = arrange(found)?;
        if let Some(path) = &spec.ocsp {
            let staple = read("OCSP response", path)?;
            let staple = Staple::parse(&staple).map_err(|source| CertError::Ocsp {
                path: path.clone(),
                source,
            })?;
            let path = path.display();
            if !staple.is_for(&pair.leaf) {
                pair.warnings.push(format!(
                    "{path}: the OCSP response is about another certificate, and is not sent"
                ));
            } else {
                if !staple.is_current(now()) {
                    pair.warnings.push(format!(
                        "{path}: the OCSP response is out of date, and not sent; fetch a new one"
                    ));
                }
                pair.staple = Some(staple);
            }
        }
        for warning in &mut pair.warnings {
            *warning = format!("{}: {warning}", spec.place);
        }
        Ok(pair)
    }

    /// The SHA-256 fingerprint of the leaf, in hexadecimal.
    pub(super) fn fingerprint(&self) -> Result<String, ErrorStack> {
        let digest = self.leaf.digest(MessageDigest::sha256())?;
        Ok(base16ct::lower::encode_string(&digest))
    }

    /// A pair that was made here, and is right.
    pub(super) fn made(leaf: X509, key: PKey<Private>) -> Self {
        Self {
            leaf,
            intermediates: Vec::new(),
            // Every kind that is made is a known one.
            kind: KeyKind::of(&key).unwrap_or(KeyKind::Rsa),
            key,
            staple: None,
            warnings: Vec::new(),
        }
    }
}

fn read(what: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, CertError> {
    files::read(path).map_err(|source| CertError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    })
}

// === From files ===

fn from_files(
    cert: &Path,
    key: &Path,
    passphrase: Option<&Secret>,
    answers: &Answers,
) -> Result<Found, CertError> {
    let cert_bytes = read("certificate", cert)?;
    let key_bytes = read("private key", key)?;
    let certificates =
        pem::certificates(&cert_bytes).map_err(|flaw| not_certificates(cert, flaw, &cert_bytes))?;
    let passphrase = passphrase.map(Secret::read).transpose()?;
    let opened = match pem::private_key(&key_bytes, passphrase.as_ref().map(|it| it.as_str())) {
        Err(Flaw::Encrypted) => match answers.of(key) {
            Some(answer) => pem::private_key(&key_bytes, Some(&answer)),
            None => Err(Flaw::Encrypted),
        },
        opened => opened,
    };
    Ok(Found {
        certificates,
        key: opened.map_err(|flaw| not_a_key(key, flaw, &key_bytes))?,
        cert_path: cert.to_owned(),
        key_path: key.to_owned(),
    })
}

/// A keystore where a PEM file is expected is what people of the Java world try first.
fn what_is(bytes: &[u8]) -> String {
    match keystore::Kind::of(bytes) {
        Some(kind) => format!("a {kind} (write it as \"keystore: {{path: …, password: …}}\")"),
        None => pem::what_is(bytes).to_owned(),
    }
}

fn not_certificates(path: &Path, flaw: Flaw, bytes: &[u8]) -> CertError {
    let path = path.to_owned();
    match flaw {
        Flaw::Damaged(source) => CertError::DamagedCertificate { path, source },
        _ => CertError::NoCertificate {
            path,
            found: what_is(bytes),
        },
    }
}

fn not_a_key(path: &Path, flaw: Flaw, bytes: &[u8]) -> CertError {
    let path = path.to_owned();
    match flaw {
        Flaw::Damaged(source) => CertError::DamagedKey { path, source },
        Flaw::Encrypted => CertError::Encrypted { path },
        Flaw::WrongPassphrase => CertError::WrongPassphrase { path },
        Flaw::UnknownEncryption(what) => CertError::UnknownEncryption { path, what },
        Flaw::Other => CertError::NoKey {
            path,
            found: what_is(bytes),
        },
    }
}

// === From a keystore ===

/// The password of a store; the empty one where there is none and nobody to ask.
fn password_of(
    path: &Path,
    written: Option<&Secret>,
    answers: &Answers,
) -> Result<Zeroizing<String>, CertError> {
    match written {
        Some(secret) => Ok(secret.read()?),
        None => Ok(answers.of(path).unwrap_or_default()),
    }
}

fn from_keystore(
    path: &Path,
    password: &str,
    key_password: Option<&Zeroizing<String>>,
    alias: Option<&str>,
) -> Result<Found, CertError> {
    let bytes = read("keystore", path)?;
    if keystore::Kind::of(&bytes).is_none() {
        return Err(CertError::NoKeystore {
            path: path.to_owned(),
            found: pem::what_is(&bytes),
        });
    }
    let passwords = Passwords {
        store: password,
        key: key_password.map(|it| it.as_str()),
    };
    let entry = keystore::key_entry(&bytes, &passwords, alias);
    let entry = entry.map_err(|source| match source {
        KeystoreError::WrongStorePassword if password.is_empty() => CertError::NoPassword {
            path: path.to_owned(),
        },
        source => CertError::Keystore {
            path: path.to_owned(),
            source,
        },
    })?;
    if entry.chain.is_empty() {
        return Err(CertError::NoCertificate {
            path: path.to_owned(),
            found: "a private key without its certificate".into(),
        });
    }
    Ok(Found {
        certificates: entry.chain,
        key: entry.key,
        cert_path: path.to_owned(),
        key_path: path.to_owned(),
    })
}

// === Put in order, and checked ===

/// Finds the leaf by its key, and what it was issued by, in whatever order they were found.
fn arrange(found: Found) -> Result<CertifiedKey, CertError> {
    let Found {
        mut certificates,
        key,
        cert_path: path,
        key_path,
    } = found;
    let has_key = |certificate: &X509| {
        let public = certificate.public_key();
        public.is_ok_and(|public| public.public_eq(&key))
    };
    let Some(at) = certificates.iter().position(has_key) else {
        return Err(CertError::Mismatch {
            cert: path,
            count: certificates.len(),
            key: key_path,
        });
    };
    let leaf = certificates.remove(at);
    if leaf.not_after() < &*Asn1Time::days_from_now(0)? {
        return Err(CertError::Expired {
            path,
            not_after: leaf.not_after().to_string(),
        });
    }
    certificates.insert(0, leaf.clone());
    let order = walk_up(&certificates, 0);
    let above = order.iter().skip(1);
    let intermediates = above.map(|at| certificates[*at].clone()).collect();
    let unused = (0..certificates.len()).filter(|at| !order.contains(at));
    let unused: Vec<_> = unused.map(|at| certificates[at].clone()).collect();
    if let Err(what) = KeyKind::of(&key) {
        return Err(CertError::WeakKey {
            path: key_path,
            what,
        });
    }
    let mut pair = CertifiedKey {
        intermediates,
        ..CertifiedKey::made(leaf, key)
    };
    let uses = Extensions::of(&pair.leaf.to_der()?).unwrap_or_default();
    // A self-signed one that says of itself that it is a CA is common, and serves.
    if uses.is_ca && uses.may_not("digital signature") {
        return Err(CertError::Authority { path });
    }
    pair.warnings = warnings(&pair, &uses, &path, &unused)?;
    Ok(pair)
}

fn warnings(
    pair: &CertifiedKey,
    uses: &Extensions,
    path: &Path,
    unused: &[X509],
) -> Result<Vec<String>, ErrorStack> {
    let (mut warnings, path) = (Vec::new(), path.display());
    let serves = ["TLS server", "any purpose"];
    let is_for_servers = |purpose: &String| serves.contains(&purpose.as_str());
    if !uses.purposes.is_empty() && !uses.purposes.iter().any(is_for_servers) {
        let purposes = uses.purposes.join(", ");
        warnings.push(format!(
            "{path}: is for {purposes} and not for a TLS server; clients will refuse it"
        ));
    }
    if matches!(pair.kind, KeyKind::Ecdsa { curve: None, .. }) {
        warnings.push(format!(
            "{path}: browsers do not know Ed25519 keys; for people, take ECDSA P-256"
        ));
    }
    if pair.leaf.subject_alt_names().is_none() {
        warnings.push(format!(
            "{path}: has no subject alternative name; browsers and most programs will refuse it"
        ));
    }
    let is_copy = |it: &&X509| it.to_der().ok() == pair.leaf.to_der().ok();
    let unused: Vec<_> = unused.iter().filter(|it| !is_copy(it)).collect();
    if !unused.is_empty() {
        let names: Vec<_> = unused
            .iter()
            .map(|it| common_name(it.subject_name()))
            .collect();
        let names = names.join(", ");
        warnings.push(format!(
            "{path}: not in the chain of the certificate, and not sent: {names}"
        ));
    }
    let issuer = common_name(pair.leaf.issuer_name());
    // A root may have signed it, as a CA of one's own does; then nothing is missing.
    let is_by_intermediate = uses.tells_issuer || is_intermediate_by_name(&issuer);
    if pair.intermediates.is_empty() && !is_self_signed(&pair.leaf) && is_by_intermediate {
        warnings.push(format!(
            "{path}: holds no intermediate certificate, so it is good for clients that trust \
             \"{issuer}\" itself; for all others, append the certificate of \"{issuer}\""
        ));
    }
    let now = Asn1Time::days_from_now(0)?;
    if pair.leaf.not_before() > &*now {
        let from = pair.leaf.not_before();
        warnings.push(format!(
            "{path}: the certificate is not valid before {from}"
        ));
    }
    let expired = |it: &&X509| it.not_after() < &*now;
    for expired in pair.intermediates.iter().filter(expired) {
        let name = common_name(expired.subject_name());
        let not_after = expired.not_after();
        warnings.push(format!(
            "{path}: the intermediate certificate \"{name}\" expired on {not_after}"
        ));
    }
    Ok(warnings)
}

/// Whether a CA is called what only CAs below others are called.
fn is_intermediate_by_name(name: &str) -> bool {
    let name = name.to_lowercase();
    let words = [
        "intermediate",
        "issuing",
        "subordinate",
        "sub ca",
        "sub-ca",
        "subca",
    ];
    words.iter().any(|word| name.contains(word))
}

/// What people call it: its common name, or all of it where there is none.
pub(super) fn common_name(name: &X509NameRef) -> String {
    let mut entries = name.entries_by_nid(Nid::COMMONNAME);
    let common = entries.next().and_then(|entry| entry.data().as_utf8().ok());
    match common {
        Some(common) => printable(&common),
        None => printable(&name.print_ex(0).unwrap_or_default()),
    }
}

/// The time in seconds since 1970.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// Seconds since 1970.
pub(super) fn unix_seconds(time: &Asn1TimeRef) -> Result<i64, ErrorStack> {
    let difference = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(i64::from(difference.days) * 86_400 + i64::from(difference.secs))
}

/// The names of a certificate for clients: its DNS names (RFC 6125), or its common name where it
/// has no alternative names at all, as old devices have it.
pub(super) fn dns_names(certificate: &X509Ref) -> Vec<String> {
    match certificate.subject_alt_names() {
        Some(names) => names
            .iter()
            .filter_map(|name| name.dnsname().map(str::to_owned))
            .collect(),
        None => {
            let name = common_name(certificate.subject_name());
            let is_name = !name.is_empty() && !name.contains([' ', '/', '=']);
            is_name.then_some(name).into_iter().collect()
        }
    }
}
