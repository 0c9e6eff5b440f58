//! Patterns over distinguished names: `CN=cam-*,O=Plant,C=DE`.
//!
//! The text is taken apart first and the values are patterns of their own, so that nothing that a
//! certificate has in one attribute can look like another attribute.

use std::sync::Arc;

use super::pattern::{Budget, Captured, PatternChar, TextPattern};
use crate::identity::dn::{Attribute, AttributeValue, DistinguishedName, kind_number};

/// What a distinguished name has to look like: as many parts, each with the same attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(Vec<Vec<AttributePattern>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct AttributePattern {
    /// The number of its kind.
    kind: String,
    value: TextPattern,
}

impl NamePattern {
    /// Reads a name as RFC 4514 writes it, the most special part first, with patterns as values.
    ///
    /// # Errors
    /// A sentence that says what is right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = vec![Vec::new()];
        let mut rest = text;
        loop {
            let (attribute, end, after) = read_attribute(rest)?;
            let last = parts.len() - 1;
            parts[last].push(attribute);
            rest = after;
            match end {
                None => break,
                Some('+') => {}
                Some(_) => parts.push(Vec::new()),
            }
        }
        for part in &mut parts {
            part.sort_by(|a, b| a.kind.cmp(&b.kind));
        }
        parts.reverse();
        Ok(Self(parts))
    }

    /// The names of its captures.
    pub fn captures(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().flatten().flat_map(|it| it.value.captures())
    }

    /// What the captures take where `name` fits.
    pub(super) fn fit(&self, name: &DistinguishedName, budget: &Budget) -> Option<Vec<Captured>> {
        if self.0.len() != name.0.len() {
            return None;
        }
        let mut captured = Vec::new();
        for (pattern, part) in self.0.iter().zip(&name.0) {
            captured.extend(fit_part(pattern, part, budget)?);
        }
        Some(captured)
    }
}

/// The order within a part means nothing (it is a SET), so both are in the order of their kinds.
fn fit_part(
    pattern: &[AttributePattern],
    part: &[Attribute],
    budget: &Budget,
) -> Option<Vec<Captured>> {
    if pattern.len() != part.len() {
        return None;
    }
    let mut attributes: Vec<(&str, &Attribute)> = part
        .iter()
        .map(|it| (kind_number(&it.kind).unwrap_or(&it.kind), it))
        .collect();
    attributes.sort_by_key(|(kind, _)| *kind);
    let mut captured = Vec::new();
    for (pattern, (kind, attribute)) in pattern.iter().zip(attributes) {
        match &attribute.value {
            AttributeValue::Text(text) if pattern.kind == kind => {
                captured.extend(pattern.value.fit(text, budget)?);
            }
            AttributeValue::Text(_) | AttributeValue::Der(_) => return None,
        }
    }
    Some(captured)
}

/// One attribute, what ends it, and what follows.
fn read_attribute(text: &str) -> Result<(AttributePattern, Option<char>, &str), String> {
    let expected = "expected a distinguished name like CN=cam-*,O=Plant,C=DE";
    let (kind, rest) = text.split_once('=').ok_or(expected)?;
    let kind = kind.trim();
    if kind.is_empty() || kind.contains([',', '+', ';']) {
        return Err(expected.into());
    }
    let Some(kind) = kind_number(kind) else {
        return Err(format!(
            "{kind:?} is no attribute that has a short name; write its number, like 2.5.4.97"
        ));
    };
    let (chars, end, rest) = read_value(rest)?;
    let value = TextPattern::from_chars(&chars, None)?;
    let kind = kind.to_owned();
    Ok((AttributePattern { kind, value }, end, rest))
}

/// The value up to an unescaped `,` or `+`, what ended it, and what follows.
fn read_value(text: &str) -> Result<(Vec<PatternChar>, Option<char>, &str), String> {
    use PatternChar::{Escaped, Plain};

    if text.trim_start().starts_with('#') {
        return Err("a value in DER (#…) cannot be compared; write it as text".into());
    }
    // A space at either end means nothing in text, unless it is escaped.
    let mut rest = text.trim_start_matches(' ');
    let mut chars = Vec::new();
    let mut end = None;
    while let Some(char) = rest.chars().next() {
        let after = &rest[char.len_utf8()..];
        match char {
            ',' | '+' => {
                end = Some(char);
                rest = after;
                break;
            }
            ';' | '"' | '<' | '>' | '\0' => {
                return Err(format!("write {char:?} with a backslash before it"));
            }
            '\\' => {
                let (escaped, after) = read_escaped(rest)?;
                chars.extend(escaped.chars().map(Escaped));
                rest = after;
            }
            _ => {
                chars.push(Plain(char));
                rest = after;
            }
        }
    }
    while chars.last() == Some(&Plain(' ')) {
        chars.pop();
    }
    Ok((chars, end, rest))
}

