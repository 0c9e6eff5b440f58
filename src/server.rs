//! The composition root: builds everything from a checked configuration, starts the threads, and
//! ends them in order. The only file that sees every folder.

mod admin_socket;
pub mod buffering;
mod files;
mod health;
mod names;
pub mod reload;
pub mod sessions;
pub mod signing;
pub mod upstreams;
mod users;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::config::settings::Settings;
use crate::gate::session::{SessionKind, ShortDigest};
use crate::identity::UserName;
use crate::listen::accept::Listener;
use crate::listen::spec::{ListenerSpec, Protocol};
use crate::observe::admin::{self, ActionError, AdminListener, AdminSource, ShownSession, Which};
use crate::observe::log::{Level, Logger};
use crate::observe::metrics::Metrics;
use crate::observe::tally::Tally;
use crate::password::pool::HashPool;
use crate::password::upgrade::Upgrades;
use crate::password::verified::Verified;
use crate::proxy::assertion::Assertions;
use crate::proxy::identity_headers::IdentityHeaders;
use crate::proxy::pages::Pages;
use crate::proxy::rate::RateLimits;
use crate::proxy::spec::{IdentitySpec, LoginSpec};
use crate::proxy::spool::Spools;
use crate::proxy::upstream::UpstreamPool;
use crate::proxy::upstream::endpoint::Upstream;
use crate::proxy::{Shared, Snapshot, Worker, now};
use crate::store::attempts::Attempts;
use crate::store::secret::{FormKey, NoRandomness};
use crate::store::{Kept, Operation, SessionStore, Sessions};
use crate::tls::acceptor::Acceptor;
use crate::tls::signing::SigningKey;
use admin_socket::AdminSocket;
use files::Caller;
use reload::{Reloadable, Reloader};
use sessions::SessionEnds;

/// How often sessions that ended by time are forgotten. They prove nothing from their last
/// moment on; this only gives their memory back.
const SWEEP: Duration = Duration::from_secs(60);

/// How often idle connections to backends are looked through.
const PRUNE: Duration = Duration::from_secs(10);

/// How long the last log lines may take.
const LAST_LINES: Duration = Duration::from_secs(2);

/// How long before the end of a drain calls are told that they end: they look four times a second, and
/// the words have to arrive.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long a reload that is under way may take. Its files may be where nobody answers; what it
/// does is of no use any more.
const LAST_RELOAD: Duration = Duration::from_secs(1);

/// Logins that may wait for a hashing thread. At 20 ms each, the last waits about a second;
/// whoever comes after that is told to come again.
const HASH_QUEUE: usize = 64;

/// Why a server did not start. Nothing stays bound.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}: {source}{}", hint(source))]
    Bind {
        /// As configured.
        address: String,
        /// The key that says so.
        key: String,
        /// Why.
        source: io::Error,
    },
    /// An https listener has no certificate.
    #[error("the listener {0} speaks https, and no certificate is configured")]
    NoCertificate(Arc<str>),
    /// Signals cannot be awaited.
    #[error("cannot listen to signals: {0}")]
    Signals(#[source] io::Error),
    /// A thread or runtime cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The system gives no random bytes.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// A metric is not well-formed.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; is another server running there?",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE, or choose a higher one"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        _ => "",
    }
}

/// Where a server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Starting,
    Ready,
    Draining,
}

/// A running server, and what ends it.
pub struct Server {
    signals: Signals,
    running: Running,
}

/// All that has to be ended in order.
struct Running {
    shared: Arc<Shared>,
    status: Arc<Status>,
    listeners: Vec<Arc<Listener>>,
    admin: Option<SocketAddr>,
    /// Removed from the file system when it ends.
    socket: Option<AdminSocket>,
    threads: Vec<JoinHandle<()>>,
    /// Of the thread that called `start`: admin listener, signals, housekeeping.
    runtime: Runtime,
    /// The thread that reloads, and how it is called.
    reloader: Option<(JoinHandle<()>, Caller)>,
    draining: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    shutdown_delay: Duration,
    drain_timeout: Duration,
}

