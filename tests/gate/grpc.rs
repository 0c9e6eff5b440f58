//! gRPC calls, from a real client to a real server: they pass as they are, who may not make them is
//! told so in their own words, and they end with a status when what they were let in for does.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::eventually;
use crate::harness::gate::{self, Gate, with_hash};
use crate::harness::grpc::{Server, client};
use crate::harness::pki::{Client, FUTURE, Pki};
use crate::harness::process::{Finished, Process, finished, portcullis};
use crate::harness::served;

/// `$2b$04$HASH` in it is the hash of [`gate::PASSWORD`].
const USERS: &str = "\
robot:
  roles: [user]
  tokens: {}
admin:
  roles: [administrator]
  tokens: {}
ada:
  roles: [administrator]
  password: $2b$04$HASH
ralph:
  roles: [user]
  password: $2b$04$HASH
";

/// A gate in front of a server, with tokens and certificates of clients.
struct Fronted {
    gate: Gate,
    server: Server,
    pki: Pki,
}

const TOKENS: &str = "\
routes:
  - {match: /echo.Echo/, can: view, credentials: [token, session]}
  - {match: /echo.Admin/, can: edit, credentials: token}
  - {match: /open.Open/, public: true}
";

impl Fronted {
    #[track_caller]
    fn start(routes: &str, tls: &str, more: &str) -> Self {
        Self::before(Server::start(&[]), "", routes, tls, more)
    }

    #[track_caller]
    fn before(server: Server, upstream: &str, routes: &str, tls: &str, more: &str) -> Self {
        let pki = served::pki();
        for issuer in ["root", "int"] {
            pki.crl(issuer, FUTURE, &format!("{issuer}.crl"));
        }
        pki.join(&["root.crl", "int.crl"], "crls");
        pki.write("users.yaml", &with_hash(USERS));
        let (cert, key) = gate::certificate();
        let url = match upstream {
            "" => format!("{{url: 'h2c://127.0.0.1:{}'}}", server.port),
            given => given.replace("PORT", &server.port),
        };
        pki.write(
            "portcullis.yaml",
            &format!(
                "listeners: [{{address: '127.0.0.1:0'}}]\n\
                 tls:\n  certificates: [{{cert: {}, key: {}}}]\n{tls}\
                 upstreams: {{backend: {url}}}\n{routes}\
                 roles: {{user: [view], administrator: [view, edit]}}\nusers: users.yaml\n\
                 admin: {{address: '127.0.0.1:0', socket: admin.sock}}\nthreads: 2\n{more}",
                cert.display(),
                key.display(),
            ),
        );
        let gate = Gate::start_file(&pki.path("portcullis.yaml"), &[]);
        Self { gate, server, pki }
    }

    /// A new token for one of [`USERS`], once the gate knows it.
    #[track_caller]
    fn token(&self, user: &str) -> String {
        let file = self.pki.path("users.yaml");
        let args = [
            "token",
            "create",
            "--file",
            file.to_str().unwrap(),
            user,
            "t",
        ];
        let made = finished(portcullis(args), "");
        assert_eq!(made.code, Some(0), "{made:?}");
        let token = made.out.trim_end().to_owned();
        eventually("the gate knows the token", || {
            let call = self.call("unary", &["hello"], &[("TOKEN", &token)]);
            call.out.contains("status 0").then_some(())
        });
        token
    }

    fn client(&self, what: &str, args: &[&str], variables: &[(&str, &str)]) -> Command {
        client(self.gate.port(), what, args, variables)
    }

    /// A call from its begin to its end.
    #[track_caller]
    fn call(&self, what: &str, args: &[&str], variables: &[(&str, &str)]) -> Finished {
        finished(self.client(what, args, variables), "\n")
    }

    /// Begins a call that lasts, and waits until it has.
    #[track_caller]
    fn conversation(&self, variables: &[(&str, &str)]) -> Process {
        let process = Process::start(self.client("wait", &[], variables), "");
        eventually("the call has begun", || {
            process.out().contains("message waiting").then_some(())
        });
        process
    }

