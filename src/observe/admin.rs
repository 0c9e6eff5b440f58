//! The admin listener: probes, metrics and public keys over TCP, read-only, plain HTTP, loopback by
//! default; and the same over a Unix socket, where who is logged in is shown, too, and can be ended.
//!
//! It runs apart from the forwarding threads, so that a busy gate still answers its probes. What
//! ending a session takes is not here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::words::rfc3339;
use crate::http1::head::{HeadLimits, RequestFraming, RequestHead};
use crate::http1::read::{ReadBuffer, ReadError};
use crate::http1::write;
use crate::identity::UserName;

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

    /// A page of the sessions, or of those of one user: at most so many, after that one.
    fn sessions(
        &self,
        user: Option<UserName>,
        after: Option<(UserName, String)>,
        most: usize,
    ) -> impl Future<Output = Result<Vec<ShownSession>, ActionError>> + Send;

    /// Ends sessions, and puts that on record; how many they were.
    fn end_sessions(&self, which: Which)
    -> impl Future<Output = Result<usize, ActionError>> + Send;
}

/// A session as it is shown: nobody can take it over by that.
#[derive(Clone, Debug)]
pub struct ShownSession {
    /// Whose.
    pub user: UserName,
    /// When it began, in milliseconds since 1970.
    pub begun: u64,
    /// When it was used last.
    pub last_seen: u64,
    /// Whether it outlives its browser.
    pub remembered: bool,
    /// Eight digits of the digest of its id.
    pub id: String,
}

/// Which sessions are to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All there are.
    All,
    /// Those of one user.
    Of(UserName),
    /// One, by the digits that it is shown by; of that user, where one is named.
    One(String, Option<UserName>),
}

/// Why that was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionError {
    /// The store does not answer.
    Unavailable,
    /// There is no such session.
    NotFound,
    /// There are several of these digits.
    Ambiguous,
}

