//! Streams arrive as they were sent, however long they take and however large they are: events,
//! uploads and downloads, ranges, interim answers, trailers. (What `forwarding` has is not repeated.)

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::harness::backend::Backend;
use crate::harness::client::{Curl, status_of};
use crate::harness::gate::{self, Gate, in_front_of};
use crate::harness::nginx::Nginx;
use crate::harness::process::{Process, finished, portcullis};
use crate::harness::websocket::python;
use crate::harness::{PATIENCE, eventually, free_port};

const GIB: u64 = 1 << 30;

/// What the gate may hold of a stream, far below the stream's size.
const FLAT_KIB: u64 = 24 << 10;

#[test]
fn a_client_that_leaves_is_noticed_whatever_it_has_sent() {
    // Answers nobody, and sees who hangs up.
    let (hung_up, seen) = channel();
    let hung_up = Mutex::new(hung_up);
    let backend = serving(move |mut stream| {
        let mut all = Vec::new();
        drop(stream.read_to_end(&mut all));
        hung_up.lock().unwrap().send(all).unwrap();
    });
    let gate = in_front_of(backend);
    let head = |method: &str, more: &str| {
        format!("{method} /public/ HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")
    };
    for (what, sent) in [
        ("a request", head("GET", "")),
        ("and the next", head("GET", "") + &head("GET", "")),
        ("a body", head("POST", "Content-Length: 3\r\n") + "abc"),
        (
            "a body in chunks",
            head("POST", "Transfer-Encoding: chunked\r\n") + "1\r\na\r\n0\r\n\r\n",
        ),
        (
            "a body and the next",
            head("POST", "Content-Length: 3\r\n") + "abc" + &head("GET", ""),
        ),
    ] {
        let mut client = gate.connect();
        client.send(sent.as_bytes());
        gate.await_metric("portcullis_http_requests_in_flight", &[], 1.0);
        client.break_off();
        let arrived = seen.recv_timeout(PATIENCE);
        assert!(arrived.is_ok(), "{what}");
        gate.await_metric("portcullis_http_requests_in_flight", &[], 0.0);
    }
}

/// A backend that one connection at a time is served by, byte by byte, as the test says.
fn serving(serve: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    address
}

/// Reads a head.
fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(head).unwrap()
}

// --- Server-sent events ---

/// Python's own server with events; ends with the test.
pub struct Events {
    process: Process,
    pub address: SocketAddr,
}

impl Events {
    #[track_caller]
    pub fn start() -> Self {
        let mut process = Process::start(python("events.py"), "");
        let port = eventually("the source listens", || {
            assert!(process.is_running(), "{}", process.errors());
            let said = process.out();
            said.strip_prefix("port ")?.split_once('\n')?.0.parse().ok()
        });
        Self {
            process,
            address: ([127, 0, 0, 1], port).into(),
        }
    }

    /// Waits until so many streams have begun, and so many of them were left.
    #[track_caller]
    pub fn await_streams(&self, begun: usize, left: usize) {
        let count = |word: &str| self.process.out().lines().filter(|it| *it == word).count();
        eventually("streams begin and end", || {
            (count("stream") == begun && count("gone") == left).then_some(())
        });
    }

    /// Sends the next event to all.
    #[track_caller]
    pub fn tell(&self) {
        let told = Curl::new(0).args(["-d", ""]);
        let got = told.fetch(&format!("http://{}/tell", self.address));
        assert_eq!(got.status, 200);
    }
}

