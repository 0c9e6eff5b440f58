//! The decision: route → authenticate → authorize, and nothing else.
//!
//! Pure: no socket, clock, header map or cryptography in this folder. It takes a view of the
//! request and the time, and returns a [`Decision`]; so it is tested by tables, can be fuzzed, and
//! says the same to `explain` as to a client.

pub mod ability;
mod ambiguous;
pub mod authenticate;
pub mod authorize;
pub mod clients;
pub mod path;
pub mod request;
pub mod route;
pub mod session;
pub mod users;

use std::sync::Arc;

use crate::identity::host::HostName;
use authenticate::Proved;
use authorize::{Permit, Refusal, RefusalReason, authorize, rules, taken_by};
use clients::Clients;
use path::DecodedPath;
use request::{Destination, RequestView};
use route::{CredentialSet, Found, RouteTable};
use session::{SessionPolicy, Timestamp};
use users::Users;

/// Everything a decision is made by.
#[derive(Debug)]
pub struct Gate {
    /// The rules.
    pub routes: Arc<RouteTable>,
    /// The people.
    pub users: Users,
    /// Whose the certificates are.
    pub clients: Arc<Clients>,
    /// How long a login lasts.
    pub sessions: SessionPolicy,
    /// The paths of the login and logout pages; absent when there is no login.
    pub own_pages: Option<OwnPaths>,
}

/// Where the gate's own pages are, as decoded paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPaths {
    /// The login page and form target.
    pub login: String,
    /// The logout page and form target.
    pub logout: String,
}

/// What to do with a request.
#[derive(Debug)]
pub enum Decision {
    /// Forward it, and the permit to do so.
    Forward(Permit),
    /// Answer it with a page of our own, for whoever has logged in.
    Own(
        OwnPage,
        Result<authenticate::Principal, crate::identity::NoIdentity>,
    ),
    /// Refuse it.
    Refuse(Refusal),
}

/// A page of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnPage {
    /// The login form, and what it posts to.
    Login,
    /// The logout form, and what it posts to.
    Logout,
}

impl Gate {
    /// Decides about one request at one time.
    #[must_use]
    pub fn decide(&self, request: &RequestView<'_>, now: Timestamp) -> Decision {
        let decision = self.decide_path(request, now);
        match (decision, &request.destination) {
            (Decision::Forward(permit), Destination::Path(path)) => {
                let there = RequestView {
                    path,
                    ..request.clone()
                };
                match allow_writing(permit, self.decide_path(&there, now)) {
                    Decision::Forward(permit)
                        if [request.path, &**path]
                            .iter()
                            .any(|it| self.holds_others(it, &permit)) =>
                    {
                        refuse_destination(&permit)
                    }
                    decision => decision,
                }
            }
            (Decision::Forward(permit), Destination::Elsewhere) => refuse_destination(&permit),
            (decision, _) => decision,
        }
    }

    /// Whether something is below that path which is another route's, and not for everybody: a folder
    /// is copied or moved with all that is in it. Of a path with several readings nobody knows.
    fn holds_others(&self, path: &str, permit: &Permit) -> bool {
        DecodedPath::parse(path)
            .map_or(true, |path| self.routes.guards_below(&path, permit.route()))
    }

    fn decide_path(&self, request: &RequestView<'_>, now: Timestamp) -> Decision {
        let proved = Proved::by(request, &self.users, &self.sessions, now);
        let path = match DecodedPath::parse(request.path) {
            Ok(path) => path,
            Err(why) => return self.decide_ambiguous(request, why, proved),
        };
        if let Some(page) = self.own_page(&path) {
            // A certificate is no login: nobody can log out of one.
            return Decision::Own(page, proved.session);
        }
        let found = self.find(request.method, request.authority, &path);
        let (reason, route) = match found {
            Found::Route { route, also } => {
                let has_login = self.own_pages.is_some();
                let rules = rules(route, &also, &path);
                let who = (proved, request.address);
                return match authorize(&self.routes, route, rules, who, has_login) {
                    Ok(permit) => Decision::Forward(permit),
                    Err(refusal) => Decision::Refuse(refusal),
                };
            }
            Found::MethodNotAllowed { route, allow } => {
                let route = Some(Arc::clone(route));
                (RefusalReason::MethodNotAllowed(allow), route)
            }
            Found::Nothing => (RefusalReason::NoRoute, None),
        };
        Decision::Refuse(Refusal {
            reason,
            route,
            identity: proved.best(),
        })
    }

    /// What may prove who is asking, for a request of which no more is known than where it is to go:
    /// for whoever has to know what to look at before there is anything to decide by. Nothing where
    /// no credentials would help.
    #[must_use]
    pub fn taken(&self, method: &str, authority: Option<&str>, path: &str) -> CredentialSet {
        match DecodedPath::parse(path) {
            Ok(path) if self.own_page(&path).is_none() => {
                match self.find(method, authority, &path) {
                    Found::Route { route, also } => taken_by(rules(route, &also, &path)),
                    Found::MethodNotAllowed { .. } | Found::Nothing => CredentialSet::NONE,
                }
            }
            Ok(_) => CredentialSet::NONE,
            Err(why) => self.taken_by_ambiguous((method, authority, path), why),
        }
    }

