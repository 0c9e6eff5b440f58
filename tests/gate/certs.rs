//! `portcullis certs`: what it makes is taken by other programs, and what it says is what they say.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use boring::asn1::Asn1Time;
use boring::hash::MessageDigest;
use boring::pkey::PKey;
use boring::x509::X509;
use boring::x509::extension::BasicConstraints;
use tempfile::TempDir;

use crate::harness::backend::Backend;
use crate::harness::eventually;
use crate::harness::gate::{BINARY, Gate};
use crate::harness::process::{Finished, Process, finished, portcullis};

/// A folder in which certificates are made; gone with the test.
struct Shop(TempDir);

impl Shop {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One with a CA in it: ca.crt and ca.key.
    #[track_caller]
    fn with_ca() -> Self {
        let shop = Self::new();
        shop.make("ca --name Plant");
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    #[track_caller]
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// What is in it, in order.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let name = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
        let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
        names.sort();
        names
    }

    fn mode(&self, name: &str) -> u32 {
        let metadata = std::fs::metadata(self.path(name)).unwrap();
        metadata.permissions().mode() & 0o7777
    }

    fn set_mode(&self, name: &str, mode: u32) {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.path(name), mode).unwrap();
    }

    /// `portcullis certs` with these words, here, and whatever else it is to know.
    fn command(&self, words: &str) -> Command {
        let mut command = portcullis(["certs"].into_iter().chain(words.split_whitespace()));
        command
            .current_dir(self.0.path())
            .env_remove("PORTCULLIS_CA_PASSPHRASE")
            .env_remove("PORTCULLIS_KEY_PASSPHRASE")
            .env_remove("SSL_CERT_FILE")
            .env_remove("SSL_CERT_DIR");
        command
    }

    fn run(&self, words: &str) -> Finished {
        finished(self.command(words), "")
    }

    /// The same, which must succeed; what it printed.
    #[track_caller]
    fn make(&self, words: &str) -> String {
        self.made(self.command(words), "")
    }

    #[track_caller]
    fn made(&self, command: Command, input: &str) -> String {
        let done = finished(command, input);
        assert_eq!((done.code, done.errors.as_str()), (Some(0), ""), "{done:?}");
        done.out
    }

    /// The same, which must fail and leave everything as it was; what it said.
    #[track_caller]
    fn refused(&self, words: &str) -> String {
        let before = self.files();
        let done = self.run(words);
        assert_eq!((done.code, done.out.as_str()), (Some(1), ""), "{done:?}");
        assert_eq!(self.files(), before);
        assert_eq!(done.errors.lines().count(), 1, "{done:?}");
        done.errors
    }

    fn openssl(&self, words: &str) -> Finished {
        let mut command = Command::new("openssl");
        command
            .args(words.split_whitespace())
            .current_dir(self.0.path());
        finished(command, "")
    }

    /// What openssl says to these words.
    #[track_caller]
    fn ask_openssl(&self, words: &str) -> String {
        let done = self.openssl(words);
        assert_eq!(done.code, Some(0), "{words}: {done:?}");
        done.out
    }

    /// Whether curl takes what this address shows: its exit code.
    fn curl(&self, words: &str, host: &str, port: u16) -> Option<i32> {
        let mut command = Command::new("curl");
        command
            .args([
                "-sS",
                "-o",
                "/dev/null",
                "--max-time",
                "20",
                "--noproxy",
                "*",
            ])
            .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
            .args(words.split_whitespace())
            .arg(format!("https://{host}:{port}/"))
            .current_dir(self.0.path());
        finished(command, "").code
    }

    /// A gate that shows this pair.
    #[track_caller]
    fn gate(&self, stem: &str, backend: &Backend) -> Gate {
        self.write(
            "portcullis.yaml",
            format!(
                "listeners: [{{address: '127.0.0.1:0'}}]\n\
                 tls: {{certificates: [{{cert: {stem}.crt, key: {stem}.key}}]}}\n\
                 upstreams: {{app: {{url: 'http://{}'}}}}\n\
                 routes: [{{public: true}}]\n",
                backend.address
            ),
        );
        Gate::start_file(&self.path("portcullis.yaml"), &[])
    }
}

const NOT_TRUSTED: Option<i32> = Some(60);

/// `openssl s_server` on a port of its own.
struct OpensslServer {
    _process: Process,
    port: u16,
}

impl OpensslServer {
    #[track_caller]
    fn start(shop: &Shop, words: &str) -> Self {
        let mut command = Command::new("openssl");
        command
            .args(["s_server", "-accept", "127.0.0.1:0", "-www"])
            .args(words.split_whitespace())
            .current_dir(shop.0.path());
        let mut process = Process::start(command, "");
        let port = eventually("openssl listens", || {
            assert!(process.is_running(), "{}", process.errors());
            let out = process.out();
            let line = out.lines().find_map(|line| line.strip_prefix("ACCEPT "));
            line.and_then(|line| line.rsplit(':').next()?.trim().parse().ok())
        });
        Self {
            _process: process,
            port,
        }
    }
}

// --- What is made works ---

