//! How much, how fast and how often a client may: each limit with what happens at it.

use portcullis::proxy::spec::{BufferingSpec, ClientTimeouts, Limits, UpstreamSpec};

use crate::harness::backend::Backend;
use crate::harness::client::{Connection, Curl, Got, status_of};
use crate::harness::eventually;
use crate::harness::gate::{self, Gate};
use crate::harness::process::{finished, portcullis};

/// A gate with an http listener, and these top-level keys.
fn with(backend: &Backend, more: &str) -> Gate {
    Gate::start(&format!(
        "listeners: [{{address: '127.0.0.1:0', protocol: http}}]\n\
         upstreams: {{backend: {{url: 'http://{}'}}}}\n\
         admin: {{address: '127.0.0.1:0'}}\nthreads: 2\n{more}",
        backend.address,
    ))
}

/// What a client at this address is answered.
#[track_caller]
fn from(gate: &Gate, address: &str, path: &str) -> Got {
    Curl::new(gate.port())
        .args(["--interface", address])
        .fetch(&format!("http://{}{path}", gate.address))
}

// === Rates ===

#[test]
fn who_asks_too_often_is_told_to_wait_and_others_are_not() {
    let backend = Backend::start();
    let gate = with(
        &backend,
        "limits: {rate: {address: 1/m, burst: 3}}\nroutes: [{public: true}]\n",
    );
    for _ in 0..3 {
        assert_eq!(from(&gate, "127.0.0.1", "/x").status, 200);
    }
    let told = from(&gate, "127.0.0.1", "/x");
    assert_eq!(told.status, 429, "{told:?}");
    let wait: u64 = told.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    // Whatever it is for: what is not there counts as well.
    assert_eq!(from(&gate, "127.0.0.1", "/nothing").status, 429);
    assert_eq!(from(&gate, "127.0.0.2", "/x").status, 200);
    assert_eq!(backend.seen().len(), 4);
    gate.await_metric(
        "portcullis_http_requests_rejected_total",
        &[("reason", "rate_limited")],
        2.0,
    );
    let line = gate
        .line_where(|line| line["auth.reason"] == "rate_limited")
        .unwrap();
    assert_eq!(line["http.response.status_code"], 429);
    assert_eq!(line["auth.hint"], "limits.rate.address", "{line}");
}

#[test]
fn a_user_is_one_wherever_they_come_from() {
    let backend = Backend::start();
    let gate = gate::with(
        backend.address,
        "limits: {rate: {user: 1/h, burst: 2}}\ntrusted_proxies: [127.0.0.1]\n",
    );
    let (ralph, ada) = (gate.log_in("ralph"), gate.log_in("ada"));
    let ask = |session: &str, client: &str| {
        let client = format!("X-Forwarded-For: {client}");
        gate.curl()
            .session(session)
            .header(&client)
            .get("/x")
            .status
    };
    assert_eq!(ask(&ralph, "1.1.1.1"), 200);
    assert_eq!(ask(&ralph, "2.2.2.2"), 200);
    assert_eq!(ask(&ralph, "3.3.3.3"), 429);
    eventually("the log says which limit it is", || {
        gate.line_where(|line| line["auth.hint"] == "limits.rate.user")
    });
    assert_eq!(ask(&ada, "3.3.3.3"), 200);
    // Who is nobody is not counted as a user.
    for _ in 0..5 {
        assert_eq!(gate.curl().get("/public/").status, 200);
    }
}

#[test]
fn a_route_has_a_rate_of_its_own() {
    let backend = Backend::start();
    let gate = with(
        &backend,
        "routes:\n\
         - {match: /search, public: true, rate: {address: 2/h, burst: 2}}\n\
         - {match: /export, public: true, rate: {address: 1/h, burst: 1}}\n\
         - {public: true}\n",
    );
    let ask = |path: &str| from(&gate, "127.0.0.1", path).status;
    assert_eq!(
        [ask("/search"), ask("/search"), ask("/search")],
        [200, 200, 429]
    );
    assert_eq!([ask("/export"), ask("/export")], [200, 429]);
    for hint in ["routes[0].rate.address", "routes[1].rate.address"] {
        eventually("the log says which limit it is", || {
            gate.line_where(|line| line["auth.hint"] == hint)
        });
    }
    assert_eq!(from(&gate, "127.0.0.2", "/export").status, 200);
    for _ in 0..5 {
        assert_eq!(ask("/x"), 200);
    }
}

// === Sizes ===

#[test]
fn a_url_that_is_too_long_is_414_over_either_version() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "limits: {url_bytes: 256}\n");
    let path = |length: usize| format!("/public/{}", "a".repeat(length - "/public/".len()));
    for version in ["--http1.1", "--http2"] {
        let ask = |length| gate.curl().args([version]).get(&path(length)).status;
        assert_eq!((ask(256), ask(257)), (200, 414), "{version}");
    }
    // At once, however much more would come.
    let mut endless = gate.connect();
    endless.send(format!("GET {}", path(300)).as_bytes());
    assert_eq!(status_of(&endless.read_to_end()), 414);
}

