//! Both directions of a WebSocket connection, until one of the two ends it or we have to.
//!
//! We end it as RFC 6455 section 7 has it: with a Close to each side where no frame is cut by it,
//! so that the client knows whether to come back (1001) or not (1008), and the backend sees a client
//! that leaves.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::frames::{FrameError, Side, close_to_backend, close_to_client};
use super::way::{Broken, Way};
use crate::http1::timer::Timer;
use crate::proxy::DrainWatch;
use crate::proxy::exchange::{ClientEnd, ClientStream};
use crate::proxy::forward::{LOOK_AGAIN, Standing};
use crate::proxy::upstream::connection::UpstreamConnection;
use crate::proxy::upstream::transport::Transport;

/// How long a frame may take to end that is on its way to somebody who may not have it any more.
const LAST_FRAME: Duration = Duration::from_secs(1);

/// The same where nobody did anything wrong.
const LAST_FRAME_IN_PEACE: Duration = Duration::from_secs(10);

/// How long each side may take to answer a Close of ours.
const CLOSING: Duration = Duration::from_secs(2);

/// How long TCP may stay open when both sides have said Close: whoever serves closes it first.
const CLOSED: Duration = Duration::from_secs(5);

/// How long the one direction may be silent when the other has ended.
const HALF_CLOSED: Duration = Duration::from_secs(30);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client ended it.
    Client,
    /// The backend did.
    Backend,
    /// The client broke off.
    ClientGone,
    /// The backend broke off.
    BackendGone,
    /// The client does not speak WebSocket.
    ClientBroken(FrameError),
    /// The backend does not.
    BackendBroken(FrameError),
    /// Nothing has passed for too long.
    Idle,
    /// The server drains.
    Drain,
    /// Whoever opened it would not be let in any more.
    NoLongerPermitted,
}

impl End {
    /// A stable word for logs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client_closed",
            Self::Backend => "upstream_closed",
            Self::ClientGone => "client_gone",
            Self::BackendGone => "upstream_gone",
            Self::ClientBroken(_) => "client_protocol_error",
            Self::BackendBroken(_) => "upstream_protocol_error",
            Self::Idle => "idle",
            Self::Drain => "drain",
            Self::NoLongerPermitted => "no_longer_permitted",
        }
    }

    /// What a Close of ours tells the client: a code (RFC 6455 section 7.4, and 1014 of its
    /// registry) and a reason.
    const fn close(self) -> (u16, &'static str) {
        match self {
            Self::NoLongerPermitted => (1008, "no longer permitted"),
            Self::ClientBroken(_) => (1002, "not a WebSocket frame"),
            Self::BackendBroken(_) | Self::BackendGone => (1014, "bad gateway"),
            Self::Idle => (1001, "idle for too long"),
            Self::Drain | Self::Client | Self::Backend | Self::ClientGone => {
                (1001, "shutting down")
            }
        }
    }

    const fn last_frame(self) -> Duration {
        match self {
            Self::Drain | Self::Idle => LAST_FRAME_IN_PEACE,
            _ => LAST_FRAME,
        }
    }
}

/// A WebSocket connection: that of the client and that to the backend.
pub(super) struct Tunnel<'t> {
    client: &'t mut dyn ClientStream,
    backend: &'t mut Transport,
    up: Way<'t>,
    down: Way<'t>,
    /// The side that has ended first, or said Close first.
    first: Option<End>,
    /// Whether the client has been left within a frame.
    cut: bool,
    mask: [u8; 4],
}

/// What a tunnel waits for.
enum Event {
    /// It is over.
    Over(End),
    /// The server drains.
    Drain,
    /// It is time to look again.
    Look,
}

impl<'t> Tunnel<'t> {
    /// Both have just left HTTP. `mask` is for a Close of ours to the backend.
    pub(super) fn new(
        client: ClientEnd<'t>,
        backend: &'t mut UpstreamConnection,
        mask: [u8; 4],
    ) -> Self {
        let UpstreamConnection { io, buffer, .. } = backend;
        client.io.keep_alive();
        io.keep_alive();
        Self {
            client: client.io,
            backend: io,
            up: Way::new(Side::Client, client.buffer),
            down: Way::new(Side::Backend, buffer),
            first: None,
            cut: false,
            mask,
        }
    }

