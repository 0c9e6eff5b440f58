//! What stands behind a body: it reaches the other side over either version of HTTP, but for what
//! belongs in a head, what is the gate's to say, and what the route has something to say of.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::backend::Backend;
use crate::harness::client::{fields, status_of};
use crate::harness::frames::Frames;
use crate::harness::gate::{self, Gate};
use crate::harness::http2::RecordingBackend;
use crate::headers::spellings;

/// Names and values, the names in lower case and in their order.
type Trailers = Vec<(String, String)>;

fn trailers<'t>(pairs: impl IntoIterator<Item = (&'t str, &'t str)>) -> Trailers {
    let pairs = pairs.into_iter();
    let pairs = pairs.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let mut trailers: Trailers = pairs.collect();
    trailers.sort();
    trailers
}

/// The fields of RFC 9110 section 6.5.1 and what is like them: those that route a request, change
/// what it means, say who sends it, or how it is to be read or kept.
const NEVER: &[&str] = &[
    "Accept",
    "Accept-Encoding",
    "Access-Control-Allow-Origin",
    "Access-Control-Request-Method",
    "Age",
    "Authorization",
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Location",
    "Content-Range",
    "Content-Type",
    "Cookie",
    "Date",
    "Depth",
    "Destination",
    "Expires",
    "If",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Location",
    "Lock-Token",
    "Max-Forwards",
    "Origin",
    "Overwrite",
    "Pragma",
    "Range",
    "Referer",
    "Retry-After",
    "Sec-Fetch-Site",
    "Sec-WebSocket-Accept",
    "Set-Cookie",
    "Strict-Transport-Security",
    "Timeout",
    "User-Agent",
    "Vary",
    "WWW-Authenticate",
];

/// What ends with a connection, and may be sent behind a body in HTTP/2.
const OF_CONNECTION: &[&str] = &[
    "HTTP2-Settings",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Trailer",
];

/// What may stand there, in either direction.
const ALLOWED: [(&str, &str); 4] = [
    ("X-Sum", "5"),
    ("X_Size", "6"),
    ("Content-Digest", "sha-256=:AA==:"),
    ("Server-Timing", "db;dur=53"),
];

/// A backend that writes down what stands behind a body, and says something behind its own.
enum Recording {
    Http1(Backend),
    Http2(RecordingBackend),
}

impl Recording {
    /// One of each version, which say this behind their bodies.
    fn both(said: &[(&str, &str)]) -> [Self; 2] {
        let lines: String = said
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let http1 = Backend::answering(move |_, stream| {
            let head =
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Named\r\n\r\n";
            let whole = format!("{head}2\r\nok\r\n0\r\n{lines}\r\n");
            stream.write_all(whole.as_bytes()).is_ok()
        });
        let http2 = RecordingBackend::saying(Some("ok"), said);
        [Self::Http1(http1), Self::Http2(http2)]
    }

    fn upstream(&self) -> String {
        match self {
            Self::Http1(backend) => format!("http://{}", backend.address),
            Self::Http2(backend) => format!("h2c://{}", backend.address),
        }
    }

    /// A gate in front of it, where the route `/edited/` writes and removes fields of its own.
    #[track_caller]
    fn behind_gate(&self, more: &str) -> Gate {
        let (cert, key) = gate::certificate();
        let edits = "{set: {X-Env: prod}, remove: [X-Debug]}";
        Gate::start(&format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\n\
             tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
             upstreams: {{backend: {{url: '{}'}}}}\nthreads: 1\n{more}routes:\n\
             \x20 - {{match: /edited/, public: true, request_headers: {edits}, \
             response_headers: {edits}}}\n  - {{public: true}}\n",
            cert.display(),
            key.display(),
            self.upstream(),
        ))
    }

    /// What stood behind the body that arrived last.
    fn last(&self) -> Option<Trailers> {
        match self {
            Self::Http1(backend) => {
                let last = backend.seen().pop()?;
                assert_eq!(last.body, b"ok");
                Some(trailers(fields(&format!("\n{}", last.trailers))))
            }
            Self::Http2(backend) => {
                let last = backend.last();
                assert_eq!(last.body, b"ok");
                let pairs = last.trailers.iter();
                let pairs = pairs.map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
                Some(trailers(pairs))
            }
        }
    }
}

