//! Backends that speak HTTP/2: what they get, what comes back, and what a bad one can do.

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::harness::backend::Backend;
use crate::harness::client::Connection;
use crate::harness::eventually;
use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PREFACE, PUSH_PROMISE,
    RST_STREAM, SETTINGS, block, field, frame,
};
use crate::harness::gate::{self, Gate, with_hash};
use crate::harness::http2::{
    FrameBackend, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, OK, Peer, RecordingBackend,
};
use crate::harness::nginx::Nginx;

/// A gate in front of this upstream, where everything is public but `/mine/`.
fn in_front_of(upstream: &str) -> Gate {
    in_front_of_with(upstream, 2)
}

fn in_front_of_with(upstream: &str, threads: usize) -> Gate {
    let (cert, key) = gate::certificate();
    Gate::start(&with_hash(&format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
         upstreams: {{backend: {upstream}}}\n\
         routes: [{{match: /mine/, can: view}}, {{public: true}}]\n\
         threads: {threads}\nadmin: {{address: '127.0.0.1:0'}}\n{}",
        cert.display(),
        key.display(),
        gate::ROLES_AND_USERS,
    )))
}

#[test]
fn a_backend_is_spoken_to_over_http2_in_the_clear_by_clients_of_either_version() {
    let nginx = Nginx::listening("http2");
    nginx.write("file.txt", b"the file");
    for upstream in [
        format!("{{url: 'h2c://{}'}}", nginx.address),
        format!("{{url: 'http://{}', version: '2'}}", nginx.address),
        format!("{{url: 'http://{}', version: 2}}", nginx.address),
    ] {
        let gate = in_front_of(&upstream);
        for version in ["--http1.1", "--http2"] {
            let got = gate.curl().args([version]).get("/file.txt");
            assert_eq!((got.status, &*got.body), (200, "the file"), "{version}");
            let got = gate.curl().args([version]).get("/version");
            assert_eq!(got.body, "HTTP/2.0 GET /version", "{version}: {got:?}");
            let got = gate.curl().args([version, "-I"]).get("/file.txt");
            assert_eq!((got.status, got.field("content-length")), (200, Some("8")));
            let got = gate.curl().args([version]).get("/nothing");
            assert_eq!((got.status, &*got.body), (204, ""), "{version}");
        }
    }
}

#[test]
fn a_backend_over_tls_is_one_that_chooses_http2() {
    let (cert, key) = gate::certificate();
    let files = format!(
        "ssl_certificate {}; ssl_certificate_key {};",
        cert.display(),
        key.display()
    );
    let upstream = |nginx: &Nginx| {
        let (port, ca) = (nginx.address.port(), cert.display());
        format!("{{url: 'https://127.0.0.1:{port}', version: '2', tls: {{ca: {ca}}}}}")
    };
    let new = Nginx::listening(&format!("ssl_http2 {files}"));
    let gate = in_front_of(&upstream(&new));
    for version in ["--http1.1", "--http2"] {
        let got = gate.curl().args([version]).get("/version?x=%20");
        assert_eq!(got.body, "HTTP/2.0 GET /version?x=%20", "{got:?}");
    }
    let old = Nginx::listening(&files);
    let gate = in_front_of(&upstream(&old));
    let got = gate.curl().get("/version");
    assert_eq!(got.status, 502, "{got:?}");
    logged(&gate, "upstream_http2_not_spoken");
    // Without the key, it is spoken to as it always was.
    let (port, ca) = (old.address.port(), cert.display());
    let gate = in_front_of(&format!(
        "{{url: 'https://127.0.0.1:{port}', tls: {{ca: {ca}}}}}"
    ));
    assert_eq!(gate.curl().get("/version").body, "HTTP/1.1 GET /version");
}

#[test]
fn a_backend_at_a_socket_may_speak_http2_too() {
    let nginx = Nginx::listening("http2");
    let socket = nginx.socket();
    let gate = in_front_of(&format!(
        "{{url: 'unix:{}', version: '2'}}",
        socket.display()
    ));
    let got = gate.curl().get("/version");
    assert_eq!(got.body, "HTTP/2.0 GET /version", "{got:?}");
}

