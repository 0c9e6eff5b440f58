//! Under which names, and how written, a backend is told who asks: the conventions of other
//! gates, so that backends made for those need no change.
//!
//! All of it comes from the [`Permit`]. What is not known is left out, never written empty. What a
//! client sends under these names is dropped before (`headers`), whatever is configured here.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::assertion::{self, Assertions};
use super::client::ClientFacts;
use super::spec::IdentityPreset;
use crate::gate::authorize::Permit;
use crate::gate::session::Timestamp;
use crate::gate::users::User;
use crate::http1::write;
use crate::identity::certificate::{ClientIdentity, InvalidCertificate};
use crate::identity::dn::{AttributeValue, DistinguishedName};
use crate::identity::{InvalidIdentity, NoIdentity};

impl IdentityPreset {
    /// Each of them.
    pub const ALL: [Self; 10] = [
        Self::XForwardedUser,
        Self::XAuthRequest,
        Self::RemoteUser,
        Self::Xfcc,
        Self::Rfc9440,
        Self::NginxSsl,
        Self::HaproxySsl,
        Self::Wso2,
        Self::Wso2Apim,
        Self::Jwt,
    ];

    /// The names that it writes.
    #[must_use]
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::XForwardedUser => &X_FORWARDED,
            Self::XAuthRequest => &X_AUTH_REQUEST,
            Self::RemoteUser => &REMOTE,
            Self::Xfcc => &[XFCC],
            Self::Rfc9440 => &[CLIENT_CERT, CLIENT_CERT_CHAIN],
            Self::NginxSsl => &NGINX,
            Self::HaproxySsl => &HAPROXY,
            Self::Wso2 => &[WSO2],
            Self::Wso2Apim => &[WSO2_APIM],
            Self::Jwt => &[assertion::NAME],
        }
    }

    /// Whether it says something of the certificate in a form of its own.
    #[must_use]
    pub const fn is_of_certificate(self) -> bool {
        match self {
            Self::XForwardedUser | Self::XAuthRequest | Self::RemoteUser | Self::Jwt => false,
            Self::Xfcc
            | Self::Rfc9440
            | Self::NginxSsl
            | Self::HaproxySsl
            | Self::Wso2
            | Self::Wso2Apim => true,
        }
    }
}

/// The user's name, address, groups, and the name to show.
type UserNames = [&'static str; 4];

const X_FORWARDED: UserNames = [
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
];

const X_AUTH_REQUEST: UserNames = [
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Groups",
    "X-Auth-Request-Preferred-Username",
];

const REMOTE: UserNames = [
    "Remote-User",
    "Remote-Email",
    "Remote-Groups",
    "Remote-Name",
];

const XFCC: &str = "X-Forwarded-Client-Cert";
const CLIENT_CERT: &str = "Client-Cert";
const CLIENT_CERT_CHAIN: &str = "Client-Cert-Chain";
const WSO2: &str = "proxy-mutual-auth-header";
const WSO2_APIM: &str = "X-WSO2-CLIENT-CERTIFICATE";

/// How it was checked, whose it is, who signed it, and all of it.
const NGINX: [&str; 4] = [
    "ssl-client-verify",
    "ssl-client-subject-dn",
    "ssl-client-issuer-dn",
    "ssl-client-cert",
];

/// How it was checked, whose it is (twice), who signed it, from when and until when.
const HAPROXY: [&str; 6] = [
    "X-SSL-Client-Verify",
    "X-SSL-Client-DN",
    "X-SSL-Client-CN",
    "X-SSL-Issuer",
    "X-SSL-Client-NotBefore",
    "X-SSL-Client-NotAfter",
];

/// How the backends of one configuration are told.
#[derive(Debug)]
pub struct IdentityHeaders {
    presets: Vec<IdentityPreset>,
    assertions: Option<Assertions>,
    /// Whether a certificate is told of at all.
    of_certificate: bool,
}

/// The lines that tell of a certificate, made once for a connection: they are long.
pub(super) struct CertificateLines {
    headers: Arc<IdentityHeaders>,
    certificate: Arc<ClientIdentity>,
    lines: Box<[u8]>,
}

/// A request of which a backend is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'r> {
    pub(super) permit: &'r Permit,
    pub(super) client: &'r ClientFacts,
    /// The name of the backend.
    pub(super) upstream: &'r Arc<str>,
    pub(super) now: Timestamp,
}

