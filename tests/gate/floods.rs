//! Clients that send more than anybody needs, or less than anybody can wait for: their connection
//! ends or waits by itself, other clients are served as before, and the gate's memory stays flat.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::backend::Backend;
use crate::harness::client::{Connection, status_of, tcp};
use crate::harness::eventually;
use crate::harness::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING,
    PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
};
use crate::harness::gate::{self, Gate};

/// How much more memory a flood may take: the buffers of its connections, and what the allocator
/// keeps of them.
const MOST_KIB: u64 = 24 << 10;

/// A gate that was used before, so that all that it makes once is made.
fn warm(backend: &Backend, more: &str) -> Gate {
    let gate = gate::with(backend.address, more);
    for version in ["--http1.1", "--http2"] {
        assert_eq!(gate.curl().args([version]).get("/public/").status, 200);
    }
    gate
}

/// Runs `flood` while another client goes on asking; whatever happens, that one is answered, and
/// the gate's memory stays where it was.
#[track_caller]
fn under(gate: &Gate, flood: impl FnOnce() + Send) {
    let before = gate.resident_kib();
    let most = thread::scope(|scope| {
        let flooding = scope.spawn(flood);
        let (mut other, mut asked, mut most) = (gate.connect(), 0, before);
        while !flooding.is_finished() || asked < 20 {
            other.send(b"GET /public/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(status_of(&other.read_answer()), 200);
            asked += 1;
            most = most.max(gate.resident_kib());
        }
        flooding.join().unwrap();
        most
    });
    assert!(
        most < before + MOST_KIB,
        "{before} KiB before, {most} during it"
    );
}

// === HTTP/2 ===

/// ENHANCE_YOUR_CALM (RFC 9113 section 7).
const CALM: u32 = 11;

/// `GET /public/ https://localhost` by the static table of HPACK, as literals without indexing.
const GET: &[u8] = b"\x82\x87\x04\x08/public/\x01\x09localhost";
const POST: &[u8] = b"\x83\x87\x04\x08/public/\x01\x09localhost";

/// The reason that the connection is ended with; 0 where it is closed without one.
#[track_caller]
fn end(mut client: Frames) -> u32 {
    let mut reason = 0;
    while let Some(frame) = client.next() {
        if frame.kind == GOAWAY {
            reason = u32::from_be_bytes(frame.payload[4..8].try_into().unwrap());
        }
    }
    reason
}

/// Sends `frames` again and again, at most `times`, until the gate ends the connection; the reason
/// that it gives. Nothing is read before that.
#[track_caller]
fn flood(gate: &Gate, first: &[u8], times: usize, frames: impl Fn(u32) -> Vec<u8>) -> u32 {
    let mut client = Frames::open(gate.address);
    client.send(first);
    let mut batch = Vec::new();
    for time in 0..times {
        batch.extend(frames(u32::try_from(time).unwrap()));
        if batch.len() > 16 << 10 {
            client.send(&batch);
            batch.clear();
        }
    }
    client.send(&batch);
    end(client)
}

/// Checks that the gate ends the connection of a client that sends `frames` so often, for one of these
/// reasons, and serves others meanwhile.
#[track_caller]
fn ends(
    what: &str,
    reasons: &[u32],
    first: &[u8],
    frames: impl Fn(u32) -> Vec<u8> + Send,
) -> (Backend, Gate) {
    let backend = Backend::start();
    let gate = warm(&backend, "");
    under(&gate, || {
        let reason = flood(&gate, first, 20_000, frames);
        assert!(reasons.contains(&reason), "{what}: {reason}");
    });
    (backend, gate)
}

/// A client that is still sending may find the connection reset before it reads why.
const CALM_OR_NONE: &[u32] = &[0, CALM];

/// The same, and that it is on record.
#[track_caller]
fn is_cut_off(what: &str, first: &[u8], frames: impl Fn(u32) -> Vec<u8> + Send) {
    let (_backend, gate) = ends(what, CALM_OR_NONE, first, frames);
    eventually("it is on record", || {
        gate.line_where(|line| line["event"] == "http2.flood")
    });
}

#[test]
fn pings_settings_and_other_frames_that_ask_for_nothing_are_a_flood() {
    is_cut_off("PING", &[], |_| frame(PING, 0, 0, &[0; 8]));
    is_cut_off("SETTINGS", &[], |_| frame(SETTINGS, 0, 0, &[]));
    is_cut_off("PRIORITY", &[], |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]));
    is_cut_off("WINDOW_UPDATE", &[], |_| {
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])
    });
    is_cut_off("unknown", &[], |_| frame(0x42, 0, 0, b"?"));
}

