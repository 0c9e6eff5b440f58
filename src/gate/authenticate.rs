//! From what a request presents to who is asking.

use std::sync::Arc;

use super::request::PresentedSession;
use super::session::{SessionDigest, SessionPolicy, Timestamp};
use super::users::{User, Users};
use crate::identity::{InvalidIdentity, NoIdentity};

/// Somebody whose identity was proved for this request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    user: Arc<User>,
    proof: Proof,
}

/// What proved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A session that a login began.
    Session(SessionDigest),
    /// The certificate of the connection.
    Certificate,
}

impl Principal {
    /// The user, with their present roles and abilities: a role taken away counts at once.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// What proved it.
    #[must_use]
    pub const fn proof(&self) -> &Proof {
        &self.proof
    }

    /// The session that proved it, where it was one.
    #[must_use]
    pub const fn session(&self) -> Option<&SessionDigest> {
        match &self.proof {
            Proof::Session(digest) => Some(digest),
            Proof::Certificate => None,
        }
    }
}

/// Checks the presented session against time and the users of this moment.
pub(super) fn authenticate(
    presented: &Result<PresentedSession, NoIdentity>,
    users: &Users,
    policy: &SessionPolicy,
    now: Timestamp,
) -> Result<Principal, NoIdentity> {
    let presented = presented.as_ref().map_err(|why| *why)?;
    let session = &presented.session;
    policy.check(session, now).map_err(NoIdentity::Invalid)?;
    let user = users
        .active(&session.user)
        .ok_or(NoIdentity::Invalid(InvalidIdentity::UserGone))?;
    if user.credential_epoch != session.credential_epoch {
        return Err(NoIdentity::Invalid(InvalidIdentity::PasswordChanged));
    }
    Ok(Principal {
        user: Arc::clone(user),
        proof: Proof::Session(presented.digest),
    })
}