impl IdentityHeaders {
    /// Under the names of `presets`, with what signs [`IdentityPreset::Jwt`] where it is one.
    #[must_use]
    pub fn new(presets: Vec<IdentityPreset>, assertions: Option<Assertions>) -> Self {
        Self {
            of_certificate: presets.iter().any(|preset| preset.is_of_certificate()),
            presets,
            assertions,
        }
    }

    /// What makes the assertions, where there are any.
    #[must_use]
    pub const fn assertions(&self) -> Option<&Assertions> {
        self.assertions.as_ref()
    }

    /// Writes the fields about one request.
    pub(super) fn write(self: &Arc<Self>, out: &mut Vec<u8>, told: &Told<'_>) {
        if let Ok(principal) = told.permit.identity() {
            for preset in &self.presets {
                write_user(out, *preset, principal.user());
            }
            if let Some(assertions) = &self.assertions {
                assertions.write(out, told, principal, self);
            }
        }
        if !self.of_certificate {
            return;
        }
        match told.permit.certificate() {
            Ok(certificate) => self.write_certificate(out, certificate, told.client),
            Err(why) => self.write_absence(out, *why),
        }
    }

    fn write_certificate(
        self: &Arc<Self>,
        out: &mut Vec<u8>,
        certificate: &Arc<ClientIdentity>,
        client: &ClientFacts,
    ) {
        client.kept.certificate_lines.with(|kept| {
            let fits = |kept: &CertificateLines| {
                Arc::ptr_eq(&kept.headers, self) && Arc::ptr_eq(&kept.certificate, certificate)
            };
            if !kept.as_ref().is_some_and(fits) {
                *kept = Some(CertificateLines {
                    headers: Arc::clone(self),
                    certificate: Arc::clone(certificate),
                    lines: certificate_lines(&self.presets, certificate).into(),
                });
            }
            if let Some(kept) = kept {
                out.extend_from_slice(&kept.lines);
            }
        });
    }

    /// What there is to say where there is no certificate, or none that is good.
    fn write_absence(&self, out: &mut Vec<u8>, why: NoIdentity) {
        let failure = match why {
            NoIdentity::NotRequested | NoIdentity::NotPresented => None,
            NoIdentity::Invalid(why) => Some(openssl_error(why)),
        };
        for preset in &self.presets {
            match (preset, failure) {
                // nginx says it of every request over TLS, and so do we of all: it is the one
                // convention in which a missing field means that nobody has looked.
                (IdentityPreset::NginxSsl, None) => write::checked(out, NGINX[0], ["NONE"]),
                (IdentityPreset::NginxSsl, Some((_, words))) => {
                    write::checked(out, NGINX[0], ["FAILED:", words]);
                }
                // HAProxy's documented sample also writes 0 for clients without a certificate,
                // since no check has failed. A backend that looks at nothing else would let them
                // in: so there is no 0 here but for a good certificate.
                (IdentityPreset::HaproxySsl, Some((code, _))) => {
                    write::checked(out, HAPROXY[0], [code]);
                }
                _ => {}
            }
        }
    }
}

