//! One client must not be able to spoil it for the others, nor for the operator.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use crate::harness::backend::Backend;
use crate::harness::client::{Connection, Curl, status_of};
use crate::harness::gate::{self, BINARY, Gate, in_front_of};
use crate::harness::{eventually, free_port};

#[test]
fn a_method_in_lower_case_is_not_a_way_around_a_rule_about_it() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    for version in ["--http1.1", "--http2"] {
        for (method, status) in [("delete", 501), ("Trace", 501), ("DELETE", 200)] {
            let got = gate.curl().args([version, "-X", method]).get("/public/");
            assert_eq!(got.status, status, "{version} {method}");
        }
    }
    assert!(
        backend
            .seen()
            .iter()
            .all(|request| request.line().starts_with("DELETE "))
    );
}

#[test]
fn a_form_that_trickles_in_is_cut_off_and_one_that_comes_is_read() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "timeouts: {head: 500ms}\n");
    let head = "POST /auth/login HTTP/1.1\r\nHost: localhost\r\n\
                Content-Type: application/json\r\nContent-Length: 60\r\n\r\n";
    let mut slow = gate.connect();
    slow.send(head.as_bytes());
    for _ in 0..20 {
        slow.send(b" ");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(status_of(&slow.read_to_end()), 408);
    gate.log_in("ralph");
}

#[test]
fn a_backend_gets_no_more_requests_at_one_time_than_it_may() {
    let (release, wait): (_, Receiver<()>) = channel();
    let wait = Mutex::new(wait);
    let backend = Backend::answering(move |_, stream| {
        let _released = wait.lock().unwrap().recv();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .is_ok()
    });
    let (cert, key) = gate::certificate();
    let gate = Gate::start(&format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\nthreads: 1\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
         upstreams: {{b: {{url: 'http://{}', max_requests: 1}}}}\nroutes: [{{public: true}}]\n",
        cert.display(),
        key.display(),
        backend.address
    ));
    let mut first = gate.connect();
    first.send(b"GET /first HTTP/1.1\r\nHost: localhost\r\n\r\n");
    eventually("the first request is under way", || backend.seen().pop());
    let second = gate.curl().get("/second");
    assert_eq!(
        (second.status, second.field("retry-after")),
        (503, Some("1"))
    );
    release.send(()).unwrap();
    assert_eq!(status_of(&first.read_answer()), 200);
    release.send(()).unwrap();
    assert_eq!(gate.curl().get("/third").status, 200);
}

#[test]
fn a_log_that_nobody_reads_stops_logins_and_nothing_else() {
    let backend = Backend::start();
    let (cert, key) = gate::certificate();
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portcullis.yaml");
    let config = format!(
        "listeners: [{{address: '127.0.0.1:{port}'}}]\nthreads: 1\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
         upstreams: {{b: {{url: 'http://{}'}}}}\nroutes: [{{public: true}}]\nlogin: {{}}\n",
        cert.display(),
        key.display(),
        backend.address
    );
    std::fs::write(&file, config).unwrap();
    let mut child = Command::new(BINARY)
        .args(["run", "-c"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Held open and never read.
    let _unread = child.stdout.take().unwrap();
    eventually("the gate listens", || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    let log_in = || {
        let json = [
            "-H",
            "Content-Type: application/json",
            "-d",
            "{\"username\":\"x\",\"password\":\"y\"}",
        ];
        Curl::new(port).args(json).get("/auth/login").status
    };
    assert_eq!(log_in(), 401);
    let repeat = |request: &[u8], times: usize| {
        let mut connection = Connection::tls(([127, 0, 0, 1], port).into());
        for _ in 0..times {
            connection.send(request);
            connection.read_answer();
        }
    };
    // Access lines fill their part of the queue, failed logins the part that is kept for audit.
    let agent = "x".repeat(900);
    let access = format!("GET /public/ HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {agent}\r\n\r\n");
    repeat(access.as_bytes(), 5_000);
    let login = "POST /auth/login HTTP/1.1\r\nHost: localhost\r\n\
                 Content-Type: application/json\r\nContent-Length: 29\r\n\r\n{\"username\":\"\",\"password\":\"\"}";
    repeat(login.as_bytes(), 2400);
    assert_eq!(log_in(), 503);
    assert_eq!(Curl::new(port).get("/public/").status, 200);
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", "TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    let status = eventually("it ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_client_that_never_reads_holds_little() {
    let backend = Backend::answering(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let piece = vec![b'x'; 1 << 20];
        while stream.write_all(&piece).is_ok() {}
        false
    });
    let gate = in_front_of(backend.address);
    let before = gate.resident_kib();
    let clients: Vec<Connection> = (0..20)
        .map(|_| {
            let mut client = gate.connect();
            client.send(b"GET /public/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client
        })
        .collect();
    eventually("all are under way", || {
        (backend.seen().len() == clients.len()).then_some(())
    });
    // What is held settles once every buffer on the way is full.
    let mut held = gate.resident_kib();
    eventually("nothing more is taken", || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let now = gate.resident_kib();
        (std::mem::replace(&mut held, now) == now).then_some(())
    });
    let each = held.saturating_sub(before) / clients.len() as u64;
    assert!(each < 512, "{each} KiB each");
}

#[test]
fn small_chunks_are_joined_on_their_way() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let mut body = "1\r\na\r\n".repeat(2000);
    body.push_str("0\r\n\r\n");
    let head = "POST /public/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
                Connection: close\r\n\r\n";
    let answer = gate.raw(format!("{head}{body}").as_bytes());
    assert_eq!(status_of(&answer), 200, "{answer}");
    assert_eq!(backend.only().body, vec![b'a'; 2000]);
    // The other way, a backend of tiny chunks.
    let chatty = Backend::answering(|_, stream| {
        let body = "1\r\nb\r\n".repeat(2000);
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream
            .write_all(format!("{head}{body}0\r\n\r\n").as_bytes())
            .is_ok()
    });
    let gate = in_front_of(chatty.address);
    for version in ["--http1.1", "--http2"] {
        assert_eq!(
            gate.curl().args([version]).get("/public/").body,
            "b".repeat(2000)
        );
    }
    let mut connection = gate.connect();
    connection.send(b"GET /public/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let chunks = connection.read_to_end().matches("\r\n1\r\n").count();
    assert!(chunks < 100, "{chunks} chunks of one byte");
}

#[test]
fn clients_that_only_connect_do_not_keep_others_out_of_a_small_listener() {
    let backend = Backend::start();
    let (cert, key) = gate::certificate();
    let gate = Gate::start(&format!(
        "listeners: [{{address: '127.0.0.1:0', max_connections: 1}}]\nthreads: 4\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
         upstreams: {{b: {{url: 'http://{}'}}}}\nroutes: [{{public: true}}]\n",
        cert.display(),
        key.display(),
        backend.address
    ));
    // One slot for four threads: it goes to whichever has a connection.
    for _ in 0..16 {
        assert_eq!(gate.curl().get("/public/").status, 200);
    }
    // Whoever waits for the slot that another holds is served once it is free.
    let holder = gate.connect();
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| gate.curl().get("/public/").status);
        drop(holder);
        waiting.join().unwrap()
    });
    assert_eq!(waiting, 200);
    assert_eq!(gate.curl().get("/public/").status, 200);
}
