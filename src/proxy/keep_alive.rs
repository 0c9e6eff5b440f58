//! Whether the other end of a connection is still there that may be silent for an hour.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// After so much silence the kernel asks, and goes on asking so often and so many times: whoever
/// lost power or their network is noticed within two minutes, and routers that forget idle
/// connections (some after five minutes) remember this one.
const IDLE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_secs(15);
const RETRIES: u32 = 4;

/// Has the kernel ask. A kernel that refuses leaves it to the deadlines.
pub fn keep_alive(tcp: &TcpStream) {
    let settings = TcpKeepalive::new()
        .with_time(IDLE)
        .with_interval(INTERVAL)
        .with_retries(RETRIES);
    drop(SockRef::from(tcp).set_tcp_keepalive(&settings));
}
