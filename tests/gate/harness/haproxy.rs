//! A real HAProxy in front of the gate, as in many networks.

use std::ffi::OsStr;
use std::net::SocketAddr;

use tempfile::TempDir;

use super::free_port;
use super::process::Daemon;

/// A running HAProxy; ends with the test.
pub struct Haproxy {
    _daemon: Daemon,
    pub address: SocketAddr,
    _folder: TempDir,
}

impl Haproxy {
    /// Passes each connection on to `gate`, with `more` said of that server, as `send-proxy`.
    #[track_caller]
    pub fn tcp(gate: SocketAddr, more: &str) -> Self {
        Self::start("tcp", "", gate, more)
    }

    /// Passes requests on to `gate`; `rules` are of the front, as `option forwardfor`.
    #[track_caller]
    pub fn http(gate: SocketAddr, rules: &str) -> Self {
        Self::start("http", rules, gate, "")
    }

    #[track_caller]
    fn start(mode: &str, rules: &str, gate: SocketAddr, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = format!(
            "global\n  maxconn 100\n\
             defaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
             listen front\n  bind 127.0.0.1:{port}\n  {rules}\n  server gate {gate} {more}\n"
        );
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let args = ["-db", "-q", "-f"].map(OsStr::new);
        let args = args.into_iter().chain([file.as_os_str()]);
        Self {
            _daemon: Daemon::start("haproxy", args, address),
            address,
            _folder: folder,
        }
    }
}
