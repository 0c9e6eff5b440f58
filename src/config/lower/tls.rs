//! The section `tls`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::Source;
use crate::config::document::At;
use crate::config::file::{CertificateFile, KeystoreFile, TicketsFile, TlsFile};
use crate::config::scalar::{Choice, OneOrMany, Version};
use crate::listen::spec::{ListenerSpec, Protocol};
use crate::tls::spec::{
    Alpn, CIPHERS, CertificateSource, CertificateSpec, ClientAuthSpec, Group, MinVersion, Policy,
    TicketSpec, TlsSpec, UnusableCipher, cipher,
};

use super::{choose, client_auth, input, secret};

#[derive(Clone, Copy)]
enum Profile {
    Intermediate,
    Modern,
}

/// The TLS settings, where a listener speaks https. `state` is where a self-signed certificate is
/// kept; `asking` what some of the listeners ask their clients for.
pub(super) fn lower(
    written: Option<TlsFile>,
    state: Option<PathBuf>,
    (listeners, asking): (&[ListenerSpec], BTreeMap<usize, ClientAuthSpec>),
    source: &Source<'_>,
    at: &At<'_>,
) -> Option<TlsSpec> {
    let https = listeners
        .iter()
        .any(|listener| listener.protocol == Protocol::Https);
    if !https && written.is_none() {
        return None;
    }
    let at = at.key("tls");
    if !https && !listeners.is_empty() {
        at.warn("no listener speaks https, so this is not used");
    }
    let TlsFile {
        profile,
        min_version,
        ciphers,
        groups,
        alpn,
        tickets,
        certificates,
        hsts: _, // What answers say is for `hsts`.
        client_auth,
        names,
    } = written.unwrap_or_default();
    let default = Policy::default();
    let min_version = lower_versions(profile, min_version, &at);
    if ciphers.is_some() && min_version == MinVersion::Tls13 {
        let at = at.key("ciphers");
        at.warn("these are suites of TLS 1.2, which is not spoken here, so this is not used");
    }
    let policy = Policy {
        min_version,
        ciphers: some_of(ciphers, default.ciphers, &at.key("ciphers"), lower_cipher),
        groups: some_of(groups, default.groups, &at.key("groups"), lower_group),
        alpn: some_of(alpn, default.alpn, &at.key("alpn"), lower_alpn),
    };
    if let Some(written) = &certificates
        && written.0.is_empty()
    {
        at.key("certificates").problem(
            "none; write one, as \"certificates: [{cert: tls.crt, key: tls.key}]\", or leave the \
             key out for a self-signed one",
        );
    }
    let items = at
        .key("certificates")
        .items(certificates.unwrap_or_default());
    let certificates = items.filter_map(|(at, written)| lower_certificate(written, source, &at));
    Some(TlsSpec {
        certificates: certificates.collect(),
        policy,
        tickets: lower_tickets(tickets, source, &at.key("tickets")),
        state,
        client_auth: client_auth::lower(client_auth, names, asking, source, &at),
    })
}

// === The policy ===

fn lower_versions(
    profile: Option<Choice>,
    min_version: Option<Version>,
    at: &At<'_>,
) -> MinVersion {
    let profiles = [
        ("intermediate", Some(Profile::Intermediate)),
        ("modern", Some(Profile::Modern)),
    ];
    let profile = choose(
        profile.as_deref(),
        Profile::Intermediate,
        &profiles,
        &at.key("profile"),
    );
    let of_profile = match profile {
        Profile::Intermediate => MinVersion::Tls12,
        Profile::Modern => MinVersion::Tls13,
    };
    let at = at.key("min_version");
    let min_version = lower_min_version(min_version, of_profile, &at);
    if (of_profile, min_version) == (MinVersion::Tls13, MinVersion::Tls12) {
        at.problem("the profile modern is TLS 1.3 only; leave this out, or choose intermediate");
    }
    min_version
}

/// The oldest version to speak.
pub(super) fn lower_min_version(
    written: Option<Version>,
    default: MinVersion,
    at: &At<'_>,
) -> MinVersion {
    let versions = [
        ("1.2", Some(MinVersion::Tls12)),
        ("1.3", Some(MinVersion::Tls13)),
    ];
    let written = written.map(|version| version.0);
    choose(written.as_deref(), default, &versions, at)
}

