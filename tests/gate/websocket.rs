//! WebSocket: what is a handshake and what is not, who may open one, that both sides say what they
//! like on it, and how it ends.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use boring::ssl::{SslAcceptor, SslFiletype, SslMethod};
use serde_json::Value;

use crate::harness::backend::Backend;
use crate::harness::client::{Connection, status_of};
use crate::harness::gate::{self, Gate, in_front_of};
use crate::harness::pki::{Client, FUTURE};
use crate::harness::process::{finished, portcullis};
use crate::harness::served;
use crate::harness::websocket::{
    ACCEPTED, BINARY, CLOSE, Echo, KEY, PING, TEXT, WebSocket, accepted, frame, handshake, masked,
    python,
};
use crate::harness::{PATIENCE, eventually};

fn cookie(session: &str) -> String {
    format!("Cookie: __Host-portcullis={session}\r\n")
}

/// The access line of a WebSocket, once it has ended.
#[track_caller]
fn ended(gate: &Gate) -> Value {
    eventually("the access line", || {
        gate.line_where(|line| line["http.response.status_code"] == 101)
    })
}

/// A backend that accepts every handshake; then the test says what it does.
fn accepting(then: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Backend {
    Backend::answering(move |_, stream| {
        stream.write_all(ACCEPTED.as_bytes()).unwrap();
        then(stream);
        false
    })
}

/// One that says what it got behind the handshake, up to the end, and does what it is told.
struct Driven {
    backend: Backend,
    tell: Sender<Vec<u8>>,
    got: Receiver<Vec<u8>>,
}

impl Driven {
    /// Sends what it is told until nobody will tell it any more, then ends its side.
    fn start() -> Self {
        let (tell, told) = channel::<Vec<u8>>();
        let (say, got) = channel();
        let both = Mutex::new((told, say));
        let backend = accepting(move |stream| {
            let (told, say) = &*both.lock().unwrap();
            let mut reader = stream.try_clone().unwrap();
            let say = say.clone();
            let reading = std::thread::spawn(move || {
                let mut all = Vec::new();
                drop(reader.read_to_end(&mut all));
                drop(say.send(all));
            });
            for bytes in told {
                drop(stream.write_all(&bytes));
            }
            drop(stream.shutdown(std::net::Shutdown::Write));
            reading.join().unwrap();
        });
        Self { backend, tell, got }
    }

    fn send(&self, bytes: impl Into<Vec<u8>>) {
        self.tell.send(bytes.into()).unwrap();
    }

    /// All that the client has sent, once that has ended.
    #[track_caller]
    fn got(&self) -> Vec<u8> {
        self.got.recv_timeout(PATIENCE).unwrap()
    }
}

/// The code of the Close of a client that stands at the end.
#[track_caller]
fn last_close(got: &[u8]) -> u16 {
    let [0x88, 0x82, a, b, _, _, high, low] = got[got.len() - 8..] else {
        panic!("no Close: {got:?}");
    };
    u16::from_be_bytes([high ^ a, low ^ b])
}

// --- Real programs ---

#[track_caller]
fn talk(gate: &Gate, path: &str, session: &str, messages: usize) {
    let mut client = python("websocket_client.py");
    let url = format!("wss://localhost:{}{path}", gate.port());
    let cookie = format!("__Host-portcullis={session}");
    client.args([&url, &cookie, &messages.to_string()]);
    // It ends by itself within five minutes.
    let done = client.output().unwrap();
    let [said, errors] = [&done.stdout, &done.stderr].map(|it| String::from_utf8_lossy(it));
    assert_eq!(said, format!("ok {messages}\n"), "{errors}");
}

#[test]
fn ten_thousand_messages_of_every_kind_come_back_as_they_were() {
    let echo = Echo::start();
    let gate = in_front_of(echo.address);
    let session = gate.log_in("ralph");
    talk(&gate, "/echo", &session, 10_000);
    echo.await_words("open /echo ralph\nclosed 1000\nopen /echo ralph\nclosed 1000\n");
    let line = ended(&gate);
    assert_eq!(line["upgrade.end"], "client_closed", "{line}");
    assert!(line["error.type"].is_null(), "{line}");
    assert_eq!(line["user.name"], "ralph");
    for size in ["http.request.body.size", "http.response.body.size"] {
        assert!(line[size].as_u64().unwrap() > 5 << 20, "{line}");
    }
    gate.await_metric("portcullis_upgraded_connections_active", &[], 0.0);
}

#[test]
fn backends_behind_tls_and_at_sockets_are_spoken_to_as_well() {
    let (cert, key) = gate::certificate();
    let [cert, key] = [&cert, &key].map(|it| it.to_str().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let socket = socket.to_str().unwrap();
    let secure = Echo::with(&["tls", cert, key]);
    let at_socket = Echo::with(&["unix", socket]);
    for (echo, upstream) in [
        (
            &secure,
            format!(
                "{{url: 'https://localhost:{}', tls: {{ca: {cert}}}}}",
                secure.address.port()
            ),
        ),
        (&at_socket, format!("{{url: 'unix:{socket}'}}")),
    ] {
        let gate = Gate::start(&format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\n\
             tls: {{certificates: [{{cert: {cert}, key: {key}}}]}}\n\
             upstreams: {{backend: {upstream}}}\nroutes: [{{public: true}}]\n\
             admin: {{address: '127.0.0.1:0'}}\nthreads: 1\n"
        ));
        talk(&gate, "/", "", 200);
        echo.await_words("closed 1000\n");
        // Without the end of TLS it may be, but not without an end.
        let mut open = WebSocket::open(gate.connect(), "/", "");
        open.send(TEXT, b"still there");
        assert_eq!(open.text(), "still there");
        open.send(CLOSE, &1000_u16.to_be_bytes());
        assert_eq!(open.closed().0, 1000);
        assert_eq!(open.next(), None);
    }
}

// --- Handshakes ---

#[test]
fn a_handshake_arrives_as_one_and_so_does_its_answer() {
    let answer = ACCEPTED.replace(
        "\r\n\r\n",
        "\r\nSec-WebSocket-Protocol: chat\r\nX-App: 1\r\n\r\n",
    );
    let backend = Backend::answering(move |_, stream| {
        stream.write_all(answer.as_bytes()).unwrap();
        stream.write_all(&frame(TEXT, b"at once")).unwrap();
        drop(stream.read(&mut [0; 1]));
        false
    });
    let gate = in_front_of(backend.address);
    let session = gate.log_in("ralph");
    let more = format!(
        "{}Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
         X-Forwarded-User: ada\r\nOrigin: https://localhost\r\n",
        cookie(&session)
    );
    let mut open = WebSocket::open(gate.connect(), "/live?x=1", &more);
    for (name, expected) in [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("sec-websocket-protocol", "chat"),
        ("x-app", "1"),
    ] {
        let value = crate::harness::client::value(&open.head, name);
        assert_eq!(value, Some(expected), "{name}: {}", open.head);
    }
    assert!(open.head.contains("\r\nX-Request-Id: "), "{}", open.head);
    // What the backend says in the same breath is not lost.
    assert_eq!(open.text(), "at once");
    let arrived = backend.only();
    assert_eq!(arrived.line(), "GET /live?x=1 HTTP/1.1");
    for (name, expected) in [
        ("upgrade", Some("websocket")),
        ("connection", Some("Upgrade")),
        ("sec-websocket-key", Some(KEY)),
        ("sec-websocket-version", Some("13")),
        ("sec-websocket-protocol", Some("chat")),
        ("sec-websocket-extensions", Some("permessage-deflate")),
        ("x-forwarded-user", Some("ralph")),
        ("origin", Some("https://localhost")),
        ("cookie", None),
    ] {
        assert_eq!(arrived.field(name), expected, "{}", arrived.head);
    }
    gate.await_metric(
        "portcullis_upgraded_connections_active",
        &[("route", "*")],
        1.0,
    );
}

#[test]
fn what_is_not_quite_a_handshake_is_refused_and_never_arrives() {
    let backend = accepting(|_| ());
    let gate = in_front_of(backend.address);
    let good = handshake("/public/", "");
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    for (from, to, status) in [
        ("GET", "POST", 400),
        ("Connection: Upgrade\r\n", "", 400),
        (key.as_str(), "", 400),
        (KEY, "c2hvcnQ=", 400),
        (
            "Key: ",
            "Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: ",
            400,
        ),
        ("Sec-WebSocket-Version: 13\r\n", "", 400),
        ("Version: 13", "Version: 8", 426),
        ("Version: 13", "Version: 13\r\nContent-Length: 5", 400),
        (
            "Version: 13",
            "Version: 13\r\nTransfer-Encoding: chunked",
            400,
        ),
    ] {
        assert!(good.contains(from), "{from}");
        let mut connection = gate.connect();
        connection.send(good.replacen(from, to, 1).as_bytes());
        let answer = connection.read_answer();
        assert_eq!(status_of(&answer), status, "{from} {to}: {answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        let versions = crate::harness::client::values(&answer, "sec-websocket-version");
        assert_eq!(versions.len(), usize::from(status == 426), "{answer}");
    }
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
    let refused = gate.line_where(|line| line["auth.reason"] == "bad_handshake");
    assert_eq!(refused.unwrap()["auth.decision"], "deny");
    // The same as it should be.
    WebSocket::open(gate.connect(), "/public/", "");
}

#[test]
fn other_protocols_are_not_asked_for_and_nobody_may_switch_unasked() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    for upgrade in ["h2c", "TLS/1.0", "foo", "websocket/13", "h2c, foo"] {
        backend.forget();
        let mut connection = gate.connect();
        let request = handshake("/public/", "").replace("websocket\r\n", &format!("{upgrade}\r\n"));
        connection.send(request.as_bytes());
        assert_eq!(status_of(&connection.read_answer()), 200, "{upgrade}");
        let arrived = backend.only();
        assert_eq!(arrived.field("upgrade"), None, "{}", arrived.head);
        assert_eq!(arrived.field("connection"), None, "{}", arrived.head);
    }
    // In HTTP/1.0 it says nothing.
    let old = handshake("/public/", "").replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(status_of(&gate.raw(old.as_bytes())), 200);

    let eager = accepting(|_| ());
    let gate = in_front_of(eager.address);
    let mut connection = gate.connect();
    let plain = handshake("/public/", "").replace("Upgrade: websocket\r\n", "");
    connection.send(plain.as_bytes());
    assert_eq!(status_of(&connection.read_answer()), 502);
}

#[test]
fn only_the_right_answer_to_the_handshake_opens_anything() {
    for (from, to) in [
        (
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
        ("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", ""),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Connection: Upgrade\r\n", ""),
    ] {
        let answer = ACCEPTED.replacen(from, to, 1);
        let backend = Backend::answering(move |_, stream| {
            stream.write_all(answer.as_bytes()).unwrap();
            // Whether anything comes behind it.
            stream.read(&mut [0; 1]).is_ok_and(|read| read > 0)
        });
        let gate = in_front_of(backend.address);
        let mut connection = gate.connect();
        connection.send(handshake("/public/", "").as_bytes());
        let answer = connection.read_answer();
        assert_eq!(status_of(&answer), 502, "{to}: {answer}");
        let failed = |line: &Value| line["error.type"] == "upstream_bad_upgrade";
        eventually("it is logged", || gate.line_where(failed));
        // It goes on as HTTP.
        connection.send(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(status_of(&connection.read_to_end()), 401);
    }
}

#[test]
fn nothing_reaches_the_backend_before_its_101_and_what_was_sent_meanwhile_arrives_after_it() {
    let (arrived, accept) = (channel(), channel());
    let (say, seen) = arrived;
    let (go, wait): (Sender<()>, Receiver<()>) = accept;
    let both = Mutex::new((say, wait));
    let backend = Backend::answering(move |_, stream| {
        let (say, wait) = &*both.lock().unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let before = stream.read(&mut [0; 64]).unwrap_or(0);
        say.send(before).unwrap();
        wait.recv().unwrap();
        stream.write_all(ACCEPTED.as_bytes()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = [0; 11];
        stream.read_exact(&mut bytes).unwrap();
        stream.write_all(&frame(TEXT, &bytes)).unwrap();
        false
    });
    let gate = in_front_of(backend.address);
    let mut connection = gate.connect();
    let early = masked(TEXT, b"early");
    connection.send(&[handshake("/public/", "").as_bytes(), &early].concat());
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), 0);
    go.send(()).unwrap();
    let mut all = Vec::new();
    while !all.ends_with(&early) {
        let some = connection.read_some();
        assert!(!some.is_empty(), "{all:?}");
        all.extend_from_slice(&some);
    }
}

#[test]
fn an_answer_that_is_no_101_leaves_the_connection_to_http_unless_something_follows_the_handshake() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let mut connection = gate.connect();
    for _ in 0..2 {
        connection.send(handshake("/public/", "").as_bytes());
        let answer = connection.read_answer();
        assert_eq!(status_of(&answer), 200, "{answer}");
        assert!(!answer.contains("Connection: close"), "{answer}");
    }
    connection.send(b"GET /public/next HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(
        connection
            .read_answer()
            .ends_with("GET /public/next HTTP/1.1")
    );

    // Meant as WebSocket by the client, it would be a request of somebody else's making.
    backend.forget();
    let smuggled = "GET /public/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let both = handshake("/public/first", "") + smuggled;
    let answer = gate.raw(both.as_bytes());
    assert_eq!(status_of(&answer), 200);
    assert!(answer.contains("Connection: close"), "{answer}");
    assert_eq!(backend.only().path(), "/public/first");
}

#[test]
fn a_backend_s_connection_on_which_an_upgrade_was_refused_serves_nobody_else() {
    // What its backend takes a connection for after that, nobody knows.
    for refusal in ["200 OK", "403 Forbidden", "426 Upgrade Required"] {
        let backend = Backend::answering(move |request, stream| {
            let status = match request.field("upgrade") {
                Some(_) => refusal,
                None => "200 OK",
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
            stream.write_all(answer.as_bytes()).is_ok()
        });
        let gate = with_upstream(&backend, "tunnel_timeout: 1h");
        let mut client = gate.connect();
        let mut ask = |request: &str| {
            client.send(request.as_bytes());
            status_of(&client.read_answer())
        };
        let ordinary = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let expected: u16 = refusal[..3].parse().unwrap();
        for (request, status) in [
            (ordinary, 200),
            (ordinary, 200),
            (&handshake("/", ""), expected),
            (ordinary, 200),
            (ordinary, 200),
        ] {
            assert_eq!(ask(request), status, "{refusal}");
        }
        let seen = backend.seen();
        let on: Vec<_> = seen.iter().map(|request| request.connection).collect();
        assert_eq!(on, [0, 0, 0, 1, 1], "{refusal}");
        assert!(seen[2].field("upgrade").is_some(), "{seen:?}");
    }
}

// --- Who may ---

#[test]
fn who_is_not_logged_in_gets_401_for_programs_and_who_may_not_403() {
    let backend = accepting(|_| ());
    let gate = in_front_of(backend.address);
    let ask = |path: &str, more: &str| {
        let mut connection = gate.connect();
        connection.send(handshake(path, more).as_bytes());
        connection.read_answer()
    };
    for more in [
        "",
        "Accept: text/html\r\n",
        "Cookie: __Host-portcullis=x\r\n",
    ] {
        let answer = ask("/live", more);
        assert_eq!(status_of(&answer), 401, "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
    let session = gate.log_in("ralph");
    assert_eq!(status_of(&ask("/admin/live", &cookie(&session))), 403);
    assert!(backend.seen().is_empty());
    WebSocket::open(gate.connect(), "/live", &cookie(&session));
}

#[test]
fn the_page_of_another_site_opens_nothing_in_somebodys_name() {
    let backend = accepting(|_| ());
    let config = gate::config(backend.address, "").replace(
        "  - {can: view}\n",
        "  - {match: /listed/, can: view, origins: ['https://app.example.com']}\n  - {can: view}\n",
    );
    let gate = Gate::start(&config);
    let own = format!("https://localhost:{}", gate.port());
    let session = cookie(&gate.log_in("ralph"));
    let status = |path: &str, more: String| {
        let mut connection = gate.connect();
        let host = format!("Host: localhost:{}\r\n", gate.port());
        let text = handshake(path, &more).replace("Host: localhost\r\n", &host);
        connection.send(text.as_bytes());
        status_of(&connection.read_until("\r\n\r\n"))
    };
    let foreign = "https://evil.example";
    let listed = "https://app.example.com";
    for (path, origin, expected) in [
        ("/live", own.as_str(), 101),
        ("/live", foreign, 403),
        ("/live", listed, 403),
        ("/live", "null", 403),
        ("/live", &own.replace("https", "http"), 403),
        ("/live", "https://localhost", 403),
        ("/listed/live", listed, 101),
        ("/listed/live", &own, 101),
        ("/listed/live", foreign, 403),
    ] {
        let origin = format!("Origin: {origin}\r\n");
        assert_eq!(
            status(path, format!("{session}{origin}")),
            expected,
            "{path} {origin}"
        );
    }
    let two = format!("{session}Origin: {own}\r\nOrigin: {foreign}\r\n");
    assert_eq!(status("/live", two), 403);
    // Programs say nothing of the kind, and nobody's name is used where nobody is known.
    assert_eq!(status("/live", session.clone()), 101);
    assert_eq!(status("/public/", format!("Origin: {foreign}\r\n")), 101);
    assert_eq!(
        status("/public/", format!("{session}Origin: {foreign}\r\n")),
        403
    );
    let refused = gate
        .line_where(|line| line["auth.reason"] == "cross_site")
        .unwrap();
    assert_eq!(refused["http.response.status_code"], 403, "{refused}");
    for (path, hint) in [
        ("/live", "routes[5].origins"),
        ("/listed/live", "routes[4].origins"),
    ] {
        eventually("the log says where others are listed", || {
            gate.line_where(|line| line["url.path"] == path && line["auth.hint"] == hint)
        });
    }
    assert_eq!(backend.seen().len(), 5);
}

#[test]
fn a_certificate_comes_along_by_itself_as_a_session_does_and_a_token_does_not() {
    let pki = served::pki();
    pki.client("camera", &Client::default());
    let backend = accepting(|_| ());
    let made = finished(portcullis(["token", "create", "robot", "one"]), "");
    let (_, hash) = made.errors.split_once("hash: \"").unwrap();
    let tls = "  client_auth: {mode: optional, ca: root.crt}\n";
    let more = format!(
        "routes:\n  - {{match: /token, can: view, credentials: token}}\n  \
         - {{client_cert: required}}\nroles: {{user: [view]}}\n\
         users: {{robot: {{roles: [user], tokens: {{one: {{hash: '{}', abilities: [view]}}}}}}}}\n",
        &hash[..71]
    );
    pki.write("portcullis.yaml", &served::config(&backend, tls, &more));
    let gate = Gate::start_file(&pki.path("portcullis.yaml"), &[]);
    let status = |mut connection: Connection, path: &str, more: &str| {
        connection.send(handshake(path, more).as_bytes());
        status_of(&connection.read_until("\r\n\r\n"))
    };
    let camera = || Connection::with_certificate(gate.address, &pki.path("camera.pem"));
    let foreign = "Origin: https://evil.example\r\n";
    assert_eq!(status(camera(), "/", ""), 101);
    assert_eq!(status(camera(), "/", "Origin: https://localhost\r\n"), 101);
    assert_eq!(status(camera(), "/", foreign), 403);
    let bearer = format!("Authorization: Bearer {}\r\n", made.out.trim_end());
    assert_eq!(status(gate.connect(), "/token", foreign), 401);
    assert_eq!(
        status(gate.connect(), "/token", &format!("{bearer}{foreign}")),
        101
    );
}

#[test]
fn where_somebody_is_and_that_the_gate_logs_in_are_credentials_that_come_along_by_themselves_too() {
    let plain = "tunnel_timeout: 1h";
    let basic = "login: {basic: {username: gate, password: s3cret}}";
    let by_address = "allow: [127.0.0.0/8]";
    for (upstream, route, listener, asks_for_origin) in [
        (plain, "{public: true}", "", false),
        (plain, "{public: true}", by_address, true),
        (
            plain,
            "{public: true, addresses: {allow: [127.0.0.0/8]}}",
            "",
            true,
        ),
        (
            plain,
            "{public: true, addresses: {deny: [10.0.0.0/8]}}",
            "",
            true,
        ),
        (basic, "{public: true}", "", true),
    ] {
        let backend = accepting(|_| ());
        let gate = Gate::start(&format!(
            "listeners: [{{address: '127.0.0.1:0', protocol: http, {listener}}}]\n\
             upstreams: {{backend: {{url: 'http://{}', {upstream}}}}}\nroutes: [{route}]\n",
            backend.address
        ));
        let own = format!("http://{}", gate.address);
        for (origin, is_own) in [
            ("", true),
            (own.as_str(), true),
            ("https://evil.example", false),
            ("null", false),
        ] {
            backend.forget();
            let mut connection = Connection::plain(gate.address);
            let host = format!("Host: {}\r\n", gate.address);
            let more = match origin {
                "" => String::new(),
                origin => format!("Origin: {origin}\r\n"),
            };
            let text = handshake("/", &more).replace("Host: localhost\r\n", &host);
            connection.send(text.as_bytes());
            let status = status_of(&connection.read_until("\r\n\r\n"));
            let passes = is_own || !asks_for_origin;
            let expected = if passes { 101 } else { 403 };
            assert_eq!(status, expected, "{upstream} {route} {origin}");
            assert_eq!(backend.seen().len(), usize::from(passes), "{origin}");
        }
        let is_refused = |line: &Value| line["auth.reason"] == "cross_site";
        if asks_for_origin {
            eventually("it is on record", || gate.line_where(is_refused));
        }
    }
}

// --- How it ends ---

#[test]
fn one_ends_by_1008_when_the_certificate_that_opened_it_is_revoked() {
    let pki = served::pki();
    let lists = || {
        for issuer in ["root", "int"] {
            pki.crl(issuer, FUTURE, &format!("{issuer}.crl"));
        }
        pki.join(&["root.crl", "int.crl"], "crls");
    };
    lists();
    let echo = Echo::start();
    let backend = Backend::start();
    let tls = "  client_auth: {mode: required, ca: root.crt, crl: crls}\n";
    let config = served::config(&backend, tls, "");
    let [recorded, echoing] = [backend.address, echo.address].map(|it| it.to_string());
    pki.write("portcullis.yaml", &config.replace(&recorded, &echoing));
    let gate = Gate::start_file(&pki.path("portcullis.yaml"), &[]);
    let [mut gone, mut good] = ["gone", "good"].map(|name| {
        pki.client(name, &Client::default());
        let pem = pki.path(&format!("{name}.pem"));
        WebSocket::open(Connection::with_certificate(gate.address, &pem), "/", "")
    });
    pki.revoke("int", "gone");
    lists();
    assert_eq!(gone.closed(), (1008, "no longer permitted".into()));
    good.send(TEXT, b"still here");
    assert_eq!(good.text(), "still here");
    assert_eq!(ended(&gate)["upgrade.end"], "no_longer_permitted");
}

#[test]
fn messages_keep_a_session_and_pings_do_not() {
    let driven = [Driven::start(), Driven::start()];
    for (driven, opcode) in driven.iter().zip([TEXT, PING]) {
        let gate = gate::with(driven.backend.address, "sessions: {idle: 2s}\n");
        let session = gate.log_in("ralph");
        let mut open = WebSocket::open(gate.connect(), "/live", &cookie(&session));
        let begun = Instant::now();
        let end = loop {
            if begun.elapsed() > Duration::from_millis(4500) {
                break None;
            }
            driven.send(frame(opcode, b"x"));
            std::thread::sleep(Duration::from_millis(100));
            match open.next() {
                Some((CLOSE, payload)) => break Some(payload[..2].to_vec()),
                next => assert_eq!(next, Some((opcode, b"x".to_vec()))),
            }
        };
        let expected = (opcode == PING).then(|| 1008_u16.to_be_bytes().to_vec());
        assert_eq!(end, expected);
    }
}

#[test]
fn a_backend_that_ends_tcp_and_not_tls_has_ended() {
    let (cert, key) = gate::certificate();
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_certificate_chain_file(&cert).unwrap();
    acceptor
        .set_private_key_file(&key, SslFiletype::PEM)
        .unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut tls = acceptor.accept(stream).unwrap();
            let mut head = [0; 4096];
            assert!(tls.read(&mut head).unwrap() > 0);
            tls.write_all(ACCEPTED.as_bytes()).unwrap();
            tls.write_all(&frame(TEXT, b"the last")).unwrap();
            // No end of TLS.
            drop(tls.get_ref().shutdown(std::net::Shutdown::Write));
            drop(std::io::copy(tls.get_mut(), &mut std::io::sink()));
        }
    });
    let [cert, key] = [&cert, &key].map(|it| it.display());
    let gate = Gate::start(&format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         tls: {{certificates: [{{cert: {cert}, key: {key}}}]}}\n\
         upstreams: {{backend: {{url: 'https://localhost:{port}', tls: {{ca: {cert}}}}}}}\n\
         routes: [{{public: true}}]\nthreads: 1\n"
    ));
    let mut open = WebSocket::open(gate.connect(), "/", "");
    assert_eq!(open.text(), "the last");
    assert_eq!(open.next(), None);
    open.connection.end();
    assert_eq!(ended(&gate)["upgrade.end"], "upstream_closed");
}

