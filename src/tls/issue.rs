//! Making keys and certificates: a small CA, and what it signs.
//!
//! Not here: files and passphrases on the way out (`cli::certs` writes them), and reading the pair
//! that a listener serves (`certs`).

pub mod authority;
pub mod name;

use std::fmt;

use boring::asn1::Asn1Time;
use boring::bn::{BigNum, MsbOption};
use boring::ec::{EcGroup, EcKey};
use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkcs12::Pkcs12;
use boring::pkey::{Id, PKey, PKeyRef, Private};
use boring::rsa::Rsa;
use boring::stack::Stack;
use boring::symm::Cipher;
use boring::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use boring::x509::{X509, X509Builder};
use zeroize::Zeroizing;

use super::certs::{CertifiedKey, now};
use super::inspect::is_self_signed;
use authority::Authority;
use name::{AltName, Kind, Subject};

/// What protects a private key at rest.
pub type Passphrase = Zeroizing<Vec<u8>>;

/// Clocks differ: what is made here and now must be good on a device that is a little behind.
const CLOCK_SKEW: i64 = 5 * 60;

const DAY: i64 = 24 * 60 * 60;

/// How often a password is hashed to open a PKCS#12 file: 50 times what the TLS library would, and
/// OpenSSL and Java take it.
const PKCS12_ITERATIONS: u32 = 100_000;

/// A key to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256: small and fast, known to everything of this decade.
    #[default]
    Ecdsa,
    /// RSA, for whatever is older.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Signing others, among them CAs down to this many levels below.
    Authority {
        /// 0: signs servers and clients only.
        path_length: u32,
    },
    /// What a server shows.
    Server,
    /// What a server shows, also where it is a client of others: devices that speak to each other.
    ServerAndClient,
    /// What a client shows.
    Client,
}

/// The TLS library did not do it.
pub type LibraryError = ErrorStack;

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// Who for.
    pub subject: Subject,
    /// By which other names.
    pub names: Vec<AltName>,
    /// What for.
    pub purpose: Purpose,
    /// With which key.
    pub key: KeyKind,
    /// For how long; never longer than the CA.
    pub days: u32,
}

/// A new certificate with its key.
pub struct Issued {
    leaf: X509,
    /// From the CA that signed it upwards, as far as known.
    above: Vec<X509>,
    key: PKey<Private>,
    not_after: i64,
    is_shortened: bool,
}

/// Makes a certificate that vouches for itself, for a server by these names.
///
/// # Errors
/// Those of the TLS library.
pub fn self_signed(names: &[AltName], days: u32) -> Result<Issued, ErrorStack> {
    let order = Order {
        subject: Subject::of_server(names),
        names: names.to_vec(),
        purpose: Purpose::Server,
        key: KeyKind::default(),
        days,
    };
    order.issue(None)
}

// === impl Order ===

impl Order {
    /// Makes the key and the certificate, signed by a CA or by itself.
    ///
    /// # Errors
    /// Those of the TLS library.
    pub fn issue(&self, by: Option<&Authority>) -> Result<Issued, ErrorStack> {
        let key = self.key.generate()?;
        let subject = self.subject.to_name()?;
        let now = now();
        let wanted = now + i64::from(self.days) * DAY;
        // A certificate is of no use outside its CA's time, and some programs refuse the chain.
        let not_after = by.map_or(wanted, |by| wanted.min(by.not_after));
        let not_before = by.map_or(now - CLOCK_SKEW, |by| by.not_before.max(now - CLOCK_SKEW));

        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        let mut serial = BigNum::new()?;
        serial.rand(128, MsbOption::MAYBE_ZERO, false)?;
        builder.set_serial_number(serial.to_asn1_integer()?.as_ref())?;
        builder.set_subject_name(&subject)?;
        let issuer = by.map_or(&*subject, |by| by.certificate.subject_name());
        builder.set_issuer_name(issuer)?;
        builder.set_not_before(Asn1Time::from_unix(not_before)?.as_ref())?;
        builder.set_not_after(Asn1Time::from_unix(not_after)?.as_ref())?;
        builder.set_pubkey(&key)?;
        self.add_extensions(&mut builder, &key, by)?;
        builder.sign(by.map_or(&key, |by| &by.key), MessageDigest::sha256())?;
        Ok(Issued {
            leaf: builder.build(),
            above: by.map_or_else(Vec::new, Authority::chain),
            key,
            not_after,
            is_shortened: not_after < wanted,
        })
    }

