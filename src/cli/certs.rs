//! `portcullis certs`: a small CA, what it signs, and a look at any certificate.
//!
//! Here are the arguments and what can go wrong; how certificates are made and read is in `tls`.

mod files;
mod inspect;
mod make;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::Error as ValueError;
use time::OffsetDateTime;
use time::macros::format_description;

use super::secret::AskError;
use crate::config::scalar::Span;
use crate::password::stored::MAX_PASSWORD_BYTES;
use crate::tls::inspect::NotRecognised;
use crate::tls::issue::authority::AuthorityError;
use crate::tls::issue::name::{AltName, SubjectText};
use crate::tls::issue::{KeyKind, LibraryError};
use crate::tls::probe::{ProbeError, Target};

/// Make a small CA and certificates, and look at them
#[derive(Debug, Args)]
#[command(after_help = "A CA, a server and a client, from nothing:\n  \
    portcullis certs ca --name 'Plant CA'\n  \
    portcullis certs server --ca ca.crt gate.example.com 10.0.0.5\n  \
    portcullis certs client --ca ca.crt camera-7\n\n\
    What is it, and until when?\n  \
    portcullis certs inspect gate.example.com.crt\n  \
    portcullis certs inspect gate.example.com:8443")]
pub struct CertsArgs {
    #[command(subcommand)]
    command: CertsCommand,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    // What is said of each stands at its arguments: a line here would hide all of that.
    Ca(CaArgs),
    Server(ServerArgs),
    Client(ClientArgs),
    Inspect(InspectArgs),
}

/// Make a CA, which signs the certificates of servers and clients
///
/// Whoever is to trust what it signs needs its certificate, and nobody but you its key. With --ca
/// it is an intermediate CA, signed by that one.
#[derive(Debug, Args)]
struct CaArgs {
    /// What it is called
    #[arg(long, value_name = "TEXT", default_value = "Portcullis CA")]
    name: SubjectText,

    /// The organization (O) that it belongs to
    #[arg(long, value_name = "TEXT")]
    organization: Option<SubjectText>,

    /// For how many days it is good
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = days())]
    days: u32,

    /// How many levels of further CAs it may sign; 0 is none: servers and clients only
    #[arg(long, value_name = "LEVELS", default_value_t = 0)]
    path_length: u32,

    #[command(flatten)]
    signer: SignerArgs,

    #[command(flatten)]
    output: OutputArgs,
}

/// Make a server's certificate, signed by a CA or (without --ca) by itself
///
/// The file with the certificate also has the intermediate CAs, as servers need them; never the
/// root, which clients have.
#[derive(Debug, Args)]
struct ServerArgs {
    /// DNS names (*.example.com for all below) and IP addresses that clients will use
    #[arg(required = true, value_name = "NAME", value_parser = AltName::server)]
    names: Vec<AltName>,

    /// Make it good for a client too, as thin-edge.io wants it of its main device
    #[arg(long)]
    also_client: bool,

    #[command(flatten)]
    leaf: LeafArgs,
}

/// Make a client's certificate, signed by a CA or (without --ca) by itself
#[derive(Debug, Args)]
struct ClientArgs {
    /// Who or what it is for (the common name, CN)
    name: SubjectText,

    /// A URI it is known by, such as spiffe://plant/camera/7; may be repeated
    #[arg(long, value_name = "URI", value_parser = AltName::uri)]
    san_uri: Vec<AltName>,

    /// An email address it is known by; may be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = AltName::email)]
    san_email: Vec<AltName>,

    /// A DNS name it is known by; may be repeated
    #[arg(long, value_name = "NAME", value_parser = AltName::dns)]
    san_dns: Vec<AltName>,

    /// The organization (O)
    #[arg(long, value_name = "TEXT")]
    organization: Option<SubjectText>,

    /// The unit in it (OU)
    #[arg(long, value_name = "TEXT")]
    unit: Option<SubjectText>,

    #[command(flatten)]
    leaf: LeafArgs,
}

/// What servers and clients have in common.
#[derive(Debug, Args)]
struct LeafArgs {
    /// For how many days it is good; no longer than its CA
    #[arg(long, value_name = "DAYS", default_value_t = 397, value_parser = days())]
    days: u32,

    #[command(flatten)]
    signer: SignerArgs,

    #[command(flatten)]
    bundle: BundleArgs,

    #[command(flatten)]
    output: OutputArgs,
}

/// Show what a file of certificates and keys holds, or what a server shows
///
/// Files may be PEM or DER, with anything in any order. A server is asked in a TLS handshake that
/// accepts everything; whether this system would trust it is said.
#[derive(Debug, Args)]
struct InspectArgs {
    /// A file, or a server and its port
    #[arg(value_name = "FILE|HOST:PORT", value_parser = NonEmptyStringValueParser::new())]
    what: String,

    /// A file whose first line opens a keystore; else PORTCULLIS_KEY_PASSPHRASE, else it is asked for
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// Ask the server for this name instead of HOST, and look for it in the certificate
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,

    /// How long the server may take for all of it
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    timeout: Duration,
}

/// Who signs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signing")]
struct SignerArgs {
    /// The certificate of the CA that signs
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Its private key; the same name with .key at its end, unless this says otherwise
    #[arg(long, value_name = "FILE", requires = "ca")]
    ca_key: Option<PathBuf>,

