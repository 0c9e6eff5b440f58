//! Failed logins: how long whoever guesses has to wait for the next try.
//!
//! Counted are wrong passwords for one name from one network, and all of an address together. Never
//! those for a name alone: then a stranger could lock out its owner. A name that nobody has counts
//! as any other, so that waiting says nothing about who exists. Kept in memory, bounded, and gone
//! with the process.

use std::hash::{BuildHasher as _, Hash};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::HashMap;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::gate::session::Timestamp;

/// When guessing has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockoutPolicy {
    /// Wrong passwords for a name from a network before a wait.
    pub per_user: u32,
    /// Wrong passwords from an address, for whichever names, before a wait.
    pub per_address: u32,
    /// The longest wait. The first is a second, and each further one twice as long.
    pub longest: Duration,
}

impl Default for LockoutPolicy {
    /// Five tries, as people need who have three passwords, and then at most a hundred a day for
    /// each name and network: the weakest passwords that are allowed hold for years against that.
    /// An address has more, because a whole office may be behind it.
    fn default() -> Self {
        Self {
            per_user: 5,
            per_address: 50,
            longest: Duration::from_secs(15 * 60),
        }
    }
}

/// How many names and addresses are remembered. Each takes less than 100 bytes.
const MOST: usize = 100_000;

/// Enough that threads rarely meet in one.
const SHARDS: usize = 16;

/// How long after the last failure all is forgotten, beyond the longest wait.
const MEMORY: Duration = Duration::from_secs(60 * 60);

/// The failed logins of this process.
#[derive(Debug)]
pub struct Attempts {
    policy: LockoutPolicy,
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<u64, Failures>>>,
    most_in_shard: usize,
    /// Until when somebody at all has to wait, in milliseconds, so that nobody looks further while
    /// nobody has to.
    latest: AtomicU64,
}

/// What is known of one name and network, or of one address.
#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    /// When the last one was.
    last: Timestamp,
    /// Until when nothing is tried.
    until: Timestamp,
}

/// An attempt under way. It counts as failed until it is known not to have: who tries a thousand
/// passwords at one moment gets no more tries for that.
#[must_use]
#[derive(Debug)]
pub struct Attempt {
    keys: [u64; 2],
}

/// For how long nothing is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locked {
    /// From now.
    pub wait: Duration,
}

impl Locked {
    /// In whole seconds, after which it is certainly over.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0)
    }
}

impl Attempts {
    /// Nothing failed so far.
    #[must_use]
    pub fn new(policy: LockoutPolicy) -> Self {
        Self::with_room(policy, MOST)
    }

    fn with_room(policy: LockoutPolicy, most: usize) -> Self {
        Self {
            policy,
            hasher: RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            most_in_shard: (most / SHARDS).max(1),
            latest: AtomicU64::new(0),
        }
    }

    /// Begins an attempt for the name that was typed, whether or not anybody has it.
    ///
    /// # Errors
    /// [`Locked`] where there were too many; nothing is counted then.
    pub fn begin(&self, name: &str, address: IpAddr, now: Timestamp) -> Result<Attempt, Locked> {
        let keys = self.keys(name, address);
        self.check_keys(keys, now)?;
        let free = [self.policy.per_user, self.policy.per_address];
        for (key, free) in keys.into_iter().zip(free) {
            self.count(key, free, now);
        }
        Ok(Attempt { keys })
    }

    /// Whether an attempt may be made at all. Where the answer is known already, it is given to
    /// nobody who has to wait for it: that would be one more try.
    ///
    /// # Errors
    /// [`Locked`] where there were too many; nothing is counted in any case.
    pub fn check(&self, name: &str, address: IpAddr, now: Timestamp) -> Result<(), Locked> {
        if self.latest.load(Ordering::Relaxed) <= now.0 {
            return Ok(());
        }
        self.check_keys(self.keys(name, address), now)
    }

    fn keys(&self, name: &str, address: IpAddr) -> [u64; 2] {
        let address = address.to_canonical();
        [
            self.hasher.hash_one(("name", name, network_of(address))),
            self.hasher.hash_one(("address", site_of(address))),
        ]
    }

    fn check_keys(&self, keys: [u64; 2], now: Timestamp) -> Result<(), Locked> {
        let until = keys.iter().filter_map(|key| self.locked_until(*key, now));
        match until.max() {
            Some(until) => Err(Locked {
                wait: until.since(now),
            }),
            None => Ok(()),
        }
    }

    /// It was the right password: all is forgotten for this name and network, and its part of what
    /// the address has to answer for. No more than that: whoever has one password must not get
    /// more tries for others by it.
    pub fn succeeded(&self, attempt: Attempt) {
        let [name, address] = attempt.keys;
        let forgotten = self.shard(name).lock().remove(&name);
        self.forgive(address, forgotten.map_or(1, |it| it.count));
    }

    /// Nobody looked at the password.
    pub fn not_tried(&self, attempt: Attempt) {
        for key in attempt.keys {
            self.forgive(key, 1);
        }
    }

