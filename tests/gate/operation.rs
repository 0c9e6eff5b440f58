//! What the people who run it rely on: probes, metrics, the log, limits, and an orderly end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::harness::backend::Backend;
use crate::harness::client::{Connection, Curl, Got, fields, log_in_by_form, status_of, tcp};
use crate::harness::gate::{self, Gate, in_front_of};
use crate::harness::metrics::Metrics;
use crate::harness::nginx::Nginx;
use crate::harness::process::{finished, portcullis};
use crate::harness::{eventually, free_port};

/// A request for an open route that leaves the connection open.
const GET: &[u8] = b"GET /public/ HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The name of the listener of most tests: its address as configured.
const LISTENER: &str = "127.0.0.1:0";

// --- Probes ---

#[test]
fn every_probe_answers_under_its_name_and_its_older_one() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    for (path, body) in [
        ("/livez", "alive\n"),
        ("/healthz", "alive\n"),
        ("/readyz", "ready\n"),
        ("/ready", "ready\n"),
        ("/startupz", "started\n"),
    ] {
        let got = gate.ask_admin(path);
        assert_eq!((got.status, got.body.as_str()), (200, body), "{path}");
        assert_eq!(got.field("cache-control"), Some("no-store"), "{path}");
    }
}

#[test]
fn the_admin_listener_answers_what_it_knows_to_those_who_only_read() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let admin = gate.admin.unwrap();
    let status = |args: &[&str], path: &str| {
        let curl = Curl::new(0).args(args.iter().copied());
        curl.fetch(&format!("http://{admin}{path}")).status
    };
    assert_eq!(status(&[], "/livez"), 200);
    assert_eq!(status(&["-I"], "/livez"), 200);
    for unknown in ["/", "/livez/", "/metrics/x", "/LIVEZ", "/nothing"] {
        assert_eq!(status(&[], unknown), 404, "{unknown}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "BREW"] {
        assert_eq!(status(&["-X", method], "/livez"), 405, "{method}");
    }
    assert_eq!(status(&["-d", "x=y"], "/metrics"), 405);
    // It still serves whoever asks properly.
    assert_eq!(status(&[], "/metrics"), 200);
}

#[test]
fn probes_get_through_however_many_connections_have_nothing_to_ask() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let admin = gate.admin.unwrap();
    let silent: Vec<_> = (0..200).map(|_| tcp(admin)).collect();
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(gate.ask_admin(path).status, 200);
    }
    drop(silent);
}

#[test]
fn what_is_asked_of_the_admin_listener_never_reaches_the_backend() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let own = gate.address;
    for request in [
        "GET /public/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
        format!("GET http://{own}/public/ HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n"),
        format!("GET /public/ HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n"),
        "POST /public/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nok".to_owned(),
    ] {
        let mut connection = Connection::plain(gate.admin.unwrap());
        connection.send(request.as_bytes());
        let answer = connection.read_to_end();
        let status = status_of(&answer);
        assert!([404, 405].contains(&status), "{request}: {answer}");
    }
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
    assert_eq!(gate.curl().get("/public/").status, 200);
    backend.only();
}

// --- Metrics ---

/// The labels of each family: a new one must be thought about, because every value of it is a
/// series of its own.
const LABELS: &[(&str, &[&str])] = &[
    ("auth_decisions_total", &["decision", "identity", "route"]),
    ("auth_lockouts_active", &[]),
    ("auth_login_duration_seconds", &["method"]),
    ("auth_logins_total", &["method", "result"]),
    ("auth_sessions_active", &[]),
    ("auth_sessions_created_total", &["method"]),
    ("auth_sessions_ended_total", &["reason"]),
    ("build_info", &["tls_library", "version"]),
    ("config_last_reload_success_timestamp_seconds", &[]),
    ("config_last_reload_successful", &[]),
    ("config_reloads_total", &["result"]),
    ("connections_active", &["listener"]),
    ("connections_limit", &["listener"]),
    ("connections_refused_total", &["listener", "reason"]),
    ("connections_total", &["listener"]),
    ("http2_floods_total", &["listener", "reason"]),
    ("http_request_body_bytes_total", &["route"]),
    ("http_request_duration_seconds", &["code_class", "route"]),
    ("http_requests_in_flight", &["listener"]),
    ("http_requests_rejected_total", &["listener", "reason"]),
    (
        "http_requests_total",
        &["code", "listener", "method", "route"],
    ),
    ("http_response_body_bytes_total", &["route"]),
    ("log_messages_dropped_total", &[]),
    ("session_store_requests_total", &["op", "result"]),
    ("session_store_up", &[]),
    (
        "tls_certificate_not_after_timestamp_seconds",
        &["purpose", "serial", "subject"],
    ),
    ("tls_handshake_duration_seconds", &["listener"]),
    ("tls_handshake_errors_total", &["listener", "reason"]),
    (
        "tls_handshakes_total",
        &["client_cert", "listener", "resumed", "version"],
    ),
    ("upstream_connections_total", &["reused", "upstream"]),
    ("upstream_errors_total", &["reason", "upstream"]),
    ("upstream_healthy", &["upstream"]),
    ("upstream_request_duration_seconds", &["upstream"]),
    ("upstream_requests_total", &["result", "upstream"]),
];

/// Every value that a label may have in front of the configuration of [`in_front_of`].
const VALUES: &[(&str, &[&str])] = &[
    ("client_cert", &["false"]),
    (
        "code",
        &["200", "303", "400", "401", "403", "404", "413", "502"],
    ),
    ("code_class", &["2xx", "3xx", "4xx", "5xx"]),
    ("decision", &["allow", "deny", "login"]),
    ("identity", &["none", "session"]),
    ("listener", &[LISTENER]),
    ("resumed", &["false", "true"]),
    ("reused", &["false", "true"]),
    (
        "route",
        &[
            "*",
            "/admin/",
            "/public/",
            "/read-only/",
            "/upload/",
            "login",
            "logout",
            "none",
        ],
    ),
    ("tls_library", &["BoringSSL"]),
    ("upstream", &["backend"]),
    ("version", &["1.2", "1.3", env!("CARGO_PKG_VERSION")]),
];

