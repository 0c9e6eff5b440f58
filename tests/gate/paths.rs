//! A path that the gate and a backend could read differently is refused; every other one is
//! decided by what it means and forwarded as it came.

use serde_json::Value;

use crate::harness::backend::Backend;
use crate::harness::eventually;
use crate::harness::gate::{self, Gate, in_front_of};

#[test]
fn a_path_with_two_readings_is_refused_whoever_asks() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let session = gate.log_in("ada");
    for path in [
        "/admin/../public/x",
        "/public/../admin/",
        "/public/..%2fadmin/",
        "/public/%2e%2e/admin/",
        "//admin",
        "/public//x",
        "/admin;x",
        "/public/;/../admin/",
        "/public/%00",
        "/public/%0d%0aX:y",
        "/public/%5c..%5cadmin",
        "/public/\\admin",
        "/public/%252e%252e/admin/",
        "/public/%c0%af",
        "/public/%zz",
        "/public/./x",
    ] {
        for curl in [
            gate.curl(),
            gate.curl().session(&session),
            gate.curl().args(["--http1.1"]),
        ] {
            let got = curl.get(path);
            assert_eq!(got.status, 400, "{path}: {got:?}");
        }
    }
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
}

#[test]
fn the_backend_gets_the_path_and_query_as_they_were_sent() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    for path in [
        "/public/a%20b",
        "/public/%C3%BC?q=%2f%2e%2e//;x&y=\\",
        "/%70ublic/x",
        "/public/100%25",
        "/public/x?rd=//evil",
    ] {
        backend.forget();
        let got = gate.curl().args(["--http1.1"]).get(path);
        assert_eq!(got.status, 200, "{path}: {got:?}");
        assert_eq!(backend.only().path(), path);
    }
}

#[test]
fn a_protected_path_is_protected_in_any_spelling() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let (viewer, editor) = (gate.log_in("ralph"), gate.log_in("ada"));
    for path in [
        "/admin/",
        "/admin",
        "/ADMIN/",
        "/Admin/x",
        "/%61dmin/",
        "/admin/?x",
        "/ADMIN",
        "/admin%3fx",
        "/admin./x",
        "/admin%20/",
    ] {
        assert_eq!(gate.curl().get(path).status, 401, "{path}");
        assert_eq!(gate.curl().session(&viewer).get(path).status, 403, "{path}");
        assert_eq!(gate.curl().session(&editor).get(path).status, 200, "{path}");
    }
    // What only looks alike is an ordinary page.
    for path in ["/administrator", "/x/admin/"] {
        assert_eq!(gate.curl().session(&viewer).get(path).status, 200, "{path}");
    }
}

#[test]
fn a_method_that_the_route_does_not_take_is_405_before_anybody_is_asked() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let got = gate.curl().args(["-X", "DELETE"]).get("/read-only/x");
    assert_eq!(
        (got.status, got.field("allow")),
        (405, Some("GET, HEAD")),
        "{got:?}"
    );
    assert_eq!(gate.curl().get("/read-only/x").status, 200);
    assert_eq!(gate.curl().args(["-I"]).get("/read-only/x").status, 200);
    assert_eq!(backend.seen().len(), 2);
}

// --- The second path of COPY and MOVE ---

