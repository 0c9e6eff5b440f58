//! Replacing a file whole: written beside it, then renamed over it, so that a reader or a crash sees
//! the old whole or the new whole.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::secret::random;

/// How the names of new files begin; sixteen digits follow.
const PREFIX: &str = ".portcullis-";

/// Nobody writes a file for so long.
const LEFT: Duration = Duration::from_secs(60);

/// The folder that a file is in.
#[must_use]
pub fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Removes what was left in `folder` by those who were killed before they could: files that have our
/// names, belong to one of `owners`, and have not been written for a while.
pub fn remove_left(folder: &Path, owners: &[u32]) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let named_so = entries.filter(|it| is_name_of_new(it.file_name().as_encoded_bytes()));
    for path in named_so.map(|it| it.path()) {
        // Not of what a link leads to.
        if fs::symlink_metadata(&path).is_ok_and(|it| is_left(&it, owners)) {
            // What cannot be removed does no more harm than before.
            let _ = fs::remove_file(path);
        }
    }
}

fn is_name_of_new(name: &[u8]) -> bool {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let digits = name.strip_prefix(PREFIX.as_bytes());
    digits.is_some_and(|digits| digits.len() == 16 && digits.iter().all(is_digit))
}

fn is_left(metadata: &Metadata, owners: &[u32]) -> bool {
    let age = metadata.modified().map(|time| time.elapsed());
    let is_old = matches!(age, Ok(Ok(age)) if age > LEFT);
    metadata.is_file() && owners.contains(&metadata.uid()) && is_old
}

/// A new file in the same folder, deleted unless it is renamed.
pub struct Beside {
    path: PathBuf,
    file: File,
    is_renamed: bool,
}

impl Beside {
    /// Makes it, empty and private.
    ///
    /// # Errors
    /// Where no file can be made in `folder`.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let random = random().map_err(io::Error::other)?;
        let path = folder.join(format!("{PREFIX}{:016x}", u64::from_ne_bytes(random)));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self {
            path,
            file,
            is_renamed: false,
        })
    }

    /// Writes all of it to the disk; for the owner and group of the file that it takes the place
    /// of, and with this mode, if there is one to follow.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub fn fill(
        &mut self,
        content: &[u8],
        like: Option<&Metadata>,
        mode: Option<u32>,
    ) -> io::Result<()> {
        self.file.write_all(content)?;
        if let Some(like) = like {
            // Only root may give files away; for anybody else the new file is their own, as with
            // an editor. Before the mode, because a change of owner clears bits of it.
            let _ = fchown(&self.file, Some(like.uid()), Some(like.gid()))
                .or_else(|_| fchown(&self.file, None, Some(like.gid())));
        }
        if let Some(mode) = mode {
            self.file
                .set_permissions(Permissions::from_mode(mode & 0o7777))?;
        }
        self.file.sync_all()
    }

    /// Whether it belongs to the owner and group of `like`.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn belongs_like(&self, like: &Metadata) -> io::Result<bool> {
        let own = self.file.metadata()?;
        Ok((own.uid(), own.gid()) == (like.uid(), like.gid()))
    }

    /// Puts it in the place of `target`.
    ///
    /// # Errors
    /// Where that is not possible; it is deleted then.
    pub fn rename_to(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.is_renamed = true;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.is_renamed {
            // Nothing better to do if this fails: the error that led here is being reported.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_was_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let make = |name: &str, age: Duration| {
            let file = File::create(place(name)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        };
        let (left, new) = (
            ".portcullis-0123456789abcdef",
            ".portcullis-0123456789abcde0",
        );
        make(left, 2 * LEFT);
        make(new, Duration::ZERO);
        let others = [
            ".portcullis-0123456789abcdeX",
            ".portcullis-0123456789abcdef0",
            ".portcullis-",
            "portcullis-0123456789abcdef",
            "users.yaml",
        ];
        others.iter().for_each(|name| make(name, 2 * LEFT));
        let link = place(".portcullis-0123456789abcde1");
        std::os::unix::fs::symlink(place("users.yaml"), &link).unwrap();
        let owner = fs::metadata(place(left)).unwrap().uid();

        remove_left(folder.path(), &[owner + 1]);
        assert!(place(left).exists());
        remove_left(folder.path(), &[owner]);
        assert!(!place(left).exists());
        assert!(place(new).exists() && link.is_symlink());
        assert!(others.iter().all(|name| place(name).exists()));
    }
}
