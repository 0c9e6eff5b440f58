//! Whose a certificate is: the rules of `clients`.
//!
//! Whether it is good was found out before (`tls`); here is only what it says. What comes out is a
//! user like any other, but one who cannot log in.

pub mod condition;
pub mod name;
pub mod pattern;
pub mod template;

use std::borrow::Cow;
use std::sync::Arc;

use super::ability::AbilitySet;
use super::users::User;
use crate::identity::certificate::{CertificateProof, ClientIdentity, InvalidCertificate};
use crate::identity::{InvalidIdentity, NoIdentity, UserName};
use condition::{Condition, Field, Fit, TextField};
use pattern::Budget;

const CN: Field = Field::Text(TextField::Cn);

/// The rules, in order; the first that is about a certificate decides.
#[derive(Debug, Default)]
pub struct Clients {
    rules: Vec<ClientRule>,
}

impl FromIterator<ClientRule> for Clients {
    fn from_iter<I: IntoIterator<Item = ClientRule>>(rules: I) -> Self {
        let rules = rules.into_iter().collect();
        Self { rules }
    }
}

impl Clients {
    /// Whether there are none, so that nobody is known by a certificate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether each rule can know a certificate that nobody vouches for, by its fingerprint.
    #[must_use]
    pub fn all_know_fingerprints(&self) -> bool {
        self.rules.iter().all(ClientRule::knows_fingerprint)
    }

    /// Whether some rule can know a certificate that nobody vouches for, by its fingerprint.
    #[must_use]
    pub fn some_know_fingerprints(&self) -> bool {
        self.rules.iter().any(ClientRule::knows_fingerprint)
    }

    /// Whose this certificate is.
    ///
    /// # Errors
    /// Why it is nobody's.
    pub fn identify(&self, certificate: &ClientIdentity) -> Result<Arc<User>, NoIdentity> {
        let shown = Shown {
            certificate,
            cns: certificate.subject.count("CN"),
            budget: Budget::new(),
        };
        let user = self.rules.iter().find_map(|rule| {
            let named = rule.name_of(&shown);
            // What was not looked at might have made it somebody else's.
            if shown.budget.is_spent() {
                return Some(Err(InvalidCertificate::Damaged));
            }
            Some(named.transpose()?.and_then(|name| rule.user(&name)))
        });
        user.unwrap_or(Err(InvalidCertificate::NoRule))
            .map_err(|why| NoIdentity::Invalid(InvalidIdentity::Certificate(why)))
    }
}

/// A certificate that is compared with rules.
struct Shown<'c> {
    certificate: &'c ClientIdentity,
    /// How many common names it has.
    cns: usize,
    budget: Budget,
}

/// One rule: which certificates it is about, and whose those are.
#[derive(Clone, Debug)]
pub struct ClientRule {
    /// What they have to have, all of it. Never empty.
    conditions: Vec<Condition>,
    name: Vec<NamePart>,
    several_cns: SeveralCns,
    roles: Vec<String>,
    abilities: AbilitySet,
}

/// A part of what a client is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePart {
    /// This text.
    Literal(String),
    /// What a pattern captured.
    Capture(String),
    /// What a field says: the value that fitted where the rule looks at it.
    Field(Field),
}

/// What becomes of a certificate with several common names where a rule looks at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeveralCns {
    /// It is nobody's. To go on to the next rule would be a way around this one: whoever gets a
    /// second common name into a certificate would come under the broader rule behind it.
    Refuse,
    /// Any of them may fit, and the last of those (the most special) counts.
    Any,
}

impl ClientRule {
    /// A rule; without conditions it is about no certificate.
    #[must_use]
    pub fn new(
        mut conditions: Vec<Condition>,
        name: Vec<NamePart>,
        several_cns: SeveralCns,
        roles: Vec<String>,
        abilities: AbilitySet,
    ) -> Self {
        conditions.sort_by_key(Condition::rank);
        Self {
            conditions,
            name,
            several_cns,
            roles,
            abilities,
        }
    }

    /// Whether it can know a certificate that nobody vouches for. A fingerprint of the whole says
    /// that nothing in it was made up since. That of the key does not: whoever has the key can
    /// write a new one around it, so nothing else in it may have a say in the name.
    #[must_use]
    pub fn knows_fingerprint(&self) -> bool {
        let literal = |part: &NamePart| matches!(part, NamePart::Literal(_));
        self.conditions.iter().any(|condition| match condition {
            Condition::Sha256(_) | Condition::ThingsBoard(_) => true,
            Condition::Spki(_) => self.name.iter().all(literal),
            _ => false,
        })
    }

