//! Sessions beyond one login: how many there may be, what outlives the process, and who ends them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::harness::backend::Backend;
use crate::harness::eventually;
use crate::harness::gate::{self, Gate, with_hash};
use crate::harness::process::{Finished, finished, portcullis};

#[test]
fn beyond_the_bound_of_a_user_the_longest_unused_session_ends_and_that_is_on_record() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "sessions: {per_user: 2}\n");
    let ada = gate.log_in("ada");
    let [first, second] = [(); 2].map(|()| gate.log_in("ralph"));
    assert_eq!(gate.curl().session(&first).get("/").status, 200);
    let third = gate.log_in("ralph");
    let status = |session: &str| gate.curl().session(session).get("/").status;
    let statuses = [&ada, &third].map(|session| status(session));
    assert_eq!(statuses, [200, 200]);
    // The last use counts in whole seconds, so either of the two may be the one.
    let mut left = [status(&first), status(&second)];
    left.sort_unstable();
    assert_eq!(left, [200, 401]);

    let is_end = |line: &serde_json::Value| line["event"] == "session.end";
    let line = eventually("it is on record", || gate.line_where(is_end));
    assert_eq!(line["auth.reason"], "limit");
    assert_eq!(line["user.name"], "ralph");
    let id = line["session.id"].as_str().unwrap();
    assert!(id.len() == 8 && id.bytes().all(|it| it.is_ascii_hexdigit()));
    let limit = [("reason", "limit")];
    gate.await_metric("portcullis_auth_sessions_ended_total", &limit, 1.0);
    gate.await_metric("portcullis_auth_sessions_active", &[], 3.0);
}

// --- In a file ---

/// A configuration with sessions in a file, which several gates can be started from.
struct Kept {
    folder: TempDir,
    _backend: Backend,
}

impl Kept {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backend = Backend::start();
        let kept = Self {
            folder,
            _backend: backend,
        };
        let address = kept._backend.address;
        let more = "state: state\nsessions: {store: file}\n";
        std::fs::write(kept.config(), with_hash(&gate::config(address, more))).unwrap();
        kept
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("portcullis.yaml")
    }

    fn sessions(&self) -> PathBuf {
        self.folder.path().join("state/sessions.redb")
    }

    fn start(&self) -> Gate {
        Gate::start_file(&self.config(), &[])
    }

    /// Runs a command on it to its end.
    fn run(&self, command: &str) -> Finished {
        let config = self.config();
        let args = [command, "-c", config.to_str().unwrap()];
        finished(portcullis(args), "")
    }
}

#[test]
fn what_was_answered_survives_being_killed() {
    let kept = Kept::new();
    let mut begun: Vec<String> = Vec::new();
    let mut ended: Vec<String> = Vec::new();
    // Each round ends right after an answer; the next gate must know of it.
    for round in 0..6 {
        let mut gate = kept.start();
        let status = |session: &str| gate.curl().session(session).get("/").status;
        for session in &begun {
            assert_eq!(status(session), 200, "round {round}");
        }
        for session in &ended {
            assert_eq!(status(session), 401, "round {round}");
        }
        if round % 2 == 0 {
            begun.push(gate.log_in("ralph"));
            begun.push(gate.log_in("ada"));
        } else {
            let session = begun.remove(0);
            let json = ["-H", "Content-Type: application/json", "-d", "{}"];
            let curl = gate.curl().session(&session).args(json);
            assert_eq!(curl.get("/auth/logout").status, 200);
            ended.push(session);
        }
        gate.signal("KILL");
        gate.wait();
    }
    // No id is in the file, whoever reads it.
    let written = std::fs::read(kept.sessions()).unwrap();
    for id in begun.iter().chain(&ended) {
        let is_there = written.windows(id.len()).any(|it| it == id.as_bytes());
        assert!(!is_there);
    }
    let mode = std::fs::metadata(kept.sessions()).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

#[test]
fn a_gate_that_is_told_to_end_keeps_who_is_logged_in() {
    let kept = Kept::new();
    let mut gate = kept.start();
    let session = gate.log_in("ralph");
    gate.signal("TERM");
    assert_eq!(gate.wait().code(), Some(0));
    let gate = kept.start();
    assert_eq!(gate.curl().session(&session).get("/").status, 200);
    gate.await_metric("portcullis_session_store_up", &[], 1.0);
}

#[test]
fn a_second_gate_on_the_same_file_does_not_start_and_the_first_goes_on() {
    let kept = Kept::new();
    let gate = kept.start();
    let session = gate.log_in("ralph");
    let second = kept.run("run");
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(
        second.errors.contains("another process uses it"),
        "{second:?}"
    );
    assert_eq!(kept.run("check").code, Some(0));
    assert_eq!(gate.curl().session(&session).get("/").status, 200);
}

#[test]
fn a_file_that_is_damaged_or_of_somebody_else_is_an_error_and_is_not_emptied() {
    let kept = Kept::new();
    drop(kept.start());
    let whole = std::fs::read(kept.sessions()).unwrap();
    for bad in [&whole[..whole.len() / 2], b"users: {}\n"] {
        std::fs::write(kept.sessions(), bad).unwrap();
        for (command, code) in [("run", 78), ("check", 1)] {
            let done = kept.run(command);
            assert_eq!(done.code, Some(code), "{done:?}");
            assert!(done.errors.contains("sessions.store: "), "{done:?}");
            assert!(
                done.errors.contains("sessions.redb: it is damaged"),
                "{done:?}"
            );
            assert!(!done.errors.contains("panicked"), "{done:?}");
        }
        let left = std::fs::read(kept.sessions()).unwrap();
        assert_eq!(left.len(), bad.len());
    }
}
