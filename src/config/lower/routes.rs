//! The section `routes`.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::document::At;
use crate::config::file::RouteFile;
use crate::config::scalar::{Flag, Items, OneOrMany};
use crate::gate::ability::Ability;
use crate::gate::route::{Access, HostPattern, Methods, PathPattern, Route, UpstreamId};

use super::login::{Login, lower_site_path};
use super::roles::KnownRoles;
use super::upstreams::Upstreams;

/// The most routes accepted: each is compared with those before it.
const MAX_ROUTES: usize = 10_000;

/// A route and its place, for what is checked across routes.
pub(super) struct PlacedRoute<'d> {
    at: At<'d>,
    /// The route.
    pub(super) route: Route,
}

/// The routes in order. Those with a problem are left out.
pub(super) fn lower<'d>(
    written: Option<Items<RouteFile>>,
    upstreams: &Upstreams,
    roles: &KnownRoles,
    at: &At<'d>,
) -> Vec<PlacedRoute<'d>> {
    let hint = "without a route nothing is forwarded; begin with \"- {can: view}\"";
    let Some(written) = at.required("routes", written, hint) else {
        return Vec::new();
    };
    let at = at.key("routes");
    match written.0.len() {
        0 => at.problem(format!("none; {hint}")),
        1..=MAX_ROUTES => {}
        _ => {
            at.problem(format!("more than {MAX_ROUTES} routes"));
            return Vec::new();
        }
    }
    let mut routes: Vec<PlacedRoute<'d>> = Vec::new();
    for (at, route) in at.items(written) {
        let Some(route) = lower_one(route, upstreams, roles, &at) else {
            continue;
        };
        refuse_unreachable(&route, &at, &routes);
        routes.push(PlacedRoute { at, route });
    }
    routes
}

fn lower_one(
    written: RouteFile,
    upstreams: &Upstreams,
    roles: &KnownRoles,
    at: &At<'_>,
) -> Option<Route> {
    let RouteFile {
        pattern: written_pattern,
        host: written_host,
        methods,
        can,
        public,
        upstream,
        body_limit,
        redirect,
    } = written;
    let access = lower_access(can, public, roles, at);
    let pattern = lower_pattern(written_pattern.as_deref(), &at.key("match"));
    let hosts = lower_hosts(written_host.clone(), &at.key("host"));
    let methods = lower_methods(methods, &at.key("methods"));
    let upstream = upstreams.find(upstream.as_deref(), &at.key("upstream"));
    let redirect = redirect.and_then(|path| lower_site_path(&path, &at.key("redirect")));
    if redirect.is_some() && access == Some(Access::Public) {
        let message = "a public route sends nobody to a login; take redirect out";
        at.key("redirect").key_problem(message);
    }
    Some(Route {
        label: label(written_pattern.as_deref(), written_host),
        hosts: hosts?,
        pattern: pattern?,
        methods: methods?,
        access: access?,
        upstream: upstream.unwrap_or(UpstreamId(0)),
        body_limit: body_limit.map(|limit| limit.0),
        redirect,
    })
}

/// `match` as it was written, after the hosts where there are any.
fn label(pattern: Option<&str>, hosts: Option<OneOrMany>) -> Arc<str> {
    let hosts = match hosts {
        None => String::new(),
        Some(OneOrMany::One(host)) => host,
        Some(OneOrMany::Many(hosts)) => hosts.into_iter().flatten().collect::<Vec<_>>().join(","),
    };
    match (hosts.as_str(), pattern.unwrap_or_default()) {
        ("", "") => "*".into(),
        (hosts, "") => format!("{hosts}/*").into(),
        (hosts, pattern) => format!("{hosts}{pattern}").into(),
    }
}

/// Who may use the route. Nothing is open, or closed, without being said.
fn lower_access(
    can: Option<OneOrMany>,
    public: Option<Flag>,
    roles: &KnownRoles,
    at: &At<'_>,
) -> Option<Access> {
    let (can_at, public_at) = (at.key("can"), at.key("public"));
    match (can, public) {
        (Some(_), Some(Flag(true))) => {
            public_at.key_problem("can is there too; keep the one that is meant");
            None
        }
        (None, Some(Flag(true))) if can_at.is_refused() => None,
        (None, Some(Flag(true))) => Some(Access::Public),
        (Some(can), _) => lower_abilities(can, roles, &can_at).map(Access::can),
        (None, _) => {
            if !can_at.is_refused() && !public_at.is_refused() {
                at.problem(
                    "say who may use it: `can: …`, or `public: true` to open it to everybody",
                );
            }
            None
        }
    }
}

fn lower_abilities(written: OneOrMany, roles: &KnownRoles, at: &At<'_>) -> Option<Vec<Ability>> {
    if written.is_empty() {
        at.problem("an empty list; name an ability, or write `public: true` instead of can");
        return None;
    }
    let mut abilities = Vec::new();
    for (at, name) in at.texts(written) {
        if name.is_empty() || name == "*" {
            at.problem("expected the name of an ability; \"*\" has a meaning in roles only");
            continue;
        }
        let ability = Ability::new(&name);
        roles.check_ability(&ability, &at);
        abilities.push(ability);
    }
    (!abilities.is_empty()).then_some(abilities)
}

