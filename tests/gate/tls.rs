//! TLS as operators have it: keys in every form, certificates by name, changes while it runs.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::harness::backend::Backend;
use crate::harness::eventually;
use crate::harness::gate::Gate;
use crate::harness::pki::{Key, Pki};
use crate::harness::process::{Finished, finished, portcullis};
use crate::harness::served::file_of;

/// Everything but the section `tls`.
fn config(backend: &Backend, tls: &str) -> String {
    format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         upstreams: {{backend: {{url: 'http://{}'}}}}\n\
         routes: [{{public: true}}]\n\
         admin: {{address: '127.0.0.1:0'}}\n\
         threads: 2\n\
         tls:\n{tls}",
        backend.address
    )
}

/// A gate whose configuration and files are in the folder of `pki`, where there may be others.
struct Served {
    gate: Gate,
    backend: Backend,
}

impl Served {
    #[track_caller]
    fn start(pki: &Pki, tls: &str) -> Self {
        let backend = Backend::start();
        let file = file_of(&backend);
        pki.write(&file, &config(&backend, tls));
        let gate = Gate::start_file(&pki.path(&file), &[]);
        Self { gate, backend }
    }

    fn configure(&self, pki: &Pki, tls: &str) {
        pki.write(&file_of(&self.backend), &config(&self.backend, tls));
    }

    /// What openssl's client says of a connection.
    #[track_caller]
    fn s_client(&self, arguments: &str) -> String {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &self.gate.address.to_string()]);
        command.args(arguments.split_whitespace());
        // It says `Q` itself when its input ends; the answer to a request comes before.
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let done = finished(with_ignored_end(command), request);
        format!("{}\n{}", done.out, done.errors)
    }
}

fn with_ignored_end(mut command: Command) -> Command {
    command.arg("-ign_eof");
    command
}

#[track_caller]
fn check(pki: &Pki, tls: &str) -> Finished {
    pki.write("checked.yaml", &config(&Backend::start(), tls));
    let file = pki.path("checked.yaml");
    finished(portcullis(["check", "-c", &file.display().to_string()]), "")
}

fn line<'o>(output: &'o str, start: &str) -> Option<&'o str> {
    output
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with(start))
}

fn subject(output: &str) -> Option<&str> {
    line(output, "subject=").map(|line| line.trim_start_matches("subject=CN = "))
}

// --- Certificates and keys in every form ---

#[test]
fn a_key_is_read_in_every_form_that_openssl_writes() {
    let pki = Pki::new();
    pki.write("pass", "s3cret\n");
    let forms = [
        ("pkcs8-ec", Key::Ecdsa, "pkey -in IN"),
        ("sec1", Key::Ecdsa, "pkey -in IN -traditional"),
        ("pkcs1", Key::Rsa, "pkey -in IN -traditional"),
        ("pkcs8-rsa", Key::Rsa, "pkey -in IN"),
        (
            "pbes2",
            Key::Ecdsa,
            "pkcs8 -topk8 -in IN -passout pass:s3cret",
        ),
        (
            "pbes2-sha1",
            Key::Rsa,
            "pkcs8 -topk8 -v2prf hmacWithSHA1 -in IN -passout pass:s3cret",
        ),
        (
            "pbes2-3des",
            Key::Rsa,
            "pkcs8 -topk8 -v2 des3 -in IN -passout pass:s3cret",
        ),
        (
            "pbes1-3des",
            Key::Rsa,
            "pkcs8 -topk8 -v1 PBE-SHA1-3DES -in IN -passout pass:s3cret",
        ),
        (
            "proc-type-aes",
            Key::Rsa,
            "rsa -traditional -aes256 -in IN -passout pass:s3cret",
        ),
        (
            "proc-type-3des",
            Key::Ecdsa,
            "ec -des3 -in IN -passout pass:s3cret",
        ),
        (
            "der-pkcs8",
            Key::Ecdsa,
            "pkcs8 -topk8 -nocrypt -outform DER -in IN",
        ),
        (
            "der-sec1",
            Key::Ecdsa,
            "pkey -traditional -outform DER -in IN",
        ),
        (
            "der-pkcs1",
            Key::Rsa,
            "pkey -traditional -outform DER -in IN",
        ),
        (
            "der-pbes2",
            Key::Ecdsa,
            "pkcs8 -topk8 -outform DER -in IN -passout pass:s3cret",
        ),
    ];
    let mut tls = "  certificates:\n".to_owned();
    for (form, key, convert) in forms {
        pki.leaf(form, key, &[&format!("{form}.example")]);
        pki.join(
            &[&format!("{form}.crt"), "int.crt"],
            &format!("{form}.chain"),
        );
        let convert = convert.replace("IN", &format!("{form}.key"));
        pki.openssl(&format!("{convert} -out {form}.made"));
        // A passphrase that is not needed does no harm.
        tls += &format!(
            "    - {{cert: {form}.chain, key: {form}.made, passphrase: {{file: pass}}}}\n"
        );
    }
    let served = Served::start(&pki, &tls);
    for (form, ..) in forms {
        let name = format!("{form}.example");
        let said = served.s_client(&format!(
            "-servername {name} -verify_hostname {name} -verify_return_error -CAfile {}",
            pki.path("root.crt").display()
        ));
        assert!(
            said.contains("Verify return code: 0 (ok)"),
            "{form}: {said}"
        );
        assert!(said.contains("HTTP/1.1 200"), "{form}: {said}");
    }
}

#[test]
fn a_certificate_may_be_der_and_a_file_may_hold_both() {
    let pki = Pki::new();
    pki.leaf("der", Key::Ecdsa, &["der.example"]);
    pki.openssl("x509 -in der.crt -outform DER -out der.cer");
    pki.leaf("both", Key::Rsa, &["both.example"]);
    pki.join(&["both.key", "int.crt", "both.crt"], "both.pem");
    let served = Served::start(
        &pki,
        "  certificates: [{cert: der.cer, key: der.key}, {cert: both.pem}]",
    );
    for (name, code) in [("der.example", "21"), ("both.example", "0")] {
        let root = pki.path("root.crt").display().to_string();
        let said = served.s_client(&format!("-servername {name} -CAfile {root}"));
        assert_eq!(subject(&said), Some(name), "{said}");
        // 21: nobody sent the intermediate.
        let verified = format!("Verify return code: {code} ");
        assert!(said.contains(&verified), "{name}: {said}");
    }
}

