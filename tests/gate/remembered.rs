//! Who stays logged in: sessions that outlive the browser, and their cookies.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::harness::backend::Backend;
use crate::harness::client::Got;
use crate::harness::eventually;
use crate::harness::gate::{self, Gate, PASSWORD, in_front_of};

/// Logs in by JSON.
fn log_in(gate: &Gate, remember: bool) -> Got {
    let body = serde_json::json!({
        "username": "ralph",
        "password": PASSWORD,
        "remember": remember,
    });
    let curl = gate.curl().args(["-d", &body.to_string()]);
    let answer = curl
        .header("Content-Type: application/json")
        .get("/auth/login");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// The whole `Set-Cookie` value that gives a session, where there is one.
fn session_given(got: &Got) -> Option<&str> {
    let mut given = got.all("set-cookie").into_iter();
    given.find(|value| value.starts_with("__Host-portcullis="))
}

#[test]
fn only_who_wants_to_be_remembered_gets_a_cookie_that_outlives_the_browser() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "sessions: {remember: 30d}\n");
    for (remember, age) in [(true, true), (false, false)] {
        let got = log_in(&gate, remember);
        let cookie = session_given(&got).unwrap();
        assert_eq!(cookie.contains("; Max-Age=2592000"), age, "{cookie}");
        assert!(cookie.contains("; SameSite=Lax"), "{cookie}");
    }
    let form = gate.curl().browser().get("/auth/login");
    assert!(form.body.contains("name=\"remember\""), "{form:?}");
    assert!(!form.body.contains("checked"), "{form:?}");
    // Who has chosen it and mistyped need not choose it again.
    let nonce = format!(
        "Cookie: __Host-portcullis-login={}",
        form.login_cookie().unwrap()
    );
    let post = |password: &str| {
        let csrf = form.input("csrf");
        let data = format!("csrf={csrf}&username=ralph&remember=1&password={password}");
        gate.curl()
            .browser()
            .header(&nonce)
            .args(["-d", &data])
            .get("/auth/login")
    };
    assert!(post("wrong").body.contains("checked"));
    let done = post("correct+horse");
    let cookie = session_given(&done).unwrap();
    assert!(cookie.contains("; Max-Age=2592000"), "{cookie}");
}

#[test]
fn where_nobody_is_to_be_remembered_asking_for_it_changes_nothing() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let got = log_in(&gate, true);
    let cookie = session_given(&got).unwrap();
    assert!(!cookie.contains("Max-Age"), "{cookie}");
    let form = gate.curl().browser().get("/auth/login");
    assert!(!form.body.contains("remember"), "{form:?}");
}

#[test]
fn a_remembered_session_goes_on_where_others_have_ended() {
    let backend = Backend::start();
    let limits = "sessions: {idle: 1s, lifetime: 1s, remember: 1h}\n";
    let gate = gate::with(backend.address, limits);
    let [remembered, other] =
        [true, false].map(|remember| log_in(&gate, remember).session_cookie().unwrap());
    let status = |session: &str| gate.curl().session(session).get("/").status;
    eventually("the other has ended", || {
        (status(&other) == 401).then_some(())
    });
    assert_eq!(status(&remembered), 200);
    // And it ends as all do.
    let out = gate.curl().session(&remembered).args(["-d", "{}"]);
    let out = out
        .header("Content-Type: application/json")
        .get("/auth/logout");
    assert_eq!(out.status, 200, "{out:?}");
    assert_eq!(status(&remembered), 401);
}

/// A backend whose answers say at each path what that path is named after.
fn with_caching() -> Backend {
    Backend::answering(|request, stream| {
        let fields = match request.path() {
            "/shared" => "Cache-Control: max-age=60\r\n",
            "/cdn" => "Cache-Control: private\r\nCDN-Cache-Control: max-age=60\r\n",
            "/private" => "Cache-Control: private, max-age=60\r\n",
            _ => "Set-Cookie: theme=dark\r\n",
        };
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).is_ok()
    })
}

#[test]
fn its_cookie_is_given_again_when_a_tenth_is_over_and_never_where_others_could_get_it() {
    let backend = with_caching();
    // A tenth is a second.
    let limits = "sessions: {idle: 5s, lifetime: 5s, remember: 10s}\n";
    let gate = gate::with(backend.address, limits);
    for version in ["--http1.1", "--http2"] {
        let session = log_in(&gate, true).session_cookie().unwrap();
        let get = |path: &str| {
            let got = gate.curl().args([version]).session(&session).get(path);
            assert_eq!(got.status, 200, "{got:?}");
            got
        };
        let again = |path: &str| {
            eventually("the cookie is given again", || {
                let got = get(path);
                session_given(&got).is_some().then_some(got)
            })
        };
        assert_eq!(session_given(&get("/plain")), None);
        let got = again("/plain");
        assert_eq!(got.session_cookie().unwrap(), session);
        assert!(
            session_given(&got).unwrap().contains("; Max-Age=10"),
            "{got:?}"
        );
        assert!(got.all("set-cookie").contains(&"theme=dark"), "{got:?}");
        assert_eq!(got.field("cache-control"), Some("private"));
        assert_eq!(get("/plain").field("cache-control"), None);

        // By now it is due, and goes where nobody else gets it.
        let given = Instant::now();
        while given.elapsed() < Duration::from_millis(1100) {
            for path in ["/shared", "/cdn"] {
                assert_eq!(session_given(&get(path)), None, "{path}");
            }
        }
        let got = get("/private");
        assert!(session_given(&got).is_some(), "{got:?}");
        assert_eq!(got.field("cache-control"), Some("private, max-age=60"));
    }
}

#[test]
fn the_cookie_of_other_sessions_is_never_given_again() {
    let backend = with_caching();
    let limits = "sessions: {idle: 5s, lifetime: 5s, remember: 5s}\n";
    let gate = gate::with(backend.address, limits);
    let [visit, remembered] =
        [false, true].map(|remember| log_in(&gate, remember).session_cookie().unwrap());
    let given = |session: &str| {
        let got = gate.curl().session(session).get("/plain");
        session_given(&got).is_some()
    };
    eventually("the remembered one is given again", || {
        assert!(!given(&visit));
        given(&remembered).then_some(())
    });
}
