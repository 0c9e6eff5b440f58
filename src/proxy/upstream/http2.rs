//! The HTTP/2 connections of one thread to one address of a backend, shared by its requests.
//!
//! Frames, flow control and the limits against floods are the h2 crate's. Here: how many connections
//! and streams there are, how much a stream may hold, when a connection is not used any more, and how
//! it is noticed that nobody is there. What goes over a stream is `forward`'s business.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::connection::{ConnectFailure, UpstreamConnection, is_current};
use super::endpoint::Endpoint;
use super::transport::Transport;
use crate::proxy::frames::{Framed, Watch};
use crate::proxy::spec::UpstreamSpec;
use crate::proxy_protocol::Header;
use crate::tls::connector::Trust;

/// Connections to one address that a thread has at one time: with the streams of each, as many requests
/// as a backend gets.
const MOST_CONNECTIONS: usize = 32;

/// Streams that we open on a connection at one time, where the backend takes as many. All of them may
/// be given up at one moment, when a client goes that has many: together with [`MOST_GIVEN_UP`], fewer
/// than servers take for an attack (100).
const MOST_STREAMS: usize = 32;

/// Bytes of an answer that a backend may send before its client has taken them.
const STREAM_WINDOW: u32 = 128 << 10;

/// The same on all streams of a connection: as much as all of them may hold, so that no client that
/// is slow to read takes from the others. Memory is only held for what has come.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MOST_STREAMS as u32;

/// What small DATA frames may cost while nobody takes them, as h2 counts it. It counts those of all
/// streams together, and each stream takes its own in at once.
const SMALL_FRAMES: usize = 32 << 20;

/// Bytes of a request that are held for a stream whose backend is slow to take them.
const SEND_BUFFER: usize = 64 << 10;

/// Bytes of a head as RFC 9113 section 6.5.2 counts them; what is larger is no head.
const HEADER_LIST: u32 = 64 << 10;

/// Streams that we give up on a connection before it gets no more of them. Servers take many resets
/// for an attack (CVE-2023-44487) and end the connection with whatever else is on it; whoever gives up
/// much is to meet its own requests only.
const MOST_GIVEN_UP: usize = 32;

/// How often a connection is looked at.
const TICK: Duration = Duration::from_secs(10);

/// Ticks without a byte after which a connection with streams is asked whether anybody is there. A
/// dead one is noticed a tick after that.
const SILENT: u32 = 3;

/// Ticks until it is asked again. gRPC servers close connections on which they are asked more often
/// than every five minutes while they have nothing to say.
const SILENT_STILL: u32 = 33;

/// The connections to one address.
#[derive(Default)]
pub(super) struct Http2Connections {
    state: Mutex<State>,
    /// Tells those who wait that there may be a place now.
    changed: Notify,
}

#[derive(Default)]
struct State {
    open: Vec<Arc<Http2Connection>>,
    /// Those that are being made. As many wait for them as they will have room for.
    making: usize,
    /// Who waits for a place.
    waiting: usize,
}

/// One connection. While somebody has it, it stays open.
struct Http2Connection {
    requests: SendRequest<Bytes>,
    traffic: Arc<Traffic>,
    /// What it was made secure with.
    trust: Option<Arc<Trust>>,
    /// When it is closed if nobody uses it.
    until: Mutex<Instant>,
    idle_timeout: Duration,
}

/// What goes on on a connection.
#[derive(Default)]
struct Traffic {
    /// Streams that are open.
    streams: AtomicUsize,
    /// Those that were given up before their end.
    given_up: AtomicUsize,
    /// Reads that brought something.
    reads: AtomicU64,
}

impl Watch for Arc<Traffic> {
    fn read(&mut self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether a request may be on a connection with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// As all may.
    Always,
    /// Never: a backend would take the others for whoever sends this one.
    Never,
}

/// A place for one stream on a connection.
pub struct Place {
    connection: Arc<Http2Connection>,
    connections: Arc<Http2Connections>,
    /// Whether the connection has served others before.
    pub reused: bool,
    /// Whether the stream has ended on both sides.
    pub ended: bool,
}

// === impl Http2Connections ===

impl fmt::Debug for Http2Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.state.lock().open.len();
        f.debug_struct("Http2Connections")
            .field("open", &open)
            .finish()
    }
}

