//! Users while the gate runs: who is changed, disabled or removed, and what becomes of their
//! sessions.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::backend::Backend;
use crate::harness::client::status_of;
use crate::harness::eventually;
use crate::harness::gate::{self, Gate, PASSWORD, with_hash};
use crate::harness::process::{finished, portcullis};

const ROLES: &str = "roles: {user: [view], administrator: [view, edit]}\n";

/// In the texts of the tests `HASH` is the hash of `correct horse`.
const PEOPLE: &str = "\
# the people
ralph:
  password: HASH  # soon another
  roles: [user]
ada:
  password: HASH
  roles: [administrator]
";

/// A gate whose users are in a file of their own.
struct Peopled {
    gate: Gate,
    backend: Backend,
    folder: TempDir,
}

impl Peopled {
    #[track_caller]
    fn start() -> Self {
        Self::with("users: users.yaml\n", PEOPLE)
    }

    #[track_caller]
    fn with(section: &str, people: &str) -> Self {
        let backend = Backend::start();
        let folder = tempfile::tempdir().unwrap();
        let text = config(&backend, &format!("{ROLES}{section}"));
        std::fs::write(folder.path().join("portcullis.yaml"), text).unwrap();
        std::fs::write(folder.path().join("users.yaml"), hashed(people)).unwrap();
        let gate = Gate::start_file(&folder.path().join("portcullis.yaml"), &[]);
        Self {
            gate,
            backend,
            folder,
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("users.yaml")
    }

    /// Puts other users into the file, as an editor does.
    fn write(&self, people: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, hashed(people)).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    fn configure(&self, sections: &str) {
        let text = config(&self.backend, sections);
        std::fs::write(self.folder.path().join("portcullis.yaml"), text).unwrap();
    }

    fn status(&self, session: &str, path: &str) -> u16 {
        self.gate.curl().session(session).get(path).status
    }
}

fn config(backend: &Backend, more: &str) -> String {
    with_hash(&gate::without_users(backend.address, more))
}

fn hashed(people: &str) -> String {
    with_hash(&people.replace("HASH", "\"$2b$04$HASH\""))
}

#[test]
fn a_password_that_is_changed_ends_the_sessions_of_the_old_one_and_no_others() {
    let people = Peopled::start();
    let [ralph, ada] = ["ralph", "ada"].map(|user| people.gate.log_in(user));
    let new = bcrypt::hash("battery staple", 4).unwrap();
    people.write(&PEOPLE.replacen("HASH", &format!("\"{new}\""), 1));
    // Nobody has to say that the file has changed.
    eventually("the end of the session", || {
        (people.status(&ralph, "/") == 401).then_some(())
    });
    let line = eventually("it is said", || people.gate.line("users.reload"));
    assert_eq!(line["users"], 2, "{line}");
    assert_eq!(people.status(&ada, "/"), 200);
    assert_eq!(people.gate.log_in_with("ralph", PASSWORD).status, 401);
    let again = people.gate.log_in_with("ralph", "battery staple");
    assert_eq!(people.status(&again.session_cookie().unwrap(), "/"), 200);
    assert_eq!(people.gate.reloads("restart_needed"), 0);
}

#[test]
fn whoever_is_disabled_or_removed_is_nobody_from_the_next_request_on() {
    let people = Peopled::start();
    let sessions = ["ralph", "ada"].map(|user| people.gate.log_in(user));
    // A connection that is there already, and a request on it that has begun.
    let mut connection = people.gate.connect();
    connection.send(b"GET /a HTTP/1.1\r\nHost: localhost\r\n");
    let disabled = "  roles: [user]\n  disabled: true\n";
    people.write(&PEOPLE.replace("  roles: [user]\n", disabled));
    people.gate.reload("success");
    connection.send(format!("Cookie: __Host-portcullis={}\r\n\r\n", sessions[0]).as_bytes());
    assert_eq!(status_of(&connection.read_answer()), 401);
    let statuses = |people: &Peopled| {
        let status = |session: &String| people.status(session, "/");
        (status(&sessions[0]), status(&sessions[1]))
    };
    assert_eq!(statuses(&people), (401, 200));
    assert_eq!(people.gate.log_in_with("ralph", PASSWORD).status, 401);
    let (ralph_alone, _) = PEOPLE.split_once("ada:").unwrap();
    people.write(ralph_alone);
    people.gate.reload("success");
    // To be enabled again brings no session back.
    assert_eq!(statuses(&people), (401, 401));
    assert_eq!(people.gate.log_in_with("ralph", PASSWORD).status, 200);
    assert_eq!(people.gate.log_in_with("ada", PASSWORD).status, 401);
}

#[test]
fn a_change_of_roles_counts_from_the_next_request_on_and_takes_a_new_login() {
    let people = Peopled::start();
    let sessions = ["ada", "ralph"].map(|user| people.gate.log_in(user));
    assert_eq!(people.status(&sessions[0], "/admin/"), 200);
    people.write(&PEOPLE.replace("administrator", "user"));
    people.gate.reload("success");
    let is_end =
        |line: &Value| line["event"] == "session.end" && line["auth.reason"] == "rights_changed";
    let end = eventually("it is on record", || people.gate.line_where(is_end));
    assert_eq!(end["user.name"], "ada");
    let statuses = |session: &str| ["/admin/", "/"].map(|path| people.status(session, path));
    assert_eq!(statuses(&sessions[0]), [401, 401]);
    assert_eq!(statuses(&people.gate.log_in("ada")), [403, 200]);
    people.write(PEOPLE);
    people.gate.reload("success");
    assert_eq!(statuses(&people.gate.log_in("ada")), [200, 200]);
    // To others nothing has happened.
    assert_eq!(statuses(&sessions[1]), [403, 200]);
    let ended = [("reason", "rights_changed")];
    people
        .gate
        .await_metric("portcullis_auth_sessions_ended_total", &ended, 2.0);
}

#[test]
fn what_is_taken_away_counts_whatever_else_is_wrong_or_waits() {
    const DISABLED: &str = "  roles: [user]\n  disabled: true\n";
    let users = "users: users.yaml\n";
    let new_role = "roles: {user: [view], administrator: [view, edit], guest: [view]}\n";
    for (section, result, why) in [
        (
            format!("{new_role}{users}"),
            "restart_needed",
            "another section waits",
        ),
        (
            format!("{ROLES}{users}rotues: []\n"),
            "failure",
            "a word is misspelt",
        ),
        (format!("{ROLES}{users}log: ["), "failure", "it is no YAML"),
    ] {
        let people = Peopled::start();
        let sessions = ["ralph", "ada"].map(|user| people.gate.log_in(user));
        people.configure(&section);
        people.gate.reload(result);
        let more = "eve:\n  password: HASH\n  roles: [administrator]\n";
        let raised = PEOPLE.replace("  roles: [user]\n", DISABLED) + more;
        people.write(&raised);
        eventually(why, || {
            (people.status(&sessions[0], "/") == 401).then_some(())
        });
        assert_eq!(
            people.gate.log_in_with("ralph", PASSWORD).status,
            401,
            "{why}"
        );
        let asked = ["/", "/admin/"].map(|path| people.status(&sessions[1], path));
        assert_eq!(asked, [200, 200], "{why}");
        // What is given has to wait.
        assert_eq!(
            people.gate.log_in_with("eve", PASSWORD).status,
            401,
            "{why}"
        );
        people.configure(&format!("{ROLES}{users}"));
        people.gate.reload("success");
        assert_eq!(
            people.gate.log_in_with("eve", PASSWORD).status,
            200,
            "{why}"
        );
        assert_eq!(
            people.gate.log_in_with("ralph", PASSWORD).status,
            401,
            "{why}"
        );
    }
}

#[test]
fn what_pages_are_made_of_waits_for_a_restart_and_keeps_nothing_from_being_taken_away() {
    let people = Peopled::start();
    let file = |name: &str| people.folder.path().join(name);
    std::fs::write(file("de.yaml"), "language: de\ntexts: {log_in: Anmelden}\n").unwrap();
    std::fs::write(file("logo.svg"), LOGO).unwrap();
    let login = "login: {logo: logo.svg, languages: de.yaml}\n";
    people.configure(&format!("{ROLES}users: users.yaml\n{login}"));
    let gate = Gate::start_file(&file("portcullis.yaml"), &[]);
    let people = Peopled { gate, ..people };
    let page = || people.gate.curl().browser().header("Accept-Language: de");
    assert!(page().get("/auth/login").body.contains("Anmelden"));

    let file = |name: &str| people.folder.path().join(name);
    std::fs::write(
        file("de.yaml"),
        "language: de\ntexts: {log_in: Einloggen}\n",
    )
    .unwrap();
    people.gate.reload("restart_needed");
    let waiting = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.ends_with("; restart to apply: login (its files)")
    };
    assert!(people.gate.line_where(waiting).is_some());
    assert!(page().get("/auth/login").body.contains("Anmelden"));

