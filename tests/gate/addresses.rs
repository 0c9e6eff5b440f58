//! Where requests come from: who is believed about it, and who is let in by it.

use serde_json::Value;

use crate::harness::backend::{Backend, Recorded};
use crate::harness::client::{Connection, Curl, status_of, tcp};
use crate::harness::gate::{self, Gate, PASSWORD, ROLES_AND_USERS};
use crate::harness::haproxy::Haproxy;
use crate::harness::nginx::Nginx;
use crate::harness::{eventually, free_port};

/// A gate whose first listener speaks https and whose second speaks plain HTTP, both with these keys.
fn with_listeners(backend: &Backend, listener: &str, more: &str) -> Gate {
    let (cert, key) = gate::certificate();
    Gate::start(&format!(
        "listeners:\n\
         - {{address: '127.0.0.1:0', {listener}}}\n\
         - {{address: '127.0.0.1:0', protocol: http, {listener}}}\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
         upstreams: {{backend: {{url: 'http://{}'}}}}\n\
         admin: {{address: '127.0.0.1:0'}}\nthreads: 2\n\
         {ROLES_AND_USERS}{more}",
        cert.display(),
        key.display(),
        backend.address,
    ))
}

const PUBLIC: &str = "routes: [{public: true}]\n";
const TRUSTING: &str =
    "trusted_proxies: [127.0.0.0/8]\nroutes: [{match: /app/, can: view}, {public: true}]\n";

/// The second listener of [`with_listeners`].
fn plain(gate: &Gate) -> std::net::SocketAddr {
    gate.addresses()[1]
}

/// What the backend is told of a request over TLS with these fields.
#[track_caller]
fn told(gate: &Gate, backend: &Backend, fields: &[&str]) -> Recorded {
    backend.forget();
    let mut curl = gate.curl();
    for field in fields {
        curl = curl.header(field);
    }
    let got = curl.get("/x");
    assert_eq!(got.status, 200, "{fields:?} {got:?}");
    backend.only()
}

