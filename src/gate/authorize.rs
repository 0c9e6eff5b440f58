//! From who is asking to whether they may: the only place that makes a [`Permit`].

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::ability::Ability;
use super::authenticate::{Principal, Proved};
use super::path::DecodedPath;
use super::path::relaxation::{AmbiguousPath, Relaxations};
use super::route::{
    CredentialKind, CredentialSet, Credentials, Grant, Owner, Reading, Route, RouteTable,
};
use crate::identity::certificate::ClientIdentity;
use crate::identity::{InvalidIdentity, NoIdentity};

/// Proof that a request may be forwarded. Every forwarding function takes one, and only this file
/// makes one, so that a skipped check does not compile.
#[derive(Clone, Debug)]
pub struct Permit {
    route: Arc<Route>,
    identity: Result<Principal, NoIdentity>,
    certificate: Result<Arc<ClientIdentity>, NoIdentity>,
    withheld: CredentialSet,
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

    /// Whether the two lead to the same backend, by the same changes, for the same person.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        self.route.upstream == other.route.upstream
            && self.route.rewrite == other.route.rewrite
            && self.identity.as_ref().ok() == other.identity.as_ref().ok()
    }

    /// What of the `Authorization` field is ours: the backend does not get it, whatever has counted.
    #[must_use]
    pub const fn withheld(&self) -> CredentialSet {
        self.withheld
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
    Ambiguous(Ambiguity),
    /// What is in the `Authorization` field would count here, and cannot be read, or be read in two
    /// ways.
    MalformedAuthorization,
    /// No route covers it.
    NoRoute,
    /// The route does not take the method; the value of `Allow`.
    MethodNotAllowed(String),
    /// The route needs somebody, and nobody is known: a login would do, or what comes in the
    /// `Authorization` field where the route takes that.
    LoginNeeded(NoIdentity),
    /// The route needs a certificate, and there is none that will do.
    CertificateNeeded(NoIdentity),
    /// Somebody is known, and lacks this ability.
    Forbidden(Ability),
    /// Somebody is known, and this belongs to somebody else.
    NotOwner,
    /// It may be asked for, but not to be copied or moved to where the request says.
    Destination,
    /// The route is not for those who come from where this comes from, whoever they are.
    AddressNotAllowed,
}

/// What is wrong with a path, and what would let it pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ambiguity {
    /// What is wrong with it.
    pub why: AmbiguousPath,
    /// What the route would have to let pass; `None` where nothing would help, because it has a
    /// reading that is never let pass, or readings that lead to different routes.
    pub remedy: Option<Remedy>,
}

/// What a route would have to let pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// The place of the route in the configuration, from 0.
    pub route: usize,
    /// What it does not let pass so far.
    pub missing: Relaxations,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "routes[{}].allow: {}", self.route, self.missing)
    }
}

/// A route that has to be satisfied, and the path as it leads there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule<'r> {
    /// Which.
    pub(super) route: &'r Arc<Route>,
    /// What the path is, or may be.
    pub(super) path: &'r DecodedPath<'r>,
    /// How it is looked at there.
    pub(super) reading: Reading,
}

/// The rules where a path leads to `route`, and folded to all of `also`.
pub(super) fn rules<'r>(
    route: &'r Arc<Route>,
    also: &'r [&'r Arc<Route>],
    path: &'r DecodedPath<'r>,
) -> impl Iterator<Item = Rule<'r>> + Clone {
    let folded = also.iter().map(|also| (*also, Reading::Folded));
    let all = std::iter::once((route, Reading::AsWritten)).chain(folded);
    all.map(|(route, reading)| Rule {
        route,
        path,
        reading,
    })
}

/// Decides whether a request that has `proved` this, and comes from `address`, may use `route`, by all of `rules`. `has_login`
/// says whether somebody who is not known can log in.
pub(super) fn authorize<'r>(
    routes: &RouteTable,
    route: &Arc<Route>,
    rules: impl Iterator<Item = Rule<'r>> + Clone,
    (proved, address): (Proved, IpAddr),
    has_login: bool,
) -> Result<Permit, Refusal> {
    for Rule { route, .. } in rules.clone() {
        if !route.addresses.admit(address) {
            return Err(refuse(RefusalReason::AddressNotAllowed, route, proved));
        }
    }
    let taken = taken_by(rules.clone());
    if taken.has_authorization() && proved.authorization.as_ref().is_err_and(is_malformed) {
        let reason = RefusalReason::MalformedAuthorization;
        return Err(refuse(reason, route, proved));
    }
    // First, so that nobody is sent to a login who would be refused after it all the same.
    for Rule { route, .. } in rules.clone() {
        if let (true, Err(why)) = (route.access.needs_certificate(), &proved.certificate) {
            let reason = RefusalReason::CertificateNeeded(*why);
            return Err(refuse(reason, route, proved));
        }
    }
    let mut chosen = None;
    let mut candidates = Candidates::of(&proved);
    for rule in rules {
        let Some(grant) = rule.route.access.grant() else {
            continue;
        };
        let asked = Asked {
            grant,
            path: rule.path,
            reading: rule.reading,
        };
        match candidates.narrow(&asked, has_login) {
            Ok(credential) => chosen = Some(credential),
            Err(reason) => return Err(refuse(reason, rule.route, proved)),
        }
    }
    let certificate = proved.certificate.clone();
    let identity = match chosen {
        None => proved.best(),
        Some(Credential::Session) => proved.session,
        Some(Credential::Authorization) => proved.authorization,
        Some(Credential::Certificate) => proved.client,
    };
    Ok(Permit {
        route: Arc::clone(route),
        identity,
        certificate,
        withheld: routes.withheld(route, taken),
    })
}

/// What the routes of these rules take together to prove who is asking.
pub(super) fn taken_by<'r>(rules: impl Iterator<Item = Rule<'r>>) -> CredentialSet {
    let taken = rules.map(|rule| rule.route.access.taken());
    taken.fold(CredentialSet::NONE, CredentialSet::and)
}

const fn is_malformed(why: &NoIdentity) -> bool {
    matches!(
        why,
        NoIdentity::Invalid(InvalidIdentity::MalformedAuthorization)
    )
}