    /// How many names and addresses have to wait at this time.
    #[must_use]
    pub fn locked(&self, now: Timestamp) -> usize {
        let in_shard = |shard: &Mutex<HashMap<u64, Failures>>| {
            let shard = shard.lock();
            shard.values().filter(|it| it.until > now).count()
        };
        self.shards.iter().map(in_shard).sum()
    }

    /// Forgets what is too old to matter.
    pub fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            shard.lock().retain(|_, it| !self.is_over(it, now));
        }
    }

    fn shard(&self, key: u64) -> &Mutex<HashMap<u64, Failures>> {
        // The lower bits choose the place in a shard.
        let at = usize::from((key >> 56) as u8) % SHARDS;
        &self.shards[at]
    }

    fn locked_until(&self, key: u64, now: Timestamp) -> Option<Timestamp> {
        let shard = self.shard(key).lock();
        shard.get(&key).map(|it| it.until).filter(|it| *it > now)
    }

    fn count(&self, key: u64, free: u32, now: Timestamp) {
        let mut shard = self.shard(key).lock();
        if shard.len() >= self.most_in_shard && !shard.contains_key(&key) {
            shard.retain(|_, it| !self.is_over(it, now));
        }
        if shard.len() >= self.most_in_shard && !shard.contains_key(&key) {
            // Whoever has failed least loses least by being forgotten; those who are waiting go on.
            let least = shard
                .iter()
                .min_by_key(|(_, it)| (it.until, it.count, it.last));
            if let Some(least) = least.map(|(key, _)| *key) {
                shard.remove(&least);
            }
        }
        let failures = shard.entry(key).or_insert(Failures {
            count: 0,
            last: now,
            until: Timestamp(0),
        });
        if self.is_over(failures, now) {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        failures.until = match self.wait(failures.count, free) {
            // Not this moment: a request that came in before it would have to wait for that.
            0 => Timestamp(0),
            wait => Timestamp(now.0.saturating_add(wait)),
        };
        self.latest.fetch_max(failures.until.0, Ordering::Relaxed);
    }

    /// Takes back so many failures, and the wait that the last of them made.
    fn forgive(&self, key: u64, count: u32) {
        let mut shard = self.shard(key).lock();
        if let Some(failures) = shard.get_mut(&key) {
            failures.count = failures.count.saturating_sub(count);
            failures.until = Timestamp(0);
            if failures.count == 0 {
                shard.remove(&key);
            }
        }
    }

    /// After so many failures, in milliseconds.
    fn wait(&self, count: u32, free: u32) -> u64 {
        let longest = u64::try_from(self.policy.longest.as_millis()).unwrap_or(u64::MAX);
        match count.checked_sub(free) {
            None => 0,
            Some(beyond) => longest.min(1000 << beyond.min(40)),
        }
    }

    fn is_over(&self, failures: &Failures, now: Timestamp) -> bool {
        failures.until <= now && now.since(failures.last) >= MEMORY.max(self.policy.longest)
    }
}

/// The network that somebody's devices are in. Who has one address of it often has all.
fn network_of(address: IpAddr) -> impl Hash {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address) >> 8),
        IpAddr::V6(address) => u128::from(address) >> 80,
    }
}

