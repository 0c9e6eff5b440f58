//! Where a backend's answer comes from, whatever version of HTTP it speaks: here over HTTP/1.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::io::AsyncRead;

use super::failure::ForwardFailure;
use crate::http1::body::BodyDecoder;
use crate::http1::fields::Fields;
use crate::http1::head::HeadLimits;
use crate::http1::read::{ReadBuffer, ReadError};
use crate::http1::response::{ResponseFraming, ResponseHead};

/// What a backend's answer head may be: larger than a client's, since backends are chosen by the
/// operator and some set many cookies.
pub(super) const ANSWER_LIMITS: HeadLimits = HeadLimits {
    bytes: 64 << 10,
    fields: 200,
    // Answers have none.
    target: 0,
};

/// An answer as it comes. What was not there within its limit fails as
/// [`ForwardFailure::TooSlow`], and may be asked for again.
pub(super) trait AnswerSource: Send {
    /// The next head, be it an interim one.
    fn head(
        &mut self,
        method: &Method,
        limit: Duration,
    ) -> impl Future<Output = Result<ResponseHead, ForwardFailure>> + Send;

    /// The body behind this head comes next.
    fn begin_body(&mut self, head: &ResponseHead);

    /// The next piece of the body, without a wait: `None` where nothing more has come yet.
    fn body_now(
        &mut self,
    ) -> impl Future<Output = Result<Option<Option<Bytes>>, ForwardFailure>> + Send;

    /// The next piece of the body, or `None` at its end.
    fn body(
        &mut self,
        limit: Duration,
    ) -> impl Future<Output = Result<Option<Bytes>, ForwardFailure>> + Send;

    /// Takes in what comes while the client is waited for, where it would be in the way of others.
    /// Resolves where that is more than may come.
    fn take_in(&mut self, _method: &Method) -> impl Future<Output = ForwardFailure> + Send {
        std::future::pending()
    }

    /// The trailers, after the end.
    fn trailers(&mut self) -> Option<Fields>;

    /// Whether nothing has come behind the end.
    fn is_at_end(&self) -> bool;

    /// Whether both sides may be silent while the request goes on: then the time of the backend is
    /// counted from when either has said something.
    fn is_conversation(&self) -> bool;
}

/// An answer over HTTP/1.
pub(super) struct Http1Source<'s, R> {
    io: &'s mut R,
    buffer: &'s mut ReadBuffer,
    decoder: BodyDecoder,
}

impl<'s, R> Http1Source<'s, R> {
    pub(super) fn new(io: &'s mut R, buffer: &'s mut ReadBuffer) -> Self {
        Self {
            io,
            buffer,
            decoder: BodyDecoder::empty(),
        }
    }
}

impl<R: AsyncRead + Unpin + Send> AnswerSource for Http1Source<'_, R> {
    async fn head(
        &mut self,
        method: &Method,
        limit: Duration,
    ) -> Result<ResponseHead, ForwardFailure> {
        let head = self
            .buffer
            .response_head(self.io, method, &ANSWER_LIMITS, limit);
        head.await.map_err(head_failure)
    }

    fn begin_body(&mut self, head: &ResponseHead) {
        self.decoder = match head.framing() {
            ResponseFraming::None => BodyDecoder::empty(),
            ResponseFraming::Length(length) => BodyDecoder::length(length),
            ResponseFraming::Chunked => BodyDecoder::chunked(),
            // HTTP/2 framing does not come from this codec.
            ResponseFraming::UntilClose | ResponseFraming::Stream => BodyDecoder::until_close(),
        };
    }

    async fn body_now(&mut self) -> Result<Option<Option<Bytes>>, ForwardFailure> {
        let piece = self.buffer.body_now(self.io, &mut self.decoder);
        piece.await.map_err(ForwardFailure::CutShort)
    }

    async fn body(&mut self, limit: Duration) -> Result<Option<Bytes>, ForwardFailure> {
        let piece = self.buffer.body(self.io, &mut self.decoder, limit);
        piece.await.map_err(|error| match error {
            ReadError::TooSlow => ForwardFailure::TooSlow,
            error => ForwardFailure::CutShort(error),
        })
    }

    fn trailers(&mut self) -> Option<Fields> {
        self.decoder.trailers()
    }

    fn is_at_end(&self) -> bool {
        self.buffer.is_empty()
    }

    fn is_conversation(&self) -> bool {
        false
    }
}

fn head_failure(error: ReadError) -> ForwardFailure {
    match error {
        ReadError::Closed | ReadError::Io(_) => ForwardFailure::NoAnswer,
        ReadError::TooSlow | ReadError::Idle => ForwardFailure::TooSlow,
        error => ForwardFailure::BadAnswer(error),
    }
}
