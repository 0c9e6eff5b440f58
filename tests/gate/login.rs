//! Logging in and out: what people and programs do, and what attackers try.

use crate::harness::backend::Backend;
use crate::harness::client::{Connection, Got, log_in_by_form, status_of};
use crate::harness::eventually;
use crate::harness::gate::{self, Gate, PASSWORD, in_front_of};
use crate::harness::nginx::Nginx;

/// Posts the login form as a browser would after having opened it; `change` may spoil it.
fn post_form(gate: &Gate, fields: &[(&str, &str)]) -> Got {
    let form = gate.curl().browser().get("/auth/login");
    assert_eq!(form.status, 200);
    let cookie = format!(
        "Cookie: __Host-portcullis-login={}",
        form.login_cookie().unwrap()
    );
    let csrf = format!("csrf={}", form.input("csrf"));
    let mut curl = gate.curl().browser().header(&cookie);
    curl = curl.args(["--data-urlencode", &csrf]);
    for (name, value) in fields {
        let field = format!("{name}={value}");
        curl = curl.args(["--data-urlencode", &field]);
    }
    curl.get("/auth/login")
}

#[test]
fn a_browser_is_sent_to_the_form_and_after_the_login_back_to_where_it_was() {
    let nginx = Nginx::start();
    let gate = in_front_of(nginx.address);
    let sent = gate.curl().browser().get("/whoami?a=b&c=d");
    assert_eq!(sent.status, 302);
    let location = sent.field("location").unwrap();
    assert_eq!(location, "/auth/login?rd=/whoami%3Fa%3Db%26c%3Dd");

    let form = gate.curl().browser().get(location);
    assert_eq!(
        (form.status, form.input("rd").as_str()),
        (200, "/whoami?a=b&amp;c=d")
    );
    assert!(
        form.field("content-security-policy")
            .unwrap()
            .contains("frame-ancestors 'none'")
    );
    assert_eq!(form.field("cache-control"), Some("no-store"));

    let rd = "/whoami?a=b&c=d";
    let done = post_form(
        &gate,
        &[("username", "ralph"), ("password", PASSWORD), ("rd", rd)],
    );
    assert_eq!((done.status, done.field("location")), (303, Some(rd)));
    let cookie = done.all("set-cookie")[0].to_owned();
    for attribute in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");

    let page = gate.curl().session(&done.session_cookie().unwrap()).get(rd);
    assert_eq!(
        (page.status, page.body.as_str()),
        (200, "user=ralph groups=user")
    );
}

#[test]
fn a_program_gets_a_401_it_can_read_and_logs_in_with_json() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let refused = gate.curl().get("/api");
    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.field("content-type"),
        Some("application/problem+json")
    );
    let problem: serde_json::Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(problem["status"], 401);
    assert!(backend.seen().is_empty());

    let session = gate.log_in("ralph");
    assert_eq!(gate.curl().session(&session).get("/api").status, 200);
    // A script in a page asks like a program, whatever it accepts.
    let fetched = gate
        .curl()
        .browser()
        .header("Sec-Fetch-Mode: cors")
        .get("/api");
    assert_eq!(fetched.status, 401);
}

#[test]
fn a_wrong_password_and_an_unknown_user_get_the_same_answer() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let answers = ["ralph", "nobody"].map(|user| {
        let got = post_form(&gate, &[("username", user), ("password", "wrong")]);
        assert_eq!(got.status, 401);
        assert_eq!(got.session_cookie(), None);
        // All that differs is what was typed and what is random.
        let body = got
            .body
            .replace(user, "USER")
            .replace(&got.input("csrf"), "TOKEN");
        (body, got.all("www-authenticate").join(""))
    });
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].0.contains("Wrong user name or password."));
    let failures = || gate.line_where(|line| line["event"] == "login.failure");
    let line = eventually("the failure is logged", failures);
    assert_eq!(line["auth.reason"], "bad_credentials");
    // What was typed as a name may be a password: it is only written down where it is a user.
    assert!(!gate.log().contains("nobody"));
}

