//! What was answered survives `kill -9` between any two steps of writing it down. strace ends the
//! program as it enters its nth call to the system that could change a file, for every n there is.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::harness::backend::Backend;
use crate::harness::eventually;
use crate::harness::gate::{self, Gate, PASSWORD, with_hash};
use crate::harness::process::{Process, finished, portcullis};

/// Calls by which a server changes its files, and little else. With a `?`, not every machine has them.
const SERVER_STEPS: [&str; 14] = [
    "pwrite64",
    "pwritev",
    "ftruncate",
    "fallocate",
    "fchmod",
    "fchown",
    "flock",
    "fsync",
    "fdatasync",
    "msync",
    "?rename",
    "?renameat",
    "renameat2",
    "unlinkat",
];

/// All others by which a file comes, changes or goes.
const OTHER_STEPS: [&str; 12] = [
    "?open", "openat", "?creat", "write", "writev", "pwritev2", "?chmod", "fchmodat", "?link",
    "linkat", "?unlink", "close",
];

/// The nth of these calls in one thread of a program.
#[derive(Clone, Copy, Debug)]
struct Step {
    call: &'static str,
    number: u32,
}

/// Has something killed at each step there is: `survived` says whether it came to its end, because
/// it does not come to that step.
#[track_caller]
fn at_each_step(calls: &[&'static str], mut survived: impl FnMut(Step) -> bool) {
    // A program that takes more steps has no end.
    const MOST: u32 = 1000;
    for call in calls {
        let number = (1..MOST).find(|number| {
            let number = *number;
            survived(Step { call, number })
        });
        assert!(number.is_some(), "{call}");
    }
}

/// The same command, killed as it comes to a step.
fn killed_at(step: Step, command: &Command) -> Command {
    let Step { call, number } = step;
    let mut strace = Command::new("strace");
    // Detached, so that the child is the program itself.
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null"]);
    strace.arg("-e").arg(format!("trace={call}"));
    let kill = format!("inject={call}:signal=SIGKILL:when={number}");
    strace.arg("-e").arg(kill);
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

/// All that is in a folder but the file, and readable by others.
fn readable_beside(file: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(file.parent().unwrap()).unwrap();
    let entries = entries.map(Result::unwrap).filter(|it| it.path() != file);
    let is_readable = |mode: u32| mode & 0o077 != 0;
    let readable = entries.filter(|it| is_readable(it.metadata().unwrap().permissions().mode()));
    readable
        .map(|it| it.file_name().into_string().unwrap())
        .collect()
}

#[test]
fn passwd_killed_at_any_step_leaves_the_old_file_or_the_new_one_and_the_new_one_if_it_said_so() {
    const OLD: &str = "# people\nralph:\n  password: \"HASH\"  # his\n  roles: [user]\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.yaml");
    let path = file.to_str().unwrap();
    let args = ["passwd", "--file", path, "--cipher", "sha256", "ralph"];
    let old = with_hash(&OLD.replace("HASH", "$2b$04$HASH"));
    let write_old = || {
        std::fs::write(&file, &old).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    };
    write_old();
    assert_eq!(finished(portcullis(args), PASSWORD).code, Some(0));
    let new = std::fs::read_to_string(&file).unwrap();
    assert!(new.starts_with("# people\nralph:\n  password: \"") && new != old);

    let (mut olds, mut news) = (0, 0);
    at_each_step(&[&SERVER_STEPS[..], &OTHER_STEPS].concat(), |step| {
        write_old();
        let done = finished(killed_at(step, &portcullis(args)), PASSWORD);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text == old || text == new, "{step:?}: {text}");
        assert_eq!(readable_beside(&file), [""; 0], "{step:?}");
        match done.code {
            None if text == old => olds += 1,
            None => news += 1,
            Some(code) => assert_eq!((code, &text), (0, &new), "{done:?}"),
        }
        done.code.is_some()
    });
    // Steps before it is in its place, and after.
    assert!(olds > 5 && news > 1, "{olds} {news}");

    // What they have left, all hashes among it, goes when somebody comes later.
    let left = || {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let paths = entries.map(|it| it.unwrap().path());
        paths.filter(|it| *it != file).collect::<Vec<_>>()
    };
    assert!(left().len() > 1, "{:?}", left());
    let long_ago = SystemTime::now() - Duration::from_secs(600);
    for path in left() {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    assert_eq!(finished(portcullis(args), PASSWORD).code, Some(0));
    assert!(left().is_empty(), "{:?}", left());
}

/// Starts the gate of a configuration so that it is killed. It may not live to be ready.
fn doomed(step: Step, config: &Path) -> Option<Gate> {
    let run = portcullis(["run", "-c", config.to_str().unwrap()]);
    Gate::try_spawn(killed_at(step, &run)).ok()
}

#[test]
fn a_gate_killed_at_any_step_of_storing_a_password_better_leaves_a_file_that_lets_its_user_in() {
    const PEOPLE: &str = "# people\nralph:\n  password: \"HASH\"  # his\n  roles: [user]\n";
    let backend = Backend::start();
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users.yaml");
    let config = folder.path().join("portcullis.yaml");
    let more = "roles: {user: [view]}\nusers: users.yaml\n";
    let text = gate::without_users(backend.address, more);
    std::fs::write(&config, text.replace("can: edit", "can: view")).unwrap();

    let old = with_hash(&PEOPLE.replace("HASH", "$2b$04$HASH"));
    let (before, after) = old.split_once("$2b$").unwrap();
    let (_, after) = after.split_once('"').unwrap();
    let (mut olds, mut news) = (0, 0);
    at_each_step(&SERVER_STEPS, |step| {
        std::fs::write(&users, &old).unwrap();
        let Some(mut gate) = doomed(step, &config) else {
            assert_eq!(std::fs::read_to_string(&users).unwrap(), old);
            return false;
        };
        gate.log_in_with("ralph", PASSWORD);
        let is_alive = eventually("it is written or the gate is gone", || {
            let is_written = gate.line("users.reload").is_some();
            let is_gone = !gate.is_running();
            (is_written || is_gone).then_some(!is_gone)
        });
        let text = std::fs::read_to_string(&users).unwrap();
        if text == old {
            olds += 1;
        } else {
            let is_new = text.starts_with(&format!("{before}$argon2id$")) && text.ends_with(after);
            assert!(is_new, "{step:?}: {text}");
            news += 1;
        }
        drop(gate);
        let verify = [
            "passwd",
            "--file",
            users.to_str().unwrap(),
            "--verify",
            "ralph",
        ];
        let verified = finished(portcullis(verify), PASSWORD);
        assert_eq!(verified.code, Some(0), "{step:?}: {verified:?}");
        is_alive
    });
    assert!(olds > 3 && news > 1, "{olds} {news}");
}

#[test]
fn a_gate_killed_at_any_step_of_a_login_or_logout_knows_of_all_that_it_has_answered() {
    let backend = Backend::start();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("portcullis.yaml");
    let more = "state: state\nsessions: {store: file, per_user: 1000}\n";
    std::fs::write(&config, with_hash(&gate::config(backend.address, more))).unwrap();
    drop(Gate::start_file(&config, &[]));

    let mut known = Known::default();
    let mut killed = 0;
    at_each_step(&SERVER_STEPS, |step| {
        let Some(mut gate) = doomed(step, &config) else {
            killed += 1;
            return false;
        };
        known.check(&gate, &format!("{step:?}"));
        known.log_in(&gate);
        known.log_out(&gate);
        let is_alive = gate.is_running();
        killed += u32::from(!is_alive);
        is_alive
    });
    assert!(killed > 5, "{killed}");
    let gate = Gate::start_file(&config, &[]);
    known.check(&gate, "the last");
    assert!(known.begun.len() + known.ended.len() > 1, "{known:?}");
}

#[test]
fn a_gate_killed_at_any_step_of_its_first_start_starts_afterwards() {
    let backend = Backend::start();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("portcullis.yaml");
    let state = folder.path().join("state");
    let more = "state: state\nsessions: {store: file}\n";
    std::fs::write(&config, with_hash(&gate::config(backend.address, more))).unwrap();
    let mut killed = 0;
    at_each_step(&SERVER_STEPS, |step| {
        if state.exists() {
            std::fs::remove_dir_all(&state).unwrap();
        }
        let is_alive = doomed(step, &config).is_some_and(|mut gate| gate.is_running());
        killed += u32::from(!is_alive);
        drop(Gate::start_file(&config, &[]));
        let names = std::fs::read_dir(&state).unwrap();
        let names: Vec<_> = names.map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, ["sessions.redb"], "{step:?}");
        is_alive
    });
    assert!(killed > 5, "{killed}");
}

