//! What is sent again where a backend does not answer, and what is not; how long one waits.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{breaking, counts, gate, gate_of_requests, named, post, say, spread, urls};
use crate::harness::backend::Backend;
use crate::harness::eventually;

#[test]
fn what_may_be_sent_twice_goes_on_where_the_connection_breaks_and_nothing_else_does() {
    let (bad, good) = (breaking(), named("good"));
    let eject = "eject: off";
    let gate = gate(&format!("{{{}, {eject}}}", urls(&[&bad, &good])));
    assert_eq!(spread(&gate, 6), counts(&[("good", 6)]));
    assert_eq!(bad.seen().len(), 3);
    let moved = |line: &serde_json::Value| {
        line["upstream.retries"] == 1 && line["upstream.address"] == good.address.to_string()
    };
    eventually("the log says so", || gate.line_where(moved));
    good.forget();
    bad.forget();
    let mut statuses: Vec<_> = (0..6).map(|_| post(&gate).status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 502, 502, 502]);
    assert_eq!((bad.seen().len(), good.seen().len()), (3, 3));
}

#[test]
fn a_backend_that_breaks_off_every_second_request_is_not_noticed() {
    let count = AtomicUsize::new(0);
    let flaky = Backend::answering(move |_, stream| {
        count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) && say(stream, "flaky")
    });
    let good = named("good");
    let gate = gate(&format!("{{{}}}", urls(&[&flaky, &good])));
    let mut connection = gate.connect();
    for _ in 0..200 {
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(connection.read_answer().starts_with("HTTP/1.1 200"));
    }
    assert!(flaky.seen().len() > 50, "{}", flaky.seen().len());
}

#[test]
fn nothing_is_sent_again_where_the_configuration_says_so() {
    let (bad, good) = (breaking(), named("good"));
    let gate = gate(&format!(
        "{{{}, eject: off, retries: 0}}",
        urls(&[&bad, &good])
    ));
    let mut statuses: Vec<_> = (0..6).map(|_| gate.curl().get("/").status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 502, 502, 502]);
}

#[test]
fn a_backend_that_breaks_everything_off_does_not_get_everything_twice() {
    let (one, other) = (breaking(), breaking());
    let gate = gate(&format!("{{{}, eject: off}}", urls(&[&one, &other])));
    let mut connection = gate.connect();
    const REQUESTS: usize = 1000;
    for _ in 0..REQUESTS {
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(connection.read_answer().starts_with("HTTP/1.1 502"));
    }
    let got = one.seen().len() + other.seen().len();
    // A fifth, and a hundred at the start.
    assert!((REQUESTS + 200..=REQUESTS + 301).contains(&got), "{got}");
}

#[test]
fn a_slow_backend_does_not_get_the_same_once_more() {
    let (_open, until) = gate_of_requests();
    let slow = Backend::answering(move |_, _| until.lock().unwrap().recv().is_ok());
    let spare = named("spare");
    let gate = gate(&format!(
        "{{urls: ['http://{}', {{url: 'http://{}', backup: true}}], header_timeout: 300ms}}",
        slow.address, spare.address
    ));
    assert_eq!(gate.curl().get("/").status, 504);
    assert_eq!((slow.seen().len(), spare.seen().len()), (1, 0));
}

// === Time ===

#[test]
fn the_beginning_of_an_answer_and_its_pieces_have_limits_of_their_own() {
    let slow_head = Backend::answering(|_, stream| {
        std::thread::sleep(Duration::from_millis(700));
        say(stream, "late")
    });
    let slow_body = Backend::answering(|_, stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"));
        std::thread::sleep(Duration::from_millis(700));
        stream.write_all(b"b").is_ok()
    });
    let with = |backend: &Backend, limits: &str| {
        let gate = gate(&format!("{{url: 'http://{}', {limits}}}", backend.address));
        let got = gate.curl().get("/");
        (got.exit, got.status, got.body)
    };
    let early = "header_timeout: 300ms, read_timeout: 10s";
    assert_eq!(with(&slow_head, early).1, 504);
    assert_eq!(with(&slow_body, early), (0, 200, "ab".into()));
    let late = "header_timeout: 10s, read_timeout: 300ms";
    assert_eq!(with(&slow_head, late), (0, 200, "late".into()));
    assert_ne!(with(&slow_body, late).0, 0);
}

#[test]
fn a_whole_exchange_ends_in_time_whatever_it_is_at() {
    let (_open, until) = gate_of_requests();
    let silent = Backend::answering(move |_, _| until.lock().unwrap().recv().is_ok());
    let dripping = Backend::answering(|_, stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"));
        while stream.write_all(b".").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    });
    let before_it = gate(&format!(
        "{{url: 'http://{}', timeout: 500ms}}",
        silent.address
    ));
    assert_eq!(before_it.curl().get("/").status, 504);
    let within_it = gate(&format!(
        "{{url: 'http://{}', timeout: 500ms}}",
        dripping.address
    ));
    let got = within_it.curl().get("/");
    assert_ne!(got.exit, 0, "{got:?}");
    for gate in [before_it, within_it] {
        let is_it = |line: &serde_json::Value| line["error.type"] == "upstream_timeout";
        eventually("the log says so", || gate.line_where(is_it));
    }
}