    /// The last line about a call.
    #[track_caller]
    fn logged(&self, fits: impl Fn(&Value) -> bool) -> Value {
        eventually("it is on record", || {
            self.gate
                .line_where(|line| line["event"] == "access" && fits(line))
        })
    }
}

/// Checks what a call came to.
#[track_caller]
fn check(done: &Finished, expected: &[&str]) {
    let lines: Vec<_> = done.out.lines().collect();
    for expected in expected {
        assert!(
            lines.iter().any(|line| line.starts_with(expected)),
            "{expected}: {done:?}"
        );
    }
}

#[test]
fn calls_of_all_four_kinds_pass_as_they_are() {
    let fronted = Fronted::start(TOKENS, "", "");
    let token = fronted.token("robot");
    let with = [("TOKEN", token.as_str())];
    let call = |what, args: &[&str]| fronted.call(what, args, &with);
    check(&call("unary", &["ä"]), &["message got ä", "status 0"]);
    let counted = (0..1000).map(|it: i32| it.to_string().len()).sum::<usize>();
    let counted = format!("message 1000 {counted}");
    check(&call("client_stream", &["1000"]), &[&counted, "status 0"]);
    check(
        &call("server_stream", &["1000"]),
        &["message True", "status 0"],
    );
    check(&call("bidi", &["1000"]), &["message True", "status 0"]);
    check(&call("slow_reader", &[]), &["message True", "status 0"]);
    let size = (16 << 20).to_string();
    let large = format!("large {size}");
    let up = format!("large 1 {size}");
    check(&call("large", &[&size]), &[&large, &up, "status 0"]);
    let line = fronted.logged(|line| line["url.path"] == "/echo.Echo/Bidi");
    assert_eq!(line["rpc.grpc.status_code"], 0);
    assert_eq!(line["user.name"], "robot");
    assert!(line["error.type"].is_null(), "{line}");
}

#[test]
fn metadata_passes_both_ways_but_who_asks_is_said_by_the_gate() {
    let fronted = Fronted::start(TOKENS, "", "");
    let token = fronted.token("robot");
    let done = fronted.call("metadata", &[], &[("TOKEN", &token)]);
    check(
        &done,
        &[
            "seen x-asked=yes",
            "seen x-forwarded-user=robot",
            "seen x-request-id=",
            "initial ",
            "status 0",
        ],
    );
    assert!(done.out.contains("x-initial='first'"), "{done:?}");
    assert!(done.out.contains("x-trailing='last'"), "{done:?}");
    assert!(done.out.contains("x-data-bin=b'\\x00\\xff'"), "{done:?}");
    assert!(!done.out.contains(&token), "{done:?}");
}

#[test]
fn a_server_s_own_errors_deadlines_and_cancellations_pass() {
    let fronted = Fronted::start(TOKENS, "", "");
    let token = fronted.token("robot");
    let with = [("TOKEN", token.as_str())];
    let failed = fronted.call("fail", &[], &with);
    check(&failed, &["trailing ", "status 3 no ä, 100 %"]);
    assert!(failed.out.contains("x-why='because'"), "{failed:?}");
    assert!(!failed.out.contains("content-length"), "{failed:?}");
    let line = fronted.logged(|line| line["url.path"] == "/echo.Echo/Fail");
    assert_eq!(line["rpc.grpc.status_code"], 3);
    check(&fronted.call("deadline", &[], &with), &["status 4"]);
    fronted.server.await_word("deadline True");
    fronted.server.await_word("sleep ended");
    check(&fronted.call("cancel", &[], &with), &["status 1"]);
}

