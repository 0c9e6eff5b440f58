//! What a certificate says of its own use: CA or not, key usage, purposes. Read from its DER,
//! because the TLS library has no accessors for them; it has parsed the certificate before.

use super::ber::{BIT_STRING, BOOLEAN, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE, shown};

/// The extensions that decide what a certificate may be used for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    /// Basic constraints say that it is a CA.
    pub(super) is_ca: bool,
    /// How many CAs may follow below; `None` where that is not limited.
    pub(super) path_length: Option<u32>,
    /// The names of the key usages; `None` where they are not limited.
    pub(super) key_usage: Option<Vec<&'static str>>,
    /// What else it may be used for, as names or dotted numbers; empty where that is not limited.
    pub(super) purposes: Vec<String>,
    /// Whether it says where the certificate of its issuer is to be had.
    pub(super) tells_issuer: bool,
}

const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const AUTHORITY_INFORMATION_ACCESS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 1];
const CA_ISSUERS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 2];

/// By bit, as RFC 5280 4.2.1.3 counts them.
const USAGES: [&str; 9] = [
    "digital signature",
    "non-repudiation",
    "key encipherment",
    "data encipherment",
    "key agreement",
    CERTIFICATE_SIGNING,
    "CRL signing",
    "encipher only",
    "decipher only",
];

const CERTIFICATE_SIGNING: &str = "certificate signing";

const PURPOSES: &[(&str, &str)] = &[
    ("1.3.6.1.5.5.7.3.1", "TLS server"),
    ("1.3.6.1.5.5.7.3.2", "TLS client"),
    ("1.3.6.1.5.5.7.3.3", "code signing"),
    ("1.3.6.1.5.5.7.3.4", "email"),
    ("1.3.6.1.5.5.7.3.8", "time stamping"),
    ("1.3.6.1.5.5.7.3.9", "OCSP signing"),
    ("2.5.29.37.0", "any purpose"),
];

/// `[3] EXPLICIT`.
const EXTENSIONS: u8 = 0xa3;

impl Extensions {
    /// Those of a certificate in DER; `None` where it cannot be read.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let mut all = Self::default();
        let mut signed = Reader::new(certificate).enter(SEQUENCE)?.enter(SEQUENCE)?;
        let mut extensions = loop {
            if signed.is_at_end() {
                return Some(all);
            }
            match signed.any()? {
                (EXTENSIONS, extensions) => break Reader::new(extensions).enter(SEQUENCE)?,
                _ => continue,
            }
        };
        while !extensions.is_at_end() {
            let mut parts = extensions.enter(SEQUENCE)?;
            let name = parts.take(OID)?;
            // Whether it is critical; not, where nothing is said.
            parts.take(BOOLEAN);
            let mut value = Reader::new(parts.take(OCTET_STRING)?);
            match name {
                BASIC_CONSTRAINTS => all.read_basic_constraints(value.enter(SEQUENCE)?),
                KEY_USAGE => all.key_usage = Some(usages(value.take(BIT_STRING)?)),
                EXTENDED_KEY_USAGE => {
                    let mut names = value.enter(SEQUENCE)?;
                    while let Some(name) = names.take(OID) {
                        all.purposes.push(purpose(name));
                    }
                }
                AUTHORITY_INFORMATION_ACCESS => {
                    let mut places = value.enter(SEQUENCE)?;
                    while let Some(mut place) = places.enter(SEQUENCE) {
                        all.tells_issuer |= place.take(OID) == Some(CA_ISSUERS);
                    }
                }
                _ => {}
            }
        }
        Some(all)
    }

    /// Whether it may sign certificates.
    pub(super) fn is_authority(&self) -> bool {
        let usage = self.key_usage.as_ref();
        self.is_ca && usage.is_none_or(|usage| usage.contains(&CERTIFICATE_SIGNING))
    }

    /// Whether its key usage is limited, and not to this among others.
    pub(super) fn may_not(&self, usage: &str) -> bool {
        let named = self.key_usage.as_ref();
        named.is_some_and(|usages| !usages.contains(&usage))
    }

    fn read_basic_constraints(&mut self, mut value: Reader<'_>) {
        self.is_ca = value.take(BOOLEAN).is_some_and(|is_ca| is_ca != [0]);
        self.path_length = value.take(INTEGER).map(number);
    }
}

/// A number; one too large for its type is as good as the largest.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0_u32, |number, byte| {
        number.saturating_mul(256).saturating_add(u32::from(*byte))
    })
}

/// The names of the bits that are set, after the byte that counts the unused ones.
fn usages(bits: &[u8]) -> Vec<&'static str> {
    let bytes = bits.get(1..).unwrap_or_default();
    let is_set = |bit: usize| {
        bytes
            .get(bit / 8)
            .is_some_and(|byte| byte & (0x80 >> (bit % 8)) != 0)
    };
    let named = USAGES.into_iter().enumerate();
    named
        .filter_map(|(bit, name)| is_set(bit).then_some(name))
        .collect()
}

fn purpose(name: &[u8]) -> String {
    let number = shown(name);
    let known = PURPOSES.iter().find(|(known, _)| *known == number);
    known.map_or(number, |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_that_is_known_has_a_name() {
        assert_eq!(purpose(&[0x2b, 6, 1, 5, 5, 7, 3, 1]), "TLS server");
        assert_eq!(purpose(&[0x55, 0x1d, 0x25, 0x00]), "any purpose");
        assert_eq!(purpose(&[0x88, 0x37]), "2.999");
        assert_eq!(purpose(&[0x88]), "(unreadable)");
    }

    #[test]
    fn usages_are_the_bits_from_the_left() {
        assert_eq!(usages(&[1, 0x06]), ["certificate signing", "CRL signing"]);
        assert_eq!(
            usages(&[5, 0xa0]),
            ["digital signature", "key encipherment"]
        );
        assert_eq!(usages(&[7, 0, 0x80]), ["decipher only"]);
        assert_eq!(usages(&[]), [""; 0]);
    }

    #[test]
    fn what_is_cut_off_or_no_der_at_all_is_nothing() {
        let whole = [0x30, 0x06, 0x30, 0x04, 0x02, 0x02, 0x01, 0x02];
        assert!(Extensions::of(&whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(Extensions::of(&whole[..length]), None, "{length}");
        }
        for bad in [&b"hello"[..], &[0x30, 0x85, 1, 1, 1, 1, 1], &[0x30, 0x80]] {
            assert_eq!(Extensions::of(bad), None);
        }
    }
}