#[test]
fn who_asks_is_said_by_the_gate_alone() {
    let nginx = Nginx::listening(
        "http2 location = /mine/whoami { return 200 \
         'user=$http_x_forwarded_user host=$http_host te=$http_te cookie=$http_cookie'; }",
    );
    let gate = in_front_of(&format!("{{url: 'h2c://{}'}}", nginx.address));
    let session = gate.log_in("ralph");
    for version in ["--http1.1", "--http2"] {
        let got = gate
            .curl()
            .args([version])
            .header(&format!("Cookie: a=b; __Host-portcullis={session}; c=d"))
            .header("X-Forwarded-User: ada")
            .header("X_Forwarded_User: ada")
            .header("TE: trailers, gzip;q=0.5")
            .get("/mine/whoami");
        let host = format!("localhost:{}", gate.port());
        let expected = format!("user=ralph host={host} te=trailers cookie=a=b; c=d");
        assert_eq!(got.body, expected, "{version}: {got:?}");
        let got = gate.curl().args([version]).get("/mine/whoami");
        assert_eq!(got.status, 401, "{got:?}");
    }
}

#[test]
fn a_large_file_comes_down_whole_with_a_flat_memory() {
    const SIZE: u64 = 256 << 20;
    let nginx = Nginx::listening("http2");
    nginx.write_sparse("big", SIZE);
    let gate = in_front_of(&format!("{{url: 'h2c://{}'}}", nginx.address));
    gate.curl().get("/version");
    let before = gate.resident_kib();
    for version in ["--http1.1", "--http2"] {
        let written = "HTTP/x %{http_code}\r\n\r\n%{size_download}";
        let args = [version, "-o", "/dev/null", "-w", written];
        let got = gate.curl().args(args).get("/big");
        assert_eq!((got.status, got.body), (200, SIZE.to_string()), "{version}");
        let grown = gate.resident_kib().saturating_sub(before);
        assert!(grown < 24 << 10, "{version}: grown by {grown} KiB");
    }
}

/// Waits for a line with this error.
#[track_caller]
fn logged(gate: &Gate, error: &str) {
    eventually(&format!("{error} is on record"), || {
        gate.line_where(|line| line["error.type"] == error)
    });
}

/// Checks what a client gets from a backend that does as `script` says, and how often that is asked.
#[track_caller]
fn check(
    settings: &'static [(u16, u32)],
    script: impl Fn(&mut Peer) -> std::io::Result<()> + Send + Sync + 'static,
    (status, error): (u16, &str),
) -> (Gate, FrameBackend) {
    let backend = FrameBackend::start(settings, script);
    let gate = in_front_of(&format!(
        "{{url: 'h2c://{}', connect_timeout: 1s, write_timeout: 1s, read_timeout: 2s}}",
        backend.address
    ));
    let got = gate.curl().args(["-d", "some body"]).get("/");
    assert_eq!(got.status, status, "{got:?}");
    logged(&gate, error);
    (gate, backend)
}

