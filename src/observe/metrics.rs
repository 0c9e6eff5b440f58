//! Every metric, its name and its labels, in one place: they are an interface.
//!
//! Labels hold configured names only, never a user, path, address or id, so that their number is
//! bounded by the configuration.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// Seconds; from what a cached answer takes to what nobody waits for.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The metrics of one server. Handles are passed down, never global.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Connections accepted, by listener.
    pub connections: IntCounterVec,
    /// Connections closed before anything was said on them, by listener and reason.
    pub connections_refused: IntCounterVec,
    /// Connections open, by listener.
    pub connections_active: IntGaugeVec,
    /// The most connections open at one time, by listener.
    pub connections_limit: IntGaugeVec,
    /// Handshakes that ended well, by listener, version, `resumed`, `client_cert`.
    pub tls_handshakes: IntCounterVec,
    /// Handshakes that did not, by listener and reason.
    pub tls_handshake_errors: IntCounterVec,
    /// Time from the first byte to the end of the handshake, by listener.
    pub tls_handshake_duration: HistogramVec,
    /// Requests answered, by listener, route, method, code.
    pub http_requests: IntCounterVec,
    /// Time from the head to the end of the answer, by route and class of code.
    pub http_request_duration: HistogramVec,
    /// Requests being answered, by listener.
    pub http_requests_in_flight: IntGaugeVec,
    /// Requests refused before routing or for their size, by listener and reason.
    pub http_requests_rejected: IntCounterVec,
    /// HTTP/2 connections cut off for what their clients did, by listener and reason.
    pub http2_floods: IntCounterVec,
    /// Bytes of request bodies, by route.
    pub http_request_body_bytes: IntCounterVec,
    /// Bytes of response bodies, by route.
    pub http_response_body_bytes: IntCounterVec,
    /// Connections that speak WebSocket, by route.
    pub upgraded_connections_active: IntGaugeVec,
    /// Requests sent to backends, by upstream and result.
    pub upstream_requests: IntCounterVec,
    /// Failures of backends, by upstream and reason.
    pub upstream_errors: IntCounterVec,
    /// Time from the request to the head of the answer, by upstream.
    pub upstream_request_duration: HistogramVec,
    /// Connections used, by upstream and `reused`.
    pub upstream_connections: IntCounterVec,
    /// Addresses that can be used, by upstream.
    pub upstream_healthy: IntGaugeVec,
    /// Login attempts, by method and result.
    pub auth_logins: IntCounterVec,
    /// Time of a login attempt, by method.
    pub auth_login_duration: HistogramVec,
    /// Decisions, by route, identity and decision.
    pub auth_decisions: IntCounterVec,
    /// Sessions kept.
    pub auth_sessions_active: IntGauge,
    /// Names in their networks, and addresses, that have to wait before they may try to log in.
    pub auth_lockouts_active: IntGauge,
    /// Sessions begun, by method.
    pub auth_sessions_created: IntCounterVec,
    /// Sessions ended, by reason.
    pub auth_sessions_ended: IntCounterVec,
    /// What the session store was asked to do, by operation and result.
    pub session_store_requests: IntCounterVec,
    /// Whether sessions can be kept and looked up.
    pub session_store_up: IntGauge,
    /// Log lines dropped because the writer could not keep up.
    pub log_messages_dropped: IntCounter,
    /// Reloads, by result.
    pub config_reloads: IntCounterVec,
    /// Whether the last reload was applied.
    pub config_last_reload_successful: IntGauge,
    /// When one was, in seconds since 1970.
    pub config_last_reload_success: IntGauge,
    /// The last moment of certificates, in seconds since 1970, by purpose, subject, serial.
    pub tls_certificate_not_after: IntGaugeVec,
    /// When revocation lists run out, in seconds since 1970, by issuer.
    pub tls_revocation_list_next_update: IntGaugeVec,
}

