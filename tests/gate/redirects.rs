//! What comes in the clear is sent to https, or closed, and never served by accident; and answers
//! over TLS say so for the future where they should.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::harness::backend::Backend;
use crate::harness::client::{Connection, Curl, Got, status_of, tcp, value};
use crate::harness::gate::{self, Gate, ROLES_AND_USERS, ROUTES, in_front_of};
use crate::harness::process::finished;
use crate::harness::{eventually, free_port};

/// A gate with these listeners and more of the section `tls`, in front of `backend`.
fn gate_with(backend: SocketAddr, listeners: &str, tls: &str, more: &str) -> Gate {
    let (cert, key) = gate::certificate();
    Gate::start(&format!(
        "listeners: [{listeners}]\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]{tls}}}\n\
         upstreams: {{backend: {{url: 'http://{backend}'}}}}\n\
         admin: {{address: '127.0.0.1:0'}}\n\
         threads: 2\n{ROUTES}{ROLES_AND_USERS}{more}",
        cert.display(),
        key.display(),
    ))
}

/// What is answered in the clear to these bytes, until the gate closes.
#[track_caller]
fn plain(address: SocketAddr, bytes: &[u8]) -> String {
    let mut connection = Connection::plain(address);
    connection.send(bytes);
    connection.read_to_end()
}

/// curl in the clear.
#[track_caller]
fn curl_plain(port: u16, args: &[&str], path: &str) -> Got {
    let curl = Curl::new(port).args(args.iter().copied());
    curl.fetch(&format!("http://localhost:{port}{path}"))
}

#[track_caller]
fn is_redirected(answer: &str, status: u16, location: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    assert_eq!(status_of(answer), status, "{answer}");
    assert_eq!(value(head, "location"), Some(location), "{answer}");
    assert_eq!(value(head, "connection"), Some("close"), "{answer}");
    assert_eq!(value(head, "content-length"), Some("0"), "{answer}");
    assert_eq!(value(head, "cache-control"), Some("no-store"), "{answer}");
    assert_eq!(
        value(head, "referrer-policy"),
        Some("same-origin"),
        "{answer}"
    );
    assert_eq!(value(head, "x-request-id").unwrap().len(), 32, "{answer}");
    assert_eq!(value(head, "strict-transport-security"), None, "{answer}");
    assert_eq!(body, "");
}

#[track_caller]
fn is_refused(answer: &str, status: u16) {
    assert_eq!(status_of(answer), status, "{answer}");
    assert!(!answer.to_lowercase().contains("location:"), "{answer}");
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
}

// --- Plain HTTP on the TLS port ---

#[test]
fn plain_http_on_the_tls_port_is_sent_to_https_whatever_the_method() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let port = gate.port();
    for (args, method) in [
        (&[][..], "GET"),
        (&["-I"], "HEAD"),
        (&["-X", "PUT", "-d", "x"], "PUT"),
        (&["-d", "x"], "POST"),
        (&["-X", "OPTIONS"], "OPTIONS"),
        (&["-X", "BREW"], "BREW"),
    ] {
        let path = "/public/a%20b?c=%2f&d=..//";
        let got = curl_plain(port, args, path);
        assert_eq!(got.exit, 0, "{method}: {got:?}");
        let answer = format!("{}\r\n\r\n{}", got.head, got.body);
        is_redirected(&answer, 307, &format!("https://localhost:{port}{path}"));
    }
    // What TLS itself would answer, it still does.
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
    assert_eq!(gate.curl().get("/public/").status, 200);
}

#[test]
fn the_location_is_the_authority_and_target_that_the_client_wrote() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    for (host, target, location) in [
        ("device.local", "/", "https://device.local/"),
        ("Device:443", "/x", "https://Device:443/x"),
        ("[::1]:8443", "/x?y", "https://[::1]:8443/x?y"),
        ("evil.example", "/x", "https://evil.example/x"),
        ("h:1", "http://H:1/x?y", "https://h:1/x?y"),
        ("h", "http://h?y", "https://h/?y"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        is_redirected(&plain(gate.address, request.as_bytes()), 307, location);
    }
    let old = b"GET /x HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n";
    is_redirected(&plain(gate.address, old), 307, "https://h/x");
}

