//! Client certificates: who is let in, who is told why not, and each known way around the check.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use boring::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use serde_json::Value;

use crate::harness::backend::Backend;
use crate::harness::client::{Connection, Curl, status_of, tcp};
use crate::harness::eventually;
use crate::harness::pki::{Client, FUTURE, PAST, Pki};
use crate::harness::process::{Finished, finished, portcullis};
use crate::harness::served::{Served, config, pki, reason_of};

fn path_of(pki: &Pki, file: &str) -> String {
    pki.path(file).display().to_string()
}

#[track_caller]
fn check(pki: &Pki, tls: &str, more: &str) -> Finished {
    pki.write("checked.yaml", &config(&Backend::start(), tls, more));
    let file = path_of(pki, "checked.yaml");
    finished(portcullis(["check", "-c", &file]), "")
}

/// Certificates of every kind that has to be refused, by file, with the reason.
const BAD: [(&str, &str); 7] = [
    ("self-signed", "client_cert_self_signed"),
    ("foreign", "client_cert_unknown_ca"),
    ("expired", "client_cert_expired"),
    ("not-yet", "client_cert_not_yet_valid"),
    ("revoked", "client_cert_revoked"),
    ("of-revoked", "client_cert_revoked"),
    ("server-only", "client_cert_wrong_purpose"),
];

/// `good`, and all of [`BAD`]; `ca.crt` with the root, `crls` with the lists of all issuers.
fn clients(pki: &Pki) {
    let other = Pki::new();
    other.client("foreign", &Client::default());
    std::fs::copy(other.path("foreign.pem"), pki.path("foreign.pem")).unwrap();
    let good = Client::default();
    pki.client("good", &good);
    pki.client("self-signed", &Client { issuer: "", ..good });
    pki.client(
        "expired",
        &Client {
            dates: ("20200101000000Z", PAST),
            ..good
        },
    );
    pki.client(
        "not-yet",
        &Client {
            dates: (FUTURE, "20490101000000Z"),
            ..good
        },
    );
    pki.client("revoked", &good);
    pki.client(
        "server-only",
        &Client {
            usage: "serverAuth",
            ..good
        },
    );
    // An intermediate that the root has taken back, and what it issued.
    pki.sub_ca("gone", "Revoked Intermediate");
    pki.client(
        "of-revoked",
        &Client {
            issuer: "gone",
            ..good
        },
    );
    pki.join(
        &["of-revoked.crt", "of-revoked.key", "gone.crt"],
        "of-revoked.pem",
    );
    pki.revoke("int", "revoked");
    pki.revoke("root", "gone");
    for issuer in ["root", "int", "gone"] {
        pki.crl(issuer, FUTURE, &format!("{issuer}.crl"));
    }
    pki.join(&["root.crl", "int.crl", "gone.crl"], "crls");
}

const REQUIRED: &str = "  client_auth: {mode: required, ca: root.crt, crl: crls}\n";
const OPTIONAL: &str = "  client_auth: {mode: optional, ca: root.crt, crl: crls}\n";

// --- The modes ---

#[test]
fn where_a_certificate_is_required_only_a_good_one_connects() {
    let pki = pki();
    clients(&pki);
    let served = Served::start(&pki, REQUIRED, "");
    for version in ["1.3", "1.2"] {
        let status = |file: &str| {
            served
                .curl(file)
                .args(["--tls-max", version])
                .get("/")
                .status
        };
        assert_eq!(status("good"), 200, "{version}");
        assert_eq!(status(""), 0, "{version}");
        for (file, reason) in BAD {
            assert_eq!(status(file), 0, "{version} {file}");
            eventually(reason, || (served.last_reason()? == reason).then_some(()));
        }
    }
    assert!(
        served.backend.seen().len() == 2,
        "nothing of the others arrived"
    );
    for (reason, count) in [
        ("client_cert_required", 2.0),
        ("client_cert_expired", 2.0),
        ("client_cert_revoked", 4.0),
        ("unknown_ca", 4.0),
        ("client_cert_invalid", 4.0),
    ] {
        let labels = [("reason", reason)];
        served
            .gate
            .await_metric("portcullis_tls_handshake_errors_total", &labels, count);
    }
    let labels = [("client_cert", "true")];
    served
        .gate
        .await_metric("portcullis_tls_handshakes_total", &labels, 2.0);
}

#[test]
fn a_refused_client_gets_the_alert_that_says_why() {
    let pki = pki();
    clients(&pki);
    let served = Served::start(&pki, REQUIRED, "");
    for (file, alert) in [
        ("", "certificate required"),
        ("self-signed", "unknown ca"),
        ("foreign", "unknown ca"),
        ("expired", "certificate expired"),
        ("not-yet", "certificate expired"),
        ("revoked", "certificate revoked"),
        ("of-revoked", "certificate revoked"),
        ("server-only", "unsupported certificate"),
    ] {
        let certificate = match file {
            "" => String::new(),
            file => format!("-cert {file}.pem -key {file}.pem -cert_chain {file}.pem"),
        };
        let said = served.s_client(&format!("-tls1_3 {certificate}"), "localhost");
        assert!(said.contains(&format!("alert {alert}")), "{file}: {said}");
    }
    // Also by those who are sending already, and more than they are asked for.
    for _ in 0..10 {
        let mut curl = Command::new("curl");
        curl.args(["-sSk", "--tlsv1.3", "--http2"]);
        curl.arg(format!("https://localhost:{}/", served.gate.port()));
        let said = finished(curl, "").errors;
        assert!(said.contains("alert certificate required"), "{said}");
    }
    let without = served.s_client("-tls1_2", "localhost");
    assert!(without.contains("alert handshake failure"), "{without}");
}

