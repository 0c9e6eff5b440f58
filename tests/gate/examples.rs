//! Every file in `conf/` does what it says, with what stands in it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::apache::Apache;
use crate::harness::backend::Backend;
use crate::harness::client::{Curl, Got, log_in_by_form, status_of};
use crate::harness::gate::{self, Gate, PASSWORD};
use crate::harness::grpc::{self, Server};
use crate::harness::nginx::Nginx;
use crate::harness::pki::{Client, FUTURE, Key, Pki};
use crate::harness::process::{finished, portcullis};
use crate::harness::websocket::{Echo, handshake};
use crate::harness::{eventually, free_port};

/// The files that a test below drives.
const DRIVEN: [&str; 17] = [
    "balance.yaml",
    "clients.yaml",
    "device.yaml",
    "grpc.yaml",
    "ioto.yaml",
    "legacy.yaml",
    "languages",
    "limits.yaml",
    "live.yaml",
    "logo.svg",
    "machines.yaml",
    "minimal.yaml",
    "pages.yaml",
    "prefix.yaml",
    "thin-edge.yaml",
    "tls.yaml",
    "wso2.yaml",
];

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
        Self::unchecked(name, backend, more).checked()
    }

    #[track_caller]
    fn unchecked<const N: usize>(
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
            "legacy.yaml" | "pages.yaml" | "prefix.yaml" => {
                example.variables.push(("PORTCULLIS_RALPH_HASH", hash()))
            }
            "minimal.yaml" => example.variables.push(("PORTCULLIS_ADMIN_HASH", hash())),
            "live.yaml" => example.variables.extend([
                ("PORTCULLIS_ADMIN", "127.0.0.1:0".to_owned()),
                ("PORTCULLIS_ADMIN_HASH", hash()),
            ]),
            "device.yaml" => example.variables.extend([
                ("PORTCULLIS_ADMIN", "127.0.0.1:0".to_owned()),
                ("PORTCULLIS_TITLE", "Boiler 4".to_owned()),
                ("PORTCULLIS_RALPH_HASH", hash()),
                ("PORTCULLIS_GUEST_HASH", hash()),
            ]),
            _ => {}
        }
        example.variables.extend(more);
        example
    }

    /// A file with these variables and no others.
    #[track_caller]
    fn only_with<const N: usize>(file: PathBuf, variables: [(&'static str, String); N]) -> Self {
        let variables = variables.into();
        Self { file, variables }.checked()
    }

    #[track_caller]
    fn checked(self) -> Self {
        self.check_variables();
        self.check();
        self
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

// --- limits.yaml ---

#[test]
fn who_may_ask_from_where_and_how_often_is_as_the_example_has_it() {
    let backend = Backend::start();
    let example = Example::with(
        "limits.yaml",
        backend.address,
        [
            ("PORTCULLIS_BALANCER", "127.0.0.1".to_owned()),
            ("PORTCULLIS_LISTEN_PROXIED", "127.0.0.1:0".to_owned()),
            ("PORTCULLIS_INSIDE", "10.1.0.0/16".to_owned()),
        ],
    );
    let gate = example.start();
    let from = |client: &str, path: &str| {
        let client = format!("X-Forwarded-For: {client}");
        gate.curl().header(&client).get(path).status
    };
    assert_eq!(from("10.1.0.1", "/metrics"), 200);
    assert_eq!(from("192.0.2.1", "/metrics"), 403);
    let search = || from("192.0.2.1", "/search");
    assert_eq!([search(), search(), search()], [200, 200, 429]);
    assert_eq!(from("192.0.2.2", "/search"), 200);
    let url = |length: usize| format!("/{}", "a".repeat(length - 1));
    let asked = [from("192.0.2.1", &url(4096)), from("192.0.2.1", &url(4097))];
    assert_eq!(asked, [200, 414]);
    // Whoever is no balancer says nothing of where it comes from, and is not asked for a header.
    let stranger = [
        "--interface",
        "127.0.0.2",
        "-H",
        "X-Forwarded-For: 10.1.0.1",
    ];
    assert_eq!(gate.curl().args(stranger).get("/metrics").status, 403);
    let proxied = gate.addresses()[1].port();
    let announced = Curl::new(proxied).args(["--haproxy-protocol"]).get("/x");
    assert_eq!(announced.status, 200);
    assert_eq!(Curl::new(proxied).get("/x").status, 0);
}

// --- machines.yaml ---

/// A token, and what is written of it.
#[track_caller]
fn new_token() -> (String, String) {
    let made = finished(portcullis(["token", "create", "somebody", "machine"]), "");
    let (_, hash) = made.errors.split_once("hash: \"").unwrap();
    (made.out.trim_end().to_owned(), hash[..71].to_owned())
}

#[test]
fn people_scripts_and_scrapers_each_come_in_their_own_way() {
    let backend = Backend::start();
    let [pipeline, scraper] = [new_token(), new_token()];
    let tokens = [scraper.0, pipeline.0];
    let variables = [
        ("PORTCULLIS_ALICE_HASH", bcrypt::hash(PASSWORD, 4).unwrap()),
        ("PORTCULLIS_PIPELINE_HASH", pipeline.1),
        ("PORTCULLIS_SCRAPER_HASH", scraper.1),
    ];
    let gate = Example::with("machines.yaml", backend.address, variables).start();

    let session = session_of(&gate, "alice", PASSWORD);
    let by_token = |token: &str| {
        gate.curl()
            .header(&format!("Authorization: Bearer {token}"))
    };
    let password = format!("alice:{PASSWORD}");
    let ways = || {
        [
            gate.curl(),
            by_token(&tokens[0]),
            by_token(&tokens[1]),
            gate.curl().args(["-u", &password]),
            gate.curl().session(&session),
        ]
    };
    for (method, path, statuses) in [
        ("GET", "/metrics", [401, 200, 403, 401, 401]),
        ("GET", "/api/x", [401, 403, 200, 200, 200]),
        ("PUT", "/api/x", [401, 403, 403, 200, 200]),
        ("GET", "/api/projects/a%2Fb", [401, 403, 403, 200, 200]),
        ("GET", "/api/a%2Fb", [400, 400, 400, 400, 400]),
        ("GET", "/page", [401, 401, 401, 401, 200]),
    ] {
        let got = ways().map(|curl| curl.args(["-X", method]).get(path).status);
        assert_eq!(got, statuses, "{method} {path}");
    }
    for request in backend.seen() {
        assert_eq!(request.field("authorization"), None, "{request:?}");
    }
    let told: BTreeSet<_> = backend
        .seen()
        .iter()
        .map(|request| {
            ["user", "groups"].map(|name| {
                let value = request.field(&format!("x-forwarded-{name}"));
                value.unwrap_or_default().to_owned()
            })
        })
        .collect();
    // A token that may do less than its user has no groups.
    let expected = [
        ["alice", ""],
        ["alice", "plant-3,night shift"],
        ["prometheus", ""],
    ];
    assert_eq!(told, expected.map(|it| it.map(str::to_owned)).into());
}

// --- thin-edge.yaml ---

/// A gateway and its devices, with certificates made as the documentation of thin-edge says.
struct ThinEdge {
    pki: Pki,
    agent: Backend,
    mapper: Backend,
}

impl ThinEdge {
    fn new() -> Self {
        let pki = Pki::new();
        std::fs::create_dir(pki.path("trusted")).unwrap();
        pki.openssl("genrsa -out trusted-ca.key 2048");
        pki.openssl(
            "req -x509 -new -key trusted-ca.key -subj /CN=local-ca -days 30 -extensions v3_ca \
             -out trusted/local-ca.crt",
        );
        let server = "basicConstraints=CA:false\nkeyUsage=digitalSignature,keyAgreement\n\
                      extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n";
        let client = "basicConstraints=CA:false\nextendedKeyUsage=clientAuth\n";
        for (name, extensions) in [("gateway", server), ("child1", client), ("child2", client)] {
            pki.write("ext", extensions);
            pki.openssl(&format!("genrsa -out {name}.key 2048"));
            pki.openssl(&format!(
                "req -new -key {name}.key -subj /O=thin-edge/OU=device/SN=x/CN={name} -out {name}.csr"
            ));
            pki.openssl(&format!(
                "x509 -req -in {name}.csr -CA trusted/local-ca.crt -CAkey trusted-ca.key -days 30 \
                 -extfile ext -out {name}.crt"
            ));
        }
        let (agent, mapper) = (Backend::start(), Backend::start());
        Self { pki, agent, mapper }
    }

    /// The example, changed as its comments say for one of the levels.
    #[track_caller]
    fn start(&self, level: u8) -> Gate {
        let text = std::fs::read_to_string(conf().join("thin-edge.yaml")).unwrap();
        let path = |name| self.pki.path(name).display().to_string();
        let listen = || "127.0.0.1:0".to_owned();
        let mut variables = vec![
            ("PORTCULLIS_FILES", listen()),
            ("PORTCULLIS_CLOUD", listen()),
            ("PORTCULLIS_AGENT", format!("http://{}", self.agent.address)),
            (
                "PORTCULLIS_MAPPER",
                format!("http://{}", self.mapper.address),
            ),
        ];
        let file = self.pki.path("thin-edge.yaml");
        if level > 1 {
            variables.push(("PORTCULLIS_CERT", path("gateway.crt")));
            variables.push(("PORTCULLIS_KEY", path("gateway.key")));
        }
        let text = match level {
            3 => {
                variables.push(("PORTCULLIS_CLIENTS", path("trusted")));
                variables.push(("PORTCULLIS_GATEWAY", "gateway".to_owned()));
                text
            }
            2 => without_certificates(&text),
            _ => without_tls(&without_certificates(&text)),
        };
        std::fs::write(&file, text).unwrap();
        let example = Example { file, variables }.checked();
        example.start()
    }

    /// The status of a request by a device, or by nobody.
    #[track_caller]
    fn status(&self, gate: &Gate, device: &str, args: &[&str], path: &str) -> u16 {
        let mut curl = gate.curl().args(args.iter().copied());
        if !device.is_empty() {
            let [cert, key] = ["crt", "key"].map(|it| self.pki.path(&format!("{device}.{it}")));
            let paths = [cert.display().to_string(), key.display().to_string()];
            curl = curl.args(["--cert", &*paths[0], "--key", &*paths[1]]);
        }
        curl.get(path).status
    }
}

/// Levels 2 and 1 of the example: `client_auth`, roles and clients left out, and the two routes at the
/// end.
fn without_certificates(text: &str) -> String {
    let (before, rest) = text.split_once("  client_auth:\n").unwrap();
    let (_, rest) = rest.split_once("\n\n").unwrap();
    let (middle, _) = rest.split_once("roles:\n").unwrap();
    let (_, routes) = rest.split_once("routes:\n").unwrap();
    let (_, open) = routes.split_once("  # - ").unwrap();
    let open = open.replace("  # - ", "  - ");
    format!("{before}\n{middle}routes:\n  - {open}")
}

/// Level 1: no `tls` either.
fn without_tls(text: &str) -> String {
    let (before, rest) = text.split_once("# Level 1: leave this out.\n").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    format!("{before}{after}").replace("protocol: https", "protocol: http ")
}

const PUT: [&str; 4] = ["-X", "PUT", "-d", "firmware"];

#[test]
fn a_device_of_thin_edge_reaches_its_own_files_and_its_gateway_all() {
    let thin_edge = ThinEdge::new();
    let gate = thin_edge.start(3);
    let status =
        |device: &str, args: &[&str], path: &str| thin_edge.status(&gate, device, args, path);
    let own = |name: &str| format!("/te/v1/files/{name}/update/fw.bin");
    for device in ["child1", "child2"] {
        for other in ["child1", "child2", "gateway", "Child1"] {
            let expected = if device == other { 200 } else { 403 };
            assert_eq!(
                status(device, &PUT, &own(other)),
                expected,
                "{device} {other}"
            );
            assert_eq!(
                status(device, &[], &own(other)),
                expected,
                "{device} {other}"
            );
            assert_eq!(status("gateway", &["-X", "DELETE"], &own(other)), 200);
            let older = format!("/tedge/file-transfer/{other}/x");
            assert_eq!(status(device, &[], &older), expected, "{device} {older}");
        }
        assert_eq!(status(device, &["-X", "POST"], &own(device)), 405);
        assert_eq!(status(device, &[], "/te/v1/entities"), 403);
        assert_eq!(status(device, &[], "/c8y/inventory/managedObjects"), 200);
    }
    assert_eq!(status("gateway", &[], "/te/v1/entities"), 200);
    let seen = thin_edge.agent.seen();
    assert!(seen.iter().all(|it| it.field("x-forwarded-user").is_none()));
    assert!(
        thin_edge
            .mapper
            .seen()
            .iter()
            .all(|it| it.path().starts_with("/c8y/"))
    );
    // Without a certificate there is no connection, on either port.
    for address in gate.addresses() {
        assert_eq!(Curl::new(address.port()).get("/c8y/x").status, 0);
    }
}

#[test]
fn an_upload_to_http_on_a_port_of_thin_edge_arrives_over_https() {
    let thin_edge = ThinEdge::new();
    let gate = thin_edge.start(3);
    let [cert, key] =
        ["child1.crt", "child1.key"].map(|it| thin_edge.pki.path(it).display().to_string());
    let url = format!("http://{}/te/v1/files/child1/fw.bin", gate.address);
    let sent = gate
        .curl()
        .args(["--location", "--cert", &cert, "--key", &key])
        .args(PUT)
        .fetch(&url);
    assert_eq!(sent.status, 307, "{sent:?}");
    assert!(sent.body.starts_with("HTTP/2 200"), "{sent:?}");
    let arrived = thin_edge.agent.only();
    assert_eq!(arrived.line(), "PUT /te/v1/files/child1/fw.bin HTTP/1.1");
    assert_eq!(arrived.body, b"firmware");
    let head = gate.curl().args(["--head"]).fetch(&url);
    assert_eq!(head.status, 307, "{head:?}");
}

#[test]
fn the_two_lower_levels_of_thin_edge_are_there_as_the_example_says() {
    let thin_edge = ThinEdge::new();
    let gate = thin_edge.start(2);
    assert_eq!(
        thin_edge.status(&gate, "", &PUT, "/te/v1/files/child1/x"),
        200
    );
    assert_eq!(thin_edge.status(&gate, "", &[], "/c8y/x"), 200);
    let in_the_clear = gate
        .curl()
        .fetch(&format!("http://{}/te/v1/files/child1/x", gate.address));
    assert_eq!(in_the_clear.status, 307);
    let gate = thin_edge.start(1);
    for path in ["/te/v1/files/child1/x", "/c8y/x"] {
        let got = gate
            .curl()
            .args(PUT)
            .fetch(&format!("http://{}{path}", gate.address));
        assert_eq!(got.status, 200, "{got:?}");
    }
    assert_eq!(thin_edge.agent.seen().len(), 2);
    assert_eq!(thin_edge.mapper.seen().len(), 2);
}

// --- clients.yaml ---

#[test]
fn the_example_of_grpc_lets_each_call_what_it_says() {
    let (server, pki) = (Server::start(&[]), Pki::new());
    let sensor = Client {
        subject: "/CN=sensor-7",
        ..Client::default()
    };
    pki.client("sensor", &sensor);
    pki.join(&["int.crt", "root.crt"], "ca.crt");
    let (token, hash) = new_token();
    let variables = [
        ("PORTCULLIS_CA", pki.path("ca.crt").display().to_string()),
        ("PORTCULLIS_DASHBOARD_HASH", hash),
    ];
    let backend = SocketAddr::from(([127, 0, 0, 1], server.port.parse().unwrap()));
    let mut example = Example::unchecked("grpc.yaml", backend, variables);
    for (name, value) in &mut example.variables {
        if *name == "PORTCULLIS_UPSTREAM" {
            *value = format!("h2c://{backend}");
        }
    }
    let gate = example.checked().start();
    let sensor = pki.path("sensor.pem");
    let nobody = [];
    let by_token = [("TOKEN", token.as_str())];
    let by_certificate = [("CERTIFICATE", sensor.to_str().unwrap())];
    for (service, statuses) in [
        ("grpc.health.v1.Health", [0, 0, 0]),
        ("telemetry.v1.Ingest", [16, 16, 0]),
        ("telemetry.v1.Query", [16, 0, 16]),
        ("telemetry.v1.Other", [12, 12, 12]),
    ] {
        for (who, status) in [&nobody[..], &by_token, &by_certificate]
            .into_iter()
            .zip(statuses)
        {
            let mut call = grpc::client(gate.port(), "unary", &["x"], who);
            call.env("SERVICE", service);
            let done = finished(call, "");
            let expected = format!("status {status} ");
            assert!(done.out.contains(&expected), "{service} {who:?}: {done:?}");
        }
    }
}

#[test]
fn the_example_of_clients_lets_each_reach_what_it_says() {
    let (backend, pki) = (Backend::start(), Pki::new());
    pki.leaf("server", Key::Ecdsa, &["localhost", "open.example.com"]);
    let make = |file: &str, subject: &str, names: &str, issuer: &str| {
        let client = Client {
            subject,
            names,
            issuer,
            ..Client::default()
        };
        pki.client(file, &client);
    };
    make(
        "camera",
        "/CN=x",
        "URI:spiffe://plant/hall/camera/7",
        "root",
    );
    make("gateway", "/O=Plant/CN=gw-1", "", "root");
    make("spare", "/CN=spare", "", "root");
    make("stranger", "/CN=stranger", "", "root");
    make("gone", "/O=Plant/CN=gw-2", "", "root");
    pki.revoke("root", "gone");
    pki.crl("root", FUTURE, "root.crl");
    let pin = pki
        .openssl("x509 -in spare.crt -noout -fingerprint -sha256")
        .stdout;
    let pin = String::from_utf8(pin).unwrap();
    let pin = pin.trim().rsplit('=').next().unwrap().to_owned();
    let path = |name| pki.path(name).display().to_string();
    // Rules name the CA as the example has it.
    let text = std::fs::read_to_string(conf().join("clients.yaml")).unwrap();
    pki.write("clients.yaml", &text.replace("CN=Plant CA", "CN=Test Root"));
    let example = Example::only_with(
        pki.path("clients.yaml"),
        [
            ("PORTCULLIS_LISTEN", "127.0.0.1:0".to_owned()),
            ("PORTCULLIS_LISTEN_FLEET", "127.0.0.1:0".to_owned()),
            ("PORTCULLIS_CERT", path("server.crt")),
            ("PORTCULLIS_KEY", path("server.key")),
            ("PORTCULLIS_CA", path("root.crt")),
            ("PORTCULLIS_CRL", path("root.crl")),
            ("PORTCULLIS_UPSTREAM", format!("http://{}", backend.address)),
            ("PORTCULLIS_PIN", pin),
        ],
    );
    let gate = example.start();
    let status = |file: &str, path: &str| {
        let curl = match file {
            "" => gate.curl(),
            file => gate.curl().args([
                "--cert",
                &pki.path(&format!("{file}.pem")).display().to_string(),
            ]),
        };
        curl.get(path).status
    };
    for (file, path, expected) in [
        ("camera", "/files/hall-7/x", 200),
        ("camera", "/files/hall-8/x", 403),
        ("gateway", "/files/hall-8/x", 200),
        ("gone", "/files/hall-8/x", 403),
        ("stranger", "/files/stranger/x", 403),
        ("stranger", "/firmware/x", 200),
        ("", "/firmware/x", 403),
        ("spare", "/page", 200),
        ("camera", "/page", 403),
    ] {
        assert_eq!(status(file, path), expected, "{file} {path}");
    }
    let fleet = gate.addresses()[1];
    assert_eq!(Curl::new(fleet.port()).get("/page").status, 0);
}

// --- legacy.yaml ---

#[test]
fn people_log_in_as_themselves_and_the_old_device_knows_only_the_gate() {
    let apache = Apache::start("service", "shared by all", 300);
    std::fs::write(apache.files().join("report"), "all is well\n").unwrap();
    std::fs::create_dir(apache.files().join("firmware")).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(apache.files().join("firmware"), open).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "shared by all\n").unwrap();
    let example = Example::with(
        "legacy.yaml",
        apache.address,
        [
            ("PORTCULLIS_PLC_USER", "service".to_owned()),
            ("PORTCULLIS_PLC_PASSWORD", password.display().to_string()),
            ("PORTCULLIS_BUFFERS", folder.path().display().to_string()),
        ],
    );
    let gate = example.start();
    check_login_needed(&gate, "/report");
    let session = session_of(&gate, "ralph", PASSWORD);
    let curl = || gate.curl().session(&session);
    assert_eq!(answer(&curl().get("/report")), (200, "all is well"));
    let firmware = folder.path().join("firmware.bin");
    std::fs::write(&firmware, vec![7; 1 << 20]).unwrap();
    let upload = ["-T", firmware.to_str().unwrap()];
    let chunked = ["-H", "Transfer-Encoding: chunked"];
    let put = curl().args(upload).args(chunked).get("/firmware/new.bin");
    assert_eq!(put.status, 201, "{put:?}");
    let arrived = std::fs::read(apache.files().join("firmware/new.bin")).unwrap();
    assert!(arrived == vec![7; 1 << 20]);
    // The device has asked the gate who it is once, and nobody else.
    assert_eq!(apache.answered("401"), 1);
}

// --- prefix.yaml ---

#[test]
fn two_interfaces_stand_below_one_name_and_know_nothing_of_it() {
    let says = "HTTP/1.1 302 Found\r\nLocation: http://boiler.local/next\r\nServer: Old/0.9\r\n\
                Set-Cookie: id=1; Path=/; Domain=boiler.local\r\nContent-Length: 0\r\n\r\n";
    let (boiler, pump) = (Backend::saying(says), Backend::start());
    let address = format!("http://{}", pump.address);
    let more = [("PORTCULLIS_PUMP", address)];
    let gate = Example::with("prefix.yaml", boiler.address, more).start();
    let session = gate.log_in("ralph");
    let get = |path: &str| gate.curl().session(&session).get(path);
    let got = get("/boiler/start?x");
    let next = format!("https://localhost:{}/boiler/next", gate.port());
    assert_eq!(got.field("location"), Some(&*next), "{got:?}");
    let cookie = "id=1; Path=/boiler/; Secure; HttpOnly; SameSite=Lax";
    assert_eq!(got.all("set-cookie"), [cookie]);
    assert_eq!(got.field("server"), None);
    assert_eq!(got.field("x-frame-options"), Some("SAMEORIGIN"));
    let arrived = boiler.only();
    assert_eq!(arrived.path(), "/start?x");
    for (name, expected) in [
        ("host", Some("boiler.local")),
        ("x-forwarded-prefix", Some("/boiler")),
        ("x-via", Some("portcullis")),
        ("accept-encoding", None),
        ("x-forwarded-user", Some("ralph")),
    ] {
        assert_eq!(arrived.field(name), expected, "{name}");
    }
    assert_eq!(get("/pump/x").status, 200);
    assert_eq!(pump.only().path(), "/cgi-bin/x");
    assert_eq!(gate.curl().get("/pump/x").status, 401);
    assert_eq!(get("/elsewhere").status, 404);
}

// --- wso2.yaml ---

#[test]
fn wso2_learns_the_name_of_a_device_from_its_own_stores_and_from_nobody_else() {
    let (backend, pki) = (Backend::start(), Pki::new());
    pki.keytool(
        "-genkeypair -alias wso2carbon -keyalg RSA -keysize 2048 -dname CN=localhost -validity 30 \
         -ext SAN=dns:localhost -keystore wso2carbon.jks -storetype JKS -storepass wso2carbon \
         -keypass wso2carbon",
    );
    pki.keytool(
        "-importcert -noprompt -alias devices -file root.crt -keystore client-truststore.jks \
         -storetype JKS -storepass wso2carbon",
    );
    pki.write("store-pass", "wso2carbon\n");
    let device = |file: &str, subject: &str| {
        let client = Client {
            subject,
            ..Client::default()
        };
        pki.client(file, &client);
        pki.path(&format!("{file}.pem")).display().to_string()
    };
    let plain = device("plain", "/C=DE/O=x/CN=dev1");
    let sly = device("sly", "/C=DE/O=x/CN=dev2\\/CN=dev1");
    let example = Example::only_with(
        conf().join("wso2.yaml"),
        [
            ("PORTCULLIS_LISTEN", "127.0.0.1:0".to_owned()),
            ("PORTCULLIS_UPSTREAM", format!("http://{}", backend.address)),
            ("WSO2_SECURITY", pki.folder().display().to_string()),
            (
                "WSO2_STORE_PASS",
                pki.path("store-pass").display().to_string(),
            ),
        ],
    );
    let gate = example.start();
    let path = "/api/device-mgt/v1.0/devices";
    for (certificate, expected) in [
        (&plain, "CN=dev1,O=x,C=DE"),
        (&sly, "CN=dev2\\2FCN=dev1,O=x,C=DE"),
    ] {
        backend.forget();
        let curl = gate.curl().args(["--cert", certificate]);
        let got = curl.header("Proxy_Mutual-Auth-Header: CN=dev9").get(path);
        assert_eq!(got.status, 200, "{got:?}");
        let seen = backend.only();
        assert_eq!(seen.all("proxy-mutual-auth-header"), [expected]);
        assert!(!seen.head.contains("dev9"), "{}", seen.head);
    }
    backend.forget();
    for name in [
        "proxy-mutual-auth-header",
        "mutual-auth-header",
        "encoded-pem",
    ] {
        let forged = format!("{name}: CN=dev1");
        assert_eq!(gate.curl().header(&forged).get(path).status, 403);
        assert_eq!(gate.curl().header(&forged).get("/login").status, 200);
        assert_eq!(
            gate.curl().header("mdm-signature: x").get("/login").status,
            200
        );
    }
    let seen = backend.seen();
    assert_eq!(seen.len(), 6);
    assert!(seen.iter().all(|it| !it.head.contains("dev1")));
    assert!(seen.iter().any(|it| it.field("mdm-signature") == Some("x")));
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

// --- live.yaml ---

#[test]
fn what_lasts_is_let_through_as_the_example_says() {
    let echo = Echo::start();
    let gate = Example::of("live.yaml", echo.address).start();
    let session = session_of(&gate, "admin", PASSWORD);
    let cookie = format!("Cookie: __Host-portcullis={session}\r\n");
    let open = |path: &str, more: &str| {
        let mut connection = gate.connect();
        connection.send(handshake(path, more).as_bytes());
        status_of(&connection.read_until("\r\n\r\n"))
    };
    let from = |origin: &str| format!("{cookie}Origin: {origin}\r\n");
    assert_eq!(open("/live/boiler", ""), 401);
    assert_eq!(open("/live/boiler", &cookie), 101);
    assert_eq!(open("/live/boiler", &from("https://localhost")), 101);
    assert_eq!(open("/live/boiler", &from("https://wall.example.com")), 101);
    assert_eq!(open("/other", &from("https://wall.example.com")), 403);
    echo.await_words("open /live/boiler admin");
    // More than the 100 MiB that are the limit elsewhere.
    let upload = |path: &str| {
        let mut connection = gate.connect();
        let length = "Content-Length: 1000000000000";
        let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n{cookie}\r\n");
        connection.send(head.as_bytes());
        connection
    };
    assert_eq!(status_of(&upload("/other").read_answer()), 413);
    let _under_way = upload("/uploads/recording");
    gate.await_metric("portcullis_http_requests_in_flight", &[], 1.0);
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

// --- balance.yaml ---

#[test]
fn instances_of_an_application_share_its_requests_as_the_example_says() {
    let [app, spare, large, small] = [(); 4].map(|()| Backend::start());
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let with = |first: SocketAddr| {
        let url = |backend: &Backend| format!("http://{}", backend.address);
        let more = [
            ("PORTCULLIS_SPARE", url(&spare)),
            ("PORTCULLIS_LARGE", url(&large)),
            ("PORTCULLIS_SMALL", url(&small)),
            ("PORTCULLIS_ADMIN", "127.0.0.1:0".to_owned()),
        ];
        Example::with("balance.yaml", first, more).start()
    };
    let requests = |backend: &Backend| {
        let seen = backend.seen();
        seen.iter().filter(|it| it.path() != "/healthz").count()
    };
    let here = with(app.address);
    let in_use = |upstream, count| {
        here.await_metric(
            "portcullis_upstream_healthy",
            &[("upstream", upstream)],
            count,
        );
    };
    eventually("it is looked after", || {
        let asked = |backend: &Backend| backend.seen().iter().any(|it| it.path() == "/healthz");
        (asked(&app) && asked(&spare)).then_some(())
    });
    in_use("app", 2.0);
    in_use("reports", 2.0);
    // On one connection, and so on one thread, whose turns can be counted.
    let mut connection = here.connect();
    let mut get = |path: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: JSESSIONID=a\r\n\r\n");
        connection.send(request.as_bytes());
        let answer = connection.read_answer();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    (0..6).for_each(|_| get("/reports/1"));
    (0..4).for_each(|_| get("/"));
    assert_eq!((requests(&large), requests(&small)), (4, 2));
    assert_eq!((requests(&app), requests(&spare)), (4, 0));

    let gone = with(nobody);
    assert_eq!(gone.curl().get("/").status, 200);
    assert_eq!(requests(&spare), 1);
    gone.await_metric("portcullis_upstream_healthy", &[("upstream", "app")], 1.0);
}

// --- pages.yaml ---

#[test]
fn the_pages_have_a_title_a_logo_a_colour_and_languages_and_offer_to_stay() {
    let nginx = Nginx::start();
    let gate = Example::of("pages.yaml", nginx.address).start();
    let form = gate.curl().browser().get("/auth/login");
    let logo = std::fs::read(conf().join("logo.svg")).unwrap();
    for shown in [
        "Boiler 3".to_owned(),
        format!("data:image/svg+xml;base64,{}", STANDARD.encode(logo)),
        "--button:#1f8f5f".to_owned(),
        "name=\"remember\"".to_owned(),
    ] {
        assert!(form.body.contains(&shown), "{shown}: {form:?}");
    }
    let session = session_of(&gate, "ralph", PASSWORD);
    for (reads, language, heading) in [
        ("en-GB,en;q=0.5,de;q=0.4", "en", "<h1>Forbidden</h1>"),
        ("en;q=0.4,de-CH", "de", "<h1>Kein Zugriff</h1>"),
        ("ar", "ar", "<h1>الوصول ممنوع</h1>"),
        ("fr;q=1.0, it;q=0.5", "en", "<h1>Forbidden</h1>"),
    ] {
        let ask = || {
            gate.curl()
                .session(&session)
                .header(&format!("Accept-Language: {reads}"))
        };
        let page = ask().browser().get("/admin/");
        assert_eq!(page.status, 403, "{page:?}");
        assert!(page.body.contains(heading), "{page:?}");
        assert!(
            page.body.contains(&format!("<html lang=\"{language}\"")),
            "{page:?}"
        );
        assert_eq!(page.field("content-language"), Some(language));
        assert_eq!(page.field("vary"), Some("Accept-Language"));
        // Programs look for what they know.
        let problem = ask().get("/admin/");
        assert!(
            problem.body.contains("\"title\":\"Forbidden\""),
            "{problem:?}"
        );
        assert_eq!(problem.field("content-language"), None);
    }
}