#[test]
fn a_server_is_believed_by_who_has_the_ca_and_under_its_names_only() {
    let shop = Shop::with_ca();
    let said = shop.make("server --ca ca.crt gate.example.com 127.0.0.1 *.plant.example.com ::1");
    for words in [
        "Made a server certificate for gate.example.com, 127.0.0.1, *.plant.example.com, ::1\n",
        "signed by    \"Plant\"\n",
        "certificates: [{cert: gate.example.com.crt, key: gate.example.com.key}]\n",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let verified = shop
        .ask_openssl("verify -x509_strict -purpose sslserver -CAfile ca.crt gate.example.com.crt");
    assert_eq!(verified, "gate.example.com.crt: OK\n");

    let backend = Backend::start();
    let gate = shop.gate("gate.example.com", &backend);
    for (trust, host, expected) in [
        ("--cacert ca.crt", "gate.example.com", Some(0)),
        ("--cacert ca.crt", "127.0.0.1", Some(0)),
        ("--cacert ca.crt", "line-3.plant.example.com", Some(0)),
        ("--cacert ca.crt", "other.example.com", NOT_TRUSTED),
        ("--cacert ca.crt", "a.b.plant.example.com", NOT_TRUSTED),
        ("", "gate.example.com", NOT_TRUSTED),
    ] {
        let code = shop.curl(trust, host, gate.port());
        assert_eq!(code, expected, "{trust} {host}");
    }
}

#[test]
fn a_server_below_an_intermediate_sends_it_along_and_never_the_root() {
    let shop = Shop::new();
    shop.make("ca --path-length 1");
    let said = shop.make("ca --ca ca.crt --name Line-3");
    assert!(said.contains("intermediate.crt"), "{said}");
    let said = shop.make("server --ca intermediate.crt gate.example.com");
    assert!(said.contains("(with that of the CA above it)"), "{said}");
    let pem = shop.read("gate.example.com.crt");
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(pem.ends_with(&shop.read("intermediate.crt")));

    let backend = Backend::start();
    let gate = shop.gate("gate.example.com", &backend);
    for (trust, expected) in [("--cacert ca.crt", Some(0)), ("", NOT_TRUSTED)] {
        assert_eq!(shop.curl(trust, "gate.example.com", gate.port()), expected);
    }
    // Where the CA's file has more than its own certificate, the rest follows it, without the root.
    shop.write(
        "all.pem",
        shop.read("ca.crt") + &shop.read("intermediate.crt"),
    );
    shop.make("server --ca all.pem --ca-key intermediate.key other.example.com");
    let pem = shop.read("other.example.com.crt");
    assert!(pem.ends_with(&shop.read("intermediate.crt")), "{pem}");
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 2);
}

#[test]
fn a_client_is_let_in_where_its_ca_is_trusted_and_others_are_not() {
    let shop = Shop::with_ca();
    shop.make("server --ca ca.crt localhost");
    let said_of_7 = shop.make("client --ca ca.crt camera-7 --san-uri spiffe://plant/camera/7");
    shop.make("ca --as other --name Plant");
    shop.make("client --ca other.crt stranger");
    let said = shop.make("client selfie");
    let fingerprint = shop.ask_openssl("x509 -in selfie.crt -noout -fingerprint -sha256");
    let fingerprint = fingerprint
        .trim()
        .rsplit('=')
        .next()
        .unwrap()
        .replace(':', "");
    assert!(
        said.contains(&fingerprint.to_lowercase()),
        "{said} {fingerprint}"
    );

    // With what was said after "For the configuration".
    for (said, of, others) in [
        (&said_of_7, "camera-7", ["stranger", "selfie"]),
        (&said, "selfie", ["stranger", "camera-7"]),
    ] {
        let backend = Backend::start();
        let (_, lines) = said.split_once("For the configuration:\n").unwrap();
        let lines: String = lines
            .lines()
            .map(|line| format!("{}\n", &line[2..]))
            .collect();
        let certificates = "tls:\n  certificates: [{cert: localhost.crt, key: localhost.key}]\n";
        let lines = lines
            .replace("tls:\n", certificates)
            .replace("ROLE", "device");
        let config = format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\nroles: {{device: [view]}}\n\
             upstreams: {{backend: {{url: 'http://{}'}}}}\nroutes: [{{can: view}}]\n{lines}",
            backend.address
        );
        shop.write("portcullis.yaml", config);
        let gate = Gate::start_file(&shop.path("portcullis.yaml"), &[]);
        let status = |stem: &str| {
            let [cert, key] = ["crt", "key"].map(|it| shop.path(&format!("{stem}.{it}")));
            let paths = [cert.display().to_string(), key.display().to_string()];
            let curl = gate
                .curl()
                .args(["--cert", &*paths[0], "--key", &*paths[1]]);
            curl.get("/").status
        };
        assert_eq!(status(of), 200);
        assert_eq!(backend.only().field("x-forwarded-user"), Some(of));
        for other in others {
            assert_eq!(status(other), 403, "{other}");
        }
    }

    let server = OpensslServer::start(
        &shop,
        "-cert localhost.crt -key localhost.key -CAfile ca.crt -Verify 1 -verify_return_error",
    );
    let with = |stem: &str| {
        let words = format!("--tls-max 1.2 --cacert ca.crt --cert {stem}.crt --key {stem}.key");
        shop.curl(&words, "localhost", server.port)
    };
    assert_eq!(with("camera-7"), Some(0));
    for stem in ["stranger", "selfie"] {
        assert_ne!(with(stem), Some(0), "{stem}");
    }
    // A server is no client.
    assert_ne!(with("localhost"), Some(0));
    assert_ne!(
        shop.curl("--tls-max 1.2 --cacert ca.crt", "localhost", server.port),
        Some(0)
    );
}

#[test]
fn a_self_signed_server_is_believed_by_who_has_its_certificate() {
    let shop = Shop::new();
    let said = shop.make("server localhost 127.0.0.1");
    assert!(said.contains("signed by    itself"), "{said}");
    assert!(said.contains("Nobody vouches for it"), "{said}");
    shop.make("server --as other localhost");
    let server = OpensslServer::start(&shop, "-cert localhost.crt -key localhost.key");
    for (trust, expected) in [
        ("--cacert localhost.crt", Some(0)),
        ("--cacert other.crt", NOT_TRUSTED),
    ] {
        assert_eq!(
            shop.curl(trust, "localhost", server.port),
            expected,
            "{trust}"
        );
    }
    // So it is for BoringSSL, which is what the upstream side and browsers have.
    let mut command = shop.command(&format!("inspect localhost:{}", server.port));
    command.env("SSL_CERT_FILE", shop.path("localhost.crt"));
    let said = shop.made(command, "");
    assert!(said.contains("this system trusts it"), "{said}");
}

