//! From the YAML file to domain types, every problem reported at once.
//!
//! `file` mirrors the YAML and holds no logic; `read` and `shape` turn text into that mirror;
//! `lower` turns the mirror into what the program runs on; `problem` says what is wrong and where.
//! Nothing there binds, connects or changes anything. Apart from it, `users_file` changes single
//! users in a file of theirs.

pub mod file;
pub mod moment;
pub mod scalar;

pub mod expand;
pub mod locate;
pub mod read;
pub mod shape;

pub mod document;
pub mod lower;
pub mod page_files;
pub mod users;

pub mod problem;
pub mod settings;

pub mod users_file;

#[cfg(test)]
mod golden;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::mem;
use std::path::{Path, PathBuf};

use serde_yaml::Value;

use file::ConfigFile;
use lower::{WrittenUsers, lower};
use page_files::read_page_files;
use problem::{Problem, Problems, by_position};
use read::{Variables, read_text, read_yaml};
use settings::{ConfigText, Sections, Settings};
use shape::fit;
use users::FoundUsers;

use crate::gate::users::Unclear;

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

/// Reads the configuration in `file`, and the files of users and pages that it names.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(file: &Path) -> Result<Settings, Problems> {
    let text = ConfigText::new(read_text(file)?);
    let settings = parse(text.as_str(), &source_of(file))?;
    Ok(Settings { text, ..settings })
}

/// The same for a start, which needs all files that are named; a reload goes on with what it has of
/// them. Where nothing else is wrong, what is in those that are there can still be looked at.
///
/// # Errors
/// Everything that is wrong with it, missing files among it.
pub fn load_to_start(file: &Path) -> Result<(Settings, MissingFiles), Problems> {
    let text = ConfigText::new(read_text(file)?);
    let mut parsed = parse_for(Purpose::Start, text.as_str(), &source_of(file))?;
    let missing = MissingFiles(mem::take(&mut parsed.missing));
    let settings = parsed.settings()?;
    Ok((Settings { text, ..settings }, missing))
}

/// Files that a start needs and cannot read, each with what to say of it.
pub struct MissingFiles(Vec<(PathBuf, Problem)>);

impl MissingFiles {
    /// Whether all are there.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is wrong, in the order of the configuration, and then what others have found, who have
    /// missed the same files: a line each.
    #[must_use]
    pub fn and(&self, others: &[String]) -> Vec<String> {
        let own = by_position(self.0.iter().map(|(_, problem)| problem.clone()).collect());
        let is_told = |line: &str| {
            let mut known = self.0.iter().map(|(path, _)| path.display());
            known.any(|path| line.contains(&format!("{path}: cannot read ")))
        };
        let others = others.iter().flat_map(|it| it.lines());
        let others = others.filter(|line| !is_told(line)).map(str::to_owned);
        own.iter().map(ToString::to_string).chain(others).collect()
    }
}

/// The users as they are now, for a configuration that is `text` otherwise. Something may be wrong
/// with some of them: whoever is disabled has to be out also while somebody else's entry has a slip in
/// it. The files that pages are made of are not even read.
///
/// # Errors
/// Everything that is wrong, where it is not known who the users are.
pub fn load_users_as(file: &Path, text: &ConfigText) -> Result<ReadableUsers, Problems> {
    let parsed = parse_for(Purpose::Users, text.as_str(), &source_of(file))?;
    match parsed.problems {
        Some(problems) if !parsed.users_are_known => Err(problems),
        Some(_) | None => Ok(ReadableUsers {
            settings: parsed.settings,
            unclear: parsed.unclear_users,
        }),
    }
}

/// See [`load_users_as`].
pub struct ReadableUsers {
    /// With the users as far as they can be read.
    pub settings: Settings,
    /// Those of whom not all could be.
    pub unclear: Unclear,
}

fn source_of(file: &Path) -> Source<'static> {
    Source {
        file: file.into(),
        variables: &|name| std::env::var(name).ok(),
    }
}

/// Reads a configuration from its text, and the files of users and pages that it names.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, source: &Source<'_>) -> Result<Settings, Problems> {
    parse_for(Purpose::Everything, text, source)?.settings()
}

/// A configuration, and what is wrong with it.
struct Parsed {
    settings: Settings,
    unclear_users: Unclear,
    /// Whether nothing is wrong but with single users.
    users_are_known: bool,
    problems: Option<Problems>,
    /// The files that a start would miss, where nothing is wrong otherwise.
    missing: Vec<(PathBuf, Problem)>,
}

impl Parsed {
    fn settings(self) -> Result<Settings, Problems> {
        match self.problems {
            Some(problems) => Err(problems),
            None => Ok(self.settings),
        }
    }
}

/// What a configuration is read for.
enum Purpose {
    /// To start, or to say whether it could be.
    Start,
    /// To run on it.
    Everything,
    /// To know what its users may do.
    Users,
}

fn parse_for(purpose: Purpose, text: &str, source: &Source<'_>) -> Result<Parsed, Problems> {
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
    let login = match purpose {
        Purpose::Start | Purpose::Everything => written.login.as_ref(),
        Purpose::Users => None,
    };
    let (files, languages) = read_page_files(login, source, &top);
    if let Some(content) = files.content() {
        sections.insert("login (its files)".into(), content);
    }
    let users_are_readable = place.is_readable(&top);
    let users = WrittenUsers {
        entries,
        at: place.top(&top),
    };
    let (settings, unclear_users) = lower(written, users, files, source, &top);
    let warnings = [document.warnings(), place.warnings()].concat();
    let warnings = warnings.into_iter().chain(languages.warnings()).collect();
    let mut of_configuration = document.take_problems();
    let users_are_known = users_are_readable && of_configuration.is_empty();
    let elsewhere = [
        vec![place.take_problems()],
        languages.take_problems().collect(),
    ]
    .concat();
    let mut missing = match purpose {
        Purpose::Start => document.missing_inputs(),
        Purpose::Everything | Purpose::Users => Vec::new(),
    };
    if !(of_configuration.is_empty() && elsewhere.iter().all(Vec::is_empty)) {
        of_configuration.extend(missing.drain(..).map(|(_, problem)| problem));
    }
    Ok(Parsed {
        settings: Settings {
            warnings,
            sections: Sections::new(sections),
            ..settings
        },
        unclear_users,
        users_are_known,
        problems: Problems::of_files([of_configuration].into_iter().chain(elsewhere)),
        missing,
    })
}

/// The file of users that the configuration in `file` names, right or wrong as that may be
/// otherwise: for whoever has to know which files to look at.
///
/// # Errors
/// Where it cannot be read so far.
pub fn users_file(file: &Path) -> Result<Option<PathBuf>, Problem> {
    let (source, value) = value_of(file)?;
    let written = value.get("users").and_then(Value::as_str);
    Ok(written.map(|written| source.folder().join(written)))
}

/// The admin socket of the configuration in `file`, right or wrong as that may be otherwise: for
/// whoever has to end a session now.
///
/// # Errors
/// Where it cannot be read so far.
pub fn admin_socket(file: &Path) -> Result<Option<PathBuf>, Problem> {
    let (source, value) = value_of(file)?;
    let written = value.get("admin").and_then(|admin| admin.get("socket"));
    let written = written.and_then(Value::as_str);
    Ok(written.map(|written| source.folder().join(written)))
}

fn value_of(file: &Path) -> Result<(Source<'_>, Value), Problem> {
    let source = source_of(file);
    let (_, value) = read_yaml(&read_text(file)?, file, source.variables)?;
    Ok((source, value))
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
