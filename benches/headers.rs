//! Cleaning fields: the head that a backend gets for one request, and the fields of an answer that
//! the client gets.
//!
//! Every request and answer passes here, and the names in them are the client's choice: so the
//! worst that fits into a head must not cost much more than what browsers send.

#[path = "common/gate.rs"]
mod gate;
#[path = "common/heads.rs"]
mod heads;
#[path = "common/runner.rs"]
mod runner;

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use criterion::Criterion;
use http::Method;
use portcullis::gate::Decision;
use portcullis::gate::authorize::Permit;
use portcullis::gate::route::{HostPattern, UpstreamId};
use portcullis::http1::head::{HeadLimits, RequestHead};
use portcullis::http1::response::ResponseHead;
use portcullis::proxy::client::{ClientFacts, Scheme, SessionsAccepted, StrictTransport};
use portcullis::proxy::headers::{Sending, UpstreamRequest, answer_fields};
use portcullis::proxy::identity_headers::IdentityHeaders;
use portcullis::proxy::request_id::RequestId;
use portcullis::proxy::rewrite::Rewrite;
use portcullis::proxy::spec::{IdentityPreset, Underscores, UpstreamPlace, UpstreamSpec};
use portcullis::proxy::upstream::endpoint::Upstream;

fn main() {
    runner::run(|criterion| {
        requests(criterion);
        answers(criterion);
    });
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("headers/request");
    let permit = permit();
    let client = client();
    let place = UpstreamPlace::Tcp {
        host: "127.0.0.1".to_owned(),
        port: 8080,
    };
    let spec = UpstreamSpec::new("device", vec![place.into()]);
    let upstream = Upstream::new(UpstreamId(0), spec);
    let request_id = RequestId::generate();
    let rewrite = Rewrite::default();
    let identity = IdentityHeaders::new(vec![IdentityPreset::XForwardedUser], None);
    let identity = Arc::new(identity);
    for (case, head) in [
        ("browser, 12 fields", heads::BROWSER.to_owned()),
        ("hostile, 60 fields", heads::hostile()),
        ("nominating, 60 fields", nominating()),
    ] {
        let head = request_head(&head);
        let request = UpstreamRequest {
            renewal: None,
            upgrade: None,
            head: &head,
            permit: &permit,
            client: &client,
            upstream: &upstream,
            rewrite: &rewrite,
            target: &rewrite
                .path
                .target(head.target(), head.path().len())
                .unwrap(),
            destination: None,
            identity: &identity,
            request_id: &request_id,
            underscores: Underscores::Keep,
            now: gate::NOW,
            login: None,
            sending: Sending::as_it_came(&head, &upstream.spec),
        };
        let mut out = Vec::new();
        group.bench_function(case, |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&request).write(&mut out);
                out.len()
            });
        });
    }
    group.finish();
}

fn answers(criterion: &mut Criterion) {
    let mut buffer = BytesMut::from(heads::ANSWER);
    let head = ResponseHead::parse(&mut buffer, &Method::GET, &HeadLimits::default());
    let head = head.unwrap().unwrap();
    criterion.bench_function("headers/answer/10 fields", |bencher| {
        bencher.iter(|| {
            let passed = answer_fields(black_box(&head), &StrictTransport::Backends);
            passed.map(|field| field.value().len()).sum::<usize>()
        });
    });
}

/// 60 fields that have nothing to hide, half of which `Connection` takes away: each has to be
/// compared with all that it names.
fn nominating() -> String {
    let named: Vec<String> = (0..29).map(|at| format!("X-Field-{at:02}")).collect();
    let mut head = "GET / HTTP/1.1\r\nHost: plant-3.example\r\n".to_owned();
    write!(head, "Connection: {}\r\n", named.join(", ")).unwrap();
    for at in 0..58 {
        write!(head, "X-Field-{at:02}: value\r\n").unwrap();
    }
    head + "\r\n"
}

fn request_head(text: &str) -> RequestHead {
    let mut buffer = BytesMut::from(text);
    let head = RequestHead::parse(&mut buffer, &HeadLimits::default());
    head.unwrap().unwrap()
}

/// The gate makes it, as always.
fn permit() -> Permit {
    let gate = gate::gate(vec![gate::route(HostPattern::Any, "")]);
    let request = gate::request("plant-3.example", "/app/index.html");
    match gate.decide(&request, gate::NOW) {
        Decision::Forward(permit) => permit,
        other => panic!("{other:?}"),
    }
}

fn client() -> ClientFacts {
    let peer = SocketAddr::from(([192, 0, 2, 7], 50_000));
    let local = SocketAddr::from(([192, 0, 2, 1], 443));
    ClientFacts::new(
        "https".into(),
        (peer, local),
        Scheme::Https,
        SessionsAccepted::Yes,
        Default::default(),
    )
}
