//! The command line: what a newcomer meets first, and what scripts rely on.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use boring::asn1::Asn1Time;
use boring::hash::MessageDigest;
use boring::pkey::PKey;
use boring::x509::X509;
use tempfile::TempDir;

use crate::harness::backend::Backend;
use crate::harness::client::{Curl, log_in_by_form};
use crate::harness::eventually;
use crate::harness::gate::{self, Gate};
use crate::harness::process::{Finished, Process, finished, portcullis};

/// Files of a test; gone with it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

/// Runs the binary to its end.
#[track_caller]
fn run(args: &[&str]) -> Finished {
    finished(portcullis(args.iter().copied()), "")
}

/// The same with a file as its configuration.
#[track_caller]
fn on(command: &str, file: &Path) -> Finished {
    run(&[command, "-c", file.to_str().unwrap()])
}

/// A configuration without problems, on this address.
fn good(address: &str) -> String {
    let (cert, key) = gate::certificate();
    format!(
        "listeners: [{{address: '{address}'}}]\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
         upstreams: {{app: {{url: 'http://127.0.0.1:9'}}}}\n\
         routes: [{{match: /public/, public: true}}, {{match: /files/, public: true}}]\n",
        cert.display(),
        key.display(),
    )
}

/// A port that somebody uses: whoever binds it fails.
fn taken_port() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

// --- check, and run with a bad file ---

#[test]
fn a_good_file_is_summed_up_and_nothing_is_bound() {
    let folder = Folder::new();
    let taken = taken_port();
    let address = taken.local_addr().unwrap().to_string();
    let file = folder.write("good.yaml", good(&address));
    let checked = on("check", &file);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert_eq!(checked.errors, "");
    let expected = format!(
        "{}: ok (1 listener, 1 upstream, 2 routes, 0 users)\n",
        file.display()
    );
    assert_eq!(checked.out, expected);
    // What binds is told that it cannot.
    let served = on("run", &file);
    assert_eq!(served.code, Some(1), "{served:?}");
    let reason = format!("portcullis: cannot listen on {address}: Address already in use");
    assert!(served.errors.starts_with(&reason), "{served:?}");
    // Once, and not again as the cause of itself.
    assert_eq!(
        served.errors.matches("already in use").count(),
        1,
        "{served:?}"
    );
    let place = format!("\n{}: listeners[0].address: ", file.display());
    assert!(served.errors.contains(&place), "{served:?}");
}

#[test]
fn what_is_only_doubtful_is_a_warning_and_no_problem() {
    let folder = Folder::new();
    let more = "admin: {address: '0.0.0.0:0'}\n";
    let file = folder.write("doubtful.yaml", good("127.0.0.1:0") + more);
    let checked = on("check", &file);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let mut lines = checked.out.lines();
    let warning = lines.next().unwrap();
    assert!(warning.starts_with("warning: "), "{checked:?}");
    assert!(
        warning.contains("the admin listener has no login"),
        "{checked:?}"
    );
    assert!(lines.next().unwrap().contains(": ok ("), "{checked:?}");
}

#[test]
fn a_bad_file_has_every_problem_listed_by_line_and_column_and_binds_nothing() {
    let folder = Folder::new();
    let taken = taken_port();
    let address = taken.local_addr().unwrap();
    let file = folder.write(
        "bad.yaml",
        format!(
            "listeners:\n  - address: {address}\n    protocol: htps\n\
             tls: {{certificates: [{{cert: tls.crt, key: tls.key}}]}}\n\
             upstreams: {{device: {{url: 'http://127.0.0.1:9'}}}}\n\
             roles: {{user: [view]}}\n\
             routes:\n  - {{match: /a, can: veiw}}\n  - {{match: /b, public: true, upstream: devcie}}\n\
             sessions: {{idle: 30}}\nthread: 2\n"
        ),
    );
    let expected = [
        (3, 15, "listeners[0].protocol: ", "did you mean \"https\"?"),
        (4, 29, "tls.certificates[0].cert: ", "or put it there"),
        (4, 43, "tls.certificates[0].key: ", "or put it there"),
        (8, 22, "routes[0].can: ", "did you mean \"view\"?"),
        (9, 41, "routes[1].upstream: ", "did you mean \"device\"?"),
        (10, 18, "sessions.idle: ", "got 30"),
        (11, 1, "thread: unknown key", "did you mean \"threads\"?"),
    ];
    for (command, code) in [("check", 1), ("run", 78)] {
        let done = on(command, &file);
        assert_eq!(done.code, Some(code), "{done:?}");
        assert_eq!(done.out, "");
        let lines: Vec<_> = done.errors.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{done:?}");
        for (line, (row, column, begins, ends)) in lines.iter().zip(expected) {
            let place = format!("{}:{row}:{column}: {begins}", file.display());
            assert!(line.starts_with(&place), "{line}");
            assert!(line.ends_with(ends), "{line}");
        }
        // Had it tried to listen, it would have complained of this.
        assert!(!done.errors.contains("in use"), "{done:?}");
    }
}