/// What OpenSSL, and with it HAProxy and nginx, call what is wrong: the number of X509_V_ERR_… and
/// its words.
const fn openssl_error(why: InvalidIdentity) -> (&'static str, &'static str) {
    const NOT_TAKEN: (&str, &str) = ("50", "application verification failure");
    let InvalidIdentity::Certificate(why) = why else {
        return NOT_TAKEN;
    };
    match why {
        InvalidCertificate::Expired => ("10", "certificate has expired"),
        InvalidCertificate::NotYetValid => ("9", "certificate is not yet valid"),
        InvalidCertificate::Revoked => ("23", "certificate revoked"),
        InvalidCertificate::UnknownAuthority => ("20", "unable to get local issuer certificate"),
        InvalidCertificate::SelfSigned => ("18", "self-signed certificate"),
        InvalidCertificate::Weak => ("66", "EE certificate key too weak"),
        InvalidCertificate::WrongPurpose => ("26", "unsuitable certificate purpose"),
        InvalidCertificate::ChainTooLong => ("22", "certificate chain too long"),
        InvalidCertificate::CrlExpired => ("12", "CRL has expired"),
        InvalidCertificate::CrlMissing => ("3", "unable to get certificate CRL"),
        InvalidCertificate::CrlInvalid => ("8", "CRL signature failure"),
        InvalidCertificate::Damaged => ("1", "unspecified certificate verification error"),
        InvalidCertificate::NoRule | InvalidCertificate::SeveralNames => NOT_TAKEN,
    }
}

// === The user ===

fn write_user(out: &mut Vec<u8>, preset: IdentityPreset, user: &User) {
    let [name, email, groups, shown] = match preset {
        IdentityPreset::XForwardedUser => X_FORWARDED,
        IdentityPreset::XAuthRequest => X_AUTH_REQUEST,
        IdentityPreset::RemoteUser => REMOTE,
        _ => return,
    };
    write::parts(out, name, [visible(user.name.as_str())]);
    if let Some(address) = &user.email {
        write::parts(out, email, [visible(address)]);
    }
    if !user.groups().is_empty() {
        let comma = |at| Cow::Borrowed(if at == 0 { "" } else { "," });
        let names = user.groups().iter().enumerate();
        let names = names.flat_map(|(at, name)| [comma(at), visible(name)]);
        write::parts(out, groups, names);
    }
    let to_show = user.display_name.as_deref();
    write::parts(out, shown, [visible(to_show.unwrap_or(user.name.as_str()))]);
}

/// What may not stand in a value as it is, beside all that is not ASCII: controls, and `%`, so that
/// it stays readable one way only.
const NOT_VISIBLE: &AsciiSet = &CONTROLS.add(b'%');

/// A value in visible ASCII, everything else percent-encoded.
pub(super) fn visible(value: &str) -> Cow<'_, str> {
    utf8_percent_encode(value, NOT_VISIBLE).into()
}

// === The certificate ===

fn certificate_lines(presets: &[IdentityPreset], certificate: &ClientIdentity) -> Vec<u8> {
    let mut out = Vec::new();
    for preset in presets {
        match preset {
            IdentityPreset::Xfcc => write::field(&mut out, XFCC, xfcc(certificate).as_bytes()),
            IdentityPreset::Rfc9440 => write_rfc9440(&mut out, certificate),
            IdentityPreset::NginxSsl => write_nginx(&mut out, certificate),
            IdentityPreset::HaproxySsl => write_haproxy(&mut out, certificate),
            IdentityPreset::Wso2 => write_wso2(&mut out, certificate),
            IdentityPreset::Wso2Apim => {
                let value = STANDARD.encode(pem(&certificate.der));
                write::field(&mut out, WSO2_APIM, value.as_bytes());
            }
            IdentityPreset::XForwardedUser
            | IdentityPreset::XAuthRequest
            | IdentityPreset::RemoteUser
            | IdentityPreset::Jwt => {}
        }
    }
    out
}

/// Writes a field where there is a value.
fn present(out: &mut Vec<u8>, name: &str, value: &str) {
    if !value.is_empty() {
        write::field(out, name, value.as_bytes());
    }
}

/// A name as text that begins and ends where it does: a space at the end of a field is no part of
/// its value.
fn dn_text(name: &DistinguishedName) -> String {
    let text = name.to_string();
    match text.strip_suffix("\\ ") {
        Some(start) => format!("{start}\\20"),
        None => text,
    }
}

/// The same of text that is no distinguished name.
fn plain_text(text: &str) -> Cow<'_, str> {
    const NOT_AT_ENDS: &AsciiSet = &NOT_VISIBLE.add(b' ');
    if text.starts_with(' ') || text.ends_with(' ') {
        return utf8_percent_encode(text, NOT_AT_ENDS).into();
    }
    visible(text)
}

