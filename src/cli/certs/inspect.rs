//! `certs inspect`: facts about certificates and keys, as a person reads them.

use std::fmt::Write as _;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use time::macros::format_description;
use zeroize::Zeroizing;

use super::make::{KEY_PASSPHRASE, first_line, from_environment};
use super::{CertsError, InspectArgs, formatted};
use crate::cli::secret::{self, Ask};
use crate::tls::certs::now;
use crate::tls::inspect::{
    CertificateFacts, Chain, ChainEnd, Contents, KeyFacts, NotRecognised, Protection, Role,
    contents, is_keystore,
};
use crate::tls::keystore::KeystoreError;
use crate::tls::probe::{Shown, Target, probe};

const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;

/// Where the values begin.
const WIDTH: usize = 13;

/// What to say of a file or a server.
pub(super) fn inspect(args: &InspectArgs) -> Result<String, CertsError> {
    let file = Path::new(&args.what);
    match fs::metadata(file) {
        Ok(metadata) => of_file(file, &metadata, args.password_file.as_deref()),
        Err(error) => match target(&args.what, args.server_name.as_deref()) {
            Some(target) => {
                let shown = probe(&target, args.timeout);
                let shown = shown.map_err(|source| CertsError::Probe {
                    target: target.clone(),
                    source,
                })?;
                Ok(of_server(&target, &shown))
            }
            None if error.kind() == io::ErrorKind::NotFound => Err(CertsError::NoTarget {
                what: args.what.clone(),
            }),
            None => Err(CertsError::Read {
                file: file.to_owned(),
                source: error,
            }),
        },
    }
}

/// HOST:PORT, with brackets around an IPv6 address.
fn target(text: &str, server_name: Option<&str>) -> Option<Target> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let is_host = !host.is_empty() && !host.contains(['/', '[', ']', ' ', '@']);
    if !is_host || (bare.is_none() && host.contains(':')) {
        return None;
    }
    Some(Target {
        host: host.to_owned(),
        port,
        server_name: server_name.unwrap_or(host).to_owned(),
    })
}

// === A file ===

fn of_file(
    file: &Path,
    metadata: &Metadata,
    password_file: Option<&Path>,
) -> Result<String, CertsError> {
    let bytes = fs::read(file)
        .map(Zeroizing::new)
        .map_err(|source| CertsError::Read {
            file: file.to_owned(),
            source,
        })?;
    let password = match is_keystore(&bytes) {
        true => Some(password_of(file, password_file)?),
        false => None,
    };
    let password = password.as_ref().map(|it| it.as_str());
    let Contents {
        certificates,
        chain,
        keys,
        others,
    } = contents(&bytes, password).map_err(|source| match source {
        NotRecognised::Keystore(KeystoreError::WrongStorePassword) if password == Some("") => {
            CertsError::NoPassword {
                file: file.to_owned(),
            }
        }
        source => CertsError::NotRecognised {
            file: file.to_owned(),
            source,
        },
    })?;
    let mut text = format!(
        "{}: {}\n",
        file.display(),
        counted(certificates.len(), &keys, &others)
    );
    add_certificates(&mut text, &certificates);
    for key in &keys {
        add_key(&mut text, key, certificates.len());
    }
    if !keys.is_empty() && metadata.is_file() && metadata.mode() & 0o007 != 0 {
        let mode = metadata.mode() & 0o777;
        line(
            &mut text,
            "",
            &format!("READABLE BY EVERYBODY on this machine (mode {mode:04o}); chmod 600 it"),
        );
    }
    if let Some(chain) = chain.filter(|_| certificates.len() > 1 || keys.is_empty()) {
        add_chain(&mut text, &chain, &certificates, false);
    }
    Ok(text)
}