/// The signals that a server listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// What the admin listener shows.
struct Status {
    shared: Arc<Shared>,
    phase: AtomicU8,
}

impl Status {
    fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) == phase as u8
    }
}

impl AdminSource for Status {
    fn is_started(&self) -> bool {
        !self.is(Phase::Starting)
    }

    fn is_ready(&self) -> bool {
        self.is(Phase::Ready)
    }

    fn jwks(&self) -> Option<String> {
        let snapshot = self.shared.snapshot.load();
        snapshot.identity.assertions().map(Assertions::jwks)
    }

    fn metrics(&self) -> String {
        let metrics = &self.shared.metrics;
        let dropped = self.shared.log.dropped();
        let counted = metrics.log_messages_dropped.get();
        metrics
            .log_messages_dropped
            .inc_by(dropped.saturating_sub(counted));
        let kept = i64::try_from(self.shared.sessions.kept()).unwrap_or(i64::MAX);
        metrics.auth_sessions_active.set(kept);
        let is_up = self.shared.sessions.is_up();
        metrics.session_store_up.set(i64::from(is_up));
        for operation in Operation::ALL {
            let asked = self.shared.sessions.asked(operation);
            for (result, count) in ["success", "unavailable"].into_iter().zip(asked) {
                let labels = [operation.as_str(), result];
                let counter = metrics.session_store_requests.with_label_values(&labels);
                counter.inc_by(count.saturating_sub(counter.get()));
            }
        }
        let locked = self.shared.attempts.locked(now());
        metrics
            .auth_lockouts_active
            .set(i64::try_from(locked).unwrap_or(i64::MAX));
        for upstream in &self.shared.snapshot.load().upstreams {
            let usable = i64::try_from(upstream.usable()).unwrap_or(i64::MAX);
            let healthy = &metrics.upstream_healthy;
            healthy
                .with_label_values(&[&*upstream.spec.name])
                .set(usable);
        }
        for tally in &self.shared.tallies {
            tally.add_up();
        }
        metrics
            .encode()
            .unwrap_or_else(|error| format!("# {error}\n"))
    }

    async fn sessions(
        &self,
        user: Option<UserName>,
        after: Option<(UserName, String)>,
        most: usize,
    ) -> Result<Vec<ShownSession>, ActionError> {
        let after = match after {
            None => None,
            Some((user, id)) => {
                let short = ShortDigest::parse(&id).ok_or(ActionError::NotFound)?;
                Some((user, short.last()))
            }
        };
        let store = &self.shared.sessions;
        let page = store.list(user.as_ref(), after.as_ref(), most).await;
        let shown = |kept: Kept| ShownSession {
            user: kept.session.user.clone(),
            begun: kept.session.created.0,
            last_seen: kept.session.last_seen().0,
            remembered: kept.session.kind == SessionKind::Remembered,
            id: kept.digest.short().as_str().to_owned(),
        };
        let page = page.map_err(|_| ActionError::Unavailable)?;
        Ok(page.into_iter().map(shown).collect())
    }

    async fn end_sessions(&self, which: Which) -> Result<usize, ActionError> {
        let ended = sessions::end(&self.shared.sessions, which).await?;
        sessions::note_ends(&self.shared, &ended, "administrator").await;
        Ok(ended.len())
    }
}

