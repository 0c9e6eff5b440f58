//! One question to an address of a backend: is it well? On a connection of its own, made as those of
//! requests are and in their version of HTTP, so that what requests would meet is found: TLS, trust
//! and all. When that is asked, and what follows from the answer, is the server's business.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::client::{self, ResponseFuture};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Request, StatusCode, Uri};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::connection::{ConnectFailure, UpstreamConnection};
use super::endpoint::{Endpoint, Upstream};
use super::http2;
use crate::http1::head::HeadLimits;
use crate::http1::read::ReadError;
use crate::http1::response::ResponseError;
use crate::http1::write;
use crate::proxy::spec::HttpVersion;
use crate::proxy::spec::balance::{HealthSpec, Probe};
use crate::proxy_protocol::Header;

/// Who asks.
const AGENT: &str = "portcullis-health";

/// The head of an answer may be this large; nobody looks at more of it than the status.
const LIMITS: HeadLimits = HeadLimits {
    bytes: 16 << 10,
    fields: 100,
    // Answers have none.
    target: 0,
};

/// Interim answers before the final one.
const MAX_INTERIM: usize = 4;

/// What is wrong with an address.
#[derive(Debug, thiserror::Error)]
pub enum Unwell {
    /// It cannot be connected to.
    #[error(transparent)]
    Connect(#[from] ConnectFailure),
    /// It took too long.
    #[error("there was no answer in time")]
    TooSlow,
    /// It closed the connection, or gave the request up.
    #[error("what came was no answer")]
    NoAnswer,
    /// It said something else.
    #[error("what came was no answer: {0}")]
    BadAnswer(#[from] ResponseError),
    /// The path or the host that the configuration has is none there.
    #[error("what is asked for cannot be written as HTTP/2")]
    NotHttp2,
    /// It says so.
    #[error("the answer was {0}")]
    Status(StatusCode),
}

/// Asks `endpoint`.
///
/// # Errors
/// [`Unwell`], within the time that an answer may take.
pub async fn probe(
    upstream: &Upstream,
    endpoint: &Endpoint,
    health: &HealthSpec,
) -> Result<(), Unwell> {
    let answered = timeout(health.timeout, ask(upstream, endpoint, health));
    answered.await.unwrap_or(Err(Unwell::TooSlow))
}

async fn ask(upstream: &Upstream, endpoint: &Endpoint, health: &HealthSpec) -> Result<(), Unwell> {
    let connection = UpstreamConnection::make(&upstream.spec, endpoint, Header::Local).await?;
    let Probe::Get {
        path,
        host,
        statuses,
    } = &health.probe
    else {
        return Ok(());
    };
    let status = match upstream.spec.version {
        HttpVersion::Http10 | HttpVersion::Http11 => {
            get_over_http1(connection, path, host, health).await?
        }
        HttpVersion::Http2 => {
            let scheme = match upstream.spec.tls {
                Some(_) => Scheme::HTTPS,
                None => Scheme::HTTP,
            };
            get_over_http2(connection, scheme, path, host).await?
        }
    };
    match statuses.contains(&status.as_u16()) {
        true => Ok(()),
        false => Err(Unwell::Status(status)),
    }
}

async fn get_over_http1(
    mut connection: UpstreamConnection,
    path: &str,
    host: &str,
    health: &HealthSpec,
) -> Result<StatusCode, Unwell> {
    let mut head = Vec::new();
    write::request_line(&mut head, &Method::GET, path);
    write::field(&mut head, "Host", host.as_bytes());
    write::field(&mut head, "User-Agent", AGENT.as_bytes());
    write::field(&mut head, "Connection", b"close");
    write::end_of_head(&mut head);
    let UpstreamConnection { io, buffer, .. } = &mut connection;
    io.write_all(&head).await.map_err(|_| Unwell::NoAnswer)?;
    for _ in 0..MAX_INTERIM {
        let head = buffer.response_head(io, &Method::GET, &LIMITS, health.timeout);
        let head = head.await.map_err(|error| match error {
            ReadError::TooSlow | ReadError::Idle => Unwell::TooSlow,
            ReadError::Response(error) => Unwell::BadAnswer(error),
            _ => Unwell::NoAnswer,
        })?;
        if !head.status().is_informational() {
            return Ok(head.status());
        }
    }
    Err(Unwell::NoAnswer)
}

// === HTTP/2 ===

async fn get_over_http2(
    connection: UpstreamConnection,
    scheme: Scheme,
    path: &str,
    host: &str,
) -> Result<StatusCode, Unwell> {
    let request = http2_request(scheme, path, host).ok_or(Unwell::NotHttp2)?;
    let (io, _) = connection.into_transport();
    let mut options = client::Builder::new();
    options.max_header_list_size(LIMITS.bytes as u32);
    let (mut requests, mut connection) = http2::begin(options, io).await?;
    let asked = requests.send_request(request, true);
    let (mut response, _) = asked.map_err(|_| Unwell::NoAnswer)?;
    let mut interim = 0;
    poll_fn(|cx| {
        // First, or what it has brought would be looked at only when there is more.
        let ended = Pin::new(&mut connection).poll(cx).is_ready();
        match poll_status(&mut response, &mut interim, cx) {
            Poll::Pending if ended => Poll::Ready(Err(Unwell::NoAnswer)),
            status => status,
        }
    })
    .await
}

fn http2_request(scheme: Scheme, path: &str, host: &str) -> Option<Request<()>> {
    let path = path.parse::<PathAndQuery>().ok()?;
    let uri = Uri::builder().scheme(scheme).authority(host);
    let uri = uri.path_and_query(path).build().ok()?;
    let request = Request::get(uri).header("user-agent", AGENT);
    request.body(()).ok()
}

fn poll_status(
    response: &mut ResponseFuture,
    interim: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<Result<StatusCode, Unwell>> {
    while let Poll::Ready(Some(informational)) = response.poll_informational(cx) {
        *interim += 1;
        if informational.is_err() || *interim == MAX_INTERIM {
            return Poll::Ready(Err(Unwell::NoAnswer));
        }
    }
    let head = ready!(Pin::new(response).poll(cx));
    let status = head.map(|head| head.status());
    Poll::Ready(status.map_err(|_| Unwell::NoAnswer))
}
