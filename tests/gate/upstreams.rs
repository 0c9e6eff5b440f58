//! Backends behind TLS and Unix sockets: a real nginx, which gets nothing where there is doubt
//! whether it is the one that was meant.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use crate::harness::backend::Backend;
use crate::harness::client::Got;
use crate::harness::gate::{self, Gate};
use crate::harness::nginx::Nginx;
use crate::harness::pki::{Client, FUTURE, Key, PAST, Pki};
use crate::harness::process::{finished, portcullis};
use crate::harness::{eventually, free_port};

/// A gate in front of one backend.
struct Fronted {
    gate: Gate,
}

fn config(upstream: &str) -> String {
    format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{backend: {upstream}}}\n\
         routes: [{{public: true}}]\nthreads: 2\nadmin: {{address: '127.0.0.1:0'}}\n\
         tls: {{certificates: [{{cert: gate.crt, key: gate.key}}]}}\n"
    )
}

impl Fronted {
    /// All files are in the folder of `pki`.
    #[track_caller]
    fn start(pki: &Pki, upstream: &str) -> Self {
        pki.write("portcullis.yaml", &config(upstream));
        let gate = Gate::start_file(&pki.path("portcullis.yaml"), &[]);
        Self { gate }
    }

    fn get(&self, path: &str) -> Got {
        self.gate.curl().get(path)
    }

    /// Why the last request was not answered by the backend.
    #[track_caller]
    fn refused(&self) -> String {
        let before = self.gate.count_lines(|line| line["error.type"].is_string());
        let got = self.get("/whoami");
        assert_eq!(got.status, 502, "{got:?}");
        assert!(!got.body.contains("user="), "{got:?}");
        eventually("it is in the log", || {
            let lines = self.gate.written();
            let with_error = lines.iter().filter(|line| line.contains("error.type"));
            let last = with_error.skip(before).last()?;
            let line: serde_json::Value = serde_json::from_str(last).unwrap();
            Some(line["error.type"].as_str().unwrap().to_owned())
        })
    }
}

/// A CA that has issued a certificate for the gate and one for `backend.example`.
fn pki() -> Pki {
    let pki = Pki::new();
    pki.leaf("gate", Key::Ecdsa, &["localhost"]);
    pki.leaf("backend", Key::Ecdsa, &["backend.example"]);
    pki
}

/// An nginx that shows the certificate `FILE.crt`, with the intermediate where one has issued it. Where
/// `more` begins with `http2`, it speaks that.
#[track_caller]
fn nginx(pki: &Pki, file: &str, more: &str) -> Nginx {
    let chain = format!("{file}.chain");
    pki.join(&[&format!("{file}.crt"), "int.crt"], &chain);
    let (chain, key) = (pki.path(&chain), pki.path(&format!("{file}.key")));
    let (chain, key) = (chain.display(), key.display());
    let protocols = match more.contains("ssl_protocols") {
        true => "",
        false => "ssl_protocols TLSv1.2 TLSv1.3;",
    };
    let (http2, more) = match more.strip_prefix("http2") {
        Some(more) => ("ssl_http2 ", more),
        None => ("", more),
    };
    Nginx::listening(&format!(
        "{http2}ssl_certificate {chain}; ssl_certificate_key {key}; {protocols} {more}"
    ))
}

fn url(nginx: &Nginx) -> String {
    format!("url: 'https://{}'", nginx.address)
}

/// The SHA-256 of a certificate's key, as curl and others write it.
#[track_caller]
fn pin(pki: &Pki, file: &str) -> String {
    pki.openssl(&format!(
        "x509 -in {file}.crt -noout -pubkey -out {file}.pub"
    ));
    pki.openssl(&format!(
        "pkey -pubin -in {file}.pub -outform DER -out {file}.spki"
    ));
    pki.openssl(&format!(
        "dgst -sha256 -binary -out {file}.digest {file}.spki"
    ));
    let encoded = pki.openssl(&format!("base64 -A -in {file}.digest"));
    format!(
        "sha256//{}",
        String::from_utf8(encoded.stdout).unwrap().trim()
    )
}

#[test]
fn a_backend_with_tls_is_spoken_to_where_its_ca_is_trusted_and_its_name_fits() {
    let pki = pki();
    let nginx = nginx(&pki, "backend", "");
    let big = vec![b'x'; 3 << 20];
    nginx.write("big", &big);
    let tls = "tls: {ca: root.crt, server_name: backend.example}";
    let fronted = Fronted::start(&pki, &format!("{{{}, {tls}}}", url(&nginx)));
    for _ in 0..3 {
        let got = fronted.get("/gate");
        assert_eq!(
            (got.status, got.body.as_str()),
            (200, "TLSv1.3  backend.example")
        );
    }
    assert_eq!(fronted.get("/big").body.len(), big.len());
    let upload = pki.path("upload");
    std::fs::write(&upload, &big).unwrap();
    let body = format!("@{}", upload.display());
    let sent = fronted.gate.curl().args(["--data-binary", &body]);
    assert_eq!(sent.get("/nothing").status, 204);
    let reused = [("upstream", "backend"), ("reused", "true")];
    eventually("a connection was used again", || {
        let metrics = fronted.gate.metrics();
        let parsed = crate::harness::metrics::Metrics::parse(&metrics);
        (parsed.sum("portcullis_upstream_connections_total", &reused) > 0.0).then_some(())
    });
}

