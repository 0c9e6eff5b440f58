//! From what a request presents to who is asking.

use std::sync::Arc;

use super::request::{PresentedAuthorization, PresentedCertificate, PresentedSession, RequestView};
use super::route::CredentialKind;
use super::session::{SessionDigest, SessionPolicy, Timestamp};
use super::users::{Token, User, Users};
use crate::identity::certificate::{CertificateProof, ClientIdentity};
use crate::identity::token::TokenDigest;
use crate::identity::{InvalidIdentity, NoIdentity, UserName};

/// Somebody whose identity was proved for this request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    user: Arc<User>,
    proof: Proof,
}

/// What proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A session that a login began.
    Session(SessionDigest),
    /// A token.
    Token(Arc<Token>),
    /// A password that came with the request.
    Basic,
    /// The certificate of the connection.
    Certificate,
}

impl Proof {
    /// What kind of credential it is.
    #[must_use]
    pub const fn kind(&self) -> CredentialKind {
        match self {
            Self::Session(_) => CredentialKind::Session,
            Self::Token(_) => CredentialKind::Token,
            Self::Basic => CredentialKind::Basic,
            Self::Certificate => CredentialKind::Certificate,
        }
    }
}

impl Principal {
    /// The user, with their present roles and abilities: a role taken away counts at once. What is
    /// proved by a token has the abilities of the token only.
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
            Proof::Token(_) | Proof::Basic | Proof::Certificate => None,
        }
    }
}

/// What a request proves in each of the three ways, and why not.
#[derive(Debug)]
pub(super) struct Proved {
    /// Who has logged in.
    pub(super) session: Result<Principal, NoIdentity>,
    /// Who the `Authorization` field is about. There is one at most, so it is a token or a password.
    pub(super) authorization: Result<Principal, NoIdentity>,
    /// Whom a rule of `clients` knows by the certificate.
    pub(super) client: Result<Principal, NoIdentity>,
    /// The certificate where it means anything: a CA vouches for it, or a rule knows it. That of
    /// somebody disabled means nothing: a backend may take the name in it for a login.
    pub(super) certificate: Result<Arc<ClientIdentity>, NoIdentity>,
}

impl Proved {
    /// Looks at all that `request` presents.
    pub(super) fn by(
        request: &RequestView<'_>,
        users: &Users,
        policy: &SessionPolicy,
        now: Timestamp,
    ) -> Self {
        let presented = request.certificate.as_ref().map_err(|why| *why);
        let client = presented.and_then(|presented| known_client(presented, users));
        let certificate = presented.and_then(|it| match (it.identity.proof, &client) {
            (_, Err(why @ NoIdentity::Invalid(InvalidIdentity::UserGone)))
            | (CertificateProof::Possession, Err(why)) => Err(*why),
            (CertificateProof::Possession, Ok(_)) | (CertificateProof::Chain, _) => {
                Ok(Arc::clone(&it.identity))
            }
        });
        Self {
            session: in_session(&request.session, users, policy, now),
            authorization: authorized(&request.authorization, users, now),
            client,
            certificate,
        }
    }

    /// The best that is known of who is asking, where nobody in particular is needed: the person
    /// before the device. Of several reasons, one that says what is wrong, and first of all with
    /// what the request itself has brought.
    pub(super) fn best(self) -> Result<Principal, NoIdentity> {
        let reasons = [&self.authorization, &self.session, &self.client];
        let reasons = reasons.map(|proved| proved.as_ref().err().copied());
        let is_wrong = |why: &NoIdentity| matches!(why, NoIdentity::Invalid(_));
        let wrong = reasons.into_iter().flatten().find(is_wrong);
        self.session
            .or_else(|why| self.authorization.map_err(|_| why))
            .or_else(|why| self.client.map_err(|_| why))
            .map_err(|why| wrong.unwrap_or(why))
    }
}

/// Whom the certificate is about. Somebody who was disabled stays so, whatever they prove it with.
fn known_client(presented: &PresentedCertificate, users: &Users) -> Result<Principal, NoIdentity> {
    let user = presented.client.as_ref().map_err(|why| *why)?;
    if users.is_disabled(&user.name) {
        return Err(NoIdentity::Invalid(InvalidIdentity::UserGone));
    }
    Ok(Principal {
        user: Arc::clone(user),
        proof: Proof::Certificate,
    })
}

/// Checks the presented session against time and the users of this moment.
fn in_session(
    presented: &Result<PresentedSession, NoIdentity>,
    users: &Users,
    policy: &SessionPolicy,
    now: Timestamp,
) -> Result<Principal, NoIdentity> {
    let presented = presented.as_ref().map_err(|why| *why)?;
    let session = &presented.session;
    policy.check(session, now).map_err(NoIdentity::Invalid)?;
    let user = unchanged(&session.user, session.credential_epoch, users)?;
    Ok(Principal {
        user: Arc::clone(user),
        proof: Proof::Session(presented.digest),
    })
}

/// Checks what the `Authorization` field came to in the same way.
fn authorized(
    presented: &Result<PresentedAuthorization, NoIdentity>,
    users: &Users,
    now: Timestamp,
) -> Result<Principal, NoIdentity> {
    match presented.as_ref().map_err(|why| *why)? {
        PresentedAuthorization::Basic {
            user,
            credential_epoch,
        } => Ok(Principal {
            user: Arc::clone(unchanged(user, *credential_epoch, users)?),
            proof: Proof::Basic,
        }),
        PresentedAuthorization::Token(digest) => by_token(digest, users, now),
    }
}

/// The bearer of a token that is there, has not expired, and is of nobody disabled.
fn by_token(digest: &TokenDigest, users: &Users, now: Timestamp) -> Result<Principal, NoIdentity> {
    let invalid = |why| Err(NoIdentity::Invalid(why));
    let Some(token) = users.token(digest) else {
        return invalid(InvalidIdentity::UnknownToken);
    };
    if token.bearer.disabled {
        return invalid(InvalidIdentity::TokenUserGone);
    }
    if token.expires.is_some_and(|expires| expires <= now) {
        return invalid(InvalidIdentity::TokenExpired);
    }
    Ok(Principal {
        user: Arc::clone(&token.bearer),
        proof: Proof::Token(Arc::clone(token)),
    })
}

/// The user, if they are still there and their password is still the one that it was.
fn unchanged<'u>(
    name: &UserName,
    credential_epoch: u64,
    users: &'u Users,
) -> Result<&'u Arc<User>, NoIdentity> {
    let user = users
        .active(name)
        .ok_or(NoIdentity::Invalid(InvalidIdentity::UserGone))?;
    if user.credential_epoch != credential_epoch {
        return Err(NoIdentity::Invalid(InvalidIdentity::PasswordChanged));
    }
    Ok(user)
}
