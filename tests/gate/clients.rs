//! Whose a certificate is: real certificates and the rules of `clients`, from the connection to
//! what the backend is told.
//!
//! Whether a certificate is good at all is in `client_auth`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::assertions;
use crate::harness::backend::Recorded;
use crate::harness::client::{Connection, Curl, log_in_by_form, status_of};
use crate::harness::gate::PASSWORD;
use crate::harness::pki::{Client, FUTURE, PAST, Pki};
use crate::harness::process::{Process, portcullis};
use crate::harness::served::{Served, file_of, pki, reason_of};
use crate::harness::{eventually, free_port};

const OPTIONAL: &str = "  client_auth: {mode: optional, ca: root.crt}\n";
const PINNED: &str = "  client_auth: pinned\n";

const VERSIONS: [&str; 2] = ["--http1.1", "--http2"];

const ROLES: &str = "roles: {user: [view], administrator: [view, edit], device: [report]}\n";

/// A certificate of the intermediate for this subject.
fn named(subject: &str) -> Client<'_> {
    Client {
        subject,
        ..Client::default()
    }
}

/// The same with subject alternative names.
fn with_names(names: &str) -> Client<'_> {
    Client {
        names,
        ..named("/CN=somebody")
    }
}

/// A certificate that nobody vouches for.
fn self_signed(subject: &str) -> Client<'_> {
    Client {
        issuer: "",
        ..named(subject)
    }
}

/// A gate with these rules of `clients`, and one route for those who may `view`.
fn ruled<'p>(pki: &'p Pki, tls: &str, rules: &str) -> Served<'p> {
    let rules = rules.replace("\n", "\n  ");
    let more = format!(
        "{ROLES}clients:\n  {rules}\nroutes:\n  - {{match: /open/, public: true}}\n  - {{can: view}}\n"
    );
    Served::start(pki, tls, &more)
}

/// The backend is told of a client of this name and role, in both versions of HTTP.
#[track_caller]
fn assert_known(served: &Served<'_>, file: &str, name: &str, role: &str) {
    for version in VERSIONS {
        let arrived = served.arrives_by(served.curl(file).args([version]), "/");
        assert_eq!(arrived.field("x-forwarded-user"), Some(name), "{version}");
        assert_eq!(arrived.field("x-forwarded-groups"), Some(role), "{version}");
        // Certificates tell no address that is checked.
        assert_eq!(arrived.field("x-forwarded-email"), None);
    }
}

/// Nobody is let in with it, and this is why.
#[track_caller]
fn assert_unknown(served: &Served<'_>, file: &str, reason: &str) {
    for version in VERSIONS {
        let said = served.refused(served.curl(file).args([version]), "/");
        assert_eq!(said, (403, reason.to_owned()), "{file} {version}");
    }
    let line = served.await_line(reason, |line| {
        line["event"] == "client_cert.refused" && line["auth.reason"] == reason
    });
    assert_eq!(line["http.route"], "*", "{line}");
    // Where nobody is needed it does no harm.
    let arrived = served.arrives(file, "/open/");
    assert_eq!(arrived.field("x-forwarded-user"), None, "{file}");
}

