//! Backends that take less than HTTP/1.1 allows: no chunks, no slow uploads, HTTP/1.0 only, so long
//! and no longer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::harness::backend::Backend;
use crate::harness::gate::{self, Gate, ROLES_AND_USERS};
use crate::harness::process::{finished, portcullis};
use crate::harness::{eventually, free_port};

/// A gate in front of `backend`, of which more is said, with these routes and more.
fn config(backend: SocketAddr, upstream: &str, routes: &str, more: &str) -> String {
    let (cert, key) = gate::certificate();
    format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\nthreads: 2\nadmin: {{address: '127.0.0.1:0'}}\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
         upstreams: {{backend: {{url: 'http://{backend}', {upstream}}}}}\nroutes: [{routes}]\n{more}",
        cert.display(),
        key.display(),
    )
}

#[track_caller]
fn in_front_of(backend: SocketAddr, upstream: &str) -> Gate {
    Gate::start(&config(backend, upstream, "{public: true}", ""))
}

/// Waits for a line of the log with this error; the line.
#[track_caller]
fn await_error(gate: &Gate, error: &str) -> Value {
    eventually(error, || {
        gate.line_where(|line| line["event"] == "access" && line["error.type"] == error)
    })
}

/// Waits until so many requests are in the log.
#[track_caller]
fn await_lines(gate: &Gate, count: usize) {
    eventually("all are in the log", || {
        (gate.count_lines(|line| line["event"] == "access") == count).then_some(())
    });
}

/// A backend that counts who connects, and answers nobody.
fn counting() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            open.push(stream);
        }
    });
    (address, count)
}

/// So many bytes that no two parts of them are alike.
fn bytes(length: usize) -> Vec<u8> {
    let numbers = (0_u32..).flat_map(u32::to_be_bytes);
    numbers.take(length).collect()
}

fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut chunked = Vec::new();
    for chunk in body.chunks(size) {
        write!(chunked, "{:x}\r\n", chunk.len()).unwrap();
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    chunked
}

fn head(method: &str, more: &str) -> Vec<u8> {
    format!("{method} /it HTTP/1.1\r\nHost: localhost\r\n{more}\r\n").into_bytes()
}

// --- Times ---