#[test]
fn where_a_certificate_is_optional_routes_decide_and_say_what_is_wrong() {
    let pki = pki();
    clients(&pki);
    let more = "routes:\n  - {match: /open/, public: true}\n  - {client_cert: required}\n";
    let served = Served::start(&pki, OPTIONAL, more);
    assert_eq!(served.status("good"), 200);
    let got = served.curl("").get("/");
    assert_eq!(
        (got.status, reason_of(&got).as_str()),
        (403, "not_presented"),
        "{got:?}"
    );
    for (file, reason) in BAD {
        let got = served.curl(file).get("/");
        assert_eq!(
            (got.status, reason_of(&got).as_str()),
            (403, reason),
            "{file}: {got:?}"
        );
        eventually(reason, || {
            let is_it = |line: &Value| {
                line["event"] == "client_cert.refused" && line["auth.reason"] == reason
            };
            (served.gate.count_lines(is_it) > 0).then_some(())
        });
        // The same connection may be used for what needs none.
        assert_eq!(served.curl(file).get("/open/").status, 200, "{file}");
    }
    // A browser gets a page, over HTTP/2 as well.
    let page = served.curl("expired").browser().args(["--http2"]).get("/");
    assert_eq!(page.status, 403);
    assert!(
        page.body.contains("has expired") && page.body.contains("<main>"),
        "{page:?}"
    );
}

#[test]
fn what_clients_are_asked_for_differs_by_listener() {
    let pki = pki();
    clients(&pki);
    let served = Served::start(
        &pki,
        REQUIRED,
        "listeners:\n  - {address: '127.0.0.1:0', client_auth: off}\n  - {address: '127.0.0.1:0'}\n",
    );
    let [lax, strict] = served.gate.addresses()[..] else {
        panic!("two listeners")
    };
    assert_eq!(Curl::new(lax.port()).get("/").status, 200);
    assert_eq!(Curl::new(strict.port()).get("/").status, 0);
    let certificate = path_of(&pki, "good.pem");
    let good = |port| {
        Curl::new(port)
            .args(["--cert", &certificate])
            .get("/")
            .status
    };
    assert_eq!((good(lax.port()), good(strict.port())), (200, 200));
}

const BY_NAME: &str = "  client_auth: off\n  names:\n    \
    - {name: [strict.example, '*.wild.example'], client_auth: {mode: required, ca: root.crt, crl: crls}}\n";

#[test]
fn what_clients_are_asked_for_differs_by_name_and_no_other_name_leads_there() {
    let pki = pki();
    clients(&pki);
    let served = Served::start(&pki, BY_NAME, "");
    let ask = |name: &str, host: &str, more: &[&str]| {
        let port = served.gate.port();
        let curl = Curl::new(port).args(["--connect-to", &format!("{name}::127.0.0.1:{port}")]);
        let curl = curl.args(more.iter().copied());
        let curl = curl.args(["-H", &format!("Host: {host}")]);
        curl.fetch(&format!("https://{name}:{port}/")).status
    };
    let certificate = path_of(&pki, "good.pem");
    let with = ["--cert", certificate.as_str()];
    for version in ["--http1.1", "--http2"] {
        let both = |more: &[&'static str]| [&[version], more].concat();
        // Each name as itself, however it is written.
        for host in ["lax.example", "LAX.example.", "lax.example:1234"] {
            assert_eq!(
                ask("lax.example", host, &both(&[])),
                200,
                "{version} {host}"
            );
        }
        for name in ["strict.example", "a.wild.example"] {
            assert_eq!(ask(name, name, &[version]), 0, "{version} {name}");
            let with = [version, with[0], with[1]];
            assert_eq!(ask(name, name, &with), 200, "{version} {name}");
        }
        // One name over the connection of another.
        for host in [
            "strict.example",
            "STRICT.Example.",
            "strict.example:443",
            "strict.example.:8443",
            "x.wild.example",
        ] {
            assert_eq!(
                ask("lax.example", host, &[version]),
                421,
                "{version} {host}"
            );
        }
        let with = [version, with[0], with[1]];
        assert_eq!(
            ask("strict.example", "lax.example", &with),
            421,
            "{version}"
        );
        // Two names of one policy may share a connection.
        assert_eq!(
            ask("strict.example", "b.wild.example", &with),
            200,
            "{version}"
        );
    }
    // Without a name the connection is that of nobody in particular.
    let said = served.s_client("-noservername", "strict.example");
    assert!(said.contains("HTTP/1.1 421"), "{said}");
    let said = served.s_client("-noservername", "lax.example");
    assert!(said.contains("HTTP/1.1 200"), "{said}");
}

#[test]
fn in_the_clear_nobody_reaches_a_name_that_needs_a_certificate() {
    let pki = pki();
    clients(&pki);
    let served = Served::start(
        &pki,
        BY_NAME,
        "listeners:\n  - {address: '127.0.0.1:0', protocol: http}\n  - {address: '127.0.0.1:0'}\n",
    );
    for (host, status) in [
        ("lax.example", 200),
        ("strict.example", 421),
        ("A.WILD.example.", 421),
    ] {
        let mut connection = Connection::plain(served.gate.address);
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        connection.send(request.as_bytes());
        assert_eq!(status_of(&connection.read_to_end()), status, "{host}");
    }
}

/// Cuts what TLS sends into records of a few bytes, each in a packet of its own, so that the name
/// that is asked for comes long after the beginning (RFC 8446 section 5.1 allows that).
#[derive(Debug)]
struct InPieces(TcpStream);

impl Write for InPieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        const PIECE: usize = 7;
        let mut rest = bytes;
        while let [kind @ 0x16, major, minor, high, low, after @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let (record, following) = after.split_at(length);
            for piece in record.chunks(PIECE) {
                let size = u16::try_from(piece.len()).unwrap().to_be_bytes();
                let head = [*kind, *major, *minor, size[0], size[1]];
                self.0.write_all(&[&head, piece].concat())?;
            }
            rest = following;
        }
        self.0.write_all(rest)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Read for InPieces {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(bytes)
    }
}

