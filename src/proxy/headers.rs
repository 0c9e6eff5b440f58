//! What the backend is told, and what the client is told back.
//!
//! The identity fields are written from the [`Permit`] alone, on every route, after every copy that
//! the client sent is gone: in any case, with `_` for `-`, doubled, or named in `Connection`.
//! Whatever a client says about where it comes from is replaced by what we saw.

pub mod http2;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::authorization;
use super::client::{ClientFacts, StrictTransport};
use super::cookie;
use super::identity_headers::{IdentityHeaders, Told};
use super::renewal::Renewal;
use super::request_id::RequestId;
use super::rewrite::{Backwards, Rewrite, Site, Target};
use super::spec::{HttpVersion, Underscores, UpstreamSpec};
use super::upgrade::handshake::Handshake;
use super::upstream::endpoint::Upstream;
use super::upstream_login::Turn;
use crate::gate::authorize::Permit;
use crate::gate::session::Timestamp;
use crate::http1::fields::{Fields, Received, list_elements};
use crate::http1::head::{RequestFraming, RequestHead};
use crate::http1::response::ResponseHead;
use crate::http1::write::{self, BodyEncoder};

/// Fields about one connection, which end with it (RFC 9110 section 7.6.1), and those that name
/// credentials for a proxy.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Fields that are written anew from what was checked.
const REWRITTEN: &[&str] = &["host", "content-length", "expect", "cookie"];

/// Names that say who asks or where from: ours to write, whatever preset is on. Those that begin
/// with one of [`RESERVED_PREFIXES`] are reserved too.
const RESERVED: &[&str] = &[
    "forwarded",
    "x-real-ip",
    "x-request-id",
    "x-forwarded",
    "forwarded-for",
    "client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-original-forwarded-for",
    "remote-user",
    "remote-groups",
    "remote-name",
    "remote-email",
    "client-cert",
    "client-cert-chain",
    "mutual-auth-header",
    "proxy-mutual-auth-header",
    "encoded-pem",
    "x-wso2-client-certificate",
    // What other gates and clouds write, and backends made for them believe.
    "x-auth-user",
    "x-arr-clientcert",
    "x-ssl",
    "cert-chain",
    "cf-access-authenticated-user-email",
    "cf-access-jwt-assertion",
    "cf-client-cert-sha256",
    "tailscale-user-login",
    "tailscale-user-name",
    "tailscale-user-profile-pic",
    // CGI hands this to programs as HTTP_PROXY, which they take for their own proxy (httpoxy).
    "proxy",
    // Some frameworks route by these instead of by the path that the gate checked, or take the
    // method from them instead of the one that it checked.
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-envoy-original-path",
    "x-middleware-subrequest",
    // Servers of WSGI, ASGI and CGI cut these off the path, or take them for it: gunicorn from a
    // front end beside it, daphne and mod_wsgi from anybody. The path that was decided about would
    // not be the one that is served.
    "script-name",
    "path-info",
    "path-translated",
    "request-uri",
    "x-script-name",
    "daphne-root-path",
    "x-ingress-path",
    // As these say where from, or how, a client came.
    "remote-addr",
    "remote-host",
    "auth-type",
    "x-scheme",
    "x-https",
    "x-envoy-external-address",
    "x-envoy-internal",
    "proxy-client-ip",
    "proxy-auth-cert",
    "proxy-ssl-id",
    "x-proxied-https",
    "eppn",
    "x-userinfo",
    "x-sso-user",
    "x-proxy-user",
    "x-proxy-roles",
    "x-redmine-switch-user",
    "es-security-runas-user",
    // What files Rack may have a front end send in place of an answer.
    "x-sendfile-type",
    "x-accel-mapping",
];

