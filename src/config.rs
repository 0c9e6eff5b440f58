//! From the YAML file to domain types, every problem reported at once.
//!
//! `file` mirrors the YAML and holds no logic; `read` and `shape` turn text into that mirror;
//! `lower` turns the mirror into what the program runs on; `problem` says what is wrong and where.
//! Nothing there binds, connects or changes anything. Apart from it, `users_file` changes single
//! users in a file of theirs.

pub mod file;
pub mod scalar;

pub mod expand;
pub mod locate;
pub mod read;
pub mod shape;

pub mod document;
pub mod lower;
pub mod users;

pub mod problem;
pub mod settings;

pub mod beside;
pub mod users_file;

#[cfg(test)]
mod golden;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use serde_yaml::Value;

use file::ConfigFile;
use lower::{WrittenUsers, lower};
use problem::{Problem, Problems};
use read::{Variables, read_text, read_yaml};
use settings::{ConfigText, Sections, Settings};
use shape::fit;
use users::FoundUsers;

/// Where a configuration comes from.
pub struct Source<'v> {
    /// The file it was read from: named in problems, and relative paths begin at its folder.
    pub file: PathBuf,
    /// What `${VAR}` stands for.
    pub variables: Variables<'v>,
}

impl Source<'_> {
    /// Where relative paths begin.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.file.parent().unwrap_or_else(|| Path::new(""))
    }
}

/// Reads the configuration in `file`, and the file of users that it names.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(file: &Path) -> Result<Settings, Problems> {
    let text = ConfigText::new(read_text(file)?);
    let settings = load_as(file, &text)?;
    Ok(Settings { text, ..settings })
}

/// The same as if `text` was still in `file`; the file of users is read as it is now.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_as(file: &Path, text: &ConfigText) -> Result<Settings, Problems> {
    let source = Source {
        file: file.into(),
        variables: &|name| std::env::var(name).ok(),
    };
    parse(text.as_str(), &source)
}

/// Reads a configuration from its text, and the file of users that it names.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, source: &Source<'_>) -> Result<Settings, Problems> {
    let (document, mut value) = read_yaml(text, &source.file, source.variables)?;
    let top = document.root();
    let mut sections = sections(&value);
    let mut written: ConfigFile = fit(&mut value, &top);
    let found = FoundUsers::find(written.users.take(), source, &top);
    let FoundUsers {
        entries,
        place,
        content,
    } = found;
    if let Some(content) = content {
        sections.insert("users".into(), content);
    }
    let users = WrittenUsers {
        entries,
        at: place.top(&top),
    };
    let settings = lower(written, users, source, &top);
    match Problems::of_files([document.take_problems(), place.take_problems()]) {
        Some(problems) => Err(problems),
        None => Ok(Settings {
            warnings: [document.warnings(), place.warnings()].concat(),
            sections: Sections::new(sections),
            ..settings
        }),
    }
}

/// The file of users that the configuration in `file` names, right or wrong as that may be
/// otherwise: for whoever has to know which files to look at.
///
/// # Errors
/// Where it cannot be read so far.
pub fn users_file(file: &Path) -> Result<Option<PathBuf>, Problem> {
    let source = Source {
        file: file.into(),
        variables: &|name| std::env::var(name).ok(),
    };
    let (_, value) = read_yaml(&read_text(file)?, file, source.variables)?;
    let written = value.get("users").and_then(Value::as_str);
    Ok(written.map(|written| source.folder().join(written)))
}

/// The sections but for `tls`, of which a reload knows by itself what has changed.
fn sections(written: &Value) -> BTreeMap<String, u64> {
    let mapping = written.as_mapping().into_iter().flatten();
    let named = mapping.filter_map(|(name, value)| Some((name.as_str()?.to_owned(), value)));
    let others = named.filter(|(name, _)| name != "tls");
    others
        .map(|(name, value)| (name, content_of(value)))
        .collect()
}

/// Stands for what is in a value.
fn content_of(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