fn refuse(reason: RefusalReason, rule: &Arc<Route>, proved: Proved) -> Refusal {
    Refusal {
        reason,
        route: Some(Arc::clone(rule)),
        identity: proved.best(),
    }
}

/// What the one who is asking is known by.
#[derive(Clone, Copy)]
enum Credential {
    Session,
    Authorization,
    Certificate,
}

/// Who may be the one that is asking. In the end it is one of them alone: the backend is told one
/// name, and acts for it. If what a device may do was added to what a person may, then everybody
/// who borrows the device could do in their own name what only the device is trusted with.
struct Candidates<'p> {
    proved: &'p Proved,
    session: Candidate<'p>,
    authorization: Candidate<'p>,
    client: Candidate<'p>,
}

/// Somebody who may be the one that is asking, or why not.
type Candidate<'p> = Result<&'p Principal, Unfit>;

/// Why somebody is not the one.
#[derive(Clone)]
enum Unfit {
    /// Nobody is known.
    Unknown(NoIdentity),
    /// Somebody is known, and lacks something.
    Lacks(RefusalReason),
    /// The route does not take what they are known by, or of two routes that count, one does not.
    NotTaken,
}

impl<'p> Candidates<'p> {
    fn of(proved: &'p Proved) -> Self {
        let known = |it: &'p Result<Principal, _>| it.as_ref().map_err(|why| Unfit::Unknown(*why));
        Self {
            proved,
            session: known(&proved.session),
            authorization: known(&proved.authorization),
            client: known(&proved.client),
        }
    }

    /// Leaves those who have what is asked; which of them is to be taken.
    ///
    /// # Errors
    /// Why nobody is left.
    fn narrow(&mut self, asked: &Asked<'_>, has_login: bool) -> Result<Credential, RefusalReason> {
        match asked.grant.credentials {
            Credentials::OneOf(taken) => self.narrow_to(taken, asked),
            Credentials::All => {
                asked.check_both(self.proved)?;
                self.authorization = Err(Unfit::NotTaken);
                self.client = Err(Unfit::NotTaken);
            }
        }
        // The person first, then what the request itself has brought, then what its connection has.
        match (&self.session, &self.authorization, &self.client) {
            (Ok(_), _, _) => Ok(Credential::Session),
            (Err(_), Ok(_), _) => Ok(Credential::Authorization),
            (Err(_), Err(_), Ok(_)) => Ok(Credential::Certificate),
            (Err(_), Err(_), Err(_)) => Err(self.nobody(has_login)),
        }
    }

    /// Strikes out whoever is known by something that is not taken, or lacks what is asked.
    fn narrow_to(&mut self, taken: CredentialSet, asked: &Asked<'_>) {
        let takes_authorization = match &self.authorization {
            Ok(principal) => taken.contains(principal.proof().kind()),
            Err(_) => taken.has_authorization(),
        };
        for (candidate, is_taken) in [
            (&mut self.session, taken.contains(CredentialKind::Session)),
            (&mut self.authorization, takes_authorization),
            (
                &mut self.client,
                taken.contains(CredentialKind::Certificate),
            ),
        ] {
            if is_taken {
                asked.check(candidate);
            } else {
                *candidate = Err(Unfit::NotTaken);
            }
        }
    }

    /// What to say where nobody is left: what somebody lacks who is known, or else what would make
    /// somebody known.
    fn nobody(&self, has_login: bool) -> RefusalReason {
        let unknown = |candidate: &Candidate<'_>| match candidate {
            Err(Unfit::Unknown(why)) => Some(*why),
            Ok(_) | Err(Unfit::Lacks(_) | Unfit::NotTaken) => None,
        };
        let session = unknown(&self.session);
        let authorization = unknown(&self.authorization);
        let client = unknown(&self.client);
        // Whoever it is might be allowed to: what they lack is not for us to say.
        let undecided = [session, authorization].into_iter().flatten();
        if let Some(why) = undecided.into_iter().find(is_undecided) {
            return RefusalReason::LoginNeeded(why);
        }
        let lack = |candidate| match candidate {
            &Err(Unfit::Lacks(ref reason)) => Some(reason.clone()),
            _ => None,
        };
        let candidates = [&self.session, &self.authorization, &self.client];
        if let Some(reason) = candidates.into_iter().find_map(lack) {
            return reason;
        }
        // What the request has brought and is wrong says more than what it might have brought.
        let wrong = authorization.filter(|why| matches!(why, NoIdentity::Invalid(_)));
        let login = session.filter(|_| has_login || client.is_none());
        match wrong.or(login).or(authorization) {
            Some(why) => RefusalReason::LoginNeeded(why),
            // Where nothing is left at all, one route wants what the other does not take.
            None => RefusalReason::CertificateNeeded(client.unwrap_or(NoIdentity::NotRequested)),
        }
    }
}

const fn is_undecided(why: &NoIdentity) -> bool {
    matches!(why, NoIdentity::Invalid(why) if why.is_undecided())
}

/// What a route asks for, and the path that was asked for.
struct Asked<'r> {
    grant: &'r Grant,
    path: &'r DecodedPath<'r>,
    reading: Reading,
}

