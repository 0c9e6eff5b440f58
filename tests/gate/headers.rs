//! The backend learns who is asking from the gate, and from nobody else.

use crate::harness::backend::{Backend, Recorded};
use crate::harness::gate::{Gate, in_front_of};

/// Every name under which some backend somewhere believes it is told who asks.
const RESERVED: &[&str] = &[
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "Remote-User",
    "Remote-Groups",
    "X-Forwarded-Client-Cert",
    "Client-Cert",
    "Client-Cert-Chain",
    "ssl-client-verify",
    "ssl-client-subject-dn",
    "X-SSL-Client-Verify",
    "X-SSL-Issuer",
    "proxy-mutual-auth-header",
    "mutual-auth-header",
    "encoded-pem",
    "X-WSO2-CLIENT-CERTIFICATE",
    "X-Real-IP",
    "Forwarded",
    "X-Original-URL",
];

fn send(gate: &Gate, backend: &Backend, fields: &str) -> Recorded {
    backend.forget();
    let request =
        format!("GET /public/ HTTP/1.1\r\nHost: localhost\r\n{fields}Connection: close\r\n\r\n");
    let answer = gate.raw(request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200"), "{fields}: {answer}");
    backend.only()
}

#[test]
fn no_copy_of_a_reserved_name_arrives_in_any_spelling() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    for name in RESERVED {
        let (upper, folded) = (name.to_uppercase(), name.replace('-', "_"));
        let fields = format!(
            "{name}: root\r\n{upper}: root\r\n{folded}: root\r\n{name}: root\r\nX-Other: kept\r\n"
        );
        let arrived = send(&gate, &backend, &fields);
        assert!(!arrived.head.contains("root"), "{name}: {}", arrived.head);
        assert_eq!(arrived.field("x-other"), Some("kept"));
    }
}

#[test]
fn a_client_cannot_nominate_our_fields_away() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let session = gate.log_in("ralph");
    let fields = format!(
        "Cookie: __Host-portcullis={session}\r\n\
         Connection: X-Forwarded-User, X-Forwarded-For, Host, X-Mine\r\nX-Mine: gone\r\n"
    );
    backend.forget();
    let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let mut connection = gate.connect();
    connection.send(request.as_bytes());
    connection.read_answer();
    let arrived = backend.only();
    assert_eq!(arrived.field("x-forwarded-user"), Some("ralph"));
    assert_eq!(arrived.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(arrived.field("host"), Some("localhost"));
    assert_eq!(arrived.field("x-mine"), None);
    assert_eq!(arrived.field("connection"), None);
}

#[test]
fn the_backend_is_told_who_asks_and_where_from() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let session = gate.log_in("ada");
    for version in ["--http1.1", "--http2"] {
        backend.forget();
        let got = gate
            .curl()
            .args([
                version,
                "-H",
                "X-Forwarded-For: 1.2.3.4",
                "-H",
                "X_Forwarded_User: root",
            ])
            .session(&session)
            .get("/page");
        assert_eq!(got.status, 200, "{got:?}");
        let arrived = backend.only();
        let port = gate.port();
        for (name, expected) in [
            ("x-forwarded-user", "ada".to_owned()),
            ("x-forwarded-groups", "administrator".to_owned()),
            (
                "x-forwarded-preferred-username",
                "Ada %C3%84. L.".to_owned(),
            ),
            ("x-forwarded-for", "127.0.0.1".to_owned()),
            ("x-real-ip", "127.0.0.1".to_owned()),
            ("x-forwarded-proto", "https".to_owned()),
            ("x-forwarded-host", format!("localhost:{port}")),
            ("x-forwarded-port", port.to_string()),
            (
                "forwarded",
                format!("for=127.0.0.1;proto=https;host=\"localhost:{port}\""),
            ),
            ("host", format!("localhost:{port}")),
        ] {
            assert_eq!(
                arrived.field(name),
                Some(expected.as_str()),
                "{name} {version}"
            );
        }
        // Ada has no address of her own: no field, not an empty one.
        assert_eq!(arrived.field("x-forwarded-email"), None);
        assert_eq!(arrived.field("x-request-id"), got.field("x-request-id"));
        assert!(!arrived.head.contains("root"), "{}", arrived.head);
        assert!(!arrived.head.contains("1.2.3.4"), "{}", arrived.head);
    }
}

