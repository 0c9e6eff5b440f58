//! Portcullis and those that it is compared with: how each is started, and that it does its job.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::certificates::{Certificate, Kind};
use crate::http1::{Client, Request};
use crate::process::Process;
use crate::tls::{Connector, Protocol};
use crate::{Result, floor, haproxy, nginx, portcullis};

/// Who asks, in every configuration.
pub const USER: &str = "ada";

/// The session that the others know. As long as a real one.
pub const MADE_UP_SESSION: &str = "MadeUpMadeUpMadeUpMadeUpMadeUpMadeUpMadeUp1";

/// How long an answer, or a line in the log, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A proxy that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Peer {
    /// With login, abilities, identity headers, metrics and a written access log
    Portcullis,
    /// Plain; everything is measured against it
    Nginx,
    /// Asks a second location for each request (auth_request)
    NginxAuth,
    /// Looks the cookie up in shared memory (Lua in the worker)
    NginxLua,
    /// Plain
    Haproxy,
    /// Looks the cookie up in a map
    HaproxyMap,
    /// tokio and BoringSSL and nothing else; only for HTTP/1 and full handshakes
    Floor,
}

impl Peer {
    pub const ALL: [Self; 7] = [
        Self::Portcullis,
        Self::Nginx,
        Self::NginxAuth,
        Self::NginxLua,
        Self::Haproxy,
        Self::HaproxyMap,
        Self::Floor,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Portcullis => "portcullis",
            Self::Nginx => "nginx",
            Self::NginxAuth => "nginx-auth",
            Self::NginxLua => "nginx-lua",
            Self::Haproxy => "haproxy",
            Self::HaproxyMap => "haproxy-map",
            Self::Floor => "floor",
        }
    }

    /// Whether it lets nobody pass without a cookie.
    const fn is_gate(self) -> bool {
        !matches!(self, Self::Nginx | Self::Haproxy | Self::Floor)
    }

    /// Whether it tells the backend who asks.
    const fn names_the_user(self) -> bool {
        self.is_gate() && !matches!(self, Self::NginxAuth)
    }
}

/// What all proxies of a run share.
pub struct World {
    pub folder: TempDir,
    /// The core that every proxy runs on, alone.
    pub core: usize,
    /// The others, as a list.
    pub our_cores: String,
    pub backend: SocketAddr,
    /// The binary.
    pub portcullis: PathBuf,
    /// Connections to the backend that nginx keeps.
    pub nginx_keepalive: usize,
    pub ecdsa: Certificate,
    pub rsa: Certificate,
}

impl World {
    pub const fn certificate(&self, kind: Kind) -> &Certificate {
        match kind {
            Kind::Ecdsa => &self.ecdsa,
            Kind::Rsa => &self.rsa,
        }
    }
}

/// A running proxy.
pub struct Proxy {
    pub peer: Peer,
    pub process: Process,
    pub address: SocketAddr,
    /// Where Portcullis shows its metrics.
    admin: SocketAddr,
    /// The cookie field that lets a request pass.
    pub cookie: String,
    /// From its start until it was ready.
    pub ready_after: Duration,
    /// Its files.
    folder: TempDir,
}

/// What is needed to write a proxy's configuration.
pub struct Place<'p> {
    pub folder: &'p Path,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub backend: SocketAddr,
    pub certificate: &'p Certificate,
    pub nginx_keepalive: usize,
}

