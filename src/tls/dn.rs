//! Distinguished names from DER (X.501, RFC 5280 section 4.1.2.4), attribute by attribute.
//!
//! The TLS library gives them as one text, in which a value can look like two; see `identity::dn`.

use boring::x509::X509Ref;

use super::ber::{OID, Reader, SEQUENCE, SET, dotted};
use crate::identity::dn::{Attribute, AttributeValue, DistinguishedName};

/// The names of attributes that people know, by object identifier: those of RFC 4514 section 3,
/// and what else stands in certificates of devices.
const KINDS: &[(&[u8], &str)] = &[
    (&[0x55, 0x04, 0x03], "CN"),
    (&[0x55, 0x04, 0x04], "SN"),
    (&[0x55, 0x04, 0x05], "serialNumber"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x09], "STREET"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x55, 0x04, 0x0c], "title"),
    (&[0x55, 0x04, 0x2a], "GN"),
    (&[0x55, 0x04, 0x2e], "dnQualifier"),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01],
        "UID",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19],
        "DC",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01],
        "emailAddress",
    ),
];

const UTF8_STRING: u8 = 0x0c;
const NUMERIC_STRING: u8 = 0x12;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const VISIBLE_STRING: u8 = 0x1a;
const UNIVERSAL_STRING: u8 = 0x1c;
const BMP_STRING: u8 = super::ber::BMP_STRING;

/// The subject of a certificate; `None` where it cannot be read.
pub(super) fn subject(certificate: &X509Ref) -> Option<DistinguishedName> {
    of(&certificate.subject_name().to_der().ok()?)
}

/// Whoever signed a certificate; `None` where that cannot be read.
pub(super) fn issuer(certificate: &X509Ref) -> Option<DistinguishedName> {
    of(&certificate.issuer_name().to_der().ok()?)
}

fn of(der: &[u8]) -> Option<DistinguishedName> {
    read(Reader::new(der).enter(SEQUENCE)?)
}

/// A name, from inside its sequence.
pub(super) fn read(mut parts: Reader<'_>) -> Option<DistinguishedName> {
    let mut name = DistinguishedName::default();
    while !parts.is_at_end() {
        let mut attributes = parts.enter(SET)?;
        let mut part = Vec::new();
        while !attributes.is_at_end() {
            let mut attribute = attributes.enter(SEQUENCE)?;
            let oid = attribute.take(OID)?;
            let (tag, contents) = attribute.any()?;
            part.push(Attribute {
                kind: kind(oid)?,
                value: value(tag, contents),
            });
        }
        name.0.push(part);
    }
    Some(name)
}

fn kind(oid: &[u8]) -> Option<String> {
    let known = KINDS.iter().find(|(known, _)| *known == oid);
    known.map_or_else(|| dotted(oid), |(_, name)| Some((*name).to_owned()))
}

/// Text where it is one, with every character that it says and no other reading.
fn value(tag: u8, contents: &[u8]) -> AttributeValue {
    let text = match tag {
        UTF8_STRING => String::from_utf8(contents.to_vec()).ok(),
        NUMERIC_STRING | PRINTABLE_STRING | IA5_STRING | VISIBLE_STRING => contents
            .is_ascii()
            .then(|| String::from_utf8_lossy(contents).into_owned()),
        // In practice Latin-1; where it is not ASCII nobody can tell.
        TELETEX_STRING => contents
            .is_ascii()
            .then(|| String::from_utf8_lossy(contents).into_owned()),
        BMP_STRING => wide(contents, |unit: [u8; 2]| u16::from_be_bytes(unit).into()),
        UNIVERSAL_STRING => wide(contents, u32::from_be_bytes),
        _ => None,
    };
    match text {
        Some(text) => AttributeValue::Text(text),
        None => AttributeValue::Der(encoded(tag, contents)),
    }
}

fn wide<const WIDTH: usize>(
    contents: &[u8],
    character: impl Fn([u8; WIDTH]) -> u32,
) -> Option<String> {
    let units = contents.chunks(WIDTH).map(<[u8; WIDTH]>::try_from);
    units
        .map(|unit| char::from_u32(character(unit.ok()?)))
        .collect()
}

/// The element again, for `#…` (RFC 4514 section 2.4).
pub(super) fn encoded(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let mut der = vec![tag];
    match u8::try_from(length) {
        Ok(short @ 0..0x80) => der.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let digits = &bytes[zeros..];
            der.push(0x80 | u8::try_from(digits.len()).unwrap_or(0x7f));
            der.extend_from_slice(digits);
        }
    }
    der.extend_from_slice(contents);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(der: &[u8], expected: Option<&str>) {
        let name = of(der).map(|name| name.to_string());
        assert_eq!(name.as_deref(), expected);
    }

    #[test]
    fn each_attribute_is_read_by_its_own_type() {
        // C=DE (PrintableString), CN=ü (UTF8String).
        let parts = [
            &[0x31, 11, 0x30, 9, 0x06, 3, 0x55, 4, 6, 0x13, 2, b'D', b'E'][..],
            &[0x31, 11, 0x30, 9, 0x06, 3, 0x55, 4, 3, 0x0c, 2, 0xc3, 0xbc],
        ]
        .concat();
        let der = [&[0x30, 26], &parts[..]].concat();
        check(&der, Some("CN=\\C3\\BC,C=DE"));
        for length in 0..der.len() {
            check(&der[..length], None);
        }
    }

    #[test]
    fn a_kind_that_cannot_be_read_makes_no_name_and_never_another_kind() {
        let of_kind = |oid: &[u8]| {
            let length = |inner: &[u8]| u8::try_from(inner.len()).unwrap();
            let within = |tag: u8, inner: &[u8]| [&[tag, length(inner)], inner].concat();
            let attribute = [within(OID, oid), within(UTF8_STRING, b"good")].concat();
            within(SEQUENCE, &within(SET, &within(SEQUENCE, &attribute)))
        };
        check(&of_kind(&[0x55, 0x04, 0x03]), Some("CN=good"));
        check(&of_kind(&[0x55, 0x04, 0x61]), Some("2.5.4.97=good"));
        // 2.5.4.18446744073709551619, which is 2^64 + 3.
        let large = [
            0x55, 0x04, 0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x03,
        ];
        check(&of_kind(&large), None);
        check(&of_kind(&[0x55, 0x04, 0x80, 0x03]), None);
        check(&of_kind(&[0x55, 0x04, 0x83]), None);
        check(&of_kind(&[]), None);
    }

    #[test]
    fn what_is_no_text_of_its_type_stays_bytes() {
        assert_eq!(value(UTF8_STRING, b"ok"), AttributeValue::Text("ok".into()));
        assert_eq!(
            value(UTF8_STRING, b"\xff"),
            AttributeValue::Der(vec![0x0c, 1, 0xff])
        );
        assert_eq!(
            value(TELETEX_STRING, b"\xfc"),
            AttributeValue::Der(vec![0x14, 1, 0xfc])
        );
        assert_eq!(
            value(BMP_STRING, b"\0a\x01\x07"),
            AttributeValue::Text("ać".into())
        );
        assert_eq!(
            value(BMP_STRING, b"\0"),
            AttributeValue::Der(vec![0x1e, 1, 0])
        );
        assert_eq!(
            value(UNIVERSAL_STRING, b"\0\x01\xf6\x00"),
            AttributeValue::Text("😀".into())
        );
        let long = vec![0; 300];
        let AttributeValue::Der(der) = value(0x03, &long) else {
            panic!("bits are no text");
        };
        assert_eq!(der[..4], [0x03, 0x82, 1, 44]);
    }
}