/// The same command, on a disk that takes its time for everything.
fn on_a_slow_disk(command: &Command) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null"]);
    strace.args(["-e", "trace=pwrite64,fsync,fdatasync"]);
    strace.args(["-e", "inject=pwrite64,fsync,fdatasync:delay_enter=200ms"]);
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

/// A gate on a slow disk, and somebody who has logged in before.
struct OnSlowDisk {
    gate: Gate,
    session: String,
    folder: TempDir,
    _backend: Backend,
}

impl OnSlowDisk {
    fn start() -> Self {
        let backend = Backend::start();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("portcullis.yaml");
        let more = "state: state\nsessions: {store: file}\n";
        let text = gate::config(backend.address, more);
        let text = text.replace("admin: {", "admin: {socket: admin.sock, ");
        std::fs::write(&config, with_hash(&text)).unwrap();
        let mut gate = Gate::start_file(&config, &[]);
        let session = gate.log_in("ralph");
        gate.signal("TERM");
        gate.wait();
        let run = portcullis(["run", "-c", config.to_str().unwrap()]);
        Self {
            gate: Gate::try_spawn(on_a_slow_disk(&run)).unwrap(),
            session,
            folder,
            _backend: backend,
        }
    }

    /// 401 from when its end has begun.
    fn status(&self) -> u16 {
        self.gate.curl().session(&self.session).get("/").status
    }

