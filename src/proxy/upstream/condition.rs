//! Whether an address can be used: what those found who look after it, and what became of the
//! requests that it got. Shared by all threads, and read with each choice.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::proxy::spec::balance::EjectSpec;

/// The condition of one address.
#[derive(Debug)]
pub struct Condition {
    /// As health checks found it. Healthy until one has found something else, as HAProxy and nginx
    /// have it: a gate that starts must not refuse what its backends would answer.
    is_healthy: AtomicBool,
    /// How many requests have failed in a row.
    failures: AtomicU32,
    /// Until when it is left out for that, in milliseconds of the backend's clock; 0 where it is not.
    out_until: AtomicU64,
}

impl Default for Condition {
    fn default() -> Self {
        Self {
            is_healthy: AtomicBool::new(true),
            failures: AtomicU32::new(0),
            out_until: AtomicU64::new(0),
        }
    }
}

/// Whether an address can be used at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usable {
    Yes,
    /// It was left out, and a request may try whether it is back.
    OneMayTry,
    No,
}

impl Condition {
    /// Whether it can be used at `now`.
    pub(super) fn usable(&self, now: u64) -> Usable {
        if !self.is_healthy() {
            return Usable::No;
        }
        match self.out_until.load(Ordering::Relaxed) {
            0 => Usable::Yes,
            until if until <= now => Usable::OneMayTry,
            _ => Usable::No,
        }
    }

    /// A request goes to try it: no other one before its time has passed once more, unless this one
    /// is answered.
    pub(super) fn try_out(&self, now: u64, eject: &EjectSpec) {
        self.leave_out(now, eject);
    }

    /// A request was answered there.
    pub(super) fn answered(&self) {
        // Looked at first: all threads read these, and hardly ever is there something to write.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.is_left_out() {
            self.out_until.store(0, Ordering::Relaxed);
        }
    }

    /// A request failed there. Not left out for it where too many others are.
    pub(super) fn failed(&self, now: u64, eject: Option<&EjectSpec>) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        if let Some(eject) = eject
            && (failures.saturating_add(1) >= eject.failures || self.is_left_out())
        {
            self.leave_out(now, eject);
        }
    }

    fn leave_out(&self, now: u64, eject: &EjectSpec) {
        let time = u64::try_from(eject.time.as_millis()).unwrap_or(u64::MAX);
        let until = now.saturating_add(time).max(1);
        self.out_until.store(until, Ordering::Relaxed);
    }

    /// Whether it has been left out for its failures, and has not answered since.
    #[must_use]
    pub fn is_left_out(&self) -> bool {
        self.out_until.load(Ordering::Relaxed) != 0
    }

    /// Whether health checks find it well.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.is_healthy.load(Ordering::Relaxed)
    }

    /// What health checks found.
    pub fn set_healthy(&self, is_healthy: bool) {
        self.is_healthy.store(is_healthy, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EJECT: EjectSpec = EjectSpec {
        failures: 3,
        time: std::time::Duration::from_millis(100),
        max_percent: 100,
        statuses: Vec::new(),
    };

    #[test]
    fn only_failures_in_a_row_leave_it_out() {
        let condition = Condition::default();
        for _ in 0..10 {
            condition.failed(1, Some(&EJECT));
            condition.failed(1, Some(&EJECT));
            condition.answered();
        }
        assert_eq!(condition.usable(1), Usable::Yes);
        for _ in 0..3 {
            assert_eq!(condition.usable(1), Usable::Yes);
            condition.failed(1, Some(&EJECT));
        }
        assert_eq!(condition.usable(100), Usable::No);
    }

    #[test]
    fn when_its_time_is_over_one_request_tries_it() {
        let condition = Condition::default();
        (0..3).for_each(|_| condition.failed(0, Some(&EJECT)));
        assert_eq!(condition.usable(99), Usable::No);
        assert_eq!(condition.usable(100), Usable::OneMayTry);
        condition.try_out(100, &EJECT);
        assert_eq!(condition.usable(101), Usable::No);
        // One more failure is enough now.
        condition.failed(150, Some(&EJECT));
        assert_eq!(condition.usable(249), Usable::No);
        assert_eq!(condition.usable(250), Usable::OneMayTry);
        condition.answered();
        assert_eq!(condition.usable(0), Usable::Yes);
        condition.failed(0, Some(&EJECT));
        assert_eq!(condition.usable(0), Usable::Yes);
    }

    #[test]
    fn what_is_not_well_is_not_tried_either() {
        let condition = Condition::default();
        (0..3).for_each(|_| condition.failed(0, Some(&EJECT)));
        condition.set_healthy(false);
        assert_eq!(condition.usable(1000), Usable::No);
        condition.set_healthy(true);
        assert_eq!(condition.usable(1000), Usable::OneMayTry);
    }
}
