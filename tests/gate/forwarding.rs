//! Bodies and answers pass both ways as they are, streamed, and nothing is mistaken for whole that
//! is not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use crate::harness::backend::Backend;
use crate::harness::client::status_of;
use crate::harness::gate::{self, in_front_of};
use crate::harness::nginx::Nginx;
use crate::harness::{PATIENCE, eventually};

const GIB: u64 = 1 << 30;

/// What the gate may hold of a stream, far below the stream's size.
const FLAT_KIB: u64 = 24 << 10;

#[test]
fn a_gibibyte_comes_down_whole_with_a_flat_memory() {
    let nginx = Nginx::start();
    nginx.write_sparse("big", GIB);
    let gate = in_front_of(nginx.address);
    let session = gate.log_in("ralph");
    let before = gate.resident_kib();
    for version in ["--http1.1", "--http2"] {
        let got = gate
            .curl()
            .args([
                version,
                "-o",
                "/dev/null",
                "-w",
                "HTTP/x %{http_code}\r\n\r\n%{size_download}",
            ])
            .session(&session)
            .get("/big");
        assert_eq!((got.status, got.body), (200, GIB.to_string()), "{version}");
        let grown = gate.resident_kib().saturating_sub(before);
        assert!(grown < FLAT_KIB, "{version}: grown by {grown} KiB");
    }
}

#[test]
fn a_gibibyte_goes_up_whole_with_a_flat_memory() {
    // The backend counts and keeps nothing.
    let (count, counted) = channel();
    let count = Mutex::new(count);
    let backend = counting_backend(move |bytes| count.lock().unwrap().send(bytes).unwrap());
    let gate = gate::with(backend, "limits: {body: 2GiB}\n");
    let session = gate.log_in("ralph");
    let before = gate.resident_kib();
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(GIB).unwrap();
    let path = file.path().to_str().unwrap();
    for args in [
        ["--http1.1", "-H", "X: y"],
        ["--http1.1", "-H", "Transfer-Encoding: chunked"],
        ["--http2", "-H", "X: y"],
    ] {
        let got = gate
            .curl()
            .args(args)
            .args(["-T", path])
            .session(&session)
            .get("/up");
        assert_eq!(got.status, 201, "{args:?}: {got:?}");
        assert_eq!(counted.recv_timeout(PATIENCE).unwrap(), GIB, "{args:?}");
        let grown = gate.resident_kib().saturating_sub(before);
        assert!(grown < FLAT_KIB, "{args:?}: grown by {grown} KiB");
    }
}

/// Reads bodies without keeping them, and says how long each was.
fn counting_backend(report: impl Fn(u64) + Send + Sync + 'static) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut seen = Vec::new();
            let mut bytes = vec![0; 1 << 20];
            let end = loop {
                match stream.read(&mut bytes) {
                    Ok(read @ 1..) => seen.extend_from_slice(&bytes[..read]),
                    _ => break None,
                }
                if let Some(at) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
                    break Some(at + 4);
                }
            };
            let Some(end) = end else { continue };
            let head = String::from_utf8_lossy(&seen[..end]).to_lowercase();
            if head.contains("expect: 100-continue") {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            }
            let body = seen.split_off(end);
            let length = if head.contains("transfer-encoding: chunked") {
                count_chunks(body, &mut stream)
            } else {
                let (_, length) = head.split_once("content-length: ").unwrap();
                let length: u64 = length.split("\r\n").next().unwrap().parse().unwrap();
                let rest = length - body.len() as u64;
                let copied = std::io::copy(&mut (&mut stream).take(rest), &mut std::io::sink());
                body.len() as u64 + copied.unwrap()
            };
            let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            drop(stream.write_all(answer));
            report(length);
        }
    });
    address
}

fn count_chunks(first: Vec<u8>, stream: &mut TcpStream) -> u64 {
    use std::io::BufRead;
    let mut reader =
        std::io::BufReader::with_capacity(1 << 20, std::io::Cursor::new(first).chain(stream));
    let mut total = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let size = u64::from_str_radix(line.trim_end(), 16).unwrap();
        let copied = std::io::copy(&mut (&mut reader).take(size + 2), &mut std::io::sink());
        assert_eq!(copied.unwrap(), size + 2);
        total += size;
        if size == 0 {
            return total;
        }
    }
}