enum Found {
    Place(Arc<Http2Connection>),
    /// A connection may be made, by whoever was told so.
    MayMake,
    Full,
}

impl Http2Connections {
    /// A place on a connection: on one that is there, or on a new one. Where all are full, it is
    /// waited for.
    ///
    /// # Errors
    /// [`ConnectFailure`], within the upstream's connect time; `Full` where there was no place.
    pub(super) async fn place(
        self: &Arc<Self>,
        upstream: &UpstreamSpec,
        endpoint: &Endpoint,
        sharing: Sharing,
        announced: Header,
    ) -> Result<Place, ConnectFailure> {
        let deadline = Instant::now() + upstream.connect_timeout;
        let make = || async move {
            let made = Http2Connection::make(upstream, endpoint, announced);
            let made = timeout_at(deadline, made).await;
            made.unwrap_or(Err(ConnectFailure::TimedOut)).map(Arc::new)
        };
        if sharing == Sharing::Never {
            return Ok(self.take(make().await?, false));
        }
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            match self.find(upstream) {
                Found::Place(connection) => return Ok(self.take(connection, true)),
                Found::MayMake => {
                    let making = Making(self);
                    let made = make().await?;
                    self.state.lock().open.push(Arc::clone(&made));
                    let place = self.take(made, false);
                    drop(making);
                    return Ok(place);
                }
                Found::Full => {
                    let _waiting = Waiting(self);
                    let changed = timeout_at(deadline, changed).await;
                    changed.map_err(|_| ConnectFailure::Full)?;
                }
            }
        }
    }

    fn find(&self, upstream: &UpstreamSpec) -> Found {
        let mut state = self.state.lock();
        let is_good = |it: &Arc<Http2Connection>| {
            it.takes_requests() && is_current(it.trust.as_ref(), upstream)
        };
        let has_room = |it: &&Arc<Http2Connection>| it.has_room();
        let mut found = state.open.iter().find(has_room).cloned();
        // Mostly it is, and no other need be looked at.
        if !found.as_ref().is_some_and(is_good) {
            // What was made with other trust ends with its streams; so does what is going away.
            state.open.retain(is_good);
            found = state.open.iter().find(has_room).cloned();
        }
        if let Some(connection) = found {
            return Found::Place(connection);
        }
        let is_enough = state.making > 0 && state.waiting < state.making * MOST_STREAMS;
        if is_enough || state.open.len() + state.making >= MOST_CONNECTIONS {
            state.waiting += 1;
            return Found::Full;
        }
        state.making += 1;
        Found::MayMake
    }

    fn take(self: &Arc<Self>, connection: Arc<Http2Connection>, reused: bool) -> Place {
        connection.traffic.streams.fetch_add(1, Ordering::Relaxed);
        Place {
            connection,
            connections: Arc::clone(self),
            reused,
            ended: false,
        }
    }

    /// Closes what has not been used for long, and forgets what is closed.
    pub(super) fn prune(&self, now: Instant) {
        let is_used = |it: &Http2Connection| it.streams() > 0 || *it.until.lock() > now;
        let mut state = self.state.lock();
        state.open.retain(|it| it.takes_requests() && is_used(it));
    }
}

/// Somebody who waits; until this is dropped.
struct Waiting<'c>(&'c Http2Connections);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiting -= 1;
    }
}

/// The right to make a connection; ends when dropped.
struct Making<'c>(&'c Http2Connections);

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.state.lock().making -= 1;
        // It has room for many, or one of them has to try again.
        self.0.changed.notify_waiters();
    }
}

// === impl Http2Connection ===

impl Http2Connection {
    /// Makes a new one.
    async fn make(
        upstream: &UpstreamSpec,
        endpoint: &Endpoint,
        announced: Header,
    ) -> Result<Self, ConnectFailure> {
        let made = UpstreamConnection::make(upstream, endpoint, announced).await?;
        let (io, trust) = made.into_transport();
        let traffic = Arc::new(Traffic::default());
        let io = Framed::new(io, 0, Arc::clone(&traffic));
        let mut options = client::Builder::new();
        options
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .data_frame_budget(SMALL_FRAMES)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(HEADER_LIST);
        let (requests, connection) = begin(options, io).await?;
        tokio::spawn(drive(connection, Arc::clone(&traffic)));
        Ok(Self {
            requests,
            traffic,
            trust,
            until: Mutex::new(Instant::now() + upstream.idle_timeout),
            idle_timeout: upstream.idle_timeout,
        })
    }

