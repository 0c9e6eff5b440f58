//! Machines that prove who they are with each request: by a user name and password (HTTP Basic), or
//! by a token; and what `portcullis token` does about the latter.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use crate::assertions::decoded;
use crate::harness::backend::{Backend, Recorded};
use crate::harness::client::{Connection, Curl, Got, log_in_by_form, status_of};
use crate::harness::eventually;
use crate::harness::gate::{Gate, PASSWORD, certificate, with_hash};
use crate::harness::process::{Finished, finished, portcullis};

const ROUTES: &str = "\
routes:
  - {match: /basic/, can: view, credentials: basic}
  - {match: /token/, can: view, credentials: token}
  - {match: /edit/, can: edit, credentials: [basic, token]}
  - {match: /each/, can: view, credentials: [session, certificate, basic, token]}
  - {match: /public/, public: true}
  - {match: /device/, public: true, pass_authorization: true}
  - {can: view}
roles: {user: [view], administrator: [view, edit]}
";

/// In the texts of the tests `HASH` is the hash of `correct horse`.
const PEOPLE: &str = "\
# Who there is.
ralph:
  password: HASH
  roles: [user]
ada:  # by birth
  password: HASH
  roles: [administrator]
  groups: [staff, night shift]
robot:
  roles: [administrator]
  tokens: {}
";

/// A gate that takes machines, with its users in a file.
struct Machines {
    gate: Gate,
    backend: Backend,
    folder: TempDir,
}

impl Machines {
    #[track_caller]
    fn start() -> Self {
        Self::with(Backend::start(), "")
    }

    #[track_caller]
    fn with(backend: Backend, more: &str) -> Self {
        let (cert, key) = certificate();
        let (cert, key) = (cert.display(), key.display());
        let config = format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\n\
             tls: {{certificates: [{{cert: {cert}, key: {key}}}]}}\n\
             upstreams: {{backend: {{url: 'http://{}'}}}}\n\
             admin: {{address: '127.0.0.1:0'}}\n\
             threads: 2\nusers: users.yaml\n{ROUTES}{more}",
            backend.address
        );
        Self::configured(backend, &config)
    }

    #[track_caller]
    fn configured(backend: Backend, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("portcullis.yaml"), config).unwrap();
        std::fs::write(folder.path().join("users.yaml"), hashed(PEOPLE)).unwrap();
        let gate = Gate::start_file(&folder.path().join("portcullis.yaml"), &[]);
        Self {
            gate,
            backend,
            folder,
        }
    }

    /// What `portcullis token` does with the file of users.
    #[track_caller]
    fn command(&self, args: &str) -> Finished {
        let file = self.folder.path().join("users.yaml");
        let words = args.split(' ');
        let (verb, rest) = (words.clone().next().unwrap(), words.skip(1));
        let file = file.to_str().unwrap();
        let command = ["token", verb, "--file", file].into_iter().chain(rest);
        finished(portcullis(command), "")
    }

    /// A new token, once the gate knows it.
    #[track_caller]
    fn token(&self, args: &str) -> String {
        let made = self.command(&format!("create {args}"));
        assert_eq!(made.code, Some(0), "{made:?}");
        let token = made.out.trim_end().to_owned();
        eventually("the gate knows the token", || {
            let got = self.by_token(&token).get("/token/known");
            (reason(&got).as_deref() != Some("token_unknown")).then_some(())
        });
        self.backend.forget();
        token
    }

    fn by_token(&self, token: &str) -> Curl {
        self.gate
            .curl()
            .header(&format!("Authorization: Bearer {token}"))
    }

    fn by_password(&self, user: &str, password: &str) -> Curl {
        self.gate.curl().args(["-u", &format!("{user}:{password}")])
    }

    fn people(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("users.yaml")).unwrap()
    }

    /// Puts other users into the file, as an editor does.
    fn write(&self, people: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, hashed(people)).unwrap();
        std::fs::rename(new, self.folder.path().join("users.yaml")).unwrap();
    }

    /// What the backend gets of a request that is let in.
    #[track_caller]
    fn arrives(&self, curl: Curl, path: &str) -> Recorded {
        self.backend.forget();
        let got = curl.get(path);
        assert_eq!(got.status, 200, "{path} {got:?}");
        self.backend.only()
    }

    /// The whole answer to a request for `path` with these lines in its head.
    #[track_caller]
    fn raw(&self, path: &str, lines: &[u8]) -> String {
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n").into_bytes();
        request.extend_from_slice(lines);
        request.extend_from_slice(b"Connection: close\r\n\r\n");
        self.gate.raw(&request)
    }

    #[track_caller]
    fn await_logins(&self, result: &str, expected: f64) {
        let labels = [("method", "basic"), ("result", result)];
        self.gate
            .await_metric("portcullis_auth_logins_total", &labels, expected);
    }
}

fn hashed(people: &str) -> String {
    with_hash(&people.replace("HASH", "\"$2b$04$HASH\""))
}

fn basic(user: &str, password: &str) -> String {
    STANDARD.encode(format!("{user}:{password}"))
}

/// The word for programs in an answer of ours.
fn reason(got: &Got) -> Option<String> {
    let body: Value = serde_json::from_str(&got.body).ok()?;
    body["reason"].as_str().map(str::to_owned)
}

fn told(request: &Recorded) -> (Option<&str>, Option<&str>) {
    let [user, groups] = ["x-forwarded-user", "x-forwarded-groups"].map(|it| request.field(it));
    (user, groups)
}

// --- What counts, and where ---