#[test]
fn one_ends_with_its_session_by_1008_and_the_backend_sees_a_client_that_leaves() {
    let echo = Echo::start();
    let gate = in_front_of(echo.address);
    let [ralph, ada] = ["ralph", "ada"].map(|user| gate.log_in(user));
    let open = |session: &str| {
        let mut open = WebSocket::open(gate.connect(), "/live", &cookie(session));
        open.send(TEXT, b"hello");
        assert_eq!(open.text(), "hello");
        open
    };
    let (mut of_ralph, mut of_ada) = (open(&ralph), open(&ada));
    assert_eq!(gate.log_out(&ralph).status, 200);
    assert_eq!(of_ralph.closed(), (1008, "no longer permitted".into()));
    of_ralph.send(CLOSE, &1008_u16.to_be_bytes());
    assert_eq!(of_ralph.next(), None);
    echo.await_words("closed 1001");
    let line = ended(&gate);
    assert_eq!(line["upgrade.end"], "no_longer_permitted", "{line}");
    assert_eq!(line["error.type"], "no_longer_permitted", "{line}");
    assert_eq!(line["http.response.body.size"], 7);
    of_ada.send(TEXT, b"still here");
    assert_eq!(of_ada.text(), "still here");
}

#[test]
fn nothing_of_a_client_arrives_once_its_session_has_ended() {
    let driven = Driven::start();
    let gate = in_front_of(driven.backend.address);
    let session = gate.log_in("ralph");
    let mut open = WebSocket::open(gate.connect(), "/live", &cookie(&session));
    open.send(TEXT, b"before");
    driven.send(frame(TEXT, b"hello"));
    assert_eq!(open.text(), "hello");
    assert_eq!(gate.log_out(&session).status, 200);
    assert_eq!(open.closed().0, 1008);
    open.send(TEXT, b"after");
    open.send(CLOSE, &1008_u16.to_be_bytes());
    assert_eq!(open.next(), None);
    let got = driven.got();
    assert_eq!(got[..12], masked(TEXT, b"before"));
    assert_eq!((got.len(), last_close(&got)), (20, 1001));
}

