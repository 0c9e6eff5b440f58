//! The counts of one thread.
//!
//! What is counted once a request is counted here, where no other thread writes, and added to the
//! metrics when somebody reads them. A look-up by labels for each of ten metrics would cost more
//! than the decision, and one counter for all threads a cache line that wanders between the cores.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use foldhash::HashMap;
use parking_lot::Mutex;
use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{IntCounterVec, IntGauge};

use super::metrics::{Metrics, code_class};

/// What one thread has counted since it was last added up.
pub struct Tally {
    metrics: Arc<Metrics>,
    /// Its own thread takes this lock, and nobody else but who adds it up.
    counts: Mutex<Counts>,
}

/// Kept by label. All labels come from the configuration, so the number of entries is bounded.
#[derive(Default)]
struct Counts {
    routes: ByLabel<RouteCounts>,
    upstreams: ByLabel<UpstreamCounts>,
    in_flight: Vec<InFlightCount>,
    look_ups: Series<&'static str, LocalIntCounter>,
}

/// A request that was answered, or given up.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'r> {
    /// The listener it came to.
    pub listener: &'r Arc<str>,
    /// The label of the route that decided.
    pub route: &'r str,
    /// The label of its method.
    pub method: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// From the head to the end of the answer.
    pub duration: Duration,
    /// How the identity was proved.
    pub identity: &'static str,
    /// What was decided.
    pub decision: &'static str,
    /// What looking up its session came to, where it had one to look up.
    pub looked_up: Option<&'static str>,
    /// Bytes of its body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
}

/// An exchange with a backend.
#[derive(Clone, Copy, Debug)]
pub struct Exchanged<'r> {
    /// The backend.
    pub upstream: &'r str,
    /// Why it failed, where it did.
    pub error: Option<&'static str>,
    /// When its answer began, where it did.
    pub first_byte: Option<Duration>,
    /// Whether an idle connection was used.
    pub reused: bool,
}

/// The requests being served of one listener on one thread.
struct InFlightCount {
    listener: Arc<str>,
    count: Arc<AtomicI64>,
    /// How many of them the gauge of all threads holds.
    reported: i64,
    gauge: IntGauge,
}

/// Counts one request in for as long as it lives.
#[derive(Debug)]
pub struct InFlightRequest<'c>(&'c AtomicI64);

impl<'c> InFlightRequest<'c> {
    /// Adds one until dropped.
    #[must_use]
    pub fn enter(count: &'c AtomicI64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlightRequest<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tally {
    /// An empty one, to be added to `metrics`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            counts: Mutex::default(),
        }
    }

    /// The number of requests of `listener` that this thread is serving.
    #[must_use]
    pub fn in_flight(&self, listener: &Arc<str>) -> Arc<AtomicI64> {
        let in_flight = &mut self.counts.lock().in_flight;
        if let Some(known) = in_flight.iter().find(|known| known.listener == *listener) {
            return Arc::clone(&known.count);
        }
        let gauge = &self.metrics.http_requests_in_flight;
        let count = Arc::<AtomicI64>::default();
        in_flight.push(InFlightCount {
            listener: Arc::clone(listener),
            count: Arc::clone(&count),
            reported: 0,
            gauge: gauge.with_label_values(&[listener.as_ref()]),
        });
        count
    }

    /// Counts a request, and its exchange with a backend where there was one.
    pub fn count(&self, answered: &Answered<'_>, exchanged: Option<&Exchanged<'_>>) {
        let counts = &mut *self.counts.lock();
        let metrics = &self.metrics;
        let route = answered.route;
        let counted = counts.routes.at(route, || RouteCounts::new(metrics, route));
        counted.count(metrics, answered);
        if let Some(result) = answered.looked_up {
            let labels = ["look_up", result];
            let look_ups = &mut counts.look_ups;
            look_ups.count(result, &metrics.session_store_requests, &labels);
        }
        if let Some(exchanged) = exchanged {
            let upstream = exchanged.upstream;
            let counted = counts
                .upstreams
                .at(upstream, || UpstreamCounts::new(metrics, upstream));
            counted.count(metrics, exchanged);
        }
    }

    /// Adds what was counted to the metrics of all threads.
    pub fn add_up(&self) {
        let counts = &mut *self.counts.lock();
        counts.routes.values.iter().for_each(RouteCounts::add_up);
        counts
            .upstreams
            .values
            .iter()
            .for_each(UpstreamCounts::add_up);
        for counter in counts.look_ups.counters() {
            counter.flush();
        }
        for listener in &mut counts.in_flight {
            let count = listener.count.load(Ordering::Relaxed);
            listener.gauge.add(count - listener.reported);
            listener.reported = count;
        }
    }
}