/// An address, or the addresses that one machine may choose from (RFC 4291 section 2.5.4).
fn site_of(address: IpAddr) -> impl Hash {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address) >> 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1000;
    const START: u64 = 1_000_000_000;

    fn attempts() -> Attempts {
        Attempts::new(LockoutPolicy::default())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A wrong password; how long the next has to wait, in seconds, where nothing was tried.
    fn fail(attempts: &Attempts, name: &str, from: &str, second: u64) -> Option<u64> {
        let now = Timestamp(START + second * SECOND);
        let begun = attempts.begin(name, address(from), now);
        begun.err().map(|locked| locked.wait.as_secs())
    }

    fn succeed(attempts: &Attempts, name: &str, from: &str, second: u64) -> bool {
        let now = Timestamp(START + second * SECOND);
        let begun = attempts.begin(name, address(from), now);
        begun.map(|attempt| attempts.succeeded(attempt)).is_ok()
    }

    #[test]
    fn each_failure_beyond_the_fifth_makes_the_next_wait_twice_as_long() {
        let attempts = attempts();
        for _ in 0..5 {
            assert_eq!(fail(&attempts, "ralph", "192.0.2.1", 0), None);
        }
        assert_eq!(fail(&attempts, "ralph", "192.0.2.1", 0), Some(1));
        let mut second = 0;
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            // A try that has to wait is none: it makes nothing longer.
            assert_eq!(fail(&attempts, "ralph", "192.0.2.1", second), Some(wait));
            second += wait;
            assert_eq!(fail(&attempts, "ralph", "192.0.2.1", second), None);
        }
    }

    #[test]
    fn whoever_has_to_wait_is_told_so_without_a_try() {
        let attempts = attempts();
        let check = |name: &str, from: &str, second: u64| {
            let now = Timestamp(START + second * SECOND);
            let checked = attempts.check(name, address(from), now);
            checked.err().map(|locked| locked.wait.as_secs())
        };
        for _ in 0..5 {
            assert_eq!(check("ralph", "192.0.2.1", 0), None);
            fail(&attempts, "ralph", "192.0.2.1", 0);
        }
        for _ in 0..5 {
            assert_eq!(check("ralph", "192.0.2.1", 0), Some(1));
        }
        assert_eq!(check("ralph", "198.51.100.1", 0), None);
        assert_eq!(check("ada", "192.0.2.1", 0), None);
        assert_eq!(check("ralph", "192.0.2.1", 1), None);
    }

    #[test]
    fn whoever_came_first_and_is_heard_last_does_not_wait_for_the_others() {
        let attempts = attempts();
        for second in [3, 2, 1, 0] {
            assert_eq!(fail(&attempts, "ralph", "192.0.2.1", second), None);
        }
        assert_eq!(fail(&attempts, "ralph", "192.0.2.1", 2), None);
        assert_eq!(fail(&attempts, "ralph", "192.0.2.1", 2), Some(1));
    }

    #[test]
    fn nobody_is_locked_out_by_somebody_elsewhere() {
        let attempts = attempts();
        for _ in 0..20 {
            fail(&attempts, "ralph", "198.51.100.7", 0);
        }
        assert!(
            fail(&attempts, "ralph", "198.51.100.9", 0).is_some(),
            "the same network"
        );
        assert!(succeed(&attempts, "ralph", "192.0.2.1", 0), "another");
        assert!(succeed(&attempts, "ada", "198.51.100.9", 0), "another name");
        assert!(fail(&attempts, "ralph", "198.51.100.7", 0).is_some());
        // As IPv6 writes it, an address is the same.
        assert!(fail(&attempts, "ralph", "::ffff:198.51.100.7", 0).is_some());
    }

    #[test]
    fn an_address_that_tries_many_names_waits_for_all_of_them() {
        let attempts = attempts();
        for at in 0..50 {
            assert_eq!(
                fail(&attempts, &format!("user-{at}"), "2001:db8::1", 0),
                None
            );
        }
        for from in ["2001:db8::1", "2001:db8::ffff:1"] {
            assert_eq!(fail(&attempts, "ralph", from, 0), Some(1));
        }
        assert_eq!(fail(&attempts, "ralph", "2001:db8:0:1::1", 0), None);
    }

    #[test]
    fn a_success_forgets_the_failures_of_that_name_and_no_others() {
        let attempts = attempts();
        for _ in 0..4 {
            fail(&attempts, "ralph", "192.0.2.1", 0);
        }
        assert!(succeed(&attempts, "ralph", "192.0.2.1", 0));
        for _ in 0..5 {
            assert_eq!(fail(&attempts, "ralph", "192.0.2.1", 0), None);
        }
        // Somebody with a password of their own guesses at those of others.
        let attempts = Attempts::new(LockoutPolicy::default());
        let mut tried = 0;
        for at in 0..1000 {
            tried += usize::from(fail(&attempts, &format!("user-{at}"), "192.0.2.9", 0).is_none());
            succeed(&attempts, "mallory", "192.0.2.9", 0);
        }
        assert_eq!(tried, 50);
    }

    #[test]
    fn what_is_tried_at_one_moment_counts_as_what_is_tried_in_turn() {
        let attempts = attempts();
        let now = Timestamp(START);
        let begun =
            (0..1000).filter_map(|_| attempts.begin("ralph", address("192.0.2.1"), now).ok());
        let begun: Vec<_> = begun.collect();
        assert_eq!(begun.len(), 5);
        // Those that nobody looked at count for nothing afterwards.
        for attempt in begun {
            attempts.not_tried(attempt);
        }
        assert_eq!(fail(&attempts, "ralph", "192.0.2.1", 0), None);
    }

    #[test]
    fn all_is_forgotten_after_a_while_and_memory_has_an_end() {
        let attempts = Attempts::with_room(LockoutPolicy::default(), 160);
        for _ in 0..5 {
            fail(&attempts, "ralph", "192.0.2.1", 0);
        }
        assert_eq!(attempts.locked(Timestamp(START)), 1);
        for at in 0..10_000 {
            let from = format!("10.{}.{}.1", at / 256, at % 256);
            assert_eq!(fail(&attempts, "x", &from, 0), None);
        }
        let kept: usize = attempts.shards.iter().map(|it| it.lock().len()).sum();
        assert!(kept <= 160, "{kept}");
        assert_eq!(
            fail(&attempts, "ralph", "192.0.2.1", 0),
            Some(1),
            "who waits goes on waiting"
        );
        let later = Timestamp(START + 2 * 60 * 60 * SECOND);
        attempts.sweep(later);
        assert!(attempts.shards.iter().all(|it| it.lock().is_empty()));
    }
}