    fn sessions(&self, args: &[&str]) -> Command {
        let socket = self.folder.path().join("admin.sock");
        let socket = ["--socket", socket.to_str().unwrap()];
        portcullis([&["sessions"], args, &socket].concat())
    }

    /// Whether the session is still there when the gate is killed now.
    fn survives_a_kill(&mut self) -> bool {
        self.gate.signal("KILL");
        self.gate.wait();
        let gate = Gate::start_file(&self.folder.path().join("portcullis.yaml"), &[]);
        gate.curl().session(&self.session).get("/").status == 200
    }
}

#[test]
fn a_logout_that_was_answered_is_for_good_also_where_an_earlier_try_was_given_up() {
    let mut slow = OnSlowDisk::start();
    let log_out = |patience| {
        let json = ["-H", "Content-Type: application/json", "-d", "{}"];
        let curl = slow.gate.curl().session(&slow.session).args(json);
        curl.args(["--max-time", patience]).get("/auth/logout")
    };
    eventually("a logout is given up", || {
        let is_given_up = log_out("0.3").status == 0;
        (is_given_up && slow.status() == 401).then_some(())
    });
    assert_eq!(log_out("60").status, 200);
    assert!(!slow.survives_a_kill());
}

#[test]
fn that_there_is_no_session_to_end_is_said_when_its_end_is_for_good() {
    let mut slow = OnSlowDisk::start();
    let list = slow.sessions(&["list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&finished(list, "").out).unwrap();
    let end = slow.sessions(&["end", listed["id"].as_str().unwrap()]);
    let first = Process::start(end, "");
    eventually("its end has begun", || (slow.status() == 401).then_some(()));
    let end = slow.sessions(&["end", listed["id"].as_str().unwrap()]);
    let second = finished(end, "");
    assert!(
        second.errors.contains("there is no such session"),
        "{second:?}"
    );
    assert!(!slow.survives_a_kill());
    drop(first);
}

/// What gates have answered about sessions.
#[derive(Debug, Default)]
struct Known {
    begun: Vec<String>,
    ended: Vec<String>,
}

impl Known {
    fn log_in(&mut self, gate: &Gate) {
        let got = gate.log_in_with("ralph", PASSWORD);
        if got.status == 200 {
            self.begun.extend(got.session_cookie());
        }
    }

    /// Ends the older one of two. One whose end was not answered may be there or not.
    fn log_out(&mut self, gate: &Gate) {
        if self.begun.len() < 2 {
            return;
        }
        let session = self.begun.remove(0);
        if gate.log_out(&session).status == 200 {
            self.ended.push(session);
        }
    }

    /// The gate may die meanwhile, too.
    #[track_caller]
    fn check(&self, gate: &Gate, when: &str) {
        let status = |session: &String| gate.curl().session(session).get("/").status;
        for (sessions, expected) in [(&self.begun, 200), (&self.ended, 401)] {
            let last = sessions.iter().rev().take(3);
            for got in last.map(status).take_while(|got| *got != 0) {
                assert_eq!(got, expected, "{when}");
            }
        }
    }
}