/// What openssl says, without what surrounds it.
#[track_caller]
fn said(pki: &Pki, arguments: &str) -> String {
    let output = pki.openssl(arguments);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The digest of a file in hexadecimal, as openssl finds it.
#[track_caller]
fn digest(pki: &Pki, algorithm: &str, file: &str) -> String {
    let said = said(pki, &format!("dgst -{algorithm} -r {file}"));
    said.split(' ').next().unwrap().to_owned()
}

/// The DER of a certificate in PEM, as openssl makes it.
#[track_caller]
fn der(pki: &Pki, file: &str) -> Vec<u8> {
    pki.openssl(&format!("x509 -in {file} -outform DER")).stdout
}

#[track_caller]
fn sha256(pki: &Pki, file: &str) -> String {
    std::fs::write(pki.path("digested"), der(pki, file)).unwrap();
    digest(pki, "sha256", "digested")
}

/// As curl's `--pinnedpubkey` has it.
#[track_caller]
fn spki(pki: &Pki, file: &str) -> String {
    pki.write(
        "key.pem",
        &said(pki, &format!("x509 -in {file} -noout -pubkey")),
    );
    let key = pki.openssl("pkey -pubin -in key.pem -outform DER").stdout;
    std::fs::write(pki.path("digested"), key).unwrap();
    let hash = pki.openssl("dgst -sha256 -binary digested").stdout;
    format!("sha256//{}", STANDARD.encode(hash))
}

/// The SHA3-256 of the base64 in the file, without its lines and markers.
#[track_caller]
fn thingsboard(pki: &Pki, file: &str) -> String {
    let text = pki.read(file);
    let text: String = text.lines().filter(|it| !it.starts_with("-----")).collect();
    pki.write("digested", &text);
    digest(pki, "sha3-256", "digested")
}

// --- Rules ---

#[test]
fn a_rule_knows_the_certificates_that_it_is_about_and_no_other() {
    let pki = pki();
    let fits = |client: Client<'_>, beside: Client<'_>| {
        pki.client("fits", &client);
        pki.client("beside", &beside);
    };
    let check = |condition: &str, name: &str, expected: &str| {
        let rule = format!("- {{match: {{{condition}}}, name: '{name}', roles: [user]}}");
        let served = ruled(&pki, OPTIONAL, &rule);
        assert_known(&served, "fits", expected, "user");
        assert_unknown(&served, "beside", "client_cert_unknown");
    };

    fits(named("/CN=cam-1"), named("/CN=door-1"));
    check("cn: cam-*", "{cn}", "cam-1");
    check("cn: 'cam-{n}'", "camera {n}", "camera 1");
    // Names of certificates are compared as they are.
    fits(named("/O=Plant/CN=a"), named("/O=plant/CN=a"));
    check("o: Plant", "{cn}@{o}", "a@Plant");
    fits(
        named("/O=Plant/OU=North/CN=a"),
        named("/O=North/OU=South/CN=a"),
    );
    check("ou: North", "{ou}", "North");
    fits(
        named("/C=DE/O=Plant/CN=cam-1"),
        named("/C=DE/O=Plant/OU=x/CN=cam-1"),
    );
    check(
        "subject: 'CN=cam-*,O=Plant,C=DE'",
        "{subject}",
        "CN=cam-1,O=Plant,C=DE",
    );

    fits(
        with_names("DNS:Cam-1.Plant.example"),
        with_names("DNS:a.cam-1.plant.example"),
    );
    check(
        "san_dns: '*.plant.EXAMPLE'",
        "{san_dns}",
        "cam-1.plant.example",
    );
    fits(
        with_names("URI:spiffe://plant/north/camera/1"),
        with_names("URI:spiffe://plant/north/yard/camera/1"),
    );
    check(
        "san_uri: 'spiffe://plant/{site}/camera/*'",
        "{site}",
        "north",
    );
    check(
        "san_uri: 'spiffe://plant/{site}/camera/*'",
        "{san_uri}",
        "spiffe://plant/north/camera/1",
    );
    fits(
        with_names("email:Ada@Plant.example"),
        with_names("email:Ada@plant.example.evil"),
    );
    check(
        "san_email: '*@plant.example'",
        "{san_email}",
        "Ada@plant.example",
    );
    fits(with_names("IP:10.1.2.3"), with_names("IP:11.0.0.1"));
    check("san_ip: 10.0.0.0/8", "{san_ip}", "10.1.2.3");
    check("san_ip: 10.1.2.3", "{san_ip}", "10.1.2.3");
    fits(with_names("IP:2001:db8::7"), with_names("IP:2001:db9::7"));
    check(
        "san_ip: ['10.0.0.0/8', '2001:db8::/32']",
        "{san_ip}",
        "2001:db8::7",
    );
}

#[test]
fn a_rule_about_the_issuer_knows_nobody_whom_another_one_has_signed() {
    let pki = pki();
    pki.client("of-int", &named("/CN=cam-1"));
    pki.client(
        "of-root",
        &Client {
            issuer: "root",
            ..named("/CN=cam-1")
        },
    );
    let rule = |issuer| {
        let rule = format!("- {{match: {{issuer: {issuer}}}, name: '{{cn}}', roles: [user]}}");
        ruled(&pki, OPTIONAL, &rule)
    };
    for (issuer, known, unknown) in [
        ("CN=Test Intermediate", "of-int", "of-root"),
        ("CN=Test Root", "of-root", "of-int"),
    ] {
        let served = rule(issuer);
        assert_known(&served, known, "cam-1", "user");
        assert_unknown(&served, unknown, "client_cert_unknown");
    }
}

#[test]
fn a_rule_with_a_fingerprint_knows_that_one_certificate_as_openssl_does() {
    let pki = pki();
    pki.client("fits", &named("/CN=cam-1"));
    pki.client("beside", &named("/CN=cam-1"));
    let serial = said(&pki, "x509 -in fits.crt -noout -serial");
    let fingerprint = said(&pki, "x509 -in fits.crt -noout -fingerprint -sha256");
    let after = |text: &str| text.split_once('=').unwrap().1.to_owned();
    for (condition, name, expected) in [
        (format!("serial: '{}'", after(&serial)), "{cn}", "cam-1"),
        (
            format!("sha256: '{}'", after(&fingerprint)),
            "{cn}",
            "cam-1",
        ),
        (
            format!("sha256: {}", sha256(&pki, "fits.crt")),
            "{cn}",
            "cam-1",
        ),
        (
            format!("spki: '{}'", spki(&pki, "fits.crt")),
            "door",
            "door",
        ),
        (
            format!("thingsboard: {}", thingsboard(&pki, "fits.crt")),
            "{cn}",
            "cam-1",
        ),
    ] {
        let rule = format!("- {{match: {{{condition}}}, name: '{name}', roles: [user]}}");
        let served = ruled(&pki, OPTIONAL, &rule);
        assert_known(&served, "fits", expected, "user");
        assert_unknown(&served, "beside", "client_cert_unknown");
    }
}

#[test]
fn the_first_rule_that_fits_decides_and_all_of_it_has_to_fit() {
    let pki = pki();
    pki.client("guard", &named("/O=Plant/CN=guard"));
    pki.client("elsewhere", &named("/O=Elsewhere/CN=guard"));
    pki.client("cam", &named("/O=Plant/CN=cam-1"));
    let served = ruled(
        &pki,
        OPTIONAL,
        "- {match: {cn: guard, o: Plant}, name: 'guard', roles: [administrator]}\n\
         - {match: {o: Plant}, name: '{cn}', roles: [user, device]}",
    );
    assert_known(&served, "guard", "guard", "administrator");
    assert_known(&served, "cam", "cam-1", "user,device");
    assert_unknown(&served, "elsewhere", "client_cert_unknown");
}

#[test]
fn somebody_known_without_the_role_is_refused_without_a_word_about_certificates() {
    let pki = pki();
    pki.client("cam", &named("/CN=cam-1"));
    let served = ruled(
        &pki,
        OPTIONAL,
        "- {match: {cn: cam-*}, name: '{cn}', roles: [device]}",
    );
    let got = served.curl("cam").get("/");
    assert_eq!((got.status, reason_of(&got).as_str()), (403, ""));
    assert!(got.body.contains("Your certificate is known"), "{got:?}");
    let arrived = served.arrives("cam", "/open/");
    assert_eq!(arrived.field("x-forwarded-user"), Some("cam-1"));
}

// --- Names that were made to be misread ---

#[test]
fn several_common_names_are_nobodys_unless_the_rule_takes_any() {
    let pki = pki();
    pki.client("two", &named("/CN=admin/CN=cam-1"));
    pki.client("turned", &named("/CN=cam-1/CN=admin"));
    pki.client("together", &named("/CN=admin+CN=cam-1"));
    pki.client("one", &named("/CN=cam-1"));
    let all = "- {match: {cn: '**'}, name: '{cn}', roles: [user]}";
    let served = ruled(
        &pki,
        OPTIONAL,
        &format!("- {{match: {{cn: cam-*}}, name: '{{cn}}', roles: [device]}}\n{all}"),
    );
    for file in ["two", "turned", "together"] {
        assert_unknown(&served, file, "client_cert_several_names");
    }
    let served = ruled(&pki, OPTIONAL, all);
    assert_known(&served, "one", "cam-1", "user");
    for file in ["two", "turned", "together"] {
        assert_unknown(&served, file, "client_cert_several_names");
    }
    // A name in the template counts as well as one in the conditions.
    let rule = "- {match: {issuer: CN=Test Intermediate}, name: '{cn}', roles: [user]}";
    let served = ruled(&pki, OPTIONAL, rule);
    assert_known(&served, "one", "cam-1", "user");
    assert_unknown(&served, "two", "client_cert_several_names");

    let any = "- {match: {cn: '**'}, name: '{cn}', roles: [user], any_cn: true}";
    let served = ruled(&pki, OPTIONAL, any);
    assert_known(&served, "one", "cam-1", "user");
    // The most special one counts.
    assert_known(&served, "two", "cam-1", "user");
    assert_known(&served, "turned", "admin", "user");
}

#[test]
fn nothing_inside_a_common_name_is_taken_for_another_part_of_the_name() {
    let pki = pki();
    pki.client("true", &named("/O=Plant/CN=admin"));
    for (file, subject) in [
        ("slash", "/CN=x\\/CN=admin"),
        ("comma", "/CN=admin,O=Plant"),
        ("escaped", "/CN=admin\\\\,O=Plant"),
        ("plus", "/O=Plant/CN=admin\\+CN=x"),
        ("slashes", "/CN=\\/O=Plant\\/CN=admin"),
        ("space", "/O=Plant/CN= admin"),
        ("lower", "/O=Plant/CN=Admin"),
        ("more", "/O=Plant/OU=x/CN=admin"),
        ("turned", "/CN=admin/O=Plant"),
        ("together", "/O=Plant+CN=admin"),
    ] {
        pki.client(file, &named(subject));
    }
    let whole = "- {match: {subject: 'CN=admin,O=Plant'}, name: '{subject}', roles: [user]}";
    let served = ruled(&pki, OPTIONAL, whole);
    assert_known(&served, "true", "CN=admin,O=Plant", "user");
    for file in [
        "slash", "comma", "escaped", "plus", "slashes", "space", "lower", "more", "turned",
        "together",
    ] {
        assert_unknown(&served, file, "client_cert_unknown");
    }
    let served = ruled(
        &pki,
        OPTIONAL,
        "- {match: {cn: admin}, name: '{cn}', roles: [user]}",
    );
    assert_known(&served, "true", "admin", "user");
    for file in [
        "slash", "comma", "escaped", "plus", "slashes", "space", "lower",
    ] {
        assert_unknown(&served, file, "client_cert_unknown");
    }
    // By itself such a name is as good as any other, and told as it is.
    let served = ruled(
        &pki,
        OPTIONAL,
        "- {match: {cn: '**'}, name: '{cn}', roles: [user]}",
    );
    assert_known(&served, "slash", "x/CN=admin", "user");
    assert_known(&served, "comma", "admin,O=Plant", "user");
    assert_known(&served, "escaped", "admin\\,O=Plant", "user");
    let served = ruled(
        &pki,
        OPTIONAL,
        "- {match: {cn: '**'}, name: '{subject}', roles: [user]}",
    );
    assert_known(&served, "slash", "CN=x/CN=admin", "user");
    assert_known(&served, "comma", "CN=admin\\,O=Plant", "user");
    assert_known(&served, "escaped", "CN=admin\\\\\\,O=Plant", "user");
}

#[test]
fn a_part_with_several_values_fits_in_any_order_and_only_as_a_whole() {
    let pki = pki();
    pki.client("both", &named("/O=Plant/CN=cam-1+serialNumber=7"));
    pki.client("apart", &named("/O=Plant/serialNumber=7/CN=cam-1"));
    for subject in [
        "CN=cam-*+serialNumber=*,O=Plant",
        "serialNumber=7+CN=*,O=Plant",
    ] {
        let rule = format!("- {{match: {{subject: '{subject}'}}, name: '{{cn}}', roles: [user]}}");
        let served = ruled(&pki, OPTIONAL, &rule);
        assert_known(&served, "both", "cam-1", "user");
        assert_unknown(&served, "apart", "client_cert_unknown");
    }
    let rule = "- {match: {subject: 'CN=cam-*,O=Plant'}, name: '{cn}', roles: [user]}";
    assert_unknown(&ruled(&pki, OPTIONAL, rule), "both", "client_cert_unknown");
}

#[test]
fn a_name_in_any_script_is_told_percent_encoded() {
    let pki = pki();
    pki.client("utf8", &named("/O=Müller, Söhne/CN=Käthe 100%"));
    pki.client("ascii", &named("/CN=Kathe"));
    let served = ruled(
        &pki,
        OPTIONAL,
        "- {match: {cn: 'Kä*'}, name: '{cn}', roles: [user]}",
    );
    assert_known(&served, "utf8", "K%C3%A4the 100%25", "user");
    assert_unknown(&served, "ascii", "client_cert_unknown");
    let line = served.await_line("the access", |line| {
        line["event"] == "access" && line["user.name"] == "Käthe 100%"
    });
    let subject = "CN=K\\C3\\A4the 100%,O=M\\C3\\BCller\\, S\\C3\\B6hne";
    assert_eq!(line["tls.client.subject"], subject);
    let arrived = served.arrives("utf8", "/");
    assert!(arrived.head.is_ascii(), "{arrived:?}");
}

#[test]
fn a_name_with_control_characters_is_no_name() {
    let pki = pki();
    let served = ruled(
        &pki,
        OPTIONAL,
        "- {match: {o: Plant}, name: guard, roles: [user]}\n\
         - {match: {cn: '**'}, name: '{cn}', roles: [user]}",
    );
    for (file, control) in [
        ("nl", "\n"),
        ("cr", "\r"),
        ("tab", "\t"),
        ("del", "\x7f"),
        ("c1", "\u{85}"),
    ] {
        pki.client(file, &named(&format!("/CN=cam{control}1")));
        assert_unknown(&served, file, "client_cert_invalid");
        // It is only the name that they must not get into.
        pki.client(file, &named(&format!("/O=Plant/CN=cam{control}1")));
        assert_known(&served, file, "guard", "user");
    }
    pki.client("long", &named(&format!("/CN={}", "x".repeat(64))));
    assert_known(&served, "long", &"x".repeat(64), "user");
}

// --- Certificates that nobody vouches for ---

#[test]
fn where_certificates_are_pinned_one_is_known_by_its_fingerprint_alone() {
    let pki = pki();
    pki.client("own", &self_signed("/O=Plant/CN=cam-1"));
    pki.client("other", &self_signed("/O=Plant/CN=cam-1"));
    for (condition, name, expected) in [
        (
            format!("sha256: {}", sha256(&pki, "own.crt")),
            "{cn}",
            "cam-1",
        ),
        (
            format!("thingsboard: {}", thingsboard(&pki, "own.crt")),
            "{cn}",
            "cam-1",
        ),
        (format!("spki: '{}'", spki(&pki, "own.crt")), "door", "door"),
        // Beside a fingerprint, the rest has to fit as anywhere.
        (
            format!("o: Plant, sha256: {}", sha256(&pki, "own.crt")),
            "{o}",
            "Plant",
        ),
    ] {
        let served = ruled(
            &pki,
            PINNED,
            &format!(
                "- {{match: {{o: Plant}}, name: '{{cn}}', roles: [administrator]}}\n\
                 - {{match: {{{condition}}}, name: '{name}', roles: [user]}}\n\
                 - {{match: {{cn: '**'}}, name: '{{cn}}', roles: [administrator]}}"
            ),
        );
        assert_known(&served, "own", expected, "user");
        assert_unknown(&served, "other", "client_cert_unknown");
    }
    let elsewhere = format!(
        "- {{match: {{o: Elsewhere, sha256: {}}}, name: x, roles: [user]}}",
        sha256(&pki, "own.crt")
    );
    assert_unknown(
        &ruled(&pki, PINNED, &elsewhere),
        "own",
        "client_cert_unknown",
    );
}

#[test]
fn a_pinned_key_gives_a_fixed_name_whatever_is_written_around_it() {
    let pki = pki();
    pki.client("first", &self_signed("/CN=door"));
    pki.openssl("req -new -x509 -key first.key -subj /CN=administrator -days 2 -out again.crt");
    pki.join(&["again.crt", "first.key"], "again.pem");
    let spki = spki(&pki, "first.crt");
    let rule = |name| {
        let rule = format!("- {{match: {{spki: '{spki}'}}, name: '{name}', roles: [user]}}");
        ruled(&pki, PINNED, &rule)
    };
    let served = rule("door");
    assert_known(&served, "first", "door", "user");
    assert_known(&served, "again", "door", "user");
    // Whoever has the key can write any name beside it.
    let served = rule("{cn}");
    assert_unknown(&served, "first", "client_cert_unknown");
    assert_unknown(&served, "again", "client_cert_unknown");
}

#[test]
fn where_certificates_are_pinned_a_ca_is_no_reference_and_dates_still_count() {
    let pki = pki();
    let dates = [
        ("old", ("20200101000000Z", PAST)),
        ("early", (FUTURE, "20490101000000Z")),
        ("good", ("20200101000000Z", FUTURE)),
    ];
    let mut rules =
        String::from("- {match: {issuer: CN=Test Intermediate}, name: '{cn}', roles: [user]}");
    for (file, dates) in dates {
        pki.client(
            file,
            &Client {
                dates,
                ..self_signed("/CN=cam-1")
            },
        );
        let sha256 = sha256(&pki, &format!("{file}.crt"));
        rules += &format!("\n- {{match: {{sha256: {sha256}}}, name: {file}, roles: [user]}}");
    }
    pki.client("signed", &named("/CN=cam-1"));
    let served = ruled(&pki, PINNED, &rules);
    assert_known(&served, "good", "good", "user");
    assert_unknown(&served, "old", "client_cert_expired");
    assert_unknown(&served, "early", "client_cert_not_yet_valid");
    assert_unknown(&served, "signed", "client_cert_unknown");
    // Nobody vouches for it, so there is no chain to tell a backend of, and no wrong one either.
    let reason = served.refused(served.curl(""), "/");
    assert_eq!(reason, (403, "not_presented".into()));
    assert_eq!(served.arrives("", "/open/").field("x-forwarded-user"), None);
}

#[test]
fn a_route_that_needs_a_certificate_takes_a_self_signed_one_only_where_a_rule_knows_it() {
    let pki = pki();
    pki.client("own", &self_signed("/CN=cam-1"));
    pki.client("other", &self_signed("/CN=cam-1"));
    let more = format!(
        "{ROLES}identity: {{headers: [x-forwarded-user, nginx-ssl, rfc9440]}}\n\
         clients: [{{match: {{sha256: {}}}, name: cam, roles: []}}]\n\
         routes:\n  - {{match: /open/, public: true}}\n  - {{client_cert: required}}\n",
        sha256(&pki, "own.crt")
    );
    let served = Served::start(&pki, PINNED, &more);
    let arrived = served.arrives("own", "/");
    assert_eq!(arrived.field("x-forwarded-user"), Some("cam"));
    assert_eq!(arrived.field("x-forwarded-groups"), None);
    assert_eq!(arrived.field("ssl-client-verify"), Some("SUCCESS"));
    assert_eq!(arrived.field("client-cert-chain"), None);
    let said = served.refused(served.curl("other"), "/");
    assert_eq!(said, (403, "client_cert_unknown".into()));
    let arrived = served.arrives("other", "/open/");
    let verify = arrived.field("ssl-client-verify");
    assert_eq!(verify, Some("FAILED:application verification failure"));
    assert_eq!(arrived.field("client-cert"), None);
}

// --- What a route takes as a proof ---

/// `ralph` may `view`, `ada` may `edit` too, `cam-9` was disabled.
const USERS: &str = r#"users:
  ralph: {password: "$2b$04$HASH", roles: [user], email: ralph@example.com}
  ada: {password: "$2b$04$HASH", roles: [administrator]}
  cam-9: {password: "$2b$04$HASH", roles: [user], disabled: true}
"#;

/// `cam-*` may `view`, `box-*` may `report`, `boss-*` may `edit`.
const RULES: &str = "clients:
  - {match: {cn: cam-*}, name: '{cn}', roles: [user]}
  - {match: {cn: box-*}, name: '{cn}', roles: [device]}
  - {match: {cn: boss-*}, name: '{cn}', roles: [administrator]}
  - {match: {cn: ralph}, name: '{cn}', roles: [administrator]}
";

/// People and clients before these routes.
fn mixed<'p>(pki: &'p Pki, tls: &str, routes: &str) -> Served<'p> {
    Served::start(pki, tls, &format!("{ROLES}{USERS}{RULES}routes:\n{routes}"))
}

