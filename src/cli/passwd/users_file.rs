//! A users file on disk: read, checked to be editable, replaced whole or not at all.
//!
//! What changes in its text is decided in `edit`.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_yaml::Value;

use super::PasswdError;
use super::edit::{Change, EditError, Layout, WRAPPER, edit, key_text};
use crate::cli::beside::{Beside, folder_of};
use crate::identity::UserName;
use crate::password::stored::StoredPassword;

pub(super) const FIRST_LINE: &str = "# Users of Portcullis: name, password hash, roles. To set a password: portcullis passwd --file FILE NAME\n";

/// A users file as it was when it was read.
pub(super) struct UsersFile {
    /// As the operator wrote it, for messages.
    pub(super) path: PathBuf,
    /// What is replaced: the file itself where `path` is a symbolic link to it.
    pub(super) target: PathBuf,
    /// `None`: there is none yet.
    pub(super) old: Option<OldFile>,
}

pub(super) struct OldFile {
    pub(super) text: String,
    pub(super) metadata: Metadata,
}

impl UsersFile {
    pub(super) fn read(path: &Path) -> Result<Self, PasswdError> {
        let file = path.to_path_buf();
        let failed = |source| PasswdError::Read {
            file: path.to_path_buf(),
            source,
        };
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::missing(path),
            Err(error) => return Err(failed(error)),
        };
        let metadata = fs::metadata(&target).map_err(failed)?;
        if !metadata.is_file() {
            return Err(PasswdError::NotAFile { file });
        }
        let bytes = fs::read(&target).map_err(failed)?;
        let Ok(text) = String::from_utf8(bytes) else {
            return Err(PasswdError::NotText { file });
        };
        Ok(Self {
            path: file,
            target,
            old: Some(OldFile { text, metadata }),
        })
    }

    /// A file still to be made. Its folder must exist: better said before a password is asked for.
    pub(super) fn missing(path: &Path) -> Result<Self, PasswdError> {
        let file = path.to_path_buf();
        if fs::symlink_metadata(path).is_ok() {
            return Err(PasswdError::DanglingLink { file });
        }
        match fs::metadata(folder_of(path)) {
            Ok(folder) if folder.is_dir() => Ok(Self {
                path: file.clone(),
                target: file,
                old: None,
            }),
            Ok(_) => Err(PasswdError::NotAFile { file }),
            Err(source) => Err(PasswdError::Read { file, source }),
        }
    }

    pub(super) fn stored_password(&self, user: &UserName) -> Result<StoredPassword, PasswdError> {
        let file = || self.path.clone();
        let text = self.old.as_ref().map_or("", |old| old.text.as_str());
        let root: Value = serde_yaml::from_str(text).map_err(|source| PasswdError::NotYaml {
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
            .ok_or_else(|| PasswdError::NoSuchUser {
                file: file(),
                user: user.clone(),
            })?;
        let password = entry
            .1
            .get("password")
            .and_then(Value::as_str)
            .ok_or_else(|| PasswdError::NoPassword {
                file: file(),
                user: user.clone(),
            })?;
        StoredPassword::parse(password).map_err(|source| PasswdError::StoredHash {
            file: file(),
            user: user.clone(),
            source,
        })
    }

    /// Puts the change into the file, all or nothing.
    pub(super) fn change(&self, change: &Change<'_>) -> Result<(), PasswdError> {
        let text = self
            .old
            .as_ref()
            .map_or(FIRST_LINE, |old| old.text.as_str());
        let text = edit(text, change).map_err(|error| match error {
            EditError::Refused(line, obstacle) => PasswdError::Refused {
                file: self.path.clone(),
                line: line + 1,
                obstacle,
            },
            EditError::NotYaml(source) => PasswdError::NotYaml {
                file: self.path.clone(),
                source,
            },
        })?;
        self.replace(&text)
    }

    /// Writes the new text beside the file and renames it over: a reader or a crash sees the old
    /// whole or the new whole.
    pub(super) fn replace(&self, text: &str) -> Result<(), PasswdError> {
        let failed = |source| PasswdError::Write {
            file: self.path.clone(),
            source,
        };
        let folder = folder_of(&self.target);
        let mut beside = Beside::create(folder).map_err(failed)?;
        let like = self.old.as_ref().map(|old| &old.metadata);
        beside
            .fill(text.as_bytes(), like, like.map(Metadata::mode))
            .map_err(failed)?;
        if self.is_changed().map_err(failed)? {
            return Err(PasswdError::ChangedMeanwhile {
                file: self.path.clone(),
            });
        }
        beside
            .rename_to(&self.target)
            .map_err(|source| match source.kind() {
                io::ErrorKind::ResourceBusy => PasswdError::MountPoint {
                    file: self.path.clone(),
                    source,
                },
                _ => failed(source),
            })?;
        // A rename is on disk once its folder is.
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| PasswdError::NotDurable {
                file: self.path.clone(),
                source,
            })
    }

    /// Two operators at once: the second must not undo what the first has just written.
    pub(super) fn is_changed(&self) -> io::Result<bool> {
        match (fs::read(&self.target), &self.old) {
            (Ok(now), Some(old)) => Ok(now != old.text.as_bytes()),
            (Ok(_), None) => Ok(true),
            (Err(error), None) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            (Err(error), _) => Err(error),
        }
    }
}
