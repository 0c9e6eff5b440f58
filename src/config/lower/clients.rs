//! The section `clients`.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::document::At;
use crate::config::file::{ClientMatchFile, ClientRuleFile};
use crate::config::scalar::{Flag, Items, OneOrMany};
use crate::gate::clients::condition::{Condition, Field, KEYS, TextField};
use crate::gate::clients::name::NamePattern;
use crate::gate::clients::template::{self, Piece};
use crate::gate::clients::{ClientRule, Clients, NamePart, SeveralCns};
use crate::identity::UserName;
use crate::identity::address::AddressBlock;

use super::problem_with;
use super::roles::KnownRoles;
use super::users::lower_roles;

/// The most rules accepted: a certificate is compared with one after the other.
const MAX_RULES: usize = 10_000;

/// The rules as routes refer to them.
pub(super) struct KnownClients {
    /// As the gate knows them.
    pub(super) clients: Clients,
    /// Whether there are none, as far as is known.
    pub(super) none_written: bool,
}

/// A key of a `match`, and what was written there.
type Keyed = (&'static str, Condition);

/// The rules in order. Those with a problem are left out.
pub(super) fn lower(
    written: Option<Items<ClientRuleFile>>,
    roles: &KnownRoles,
    top: &At<'_>,
) -> KnownClients {
    let at = top.key("clients");
    let mut written = written.unwrap_or_default();
    let none_written = written.0.is_empty() && !at.is_refused();
    if written.0.len() > MAX_RULES {
        at.problem(format!("more than {MAX_RULES} rules"));
        written = Items::default();
    }
    let rules = at.items(written);
    let clients = rules.filter_map(|(at, rule)| lower_one(rule, roles, &at));
    KnownClients {
        clients: clients.collect(),
        none_written,
    }
}

fn lower_one(written: ClientRuleFile, known: &KnownRoles, at: &At<'_>) -> Option<ClientRule> {
    let ClientRuleFile {
        conditions,
        name,
        roles,
        any_cn,
    } = written;
    let hint = "say which certificates, like `match: {issuer: …}`";
    let conditions = at.required("match", conditions, hint);
    let conditions = conditions.and_then(|it| lower_match(it, hint, &at.key("match")));
    let hint = "what is the client called? Like \"{cn}\", or a text of your own";
    let name = at.required("name", name, hint);
    let hint = "name those from the section roles, or write [] for none";
    let roles = at.required("roles", roles, hint);
    let roles = roles.map(|roles| lower_roles(Some(roles), None, known, at));
    let name = lower_name(&name?, conditions.as_deref()?, &at.key("name"));
    let (conditions, name, roles) = (conditions?, name?, roles?);
    let several_cns = match any_cn {
        Some(Flag(true)) => SeveralCns::Any,
        Some(Flag(false)) | None => SeveralCns::Refuse,
    };
    let cn = Field::Text(TextField::Cn);
    let looks_at_cn = conditions.iter().any(|(key, _)| *key == "cn");
    if any_cn.is_some() && !looks_at_cn && !name.contains(&NamePart::Field(cn)) {
        let message = "neither match nor name looks at cn; take any_cn out";
        at.key("any_cn").key_problem(message);
    }
    let has = |wanted| conditions.iter().any(|(key, _)| *key == wanted);
    let (serial, issuer, spki) = (has("serial"), has("issuer"), has("spki"));
    let abilities = known.roles.abilities_of(roles.iter().map(String::as_str));
    let conditions = conditions.into_iter().map(|(_, it)| it).collect();
    let rule = ClientRule::new(conditions, name, several_cns, roles, abilities);
    if serial && !issuer {
        let message = "two issuers can give the same number; add issuer";
        at.key("match").key("serial").warn(message);
    }
    if spki && !rule.knows_fingerprint() {
        at.key("name").warn(
            "whoever has the key can write this into a certificate of their own, so self-signed \
             ones are not known by this rule; for those, write a fixed name or add sha256",
        );
    }
    Some(rule)
}

/// What a certificate has to have. None where nothing was asked of it.
fn lower_match(written: ClientMatchFile, hint: &str, at: &At<'_>) -> Option<Vec<Keyed>> {
    let ClientMatchFile {
        cn,
        o,
        ou,
        subject,
        san_dns,
        san_uri,
        san_email,
        san_ip,
        issuer,
        serial,
        sha256,
        spki,
        thingsboard,
    } = written;
    let text = |key, written, field: TextField| {
        let values = lower_values(written, &at.key(key), |text| field.pattern(text))?;
        Some((key, Condition::Text(field, values)))
    };
    let names = |key, written, condition: fn(_) -> _| {
        let values = lower_values(written, &at.key(key), NamePattern::parse)?;
        Some((key, condition(values)))
    };
    let digests = |key, written, condition: fn(_) -> _, read: fn(&str) -> _| {
        let values = lower_values(written, &at.key(key), read)?;
        Some((key, condition(values)))
    };
    let addresses = lower_values(san_ip, &at.key("san_ip"), AddressBlock::parse);
    let serials = lower_values(serial, &at.key("serial"), read_serial);
    let conditions: Vec<Keyed> = [
        text("cn", cn, TextField::Cn),
        text("o", o, TextField::O),
        text("ou", ou, TextField::Ou),
        names("subject", subject, Condition::Subject),
        text("san_dns", san_dns, TextField::SanDns),
        text("san_uri", san_uri, TextField::SanUri),
        text("san_email", san_email, TextField::SanEmail),
        addresses.map(|it| ("san_ip", Condition::SanIp(it))),
        names("issuer", issuer, Condition::Issuer),
        serials.map(|it| ("serial", Condition::Serial(it))),
        digests("sha256", sha256, Condition::Sha256, read_digest),
        digests("spki", spki, Condition::Spki, read_spki),
        digests(
            "thingsboard",
            thingsboard,
            Condition::ThingsBoard,
            read_digest,
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    if conditions.is_empty() {
        if !KEYS.iter().any(|key| at.key(key).is_refused()) {
            at.problem(format!("{hint}; `match: {{cn: \"**\"}}` is every name"));
        }
        return None;
    }
    check_captures(&conditions, at);
    Some(conditions)
}

/// The values of one key; any of them will do. Those with a problem are left out.
fn lower_values<T>(
    written: Option<OneOrMany>,
    at: &At<'_>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let written = written?;
    if written.is_empty() {
        at.problem("an empty list fits no certificate; leave the key out to take any");
    }
    let mut values = Vec::new();
    for (at, text) in at.texts(written) {
        match read(&text) {
            Ok(value) => values.push(value),
            Err(why) => problem_with(&text, why, &at),
        }
    }
    Some(values)
}

/// Each name is captured once. Patterns of one key are alternatives, so they may share names.
fn check_captures(conditions: &[Keyed], at: &At<'_>) {
    let mut elsewhere = BTreeSet::new();
    for (key, condition) in conditions {
        let mut here = BTreeSet::new();
        for captures in condition.captures() {
            let mut seen = BTreeSet::new();
            for name in captures {
                if KEYS.contains(&name) {
                    at.key(key).problem(format!(
                        "{{{name}}} is what a certificate has already; give the capture another name"
                    ));
                } else if !seen.insert(name) || elsewhere.contains(name) {
                    let message = "two captures have the same name; give each its own";
                    at.key(key).problem(message);
                }
                here.insert(name);
            }
        }
        elsewhere.extend(here);
    }
}

fn lower_name(written: &str, conditions: &[Keyed], at: &At<'_>) -> Option<Vec<NamePart>> {
    let pieces = match template::pieces(written) {
        Ok(pieces) => pieces,
        Err(why) => {
            problem_with(written, why, at);
            return None;
        }
    };
    let mut sample = String::new();
    let mut parts = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Literal(text) => {
                sample.push_str(text);
                parts.push(NamePart::Literal(text.into()));
            }
            Piece::Name(name) => {
                sample.push('x');
                match read_placeholder(name, conditions, at) {
                    Ok(part) => parts.push(part),
                    Err(why) => problem_with(written, why, at),
                }
            }
        }
    }
    if UserName::of_certificate(&sample).is_err() {
        let most = UserName::MAX_BYTES_OF_CERTIFICATE;
        at.problem(format!(
            "expected 1 to {most} bytes without control characters or spaces at its ends"
        ));
    }
    Some(parts)
}

/// What stands in braces: a field, or a capture that is there whichever pattern fits.
fn read_placeholder(name: &str, conditions: &[Keyed], at: &At<'_>) -> Result<NamePart, String> {
    if let Some(field) = Field::parse(name) {
        return Ok(NamePart::Field(field));
    }
    let mut patterns: Vec<(&str, Vec<&str>)> = Vec::new();
    for (key, condition) in conditions {
        patterns.extend(condition.captures().into_iter().map(|names| (*key, names)));
    }
    let has = |(_, names): &&(&str, Vec<&str>)| names.contains(&name);
    let Some((key, _)) = patterns.iter().find(has) else {
        let captured = patterns.iter().flat_map(|(_, names)| names);
        let known = captured.copied().chain(Field::names());
        let meant = at.suggestion(name, known);
        return Err(format!("match captures nothing as {{{name}}}{meant}"));
    };
    let mut alternatives = patterns.iter().filter(|(other, _)| other == key);
    if !alternatives.all(|it| has(&it)) {
        return Err(format!("not every pattern of {key} captures {{{name}}}"));
    }
    Ok(NamePart::Capture(name.into()))
}

// === Numbers and fingerprints ===

fn read_serial(text: &str) -> Result<String, String> {
    let digits = text.replace(':', "").to_ascii_lowercase();
    if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
        return Err("expected a serial number in hexadecimal, like 7f:01".into());
    }
    match digits.trim_start_matches('0') {
        "" => Ok("0".into()),
        digits => Ok(digits.into()),
    }
}