const BY_CREDENTIALS: &str = "  - {match: /open/, public: true}
  - {match: /union/, can: [view, report]}
  - {match: /edit/, can: edit}
  - {match: /all/, can: view, credentials: all}
  - {match: /session/, can: view, credentials: session}
  - {match: /certificate/, can: view, credentials: certificate}
  - {match: /required/, can: view, client_cert: required}
  - {can: view, credentials: any}
";

/// `cam`, `box`, `boss`, one that no rule knows, and one that is too old.
fn people_and_clients(pki: &Pki) {
    pki.client("cam", &named("/CN=cam-1"));
    pki.client("box", &named("/CN=box-1"));
    pki.client("boss", &named("/CN=boss-1"));
    pki.client("stranger", &named("/CN=stranger"));
    let dates = ("20200101000000Z", PAST);
    pki.client(
        "expired",
        &Client {
            dates,
            ..named("/CN=cam-1")
        },
    );
}

/// What becomes of requests: who the backend is told of, or the status and its reason.
struct Asking<'s> {
    served: &'s Served<'s>,
    version: &'static str,
}

impl Asking<'_> {
    fn curl(&self, file: &str, session: Option<&str>) -> Curl {
        let curl = self.served.curl(file).args([self.version]);
        match session {
            None => curl,
            Some(session) => curl.session(session),
        }
    }

    #[track_caller]
    fn check(&self, path: &str, file: &str, session: Option<&str>, expected: &str) {
        self.served.backend.forget();
        let got = self.curl(file, session).get(path);
        let said = match self.served.backend.seen().first() {
            Some(arrived) => arrived
                .field("x-forwarded-user")
                .unwrap_or("nobody")
                .to_owned(),
            None => format!("{} {}", got.status, reason_of(&got))
                .trim()
                .to_owned(),
        };
        assert_eq!(
            said, expected,
            "{path} with {file:?}, {}: {got:?}",
            self.version
        );
    }
}