#[test]
fn what_is_no_sound_request_is_refused_and_leads_nowhere() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a%0d%0aX: y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\rLocation: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: b\u{fc}ro\r\n\r\n", 400),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://c@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET //b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        ("GET /\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("HELO there\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n",
            400,
        ),
    ] {
        let answer = plain(gate.address, request.as_bytes());
        assert!(!answer.is_empty(), "{request:?}");
        is_refused(&answer, status);
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(40_000));
    is_refused(&plain(gate.address, long.as_bytes()), 414);
    let no_host = plain(gate.address, b"GET / HTTP/1.0\r\n\r\n");
    assert!(
        no_host.contains("Please retry this request using HTTPS"),
        "{no_host}"
    );
    let sound = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    is_redirected(&plain(gate.address, sound), 307, "https://a/");
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
}

#[test]
fn one_request_is_answered_and_what_follows_it_is_not_read_as_another() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let two = "GET /public/ HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2);
    let answer = plain(gate.address, two.as_bytes());
    is_redirected(&answer, 307, "https://a/public/");
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
}

#[test]
fn a_streamed_upload_asks_first_and_then_goes_to_where_it_was_sent() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let head = curl_plain(gate.port(), &["-I"], "/public/file");
    assert_eq!(head.status, 307, "{head:?}");
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
    let location = head.field("location").unwrap();
    let got = gate
        .curl()
        .args([
            "-X",
            "PUT",
            "-H",
            "Transfer-Encoding: chunked",
            "-d",
            "body",
        ])
        .fetch(location);
    assert_eq!(got.status, 200, "{got:?}");
    let seen = backend.only();
    assert_eq!(
        (seen.line(), &*seen.body),
        ("PUT /public/file HTTP/1.1", &b"body"[..])
    );
}

#[test]
fn an_upload_that_follows_redirects_arrives_whole() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    // curl asks with Expect from 1 MiB on.
    for length in [5, 100_000, 3 << 20] {
        let body: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        std::fs::write(path, &body).unwrap();
        for args in [
            &["-T", path][..],
            &["-T", path, "-H", "Expect:"],
            &["-T", path, "-H", "Expect: 100-continue"],
            &["-T", path, "-H", "Transfer-Encoding: chunked"],
        ] {
            backend.forget();
            let args = [
                args,
                &["-L", "-o", "/dev/null", "-w", "HTTP/x %{http_code}\r\n\r\n"],
            ];
            let got = curl_plain(gate.port(), &args.concat(), "/public/file");
            assert_eq!((got.exit, got.status), (0, 200), "{args:?}: {got:?}");
            let seen = backend.only();
            assert_eq!(seen.line(), "PUT /public/file HTTP/1.1");
            assert!(seen.body == body, "{args:?}: {} bytes", seen.body.len());
        }
    }
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_not_asked() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let request = "PUT /public/file HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\
                   Expect: 100-continue\r\n\r\n";
    let mut connection = Connection::plain(gate.address);
    connection.send(request.as_bytes());
    let answer = connection.read_to_end();
    is_redirected(&answer, 307, "https://a/public/file");
}

#[test]
fn a_stream_that_cannot_be_sent_twice_follows_where_its_client_waited() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let mut curl = Command::new("curl");
    curl.args(["-sk", "-L", "--http1.1", "--max-time", "60", "-T", "-"])
        .args(["-H", "Expect: 100-continue", "--expect100-timeout", "60"])
        .arg(format!("http://localhost:{}/public/file", gate.port()));
    let done = finished(curl, "a body that comes once");
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.out, "PUT /public/file HTTP/1.1");
    assert_eq!(backend.only().body, b"a body that comes once");
}

#[test]
fn a_client_that_is_still_sending_gets_its_answer_whole() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    for framing in ["Content-Length: 900000", "Transfer-Encoding: chunked"] {
        let head = format!("PUT /public/file HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
        let mut connection = Connection::plain(gate.address);
        connection.send(head.as_bytes());
        // It is answered by now, and goes on for a while all the same.
        for _ in 0..50 {
            connection.send(&[b'1'; 10_000]);
            std::thread::sleep(Duration::from_millis(2));
        }
        is_redirected(&connection.read_to_end(), 307, "https://a/public/file");
    }
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
}

