//! The keys `client_auth` of the section `tls`, of its names and of listeners.

use std::collections::BTreeMap;

use crate::config::Source;
use crate::config::document::At;
use crate::config::file::{
    ClientAuthFile, ClientAuthSettingsFile, NameFile, TrustFile, TrustListFile,
};
use crate::config::scalar::{Flag, Items};
use crate::identity::host::HostName;
use crate::proxy::spec::IdentitySpec;
use crate::tls::spec::{
    ClientAuthMode, ClientAuthSpec, ClientAuthSpecs, RevocationScope, TlsSpec, TrustSource,
};

use super::clients::KnownClients;
use super::routes::PlacedRoute;
use super::{choose, choose_word, in_range, input, secret};

/// A root, two intermediates, and what a bridge between two of them needs.
const DEFAULT_DEPTH: usize = 4;

const MODES: [(&str, Option<ClientAuthMode>); 4] = [
    ("off", Some(ClientAuthMode::Off)),
    ("optional", Some(ClientAuthMode::Optional)),
    ("required", Some(ClientAuthMode::Required)),
    ("pinned", Some(ClientAuthMode::Pinned)),
];

/// What all clients are asked for. `listeners` are those that say something of their own.
pub(super) fn lower(
    default: Option<ClientAuthFile>,
    names: Option<Items<NameFile>>,
    listeners: BTreeMap<usize, ClientAuthSpec>,
    source: &Source<'_>,
    tls: &At<'_>,
) -> ClientAuthSpecs {
    let default = default.map(|written| lower_one(written, source, &tls.key("client_auth")));
    ClientAuthSpecs {
        default: default.unwrap_or_default(),
        listeners,
        names: lower_names(names.unwrap_or_default(), source, &tls.key("names")),
    }
}

fn lower_names(
    written: Items<NameFile>,
    source: &Source<'_>,
    at: &At<'_>,
) -> Vec<(Vec<String>, ClientAuthSpec)> {
    let mut known = Vec::new();
    let mut all = Vec::new();
    for (at, NameFile { name, client_auth }) in at.items(written) {
        let hint = "say which names, as \"name: admin.example.com\"";
        let name = at.required("name", name, hint);
        let hint = "say what clients are asked for there, as \"client_auth: off\"";
        let client_auth = at.required("client_auth", client_auth, hint);
        let mut names = Vec::new();
        for (at, name) in name
            .map(|name| at.key("name").texts(name))
            .unwrap_or_default()
        {
            if let Some(problem) = name_problem(&name, &known, &at) {
                at.problem(problem);
                continue;
            }
            known.push((HostName::of_name(&name), at.path().to_string()));
            names.push(name);
        }
        if let Some(client_auth) = client_auth {
            let spec = lower_one(client_auth, source, &at.key("client_auth"));
            all.push((names, spec));
        }
    }
    all
}

fn name_problem(name: &str, known: &[(HostName, String)], at: &At<'_>) -> Option<String> {
    let plain = name.strip_prefix("*.").unwrap_or(name);
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if HostName::of_name(plain).as_str().is_empty() || !plain.chars().all(legal) {
        let name = at.quoted(name);
        return Some(format!(
            "expected a name like admin.example.com or *.example.com, got {name}"
        ));
    }
    let name = HostName::of_name(name);
    let other = known.iter().find(|(known, _)| *known == name);
    other.map(|(_, place)| format!("{place} already is about this name"))
}

/// What clients are asked for somewhere.
pub(super) fn lower_one(
    written: ClientAuthFile,
    source: &Source<'_>,
    at: &At<'_>,
) -> ClientAuthSpec {
    let (mode, written) = match written {
        ClientAuthFile::Word(word) => (choose_word(&word, &MODES, at), Default::default()),
        ClientAuthFile::Settings(settings) => (lower_mode(&settings, at), settings),
    };
    let ClientAuthSettingsFile {
        mode: _, // It is there already, whichever way it was written.
        ca,
        crl,
        crl_check,
        depth,
        send_ca_names,
        unsafe_weak_certificates,
    } = written;
    refuse_unused(mode, [("ca", ca.is_some()), ("crl", crl.is_some())], at);
    let has_ca = ca.is_some();
    let trust = ca
        .map(|ca| lower_trust(ca, source, &at.key("ca")))
        .unwrap_or_default();
    let needs_ca = matches!(
        mode,
        Some(ClientAuthMode::Optional | ClientAuthMode::Required)
    );
    if needs_ca && !has_ca && !at.key("ca").is_refused() {
        at.problem("say whose certificates are trusted, as \"ca: clients-ca.crt\"");
    }
    let (crl_at, crl) = (at.key("crl"), crl.map(|crl| at.key("crl").texts(crl)));
    if crl.as_ref().is_some_and(Vec::is_empty) {
        crl_at.problem("none; name a file or folder with revocation lists, or leave the key out");
    }
    let crl = crl.into_iter().flatten();
    let scopes = [
        ("chain", Some(RevocationScope::Chain)),
        ("leaf", Some(RevocationScope::Leaf)),
    ];
    let depth = in_range(depth, DEFAULT_DEPTH, 0..=16, &at.key("depth"));
    ClientAuthSpec {
        place: at.place(),
        mode: mode.unwrap_or_default(),
        trust,
        crl: crl
            .filter_map(|(at, file)| input(&file, "revocation lists", source, &at))
            .collect(),
        revocation: choose(
            crl_check.as_deref(),
            RevocationScope::default(),
            &scopes,
            &at.key("crl_check"),
        ),
        depth: u8::try_from(depth).unwrap_or(u8::MAX),
        send_ca_names: send_ca_names != Some(Flag(false)),
        takes_weak: unsafe_weak_certificates == Some(Flag(true)),
    }
}

