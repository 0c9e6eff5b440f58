//! The section `routes`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::config::document::At;
use crate::config::file::{AllowFile, RouteFile};
use crate::config::scalar::{Choice, Flag, Items, OneOrMany, Span};
use crate::gate::ability::Ability;
use crate::gate::path::relaxation::{Relaxation, Relaxations};
use crate::gate::route::{
    Access, CredentialKind, CredentialSet, Credentials, Grant, HostPattern, InvalidOwner, Methods,
    Owner, PathPattern, RateId, Route, UpstreamId,
};
use crate::proxy::spec::RatePolicy;

use super::client::lower_rate;
use super::clients::KnownClients;
use super::login::{Login, lower_site_path};
use super::rewrite::{Rewrites, WrittenRewrite};
use super::roles::KnownRoles;
use super::upstreams::Upstreams;
use super::{DAY, addresses, choose_word, problem_with, span_within};

/// The most routes accepted: each is compared with those before it.
const MAX_ROUTES: usize = 10_000;

/// A route and its place, for what is checked across routes.
pub(super) struct PlacedRoute<'d> {
    at: At<'d>,
    /// The route.
    pub(super) route: Route,
    /// Whether nothing is wrong with it: what it covers is otherwise not known, and that it covers
    /// another no second problem.
    is_sound: bool,
}

/// What routes refer to.
type Known<'k> = (&'k Upstreams, &'k KnownRoles, &'k KnownClients);

/// What routes add to, and refer to by its place.
type Made<'m> = (&'m mut Rewrites, &'m mut Vec<RatePolicy>);

/// The routes in order. Those with a problem are left out.
pub(super) fn lower<'d>(
    written: Option<Items<RouteFile>>,
    known: Known<'_>,
    (rewrites, rates): Made<'_>,
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
        let Some(route) = lower_one(route, known, (rewrites, rates), &at) else {
            continue;
        };
        let is_sound = !at.has_problem();
        refuse_unreachable(&route, &at, &routes);
        routes.push(PlacedRoute {
            at,
            route,
            is_sound,
        });
    }
    routes
}

fn lower_one(
    written: RouteFile,
    (upstreams, roles, clients): Known<'_>,
    (rewrites, rates): Made<'_>,
    at: &At<'_>,
) -> Option<Route> {
    let RouteFile {
        pattern: written_pattern,
        host: written_host,
        methods,
        can,
        public,
        client_cert,
        credentials,
        owner,
        owner_or,
        upstream,
        addresses,
        rate,
        body_limit,
        read_timeout,
        timeout,
        redirect,
        pass_authorization,
        strip_prefix,
        add_prefix,
        rewrite_redirects,
        backend_origins,
        request_headers,
        response_headers,
        cookies,
        allow,
        origins,
    } = written;
    let pattern = lower_pattern(written_pattern.as_deref(), &at.key("match"));
    let access = WrittenAccess {
        can,
        public: public == Some(Flag(true)),
        client_cert,
        credentials,
        owner,
        owner_or,
    };
    let access = access.lower(pattern.as_ref(), roles, clients, at);
    let hosts = lower_hosts(written_host.clone(), &at.key("host"));
    let methods = lower_methods(methods, &at.key("methods"));
    let upstream = upstreams.find(upstream.as_deref(), &at.key("upstream"));
    let redirect = redirect.and_then(|path| lower_site_path(&path, &at.key("redirect")));
    let no_login = match &access {
        Some(Access::Public) => Some("a public route"),
        Some(access) if !access.takes_session() => Some("a route that takes no session"),
        Some(_) | None => None,
    };
    if let (Some(_), Some(which)) = (&redirect, no_login) {
        let message = format!("{which} sends nobody to a login; take redirect out");
        at.key("redirect").key_problem(message);
    }
    let pass_authorization = pass_authorization == Some(Flag(true));
    let takes_it = |access: &Access| access.taken().has_authorization();
    if pass_authorization && access.as_ref().is_some_and(takes_it) {
        let message = "what this route takes itself is never passed on; take one of the two out";
        at.key("pass_authorization").key_problem(message);
    }
    let rewrite = WrittenRewrite {
        strip_prefix,
        add_prefix,
        rewrite_redirects,
        backend_origins,
        request_headers,
        response_headers,
        cookies,
    };
    let rewrite = rewrites.place(rewrite.lower(written_pattern.as_deref(), at));
    let addresses = addresses::lower_of_route(addresses, &at.key("addresses"));
    let rate = rate.and_then(|rate| lower_rate(rate, &at.key("rate")));
    let rate = rate.map(|rate| {
        rates.push(rate);
        RateId(rates.len() - 1)
    });
    Some(Route {
        label: label(written_pattern.as_deref(), written_host),
        hosts: hosts?,
        pattern: pattern?,
        methods: methods?,
        access: access?,
        addresses,
        rate,
        upstream: upstream.unwrap_or(UpstreamId(0)),
        rewrite,
        body_limit: body_limit.map(|limit| limit.0),
        read_timeout: lower_timeout(read_timeout, &at.key("read_timeout")),
        timeout: lower_timeout(timeout, &at.key("timeout")),
        redirect,
        pass_authorization,
        allow: allow.map(lower_allow).unwrap_or_default(),
        origins: origins
            .map(|origins| lower_origins(origins, &at.key("origins")))
            .unwrap_or_default(),
    })
}

