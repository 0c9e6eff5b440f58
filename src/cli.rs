//! The command line: what there is to say, and which file does it.

pub mod certs;
pub mod check;
pub mod demo;
pub mod passwd;
pub mod run;
pub mod sessions;
pub mod token;

mod secret;

use std::error::Error;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};

use crate::config::problem::Problems;
use crate::observe::words::in_full;

/// Bad configuration on `run` (EX_CONFIG of sysexits.h): restarting will not help.
const EX_CONFIG: u8 = 78;

/// What was asked for.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    about = "A gate for anything that has none: TLS, login and abilities in front of an \
             unmodified backend",
    long_about = "Portcullis runs beside a backend that you cannot or do not want to change. It \
                  ends TLS, logs people in, decides by route and ability who may do what, and \
                  forwards with headers that say who is asking and that no client can forge.",
    after_help = "Try it:   portcullis demo\n\
                  Then:     portcullis passwd --file users.yaml alice user\n          \
                  portcullis check -c portcullis.yaml\n          \
                  portcullis run -c portcullis.yaml\n\n\
                  Exit codes: 0 ok, 1 failed, 2 wrong usage, 78 `run` with a bad configuration.",
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve what a configuration file describes.
    Run(ConfigFile),
    /// Report every problem of a configuration file; binds nothing.
    Check(ConfigFile),
    /// Show it at work: a backend, a certificate and a user made up on the spot.
    Demo(demo::DemoArgs),
    // What is said of it stands at `PasswdArgs`: a line here would hide all of that.
    #[command(alias = "pass")]
    Passwd(passwd::PasswdArgs),
    Token(token::TokenArgs),
    Certs(Box<certs::CertsArgs>),
    Sessions(sessions::SessionsArgs),
}

/// Which configuration.
#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// The configuration file (YAML).
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "portcullis.yaml",
        env = "PORTCULLIS_CONFIG"
    )]
    config: PathBuf,
}

impl Cli {
    /// What the arguments ask for; ends the process where they ask for nothing that there is.
    #[must_use]
    pub fn from_arguments() -> Self {
        Self::try_parse().unwrap_or_else(|mut error| {
            let argument = error.get(ContextKind::InvalidArg);
            let usage = error.get(ContextKind::Usage).map(ToString::to_string);
            let is_for_file = usage.is_some_and(|usage| {
                let commands = ["portcullis check", "portcullis run"];
                commands.iter().any(|command| usage.contains(command))
            });
            if let (ErrorKind::UnknownArgument, Some(ContextValue::String(argument))) =
                (error.kind(), argument)
                && is_for_file
                && !argument.starts_with('-')
            {
                let tip = format!("to name the configuration file, write '-c {argument}'");
                let tip = ContextValue::StyledStrs(vec![tip.into()]);
                error.insert(ContextKind::Suggested, tip);
            }
            error.exit()
        })
    }

    /// Does it; what the process ends with. Errors have been printed.
    #[must_use]
    pub fn execute(self) -> ExitCode {
        match self.command {
            Command::Run(file) => run::run(&file.config),
            Command::Check(file) => check::check(&file.config),
            Command::Demo(args) => done(demo::demo(&args)),
            Command::Passwd(args) => done(passwd::run(args)),
            Command::Token(args) => done(token::run(args)),
            Command::Certs(args) => done(certs::run(*args)),
            Command::Sessions(args) => done(sessions::run(args)),
        }
    }
}

fn done<E: Error>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Prints what is wrong with a configuration.
fn complain_of_config(file: &Path, problems: &Problems) {
    eprintln!("{problems}");
    if !file.exists() {
        eprintln!("portcullis: name the file with -c; `portcullis demo` runs without one");
    }
}

/// A word to the operator. That standard error is closed is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints an error with all its causes.
fn complain(error: &dyn Error) {
    eprintln!("portcullis: {}", in_full(error));
}
