//! `portcullis demo`: the whole thing at work in a second, with nothing to prepare.

mod backend;

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::run::start_log;
use crate::config::settings::{ConfigText, LogFormat, Sections, Settings};
use crate::gate::ability::{Ability, Roles};
use crate::gate::path::relaxation::Relaxations;
use crate::gate::route::{
    Access, HostPattern, Methods, PathPattern, RewriteId, Route, RouteTable, UpstreamId,
};
use crate::gate::session::SessionPolicy;
use crate::gate::users::User;
use crate::gate::{Gate, OwnPaths};
use crate::identity::UserName;
use crate::identity::address::{AddressBlocks, AddressRules};
use crate::listen::spec::{ListenerSpec, PerAddress, Protocol, ProxyProtocol};
use crate::password::argon2id::Argon2idParameters;
use crate::password::credentials::Credentials;
use crate::password::stored::{StoredPassword, hash_argon2id};
use crate::proxy::cookie::SameSite;
use crate::proxy::pages::Look;
use crate::proxy::rewrite::Rewrite;
use crate::proxy::spec::{
    BufferingSpec, ClientTimeouts, IdentitySpec, Limits, LoginSpec, Rates, Redirect, UpstreamPlace,
    UpstreamSpec,
};
use crate::server::{Server, StartError, sessions};
use crate::store::SessionBounds;
use crate::store::attempts::LockoutPolicy;
use crate::store::secret::random;
use crate::tls::acceptor::Acceptor;
use crate::tls::certs::CertifiedKey;

const USER: &str = "demo";

/// What `demo` can be told.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// The port on 127.0.0.1; 0 lets the system choose.
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// Write every request to standard output.
    #[arg(long)]
    log: bool,
}

/// Runs the demonstration until a signal ends it.
///
/// # Errors
/// Whatever keeps it from starting.
pub fn demo(args: &DemoArgs) -> Result<(), DemoError> {
    start(args).map_err(|error| {
        let hint = match error.downcast_ref() {
            Some(StartError::Bind { .. }) => " (choose another port with --port, or 0 for any)",
            _ => "",
        };
        DemoError(format!("{error}{hint}"))
    })
}

/// Why the demonstration does not run.
#[derive(Debug, thiserror::Error)]
#[error("the demonstration cannot start: {0}")]
pub struct DemoError(String);

fn start(args: &DemoArgs) -> Result<(), Box<dyn Error>> {
    let password = one_time_password()?;
    let backend = backend::start()?;
    let pair = CertifiedKey::self_signed_for_localhost()?;
    let acceptor = Acceptor::with(pair)?;
    let log = if args.log {
        start_log(LogFormat::Auto)?
    } else {
        crate::observe::log::Logger::start(crate::observe::log::Format::Text, std::io::sink())?
    };
    let settings = settings(args.port, backend, &password)?;
    let sessions = sessions::open(&settings)?;
    let server = Server::start(settings, Some(&acceptor), None, sessions, log)?;
    if let Some((_, address)) = server.addresses().next() {
        print_welcome(address.port(), &password);
    }
    server.run();
    Ok(())
}

/// 16 letters and digits that are not mistaken for each other: about 80 bits.
fn one_time_password() -> Result<String, Box<dyn Error>> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let bytes: [u8; 16] = random()?;
    let letter = |byte: u8| char::from(ALPHABET[usize::from(byte % 32)]);
    Ok(bytes.into_iter().map(letter).collect())
}

fn print_welcome(port: u16, password: &str) {
    println!(
        "Portcullis is running in front of a small backend that shows what it is sent.\n\n\
         \x20 open      https://localhost:{port}/\n\
         \x20 user      {USER}\n\
         \x20 password  {password}\n\n\
         The certificate is made up, so your browser will warn you. Try also:\n\n\
         \x20 https://localhost:{port}/public/   open to everybody\n\
         \x20 https://localhost:{port}/admin/    needs an ability that this user does not have\n\
         \x20 https://localhost:{port}/auth/logout\n\n\
         \x20 curl -k https://localhost:{port}/            # 401: scripts get JSON, not a page\n\
         \x20 curl -k -H 'X-Forwarded-User: root' https://localhost:{port}/public/   # is dropped\n\n\
         Ctrl-C ends it; nothing is left behind."
    );
}

