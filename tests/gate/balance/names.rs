//! Names of backends: looked up beside the requests, from a hosts file of the test's own.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{ask, config, counts, gate, gate_of_requests, say, spread};
use crate::harness::backend::Backend;
use crate::harness::eventually;
use crate::harness::gate::{BINARY, Gate};

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
fn connections_to_an_address_that_is_gone_are_closed_and_requests_there_end_well() {
    let (open, until) = gate_of_requests();
    let first = Backend::at("127.0.1.1:0", move |request, stream| {
        if request.path() == "/slow" {
            until.lock().unwrap().recv().unwrap();
        }
        say(stream, "first")
    });
    let port = first.address.port();
    let _second = Backend::at(("127.0.1.2", port), |_, stream| say(stream, "second"));
    let named = Named::new("127.0.1.1 app.internal\n");
    let gate = named.start(&format!(
        "{{url: 'http://app.internal:{port}', resolve: 1s}}"
    ));
    let mut slow = gate.connect();
    slow.send(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
    eventually("it has arrived", || first.seen().first().cloned());
    assert_eq!(spread(&gate, 2), counts(&[("first", 2)]));
    assert_eq!(connections_to(first.address), 2);
    named.write("127.0.1.2 app.internal\n");
    eventually("it is not used any more", || {
        (ask(&gate) == "second").then_some(())
    });
    eventually("the idle one is closed", || {
        (connections_to(first.address) == 1).then_some(())
    });
    open.send(()).unwrap();
    assert!(slow.read_answer().ends_with("first"));
    eventually("the other is closed too", || {
        (connections_to(first.address) == 0).then_some(())
    });
}

/// How many connections to this address the system has that are open on our side.
fn connections_to(address: SocketAddr) -> usize {
    let SocketAddr::V4(address) = address else {
        panic!("{address}");
    };
    let ip = u32::from_le_bytes(address.ip().octets());
    let remote = format!("{ip:08X}:{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let columns = table.lines().map(|line| line.split_whitespace());
    columns
        .filter(|columns| {
            let mut columns = columns.clone().skip(2);
            let is_there = columns.next() == Some(&*remote);
            // Established.
            is_there && columns.next() == Some("01")
        })
        .count()
}

#[test]
fn a_name_server_that_hangs_holds_up_nobody_and_not_the_end_either() {
    let (port, _first, _second) = pair();
    let named = Named::new("127.0.1.1 app.internal\n");
    let mut gate = named.start(&format!(
        "{{url: 'http://app.internal:{port}', resolve: 1s}}"
    ));
    assert_eq!(ask(&gate), "first");
    // A pipe that nobody writes to: who looks for a name in it waits for good.
    let path = |name: &str| named.folder.path().join(name);
    let made = Command::new("mkfifo").arg(path("pipe")).status().unwrap();
    assert!(made.success());
    std::fs::rename(path("pipe"), path("hosts")).unwrap();
    let waits = |line: &serde_json::Value| {
        line["event"] == "upstream.unresolved"
            && line["message"] == "no answer yet; its last addresses stay"
    };
    let mut longest = Duration::ZERO;
    eventually("the look-up hangs", || {
        let begun = Instant::now();
        assert_eq!(ask(&gate), "first");
        longest = longest.max(begun.elapsed());
        gate.line_where(waits)
    });
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    gate.signal("TERM");
    assert!(gate.wait().success());
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

#[test]
fn localhost_is_one_address_whichever_of_the_two_has_the_server() {
    let first = Backend::at("127.0.0.1:0", |_, stream| say(stream, "here"));
    // Keeps a port of the first from everybody, and listens there no more than anybody else.
    let kept = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    kept.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let port = kept.local_addr().unwrap().as_socket().unwrap().port();
    let second = Backend::at(("::1", port), |_, stream| say(stream, "here"));
    for backend in [first, second] {
        let port = backend.address.port();
        let gate = gate(&format!("{{url: 'http://localhost:{port}', health: tcp}}"));
        assert_eq!(spread(&gate, 3), counts(&[("here", 3)]));
        gate.await_metric("portcullis_upstream_healthy", &[("upstream", "app")], 1.0);
    }
}
