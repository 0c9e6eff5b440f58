//! What client certificates are checked against, read from files and folders: the certificates that
//! are trusted, and what their owners have taken back.
//!
//! A source is read whole or not at all. One that is empty, or of which a part cannot be read, is an
//! error: to go on with the rest would refuse clients that should be let in, or let in some whose
//! revocation stands in the part that was not read. How certificates are checked is for
//! `client_auth`.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use boring::error::ErrorStack;
use boring::x509::{X509, X509Ref};
use zeroize::Zeroizing;

use super::ber::{EXPLICIT_0, GENERALIZED_TIME, INTEGER, OID, Reader, SEQUENCE, UTC_TIME};
use super::dn;
use super::extensions::Extensions;
use super::inspect::certificates_in;
use super::keystore::{self, KeystoreError};
use super::pem::{self, Flaw};
use super::secret::{Answers, SecretError};
use super::spec::TrustSource;
use super::times;
use super::{files, store};

/// The most files of one folder.
const MOST_FILES: usize = 10_000;

/// Why a source cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file or folder that cannot be read.
    #[error("{}: cannot read the {what}: {source}{}", path.display(), files::hint(source))]
    Unreadable {
        /// What it should hold.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder without a file.
    #[error("{}: there is no file in this folder; put the {what} there", path.display())]
    EmptyFolder {
        /// What it should hold.
        what: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// Something else.
    #[error("{}: found {found}; expected {expected}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// A part that cannot be read.
    #[error(
        "{}: only {read} of the {all} certificates in it can be read, so none is used; \
         repair the file, or take out what is damaged", path.display()
    )]
    Half {
        /// The file.
        path: PathBuf,
        /// How many can be read.
        read: usize,
        /// How many there are.
        all: usize,
    },
    /// Something that cannot be parsed.
    #[error("{}: the {what} is damaged: {source}", path.display())]
    Damaged {
        /// What it should be.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: ErrorStack,
    },
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
         \"{{path: …, password: {{file: /run/secrets/store-pass}}}}\"", path.display()
    )]
    NoPassword {
        /// The file.
        path: PathBuf,
    },
    /// The password cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Where the systems keep the certificates that they trust, in one file each: Debian and Alpine,
/// Fedora, SUSE, BSD.
const TRUST_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

const CERTIFICATES: &str = "CA certificates";
const LISTS: &str = "revocation lists";

/// The certificates of all sources, each once.
///
/// # Errors
/// [`TrustError`], with the file and the fix.
pub(super) fn certificates(
    sources: &[TrustSource],
    answers: &Answers,
) -> Result<Vec<X509>, TrustError> {
    let (mut all, mut seen) = (Vec::new(), HashSet::new());
    for source in sources {
        for path in some_files_at(&source.path, CERTIFICATES)? {
            for certificate in certificates_of(&path, source, answers)? {
                let der = certificate.to_der();
                let der = der.map_err(|error| damaged("certificate", &path, error))?;
                if seen.insert(der) {
                    all.push(certificate);
                }
            }
        }
    }
    Ok(all)
}

/// What this system trusts. Where the environment names a file (`SSL_CERT_FILE`), what is in that one.
pub(super) fn of_system() -> Vec<X509> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = TRUST_FILES.iter().map(PathBuf::from);
    let files = match named {
        Some(file) => vec![file],
        None => usual.collect(),
    };
    let file = files.iter().find_map(|file| std::fs::read(file).ok());
    let found = file.and_then(|bytes| certificates_in(&bytes).ok());
    found.unwrap_or_default()
}

