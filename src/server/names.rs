//! The names of backends: looked up at the start, every so often, and when nobody can be reached at
//! the addresses that are known. Threads that forward never wait for a name.
//!
//! A name that cannot be looked up keeps its last addresses: a name server that is down must not
//! take backends with it that are not.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::observe::log::{Level, Line, Logger};
use crate::proxy::upstream::endpoint::Upstream;

/// How long the start waits for the first answers: enough for a name server that is there, so that
/// the first requests find an address. The gate comes up without them.
const AT_START: Duration = Duration::from_secs(1);

/// When a name is looked up again that could not be: twice as long with each time, up to its usual
/// time. Also how often it is, at the most, while nobody can be reached.
const AGAIN: Duration = Duration::from_secs(1);

/// After how long it is said that there is no answer. The system's resolver has a limit of its own,
/// and a second look-up beside the first would only wait longer.
const SLOW: Duration = Duration::from_secs(10);

/// Looks up the names of all backends, from now on.
pub(super) fn follow(runtime: &Runtime, upstreams: &[Arc<Upstream>], log: &Logger) {
    let mut first = Vec::new();
    for upstream in upstreams {
        for (server, host) in upstream.names() {
            let name = Name {
                upstream: Arc::clone(upstream),
                server,
                host: host.to_owned(),
                log: log.clone(),
                said: None,
            };
            let (answered, answer) = oneshot::channel();
            first.push(answer);
            runtime.spawn(name.follow(answered));
        }
    }
    let all = async {
        for answer in first {
            drop(answer.await);
        }
    };
    drop(runtime.block_on(async { timeout(AT_START, all).await }));
}

/// One name.
struct Name {
    upstream: Arc<Upstream>,
    /// Which of the places of its upstream it is.
    server: usize,
    host: String,
    log: Logger,
    /// Why it could not be looked up, where that was the last that was said of it.
    said: Option<String>,
}

impl Name {
    /// Follows it for good, and says when it has been looked up once.
    async fn follow(mut self, answered: oneshot::Sender<()>) {
        let mut wanted = self.upstream.look_ups_wanted();
        self.look_up().await;
        drop(answered);
        let usual = self.upstream.spec.resolve;
        let mut again = AGAIN;
        loop {
            let wait = match self.said {
                None => usual,
                Some(_) => again.min(usual),
            };
            again = match self.said {
                None => AGAIN,
                Some(_) => (again * 2).min(usual),
            };
            let earliest = Instant::now() + AGAIN;
            tokio::select! {
                () = sleep(wait) => {}
                // There is a sender as long as there is the upstream.
                _ = wanted.changed() => sleep_until(earliest).await,
            }
            wanted.mark_unchanged();
            self.look_up().await;
        }
    }

    async fn look_up(&mut self) {
        let host = self.host.clone();
        // On one of the runtime's threads for what blocks.
        let mut answer = tokio::spawn(async move { lookup_host((host, 0)).await });
        let answer = match timeout(SLOW, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.failed("no answer yet");
                answer.await
            }
        };
        let answer = answer.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        let addresses: Vec<IpAddr> = match answer {
            Ok(addresses) => addresses.map(|it| it.ip()).collect(),
            Err(error) => return self.failed(&error.to_string()),
        };
        if addresses.is_empty() {
            return self.failed("it has no address");
        }
        if self.upstream.resolved(self.server, &addresses) || self.said.is_some() {
            self.said = None;
            let line = self.line(Level::Info, "upstream.resolved");
            self.log.note(line.number("addresses", addresses.len()));
        }
    }

    fn failed(&mut self, why: &str) {
        if self.said.as_deref() == Some(why) {
            return;
        }
        self.said = Some(why.to_owned());
        let known = self.upstream.endpoints();
        let message = match known.iter().any(|it| *it.host == *self.host) {
            true => format!("{why}; its last addresses stay"),
            false => why.to_owned(),
        };
        let line = self.line(Level::Warn, "upstream.unresolved");
        self.log.note(line.text("message", &message));
    }

    fn line(&self, level: Level, event: &str) -> Line {
        let line = self.log.line(level, event);
        let line = line.text("upstream.name", &self.upstream.spec.name);
        line.text("dns.question.name", &self.host)
    }
}