    /// Bytes that have passed, to the backend and to the client.
    pub(super) const fn passed(&self) -> (u64, u64) {
        (self.up.passed(), self.down.passed())
    }

    /// Whether the client has been left without a proper end, and must see that.
    pub(super) const fn is_cut(&self) -> bool {
        self.cut
    }

    /// Passes on what the two say until the connection ends, at the latest when it was `idle` for so
    /// long, when it would not be let in any more, or when the server drains.
    pub(super) async fn run(
        &mut self,
        standing: &impl Standing,
        mut drain: DrainWatch,
        idle: Duration,
    ) -> End {
        let mut timer = Timer::default();
        let mut look_at = Instant::now() + LOOK_AGAIN;
        let mut seen = Seen::at_first();
        loop {
            let event = poll_fn(|cx| {
                if let Poll::Ready(end) = self.poll_pass(cx) {
                    return Poll::Ready(Event::Over(end));
                }
                if drain.poll(cx).is_ready() {
                    return Poll::Ready(Event::Drain);
                }
                timer.poll(cx, look_at).map(|()| Event::Look)
            });
            let end = match event.await {
                Event::Over(end) => end,
                Event::Drain => End::Drain,
                Event::Look => {
                    let used = seen.look(self);
                    if !standing.stands(used).await {
                        End::NoLongerPermitted
                    } else if let Some(end) = self.is_over(seen.still.elapsed(), idle) {
                        end
                    } else {
                        look_at = Instant::now() + LOOK_AGAIN;
                        continue;
                    }
                }
            };
            self.end(end).await;
            return end;
        }
    }

    /// Whether it has been silent for so long that nobody waits for anything any more.
    fn is_over(&self, still: Duration, idle: Duration) -> Option<End> {
        let ended = self.first.unwrap_or(End::Idle);
        let closed = self.up.frames().is_closed() && self.down.frames().is_closed();
        let half_closed = self.up.is_done() || self.down.is_done();
        let (patience, end) = match (closed, half_closed) {
            (true, _) => (CLOSED, ended),
            (false, true) => (HALF_CLOSED, ended),
            (false, false) => (idle, End::Idle),
        };
        (still >= patience.min(idle)).then_some(end)
    }