    fn streams(&self) -> usize {
        self.traffic.streams.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        let streams = self.streams();
        streams < MOST_STREAMS && streams < self.requests.current_max_send_streams()
    }

    /// Whether it is neither closed nor going away.
    fn takes_requests(&self) -> bool {
        if self.traffic.given_up.load(Ordering::Relaxed) >= MOST_GIVEN_UP {
            return false;
        }
        let mut context = Context::from_waker(Waker::noop());
        let ready = self.requests.clone().poll_ready(&mut context);
        !matches!(ready, Poll::Ready(Err(_)))
    }
}

/// Waits for the backend's settings: they say how many streams it takes, and that it speaks HTTP/2 at
/// all. No request has left before that.
pub(super) async fn begin<T>(
    mut options: client::Builder,
    io: T,
) -> Result<(SendRequest<Bytes>, Connection<T, Bytes>), ConnectFailure>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    // No stream until they are there.
    options.enable_push(false).initial_max_send_streams(0);
    let handshake = options.handshake(io).await;
    let (requests, mut connection) = handshake.map_err(|_| ConnectFailure::NotHttp2)?;
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(_) => Poll::Ready(Err(ConnectFailure::NotHttp2)),
        Poll::Pending if requests.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    Ok((requests, connection))
}

impl Place {
    /// Opens the stream.
    ///
    /// # Errors
    /// When the connection has ended meanwhile: nothing has left then.
    pub fn open(
        &self,
        request: http::Request<()>,
        end_of_stream: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut requests = self.connection.requests.clone();
        requests.send_request(request, end_of_stream)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let connection = &self.connection;
        let given_up = usize::from(!self.ended);
        connection
            .traffic
            .given_up
            .fetch_add(given_up, Ordering::Relaxed);
        *connection.until.lock() = Instant::now() + connection.idle_timeout;
        connection.traffic.streams.fetch_sub(1, Ordering::Relaxed);
        self.connections.changed.notify_one();
    }
}

// === The task of a connection ===

/// Moves the frames of a connection until it ends: when nobody has it any more and its streams have
/// ended, when the backend closes it, or when nobody is there any more. Streams that are open then
/// end with it.
async fn drive(
    mut connection: Connection<Framed<Transport, Arc<Traffic>>, Bytes>,
    traffic: Arc<Traffic>,
) {
    let mut pulse = connection.ping_pong().map(|pings| Pulse {
        pings,
        reads: 0,
        silent: 0,
        due: SILENT,
        asked: false,
    });
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ended = &mut connection => return,
            _ = ticks.tick() => {
                if pulse.as_mut().is_some_and(|pulse| pulse.is_gone(&traffic)) {
                    return;
                }
            }
        }
    }
}

/// Whether anybody is there.
struct Pulse {
    pings: PingPong,
    /// How much had come at the last tick.
    reads: u64,
    /// Ticks since something came.
    silent: u32,
    /// How many of them there may be.
    due: u32,
    /// Whether an answer is awaited.
    asked: bool,
}

impl Pulse {
    /// Looks once a tick, and asks where nothing has come for long.
    fn is_gone(&mut self, traffic: &Traffic) -> bool {
        let reads = traffic.reads.load(Ordering::Relaxed);
        let is_silent = reads == self.reads;
        self.reads = reads;
        let mut context = Context::from_waker(Waker::noop());
        if self.asked && self.pings.poll_pong(&mut context).is_ready() {
            // What has come is the answer; nothing else has been said.
            self.asked = false;
            self.silent += 1;
        } else if is_silent {
            self.silent += 1;
        } else {
            (self.silent, self.due) = (0, SILENT);
        }
        if self.asked {
            return is_silent;
        }
        if self.silent >= self.due && traffic.streams.load(Ordering::Relaxed) > 0 {
            self.due = self.silent + SILENT_STILL;
            self.asked = self.pings.send_ping(Ping::opaque()).is_ok();
        }
        false
    }
}