/// Traffic of every kind, a few of each.
fn make_traffic(gate: &Gate) -> String {
    let status = |args: &[&str], path: &str| {
        let got = gate.curl().args(args.iter().copied()).get(path);
        got.status
    };
    assert_eq!(status(&["-A", "agent-of-ada"], "/public/some-path"), 200);
    let old = ["--tls-max", "1.2", "--http1.1", "-d", "12345"];
    assert_eq!(status(&old, "/public/some-path?query"), 200);
    assert_eq!(status(&["-X", "BREW"], "/public/"), 200);
    assert_eq!(status(&["-X", "POUR"], "/public/"), 200);
    assert_eq!(status(&[], "/private-path"), 401);
    assert_eq!(status(&["-d", &"x".repeat(2048)], "/upload/"), 413);

    let session = gate.log_in("ralph");
    let cookie = format!("Cookie: __Host-portcullis={session}");
    assert_eq!(status(&["-H", &cookie], "/private-path"), 200);
    assert_eq!(status(&["-H", &cookie], "/admin/"), 403);
    let json = ["-H", "Content-Type: application/json"];
    let wrong = [
        json[0],
        json[1],
        "-d",
        r#"{"username":"ralph","password":"no"}"#,
    ];
    assert_eq!(status(&wrong, "/auth/login"), 401);
    assert_eq!(
        log_in_by_form(gate.port(), &[], "ada", gate::PASSWORD).status,
        303
    );
    assert_eq!(log_in_by_form(gate.port(), &[], "nobody", "no").status, 401);

    let smuggled = gate.raw(
        b"POST /public/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\
          Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    assert_eq!(status_of(&smuggled), 400);
    session
}

#[test]
fn the_metrics_say_how_much_of_what_has_happened() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    make_traffic(&gate);
    let requests = |route, method, code, count| {
        let labels = [
            ("listener", LISTENER),
            ("route", route),
            ("method", method),
            ("code", code),
        ];
        gate.await_metric("portcullis_http_requests_total", &labels, count);
    };
    requests("/public/", "GET", "200", 1.0);
    requests("/public/", "POST", "200", 1.0);
    requests("/public/", "_OTHER", "200", 2.0);
    requests("/upload/", "POST", "413", 1.0);
    requests("*", "GET", "401", 1.0);
    requests("*", "GET", "200", 1.0);
    requests("/admin/", "GET", "403", 1.0);
    requests("login", "GET", "200", 2.0);
    requests("login", "POST", "200", 1.0);
    requests("login", "POST", "303", 1.0);
    requests("login", "POST", "401", 2.0);
    // Nobody knows what its method was.
    requests("none", "_OTHER", "400", 1.0);

    let metrics = Metrics::parse(&gate.metrics());
    let check = |name: &str, labels: &[(&str, &str)], expected: f64| {
        let found = metrics.sum(&format!("portcullis_{name}"), labels);
        assert_eq!(found, expected, "{name} {labels:?}");
    };
    let duration = "http_request_duration_seconds_count";
    check(
        duration,
        &[("route", "/public/"), ("code_class", "2xx")],
        4.0,
    );
    check(
        duration,
        &[("route", "/public/"), ("code_class", "4xx")],
        0.0,
    );
    check(duration, &[("route", "*"), ("code_class", "4xx")], 1.0);
    check("http_requests_in_flight", &[], 0.0);
    check(
        "http_request_body_bytes_total",
        &[("route", "/public/")],
        5.0,
    );

    let rejected = |reason, count| {
        let labels = [("listener", LISTENER), ("reason", reason)];
        check("http_requests_rejected_total", &labels, count);
    };
    rejected("smuggling", 1.0);
    rejected("body_too_large", 1.0);
    rejected("bad_request", 0.0);

    for method in ["form", "json"] {
        for result in ["success", "bad_credentials"] {
            check(
                "auth_logins_total",
                &[("method", method), ("result", result)],
                1.0,
            );
        }
    }
    check("auth_login_duration_seconds_count", &[], 4.0);
    check("auth_sessions_active", &[], 2.0);
    for op in ["begin", "look_up"] {
        let labels = |result| [("op", op), ("result", result)];
        check("session_store_requests_total", &labels("success"), 2.0);
        check("session_store_requests_total", &labels("unavailable"), 0.0);
    }
    let decision = |route, identity, decision, count| {
        let labels = [
            ("route", route),
            ("identity", identity),
            ("decision", decision),
        ];
        check("auth_decisions_total", &labels, count);
    };
    decision("/public/", "none", "allow", 4.0);
    decision("*", "none", "login", 1.0);
    decision("*", "session", "allow", 1.0);
    decision("/admin/", "session", "deny", 1.0);
    decision("/admin/", "session", "allow", 0.0);
    check("upstream_requests_total", &[("upstream", "backend")], 5.0);
    check("upstream_requests_total", &[("result", "success")], 5.0);
    check("upstream_connections_total", &[], 5.0);
    check("upstream_errors_total", &[], 0.0);
}

#[test]
fn an_alert_finds_its_series_before_anything_has_happened() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let metrics = Metrics::parse(&gate.metrics());
    let exists_at_zero = |name: &str, labels: &[(&str, &str)]| {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let labels = labels.iter().map(owned).collect();
        let found = metrics.value(&format!("portcullis_{name}"), &labels);
        assert_eq!(found, Some(0.0), "{name} {labels:?}");
    };
    for method in ["form", "json"] {
        for result in ["success", "bad_credentials", "throttled", "error"] {
            exists_at_zero(
                "auth_logins_total",
                &[("method", method), ("result", result)],
            );
        }
    }
    for result in ["success", "failure"] {
        exists_at_zero("config_reloads_total", &[("result", result)]);
    }
    for reason in ["smuggling", "bad_request", "header_too_large"] {
        let labels = [("listener", LISTENER), ("reason", reason)];
        exists_at_zero("http_requests_rejected_total", &labels);
    }
    for reason in ["timeout", "protocol_version", "no_shared_cipher"] {
        let labels = [("listener", LISTENER), ("reason", reason)];
        exists_at_zero("tls_handshake_errors_total", &labels);
    }
    exists_at_zero("connections_active", &[("listener", LISTENER)]);
    exists_at_zero("log_messages_dropped_total", &[]);
}