#[test]
fn a_file_that_is_not_there_or_says_nothing_is_named_with_what_to_do() {
    let folder = Folder::new();
    let empty = folder.write("empty.yaml", "");
    let missing = folder.path("nowhere.yaml");
    for (command, code) in [("check", 1), ("run", 78)] {
        let done = on(command, &missing);
        assert_eq!(done.code, Some(code), "{done:?}");
        let expected = format!("{}: cannot be read: No such file", missing.display());
        assert!(done.errors.starts_with(&expected), "{done:?}");
        assert!(done.errors.contains("name the file with -c"), "{done:?}");

        let done = on(command, &empty);
        assert_eq!(done.code, Some(code), "{done:?}");
        for missing in ["listeners", "upstreams", "routes"] {
            let expected = format!("{}:1:1: {missing}: missing; ", empty.display());
            assert!(done.errors.contains(&expected), "{done:?}");
        }
        assert!(!done.errors.contains("name the file"), "{done:?}");
    }
    // The variable says where it is as well as the option does.
    let good = folder.write("good.yaml", good("127.0.0.1:0"));
    let mut command = portcullis(["check"]);
    command.env("PORTCULLIS_CONFIG", &good);
    assert_eq!(finished(command, "").code, Some(0));
    let mut command = portcullis(["check"]);
    command.current_dir(folder.0.path());
    let done = finished(command, "");
    assert!(done.errors.starts_with("portcullis.yaml: "), "{done:?}");
}

#[test]
fn files_that_are_missing_are_said_at_once_with_all_else_and_each_with_its_place() {
    let folder = Folder::new();
    let file = folder.write(
        "p.yaml",
        "listeners: [{address: '127.0.0.1:0', adress: x}]\n\
         tls:\n  \
           certificates: [{cert: no.crt, key: no.key, passphrase: {file: no.pass}}]\n  \
           tickets: {keys: [no.tickets]}\n  \
           client_auth: {mode: optional, ca: [no.ca], crl: [no.crl]}\n\
         upstreams: {app: {url: 'https://127.0.0.1:9', tls: {ca: no-backend.ca}}}\n\
         users: no-users.yaml\n\
         routes: [{public: true}]\n",
    );
    for (command, code) in [("check", 1), ("run", 78)] {
        let done = on(command, &file);
        assert_eq!(done.code, Some(code), "{done:?}");
        let said: Vec<_> = done.errors.lines().collect();
        let expected = [
            ("1:38: listeners[0].adress", "did you mean"),
            (
                "3:25: tls.certificates[0].cert",
                "no.crt: cannot read the certificate",
            ),
            (
                "3:38: tls.certificates[0].key",
                "no.key: cannot read the private key",
            ),
            (
                "3:65: tls.certificates[0].passphrase.file",
                "no.pass: cannot read the password",
            ),
            (
                "4:20: tls.tickets.keys[0]",
                "no.tickets: cannot read the ticket keys",
            ),
            (
                "5:38: tls.client_auth.ca[0]",
                "no.ca: cannot read the CA certificates",
            ),
            (
                "5:52: tls.client_auth.crl[0]",
                "no.crl: cannot read the revocation lists",
            ),
            (
                "6:57: upstreams.app.tls.ca",
                "no-backend.ca: cannot read the CA certificates",
            ),
            ("7:8: users", "cannot be read"),
        ];
        assert_eq!(said.len(), expected.len(), "{done:?}");
        for (line, (place, what)) in said.iter().zip(expected) {
            let begins = format!("{}:{place}: ", file.display());
            assert!(
                line.starts_with(&begins) && line.contains(what),
                "{line}: {place}"
            );
            let missing = what.contains("cannot read");
            assert_eq!(
                missing,
                line.contains("correct the path, or put it there"),
                "{line}"
            );
        }
    }
}

