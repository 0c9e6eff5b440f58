//! Requests that a backend does not take as they come: bodies are kept until they are whole, and the
//! backend hears of the request after that; and it is told who we are, if it takes two tries.
//!
//! Where bodies are kept is `spool`'s business, what a login is `upstream_login`'s. Not here: what is
//! sent in the end (`headers`, `forward`).

use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use super::exchange::{AnswerSink, BodySource, Upload};
use super::forward::failure::ForwardFailure;
use super::forward::{LOOK_AGAIN, Outcome, Standing};
use super::headers::{Sending, UpstreamRequest};
use super::record::Record;
use super::spec::{Collected, HttpVersion, UpstreamSpec};
use super::spool::{SpoolError, Spooled};
use super::standing::Permitted;
use super::upstream_login::{LoginRefusal, UpstreamLogin};
use super::{Request, declared_length};
use crate::http1::head::RequestFraming;
use crate::http1::timer::within;
use crate::http1::write::BodyEncoder;
use crate::observe::log::Level;

impl UpstreamSpec {
    /// Whether it takes requests as they come.
    pub(super) fn is_ordinary(&self) -> bool {
        self.collected == Collected::None
            && self.version == HttpVersion::Http11
            && self.login.is_none()
    }

    /// Whether it gets a body that is framed like this only when all of it is there.
    pub(super) fn collects(&self, framing: RequestFraming) -> bool {
        match self.collected {
            Collected::None => false,
            Collected::OfUnknownLength => {
                matches!(BodyEncoder::for_request(framing), BodyEncoder::Chunked)
            }
            Collected::All => true,
        }
    }
}

