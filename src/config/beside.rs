//! Replacing a file whole: written beside it, then renamed over it, so that a reader or a crash sees
//! the old whole or the new whole.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use crate::store::secret::random;

/// The folder that a file is in.
#[must_use]
pub fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
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
        let path = folder.join(format!(".portcullis-{:016x}", u64::from_ne_bytes(random)));
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
