//! No request that two parsers could read differently reaches the backend.

use crate::harness::backend::Backend;
use crate::harness::client::status_of;
use crate::harness::frames::{DATA, END_HEADERS, END_STREAM, Frame, Frames, HEADERS, block, frame};
use crate::harness::gate::{self, in_front_of};

/// Sends each request on a connection of its own, and checks the status and that the backend saw
/// something exactly when it was granted.
#[track_caller]
fn check_all(cases: &[(&str, &[u8], u16)]) {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    for (name, request, expected) in cases {
        backend.forget();
        let answer = gate.raw(request);
        assert_eq!(status_of(&answer), *expected, "{name}: {answer}");
        let arrived = backend.seen();
        if *expected == 200 {
            assert_eq!(arrived.len(), 1, "{name}");
        } else {
            assert!(
                arrived.is_empty(),
                "{name} reached the backend: {arrived:?}"
            );
            assert!(answer.contains("onnection: close"), "{name}: {answer}");
        }
    }
}

/// `$1` with the fields that every good request of these tables has.
macro_rules! post {
    ($rest:expr) => {
        concat!(
            "POST /public/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
            $rest
        )
        .as_bytes()
    };
}

#[test]
fn a_body_has_exactly_one_length() {
    check_all(&[
        ("length", post!("Content-Length: 2\r\n\r\nok"), 200),
        ("chunked", post!("Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), 200),
        (
            "CL with TE",
            post!("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            "TE with CL",
            post!("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
            400,
        ),
        ("two lengths", post!("Content-Length: 2\r\nContent-Length: 3\r\n\r\nokk"), 400),
        ("equal lengths", post!("Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"), 400),
        ("list of lengths", post!("Content-Length: 2, 2\r\n\r\nok"), 400),
        ("signed length", post!("Content-Length: +2\r\n\r\nok"), 400),
        ("length with an underscore", post!("Content_Length: 2\r\n\r\nok"), 400),
        ("unknown coding", post!("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501),
        ("space before colon", post!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 400),
        ("not last", post!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"), 400),
        (
            "TE in 1.0",
            b"POST /public/ HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
    ]);
}

#[test]
fn lines_end_with_crlf_and_are_not_folded() {
    check_all(&[
        (
            "CRLF",
            b"GET /public/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            200,
        ),
        (
            "bare LF",
            b"GET /public/ HTTP/1.1\nHost: localhost\n\n",
            400,
        ),
        (
            "one bare LF",
            b"GET /public/ HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
            400,
        ),
        (
            "bare CR",
            b"GET /public/ HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n",
            400,
        ),
        (
            "obs-fold",
            b"GET /public/ HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
            400,
        ),
        (
            "leading line",
            b"\r\nGET /public/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
            400,
        ),
        (
            "NUL",
            b"GET /public/ HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
            400,
        ),
    ]);
}

#[test]
fn a_request_names_exactly_one_host() {
    check_all(&[
        ("one", b"GET /public/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200),
        (
            "absolute",
            b"GET http://localhost/public/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            200,
        ),
        ("none", b"GET /public/ HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        ("two", b"GET /public/ HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n", 400),
        ("two equal", b"GET /public/ HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        ("user", b"GET /public/ HTTP/1.1\r\nHost: a@localhost\r\n\r\n", 400),
        ("other", b"GET http://other/public/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("connect", b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n", 405),
        ("trace", b"TRACE /public/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
        ("fragment", b"GET /public/#x HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("version", b"GET /public/ HTTP/1.2\r\nHost: localhost\r\n\r\n", 505),
        ("garbage", b"\x16\x03\x01garbage\r\n\r\n", 400),
    ]);
}

#[test]
fn a_head_is_bounded_in_bytes_and_fields() {
    let with_value = |bytes: usize| {
        let rest = "GET /public/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: \r\n\r\n";
        rest.replace("X: ", &format!("X: {}", "a".repeat(bytes - rest.len())))
            .into_bytes()
    };
    let with_fields = |count: usize| {
        let more: String = (2..count).map(|n| format!("X-{n}: y\r\n")).collect();
        format!("GET /public/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n")
            .into_bytes()
    };
    let long_target = format!("GET /public/{} HTTP/1.1\r\n", "a".repeat(40_000)).into_bytes();
    check_all(&[
        ("32 KiB", &with_value(32 << 10), 200),
        ("one more", &with_value((32 << 10) + 1), 431),
        ("100 fields", &with_fields(100), 200),
        ("101 fields", &with_fields(101), 431),
        ("long target", &long_target, 414),
    ]);
}

#[test]
fn chunks_are_read_strictly() {
    check_all(&[
        (
            "extension",
            post!("Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\n\r\n"),
            200,
        ),
        (
            "prefix",
            post!("Transfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n"),
            400,
        ),
        (
            "LF",
            post!("Transfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n"),
            400,
        ),
        (
            "extension LF",
            post!("Transfer-Encoding: chunked\r\n\r\n2;a\nok\r\n0\r\n\r\n"),
            400,
        ),
        (
            "no end",
            post!("Transfer-Encoding: chunked\r\n\r\n2\r\nokx\r\n0\r\n\r\n"),
            400,
        ),
        (
            "empty size",
            post!("Transfer-Encoding: chunked\r\n\r\n\r\nok\r\n0\r\n\r\n"),
            400,
        ),
    ]);
}

#[test]
fn a_second_request_is_its_own_and_is_judged_anew() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let answers = gate.raw(
        b"GET /public/1 HTTP/1.1\r\nHost: localhost\r\n\r\n\
          GET /admin/2 HTTP/1.1\r\nHost: localhost\r\n\r\n\
          GET /public/3 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    let statuses: Vec<u16> = answers
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| status_of(&answers[at..]))
        .filter(|status| *status > 0)
        .collect();
    // The backend's own body repeats its request line, which is no status.
    assert_eq!(statuses, [200, 401, 200], "{answers}");
    let paths: Vec<_> = backend.seen().iter().map(|r| r.path().to_owned()).collect();
    assert_eq!(paths, ["/public/1", "/public/3"]);
}

#[test]
fn a_head_that_does_not_finish_in_time_is_cut_off_and_a_slow_one_that_does_is_served() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "timeouts: {head: 500ms}\n");
    let mut slow = gate.connect();
    slow.send(b"GET /public/ HTTP/1.1\r\nHost: lo");
    let answer = slow.read_to_end();
    assert_eq!(status_of(&answer), 408, "{answer}");
    assert!(backend.seen().is_empty());

    let mut in_time = gate.connect();
    for part in [
        "GET /public/ HTTP/1.1\r\n",
        "Host: localhost\r\n",
        "Connection: close\r\n\r\n",
    ] {
        in_time.send(part.as_bytes());
    }
    assert_eq!(status_of(&in_time.read_to_end()), 200);
}

#[test]
fn the_limit_for_a_head_is_ten_seconds_for_all_of_it() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let mut drip = gate.connect();
    drip.send(b"GET /public/ HTTP/1.1\r\nX: ");
    let started = std::time::Instant::now();
    let mut dripper = gate.connect();
    dripper.send(b"GET /public/ HTTP/1.1\r\nX: ");
    // Bytes that keep coming do not extend the deadline.
    while started.elapsed().as_secs() < 9 {
        dripper.send(b"a");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(status_of(&drip.read_to_end()), 408);
    assert_eq!(status_of(&dripper.read_to_end()), 408);
    assert!(started.elapsed().as_secs() >= 9);
}

#[test]
fn head_is_answered_without_content_also_where_it_is_refused_before_it_is_read() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "timeouts: {head: 500ms}\n");
    for (method, has_content) in [("GET", true), ("HEAD", false)] {
        for (behind, status) in [("Content-Length: 1, 1\r\n\r\n", 400), ("Host: lo", 408)] {
            let answer = gate.raw(format!("{method} /public/ HTTP/1.1\r\n{behind}").as_bytes());
            assert_eq!(status_of(&answer), status, "{answer}");
            assert_eq!(answer.ends_with('}'), has_content, "{method}: {answer}");
            assert_eq!(answer.ends_with("\r\n\r\n"), !has_content, "{answer}");
        }
        let head = block(&[
            (":method", method),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", "/public/"),
            ("transfer_encoding", "chunked"),
        ]);
        let mut client = Frames::open(gate.address);
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head));
        let answer = client.end_of(1);
        let is_content = |frame: &Frame| frame.kind == DATA && !frame.payload.is_empty();
        assert_eq!(answer.iter().any(is_content), has_content, "{method}");
    }
    assert!(backend.seen().is_empty());
}
