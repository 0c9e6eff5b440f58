//! The keys about the program itself: `admin`, `threads`, `shutdown`, `log`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::config::Source;
use crate::config::document::At;
use crate::config::file::{AdminFile, LogFile, ShutdownFile};
use crate::config::scalar::Number;
use crate::config::settings::LogFormat;
use crate::listen::spec::ListenerSpec;

use super::{DAY, HOUR, address, choose, in_range, path, span_within};

/// Where the admin listener binds: an address, a socket, or both.
pub(super) fn lower_admin(
    written: Option<AdminFile>,
    listeners: &[ListenerSpec],
    source: &Source<'_>,
    at: &At<'_>,
) -> (Option<SocketAddr>, Option<PathBuf>) {
    let Some(AdminFile { address, socket }) = written else {
        return (None, None);
    };
    let at = at.key("admin");
    if socket.is_none() {
        let hint = "write host:port, as 127.0.0.1:9901, or a path as socket";
        at.required("address", address.as_ref(), hint);
    }
    let address = address.and_then(|it| lower_admin_address(&it, listeners, &at.key("address")));
    let socket = socket.and_then(|socket| path(&socket, source, &at.key("socket")));
    (address, socket)
}

fn lower_admin_address(
    address: &str,
    listeners: &[ListenerSpec],
    at: &At<'_>,
) -> Option<SocketAddr> {
    let address = address::lower(address, at)?;
    if !address.ip().is_loopback() {
        at.warn("the admin listener has no login, and others than this machine can reach it here");
    }
    if address.port() != 0 && listeners.iter().any(|listener| listener.address == address) {
        at.problem("a listener already uses this address");
    }
    Some(address)
}

/// How many threads accept and forward.
pub(super) fn lower_threads(written: Option<Number>, at: &At<'_>) -> usize {
    const MOST: usize = 256;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    in_range(written, cores.min(MOST), 1..=MOST, at)
}

/// How long connections are still accepted after the signal, and how long the rest may then take.
pub(super) fn lower_shutdown(written: ShutdownFile, at: &At<'_>) -> (Duration, Duration) {
    let ShutdownFile { delay, drain } = written;
    let default_drain = Duration::from_secs(30);
    (
        span_within(
            delay,
            Duration::ZERO,
            Duration::ZERO..=HOUR,
            &at.key("delay"),
        ),
        span_within(drain, default_drain, Duration::ZERO..=DAY, &at.key("drain")),
    )
}

/// How log lines are written.
pub(super) fn lower_log(written: LogFile, at: &At<'_>) -> LogFormat {
    let LogFile { format } = written;
    let formats = [
        ("auto", Some(LogFormat::Auto)),
        ("json", Some(LogFormat::Json)),
        ("text", Some(LogFormat::Text)),
    ];
    choose(
        format.as_deref(),
        LogFormat::default(),
        &formats,
        &at.key("format"),
    )
}
