//! A gate that looks at certificates of clients, in front of a recording backend.

use std::process::Command;

use serde_json::Value;

use super::backend::{Backend, Recorded};
use super::client::{Curl, Got};
use super::eventually;
use super::gate::{Gate, with_hash};
use super::pki::{Key, Pki};
use super::process::finished;

/// A gate whose configuration and files are in the folder of `pki`, with a certificate for
/// `localhost` and the names that tests ask for.
pub struct Served<'p> {
    pub pki: &'p Pki,
    pub gate: Gate,
    pub backend: Backend,
}

const NAMES: [&str; 4] = [
    "localhost",
    "lax.example",
    "strict.example",
    "*.wild.example",
];

/// A CA that has issued the certificate of the gate.
pub fn pki() -> Pki {
    let pki = Pki::new();
    pki.leaf("server", Key::Ecdsa, &NAMES);
    pki
}

/// The configuration file of the gate in front of `backend`: with one for several, each would be given
/// the last one's by a reload.
pub fn file_of(backend: &Backend) -> String {
    format!("gate-{}.yaml", backend.address.port())
}

/// A whole configuration from the section `tls` and more at the top.
pub fn config(backend: &Backend, tls: &str, more: &str) -> String {
    let listeners = match more.contains("listeners:") {
        true => "",
        false => "listeners: [{address: '127.0.0.1:0'}]\n",
    };
    let routes = match more.contains("routes:") {
        true => "",
        false => "routes: [{public: true}]\n",
    };
    format!(
        "{listeners}upstreams: {{backend: {{url: 'http://{}'}}}}\n{routes}\
         admin: {{address: '127.0.0.1:0'}}\nthreads: 2\n{more}\
         tls:\n  certificates: [{{cert: server.crt, key: server.key}}]\n{tls}",
        backend.address
    )
}

impl<'p> Served<'p> {
    #[track_caller]
    pub fn start(pki: &'p Pki, tls: &str, more: &str) -> Self {
        let backend = Backend::start();
        let file = file_of(&backend);
        pki.write(&file, &with_hash(&config(&backend, tls, more)));
        let gate = Gate::start_file(&pki.path(&file), &[]);
        Self { pki, gate, backend }
    }

    pub fn configure(&self, tls: &str, more: &str) {
        let text = config(&self.backend, tls, more);
        self.pki.write(&file_of(&self.backend), &with_hash(&text));
    }

    /// curl with the certificate in `FILE.pem`, or with none where that is empty.
    pub fn curl(&self, file: &str) -> Curl {
        let curl = self.gate.curl();
        match file {
            "" => curl,
            file => curl.args([
                "--cert",
                &self.pki.path(&format!("{file}.pem")).display().to_string(),
            ]),
        }
    }

    /// The status of a request with this certificate; 0 where there was no connection.
    #[track_caller]
    pub fn status(&self, file: &str) -> u16 {
        self.curl(file).get("/").status
    }

    /// What openssl's client says of a connection with a request for `host`.
    #[track_caller]
    pub fn s_client(&self, arguments: &str, host: &str) -> String {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-ign_eof",
            "-connect",
            &self.gate.address.to_string(),
        ]);
        command.args(arguments.split_whitespace());
        command.current_dir(self.pki.folder());
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let done = finished(command, &request);
        format!("{}\n{}", done.out, done.errors)
    }

    /// What the backend gets of a request with this certificate that is let in.
    #[track_caller]
    pub fn arrives(&self, file: &str, path: &str) -> Recorded {
        self.arrives_by(self.curl(file), path)
    }

    /// What the backend gets of a request that is let in.
    #[track_caller]
    pub fn arrives_by(&self, curl: Curl, path: &str) -> Recorded {
        self.backend.forget();
        let got = curl.get(path);
        assert_eq!(got.status, 200, "{path}: {got:?}");
        self.backend.only()
    }

    /// The status and reason of a request that is not let in.
    #[track_caller]
    pub fn refused(&self, curl: Curl, path: &str) -> (u16, String) {
        self.backend.forget();
        let got = curl.get(path);
        let seen = self.backend.seen();
        assert!(
            got.status >= 300 && seen.is_empty(),
            "{path}: {got:?} {seen:?}"
        );
        (got.status, reason_of(&got))
    }

    /// Waits for a line of the log that fits.
    #[track_caller]
    pub fn await_line(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || self.gate.line_where(&fits))
    }

    /// The reason of the newest line with one.
    pub fn last_reason(&self) -> Option<String> {
        let log = self.gate.log();
        let lines = log
            .lines()
            .rev()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut reasons = lines.filter_map(|line| line["auth.reason"].as_str().map(str::to_owned));
        reasons.next()
    }
}

/// The word for programs in an answer of ours.
pub fn reason_of(got: &Got) -> String {
    let problem: Value = serde_json::from_str(&got.body).unwrap_or_default();
    problem["reason"].as_str().unwrap_or_default().to_owned()
}
