//! What a file of certificates and keys holds, as facts to be shown to people.
//!
//! Nothing is judged here but whether a chain links; asking a server is `probe`'s.

use std::cmp::Ordering;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boring::error::ErrorStack;
use boring::hash::{MessageDigest, hash};
use boring::nid::Nid;
use boring::pkey::{HasPublic, Id, PKey, PKeyRef, Private};
use boring::x509::{GeneralNameRef, X509, X509NameRef, X509Ref};
use sha3::{Digest as _, Sha3_256};

use super::certs::unix_seconds;
use super::extensions::Extensions;
use super::keystore::{self, Entries, KeyEntry, KeystoreError, Kind};
use super::pem::{self, is_encrypted_key};
use super::trust;

/// What a file holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// Its certificates, in their order.
    pub certificates: Vec<CertificateFacts>,
    /// How these follow from each other.
    pub chain: Option<Chain>,
    /// Its private keys.
    pub keys: Vec<KeyFacts>,
    /// What else is in it, each as people call it.
    pub others: Vec<String>,
}

/// One certificate.
#[derive(Clone, Debug)]
pub struct CertificateFacts {
    /// Who it is for (RFC 4514: the most specific part first).
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The other names, each with its kind.
    pub names: Vec<String>,
    /// Its first second, since 1970.
    pub not_before: i64,
    /// Its last.
    pub not_after: i64,
    /// Kind and size of its key.
    pub key: String,
    /// How it was signed.
    pub signature: String,
    /// What it is: a root, another CA, or neither.
    pub role: Role,
    /// What it may be used for, as far as it says so.
    pub uses: Vec<String>,
    /// The serial number, in hexadecimal.
    pub serial: String,
    /// SHA-256 of the whole, in hexadecimal.
    pub sha256: String,
    /// SHA-256 of its public key (SubjectPublicKeyInfo), in base64.
    pub spki_sha256: String,
    /// What ThingsBoard knows a device by: SHA3-256 of the base64 of the whole, in hexadecimal.
    pub thingsboard: String,
}

/// What a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A CA that vouches for itself.
    Root {
        /// How many CAs may follow below.
        path_length: Option<u32>,
    },
    /// A CA that another vouches for.
    Intermediate {
        /// How many CAs may follow below.
        path_length: Option<u32>,
    },
    /// Of a server, client or person, and vouching for itself.
    SelfSigned,
    /// Of a server, client or person.
    Leaf,
}

/// What keeps others from using a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Nothing in the file.
    None,
    /// It is encrypted with a passphrase.
    Passphrase,
    /// It is in a keystore that was opened with its password.
    Keystore,
}

/// A private key.
#[derive(Clone, Debug)]
pub struct KeyFacts {
    /// Kind and size; `None` where only its passphrase could tell.
    pub kind: Option<String>,
    /// What keeps others from using it.
    pub protection: Protection,
    /// That of the certificates it belongs to.
    pub spki_sha256: Option<String>,
    /// Which certificate of the same file it belongs to.
    pub certificate: Option<usize>,
}

/// How certificates follow from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// From the leaf upwards, each signed by the next; positions in the file.
    pub order: Vec<usize>,
    /// Those that have no part in it.
    pub apart: Vec<usize>,
    /// What comes after the last.
    pub end: ChainEnd,
}

/// Where a chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainEnd {
    /// With one that vouches for itself.
    Root,
    /// With one whose issuer (named here) is not among them.
    Missing(String),
}

