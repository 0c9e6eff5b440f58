//! A request as the gate sees it: nothing but what a decision may depend on.

use std::sync::Arc;

use super::session::{Session, SessionDigest};
use super::users::User;
use crate::identity::NoIdentity;
use crate::identity::certificate::ClientIdentity;

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
    /// The certificate of the request's connection, checked at this time, or why there is none.
    pub certificate: Result<PresentedCertificate, NoIdentity>,
}

/// A certificate that was checked.
#[derive(Clone, Debug)]
pub struct PresentedCertificate {
    /// What it says.
    pub identity: Arc<ClientIdentity>,
    /// Whose it is by the rules of `clients`, or why it is nobody's.
    pub client: Result<Arc<User>, NoIdentity>,
}

/// A session found in the store; whether it still proves an identity is for the gate to say.
#[derive(Clone, Debug)]
pub struct PresentedSession {
    /// The key it was found under.
    pub digest: SessionDigest,
    /// What the store holds.
    pub session: Arc<Session>,
}