#[test]
fn certificates_say_what_they_are_for_and_nothing_more() {
    let shop = Shop::with_ca();
    shop.make("server --ca ca.crt --key rsa --days 30 gate.example.com 10.0.0.5");
    let client = "client --ca ca.crt --key rsa-3072 --organization Söhne --unit Cameras camera-7";
    shop.make(&format!(
        "{client} --san-email ops@example.com --san-dns cam.local --san-uri urn:cam:7"
    ));
    for (stem, has, has_not) in [
        (
            "ca",
            &[
                "Subject: CN = Plant",
                "Public-Key: (256 bit)",
                "CA:TRUE, pathlen:0",
                "Certificate Sign, CRL Sign",
                "Subject Key Identifier",
            ][..],
            &["Extended Key Usage", "Alternative Name"][..],
        ),
        (
            "gate.example.com",
            &[
                "Issuer: CN = Plant",
                "Subject: CN = gate.example.com",
                "Public-Key: (2048 bit)",
                "Signature Algorithm: ecdsa-with-SHA256",
                "CA:FALSE",
                "Digital Signature, Key Encipherment",
                "TLS Web Server Authentication",
                "DNS:gate.example.com, IP Address:10.0.0.5",
                "Authority Key Identifier",
            ],
            &["Certificate Sign", "Client Auth"],
        ),
        (
            "camera-7",
            &[
                "Subject: O = S\\C3\\B6hne, OU = Cameras, CN = camera-7",
                "Public-Key: (3072 bit)",
                "TLS Web Client Authentication",
                "URI:urn:cam:7, email:ops@example.com, DNS:cam.local",
            ],
            &["Server Auth"],
        ),
    ] {
        let text = shop.ask_openssl(&format!("x509 -in {stem}.crt -noout -text"));
        for words in has {
            assert!(text.contains(words), "{words}: {text}");
        }
        for words in has_not {
            assert!(!text.contains(words), "{words}: {text}");
        }
    }
    // It is good already on a device whose clock is a little behind, and for as long as was asked.
    let days_and_seconds = |moment: &str| {
        let words = format!("x509 -in gate.example.com.crt -noout -checkend {moment}");
        shop.openssl(&words).code
    };
    assert_eq!(days_and_seconds("2591000"), Some(0));
    assert_eq!(days_and_seconds("2592001"), Some(1));
    let certificate = X509::from_pem(shop.read("gate.example.com.crt").as_bytes()).unwrap();
    let age = certificate
        .not_before()
        .diff(&Asn1Time::days_from_now(0).unwrap());
    let age = age.unwrap();
    assert!(age.secs >= 0 && age.days == 0, "{age:?}");
    // 128 random bits: shorter than 13 bytes once in 16 million.
    let ca = X509::from_pem(shop.read("ca.crt").as_bytes()).unwrap();
    let serials = [&certificate, &ca].map(|one| one.serial_number().to_bn().unwrap());
    assert!(serials[0].num_bytes() > 12);
    assert_ne!(serials[0].to_vec(), serials[1].to_vec());
}

// --- Files ---