#[test]
fn a_form_without_our_token_logs_nobody_in() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let form = gate.curl().browser().get("/auth/login");
    let (nonce, token) = (form.login_cookie().unwrap(), form.input("csrf"));
    let other = gate.curl().browser().get("/auth/login");
    let credentials = format!("username=ralph&password={}", PASSWORD.replace(' ', "+"));
    let cookie = |nonce: &str| format!("Cookie: __Host-portcullis-login={nonce}");
    let post = |cookie: &str, token: &str| {
        let data = format!("{credentials}&csrf={token}");
        gate.curl()
            .header(cookie)
            .args(["-d", &data])
            .get("/auth/login")
    };
    let no_token = gate.curl().args(["-d", &credentials]).get("/auth/login");
    let wrong_browser = post(&cookie(&other.login_cookie().unwrap()), &token);
    let no_cookie = post("X: y", &token);
    let forged = post(&cookie(&nonce), "ffffffff.AAAA");
    for refused in [no_token, wrong_browser, no_cookie, forged] {
        assert_eq!(refused.status, 403, "{refused:?}");
        assert_eq!(refused.session_cookie(), None);
    }
    assert_eq!(post(&cookie(&nonce), &token).status, 303);
}

#[test]
fn a_form_sent_by_another_site_is_refused_and_one_of_our_own_is_not() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let body = format!(r#"{{"username":"ralph","password":"{PASSWORD}"}}"#);
    let session = gate.log_in("ralph");
    let post = |site: &str, path: &str, body: &str| {
        let site = format!("Sec-Fetch-Site: {site}");
        let json = "Content-Type: application/json";
        let curl = gate.curl().session(&session).header(&site).header(json);
        curl.args(["-d", body]).get(path).status
    };
    let is_in = || gate.curl().session(&session).get("/").status;
    for site in ["cross-site", "same-site"] {
        assert_eq!(post(site, "/auth/login", &body), 403, "{site}");
        assert_eq!(post(site, "/auth/logout", "{}"), 403, "{site}");
        assert_eq!(is_in(), 200, "{site}");
    }
    assert_eq!(post("same-origin", "/auth/logout", "{}"), 200);
    assert_eq!(is_in(), 401);
    assert_eq!(post("same-origin", "/auth/login", &body), 200);
    // JSON without its media type could come from another site's form.
    let plain = gate
        .curl()
        .header("Content-Type: text/plain")
        .args(["-d", &body]);
    assert_eq!(plain.get("/auth/login").status, 415);
}

#[test]
fn json_that_is_no_login_is_told_what_to_send_and_counts_as_no_wrong_password() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let post = |path: &str, body: &str| {
        let json = "Content-Type: application/json";
        gate.curl().header(json).args(["-d", body]).get(path)
    };
    for _ in 0..3 {
        for body in [
            r#"{"user":"ralph","pass":"x"}"#,
            r#"{"username":"ralph"}"#,
            r#"{"username":"ralph","password":7}"#,
            "username=ralph&password=x",
            "{}",
        ] {
            let answer = post("/auth/login", body);
            assert_eq!(answer.status, 400, "{body}");
            let expected = r#"send {\"username\": \"...\", \"password\": \"...\"}."#;
            assert!(answer.body.contains(expected), "{answer:?}");
        }
    }
    let answer = post("/auth/logout", "[");
    assert_eq!(answer.status, 400);
    assert!(
        answer.body.contains("JSON that is expected here: send {}."),
        "{answer:?}"
    );
    // Nobody has been locked out, and who says it right is in.
    let right = format!(r#"{{"username":"ralph","password":"{PASSWORD}"}}"#);
    assert_eq!(post("/auth/login", &right).status, 200);
    // A wrong password is one, and counted.
    let wrong = r#"{"username":"ralph","password":"x"}"#;
    let statuses: Vec<_> = (0..6).map(|_| post("/auth/login", wrong).status).collect();
    assert!(statuses[0] == 401 && statuses[5] == 429, "{statuses:?}");
}