#[test]
fn a_client_hello_in_pieces_is_asked_for_a_certificate_as_any_other() {
    let pki = pki();
    clients(&pki);
    let served = Served::start(&pki, BY_NAME, "");
    let ask = |name: &str, certificate: Option<&str>| {
        let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        if let Some(file) = certificate {
            let file = pki.path(file);
            connector.set_certificate_chain_file(&file).unwrap();
            connector
                .set_private_key_file(&file, SslFiletype::PEM)
                .unwrap();
        }
        let mut settings = connector.build().configure().unwrap();
        settings.set_verify_hostname(false);
        let pieces = InPieces(tcp(served.gate.address));
        let mut stream = settings.connect(name, pieces).unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        // In TLS 1.3 a client hears of a refusal with the first answer.
        drop(stream.write_all(request.as_bytes()));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        status_of(&String::from_utf8_lossy(&answer))
    };
    assert_eq!(ask("lax.example", None), 200);
    assert_eq!(ask("strict.example", None), 0);
    assert_eq!(ask("strict.example", Some("good.pem")), 200);
}

// --- Resumption ---

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

#[test]
fn a_session_of_a_lax_name_is_not_resumed_under_a_strict_one() {
    let pki = pki();
    clients(&pki);
    let served = Served::start(&pki, BY_NAME, "");
    let good = "-cert good.pem -key good.pem -cert_chain good.pem";
    for version in VERSIONS {
        let lax = format!("{version} -servername lax.example");
        let said = served.s_client(&format!("{lax} -sess_out session"), "lax.example");
        assert!(said.contains("HTTP/1.1 200"), "{said}");
        let said = served.s_client(&format!("{lax} -sess_in session"), "lax.example");
        assert!(said.contains("Reused, "), "{said}");
        let strict = format!("{version} -servername strict.example");
        let said = served.s_client(&format!("{strict} -sess_in session"), "strict.example");
        assert!(!said.contains("HTTP/1.1"), "{said}");
        let said = served.s_client(
            &format!("{strict} -sess_in session {good}"),
            "strict.example",
        );
        assert!(
            said.contains("HTTP/1.1 200") && !said.contains("Reused, "),
            "{said}"
        );
        // And what began with a certificate goes on with it.
        let said = served.s_client(
            &format!("{strict} -sess_out session {good}"),
            "strict.example",
        );
        assert!(said.contains("HTTP/1.1 200"), "{said}");
        let said = served.s_client(&format!("{strict} -sess_in session"), "strict.example");
        assert!(
            said.contains("HTTP/1.1 200") && said.contains("Reused, "),
            "{said}"
        );
    }
}

#[test]
fn a_session_from_before_a_change_of_what_is_trusted_or_taken_back_is_not_resumed() {
    let pki = pki();
    clients(&pki);
    pki.client("another", &Client::default());
    let served = Served::start(&pki, REQUIRED, "");
    let certificate = "-cert another.pem -key another.pem -cert_chain another.pem";
    for version in VERSIONS {
        let begin = || {
            let said = served.s_client(
                &format!("{version} {certificate} -sess_out session"),
                "localhost",
            );
            assert!(said.contains("HTTP/1.1 200"), "{said}");
        };
        let resumed = || served.s_client(&format!("{version} -sess_in session"), "localhost");
        begin();
        assert!(resumed().contains("Reused, "));
        // Another list: nobody is taken back, and still nobody is asked about.
        pki.crl("int", FUTURE, "int.crl");
        pki.join(&["root.crl", "int.crl", "gone.crl"], "crls");
        served.gate.reload("success");
        let said = resumed();
        assert!(!said.contains("HTTP/1.1"), "{said}");
        begin();
    }
    pki.revoke("int", "another");
    pki.crl("int", FUTURE, "int.crl");
    pki.join(&["root.crl", "int.crl", "gone.crl"], "crls");
    served.gate.reload("success");
    for version in VERSIONS {
        let said = served.s_client(
            &format!("{version} {certificate} -sess_in session"),
            "localhost",
        );
        assert!(!said.contains("HTTP/1.1"), "{said}");
    }
    assert_eq!(served.status("good"), 200);
}