#[test]
fn connections_are_counted_when_they_come_and_uncounted_when_they_go() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "timeouts: {idle: 1h}\n");
    let listener = [("listener", LISTENER)];
    let mut open: Vec<_> = (0..3).map(|_| gate.connect()).collect();
    for connection in &mut open {
        connection.send(GET);
        assert_eq!(status_of(&connection.read_answer()), 200);
    }
    gate.await_metric("portcullis_connections_active", &listener, 3.0);
    gate.await_metric("portcullis_connections_total", &listener, 3.0);
    gate.await_metric("portcullis_connections_limit", &listener, 10_000.0);
    open.pop();
    gate.await_metric("portcullis_connections_active", &listener, 2.0);
    drop(open);
    gate.await_metric("portcullis_connections_active", &listener, 0.0);
    gate.await_metric("portcullis_connections_total", &listener, 3.0);
}

#[test]
fn handshakes_are_counted_by_version_and_by_what_was_wrong() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let done = |version, count| {
        let labels = [
            ("listener", LISTENER),
            ("version", version),
            ("client_cert", "false"),
        ];
        gate.await_metric("portcullis_tls_handshakes_total", &labels, count);
    };
    let failed = |reason, count| {
        let labels = [("listener", LISTENER), ("reason", reason)];
        gate.await_metric("portcullis_tls_handshake_errors_total", &labels, count);
    };
    for _ in 0..2 {
        assert_eq!(gate.curl().get("/public/").status, 200);
    }
    let old = gate.curl().args(["--tls-max", "1.2"]).get("/public/");
    assert_eq!(old.status, 200);
    done("1.3", 2.0);
    done("1.2", 1.0);
    failed("plain_http", 0.0);

    // It is redirected here, which is no failure.
    let mut plain = Connection::plain(gate.address);
    plain.send(GET);
    assert_eq!(status_of(&plain.read_to_end()), 307);
    let mut neither = Connection::plain(gate.address);
    neither.send(b"\0");
    assert_eq!(neither.read_to_end(), "");
    failed("not_tls", 1.0);
    failed("plain_http", 0.0);

    for (at, version) in ["-tls1", "-tls1_1"].into_iter().enumerate() {
        s_client(&gate, &[version]);
        failed("protocol_version", at as f64 + 1.0);
    }
    // A suite that is only good for a key of another kind than ours.
    s_client(
        &gate,
        &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
    );
    failed("no_shared_cipher", 1.0);
    // A connection that says nothing, as the checks of load balancers do.
    drop(tcp(gate.address));
    failed("eof", 1.0);
    done("1.3", 2.0);
    done("1.2", 1.0);
    let line = gate.line_where(|line| line["error.type"] == "not_tls");
    let line = line.unwrap();
    assert_eq!(line["event"], "tls.handshake_error");
    assert_eq!(line["client.address"], "127.0.0.1");
    assert_eq!(gate.line_where(|line| line["error.type"] == "eof"), None);
}

/// A handshake by openssl, with what its defaults forbid; it must fail.
#[track_caller]
fn s_client(gate: &Gate, args: &[&str]) {
    let address = gate.address.to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address]).args(args);
    if !args.contains(&"-cipher") {
        // Versions before 1.2 sign with what security level 1 does not take.
        command.args(["-cipher", "ALL:@SECLEVEL=0"]);
    }
    let done = finished(command, "");
    let text = done.out + &done.errors;
    assert!(text.contains("Cipher is (NONE)"), "{text}");
}

#[test]
fn labels_are_configured_names_and_nobody_is_named_in_the_metrics() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let session = make_traffic(&gate);
    gate.await_metric("portcullis_http_requests_total", &[("route", "none")], 1.0);
    let text = gate.metrics();
    let metrics = Metrics::parse(&text);
    let known: BTreeMap<_, _> = LABELS.iter().copied().collect();
    let values: BTreeMap<_, _> = VALUES.iter().copied().collect();
    for sample in &metrics.samples {
        let family = sample.family.strip_prefix("portcullis_").unwrap();
        let names = sample.labels.keys().map(String::as_str);
        let names: Vec<_> = names.filter(|name| *name != "le").collect();
        assert_eq!(names, known[family], "{sample:?}");
        for (name, value) in &sample.labels {
            let closed = values.get(name.as_str());
            let fits = closed.is_none_or(|values| values.contains(&value.as_str()));
            assert!(fits, "{name} of {sample:?}");
        }
    }
    let digest = hex(&Sha256::digest(session.as_bytes()));
    for private in [
        "ralph",
        "ada",
        "example.com",
        "nobody",
        "path",
        "query",
        "BREW",
        "agent",
        "127.0.0.1:",
        &session,
        &digest[..8],
    ] {
        // A serial number is random digits, and may spell anything.
        let lines = text.lines().filter(|line| !line.contains("serial="));
        let without_listener = lines.collect::<String>().replace(LISTENER, "");
        assert!(!without_listener.contains(private), "{private}: {text}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// --- The end ---

/// A backend that answers requests for `/public/held` in part, and the rest of it once it is let
/// go; everything else at once.
struct Holding {
    backend: Backend,
    go: Option<Sender<()>>,
}

/// What is answered before and after.
const FIRST_HALF: &str = "the first half, ";
const SECOND_HALF: &str = "and the second";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    WholeAnswer,
    SecondHalf,
}

impl Holding {
    fn start(hold: Hold) -> Self {
        let (go, going) = channel::<()>();
        let going = Mutex::new(going);
        let backend = Backend::answering(move |request, stream| {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                FIRST_HALF.len() + SECOND_HALF.len()
            );
            let wait = || {
                if request.path() == HELD {
                    // Going on when the test is over is what a test wants.
                    let _ = going.lock().unwrap().recv();
                }
            };
            if hold == Hold::WholeAnswer {
                wait();
            }
            let first = stream.write_all(format!("{head}{FIRST_HALF}").as_bytes());
            if hold == Hold::SecondHalf {
                wait();
            }
            first.is_ok() && stream.write_all(SECOND_HALF.as_bytes()).is_ok()
        });
        Self {
            backend,
            go: Some(go),
        }
    }

    fn let_go(&mut self) {
        drop(self.go.take());
    }

    #[track_caller]
    fn await_request(&self) {
        eventually("the request is in flight", || {
            let seen = self.backend.seen();
            seen.iter().find(|request| request.path() == HELD).map(drop)
        });
    }
}

