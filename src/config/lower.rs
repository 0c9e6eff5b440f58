//! From what was written to what the program runs on: one small file a section, each of which
//! records every problem it finds and goes on.
//!
//! A section with a problem still gives a value, so that the next ones can be looked at; the whole
//! is thrown away in the end when anything was wrong. Nothing here opens a file or a socket.

mod address;
mod addresses;
mod listeners;
mod redirect;

mod client_auth;
mod hsts;
mod secret;
mod tls;

mod upstream_balance;
mod upstream_login;
mod upstream_tls;
mod upstream_urls;
mod upstreams;

mod clients;
mod roles;
mod tokens;
mod users;

mod login;
mod rewrite;
mod routes;
mod sessions;

mod client;
mod identity;
mod process;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Source;
use super::document::At;
use super::file::{ConfigFile, HeadersFile, UserFile};
use super::page_files::PageFiles;
use super::problem::closest;
use super::scalar::{Entries, Number, Span};
use super::settings::{ConfigText, Sections, Settings};
use crate::gate::Gate;
use crate::gate::route::RouteTable;
use crate::gate::users::Unclear;
use crate::listen::spec::{ListenerSpec, PlainLogin, Protocol};
use crate::password::credentials::Credentials;
use crate::proxy::spec::{Limits, Rates};
use clients::KnownClients;
use rewrite::Rewrites;
use routes::PlacedRoute;
use upstreams::Upstreams;
use users::KnownUsers;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The users, and the document they are written in: the configuration, or a file of their own.
pub struct WrittenUsers<'d> {
    /// None where they could not be read, which was then recorded.
    pub entries: Entries<UserFile>,
    /// Where their names are keys.
    pub at: At<'d>,
}

/// Lowers the whole configuration. What it gives is only good if no problem was recorded at `top`
/// or at the users. Relative paths begin at the folder of `source`. Also given is of which users not
/// all could be read.
#[must_use]
pub fn lower(
    written: ConfigFile,
    written_users: WrittenUsers<'_>,
    page_files: PageFiles,
    source: &Source<'_>,
    top: &At<'_>,
) -> (Settings, Unclear) {
    let ConfigFile {
        listeners,
        trusted_proxies,
        tls,
        upstreams,
        roles,
        users: _, // These come as `written_users`.
        clients,
        routes,
        login,
        sessions,
        identity,
        headers,
        limits,
        timeouts,
        buffering,
        admin,
        threads,
        shutdown,
        log,
        state,
    } = written;
    let trusted_proxies = addresses::lower_trusted(trusted_proxies, &top.key("trusted_proxies"));
    let (listeners, of_listeners) = listeners::lower(listeners, &trusted_proxies, source, top);
    let hsts = tls.as_ref().and_then(|tls| tls.hsts.as_ref());
    let hsts = hsts.and_then(|hsts| hsts::lower(hsts, &top.key("tls").key("hsts")));
    let state = state.and_then(|state| path(&state, source, &top.key("state")));
    let tls = tls::lower(tls, state.clone(), (&listeners, of_listeners), source, top);
    let upstreams = upstreams::lower(upstreams, source, top);
    let roles = roles::lower(roles, top);
    let sessions = sessions::lower(
        sessions.unwrap_or_default(),
        state.as_deref(),
        source,
        &top.key("sessions"),
    );
    let login_is_written = login.is_some();
    let login = login::lower(
        login.unwrap_or_default(),
        sessions.same_site,
        page_files,
        &top.key("login"),
    );
    let users = users::lower(written_users, &roles, login.allows_md5);
    let clients = clients::lower(clients, &roles, top);
    let mut rewrites = Rewrites::default();
    let mut rates = Rates::default();
    let routes = routes::lower(
        routes,
        (&upstreams, &roles, &clients),
        (&mut rewrites, &mut rates.routes),
        top,
    );
    let HeadersFile { underscores, drop } = headers.unwrap_or_default();
    if let Some(names) = drop {
        rewrites.drop_everywhere(names, &top.key("headers").key("drop"));
    }
    // Where all are known by their certificates, a login page would be one more thing to attack.
    let could_log_in = !users.users.is_empty() || clients.none_written;
    let has_login =
        login_is_written || could_log_in && routes.iter().any(PlacedRoute::takes_session);
    let identity = identity::lower(identity.unwrap_or_default(), source, &top.key("identity"));
    warn_across_sections(&listeners, &upstreams, &users, &clients, &routes, top);
    client_auth::warn_across(tls.as_ref(), &clients, &routes, &identity, top);
    for route in &routes {
        route.warn_of_own_page(has_login.then_some(&login));
    }
    let (admin, admin_socket) = process::lower_admin(admin, &listeners, source, top);
    if admin.is_none() && admin_socket.is_none() && identity.assertion.is_some() {
        let message = "jwt: without the section admin nobody can get the key of these assertions";
        top.key("identity").key("headers").warn(message);
    }
    let (shutdown_delay, drain_timeout) =
        process::lower_shutdown(shutdown.unwrap_or_default(), &top.key("shutdown"));
    let settings = Settings {
        admin,
        admin_socket,
        listeners,
        tls,
        hsts: hsts.map(Arc::new),
        upstreams: upstreams.specs,
        rewrites: rewrites.into(),
        gate: Gate {
            routes: RouteTable::new(routes.into_iter().map(|placed| placed.route).collect()).into(),
            users: users.users,
            clients: Arc::new(clients.clients),
            sessions: sessions.policy,
            own_pages: has_login.then(|| login.own_paths()),
        },
        credentials: Arc::new(Credentials::new(users.passwords, login.realms)),
        login: has_login.then_some(login.spec),
        identity,
        limits: Limits {
            underscores: client::lower_underscores(underscores, &top.key("headers")),
            ..client::lower_limits(limits.unwrap_or_default(), &mut rates, &top.key("limits"))
        },
        rates,
        trusted_proxies,
        timeouts: client::lower_timeouts(timeouts.unwrap_or_default(), &top.key("timeouts")),
        buffering: client::lower_buffering(
            buffering.unwrap_or_default(),
            source,
            &top.key("buffering"),
        ),
        threads: process::lower_threads(threads, &top.key("threads")),
        lockout: login.lockout,
        argon2id: login.argon2id,
        session_bounds: sessions.bounds,
        session_file: sessions.file,
        shutdown_delay,
        drain_timeout,
        log_format: process::lower_log(log.unwrap_or_default(), &top.key("log")),
        warnings: Vec::new(),
        sections: Sections::default(),
        text: ConfigText::default(),
    };
    (settings, users.unclear)
}

