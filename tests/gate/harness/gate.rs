//! A running gate: the built binary with a configuration of the test's own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::client::{Connection, Curl, Got};
use super::metrics::Metrics;
use super::{PATIENCE, eventually, process};

/// The built binary.
pub const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

/// `view` is what `ralph` may; `ada` may `edit` too. Both have the password `correct horse`.
pub const ROLES_AND_USERS: &str = r#"
roles: {user: [view], administrator: [view, edit]}
users:
  ralph: {password: "$2b$04$HASH", roles: [user], email: ralph@example.com}
  ada: {password: "$2b$04$HASH", roles: [administrator], name: "Ada Ä. L."}
"#;

pub const PASSWORD: &str = "correct horse";

/// bcrypt at its lowest cost: the tests are about the gate, not about the hash.
static HASH: LazyLock<String> = LazyLock::new(|| bcrypt::hash(PASSWORD, 4).unwrap());

/// A self-signed certificate for localhost, made once for all tests.
static CERTIFICATE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-keyout", "tls.key", "-out", "tls.crt"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    folder
});

/// A configuration in which `$2b$04$HASH` has become the hash of [`PASSWORD`].
pub fn with_hash(config: &str) -> String {
    config.replace("$2b$04$HASH", &HASH)
}

pub fn certificate() -> (PathBuf, PathBuf) {
    let folder = CERTIFICATE.path();
    (folder.join("tls.crt"), folder.join("tls.key"))
}

/// The routes that most tests use.
pub const ROUTES: &str = r"
routes:
  - {match: /public/, public: true}
  - {match: /admin/, can: edit}
  - {match: /upload/, public: true, body_limit: 1KiB}
  - {match: /read-only/, public: true, methods: [GET]}
  - {can: view}
";

/// A gate in front of `backend` with [`ROUTES`] and [`ROLES_AND_USERS`].
pub fn in_front_of(backend: SocketAddr) -> Gate {
    with(backend, "")
}

/// The same, with more top-level configuration.
pub fn with(backend: SocketAddr, more: &str) -> Gate {
    Gate::start(&config(backend, more))
}

/// The configuration of [`with`].
pub fn config(backend: SocketAddr, more: &str) -> String {
    without_users(backend, &format!("{ROLES_AND_USERS}{more}"))
}

/// The same for those who have roles and users of their own.
pub fn without_users(backend: SocketAddr, more: &str) -> String {
    let (cert, key) = certificate();
    format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
         upstreams: {{backend: {{url: 'http://{backend}'}}}}\n\
         admin: {{address: '127.0.0.1:0'}}\n\
         threads: 2\n{ROUTES}{more}",
        cert.display(),
        key.display(),
    )
}

/// A running gate; ends with the test.
pub struct Gate {
    child: Child,
    /// The first listener.
    pub address: SocketAddr,
    /// The admin listener, where there is one.
    pub admin: Option<SocketAddr>,
    lines: Arc<Mutex<Vec<Value>>>,
    written: Arc<Mutex<Vec<String>>>,
    errors: Arc<Mutex<String>>,
    _folder: Option<TempDir>,
}

