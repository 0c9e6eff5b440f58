//! Addresses that get no requests: because of what became of others there, and because of what
//! health checks find.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{ask, breaking, config, counts, gate, named, nobody, say, spread, urls};
use crate::harness::backend::Backend;
use crate::harness::eventually;
use crate::harness::frames::{END_HEADERS, GOAWAY, HEADERS, field};
use crate::harness::gate::Gate;
use crate::harness::http2::FrameBackend;
use crate::harness::metrics::Metrics;
use crate::harness::nginx::Nginx;
use crate::harness::pki::{Key, Pki};

#[test]
fn an_address_where_requests_fail_gets_none_for_a_while_and_returns_when_one_is_answered() {
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let sick = Backend::answering(move |_, stream| match is_broken.load(Ordering::Relaxed) {
        true => stream
            .write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            .is_ok(),
        false => say(stream, "sick"),
    });
    let well = named("well");
    let gate = gate(&format!(
        "{{{}, eject: {{failures: 3, for: 1s, statuses: [503]}}}}",
        urls(&[&sick, &well])
    ));
    // What the client gets is the backend's own answer.
    let statuses: Vec<_> = (0..6).map(|_| gate.curl().get("/").status).collect();
    assert_eq!(statuses.iter().filter(|it| **it == 503).count(), 3);
    let seen = sick.seen().len();
    assert_eq!(spread(&gate, 4), counts(&[("well", 4)]));
    let ejected = |line: &serde_json::Value| {
        line["event"] == "upstream.ejected" && line["upstream.address"] == sick.address.to_string()
    };
    eventually("the log says so", || gate.line_where(ejected));
    gate.await_metric("portcullis_upstream_healthy", &[("upstream", "app")], 1.0);
    // Somebody tries it now and then, and no more than one.
    eventually("one tries it", || {
        gate.curl().get("/");
        (sick.seen().len() > seen).then_some(())
    });
    assert_eq!(spread(&gate, 4), counts(&[("well", 4)]));
    broken.store(false, Ordering::Relaxed);
    eventually("it is back", || (ask(&gate) == "sick").then_some(()));
    assert_eq!(spread(&gate, 4), counts(&[("sick", 2), ("well", 2)]));
    let returned = |line: &serde_json::Value| line["event"] == "upstream.returned";
    eventually("the log says so", || gate.line_where(returned));
    gate.await_metric("portcullis_upstream_healthy", &[("upstream", "app")], 2.0);
}

#[test]
fn where_all_fail_all_are_tried() {
    let (one, other) = (breaking(), breaking());
    let gate = gate(&format!(
        "{{{}, retries: 0, eject: {{failures: 1, for: 1h}}}}",
        urls(&[&one, &other])
    ));
    for _ in 0..6 {
        assert_eq!(gate.curl().get("/").status, 502);
    }
    assert_eq!((one.seen().len(), other.seen().len()), (3, 3));
}

#[test]
fn no_more_addresses_are_left_out_at_one_time_than_the_configuration_says() {
    let sick = [(); 3].map(|()| Backend::saying("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"));
    let well = named("well");
    let all: Vec<_> = sick.iter().chain([&well]).collect();
    for (setting, left_out) in [("", 3), (", max_percent: 50", 2), (", max_percent: 1", 1)] {
        let eject = format!("eject: {{failures: 1, for: 1h, statuses: [503]{setting}}}");
        let gate = gate(&format!("{{{}, {eject}}}", urls(&all)));
        for _ in 0..20 {
            gate.curl().get("/");
        }
        let turns: Vec<_> = (0..12).map(|_| gate.curl().get("/").status).collect();
        let failed = turns.iter().filter(|status| **status == 503).count();
        let expected = 12 * (3 - left_out) / (4 - left_out);
        assert_eq!(failed, expected, "{setting} {turns:?}");
    }
}