#[test]
fn a_password_or_token_with_each_request_is_enough_where_the_route_takes_it_and_nowhere_else() {
    let it = Machines::start();
    let token = it.token("ada ci");
    let session = it.gate.log_in("ralph");
    for (path, by_password, by_token, by_session) in [
        ("/basic/x", 200, 401, 401),
        ("/token/x", 401, 200, 401),
        ("/edit/x", 200, 200, 401),
        ("/each/x", 200, 200, 200),
        ("/public/x", 200, 200, 200),
        ("/x", 401, 401, 200),
    ] {
        let got = [
            it.by_password("ada", PASSWORD),
            it.by_token(&token),
            it.gate.curl().session(&session),
        ];
        let statuses = got.map(|curl| curl.get(path).status);
        assert_eq!(statuses, [by_password, by_token, by_session], "{path}");
        let nobody = it.gate.curl().get(path).status;
        let expected = if path.starts_with("/public/") {
            200
        } else {
            401
        };
        assert_eq!(nobody, expected, "{path}");
    }
    let http2 = it.by_token(&token).args(["--http2"]).get("/token/x");
    assert!(http2.head.starts_with("HTTP/2 200"), "{http2:?}");
}

#[test]
fn the_backend_learns_who_it_is_and_never_how_it_was_proved() {
    let it = Machines::start();
    let token = it.token("ada ci");
    let ada = (Some("ada"), Some("staff,night shift"));
    for curl in [it.by_password("ada", PASSWORD), it.by_token(&token)] {
        let request = it.arrives(curl, "/edit/x");
        assert_eq!(told(&request), ada);
        assert_eq!(request.field("authorization"), None, "{request:?}");
    }
    let ralph = it.arrives(it.by_password("ralph", PASSWORD), "/basic/x");
    assert_eq!(told(&ralph), (Some("ralph"), Some("user")));
    // What is ours to take stays here, whoever else has counted.
    let session = it.gate.log_in("ralph");
    for curl in [it.by_password("ada", PASSWORD), it.by_token(&token)] {
        let request = it.arrives(curl.session(&session), "/each/x");
        assert_eq!(told(&request).0, Some("ralph"));
        assert_eq!(request.field("authorization"), None, "{request:?}");
    }
}

#[test]
fn where_a_route_takes_nothing_of_it_the_field_is_the_backends_but_for_what_others_take() {
    let it = Machines::start();
    let token = it.token("ada ci");
    let session = it.gate.log_in("ralph");
    let bearer = format!("Bearer {token}");
    let password = format!("Basic {}", basic("ada", PASSWORD));
    for (value, path, arrives) in [
        (bearer.as_str(), "/public/x", false),
        (&bearer, "/x", false),
        (&bearer, "/device/x", false),
        (&format!("bearer  {token}"), "/x", false),
        (&format!("Digest x, Bearer {token}"), "/x", false),
        ("Bearer of its own", "/x", true),
        (&password, "/public/x", false),
        (&password, "/x", false),
        (&format!("Digest x, {password}"), "/x", false),
        (&password, "/device/x", true),
        ("Digest username=\"x\", realm=\"y\"", "/x", true),
    ] {
        let header = format!("Authorization: {value}");
        let curl = it.gate.curl().session(&session).header(&header);
        let request = it.arrives(curl, path);
        let expected = arrives.then_some(value);
        assert_eq!(request.field("authorization"), expected, "{path}");
        assert_eq!(told(&request).0, Some("ralph"), "{path}");
        if path != "/x" {
            let request = it.arrives(it.gate.curl().header(&header), path);
            assert_eq!(told(&request), (None, None));
        }
    }
    // Of other schemes than those it takes, a route knows nothing.
    let curl = it.gate.curl().session(&session);
    let digest = it.arrives(curl.header("Authorization: Digest x"), "/each/x");
    assert_eq!(digest.field("authorization"), Some("Digest x"));
    let curl = it
        .by_password("ada", PASSWORD)
        .args(["-H", "Authorization: Digest x"]);
    assert_eq!(curl.get("/basic/x").status, 401);
}

#[test]
fn a_token_may_do_what_both_it_and_its_user_may() {
    let it = Machines::start();
    for (args, view, edit) in [
        ("ada all", 200, 200),
        ("--can view ada reader", 200, 403),
        ("--can edit ada writer", 403, 200),
        ("--can edit,view ralph more", 200, 403),
        ("robot own", 200, 200),
    ] {
        let token = it.token(args);
        let statuses = ["/token/x", "/edit/x"].map(|path| it.by_token(&token).get(path).status);
        assert_eq!(statuses, [view, edit], "{args}");
    }
    // What is taken from the user is taken from the token.
    let token = it.token("ada later");
    let less = it.people().replacen("[administrator]", "[user]", 1);
    it.write(&less);
    eventually("the token may do less", || {
        (it.by_token(&token).get("/edit/x").status == 403).then_some(())
    });
    assert_eq!(it.by_token(&token).get("/token/x").status, 200);
    let scope = it.by_token(&token).get("/edit/x");
    assert_eq!(
        scope.all("www-authenticate"),
        ["Bearer realm=\"Portcullis\", error=\"insufficient_scope\""]
    );
}

