//! What a rule of `clients` looks at in a certificate, and what it finds there.

use std::borrow::Cow;
use std::net::IpAddr;

use super::name::NamePattern;
use super::pattern::{Budget, Captured, TextPattern};
use crate::identity::address::AddressBlock;
use crate::identity::certificate::ClientIdentity;

/// The keys of a `match`.
pub const KEYS: [&str; 13] = [
    "cn",
    "o",
    "ou",
    "subject",
    "san_dns",
    "san_uri",
    "san_email",
    "san_ip",
    "issuer",
    "serial",
    "sha256",
    "spki",
    "thingsboard",
];

/// Something in a certificate that a client can be named after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// One of the fields that patterns are about.
    Text(TextField),
    /// All of the subject.
    Subject,
    /// An address that it is for.
    SanIp,
    /// Its serial number.
    Serial,
    /// The SHA-256 of its DER.
    Sha256,
}

impl Field {
    const ALL: [(&str, Self); 10] = [
        ("cn", Self::Text(TextField::Cn)),
        ("o", Self::Text(TextField::O)),
        ("ou", Self::Text(TextField::Ou)),
        ("san_dns", Self::Text(TextField::SanDns)),
        ("san_uri", Self::Text(TextField::SanUri)),
        ("san_email", Self::Text(TextField::SanEmail)),
        ("san_ip", Self::SanIp),
        ("serial", Self::Serial),
        ("sha256", Self::Sha256),
        ("subject", Self::Subject),
    ];

    /// The field of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, field)| *field)
    }

    /// The names of all.
    pub fn names<'n>() -> impl Iterator<Item = &'n str> {
        Self::ALL.iter().map(|(name, _)| *name)
    }

    /// What the certificate says there.
    pub(super) fn values(self, certificate: &ClientIdentity) -> Vec<Cow<'_, str>> {
        match self {
            Self::Text(field) => field.values(certificate),
            Self::Subject if certificate.subject.0.is_empty() => Vec::new(),
            Self::Subject => vec![certificate.subject.to_string().into()],
            Self::SanIp => {
                let addresses = certificate.san_ip.iter();
                addresses.map(|it| it.to_string().into()).collect()
            }
            Self::Serial => vec![certificate.serial.as_str().into()],
            Self::Sha256 => vec![base16ct::lower::encode_string(&certificate.sha256).into()],
        }
    }
}

/// A field that patterns are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextField {
    /// A common name of the subject.
    Cn,
    /// An organisation of the subject.
    O,
    /// A unit of the subject.
    Ou,
    /// A DNS name that it is for.
    SanDns,
    /// A URI that it is for.
    SanUri,
    /// A mail address that it is for.
    SanEmail,
}

impl TextField {
    /// Reads a pattern over this field.
    ///
    /// # Errors
    /// A sentence that says what is right.
    pub fn pattern(self, text: &str) -> Result<TextPattern, String> {
        let separator = match self {
            Self::Cn | Self::O | Self::Ou => None,
            Self::SanDns => Some(b'.'),
            Self::SanUri => Some(b'/'),
            Self::SanEmail => Some(b'@'),
        };
        let mut pattern = TextPattern::parse(text, separator)?;
        match self {
            Self::SanDns => pattern.lower(),
            Self::SanEmail if !pattern.lower_after_at() && !pattern.is_anything() => {
                return Err("expected an address with an @, like *@plant.example, or **".into());
            }
            _ => {}
        }
        Ok(pattern)
    }

    /// What it takes to look through it: a step for each byte that is copied, and some for each
    /// text and attribute.
    fn size(self, certificate: &ClientIdentity) -> usize {
        const EACH: usize = 16;
        let size = |texts: &[String]| texts.iter().map(|it| it.len() + EACH).sum();
        match self {
            Self::Cn | Self::O | Self::Ou => {
                let parts = certificate.subject.0.iter();
                parts.map(|part| (part.len() + 1) * EACH).sum()
            }
            Self::SanDns => size(&certificate.san_dns),
            Self::SanUri => size(&certificate.san_uri),
            Self::SanEmail => size(&certificate.san_email),
        }
    }

    /// The texts as they are compared: names of hosts in lower case, as they mean the same in any.
    fn values(self, certificate: &ClientIdentity) -> Vec<Cow<'_, str>> {
        let of_subject = |kind| {
            let texts = certificate.subject.texts(kind);
            texts.map(Cow::Borrowed).collect()
        };
        match self {
            Self::Cn => of_subject("CN"),
            Self::O => of_subject("O"),
            Self::Ou => of_subject("OU"),
            Self::SanDns => {
                let names = certificate.san_dns.iter();
                names.map(|it| it.to_ascii_lowercase().into()).collect()
            }
            Self::SanUri => certificate.san_uri.iter().map(Cow::from).collect(),
            Self::SanEmail => {
                let addresses = certificate.san_email.iter();
                addresses.map(|it| lower_domain(it).into()).collect()
            }
        }
    }
}

/// Only the part after the last `@` is the same in any case (RFC 5280 section 7.5).
fn lower_domain(address: &str) -> String {
    let mut address = address.to_owned();
    if let Some(at) = address.rfind('@') {
        address[at..].make_ascii_lowercase();
    }
    address
}