#[test]
fn an_answer_flows_while_the_body_is_still_on_its_way() {
    // The backend answers each piece as it comes; the client sends the next only after that.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).unwrap();
        assert!(bytes[..read].starts_with(b"POST /public/echo HTTP/1.1\r\n"));
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        stream.write_all(head).unwrap();
        for _ in 0..3 {
            let mut piece = [0; 9];
            stream.read_exact(&mut piece).unwrap();
            assert_eq!(&piece, b"4\r\nping\r\n");
            stream.write_all(b"4\r\npong\r\n").unwrap();
        }
        let mut end = [0; 5];
        stream.read_exact(&mut end).unwrap();
        stream.write_all(b"0\r\n\r\n").unwrap();
    });
    let gate = in_front_of(address);
    let mut client = gate.connect();
    client.send(
        b"POST /public/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
          Expect: 100-continue\r\n\r\n",
    );
    client.read_until("hello");
    for _ in 0..3 {
        client.send(b"4\r\nping\r\n");
        client.read_until("pong");
    }
    client.send(b"0\r\n\r\n");
    assert!(client.read_to_end().ends_with("0\r\n\r\n"));
}

#[test]
fn neither_direction_blocks_the_other_when_both_are_larger_than_every_buffer() {
    // Sends back each byte as it comes and reads no further until it is taken.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    const SIZE: u64 = 64 << 20;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read_exact(&mut byte).is_err() {
                    break;
                }
                head.push(byte[0]);
            }
            if head.is_empty() {
                continue;
            }
            if String::from_utf8_lossy(&head).contains("Expect:") {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            }
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            let mut back = stream.try_clone().unwrap();
            drop(std::io::copy(&mut stream.take(SIZE), &mut back));
        }
    });
    let gate = in_front_of(address);
    let session = gate.log_in("ralph");
    let folder = tempfile::tempdir().unwrap();
    let (up, down) = (folder.path().join("up"), folder.path().join("down"));
    let bytes: Vec<u8> = (0..SIZE).map(|n| (n / 7 % 251) as u8).collect();
    std::fs::write(&up, &bytes).unwrap();
    for version in ["--http1.1", "--http2"] {
        let got = gate
            .curl()
            .args([
                version,
                "-T",
                up.to_str().unwrap(),
                "-o",
                down.to_str().unwrap(),
            ])
            .args(["-w", "HTTP/x %{http_code}\r\n\r\n"])
            .session(&session)
            .get("/echo");
        assert_eq!((got.status, got.exit), (200, 0), "{version}: {got:?}");
        let all = std::fs::read(&down).unwrap();
        assert!(
            all.ends_with(&bytes),
            "{version}: {} bytes came back",
            all.len()
        );
    }
}

#[test]
fn events_arrive_one_by_one_as_they_happen() {
    let (next, wait): (_, Receiver<()>) = channel();
    let wait = Mutex::new(wait);
    let backend = Backend::answering(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        while wait.lock().unwrap().recv().is_ok() {
            if stream.write_all(b"data: tick\n\n").is_err() {
                break;
            }
        }
        false
    });
    let gate = in_front_of(backend.address);
    let mut client = gate.connect();
    client.send(b"GET /public/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // The head comes before anything has happened.
    client.read_until("text/event-stream");
    for _ in 0..3 {
        next.send(()).unwrap();
        client.read_until("data: tick\n\n");
    }
    drop(next);
    client.read_until("0\r\n\r\n");
}

