//! Holding a users file while it is changed, so that of two who do that at once none undoes what the
//! other has written.
//!
//! What is held is a file beside it, which is there only meanwhile. The users file itself will not do,
//! since it is another one afterwards; nor will its folder: whoever can open something can hold it,
//! and keep everybody from changing a password. That file can be opened by those only who may write
//! the users file.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::store::beside::{folder_of, give_to};

/// Whoever holds it writes a file of a few kilobytes.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two tries.
const STEP: Duration = Duration::from_millis(10);

/// Held until it is dropped, or the process ends.
#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    _file: File,
}

/// Somebody else holds it.
#[derive(Debug)]
pub(super) struct Busy;

impl Held {
    /// Holds the users file `target`, which was `like` this. `None` where that is not possible:
    /// then the last look at it has to do.
    pub(super) fn beside(target: &Path, like: Option<&Metadata>) -> Result<Option<Self>, Busy> {
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(".lock");
        let path = folder_of(target).join(name);
        let begun = Instant::now();
        loop {
            let Ok(file) = open(&path, like) else {
                return Ok(None);
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if !is_still_there(&path, &file) => {}
                Ok(()) => {
                    share(&file, like);
                    return Ok(Some(Self { path, _file: file }));
                }
                Err(Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => thread::sleep(STEP),
                Err(Errno::WOULDBLOCK) => return Err(Busy),
                Err(_) => return Ok(None),
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // While it is held: whoever waits for it sees that it is gone, and makes another one.
        let _ = fs::remove_file(&self.path);
    }
}

/// Opens or makes the file, where it can only be from somebody who may write the users file.
fn open(path: &Path, like: Option<&Metadata>) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = File::options();
    options.read(true).write(true).create(true).mode(0o600);
    let file = options.custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    let us = rustix::process::geteuid().as_raw();
    let owners = [us, 0, like.map_or(us, Metadata::uid)];
    let is_ours = owners.contains(&metadata.uid()) && metadata.mode() & 0o007 == 0;
    match metadata.is_file() && is_ours {
        true => Ok(file),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// Those who held it before have removed it, perhaps after we opened it.
fn is_still_there(path: &Path, file: &File) -> bool {
    let inode = |it: Metadata| (it.dev(), it.ino());
    let (there, held) = (fs::symlink_metadata(path), file.metadata());
    matches!((there.map(inode), held.map(inode)), (Ok(there), Ok(held)) if there == held)
}

/// For the owner and group of the users file too: where we are killed, they have to go on with it.
fn share(file: &File, like: Option<&Metadata>) {
    let Some(like) = like else { return };
    if give_to(file, like).is_ok() {
        let mode = 0o600 | like.mode() & 0o020;
        // Whoever else wanted it then goes without.
        let _ = file.set_permissions(Permissions::from_mode(mode));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder_with_users() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users.yaml");
        fs::write(&file, "").unwrap();
        (folder, file)
    }

    #[test]
    fn one_holds_it_and_another_one_after_that() {
        let (folder, file) = folder_with_users();
        let held = Held::beside(&file, None).unwrap().unwrap();
        let lock = folder.path().join(".users.yaml.lock");
        assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o600);
        assert!(Held::beside(&file, None).is_err());
        thread::scope(|scope| {
            let next = scope.spawn(|| Held::beside(&file, None).unwrap().unwrap());
            drop(held);
            let next = next.join().unwrap();
            assert!(is_still_there(&lock, &next._file));
        });
        assert!(!lock.exists());
    }

    #[test]
    fn who_can_open_the_folder_or_read_the_file_cannot_hold_it() {
        let (folder, file) = folder_with_users();
        for theirs in [folder.path(), &file] {
            let theirs = File::open(theirs).unwrap();
            flock(&theirs, FlockOperation::NonBlockingLockExclusive).unwrap();
            assert!(Held::beside(&file, None).unwrap().is_some());
        }
    }

    #[test]
    fn a_lock_that_anybody_could_hold_is_none() {
        let (folder, file) = folder_with_users();
        let lock = folder.path().join(".users.yaml.lock");
        fs::write(&lock, "").unwrap();
        fs::set_permissions(&lock, Permissions::from_mode(0o666)).unwrap();
        let theirs = File::open(&lock).unwrap();
        flock(&theirs, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(Held::beside(&file, None).unwrap().is_none());
        fs::remove_file(&lock).unwrap();
        symlink(&file, &lock).unwrap();
        assert!(Held::beside(&file, None).unwrap().is_none());
    }

    #[test]
    fn those_who_may_write_the_users_file_may_hold_it() {
        let (folder, file) = folder_with_users();
        for (mode, expected) in [(0o640, 0o600), (0o660, 0o620), (0o666, 0o620)] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let like = fs::metadata(&file).unwrap();
            let _held = Held::beside(&file, Some(&like)).unwrap().unwrap();
            let lock = fs::metadata(folder.path().join(".users.yaml.lock")).unwrap();
            assert_eq!(lock.mode() & 0o777, expected, "{mode:o}");
            assert_eq!((lock.uid(), lock.gid()), (like.uid(), like.gid()));
        }
    }
}
