//! A client's certificate after it was checked, and why there is none.
//!
//! How it is checked is for `tls`; whose it is, for the gate.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::NoIdentity;
use super::dn::DistinguishedName;

/// What a certificate says of a client that has proved to hold its key.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// How far what it says can be believed.
    pub proof: CertificateProof,
    /// Its subject.
    pub subject: DistinguishedName,
    /// Whoever signed it.
    pub issuer: DistinguishedName,
    /// Its serial number, lower-case hexadecimal without leading zeros.
    pub serial: String,
    /// Its names of each kind (RFC 5280 section 4.2.1.6).
    pub san_dns: Vec<String>,
    /// See [`Self::san_dns`].
    pub san_uri: Vec<String>,
    /// See [`Self::san_dns`].
    pub san_email: Vec<String>,
    /// See [`Self::san_dns`].
    pub san_ip: Vec<IpAddr>,
    /// SHA-256 of its DER.
    pub sha256: [u8; 32],
    /// SHA-256 of its public key (`SubjectPublicKeyInfo`), as in HPKP and curl's `--pinnedpubkey`.
    pub spki_sha256: [u8; 32],
    /// SHA3-256 of the base64 of its DER, as ThingsBoard knows it.
    pub thingsboard: [u8; 32],
    /// Its first moment, in seconds since 1970.
    pub not_before: i64,
    /// Its last moment, in seconds since 1970.
    pub not_after: i64,
    /// The certificate.
    pub der: Vec<u8>,
    /// The intermediates between it and what is trusted, in DER, its issuer first. Empty where
    /// nobody vouches for it.
    pub chain: Vec<Vec<u8>>,
    /// The URI in the certificate that we showed the client (Envoy's `By`).
    pub by: Option<Arc<str>>,
}

/// Not all of it: it is long, and there are log lines for what matters.
impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity")
            .field("subject", &format_args!("{}", self.subject))
            .field("proof", &self.proof)
            .finish_non_exhaustive()
    }
}

/// How far what a certificate says can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateProof {
    /// A trusted CA vouches for all of it.
    Chain,
    /// Whoever shows it holds its key, and nothing else is known: they may have written into it
    /// whatever they like. Only its fingerprints mean anything.
    Possession,
}

/// What was wrong with a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InvalidCertificate {
    /// Its time, or that of its CA, is over.
    Expired,
    /// Its time, or that of its CA, has not begun.
    NotYetValid,
    /// It, or its CA, was taken back.
    Revoked,
    /// No trusted CA has signed it.
    UnknownAuthority,
    /// It was signed with its own key, and is not trusted itself.
    SelfSigned,
    /// It, or its CA, may not be used for this.
    WrongPurpose,
    /// More intermediates than are allowed.
    ChainTooLong,
    /// The list of what was taken back has run out, so nobody knows.
    CrlExpired,
    /// There is no list of what its CA has taken back.
    CrlMissing,
    /// The list of what was taken back cannot be used.
    CrlInvalid,
    /// Its key or signature, or that of its CA, can be broken.
    Weak,
    /// Something else is wrong with it.
    Damaged,
    /// It was checked, and no rule of `clients` is about it.
    NoRule,
    /// It has several common names (or other names), and which one counts nobody said.
    SeveralNames,
}

impl InvalidCertificate {
    /// A stable word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "client_cert_expired",
            Self::NotYetValid => "client_cert_not_yet_valid",
            Self::Revoked => "client_cert_revoked",
            Self::UnknownAuthority => "client_cert_unknown_ca",
            Self::SelfSigned => "client_cert_self_signed",
            Self::WrongPurpose => "client_cert_wrong_purpose",
            Self::ChainTooLong => "client_cert_chain_too_long",
            Self::CrlExpired => "client_cert_crl_expired",
            Self::CrlMissing => "client_cert_crl_missing",
            Self::CrlInvalid => "client_cert_crl_invalid",
            Self::Weak => "client_cert_weak",
            Self::Damaged => "client_cert_invalid",
            Self::NoRule => "client_cert_unknown",
            Self::SeveralNames => "client_cert_several_names",
        }
    }
}

/// How a connection stands at the time of one request.
#[derive(Clone, Debug)]
pub enum Standing {
    /// Its requests may be looked at: the certificate, or why there is none.
    Certificate(Result<Arc<ClientIdentity>, NoIdentity>),
    /// It needs a certificate that is good at this moment, and has none: nothing is served.
    Refused(NoIdentity),
    /// The host that the request is for wants other things of a connection than this one did.
    Misdirected,
}

/// A certificate that a client showed, good or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// Its subject as RFC 4514 writes it; empty where it cannot be read.
    pub subject: String,
    /// SHA-256 of its DER.
    pub sha256: [u8; 32],
}

/// A connection, asked at each request: certificates expire, and what is trusted changes.
pub trait Peer: fmt::Debug + Send + Sync {
    /// How it stands at this time (in seconds since 1970) for a request with this `Host`.
    fn standing(&self, authority: Option<&str>, now: i64) -> Standing;

    /// The certificate that the client showed, good or not: what was refused is on record by name.
    fn shown(&self) -> Option<&ShownCertificate>;
}
