//! Every file in `conf/` works: it is loaded, and driven in front of a real nginx.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::gate::{self, BINARY, Gate, PASSWORD};
use crate::harness::nginx::Nginx;

/// Those that a test below drives.
const DRIVEN: &[&str] = &["device.yaml", "ioto.yaml", "minimal.yaml"];

fn conf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf")
}

/// Starts an example in front of a backend, with our certificate on a port of its own.
fn start(name: &str, nginx: &Nginx, more: &[(&str, &str)]) -> Gate {
    let (cert, key) = gate::certificate();
    let upstream = format!("http://{}", nginx.address);
    let variables = [
        ("PORTCULLIS_LISTEN", "127.0.0.1:0"),
        ("PORTCULLIS_ADMIN", "127.0.0.1:0"),
        ("PORTCULLIS_UPSTREAM", &upstream),
        ("PORTCULLIS_CERT", cert.to_str().unwrap()),
        ("PORTCULLIS_KEY", key.to_str().unwrap()),
    ];
    let all: Vec<_> = variables.iter().chain(more).copied().collect();
    let checked = Command::new(BINARY)
        .args(["check", "-c"])
        .arg(conf().join(name))
        .envs(all.iter().copied())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{name}: {checked:?}");
    Gate::start_file(&conf().join(name), &all)
}

/// Logs in through the form as a browser does; the status and, where it worked, the session.
fn form_login(gate: &Gate, user: &str, password: &str) -> (u16, Option<String>) {
    let form = gate.curl().browser().get("/auth/login");
    let cookie = format!(
        "Cookie: __Host-portcullis-login={}",
        form.login_cookie().unwrap()
    );
    let fields = [
        format!("csrf={}", form.input("csrf")),
        format!("username={user}"),
        format!("password={password}"),
    ];
    let mut curl = gate.curl().browser().header(&cookie);
    for field in &fields {
        curl = curl.args(["--data-urlencode", field]);
    }
    let got = curl.get("/auth/login");
    (got.status, got.session_cookie())
}

#[test]
fn every_example_is_driven_by_a_test() {
    let mut found: Vec<String> = std::fs::read_dir(conf())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, DRIVEN);
}

/// The authentication sample of the Ioto documentation: its roles, routes and user, with the hash
/// that it prints.
#[test]
fn the_ioto_documentations_sample_behaves_as_documented() {
    let nginx = Nginx::start();
    nginx.write("page", b"a page");
    let gate = start("ioto.yaml", &nginx, &[]);
    assert_eq!(gate.curl().get("/public/").status, 200);
    assert_eq!(gate.curl().get("/page").status, 401);
    let sent = gate.curl().browser().get("/page");
    let login = Some("/auth/login?rd=/page");
    assert_eq!((sent.status, sent.field("location")), (302, login));

    assert_eq!(form_login(&gate, "ralph", "wrong").0, 401);
    let (status, session) = form_login(&gate, "ralph", "pass5");
    assert_eq!(status, 303);
    let session = session.unwrap();
    let page = gate.curl().session(&session).get("/page");
    assert_eq!((page.status, page.body.as_str()), (200, "a page"));
    let who = gate.curl().session(&session).get("/whoami");
    assert!(who.body.starts_with("user=ralph groups="), "{}", who.body);
    // Nothing is there; but only whoever may edit learns that.
    assert_eq!(gate.curl().get("/admin/").status, 401);
    assert_eq!(gate.curl().session(&session).get("/admin/").status, 404);
}

#[test]
fn the_device_example_keeps_viewers_out_of_the_administration() {
    let nginx = Nginx::start();
    let hash = bcrypt::hash(PASSWORD, 4).unwrap();
    let hashes = [
        ("PORTCULLIS_RALPH_HASH", hash.as_str()),
        ("PORTCULLIS_GUEST_HASH", &hash),
    ];
    let gate = start("device.yaml", &nginx, &hashes);
    let (admin, guest) = (gate.log_in("ralph"), gate.log_in("guest"));
    assert_eq!(gate.curl().get("/public/").status, 200);
    assert_eq!(gate.curl().get("/whoami").status, 401);
    let who = |session: &str| gate.curl().session(session).get("/whoami").body;
    assert_eq!(who(&admin), "user=ralph groups=administrator");
    assert_eq!(who(&guest), "user=guest groups=user");
    assert_eq!(gate.curl().session(&guest).get("/admin/").status, 403);
    assert_eq!(gate.curl().session(&admin).get("/admin/").status, 404);
    let delete = gate
        .curl()
        .session(&admin)
        .args(["-X", "DELETE"])
        .get("/firmware/x");
    assert_eq!(delete.status, 405);
}

#[test]
fn the_minimal_example_is_enough() {
    let nginx = Nginx::start();
    let hash = bcrypt::hash(PASSWORD, 4).unwrap();
    let gate = start("minimal.yaml", &nginx, &[("PORTCULLIS_ADMIN_HASH", &hash)]);
    assert_eq!(gate.curl().get("/").status, 401);
    let user = "admin";
    let session = gate.log_in(user);
    let who = gate.curl().session(&session).get("/whoami");
    assert!(who.body.starts_with("user=admin"), "{}", who.body);
}
