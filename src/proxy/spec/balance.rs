//! How the requests of a backend are shared among its addresses, and when an address gets none.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Which address gets a request, of those that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Each in its turn.
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastConnections,
    /// Always the same one for the same value of this cookie.
    Cookie(String),
    /// Always the same one for the same value of this field.
    Header(String),
    /// Always the same one for the same address of a client.
    ClientAddress,
}

/// When an address is left out for what became of requests there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EjectSpec {
    /// So many that failed in a row.
    pub failures: u32,
    /// How long it gets none. Then one request tries it.
    pub time: Duration,
    /// How many of all addresses may be left out at one time, in hundredths. Where a request can make an
    /// address fail, a few could make those that are left get everything.
    pub max_percent: u32,
    /// Answers that count as failures too.
    pub statuses: Vec<u16>,
}

impl EjectSpec {
    /// How many of `all` addresses may be left out: one that has no others beside it never is, and one
    /// of several may always be. Where none is left, all are tried.
    #[must_use]
    pub fn most_of(&self, all: usize) -> usize {
        let percent = usize::try_from(self.max_percent).unwrap_or(100);
        match all {
            0 | 1 => 0,
            all => all.saturating_mul(percent).div_ceil(100),
        }
    }
}

impl Default for EjectSpec {
    /// 5 in a row, as Envoy has it: one may have been the request's own fault. 10 s, as nginx has
    /// it: nothing else finds out that an address is back. All of them, since all are tried then.
    fn default() -> Self {
        Self {
            failures: 5,
            time: Duration::from_secs(10),
            max_percent: 100,
            statuses: Vec::new(),
        }
    }
}

/// How addresses are looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSpec {
    /// What is asked of them.
    pub probe: Probe,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// After how many good answers in a row an address gets requests again.
    pub healthy: u32,
    /// After how many bad ones in a row it gets none.
    pub unhealthy: u32,
}

impl HealthSpec {
    /// Every 5 s, so that an address that hangs gets nothing after a quarter of a minute; 2 s for
    /// an answer; three bad ones in a row, since one may be bad luck, and two good ones.
    #[must_use]
    pub const fn new(probe: Probe) -> Self {
        Self {
            probe,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy: 2,
            unhealthy: 3,
        }
    }
}

/// What is asked of an address to see whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A connection, with the handshake where it speaks TLS.
    Connect,
    /// An answer to a GET.
    Get {
        /// Path and query.
        path: String,
        /// The Host field.
        host: String,
        /// The answers that are good.
        statuses: RangeInclusive<u16>,
    },
}