/// Values by label. Only the first use of a label copies it.
struct ByLabel<V> {
    places: HashMap<Box<str>, usize>,
    values: Vec<V>,
}

impl<V> Default for ByLabel<V> {
    fn default() -> Self {
        Self {
            places: HashMap::default(),
            values: Vec::new(),
        }
    }
}

impl<V> ByLabel<V> {
    fn at(&mut self, label: &str, make: impl FnOnce() -> V) -> &mut V {
        let known = self.places.get(label).copied();
        let place = known.unwrap_or_else(|| {
            self.values.push(make());
            self.places.insert(label.into(), self.values.len() - 1);
            self.values.len() - 1
        });
        &mut self.values[place]
    }
}

/// The counters of one label set each, found by comparing: there are few of them.
struct Series<K, C>(Vec<(K, C)>);

impl<K, C> Default for Series<K, C> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq, C> Series<K, C> {
    fn at(&mut self, key: K, make: impl FnOnce() -> C) -> &C {
        let known = self.0.iter().position(|(known, _)| *known == key);
        let at = known.unwrap_or_else(|| {
            self.0.push((key, make()));
            self.0.len() - 1
        });
        &self.0[at].1
    }

    fn counters(&self) -> impl Iterator<Item = &C> {
        self.0.iter().map(|(_, counter)| counter)
    }
}

impl<K: PartialEq> Series<K, LocalIntCounter> {
    /// Counts one more under `key`, whose counter of all threads has these labels.
    fn count(&mut self, key: K, metric: &IntCounterVec, labels: &[&str]) {
        self.at(key, || metric.with_label_values(labels).local())
            .inc();
    }
}

struct RouteCounts {
    requests: Series<(Arc<str>, &'static str, u16), LocalIntCounter>,
    durations: Series<&'static str, LocalHistogram>,
    decisions: Series<(&'static str, &'static str), LocalIntCounter>,
    received: LocalIntCounter,
    sent: LocalIntCounter,
}

impl RouteCounts {
    fn new(metrics: &Metrics, route: &str) -> Self {
        let received = &metrics.http_request_body_bytes;
        let sent = &metrics.http_response_body_bytes;
        Self {
            requests: Series::default(),
            durations: Series::default(),
            decisions: Series::default(),
            received: received.with_label_values(&[route]).local(),
            sent: sent.with_label_values(&[route]).local(),
        }
    }

    fn count(&mut self, metrics: &Metrics, answered: &Answered<'_>) {
        let &Answered {
            listener,
            route,
            method,
            status,
            identity,
            decision,
            ..
        } = answered;
        self.requests
            .at((Arc::clone(listener), method, status), || {
                let labels = [listener, route, method, &status.to_string()];
                metrics.http_requests.with_label_values(&labels).local()
            })
            .inc();
        let class = code_class(status);
        self.durations
            .at(class, || {
                let durations = &metrics.http_request_duration;
                durations.with_label_values(&[route, class]).local()
            })
            .observe(answered.duration.as_secs_f64());
        let labels = [route, identity, decision];
        self.decisions
            .count((identity, decision), &metrics.auth_decisions, &labels);
        self.received.inc_by(answered.received);
        self.sent.inc_by(answered.sent);
    }

