//! A real HAProxy in front of the gate, as in many networks.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{eventually, free_port};

/// A running HAProxy; ends with the test.
pub struct Haproxy {
    child: Child,
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
        let program = if std::path::Path::new("/usr/sbin/haproxy").exists() {
            "/usr/sbin/haproxy"
        } else {
            "haproxy"
        };
        let child = Command::new(program)
            .args(["-db", "-q", "-f"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let haproxy = Self {
            child,
            address,
            _folder: folder,
        };
        eventually("HAProxy listens", || TcpStream::connect(address).ok());
        haproxy
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