#[test]
fn a_close_stands_between_frames_and_a_frame_that_does_not_end_in_time_is_cut() {
    for ends in [true, false] {
        let driven = Driven::start();
        let gate = in_front_of(driven.backend.address);
        let session = gate.log_in("ralph");
        let mut open = WebSocket::open(gate.connect(), "/live", &cookie(&session));
        let message = frame(TEXT, b"a message in two parts");
        driven.send(&message[..10]);
        let first = open.connection.read_some();
        assert_eq!(first, message[..10]);
        assert_eq!(gate.log_out(&session).status, 200);
        let begun = Instant::now();
        if ends {
            std::thread::sleep(Duration::from_millis(500));
            driven.send([&message[10..], &frame(TEXT, b"too late")].concat());
            let mut rest = open.connection.read_some();
            while rest.len() < message.len() - 10 + 4 {
                rest.extend(open.connection.read_some());
            }
            assert!(rest.starts_with(&message[10..]), "{rest:?}");
            assert!(rest[message.len() - 10..].starts_with(&[0x88]), "{rest:?}");
        } else {
            assert_eq!(open.connection.read_some(), b"");
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{:?}",
                begun.elapsed()
            );
        }
        assert_eq!(ended(&gate)["upgrade.end"], "no_longer_permitted");
    }
}