const HELD: &str = "/public/held";
const GET_HELD: &[u8] = b"GET /public/held HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Long enough that no test waits for it: an end that comes did not need it.
const NEVER: &str = "timeouts: {idle: 1h, handshake: 1h, head: 1h}\nshutdown: {drain: 1h}\n";

#[track_caller]
fn await_not_ready(gate: &Gate) {
    eventually("the gate says that it is not ready", || {
        (gate.ask_admin("/readyz").status == 503).then_some(())
    });
}

#[track_caller]
fn await_refusal_of_connections(gate: &Gate) {
    eventually("new connections are refused", || {
        TcpStream::connect(gate.address).is_err().then_some(())
    });
}

#[track_caller]
fn ends_well(mut gate: Gate) {
    let status = gate.wait();
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn a_request_in_flight_at_sigterm_is_answered_whole_and_the_server_ends_with_it() {
    let mut holding = Holding::start(Hold::WholeAnswer);
    let mut gate = gate::with(holding.backend.address, NEVER);
    let mut connection = gate.connect();
    connection.send(GET_HELD);
    holding.await_request();
    assert_eq!(gate.ask_admin("/readyz").status, 200);

    gate.signal("TERM");
    await_not_ready(&gate);
    assert_eq!(gate.ask_admin("/ready").status, 503);
    assert_eq!(gate.ask_admin("/livez").status, 200);
    assert_eq!(gate.ask_admin("/startupz").status, 200);
    await_refusal_of_connections(&gate);
    assert!(gate.is_running());

    holding.let_go();
    let answer = connection.read_to_end();
    assert_eq!(status_of(&answer), 200, "{answer}");
    assert!(
        answer.ends_with("the first half, and the second"),
        "{answer}"
    );
    let close = fields(&answer).any(|field| field == ("Connection", "close"));
    assert!(close, "{answer}");
    ends_well(gate);
}

#[test]
fn an_answer_that_has_begun_at_sigterm_is_finished() {
    let mut holding = Holding::start(Hold::SecondHalf);
    let mut gate = gate::with(holding.backend.address, NEVER);
    let mut connection = gate.connect();
    connection.send(GET_HELD);
    let mut answer = connection.read_until(FIRST_HALF);
    gate.signal("TERM");
    await_refusal_of_connections(&gate);
    assert!(gate.is_running());
    holding.let_go();
    answer.push_str(&connection.read_to_end());
    assert!(
        answer.ends_with("the first half, and the second"),
        "{answer}"
    );
    ends_well(gate);
}

#[test]
fn a_stream_in_flight_at_sigterm_is_finished() {
    for hold in [Hold::WholeAnswer, Hold::SecondHalf] {
        let mut holding = Holding::start(hold);
        let mut gate = gate::with(holding.backend.address, NEVER);
        let curl = gate.curl().args(["--http2", "--no-buffer"]);
        let asking = std::thread::spawn(move || curl.get(HELD));
        holding.await_request();
        gate.signal("TERM");
        await_not_ready(&gate);
        await_refusal_of_connections(&gate);
        assert!(gate.is_running());
        assert!(!asking.is_finished());
        holding.let_go();
        let got = asking.join().unwrap();
        assert_eq!((got.exit, got.status), (0, 200), "{got:?}");
        assert_eq!(got.head.lines().next().unwrap().trim(), "HTTP/2 200");
        assert_eq!(got.body, "the first half, and the second");
        ends_well(gate);
    }
}

#[test]
fn a_request_that_has_half_arrived_at_sigterm_is_still_answered() {
    let backend = Backend::start();
    // One thread serves its connections in the order in which something came on them.
    let gate = small(backend.address, 1, 100, NEVER);
    let mut connection = gate.connect();
    connection.send(GET);
    assert_eq!(status_of(&connection.read_answer()), 200);
    let (first, second) = GET.split_at(GET.len() / 2);
    connection.send(first);
    for _ in 0..20 {
        assert_eq!(gate.curl().get("/public/").status, 200);
    }
    gate.signal("TERM");
    await_refusal_of_connections(&gate);
    connection.send(second);
    let answer = connection.read_to_end();
    assert_eq!(status_of(&answer), 200, "{answer:?}");
    ends_well(gate);
}

#[test]
fn an_idle_server_ends_with_the_signal_that_asks_for_it() {
    let backend = Backend::start();
    for signal in ["TERM", "INT"] {
        let gate = gate::with(backend.address, NEVER);
        gate.signal(signal);
        ends_well(gate);
    }
}

#[test]
fn connections_without_a_request_do_not_hold_up_the_end() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, NEVER);
    let mut kept_alive = gate.connect();
    kept_alive.send(GET);
    assert_eq!(status_of(&kept_alive.read_answer()), 200);
    let mut silent = gate.connect();
    let mut http2 = Connection::http2(gate.address);
    http2.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00");
    assert!(!http2.read_some().is_empty(), "no SETTINGS");
    let mut http2_without_preface = Connection::http2(gate.address);
    let mut without_handshake = Connection::plain(gate.address);
    let listener = [("listener", LISTENER)];
    gate.await_metric("portcullis_connections_active", &listener, 5.0);

    gate.signal("TERM");
    for connection in [
        &mut kept_alive,
        &mut silent,
        &mut http2,
        &mut http2_without_preface,
        &mut without_handshake,
    ] {
        connection.read_to_end();
    }
    ends_well(gate);
}