/// Calls `test` for HTTP/1.1 and HTTP/2.
fn asking<'s>(served: &'s Served<'s>, test: impl Fn(&Asking<'s>)) {
    for version in VERSIONS {
        test(&Asking { served, version });
    }
}

#[test]
fn either_proof_will_do_and_the_rights_of_two_are_never_added_up() {
    let pki = pki();
    people_and_clients(&pki);
    let served = mixed(&pki, OPTIONAL, BY_CREDENTIALS);
    let (ralph, ada) = (served.gate.log_in("ralph"), served.gate.log_in("ada"));
    let (ralph, ada) = (Some(ralph.as_str()), Some(ada.as_str()));
    asking(&served, |asking| {
        asking.check("/", "", ralph, "ralph");
        asking.check("/", "cam", None, "cam-1");
        // The person before the device.
        asking.check("/", "cam", ralph, "ralph");
        asking.check("/", "", None, "401");
        asking.check("/", "expired", None, "401 client_cert_expired");
        asking.check("/", "stranger", None, "401 client_cert_unknown");
        asking.check("/", "box", None, "403");
        asking.check("/", "box", ralph, "ralph");
        // Whoever of the two may do all of it.
        asking.check("/edit/", "", ada, "ada");
        asking.check("/edit/", "boss", ralph, "boss-1");
        asking.check("/edit/", "cam", ralph, "403");
        // ralph may view and the box may report, but neither may do both.
        asking.check("/union/", "box", ralph, "403");
        asking.check("/union/", "box", ada, "403");
        asking.check("/union/", "box", None, "403");
        asking.check("/union/", "", ralph, "403");
    });
}

#[test]
fn where_all_proofs_are_needed_the_one_that_is_missing_is_asked_for() {
    let pki = pki();
    people_and_clients(&pki);
    let served = mixed(&pki, OPTIONAL, BY_CREDENTIALS);
    let ralph = served.gate.log_in("ralph");
    let ralph = Some(ralph.as_str());
    asking(&served, |asking| {
        asking.check("/all/", "cam", ralph, "ralph");
        asking.check("/all/", "", ralph, "403 not_presented");
        asking.check("/all/", "", None, "403 not_presented");
        asking.check("/all/", "expired", ralph, "403 client_cert_expired");
        asking.check("/all/", "stranger", ralph, "403 client_cert_unknown");
        asking.check("/all/", "cam", None, "401");
        // Each has to be enough by itself.
        asking.check("/all/", "box", ralph, "403");
        // Where a good certificate is needed, whose it is does not matter; somebody has to be known.
        asking.check("/required/", "stranger", ralph, "ralph");
        asking.check("/required/", "cam", None, "cam-1");
        asking.check("/required/", "stranger", None, "401 client_cert_unknown");
        asking.check("/required/", "", ralph, "403 not_presented");
        asking.check("/required/", "expired", ralph, "403 client_cert_expired");
    });
    // A browser is sent to the form only where the form is what is missing.
    let got = served.curl("cam").browser().get("/all/?a=b");
    assert_eq!(got.status, 302, "{got:?}");
    assert_eq!(got.field("location"), Some("/auth/login?rd=/all/%3Fa%3Db"));
    for session in [None, ralph] {
        let curl = served.curl("").browser();
        let curl = session.into_iter().fold(curl, Curl::session);
        let got = curl.get("/all/");
        assert_eq!(got.status, 403, "{got:?}");
        assert!(got.body.contains("sent none"), "{got:?}");
    }
}

#[test]
fn a_route_for_one_kind_of_proof_does_not_take_the_other() {
    let pki = pki();
    people_and_clients(&pki);
    let served = mixed(&pki, OPTIONAL, BY_CREDENTIALS);
    let ralph = served.gate.log_in("ralph");
    let ralph = Some(ralph.as_str());
    asking(&served, |asking| {
        asking.check("/session/", "", ralph, "ralph");
        asking.check("/session/", "cam", ralph, "ralph");
        asking.check("/session/", "cam", None, "401");
        asking.check("/certificate/", "cam", None, "cam-1");
        asking.check("/certificate/", "cam", ralph, "cam-1");
        asking.check("/certificate/", "", ralph, "403 not_presented");
        asking.check("/certificate/", "expired", ralph, "403 client_cert_expired");
        asking.check(
            "/certificate/",
            "stranger",
            ralph,
            "403 client_cert_unknown",
        );
    });
    let got = served.curl("cam").browser().get("/session/");
    assert_eq!(
        (got.status, got.field("location")),
        (302, Some("/auth/login?rd=/session/"))
    );
    let got = served.curl("").get("/session/");
    let challenge = got.field("www-authenticate");
    assert_eq!(challenge, Some("Cookie form-action=\"/auth/login\""));
    let got = served.curl("").get("/certificate/");
    assert_eq!(got.field("www-authenticate"), None);
    let got = served.curl("stranger").browser().get("/certificate/");
    assert_eq!(got.status, 403);
    assert!(
        got.body.contains("<main>") && got.body.contains("is not known here"),
        "{got:?}"
    );
}

#[test]
fn who_is_disabled_is_so_with_a_certificate_and_a_rule_gives_no_rights_of_a_users() {
    let pki = pki();
    people_and_clients(&pki);
    pki.client("disabled", &named("/CN=cam-9"));
    pki.client("namesake", &named("/CN=ralph"));
    let served = mixed(&pki, OPTIONAL, BY_CREDENTIALS);
    let ralph = served.gate.log_in("ralph");
    asking(&served, |asking| {
        asking.check("/certificate/", "disabled", None, "403 user_gone");
        asking.check("/certificate/", "cam", None, "cam-1");
        asking.check("/", "disabled", None, "401");
        asking.check("/", "disabled", Some(&ralph), "ralph");
        asking.check("/open/", "disabled", None, "nobody");
    });
    // The same name, other rights: those of what was proved.
    let arrived = served.arrives("namesake", "/edit/");
    assert_eq!(arrived.field("x-forwarded-groups"), Some("administrator"));
    assert_eq!(arrived.field("x-forwarded-email"), None);
    let arrived = served.arrives_by(served.curl("namesake").session(&ralph), "/");
    assert_eq!(arrived.field("x-forwarded-groups"), Some("user"));
    assert_eq!(
        arrived.field("x-forwarded-email"),
        Some("ralph@example.com")
    );
}

#[test]
fn where_there_are_only_clients_there_is_no_login() {
    let pki = pki();
    people_and_clients(&pki);
    let served = ruled(
        &pki,
        OPTIONAL,
        "- {match: {cn: cam-*}, name: '{cn}', roles: [user]}",
    );
    for path in ["/auth/login", "/auth/logout", "/"] {
        // A path like any other.
        assert_eq!(served.arrives("cam", path).path(), path);
        for (file, reason) in [
            ("", "not_presented"),
            ("expired", "client_cert_expired"),
            ("stranger", "client_cert_unknown"),
        ] {
            let said = served.refused(served.curl(file), path);
            assert_eq!(said, (403, reason.to_owned()), "{path} {file}");
            let page = served.curl(file).browser().get(path);
            assert_eq!(
                (page.status, page.field("location")),
                (403, None),
                "{path} {file}"
            );
            assert_eq!(page.field("www-authenticate"), None);
            assert!(!page.body.contains("/auth/login"), "{page:?}");
        }
    }
    // With people there is one.
    let served = mixed(&pki, OPTIONAL, BY_CREDENTIALS);
    assert_eq!(served.curl("cam").browser().get("/auth/login").status, 200);
}