/// A keystore's password: from the file, the environment, or whoever is asked.
fn password_of(file: &Path, given: Option<&Path>) -> Result<Zeroizing<String>, CertsError> {
    let secret = match given {
        Some(given) => first_line(given)?,
        None => match from_environment(KEY_PASSPHRASE) {
            Some(secret) => secret,
            None => secret::ask(&format!("Password of {}: ", file.display()), Ask::Once)?,
        },
    };
    let text = std::str::from_utf8(&secret).map_err(|_| CertsError::NotText)?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn counted(certificates: usize, keys: &[KeyFacts], others: &[String]) -> String {
    let mut parts = Vec::new();
    match certificates {
        0 => {}
        1 => parts.push("a certificate".to_owned()),
        count => parts.push(format!("{count} certificates")),
    }
    parts.extend(keys.iter().map(key_text));
    parts.extend_from_slice(others);
    if parts.is_empty() {
        return "nothing that is known here".to_owned();
    }
    parts.join(", ")
}

fn key_text(key: &KeyFacts) -> String {
    let kind = key.kind.as_deref().unwrap_or_default();
    let article = if kind.starts_with(['E', 'R']) {
        "an"
    } else {
        "a"
    };
    let space = if kind.is_empty() { "" } else { " " };
    let protection = match key.protection {
        Protection::None => "not encrypted",
        Protection::Passphrase => "encrypted",
        Protection::Keystore => "in a keystore",
    };
    format!("{article} {kind}{space}private key ({protection})")
}

fn add_key(text: &mut String, key: &KeyFacts, certificates: usize) {
    text.push('\n');
    line(
        text,
        "private key",
        key.kind
            .as_deref()
            .unwrap_or("of a kind that only its passphrase could show"),
    );
    line(
        text,
        "protection",
        match key.protection {
            Protection::None => "none but the mode of the file",
            Protection::Passphrase => "encrypted with a passphrase",
            Protection::Keystore => "the password of the keystore",
        },
    );
    if let Some(spki) = &key.spki_sha256 {
        line(text, "SPKI SHA-256", spki);
    }
    match key.certificate {
        Some(position) => line(
            text,
            "belongs to",
            &format!("certificate {} in this file", position + 1),
        ),
        None if certificates > 0 && key.protection != Protection::Passphrase => {
            line(text, "belongs to", "NO certificate in this file");
        }
        None => {}
    }
}

// === A server ===

fn of_server(target: &Target, shown: &Shown) -> String {
    let mut text = target.to_string();
    if shown.address.to_string() != text {
        let _ = write!(text, " ({})", shown.address);
    }
    text.push_str("\n\n");
    line(&mut text, "protocol", &protocol(&shown.version));
    line(
        &mut text,
        "cipher",
        shown.cipher.as_deref().unwrap_or("none chosen"),
    );
    let alpn = shown.alpn.as_deref();
    line(
        &mut text,
        "ALPN",
        alpn.unwrap_or("none chosen (offered: h2, http/1.1)"),
    );
    let ocsp = if shown.has_ocsp { "yes" } else { "no" };
    line(&mut text, "OCSP staple", ocsp);
    let name = &target.server_name;
    let named = if shown.is_name_right {
        format!("{name} is in the certificate")
    } else {
        format!("MISMATCH: {name} is not in the certificate; clients refuse it")
    };
    line(&mut text, "name", &named);
    let trust = match &shown.trust {
        Ok(()) => "this system trusts it".to_owned(),
        Err(why) => format!("NOT TRUSTED by this system: {why}"),
    };
    line(&mut text, "trust", &trust);
    if let Some(why) = &shown.broken_off {
        line(
            &mut text,
            "handshake",
            &format!("BROKEN OFF: {why}; does it want a client certificate?"),
        );
    }
    add_certificates(&mut text, &shown.certificates);
    if let Some(chain) = &shown.chain {
        add_chain(&mut text, chain, &shown.certificates, shown.trust.is_ok());
    }
    text
}

fn protocol(version: &str) -> String {
    match version {
        "TLSv1.3" | "TLSv1.2" => version.replace("TLSv", "TLS "),
        _ => format!(
            "{} (OUTDATED: browsers refuse it)",
            version.replace("TLSv", "TLS ")
        ),
    }
}

// === Certificates ===

fn add_certificates(text: &mut String, certificates: &[CertificateFacts]) {
    for (index, facts) in certificates.iter().enumerate() {
        text.push('\n');
        if certificates.len() > 1 {
            let _ = writeln!(text, "Certificate {} of {}", index + 1, certificates.len());
        }
        add_certificate(text, facts);
    }
}

fn add_certificate(text: &mut String, facts: &CertificateFacts) {
    line(text, "subject", &facts.subject);
    line(text, "issuer", &facts.issuer);
    if !facts.names.is_empty() {
        list(text, "names", &facts.names);
    }
    line(text, "valid", &validity(facts, now()));
    line(text, "role", &role(facts.role));
    if !facts.uses.is_empty() {
        list(text, "use", &facts.uses);
    }
    line(text, "key", &facts.key);
    line(text, "signature", &signature(&facts.signature));
    line(text, "serial", &facts.serial);
    line(text, "SHA-256", &facts.sha256);
    line(text, "SPKI SHA-256", &facts.spki_sha256);
    line(text, "ThingsBoard", &facts.thingsboard);
}

fn role(role: Role) -> String {
    let below = |path_length| match path_length {
        None => String::new(),
        Some(0) => ", for servers and clients only".to_owned(),
        Some(length) => format!(
            ", for at most {length} level{} of CAs below",
            if length == 1 { "" } else { "s" }
        ),
    };
    match role {
        Role::Root { path_length } => format!("root CA{}", below(path_length)),
        Role::Intermediate { path_length } => format!("intermediate CA{}", below(path_length)),
        Role::SelfSigned => "self-signed, not a CA".to_owned(),
        Role::Leaf => "signed by a CA, not one itself".to_owned(),
    }
}

fn signature(algorithm: &str) -> String {
    let lower = algorithm.to_ascii_lowercase();
    if lower.contains("sha1") || lower.contains("md5") {
        return format!("{algorithm} (BROKEN: clients of today refuse it)");
    }
    algorithm.to_owned()
}

fn validity(facts: &CertificateFacts, now: i64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]");
    let [from, to] = [facts.not_before, facts.not_after].map(|time| formatted(time, format));
    let verdict = if now > facts.not_after {
        format!("EXPIRED {} ago", span(now - facts.not_after))
    } else if now < facts.not_before {
        format!("NOT YET VALID, in {}", span(facts.not_before - now))
    } else {
        format!("{} left", span(facts.not_after - now))
    };
    format!("{from} to {to} UTC, {verdict}")
}