impl Server {
    /// Binds every listener, starts the threads, and accepts. `signing` is the key of the
    /// assertions, where there are to be any; `sessions` are those of before.
    ///
    /// # Errors
    /// [`StartError`]; nothing stays bound then.
    pub fn start(
        settings: Settings,
        acceptor: Option<&Acceptor>,
        signing: Option<SigningKey>,
        sessions: Sessions,
        log: Logger,
    ) -> Result<Self, StartError> {
        let descriptors = descriptors_wanted(&settings);
        let (listeners, sockets) = bind_all(&settings, acceptor)?;
        let runtime = runtime()?;
        // Before anybody can know that we run: a signal that nobody listens to kills.
        let signals = {
            let _context = runtime.enter();
            Signals::listen().map_err(StartError::Signals)?
        };
        let admin = bind_admin(settings.admin, &runtime)?;
        let socket = bind_admin_socket(settings.admin_socket.as_deref(), &runtime)?;
        let (shutdown_delay, drain_timeout) = (settings.shutdown_delay, settings.drain_timeout);
        let shared = Arc::new(shared(settings, signing, sessions, log)?);
        raise_descriptor_limit(descriptors, &shared.log);
        for listener in &listeners {
            announce(&shared, listener);
        }
        let upstreams = shared.snapshot.load().upstreams.clone();
        names::follow(&runtime, &upstreams, &shared.log);
        health::follow(&runtime, &upstreams, &shared.log);

        let (draining, _) = watch::channel(false);
        let (stop, _) = watch::channel(false);
        let threads = start_workers(&shared, &listeners, sockets, &draining, &stop)?;
        let status = Arc::new(Status {
            shared: Arc::clone(&shared),
            phase: AtomicU8::new(Phase::Starting as u8),
        });
        let admin_address = admin.as_ref().and_then(|admin| admin.local_addr().ok());
        if let Some(admin) = admin {
            runtime.spawn(admin::serve(AdminListener::Tcp(admin), Arc::clone(&status)));
        }
        let socket = socket.map(|(socket, listener)| {
            runtime.spawn(admin::serve(listener, Arc::clone(&status)));
            socket
        });
        runtime.spawn(sweep(Arc::clone(&shared)));
        runtime.spawn(watch_sessions(Arc::clone(&shared)));
        let running = Running {
            shared,
            status,
            listeners,
            admin: admin_address,
            socket,
            threads,
            runtime,
            reloader: None,
            draining,
            stop,
            shutdown_delay,
            drain_timeout,
        };
        Ok(Self { signals, running })
    }

    /// From now on, applies what changes in its files.
    ///
    /// # Errors
    /// When no thread can be started for it.
    pub fn reloading(mut self, reloadable: Reloadable) -> Result<Self, StartError> {
        let shared = &self.running.shared;
        let ends = SessionEnds::start(&self.running.runtime, Arc::clone(shared));
        let started = Reloader::start(reloadable, Arc::clone(shared), ends);
        self.running.reloader = Some(started.map_err(StartError::Thread)?);
        Ok(self)
    }

    /// The listeners and where they are bound: the port is known even when 0 was configured.
    pub fn addresses(&self) -> impl Iterator<Item = (&ListenerSpec, SocketAddr)> {
        self.running
            .listeners
            .iter()
            .map(|listener| (listener.spec(), listener.address))
    }

    /// Serves until a signal ends it.
    pub fn run(self) {
        let Self {
            mut signals,
            running,
        } = self;
        running.status.set(Phase::Ready);
        running.say_ready();
        let until_signal = running.until_signal(&mut signals);
        running.runtime.block_on(until_signal);
        running.end();
    }
}

impl Running {
    fn say_ready(&self) {
        let log = &self.shared.log;
        if let Some(admin) = self.admin {
            let line = log
                .line(Level::Info, "admin.listening")
                .text("server.address", &admin.ip().to_string())
                .number("server.port", admin.port());
            log.note(line);
        }
        if let Some(socket) = &self.socket {
            let path = socket.path().to_string_lossy();
            let line = log.line(Level::Info, "admin.socket");
            log.note(line.text("file.path", &path));
        }
        log.note(log.line(Level::Info, "server.ready"));
    }

