//! From who is asking to whether they may: the only place that makes a [`Permit`].

use std::sync::Arc;

use super::ability::Ability;
use super::authenticate::{Principal, Proved};
use super::path::{AmbiguousPath, DecodedPath};
use super::route::{Credentials, Grant, Owner, Reading, Route};
use crate::identity::certificate::ClientIdentity;
use crate::identity::{InvalidIdentity, NoIdentity};

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

/// Decides whether a request that has `proved` this may use `route` (and all of `also`, where the
/// path leads folded). `has_login` says whether somebody who is not known can log in.
pub(super) fn authorize(
    route: &Arc<Route>,
    also: &[&Arc<Route>],
    proved: Proved,
    path: &DecodedPath<'_>,
    has_login: bool,
) -> Result<Permit, Refusal> {
    let also = also.iter().map(|also| (*also, Reading::Folded));
    let rules = std::iter::once((route, Reading::AsWritten)).chain(also);
    // First, so that nobody is sent to a login who would be refused after it all the same.
    for (rule, _) in rules.clone() {
        if let (true, Err(why)) = (rule.access.needs_certificate(), &proved.certificate) {
            return Err(refuse(RefusalReason::CertificateNeeded(*why), rule, proved));
        }
    }
    let mut chosen = None;
    let mut candidates = Candidates::of(&proved);
    for (rule, reading) in rules {
        let Some(grant) = rule.access.grant() else {
            continue;
        };
        let asked = Asked {
            grant,
            path,
            reading,
        };
        match candidates.narrow(&asked, has_login) {
            Ok(credential) => chosen = Some(credential),
            Err(reason) => return Err(refuse(reason, rule, proved)),
        }
    }
    let certificate = proved.certificate.clone();
    let identity = match chosen {
        None => proved.best(),
        Some(Credential::Session) => proved.session,
        Some(Credential::Certificate) => proved.client,
    };
    Ok(Permit {
        route: Arc::clone(route),
        identity,
        certificate,
    })
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
    Certificate,
}

/// Who may be the one that is asking. In the end it is one of them alone: the backend is told one
/// name, and acts for it. If what a device may do was added to what a person may, then everybody
/// who borrows the device could do in their own name what only the device is trusted with.
struct Candidates<'p> {
    proved: &'p Proved,
    session: Candidate<'p>,
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
    /// Of two routes that count, the other one does not take what they are known by.
    NotTaken,
}

impl<'p> Candidates<'p> {
    fn of(proved: &'p Proved) -> Self {
        let known = |it: &'p Result<Principal, _>| it.as_ref().map_err(|why| Unfit::Unknown(*why));
        Self {
            proved,
            session: known(&proved.session),
            client: known(&proved.client),
        }
    }

    /// Leaves those who have what is asked; which of them is to be taken.
    ///
    /// # Errors
    /// Why nobody is left.
    fn narrow(&mut self, asked: &Asked<'_>, has_login: bool) -> Result<Credential, RefusalReason> {
        match asked.grant.credentials {
            Credentials::Any => {
                asked.check(&mut self.session);
                asked.check(&mut self.client);
            }
            Credentials::Session => {
                asked.check(&mut self.session);
                self.client = Err(Unfit::NotTaken);
            }
            Credentials::Certificate => {
                self.session = Err(Unfit::NotTaken);
                asked.check(&mut self.client);
            }
            Credentials::All => {
                asked.check_both(self.proved)?;
                self.client = Err(Unfit::NotTaken);
            }
        }
        match (&self.session, &self.client) {
            (Ok(_), _) => Ok(Credential::Session),
            (Err(_), Ok(_)) => Ok(Credential::Certificate),
            (Err(session), Err(client)) => {
                let credentials = asked.grant.credentials;
                Err(nobody(
                    credentials,
                    session.clone(),
                    client.clone(),
                    has_login,
                ))
            }
        }
    }
}