#[test]
fn a_second_sigterm_cuts_off_what_the_first_waits_for() {
    for second in ["TERM", "INT"] {
        let holding = Holding::start(Hold::SecondHalf);
        let mut gate = gate::with(holding.backend.address, NEVER);
        let mut connection = gate.connect();
        connection.send(GET_HELD);
        connection.read_until(FIRST_HALF);
        gate.signal("TERM");
        await_not_ready(&gate);
        assert!(gate.is_running());
        gate.signal(second);
        let status = gate.wait();
        assert_eq!(status.code(), Some(0), "{status}");
        assert_eq!(connection.read_to_end(), "");
        let line = eventually("it says so", || gate.line("server.cut_off"));
        assert_eq!(line["connections"], 1);
    }
}

#[test]
fn sigint_does_not_wait_for_requests_in_flight() {
    let holding = Holding::start(Hold::SecondHalf);
    let gate = gate::with(holding.backend.address, NEVER);
    let mut connection = gate.connect();
    connection.send(GET_HELD);
    connection.read_until(FIRST_HALF);
    gate.signal("INT");
    ends_well(gate);
    assert_eq!(connection.read_to_end(), "");
}

#[test]
fn patience_with_requests_in_flight_ends_with_the_drain_time() {
    let holding = Holding::start(Hold::SecondHalf);
    let mut gate = gate::with(holding.backend.address, "shutdown: {drain: 100ms}\n");
    let mut connection = gate.connect();
    connection.send(GET_HELD);
    connection.read_until(FIRST_HALF);
    gate.signal("TERM");
    let status = gate.wait();
    assert_eq!(status.code(), Some(0), "{status}");
    eventually("it says so", || gate.line("server.cut_off"));
    assert_eq!(connection.read_to_end(), "");
}

#[test]
fn during_the_delay_new_connections_are_served_while_readiness_already_fails() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "shutdown: {delay: 1h}\n");
    let mut kept = gate.connect();
    kept.send(GET);
    assert_eq!(status_of(&kept.read_answer()), 200);
    gate.signal("TERM");
    await_not_ready(&gate);
    for _ in 0..5 {
        let got = gate.curl().args(["--http1.1"]).get("/public/");
        assert_eq!((got.status, got.field("connection")), (200, None));
    }
    kept.send(GET);
    assert_eq!(status_of(&kept.read_answer()), 200);
    assert_eq!(gate.ask_admin("/readyz").status, 503);
    gate.signal("TERM");
    ends_well(gate);
}

#[test]
fn after_the_delay_the_server_ends() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "shutdown: {delay: 200ms, drain: 1h}\n");
    gate.signal("TERM");
    ends_well(gate);
}

// --- Addresses and limits ---

#[test]
fn a_second_server_on_an_address_is_refused_and_the_first_goes_on() {
    let backend = Backend::start();
    let first = in_front_of(backend.address);
    let second = |listener: SocketAddr, admin: SocketAddr| {
        let (cert, key) = gate::certificate();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("second.yaml");
        let config = format!(
            "listeners: [{{address: '{listener}'}}]\nadmin: {{address: '{admin}'}}\n\
             tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
             upstreams: {{backend: {{url: 'http://{}'}}}}\nroutes: [{{public: true}}]\n",
            cert.display(),
            key.display(),
            backend.address,
        );
        std::fs::write(&file, config).unwrap();
        let command = portcullis(["run", "-c", file.to_str().unwrap()]);
        let second = finished(command, "");
        assert_eq!(second.code, Some(1), "{second:?}");
        assert!(!second.out.contains("server.ready"), "{second:?}");
        let hint = "is another server running there?";
        assert!(second.errors.contains(hint), "{second:?}");
        second.errors
    };
    let (listener, admin) = (first.address, first.admin.unwrap());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let errors = second(listener, any);
    assert!(
        errors.contains(&format!("cannot listen on {listener}: ")),
        "{errors}"
    );
    let errors = second(any, admin);
    assert!(
        errors.contains(&format!("cannot listen on {admin} (admin): ")),
        "{errors}"
    );
    for _ in 0..20 {
        assert_eq!(first.curl().get("/public/").status, 200);
    }
    assert_eq!(backend.seen().len(), 20);
    assert_eq!(first.ask_admin("/readyz").status, 200);
}

/// A gate with this many threads and connections, that is open to everybody.
#[track_caller]
fn small(backend: SocketAddr, threads: usize, connections: usize, more: &str) -> Gate {
    let (cert, key) = gate::certificate();
    Gate::start(&format!(
        "listeners: [{{address: '127.0.0.1:0', max_connections: {connections}}}]\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
         upstreams: {{backend: {{url: 'http://{backend}'}}}}\n\
         admin: {{address: '127.0.0.1:0'}}\n\
         threads: {threads}\nroutes: [{{match: /public/, public: true}}]\n{more}",
        cert.display(),
        key.display(),
    ))
}

#[test]
fn a_full_listener_serves_the_next_connection_once_another_has_closed() {
    const MOST: usize = 3;
    let backend = Backend::start();
    let gate = small(backend.address, 2, MOST, NEVER);
    let mut open: Vec<_> = (0..MOST).map(|_| gate.connect()).collect();
    let ask_all = |open: &mut Vec<Connection>| {
        for connection in open {
            connection.send(GET);
            assert_eq!(status_of(&connection.read_answer()), 200);
        }
    };
    ask_all(&mut open);
    // The kernel takes it, so that nobody is turned away; the gate does not look at it yet.
    let one_more = tcp(gate.address);
    let waiting = std::thread::spawn(move || {
        let mut connection = Connection::tls_over(one_more, "http/1.1");
        connection.send(GET);
        status_of(&connection.read_answer())
    });
    for _ in 0..20 {
        ask_all(&mut open);
    }
    let listener = [("listener", LISTENER)];
    gate.await_metric("portcullis_connections_total", &listener, 3.0);
    gate.await_metric("portcullis_connections_active", &listener, 3.0);
    assert!(!waiting.is_finished());
    open.pop();
    assert_eq!(waiting.join().unwrap(), 200);
    gate.await_metric("portcullis_connections_total", &listener, 4.0);
}

