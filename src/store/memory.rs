//! Sessions in memory: fast, bounded, gone with the process.
//!
//! Requests only look up, in one of many tables. What begins or ends a session goes through the
//! one list of all of them, which is in the order of users: so each user's are found without
//! looking at those of others, and both bounds hold exactly.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use foldhash::HashMap;
use parking_lot::{Mutex, RwLock};

use super::{Kept, SessionBounds, SessionStore, StoreUnavailable, WhyEnded};
use crate::gate::session::{Session, SessionDigest, SessionPolicy, ShortDigest, Timestamp};
use crate::identity::UserName;

/// Enough that threads rarely meet in one, few enough to scan.
const SHARDS: usize = 64;

type Shard = RwLock<HashMap<SessionDigest, Arc<Session>>>;

/// A bounded table of sessions, split by digest so that threads rarely meet.
#[derive(Debug)]
pub struct MemoryStore {
    bounds: SessionBounds,
    /// Always locked before a shard.
    all: Mutex<All>,
    shards: Vec<Shard>,
}

/// All sessions, and which of them end first.
#[derive(Debug, Default)]
struct All {
    by_user: BTreeSet<(UserName, SessionDigest)>,
    /// The longest unused ones when last looked for, with when they were used last. All others
    /// were used later.
    longest_unused: VecDeque<(Timestamp, SessionDigest)>,
    /// Ended without being asked for, and not told yet.
    untold: Vec<(Kept, WhyEnded)>,
}

impl MemoryStore {
    /// A store without sessions.
    #[must_use]
    pub fn new(bounds: SessionBounds) -> Self {
        Self {
            bounds,
            all: Mutex::default(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
        }
    }

    /// The digest is uniformly distributed, so its first byte spreads evenly.
    fn shard(&self, digest: &SessionDigest) -> &Shard {
        &self.shards[usize::from(digest.0[0]) % SHARDS]
    }

    pub(super) fn get(&self, digest: &SessionDigest) -> Option<Arc<Session>> {
        self.shard(digest).read().get(digest).cloned()
    }

    /// Which ones ended for it.
    pub(super) fn insert(&self, kept: Kept) -> Vec<SessionDigest> {
        let Kept { digest, session } = kept;
        let mut all = self.all.lock();
        let before = all.untold.len();
        self.remove(&mut all, &digest);
        self.make_room_for(&session.user, &mut all);
        all.by_user.insert((session.user.clone(), digest));
        self.shard(&digest).write().insert(digest, session);
        let displaced = all.untold[before..].iter();
        displaced.map(|(kept, _)| kept.digest).collect()
    }

    pub(super) fn take(&self, digest: &SessionDigest) -> Option<Kept> {
        self.remove(&mut self.all.lock(), digest)
    }

    /// Notes what has ended and is to be told of.
    pub(super) fn tell(&self, ended: Vec<Kept>, why: WhyEnded) {
        let ended = ended.into_iter().map(|kept| (kept, why));
        self.all.lock().untold.extend(ended);
    }

    fn remove(&self, all: &mut All, digest: &SessionDigest) -> Option<Kept> {
        let session = self.shard(digest).write().remove(digest)?;
        all.by_user.remove(&(session.user.clone(), *digest));
        Some(Kept {
            digest: *digest,
            session,
        })
    }

    /// Ends the longest unused sessions until another one of `user` is within the bounds.
    fn make_room_for(&self, user: &UserName, all: &mut All) {
        while all
            .of(user, None)
            .nth(self.bounds.per_user.max(1) - 1)
            .is_some()
        {
            let own = all.of(user, None).map(|(_, digest)| *digest);
            let oldest = own.min_by_key(|digest| self.get(digest).map(|it| it.last_seen()));
            self.displace(oldest, all);
        }
        while all.by_user.len() >= self.bounds.max.max(1) {
            let oldest = self.longest_unused(all);
            self.displace(oldest.or_else(|| all.first()), all);
        }
    }

    fn displace(&self, digest: Option<SessionDigest>, all: &mut All) {
        let ended = digest.and_then(|digest| self.remove(all, &digest));
        all.untold.extend(ended.map(|kept| (kept, WhyEnded::Limit)));
    }

    /// The session that was not used for longest. To find it, all have to be looked at: then the
    /// next ones are found as well, so that not every login into a full store has to do that.
    fn longest_unused(&self, all: &mut All) -> Option<SessionDigest> {
        let next = self.next_longest_unused(all);
        next.or_else(|| {
            all.longest_unused = self.find_longest_unused(all.by_user.len() / 100 + 1);
            self.next_longest_unused(all)
        })
    }

    /// The next one that was not used since it was found.
    fn next_longest_unused(&self, all: &mut All) -> Option<SessionDigest> {
        let is_unused = |(seen, digest): &(Timestamp, SessionDigest)| {
            self.get(digest).is_some_and(|it| it.last_seen() == *seen)
        };
        while let Some(next) = all.longest_unused.pop_front() {
            if is_unused(&next) {
                return Some(next.1);
            }
        }
        None
    }

    fn find_longest_unused(&self, count: usize) -> VecDeque<(Timestamp, SessionDigest)> {
        let mut seen: Vec<Timestamp> = Vec::new();
        for shard in &self.shards {
            seen.extend(shard.read().values().map(|session| session.last_seen()));
        }
        let Some(last) = count.min(seen.len()).checked_sub(1) else {
            return VecDeque::new();
        };
        let limit = *seen.select_nth_unstable(last).1;
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.read();
            let seen = shard.iter().map(|(digest, it)| (it.last_seen(), *digest));
            found.extend(seen.filter(|(seen, _)| *seen <= limit));
        }
        found.sort_unstable();
        found.truncate(count);
        found.into()
    }