/// Why nothing can be said of a file.
#[derive(Debug, thiserror::Error)]
pub enum NotRecognised {
    /// Nothing in it.
    #[error("an empty file; expected certificates or a private key")]
    Empty,
    /// No format that is known here.
    #[error("found no certificate and no private key, neither in PEM nor in DER")]
    Unknown,
    /// It begins right.
    #[error("its {number}. PEM block says that it is a {label}, but cannot be read")]
    Damaged {
        /// Which, counted from 1.
        number: usize,
        /// What it says it is.
        label: String,
        /// What the parser says.
        source: ErrorStack,
    },
    /// A keystore that does not open.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The TLS library failed in a way that the file does not explain.
    #[error("TLS library")]
    Library(#[from] ErrorStack),
}

/// Whether these bytes are a keystore, whose contents take a password to see.
#[must_use]
pub fn is_keystore(bytes: &[u8]) -> bool {
    Kind::of(bytes).is_some()
}

/// Says what these bytes are. Of a keystore, only that it is one, unless there is its password.
///
/// # Errors
/// [`NotRecognised`].
pub fn contents(bytes: &[u8], password: Option<&str>) -> Result<Contents, NotRecognised> {
    if bytes.trim_ascii().is_empty() {
        return Err(NotRecognised::Empty);
    }
    let mut found = Found::default();
    if let Some(kind) = Kind::of(bytes) {
        found.others.push(format!("a {kind}"));
        if let Some(password) = password {
            found.add_entries(keystore::entries(bytes, password)?);
        }
        return Ok(found.into_contents()?);
    }
    let blocks = pem_blocks(bytes);
    for (index, block) in blocks.iter().enumerate() {
        let read = found.add_pem(block);
        read.map_err(|source| NotRecognised::Damaged {
            number: index + 1,
            label: printable(&block.label),
            source,
        })?;
    }
    if blocks.is_empty() && !found.add_der(bytes) {
        return Err(NotRecognised::Unknown);
    }
    Ok(found.into_contents()?)
}

/// The certificates of a file, in PEM or DER.
pub(super) fn certificates_in(bytes: &[u8]) -> Result<Vec<X509>, ErrorStack> {
    let blocks = pem_blocks(bytes);
    if blocks.is_empty() {
        return Ok(vec![X509::from_der(bytes)?]);
    }
    let certificates = blocks.iter().filter(|block| block.is_certificate());
    certificates
        .map(|block| X509::from_pem(block.text))
        .collect()
}

// === Found ===

#[derive(Default)]
struct Found {
    certificates: Vec<X509>,
    keys: Vec<FoundKey>,
    others: Vec<String>,
}

enum FoundKey {
    Open(PKey<Private>),
    OfKeystore(PKey<Private>),
    Encrypted { kind: Option<&'static str> },
}

impl Found {
    fn add_entries(&mut self, entries: Entries) {
        for (name, entry) in entries.keys {
            match entry {
                Some(KeyEntry { key, chain }) => {
                    self.others.push(format!("the key \"{name}\""));
                    self.certificates.extend(chain);
                    self.keys.push(FoundKey::OfKeystore(key));
                }
                None => {
                    let text = format!("the key \"{name}\", which has a password of its own");
                    self.others.push(text);
                }
            }
        }
        for (name, certificate) in entries.trusted {
            self.others
                .push(format!("the trusted certificate \"{name}\""));
            self.certificates.push(certificate);
        }
    }

    fn add_pem(&mut self, block: &Block<'_>) -> Result<(), ErrorStack> {
        let text = || String::from_utf8_lossy(block.text);
        match block.label.as_str() {
            _ if block.is_certificate() => self.certificates.push(X509::from_pem(block.text)?),
            "ENCRYPTED PRIVATE KEY" => self.keys.push(FoundKey::Encrypted { kind: None }),
            label if label.ends_with("PRIVATE KEY") && text().contains("ENCRYPTED") => {
                let kind = match label {
                    "RSA PRIVATE KEY" => Some("RSA"),
                    "EC PRIVATE KEY" => Some("ECDSA"),
                    _ => None,
                };
                self.keys.push(FoundKey::Encrypted { kind });
            }
            label if label.ends_with("PRIVATE KEY") => {
                let key = PKey::private_key_from_pem(block.text)?;
                self.keys.push(FoundKey::Open(key));
            }
            // It says nothing that the key after it does not say.
            "EC PARAMETERS" => {}
            "X509 CRL" => self.others.push(list_in_words(block.text)),
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => self
                .others
                .push("a certificate request, which a CA still has to sign".to_owned()),
            "PUBLIC KEY" => self.others.push("a public key".to_owned()),
            label => self
                .others
                .push(format!("a PEM block \"{}\"", printable(label))),
        }
        Ok(())
    }

    fn add_der(&mut self, bytes: &[u8]) -> bool {
        if let Ok(certificate) = X509::from_der(bytes) {
            self.certificates.push(certificate);
        } else if is_encrypted_key(bytes) {
            self.keys.push(FoundKey::Encrypted { kind: None });
        } else if let Ok(key) = PKey::private_key_from_der(bytes) {
            self.keys.push(FoundKey::Open(key));
        } else {
            return false;
        }
        true
    }

    fn into_contents(self) -> Result<Contents, ErrorStack> {
        let certificates = facts(&self.certificates)?;
        let keys = self.keys.iter().map(|key| key_facts(key, &certificates));
        Ok(Contents {
            keys: keys.collect::<Result<_, _>>()?,
            chain: chain(&self.certificates),
            certificates,
            others: self.others,
        })
    }
}

struct Block<'a> {
    label: String,
    /// With its two lines around.
    text: &'a [u8],
}

impl Block<'_> {
    fn is_certificate(&self) -> bool {
        matches!(
            self.label.as_str(),
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE"
        )
    }
}