#[test]
fn a_certificate_that_expires_ends_its_sessions_and_its_connections() {
    let pki = pki();
    clients(&pki);
    let end = soon(8);
    let client = Client {
        dates: ("20200101000000Z", &end),
        ..Client::default()
    };
    pki.client("short", &client);
    let more = "routes: [{client_cert: required}]\n";
    let served = Served::start(
        &pki,
        "  client_auth: {mode: required, ca: root.crt}\n",
        more,
    );
    let certificate = "-cert short.pem -key short.pem -cert_chain short.pem";
    let said = served.s_client(
        &format!("-tls1_3 {certificate} -sess_out session"),
        "localhost",
    );
    assert!(said.contains("HTTP/1.1 200"), "{said}");
    let mut long = Connection::with_certificate(served.gate.address, &pki.path("short.pem"));
    let mut ask = || {
        long.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        status_of(&long.read_answer())
    };
    assert_eq!(ask(), 200);
    let refused = eventually("the certificate expires", || {
        let status = ask();
        (status != 200).then_some(status)
    });
    assert_eq!(refused, 403);
    let said = served.s_client("-tls1_3 -sess_in session", "localhost");
    assert!(
        said.contains("HTTP/1.1 403") && said.contains("client_cert_expired"),
        "{said}"
    );
}

// --- Changes while it runs ---

#[test]
fn a_changed_revocation_list_counts_for_connections_that_are_there() {
    let pki = pki();
    clients(&pki);
    let more = "routes: [{client_cert: required}]\n";
    for (auth, tls) in [("required", REQUIRED), ("optional", OPTIONAL)] {
        pki.client("leaver", &Client::default());
        let served = Served::start(&pki, tls, more);
        let mut connection =
            Connection::with_certificate(served.gate.address, &pki.path("leaver.pem"));
        let mut ask = || {
            connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
            connection.read_answer()
        };
        assert_eq!(status_of(&ask()), 200, "{auth}");
        pki.revoke("int", "leaver");
        pki.crl("int", FUTURE, "int.crl");
        pki.join(&["root.crl", "int.crl", "gone.crl"], "crls");
        served.gate.reload("success");
        let answer = ask();
        assert_eq!(status_of(&answer), 403, "{auth}");
        assert!(answer.contains("client_cert_revoked"), "{answer}");
    }
}

#[test]
fn a_changed_ca_or_mode_counts_for_connections_that_are_there() {
    let pki = pki();
    clients(&pki);
    let other = Pki::new();
    std::fs::copy(other.path("root.crt"), pki.path("other.crt")).unwrap();
    std::fs::create_dir(pki.path("cas")).unwrap();
    pki.join(&["root.crt"], "cas/one.pem");
    let more = "routes: [{client_cert: required}]\n";
    let in_folder = "  client_auth: {mode: optional, ca: cas}\n";
    let served = Served::start(&pki, in_folder, more);
    let mut connection = Connection::with_certificate(served.gate.address, &pki.path("good.pem"));
    let mut ask = || {
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.read_answer()
    };
    assert_eq!(status_of(&ask()), 200);
    // Noticed without being told: the folder is watched.
    pki.join(&["other.crt"], "cas/one.pem");
    let refused = eventually("the folder is looked at", || {
        let answer = ask();
        (status_of(&answer) != 200).then_some(answer)
    });
    assert!(refused.contains("client_cert_unknown_ca"), "{refused}");
    pki.join(&["root.crt"], "cas/two.pem");
    eventually("the folder is looked at again", || {
        (status_of(&ask()) == 200).then_some(())
    });

    let anonymous = served.gate.connect();
    served.configure("  client_auth: {mode: required, ca: cas}\n", more);
    served.gate.reload("success");
    let mut anonymous = anonymous;
    anonymous.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = anonymous.read_to_end();
    assert_eq!(status_of(&answer), 403, "{answer}");
    assert_eq!(status_of(&ask()), 200);
}

#[test]
fn a_trust_source_that_breaks_keeps_the_old_and_says_so() {
    let pki = pki();
    clients(&pki);
    pki.join(&["root.crt"], "ca.crt");
    let tls = "  client_auth: {mode: required, ca: ca.crt, crl: crls}\n";
    let served = Served::start(&pki, tls, "");
    let half = pki.read("root.crt") + &pki.read("int.crt").replacen("MII", "!!!", 1);
    let crls = pki.read("crls");
    for (file, broken) in [
        ("ca.crt", ""),
        ("ca.crt", "hello"),
        ("ca.crt", half.as_str()),
        ("crls", ""),
        ("crls", &crls[..crls.len() - 40]),
    ] {
        let right = pki.read(file);
        pki.write(file, broken);
        served.gate.reload("failure");
        assert_eq!(served.status("good"), 200, "{file}");
        assert_eq!(served.status("revoked"), 0, "{file}");
        assert_eq!(served.status(""), 0, "{file}");
        pki.write(file, &right);
        served.gate.reload("success");
    }
    std::fs::remove_file(pki.path("ca.crt")).unwrap();
    served.gate.reload("failure");
    assert_eq!((served.status("good"), served.status("")), (200, 0));
}

// --- Revocation ---

