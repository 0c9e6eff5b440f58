//! A real nginx as the backend that nobody changes.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;

use tempfile::TempDir;

use super::free_port;
use super::process::{self, Daemon};

/// A running nginx; ends with the test.
pub struct Nginx {
    daemon: Daemon,
    pub address: SocketAddr,
    folder: TempDir,
}

impl Nginx {
    /// Serves the files of [`Nginx::write`], takes uploads below `/up/`, and answers `/whoami`
    /// with the user it was told of.
    #[track_caller]
    pub fn start() -> Self {
        Self::listening("")
    }

    /// The same, with more said about its server; where that begins with `ssl`, it speaks TLS, and
    /// where it begins with `http2`, or with `ssl_http2`, HTTP/2. It also listens at [`Nginx::socket`].
    #[track_caller]
    pub fn listening(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let root = folder.path().display();
        let (ssl, more) = match more {
            more if more.starts_with("ssl_http2") => ("ssl http2", &more["ssl_http2".len()..]),
            more if more.starts_with("http2") => ("http2", &more["http2".len()..]),
            more if more.starts_with("ssl") => ("ssl", more),
            more => ("", more),
        };
        let at_socket = if ssl == "http2" { ssl } else { "" };
        std::fs::create_dir(folder.path().join("www")).unwrap();
        std::fs::create_dir(folder.path().join("www/up")).unwrap();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {root}/pid;\n\
             error_log {root}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n\
               access_log off; client_max_body_size 0;\n\
               client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;\n\
               fastcgi_temp_path {root}/fcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n\
               server {{\n\
                 listen 127.0.0.1:{port} {ssl}; listen unix:{root}/socket {at_socket}; root {root}/www; {more}\n\
                 location = /whoami {{ default_type text/plain;\n\
                   return 200 'user=$http_x_forwarded_user groups=$http_x_forwarded_groups'; }}\n\
                 location = /gate {{ return 200 '$ssl_protocol $ssl_client_s_dn $ssl_server_name'; }}\n\
                 location /nothing {{ return 204; }}\n\
                 location = /version {{ return 200 '$server_protocol $request_method $request_uri'; }}\n\
                 location /public/ {{ try_files $uri /index.html =404; }}\n\
               }}\n\
             }}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        std::fs::write(folder.path().join("www/index.html"), "<p>the backend</p>\n").unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let args = ["-e", "stderr", "-p"].map(OsStr::new);
        let args = args.into_iter().chain([
            folder.path().as_os_str(),
            OsStr::new("-c"),
            file.as_os_str(),
        ]);
        let daemon = Daemon::start("nginx", args, address);
        Self {
            daemon,
            address,
            folder,
        }
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        process::signal(&self.daemon.child, name);
    }

    /// A Unix socket where it listens too, without TLS.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Puts a file where it is served.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let file = self.folder.path().join("www").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }

    /// Makes a file of this size where it is served, without filling the disk.
    pub fn write_sparse(&self, name: &str, size: u64) {
        let file = std::fs::File::create(self.folder.path().join("www").join(name)).unwrap();
        file.set_len(size).unwrap();
    }
}