/// An answer to a stream, with the word that the log has for it.
type BadAnswer = (&'static str, fn(&mut Peer, u32) -> std::io::Result<()>);

#[test]
fn an_answer_that_is_none_is_refused() {
    let answers: [BadAnswer; 7] = [
        ("upstream_bad_answer", |peer, stream| {
            let head = [OK, &field("content-length", "5")].concat();
            peer.send(HEADERS, END_HEADERS | END_STREAM, stream, &head)
        }),
        ("upstream_bad_answer", |peer, stream| {
            let head = [OK, &field("connection", "close")].concat();
            peer.send(HEADERS, END_HEADERS, stream, &head)
        }),
        ("upstream_bad_answer", |peer, stream| {
            let head = [OK, &field("X-Upper", "x")].concat();
            peer.send(HEADERS, END_HEADERS, stream, &head)
        }),
        ("upstream_bad_answer", |peer, stream| {
            // Nobody has asked for it.
            let promise = [&[0, 0, 0, 2], OK].concat();
            peer.send(PUSH_PROMISE, END_HEADERS, stream, &promise)
        }),
        ("upstream_bad_answer", |peer, stream| {
            for _ in 0..100 {
                let head = [&[0x08, 0x03][..], b"103"].concat();
                peer.send(HEADERS, END_HEADERS, stream, &head)?;
            }
            Ok(())
        }),
        ("upstream_reset", |peer, stream| {
            peer.send(RST_STREAM, 0, stream, &2u32.to_be_bytes())
        }),
        ("upstream_bad_answer", |peer, stream| {
            // A head without an end.
            let part = field("x-bomb", "b".repeat(16_000));
            peer.send(HEADERS, 0, stream, &[OK, &part].concat())?;
            loop {
                peer.send(CONTINUATION, 0, stream, &part)?;
            }
        }),
    ];
    for (error, answer) in answers {
        let script = move |peer: &mut Peer| {
            let stream = peer.request()?;
            answer(peer, stream)?;
            // Until the gate has had enough.
            while peer.next().is_ok() {}
            Ok(())
        };
        check(&[], script, (502, error));
    }
}

#[test]
fn an_answer_that_is_not_as_long_as_it_says_is_not_taken_for_whole() {
    for (length, body) in [("5", "abc"), ("2", "abc")] {
        let backend = FrameBackend::start(&[], move |peer| {
            loop {
                let stream = peer.request()?;
                let head = [OK, &field("content-length", length)].concat();
                peer.send(HEADERS, END_HEADERS, stream, &head)?;
                peer.send(DATA, END_STREAM, stream, body.as_bytes())?;
            }
        });
        let gate = in_front_of(&format!("{{url: 'h2c://{}'}}", backend.address));
        for version in ["--http1.1", "--http2"] {
            let got = gate.curl().args([version]).get("/");
            // Neither whole nor too late.
            assert!(![0, 28].contains(&got.exit), "{version} {length}: {got:?}");
        }
        logged(&gate, "upstream_cut_short");
    }
}

#[test]
fn what_a_backend_has_not_looked_at_is_sent_again_and_nothing_else() {
    // The first two streams are refused, whatever the method.
    let tried = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tried);
    let backend = FrameBackend::start(&[], move |peer| {
        loop {
            let stream = peer.request()?;
            match count.fetch_add(1, Ordering::SeqCst) {
                0 => peer.send(RST_STREAM, 0, stream, &7u32.to_be_bytes())?,
                1 => {
                    // Going away, and this one was not looked at.
                    let nothing = [0u32.to_be_bytes(), 0u32.to_be_bytes()].concat();
                    peer.send(GOAWAY, 0, 0, &nothing)?;
                }
                _ => peer.answer(stream, b"at last")?,
            }
        }
    });
    let gate = in_front_of(&format!("{{url: 'h2c://{}'}}", backend.address));
    let got = gate.curl().args(["-X", "POST"]).get("/");
    assert_eq!((got.status, &*got.body), (200, "at last"));
    assert_eq!(tried.load(Ordering::SeqCst), 3);
    assert_eq!(backend.connections(), 2);

    let always = |reason: u32| {
        move |peer: &mut Peer| {
            loop {
                let stream = peer.request()?;
                peer.send(RST_STREAM, 0, stream, &reason.to_be_bytes())?;
            }
        }
    };
    // One that refuses all is not asked for ever.
    let backend = FrameBackend::start(&[], always(7));
    let gate = in_front_of(&format!("{{url: 'h2c://{}'}}", backend.address));
    assert_eq!(gate.curl().get("/").status, 503);
    logged(&gate, "upstream_refused_stream");
}