/// Where the admin listener is bound, which decides what may be asked.
#[derive(Debug)]
pub enum AdminListener {
    /// Anybody who can reach it may look.
    Tcp(TcpListener),
    /// Only who may open the socket, who may act, too.
    Unix(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl AdminListener {
    const fn access(&self) -> Access {
        match self {
            Self::Tcp(_) => Access::Look,
            Self::Unix(_) => Access::Act,
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (tcp, _) = listener.accept().await?;
                // One that is gone already shows when it is read from.
                drop(tcp.set_nodelay(true));
                Box::new(tcp)
            }
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Look,
    Act,
}

/// Serves until the runtime ends.
pub async fn serve(listener: AdminListener, source: Arc<impl AdminSource>) {
    let access = listener.access();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let crowded = Arc::new(Notify::new());
    loop {
        if slots.available_permits() == 0 {
            // Whoever has waited longest with nothing to ask makes room: probes must get through.
            crowded.notify_one();
        }
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let Ok(stream) = listener.accept().await else {
            // Out of file descriptors, most likely; they come back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (source, crowded) = (Arc::clone(&source), Arc::clone(&crowded));
        tokio::spawn(async move {
            // A scraper that fails notices it itself.
            drop(serve_connection(stream, access, &crowded, source.as_ref()).await);
            drop(slot);
        });
    }
}

async fn serve_connection(
    mut stream: Box<dyn Stream>,
    access: Access,
    crowded: &Notify,
    source: &impl AdminSource,
) -> Result<(), ReadError> {
    let mut buffer = ReadBuffer::default();
    let limits = HeadLimits::default();
    loop {
        let head = tokio::select! {
            biased;
            head = buffer.request_head(&mut stream, &limits, IDLE, LIMIT) => head,
            () = crowded.notified() => return Ok(()),
        };
        let head = match head {
            Ok(head) => head,
            Err(ReadError::Head(error)) => {
                let answer = (error.status(), "text/plain", format!("{error}\n"));
                return Ok(send(
                    &mut stream,
                    answer,
                    Reply {
                        body: !buffer.asks_for_head(),
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
        let answer = match asked_of_sessions(&head, access) {
            Some(rest) => sessions(&head, rest, source).await,
            None => answer(&head, source),
        };
        send(&mut stream, answer, reply).await?;
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

// === Sessions ===

/// Sessions in one answer.
const PAGE: usize = 1000;

/// What follows `/sessions` in the path, where they are asked for by somebody who may.
fn asked_of_sessions(head: &RequestHead, access: Access) -> Option<&str> {
    let rest = head.path().strip_prefix("/sessions")?;
    let is_one = rest.is_empty() || rest.starts_with('/');
    (access == Access::Act && is_one).then_some(rest)
}

/// What a query may say of sessions.
#[derive(Debug, Default)]
struct Query {
    user: Option<UserName>,
    after: Option<(UserName, String)>,
    all: bool,
}

impl Query {
    /// Nothing twice, and nothing that is not known: what is misspelt must not end more than was
    /// meant.
    fn parse(query: &str) -> Option<Self> {
        let mut parsed = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "user" if parsed.user.is_none() => {
                    parsed.user = Some(UserName::parse(&value).ok()?);
                }
                "after" if parsed.after.is_none() => {
                    let (user, id) = value.split_once(':')?;
                    parsed.after = Some((UserName::parse(user).ok()?, id.to_owned()));
                }
                "all" if value == "true" => parsed.all = true,
                _ => return None,
            }
        }
        Some(parsed)
    }
}

async fn sessions(head: &RequestHead, rest: &str, source: &impl AdminSource) -> Answer {
    let Some(query) = Query::parse(head.query().unwrap_or_default()) else {
        return problem(StatusCode::BAD_REQUEST, "the query is not understood");
    };
    let Query { user, after, all } = query;
    let which = match (head.method().as_str(), rest.strip_prefix('/')) {
        ("GET" | "HEAD", None) if !all => return list(user, after, source).await,
        ("DELETE", None) if after.is_none() => match (user, all) {
            (Some(user), false) => Which::Of(user),
            (None, true) => Which::All,
            _ => return problem(StatusCode::BAD_REQUEST, "name a user, or say all=true"),
        },
        ("DELETE", Some(id)) if after.is_none() && !all => Which::One(id.to_owned(), user),
        ("GET" | "HEAD" | "DELETE", _) => {
            return problem(StatusCode::BAD_REQUEST, "this cannot be asked of sessions");
        }
        _ => return problem(StatusCode::METHOD_NOT_ALLOWED, "use GET or DELETE"),
    };
    match source.end_sessions(which).await {
        Ok(ended) => json_answer(StatusCode::OK, &json!({"ended": ended})),
        Err(error) => refused(error),
    }
}

async fn list(
    user: Option<UserName>,
    after: Option<(UserName, String)>,
    source: &impl AdminSource,
) -> Answer {
    let shown = match source.sessions(user, after, PAGE).await {
        Ok(shown) => shown,
        Err(error) => return refused(error),
    };
    let next = shown.last().filter(|_| shown.len() == PAGE);
    let next = next.map(|last| format!("{}:{}", last.user, last.id));
    let entry = |it: &ShownSession| {
        json!({
            "user": it.user.as_str(),
            "begun": time_of(it.begun),
            "last_seen": time_of(it.last_seen),
            "remembered": it.remembered,
            "id": it.id,
        })
    };
    let entries: Vec<_> = shown.iter().map(entry).collect();
    json_answer(StatusCode::OK, &json!({"sessions": entries, "next": next}))
}

fn refused(error: ActionError) -> Answer {
    match error {
        ActionError::Unavailable => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "the session store is not available",
        ),
        ActionError::NotFound => problem(StatusCode::NOT_FOUND, "there is no such session"),
        ActionError::Ambiguous => problem(
            StatusCode::CONFLICT,
            "several sessions have this id; name the user, too",
        ),
    }
}

fn time_of(millis: u64) -> String {
    rfc3339(i64::try_from(millis / 1000).unwrap_or(i64::MAX))
}

fn problem(status: StatusCode, words: &str) -> Answer {
    json_answer(status, &json!({"error": words}))
}

fn json_answer(status: StatusCode, value: &serde_json::Value) -> Answer {
    (status, "application/json", format!("{value}\n"))
}

#[derive(Clone, Copy)]
struct Reply {
    body: bool,
    keep: bool,
}

async fn send(stream: &mut Box<dyn Stream>, answer: Answer, reply: Reply) -> io::Result<()> {
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
    timeout(LIMIT, stream.write_all(&out)).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_understood_whole_or_not_at_all() {
        for good in ["", "user=ada", "all=true", "after=ada:0011aabb&user=a%2Bb"] {
            assert!(Query::parse(good).is_some(), "{good}");
        }
        for bad in [
            "usr=ada",
            "user=",
            "user=a+b",
            "user=ada&user=bob",
            "all",
            "all=yes",
            "after=ada",
        ] {
            assert!(Query::parse(bad).is_none(), "{bad}");
        }
    }
}