    /// Ends all that have ended by time.
    pub(super) fn take_expired(
        &self,
        policy: &SessionPolicy,
        now: Timestamp,
    ) -> Vec<SessionDigest> {
        let mut ended = Vec::new();
        // One part after the other, so that logins and logouts get their turn in between.
        for shard in &self.shards {
            let mut all = self.all.lock();
            shard.write().retain(|digest, session| {
                let keep = policy.check(session, now).is_ok();
                if !keep {
                    all.by_user.remove(&(session.user.clone(), *digest));
                    ended.push(*digest);
                }
                keep
            });
        }
        ended
    }

    /// Ends all, or all of one user.
    pub(super) fn take_all(&self, user: Option<&UserName>) -> Vec<Kept> {
        let mut all = self.all.lock();
        let digests: Vec<SessionDigest> = match user {
            Some(user) => all.of(user, None).map(|(_, digest)| *digest).collect(),
            None => all.by_user.iter().map(|(_, digest)| *digest).collect(),
        };
        let ended = digests.iter().filter_map(|it| self.remove(&mut all, it));
        ended.collect()
    }

    /// A page of the list of all, or of one user's.
    pub(super) fn page(
        &self,
        user: Option<&UserName>,
        after: Option<&(UserName, SessionDigest)>,
        most: usize,
    ) -> Vec<Kept> {
        let all = self.all.lock();
        let kept = |(_, digest): &(UserName, SessionDigest)| {
            let (digest, session) = (*digest, self.get(digest)?);
            Some(Kept { digest, session })
        };
        match user {
            Some(user) => all.of(user, after).filter_map(kept).take(most).collect(),
            None => all.after(after).filter_map(kept).take(most).collect(),
        }
    }

    /// Those that a short digest may mean: one, but for a chance in some thousand millions.
    pub(super) fn with_short(&self, short: &ShortDigest) -> Vec<Kept> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.read();
            let fitting = shard.iter().filter(|(digest, _)| digest.short() == *short);
            found.extend(fitting.map(|(digest, session)| Kept {
                digest: *digest,
                session: Arc::clone(session),
            }));
        }
        found
    }
}

impl All {
    fn first(&self) -> Option<SessionDigest> {
        self.by_user.first().map(|(_, digest)| *digest)
    }

    fn after(
        &self,
        place: Option<&(UserName, SessionDigest)>,
    ) -> impl Iterator<Item = &(UserName, SessionDigest)> {
        let begin = place.map_or(Bound::Unbounded, |it| Bound::Excluded(it.clone()));
        self.by_user.range((begin, Bound::Unbounded))
    }

    /// Those of one user.
    fn of(
        &self,
        user: &UserName,
        after: Option<&(UserName, SessionDigest)>,
    ) -> impl Iterator<Item = &(UserName, SessionDigest)> {
        let first = (user.clone(), SessionDigest([0; 32]));
        let begin = match after {
            Some(place) if *place > first => Bound::Excluded(place.clone()),
            _ => Bound::Included(first),
        };
        let range = self.by_user.range((begin, Bound::Unbounded));
        range.take_while(move |(owner, _)| owner == user)
    }
}

impl SessionStore for MemoryStore {
    async fn begin(&self, digest: SessionDigest, session: Session) -> Result<(), StoreUnavailable> {
        self.insert(Kept {
            digest,
            session: session.into(),
        });
        Ok(())
    }

    async fn look_up(
        &self,
        digest: &SessionDigest,
    ) -> Result<Option<Arc<Session>>, StoreUnavailable> {
        Ok(self.get(digest))
    }

    async fn end(&self, digest: &SessionDigest) -> Result<bool, StoreUnavailable> {
        Ok(self.take(digest).is_some())
    }

    async fn end_all(&self, user: Option<&UserName>) -> Result<Vec<Kept>, StoreUnavailable> {
        Ok(self.take_all(user))
    }

    async fn settle(&self) -> Result<(), StoreUnavailable> {
        Ok(())
    }

    async fn sweep(
        &self,
        policy: &SessionPolicy,
        now: Timestamp,
    ) -> Result<usize, StoreUnavailable> {
        Ok(self.take_expired(policy, now).len())
    }

    async fn list(
        &self,
        user: Option<&UserName>,
        after: Option<&(UserName, SessionDigest)>,
        most: usize,
    ) -> Result<Vec<Kept>, StoreUnavailable> {
        Ok(self.page(user, after, most))
    }

    async fn find(&self, short: &ShortDigest) -> Result<Vec<Kept>, StoreUnavailable> {
        Ok(self.with_short(short))
    }

    fn untold(&self) -> Vec<(Kept, WhyEnded)> {
        std::mem::take(&mut self.all.lock().untold)
    }

    fn kept(&self) -> usize {
        self.all.lock().by_user.len()
    }
}
