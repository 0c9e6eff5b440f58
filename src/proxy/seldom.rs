//! What is worth a line in the log, but not one for every request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::gate::session::Timestamp;

/// How long it is quiet after a line.
const QUIET: Duration = Duration::from_secs(60);

/// Says when something may be said again.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    next: AtomicU64,
}

impl Seldom {
    /// Whether it may be said `now`; then it may not be for a minute, by any thread.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        let quiet = u64::try_from(QUIET.as_millis()).unwrap_or(u64::MAX);
        let then = now.0.saturating_add(quiet);
        let (said, unordered) = (next <= now.0, Ordering::Relaxed);
        said && self
            .next
            .compare_exchange(next, then, unordered, unordered)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_a_minute() {
        let seldom = Seldom::default();
        let seconds = [100, 100, 159, 160, 161, 300];
        let said = seconds.map(|second| seldom.is_due(Timestamp(second * 1000)));
        assert_eq!(said, [true, false, false, true, false, true]);
    }
}