#[test]
fn groups_stand_in_place_of_roles_in_headers_and_assertions() {
    let it = Machines::with(
        Backend::start(),
        "identity: {headers: [remote-user, jwt]}\n",
    );
    for (user, roles, groups) in [
        ("ada", "administrator", "staff,night shift"),
        ("ralph", "user", "user"),
    ] {
        let request = it.arrives(it.by_password(user, PASSWORD), "/basic/x");
        assert_eq!(request.field("remote-groups"), Some(groups));
        let token = request.field("x-portcullis-assertion").unwrap();
        let claims = decoded(token.split('.').nth(1).unwrap());
        assert_eq!(claims["roles"], serde_json::json!([roles]));
        let groups: Vec<_> = groups.split(',').collect();
        assert_eq!(claims["groups"], serde_json::json!(groups));
    }
    // A token that may do less is not told as somebody who may do more.
    for (args, groups) in [
        ("ada all", "staff,night shift"),
        ("--can view ada less", ""),
    ] {
        let request = it.arrives(it.by_token(&it.token(args)), "/token/x");
        let told = request.field("remote-groups").unwrap_or_default();
        assert_eq!(told, groups, "{args}");
        assert_eq!(request.field("remote-user"), Some("ada"));
    }
}

// --- What is asked for, and what is wrong ---

#[test]
fn whoever_is_nobody_is_told_what_the_route_takes_and_what_was_wrong() {
    const BASIC: &str = "Basic realm=\"Portcullis\", charset=\"UTF-8\"";
    const BEARER: &str = "Bearer realm=\"Portcullis\"";
    const FORM: &str = "Cookie form-action=\"/auth/login\"";
    let it = Machines::start();
    for (path, challenges) in [
        ("/basic/x", &[BASIC][..]),
        ("/token/x", &[BEARER]),
        ("/edit/x", &[BEARER, BASIC]),
        ("/each/x", &[BEARER, BASIC, FORM]),
        ("/x", &[FORM]),
    ] {
        let got = it.gate.curl().get(path);
        assert_eq!(got.status, 401, "{path}");
        assert_eq!(got.all("www-authenticate"), challenges, "{path}");
        let kind = got.field("content-type");
        assert_eq!(kind, Some("application/problem+json"), "{path}");
        assert_eq!(got.field("cache-control"), Some("no-store"), "{path}");
    }
    let wrong = it.by_password("ada", "wrong").get("/edit/x");
    assert_eq!(wrong.all("www-authenticate"), [BEARER, BASIC]);
    assert_eq!(reason(&wrong).as_deref(), Some("bad_credentials"));
    let unknown = it.by_token("ptc_x").get("/edit/x");
    let challenges = unknown.all("www-authenticate");
    let error = "Bearer realm=\"Portcullis\", error=\"invalid_token\", \
                 error_description=\"This token is not known here.\"";
    assert_eq!(challenges, [error, BASIC]);
    assert_eq!(reason(&unknown).as_deref(), Some("token_unknown"));
    // A page in a browser gets the form, and never a window that asks for a password.
    let page = it.gate.curl().browser().get("/each/x");
    assert_eq!((page.status, page.all("www-authenticate")), (302, vec![]));
    let script = it.gate.curl().header("Sec-Fetch-Mode: cors").get("/each/x");
    assert_eq!(script.all("www-authenticate"), [BEARER, FORM]);
    let only = it.gate.curl().browser().get("/basic/x");
    assert_eq!(
        (only.status, only.all("www-authenticate")),
        (401, vec![BASIC])
    );
}