/// The PEM blocks of a file; what stands between them is for people.
fn pem_blocks(bytes: &[u8]) -> Vec<Block<'_>> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const DASHES: &[u8] = b"-----";
    let find = |from: usize, what: &[u8]| -> Option<usize> {
        let rest = bytes.get(from..)?;
        let at = rest.windows(what.len()).position(|window| window == what)?;
        Some(from + at)
    };
    let mut blocks = Vec::new();
    let mut at = 0;
    while let Some(start) = find(at, BEGIN) {
        let label_start = start + BEGIN.len();
        let Some(label_end) = find(label_start, DASHES) else {
            break;
        };
        let label = String::from_utf8_lossy(&bytes[label_start..label_end]).into_owned();
        let last = format!("-----END {label}-----");
        // One without an end is damaged, and said to be.
        let end = find(label_end, last.as_bytes()).map_or(bytes.len(), |at| at + last.len());
        let text = &bytes[start..end];
        blocks.push(Block { label, text });
        at = end;
    }
    blocks
}

// === Facts ===

/// The facts of each.
pub(super) fn facts(certificates: &[X509]) -> Result<Vec<CertificateFacts>, ErrorStack> {
    certificates
        .iter()
        .map(|certificate| CertificateFacts::of(certificate))
        .collect()
}

impl CertificateFacts {
    fn of(certificate: &X509Ref) -> Result<Self, ErrorStack> {
        let der = certificate.to_der()?;
        let extensions = Extensions::of(&der).unwrap_or_default();
        let key = certificate.public_key()?;
        let usages = extensions.key_usage.iter().flatten();
        let uses = extensions
            .purposes
            .iter()
            .cloned()
            .chain(usages.map(|usage| (*usage).to_owned()));
        let names = certificate.subject_alt_names();
        Ok(Self {
            subject: distinguished_name(certificate.subject_name()),
            issuer: distinguished_name(certificate.issuer_name()),
            names: names.iter().flatten().map(alt_name).collect(),
            not_before: unix_seconds(certificate.not_before())?,
            not_after: unix_seconds(certificate.not_after())?,
            key: key_kind(&key),
            signature: signature(certificate),
            role: role(certificate, &extensions),
            uses: uses.collect(),
            serial: serial(certificate)?,
            sha256: hexadecimal(&hash(MessageDigest::sha256(), &der)?),
            spki_sha256: spki_sha256(&key)?,
            thingsboard: hexadecimal(&Sha3_256::digest(STANDARD.encode(&der))),
        })
    }
}

/// Whose it is, how much is in it, and until when it counts.
fn list_in_words(pem: &[u8]) -> String {
    let lists = pem::revocation_lists(pem);
    let facts = lists.and_then(|lists| trust::list_facts(lists.first()?));
    let Some((issuer, count, until)) = facts else {
        return "a damaged revocation list (CRL)".to_owned();
    };
    let date = until.and_then(|until| time::OffsetDateTime::from_unix_timestamp(until).ok());
    let until = date.map_or_else(
        || "for ever".to_owned(),
        |date| format!("until {}", date.date()),
    );
    let entries = if count == 1 { "entry" } else { "entries" };
    format!("a revocation list (CRL) of {issuer}, with {count} {entries}, good {until}")
}

fn key_facts(key: &FoundKey, certificates: &[CertificateFacts]) -> Result<KeyFacts, ErrorStack> {
    let (key, protection) = match key {
        FoundKey::Open(key) => (key, Protection::None),
        FoundKey::OfKeystore(key) => (key, Protection::Keystore),
        FoundKey::Encrypted { kind } => {
            return Ok(KeyFacts {
                kind: kind.map(str::to_owned),
                protection: Protection::Passphrase,
                spki_sha256: None,
                certificate: None,
            });
        }
    };
    let spki_sha256 = spki_sha256(key)?;
    let has_it = |facts: &CertificateFacts| facts.spki_sha256 == spki_sha256;
    Ok(KeyFacts {
        kind: Some(key_kind(key)),
        protection,
        certificate: certificates.iter().position(has_it),
        spki_sha256: Some(spki_sha256),
    })
}

fn role(certificate: &X509Ref, extensions: &Extensions) -> Role {
    let path_length = extensions.path_length;
    match (extensions.is_authority(), is_self_signed(certificate)) {
        (true, true) => Role::Root { path_length },
        (true, false) => Role::Intermediate { path_length },
        (false, true) => Role::SelfSigned,
        (false, false) => Role::Leaf,
    }
}

fn spki_sha256<T: HasPublic>(key: &PKeyRef<T>) -> Result<String, ErrorStack> {
    let der = key.public_key_to_der()?;
    Ok(STANDARD.encode(hash(MessageDigest::sha256(), &der)?))
}

fn key_kind<T: HasPublic>(key: &PKeyRef<T>) -> String {
    match key.id() {
        Id::RSA | Id::RSAPSS => format!("RSA {}", key.bits()),
        Id::EC => match key.bits() {
            // The four curves that the TLS library knows.
            bits @ (224 | 256 | 384 | 521) => format!("ECDSA P-{bits}"),
            bits => format!("ECDSA with {bits} bits"),
        },
        Id::ED25519 => "Ed25519".to_owned(),
        _ => format!("{} bits of an unusual kind", key.bits()),
    }
}