    fn find(&self, method: &str, authority: Option<&str>, path: &DecodedPath<'_>) -> Found<'_> {
        let authority = authority.filter(|_| self.routes.names_hosts());
        let host = authority.map(HostName::from_authority);
        self.routes.find(host.as_ref(), path, method)
    }

    fn own_page(&self, path: &DecodedPath<'_>) -> Option<OwnPage> {
        let own = self.own_pages.as_ref()?;
        match path.as_str() {
            path if path == own.login => Some(OwnPage::Login),
            path if path == own.logout => Some(OwnPage::Logout),
            _ => None,
        }
    }
}

/// The permit for a request that also writes somewhere else, where it would have got one there too:
/// for the same backend under the same rules. Otherwise whoever may write in one folder could move
/// what is there into any other.
fn allow_writing(permit: Permit, there: Decision) -> Decision {
    match there {
        Decision::Refuse(refusal) => Decision::Refuse(refusal),
        Decision::Forward(other) if permit.goes_with(&other) => Decision::Forward(permit),
        Decision::Forward(_) | Decision::Own(..) => refuse_destination(&permit),
    }
}

fn refuse_destination(permit: &Permit) -> Decision {
    Decision::Refuse(Refusal {
        reason: RefusalReason::Destination,
        route: Some(Arc::clone(permit.route())),
        identity: permit.identity().cloned().map_err(|why| *why),
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::ability::{Ability, Roles};
    use super::request::PresentedSession;
    use super::route::{Access, route};
    use super::session::{Session, SessionDigest};
    use super::users::User;
    use super::*;
    use crate::identity::{InvalidIdentity, NoIdentity, UserName};

    const NOW: Timestamp = Timestamp(1_000_000);

    fn user(name: &str, role: &str, disabled: bool) -> User {
        let items = [
            ("user".to_owned(), vec!["view".to_owned()]),
            (
                "admin".to_owned(),
                vec!["view".to_owned(), "edit".to_owned()],
            ),
        ];
        User {
            name: UserName::parse(name).unwrap(),
            roles: vec![role.into()],
            groups: None,
            abilities: Roles::from_map(&items.into()).abilities_of([role]),
            disabled,
            email: None,
            display_name: None,
            credential_epoch: 1,
        }
    }

    fn gate() -> Gate {
        let can = |ability| Access::can(vec![Ability::new(ability)]);
        Gate {
            routes: Arc::new(RouteTable::new(vec![
                route("/public/tree/inner/", &["GET"], can("edit")),
                route("/public/", &[], Access::Public),
                route("/admin/", &["GET"], can("edit")),
                route("/app/", &[], can("view")),
            ])),
            users: [
                user("ralph", "user", false),
                user("ada", "admin", false),
                user("gone", "admin", true),
            ]
            .into_iter()
            .collect(),
            clients: Arc::default(),
            sessions: SessionPolicy {
                idle: Duration::from_secs(60),
                lifetime: Duration::from_secs(600),
                remember: None,
            },
            own_pages: Some(OwnPaths {
                login: "/auth/login".into(),
                logout: "/auth/logout".into(),
            }),
        }
    }

    fn session_of(
        name: &str,
        epoch: u64,
        begun: Timestamp,
    ) -> Result<PresentedSession, NoIdentity> {
        let session = Session::begin(UserName::parse(name).unwrap(), epoch, begun);
        Ok(PresentedSession {
            digest: SessionDigest([0; 32]),
            session: session.into(),
        })
    }

    fn anonymous() -> Result<PresentedSession, NoIdentity> {
        Err(NoIdentity::NotPresented)
    }

    /// One word for the decision, so that the tables read as rules.
    fn decide(method: &str, path: &str, session: Result<PresentedSession, NoIdentity>) -> String {
        decide_both(method, path, Destination::None, session)
    }

    fn decide_both(
        method: &str,
        path: &str,
        destination: Destination<'_>,
        session: Result<PresentedSession, NoIdentity>,
    ) -> String {
        let request = RequestView {
            method,
            authority: None,
            path,
            address: Ipv4Addr::new(192, 0, 2, 7).into(),
            destination,
            session,
            authorization: Err(NoIdentity::NotPresented),
            certificate: Err(NoIdentity::NotRequested),
        };
        match gate().decide(&request, NOW) {
            Decision::Forward(permit) => match permit.identity() {
                Ok(principal) => format!("forward as {}", principal.user().name),
                Err(_) => "forward".into(),
            },
            Decision::Own(page, _) => format!("{page:?}"),
            Decision::Refuse(refusal) => match refusal.reason {
                RefusalReason::Ambiguous(_) | RefusalReason::MalformedAuthorization => "400".into(),
                RefusalReason::NoRoute => "404".into(),
                RefusalReason::MethodNotAllowed(_) => "405".into(),
                RefusalReason::LoginNeeded(why) => format!("login: {}", why.as_str()),
                RefusalReason::Forbidden(missing) => format!("403 {missing}"),
                RefusalReason::CertificateNeeded(why) => format!("403 {}", why.as_str()),
                RefusalReason::NotOwner => "403 not the owner".into(),
                RefusalReason::AddressNotAllowed => "403 from there".into(),
                RefusalReason::Destination => "403 destination".into(),
            },
        }
    }

    #[track_caller]
    fn check(
        method: &str,
        path: &str,
        session: Result<PresentedSession, NoIdentity>,
        expected: &str,
    ) {
        assert_eq!(decide(method, path, session), expected, "{method} {path}");
    }

    #[test]
    fn a_route_is_open_only_where_it_says_so() {
        check("GET", "/public/x", anonymous(), "forward");
        check("GET", "/app/x", anonymous(), "login: not_presented");
        check("GET", "/nowhere", anonymous(), "404");
    }

    #[test]
    fn an_ability_admits_and_its_lack_refuses() {
        check(
            "GET",
            "/admin/",
            session_of("ada", 1, NOW),
            "forward as ada",
        );
        check("GET", "/admin/", session_of("ralph", 1, NOW), "403 edit");
        check(
            "GET",
            "/app/",
            session_of("ralph", 1, NOW),
            "forward as ralph",
        );
    }

    #[test]
    fn the_identity_is_known_on_public_routes_too() {
        let session = session_of("ralph", 1, NOW);
        check("GET", "/public/", session, "forward as ralph");
    }

    #[test]
    fn a_wrong_method_is_405_before_anybody_is_asked_to_log_in() {
        check("DELETE", "/admin/", anonymous(), "405");
        check("GET", "/admin/", anonymous(), "login: not_presented");
    }

    #[test]
    fn a_path_with_two_readings_is_refused_whoever_asks() {
        for path in [
            "/admin/../public/x",
            "/public/..%2fadmin/",
            "//admin",
            "/admin;x",
        ] {
            check("GET", path, session_of("ada", 1, NOW), "400");
            check("GET", path, anonymous(), "400");
        }
    }

    #[test]
    fn a_session_proves_nothing_once_its_ground_is_gone() {
        use InvalidIdentity::*;
        let login = |why| format!("login: {}", NoIdentity::Invalid(why).as_str());
        let old = Timestamp(NOW.0 - 60_000);
        check(
            "GET",
            "/app/",
            session_of("ralph", 1, old),
            &login(IdleTooLong),
        );
        check("GET", "/app/", session_of("gone", 1, NOW), &login(UserGone));
        check(
            "GET",
            "/app/",
            session_of("nobody", 1, NOW),
            &login(UserGone),
        );
        check(
            "GET",
            "/app/",
            session_of("ralph", 2, NOW),
            &login(PasswordChanged),
        );
        let store_down = Err(NoIdentity::Invalid(StoreUnavailable));
        check("GET", "/app/", store_down, &login(StoreUnavailable));
    }

    #[test]
    fn what_is_moved_needs_to_be_allowed_where_it_goes_too() {
        use Destination::{Elsewhere, Path};
        for (path, destination, expected) in [
            ("/app/a", Path("/app/b".into()), "forward as ralph"),
            ("/app/a", Path("/admin/b".into()), "405"),
            ("/public/a", Path("/app/b".into()), "forward as ralph"),
            ("/app/a", Path("/app/../admin/b".into()), "400"),
            ("/app/a", Path("/nowhere".into()), "404"),
            ("/app/a", Path("/auth/login".into()), "403 destination"),
            ("/app/a", Elsewhere, "403 destination"),
            ("/app/", Path("/app/b".into()), "forward as ralph"),
            ("/public/tree/", Path("/public/x".into()), "403 destination"),
            ("/public/x", Path("/public/Tree".into()), "403 destination"),
            ("/public/tree/inner/x", Path("/public/x".into()), "405"),
        ] {
            let session = session_of("ralph", 1, NOW);
            let what = format!("{path} to {destination:?}");
            assert_eq!(
                decide_both("MOVE", path, destination, session),
                expected,
                "{what}"
            );
        }
        let decided = decide_both("MOVE", "/public/a", Path("/app/b".into()), anonymous());
        assert_eq!(decided, "login: not_presented");
    }

    #[test]
    fn our_own_pages_come_before_the_routes() {
        check("GET", "/auth/login", anonymous(), "Login");
        check("POST", "/auth/%6Cogout", anonymous(), "Logout");
        check("GET", "/auth/login/", anonymous(), "404");
    }
}
