//! Where the users are written: in the configuration, or in a file of their own.

use serde_yaml::Value;

use super::document::{At, Document};
use super::file::{UserFile, UsersSection, WrappedUsersFile};
use super::problem::Problem;
use super::read::{read_text, read_yaml};
use super::scalar::Entries;
use super::shape::fit;
use super::users_file::edit::holds_users;
use super::{Source, content_of};

/// The users as they are written, and where.
pub struct FoundUsers {
    /// None where they could not be read, which was then recorded.
    pub entries: Entries<UserFile>,
    /// The place.
    pub place: Place,
    /// Stands for what is in their file, where they have one that could be read.
    pub content: Option<u64>,
}

/// The place where users are written.
pub enum Place {
    /// In the configuration.
    Here,
    /// In a file of their own, with the key that they are under, if any.
    File(Box<Document>, Option<&'static str>),
    /// In a file that is no YAML.
    BrokenFile(Problem),
}

impl FoundUsers {
    /// Reads the users that `section` holds or names. `top` is that of the configuration.
    #[must_use]
    pub fn find(section: Option<UsersSection>, source: &Source<'_>, top: &At<'_>) -> Self {
        let written = match section {
            None => return Self::here(Entries::default()),
            Some(UsersSection::Inline(entries)) => return Self::here(entries),
            Some(UsersSection::File(written)) => written,
        };
        let file = source.folder().join(&written);
        let read = match read_text(&file) {
            Ok(text) => read_yaml(&text, &file, source.variables),
            Err(problem) => {
                let at = top.key("users");
                let named = at.quoted(&written);
                at.problem(format!("the file {named}: {}", problem.message));
                return Self::here(Entries::default());
            }
        };
        match read {
            Ok((document, value)) => Self::in_document(document, value),
            Err(problem) => Self {
                entries: Entries::default(),
                place: Place::BrokenFile(problem),
                content: None,
            },
        }
    }

    const fn here(entries: Entries<UserFile>) -> Self {
        Self {
            entries,
            place: Place::Here,
            content: None,
        }
    }

    fn in_document(document: Document, mut value: Value) -> Self {
        let top = document.root();
        let content = Some(content_of(&value));
        let (key, entries) = if holds_users(&value) {
            let WrappedUsersFile { users } = fit(&mut value, &top);
            (Some("users"), users.unwrap_or_default())
        } else {
            (None, fit(&mut value, &top))
        };
        Self {
            entries,
            place: Place::File(document.into(), key),
            content,
        }
    }
}

impl Place {
    /// Whether it is known which entries there are, right or wrong.
    #[must_use]
    pub fn is_readable(&self, top: &At<'_>) -> bool {
        match self {
            Self::BrokenFile(_) => false,
            Self::Here | Self::File(..) => !self.top(top).is_refused(),
        }
    }

    /// The mapping of users, where `top` is that of the configuration.
    #[must_use]
    pub fn top<'d>(&'d self, top: &At<'d>) -> At<'d> {
        match self {
            Self::Here | Self::BrokenFile(_) => top.key("users"),
            Self::File(document, Some(key)) => document.root().key(key),
            Self::File(document, None) => document.root(),
        }
    }

    /// The problems found in a file of users.
    #[must_use]
    pub fn take_problems(&self) -> Vec<Problem> {
        match self {
            Self::Here => Vec::new(),
            Self::File(document, _) => document.take_problems(),
            Self::BrokenFile(problem) => vec![problem.clone()],
        }
    }

    /// What was noticed in a file of users.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::File(document, _) => document.warnings(),
            Self::Here | Self::BrokenFile(_) => Vec::new(),
        }
    }
}
