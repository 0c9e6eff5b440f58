//! Golden cases: `tests/config/<rule>.yaml` with what is said about it in `<rule>.txt` beside it.
//! `UPDATE_GOLDEN=1 cargo test golden` writes the texts anew; read the difference before keeping it.
//!
//! Also here: the files under `conf/`, and input that no sane person would write.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::problem::Problems;
use super::settings::Settings;
use super::{Source, load, parse};

/// The variables that golden cases may use. `SECRET` must never be seen in what is said.
fn variable(name: &str) -> Option<String> {
    let value = match name {
        "SECRET" => "hunter2,/",
        "EMPTY" => "",
        "THREADS" => "3",
        "UPSTREAM" => "device",
        _ => return None,
    };
    Some(value.into())
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    files
}

fn parse_text(text: &str) -> Result<Settings, Problems> {
    let source = Source {
        file: "portcullis.yaml".into(),
        variables: &variable,
    };
    parse(text, &source)
}

/// What is said about the configuration in `file`, a line each.
fn said_about(file: &Path) -> String {
    let source = Source {
        file: file.into(),
        variables: &variable,
    };
    let folder = format!("{}/", source.folder().display());
    let text = fs::read_to_string(file).unwrap();
    let mut said = String::new();
    match parse(&text, &source) {
        Ok(settings) if settings.warnings.is_empty() => said.push_str("ok\n"),
        Ok(settings) => {
            for warning in &settings.warnings {
                writeln!(said, "warning: {warning}").unwrap();
            }
        }
        Err(problems) => writeln!(said, "{problems}").unwrap(),
    }
    said.replace(&folder, "")
}