#[test]
fn no_request_that_may_be_sent_twice_fails_when_a_backend_is_killed_under_load() {
    let (doomed, other) = (Nginx::start(), Nginx::start());
    let gate = Gate::start(
        &config(&format!(
            "{{urls: ['http://{}', 'http://{}']}}",
            doomed.address, other.address
        ))
        .replace("threads: 1", "threads: 2"),
    );
    let (requests, clients) = (20_000, 32);
    let mut load = Command::new("h2load")
        .args([
            "--h1",
            "-n",
            &requests.to_string(),
            "-c",
            &clients.to_string(),
        ])
        .arg(format!("https://{}/whoami", gate.address))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let both = [("upstream", "app"), ("reused", "true")];
    eventually("the load is on", || {
        let metrics = Metrics::parse(&gate.metrics());
        (metrics.sum("portcullis_upstream_connections_total", &both) > 500.0).then_some(())
    });
    drop(doomed);
    let mut said = String::new();
    load.stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(load.wait().unwrap().success());
    let all = format!("status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx");
    assert!(said.contains(&all), "{said}");
    let at_other = gate.count_lines(|line| line["upstream.address"] == other.address.to_string());
    assert!(at_other > requests / 2, "{at_other}");
}

// === Health checks ===

#[test]
fn a_backend_that_hangs_gets_nothing_until_it_answers_again() {
    let (hanging, other) = (Nginx::start(), Nginx::start());
    let health = "health: {path: /whoami, status: 200, interval: 100ms, timeout: 300ms}";
    let gate = gate(&format!(
        "{{urls: ['http://{}', 'http://{}'], {health}, header_timeout: 2s, eject: off}}",
        hanging.address, other.address
    ));
    let of_app = [("upstream", "app")];
    gate.await_metric("portcullis_upstream_healthy", &of_app, 2.0);
    hanging.signal("STOP");
    gate.await_metric("portcullis_upstream_healthy", &of_app, 1.0);
    let found = |result: &str| {
        gate.line_where(|line| {
            line["event"] == "upstream.health"
                && line["result"] == result
                && line["upstream.address"] == hanging.address.to_string()
        })
    };
    let unhealthy = eventually("the log says so", || found("unhealthy"));
    assert_eq!(unhealthy["message"], "there was no answer in time");
    for _ in 0..6 {
        assert_eq!(gate.curl().get("/whoami").status, 200);
    }
    hanging.signal("CONT");
    gate.await_metric("portcullis_upstream_healthy", &of_app, 2.0);
    eventually("the log says so", || found("healthy"));
    let at = |nginx: &Nginx| {
        gate.count_lines(|line| line["upstream.address"] == nginx.address.to_string())
    };
    let before = at(&hanging);
    for _ in 0..6 {
        assert_eq!(gate.curl().get("/whoami").status, 200);
    }
    eventually("it has its share", || {
        (at(&hanging) > before + 2).then_some(())
    });
}

#[test]
fn health_is_what_the_configuration_says_it_is() {
    let nginx = Nginx::start();
    let with = |health: &str| gate(&format!("{{url: 'http://{}', {health}}}", nginx.address));
    let good = with("health: {path: /whoami, interval: 50ms}");
    let bad = with("health: {path: /missing, interval: 50ms}");
    let odd = with("health: {path: /missing, status: 404, interval: 50ms}");
    let line = eventually("it is found", || bad.line_where(is_health));
    assert_eq!(line["result"], "unhealthy");
    assert_eq!(line["message"], "the answer was 404 Not Found");
    // It is the only one, and so it is tried.
    assert_eq!(bad.curl().get("/whoami").status, 200);
    for gate in [good, odd] {
        gate.await_metric("portcullis_upstream_healthy", &[("upstream", "app")], 1.0);
        assert_eq!(gate.line_where(is_health), None);
    }
    let gone = gate(&format!("{{url: 'http://{}', health: tcp}}", nobody()));
    let line = eventually("it is found", || gone.line_where(is_health));
    assert_eq!(line["message"], "the backend refused the connection");
}

#[test]
fn health_is_asked_for_over_tls_that_is_trusted() {
    let pki = Pki::new();
    pki.leaf("backend", Key::Ecdsa, &["backend.example"]);
    pki.join(&["backend.crt", "int.crt"], "backend.chain");
    let (chain, key) = (pki.path("backend.chain"), pki.path("backend.key"));
    let (chain, key) = (chain.display(), key.display());
    let nginx = Nginx::listening(&format!(
        "ssl_certificate {chain}; ssl_certificate_key {key};"
    ));
    let root = pki.path("root.crt");
    let with = |name: &str| {
        gate(&format!(
            "{{url: 'https://{}', tls: {{ca: {}, server_name: {name}}}, \
             health: {{path: /whoami, interval: 50ms, unhealthy: 1}}}}",
            nginx.address,
            root.display()
        ))
    };
    let wrong = with("other.example");
    let line = eventually("it is found", || wrong.line_where(is_health));
    assert_eq!(
        line["message"],
        "the backend's certificate is for another name"
    );
    let right = with("backend.example");
    right.await_metric("portcullis_upstream_healthy", &[("upstream", "app")], 1.0);
    assert_eq!(right.curl().get("/whoami").status, 200);
    assert_eq!(right.line_where(is_health), None);
}