/// As Envoy writes it, one element: what a client sent of earlier ones is gone.
fn xfcc(certificate: &ClientIdentity) -> String {
    let mut value = String::new();
    if let Some(by) = &certificate.by {
        push_pair(&mut value, "By", by);
        value.push(';');
    }
    let hash = base16ct::lower::encode_string(&certificate.sha256);
    let subject = quotable(&dn_text(&certificate.subject));
    let written = write!(value, "Hash={hash};Subject=\"{subject}\"");
    debug_assert!(written.is_ok());
    for (key, names) in [("URI", &certificate.san_uri), ("DNS", &certificate.san_dns)] {
        for name in names {
            value.push(';');
            push_pair(&mut value, key, name);
        }
    }
    value
}

/// Quotes and backslashes have no place in URIs and host names. Encoded, they cannot be taken for
/// the end of a quoted value by anybody, whatever they make of `\"`.
fn push_pair(out: &mut String, key: &str, value: &str) {
    // The percent signs of a URI are its own.
    const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'\\');
    let value = Cow::from(utf8_percent_encode(value, ENCODED));
    let quote = if value.contains([',', ';', '=']) {
        "\""
    } else {
        ""
    };
    let written = write!(out, "{key}={quote}{value}{quote}");
    debug_assert!(written.is_ok());
}

/// A name in RFC 4514 as it may stand between quotes. Envoy passes the escapes of the name through,
/// and readers differ in what `\\` before the closing quote means to them; the same name with these
/// two written in hexadecimal (section 2.4) has neither `\"` nor `\\` in it.
fn quotable(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name.chars();
    while let Some(c) = rest.next() {
        out.push(c);
        if c == '\\' {
            match rest.next() {
                Some('"') => out.push_str("22"),
                Some('\\') => out.push_str("5C"),
                Some(other) => out.push(other),
                None => {}
            }
        }
    }
    out
}

/// Byte sequences of structured fields (RFC 9440 section 2): the certificate, and what is between
/// it and a trusted one.
fn write_rfc9440(out: &mut Vec<u8>, certificate: &ClientIdentity) {
    let bytes = |der: &Vec<u8>| format!(":{}:", STANDARD.encode(der));
    write::field(out, CLIENT_CERT, bytes(&certificate.der).as_bytes());
    let chain: Vec<String> = certificate.chain.iter().map(bytes).collect();
    present(out, CLIENT_CERT_CHAIN, &chain.join(", "));
}

fn write_nginx(out: &mut Vec<u8>, certificate: &ClientIdentity) {
    /// All but what RFC 3986 calls unreserved, as nginx does for `$ssl_client_escaped_cert`.
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    let [verify, subject, issuer, cert] = NGINX;
    write::field(out, verify, b"SUCCESS");
    present(out, subject, &dn_text(&certificate.subject));
    present(out, issuer, &dn_text(&certificate.issuer));
    let pem = pem(&certificate.der);
    write::parts(out, cert, utf8_percent_encode(&pem, ESCAPED));
}

/// The names of HAProxy's documented sample, without the quotes that it puts around texts: these
/// cannot end a line, and a backend would have to take them off again.
fn write_haproxy(out: &mut Vec<u8>, certificate: &ClientIdentity) {
    let [verify, subject, common_name, issuer, not_before, not_after] = HAPROXY;
    write::field(out, verify, b"0");
    present(out, subject, &dn_text(&certificate.subject));
    // Where the last is no text, one before it is somebody else's name.
    if let Some(AttributeValue::Text(last)) = certificate.subject.last("CN") {
        present(out, common_name, &plain_text(last));
    }
    present(out, issuer, &dn_text(&certificate.issuer));
    present(out, not_before, &haproxy_time(certificate.not_before));
    present(out, not_after, &haproxy_time(certificate.not_after));
}

/// `YYMMDDhhmmssZ`, as HAProxy's `ssl_c_notafter`. Nothing outside the years that two digits stand
/// for in certificates or that HAProxy cuts down to two.
fn haproxy_time(seconds: i64) -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year repr:last_two][month][day][hour][minute][second]Z");
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
    let time = time.filter(|time| (1950..2100).contains(&time.year()));
    let text = time.and_then(|time| time.format(FORMAT).ok());
    text.unwrap_or_default()
}