#[test]
fn a_login_leads_nowhere_but_to_this_site() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    for rd in [
        "//evil",
        "https:/evil",
        "/\\evil",
        "https://evil/",
        "\\\\evil",
        "/\t/evil",
        "/\r\n/evil",
        "\t//evil",
        " //evil",
        "\u{1}//evil",
        "/\u{7f}/evil",
        "///evil",
        "%2F%2Fevil",
        "%2f%5cevil",
        "HTTPS://evil",
        "/here\r\nLocation: //evil",
        "javascript:alert(1)",
        "/auth/login",
        "/auth/logout?x",
        "",
    ] {
        let fields = [("username", "ralph"), ("password", PASSWORD), ("rd", rd)];
        let done = post_form(&gate, &fields);
        assert_eq!(
            (done.status, done.field("location")),
            (303, Some("/")),
            "{rd:?}"
        );
        let shown = gate
            .curl()
            .args(["-G", "--data-urlencode", &format!("rd={rd}")]);
        assert_eq!(shown.get("/auth/login").input("rd"), "/", "{rd:?}");
    }
    let fields = [
        ("username", "ralph"),
        ("password", PASSWORD),
        ("rd", "/deep/page?x=1"),
    ];
    assert_eq!(
        post_form(&gate, &fields).field("location"),
        Some("/deep/page?x=1")
    );
}

#[test]
fn a_forged_or_doubled_cookie_proves_nothing() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let session = gate.log_in("ralph");
    let status = |cookies: &str| {
        gate.curl()
            .header(&format!("Cookie: {cookies}"))
            .get("/")
            .status
    };
    let ours = format!("__Host-portcullis={session}");
    assert_eq!(status(&ours), 200);
    for forged in [
        "__Host-portcullis=forged".to_owned(),
        format!("__Host-portcullis={}", "A".repeat(43)),
        format!("__Host-portcullis={}", session.to_lowercase()),
        format!("__host-portcullis={session}"),
        format!("portcullis={session}"),
        format!("{ours}; {ours}"),
        format!("{ours}x"),
    ] {
        assert_eq!(status(&forged), 401, "{forged}");
    }
}

#[test]
fn a_session_ends_at_once_with_its_logout() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let (session, other) = (gate.log_in("ralph"), gate.log_in("ralph"));
    let page = gate.curl().browser().session(&session).get("/auth/logout");
    assert!(page.body.contains("ralph"), "{page:?}");
    let post = |token: &str| {
        let token = format!("csrf={token}");
        gate.curl()
            .session(&session)
            .args(["--data-urlencode", &token])
            .get("/auth/logout")
    };
    assert_eq!(post("").status, 403);
    let foreign = gate
        .curl()
        .browser()
        .session(&other)
        .get("/auth/logout")
        .input("csrf");
    assert_eq!(post(&foreign).status, 403);
    assert_eq!(gate.curl().session(&session).get("/").status, 200);

    let done = post(&page.input("csrf"));
    assert_eq!(done.status, 200);
    assert!(done.all("set-cookie")[0].contains("Max-Age=0"));
    // On every thread, on new connections and old.
    for _ in 0..8 {
        assert_eq!(gate.curl().session(&session).get("/").status, 401);
    }
    assert_eq!(gate.curl().session(&other).get("/").status, 200);
    let ended = || gate.line_where(|line| line["event"] == "session.end");
    assert_eq!(eventually("the end is logged", ended)["user.name"], "ralph");
}

#[test]
fn every_login_has_a_new_id_and_ends_the_one_before() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let first = gate.log_in("ralph");
    let body = format!(r#"{{"username":"ada","password":"{PASSWORD}"}}"#);
    let second = gate
        .curl()
        .session(&first)
        .args(["-H", "Content-Type: application/json", "-d", &body])
        .get("/auth/login")
        .session_cookie()
        .unwrap();
    assert_ne!(first, second);
    assert_eq!(gate.curl().session(&first).get("/").status, 401);
    assert_eq!(gate.curl().session(&second).get("/").status, 200);
}

#[test]
fn a_session_ends_when_it_is_not_used_and_when_it_is_old() {
    let backend = Backend::start();
    for limits in ["idle: 1s", "idle: 1s, lifetime: 1s"] {
        let gate = gate::with(backend.address, &format!("sessions: {{{limits}}}\n"));
        let session = gate.log_in("ralph");
        assert_eq!(gate.curl().session(&session).get("/").status, 200);
        // Looking again within a second does not count as use.
        eventually("the session has ended", || {
            (gate.curl().session(&session).get("/").status == 401).then_some(())
        });
    }
}

