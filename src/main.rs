//! Parses arguments, calls the library, chooses the exit code.

use std::process::ExitCode;

use clap::Parser;
use portcullis::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().execute()
}