#[test]
fn what_is_wrong_with_ticket_keys_has_a_place_and_hides_nothing_else() {
    let folder = Folder::new();
    for name in ["tickets", "some.crt", "some.key"] {
        folder.write(name, "hello\n");
    }
    let file = folder.write(
        "p.yaml",
        "listeners: [{address: '127.0.0.1:0'}]\n\
         tls:\n  \
           certificates: [{cert: some.crt, key: some.key}]\n  \
           tickets: {keys: [tickets]}\n\
         upstreams: {app: {url: 'http://127.0.0.1:9'}}\n\
         routes: [{public: true}]\n",
    );
    let done = on("check", &file);
    let said: Vec<_> = done.errors.lines().collect();
    let [certificate, tickets] = said[..] else {
        panic!("{done:?}");
    };
    let place = |it: &str| format!("{}:{it}: ", file.display());
    assert!(
        certificate.starts_with(&place("3:18: tls.certificates[0]")),
        "{certificate}"
    );
    assert!(
        tickets.starts_with(&place("4:19: tls.tickets.keys")),
        "{tickets}"
    );
}

#[test]
fn a_certificate_or_key_that_cannot_be_used_is_named_with_what_would_be_right() {
    let folder = Folder::new();
    let (cert, key) = gate::certificate();
    let cert = folder.write("tls.crt", std::fs::read(cert).unwrap());
    let key = folder.write("tls.key", std::fs::read(key).unwrap());
    folder.write("empty.pem", "");
    folder.write("text.pem", "hello\n");
    folder.write(
        "damaged.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    openssl(
        &folder,
        &["genpkey", "-algorithm", "ED25519", "-out", "other.key"],
    );
    let encrypt = ["pkcs8", "-topk8", "-in", "tls.key", "-out", "encrypted.key"];
    openssl(
        &folder,
        &[&encrypt[..], &["-passout", "pass:secret"]].concat(),
    );
    folder.write("expired.crt", expired(&std::fs::read(&cert).unwrap(), &key));
    for (cert, key, named, what) in [
        (
            "nowhere.crt",
            "tls.key",
            "nowhere.crt",
            "cannot read the certificate: No such file",
        ),
        ("nowhere.crt", "tls.key", "nowhere.crt", "tls.certificates"),
        (
            "tls.crt",
            "nowhere.key",
            "nowhere.key",
            "cannot read the private key: No such file",
        ),
        (
            "empty.pem",
            "tls.key",
            "empty.pem",
            "an empty file; expected a certificate",
        ),
        (
            "text.pem",
            "tls.key",
            "text.pem",
            "neither PEM nor DER; expected a certificate",
        ),
        (
            "tls.key",
            "tls.crt",
            "tls.key",
            "a private key; expected a certificate",
        ),
        (
            "damaged.pem",
            "tls.key",
            "damaged.pem",
            "the certificate is damaged",
        ),
        (
            "tls.crt",
            "tls.crt",
            "tls.crt",
            "a certificate; expected a private key",
        ),
        (
            "tls.crt",
            "empty.pem",
            "empty.pem",
            "an empty file; expected a private key",
        ),
        (
            "tls.crt",
            "encrypted.key",
            "encrypted.key",
            "the private key is encrypted; write its passphrase",
        ),
        (
            "tls.crt",
            "other.key",
            "other.key",
            "does not belong to the certificate in",
        ),
        (
            "tls.crt",
            "other.key",
            "tls.crt",
            "give the key that the certificate was made for",
        ),
        (
            "expired.crt",
            "tls.key",
            "expired.crt",
            "the certificate expired on ",
        ),
        ("expired.crt", "tls.key", "expired.crt", "; renew it"),
    ] {
        let file = folder.write("portcullis.yaml", with_pair(cert, key));
        for (command, code) in [("check", 1), ("run", 78)] {
            let done = on(command, &file);
            assert_eq!(done.code, Some(code), "{cert} {key}: {done:?}");
            let named = folder.path(named).display().to_string();
            assert!(done.errors.contains(&named), "{cert} {key}: {done:?}");
            assert!(done.errors.contains(what), "{cert} {key}: {done:?}");
            assert_eq!(done.errors.lines().count(), 1, "{done:?}");
            assert!(!done.errors.contains("PRIVATE KEY-----\n"), "{done:?}");
        }
    }
    let file = folder.write("portcullis.yaml", with_pair("tls.crt", "tls.key"));
    assert_eq!(on("check", &file).code, Some(0));
}

/// A configuration with this pair of files beside it.
fn with_pair(cert: &str, key: &str) -> String {
    format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         tls: {{certificates: [{{cert: {cert}, key: {key}}}]}}\n\
         upstreams: {{app: {{url: 'http://127.0.0.1:9'}}}}\n\
         routes: [{{public: true}}]\n"
    )
}