#[test]
fn settings_that_move_the_windows_of_all_streams_are_a_flood() {
    is_cut_off("SETTINGS", &[], |time| {
        let window = (1000 + time % 2).to_be_bytes();
        frame(SETTINGS, 0, 0, &[&[0, 4][..], &window].concat())
    });
}

#[test]
fn empty_data_is_a_flood() {
    let post = frame(HEADERS, END_HEADERS, 1, POST);
    ends("empty DATA", CALM_OR_NONE, &post, |_| {
        frame(DATA, 0, 1, &[])
    });
}

#[test]
fn requests_that_are_reset_at_once_are_a_flood() {
    let (backend, _) = ends("resets", CALM_OR_NONE, &[], |time| {
        let stream = 2 * time + 1;
        let mut pair = frame(HEADERS, END_HEADERS | END_STREAM, stream, GET);
        pair.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        pair
    });
    assert!(backend.seen().len() < 2_000, "{}", backend.seen().len());
}

#[test]
fn requests_with_bodies_that_are_reset_or_break_their_word_are_a_flood_too() {
    // POST with a length of 5, and more than that.
    let five = [POST, b"\x0f\x0d\x015"].concat();
    let reset = (POST, RST_STREAM, &[0, 0, 0, 8][..]);
    for (head, kind, end) in [reset, (&*five, DATA, b"too long")] {
        let (backend, _) = ends("bodies", CALM_OR_NONE, &[], |time| {
            let stream = 2 * time + 1;
            let mut frames = frame(HEADERS, END_HEADERS, stream, head);
            frames.extend(frame(DATA, 0, stream, b"x"));
            frames.extend(frame(kind, 0, stream, end));
            frames
        });
        let seen = backend.seen().len();
        assert!(seen < 1_000, "{seen}");
    }
}

#[test]
fn streams_that_we_are_made_to_reset_are_a_flood() {
    // MadeYouReset (CVE-2025-8671): a window update of nothing is an error of the stream.
    ends("updates of nothing", &[0, 1, CALM], &[], |time| {
        let stream = 2 * time + 1;
        let mut pair = frame(HEADERS, END_HEADERS | END_STREAM, stream, GET);
        pair.extend(frame(WINDOW_UPDATE, 0, stream, &[0; 4]));
        pair
    });
}

#[test]
fn a_head_without_an_end_is_a_flood() {
    let begin = frame(HEADERS, END_STREAM, 1, GET);
    ends("CONTINUATION", CALM_OR_NONE, &begin, |time| {
        let field = format!("\0\x04a{:03x}\x01b", time % 4096);
        frame(CONTINUATION, 0, 1, field.as_bytes())
    });
    // The same with nothing in each.
    ends("empty CONTINUATION", CALM_OR_NONE, &begin, |_| {
        frame(CONTINUATION, 0, 1, &[])
    });
}

#[test]
fn malformed_requests_are_a_flood() {
    ends("bad heads", &[0, 1, CALM], &[], |time| {
        frame(HEADERS, END_HEADERS | END_STREAM, 2 * time + 1, b"\x82\x87")
    });
}

#[test]
fn no_more_streams_than_announced_are_served_at_one_time() {
    let backend = Backend::answering(|_, _| {
        thread::sleep(Duration::from_secs(60));
        false
    });
    let gate = gate::with(backend.address, "limits: {http2_streams: 5}\n");
    let mut client = Frames::open(gate.address);
    for stream in 0..6 {
        client.send(&frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            2 * stream + 1,
            GET,
        ));
    }
    let (mut announced, mut refused) = (None, None);
    while announced.is_none() || refused.is_none() {
        let frame = client.next().unwrap();
        let (stream, payload) = (frame.stream, frame.payload);
        match frame.kind {
            SETTINGS => {
                let settings = payload.chunks(6).find(|it| it[..2] == [0, 3]);
                announced = settings.map(|it| it[5]).or(announced);
            }
            RST_STREAM => refused = Some((stream, payload[3])),
            _ => {}
        }
    }
    // REFUSED_STREAM (RFC 9113 section 5.1.2).
    assert_eq!((announced, refused), (Some(5), Some((11, 7))));
    eventually("the others are served", || {
        (backend.seen().len() == 5).then_some(())
    });
}

