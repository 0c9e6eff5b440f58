//! From who is asking to whether they may: the only place that makes a [`Permit`].

use std::sync::Arc;

use super::ability::Ability;
use super::authenticate::Principal;
use super::path::AmbiguousPath;
use super::route::{Access, Route};
use crate::identity::NoIdentity;
use crate::identity::certificate::ClientIdentity;

/// Proof that a request may be forwarded. Every forwarding function takes one, and only this file
/// makes one, so that a skipped check does not compile.
#[derive(Clone, Debug)]
pub struct Permit {
    route: Arc<Route>,
    identity: Result<Principal, NoIdentity>,
    certificate: Result<Arc<ClientIdentity>, NoIdentity>,
}

impl Permit {
    /// The route the request goes by.
    #[must_use]
    pub const fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Who is asking, or why that is unknown (on public routes). The identity headers are written
    /// from this and nothing else.
    ///
    /// # Errors
    /// The reason for which nobody is known.
    pub const fn identity(&self) -> Result<&Principal, &NoIdentity> {
        self.identity.as_ref()
    }

    /// The certificate of the connection, whoever is asking: a person who has logged in may use a
    /// device that has one. One that is self-signed is only here where a rule of `clients` knows it.
    ///
    /// # Errors
    /// The reason for which there is none.
    pub const fn certificate(&self) -> Result<&Arc<ClientIdentity>, &NoIdentity> {
        self.certificate.as_ref()
    }
}

/// A request that is not forwarded, with all that the answer and the log need.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// The route that decided, where one was found.
    pub route: Option<Arc<Route>>,
    /// Who was asking, or why that is unknown.
    pub identity: Result<Principal, NoIdentity>,
}

/// Why a request is not forwarded. The proxy maps each to one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// The path could be read in two ways.
    Ambiguous(AmbiguousPath),
    /// No route covers it.
    NoRoute,
    /// The route does not take the method; the value of `Allow`.
    MethodNotAllowed(String),
    /// The route needs somebody, and nobody is known.
    LoginNeeded(NoIdentity),
    /// The route needs a certificate, and there is none that will do.
    CertificateNeeded(NoIdentity),
    /// Somebody is known, and lacks this ability.
    Forbidden(Ability),
    /// Somebody is known, and this belongs to somebody else.
    NotOwner,
}

/// Decides whether `identity` may use `route` (and `also`, where the path leads there in another
/// case).
pub(super) fn authorize(
    route: &Arc<Route>,
    also: Option<&Arc<Route>>,
    identity: Result<Principal, NoIdentity>,
    certificate: Result<Arc<ClientIdentity>, NoIdentity>,
) -> Result<Permit, Refusal> {
    for rule in [Some(route), also].into_iter().flatten() {
        if let Err(reason) = satisfies(&identity, &rule.access) {
            return Err(Refusal {
                reason,
                route: Some(Arc::clone(rule)),
                identity,
            });
        }
    }
    Ok(Permit {
        route: Arc::clone(route),
        identity,
        certificate,
    })
}

fn satisfies(
    identity: &Result<Principal, NoIdentity>,
    access: &Access,
) -> Result<(), RefusalReason> {
    let Access::Can(abilities) = access else {
        return Ok(());
    };
    let principal = identity
        .as_ref()
        .map_err(|why| RefusalReason::LoginNeeded(*why))?;
    match principal.user().abilities.first_missing(abilities) {
        None => Ok(()),
        Some(missing) => Err(RefusalReason::Forbidden(missing.clone())),
    }
}
