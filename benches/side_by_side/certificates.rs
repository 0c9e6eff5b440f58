//! Certificates for localhost, made anew for every run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// The kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Ecdsa,
    Rsa,
}

/// A certificate and its key as PEM files.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Both in one file, as HAProxy wants them.
    pub both: PathBuf,
}

impl Certificate {
    /// Makes one in `folder`.
    pub fn make(folder: &Path, kind: Kind) -> Result<Self> {
        let (name, key_options): (_, &[&str]) = match kind {
            Kind::Ecdsa => ("ecdsa", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
            Kind::Rsa => ("rsa", &["rsa:2048"]),
        };
        let file = |extension: &str| folder.join(format!("{name}.{extension}"));
        let made = Self {
            cert: file("crt"),
            key: file("key"),
            both: file("pem"),
        };
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey"])
            .args(key_options)
            .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .args([&"-keyout".into(), &made.key, &"-out".into(), &made.cert])
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let mut both = std::fs::read(&made.cert)?;
        both.extend(std::fs::read(&made.key)?);
        std::fs::write(&made.both, both)?;
        Ok(made)
    }
}