#[test]
fn a_backend_gets_as_many_streams_as_it_takes() {
    // One at a time; each is answered only when there are two connections.
    let both = Arc::new(AtomicUsize::new(0));
    let arrived = Arc::clone(&both);
    let backend = FrameBackend::start(&[(MAX_CONCURRENT_STREAMS, 1)], move |peer| {
        loop {
            let stream = peer.request()?;
            arrived.fetch_add(1, Ordering::SeqCst);
            let all = || (arrived.load(Ordering::SeqCst) >= 2).then_some(());
            eventually("the other request", all);
            peer.answer(stream, b"both")?;
        }
    });
    let gate = in_front_of(&format!("{{url: 'h2c://{}'}}", backend.address));
    let url = format!("https://localhost:{}/", gate.port());
    let done = std::process::Command::new("curl")
        .args(["-sk", "--http2", "-Z", &url, &url])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "bothboth");
    // None at all.
    let settings = &[(MAX_CONCURRENT_STREAMS, 0)];
    let silent = |peer: &mut Peer| {
        while peer.next().is_ok() {}
        Ok(())
    };
    check(settings, silent, (504, "upstream_connect_timeout"));
}

#[test]
fn a_backend_that_takes_or_says_nothing_is_not_waited_for_for_ever() {
    let silent = |peer: &mut Peer| {
        while peer.next().is_ok() {}
        Ok(())
    };
    check(&[], silent, (504, "upstream_timeout"));
    let closed = &[(INITIAL_WINDOW_SIZE, 0)];
    check(closed, silent, (504, "upstream_timeout"));
}

#[test]
fn what_does_not_speak_http2_gets_no_request() {
    let backend = Backend::start();
    let gate = in_front_of(&format!("{{url: 'h2c://{}'}}", backend.address));
    let got = gate.curl().get("/");
    assert_eq!(got.status, 502, "{got:?}");
    logged(&gate, "upstream_http2_not_spoken");
}

#[test]
fn data_frames_with_nothing_in_them_end_no_connection_however_many_there_are() {
    let backend = FrameBackend::start(&[], |peer| {
        loop {
            let stream = peer.request()?;
            peer.send(HEADERS, END_HEADERS, stream, OK)?;
            peer.send(DATA, 0, stream, b"")?;
            peer.send(DATA, 0, stream, b"whole")?;
            peer.send(DATA, 0, stream, b"")?;
            peer.send(DATA, END_STREAM, stream, b"")?;
        }
    });
    let gate = in_front_of(&format!("{{url: 'h2c://{}'}}", backend.address));
    let got = gate.curl().get("/?request=[1-300]");
    assert_eq!((got.status, got.exit), (200, 0), "{got:?}");
    assert_eq!(got.body.matches("whole").count(), 300);
    assert!(backend.connections() <= 2, "one for each thread");
}

/// A client over HTTP/2 that takes nothing of any answer.
fn taking_nothing(gate: &Gate, requests: u32) -> Frames {
    let mut client = Frames::raw(gate.address);
    client.send(PREFACE);
    let window = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &[0; 4]].concat();
    client.send(&frame(SETTINGS, 0, 0, &window));
    for number in 0..requests {
        client.send(&get_on(2 * number + 1));
    }
    client
}

/// A request on this stream.
fn get_on(stream: u32) -> Vec<u8> {
    let head = block(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/"),
    ]);
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head)
}

#[test]
fn many_small_messages_that_one_client_does_not_take_end_nobody_else_s_calls() {
    const SLOW: usize = 8;
    // Just below what a stream may hold.
    const MESSAGES: usize = 26_000;
    let backend = FrameBackend::start(&[], |peer| {
        for _ in 0..SLOW {
            let stream = peer.request()?;
            peer.send(HEADERS, END_HEADERS, stream, OK)?;
            let message = frame(DATA, 0, stream, b"hello");
            peer.send_raw(&message.repeat(MESSAGES))?;
        }
        loop {
            let stream = peer.request()?;
            peer.answer(stream, b"for somebody else")?;
        }
    });
    let upstream = format!("{{url: 'h2c://{}'}}", backend.address);
    let gate = in_front_of_with(&upstream, 1);
    assert_eq!(backend.connections(), 0);
    let before = gate.resident_kib();
    let slow = taking_nothing(&gate, u32::try_from(SLOW).unwrap());
    for _ in 0..5 {
        let got = gate.curl().get("/");
        assert_eq!((got.status, &*got.body), (200, "for somebody else"));
    }
    assert_eq!(backend.connections(), 1);
    let now = gate.resident_kib();
    assert!(now < before + (48 << 10), "{before} KiB before, {now} now");
    drop(slow);
}