fn read_digest(text: &str) -> Result<[u8; 32], String> {
    let expected = "expected a fingerprint of 64 hexadecimal digits, with or without colons";
    read_hex(text).ok_or_else(|| expected.into())
}

/// The SHA-256 of a public key, as tools write it.
pub(super) fn read_spki(text: &str) -> Result<[u8; 32], String> {
    let digest = text.strip_prefix("sha256//").unwrap_or(text);
    let base64 = || STANDARD.decode(digest).ok()?.try_into().ok();
    read_hex(digest).or_else(base64).ok_or_else(|| {
        "expected the SHA-256 of a public key in base64, like sha256//…=, or in 64 hexadecimal \
         digits"
            .into()
    })
}

fn read_hex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    let digits = text.replace(':', "");
    let decoded = base16ct::mixed::decode(&digits, &mut digest).ok()?;
    (decoded.len() == 32).then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_the_same_in_every_spelling() {
        for (text, expected) in [
            ("7f01", "7f01"),
            ("7F:01", "7f01"),
            ("00:7f:01", "7f01"),
            ("0", "0"),
            ("00", "0"),
        ] {
            assert_eq!(read_serial(text).as_deref(), Ok(expected));
        }
        for bad in ["", ":", "0x7f", "7g", "-1", " 1"] {
            assert!(read_serial(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fingerprint_is_read_as_tools_write_it() {
        let digits = "ab".repeat(32);
        let colons = ["AB"; 32].join(":");
        assert_eq!(read_digest(&digits), Ok([0xab; 32]));
        assert_eq!(read_digest(&colons), Ok([0xab; 32]));
        assert_eq!(read_spki(&digits), Ok([0xab; 32]));
        let base64 = STANDARD.encode([0xab; 32]);
        assert_eq!(read_spki(&base64), Ok([0xab; 32]));
        assert_eq!(read_spki(&format!("sha256//{base64}")), Ok([0xab; 32]));
        for bad in ["", "ab", &"ab".repeat(33), &"zz".repeat(32), &base64[1..]] {
            assert!(
                read_digest(bad).is_err() && read_spki(bad).is_err(),
                "{bad}"
            );
        }
        assert!(read_digest(&base64).is_err());
    }
}