/// What the route lets pass.
fn lower_allow(written: AllowFile) -> Relaxations {
    let AllowFile {
        encoded_slash,
        backslash,
        encoded_backslash,
        double_slash,
        semicolon,
        double_encoding,
        non_utf8,
    } = written;
    let written = [
        (Relaxation::EncodedSlash, encoded_slash),
        (Relaxation::Backslash, backslash),
        (Relaxation::EncodedBackslash, encoded_backslash),
        (Relaxation::DoubleSlash, double_slash),
        (Relaxation::Semicolon, semicolon),
        (Relaxation::DoubleEncoding, double_encoding),
        (Relaxation::NonUtf8, non_utf8),
    ];
    let allowed = written
        .into_iter()
        .filter(|(_, flag)| *flag == Some(Flag(true)));
    allowed.map(|(relaxation, _)| relaxation).collect()
}

/// A time limit of the route's own, if one is written.
fn lower_timeout(written: Option<Span>, at: &At<'_>) -> Option<Duration> {
    let shortest = Duration::from_millis(1);
    written.map(|span| span_within(Some(span), DAY, shortest..=DAY, at))
}

/// Origins, as browsers write them: without a path, and without a port that goes without saying.
fn lower_origins(written: OneOrMany, at: &At<'_>) -> Vec<String> {
    if written.is_empty() {
        at.problem("an empty list; leave origins out to take the host itself only");
    }
    let mut origins = Vec::new();
    for (at, origin) in at.texts(written) {
        match origin_problem(&origin) {
            None => origins.push(origin.to_ascii_lowercase()),
            Some(why) => problem_with(&origin, why, &at),
        }
    }
    origins
}

fn origin_problem(origin: &str) -> Option<String> {
    let expected = "expected a scheme and a host, like https://app.example.com";
    let schemes = [("https://", 443), ("http://", 80)];
    let stripped = schemes
        .iter()
        .find_map(|(scheme, port)| Some((origin.strip_prefix(scheme)?, scheme, *port)));
    let Some((authority, scheme, default)) = stripped else {
        return Some(expected.into());
    };
    if let Some(host) = authority.strip_suffix('/') {
        return Some(format!("an origin has no path; write {scheme}{host}"));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse::<u16>())),
        _ => (authority, None),
    };
    if host.contains('*') {
        return Some("each origin is written out; there are no patterns".into());
    }
    let is_address = host.starts_with('[') && host.ends_with(']');
    let is_name = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    match port {
        _ if host.is_empty() || !(is_name || is_address) => Some(expected.into()),
        Some(Err(_)) => Some(expected.into()),
        Some(Ok(port)) if port == default => Some(format!(
            "browsers leave this port out; write {scheme}{host}"
        )),
        Some(Ok(_)) | None => None,
    }
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

/// Whether a route takes only requests with a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientCert {
    Optional,
    Required,
}

const CLIENT_CERT: [(&str, Option<ClientCert>); 2] = [
    ("required", Some(ClientCert::Required)),
    ("optional", Some(ClientCert::Optional)),
];

const CREDENTIALS: [(&str, Option<Credentials>); 6] = [
    ("any", Some(Credentials::ANY)),
    ("all", Some(Credentials::All)),
    ("session", Some(Credentials::only(CredentialKind::Session))),
    (
        "certificate",
        Some(Credentials::only(CredentialKind::Certificate)),
    ),
    ("basic", Some(Credentials::only(CredentialKind::Basic))),
    ("token", Some(Credentials::only(CredentialKind::Token))),
];

const CREDENTIAL_KINDS: [(&str, Option<CredentialKind>); 4] = [
    ("session", Some(CredentialKind::Session)),
    ("certificate", Some(CredentialKind::Certificate)),
    ("basic", Some(CredentialKind::Basic)),
    ("token", Some(CredentialKind::Token)),
];

