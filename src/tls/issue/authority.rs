//! A CA that can sign: read from its files, and checked that it may.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use boring::error::ErrorStack;
use boring::pkey::{Id, PKey, Private};
use boring::x509::{X509, X509Ref};
use zeroize::Zeroizing;

use super::{Passphrase, now};
use crate::tls::certs::unix_seconds;
use crate::tls::extensions::Extensions;
use crate::tls::inspect::{certificates_in, common_name, walk_up};

/// A CA with its key: it can sign.
pub struct Authority {
    pub(super) certificate: X509,
    above: Vec<X509>,
    pub(super) key: PKey<Private>,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    path_length: Option<u32>,
}

/// Why a CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The certificate cannot be read.
    #[error("{}: cannot read the CA's certificate", path.display())]
    UnreadableCertificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key cannot be read.
    #[error("{}: cannot read the CA's private key; say where it is with --ca-key", path.display())]
    UnreadableKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{}: no certificate found; expected that of a CA, in PEM or DER", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key file holds something else.
    #[error("{}: no private key found; expected that of the CA, in PEM (-----BEGIN PRIVATE KEY-----)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// No passphrase to try.
    #[error("{}: the CA's private key is encrypted, and its passphrase cannot be read", path.display())]
    Passphrase {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not the right passphrase.
    #[error("{}: this is not the passphrase of the CA's private key", path.display())]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// The two do not belong together.
    #[error("{}: this key does not belong to the CA in {}; give the one that was made with it", key.display(), certificate.display())]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// A server's or client's certificate.
    #[error("{}: {name} is not a CA and may not sign certificates; `portcullis certs ca` makes one that may", path.display())]
    NotAnAuthority {
        /// The file.
        path: PathBuf,
        /// Its subject.
        name: String,
    },
    /// Too late.
    #[error("{}: this CA expired on {date}; make a new one with `portcullis certs ca`", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// Its last day.
        date: String,
    },
    /// Too early.
    #[error("{}: this CA is good only from {date} on; is the clock of this machine right?", path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// Its first day.
        date: String,
    },
    /// It signs leaves only, or CAs that do.
    #[error("{}: this CA may sign {}; make one that may with `portcullis certs ca --path-length {wanted}`", path.display(), allowed(*own))]
    PathTooShort {
        /// The file.
        path: PathBuf,
        /// Its own path length.
        own: u32,
        /// What it would take.
        wanted: u32,
    },
    /// Ed25519 and the like.
    #[error("{}: cannot sign with this kind of key; expected ECDSA or RSA", path.display())]
    KeyKind {
        /// The file.
        path: PathBuf,
    },
    /// The TLS library failed in a way that the files do not explain.
    #[error("TLS library")]
    Library(#[from] ErrorStack),
}

impl Authority {
    /// Reads a CA and its key, which may be encrypted: then `passphrase` is called for what opens
    /// it.
    ///
    /// # Errors
    /// [`AuthorityError`], naming the file and the fix.
    pub fn load(
        certificate: &Path,
        key: &Path,
        passphrase: impl FnOnce() -> io::Result<Passphrase>,
    ) -> Result<Self, AuthorityError> {
        let pool = read_certificates(certificate)?;
        let private = read_key(key, passphrase)?;
        let position = pool.iter().position(|candidate| {
            candidate
                .public_key()
                .is_ok_and(|public| public.public_eq(&private))
        });
        let Some(position) = position else {
            return Err(AuthorityError::Mismatch {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            });
        };
        if ![Id::RSA, Id::EC].contains(&private.id()) {
            return Err(AuthorityError::KeyKind {
                path: key.to_owned(),
            });
        }
        let found = &pool[position];
        let path_length = may_sign(certificate, found)?;
        let above = walk_up(&pool, position).into_iter().skip(1);
        Ok(Self {
            not_before: unix_seconds(found.not_before())?,
            not_after: unix_seconds(found.not_after())?,
            path_length,
            above: above.map(|at| pool[at].clone()).collect(),
            certificate: found.clone(),
            key: private,
        })
    }

    /// Whether it may sign a CA with this path length; `path` is named where it may not.
    ///
    /// # Errors
    /// [`AuthorityError::PathTooShort`].
    pub fn check_path(&self, path: &Path, path_length: u32) -> Result<(), AuthorityError> {
        match self.path_length {
            Some(own) if own <= path_length => Err(AuthorityError::PathTooShort {
                path: path.to_owned(),
                own,
                wanted: path_length.saturating_add(1),
            }),
            _ => Ok(()),
        }
    }

    /// What people call it: its common name, or all of its subject.
    #[must_use]
    pub fn name(&self) -> String {
        common_name(&self.certificate)
    }

    /// Itself, and what is above it as far as known.
    pub(super) fn chain(&self) -> Vec<X509> {
        let own = std::iter::once(&self.certificate);
        own.chain(&self.above).cloned().collect()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

fn allowed(path_length: u32) -> String {
    match path_length {
        0 => "servers and clients, but no further CAs".to_owned(),
        most => format!("only CAs with a path length below {most}"),
    }
}

fn read_certificates(path: &Path) -> Result<Vec<X509>, AuthorityError> {
    let bytes = std::fs::read(path).map_err(|source| AuthorityError::UnreadableCertificate {
        path: path.to_owned(),
        source,
    })?;
    match certificates_in(&bytes) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(AuthorityError::NoCertificate {
            path: path.to_owned(),
        }),
    }
}

fn read_key(
    path: &Path,
    passphrase: impl FnOnce() -> io::Result<Passphrase>,
) -> Result<PKey<Private>, AuthorityError> {
    let pem = std::fs::read(path).map(Zeroizing::new).map_err(|source| {
        AuthorityError::UnreadableKey {
            path: path.to_owned(),
            source,
        }
    })?;
    if !String::from_utf8_lossy(&pem).contains("ENCRYPTED") {
        return PKey::private_key_from_pem(&pem).map_err(|_| AuthorityError::NoKey {
            path: path.to_owned(),
        });
    }
    let passphrase = passphrase().map_err(|source| AuthorityError::Passphrase {
        path: path.to_owned(),
        source,
    })?;
    PKey::private_key_from_pem_passphrase(&pem, &passphrase).map_err(|_| {
        AuthorityError::WrongPassphrase {
            path: path.to_owned(),
        }
    })
}

/// Its path length, if it may sign at all.
fn may_sign(path: &Path, certificate: &X509Ref) -> Result<Option<u32>, AuthorityError> {
    let path = || path.to_owned();
    let extensions = Extensions::of(&certificate.to_der()?).unwrap_or_default();
    if !extensions.is_authority() {
        return Err(AuthorityError::NotAnAuthority {
            path: path(),
            name: common_name(certificate),
        });
    }
    let now = now();
    if unix_seconds(certificate.not_after())? <= now {
        return Err(AuthorityError::Expired {
            path: path(),
            date: certificate.not_after().to_string(),
        });
    }
    if unix_seconds(certificate.not_before())? > now {
        return Err(AuthorityError::NotYetValid {
            path: path(),
            date: certificate.not_before().to_string(),
        });
    }
    Ok(extensions.path_length)
}
