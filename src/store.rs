//! Where sessions are kept.
//!
//! What a session means is the gate's business (`gate::session`). One trait, so that memory, a file
//! and a shared store answer alike; one enum, so that the choice costs a match and no allocation.

pub mod attempts;
pub mod beside;
pub mod file;
pub mod memory;
pub mod secret;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// The configured store, and how often it was asked what. Look-ups are not counted here: they are too
/// many for a count that all threads share.
#[derive(Debug)]
pub struct Sessions {
    store: Store,
    asked: [[AtomicU64; 2]; Operation::ALL.len()],
}

/// The choice between the stores.
#[derive(Debug)]
enum Store {
    /// In this process; gone with it.
    Memory(MemoryStore),
    /// In a file too, which outlives the process.
    File(FileStore),
}

/// What a store is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`SessionStore::begin`].
    Begin,
    /// [`SessionStore::end`] and [`SessionStore::end_all`].
    End,
    /// [`SessionStore::settle`].
    Settle,
    /// [`SessionStore::list`] and [`SessionStore::find`].
    List,
    /// [`SessionStore::sweep`].
    Sweep,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Begin,
        Self::End,
        Self::Settle,
        Self::List,
        Self::Sweep,
    ];

    /// A stable word for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::End => "end",
            Self::Settle => "settle",
            Self::List => "list",
            Self::Sweep => "sweep",
        }
    }
}

impl From<MemoryStore> for Sessions {
    fn from(store: MemoryStore) -> Self {
        Self::of(Store::Memory(store))
    }
}

impl From<FileStore> for Sessions {
    fn from(store: FileStore) -> Self {
        Self::of(Store::File(store))
    }
}

/// Does the same with either store.
macro_rules! with {
    ($sessions:expr, $store:ident => $done:expr) => {
        match &$sessions.store {
            Store::Memory($store) => $done,
            Store::File($store) => $done,
        }
    };
}

impl Sessions {
    fn of(store: Store) -> Self {
        Self {
            store,
            asked: Default::default(),
        }
    }

    /// Whether it answers.
    #[must_use]
    pub fn is_up(&self) -> bool {
        match &self.store {
            Store::Memory(_) => true,
            Store::File(store) => store.is_up(),
        }
    }

    /// Keeps what is still to be kept, before the process ends.
    pub fn close(&self, now: Timestamp) {
        match &self.store {
            Store::Memory(_) => {}
            Store::File(store) => store.close(now),
        }
    }

    /// How often it has done this, and how often it could not.
    #[must_use]
    pub fn asked(&self, operation: Operation) -> [u64; 2] {
        let counts = &self.asked[operation as usize];
        counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    fn note<T>(
        &self,
        operation: Operation,
        done: Result<T, StoreUnavailable>,
    ) -> Result<T, StoreUnavailable> {
        let count = &self.asked[operation as usize][usize::from(done.is_err())];
        count.fetch_add(1, Ordering::Relaxed);
        done
    }
}

impl SessionStore for Sessions {
    async fn begin(&self, digest: SessionDigest, session: Session) -> Result<(), StoreUnavailable> {
        let done = with!(self, store => store.begin(digest, session).await);
        self.note(Operation::Begin, done)
    }

    async fn look_up(
        &self,
        digest: &SessionDigest,
    ) -> Result<Option<Arc<Session>>, StoreUnavailable> {
        with!(self, store => store.look_up(digest).await)
    }

    async fn end(&self, digest: &SessionDigest) -> Result<bool, StoreUnavailable> {
        let done = with!(self, store => store.end(digest).await);
        self.note(Operation::End, done)
    }

    async fn end_all(&self, user: Option<&UserName>) -> Result<Vec<Kept>, StoreUnavailable> {
        let done = with!(self, store => store.end_all(user).await);
        self.note(Operation::End, done)
    }

    async fn settle(&self) -> Result<(), StoreUnavailable> {
        let done = with!(self, store => store.settle().await);
        self.note(Operation::Settle, done)
    }

    async fn sweep(
        &self,
        policy: &SessionPolicy,
        now: Timestamp,
    ) -> Result<usize, StoreUnavailable> {
        let done = with!(self, store => store.sweep(policy, now).await);
        self.note(Operation::Sweep, done)
    }

    async fn list(
        &self,
        user: Option<&UserName>,
        after: Option<&(UserName, SessionDigest)>,
        most: usize,
    ) -> Result<Vec<Kept>, StoreUnavailable> {
        let done = with!(self, store => store.list(user, after, most).await);
        self.note(Operation::List, done)
    }

    async fn find(&self, short: &ShortDigest) -> Result<Vec<Kept>, StoreUnavailable> {
        let done = with!(self, store => store.find(short).await);
        self.note(Operation::List, done)
    }

    fn untold(&self) -> Vec<(Kept, WhyEnded)> {
        with!(self, store => store.untold())
    }

    fn kept(&self) -> usize {
        with!(self, store => store.kept())
    }
}

#[cfg(test)]
mod tests;
