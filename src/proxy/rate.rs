//! How often one client may ask: token buckets, counted by address and by user.
//!
//! Which rates there are is configured; here is what they are counted with, and what is said to
//! whoever is too fast. Made only where a rate is configured: without one, nothing is looked at.
//!
//! A bucket is one moment: the one at which it will be full again (GCRA, ITU-T I.371). There is a
//! fixed number of them, in rows; a client has one in each row, found by a keyed hash, and the one
//! that allows most counts. So memory does not grow with the number of clients, nobody makes us
//! forget anybody by coming from many addresses, and threads share no lock. What it costs: a client
//! that shares a bucket with a busier one in every row is taken for that one, which takes tens of
//! thousands of busy clients at one time.

use std::hash::{BuildHasher as _, Hash};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::spec::{RateLimit, RatePolicy, Rates};
use crate::gate::route::RateId;
use crate::identity::UserName;
use crate::identity::address::ClientSite;

/// Rows of buckets.
const ROWS: usize = 4;

/// Buckets in a row, a power of two: 512 KiB for all rows of a limit.
const BUCKETS: usize = 1 << 14;

/// All limits of this process.
#[derive(Debug, Default)]
pub struct RateLimits {
    all: Option<Limiters>,
    routes: Vec<Limiters>,
}

/// What a request counts as.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counted<'c> {
    /// From this address.
    Address(IpAddr),
    /// Of this user.
    User(&'c UserName),
}

/// Somebody asks too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooOften {
    /// The time until the next request would be let through.
    wait: Duration,
    /// The limit counts for each of these: `address` or `user`, as the configuration has it.
    pub(super) per: &'static str,
    /// The route whose own limit it is.
    pub(super) route: Option<RateId>,
}

impl TooOften {
    /// The same in whole seconds, after which it is certainly over.
    pub(super) fn seconds(self) -> u64 {
        self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0)
    }
}

impl RateLimits {
    /// As they are configured; nothing was counted so far.
    #[must_use]
    pub fn new(rates: &Rates) -> Self {
        Self {
            all: rates.all.map(Limiters::new),
            routes: rates.routes.iter().copied().map(Limiters::new).collect(),
        }
    }

    /// Counts a request, whatever it is for.
    ///
    /// # Errors
    /// [`TooOften`], and then it is not counted.
    pub(super) fn count(&self, what: Counted<'_>) -> Result<(), TooOften> {
        self.all.as_ref().map_or(Ok(()), |all| all.count(what))
    }

    /// Counts a request for a route with a limit of its own.
    ///
    /// # Errors
    /// [`TooOften`], and then it is not counted.
    pub(super) fn count_for(&self, route: RateId, what: Counted<'_>) -> Result<(), TooOften> {
        let limiters = self.routes.get(route.0);
        let counted = limiters.map_or(Ok(()), |limiters| limiters.count(what));
        counted.map_err(|too_often| TooOften {
            route: Some(route),
            ..too_often
        })
    }
}

#[derive(Debug)]
struct Limiters {
    address: Option<Limiter>,
    user: Option<Limiter>,
}

impl Limiters {
    fn new(policy: RatePolicy) -> Self {
        Self {
            address: policy.address.map(Limiter::new),
            user: policy.user.map(Limiter::new),
        }
    }

    fn count(&self, what: Counted<'_>) -> Result<(), TooOften> {
        let (per, counted) = match (what, &self.address, &self.user) {
            (Counted::Address(address), Some(limiter), _) => {
                ("address", limiter.count(ClientSite::of(address)))
            }
            (Counted::User(name), _, Some(limiter)) => ("user", limiter.count(name)),
            (Counted::Address(_), None, _) | (Counted::User(_), _, None) => return Ok(()),
        };
        counted.map_err(|wait| TooOften {
            wait,
            per,
            route: None,
        })
    }
}

/// One limit, and the buckets of all clients.
#[derive(Debug)]
struct Limiter {
    /// Nanoseconds for one token.
    interval: u64,
    /// Nanoseconds that a bucket may be ahead of time and still let one more through.
    tolerance: u64,
    begun: Instant,
    hasher: RandomState,
    /// When each bucket is full again, in nanoseconds since `begun`.
    full_at: Box<[AtomicU64]>,
}

