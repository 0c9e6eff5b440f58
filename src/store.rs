//! Where sessions are kept.
//!
//! What a session means is the gate's business (`gate::session`). One trait, so that memory, a file
//! and a shared store answer alike; one enum, so that the choice costs a match and no allocation.

pub mod attempts;
pub mod memory;
pub mod secret;

use std::sync::Arc;

use crate::gate::session::{Session, SessionDigest, SessionPolicy, Timestamp};
use memory::MemoryStore;

/// The store could not answer. Protected routes refuse.
#[derive(Debug, thiserror::Error)]
#[error("the session store is not available")]
pub struct StoreUnavailable;

/// What every store can do.
pub trait SessionStore {
    /// Keeps a new session. May end the longest unused one to stay within its bound.
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

    /// Forgets all that have ended by time; how many.
    fn sweep(
        &self,
        policy: &SessionPolicy,
        now: Timestamp,
    ) -> impl Future<Output = Result<usize, StoreUnavailable>> + Send;
}

/// The configured store.
#[derive(Debug)]
pub enum Sessions {
    /// In this process; gone with it.
    Memory(MemoryStore),
}

impl SessionStore for Sessions {
    async fn begin(&self, digest: SessionDigest, session: Session) -> Result<(), StoreUnavailable> {
        match self {
            Self::Memory(store) => store.begin(digest, session).await,
        }
    }

    async fn look_up(
        &self,
        digest: &SessionDigest,
    ) -> Result<Option<Arc<Session>>, StoreUnavailable> {
        match self {
            Self::Memory(store) => store.look_up(digest).await,
        }
    }

    async fn end(&self, digest: &SessionDigest) -> Result<bool, StoreUnavailable> {
        match self {
            Self::Memory(store) => store.end(digest).await,
        }
    }

    async fn sweep(
        &self,
        policy: &SessionPolicy,
        now: Timestamp,
    ) -> Result<usize, StoreUnavailable> {
        match self {
            Self::Memory(store) => store.sweep(policy, now).await,
        }
    }
}