#[test]
fn without_a_list_that_is_good_nobody_of_that_issuer_is_let_in() {
    let pki = pki();
    clients(&pki);
    pki.crl("int", PAST, "old.crl");
    pki.join(&["root.crl", "old.crl"], "expired.crls");
    let more = "routes: [{client_cert: required}]\n";
    for (crl, check, reason) in [
        ("crls", "chain", ""),
        ("[int.crl]", "leaf", ""),
        ("[int.crl]", "chain", "client_cert_crl_missing"),
        ("root.crl", "chain", "client_cert_crl_missing"),
        ("root.crl", "leaf", "client_cert_crl_missing"),
        ("expired.crls", "chain", "client_cert_crl_expired"),
    ] {
        let tls = format!(
            "  client_auth: {{mode: optional, ca: root.crt, crl: {crl}, crl_check: {check}}}\n"
        );
        let served = Served::start(&pki, &tls, more);
        let got = served.curl("good").get("/");
        assert_eq!(reason_of(&got), reason, "{crl} {check}: {got:?}");
        assert_eq!(got.status, if reason.is_empty() { 200 } else { 403 });
    }
    // With the intermediate taken as an end by itself, the root is asked nothing.
    let tls = "  client_auth: {mode: optional, ca: int.crt, crl: int.crl}\n";
    let served = Served::start(&pki, tls, more);
    assert_eq!(served.status("good"), 200);
    assert_eq!(
        reason_of(&served.curl("revoked").get("/")),
        "client_cert_revoked"
    );
    // Said at start, and again when it happens.
    let done = check(
        &pki,
        "  client_auth: {mode: optional, ca: root.crt, crl: expired.crls}\n",
        more,
    );
    assert!(
        done.errors.contains("is out of date") || done.out.contains("is out of date"),
        "{done:?}"
    );
}

#[test]
fn a_list_that_somebody_else_signed_is_refused_or_counts_for_nothing() {
    let pki = pki();
    clients(&pki);
    // The same names, other keys.
    let impostor = Pki::new();
    impostor.crl("int", FUTURE, "int.crl");
    std::fs::copy(impostor.path("int.crl"), pki.path("forged.crl")).unwrap();
    let tls = "  client_auth: {mode: optional, ca: root.crt, crl: forged.crl, crl_check: leaf}\n";
    let served = Served::start(&pki, tls, "routes: [{client_cert: required}]\n");
    let got = served.curl("revoked").get("/");
    assert_eq!(got.status, 403);
    assert!(
        ["client_cert_crl_invalid", "client_cert_crl_missing"].contains(&reason_of(&got).as_str()),
        "{got:?}"
    );
    // Where the issuer's own certificate is there to tell, it is never taken.
    impostor.crl("root", FUTURE, "root.crl");
    std::fs::copy(impostor.path("root.crl"), pki.path("forged-root.crl")).unwrap();
    let done = check(
        &pki,
        "  client_auth: {mode: optional, ca: root.crt, crl: [forged-root.crl, int.crl]}\n",
        "",
    );
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.errors.contains("that CN=Test Root has not signed"),
        "{done:?}"
    );
    let shown = finished(
        portcullis(["certs", "inspect", &path_of(&pki, "root.crl")]),
        "",
    )
    .out;
    let expected = "a revocation list (CRL) of CN=Test Root, with 1 entry, good until 2048-01-01";
    assert!(shown.contains(expected), "{shown}");
    // And that there is none at all is said.
    let done = check(
        &pki,
        "  client_auth: {mode: optional, ca: root.crt, crl: int.crl}\n",
        "",
    );
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.out.contains("no revocation list of CN=Test Root"),
        "{done:?}"
    );
}

// --- Trust sources ---

#[test]
fn trust_is_read_from_every_kind_of_source() {
    let pki = pki();
    clients(&pki);
    let more = "routes: [{client_cert: required}]\n";
    pki.openssl("x509 -in root.crt -outform DER -out root.der");
    pki.openssl("crl -in int.crl -outform DER -out int.crl.der");
    pki.keytool("-importcert -noprompt -alias ca -file root.crt -keystore ca.jks -storetype JKS -storepass changeit");
    pki.keytool("-importcert -noprompt -alias ca -file root.crt -keystore ca.p12 -storetype PKCS12 -storepass changeit");
    std::fs::create_dir_all(pki.path("folder/below")).unwrap();
    pki.join(&["root.crt"], "folder/ca.pem");
    pki.write("folder/.hidden", "nothing that is read");
    pki.write("folder/below/other", "nothing that is read");
    for ca in [
        "root.crt",
        "[root.crt, int.crt]",
        "root.der",
        "folder",
        "{path: ca.jks, password: changeit}",
        "[{path: ca.p12, password: changeit}]",
        // Any certificate may be the end of a chain: an intermediate, or the client's own.
        "int.crt",
        "good.crt",
    ] {
        let tls = format!("  client_auth: {{mode: optional, ca: {ca}}}\n");
        let served = Served::start(&pki, &tls, more);
        assert_eq!(served.status("good"), 200, "{ca}");
        assert_eq!(served.status("self-signed"), 403, "{ca}");
        assert_eq!(served.status("foreign"), 403, "{ca}");
    }
    let tls = "  client_auth: {mode: optional, ca: root.crt, crl: [root.crl, int.crl.der]}\n";
    let served = Served::start(&pki, tls, more);
    assert_eq!(
        (served.status("good"), served.status("revoked")),
        (200, 403)
    );
    // A client's own certificate does not vouch for others.
    let served = Served::start(
        &pki,
        "  client_auth: {mode: optional, ca: expired.crt}\n",
        more,
    );
    assert_eq!(served.status("good"), 403);
}