#[test]
fn a_keystore_is_served_as_java_and_openssl_wrote_it() {
    let pki = Pki::new();
    pki.write("store-pass", "store-secret\n");
    for (name, key) in [("first", Key::Rsa), ("second", Key::Ecdsa)] {
        pki.leaf(name, key, &[&format!("{name}.example")]);
        pki.join(&["int.crt", "root.crt"], "above.pem");
        pki.openssl(&format!(
            "pkcs12 -export -inkey {name}.key -in {name}.crt -certfile above.pem -name {name} \
             -out {name}.p12 -passout pass:store-secret"
        ));
        let from = format!("-srckeystore {name}.p12 -srcstorepass store-secret -srcalias {name}");
        let import = "-importkeystore -noprompt -deststoretype JKS -destkeystore both.any";
        let passwords = "-deststorepass store-secret -destkeypass key-secret";
        pki.keytool(&format!("{import} {from} {passwords}"));
    }
    let store = "password: {file: store-pass}";
    let served = Served::start(
        &pki,
        &format!(
            "  certificates:\n    \
             - {{keystore: {{path: first.p12, {store}}}}}\n    \
             - {{keystore: {{path: both.any, {store}, alias: SECOND, key_password: key-secret}}}}\n"
        ),
    );
    for name in ["first.example", "second.example"] {
        let said = served.s_client(&format!(
            "-servername {name} -verify_hostname {name} -CAfile {}",
            pki.path("root.crt").display()
        ));
        assert!(
            said.contains("Verify return code: 0 (ok)"),
            "{name}: {said}"
        );
        assert!(said.contains("HTTP/1.1 200"), "{name}: {said}");
    }
    for (keystore, words) in [
        ("path: first.p12, password: wrong", "first.p12: "),
        (
            "path: both.any, password: {file: store-pass}, alias: second",
            "give that as key_password",
        ),
        (
            "path: both.any, password: {file: store-pass}",
            "several private keys are in it; choose one with alias: ",
        ),
        (
            "path: both.any, password: {file: store-pass}, alias: third",
            "no entry is named third; it has: ",
        ),
    ] {
        let checked = check(
            &pki,
            &format!("  certificates: [{{keystore: {{{keystore}}}}}]"),
        );
        assert_eq!(checked.code, Some(1), "{keystore}: {checked:?}");
        assert!(checked.errors.contains(words), "{keystore}: {checked:?}");
        assert!(
            !checked.errors.contains("secret"),
            "{keystore}: {checked:?}"
        );
    }
}

#[test]
fn a_chain_in_any_order_is_sent_from_leaf_to_root() {
    let pki = Pki::new();
    pki.leaf("leaf", Key::Ecdsa, &["localhost"]);
    pki.leaf("stranger", Key::Ecdsa, &["stranger.example"]);
    pki.join(
        &["root.crt", "stranger.crt", "leaf.crt", "int.crt"],
        "chain.pem",
    );
    let tls = "  certificates: [{cert: chain.pem, key: leaf.key}]";
    let checked = check(&pki, tls);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let warning = "not in the chain of the certificate, and not sent: stranger.example";
    assert!(checked.out.contains(warning), "{checked:?}");
    let served = Served::start(&pki, tls);
    let said = served.s_client("-showcerts");
    let sent: Vec<_> = said
        .lines()
        .filter(|line| line.contains(" s:CN = "))
        .collect();
    let expected = [
        " 0 s:CN = localhost",
        " 1 s:CN = Test Intermediate",
        " 2 s:CN = Test Root",
    ];
    assert_eq!(sent, expected, "{said}");
}

#[test]
fn a_missing_intermediate_is_warned_about_and_one_that_is_there_is_not() {
    let pki = Pki::new();
    pki.leaf("leaf", Key::Ecdsa, &["localhost"]);
    pki.join(&["leaf.crt", "int.crt"], "chain.pem");
    let alone = check(&pki, "  certificates: [{cert: leaf.crt, key: leaf.key}]");
    let warning = "holds no intermediate certificate, so it is good for clients that trust \"Test Intermediate\" itself";
    assert!(alone.out.contains(warning), "{alone:?}");
    // With the place of the certificate in the configuration, and its file.
    let place = format!(
        "tls.certificates[0]: {}: holds no",
        pki.path("leaf.crt").display()
    );
    assert!(alone.out.contains(&place), "{alone:?}");
    let whole = check(&pki, "  certificates: [{cert: chain.pem, key: leaf.key}]");
    assert!(!whole.out.contains("warning"), "{whole:?}");
    let served = Served::start(&pki, "  certificates: [{cert: leaf.crt, key: leaf.key}]");
    let warned = |line: &Value| line["message"].to_string().contains("intermediate");
    assert!(served.gate.line_where(warned).is_some());
}

#[test]
fn what_a_root_may_have_signed_lacks_no_intermediate() {
    let pki = Pki::new();
    let sign = |file: &str, extensions: &str| {
        pki.leaf(file, Key::Ecdsa, &["localhost"]);
        let ext = format!("{file}.ext");
        pki.write(&ext, &(pki.read(&ext) + extensions));
        pki.openssl(&format!(
            "x509 -req -in {file}.csr -CA root.crt -CAkey root.key -days 5 -extfile {ext} -out {file}.crt"
        ));
        check(
            &pki,
            &format!("  certificates: [{{cert: {file}.crt, key: {file}.key}}]"),
        )
        .out
    };
    assert!(!sign("private", "").contains("warning"));
    // One that says where its issuer is to be had needs that: public CAs never sign with a root.
    let public = "authorityInfoAccess=caIssuers;URI:http://ca.example/ca.cer\n";
    assert!(sign("public", public).contains("append the certificate of \"Test Root\""));
    let status = "authorityInfoAccess=OCSP;URI:http://ca.example/ocsp\n";
    assert!(!sign("status", status).contains("warning"));
}

