//! Backends with several addresses: who gets which request, and what becomes of requests for one
//! that cannot be reached.

mod health;
mod names;
mod retries;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::harness::backend::Backend;
use crate::harness::client::Got;
use crate::harness::gate::Gate;
use crate::harness::metrics::Metrics;
use crate::harness::nginx::Nginx;
use crate::harness::pki::{Client, Key, Pki};
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

/// A backend that takes requests and closes without an answer, and counts them.
fn breaking() -> Backend {
    Backend::answering(|_, _| false)
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

// === Choice ===

/// The URLs of these backends as the configuration has them.
fn urls(backends: &[&Backend]) -> String {
    let quoted = backends.iter().map(|it| format!("'http://{}'", it.address));
    format!("urls: [{}]", quoted.collect::<Vec<_>>().join(", "))
}

#[test]
fn who_has_fewest_requests_under_way_gets_the_next() {
    let (open, until) = gate_of_requests();
    let slow = Backend::answering(move |_, stream| {
        until.lock().unwrap().recv().unwrap();
        say(stream, "slow")
    });
    let quick = named("quick");
    let gate = gate(&format!(
        "{{{}, balance: least_connections}}",
        urls(&[&slow, &quick])
    ));
    let mut waiting = gate.connect();
    // At the latest the second one meets the slow one, which then has one more than the other.
    for _ in 0..2 {
        waiting.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let met = eventually("it has arrived", || {
            let at_slow = !slow.seen().is_empty();
            (at_slow || !quick.seen().is_empty()).then_some(at_slow)
        });
        if met {
            break;
        }
        waiting.read_answer();
        quick.forget();
    }
    assert_eq!(slow.seen().len(), 1);
    assert_eq!(spread(&gate, 5), counts(&[("quick", 5)]));
    open.send(()).unwrap();
    assert!(waiting.read_answer().ends_with("slow"));
}

/// What opens a gate that a backend waits at.
fn gate_of_requests() -> (Sender<()>, Mutex<Receiver<()>>) {
    let (open, until) = channel();
    (open, Mutex::new(until))
}

#[test]
fn one_client_stays_with_one_address_by_what_the_configuration_says() {
    let backends = [named("a"), named("b"), named("c")];
    let all: Vec<_> = backends.iter().collect();
    for (balance, says) in [
        ("{cookie: sid}", "Cookie: theme=dark; sid=KEY"),
        ("{header: X-Tenant}", "X-Tenant: KEY"),
    ] {
        let gate = gate(&format!("{{{}, balance: {balance}}}", urls(&all)));
        let of = |key: &str| {
            let header = says.replace("KEY", key);
            let got = gate.curl().header(&header).get("/");
            assert_eq!(got.status, 200, "{got:?}");
            got.body
        };
        let mut used = BTreeSet::new();
        for key in [
            "one", "two", "three", "four", "five", "six", "seven", "eight",
        ] {
            let first = of(key);
            for _ in 0..3 {
                assert_eq!(of(key), first, "{balance} {key}");
            }
            used.insert(first);
        }
        assert!(used.len() > 1, "{balance}: {used:?}");
        // Without it, any may serve.
        assert_eq!(spread(&gate, 6), counts(&[("a", 2), ("b", 2), ("c", 2)]));
    }
    let gate = gate(&format!("{{{}, balance: address}}", urls(&all)));
    assert_eq!(spread(&gate, 6).len(), 1);
}

// === Whose connections ===

#[test]
fn a_connection_serves_the_upstream_and_the_host_that_it_was_made_for_and_no_other() {
    let pki = Pki::new();
    pki.leaf("backend", Key::Ecdsa, &["localhost"]);
    for name in ["one", "other"] {
        let subject = format!("/CN={name}");
        let client = Client {
            subject: &subject,
            ..Client::default()
        };
        pki.client(name, &client);
        pki.join(
            &[&format!("{name}.crt"), "int.crt"],
            &format!("{name}.chain"),
        );
    }
    pki.join(&["backend.crt", "int.crt"], "backend.chain");
    let path = |name: &str| pki.path(name).display().to_string();
    let nginx = Nginx::listening(&format!(
        "ssl_certificate {}; ssl_certificate_key {}; ssl_client_certificate {}; \
         ssl_verify_client optional; ssl_verify_depth 3; ssl_protocols TLSv1.3;",
        path("backend.chain"),
        path("backend.key"),
        path("root.crt")
    ));
    let port = nginx.address.port();
    let shows = |name: &str| {
        let (chain, key) = (path(&format!("{name}.chain")), path(&format!("{name}.key")));
        format!("certificate: {{cert: {chain}, key: {key}}}")
    };
    let trusts = format!("ca: {}, server_name: localhost", path("root.crt"));
    let url = format!("url: 'https://127.0.0.1:{port}'");
    let (one, other) = (shows("one"), shows("other"));
    let config = config("{url: 'http://127.0.0.1:1'}")
        .replace(
            "upstreams: {",
            &format!(
                "upstreams: {{one: {{{url}, tls: {{{trusts}, {one}}}}}, \
                 other: {{{url}, tls: {{{trusts}, {other}}}}}, \
                 nobody: {{{url}, tls: {{{trusts}}}}}, \
                 hosts: {{urls: ['https://127.0.0.1:{port}', 'https://localhost:{port}'], \
                 tls: {{unsafe_skip_verify: true}}}}, "
            ),
        )
        .replace(
            "routes: [",
            "routes: [{match: /gate, host: one.example, public: true, upstream: one}, \
             {match: /gate, host: other.example, public: true, upstream: other}, \
             {match: /gate, host: nobody.example, public: true, upstream: nobody}, \
             {match: /gate, host: hosts.example, public: true, upstream: hosts}, ",
        )
        .replace("{public: true}]", "{public: true, upstream: app}]");
    let gate = Gate::start(&config);
    let of = |host: &str| {
        let got = gate
            .curl()
            .header(&format!("Host: {host}.example"))
            .get("/gate");
        assert_eq!(got.status, 200, "{got:?}");
        got.body
    };
    for _ in 0..3 {
        assert_eq!(of("one"), "TLSv1.3 CN=one localhost");
        assert_eq!(of("other"), "TLSv1.3 CN=other localhost");
        assert_eq!(of("nobody"), "TLSv1.3  localhost");
    }
    let names: Vec<_> = (0..6).map(|_| of("hosts")).collect();
    let named = names
        .iter()
        .filter(|it| *it == "TLSv1.3  localhost")
        .count();
    let unnamed = names.iter().filter(|it| *it == "TLSv1.3  ").count();
    // Each thread takes them in turns.
    assert!(
        named > 0 && unnamed > 0 && named + unnamed == 6,
        "{names:?}"
    );
    // Each connection was used again, by its own.
    for upstream in ["one", "other", "nobody", "hosts"] {
        let labels = [("upstream", upstream), ("reused", "true")];
        let metrics = Metrics::parse(&gate.metrics());
        let reused = metrics.sum("portcullis_upstream_connections_total", &labels);
        assert!(reused >= 1.0, "{upstream}: {reused}");
    }
}