#[test]
fn people_can_log_in_on_a_connection_with_a_bad_certificate() {
    let pki = pki();
    people_and_clients(&pki);
    pki.client("self-signed", &self_signed("/CN=cam-1"));
    let served = mixed(&pki, OPTIONAL, BY_CREDENTIALS);
    for file in ["expired", "self-signed", "stranger", "cam"] {
        for version in VERSIONS {
            let pem = pki.path(&format!("{file}.pem")).display().to_string();
            let args = ["--cert", &pem, version];
            let got = log_in_by_form(served.gate.port(), &args, "ralph", PASSWORD);
            assert_eq!(got.status, 303, "{file} {version}: {got:?}");
            let session = got.session_cookie().unwrap();
            let arrived =
                served.arrives_by(served.curl(file).args([version]).session(&session), "/");
            assert_eq!(arrived.field("x-forwarded-user"), Some("ralph"));
            let wrong = log_in_by_form(served.gate.port(), &args, "ralph", "wrong");
            assert_eq!(
                (wrong.status, wrong.session_cookie()),
                (401, None),
                "{wrong:?}"
            );
        }
    }
}

// --- Whose a path is ---

const OWNED: &str =
    "  - {match: '/files/{device}/', methods: [GET], can: view, owner: '{device}', owner_or: edit}
  - {match: '/files/{device}/', methods: [PUT], can: view, owner: '{device}'}
  - {can: view}
";

#[test]
fn files_are_for_the_device_that_they_are_named_after() {
    let pki = pki();
    people_and_clients(&pki);
    pki.client("other", &named("/CN=cam-2"));
    let served = mixed(&pki, OPTIONAL, OWNED);
    let (ralph, ada) = (served.gate.log_in("ralph"), served.gate.log_in("ada"));
    asking(&served, |asking| {
        for path in [
            "/files/cam-1",
            "/files/cam-1/",
            "/files/cam-1/a/b.txt",
            "/files/%63am-1/a",
        ] {
            asking.check(path, "cam", None, "cam-1");
            asking.check(path, "cam", Some(&ralph), "cam-1");
            asking.check(path, "other", None, "403");
            asking.check(path, "", None, "401");
            asking.check(path, "", Some(&ralph), "403");
            asking.check(path, "expired", None, "401 client_cert_expired");
            // Those above need not own it.
            asking.check(path, "boss", None, "boss-1");
            asking.check(path, "", Some(&ada), "ada");
        }
        asking.check("/files/cam-2/a", "other", None, "cam-2");
        asking.check("/files/ralph/a", "", Some(&ralph), "ralph");
        // To own it is not enough.
        asking.check("/files/box-1/a", "box", None, "403");
    });
    let line = served.await_line("the owner", |line| line["auth.reason"] == "not_owner");
    assert_eq!(line["http.route"], "/files/{device}/");
    assert_eq!(line["user.name"], "cam-2");
    let got = served.curl("other").get("/files/cam-1/a");
    assert!(got.body.contains("belongs to somebody else"), "{got:?}");
}

#[test]
fn what_may_be_done_to_files_differs_by_method() {
    let pki = pki();
    people_and_clients(&pki);
    let served = mixed(&pki, OPTIONAL, OWNED);
    let status = |method: &str, file: &str, path: &str| {
        for version in VERSIONS {
            served.backend.forget();
            let got = served.curl(file).args([version, "-X", method]).get(path);
            let arrived = !served.backend.seen().is_empty();
            assert_eq!(
                arrived,
                got.status == 200,
                "{method} {version} {file} {got:?}"
            );
        }
        served.curl(file).args(["-X", method]).get(path).status
    };
    assert_eq!(status("PUT", "cam", "/files/cam-1/a"), 200);
    assert_eq!(status("PUT", "cam", "/files/cam-2/a"), 403);
    assert_eq!(status("GET", "boss", "/files/cam-1/a"), 200);
    // Above it for reading only.
    assert_eq!(status("PUT", "boss", "/files/cam-1/a"), 403);
    assert_eq!(status("PUT", "boss", "/files/boss-1/a"), 200);
    for file in ["cam", "boss"] {
        assert_eq!(status("DELETE", file, "/files/cam-1/a"), 405);
        // Not by the route behind it either, in another spelling.
        assert_eq!(status("DELETE", file, "/FILES/cam-1/a"), 405);
        assert_eq!(status("DELETE", file, "/other"), 200);
    }
}

#[test]
fn no_spelling_of_a_path_leads_to_what_is_somebody_elses() {
    let pki = pki();
    people_and_clients(&pki);
    pki.client("upper", &named("/CN=cam-A"));
    pki.client("dot", &named("/CN=cam-1."));
    pki.client("question", &named("/CN=cam-1?x"));
    let served = mixed(&pki, OPTIONAL, OWNED);
    // All of them are cam-2's (or cam-1's) to some backend or other.
    let spellings = [
        "/files/cam-2/a",
        "/files/CAM-2/a",
        "/Files/cam-2/a",
        "/FILES/CAM-2/a",
        "/files/cam-2./a",
        "/FILES/cam-2./a",
        "/files/cam-2%2e/a",
        "/files/cam-2%20/a",
        "/files/cam-2%3f/a",
        "/files/cam-2%3Fx/a",
        "/files/cam-2%23/a",
        "/files/cam-2;x/a",
        "/files/cam-2%3bx/a",
        "/files/cam-2%00/a",
        "/files/cam-2%2fa",
        "/files/cam-2%5ca",
        "/files/cam%2d2/a",
        "/files/%2563am-2/a",
        "/files/cam-1/../cam-2/a",
        "/files/cam-1/%2e%2e/cam-2/a",
        "/files/cam-1/.%2e/cam-2/a",
        "/files/./cam-2/a",
        "/files//cam-2/a",
        "//files/cam-2/a",
        "/files/cam-1//../cam-2/a",
        "/other/../files/cam-2/a",
        "/files/cam-1%2f..%2fcam-2/a",
        "/files/cam-1\\..\\cam-2/a",
        "/files/cam-1%5c..%5ccam-2/a",
        // Beginnings of cam-1's own name.
        "/files/cam-1./a",
        "/files/cam-1%20/a",
        "/files/cam-1%3f/a",
        "/files/cam-1%3f/../cam-2/a",
        "/files/CAM-1/a",
        "/FILES/CAM-1/a",
        "/files/cam-10/a",
        "/files/cam-/a",
        "/files/*/a",
        "/files/{device}/a",
    ];
    for version in VERSIONS {
        for path in spellings {
            let (status, reason) = served.refused(served.curl("cam").args([version]), path);
            assert!(
                [400, 403].contains(&status),
                "{version} {path}: {status} {reason}"
            );
        }
        for (file, path) in [
            ("upper", "/files/cam-a/x"),
            ("upper", "/FILES/CAM-A/x"),
            ("dot", "/files/cam-1/x"),
            ("dot", "/files/cam-1./x"),
            ("question", "/files/cam-1/x"),
            ("question", "/files/cam-1%3fx/x"),
        ] {
            let (status, _) = served.refused(served.curl(file).args([version]), path);
            assert_eq!(status, 403, "{version} {file} {path}");
        }
        for (file, path) in [
            ("cam", "/files/cam-1/a?../../cam-2/a"),
            ("cam", "/files/cam-1/cam-2/a"),
            ("cam", "/files/cam-1/CAM-1"),
            ("cam", "/files/c%61m-1/a"),
            ("cam", "/FILES/cam-1/a"),
            ("upper", "/files/cam-A/x"),
        ] {
            let arrived = served.arrives_by(served.curl(file).args([version]), path);
            assert_eq!(arrived.path(), path, "{version} {file}");
        }
    }
}

// --- What backends are told ---

/// A gate that tells in these ways; `/open/` is for everybody.
fn telling<'p>(pki: &'p Pki, presets: &str) -> Served<'p> {
    let more = format!(
        "{ROLES}{USERS}{RULES}identity: {{headers: [{presets}]}}\n\
         routes:\n  - {{match: /open/, public: true}}\n  - {{can: view}}\n"
    );
    Served::start(pki, OPTIONAL, &more)
}

/// A request over both versions of HTTP, of which the backend is told the same.
#[track_caller]
fn arrives_alike(served: &Served<'_>, file: &str, names: &[&str], path: &str) -> Recorded {
    let [first, second] = VERSIONS.map(|version| {
        // What the client says of itself never arrives.
        let curl = served.curl(file).args([version]);
        let claim = |curl: Curl, name: &&str| curl.header(&format!("{name}: forged"));
        served.arrives_by(names.iter().fold(curl, claim), path)
    });
    for name in names {
        assert_eq!(first.field(name), second.field(name), "{name}");
        assert_ne!(first.field(name), Some("forged"), "{name}");
    }
    first
}