#[test]
fn a_backend_that_cannot_prove_who_it_is_gets_nothing_and_the_log_says_why() {
    let pki = pki();
    let other = Pki::new();
    pki.write("other.crt", &other.read("root.crt"));
    pki.leaf_for_days("expired", Key::Ecdsa, &["backend.example"], -1);
    let early = Client {
        subject: "/CN=early",
        names: "DNS:backend.example",
        usage: "serverAuth",
        dates: (FUTURE, "20490101000000Z"),
        ..Client::default()
    };
    pki.client("early", &early);
    let wrong_usage = Client {
        names: "DNS:backend.example",
        ..Client::default()
    };
    pki.client("wrong_usage", &wrong_usage);
    let no_names = Client {
        subject: "/CN=backend.example",
        usage: "serverAuth",
        ..Client::default()
    };
    pki.client("no_names", &no_names);
    let pinned = pin(&pki, "gate");
    let trusted = "ca: root.crt, server_name: backend.example";
    for (file, tls, why) in [
        (
            "backend",
            "ca: other.crt, server_name: backend.example",
            "untrusted",
        ),
        ("backend", "server_name: backend.example", "untrusted"),
        ("backend", "ca: root.crt", "wrong_name"),
        (
            "backend",
            "ca: root.crt, server_name: other.example",
            "wrong_name",
        ),
        (
            "backend",
            "ca: root.crt, server_name: 127.0.0.1",
            "wrong_name",
        ),
        ("expired", trusted, "expired"),
        ("early", trusted, "not_yet_valid"),
        ("wrong_usage", trusted, "untrusted"),
        ("no_names", trusted, "wrong_name"),
        ("backend", &format!("pins: '{pinned}'"), "wrong_key"),
        (
            "backend",
            &format!("{trusted}, pins: ['{pinned}']"),
            "wrong_key",
        ),
    ] {
        let nginx = nginx(&pki, file, "");
        let fronted = Fronted::start(&pki, &format!("{{{}, tls: {{{tls}}}}}", url(&nginx)));
        let expected = format!("upstream_tls_{why}");
        assert_eq!(fronted.refused(), expected, "{file} with {tls}");
    }
}

