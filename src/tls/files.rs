//! Reading files that others write: whoever puts a pipe or a device there must not make us wait or
//! read for ever.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// More than any certificate, key or keystore is.
const MOST: u64 = 16 << 20;

/// All that is in a file.
///
/// # Errors
/// Where it cannot be read, is no regular file, or holds more than anything that is needed.
pub fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    read_if(path, OFlags::empty(), |_| Ok(()))
}

/// The same, of a file that only its owner can have put there: us.
pub(super) fn read_own(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    use std::os::unix::fs::MetadataExt as _;
    read_if(path, OFlags::NOFOLLOW, |metadata| {
        let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
        match is_ours && metadata.mode() & 0o007 == 0 {
            true => Ok(()),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    })
}

/// Whether a file can be opened, or a folder is there.
///
/// # Errors
/// Why not.
pub fn look_at(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path)?.is_dir() {
        true => std::fs::read_dir(path).map(drop),
        false => open(path).map(drop),
    }
}

/// What to do about a file that cannot be read, as the end of a message.
#[must_use]
pub fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; correct the path, or put it there",
        io::ErrorKind::PermissionDenied => "; make it readable for the user that this runs as",
        _ => "",
    }
}

/// Opens what is a regular file.
///
/// # Errors
/// Where it is none, or cannot be opened.
pub fn open(path: &Path) -> io::Result<(File, Metadata)> {
    open_with(path, OFlags::empty())
}

fn open_with(path: &Path, flags: OFlags) -> io::Result<(File, Metadata)> {
    // Opening a pipe would wait for somebody who writes.
    let flags = (flags | OFlags::NONBLOCK).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok((file, metadata)),
        false => Err(io::Error::other("not a regular file")),
    }
}

fn read_if(
    path: &Path,
    flags: OFlags,
    check: fn(&Metadata) -> io::Result<()>,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let (file, metadata) = open_with(path, flags)?;
    check(&metadata)?;
    let expected = usize::try_from(metadata.len().min(MOST)).unwrap_or_default();
    // With room for all of it: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected + 1));
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(io::Error::other("more than 16 MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for path in [&*pipe, folder.path(), Path::new("/dev/zero")] {
            let error = read(path).unwrap_err();
            assert_eq!(error.to_string(), "not a regular file", "{path:?}");
        }
    }

    #[test]
    fn a_file_has_an_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, b"all of it").unwrap();
        assert_eq!(**read(file.path()).unwrap(), *b"all of it");
        file.as_file().set_len(MOST + 1).unwrap();
        assert_eq!(
            read(file.path()).unwrap_err().to_string(),
            "more than 16 MiB"
        );
    }

    #[test]
    fn what_anybody_can_have_written_is_not_ours() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (own, link) = (folder.path().join("own"), folder.path().join("link"));
        std::fs::write(&own, b"x").unwrap();
        std::os::unix::fs::symlink(&own, &link).unwrap();
        for (mode, is_taken) in [(0o600, true), (0o660, true), (0o666, false), (0o604, false)] {
            std::fs::set_permissions(&own, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_own(&own).is_ok(), is_taken, "{mode:o}");
            assert!(read_own(&link).is_err());
        }
    }
}