#[test]
fn a_token_that_is_wrong_over_or_somebody_elses_proves_nothing() {
    let it = Machines::start();
    let token = it.token("ada ci");
    let (start, last) = token.split_at(token.len() - 1);
    let mistyped = format!("{start}{}", if last == "0" { "1" } else { "0" });
    let gone = it.token("ralph gone");
    let over = it.token("--expires 1s robot over");
    it.write(
        &it.people()
            .replacen("[user]", "[user]\n  disabled: true", 1),
    );
    for (token, why) in [
        (mistyped.as_str(), "token_unknown"),
        (&token.to_uppercase(), "token_unknown"),
        (&format!("{token}x"), "token_unknown"),
        (&gone, "token_user_gone"),
        (&over, "token_expired"),
    ] {
        eventually(why, || {
            let got = it.by_token(token).get("/token/x");
            (got.status == 401 && reason(&got).as_deref() == Some(why)).then_some(())
        });
        let got = it.by_token(token).get("/token/x");
        let [challenge] = got.all("www-authenticate")[..] else {
            panic!("{got:?}");
        };
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    assert_eq!(it.by_token(&token).get("/token/x").status, 200);
    // Whoever has nothing but tokens does not log in.
    for password in ["", PASSWORD, &token] {
        let got = it.by_password("robot", password).get("/edit/x");
        assert_eq!(got.status, 401);
    }
    // As a password, or as that of another user, it is nothing.
    let got = it.by_password("ada", &token).get("/edit/x");
    assert_eq!(got.status, 401);
    let got = it.by_password("ralph", &token).get("/edit/x");
    assert_eq!(got.status, 401);
}

#[test]
fn what_could_be_read_in_two_ways_or_none_is_refused_and_never_forwarded() {
    let it = Machines::start();
    let token = it.token("ada ci");
    let right = basic("ada", PASSWORD);
    let pair = |bytes: &[u8]| format!("Authorization: Basic {}\r\n", STANDARD.encode(bytes));
    let cases: Vec<(&str, Vec<u8>, u16)> = [
        // Two of them, the same or others, in any case.
        (
            format!("Authorization: Basic {right}\r\nAuthorization: Basic {right}\r\n"),
            400,
        ),
        (
            format!("Authorization: Basic {right}\r\nAUTHORIZATION: Bearer {token}\r\n"),
            400,
        ),
        (
            format!("authorization: Digest x\r\nAuthorization: Basic {right}\r\n"),
            400,
        ),
        (
            format!("Authorization: Basic {right}, Basic {right}\r\n"),
            400,
        ),
        // The scheme in any case is the scheme; what stands behind it is one word.
        (format!("Authorization: bAsIc {right}\r\n"), 200),
        (format!("AUTHORIZATION: BEARER {token}\r\n"), 200),
        (format!("Authorization: Basic\t{right}\r\n"), 400),
        (format!("Authorization: Bearer\t{token}\r\n"), 400),
        (format!("Authorization: Basic={right}\r\n"), 400),
        (format!("Authorization: Bearer \"{token}\"\r\n"), 400),
        (format!("Authorization: Bearer {token} {token}\r\n"), 400),
        ("Authorization: \r\n".to_owned(), 400),
        ("Authorization: Basic\r\n".to_owned(), 400),
        ("Authorization: Bearer\r\n".to_owned(), 400),
        ("Authorization: Basic !!!\r\n".to_owned(), 400),
        ("Authorization: Basic YWRh\r\n".to_owned(), 400),
        (
            format!("Authorization: Basic {}\r\n", right.trim_end_matches('=')),
            400,
        ),
        (pair(b"ada"), 400),
        (pair(b"ada:correct horse\0"), 400),
        (pair(b"ada\0:correct horse"), 400),
        (pair(b"ada:correct horse\n"), 400),
        (pair(b"ada:\xff\xfe"), 400),
        (pair(b"ada:"), 401),
        (pair(b":correct horse"), 401),
        (pair(b"ADA:correct horse"), 401),
        (pair(b"ada :correct horse"), 401),
        (pair("\u{430}da:correct horse".as_bytes()), 401),
        // Under another name it is another field.
        (format!("Authorization_: Basic {right}\r\n"), 401),
        (format!("X-Authorization: Basic {right}\r\n"), 401),
        (format!("Proxy-Authorization: Basic {right}\r\n"), 401),
        (format!("Authorization : Basic {right}\r\n"), 400),
        (format!("Authorization: Basic\r\n {right}\r\n"), 400),
    ]
    .into_iter()
    .map(|(lines, status)| ("/edit/x", lines.into_bytes(), status))
    .collect();
    let nul = ("/edit/x", b"Authorization: Basic \0\r\n".to_vec(), 400);
    for (path, lines, status) in cases.into_iter().chain([nul]) {
        it.backend.forget();
        let answer = it.raw(path, &lines);
        let shown = String::from_utf8_lossy(&lines);
        assert_eq!(status_of(&answer), status, "{shown:?} {answer}");
        assert_eq!(
            it.backend.seen().len(),
            usize::from(status == 200),
            "{shown:?}"
        );
        for request in it.backend.seen() {
            assert!(
                !request.head.to_lowercase().contains("authorization"),
                "{request:?}"
            );
        }
    }
}

#[test]
fn http_2_is_held_to_the_same() {
    let it = Machines::start();
    let token = it.token("ada ci");
    let http2 = |lines: &[&str]| {
        let curl = it.gate.curl().args(["--http2"]);
        let curl = lines.iter().fold(curl, |curl, line| curl.header(line));
        let got = curl.get("/edit/x");
        assert!(got.head.starts_with("HTTP/2 "), "{got:?}");
        got.status
    };
    let bearer = format!("authorization: Bearer {token}");
    let basic = format!("Authorization: Basic {}", basic("ada", PASSWORD));
    assert_eq!([http2(&[&bearer]), http2(&[&basic])], [200, 200]);
    it.backend.forget();
    assert_eq!(http2(&[&bearer, &basic]), 400);
    assert_eq!(http2(&[&bearer, &bearer]), 400);
    assert_eq!(http2(&["Authorization: Basic x y"]), 400);
    assert!(it.backend.seen().is_empty());
}

#[test]
fn a_call_of_grpc_is_told_in_its_own_words() {
    let it = Machines::start();
    let token = it.token("--can view ada reader");
    for (curl, status) in [
        (it.gate.curl(), "16"),
        (it.by_token("ptc_x"), "16"),
        (it.by_token(&token), "7"),
    ] {
        let curl = curl.header("Content-Type: application/grpc");
        let got = curl.args(["-X", "POST"]).get("/edit/x");
        assert_eq!((got.status, got.field("grpc-status")), (200, Some(status)));
        assert_eq!(got.all("www-authenticate"), [""; 0]);
    }
}

#[test]
fn a_field_that_is_nominated_in_connection_or_a_trailer_goes_no_further() {
    let it = Machines::start();
    let right = basic("ada", PASSWORD);
    // It is for us, and that is who it was for.
    let lines = format!("Authorization: Basic {right}\r\nConnection: authorization\r\n");
    assert_eq!(status_of(&it.raw("/basic/x", lines.as_bytes())), 200);
    let request = it.backend.only();
    assert_eq!(
        (told(&request).0, request.field("authorization")),
        (Some("ada"), None)
    );
    // Who it is cannot be nominated away.
    it.backend.forget();
    let lines = format!("Authorization: Basic {right}\r\nConnection: x-forwarded-user\r\n");
    assert_eq!(status_of(&it.raw("/basic/x", lines.as_bytes())), 200);
    assert_eq!(told(&it.backend.only()).0, Some("ada"));
    for (path, status) in [("/basic/x", 401), ("/public/x", 200)] {
        it.backend.forget();
        let request = format!(
            "PUT {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
             Trailer: Authorization\r\nConnection: close\r\n\r\n\
             1\r\na\r\n0\r\nAuthorization: Basic {right}\r\n\r\n"
        );
        assert_eq!(
            status_of(&it.gate.raw(request.as_bytes())),
            status,
            "{path}"
        );
        for request in it.backend.seen() {
            let body = String::from_utf8_lossy(&request.body).to_lowercase();
            assert!(!body.contains("authorization"), "{request:?}");
            assert_eq!(told(&request), (None, None));
        }
    }
}

#[test]
fn a_browser_that_has_a_password_does_not_send_it_for_another_site() {
    let it = Machines::start();
    let asked = |args: &[&str]| {
        let curl = it.by_password("ada", PASSWORD).args(args.iter().copied());
        curl.get("/basic/x").status
    };
    let names = ["Sec-Fetch-Site: ", "Sec-Fetch-Mode: ", "Sec-Fetch-Dest: "];
    for (said, method, status) in [
        (["same-origin", "cors", "empty"], "POST", 200),
        (["none", "navigate", "document"], "GET", 200),
        // Whoever follows a link wants to see the page; in a frame, somebody else wants that.
        (["cross-site", "navigate", "document"], "GET", 200),
        (["cross-site", "navigate", "iframe"], "GET", 403),
        (["cross-site", "navigate", "object"], "GET", 403),
        (["cross-site", "navigate", "document"], "POST", 403),
        (["cross-site", "no-cors", "image"], "GET", 403),
        (["same-site", "cors", "empty"], "GET", 403),
        (["cross-site", "websocket", "websocket"], "GET", 403),
    ] {
        let [site, mode, dest] = [0, 1, 2].map(|at| format!("{}{}", names[at], said[at]));
        let args = ["-X", method, "-H", &site, "-H", &mode, "-H", &dest];
        assert_eq!(asked(&args), status, "{said:?} {method}");
    }
    // Older ones say where a form was.
    let own = format!("Origin: https://localhost:{}", it.gate.port());
    for (origin, status) in [
        (own.as_str(), 200),
        ("Origin: https://localhost.evil.example", 403),
        ("Origin: https://evil.example", 403),
        ("Origin: null", 403),
    ] {
        assert_eq!(asked(&["-X", "POST", "-H", origin]), status, "{origin}");
    }
    // A token is nothing that a browser has.
    let token = it.token("ada ci");
    let script = it.by_token(&token).header("Sec-Fetch-Site: cross-site");
    assert_eq!(script.get("/token/x").status, 200);
}

#[test]
fn in_the_clear_neither_a_password_nor_a_token_counts_or_arrives() {
    let backend = Backend::start();
    let config = format!(
        "listeners: [{{address: '127.0.0.1:0', protocol: http}}]\n\
         upstreams: {{backend: {{url: 'http://{}'}}}}\n\
         admin: {{address: '127.0.0.1:0'}}\nusers: users.yaml\n{ROUTES}",
        backend.address
    );
    let it = Machines::configured(backend, &config);
    let made = it.command("create ada ci");
    let url = |path: &str| format!("http://{}{path}", it.gate.address);
    let bearer = format!("Authorization: Bearer {}", made.out.trim_end());
    for header in [
        bearer,
        format!("Authorization: Basic {}", basic("ada", PASSWORD)),
    ] {
        let got = it.gate.curl().header(&header).fetch(&url("/edit/x"));
        assert_eq!((got.status, got.all("www-authenticate")), (401, vec![]));
        assert!(got.body.contains("only possible over HTTPS"), "{got:?}");
    }
    assert!(it.backend.seen().is_empty());
    assert!(it.gate.line("login.success").is_none());
}

// --- Passwords ---

#[test]
fn a_right_password_is_looked_at_once_and_not_with_each_request() {
    let it = Machines::start();
    let together: Vec<_> = (0..8)
        .map(|_| {
            let curl = it.by_password("ada", PASSWORD);
            std::thread::spawn(move || curl.get("/basic/x").status)
        })
        .collect();
    for thread in together {
        assert_eq!(thread.join().unwrap(), 200);
    }
    for _ in 0..20 {
        assert_eq!(it.by_password("ada", PASSWORD).get("/basic/x").status, 200);
    }
    it.await_logins("success", 1.0);
    let line = it.gate.line("login.success").unwrap();
    assert_eq!(line["user.name"], "ada");
    let is_success = |line: &Value| line["event"] == "login.success";
    assert_eq!(it.gate.count_lines(is_success), 1);
}

#[test]
fn a_password_that_was_right_a_moment_ago_is_nothing_once_the_user_has_another_or_is_disabled() {
    let another = bcrypt::hash("another horse", 4).unwrap();
    let changed = hashed(PEOPLE).replace(
        &hashed("ralph:\n  password: HASH"),
        &format!("ralph:\n  password: '{another}'"),
    );
    for (people, why) in [
        (changed, "the password is changed"),
        (
            PEOPLE.replacen("[user]", "[user]\n  disabled: true", 1),
            "the user is disabled",
        ),
        (
            PEOPLE.replacen("ralph:", "ralphs:", 1),
            "the user is removed",
        ),
    ] {
        let it = Machines::start();
        let status = |user| it.by_password(user, PASSWORD).get("/basic/x").status;
        assert_eq!([status("ralph"), status("ada")], [200, 200]);
        it.write(&people);
        // Once only: wrong passwords are counted.
        eventually(why, || it.gate.line("users.reload"));
        assert_eq!([status("ralph"), status("ada")], [401, 200], "{why}");
        it.await_logins("success", 2.0);
        // As before, it is right again and looked at again.
        it.write(PEOPLE);
        let is_reload = |line: &Value| line["event"] == "users.reload";
        eventually(why, || (it.gate.count_lines(is_reload) == 2).then_some(()));
        assert_eq!(status("ralph"), 200, "{why}");
    }
}

#[test]
fn guessing_by_basic_has_to_wait_as_guessing_by_the_form_does() {
    let it = Machines::start();
    assert_eq!(it.by_password("ada", PASSWORD).get("/basic/x").status, 200);
    // The first wait is a second, which a busy machine may spend between two requests.
    let guessed = |what: &str, right: &dyn Fn() -> Got| {
        eventually(what, || {
            for guess in ["1", "2", "3", "4", "5"] {
                let wrong = it.by_password("ada", guess).get("/basic/x").status;
                assert!([401, 429].contains(&wrong), "{wrong}");
            }
            let got = right();
            (got.status == 429).then_some(got)
        })
    };
    // Also where the answer would be known without looking.
    let locked = guessed("Basic has to wait", &|| {
        it.by_password("ada", PASSWORD).get("/basic/x")
    });
    assert!(locked.field("retry-after").is_some(), "{locked:?}");
    assert_eq!(locked.all("www-authenticate"), [""; 0]);
    assert_eq!(reason(&locked), None);
    guessed("the form has to wait", &|| {
        log_in_by_form(it.gate.port(), &[], "ada", PASSWORD)
    });
    assert_eq!(
        it.by_password("ralph", PASSWORD).get("/basic/x").status,
        200
    );
    let line = it.gate.line_where(|line| line["auth.reason"] == "locked");
    assert_eq!(line.unwrap()["event"], "login.failure");
    eventually("the wait is over", || {
        let right = it.by_password("ada", PASSWORD).get("/basic/x");
        (right.status == 200).then_some(())
    });
}

#[test]
fn a_flood_of_passwords_is_turned_away_and_others_do_not_notice() {
    const CALLERS: usize = 120;
    let lockout = "login: {lockout: {per_user: 100, per_address: 1000}}\n";
    let it = Machines::with(Backend::start(), lockout);
    let token = it.token("robot ci");
    // A hash that takes its time.
    let slow = format!("'{}'", bcrypt::hash("another horse", 9).unwrap());
    it.write(&it.people().replacen(
        "ralph:\n",
        &format!("slow:\n  password: {slow}\nralph:\n"),
        1,
    ));
    eventually("the hash is there", || {
        it.gate
            .line_where(|line| line["event"] == "users.reload" && line["users"] == 4)
    });
    let mut callers: Vec<Connection> = (0..CALLERS).map(|_| it.gate.connect()).collect();
    for (at, caller) in callers.iter_mut().enumerate() {
        let user = ["ada", "ralph", "nobody"][at % 3];
        let word = basic(user, &format!("guess {at}"));
        let request = format!(
            "GET /basic/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {word}\r\n\r\n"
        );
        caller.send(request.as_bytes());
    }
    assert_eq!(it.by_token(&token).get("/token/x").status, 200);
    let answers: Vec<String> = callers.iter_mut().map(Connection::read_answer).collect();
    let turned_away: Vec<_> = answers.iter().filter(|it| status_of(it) == 503).collect();
    let refused = answers.iter().filter(|it| status_of(it) == 401).count();
    assert!(!turned_away.is_empty(), "{answers:?}");
    assert_eq!(turned_away.len() + refused, CALLERS);
    assert!(turned_away.iter().all(|it| it.contains("Retry-After: 2")));
    it.await_logins("throttled", turned_away.len() as f64);
    it.await_logins("bad_credentials", refused as f64);
    // What nobody has looked at locks nobody out.
    assert_eq!(
        it.by_password("ralph", PASSWORD).get("/basic/x").status,
        200
    );
}

// --- What lasts ---

/// A backend that begins an answer and never ends it.
fn endless() -> Backend {
    Backend::answering(|request: &Recorded, stream: &mut TcpStream| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (answer, is_open) = match request.path().ends_with("/stream") {
            true => (format!("{head}5\r\ntick\n\r\n"), true),
            false => (
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
                false,
            ),
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return false;
        }
        let mut nothing = [0];
        !is_open || std::io::Read::read(stream, &mut nothing).is_ok_and(|read| read > 0)
    })
}

