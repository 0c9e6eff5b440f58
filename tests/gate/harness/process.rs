//! Any program that a test starts: what it is told, what it says, how it ends.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::eventually;
use super::gate::BINARY;

/// A running program; ends with the test.
pub struct Process {
    child: Child,
    out: Collected,
    errors: Collected,
}

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub errors: String,
}

/// The binary with these arguments, told nothing by the environment of the test.
pub fn portcullis<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(BINARY);
    command.args(args).env_remove("PORTCULLIS_CONFIG");
    command
}

/// Runs a command to its end, with `input` on its standard input.
#[track_caller]
pub fn finished(command: Command, input: &str) -> Finished {
    Process::start(command, input).finish()
}

impl Process {
    /// Starts a command with `input` on its standard input.
    #[track_caller]
    pub fn start(mut command: Command, input: &str) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = Collected::from(child.stdout.take().unwrap());
        let errors = Collected::from(child.stderr.take().unwrap());
        // A program that does not want its input may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Self { child, out, errors }
    }

    /// What it has written to standard output so far.
    pub fn out(&self) -> String {
        self.out.text()
    }

    /// What it has written to standard error so far.
    pub fn errors(&self) -> String {
        self.errors.text()
    }

    /// Whether it is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        let status = eventually("the program ends", || self.child.try_wait().unwrap());
        self.out.end();
        self.errors.end();
        Finished {
            code: status.code(),
            out: self.out(),
            errors: self.errors(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- output\n{}--- errors\n{}", self.out(), self.errors());
        }
    }
}

/// Sends a child a signal by name.
pub fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &id]).status();
    assert!(sent.unwrap().success());
}

/// What a pipe has brought so far.
struct Collected {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Collected {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = pipe.read(&mut bytes) {
                into.lock().unwrap().extend_from_slice(&bytes[..read]);
            }
        });
        Self {
            text,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    /// Waits until the other side has closed the pipe.
    fn end(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}

/// A server from a Debian package; ends with the test.
pub struct Daemon {
    pub child: Child,
    pub address: SocketAddr,
}

impl Daemon {
    /// Starts a program of `/usr/sbin` or the path, once it listens at this address.
    #[track_caller]
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        args: impl IntoIterator<Item = A>,
        address: SocketAddr,
    ) -> Self {
        let installed = Path::new("/usr/sbin").join(name);
        let program = if installed.exists() {
            installed.as_path()
        } else {
            Path::new(name)
        };
        let child = Command::new(program)
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { child, address };
        eventually(&format!("{name} listens"), || {
            TcpStream::connect(address).ok()
        });
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
