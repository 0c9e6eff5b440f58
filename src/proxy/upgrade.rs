//! Requests that leave HTTP for WebSocket (RFC 6455): whether they may, and what happens then.
//!
//! A gate has to be sure that both sides have left HTTP before anything passes between them (RFC
//! 9931): a handshake that is not quite one, or an answer that does not accept it, would let a client
//! say something to the backend that nobody has looked at. So the handshake is checked before it is
//! forwarded, the 101 before it is passed on, nothing that the client sends meanwhile goes anywhere,
//! and neither connection is ever used for HTTP again.

mod frames;
pub mod handshake;
mod tunnel;
mod way;

use std::time::Duration;

use http::StatusCode;

use super::client::Scheme;
use super::exchange::{AnswerSink, BodySource, Upload};
use super::forward::failure::ForwardFailure;
use super::forward::{Standing, Switched};
use super::origin;
use super::pages::text::Text;
use super::record::Record;
use super::spec::HttpVersion;
use super::{DrainWatch, Request};
use crate::gate::authenticate::Proof;
use crate::gate::authorize::Permit;
use crate::observe::metrics::InFlight;
use handshake::{BadHandshake, Handshake};
use tunnel::{End, Tunnel};

/// Why a request for WebSocket is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotUpgraded {
    /// It is no handshake.
    Bad(BadHandshake),
    /// The page of another site asks for it in somebody's name.
    CrossSite,
    /// Its backend is spoken to in a version of HTTP that cannot be left like this.
    OtherVersion,
}

impl Request<'_> {
    /// The WebSocket handshake that it is, where it asks for that.
    pub(super) fn handshake(&self, permit: &Permit) -> Result<Option<Handshake>, NotUpgraded> {
        if !handshake::is_asked_for(self.head) {
            return Ok(None);
        }
        let handshake = Handshake::read(self.head).map_err(NotUpgraded::Bad)?;
        let upstream = &self.snapshot.upstreams[permit.route().upstream.0];
        if upstream.spec.version != HttpVersion::Http11 {
            return Err(NotUpgraded::OtherVersion);
        }
        match self.is_of_foreign_page(permit) {
            true => Err(NotUpgraded::CrossSite),
            false => Ok(Some(handshake)),
        }
    }

    /// Whether the page of another site asks, and the browser has proved by itself who sits before
    /// it. CORS does not hold for WebSocket: that page could read and write everything. `SameSite`
    /// keeps the session's cookie from most such requests, but not from those of other hosts and
    /// ports of the same site, and nothing keeps a certificate from them. A token is in no browser
    /// unless a page has put it there, and who sends no `Origin` is no browser.
    fn is_of_foreign_page(&self, permit: &Permit) -> bool {
        let upstream = &self.snapshot.upstreams[permit.route().upstream.0];
        let comes_by_itself = match permit.identity() {
            Ok(it) => !matches!(it.proof(), Proof::Token(_)),
            // Where somebody is, or that the gate logs in for everybody, needs no page to say it.
            Err(_) => {
                permit.certificate().is_ok()
                    || !permit.route().addresses.is_empty()
                    || self.client.let_in_by_address
                    || upstream.spec.login.is_some()
            }
        };
        let mut origins = self.head.fields().get_all("origin");
        let (true, Some(origin)) = (comes_by_itself, origins.next()) else {
            return false;
        };
        // In the clear, something before us may have ended TLS.
        let schemes: &[Scheme] = match self.client.scheme {
            Scheme::Https => &[Scheme::Https],
            Scheme::Http => &[Scheme::Https, Scheme::Http],
        };
        let listed = permit.route().origins.iter();
        let is_listed =
            |origin: &[u8]| { listed }.any(|it| origin.eq_ignore_ascii_case(it.as_bytes()));
        let is_known = origin::is_of(origin, self.head.authority(), schemes) || is_listed(origin);
        !is_known || origins.next().is_some()
    }

    /// Answers what is not forwarded.
    pub(super) async fn refuse_upgrade<B: BodySource, A: AnswerSink>(
        &self,
        why: NotUpgraded,
        body: &mut Upload<'_, B>,
        answer: &mut A,
        record: &mut Record<'_>,
    ) -> Result<(), ForwardFailure> {
        record.not_upgraded(why);
        let page = match why {
            NotUpgraded::CrossSite => {
                self.problem(StatusCode::FORBIDDEN, Text::RequestFromElsewhere)
            }
            NotUpgraded::OtherVersion => {
                self.problem(StatusCode::NOT_IMPLEMENTED, Text::NoWebSocketHere)
            }
            NotUpgraded::Bad(why) => {
                let text = Text::Unacceptable.with(why.to_string());
                let page = self.problem(why.status(), text);
                match why {
                    // RFC 6455 section 4.4 and RFC 9110 section 15.5.22.
                    BadHandshake::OtherVersion => page
                        .with("Sec-WebSocket-Version", handshake::VERSION)
                        .with("Upgrade", "websocket")
                        .with("Connection", "Upgrade"),
                    _ => page,
                }
            }
        };
        self.send(page, body, answer, record).await
    }

    /// Passes on what both sides say, from their 101 on until one of them ends it.
    pub(super) async fn tunnel<A: AnswerSink>(
        &self,
        mut switched: Box<Switched<'_>>,
        idle: Duration,
        standing: &impl Standing,
        answer: &mut A,
        record: &mut Record<'_>,
    ) -> Result<(), ForwardFailure> {
        // Only what has a connection of its own was let ask for it.
        let client = answer.client().ok_or(ForwardFailure::BadUpgrade)?;
        let active = &self.worker.shared.metrics.upgraded_connections_active;
        let active = InFlight::enter(active.with_label_values(&[record.route()]));
        let mask = self.id.some_bytes();
        let mut tunnel = Tunnel::new(client, &mut switched.connection, mask);
        let drain = DrainWatch::new(self.worker, Duration::ZERO);
        let end = tunnel.run(standing, drain, idle).await;
        let (up, down) = tunnel.passed();
        let is_cut = tunnel.is_cut();
        drop((active, switched));
        record.tunnelled(end, up, down);
        if is_cut {
            answer.abort();
        } else {
            answer.finish(None).await?;
        }
        Ok(())
    }
}

impl NotUpgraded {
    /// A stable word for logs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Bad(_) => "bad_handshake",
            Self::CrossSite => "cross_site",
            Self::OtherVersion => "upstream_version",
        }
    }
}

impl Record<'_> {
    /// It asks for WebSocket, and may not have it.
    fn not_upgraded(&mut self, why: NotUpgraded) {
        self.denied(why.as_str());
        if matches!(why, NotUpgraded::Bad(_)) {
            self.reject("bad_request");
        }
    }

    /// It was a WebSocket connection, and so many bytes have passed to the backend and to the client.
    fn tunnelled(&mut self, end: End, up: u64, down: u64) {
        self.forwarded.answer_bytes = down;
        let error = match end {
            End::Client | End::Backend | End::Idle | End::Drain => None,
            End::ClientGone
            | End::BackendGone
            | End::ClientBroken(_)
            | End::BackendBroken(_)
            | End::NoLongerPermitted => Some(end.as_str()),
        };
        let is_backends = matches!(end, End::BackendGone | End::BackendBroken(_));
        self.upgraded(end.as_str(), up, error, is_backends);
    }
}