#[test]
fn a_session_that_has_ended_does_not_begin_again_on_a_public_route() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "sessions: {idle: 1s}\n");
    let session = gate.log_in("ralph");
    let status = |path| gate.curl().session(&session).get(path).status;
    eventually("the session has ended", || {
        (status("/") == 401).then_some(())
    });
    backend.forget();
    assert_eq!(status("/public/"), 200);
    assert_eq!(backend.only().field("x-forwarded-user"), None);
    assert_eq!(status("/"), 401);
}

#[test]
fn in_the_clear_only_public_routes_are_served_unless_the_listener_says_otherwise() {
    let backend = Backend::start();
    let (cert, key) = gate::certificate();
    let gate = Gate::start(&format!(
        "listeners:\n\
         - {{address: '127.0.0.1:0'}}\n\
         - {{address: '127.0.0.1:0', protocol: http}}\n\
         - {{address: '127.0.0.1:0', protocol: http, unsafe_login_without_tls: true}}\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
         upstreams: {{backend: {{url: 'http://{}'}}}}\n{}{}",
        cert.display(),
        key.display(),
        backend.address,
        gate::ROUTES,
        gate::ROLES_AND_USERS
    ));
    let session = gate.log_in("ralph");
    let [_, plain, behind_tls] = gate.addresses()[..] else {
        panic!("three listeners")
    };
    let ask = |address, path: &str, more: &str| {
        let mut client = Connection::plain(address);
        let cookie = format!("Cookie: __Host-portcullis={session}");
        let fields = format!("Host: localhost\r\n{cookie}\r\nConnection: close\r\n{more}");
        client.send(format!("{path} HTTP/1.1\r\n{fields}").as_bytes());
        status_of(&client.read_to_end())
    };
    let login = format!(r#"{{"username":"ralph","password":"{PASSWORD}"}}"#);
    let login = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{login}",
        login.len()
    );
    for (address, protected, form, posted) in [(plain, 401, 403, 403), (behind_tls, 200, 200, 200)]
    {
        assert_eq!(ask(address, "GET /public/", "\r\n"), 200);
        assert_eq!(ask(address, "GET /page", "\r\n"), protected);
        assert_eq!(ask(address, "GET /auth/login", "\r\n"), form);
        assert_eq!(ask(address, "POST /auth/login", &login), posted);
    }
    let told = backend.seen().pop().unwrap();
    assert_eq!(told.field("x-forwarded-proto"), Some("http"));
    assert_eq!(told.field("x-forwarded-user"), Some("ralph"));
}