fn lower_mode(written: &ClientAuthSettingsFile, at: &At<'_>) -> Option<ClientAuthMode> {
    let hint = "write off, optional, required or pinned";
    let mode = at.required("mode", written.mode.as_deref(), hint)?;
    choose_word(mode, &MODES, &at.key("mode"))
}

fn refuse_unused(mode: Option<ClientAuthMode>, written: [(&str, bool); 2], at: &At<'_>) {
    let message = match mode {
        Some(ClientAuthMode::Pinned) => {
            "not with mode: pinned, where nobody vouches for a certificate; take this out, or \
             choose optional or required"
        }
        Some(ClientAuthMode::Off) => "not with mode: off; take this out, or choose another mode",
        Some(ClientAuthMode::Optional | ClientAuthMode::Required) | None => return,
    };
    for (key, _) in written.into_iter().filter(|(_, is_there)| *is_there) {
        at.key(key).key_problem(message);
    }
}

/// Notes where nothing is looked up although it is elsewhere: nobody inherits anything.
fn warn_of_missing_lists(specs: &ClientAuthSpecs, top: &At<'_>) {
    if specs.default.crl.is_empty() {
        return;
    }
    let listeners = specs.listeners.iter();
    let listeners = listeners.map(|(at, spec)| (top.key("listeners").item(*at), spec));
    let names = specs.names.iter().enumerate();
    let names = names.map(|(at, (_, spec))| (top.key("tls").key("names").item(at), spec));
    for (at, spec) in listeners.chain(names) {
        let is_vouched_for = !spec.trust.is_empty();
        if is_vouched_for && spec.crl.is_empty() {
            at.key("client_auth").warn(
                "no crl is here, so revoked certificates are let in; that of tls.client_auth does \
                 not count for it",
            );
        }
    }
}

/// Notes what is right by itself and of no use with what clients are asked for.
pub(super) fn warn_across(
    tls: Option<&TlsSpec>,
    clients: &KnownClients,
    routes: &[PlacedRoute<'_>],
    identity: &IdentitySpec,
    top: &At<'_>,
) {
    let specs = tls.map(|tls| &tls.client_auth);
    let modes: Vec<_> = specs
        .iter()
        .flat_map(|it| it.all())
        .map(|it| it.mode)
        .collect();
    let vouched = [ClientAuthMode::Optional, ClientAuthMode::Required];
    if let Some(specs) = specs {
        warn_of_missing_lists(specs, top);
    }
    let is_vouched_for = modes.iter().any(|mode| vouched.contains(mode));
    let is_pinned = modes.contains(&ClientAuthMode::Pinned);
    if !is_vouched_for && !is_pinned {
        for route in routes.iter().filter(|it| it.needs_certificate()) {
            route.warn_of_no_certificates();
        }
        if !clients.none_written {
            let message = "not used: no client is asked for a certificate; write tls.client_auth";
            top.key("clients").warn(message);
        }
        if identity.headers.iter().any(|it| it.is_of_certificate()) {
            let message = "some of these tell of certificates, and no client is asked for one; \
                           write tls.client_auth";
            top.key("identity").key("headers").warn(message);
        }
    } else if is_pinned && !clients.clients.some_know_fingerprints() {
        top.key("clients").warn(
            "with mode: pinned, only a fingerprint says whose a certificate is, and no rule has one \
             (sha256, spki or thingsboard)",
        );
    } else if !is_vouched_for && !clients.clients.all_know_fingerprints() {
        top.key("clients").warn(
            "with mode: pinned, rules without a fingerprint (sha256, spki or thingsboard) are never \
             about anybody",
        );
    }
}

/// Whose certificates are trusted.
pub(super) fn lower_trust(
    written: TrustListFile,
    source: &Source<'_>,
    at: &At<'_>,
) -> Vec<TrustSource> {
    let sources: Vec<_> = match written {
        TrustListFile::One(one) => vec![(at.clone(), one)],
        TrustListFile::Many(items) => {
            if items.0.is_empty() {
                at.problem(
                    "none; with an empty list nobody would be trusted: name the file of a CA",
                );
            }
            at.items(items).collect()
        }
    };
    let lowered = sources
        .into_iter()
        .filter_map(|(at, written)| match written {
            TrustFile::Path(file) => Some(TrustSource {
                path: input(&file, "CA certificates", source, &at)?,
                password: None,
            }),
            TrustFile::Keystore(written) => {
                let password = secret::lower(written.password, source, &at.key("password"));
                let file = at.required("path", written.path, "name the PKCS#12 or JKS file")?;
                Some(TrustSource {
                    path: input(&file, "CA certificates", source, &at.key("path"))?,
                    password,
                })
            }
        });
    lowered.collect()
}