/// WSO2 looks for `/CN=` before it parses a name, so no slash stands there as such. And it takes
/// the first common name that it finds for the device: where there are several, or one that is no
/// text, it is told nothing.
fn write_wso2(out: &mut Vec<u8>, certificate: &ClientIdentity) {
    let subject = &certificate.subject;
    let cns = subject.count("CN");
    if cns <= 1 && subject.texts("CN").count() == cns {
        let subject = dn_text(&certificate.subject).replace('/', "\\2F");
        present(out, WSO2, &subject);
    }
}

/// A certificate as RFC 7468 has it.
fn pem(der: &[u8]) -> String {
    const LINE: usize = 64;
    let base64 = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(LINE.min(rest.len()));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::identity::certificate::CertificateProof;
    use crate::identity::dn::Attribute;
    use crate::proxy::headers::is_reserved;

    pub(in crate::proxy) fn name(parts: &[(&str, &str)]) -> DistinguishedName {
        let part = |(kind, value): &(&str, &str)| {
            vec![Attribute {
                kind: (*kind).to_owned(),
                value: AttributeValue::Text((*value).to_owned()),
            }]
        };
        DistinguishedName(parts.iter().map(part).collect())
    }

    pub(in crate::proxy) fn certificate() -> ClientIdentity {
        ClientIdentity {
            proof: CertificateProof::Chain,
            subject: name(&[("O", "Plant"), ("CN", "cam-1")]),
            issuer: name(&[("CN", "Plant CA")]),
            serial: "2a".into(),
            san_dns: vec!["cam-1.plant.example".into()],
            san_uri: vec!["spiffe://plant/cam-1".into()],
            san_email: Vec::new(),
            san_ip: Vec::new(),
            sha256: [0xab; 32],
            spki_sha256: [0; 32],
            thingsboard: [0; 32],
            not_before: 1_700_000_000,
            not_after: 1_900_000_000,
            der: vec![0xff; 60],
            chain: Vec::new(),
            by: None,
        }
    }

    fn lines(presets: &[IdentityPreset], certificate: &ClientIdentity) -> String {
        String::from_utf8(certificate_lines(presets, certificate)).unwrap()
    }

    #[track_caller]
    fn check(preset: IdentityPreset, certificate: &ClientIdentity, expected: &[&str]) {
        let expected: String = expected.iter().map(|line| format!("{line}\r\n")).collect();
        assert_eq!(lines(&[preset], certificate), expected);
    }

    #[test]
    fn every_name_that_is_written_is_reserved_in_every_spelling() {
        for name in IdentityPreset::ALL.iter().flat_map(|preset| preset.names()) {
            for name in [
                (*name).to_owned(),
                name.to_uppercase(),
                name.to_lowercase(),
                name.replace('-', "_"),
                name.replace('-', "."),
                name.replace('-', "~"),
                name.replacen('-', "_", 1).to_uppercase(),
            ] {
                assert!(is_reserved(name.as_bytes()), "{name}");
            }
        }
    }

    #[test]
    fn no_preset_writes_a_name_that_it_does_not_name() {
        let whole = ClientIdentity {
            chain: vec![vec![1], vec![2]],
            by: Some("spiffe://gate".into()),
            ..certificate()
        };
        for preset in IdentityPreset::ALL {
            let names: Vec<String> = lines(&[preset], &whole)
                .lines()
                .map(|line| line.split_once(": ").unwrap().0.to_owned())
                .collect();
            let all_named = names.iter().all(|name| preset.names().contains(&&**name));
            assert!(all_named, "{preset:?}: {names:?}");
            assert_eq!(!names.is_empty(), preset.is_of_certificate(), "{preset:?}");
        }
    }

    #[test]
    fn xfcc_is_what_envoy_writes() {
        let hash = "ab".repeat(32);
        check(
            IdentityPreset::Xfcc,
            &certificate(),
            &[&format!(
                "X-Forwarded-Client-Cert: Hash={hash};Subject=\"CN=cam-1,O=Plant\";\
                 URI=spiffe://plant/cam-1;DNS=cam-1.plant.example"
            )],
        );
        let several = ClientIdentity {
            by: Some("spiffe://gate".into()),
            subject: DistinguishedName::default(),
            san_uri: vec!["urn:a".into(), "urn:b".into()],
            san_dns: Vec::new(),
            ..certificate()
        };
        assert_eq!(
            xfcc(&several),
            format!("By=spiffe://gate;Hash={hash};Subject=\"\";URI=urn:a;URI=urn:b")
        );
    }

    #[test]
    fn no_value_in_a_certificate_ends_its_place_in_xfcc() {
        let hostile = ClientIdentity {
            subject: name(&[("CN", "a\\\";URI=spiffe://plant/root,\"")]),
            san_uri: vec!["urn:a;URI=spiffe://plant/root".into(), "urn:\"\\".into()],
            san_dns: vec!["a,By=b".into(), "ä b\r\n".into()],
            ..certificate()
        };
        let written = xfcc(&hostile);
        let (_, written) = written.split_once(';').unwrap();
        assert_eq!(
            written,
            "Subject=\"CN=a\\5C\\22\\;URI=spiffe://plant/root\\,\\22\";\
             URI=\"urn:a;URI=spiffe://plant/root\";URI=urn:%22%5C;\
             DNS=\"a,By=b\";DNS=%C3%A4%20b%0D%0A"
        );
    }

    #[test]
    fn rfc_9440_has_the_chain_only_where_there_is_one() {
        let short = ClientIdentity {
            der: b"leaf".to_vec(),
            ..certificate()
        };
        check(
            IdentityPreset::Rfc9440,
            &short,
            &["Client-Cert: :bGVhZg==:"],
        );
        let long = ClientIdentity {
            chain: vec![b"one".to_vec(), b"two".to_vec()],
            ..short
        };
        check(
            IdentityPreset::Rfc9440,
            &long,
            &[
                "Client-Cert: :bGVhZg==:",
                "Client-Cert-Chain: :b25l:, :dHdv:",
            ],
        );
    }

    #[test]
    fn nginx_gets_its_pem_escaped_and_wso2_encoded() {
        let leaf = ClientIdentity {
            der: b"\xff\xff\xfe leaf".to_vec(),
            ..certificate()
        };
        check(
            IdentityPreset::NginxSsl,
            &leaf,
            &[
                "ssl-client-verify: SUCCESS",
                "ssl-client-subject-dn: CN=cam-1,O=Plant",
                "ssl-client-issuer-dn: CN=Plant CA",
                "ssl-client-cert: -----BEGIN%20CERTIFICATE-----%0A%2F%2F%2F%2BIGxlYWY%3D%0A\
                 -----END%20CERTIFICATE-----%0A",
            ],
        );
        let pem = "-----BEGIN CERTIFICATE-----\n///+IGxlYWY=\n-----END CERTIFICATE-----\n";
        let line = format!("X-WSO2-CLIENT-CERTIFICATE: {}", STANDARD.encode(pem));
        check(IdentityPreset::Wso2Apim, &leaf, &[&line]);
        assert_eq!(super::pem(&[0; 60]).lines().nth(1).unwrap().len(), 64);
    }

    #[test]
    fn haproxy_is_told_the_last_common_name_and_dates_of_two_digits() {
        let two = ClientIdentity {
            subject: name(&[("CN", "group"), ("CN", "J\u{fc}rgen ")]),
            not_before: 0,
            not_after: 253_402_300_799,
            ..certificate()
        };
        check(
            IdentityPreset::HaproxySsl,
            &two,
            &[
                "X-SSL-Client-Verify: 0",
                "X-SSL-Client-DN: CN=J\\C3\\BCrgen\\ ,CN=group",
                "X-SSL-Client-CN: J%C3%BCrgen%20",
                "X-SSL-Issuer: CN=Plant CA",
                // 9999-12-31, which two digits cannot say, is left out.
                "X-SSL-Client-NotBefore: 700101000000Z",
            ],
        );
        assert_eq!(haproxy_time(1_900_000_000), "300317174640Z");
    }

    #[test]
    fn wso2_never_sees_a_slash_or_a_choice_of_common_names() {
        let device = |parts: &[(&str, &str)]| ClientIdentity {
            subject: name(parts),
            ..certificate()
        };
        check(
            IdentityPreset::Wso2,
            &device(&[("O", "a/CN=root"), ("CN", "x/CN=victim")]),
            &["proxy-mutual-auth-header: CN=x\\2FCN=victim,O=a\\2FCN=root"],
        );
        let two = device(&[("CN", "victim"), ("CN", "x")]);
        check(IdentityPreset::Wso2, &two, &[]);
        check(IdentityPreset::Wso2, &device(&[]), &[]);
    }

    #[test]
    fn a_common_name_that_is_no_text_counts_as_one() {
        let device = |texts: [bool; 2]| {
            let mut subject = name(&[("CN", "first"), ("CN", "last")]);
            for (part, is_text) in subject.0.iter_mut().zip(texts) {
                if !is_text {
                    part[0].value = AttributeValue::Der(vec![4, 1, 0xab]);
                }
            }
            ClientIdentity {
                subject,
                ..certificate()
            }
        };
        let haproxy_cn = |certificate| {
            let written = lines(&[IdentityPreset::HaproxySsl], &certificate);
            let mut found = written.lines().map(|line| line.split_once(": ").unwrap());
            found.find_map(|(name, value)| (name == HAPROXY[2]).then(|| value.to_owned()))
        };
        for (texts, cn) in [
            ([true, true], Some("last")),
            ([false, true], Some("last")),
            ([true, false], None),
        ] {
            check(IdentityPreset::Wso2, &device(texts), &[]);
            assert_eq!(haproxy_cn(device(texts)).as_deref(), cn, "{texts:?}");
        }
        let mut one = device([true, false]);
        one.subject.0.remove(0);
        check(IdentityPreset::Wso2, &one, &[]);
        let mut one = device([true, false]);
        one.subject.0.pop();
        let told = "proxy-mutual-auth-header: CN=first";
        check(IdentityPreset::Wso2, &one, &[told]);
    }

    #[test]
    fn a_name_ends_where_its_field_ends() {
        assert_eq!(dn_text(&name(&[("CN", "a ")])), "CN=a\\20");
        assert_eq!(dn_text(&name(&[("CN", " ")])), "CN=\\20");
        assert_eq!(plain_text(" a b"), "%20a%20b");
        assert_eq!(plain_text("a b"), "a b");
    }

    #[test]
    fn only_nginx_is_told_that_there_is_no_certificate_and_haproxy_what_is_wrong() {
        let headers = IdentityHeaders::new(IdentityPreset::ALL.to_vec(), None);
        let told = |why| {
            let mut out = Vec::new();
            headers.write_absence(&mut out, why);
            String::from_utf8(out).unwrap()
        };
        let none = "ssl-client-verify: NONE\r\n";
        assert_eq!(told(NoIdentity::NotPresented), none);
        assert_eq!(told(NoIdentity::NotRequested), none);
        let invalid = |why| NoIdentity::Invalid(InvalidIdentity::Certificate(why));
        assert_eq!(
            told(invalid(InvalidCertificate::Expired)),
            "ssl-client-verify: FAILED:certificate has expired\r\nX-SSL-Client-Verify: 10\r\n"
        );
        assert_eq!(
            told(invalid(InvalidCertificate::NoRule)),
            "ssl-client-verify: FAILED:application verification failure\r\n\
             X-SSL-Client-Verify: 50\r\n"
        );
        let gone = told(NoIdentity::Invalid(InvalidIdentity::UserGone));
        assert_eq!(gone, told(invalid(InvalidCertificate::NoRule)));
    }

    #[test]
    fn a_value_outside_visible_ascii_is_percent_encoded() {
        assert_eq!(visible("Ralph X"), "Ralph X");
        assert_eq!(visible("Jürgen 100%"), "J%C3%BCrgen 100%25");
        assert_eq!(visible("a\r\nb"), "a%0D%0Ab");
    }
}
