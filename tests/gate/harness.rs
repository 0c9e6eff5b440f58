//! Starting gates, backends and clients.

pub mod apache;
pub mod backend;
pub mod browser;
pub mod client;
pub mod frames;
pub mod gate;
pub mod grpc;
pub mod haproxy;
pub mod http2;
pub mod metrics;
pub mod nginx;
pub mod pki;
pub mod process;
pub mod served;
pub mod websocket;

use std::time::{Duration, Instant};

/// How long anything that must happen may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives something.
#[track_caller]
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that was free a moment ago, for programs that cannot say which one they got.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