impl Request<'_> {
    /// Forwards a request to a backend that does not take all of them as they come.
    pub(super) async fn forward_adapted<'f, B: BodySource, A: AnswerSink>(
        &'f self,
        request: UpstreamRequest<'_>,
        standing: &Permitted<'_, '_>,
        body: &mut Upload<'_, B>,
        answer: &mut A,
        record: &mut Record<'_>,
    ) -> Result<Outcome<'f>, ForwardFailure> {
        let upstream = request.upstream;
        if !body.has_ended() && upstream.spec.collects(self.head.framing()) {
            let whole = self.collect(standing, body, answer).await;
            let whole = whole.inspect_err(|failure| self.say_not_kept(failure))?;
            let sending = Sending {
                framing: RequestFraming::Length(whole.len()),
                expects_continue: false,
                ..request.sending
            };
            let request = UpstreamRequest { sending, ..request };
            let mut source = whole.read();
            let mut kept = Upload::new(&mut source);
            kept.allow(whole.len());
            return self
                .forward_known(request, standing, &mut kept, answer, record)
                .await;
        }
        let mut request = request;
        if upstream.spec.version == HttpVersion::Http10 && request.sending.expects_continue {
            // It knows no interim answers, so that it would wait as long as the client.
            request.sending.expects_continue = false;
            answer.send_continue().await?;
        }
        self.forward_known(request, standing, body, answer, record)
            .await
    }

    /// Forwards a request to a backend that may have to know who we are.
    async fn forward_known<'f, B: BodySource, A: AnswerSink>(
        &'f self,
        request: UpstreamRequest<'_>,
        standing: &Permitted<'_, '_>,
        body: &mut Upload<'_, B>,
        answer: &mut A,
        record: &mut Record<'_>,
    ) -> Result<Outcome<'f>, ForwardFailure> {
        let Some(login) = &request.upstream.spec.login else {
            return self
                .forward_as(request, standing, body, answer, record)
                .await;
        };
        let mut turn = login.begin()?;
        loop {
            let request = UpstreamRequest {
                login: Some(&turn),
                ..request
            };
            let forwarded = self
                .forward_as(request, standing, body, answer, record)
                .await;
            if let Err(ForwardFailure::LoginRefused(why)) = &forwarded {
                turn.forget();
                self.say_refused(login, &request.upstream.spec, *why);
            }
            let outcome = forwarded?;
            match turn.next()? {
                None => return Ok(outcome),
                Some(_) if !body.begin_again() => return Err(LoginRefusal::NotReady.into()),
                Some(next) => turn = next,
            }
        }
    }

    /// Says what to do about a backend that wanted to know how long a body is (411).
    pub(super) fn say_length_required(&self, upstream: &UpstreamSpec) {
        let framing = BodyEncoder::for_request(self.head.framing());
        if framing == BodyEncoder::Chunked && self.worker.shared.spools.hinted.is_due(self.now) {
            let line = self
                .worker
                .log
                .line(Level::Warn, "upstream.length_required");
            let line = line.text("upstream.name", &upstream.name);
            let message =
                "the backend takes no chunked requests; write `chunked: false` beside its url";
            self.worker.log.note(line.text("message", message));
        }
    }

    /// Says that a backend does not let us in.
    fn say_refused(&self, login: &UpstreamLogin, upstream: &UpstreamSpec, why: LoginRefusal) {
        if login.said.is_due(self.now) {
            let line = self.worker.log.line(Level::Warn, "upstream.login");
            let line = line.text("upstream.name", &upstream.name);
            let line = line.text("result", "refused");
            let message = format!("the backend does not let us in: {why}");
            self.worker.log.note(line.text("message", &message));
        }
    }

    /// Says what the operator has to do something about.
    fn say_not_kept(&self, failure: &ForwardFailure) {
        use SpoolError::{DiskFull, Failed, Full, TooLarge, TooMuch, TooSlow};
        let ForwardFailure::NotKept(why) = failure else {
            return;
        };
        let is_ours = match why {
            TooLarge | TooMuch => false,
            Full | TooSlow | DiskFull(_) | Failed(_) => true,
        };
        if is_ours && self.worker.shared.spools.said.is_due(self.now) {
            let line = self.worker.log.line(Level::Error, "buffering.failed");
            let line = line.text("error.type", failure.as_str());
            let message = format!("requests are answered 503: {why}");
            self.worker.log.note(line.text("message", &message));
        }
    }

    /// Waits for all of a body.
    async fn collect<B: BodySource, A: AnswerSink>(
        &self,
        standing: &Permitted<'_, '_>,
        body: &mut Upload<'_, B>,
        answer: &mut A,
    ) -> Result<Spooled<'_>, ForwardFailure> {
        let spools = &self.worker.shared.spools;
        let holder = self.holder(standing.permit);
        let mut spool = spools.begin(holder, declared_length(self.head))?;
        let mut vigil = Vigil::begin(standing);
        if self.head.expects_continue() {
            vigil.over(answer.send_continue()).await??;
        }
        loop {
            let next = async {
                tokio::select! {
                    biased;
                    piece = body.next() => piece.map_err(ForwardFailure::Body),
                    () = answer.gone(Duration::ZERO) => Err(ForwardFailure::ClientGone),
                }
            };
            let Some(piece) = vigil.over(next).await?? else {
                break;
            };
            vigil.moved = true;
            vigil.over(spool.add(&piece)).await??;
        }
        Ok(vigil.over(spool.finish()).await??)
    }
}

/// Looks again and again whether a request would still be let in, over all that it waits for.
struct Vigil<'s, S> {
    standing: &'s S,
    looked: Instant,
    /// Whether something of the body has come since.
    moved: bool,
}

impl<'s, S: Standing> Vigil<'s, S> {
    fn begin(standing: &'s S) -> Self {
        Self {
            standing,
            looked: Instant::now(),
            moved: false,
        }
    }

    async fn over<T>(&mut self, work: impl Future<Output = T>) -> Result<T, ForwardFailure> {
        let mut work = pin!(work);
        loop {
            let left = LOOK_AGAIN.saturating_sub(self.looked.elapsed());
            if left.is_zero() {
                self.look().await?;
                continue;
            }
            if let Ok(done) = within(left, work.as_mut()).await {
                return Ok(done);
            }
        }
    }

    async fn look(&mut self) -> Result<(), ForwardFailure> {
        let moved = std::mem::take(&mut self.moved);
        let stands = Box::pin(self.standing.stands(moved)).await;
        self.looked = Instant::now();
        match stands {
            true => Ok(()),
            false => Err(ForwardFailure::NoLongerPermitted),
        }
    }
}
