//! Backends with several addresses: who gets which request, and what becomes of requests for one
//! that cannot be reached.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Command;

use crate::harness::backend::Backend;
use crate::harness::client::Got;
use crate::harness::gate::{BINARY, Gate};
use crate::harness::{eventually, free_port};

/// A gate on one thread, so that turns can be counted, in front of this upstream.
#[track_caller]
fn gate(upstream: &str) -> Gate {
    Gate::start(&config(upstream))
}

fn config(upstream: &str) -> String {
    let (cert, key) = crate::harness::gate::certificate();
    let (cert, key) = (cert.display(), key.display());
    format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         tls: {{certificates: [{{cert: {cert}, key: {key}}}]}}\n\
         upstreams: {{app: {upstream}}}\n\
         routes: [{{public: true}}]\nthreads: 1\nadmin: {{address: '127.0.0.1:0'}}\n"
    )
}

/// A backend that says `name`.
fn named(name: &'static str) -> Backend {
    Backend::answering(move |_, stream| say(stream, name))
}

fn say(stream: &mut std::net::TcpStream, name: &str) -> bool {
    let length = name.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}"
    )
    .is_ok()
}

/// Nobody listens there.
fn nobody() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

#[track_caller]
fn ask(gate: &Gate) -> String {
    let got = gate.curl().get("/");
    assert_eq!(got.status, 200, "{got:?}\n{}", gate.log());
    got.body
}

/// How often each backend answered, of so many requests.
#[track_caller]
fn spread(gate: &Gate, requests: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        *counts.entry(ask(gate)).or_default() += 1;
    }
    counts
}

fn counts(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let owned = |(name, count): &(&str, usize)| (name.to_string(), *count);
    expected.iter().map(owned).collect()
}

fn post(gate: &Gate) -> Got {
    gate.curl().args(["-d", "some body"]).get("/")
}

#[test]
fn addresses_take_turns_by_their_weight() {
    let (a, b, c) = (named("a"), named("b"), named("c"));
    let even = gate(&format!(
        "{{urls: ['http://{}', 'http://{}', 'http://{}']}}",
        a.address, b.address, c.address
    ));
    assert_eq!(spread(&even, 9), counts(&[("a", 3), ("b", 3), ("c", 3)]));
    let uneven = gate(&format!(
        "{{urls: [{{url: 'http://{}', weight: 2}}, 'http://{}']}}",
        a.address, b.address
    ));
    assert_eq!(spread(&uneven, 9), counts(&[("a", 6), ("b", 3)]));
    let has_address = |line: &serde_json::Value| {
        line["upstream.name"] == "app" && line["upstream.address"] == a.address.to_string()
    };
    eventually("the log says where it was", || {
        uneven.line_where(has_address)
    });
}

#[test]
fn what_cannot_be_reached_is_passed_over_also_with_a_body() {
    let here = named("here");
    let gate = gate(&format!(
        "{{urls: ['http://{}', 'http://{}']}}",
        nobody(),
        here.address
    ));
    assert_eq!(spread(&gate, 6), counts(&[("here", 6)]));
    here.forget();
    for _ in 0..4 {
        let got = post(&gate);
        assert_eq!((got.status, got.body.as_str()), (200, "here"));
    }
    let bodies = here.seen();
    assert_eq!(bodies.len(), 4);
    assert!(bodies.iter().all(|it| it.body == b"some body"));
}

#[test]
fn a_backup_gets_requests_only_while_no_other_can_be_reached() {
    let spare = named("spare");
    let first = named("first");
    let with = |first: SocketAddr| {
        gate(&format!(
            "{{urls: ['http://{first}', {{url: 'http://{}', backup: true}}]}}",
            spare.address
        ))
    };
    assert_eq!(spread(&with(first.address), 4), counts(&[("first", 4)]));
    assert_eq!(spread(&with(nobody()), 4), counts(&[("spare", 4)]));
}

#[test]
fn where_nobody_can_be_reached_it_is_502() {
    let gate = gate(&format!(
        "{{urls: ['http://{}', 'http://{}']}}",
        nobody(),
        nobody()
    ));
    let got = gate.curl().get("/");
    assert_eq!(got.status, 502, "{got:?}");
    let refused = |line: &serde_json::Value| line["error.type"] == "upstream_refused";
    eventually("the log says so", || gate.line_where(refused));
}