#[test]
fn nobody_is_named_on_a_public_route_without_a_session() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let arrived = send(&gate, &backend, "");
    assert!(
        !arrived.head.to_lowercase().contains("user:"),
        "{}",
        arrived.head
    );
    let session = gate.log_in("ralph");
    let cookie = format!("Cookie: __Host-portcullis={session}\r\n");
    let arrived = send(&gate, &backend, &cookie);
    assert_eq!(arrived.field("x-forwarded-user"), Some("ralph"));
    assert_eq!(
        arrived.field("x-forwarded-email"),
        Some("ralph@example.com")
    );
}

#[test]
fn our_cookie_stays_with_us_and_the_others_arrive() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let session = gate.log_in("ralph");
    let ours = format!("__Host-portcullis={session}");
    let arrived = send(&gate, &backend, &format!("Cookie: {ours}\r\n"));
    assert_eq!(arrived.field("cookie"), None);
    let mixed = format!("Cookie: a=1; {ours}; __Host-portcullis-login=x; b=2\r\n");
    let arrived = send(&gate, &backend, &mixed);
    assert_eq!(arrived.field("cookie"), Some("a=1; b=2"));
    // HTTP/2 clients split the field; the backend gets one.
    backend.forget();
    let cookie = format!("Cookie: a=1; {ours}; b=2");
    gate.curl()
        .args(["--http2"])
        .header(&cookie)
        .get("/public/");
    assert_eq!(backend.only().field("cookie"), Some("a=1; b=2"));
}

#[test]
fn fields_about_one_connection_end_with_it_in_both_directions() {
    let backend = Backend::saying(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=5\r\nConnection: X-Hop\r\n\
         X-Hop: gone\r\nX-End: kept\r\nProxy-Authenticate: Basic\r\n\
         Set-Cookie: __Host-portcullis=planted; Path=/\r\nSet-Cookie: app=1\r\n\r\nok",
    );
    let gate = in_front_of(backend.address);
    let got = gate
        .curl()
        .args([
            "--http1.1",
            "-H",
            "TE: trailers",
            "-H",
            "Keep-Alive: 5",
            "-H",
            "Upgrade: h2c",
        ])
        .args([
            "-H",
            "Proxy-Authorization: Basic x",
            "-H",
            "Proxy-Connection: x",
        ])
        .get("/public/");
    assert_eq!((got.status, got.body.as_str()), (200, "ok"));
    assert_eq!(got.field("x-end"), Some("kept"));
    assert!(got.field("date").is_some());
    for gone in ["keep-alive", "x-hop", "proxy-authenticate", "connection"] {
        assert_eq!(got.field(gone), None, "{gone}");
    }
    // A backend cannot plant a session either.
    assert_eq!(got.all("set-cookie"), ["app=1"]);
    let arrived = backend.only();
    for gone in [
        "te",
        "keep-alive",
        "upgrade",
        "proxy-authorization",
        "proxy-connection",
    ] {
        assert_eq!(arrived.field(gone), None, "{gone}");
    }
}

#[test]
fn neither_method_nor_path_can_be_overridden() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    for name in [
        "X-HTTP-Method-Override",
        "X_HTTP_Method",
        "X-Method-Override",
        "X-Rewrite-URL",
    ] {
        let arrived = send(&gate, &backend, &format!("{name}: DELETE\r\n"));
        assert!(!arrived.head.contains("DELETE"), "{name}: {}", arrived.head);
    }
}