#[test]
fn keys_are_for_their_owner_only_whatever_the_mask_is() {
    let shop = Shop::new();
    for mask in ["000", "022", "077"] {
        let script = format!(
            "umask {mask} && '{BINARY}' certs ca --force && \
             '{BINARY}' certs client --ca ca.crt --pkcs12 --force camera"
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(shop.0.path());
        command.env("PORTCULLIS_KEY_PASSPHRASE", "secret");
        shop.made(command, "");
        assert_eq!(shop.mode("ca.key"), 0o600, "{mask}");
        assert_eq!(shop.mode("camera.p12"), 0o600, "{mask}");
        assert_eq!(shop.mode("ca.crt"), 0o644, "{mask}");
    }
    assert_eq!(shop.files(), ["ca.crt", "ca.key", "camera.p12"]);
}

#[test]
fn what_is_there_is_replaced_only_where_that_is_asked_for() {
    let shop = Shop::with_ca();
    let before = shop.read("ca.key");
    let said = shop.refused("ca");
    assert!(
        said.contains("already there: ca.crt, ca.key; nothing was written"),
        "{said}"
    );
    assert_eq!(shop.read("ca.key"), before);
    // One of the two is enough.
    shop.write("gate.key", "precious");
    let said = shop.refused("server --ca ca.crt gate");
    assert!(said.contains("already there: gate.key; "), "{said}");
    assert_eq!(shop.read("gate.key"), "precious");
    assert!(!shop.path("gate.crt").exists());
    // A link counts, wherever it leads.
    symlink("nowhere", shop.path("link.crt")).unwrap();
    let said = shop.refused("server link");
    assert!(said.contains("already there: link.crt; "), "{said}");

    shop.set_mode("gate.key", 0o644);
    shop.make("server --ca ca.crt --force gate");
    assert_eq!(shop.mode("gate.key"), 0o600);
    shop.ask_openssl("verify -CAfile ca.crt gate.crt");
    // Who runs the server could read the old one.
    shop.set_mode("gate.key", 0o640);
    shop.make("server --ca ca.crt --force gate");
    assert_eq!(shop.mode("gate.key"), 0o640);
    shop.make("server --ca ca.crt --as tls gate");
    assert!(shop.path("tls.key").exists());
}

#[test]
fn files_go_where_they_are_told_to_under_names_that_are_names() {
    let shop = Shop::with_ca();
    std::fs::create_dir(shop.path("made here")).unwrap();
    for (name, stem) in [
        ("*.plant.example", "_wildcard.plant.example"),
        ("fe80::1", "fe80__1"),
    ] {
        let mut command = shop.command("server --ca ca.crt --out");
        command.args(["made here", name]);
        let said = shop.made(command, "");
        let expected = format!("[{{cert: 'made here/{stem}.crt', key: 'made here/{stem}.key'}}]");
        assert!(said.contains(&expected), "{said}");
        assert!(shop.path(&format!("made here/{stem}.crt")).exists());
    }
    let mut command = shop.command("client --ca ca.crt");
    command.arg("../Kamera 7/ä");
    shop.made(command, "");
    assert!(
        shop.path("_.._Kamera_7__.key").exists(),
        "{:?}",
        shop.files()
    );
    let said = shop.refused("server --out nowhere gate");
    assert!(
        said.contains("nowhere: no such folder; make it first: mkdir -p nowhere"),
        "{said}"
    );
    std::fs::create_dir(shop.path("gate.key")).unwrap();
    let said = shop.refused("server --force gate");
    assert!(said.contains("gate.key is not a regular file"), "{said}");
}

// --- Passphrases ---

#[test]
fn a_key_is_encrypted_where_that_is_asked_for_and_opens_with_its_passphrase_only() {
    let shop = Shop::new();
    shop.write("word", "correct horse\nmore\n");
    let from_file = shop.command("server --passphrase-file word --as file gate");
    let said = shop.made(from_file, "");
    assert!(
        said.contains("file.key (encrypted, readable by you only)"),
        "{said}"
    );
    assert!(
        said.contains("passphrase: {file: PASSPHRASE-FILE}"),
        "{said}"
    );
    let mut from_environment = shop.command("server --encrypt --as environment gate");
    from_environment.env("PORTCULLIS_KEY_PASSPHRASE", "correct horse");
    shop.made(from_environment, "");
    shop.made(
        shop.command("server --encrypt --as input gate"),
        "correct horse\r\n",
    );
    shop.write("wrong", "correct mule");
    for stem in ["file", "environment", "input"] {
        let key = shop.read(&format!("{stem}.key"));
        assert!(
            key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
            "{key}"
        );
        for (word, code) in [("word", Some(0)), ("wrong", Some(1))] {
            let words = format!("pkey -in {stem}.key -noout -passin file:{word}");
            assert_eq!(shop.openssl(&words).code, code, "{words}");
        }
    }
    // A variable alone encrypts nothing.
    let mut plain = shop.command("server --as plain gate");
    plain.env("PORTCULLIS_KEY_PASSPHRASE", "correct horse");
    shop.made(plain, "");
    assert!(
        shop.read("plain.key")
            .starts_with("-----BEGIN PRIVATE KEY-----\n")
    );

    for (input, words) in [
        ("short\n", "has 5 characters; at least 6 are needed"),
        ("\n", "has 0 characters"),
        ("a\0bcdefg\n", "NUL"),
    ] {
        let done = finished(shop.command("server --encrypt --as bad gate"), input);
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.errors.contains(words), "{done:?}");
        assert!(!shop.path("bad.key").exists() && !shop.path("bad.crt").exists());
    }
    shop.write("long", "x".repeat(1025));
    let said = shop.refused("server --passphrase-file long gate");
    assert!(said.contains("longer than 1024 bytes"), "{said}");
    let said = shop.refused("server --passphrase-file nowhere gate");
    assert!(said.contains("cannot read nowhere: No such file"), "{said}");
}

#[test]
fn a_ca_with_an_encrypted_key_signs_for_who_knows_its_passphrase() {
    let shop = Shop::new();
    shop.write("word", "correct horse");
    shop.write("wrong", "correct mule");
    shop.make("ca --passphrase-file word");
    shop.make("client --ca ca.crt --ca-passphrase-file word file");
    let mut command = shop.command("client --ca ca.crt environment");
    command.env("PORTCULLIS_CA_PASSPHRASE", "correct horse");
    shop.made(command, "");
    shop.made(shop.command("client --ca ca.crt input"), "correct horse\n");
    // Two secrets are two lines.
    let both = shop.command("client --ca ca.crt --encrypt both");
    shop.made(both, "correct horse\nanother word\n");
    shop.write("another", "another word");
    shop.ask_openssl("pkey -in both.key -noout -passin file:another");
    for stem in ["file", "environment", "input", "both"] {
        shop.ask_openssl(&format!("verify -CAfile ca.crt {stem}.crt"));
    }
    let said = shop.refused("client --ca ca.crt --ca-passphrase-file wrong camera");
    assert!(
        said.contains("ca.key: this is not the passphrase of the CA's private key"),
        "{said}"
    );
    let said = shop.refused("client --ca ca.crt camera");
    assert!(
        said.contains("ca.key: this is not the passphrase"),
        "{said}"
    );
}

#[test]
fn a_pkcs12_file_is_read_by_openssl_and_java() {
    let shop = Shop::new();
    shop.write("word", "secret word");
    shop.make("ca --path-length 1 --name Root");
    shop.make("ca --ca ca.crt --name Line-3");
    shop.write(
        "all.pem",
        shop.read("intermediate.crt") + &shop.read("ca.crt"),
    );
    let signer = "--ca all.pem --ca-key intermediate.key";
    let said = shop.make(&format!(
        "server {signer} --pkcs12 --password-file word gate.local"
    ));
    assert!(
        said.contains("keystore: {path: gate.local.p12, password: {file: "),
        "{said}"
    );
    assert!(!shop.path("gate.local.key").exists());
    shop.make(&format!(
        "client {signer} --key rsa --pkcs12 --password-file word camera"
    ));
    for (stem, alias) in [("gate.local", "gate.local"), ("camera", "camera")] {
        let words = format!("pkcs12 -in {stem}.p12 -passin file:word -nodes -info");
        let done = shop.openssl(&words);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(done.out.matches("BEGIN PRIVATE KEY").count(), 1);
        assert_eq!(done.out.matches("BEGIN CERTIFICATE").count(), 3, "{done:?}");
        assert!(
            done.out.contains(&format!("friendlyName: {alias}")),
            "{done:?}"
        );
        let info = done
            .errors
            .matches("PBES2, PBKDF2, AES-256-CBC, Iteration 100000");
        assert_eq!(info.count(), 2, "{done:?}");
        let words = format!("pkcs12 -in {stem}.p12 -passin pass:other -nodes");
        assert_ne!(shop.openssl(&words).code, Some(0));
        let mut java = Command::new("keytool");
        java.args(["-list", "-v", "-storepass", "secret word", "-keystore"]);
        java.arg(shop.path(&format!("{stem}.p12")));
        let listed = finished(java, "");
        assert_eq!(listed.code, Some(0), "{listed:?}");
        for words in [
            &format!("Alias name: {alias}"),
            "PrivateKeyEntry",
            "chain length: 3",
        ] {
            assert!(listed.out.contains(words), "{listed:?}");
        }
        let said = shop.refused(&format!("inspect {stem}.p12"));
        assert!(
            said.contains("a keystore; give its password with --password-file"),
            "{said}"
        );
    }
    // Never without a password.
    let said = shop.refused("client --pkcs12 naked");
    assert!(said.contains("at least 6 are needed"), "{said}");
}