#[test]
fn interim_answers_without_end_are_none_and_fill_nothing() {
    let backend = FrameBackend::start(&[], |peer| {
        let stream = peer.request()?;
        let hint = [&[0x08, 3][..], b"103", &field("x-hint", "x".repeat(60_000))].concat();
        // In parts, as no frame may be larger.
        let (first, rest) = hint.split_at(16 << 10);
        loop {
            peer.send(HEADERS, 0, stream, first)?;
            let mut parts = rest.chunks(16 << 10).peekable();
            while let Some(part) = parts.next() {
                let flags = if parts.peek().is_none() {
                    END_HEADERS
                } else {
                    0
                };
                peer.send(CONTINUATION, flags, stream, part)?;
            }
        }
    });
    let gate = in_front_of(&format!("{{url: 'h2c://{}'}}", backend.address));
    let before = gate.resident_kib();
    // Almost nothing fits between the gate and a client that does not read.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_tcp_mss(536).unwrap();
    socket.connect(&gate.address.into()).unwrap();
    let mut client = Connection::tls_over(socket.into(), "http/1.1");
    client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    logged(&gate, "upstream_bad_answer");
    let now = gate.resident_kib();
    assert!(now < before + (48 << 10), "{before} KiB before, {now} now");
}

#[test]
fn as_many_connections_are_made_beside_each_other_as_those_who_wait_need() {
    for (requests, expected) in [(33, 1), (100, 4)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gate = in_front_of_with(&format!("{{url: 'h2c://{address}'}}"), 1);
        let _client = taking_nothing(&gate, requests);
        gate.await_metric(
            "portcullis_http_requests_in_flight",
            &[],
            f64::from(requests),
        );
        // None of them says that it speaks HTTP/2.
        let open: Vec<_> = (0..expected).map(|_| listener.accept().unwrap()).collect();
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "more than {}", open.len());
    }
}

#[test]
fn an_address_whose_streams_are_all_taken_is_passed_over_and_not_blamed() {
    // Never answers, and takes one at a time.
    let full = FrameBackend::start(&[(MAX_CONCURRENT_STREAMS, 1)], |peer| {
        loop {
            peer.next()?;
        }
    });
    let free = FrameBackend::start(&[], |peer| {
        loop {
            let stream = peer.request()?;
            peer.answer(stream, b"free")?;
        }
    });
    let gate = in_front_of_with(
        &format!(
            "{{urls: ['h2c://{}', 'h2c://{}'], connect_timeout: 300ms, eject: {{failures: 1}}}}",
            full.address, free.address
        ),
        1,
    );
    let mut client = Frames::open(gate.address);
    for number in 0..70 {
        client.send(&get_on(2 * number + 1));
    }
    // Half of them go there; it has a place for 32 at most, on as many connections. All others are
    // answered.
    let answers = std::iter::from_fn(|| client.next());
    let bodies = answers.filter(|frame| frame.kind == DATA && !frame.payload.is_empty());
    let bodies: Vec<_> = bodies.take(70 - 32).map(|frame| frame.payload).collect();
    assert!(bodies.iter().all(|body| body == b"free"), "{bodies:?}");
    assert_eq!(
        gate.count_lines(|line| line["event"] == "upstream.ejected"),
        0
    );
}