/// What to say where nobody is left: what somebody lacks who is known, or else what would make
/// somebody known.
fn nobody(
    credentials: Credentials,
    session: Unfit,
    client: Unfit,
    has_login: bool,
) -> RefusalReason {
    use RefusalReason::{CertificateNeeded, LoginNeeded};
    use Unfit::{Lacks, NotTaken, Unknown};

    const STORE_DOWN: NoIdentity = NoIdentity::Invalid(InvalidIdentity::StoreUnavailable);
    match (credentials, session, client) {
        (Credentials::Session | Credentials::All, Unknown(why), _) => LoginNeeded(why),
        (Credentials::Session | Credentials::All, Lacks(reason), _) => reason,
        (Credentials::Certificate, _, Unknown(why)) => CertificateNeeded(why),
        (Credentials::Certificate, _, Lacks(reason)) => reason,
        // Whoever it is might be allowed to: that is our fault, and not theirs.
        (Credentials::Any, Unknown(STORE_DOWN), _) => LoginNeeded(STORE_DOWN),
        (Credentials::Any, Lacks(reason), _) | (Credentials::Any, _, Lacks(reason)) => reason,
        (Credentials::Any, Unknown(why), Unknown(_)) if has_login => LoginNeeded(why),
        (Credentials::Any, Unknown(_) | NotTaken, Unknown(why)) => CertificateNeeded(why),
        (Credentials::Any, Unknown(why), NotTaken) => LoginNeeded(why),
        // One wants a login and the other a certificate, and nobody is both.
        (Credentials::Session | Credentials::All, NotTaken, _)
        | (Credentials::Certificate, _, NotTaken)
        | (Credentials::Any, NotTaken, NotTaken) => CertificateNeeded(NoIdentity::NotRequested),
    }
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
    use super::super::clients::tests::certificate;
    use super::super::request::{PresentedCertificate, PresentedSession, RequestView};
    use super::super::route::{Access, InvalidOwner, PathPattern, RouteTable, route};
    use super::super::session::{Session, SessionDigest, SessionPolicy, Timestamp};
    use super::super::users::{User, Users};
    use super::super::{Decision, Gate, OwnPaths};
    use super::*;
    use crate::identity::UserName;
    use crate::identity::certificate::{CertificateProof, InvalidCertificate};

    const NOW: Timestamp = Timestamp(1_000_000);

    fn abilities(names: &str) -> Vec<Ability> {
        names.split_whitespace().map(Ability::new).collect()
    }

    fn user(name: &str, can: &str) -> User {
        User {
            name: UserName::of_certificate(name).unwrap(),
            roles: Vec::new(),
            abilities: AbilitySet::Some(abilities(can).into_iter().collect()),
            disabled: name == "gone",
            email: None,
            display_name: None,
            credential_epoch: 0,
        }
    }

    /// Who can log in.
    fn users() -> Users {
        let people = [
            user("ada", "view edit"),
            user("ralph", "view"),
            user("Zoe", "view"),
            user("x.", "view"),
            user("gone", "view edit"),
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

    /// One word for the decision; a route is wanted with the first of `routes`.
    #[track_caller]
    fn decide(
        routes: &[(&str, Access)],
        path: &str,
        session: Result<&str, NoIdentity>,
        certificate: &Presented,
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
            session,
            certificate: certificate.clone(),
        };
        match gate.decide(&request, NOW) {
            Decision::Forward(permit) => {
                let who = permit.identity().map_or_else(
                    |why| format!("nobody ({})", why.as_str()),
                    |it| match it.session() {
                        Some(_) => format!("{} by session", it.user().name),
                        None => format!("{} by certificate", it.user().name),
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
        let edit = can("edit", Credentials::Any);
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
        let both = can("view open", Credentials::Any);
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
        let session = can("edit", Credentials::Session);
        check(&session, Ok("ada"), &NONE, "ada by session");
        check(
            &session,
            Err(NOT_PRESENTED),
            &of("cam", "edit"),
            "log in: not_presented",
        );
        check(&session, Ok("ralph"), &of("cam", "edit"), "lacks edit");
        let certificate = can("edit", Credentials::Certificate);
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
        for credentials in [Credentials::Any, Credentials::Session] {
            check(&can("edit", credentials), Err(DOWN), &NONE, down);
            check(
                &can("edit", credentials),
                Err(DOWN),
                &of("cam", "view"),
                down,
            );
        }
        let enough = of("cam", "edit");
        for credentials in [Credentials::Any, Credentials::Certificate] {
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
        let edit = [("", can("edit", Credentials::Any))];
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
        let edit = Access::CertificateAndCan(grant("edit", Credentials::Session));
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
        let view = can("view", Credentials::Certificate);
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
        let both = Access::CertificateAndCan(grant("view", Credentials::Session));
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
            owned("view", Credentials::Any, FILES, "{name}", "edit"),
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
        let routes = [(FILES, owned("edit", Credentials::Any, FILES, "{name}", ""))];
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
        let owned = || owned("view", Credentials::Any, FILES, "{name}", "");
        let routes = [(FILES, owned()), ("", can("view", Credentials::Any))];
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
        let routes = both(can("edit", Credentials::Any), can("view", Credentials::Any));
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
            can("edit", Credentials::Certificate),
            can("view", Credentials::Session),
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
            can("edit", Credentials::Any),
            can("view", Credentials::Certificate),
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
        let routes = both(Access::Certificate, can("view", Credentials::Any));
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
        let routes = both(can("edit", Credentials::Any), Access::Public);
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
