//! The accept loops: a bound on open connections, a deadline for the handshake, and the hand-over
//! to the version of HTTP that was agreed on.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora_core::protocols::tls::SslStream;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::entry::{Entry, NotAdmitted};
use super::socket::ClientSocket;
use super::spec::{ListenerSpec, PlainLogin, Protocol};
use super::stream::TlsClient;
use crate::observe::log::Level;
use crate::observe::metrics::{InFlight, observe};
use crate::proxy::certificate::about_certificate;
use crate::proxy::client::{ClientFacts, Scheme, SessionsAccepted, StrictTransport, TlsSummary};
use crate::proxy::spec::Redirect;
use crate::proxy::{Worker, drained, h1, h2};
use crate::tls::acceptor::{Acceptor, HandshakeFailure, RefusedCertificate, TlsFacts};
use crate::tls::spec::ClientAuthMode;

/// Connections that the kernel holds for us while all threads are busy.
const BACKLOG: i32 = 1024;

/// How long to wait after accept fails for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a draining server waits for a handshake that is under way.
const LAST_HANDSHAKE: Duration = Duration::from_secs(2);

/// The first byte of every TLS connection: the type of a handshake record (RFC 8446 section 5.1).
const HANDSHAKE_RECORD: u8 = 0x16;

/// Why a handshake did not begin, as a label: the first byte is neither of TLS nor of HTTP.
const NOT_TLS: &str = "not_tls";

/// A bound address, shared by the threads that accept on it.
#[derive(Debug)]
pub struct Listener {
    spec: ListenerSpec,
    acceptor: Option<Acceptor>,
    /// Where it is bound: the port is known even when 0 was configured.
    pub address: SocketAddr,
    slots: Arc<Semaphore>,
    entry: Arc<Entry>,
}

impl Listener {
    /// Binds one socket for each of `threads`, all on the same address.
    ///
    /// # Errors
    /// When the address cannot be bound. Nothing stays bound then.
    pub fn bind(
        spec: ListenerSpec,
        acceptor: Option<Acceptor>,
        threads: usize,
    ) -> io::Result<(Self, Vec<StdListener>)> {
        if spec.address.port() != 0 {
            // With SO_REUSEPORT a second server would bind beside a first and take half of its
            // connections. A socket without it is refused, as people expect.
            drop(bind(spec.address, Sharing::Alone)?);
        }
        let first = bind(spec.address, Sharing::WithOurThreads)?;
        let address = first.local_addr()?;
        let mut sockets = vec![first];
        while sockets.len() < threads {
            sockets.push(bind(address, Sharing::WithOurThreads)?);
        }
        let listener = Self {
            address,
            slots: Arc::new(Semaphore::new(spec.max_connections)),
            entry: Arc::new(Entry::new(&spec)),
            spec,
            acceptor,
        };
        Ok((listener, sockets))
    }

    /// What it was configured to be.
    #[must_use]
    pub const fn spec(&self) -> &ListenerSpec {
        &self.spec
    }

    /// Whether clients are asked for certificates, and how many certificates are trusted for that;
    /// `None` where they are not.
    #[must_use]
    pub fn asks_for(&self) -> Option<(ClientAuthMode, usize)> {
        let acceptor = self.acceptor.as_ref();
        let acceptor = acceptor.filter(|_| self.spec.protocol == Protocol::Https);
        acceptor.and_then(|acceptor| acceptor.asks_for(self.spec.number))
    }

