//! Logging in to backends on behalf of whoever was let in: a real nginx with Basic, a real Apache
//! with Digest, and a server of our own for what they do not do.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::harness::apache::Apache;
use crate::harness::backend::{Backend, Recorded};
use crate::harness::client::Got;
use crate::harness::eventually;
use crate::harness::gate::{self, Gate, ROLES_AND_USERS};
use crate::harness::nginx::Nginx;
use crate::harness::process::{finished, portcullis};

const USER: &str = "gate";
const PASSWORD: &str = "s3cret, for \u{fc}";

/// A gate that logs in to its backend with the password in its file.
struct LoggedIn {
    gate: Gate,
    folder: TempDir,
}

impl LoggedIn {
    #[track_caller]
    fn start(backend: SocketAddr, scheme: &str) -> Self {
        Self::with(backend, scheme, "routes: [{public: true}]\n")
    }

    #[track_caller]
    fn with(backend: SocketAddr, scheme: &str, more: &str) -> Self {
        Self::to(&format!("url: 'http://{backend}'"), scheme, more)
    }

    /// To an upstream that is described like this.
    #[track_caller]
    fn to(upstream: &str, scheme: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = gate::certificate();
        let config = format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\nthreads: 2\n\
             admin: {{address: '127.0.0.1:0'}}\n\
             tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
             upstreams:\n  backend: {{{upstream}, \
             login: {{{scheme}: {{username: {USER}, password: {{file: pass}}}}}}}}\n{more}",
            cert.display(),
            key.display(),
        );
        let file = folder.path().join("portcullis.yaml");
        std::fs::write(&file, gate::with_hash(&config)).unwrap();
        std::fs::write(folder.path().join("pass"), format!("{PASSWORD}\n")).unwrap();
        let gate = Gate::start_file(&file, &[]);
        Self { gate, folder }
    }

    fn password_file(&self) -> PathBuf {
        self.folder.path().join("pass")
    }

    fn count(&self, event: &str, result: &str) -> usize {
        let is_it = |line: &Value| line["event"] == event && line["result"] == result;
        self.gate.count_lines(is_it)
    }

    /// Puts another password into the file, and waits until it is read.
    #[track_caller]
    fn change_password(&self, text: &str) {
        let before = self.count("upstream.login", "success");
        std::fs::write(self.password_file(), text).unwrap();
        eventually("it is read", || {
            (self.count("upstream.login", "success") > before).then_some(())
        });
    }

    fn get(&self, path: &str) -> Got {
        self.gate.curl().get(path)
    }

    /// A request that the backend does not let in. The client learns nothing of that, least of all to
    /// ask somebody for a password.
    #[track_caller]
    fn refused(&self, path: &str) {
        let got = self.get(path);
        assert_eq!(got.status, 502, "{got:?}");
        for name in [
            "www-authenticate",
            "authentication-info",
            "proxy-authenticate",
        ] {
            assert_eq!(got.all(name), [""; 0], "{got:?}");
        }
        let is_it = |line: &Value| line["error.type"] == "upstream_login_refused";
        eventually("it is in the log", || self.gate.line_where(is_it));
        let log = self.gate.log();
        assert!(
            !log.contains("s3cret") && !log.contains("wrong one"),
            "{log}"
        );
    }

    #[track_caller]
    fn said(&self) -> String {
        let is_it = |line: &Value| line["event"] == "upstream.login" && line["level"] == "warn";
        let line = eventually("it is said", || self.gate.line_where(is_it));
        assert_eq!(line["upstream.name"], "backend");
        line["message"].as_str().unwrap().to_owned()
    }
}

// --- Basic ---

/// An nginx that lets [`USER`] in, and the folder that says so.
fn nginx() -> (Nginx, TempDir) {
    nginx_with("")
}

/// The same with more said about its server, in front of that.
fn nginx_with(more: &str) -> (Nginx, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    std::fs::write(&users, format!("{USER}:{{PLAIN}}{PASSWORD}\n")).unwrap();
    let users = users.display();
    let login = format!("auth_basic device; auth_basic_user_file {users};");
    let nginx = Nginx::listening(&format!("{more}{login}"));
    (nginx, folder)
}

