//! The Unix socket of the admin listener: at no moment open to others, never taken away from a
//! process that still uses it, and not in the way of the next start.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::store::beside::folder_of;
use crate::store::secret::random;

/// A socket that is bound, until it is dropped.
#[derive(Debug)]
pub(super) struct AdminSocket {
    path: PathBuf,
    /// Which file it is: another one at the same place is not ours to remove.
    inode: u64,
    /// Held by whoever has the socket; gone with the process, however it ends.
    _lock: File,
}

impl AdminSocket {
    /// Binds at `path`, for this user alone.
    pub(super) fn bind(path: &Path) -> io::Result<(Self, UnixListener)> {
        let folder = folder_of(path);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let lock = lock(path)?;
        check_free(path)?;
        let private = Private::create(folder)?;
        // Made where nobody else can come near, and moved when its mode is right: a socket has the
        // mode that the umask leaves it until somebody changes that.
        let made = private.0.join("s");
        let listener = UnixListener::bind(&made)?;
        fs::set_permissions(&made, Permissions::from_mode(0o600))?;
        let inode = fs::symlink_metadata(&made)?.ino();
        fs::rename(&made, path)?;
        listener.set_nonblocking(true)?;
        let socket = Self {
            path: path.to_owned(),
            inode,
            _lock: lock,
        };
        Ok((socket, listener))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let there = fs::symlink_metadata(&self.path);
        if there.is_ok_and(|it| it.ino() == self.inode) {
            // What is left is replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Of two processes that start at one moment, one gets it.
fn lock(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(PathBuf::from(name))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// Whether the place is empty, or has a socket that nobody listens to any more.
fn check_free(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    if !there.file_type().is_socket() {
        return Err(io::Error::other("there is something that is no socket"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(error),
    }
}

/// A folder that only we can enter, for a moment.
struct Private(PathBuf);

impl Private {
    fn create(folder: &Path) -> io::Result<Self> {
        // Short, because the path of a socket has 107 bytes at most.
        let random = random().map_err(io::Error::other)?;
        let path = folder.join(format!(".p{:08x}", u32::from_ne_bytes(random)));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0.join("s"));
        let _ = fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_its_users_alone_and_goes_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/admin.sock");
        let (socket, _listener) = AdminSocket::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(UnixStream::connect(&path).is_ok());
        let inside = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(inside, 2, "the socket and its lock");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_or_another_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (_socket, _listener) = AdminSocket::bind(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        let again = AdminSocket::bind(&path).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);

        let theirs = folder.path().join("theirs.sock");
        let _listening = UnixListener::bind(&theirs).unwrap();
        let taken = AdminSocket::bind(&theirs).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(AdminSocket::bind(&file).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "x");
    }
}