    fn user(&self, name: &str) -> Result<Arc<User>, InvalidCertificate> {
        let name = UserName::of_certificate(name).map_err(|_| InvalidCertificate::Damaged)?;
        Ok(Arc::new(User {
            name,
            roles: self.roles.clone(),
            groups: None,
            abilities: self.abilities.clone(),
            disabled: false,
            email: None,
            display_name: None,
            credential_epoch: 0,
        }))
    }

    /// What it calls the client; none where it is not about this certificate.
    fn name_of(&self, shown: &Shown<'_>) -> Result<Option<String>, InvalidCertificate> {
        let certificate = shown.certificate;
        if certificate.proof == CertificateProof::Possession && !self.knows_fingerprint() {
            return Ok(None);
        }
        let mut fits = Vec::new();
        for condition in &self.conditions {
            let about_cn = condition.field() == Some(CN);
            if about_cn && shown.cns > 1 && self.several_cns == SeveralCns::Refuse {
                return Err(InvalidCertificate::SeveralNames);
            }
            let mut found = condition.fits(certificate, &shown.budget);
            if about_cn && let Some(last) = found.last().map(|it| it.value.clone()) {
                found.retain(|it| it.value == last);
            }
            if found.is_empty() {
                return Ok(None);
            }
            fits.push((condition, found));
        }
        if fits.is_empty() {
            return Ok(None);
        }
        let mut name = String::new();
        for part in &self.name {
            match self.text_of(part, &fits, shown)? {
                None => return Ok(None),
                Some(text) => name.push_str(&text),
            }
        }
        Ok(Some(name))
    }

    fn text_of<'c>(
        &self,
        part: &'c NamePart,
        fits: &'c [(&Condition, Vec<Fit<'c>>)],
        shown: &Shown<'c>,
    ) -> Result<Option<Cow<'c, str>>, InvalidCertificate> {
        match part {
            NamePart::Literal(text) => Ok(Some(text.into())),
            NamePart::Capture(name) => {
                let fits = fits.iter().flat_map(|(_, fits)| fits);
                let captured = fits.flat_map(|fit| &fit.captured);
                let texts = captured.filter(|it| *it.name == **name);
                let clear = texts.map(|it| it.text.as_deref().map(Cow::Borrowed));
                let clear = clear.collect::<Option<Vec<_>>>();
                the_one(clear.ok_or(InvalidCertificate::SeveralNames)?)
            }
            NamePart::Field(field) => {
                let matched = fits.iter().find(|(it, _)| it.field() == Some(*field));
                match matched {
                    Some((_, fits)) => the_one(fits.iter().map(|it| it.value.clone()).collect()),
                    None if *field == CN => self.only_cn(shown),
                    None => the_one(field.values(shown.certificate)),
                }
            }
        }
    }

    fn only_cn<'c>(&self, shown: &Shown<'c>) -> Result<Option<Cow<'c, str>>, InvalidCertificate> {
        match self.several_cns {
            SeveralCns::Refuse if shown.cns > 1 => Err(InvalidCertificate::SeveralNames),
            SeveralCns::Refuse | SeveralCns::Any => Ok(CN.values(shown.certificate).pop()),
        }
    }
}