impl Asked<'_> {
    /// Strikes out whoever does not have it.
    fn check(&self, candidate: &mut Candidate<'_>) {
        let Ok(principal) = candidate else {
            return;
        };
        if let Some(reason) = self.lack_of_ability(principal) {
            *candidate = Err(Unfit::Lacks(reason));
        } else if !self.is_owner(principal) {
            *candidate = Err(Unfit::Lacks(RefusalReason::NotOwner));
        }
    }

    /// Whether both are known and have it.
    fn check_both(&self, proved: &Proved) -> Result<(), RefusalReason> {
        let known = [&proved.session, &proved.client].into_iter().flatten();
        if let Some(reason) = known.clone().find_map(|it| self.lack_of_ability(it)) {
            return Err(reason);
        }
        proved
            .client
            .as_ref()
            .map_err(|why| RefusalReason::CertificateNeeded(*why))?;
        proved
            .session
            .as_ref()
            .map_err(|why| RefusalReason::LoginNeeded(*why))?;
        if !known.clone().any(|it| self.is_owner(it)) {
            return Err(RefusalReason::NotOwner);
        }
        Ok(())
    }

    fn lack_of_ability(&self, principal: &Principal) -> Option<RefusalReason> {
        let abilities = &principal.user().abilities;
        let missing = abilities.first_missing(&self.grant.abilities)?;
        Some(RefusalReason::Forbidden(missing.clone()))
    }

    fn is_owner(&self, principal: &Principal) -> bool {
        let user = principal.user();
        let stands_above = |owner: &Owner| {
            !owner.or.is_empty() && user.abilities.first_missing(&owner.or).is_none()
        };
        self.grant.owner.as_ref().is_none_or(|owner| {
            stands_above(owner) || owner.is(user.name.as_str(), self.path, self.reading)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::ability::AbilitySet;
    use super::super::authenticate::Proof;
    use super::super::clients::tests::certificate;
    use super::super::request::{
        Destination, PresentedAuthorization, PresentedCertificate, PresentedSession, RequestView,
    };
    use super::super::route::{Access, InvalidOwner, PathPattern, RouteTable, route};
    use super::super::session::{Session, SessionDigest, SessionPolicy, Timestamp};
    use super::super::users::{User, UserToken, Users};
    use super::super::{Decision, Gate, OwnPaths};
    use super::*;
    use crate::identity::UserName;
    use crate::identity::certificate::{CertificateProof, InvalidCertificate};
    use crate::identity::token::{TokenDigest, TokenName};

    const NOW: Timestamp = Timestamp(1_000_000);

    fn abilities(names: &str) -> Vec<Ability> {
        names.split_whitespace().map(Ability::new).collect()
    }

    fn held(names: &str) -> AbilitySet {
        AbilitySet::Some(abilities(names).into_iter().collect())
    }

    fn user(name: &str, can: &str) -> User {
        User {
            name: UserName::of_certificate(name).unwrap(),
            roles: Vec::new(),
            groups: None,
            abilities: held(can),
            disabled: name == "gone",
            email: None,
            display_name: None,
            credential_epoch: 0,
        }
    }

    /// A token that is known by this byte.
    fn token(byte: u8, can: Option<&str>, expires: Option<Timestamp>) -> UserToken {
        UserToken {
            name: TokenName::parse("ci").unwrap(),
            digest: TokenDigest([byte; 32]),
            abilities: can.map_or(AbilitySet::All, held),
            expires,
        }
    }

    /// Who can log in.
    fn users() -> Users {
        let of_ada = vec![
            token(b'v', Some("view"), None),
            token(b'*', None, None),
            token(b'x', Some("view open"), None),
            token(b'0', Some(""), None),
            token(b'n', None, Some(Timestamp(NOW.0 + 1))),
            token(b'e', None, Some(NOW)),
        ];
        let people = [
            (user("ada", "view edit"), of_ada),
            (user("gone", "view edit"), vec![token(b'g', None, None)]),
            (user("ralph", "view"), Vec::new()),
            (user("Zoe", "view"), Vec::new()),
            (user("x.", "view"), Vec::new()),
        ];
        people.into_iter().collect()
    }

    const NOT_PRESENTED: NoIdentity = NoIdentity::NotPresented;
    const DOWN: NoIdentity = NoIdentity::Invalid(InvalidIdentity::StoreUnavailable);

    const fn bad(why: InvalidCertificate) -> NoIdentity {
        NoIdentity::Invalid(InvalidIdentity::Certificate(why))
    }

    const EXPIRED: NoIdentity = bad(InvalidCertificate::Expired);
    const NO_RULE: NoIdentity = bad(InvalidCertificate::NoRule);

    type Presented = Result<PresentedCertificate, NoIdentity>;

    fn presented(proof: CertificateProof, client: Result<User, NoIdentity>) -> Presented {
        let identity = ClientIdentity {
            proof,
            ..certificate()
        };
        Ok(PresentedCertificate {
            identity: Arc::new(identity),
            client: client.map(Arc::new),
        })
    }

    /// A certificate that a CA vouches for, of somebody who may do this.
    fn of(name: &str, can: &str) -> Presented {
        presented(CertificateProof::Chain, Ok(user(name, can)))
    }

    const NONE: Presented = Err(NOT_PRESENTED);

    type Authorization = Result<PresentedAuthorization, NoIdentity>;

    const NO_FIELD: Authorization = Err(NOT_PRESENTED);

    /// One word for the decision; a route is wanted with the first of `routes`.
    #[track_caller]
    fn decide(
        routes: &[(&str, Access)],
        path: &str,
        session: Result<&str, NoIdentity>,
        certificate: &Presented,
        has_login: bool,
    ) -> String {
        let presented = (session, NO_FIELD, certificate);
        decide_by(routes, path, presented, has_login)
    }

    #[track_caller]
    fn decide_by(
        routes: &[(&str, Access)],
        path: &str,
        (session, authorization, certificate): (
            Result<&str, NoIdentity>,
            Authorization,
            &Presented,
        ),
        has_login: bool,
    ) -> String {
        let routes = routes.iter().cloned();
        let own_pages = has_login.then(|| OwnPaths {
            login: "/auth/login".into(),
            logout: "/auth/logout".into(),
        });
        let gate = Gate {
            routes: RouteTable::new(routes.map(|(it, access)| route(it, &[], access)).collect())
                .into(),
            users: users(),
            clients: Arc::default(),
            sessions: SessionPolicy::default(),
            own_pages,
        };
        let session = session.map(|name| PresentedSession {
            digest: SessionDigest([0; 32]),
            session: Session::begin(UserName::parse(name).unwrap(), 0, NOW).into(),
        });
        let request = RequestView {
            method: "GET",
            authority: None,
            path,
            address: IpAddr::from([192, 0, 2, 7]),
            destination: Destination::None,
            session,
            authorization,
            certificate: certificate.clone(),
        };
        match gate.decide(&request, NOW) {
            Decision::Forward(permit) => {
                let who = permit.identity().map_or_else(
                    |why| format!("nobody ({})", why.as_str()),
                    |it| {
                        let proof = match it.proof() {
                            Proof::Session(_) => "session",
                            Proof::Token(_) => "token",
                            Proof::Basic => "password",
                            Proof::Certificate => "certificate",
                        };
                        format!("{} by {proof}", it.user().name)
                    },
                );
                match permit.certificate() {
                    Ok(_) => format!("{who} + certificate"),
                    Err(_) => who,
                }
            }
            Decision::Own(page, who) => format!("{page:?} {}", who.is_ok()),
            Decision::Refuse(refusal) => match refusal.reason {
                RefusalReason::LoginNeeded(why) => format!("log in: {}", why.as_str()),
                RefusalReason::CertificateNeeded(why) => format!("certificate: {}", why.as_str()),
                RefusalReason::Forbidden(missing) => format!("lacks {missing}"),
                RefusalReason::NotOwner => "not the owner".into(),
                RefusalReason::AddressNotAllowed => "not from there".into(),
                other => format!("{other:?}"),
            },
        }
    }

    /// The decision over one route for all paths, where there is a login.
    #[track_caller]
    fn check(
        access: &Access,
        session: Result<&str, NoIdentity>,
        certificate: &Presented,
        expected: &str,
    ) {
        let said = decide(&[("", access.clone())], "/x", session, certificate, true);
        assert_eq!(said, expected);
    }

    fn grant(can: &str, credentials: Credentials) -> Grant {
        Grant {
            abilities: abilities(can),
            credentials,
            owner: None,
        }
    }

    fn can(can: &str, credentials: Credentials) -> Access {
        Access::Can(grant(can, credentials))
    }

    #[test]
    fn any_credential_that_is_enough_alone_admits_and_the_session_comes_first() {
        let edit = can("edit", Credentials::ANY);
        check(&edit, Ok("ada"), &NONE, "ada by session");
        check(
            &edit,
            Ok("ada"),
            &of("cam", "edit"),
            "ada by session + certificate",
        );
        check(
            &edit,
            Err(NOT_PRESENTED),
            &of("cam", "edit"),
            "cam by certificate + certificate",
        );
        check(
            &edit,
            Ok("ralph"),
            &of("cam", "edit"),
            "cam by certificate + certificate",
        );
        check(&edit, Ok("ralph"), &of("cam", "view"), "lacks edit");
        check(&edit, Ok("ralph"), &NONE, "lacks edit");
        check(&edit, Err(NOT_PRESENTED), &of("cam", "view"), "lacks edit");
        check(&edit, Err(NOT_PRESENTED), &NONE, "log in: not_presented");
    }

    #[test]
    fn what_two_may_do_is_never_added_up() {
        let both = can("view open", Credentials::ANY);
        check(&both, Ok("ralph"), &of("door", "open"), "lacks open");
        check(&both, Err(NOT_PRESENTED), &of("door", "open"), "lacks view");
        check(
            &both,
            Ok("ralph"),
            &of("door", "view open"),
            "door by certificate + certificate",
        );
        let all = can("view open", Credentials::All);
        check(&all, Ok("ralph"), &of("door", "open"), "lacks open");
    }

    #[test]
    fn only_the_wanted_credential_counts() {
        let session = can("edit", Credentials::only(CredentialKind::Session));
        check(&session, Ok("ada"), &NONE, "ada by session");
        check(
            &session,
            Err(NOT_PRESENTED),
            &of("cam", "edit"),
            "log in: not_presented",
        );
        check(&session, Ok("ralph"), &of("cam", "edit"), "lacks edit");
        let certificate = can("edit", Credentials::only(CredentialKind::Certificate));
        check(
            &certificate,
            Ok("ralph"),
            &of("cam", "edit"),
            "cam by certificate + certificate",
        );
        check(&certificate, Ok("ada"), &NONE, "certificate: not_presented");
        check(
            &certificate,
            Ok("ada"),
            &Err(EXPIRED),
            "certificate: client_cert_expired",
        );
        let unknown = presented(CertificateProof::Chain, Err(NO_RULE));
        check(
            &certificate,
            Ok("ada"),
            &unknown,
            "certificate: client_cert_unknown",
        );
        check(&certificate, Ok("ada"), &of("cam", "view"), "lacks edit");
    }

    #[test]
    fn all_credentials_have_to_be_there_and_each_to_be_enough() {
        let all = can("edit", Credentials::All);
        check(
            &all,
            Ok("ada"),
            &of("cam", "edit"),
            "ada by session + certificate",
        );
        check(&all, Ok("ada"), &of("cam", "view"), "lacks edit");
        check(&all, Ok("ralph"), &of("cam", "edit"), "lacks edit");
        check(&all, Ok("ada"), &NONE, "certificate: not_presented");
        check(
            &all,
            Err(NOT_PRESENTED),
            &of("cam", "edit"),
            "log in: not_presented",
        );
        check(
            &all,
            Err(NOT_PRESENTED),
            &NONE,
            "certificate: not_presented",
        );
        check(
            &all,
            Err(DOWN),
            &of("cam", "edit"),
            "log in: session_store_unavailable",
        );
    }

    #[test]
    fn a_store_that_is_down_is_our_fault_unless_the_certificate_is_enough() {
        let down = "log in: session_store_unavailable";
        for credentials in [Credentials::ANY, Credentials::only(CredentialKind::Session)] {
            check(&can("edit", credentials), Err(DOWN), &NONE, down);
            check(
                &can("edit", credentials),
                Err(DOWN),
                &of("cam", "view"),
                down,
            );
        }
        let enough = of("cam", "edit");
        for credentials in [
            Credentials::ANY,
            Credentials::only(CredentialKind::Certificate),
        ] {
            let access = can("edit", credentials);
            check(
                &access,
                Err(DOWN),
                &enough,
                "cam by certificate + certificate",
            );
        }
    }

    #[test]
    fn where_there_is_no_login_a_certificate_is_what_is_missing() {
        let edit = [("", can("edit", Credentials::ANY))];
        let nobody = Err(NoIdentity::NotRequested);
        for (certificate, has_login, expected) in [
            (&NONE, true, "log in: not_requested"),
            (&NONE, false, "certificate: not_presented"),
            (&Err(EXPIRED), true, "log in: not_requested"),
            (&Err(EXPIRED), false, "certificate: client_cert_expired"),
        ] {
            let said = decide(&edit, "/x", nobody, certificate, has_login);
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn a_route_that_needs_a_certificate_asks_for_it_before_a_login() {
        let edit =
            Access::CertificateAndCan(grant("edit", Credentials::only(CredentialKind::Session)));
        let stranger = presented(CertificateProof::Chain, Err(NO_RULE));
        for access in [&Access::Certificate, &edit] {
            check(
                access,
                Err(NOT_PRESENTED),
                &NONE,
                "certificate: not_presented",
            );
            check(access, Ok("ada"), &NONE, "certificate: not_presented");
            check(
                access,
                Ok("ada"),
                &Err(EXPIRED),
                "certificate: client_cert_expired",
            );
            check(access, Ok("ada"), &stranger, "ada by session + certificate");
        }
        check(
            &edit,
            Err(NOT_PRESENTED),
            &stranger,
            "log in: not_presented",
        );
        check(&edit, Ok("ralph"), &stranger, "lacks edit");
        let unknown = "nobody (client_cert_unknown) + certificate";
        check(&Access::Certificate, Err(NOT_PRESENTED), &stranger, unknown);
    }

    #[test]
    fn a_certificate_that_nobody_vouches_for_means_nothing_unless_a_rule_knows_it() {
        let own = |client| presented(CertificateProof::Possession, client);
        let (known, stranger) = (own(Ok(user("cam", "view"))), own(Err(NO_RULE)));
        let cam = "cam by certificate + certificate";
        check(&Access::Certificate, Err(NOT_PRESENTED), &known, cam);
        let refused = "certificate: client_cert_unknown";
        check(&Access::Certificate, Err(NOT_PRESENTED), &stranger, refused);
        check(&Access::Public, Err(NOT_PRESENTED), &known, cam);
        let nobody = "nobody (client_cert_unknown)";
        check(&Access::Public, Err(NOT_PRESENTED), &stranger, nobody);
        check(&Access::Public, Ok("ada"), &stranger, "ada by session");
    }

    #[test]
    fn who_was_disabled_is_so_with_a_certificate_too() {
        let view = can("view", Credentials::only(CredentialKind::Certificate));
        let gone = "certificate: user_gone";
        check(&view, Err(NOT_PRESENTED), &of("gone", "view"), gone);
        check(
            &view,
            Err(NOT_PRESENTED),
            &of("ralph", "view"),
            "ralph by certificate + certificate",
        );
        let own = presented(CertificateProof::Possession, Ok(user("gone", "view")));
        check(&Access::Certificate, Err(NOT_PRESENTED), &own, gone);
    }

    #[test]
    fn the_certificate_of_somebody_disabled_vouches_for_nothing() {
        let both =
            Access::CertificateAndCan(grant("view", Credentials::only(CredentialKind::Session)));
        let (gone, ralph) = (of("gone", "view"), of("ralph", "view"));
        let refused = "certificate: user_gone";
        for access in [&Access::Certificate, &both] {
            check(access, Ok("ada"), &gone, refused);
            check(access, Ok("ada"), &ralph, "ada by session + certificate");
        }
        check(&Access::Certificate, Err(NOT_PRESENTED), &gone, refused);
        let known = "ralph by certificate + certificate";
        check(&Access::Certificate, Err(NOT_PRESENTED), &ralph, known);
        // Where anybody may, they are nobody.
        let nobody = "nobody (user_gone)";
        check(&Access::Public, Err(NOT_PRESENTED), &gone, nobody);
        check(&Access::Public, Ok("ada"), &gone, "ada by session");
        check(&Access::Public, Err(NOT_PRESENTED), &ralph, known);
    }

    #[test]
    fn on_public_routes_the_best_that_is_known_is_told() {
        for (session, certificate, expected) in [
            (Ok("ada"), of("cam", ""), "ada by session + certificate"),
            (
                Err(NOT_PRESENTED),
                of("cam", ""),
                "cam by certificate + certificate",
            ),
            (Err(DOWN), of("cam", ""), "cam by certificate + certificate"),
            (Err(NOT_PRESENTED), NONE, "nobody (not_presented)"),
            (
                Err(NOT_PRESENTED),
                Err(EXPIRED),
                "nobody (client_cert_expired)",
            ),
            (
                Err(DOWN),
                Err(EXPIRED),
                "nobody (session_store_unavailable)",
            ),
            (
                Err(NoIdentity::NotRequested),
                NONE,
                "nobody (not_requested)",
            ),
        ] {
            check(&Access::Public, session, &certificate, expected);
        }
    }

    #[test]
    fn our_own_pages_know_sessions_only() {
        let said = |session| {
            let routes = [("", Access::Public)];
            decide(&routes, "/auth/logout", session, &of("cam", "view"), true)
        };
        assert_eq!(said(Ok("ada")), "Logout true");
        assert_eq!(said(Err(NOT_PRESENTED)), "Logout false");
    }

    // === What comes in the Authorization field ===

    fn by_token(byte: u8) -> Authorization {
        Ok(PresentedAuthorization::Token(TokenDigest([byte; 32])))
    }

    fn by_password(name: &str) -> Authorization {
        Ok(PresentedAuthorization::Basic {
            user: UserName::parse(name).unwrap(),
            credential_epoch: 0,
        })
    }

    const fn one_of(kinds: &[CredentialKind]) -> Credentials {
        Credentials::OneOf(CredentialSet::of(kinds))
    }

    const MACHINES: Credentials = one_of(&[CredentialKind::Basic, CredentialKind::Token]);
    const EACH: Credentials = one_of(&[
        CredentialKind::Session,
        CredentialKind::Certificate,
        CredentialKind::Basic,
        CredentialKind::Token,
    ]);

    const fn invalid(why: InvalidIdentity) -> Authorization {
        Err(NoIdentity::Invalid(why))
    }

    #[track_caller]
    fn check_by(
        access: &Access,
        session: Result<&str, NoIdentity>,
        authorization: Authorization,
        certificate: &Presented,
        expected: &str,
    ) {
        let presented = (session, authorization, certificate);
        let said = decide_by(&[("", access.clone())], "/x", presented, true);
        assert_eq!(said, expected);
    }

    const NOBODY: Result<&str, NoIdentity> = Err(NOT_PRESENTED);

    #[test]
    fn a_token_may_do_what_both_it_and_its_user_may() {
        let [view, edit, open, nothing] =
            ["view", "edit", "open", ""].map(|can_do| can(can_do, MACHINES));
        for (byte, expected) in [
            (b'v', ["ada by token", "lacks edit", "lacks open"]),
            (b'*', ["ada by token", "ada by token", "lacks open"]),
            // It says more than its user may.
            (b'x', ["ada by token", "lacks edit", "lacks open"]),
            (b'0', ["lacks view", "lacks edit", "lacks open"]),
        ] {
            for (access, expected) in [&view, &edit, &open].into_iter().zip(expected) {
                check_by(access, NOBODY, by_token(byte), &NONE, expected);
            }
            check_by(&nothing, NOBODY, by_token(byte), &NONE, "ada by token");
        }
    }

    #[test]
    fn a_token_that_is_over_or_gone_or_of_nobody_proves_nothing() {
        let view = can("view", MACHINES);
        for (byte, expected) in [
            (b'n', "ada by token"),
            (b'e', "log in: token_expired"),
            (b'g', "log in: token_user_gone"),
            (b'?', "log in: token_unknown"),
        ] {
            check_by(&view, NOBODY, by_token(byte), &NONE, expected);
        }
    }

    #[test]
    fn a_password_that_came_with_the_request_is_that_of_a_user_as_they_are_now() {
        let edit = can("edit", MACHINES);
        check_by(&edit, NOBODY, by_password("ada"), &NONE, "ada by password");
        check_by(&edit, NOBODY, by_password("ralph"), &NONE, "lacks edit");
        let gone = "log in: user_gone";
        check_by(&edit, NOBODY, by_password("gone"), &NONE, gone);
        check_by(&edit, NOBODY, by_password("nobody"), &NONE, gone);
        let old = PresentedAuthorization::Basic {
            user: UserName::parse("ada").unwrap(),
            credential_epoch: 1,
        };
        check_by(&edit, NOBODY, Ok(old), &NONE, "log in: password_changed");
    }

    #[test]
    fn what_no_route_names_is_not_taken() {
        let only = |kind| can("view", Credentials::only(kind));
        let none = "log in: not_presented";
        let certificate = "certificate: not_presented";
        for (access, token, password) in [
            (only(CredentialKind::Token), "ada by token", "NOT"),
            (only(CredentialKind::Basic), "NOT", "ada by password"),
            (only(CredentialKind::Session), none, none),
            (only(CredentialKind::Certificate), certificate, certificate),
            (can("view", Credentials::ANY), none, none),
            (can("view", Credentials::All), certificate, certificate),
            (can("view", EACH), "ada by token", "ada by password"),
        ] {
            for (authorization, expected) in
                [(by_token(b'*'), token), (by_password("ada"), password)]
            {
                if expected == "NOT" {
                    let presented = (NOBODY, authorization, &NONE);
                    let said = decide_by(&[("", access.clone())], "/x", presented, true);
                    assert_eq!(said, "certificate: not_requested");
                } else {
                    check_by(&access, NOBODY, authorization, &NONE, expected);
                }
            }
        }
        let public = "nobody (not_presented)";
        check_by(&Access::Public, NOBODY, NO_FIELD, &NONE, public);
    }

    #[test]
    fn of_all_that_are_enough_the_person_comes_first_and_the_connection_last() {
        let (view, edit) = (can("view", EACH), can("edit", EACH));
        let cam = of("cam", "view edit");
        let token = || by_token(b'*');
        check_by(
            &view,
            Ok("ralph"),
            token(),
            &cam,
            "ralph by session + certificate",
        );
        check_by(
            &edit,
            Ok("ralph"),
            token(),
            &cam,
            "ada by token + certificate",
        );
        check_by(&view, NOBODY, token(), &cam, "ada by token + certificate");
        let cam_alone = "cam by certificate + certificate";
        check_by(&edit, Ok("ralph"), by_token(b'v'), &cam, cam_alone);
        check_by(&edit, Ok("ralph"), by_token(b'v'), &NONE, "lacks edit");
        // One that is wrong is no better than none.
        check_by(
            &view,
            Ok("ralph"),
            by_token(b'e'),
            &NONE,
            "ralph by session",
        );
        let wrong = || invalid(InvalidIdentity::WrongPassword);
        check_by(&view, Ok("ralph"), wrong(), &NONE, "ralph by session");
        check_by(&view, NOBODY, wrong(), &NONE, "log in: bad_credentials");
        check_by(&view, NOBODY, NO_FIELD, &NONE, "log in: not_presented");
        // What a certificate is known for is never added to what a token is.
        let both = can("view open", EACH);
        check_by(
            &both,
            NOBODY,
            by_token(b'*'),
            &of("door", "open"),
            "lacks open",
        );
    }

    #[test]
    fn what_nobody_has_looked_at_is_our_fault_unless_something_else_is_enough() {
        let edit = can("edit", EACH);
        for (why, word) in [
            (InvalidIdentity::LockedOut(7), "log in: locked"),
            (InvalidIdentity::TooManyLogins, "log in: throttled"),
            (
                InvalidIdentity::LoginUnavailable,
                "log in: login_unavailable",
            ),
        ] {
            check_by(&edit, NOBODY, invalid(why), &NONE, word);
            check_by(&edit, Ok("ralph"), invalid(why), &of("cam", "view"), word);
            check_by(&edit, Ok("ada"), invalid(why), &NONE, "ada by session");
        }
        check_by(&edit, Err(DOWN), by_token(b'*'), &NONE, "ada by token");
        let down = "log in: session_store_unavailable";
        check_by(&edit, Err(DOWN), by_token(b'v'), &NONE, down);
    }

    #[test]
    fn a_field_with_two_readings_is_refused_where_it_is_taken_whatever_else_is_there() {
        let malformed = || invalid(InvalidIdentity::MalformedAuthorization);
        let cam = of("cam", "view");
        let refused = "MalformedAuthorization";
        check_by(&can("view", EACH), Ok("ada"), malformed(), &cam, refused);
        check_by(&can("view", MACHINES), NOBODY, malformed(), &NONE, refused);
        // Elsewhere it is the backend's, and nobody even looks.
        let any = can("view", Credentials::ANY);
        check_by(&any, Ok("ada"), malformed(), &NONE, "ada by session");
    }

    #[test]
    fn machines_need_no_certificate_where_nothing_asks_for_one() {
        let needed = |credentials, authorization: Authorization| {
            let routes = [("", can("view", credentials))];
            let presented = (Err(NoIdentity::NotRequested), authorization, &NONE);
            decide_by(&routes, "/x", presented, false)
        };
        assert_eq!(needed(MACHINES, NO_FIELD), "log in: not_presented");
        assert_eq!(needed(MACHINES, by_token(b'*')), "ada by token");
        let or_certificate = one_of(&[CredentialKind::Certificate, CredentialKind::Token]);
        assert_eq!(needed(or_certificate, NO_FIELD), "log in: not_presented");
        let both = Access::CertificateAndCan(grant("view", MACHINES));
        let missing = "certificate: not_presented";
        check_by(&both, NOBODY, by_token(b'*'), &NONE, missing);
        let stranger = presented(CertificateProof::Chain, Err(NO_RULE));
        let ada = "ada by token + certificate";
        check_by(&both, NOBODY, by_token(b'*'), &stranger, ada);
    }

    #[test]
    fn where_two_routes_count_both_have_to_take_it() {
        let token = Credentials::only(CredentialKind::Token);
        let basic = Credentials::only(CredentialKind::Basic);
        let said = |first, second, presented| {
            let routes = [("/admin/", can("edit", first)), ("", can("view", second))];
            decide_by(&routes, "/ADMIN/", presented, true)
        };
        let by = |authorization| (NOBODY, authorization, &NONE);
        assert_eq!(said(token, token, by(by_token(b'*'))), "ada by token");
        assert_eq!(said(token, token, by(by_token(b'v'))), "lacks edit");
        assert_eq!(said(MACHINES, token, by(by_token(b'*'))), "ada by token");
        let nobody = "certificate: not_requested";
        assert_eq!(said(MACHINES, token, by(by_password("ada"))), nobody);
        assert_eq!(said(token, basic, by(by_token(b'*'))), nobody);
        assert_eq!(said(token, basic, by(by_password("ada"))), nobody);
        let any = Credentials::ANY;
        let refused = "log in: not_presented";
        assert_eq!(said(token, any, by(by_token(b'*'))), refused);
        assert_eq!(said(any, token, by(by_token(b'*'))), nobody);
        // A session that is enough for the one and a token for the other are two people.
        let mixed = (Ok("ralph"), by_token(b'*'), &NONE);
        assert_eq!(said(token, any, mixed), nobody);
    }

    #[test]
    fn what_is_taken_is_known_beforehand_for_all_routes_that_count() {
        let token = Credentials::only(CredentialKind::Token);
        let routes = vec![
            route("/admin/", &["GET"], can("edit", token)),
            route("/open/", &[], Access::Public),
            route(
                "",
                &[],
                can("view", Credentials::only(CredentialKind::Basic)),
            ),
        ];
        let gate = Gate {
            routes: RouteTable::new(routes).into(),
            users: users(),
            clients: Arc::default(),
            sessions: SessionPolicy::default(),
            own_pages: Some(OwnPaths {
                login: "/auth/login".into(),
                logout: "/auth/logout".into(),
            }),
        };
        assert!(gate.routes.takes_authorization());
        let set = CredentialSet::of;
        for (method, path, expected) in [
            ("GET", "/admin/x", set(&[CredentialKind::Token])),
            (
                "GET",
                "/ADMIN/x",
                set(&[CredentialKind::Token, CredentialKind::Basic]),
            ),
            ("GET", "/x", set(&[CredentialKind::Basic])),
            ("GET", "/open/x", CredentialSet::NONE),
            ("PUT", "/admin/x", CredentialSet::NONE),
            ("GET", "/admin/../x", CredentialSet::NONE),
            ("GET", "/auth/login", CredentialSet::NONE),
        ] {
            assert_eq!(gate.taken(method, None, path), expected, "{method} {path}");
        }
    }

    // === Owners ===

    fn owned(can: &str, credentials: Credentials, pattern: &str, owner: &str, or: &str) -> Access {
        let pattern = PathPattern::parse(pattern).unwrap();
        Access::Can(Grant {
            owner: Some(Owner::parse(owner, &pattern, abilities(or)).unwrap()),
            ..grant(can, credentials)
        })
    }

    #[track_caller]
    fn check_path(
        routes: &[(&str, Access)],
        path: &str,
        session: Result<&str, NoIdentity>,
        certificate: &Presented,
        expected: &str,
    ) {
        let said = decide(routes, path, session, certificate, true);
        assert_eq!(said, expected, "{path}");
    }

    #[test]
    fn what_belongs_to_somebody_is_for_them_and_for_those_above() {
        const FILES: &str = "/files/{name}/";
        let routes = [(
            FILES,
            owned("view", Credentials::ANY, FILES, "{name}", "edit"),
        )];
        let ralph = "ralph by session";
        for (path, name, expected) in [
            ("/files/ralph", "ralph", ralph),
            ("/files/ralph/", "ralph", ralph),
            ("/files/ralph/a/b", "ralph", ralph),
            ("/files/%72alph/a", "ralph", ralph),
            ("/files/Zoe/a", "Zoe", "Zoe by session"),
            ("/files/zoe/a", "Zoe", "not the owner"),
            ("/files/Ralph/a", "ralph", "not the owner"),
            ("/files/ralph./a", "ralph", "not the owner"),
            ("/files/ralph%20/a", "ralph", "not the owner"),
            ("/files/ralph%3F/a", "ralph", "not the owner"),
            ("/files/ralphs/a", "ralph", "not the owner"),
            ("/files/ralp/a", "ralph", "not the owner"),
            ("/files/Zoe/ralph", "ralph", "not the owner"),
            // Windows would take it for x's.
            ("/files/x./a", "x.", "not the owner"),
            ("/files/ralph/a", "ada", "ada by session"),
            ("/files/", "ada", "NoRoute"),
        ] {
            check_path(&routes, path, Ok(name), &NONE, expected);
        }
        let cam = of("cam-1", "view");
        let by_certificate = "cam-1 by certificate + certificate";
        check_path(
            &routes,
            "/files/cam-1/a",
            Err(NOT_PRESENTED),
            &cam,
            by_certificate,
        );
        check_path(&routes, "/files/cam-1/a", Ok("ralph"), &cam, by_certificate);
        check_path(
            &routes,
            "/files/cam-2/a",
            Ok("ralph"),
            &cam,
            "not the owner",
        );
        check_path(
            &routes,
            "/files/ralph/a",
            Err(NOT_PRESENTED),
            &NONE,
            "log in: not_presented",
        );
        // To own it is not enough.
        let routes = [(FILES, owned("edit", Credentials::ANY, FILES, "{name}", ""))];
        check_path(&routes, "/files/ralph/a", Ok("ralph"), &NONE, "lacks edit");
        check_path(&routes, "/files/ada/a", Ok("ada"), &NONE, "ada by session");
        check_path(&routes, "/files/x/a", Ok("ada"), &NONE, "not the owner");
    }

    #[test]
    fn either_of_two_may_be_the_owner_where_both_are_needed() {
        const PATH: &str = "/{site}/{id}";
        let owner = "spiffe://{site}/{id}";
        let routes = [(PATH, owned("view", Credentials::All, PATH, owner, "edit"))];
        let cam = of("spiffe://north/7", "view");
        check_path(
            &routes,
            "/north/7",
            Ok("ralph"),
            &cam,
            "ralph by session + certificate",
        );
        check_path(&routes, "/north/8", Ok("ralph"), &cam, "not the owner");
        check_path(
            &routes,
            "/north/8",
            Ok("ada"),
            &cam,
            "ada by session + certificate",
        );
        check_path(
            &routes,
            "/north/8",
            Ok("ralph"),
            &NONE,
            "certificate: not_presented",
        );
    }

    #[test]
    fn whoever_owns_a_path_owns_it_in_every_spelling() {
        const FILES: &str = "/files/{name}/";
        let owned = || owned("view", Credentials::ANY, FILES, "{name}", "");
        let routes = [(FILES, owned()), ("", can("view", Credentials::ANY))];
        for (path, name, expected) in [
            ("/FILES/ralph/a", "ralph", "ralph by session"),
            ("/FILES/ralph/a", "ada", "not the owner"),
            // As a backend that folds would take it for ralph's.
            ("/FILES/RALPH/a", "ralph", "not the owner"),
            ("/FILES/ralph./a", "ralph", "not the owner"),
            ("/FILES/ralph%3F/a", "ralph", "not the owner"),
            ("/FILES/.../a", "ralph", "not the owner"),
            ("/FILES/Zoe/a", "Zoe", "not the owner"),
            ("/FILES/", "ralph", "ralph by session"),
            ("/files/", "ralph", "ralph by session"),
            ("/other/", "ralph", "ralph by session"),
        ] {
            check_path(&routes, path, Ok(name), &NONE, expected);
        }
    }

    #[test]
    fn where_two_routes_count_one_and_the_same_has_to_satisfy_both() {
        let both = |first, second| [("/admin/", first), ("", second)];
        let routes = both(can("edit", Credentials::ANY), can("view", Credentials::ANY));
        for (path, session, certificate, expected) in [
            ("/ADMIN/", Ok("ada"), &NONE, "ada by session"),
            ("/ADMIN/", Ok("ralph"), &NONE, "lacks edit"),
            // ralph may use the one, the device the other.
            ("/ADMIN/", Ok("ralph"), &of("cam", "edit"), "lacks edit"),
            (
                "/ADMIN/",
                Ok("ralph"),
                &of("cam", "edit view"),
                "cam by certificate + certificate",
            ),
        ] {
            check_path(&routes, path, session, certificate, expected);
        }
        let routes = both(
            can("edit", Credentials::only(CredentialKind::Certificate)),
            can("view", Credentials::only(CredentialKind::Session)),
        );
        let cam = of("cam", "edit view");
        check_path(
            &routes,
            "/ADMIN/",
            Ok("ada"),
            &cam,
            "certificate: not_requested",
        );
        let routes = both(
            can("edit", Credentials::ANY),
            can("view", Credentials::only(CredentialKind::Certificate)),
        );
        check_path(
            &routes,
            "/ADMIN/",
            Ok("ada"),
            &of("cam", "view"),
            "lacks edit",
        );
        check_path(
            &routes,
            "/ADMIN/",
            Ok("ada"),
            &NONE,
            "certificate: not_presented",
        );
        let routes = both(Access::Certificate, can("view", Credentials::ANY));
        check_path(
            &routes,
            "/ADMIN/",
            Ok("ada"),
            &NONE,
            "certificate: not_presented",
        );
        check_path(
            &routes,
            "/ADMIN/",
            Err(NOT_PRESENTED),
            &NONE,
            "certificate: not_presented",
        );
        check_path(
            &routes,
            "/ADMIN/",
            Ok("ada"),
            &cam,
            "ada by session + certificate",
        );
        let routes = both(can("edit", Credentials::ANY), Access::Public);
        check_path(
            &routes,
            "/ADMIN/",
            Err(NOT_PRESENTED),
            &cam,
            "cam by certificate + certificate",
        );
        check_path(
            &routes,
            "/x",
            Err(NOT_PRESENTED),
            &NONE,
            "nobody (not_presented)",
        );
    }

    #[test]
    fn an_owner_is_made_of_what_is_in_the_path() {
        let pattern = PathPattern::parse("/a/{site}/{id}/").unwrap();
        let parse = |text| Owner::parse(text, &pattern, Vec::new()).map(drop);
        for good in ["{id}", "{site}-{id}", "ada", "{id}{id}"] {
            assert_eq!(parse(good), Ok(()), "{good}");
        }
        assert_eq!(parse("{name}"), Err(InvalidOwner::Unknown("name".into())));
        for bad in ["", "{", "{}", "{ID}"] {
            assert!(
                matches!(parse(bad), Err(InvalidOwner::Unreadable(_))),
                "{bad}"
            );
        }
        let none = Owner::parse("{id}", &PathPattern::Any, Vec::new());
        assert_eq!(none, Err(InvalidOwner::Unknown("id".into())));
    }
}