impl Proxy {
    /// Starts a proxy and waits until it is ready; Portcullis with more than the usual.
    pub fn start(world: &World, peer: Peer, kind: Kind, extra: &portcullis::Extra) -> Result<Self> {
        let folder = TempDir::new_in(world.folder.path())?;
        let place = Place {
            folder: folder.path(),
            address: free_address()?,
            admin: free_address()?,
            backend: world.backend,
            certificate: world.certificate(kind),
            nginx_keepalive: world.nginx_keepalive,
        };
        let program = match peer {
            Peer::Portcullis => portcullis::prepare(&place, &world.portcullis, extra)?,
            Peer::Nginx | Peer::NginxAuth | Peer::NginxLua => nginx::prepare(&place, peer)?,
            Peer::Haproxy | Peer::HaproxyMap => haproxy::prepare(&place, peer)?,
            Peer::Floor => floor::prepare(&place)?,
        };
        let program: Vec<&str> = program.iter().map(String::as_str).collect();
        let mut process = Process::start(folder.path(), &world.core.to_string(), &program)?;
        let ready_after = match peer {
            Peer::Portcullis => process.until(|| ask_admin(place.admin, "/readyz").is_ok()),
            _ => process.until(|| TcpStream::connect(place.address).is_ok()),
        };
        let ready_after = ready_after.map_err(|error| format!("{}: {error}", peer.name()))?;
        Ok(Self {
            peer,
            process,
            address: place.address,
            admin: place.admin,
            cookie: format!("{}={MADE_UP_SESSION}", portcullis::COOKIE),
            ready_after,
            folder,
        })
    }

    /// Starts a proxy, logs in where that is needed, and sees that it does what it should.
    pub async fn start_checked(
        world: &World,
        peer: Peer,
        kind: Kind,
        extra: &portcullis::Extra,
    ) -> Result<Self> {
        let mut proxy = Self::start(world, peer, kind, extra)?;
        let checked = proxy.log_in_and_check().await;
        checked.map_err(|error| proxy.blame(&*error))?;
        Ok(proxy)
    }

    /// Logs in where that is needed, and sees that the proxy does what it should.
    pub async fn log_in_and_check(&mut self) -> Result<()> {
        if self.peer == Peer::Portcullis {
            self.cookie = portcullis::log_in(self.address).await?;
        }
        self.check().await?;
        if self.peer == Peer::Portcullis {
            self.check_log().await?;
        }
        Ok(())
    }

    /// A comparison is worth nothing when somebody does less than is believed.
    async fn check(&self) -> Result<()> {
        let connector = Connector::new(Protocol::Http1)?;
        let mut client = Client::connect(&connector, self.address).await?;
        let cookie = Some(self.cookie.as_str());
        let (status, _) = client.ask_for_text(&Request::get("/128", cookie)).await?;
        expect(status == 200, &format!("/128 was answered with {status}"))?;
        let (_, text) = client
            .ask_for_text(&Request::get("/identity", cookie))
            .await?;
        let is_named = text.ends_with(USER);
        expect(
            is_named == self.peer.names_the_user(),
            &format!("the backend was told of another user than {USER}: {text}"),
        )?;
        let mut client = Client::connect(&connector, self.address).await?;
        let (status, _) = client.ask_for_text(&Request::get("/128", None)).await?;
        let is_open = status == 200;
        expect(
            is_open != self.peer.is_gate(),
            &format!("without a cookie, /128 was answered with {status}"),
        )
    }

    /// Every request is to be found in the log, also the one that was refused.
    async fn check_log(&self) -> Result<()> {
        let is_written = || {
            let log =
                std::fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default();
            log.matches("\"event\":\"access\"").count() >= 3
        };
        let deadline = Instant::now() + PATIENCE;
        while !is_written() {
            expect(Instant::now() < deadline, "the access log is not written")?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// How many lines were dropped from Portcullis' access log.
    pub fn dropped_lines(&self) -> Result<String> {
        const NAME: &str = "portcullis_log_messages_dropped_total ";
        let metrics = ask_admin(self.admin, "/metrics")?;
        let line = metrics.lines().find_map(|line| line.strip_prefix(NAME));
        Ok(line.ok_or("no metric for dropped lines")?.to_owned())
    }

    /// An error with the name of this proxy and what it complained of.
    pub fn blame(&self, error: &dyn std::error::Error) -> String {
        let name = self.peer.name();
        format!("{name}: {error}\n{}", self.process.complaints())
    }
}

fn expect(holds: bool, otherwise: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

/// A port that was free a moment ago: not every proxy can say which one it got.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The answer of Portcullis' admin listener, where it is 200.
fn ask_admin(admin: SocketAddr, path: &str) -> Result<String> {
    let mut tcp = TcpStream::connect(admin)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    write!(
        tcp,
        "GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(format!("{path}: {answer}").into()),
    }
}