#[track_caller]
fn openssl(folder: &Folder, args: &[&str]) {
    let mut command = Command::new("openssl");
    command.args(args).current_dir(folder.0.path());
    let done = finished(command, "");
    assert_eq!(done.code, Some(0), "{done:?}");
}

/// This certificate, but that it was good in 1970.
fn expired(pem: &[u8], key: &Path) -> Vec<u8> {
    let model = X509::from_pem(pem).unwrap();
    let key = PKey::private_key_from_pem(&std::fs::read(key).unwrap()).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(model.subject_name()).unwrap();
    builder.set_issuer_name(model.issuer_name()).unwrap();
    builder.set_serial_number(model.serial_number()).unwrap();
    builder.set_pubkey(&key).unwrap();
    let [from, to] = [0, 86_400].map(|time| Asn1Time::from_unix(time).unwrap());
    builder.set_not_before(&from).unwrap();
    builder.set_not_after(&to).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    builder.build().to_pem().unwrap()
}

// --- Usage ---

#[test]
fn what_is_no_command_is_a_usage_error_that_says_where_to_look() {
    for args in [
        &[][..],
        &["frob"],
        &["--frob"],
        &["run", "--frob"],
        &["run", "portcullis.yaml"],
        &["run", "-c"],
        &["check", "-c", "a", "-c", "b"],
        &["demo", "--port", "x"],
        &["demo", "--port", "65536"],
        &["passwd"],
        &["passwd", "two words"],
        &["passwd", "ralph", "no/role"],
        &["passwd", "ralph", "--cipher", "md5"],
        &["passwd", "ralph", "--verify"],
        &["token"],
        &["token", "create"],
        &["token", "create", "ralph"],
        &["token", "create", "ralph", "ci", "--expires", "soon"],
        &["token", "list"],
        &["token", "revoke", "ralph", "ci"],
        &["certs"],
        &["certs", "server"],
        &["certs", "inspect"],
        &["certs", "client", "camera-7", "--ca-key", "ca.key"],
    ] {
        let done = run(args);
        assert_eq!(done.code, Some(2), "{args:?}: {done:?}");
        assert_eq!(done.out, "", "{args:?}");
        assert!(done.errors.contains("--help"), "{args:?}: {done:?}");
    }
    let typo = run(&["chek"]);
    assert!(typo.errors.contains("'check'"), "{typo:?}");
    for (args, tip) in [
        (&["check", "my.yaml"][..], "write '-c my.yaml'"),
        (&["run", "my.yaml"], "write '-c my.yaml'"),
        (&["sessions", "end", "alice"], "--user NAME"),
    ] {
        let done = run(args);
        assert!(done.errors.contains(tip), "{args:?}: {done:?}");
    }
    assert!(!run(&["check", "--frob"]).errors.contains("-c --frob"));
}

