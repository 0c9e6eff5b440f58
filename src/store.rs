//! Where sessions are kept.
//!
//! What a session means is the gate's business (`gate::session`). One trait, so that memory, a file
//! and a shared store answer alike; one enum, so that the choice costs a match and no allocation.

pub mod attempts;
pub mod file;
pub mod memory;
pub mod secret;

use std::sync::Arc;

use crate::gate::session::{Session, SessionDigest, SessionPolicy, ShortDigest, Timestamp};
use crate::identity::UserName;
use file::FileStore;
use memory::MemoryStore;

/// The store could not answer. Protected routes refuse.
#[derive(Debug, thiserror::Error)]
#[error("the session store is not available")]
pub struct StoreUnavailable;

/// How many sessions there may be. Beyond that, the longest unused one ends for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionBounds {
    /// In all.
    pub max: usize,
    /// Of one user.
    pub per_user: usize,
}

impl Default for SessionBounds {
    /// A hundred thousand take 25 MB at worst. Twenty are all browsers and programs that a person
    /// has, and what a stolen password can begin beside them shows.
    fn default() -> Self {
        Self {
            max: 100_000,
            per_user: 20,
        }
    }
}

/// A session, and what the store knows it by.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Of its id.
    pub digest: SessionDigest,
    /// What is known of it.
    pub session: Arc<Session>,
}

/// Why a session ended that nobody could be told of at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyEnded {
    /// There were too many.
    Limit,
    /// Its end was asked for and happened, but could not be kept yet.
    StoreFailed,
}

impl WhyEnded {
    /// A stable word for logs (`auth.reason`) and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::StoreFailed => "store_failed",
        }
    }
}

/// What every store can do.
pub trait SessionStore {
    /// Keeps a new session. Longest unused ones may end, to stay within the bounds: see
    /// [`SessionStore::untold`].
    fn begin(
        &self,
        digest: SessionDigest,
        session: Session,
    ) -> impl Future<Output = Result<(), StoreUnavailable>> + Send;

    /// The session of this digest, whether or not it still proves anything.
    fn look_up(
        &self,
        digest: &SessionDigest,
    ) -> impl Future<Output = Result<Option<Arc<Session>>, StoreUnavailable>> + Send;

    /// Ends a session; whether there was one.
    fn end(
        &self,
        digest: &SessionDigest,
    ) -> impl Future<Output = Result<bool, StoreUnavailable>> + Send;

    /// Ends all sessions, or all of one user; which they were.
    fn end_all(
        &self,
        user: Option<&UserName>,
    ) -> impl Future<Output = Result<Vec<Kept>, StoreUnavailable>> + Send;

    /// Comes back when every end that was asked for before is kept: only then may somebody hear that
    /// a session is no more.
    fn settle(&self) -> impl Future<Output = Result<(), StoreUnavailable>> + Send;

    /// Forgets all that have ended by time; how many.
    fn sweep(
        &self,
        policy: &SessionPolicy,
        now: Timestamp,
    ) -> impl Future<Output = Result<usize, StoreUnavailable>> + Send;

    /// The sessions, or those of one user, in the order of users and digests: at most so many,
    /// after the one at that place. It need not be there any more.
    fn list(
        &self,
        user: Option<&UserName>,
        after: Option<&(UserName, SessionDigest)>,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Kept>, StoreUnavailable>> + Send;

    /// Those that people know by this short digest: nearly always one or none.
    fn find(
        &self,
        short: &ShortDigest,
    ) -> impl Future<Output = Result<Vec<Kept>, StoreUnavailable>> + Send;

    /// Those that ended without an answer to somebody that says so, and were not told of before.
    /// Whoever asks has to put them on record.
    fn untold(&self) -> Vec<(Kept, WhyEnded)>;

    /// How many there are.
    fn kept(&self) -> usize;
}

/// The configured store.
#[derive(Debug)]
pub enum Sessions {
    /// In this process; gone with it.
    Memory(MemoryStore),
    /// In a file too, which outlives the process.
    File(FileStore),
}

impl Sessions {
    /// Whether it answers.
    #[must_use]
    pub fn is_up(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::File(store) => store.is_up(),
        }
    }

    /// Keeps what is still to be kept, before the process ends.
    pub fn close(&self, now: Timestamp) {
        match self {
            Self::Memory(_) => {}
            Self::File(store) => store.close(now),
        }
    }
}

impl SessionStore for Sessions {
    async fn begin(&self, digest: SessionDigest, session: Session) -> Result<(), StoreUnavailable> {
        match self {
            Self::Memory(store) => store.begin(digest, session).await,
            Self::File(store) => store.begin(digest, session).await,
        }
    }

    async fn look_up(
        &self,
        digest: &SessionDigest,
    ) -> Result<Option<Arc<Session>>, StoreUnavailable> {
        match self {
            Self::Memory(store) => store.look_up(digest).await,
            Self::File(store) => store.look_up(digest).await,
        }
    }

    async fn end(&self, digest: &SessionDigest) -> Result<bool, StoreUnavailable> {
        match self {
            Self::Memory(store) => store.end(digest).await,
            Self::File(store) => store.end(digest).await,
        }
    }

    async fn end_all(&self, user: Option<&UserName>) -> Result<Vec<Kept>, StoreUnavailable> {
        match self {
            Self::Memory(store) => store.end_all(user).await,
            Self::File(store) => store.end_all(user).await,
        }
    }

    async fn settle(&self) -> Result<(), StoreUnavailable> {
        match self {
            Self::Memory(store) => store.settle().await,
            Self::File(store) => store.settle().await,
        }
    }

    async fn sweep(
        &self,
        policy: &SessionPolicy,
        now: Timestamp,
    ) -> Result<usize, StoreUnavailable> {
        match self {
            Self::Memory(store) => store.sweep(policy, now).await,
            Self::File(store) => store.sweep(policy, now).await,
        }
    }

    async fn list(
        &self,
        user: Option<&UserName>,
        after: Option<&(UserName, SessionDigest)>,
        most: usize,
    ) -> Result<Vec<Kept>, StoreUnavailable> {
        match self {
            Self::Memory(store) => store.list(user, after, most).await,
            Self::File(store) => store.list(user, after, most).await,
        }
    }

    async fn find(&self, short: &ShortDigest) -> Result<Vec<Kept>, StoreUnavailable> {
        match self {
            Self::Memory(store) => store.find(short).await,
            Self::File(store) => store.find(short).await,
        }
    }

    fn untold(&self) -> Vec<(Kept, WhyEnded)> {
        match self {
            Self::Memory(store) => store.untold(),
            Self::File(store) => store.untold(),
        }
    }

    fn kept(&self) -> usize {
        match self {
            Self::Memory(store) => store.kept(),
            Self::File(store) => store.kept(),
        }
    }
}

#[cfg(test)]
mod tests;