#[test]
fn an_early_answer_is_passed_on_and_the_rest_of_the_body_is_not_awaited() {
    // Answers as soon as it has the head, and never reads the body.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut bytes = [0; 1024];
            drop(stream.read(&mut bytes));
            drop(stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"));
            kept.push(stream);
        }
    });
    let gate = in_front_of(address);
    let session = gate.log_in("ralph");
    let mut client = gate.connect();
    let head = format!(
        "POST /up HTTP/1.1\r\nHost: localhost\r\nCookie: __Host-portcullis={session}\r\n\
         Content-Length: 1000000\r\n\r\nfirst"
    );
    client.send(head.as_bytes());
    let answer = client.read_to_end();
    assert_eq!(status_of(&answer), 403, "{answer}");
    assert!(
        answer.contains("Connection: close") && answer.ends_with("no"),
        "{answer}"
    );
}

#[test]
fn a_client_that_waits_for_100_continue_is_told_by_the_backend() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let mut client = gate.connect();
    client.send(
        b"POST /public/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\
          Expect: 100-continue\r\nConnection: close\r\n\r\n",
    );
    assert!(
        client
            .read_until("\r\n\r\n")
            .starts_with("HTTP/1.1 100 Continue\r\n")
    );
    client.send(b"body");
    assert_eq!(status_of(&client.read_to_end()), 200);
    assert_eq!(backend.only().body, b"body");

    // Whoever is refused is told so instead, and the body is not asked for.
    let mut refused = gate.connect();
    refused.send(
        b"POST /admin/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\
          Expect: 100-continue\r\n\r\n",
    );
    let answer = refused.read_to_end();
    assert_eq!(status_of(&answer), 401, "{answer}");
    assert!(answer.contains("Connection: close"), "{answer}");
    // The form of our own asks for the body itself.
    let body = format!(r#"{{"username":"ralph","password":"{}"}}"#, gate::PASSWORD);
    let expect = gate
        .curl()
        .args(["--http1.1", "-H", "Expect: 100-continue"]);
    let json = expect.args(["-H", "Content-Type: application/json", "-d", &body]);
    assert_eq!(json.get("/auth/login").status, 200);
}

#[test]
fn a_body_over_the_limit_is_refused_and_one_below_it_passes() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let post = |length: usize, chunked: bool, version: &str| {
        let body = "a".repeat(length);
        let curl = gate.curl().args([version, "--data-binary", &body]);
        let curl = if chunked {
            curl.header("Transfer-Encoding: chunked")
        } else {
            curl
        };
        curl.get("/upload/").status
    };
    for version in ["--http1.1", "--http2"] {
        assert_eq!(post(1024, false, version), 200);
        assert_eq!(post(1025, false, version), 413);
    }
    assert_eq!(post(1024, true, "--http1.1"), 200);
    assert_eq!(post(1025, true, "--http1.1"), 413);
    assert!(
        backend
            .seen()
            .iter()
            .all(|request| request.body.len() == 1024)
    );
    // The general limit is 100 MiB.
    let mut client = gate.connect();
    client.send(b"POST /public/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857601\r\n\r\n");
    assert_eq!(status_of(&client.read_to_end()), 413);
}