#[test]
fn each_thing_that_is_wrong_with_a_pair_has_its_own_message() {
    let pki = Pki::new();
    pki.leaf("a", Key::Ecdsa, &["a.example"]);
    pki.leaf("b", Key::Rsa, &["b.example"]);
    pki.leaf_for_days("old", Key::Ecdsa, &["old.example"], -1);
    pki.openssl("pkcs8 -topk8 -in b.key -passout pass:right -out b.enc");
    pki.openssl("pkcs8 -topk8 -v2prf hmacWithSHA512 -in b.key -passout pass:right -out b.sha512");
    pki.openssl("pkcs8 -topk8 -scrypt -in b.key -passout pass:right -out b.scrypt");
    pki.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out weak.key");
    pki.openssl("req -x509 -key weak.key -subj /CN=weak -days 5 -out weak.crt");
    pki.openssl("pkcs12 -export -inkey a.key -in a.crt -passout pass:right -out a.p12");
    pki.openssl("pkey -in a.key -pubout -out a.pub");
    pki.write("wrong", "wrong\n");
    pki.write("two", "one\ntwo\n");
    pki.write("empty", "");
    pki.write("text", "hello\n");
    pki.write("cut.crt", &pki.read("a.crt")[..300]);
    pki.write("broken.key", &pki.read("a.key").replace('M', "N"));
    for (pair, words) in [
        (
            "cert: none.crt, key: a.key",
            "none.crt: cannot read the certificate: No such file",
        ),
        (
            "cert: a.crt, key: none.key",
            "none.key: cannot read the private key: No such file",
        ),
        (
            "cert: a.crt, key: b.key",
            "b.key: this key does not belong to the certificate in ",
        ),
        (
            "cert: a.crt",
            "a.crt: found a certificate; expected a private key",
        ),
        (
            "cert: a.key, key: a.key",
            "a.key: found a private key; expected a certificate",
        ),
        (
            "cert: a.csr, key: a.key",
            "a.csr: found a certificate request, which a CA has yet to sign",
        ),
        (
            "cert: a.crt, key: a.pub",
            "a.pub: found a public key; expected a private key",
        ),
        (
            "cert: empty, key: a.key",
            "empty: found an empty file; expected a certificate",
        ),
        (
            "cert: a.crt, key: text",
            "text: found neither PEM nor DER; expected a private key",
        ),
        (
            "cert: cut.crt, key: a.key",
            "cut.crt: the certificate is damaged",
        ),
        (
            "cert: a.crt, key: broken.key",
            "broken.key: the private key is damaged",
        ),
        (
            "cert: a.p12, key: a.key",
            "a.p12: found a PKCS#12 keystore (write it as",
        ),
        (
            "cert: old.crt, key: old.key",
            "old.crt: the certificate expired on Feb  1",
        ),
        (
            "cert: weak.crt, key: weak.key",
            "weak.key: an RSA key of 1024 bits can be broken",
        ),
        (
            "cert: b.crt, key: b.enc",
            "b.enc: the private key is encrypted; write its passphrase",
        ),
        (
            "cert: b.crt, key: b.enc, passphrase: {file: wrong}",
            "b.enc: the passphrase does not open",
        ),
        (
            "cert: b.crt, key: b.enc, passphrase: {file: two}",
            "two: expected a password on one line, found several lines",
        ),
        (
            "cert: b.crt, key: b.enc, passphrase: {file: gone}",
            "gone: cannot read the password",
        ),
        (
            "cert: b.crt, key: b.sha512, passphrase: right",
            "b.sha512: the private key is encrypted, and its key derivation uses another function than HMAC with SHA-1 or SHA-256",
        ),
        (
            "cert: b.crt, key: b.scrypt, passphrase: right",
            "b.scrypt: the private key is encrypted, and its key derivation is not PBKDF2",
        ),
        (
            "keystore: {path: a.crt}",
            "a.crt: found a certificate; expected a keystore",
        ),
        (
            "cert: a.crt, key: a.key, ocsp: text",
            "text: expected an OCSP response in DER",
        ),
    ] {
        let checked = check(&pki, &format!("  certificates: [{{{pair}}}]"));
        assert_eq!(checked.code, Some(1), "{pair}: {checked:?}");
        assert!(checked.errors.contains(words), "{pair}: {checked:?}");
        assert!(
            checked.errors.contains("tls.certificates[0]"),
            "{pair}: {checked:?}"
        );
        assert!(!checked.errors.contains("right"), "{pair}: {checked:?}");
    }
    let good = "cert: b.crt, key: b.enc, passphrase: right";
    let checked = check(&pki, &format!("  certificates: [{{{good}}}]"));
    assert_eq!(checked.code, Some(0), "{checked:?}");
    // All that is wrong is said at once.
    let checked = check(
        &pki,
        "  certificates: [{cert: none.crt, key: a.key}, {cert: a.crt, key: b.key}]",
    );
    assert!(
        checked.errors.contains("tls.certificates[0]"),
        "{checked:?}"
    );
    assert!(
        checked.errors.contains("tls.certificates[1]"),
        "{checked:?}"
    );
    // And once.
    assert_eq!(checked.errors.lines().count(), 2, "{checked:?}");
}

#[test]
fn what_clients_will_not_accept_is_refused_or_warned_about() {
    let pki = Pki::new();
    pki.leaf("good", Key::Ecdsa, &["localhost"]);
    pki.write(
        "client.ext",
        "subjectAltName=DNS:localhost\nextendedKeyUsage=clientAuth\n",
    );
    for (name, options) in [("client", "-extfile client.ext"), ("nameless", "")] {
        pki.openssl(&format!(
            "x509 -req -in good.csr -CA int.crt -CAkey int.key -days 9 {options} -out {name}.crt"
        ));
    }
    for (cert, words) in [
        ("client.crt", "is for TLS client and not for a TLS server"),
        ("nameless.crt", "has no subject alternative name"),
    ] {
        let checked = check(
            &pki,
            &format!("  certificates: [{{cert: {cert}, key: good.key}}]"),
        );
        assert!(checked.out.contains(words), "{checked:?}");
    }
    let authority = check(&pki, "  certificates: [{cert: int.crt, key: int.key}]");
    assert_eq!(authority.code, Some(1), "{authority:?}");
    assert!(
        authority.errors.contains("this is the certificate of a CA"),
        "{authority:?}"
    );
    for (ciphers, is_good) in [("ECDHE-RSA", false), ("ECDHE-ECDSA", true)] {
        let tls = format!(
            "  certificates: [{{cert: good.crt, key: good.key}}]\n  \
             ciphers: {ciphers}-AES128-GCM-SHA256"
        );
        let checked = check(&pki, &tls);
        let words = "tls.ciphers names no suite for its ECDSA key";
        assert_eq!(!checked.out.contains(words), is_good, "{checked:?}");
    }
    // As an editor on Windows leaves it.
    for file in ["good.crt", "good.key"] {
        pki.write(
            file,
            &format!("\u{feff}{}", pki.read(file).replace('\n', "\r\n")),
        );
    }
    let good = check(&pki, "  certificates: [{cert: good.crt, key: good.key}]");
    assert_eq!(good.code, Some(0), "{good:?}");
    for words in ["subject alternative", "not for a TLS server"] {
        assert!(!good.out.contains(words), "{good:?}");
    }
}

#[test]
fn a_passphrase_comes_from_a_file_the_environment_or_a_credential() {
    let pki = Pki::new();
    pki.leaf("a", Key::Ecdsa, &["localhost"]);
    pki.openssl("pkcs8 -topk8 -in a.key -passout pass:s3cret -out a.enc");
    pki.write("key-pass", "s3cret\n");
    let backend = Backend::start();
    let folder = pki.folder().display().to_string();
    for passphrase in [
        "s3cret",
        "${KEY_PASS}",
        "{file: key-pass}",
        "{env: KEY_PASS}",
        "{credential: key-pass}",
    ] {
        let quoted = match passphrase.starts_with('{') {
            true => passphrase.to_owned(),
            false => format!("\"{passphrase}\""),
        };
        let pair = format!("  certificates: [{{cert: a.crt, key: a.enc, passphrase: {quoted}}}]");
        pki.write("portcullis.yaml", &config(&backend, &pair));
        let variables = [("KEY_PASS", "s3cret"), ("CREDENTIALS_DIRECTORY", &folder)];
        let gate = Gate::start_file(&pki.path("portcullis.yaml"), &variables);
        assert_eq!(gate.curl().get("/").status, 200, "{passphrase}");
        assert!(!gate.log().contains("s3cret"), "{passphrase}");
    }
}