/// What the words of a list stand for, each once; the default where nothing is written.
fn some_of<T: PartialEq>(
    written: Option<OneOrMany>,
    default: Vec<T>,
    at: &At<'_>,
    lower: fn(&str, &At<'_>) -> Option<T>,
) -> Vec<T> {
    let Some(written) = written else {
        return default;
    };
    if written.is_empty() {
        at.problem("none; write at least one, or leave the key out");
    }
    let mut found = Vec::new();
    for (at, word) in at.texts(written) {
        let one = lower(&word, &at);
        found.extend(one.filter(|one| !found.contains(one)));
    }
    // Those that were refused are problems already; a list is needed to go on.
    if found.is_empty() { default } else { found }
}

fn lower_cipher(name: &str, at: &At<'_>) -> Option<&'static str> {
    match cipher(name) {
        Ok(name) => return Some(name),
        Err(UnusableCipher::AlwaysOn) => {
            at.warn("the suites of TLS 1.3 are always on and cannot be chosen");
        }
        Err(UnusableCipher::Unknown) => {
            let names = CIPHERS.iter().flat_map(|(openssl, iana)| [*openssl, *iana]);
            let (written, known) = (at.quoted(name), at.suggestion(name, names));
            at.problem(format!(
                "{written} is no cipher suite with forward secrecy and AEAD{known}"
            ));
        }
    }
    None
}

fn lower_group(name: &str, at: &At<'_>) -> Option<Group> {
    let same = |known: &&str| known.eq_ignore_ascii_case(name);
    let mut all = Group::ALL.iter();
    let found = all.find(|(_, names)| names.iter().any(same));
    if found.is_none() {
        let names = Group::ALL.iter().map(|(_, names)| names[0]);
        let (written, known) = (at.quoted(name), at.suggestion(name, names));
        at.problem(format!("no group is named {written}{known}"));
    }
    found.map(|(group, _)| *group)
}

fn lower_alpn(name: &str, at: &At<'_>) -> Option<Alpn> {
    let choices = [Alpn::H2, Alpn::Http11].map(|alpn| (alpn.name(), Some(alpn)));
    super::choose_word(name, &choices, at)
}

fn lower_tickets(written: Option<TicketsFile>, source: &Source<'_>, at: &At<'_>) -> TicketSpec {
    let keys = match written {
        None => return TicketSpec::Random,
        Some(TicketsFile::Word(word)) => {
            let choices = [("off", Some(())), ("random", None)];
            if word == "random" {
                return TicketSpec::Random;
            }
            super::choose_word(&word, &choices, at);
            return TicketSpec::Off;
        }
        Some(TicketsFile::Keys(keys)) => keys,
    };
    let hint = "name the files, as \"keys: [/run/secrets/ticket.key]\"";
    let Some(keys) = at.required("keys", keys.keys, hint) else {
        return TicketSpec::Random;
    };
    let at = at.key("keys");
    if keys.is_empty() {
        at.problem(format!("none; {hint}"));
    }
    let files = at.texts(keys).into_iter();
    TicketSpec::Files {
        place: at.place(),
        files: files
            .filter_map(|(at, file)| input(&file, "ticket keys", source, &at))
            .collect(),
    }
}

// === Certificates ===

/// A certificate and its key.
pub(super) fn lower_certificate(
    written: CertificateFile,
    source: &Source<'_>,
    at: &At<'_>,
) -> Option<CertificateSpec> {
    let CertificateFile {
        cert,
        key,
        passphrase,
        keystore,
        ocsp,
    } = written;
    let ocsp = ocsp.and_then(|ocsp| input(&ocsp, "OCSP response", source, &at.key("ocsp")));
    let source = match keystore {
        Some(keystore) => {
            for (name, is_there) in [
                ("cert", cert.is_some()),
                ("key", key.is_some()),
                ("passphrase", passphrase.is_some()),
            ] {
                if is_there {
                    let at = at.key(name);
                    at.key_problem("certificate and key come from the keystore; leave this out");
                }
            }
            lower_keystore(keystore, source, &at.key("keystore"))?
        }
        None => {
            let passphrase = secret::lower(passphrase, source, &at.key("passphrase"));
            let hint = "name the file with the certificate, or write a keystore";
            let cert = at.required("cert", cert, hint)?;
            let cert = input(&cert, "certificate", source, &at.key("cert"))?;
            let key = match key {
                Some(key) => input(&key, "private key", source, &at.key("key"))?,
                None => cert.clone(),
            };
            CertificateSource::Files {
                cert,
                key,
                passphrase,
            }
        }
    };
    Some(CertificateSpec {
        place: at.place(),
        source,
        ocsp,
    })
}

fn lower_keystore(
    written: KeystoreFile,
    source: &Source<'_>,
    at: &At<'_>,
) -> Option<CertificateSource> {
    let KeystoreFile {
        path: file,
        password,
        alias,
        key_password,
    } = written;
    let password = secret::lower(password, source, &at.key("password"));
    let key_password = secret::lower(key_password, source, &at.key("key_password"));
    let file = at.required("path", file, "name the PKCS#12 or JKS file")?;
    Some(CertificateSource::Keystore {
        path: input(&file, "keystore", source, &at.key("path"))?,
        password,
        alias,
        key_password,
    })
}
