//! Files that are made beside their place and renamed to it when they are whole, so that a reader or a
//! crash sees the old whole or the new whole.
//!
//! Who may change which file, and what stands in it, is the callers' business.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::secret::random;

/// How the names begin of files that take the place of others; sixteen digits follow.
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

/// Has the name of a file on the disk: a rename is there once its folder is.
///
/// # Errors
/// Where the folder cannot be written.
pub fn sync_folder_of(file: &Path) -> io::Result<()> {
    File::open(folder_of(file))?.sync_all()
}

/// Gives a file to the owner and group of `like`, or at least to the group: only root may give files
/// away.
///
/// # Errors
/// Where that is not possible.
pub fn give_to(file: &File, like: &Metadata) -> io::Result<()> {
    fchown(file, Some(like.uid()), Some(like.gid()))
        .or_else(|_| fchown(file, None, Some(like.gid())))
}

/// Removes what was left in `folder` by those who were killed before they could: files that were made
/// to take the place of others, belong to one of `owners`, and have not been written for a while.
pub fn remove_left(folder: &Path, owners: &[u32]) {
    remove_made(folder, PREFIX.as_ref(), |file| is_left(file, owners));
}

fn is_left(metadata: &Metadata, owners: &[u32]) -> bool {
    let age = metadata.modified().map(|time| time.elapsed());
    let is_old = matches!(age, Ok(Ok(age)) if age > LEFT);
    owners.contains(&metadata.uid()) && is_old
}

/// Removes those files in `folder` that were made with this prefix and of which that is said.
pub fn remove_made(folder: &Path, prefix: &OsStr, is_left: impl Fn(&Metadata) -> bool) {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_made = |name: &OsStr| {
        let digits = name.as_bytes().strip_prefix(prefix.as_bytes());
        digits.is_some_and(|digits| digits.len() == 16 && digits.iter().all(is_digit))
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries
        .filter(|it| is_made(&it.file_name()))
        .map(|it| it.path())
    {
        // Not of what a link leads to.
        if fs::symlink_metadata(&path).is_ok_and(|it| it.is_file() && is_left(&it)) {
            // What cannot be removed does no more harm than before.
            let _ = fs::remove_file(path);
        }
    }
}

/// A new file in the same folder, deleted unless it is renamed.
pub struct Beside {
    path: PathBuf,
    file: File,
    is_renamed: bool,
}

impl Beside {
    /// Makes one that is to take the place of another, empty and private.
    ///
    /// # Errors
    /// Where no file can be made in `folder`.
    pub fn create(folder: &Path) -> io::Result<Self> {
        Self::named(folder, PREFIX.as_ref())
    }

    /// The same with a name of one's own, for [`remove_made`].
    ///
    /// # Errors
    /// Where no file can be made in `folder`.
    pub fn named(folder: &Path, prefix: &OsStr) -> io::Result<Self> {
        let random = random().map_err(io::Error::other)?;
        let mut name = prefix.to_owned();
        name.push(format!("{:016x}", u64::from_ne_bytes(random)));
        let path = folder.join(name);
        let mut options = File::options();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path)?;
        Ok(Self {
            path,
            file,
            is_renamed: false,
        })
    }

    /// The file.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
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
            // Where it cannot be given away, it is the writer's own, as with an editor. Before the mode,
            // because a change of owner clears bits of it.
            let _ = give_to(&self.file, like);
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

    /// Gives it the name `target`, unless another one has it already.
    ///
    /// # Errors
    /// Where one has, or it is not possible; it is deleted then.
    pub fn rename_to_new(mut self, target: &Path) -> io::Result<()> {
        match renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
            // Some file systems do not know how. Two who make it at the very same moment are then not
            // told apart.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return self.rename_to(target),
            renamed => renamed?,
        }
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