/// The keys of a route that say who may use it.
struct WrittenAccess {
    can: Option<OneOrMany>,
    public: bool,
    client_cert: Option<Choice>,
    credentials: Option<OneOrMany>,
    owner: Option<String>,
    owner_or: Option<OneOrMany>,
}

impl WrittenAccess {
    /// Who may use the route. Nothing is open, or closed, without being said.
    fn lower(
        self,
        pattern: Option<&PathPattern>,
        roles: &KnownRoles,
        clients: &KnownClients,
        at: &At<'_>,
    ) -> Option<Access> {
        let certificate_at = at.key("client_cert");
        let client_cert = self.client_cert.as_deref();
        // Whoever writes something else means something by it.
        let client_cert = client_cert.map_or(ClientCert::Optional, |word| {
            choose_word(word, &CLIENT_CERT, &certificate_at).unwrap_or(ClientCert::Required)
        });
        if self.public {
            return self.lower_public(client_cert, at);
        }
        let refused = ["can", "public", "client_cert"];
        let refused = refused.iter().any(|key| at.key(key).is_refused());
        if self.can.is_none() && client_cert == ClientCert::Optional {
            if !refused {
                at.problem(
                    "say who may use it: `can: …`, or `public: true` to open it to everybody",
                );
            }
            return None;
        }
        let asks = self.credentials.is_some() || self.owner.is_some();
        let grant = if self.can.is_some() || asks {
            Some(self.lower_grant(client_cert, pattern, roles, clients, at)?)
        } else {
            self.refuse_owner_or(at);
            None
        };
        Some(match (client_cert, grant) {
            (ClientCert::Optional, Some(grant)) => Access::Can(grant),
            (ClientCert::Required, Some(grant)) => Access::CertificateAndCan(grant),
            (ClientCert::Required, None) => Access::Certificate,
            (ClientCert::Optional, None) => return None,
        })
    }

    fn lower_public(&self, client_cert: ClientCert, at: &At<'_>) -> Option<Access> {
        let public_at = at.key("public");
        let certificate = client_cert == ClientCert::Required;
        let mut contradicted = at.key("can").is_refused();
        for (written, which) in [
            (self.can.is_some(), "can"),
            (certificate, "client_cert: required"),
        ] {
            if written {
                public_at.key_problem(format!("{which} is there too; keep the one that is meant"));
                contradicted = true;
            }
        }
        for (written, key) in [
            (self.credentials.is_some(), "credentials"),
            (self.owner.is_some(), "owner"),
            (self.owner_or.is_some(), "owner_or"),
        ] {
            if written && !contradicted {
                let message = format!("a public route is for everybody; take {key} out");
                at.key(key).key_problem(message);
            }
        }
        (!contradicted).then_some(Access::Public)
    }

    fn refuse_owner_or(&self, at: &At<'_>) {
        if self.owner_or.is_some() && self.owner.is_none() && !at.key("owner").is_refused() {
            let message = "there is no owner that somebody could stand above; add owner";
            at.key("owner_or").key_problem(message);
        }
    }

    fn lower_grant(
        self,
        client_cert: ClientCert,
        pattern: Option<&PathPattern>,
        roles: &KnownRoles,
        clients: &KnownClients,
        at: &At<'_>,
    ) -> Option<Grant> {
        self.refuse_owner_or(at);
        let Self {
            can,
            public: _,
            client_cert: _,
            credentials,
            owner,
            owner_or,
        } = self;
        let hint = match client_cert {
            ClientCert::Optional => "write `public: true` instead of can",
            ClientCert::Required => "leave can out to take whoever has a certificate",
        };
        let can = can.map(|can| lower_abilities(can, hint, roles, &at.key("can")));
        let hint = "leave owner_or out";
        let or = owner_or.map(|or| lower_abilities(or, hint, roles, &at.key("owner_or")));
        let credentials_at = at.key("credentials");
        let credentials = credentials
            .map(|written| lower_credentials(written, &credentials_at))
            .unwrap_or_default();
        if needs_certificate(credentials) && clients.none_written {
            let message = "no certificate can satisfy it: the section clients is empty";
            credentials_at.problem(message);
        }
        let or = or.unwrap_or_else(|| Some(Vec::new()));
        let owner = owner.map(|owner| lower_owner(&owner, pattern?, or?, &at.key("owner")));
        Some(Grant {
            abilities: can.unwrap_or_else(|| Some(Vec::new()))?,
            credentials,
            owner: owner.map_or(Some(None), |owner| owner.map(Some))?,
        })
    }
}