fn signature(certificate: &X509Ref) -> String {
    let algorithm = certificate.signature_algorithm().object();
    let name = match algorithm.nid() {
        Nid::UNDEF => None,
        nid => nid.long_name().ok(),
    };
    name.map_or_else(|| printable(&algorithm.to_string()), str::to_owned)
}

fn serial(certificate: &X509Ref) -> Result<String, ErrorStack> {
    let number = certificate.serial_number().to_bn()?;
    Ok(number.to_hex_str()?.to_ascii_lowercase())
}

fn alt_name(name: &GeneralNameRef) -> String {
    if let Some(dns) = name.dnsname() {
        return format!("DNS {}", printable(dns));
    }
    if let Some(uri) = name.uri() {
        return format!("URI {}", printable(uri));
    }
    if let Some(email) = name.email() {
        return format!("email {}", printable(email));
    }
    match name.ipaddress().map(ip_address) {
        Some(Some(address)) => format!("IP {address}"),
        Some(None) => "a damaged IP address".to_owned(),
        None => "another kind of name".to_owned(),
    }
}

pub(super) fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// As RFC 4514 writes it, but with the letters of all languages.
fn distinguished_name(name: &X509NameRef) -> String {
    /// XN_FLAG_RFC2253 without ASN1_STRFLGS_ESC_MSB.
    const FLAGS: i32 = (1 << 24) | (1 << 20) | (1 << 16) | 0x313;
    match name.print_ex(FLAGS) {
        Some(text) if text.is_empty() => "(empty)".to_owned(),
        Some(text) => printable(&text),
        None => "(unreadable)".to_owned(),
    }
}

/// The common name, or all of the subject where there is none.
pub(super) fn common_name(certificate: &X509Ref) -> String {
    let subject = certificate.subject_name();
    let entry = subject.entries_by_nid(Nid::COMMONNAME).last();
    let text = entry.and_then(|entry| entry.data().as_utf8().ok());
    text.map_or_else(|| distinguished_name(subject), |text| printable(&text))
}

/// What whoever made a certificate wrote into it, but nothing that a terminal obeys or that turns
/// the direction of what follows.
pub(super) fn printable(text: &str) -> String {
    let is_harmless = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let one = |c: char| {
        if is_harmless(c) {
            c
        } else {
            char::REPLACEMENT_CHARACTER
        }
    };
    text.chars().map(one).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// Whether it was signed with its own key. A server's certificate that was may well be forbidden to
/// sign any other.
pub(super) fn is_self_signed(certificate: &X509Ref) -> bool {
    let (subject, issuer) = (certificate.subject_name(), certificate.issuer_name());
    subject.try_cmp(issuer).is_ok_and(Ordering::is_eq)
        && is_signed_with_key_of(certificate, certificate)
}

/// Whether the one signed the other.
fn has_signed(issuer: &X509Ref, certificate: &X509Ref) -> bool {
    issuer.issued(certificate).is_ok() && is_signed_with_key_of(certificate, issuer)
}

fn is_signed_with_key_of(certificate: &X509Ref, issuer: &X509Ref) -> bool {
    let verified = issuer.public_key().and_then(|key| certificate.verify(&key));
    verified.unwrap_or(false)
}

/// From one of them to whoever signed it, and so on, as far as they are among these.
pub(super) fn walk_up(certificates: &[X509], from: usize) -> Vec<usize> {
    let mut order = vec![from];
    let mut last = from;
    while !is_self_signed(&certificates[last]) {
        let next = (0..certificates.len())
            .find(|at| !order.contains(at) && has_signed(&certificates[*at], &certificates[last]));
        let Some(next) = next else { break };
        order.push(next);
        last = next;
    }
    order
}

/// How these follow from each other, beginning with the first that signed none of the others.
pub(super) fn chain(certificates: &[X509]) -> Option<Chain> {
    let all = 0..certificates.len();
    let is_leaf = |at: &usize| {
        let mut others = all.clone().filter(|other| other != at);
        !others.any(|other| has_signed(&certificates[*at], &certificates[other]))
    };
    let leaf = all.clone().find(is_leaf).or_else(|| all.clone().next())?;
    let order = walk_up(certificates, leaf);
    let last = &certificates[*order.last()?];
    let end = if is_self_signed(last) {
        ChainEnd::Root
    } else {
        ChainEnd::Missing(distinguished_name(last.issuer_name()))
    };
    Some(Chain {
        apart: all.filter(|at| !order.contains(at)).collect(),
        order,
        end,
    })
}