#[test]
fn what_a_client_has_sent_before_it_hears_of_the_end_of_the_server_arrives() {
    let driven = Driven::start();
    let gate = with_upstream(&driven.backend, "tunnel_timeout: 1h");
    let mut open = WebSocket::open(gate.connect(), "/", "");
    let message = frame(TEXT, b"half of it now");
    driven.send(&message[..5]);
    assert_eq!(open.connection.read_some(), message[..5]);
    gate.signal("TERM");
    open.send(TEXT, b"on its way");
    // The frame that is on its way to the client is not cut either.
    std::thread::sleep(Duration::from_millis(300));
    driven.send(&message[5..]);
    let mut rest = Vec::new();
    while rest.len() < message.len() - 5 + 4 {
        rest.extend(open.connection.read_some());
    }
    assert_eq!(rest[message.len() - 5..][2..4], 1001_u16.to_be_bytes());
    let close = masked(CLOSE, &1001_u16.to_be_bytes());
    open.connection.send(&close);
    assert_eq!(driven.got(), [masked(TEXT, b"on its way"), close].concat());
}

#[test]
fn a_server_that_ends_tells_clients_at_once_to_come_back_elsewhere() {
    let echo = Echo::start();
    let mut gate = in_front_of(echo.address);
    let session = gate.log_in("ralph");
    let mut open: Vec<WebSocket> = (0..3)
        .map(|_| WebSocket::open(gate.connect(), "/live", &cookie(&session)))
        .collect();
    gate.signal("TERM");
    for open in &mut open {
        assert_eq!(open.closed(), (1001, "shutting down".into()));
        open.send(TEXT, b"on its way meanwhile");
        open.send(CLOSE, &1001_u16.to_be_bytes());
        assert_eq!(open.next(), None);
    }
    let begun = Instant::now();
    assert_eq!(gate.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10));
    eventually("the backend saw all go", || {
        (echo.said().matches("closed 1001").count() == 3).then_some(())
    });
    let is_drained = |line: &Value| line["upgrade.end"] == "drain" && line["error.type"].is_null();
    assert_eq!(gate.count_lines(is_drained), 3);
}