// --- Refusals ---

#[test]
fn a_ca_that_cannot_sign_is_named_with_what_would_be_right() {
    let shop = Shop::with_ca();
    shop.make("server --ca ca.crt leaf");
    shop.make("ca --as other");
    shop.write("text.crt", "hello\n");
    shop.write("empty.crt", "");
    std::fs::copy(shop.path("ca.crt"), shop.path("lonely.crt")).unwrap();
    shop.ask_openssl("genpkey -algorithm ED25519 -out ed.key");
    shop.ask_openssl("req -x509 -new -key ed.key -subj /CN=Ed -out ed.crt");
    shop.write("expired.crt", with_dates(&shop, "ca", 0, 86_400));
    shop.write(
        "future.crt",
        with_dates(&shop, "ca", 4_000_000_000, 4_100_000_000),
    );
    for (signer, words) in [
        (
            "--ca nowhere.crt",
            "nowhere.crt: cannot read the CA's certificate: No such file",
        ),
        (
            "--ca lonely.crt",
            "lonely.key: cannot read the CA's private key; say where it is with --ca-key: No such file",
        ),
        (
            "--ca text.crt",
            "text.crt: no certificate found; expected that of a CA",
        ),
        ("--ca empty.crt", "empty.crt: no certificate found"),
        (
            "--ca ca.key --ca-key ca.key",
            "ca.key: no certificate found",
        ),
        (
            "--ca ca.crt --ca-key ca.crt",
            "ca.crt: no private key found; expected that of the CA, in PEM",
        ),
        (
            "--ca ca.crt --ca-key other.key",
            "other.key: this key does not belong to the CA in ca.crt; give the one",
        ),
        (
            "--ca leaf.crt",
            "leaf.crt: leaf is not a CA and may not sign certificates; `portcullis certs ca` makes",
        ),
        (
            "--ca expired.crt --ca-key ca.key",
            "expired.crt: this CA expired on Jan  2 00:00:00 1970 GMT; make a new one",
        ),
        (
            "--ca future.crt --ca-key ca.key",
            "future.crt: this CA is good only from Oct  2 07:06:40 2096 GMT on; is the clock",
        ),
        (
            "--ca ed.crt",
            "ed.key: cannot sign with this kind of key; expected ECDSA or RSA",
        ),
    ] {
        for made in ["server", "client"] {
            let said = shop.refused(&format!("{made} {signer} gate"));
            assert!(
                said.starts_with(&format!("portcullis: {words}")),
                "{signer}: {said}"
            );
        }
    }
    let said = shop.refused("ca --ca ca.crt");
    let expected = "ca.crt: this CA may sign servers and clients, but no further CAs; make one \
                    that may with `portcullis certs ca --path-length 1`";
    assert!(said.contains(expected), "{said}");
    // Each with what it lacked.
    shop.make("client --ca lonely.crt --ca-key ca.key gate");
    shop.make("ca --as top --path-length 1");
    shop.make("ca --ca top.crt");
    let said = shop.refused("ca --ca top.crt --path-length 1 --as deep");
    assert!(
        said.contains("only CAs with a path length below 1"),
        "{said}"
    );
    // DER will do for a certificate.
    shop.ask_openssl("x509 -in ca.crt -outform der -out ca.der");
    shop.make("client --ca ca.der --ca-key ca.key other-gate");
}

/// A CA with the key and name of this one, but good from and until these seconds.
fn with_dates(shop: &Shop, stem: &str, from: i64, to: i64) -> Vec<u8> {
    let model = X509::from_pem(shop.read(&format!("{stem}.crt")).as_bytes()).unwrap();
    let key = shop.read(&format!("{stem}.key"));
    let key = PKey::private_key_from_pem(key.as_bytes()).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(model.subject_name()).unwrap();
    builder.set_issuer_name(model.issuer_name()).unwrap();
    builder.set_serial_number(model.serial_number()).unwrap();
    builder.set_pubkey(&key).unwrap();
    let constraints = BasicConstraints::new().critical().ca().build().unwrap();
    builder.append_extension(&constraints).unwrap();
    let [from, to] = [from, to].map(|time| Asn1Time::from_unix(time).unwrap());
    builder.set_not_before(&from).unwrap();
    builder.set_not_after(&to).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    builder.build().to_pem().unwrap()
}

#[test]
fn nothing_outlives_its_ca_and_that_is_said() {
    let shop = Shop::new();
    shop.make("ca --days 10");
    let said = shop.make("server --ca ca.crt --days 30 long");
    assert!(
        said.contains("(not for 30 days: that is when its CA ends, too)"),
        "{said}"
    );
    let said = shop.make("server --ca ca.crt --days 9 short");
    assert!(!said.contains("not for"), "{said}");
    let end = |stem: &str| shop.ask_openssl(&format!("x509 -in {stem}.crt -noout -enddate"));
    assert_eq!(end("long"), end("ca"));
    assert_ne!(end("short"), end("ca"));
}