fn settings(port: u16, backend: SocketAddr, password: &str) -> Result<Settings, Box<dyn Error>> {
    let stored = StoredPassword::parse(&hash_argon2id(
        password.as_bytes(),
        Argon2idParameters::default(),
    )?)?;
    let name = UserName::parse(USER)?;
    let items = BTreeMap::from([
        ("user".to_owned(), vec!["view".to_owned()]),
        (
            "administrator".to_owned(),
            vec!["view".to_owned(), "edit".to_owned()],
        ),
    ]);
    let user = User {
        name: name.clone(),
        roles: vec!["user".to_owned()],
        groups: None,
        abilities: Roles::from_map(&items).abilities_of(["user"]),
        disabled: false,
        email: None,
        display_name: Some("Demo User".to_owned()),
        credential_epoch: stored.fingerprint(),
    };
    let login = LoginSpec {
        path: "/auth/login".to_owned(),
        logout: "/auth/logout".to_owned(),
        look: Look {
            title: "Portcullis demo".to_owned(),
            ..Look::default()
        },
        home: "/".to_owned(),
        same_site: SameSite::Lax,
    };
    let listener = ListenerSpec {
        number: 0,
        name: format!("127.0.0.1:{port}").into(),
        address: (Ipv4Addr::LOCALHOST, port).into(),
        protocol: Protocol::Https,
        max_connections: 1000,
        per_address: PerAddress {
            most: 1000,
            exempt: AddressBlocks::default(),
        },
        addresses: AddressRules::default(),
        proxy_protocol: ProxyProtocol::Off,
        redirect: Some(Arc::new(Redirect::same_port())),
    };
    let place = UpstreamPlace::Tcp {
        host: backend.ip().to_string(),
        port: backend.port(),
    };
    Ok(Settings {
        listeners: vec![listener],
        tls: None,
        hsts: None,
        upstreams: vec![UpstreamSpec::new("echo", vec![place.into()])],
        rewrites: vec![Rewrite::default()],
        gate: Gate {
            routes: RouteTable::new(routes()?).into(),
            users: [user].into_iter().collect(),
            clients: Arc::default(),
            sessions: SessionPolicy::default(),
            own_pages: Some(OwnPaths {
                login: login.path.clone(),
                logout: login.logout.clone(),
            }),
        },
        credentials: Arc::new(Credentials::new(
            HashMap::from([(name, stored)]),
            Vec::new(),
        )),
        login: Some(login),
        identity: IdentitySpec::default(),
        limits: Limits::default(),
        rates: Rates::default(),
        trusted_proxies: AddressBlocks::default(),
        timeouts: ClientTimeouts::default(),
        buffering: BufferingSpec::default(),
        admin: None,
        admin_socket: None,
        threads: 1,
        lockout: LockoutPolicy::default(),
        argon2id: Argon2idParameters::default(),
        session_bounds: SessionBounds::default(),
        session_file: None,
        shutdown_delay: Duration::ZERO,
        drain_timeout: Duration::from_secs(2),
        log_format: LogFormat::Auto,
        warnings: Vec::new(),
        sections: Sections::default(),
        text: ConfigText::default(),
    })
}

fn routes() -> Result<Vec<Route>, Box<dyn Error>> {
    let can = |ability| Access::can(vec![Ability::new(ability)]);
    let route = |pattern: &str, access| -> Result<Route, Box<dyn Error>> {
        Ok(Route {
            label: if pattern.is_empty() {
                "*".into()
            } else {
                pattern.into()
            },
            hosts: HostPattern::Any,
            pattern: PathPattern::parse(pattern)?,
            methods: Methods::Any,
            access,
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
        })
    };
    Ok(vec![
        route("/public/", Access::Public)?,
        route("/admin/", can("edit"))?,
        route("", can("view"))?,
    ])
}
