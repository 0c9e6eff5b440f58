//! What a certificate says of its own use: CA or not, key usage, purposes. Read from its DER,
//! because the TLS library has no accessors for them; it has parsed the certificate before.

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
}

const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];

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

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const EXTENSIONS: u8 = 0xa3;

impl Extensions {
    /// Those of a certificate in DER; `None` where it cannot be read.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let mut all = Self::default();
        let certificate = inside(SEQUENCE, certificate)?;
        let signed = inside(SEQUENCE, certificate)?;
        let Some((_, extensions)) = Elements(signed).find(|(tag, _)| *tag == EXTENSIONS) else {
            return Some(all);
        };
        for (_, extension) in Elements(inside(SEQUENCE, extensions)?) {
            let mut parts = Elements(extension);
            let (_, name) = parts.next()?;
            let (_, value) = parts.find(|(tag, _)| *tag == OCTET_STRING)?;
            match name {
                BASIC_CONSTRAINTS => all.read_basic_constraints(value)?,
                KEY_USAGE => all.key_usage = Some(usages(inside(BIT_STRING, value)?)),
                EXTENDED_KEY_USAGE => {
                    let purposes = Elements(inside(SEQUENCE, value)?);
                    all.purposes = purposes.map(|(_, name)| purpose(name)).collect();
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

    fn read_basic_constraints(&mut self, value: &[u8]) -> Option<()> {
        for (tag, value) in Elements(inside(SEQUENCE, value)?) {
            match tag {
                BOOLEAN => self.is_ca = value != [0],
                INTEGER => self.path_length = Some(number(value)),
                _ => {}
            }
        }
        Some(())
    }
}

/// Whether this DER begins as PKCS#12 (RFC 7292) does: a sequence whose first element is the
/// version 3.
pub(super) fn is_pkcs12(der: &[u8]) -> bool {
    let first = inside(SEQUENCE, der).and_then(|inner| Elements(inner).next());
    first == Some((INTEGER, &[3]))
}

/// Whether this DER is an encrypted private key (PKCS#8): a scheme and its parameters, then bytes.
pub(super) fn is_encrypted_key(der: &[u8]) -> bool {
    /// 1.2.840.113549.1.5 and .12: PKCS#5 and PKCS#12, which name all the schemes in use.
    const SCHEMES: [&[u8]; 2] = [
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05],
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c],
    ];
    let Some(inner) = inside(SEQUENCE, der) else {
        return false;
    };
    let mut parts = Elements(inner);
    let (Some((SEQUENCE, scheme)), Some((OCTET_STRING, _))) = (parts.next(), parts.next()) else {
        return false;
    };
    let name = inside(OBJECT_IDENTIFIER, scheme).unwrap_or_default();
    SCHEMES.iter().any(|scheme| name.starts_with(scheme))
}

/// The contents of the first element, if that has this tag.
fn inside(tag: u8, der: &[u8]) -> Option<&[u8]> {
    let (found, contents) = Elements(der).next()?;
    (found == tag).then_some(contents)
}

/// Elements one after the other: tag and contents of each.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            // Four bytes of length are more than any file that is read here.
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let fits = (1..=4).contains(&bytes.len());
            let add = |length: usize, byte: &u8| (length << 8) | usize::from(*byte);
            (fits.then(|| bytes.iter().fold(0, add))?, rest)
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
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
    let dotted = dotted(name);
    let known = PURPOSES.iter().find(|(number, _)| *number == dotted);
    known.map_or(dotted, |(_, name)| (*name).to_owned())
}

/// An object identifier as people write it.
fn dotted(name: &[u8]) -> String {
    let mut arcs = Vec::new();
    let mut arc = 0_u64;
    for byte in name {
        arc = (arc << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            arcs.push(arc);
            arc = 0;
        }
    }
    // The first number holds two arcs.
    if let Some(first) = arcs.first().copied() {
        let root = (first / 40).min(2);
        arcs.splice(..1, [root, first - root * 40]);
    }
    let texts: Vec<_> = arcs.iter().map(u64::to_string).collect();
    texts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_identifiers_are_written_with_dots() {
        for (bytes, text) in [
            (&[0x55, 0x1d, 0x25, 0x00][..], "2.5.29.37.0"),
            (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d], "1.2.840.113549"),
            (&[0x88, 0x37], "2.999"),
            (&[], ""),
        ] {
            assert_eq!(dotted(bytes), text);
        }
        assert_eq!(purpose(&[0x2b, 6, 1, 5, 5, 7, 3, 1]), "TLS server");
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
        assert!(is_pkcs12(&[0x30, 3, 2, 1, 3]));
        assert!(!is_pkcs12(&[0x30, 3, 2, 1, 0]));
    }
}