#[test]
fn the_help_of_every_command_says_what_a_newcomer_needs() {
    for (args, phrases) in [
        (
            &["--help"][..],
            &[
                "ends TLS, logs people in",
                "Try it:   portcullis demo",
                "portcullis passwd --file users.yaml alice user",
                "portcullis check -c portcullis.yaml",
                "portcullis run -c portcullis.yaml",
                "0 ok, 1 failed, 2 wrong usage, 78 `run` with a bad configuration",
            ][..],
        ),
        (
            &["run", "--help"],
            &[
                "-c, --config <FILE>",
                "PORTCULLIS_CONFIG",
                "portcullis.yaml",
            ],
        ),
        (
            &["check", "--help"],
            &["every problem", "binds nothing", "-c, --config <FILE>"],
        ),
        (
            &["demo", "--help"],
            &[
                "made up on the spot",
                "--port <PORT>",
                "8443",
                "0 lets the system choose",
            ],
        ),
        (
            &["passwd", "--help"],
            &[
                "--file <FILE>",
                "--cipher <CIPHER>",
                "argon2id",
                "at least 8 characters",
                "one line from standard input",
                "--verify",
                "--disable",
                "--enable",
                "--remove",
            ],
        ),
        (
            &["token", "create", "--help"],
            &[
                "--file <FILE>",
                "--can <ABILITY>",
                "`never`",
                "[default: 365d]",
                "--role <ROLE>",
            ],
        ),
        (
            &["token", "--help"],
            &["Authorization: Bearer ptc_…", "create", "list", "revoke"],
        ),
        (
            &["certs", "--help"],
            &[
                "portcullis certs ca --name 'Plant CA'",
                "portcullis certs server --ca ca.crt gate.example.com 10.0.0.5",
                "portcullis certs client --ca ca.crt camera-7",
                "portcullis certs inspect gate.example.com:8443",
            ],
        ),
        (
            &["certs", "ca", "--help"],
            &[
                "[default: 3650]",
                "intermediate CA",
                "--encrypt",
                "--as <STEM>",
            ],
        ),
        (
            &["certs", "server", "--help"],
            &[
                "DNS names",
                "(without --ca) by itself",
                "--pkcs12",
                "--force",
            ],
        ),
        (
            &["certs", "client", "--help"],
            &["--san-uri <URI>", "spiffe://", "PORTCULLIS_CA_PASSPHRASE"],
        ),
        (
            &["certs", "inspect", "--help"],
            &["<FILE|HOST:PORT>", "--server-name <NAME>", "[default: 5s]"],
        ),
    ] {
        let done = run(args);
        assert_eq!((done.code, done.errors.as_str()), (Some(0), ""), "{args:?}");
        // Where a line is broken is for the terminal to say.
        let text: Vec<_> = done.out.split_whitespace().collect();
        let text = text.join(" ");
        for phrase in phrases {
            let words: Vec<_> = phrase.split_whitespace().collect();
            assert!(
                text.contains(&words.join(" ")),
                "{phrase:?} in {}",
                done.out
            );
        }
    }
    let all = run(&["--help"]).out;
    for command in ["run", "check", "demo", "passwd", "token", "certs"] {
        assert!(all.contains(&format!("\n  {command} ")), "{all}");
    }
}

#[test]
fn the_version_is_printed() {
    for option in ["--version", "-V"] {
        let done = run(&[option]);
        assert_eq!(done.code, Some(0));
        assert_eq!(
            done.out,
            concat!("portcullis ", env!("CARGO_PKG_VERSION"), "\n")
        );
    }
}

// --- passwd ---

const WORD: &str = "correct horse battery";

/// `passwd` with a word on its standard input.
#[track_caller]
fn passwd(args: &[&str], word: &str) -> Finished {
    let command = portcullis(["passwd"].into_iter().chain(args.iter().copied()));
    finished(command, &format!("{word}\n"))
}

/// A running gate with this file of users.
fn with_users(folder: &Folder, backend: &Backend, users: &str) -> Gate {
    let config = good("127.0.0.1:0")
        .replace("127.0.0.1:9", &backend.address.to_string())
        .replace("{match: /files/, public: true}", "{can: view}");
    let more = format!("roles: {{user: [view], administrator: [edit]}}\nusers: {users}\n");
    let file = folder.write("portcullis.yaml", config + &more);
    Gate::start_file(&file, &[])
}

#[test]
fn a_hash_from_standard_input_lets_its_user_log_in() {
    let folder = Folder::new();
    let backend = Backend::start();
    let printed = passwd(&["ralph", "user"], WORD);
    assert_eq!(
        (printed.code, printed.errors.as_str()),
        (Some(0), ""),
        "{printed:?}"
    );
    assert!(
        printed.out.starts_with("ralph:\n  password: \"$argon2id$"),
        "{printed:?}"
    );
    assert!(!printed.out.contains(WORD));
    folder.write("users.yaml", &printed.out);
    let gate = with_users(&folder, &backend, "users.yaml");

    let wrong = log_in_by_form(gate.port(), &[], "ralph", "correct horse");
    assert_eq!(wrong.status, 401);
    let done = log_in_by_form(gate.port(), &[], "ralph", WORD);
    assert_eq!(done.status, 303);
    let session = done.session_cookie().unwrap();
    assert_eq!(gate.curl().session(&session).get("/").status, 200);
    assert_eq!(backend.only().field("x-forwarded-user"), Some("ralph"));
}

