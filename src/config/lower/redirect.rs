//! The keys of a listener about requests in the clear: `plaintext` and `redirect`.

use http::StatusCode;

use crate::config::document::At;
use crate::config::file::{RedirectFile, RedirectSettingsFile};
use crate::config::scalar::{Number, OneOrMany};
use crate::gate::route::PathPattern;
use crate::listen::spec::{ListenerSpec, PlainLogin, Protocol};
use crate::proxy::spec::{Redirect, TargetPort};

use super::{choose, in_range};

/// The port that https is found at, where `redirect` does not say.
#[derive(Clone, Copy)]
pub(super) enum HttpsPort {
    /// That of the first https listener.
    Known(u16),
    /// Its address has a problem, and somebody was told.
    Refused,
    /// The system chooses it.
    Chosen,
    /// There is no https listener.
    None,
}

/// What an https listener does with plain HTTP.
pub(super) fn lower_plaintext(written: Option<&str>, at: &At<'_>) -> Option<Redirect> {
    let choices = [
        ("redirect", Some(Plaintext::Redirect)),
        ("reject", Some(Plaintext::Reject)),
    ];
    match choose(written, Plaintext::Redirect, &choices, at) {
        Plaintext::Redirect => Some(Redirect::same_port()),
        Plaintext::Reject => None,
    }
}

#[derive(Clone, Copy)]
enum Plaintext {
    Redirect,
    Reject,
}

/// Where the http listener `spec` sends its clients.
pub(super) fn lower(
    written: RedirectFile,
    spec: &ListenerSpec,
    https: HttpsPort,
    at: &At<'_>,
) -> Option<Redirect> {
    match spec.protocol {
        Protocol::Https => {
            let message = "only for protocol: http; on an https listener write plaintext: redirect";
            at.key_problem(message);
            return None;
        }
        Protocol::Http(PlainLogin::Accept) => at.key_problem(
            "nobody can log in where all are redirected; take out either this or \
             unsafe_login_without_tls",
        ),
        Protocol::Http(PlainLogin::Refuse) => {}
    }
    let settings = match written {
        RedirectFile::To(to) => {
            choose(Some(&to), (), &[("https", Some(()))], at);
            RedirectSettingsFile::default()
        }
        RedirectFile::Settings(settings) => settings,
    };
    let RedirectSettingsFile {
        status,
        port,
        except,
    } = settings;
    Some(Redirect {
        status: lower_status(status, &at.key("status")),
        port: TargetPort::Fixed(lower_port(port, spec, https, at)),
        except: except.map_or_else(Vec::new, |except| lower_except(except, &at.key("except"))),
    })
}

fn lower_status(written: Option<Number>, at: &At<'_>) -> StatusCode {
    let default = StatusCode::TEMPORARY_REDIRECT;
    match written {
        None => default,
        Some(Number(301)) => StatusCode::MOVED_PERMANENTLY,
        Some(Number(302)) => StatusCode::FOUND,
        Some(Number(307)) => StatusCode::TEMPORARY_REDIRECT,
        Some(Number(308)) => StatusCode::PERMANENT_REDIRECT,
        Some(Number(_)) => {
            at.problem("must be 301, 302, 307 or 308; the last two keep method and body");
            default
        }
    }
}

fn lower_port(written: Option<Number>, spec: &ListenerSpec, https: HttpsPort, at: &At<'_>) -> u16 {
    const STAND_IN: u16 = 443;
    let port_at = at.key("port");
    let (port, at) = match (written, https) {
        (Some(_), _) => {
            let port = in_range(written, usize::from(STAND_IN), 1..=65_535, &port_at);
            (u16::try_from(port).unwrap_or(STAND_IN), port_at)
        }
        (None, HttpsPort::Known(port)) => (port, at.clone()),
        (None, HttpsPort::Refused) => return STAND_IN,
        (None, _) if port_at.is_refused() => return STAND_IN,
        (None, HttpsPort::Chosen) => {
            at.problem(
                "the system chooses the port of the https listener; write the one that clients \
                 reach it at, as {port: 443}",
            );
            return STAND_IN;
        }
        (None, HttpsPort::None) => {
            at.problem(
                "no listener speaks https; write the port where something else does, as \
                 {port: 443}",
            );
            return STAND_IN;
        }
    };
    if port == spec.address.port() {
        at.problem(format!(
            "{port} is the port of this listener itself, which does not speak https; write the \
             one that clients reach https at, as {{port: 443}}"
        ));
    }
    port
}

fn lower_except(written: OneOrMany, at: &At<'_>) -> Vec<PathPattern> {
    let mut patterns = Vec::new();
    for (at, path) in at.texts(written) {
        match PathPattern::parse(&path) {
            Ok(PathPattern::Any) => {
                at.problem("an empty path; write one as /.well-known/acme-challenge/");
            }
            Ok(pattern) => patterns.push(pattern),
            Err(why) => at.problem(why),
        }
    }
    patterns
}
