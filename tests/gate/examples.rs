//! Every file in `conf/` does what it says, with what stands in it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::harness::backend::Backend;
use crate::harness::client::{Curl, Got, log_in_by_form};
use crate::harness::gate::{self, Gate, PASSWORD};
use crate::harness::nginx::Nginx;
use crate::harness::pki::{Key, Pki};
use crate::harness::process::{finished, portcullis};

/// The files that a test below drives.
const DRIVEN: [&str; 4] = ["device.yaml", "ioto.yaml", "minimal.yaml", "tls.yaml"];

fn conf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf")
}

#[test]
fn every_example_is_driven_by_a_test() {
    let found: BTreeSet<_> = std::fs::read_dir(conf())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let driven = DRIVEN.map(str::to_owned).into();
    assert_eq!(
        found, driven,
        "a file in conf/ without a test, or a test without a file"
    );
}

/// An example with what a test gives it.
struct Example {
    file: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl Example {
    /// The file as it is in the repository.
    #[track_caller]
    fn of(name: &str, backend: SocketAddr) -> Self {
        Self::with(name, backend, [])
    }

    /// The same, with variables of its own.
    #[track_caller]
    fn with<const N: usize>(
        name: &str,
        backend: SocketAddr,
        more: [(&'static str, String); N],
    ) -> Self {
        assert!(DRIVEN.contains(&name));
        let (cert, key) = gate::certificate();
        let mut example = Self {
            file: conf().join(name),
            variables: vec![
                ("PORTCULLIS_LISTEN", "127.0.0.1:0".to_owned()),
                ("PORTCULLIS_CERT", cert.display().to_string()),
                ("PORTCULLIS_KEY", key.display().to_string()),
                ("PORTCULLIS_UPSTREAM", format!("http://{backend}")),
            ],
        };
        let hash = || bcrypt::hash(PASSWORD, 4).unwrap();
        match name {
            "minimal.yaml" => example.variables.push(("PORTCULLIS_ADMIN_HASH", hash())),
            "device.yaml" => example.variables.extend([
                ("PORTCULLIS_ADMIN", "127.0.0.1:0".to_owned()),
                ("PORTCULLIS_TITLE", "Boiler 4".to_owned()),
                ("PORTCULLIS_RALPH_HASH", hash()),
                ("PORTCULLIS_GUEST_HASH", hash()),
            ]),
            _ => {}
        }
        example.variables.extend(more);
        example.check_variables();
        example.check();
        example
    }

    /// Each variable that the file names is one that the test sets, and none is set in vain.
    #[track_caller]
    fn check_variables(&self) {
        let text = std::fs::read_to_string(&self.file).unwrap();
        let written = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        let named: BTreeSet<_> = written
            .flat_map(|line| line.split("${").skip(1))
            .map(|rest| rest.split([':', '}']).next().unwrap().to_owned())
            .collect();
        let set = self.variables.iter().map(|(name, _)| (*name).to_owned());
        assert_eq!(named, set.collect());
    }

    #[track_caller]
    fn check(&self) {
        let mut command = portcullis(["check", "-c", self.file.to_str().unwrap()]);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let checked = finished(command, "");
        assert_eq!(
            (checked.code, checked.errors.as_str()),
            (Some(0), ""),
            "{checked:?}"
        );
        assert!(checked.out.contains(": ok ("), "{checked:?}");
    }

    #[track_caller]
    fn start(&self) -> Gate {
        let variables = self.variables.iter();
        let variables: Vec<_> = variables
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        Gate::start_file(&self.file, &variables)
    }
}

/// The session of somebody who logs in with the form.
#[track_caller]
fn session_of(gate: &Gate, user: &str, password: &str) -> String {
    let done = log_in_by_form(gate.port(), &[], user, password);
    assert_eq!(
        (done.status, done.field("location")),
        (303, Some("/")),
        "{done:?}"
    );
    done.session_cookie().unwrap()
}

#[track_caller]
fn check_login_needed(gate: &Gate, path: &str) {
    let browser = gate.curl().browser().get(path);
    let expected = format!("/auth/login?rd={path}");
    assert_eq!(
        (browser.status, browser.field("location")),
        (302, Some(expected.as_str()))
    );
    let script = gate.curl().get(path);
    assert_eq!(script.status, 401);
    assert_eq!(
        script.field("content-type"),
        Some("application/problem+json")
    );
}

fn answer(got: &Got) -> (u16, &str) {
    (got.status, got.body.trim())
}

// --- tls.yaml ---

#[test]
fn certificates_by_name_redirects_and_staying_on_https_work_as_the_example_has_them() {
    let (backend, pki) = (Backend::start(), Pki::new());
    pki.leaf("old", Key::Rsa, &["old.example"]);
    pki.openssl(
        "pkcs12 -export -inkey old.key -in old.crt -certfile int.crt -name server -out store.p12 \
         -passout pass:s3cret",
    );
    pki.write("store-pass", "s3cret\n");
    pki.openssl("rand -out ticket.key 80");
    let path = |name| pki.path(name).display().to_string();
    let example = Example::with(
        "tls.yaml",
        backend.address,
        [
            ("PORTCULLIS_LISTEN_HTTP", "127.0.0.1:0".to_owned()),
            ("PORTCULLIS_KEYSTORE", path("store.p12")),
            ("PORTCULLIS_STORE_PASS", path("store-pass")),
            ("PORTCULLIS_TICKETS", path("ticket.key")),
        ],
    );
    let gate = example.start();
    let got = gate.curl().get("/");
    assert_eq!(answer(&got), (200, "GET / HTTP/1.1"));
    assert_eq!(got.field("strict-transport-security"), Some("max-age=300"));
    let resolve = format!("old.example:{}:127.0.0.1", gate.port());
    let believed = Curl::new(gate.port())
        .args([
            "--no-insecure",
            "--cacert",
            &path("root.crt"),
            "--resolve",
            &resolve,
        ])
        .fetch(&format!("https://old.example:{}/", gate.port()));
    assert_eq!(believed.status, 200, "{believed:?}");
    let http = gate.addresses()[1];
    let plain = Curl::new(0).fetch(&format!("http://{http}/page?x=1"));
    let to = "https://127.0.0.1/page?x=1";
    assert_eq!((plain.status, plain.field("location")), (308, Some(to)));
    let challenge = Curl::new(0).fetch(&format!("http://{http}/.well-known/acme-challenge/x"));
    assert_eq!(challenge.status, 200, "{challenge:?}");
    let same_port = Curl::new(0).fetch(&format!("http://{}/page", gate.address));
    let to = format!("https://{}/page", gate.address);
    assert_eq!(
        (same_port.status, same_port.field("location")),
        (307, Some(&*to))
    );
}

// --- ioto.yaml ---

/// What stands behind the example, with a page in each of its parts.
fn ioto_backend() -> Nginx {
    let nginx = Nginx::start();
    nginx.write("public/page", b"for everybody");
    nginx.write("admin/page", b"for administrators");
    nginx.write("page", b"for users");
    nginx
}

#[test]
fn the_user_of_the_ioto_documentation_logs_in_with_the_hash_it_prints() {
    let nginx = ioto_backend();
    let gate = Example::of("ioto.yaml", nginx.address).start();
    let form = gate.curl().browser().get("/auth/login");
    assert!(form.body.contains("Ioto"), "{form:?}");
    for wrong in ["pass4", "Pass5", "pass5 ", ""] {
        let refused = log_in_by_form(gate.port(), &[], "ralph", wrong);
        assert_eq!(
            (refused.status, refused.session_cookie()),
            (401, None),
            "{wrong:?}"
        );
    }
    let session = session_of(&gate, "ralph", "pass5");
    let told = gate.curl().session(&session).get("/whoami");
    assert_eq!(answer(&told), (200, "user=ralph groups=user,administrator"));
    let page = gate.curl().session(&session).get("/page");
    assert_eq!(answer(&page), (200, "for users"));
    let admin = gate.curl().session(&session).get("/admin/page");
    assert_eq!(answer(&admin), (200, "for administrators"));

    let logout = gate.curl().browser().session(&session).get("/auth/logout");
    let token = format!("csrf={}", logout.input("csrf"));
    let out = gate
        .curl()
        .session(&session)
        .args(["--data-urlencode", &token]);
    assert_eq!(out.get("/auth/logout").status, 200);
    assert_eq!(gate.curl().session(&session).get("/page").status, 401);
}

#[test]
fn the_routes_of_the_ioto_sample_mean_what_they_mean_to_ioto() {
    let nginx = ioto_backend();
    let gate = Example::of("ioto.yaml", nginx.address).start();
    let open = gate.curl().get("/public/page");
    assert_eq!(answer(&open), (200, "for everybody"));
    for path in ["/page", "/", "/admin/page", "/admin", "/publicity"] {
        check_login_needed(&gate, path);
    }
    // Nobody is taken at the word of a header.
    let forged = gate.curl().header("X-Forwarded-User: ralph").get("/whoami");
    assert_eq!(forged.status, 401);
}

#[test]
fn an_ioto_user_without_edit_is_kept_from_admin_and_from_nothing_else() {
    let nginx = ioto_backend();
    let mut example = Example::of("ioto.yaml", nginx.address);
    // The sample has one user, who may do everything; here he may do less.
    let text = std::fs::read_to_string(&example.file).unwrap();
    let less = text.replace("roles: [user, administrator]", "roles: [user]");
    assert_ne!(less, text);
    let folder = tempfile::tempdir().unwrap();
    example.file = folder.path().join("ioto.yaml");
    std::fs::write(&example.file, less).unwrap();
    let gate = example.start();
    let session = session_of(&gate, "ralph", "pass5");
    for path in ["/admin/page", "/admin/", "/admin"] {
        let refused = gate.curl().session(&session).get(path);
        assert_eq!(refused.status, 403, "{path}");
        assert!(!refused.body.contains("administrators"), "{refused:?}");
    }
    let page = gate.curl().session(&session).get("/page");
    assert_eq!(answer(&page), (200, "for users"));
}

#[test]
fn the_check_of_the_ioto_sample_warns_of_its_old_hash() {
    let example = Example::of("ioto.yaml", ([127, 0, 0, 1], 9).into());
    let mut command = portcullis(["check", "-c", example.file.to_str().unwrap()]);
    command.envs(example.variables.iter().map(|(name, value)| (name, value)));
    let checked = finished(command, "");
    let warning = checked
        .out
        .lines()
        .find(|line| line.starts_with("warning: "));
    let warning = warning.unwrap_or_else(|| panic!("{checked:?}"));
    assert!(
        warning.contains("ralph") && warning.contains("passwd"),
        "{warning}"
    );
    assert!(!warning.contains("BF1:00128"), "{warning}");
}

// --- minimal.yaml ---

#[test]
fn the_smallest_example_lets_its_user_in_and_nobody_else() {
    let nginx = Nginx::start();
    let gate = Example::of("minimal.yaml", nginx.address).start();
    check_login_needed(&gate, "/whoami");
    let wrong = log_in_by_form(gate.port(), &[], "admin", "wrong one");
    assert_eq!(wrong.status, 401);
    let session = session_of(&gate, "admin", PASSWORD);
    let told = gate.curl().session(&session).get("/whoami");
    assert_eq!(answer(&told), (200, "user=admin groups=user"));
}

// --- device.yaml ---

#[test]
fn the_device_example_gives_each_role_what_it_says() {
    let backend = Backend::start();
    let gate = Example::of("device.yaml", backend.address).start();
    assert_eq!(gate.ask_admin("/readyz").status, 200);
    let form = gate.curl().browser().get("/auth/login");
    assert!(form.body.contains("Boiler 4"), "{form:?}");
    assert_eq!(gate.curl().get("/public/x").status, 200);
    for path in ["/", "/admin/x"] {
        check_login_needed(&gate, path);
    }
    assert_eq!(
        gate.curl()
            .args(["-T", "/dev/null"])
            .get("/firmware/x")
            .status,
        401
    );
    backend.forget();

    let [ralph, guest] = ["ralph", "guest"].map(|user| session_of(&gate, user, PASSWORD));
    let status = |session: &str, args: &[&str], path: &str| {
        let curl = gate.curl().session(session).args(args.iter().copied());
        curl.get(path).status
    };
    let upload = ["-X", "PUT", "-d", "firmware"];
    assert_eq!(status(&guest, &[], "/"), 200);
    assert_eq!(status(&guest, &[], "/admin/x"), 403);
    assert_eq!(status(&guest, &upload, "/firmware/x"), 403);
    assert_eq!(backend.only().field("x-forwarded-user"), Some("guest"));
    backend.forget();
    assert_eq!(status(&ralph, &[], "/admin/x"), 200);
    assert_eq!(status(&ralph, &upload, "/firmware/x"), 200);
    let seen = backend.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1].body, b"firmware");
    assert_eq!(seen[1].field("x-forwarded-user"), Some("ralph"));
    assert_eq!(seen[1].field("x-forwarded-groups"), Some("administrator"));
}