/// What begins with a backslash: a character, or a run of bytes in hexadecimal, which make
/// characters together.
fn read_escaped(text: &str) -> Result<(String, &str), String> {
    const ALONE: &str = " \"#+,;<=>\\*{}";
    let hex = |text: &str| {
        let digits = text.strip_prefix('\\')?.get(..2)?;
        let both = digits.bytes().all(|it| it.is_ascii_hexdigit());
        u8::from_str_radix(digits, 16).ok().filter(|_| both)
    };
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(byte) = hex(rest) {
        bytes.push(byte);
        rest = &rest[3..];
    }
    if !bytes.is_empty() {
        let text = String::from_utf8(bytes);
        return Ok((text.map_err(|_| "the bytes after \\ are not UTF-8")?, rest));
    }
    let escaped = rest.chars().nth(1).filter(|it| ALONE.contains(*it));
    let escaped = escaped.ok_or("after \\ comes a special character or two hex digits")?;
    Ok((escaped.into(), &rest[1 + escaped.len_utf8()..]))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A name from parts in the order of a certificate, each of `(kind, value)`.
    pub(in crate::gate::clients) fn name(parts: &[&[(&str, &str)]]) -> DistinguishedName {
        let attribute = |(kind, value): &(&str, &str)| Attribute {
            kind: (*kind).into(),
            value: AttributeValue::Text((*value).into()),
        };
        let part = |part: &&[_]| part.iter().map(attribute).collect();
        DistinguishedName(parts.iter().map(part).collect())
    }

    #[track_caller]
    fn check(pattern: &str, parts: &[&[(&str, &str)]], expected: bool) {
        let found = NamePattern::parse(pattern).unwrap();
        let name = name(parts);
        assert_eq!(
            found.fit(&name, &Budget::new()).is_some(),
            expected,
            "{pattern} on {name}"
        );
    }

    #[test]
    fn a_name_fits_attribute_by_attribute() {
        let cam: &[&[(&str, &str)]] = &[&[("C", "DE")], &[("O", "Plant")], &[("CN", "cam-1")]];
        check("CN=cam-1,O=Plant,C=DE", cam, true);
        check("cn = cam-1 , o=Plant,2.5.4.6=DE", cam, true);
        check("CN=*,O=Plant,C=**", cam, true);
        check("CN=cam-1,O=plant,C=DE", cam, false);
        check("O=Plant,CN=cam-1,C=DE", cam, false);
        check("C=DE,O=Plant,CN=cam-1", cam, false);
        check("CN=cam-1,O=Plant", cam, false);
        check("CN=**", cam, false);
        check("CN=cam-1,O=Plant,C=DE,DC=x", cam, false);
    }

    #[test]
    fn a_value_never_looks_like_another_attribute() {
        let inside: &[&[(&str, &str)]] = &[&[("CN", "a,O=y")]];
        check("CN=*,O=y", inside, false);
        check("CN=**,O=y", inside, false);
        check("CN=a\\,O=y", inside, true);
        check("CN=a\\2CO\\3Dy", inside, true);
        check("CN=*", inside, true);
        let apart: &[&[(&str, &str)]] = &[&[("O", "y")], &[("CN", "a")]];
        check("CN=*,O=y", apart, true);
        check("CN=a\\,O=y", apart, false);
        let plus: &[&[(&str, &str)]] = &[&[("CN", "a+O=y")]];
        check("CN=*+O=y", plus, false);
        check("CN=a\\+O=y", plus, true);
        let slash: &[&[(&str, &str)]] = &[&[("O", "x/CN=admin")], &[("CN", "cam")]];
        check("CN=admin,O=x", slash, false);
        check("CN=cam,O=x/CN=admin", slash, true);
        check("CN=cam,O=x", slash, false);
        let text_of_whole: &[&[(&str, &str)]] = &[&[("CN", "cam,O=Plant,C=DE")]];
        check("CN=cam,O=Plant,C=DE", text_of_whole, false);
    }

    #[test]
    fn several_attributes_in_one_part_have_no_order_and_are_not_several_parts() {
        let both: &[&[(&str, &str)]] = &[&[("OU", "b"), ("CN", "a")]];
        check("CN=a+OU=b", both, true);
        check("OU=b+CN=a", both, true);
        check("OU=a+CN=b", both, false);
        check("CN=a,OU=b", both, false);
        check("CN=a", both, false);
        check("CN=a+OU=b", &[&[("OU", "b")], &[("CN", "a")]], false);
    }

    #[test]
    fn values_that_are_no_text_fit_nothing() {
        let der = DistinguishedName(vec![vec![Attribute {
            kind: "CN".into(),
            value: AttributeValue::Der(vec![4, 1, b'a']),
        }]]);
        let pattern = NamePattern::parse("CN=**").unwrap();
        assert!(pattern.fit(&der, &Budget::new()).is_none());
        check("CN=**", &[&[("CN", "\u{4}\u{1}a")]], true);
    }

    #[test]
    fn what_is_escaped_is_text() {
        check("CN=\\*", &[&[("CN", "*")]], true);
        check("CN=\\*", &[&[("CN", "a")]], false);
        check("CN=\\2a", &[&[("CN", "a")]], false);
        check("CN=\\ a\\ ", &[&[("CN", " a ")]], true);
        check("CN= a ", &[&[("CN", "a")]], true);
        check("CN=Lu\\C4\\8Di\\C4\\87", &[&[("CN", "Lučić")]], true);
        check("CN=Lučić", &[&[("CN", "Lučić")]], true);
        check("1.3.6.1=x", &[&[("1.3.6.1", "x")]], true);
        check("emailAddress=x", &[&[("1.2.840.113549.1.9.1", "x")]], true);
    }

    #[test]
    fn texts_that_are_no_names_are_refused() {
        for bad in [
            "",
            "a",
            "=a",
            "CN",
            "CN=",
            "CN=a,",
            "CN=a,,O=b",
            "CN=#0401",
            "CN=a;O=b",
            "CN=\"a\"",
            "CN=a\\",
            "CN=a\\x",
            "CN=\\FF",
            "XY=a",
            "CN=a/b,c",
            "CN={A}",
            "/CN=a/O=b",
            "CN=\\é",
        ] {
            assert!(NamePattern::parse(bad).is_err(), "{bad}");
        }
    }
}