impl Gate {
    /// Starts the binary with this configuration. `$2b$04$HASH` in it is the hash of [`PASSWORD`].
    #[track_caller]
    pub fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portcullis.yaml");
        std::fs::write(&file, with_hash(config)).unwrap();
        let mut gate = Self::start_file(&file, &[]);
        gate._folder = Some(folder);
        gate
    }

    /// Starts the binary with a file and environment variables.
    #[track_caller]
    pub fn start_file(file: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["run", "-c"]).arg(file);
        command.envs(variables.iter().copied());
        Self::spawn(command)
    }

    /// Starts a command that is a server of ours.
    #[track_caller]
    pub fn spawn(command: Command) -> Self {
        Self::try_spawn(command).unwrap_or_else(|errors| panic!("it ended: {errors}"))
    }

    /// The same, but it may end before it is ready; then this is what it said.
    #[track_caller]
    pub fn try_spawn(mut command: Command) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::new(Mutex::new(Vec::new()));
        let errors = Arc::new(Mutex::new(String::new()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        collect_lines(out, Arc::clone(&lines), Arc::clone(&written));
        collect_text(err, Arc::clone(&errors));
        let mut gate = Self {
            child,
            address: ([127, 0, 0, 1], 0).into(),
            admin: None,
            lines,
            written,
            errors,
            _folder: None,
        };
        let is_ready = eventually("the gate is ready", || match gate.is_running() {
            true => gate.line("server.ready").map(|_| true),
            false => Some(false),
        });
        if !is_ready {
            return Err(gate.errors());
        }
        gate.address = gate.bound("listener.bound").unwrap();
        gate.admin = gate.bound("admin.listening");
        Ok(gate)
    }

    fn bound(&self, event: &str) -> Option<SocketAddr> {
        self.line(event).map(|line| address_of(&line))
    }

    /// All addresses of listeners, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let bound = |line: &&Value| line["event"] == "listener.bound";
        self.lines
            .lock()
            .unwrap()
            .iter()
            .filter(bound)
            .map(address_of)
            .collect()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The first log line about `event`.
    pub fn line(&self, event: &str) -> Option<Value> {
        self.line_where(|line| line["event"] == event)
    }

    /// The first log line that fits.
    pub fn line_where(&self, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        let lines = self.lines.lock().unwrap();
        lines.iter().find(|line| fits(line)).cloned()
    }

    /// How many log lines fit.
    pub fn count_lines(&self, fits: impl Fn(&Value) -> bool) -> usize {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| fits(line)).count()
    }

    /// Everything logged so far, as one text.
    pub fn log(&self) -> String {
        let lines = self.lines.lock().unwrap();
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The lines of its log as they were written.
    pub fn written(&self) -> Vec<String> {
        self.written.lock().unwrap().clone()
    }

    /// What it wrote to standard error.
    pub fn errors(&self) -> String {
        self.errors.lock().unwrap().clone()
    }

    /// A TLS connection to it that speaks HTTP/1.1.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::tls(self.address)
    }

    /// Sends bytes and gives back all that is answered until the gate closes or has answered one
    /// request that asked for the end of the connection.
    #[track_caller]
    pub fn raw(&self, request: &[u8]) -> String {
        let mut connection = self.connect();
        connection.send(request);
        connection.read_to_end()
    }

    /// curl, not minding who signed the certificate.
    pub fn curl(&self) -> Curl {
        Curl::new(self.port())
    }

    /// The session cookie of a new login.
    #[track_caller]
    pub fn log_in(&self, user: &str) -> String {
        let answer = self.log_in_with(user, PASSWORD);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.session_cookie().unwrap()
    }

    /// What a program is answered that logs in.
    #[track_caller]
    pub fn log_in_with(&self, user: &str, password: &str) -> Got {
        let body = format!(r#"{{"username":"{user}","password":"{password}"}}"#);
        let json = ["-H", "Content-Type: application/json", "-d", &body];
        self.curl().args(json).get("/auth/login")
    }

    /// What a program is answered that logs out.
    #[track_caller]
    pub fn log_out(&self, session: &str) -> Got {
        let json = ["-H", "Content-Type: application/json", "-d", "{}"];
        self.curl().session(session).args(json).get("/auth/logout")
    }

    /// How many reloads had this result.
    pub fn reloads(&self, result: &str) -> usize {
        let is_it = |line: &Value| line["event"] == "config.reload" && line["result"] == result;
        self.count_lines(is_it)
    }

    /// Asks for a reload and waits for what comes of it.
    #[track_caller]
    pub fn reload(&self, result: &str) {
        let before = self.reloads(result);
        self.signal("HUP");
        eventually(&format!("a reload with {result}"), || {
            (self.reloads(result) > before).then_some(())
        });
    }

    /// The answer of the admin listener.
    #[track_caller]
    pub fn ask_admin(&self, path: &str) -> Got {
        let admin = self.admin.unwrap();
        Curl::new(admin.port()).fetch(&format!("http://{admin}{path}"))
    }

    /// The text of the metrics.
    #[track_caller]
    pub fn metrics(&self) -> String {
        self.ask_admin("/metrics").body
    }

    /// Waits until the samples of `name` with at least these labels come to `expected`.
    #[track_caller]
    pub fn await_metric(&self, name: &str, labels: &[(&str, &str)], expected: f64) {
        let mut last = 0.0;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            last = Metrics::parse(&self.metrics()).sum(name, labels);
            if last == expected {
                return;
            }
        }
        panic!("{name} {labels:?} never was {expected}; it is {last}");
    }

    /// Memory that is its own, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// The most that it had so far.
    pub fn peak_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// How long a thread of it was on a core so far.
    #[track_caller]
    pub fn cpu_of_thread(&self, name: &str) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let mut tasks = tasks.map(|task| task.unwrap().path());
        let is_it = |task: &PathBuf| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let task = tasks.find(is_it).expect(name);
        let spent = std::fs::read_to_string(task.join("schedstat")).unwrap();
        Duration::from_nanos(spent.split_whitespace().next().unwrap().parse().unwrap())
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        process::signal(&self.child, name);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the gate ends", || self.child.try_wait().unwrap())
    }

    /// Whether it is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.child.kill());
        let status = self.child.wait().unwrap();
        // An abort of the process is a defect, whatever the test was about.
        assert!(
            std::thread::panicking() || !matches!(status.signal(), Some(4 | 6 | 7 | 8 | 11)),
            "the gate crashed: {status}: {}",
            self.errors()
        );
        assert!(
            std::thread::panicking() || !self.errors().contains("panicked"),
            "a thread panicked: {}",
            self.errors()
        );
        if std::thread::panicking() {
            eprintln!("--- log\n{}--- errors\n{}", self.log(), self.errors());
        }
    }
}

fn address_of(line: &Value) -> SocketAddr {
    let ip = line["server.address"].as_str().unwrap().parse().unwrap();
    let port = line["server.port"].as_u64().unwrap();
    SocketAddr::new(ip, u16::try_from(port).unwrap())
}

fn collect_lines(
    out: impl Read + Send + 'static,
    lines: Arc<Mutex<Vec<Value>>>,
    written: Arc<Mutex<Vec<String>>>,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            written.lock().unwrap().push(line.clone());
            // What is no JSON is kept as it is.
            let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            lines.lock().unwrap().push(value);
        }
    });
}

fn collect_text(mut err: impl Read + Send + 'static, text: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = err.read(&mut bytes) {
            let read = String::from_utf8_lossy(&bytes[..read]).into_owned();
            text.lock().unwrap().push_str(&read);
        }
    });
}