#[test]
fn every_documented_hash_of_ioto_lets_its_user_in() {
    let folder = Folder::new();
    let backend = Backend::start();
    let hashes = [
        (
            "a",
            "pass5",
            "BF1:00128:7B1MFk55Gswv648L:+zReK36LKHWNfbYKKNTsXhiqLMDxTsyK",
        ),
        (
            "ralph",
            "pass5",
            "BF1:00128:0123456789abcdef:H+MpzKEvVbiASMw2UfH3ly4eT+ZY6juR",
        ),
        (
            "alice",
            "Secret-123!",
            "BF1:01024:RFlQ805LsN3fidZa:6XsyQkBW9LWVzGOGj9t/XmkwUtk2DCv8",
        ),
    ];
    let entries: String = hashes
        .iter()
        .map(|(user, _, hash)| format!("{user}: {{password: '{hash}', roles: [user]}}\n"))
        .collect();
    folder.write("users.yaml", &entries);
    let gate = with_users(&folder, &backend, "users.yaml");
    for (user, password, _) in hashes {
        for (password, status) in [(password, 200), ("wrong one", 401)] {
            let answer = gate.log_in_with(user, password);
            assert_eq!(answer.status, status, "{user}");
        }
    }
}

#[test]
fn users_are_added_to_a_file_and_changed_in_it_and_all_else_stays() {
    let folder = Folder::new();
    let backend = Backend::start();
    let users = folder.write("users.yaml", "# Ours.\n\n");
    let users = users.to_str().unwrap();
    for (name, cipher) in [("ann", "argon2id"), ("bob", "bcrypt"), ("cem", "sha256")] {
        let args = ["--file", users, "--cipher", cipher, name, "user"];
        let done = passwd(&args, &format!("{WORD} {name}"));
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(done.out, "");
        let said = format!("password of `{name}` set");
        assert!(done.errors.contains(&said), "{done:?}");
    }
    let before = folder.read("users.yaml");
    assert!(before.starts_with("# Ours.\n"), "{before}");
    assert!(
        before.contains("$argon2id$") && before.contains("$2b$12$"),
        "{before}"
    );
    // A new word for one of them, whose roles stay.
    let done = passwd(&["--file", users, "bob"], "another word for it");
    assert_eq!(done.code, Some(0), "{done:?}");
    let after = folder.read("users.yaml");
    let differing = before
        .lines()
        .zip(after.lines())
        .filter(|(old, new)| old != new);
    assert_eq!(differing.count(), 1, "{before}{after}");

    let gate = with_users(&folder, &backend, "users.yaml");
    for (name, word, status) in [
        ("ann", "correct horse battery ann", 303),
        ("ann", "correct horse battery bob", 401),
        ("bob", "correct horse battery bob", 401),
        ("bob", "another word for it", 303),
        ("cem", "correct horse battery cem", 303),
    ] {
        let done = log_in_by_form(gate.port(), &[], name, word);
        assert_eq!(done.status, status, "{name} {word}");
    }
}

#[test]
fn a_password_is_verified_against_a_file_that_stays_as_it_is() {
    let folder = Folder::new();
    let users = folder.path("users.yaml");
    let users = users.to_str().unwrap();
    let made = passwd(&["--file", users, "ralph", "user"], WORD);
    assert_eq!(made.code, Some(0), "{made:?}");
    let before = folder.read("users.yaml");
    for (name, word, code, said) in [
        ("ralph", WORD, 0, "ok\n"),
        (
            "ralph",
            "something else",
            1,
            "this is not the password of `ralph`",
        ),
        ("ralph", "", 1, "this is not the password of `ralph`"),
        ("ada", WORD, 1, "has no user `ada`"),
    ] {
        let done = passwd(&["--file", users, "--verify", name], word);
        assert_eq!(done.code, Some(code), "{done:?}");
        assert!((done.out + &done.errors).contains(said), "{name} {word}");
    }
    assert_eq!(folder.read("users.yaml"), before);
}

#[test]
fn users_with_the_names_of_keys_are_users_wherever_they_are() {
    let folder = Folder::new();
    let backend = Backend::start();
    for (file, name) in [("flat.yaml", "users"), ("wrapped.yaml", "password")] {
        let start = if name == "users" { "" } else { "users:\n" };
        folder.write(file, start);
        let path = folder.path(file);
        let path = path.to_str().unwrap();
        for user in [name, "ralph"] {
            let done = passwd(&["--file", path, user, "user"], WORD);
            assert_eq!(done.code, Some(0), "{done:?}");
        }
        let gate = with_users(&folder, &backend, file);
        for user in [name, "ralph"] {
            let done = log_in_by_form(gate.port(), &[], user, WORD);
            assert_eq!(done.status, 303, "{user}: {}", folder.read(file));
        }
    }
}