#[test]
fn every_thread_can_use_every_free_place_of_a_listener() {
    let backend = Backend::start();
    let gate = small(backend.address, 4, 1, NEVER);
    // The kernel spreads connections over the threads: with these many, each gets some.
    for at in 0..24 {
        let got = gate.curl().args(["--max-time", "20"]).get("/public/");
        assert_eq!((got.exit, got.status), (0, 200), "connection {at}");
    }
}

#[test]
fn a_handshake_that_does_not_finish_in_time_is_cut_off_and_one_that_does_is_served() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "timeouts: {handshake: 1s}\n");
    let mut silent = Connection::plain(gate.address);
    let mut begun = Connection::plain(gate.address);
    // The head of a record with a ClientHello of 256 bytes, and its first bytes.
    begun.send(b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03");
    assert_eq!(silent.read_to_end(), "");
    begun.read_to_end();
    let labels = [("listener", LISTENER), ("reason", "timeout")];
    gate.await_metric("portcullis_tls_handshake_errors_total", &labels, 2.0);
    eventually("one in time is served", || {
        (gate.curl().get("/public/").status == 200).then_some(())
    });
}

#[test]
fn an_idle_connection_is_closed_when_its_time_is_over_and_not_before() {
    let backend = Backend::start();
    let patient = gate::with(backend.address, "timeouts: {idle: 1h}\n");
    let mut kept = patient.connect();
    kept.send(GET);
    assert_eq!(status_of(&kept.read_answer()), 200);

    let gate = gate::with(backend.address, "timeouts: {idle: 300ms}\n");
    let mut idle = gate.connect();
    idle.send(GET);
    let answer = idle.read_to_end();
    // Slow machines may see the connection end before the request came.
    assert!([0, 200].contains(&status_of(&answer)), "{answer}");
    let mut http2 = Connection::http2(gate.address);
    http2.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00");
    http2.read_to_end();
    let listener = [("listener", LISTENER)];
    gate.await_metric("portcullis_connections_active", &listener, 0.0);

    kept.send(GET);
    assert_eq!(status_of(&kept.read_answer()), 200);
}

#[test]
fn a_client_that_is_still_sending_gets_the_answer_that_it_need_not() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let body = "x".repeat(4096);
    for (path, status) in [("/private", 401), ("/upload/", 413), ("/public/", 200)] {
        for version in ["--http1.1", "--http2"] {
            for attempt in 0..20 {
                let got = gate.curl().args([version, "-d", &body]).get(path);
                let expected = (0, status);
                assert_eq!(
                    (got.exit, got.status),
                    expected,
                    "{path} {version} {attempt}"
                );
            }
        }
    }
    assert_eq!(backend.seen().len(), 40);
}

#[test]
fn two_hundred_clients_at_once_are_all_served() {
    let nginx = Nginx::start();
    nginx.write("public/page", b"hello");
    let gate = small(nginx.address, 4, 1000, "timeouts: {handshake: 1m}\n");
    let url = format!("https://127.0.0.1:{}/public/page", gate.port());
    let mut ab = Command::new("ab");
    ab.args(["-q", "-n", "400", "-c", "200", "-s", "120", &url]);
    let done = finished(ab, "");
    assert_eq!(done.code, Some(0), "{done:?}");
    let number = |label: &str| -> Option<u32> {
        let line = done.out.lines().find_map(|line| line.strip_prefix(label))?;
        line.trim().parse().ok()
    };
    assert_eq!(number("Complete requests:"), Some(400), "{done:?}");
    assert_eq!(number("Failed requests:"), Some(0), "{done:?}");
    assert_eq!(number("Non-2xx responses:"), None, "{done:?}");

    let mut h2load = Command::new("h2load");
    h2load.args(["-n", "400", "-c", "200", "-m", "2", &url]);
    let done = finished(h2load, "");
    let expected = "400 total, 400 started, 400 done, 400 succeeded, 0 failed";
    assert!(done.out.contains(expected), "{done:?}");
    let labels = [("route", "/public/"), ("code", "200")];
    gate.await_metric("portcullis_http_requests_total", &labels, 800.0);
    gate.await_metric("portcullis_connections_active", &[], 0.0);
    gate.await_metric("portcullis_http_requests_in_flight", &[], 0.0);
}

// --- The access log ---

/// The one line about the request with this id.
#[track_caller]
fn line_of(gate: &Gate, id: &str) -> Value {
    let line = eventually("the request is logged", || {
        gate.line_where(|line| line["event"] == "access" && line["request.id"] == id)
    });
    let lines = gate.written();
    let about = lines.iter().filter(|line| line.contains(id)).count();
    assert_eq!(about, 1, "{lines:?}");
    line
}

#[track_caller]
fn id_of(got: &Got) -> &str {
    got.field("x-request-id").unwrap()
}