/// Notes what is right in each section and useless together.
fn warn_across_sections(
    listeners: &[ListenerSpec],
    upstreams: &Upstreams,
    users: &KnownUsers,
    clients: &KnownClients,
    routes: &[PlacedRoute<'_>],
    top: &At<'_>,
) {
    upstreams.warn_of_unused(
        |id| routes.iter().any(|placed| placed.route.upstream == id),
        top,
    );
    if users.users.has_tokens() && !routes.iter().any(PlacedRoute::takes_tokens) {
        let message = "there are tokens, and no route takes one; add token to its credentials";
        top.key("users").warn(message);
    }
    if !routes.iter().any(PlacedRoute::is_protected) {
        return;
    }
    if users.users.is_empty() && routes.iter().any(|it| it.needs_user(clients)) {
        let which = if clients.none_written {
            "the routes with can (devices are known by the section clients)"
        } else {
            "the routes that need a session, password or token"
        };
        let message = format!("there are none, so nobody can use {which}");
        top.key("users").warn(message);
    }
    let no_login =
        |listener: &ListenerSpec| listener.protocol == Protocol::Http(PlainLogin::Refuse);
    if listeners.iter().all(no_login) {
        top.key("listeners").warn(
            "logins are accepted by none, so nobody can use the routes with can; \
             use protocol: https",
        );
    }
}

// === What several sections need ===

/// What a word may stand for; `None` what is planned and not there yet.
type Choices<'c, T> = [(&'c str, Option<T>)];

/// Reads one of several words.
fn choose<T: Copy>(word: Option<&str>, default: T, choices: &Choices<'_, T>, at: &At<'_>) -> T {
    word.and_then(|word| choose_word(word, choices, at))
        .unwrap_or(default)
}