impl Limiter {
    fn new(limit: RateLimit) -> Self {
        let interval = nanos(limit.interval).max(1);
        let tokens_left = u64::try_from(limit.burst.saturating_sub(1)).unwrap_or(u64::MAX);
        Self {
            interval,
            tolerance: interval.saturating_mul(tokens_left),
            begun: Instant::now(),
            hasher: RandomState::default(),
            full_at: (0..ROWS * BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Counts one more, or says how long it would have to wait.
    fn count(&self, client: impl Hash) -> Result<(), Duration> {
        self.count_at(client, nanos(self.begun.elapsed()))
    }

    fn count_at(&self, client: impl Hash, now: u64) -> Result<(), Duration> {
        let buckets = self.buckets_of(client);
        loop {
            // The one that was used least says most about this client.
            let moments = buckets.map(|bucket| (bucket.load(Ordering::Relaxed), bucket));
            let (full_at, least) = moments
                .into_iter()
                .min_by_key(|(moment, _)| *moment)
                .unwrap_or((0, buckets[0]));
            let ahead = full_at.saturating_sub(now);
            if ahead > self.tolerance {
                return Err(Duration::from_nanos(ahead - self.tolerance));
            }
            let next = full_at.max(now).saturating_add(self.interval);
            // Only once for each token, however many threads are at it.
            let taken =
                least.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed);
            if taken.is_ok() {
                for bucket in buckets {
                    bucket.fetch_max(next, Ordering::Relaxed);
                }
                return Ok(());
            }
        }
    }

    fn buckets_of(&self, client: impl Hash) -> [&AtomicU64; ROWS] {
        let hash = self.hasher.hash_one(client);
        std::array::from_fn(|row| {
            // Bits of its own for each row.
            let place = (hash >> (row * 16)) as usize % BUCKETS;
            &self.full_at[row * BUCKETS + place]
        })
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Ten a second, five at one moment.
    fn limiter() -> Limiter {
        Limiter::new(RateLimit {
            interval: Duration::from_millis(100),
            burst: 5,
        })
    }

    fn let_through(limiter: &Limiter, client: u32, now: u64, times: usize) -> usize {
        let counted = (0..times).map(|_| limiter.count_at(client, now));
        counted.filter(Result::is_ok).count()
    }

    #[test]
    fn a_burst_is_let_through_and_then_as_many_as_the_rate_has() {
        let limiter = limiter();
        assert_eq!(let_through(&limiter, 1, 0, 100), 5);
        for second in 1..10 {
            let now = second * SECOND;
            // Half a second of pause fills it again; no more than that.
            assert_eq!(let_through(&limiter, 1, now, 100), 5);
            assert_eq!(let_through(&limiter, 1, now + SECOND / 10, 100), 1);
        }
        let steady = (100..200).map(|tenth| let_through(&limiter, 1, tenth * SECOND / 10, 2));
        assert_eq!(steady.sum::<usize>(), 5 + 99);
    }

    #[test]
    fn who_is_too_fast_is_told_when_to_come_again_and_not_punished_for_asking() {
        let limiter = limiter();
        assert_eq!(let_through(&limiter, 1, 0, 5), 5);
        for _ in 0..1000 {
            let wait = limiter.count_at(1, 0).unwrap_err();
            assert_eq!(wait, Duration::from_millis(100));
        }
        assert_eq!(let_through(&limiter, 1, SECOND / 10, 10), 1);
        let slow = Limiter::new(RateLimit {
            interval: Duration::from_secs(12),
            burst: 1,
        });
        assert!(slow.count_at(1, 0).is_ok());
        let told = TooOften {
            wait: slow.count_at(1, SECOND / 2).unwrap_err(),
            per: "address",
            route: None,
        };
        assert_eq!(
            (told.wait, told.seconds()),
            (Duration::from_millis(11_500), 12)
        );
    }

    #[test]
    fn many_clients_at_once_are_told_apart() {
        let limiter = limiter();
        let all = (0..10_000).map(|client| let_through(&limiter, client, 0, 10));
        let all: usize = all.sum();
        // Five each; a few share all their buckets with others, by what the hasher was seeded with.
        assert!((45_000..=50_000).contains(&all), "{all}");
    }

    #[test]
    fn a_flood_from_many_addresses_resets_nobody_and_holds_nobody_up() {
        let limiter = limiter();
        assert_eq!(let_through(&limiter, 0, 0, 10), 5);
        for client in 1..100_000 {
            let_through(&limiter, client, 0, 1);
        }
        assert_eq!(let_through(&limiter, 0, 0, 10), 0, "it is not forgotten");
        let others = (1_000_000..1_001_000).map(|client| let_through(&limiter, client, SECOND, 1));
        assert_eq!(others.sum::<usize>(), 1000, "a second later nobody notices");
    }

    #[test]
    fn threads_together_let_no_more_through() {
        let limiter = limiter();
        let counted = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| let_through(&limiter, 1, 0, 1000)))
                .collect();
            threads
                .into_iter()
                .map(|it| it.join().unwrap())
                .sum::<usize>()
        });
        assert_eq!(counted, 5);
    }

    #[test]
    fn an_address_and_a_user_are_counted_apart() {
        let limit = RateLimit {
            interval: Duration::from_secs(3600),
            burst: 1,
        };
        let policy = |address, user| RatePolicy { address, user };
        let limits = RateLimits::new(&Rates {
            all: Some(policy(Some(limit), Some(limit))),
            routes: vec![policy(Some(limit), None)],
        });
        let address = Counted::Address("192.0.2.1".parse().unwrap());
        let name = UserName::parse("ada").unwrap();
        let user = Counted::User(&name);
        let route = RateId(0);
        assert!(limits.count(address).is_ok() && limits.count(address).is_err());
        assert!(limits.count(user).is_ok() && limits.count(user).is_err());
        assert!(limits.count_for(route, address).is_ok());
        assert!(limits.count_for(route, address).is_err());
        assert!(limits.count_for(route, user).is_ok() && limits.count_for(route, user).is_ok());
        let none = RateLimits::default();
        assert!((0..100).all(|_| none.count(address).is_ok()));
    }
}