impl Metrics {
    /// All metrics, registered, with the series that alerts watch already at 0.
    ///
    /// # Errors
    /// When a name or label is not one that Prometheus accepts: a defect that any test finds.
    pub fn new() -> prometheus::Result<Self> {
        let build = Build(Registry::new_custom(Some("portcullis".into()), None)?);
        let build_info = build.gauges(
            "build_info",
            "Always 1; the labels say which build runs.",
            &["version", "tls_library"],
        )?;
        build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION"), "BoringSSL"])
            .set(1);
        let metrics = Self {
            connections: build.counters(
                "connections_total",
                "Connections accepted.",
                &["listener"],
            )?,
            connections_refused: build.counters(
                "connections_refused_total",
                "Connections closed for where they came from.",
                &["listener", "reason"],
            )?,
            connections_active: build.gauges(
                "connections_active",
                "Connections open.",
                &["listener"],
            )?,
            connections_limit: build.gauges(
                "connections_limit",
                "The most connections open at one time.",
                &["listener"],
            )?,
            tls_handshakes: build.counters(
                "tls_handshakes_total",
                "TLS handshakes that ended well.",
                &["listener", "version", "resumed", "client_cert"],
            )?,
            tls_handshake_errors: build.counters(
                "tls_handshake_errors_total",
                "TLS handshakes that failed.",
                &["listener", "reason"],
            )?,
            tls_handshake_duration: build.histograms(
                "tls_handshake_duration_seconds",
                "Time of a TLS handshake.",
                &["listener"],
            )?,
            http_requests: build.counters(
                "http_requests_total",
                "Requests answered.",
                &["listener", "route", "method", "code"],
            )?,
            http_request_duration: build.histograms(
                "http_request_duration_seconds",
                "Time from the request head to the end of the answer.",
                &["route", "code_class"],
            )?,
            http_requests_in_flight: build.gauges(
                "http_requests_in_flight",
                "Requests being answered.",
                &["listener"],
            )?,
            http_requests_rejected: build.counters(
                "http_requests_rejected_total",
                "Requests refused for their form or size.",
                &["listener", "reason"],
            )?,
            http2_floods: build.counters(
                "http2_floods_total",
                "HTTP/2 connections cut off for what their clients did.",
                &["listener", "reason"],
            )?,
            http_request_body_bytes: build.counters(
                "http_request_body_bytes_total",
                "Bytes of request bodies.",
                &["route"],
            )?,
            http_response_body_bytes: build.counters(
                "http_response_body_bytes_total",
                "Bytes of response bodies.",
                &["route"],
            )?,
            upgraded_connections_active: build.gauges(
                "upgraded_connections_active",
                "WebSocket connections open.",
                &["route"],
            )?,
            upstream_requests: build.counters(
                "upstream_requests_total",
                "Requests sent to a backend.",
                &["upstream", "result"],
            )?,
            upstream_errors: build.counters(
                "upstream_errors_total",
                "Failures of a backend.",
                &["upstream", "reason"],
            )?,
            upstream_request_duration: build.histograms(
                "upstream_request_duration_seconds",
                "Time until a backend's answer begins.",
                &["upstream"],
            )?,
            upstream_connections: build.counters(
                "upstream_connections_total",
                "Connections used for requests.",
                &["upstream", "reused"],
            )?,
            upstream_healthy: build.gauges(
                "upstream_healthy",
                "Addresses of a backend that can be used.",
                &["upstream"],
            )?,
            auth_logins: build.counters(
                "auth_logins_total",
                "Login attempts.",
                &["method", "result"],
            )?,
            auth_login_duration: build.histograms(
                "auth_login_duration_seconds",
                "Time of a login attempt.",
                &["method"],
            )?,
            auth_decisions: build.counters(
                "auth_decisions_total",
                "Decisions about requests.",
                &["route", "identity", "decision"],
            )?,
            auth_sessions_active: build.gauge("auth_sessions_active", "Sessions kept.")?,
            auth_lockouts_active: build.gauge(
                "auth_lockouts_active",
                "Names and addresses that have to wait before the next login.",
            )?,
            auth_sessions_created: build.counters(
                "auth_sessions_created_total",
                "Sessions begun.",
                &["method"],
            )?,
            auth_sessions_ended: build.counters(
                "auth_sessions_ended_total",
                "Sessions ended.",
                &["reason"],
            )?,
            session_store_requests: build.counters(
                "session_store_requests_total",
                "What the session store was asked to do.",
                &["op", "result"],
            )?,
            session_store_up: build.gauge(
                "session_store_up",
                "Whether sessions can be kept and looked up.",
            )?,
            log_messages_dropped: build.counter(
                "log_messages_dropped_total",
                "Access log lines dropped because the log could not be written fast enough.",
            )?,
            config_reloads: build.counters(
                "config_reloads_total",
                "Reloads of certificates and configuration.",
                &["result"],
            )?,
            config_last_reload_successful: build.gauge(
                "config_last_reload_successful",
                "Whether the last reload was applied.",
            )?,
            config_last_reload_success: build.gauge(
                "config_last_reload_success_timestamp_seconds",
                "When certificates and configuration were last loaded.",
            )?,
            tls_certificate_not_after: build.gauges(
                "tls_certificate_not_after_timestamp_seconds",
                "The last moment of a certificate.",
                &["purpose", "subject", "serial"],
            )?,
            tls_revocation_list_next_update: build.gauges(
                "tls_revocation_list_next_update_timestamp_seconds",
                "When a revocation list runs out, after which its issuer's clients are refused.",
                &["issuer"],
            )?,
            registry: build.0,
        };
        metrics.show_watched_series();
        Ok(metrics)
    }