#[test]
fn a_client_that_never_ends_its_body_is_let_go() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let head = b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    // One that sends as fast as it can.
    let mut flood = tcp(gate.address);
    flood.write_all(head).unwrap();
    let piece = [b'1'; 64 << 10];
    let sent = (0..1000).take_while(|_| flood.write_all(&piece).is_ok());
    let sent = sent.count();
    assert!(sent < 1000, "{sent} pieces were taken");
    // And one that sends nothing more.
    let mut silent = Connection::plain(gate.address);
    silent.send(head);
    is_redirected(&silent.read_to_end(), 307, "https://a/x");
    gate.await_metric("portcullis_connections_active", &[], 0.0);
}

// --- The first byte ---

/// A relay that passes on what clients send a byte at a time.
fn a_byte_at_a_time(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut gate = tcp(to);
            let (mut back, mut out) = (gate.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                drop(std::io::copy(&mut back, &mut out));
                drop(out.shutdown(std::net::Shutdown::Both));
            });
            std::thread::spawn(move || {
                for byte in BufReader::new(client).bytes().map_while(Result::ok) {
                    if gate.write_all(&[byte]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn tls_and_plain_http_are_told_apart_when_they_come_a_byte_at_a_time() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let relay = a_byte_at_a_time(gate.address);
    for args in [&["--http1.1"][..], &["--http2"], &["--tls-max", "1.2"]] {
        let curl = Curl::new(relay.port()).args(args.iter().copied());
        let got = curl.get("/public/");
        assert_eq!((got.exit, got.status), (0, 200), "{args:?}: {got:?}");
    }
    let got = curl_plain(relay.port(), &["-d", "some body"], "/public/");
    let location = format!("https://localhost:{}/public/", relay.port());
    assert_eq!(
        (got.status, got.field("location")),
        (307, Some(&*location)),
        "{got:?}"
    );
}

#[test]
fn what_is_neither_tls_nor_http_is_closed_and_counted() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let failed = |reason, count| {
        let labels = [("listener", "127.0.0.1:0"), ("reason", reason)];
        gate.await_metric("portcullis_tls_handshake_errors_total", &labels, count);
    };
    failed("not_tls", 0.0);
    let garbage: [&[u8]; 8] = [
        // An alert, and application data, without a handshake.
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x17\x03\x03\x00\x02ab",
        // SSLv2, MQTT, the binary PROXY protocol.
        b"\x80\x2e\x01\x00\x02",
        b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"\r\n",
        b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\0",
    ];
    for (at, bytes) in garbage.into_iter().enumerate() {
        assert_eq!(plain(gate.address, bytes), "", "{bytes:?}");
        failed("not_tls", at as f64 + 1.0);
    }
    let line = gate.line_where(|line| line["error.type"] == "not_tls");
    assert_eq!(line.unwrap()["event"], "tls.handshake_error");
    // A first byte of TLS with garbage behind it is for TLS to refuse.
    let answer = plain(gate.address, b"\x16GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
    drop(tcp(gate.address));
    failed("eof", 1.0);
    failed("plain_http", 0.0);
    assert_eq!(gate.curl().get("/public/").status, 200);
}

#[test]
fn plain_http_is_closed_where_it_is_to_be_rejected() {
    let backend = Backend::start();
    let listener = "{address: '127.0.0.1:0', plaintext: reject}";
    let gate = gate_with(backend.address, listener, "", "");
    let labels = [("listener", "127.0.0.1:0"), ("reason", "plain_http")];
    let counted = |count| {
        gate.await_metric("portcullis_tls_handshake_errors_total", &labels, count);
    };
    counted(0.0);
    let request = b"GET /public/ HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(plain(gate.address, request), "");
    counted(1.0);
    // Nothing of it is read: its first letter is enough.
    assert_eq!(plain(gate.address, b"P"), "");
    counted(2.0);
    let line = gate.line_where(|line| line["error.type"] == "plain_http");
    let line = line.unwrap();
    assert_eq!(line["event"], "tls.handshake_error");
    assert_eq!(line["client.address"], "127.0.0.1");
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
    assert_eq!(gate.curl().get("/public/").status, 200);
}

#[test]
fn a_slow_client_is_cut_off_in_the_clear_as_over_tls() {
    let backend = Backend::start();
    let limits = "timeouts: {handshake: 500ms, head: 500ms}\n";
    let gate = gate::with(backend.address, limits);
    // Says nothing, and begins a handshake without going on.
    for bytes in [&b""[..], b"\x16\x03"] {
        assert_eq!(plain(gate.address, bytes), "");
    }
    let labels = [("reason", "timeout")];
    gate.await_metric("portcullis_tls_handshake_errors_total", &labels, 2.0);
    // Begins a request.
    is_refused(&plain(gate.address, b"GET / HT"), 408);
    // Sends one a byte at a time, each in time and all of it not.
    let mut slow = Connection::plain(gate.address);
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" {
        slow.send(&[*byte]);
        std::thread::sleep(Duration::from_millis(50));
    }
    is_refused(&slow.read_to_end(), 408);
    let labels = [("reason", "head_timeout")];
    gate.await_metric("portcullis_http_requests_rejected_total", &labels, 2.0);
    gate.await_metric("portcullis_connections_active", &[], 0.0);
    // One that is in time.
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    is_redirected(&plain(gate.address, request), 307, "https://a/");
}

// --- What is written down ---

#[test]
fn a_redirect_is_logged_and_counted_and_what_came_in_the_clear_is_not_used() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let session = gate.log_in("ralph");
    let cookie = format!("Cookie: __Host-portcullis={session}");
    let authorization = "Authorization: Basic c2VjcmV0OnNlY3JldA==";
    let args = ["-H", &cookie, "-H", authorization, "-A", "the-agent"];
    let got = curl_plain(gate.port(), &args, "/private?token=hidden");
    assert_eq!(got.status, 307, "{got:?}");
    let id = got.field("x-request-id").unwrap();
    let line = eventually("the redirect is logged", || {
        gate.line_where(|line| line["request.id"] == id)
    });
    for (key, expected) in [
        ("event", "access"),
        ("http.route", "none"),
        ("http.request.method", "GET"),
        ("url.path", "/private"),
        ("auth.decision", "redirect"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "the-agent"),
    ] {
        assert_eq!(line[key], expected, "{key}: {line}");
    }
    assert_eq!(line["http.response.status_code"], 307);
    for absent in [
        "tls.protocol.version",
        "user.name",
        "session.id",
        "auth.reason",
    ] {
        assert_eq!(line.get(absent), None, "{line}");
    }
    let log = gate.log();
    for secret in [&session, "c2VjcmV0", "hidden"] {
        assert!(!log.contains(secret), "{secret}");
    }

    is_refused(&plain(gate.address, b"GET / HTTP/1.0\r\n\r\n"), 400);
    let answered = |code, count| {
        let labels = [
            ("listener", "127.0.0.1:0"),
            ("route", "none"),
            ("method", "GET"),
            ("code", code),
        ];
        gate.await_metric("portcullis_http_requests_total", &labels, count);
    };
    answered("307", 1.0);
    answered("400", 1.0);
    let rejected = [("reason", "bad_request")];
    gate.await_metric("portcullis_http_requests_rejected_total", &rejected, 1.0);
    gate.await_metric("portcullis_tls_handshake_errors_total", &[], 0.0);
    let decision = [("decision", "redirect"), ("route", "none")];
    gate.await_metric("portcullis_auth_decisions_total", &decision, 1.0);
    let line = gate.line_where(|line| line["auth.reason"] == "no_host");
    assert_eq!(line.unwrap()["http.response.status_code"], 400);
    // The same over TLS is served.
    let over_tls = gate.curl().session(&session).get("/private?token=hidden");
    assert_eq!(over_tls.status, 200);
}

// --- A listener that redirects all ---

#[test]
fn an_http_listener_sends_all_to_the_https_listener() {
    let backend = Backend::start();
    let https = free_port();
    let listeners = format!(
        "{{address: '127.0.0.1:0', protocol: http, redirect: https}}, \
         {{address: '127.0.0.1:{https}'}}"
    );
    let gate = gate_with(backend.address, &listeners, "", "");
    let got = curl_plain(gate.port(), &["-I"], "/public/x?y");
    let location = format!("https://localhost:{https}/public/x?y");
    assert_eq!(
        (got.status, got.field("location")),
        (307, Some(&*location)),
        "{got:?}"
    );
    for (host, name) in [
        ("device", "device"),
        ("device:80", "device"),
        ("[2001:db8::7]", "[2001:db8::7]"),
        ("[2001:db8::7]:8080", "[2001:db8::7]"),
    ] {
        let request = format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let location = format!("https://{name}:{https}/x");
        is_redirected(&plain(gate.address, request.as_bytes()), 307, &location);
    }
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n",
    ] {
        is_refused(&plain(gate.address, request.as_bytes()), 400);
    }
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
    let followed = curl_plain(gate.port(), &["-L", "-X", "PUT", "-d", "body"], "/public/x");
    assert!(
        followed.body.ends_with("PUT /public/x HTTP/1.1"),
        "{followed:?}"
    );
    assert_eq!(backend.only().body, b"body");
}

