//! Looks after the addresses of backends: asks those that are to be asked whether they are well, and
//! says in the log which ones get no requests. On the thread that housekeeps, never on one that
//! forwards.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::observe::log::{Level, Line, Logger};
use crate::proxy::spec::balance::HealthSpec;
use crate::proxy::upstream::endpoint::{Endpoint, Upstream};
use crate::proxy::upstream::probe::{Unwell, probe};

/// Within which time all addresses are asked first.
const AT_START: Duration = Duration::from_secs(1);

/// How often it is looked which addresses have been left out for their failures.
const LOOK: Duration = Duration::from_secs(1);

/// Looks after all backends from now on.
pub(super) fn follow(runtime: &Runtime, upstreams: &[Arc<Upstream>], log: &Logger) {
    for upstream in upstreams {
        if let Some(health) = &upstream.spec.health {
            let (upstream, health, log) = (Arc::clone(upstream), health.clone(), log.clone());
            runtime.spawn(check_all(upstream, health, log));
        }
        if upstream.spec.eject.is_some() {
            runtime.spawn(say_left_out(Arc::clone(upstream), log.clone()));
        }
    }
}

// === Health checks ===

/// Asks each address, those too that come later.
async fn check_all(upstream: Arc<Upstream>, health: HealthSpec, log: Logger) {
    let mut changes = upstream.changes();
    let mut checked: Vec<(Arc<Endpoint>, AbortHandle)> = Vec::new();
    loop {
        changes.mark_unchanged();
        let endpoints = upstream.endpoints();
        checked.retain(|(endpoint, task)| {
            let is_there = endpoints.iter().any(|it| Arc::ptr_eq(it, endpoint));
            if !is_there {
                task.abort();
            }
            is_there
        });
        for endpoint in &*endpoints {
            if checked.iter().any(|(it, _)| Arc::ptr_eq(it, endpoint)) {
                continue;
            }
            let check = Check {
                upstream: Arc::clone(&upstream),
                endpoint: Arc::clone(endpoint),
                health: health.clone(),
                log: log.clone(),
            };
            let task = tokio::spawn(check.run());
            checked.push((Arc::clone(endpoint), task.abort_handle()));
        }
        // There is a sender as long as there is the upstream.
        drop(changes.changed().await);
    }
}

/// The checks of one address.
struct Check {
    upstream: Arc<Upstream>,
    endpoint: Arc<Endpoint>,
    health: HealthSpec,
    log: Logger,
}

impl Check {
    async fn run(self) {
        sleep(part_of(AT_START.min(self.health.interval))).await;
        // Nothing is known before the first answer, so that one counts alone.
        let mut needed = 1;
        let mut in_a_row = 0;
        loop {
            let found = probe(&self.upstream, &self.endpoint, &self.health).await;
            let was_healthy = self.endpoint.condition.is_healthy();
            in_a_row = match found.is_ok() == was_healthy {
                true => 0,
                false => in_a_row + 1,
            };
            if in_a_row >= needed {
                in_a_row = 0;
                self.endpoint.condition.set_healthy(found.is_ok());
                self.say(&found);
            }
            needed = match self.endpoint.condition.is_healthy() {
                true => self.health.unhealthy,
                false => self.health.healthy,
            };
            // A tenth more or less, so that replicas do not go in step.
            let interval = self.health.interval;
            sleep(interval - interval / 10 + part_of(interval / 5)).await;
        }
    }

    fn say(&self, found: &Result<(), Unwell>) {
        let line = match found {
            Ok(()) => self.line(Level::Info).text("result", "healthy"),
            Err(why) => {
                let line = self.line(Level::Warn).text("result", "unhealthy");
                line.text("message", &why.to_string())
            }
        };
        self.log.note(line);
    }

    fn line(&self, level: Level) -> Line {
        about(
            self.log.line(level, "upstream.health"),
            &self.upstream,
            &self.endpoint,
        )
    }
}

// === Failures ===

/// Says which addresses are left out for their failures, and which are not any more.
async fn say_left_out(upstream: Arc<Upstream>, log: Logger) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said: Vec<Arc<Endpoint>> = Vec::new();
    loop {
        ticks.tick().await;
        let endpoints = upstream.endpoints();
        said.retain(|endpoint| endpoints.iter().any(|it| Arc::ptr_eq(it, endpoint)));
        for endpoint in &*endpoints {
            let at = said.iter().position(|it| Arc::ptr_eq(it, endpoint));
            match (at, endpoint.condition.is_left_out()) {
                (None, true) => {
                    said.push(Arc::clone(endpoint));
                    let line = log.line(Level::Warn, "upstream.ejected");
                    log.note(about(line, &upstream, endpoint));
                }
                (Some(at), false) => {
                    said.swap_remove(at);
                    let line = log.line(Level::Info, "upstream.returned");
                    log.note(about(line, &upstream, endpoint));
                }
                (None, false) | (Some(_), true) => {}
            }
        }
    }
}

fn about(line: Line, upstream: &Upstream, endpoint: &Endpoint) -> Line {
    line.text("upstream.name", &upstream.spec.name)
        .text("upstream.address", &endpoint.address.to_string())
}

/// Some part of a time, another one each time.
fn part_of(time: Duration) -> Duration {
    let drawn = RandomState::new().build_hasher().finish() >> 32;
    time.mul_f64(drawn as f64 / f64::from(u32::MAX))
}
