//! Golden cases: `tests/config/<rule>.yaml` with what is said about it in `<rule>.txt` beside it.
//! `UPDATE_GOLDEN=1 cargo test golden` writes the texts anew; read the difference before keeping it.
//!
//! Also here: the files under `conf/`, and input that no sane person would write.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::problem::{Problem, Problems};
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
fn every_file_under_conf_loads() {
    for file in yaml_files(&folder("conf")) {
        if let Err(problems) = load(&file) {
            panic!("{problems}");
        }
    }
}