#[test]
fn a_name_that_no_certificate_should_have_is_a_usage_error_with_the_right_form() {
    let shop = Shop::new();
    for (words, why) in [
        (
            "server https://gate.example.com/",
            "without https:// and path",
        ),
        ("server gate.example.com:8443", "without a port"),
        ("server 10.0.0.300", "four numbers from 0 to 255"),
        (
            "server good.example bad..example",
            "expected a host name: parts of 1 to 63",
        ),
        ("server müller.example", "begins with xn--"),
        ("server *.com", "as in *.example.com: clients refuse others"),
        ("server gate.*.com", "the * as the whole first part"),
        ("client camera --san-uri camera", "expected a URI such as"),
        (
            "client camera --san-email camera",
            "expected an email address such as",
        ),
        ("client camera --san-dns a/b", "expected a host name"),
        (
            &format!("client {}", "x".repeat(65)),
            "expected 1 to 64 characters",
        ),
        ("client camera --as a/b", "without / and without a dot"),
        ("server gate --days 0", "1..=36500"),
        (
            "server gate --key dsa",
            "possible values: ecdsa, rsa, rsa-3072, rsa-4096",
        ),
    ] {
        let done = shop.run(words);
        assert_eq!((done.code, done.out.as_str()), (Some(2), ""), "{done:?}");
        assert!(done.errors.contains(why), "{words}: {done:?}");
        assert_eq!(shop.files(), [""; 0], "{words}");
    }
}

// --- inspect ---

#[test]
fn a_certificate_is_shown_as_other_programs_see_it() {
    let shop = Shop::with_ca();
    shop.make("server --ca ca.crt --days 90 gate.example.com 10.0.0.5");
    let said = shop.make("inspect gate.example.com.crt");
    let has = |label: &str, value: &str| {
        let line = format!("  {label:13} {value}\n");
        assert!(said.contains(&line), "{line}{said}");
    };
    has("subject", "CN=gate.example.com");
    has("issuer", "CN=Plant");
    has("names", "DNS gate.example.com, IP 10.0.0.5");
    has("role", "signed by a CA, not one itself");
    has("use", "TLS server, digital signature");
    has("key", "ECDSA P-256");
    has("signature", "ecdsa-with-SHA256");
    assert!(said.contains(" UTC, 90 days left\n") || said.contains(" UTC, 89 days left\n"));
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(shop.0.path());
        let done = finished(command, "");
        done.out.split_whitespace().next_back().unwrap().to_owned()
    };
    let serial = shop.ask_openssl("x509 -in gate.example.com.crt -noout -serial");
    has(
        "serial",
        &serial.trim().replace("serial=", "").to_lowercase(),
    );
    let der = "openssl x509 -in gate.example.com.crt -outform der";
    has("SHA-256", &shell(&format!("{der} | openssl dgst -sha256")));
    has(
        "SPKI SHA-256",
        &shell(
            "openssl x509 -in gate.example.com.crt -noout -pubkey | \
             openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64",
        ),
    );
    let text = "openssl base64 -A | openssl dgst -sha3-256";
    has("ThingsBoard", &shell(&format!("{der} | {text}")));
    has(
        "chain",
        "ends before CN=Plant: right if that is a root, else one is missing",
    );
}

#[test]
fn a_server_that_is_also_a_client_is_good_for_both_and_another_is_not() {
    let shop = Shop::with_ca();
    shop.make("server --ca ca.crt --also-client --as both tedge.local");
    shop.make("server --ca ca.crt --as one tedge.local");
    for (purpose, stem, code) in [
        ("sslserver", "both", 0),
        ("sslclient", "both", 0),
        ("sslserver", "one", 0),
        ("sslclient", "one", 2),
    ] {
        let words = format!("verify -CAfile ca.crt -purpose {purpose} {stem}.crt");
        let verified = shop.openssl(&words);
        assert_eq!(verified.code, Some(code), "{purpose} {stem}: {verified:?}");
    }
}

#[test]
fn a_link_is_followed_only_where_nobody_else_can_have_put_it() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    for (mode, is_followed) in [(0o755, true), (0o777, false), (0o1777, false)] {
        let shop = Shop::new();
        let folder = shop.path("folder");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).unwrap();
        shop.write("victim", "precious");
        symlink("../victim", folder.join("h.example.key")).unwrap();
        shop.make("server --out folder --force h.example");
        assert_eq!(shop.read("victim") != "precious", is_followed, "{mode:o}");
        let key = std::fs::read_to_string(folder.join("h.example.key")).unwrap();
        assert!(key.contains("PRIVATE KEY"), "{mode:o}");
    }
}

#[test]
fn what_a_keystore_holds_is_said_with_its_password() {
    let shop = Shop::new();
    shop.make("ca --name Plant");
    shop.write("pass", "store-secret\n");
    shop.make("server --ca ca.crt gate.example --pkcs12 --passphrase-file pass");
    let said = shop.make("inspect gate.example.p12 --password-file pass");
    let first = "gate.example.p12: 2 certificates, an ECDSA P-256 private key (in a keystore), \
                 a PKCS#12 keystore, the key \"gate.example\"\n";
    assert!(said.starts_with(first), "{said}");
    assert!(said.contains("names         DNS gate.example"), "{said}");
    shop.write("wrong", "other-secret\n");
    let refused = shop.refused("inspect gate.example.p12 --password-file wrong");
    assert!(refused.contains("wrong store password"), "{refused}");
}