impl Machines {
    /// Opens a stream, and waits until it has begun.
    #[track_caller]
    fn open(&self, authorization: &str) -> Connection {
        let mut connection = self.gate.connect();
        let request = format!(
            "GET /edit/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\r\n"
        );
        connection.send(request.as_bytes());
        connection.read_until("tick");
        connection
    }
}

/// Reads to the end, which has to come, and not as that of a whole answer.
#[track_caller]
fn check_cut_off(mut connection: Connection) {
    let rest = connection.read_to_end();
    assert!(!rest.ends_with("0\r\n\r\n"), "{rest}");
}

/// Takes something away; whether that is what the tokens and the password of ada rest on.
type End = (&'static str, fn(&Machines), bool, bool);

const ENDS: [End; 4] = [
    (
        "revoked",
        |it| assert_eq!(it.command("revoke ada ci").code, Some(0)),
        true,
        false,
    ),
    (
        "disabled",
        |it| {
            it.write(&it.people().replace(
                "[administrator]\n  groups",
                "[administrator]\n  disabled: true\n  groups",
            ))
        },
        true,
        true,
    ),
    (
        "another password",
        |it| {
            let another = bcrypt::hash("another horse", 4).unwrap();
            let of_ada = hashed("ada:  # by birth\n  password: HASH");
            it.write(
                &it.people()
                    .replace(&of_ada, &format!("ada:\n  password: '{another}'")),
            );
        },
        false,
        true,
    ),
    (
        "other rights",
        |it| it.write(&it.people().replacen("[administrator]", "[user]", 1)),
        true,
        true,
    ),
];

#[test]
fn streams_end_with_what_they_were_opened_by_and_others_go_on() {
    for (why, end, ends_token, ends_password) in ENDS {
        let it = Machines::with(endless(), "");
        let (token, other) = (it.token("ada ci"), it.token("robot other"));
        let streams = [
            (format!("Bearer {token}"), ends_token),
            (format!("Basic {}", basic("ada", PASSWORD)), ends_password),
            (format!("Bearer {other}"), false),
        ];
        let opened = streams.map(|(authorization, ends)| (it.open(&authorization), ends));
        let in_flight = "portcullis_http_requests_in_flight";
        it.gate.await_metric(in_flight, &[], 3.0);
        end(&it);
        let (ending, going_on): (Vec<_>, Vec<_>) = opened.into_iter().partition(|(_, ends)| *ends);
        let left = going_on.len() as f64;
        for (stream, _) in ending {
            check_cut_off(stream);
        }
        // Those that go on are asked about every second; they are there after that.
        let asked = std::time::Instant::now();
        while asked.elapsed() < Duration::from_millis(1500) {
            it.gate.await_metric(in_flight, &[], left);
        }
        assert_eq!(
            going_on.len(),
            [ends_token, ends_password]
                .iter()
                .filter(|it| !**it)
                .count()
                + 1,
            "{why}"
        );
        // Nobody has looked at the password again for that.
        it.await_logins("success", 1.0);
        it.await_logins("bad_credentials", 0.0);
    }
}

#[test]
fn whoever_waits_for_an_answer_when_the_token_is_revoked_is_told_so() {
    let never = Backend::answering(|request: &Recorded, stream: &mut TcpStream| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let mut nothing = [0];
        match request.path().ends_with("/late") {
            true => std::io::Read::read(stream, &mut nothing).is_ok_and(|read| read > 0),
            false => stream.write_all(answer).is_ok(),
        }
    });
    let it = Machines::with(never, "");
    let token = it.token("ada ci");
    let mut waiting = it.gate.connect();
    let request = format!(
        "GET /token/late HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    waiting.send(request.as_bytes());
    eventually("the backend has it", || it.backend.seen().pop());
    assert_eq!(it.command("revoke ada ci").code, Some(0));
    let answer = waiting.read_answer();
    assert_eq!(status_of(&answer), 401, "{answer}");
    assert!(answer.contains("error=\"invalid_token\""), "{answer}");
}

#[test]
fn a_stream_ends_when_its_token_expires() {
    let it = Machines::with(endless(), "");
    let token = it.token("--expires 8s ada short");
    let begun = std::time::Instant::now();
    check_cut_off(it.open(&format!("Bearer {token}")));
    assert!(begun.elapsed() < Duration::from_secs(12));
    let is_cut = |line: &Value| line["error.type"] == "no_longer_permitted";
    let line = eventually("it is on record", || it.gate.line_where(is_cut));
    assert_eq!(line["auth.token"], "short", "{line}");
}

#[test]
fn a_token_that_is_revoked_counts_for_nothing_whatever_else_waits() {
    let it = Machines::start();
    let tokens = [it.token("ada ci"), it.token("ada cd")];
    let config = it.folder.path().join("portcullis.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}rotues: []\n")).unwrap();
    assert_eq!(it.command("revoke ada ci").code, Some(0));
    eventually("the token is revoked", || {
        (it.by_token(&tokens[0]).get("/token/x").status == 401).then_some(())
    });
    assert_eq!(it.by_token(&tokens[1]).get("/token/x").status, 200);
}

