//! Certificate and key: read, checked against each other, ready to serve.
//!
//! A pair is loaded whole or not at all. Each thing that can be wrong has its own message, with
//! the file and what would be right.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use boring::asn1::Asn1Time;
use boring::error::ErrorStack;
use boring::pkey::{PKey, Private};
use boring::x509::X509;

use super::spec::TlsSpec;

/// A certificate chain and the key of its leaf.
pub struct CertifiedKey {
    pub(super) leaf: X509,
    pub(super) intermediates: Vec<X509>,
    pub(super) key: PKey<Private>,
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
    #[error("{}: cannot read the {what}: {source}{}", path.display(), hint(source))]
    Unreadable {
        /// Certificate or private key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No certificate in the certificate file.
    #[error("{}: found {found}; expected a PEM certificate (-----BEGIN CERTIFICATE-----)", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What is there instead.
        found: &'static str,
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
    #[error("{}: found {found}; expected an unencrypted PEM private key (-----BEGIN PRIVATE KEY-----)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is there instead.
        found: &'static str,
    },
    /// The two do not belong together.
    #[error("{}: this key does not belong to the certificate in {}; give the key that the certificate was made for", key.display(), cert.display())]
    Mismatch {
        /// The certificate file.
        cert: PathBuf,
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
    /// The TLS library failed in a way that the files do not explain.
    #[error("TLS: {0}")]
    Library(#[from] ErrorStack),
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => "; write its path into tls.certificates, or put it there",
        ErrorKind::PermissionDenied => "; make it readable for the user that this runs as",
        _ => "",
    }
}

impl CertifiedKey {
    /// Reads and checks the pair that `spec` names.
    ///
    /// # Errors
    /// [`CertError`], naming the file and the fix.
    pub fn load(spec: &TlsSpec) -> Result<Self, CertError> {
        let cert_pem = read("certificate", &spec.cert)?;
        let key_pem = read("private key", &spec.key)?;
        let mut chain = parse_chain(&spec.cert, &cert_pem)?.into_iter();
        let leaf = chain.next().ok_or_else(|| CertError::NoCertificate {
            path: spec.cert.clone(),
            found: what_is(&cert_pem),
        })?;
        let key = PKey::private_key_from_pem(&key_pem).map_err(|_| CertError::NoKey {
            path: spec.key.clone(),
            found: what_is(&key_pem),
        })?;
        if !leaf.public_key()?.public_eq(&key) {
            return Err(CertError::Mismatch {
                cert: spec.cert.clone(),
                key: spec.key.clone(),
            });
        }
        let now = Asn1Time::days_from_now(0)?;
        if leaf.not_after() < &*now {
            return Err(CertError::Expired {
                path: spec.cert.clone(),
                not_after: leaf.not_after().to_string(),
            });
        }
        Ok(Self {
            leaf,
            intermediates: chain.collect(),
            key,
        })
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, CertError> {
    std::fs::read(path).map_err(|source| CertError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    })
}

fn parse_chain(path: &Path, pem: &[u8]) -> Result<Vec<X509>, CertError> {
    if !contains(pem, "-----BEGIN CERTIFICATE-----") {
        return Err(CertError::NoCertificate {
            path: path.to_owned(),
            found: what_is(pem),
        });
    }
    X509::stack_from_pem(pem).map_err(|source| CertError::DamagedCertificate {
        path: path.to_owned(),
        source,
    })
}

/// What a file seems to be, for a message that helps whoever mixed two up.
fn what_is(bytes: &[u8]) -> &'static str {
    if bytes.is_empty() {
        "an empty file"
    } else if contains(bytes, "ENCRYPTED") {
        "an encrypted private key, which this version cannot read"
    } else if contains(bytes, "PRIVATE KEY-----") {
        "a private key"
    } else if contains(bytes, "-----BEGIN CERTIFICATE-----") {
        "a certificate"
    } else if contains(bytes, "-----BEGIN") {
        "another kind of PEM data"
    } else {
        "no PEM data"
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}
