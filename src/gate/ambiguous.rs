//! Paths that backends read differently: decided about by all that they may mean, and only where all
//! of it is one route's that lets such paths pass.
//!
//! That every reading leads to the same route is not enough by itself: what each folds to counts
//! too, as does whose it is. So each reading brings its own rules, and all have to be satisfied.

use std::sync::Arc;

use super::authenticate::Proved;
use super::authorize::{
    Ambiguity, Refusal, RefusalReason, Remedy, Rule, authorize, rules, taken_by,
};
use super::path::readings::Readings;
use super::path::relaxation::AmbiguousPath;
use super::request::RequestView;
use super::route::{CredentialSet, Found, Route};
use super::{Decision, Gate};

/// Method, authority and path of a request.
type Asked<'r> = (&'r str, Option<&'r str>, &'r str);

/// Where all readings of a path lead.
enum Place<'t> {
    /// To one route that lets it pass; with each reading, what it folds to.
    Route(&'t Arc<Route>, Vec<Vec<&'t Arc<Route>>>),
    /// To one that lets it pass and does not take the method; the value of the `Allow` field.
    MethodNotAllowed(&'t Arc<Route>, String),
}

/// What is wrong, and the route that all readings lead to, where there is one.
type Refused<'t> = (Ambiguity, Option<&'t Arc<Route>>);

impl Gate {
    /// As [`Gate::decide`], for a path that backends read differently, `why` being the first reason.
    #[cold]
    pub(super) fn decide_ambiguous(
        &self,
        request: &RequestView<'_>,
        why: AmbiguousPath,
        proved: Proved,
    ) -> Decision {
        let asked = (request.method, request.authority, request.path);
        let readings = self.readings(request.path);
        let (reason, route) = match self.place(asked, &readings, why) {
            Ok(Place::Route(route, also)) => {
                let rules = all_rules(route, &also, &readings);
                let has_login = self.own_pages.is_some();
                let who = (proved, request.address);
                return match authorize(&self.routes, route, rules, who, has_login) {
                    Ok(permit) => Decision::Forward(permit),
                    Err(refusal) => Decision::Refuse(refusal),
                };
            }
            Ok(Place::MethodNotAllowed(route, allow)) => {
                (RefusalReason::MethodNotAllowed(allow), Some(route))
            }
            Err((ambiguity, route)) => (RefusalReason::Ambiguous(ambiguity), route),
        };
        Decision::Refuse(Refusal {
            reason,
            route: route.map(Arc::clone),
            identity: proved.best(),
        })
    }

    /// As [`Gate::taken`].
    #[cold]
    pub(super) fn taken_by_ambiguous(&self, asked: Asked<'_>, why: AmbiguousPath) -> CredentialSet {
        let readings = self.readings(asked.2);
        match self.place(asked, &readings, why) {
            Ok(Place::Route(route, also)) => taken_by(all_rules(route, &also, &readings)),
            Ok(Place::MethodNotAllowed(..)) | Err(_) => CredentialSet::NONE,
        }
    }

    /// For whoever answers a request that no route is asked about: how it would be refused for its
    /// path, which was found to be ambiguous. Nothing where a route lets it pass.
    #[must_use]
    pub fn ambiguity(
        &self,
        method: &str,
        authority: Option<&str>,
        path: &str,
        why: AmbiguousPath,
    ) -> Option<Ambiguity> {
        let asked = (method, authority, path);
        let refused = self.place(asked, &self.readings(path), why).err();
        refused.map(|(ambiguity, _)| ambiguity)
    }

    fn readings(&self, path: &str) -> Result<Readings, AmbiguousPath> {
        Readings::of(path, self.routes.allowed())
    }

    fn place(
        &self,
        (method, authority, _): Asked<'_>,
        readings: &Result<Readings, AmbiguousPath>,
        why: AmbiguousPath,
    ) -> Result<Place<'_>, Refused<'_>> {
        let hopeless = |why| (Ambiguity { why, remedy: None }, None);
        let readings = readings.as_ref().map_err(|why| hopeless(*why))?;
        let mut place: Option<Place<'_>> = None;
        for path in readings.paths() {
            // Our own pages are at one address each.
            if self.own_page(path).is_some() {
                return Err(hopeless(why));
            }
            let found = self.find(method, authority, path);
            if !join(&mut place, found) {
                return Err(hopeless(why));
            }
        }
        let place = place.ok_or_else(|| hopeless(why))?;
        let (Place::Route(route, _) | Place::MethodNotAllowed(route, _)) = &place;
        let missing = readings.needed().without(route.allow);
        match (missing.refusal(), self.routes.place_of(route)) {
            (None, _) => Ok(place),
            (Some(why), at) => {
                let remedy = at.map(|at| Remedy { route: at, missing });
                Err((Ambiguity { why, remedy }, Some(route)))
            }
        }
    }
}

