//! A request as the gate sees it: nothing but what a decision may depend on.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use super::session::{Session, SessionDigest};
use super::users::User;
use crate::identity::certificate::ClientIdentity;
use crate::identity::token::TokenDigest;
use crate::identity::{NoIdentity, UserName};

/// What the decision is made from.
#[derive(Clone, Debug)]
pub struct RequestView<'r> {
    /// The method, as sent.
    pub method: &'r str,
    /// `host[:port]` from Host or `:authority`, where the request named one.
    pub authority: Option<&'r str>,
    /// The raw path, without the query.
    pub path: &'r str,
    /// What it writes to, or reads from, besides.
    pub destination: Destination<'r>,
    /// Where it comes from: the client's own address, whatever stands between.
    pub address: IpAddr,
    /// The session that the request's cookie leads to, or why there is none.
    pub session: Result<PresentedSession, NoIdentity>,
    /// What its `Authorization` field is worth where a route takes that, or why it is nothing. Only
    /// looked at for [`super::Gate::taken`].
    pub authorization: Result<PresentedAuthorization, NoIdentity>,
    /// The certificate of the request's connection, checked at this time, or why there is none.
    pub certificate: Result<PresentedCertificate, NoIdentity>,
}

/// The second resource of a request that copies or moves one to the other (RFC 4918 section 10.3, and
/// the copy sources of object stores).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination<'r> {
    /// There is none.
    None,
    /// This raw path, on the same host.
    Path(Cow<'r, str>),
    /// Not on this host, or not to be told from what was sent.
    Elsewhere,
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

/// What an `Authorization` field came to; whether it proves an identity is for the gate to say.
#[derive(Clone, Debug)]
pub enum PresentedAuthorization {
    /// The password of this user was right.
    Basic {
        /// Whose.
        user: UserName,
        /// The credential epoch of the user whose password was looked at.
        credential_epoch: u64,
    },
    /// A token, known or not.
    Token(TokenDigest),
}