#[test]
fn a_passphrase_is_asked_for_on_a_terminal() {
    let pki = Pki::new();
    pki.leaf("a", Key::Ecdsa, &["localhost"]);
    pki.openssl("pkcs8 -topk8 -in a.key -passout pass:s3cret -out a.enc");
    pki.write(
        "asked.yaml",
        &config(
            &Backend::start(),
            "  certificates: [{cert: a.crt, key: a.enc}]",
        ),
    );
    for (typed, code) in [("s3cret\n", 0), ("wrong\n", 1)] {
        let binary = crate::harness::gate::BINARY;
        let file = pki.path("asked.yaml").display().to_string();
        // script gives it a terminal.
        let mut command = Command::new("script");
        command.args(["-qec", &format!("{binary} check -c {file}"), "/dev/null"]);
        let done = finished(command, typed);
        assert_eq!(done.code, Some(code), "{done:?}");
        assert!(done.out.contains("Password for "), "{done:?}");
    }
}

// --- Certificates by name ---

#[test]
fn the_certificate_is_chosen_by_the_name_that_is_asked_for() {
    let pki = Pki::new();
    pki.leaf("first", Key::Ecdsa, &["first.example"]);
    pki.leaf("wild", Key::Ecdsa, &["*.plant.example", "plant.example"]);
    pki.leaf("one", Key::Ecdsa, &["one.plant.example"]);
    let served = Served::start(
        &pki,
        "  certificates:\n    - {cert: first.crt, key: first.key}\n    \
         - {cert: wild.crt, key: wild.key}\n    - {cert: one.crt, key: one.key}\n",
    );
    for (asked, expected) in [
        ("-servername first.example", "first.example"),
        ("-servername one.plant.example", "one.plant.example"),
        ("-servername ONE.Plant.Example", "one.plant.example"),
        ("-servername one.plant.example.", "one.plant.example"),
        ("-servername two.plant.example", "*.plant.example"),
        ("-servername TWO.PLANT.EXAMPLE.", "*.plant.example"),
        ("-servername plant.example", "*.plant.example"),
        ("-servername a.b.plant.example", "first.example"),
        ("-servername nobody.example", "first.example"),
        ("-noservername", "first.example"),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            let said = served.s_client(&format!("{asked} {version}"));
            assert_eq!(subject(&said), Some(expected), "{asked} {version}: {said}");
            assert!(said.contains("HTTP/1.1 200"), "{asked} {version}: {said}");
        }
    }
}

#[test]
fn of_two_kinds_of_key_for_a_name_the_client_gets_the_one_that_it_can_use() {
    let pki = Pki::new();
    pki.leaf("r", Key::Rsa, &["localhost"]);
    pki.leaf("e", Key::Ecdsa, &["localhost"]);
    let served = Served::start(
        &pki,
        "  certificates: [{cert: r.crt, key: r.key}, {cert: e.crt, key: e.key}]",
    );
    for (client, kind) in [
        ("-tls1_3 -servername localhost", "ECDSA"),
        ("-tls1_2", "ECDSA"),
        ("-tls1_3 -noservername", "ECDSA"),
        ("-tls1_3 -sigalgs rsa_pss_rsae_sha256", "RSA"),
        ("-tls1_3 -sigalgs ecdsa_secp256r1_sha256", "ECDSA"),
        (
            "-tls1_3 -sigalgs ecdsa_secp384r1_sha384:rsa_pss_rsae_sha256",
            "RSA",
        ),
        ("-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256", "RSA"),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA"),
        ("-tls1_2 -sigalgs RSA+SHA256", "RSA"),
        ("-tls1_2 -groups P-384", "RSA"),
        ("-tls1_2 -groups P-384:P-256", "ECDSA"),
    ] {
        let said = served.s_client(client);
        let signed = line(&said, "Peer signature type: ").unwrap_or_default();
        assert!(signed.contains(kind), "{client}: {said}");
        assert!(said.contains("HTTP/1.1 200"), "{client}: {said}");
    }
}

#[test]
fn a_wildcard_serves_a_name_whose_own_certificate_the_client_cannot_use() {
    let pki = Pki::new();
    pki.leaf("e", Key::Ecdsa, &["one.gate.example"]);
    pki.leaf("r", Key::Rsa, &["*.gate.example"]);
    let served = Served::start(
        &pki,
        "  certificates: [{cert: e.crt, key: e.key}, {cert: r.crt, key: r.key}]",
    );
    for (client, kind) in [
        ("-tls1_3", "ECDSA"),
        ("-tls1_3 -sigalgs rsa_pss_rsae_sha256", "RSA"),
        ("-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256", "RSA"),
    ] {
        let said = served.s_client(&format!("{client} -servername one.gate.example"));
        let signed = line(&said, "Peer signature type: ").unwrap_or_default();
        assert!(signed.contains(kind), "{client}: {said}");
    }
}

#[test]
fn an_ed25519_key_serves_clients_that_know_it() {
    let pki = Pki::new();
    pki.openssl("genpkey -algorithm ED25519 -out d.key");
    pki.write("d.ext", "subjectAltName=DNS:localhost\n");
    pki.openssl("req -new -key d.key -subj /CN=localhost -out d.csr");
    pki.openssl("x509 -req -in d.csr -CA int.crt -CAkey int.key -days 9 -extfile d.ext -out d.crt");
    let tls = "  certificates: [{cert: d.crt, key: d.key}]";
    let checked = check(&pki, tls);
    assert!(
        checked.out.contains("browsers do not know Ed25519 keys"),
        "{checked:?}"
    );
    let served = Served::start(&pki, tls);
    for (client, good) in [
        ("-tls1_2", true),
        ("-tls1_3", true),
        ("-tls1_3 -sigalgs ecdsa_secp256r1_sha256", false),
    ] {
        let said = served.s_client(client);
        assert_eq!(said.contains("HTTP/1.1 200"), good, "{client}: {said}");
    }
}

#[test]
fn a_thousand_certificates_are_served_by_name() {
    let pki = Pki::new();
    pki.key("k", Key::Ecdsa);
    let mut tls = "  certificates:\n".to_owned();
    for number in 0..1000 {
        tls += &format!("    - {{cert: {number}.crt, key: k.key}}\n");
    }
    // One process for all: a thousand calls of openssl would take longer than the test.
    let script = "for i in $(seq 0 999); do printf 'req -x509 -key k.key -subj /CN=%s.example -addext subjectAltName=DNS:%s.example -days 5 -out %s.crt\\n' $i $i $i; done | xargs -P 2 -L 1 openssl";
    let made = Command::new("sh")
        .args(["-c", script])
        .current_dir(pki.folder())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let served = Served::start(&pki, &tls);
    for number in [0, 1, 500, 999] {
        let name = format!("{number}.example");
        let said = served.s_client(&format!("-servername {name}"));
        assert_eq!(subject(&said), Some(&*name), "{said}");
    }
}

