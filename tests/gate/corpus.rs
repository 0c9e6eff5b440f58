//! Requests that two programs could read differently, or that somebody sends who hopes so: each with
//! where it comes from, what it is answered, and what of it may arrive.
//!
//! Written from the RFCs and from what went wrong elsewhere, not from this code. The backend writes
//! down every byte and reads it with a parser of another make (httparse): only what a case says may
//! arrive does, whole, and nothing else of it. After each case a marker shows that the connections on
//! both sides are in step.
//!
//! `@@@@` in a request stands for the number of its case, by which it is known wherever it turns up.

mod backend;
mod http2;

mod chunks;
mod connection;
mod fields;
mod framing;
mod head;
mod host;
mod http2_fields;
mod http2_frames;
mod http2_pseudo;
mod identity;
mod method;
mod path;
mod request_line;
mod target;
mod upgrade;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::client::{Connection, fields as fields_of};
use crate::harness::gate::{self, Gate};
use crate::harness::nginx::Nginx;
use backend::{Arrived, Recorder};
use http2::Outcome;

/// One request, or what looks like some.
struct Case {
    /// The rule that it holds.
    name: &'static str,
    /// The RFC and its section, or what went wrong where.
    source: &'static str,
    bytes: Bytes,
    arrives: Arrives,
}

enum Bytes {
    /// What is sent on an HTTP/1 connection, and the statuses of the answers that are waited for
    /// before the next is sent.
    Http1(Vec<(Vec<u8>, Vec<u16>)>),
    /// Frames on an HTTP/2 connection, and what becomes of the stream 1.
    Http2(Vec<u8>, Outcome),
}

/// What the backend may get of a case.
#[derive(Clone)]
enum Arrives {
    Nothing,
    /// These requests, each with its body.
    Requests(Vec<(String, Vec<u8>)>),
    /// The beginning of a request whose connection then ends: its body turned out to be none.
    Cut,
    /// This request or the beginning of it: it depends on how soon it is noticed.
    Perhaps(String, Vec<u8>),
}

/// An HTTP/1 case whose expectation follows.
struct Http1 {
    name: &'static str,
    source: &'static str,
    request: Vec<u8>,
}

fn case(name: &'static str, source: &'static str, request: impl AsRef<[u8]>) -> Http1 {
    let request = request.as_ref().to_vec();
    Http1 {
        name,
        source,
        request,
    }
}

impl Http1 {
    /// Nothing of it arrives.
    fn refused(self, status: u16) -> Case {
        self.answered(&[status], Arrives::Nothing)
    }

    /// It arrives with this request line (without the version), and without a body.
    fn granted(self, line: &str) -> Case {
        self.granted_with(line, b"")
    }

    fn granted_with(self, line: &str, body: &[u8]) -> Case {
        let arrives = Arrives::Requests(vec![(line.to_owned(), body.to_vec())]);
        self.answered(&[200], arrives)
    }

    /// It begins to arrive before it is clear that it may not.
    fn cut(self, status: u16) -> Case {
        self.answered(&[status], Arrives::Cut)
    }

    fn answered(self, statuses: &[u16], arrives: Arrives) -> Case {
        let Self {
            name,
            source,
            request,
        } = self;
        Case {
            name,
            source,
            bytes: Bytes::Http1(vec![(request, statuses.to_vec())]),
            arrives,
        }
    }

    /// After the answer, this is sent too.
    fn refused_then(self, status: u16, late: impl AsRef<[u8]>) -> Case {
        let mut case = self.refused(status);
        if let Bytes::Http1(sent) = &mut case.bytes {
            sent.push((late.as_ref().to_vec(), Vec::new()));
        }
        case
    }
}

/// A GET with this request line.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: localhost\r\n\r\n")
}

/// A GET with these field lines, each with its CRLF.
fn get(lines: &str) -> String {
    format!("GET /public/@@@@ HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
}

/// A POST with these field lines and this body.
fn post(lines: &str, body: &str) -> String {
    format!("POST /public/@@@@ HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{body}")
}

const GET: &str = "GET /public/@@@@";
const POST: &str = "POST /public/@@@@";

fn themes() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("request line", request_line::cases()),
        ("method", method::cases()),
        ("target", target::cases()),
        ("host", host::cases()),
        ("path", path::cases()),
        ("fields", fields::cases()),
        ("connection", connection::cases()),
        ("framing", framing::cases()),
        ("chunks", chunks::cases()),
        ("HEAD", head::cases()),
        ("upgrade", upgrade::cases()),
        ("identity", identity::cases()),
        ("HTTP/2 pseudo fields", http2_pseudo::cases()),
        ("HTTP/2 fields", http2_fields::cases()),
        ("HTTP/2 frames", http2_frames::cases()),
    ]
}

/// Routes of the gate that all cases go to; those below `/relaxed/` are for paths.
const ROUTES: &str = "
routes:
  - {match: /relaxed/, public: true, allow: {encoded_slash: true, backslash: true,
     encoded_backslash: true, double_slash: true, semicolon: true, double_encoding: true,
     non_utf8: true}}
  - {match: /public/, public: true}
  - {match: /admin/, can: edit}
  - {can: view}