#[test]
fn who_may_not_call_is_told_so_in_the_words_of_grpc() {
    let fronted = Fronted::start(TOKENS, "", "");
    let token = fronted.token("robot");
    let admin = fronted.token("admin");
    let unary = |service: &str, token: &str| {
        let variables = [("SERVICE", service), ("TOKEN", token)];
        fronted.call("unary", &["x"], &variables)
    };
    check(&fronted.call("unary", &["x"], &[]), &["status 16"]);
    check(&unary("echo.Echo", "ptc_wrong"), &["status 16"]);
    check(&unary("echo.Admin", &token), &["status 7"]);
    check(&unary("echo.Admin", &admin), &["status 0"]);
    check(&unary("other.Other", &token), &["status 12"]);
    let streams = fronted.call("bidi", &["5"], &[]);
    check(&streams, &["status 16"]);
    let line = fronted.logged(|line| line["url.path"] == "/echo.Echo/Bidi");
    assert_eq!(line["rpc.grpc.status_code"], 16);
}

#[test]
fn a_call_ends_with_a_status_when_the_token_or_the_right_does() {
    let fronted = Fronted::start(TOKENS, "", "");
    let token = fronted.token("robot");
    let with = [("TOKEN", token.as_str())];
    let taken_away = |change: &dyn Fn(&str) -> String, status: &str| {
        let conversation = fronted.conversation(&with);
        let before = fronted.pki.read("users.yaml");
        fronted.pki.replace("users.yaml", &change(&before));
        let done = conversation.finish();
        check(&done, &["message waiting", status]);
        fronted.pki.replace("users.yaml", &before);
        eventually("the gate knows the token again", || {
            let call = fronted.call("unary", &["hello"], &with);
            call.out.contains("status 0").then_some(())
        });
    };
    taken_away(&|_| with_hash(USERS), "status 16");
    taken_away(&|users| users.replacen("[user]", "[]", 1), "status 7");
    fronted.server.await_word("wait ended");
    let line = fronted.logged(|line| line["error.type"] == "no_longer_permitted");
    assert_eq!(line["rpc.grpc.status_code"], 16);
}

#[test]
fn a_call_ends_with_a_status_when_its_session_or_the_right_does_and_those_of_others_go_on() {
    let fronted = Fronted::start(TOKENS, "", "");
    let log_out = |session: &str| assert_eq!(fronted.gate.log_out(session).status, 200);
    let end_as_administrator = |_: &str| {
        let config = fronted.pki.path("portcullis.yaml");
        let config = config.to_str().unwrap();
        let args = ["sessions", "end", "--user", "ralph", "-c", config];
        assert_eq!(finished(portcullis(args), "").code, Some(0));
    };
    let take_right = |_: &str| {
        // The gate writes better hashes into the file, and then leaves it alone.
        let users = eventually("no hash is old", || {
            let users = fronted.pki.read("users.yaml");
            (!users.contains("$2b$")).then_some(users)
        });
        let (others, ralph) = users.split_once("ralph:").unwrap();
        let ralph = ralph.replace("[user]", "[]");
        let users = format!("{others}ralph:{ralph}");
        fronted.pki.replace("users.yaml", &users);
    };
    let call = |session: &str| {
        let cookie = format!("__Host-portcullis={session}");
        fronted.conversation(&[("COOKIE", &cookie)])
    };
    let other = call(&fronted.gate.log_in("ada"));
    // A session ends with a right that its user has lost, too.
    let ends: [&dyn Fn(&str); 3] = [&log_out, &end_as_administrator, &take_right];
    for (times, end) in ends.into_iter().enumerate() {
        let session = fronted.gate.log_in("ralph");
        let conversation = call(&session);
        end(&session);
        let done = conversation.finish();
        check(&done, &["message waiting", "status 16"]);
        // Both may still say something to each other.
        other.signal("USR1");
        eventually("the other is heard", || {
            let heard = other.out().matches("message heard still here").count();
            (heard > times).then_some(())
        });
        assert!(!other.out().contains("status"), "{}", other.out());
    }
    let of_ralph = |line: &Value| line["user.name"] == "ralph" && line["event"] == "access";
    let is_cut = |line: &Value| of_ralph(line) && line["error.type"] == "no_longer_permitted";
    eventually("all are on record", || {
        (fronted.gate.count_lines(is_cut) == 3).then_some(())
    });
}

const CLIENTS: &str = "clients: [{match: {cn: 'c*'}, name: '{cn}', roles: [user]}]\n";