// --- Versions, ciphers, groups, ALPN ---

#[test]
fn versions_ciphers_groups_and_alpn_are_those_of_the_policy() {
    let pki = Pki::new();
    pki.leaf("e", Key::Ecdsa, &["localhost"]);
    let certificate = "  certificates: [{cert: e.crt, key: e.key}]\n";
    let served = Served::start(&pki, certificate);
    let is_good = |served: &Served, client: &str| {
        let said = served.s_client(client);
        said.contains("HTTP/1.1 200") || said.contains("ALPN protocol: h2")
    };
    for (client, good) in [
        ("-tls1_2", true),
        ("-tls1_3", true),
        ("-tls1_1 -cipher ALL@SECLEVEL=0", false),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA@SECLEVEL=0", false),
        ("-tls1_3 -groups P-384", true),
        ("-tls1_3 -groups P-521", false),
        ("-alpn h2", true),
        ("-alpn http/1.1", true),
        ("-alpn spdy/1", false),
    ] {
        assert_eq!(is_good(&served, client), good, "{client}");
    }
    for (curl, version) in [(["--tls-max", "1.2"], "1.2"), (["--tls-max", "1.3"], "1.3")] {
        assert_eq!(
            served.gate.curl().args(curl).get("/").status,
            200,
            "{version}"
        );
        let spoke =
            |line: &Value| line["event"] == "access" && line["tls.protocol.version"] == version;
        eventually(version, || served.gate.line_where(spoke));
    }
    served.configure(
        &pki,
        &format!(
            "{certificate}  ciphers: TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\n  groups: secp256r1\n  \
             alpn: http/1.1\n"
        ),
    );
    served.gate.reload("success");
    for (client, good) in [
        ("-tls1_3 -groups P-256", true),
        ("-tls1_3 -groups P-384", false),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384", true),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", false),
        ("-alpn http/1.1", true),
        ("-alpn h2", false),
    ] {
        assert_eq!(is_good(&served, client), good, "{client}");
    }
    served.configure(&pki, &format!("{certificate}  profile: modern\n"));
    served.gate.reload("success");
    for (client, good) in [("-tls1_2", false), ("-tls1_3", true)] {
        assert_eq!(is_good(&served, client), good, "{client}");
    }
}

#[test]
fn an_ocsp_response_is_stapled_while_it_is_good_for_this_certificate() {
    let pki = Pki::new();
    pki.leaf("e", Key::Ecdsa, &["localhost"]);
    pki.leaf("other", Key::Ecdsa, &["other.example"]);
    // The index of the CA: the serial numbers that it knows as good, or revoked.
    let index = |revoked: bool| {
        let mut lines = String::new();
        for name in ["e", "other"] {
            let out = pki.openssl(&format!("x509 -in {name}.crt -noout -serial"));
            let out = String::from_utf8(out.stdout).unwrap();
            let serial = out.trim().trim_start_matches("serial=").to_owned();
            let state = if revoked {
                "R\t400101000000Z\t250101000000Z"
            } else {
                "V\t400101000000Z\t"
            };
            lines += &format!("{state}\t{serial}\tunknown\t/CN={name}\n");
        }
        pki.write("ocsp-index.txt", &lines);
    };
    let respond = |name: &str, file: &str| {
        pki.openssl(&format!(
            "ocsp -index ocsp-index.txt -CA int.crt -rsigner int.crt -rkey int.key -issuer int.crt \
             -cert {name}.crt -ndays 2 -respout {file} -noverify"
        ));
    };
    index(false);
    respond("e", "e.ocsp");
    respond("other", "other.ocsp");
    let pair = |ocsp: &str| format!("  certificates: [{{cert: e.crt, key: e.key, ocsp: {ocsp}}}]");
    let served = Served::start(&pki, &pair("e.ocsp"));
    for version in ["-tls1_2", "-tls1_3"] {
        let said = served.s_client(&format!("-status {version}"));
        assert!(said.contains("OCSP Response Status: successful"), "{said}");
        // Nobody gets it who did not ask.
        assert!(!served.s_client(version).contains("OCSP"), "{version}");
    }
    served.configure(&pki, &pair("other.ocsp"));
    served.gate.reload("success");
    assert!(
        served
            .gate
            .log()
            .contains("is about another certificate, and is not sent")
    );
    let said = served.s_client("-status");
    assert!(said.contains("OCSP response: no response sent"), "{said}");
    index(true);
    respond("e", "revoked.ocsp");
    let checked = check(&pki, &pair("revoked.ocsp"));
    assert!(
        checked
            .errors
            .contains("says that the certificate is revoked"),
        "{checked:?}"
    );
}

// --- Resumption ---

/// Connects with the session of an earlier connection; whether it was resumed.
#[track_caller]
fn resumes(pki: &Pki, from: &Served, to: &Served, version: &str) -> bool {
    let file = pki.path("session").display().to_string();
    drop(std::fs::remove_file(&file));
    let first = from.s_client(&format!("{version} -servername localhost -sess_out {file}"));
    assert!(first.contains("HTTP/1.1 200"), "{first}");
    if !std::path::Path::new(&file).exists() {
        return false;
    }
    let second = to.s_client(&format!("{version} -servername localhost -sess_in {file}"));
    assert!(second.contains("HTTP/1.1 200"), "{second}");
    second.lines().any(|line| line.starts_with("Reused, "))
}

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

#[test]
fn a_session_is_resumed_here_and_where_the_ticket_keys_are_the_same() {
    let pki = Pki::new();
    pki.leaf("e", Key::Ecdsa, &["localhost"]);
    for (file, bytes) in [("one.key", 80), ("two.key", 48)] {
        pki.openssl(&format!("rand -out {file} {bytes}"));
    }
    let certificate = "  certificates: [{cert: e.crt, key: e.key}]\n";
    let with = |tickets: &str| Served::start(&pki, &format!("{certificate}  tickets: {tickets}\n"));
    let random = [
        Served::start(&pki, certificate),
        Served::start(&pki, certificate),
    ];
    let shared = [
        with("{keys: [one.key]}"),
        with("{keys: [two.key, one.key]}"),
        with("{keys: two.key}"),
    ];
    let off = with("off");
    for version in VERSIONS {
        assert!(resumes(&pki, &random[0], &random[0], version), "{version}");
        assert!(!resumes(&pki, &random[0], &random[1], version), "{version}");
        assert!(resumes(&pki, &shared[0], &shared[1], version), "{version}");
        assert!(resumes(&pki, &shared[1], &shared[2], version), "{version}");
        assert!(!resumes(&pki, &shared[1], &shared[0], version), "{version}");
        assert!(!resumes(&pki, &shared[0], &random[0], version), "{version}");
        assert!(!resumes(&pki, &off, &off, version), "{version}");
    }
}