/// A public gate with more settings for its backend.
fn with_upstream(backend: &Backend, settings: &str) -> Gate {
    with_more(backend, settings, "")
}

fn with_more(backend: &Backend, settings: &str, more: &str) -> Gate {
    let (cert, key) = gate::certificate();
    Gate::start(&format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
         upstreams: {{backend: {{url: 'http://{}', {settings}}}}}\n\
         routes: [{{public: true}}]\nadmin: {{address: '127.0.0.1:0'}}\nthreads: 1\n{more}",
        cert.display(),
        key.display(),
        backend.address
    ))
}

#[test]
fn one_that_is_silent_for_too_long_ends_and_one_that_is_not_goes_on() {
    let driven = Driven::start();
    // The time for answers is not the time of a WebSocket.
    let gate = with_upstream(
        &driven.backend,
        "tunnel_timeout: 1500ms, read_timeout: 300ms",
    );
    let mut open = WebSocket::open(gate.connect(), "/", "");
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(600));
        driven.send(frame(PING, b""));
        assert_eq!(open.next().unwrap().0, PING);
    }
    assert_eq!(open.closed(), (1001, "idle for too long".into()));
    open.send(CLOSE, &1001_u16.to_be_bytes());
    assert_eq!(open.next(), None);
    assert_eq!(last_close(&driven.got()), 1001);
    assert_eq!(ended(&gate)["upgrade.end"], "idle");
}