#[test]
fn golden_cases_say_what_is_expected() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut differences = String::new();
    for file in yaml_files(&folder("tests/config")) {
        let said = said_about(&file);
        let expected_file = file.with_extension("txt");
        assert!(!said.contains("hunter2"), "{}: {said}", file.display());
        if update {
            fs::write(&expected_file, said).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&expected_file).unwrap_or_default();
        if said != expected {
            let name = file.display();
            writeln!(differences, "{name}\nexpected:\n{expected}got:\n{said}").unwrap();
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

#[test]
fn ten_mistakes_are_reported_as_ten() {
    let said = said_about(&folder("tests/config/ten-mistakes.yaml"));
    assert_eq!(said.lines().count(), 10, "{said}");
}

#[test]
fn what_is_written_is_what_runs() {
    use std::time::Duration;

    use super::settings::LogFormat;
    use crate::gate::ability::Ability;
    use crate::gate::route::{Access, UpstreamId};
    use crate::identity::UserName;
    use crate::listen::spec::{PlainLogin, Protocol};
    use crate::tls::spec::{Policy, TicketSpec};

    let file = folder("tests/config/ok-whole.yaml");
    let settings = load(&file).unwrap();
    let listeners: Vec<_> = settings
        .listeners
        .iter()
        .map(|listener| listener.protocol)
        .collect();
    let plain = [PlainLogin::Accept, PlainLogin::Refuse].map(Protocol::Http);
    assert_eq!(listeners, [Protocol::Https, plain[0], plain[1]]);
    assert_eq!(settings.listeners[0].address.to_string(), "0.0.0.0:8443");
    assert_eq!(settings.listeners[0].max_connections, 500);
    let tls = settings.tls.unwrap();
    let [pair] = tls.certificates.as_slice() else {
        panic!("{:?}", tls.certificates);
    };
    let place = format!("{}:7:18: tls.certificates[0]", file.display());
    assert_eq!(pair.place, place);
    assert_eq!(pair.source.path(), file.with_file_name("tls.crt"));
    assert_eq!(tls.policy, Policy::default());
    assert_eq!(tls.tickets, TicketSpec::Random);
    assert_eq!(settings.upstreams[1].authority(), "[::1]:9000");
    let routes = settings.gate.routes.routes();
    let labels: Vec<_> = routes.iter().map(|route| &*route.label).collect();
    let hosts = "ui.example.com,*.plant.example/*";
    assert_eq!(labels, ["/public/", "/files/", "/files/", hosts, "*"]);
    assert_eq!(routes[1].upstream, UpstreamId(1));
    assert_eq!(
        routes[2].access,
        Access::can(["view", "edit"].map(Ability::new).into())
    );
    assert_eq!(routes[2].body_limit, Some(u64::MAX));
    assert_eq!(routes[3].redirect.as_deref(), Some("/auth/login"));
    let ralph = UserName::parse("ralph").unwrap();
    let ralph = settings.gate.users.active(&ralph).unwrap();
    let edit = [Ability::new("edit")];
    assert_eq!(ralph.abilities.first_missing(&edit), None);
    assert_eq!(ralph.display_name.as_deref(), Some("Ralph X"));
    assert_ne!(ralph.credential_epoch, 0);
    assert_eq!(settings.gate.own_pages.unwrap().logout, "/out");
    assert_eq!(settings.login.unwrap().home, "/start");
    assert!(settings.identity.headers.is_empty());
    assert_eq!(settings.limits.head.bytes, 16 << 10);
    assert_eq!(settings.limits.body, 10 << 10);
    assert_eq!(settings.timeouts.head, Duration::from_millis(500));
    assert_eq!(settings.admin, Some("127.0.0.1:9901".parse().unwrap()));
    let bounds = settings.session_bounds;
    assert_eq!((bounds.max, bounds.per_user), (1000, 5));
    assert_eq!(settings.threads, 2);
    assert_eq!(settings.drain_timeout, Duration::from_secs(86_400));
    assert_eq!(settings.log_format, LogFormat::Json);
}

#[test]
fn backends_get_requests_as_it_is_written() {
    use std::time::Duration;

    use crate::proxy::spec::{Collected, HttpVersion};
    use crate::proxy::upstream_login::LoginScheme;

    let folder = folder("tests/config");
    let settings = load(&folder.join("ok-legacy.yaml")).unwrap();
    let upstreams = settings.upstreams.iter();
    let how: Vec<_> = upstreams.map(|it| (it.version, it.collected)).collect();
    assert_eq!(
        how,
        [
            (HttpVersion::Http10, Collected::OfUnknownLength),
            (HttpVersion::Http11, Collected::OfUnknownLength),
            (HttpVersion::Http10, Collected::All),
            (HttpVersion::Http11, Collected::All),
            (HttpVersion::Http11, Collected::None),
        ]
    );
    let routes = settings.gate.routes.routes().iter();
    let times: Vec<_> = routes.map(|it| (it.read_timeout, it.timeout)).collect();
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    assert_eq!(
        times,
        [
            (None, None),
            (None, minutes(20)),
            (minutes(60), None),
            (None, None),
            (None, None),
        ]
    );
    let login = settings.upstreams[3].login.as_deref().unwrap().spec();
    let password = login.password.file().unwrap();
    assert_eq!(
        (login.scheme, &*login.user, password),
        (LoginScheme::Digest, "gate", &*folder.join("pass"))
    );
    assert_eq!(settings.buffering.total, 2 << 30);
    assert_eq!(settings.buffering.folder, folder.join("spool"));
}

#[test]
fn what_comes_in_the_clear_goes_where_it_is_written() {
    use std::sync::Arc;
    use std::time::Duration;

    use http::StatusCode;

    use crate::gate::route::PathPattern;
    use crate::proxy::spec::{Hsts, HstsScope, Redirect, TargetPort};

    let settings = load(&folder("tests/config/ok-redirects.yaml")).unwrap();
    let redirects: Vec<_> = settings
        .listeners
        .iter()
        .map(|listener| listener.redirect.as_deref().cloned())
        .collect();
    let to = |status, port, except: &[&str]| {
        let except = except.iter().map(|path| PathPattern::parse(path).unwrap());
        Some(Redirect {
            status,
            port: TargetPort::Fixed(port),
            except: except.collect(),
        })
    };
    let acme = "/.well-known/acme-challenge/";
    let same_port = Some(Redirect::same_port());
    assert_eq!(
        redirects,
        [
            to(StatusCode::TEMPORARY_REDIRECT, 8443, &[]),
            to(StatusCode::PERMANENT_REDIRECT, 443, &[acme, "/healthz"]),
            to(StatusCode::TEMPORARY_REDIRECT, 8443, &[acme]),
            same_port.clone(),
            None,
            same_port,
        ]
    );
    let year = Duration::from_secs(365 * 86_400);
    let hsts = Hsts::new(year, HstsScope::Preload);
    assert_eq!(settings.hsts, Some(Arc::new(hsts)));
    // Nothing is said of it, and an http listener serves, where nothing is written.
    let settings = load(&folder("tests/config/ok-whole.yaml")).unwrap();
    assert_eq!(
        (settings.hsts, &settings.listeners[1].redirect),
        (None, &None)
    );
}

#[test]
fn without_protected_routes_there_is_no_login_until_it_is_written() {
    let open = "listeners: [{address: ':0', protocol: http}]\n\
                upstreams: {a: {url: 'http://127.0.0.1'}}\n\
                routes: [{public: true}]\n";
    let settings = parse_text(open).unwrap();
    assert!(settings.login.is_none() && settings.gate.own_pages.is_none());
    let settings = parse_text(&format!("{open}login:\n")).unwrap();
    assert_eq!(settings.login.unwrap().path, "/auth/login");
    assert!(settings.gate.own_pages.is_some());
}

#[test]
fn where_clients_are_known_and_no_users_there_is_no_login_until_it_is_written() {
    let text = |clients: &str, users: &str, route: &str| {
        format!(
            "listeners: [{{address: ':0', protocol: http}}]\n\
             upstreams: {{a: {{url: 'http://127.0.0.1'}}}}\n\
             roles: {{user: [view]}}\n{clients}{users}routes: [{route}]\n"
        )
    };
    let clients = "clients: [{match: {cn: '*'}, name: '{cn}', roles: []}]\n";
    let hash = "$2b$10$Hs6tND/2lfxXtul5y/Kz9e6ZxTKEgkrbWhlIIMjnZE8Jn3S8vEthy";
    let users = format!("users: {{a: {{password: {hash}}}}}\n");
    for (text, expected) in [
        (text("", "", "{can: view}"), true),
        (text("", "", "{client_cert: required}"), false),
        (text("", &users, "{client_cert: required}"), false),
        (text("", "", "{client_cert: required, can: view}"), true),
        (text(clients, "", "{can: view}"), false),
        (
            text(clients, "", "{can: view, credentials: session}"),
            false,
        ),
        (text(clients, "login:\n", "{can: view}"), true),
        (text(clients, &users, "{can: view}"), true),
        (
            text(clients, &users, "{can: view, credentials: certificate}"),
            false,
        ),
    ] {
        let settings = parse_text(&text).unwrap();
        assert_eq!(settings.login.is_some(), expected, "{text}");
        assert_eq!(settings.gate.own_pages.is_some(), expected, "{text}");
    }
}

#[test]
fn who_may_ask_with_which_certificate_is_what_is_written() {
    use crate::gate::ability::Ability;
    use crate::gate::route::{Access, CredentialKind, Credentials, Grant, Owner};

    let settings = load(&folder("tests/config/ok-clients.yaml")).unwrap();
    let clients = &settings.gate.clients;
    assert!(!clients.is_empty() && clients.some_know_fingerprints());
    assert!(!clients.all_know_fingerprints());
    let routes = settings.gate.routes.routes();
    let abilities = |names: &[&str]| names.iter().map(|it| Ability::new(it)).collect();
    let grant = |can: &[&str], credentials, owner| Grant {
        abilities: abilities(can),
        credentials,
        owner,
    };
    let owner = |at: usize, text, or: &[&str]| {
        Some(Owner::parse(text, &routes[at].pattern, abilities(or)).unwrap())
    };
    let any = Credentials::ANY;
    let expected = [
        Access::Can(grant(&["view"], any, owner(0, "{name}", &["edit"]))),
        Access::Can(grant(
            &["view"],
            Credentials::only(CredentialKind::Certificate),
            owner(1, "spiffe://{site}/{id}", &[]),
        )),
        Access::Certificate,
        Access::CertificateAndCan(grant(&["edit"], any, None)),
        Access::CertificateAndCan(grant(&[], any, owner(4, "{name}", &["view", "edit"]))),
        Access::can(abilities(&["view"])),
    ];
    let found: Vec<_> = routes.iter().map(|route| route.access.clone()).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_file_under_conf_loads() {
    for file in yaml_files(&folder("conf")) {
        let settings = load(&file).unwrap_or_else(|problems| panic!("{problems}"));
        let expected = usize::from(file.ends_with("ioto.yaml"));
        let warnings = settings.warnings;
        assert_eq!(warnings.len(), expected, "{}: {warnings:?}", file.display());
    }
}

// === Input that no sane person would write ===

#[test]
fn a_file_that_is_too_large_or_no_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let said = |content: &[u8]| {
        let file = folder.path().join("portcullis.yaml");
        fs::write(&file, content).unwrap();
        let problems = load(&file).unwrap_err().to_string();
        problems.replace(&format!("{}/", folder.path().display()), "")
    };
    let large = vec![b'#'; 10 << 20];
    assert_eq!(said(&large), "portcullis.yaml: larger than 4 MiB");
    assert_eq!(said(b"a: \xff\xfe"), "portcullis.yaml: not a text in UTF-8");
    let missing = load(&folder.path().join("nowhere.yaml")).unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("nowhere.yaml: cannot be read: No such file")
    );
    assert!(load(folder.path()).is_err());
}

#[test]
fn odd_yaml_is_a_problem_and_never_a_panic() {
    let mut odd: Vec<String> = [
        "~",
        "null",
        "5",
        "\"text\"",
        "[]",
        "{}",
        "---",
        "...",
        "--- ---",
        "\0",
        "\u{feff}",
        "\t",
        "!!binary aGk=",
        "!x {a: b}",
        "&a *a",
        "*a",
        "&a [*a]",
        "{<<: *a}",
        "<<: {<<: {<<: {}}}",
        "<<: [[{}]]",
        "? [a, b]\n: c",
        "? {a: b}\n: c",
        "~: x",
        "1: x",
        "true: x",
        "1.5: x",
        "'': x",
        "listeners: &a [*a]",
        "routes: [~, ~]",
        "routes: {0: {can: view}}",
        "users: {~: {}}",
        "users: &u {a: *u}",
        "users: .",
        "users: /",
        "users: ''",
        "users: [a]",
        "roles: [[user]]",
        "roles: {user: [~]}",
        "login: !!str",
        "threads: 0x10",
        "threads: .nan",
        "threads: 1e400",
        "threads: -0",
        "threads: 99999999999999999999999",
        "sessions: {idle: 1e3}",
        "listeners: [{address: ''}]",
        "upstreams: {a: {url: 'http://['}}",
        "%YAML 9.9\n---\na: b",
        "a: |\n  x\n y",
        "a: 'x",
        "a: \"\\x\"",
        "a: b: c",
        "- a\nb: c",
        "{a: b, a: b}",
        "${",
        "${}: x",
        "threads: ${",
        "threads: \"${A:-${B:-1}}\"",
        "threads: ${THREADS}}",
    ]
    .map(str::to_owned)
    .into();
    odd.push("[".repeat(100_000));
    odd.push("{a: ".repeat(100_000));
    odd.push("- ".repeat(100_000));
    odd.push("x".repeat(1_000_000));
    odd.push(format!("routes: [{}]", "[],".repeat(10_000)));
    odd.push(format!("{}: x", "k".repeat(100_000)));
    for text in odd {
        let _ = parse_text(&text);
    }
}

#[test]
fn what_would_take_too_long_is_refused() {
    let said = |text: String| parse_text(&text).unwrap_err().to_string();
    let roles: String = (0..1001)
        .map(|number| format!("  role{number}: [role{}]\n", number + 1))
        .collect();
    assert!(said(format!("roles:\n{roles}")).contains("roles: more than 1000 roles"));
    let routes = "  - {public: true}\n".repeat(10_001);
    assert!(said(format!("routes:\n{routes}")).contains("routes: more than 10000 routes"));
    let rules = "  - {match: {cn: '*'}, name: x, roles: []}\n".repeat(10_001);
    assert!(said(format!("clients:\n{rules}")).contains("clients: more than 10000 rules"));
}

#[test]
fn what_is_said_is_one_line_without_control_characters() {
    let text =
        "login: {path: \"a\\e[31m\\n\"}\nroutes: [{host: \"\\e[31m\", can: x}]\n\"\\e\": x\n";
    let problems = parse_text(text).unwrap_err();
    for problem in problems.iter() {
        assert!(
            !problem.to_string().contains(char::is_control),
            "{problem:?}"
        );
    }
}

#[test]
fn mistakes_without_end_are_reported_to_a_limit() {
    let unknown: String = (0..1000)
        .map(|number| format!("key{number}: x\n"))
        .collect();
    let problems = parse_text(&unknown).unwrap_err();
    assert_eq!(problems.iter().len(), 201);
    assert!(problems.to_string().contains("more than 200 mistakes"));
}

/// Damages working files at places chosen by a fixed sequence of numbers.
#[test]
fn damaged_files_are_a_problem_and_never_a_panic() {
    const ROUNDS: usize = 2000;
    const PIECES: [&str; 16] = [
        "[", "]", "{", "}", ":", "- ", "\n", "\"", "'", "&a ", "*a", "<<: ", "!x ", "${", "~",
        "\u{0}",
    ];
    let texts: Vec<String> = yaml_files(&folder("conf"))
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % limit as u64).unwrap()
    };
    for round in 0..ROUNDS {
        let mut text: Vec<char> = texts[round % texts.len()].chars().collect();
        for _ in 0..=below(4) {
            let at = below(text.len().max(1));
            match below(3) {
                0 => drop(text.drain(at..text.len().min(at + 1))),
                1 => drop(text.splice(at..at, PIECES[below(PIECES.len())].chars())),
                _ => text.truncate(at),
            }
        }
        let _ = parse_text(&text.into_iter().collect::<String>());
    }
}
