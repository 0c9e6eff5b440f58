//! Sessions in memory: fast, bounded, gone with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::HashMap;
use parking_lot::RwLock;

use super::{SessionStore, StoreUnavailable};
use crate::gate::session::{Session, SessionDigest, SessionPolicy, Timestamp};

/// Enough that threads rarely meet in one, few enough to scan.
const SHARDS: usize = 64;

type Shard = RwLock<HashMap<SessionDigest, Arc<Session>>>;

/// A bounded table of sessions, split by digest so that threads rarely meet.
#[derive(Debug)]
pub struct MemoryStore {
    shards: Vec<Shard>,
    kept: AtomicUsize,
    max: usize,
}

impl MemoryStore {
    /// A store that keeps at most `max` sessions (at least one).
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            kept: AtomicUsize::new(0),
            max: max.max(1),
        }
    }

    /// How many are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// The digest is uniformly distributed, so its first byte spreads evenly.
    fn shard(&self, digest: &SessionDigest) -> &Shard {
        &self.shards[usize::from(digest.0[0]) % SHARDS]
    }

    /// Ends the longest unused sessions, a hundredth of all at a time: finding them means looking
    /// at every one, which must not happen at every login of a full store.
    fn make_room(&self) {
        let mut seen: Vec<Timestamp> = Vec::with_capacity(self.kept.load(Ordering::Relaxed));
        for shard in &self.shards {
            seen.extend(shard.read().values().map(|session| session.last_seen()));
        }
        let ending = (self.max / 100).max(1).min(seen.len());
        if ending == 0 {
            return;
        }
        let (_, threshold, _) = seen.select_nth_unstable(ending - 1);
        let threshold = *threshold;
        let mut left = ending;
        self.retain(|session| {
            let keep = left == 0 || session.last_seen() > threshold;
            left -= usize::from(!keep);
            keep
        });
    }

    fn retain(&self, mut keep: impl FnMut(&Session) -> bool) -> usize {
        let mut ended = 0;
        for shard in &self.shards {
            let mut shard = shard.write();
            let before = shard.len();
            shard.retain(|_, session| keep(session));
            ended += before - shard.len();
        }
        self.kept.fetch_sub(ended, Ordering::Relaxed);
        ended
    }
}

impl SessionStore for MemoryStore {
    async fn begin(&self, digest: SessionDigest, session: Session) -> Result<(), StoreUnavailable> {
        if self.kept.load(Ordering::Relaxed) >= self.max {
            self.make_room();
        }
        let replaced = self.shard(&digest).write().insert(digest, session.into());
        if replaced.is_none() {
            self.kept.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn look_up(
        &self,
        digest: &SessionDigest,
    ) -> Result<Option<Arc<Session>>, StoreUnavailable> {
        Ok(self.shard(digest).read().get(digest).cloned())
    }

    async fn end(&self, digest: &SessionDigest) -> Result<bool, StoreUnavailable> {
        let ended = self.shard(digest).write().remove(digest).is_some();
        self.kept.fetch_sub(usize::from(ended), Ordering::Relaxed);
        Ok(ended)
    }

    async fn sweep(
        &self,
        policy: &SessionPolicy,
        now: Timestamp,
    ) -> Result<usize, StoreUnavailable> {
        Ok(self.retain(|session| policy.check(session, now).is_ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::UserName;
    use std::time::Duration;

    fn digest(n: u8) -> SessionDigest {
        SessionDigest([n; 32])
    }

    fn session(begun: u64) -> Session {
        Session::begin(UserName::parse("ralph").unwrap(), 0, Timestamp(begun))
    }

    #[tokio::test]
    async fn a_session_is_found_until_it_is_ended() {
        let store = MemoryStore::new(10);
        store.begin(digest(1), session(0)).await.unwrap();
        assert!(store.look_up(&digest(1)).await.unwrap().is_some());
        assert!(store.look_up(&digest(2)).await.unwrap().is_none());
        assert!(store.end(&digest(1)).await.unwrap());
        assert!(!store.end(&digest(1)).await.unwrap());
        assert!(store.look_up(&digest(1)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_full_store_ends_the_longest_unused_and_keeps_the_rest() {
        let store = MemoryStore::new(5);
        for n in 0..5 {
            let begun = session(u64::from(n) * 10_000);
            store.begin(digest(n), begun).await.unwrap();
        }
        let oldest = store.look_up(&digest(0)).await.unwrap().unwrap();
        oldest.touch(Timestamp(60_000));
        store.begin(digest(5), session(70_000)).await.unwrap();
        assert_eq!(store.kept(), 5);
        assert!(store.look_up(&digest(1)).await.unwrap().is_none());
        for kept in [0, 2, 3, 4, 5] {
            assert!(store.look_up(&digest(kept)).await.unwrap().is_some());
        }
    }

    #[tokio::test]
    async fn a_sweep_forgets_what_ended_by_time() {
        let store = MemoryStore::new(10);
        let policy = SessionPolicy {
            idle: Duration::from_secs(10),
            lifetime: Duration::from_secs(100),
        };
        store.begin(digest(1), session(0)).await.unwrap();
        store.begin(digest(2), session(8_000)).await.unwrap();
        let swept = store.sweep(&policy, Timestamp(12_000)).await.unwrap();
        assert_eq!((swept, store.kept()), (1, 1));
    }
}