    /// A file whose first line opens that key; else PORTCULLIS_CA_PASSPHRASE, else it is asked for
    #[arg(long, value_name = "FILE", requires = "ca")]
    ca_passphrase_file: Option<PathBuf>,
}

/// In which form.
#[derive(Debug, Args)]
struct BundleArgs {
    /// Write one PKCS#12 file (.p12) with key, certificate and CAs, protected by a password
    #[arg(long, help_heading = "Output")]
    pkcs12: bool,
}

/// Where to, and how protected.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
struct OutputArgs {
    /// The kind of key
    #[arg(long, value_enum, value_name = "KIND", default_value_t)]
    key: KeyArg,

    /// Protect the key with a passphrase: PORTCULLIS_KEY_PASSPHRASE, else it is asked for
    #[arg(long)]
    encrypt: bool,

    /// Protect it with the first line of this file
    #[arg(long, value_name = "FILE", visible_alias = "password-file")]
    passphrase_file: Option<PathBuf>,

    /// The folder to write to
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,

    /// Call the files this (.crt, .key) instead of what they are made for
    #[arg(long = "as", value_name = "STEM", value_parser = stem)]
    stem: Option<String>,

    /// Replace files that are there already
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum KeyArg {
    /// P-256: small, fast, known to everything of this decade
    #[default]
    Ecdsa,
    /// 2048 bits, for what is older
    Rsa,
    #[value(name = "rsa-3072")]
    Rsa3072,
    #[value(name = "rsa-4096")]
    Rsa4096,
}

/// Why `certs` did not do it.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    #[error(
        "already there: {}; nothing was written (--force replaces, --as takes other names)",
        listed(files)
    )]
    Exists { files: Vec<PathBuf> },
    #[error("{} is not a regular file", file.display())]
    NotAFile { file: PathBuf },
    #[error("{}: no such folder; make it first: mkdir -p {0}", folder.display())]
    NoFolder { folder: PathBuf },
    #[error("cannot write {}", file.display())]
    Write { file: PathBuf, source: io::Error },
    #[error("cannot read {}", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("cannot read the passphrase")]
    Ask(#[source] io::Error),
    #[error("the two passphrases differ")]
    Mismatch,
    #[error(
        "the passphrase has {found} characters; at least {MIN_CHARACTERS} are needed, as Java takes no fewer"
    )]
    TooShort { found: usize },
    #[error(
        "the passphrase is longer than {MAX_PASSWORD_BYTES} bytes, is not UTF-8 or contains a NUL character"
    )]
    NotText,
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("{}", file.display())]
    NotRecognised {
        file: PathBuf,
        source: NotRecognised,
    },
    #[error("{}: a keystore; give its password with --password-file", file.display())]
    NoPassword { file: PathBuf },
    #[error("{what}: neither a file nor HOST:PORT")]
    NoTarget { what: String },
    #[error("{target}")]
    Probe { target: Target, source: ProbeError },
    #[error("cannot write to standard output")]
    Print(#[source] io::Error),
    #[error("cannot make the certificate")]
    Library(#[from] LibraryError),
}

/// As Java's keytool has it.
const MIN_CHARACTERS: usize = 6;

/// Runs the command.
pub fn run(args: CertsArgs) -> Result<(), CertsError> {
    let text = match args.command {
        CertsCommand::Ca(args) => make::ca(args)?,
        CertsCommand::Server(args) => make::server(args)?,
        CertsCommand::Client(args) => make::client(args)?,
        CertsCommand::Inspect(args) => inspect::inspect(&args)?,
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(CertsError::Print)
}

impl From<KeyArg> for KeyKind {
    fn from(kind: KeyArg) -> Self {
        match kind {
            KeyArg::Ecdsa => Self::Ecdsa,
            KeyArg::Rsa => Self::Rsa2048,
            KeyArg::Rsa3072 => Self::Rsa3072,
            KeyArg::Rsa4096 => Self::Rsa4096,
        }
    }
}

impl From<AskError> for CertsError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Read(error) => Self::Ask(error),
            AskError::Mismatch => Self::Mismatch,
        }
    }
}

fn listed(files: &[PathBuf]) -> String {
    let names: Vec<_> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    names.join(", ")
}

/// A century at most: whoever wants more has made a mistake.
fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=36500)
}

fn duration(text: &str) -> Result<Duration, ValueError> {
    let Span(duration) = Span::deserialize(text.into_deserializer())?;
    Ok(duration.max(Duration::from_millis(1)))
}

fn stem(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.contains('/') || text.starts_with('.') {
        return Err("expected a name without / and without a dot at its start; --out says where");
    }
    SubjectText::from_str(text).map_err(|_| "expected 1 to 64 characters")?;
    Ok(text.to_owned())
}

/// The day, in UTC.
fn date(seconds: i64) -> String {
    formatted(seconds, format_description!("[year]-[month]-[day]"))
}

fn formatted(seconds: i64, format: &[time::format_description::BorrowedFormatItem<'_>]) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok();
    let text = moment.and_then(|moment| moment.format(format).ok());
    text.unwrap_or_else(|| "a day beyond the calendar".to_owned())
}

/// As it stands in YAML: quoted where it must be.
fn yaml(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._/+@-".contains(c);
    if text.chars().all(is_plain)
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || "./_".contains(c))
    {
        return text;
    }
    format!("'{}'", text.replace('\'', "''"))
}