#[test]
fn a_ticket_is_good_as_long_as_its_key_is_among_those_in_the_files() {
    let pki = Pki::new();
    pki.leaf("e", Key::Ecdsa, &["localhost"]);
    for file in ["old", "new"] {
        pki.openssl(&format!("rand -base64 -out {file}.raw 80"));
        let line = pki.read(&format!("{file}.raw")).replace('\n', "");
        pki.write(file, &format!("{line}\n"));
    }
    pki.join(&["old"], "tickets");
    let served = Served::start(
        &pki,
        "  certificates: [{cert: e.crt, key: e.key}]\n  tickets: {keys: [tickets]}\n",
    );
    let file = pki.path("session").display().to_string();
    drop(served.s_client(&format!("-tls1_2 -sess_out {file}")));
    let is_resumed = || {
        let said = served.s_client(&format!("-tls1_2 -sess_in {file}"));
        assert!(said.contains("HTTP/1.1 200"), "{said}");
        said.lines().any(|line| line.starts_with("Reused, "))
    };
    for (keys, expected) in [(&["new", "old"][..], true), (&["new"], false)] {
        pki.join(keys, "tickets");
        served.gate.reload("success");
        assert_eq!(is_resumed(), expected, "{keys:?}");
    }
    // What is no key keeps those that there are.
    pki.write("tickets", "hello\n");
    served.gate.reload("failure");
    drop(served.s_client(&format!("-tls1_2 -sess_out {file}")));
    assert!(is_resumed());
}

#[test]
fn a_session_outlives_the_certificate_and_not_the_policy() {
    let pki = Pki::new();
    pki.leaf("e", Key::Ecdsa, &["localhost"]);
    let certificate = "  certificates: [{cert: e.crt, key: e.key}]\n";
    let served = Served::start(&pki, certificate);
    let file = pki.path("session").display().to_string();
    let begin = |version: &str| {
        let said = served.s_client(&format!("{version} -sess_out {file}"));
        assert!(said.contains("HTTP/1.1 200"), "{said}");
    };
    let is_resumed = |version: &str| {
        let said = served.s_client(&format!("{version} -sess_in {file}"));
        assert!(said.contains("HTTP/1.1 200"), "{said}");
        said.lines().any(|line| line.starts_with("Reused, "))
    };
    for version in VERSIONS {
        begin(version);
        pki.leaf("e", Key::Ecdsa, &["localhost"]);
        served.gate.reload("success");
        assert!(is_resumed(version), "{version}: another certificate");
        // Nobody else's session, even with a name that we answer to.
        begin(version);
        pki.leaf("e", Key::Ecdsa, &["localhost", "other.example"]);
        served.gate.reload("success");
        assert!(!is_resumed(version), "{version}: other names");
        pki.leaf("e", Key::Ecdsa, &["localhost"]);
        served.gate.reload("success");
    }
    // From a lax policy into a strict one.
    begin("-tls1_3");
    served.configure(&pki, &format!("{certificate}  profile: modern\n"));
    served.gate.reload("success");
    assert!(!is_resumed("-tls1_3"));
    begin("-tls1_3");
    assert!(is_resumed("-tls1_3"));
}

// --- Changes while it runs ---

#[test]
fn a_new_certificate_is_served_without_being_told() {
    let pki = Pki::new();
    pki.leaf("e", Key::Ecdsa, &["old.example", "localhost"]);
    let served = Served::start(&pki, "  certificates: [{cert: e.crt, key: e.key}]");
    assert_eq!(subject(&served.s_client("")), Some("old.example"));
    pki.leaf("new", Key::Ecdsa, &["new.example", "localhost"]);
    // As certbot does it: another file under the same name.
    for extension in ["key", "crt"] {
        let new = pki.path(&format!("new.{extension}"));
        std::fs::rename(new, pki.path(&format!("e.{extension}"))).unwrap();
    }
    eventually("the new certificate", || {
        (subject(&served.s_client("")) == Some("new.example")).then_some(())
    });
    let told = served.gate.line("tls.certificate").unwrap();
    assert_eq!(told["tls.server.subject"], "new.example", "{told}");
    let metrics = served.gate.metrics();
    let gauge = "portcullis_tls_certificate_not_after_timestamp_seconds{purpose=\"server\",serial=";
    let shown: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with(gauge))
        .collect();
    assert_eq!(shown.len(), 1, "{metrics}");
    assert!(shown[0].contains("subject=\"new.example\""), "{shown:?}");
    // Both are good for ten days, which is less than three weeks.
    let soon = |subject: &str| {
        let is_it = |line: &Value| {
            line["event"] == "tls.certificate_expires" && line["tls.server.subject"] == subject
        };
        served.gate.line_where(is_it)
    };
    for subject in ["old.example", "new.example"] {
        assert!(soon(subject).is_some(), "{subject}");
    }
    served.gate.await_metric(
        "portcullis_config_reloads_total",
        &[("result", "success")],
        1.0,
    );
}

#[test]
fn a_volume_that_is_swapped_by_kubernetes_is_noticed() {
    use std::os::unix::fs::symlink;
    let pki = Pki::new();
    let mount = pki.path("mount");
    std::fs::create_dir(&mount).unwrap();
    // As the kubelet does it: a folder of its own for each state, a link to it, links to the files.
    let publish = |state: &str| {
        pki.leaf("e", Key::Ecdsa, &[&format!("{state}.example")]);
        let folder = mount.join(format!("..{state}"));
        std::fs::create_dir(&folder).unwrap();
        for (from, to) in [("e.crt", "tls.crt"), ("e.key", "tls.key")] {
            std::fs::copy(pki.path(from), folder.join(to)).unwrap();
        }
        symlink(format!("..{state}"), mount.join("..data_tmp")).unwrap();
        std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    publish("one");
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), mount.join(file)).unwrap();
    }
    let tls = "  certificates: [{cert: mount/tls.crt, key: mount/tls.key}]";
    let served = Served::start(&pki, tls);
    assert_eq!(subject(&served.s_client("")), Some("one.example"));
    for state in ["two", "three"] {
        publish(state);
        let name = format!("{state}.example");
        eventually(state, || {
            (subject(&served.s_client("")) == Some(&*name)).then_some(())
        });
    }
}