    async fn until_signal(&self, signals: &mut Signals) {
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return self.drain(signals).await,
                _ = signals.interrupt.recv() => return self.say("server.stop", "SIGINT"),
                // Unhandled, it would end the process, and people send it to mean "reload".
                _ = signals.hangup.recv() => match &self.reloader {
                    Some((_, caller)) => caller.ask(),
                    None => self.say("config.reload", "nothing was read from files"),
                },
            }
        }
    }

    /// Not ready, then no new connections, then the end of those that are open, or of patience.
    async fn drain(&self, signals: &mut Signals) {
        self.say("server.drain", "SIGTERM");
        self.status.set(Phase::Draining);
        let in_order = async {
            tokio::time::sleep(self.shutdown_delay).await;
            self.draining.send_replace(true);
            // Every accept loop and every connection holds its worker, and each worker watches: the
            // last to let go is the end.
            let last_words = LAST_WORDS.min(self.drain_timeout / 2);
            let patience = self.drain_timeout - last_words;
            if timeout(patience, self.draining.closed()).await.is_ok() {
                return true;
            }
            self.shared.cutting_off.store(true, Ordering::Relaxed);
            timeout(last_words, self.draining.closed()).await.is_ok()
        };
        let cut_off = tokio::select! {
            all_ended = in_order => !all_ended,
            _ = signals.terminate.recv() => true,
            _ = signals.interrupt.recv() => true,
        };
        if cut_off {
            let open: usize = self.listeners.iter().map(|it| it.open_connections()).sum();
            let log = &self.shared.log;
            let line = log
                .line(Level::Warn, "server.cut_off")
                .number("connections", open);
            log.note(line);
        }
    }

    fn say(&self, event: &str, reason: &str) {
        let log = &self.shared.log;
        log.note(log.line(Level::Info, event).text("reason", reason));
    }

    fn end(self) {
        self.stop.send_replace(true);
        let reloading = self.reloader.map(|(thread, caller)| {
            caller.end();
            thread
        });
        for thread in self.threads {
            // A thread that panicked has said so; there is nothing left to save here.
            drop(thread.join());
        }
        if let Some(thread) = reloading {
            wait_for(&thread, LAST_RELOAD);
        }
        self.shared.sessions.close(now());
        let log = &self.shared.log;
        log.note(log.line(Level::Info, "server.stopped"));
        log.flush(LAST_LINES);
        // Not waiting for a name server that does not answer.
        self.runtime.shutdown_background();
    }
}

fn wait_for(thread: &JoinHandle<()>, limit: Duration) {
    const STEP: Duration = Duration::from_millis(5);
    let begun = Instant::now();
    while !thread.is_finished() && begun.elapsed() < limit {
        std::thread::sleep(STEP);
    }
}

// --- Building ---

/// The listeners, and for each thread its socket on each of them.
type Bound = (Vec<Arc<Listener>>, Vec<Vec<StdListener>>);

fn bind_all(settings: &Settings, acceptor: Option<&Acceptor>) -> Result<Bound, StartError> {
    let mut listeners = Vec::new();
    let mut by_thread: Vec<Vec<StdListener>> = (0..settings.threads).map(|_| Vec::new()).collect();
    for spec in &settings.listeners {
        let acceptor = match spec.protocol {
            // It is asked there too: which names nobody reaches in the clear.
            Protocol::Http(_) => acceptor.cloned(),
            Protocol::Https => {
                let missing = || StartError::NoCertificate(Arc::clone(&spec.name));
                Some(acceptor.ok_or_else(missing)?.clone())
            }
        };
        let bound = Listener::bind(spec.clone(), acceptor, settings.threads);
        let (listener, sockets) = bound.map_err(|source| StartError::Bind {
            address: spec.name.to_string(),
            key: format!("listeners[{}].address", spec.number),
            source,
        })?;
        listeners.push(Arc::new(listener));
        for (thread, socket) in by_thread.iter_mut().zip(sockets) {
            thread.push(socket);
        }
    }
    Ok((listeners, by_thread))
}

/// What all connections that the configuration allows would take, with some for files and probes.
fn descriptors_wanted(settings: &Settings) -> u64 {
    const OTHERS: usize = 256;
    let clients = settings.listeners.iter().map(|it| it.max_connections);
    // As many requests, and as many WebSockets.
    let backends = settings.upstreams.iter().map(|it| 2 * it.max_requests);
    clients
        .chain(backends)
        .sum::<usize>()
        .saturating_add(OTHERS) as u64
}