// === Names ===

/// A gate whose names come from a file of the test's own.
struct Named {
    folder: tempfile::TempDir,
}

impl Named {
    fn new(hosts: &str) -> Self {
        let named = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        named.write(hosts);
        named
    }

    fn write(&self, hosts: &str) {
        let (new, file) = ("hosts.new", "hosts");
        // In one step: it is read at any time.
        std::fs::write(self.folder.path().join(new), hosts).unwrap();
        let path = |name| self.folder.path().join(name);
        std::fs::rename(path(new), path(file)).unwrap();
    }

    #[track_caller]
    fn start(&self, upstream: &str) -> Gate {
        let file = self.folder.path().join("portcullis.yaml");
        std::fs::write(&file, config(upstream)).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["run", "-c"]).arg(file);
        command.env("LD_PRELOAD", "libnss_wrapper.so");
        command.env("NSS_WRAPPER_HOSTS", self.folder.path().join("hosts"));
        Gate::spawn(command)
    }
}

/// Two backends at one port of two addresses.
fn pair() -> (u16, Backend, Backend) {
    let first = Backend::at("127.0.1.1:0", |_, stream| say(stream, "first"));
    let port = first.address.port();
    let second = Backend::at(("127.0.1.2", port), |_, stream| say(stream, "second"));
    (port, first, second)
}

#[test]
fn a_name_stands_for_all_its_addresses_and_they_may_change() {
    let (port, first, _second) = pair();
    let named = Named::new("127.0.1.1 app.internal\n");
    let gate = named.start(&format!(
        "{{url: 'http://app.internal:{port}', resolve: 1s}}"
    ));
    assert_eq!(spread(&gate, 4), counts(&[("first", 4)]));
    assert_eq!(
        first.seen()[0].field("host"),
        Some(format!("localhost:{}", gate.port()).as_str())
    );
    named.write("127.0.1.1 app.internal\n127.0.1.2 app.internal\n");
    eventually("both are used", || (ask(&gate) == "second").then_some(()));
    assert_eq!(spread(&gate, 4), counts(&[("first", 2), ("second", 2)]));
    named.write("127.0.1.2 app.internal\n");
    eventually("one is left", || {
        (spread(&gate, 2) == counts(&[("second", 2)])).then_some(())
    });
    // A name that is gone keeps what it had.
    named.write("127.0.1.9 other.internal\n");
    let is_said = |line: &serde_json::Value| {
        line["event"] == "upstream.unresolved" && line["dns.question.name"] == "app.internal"
    };
    eventually("it is said", || gate.line_where(is_said));
    assert_eq!(spread(&gate, 4), counts(&[("second", 4)]));
    assert_eq!(gate.count_lines(is_said), 1, "said once");
}

#[test]
fn a_name_that_is_not_there_yet_keeps_nothing_from_starting() {
    let (port, _first, _second) = pair();
    let named = Named::new("127.0.1.9 other.internal\n");
    let gate = named.start(&format!("{{url: 'http://app.internal:{port}'}}"));
    let got = gate.curl().get("/");
    assert_eq!(got.status, 502, "{got:?}");
    let is_it = |line: &serde_json::Value| line["error.type"] == "upstream_unresolved";
    eventually("the log says so", || gate.line_where(is_it));
    named.write("127.0.1.2 app.internal\n");
    eventually("it is found", || {
        let got = gate.curl().get("/");
        (got.body == "second").then_some(())
    });
}

#[test]
fn a_name_is_looked_up_at_once_where_nobody_is_left_at_its_addresses() {
    let (port, _first, _second) = pair();
    let named = Named::new("127.0.1.9 app.internal\n");
    let gate = named.start(&format!(
        "{{url: 'http://app.internal:{port}', resolve: 1h}}"
    ));
    named.write("127.0.1.1 app.internal\n");
    eventually("it is found", || {
        (gate.curl().get("/").body == "first").then_some(())
    });
}