// --- What is on record ---

#[test]
fn the_log_names_the_token_and_never_holds_a_secret() {
    let it = Machines::start();
    let token = it.token("--can view ada reader");
    let over = it.token("--expires 1s robot over");
    for (curl, path) in [
        (it.by_token(&token), "/token/allowed"),
        (it.by_token(&token), "/edit/denied"),
        (it.by_password("ada", PASSWORD), "/basic/allowed"),
        (it.by_password("ada", "wrong horse"), "/basic/denied"),
    ] {
        curl.get(path);
    }
    eventually("the token has expired", || {
        (it.by_token(&over).get("/token/over").status == 401).then_some(())
    });
    for (path, user, token, decision, why) in [
        ("/token/allowed", "ada", Some("reader"), "allow", None),
        (
            "/edit/denied",
            "ada",
            Some("reader"),
            "deny",
            Some("missing_ability"),
        ),
        ("/basic/allowed", "ada", None, "allow", None),
        (
            "/token/over",
            "robot",
            Some("over"),
            "login",
            Some("token_expired"),
        ),
    ] {
        let is_it = |line: &Value| line["url.path"] == path && line["auth.decision"] == decision;
        let line = eventually(path, || it.gate.line_where(is_it));
        assert_eq!(line["user.name"], user, "{line}");
        assert_eq!(line["auth.token"].as_str(), token, "{line}");
        if let Some(why) = why {
            assert_eq!(line["auth.reason"], why, "{line}");
        }
    }
    for (identity, decision) in [("token", "allow"), ("token", "deny"), ("basic", "allow")] {
        let labels = [("identity", identity), ("decision", decision)];
        let counted = || {
            let text = it.gate.metrics();
            let metrics = crate::harness::metrics::Metrics::parse(&text);
            metrics.sum("portcullis_auth_decisions_total", &labels) > 0.0
        };
        eventually("it is counted", || counted().then_some(()));
    }
    let log = it.gate.written().join("\n");
    for secret in [
        &token,
        &over,
        PASSWORD,
        "wrong horse",
        &basic("ada", PASSWORD),
        &basic("ada", "wrong horse"),
    ] {
        assert!(!log.contains(secret), "{secret}");
    }
}

