//! Who may import whom, read from the `use` lines: the layers of ARCHITECTURE.md hold because
//! this test does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each folder (or file) of `src/`, and which others it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &["cli", "server"]),
    (
        "cli",
        &[
            "config", "gate", "server", "identity", "listen", "password", "proxy", "store", "tls",
            "observe", "http1",
        ],
    ),
    (
        "server",
        &[
            "config", "gate", "identity", "listen", "password", "proxy", "store", "tls", "observe",
            "http1",
        ],
    ),
    (
        "config",
        &[
            "gate", "identity", "listen", "password", "proxy", "store", "tls", "http1",
        ],
    ),
    (
        "listen",
        &[
            "tls",
            "http1",
            "proxy",
            "observe",
            "identity",
            "proxy_protocol",
        ],
    ),
    ("proxy_protocol", &[]),
    ("tls", &["identity"]),
    ("identity", &[]),
    ("gate", &["identity"]),
    ("password", &["identity"]),
    ("store", &["gate", "identity"]),
    ("http1", &[]),
    (
        "proxy",
        &[
            "http1",
            "gate",
            "identity",
            "observe",
            "password",
            "store",
            "tls",
            "proxy_protocol",
        ],
    ),
    ("observe", &["identity", "http1"]),
];

/// Each foreign crate that has one home (or a few), and where.
const HOMES: &[(&str, &[&str])] = &[
    ("boring", &["tls"]),
    ("pingora_core", &["listen", "proxy", "tls"]),
    ("prometheus", &["observe", "server"]),
    ("serde_yaml", &["config", "cli"]),
    ("saphyr_parser", &["config"]),
    ("serde_path_to_error", &["config"]),
    ("argon2", &["password"]),
    ("bcrypt", &["password"]),
    ("blowfish", &["password"]),
    ("rc2", &["tls"]),
    ("clap", &["cli", "main"]),
    ("tracing_subscriber", &["cli"]),
    ("socket2", &["listen", "proxy"]),
    ("redb", &["store"]),
    ("getrandom", &["store", "password"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Every source file with the name of its top-level module and its text without tests.
fn modules() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root).into_iter().map(|path| {
        let inner = path.strip_prefix(&root).unwrap();
        let first = inner.components().next().unwrap().as_os_str();
        let module = first.to_str().unwrap().trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        (module, path.clone(), code.to_owned())
    });
    files.filter(|(module, ..)| module != "lib").collect()
}

/// The names that stand after `prefix` in code.
fn named_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let mut names = BTreeSet::new();
    for line in lines {
        for (at, _) in line.match_indices(prefix) {
            let before = line[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &line[at + prefix.len()..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            names.insert(rest[..end.unwrap_or(rest.len())].to_owned());
        }
    }
    names
}

#[test]
fn a_folder_uses_only_those_that_it_may() {
    for (module, path, code) in modules() {
        let rule = MAY_USE.iter().find(|(name, _)| *name == module);
        let (_, allowed) = rule.unwrap_or_else(|| panic!("{module} has no rule"));
        let mut used = named_after(&code, "crate::");
        used.extend(named_after(&code, "portcullis::"));
        for name in used.into_iter().filter(|name| *name != module) {
            assert!(
                allowed.contains(&name.as_str()),
                "{}: {module} may not use {name}",
                path.display()
            );
        }
    }
}

#[test]
fn a_foreign_crate_stays_in_its_home() {
    for (module, path, code) in modules() {
        for (foreign, homes) in HOMES {
            let used = !named_after(&code, &format!("{foreign}::")).is_empty();
            assert!(
                !used || homes.contains(&module.as_str()),
                "{}: {foreign} belongs in {homes:?}",
                path.display()
            );
        }
    }
}

#[test]
fn every_file_says_first_what_it_is_for() {
    for (_, path, code) in modules() {
        assert!(code.starts_with("//!"), "{}", path.display());
    }
}

#[test]
fn there_is_one_tls_stack() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let lock = std::fs::read_to_string(lock).unwrap();
    for banned in [
        "openssl",
        "openssl-sys",
        "native-tls",
        "rustls",
        "ring",
        "aws-lc-sys",
    ] {
        assert!(
            !lock.contains(&format!("name = \"{banned}\"\n")),
            "{banned}"
        );
    }
    assert!(lock.contains("name = \"boring\"\n"));
}
