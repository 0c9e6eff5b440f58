//! `portcullis check`: every problem of a configuration, nothing bound.

use std::path::Path;
use std::process::ExitCode;

use super::complain_of_config;
use super::run::ask;
use crate::config;
use crate::server::upstreams::LiveUpstreams;
use crate::server::{buffering, sessions, signing};
use crate::tls::acceptor;
use crate::tls::secret::Answers;

/// Checks `file`, with the certificate and users that it names.
#[must_use]
pub fn check(file: &Path) -> ExitCode {
    let (settings, missing) = match config::load_to_start(file) {
        Ok(loaded) => loaded,
        Err(problems) => {
            complain_of_config(file, &problems);
            return ExitCode::FAILURE;
        }
    };
    let mut warnings = settings.warnings.clone();
    // Without a certificate, one is made and kept when the server starts; not here.
    let tls = settings.tls.as_ref();
    let answers = Answers::from(ask);
    let tls = tls.map(|spec| acceptor::check(spec, &answers)).transpose();
    let upstreams = LiveUpstreams::load(&settings, &answers);
    let signing = signing::load(&settings.identity);
    let buffering = buffering::check(&settings);
    let sessions = sessions::check(&settings);
    match (tls, upstreams, signing, sessions, buffering) {
        (Ok(odd), Ok(_), Ok(_), Ok(()), Ok(())) if missing.is_empty() => {
            warnings.extend(odd.into_iter().flatten());
        }
        (tls, upstreams, signing, sessions, buffering) => {
            let mut errors = Vec::new();
            errors.extend(tls.err().map(|it| it.to_string()));
            let of_upstreams = upstreams.err().unwrap_or_default();
            errors.extend(of_upstreams.iter().map(ToString::to_string));
            errors.extend(signing.err().map(|it| it.to_string()));
            errors.extend(sessions.err().map(|it| it.to_string()));
            errors.extend(buffering.err().map(|it| it.to_string()));
            missing.and(&errors).iter().for_each(|it| eprintln!("{it}"));
            return ExitCode::FAILURE;
        }
    }
    for warning in &warnings {
        println!("warning: {warning}");
    }
    println!(
        "{}: ok ({}, {}, {}, {})",
        file.display(),
        counted(settings.listeners.len(), "listener"),
        counted(settings.upstreams.len(), "upstream"),
        counted(settings.gate.routes.routes().len(), "route"),
        counted(settings.gate.users.len(), "user"),
    );
    ExitCode::SUCCESS
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