#[test]
fn the_log_says_which_route_does_not_take_what_was_presented() {
    let it = Machines::start();
    let token = it.token("ada ci");
    let unknown = "eyJhbGciOiJub25lIn0.e30.";
    for (curl, path, hint) in [
        (
            it.by_password("ada", PASSWORD),
            "/page",
            Some("routes[6].credentials: [session, certificate, basic]"),
        ),
        (
            it.by_token(&token),
            "/page/x",
            Some("routes[6].credentials: [session, certificate, token]"),
        ),
        (
            it.by_password("ada", PASSWORD),
            "/token/x",
            Some("routes[1].credentials: [basic, token]"),
        ),
        // What is taken and wrong, what nobody here could have given, and nothing at all.
        (it.by_password("ada", "wrong horse"), "/basic/x", None),
        (it.by_token(unknown), "/page/y", None),
        (it.gate.curl(), "/page/z", None),
    ] {
        let got = curl.get(path);
        assert_eq!(got.status, 401, "{path} {got:?}");
        assert!(!got.body.contains("routes["), "{got:?}");
        let is_it = |line: &Value| line["event"] == "access" && line["url.path"] == path;
        let line = eventually(path, || it.gate.line_where(is_it));
        assert_eq!(line["auth.hint"].as_str(), hint, "{line}");
    }
}