#[test]
fn what_is_wrong_keeps_the_old_and_says_so_and_what_is_right_again_is_taken() {
    let pki = Pki::new();
    pki.leaf("e", Key::Ecdsa, &["old.example"]);
    pki.leaf("new", Key::Ecdsa, &["new.example"]);
    let good = "  certificates: [{cert: e.crt, key: e.key}]\n";
    let served = Served::start(&pki, good);
    let (gate, metric) = (&served.gate, "portcullis_config_last_reload_successful");
    gate.await_metric(metric, &[], 1.0);
    let old = (pki.read("e.crt"), pki.read("e.key"));
    let broken: [(&str, &dyn Fn()); 4] = [
        ("does not belong", &|| {
            pki.write("e.key", &pki.read("new.key"))
        }),
        ("cannot read the private key", &|| {
            std::fs::remove_file(pki.path("e.key")).unwrap()
        }),
        ("is damaged", &|| pki.write("e.crt", &old.0[..200])),
        ("tls.profil: unknown key", &|| {
            served.configure(&pki, &format!("{good}  profil: x\n"))
        }),
    ];
    for (words, break_it) in broken {
        break_it();
        served.gate.reload("failure");
        assert!(gate.log().contains(words), "{words}");
        assert_eq!(
            subject(&served.s_client("")),
            Some("old.example"),
            "{words}"
        );
        gate.await_metric(metric, &[], 0.0);
        pki.write("e.crt", &old.0);
        pki.write("e.key", &old.1);
        served.configure(&pki, good);
        served.gate.reload("success");
        gate.await_metric(metric, &[], 1.0);
    }
    pki.write("e.crt", &pki.read("new.crt"));
    pki.write("e.key", &pki.read("new.key"));
    served.gate.reload("success");
    assert_eq!(subject(&served.s_client("")), Some("new.example"));
    // Asked without a change, it says that there was none.
    served.gate.reload("unchanged");
}

#[test]
fn a_certificate_that_goes_bad_does_not_keep_the_others_from_being_renewed() {
    let pki = Pki::new();
    for name in ["a", "b"] {
        pki.leaf(name, Key::Ecdsa, &[&format!("{name}.example")]);
    }
    let both = "  certificates: [{cert: a.crt, key: a.key}, {cert: b.crt, key: b.key}]\n";
    let served = Served::start(&pki, both);
    let serial = |name: &str| {
        let said = served.s_client(&format!("-servername {name}.example -showcerts"));
        assert_eq!(subject(&said), Some(&*format!("{name}.example")), "{said}");
        let start = said.find("-----BEGIN").unwrap();
        said[start..].split("-----END").next().unwrap().to_owned()
    };
    let before = [serial("a"), serial("b")];
    pki.leaf("a", Key::Ecdsa, &["a.example"]);
    pki.write("b.key", "broken");
    served.gate.reload("failure");
    assert_ne!(serial("a"), before[0]);
    assert_eq!(serial("b"), before[1]);
    let log = served.gate.log();
    assert!(log.contains("tls.certificates[1]: "), "{log}");
    assert!(
        log.contains("these certificates stay as they were before"),
        "{log}"
    );
    // One that was never there has nothing to stay as: that configuration is not applied, and the
    // files of the one in force go on counting.
    let kept = serial("a");
    pki.leaf("a", Key::Ecdsa, &["a.example"]);
    served.configure(&pki, &both.replace("b.crt", "nowhere.crt"));
    served.gate.reload("failure");
    assert_ne!(serial("a"), kept);
    let log = served.gate.log();
    assert!(log.contains("tls stays as it was before"), "{log}");
}

#[test]
fn a_file_that_comes_after_the_configuration_that_names_it_is_taken() {
    let pki = Pki::new();
    pki.leaf("e", Key::Ecdsa, &["old.example"]);
    pki.leaf("new", Key::Ecdsa, &["new.example"]);
    std::fs::create_dir(pki.path("later")).unwrap();
    let served = Served::start(&pki, "  certificates: [{cert: e.crt, key: e.key}]\n");
    let tls = "  certificates: [{cert: later/x.crt, key: later/x.key}]\n";
    served.configure(&pki, tls);
    served.gate.reload("failure");
    assert_eq!(subject(&served.s_client("")), Some("old.example"));
    for extension in ["key", "crt"] {
        let new = pki.path(&format!("new.{extension}"));
        std::fs::rename(new, pki.path(&format!("later/x.{extension}"))).unwrap();
    }
    eventually("the new certificate", || {
        (subject(&served.s_client("")) == Some("new.example")).then_some(())
    });
}

#[test]
fn what_changes_while_a_change_is_loaded_is_taken_after_it() {
    let pki = Pki::new();
    pki.leaf("slow", Key::Ecdsa, &["slow.example"]);
    pki.openssl(
        "pkcs12 -export -in slow.crt -inkey slow.key -passout pass:x -iter 1000000 -out slow.p12",
    );
    let show = |name: &str| {
        pki.leaf("e", Key::Ecdsa, &[name]);
        let both = [pki.read("e.crt"), pki.read("e.key")].concat();
        pki.write("new.pem", &both);
        std::fs::rename(pki.path("new.pem"), pki.path("e.pem")).unwrap();
    };
    show("one.example");
    // That of e is read first, then the other takes its time.
    let served = Served::start(
        &pki,
        "  certificates: [{cert: e.pem}, {keystore: {path: slow.p12, password: x}}]\n",
    );
    let before = served.gate.cpu_of_thread("reload");
    show("two.example");
    // That much time it takes only for the other, after that of e was read.
    eventually("a reload that is under way", || {
        let now = served.gate.cpu_of_thread("reload");
        (now - before >= Duration::from_millis(50)).then_some(())
    });
    show("three.example");
    eventually("the last certificate", || {
        (subject(&served.s_client("")) == Some("three.example")).then_some(())
    });
}

#[test]
fn a_pipe_in_the_place_of_a_certificate_keeps_nobody_waiting() {
    let pki = Pki::new();
    pki.leaf("e", Key::Ecdsa, &["localhost"]);
    let mut served = Served::start(&pki, "  certificates: [{cert: e.crt, key: e.key}]");
    std::fs::remove_file(pki.path("e.crt")).unwrap();
    let pipe = pki.path("e.crt").display().to_string();
    assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    served.gate.reload("failure");
    assert!(served.gate.log().contains("not a regular file"));
    served.gate.signal("TERM");
    eventually("the end", || (!served.gate.is_running()).then_some(()));
}

#[test]
fn a_change_elsewhere_in_the_configuration_is_said_to_wait_for_a_restart() {
    let pki = Pki::new();
    pki.leaf("e", Key::Ecdsa, &["localhost"]);
    let tls = "  certificates: [{cert: e.crt, key: e.key}]\n";
    let served = Served::start(&pki, tls);
    served.configure(&pki, &format!("{tls}limits: {{body: 1MiB}}\n"));
    served.gate.reload("restart_needed");
    let waiting = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.ends_with("; restart to apply: limits")
    };
    assert!(
        served.gate.line_where(waiting).is_some(),
        "{}",
        served.gate.log()
    );
}

