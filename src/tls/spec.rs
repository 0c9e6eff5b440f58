//! What TLS is configured to be.

use std::path::PathBuf;

/// The TLS settings of the https listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSpec {
    /// PEM file with the certificate and its intermediates, leaf first.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// The oldest version accepted.
    pub min_version: MinVersion,
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
