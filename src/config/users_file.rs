//! Changing single users in their file: read, checked to be editable, replaced whole or not at all.
//!
//! It is edited line by line, so that comments, order and layout stay as somebody wrote them; what
//! cannot be edited safely that way is refused and left untouched. What changes in its text is
//! decided in `edit`. How users are read to be served is elsewhere (`users`).

pub mod edit;
mod held;
mod lines;
pub mod tokens;

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::fs::{Access, access};
use serde_yaml::Value;

use super::read::read_bytes;
use crate::identity::UserName;
use crate::identity::token::TokenName;
use crate::password::stored::{FormatError, StoredPassword};
use crate::store::beside::{Beside, folder_of, remove_left, sync_folder_of};
use edit::{Change, EditError, Layout, WRAPPER, edit, key_text, remove, set_disabled};
use held::Held;
use tokens::{ListedToken, TokenEntry};

/// How a new file begins.
pub const FIRST_LINE: &str = "# Users of Portcullis: name, password hash, roles. To set a password: portcullis passwd --file FILE NAME\n";

/// Why a users file was not read or changed. Nothing has been changed, except with
/// [`UsersFileError::NotDurable`].
#[derive(Debug, thiserror::Error)]
pub enum UsersFileError {
    #[error("cannot read {}", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("cannot write {}", file.display())]
    Write { file: PathBuf, source: io::Error },
    #[error("cannot replace {}: it is a mount point; mount the folder it is in instead", file.display())]
    MountPoint { file: PathBuf, source: io::Error },
    #[error("{} was changed, but a power cut may still undo it", file.display())]
    NotDurable { file: PathBuf, source: io::Error },
    #[error("{} is not a regular file", file.display())]
    NotAFile { file: PathBuf },
    #[error("{} is a symbolic link to a file that does not exist", file.display())]
    DanglingLink { file: PathBuf },
    #[error("{} is not UTF-8 text", file.display())]
    NotText { file: PathBuf },
    #[error("{} was changed by somebody else meanwhile; try again", file.display())]
    ChangedMeanwhile { file: PathBuf },
    #[error("{} is being changed by somebody else; try again", file.display())]
    Busy { file: PathBuf },
    #[error(
        "{} has another name, a hard link, which would keep what is in it now; make it a symbolic \
         link", file.display()
    )]
    HardLink { file: PathBuf },
    #[error("{} is read-only", file.display())]
    ReadOnly { file: PathBuf },
    #[error("{} belongs to somebody else, to whom a new one could not be given", file.display())]
    OwnerWouldChange { file: PathBuf },
    #[error("{}:{line}: {obstacle}; the file was not changed", file.display())]
    Refused {
        file: PathBuf,
        line: usize,
        obstacle: Obstacle,
    },
    #[error("{} is not valid YAML", file.display())]
    NotYaml {
        file: PathBuf,
        source: serde_yaml::Error,
    },
    #[error("{} has no user `{user}`", file.display())]
    NoSuchUser { file: PathBuf, user: UserName },
    #[error("`{user}` has no token `{token}` in {}", file.display())]
    NoSuchToken {
        file: PathBuf,
        user: UserName,
        token: TokenName,
    },
    #[error("`{user}` has a token `{token}` in {} already; revoke it, or choose another name", file.display())]
    TokenExists {
        file: PathBuf,
        user: UserName,
        token: TokenName,
    },
    #[error("the entry of `{user}` in {} has no password hash", file.display())]
    NoPassword { file: PathBuf, user: UserName },
    #[error("the password hash of `{user}` in {} cannot be used", file.display())]
    StoredHash {
        file: PathBuf,
        user: UserName,
        source: FormatError,
    },
}

/// Why a users file is left alone rather than edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    #[error("a tab is used for indentation; use spaces")]
    Tab,
    #[error("this line break is neither LF nor CRLF")]
    LineBreak,
    #[error("more than one YAML document, or a directive; keep one document of users")]
    Documents,
    #[error("anchors, aliases and tags (& * << !) cannot be edited safely; write the values out")]
    Anchor,
    #[error("flow style ({{…}}) cannot be edited safely; write the entry as an indented block")]
    FlowStyle,
    #[error("the same key is on line {first} already; remove one of the two")]
    Duplicate { first: usize },
    #[error("expected `name:` here")]
    NotAKey,
    #[error("this name is no text for YAML; write it in quotes")]
    NameIsNotText,
    #[error("expected a user with `password:` and `roles:` indented below the name")]
    NotAUser,
    #[error("expected a plain value on this one line")]
    NotOneLine,
    #[error("this cannot be edited safely; write it as plain block style YAML")]
    Unclear,
}