#[test]
fn a_connection_ends_in_order_after_so_many_requests() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "limits: {requests_per_connection: 3}\n");
    let mut client = Frames::open(gate.address);
    for stream in [1, 3, 5] {
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, GET));
    }
    let mut answered = 0;
    let mut goodbye = None;
    while let Some(Frame { kind, payload, .. }) = client.next() {
        match kind {
            HEADERS => answered += 1,
            PING => client.send(&frame(PING, ACK, 0, &payload)),
            GOAWAY => goodbye = Some(payload[7]),
            _ => {}
        }
    }
    assert_eq!((answered, goodbye), (3, Some(0)));
}

#[test]
fn a_client_that_works_is_no_flood_however_long_it_does() {
    let backend = Backend::start();
    let gate = warm(&backend, "");
    let mut client = Frames::open(gate.address);
    for time in 0..2_000 {
        let stream = 2 * time + 1;
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, GET));
        // What the busiest clients send beside a request.
        let beside = [
            frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 1]),
            frame(PING, 0, 0, &[0; 8]),
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 19]),
        ];
        client.send(&beside.concat());
        loop {
            let frame = client.next().expect("it goes on");
            assert_ne!(frame.kind, GOAWAY, "{time}: {frame:?}");
            if frame.kind == DATA && frame.stream == stream {
                break;
            }
        }
    }
}

#[test]
fn a_client_that_opens_its_window_by_the_byte_is_cut_off() {
    let backend = Backend::answering(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n";
        let whole = [head.as_bytes(), &[b'x'; 20_000]].concat();
        stream.write_all(&whole).is_ok()
    });
    let gate = gate::with(backend.address, "timeouts: {body: 1s}\n");
    let mut client = Frames::open(gate.address);
    // No window to begin with.
    client.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET));
    let begun = Instant::now();
    eventually("the stream is reset", || {
        client.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
        client.send(&frame(PING, 0, 0, &[0; 8]));
        loop {
            let frame = client.next().expect("only the stream ends");
            if frame.kind == RST_STREAM && frame.stream == 1 {
                return Some(());
            }
            if frame.kind == PING {
                thread::sleep(Duration::from_millis(50));
                return None;
            }
        }
    });
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

// === HTTP/1 ===