/// Adds where one more reading leads. False where that is somewhere else.
fn join<'t>(place: &mut Option<Place<'t>>, found: Found<'t>) -> bool {
    match (place, found) {
        (place @ None, Found::Route { route, also }) => {
            *place = Some(Place::Route(route, vec![also]));
            true
        }
        (Some(Place::Route(known, all)), Found::Route { route, also }) => {
            all.push(also);
            Arc::ptr_eq(known, route)
        }
        (place @ None, Found::MethodNotAllowed { route, allow }) => {
            *place = Some(Place::MethodNotAllowed(route, allow));
            true
        }
        (Some(Place::MethodNotAllowed(known, _)), Found::MethodNotAllowed { route, .. }) => {
            Arc::ptr_eq(known, route)
        }
        _ => false,
    }
}

/// The rules of all readings.
fn all_rules<'r>(
    route: &'r Arc<Route>,
    also: &'r [Vec<&'r Arc<Route>>],
    readings: &'r Result<Readings, AmbiguousPath>,
) -> impl Iterator<Item = Rule<'r>> + Clone {
    let paths = readings.iter().flat_map(Readings::paths);
    let each = paths.zip(also);
    each.flat_map(move |(path, also)| rules(route, also, path))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::OwnPaths;
    use super::super::ability::Ability;
    use super::super::path::relaxation::{Relaxation, Relaxations};
    use super::super::request::Destination;
    use super::super::route::{Access, Owner, PathPattern, RouteTable, route};
    use super::super::session::{SessionPolicy, Timestamp};
    use super::super::users::Users;
    use super::*;
    use crate::identity::NoIdentity;

    fn can(ability: &str) -> Access {
        Access::can(vec![Ability::new(ability)])
    }

    fn allowing(pattern: &str, methods: &[&str], access: Access, allow: &[Relaxation]) -> Route {
        Route {
            allow: allow.iter().copied().collect(),
            ..route(pattern, methods, access)
        }
    }

    fn gate() -> Gate {
        use Relaxation::*;
        let most = [EncodedSlash, DoubleSlash, Semicolon];
        Gate {
            routes: Arc::new(RouteTable::new(vec![
                route("/files/secret/", &[], can("edit")),
                route("/files/Upper/", &[], can("edit")),
                allowing("/files/", &["GET"], Access::Public, &most),
                allowing(
                    "/windows/",
                    &[],
                    Access::Public,
                    &[EncodedBackslash, Backslash],
                ),
                allowing(
                    "/twice/",
                    &[],
                    Access::Public,
                    &[DoubleEncoding, EncodedSlash],
                ),
                allowing("/latin/", &[], Access::Public, &[NonUtf8]),
                route("/strict/", &[], Access::Public),
                route("/admin/", &[], can("edit")),
                allowing("", &[], Access::Public, &Relaxation::ALL),
            ])),
            users: Users::default(),
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

    /// One word for the decision, and what would help.
    fn decide(method: &str, path: &str) -> String {
        let request = RequestView {
            method,
            authority: None,
            path,
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            destination: Destination::None,
            session: Err(NoIdentity::NotPresented),
            authorization: Err(NoIdentity::NotPresented),
            certificate: Err(NoIdentity::NotRequested),
        };
        match gate().decide(&request, Timestamp(0)) {
            Decision::Forward(permit) => format!("forward {}", permit.route().label),
            Decision::Own(page, _) => format!("{page:?}"),
            Decision::Refuse(refusal) => match refusal.reason {
                RefusalReason::Ambiguous(Ambiguity { why, remedy: None }) => why.as_str().into(),
                RefusalReason::Ambiguous(Ambiguity { why, remedy }) => {
                    format!("{}: {}", why.as_str(), remedy.unwrap())
                }
                RefusalReason::LoginNeeded(_) => "login".into(),
                RefusalReason::MethodNotAllowed(_) => "405".into(),
                other => format!("{other:?}"),
            },
        }
    }

    #[track_caller]
    fn check(path: &str, expected: &str) {
        assert_eq!(decide("GET", path), expected, "{path}");
    }

    #[test]
    fn a_route_lets_pass_what_it_names_and_nothing_else() {
        check("/files/a%2fb", "forward /files/");
        check("/files/a//b", "forward /files/");
        check("/files/a;v=1/b", "forward /files/");
        check("/files/a;v=1%2fb//c", "forward /files/");
        check("/windows/a%5cb", "forward /windows/");
        check("/windows/a\\b", "forward /windows/");
        check("/twice/a%252fb", "forward /twice/");
        check("/latin/b%fcro", "forward /latin/");
        check("/latin/b%C3%BCro", "forward /latin/");
        check(
            "/files/a%5cb",
            "encoded_backslash: routes[2].allow: {encoded_backslash: true}",
        );
        check(
            "/windows/a%2fb",
            "encoded_slash: routes[3].allow: {encoded_slash: true}",
        );
        check(
            "/strict/a;b",
            "semicolon: routes[6].allow: {semicolon: true}",
        );
        check(
            "/strict/a;b//c",
            "double_slash: routes[6].allow: {double_slash: true, semicolon: true}",
        );
        check("/strict/%ff", "non_utf8: routes[6].allow: {non_utf8: true}");
    }

    #[test]
    fn a_path_that_may_lead_to_two_routes_is_refused_whatever_they_let_pass() {
        check("/files/secret%2fx", "encoded_slash");
        check("/files%2fx", "encoded_slash");
        check("/admin%2fx", "encoded_slash");
        check("/admin;x", "semicolon");
        check("/admin\\x", "backslash");
        check("//files/x", "double_slash");
        check("//x/admin/", "double_slash");
        check("/x//admin/", "forward ");
        check("//x/y", "forward ");
        check("/%2561dmin/", "double_encoding");
        check("/adm%ffin/", "non_utf8");
        check("/adm%c0%80in/", "overlong_utf8");
    }

    #[test]
    fn nothing_leads_up_and_out_of_a_route() {
        for path in [
            "/files/a%2f..%2f..%2fadmin",
            "/files/..%2fadmin/",
            "/files/..;/admin/",
            "/files//../../admin/",
            "/twice/%252e%252e/admin/",
        ] {
            check(path, "dot_segment");
        }
    }

    #[test]
    fn what_a_reading_folds_to_has_to_be_satisfied_too() {
        check("/files/upper%2fx", "login");
        check("/files/lower%2fx", "forward /files/");
        check("/files/SECRET//x", "login");
    }

    #[test]
    fn our_own_pages_are_at_one_address() {
        check("/auth%2flogin", "encoded_slash");
        check("//auth/login", "double_slash");
        check("/auth/login;x", "semicolon");
    }

    #[test]
    fn a_method_that_is_not_taken_is_405_only_where_the_path_would_pass() {
        assert_eq!(decide("PUT", "/files/a%2fb"), "405");
        assert_eq!(
            decide("PUT", "/files/a%5cb"),
            "encoded_backslash: routes[2].allow: {encoded_backslash: true}"
        );
    }

    #[test]
    fn what_belongs_to_somebody_has_one_owner_in_every_reading() {
        let pattern = PathPattern::parse("/of/{name}/").unwrap();
        let owner = Owner::parse("{name}", &pattern, Vec::new()).unwrap();
        let path = |text: &str| {
            Readings::of(text, Relaxation::ALL.into_iter().collect())
                .unwrap()
                .paths()
                .to_vec()
        };
        let is = |name: &str, text: &str| {
            let readings = path(text);
            let mut each = readings.iter();
            each.all(|path| owner.is(name, path, super::super::route::Reading::AsWritten))
        };
        assert!(is("ada", "/of/ada/x%2fy"));
        assert!(!is("ada", "/of/ada%2fx/y"));
        assert!(!is("ada/x", "/of/ada%2fx/y"));
        assert!(!is("ada", "/of/ada;x/y"));
    }

    #[test]
    fn what_a_route_takes_is_known_for_such_paths_too() {
        use super::super::route::{CredentialKind, Credentials, Grant};
        let token = CredentialSet::of(&[CredentialKind::Token]);
        let access = Access::Can(Grant {
            abilities: vec![Ability::new("view")],
            credentials: Credentials::OneOf(token),
            owner: None,
        });
        let mut gate = gate();
        let api = allowing("/api/", &[], access, &[Relaxation::EncodedSlash]);
        gate.routes = Arc::new(RouteTable::new(vec![api]));
        assert_eq!(gate.taken("GET", None, "/api/a%2fb"), token);
        assert_eq!(gate.taken("GET", None, "/api/a;b"), CredentialSet::NONE);
        assert_eq!(
            gate.ambiguity("GET", None, "/api/a%2fb", AmbiguousPath::EncodedSlash),
            None
        );
        assert_eq!(Relaxations::NONE.refusal(), None);
    }
}