/// One key of a `match`; any of its values will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The SHA-256 of the certificate.
    Sha256(Vec<[u8; 32]>),
    /// What ThingsBoard knows it by.
    ThingsBoard(Vec<[u8; 32]>),
    /// The SHA-256 of the public key.
    Spki(Vec<[u8; 32]>),
    /// Its serial number, as [`ClientIdentity::serial`].
    Serial(Vec<String>),
    /// Its issuer.
    Issuer(Vec<NamePattern>),
    /// Its subject.
    Subject(Vec<NamePattern>),
    /// An address that it is for.
    SanIp(Vec<AddressBlock>),
    /// One of the texts in a field.
    Text(TextField, Vec<TextPattern>),
}

/// A value that fits, and what was captured from it.
pub(super) struct Fit<'c> {
    pub(super) value: Cow<'c, str>,
    pub(super) captured: Vec<Captured>,
}

impl Condition {
    /// What a client can be named after by this condition.
    pub(super) fn field(&self) -> Option<Field> {
        match self {
            Self::Sha256(_) => Some(Field::Sha256),
            Self::Serial(_) => Some(Field::Serial),
            Self::Subject(_) => Some(Field::Subject),
            Self::SanIp(_) => Some(Field::SanIp),
            Self::Text(field, _) => Some(Field::Text(*field)),
            Self::ThingsBoard(_) | Self::Spki(_) | Self::Issuer(_) => None,
        }
    }

    /// In which order conditions are compared, so that little is done where one does not hold: what
    /// is fixed before what has patterns. A certificate that nobody vouches for is only looked at
    /// where its fingerprint is known, whatever is written into it. Common names last: several of
    /// them only matter where all else fits.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Sha256(_) | Self::ThingsBoard(_) | Self::Spki(_) => 0,
            Self::Serial(_) => 1,
            Self::SanIp(_) => 2,
            Self::Issuer(_) | Self::Subject(_) => 3,
            Self::Text(field, _) if *field != TextField::Cn => 4,
            Self::Text(..) => 5,
        }
    }

    /// The names of the captures in each of its patterns.
    #[must_use]
    pub fn captures(&self) -> Vec<Vec<&str>> {
        match self {
            Self::Text(_, patterns) => {
                let names = patterns.iter().map(|it| it.captures().map(AsRef::as_ref));
                names.map(Iterator::collect).collect()
            }
            Self::Subject(patterns) | Self::Issuer(patterns) => {
                let names = patterns.iter().map(|it| it.captures().map(AsRef::as_ref));
                names.map(Iterator::collect).collect()
            }
            Self::Sha256(_)
            | Self::ThingsBoard(_)
            | Self::Spki(_)
            | Self::Serial(_)
            | Self::SanIp(_) => Vec::new(),
        }
    }

    /// What of the certificate fits; nothing where the condition does not hold, or the budget is
    /// spent.
    pub(super) fn fits<'c>(
        &self,
        certificate: &'c ClientIdentity,
        budget: &Budget,
    ) -> Vec<Fit<'c>> {
        match self {
            Self::Sha256(all) => plain(all.contains(&certificate.sha256), || {
                base16ct::lower::encode_string(&certificate.sha256).into()
            }),
            Self::ThingsBoard(all) => plain(all.contains(&certificate.thingsboard), Cow::default),
            Self::Spki(all) => plain(all.contains(&certificate.spki_sha256), Cow::default),
            Self::Serial(all) => plain(all.contains(&certificate.serial), || {
                certificate.serial.as_str().into()
            }),
            Self::Issuer(all) => {
                let fits = all
                    .iter()
                    .filter_map(|it| it.fit(&certificate.issuer, budget));
                fits.map(|captured| Fit {
                    value: "".into(),
                    captured,
                })
                .collect()
            }
            Self::Subject(all) => {
                let fits = all
                    .iter()
                    .filter_map(|it| it.fit(&certificate.subject, budget));
                fits.map(|captured| Fit {
                    value: certificate.subject.to_string().into(),
                    captured,
                })
                .collect()
            }
            Self::SanIp(blocks) => {
                if !budget.spend(certificate.san_ip.len() * blocks.len()) {
                    return Vec::new();
                }
                let within = |it: &&IpAddr| blocks.iter().any(|block| block.contains(**it));
                let addresses = certificate.san_ip.iter().filter(within);
                addresses
                    .flat_map(|it| plain(true, || it.to_string().into()))
                    .collect()
            }
            Self::Text(field, patterns) => {
                if !budget.spend(field.size(certificate)) {
                    return Vec::new();
                }
                let values = field.values(certificate).into_iter();
                values
                    .flat_map(|value| {
                        let fits = patterns.iter().filter_map(|it| it.fit(&value, budget));
                        let fits: Vec<_> = fits.collect();
                        fits.into_iter().map(move |captured| Fit {
                            value: value.clone(),
                            captured,
                        })
                    })
                    .collect()
            }
        }
    }
}

fn plain<'c>(fits: bool, value: impl FnOnce() -> Cow<'c, str>) -> Vec<Fit<'c>> {
    let fit = fits.then(|| Fit {
        value: value(),
        captured: Vec::new(),
    });
    fit.into_iter().collect()
}