/// See [`RESERVED`].
const RESERVED_PREFIXES: &[&str] = &[
    "x-forwarded-",
    "x-auth-request-",
    "x-remote-",
    "x-portcullis-",
    "x-webauth-",
    "x-amzn-mtls-",
    "x-amzn-oidc-",
    "x-client-cert",
    "x-client-verify",
    "x-client-dn",
    "x-goog-iap-",
    "x-goog-authenticated-user-",
    "x-ms-client-principal",
    "x-authentik-",
    "x-vouch-",
    "x-pomerium-",
    "ssl-client-",
    "x-ssl-",
    "x-authenticated-",
    "x-consumer-",
    "x-appengine-",
    "x-ms-token-",
    "oidc-",
    "oam-",
    "osso-",
    "shib-",
    "mellon-",
    "iv-",
    "sm-",
    // Servers of Java, from the front ends that they were sold with: `$WSRU` is the user.
    "-ws",
    "wl-proxy-",
    // Whoever may do that as an administrator does it as somebody else: the gate may have logged in
    // as one (`upstreams.NAME.login`).
    "impersonate-",
    "x-auth-couchdb-",
];

/// Fields of an answer that are written anew.
const OURS_IN_ANSWERS: &[&str] = &["content-length", "x-request-id"];

/// Passed on where we have nothing to say of it ourselves.
const STRICT_TRANSPORT: &str = "strict-transport-security";

/// Passed on where we do not take it ourselves.
const AUTHORIZATION: &[&str] = &["authorization"];

/// Trace context, passed on only where it is whole.
const TRACE: &[&str] = &["traceparent", "tracestate"];

/// Whether a client may not send this field to a backend, because of what it says.
#[must_use]
pub fn is_reserved(name: &[u8]) -> bool {
    Folded::of(name).is_reserved()
}

/// A name, [folded](fold).
struct Folded {
    /// No name or prefix that matters is longer; a longer name can still begin with a prefix.
    bytes: [u8; 40],
    length: usize,
    is_whole: bool,
}

impl Folded {
    fn of(name: &[u8]) -> Self {
        let mut bytes = [0; 40];
        let length = name.len().min(bytes.len());
        for (folded, byte) in bytes.iter_mut().zip(name) {
            *folded = fold(*byte);
        }
        Self {
            bytes,
            length,
            is_whole: name.len() == length,
        }
    }

    fn is_one_of(&self, names: &[&str]) -> bool {
        let folded = &self.bytes[..self.length];
        self.is_whole && names.iter().any(|name| folded == name.as_bytes())
    }

    fn is_never_in_trailers(&self) -> bool {
        let folded = &self.bytes[..self.length];
        let prefixes = ["sec-", "access-control-"].map(str::as_bytes);
        self.is_one_of(NEVER_IN_TRAILERS) || prefixes.iter().any(|it| folded.starts_with(it))
    }

    fn is_reserved(&self) -> bool {
        let folded = &self.bytes[..self.length];
        let mut prefixes = RESERVED_PREFIXES.iter();
        self.is_one_of(RESERVED) || prefixes.any(|prefix| folded.starts_with(prefix.as_bytes()))
    }
}

/// Whether a field is about one connection and ends with it.
#[must_use]
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    is_one_of(name, HOP_BY_HOP)
}

/// Which names are not simply passed on, as far as their first byte tells; in either case.
///
/// Most fields of most requests are told apart by this alone.
#[derive(Clone, Copy)]
struct Special {
    /// The lengths of such names, a bit each.
    lengths: u64,
    /// The second bytes of what such names begin with, a bit each, as [`second`] has them.
    seconds: u64,
}

static SPECIAL: [Special; 256] = table(
    &[HOP_BY_HOP, REWRITTEN, RESERVED, AUTHORIZATION, TRACE],
    RESERVED_PREFIXES,
);

/// The same of a backend's fields.
static SPECIAL_IN_ANSWERS: [Special; 256] = table(
    &[
        HOP_BY_HOP,
        OURS_IN_ANSWERS,
        &["set-cookie", STRICT_TRANSPORT],
    ],
    &[],
);

const fn table(lists: &[&[&str]], prefixes: &[&str]) -> [Special; 256] {
    let none = Special {
        lengths: 0,
        seconds: 0,
    };
    let mut special = [none; 256];
    let mut list = 0;
    while list < lists.len() {
        let mut at = 0;
        while at < lists[list].len() {
            let name = lists[list][at].as_bytes();
            assert!(name.len() < 64 && name[0].is_ascii_lowercase());
            special[name[0] as usize].lengths |= 1 << name.len();
            special[name[0].to_ascii_uppercase() as usize].lengths |= 1 << name.len();
            at += 1;
        }
        list += 1;
    }
    let mut at = 0;
    while at < prefixes.len() {
        let prefix = prefixes[at].as_bytes();
        let mut byte = 0;
        while byte < special.len() {
            if fold(byte as u8) == prefix[0] {
                special[byte].seconds |= second(prefix[1]);
            }
            byte += 1;
        }
        at += 1;
    }
    special
}