/// Sends a request in the clear behind these bytes, and gives the status, 0 where the connection is
/// closed.
#[track_caller]
fn behind(gate: &Gate, header: &[u8]) -> u16 {
    let mut connection = Connection::plain(plain(gate));
    connection.send(header);
    connection.send(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    status_of(&connection.read_to_end())
}

fn refused(gate: &Gate, reason: &str, count: f64) {
    gate.await_metric(
        "portcullis_connections_refused_total",
        &[("reason", reason)],
        count,
    );
}

// === X-Forwarded-For ===

#[test]
fn what_a_client_says_of_where_it_comes_from_counts_only_from_a_trusted_proxy() {
    let backend = Backend::start();
    let forged = &[
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 1",
        "X-Forwarded-Prefix: /evil",
        "X-Request-Id: mine",
        "Forwarded: for=203.0.113.9",
    ];
    let gate = with_listeners(&backend, "", PUBLIC);
    let port = gate.port().to_string();
    let request = told(&gate, &backend, forged);
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    assert_eq!(request.field("x-forwarded-port"), Some(&*port));
    assert_eq!(request.field("x-forwarded-prefix"), None);
    assert_ne!(request.field("x-request-id"), Some("mine"));

    let gate = with_listeners(&backend, "", TRUSTING);
    let request = told(&gate, &backend, forged);
    let chain = request.field("x-forwarded-for");
    assert_eq!(chain, Some("203.0.113.9, 127.0.0.1"));
    assert_eq!(request.field("x-real-ip"), Some("203.0.113.9"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert_eq!(request.field("x-forwarded-host"), Some("evil.example"));
    assert_eq!(request.field("x-forwarded-port"), Some("1"));
    assert_eq!(request.field("x-forwarded-prefix"), Some("/evil"));
    assert_eq!(request.field("x-request-id"), Some("mine"));
    assert_eq!(
        request.field("forwarded"),
        Some("for=203.0.113.9;proto=http;host=\"evil.example\", for=127.0.0.1")
    );
    let line = eventually("the access line", || {
        gate.line_where(|line| line["request.id"] == "mine")
    });
    assert_eq!(line["client.address"], "203.0.113.9");
    assert_eq!(line["network.peer.address"], "127.0.0.1");
}

#[test]
fn the_client_is_the_first_from_the_right_that_is_not_trusted() {
    let backend = Backend::start();
    let gate = with_listeners(
        &backend,
        "",
        "trusted_proxies: [127.0.0.1, '::ffff:10.0.0.0/104', '2001:db8::/32']\nroutes: [{public: true}]\n",
    );
    for (fields, client, chain) in [
        (&[][..], "127.0.0.1", "127.0.0.1"),
        (&["1.2.3.4"], "1.2.3.4", "1.2.3.4, 127.0.0.1"),
        // What stands further to the left is anybody's word, and is not passed on.
        (&["6.6.6.6, 1.2.3.4"], "1.2.3.4", "1.2.3.4, 127.0.0.1"),
        (&["6.6.6.6", "1.2.3.4"], "1.2.3.4", "1.2.3.4, 127.0.0.1"),
        (
            &["1.2.3.4, 10.1.1.1"],
            "1.2.3.4",
            "1.2.3.4, 10.1.1.1, 127.0.0.1",
        ),
        (
            &["1.2.3.4, 2001:db8::1"],
            "1.2.3.4",
            "1.2.3.4, 2001:db8::1, 127.0.0.1",
        ),
        // All of them trusted: the last.
        (
            &["10.2.2.2, 10.1.1.1"],
            "10.2.2.2",
            "10.2.2.2, 10.1.1.1, 127.0.0.1",
        ),
        // With ports, in brackets, and IPv4 within IPv6.
        (&["1.2.3.4:5678"], "1.2.3.4", "1.2.3.4, 127.0.0.1"),
        (
            &["[2001:db9::1]:443"],
            "2001:db9::1",
            "2001:db9::1, 127.0.0.1",
        ),
        (&["[2001:db9::1]"], "2001:db9::1", "2001:db9::1, 127.0.0.1"),
        (&["::ffff:1.2.3.4"], "1.2.3.4", "1.2.3.4, 127.0.0.1"),
        // What is no address ends it.
        (&["1.2.3.4, unknown"], "127.0.0.1", "127.0.0.1"),
        (
            &["1.2.3.4, unknown, 10.1.1.1"],
            "10.1.1.1",
            "10.1.1.1, 127.0.0.1",
        ),
        (&["1.2.3.4, [1.2.3.4]"], "127.0.0.1", "127.0.0.1"),
        (&["1.2.3.4, 1.2.3.4.5"], "127.0.0.1", "127.0.0.1"),
        (&["1.2.3.4\\, \"x\""], "127.0.0.1", "127.0.0.1"),
    ] {
        let fields: Vec<_> = fields
            .iter()
            .map(|it| format!("X-Forwarded-For: {it}"))
            .collect();
        let fields: Vec<_> = fields.iter().map(String::as_str).collect();
        let request = told(&gate, &backend, &fields);
        let told = (request.field("x-real-ip"), request.field("x-forwarded-for"));
        assert_eq!(told, (Some(client), Some(chain)), "{fields:?}");
    }
    // However long the list is, nobody looks at all of it.
    let long = format!("X-Forwarded-For: 1.2.3.4{}", ", 10.0.0.1".repeat(1000));
    let request = told(&gate, &backend, &[&long]);
    assert_eq!(request.field("x-real-ip"), Some("10.0.0.1"));
    assert!(request.field("x-forwarded-for").unwrap().len() < 1000);
}

#[test]
fn requests_of_different_clients_on_one_connection_are_told_apart() {
    let backend = Backend::start();
    let gate = with_listeners(&backend, "", TRUSTING);
    let mut connection = gate.connect();
    for client in ["1.1.1.1", "2.2.2.2", "1.1.1.1"] {
        backend.forget();
        connection.send(
            format!("GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n").as_bytes(),
        );
        assert_eq!(status_of(&connection.read_answer()), 200);
        assert_eq!(backend.only().field("x-real-ip"), Some(client));
    }
    backend.forget();
    let two = ["-H", "X-Forwarded-For: 3.3.3.3", "--http2"];
    assert_eq!(gate.curl().args(two).get("/x").status, 200);
    assert_eq!(backend.only().field("x-real-ip"), Some("3.3.3.3"));
}

#[test]
fn guesses_from_behind_a_trusted_proxy_lock_out_the_client_and_not_the_proxy() {
    let backend = Backend::start();
    let gate = with_listeners(&backend, "", TRUSTING);
    let log_in = |client: &str, password: &str| {
        let body = format!(r#"{{"username":"ralph","password":"{password}"}}"#);
        let from = format!("X-Forwarded-For: {client}");
        let json = ["-H", "Content-Type: application/json", "-d", &body];
        gate.curl()
            .header(&from)
            .args(json)
            .get("/auth/login")
            .status
    };
    eventually("the one who guesses is locked out", || {
        (log_in("1.1.1.1", "wrong") == 429).then_some(())
    });
    assert_eq!(log_in("1.1.1.1", PASSWORD), 429);
    assert_eq!(log_in("2.2.2.2", PASSWORD), 200);
}

#[test]
fn a_client_that_reached_the_proxy_in_the_clear_has_no_session() {
    let backend = Backend::start();
    let gate = with_listeners(&backend, "", TRUSTING);
    let session = gate.log_in("ralph");
    let ask = |proto: &str| {
        let proto = format!("X-Forwarded-Proto: {proto}");
        gate.curl()
            .session(&session)
            .header(&proto)
            .get("/app/")
            .status
    };
    for proto in ["https", "wss", "ftp", "https, https"] {
        assert_eq!(ask(proto), 200, "{proto}");
    }
    for proto in ["http", "ws", "https, http", "http, https"] {
        assert_eq!(ask(proto), 401, "{proto}");
    }
    // And the word of a proxy does not make plain HTTP good enough for one.
    let over_http = Curl::new(plain(&gate).port()).session(&session);
    let got = over_http
        .header("X-Forwarded-Proto: https")
        .fetch(&format!("http://{}/app/", plain(&gate)));
    assert_eq!(got.status, 401);
}

#[test]
fn a_certificate_is_never_taken_from_fields() {
    let backend = Backend::start();
    let gate = with_listeners(&backend, "", TRUSTING);
    let request = told(
        &gate,
        &backend,
        &[
            "X-Forwarded-Client-Cert: Hash=00",
            "X-Forwarded-User: ada",
            "ssl-client-verify: SUCCESS",
        ],
    );
    for name in [
        "x-forwarded-client-cert",
        "x-forwarded-user",
        "ssl-client-verify",
    ] {
        assert_eq!(request.field(name), None, "{name}");
    }
}

#[test]
fn a_real_proxy_brings_the_address_of_its_client() {
    let backend = Backend::start();
    let gate = with_listeners(&backend, "", TRUSTING);
    let rules = "option forwardfor\n  http-request set-header X-Forwarded-Proto https";
    let haproxy = Haproxy::http(plain(&gate), rules);
    let got = Curl::new(haproxy.address.port())
        .args(["--interface", "127.0.0.9", "-H", "X-Forwarded-For: 6.6.6.6"])
        .fetch(&format!("http://{}/x", haproxy.address));
    assert_eq!(got.status, 200);
    // HAProxy adds a line of its own behind the one that its client has made up; the address it adds
    // is trusted itself here, so the next one counts.
    assert_eq!(
        backend.only().field("x-forwarded-for"),
        Some("6.6.6.6, 127.0.0.9, 127.0.0.1")
    );
}

// === PROXY protocol ===

const REQUIRED: &str = "proxy_protocol: required";

#[test]
fn a_real_proxy_announces_its_clients_in_either_version() {
    let backend = Backend::start();
    let gate = with_listeners(
        &backend,
        REQUIRED,
        "trusted_proxies: [127.0.0.1]\nroutes: [{public: true}]\n",
    );
    for options in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
    ] {
        backend.forget();
        let over_tls = Haproxy::tcp(gate.address, options);
        let got = Curl::new(over_tls.address.port())
            .args(["--interface", "127.0.0.9"])
            .get("/x");
        assert_eq!(got.status, 200, "{options}: {got:?}");
        let request = backend.only();
        assert_eq!(
            request.field("x-forwarded-for"),
            Some("127.0.0.9"),
            "{options}"
        );
        let port = over_tls.address.port().to_string();
        assert_eq!(request.field("x-forwarded-port"), Some(&*port), "{options}");
        let in_the_clear = Haproxy::tcp(plain(&gate), options);
        backend.forget();
        let got = Curl::new(in_the_clear.address.port())
            .args(["--interface", "127.0.0.8"])
            .fetch(&format!("http://{}/x", in_the_clear.address));
        assert_eq!(got.status, 200, "{options}: {got:?}");
        assert_eq!(
            backend.only().field("x-real-ip"),
            Some("127.0.0.8"),
            "{options}"
        );
    }
    let line = eventually("the access line", || {
        gate.line_where(|line| line["client.address"] == "127.0.0.9")
    });
    assert_eq!(line["network.peer.address"], "127.0.0.1");
}

#[test]
fn without_a_header_where_one_is_required_nothing_is_served() {
    let backend = Backend::start();
    let gate = with_listeners(&backend, REQUIRED, TRUSTING);
    assert_eq!(behind(&gate, b"PROXY TCP4 1.2.3.4 5.6.7.8 1 80\r\n"), 200);
    assert_eq!(backend.only().field("x-real-ip"), Some("1.2.3.4"));
    assert_eq!(behind(&gate, b"PROXY UNKNOWN\r\n"), 200);
    for header in [
        &b""[..],
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 80\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
    ] {
        assert_eq!(behind(&gate, header), 0, "{header:?}");
    }
    refused(&gate, "proxy_header", 4.0);
    assert_eq!(backend.seen().len(), 2);
    // A second header is no header.
    assert_eq!(
        behind(
            &gate,
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 80\r\nPROXY TCP4 9.9.9.9 5.6.7.8 1 80\r\n"
        ),
        400
    );
    let line = gate.line("connection.refused").unwrap();
    assert_eq!(line["error.type"], "proxy_header");
}

#[test]
fn a_header_is_only_taken_from_a_trusted_proxy_and_where_it_is_asked_for() {
    let backend = Backend::start();
    let header = b"PROXY TCP4 1.2.3.4 5.6.7.8 1 80\r\n";
    let gate = with_listeners(
        &backend,
        REQUIRED,
        "trusted_proxies: [10.0.0.0/8]\nroutes: [{public: true}]\n",
    );
    assert_eq!(behind(&gate, header), 0);
    refused(&gate, "untrusted_proxy", 1.0);
    let line = eventually("it is told", || gate.line("connection.refused"));
    assert_eq!(line["auth.hint"], "trusted_proxies", "{line}");
    let gate = with_listeners(&backend, "", TRUSTING);
    assert_eq!(behind(&gate, header), 400);
    assert_eq!(backend.seen().len(), 0);
}

#[test]
fn a_header_that_does_not_come_is_not_waited_for_for_ever() {
    let backend = Backend::start();
    let gate = with_listeners(
        &backend,
        REQUIRED,
        &format!("{TRUSTING}timeouts: {{handshake: 200ms}}\n"),
    );
    let mut slow = Connection::plain(plain(&gate));
    slow.send(b"PROXY TCP4");
    assert_eq!(slow.read_to_end(), "");
    refused(&gate, "proxy_header_timeout", 1.0);
    // One that comes in pieces comes all the same.
    let mut pieces = Connection::plain(plain(&gate));
    for byte in b"PROXY TCP4 1.2.3.4 5.6.7.8 1 80\r\nGET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" {
        pieces.send(&[*byte]);
    }
    assert_eq!(status_of(&pieces.read_to_end()), 200);
    // And a proxy that only looks whether we are there is nobody's fault.
    drop(tcp(plain(&gate)));
    assert_eq!(behind(&gate, b"PROXY TCP4 1.2.3.4 5.6.7.8 1 80\r\n"), 200);
    refused(&gate, "proxy_header", 0.0);
}

/// A gate in front of a real nginx that wants to be told of clients by the PROXY protocol, with these
/// keys for it; what it says of one client and then of another.
#[track_caller]
fn told_by_proxy_protocol(url: &str, keys: &str) -> [String; 2] {
    let gate = Gate::start(&format!(
        "trusted_proxies: [127.0.0.1]\n\
         listeners: [{{address: '127.0.0.1:0', protocol: http}}]\n\
         upstreams: {{nginx: {{url: '{url}', {keys}}}}}\nroutes: [{{public: true}}]\n"
    ));
    let mut connection = Connection::plain(gate.address);
    ["1.1.1.1", "2001:db8::2"].map(|client| {
        let request = format!("GET /who HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n");
        connection.send(request.as_bytes());
        let answer = connection.read_answer();
        assert_eq!(status_of(&answer), 200, "{answer}");
        answer.rsplit("\r\n").next().unwrap().to_owned()
    })
}

#[test]
fn a_backend_is_told_of_each_client_by_its_connection_and_none_is_shared() {
    let (plain, secure, multiplexed) = (free_port(), free_port(), free_port());
    let (cert, key) = gate::certificate();
    // nginx takes the header on each of its connections, and closes those without.
    let _nginx = Nginx::listening(&format!(
        "listen 127.0.0.1:{plain} proxy_protocol; listen 127.0.0.1:{secure} ssl proxy_protocol;\n\
         listen 127.0.0.1:{multiplexed} http2 proxy_protocol;\n\
         ssl_certificate {}; ssl_certificate_key {};\n\
         location = /who {{ return 200 '$proxy_protocol_addr'; }}",
        cert.display(),
        key.display()
    ));
    for version in ["v1", "v2"] {
        let keys = format!("proxy_protocol: {version}");
        let told = told_by_proxy_protocol(&format!("http://127.0.0.1:{plain}"), &keys);
        assert_eq!(told, ["1.1.1.1", "2001:db8::2"], "{version}");
        let told = told_by_proxy_protocol(&format!("h2c://127.0.0.1:{multiplexed}"), &keys);
        assert_eq!(told, ["1.1.1.1", "2001:db8::2"], "{version} before HTTP/2");
        let keys = format!("{keys}, tls: {{ca: {}}}", cert.display());
        let told = told_by_proxy_protocol(&format!("https://localhost:{secure}"), &keys);
        assert_eq!(told, ["1.1.1.1", "2001:db8::2"], "{version} before TLS");
    }
}

// === Who is let in ===

#[test]
fn a_listener_closes_connections_of_those_that_it_is_not_for() {
    let backend = Backend::start();
    let gate = with_listeners(&backend, "allow: [127.0.0.0/8], deny: [127.0.0.7]", PUBLIC);
    let from = |address: &str| gate.curl().args(["--interface", address]).get("/x");
    assert_eq!(from("127.0.0.6").status, 200);
    assert_eq!(from("127.0.0.7").status, 0);
    assert_eq!(from("127.0.0.7").status, 0);
    refused(&gate, "address_not_allowed", 2.0);
    let lines = gate.count_lines(|line| line["event"] == "connection.refused");
    assert_eq!(lines, 1, "one line stands for many");
    let line = gate.line("connection.refused").unwrap();
    assert_eq!(line["client.address"], "127.0.0.7");
}

#[test]
fn a_listener_looks_at_the_client_that_the_proxy_announces() {
    let backend = Backend::start();
    let gate = with_listeners(
        &backend,
        &format!("{REQUIRED}, deny: [6.6.6.0/24]"),
        TRUSTING,
    );
    assert_eq!(behind(&gate, b"PROXY TCP4 6.6.6.6 5.6.7.8 1 80\r\n"), 0);
    assert_eq!(behind(&gate, b"PROXY TCP4 6.6.7.6 5.6.7.8 1 80\r\n"), 200);
    refused(&gate, "address_not_allowed", 1.0);
}

#[test]
fn a_route_is_for_those_who_come_from_where_it_says_whoever_they_are() {
    let backend = Backend::start();
    let gate = with_listeners(
        &backend,
        "",
        "trusted_proxies: [127.0.0.1]\n\
         routes:\n\
         - {match: /metrics, public: true, addresses: {allow: [10.0.0.0/8], deny: [10.6.0.0/16]}}\n\
         - {match: /admin/, can: edit, addresses: {allow: [10.0.0.0/8]}}\n\
         - {match: /here/, public: true, addresses: {allow: [127.0.0.1]}}\n\
         - {match: /there/, public: true, addresses: {deny: [10.0.0.0/8]}}\n\
         - {public: true}\n",
    );
    let from = |client: &str, path: &str| {
        let client = format!("X-Forwarded-For: {client}");
        gate.curl().header(&client).get(path).status
    };
    assert_eq!(from("10.1.1.1", "/metrics"), 200);
    assert_eq!(from("10.6.1.1", "/metrics"), 403);
    assert_eq!(from("1.1.1.1", "/metrics"), 403);
    assert_eq!(from("1.1.1.1", "/other"), 200);
    // The proxy is from here, and whoever it does not name is not.
    assert_eq!(gate.curl().get("/here/").status, 200);
    assert_eq!(from("8.8.8.8", "/there/"), 200);
    for unknown in ["unknown", "8.8.8.8, garbage", "fe80::1%eth0", "_hidden"] {
        assert_eq!(from(unknown, "/here/"), 403, "{unknown}");
        assert_eq!(from(unknown, "/there/"), 403, "{unknown}");
        assert_eq!(from(unknown, "/other"), 200, "{unknown}");
    }
    // Spelled as a backend may read it: it is the narrower route's all the same.
    assert_eq!(from("1.1.1.1", "/METRICS"), 403);
    // Nobody is asked to log in who would be refused after it.
    assert_eq!(from("1.1.1.1", "/admin/"), 403);
    assert_eq!(from("10.1.1.1", "/admin/"), 401);
    let session = gate.log_in("ada");
    let admin = |client: &str| {
        let client = format!("X-Forwarded-For: {client}");
        gate.curl()
            .session(&session)
            .header(&client)
            .get("/admin/")
            .status
    };
    assert_eq!((admin("10.1.1.1"), admin("1.1.1.1")), (200, 403));
    let denied = |line: &Value| line["auth.reason"] == "address_not_allowed";
    eventually("the access line", || gate.line_where(denied));
}

#[test]
fn one_client_has_so_many_connections_and_another_has_its_own() {
    let backend = Backend::start();
    let gate = with_listeners(&backend, "max_connections_per_address: 2", PUBLIC);
    let request = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut held: Vec<_> = (0..2).map(|_| Connection::plain(plain(&gate))).collect();
    for connection in &mut held {
        connection.send(request);
        assert_eq!(status_of(&connection.read_answer()), 200);
    }
    let mut one_more = Connection::plain(plain(&gate));
    one_more.send(request);
    assert_eq!(one_more.read_to_end(), "");
    refused(&gate, "too_many_of_address", 1.0);
    let elsewhere = Curl::new(plain(&gate).port())
        .args(["--interface", "127.0.0.9"])
        .fetch(&format!("http://{}/x", plain(&gate)));
    assert_eq!(elsewhere.status, 200);
    held.pop();
    eventually("there is room again", || {
        let mut again = Connection::plain(plain(&gate));
        again.send(request);
        let answer = String::from_utf8(again.read_some()).unwrap();
        (status_of(&answer) == 200).then_some(())
    });
}