#[test]
fn a_connection_on_which_much_is_given_up_gets_no_more_requests() {
    let per_connection = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::new(AtomicUsize::new(0));
    let (counted, seen) = (Arc::clone(&per_connection), Arc::clone(&requests));
    let backend = FrameBackend::start(&[], move |peer| {
        counted.lock().unwrap().push(0);
        loop {
            match peer.next()?.kind {
                HEADERS => drop(seen.fetch_add(1, Ordering::SeqCst)),
                RST_STREAM => counted.lock().unwrap()[peer.connection] += 1,
                _ => {}
            }
        }
    });
    let gate = in_front_of_with(&format!("{{url: 'h2c://{}'}}", backend.address), 1);
    let given_up = || per_connection.lock().unwrap().iter().sum::<usize>();
    for round in 0..2 {
        let mut client = taking_nothing(&gate, 0);
        for number in 0..50 {
            let before = round * 50 + number;
            let stream = 2 * u32::try_from(number).unwrap() + 1;
            client.send(&get_on(stream));
            eventually("it has arrived", || {
                (requests.load(Ordering::SeqCst) > before).then_some(())
            });
            client.send(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
            eventually("it is given up", || (given_up() > before).then_some(()));
        }
    }
    let counts = per_connection.lock().unwrap().clone();
    assert_eq!(counts, [32, 32, 32, 4]);
}

#[test]
fn small_pieces_of_a_body_that_come_together_go_on_together() {
    let frames = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&frames);
    let backend = FrameBackend::start(&[], move |peer| {
        let stream = peer.request()?;
        let mut length = 0;
        loop {
            let frame = peer.next_of(DATA)?;
            length += frame.payload.len();
            counted.fetch_add(1, Ordering::SeqCst);
            if frame.flags & END_STREAM != 0 {
                return peer.answer(stream, length.to_string().as_bytes());
            }
        }
    });
    let gate = in_front_of_with(&format!("{{url: 'h2c://{}'}}", backend.address), 1);
    let mut client = Frames::open(gate.address);
    let head = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/"),
    ]);
    let mut request = frame(HEADERS, END_HEADERS, 1, &head);
    request.extend(frame(DATA, 0, 1, b"x").repeat(1500));
    request.extend(frame(DATA, END_STREAM, 1, b""));
    client.send(&request);
    let answer = client.end_of(1);
    let data = answer.iter().filter(|it| it.kind == DATA);
    let body: Vec<_> = data.flat_map(|it| it.payload.clone()).collect();
    assert_eq!(body, b"1500");
    let frames = frames.load(Ordering::SeqCst);
    assert!(frames < 100, "{frames}");
}

#[test]
fn a_client_that_goes_away_ends_its_stream_and_no_other() {
    let cancelled = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&cancelled);
    let backend = FrameBackend::start(&[], move |peer| {
        let given_up = peer.request()?;
        let reset = peer.next_of(RST_STREAM)?;
        assert_eq!(
            (reset.stream, &*reset.payload),
            (given_up, &[0, 0, 0, 8][..])
        );
        seen.fetch_add(1, Ordering::SeqCst);
        loop {
            let stream = peer.request()?;
            peer.answer(stream, b"the next")?;
        }
    });
    let gate = in_front_of(&format!("{{url: 'h2c://{}'}}", backend.address));
    let got = gate.curl().args(["--http2", "--max-time", "1"]).get("/");
    assert_eq!(got.exit, 28, "{got:?}");
    eventually("the stream is given up", || {
        (cancelled.load(Ordering::SeqCst) == 1).then_some(())
    });
    logged(&gate, "client_gone");
}

#[test]
fn trailers_pass_both_ways_but_not_what_is_the_gate_s_to_say() {
    let backend = RecordingBackend::start();
    let gate = in_front_of(&format!("{{url: 'h2c://{}'}}", backend.address));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"some data").unwrap();
    let done = std::process::Command::new("nghttp")
        .args(["-v", "--no-dep", "-H", "te: trailers", "-d"])
        .arg(file.path())
        .args([
            "--trailer",
            "x-sum: 5",
            "--trailer",
            "x-forwarded-user: ada",
        ])
        .arg(format!("https://localhost:{}/", gate.port()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains("x-checksum: right"), "{said}");
    assert!(!said.contains("a=b"), "{said}");
    let seen = backend.last();
    assert_eq!(seen.body, b"some data");
    let trailers: Vec<_> = seen.trailers.iter().collect();
    assert_eq!(trailers.len(), 1, "{trailers:?}");
    assert_eq!(seen.trailers["x-sum"], "5");
}

