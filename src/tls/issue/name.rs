//! Names as certificates hold them: checked when they are taken, so that all that is left can be
//! signed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use boring::error::ErrorStack;
use boring::nid::Nid;
use boring::x509::X509Name;

/// Text in a subject: 1 to 64 characters, none of them control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectText(String);

/// Who a certificate is made for.
#[derive(Clone, Debug)]
pub struct Subject {
    /// CN
    pub common_name: SubjectText,
    /// O
    pub organization: Option<SubjectText>,
    /// OU
    pub unit: Option<SubjectText>,
}

/// A name beside the subject (subjectAltName); it has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AltName(pub(super) Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dns(String),
    Ip(IpAddr),
    Uri(String),
    Email(String),
}

/// Why some text is no name for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing, or too much.
    #[error("expected 1 to 64 characters")]
    SubjectLength,
    /// Something that no terminal should be sent.
    #[error("control characters are not allowed")]
    Control,
    /// A URL, where only its host belongs.
    #[error("expected a host name or an IP address only, without https:// and path")]
    Url,
    /// A port.
    #[error("expected a host name or an IP address without a port; certificates hold no ports")]
    Port,
    /// Digits and dots, but no address.
    #[error("this is no IP address: expected four numbers from 0 to 255")]
    NotAnAddress,
    /// Letters that DNS does not have.
    #[error("expected the ASCII form of this name (it begins with xn--)")]
    NotAscii,
    /// A star anywhere else.
    #[error("expected the * as the whole first part, as in *.example.com")]
    Wildcard,
    /// A star over a whole top-level domain.
    #[error("expected at least two parts after the *, as in *.example.com: clients refuse others")]
    WildcardTooWide,
    /// Not a host name.
    #[error(
        "expected a host name: parts of 1 to 63 letters, digits, - or _, with dots between them, 253 at most"
    )]
    NotAHost,
    /// Not a URI.
    #[error("expected a URI such as spiffe://plant/camera/7")]
    NotAUri,
    /// Not an address.
    #[error("expected an email address such as ops@example.com")]
    NotAnEmail,
}

impl Subject {
    /// With a common name only.
    #[must_use]
    pub fn named(common_name: SubjectText) -> Self {
        Self {
            common_name,
            organization: None,
            unit: None,
        }
    }

    /// That of a server: its first name that is short enough for one. Clients look at the other
    /// names only.
    #[must_use]
    pub fn of_server(names: &[AltName]) -> Self {
        let mut texts = names.iter().map(AltName::to_string);
        let fits = texts.find_map(|text| SubjectText::from_str(&text).ok());
        Self::named(fits.unwrap_or_else(|| SubjectText("Portcullis".to_owned())))
    }

    pub(super) fn to_name(&self) -> Result<X509Name, ErrorStack> {
        let mut name = X509Name::builder()?;
        if let Some(SubjectText(organization)) = &self.organization {
            name.append_entry_by_nid(Nid::ORGANIZATIONNAME, organization)?;
        }
        if let Some(SubjectText(unit)) = &self.unit {
            name.append_entry_by_nid(Nid::ORGANIZATIONALUNITNAME, unit)?;
        }
        name.append_entry_by_nid(Nid::COMMONNAME, &self.common_name.0)?;
        Ok(name.build())
    }
}

impl FromStr for SubjectText {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if !(1..=64).contains(&text.chars().count()) {
            return Err(InvalidName::SubjectLength);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidName::Control);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SubjectText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AltName {
    /// This machine, seen from itself.
    #[must_use]
    pub fn localhost() -> Self {
        Self(Kind::Dns("localhost".to_owned()))
    }

    /// A server's name: an IP address, or else a DNS name, whose first part may be `*`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn server(text: &str) -> Result<Self, InvalidName> {
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(text).parse() {
            return Ok(Self(Kind::Ip(address)));
        }
        Self::dns(text)
    }

    /// A DNS name, whose first part may be `*`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn dns(text: &str) -> Result<Self, InvalidName> {
        if !text.is_ascii() {
            return Err(InvalidName::NotAscii);
        }
        if text.contains('/') {
            return Err(InvalidName::Url);
        }
        if text.contains(':') {
            return Err(InvalidName::Port);
        }
        let (is_wildcard, host) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if host.contains('*') {
            return Err(InvalidName::Wildcard);
        }
        if !is_host(host) || text.len() > 253 {
            return Err(InvalidName::NotAHost);
        }
        let last = host.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidName::NotAnAddress);
        }
        if is_wildcard && !host.contains('.') {
            return Err(InvalidName::WildcardTooWide);
        }
        Ok(Self(Kind::Dns(text.to_ascii_lowercase())))
    }

    /// A URI.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn uri(text: &str) -> Result<Self, InvalidName> {
        let scheme = text.split_once(':').map(|(scheme, _)| scheme);
        let is_scheme = scheme.is_some_and(|scheme| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
            scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(fits)
        });
        if !is_scheme || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidName::NotAUri);
        }
        Ok(Self(Kind::Uri(text.to_owned())))
    }

    /// An email address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn email(text: &str) -> Result<Self, InvalidName> {
        let parts = text.split_once('@');
        let fits = parts.is_some_and(|(local, host)| {
            !local.is_empty() && is_host(host) && local.bytes().all(|byte| byte.is_ascii_graphic())
        });
        if !fits {
            return Err(InvalidName::NotAnEmail);
        }
        Ok(Self(Kind::Email(text.to_owned())))
    }
}