    /// How many connections are open: each holds a slot.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        let free = self.slots.available_permits();
        self.spec.max_connections.saturating_sub(free)
    }

    /// Accepts on one of its sockets until the worker drains.
    ///
    /// # Errors
    /// When the socket cannot be used on this thread's runtime.
    pub async fn accept(
        self: Arc<Self>,
        socket: StdListener,
        worker: Arc<Worker>,
    ) -> io::Result<()> {
        let socket = TcpListener::from_std(socket)?;
        let mut draining = worker.draining.clone();
        let mut complaint = Complaint::default();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = draining.wait_for(|draining| *draining) => break,
                accepted = socket.accept() => accepted,
            };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.accept_failed(&worker, &error, &mut complaint).await;
                    continue;
                }
            };
            // One connection a thread waits here for a slot, the others in the kernel. The slot
            // is only asked for when somebody needs it: a thread that kept one for whoever may
            // come would keep it from those who wait for the other threads.
            let slot = tokio::select! {
                biased;
                slot = Arc::clone(&self.slots).acquire_owned() => slot,
                _ = draining.wait_for(|draining| *draining) => break,
            };
            let Ok(slot) = slot else { return Ok(()) };
            self.spawn(&worker, tcp, peer, slot);
        }
        self.accept_waiting(&socket.into_std()?, &worker)
    }

    /// What the kernel already holds when the socket closes would be reset: it is still served.
    fn accept_waiting(&self, socket: &StdListener, worker: &Arc<Worker>) -> io::Result<()> {
        while let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned()
            && let Ok((tcp, peer)) = socket.accept()
        {
            tcp.set_nonblocking(true)?;
            self.spawn(worker, TcpStream::from_std(tcp)?, peer, slot);
        }
        Ok(())
    }

    async fn accept_failed(&self, worker: &Worker, error: &io::Error, complaint: &mut Complaint) {
        // A client that gave up before it was accepted costs nothing.
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        if complaint.is_due() {
            let log = &worker.shared.log;
            let line = log
                .line(Level::Error, "listener.accept_error")
                .text("listener", &self.spec.name)
                .text("error.message", &error.to_string());
            log.note(line);
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    fn spawn(
        &self,
        worker: &Arc<Worker>,
        tcp: TcpStream,
        peer: SocketAddr,
        slot: tokio::sync::OwnedSemaphorePermit,
    ) {
        let metrics = &worker.shared.metrics;
        let name = self.spec.name.as_ref();
        metrics.connections.with_label_values(&[name]).inc();
        let active = InFlight::enter(metrics.connections_active.with_label_values(&[name]));
        let connection = Connection {
            worker: Arc::clone(worker),
            name: Arc::clone(&self.spec.name),
            number: self.spec.number,
            protocol: self.spec.protocol,
            acceptor: self.acceptor.clone(),
            redirect: self.spec.redirect.clone(),
            entry: Arc::clone(&self.entry),
        };
        tokio::spawn(async move {
            // A client that is gone already needs no more than this.
            if let Ok(socket) = ClientSocket::new(tcp, peer) {
                connection.serve(socket).await;
            }
            drop((active, slot));
        });
    }
}

/// Keeps a lasting trouble from filling the log.
#[derive(Default)]
struct Complaint(Option<Instant>);

impl Complaint {
    const EVERY: Duration = Duration::from_secs(10);

    fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= Self::EVERY);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// One accepted connection.
struct Connection {
    worker: Arc<Worker>,
    name: Arc<str>,
    number: usize,
    protocol: Protocol,
    acceptor: Option<Acceptor>,
    redirect: Option<Arc<Redirect>>,
    entry: Arc<Entry>,
}

/// What a client of an https listener turned out to speak.
enum Opened {
    Tls(SslStream<ClientSocket>, TlsFacts),
    /// HTTP in the clear; nothing of it is read yet.
    Plain(ClientSocket),
}

impl Connection {
    async fn serve(self, mut socket: ClientSocket) {
        let started = Instant::now();
        let limit = self.worker.shared.snapshot.load().timeouts.handshake;
        let mut draining = self.worker.draining.clone();
        let admitted = tokio::select! {
            biased;
            admitted = self.entry.admit(&mut socket, limit) => admitted,
            () = drained(&mut draining, LAST_HANDSHAKE) => return,
        };
        let _place = match admitted {
            Ok(place) => place,
            Err(why) => return self.not_admitted(&socket, why),
        };
        match (self.protocol, &self.acceptor) {
            (Protocol::Https, Some(acceptor)) => self.serve_tls(acceptor, socket, started).await,
            // An https listener without an acceptor is not built; were it, it would serve nobody.
            (Protocol::Https, None) => {}
            (Protocol::Http(login), _) => {
                let sessions = match login {
                    PlainLogin::Accept => SessionsAccepted::Yes,
                    PlainLogin::Refuse => SessionsAccepted::OnlyOverTls,
                };
                let mut client = self.facts(&socket, Scheme::Http, sessions);
                client.redirect.clone_from(&self.redirect);
                client.peer = self.acceptor.as_ref().map(Acceptor::peer_in_the_clear);
                h1::serve(&self.worker, &client, socket).await;
            }
        }
    }

    async fn serve_tls(&self, acceptor: &Acceptor, socket: ClientSocket, started: Instant) {
        let mut client = self.facts(&socket, Scheme::Https, SessionsAccepted::Yes);
        let shared = &self.worker.shared;
        if let Some(hsts) = &*shared.hsts.load() {
            client.strict_transport = StrictTransport::Ours(Arc::clone(hsts));
        }
        let limit = shared.snapshot.load().timeouts.handshake;
        let limit = limit.saturating_sub(started.elapsed());
        let mut draining = self.worker.draining.clone();
        let opened = tokio::select! {
            biased;
            opened = timeout(limit, Box::pin(open(acceptor, socket, self.number))) => opened,
            () = drained(&mut draining, LAST_HANDSHAKE) => return,
        };
        let (stream, tls) = match opened {
            Ok(Ok(Opened::Tls(stream, tls))) => (stream, tls),
            Ok(Ok(Opened::Plain(socket))) => {
                return Box::pin(self.serve_plain(&client, socket)).await;
            }
            Ok(Err(failed)) => return self.handshake_failed(&client, &failed),
            Err(_) => return self.handshake_failed(&client, &Failed::because("timeout")),
        };
        self.handshake_done(&tls, started.elapsed());
        stream.get_ref().acknowledge_now();
        let stream = TlsClient::new(stream);
        client.tls = Some(TlsSummary {
            version: tls.version,
            cipher: tls.cipher,
            resumed: tls.resumed,
        });
        client.peer = Some(tls.peer);
        if tls.http2 {
            Box::pin(h2::serve(&self.worker, &Arc::new(client), stream)).await;
        } else {
            h1::serve(&self.worker, &client, stream).await;
        }
    }

    /// HTTP in the clear where TLS is spoken: sent to https, or closed. Never to a backend: what
    /// redirects here has no exceptions.
    async fn serve_plain(&self, refused: &ClientFacts, socket: ClientSocket) {
        let Some(redirect) = &self.redirect else {
            let failed = Failed::because(HandshakeFailure::PlainHttp.as_str());
            return self.handshake_failed(refused, &failed);
        };
        let mut client = self.facts(&socket, Scheme::Http, SessionsAccepted::OnlyOverTls);
        client.redirect = Some(Arc::clone(redirect));
        client.peer = self.acceptor.as_ref().map(Acceptor::peer_in_the_clear);
        h1::serve(&self.worker, &client, socket).await;
    }

    fn facts(
        &self,
        socket: &ClientSocket,
        scheme: Scheme,
        sessions: SessionsAccepted,
    ) -> ClientFacts {
        let client = ClientFacts::new(
            Arc::clone(&self.name),
            (socket.peer, socket.local),
            scheme,
            sessions,
            self.worker.tally.in_flight(&self.name),
        );
        let client = client.let_in_by_address(self.entry.goes_by_address());
        match socket.through {
            None => client,
            Some(proxy) => client.through(proxy),
        }
    }

    fn not_admitted(&self, socket: &ClientSocket, why: NotAdmitted) {
        if why == NotAdmitted::Gone {
            return;
        }
        let refused = &self.worker.shared.metrics.connections_refused;
        refused.with_label_values(&[&self.name, why.as_str()]).inc();
        let Some(count) = self.entry.complain() else {
            return;
        };
        let log = &self.worker.log;
        let line = log
            .line(Level::Warn, "connection.refused")
            .text(
                "client.address",
                &socket.peer.ip().to_canonical().to_string(),
            )
            .text("listener", &self.name)
            .text("error.type", why.as_str())
            .maybe_text("auth.hint", why.hint())
            .number("count", count);
        log.note(line);
    }

    fn handshake_done(&self, tls: &TlsFacts, time: Duration) {
        let metrics = &self.worker.shared.metrics;
        let word = |truth| if truth { "true" } else { "false" };
        let (resumed, certificate) = (word(tls.resumed), word(tls.client_certificate));
        metrics
            .tls_handshakes
            .with_label_values(&[&*self.name, tls.version, resumed, certificate])
            .inc();
        let duration = metrics
            .tls_handshake_duration
            .with_label_values(&[&*self.name]);
        observe(&duration, time);
    }

    fn handshake_failed(&self, client: &ClientFacts, failed: &Failed) {
        let reason = failed.reason;
        let shared = &self.worker.shared;
        shared
            .metrics
            .tls_handshake_errors
            .with_label_values(&[&*self.name, reason])
            .inc();
        // Port scans and TCP health checks end like this all the time: counted, not written.
        if reason == HandshakeFailure::Eof.as_str() {
            return;
        }
        let log = &self.worker.log;
        let level = match failed.certificate {
            None => Level::Info,
            Some(_) => Level::Warn,
        };
        let line = log
            .line(level, "tls.handshake_error")
            .text("client.address", &client.address)
            .text("listener", &self.name)
            .text("error.type", reason);
        match &failed.certificate {
            None => log.access(line),
            // That somebody was turned away for their certificate stays on record.
            Some(refused) => {
                let line = line.text("auth.reason", refused.why.as_str());
                log.note(about_certificate(line, refused.shown.as_ref()));
            }
        }
    }
}

/// Tells by its first byte what a client of an https listener speaks, and ends TLS where it is
/// that. The caller sets the deadline.
async fn open(
    acceptor: &Acceptor,
    mut socket: ClientSocket,
    listener: usize,
) -> Result<Opened, Failed> {
    match socket.first_byte().await {
        Ok(Some(HANDSHAKE_RECORD)) => {}
        // Every method begins with a letter; what does not become a request is answered 400.
        Ok(Some(byte)) if byte.is_ascii_alphabetic() => return Ok(Opened::Plain(socket)),
        Ok(Some(_)) => return Err(Failed::because(NOT_TLS)),
        Ok(None) | Err(_) => return Err(Failed::because(HandshakeFailure::Eof.as_str())),
    }
    let done = acceptor.accept(socket, listener).await;
    let (stream, tls) = done.map_err(|error| Failed {
        reason: error.failure.as_str(),
        certificate: error.refused.map(Box::new),
    })?;
    Ok(Opened::Tls(stream, tls))
}

/// A handshake that did not come about.
struct Failed {
    /// Why, as a label.
    reason: &'static str,
    /// The client's certificate, where that was the reason.
    certificate: Option<Box<RefusedCertificate>>,
}

impl Failed {
    const fn because(reason: &'static str) -> Self {
        Self {
            reason,
            certificate: None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    WithOurThreads,
}

fn bind(address: SocketAddr, sharing: Sharing) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart must not wait for the connections of the last run to time out in the kernel.
    socket.set_reuse_address(true)?;
    if sharing == Sharing::WithOurThreads {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
