//! `portcullis check`: every problem of a configuration, nothing bound.

use std::path::Path;
use std::process::ExitCode;

use super::{complain, complain_of_config};
use crate::config;
use crate::tls::acceptor::Acceptor;

/// Checks `file`, with the certificate and users that it names.
#[must_use]
pub fn check(file: &Path) -> ExitCode {
    let settings = match config::load(file) {
        Ok(settings) => settings,
        Err(problems) => {
            complain_of_config(file, &problems);
            return ExitCode::FAILURE;
        }
    };
    if let Some(Err(error)) = settings.tls.as_ref().map(Acceptor::load) {
        complain(&error);
        return ExitCode::FAILURE;
    }
    for warning in &settings.warnings {
        println!("warning: {warning}");
    }
    println!(
        "{}: ok ({} listeners, {} upstreams, {} routes, {} users)",
        file.display(),
        settings.listeners.len(),
        settings.upstreams.len(),
        settings.gate.routes.routes().len(),
        settings.gate.users.len(),
    );
    ExitCode::SUCCESS
}
