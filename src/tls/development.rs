//! A self-signed certificate for `demo` and for trying things out. Nothing that serves people
//! should use it: nobody vouches for it.

use boring::asn1::Asn1Time;
use boring::bn::{BigNum, MsbOption};
use boring::ec::{EcGroup, EcKey};
use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::PKey;
use boring::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use boring::x509::{X509, X509NameBuilder};

use super::certs::CertifiedKey;

/// How long it is good for: browsers refuse server certificates of more than 825 days, and a
/// development certificate should not outlive the development.
const DAYS: u32 = 30;

impl CertifiedKey {
    /// Makes a new ECDSA P-256 key and a certificate for `localhost`, `127.0.0.1` and `::1`.
    ///
    /// # Errors
    /// Those of the TLS library.
    pub fn self_signed_for_localhost() -> Result<Self, ErrorStack> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_text("CN", "Portcullis development")?;
        let name = name.build();
        let mut serial = BigNum::new()?;
        serial.rand(127, MsbOption::MAYBE_ZERO, false)?;

        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        builder.set_serial_number(serial.to_asn1_integer()?.as_ref())?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(&name)?;
        builder.set_not_before(Asn1Time::days_from_now(0)?.as_ref())?;
        builder.set_not_after(Asn1Time::days_from_now(DAYS)?.as_ref())?;
        builder.set_pubkey(&key)?;
        builder.append_extension(BasicConstraints::new().critical().build()?.as_ref())?;
        let usage = KeyUsage::new().critical().digital_signature().build()?;
        builder.append_extension(usage.as_ref())?;
        let purpose = ExtendedKeyUsage::new().server_auth().build()?;
        builder.append_extension(purpose.as_ref())?;
        let names = SubjectAlternativeName::new()
            .dns("localhost")
            .ip("127.0.0.1")
            .ip("::1")
            .build(&builder.x509v3_context(None, None))?;
        builder.append_extension(names.as_ref())?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self {
            leaf: builder.build(),
            intermediates: Vec::new(),
            key,
        })
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