/// A listener that redirects to a port outside, but for what Let's Encrypt asks for.
const WITH_EXCEPTION: &str = "{address: '127.0.0.1:0', protocol: http, redirect: \
    {status: 308, port: 443, except: [/.well-known/acme-challenge/, /admin/, /public/open]}}";

#[test]
fn excepted_paths_go_through_the_gate_and_all_others_away() {
    let backend = Backend::start();
    let gate = Gate::start(&format!(
        "listeners: [{WITH_EXCEPTION}]\n\
         upstreams: {{backend: {{url: 'http://{}'}}}}\n\
         routes:\n\
         - {{match: /.well-known/acme-challenge/, public: true}}\n\
         - {{match: /public/, public: true}}\n\
         - {{can: view}}\n{ROLES_AND_USERS}",
        backend.address,
    ));
    let ask = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a:80\r\nConnection: close\r\n\r\n");
        plain(gate.address, request.as_bytes())
    };
    for path in [
        "/.well-known/acme-challenge/token",
        "/%2Ewell-known/acme-challenge/token",
        "/public/open",
    ] {
        let answer = ask(path);
        assert_eq!(status_of(&answer), 200, "{path}: {answer}");
        assert_eq!(backend.only().path(), path);
        backend.forget();
    }
    // Excepted from the redirect is not excepted from the gate.
    assert_eq!(status_of(&ask("/admin/")), 401);
    for path in [
        "/",
        "/.well-known/",
        "/.well-known/acme-challenge-not/token",
        "/.Well-Known/acme-challenge/token",
        "/public/open/x",
        "/public/",
        "/x?/.well-known/acme-challenge/",
    ] {
        is_redirected(&ask(path), 308, &format!("https://a{path}"));
    }
    for path in [
        "/.well-known/acme-challenge/../admin",
        "/.well-known/acme-challenge/../../public/",
        "/.well-known/acme-challenge/%2e%2e/admin",
        "/.well-known/acme-challenge/..%2fadmin",
        "/.well-known/acme-challenge/..%5cadmin",
        "/.well-known/acme-challenge//x",
        "//.well-known/acme-challenge/x",
        "/.well-known/acme-challenge/;/x",
        "/x/../.well-known/acme-challenge/token",
    ] {
        is_refused(&ask(path), 400);
    }
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
}