#[test]
fn answers_without_a_body_have_none_and_the_connection_goes_on() {
    let nginx = Nginx::start();
    nginx.write("page", b"0123456789");
    let gate = in_front_of(nginx.address);
    let session = gate.log_in("ralph");
    let mut client = gate.connect();
    let mut ask = |line: &str, more: &str| {
        let cookie = format!("Cookie: __Host-portcullis={session}");
        client.send(
            format!("{line} HTTP/1.1\r\nHost: localhost\r\n{cookie}\r\n{more}\r\n").as_bytes(),
        );
        client.read_until("\r\n\r\n")
    };
    let head = ask("HEAD /page", "");
    assert!(
        head.contains("Content-Length: 10\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let etag = head
        .lines()
        .find_map(|line| line.strip_prefix("ETag: "))
        .unwrap()
        .to_owned();
    let unchanged = ask("GET /page", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!(status_of(&unchanged), 304);
    let nothing = ask("GET /nothing", "");
    assert_eq!(status_of(&nothing), 204);
    assert!(
        !nothing.to_lowercase().contains("content-length"),
        "{nothing}"
    );
    let part = ask("GET /page", "Range: bytes=2-4\r\nConnection: close\r\n");
    assert_eq!(status_of(&part), 206);
    assert!((part + &client.read_to_end()).ends_with("234"));
}

#[test]
fn a_204_has_no_length_whatever_the_backend_says() {
    let backend = Backend::saying("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n");
    let gate = in_front_of(backend.address);
    for version in ["--http1.1", "--http2"] {
        let got = gate.curl().args([version]).get("/public/");
        assert_eq!((got.status, got.exit), (204, 0), "{version}: {got:?}");
        assert_eq!(got.field("content-length"), None, "{version}");
    }
}

#[test]
fn an_answer_that_is_cut_short_is_never_taken_for_whole() {
    let short =
        Backend::saying("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nonly");
    let gate = in_front_of(short.address);
    for (version, partial) in [("--http1.1", 18), ("--http2", 92)] {
        let got = gate.curl().args([version]).get("/public/");
        assert!([partial, 56].contains(&got.exit), "{got:?}");
    }
    let chunked = Backend::saying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nonly\r\n",
    );
    let gate = in_front_of(chunked.address);
    let mut client = gate.connect();
    client.send(b"GET /public/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = client.read_to_end();
    assert!(
        answer.contains("only") && !answer.ends_with("0\r\n\r\n"),
        "{answer}"
    );
    // An answer that ends with its connection is whole.
    let whole = Backend::saying("HTTP/1.1 200 OK\r\nX-Connection: close\r\n\r\nConnection: close");
    let gate = in_front_of(whole.address);
    let got = gate.curl().args(["--http1.1"]).get("/public/");
    assert_eq!((got.exit, got.body.as_str()), (0, "Connection: close"));
}

#[test]
fn a_backend_that_cannot_be_understood_or_reached_is_502_or_504() {
    let cases: [(&'static str, &str); 6] = [
        ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", "bare LF"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "both",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "two lengths",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            "unasked upgrade",
        ),
        ("garbage\r\n\r\n", "garbage"),
        ("", "nothing"),
    ];
    for (answer, name) in cases {
        let backend = Backend::answering(move |_, stream| {
            drop(stream.write_all(answer.as_bytes()));
            false
        });
        let gate = in_front_of(backend.address);
        let got = gate.curl().get("/public/");
        assert_eq!(got.status, 502, "{name}: {got:?}");
        assert!(!got.body.contains("garbage"));
    }
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], crate::harness::free_port()));
    let gate = in_front_of(nobody);
    assert_eq!(gate.curl().get("/public/").status, 502);
    let refused = || gate.line_where(|line| line["error.type"] == "upstream_refused");
    eventually("it is logged", refused);
}

/// A gate with one thread, so that every request may use the connection of the one before, and
/// with more settings for its backend.
fn one_thread(backend: std::net::SocketAddr, settings: &str) -> gate::Gate {
    let (cert, key) = gate::certificate();
    gate::Gate::start(&format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
         upstreams: {{b: {{url: 'http://{backend}'{settings}}}}}\n\
         routes: [{{public: true}}]\nthreads: 1\n",
        cert.display(),
        key.display(),
    ))
}

#[test]
fn a_backend_that_takes_too_long_is_504() {
    let silent = Backend::answering(|_, stream| {
        let mut byte = [0];
        drop(stream.read(&mut byte));
        false
    });
    let gate = one_thread(silent.address, ", read_timeout: 300ms");
    assert_eq!(gate.curl().get("/").status, 504);
}

#[test]
fn a_backend_has_its_time_to_answer_from_the_end_of_a_long_upload() {
    let backend = Backend::start();
    let gate = one_thread(backend.address, ", read_timeout: 500ms");
    let mut client = gate.connect();
    client.send(b"PUT /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n");
    // Three times what the backend has: the pieces come in time, so nothing is late.
    for _ in 0..10 {
        std::thread::sleep(std::time::Duration::from_millis(150));
        client.send(b"x");
    }
    assert_eq!(status_of(&client.read_answer()), 200);
    assert_eq!(backend.only().body.len(), 10);
}

