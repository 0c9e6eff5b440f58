//! A real Apache httpd as the backend that asks for Digest.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use md5::{Digest as _, Md5};
use tempfile::TempDir;

use super::free_port;
use super::process::Daemon;

const MODULES: [&str; 9] = [
    "mpm_event",
    "http2",
    "authn_core",
    "authn_file",
    "authz_core",
    "authz_user",
    "auth_digest",
    "dav",
    "dav_fs",
];

/// A running Apache; ends with the test.
pub struct Apache {
    _daemon: Daemon,
    pub address: SocketAddr,
    folder: TempDir,
}

impl Apache {
    /// Lets `user` in who has `password`, and nobody else, to read and write files. A nonce is good
    /// for `lifetime` seconds.
    #[track_caller]
    pub fn start(user: &str, password: &str, lifetime: u32) -> Self {
        Self::speaking("http/1.1", user, password, lifetime)
    }

    /// The same over this protocol, as Apache calls it.
    #[track_caller]
    pub fn speaking(protocol: &str, user: &str, password: &str, lifetime: u32) -> Self {
        const REALM: &str = "the old device, of 1999";
        let folder = tempfile::tempdir().unwrap();
        let www = folder.path().join("www");
        std::fs::create_dir(&www).unwrap();
        // As root, it serves as somebody else.
        for open in [folder.path(), &www] {
            std::fs::set_permissions(open, PermissionsExt::from_mode(0o777)).unwrap();
        }
        let secret = format!("{user}:{REALM}:{password}");
        let hash = base16ct::lower::encode_string(&Md5::digest(secret.as_bytes()));
        let users = format!("{user}:{REALM}:{hash}\n");
        std::fs::write(folder.path().join("users"), users).unwrap();
        let port = free_port();
        let root = folder.path().display();
        let modules: String = MODULES
            .iter()
            .map(|name| {
                format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")
            })
            .collect();
        let config = format!(
            "{modules}ServerRoot {root}\nServerName localhost\nListen 127.0.0.1:{port}\n\
             Protocols {protocol}\n\
             PidFile {root}/pid\nErrorLog {root}/error.log\nDefaultRuntimeDir {root}\n\
             CustomLog {root}/access.log \"%>s\"\nUser www-data\nGroup www-data\n\
             DocumentRoot {root}/www\nDavLockDB {root}/dav-locks\n\
             <Directory {root}/www>\nDav On\nAuthType Digest\nAuthName \"{REALM}\"\n\
             AuthDigestProvider file\nAuthUserFile {root}/users\n\
             AuthDigestNonceLifetime {lifetime}\nRequire valid-user\n</Directory>\n"
        );
        let file = folder.path().join("apache.conf");
        std::fs::write(&file, config).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let args = ["-X", "-f"].map(OsStr::new);
        let args = args.into_iter().chain([file.as_os_str()]);
        Self {
            _daemon: Daemon::start("apache2", args, address),
            address,
            folder,
        }
    }

    /// Where its files are.
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("www")
    }

    /// How many requests it has answered with this status.
    pub fn answered(&self, status: &str) -> usize {
        let log = read(&self.folder.path().join("access.log"));
        log.lines().filter(|line| *line == status).count()
    }
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

impl Drop for Apache {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- apache\n{}",
                read(&self.folder.path().join("error.log"))
            );
        }
    }
}