fn certificates_of(
    path: &Path,
    source: &TrustSource,
    answers: &Answers,
) -> Result<Vec<X509>, TrustError> {
    let bytes = read(path, CERTIFICATES)?;
    if keystore::Kind::of(&bytes).is_some() {
        return of_keystore(path, &bytes, source, answers);
    }
    let all = pem::count_certificates(&bytes);
    match pem::certificates(&bytes) {
        // One of several may be all that is damaged; the reader stops at the first.
        Ok(read) if all > read.len() => Err(TrustError::Half {
            path: path.to_owned(),
            read: read.len(),
            all,
        }),
        Ok(read) => Ok(read),
        Err(Flaw::Damaged(error)) => Err(damaged("certificate", path, error)),
        Err(_) => Err(TrustError::Other {
            path: path.to_owned(),
            found: pem::what_is(&bytes).to_owned(),
            expected: "CA certificates: PEM (-----BEGIN CERTIFICATE-----), DER, PKCS#12 or JKS",
        }),
    }
}

fn of_keystore(
    path: &Path,
    bytes: &[u8],
    source: &TrustSource,
    answers: &Answers,
) -> Result<Vec<X509>, TrustError> {
    let password: Option<Zeroizing<String>> = match &source.password {
        Some(secret) => Some(secret.read()?),
        None => answers.of(path),
    };
    let is_known = password.is_some();
    let password = password.unwrap_or_default();
    keystore::trusted(bytes, &password).map_err(|source| match source {
        KeystoreError::WrongStorePassword if !is_known => TrustError::NoPassword {
            path: path.to_owned(),
        },
        source => TrustError::Keystore {
            path: path.to_owned(),
            source,
        },
    })
}

// === Revocation lists ===

/// A list of what a CA has taken back (RFC 5280 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RevocationList {
    pub(super) der: Vec<u8>,
    /// Whose it is.
    pub(super) issuer: String,
    /// The same in DER.
    issuer_der: Vec<u8>,
    /// Its first moment, in seconds since 1970.
    pub(super) this_update: i64,
    /// Its last moment, in seconds since 1970; without one it never ends.
    pub(super) next_update: Option<i64>,
    /// The file that it is in.
    pub(super) path: PathBuf,
}

/// The lists of all sources.
///
/// # Errors
/// [`TrustError`], with the file and the fix.
pub(super) fn revocations(sources: &[PathBuf]) -> Result<Vec<RevocationList>, TrustError> {
    let mut all = Vec::new();
    for source in sources {
        for path in some_files_at(source, LISTS)? {
            let bytes = read(&path, LISTS)?;
            let found = pem::revocation_lists(&bytes);
            let lists = found.ok_or_else(|| TrustError::Other {
                path: path.clone(),
                found: match pem::what_is(&bytes) {
                    "a revocation list" => "a revocation list that is damaged or cut off".into(),
                    other => other.to_owned(),
                },
                expected: "revocation lists, PEM (-----BEGIN X509 CRL-----) or DER",
            })?;
            for der in lists {
                all.push(RevocationList::read(der, &path)?);
            }
        }
    }
    Ok(all)
}

impl RevocationList {
    fn read(der: Vec<u8>, path: &Path) -> Result<Self, TrustError> {
        let parts = Parts::of(&der).ok_or_else(|| TrustError::Other {
            path: path.to_owned(),
            found: "a damaged revocation list".into(),
            expected: "one as RFC 5280 section 5.1 has it, with nothing behind it",
        })?;
        if parts.is_delta {
            return Err(TrustError::Other {
                path: path.to_owned(),
                found: "a delta of a revocation list, which would be ignored".into(),
                expected: "complete lists",
            });
        }
        store::is_crl(&der).map_err(|error| damaged("revocation list", path, error))?;
        Ok(Self {
            issuer: parts.issuer,
            issuer_der: parts.issuer_der,
            this_update: parts.this_update,
            next_update: parts.next_update,
            der,
            path: path.to_owned(),
        })
    }