/// A byte of a name as CGI and what comes from it may read it: everything but letters and digits counts
/// as `-`. They cannot tell `_` from it, and some servers fold the other signs too.
pub(super) const fn fold(byte: u8) -> u8 {
    match byte {
        byte if byte.is_ascii_alphanumeric() => byte.to_ascii_lowercase(),
        _ => b'-',
    }
}

/// A bit for each byte that a name can have after folding.
const fn second(byte: u8) -> u64 {
    match fold(byte) {
        letter @ b'a'..=b'z' => 1 << (letter - b'a'),
        digit @ b'0'..=b'9' => 1 << (26 + digit - b'0'),
        _ => 1 << 36,
    }
}

fn is_special(table: &[Special; 256], name: &[u8]) -> bool {
    let Some(first) = name.first() else {
        return false;
    };
    let of_first = table[usize::from(*first)];
    let second = name.get(1).map_or(0, |byte| second(*byte));
    of_first.lengths & (1 << name.len().min(63)) != 0 || of_first.seconds & second != 0
}

/// What becomes of a client's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    Dropped,
    /// Passed where the route does not take it.
    Authorization,
    /// Passed where the trace context is whole.
    Trace,
}

fn fate(name: &[u8]) -> Fate {
    if !is_special(&SPECIAL, name) {
        return Fate::Passed;
    }
    if is_one_of(name, TRACE) {
        return Fate::Trace;
    }
    if is_one_of(name, AUTHORIZATION) {
        return Fate::Authorization;
    }
    let folded = Folded::of(name);
    if folded.is_one_of(HOP_BY_HOP) || folded.is_one_of(REWRITTEN) || folded.is_reserved() {
        return Fate::Dropped;
    }
    Fate::Passed
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names
        .iter()
        .any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
}

/// The names that `Connection` nominates, split once: a head may hold many of both. The two that
/// most of them hold name no field.
fn nominated(fields: &Fields) -> Vec<&[u8]> {
    let mut nominated = Vec::new();
    for value in fields.get_all("connection") {
        let names = list_elements(value);
        nominated.extend(names.filter(|name| !is_one_of(name, &["close", "keep-alive"])));
    }
    nominated
}

fn is_in(name: &[u8], nominated: &[&[u8]]) -> bool {
    nominated
        .iter()
        .any(|element| element.eq_ignore_ascii_case(name))
}

/// Everything the request to the backend is made of.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamRequest<'r> {
    /// What the client sent.
    pub head: &'r RequestHead,
    /// Who is asking, as the gate found.
    pub permit: &'r Permit,
    /// Where from.
    pub client: &'r ClientFacts,
    /// Where to.
    pub upstream: &'r Upstream,
    /// What the route changes on the way.
    pub rewrite: &'r Rewrite,
    /// What the backend is asked for.
    pub target: &'r Target<'r>,
    /// Where it is to copy or move that to.
    pub destination: Option<&'r str>,
    /// How the backend is told who asks.
    pub identity: &'r Arc<IdentityHeaders>,
    /// The request's id.
    pub request_id: &'r RequestId,
    /// What becomes of fields with an underscore in their name.
    pub underscores: Underscores,
    /// When.
    pub now: Timestamp,
    /// The session cookie that the client is to get again with the answer.
    pub renewal: Option<&'r Renewal<'r>>,
    /// The WebSocket handshake that it is, where it is one.
    pub upgrade: Option<&'r Handshake>,
    /// How it is sent.
    pub sending: Sending,
    /// What it carries so that the backend lets us in.
    pub login: Option<&'r Turn>,
}

/// How a request is sent to a backend, which need not be as it came.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// How its body is framed.
    pub framing: RequestFraming,
    /// Whether the backend is asked to say when the body may come (100 Continue).
    pub expects_continue: bool,
    /// The longest wait for the head of its answer.
    pub header_timeout: Duration,
    /// The longest wait between two pieces of the answer's body.
    pub read_timeout: Duration,
}

