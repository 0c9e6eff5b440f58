//! Sessions beyond one login: how many there may be, what outlives the process, and who ends them.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::harness::backend::Backend;
use crate::harness::client::status_of;
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
            assert_eq!(gate.log_out(&session).status, 200);
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
fn sessions_of_users_who_have_changed_while_nothing_ran_end_at_the_start_on_record() {
    let kept = Kept::new();
    let mut gate = kept.start();
    let [ralph, ada] = ["ralph", "ada"].map(|user| gate.log_in(user));
    gate.signal("TERM");
    gate.wait();
    let config = std::fs::read_to_string(kept.config()).unwrap();
    let (before, after) = config.split_once("ralph: {password: \"").unwrap();
    let (_, after) = after.split_once('"').unwrap();
    let hash = bcrypt::hash(gate::PASSWORD, 4).unwrap();
    let config = format!("{before}ralph: {{password: \"{hash}\"{after}");
    std::fs::write(kept.config(), config).unwrap();
    let gate = kept.start();
    let end = eventually("it is on record", || gate.line("session.end"));
    assert_eq!(end["auth.reason"], "password_changed", "{end}");
    assert_eq!(end["user.name"], "ralph", "{end}");
    gate.await_metric("portcullis_auth_sessions_active", &[], 1.0);
    let status = |session: &str| gate.curl().session(session).get("/").status;
    assert_eq!([status(&ralph), status(&ada)], [401, 200]);
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

// --- Administrators ---

/// A gate with an admin socket, and the way to it.
struct WithSocket {
    gate: Gate,
    socket: PathBuf,
    _folder: TempDir,
    _backend: Backend,
}

impl WithSocket {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("run/admin.sock");
        let backend = Backend::start();
        let config = gate::config(backend.address, "");
        let config = config.replace(
            "admin: {address: '127.0.0.1:0'}",
            &format!(
                "admin: {{address: '127.0.0.1:0', socket: '{}'}}",
                socket.display()
            ),
        );
        Self {
            gate: Gate::start(&config),
            socket,
            _folder: folder,
            _backend: backend,
        }
    }

    /// `portcullis sessions` with these arguments.
    fn sessions(&self, args: &[&str]) -> Finished {
        let socket = ["--socket", self.socket.to_str().unwrap()];
        let all = ["sessions"].into_iter().chain(args.iter().copied());
        finished(portcullis(all.chain(socket)), "")
    }

    /// The ids of all sessions of a user.
    fn ids(&self, user: &str) -> Vec<String> {
        let listed = self.sessions(&["list", "--json", "--user", user]);
        assert_eq!(listed.code, Some(0), "{listed:?}");
        let ids = listed.out.lines().map(|line| {
            let session: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(session["user"], user);
            session["id"].as_str().unwrap().to_owned()
        });
        ids.collect()
    }

    fn status(&self, session: &str) -> u16 {
        self.gate.curl().session(session).get("/").status
    }
}

#[test]
fn an_administrator_sees_who_is_logged_in_and_ends_one_a_users_or_all_sessions() {
    let with = WithSocket::start();
    let nobody = with.sessions(&["list"]);
    assert_eq!(nobody.out, "nobody is logged in\n", "{nobody:?}");
    let cookies = ["ralph", "ralph", "ralph", "ada", "ada"].map(|user| with.gate.log_in(user));
    let table = with.sessions(&["list"]);
    assert_eq!(table.out.lines().count(), 6, "{table:?}");
    assert!(table.out.starts_with("USER "), "{table:?}");
    // What is shown takes over nothing.
    assert!(cookies.iter().all(|cookie| !table.out.contains(cookie)));

    let ids = with.ids("ralph");
    let one = with.sessions(&["end", &ids[0]]);
    assert_eq!((one.code, one.out.as_str()), (Some(0), "1 session ended\n"));
    let of_ralph = cookies[..3].iter().map(|cookie| with.status(cookie));
    assert_eq!(of_ralph.filter(|status| *status == 200).count(), 2);
    let line = eventually("it is on record", || with.gate.line("session.end"));
    assert_eq!(line["auth.reason"], "administrator");
    assert_eq!(line["user.name"], "ralph");
    assert_eq!(line["session.id"], ids[0]);
    let again = with.sessions(&["end", &ids[0]]);
    assert_eq!(again.code, Some(1));
    assert!(
        again.errors.contains("there is no such session"),
        "{again:?}"
    );
    // Not with the name of somebody else.
    let wrong = with.sessions(&["end", "--user", "ada", &ids[1]]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");

    let ended = with.sessions(&["end", "--json", "--user", "ralph"]);
    assert_eq!(ended.out, "{\"ended\":2}\n", "{ended:?}");
    let statuses = cookies.each_ref().map(|cookie| with.status(cookie));
    assert_eq!(statuses, [401, 401, 401, 200, 200]);
    assert_eq!(with.sessions(&["end", "--all"]).out, "2 sessions ended\n");
    assert_eq!(with.status(&cookies[4]), 401);
    let administrator = [("reason", "administrator")];
    let counter = "portcullis_auth_sessions_ended_total";
    with.gate.await_metric(counter, &administrator, 5.0);
    for args in [
        &["end"][..],
        &["end", "--all", "--user", "ada"],
        &["end", "x"],
    ] {
        assert_eq!(with.sessions(args).code, Some(2), "{args:?}");
    }
}

#[test]
fn the_socket_is_its_owners_alone_and_sessions_are_not_shown_over_tcp() {
    let with = WithSocket::start();
    let mode = std::fs::metadata(&with.socket).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    with.gate.log_in("ralph");
    assert_eq!(with.gate.ask_admin("/sessions").status, 404);
    let asked = |line: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(&with.socket).unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        status_of(&answer)
    };
    for good in ["GET /readyz", "GET /metrics", "GET /sessions"] {
        assert_eq!(asked(good), 200, "{good}");
    }
    for (bad, status) in [
        ("DELETE /sessions", 400),
        ("DELETE /sessions?usr=ralph", 400),
        ("DELETE /sessions?all=true&user=ralph", 400),
        ("DELETE /sessions/00000000?all=true", 400),
        ("DELETE /sessions/zzz", 404),
        ("POST /sessions", 405),
        ("DELETE /metrics", 405),
        ("GET /sessionsx", 404),
    ] {
        assert_eq!(asked(bad), status, "{bad}");
    }
    assert_eq!(with.ids("ralph").len(), 1);
}

#[test]
fn without_a_gate_that_is_said() {
    let nowhere = finished(portcullis(["sessions", "list", "--socket", "/nowhere"]), "");
    assert_eq!(nowhere.code, Some(1));
    assert!(nowhere.errors.contains("is it running?"), "{nowhere:?}");
}