#[test]
fn a_trust_source_that_cannot_be_read_whole_refuses_the_start_and_says_why() {
    let pki = pki();
    clients(&pki);
    let half = pki.read("root.crt") + &pki.read("int.crt").replacen("MII", "!!!", 1);
    let cut = pki.read("root.crt") + "-----BEGIN CERTIFICATE-----\nMIIB\n";
    for (file, text) in [
        ("empty", ""),
        ("half", &half),
        ("cut", &cut),
        ("words", "hello\n"),
    ] {
        pki.write(file, text);
    }
    std::fs::create_dir_all(pki.path("bare/below")).unwrap();
    std::fs::create_dir(pki.path("mixed")).unwrap();
    pki.join(&["root.crt"], "mixed/ca.pem");
    pki.write("mixed/note.txt", "hello\n");
    std::os::unix::fs::symlink("nowhere", pki.path("mixed2")).unwrap();
    pki.keytool("-importcert -noprompt -alias ca -file root.crt -keystore ca.jks -storetype JKS -storepass changeit");
    for (ca, crl, words) in [
        (
            "missing.crt",
            "crls",
            "missing.crt: cannot read the CA certificates",
        ),
        ("empty", "crls", "found an empty file"),
        ("half", "crls", "half:"),
        ("cut", "crls", "cut:"),
        ("words", "crls", "expected CA certificates"),
        ("bare", "crls", "there is no file in this folder"),
        ("mixed", "crls", "note.txt: found neither PEM nor DER"),
        ("mixed2", "crls", "mixed2: cannot read"),
        ("good.key", "crls", "found a private key"),
        ("ca.jks", "crls", "has a password; write it beside the path"),
        (
            "{path: ca.jks, password: wrong}",
            "crls",
            "wrong store password",
        ),
        (
            "root.crt",
            "missing.crl",
            "missing.crl: cannot read the revocation lists",
        ),
        (
            "root.crt",
            "root.crt",
            "found a certificate; expected revocation lists",
        ),
        (
            "root.crt",
            "empty",
            "found an empty file; expected revocation lists",
        ),
        (
            "int.crl",
            "crls",
            "found a revocation list; expected CA certificates",
        ),
    ] {
        let tls = format!("  client_auth: {{mode: required, ca: {ca}, crl: {crl}}}\n");
        let done = check(&pki, &tls, "");
        assert_eq!(done.code, Some(1), "{ca} {crl}: {done:?}");
        let said = format!("{}{}", done.out, done.errors);
        assert!(said.contains(words), "{ca} {crl}: {said}");
        assert!(said.contains("tls.client_auth"), "{said}");
    }
    assert_eq!(check(&pki, REQUIRED, "").code, Some(0));
    // The same where the server's own certificate will be made at start.
    let text = config(&Backend::start(), REQUIRED, "").replace("  certificates: ", "  # ");
    for (ca, code) in [("root.crt", 0), ("missing.crt", 1)] {
        pki.write("checked.yaml", &text.replace("root.crt", ca));
        let file = path_of(&pki, "checked.yaml");
        let done = finished(portcullis(["check", "-c", &file]), "");
        assert_eq!(done.code, Some(code), "{done:?}");
    }
}

#[test]
fn trusting_the_whole_world_is_warned_about() {
    let pki = pki();
    let Some(bundle) = ["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs"]
        .into_iter()
        .find(|path| Path::new(path).is_file())
    else {
        // Made here, a public CA by its name.
        pki.client(
            "public",
            &Client {
                subject: "/O=DigiCert Inc/CN=Root",
                issuer: "",
                ..Client::default()
            },
        );
        let done = check(
            &pki,
            "  client_auth: {mode: required, ca: public.crt}\n",
            "",
        );
        assert!(format!("{done:?}").contains("public CAs"), "{done:?}");
        return;
    };
    let done = check(
        &pki,
        &format!("  client_auth: {{mode: required, ca: {bundle}}}\n"),
        "",
    );
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        format!("{done:?}").contains("are of public CAs"),
        "{done:?}"
    );
    assert!(
        format!("{done:?}").contains("too long to be told"),
        "{done:?}"
    );
    let done = check(&pki, "  client_auth: {mode: required, ca: root.crt}\n", "");
    assert!(!format!("{done:?}").contains("public CAs"), "{done:?}");
}

#[test]
fn clients_are_told_the_names_of_cas_unless_that_is_off() {
    let pki = pki();
    clients(&pki);
    for (more, expected) in [("", true), (", send_ca_names: false", false)] {
        let tls = format!("  client_auth: {{mode: optional, ca: root.crt{more}}}\n");
        let served = Served::start(&pki, &tls, "");
        for version in VERSIONS {
            let said = served.s_client(version, "localhost");
            assert_eq!(
                said.contains("CN = Test Root"),
                expected,
                "{version}: {said}"
            );
            assert!(said.contains("HTTP/1.1 200"), "{said}");
        }
    }
}