#[test]
fn argon2id_costs_what_is_asked_for_and_nothing_below_the_floor() {
    let args = [
        "ralph", "--memory", "32MiB", "--passes", "3", "--lanes", "2",
    ];
    let done = passwd(&args, WORD);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.out.contains("$argon2id$v=19$m=32768,t=3,p=2$"),
        "{done:?}"
    );
    let floor = "with 2 passes this is below the floor of OWASP; take 19MiB, or more passes";
    for (args, code, said) in [
        (&["ralph", "--memory", "18MiB"][..], 1, floor),
        (
            &["ralph", "--memory", "2GiB"],
            1,
            "memory must be from 7MiB to 1GiB",
        ),
        (
            &["ralph", "--passes", "0"],
            1,
            "passes must be from 1 to 64",
        ),
        (&["ralph", "--lanes", "17"], 1, "lanes must be from 1 to 16"),
        (
            &["ralph", "--lanes", "1", "--cipher", "bcrypt"],
            1,
            "--memory, --passes and --lanes are for argon2id only",
        ),
        (
            &["ralph", "--memory", "much"],
            2,
            "expected a size like 64MiB",
        ),
    ] {
        let done = passwd(args, WORD);
        assert_eq!((done.code, done.out.as_str()), (Some(code), ""), "{done:?}");
        assert!(done.errors.contains(said), "{done:?}");
    }
}

#[test]
fn a_user_is_disabled_enabled_and_removed_in_the_file() {
    let folder = Folder::new();
    let users = folder.path("users.yaml");
    let users = users.to_str().unwrap();
    let hash = bcrypt::hash(WORD, 4).unwrap();
    let text =
        format!("# people\nralph:  # r\n  password: \"{hash}\"\nada: {{password: \"{hash}\"}}\n");
    std::fs::write(users, &text).unwrap();
    let disabled = text.replace("\nada", "\n  disabled: true\nada");
    let enabled = disabled.replace("true", "false");
    let removed = format!("# people\nada: {{password: \"{hash}\"}}\n");
    for (flag, name, code, said, after) in [
        ("--disable", "ralph", 0, "`ralph` disabled", &disabled),
        (
            "--verify",
            "ralph",
            0,
            "stored with bcrypt; argon2id takes its place at a login",
            &disabled,
        ),
        ("--enable", "ralph", 0, "`ralph` enabled", &enabled),
        ("--disable", "nobody", 1, "has no user `nobody`", &enabled),
        ("--disable", "ada", 1, "users.yaml:5: flow style", &enabled),
        ("--remove", "ralph", 0, "`ralph` removed", &removed),
        ("--remove", "ralph", 1, "has no user `ralph`", &removed),
    ] {
        let done = passwd(&["--file", users, flag, name], WORD);
        assert_eq!(done.code, Some(code), "{flag} {name}: {done:?}");
        assert!(done.errors.contains(said), "{flag} {name}: {done:?}");
        assert_eq!(&folder.read("users.yaml"), after, "{flag} {name}");
    }
}