#[test]
fn nothing_secret_is_written_down() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let session = gate.log_in("ralph");
    gate.curl()
        .session(&session)
        .header("Authorization: Bearer topsecret")
        .get("/page?token=topsecret");
    let fields = [("username", "ralph"), ("password", "topsecret")];
    post_form(&gate, &fields);
    let page = || gate.line_where(|line| line["url.path"] == "/page");
    let line = eventually("the request is logged", page);
    assert_eq!(line["user.name"], "ralph");
    assert_eq!(line["auth.decision"], "allow");
    assert_eq!(line["http.route"], "*");
    assert_eq!(line["upstream.name"], "backend");
    let log = gate.log();
    for secret in ["topsecret", PASSWORD, session.as_str(), "Bearer"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[test]
fn a_grpc_client_is_refused_in_its_own_way() {
    let backend = Backend::start();
    let gate = in_front_of(backend.address);
    let call = |session: Option<&str>| {
        let curl = gate.curl().args([
            "--http2",
            "-X",
            "POST",
            "-H",
            "Content-Type: application/grpc",
        ]);
        match session {
            Some(session) => curl.session(session),
            None => curl,
        }
        .get("/admin/x")
    };
    let anonymous = call(None);
    assert_eq!(
        (anonymous.status, anonymous.field("grpc-status")),
        (200, Some("16"))
    );
    let viewer = call(Some(&gate.log_in("ralph")));
    assert_eq!(
        (viewer.status, viewer.field("grpc-status")),
        (200, Some("7"))
    );
    // What cannot be gRPC cannot make its refusal look like a success.
    for args in [["--http2", "-G"], ["--http1.1", "-XPOST"]] {
        let curl = gate
            .curl()
            .args(args)
            .header("Content-Type: application/grpc");
        assert_eq!(curl.get("/admin/x").status, 401, "{args:?}");
    }
    assert!(backend.seen().is_empty());
}

#[test]
fn whose_session_has_ended_is_told_so_and_who_was_never_there_is_not() {
    let gate = in_front_of(Backend::start().address);
    let gone = "A".repeat(43);
    for (curl, ended) in [(gate.curl(), false), (gate.curl().session(&gone), true)] {
        let sent = curl.browser().get("/page");
        assert_eq!(sent.status, 302);
        let form = gate.curl().browser().get(sent.field("location").unwrap());
        assert_eq!(
            form.body.contains("Your session has ended."),
            ended,
            "{form:?}"
        );
        assert_eq!(form.input("rd"), "/page");
    }
}

// --- Guessing ---

/// The answer to a login by JSON from an address of this machine.
#[track_caller]
fn try_from_address(gate: &Gate, address: &str, user: &str, password: &str) -> Got {
    let body = serde_json::json!({"username": user, "password": password}).to_string();
    gate.curl()
        .args([
            "--interface",
            address,
            "-H",
            "Content-Type: application/json",
        ])
        .args(["-d", &body])
        .fetch(&format!("https://127.0.0.1:{}/auth/login", gate.port()))
}

#[test]
fn guessing_has_to_wait_and_nobody_waits_for_a_guesser_elsewhere() {
    let gate = in_front_of(Backend::start().address);
    // Somebody who is there, and somebody who is not.
    for user in ["ralph", "nobody"] {
        for _ in 0..5 {
            let wrong = try_from_address(&gate, "127.0.1.1", user, "a guess");
            assert_eq!((wrong.status, wrong.field("retry-after")), (401, None));
        }
        let locked = try_from_address(&gate, "127.0.1.2", user, PASSWORD);
        assert_eq!(locked.status, 429, "{locked:?}");
        assert!(locked.field("retry-after").is_some(), "{locked:?}");
        assert_eq!(locked.session_cookie(), None);
    }
    for (address, user) in [("127.0.2.1", "ralph"), ("127.0.1.1", "ada")] {
        let right = try_from_address(&gate, address, user, PASSWORD);
        assert_eq!(right.status, 200, "{address} {user} {right:?}");
    }
    let line = gate
        .line_where(|line| line["auth.reason"] == "locked")
        .unwrap();
    assert_eq!(
        (&line["event"], &line["user.name"]),
        (&"login.failure".into(), &"ralph".into())
    );
    let labels = [("method", "json"), ("result", "locked")];
    gate.await_metric("portcullis_auth_logins_total", &labels, 2.0);
    // After the wait, the right password is right again, and all is forgotten.
    eventually("the wait is over", || {
        let right = try_from_address(&gate, "127.0.1.1", "ralph", PASSWORD);
        (right.status == 200).then_some(())
    });
    for _ in 0..5 {
        let wrong = try_from_address(&gate, "127.0.1.1", "ralph", "a guess");
        assert_eq!(wrong.status, 401);
    }
    // How many wait changes with every second.
    assert!(gate.metrics().contains(
        "
portcullis_auth_lockouts_active "
    ));
}

#[test]
fn who_has_to_wait_is_told_so_in_the_form() {
    let gate = in_front_of(Backend::start().address);
    for _ in 0..5 {
        let wrong = log_in_by_form(gate.port(), &[], "ralph", "a guess");
        assert_eq!(wrong.status, 401);
    }
    let locked = log_in_by_form(gate.port(), &[], "ralph", "a guess");
    assert_eq!(locked.status, 429);
    assert!(
        locked
            .body
            .contains("Too many wrong passwords. Try again in"),
        "{locked:?}"
    );
    assert!(locked.body.contains("name=\"password\""), "{locked:?}");
}