    fn add_up(&self) {
        self.requests.counters().for_each(LocalIntCounter::flush);
        self.durations.counters().for_each(LocalHistogram::flush);
        self.decisions.counters().for_each(LocalIntCounter::flush);
        self.received.flush();
        self.sent.flush();
    }
}

struct UpstreamCounts {
    requests: Series<&'static str, LocalIntCounter>,
    errors: Series<&'static str, LocalIntCounter>,
    connections: Series<&'static str, LocalIntCounter>,
    duration: LocalHistogram,
}

impl UpstreamCounts {
    fn new(metrics: &Metrics, upstream: &str) -> Self {
        let duration = &metrics.upstream_request_duration;
        Self {
            requests: Series::default(),
            errors: Series::default(),
            connections: Series::default(),
            duration: duration.with_label_values(&[upstream]).local(),
        }
    }

    fn count(&mut self, metrics: &Metrics, exchanged: &Exchanged<'_>) {
        let upstream = exchanged.upstream;
        let result = match exchanged.error {
            Some(_) => "error",
            None => "success",
        };
        let requests = &metrics.upstream_requests;
        self.requests.count(result, requests, &[upstream, result]);
        if let Some(reason) = exchanged.error {
            let errors = &metrics.upstream_errors;
            self.errors.count(reason, errors, &[upstream, reason]);
        }
        if let Some(first_byte) = exchanged.first_byte {
            self.duration.observe(first_byte.as_secs_f64());
            let reused = if exchanged.reused { "true" } else { "false" };
            let connections = &metrics.upstream_connections;
            let labels = [upstream, reused];
            self.connections.count(reused, connections, &labels);
        }
    }

    fn add_up(&self) {
        self.requests.counters().for_each(LocalIntCounter::flush);
        self.errors.counters().for_each(LocalIntCounter::flush);
        self.connections.counters().for_each(LocalIntCounter::flush);
        self.duration.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_threads_count_adds_up_and_is_added_once() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let listener = Arc::<str>::from("l");
        let tallies = [0, 1].map(|_| Tally::new(Arc::clone(&metrics)));
        for (tally, status) in tallies.iter().zip([200, 502]) {
            let answered = Answered {
                looked_up: None,
                listener: &listener,
                route: "/a",
                method: "GET",
                status,
                duration: Duration::from_millis(3),
                identity: "session",
                decision: "allow",
                received: 1,
                sent: 10,
            };
            let exchanged = Exchanged {
                upstream: "app",
                error: (status == 502).then_some("refused"),
                first_byte: Some(Duration::from_millis(2)),
                reused: true,
            };
            tally.count(&answered, Some(&exchanged));
            tally.count(&answered, None);
        }
        let count = tallies[1].in_flight(&listener);
        let serving = InFlightRequest::enter(&count);
        let text = || {
            tallies.iter().for_each(Tally::add_up);
            metrics.encode().unwrap()
        };
        let once = text();
        for line in [
            r#"http_requests_total{code="200",listener="l",method="GET",route="/a"} 2"#,
            r#"http_requests_total{code="502",listener="l",method="GET",route="/a"} 2"#,
            r#"auth_decisions_total{decision="allow",identity="session",route="/a"} 4"#,
            r#"http_response_body_bytes_total{route="/a"} 40"#,
            r#"http_request_duration_seconds_count{code_class="2xx",route="/a"} 2"#,
            r#"upstream_requests_total{result="error",upstream="app"} 1"#,
            r#"upstream_errors_total{reason="refused",upstream="app"} 1"#,
            r#"http_requests_in_flight{listener="l"} 1"#,
        ] {
            assert!(
                once.contains(&format!("portcullis_{line}\n")),
                "{line}\n{once}"
            );
        }
        assert_eq!(text(), once);
        drop(serving);
        assert!(text().contains("portcullis_http_requests_in_flight{listener=\"l\"} 0\n"));
    }
}