#[test]
fn nginx_lets_the_gate_in_with_basic_whoever_is_asking() {
    let (nginx, _users) = nginx();
    let logged_in = LoggedIn::start(nginx.address, "basic");
    assert_eq!(logged_in.get("/").body, "<p>the backend</p>\n");
    // What a client has for something else does not get in the way.
    let other = logged_in.gate.curl().args(["-u", "somebody:else"]);
    assert_eq!(other.get("/").body, "<p>the backend</p>\n");
    let h2 = logged_in
        .gate
        .curl()
        .args(["--http2", "-u", "somebody:else"]);
    assert_eq!(h2.get("/").status, 200);
    // Without a login, it asks its clients.
    let without = gate::in_front_of(nginx.address);
    let asked = without.curl().get("/public/");
    assert_eq!(asked.status, 401);
    assert_eq!(
        asked.field("www-authenticate"),
        Some("Basic realm=\"device\"")
    );
}

#[test]
fn a_backend_over_http2_lets_the_gate_in_with_basic_as_another_does() {
    let (cert, key) = gate::certificate();
    let [cert, key] = [&cert, &key].map(|it| it.display());
    let files = format!("ssl_http2 ssl_certificate {cert}; ssl_certificate_key {key}; ");
    let (nginx, _users) = nginx_with(&files);
    let port = nginx.address.port();
    let upstream = format!("url: 'https://localhost:{port}', version: '2', tls: {{ca: {cert}}}");
    let logged_in = LoggedIn::to(&upstream, "basic", "routes: [{public: true}]\n");
    // Asked for by nobody, and known to everybody.
    assert_eq!(logged_in.get("/version").body, "HTTP/2.0 GET /version");
    for args in [
        &["--http1.1"][..],
        &["--http2"],
        &["--http2", "-u", "somebody:else"],
    ] {
        let curl = logged_in.gate.curl().args(args.iter().copied());
        assert_eq!(curl.get("/").body, "<p>the backend</p>\n", "{args:?}");
    }
    logged_in.change_password("the wrong one\n");
    logged_in.refused("/");
    let said = "the backend does not let us in: it does not take our user name and password";
    assert_eq!(logged_in.said(), said);
    logged_in.change_password(PASSWORD);
    assert_eq!(logged_in.get("/").status, 200);
}

#[test]
fn a_wrong_password_is_a_matter_between_gate_and_backend_until_its_file_has_the_right_one() {
    let (nginx, _users) = nginx();
    let logged_in = LoggedIn::start(nginx.address, "basic");
    logged_in.change_password("the wrong one\n");
    for _ in 0..3 {
        logged_in.refused("/");
    }
    let said = "the backend does not let us in: it does not take our user name and password";
    assert_eq!(logged_in.said(), said);
    // Once a minute is enough.
    assert_eq!(logged_in.count("upstream.login", "refused"), 1);
    let errors = [("upstream", "backend"), ("reason", "login_refused")];
    logged_in
        .gate
        .await_metric("portcullis_upstream_errors_total", &errors, 3.0);
    // What cannot be used keeps what was there.
    std::fs::write(logged_in.password_file(), "two\nlines\n").unwrap();
    eventually("it is said", || {
        (logged_in.count("config.reload", "failure") > 0).then_some(())
    });
    logged_in.change_password(PASSWORD);
    assert_eq!(logged_in.get("/").status, 200);
}

#[test]
fn a_password_has_to_be_there_at_the_start() {
    let (nginx, _users) = nginx();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portcullis.yaml");
    let password = folder.path().join("pass");
    let config = format!(
        "listeners: [{{address: '127.0.0.1:0', protocol: http}}]\nroutes: [{{public: true}}]\n\
         upstreams: {{backend: {{url: 'http://{}', login: {{basic: {{username: u, password: \
         {{file: pass}}}}}}}}}}\n",
        nginx.address
    );
    std::fs::write(&file, config).unwrap();
    for (text, said) in [
        (None, "cannot read the password"),
        (Some(""), "found nothing"),
        (
            Some("a\u{7}b"),
            "the password has a control character in it",
        ),
    ] {
        text.inspect(|text| std::fs::write(&password, text).unwrap());
        for (command, code) in [("run", 78), ("check", 1)] {
            let done = finished(portcullis([command, "-c", file.to_str().unwrap()]), "");
            assert_eq!(done.code, Some(code), "{done:?}");
            assert!(done.errors.contains(said), "{done:?}");
            let place = ": upstreams.backend.login.basic.password";
            assert!(done.errors.contains(place), "{done:?}");
        }
    }
}

