//! How much of its core a proxy takes for each request, while a load is on it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::peers::Proxy;
use crate::{Result, cpu};

/// Every load runs for this long before it is measured, and until it has done something.
const WARM_UP: Duration = Duration::from_millis(300);

/// How long a load may take to do something.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a load has done so far.
#[derive(Debug, Default)]
pub struct Tally {
    answers: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    pub fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    pub fn moved(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// How many requests that is. Of large bodies only some end within a measured interval:
    /// there the bytes count, in units of a body.
    fn requests(&self, body: Option<u64>) -> f64 {
        match body {
            None => self.answers() as f64,
            Some(body) => self.bytes.load(Ordering::Relaxed) as f64 / body as f64,
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Of core time a request.
    pub microseconds: f64,
    /// How much of its core the proxy used. Far below 1 the load, not the proxy, was the limit.
    pub busy: f64,
    /// Each second.
    pub requests: f64,
}

/// A load: tasks that end only when something is wrong.
pub type Tasks = JoinSet<Result<()>>;

/// Measures a proxy while `tasks` load it. `body` is the size of large bodies.
pub async fn measure(
    proxy: &Proxy,
    tasks: &mut Tasks,
    tally: &Tally,
    body: Option<u64>,
    time: Duration,
) -> Result<Sample> {
    let busy_at_least = tasks.len() as u64;
    until_broken(tasks, warm_up(tally, busy_at_least)).await??;
    let processes = proxy.process.processes()?;
    let before = (cpu::nanoseconds(&processes)?, tally.requests(body));
    let started = Instant::now();
    until_broken(tasks, sleep(time)).await?;
    let after = (cpu::nanoseconds(&processes)?, tally.requests(body));
    let elapsed = started.elapsed();

    let requests = after.1 - before.1;
    if requests < 1.0 {
        return Err("no request ended while it was measured".into());
    }
    let nanoseconds = (after.0 - before.0) as f64;
    Ok(Sample {
        microseconds: nanoseconds / 1e3 / requests,
        busy: nanoseconds / elapsed.as_nanos() as f64,
        requests: requests / elapsed.as_secs_f64(),
    })
}

async fn warm_up(tally: &Tally, answers: u64) -> Result<()> {
    sleep(WARM_UP).await;
    let has_begun = async {
        while tally.answers() < answers {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, has_begun)
        .await
        .map_err(|_| "not even one answer for each connection".into())
}

/// Does `work`, unless a task of the load ends first: none should.
pub async fn until_broken<T>(tasks: &mut Tasks, work: impl Future<Output = T>) -> Result<T> {
    tokio::select! {
        done = work => Ok(done),
        Some(ended) = tasks.join_next() => match ended? {
            Err(error) => Err(error),
            Ok(()) => Err("a part of the load stopped".into()),
        },
    }
}