#[test]
fn a_call_ends_with_a_status_when_its_certificate_is_revoked() {
    let tls = "  client_auth: {mode: optional, ca: root.crt, crl: crls}\n";
    let routes = "routes: [{can: view, credentials: certificate}]\n";
    let fronted = Fronted::start(routes, tls, CLIENTS);
    fronted.pki.client("gone", &Client::default());
    let pem = fronted.pki.path("gone.pem");
    let with = [("CERTIFICATE", pem.to_str().unwrap())];
    check(&fronted.call("unary", &["x"], &[]), &["status 16"]);
    let conversation = fronted.conversation(&with);
    fronted.pki.revoke("int", "gone");
    for issuer in ["root", "int"] {
        fronted.pki.crl(issuer, FUTURE, &format!("{issuer}.crl"));
    }
    fronted.pki.join(&["root.crl", "int.crl"], "crls");
    let done = conversation.finish();
    check(&done, &["message waiting", "status 16"]);
}

#[test]
fn calls_may_go_on_while_the_gate_drains_and_then_end_with_a_status() {
    let mut fronted = Fronted::start(TOKENS, "", "shutdown: {delay: 0s, drain: 3s}\n");
    let token = fronted.token("robot");
    let with = [("TOKEN", token.as_str())];
    let conversation = fronted.conversation(&with);
    fronted.gate.signal("TERM");
    let done = conversation.finish();
    check(&done, &["message waiting", "status 14"]);
    assert!(fronted.gate.wait().success());
    let line = fronted.logged(|line| line["error.type"] == "draining");
    assert_eq!(line["rpc.grpc.status_code"], 14);
    assert!(fronted.gate.line("server.cut_off").is_none());
}

#[test]
fn a_backend_that_is_killed_leaves_calls_with_a_status() {
    let fronted = Fronted::start(TOKENS, "", "");
    let token = fronted.token("robot");
    let with = [("TOKEN", token.as_str())];
    let conversation = fronted.conversation(&with);
    fronted.server.process.signal("KILL");
    let done = conversation.finish();
    check(&done, &["message waiting", "status 14"]);
    fronted.logged(|line| line["error.type"] == "upstream_cut_short");
    check(&fronted.call("unary", &["x"], &with), &["status 14"]);
}

#[test]
fn both_sides_of_a_call_may_be_silent_for_as_long_as_the_upstream_says() {
    let silent = |read_timeout: &str| {
        let upstream = format!("{{url: 'h2c://127.0.0.1:PORT', read_timeout: {read_timeout}}}");
        let body = "timeouts: {body: 1s}\n";
        let fronted = Fronted::before(Server::start(&[]), &upstream, TOKENS, "", body);
        let token = fronted.token("robot");
        let done = fronted.call("late", &["3"], &[("TOKEN", &token)]);
        (fronted, done)
    };
    // What a client may take for a piece of a body is nothing that a conversation has to keep to.
    let (fronted, done) = silent("1m");
    check(&done, &["message heard late", "ended True", "status 0"]);
    // Two seconds of that are waited for, not asked about.
    let threads = ["worker-0", "worker-1"];
    let spent: Duration = threads
        .map(|it| fronted.gate.cpu_of_thread(it))
        .iter()
        .sum();
    assert!(spent < Duration::from_secs(1), "{spent:?}");
    let (fronted, done) = silent("1s");
    check(&done, &["message waiting", "status 14"]);
    fronted.logged(|line| line["error.type"] == "upstream_timeout");
}

#[test]
fn a_backend_is_called_over_tls_where_it_chooses_http2() {
    let (cert, key) = gate::certificate();
    let server = Server::start(&[&cert, &key]);
    let upstream = format!(
        "{{url: 'https://localhost:PORT', version: '2', tls: {{ca: {}}}}}",
        cert.display()
    );
    let fronted = Fronted::before(server, &upstream, TOKENS, "", "");
    let token = fronted.token("robot");
    let with = [("TOKEN", token.as_str())];
    check(
        &fronted.call("bidi", &["100"], &with),
        &["message True", "status 0"],
    );
}
