//! Passwords of keys and keystores: where they come from.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use zeroize::Zeroizing;

use super::files;

/// Where a password is.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Here. From the configuration or an environment variable.
    Value(Zeroizing<String>),
    /// In a file, which is read each time that it is needed: it may be renewed with the key. One
    /// line end behind it does not belong to it.
    File(PathBuf),
}

/// Never shows the password.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Why a password cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file cannot be read.
    #[error("{}: cannot read the password: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its file holds something else.
    #[error("{}: expected a password on one line, found {found}", path.display())]
    NoPassword {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
}

impl Secret {
    /// The file that it is in.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Value(_) => None,
            Self::File(path) => Some(path),
        }
    }

    /// The password.
    ///
    /// # Errors
    /// [`SecretError`], naming the file.
    pub fn read(&self) -> Result<Zeroizing<String>, SecretError> {
        let path = match self {
            Self::Value(value) => return Ok(value.clone()),
            Self::File(path) => path,
        };
        let bytes = files::read(path).map_err(|source| SecretError::Unreadable {
            path: path.clone(),
            source,
        })?;
        let no_password = |found| SecretError::NoPassword {
            path: path.clone(),
            found,
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| no_password("binary data"))?;
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        match line {
            "" => Err(no_password("nothing")),
            line if line.contains(['\n', '\r', '\0']) => Err(no_password("several lines")),
            line => Ok(Zeroizing::new(line.to_owned())),
        }
    }
}

/// Asks a person for the password of a file; `None` where there is nobody.
pub type Ask = fn(&Path) -> Option<Zeroizing<String>>;

/// Passwords that nobody wrote down. What was answered once is remembered: a key that is renewed
/// while nobody is there is most likely encrypted with the same.
#[derive(Default)]
pub struct Answers {
    ask: Option<Ask>,
    known: Mutex<HashMap<PathBuf, Zeroizing<String>>>,
}

impl Answers {
    /// Asks whom `ask` asks.
    #[must_use]
    pub fn from(ask: Ask) -> Self {
        Self {
            ask: Some(ask),
            known: Mutex::default(),
        }
    }

    /// Asks nobody any more, and still knows what was answered.
    #[must_use]
    pub fn without_asking(self) -> Self {
        Self { ask: None, ..self }
    }

    /// The password of `path`, where it is known or somebody knows it.
    pub(super) fn of(&self, path: &Path) -> Option<Zeroizing<String>> {
        let mut known = self.known.lock();
        if let Some(answer) = known.get(path) {
            return Some(answer.clone());
        }
        let answer = self.ask.and_then(|ask| ask(path))?;
        known.insert(path.to_owned(), answer.clone());
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes).unwrap();
        let read = Secret::File(file.path().into()).read();
        read.map(|it| it.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn one_line_end_behind_a_password_does_not_belong_to_it() {
        for bytes in [&b"s3cret "[..], b"s3cret \n", b"s3cret \r\n"] {
            assert_eq!(read(bytes).unwrap(), "s3cret ");
        }
    }

    #[test]
    fn a_file_without_one_password_is_refused_by_name() {
        for (bytes, found) in [
            (&b""[..], "nothing"),
            (b"\n", "nothing"),
            (b"one\ntwo\n", "several lines"),
            (b"\xff\xfe", "binary data"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(
                error.contains(found) && error.starts_with('/'),
                "{error} {found}"
            );
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let secret = Secret::Value(Zeroizing::new("s3cret".into()));
        assert!(!format!("{secret:?}").contains("s3cret"));
    }
}