/// What arrives of these trailers when a client of each version sends them. One more comes along, by
/// which they are known.
#[track_caller]
fn arrived(recording: &Recording, gate: &Gate, path: &str, sent: &[(&str, &str)]) -> [Trailers; 2] {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    [false, true].map(|over_http2| {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
        let marker = ("x-number", number.as_str());
        let sent = [sent, &[marker]].concat();
        if over_http2 {
            Frames::post(gate.address, path, &[], &sent).end_of(1);
        } else {
            let lines = sent
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"));
            let lines: String = lines.collect();
            let answer = gate.raw(
                format!(
                    "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close, X-Named\r\n\
                     Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{lines}\r\n"
                )
                .as_bytes(),
            );
            assert_eq!(status_of(&answer), 200, "{answer}");
        }
        let mut last = recording.last().expect("it arrives");
        let known = last
            .iter()
            .position(|(name, value)| (&**name, &**value) == marker);
        last.remove(known.expect("the last one is this one"));
        last
    })
}

#[test]
fn nothing_that_belongs_in_a_head_or_says_who_asks_arrives_behind_a_body() {
    let claims: Vec<String> = spellings().concat();
    let underscored = |name: &&str| name.replace('-', "_");
    let never = || NEVER.iter().chain(OF_CONNECTION);
    let never = never()
        .map(|name| (*name).to_owned())
        .chain(never().map(underscored));
    let names: Vec<String> = never.chain(claims).collect();
    for recording in Recording::both(&[]) {
        let gate = recording.behind_gate("");
        let [over_http1, over_http2] = arrived(&recording, &gate, "/", &ALLOWED);
        assert_eq!(over_http1, trailers(ALLOWED));
        assert_eq!(over_http2, trailers(ALLOWED));
        // No more than 64 may come.
        for names in names.chunks(50) {
            let never = names.iter().map(|name| (name.as_str(), "root"));
            let sent: Vec<_> = never.chain(ALLOWED).collect();
            let [over_http1, over_http2] = arrived(&recording, &gate, "/", &sent);
            assert_eq!(over_http1, trailers(ALLOWED), "{names:?}");
            assert_eq!(over_http2, trailers(ALLOWED), "{names:?}");
        }
    }
}

/// Spellings of the names that the route `/edited/` writes and removes.
const EDITED: [(&str, &str); 5] = [
    ("X-Env", "mine"),
    ("X_Env", "mine"),
    ("x.env", "mine"),
    ("X-DEBUG", "1"),
    ("X_Debug", "1"),
];

#[test]
fn what_a_route_writes_or_removes_arrives_behind_a_body_on_other_routes_only() {
    let all = [&EDITED[..], &ALLOWED].concat();
    for recording in Recording::both(&[]) {
        let gate = recording.behind_gate("");
        for (path, expected) in [("/edited/x", &ALLOWED[..]), ("/x", &all)] {
            let expected = trailers(expected.iter().copied());
            let [over_http1, over_http2] = arrived(&recording, &gate, path, &all);
            assert_eq!(over_http1, expected, "{path}");
            assert_eq!(over_http2, expected, "{path}");
        }
    }
}

#[test]
fn fields_with_an_underscore_behind_a_body_go_no_further_where_they_would_not_in_front_of_it() {
    let without = || ALLOWED.into_iter().filter(|(name, _)| !name.contains('_'));
    for recording in Recording::both(&[]) {
        for (word, expected) in [
            ("keep", trailers(ALLOWED)),
            ("drop", trailers(without())),
            // It is too late to refuse the request.
            ("reject", trailers(without())),
        ] {
            let gate = recording.behind_gate(&format!("headers: {{underscores: {word}}}\n"));
            let [over_http1, over_http2] = arrived(&recording, &gate, "/", &ALLOWED);
            assert_eq!(over_http1, expected, "{word}");
            assert_eq!(over_http2, expected, "{word}");
        }
    }
}