/// The DER in a byte sequence of a structured field.
#[track_caller]
fn byte_sequence(value: &str) -> Vec<u8> {
    let inside = value.strip_prefix(':').and_then(|it| it.strip_suffix(':'));
    STANDARD.decode(inside.unwrap()).unwrap()
}

/// The DER that openssl reads from this PEM.
#[track_caller]
fn der_of_pem(pki: &Pki, pem: &str) -> Vec<u8> {
    pki.write("told.pem", pem);
    der(pki, "told.pem")
}

/// The subject or issuer as openssl writes it by RFC 2253.
#[track_caller]
fn dn(pki: &Pki, which: &str, file: &str) -> String {
    let said = said(
        pki,
        &format!("x509 -in {file} -noout -{which} -nameopt RFC2253"),
    );
    said.split_once('=').unwrap().1.to_owned()
}

#[test]
fn xfcc_tells_of_the_certificate_as_envoy_does() {
    let pki = pki();
    let gate = Client {
        usage: "serverAuth",
        names: "DNS:localhost,URI:spiffe://plant/gate",
        ..named("/CN=gate")
    };
    pki.client("server", &gate);
    let cam = Client {
        names: "URI:spiffe://plant/cam?n=1,URI:spiffe://plant/b,DNS:cam.plant.example,email:a@b.example",
        ..named("/O=Plant, \"Inc\"/CN=cam-1")
    };
    pki.client("cam", &cam);
    pki.client("plain", &named("/CN=cam-2"));
    let served = telling(&pki, "xfcc");
    let names = ["X-Forwarded-Client-Cert"];
    let told = |file: &str| {
        let arrived = arrives_alike(&served, file, &names, "/");
        arrived.field(names[0]).unwrap().to_owned()
    };
    let hash = sha256(&pki, "cam.crt");
    let subject = "CN=cam-1,O=Plant\\, \\22Inc\\22";
    assert_eq!(
        told("cam"),
        format!(
            "By=spiffe://plant/gate;Hash={hash};Subject=\"{subject}\";\
             URI=\"spiffe://plant/cam?n=1\";URI=spiffe://plant/b;DNS=cam.plant.example"
        )
    );
    let hash = sha256(&pki, "plain.crt");
    let plain = format!("By=spiffe://plant/gate;Hash={hash};Subject=\"CN=cam-2\"");
    assert_eq!(told("plain"), plain);
    for file in ["", "expired"] {
        if !file.is_empty() {
            let dates = ("20200101000000Z", PAST);
            pki.client(
                file,
                &Client {
                    dates,
                    ..named("/CN=cam-1")
                },
            );
        }
        let arrived = arrives_alike(&served, file, &names, "/open/");
        assert_eq!(arrived.field(names[0]), None, "{file}");
    }
}

#[test]
fn rfc9440_tells_the_certificate_and_what_is_between_it_and_the_trusted_one() {
    let pki = pki();
    people_and_clients(&pki);
    pki.client(
        "of-root",
        &Client {
            issuer: "root",
            ..named("/CN=cam-2")
        },
    );
    let served = telling(&pki, "rfc9440");
    let names = ["Client-Cert", "Client-Cert-Chain"];
    let arrived = arrives_alike(&served, "cam", &names, "/");
    let told = byte_sequence(arrived.field("client-cert").unwrap());
    assert_eq!(told, der(&pki, "cam.crt"));
    let chain = byte_sequence(arrived.field("client-cert-chain").unwrap());
    assert_eq!(chain, der(&pki, "int.crt"));
    let arrived = arrives_alike(&served, "of-root", &names, "/");
    let told = byte_sequence(arrived.field("client-cert").unwrap());
    assert_eq!(told, der(&pki, "of-root.crt"));
    assert_eq!(arrived.field("client-cert-chain"), None);
    for file in ["", "expired"] {
        let arrived = arrives_alike(&served, file, &names, "/open/");
        assert!(
            names.iter().all(|name| arrived.field(name).is_none()),
            "{arrived:?}"
        );
    }
}

#[test]
fn nginx_ssl_tells_how_it_was_checked_and_all_of_it() {
    let pki = pki();
    people_and_clients(&pki);
    pki.client("self-signed", &self_signed("/CN=cam-1"));
    pki.client(
        "utf8",
        &named("/C=DE/O=Müller, \"Söhne\" + <x>/CN=#Käthe; 100% \\/ \\\\ x"),
    );
    let other = Pki::new();
    other.client("foreign", &named("/CN=cam-1"));
    std::fs::copy(other.path("foreign.pem"), pki.path("foreign.pem")).unwrap();
    let served = telling(&pki, "nginx-ssl");
    let names = [
        "ssl-client-verify",
        "ssl-client-subject-dn",
        "ssl-client-issuer-dn",
        "ssl-client-cert",
    ];
    for file in ["cam", "utf8"] {
        let arrived = arrives_alike(&served, file, &names, "/open/");
        let [verify, subject, issuer, cert] = names.map(|name| arrived.field(name).unwrap());
        assert_eq!(verify, "SUCCESS");
        let file = format!("{file}.crt");
        assert_eq!(subject, dn(&pki, "subject", &file));
        assert_eq!(issuer, dn(&pki, "issuer", &file));
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
        assert!(cert.bytes().all(unreserved), "{cert}");
        let pem = percent_decode_str(cert).decode_utf8().unwrap();
        assert_eq!(pem, pki.read(&file));
        assert_eq!(der_of_pem(&pki, &pem), der(&pki, &file));
    }
    for (file, expected) in [
        ("", "NONE"),
        ("expired", "FAILED:certificate has expired"),
        ("self-signed", "FAILED:self-signed certificate"),
        ("foreign", "FAILED:unable to get local issuer certificate"),
    ] {
        let arrived = arrives_alike(&served, file, &names, "/open/");
        assert_eq!(arrived.field(names[0]), Some(expected));
        assert!(
            names[1..].iter().all(|name| arrived.field(name).is_none()),
            "{arrived:?}"
        );
    }
}

#[test]
fn haproxy_ssl_tells_a_zero_for_a_good_certificate_only() {
    let pki = pki();
    people_and_clients(&pki);
    let dates = ("20200101000000Z", FUTURE);
    pki.client(
        "dated",
        &Client {
            dates,
            ..named("/O=Plant/CN=cam-3")
        },
    );
    let served = telling(&pki, "haproxy-ssl");
    let names = [
        "X-SSL-Client-Verify",
        "X-SSL-Client-DN",
        "X-SSL-Client-CN",
        "X-SSL-Issuer",
        "X-SSL-Client-NotBefore",
        "X-SSL-Client-NotAfter",
    ];
    let arrived = arrives_alike(&served, "dated", &names, "/");
    assert_eq!(
        names.map(|name| arrived.field(name).unwrap()),
        [
            "0",
            "CN=cam-3,O=Plant",
            "cam-3",
            "CN=Test Intermediate",
            "200101000000Z",
            "480101000000Z"
        ]
    );
    for (file, verify) in [("", None), ("expired", Some("10"))] {
        let arrived = arrives_alike(&served, file, &names, "/open/");
        assert_eq!(arrived.field(names[0]), verify, "{file}");
        assert!(
            names[1..].iter().all(|name| arrived.field(name).is_none()),
            "{arrived:?}"
        );
    }
}

#[test]
fn wso2_is_told_a_name_that_it_cannot_misread_or_none() {
    let pki = pki();
    people_and_clients(&pki);
    pki.client("slash", &named("/O=Plant/CN=x\\/CN=victim"));
    pki.client("two", &named("/CN=cam-1/CN=victim"));
    pki.client("comma", &named("/CN=x,CN=victim"));
    let served = telling(&pki, "wso2, wso2-apim");
    let [name, encoded] = ["proxy-mutual-auth-header", "X-WSO2-CLIENT-CERTIFICATE"];
    let names = [name, encoded, "mutual-auth-header", "encoded-pem"];
    for (file, expected) in [
        ("cam", Some("CN=cam-1")),
        ("slash", Some("CN=x\\2FCN=victim,O=Plant")),
        ("comma", Some("CN=x\\,CN=victim")),
        ("two", None),
    ] {
        let arrived = arrives_alike(&served, file, &names, "/open/");
        assert_eq!(arrived.field(name), expected, "{file}");
        let pem = STANDARD.decode(arrived.field(encoded).unwrap()).unwrap();
        let pem = String::from_utf8(pem).unwrap();
        assert_eq!(der_of_pem(&pki, &pem), der(&pki, &format!("{file}.crt")));
        assert_eq!(arrived.field("mutual-auth-header"), None);
        assert_eq!(arrived.field("encoded-pem"), None);
    }
    for file in ["", "expired"] {
        let arrived = arrives_alike(&served, file, &names, "/open/");
        assert!(
            names.iter().all(|name| arrived.field(name).is_none()),
            "{arrived:?}"
        );
    }
}