impl Sending {
    /// As the client sent it.
    #[must_use]
    pub fn as_it_came(head: &RequestHead, upstream: &UpstreamSpec) -> Self {
        Self {
            framing: head.framing(),
            expects_continue: head.expects_continue(),
            header_timeout: upstream.header_timeout,
            read_timeout: upstream.read_timeout,
        }
    }
}

impl<'r> UpstreamRequest<'r> {
    /// Writes the head, up to and including the empty line.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (method, target) = (self.head.method(), &self.target.target);
        match self.upstream.spec.version {
            HttpVersion::Http11 | HttpVersion::Http2 => write::request_line(out, method, target),
            HttpVersion::Http10 => write::request_line_of_http10(out, method, target),
        }
        write::checked(out, "Host", [&*self.host()]);
        let traced = trace_id(self.head.fields()).is_some();
        self.write_client_fields(out, traced);
        let edits = &self.rewrite.request;
        if let Some(cookies) = cookie::without_ours(self.head.fields())
            && !edits.replaces(b"cookie")
        {
            write::field(out, "Cookie", &cookies);
        }
        for (name, value) in edits.lines() {
            write::field(out, name, value);
        }
        if let Some(destination) = self.destination {
            write::field(out, "Destination", destination.as_bytes());
        }
        if let Some(login) = self.login {
            login.write(out, method.as_str(), target);
        }
        self.write_framing(out);
        self.write_forwarding(out, traced);
        let told = Told {
            permit: self.permit,
            client: self.client,
            upstream: &self.upstream.spec.name,
            now: self.now,
        };
        self.identity.write(out, &told);
        write::end_of_head(out);
    }

    /// How the answer is changed on its way back.
    #[must_use]
    pub fn backwards(&self) -> Backwards<'r> {
        Backwards {
            rewrite: self.rewrite,
            site: Site {
                scheme: self.client.scheme,
                authority: self.head.authority(),
                prefix: self.target.prefix,
                path: &self.rewrite.path,
                upstream: &self.upstream.spec,
                host: self.rewrite.request.host(),
            },
        }
    }

    /// Whether a field of the client is written anew, or not at all, on this route.
    fn replaces(&self, name: &[u8]) -> bool {
        self.rewrite.request.replaces(name)
            || (self.destination.is_some() && name.eq_ignore_ascii_case(b"destination"))
    }

    /// What the backend is told that it is called.
    pub(super) fn host(&self) -> Cow<'r, str> {
        let host = self.rewrite.request.host();
        match host.or_else(|| self.head.authority()) {
            Some(authority) => authority.into(),
            None => self.upstream.spec.authority().into(),
        }
    }

    fn write_client_fields(&self, out: &mut Vec<u8>, traced: bool) {
        let fields = self.head.fields();
        let nominated = nominated(fields);
        let drops_underscores = self.underscores == Underscores::Drop;
        for field in fields.received() {
            let name = field.name();
            if drops_underscores && name.contains(&b'_') {
                continue;
            }
            let passed = match fate(name) {
                Fate::Passed => true,
                Fate::Dropped => false,
                Fate::Authorization => {
                    self.upstream.spec.login.is_none()
                        && !authorization::is_ours(field.value(), self.permit.withheld())
                }
                Fate::Trace => traced,
            };
            if passed && !is_in(name, &nominated) && !self.replaces(name) {
                write::received(out, &field);
            }
        }
    }

    /// What the backend gets of the trailers: what it would get in the head, and nothing that belongs
    /// there.
    #[must_use]
    pub fn trailers(&self, trailers: &Fields) -> Fields {
        let nominated = nominated(self.head.fields());
        // It is too late to refuse the request.
        let keeps_underscores = self.underscores == Underscores::Keep;
        kept_trailers(trailers, |name| {
            fate(name) == Fate::Passed
                && (keeps_underscores || !name.contains(&b'_'))
                && !is_in(name, &nominated)
                && !self.replaces(name)
        })
    }

    fn write_framing(&self, out: &mut Vec<u8>) {
        let needs_length = matches!(
            *self.head.method(),
            Method::POST | Method::PUT | Method::PATCH
        );
        match BodyEncoder::for_request(self.sending.framing) {
            BodyEncoder::None if needs_length => write::field(out, "Content-Length", b"0"),
            BodyEncoder::Length(length) => {
                let mut digits = itoa::Buffer::new();
                write::field(out, "Content-Length", digits.format(length).as_bytes());
            }
            BodyEncoder::Chunked => write::field(out, "Transfer-Encoding", b"chunked"),
            // A request never ends with its connection.
            BodyEncoder::None | BodyEncoder::UntilClose => {}
        }
        if self.sending.expects_continue {
            write::field(out, "Expect", b"100-continue");
        }
        if self.upgrade.is_some() {
            write::checked(out, "Upgrade", ["websocket"]);
            write::checked(out, "Connection", ["Upgrade"]);
        } else if self.head.takes_trailers() && self.upstream.spec.version == HttpVersion::Http11 {
            // Servers send none to those who do not say that they take them.
            write::checked(out, "TE", ["trailers"]);
            write::checked(out, "Connection", ["TE"]);
        }
    }

    fn write_forwarding(&self, out: &mut Vec<u8>, traced: bool) {
        out.extend_from_slice(&self.client.forwarding);
        let forwarded = &*self.client.forwarded;
        let (host, outer_prefix, hops) = match self.client.behind.as_deref() {
            None => (self.head.authority(), "", ""),
            Some(behind) => {
                let host = behind.host.as_deref();
                let host = host.or_else(|| self.head.authority());
                let prefix = behind.prefix.as_deref().unwrap_or_default();
                (host, prefix, behind.forwarded.as_str())
            }
        };
        if let Some(host) = host {
            write::checked(out, "X-Forwarded-Host", [host]);
            write::checked(out, "Forwarded", [forwarded, ";host=\"", host, "\"", hops]);
        } else {
            write::checked(out, "Forwarded", [forwarded, hops]);
        }
        // What was cut off before us stands before what we cut off.
        let prefix = [outer_prefix, self.target.prefix];
        if prefix.iter().any(|part| !part.is_empty()) {
            write::checked(out, "X-Forwarded-Prefix", prefix);
        }
        let id = self.request_id.as_str();
        write::checked(out, "X-Request-Id", [id]);
        if !traced {
            // 128 random bits, as the id of a trace is; the flag says not sampled.
            let trace = self.request_id.random();
            write::checked(out, "traceparent", ["00-", trace, "-", &trace[..16], "-00"]);
        }
    }
}