fn span(seconds: i64) -> String {
    let (count, unit) = match seconds {
        0..HOUR => (seconds / 60, "minute"),
        HOUR..DAY => (seconds / HOUR, "hour"),
        _ => (seconds / DAY, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

// === The chain ===

fn add_chain(
    text: &mut String,
    chain: &Chain,
    certificates: &[CertificateFacts],
    is_trusted: bool,
) {
    text.push('\n');
    let is_root = |facts: &CertificateFacts| matches!(facts.role, Role::Root { .. });
    if certificates.len() > 1 && certificates.iter().all(is_root) {
        line(text, "chain", "none: roots, each for itself");
        return;
    }
    line(text, "chain", &chain_text(chain, certificates, is_trusted));
    let numbers = |positions: &[usize]| {
        let numbers: Vec<_> = positions.iter().map(|at| (at + 1).to_string()).collect();
        numbers.join(", ")
    };
    if !chain.order.is_sorted() || chain.order.first() != Some(&0) {
        let order = numbers(&chain.order);
        line(
            text,
            "",
            &format!("WRONG ORDER: servers send {order}; put them into the file like that"),
        );
    }
    if !chain.apart.is_empty() {
        let apart = numbers(&chain.apart);
        line(text, "", &format!("no part of it: {apart}"));
    }
}

fn chain_text(chain: &Chain, certificates: &[CertificateFacts], is_trusted: bool) -> String {
    let last = chain.order.last().and_then(|at| certificates.get(*at));
    let alone = chain.order.len() == 1;
    match (&chain.end, last.map(|facts| facts.role)) {
        (ChainEnd::Root, Some(Role::SelfSigned)) => {
            "vouches for itself; whoever is to trust it must have this very certificate".to_owned()
        }
        (ChainEnd::Root, _) if alone => "a root: whoever has it trusts what it signs".to_owned(),
        (ChainEnd::Root, _) => "complete up to its root (which a server need not send)".to_owned(),
        (ChainEnd::Missing(_), _) if is_trusted => "complete for this system".to_owned(),
        (ChainEnd::Missing(issuer), _) => {
            let links = if alone { "" } else { "links, but " };
            format!("{links}ends before {issuer}: right if that is a root, else one is missing")
        }
    }
}

// === Layout ===

fn line(text: &mut String, label: &str, value: &str) {
    let _ = writeln!(text, "  {label:WIDTH$} {value}");
}

/// Several values, on as many lines as they need.
fn list(text: &mut String, label: &str, values: &[String]) {
    const MOST: usize = 80;
    let mut label = label;
    let mut row = String::new();
    for value in values {
        if !row.is_empty() && row.len() + value.len() > MOST {
            row.push(',');
            line(text, label, &row);
            label = "";
            row.clear();
        }
        if !row.is_empty() {
            row.push_str(", ");
        }
        row.push_str(value);
    }
    line(text, label, &row);
}