#[test]
fn a_connection_may_ask_for_excepted_paths_until_it_is_sent_away() {
    let backend = Backend::start();
    let gate = gate_with(backend.address, WITH_EXCEPTION, "", "");
    let mut connection = Connection::plain(gate.address);
    for _ in 0..2 {
        connection.send(b"GET /public/open HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(status_of(&connection.read_answer()), 200);
    }
    connection.send(b"GET /public/x HTTP/1.1\r\nHost: a\r\n\r\n");
    is_redirected(&connection.read_to_end(), 308, "https://a/public/x");
    assert_eq!(backend.seen().len(), 2);
}

// --- Strict-Transport-Security ---

const HSTS: &str = "strict-transport-security";

/// Answers with a policy of its own, on its second line and once more.
fn backend_with_a_policy() -> Backend {
    Backend::saying(
        "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nX-Other: kept\r\n\
         strict-transport-security: max-age=2\r\nContent-Length: 2\r\n\r\nok",
    )
}

#[test]
fn every_answer_over_tls_has_the_policy_and_no_other() {
    let backend = backend_with_a_policy();
    let listeners = "{address: '127.0.0.1:0'}, {address: '127.0.0.1:0', protocol: http}";
    let hsts = ", hsts: {max_age: 365d, include_subdomains: true, preload: true}";
    let gate = gate_with(backend.address, listeners, hsts, "");
    let policy = ["max-age=31536000; includeSubDomains; preload"];
    for version in ["--http1.1", "--http2"] {
        for (path, status) in [
            ("/public/", 200),
            ("/private", 401),
            ("/a/../b", 400),
            ("/auth/login", 200),
            ("/read-only/", 200),
        ] {
            let got = gate.curl().args([version]).get(path);
            assert_eq!(got.status, status, "{version} {path}");
            assert_eq!(got.all(HSTS), policy, "{version} {path}: {got:?}");
        }
        let page = gate.curl().args([version]).browser().get("/private");
        assert_eq!((page.status, page.all(HSTS)), (302, policy.into()));
        let refused = gate
            .curl()
            .args([version, "-X", "DELETE"])
            .get("/read-only/");
        assert_eq!((refused.status, refused.all(HSTS)), (405, policy.into()));
        let head = gate.curl().args([version, "-I"]).get("/public/");
        assert_eq!(head.all("x-other"), ["kept"]);
    }
    let bad = gate.raw(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(status_of(&bad), 400);
    assert_eq!(
        value(bad.split_once("\r\n\r\n").unwrap().0, HSTS),
        Some(policy[0])
    );

    // And none in the clear, whatever the backend says.
    let request = b"GET /public/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for (address, status) in gate.addresses().into_iter().zip([307, 200]) {
        let answer = plain(address, request);
        assert_eq!(status_of(&answer), status, "{answer}");
        assert!(!answer.to_lowercase().contains(HSTS), "{answer}");
    }
}

#[test]
fn without_a_policy_of_ours_the_backend_has_its_own_but_not_in_the_clear() {
    let backend = backend_with_a_policy();
    // The last one is for something in front that ends TLS, and passes answers on.
    let listeners = "{address: '127.0.0.1:0'}, \
         {address: '127.0.0.1:0', protocol: http}, \
         {address: '127.0.0.1:0', protocol: http, unsafe_login_without_tls: true}";
    let gate = gate_with(backend.address, listeners, "", "");
    let theirs = ["max-age=1", "max-age=2"];
    for version in ["--http1.1", "--http2"] {
        let forwarded = gate.curl().args([version]).get("/public/");
        assert_eq!(forwarded.all(HSTS), theirs, "{version}");
        let own = gate.curl().args([version]).get("/private");
        assert_eq!((own.status, own.all(HSTS)), (401, vec![]), "{version}");
    }
    let ports: Vec<u16> = gate.addresses().iter().map(SocketAddr::port).collect();
    let plain = curl_plain(ports[1], &[], "/public/");
    assert_eq!((plain.status, plain.all(HSTS)), (200, vec![]));
    assert_eq!(plain.all("x-other"), ["kept"]);
    let inner = curl_plain(ports[2], &[], "/public/");
    assert_eq!((inner.status, inner.all(HSTS)), (200, theirs.into()));
}

#[test]
fn a_policy_can_be_taken_back() {
    let backend = backend_with_a_policy();
    let gate = gate_with(
        backend.address,
        "{address: '127.0.0.1:0'}",
        ", hsts: 0s",
        "",
    );
    for version in ["--http1.1", "--http2"] {
        let got = gate.curl().args([version]).get("/public/");
        assert_eq!(got.all(HSTS), ["max-age=0"], "{version}");
    }
}

#[test]
fn a_server_that_ends_answers_what_has_begun_in_the_clear() {
    let backend = Backend::start();
    let mut gate = gate::with(backend.address, "timeouts: {handshake: 1h, head: 1h}\n");
    // Nothing has come from one of them; the other has begun.
    let silent = TcpStream::connect(gate.address).unwrap();
    let mut begun = Connection::plain(gate.address);
    begun.send(b"GET / HTTP/1.1\r\n");
    gate.await_metric("portcullis_connections_active", &[], 2.0);
    gate.signal("TERM");
    eventually("new connections are refused", || {
        TcpStream::connect(gate.address).is_err().then_some(())
    });
    begun.send(b"Host: a\r\n\r\n");
    is_redirected(&begun.read_to_end(), 307, "https://a/");
    assert_eq!(gate.wait().code(), Some(0));
    drop(silent);
}