#[test]
fn the_arguments_of_the_ioto_pass_utility_work_under_its_name() {
    let folder = Folder::new();
    let users = folder.path("users.yaml");
    let args = [
        "pass",
        "--cipher",
        "bcrypt",
        "--file",
        users.to_str().unwrap(),
    ];
    let rest = ["--password", WORD, "ralph", "user", "administrator"];
    let done = run(&[&args[..], &rest[..]].concat());
    assert_eq!(done.code, Some(0), "{done:?}");
    // It works, and says what is wrong with it.
    assert!(
        done.errors.contains("warning: --password shows"),
        "{done:?}"
    );
    let text = folder.read("users.yaml");
    assert!(text.contains("roles: [user, administrator]"), "{text}");
    let verified = passwd(
        &["--file", users.to_str().unwrap(), "--verify", "ralph"],
        WORD,
    );
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[test]
fn a_short_password_is_refused_and_one_of_eight_characters_is_not() {
    let folder = Folder::new();
    let users = folder.path("users.yaml");
    let file = users.to_str().unwrap();
    for short in ["", "7 chars", "üüüüüüü"] {
        for args in [&["ralph"][..], &["--file", file, "ralph"]] {
            let done = passwd(args, short);
            assert_eq!((done.code, done.out.as_str()), (Some(1), ""), "{done:?}");
            assert!(done.errors.contains("at least 8 are needed"), "{done:?}");
            assert!(!users.exists());
        }
    }
    for long in ["8 chars!", "üüüüüüüü"] {
        assert_eq!(passwd(&["ralph"], long).code, Some(0), "{long}");
    }
}

// --- demo ---

/// A running demonstration.
struct Demo {
    process: Process,
    port: u16,
    user: String,
    password: String,
}

impl Demo {
    #[track_caller]
    fn start(args: &[&str]) -> Self {
        let all = ["demo", "--port", "0"].into_iter();
        let mut process = Process::start(portcullis(all.chain(args.iter().copied())), "");
        let out = eventually("the demonstration says that it runs", || {
            assert!(process.is_running(), "{}", process.errors());
            let out = process.out();
            out.contains("Ctrl-C").then_some(out)
        });
        let word_after = |label: &str| {
            let line = out.lines().find_map(|line| line.trim().strip_prefix(label));
            line.expect(label).trim().to_owned()
        };
        let url = word_after("open ");
        let port = url.strip_prefix("https://localhost:").expect(&url);
        Self {
            port: port.trim_end_matches('/').parse().unwrap(),
            user: word_after("user "),
            password: word_after("password "),
            process,
        }
    }

    fn curl(&self, version: &str) -> Curl {
        Curl::new(self.port).args([version])
    }
}

#[test]
fn the_demonstration_prints_what_lets_its_user_in_and_works_as_it_says() {
    let demo = Demo::start(&[]);
    for version in ["--http1.1", "--http2"] {
        let anonymous = demo.curl(version).get("/");
        assert_eq!(anonymous.status, 401);
        let open = demo
            .curl(version)
            .header("X-Forwarded-User: root")
            .get("/public/");
        assert_eq!(open.status, 200);
        assert!(open.body.contains("/public/"), "{open:?}");
        assert!(!open.body.contains("root"), "{open:?}");
        assert_eq!(demo.curl(version).get("/admin/").status, 401);

        let args = [version];
        let wrong = log_in_by_form(demo.port, &args, &demo.user, "not the password");
        assert_eq!(wrong.status, 401);
        let done = log_in_by_form(demo.port, &args, &demo.user, &demo.password);
        assert_eq!(done.status, 303, "{done:?}");
        let session = done.session_cookie().unwrap();
        let page = demo.curl(version).session(&session).get("/page");
        assert_eq!(page.status, 200);
        let told = format!("X-Forwarded-User: {}", demo.user);
        assert!(page.body.contains(&told), "{page:?}");
        assert!(!page.body.contains(&session), "{page:?}");
        assert_eq!(
            demo.curl(version).session(&session).get("/admin/").status,
            403
        );
    }
}

#[test]
fn the_demonstration_prints_one_secret_and_ends_with_ctrl_c() {
    let demo = Demo::start(&[]);
    let other = Demo::start(&[]);
    assert_ne!(demo.password, other.password);
    assert!(demo.password.len() >= 12, "{}", demo.password);
    let (port, password) = (demo.port, demo.password.clone());
    demo.process.signal("INT");
    let done = demo.process.finish();
    assert_eq!((done.code, done.errors.as_str()), (Some(0), ""), "{done:?}");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    // Nothing else is long and of letters and digits, as passwords, tokens and hashes are.
    assert_eq!(done.out.matches(&password).count(), 1, "{done:?}");
    let words = done.out.split(|c: char| !c.is_ascii_alphanumeric());
    let secret = |word: &&str| {
        let has = |fits: fn(char) -> bool| word.contains(fits);
        word.len() >= 8 && has(|c| c.is_ascii_digit()) && has(|c| c.is_ascii_alphabetic())
    };
    let secrets: Vec<_> = words
        .filter(secret)
        .filter(|word| *word != password)
        .collect();
    assert_eq!(secrets, [""; 0], "{}", done.out);

    other.process.signal("TERM");
    assert_eq!(other.process.finish().code, Some(0));
}

#[test]
fn the_demonstration_logs_requests_where_that_is_asked_for() {
    let demo = Demo::start(&["--log"]);
    let got = demo.curl("--http2").get("/public/");
    let id = got.field("x-request-id").unwrap();
    eventually("the request is logged", || {
        let out = demo.process.out();
        out.lines()
            .any(|line| line.contains("access") && line.contains(id))
            .then_some(())
    });
    assert!(!demo.process.out().contains("Cookie"));
}

#[test]
fn a_demonstration_on_a_port_that_is_taken_says_how_to_choose_another() {
    let taken = taken_port();
    let address = taken.local_addr().unwrap();
    let done = run(&["demo", "--port", &address.port().to_string()]);
    assert_eq!((done.code, done.out.as_str()), (Some(1), ""), "{done:?}");
    let expected = format!("cannot listen on {address}: Address already in use");
    assert!(done.errors.contains(&expected), "{done:?}");
    assert!(
        done.errors.contains("choose another port with --port"),
        "{done:?}"
    );
}