// --- Digest ---

#[test]
fn apache_lets_the_gate_in_with_digest_and_is_asked_what_it_wants_only_once() {
    let apache = Apache::start(USER, PASSWORD, 300);
    lets_in_with_digest(&apache, &format!("url: 'http://{}'", apache.address));
}

#[test]
fn apache_lets_the_gate_in_with_digest_over_http2_as_well() {
    let apache = Apache::speaking("h2c", USER, PASSWORD, 300);
    lets_in_with_digest(&apache, &format!("url: 'h2c://{}'", apache.address));
}

#[track_caller]
fn lets_in_with_digest(apache: &Apache, upstream: &str) {
    let start = || LoggedIn::to(upstream, "digest", "routes: [{public: true}]\n");
    let page = (0..100_000_u32)
        .flat_map(u32::to_be_bytes)
        .collect::<Vec<_>>();
    std::fs::write(apache.files().join("a page.txt"), "the device\n").unwrap();
    let logged_in = start();
    for _ in 0..10 {
        let got = logged_in.get("/a%20page.txt?x=%22%5c&y");
        assert_eq!(got.body, "the device\n", "{got:?}");
        assert_eq!(got.all("authentication-info"), [""; 0], "{got:?}");
    }
    assert_eq!(
        logged_in
            .gate
            .curl()
            .args(["-I"])
            .get("/a%20page.txt")
            .status,
        200
    );
    // Over HTTP/2, Apache may log an answer after it is there.
    eventually("the first was asked, and no other", || {
        let answered = ["401", "200"].map(|status| apache.answered(status));
        (answered == [1, 11]).then_some(())
    });
    // Uploads of any size and framing.
    let upload = logged_in.folder.path().join("upload");
    std::fs::write(&upload, &page).unwrap();
    let file = upload.to_str().unwrap();
    for (more, name) in [
        (&[][..], "known"),
        (&["-H", "Transfer-Encoding: chunked"], "chunked"),
        (&["--http2"], "http2"),
    ] {
        let put = logged_in
            .gate
            .curl()
            .args(["-T", file])
            .args(more.iter().copied());
        assert_eq!(put.get(&format!("/{name}")).status, 201);
        assert!(std::fs::read(apache.files().join(name)).unwrap() == page);
    }
    // Another gate's first request has a body: it is sent twice, and arrives once.
    let another = start();
    let put = another.gate.curl().args(["-T", file]);
    assert_eq!(put.get("/first").status, 201);
    assert!(std::fs::read(apache.files().join("first")).unwrap() == page);
}

#[test]
fn a_nonce_that_has_grown_old_is_replaced_without_anybody_noticing() {
    const LIFETIME: Duration = Duration::from_secs(1);
    let apache = Apache::start(USER, PASSWORD, 1);
    std::fs::write(apache.files().join("page"), "the device\n").unwrap();
    let logged_in = LoggedIn::start(apache.address, "digest");
    // While requests come, each answer gives a nonce for the next, which makes no new question.
    let begun = Instant::now();
    while begun.elapsed() < 2 * LIFETIME {
        assert_eq!(logged_in.get("/page").body, "the device\n");
    }
    assert_eq!(apache.answered("401"), 1);
    for asked in 2..4 {
        let last = Instant::now();
        eventually("it is too old", || {
            (last.elapsed() > 2 * LIFETIME).then_some(())
        });
        assert_eq!(logged_in.get("/page").body, "the device\n");
        assert_eq!(apache.answered("401"), asked);
    }
}