/// Sends a byte now and then until the gate closes; what it said.
fn trickle(mut connection: TcpStream, bytes: &[u8]) -> String {
    connection
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let mut bytes = bytes.iter().cycle();
    let mut answer = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        // A gate that has closed is found out by reading.
        drop(connection.write_all(&[*bytes.next().unwrap()]));
        let mut some = [0; 1024];
        match connection.read(&mut some) {
            Ok(0) => return String::from_utf8_lossy(&answer).into_owned(),
            Ok(read) => answer.extend(&some[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return String::from_utf8_lossy(&answer).into_owned(),
        }
    }
    panic!("it was never closed");
}

/// A gate with an http listener, for clients by the hundred.
fn plain(backend: &Backend, more: &str) -> Gate {
    Gate::start(&format!(
        "listeners:\n\
         - {{address: '127.0.0.1:0', protocol: http, max_connections_per_address: 1000}}\n\
         upstreams: {{backend: {{url: 'http://{}'}}}}\nthreads: 2\n{more}routes: [{{public: true}}]\n",
        backend.address
    ))
}

#[test]
fn many_slow_heads_and_bodies_are_cut_off_and_keep_nobody_waiting() {
    let backend = Backend::start();
    let gate = plain(&backend, "timeouts: {head: 1s, body: 1s}\n");
    let ask = || {
        let mut client = Connection::plain(gate.address);
        client.send(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        status_of(&client.read_to_end())
    };
    assert_eq!(ask(), 200);
    let before = gate.resident_kib();
    thread::scope(|scope| {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
        let chunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;";
        let slow: Vec<_> = (0..100)
            .map(|number| {
                let first = [head, body, chunks][number % 3];
                let mut connection = tcp(gate.address);
                connection.write_all(first.as_bytes()).unwrap();
                scope.spawn(move || trickle(connection, b"x"))
            })
            .collect();
        for _ in 0..50 {
            assert_eq!(ask(), 200);
        }
        for slow in slow {
            let answer = slow.join().unwrap();
            assert!(matches!(status_of(&answer), 408 | 0), "{answer}");
        }
    });
    let now = gate.resident_kib();
    assert!(now < before + MOST_KIB, "{before} KiB before, {now} now");
}

#[test]
fn a_body_that_trickles_is_cut_off_and_one_that_only_pauses_is_not() {
    let backend = Backend::start();
    let gate = plain(&backend, "timeouts: {body: 1s, body_rate: 1KiB}\n");
    let begin = |length: usize| {
        let mut connection = tcp(gate.address);
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        connection.write_all(head.as_bytes()).unwrap();
        connection
    };
    // Never as long as a second without a byte, and never a kilobyte a second.
    let begun = Instant::now();
    assert_eq!(status_of(&trickle(begin(1_000_000), b"x")), 408);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let mut pausing = begin(8_192);
    for _ in 0..4 {
        pausing.write_all(&[b'x'; 2_048]).unwrap();
        thread::sleep(Duration::from_millis(500));
    }
    let mut answer = [0; 1024];
    let read = pausing.read(&mut answer).unwrap();
    assert_eq!(status_of(&String::from_utf8_lossy(&answer[..read])), 200);
}

#[test]
fn a_backend_that_takes_its_time_is_not_held_against_the_client() {
    // It reads nothing of a large body for longer than a client may be waited for.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        thread::sleep(Duration::from_secs(3));
        let mut read = [0; 64 << 10];
        let mut total = 0;
        while total < (32 << 20) {
            total += stream.read(&mut read).unwrap();
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
    });
    let gate = Gate::start(&format!(
        "listeners: [{{address: '127.0.0.1:0', protocol: http}}]\n\
         upstreams: {{backend: {{url: 'http://{address}'}}}}\n\
         timeouts: {{body: 1s, body_rate: 1MiB}}\nroutes: [{{public: true}}]\n"
    ));
    let mut client = Connection::plain(gate.address);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 33554432\r\n\r\n");
    for _ in 0..32 {
        client.send(&vec![b'x'; 1 << 20]);
    }
    assert_eq!(status_of(&client.read_answer()), 200);
}

#[test]
fn clients_that_read_nothing_are_cut_off_and_hold_little() {
    let backend = Backend::answering(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n";
        stream.write_all(head.as_bytes()).is_ok()
            && (0..100).all(|_| stream.write_all(&vec![b'x'; 1_000_000]).is_ok())
    });
    let gate = plain(&backend, "timeouts: {body: 1s}\n");
    let before = gate.resident_kib();
    let mut idle: Vec<_> = (0..50)
        .map(|_| {
            let mut connection = tcp(gate.address);
            connection
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            connection
        })
        .collect();
    eventually("they are cut off", || {
        let cut = gate.count_lines(|line| line["error.type"] == "client_gone");
        (cut == idle.len()).then_some(())
    });
    let now = gate.resident_kib();
    assert!(now < before + MOST_KIB, "{before} KiB before, {now} now");
    idle.clear();
}

#[test]
fn a_crowd_up_to_the_limit_keeps_nobody_out_who_is_below_it() {
    let backend = Backend::start();
    let gate = Gate::start(&format!(
        "listeners:\n\
         - {{address: '127.0.0.1:0', protocol: http, max_connections: 200, max_connections_per_address: 150}}\n\
         upstreams: {{backend: {{url: 'http://{}'}}}}\nthreads: 2\nroutes: [{{public: true}}]\n",
        backend.address
    ));
    let crowd: Vec<_> = (0..1000).map(|_| tcp(gate.address)).collect();
    let other = crate::harness::client::Curl::new(gate.port())
        .args(["--interface", "127.0.0.2"])
        .fetch(&format!("http://{}/x", gate.address));
    assert_eq!(other.status, 200);
    drop(crowd);
}