fn lower_pattern(written: Option<&str>, at: &At<'_>) -> Option<PathPattern> {
    let Some(written) = written else {
        // What was refused covers no other route.
        return (!at.is_refused()).then_some(PathPattern::Any);
    };
    if written.is_empty() && at.is_private(written) {
        at.problem(
            "the variable is empty, and that would cover every path; leave match out for that",
        );
        return None;
    }
    match PathPattern::parse(written) {
        Ok(pattern) => Some(pattern),
        Err(_) if at.is_private(written) => {
            at.problem(format!(
                "{} does not hold a path like /admin/",
                at.quoted(written)
            ));
            None
        }
        Err(why) if !written.starts_with('/') => {
            let got = at.quoted(written);
            at.problem(format!("{why}; expected a path like /admin/, got {got}"));
            None
        }
        Err(why) => {
            at.problem(why);
            None
        }
    }
}

fn lower_hosts(written: Option<OneOrMany>, at: &At<'_>) -> Option<HostPattern> {
    let Some(written) = written else {
        return (!at.is_refused()).then_some(HostPattern::Any);
    };
    if written.is_empty() {
        at.problem("an empty list matches no host; leave host out to match every one");
        return None;
    }
    let names = at.texts(written);
    for (at, name) in &names {
        match HostPattern::parse([name.as_str()]) {
            Ok(_) => {}
            Err(_) if at.is_private(name) => {
                at.problem(format!("{} does not hold a host name", at.quoted(name)));
            }
            Err(why) => at.problem(why),
        }
    }
    HostPattern::parse(names.iter().map(|(_, name)| name.as_str())).ok()
}

fn lower_methods(written: Option<OneOrMany>, at: &At<'_>) -> Option<Methods> {
    let Some(written) = written else {
        return (!at.is_refused()).then_some(Methods::Any);
    };
    if written.is_empty() {
        at.problem("an empty list takes no request; leave methods out to take every method");
        return None;
    }
    let mut methods = BTreeSet::new();
    for (at, method) in at.texts(written) {
        match method_problem(&method, &at) {
            Some(problem) => at.problem(problem),
            None => drop(methods.insert(method)),
        }
    }
    (!methods.is_empty()).then_some(Methods::Only(methods))
}

fn method_problem(method: &str, at: &At<'_>) -> Option<String> {
    let upper = method.to_ascii_uppercase();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if method.is_empty() || !method.bytes().all(legal) {
        Some(format!(
            "expected a method like GET, got {}",
            at.quoted(method)
        ))
    } else if matches!(upper.as_str(), "CONNECT" | "TRACE") {
        Some(format!("{upper} is never forwarded"))
    } else if upper != method && at.is_private(method) {
        Some("methods are written in upper case".into())
    } else if upper != method {
        Some(format!(
            "methods are written in upper case; did you mean \"{upper}\"?"
        ))
    } else {
        None
    }
}

// === Across routes ===

/// Records a problem for a route that no request can reach past `earlier`. Routes of one place
/// (host and path) share it by method; elsewhere the first that covers a path decides alone.
fn refuse_unreachable(route: &Route, at: &At<'_>, earlier: &[PlacedRoute<'_>]) {
    let same_place = |other: &Route| other.hosts == route.hosts && other.pattern == route.pattern;
    let first = earlier.iter().position(|other| same_place(&other.route));
    let before = &earlier[..first.unwrap_or(earlier.len())];
    let covers = |other: &&PlacedRoute<'_>| {
        let other = &other.route;
        other.hosts.covers(&route.hosts) && other.pattern.covers(&route.pattern)
    };
    if let Some(other) = before.iter().find(covers) {
        at.problem(format!(
            "can never match: {} already covers it",
            other.name()
        ));
        return;
    }
    let sharing: Vec<&PlacedRoute<'_>> = earlier
        .iter()
        .filter(|other| same_place(&other.route))
        .collect();
    if taken_together(&sharing).covers(&route.methods) && !sharing.is_empty() {
        let names: Vec<String> = sharing.iter().map(|other| other.name()).collect();
        let cover = if names.len() == 1 { "covers" } else { "cover" };
        at.problem(format!(
            "can never match: {} already {cover} it",
            names.join(" and ")
        ));
    }
}

/// The methods that one of `routes` takes.
fn taken_together(routes: &[&PlacedRoute<'_>]) -> Methods {
    let mut all = BTreeSet::new();
    for placed in routes {
        match &placed.route.methods {
            Methods::Any => return Methods::Any,
            Methods::Only(methods) => all.extend(methods.iter().cloned()),
        }
    }
    Methods::Only(all)
}

impl PlacedRoute<'_> {
    /// `routes[1] (/a/)`.
    fn name(&self) -> String {
        let label = &self.route.label;
        if self.at.has_private(label) {
            return self.at.path().to_string();
        }
        format!("{} ({label})", self.at.path())
    }

    /// Whether somebody has to log in for it.
    pub(super) fn is_protected(&self) -> bool {
        !self.route.access.is_public()
    }

    /// Notes a route that only names a page which the gate answers itself.
    pub(super) fn warn_of_own_page(&self, login: Option<&Login>) {
        if let PathPattern::Exact(path) = &self.route.pattern
            && login.is_some_and(|login| [&login.spec.path, &login.spec.logout].contains(&path))
        {
            let message = "the login section answers this path; the route is not asked";
            self.at.key("match").warn(message);
        }
    }
}
