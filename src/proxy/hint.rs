//! What in the configuration a refusal or a failure comes from (`auth.hint`, `error.message`): for
//! whoever reads the log, and has to know what to write there. Clients are told nothing of it.

use std::io;
use std::path::Path;

use super::Request;
use super::authorization;
use super::client::SessionsAccepted;
use super::forward::failure::ForwardFailure;
use super::rate::TooOften;
use super::record::Record;
use super::spec::UpstreamSpec;
use super::upstream::connection::ConnectFailure;
use crate::gate::authorize::{Permit, Refusal, RefusalReason};
use crate::gate::route::{Credentials, Route};
use crate::http1::read::ReadError;
use crate::http1::response::ResponseError;
use crate::tls::connector::TlsFault;

// === Refusals ===

impl Request<'_> {
    /// What would have this route look at what was presented to it: elsewhere the field is the
    /// backend's, and a password or token in it is as good as none.
    pub(super) fn not_taken(&self, refusal: &Refusal) -> Option<String> {
        let route = refusal.route.as_ref();
        let route = route.filter(|it| may_take_more(it, &refusal.reason))?;
        let Credentials::OneOf(taken) = route.access.grant()?.credentials else {
            return None;
        };
        if self.client.sessions == SessionsAccepted::OnlyOverTls {
            return None;
        }
        let presented = authorization::presented(self.head.fields());
        let presented = presented.filter(|kind| !taken.contains(*kind))?;
        let place = self.snapshot.gate.routes.place_of(route)?;
        let taken = taken.and_this(presented);
        Some(format!("routes[{place}].credentials: {taken}"))
    }

    /// Where the origins are listed that may open a WebSocket.
    pub(super) fn origins(&self, permit: &Permit) -> Option<String> {
        let place = self.snapshot.gate.routes.place_of(permit.route())?;
        Some(format!("routes[{place}].origins"))
    }

    /// Which limit is at its end.
    pub(super) fn limit(&self, too_often: TooOften) -> String {
        let routes = &self.snapshot.gate.routes;
        let of_route = too_often.route.and_then(|rate| routes.place_of_rate(rate));
        match of_route {
            Some(place) => format!("routes[{place}].rate.{}", too_often.per),
            None => format!("limits.rate.{}", too_often.per),
        }
    }
}

/// Whether the route could have let somebody in who is known by something else.
fn may_take_more(route: &Route, reason: &RefusalReason) -> bool {
    match reason {
        RefusalReason::LoginNeeded(_) => true,
        RefusalReason::CertificateNeeded(_) => !route.access.needs_certificate(),
        _ => false,
    }
}

// === Failures ===

impl Request<'_> {
    /// Has the log say in a sentence what became of a request at its backend.
    pub(super) fn explain(&self, failure: &ForwardFailure, record: &mut Record<'_>) {
        let name = record.upstream_name().filter(|_| failure.is_upstream());
        let mut upstreams = self.snapshot.upstreams.iter();
        let upstream = upstreams.find(|it| Some(&*it.spec.name) == name);
        let Some(upstream) = upstream else {
            return;
        };
        let spec = &upstream.spec;
        let socket = record.forwarded.address().and_then(socket_of);
        let advice = match (failure, socket) {
            (ForwardFailure::Connect(ConnectFailure::Refused), Some(path)) => refused_at(path),
            _ => advice(failure, spec).map(|advice| format!("upstreams.{}{advice}", spec.name)),
        };
        record.explain(match advice {
            Some(advice) => format!("{failure}; {advice}"),
            None => failure.to_string(),
        });
    }
}

fn socket_of(address: &str) -> Option<&Path> {
    address.strip_prefix("unix:").map(Path::new)
}

/// Why nobody can be reached at a Unix socket, as far as it can be seen.
fn refused_at(path: &Path) -> Option<String> {
    let why = match path.symlink_metadata() {
        Ok(_) => "nobody listens there, or this user may not write to it",
        Err(error) if error.kind() == io::ErrorKind::NotFound => "there is no such socket",
        Err(_) => "this user may not see it",
    };
    Some(format!("unix:{}: {why}", path.display()))
}

/// Which key of the upstream is to be looked at.
fn advice(failure: &ForwardFailure, upstream: &UpstreamSpec) -> Option<&'static str> {
    Some(match failure {
        ForwardFailure::Connect(ConnectFailure::NotHttp2) => {
            ": leave out version, and write http:// in place of h2c://, where it speaks HTTP/1.1"
        }
        ForwardFailure::Connect(ConnectFailure::Tls(fault)) => match fault {
            TlsFault::NotHttp2 => ".version: leave it out where it speaks HTTP/1.1",
            TlsFault::Untrusted => ".tls.ca: name who vouches for it",
            TlsFault::WrongName => ".tls.server_name: write the name that is in it",
            TlsFault::WrongKey => ".tls.pins: write the key that it has",
            TlsFault::NotTls => ": write http:// where it speaks no TLS",
            TlsFault::Refused => ".tls.certificate: it may ask who we are",
            TlsFault::Expired | TlsFault::NotYetValid | TlsFault::Failed => return None,
        },
        ForwardFailure::BadAnswer(ReadError::Response(ResponseError::LikeHttp2)) => {
            match upstream.tls {
                Some(_) => ".version: write \"2\" where it speaks HTTP/2",
                None => ": write h2c:// or version: \"2\" where it speaks HTTP/2",
            }
        }
        ForwardFailure::BadAnswer(ReadError::Response(ResponseError::LikeTls)) => {
            ": write https:// where it speaks TLS"
        }
        _ => return None,
    })
}