#[test]
fn no_more_intermediates_are_followed_than_is_said() {
    let pki = pki();
    clients(&pki);
    for (depth, reason) in [(0, "client_cert_chain_too_long"), (1, "")] {
        let tls = format!("  client_auth: {{mode: optional, ca: root.crt, depth: {depth}}}\n");
        let served = Served::start(&pki, &tls, "routes: [{client_cert: required}]\n");
        let got = served.curl("good").get("/");
        assert_eq!(reason_of(&got), reason, "{depth}: {got:?}");
    }
}

// --- What a review tried ---

/// Does something before the client answers the server for the last time in the handshake.
struct Holding<F> {
    tcp: TcpStream,
    writes: usize,
    meanwhile: Option<F>,
}

impl<F: FnOnce()> Write for Holding<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.writes += 1;
        if self.writes > 1
            && let Some(meanwhile) = self.meanwhile.take()
        {
            meanwhile();
        }
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.tcp.flush()
    }
}

impl<F> Read for Holding<F> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.tcp.read(bytes)
    }
}

impl<F> std::fmt::Debug for Holding<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Holding")
    }
}

#[test]
fn a_change_in_the_middle_of_a_handshake_counts_for_its_first_request() {
    let pki = pki();
    clients(&pki);
    for (name, leaves) in [("stayer", false), ("leaver", true)] {
        pki.client(name, &Client::default());
        let served = Served::start(&pki, REQUIRED, "");
        let meanwhile = || {
            if leaves {
                pki.revoke("int", name);
            }
            pki.crl("int", FUTURE, "int.crl");
            pki.join(&["root.crl", "int.crl", "gone.crl"], "crls");
            served.gate.reload("success");
        };
        let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        let file = pki.path(&format!("{name}.pem"));
        connector.set_certificate_chain_file(&file).unwrap();
        connector
            .set_private_key_file(&file, SslFiletype::PEM)
            .unwrap();
        let settings = connector.build().configure().unwrap();
        let holding = Holding {
            tcp: tcp(served.gate.address),
            writes: 0,
            meanwhile: Some(meanwhile),
        };
        let mut stream = settings.connect("localhost", holding).unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        let expected = if leaves { 403 } else { 200 };
        assert_eq!(
            status_of(&String::from_utf8_lossy(&answer)),
            expected,
            "{name}"
        );
    }
}

#[test]
fn what_clients_are_asked_for_waits_for_the_routes_that_go_with_it() {
    let pki = pki();
    clients(&pki);
    let served = Served::start(&pki, REQUIRED, "");
    // Neither the old file nor the new one lets anybody in without a certificate.
    served.configure(OPTIONAL, "routes: [{client_cert: required}]\n");
    served.gate.reload("restart_needed");
    assert_eq!((served.status("good"), served.status("")), (200, 0));
    assert!(
        served.gate.log().contains("tls.client_auth"),
        "{}",
        served.gate.log()
    );
    // Files go on counting meanwhile, and in spite of a mistake elsewhere.
    served.configure(OPTIONAL, "routes: [{client_cert: requird}]\n");
    pki.revoke("int", "good");
    pki.crl("int", FUTURE, "int.crl");
    pki.join(&["root.crl", "int.crl", "gone.crl"], "crls");
    served.gate.reload("failure");
    assert_eq!(served.status("good"), 0);
    // By itself it is applied at once, and beside what has nothing to do with it.
    served.configure(OPTIONAL, "timeouts: {head: 9s}\n");
    served.gate.reload("success");
    assert_eq!(served.status(""), 200);
    served.configure(
        "  client_auth: {mode: required, ca: int.crt}\n",
        "timeouts: {head: 9s}\n",
    );
    served.gate.reload("success");
    assert_eq!((served.status("good"), served.status("")), (200, 0));
}

#[test]
fn neither_a_listener_nor_a_name_is_a_way_around_the_other() {
    let pki = pki();
    clients(&pki);
    let strict = "{mode: required, ca: root.crt}";
    let tls = format!(
        "  names:\n    - {{name: lax.example, client_auth: off}}\n    \
         - {{name: strict.example, client_auth: {strict}}}\n"
    );
    let listeners = format!(
        "listeners:\n  - {{address: '127.0.0.1:0', client_auth: off}}\n  \
         - {{address: '127.0.0.1:0', client_auth: {strict}}}\n"
    );
    let served = Served::start(&pki, &tls, &listeners);
    let ask = |at: usize, name: &str| {
        let port = served.gate.addresses()[at].port();
        let curl = Curl::new(port).args(["--connect-to", &format!("{name}::127.0.0.1:{port}")]);
        curl.fetch(&format!("https://{name}:{port}/")).status
    };
    assert_eq!((ask(0, "lax.example"), ask(0, "strict.example")), (200, 0));
    assert_eq!((ask(1, "lax.example"), ask(1, "strict.example")), (0, 0));
}

#[test]
fn a_request_without_a_host_is_for_no_name_in_particular() {
    let pki = pki();
    clients(&pki);
    let tls = "  client_auth: {mode: required, ca: root.crt}\n  names: [{name: lax.example, client_auth: off}]\n";
    let served = Served::start(&pki, tls, "");
    let ask = |request: &str| {
        let mut command = Command::new("openssl");
        let address = served.gate.address.to_string();
        command.args([
            "s_client",
            "-ign_eof",
            "-servername",
            "lax.example",
            "-connect",
            &address,
        ]);
        finished(command, request).out
    };
    let said = ask("GET / HTTP/1.0\r\n\r\n");
    assert!(said.contains(" 421 "), "{said}");
    let said = ask("GET / HTTP/1.0\r\nHost: lax.example\r\n\r\n");
    assert!(said.contains(" 200 "), "{said}");
}

