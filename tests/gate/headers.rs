//! The backend learns who is asking from the gate, and from nobody else.

use std::net::SocketAddr;

use portcullis::proxy::spec::IdentityPreset;

use crate::harness::backend::{Backend, Recorded};
use crate::harness::frames::Frames;
use crate::harness::free_port;
use crate::harness::gate::{self, Gate, in_front_of};
use crate::harness::process::Daemon;

/// Every name under which some backend somewhere believes it is told who asks.
const RESERVED: &[&str] = &[
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Groups",
    "X-Auth-Request-Preferred-Username",
    "Remote-User",
    "Remote-Groups",
    "Remote-Name",
    "Remote-Email",
    "X-Forwarded-Client-Cert",
    "Client-Cert",
    "Client-Cert-Chain",
    "ssl-client-verify",
    "ssl-client-subject-dn",
    "ssl-client-issuer-dn",
    "ssl-client-cert",
    "X-SSL-Client-Verify",
    "X-SSL-Client-DN",
    "X-SSL-Client-CN",
    "X-SSL-Issuer",
    "X-SSL-Client-NotBefore",
    "X-SSL-Client-NotAfter",
    "proxy-mutual-auth-header",
    "mutual-auth-header",
    "encoded-pem",
    "X-WSO2-CLIENT-CERTIFICATE",
    "Script-Name",
    "Path-Info",
    "Daphne-Root-Path",
    "X-Script-Name",
    "X-Middleware-Subrequest",
    "$WSRU",
    "$WSCC",
    "WL-Proxy-Client-Cert",
    "iv-user",
    "SM-USER",
    "OIDC-CLAIM-sub",
    "Shib-Identity-Provider",
    "X-Consumer-Username",
    "Impersonate-User",
    "es-security-runas-user",
    "X-Auth-CouchDB-UserName",
    "X-Portcullis-Assertion",
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

/// A gate that tells its backend in every way there is, and one that tells nothing.
fn telling_all_and_nothing(backend: &Backend) -> [Gate; 2] {
    let all = "identity: {headers: [x-forwarded-user, x-auth-request, remote-user, xfcc, rfc9440, \
               nginx-ssl, haproxy-ssl, wso2, wso2-apim, jwt]}\n";
    [all, "identity: {headers: []}\n"].map(|more| gate::with(backend.address, more))
}

/// What a client would like to say of itself, under these names.
fn claims(names: &[String]) -> Vec<(String, &'static str)> {
    let claim = |name: &String| {
        let verify = name.to_lowercase().ends_with("verify");
        let value = if verify { "SUCCESS" } else { "CN=root" };
        (name.clone(), value)
    };
    names.iter().map(claim).collect()
}

/// Each reserved name as it is, in capitals, and with other signs for its dashes.
pub fn spellings() -> Vec<Vec<String>> {
    let spell: [fn(&str) -> String; 4] = [
        str::to_owned,
        str::to_uppercase,
        |name| name.replace('-', "_"),
        |name| name.replacen('-', ".", 1),
    ];
    let names = |spell: fn(&str) -> String| RESERVED.iter().map(|name| spell(name)).collect();
    spell.map(names).to_vec()
}

/// Nothing that the client claimed has arrived, and nothing more than we say of somebody unknown.
#[track_caller]
fn assert_nothing_claimed(arrived: &Recorded, tells: bool) {
    let head = &arrived.head;
    assert!(
        !head.contains("root") && !head.contains("SUCCESS"),
        "{head}"
    );
    assert_eq!(arrived.trailers, "");
    let expected: &[&str] = if tells { &["NONE"] } else { &[] };
    assert_eq!(arrived.all("ssl-client-verify"), expected);
    let names = IdentityPreset::ALL.iter().flat_map(|preset| preset.names());
    for name in names.filter(|name| **name != "ssl-client-verify") {
        assert_eq!(arrived.field(name), None, "{name}: {head}");
    }
}

#[test]
fn every_name_that_we_write_is_among_those_that_are_tried() {
    for name in IdentityPreset::ALL.iter().flat_map(|preset| preset.names()) {
        assert!(RESERVED.contains(name), "{name}");
    }
}

#[test]
fn whatever_the_backend_is_told_by_us_it_is_told_nothing_by_clients() {
    let backend = Backend::start();
    for (gate, tells) in telling_all_and_nothing(&backend).iter().zip([true, false]) {
        // Below the limit of fields, each of them twice.
        for names in spellings().iter().flat_map(|names| names.chunks(40)) {
            for (version, times) in [("--http1.1", 1), ("--http2", 1), ("--http2", 2)] {
                let mut curl = gate.curl().args([version, "-H", "X-Other: kept"]);
                for (name, value) in claims(names).iter().cycle().take(times * names.len()) {
                    curl = curl.header(&format!("{name}: {value}"));
                }
                backend.forget();
                assert_eq!(curl.get("/public/").status, 200, "{version} {names:?}");
                let arrived = backend.only();
                assert_nothing_claimed(&arrived, tells);
                assert_eq!(arrived.field("x-other"), Some("kept"));
            }
        }
    }
}

#[test]
fn a_client_says_nothing_of_itself_in_connection_or_behind_its_body() {
    let backend = Backend::start();
    for (gate, tells) in telling_all_and_nothing(&backend).iter().zip([true, false]) {
        // No more than 32 names may be nominated.
        for names in spellings().iter().flat_map(|names| names.chunks(16)) {
            let lines: String = claims(names)
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"))
                .collect();
            let named = names.join(", ");
            backend.forget();
            let mut connection = gate.connect();
            let request = format!(
                "POST /public/ HTTP/1.1\r\nHost: localhost\r\n{lines}Connection: close, {named}\r\n\
                 Trailer: {named}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{lines}\r\n"
            );
            connection.send(request.as_bytes());
            let answer = connection.read_to_end();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            let arrived = backend.only();
            assert_eq!(arrived.body, b"ok");
            assert_eq!(arrived.field("trailer"), None);
            assert_nothing_claimed(&arrived, tells);

            backend.forget();
            let claims = claims(names);
            let claims: Vec<_> = claims
                .iter()
                .map(|(name, it)| (name.as_str(), *it))
                .collect();
            Frames::post(gate.address, "/public/", &claims, &claims).end_of(1);
            let arrived = backend.only();
            assert_eq!(arrived.body, b"ok");
            assert_nothing_claimed(&arrived, tells);
        }
    }
}

#[test]
fn a_user_is_told_of_in_every_convention_at_once() {
    let backend = Backend::start();
    let [gate, _] = telling_all_and_nothing(&backend);
    let session = gate.log_in("ralph");
    backend.forget();
    assert_eq!(gate.curl().session(&session).get("/page").status, 200);
    let arrived = backend.only();
    for (name, expected) in [
        ("x-forwarded-user", "ralph"),
        ("x-auth-request-user", "ralph"),
        ("x-auth-request-email", "ralph@example.com"),
        ("x-auth-request-groups", "user"),
        ("x-auth-request-preferred-username", "ralph"),
        ("remote-user", "ralph"),
        ("remote-groups", "user"),
        ("remote-name", "ralph"),
        ("remote-email", "ralph@example.com"),
        ("ssl-client-verify", "NONE"),
    ] {
        assert_eq!(arrived.field(name), Some(expected), "{name}");
    }
    assert!(arrived.field("x-portcullis-assertion").is_some());
    for absent in [
        "x-forwarded-client-cert",
        "client-cert",
        "x-ssl-client-verify",
    ] {
        assert_eq!(arrived.field(absent), None, "{absent}");
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
    // Of its own: it takes trailers where its client does.
    assert_eq!(arrived.field("te"), Some("trailers"));
    assert_eq!(arrived.field("connection"), Some("TE"));
    for gone in [
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

#[test]
fn fields_that_the_configuration_drops_arrive_in_no_spelling_and_others_do() {
    let backend = Backend::start();
    let more = "headers: {drop: [X-Corp-User, X-Legacy-*]}\n";
    let gate = gate::with(backend.address, more);
    for (name, arrives) in [
        ("X-Corp-User", false),
        ("x_corp_USER", false),
        ("X.Corp.User", false),
        ("X-Corp-Username", true),
        ("X-Legacy-", false),
        ("X_LEGACY_Anything", false),
        ("X-Legacy", true),
        ("X-Legate", true),
    ] {
        for version in ["--http1.1", "--http2"] {
            backend.forget();
            let curl = gate.curl().args([version]).header(&format!("{name}: root"));
            assert_eq!(curl.get("/public/").status, 200, "{name}");
            assert_eq!(backend.only().head.contains("root"), arrives, "{name}");
        }
    }
}

#[test]
fn a_server_of_wsgi_is_told_no_other_path_than_the_one_that_was_decided_about() {
    let app = "def app(environ, start):\n    start('200 OK', [])\n    \
               return [environ['PATH_INFO'].encode()]\n";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("app.py"), app).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let served_from = folder.path().to_str().unwrap();
    let bound = address.to_string();
    let args = ["--chdir", served_from, "--bind", &bound, "app:app"];
    let _gunicorn = Daemon::start("gunicorn", args, address);
    let gate = in_front_of(address);
    // What it makes of it where nothing stands before it.
    let direct = gate.curl().header("SCRIPT_NAME: /public");
    let direct = direct.fetch(&format!("http://{address}/public/admin/"));
    assert_eq!(direct.body, "/admin/");
    for version in ["--http1.1", "--http2"] {
        for name in ["SCRIPT_NAME", "script_name", "Script-Name", "SCRIPT.NAME"] {
            let curl = gate.curl().args([version]);
            let got = curl
                .header(&format!("{name}: /public"))
                .get("/public/admin/");
            assert_eq!((got.status, &*got.body), (200, "/public/admin/"), "{name}");
        }
    }
}

#[test]
fn fields_about_one_connection_end_with_it_in_every_spelling() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    for name in [
        "Proxy_Authorization",
        "Proxy.Authorization",
        "Keep_Alive",
        "Proxy_Connection",
        "HTTP2_Settings",
        "Content.Length",
        "Transfer!Encoding",
    ] {
        let arrived = send(&gate, &backend, &format!("{name}: 7\r\nX_Other: kept\r\n"));
        assert_eq!(arrived.field(name), None, "{}", arrived.head);
        assert_eq!(arrived.field("x_other"), Some("kept"));
    }
}

#[test]
fn other_fields_with_an_underscore_are_kept_dropped_or_refused_as_configured() {
    let backend = Backend::start();
    for (word, status, arrives) in [
        ("keep", 200, Some("1")),
        ("drop", 200, None),
        ("reject", 400, None),
    ] {
        let gate = gate::with(
            backend.address,
            &format!("headers: {{underscores: {word}}}\n"),
        );
        for version in ["--http1.1", "--http2"] {
            backend.forget();
            let curl = gate.curl().args([version, "-H", "X-Page: 2"]);
            let got = curl.header("X_Size: 1").get("/public/");
            assert_eq!(got.status, status, "{word}: {got:?}");
            if status == 200 {
                let arrived = backend.only();
                assert_eq!(arrived.field("x_size"), arrives, "{word}");
                assert_eq!(arrived.field("x-page"), Some("2"), "{word}");
            } else {
                assert!(got.body.contains("underscore"), "{got:?}");
                assert!(backend.seen().is_empty());
                let clean = gate.curl().args([version]).get("/public/");
                assert_eq!(clean.status, 200, "{clean:?}");
            }
        }
    }
}