// --- portcullis token ---

#[test]
fn tokens_are_made_shown_and_revoked_and_all_else_in_the_file_stays() {
    let it = Machines::start();
    let before = it.people();
    let made = it.command("create --can view,edit --expires 90d ada ci");
    assert_eq!(made.code, Some(0), "{made:?}");
    let token = made.out.trim_end();
    assert_eq!((token.len(), &token[..4]), (53, "ptc_"), "{made:?}");
    assert!(made.errors.contains("`ci` of `ada`"), "{made:?}");
    assert!(!made.errors.contains(token), "{made:?}");
    let hint = "the roles and abilities have to be in the configuration; run `portcullis check`";
    assert!(made.errors.ends_with(&format!("{hint}\n")), "{made:?}");
    let with = it.people();
    assert!(!with.contains(&token[4..]), "{with}");
    for line in before.lines() {
        assert!(with.contains(line), "{line}");
    }
    let again = it.command("create ada ci");
    assert_eq!((again.code, again.out.as_str()), (Some(1), ""), "{again:?}");
    assert!(again.errors.contains("has a token `ci`"), "{again:?}");
    assert_eq!(it.people(), with);
    assert_eq!(it.command("create --role user newcomer one").code, Some(0));
    assert_eq!(it.command("create --expires never robot two").code, Some(0));

    let list = it.command("list");
    let names: Vec<_> = list
        .out
        .lines()
        .skip(1)
        .map(|line| {
            let mut words = line.split_whitespace();
            (words.next().unwrap(), words.next().unwrap())
        })
        .collect();
    assert_eq!(
        names,
        [("ada", "ci"), ("robot", "two"), ("newcomer", "one")]
    );
    let json = it.command("list --json ada").out;
    let token: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&token["name"], &token["abilities"]),
        (&"ci".into(), &serde_json::json!(["view", "edit"]))
    );
    for (user, name) in names {
        let revoked = it.command(&format!("revoke {user} {name}"));
        assert_eq!(
            (revoked.code, revoked.out.as_str()),
            (Some(0), ""),
            "{revoked:?}"
        );
    }
    assert_eq!(it.command("list").out, "there are no tokens\n");
    for line in before.lines() {
        assert!(it.people().contains(line), "{line}");
    }
    // It is still a configuration, with a user who has no password.
    let config = it.folder.path().join("portcullis.yaml");
    let checked = finished(portcullis(["check", "-c", config.to_str().unwrap()]), "");
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn what_cannot_be_done_about_a_token_is_said_and_changes_nothing() {
    let it = Machines::start();
    let before = it.people();
    for (args, code, said) in [
        ("create nobody ci", 1, "--role"),
        ("create --expires 2020-01-01 ada ci", 1, "of no use"),
        ("create --expires soon ada ci", 2, "90d"),
        ("create --can a*b ada ci", 2, "ability"),
        ("create ada a/b", 2, "token name"),
        ("create ada", 2, "NAME"),
        ("revoke ada ci", 1, "has no token `ci`"),
        ("revoke nobody ci", 1, "has no user `nobody`"),
    ] {
        let done = it.command(args);
        assert_eq!(
            (done.code, done.out.as_str()),
            (Some(code), ""),
            "{args} {done:?}"
        );
        assert!(done.errors.contains(said), "{args} {done:?}");
    }
    assert_eq!(it.people(), before);
    let missing = finished(
        portcullis(["token", "list", "--file", "/nowhere/users.yaml"]),
        "",
    );
    assert_eq!(missing.code, Some(1), "{missing:?}");
}

#[test]
fn without_a_file_the_entry_is_shown_apart_from_the_token() {
    let made = finished(
        portcullis(["token", "create", "--role", "user", "robot", "ci"]),
        "",
    );
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.out.starts_with("ptc_") && made.out.lines().count() == 1);
    assert!(
        made.errors
            .starts_with("robot:\n  roles: [user]\n  tokens:\n    ci:\n      hash: \"sha256:"),
        "{made:?}"
    );
    assert!(!made.errors.contains(made.out.trim_end()));
}