#[test]
fn a_backend_that_speaks_no_tls_or_an_older_one_gets_nothing() {
    let pki = pki();
    let plain = Nginx::start();
    let old = nginx(&pki, "backend", "ssl_protocols TLSv1.2;");
    let tls = "ca: root.crt, server_name: backend.example";
    let fronted = Fronted::start(&pki, &format!("{{{}, tls: {{{tls}}}}}", url(&plain)));
    assert_eq!(fronted.refused(), "upstream_tls_not_spoken");
    let newest = format!("{{{}, tls: {{{tls}, min_version: '1.3'}}}}", url(&old));
    assert_eq!(
        Fronted::start(&pki, &newest).refused(),
        "upstream_tls_refused"
    );
    let older = format!("{{{}, tls: {{{tls}}}}}", url(&old));
    let got = Fronted::start(&pki, &older).get("/gate");
    assert_eq!(got.body, "TLSv1.2  backend.example");
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole_only_where_tls_says_so() {
    let pki = pki();
    pki.write("page.txt", "all of it\n");
    let tls = "tls: {ca: root.crt, server_name: backend.example}";
    let server = |mode: &str| {
        let port = free_port();
        let mut command = Command::new("openssl");
        command
            .args(["s_server", "-accept", &port.to_string(), mode])
            .args(["-cert", "backend.crt", "-key", "backend.key"])
            .args(["-cert_chain", "int.crt"])
            .current_dir(pki.folder());
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("it listens", || {
            let table = std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default()
                + &std::fs::read_to_string("/proc/net/tcp").unwrap();
            table.contains(&format!(":{port:04X} ")).then_some(())
        });
        let upstream = format!("{{url: 'https://127.0.0.1:{port}', {tls}}}");
        (child, Fronted::start(&pki, &upstream))
    };
    let (mut files, whole) = server("-WWW");
    let got = whole.get("/page.txt");
    assert_eq!((got.exit, got.body.as_str()), (0, "all of it\n"), "{got:?}");
    drop((files.kill(), files.wait()));

    let (mut quiet, half) = server("-quiet");
    let mut connection = half.gate.connect();
    connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let stdin = quiet.stdin.as_mut().unwrap();
    stdin
        .write_all(b"HTTP/1.1 200 OK\r\n\r\nthe first half\n")
        .unwrap();
    stdin.flush().unwrap();
    connection.read_until("the first half");
    drop((quiet.kill(), quiet.wait()));
    let cut = |line: &serde_json::Value| line["error.type"] == "upstream_cut_short";
    eventually("it is in the log", || half.gate.line_where(cut));
    let rest = connection.read_to_end();
    assert!(!rest.ends_with("0\r\n\r\n"), "{rest}");
}

#[test]
fn a_pinned_key_is_enough_whatever_its_certificate_says() {
    let pki = pki();
    let expired = Client {
        subject: "/CN=device",
        issuer: "",
        dates: (PAST, "20220101000000Z"),
        ..Client::default()
    };
    pki.client("device", &expired);
    let nginx = nginx(&pki, "device", "");
    let pins = format!("pins: ['{}', '{}']", pin(&pki, "gate"), pin(&pki, "device"));
    let fronted = Fronted::start(&pki, &format!("{{{}, tls: {{{pins}}}}}", url(&nginx)));
    assert_eq!(fronted.get("/whoami").status, 200);
    let unpinned = format!("{{{}, tls: {{ca: root.crt}}}}", url(&nginx));
    Fronted::start(&pki, &unpinned).refused();
}

#[test]
fn a_backend_that_asks_who_we_are_is_shown_the_certificate_that_is_for_it() {
    let pki = pki();
    pki.client("ours", &Client::default());
    pki.join(&["ours.crt", "int.crt"], "ours.chain");
    let ca = pki.path("root.crt");
    let asks = format!(
        "ssl_client_certificate {}; ssl_verify_client on; ssl_verify_depth 3;",
        ca.display()
    );
    let nginx = nginx(&pki, "backend", &asks);
    let tls = "ca: root.crt, server_name: backend.example";
    let shown = "certificate: {cert: ours.chain, key: ours.key}";
    let with = format!("{{{}, tls: {{{tls}, {shown}}}}}", url(&nginx));
    let got = Fronted::start(&pki, &with).get("/gate");
    assert_eq!(got.body, "TLSv1.3 CN=client backend.example", "{got:?}");
    // nginx says so in an answer of its own.
    let without = format!("{{{}, tls: {{{tls}}}}}", url(&nginx));
    assert_eq!(Fronted::start(&pki, &without).get("/gate").status, 400);
}

#[test]
fn a_ca_that_is_taken_out_counts_at_once_also_for_connections_that_are_there() {
    taken_out_at_once("", "1.1");
}

#[test]
fn a_ca_that_is_taken_out_counts_at_once_also_for_connections_that_requests_share() {
    taken_out_at_once("http2", "2");
}

#[track_caller]
fn taken_out_at_once(speaks: &str, version: &str) {
    let pki = pki();
    let counted = "location = /counted { return 200 $connection_requests; }";
    let nginx = nginx(&pki, "backend", &format!("{speaks} {counted}"));
    let other = Pki::new().read("root.crt");
    let good = pki.read("root.crt");
    pki.write("backend-ca.crt", &good);
    let tls = "tls: {ca: backend-ca.crt, server_name: backend.example}";
    let upstream = format!("{{{}, version: '{version}', {tls}}}", url(&nginx));
    let fronted = Fronted::start(&pki, &upstream);
    // So that all threads have one that could be used again.
    let is_used_again = || fronted.get("/counted").body.parse::<u32>().unwrap() > 10;
    eventually("connections are used again", || {
        is_used_again().then_some(())
    });
    let renewed = |result: &str| {
        fronted.gate.count_lines(|line| {
            let is_it = line["event"] == "upstream.tls" || line["event"] == "config.reload";
            is_it && line["result"] == result
        })
    };
    // What cannot be read keeps what was there, and is said.
    pki.write("backend-ca.crt", "nothing of use\n");
    eventually("it is said", || (renewed("failure") > 0).then_some(()));
    assert_eq!(fronted.get("/whoami").status, 200);
    pki.write("backend-ca.crt", &other);
    eventually("it is read", || (renewed("success") > 0).then_some(()));
    for _ in 0..6 {
        assert_eq!(fronted.refused(), "upstream_tls_untrusted");
    }
    pki.write("backend-ca.crt", &good);
    eventually("it is read", || (renewed("success") > 1).then_some(()));
    assert_eq!(fronted.get("/whoami").status, 200);
    fronted
        .gate
        .await_metric("portcullis_config_last_reload_successful", &[], 1.0);
}

#[test]
fn verification_that_is_switched_off_is_warned_about() {
    let pki = pki();
    let nginx = nginx(&pki, "backend", "");
    let tls = "tls: {unsafe_skip_verify: true}";
    let fronted = Fronted::start(&pki, &format!("{{{}, {tls}}}", url(&nginx)));
    assert_eq!(fronted.get("/whoami").status, 200);
    let is_about_it = |line: &serde_json::Value| {
        let message = line["message"].as_str().unwrap_or_default();
        line["event"] == "config.warning" && message.contains("pin the backend's key instead")
    };
    assert!(fronted.gate.line_where(is_about_it).is_some());
}

#[test]
fn what_tls_to_a_backend_is_made_of_has_to_be_there_at_the_start() {
    let pki = pki();
    pki.write("empty.crt", "");
    for (tls, said) in [
        (
            "ca: missing.crt",
            "missing.crt: cannot read the CA certificates",
        ),
        ("ca: empty.crt", "empty.crt: found an empty file"),
        (
            "certificate: {cert: backend.crt, key: gate.key}",
            "backend.crt",
        ),
    ] {
        let upstream = format!("{{url: 'https://127.0.0.1:1', tls: {{{tls}}}}}");
        pki.write("portcullis.yaml", &config(&upstream));
        let file = pki.path("portcullis.yaml");
        for (command, code) in [("run", 78), ("check", 1)] {
            let done = finished(portcullis([command, "-c", file.to_str().unwrap()]), "");
            assert_eq!(done.code, Some(code), "{done:?}");
            assert!(done.errors.contains(said), "{done:?}");
            assert!(done.errors.contains("upstreams.backend.tls"), "{done:?}");
        }
    }
}

#[test]
fn a_backend_at_a_unix_socket_is_spoken_to_and_one_that_is_not_there_is_502() {
    let pki = pki();
    let nginx = Nginx::start();
    let socket = nginx.socket();
    let fronted = Fronted::start(&pki, &format!("{{url: 'unix:{}'}}", socket.display()));
    for _ in 0..3 {
        let got = fronted.get("/whoami");
        assert_eq!((got.status, got.body.as_str()), (200, "user= groups="));
    }
    let gone = Fronted::start(&pki, "{url: 'unix:/nowhere/app.sock'}");
    assert_eq!(gone.refused(), "upstream_refused");
}

#[test]
fn a_backend_that_takes_no_more_of_a_request_has_its_time_to_answer_and_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("app.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            stream.read_exact(&mut [0; 100]).unwrap();
            stream.shutdown(Shutdown::Read).unwrap();
            open.push(stream);
        }
    });
    let pki = pki();
    let upstream = format!("{{url: 'unix:{}', read_timeout: 1s}}", socket.display());
    let fronted = Fronted::start(&pki, &upstream);
    let body = folder.path().join("body");
    std::fs::write(&body, vec![b'x'; 3 << 20]).unwrap();
    let data = format!("@{}", body.display());
    let post = fronted.gate.curl().args(["--data-binary", &data]);
    assert_eq!(post.get("/x").status, 504);
    fronted
        .gate
        .await_metric("portcullis_http_requests_in_flight", &[], 0.0);
}