fn choose_word<T: Copy>(word: &str, choices: &Choices<'_, T>, at: &At<'_>) -> Option<T> {
    let usable = choices.iter().filter(|(_, choice)| choice.is_some());
    let usable: Vec<&str> = usable.map(|(name, _)| *name).collect();
    match choices.iter().find(|(name, _)| *name == word) {
        Some((_, Some(choice))) => return Some(*choice),
        Some((name, None)) => {
            let usable = usable.join(" or ");
            at.problem(format!(
                "{name} is not available in this version; use {usable}"
            ));
        }
        None => {
            let got = at.quoted(word);
            let meant = closest(word, usable.iter().copied());
            let meant = meant.map(|name| format!("; did you mean {name:?}?"));
            let (expected, meant) = (usable.join(" or "), meant.unwrap_or_default());
            at.problem(format!("expected {expected}, got {got}{meant}"));
        }
    }
    None
}

/// Records what is wrong with `written`, unless that could repeat the value of a variable.
fn problem_with(written: &str, why: impl Into<String>, at: &At<'_>) {
    if at.is_private(written) {
        at.problem(format!("{} cannot be used here", at.quoted(written)));
    } else {
        at.problem(why);
    }
}

/// Reads a number within bounds.
fn in_range(
    written: Option<Number>,
    default: usize,
    range: RangeInclusive<usize>,
    at: &At<'_>,
) -> usize {
    let Some(Number(number)) = written else {
        return default;
    };
    match usize::try_from(number) {
        Ok(number) if range.contains(&number) => number,
        _ => {
            at.problem(format!("must be from {} to {}", range.start(), range.end()));
            default
        }
    }
}

/// Reads a duration within bounds.
fn span_within(
    written: Option<Span>,
    default: Duration,
    range: RangeInclusive<Duration>,
    at: &At<'_>,
) -> Duration {
    let Some(Span(span)) = written else {
        return default;
    };
    if !range.contains(&span) {
        let (shortest, longest) = (words(*range.start()), words(*range.end()));
        at.problem(format!("must be from {shortest} to {longest}"));
        return default;
    }
    span
}

/// The path of a file or folder.
fn path(written: &str, source: &Source<'_>, at: &At<'_>) -> Option<PathBuf> {
    if written.is_empty() {
        at.problem("expected a path, got nothing");
        return None;
    }
    Some(source.folder().join(written))
}

/// The path of a file or folder that has to be there, and what is in it.
fn input(written: &str, what: &'static str, source: &Source<'_>, at: &At<'_>) -> Option<PathBuf> {
    let path = path(written, source, at)?;
    at.needs(written, &path, what);
    Some(path)
}

/// A duration as the configuration writes it.
fn words(span: Duration) -> String {
    let millis = span.as_millis();
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ];
    match units
        .iter()
        .find(|(_, factor)| millis > 0 && millis.is_multiple_of(*factor))
    {
        Some((unit, factor)) => format!("{}{unit}", millis / factor),
        None if millis == 0 => "0s".into(),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod testing {
    use std::path::Path;

    use super::*;
    use crate::config::document::Document;
    use crate::config::locate::Positions;
    use crate::config::problem::Problem;

    /// Runs `lower` at the top of an empty document; what it gives, and the problems it recorded.
    pub(super) fn at_top<T>(lower: impl FnOnce(&At<'_>) -> T) -> (T, Vec<Problem>) {
        let document = Document::new(Path::new("test.yaml"), Positions::scan("").unwrap());
        let lowered = lower(&document.root());
        (lowered, document.take_problems())
    }
}

#[cfg(test)]
mod tests {
    use super::testing::at_top;
    use super::*;

    #[test]
    fn a_duration_is_told_as_it_would_be_written() {
        for (millis, expected) in [
            (0, "0s"),
            (1, "1ms"),
            (1500, "1500ms"),
            (90_000, "90s"),
            (43_200_000, "12h"),
            (86_400_000, "1d"),
        ] {
            assert_eq!(words(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn a_word_is_one_of_several_or_a_problem() {
        let choices = [("one", Some(1)), ("two", Some(2)), ("three", None)];
        for (word, expected, message) in [
            (None, 1, None),
            (Some("two"), 2, None),
            (
                Some("three"),
                1,
                Some("three is not available in this version; use one or two"),
            ),
            (
                Some("tow"),
                1,
                Some("expected one or two, got \"tow\"; did you mean \"two\"?"),
            ),
            (
                Some("nine nine"),
                1,
                Some("expected one or two, got \"nine nine\""),
            ),
        ] {
            let (chosen, problems) = at_top(|at| choose(word, 1, &choices, at));
            let messages: Vec<_> = problems.iter().map(|problem| &*problem.message).collect();
            assert_eq!((chosen, messages.first().copied()), (expected, message));
        }
    }
}