    /// An alert on a rate cannot fire on a series that appears with its first event.
    fn show_watched_series(&self) {
        for method in ["form", "json", "basic"] {
            for result in ["success", "bad_credentials", "locked", "throttled", "error"] {
                self.auth_logins.with_label_values(&[method, result]);
            }
        }
        for result in ["success", "unavailable"] {
            self.session_store_requests
                .with_label_values(&["look_up", result]);
        }
        for result in ["success", "failure"] {
            self.config_reloads.with_label_values(&[result]);
        }
        for reason in [
            "logout",
            "replaced",
            "expired",
            "limit",
            "administrator",
            "user_gone",
            "password_changed",
            "rights_changed",
            "store_failed",
        ] {
            self.auth_sessions_ended.with_label_values(&[reason]);
        }
    }

    /// Shows a listener and its limit, with the series that alerts watch already at 0.
    pub fn show_listener(&self, name: &str, limit: i64) {
        self.connections.with_label_values(&[name]);
        self.connections_active.with_label_values(&[name]);
        self.connections_limit.with_label_values(&[name]).set(limit);
        for reason in [
            "bad_request",
            "smuggling",
            "header_too_large",
            "body_too_large",
            "head_timeout",
            "no_route",
            "rate_limited",
            "client_share",
        ] {
            self.http_requests_rejected
                .with_label_values(&[name, reason]);
        }
        for reason in [
            "address_not_allowed",
            "too_many_of_address",
            "untrusted_proxy",
            "proxy_header",
            "proxy_header_timeout",
        ] {
            self.connections_refused.with_label_values(&[name, reason]);
        }
    }

    /// The same for what only a listener with TLS has.
    pub fn show_tls_listener(&self, name: &str) {
        for reason in ["frames", "resets", "bad_heads"] {
            self.http2_floods.with_label_values(&[name, reason]);
        }
        for reason in [
            "timeout",
            "eof",
            "no_shared_cipher",
            "protocol_version",
            "plain_http",
            "not_tls",
            "certificate_refused",
            "other",
        ] {
            self.tls_handshake_errors.with_label_values(&[name, reason]);
        }
    }

    /// The text that `/metrics` answers.
    ///
    /// # Errors
    /// When a metric cannot be written as text.
    pub fn encode(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Counts one in a gauge for as long as it lives.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl InFlight {
    /// Adds one until dropped.
    #[must_use]
    pub fn enter(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The method as a label: the eight of RFC 9110 and 5789 that backends know, or `_OTHER`, since a
/// client may invent any.
#[must_use]
pub fn method_label(method: &str) -> &'static str {
    const KNOWN: [&str; 8] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("_OTHER")
}

/// The class of a status code as a label.
#[must_use]
pub const fn code_class(code: u16) -> &'static str {
    match code / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

/// Observes a duration in seconds.
pub fn observe(histogram: &Histogram, duration: Duration) {
    histogram.observe(duration.as_secs_f64());
}

struct Build(Registry);

impl Build {
    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        let metric = IntCounter::new(name, help)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        let metric = IntGauge::new(name, help)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        let metric = HistogramVec::new(options, labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_that_alerts_watch_exist_from_the_start() {
        let text = Metrics::new().unwrap().encode().unwrap();
        let failed = r#"portcullis_auth_logins_total{method="form",result="bad_credentials"} 0"#;
        assert!(text.contains(failed), "{text}");
        assert!(text.contains("portcullis_build_info{"), "{text}");
    }

    #[test]
    fn an_invented_method_is_no_label_of_its_own() {
        assert_eq!(method_label("GET"), "GET");
        assert_eq!(method_label("X9F"), "_OTHER");
    }
}