    /// Whether one of these certificates is its issuer's by name, and whether one of those has signed
    /// it.
    fn signers<'c>(&self, anchors: impl IntoIterator<Item = &'c X509>) -> (bool, bool) {
        let of_issuer = |anchor: &&X509| {
            let name = anchor.subject_name().to_der();
            name.is_ok_and(|name| name == self.issuer_der)
        };
        let mut issuers = anchors.into_iter().filter(of_issuer).peekable();
        let is_there = issuers.peek().is_some();
        let has_signed = |issuer: &X509| {
            let key = issuer.public_key();
            key.is_ok_and(|key| store::has_signed(&key, &self.der).unwrap_or_default())
        };
        (is_there, issuers.any(has_signed))
    }

    /// Whether a certificate of its issuer stands in it. Who signed the list is not looked at.
    pub(super) fn has(&self, certificate: &X509Ref) -> bool {
        let issuer = certificate.issuer_name().to_der();
        let serial = certificate.serial_number().to_bn().map(|it| it.to_vec());
        let (Ok(issuer), Ok(serial)) = (issuer, serial) else {
            return false;
        };
        let is_listed = || {
            let mut revoked = Parts::of(&self.der)?.revoked?;
            while !revoked.is_at_end() {
                let number = revoked.enter(SEQUENCE)?.take(INTEGER)?;
                let zeros = number.iter().take_while(|byte| **byte == 0).count();
                if number[zeros..] == serial {
                    return Some(());
                }
            }
            None
        };
        issuer == self.issuer_der && is_listed().is_some()
    }
}

/// The issuer of a list in DER, how many certificates are in it, and its last moment; `None` where
/// it cannot be read.
pub(super) fn list_facts(der: &[u8]) -> Option<(String, usize, Option<i64>)> {
    let parts = Parts::of(der)?;
    let mut count = 0;
    if let Some(mut revoked) = parts.revoked {
        while !revoked.is_at_end() {
            revoked.enter(SEQUENCE)?;
            count += 1;
        }
    }
    Some((parts.issuer, count, parts.next_update))
}

/// Refuses lists that bear the name of a trusted certificate and somebody else's signature: with
/// them, nobody whom the owner of the name has issued anything to would be let in.
///
/// # Errors
/// [`TrustError`], with the file.
pub(super) fn check_signers(lists: &[RevocationList], anchors: &[X509]) -> Result<(), TrustError> {
    let forged = lists
        .iter()
        .find(|list| list.signers(anchors) == (true, false));
    match forged {
        None => Ok(()),
        Some(list) => Err(TrustError::Other {
            path: list.path.clone(),
            found: format!("a revocation list that {} has not signed", list.issuer),
            expected: "one with the signature of the certificate that is trusted under this name",
        }),
    }
}

/// The trusted CAs of which there is no list, by name.
pub(super) fn without_list(lists: &[RevocationList], anchors: &[X509]) -> Vec<String> {
    let is_authority = |anchor: &&X509| {
        let der = anchor.to_der().unwrap_or_default();
        Extensions::of(&der).is_some_and(|it| it.is_authority())
    };
    let has_none = |anchor: &&X509| {
        let listed = lists.iter().any(|list| list.signers([*anchor]).0);
        !listed
    };
    let authorities = anchors.iter().filter(is_authority).filter(has_none);
    let names = authorities.filter_map(|it| dn::subject(AsRef::<X509Ref>::as_ref(it)));
    names.map(|name| name.to_string()).collect()
}

/// What stands in a list.
struct Parts<'l> {
    issuer: String,
    issuer_der: Vec<u8>,
    this_update: i64,
    next_update: Option<i64>,
    revoked: Option<Reader<'l>>,
    is_delta: bool,
}

