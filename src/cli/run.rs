//! `portcullis run`: from a file to a server that serves.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use super::{EX_CONFIG, complain, complain_of_config, say};
use zeroize::Zeroizing;

use crate::config;
use crate::config::settings::{LogFormat, Settings};
use crate::observe::log::{Format, Logger};
use crate::server::reload::{Reloadable, Seen};
use crate::server::upstreams::LiveUpstreams;
use crate::server::{Server, StartError};
use crate::server::{buffering, sessions, signing};
use crate::store::Sessions;
use crate::tls::acceptor::Acceptor;
use crate::tls::secret::Answers;
use crate::tls::signing::SigningKey;
use crate::tls::spec::TlsSpec;

/// Serves `file` until a signal ends it.
#[must_use]
pub fn run(file: &Path) -> ExitCode {
    let seen = Seen::config(file);
    let (settings, missing) = match config::load_to_start(file) {
        Ok(loaded) => loaded,
        Err(problems) => {
            complain_of_config(file, &problems);
            return EX_CONFIG.into();
        }
    };
    let seen = seen.with(settings.tls.as_ref());
    let answers = Answers::from(ask);
    let load = |spec: &TlsSpec| Acceptor::load(spec, &answers);
    let acceptor = settings.tls.as_ref().map(load).transpose();
    let upstreams = LiveUpstreams::load(&settings, &answers);
    let (signing, buffering) = (
        signing::load(&settings.identity),
        buffering::check(&settings),
    );
    let loaded = (acceptor, upstreams, signing, buffering);
    let (acceptor, upstreams, signing) = match loaded {
        (Ok(acceptor), Ok(upstreams), Ok(signing), Ok(())) if missing.is_empty() => {
            (acceptor, upstreams, signing)
        }
        // As the problems of the configuration itself, one on each line.
        (acceptor, upstreams, signing, buffering) => {
            let mut errors = Vec::new();
            errors.extend(buffering.err().map(|it| it.to_string()));
            errors.extend(acceptor.err().map(|it| it.to_string()));
            let of_upstreams = upstreams.err().unwrap_or_default();
            errors.extend(of_upstreams.iter().map(ToString::to_string));
            errors.extend(signing.err().map(|it| it.to_string()));
            missing.and(&errors).iter().for_each(|it| eprintln!("{it}"));
            return EX_CONFIG.into();
        }
    };
    let sessions = match sessions::open(&settings) {
        Ok(sessions) => sessions,
        Err(error) => {
            eprintln!("{error}");
            return match error.is_in_use() {
                true => ExitCode::FAILURE,
                false => EX_CONFIG.into(),
            };
        }
    };
    let reloadable = Reloadable {
        file: file.to_owned(),
        spec: settings.tls.clone(),
        sections: settings.sections.clone(),
        text: settings.text.clone(),
        answers: answers.without_asking(),
        acceptor,
        upstreams,
        seen,
    };
    match serve(settings, reloadable, signing, sessions) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error.as_ref());
            if let Some(StartError::Bind { key, .. }) = error.downcast_ref() {
                let file = file.display();
                say(&format!("{file}: {key}: another one may be written here"));
            }
            ExitCode::FAILURE
        }
    }
}

/// Starts logging and serves.
///
/// # Errors
/// Whatever keeps the server from starting.
fn serve(
    settings: Settings,
    reloadable: Reloadable,
    signing: Option<SigningKey>,
    sessions: Sessions,
) -> Result<(), Box<dyn std::error::Error>> {
    let log = start_log(settings.log_format)?;
    let acceptor = reloadable.acceptor.as_ref();
    let server = Server::start(settings, acceptor, signing, sessions, log)?;
    server.reloading(reloadable)?.run();
    Ok(())
}

/// Asks on the terminal for the password of a key or keystore; where there is none, nobody is
/// asked.
pub fn ask(file: &Path) -> Option<Zeroizing<String>> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return None;
    }
    let prompt = format!("Password for {}: ", file.display());
    let answer = rpassword::prompt_password(prompt).map(Zeroizing::new);
    answer.ok().filter(|answer| !answer.is_empty())
}

/// Lines go to standard output. What the libraries have to say goes to standard error, from
/// warnings up unless `PORTCULLIS_LOG` asks for more.
///
/// # Errors
/// When the writer thread cannot be started.
pub fn start_log(format: LogFormat) -> std::io::Result<Logger> {
    let format = match format {
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
        LogFormat::Auto if std::io::stdout().is_terminal() => Format::Text,
        LogFormat::Auto => Format::Json,
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("PORTCULLIS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let libraries = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second server in one process keeps the first one's subscriber.
    drop(match format {
        Format::Json => libraries.json().flatten_event(true).try_init(),
        Format::Text => libraries.try_init(),
    });
    Logger::start(format, std::io::stdout())
}