/// Takes as many file descriptors as the system allows: the usual soft limit of 1024 is there for
/// programs that use `select`, and a gate that runs out of them answers nobody.
fn raise_descriptor_limit(wanted: u64, log: &Logger) {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    let allowed = if raised.is_ok() {
        limit.maximum
    } else {
        limit.current
    };
    // `None` is no limit.
    if let Some(allowed) = allowed.filter(|allowed| *allowed < wanted) {
        let message = format!(
            "{allowed} file descriptors are allowed, and all configured connections together need \
             {wanted}; raise the limit (ulimit -n, LimitNOFILE=) or lower max_connections"
        );
        let line = log.line(Level::Warn, "config.warning");
        log.note(line.text("message", &message));
    }
}

fn bind_admin(
    address: Option<SocketAddr>,
    runtime: &Runtime,
) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = address else {
        return Ok(None);
    };
    let bound = runtime.block_on(TcpListener::bind(address));
    bound.map(Some).map_err(|source| StartError::Bind {
        address: format!("{address} (admin)"),
        key: "admin.address".into(),
        source,
    })
}

fn bind_admin_socket(
    path: Option<&Path>,
    runtime: &Runtime,
) -> Result<Option<(AdminSocket, AdminListener)>, StartError> {
    let Some(path) = path else {
        return Ok(None);
    };
    let _context = runtime.enter();
    let bound = AdminSocket::bind(path).and_then(|(socket, listener)| {
        let listener = UnixListener::from_std(listener)?;
        Ok((socket, AdminListener::Unix(listener)))
    });
    bound.map(Some).map_err(|source| StartError::Bind {
        address: format!("{} (admin)", path.display()),
        key: "admin.socket".into(),
        source,
    })
}

fn shared(
    settings: Settings,
    signing: Option<SigningKey>,
    sessions: Sessions,
    log: Logger,
) -> Result<Shared, StartError> {
    let metrics = Arc::new(Metrics::new()?);
    for listener in &settings.listeners {
        let limit = i64::try_from(listener.max_connections).unwrap_or(i64::MAX);
        metrics.show_listener(&listener.name, limit);
        if listener.protocol == Protocol::Https {
            metrics.show_tls_listener(&listener.name);
        }
    }
    for warning in &settings.warnings {
        let line = log.line(Level::Warn, "config.warning");
        log.note(line.text("message", warning));
    }
    // Half the cores, so that a rush of logins leaves room for what is forwarded.
    let hashing = NonZeroUsize::new(settings.threads / 2).unwrap_or(NonZeroUsize::MIN);
    Ok(Shared {
        sessions,
        attempts: Attempts::new(settings.lockout),
        rates: RateLimits::new(&settings.rates),
        hashing: HashPool::new(hashing, HASH_QUEUE).map_err(StartError::Thread)?,
        upgrades: Upgrades::new(settings.argon2id),
        verified: Verified::new().map_err(NoRandomness::from)?,
        spools: Spools::new(&settings.buffering),
        form_key: FormKey::generate()?,
        hsts: Arc::new(ArcSwapOption::new(settings.hsts.clone())),
        tallies: (0..settings.threads)
            .map(|_| Arc::new(Tally::new(Arc::clone(&metrics))))
            .collect(),
        metrics,
        log,
        cutting_off: AtomicBool::new(false),
        snapshot: ArcSwap::from_pointee(snapshot(settings, signing)),
    })
}

fn snapshot(settings: Settings, signing: Option<SigningKey>) -> Snapshot {
    let IdentitySpec { headers, assertion } = settings.identity;
    let assertions = assertion.zip(signing);
    let assertions = assertions.map(|(spec, key)| Assertions::new(&spec, Arc::new(key)));
    Snapshot {
        pages: pages(settings.login.as_ref()),
        gate: settings.gate,
        credentials: settings.credentials,
        upstreams: Upstream::all(settings.upstreams),
        rewrites: settings.rewrites,
        identity: Arc::new(IdentityHeaders::new(headers, assertions)),
        login: settings.login,
        limits: settings.limits,
        timeouts: settings.timeouts,
        trusted_proxies: settings.trusted_proxies.into(),
    }
}