";

/// With a second listener for markers, which need no TLS: handshakes would take most of the time.
fn gate_for(backend: SocketAddr) -> Gate {
    let config = gate::config(backend, "").replace(gate::ROUTES, ROUTES);
    let (one, two) = (
        "[{address: '127.0.0.1:0'}]",
        "[{address: '127.0.0.1:0'}, {address: '127.0.0.1:0', protocol: http}]",
    );
    Gate::start(&config.replacen(one, two, 1))
}

#[test]
fn nothing_that_could_be_read_in_two_ways_arrives() {
    let recorder = Recorder::start();
    let gate = gate_for(recorder.address);
    let themes = themes();
    let cases: Vec<&Case> = themes.iter().flat_map(|(_, cases)| cases).collect();
    assert!(cases.len() >= 200, "only {} cases", cases.len());
    let mut failures = run_all(&cases, &gate);
    drop(gate);
    check_arrivals(&cases, &recorder, &mut failures);
    let said: Vec<String> = failures
        .iter()
        .map(|(id, why)| {
            let Case { name, source, .. } = cases[*id];
            format!("{id} {name} ({source}): {}", why.join("; "))
        })
        .collect();
    assert!(
        said.is_empty(),
        "{} cases:\n{}",
        said.len(),
        said.join("\n")
    );
    for (theme, cases) in &themes {
        println!("{:4} {theme}", cases.len());
    }
    println!("{:4} in all", cases.len());
}

/// Several connections beside each other, so that it takes seconds.
const CLIENTS: usize = 8;

fn run_all(cases: &[&Case], gate: &Gate) -> BTreeMap<usize, Vec<String>> {
    let addresses = gate.addresses();
    let (gate, markers) = (addresses[0], addresses[1]);
    let next = AtomicUsize::new(0);
    let client = || {
        let mut failures = BTreeMap::new();
        loop {
            let id = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(id) else {
                return failures;
            };
            // So that it is known which case keeps a test waiting, or breaks it.
            let run = std::panic::catch_unwind(|| run(id, case, gate, markers));
            let result = run.unwrap_or_else(|_| Err("it did not come to an end".into()));
            if let Err(why) = result {
                failures.insert(id, vec![why]);
            }
        }
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let failures = clients.into_iter().map(|client| client.join().unwrap());
        failures.flatten().collect()
    })
}

/// With the number of its case in place of `@@@@`.
fn numbered(bytes: &[u8], id: usize) -> Vec<u8> {
    let number = format!("{id:04}");
    let mut numbered = bytes.to_vec();
    for at in 0..numbered.len().saturating_sub(3) {
        if &numbered[at..at + 4] == b"@@@@" {
            numbered[at..at + 4].copy_from_slice(number.as_bytes());
        }
    }
    numbered
}

fn run(id: usize, case: &Case, gate: SocketAddr, markers: SocketAddr) -> Result<(), String> {
    let left = match &case.bytes {
        Bytes::Http1(sent) => {
            let mut connection = Connection::tls(gate);
            let mut answers = Answers::default();
            for (bytes, statuses) in sent {
                connection.send(&numbered(bytes, id));
                answers.to_head = bytes.starts_with(b"HEAD ");
                for expected in statuses {
                    answers.check(&mut connection, *expected)?;
                }
            }
            answers.end(connection)?
        }
        Bytes::Http2(frames, expected) => {
            let outcome = http2::outcome_of(gate, &numbered(frames, id));
            if outcome != *expected {
                return Err(format!("{outcome:?} instead of {expected:?}"));
            }
            None
        }
    };
    let connection = left.unwrap_or_else(|| Connection::plain(markers));
    check_marker(connection, id)
}

/// The answers on one connection.
#[derive(Default)]
struct Answers {
    unread: Vec<u8>,
    closes: bool,
    /// Whether the next one is that to a HEAD.
    to_head: bool,
}

impl Answers {
    fn check(&mut self, connection: &mut Connection, expected: u16) -> Result<(), String> {
        loop {
            match self.take() {
                Some(100) if expected != 100 => {}
                Some(status) if status == expected => return Ok(()),
                Some(status) => return Err(format!("{status} instead of {expected}")),
                None => {
                    let more = connection.read_some();
                    if more.is_empty() {
                        let got = String::from_utf8_lossy(&self.unread);
                        return Err(format!("it ended instead of {expected}: {got:?}"));
                    }
                    self.unread.extend_from_slice(&more);
                }
            }
        }
    }