#[test]
fn an_idle_connection_is_used_again_and_replaced_when_the_backend_has_closed_it() {
    // Says that it keeps the connection, and closes it after the first request on it.
    let backend = Backend::answering(|request, stream| {
        let body = request.connection.to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).unwrap();
        request.path() != "/public/last"
    });
    let gate = one_thread(backend.address, "");
    let ask = |path: &str, args: &[&str]| gate.curl().args(args.iter().copied()).get(path);
    assert_eq!(ask("/public/a", &[]).body, "0");
    assert_eq!(ask("/public/b", &[]).body, "0");
    assert_eq!(ask("/public/last", &[]).body, "0");
    assert_eq!(ask("/public/c", &[]).body, "1");
    assert_eq!(ask("/public/last", &[]).body, "1");
    // Even what cannot be sent twice gets a connection that works.
    let posted = ask("/public/d", &["-d", "x"]);
    assert_eq!((posted.status, posted.body.as_str()), (200, "2"));
}

#[test]
fn a_request_that_may_be_sent_twice_is_when_the_backend_closes_under_it_and_others_are_not() {
    // Closes without an answer, on the connection that has already served a request.
    let backend = Backend::answering(|request, stream| {
        if request.path().contains("drop") && request.connection == 0 {
            return false;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .is_ok()
    });
    let gate = one_thread(backend.address, "");
    assert_eq!(gate.curl().get("/first").status, 200);
    assert_eq!(gate.curl().get("/drop").status, 200);
    let drops = backend
        .seen()
        .iter()
        .filter(|request| request.path() == "/drop")
        .count();
    assert_eq!(drops, 2);
}

#[test]
fn a_post_is_never_sent_twice() {
    let backend = Backend::answering(|request, stream| {
        if request.path() == "/drop" {
            return false;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .is_ok()
    });
    let gate = gate::with(backend.address, "");
    let session = gate.log_in("ralph");
    for _ in 0..4 {
        assert_eq!(gate.curl().session(&session).get("/first").status, 200);
    }
    let posted = gate.curl().session(&session).args(["-d", "x"]).get("/drop");
    assert_eq!(posted.status, 502);
    let drops = backend
        .seen()
        .iter()
        .filter(|request| request.path() == "/drop")
        .count();
    assert_eq!(drops, 1);
}

#[test]
fn an_http_1_0_client_gets_an_answer_it_understands() {
    let backend = Backend::saying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    );
    let gate = in_front_of(backend.address);
    let answer = gate.raw(b"GET /public/ HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("Connection: close\r\n") && answer.ends_with("\r\n\r\nbody"),
        "{answer}"
    );
    assert!(!answer.contains("chunked"), "{answer}");
}

#[test]
fn many_http2_streams_on_one_connection_are_each_answered() {
    let nginx = Nginx::start();
    nginx.write("page", &[b'x'; 3000]);
    let gate = in_front_of(nginx.address);
    let session = gate.log_in("ralph");
    let cookie = format!("Cookie: __Host-portcullis={session}");
    let run = std::process::Command::new("h2load")
        .args([
            "-n",
            "2000",
            "-c",
            "4",
            "-m",
            "32",
            "-H",
            &cookie,
            // A bare machine may not know localhost by name.
            &format!("https://{}/page", gate.address),
        ])
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(
        report.contains("2000 succeeded, 0 failed, 0 errored"),
        "{report}"
    );
    assert!(report.contains("2000 2xx"), "{report}");
}

#[test]
fn an_http2_client_that_gives_up_frees_the_backend() {
    let (gone, saw_gone) = channel();
    let gone = Mutex::new(gone);
    let backend = Backend::answering(move |_, stream| {
        // Never answers; reads until the gate lets go.
        let mut byte = [0];
        let end = matches!(stream.read(&mut byte), Ok(0) | Err(_));
        gone.lock().unwrap().send(end).unwrap();
        false
    });
    let gate = in_front_of(backend.address);
    let got = gate
        .curl()
        .args(["--http2", "--max-time", "1"])
        .get("/public/");
    assert_eq!(got.exit, 28, "{got:?}");
    assert!(saw_gone.recv_timeout(PATIENCE).unwrap());
}