    let ralph = people.gate.log_in("ralph");
    std::fs::write(
        file("de.yaml"),
        "language: de\ntexts: {log_inn: Einloggen}\n",
    )
    .unwrap();
    std::fs::remove_file(file("logo.svg")).unwrap();
    people.gate.reload("failure");
    let (_, ada_alone) = PEOPLE.split_once("ada:").unwrap();
    people.write(&format!("ada:{ada_alone}"));
    eventually("ralph is gone", || {
        (people.status(&ralph, "/") == 401).then_some(())
    });
    let failure = |words: &str| {
        let fits = |line: &Value| {
            line["message"]
                .as_str()
                .is_some_and(|it| it.contains(words))
        };
        assert!(people.gate.line_where(fits).is_some(), "{words}");
    };
    failure("de.yaml:2:9: texts.log_inn: no page says this; did you mean \"log_in\"?");
    failure("login.logo: the file \"logo.svg\": cannot be read");
}

const LOGO: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"/>";

#[test]
fn users_are_applied_while_a_certificate_is_broken() {
    let people = Peopled::start();
    let ralph = people.gate.log_in("ralph");
    let (cert, _) = gate::certificate();
    let file = people.folder.path().join("portcullis.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let broken = people.folder.path().join("broken.crt");
    std::fs::write(&broken, "not a certificate").unwrap();
    let path = |path: &std::path::Path| path.display().to_string();
    std::fs::write(&file, text.replace(&path(&cert), &path(&broken))).unwrap();
    people.gate.reload("failure");
    people.write("ada: {password: HASH, roles: user}\n");
    eventually("ralph is gone", || {
        (people.status(&ralph, "/") == 401).then_some(())
    });
    assert_eq!(people.gate.log_in_with("ada", PASSWORD).status, 200);
}

#[test]
fn a_change_is_applied_within_a_second_or_so_without_being_told() {
    let people = Peopled::start();
    let ralph = people.gate.log_in("ralph");
    people.write(&PEOPLE.replace("  roles: [user]\n", "  roles: [user]\n  disabled: true\n"));
    let begun = Instant::now();
    eventually("the end of it", || {
        (people.status(&ralph, "/") == 401).then_some(())
    });
    // Half a second of quiet is waited for; the rest is for a machine with much to do.
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn users_with_a_problem_change_nothing_and_it_is_said() {
    let people = Peopled::start();
    let ralph = people.gate.log_in("ralph");
    for (broken, said) in [
        ("ralph: [\n", "not readable as YAML"),
        (
            "ralph: {password: plain, roles: [user]}\n",
            "not a password hash",
        ),
        (
            "ralph: {password: HASH, roles: [user], x: y}\n",
            "unknown key",
        ),
    ] {
        let ada = "ada: {password: HASH, roles: [administrator]}\n";
        people.write(&format!("{broken}{ada}"));
        people.gate.reload("failure");
        assert!(people.gate.log().contains(said), "{}", people.gate.log());
        assert_eq!(people.status(&ralph, "/"), 200, "{broken}");
        assert_eq!(people.gate.log_in_with("ada", PASSWORD).status, 200);
    }
    std::fs::remove_file(people.file()).unwrap();
    people.gate.reload("failure");
    assert_eq!(people.status(&ralph, "/"), 200);
    people.write("ada: {password: HASH}\n");
    eventually("the users are good again", || {
        (people.status(&ralph, "/") == 401).then_some(())
    });
}

#[test]
fn users_wait_for_the_roles_that_have_changed_with_them() {
    let people = Peopled::start();
    let ralph = people.gate.log_in("ralph");
    let users = "users: users.yaml\n";
    people.write(&PEOPLE.replace("[user]", "[administrator]"));
    let roles = "roles: {user: [view, edit], administrator: [view]}\n";
    people.configure(&format!("{roles}{users}"));
    people.gate.reload("restart_needed");
    let waiting = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.contains("restart to apply: roles, users (but for what is taken away from them)")
    };
    assert!(
        people.gate.line_where(waiting).is_some(),
        "{}",
        people.gate.log()
    );
    // As administrator under the old roles he could edit, which nobody ever meant.
    eventually("the end of his session", || {
        (people.status(&ralph, "/") == 401).then_some(())
    });
    let ralph = people.gate.log_in("ralph");
    let asked = (people.status(&ralph, "/admin/"), people.status(&ralph, "/"));
    assert_eq!(asked, (403, 200));
    people.configure(&format!("{ROLES}{users}"));
    people.gate.reload("success");
    let ralph = people.gate.log_in("ralph");
    assert_eq!(people.status(&ralph, "/admin/"), 200);
}

#[test]
fn users_in_the_configuration_are_applied_as_well_and_so_is_another_place_for_them() {
    let people = Peopled::with(
        "users: {ralph: {password: \"$2b$04$HASH\", roles: user}}\n",
        "",
    );
    let ralph = people.gate.log_in("ralph");
    assert_eq!(people.gate.log_in_with("ada", PASSWORD).status, 401);
    people.write(PEOPLE);
    people.configure(&format!("{ROLES}users: users.yaml\n"));
    people.gate.reload("success");
    // The password is the same, wherever it is written.
    assert_eq!(people.status(&ralph, "/"), 200);
    assert_eq!(people.gate.log_in_with("ada", PASSWORD).status, 200);
    // From now on that file is looked at.
    people.write("ada: {password: HASH}\n");
    eventually("the file is watched", || {
        (people.status(&ralph, "/") == 401).then_some(())
    });
}

#[test]
fn a_slip_in_one_entry_keeps_nobody_in_who_is_disabled_or_has_another_password() {
    let before = format!("{PEOPLE}bea:\n  password: HASH\n  roles: [user]\n");
    let people = Peopled::with("users: users.yaml\n", &before);
    let sessions = ["ralph", "ada", "bea"].map(|user| people.gate.log_in(user));
    let new = bcrypt::hash("battery staple", 4).unwrap();
    let after = before
        .replace("HASH  # soon another", "HASH\n  disabled: true")
        .replace(
            "ada:\n  password: HASH",
            &format!("ada:\n  password: \"{new}\""),
        )
        .replace("bea:\n  password: HASH", "bea:\n  password: battery")
        + "carol:\n  password: HASH\n  roles: [operater]\n";
    people.write(&after);
    people.gate.reload("failure");
    let statuses = sessions.each_ref().map(|it| people.status(it, "/"));
    // Nobody knows what was to become of bea.
    assert_eq!(statuses, [401, 401, 200]);
    for (user, password, status) in [
        ("ralph", PASSWORD, 401),
        ("ada", PASSWORD, 401),
        ("bea", PASSWORD, 200),
        ("carol", PASSWORD, 401),
    ] {
        assert_eq!(
            people.gate.log_in_with(user, password).status,
            status,
            "{user}"
        );
    }
    let said = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.contains("what is taken away from users counts")
    };
    assert!(people.gate.line_where(said).is_some());

    // What was taken away comes back with what it was taken from.
    people.write(&before);
    people.gate.reload("success");
    for user in ["ralph", "ada", "bea"] {
        assert_eq!(
            people.gate.log_in_with(user, PASSWORD).status,
            200,
            "{user}"
        );
    }

    // Where it is not known who there is, nobody is taken for gone, and that is said.
    people.write("- ada\n");
    people.gate.reload("failure");
    assert_eq!(people.status(&sessions[2], "/"), 200);
    let said = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.contains("so do all users, even those who have been disabled")
    };
    assert!(people.gate.line_where(said).is_some());
    people.write(&before.replace("bea:", "ben:"));
    people.gate.reload("success");
    assert_eq!(people.status(&sessions[2], "/"), 401);
}