/// The pages of a configuration with this login, or without any.
fn pages(login: Option<&LoginSpec>) -> Pages {
    let look = login.map(|login| login.look.clone());
    Pages::new(look.unwrap_or_default())
}

fn announce(shared: &Shared, listener: &Listener) {
    let protocol = match listener.spec().protocol {
        Protocol::Https => "https",
        Protocol::Http(_) => "http",
    };
    let line = shared
        .log
        .line(Level::Info, "listener.bound")
        .text("listener", &listener.spec().name)
        .text("server.address", &listener.address.ip().to_string())
        .number("server.port", listener.address.port())
        .text("protocol", protocol);
    shared.log.note(match listener.asks_for() {
        None => line,
        Some((mode, trusted)) => line
            .text("client_auth", mode.as_str())
            .number("trusted_certificates", trusted),
    });
}

// --- Threads ---

fn runtime() -> Result<Runtime, StartError> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().map_err(StartError::Thread)
}

fn start_workers(
    shared: &Arc<Shared>,
    listeners: &[Arc<Listener>],
    sockets: Vec<Vec<StdListener>>,
    draining: &watch::Sender<bool>,
    stop: &watch::Sender<bool>,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let count = sockets.len();
    let upstreams = &shared.snapshot.load().upstreams;
    let start = |(at, sockets): (usize, Vec<StdListener>)| {
        let worker = Worker {
            shared: Arc::clone(shared),
            log: shared.log.lane(),
            tally: Arc::clone(&shared.tallies[at]),
            pool: UpstreamPool::new(upstreams, count),
            draining: draining.subscribe(),
        };
        let accepts = listeners.iter().cloned().zip(sockets).collect();
        start_worker(at, worker, accepts, stop.subscribe())
    };
    sockets.into_iter().enumerate().map(start).collect()
}

fn start_worker(
    at: usize,
    worker: Worker,
    accepts: Vec<(Arc<Listener>, StdListener)>,
    mut stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, StartError> {
    let runtime = runtime()?;
    std::thread::Builder::new()
        .name(format!("worker-{at}"))
        .spawn(move || {
            runtime.block_on(async move {
                let worker = Arc::new(worker);
                for (listener, socket) in accepts {
                    tokio::spawn(listener.accept(socket, Arc::clone(&worker)));
                }
                tokio::spawn(prune(Arc::downgrade(&worker)));
                drop(worker);
                drop(stop.wait_for(|stop| *stop).await);
            });
        })
        .map_err(StartError::Thread)
}

async fn prune(worker: std::sync::Weak<Worker>) {
    let mut ticks = interval(PRUNE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match worker.upgrade() {
            Some(worker) => worker.pool.prune(),
            None => return,
        }
    }
}

async fn sweep(shared: Arc<Shared>) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.attempts.sweep(now());
        let policy = shared.snapshot.load().gate.sessions;
        if let Ok(ended) = shared.sessions.sweep(&policy, now()).await {
            let expired = &shared.metrics.auth_sessions_ended;
            expired.with_label_values(&["expired"]).inc_by(ended as u64);
        }
        // Those of requests that were given up or failed before they could say so.
        shared.note_untold(&shared.log);
    }
}

/// Says when the store stops answering, and when it does again.
async fn watch_sessions(shared: Arc<Shared>) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_up = true;
    loop {
        ticks.tick().await;
        let is_up = shared.sessions.is_up();
        let log = &shared.log;
        match (was_up, is_up) {
            (true, false) => log.note(log.line(Level::Error, "session_store.down").text(
                "message",
                "sessions cannot be written; protected routes refuse until they can",
            )),
            (false, true) => log.note(log.line(Level::Info, "session_store.up")),
            _ => {}
        }
        was_up = is_up;
    }
}
