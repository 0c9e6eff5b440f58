//! One question to an address of a backend: is it well? On a connection of its own, made as those of
//! requests are, so that what requests would meet is found: TLS, trust and all. When that is asked,
//! and what follows from the answer, is the server's business.

use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::connection::{ConnectFailure, UpstreamConnection};
use super::endpoint::{Endpoint, Upstream};
use crate::http1::head::HeadLimits;
use crate::http1::read::ReadError;
use crate::http1::write;
use crate::proxy::spec::balance::{HealthSpec, Probe};
use crate::proxy_protocol::Header;

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
    /// It closed the connection, or said something else.
    #[error("what came was no answer")]
    NoAnswer,
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
    let mut connection = UpstreamConnection::make(&upstream.spec, endpoint, Header::Local).await?;
    let Probe::Get {
        path,
        host,
        statuses,
    } = &health.probe
    else {
        return Ok(());
    };
    let mut head = Vec::new();
    write::request_line(&mut head, &Method::GET, path);
    write::field(&mut head, "Host", host.as_bytes());
    write::field(&mut head, "User-Agent", b"portcullis-health");
    write::field(&mut head, "Connection", b"close");
    write::end_of_head(&mut head);
    let UpstreamConnection { io, buffer, .. } = &mut connection;
    io.write_all(&head).await.map_err(|_| Unwell::NoAnswer)?;
    for _ in 0..MAX_INTERIM {
        let head = buffer.response_head(io, &Method::GET, &LIMITS, health.timeout);
        let head = head.await.map_err(|error| match error {
            ReadError::TooSlow | ReadError::Idle => Unwell::TooSlow,
            _ => Unwell::NoAnswer,
        })?;
        match head.status() {
            status if status.is_informational() => {}
            status if statuses.contains(&status.as_u16()) => return Ok(()),
            status => return Err(Unwell::Status(status)),
        }
    }
    Err(Unwell::NoAnswer)
}
