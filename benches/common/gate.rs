//! A gate with one user, and requests of that user.

use std::net::IpAddr;

use portcullis::gate::Gate;
use portcullis::gate::OwnPaths;
use portcullis::gate::ability::{Ability, Roles};
use portcullis::gate::path::relaxation::Relaxations;
use portcullis::gate::request::{Destination, PresentedSession, RequestView};
use portcullis::gate::route::RouteTable;
use portcullis::gate::route::{
    Access, HostPattern, Methods, PathPattern, RewriteId, Route, UpstreamId,
};
use portcullis::gate::session::{Session, SessionDigest, SessionPolicy, Timestamp};
use portcullis::gate::users::User;
use portcullis::identity::address::AddressRules;
use portcullis::identity::{NoIdentity, UserName};

/// When all requests are made.
pub(crate) const NOW: Timestamp = Timestamp(1_000_000);

/// The ability that every route asks for.
const ABILITY: &str = "view";

fn user() -> User {
    let roles = Roles::from_map(&[("operator".to_owned(), vec![ABILITY.to_owned()])].into());
    User {
        name: name(),
        roles: vec!["operator".into()],
        groups: None,
        abilities: roles.abilities_of(["operator"]),
        disabled: false,
        email: Some("ada@plant-3.example".into()),
        display_name: Some("Ada L.".into()),
        credential_epoch: 1,
    }
}

fn name() -> UserName {
    UserName::parse("ada").unwrap()
}

/// A route for everybody who is logged in as the user.
pub(crate) fn route(hosts: HostPattern, pattern: &str) -> Route {
    Route {
        label: pattern.into(),
        hosts,
        pattern: PathPattern::parse(pattern).unwrap(),
        methods: Methods::Any,
        access: Access::can(vec![Ability::new(ABILITY)]),
        addresses: AddressRules::default(),
        rate: None,
        upstream: UpstreamId(0),
        rewrite: RewriteId::default(),
        body_limit: None,
        read_timeout: None,
        timeout: None,
        pass_authorization: false,
        allow: Relaxations::NONE,
        origins: Vec::new(),
        redirect: None,
    }
}

/// A gate with `routes` and the usual pages of its own.
pub(crate) fn gate(routes: Vec<Route>) -> Gate {
    Gate {
        routes: RouteTable::new(routes).into(),
        users: [user()].into_iter().collect(),
        clients: std::sync::Arc::default(),
        sessions: SessionPolicy::default(),
        own_pages: Some(OwnPaths {
            login: "/auth/login".into(),
            logout: "/auth/logout".into(),
        }),
    }
}

/// A GET with the user's session.
pub(crate) fn request<'r>(authority: &'r str, path: &'r str) -> RequestView<'r> {
    let session = Session::begin(name(), 1, NOW);
    RequestView {
        method: "GET",
        authority: Some(authority),
        path,
        destination: Destination::None,
        address: IpAddr::from([192, 0, 2, 7]),
        session: Ok(PresentedSession {
            digest: SessionDigest([7; 32]),
            session: session.into(),
        }),
        authorization: Err(NoIdentity::NotPresented),
        certificate: Err(NoIdentity::NotRequested),
    }
}