#[test]
fn a_client_is_told_of_as_a_user_in_every_convention_for_users() {
    let pki = pki();
    people_and_clients(&pki);
    let served = telling(&pki, "x-forwarded-user, x-auth-request, remote-user");
    let names = [
        "X-Forwarded-User",
        "X-Forwarded-Groups",
        "X-Forwarded-Preferred-Username",
        "X-Forwarded-Email",
        "X-Auth-Request-User",
        "X-Auth-Request-Groups",
        "X-Auth-Request-Preferred-Username",
        "X-Auth-Request-Email",
        "Remote-User",
        "Remote-Groups",
        "Remote-Name",
        "Remote-Email",
    ];
    let arrived = arrives_alike(&served, "boss", &names, "/");
    for four in names.chunks(4) {
        let told: Vec<_> = four.iter().map(|name| arrived.field(name)).collect();
        assert_eq!(
            told,
            [Some("boss-1"), Some("administrator"), Some("boss-1"), None]
        );
    }
    for file in ["", "stranger", "expired"] {
        let arrived = arrives_alike(&served, file, &names, "/open/");
        assert!(
            names.iter().all(|name| arrived.field(name).is_none()),
            "{arrived:?}"
        );
    }
}

/// The claims of the assertion that arrived, which openssl finds to be signed by the gate.
#[track_caller]
fn claims(served: &Served<'_>, arrived: &Recorded) -> Value {
    let token = arrived.field(assertions::NAME).unwrap();
    let keys = assertions::jwks(&served.gate);
    assert!(
        assertions::is_signed_by(token, &keys["keys"][0]),
        "{token} {keys}"
    );
    assertions::decoded(token.split('.').nth(1).unwrap())
}

#[test]
fn an_assertion_names_the_client_its_roles_and_its_certificate() {
    let pki = pki();
    people_and_clients(&pki);
    let served = telling(&pki, "jwt");
    let ralph = served.gate.log_in("ralph");
    let thumbprint = |file: &str| {
        std::fs::write(pki.path("digested"), der(&pki, file)).unwrap();
        let hash = pki.openssl("dgst -sha256 -binary digested").stdout;
        json!({"x5t#S256": URL_SAFE_NO_PAD.encode(hash)})
    };
    for version in VERSIONS {
        let curl = |file| served.curl(file).args([version]);
        let told = claims(&served, &served.arrives_by(curl("boss"), "/"));
        assert_eq!(told["sub"], "boss-1", "{told}");
        assert_eq!(told["roles"], json!(["administrator"]), "{told}");
        assert_eq!(
            told["abilities"],
            json!(["administrator", "edit", "view"]),
            "{told}"
        );
        assert_eq!(told["cnf"], thumbprint("boss.crt"), "{told}");
        assert_eq!(told["aud"], "backend");
        assert_eq!(told.get("email"), None);
        // A person who uses a device.
        let told = claims(
            &served,
            &served.arrives_by(curl("boss").session(&ralph), "/"),
        );
        assert_eq!(
            (&told["sub"], &told["roles"]),
            (&json!("ralph"), &json!(["user"]))
        );
        assert_eq!(told["cnf"], thumbprint("boss.crt"), "{told}");
        let told = claims(&served, &served.arrives_by(curl("").session(&ralph), "/"));
        assert_eq!(told.get("cnf"), None, "{told}");
        let told = claims(
            &served,
            &served.arrives_by(curl("expired").session(&ralph), "/"),
        );
        assert_eq!(told.get("cnf"), None, "{told}");
        // Nobody is known, so nothing is asserted.
        for file in ["", "stranger", "expired"] {
            let arrived = served.arrives_by(curl(file), "/open/");
            assert_eq!(arrived.field(assertions::NAME), None, "{file}");
        }
    }
}

#[test]
fn of_a_person_on_a_device_the_backend_is_told_the_person_and_the_certificate() {
    let pki = pki();
    people_and_clients(&pki);
    let served = telling(&pki, "x-forwarded-user, xfcc, nginx-ssl, wso2");
    let ralph = served.gate.log_in("ralph");
    // Of the connection alone, whoever was told of on it before.
    let mut connection = Connection::with_certificate(served.gate.address, &pki.path("cam.pem"));
    for (session, user) in [(None, "cam-1"), (Some(&ralph), "ralph"), (None, "cam-1")] {
        served.backend.forget();
        let cookie = session.map(|it| format!("Cookie: __Host-portcullis={it}\r\n"));
        let cookie = cookie.unwrap_or_default();
        connection.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{cookie}\r\n").as_bytes());
        assert_eq!(status_of(&connection.read_answer()), 200);
        let arrived = served.backend.only();
        assert_eq!(arrived.field("x-forwarded-user"), Some(user));
        assert_eq!(arrived.field("ssl-client-subject-dn"), Some("CN=cam-1"));
        assert_eq!(arrived.field("proxy-mutual-auth-header"), Some("CN=cam-1"));
        let xfcc = arrived.field("x-forwarded-client-cert").unwrap();
        assert!(xfcc.contains(&sha256(&pki, "cam.crt")), "{xfcc}");
    }
    // The person alone, on a connection with a bad one.
    let arrived = served.arrives_by(served.curl("expired").session(&ralph), "/");
    assert_eq!(arrived.field("x-forwarded-user"), Some("ralph"));
    assert_eq!(arrived.field("x-forwarded-client-cert"), None);
    let verify = arrived.field("ssl-client-verify");
    assert_eq!(verify, Some("FAILED:certificate has expired"));
}

// --- What is on record ---

fn is_event(event: &str) -> impl Fn(&Value) -> bool {
    move |line| line["event"] == event
}

/// Waits until so many requests are in the log; how many lines of this event there are then.
#[track_caller]
fn after_requests(served: &Served<'_>, requests: usize, event: &str) -> usize {
    eventually(&format!("{requests} requests"), || {
        (served.gate.count_lines(is_event("access")) == requests).then_some(())
    });
    served.gate.count_lines(is_event(event))
}

#[test]
fn a_client_is_put_on_record_once_a_connection() {
    let pki = pki();
    people_and_clients(&pki);
    let more = |name: &str| {
        format!(
            "{ROLES}clients: [{{match: {{cn: cam-*}}, name: '{name}', roles: [user]}}]\n\
             routes: [{{can: view}}]\n"
        )
    };
    let served = Served::start(&pki, OPTIONAL, &more("{cn}"));
    let accepted = |requests| after_requests(&served, requests, "client_cert.accepted");
    let mut connection = Connection::with_certificate(served.gate.address, &pki.path("cam.pem"));
    let mut ask = || {
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(status_of(&connection.read_answer()), 200);
    };
    for _ in 0..5 {
        ask();
    }
    assert_eq!(accepted(5), 1);
    let line = served.gate.line("client_cert.accepted").unwrap();
    assert_eq!(line["user.name"], "cam-1", "{line}");
    assert_eq!(line["tls.client.subject"], "CN=cam-1", "{line}");
    assert_eq!(
        line["tls.client.hash.sha256"],
        sha256(&pki, "cam.crt"),
        "{line}"
    );
    assert_eq!(line["client.address"], "127.0.0.1", "{line}");
    assert_eq!(line["level"], "info", "{line}");
    // Nothing has changed, or nothing about whose it is.
    served.gate.reload("unchanged");
    ask();
    assert_eq!(accepted(6), 1);
    let more_trust = "  client_auth: {mode: optional, ca: [root.crt, int.crt]}\n";
    served.configure(more_trust, &more("{cn}"));
    served.gate.reload("success");
    ask();
    assert_eq!(accepted(7), 1);
    // Rules wait for a restart.
    served.configure(more_trust, &more("camera {cn}"));
    served.gate.reload("restart_needed");
    ask();
    assert_eq!(accepted(8), 1);
    let arrived = served.backend.seen().pop().unwrap();
    assert_eq!(arrived.field("x-forwarded-user"), Some("cam-1"));
    // The requests of an HTTP/2 connection, too.
    let url = format!("https://localhost:{}/a", served.gate.port());
    let got = served.curl("cam").args(["--http2", &url, &url]).get("/b");
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(accepted(11), 2);
    // Whoever is nobody is not accepted as anybody.
    assert_eq!(served.status("stranger"), 403);
    assert_eq!(accepted(12), 2);
}