#[test]
fn a_certificate_that_is_trusted_itself_can_be_taken_back_too() {
    let pki = pki();
    clients(&pki);
    pki.join(&["good.crt", "revoked.crt"], "both.crt");
    let tls = "  client_auth: {mode: optional, ca: both.crt, crl: int.crl}\n";
    let served = Served::start(&pki, tls, "routes: [{client_cert: required}]\n");
    assert_eq!(served.status("good"), 200);
    assert_eq!(
        reason_of(&served.curl("revoked").get("/")),
        "client_cert_revoked"
    );
}

#[test]
fn keys_and_signatures_that_can_be_broken_are_refused_unless_that_is_unsafely_off() {
    let pki = pki();
    clients(&pki);
    pki.write("weak.ext", "extendedKeyUsage=clientAuth\n");
    for (name, key, digest) in [
        ("short", "RSA -pkeyopt rsa_keygen_bits:1024", "-sha256"),
        ("sha1", "RSA -pkeyopt rsa_keygen_bits:2048", "-sha1"),
        ("rsa", "RSA -pkeyopt rsa_keygen_bits:2048", "-sha256"),
    ] {
        pki.openssl(&format!("genpkey -algorithm {key} -out {name}.key"));
        pki.openssl(&format!(
            "req -new -key {name}.key -subj /CN={name} -out {name}.csr"
        ));
        pki.openssl(&format!(
            "x509 -req -in {name}.csr -CA root.crt -CAkey root.key -days 2 {digest} \
             -extfile weak.ext -out {name}.crt"
        ));
        pki.join(
            &[&format!("{name}.crt"), &format!("{name}.key")],
            &format!("{name}.pem"),
        );
    }
    for (more, weak) in [("", 403), (", unsafe_weak_certificates: true", 200)] {
        let tls = format!("  client_auth: {{mode: optional, ca: root.crt{more}}}\n");
        let served = Served::start(&pki, &tls, "routes: [{client_cert: required}]\n");
        for (name, expected) in [("short", weak), ("sha1", weak), ("rsa", 200)] {
            // The client's own library would refuse to use them.
            let arguments =
                format!("-cipher DEFAULT@SECLEVEL=0 -cert {name}.crt -key {name}.key -tls1_3");
            let said = served.s_client(&arguments, "localhost");
            assert!(
                said.contains(&format!("HTTP/1.1 {expected}")),
                "{name} {more}: {said}"
            );
            assert_eq!(said.contains("client_cert_weak"), expected == 403, "{said}");
        }
    }
}

#[test]
fn no_client_fills_memory_with_what_it_sends_beside_its_certificate() {
    let pki = pki();
    clients(&pki);
    let junk: String = std::iter::repeat_n(pki.read("int.crt"), 90).collect();
    for (name, text) in [
        ("some", pki.read("good.pem")),
        ("many", pki.read("good.pem") + &junk),
    ] {
        pki.write(&format!("{name}.pem"), &text);
    }
    let served = Served::start(&pki, "  client_auth: {mode: optional, ca: root.crt}\n", "");
    for version in ["1.2", "1.3"] {
        let status = |name: &str| {
            served
                .curl(name)
                .args(["--tls-max", version])
                .get("/")
                .status
        };
        assert_eq!((status("some"), status("many")), (200, 0), "{version}");
    }
}

#[test]
fn lists_and_files_that_would_be_read_in_part_are_refused() {
    let pki = pki();
    clients(&pki);
    pki.write(
        "delta.cnf",
        &(pki.read("int.cnf") + "[delta]\n2.5.29.27=critical,ASN1:INTEGER:1\n"),
    );
    pki.openssl(
        "ca -config delta.cnf -cert int.crt -keyfile int.key -gencrl -crldays 2 -crlexts delta -out delta.crl",
    );
    let begin =
        |text: &str, what: &str| text.replacen(&format!("-----BEGIN {what}"), "-----BEGAN", 1);
    pki.write(
        "half.crl",
        &(pki.read("root.crl") + &begin(&pki.read("int.crl"), "X509 CRL")),
    );
    pki.write(
        "half.crt",
        &(pki.read("root.crt") + &begin(&pki.read("int.crt"), "CERTIFICATE")),
    );
    for (ca, crl, words) in [
        ("root.crt", "delta.crl", "a delta of a revocation list"),
        ("root.crt", "half.crl", "half.crl: found a revocation list"),
        ("half.crt", "crls", "only 1 of the 2 certificates"),
    ] {
        let tls = format!("  client_auth: {{mode: required, ca: {ca}, crl: {crl}}}\n");
        let done = check(&pki, &tls, "");
        assert_eq!(done.code, Some(1), "{ca} {crl}: {done:?}");
        assert!(format!("{done:?}").contains(words), "{ca} {crl}: {done:?}");
    }
}

/// A time so many seconds from now, as `openssl ca` takes it.
fn soon(seconds: u64) -> String {
    let mut command = Command::new("date");
    command.args(["-u", "-d", &format!("+{seconds} seconds"), "+%Y%m%d%H%M%SZ"]);
    finished(command, "").out.trim().to_owned()
}