impl<A: Into<IpAddr>> From<A> for AltName {
    fn from(address: A) -> Self {
        Self(Kind::Ip(address.into()))
    }
}

impl fmt::Display for AltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Dns(text) | Kind::Uri(text) | Kind::Email(text) => f.write_str(text),
            Kind::Ip(address) => address.fmt(f),
        }
    }
}

/// The underscore is in no host name, but in those of containers, and every client takes it.
fn is_host(text: &str) -> bool {
    text.split('.').all(|label| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=63).contains(&label.len())
            && label.bytes().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, InvalidName>) {
        let name = AltName::server(text).map(|name| format!("{:?}", name.0));
        assert_eq!(name, expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn a_server_name_is_an_address_or_a_host_and_nothing_else() {
        check("gate.example.com", Ok("Dns(\"gate.example.com\")"));
        check("Gate", Ok("Dns(\"gate\")"));
        check("my_service.local", Ok("Dns(\"my_service.local\")"));
        check("10.0.0.5", Ok("Ip(10.0.0.5)"));
        check("::1", Ok("Ip(::1)"));
        check("[fe80::1]", Ok("Ip(fe80::1)"));
        check("4.example.com", Ok("Dns(\"4.example.com\")"));
        check("10.0.0.300", Err(InvalidName::NotAnAddress));
        check("10.0.0", Err(InvalidName::NotAnAddress));
        check("https://gate/", Err(InvalidName::Url));
        check("gate:8443", Err(InvalidName::Port));
        check("10.0.0.5:8443", Err(InvalidName::Port));
        check("müller.example", Err(InvalidName::NotAscii));
        for bad in ["", ".", "a..b", "gate.", "-a", "a-", "a b", "a\0b", "a,DNS"] {
            check(bad, Err(InvalidName::NotAHost));
        }
        check(&"a".repeat(63), Ok(&format!("Dns({:?})", "a".repeat(63))));
        check(&"a".repeat(64), Err(InvalidName::NotAHost));
        check(
            &"a.".repeat(127).replace("a.a", "a.b"),
            Err(InvalidName::NotAHost),
        );
    }

    #[test]
    fn a_star_is_the_first_part_of_at_least_three() {
        check("*.example.com", Ok("Dns(\"*.example.com\")"));
        check("*", Err(InvalidName::Wildcard));
        check("*.com", Err(InvalidName::WildcardTooWide));
        check("gate.*.com", Err(InvalidName::Wildcard));
        check("g*.example.com", Err(InvalidName::Wildcard));
        check("*.*.example.com", Err(InvalidName::Wildcard));
    }

    #[test]
    fn uris_and_email_addresses_are_told_from_other_text() {
        for good in ["spiffe://plant/camera/7", "urn:uuid:1"] {
            assert!(AltName::uri(good).is_ok(), "{good}");
        }
        for bad in ["", "camera", ":x", "1a:b", "a b:c", "urn:a b", "urn:ä"] {
            assert_eq!(AltName::uri(bad), Err(InvalidName::NotAUri), "{bad}");
        }
        assert!(AltName::email("ops@example.com").is_ok());
        for bad in ["", "ops", "@a", "ops@", "o ps@a", "a@b@c", "ä@b"] {
            assert_eq!(AltName::email(bad), Err(InvalidName::NotAnEmail), "{bad}");
        }
    }

    #[test]
    fn text_of_a_subject_is_short_and_printable() {
        for good in ["a", "Plant CA", "Müller & Söhne", &"ä".repeat(64)] {
            assert!(SubjectText::from_str(good).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "\u{1b}[2J", &"a".repeat(65)] {
            assert!(SubjectText::from_str(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_is_called_by_its_first_name_that_is_short_enough() {
        let long = format!("{}.example", ["a"; 40].join("."));
        let names = [&long, "gate.example"].map(|text| AltName::server(text).unwrap());
        assert_eq!(
            Subject::of_server(&names).common_name.to_string(),
            "gate.example"
        );
        assert_eq!(
            Subject::of_server(&names[..1]).common_name.to_string(),
            "Portcullis"
        );
    }
}