fn keys(line: &Value) -> BTreeSet<&str> {
    line.as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// What every line about a request over TLS says.
const ALWAYS: [&str; 19] = [
    "timestamp",
    "level",
    "event",
    "client.address",
    "network.protocol.version",
    "tls.protocol.version",
    "tls.cipher",
    "tls.resumed",
    "server.address",
    "http.request.method",
    "url.path",
    "http.route",
    "http.request.body.size",
    "http.response.status_code",
    "http.response.body.size",
    "auth.decision",
    "duration_ms",
    "request.id",
    "trace_id",
];

#[track_caller]
fn check_keys(line: &Value, more: &[&str]) {
    let expected: BTreeSet<_> = ALWAYS.iter().chain(more).copied().collect();
    assert_eq!(keys(line), expected, "{line}");
}

#[test]
fn a_request_is_one_line_that_says_who_asked_for_what_and_what_became_of_it() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let session = gate.log_in("ralph");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let got = gate
        .curl()
        .session(&session)
        .header(&format!("traceparent: 00-{trace}-b7ad6b7169203331-01"))
        .args(["--http1.1", "-A", "agent/1.0", "-d", "12345"])
        .get("/page?token=topsecret");
    assert_eq!(got.status, 200);
    let line = line_of(&gate, id_of(&got));
    check_keys(
        &line,
        &[
            "user_agent.original",
            "user.name",
            "session.id",
            "upstream.name",
            "upstream.address",
            "upstream.duration_ms",
        ],
    );
    for (key, expected) in [
        ("level", "info"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("tls.protocol.version", "1.3"),
        ("server.address", &format!("localhost:{}", gate.port())),
        ("http.request.method", "POST"),
        ("url.path", "/page"),
        ("http.route", "*"),
        ("auth.decision", "allow"),
        ("user_agent.original", "agent/1.0"),
        ("user.name", "ralph"),
        ("session.id", &hex(&Sha256::digest(session.as_bytes()))[..8]),
        ("upstream.name", "backend"),
        ("trace_id", trace),
    ] {
        assert_eq!(line[key], expected, "{key}: {line}");
    }
    assert_eq!(line["tls.resumed"], false);
    assert!(
        line["tls.cipher"].as_str().unwrap().starts_with("TLS_"),
        "{line}"
    );
    assert_eq!(line["http.request.body.size"], 5);
    assert_eq!(line["http.response.status_code"], 200);
    assert_eq!(line["http.response.body.size"], got.body.len());
    let whole = line["duration_ms"].as_f64().unwrap();
    let of_backend = line["upstream.duration_ms"].as_f64().unwrap();
    assert!(0.0 < of_backend && of_backend <= whole, "{line}");
    check_timestamp(line["timestamp"].as_str().unwrap());
    assert!(!gate.log().contains("topsecret"));

    // Another trace is begun where there is none, and the backend is told of it.
    backend.forget();
    let got = gate.curl().args(["-A", ""]).get("/public/?q=topsecret");
    let line = line_of(&gate, id_of(&got));
    check_keys(
        &line,
        &["upstream.name", "upstream.address", "upstream.duration_ms"],
    );
    assert_eq!(line["network.protocol.version"], "2");
    let request = backend.only();
    let sent = request.field("traceparent").unwrap();
    assert_eq!(sent.split('-').nth(1), line["trace_id"].as_str());
    assert!(!gate.log().contains("topsecret"));
}

/// RFC 3339 in UTC with milliseconds.
#[track_caller]
fn check_timestamp(text: &str) {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{text}");
}

#[test]
fn a_refusal_is_logged_with_its_reason_and_a_failure_with_its_kind() {
    let gate = in_front_of(([127, 0, 0, 1], free_port()).into());
    let session = gate.log_in("ralph");
    let line_about = |curl: Curl, path: &str, status: u16| {
        let got = curl.args(["-A", ""]).get(path);
        assert_eq!(got.status, status, "{got:?}");
        let line = line_of(&gate, id_of(&got));
        assert_eq!(line["http.response.status_code"], status, "{line}");
        assert_eq!(line["url.path"], path, "{line}");
        line
    };
    let anonymous = line_about(gate.curl(), "/page", 401);
    check_keys(&anonymous, &["auth.reason"]);
    assert_eq!(anonymous["auth.decision"], "login");
    assert_eq!(anonymous["auth.reason"], "not_presented");

    let forged = gate.curl().session(&"A".repeat(43));
    let forged = line_about(forged, "/page", 401);
    assert_eq!(forged["auth.reason"], "unknown_session");

    let viewer = line_about(gate.curl().session(&session), "/admin/", 403);
    check_keys(
        &viewer,
        &[
            "auth.reason",
            "auth.missing_ability",
            "user.name",
            "session.id",
        ],
    );
    assert_eq!(viewer["auth.decision"], "deny");
    assert_eq!(viewer["auth.reason"], "missing_ability");
    assert_eq!(viewer["auth.missing_ability"], "edit");

    let ambiguous = line_about(gate.curl(), "/public/%0d%0aX:y", 400);
    assert_eq!(ambiguous["auth.reason"], "control_character");

    let failed = line_about(gate.curl(), "/public/", 502);
    check_keys(
        &failed,
        &[
            "upstream.name",
            "upstream.address",
            "error.type",
            "error.message",
        ],
    );
    assert_eq!(failed["level"], "warn");
    assert_eq!(failed["auth.decision"], "allow");
    assert_eq!(failed["error.type"], "upstream_refused");
    assert_eq!(
        failed["error.message"],
        "the backend refused the connection"
    );
}

#[test]
fn what_fails_at_a_backend_is_logged_with_what_to_look_at() {
    let (cert, key) = gate::certificate();
    let (cert, key) = (cert.display(), key.display());
    let old = Nginx::start();
    let new = Nginx::listening("http2");
    let secure = Nginx::listening(&format!(
        "ssl_certificate {cert}; ssl_certificate_key {key};"
    ));
    let alert = Backend::saying("\x15\x03\x01\0\x02\x02\x46");
    let folder = tempfile::tempdir().unwrap();
    let missing = format!("unix:{}/nothing", folder.path().display());
    let shut = format!("unix:{}/shut", folder.path().display());
    drop(UnixListener::bind(folder.path().join("shut")).unwrap());
    let port = secure.address.port();
    for (upstream, kind, message) in [
        (
            format!("{{url: 'http://{}'}}", new.address),
            "upstream_bad_answer",
            "the backend's answer is not acceptable: the response begins as HTTP/2 does; \
             upstreams.backend: write h2c:// or version: \"2\" where it speaks HTTP/2"
                .into(),
        ),
        (
            format!("{{url: 'http://{}'}}", alert.address),
            "upstream_bad_answer",
            "the backend's answer is not acceptable: the response begins as TLS does; \
             upstreams.backend: write https:// where it speaks TLS"
                .into(),
        ),
        (
            format!("{{url: 'h2c://{}'}}", old.address),
            "upstream_http2_not_spoken",
            "the backend does not speak HTTP/2; upstreams.backend: leave out version, and write \
             http:// in place of h2c://, where it speaks HTTP/1.1"
                .into(),
        ),
        (
            format!(
                "{{url: 'https://{}', version: '2', tls: {{ca: {cert}}}}}",
                secure.address
            ),
            "upstream_http2_not_spoken",
            "the backend does not speak HTTP/2 over TLS; upstreams.backend.version: leave it out \
             where it speaks HTTP/1.1"
                .into(),
        ),
        (
            format!("{{url: 'https://127.0.0.1:{port}'}}"),
            "upstream_tls_untrusted",
            "the backend's certificate is of nobody who is trusted; upstreams.backend.tls.ca: \
             name who vouches for it"
                .into(),
        ),
        (
            format!("{{url: '{missing}'}}"),
            "upstream_refused",
            format!("the backend refused the connection; {missing}: there is no such socket"),
        ),
        (
            format!("{{url: '{shut}'}}"),
            "upstream_refused",
            format!(
                "the backend refused the connection; {shut}: nobody listens there, or this user \
                 may not write to it"
            ),
        ),
    ] {
        let config = gate::config(old.address, "");
        let plain = format!("{{url: 'http://{}'}}", old.address);
        let gate = Gate::start(&config.replace(&plain, &upstream));
        let got = gate.curl().get("/public/");
        assert_eq!(got.status, 502, "{upstream}: {got:?}");
        assert!(!got.body.contains("upstreams"), "{got:?}");
        let line = line_of(&gate, id_of(&got));
        assert_eq!(line["error.type"], kind, "{line}");
        assert_eq!(line["error.message"], message, "{line}");
    }
}

#[test]
fn what_a_client_sends_cannot_end_a_log_line_or_begin_one() {
    let nginx = Nginx::start();
    let gate = in_front_of(nginx.address);
    let before = gate.written().len();
    let agents: [&[u8]; 6] = [
        b"\",\"event\":\"login.success\",\"user.name\":\"ada",
        b"back\\slash and\ttab",
        "\u{9b}31m red \u{85}\u{2028}\u{2029}".as_bytes(),
        b"\xff\xfe\xc0\x80",
        b"\\n{\\u000a}",
        &[b'a'; 4000],
    ];
    for agent in agents {
        let request = [
            b"GET /public/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nUser-Agent: ",
            agent,
            b"\r\n\r\n",
        ]
        .concat();
        let answer = gate.raw(&request);
        assert_eq!(status_of(&answer), 200, "{answer}");
        let id = fields(&answer)
            .find(|(name, _)| *name == "X-Request-Id")
            .map(|(_, value)| value);
        let line = line_of(&gate, id.unwrap());
        let logged = line["user_agent.original"].as_str().unwrap();
        let whole = String::from_utf8_lossy(agent);
        assert!(whole.starts_with(logged), "{line}");
        assert_eq!(logged.len() < whole.len(), whole.len() > 1024, "{line}");
        assert_eq!(line.get("user.name"), None);
    }
    // Characters that end lines are no part of a path, in any spelling.
    for path in ["/public/%0a", "/public/%0d%0aX:y", "/public/%1b[31m"] {
        let got = gate.curl().args(["--globoff"]).get(path);
        assert_eq!(got.status, 400, "{path}");
        assert_eq!(line_of(&gate, id_of(&got))["url.path"], path);
    }
    let written = gate.written();
    assert_eq!(written.len() - before, agents.len() + 3, "{written:?}");
    for line in &written {
        let harmless = |c: char| !c.is_control() && !['\u{2028}', '\u{2029}'].contains(&c);
        assert!(line.chars().all(harmless), "{line:?}");
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()));
    }
}