#[test]
fn whoever_is_refused_for_a_certificate_is_on_record_by_its_name_and_hash() {
    let pki = pki();
    people_and_clients(&pki);
    pki.client("self-signed", &self_signed("/O=Plant/CN=nobody"));
    pki.client("two", &named("/CN=cam-1/CN=cam-2"));
    let served = ruled(
        &pki,
        OPTIONAL,
        "- {match: {cn: cam-*}, name: '{cn}', roles: [user]}",
    );
    for (file, subject, reason) in [
        ("expired", "CN=cam-1", "client_cert_expired"),
        (
            "self-signed",
            "CN=nobody,O=Plant",
            "client_cert_self_signed",
        ),
        ("stranger", "CN=stranger", "client_cert_unknown"),
        ("two", "CN=cam-2,CN=cam-1", "client_cert_several_names"),
    ] {
        let (status, said) = served.refused(served.curl(file), "/");
        assert_eq!((status, said.as_str()), (403, reason));
        for event in ["client_cert.refused", "access"] {
            let line = served.await_line(reason, |line| {
                line["event"] == event && line["auth.reason"] == reason
            });
            assert_eq!(line["tls.client.subject"], subject, "{line}");
            let hash = sha256(&pki, &format!("{file}.crt"));
            assert_eq!(line["tls.client.hash.sha256"], hash, "{line}");
            assert_eq!(line["http.route"], "*", "{line}");
            assert_eq!(line.get("user.name"), None, "{line}");
        }
    }
    let (status, _) = served.refused(served.curl(""), "/");
    assert_eq!(status, 403);
    let line = served.await_line("without one", |line| {
        line["event"] == "client_cert.refused" && line["auth.reason"] == "not_presented"
    });
    assert_eq!(line.get("tls.client.subject"), None, "{line}");
    // On a public route nobody is refused, and all the same it is told what was shown.
    served.arrives("expired", "/open/");
    let line = served.await_line("the public request", |line| line["url.path"] == "/open/");
    assert_eq!(line["tls.client.subject"], "CN=cam-1", "{line}");
    assert_eq!(line["auth.reason"], "client_cert_expired", "{line}");
}

#[test]
fn requests_by_certificate_are_told_of_and_counted_as_such() {
    let pki = pki();
    people_and_clients(&pki);
    let served = mixed(&pki, OPTIONAL, BY_CREDENTIALS);
    let ralph = served.gate.log_in("ralph");
    served.arrives("cam", "/a");
    served.arrives_by(served.curl("cam").args(["--http2"]), "/a");
    served.refused(served.curl("cam"), "/edit/");
    served.arrives_by(served.curl("cam").session(&ralph), "/a");
    served.refused(served.curl("expired"), "/certificate/");
    for (identity, decision, count) in [
        ("client_cert", "allow", 2.0),
        ("client_cert", "deny", 1.0),
        ("session", "allow", 1.0),
        ("none", "deny", 1.0),
    ] {
        let labels = [("identity", identity), ("decision", decision)];
        served
            .gate
            .await_metric("portcullis_auth_decisions_total", &labels, count);
    }
    let hash = sha256(&pki, "cam.crt");
    for (user, count) in [("cam-1", 3), ("ralph", 1)] {
        let lines = || {
            served.gate.count_lines(|line| {
                line["event"] == "access"
                    && line["user.name"] == user
                    && line["tls.client.subject"] == "CN=cam-1"
                    && line["tls.client.hash.sha256"] == hash.as_str()
                    && line.get("session.id").is_some() == (user == "ralph")
            })
        };
        eventually(user, || (lines() == count).then_some(()));
    }
}

#[test]
fn nothing_in_a_certificate_forges_a_line_of_the_log() {
    let pki = pki();
    let forged = "\r\n{\"event\":\"forged\"}";
    pki.client("known", &named(&format!("/O=Plant/CN=x{forged}")));
    pki.client(
        "unknown",
        &named(&format!(
            "/CN=x{forged}\n2026-01-01T00:00:00.000Z info forged"
        )),
    );
    pki.client(
        "self-signed",
        &self_signed(&format!("/CN=x{forged}\x1b[2J\u{2028}")),
    );
    let rules = "- {match: {o: Plant}, name: guard, roles: [user]}";
    let served = ruled(&pki, OPTIONAL, rules);
    let ask = |curl: &dyn Fn(&str) -> Curl| {
        for (file, status) in [("known", 200), ("unknown", 403), ("self-signed", 403)] {
            assert_eq!(curl(file).get("/").status, status, "{file}");
        }
    };
    ask(&|file| served.curl(file));
    assert_eq!(after_requests(&served, 3, "client_cert.refused"), 2);
    for line in served.gate.written() {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_ne!(line["event"], "forged", "{line}");
        assert!(line["timestamp"].is_string(), "{line}");
    }
    let line = served.gate.line("client_cert.accepted").unwrap();
    let subject = line["tls.client.subject"].as_str().unwrap();
    assert_eq!(
        subject,
        "CN=x\\0D\\0A{\\\"event\\\":\\\"forged\\\"},O=Plant"
    );

    // As text, where a line is whatever ends with a new line.
    let text = pki.read(&file_of(&served.backend)) + "log: {format: text}\n";
    let port = free_port();
    pki.write(
        "text.yaml",
        &text.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1),
    );
    let file = pki.path("text.yaml").display().to_string();
    let running = Process::start(portcullis(["run", "-c", &file]), "");
    eventually("it is ready", || {
        running.out().contains("server.ready").then_some(())
    });
    ask(&|file| {
        let pem = pki.path(&format!("{file}.pem")).display().to_string();
        Curl::new(port).args(["--cert", &pem])
    });
    let out = eventually("three requests", || {
        let out = running.out();
        (out.matches(" access ").count() == 3).then_some(out)
    });
    assert!(out.contains("client_cert.accepted"), "{out}");
    for line in out.lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z'), "{line:?}");
        assert!(!rest.starts_with("info forged"), "{line:?}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

#[test]
fn who_is_disabled_while_it_runs_is_so_with_a_certificate_too_on_a_connection_that_is_there() {
    let pki = pki();
    pki.client("ralph", &named("/CN=ralph"));
    let config = |users: &str| {
        format!("{ROLES}{users}{RULES}routes:\n  - {{can: view, credentials: certificate}}\n")
    };
    let served = Served::start(&pki, OPTIONAL, &config(USERS));
    let mut connection = Connection::with_certificate(served.gate.address, &pki.path("ralph.pem"));
    let mut ask = || {
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        status_of(&connection.read_answer())
    };
    assert_eq!(ask(), 200);
    let disabled = USERS.replace("email: ralph@example.com", "disabled: true");
    served.configure(OPTIONAL, &config(&disabled));
    served.gate.reload("success");
    assert_eq!(ask(), 403);
    served.configure(OPTIONAL, &config(USERS));
    served.gate.reload("success");
    assert_eq!(ask(), 200);
}

#[test]
fn whoever_is_disabled_is_told_of_as_such_in_the_log() {
    let pki = pki();
    pki.client("disabled", &named("/CN=cam-9"));
    let served = mixed(&pki, OPTIONAL, BY_CREDENTIALS);
    for (path, status) in [("/certificate/", 403), ("/", 401)] {
        assert_eq!(served.refused(served.curl("disabled"), path).0, status);
        let line = served.await_line(path, |line| line["url.path"] == path);
        assert_eq!(line["auth.reason"], "user_gone", "{line}");
        assert_eq!(line["tls.client.subject"], "CN=cam-9", "{line}");
        assert_eq!(line.get("user.name"), None, "{line}");
    }
    let accepted = served
        .gate
        .count_lines(|line| line["event"] == "client_cert.accepted");
    assert_eq!(accepted, 0);
}

#[test]
fn whoever_gets_no_connection_for_a_certificate_is_on_record_by_its_name_and_hash() {
    let pki = pki();
    people_and_clients(&pki);
    let required = "  client_auth: {mode: required, ca: root.crt}\n";
    let served = ruled(
        &pki,
        required,
        "- {match: {cn: cam-*}, name: '{cn}', roles: [user]}",
    );
    assert_eq!(served.status("cam"), 200);
    // Good, and nobody's: that is for the route to say.
    assert_eq!(served.status("stranger"), 403);
    assert_eq!(
        served
            .arrives("stranger", "/open/")
            .field("x-forwarded-user"),
        None
    );
    assert_eq!(served.status("expired"), 0);
    let line = served.await_line("a refusal", |line| {
        line["event"] == "tls.handshake_error" && line["auth.reason"] == "client_cert_expired"
    });
    assert_eq!(line["tls.client.subject"], "CN=cam-1", "{line}");
    let hash = sha256(&pki, "expired.crt");
    assert_eq!(line["tls.client.hash.sha256"], hash, "{line}");
    assert_eq!(served.gate.count_lines(is_event("client_cert.accepted")), 1);
}