#[test]
fn what_a_client_nominates_in_connection_does_not_arrive_behind_its_body_either() {
    let sent = [("X-Named", "gone"), ("X-Sum", "5")];
    for recording in Recording::both(&[]) {
        let gate = recording.behind_gate("");
        let [over_http1, over_http2] = arrived(&recording, &gate, "/", &sent);
        assert_eq!(over_http1, trailers([("X-Sum", "5")]));
        // There is no such field over HTTP/2.
        assert_eq!(over_http2, trailers(sent));
    }
}

#[test]
fn what_is_moved_goes_where_the_head_says_and_not_where_the_trailers_do() {
    for recording in Recording::both(&[]) {
        let gate = recording.behind_gate("");
        let answer = gate.raw(
            b"MOVE /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nDestination: /b\r\n\
              Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 5\r\n\
              Destination: /c\r\ndestination: /c\r\n\r\n",
        );
        assert_eq!(status_of(&answer), 200, "{answer}");
        assert_eq!(recording.last(), Some(trailers([("X-Sum", "5")])));
        let destination = match &recording {
            Recording::Http1(backend) => backend.only().field("destination").map(str::to_owned),
            Recording::Http2(backend) => {
                let last = backend.last();
                let destination = last.fields.get("destination");
                destination.map(|it| it.to_str().unwrap().to_owned())
            }
        };
        assert_eq!(destination.as_deref(), Some("http://localhost/b"));
    }
}

// --- Behind answers ---

/// What a client of either version gets behind the body of an answer.
#[track_caller]
fn got(gate: &Gate, path: &str) -> [Trailers; 2] {
    ["--http1.1", "--http2"].map(|version| {
        let curl = gate.curl().args([version]).header("TE: trailers");
        let got = curl.get(path);
        // curl shows them behind the body.
        let behind = got
            .body
            .strip_prefix("ok")
            .unwrap_or_else(|| panic!("{got:?}"));
        trailers(fields(&format!("\n{behind}")))
    })
}

#[test]
fn nothing_that_belongs_in_a_head_comes_back_behind_a_body() {
    let never = NEVER.iter().chain(OF_CONNECTION).chain(&["X-Request-Id"]);
    let underscored: Vec<_> = NEVER.iter().map(|name| name.replace('-', "_")).collect();
    let underscored = underscored.iter().map(String::as_str);
    let names: Vec<&str> = never.copied().chain(underscored).collect();
    for names in names.chunks(50) {
        let never = names.iter().map(|name| (*name, "planted"));
        let said: Vec<_> = never.chain(ALLOWED).collect();
        for recording in Recording::both(&said) {
            let [over_http1, over_http2] = got(&recording.behind_gate(""), "/");
            assert_eq!(over_http1, trailers(ALLOWED), "{names:?}");
            assert_eq!(over_http2, trailers(ALLOWED), "{names:?}");
        }
    }
}

#[test]
fn what_a_route_writes_or_removes_comes_back_behind_a_body_on_other_routes_only() {
    let all = [&EDITED[..], &ALLOWED].concat();
    for recording in Recording::both(&all) {
        let gate = recording.behind_gate("");
        for (path, expected) in [("/edited/x", &ALLOWED[..]), ("/x", &all)] {
            let expected = trailers(expected.iter().copied());
            let [over_http1, over_http2] = got(&gate, path);
            assert_eq!(over_http1, expected, "{path}");
            assert_eq!(over_http2, expected, "{path}");
        }
    }
}

#[test]
fn what_a_backend_nominates_in_connection_does_not_come_back_behind_its_body_either() {
    let [over_http1, over_http2] = Recording::both(&[("X-Named", "gone"), ("X-Sum", "5")]);
    for (recording, expected) in [
        (over_http1, vec![("X-Sum", "5")]),
        // There is no such field over HTTP/2.
        (over_http2, vec![("X-Named", "gone"), ("X-Sum", "5")]),
    ] {
        let gate = recording.behind_gate("");
        assert_eq!(
            got(&gate, "/"),
            [&expected, &expected].map(|it| trailers(it.iter().copied()))
        );
    }
}
