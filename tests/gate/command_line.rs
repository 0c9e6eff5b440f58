//! What the operator types, and what they are told.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::harness::backend::Backend;
use crate::harness::client::Curl;
use crate::harness::free_port;
use crate::harness::gate::{self, BINARY, Gate, PASSWORD};

/// Runs the binary with these arguments and this standard input.
fn run(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(BINARY)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that wants no input may be gone already.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, said: &[&str]) {
    let all = out(output) + &err(output);
    assert_eq!(output.status.code(), Some(code), "{all}");
    for words in said {
        assert!(all.contains(words), "{words:?} is not in {all}");
    }
}

/// A folder with a configuration that is fine, on a port of its own.
struct Folder {
    folder: TempDir,
    port: u16,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = gate::certificate();
        std::fs::copy(cert, folder.path().join("tls.crt")).unwrap();
        std::fs::copy(key, folder.path().join("tls.key")).unwrap();
        let port = free_port();
        let new = Self { folder, port };
        new.write("portcullis.yaml", &new.good());
        new
    }

    fn good(&self) -> String {
        format!(
            "listeners: [{{address: '127.0.0.1:{}'}}]\n\
             tls: {{certificates: [{{cert: tls.crt, key: tls.key}}]}}\n\
             upstreams: {{b: {{url: 'http://127.0.0.1:9'}}}}\n\
             roles: {{user: [view]}}\nusers: users.yaml\nroutes: [{{can: view}}]\n",
            self.port
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn config(&self) -> String {
        self.path("portcullis.yaml").to_str().unwrap().to_owned()
    }

    /// What `check` and `run` say; the port stays free.
    #[track_caller]
    fn is_refused(&self, said: &[&str]) {
        check(&run(&["check", "-c", &self.config()], ""), 1, said);
        check(&run(&["run", "-c", &self.config()], ""), 78, said);
        let free = std::net::TcpListener::bind(("127.0.0.1", self.port));
        assert!(free.is_ok(), "something was bound");
    }
}

fn users(folder: &Folder) {
    let hash = out(&run(&["passwd", "ralph", "user"], PASSWORD));
    folder.write("users.yaml", &hash);
}

#[test]
fn a_good_configuration_is_checked_and_nothing_is_bound() {
    let folder = Folder::new();
    users(&folder);
    let taken = std::net::TcpListener::bind(("127.0.0.1", folder.port)).unwrap();
    let checked = run(&["check", "-c", &folder.config()], "");
    check(&checked, 0, &["ok", "1 listeners", "1 routes", "1 users"]);
    drop(taken);
}

#[test]
fn every_problem_is_reported_at_once_with_its_place_and_nothing_is_bound() {
    let folder = Folder::new();
    users(&folder);
    let bad = folder
        .good()
        .replace("can: view", "can: viw, upstream: c")
        .replace("roles: {user", "rolls: {user");
    folder.write("portcullis.yaml", &bad);
    folder.is_refused(&[
        "portcullis.yaml:4:1: rolls: unknown key; did you mean \"roles\"?",
        "portcullis.yaml:6:31: routes[0].upstream: no upstream is named \"c\"",
    ]);
    folder.write("portcullis.yaml", "listeners: [\n");
    folder.is_refused(&["portcullis.yaml:2:"]);
    folder.write("portcullis.yaml", "");
    folder.is_refused(&["listeners", "routes"]);
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_what_would_be_right() {
    let folder = Folder::new();
    folder.is_refused(&["users.yaml", "No such file"]);
    users(&folder);

    let (cert, key) = (folder.path("tls.crt"), folder.path("tls.key"));
    let (good_cert, good_key) = (std::fs::read(&cert).unwrap(), std::fs::read(&key).unwrap());
    std::fs::remove_file(&cert).unwrap();
    folder.is_refused(&["tls.crt: cannot read the certificate"]);
    std::fs::write(&cert, &good_key).unwrap();
    folder.is_refused(&["tls.crt: found a private key; expected a PEM certificate"]);
    std::fs::write(&cert, "").unwrap();
    folder.is_refused(&["tls.crt: found an empty file"]);
    std::fs::write(&cert, &good_cert).unwrap();

    std::fs::write(&key, &good_cert).unwrap();
    folder.is_refused(&["tls.key: found a certificate; expected an unencrypted PEM private key"]);
    openssl(
        &folder,
        &["genpkey", "-algorithm", "ed25519", "-out", "tls.key"],
    );
    folder.is_refused(&[
        "tls.key: this key does not belong to the certificate in",
        "tls.crt",
    ]);
    std::fs::write(&key, &good_key).unwrap();

    let csr = [
        "req", "-new", "-key", "tls.key", "-subj", "/CN=x", "-out", "x.csr",
    ];
    openssl(&folder, &csr);
    let sign = [
        "x509", "-req", "-in", "x.csr", "-signkey", "tls.key", "-days", "-1",
    ];
    let to_file = [&sign[..], &["-out", "tls.crt"]].concat();
    openssl(&folder, &to_file);
    folder.is_refused(&["tls.crt: the certificate expired on", "renew it"]);
    std::fs::write(&cert, &good_cert).unwrap();
    check(&run(&["check", "-c", &folder.config()], ""), 0, &["ok"]);

    let missing = run(&["run", "-c", "/nonexistent/portcullis.yaml"], "");
    check(
        &missing,
        78,
        &["/nonexistent/portcullis.yaml", "No such file"],
    );
}

fn openssl(folder: &Folder, args: &[&str]) {
    let mut command = Command::new("openssl");
    let made = command
        .args(args)
        .current_dir(folder.folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn wrong_usage_is_2_and_help_is_for_newcomers() {
    check(&run(&[], ""), 2, &["Usage: portcullis"]);
    check(&run(&["walk"], ""), 2, &["unrecognized subcommand"]);
    check(&run(&["passwd"], ""), 2, &["USERNAME"]);
    check(
        &run(&["--help"], ""),
        0,
        &["portcullis demo", "Exit codes", "78", "passwd"],
    );
    check(
        &run(&["run", "--help"], ""),
        0,
        &["-c", "portcullis.yaml", "PORTCULLIS_CONFIG"],
    );
    check(
        &run(&["passwd", "--help"], ""),
        0,
        &["at least 8 characters", "standard input"],
    );
    check(&run(&["demo", "--help"], ""), 0, &["--port", "8443"]);
    check(&run(&["--version"], ""), 0, &["portcullis 0."]);
}

#[test]
fn a_password_made_here_lets_its_user_in() {
    let folder = Folder::new();
    let backend = Backend::start();
    let file = folder.path("users.yaml");
    let file = file.to_str().unwrap();
    let input = format!("{PASSWORD}\n");
    // The line of the Ioto documentation, and ours.
    let old = [
        "pass",
        "--cipher",
        "bcrypt",
        "--file",
        file,
        "--password",
        PASSWORD,
        "ralph",
        "user",
    ];
    check(&run(&old, ""), 0, &[]);
    check(
        &run(&["passwd", "--file", file, "ada", "user"], &input),
        0,
        &[],
    );
    check(
        &run(&["passwd", "--verify", "--file", file, "ada"], &input),
        0,
        &["ok"],
    );
    check(
        &run(
            &["passwd", "--verify", "--file", file, "ada"],
            "wrong one\n",
        ),
        1,
        &["not the password"],
    );
    check(
        &run(&["passwd", "--file", file, "eve"], "short\n"),
        1,
        &["at least 8"],
    );
    let config = folder
        .good()
        .replace("127.0.0.1:9'", &format!("{}'", backend.address))
        .replace(&folder.port.to_string(), "0");
    folder.write("portcullis.yaml", &config);
    let gate = Gate::start_file(Path::new(&folder.config()), &[]);
    for user in ["ralph", "ada"] {
        let session = gate.log_in(user);
        assert_eq!(gate.curl().session(&session).get("/").status, 200);
    }
    let eve = format!(r#"{{"username":"eve","password":"{PASSWORD}"}}"#);
    let json = ["-H", "Content-Type: application/json", "-d", &eve];
    assert_eq!(gate.curl().args(json).get("/auth/login").status, 401);
}

#[test]
fn every_documented_hash_of_ioto_lets_its_user_in() {
    let folder = Folder::new();
    let backend = Backend::start();
    let hashes = [
        (
            "a",
            "pass5",
            "BF1:00128:7B1MFk55Gswv648L:+zReK36LKHWNfbYKKNTsXhiqLMDxTsyK",
        ),
        (
            "ralph",
            "pass5",
            "BF1:00128:0123456789abcdef:H+MpzKEvVbiASMw2UfH3ly4eT+ZY6juR",
        ),
        (
            "alice",
            "Secret-123!",
            "BF1:01024:RFlQ805LsN3fidZa:6XsyQkBW9LWVzGOGj9t/XmkwUtk2DCv8",
        ),
    ];
    let entries: String = hashes
        .iter()
        .map(|(user, _, hash)| format!("{user}: {{password: '{hash}', roles: [user]}}\n"))
        .collect();
    folder.write("users.yaml", &entries);
    let config = folder
        .good()
        .replace("127.0.0.1:9'", &format!("{}'", backend.address))
        .replace(&folder.port.to_string(), "0");
    folder.write("portcullis.yaml", &config);
    let gate = Gate::start_file(Path::new(&folder.config()), &[]);
    for (user, password, _) in hashes {
        for (password, status) in [(password, 200), ("wrong one", 401)] {
            let body = format!(r#"{{"username":"{user}","password":"{password}"}}"#);
            let json = ["-H", "Content-Type: application/json", "-d", &body];
            assert_eq!(
                gate.curl().args(json).get("/auth/login").status,
                status,
                "{user}"
            );
        }
    }
}

/// A running demonstration; ends with the test.
struct Demo {
    child: std::process::Child,
    text: String,
    port: u16,
    password: String,
}

impl Demo {
    fn start() -> Self {
        use std::io::BufRead;
        let mut child = Command::new(BINARY)
            .args(["demo", "--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        let mut reader = std::io::BufReader::new(child.stdout.take().unwrap());
        while !text.contains("Ctrl-C") {
            assert!(reader.read_line(&mut text).unwrap() > 0, "{text}");
        }
        let after = |marker: &str| {
            let (_, rest) = text.split_once(marker).unwrap();
            rest.trim_start()
                .split(['/', '\n'])
                .next()
                .unwrap()
                .to_owned()
        };
        Self {
            port: after("https://localhost:").parse().unwrap(),
            password: after("password  "),
            text,
            child,
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_demonstration_works_as_it_says() {
    let mut demo = Demo::start();
    assert!(demo.text.contains("user      demo"), "{}", demo.text);
    assert_eq!(demo.text.matches(&demo.password).count(), 1);
    let body = format!(r#"{{"username":"demo","password":"{}"}}"#, demo.password);
    for version in ["--http1.1", "--http2"] {
        let curl = || Curl::new(demo.port).args([version]);
        assert_eq!(curl().get("/").status, 401);
        let public = curl().header("X-Forwarded-User: root").get("/public/");
        assert_eq!(public.status, 200);
        assert!(!public.body.contains("root"), "{}", public.body);
        let json = ["-H", "Content-Type: application/json", "-d", &body];
        let session = curl()
            .args(json)
            .get("/auth/login")
            .session_cookie()
            .unwrap();
        let page = curl().session(&session).get("/x");
        assert!(
            page.body.contains("X-Forwarded-User: demo"),
            "{}",
            page.body
        );
        assert_eq!(curl().session(&session).get("/admin/").status, 403);
    }
    let id = demo.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", "INT", &id])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(demo.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_demonstration_on_a_taken_port_says_how_to_choose_another() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    check(
        &run(&["demo", "--port", &port], ""),
        1,
        &["another server", "--port"],
    );
}
