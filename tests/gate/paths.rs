//! A path that the gate and a backend could read differently is refused; every other one is
//! decided by what it means and forwarded as it came.

use crate::harness::backend::Backend;
use crate::harness::gate::in_front_of;

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