/// Fields that are about the whole message, and come too late behind it to be taken for what they
/// would mean in its head (RFC 9110 section 6.5.1): who asks, what is asked for, how it is read.
const NEVER_IN_TRAILERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "age",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "depth",
    "destination",
    "expires",
    "if",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "lock-token",
    "max-forwards",
    "origin",
    "overwrite",
    "pragma",
    "range",
    "referer",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "timeout",
    "user-agent",
    "vary",
    "www-authenticate",
];

/// What a client gets of the trailers behind an answer with this head. `replaces` says which names the
/// route writes or removes itself.
#[must_use]
pub fn answer_trailers(
    head: &ResponseHead,
    trailers: &Fields,
    replaces: impl Fn(&[u8]) -> bool,
) -> Fields {
    let nominated = nominated(head.fields());
    kept_trailers(trailers, |name| {
        !is_one_of(name, HOP_BY_HOP)
            && !is_one_of(name, OURS_IN_ANSWERS)
            && !is_in(name, &nominated)
            && !replaces(name)
    })
}

fn kept_trailers(trailers: &Fields, is_kept: impl Fn(&[u8]) -> bool) -> Fields {
    let pairs = trailers.iter();
    let kept = pairs.filter(|(name, _)| {
        let name = name.as_bytes();
        is_kept(name) && !Folded::of(name).is_never_in_trailers()
    });
    // They were fields before.
    Fields::from_pairs(kept).unwrap_or_default()
}