#[test]
fn a_head_that_is_too_large_is_431_with_a_page_a_line_and_a_number_over_either_version() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "limits: {header_bytes: 2KiB}\n");
    for (version, logged) in [("--http1.1", 1), ("--http2", 2)] {
        let ask = |length: usize| {
            let field = format!("X: {}", "x".repeat(length));
            gate.curl().args([version]).header(&field).get("/public/")
        };
        assert_eq!(ask(1000).status, 200, "{version}");
        let refused = ask(3000);
        assert_eq!(refused.status, 431, "{version}: {refused:?}");
        assert!(
            refused.body.contains("longer than limits.header_bytes"),
            "{refused:?}"
        );
        let is_refused = |line: &serde_json::Value| {
            line["http.response.status_code"] == 431 && line["auth.reason"] == "header_too_large"
        };
        eventually("it is on record", || {
            (gate.count_lines(is_refused) == logged).then_some(())
        });
        gate.await_metric(
            "portcullis_http_requests_rejected_total",
            &[("reason", "header_too_large")],
            logged as f64,
        );
    }
}

// === Connections ===

#[test]
fn a_connection_ends_after_so_many_requests() {
    let backend = Backend::start();
    let gate = with(
        &backend,
        "limits: {requests_per_connection: 3}\nroutes: [{public: true}]\n",
    );
    let mut connection = Connection::plain(gate.address);
    for last in [false, false, true] {
        connection.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = connection.read_answer();
        assert_eq!(status_of(&answer), 200);
        assert_eq!(answer.contains("Connection: close"), last);
    }
    assert_eq!(connection.read_to_end(), "");
}

// === docs/limits.md ===

/// The second column of the row that is about `key`.
#[track_caller]
fn documented(page: &str, key: &str) -> String {
    let row = page
        .lines()
        .find(|row| row.starts_with("| `") && row.contains(&format!("`{key}`")));
    let row = row.unwrap_or_else(|| panic!("docs/limits.md says nothing of {key}"));
    row.split(" | ").nth(1).unwrap().to_owned()
}

/// The keys that a section knows, as it says when it is given one that it does not know.
#[track_caller]
fn keys_of(section: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portcullis.yaml");
    std::fs::write(&file, format!("{section}: {{no-such-key: 1}}\n")).unwrap();
    let said = finished(portcullis(["check", "-c", file.to_str().unwrap()]), "");
    let all = format!("{}{}", said.out, said.errors);
    let (_, keys) = all
        .split_once("no-such-key: unknown key; allowed here: ")
        .unwrap_or_else(|| panic!("{all}"));
    let keys = keys.lines().next().unwrap();
    keys.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_limit_is_documented_with_its_default() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/limits.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (limits, times) = (Limits::default(), ClientTimeouts::default());
    let buffering = BufferingSpec::default();
    let size = |bytes: u64| match bytes {
        _ if bytes.is_multiple_of(1 << 30) => format!("{}GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => bytes.to_string(),
    };
    let span = |time: std::time::Duration| format!("{}s", time.as_secs());
    let defaults = [
        ("limits.header_bytes", size(limits.head.bytes as u64)),
        ("limits.header_fields", limits.head.fields.to_string()),
        ("limits.url_bytes", size(limits.head.target as u64)),
        ("limits.body", size(limits.body)),
        (
            "limits.requests_per_connection",
            limits.requests_per_connection.to_string(),
        ),
        ("limits.http2_streams", limits.http2_streams.to_string()),
        ("timeouts.handshake", span(times.handshake)),
        ("timeouts.head", span(times.head)),
        ("timeouts.body", span(times.body)),
        ("timeouts.body_rate", size(times.body_rate)),
        ("timeouts.idle", span(times.idle)),
        ("buffering.total", size(buffering.total)),
        ("buffering.folder", buffering.folder.display().to_string()),
        (
            "upstreams.NAME.max_requests",
            UpstreamSpec::new("", Vec::new()).max_requests.to_string(),
        ),
    ];
    for (key, default) in &defaults {
        assert_eq!(&documented(&page, key), default, "{key}");
    }
    for section in ["limits", "timeouts", "buffering"] {
        for key in keys_of(section) {
            match format!("{section}.{key}").as_str() {
                "limits.rate" => {
                    for key in ["address", "user", "burst"] {
                        documented(&page, &format!("limits.rate.{key}"));
                    }
                }
                key => assert!(defaults.iter().any(|(known, _)| *known == key), "{key}"),
            }
        }
    }
}