#[test]
fn the_end_of_one_side_is_passed_on_and_the_other_goes_on() {
    let driven = Driven::start();
    let gate = with_upstream(&driven.backend, "tunnel_timeout: 1h");
    let mut open = WebSocket::open(gate.connect(), "/", "");
    open.send(TEXT, b"the last");
    open.connection.end();
    // It has seen the end of the client, and still has something to say.
    assert_eq!(driven.got(), masked(TEXT, b"the last"));
    driven.send(frame(TEXT, b"an answer"));
    assert_eq!(open.text(), "an answer");
    drop(driven.tell);
    assert_eq!(open.next(), None);
    assert_eq!(ended(&gate)["upgrade.end"], "client_closed");
}

#[test]
fn who_breaks_off_takes_the_other_side_along() {
    let driven = Driven::start();
    let gate = with_upstream(&driven.backend, "tunnel_timeout: 1h");
    let mut open = WebSocket::open(gate.connect(), "/", "");
    driven.send(frame(TEXT, b"hello"));
    assert_eq!(open.text(), "hello");
    open.connection.break_off();
    driven.got();
    let line = ended(&gate);
    assert_eq!(line["upgrade.end"], "client_gone", "{line}");

    let backend = accepting(|stream| {
        let socket = socket2::SockRef::from(&*stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    });
    let gate = with_upstream(&backend, "tunnel_timeout: 1h");
    let mut open = WebSocket::open(gate.connect(), "/", "");
    assert_eq!(open.next(), None);
    let line = ended(&gate);
    assert_eq!(line["upgrade.end"], "upstream_gone", "{line}");
}

#[test]
fn what_is_no_frame_ends_the_connection_on_either_side() {
    for (bytes, what) in [
        (frame(TEXT, b"not masked"), "not masked"),
        (vec![0x09, 0x80, 0, 0, 0, 0], "a ping in fragments"),
        (vec![0x89, 0xfe, 0, 126, 0, 0, 0, 0], "a long ping"),
        ([&[0x82, 0xff, 0x80][..], &[0; 11]].concat(), "64 bits"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "HTTP"),
    ] {
        let driven = Driven::start();
        let gate = with_upstream(&driven.backend, "tunnel_timeout: 1h");
        let mut open = WebSocket::open(gate.connect(), "/", "");
        open.send(BINARY, b"good");
        open.connection.send(&bytes);
        assert_eq!(open.closed().0, 1002, "{what}");
        assert_eq!(open.next(), None);
        let got = driven.got();
        assert_eq!(got[..10], masked(BINARY, b"good"), "{what}");
        assert_eq!((got.len(), last_close(&got)), (18, 1001), "{what}");
        assert_eq!(ended(&gate)["upgrade.end"], "client_protocol_error");
    }
    let driven = Driven::start();
    let gate = with_upstream(&driven.backend, "tunnel_timeout: 1h");
    let mut open = WebSocket::open(gate.connect(), "/", "");
    driven.send([frame(TEXT, b"good"), masked(TEXT, b"masked")].concat());
    assert_eq!(open.text(), "good");
    assert_eq!(open.closed().0, 1014);
    assert_eq!(ended(&gate)["upgrade.end"], "upstream_protocol_error");
}

// --- What it costs ---

#[test]
fn a_client_that_does_not_read_holds_its_backend_back_and_not_our_memory() {
    let (say, sent) = channel();
    let say = Mutex::new(say);
    let backend = accepting(move |stream| {
        stream
            .set_write_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let message = frame(BINARY, &vec![0; 1 << 20]);
        let mut sent = 0_u64;
        while let Ok(written) = stream.write(&message) {
            sent += written as u64;
            if sent > 1 << 30 {
                break;
            }
        }
        say.lock().unwrap().send(sent).unwrap();
    });
    let gate = with_upstream(&backend, "tunnel_timeout: 1h");
    let before = gate.resident_kib();
    let _open = WebSocket::open(gate.connect(), "/", "");
    let sent = sent.recv_timeout(PATIENCE).unwrap();
    // What the kernel's buffers take, on both connections.
    assert!(sent < 64 << 20, "{sent}");
    let grown = gate.resident_kib().saturating_sub(before);
    assert!(grown < 4096, "grown by {grown} KiB");
}

#[test]
fn a_client_that_goes_on_behind_what_is_no_frame_fills_nothing() {
    let backend = accepting(|stream| drop(stream.read_to_end(&mut Vec::new())));
    let gate = with_upstream(&backend, "tunnel_timeout: 1h");
    let mut open = WebSocket::open(gate.connect(), "/", "");
    let before = gate.peak_kib();
    // Unmasked, all of them; it is told so, and sends on until nobody takes any more.
    open.connection.send(&frame(BINARY, &vec![0; 512 << 20]));
    assert_eq!(ended(&gate)["upgrade.end"], "client_protocol_error");
    let grown = gate.peak_kib() - before;
    assert!(grown < 16 << 10, "grown by {grown} KiB");
}

#[test]
fn those_that_last_take_no_place_from_requests() {
    let backend = Backend::answering(|request, stream| {
        if request.field("upgrade").is_none() {
            return stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_ok();
        }
        let answer = accepted(request);
        drop(stream.write_all(answer.as_bytes()));
        drop(stream.read(&mut [0; 1]));
        false
    });
    let gate = with_upstream(&backend, "max_requests: 2");
    let open: Vec<_> = (0..3).map(|_| opened(&gate, "")).collect();
    assert_eq!(
        open.iter().map(|(status, _)| *status).collect::<Vec<_>>(),
        [101, 101, 503]
    );
    for _ in 0..10 {
        assert_eq!(gate.curl().get("/").status, 204);
    }
}

/// What a handshake was answered, and its connection.
fn opened(gate: &Gate, more: &str) -> (u16, Connection) {
    let mut connection = gate.connect();
    connection.send(handshake("/", more).as_bytes());
    let answer = connection.read_until("\r\n\r\n");
    (status_of(&answer), connection)
}

#[test]
fn one_client_has_no_more_of_them_than_are_left_for_all_others() {
    let backend = accepting(|stream| drop(stream.read(&mut [0; 1])));
    let more = "trusted_proxies: [127.0.0.1]\n";
    let gate = with_more(&backend, "max_requests: 8", more);
    let from = |client: &str| opened(&gate, &format!("X-Forwarded-For: {client}\r\n"));
    let first: Vec<_> = (0..5).map(|_| from("192.0.2.1")).collect();
    assert_eq!(
        first.iter().map(|(status, _)| *status).collect::<Vec<_>>(),
        [101, 101, 101, 101, 429]
    );
    let refused = eventually("it is in the log", || {
        gate.line_where(|line| line["error.type"] == "client_share")
    });
    assert_eq!(refused["http.response.status_code"], 429);
    let reason = [("reason", "client_share")];
    gate.await_metric("portcullis_http_requests_rejected_total", &reason, 1.0);
    let others: Vec<_> = ["192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"]
        .map(from)
        .into();
    assert!(others.iter().all(|(status, _)| *status == 101));
    assert_eq!(from("192.0.2.6").0, 503, "none is left");
    // Whoever ends one may have another.
    drop((first, others));
    eventually("they have ended", || {
        (from("192.0.2.1").0 == 101).then_some(())
    });
}

#[test]
fn a_backend_that_is_spoken_to_in_another_version_is_asked_for_none() {
    let backend = accepting(|stream| drop(stream.read(&mut [0; 1])));
    for (settings, expected) in [
        ("version: '1.0'", 501),
        ("version: '2'", 501),
        ("version: '1.1'", 101),
    ] {
        let gate = with_upstream(&backend, settings);
        assert_eq!(opened(&gate, "").0, expected, "{settings}");
        if expected == 501 {
            eventually("it is in the log", || {
                gate.line_where(|line| line["auth.reason"] == "upstream_version")
            });
        }
    }
}

#[test]
fn one_that_is_idle_takes_little_memory() {
    const COUNT: usize = 200;
    let backend = accepting(|stream| {
        // However long it takes until all are there.
        stream.set_read_timeout(None).unwrap();
        drop(stream.read(&mut [0; 1]));
    });
    let gate = with_upstream(&backend, "tunnel_timeout: 1h");
    let open = |count: usize| -> Vec<WebSocket> {
        let open = (0..count).map(|_| WebSocket::open(gate.connect(), "/", ""));
        open.collect()
    };
    let first = open(50);
    let before = gate.resident_kib();
    let others = open(COUNT);
    let active = (first.len() + others.len()) as f64;
    gate.await_metric("portcullis_upgraded_connections_active", &[], active);
    let each = gate.resident_kib().saturating_sub(before) as f64 / COUNT as f64;
    println!("an idle WebSocket over TLS takes {each:.1} KiB");
    assert!(each < 40.0, "{each:.1} KiB each");
}