/// The trace id of the one valid `traceparent` of a request, where there is one (W3C Trace Context
/// section 3.2). Anything else is not passed on.
#[must_use]
pub fn trace_id(fields: &Fields) -> Option<&str> {
    let mut values = fields.get_all("traceparent");
    let text = std::str::from_utf8(values.next()?).ok()?;
    if values.next().is_some() {
        return None;
    }
    let hex = |part: &str, length: usize| {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        part.len() == length && part.bytes().all(digit)
    };
    let not_zero = |part: &str| part.bytes().any(|byte| byte != b'0');
    let mut parts = text.split('-');
    let (version, trace, parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let valid = version == "00"
        && (hex(trace, 32) && not_zero(trace))
        && (hex(parent, 16) && not_zero(parent))
        && hex(flags, 2)
        && parts.next().is_none();
    valid.then_some(trace)
}

/// The fields of a backend's answer that the client gets, in order.
pub fn answer_fields<'r>(
    response: &'r ResponseHead,
    strict_transport: &StrictTransport,
) -> impl Iterator<Item = Received<'r>> + use<'r> {
    let backends_policy = matches!(strict_transport, StrictTransport::Backends);
    let fields = response.fields();
    let nominated = nominated(fields);
    fields.received().filter(move |field| {
        let (name, value) = (field.name(), field.value());
        let ours = || {
            is_one_of(name, HOP_BY_HOP)
                || is_one_of(name, OURS_IN_ANSWERS)
                || (name.eq_ignore_ascii_case(b"set-cookie") && cookie::sets_ours(value))
                || (is_one_of(name, &[STRICT_TRANSPORT]) && !backends_policy)
        };
        let dropped = is_special(&SPECIAL_IN_ANSWERS, name) && ours();
        !dropped && !is_in(name, &nominated)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_who_asks_are_reserved_in_every_spelling() {
        for name in [
            "X-Forwarded-User",
            "x_forwarded_user",
            "X-FORWARDED_user",
            "X-Forwarded-Anything-That-Is-Longer-Than-The-Buffer",
            "Forwarded",
            "X-Auth-Request-Email",
            "Remote_User",
            "X.Forwarded.User",
            "x~forwarded!user",
            "ssl-client-verify",
            "X_SSL_Client_DN",
            "Client-Cert",
            "proxy-mutual-auth-header",
            "X-WSO2-CLIENT-CERTIFICATE",
            "x-original-url",
            "X-Portcullis-Anything",
            "Proxy",
            "X-Remote-User",
            "X-HTTP-Method-Override",
        ] {
            assert!(is_reserved(name.as_bytes()), "{name}");
            assert_eq!(fate(name.as_bytes()), Fate::Dropped, "{name}");
        }
        for name in [
            "Accept",
            "User-Agent",
            "Remote",
            "Client-Certs",
            "X-User",
            "",
        ] {
            assert!(!is_reserved(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_is_not_passed_on_is_told_from_the_rest_in_any_spelling() {
        let special = [HOP_BY_HOP, REWRITTEN, RESERVED].concat();
        for name in special {
            let folded = [name.replace('-', "_"), name.replace('-', ".")];
            for name in [name.to_owned(), name.to_uppercase()].iter().chain(&folded) {
                assert_eq!(fate(name.as_bytes()), Fate::Dropped, "{name}");
            }
        }
        let long = format!("X-Forwarded-{}", "x".repeat(100));
        assert_eq!(fate(long.as_bytes()), Fate::Dropped);
        assert_eq!(fate(b"Traceparent"), Fate::Trace);
        assert_eq!(fate(b"AUTHORIZATION"), Fate::Authorization);
        for name in [
            "Accept",
            "Content-Type",
            "Cache-Control",
            "X-Custom",
            "TEx",
            "User-Agent",
        ] {
            assert_eq!(fate(name.as_bytes()), Fate::Passed, "{name}");
        }
    }

    #[test]
    fn a_valid_traceparent_is_kept_and_an_invalid_one_is_not() {
        let found = |values: &[&str]| {
            let pairs = values.iter().map(|value| ("traceparent", value.as_bytes()));
            let fields = Fields::from_pairs(pairs).unwrap();
            trace_id(&fields).map(str::to_owned)
        };
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let valid = format!("00-{trace}-b7ad6b7169203331-01");
        assert_eq!(found(&[&valid]).as_deref(), Some(trace));
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[&valid, &valid]), None);
        for bad in [
            "",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(found(&[bad]), None, "{bad}");
        }
    }
}
