//! Distinguished names: what a certificate calls its subject and issuer, attribute by attribute.
//!
//! They are kept apart and never compared as text: in text, a value can look like two (`CN=a\,O=b`
//! ends like `CN=a,O=b`), and that has let people in elsewhere. Text is made once, for people and
//! backends. Reading them from DER is for `tls`.

use std::fmt;

/// A distinguished name, as a certificate has it: the most general part first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DistinguishedName(pub Vec<RelativeName>);

/// One part of a name; nearly always one attribute.
pub type RelativeName = Vec<Attribute>;

/// One attribute of a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// `CN`, `O`, `OU` and so on (RFC 4514 section 3); a dotted number where there is no such name.
    pub kind: String,
    /// What it says.
    pub value: AttributeValue,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AttributeValue {
    /// Text.
    Text(String),
    /// Something that is no text, in DER.
    Der(Vec<u8>),
}

/// The short names of attributes and their numbers: those of RFC 4514 section 3, which are written,
/// and others that people know.
const KINDS: [(&str, &str); 17] = [
    ("CN", "2.5.4.3"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("C", "2.5.4.6"),
    ("STREET", "2.5.4.9"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
    ("E", "1.2.840.113549.1.9.1"),
    ("serialNumber", "2.5.4.5"),
    ("SN", "2.5.4.4"),
    ("GN", "2.5.4.42"),
    ("givenName", "2.5.4.42"),
    ("title", "2.5.4.12"),
    ("dnQualifier", "2.5.4.46"),
];

/// The number of a kind of attribute, by its short name in any case or by the number itself; none
/// for a name that nobody knows.
#[must_use]
pub fn kind_number(kind: &str) -> Option<&str> {
    let named = KINDS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(kind));
    let number = |kind: &str| {
        let part = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
        kind.contains('.') && kind.split('.').all(part)
    };
    match named {
        Some((_, number)) => Some(number),
        None => number(kind).then_some(kind),
    }
}

/// The short names that [`kind_number`] knows.
pub fn kind_names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(name, _)| *name)
}

impl DistinguishedName {
    /// How many attributes of this kind there are, with and without a text.
    #[must_use]
    pub fn count(&self, kind: &str) -> usize {
        let attributes = self.0.iter().flatten();
        attributes.filter(|it| it.kind == kind).count()
    }

    /// What the last attribute of this kind says, the most special one.
    #[must_use]
    pub fn last(&self, kind: &str) -> Option<&AttributeValue> {
        let mut attributes = self.0.iter().flatten();
        let last = attributes.rfind(|it| it.kind == kind);
        last.map(|it| &it.value)
    }

    /// The texts of all attributes of this kind, in the order of the certificate.
    pub fn texts<'n>(&'n self, kind: &'n str) -> impl Iterator<Item = &'n str> {
        let attributes = self.0.iter().flatten();
        attributes.filter_map(move |it| match &it.value {
            AttributeValue::Text(text) if it.kind == kind => Some(text.as_str()),
            AttributeValue::Text(_) | AttributeValue::Der(_) => None,
        })
    }
}

/// As RFC 4514 writes it, the most special part first. Visible ASCII only: everything else is
/// escaped byte by byte (section 2.4), so that it can stand in a header as it is.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.iter().rev().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            for (at, attribute) in part.iter().enumerate() {
                let plus = if at > 0 { "+" } else { "" };
                write!(f, "{plus}{}=", attribute.kind)?;
                attribute.value.write(f)?;
            }
        }
        Ok(())
    }
}

impl AttributeValue {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Text(text) => text,
            Self::Der(der) => {
                f.write_str("#")?;
                return der.iter().try_for_each(|byte| write!(f, "{byte:02X}"));
            }
        };
        let last = text.len().saturating_sub(1);
        for (at, byte) in text.bytes().enumerate() {
            let at_end = at == 0 || at == last;
            match byte {
                b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                    write!(f, "\\{}", char::from(byte))?;
                }
                b'#' if at == 0 => f.write_str("\\#")?,
                b' ' if at_end => f.write_str("\\ ")?,
                b' '..=b'~' => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "\\{byte:02X}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(parts: &[&[(&str, &str)]]) -> DistinguishedName {
        let attribute = |(kind, value): &(&str, &str)| Attribute {
            kind: (*kind).to_owned(),
            value: AttributeValue::Text((*value).to_owned()),
        };
        let parts = parts.iter();
        DistinguishedName(
            parts
                .map(|part| part.iter().map(attribute).collect())
                .collect(),
        )
    }

    #[test]
    fn a_kind_of_attribute_is_known_by_name_and_by_number() {
        for kind in ["CN", "cn", "2.5.4.3"] {
            assert_eq!(kind_number(kind), Some("2.5.4.3"), "{kind}");
        }
        assert_eq!(kind_number("1.3.6.1"), Some("1.3.6.1"));
        for kind in ["", "XY", "1", "1..2", "1.x", ".1"] {
            assert_eq!(kind_number(kind), None, "{kind}");
        }
    }

    #[test]
    fn a_name_is_written_as_rfc_4514_has_it() {
        let plain = name(&[&[("C", "DE")], &[("O", "Plant")], &[("CN", "cam-1")]]);
        assert_eq!(plain.to_string(), "CN=cam-1,O=Plant,C=DE");
        let several = name(&[&[("OU", "Sales"), ("CN", "J.  Smith")], &[("UID", "x")]]);
        assert_eq!(several.to_string(), "UID=x,OU=Sales+CN=J.  Smith");
        for (value, written) in [
            ("a,O=b", "CN=a\\,O=b"),
            ("x/CN=victim", "CN=x/CN=victim"),
            ("#1", "CN=\\#1"),
            (" a ", "CN=\\ a\\ "),
            (" ", "CN=\\ "),
            ("Lučić", "CN=Lu\\C4\\8Di\\C4\\87"),
            ("a\r\nb", "CN=a\\0D\\0Ab"),
            ("\"\\+;<>", "CN=\\\"\\\\\\+\\;\\<\\>"),
            ("", "CN="),
        ] {
            assert_eq!(name(&[&[("CN", value)]]).to_string(), written, "{value}");
        }
        let der = DistinguishedName(vec![vec![Attribute {
            kind: "1.3.6.1".into(),
            value: AttributeValue::Der(vec![4, 1, 0xab]),
        }]]);
        assert_eq!(der.to_string(), "1.3.6.1=#0401AB");
    }
}
