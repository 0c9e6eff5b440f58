//! The encoding under certificates and keystores: elements with a tag and a length (X.690, BER).
//! What they mean is for those who read them.
//!
//! Most programs write DER. Bouncy Castle and NSS also write elements without a length,
//! up to an end mark, and strings in pieces (X.690 8.1.3.6 and 8.7.3), so both are understood.
//! Every reader gives `None` for what it does not find: the caller knows what is missing.

use std::borrow::Cow;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const BMP_STRING: u8 = 0x1e;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0] EXPLICIT`.
pub(super) const EXPLICIT_0: u8 = 0xa0;
/// `[0] IMPLICIT` of a string.
pub(super) const IMPLICIT_0: u8 = 0x80;

const CONSTRUCTED: u8 = 0x20;

/// Elements without a length inside one another: real files have a few.
const DEEPEST: u8 = 32;

/// What is left of the elements inside another one.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// Tag and contents of the next element.
    pub(super) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, contents, rest) = element(self.0, DEEPEST)?;
        self.0 = rest;
        Some((tag, contents))
    }

    /// The contents of the next element, which must have this tag; it stays where it has another.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, contents, rest) = element(self.0, DEEPEST)?;
        (found == tag).then(|| {
            self.0 = rest;
            contents
        })
    }

    /// The elements inside the next one, which must have this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Self)
    }

    /// A string of bytes, whole or in pieces. `tag` is that of the whole one.
    pub(super) fn octets(&mut self, tag: u8) -> Option<Cow<'a, [u8]>> {
        if let Some(whole) = self.take(tag) {
            return Some(Cow::Borrowed(whole));
        }
        let mut pieces = self.enter(tag | CONSTRUCTED)?;
        let mut joined = Vec::new();
        while !pieces.is_at_end() {
            joined.extend_from_slice(pieces.take(OCTET_STRING)?);
        }
        Some(Cow::Owned(joined))
    }

    /// A whole number that is not negative and fits.
    pub(super) fn number(&mut self) -> Option<u64> {
        let digits = self.take(INTEGER)?;
        let (&first, _) = digits.split_first()?;
        let significant = digits.strip_prefix(&[0]).unwrap_or(digits);
        (first < 0x80 && significant.len() <= 8).then(|| big_endian(significant))
    }
}

/// Tag and length (`None`: up to the end mark) of the first element, and what follows those two.
pub(super) fn header(bytes: &[u8]) -> Option<(u8, Option<u64>, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    // PKCS#12 has no tags of more than one byte.
    if tag & 0x1f == 0x1f {
        return None;
    }
    match length {
        0..0x80 => Some((tag, Some(length.into()), rest)),
        0x80 if tag & CONSTRUCTED != 0 => Some((tag, None, rest)),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            Some((tag, Some(big_endian(digits)), rest))
        }
        _ => None,
    }
}

/// Tag and contents of the first element, and what follows it.
fn element(bytes: &[u8], depth: u8) -> Option<(u8, &[u8], &[u8])> {
    let (tag, length, rest) = header(bytes)?;
    let (contents, rest) = match length {
        Some(length) => rest.split_at_checked(usize::try_from(length).ok()?)?,
        None => up_to_end_mark(rest, depth.checked_sub(1)?)?,
    };
    Some((tag, contents, rest))
}

fn up_to_end_mark(bytes: &[u8], depth: u8) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes;
    loop {
        if let Some(after) = rest.strip_prefix(&[0, 0]) {
            return Some((&bytes[..bytes.len() - rest.len()], after));
        }
        (_, _, rest) = element(rest, depth)?;
    }
}

fn big_endian(digits: &[u8]) -> u64 {
    digits
        .iter()
        .fold(0, |number, &digit| number << 8 | u64::from(digit))
}

/// An object identifier as people write it, `1.2.840.113549.1.5.13`. `None` where a number in it is
/// too large, has not come to its end, or begins with zeros (X.690 8.19.2): cut down to what fits it
/// would be another identifier.
pub(super) fn dotted(oid: &[u8]) -> Option<String> {
    let mut arcs: Vec<u64> = Vec::new();
    for arc in oid.split_inclusive(|byte| byte & 0x80 == 0) {
        let (last, before) = arc.split_last()?;
        if last & 0x80 != 0 || before.first() == Some(&0x80) {
            return None;
        }
        let number = arc.iter().try_fold(0_u64, |number, byte| {
            let number = number.checked_mul(1 << 7)?;
            Some(number | u64::from(byte & 0x7f))
        })?;
        if arcs.is_empty() {
            let root = (number / 40).min(2);
            arcs.extend([root, number - root * 40]);
        } else {
            arcs.push(number);
        }
    }
    let arcs: Vec<String> = arcs.iter().map(u64::to_string).collect();
    (!arcs.is_empty()).then(|| arcs.join("."))
}

/// The same for people, who are told where it cannot be read.
pub(super) fn shown(oid: &[u8]) -> String {
    dotted(oid).unwrap_or_else(|| "(unreadable)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_has_the_length_that_it_says() {
        let mut reader = Reader::new(&[0x04, 2, b'a', b'b', 0x02, 0x81, 1, 7]);
        assert_eq!(reader.take(OCTET_STRING), Some(&b"ab"[..]));
        assert_eq!(reader.number(), Some(7));
        assert!(reader.is_at_end());
        for short in [
            &[0x04][..],
            &[0x04, 2, b'a'],
            &[0x04, 0x84, 255, 255, 255, 255, 0],
        ] {
            assert_eq!(Reader::new(short).take(OCTET_STRING), None);
        }
    }

    #[test]
    fn another_tag_is_left_where_it_is() {
        let mut reader = Reader::new(&[0x02, 1, 7]);
        assert_eq!(reader.take(OCTET_STRING), None);
        assert_eq!(reader.number(), Some(7));
    }

    #[test]
    fn numbers_are_not_negative_and_fit() {
        #[track_caller]
        fn check(contents: &[u8], expected: Option<u64>) {
            let length = u8::try_from(contents.len()).unwrap();
            let bytes = [&[INTEGER, length], contents].concat();
            assert_eq!(Reader::new(&bytes).number(), expected);
        }
        check(&[0x80], None);
        check(&[], None);
        check(&[0, 0x80], Some(0x80));
        check(&[0, 255, 255, 255, 255, 255, 255, 255, 255], Some(u64::MAX));
        check(&[1, 0, 0, 0, 0, 0, 0, 0, 0], None);
    }

    #[test]
    fn a_string_may_come_in_pieces_up_to_an_end_mark() {
        let pieces = [
            0x24, 0x80, 0x04, 1, b'a', 0x04, 2, b'b', b'c', 0, 0, 0x02, 1, 7,
        ];
        let mut reader = Reader::new(&pieces);
        assert_eq!(reader.octets(OCTET_STRING).as_deref(), Some(&b"abc"[..]));
        assert_eq!(reader.number(), Some(7));
        for length in 0..11 {
            let cut = &pieces[..length];
            assert_eq!(Reader::new(cut).octets(OCTET_STRING), None, "{length}");
        }
    }

    #[test]
    fn nesting_ends_somewhere() {
        let deep = [0x30, 0x80].repeat(100_000);
        assert!(Reader::new(&deep).take(SEQUENCE).is_none());
    }

    #[test]
    fn identifiers_are_named_as_people_write_them() {
        for (oid, expected) in [
            (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d][..], "1.2.840.113549"),
            (&[0x60, 0x86, 0x48], "2.16.840"),
            (&[0x88, 0x37], "2.999"),
            (&[0x00], "0.0"),
            (&[0x2a, 0x00], "1.2.0"),
            (
                &[0x55, 0x81, 255, 255, 255, 255, 255, 255, 255, 255, 0x7f],
                "2.5.18446744073709551615",
            ),
        ] {
            assert_eq!(dotted(oid).as_deref(), Some(expected));
            assert_eq!(shown(oid), expected);
        }
    }

    #[test]
    fn an_identifier_that_is_broken_or_too_large_is_not_taken_for_another_one() {
        for oid in [
            &[][..],
            // 2^64 and 2^64 + 3, which would be 0 and 3.
            &[
                0x55, 0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00,
            ],
            &[
                0x55, 0x04, 0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x03,
            ],
            &[0x55, 0x04, 0x80, 0x03],
            &[0x80, 0x55, 0x04, 0x03],
            &[0x55, 0x04, 0x83],
            &[0x80],
        ] {
            assert_eq!(dotted(oid), None, "{oid:?}");
            assert_eq!(shown(oid), "(unreadable)");
        }
    }
}
