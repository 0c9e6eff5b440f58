//! Backends that believe signatures: what they are told, and that others can check it.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::backend::Backend;
use crate::harness::client::fields;
use crate::harness::gate::{self, Gate, in_front_of};
use crate::harness::process::{finished, portcullis};

/// The field that carries a token.
pub const NAME: &str = "x-portcullis-assertion";

/// A part of a token.
pub fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// The keys that the admin listener shows.
pub fn jwks(gate: &Gate) -> Value {
    let got = gate.ask_admin("/.well-known/jwks.json");
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(got.field("content-type"), Some("application/jwk-set+json"));
    serde_json::from_str(&got.body).unwrap()
}

/// Whether openssl finds the signature of `token` good by this key.
pub fn is_signed_by(token: &str, jwk: &Value) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    // RFC 8410: the algorithm, then the key.
    let algorithm = [48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0];
    let x = decode(jwk["x"].as_str().unwrap());
    write("key.der", &[&algorithm[..], &x].concat());
    write("message", message.as_bytes());
    write("signature", &decode(signature));
    let verify = Command::new("openssl")
        .args("pkeyutl -verify -rawin -pubin -keyform DER -inkey key.der".split(' '))
        .args("-in message -sigfile signature".split(' '))
        .current_dir(folder.path())
        .output();
    verify.unwrap().status.success()
}

fn key(folder: &TempDir, algorithm: &str) -> String {
    let file = folder.path().join(format!("{algorithm}.pem"));
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", algorithm, "-out"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_backend_can_check_who_asks_with_the_key_that_the_admin_listener_shows() {
    let backend = Backend::start();
    let folder = tempfile::tempdir().unwrap();
    let key = key(&folder, "ed25519");
    for more in [
        "identity: {headers: jwt}\n".to_owned(),
        format!("identity: {{headers: [jwt], jwt: {{key: {key}}}}}\n"),
    ] {
        let gate = gate::with(backend.address, &more);
        let session = gate.log_in("ralph");
        backend.forget();
        let got = gate.curl().session(&session).get("/page");
        assert_eq!(got.status, 200, "{got:?}");
        let arrived = backend.only();
        let token = arrived.field(NAME).unwrap();
        assert_eq!(arrived.field("x-forwarded-user"), None);
        let parts: Vec<_> = token.split('.').collect();
        let shown = jwks(&gate);
        let shown = &shown["keys"][0];
        assert_eq!(
            decoded(parts[0]),
            json!({"alg": "EdDSA", "typ": "JWT", "kid": shown["kid"]})
        );
        let claims = decoded(parts[1]);
        for (claim, expected) in [
            ("iss", json!("portcullis")),
            ("aud", json!("backend")),
            ("sub", json!("ralph")),
            ("email", json!("ralph@example.com")),
            ("roles", json!(["user"])),
            ("abilities", json!(["user", "view"])),
        ] {
            assert_eq!(claims[claim], expected, "{claims}");
        }
        let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        assert_eq!(lifetime, 60);
        assert!(is_signed_by(token, shown), "{token} {shown}");
        let forged = token.replacen(parts[1], &format!("{}A", parts[1]), 1);
        assert!(!is_signed_by(&forged, shown));
        // Nobody is known on a public route without a session.
        backend.forget();
        gate.curl().get("/public/");
        assert_eq!(backend.only().field(NAME), None);
    }
}

#[test]
fn the_requests_of_a_connection_share_an_assertion() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "identity: {headers: jwt}\n");
    let (ralph, ada) = (gate.log_in("ralph"), gate.log_in("ada"));
    backend.forget();
    let mut connection = gate.connect();
    for session in [&ralph, &ada, &ralph] {
        let cookie = format!("Cookie: __Host-portcullis={session}");
        connection
            .send(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{cookie}\r\n\r\n").as_bytes());
        assert!(connection.read_answer().starts_with("HTTP/1.1 200"));
    }
    let seen = backend.seen();
    let tokens: Vec<_> = seen.iter().map(|it| it.field(NAME).unwrap()).collect();
    assert_eq!(tokens[0], tokens[2]);
    let subject = |token: &str| decoded(token.split('.').nth(1).unwrap())["sub"].clone();
    assert_eq!(
        tokens[..2].iter().map(|it| subject(it)).collect::<Vec<_>>(),
        ["ralph", "ada"]
    );
}

#[test]
fn no_key_is_shown_where_nothing_is_signed() {
    let gate = in_front_of(Backend::start().address);
    assert_eq!(gate.ask_admin("/.well-known/jwks.json").status, 404);
    let gate = gate::with(Backend::start().address, "identity: {headers: jwt}\n");
    let shown = jwks(&gate).to_string();
    // The public half alone.
    assert!(!shown.contains("\"d\""), "{shown}");
    let head = gate.ask_admin("/livez").head;
    assert!(fields(&head).all(|(name, _)| !name.eq_ignore_ascii_case(NAME)));
}

#[test]
fn a_key_that_cannot_sign_is_told_of_with_its_place_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, tls_key) = gate::certificate();
    let rsa = key(&folder, "rsa");
    let file = folder.path().join("portcullis.yaml");
    for (key, message) in [
        (
            rsa.as_str(),
            "found an RSA key; expected an Ed25519 private key",
        ),
        ("missing.pem", "cannot read the signing key"),
    ] {
        let config = format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\n\
             tls: {{certificates: [{{cert: {}, key: {}}}]}}\n\
             upstreams: {{app: {{url: 'http://127.0.0.1:9'}}}}\n\
             routes: [{{public: true}}]\n\
             identity: {{headers: jwt, jwt: {{key: {key}}}}}\n",
            cert.display(),
            tls_key.display(),
        );
        std::fs::write(&file, config).unwrap();
        for (command, code) in [("check", 1), ("run", 78)] {
            let ended = finished(portcullis([command, "-c", file.to_str().unwrap()]), "");
            assert_eq!(ended.code, Some(code), "{ended:?}");
            let place = format!("{}:5:37: identity.jwt.key: ", file.display());
            assert!(ended.errors.starts_with(&place), "{ended:?}");
            assert!(ended.errors.contains(message), "{ended:?}");
        }
    }
}