    fn add_extensions(
        &self,
        builder: &mut X509Builder,
        key: &PKeyRef<Private>,
        by: Option<&Authority>,
    ) -> Result<(), ErrorStack> {
        let mut constraints = BasicConstraints::new();
        let mut usage = KeyUsage::new();
        match self.purpose {
            Purpose::Authority { path_length } => {
                constraints.ca().pathlen(path_length);
                usage.key_cert_sign().crl_sign();
            }
            Purpose::Server | Purpose::ServerAndClient | Purpose::Client => {
                usage.digital_signature();
                if key.id() == Id::RSA {
                    // TLS 1.2 without forward secrecy, which old devices still speak.
                    usage.key_encipherment();
                }
            }
        }
        builder.append_extension(constraints.critical().build()?.as_ref())?;
        // For many programs only who may sign certificates can have signed their own.
        if by.is_some() || matches!(self.purpose, Purpose::Authority { .. }) {
            builder.append_extension(usage.critical().build()?.as_ref())?;
        }
        match self.purpose {
            Purpose::Authority { .. } => {}
            Purpose::ServerAndClient => {
                let both = ExtendedKeyUsage::new()
                    .server_auth()
                    .client_auth()
                    .build()?;
                builder.append_extension(both.as_ref())?;
            }
            Purpose::Server => {
                let purpose = ExtendedKeyUsage::new().server_auth().build()?;
                builder.append_extension(purpose.as_ref())?;
            }
            Purpose::Client => {
                let purpose = ExtendedKeyUsage::new().client_auth().build()?;
                builder.append_extension(purpose.as_ref())?;
            }
        }
        let id = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
        builder.append_extension(id.as_ref())?;
        // A CA without an identifier of its own has none to point to.
        if let Some(by) = by.filter(|by| by.certificate.subject_key_id().is_some()) {
            let context = builder.x509v3_context(Some(&by.certificate), None);
            let id = AuthorityKeyIdentifier::new().keyid(true).build(&context)?;
            builder.append_extension(id.as_ref())?;
        }
        if !self.names.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for AltName(name) in &self.names {
                match name {
                    Kind::Dns(name) => names.dns(name),
                    Kind::Ip(address) => names.ip(&address.to_string()),
                    Kind::Uri(uri) => names.uri(uri),
                    Kind::Email(address) => names.email(address),
                };
            }
            let names = names.build(&builder.x509v3_context(None, None))?;
            builder.append_extension(names.as_ref())?;
        }
        Ok(())
    }
}

impl KeyKind {
    fn generate(self) -> Result<PKey<Private>, ErrorStack> {
        let bits = match self {
            Self::Ecdsa => {
                let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
                return PKey::from_ec_key(EcKey::generate(&group)?);
            }
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
        };
        PKey::from_rsa(Rsa::generate(bits)?)
    }
}

// === impl Issued ===

impl Issued {
    /// The certificate as PEM, and after it what a peer needs to get from it to the root, which it
    /// must have already.
    ///
    /// # Errors
    /// Those of the TLS library.
    pub fn chain_pem(&self) -> Result<String, ErrorStack> {
        let mut pem = self.leaf.to_pem()?;
        for certificate in self.intermediates() {
            pem.extend(certificate.to_pem()?);
        }
        Ok(String::from_utf8_lossy(&pem).into_owned())
    }

    /// The private key as PEM (PKCS#8), encrypted (PBES2, AES-256) where there is a passphrase.
    ///
    /// # Errors
    /// Those of the TLS library.
    pub fn key_pem(
        &self,
        passphrase: Option<&Passphrase>,
    ) -> Result<Zeroizing<Vec<u8>>, ErrorStack> {
        let pem = match passphrase {
            None => self.key.private_key_to_pem_pkcs8()?,
            Some(passphrase) => self
                .key
                .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), passphrase)?,
        };
        Ok(Zeroizing::new(pem))
    }

    /// Key, certificate and all CAs as one PKCS#12 file (AES-256, as OpenSSL 3 and Java read it).
    ///
    /// # Errors
    /// Those of the TLS library.
    pub fn pkcs12(&self, alias: &str, password: &str) -> Result<Vec<u8>, ErrorStack> {
        let mut above = Stack::new()?;
        for certificate in &self.above {
            above.push(certificate.clone())?;
        }
        let mut builder = Pkcs12::builder();
        builder
            .key_algorithm(Nid::AES_256_CBC)
            .cert_algorithm(Nid::AES_256_CBC)
            .key_iter(PKCS12_ITERATIONS)
            .mac_iter(PKCS12_ITERATIONS)
            .ca(above);
        builder
            .build(password, alias, &self.key, &self.leaf)?
            .to_der()
    }

    /// How many certificates [`Self::chain_pem`] has beside the first.
    #[must_use]
    pub fn intermediate_count(&self) -> usize {
        self.intermediates().count()
    }

    /// The SHA-256 fingerprint, in hexadecimal.
    ///
    /// # Errors
    /// Those of the TLS library.
    pub fn fingerprint(&self) -> Result<String, ErrorStack> {
        let digest = self.leaf.digest(MessageDigest::sha256())?;
        Ok(base16ct::lower::encode_string(&digest))
    }

    /// When it ends, in seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Whether it ends sooner than it was ordered to, since its CA does.
    #[must_use]
    pub fn is_shortened(&self) -> bool {
        self.is_shortened
    }

    /// To be served.
    #[must_use]
    pub fn into_certified_key(self) -> CertifiedKey {
        CertifiedKey {
            intermediates: self.intermediates().cloned().collect(),
            ..CertifiedKey::made(self.leaf, self.key)
        }
    }

    fn intermediates(&self) -> impl Iterator<Item = &X509> {
        self.above
            .iter()
            .filter(|certificate| !is_self_signed(certificate))
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("leaf", &self.leaf)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_whole_and_no_two_are_alike() {
        let names = [AltName::server("localhost").unwrap()];
        let [one, other] = [
            self_signed(&names, 1).unwrap(),
            self_signed(&names, 1).unwrap(),
        ];
        assert_ne!(one.fingerprint().unwrap(), other.fingerprint().unwrap());
        assert!(!one.is_shortened());
        assert_eq!(one.intermediate_count(), 0);
        let pem = one.chain_pem().unwrap();
        let certificate = X509::from_pem(pem.as_bytes()).unwrap();
        let key = one.key_pem(None).unwrap();
        let key = PKey::private_key_from_pem(&key).unwrap();
        assert!(certificate.public_key().unwrap().public_eq(&key));
        assert!(certificate.verify(&key).unwrap());
        assert!(certificate.check_host("localhost").unwrap());
    }
}