#[test]
fn what_a_file_holds_is_said_of_every_kind() {
    let shop = Shop::with_ca();
    shop.set_mode("ca.key", 0o644);
    shop.write("word", "secret word");
    shop.make("ca --as rsa --key rsa --passphrase-file word");
    for words in [
        "x509 -in ca.crt -outform der -out ca.der",
        "pkcs8 -topk8 -nocrypt -in ca.key -outform der -out key.der",
        "pkcs8 -topk8 -in ca.key -outform der -passout file:word -out encrypted.der",
        "ec -in ca.key -aes256 -passout file:word -out traditional.key",
        "req -new -key ca.key -subj /CN=a -out request.pem",
        "pkey -in ca.key -pubout -out public.pem",
    ] {
        shop.ask_openssl(words);
    }
    let both = shop.read("ca.crt") + "for people\n" + &shop.read("ca.key");
    shop.write("both.pem", both);
    for (file, what) in [
        ("ca.crt", "a certificate"),
        ("ca.der", "a certificate"),
        ("ca.key", "an ECDSA P-256 private key (not encrypted)"),
        ("key.der", "an ECDSA P-256 private key (not encrypted)"),
        ("encrypted.der", "a private key (encrypted)"),
        ("rsa.key", "a private key (encrypted)"),
        ("traditional.key", "an ECDSA private key (encrypted)"),
        (
            "both.pem",
            "a certificate, an ECDSA P-256 private key (not encrypted)",
        ),
        (
            "request.pem",
            "a certificate request, which a CA still has to sign",
        ),
        ("public.pem", "a public key"),
    ] {
        let said = shop.make(&format!("inspect {file}"));
        assert!(said.starts_with(&format!("{file}: {what}\n")), "{said}");
        assert!(!said.contains("PRIVATE KEY-----"), "{said}");
    }
    let said = shop.make("inspect both.pem");
    assert!(
        said.contains("  belongs to    certificate 1 in this file\n"),
        "{said}"
    );
    let said = shop.make("inspect ca.key");
    assert!(
        said.contains("READABLE BY EVERYBODY on this machine (mode 0644)"),
        "{said}"
    );
    shop.set_mode("ca.key", 0o640);
    assert!(!shop.make("inspect ca.key").contains("READABLE"));

    shop.write("text", "hello\n");
    shop.write("empty", "\n");
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    shop.write("damaged", shop.read("ca.crt") + damaged);
    shop.write("cut", &shop.read("ca.crt")[..200]);
    for (file, why) in [
        (
            "text",
            "text: found no certificate and no private key, neither in PEM nor in DER",
        ),
        ("empty", "empty: an empty file"),
        (
            "damaged",
            "damaged: its 2. PEM block says that it is a CERTIFICATE, but",
        ),
        (
            "cut",
            "cut: its 1. PEM block says that it is a CERTIFICATE, but",
        ),
        ("nowhere", "nowhere: neither a file nor HOST:PORT"),
        ("host:port", "host:port: neither a file nor HOST:PORT"),
        (".", "cannot read .: Is a directory"),
    ] {
        let said = shop.refused(&format!("inspect {file}"));
        assert!(said.starts_with(&format!("portcullis: {why}")), "{said}");
    }
}

#[test]
fn a_chain_is_told_from_certificates_that_do_not_belong_together() {
    let shop = Shop::new();
    shop.make("ca --path-length 1 --name Root");
    shop.make("ca --ca ca.crt --name Line-3");
    shop.make("server --ca intermediate.crt gate");
    shop.make("server self");
    shop.make("ca --as other --name Root");
    let leaf = shop.read("gate.crt");
    let leaf = &leaf[..leaf.find("-----END").unwrap()];
    let leaf = format!("{leaf}-----END CERTIFICATE-----\n");
    let [root, middle, lone] =
        ["ca", "intermediate", "self"].map(|stem| shop.read(&format!("{stem}.crt")));
    let other = shop.read("other.crt");
    for (parts, expected) in [
        (
            &[&leaf, &middle, &root][..],
            &["complete up to its root"][..],
        ),
        (
            &[&leaf, &middle],
            &["links, but ends before CN=Root: right if that is a root, else one is missing"],
        ),
        (
            &[&leaf],
            &["ends before CN=Line-3: right if that is a root"],
        ),
        (
            &[&leaf, &root],
            &["ends before CN=Line-3: ", "no part of it: 2\n"],
        ),
        (
            &[&root, &middle, &leaf],
            &["WRONG ORDER: servers send 3, 2, 1;"],
        ),
        (
            &[&leaf, &lone, &middle],
            &["links, but ends before CN=Root", "no part of it: 2\n"],
        ),
        // The same name is not the same CA.
        (
            &[&middle, &other],
            &["ends before CN=Root", "no part of it: 2\n"],
        ),
        (&[&root, &other], &["none: roots, each for itself"]),
        (&[&root], &["a root: whoever has it trusts what it signs"]),
        (&[&lone], &["vouches for itself"]),
    ] {
        let text: String = parts.iter().map(|part| part.as_str()).collect();
        shop.write("chain.pem", text);
        let said = shop.make("inspect chain.pem");
        for words in expected {
            assert!(said.contains(words), "{words}: {said}");
        }
        let is_sorted = !said.contains("WRONG ORDER");
        assert_eq!(is_sorted, !expected[0].starts_with("WRONG"), "{said}");
    }
}

#[test]
fn what_is_out_of_date_or_broken_is_said_loudly() {
    let shop = Shop::with_ca();
    shop.write("expired.crt", with_dates(&shop, "ca", 0, 86_400));
    shop.write(
        "future.crt",
        with_dates(&shop, "ca", 4_000_000_000, 4_100_000_000),
    );
    shop.ask_openssl("req -x509 -new -sha1 -key ca.key -subj /CN=Old -out sha1.crt");
    for (file, words) in [
        (
            "expired.crt",
            "1970-01-01 00:00 to 1970-01-02 00:00 UTC, EXPIRED ",
        ),
        ("future.crt", "UTC, NOT YET VALID, in "),
        ("sha1.crt", "SHA1 (BROKEN: clients of today refuse it)"),
    ] {
        let said = shop.make(&format!("inspect {file}"));
        assert!(said.contains(words), "{said}");
    }
    let said = shop.make("inspect ca.crt");
    for loud in ["EXPIRED", "NOT YET", "BROKEN"] {
        assert!(!said.contains(loud), "{said}");
    }
}