    /// The status of the next answer, once all of it is there.
    fn take(&mut self) -> Option<u16> {
        let end = self.unread.windows(4).position(|it| it == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        let status = head.get(9..12)?.parse().ok()?;
        let of = |name: &str| {
            let mut all = fields_of(&head);
            let found = all.find(|(found, _)| found.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_owned())
        };
        let length: usize = of("content-length").map_or(0, |it| it.parse().unwrap());
        let whole = end + 4 + if self.to_head { 0 } else { length };
        if self.unread.len() < whole {
            return None;
        }
        self.unread.drain(..whole);
        self.to_head &= status == 100;
        self.closes |= of("connection").is_some_and(|it| it == "close");
        Some(status)
    }

    /// Where the gate said that it closes, it does, and says no more; else the connection goes on.
    fn end(self, mut connection: Connection) -> Result<Option<Connection>, String> {
        if !self.unread.is_empty() {
            let left = String::from_utf8_lossy(&self.unread);
            return Err(format!("one answer too many: {left}"));
        }
        if !self.closes {
            return Ok(Some(connection));
        }
        match connection.read_some()[..] {
            [] => Ok(None),
            [..] => Err("it did not close".into()),
        }
    }
}

/// One more request is answered as if there had been nothing before it.
fn check_marker(mut connection: Connection, id: usize) -> Result<(), String> {
    let request = format!(
        "GET /public/marker-{id:04} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    );
    connection.send(request.as_bytes());
    let answer = connection.read_to_end();
    let own = answer.ends_with(&format!("\r\n\r\nGET /public/marker-{id:04}"));
    let is_first = answer.starts_with("HTTP/1.1 ");
    match own && is_first && answer.matches("HTTP/1.1 ").count() == 1 {
        true => Ok(()),
        false => Err(format!("out of step: {answer:?}")),
    }
}

// === What arrived ===

fn check_arrivals(
    cases: &[&Case],
    recorder: &Recorder,
    failures: &mut BTreeMap<usize, Vec<String>>,
) {
    let mut requests: BTreeMap<usize, Vec<Arrived>> = BTreeMap::new();
    for arrived in recorder.requests() {
        let id = number_in(&arrived.raw).expect("everything that arrives is of some case");
        requests.entry(id).or_default().push(arrived);
    }
    for (id, case) in cases.iter().enumerate() {
        let arrived = requests.remove(&id).unwrap_or_default();
        let markers = format!("GET /public/marker-{id:04}");
        let found: Vec<_> = arrived
            .iter()
            .map(|it| (it.line.clone(), it.body.clone()))
            .filter(|(line, _)| *line != markers)
            .collect();
        let own = |(line, body): &(String, Vec<u8>)| {
            (
                line.replace("@@@@", &format!("{id:04}")),
                numbered(body, id),
            )
        };
        let expected: Vec<_> = match &case.arrives {
            Arrives::Nothing | Arrives::Cut => Vec::new(),
            Arrives::Perhaps(..) if found.is_empty() => Vec::new(),
            Arrives::Perhaps(line, body) => vec![own(&(line.clone(), body.clone()))],
            Arrives::Requests(expected) => expected.iter().map(own).collect(),
        };
        if found != expected {
            let why = failures.entry(id).or_default();
            why.push(format!("arrived: {found:?}, expected: {expected:?}"));
        }
    }
    assert!(requests.is_empty(), "{requests:?}");
    for left in recorder.left_over() {
        let id = number_in(&left).expect("everything that arrives is of some case");
        if !matches!(cases[id].arrives, Arrives::Cut | Arrives::Perhaps(..)) {
            let left = String::from_utf8_lossy(&left).into_owned();
            let why = failures.entry(id).or_default();
            why.push(format!("no whole request: {left:?}"));
        }
    }
}

/// The number of a case in what arrived: it stands behind one of these.
fn number_in(bytes: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().next()?;
    let mut digits = line.split(|c: char| !c.is_ascii_digit());
    digits.find(|it| it.len() == 4)?.parse().ok()
}

#[test]
fn what_arrives_is_read_alike_by_nginx() {
    let recorder = Recorder::start();
    let gate = gate_for(recorder.address);
    let themes = themes();
    let granted = |case: &&Case| matches!(case.arrives, Arrives::Requests(_));
    let cases: Vec<&Case> = themes
        .iter()
        .flat_map(|(_, cases)| cases)
        .filter(granted)
        .collect();
    let failures = run_all(&cases, &gate);
    assert!(failures.is_empty(), "{failures:?}");
    drop(gate);

    let echo = "return 200 '$request_method $request_uri $http_host';";
    let nginx = Nginx::listening(echo);
    // What nginx does not know it refuses by itself.
    let known = ["GET ", "POST ", "DELETE ", "OPTIONS "];
    let known = |it: &Arrived| known.iter().any(|method| it.line.starts_with(method));
    for arrived in recorder.requests().into_iter().filter(known) {
        let mut connection = Connection::plain(nginx.address);
        connection.send(&arrived.raw);
        connection.send(b"GET /public/next HTTP/1.1\r\nHost: next\r\nConnection: close\r\n\r\n");
        let answers = connection.read_to_end();
        let said = |line: &str, host: &str| format!("\r\n\r\n{line} {host}");
        let host = arrived.host.clone();
        let own = answers.contains(&said(&arrived.line, &host));
        let next = answers.ends_with(&said("GET /public/next", "next"));
        let raw = String::from_utf8_lossy(&arrived.raw);
        assert!(own && next, "{raw}\n{answers}");
        assert_eq!(
            answers.matches("HTTP/1.1 200").count(),
            2,
            "{raw}\n{answers}"
        );
    }
}