/// The name of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleName(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role name has characters from A-Z a-z 0-9 _ - only")]
pub struct InvalidRoleName;

impl FromStr for RoleName {
    type Err = InvalidRoleName;

    fn from_str(name: &str) -> Result<Self, InvalidRoleName> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if name.is_empty() || !name.bytes().all(fits) {
            return Err(InvalidRoleName);
        }
        Ok(Self(name.to_owned()))
    }
}

/// What became of a better hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rehashed {
    /// It is in the file.
    Written,
    /// The password has been changed meanwhile, or the user removed: it is not wanted any more.
    Superseded,
}

/// Puts `hash` in the place of the stored one, if that is still the one whose fingerprint is
/// `verified`: what somebody else writes at the same moment is never undone.
///
/// # Errors
/// Why the file is left alone. This is nobody's order but the program's own idea, so it is held to
/// more than an operator is: a file that is read-only or would change hands stays as it is.
pub fn rehash(
    path: &Path,
    user: &UserName,
    verified: u64,
    hash: &str,
) -> Result<Rehashed, UsersFileError> {
    const TRIES: usize = 3;
    let change = Change {
        user,
        hash,
        roles: &[],
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let file = UsersFile::read(path)?;
        match file.stored_password(user) {
            Ok(stored) if stored.fingerprint() == verified => {}
            Ok(_) | Err(UsersFileError::NoSuchUser { .. }) => return Ok(Rehashed::Superseded),
            Err(error) => return Err(error),
        }
        if file.is_read_only() {
            let file = file.path;
            return Err(UsersFileError::ReadOnly { file });
        }
        match file.change_as(&change, Owner::MustStay) {
            Ok(()) => return Ok(Rehashed::Written),
            Err(UsersFileError::ChangedMeanwhile { .. }) if tries < TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads a users file and changes it, as often as somebody else is quicker, but not for ever.
///
/// # Errors
/// Why it was not changed.
pub fn read_and_change(
    path: &Path,
    change: impl Fn(&UsersFile) -> Result<(), UsersFileError>,
) -> Result<(), UsersFileError> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let begun = Instant::now();
    loop {
        match change(&UsersFile::read(path)?) {
            Err(UsersFileError::ChangedMeanwhile { .. } | UsersFileError::Busy { .. })
                if begun.elapsed() < PATIENCE => {}
            done => return done,
        }
    }
}

/// Whether a file may change hands when it is replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// As with an editor, where it cannot be given back.
    MayChange,
    /// Not at all.
    MustStay,
}

/// A users file as it was when it was read.
pub struct UsersFile {
    /// As the operator wrote it, for messages.
    pub path: PathBuf,
    /// What is replaced: the file itself where `path` is a symbolic link to it.
    target: PathBuf,
    /// `None`: there is none yet.
    old: Option<OldFile>,
}

struct OldFile {
    text: String,
    metadata: Metadata,
}

impl UsersFile {
    pub fn read(path: &Path) -> Result<Self, UsersFileError> {
        let file = path.to_path_buf();
        let failed = |source| UsersFileError::Read {
            file: path.to_path_buf(),
            source,
        };
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::missing(path),
            Err(error) => return Err(failed(error)),
        };
        if !fs::metadata(&target).map_err(failed)?.is_file() {
            return Err(UsersFileError::NotAFile { file });
        }
        let (bytes, metadata) = read_bytes(&target).map_err(failed)?;
        let Ok(text) = String::from_utf8(bytes) else {
            return Err(UsersFileError::NotText { file });
        };
        Ok(Self {
            path: file,
            target,
            old: Some(OldFile { text, metadata }),
        })
    }

    /// A file still to be made. Its folder must exist: better said before a password is asked for.
    fn missing(path: &Path) -> Result<Self, UsersFileError> {
        let file = path.to_path_buf();
        if fs::symlink_metadata(path).is_ok() {
            return Err(UsersFileError::DanglingLink { file });
        }
        match fs::metadata(folder_of(path)) {
            Ok(folder) if folder.is_dir() => Ok(Self {
                path: file.clone(),
                target: file,
                old: None,
            }),
            Ok(_) => Err(UsersFileError::NotAFile { file }),
            Err(source) => Err(UsersFileError::Read { file, source }),
        }
    }

    pub fn stored_password(&self, user: &UserName) -> Result<StoredPassword, UsersFileError> {
        let file = || self.path.clone();
        let text = self.text().unwrap_or_default();
        let root: Value = serde_yaml::from_str(text).map_err(|source| UsersFileError::NotYaml {
            file: file(),
            source,
        })?;
        let users = match Layout::of(&root) {
            Ok(Layout::Wrapped) => root.get(WRAPPER),
            Ok(Layout::Flat) => Some(&root),
            Err(_) => None,
        };
        let entry = users
            .and_then(Value::as_mapping)
            .and_then(|users| users.iter().find(|(key, _)| key_text(key) == user.as_str()))
            .ok_or_else(|| UsersFileError::NoSuchUser {
                file: file(),
                user: user.clone(),
            })?;
        let password = entry
            .1
            .get("password")
            .and_then(Value::as_str)
            .ok_or_else(|| UsersFileError::NoPassword {
                file: file(),
                user: user.clone(),
            })?;
        StoredPassword::parse(password).map_err(|source| UsersFileError::StoredHash {
            file: file(),
            user: user.clone(),
            source,
        })
    }

    /// Puts the change into the file, all or nothing.
    pub fn change(&self, change: &Change<'_>) -> Result<(), UsersFileError> {
        self.change_as(change, Owner::MayChange)
    }

    fn change_as(&self, change: &Change<'_>, owner: Owner) -> Result<(), UsersFileError> {
        let text = edit(self.text().unwrap_or(FIRST_LINE), change);
        self.replace(&text.map_err(|why| self.refused(why, change.user))?, owner)
    }

    /// Disables or enables a user.
    ///
    /// # Errors
    /// Why the file stays as it is.
    pub fn set_disabled(&self, user: &UserName, disabled: bool) -> Result<(), UsersFileError> {
        let text = set_disabled(self.text().unwrap_or_default(), user, disabled);
        let text = text.map_err(|why| self.refused(why, user))?;
        self.replace(&text, Owner::MayChange)
    }

    /// Takes a user out.
    ///
    /// # Errors
    /// Why the file stays as it is.
    pub fn remove(&self, user: &UserName) -> Result<(), UsersFileError> {
        let text = remove(self.text().unwrap_or_default(), user);
        let text = text.map_err(|why| self.refused(why, user))?;
        self.replace(&text, Owner::MayChange)
    }

    /// Adds a token to a user, who may be new where `roles` are given.
    ///
    /// # Errors
    /// Why the file stays as it is.
    pub fn add_token(
        &self,
        user: &UserName,
        roles: &[RoleName],
        token: &TokenEntry<'_>,
    ) -> Result<(), UsersFileError> {
        let text = tokens::add(self.text().unwrap_or(FIRST_LINE), user, roles, token);
        let text = text.map_err(|why| self.refused(why, user))?;
        self.replace(&text, Owner::MayChange)
    }

    /// Takes a token from a user.
    ///
    /// # Errors
    /// Why the file stays as it is.
    pub fn revoke_token(&self, user: &UserName, token: &TokenName) -> Result<(), UsersFileError> {
        let text = tokens::revoke(self.text().unwrap_or_default(), user, token);
        let text = text.map_err(|why| self.refused(why, user))?;
        self.replace(&text, Owner::MayChange)
    }

    /// All tokens in it.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn tokens(&self) -> Result<Vec<ListedToken>, UsersFileError> {
        let file = || self.path.clone();
        let text = self.text().ok_or_else(|| UsersFileError::Read {
            file: file(),
            source: io::ErrorKind::NotFound.into(),
        })?;
        let root = serde_yaml::from_str(text).map_err(|source| UsersFileError::NotYaml {
            file: file(),
            source,
        })?;
        tokens::listed(root).map_err(|obstacle| UsersFileError::Refused {
            file: file(),
            line: 1,
            obstacle,
        })
    }

    fn text(&self) -> Option<&str> {
        self.old.as_ref().map(|old| old.text.as_str())
    }

    fn refused(&self, why: EditError, user: &UserName) -> UsersFileError {
        let file = self.path.clone();
        let user = user.clone();
        match why {
            EditError::Refused(line, obstacle) => UsersFileError::Refused {
                file,
                line: line + 1,
                obstacle,
            },
            EditError::NotYaml(source) => UsersFileError::NotYaml { file, source },
            EditError::NoSuchUser => UsersFileError::NoSuchUser { file, user },
            EditError::NoSuchToken(token) => UsersFileError::NoSuchToken { file, user, token },
            EditError::TokenExists(token) => UsersFileError::TokenExists { file, user, token },
        }
    }

    /// Writes the new text beside the file and renames it over: a reader or a crash sees the old
    /// whole or the new whole.
    fn replace(&self, text: &str, owner: Owner) -> Result<(), UsersFileError> {
        let like = self.old.as_ref().map(|old| &old.metadata);
        if like.is_some_and(|like| like.nlink() > 1) {
            let file = self.path.clone();
            return Err(UsersFileError::HardLink { file });
        }
        // From the last look at it until it is replaced, or what another one has just written would
        // be lost.
        let _held = Held::beside(&self.target, like).map_err(|held::Busy| {
            let file = self.path.clone();
            UsersFileError::Busy { file }
        })?;
        self.check_unchanged()?;
        let beside = self.write_beside(text, owner)?;
        // Editors hold nothing, and writing takes a while.
        self.check_unchanged()?;
        self.put_in_place(beside)
    }

    fn write_beside(&self, text: &str, owner: Owner) -> Result<Beside, UsersFileError> {
        let failed = |source| self.not_written(source);
        let folder = folder_of(&self.target);
        let like = self.old.as_ref().map(|old| &old.metadata);
        let us = rustix::process::geteuid().as_raw();
        remove_left(folder, &[us, like.map_or(us, Metadata::uid)]);
        let mut beside = Beside::create(folder).map_err(failed)?;
        beside
            .fill(text.as_bytes(), like, like.map(Metadata::mode))
            .map_err(failed)?;
        if let (Owner::MustStay, Some(like)) = (owner, like)
            && !beside.belongs_like(like).map_err(failed)?
        {
            let file = self.path.clone();
            return Err(UsersFileError::OwnerWouldChange { file });
        }
        Ok(beside)
    }

    fn put_in_place(&self, beside: Beside) -> Result<(), UsersFileError> {
        beside
            .rename_to(&self.target)
            .map_err(|source| match source.kind() {
                io::ErrorKind::ResourceBusy => UsersFileError::MountPoint {
                    file: self.path.clone(),
                    source,
                },
                _ => self.not_written(source),
            })?;
        sync_folder_of(&self.target).map_err(|source| UsersFileError::NotDurable {
            file: self.path.clone(),
            source,
        })
    }

    fn not_written(&self, source: io::Error) -> UsersFileError {
        let file = self.path.clone();
        UsersFileError::Write { file, source }
    }

    /// Whether its mode says that nobody should write to it, or the system does.
    fn is_read_only(&self) -> bool {
        let mode = self.old.as_ref().map_or(0, |old| old.metadata.mode());
        mode & 0o222 == 0 || access(&self.target, Access::WRITE_OK).is_err()
    }

    /// Two operators at once: the second must not undo what the first has just written.
    fn check_unchanged(&self) -> Result<(), UsersFileError> {
        let is_changed = match (read_bytes(&self.target), &self.old) {
            (Ok((now, _)), Some(old)) => now != old.text.as_bytes(),
            (Ok(_), None) => true,
            (Err(error), None) if error.kind() == io::ErrorKind::NotFound => false,
            (Err(error), _) => return Err(self.not_written(error)),
        };
        if is_changed {
            let file = self.path.clone();
            return Err(UsersFileError::ChangedMeanwhile { file });
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
