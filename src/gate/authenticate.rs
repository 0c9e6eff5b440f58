//! From what a request presents to who is asking.

use std::sync::Arc;

use super::request::{PresentedCertificate, PresentedSession, RequestView};
use super::session::{SessionDigest, SessionPolicy, Timestamp};
use super::users::{User, Users};
use crate::identity::certificate::{CertificateProof, ClientIdentity};
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

/// What a request proves in each of the two ways, and why not.
#[derive(Debug)]
pub(super) struct Proved {
    /// Who has logged in.
    pub(super) session: Result<Principal, NoIdentity>,
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
            session: authenticate(&request.session, users, policy, now),
            client,
            certificate,
        }
    }

    /// The best that is known of who is asking, where nobody in particular is needed: the person
    /// before the device. Of two reasons, the one that says what is wrong.
    pub(super) fn best(self) -> Result<Principal, NoIdentity> {
        match (self.session, self.client) {
            (Ok(principal), _) | (Err(_), Ok(principal)) => Ok(principal),
            (
                Err(NoIdentity::NotPresented | NoIdentity::NotRequested),
                Err(why @ NoIdentity::Invalid(_)),
            )
            | (Err(why), Err(_)) => Err(why),
        }
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
fn authenticate(
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
