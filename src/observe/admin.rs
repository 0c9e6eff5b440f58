//! The admin listener: probes, metrics and public keys, read-only, plain HTTP, loopback by default.
//!
//! It runs apart from the forwarding threads, so that a busy gate still answers its probes. What
//! changes anything is not here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::http1::head::{HeadLimits, RequestFraming, RequestHead};
use crate::http1::read::{ReadBuffer, ReadError};
use crate::http1::write;

/// Probes and scrapers at one time: far more than a node has.
const MAX_CONNECTIONS: usize = 64;

/// For a head, and for taking an answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Between two requests: longer than Prometheus' default scrape interval.
const IDLE: Duration = Duration::from_secs(90);

/// What the admin listener shows.
pub trait AdminSource: Send + Sync + 'static {
    /// Whether the listeners are bound and certificates loaded.
    fn is_started(&self) -> bool;

    /// Whether requests should be sent here: started and not draining.
    fn is_ready(&self) -> bool;

    /// The public keys of what is signed for backends, a JWK Set; none where nothing is signed.
    fn jwks(&self) -> Option<String>;

    /// The metrics as Prometheus reads them.
    fn metrics(&self) -> String;
}

/// Serves until the runtime ends.
pub async fn serve(listener: TcpListener, source: Arc<impl AdminSource>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let Ok((tcp, _)) = listener.accept().await else {
            // Out of file descriptors, most likely; they come back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            // A scraper that fails notices it itself.
            drop(serve_connection(tcp, source.as_ref()).await);
            drop(slot);
        });
    }
}

async fn serve_connection(mut tcp: TcpStream, source: &impl AdminSource) -> Result<(), ReadError> {
    let mut buffer = ReadBuffer::default();
    let limits = HeadLimits::default();
    tcp.set_nodelay(true)?;
    loop {
        let head = match buffer.request_head(&mut tcp, &limits, IDLE, LIMIT).await {
            Ok(head) => head,
            Err(ReadError::Head(error)) => {
                let answer = (error.status(), "text/plain", format!("{error}\n"));
                return Ok(send(
                    &mut tcp,
                    answer,
                    Reply {
                        body: true,
                        keep: false,
                    },
                )
                .await?);
            }
            Err(error) => return Err(error),
        };
        let reply = Reply {
            body: head.method() != http::Method::HEAD,
            keep: head.keep_alive() && head.framing() == RequestFraming::None,
        };
        send(&mut tcp, answer(&head, source), reply).await?;
        if !reply.keep {
            return Ok(());
        }
    }
}

type Answer = (StatusCode, &'static str, String);

fn answer(head: &RequestHead, source: &impl AdminSource) -> Answer {
    const TEXT: &str = "text/plain; charset=utf-8";
    const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
    // RFC 7517 section 8.5.2.
    const JWKS: &str = "application/jwk-set+json";
    let state = |good: bool, words: &str| {
        let status = if good {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        (status, TEXT, format!("{words}\n"))
    };
    if !matches!(head.method().as_str(), "GET" | "HEAD") {
        let words = "only GET and HEAD are answered here\n".to_owned();
        return (StatusCode::METHOD_NOT_ALLOWED, TEXT, words);
    }
    match head.path() {
        "/livez" | "/healthz" => state(true, "alive"),
        "/startupz" if source.is_started() => state(true, "started"),
        "/startupz" => state(false, "starting"),
        "/readyz" | "/ready" if source.is_ready() => state(true, "ready"),
        "/readyz" | "/ready" => state(false, "not ready"),
        "/metrics" => (StatusCode::OK, METRICS, source.metrics()),
        "/.well-known/jwks.json" => match source.jwks() {
            Some(keys) => (StatusCode::OK, JWKS, keys),
            None => (
                StatusCode::NOT_FOUND,
                TEXT,
                "nothing is signed here\n".into(),
            ),
        },
        _ => {
            let words = "/livez /readyz /startupz /metrics /.well-known/jwks.json\n".to_owned();
            (StatusCode::NOT_FOUND, TEXT, words)
        }
    }
}

#[derive(Clone, Copy)]
struct Reply {
    body: bool,
    keep: bool,
}

async fn send(tcp: &mut TcpStream, answer: Answer, reply: Reply) -> io::Result<()> {
    let (status, content_type, body) = answer;
    let mut out = Vec::with_capacity(256 + body.len());
    write::status_line(&mut out, status);
    write::field(&mut out, "Content-Type", content_type.as_bytes());
    write::field(
        &mut out,
        "Content-Length",
        body.len().to_string().as_bytes(),
    );
    write::field(&mut out, "Cache-Control", b"no-store");
    write::field(&mut out, "X-Content-Type-Options", b"nosniff");
    if !reply.keep {
        write::field(&mut out, "Connection", b"close");
    }
    write::end_of_head(&mut out);
    if reply.body {
        out.extend_from_slice(body.as_bytes());
    }
    timeout(LIMIT, tcp.write_all(&out)).await?
}