#[test]
fn names_in_a_certificate_cannot_play_with_the_terminal() {
    let shop = Shop::with_ca();
    let mut command = Command::new("openssl");
    command
        .args([
            "req", "-x509", "-new", "-utf8", "-key", "ca.key", "-out", "evil.crt",
        ])
        .args(["-subj", "/CN=a\u{1b}[2J\u{9b}1m\u{202e}ä\nvalid forever"])
        .args(["-addext", "subjectAltName=URI:a\u{1b}[31m"])
        .current_dir(shop.0.path());
    assert_eq!(finished(command, "").code, Some(0));
    let said = shop.make("inspect evil.crt");
    let subject = said.lines().find(|line| line.contains("subject")).unwrap();
    assert!(subject.contains('ä'), "{subject}");
    assert!(subject.contains("valid forever"), "{subject}");
    let is_bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!said.contains(is_bad), "{said:?}");
}

#[test]
fn a_server_is_shown_with_whether_it_would_be_believed() {
    let shop = Shop::with_ca();
    shop.make("server --ca ca.crt localhost");
    let backend = Backend::start();
    let gate = shop.gate("localhost", &backend);
    let ask = |words: &str, trust: bool| {
        let mut command = shop.command("inspect");
        command.args(words.split_whitespace());
        if trust {
            command.env("SSL_CERT_FILE", shop.path("ca.crt"));
        }
        shop.made(command, "")
    };
    let port = gate.port();
    let said = ask(&format!("localhost:{port}"), true);
    for words in [
        &format!("localhost:{port} (127.0.0.1:{port})\n"),
        "  protocol      TLS 1.3\n",
        "  cipher        TLS_AES_",
        "  ALPN          h2\n",
        "  OCSP staple   no\n",
        "  name          localhost is in the certificate\n",
        "  trust         this system trusts it\n",
        "  subject       CN=localhost\n",
        "  chain         complete for this system\n",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = ask(&format!("127.0.0.1:{port}"), false);
    assert!(
        said.contains("MISMATCH: 127.0.0.1 is not in the certificate"),
        "{said}"
    );
    assert!(said.contains("NOT TRUSTED by this system: "), "{said}");
    let said = ask(&format!("127.0.0.1:{port} --server-name localhost"), false);
    assert!(said.contains("localhost is in the certificate"), "{said}");
}

#[test]
fn a_server_that_wants_a_certificate_is_shown_all_the_same() {
    let shop = Shop::with_ca();
    shop.make("server --ca ca.crt localhost");
    shop.write("index", "");
    for words in [
        "-issuer ca.crt -cert localhost.crt -reqout request",
        "-index index -rsigner ca.crt -rkey ca.key -CA ca.crt -reqin request -respout response",
    ] {
        shop.ask_openssl(&format!("ocsp {words}"));
    }
    let options = "-cert localhost.crt -key localhost.key -Verify 1 -CAfile ca.crt -tls1_2";
    let server = OpensslServer::start(&shop, &format!("{options} -status_file response"));
    let said = shop.make(&format!("inspect localhost:{}", server.port));
    for words in [
        "protocol      TLS 1.2\n",
        "OCSP staple   yes\n",
        "handshake     BROKEN OFF: the server answered \"",
        "does it want a client certificate?",
        "subject       CN=localhost\n",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_server_that_is_not_there_or_has_no_tls_is_given_up_in_time() {
    let shop = Shop::new();
    let backend = Backend::saying("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let said = shop.refused(&format!("inspect {}", backend.address));
    assert!(said.contains("no TLS handshake: "), "{said}");
    assert!(said.contains("is this a port with TLS?"), "{said}");

    // The system accepts for it; it never says anything.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap();
    let start = Instant::now();
    let said = shop.refused(&format!("inspect {address} --timeout 200ms"));
    assert!(
        said.contains("connected, but no TLS handshake in time"),
        "{said}"
    );
    assert!(start.elapsed() < Duration::from_secs(4));
    // Nor does one who drips.
    let dripping = std::thread::spawn(move || {
        // The first is gone by now.
        drop(silent.accept());
        let (mut stream, _) = silent.accept().unwrap();
        while stream.write_all(&[22]).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
            if start.elapsed() > Duration::from_secs(20) {
                return;
            }
        }
    });
    let said = shop.refused(&format!("inspect {address} --timeout 300ms"));
    assert!(said.contains("no TLS handshake"), "{said}");
    dripping.join().unwrap();

    // One that has TLS, but none that we know.
    shop.make("server localhost");
    let options = "-cert localhost.crt -key localhost.key -tls1_2 -cipher PSK";
    let server = OpensslServer::start(&shop, options);
    let said = shop.refused(&format!("inspect 127.0.0.1:{}", server.port));
    assert!(
        said.contains("the server answered \"handshake failure\""),
        "{said}"
    );

    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let said = shop.refused(&format!("inspect {address}"));
    assert!(
        said.contains(&format!("{address}: cannot connect: Connection refused")),
        "{said}"
    );
    let done = shop.run("inspect localhost:1 --timeout 5");
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.errors.contains("a duration with its unit"), "{done:?}");
}

#[test]
fn what_it_makes_is_what_the_gate_can_be_configured_with() {
    let shop = Shop::with_ca();
    shop.make("server --ca ca.crt gate.example.com");
    let config = |cert: &str, key: &str| {
        let mut config = "listeners: [{address: '127.0.0.1:0'}]\n".to_owned();
        config += &format!("tls: {{certificates: [{{cert: {cert}, key: {key}}}]}}\n");
        config += "upstreams: {app: {url: 'http://127.0.0.1:9'}}\nroutes: [{public: true}]\n";
        shop.write("portcullis.yaml", config);
        let file: &Path = &shop.path("portcullis.yaml");
        let done = finished(portcullis(["check", "-c", file.to_str().unwrap()]), "");
        assert!(!done.out.contains("warning"), "{done:?}");
        done.code
    };
    assert_eq!(
        config("gate.example.com.crt", "gate.example.com.key"),
        Some(0)
    );
    assert_eq!(config("gate.example.com.crt", "ca.key"), Some(1));
}
