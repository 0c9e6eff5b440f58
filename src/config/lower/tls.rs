//! The section `tls`.

use std::path::Path;

use crate::config::document::At;
use crate::config::file::{CertificateFile, TlsFile};
use crate::config::scalar::Items;
use crate::listen::spec::{ListenerSpec, Protocol};
use crate::tls::spec::{MinVersion, TlsSpec};

use super::choose;

/// The TLS settings; required where a listener speaks https. `folder` is where relative paths
/// begin.
pub(super) fn lower(
    written: Option<TlsFile>,
    listeners: &[ListenerSpec],
    folder: &Path,
    at: &At<'_>,
) -> Option<TlsSpec> {
    let https = listeners
        .iter()
        .any(|listener| listener.protocol == Protocol::Https);
    let written = if https {
        let hint = "a listener speaks https and needs a certificate, as \
                    \"certificates: [{cert: tls.crt, key: tls.key}]\"";
        at.required("tls", written, hint)?
    } else {
        written?
    };
    let at = at.key("tls");
    if !https && !listeners.is_empty() {
        at.warn("no listener speaks https, so this is not used");
    }
    let TlsFile {
        min_version,
        certificates,
        hsts: _, // Lowered by `hsts`.
    } = written;
    let min_version = min_version.map(|version| version.0);
    let choices = [
        ("1.2", Some(MinVersion::Tls12)),
        ("1.3", Some(MinVersion::Tls13)),
    ];
    let min_version = choose(
        min_version.as_deref(),
        MinVersion::default(),
        &choices,
        &at.key("min_version"),
    );
    let CertificateFile { cert, key } = only_certificate(certificates, &at)?;
    let at = at.key("certificates").item(0);
    let cert = at.required("cert", cert, "name the PEM file with the certificate");
    let key = at.required("key", key, "name the PEM file with the private key");
    Some(TlsSpec {
        cert: lower_path(&cert?, folder, &at.key("cert"))?,
        key: lower_path(&key?, folder, &at.key("key"))?,
        min_version,
    })
}

fn only_certificate(
    written: Option<Items<CertificateFile>>,
    at: &At<'_>,
) -> Option<CertificateFile> {
    let hint = "write one, as \"certificates: [{cert: tls.crt, key: tls.key}]\"";
    let certificates = at.required("certificates", written, hint)?;
    let at = at.key("certificates");
    match certificates.0.len() {
        0 => at.problem(format!("none; {hint}")),
        1 => {}
        _ => at
            .item(1)
            .problem("more than one certificate is not available in this version"),
    }
    certificates.0.into_iter().next().flatten()
}

fn lower_path(written: &str, folder: &Path, at: &At<'_>) -> Option<std::path::PathBuf> {
    if written.is_empty() {
        at.problem("expected the path of a file, got nothing");
        return None;
    }
    Some(folder.join(written))
}