/// The one value there is, however often; none where there is none.
fn the_one(mut values: Vec<Cow<'_, str>>) -> Result<Option<Cow<'_, str>>, InvalidCertificate> {
    values.dedup();
    match values.len() {
        0 | 1 => Ok(values.pop()),
        _ => Err(InvalidCertificate::SeveralNames),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::name::NamePattern;
    use super::name::tests::name;
    use super::*;
    use crate::identity::address::AddressBlock;

    /// A certificate of `CN=cam-1,O=Plant` with names of all kinds.
    pub(in crate::gate) fn certificate() -> ClientIdentity {
        ClientIdentity {
            proof: CertificateProof::Chain,
            subject: name(&[&[("O", "Plant")], &[("CN", "cam-1")]]),
            issuer: name(&[&[("CN", "Plant CA")]]),
            serial: "7f01".into(),
            san_dns: vec!["Cam-1.Plant.example".into()],
            san_uri: vec!["spiffe://plant/north/camera/1".into()],
            san_email: vec!["Ada@Plant.example".into()],
            san_ip: vec!["10.0.0.7".parse().unwrap()],
            sha256: [1; 32],
            spki_sha256: [2; 32],
            thingsboard: [3; 32],
            not_before: 0,
            not_after: i64::MAX,
            der: Vec::new(),
            chain: Vec::new(),
            by: None,
        }
    }

    pub(in crate::gate) fn text(field: TextField, patterns: &[&str]) -> Condition {
        let patterns = patterns.iter().map(|it| field.pattern(it).unwrap());
        Condition::Text(field, patterns.collect())
    }

    fn subject(pattern: &str) -> Condition {
        Condition::Subject(vec![NamePattern::parse(pattern).unwrap()])
    }

    /// A rule for `name`, in which braces hold a field or else a capture.
    pub(in crate::gate) fn rule(conditions: Vec<Condition>, name: &str) -> ClientRule {
        let parts = template::pieces(name).unwrap().into_iter();
        let part = |piece| match piece {
            template::Piece::Literal(text) => NamePart::Literal(text.to_owned()),
            template::Piece::Name(name) => Field::parse(name)
                .map_or_else(|| NamePart::Capture(name.to_owned()), NamePart::Field),
        };
        let parts = parts.map(part).collect();
        let abilities = AbilitySet::default();
        ClientRule::new(conditions, parts, SeveralCns::Refuse, Vec::new(), abilities)
    }

    fn any_cn(rule: ClientRule) -> ClientRule {
        ClientRule {
            several_cns: SeveralCns::Any,
            ..rule
        }
    }

    #[track_caller]
    fn check(
        rules: impl IntoIterator<Item = ClientRule>,
        certificate: &ClientIdentity,
        expected: &str,
    ) {
        let clients: Clients = rules.into_iter().collect();
        let said = match clients.identify(certificate) {
            Ok(user) => user.name.as_str().to_owned(),
            Err(why) => format!("- {}", why.as_str()),
        };
        assert_eq!(said, expected);
    }

    const NOBODY: &str = "- client_cert_unknown";
    const SEVERAL: &str = "- client_cert_several_names";

    #[test]
    fn a_client_is_called_as_the_first_rule_that_fits_says() {
        use TextField::*;

        let plant = certificate();
        check([], &plant, NOBODY);
        check([rule(vec![], "x")], &plant, NOBODY);
        let uri = |pattern| text(SanUri, &[pattern]);
        let camera = || rule(vec![uri("spiffe://plant/{site}/camera/*")], "{site}");
        check([camera()], &plant, "north");
        check(
            [rule(vec![text(Cn, &["**"])], "first"), camera()],
            &plant,
            "first",
        );
        check(
            [
                rule(vec![uri("spiffe://plant/{site}/door/*")], "x"),
                camera(),
            ],
            &plant,
            "north",
        );
        for (condition, name, expected) in [
            (text(Cn, &["{x}-1"]), "device {x}", "device cam"),
            (text(Cn, &["other", "cam-*"]), "{cn}", "cam-1"),
            (text(O, &["Plant"]), "{cn}@{o}", "cam-1@Plant"),
            (text(Ou, &["**"]), "x", NOBODY),
            (text(O, &["plant"]), "x", NOBODY),
            (
                text(SanDns, &["*.PLANT.example"]),
                "{san_dns}",
                "cam-1.plant.example",
            ),
            (text(SanDns, &["*.example"]), "x", NOBODY),
            (
                text(SanEmail, &["Ada@plant.EXAMPLE"]),
                "{san_email}",
                "Ada@plant.example",
            ),
            (text(SanEmail, &["ada@plant.example"]), "x", NOBODY),
            (uri("SPIFFE://plant/**"), "x", NOBODY),
            (
                uri("spiffe://plant/**"),
                "{san_uri}",
                "spiffe://plant/north/camera/1",
            ),
            (Condition::Serial(vec!["7f01".into()]), "{serial}", "7f01"),
            (Condition::Serial(vec!["7f".into()]), "x", NOBODY),
            (subject("CN=*,O=Plant"), "{subject}", "CN=cam-1,O=Plant"),
            (subject("CN={n},O={o_}"), "{o_}/{n}", "Plant/cam-1"),
            (subject("CN=*"), "x", NOBODY),
        ] {
            check([rule(vec![condition], name)], &plant, expected);
        }
    }

    #[test]
    fn all_conditions_have_to_hold() {
        let block = |text| Condition::SanIp(vec![AddressBlock::parse(text).unwrap()]);
        let issuer = |text| Condition::Issuer(vec![NamePattern::parse(text).unwrap()]);
        let cn = || text(TextField::Cn, &["cam-*"]);
        let plant = certificate();
        let ours = || issuer("CN=Plant CA");
        check(
            [rule(vec![cn(), ours(), block("10.0.0.0/8")], "{san_ip}")],
            &plant,
            "10.0.0.7",
        );
        check(
            [rule(vec![cn(), ours(), block("10.1.0.0/16")], "x")],
            &plant,
            NOBODY,
        );
        check(
            [rule(vec![cn(), issuer("CN=Other CA")], "x")],
            &plant,
            NOBODY,
        );
    }

    #[test]
    fn several_common_names_end_it_wherever_one_is_looked_at() {
        let two = ClientIdentity {
            subject: name(&[&[("CN", "admin")], &[("CN", "cam-1")]]),
            ..certificate()
        };
        let everybody = || rule(vec![text(TextField::SanUri, &["**"])], "guest");
        let cn = |pattern: &str| vec![text(TextField::Cn, &[pattern])];
        check([everybody()], &two, "guest");
        // Neither the narrow rule nor the broad one behind it.
        for narrow in ["cam-*", "other"] {
            check([rule(cn(narrow), "x"), everybody()], &two, SEVERAL);
        }
        let named = || rule(vec![text(TextField::SanUri, &["**"])], "{cn}");
        check([named(), everybody()], &two, SEVERAL);
        // What the rule is not about in another way, it is not about.
        let mut elsewhere = cn("cam-*");
        elsewhere.push(text(TextField::O, &["Elsewhere"]));
        check([rule(elsewhere, "x"), everybody()], &two, "guest");
        // Unless it says that any will do.
        check(
            [any_cn(rule(cn("ad*"), "{cn}")), everybody()],
            &two,
            "admin",
        );
        check([any_cn(rule(cn("*"), "{cn}")), everybody()], &two, "cam-1");
        check(
            [any_cn(rule(cn("other"), "{cn}")), everybody()],
            &two,
            "guest",
        );
        check([any_cn(named())], &two, "cam-1");
    }

    #[test]
    fn a_name_has_to_be_clear() {
        let two = ClientIdentity {
            san_uri: vec!["spiffe://a/1".into(), "spiffe://b/2".into()],
            ..certificate()
        };
        let uri = |patterns| vec![text(TextField::SanUri, patterns)];
        check([rule(uri(&["**"]), "x")], &two, "x");
        check([rule(uri(&["**"]), "{san_uri}")], &two, SEVERAL);
        check(
            [rule(uri(&["spiffe://a/*"]), "{san_uri}")],
            &two,
            "spiffe://a/1",
        );
        check([rule(uri(&["spiffe://{t}/*"]), "{t}")], &two, SEVERAL);
        check(
            [rule(uri(&["spiffe://a/{n}", "spiffe://b/x/{n}"]), "{n}")],
            &two,
            "1",
        );
        let cn = || vec![text(TextField::Cn, &["**"])];
        check([rule(cn(), "{san_uri}"), rule(cn(), "x")], &two, SEVERAL);
        // What is not there at all is somebody else's rule.
        check([rule(cn(), "{ou}"), rule(cn(), "x")], &two, "x");
        let dashes = ClientIdentity {
            subject: name(&[&[("CN", "a-b-c")]]),
            ..certificate()
        };
        let cut = || vec![text(TextField::Cn, &["{first}-{second}"])];
        check([rule(cut(), "{first}"), rule(cn(), "x")], &dashes, SEVERAL);
        check([rule(cut(), "{cn}")], &dashes, "a-b-c");
    }

    #[test]
    fn a_name_that_no_header_takes_is_refused() {
        let called = |cn: &str| ClientIdentity {
            subject: name(&[&[("CN", cn)]]),
            ..certificate()
        };
        let rules = || [rule(vec![text(TextField::Cn, &["**"])], "{cn}")];
        check(rules(), &called("Ada Lučić"), "Ada Lučić");
        for cn in [
            " ada",
            "ada\n",
            "ada\r\nX-Admin: 1",
            "a\0",
            &"x".repeat(257),
        ] {
            check(rules(), &called(cn), "- client_cert_invalid");
        }
        check(rules(), &called(""), NOBODY);
    }

    #[test]
    fn a_certificate_that_nobody_vouches_for_is_known_by_its_fingerprint_alone() {
        let own = ClientIdentity {
            proof: CertificateProof::Possession,
            ..certificate()
        };
        let everything = || text(TextField::Cn, &["**"]);
        let pins = [
            (Condition::Sha256(vec![[9; 32], [1; 32]]), "{cn}"),
            (Condition::ThingsBoard(vec![[3; 32]]), "{cn}"),
            (Condition::Spki(vec![[2; 32]]), "cam-1"),
        ];
        for (pin, name) in pins {
            check([rule(vec![pin.clone()], name)], &own, "cam-1");
            check([rule(vec![pin.clone()], name)], &certificate(), "cam-1");
            let vouched = rule(vec![everything()], "guest");
            check([vouched.clone(), rule(vec![pin], name)], &own, "cam-1");
            check([vouched.clone()], &own, NOBODY);
            check([vouched], &certificate(), "guest");
        }
        for pin in [
            Condition::Sha256(vec![[9; 32]]),
            Condition::ThingsBoard(vec![[1; 32]]),
            Condition::Spki(vec![[1; 32]]),
        ] {
            check([rule(vec![pin], "x")], &own, NOBODY);
        }
        // Whoever has the key can put it into a certificate with another name.
        let by_key = || rule(vec![Condition::Spki(vec![[2; 32]])], "{cn}");
        check([by_key()], &own, NOBODY);
        check([by_key()], &certificate(), "cam-1");
    }

    #[test]
    fn fingerprints_are_compared_before_anything_else_however_the_rule_is_written() {
        let pins = [
            Condition::Sha256(vec![[1; 32]]),
            Condition::ThingsBoard(vec![[3; 32]]),
            Condition::Spki(vec![[2; 32]]),
        ];
        for pin in pins {
            let uri = text(TextField::SanUri, &["**"]);
            let written = vec![
                text(TextField::Cn, &["*"]),
                uri,
                subject("CN=*"),
                pin.clone(),
            ];
            let rule = rule(written, "x");
            assert_eq!(rule.conditions[0], pin);
            assert_eq!(rule.conditions[3].field(), Some(CN));
        }
        // A subject of 80 KB, under thousands of rules for other certificates and the one for it.
        let long = "x".repeat(1000);
        let parts = vec![("O", long.as_str()); 80];
        let parts: Vec<&[(&str, &str)]> = parts.chunks(1).collect();
        let own = ClientIdentity {
            proof: CertificateProof::Possession,
            subject: name(&parts),
            ..certificate()
        };
        let rule_for = |sha256| {
            let organisation = text(TextField::O, &["*"]);
            rule(vec![organisation, Condition::Sha256(vec![sha256])], "x")
        };
        let others = || (0..3000).map(|_| rule_for([9; 32]));
        check(others(), &own, NOBODY);
        check(others().chain([rule_for([1; 32])]), &own, "x");
    }

    #[test]
    fn a_certificate_that_takes_too_long_to_compare_is_nobodys() {
        let of_uris = |count| ClientIdentity {
            san_uri: vec!["x".repeat(1000); count],
            ..certificate()
        };
        let rules = || {
            let narrow = || rule(vec![text(TextField::SanUri, &["*y*"])], "narrow");
            let broad = rule(vec![text(TextField::O, &["Plant"])], "broad");
            (0..1000).map(move |_| narrow()).chain([broad])
        };
        check(rules(), &of_uris(2), "broad");
        check(rules(), &of_uris(80), "- client_cert_invalid");
    }

    #[test]
    fn a_text_that_is_too_long_fits_no_pattern_and_others_beside_it_do() {
        let uris = |uris: &[&str]| ClientIdentity {
            san_uri: uris.iter().map(ToString::to_string).collect(),
            ..certificate()
        };
        let everything = || [rule(vec![text(TextField::SanUri, &["**"])], "x")];
        let (fits, long) = ("x".repeat(1024), "x".repeat(1025));
        check(everything(), &uris(&[&fits]), "x");
        check(everything(), &uris(&[&long]), NOBODY);
        check(everything(), &uris(&[&long, "y"]), "x");
        let called = || [rule(vec![text(TextField::SanUri, &["**"])], "{san_uri}")];
        check(called(), &uris(&[&long, "y"]), "y");
    }

    #[test]
    fn who_knows_fingerprints_is_known() {
        let pin = || rule(vec![Condition::Sha256(vec![[1; 32]])], "x");
        let cn = || rule(vec![text(TextField::Cn, &["x"])], "x");
        let clients: Clients = [pin(), cn()].into_iter().collect();
        assert!(clients.some_know_fingerprints() && !clients.all_know_fingerprints());
        let clients: Clients = [pin()].into_iter().collect();
        assert!(clients.all_know_fingerprints() && !clients.is_empty());
        assert!(!Clients::default().some_know_fingerprints());
    }
}