#[test]
fn strict_transport_security_is_what_the_configuration_says_now() {
    let pki = Pki::new();
    pki.leaf("e", Key::Ecdsa, &["localhost"]);
    let tls = "  certificates: [{cert: e.crt, key: e.key}]\n";
    let served = Served::start(&pki, tls);
    let said = || {
        let got = served.gate.curl().get("/");
        got.field("strict-transport-security").map(str::to_owned)
    };
    assert_eq!(said(), None);
    served.configure(&pki, &format!("{tls}  hsts: 365d\n"));
    served.gate.reload("success");
    assert_eq!(said().as_deref(), Some("max-age=31536000"));
}

#[test]
fn fifty_new_certificates_under_load_fail_no_request() {
    let pki = Pki::new();
    pki.leaf("e", Key::Ecdsa, &["localhost"]);
    let served = Served::start(&pki, "  certificates: [{cert: e.crt, key: e.key}]");
    let gate = &served.gate;
    let (stop, asked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    std::thread::scope(|scope| {
        // One that connects anew for each request, and one that stays.
        for keeps in [false, true] {
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            scope.spawn(move || {
                let mut connection = gate.connect();
                let mut is_closed = false;
                while !stop.load(Ordering::Relaxed) {
                    // Every 10,000 requests that one has to connect anew as well.
                    if !keeps || is_closed {
                        connection = gate.connect();
                    }
                    connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
                    let head = connection.read_answer();
                    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
                    is_closed = head.to_lowercase().contains("connection: close");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let rotate = || {
            for _ in 0..50 {
                let before = asked.load(Ordering::Relaxed);
                pki.leaf("e", Key::Ecdsa, &["localhost"]);
                served.gate.reload("success");
                eventually("requests meanwhile", || {
                    (asked.load(Ordering::Relaxed) > before).then_some(())
                });
            }
        };
        let rotated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(rotate));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = rotated {
            std::panic::resume_unwind(panic);
        }
    });
    assert!(served.gate.reloads("success") >= 50);
}

// --- Nothing configured ---

#[test]
fn without_a_certificate_one_is_made_for_this_machine_and_kept() {
    use std::os::unix::fs::PermissionsExt;
    let pki = Pki::new();
    let backend = Backend::start();
    let bare = config(&backend, "  {}\nstate: state/folder\n");
    pki.write("portcullis.yaml", &bare);
    let start = || Gate::start_file(&pki.path("portcullis.yaml"), &[]);
    let fingerprint = |gate: &Gate| {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-connect",
            &gate.address.to_string(),
            "-showcerts",
        ]);
        let out = finished(command, "Q\n").out;
        let start = out.find("-----BEGIN").unwrap();
        out[start..].split("-----END").next().unwrap().to_owned()
    };
    let gate = start();
    let warned = |line: &Value| line["message"].to_string().contains("self-signed");
    assert!(gate.line_where(warned).is_some(), "{}", gate.log());
    let first = fingerprint(&gate);
    let curl = |gate: &Gate, host: &str| {
        let kept = pki
            .path("state/folder/self-signed.crt")
            .display()
            .to_string();
        let port = gate.port();
        let resolve = format!("{host}:{port}:127.0.0.1");
        let mut command = Command::new("curl");
        command.args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--cacert",
            &kept,
        ]);
        command.args(["--resolve", &resolve, &format!("https://{host}:{port}/")]);
        finished(command, "").out
    };
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for host in ["localhost", "127.0.0.1", name.trim()] {
        assert_eq!(curl(&gate, host), "200", "{host}");
    }
    assert_eq!(curl(&gate, "other.example"), "000");
    for file in ["self-signed.key", "self-signed.crt"] {
        let path = pki.path(&format!("state/folder/{file}"));
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    drop(gate);
    assert_eq!(fingerprint(&start()), first);
    // One that somebody else may have put there is not ours.
    let open = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(pki.path("state/folder/self-signed.key"), open).unwrap();
    assert_ne!(fingerprint(&start()), first);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_said_and_stops_nobody() {
    let pki = Pki::new();
    pki.write("a-file", "");
    let backend = Backend::start();
    pki.write(
        "portcullis.yaml",
        &config(&backend, "  {}\nstate: a-file/folder\n"),
    );
    let gate = Gate::start_file(&pki.path("portcullis.yaml"), &[]);
    assert_eq!(gate.curl().get("/").status, 200);
    let keys = check(&pki, "  tickets: {keys: [none.key]}\n");
    assert!(
        keys.errors.contains("cannot read the ticket keys"),
        "{keys:?}"
    );
    let warned = |line: &Value| line["message"].to_string().contains("cannot be kept");
    assert!(gate.line_where(warned).is_some(), "{}", gate.log());
    let served = Served { gate, backend };
    let shown = || {
        let said = served.s_client("");
        said.split("-----END").next().map(str::to_owned).unwrap()
    };
    let first = shown().split_off(shown().find("-----BEGIN").unwrap());
    served.gate.reload("unchanged");
    assert!(
        shown().ends_with(&first),
        "as long as it runs, it is the same"
    );
}

// --- What others say of it ---

#[test]
fn testssl_finds_nothing_of_medium_severity_or_worse_with_the_default_configuration() {
    let pki = Pki::new();
    pki.leaf("e", Key::Ecdsa, &["localhost"]);
    pki.leaf("r", Key::Rsa, &["localhost"]);
    pki.join(&["e.crt", "int.crt"], "e.pem");
    pki.join(&["r.crt", "int.crt"], "r.pem");
    let served = Served::start(
        &pki,
        "  certificates: [{cert: e.pem, key: e.key}, {cert: r.pem, key: r.key}]",
    );
    // It takes a minute, and longer beside other tests.
    let mut command = Command::new("timeout");
    command.args([
        "600",
        "testssl",
        "--quiet",
        "--color",
        "0",
        "--warnings",
        "off",
    ]);
    command.args(["--add-ca", "root.crt", "--jsonfile", "found.json"]);
    command.arg(format!("127.0.0.1:{}", served.gate.port()));
    let done = command.current_dir(pki.folder()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let found: Vec<Value> = serde_json::from_str(&pki.read("found.json")).expect(&said);
    let severities = ["MEDIUM", "HIGH", "CRITICAL", "FATAL"];
    let is_bad = |finding: &&Value| severities.contains(&finding["severity"].as_str().unwrap());
    // Not the gate's: a test's certificate, which nobody can revoke, and the fields of an answer
    // that the backend gave.
    let is_ours = |finding: &&Value| {
        let id = finding["id"].as_str().unwrap();
        !id.starts_with("cert_") && id != "security_headers"
    };
    let bad: Vec<_> = found.iter().filter(is_bad).filter(is_ours).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    // It did look: these are among what it looks for.
    for id in [
        "cipher_order",
        "heartbleed",
        "ROBOT",
        "TLS1_3",
        "secure_client_renego",
    ] {
        let looked = found.iter().any(|finding| finding["id"] == id);
        assert!(looked, "{id}: {said}");
    }
}