#[test]
fn apache_does_not_let_in_who_has_another_password() {
    let apache = Apache::start(USER, "another", 300);
    let logged_in = LoggedIn::start(apache.address, "digest");
    logged_in.refused("/");
    assert!(
        logged_in
            .said()
            .ends_with("does not take our user name and password")
    );
    // Asked, and answered wrongly: no more is tried.
    assert_eq!(apache.answered("401"), 2);
}

/// A backend that asks for Digest with SHA-256, written from RFC 7616, and counts on its clients to
/// count.
struct Strict {
    backend: Backend,
    /// The counts that came, by nonce.
    counts: Arc<Mutex<BTreeMap<String, Vec<u64>>>>,
    challenges: Arc<AtomicUsize>,
}

const REALM: &str = "strict";

fn sha256(text: &str) -> String {
    base16ct::lower::encode_string(&Sha256::digest(text.as_bytes()))
}

/// The parameters of an `Authorization: Digest` field.
fn parameters(request: &Recorded) -> BTreeMap<String, String> {
    let value = request.field("authorization").unwrap_or_default();
    let parameters = value
        .strip_prefix("Digest ")
        .unwrap_or_default()
        .split(", ");
    let parameters = parameters.filter_map(|parameter| parameter.split_once('='));
    parameters
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

/// Whether these parameters prove that the password is known, for this request.
fn is_right(request: &Recorded, all: &BTreeMap<String, String>) -> bool {
    let mut line = request.line().split(' ');
    let (method, target) = (line.next().unwrap(), line.next().unwrap());
    let of = |name: &str| all.get(name).map(String::as_str).unwrap_or_default();
    let first = sha256(&format!("{USER}:{REALM}:{PASSWORD}"));
    let second = sha256(&format!("{method}:{target}"));
    let (nonce, count, cnonce) = (of("nonce"), of("nc"), of("cnonce"));
    let expected = sha256(&format!("{first}:{nonce}:{count}:{cnonce}:auth:{second}"));
    let same = [
        ("username", USER),
        ("realm", REALM),
        ("uri", target),
        ("qop", "auth"),
        ("algorithm", "SHA-256"),
        ("opaque", "as it is"),
        ("response", &expected),
    ];
    same.iter().all(|(name, expected)| of(name) == *expected)
}

impl Strict {
    /// Each nonce is good for so many requests. `info` is sent with what is let in, `NONCE` in it
    /// being a new one.
    fn start(good_for: usize, info: &'static str) -> Self {
        let counts = Arc::new(Mutex::new(BTreeMap::<String, Vec<u64>>::new()));
        let challenges = Arc::new(AtomicUsize::new(0));
        let (counted, asked) = (Arc::clone(&counts), Arc::clone(&challenges));
        let fresh = AtomicUsize::new(0);
        let backend = Backend::answering(move |request, stream| {
            let all = parameters(request);
            let new = || format!("nonce{}", fresh.fetch_add(1, Ordering::SeqCst));
            let is_right = is_right(request, &all);
            let mut counts = counted.lock().unwrap();
            let seen = counts
                .entry(all.get("nonce").cloned().unwrap_or_default())
                .or_default();
            if is_right && seen.len() < good_for {
                seen.push(u64::from_str_radix(&all["nc"], 16).unwrap());
                let info = info.replace("NONCE", &new());
                let body = format!("{} {}", request.body.len(), request.path());
                let answer = format!(
                    "HTTP/1.1 200 OK\r\n{info}Content-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                return stream.write_all(answer.as_bytes()).is_ok();
            }
            asked.fetch_add(1, Ordering::SeqCst);
            let challenge = format!(
                "realm=\"{REALM}\", nonce=\"{}\", qop=\"auth,auth-int\"",
                new()
            );
            let answer = format!(
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"{REALM}\", \
                 Digest {challenge}, opaque=\"md5\"\r\nWWW-Authenticate: Digest {challenge}, \
                 algorithm=SHA-256, opaque=\"as it is\", stale={is_right}\r\n\
                 Content-Length: 7\r\n\r\nlog in!"
            );
            stream.write_all(answer.as_bytes()).is_ok()
        });
        Self {
            backend,
            counts,
            challenges,
        }
    }
}

#[test]
fn every_request_of_a_nonce_has_a_count_of_its_own() {
    let strict = Strict::start(1_000_000, "");
    let logged_in = LoggedIn::start(strict.backend.address, "digest");
    assert_eq!(logged_in.get("/first").body, "0 /first");
    std::thread::scope(|scope| {
        for client in 0..4 {
            let logged_in = &logged_in;
            scope.spawn(move || {
                let url = format!("/{client}?request=[1-25]");
                let got = logged_in.gate.curl().args(["-d", "x"]).get(&url);
                assert_eq!(got.status, 200, "{got:?}");
            });
        }
    });
    assert_eq!(strict.challenges.load(Ordering::SeqCst), 1);
    let counts = strict.counts.lock().unwrap();
    let mut counts = counts
        .values()
        .find(|counts| !counts.is_empty())
        .unwrap()
        .clone();
    counts.sort_unstable();
    assert_eq!(counts, (1..=101).collect::<Vec<_>>());
    // Neither Basic nor the weaker Digest was answered, and the connection was used again.
    let seen = strict.backend.seen();
    assert_eq!((seen[0].connection, seen[1].connection), (0, 0));
    assert!(seen[0].field("authorization").is_none());
}

#[test]
fn a_body_is_sent_again_where_the_backend_asks_who_it_is() {
    let strict = Strict::start(1, "");
    let routes = "routes: [{match: /app/, public: true, strip_prefix: /app}]\n";
    let logged_in = LoggedIn::with(strict.backend.address, "digest", routes);
    for length in [0, 10, 200_000] {
        let body = "x".repeat(length);
        let file = logged_in.folder.path().join("body");
        std::fs::write(&file, &body).unwrap();
        let data = format!("@{}", file.display());
        let post = logged_in.gate.curl().args(["--data-binary", &data]);
        // The path is proved as it is sent, not as it was asked for.
        assert_eq!(post.get("/app/x?y").body, format!("{length} /x?y"));
    }
    assert_eq!(strict.challenges.load(Ordering::SeqCst), 3);
}

#[test]
fn the_nonce_that_a_backend_gives_for_the_next_request_is_used() {
    let strict = Strict::start(1, "Authentication-Info: qop=auth, nextnonce=\"NONCE\"\r\n");
    let logged_in = LoggedIn::start(strict.backend.address, "digest");
    for _ in 0..5 {
        let got = logged_in.get("/x");
        assert_eq!(got.body, "0 /x");
        assert_eq!(got.all("authentication-info"), [""; 0]);
    }
    assert_eq!(strict.challenges.load(Ordering::SeqCst), 1);
}

#[test]
fn what_a_backend_says_of_our_login_is_not_for_clients_wherever_it_stands() {
    let info = "Authentication-Info: rspauth=\"6629\", cnonce=\"ours\"\r\n";
    let backend = Backend::answering(move |request, stream| {
        let answer = match request.field("authorization") {
            None => "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"x\", \
                     nonce=\"n\", qop=\"auth\", algorithm=SHA-256\r\nContent-Length: 0\r\n\r\n"
                .to_owned(),
            Some(_) => format!(
                "HTTP/1.1 103 Early Hints\r\n{info}X-Early: yes\r\n\r\n\
                 HTTP/1.1 200 OK\r\n{info}Transfer-Encoding: chunked\r\n\r\n\
                 2\r\nok\r\n0\r\n{info}X-Late: yes\r\n\r\n"
            ),
        };
        stream.write_all(answer.as_bytes()).is_ok()
    });
    let logged_in = LoggedIn::start(backend.address, "digest");
    let request = "GET /x HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\n\
                   Connection: TE, close\r\n\r\n";
    let answer = logged_in.gate.raw(request.as_bytes());
    for passed in ["X-Early: yes", "200 OK", "X-Late: yes"] {
        assert!(answer.contains(passed), "{passed}: {answer}");
    }
    assert!(!answer.contains("rspauth"), "{answer}");
}

/// A backend that asks for something in each answer, whatever it gets.
fn asking(challenge: &'static str) -> Backend {
    Backend::saying(challenge)
}

#[test]
fn a_backend_that_cannot_be_satisfied_is_not_tried_for_ever() {
    for (answer, tries, why) in [
        (
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm=r, nonce=n, qop=auth\r\n\
             Content-Length: 0\r\n\r\n",
            2,
            "it does not take our user name and password",
        ),
        (
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm=r, nonce=n, qop=auth, stale=true\r\n\
             Content-Length: 0\r\n\r\n",
            3,
            "it does not take our user name and password",
        ),
        (
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=r\r\nContent-Length: 0\r\n\r\n",
            1,
            "it does not ask for Digest",
        ),
        (
            "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
            1,
            "it does not ask for Digest",
        ),
        (
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm=\"r, nonce=n\r\n\
             Content-Length: 0\r\n\r\n",
            1,
            "its WWW-Authenticate cannot be read",
        ),
        (
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm=r, nonce=n, qop=auth-int\r\n\
             Content-Length: 0\r\n\r\n",
            1,
            "it asks for Digest in no way that is known here: MD5, SHA-256 or SHA-512-256, with qop \
             auth",
        ),
    ] {
        let backend = asking(answer);
        let logged_in = LoggedIn::start(backend.address, "digest");
        logged_in.refused("/");
        assert_eq!(backend.seen().len(), tries, "{answer}");
        assert_eq!(
            logged_in.said(),
            format!("the backend does not let us in: {why}")
        );
        // No answer of ours is basic.
        let basic = |it: &Recorded| it.head.contains("Authorization: Basic");
        assert!(!backend.seen().iter().any(basic));
    }
}

#[test]
fn a_challenge_with_a_body_that_does_not_end_is_answered_on_another_connection() {
    let backend = Backend::answering(|request, stream: &mut TcpStream| {
        if request.field("authorization").is_some() {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            return stream.write_all(answer).is_ok();
        }
        let head = b"HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm=r, nonce=n, qop=auth\r\n\
                     Transfer-Encoding: chunked\r\n\r\n";
        let mut goes_on = stream.write_all(head).is_ok();
        let chunk = [b"1000\r\n".to_vec(), vec![b'x'; 0x1000], b"\r\n".to_vec()].concat();
        while goes_on {
            goes_on = stream.write_all(&chunk).is_ok();
        }
        false
    });
    let logged_in = LoggedIn::start(backend.address, "digest");
    assert_eq!(logged_in.get("/").body, "ok");
    assert_eq!(backend.seen()[1].connection, 1);
}

#[test]
fn a_backend_that_wants_a_proxy_login_makes_no_client_ask_for_one() {
    let backend = Backend::saying(
        "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=r\r\nContent-Length: 0\r\n\r\n",
    );
    let gate = gate::in_front_of(backend.address);
    let got = gate.curl().get("/public/");
    assert_eq!(
        (got.status, got.all("proxy-authenticate")),
        (407, Vec::new())
    );
}

#[test]
fn who_logs_in_here_is_somebody_else_than_who_logs_in_there() {
    let backend = Backend::start();
    let more = format!("routes: [{{can: view, credentials: [session, basic]}}]\n{ROLES_AND_USERS}");
    let logged_in = LoggedIn::with(backend.address, "basic", &more);
    assert_eq!(logged_in.get("/").status, 401);
    let user = format!("ralph:{}", gate::PASSWORD);
    let got = logged_in.gate.curl().args(["-u", &user]).get("/");
    assert_eq!(got.status, 200, "{got:?}");
    let arrived = backend.only();
    // gate:s3cret, for ü
    let expected = "Basic Z2F0ZTpzM2NyZXQsIGZvciDDvA==";
    assert_eq!(arrived.all("authorization"), [expected]);
    assert_eq!(arrived.field("x-forwarded-user"), Some("ralph"));
    let lines = logged_in.gate.log();
    assert!(
        !lines.contains("Z2F0") && !lines.contains("s3cret"),
        "{lines}"
    );
}