// --- Connections that somebody has authenticated ---

#[test]
fn a_connection_that_a_client_has_authenticated_serves_nobody_else() {
    let backend = Backend::answering(|request, stream| {
        let challenge = match request.path() {
            "/public/ntlm" => "WWW-Authenticate: Basic realm=x\r\nWWW-Authenticate: NTLM\r\n",
            "/public/list" => "WWW-Authenticate: Basic realm=x, Negotiate\r\n",
            "/public/basic" => "WWW-Authenticate: Basic realm=ntlm\r\n",
            _ => "",
        };
        let status = if challenge.is_empty() {
            "200 OK"
        } else {
            "401 Who"
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{challenge}\r\n");
        stream.write_all(answer.as_bytes()).is_ok()
    });
    // All clients on one thread, which has the connections.
    let config = gate::config(backend.address, "");
    let gate = Gate::start(&config.replace("threads: 2", "threads: 1"));
    let is_kept = |path: &str, authorization: &str| {
        backend.forget();
        let field = format!("Authorization: {authorization}");
        gate.curl().header(&field).get(&format!("/public/{path}"));
        gate.curl().get("/public/next");
        let seen = backend.seen();
        assert_eq!(seen.len(), 2, "{seen:?}");
        seen[0].connection == seen[1].connection
    };
    assert!(is_kept("x", "Basic cmFscGg6eA=="));
    assert!(is_kept("x", "Bearer ntlm"));
    assert!(!is_kept("x", "NTLM TlRMTVNTUAAB"));
    assert!(!is_kept("x", "negotiate YIIB"));
    assert!(is_kept("basic", "Basic cmFscGg6eA=="));
    assert!(!is_kept("ntlm", "Basic cmFscGg6eA=="));
    assert!(!is_kept("list", "Basic cmFscGg6eA=="));
}