/// A word, or a list of what may prove who is asking. What is wrong is recorded, so that it does not
/// matter what comes of it.
fn lower_credentials(written: OneOrMany, at: &At<'_>) -> Credentials {
    if let OneOrMany::One(word) = &written {
        return choose_word(word, &CREDENTIALS, at).unwrap_or_default();
    }
    if written.is_empty() {
        at.problem("an empty list; name session, certificate, basic or token, or leave it out");
    }
    let kinds = at.texts(written).into_iter();
    let kinds = kinds.filter_map(|(at, word)| {
        if matches!(word.as_str(), "any" | "all") {
            at.problem(format!("{word} stands alone; any of a list will do"));
            return None;
        }
        choose_word(&word, &CREDENTIAL_KINDS, &at)
    });
    let kinds: Vec<CredentialKind> = kinds.collect();
    Credentials::OneOf(CredentialSet::of(&kinds))
}

/// Whether nothing but a certificate will do, alone or with something else.
fn needs_certificate(credentials: Credentials) -> bool {
    credentials == Credentials::All || credentials == Credentials::only(CredentialKind::Certificate)
}

fn lower_owner(
    written: &str,
    pattern: &PathPattern,
    or: Vec<Ability>,
    at: &At<'_>,
) -> Option<Owner> {
    let why = match Owner::parse(written, pattern, or) {
        Ok(owner) => return Some(owner),
        Err(InvalidOwner::Unreadable(why)) => why,
        Err(InvalidOwner::Unknown(name)) => {
            let captures: Vec<&str> = match pattern {
                PathPattern::Template(template) => template.captures().collect(),
                PathPattern::Any | PathPattern::Exact(_) | PathPattern::Folder(_) => Vec::new(),
            };
            let meant = if captures.is_empty() {
                "; write it there as a segment, like /files/{name}/".into()
            } else {
                at.suggestion(&name, captures)
            };
            format!("match has no {{{name}}}{meant}")
        }
    };
    problem_with(written, why, at);
    None
}

/// Abilities that some role grants; `otherwise` says what to write for none.
pub(super) fn lower_abilities(
    written: OneOrMany,
    otherwise: &str,
    roles: &KnownRoles,
    at: &At<'_>,
) -> Option<Vec<Ability>> {
    if written.is_empty() {
        at.problem(format!("an empty list; name an ability, or {otherwise}"));
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
    if method == "*" {
        Some("leave methods out to take every method; \"*\" is none".into())
    } else if method.is_empty() || !method.bytes().all(legal) {
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
    let same_place = |other: &PlacedRoute<'_>| {
        let (placed, other) = (other, &other.route);
        placed.is_sound && other.hosts == route.hosts && other.pattern == route.pattern
    };
    let first = earlier.iter().position(same_place);
    let before = &earlier[..first.unwrap_or(earlier.len())];
    let covers = |other: &&PlacedRoute<'_>| {
        let (placed, other) = (other, &other.route);
        placed.is_sound && other.hosts.covers(&route.hosts) && other.pattern.covers(&route.pattern)
    };
    if let Some(other) = before.iter().find(covers) {
        let name = other.name();
        let other = &other.route.pattern;
        let share = if route.pattern != *other && route.pattern.covers(other) {
            "; to share it by method, use the same names in braces"
        } else {
            ""
        };
        at.problem(format!("can never match: {name} already covers it{share}"));
        return;
    }
    let sharing: Vec<&PlacedRoute<'_>> = earlier.iter().filter(|other| same_place(other)).collect();
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

    /// Whether not everybody may use it.
    pub(super) fn is_protected(&self) -> bool {
        !self.route.access.is_public()
    }

    /// Whether it may help to log in for it.
    pub(super) fn takes_session(&self) -> bool {
        self.route.access.takes_session()
    }

    /// Whether nobody can use it without having logged in.
    pub(super) fn needs_user(&self, clients: &KnownClients) -> bool {
        let grant = self.route.access.grant();
        grant.is_some_and(|grant| match grant.credentials {
            Credentials::All => true,
            Credentials::OneOf(kinds) => {
                clients.none_written || !kinds.contains(CredentialKind::Certificate)
            }
        })
    }

    /// Whether a token may prove who is asking.
    pub(super) fn takes_tokens(&self) -> bool {
        self.route.access.taken().contains(CredentialKind::Token)
    }

    /// Whether nobody can use it without a certificate.
    pub(super) fn needs_certificate(&self) -> bool {
        let access = &self.route.access;
        let grant = access.grant();
        access.needs_certificate() || grant.is_some_and(|it| needs_certificate(it.credentials))
    }

    /// Notes that nobody can use it for want of certificates.
    pub(super) fn warn_of_no_certificates(&self) {
        self.at
            .warn("nobody can use it: no client is asked for a certificate; write tls.client_auth");
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