#[test]
fn a_request_is_written_as_http2_has_it() {
    let backend = RecordingBackend::start();
    let gate = in_front_of(&format!("{{url: 'h2c://{}'}}", backend.address));
    for version in ["--http1.1", "--http2"] {
        let got = gate
            .curl()
            .args(["-g", version, "-X", "PUT", "-d", "body"])
            .header("Expect: 100-continue")
            .header("Connection: x-hop")
            .header("X-Hop: gone")
            .header("Keep-Alive: 5")
            .get("/a%20b?c=%20&d=`{}|^");
        // curl sends no Connection over HTTP/2, and then the other one is a field like any.
        let line = format!("PUT http://localhost:{}/a%20b?c=%20&d=`{{}}|^", gate.port());
        // curl shows the trailers behind it.
        let is_whole = got.status == 200 && got.body.starts_with(&line);
        assert!(is_whole, "{version}: {got:?}");
        let seen = backend.last();
        assert_eq!((&*seen.line, &*seen.body), (&*line, &b"body"[..]));
        assert_eq!(seen.fields["content-length"], "4");
        for gone in [
            "host",
            "connection",
            "keep-alive",
            "expect",
            "transfer-encoding",
        ] {
            assert!(!seen.fields.contains_key(gone), "{gone}: {seen:?}");
        }
        if version == "--http1.1" {
            assert!(!seen.fields.contains_key("x-hop"), "{seen:?}");
        }
        assert!(seen.fields.contains_key("x-request-id"), "{seen:?}");
    }
    // A length that nobody has said needs no chunks here.
    let chunked = [
        "--http1.1",
        "-d",
        "body",
        "-H",
        "Transfer-Encoding: chunked",
    ];
    assert_eq!(gate.curl().args(chunked).get("/").status, 200);
    let seen = backend.last();
    assert_eq!(seen.body, b"body");
    assert!(!seen.fields.contains_key("content-length"), "{seen:?}");
}

#[test]
fn a_connection_that_a_client_may_authenticate_is_its_own_and_ends_with_its_request() {
    let ended = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&ended);
    let backend = FrameBackend::start(&[], move |peer| {
        while let Ok(stream) = peer.request() {
            peer.answer(stream, peer.connection.to_string().as_bytes())?;
        }
        seen.lock().unwrap().push(peer.connection);
        Ok(())
    });
    let gate = in_front_of(&format!("{{url: 'h2c://{}'}}", backend.address));
    let on = |authorization: &str| {
        let curl = gate
            .curl()
            .header(&format!("Authorization: {authorization}"));
        curl.get("/").body.parse::<usize>().unwrap()
    };
    // Each of the threads has connections that all its clients share.
    let mut shared: Vec<_> = (0..20).map(|_| on("Bearer ntlm")).collect();
    shared.sort_unstable();
    shared.dedup();
    assert!(shared.len() <= 2, "{shared:?}");
    let schemes = ["NTLM TlRMTVNTUAAB", "negotiate YIIB", "Negotiate", "ntlm"];
    let own = schemes.map(on);
    assert!(
        own.iter().all(|it| !shared.contains(it)),
        "{own:?} {shared:?}"
    );
    assert!(own.is_sorted_by(|one, next| one < next), "{own:?}");
    let others = ["Basic cmFscGg6eA==", "Digest username=ntlm", "Bearer x"];
    for authorization in others.iter().cycle().take(12) {
        let it = on(authorization);
        assert!(!own.contains(&it), "{authorization}: {it} of {own:?}");
    }
    eventually("they end, and nothing else does", || {
        let mut ended = ended.lock().unwrap().clone();
        ended.sort_unstable();
        (ended == own).then_some(())
    });
}