#[test]
fn a_route_waits_longer_than_its_upstream_where_it_says_so() {
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let backend = Backend::answering(move |request, stream| {
        if request.path() == "/report" {
            released.lock().unwrap().recv().unwrap();
        } else if request.path() == "/silent" {
            return true;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .is_ok()
    });
    let routes = "{match: /report, public: true, read_timeout: 60s}, {public: true}";
    let upstream = "read_timeout: 400ms";
    let gate = Gate::start(&config(backend.address, upstream, routes, ""));
    let mut report = gate.connect();
    report.send(b"GET /report HTTP/1.1\r\nHost: localhost\r\n\r\n");
    eventually("it is under way", || {
        (!backend.seen().is_empty()).then_some(())
    });
    assert_eq!(gate.curl().get("/silent").status, 504);
    release.send(()).unwrap();
    let answer = report.read_answer();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn an_exchange_has_the_time_of_its_route_and_no_more() {
    let backend = Backend::answering(|request, stream| {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        match request.path() {
            "/drips" => {
                let mut alive = stream.write_all(head).is_ok();
                while alive {
                    alive = stream.write_all(b"1\r\nx\r\n").is_ok();
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                false
            }
            "/silent" => true,
            _ => stream.write_all(head).is_ok() && stream.write_all(b"0\r\n\r\n").is_ok(),
        }
    });
    let routes = "{public: true, timeout: 500ms}";
    let gate = Gate::start(&config(backend.address, "", routes, ""));
    assert_eq!(gate.curl().get("/fast").status, 200);
    let late = gate.curl().get("/silent");
    assert_eq!(late.status, 504, "{late:?}");
    await_error(&gate, "upstream_timeout");
    // What has begun is broken off, so that nobody takes it for whole.
    let mut dripping = gate.connect();
    dripping.send(b"GET /drips HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let got = dripping.read_to_end();
    assert!(
        got.starts_with("HTTP/1.1 200 ") && !got.ends_with("0\r\n\r\n"),
        "{got}"
    );
    let broken = gate.curl().args(["--http2"]).get("/drips");
    assert!(broken.exit != 0, "{broken:?}");
    assert_eq!(gate.curl().get("/fast").status, 200);
}

// --- Bodies that are collected ---

#[test]
fn a_backend_that_takes_no_chunks_gets_a_length() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address, "chunked: false");
    for length in [0, 5, 64 << 10, 3 << 20] {
        backend.forget();
        let body = bytes(length);
        let mut request = head("POST", "Transfer-Encoding: chunked\r\n");
        request.extend_from_slice(&chunks(&body, 50_000));
        let mut connection = gate.connect();
        connection.send(&request);
        let answer = connection.read_answer();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let arrived = backend.only();
        assert!(arrived.body == body, "{length}: {}", arrived.head);
        assert_eq!(arrived.all("transfer-encoding"), [""; 0]);
        assert_eq!(arrived.field("content-length"), Some(&*length.to_string()));
        // The connection goes on.
        connection.send(b"GET /again HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(connection.read_answer().ends_with("GET /again HTTP/1.1"));
    }
}

#[test]
fn a_backend_that_wants_a_length_is_told_of_in_the_log_with_what_helps() {
    let refuses = "HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\n\r\n";
    let backend = Backend::saying(refuses);
    let gate = in_front_of(backend.address, "");
    let upload = || gate.curl().args(["-d", "x"]);
    assert_eq!(upload().get("/").status, 411);
    let is_it = |line: &Value| line["event"] == "upstream.length_required";
    for _ in 0..2 {
        let chunked = upload().header("Transfer-Encoding: chunked");
        assert_eq!(chunked.get("/chunked").status, 411);
    }
    let said = eventually("it is said", || gate.line_where(is_it));
    assert_eq!(said["upstream.name"], "backend");
    assert!(
        said["message"]
            .as_str()
            .unwrap()
            .contains("`chunked: false`")
    );
    await_lines(&gate, 3);
    assert_eq!(gate.count_lines(is_it), 1);
}

#[test]
fn what_comes_over_http2_without_a_length_is_collected_too() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address, "chunked: false");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    std::fs::write(&file, bytes(300_000)).unwrap();
    let url = format!("https://localhost:{}/it", gate.port());
    let mut curl = Command::new("curl");
    curl.args([
        "-sk",
        "--http2",
        "-T",
        "-",
        "-w",
        "%{http_code}",
        "-o",
        "/dev/null",
        &url,
    ]);
    curl.stdin(std::fs::File::open(&file).unwrap());
    assert_eq!(curl.output().unwrap().stdout, b"200");
    let arrived = backend.only();
    assert_eq!(arrived.field("content-length"), Some("300000"));
    assert!(arrived.body == bytes(300_000));
}

#[test]
fn a_body_of_known_length_is_passed_on_as_it_comes_unless_all_are_collected() {
    let (address, connected) = counting();
    let streams = in_front_of(address, "chunked: false");
    let mut upload = streams.connect();
    let known = "Content-Length: 1000000\r\n";
    upload.send(&[head("PUT", known), bytes(1000)].concat());
    eventually("the backend hears of it", || {
        (connected.load(Ordering::SeqCst) == 1).then_some(())
    });

    let backend = Backend::start();
    let collects = in_front_of(backend.address, "buffer_requests: true");
    let mut upload = collects.connect();
    let expecting = format!("{known}Expect: 100-continue\r\n");
    upload.send(&head("PUT", &expecting));
    // We take it ourselves, so that nobody else need be asked.
    assert_eq!(
        upload.read_until("\r\n\r\n"),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    let body = bytes(1_000_000);
    upload.send(&body[..999_999]);
    assert!(backend.seen().is_empty());
    upload.send(&body[999_999..]);
    assert!(upload.read_answer().starts_with("HTTP/1.1 200 "));
    let arrived = backend.only();
    assert!(
        arrived.body == body && arrived.field("expect").is_none(),
        "{}",
        arrived.head
    );
}

#[test]
fn a_slow_client_does_not_keep_a_backend_waiting_that_gets_whole_requests() {
    let (address, connected) = counting();
    let gate = in_front_of(address, "buffer_requests: true, read_timeout: 300ms");
    let mut slow = gate.connect();
    let expecting = "Content-Length: 10\r\nExpect: 100-continue\r\n";
    slow.send(&head("POST", expecting));
    slow.read_until("100 Continue\r\n\r\n");
    slow.send(b"12345");
    // Another that is whole comes through meanwhile.
    assert_eq!(gate.curl().args(["-d", "x"]).get("/it").status, 504);
    assert_eq!(connected.load(Ordering::SeqCst), 1);
    slow.send(b"67890");
    assert!(slow.read_answer().starts_with("HTTP/1.1 504 "));
    assert_eq!(connected.load(Ordering::SeqCst), 2);
}

#[test]
fn what_is_too_large_is_refused_and_never_arrives() {
    let (address, connected) = counting();
    let more = "limits: {body: 100KiB}\nbuffering: {total: 200KiB}\n";
    let routes = "{match: /it, public: true}, {public: true, body_limit: unlimited}";
    let gate = Gate::start(&config(address, "buffer_requests: true", routes, more));
    let status = |request: &[u8]| gate.raw(request).split(' ').nth(1).unwrap().to_owned();
    // Known before its first byte.
    let announced = head("POST", "Content-Length: 102401\r\nExpect: 100-continue\r\n");
    assert_eq!(status(&announced), "413");
    let chunked = head("POST", "Transfer-Encoding: chunked\r\n");
    let found_out = [chunked, chunks(&bytes(102_401), 1000)].concat();
    assert_eq!(status(&found_out), "413");
    // More than all together may be is too large, however long one waits.
    let unlimited = String::from_utf8(announced).unwrap().replace("/it", "/any");
    let beyond_all = unlimited.replace("102401", "204801");
    assert_eq!(status(beyond_all.as_bytes()), "413");
    assert_eq!(connected.load(Ordering::SeqCst), 0);
    gate.await_metric(
        "portcullis_http_requests_rejected_total",
        &[("reason", "body_too_large")],
        3.0,
    );
}

#[test]
fn where_there_is_no_room_left_a_client_is_told_to_come_again() {
    let backend = Backend::start();
    let more = "buffering: {total: 100KiB}\n";
    let routes = "{public: true}";
    let gate = Gate::start(&config(
        backend.address,
        "buffer_requests: true",
        routes,
        more,
    ));
    let mut first = gate.connect();
    let large = "Content-Length: 90000\r\nExpect: 100-continue\r\n";
    first.send(&head("POST", large));
    first.read_until("100 Continue\r\n\r\n");
    let body = "x".repeat(20_000);
    let second = || gate.curl().args(["-d", &body]).get("/it");
    // What is only announced takes nothing from anybody.
    assert_eq!(second().status, 200);
    first.send(&bytes(89_000));
    let refused = eventually("the room is taken", || {
        Some(second()).filter(|got| got.status == 503)
    });
    assert_eq!(refused.field("retry-after"), Some("1"));
    await_error(&gate, "buffer_full");
    let is_it = |line: &Value| line["event"] == "buffering.failed";
    let said = eventually("it is said", || gate.line_where(is_it));
    assert_eq!(said["error.type"], "buffer_full");
    // Whoever leaves makes room.
    backend.forget();
    drop(first);
    eventually("there is room", || (second().status == 200).then_some(()));
    await_error(&gate, "client_gone");
    assert_eq!(backend.only().body.len(), 20_000);
    assert_eq!(gate.count_lines(is_it), 1);
}

#[test]
fn one_client_has_no_more_bodies_kept_than_leaves_room_for_others() {
    let backend = Backend::start();
    let more = "buffering: {total: 100KiB}\ntrusted_proxies: [127.0.0.1]\n";
    let settings = "buffer_requests: true";
    let gate = Gate::start(&config(backend.address, settings, "{public: true}", more));
    let from = |client: &str, length: usize| {
        let client = format!("X-Forwarded-For: {client}");
        let curl = gate.curl().args(["-H", &client, "-d", &"x".repeat(length)]);
        curl.get("/it").status
    };
    let mut first = gate.connect();
    let large = "X-Forwarded-For: 192.0.2.1\r\nContent-Length: 60001\r\n";
    first.send(&[&head("POST", large)[..], &bytes(60_000)].concat());
    eventually("it has more than is left", || {
        (from("192.0.2.1", 100) == 429).then_some(())
    });
    await_error(&gate, "client_share");
    let refused = gate
        .curl()
        .args(["-H", "X-Forwarded-For: 192.0.2.1", "-d", "x"]);
    assert_eq!(refused.get("/it").field("retry-after"), Some("1"));
    assert_eq!(from("192.0.2.2", 30_000), 200);
    // What it has already goes on.
    first.send(b"x");
    let answer = first.read_until("\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(from("192.0.2.1", 60_000), 200);
}

#[test]
fn a_client_that_is_too_slow_or_logged_out_meanwhile_leaves_nothing_at_the_backend() {
    let backend = Backend::start();
    let gate = |routes, more| {
        let text = config(backend.address, "buffer_requests: true", routes, more);
        Gate::start(&text)
    };
    let hurried = gate("{public: true}", "timeouts: {body: 400ms}\n");
    let mut slow = hurried.connect();
    slow.send(&[&head("POST", "Content-Length: 9\r\n")[..], b"1234"].concat());
    let answer = slow.read_to_end();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let bounded = gate("{public: true, timeout: 400ms}", "");
    let mut slow = bounded.connect();
    slow.send(&[&head("POST", "Content-Length: 9\r\n")[..], b"1234"].concat());
    let answer = slow.read_to_end();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");

    let gate = gate("{can: view}", ROLES_AND_USERS);
    let session = gate.log_in("ralph");
    let cookie = format!("Cookie: __Host-portcullis={session}\r\n");
    let upload = format!("{cookie}Content-Length: 900000\r\nExpect: 100-continue\r\n");
    let mut client = gate.connect();
    client.send(&head("PUT", &upload));
    client.read_until("100 Continue\r\n\r\n");
    client.send(&bytes(200_000));
    gate.log_out(&session);
    let answer = client.read_to_end();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    await_error(&gate, "no_longer_permitted");
    assert!(backend.seen().is_empty());
}

#[test]
fn where_bodies_are_kept_must_be_there_at_the_start_and_later_failures_are_503() {
    let backend = Backend::start();
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let more = format!("buffering: {{folder: '{}'}}\n", spool.display());
    let text = |upstream| config(backend.address, upstream, "{public: true}", &more);
    let file = root.path().join("portcullis.yaml");
    std::fs::write(&file, text("chunked: false")).unwrap();
    for (command, code) in [("run", 78), ("check", 1)] {
        let done = finished(portcullis([command, "-c", file.to_str().unwrap()]), "");
        assert_eq!(done.code, Some(code), "{done:?}");
        let said = "portcullis.yaml:7:21: buffering.folder: cannot keep request bodies in ";
        assert!(done.errors.contains(said), "{done:?}");
    }
    // Who collects nothing needs no folder.
    std::fs::write(&file, text("")).unwrap();
    let done = finished(portcullis(["check", "-c", file.to_str().unwrap()]), "");
    assert_eq!(done.code, Some(0), "{done:?}");

    std::fs::create_dir(&spool).unwrap();
    std::fs::write(&file, text("chunked: false")).unwrap();
    let gate = Gate::start_file(&file, &[]);
    std::fs::remove_dir(&spool).unwrap();
    let send = |length: usize| {
        let request = [
            head("POST", "Transfer-Encoding: chunked\r\n"),
            chunks(&bytes(length), 9999),
        ];
        let mut connection = gate.connect();
        connection.send(&request.concat());
        connection.read_answer()
    };
    assert!(send(100_000).starts_with("HTTP/1.1 503 "));
    await_error(&gate, "buffer_failed");
    assert!(backend.seen().is_empty());
    // Small ones need no file.
    assert!(send(1000).starts_with("HTTP/1.1 200 "));
    std::fs::create_dir(&spool).unwrap();
    assert!(send(100_000).starts_with("HTTP/1.1 200 "));
}

// --- HTTP/1.0 ---

#[test]
fn a_backend_of_http_1_0_is_asked_in_http_1_0() {
    let backend = Backend::answering(|request, stream| {
        let body = format!("{} {}", request.line(), request.connection);
        let answer = format!(
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).is_ok()
    });
    let gate = in_front_of(backend.address, "version: '1.0'");
    for connection in 0..3 {
        let got = gate.curl().get("/a?b=c");
        assert_eq!(got.body, format!("GET /a?b=c HTTP/1.0 {connection}"));
    }
    backend.forget();
    let mut upload = gate.connect();
    let expecting = "Content-Length: 3\r\nExpect: 100-continue\r\nConnection: keep-alive\r\n";
    upload.send(&head("POST", expecting));
    upload.read_until("100 Continue\r\n\r\n");
    upload.send(b"abc");
    assert!(upload.read_answer().starts_with("HTTP/1.1 200 "));
    upload.send(&head("POST", "Transfer-Encoding: chunked\r\n"));
    upload.send(&chunks(b"chunked", 2));
    assert!(upload.read_answer().starts_with("HTTP/1.1 200 "));
    let seen = backend.seen();
    for (request, body) in seen.iter().zip(["abc", "chunked"]) {
        assert_eq!(request.line(), "POST /it HTTP/1.0");
        assert_eq!(request.field("host"), Some("localhost"));
        assert_eq!(request.body, body.as_bytes());
        for name in ["expect", "transfer-encoding", "connection"] {
            assert_eq!(request.field(name), None, "{}", request.head);
        }
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn pythons_server_of_http_1_0_is_served_whichever_way_it_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let large = bytes(1 << 20);
    std::fs::write(folder.path().join("large.bin"), &large).unwrap();
    let port = free_port();
    let mut python = Command::new("python3")
        .args([
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            &port.to_string(),
        ])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("it listens", || std::net::TcpStream::connect(address).ok());
    for upstream in ["version: '1.0'", "version: 1.0", "version: '1.1'", ""] {
        let gate = in_front_of(address, upstream);
        for args in [&[][..], &["--http2"]] {
            let got = folder.path().join("got");
            let to_file = ["-o", got.to_str().unwrap()];
            let url = format!("https://localhost:{}/large.bin", gate.port());
            let curl = Command::new("curl")
                .args(["-sk"])
                .args(args)
                .args(to_file)
                .arg(url)
                .status();
            assert!(curl.unwrap().success(), "{upstream} {args:?}");
            assert!(std::fs::read(&got).unwrap() == large, "{upstream} {args:?}");
        }
        let listing = gate.curl().get("/");
        assert!(listing.body.contains("large.bin"), "{listing:?}");
        assert_eq!(gate.curl().args(["-I"]).get("/large.bin").status, 200);
        assert_eq!(gate.curl().get("/none").status, 404);
    }
    drop((python.kill(), python.wait()));
}

#[test]
fn an_answer_of_http_1_0_ends_where_it_says_and_one_cut_short_is_not_passed_as_whole() {
    for (answer, body, error) in [
        (
            "HTTP/1.0 200 OK\r\n\r\nto the end",
            Some("to the end"),
            None,
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            Some("abc"),
            None,
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nabc",
            None,
            Some("upstream_cut_short"),
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            None,
            Some("upstream_bad_answer"),
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Le",
            None,
            Some("upstream_bad_answer"),
        ),
    ] {
        let backend = Backend::answering(move |_, stream| {
            stream.write_all(answer.as_bytes()).unwrap();
            false
        });
        for version in ["1.0", "1.1"] {
            let gate = in_front_of(backend.address, &format!("version: '{version}'"));
            let got = gate.curl().get("/");
            match (body, error) {
                (Some(body), _) => assert_eq!((got.exit, &*got.body), (0, body), "{got:?}"),
                (None, error) => {
                    assert!(got.exit != 0 || got.status == 502, "{answer}: {got:?}");
                    await_error(&gate, error.unwrap());
                }
            }
        }
    }
}

#[test]
fn a_connection_of_http_1_0_that_is_reset_breaks_the_answer_off() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (cut, cutting) = channel::<()>();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1000];
        assert!(stream.read(&mut request).unwrap() > 0);
        stream
            .write_all(b"HTTP/1.0 200 OK\r\n\r\nthe first half")
            .unwrap();
        cutting.recv().unwrap();
        // Closed with no time to linger, the connection is reset, which no end of a body is.
        socket2::SockRef::from(&stream)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
    });
    let gate = in_front_of(address, "version: '1.0'");
    let mut client = gate.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.read_until("the first half");
    cut.send(()).unwrap();
    let rest = client.read_to_end();
    assert!(!rest.ends_with("0\r\n\r\n"), "{rest}");
    await_error(&gate, "upstream_cut_short");
}

#[test]
fn a_backend_that_answers_in_http_1_0_is_kept_only_where_it_says_so() {
    for (keeps, connections) in [("Connection: keep-alive\r\n", [0, 0]), ("", [0, 1])] {
        let backend = Backend::answering(move |_, stream| {
            let answer = format!("HTTP/1.0 200 OK\r\n{keeps}Content-Length: 2\r\n\r\nok");
            stream.write_all(answer.as_bytes()).is_ok()
        });
        let config = config(backend.address, "", "{public: true}", "");
        // One thread, so that the second request finds what the first has left.
        let gate = Gate::start(&config.replace("threads: 2", "threads: 1"));
        for _ in 0..2 {
            let got = gate.curl().get("/");
            assert_eq!((got.status, &*got.body), (200, "ok"), "{got:?}");
        }
        let seen: Vec<_> = backend.seen().iter().map(|it| it.connection).collect();
        assert_eq!(seen, connections, "{keeps}");
    }
}
