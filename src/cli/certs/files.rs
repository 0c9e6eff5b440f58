//! Writing what was made: all of it or nothing, keys readable by their owner only from their first
//! moment, and nothing that is there replaced unless that is asked for.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::CertsError;
use crate::store::beside::{Beside, folder_of, sync_folder_of};

/// A file to be written.
pub(super) struct NewFile {
    pub(super) path: PathBuf,
    pub(super) content: Zeroizing<Vec<u8>>,
    pub(super) access: Access,
}

/// Who may read it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Its owner.
    Private,
    /// Everybody.
    Public,
}

/// What to do where there is a file already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Refuse,
    Replace,
}

/// Whether these could be written: better known before a passphrase is asked for.
pub(super) fn check<'a>(
    paths: impl IntoIterator<Item = &'a Path>,
    existing: Existing,
) -> Result<(), CertsError> {
    let mut there = Vec::new();
    for path in paths {
        let folder = folder_of(path);
        if !folder.is_dir() {
            return Err(CertsError::NoFolder {
                folder: folder.to_owned(),
            });
        }
        let Ok(metadata) = fs::symlink_metadata(path) else {
            continue;
        };
        if existing == Existing::Refuse {
            there.push(path.to_owned());
        } else if !metadata.is_file() && !path.is_file() {
            return Err(CertsError::NotAFile {
                file: path.to_owned(),
            });
        }
    }
    if !there.is_empty() {
        return Err(CertsError::Exists { files: there });
    }
    Ok(())
}

/// Writes all of them.
pub(super) fn write(files: &[NewFile], existing: Existing) -> Result<(), CertsError> {
    let prepared: Vec<_> = files.iter().map(prepare).collect::<Result<_, _>>()?;
    // Somebody may have been quicker.
    check(files.iter().map(|file| &*file.path), existing)?;
    for (file, (beside, target)) in files.iter().zip(prepared) {
        let failed = |source| failed(file, source);
        beside.rename_to(&target).map_err(failed)?;
        sync_folder_of(&target).map_err(failed)?;
    }
    Ok(())
}

/// All of it on disk, under another name; and the place that it is for.
fn prepare(file: &NewFile) -> Result<(Beside, PathBuf), CertsError> {
    let failed = |source| failed(file, source);
    // What a symbolic link leads to is replaced, not the link, and its owner stays. Not where others
    // can put links and files: then a key could be theirs, or be written over anything of ours.
    let (target, old) = if is_ours_alone(folder_of(&file.path)).map_err(failed)? {
        let target = fs::canonicalize(&file.path).unwrap_or_else(|_| file.path.clone());
        let old = fs::metadata(&target).ok();
        (target, old)
    } else {
        (file.path.clone(), None)
    };
    let mut beside = Beside::create(folder_of(&target)).map_err(failed)?;
    let mode = file.access.mode(old.as_ref());
    beside
        .fill(&file.content, old.as_ref(), Some(mode))
        .map_err(failed)?;
    Ok((beside, target))
}

/// Whether nobody but us and root can put anything into a folder.
fn is_ours_alone(folder: &Path) -> io::Result<bool> {
    let metadata = fs::metadata(folder)?;
    let owners = [0, rustix::process::geteuid().as_raw()];
    Ok(owners.contains(&metadata.uid()) && metadata.mode() & 0o022 == 0)
}

fn failed(file: &NewFile, source: io::Error) -> CertsError {
    CertsError::Write {
        file: file.path.clone(),
        source,
    }
}

impl Access {
    /// A group that alone could read the old key can read the new one: it is what the server runs
    /// as. Where everybody could, nobody had thought of it.
    fn mode(self, old: Option<&Metadata>) -> u32 {
        let old = old.map_or(0, Metadata::mode);
        match self {
            Self::Public => 0o644,
            Self::Private if old & 0o007 == 0 => 0o600 | old & 0o040,
            Self::Private => 0o600,
        }
    }
}
