//! `portcullis sessions`: who is logged in, and the end of that; asked of a running gate over its
//! admin socket.

use std::io::{self, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::ConfigFile;
use crate::config;
use crate::config::problem::Problem;
use crate::gate::session::ShortDigest;
use crate::identity::UserName;

/// How long the gate may take for one answer.
const LIMIT: Duration = Duration::from_secs(30);

/// More than any answer is.
const MOST: u64 = 16 << 20;

/// Show who is logged in to a running gate, and end sessions
///
/// The gate is asked over its admin socket (admin.socket in the configuration), which only its own
/// user and root can open.
#[derive(Debug, Args)]
pub struct SessionsArgs {
    #[command(subcommand)]
    command: SessionsCommand,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// Show the sessions, by user
    List(ListArgs),
    /// End sessions: one by its ID, all of a user, or all; at the next request they are no more
    End(EndArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only those of this user
    #[arg(long, value_name = "NAME", value_parser = UserName::parse)]
    user: Option<UserName>,

    /// One JSON object a line, for programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    gate: GateArgs,
}

#[derive(Debug, Args)]
struct EndArgs {
    /// Which, as `list` shows it
    #[arg(value_name = "ID", required_unless_present_any = ["user", "all"], value_parser = id)]
    id: Option<ShortDigest>,

    /// All of this user; with an ID, that one if it is theirs
    #[arg(long, value_name = "NAME", value_parser = UserName::parse)]
    user: Option<UserName>,

    /// All of everybody
    #[arg(long, conflicts_with_all = ["id", "user"])]
    all: bool,

    /// Say what was done as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    gate: GateArgs,
}

/// Which gate.
#[derive(Debug, Args)]
struct GateArgs {
    /// Its admin socket, instead of the one in its configuration
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    #[command(flatten)]
    config: ConfigFile,
}

/// Why `sessions` did not do it.
#[derive(Debug, thiserror::Error)]
pub enum SessionsError {
    #[error("{0}")]
    Config(Problem),
    #[error("{} has no admin.socket; write one, or name it with --socket", file.display())]
    NoSocket { file: PathBuf },
    #[error("cannot ask the gate at {}; is it running?", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("the gate at {} did not answer", socket.display())]
    Ask { socket: PathBuf, source: io::Error },
    #[error("the answer of {} cannot be read", socket.display())]
    Answer { socket: PathBuf },
    #[error("{0}")]
    Refused(String),
    #[error("cannot write to standard output")]
    Print(#[source] io::Error),
}

/// Eight hex digits, which can stand in a path as they are.
fn id(text: &str) -> Result<ShortDigest, &'static str> {
    ShortDigest::parse(text).ok_or(
        "an ID has 8 digits of 0-9 a-f, as `portcullis sessions list` shows it; write --user \
                NAME for all of a user",
    )
}

/// Does it.
///
/// # Errors
/// [`SessionsError`].
pub fn run(args: SessionsArgs) -> Result<(), SessionsError> {
    let out = &mut io::stdout().lock();
    match args.command {
        SessionsCommand::List(args) => list(&args, out),
        SessionsCommand::End(args) => end(&args, out),
    }
}

fn list(args: &ListArgs, out: &mut impl Write) -> Result<(), SessionsError> {
    let gate = Gate::find(&args.gate)?;
    let mut after: Option<String> = None;
    let mut is_first = true;
    loop {
        let query = [
            ("user", args.user.as_ref().map(UserName::as_str)),
            ("after", after.as_deref()),
        ];
        let page = gate.ask("GET", &target("/sessions", &query))?;
        let sessions = page["sessions"].as_array().map_or(&[][..], Vec::as_slice);
        let printed = match args.json {
            true => sessions.iter().try_for_each(|it| writeln!(out, "{it}")),
            false => print_table(sessions, is_first, out),
        };
        printed.map_err(SessionsError::Print)?;
        is_first = false;
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            return out.flush().map_err(SessionsError::Print);
        }
    }
}

/// Names of usual length stand in columns; longer ones push the rest aside rather than be cut.
fn print_table(sessions: &[Value], is_first: bool, out: &mut impl Write) -> io::Result<()> {
    if is_first && sessions.is_empty() {
        return writeln!(out, "nobody is logged in");
    }
    let mut row = |cells: [&str; 4]| {
        let [user, begun, seen, id] = cells;
        writeln!(out, "{user:<24}  {begun:<20}  {seen:<20}  {id}")
    };
    if is_first {
        row(["USER", "BEGUN", "LAST SEEN", "ID"])?;
    }
    for session in sessions {
        let cell = |name| session[name].as_str().unwrap_or_default();
        row([cell("user"), cell("begun"), cell("last_seen"), cell("id")])?;
    }
    Ok(())
}

fn end(args: &EndArgs, out: &mut impl Write) -> Result<(), SessionsError> {
    let gate = Gate::find(&args.gate)?;
    let path = match &args.id {
        Some(id) => format!("/sessions/{}", id.as_str()),
        None => "/sessions".to_owned(),
    };
    let query = [
        ("user", args.user.as_ref().map(UserName::as_str)),
        ("all", args.all.then_some("true")),
    ];
    let done = gate.ask("DELETE", &target(&path, &query))?;
    let printed = match (args.json, done["ended"].as_u64()) {
        (true, _) => writeln!(out, "{done}"),
        (false, Some(1)) => writeln!(out, "1 session ended"),
        (false, ended) => writeln!(out, "{} sessions ended", ended.unwrap_or_default()),
    };
    printed.map_err(SessionsError::Print)
}

fn target(path: &str, query: &[(&str, Option<&str>)]) -> String {
    let mut written = form_urlencoded::Serializer::new(String::new());
    for (name, value) in query {
        if let Some(value) = value {
            written.append_pair(name, value);
        }
    }
    format!("{path}?{}", written.finish())
}

/// A running gate.
struct Gate {
    socket: PathBuf,
}

impl Gate {
    fn find(args: &GateArgs) -> Result<Self, SessionsError> {
        if let Some(socket) = &args.socket {
            return Ok(Self {
                socket: socket.clone(),
            });
        }
        let file: &Path = &args.config.config;
        let socket = config::admin_socket(file).map_err(SessionsError::Config)?;
        let socket = socket.ok_or_else(|| SessionsError::NoSocket {
            file: file.to_owned(),
        })?;
        Ok(Self { socket })
    }

    fn ask(&self, method: &str, target: &str) -> Result<Value, SessionsError> {
        let socket = || self.socket.clone();
        let stream = UnixStream::connect(&self.socket);
        let stream = stream.map_err(|source| SessionsError::Connect {
            socket: socket(),
            source,
        })?;
        let answer = exchange(stream, method, target);
        let answer = answer.map_err(|source| SessionsError::Ask {
            socket: socket(),
            source,
        })?;
        let (is_done, body) =
            parse(&answer).ok_or_else(|| SessionsError::Answer { socket: socket() })?;
        match (is_done, body["error"].as_str()) {
            (true, _) => Ok(body),
            (false, Some(why)) => Err(SessionsError::Refused(why.to_owned())),
            (false, None) => Err(SessionsError::Answer { socket: socket() }),
        }
    }
}

fn exchange(mut stream: UnixStream, method: &str, target: &str) -> io::Result<String> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let request = format!("{method} {target} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(MOST).read_to_string(&mut answer)?;
    Ok(answer)
}

/// Whether it was done, and what was answered. What was cut short is no JSON.
fn parse(answer: &str) -> Option<(bool, Value)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?;
    Some((status.starts_with("200"), serde_json::from_str(body).ok()?))
}