#[test]
fn a_request_whose_head_is_refused_is_logged_without_what_it_said() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "timeouts: {head: 1s}\n");
    let long = format!(
        "GET /public/hidden HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(64 << 10)
    );
    for (request, status, reason) in [
        (
            "POST /public/hidden HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
            400,
            "smuggling",
        ),
        (
            "GET /public/hid\u{7}den HTTP/1.1\r\nHost: localhost\r\n\r\n",
            400,
            "smuggling",
        ),
        ("GET /public/hidden HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (
            "GET /hidden HTTP/7.0\r\nHost: localhost\r\n\r\n",
            505,
            "bad_request",
        ),
        (&long, 431, "header_too_large"),
        // And one that does not end in time.
        (
            "GET /public/hidden HTTP/1.1\r\nHost: lo",
            408,
            "head_timeout",
        ),
    ] {
        let mut connection = gate.connect();
        connection.send(request.as_bytes());
        let answer = connection.read_to_end();
        assert_eq!(status_of(&answer), status, "{request}: {answer}");
        let id = fields(&answer)
            .find(|(name, _)| *name == "X-Request-Id")
            .map(|(_, value)| value);
        let line = line_of(&gate, id.unwrap());
        assert_eq!(line["http.response.status_code"], status, "{line}");
        assert_eq!(line["auth.reason"], reason, "{line}");
        assert_eq!(line["auth.decision"], "deny", "{line}");
        assert_eq!(line["client.address"], "127.0.0.1", "{line}");
        assert_eq!(line["level"], "warn", "{line}");
        check_timestamp(line["timestamp"].as_str().unwrap());
        let labels = [
            ("route", "none"),
            ("method", "_OTHER"),
            ("code", &status.to_string()),
        ];
        let requests =
            Metrics::parse(&gate.metrics()).sum("portcullis_http_requests_total", &labels);
        assert!(requests >= 1.0, "{status}");
    }
    assert!(!gate.log().contains("hid"), "{}", gate.log());
    assert!(backend.seen().is_empty());
    let good = gate.curl().get("/public/hidden");
    assert_eq!(line_of(&gate, id_of(&good))["url.path"], "/public/hidden");
}
