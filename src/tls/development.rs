//! A self-signed certificate for `demo` and for trying things out. Nothing that serves people
//! should use it: nobody vouches for it.

use std::net::{Ipv4Addr, Ipv6Addr};

use boring::error::ErrorStack;

use super::certs::CertifiedKey;
use super::issue::name::AltName;
use super::issue::self_signed;

/// A development certificate should not outlive the development.
const DAYS: u32 = 30;

impl CertifiedKey {
    /// Makes a new ECDSA P-256 key and a certificate for `localhost`, `127.0.0.1` and `::1`.
    ///
    /// # Errors
    /// Those of the TLS library.
    pub fn self_signed_for_localhost() -> Result<Self, ErrorStack> {
        let names = [
            AltName::localhost(),
            AltName::from(Ipv4Addr::LOCALHOST),
            AltName::from(Ipv6Addr::LOCALHOST),
        ];
        Ok(self_signed(&names, DAYS)?.into_certified_key())
    }

    /// The certificate as PEM, to be trusted by a client.
    ///
    /// # Errors
    /// Those of the TLS library.
    pub fn certificate_pem(&self) -> Result<String, ErrorStack> {
        let pem = self.leaf.to_pem()?;
        Ok(String::from_utf8_lossy(&pem).into_owned())
    }
}