impl<'l> Parts<'l> {
    /// `None` where the structure is another than RFC 5280 section 5.1 says.
    fn of(der: &'l [u8]) -> Option<Self> {
        let mut outer = Reader::new(der);
        let mut list = outer.enter(SEQUENCE)?.enter(SEQUENCE)?;
        // The version, which is there only if it is not 1, and how it is signed.
        list.take(INTEGER);
        list.take(SEQUENCE)?;
        let issuer = list.take(SEQUENCE)?;
        let this_update = time(&mut list)??;
        let next_update = match time(&mut list) {
            Some(time) => Some(time?),
            None => None,
        };
        let revoked = list.enter(SEQUENCE);
        let is_delta = match list.enter(EXPLICIT_0) {
            Some(mut extensions) => has_delta_mark(extensions.enter(SEQUENCE)?)?,
            None => false,
        };
        outer.is_at_end().then_some(Self {
            issuer: dn::read(Reader::new(issuer))?.to_string(),
            issuer_der: dn::encoded(SEQUENCE, issuer),
            this_update,
            next_update,
            revoked,
            is_delta,
        })
    }
}

/// A time, if one comes next: `Some(None)` where it cannot be read.
fn time(list: &mut Reader<'_>) -> Option<Option<i64>> {
    let utc = list.take(UTC_TIME).map(times::utc);
    utc.or_else(|| list.take(GENERALIZED_TIME).map(times::generalized))
}

/// RFC 5280 section 5.2.4.
fn has_delta_mark(mut extensions: Reader<'_>) -> Option<bool> {
    const DELTA_CRL_INDICATOR: &[u8] = &[0x55, 0x1d, 0x1b];
    while !extensions.is_at_end() {
        if extensions.enter(SEQUENCE)?.take(OID)? == DELTA_CRL_INDICATOR {
            return Some(true);
        }
    }
    Some(false)
}

// === Files and folders ===

/// The file, or those in the folder: not in folders below it, and none that is hidden, as
/// Kubernetes and editors leave there.
///
/// # Errors
/// Where there is neither, or the folder cannot be read or holds too much.
pub fn files_at(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // A link that leads nowhere is a file that cannot be read.
        let is_folder = || std::fs::metadata(entry.path()).is_ok_and(|it| it.is_dir());
        if is_hidden || is_folder() {
            continue;
        }
        if files.len() >= MOST_FILES {
            return Err(io::Error::other(format!(
                "more than {MOST_FILES} files are in it"
            )));
        }
        files.push(entry.path());
    }
    files.sort();
    Ok(files)
}

/// The same, of which there has to be one.
fn some_files_at(path: &Path, what: &'static str) -> Result<Vec<PathBuf>, TrustError> {
    let files = files_at(path).map_err(|source| TrustError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    })?;
    match files.is_empty() {
        true => Err(TrustError::EmptyFolder {
            what,
            path: path.to_owned(),
        }),
        false => Ok(files),
    }
}

fn read(path: &Path, what: &'static str) -> Result<Zeroizing<Vec<u8>>, TrustError> {
    files::read(path).map_err(|source| TrustError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    })
}

fn damaged(what: &'static str, path: &Path, source: ErrorStack) -> TrustError {
    TrustError::Damaged {
        what,
        path: path.to_owned(),
        source,
    }
}

// === Everybody's certificates ===

/// Organisations that sign for the whole world. Whoever trusts them lets in everybody who asks them
/// for a certificate.
const PUBLIC: [&str; 14] = [
    "Amazon",
    "Baltimore",
    "Comodo CA Limited",
    "COMODO CA Limited",
    "DigiCert Inc",
    "Entrust, Inc.",
    "GlobalSign",
    "GlobalSign nv-sa",
    "Google Trust Services LLC",
    "Internet Security Research Group",
    "QuoVadis Limited",
    "Sectigo Limited",
    "The USERTRUST Network",
    "VeriSign, Inc.",
];

/// How many of these are roots of public CAs, and the first of those.
pub(super) fn public_roots(certificates: &[X509]) -> (usize, Option<String>) {
    let organisation = |certificate: &X509| {
        let name = dn::subject(AsRef::<X509Ref>::as_ref(certificate))?;
        let found = name.texts("O").find(|name| PUBLIC.contains(name));
        found.map(str::to_owned)
    };
    let mut public = certificates.iter().filter_map(organisation);
    let first = public.next();
    (usize::from(first.is_some()) + public.count(), first)
}