/// `curl -N`, whose output comes line by line.
struct Follower {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Follower {
    fn start(gate: &Gate, args: &[&str], path: &str) -> Self {
        let mut child = Command::new("curl")
            .args(["-skN", "--max-time", "60"])
            .args(args)
            .arg(format!("https://localhost:{}{path}", gate.port()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    #[track_caller]
    fn event(&mut self) -> [String; 3] {
        [(); 3].map(|()| self.lines.next().unwrap().unwrap())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn events_of_a_real_source_come_one_by_one_until_the_session_ends() {
    let events = Events::start();
    let gate = in_front_of(events.address);
    let session = gate.log_in("ralph");
    let cookie = format!("Cookie: __Host-portcullis={session}");
    for (number, version) in ["--http1.1", "--http2"].iter().enumerate() {
        let mut follower = Follower::start(&gate, &[version, "-H", &cookie], "/x/events");
        events.await_streams(number + 1, number);
        for turn in 1..=3 {
            // The next happens only when this one is there.
            events.tell();
            let which = number * 3 + turn;
            let expected = [
                format!("id: {which}"),
                format!("data: event {which}"),
                String::new(),
            ];
            assert_eq!(follower.event(), expected, "{version}");
        }
        if number == 1 {
            assert_eq!(gate.log_out(&session).status, 200);
            let status = follower.child.wait().unwrap();
            assert_eq!(
                status.code(),
                Some(92),
                "cut off, and not as if it was whole"
            );
        }
        drop(follower);
        // The source notices when it is left, though it has nothing to say.
        events.await_streams(number + 1, number + 1);
    }
}

#[test]
fn how_long_a_stream_may_be_silent_is_for_its_upstream_to_say() {
    let source = || {
        Backend::answering(|_, stream| {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n";
            stream.write_all(head.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(1500));
            drop(stream.write_all(b"data: 2\n\n"));
            false
        })
    };
    for (timeout, whole) in [("400ms", false), ("20s", true)] {
        let backend = source();
        let url = format!("url: 'http://{}'", backend.address);
        let config = gate::config(backend.address, "")
            .replace(&url, &format!("{url}, read_timeout: {timeout}"));
        let gate = Gate::start(&config);
        for version in ["--http1.1", "--http2"] {
            let got = gate.curl().args([version]).get("/public/");
            assert_eq!(got.body.contains("data: 2"), whole, "{version} {got:?}");
            assert_eq!(got.exit == 0, whole, "{version} {got:?}");
        }
    }
}

// --- Large and slow ---

#[test]
fn a_gibibyte_comes_up_in_bursts_from_a_slow_client_with_a_flat_memory() {
    let (say, counted) = channel();
    let say = Mutex::new(say);
    // Reads in bursts as well, so that both sides wait for the other now and then.
    let backend = serving(move |mut stream| {
        let head = head_of(&mut stream);
        assert!(
            head.contains(&format!("Content-Length: {GIB}\r\n")),
            "{head}"
        );
        let mut piece = vec![0; 16 << 20];
        let mut count = 0;
        while count < GIB {
            match stream.read(&mut piece) {
                Ok(read @ 1..) => count += read as u64,
                _ => break,
            }
            if count / (256 << 20) > (count - 1) / (256 << 20) {
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        drop(stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"));
        say.lock().unwrap().send(count).unwrap();
    });
    let config = gate::config(backend, "").replace(
        "  - {match: /upload/,",
        "  - {match: /large/, public: true, body_limit: 1GiB}\n  - {match: /upload/,",
    );
    let gate = Gate::start(&config);
    let before = gate.resident_kib();
    let mut client = gate.connect();
    let head = format!("PUT /large/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {GIB}\r\n\r\n");
    client.send(head.as_bytes());
    let piece = vec![7; 1 << 20];
    let mut most = 0;
    for number in 0..GIB / (1 << 20) {
        client.send(&piece);
        if number % 64 == 0 {
            std::thread::sleep(Duration::from_millis(100));
            most = most.max(gate.resident_kib().saturating_sub(before));
        }
    }
    assert_eq!(status_of(&client.read_answer()), 201);
    assert_eq!(counted.recv_timeout(PATIENCE).unwrap(), GIB);
    assert!(most < FLAT_KIB, "grown by {most} KiB");
    // One byte more is too much.
    let mut client = gate.connect();
    let more = head.replace(&GIB.to_string(), &(GIB + 1).to_string());
    client.send(more.as_bytes());
    assert_eq!(status_of(&client.read_answer()), 413);
}

#[test]
fn a_gibibyte_goes_down_to_a_slow_reader_with_a_flat_memory() {
    let nginx = Nginx::start();
    nginx.write("public/small", b"");
    nginx.write_sparse("public/big", GIB);
    let gate = in_front_of(nginx.address);
    let before = gate.resident_kib();
    let mut client = gate.connect();
    client.send(b"GET /public/big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let head = client.read_until("\r\n\r\n");
    let (_, first) = head.split_once("\r\n\r\n").unwrap();
    let (mut count, mut bursts, mut most) = (first.len() as u64, 0, 0);
    loop {
        let some = client.read_some();
        if some.is_empty() {
            break;
        }
        count += some.len() as u64;
        if count >> 26 > bursts {
            bursts = count >> 26;
            std::thread::sleep(Duration::from_millis(100));
            most = most.max(gate.resident_kib().saturating_sub(before));
        }
    }
    assert_eq!(count, GIB);
    assert!(most < FLAT_KIB, "grown by {most} KiB");
}

#[test]
fn a_client_that_only_ends_its_side_gets_an_answer_that_does_not_take_too_long() {
    let backend = serving(|mut stream| {
        head_of(&mut stream);
        std::thread::sleep(Duration::from_secs(1));
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        drop(stream.write_all(answer.as_bytes()));
    });
    let gate = in_front_of(backend);
    let mut client = gate.connect();
    client.send(b"GET /public/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.end();
    assert!(client.read_to_end().ends_with("\r\n\r\nok"));
    // And the next request, that came while it waited, is not lost.
    let mut client = gate.connect();
    for _ in 0..2 {
        client.send(b"GET /public/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
        std::thread::sleep(Duration::from_millis(600));
    }
    for _ in 0..2 {
        assert!(client.read_answer().ends_with("ok"));
    }
}

// --- Ranges ---

#[test]
fn ranges_are_between_the_client_and_the_backend() {
    let nginx = Nginx::start();
    nginx.write("public/page", b"0123456789");
    let gate = in_front_of(nginx.address);
    for version in ["--http1.1", "--http2"] {
        let ask = |headers: &[&str]| {
            let curl = headers.iter().fold(gate.curl(), |curl, it| curl.header(it));
            let got = curl.args([version]).get("/public/page");
            let range = got.field("content-range").map(str::to_owned);
            (got.status, range, got.body)
        };
        let whole = gate.curl().get("/public/page");
        let etag = whole.field("etag").unwrap();
        let part = |range: &str, body: &str| (206, Some(format!("bytes {range}/10")), body.into());
        assert_eq!(ask(&["Range: bytes=2-4"]), part("2-4", "234"));
        assert_eq!(ask(&["Range: bytes=-3"]), part("7-9", "789"));
        let same = format!("If-Range: {etag}");
        assert_eq!(ask(&["Range: bytes=2-4", &same]), part("2-4", "234"));
        let all = (200, None, "0123456789".to_owned());
        assert_eq!(ask(&["Range: bytes=2-4", "If-Range: \"other\""]), all);
        let (status, range, _) = ask(&["Range: bytes=20-"]);
        assert_eq!((status, range.as_deref()), (416, Some("bytes */10")));
        let (status, range, body) = ask(&["Range: bytes=0-0,9-9"]);
        assert_eq!((status, range), (206, None));
        assert!(body.contains("Content-Range: bytes 9-9/10"), "{body}");
    }
}

// --- Interim answers ---

#[test]
fn interim_answers_reach_clients_that_know_them_and_what_is_ours_is_taken_out() {
    let backend = serving(|mut stream| {
        head_of(&mut stream);
        for interim in [
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 102 Processing\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\
             Set-Cookie: a=1\r\nConnection: X-Hop\r\nX-Hop: gone\r\nX-Request-Id: planted\r\n\r\n",
        ] {
            stream.write_all(interim.as_bytes()).unwrap();
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        drop(stream.write_all(answer.as_bytes()));
    });
    let gate = in_front_of(backend);
    let answer = gate.raw(b"GET /public/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(
        answer.starts_with(
            "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\
             Link: </style.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n"
        ),
        "{answer}"
    );
    let old = gate.raw(b"GET /public/ HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert!(old.starts_with("HTTP/1.1 200 OK\r\n"), "{old}");
    let url = format!("https://localhost:{}/public/", gate.port());
    let mut curl = Command::new("curl");
    curl.args(["-ski", "--http2", &url]);
    let shown = finished(curl, "").out;
    let hints = "HTTP/2 103 \r\nlink: </style.css>; rel=preload\r\n\r\nHTTP/2 200 \r\n";
    assert!(shown.contains(hints), "{shown}");
}

#[test]
fn a_body_is_asked_for_once_and_not_where_the_backend_refuses_it() {
    for (said, expected) in [
        (
            "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n",
            417,
        ),
        (
            "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n",
            413,
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            401,
        ),
    ] {
        let backend = serving(move |mut stream| {
            assert!(head_of(&mut stream).contains("\r\nExpect: 100-continue\r\n"));
            stream.write_all(said.as_bytes()).unwrap();
            // Whatever comes is no body that was asked for.
            assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
        });
        let gate = in_front_of(backend);
        let mut client = gate.connect();
        client.send(
            b"PUT /public/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\
              Expect: 100-continue\r\n\r\n",
        );
        let answer = client.read_to_end();
        assert_eq!(status_of(&answer), expected, "{answer}");
        assert!(answer.contains("Connection: close"), "{answer}");
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(4).unwrap();
        let upload = ["--http2", "-T", file.path().to_str().unwrap()];
        let got = gate
            .curl()
            .args(upload)
            .header("Expect: 100-continue")
            .get("/public/");
        assert_eq!(got.status, expected, "{got:?}");
    }
}

#[test]
fn a_backend_that_never_says_100_gets_the_body_of_a_client_that_waits_no_longer() {
    let backend = serving(|mut stream| {
        head_of(&mut stream);
        let mut body = [0; 4];
        stream.read_exact(&mut body).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\n";
        stream.write_all(&[&answer[..], &body].concat()).unwrap();
    });
    let gate = in_front_of(backend);
    for version in ["--http1.1", "--http2"] {
        let body = ["--data-binary", "body", "--expect100-timeout", "0.3"];
        let curl = gate.curl().args([version]).args(body);
        let got = curl.header("Expect: 100-continue").get("/public/");
        assert_eq!((got.status, got.body.as_str()), (200, "body"), "{version}");
    }
}

// --- Trailers ---

#[test]
fn trailers_reach_the_other_side_but_for_what_belongs_in_a_head() {
    let (say, got) = channel();
    let say = Mutex::new(say);
    let backend = serving(move |mut stream| {
        let head = head_of(&mut stream);
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut body = String::new();
        let has_body = head.contains("chunked");
        while has_body && !body.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut body).unwrap() > 0, "{body}");
        }
        say.lock().unwrap().send((head, body)).unwrap();
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\
            Connection: close\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nX-Request-Id: planted\r\n\
            Set-Cookie: a=1\r\nKeep-Alive: 5\r\n\r\n";
        drop(stream.write_all(answer.as_bytes()));
    });
    let gate = in_front_of(backend);
    let request = "POST /public/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
        TE: trailers\r\nConnection: close, TE, X-Named\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 5\r\n\
        X-Forwarded-User: ada\r\nAuthorization: Basic x\r\nCookie: a=1\r\nContent-Type: a/b\r\n\
        X-Named: gone\r\nRange: bytes=0-\r\nx_real_ip: 10.0.0.1\r\nX-Other: kept\r\n\r\n";
    let answer = gate.raw(request.as_bytes());
    assert!(
        answer.ends_with("2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"),
        "{answer}"
    );
    let (head, body) = got.recv_timeout(PATIENCE).unwrap();
    assert!(head.contains("\r\nTE: trailers\r\n"), "{head}");
    assert_eq!(body, "2\r\nhi\r\n0\r\nX-Sum: 5\r\nX-Other: kept\r\n\r\n");
    // Who does not take any gets none.
    let plain = request.replace("TE: trailers\r\n", "").replace(" TE,", "");
    let answer = gate.raw(plain.as_bytes());
    assert!(answer.ends_with("2\r\nok\r\n0\r\n\r\n"), "{answer}");
    let (head, _) = got.recv_timeout(PATIENCE).unwrap();
    assert!(!head.contains("TE:"), "{head}");
    let got = gate
        .curl()
        .args(["--http2"])
        .header("TE: trailers")
        .get("/public/");
    // curl shows them behind the body.
    assert_eq!((got.status, got.body.as_str()), (200, "okx-sum: 7\r\n"));
}

// --- Debian's node exporter ---

#[test]
fn a_node_exporter_behind_a_token_says_the_same_as_directly() {
    let port = free_port();
    let mut command = Command::new("prometheus-node-exporter");
    // What changes from one moment to the next is left out.
    command.args([
        "--collector.disable-defaults",
        "--collector.uname",
        "--collector.os",
    ]);
    command.args(["--web.disable-exporter-metrics", "--web.listen-address"]);
    command.arg(format!("127.0.0.1:{port}"));
    let _exporter = Process::start(command, "");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("the exporter listens", || TcpStream::connect(address).ok());

    let made = finished(
        portcullis(["token", "create", "prometheus", "cluster-1"]),
        "",
    );
    let (_, hash) = made.errors.split_once("hash: \"").unwrap();
    let (cert, key) = gate::certificate();
    let gate = Gate::start(&format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
         upstreams: {{exporter: {{url: 'http://{address}'}}}}\n\
         roles: {{reader: [scrape]}}\n\
         users: {{prometheus: {{roles: [reader], tokens: {{cluster-1: {{hash: '{}', abilities: [scrape]}}}}}}}}\n\
         routes: [{{match: /metrics, methods: [GET], can: scrape, credentials: token}}]\n",
        cert.display(),
        key.display(),
        &hash[..71],
    ));
    let bearer = format!("Authorization: Bearer {}", made.out.trim_end());
    let direct = |args: &[&str]| {
        let curl = Curl::new(0).args(args.iter().copied());
        curl.fetch(&format!("http://{address}/metrics"))
    };
    for args in [&["--compressed"][..], &[]] {
        let scraped = gate
            .curl()
            .args(args.iter().copied())
            .header(&bearer)
            .get("/metrics");
        let expected = direct(args);
        assert_eq!((scraped.status, expected.status), (200, 200), "{scraped:?}");
        // How long its collectors took is different each time.
        let lasting = |body: &str| -> Vec<String> {
            let lines = body
                .lines()
                .filter(|line| !line.starts_with("node_scrape_collector_dur"));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(lasting(&scraped.body), lasting(&expected.body));
        assert!(scraped.body.contains("node_uname_info"), "{}", scraped.body);
        assert_eq!(
            scraped.field("content-type"),
            expected.field("content-type")
        );
        assert_eq!(
            scraped.field("content-encoding"),
            expected.field("content-encoding")
        );
    }
    assert_eq!(gate.curl().get("/metrics").status, 401);
}
