//! OCSP responses to staple (RFC 6960, RFC 6066 section 8): read from a file that something else
//! renews, and looked at just far enough not to send one that clients would take as a failure.
//!
//! Their signature is for the client to check.

use boring::bn::BigNum;
use boring::hash::{MessageDigest, hash};
use boring::x509::X509Ref;

use super::ber::{
    ENUMERATED, EXPLICIT_0, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE,
};
use super::times;

/// `[0] IMPLICIT NULL`: the status of a certificate that is good.
const GOOD: u8 = 0x80;
/// `[1] IMPLICIT`: of one that is revoked.
const REVOKED: u8 = 0xa1;

/// A response that can be stapled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Staple {
    pub(super) response: Vec<u8>,
    /// Of the certificate that it is about, without zeros in front.
    serial: Vec<u8>,
    /// A digest of the name of whoever issued it.
    issuer: Vec<u8>,
    /// Seconds since 1970 after which it means nothing; `None` where nothing is said.
    next_update: Option<i64>,
}

/// Why a response cannot be stapled.
#[derive(Debug, thiserror::Error)]
pub enum OcspError {
    /// The file holds something else.
    #[error("expected an OCSP response in DER, as openssl ocsp -respout writes it")]
    NoResponse,
    /// The responder did not answer the question.
    #[error("the OCSP responder refused to answer (status {0}); ask it again")]
    NotSuccessful(u8),
    /// The certificate is revoked, or unknown to the responder.
    #[error("the OCSP response says that the certificate is {0}; clients would refuse it")]
    NotGood(&'static str),
}

impl Staple {
    /// Reads a response.
    ///
    /// # Errors
    /// [`OcspError`].
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, OcspError> {
        let mut response = Reader::new(bytes);
        let mut response = response.enter(SEQUENCE).ok_or(OcspError::NoResponse)?;
        match response.take(ENUMERATED) {
            Some([0]) => Self::from_successful(bytes, response).ok_or(OcspError::NoResponse)?,
            Some([status]) => Err(OcspError::NotSuccessful(*status)),
            _ => Err(OcspError::NoResponse),
        }
    }

    /// `None` where the structure is another than RFC 6960 section 4.2.1 says.
    fn from_successful(bytes: &[u8], mut response: Reader<'_>) -> Option<Result<Self, OcspError>> {
        let mut inner = response.enter(EXPLICIT_0)?.enter(SEQUENCE)?;
        inner.take(OID)?;
        let mut basic = Reader::new(inner.take(OCTET_STRING)?);
        let mut data = basic.enter(SEQUENCE)?.enter(SEQUENCE)?;
        // The version, which is there only if it is not 1, and the responder's name or key.
        data.take(EXPLICIT_0);
        data.any()?;
        data.take(GENERALIZED_TIME)?;
        let mut single = data.enter(SEQUENCE)?.enter(SEQUENCE)?;
        let mut id = single.enter(SEQUENCE)?;
        id.take(SEQUENCE)?;
        let issuer = id.take(OCTET_STRING)?.to_vec();
        id.take(OCTET_STRING)?;
        let serial = without_zeros(id.take(INTEGER)?).to_vec();
        match single.any()? {
            (GOOD, _) => {}
            (REVOKED, _) => return Some(Err(OcspError::NotGood("revoked"))),
            _ => return Some(Err(OcspError::NotGood("unknown to its CA"))),
        }
        single.take(GENERALIZED_TIME)?;
        let next_update = match single.enter(EXPLICIT_0) {
            Some(mut time) => Some(times::generalized(time.take(GENERALIZED_TIME)?)?),
            None => None,
        };
        Some(Ok(Self {
            response: bytes.to_vec(),
            serial,
            issuer,
            next_update,
        }))
    }

    /// Whether it is about this certificate.
    pub(super) fn is_for(&self, certificate: &X509Ref) -> bool {
        let serial = certificate.serial_number().to_bn();
        let issuer = certificate.issuer_name().to_der();
        // A small CA counts from one, as others do.
        serial.is_ok_and(|serial: BigNum| serial.to_vec() == self.serial)
            && issuer.is_ok_and(|issuer| self.is_issued_by(&issuer))
    }

    fn is_issued_by(&self, name: &[u8]) -> bool {
        // SHA-1 in practice; RFC 6960 section 4.1.1 leaves the choice.
        let digests = [MessageDigest::sha1(), MessageDigest::sha256()];
        let mut same = digests
            .into_iter()
            .filter(|digest| digest.size() == self.issuer.len());
        // One that is not known here is for the client to compare.
        let known = same.next().map(|digest| hash(digest, name));
        known.is_none_or(|known| known.is_ok_and(|known| *known == *self.issuer))
    }

    /// Its last moment, in seconds since 1970, where it says so.
    pub(super) const fn until(&self) -> Option<i64> {
        self.next_update
    }

    /// Whether clients still take it at this time, in seconds since 1970. One that is too old is
    /// worse than none: browsers break the connection off.
    pub(super) fn is_current(&self, now: i64) -> bool {
        self.next_update.is_none_or(|until| now < until)
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_response_is_refused_and_never_panics() {
        for bytes in [
            &b""[..],
            b"-----BEGIN",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x03\x0a\x01\x00",
        ] {
            assert!(matches!(Staple::parse(bytes), Err(OcspError::NoResponse)));
        }
        let refused = Staple::parse(b"\x30\x03\x0a\x01\x06");
        assert!(matches!(refused, Err(OcspError::NotSuccessful(6))));
    }

    #[test]
    fn the_same_serial_number_of_another_ca_is_another_certificate() {
        for digest in [MessageDigest::sha1(), MessageDigest::sha256()] {
            let staple = Staple {
                response: Vec::new(),
                serial: vec![1],
                issuer: hash(digest, b"one CA").unwrap().to_vec(),
                next_update: None,
            };
            assert!(staple.is_issued_by(b"one CA"));
            assert!(!staple.is_issued_by(b"another CA"));
        }
    }

    #[test]
    fn a_response_is_current_until_its_next_update() {
        let until = 1_893_553_445;
        let staple = Staple {
            response: Vec::new(),
            serial: Vec::new(),
            issuer: Vec::new(),
            next_update: Some(until),
        };
        assert!(staple.is_current(until - 1));
        assert!(!staple.is_current(until));
    }
}
