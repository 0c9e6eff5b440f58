//! A request as the gate sees it: nothing but what a decision may depend on.

use std::sync::Arc;

use super::session::{Session, SessionDigest};
use crate::identity::NoIdentity;

/// What the decision is made from.
#[derive(Clone, Debug)]
pub struct RequestView<'r> {
    /// The method, as sent.
    pub method: &'r str,
    /// `host[:port]` from Host or `:authority`, where the request named one.
    pub authority: Option<&'r str>,
    /// The raw path, without the query.
    pub path: &'r str,
    /// The session that the request's cookie leads to, or why there is none.
    pub session: Result<PresentedSession, NoIdentity>,
}

/// A session found in the store; whether it still proves an identity is for the gate to say.
#[derive(Clone, Debug)]
pub struct PresentedSession {
    /// The key it was found under.
    pub digest: SessionDigest,
    /// What the store holds.
    pub session: Arc<Session>,
}
