//! Parses arguments, calls the library, chooses the exit code.

use std::process::ExitCode;

use portcullis::cli::Cli;

/// Measured against glibc's (benches/README.md). BoringSSL uses it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::from_arguments().execute()
}