#[test]
fn whoever_is_disabled_while_a_login_is_under_way_has_no_session_by_it() {
    let people = Peopled::start();
    let body = format!(r#"{{"username":"ralph","password":"{PASSWORD}"}}"#);
    let (first, rest) = body.split_at(10);
    let begin = || {
        let mut connection = people.gate.connect();
        let head = format!(
            "POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{first}",
            body.len()
        );
        connection.send(head.as_bytes());
        connection
    };
    let mut slow = begin();
    people
        .gate
        .await_metric("portcullis_http_requests_in_flight", &[], 1.0);
    let disabled = PEOPLE.replace("HASH  # soon another", "HASH\n  disabled: true");
    people.write(&disabled);
    people.gate.reload("success");
    slow.send(rest.as_bytes());
    let answer = slow.read_answer();
    assert_eq!(status_of(&answer), 401, "{answer}");
    assert!(!answer.contains("__Host-portcullis="), "{answer}");
    // Nothing is left that would be good again with the user.
    people
        .gate
        .await_metric("portcullis_auth_sessions_active", &[], 0.0);
    people.write(PEOPLE);
    people.gate.reload("success");
    let mut quick = begin();
    quick.send(rest.as_bytes());
    assert_eq!(status_of(&quick.read_answer()), 200);
}

#[test]
fn users_behind_a_link_into_another_folder_are_watched_there() {
    let people = Peopled::start();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("people.yaml");
    std::fs::write(&target, hashed(PEOPLE)).unwrap();
    let link = people.folder.path().join("link");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    std::fs::rename(link, people.file()).unwrap();
    people.gate.reload("unchanged");
    let [ralph, ada] = ["ralph", "ada"].map(|user| people.gate.log_in(user));
    let users = people.file();
    let args = [
        "passwd",
        "--file",
        users.to_str().unwrap(),
        "--disable",
        "ralph",
    ];
    assert_eq!(finished(portcullis(args), "").code, Some(0));
    eventually("the end of the session", || {
        (people.status(&ralph, "/") == 401).then_some(())
    });
    assert_eq!(people.status(&ada, "/"), 200);
}

// --- Passwords that are stored better ---

#[test]
fn a_weak_hash_becomes_a_better_one_at_a_login_and_the_sessions_go_on() {
    let people = Peopled::start();
    let mode = |mode| std::fs::set_permissions(people.file(), PermissionsExt::from_mode(mode));
    mode(0o640).unwrap();
    let sessions = [people.gate.log_in("ralph"), people.gate.log_in("ralph")];
    let line = eventually("a better hash", || people.gate.line("password.upgraded"));
    assert_eq!(
        (&line["user.name"], &line["password.format"]),
        (&"ralph".into(), &"bcrypt".into())
    );
    eventually("the reload", || people.gate.line("users.reload"));
    // Only this hash has changed.
    let text = std::fs::read_to_string(people.file()).unwrap();
    let (_, after) = text.split_once("password: \"").unwrap();
    let (hash, _) = after.split_once('"').unwrap();
    assert!(
        hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
        "{hash}"
    );
    assert_eq!(
        text,
        hashed(&PEOPLE.replacen("HASH", &format!("\"{hash}\""), 1))
    );
    let metadata = std::fs::metadata(people.file()).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    // That is no other password: who has logged in with it stays so, and logs in with it.
    let last = people.gate.log_in("ralph");
    for session in sessions.iter().chain([&last]) {
        assert_eq!(people.status(session, "/"), 200);
    }
    // It stays so when the users are read again.
    people.write(&text.replace("[administrator]", "[user]"));
    people.gate.reload("success");
    for session in sessions.iter().chain([&last]) {
        assert_eq!(people.status(session, "/"), 200);
    }
    // A hash that we did not make is another password, for all that anybody knows.
    let other = bcrypt::hash(PASSWORD, 4).unwrap();
    people.write(&text.replace(hash, &other));
    people.gate.reload("success");
    for session in sessions.iter().chain([&last]) {
        assert_eq!(people.status(session, "/"), 401);
    }
    assert_eq!(people.gate.line("password.not_upgraded"), None);
}

#[test]
fn a_file_that_is_not_to_be_changed_is_left_alone_and_that_is_said_once() {
    let flow = "ralph: {password: HASH, roles: user}\nada: {password: HASH}\n";
    for (people, mode, said) in [
        (PEOPLE, 0o444, "users.yaml is read-only"),
        (flow, 0o644, "users.yaml:1: flow style"),
    ] {
        let gate = Peopled::with("users: users.yaml\n", people);
        let before = std::fs::read_to_string(gate.file()).unwrap();
        std::fs::set_permissions(gate.file(), PermissionsExt::from_mode(mode)).unwrap();
        let not_upgraded = |line: &Value| line["event"] == "password.not_upgraded";
        for _ in 0..2 {
            let session = gate.gate.log_in("ralph");
            let line = eventually("a word", || gate.gate.line_where(not_upgraded));
            assert!(line["message"].as_str().unwrap().contains(said), "{line}");
            assert_eq!(gate.status(&session, "/"), 200);
        }
        assert_eq!(gate.gate.count_lines(not_upgraded), 1);
        assert_eq!(std::fs::read_to_string(gate.file()).unwrap(), before);
    }
}

#[test]
fn md5_that_is_allowed_lasts_until_the_first_login_which_stores_argon2id_of_the_configured_cost() {
    // printf %s 'bob:Test Realm:password' | md5sum
    let bob = "bob: \n  password: 123b28ffae9fdec0c8e4b9dc92deb9bc\n  roles: [user]\n";
    let login = "login: {realms: [Test Realm], unsafe_md5_passwords: true, \
                 argon2id: {memory: 8MiB, passes: 5, lanes: 2}}\n";
    let people = Peopled::with(&format!("users: users.yaml\n{login}"), bob);
    assert_eq!(people.gate.log_in_with("bob", "passwort").status, 401);
    assert_eq!(people.gate.log_in_with("bob", "password").status, 200);
    let line = eventually("a better hash", || people.gate.line("password.upgraded"));
    assert_eq!(line["password.format"], "MD5");
    let text = std::fs::read_to_string(people.file()).unwrap();
    assert!(text.contains("$argon2id$v=19$m=8192,t=5,p=2$"), "{text}");
    eventually("the reload", || people.gate.line("users.reload"));
    let again = people.gate.log_in_with("bob", "password");
    assert_eq!(again.status, 200);
    // What it has made it leaves alone.
    assert_eq!(
        people
            .gate
            .count_lines(|line| line["event"] == "password.upgraded"),
        1
    );
    assert_eq!(std::fs::read_to_string(people.file()).unwrap(), text);

    // Without the switch a file with such a hash is not taken, and nothing changes.
    people.configure(&format!("{ROLES}users: users.yaml\n"));
    people.write(bob);
    people.gate.reload("failure");
    let session = again.session_cookie().unwrap();
    assert_eq!(people.status(&session, "/"), 200);
    assert_eq!(people.gate.log_in_with("bob", "password").status, 200);
}

#[test]
fn users_in_the_configuration_itself_are_not_rewritten() {
    let inline = "users: {ralph: {password: \"$2b$04$HASH\", roles: user}}\n";
    let people = Peopled::with(inline, "");
    let file = people.folder.path().join("portcullis.yaml");
    let before = std::fs::read_to_string(&file).unwrap();
    people.gate.log_in("ralph");
    let line = eventually("a word", || people.gate.line("password.not_upgraded"));
    let said =
        "a password stays stored as it is: users in the configuration itself are not changed";
    assert_eq!(line["message"], said);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
}