    fn poll_pass(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Some(end) = self.poll_up(cx) {
            return Poll::Ready(end);
        }
        if let Some(end) = self.poll_down(cx) {
            return Poll::Ready(end);
        }
        match self.up.is_done() && self.down.is_done() {
            true => Poll::Ready(self.first.unwrap_or(End::Client)),
            false => Poll::Pending,
        }
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Option<End> {
        if self.up.is_done() {
            return None;
        }
        let passed = self.up.poll_pass(cx, &mut self.client, self.backend);
        if self.up.frames().is_closed() || passed.is_ready() {
            self.first.get_or_insert(End::Client);
        }
        match passed {
            Poll::Ready(Err(Broken::Source)) if self.up.frames().is_closed() => self.first,
            Poll::Ready(Err(Broken::Source)) => Some(End::ClientGone),
            // It may have said why, or said Close before it went.
            Poll::Ready(Err(Broken::Target)) => {
                self.first = Some(End::Backend);
                self.up.give_up();
                None
            }
            Poll::Ready(Err(Broken::Frame(error))) => Some(End::ClientBroken(error)),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        }
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Option<End> {
        if self.down.is_done() {
            return None;
        }
        let passed = self.down.poll_pass(cx, self.backend, &mut self.client);
        if self.down.frames().is_closed() || passed.is_ready() {
            self.first.get_or_insert(End::Backend);
        }
        match passed {
            Poll::Ready(Err(Broken::Source)) if self.down.frames().is_closed() => self.first,
            Poll::Ready(Err(Broken::Source)) => Some(End::BackendGone),
            Poll::Ready(Err(Broken::Target)) => Some(End::ClientGone),
            Poll::Ready(Err(Broken::Frame(error))) => Some(End::BackendBroken(error)),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        }
    }

    /// Does what is left to do at an end like this.
    async fn end(&mut self, end: End) {
        match end {
            // All is said.
            End::Client | End::Backend => {}
            // As it came to us.
            End::ClientGone => {
                self.cut = true;
                self.backend.break_off();
            }
            End::BackendGone => self.cut_client(),
            End::Drain => self.close(end, After::Pass).await,
            End::ClientBroken(_) | End::BackendBroken(_) | End::Idle | End::NoLongerPermitted => {
                self.close(end, After::Discard).await
            }
        }
    }

    /// Tells both sides that it ends, and waits a moment until they have heard it.
    async fn close(&mut self, end: End, after: After) {
        let deadline = Instant::now() + end.last_frame();
        if timeout_at(deadline, self.close_client(end, after)).await != Ok(Ok(())) {
            // In the middle of a frame: whatever came behind it would be taken for the rest.
            self.cut_client();
        }
        let deadline = Instant::now() + CLOSING;
        // What a client has sent before it heard of it is not lost.
        if after == After::Pass {
            drop(timeout_at(deadline, self.pass_until_closed()).await);
        }
        drop(timeout_at(deadline, self.close_backend()).await);
        let heard = poll_fn(|cx| {
            let client = self.up.poll_discard(cx, &mut self.client);
            let backend = self.down.poll_discard(cx, self.backend);
            match client.is_ready() && backend.is_ready() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        drop(timeout_at(deadline, heard).await);
        drop(timeout_at(deadline, self.backend.shutdown()).await);
    }

    fn cut_client(&mut self) {
        self.cut = true;
        self.client.break_off();
    }

    /// Sends a Close to the client, as soon as the frame has ended that is on its way to it.
    async fn close_client(&mut self, end: End, after: After) -> Result<(), NotSent> {
        if self.down.frames().is_closed() || self.down.is_done() {
            return Ok(());
        }
        let finished = poll_fn(|cx| {
            // A backend may have to hear more before it goes on.
            if after == After::Pass && !self.up.is_done() {
                let _passed = self.up.poll_pass(cx, &mut self.client, self.backend);
            }
            self.down
                .poll_finish_frame(cx, self.backend, &mut self.client)
        });
        finished.await.map_err(|_| NotSent)?;
        let (code, reason) = end.close();
        send(&mut self.client, &close_to_client(code, reason)).await
    }

    /// Sends a Close to the backend, where that cuts nothing.
    async fn close_backend(&mut self) -> Result<(), NotSent> {
        if self.up.frames().is_closed() || self.up.is_done() || !self.up.is_free() {
            return Ok(());
        }
        send(self.backend, &close_to_backend(1001, self.mask)).await
    }

    async fn pass_until_closed(&mut self) {
        poll_fn(|cx| {
            let passed = match self.up.is_done() {
                true => Poll::Ready(Ok(())),
                false => self.up.poll_pass(cx, &mut self.client, self.backend),
            };
            match self.up.frames().is_closed() || passed.is_ready() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

/// What becomes of what a client still sends when it is told that the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// It is passed on.
    Pass,
    /// It is not.
    Discard,
}

/// A Close could not be sent.
#[derive(Debug, PartialEq, Eq)]
struct NotSent;

async fn send(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<(), NotSent> {
    to.write_all(frame).await.map_err(|_| NotSent)?;
    to.flush().await.map_err(|_| NotSent)
}

/// What has passed when somebody looked last.
struct Seen {
    bytes: u64,
    data: u64,
    /// Since when nothing has passed.
    still: Instant,
}

impl Seen {
    fn at_first() -> Self {
        Self {
            bytes: 0,
            data: 0,
            still: Instant::now(),
        }
    }

    /// Looks again; whether the connection is in use. One that is only kept alive is not.
    fn look(&mut self, tunnel: &Tunnel<'_>) -> bool {
        let (up, down) = tunnel.passed();
        if std::mem::replace(&mut self.bytes, up + down) != up + down {
            self.still = Instant::now();
        }
        let data = tunnel.up.frames().data() + tunnel.down.frames().data();
        std::mem::replace(&mut self.data, data) != data
    }
}