#[test]
fn what_is_copied_or_moved_is_allowed_where_it_goes_too() {
    let backend = Backend::start();
    let (cert, key) = gate::certificate();
    let gate = Gate::start(&format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         upstreams: {{files: {{url: 'http://{}'}}}}\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
         roles: {{user: [view]}}\nusers: {{ralph: {{password: \"$2b$04$HASH\", roles: [user]}}}}\n\
         routes:\n  - {{match: /open/, public: true}}\n\
         \x20 - {{match: /dav/, public: true, strip_prefix: /dav}}\n\
         \x20 - {{match: \"/home/{{name}}/\", can: view, owner: \"{{name}}\"}}\n",
        backend.address,
        cert.display(),
        key.display()
    ));
    let session = gate.log_in("ralph");
    let port = gate.port();
    let ask = |method: &str, path: &str, destination: &str| {
        backend.forget();
        let field = format!("Destination: {destination}");
        let curl = gate.curl().session(&session).header(&field);
        curl.args(["-X", method]).get(path).status
    };
    let arrived = || {
        let seen = backend.only();
        seen.all("destination").join("|")
    };
    let here = format!("https://localhost:{port}");
    let there = format!("http://localhost:{port}");
    for method in ["MOVE", "COPY"] {
        for (path, destination, expected) in [
            ("/open/a", "/open/b%20c", "/open/b%20c"),
            ("/home/ralph/a", "/home/ralph/b", "/home/ralph/b"),
            ("/open/a", "/home/ralph/b", "/home/ralph/b"),
            ("/dav/a", "/dav/b", "/b"),
        ] {
            for destination in [destination.to_owned(), format!("{here}{destination}")] {
                assert_eq!(ask(method, path, &destination), 200, "{path} {destination}");
                assert_eq!(arrived(), format!("{there}{expected}"), "{destination}");
            }
        }
        for (path, destination, expected) in [
            ("/open/a", "/home/ada/b", 403),
            ("/home/ralph/a", "/home/ada/b", 403),
            ("/open/a", "/open/../home/ada/b", 400),
            ("/open/a", "/open/%2e%2e/home/ada/b", 400),
            ("/open/a", "/nowhere", 404),
            ("/open/a", "/dav/b", 403),
            ("/open/a", "https://evil.example/open/b", 403),
            ("/open/a", "//evil.example/open/b", 403),
            ("/open/a", "/open/b#c", 403),
            ("/open/a", "open/b", 403),
            ("/open/a", "/auth/login", 403),
        ] {
            assert_eq!(
                ask(method, path, destination),
                expected,
                "{path} {destination}"
            );
            assert_eq!(backend.seen().len(), 0, "{destination}");
        }
    }
    let twice = gate
        .curl()
        .args(["-X", "MOVE"])
        .header("Destination: /open/b");
    let twice = twice.header("destination: /home/ada/b").get("/open/a");
    assert_eq!((twice.status, backend.seen().len()), (403, 0));
    // To other methods it is a field like any other.
    assert_eq!(ask("PUT", "/open/a", "/home/ada/b"), 200);
    assert_eq!(arrived(), "/home/ada/b");
}

#[test]
fn what_an_object_store_is_to_copy_is_allowed_where_it_comes_from_too() {
    let backend = Backend::start();
    let routes = "routes:\n  - {match: /open/, public: true}\n\
                  \x20 - {match: /cut/, public: true, strip_prefix: /cut}\n\
                  \x20 - {match: /secret/, can: edit}\n";
    let config = gate::config(backend.address, "");
    let gate = Gate::start(&config.replace(gate::ROUTES, routes));
    let put = |field: &str, path: &str| {
        backend.forget();
        let curl = gate.curl().args(["-X", "PUT"]).header(field);
        curl.get(path).status
    };
    for name in [
        "X-Amz-Copy-Source",
        "x-goog-copy-source",
        "X-Copy-From",
        "x-ms-copy-source",
        "x-ms-rename-source",
    ] {
        for (source, expected) in [
            ("/open/a", 200),
            ("open/a?versionId=3", 200),
            ("/secret/a", 401),
            ("secret/a", 401),
            ("open/../secret/a", 400),
            ("/open/%2e%2e/secret/a", 400),
            ("https://evil.example/open/a", 403),
            ("//open/a", 403),
            ("arn:aws:s3:::open/a", 403),
        ] {
            let field = format!("{name}: {source}");
            assert_eq!(put(&field, "/open/b"), expected, "{field}");
            let arrived: Vec<_> = backend
                .seen()
                .iter()
                .map(|it| it.all(name).join("|"))
                .collect();
            let whole = if expected == 200 {
                vec![source.to_owned()]
            } else {
                vec![]
            };
            assert_eq!(arrived, whole, "{field}");
        }
    }
    // It would mean another path there.
    assert_eq!(put("X-Amz-Copy-Source: /cut/a", "/cut/b"), 400);
    assert_eq!(put("X-Other: /cut/a", "/cut/b"), 200);
    // Two of them are none.
    let twice = gate
        .curl()
        .args(["-X", "PUT"])
        .header("X-Copy-From: /open/a");
    assert_eq!(
        twice.header("X-Copy-From: /secret/a").get("/open/b").status,
        403
    );
    let others = gate
        .curl()
        .args(["-X", "PUT"])
        .header("X-Copy-From: /open/a");
    let others = others.header("X-Copy-From-Account: theirs");
    assert_eq!(others.get("/open/b").status, 403);
    // To who reads it is a field like any other.
    assert_eq!(
        gate.curl()
            .header("X-Copy-From: /secret/a")
            .get("/open/b")
            .status,
        200
    );
}

/// A gate with a folder for each relaxation, in the order of [`RELAXED`], and one without.
fn relaxed(backend: &Backend) -> Gate {
    let routes: String = RELAXED
        .iter()
        .map(|(name, _)| {
            format!("  - {{match: /{name}/, public: true, allow: {{{name}: true}}}}\n")
        })
        .collect();
    let routes = format!("routes:\n{routes}  - {{match: /strict/, public: true}}\n");
    let config = gate::config(backend.address, "");
    let rest = config.replace(gate::ROUTES, "");
    Gate::start(&format!(
        "{rest}{routes}  - {{match: /admin/, can: edit}}\n"
    ))
}

/// What stands in a path that is refused without the relaxation of this name.
const RELAXED: [(&str, &str); 7] = [
    ("encoded_slash", "a%2Fb"),
    ("backslash", "a\\b"),
    ("encoded_backslash", "a%5Cb"),
    ("double_slash", "a//b"),
    ("semicolon", "a;v=1/b"),
    ("double_encoding", "a%2541b"),
    ("non_utf8", "b%fcro"),
];

fn access_line(gate: &Gate, path: &str) -> Value {
    eventually("it is on record", || {
        gate.line_where(|line| line["event"] == "access" && line["url.path"] == path)
    })
}

#[test]
fn what_a_route_allows_passes_as_it_came_and_elsewhere_the_log_says_what_would_let_it_pass() {
    let backend = Backend::start();
    let gate = relaxed(&backend);
    for (name, path) in RELAXED {
        for version in ["--http1.1", "--http2"] {
            backend.forget();
            let path = format!("/{name}/{path}");
            let got = gate.curl().args([version]).get(&path);
            assert_eq!(got.status, 200, "{version} {path}: {got:?}");
            assert_eq!(backend.only().path(), path);
        }
        backend.forget();
        let path = format!("/strict/{path}");
        let got = gate.curl().get(&path);
        assert_eq!(got.status, 400, "{path}: {got:?}");
        assert!(!got.body.contains("allow"), "{got:?}");
        let line = access_line(&gate, &path);
        assert_eq!(line["auth.reason"], name, "{line}");
        assert_eq!(
            line["auth.hint"],
            format!("routes[7].allow: {{{name}: true}}")
        );
        assert!(backend.seen().is_empty(), "{:?}", backend.seen());
    }
}

#[test]
fn what_a_route_allows_is_sent_to_https_as_it_came_and_nothing_else_is() {
    let backend = Backend::start();
    let gate = relaxed(&backend);
    for (path, status) in [
        ("/encoded_slash/a%2Fb", 307),
        ("/encoded_slash/a;b", 400),
        ("/strict/a%2Fb", 400),
    ] {
        let url = format!("http://localhost:{}{path}", gate.port());
        let got = gate.curl().fetch(&url);
        assert_eq!(got.status, status, "{path}: {got:?}");
        let location = format!("https://localhost:{}{path}", gate.port());
        let sent_there = got.field("location") == Some(&location);
        assert_eq!(sent_there, status == 307, "{path}: {got:?}");
    }
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
}

#[test]
fn what_a_route_allows_is_no_way_into_another_one() {
    let backend = Backend::start();
    let gate = relaxed(&backend);
    for (path, reason) in [
        ("/encoded_slash/..%2fadmin/", "dot_segment"),
        ("/encoded_slash/a%2f..%2f..%2fadmin", "dot_segment"),
        ("/encoded_slash%2f..%2fadmin/", "dot_segment"),
        ("/backslash/..\\admin/", "dot_segment"),
        ("/encoded_backslash/..%5c..%5cadmin", "dot_segment"),
        ("/double_slash//../../admin/", "dot_segment"),
        ("/semicolon/..;/admin/", "dot_segment"),
        ("/semicolon/..;x/admin/", "dot_segment"),
        ("/double_encoding/%252e%252e/admin/", "dot_segment"),
        ("/non_utf8/.%ff./admin/", "dot_segment"),
        ("/non_utf8/%c0%ae%c0%ae/admin/", "overlong_utf8"),
        ("/encoded_slash%2fx", "encoded_slash"),
        ("//double_slash/x", "double_slash"),
        ("/semicolon;x/y", "semicolon"),
        ("/admin%2fx", "encoded_slash"),
        ("/encoded_slash/%00%2f", "control_character"),
        ("/encoded_slash/%u002f%2f", "broken_encoding"),
    ] {
        let got = gate.curl().get(path);
        assert_eq!(got.status, 400, "{path}: {got:?}");
        let line = access_line(&gate, path);
        assert_eq!(line["auth.reason"], reason, "{line}");
        assert_eq!(line["auth.hint"], Value::Null, "{line}");
    }
    let asked = gate.curl().get("/admin//x");
    let line = access_line(&gate, "/admin//x");
    assert_eq!(asked.status, 400);
    assert_eq!(line["auth.hint"], "routes[8].allow: {double_slash: true}");
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
}