#[test]
fn health_is_asked_for_in_the_version_of_http_that_requests_go_in() {
    let (new, old) = (Nginx::listening("http2"), Nginx::start());
    let health = "health: {path: /whoami, interval: 50ms, unhealthy: 1}";
    for upstream in [
        format!(
            "{{urls: ['h2c://{}', 'h2c://{}'], {health}}}",
            new.address, old.address
        ),
        format!(
            "{{urls: ['unix:{}', 'http://{}'], version: '2', {health}}}",
            new.socket().display(),
            old.address
        ),
    ] {
        let gate = gate(&upstream);
        let line = eventually("the old one is found", || gate.line_where(is_health));
        assert_eq!(line["upstream.address"], old.address.to_string());
        assert_eq!(line["message"], "the backend does not speak HTTP/2");
        // All requests go where they are answered.
        for _ in 0..4 {
            assert_eq!(gate.curl().get("/version").body, "HTTP/2.0 GET /version");
        }
        assert_eq!(gate.count_lines(is_health), 1);
        gate.await_metric("portcullis_upstream_healthy", &[("upstream", "app")], 1.0);
    }
    let mistaken = gate(&format!("{{url: 'http://{}', {health}}}", new.address));
    let line = eventually("it is found", || mistaken.line_where(is_health));
    assert_eq!(
        line["message"],
        "what came was no answer: the response begins as HTTP/2 does"
    );
}

#[test]
fn health_over_tls_is_asked_for_where_http2_was_chosen() {
    let (cert, key) = crate::harness::gate::certificate();
    let (cert, key) = (cert.display(), key.display());
    let files = format!("ssl_certificate {cert}; ssl_certificate_key {key};");
    let (new, old) = (
        Nginx::listening(&format!("ssl_http2 {files}")),
        Nginx::listening(&files),
    );
    let gate = gate(&format!(
        "{{urls: ['https://{}', 'https://{}'], version: '2', tls: {{ca: {cert}}}, \
         health: {{path: /whoami, interval: 50ms, unhealthy: 1}}}}",
        new.address, old.address
    ));
    let line = eventually("the old one is found", || gate.line_where(is_health));
    assert_eq!(line["upstream.address"], old.address.to_string());
    assert_eq!(
        line["message"],
        "the backend does not speak HTTP/2 over TLS"
    );
    for _ in 0..4 {
        assert_eq!(gate.curl().get("/version").body, "HTTP/2.0 GET /version");
    }
    assert_eq!(gate.count_lines(is_health), 1);
}

#[test]
fn health_over_http2_is_an_answer_in_time_with_a_good_status() {
    let nginx = Nginx::listening("http2");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let goes_away = FrameBackend::start(&[], |peer| {
        peer.request()?;
        peer.send(GOAWAY, 0, 0, &[0; 8])
    });
    let never_comes_to_it = FrameBackend::start(&[], |peer| {
        let stream = peer.request()?;
        loop {
            peer.send(HEADERS, END_HEADERS, stream, &field(":status", "103"))?;
        }
    });
    for (address, path, message) in [
        (nginx.address, "/missing", "the answer was 404 Not Found"),
        (
            silent.local_addr().unwrap(),
            "/whoami",
            "there was no answer in time",
        ),
        (goes_away.address, "/whoami", "what came was no answer"),
        (
            never_comes_to_it.address,
            "/whoami",
            "what came was no answer",
        ),
        (
            nginx.address,
            "/<>",
            "what is asked for cannot be written as HTTP/2",
        ),
    ] {
        let gate = gate(&format!(
            "{{url: 'h2c://{address}', health: {{path: '{path}', timeout: 1s}}}}"
        ));
        let line = eventually("it is found", || gate.line_where(is_health));
        assert_eq!(
            (&line["result"], &line["message"]),
            (&"unhealthy".into(), &message.into())
        );
    }
}

fn is_health(line: &serde_json::Value) -> bool {
    line["event"] == "upstream.health"
}
