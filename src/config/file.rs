//! The YAML file as it was written: one struct a section, no logic, nothing checked but the kind of
//! each value. What it means is for `lower` to say.
//!
//! Everything is optional here, so that `lower` can report all that is missing at once.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::scalar::{
    Choice, Entries, Flag, Items, Number, OneOrMany, Rate, Size, SizeOrUnlimited, Span,
    StatusRange, Version, collect,
};

/// The whole file.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with listeners, upstreams and routes"
)]
pub struct ConfigFile {
    /// Where clients connect. At least one is required.
    pub listeners: Option<Items<ListenerFile>>,
    /// Certificates, and how TLS is spoken.
    pub tls: Option<TlsFile>,
    /// Addresses and blocks of proxies that bring other people's requests: what they say of where
    /// those come from (`X-Forwarded-For`, PROXY protocol) is believed. Default: nobody.
    pub trusted_proxies: Option<OneOrMany>,
    /// The backends by name. At least one is required.
    pub upstreams: Option<Entries<UpstreamFile>>,
    /// What each role may do.
    pub roles: Option<RolesFile>,
    /// The people who can log in: written here, or the path of a file that holds them.
    pub users: Option<UsersSection>,
    /// Whose the certificates of clients are, in order; the first rule that fits decides.
    pub clients: Option<Items<ClientRuleFile>>,
    /// Who may ask for what, in order; the first that matches decides. At least one is required.
    pub routes: Option<Items<RouteFile>>,
    /// The login and logout pages. Without this section they exist when a route needs them.
    pub login: Option<LoginFile>,
    /// How long a login lasts.
    pub sessions: Option<SessionsFile>,
    /// How the backend is told who asks.
    pub identity: Option<IdentityFile>,
    /// Which fields of a request the backend gets.
    pub headers: Option<HeadersFile>,
    /// How much a client may send.
    pub limits: Option<LimitsFile>,
    /// How long a client may take.
    pub timeouts: Option<TimeoutsFile>,
    /// Where request bodies are kept that a backend is to get whole.
    pub buffering: Option<BufferingFile>,
    /// The listener for health checks and metrics. Without this section there is none.
    pub admin: Option<AdminFile>,
    /// Threads that accept and forward, 1 to 256. Default: one for each core.
    pub threads: Option<Number>,
    /// How the program ends.
    pub shutdown: Option<ShutdownFile>,
    /// How log lines are written.
    pub log: Option<LogFile>,
    /// The folder for what is kept between two starts, as a self-signed certificate. Default: what
    /// systemd gives (`StateDirectory=`), else `/var/lib/portcullis` for root, else
    /// `~/.local/state/portcullis`.
    pub state: Option<String>,
}

/// An item of `listeners`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a listener, like {address: 0.0.0.0:8443}"
)]
pub struct ListenerFile {
    /// `host:port`. The host is an IP address, `localhost`, or left out for all IPv4 addresses; an
    /// IPv6 address stands in brackets. Port 0 lets the system choose. Required.
    pub address: Option<Choice>,
    /// `https` or `http`. Default: `https`.
    pub protocol: Option<Choice>,
    /// Connections open at one time, 1 to 1,000,000. Default: 10,000.
    pub max_connections: Option<Number>,
    /// Connections of one client address (IPv6: of one /64) open at one time, 1 to 1,000,000; further
    /// ones are closed. Trusted proxies are not counted. Default: a quarter of `max_connections`, 100
    /// at least, for all but this machine itself.
    pub max_connections_per_address: Option<Number>,
    /// Addresses and blocks that may connect. Default: all.
    pub allow: Option<OneOrMany>,
    /// Addresses and blocks that may not, even where they are allowed. Default: none.
    pub deny: Option<OneOrMany>,
    /// `required`: each connection begins with a PROXY protocol header (version 1 or 2), and comes
    /// from one of `trusted_proxies`; others are closed. Default: `off`.
    pub proxy_protocol: Option<Choice>,
    /// Accepts passwords and session cookies on an `http` listener. Default: `false`.
    pub unsafe_login_without_tls: Option<Flag>,
    /// What becomes of plain HTTP on an `https` listener: `redirect` sends it to https on the same
    /// port (307, which keeps method and body), `reject` closes the connection. Default:
    /// `redirect`, because people type addresses without a scheme, clients like those of thin-edge
    /// depend on it, and what came in the clear is not served either way. `reject` is for clients
    /// that should fail rather than go on sending secrets in the clear first.
    pub plaintext: Option<Choice>,
    /// What clients of this listener are asked for, in place of `tls.client_auth`: `off`, or a
    /// mapping as there.
    pub client_auth: Option<ClientAuthFile>,
    /// Sends what comes to an `http` listener to https: `https`, or a mapping with details.
    /// Default: it is served.
    pub redirect: Option<RedirectFile>,
}

/// The key `redirect` of a listener, in one of its two forms.
#[derive(Debug)]
pub enum RedirectFile {
    /// Where to: `https`, with all defaults.
    To(String),
    /// With details.
    Settings(RedirectSettingsFile),
}

/// The key `redirect` of a listener with details.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with status, port and except"
)]
pub struct RedirectSettingsFile {
    /// 301, 302, 307 or 308; with the first two, clients may turn an upload into a GET. Default:
    /// 307, which more clients know than 308, and which promises nothing about tomorrow.
    pub status: Option<Number>,
    /// The port that https is reached at from outside. Default: that of the first https listener.
    pub port: Option<Number>,
    /// Paths that are not redirected, written as `match` in a route. They go through the gate as on
    /// any http listener, so they need a public route. Default: none.
    pub except: Option<OneOrMany>,
}

/// The section `tls`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with certificates, profile, tickets and others"
)]
pub struct TlsFile {
    /// `intermediate` (TLS 1.2 and 1.3) or `modern` (1.3 only). Default: `intermediate`.
    pub profile: Option<Choice>,
    /// The oldest version accepted, `1.2` or `1.3`. Default: that of the profile.
    pub min_version: Option<Version>,
    /// The suites of TLS 1.2 in order of preference, by OpenSSL or IANA name. Those of TLS 1.3 are
    /// always on. Default: Mozilla's intermediate profile.
    pub ciphers: Option<OneOrMany>,
    /// The groups for the key exchange in order of preference. Default: `X25519MLKEM768`, `X25519`,
    /// `P-256`, `P-384`.
    pub groups: Option<OneOrMany>,
    /// What is agreed on in the handshake, in order of preference. Default: `h2`, `http/1.1`.
    pub alpn: Option<OneOrMany>,
    /// How sessions are resumed: `off`, or a mapping with `keys`. Default: with random keys, which
    /// change every 12 hours.
    pub tickets: Option<TicketsFile>,
    /// What clients are shown. The first is for those who ask for no name, or for one that nobody
    /// has. Without any, a self-signed one is made at start.
    pub certificates: Option<Items<CertificateFile>>,
    /// Tells browsers to use https only, for as long as this: an age like `365d`, or a mapping with
    /// details. Default: off, because browsers keep it for the name of the host and not for the
    /// port: whatever else that host serves in the clear is out of reach from then on, and so is
    /// everything once the certificate is one that they do not trust.
    pub hsts: Option<HstsFile>,
    /// What clients are asked for: `off`, or a mapping with `mode` and others. Default: `off`.
    pub client_auth: Option<ClientAuthFile>,
    /// What is different for some of the names that clients ask for (SNI), on every listener. Where
    /// a listener has a `client_auth` of its own, the stricter of the two counts.
    pub names: Option<Items<NameFile>>,
}

/// An item of `tls.names`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "names with their settings, like {name: a.example, client_auth: {mode: off}}"
)]
pub struct NameFile {
    /// Names that clients ask for; `*.` stands for one label. Required.
    pub name: Option<OneOrMany>,
    /// What they are asked for there, in place of `tls.client_auth`. Required.
    pub client_auth: Option<ClientAuthFile>,
}

/// A key `client_auth`, in one of its two forms.
#[derive(Debug)]
pub enum ClientAuthFile {
    /// `off`, or `pinned` with nothing to add.
    Word(String),
    /// With details.
    Settings(ClientAuthSettingsFile),
}

/// A key `client_auth` with details.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with mode, ca, crl and others"
)]
pub struct ClientAuthSettingsFile {
    /// `off`; `optional`: a certificate is asked for, and routes decide; `required`: without a good
    /// one there is no connection; `pinned`: any certificate is let in, and only its fingerprint in
    /// the section `clients` says whose it is. Required.
    pub mode: Option<Choice>,
    /// Files and folders with the certificates that are trusted, PEM, DER, PKCS#12 or JKS. Each is
    /// enough by itself, whether a root, an intermediate or a client's own. Required for `optional`
    /// and `required`.
    pub ca: Option<TrustListFile>,
    /// Files and folders with revocation lists, PEM or DER. Whoever's issuer has no list there, or
    /// one that is out of date, is refused. Default: nothing is looked up.
    pub crl: Option<OneOrMany>,
    /// `chain`: every certificate but the trusted one is looked up, `leaf`: only the client's own.
    /// Default: `chain`.
    pub crl_check: Option<Choice>,
    /// The most intermediates between a client's certificate and a trusted one, 0 to 16. Default: 4.
    pub depth: Option<Number>,
    /// Whether clients are told the names of the trusted CAs, so that they can choose. Default:
    /// `true`; small clients may not cope with many names.
    pub send_ca_names: Option<Flag>,
    /// Takes certificates with RSA keys below 2048 bits, or signed with SHA-1. Default: `false`.
    pub unsafe_weak_certificates: Option<Flag>,
}

/// A key `ca`: one source or several.
#[derive(Debug)]
pub enum TrustListFile {
    /// Without a list.
    One(TrustFile),
    /// A list.
    Many(Items<TrustFile>),
}

/// A source of trusted certificates, in one of its two forms.
#[derive(Debug)]
pub enum TrustFile {
    /// The path of a file or folder.
    Path(String),
    /// With a password.
    Keystore(TrustStoreFile),
}

/// A keystore with trusted certificates.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a keystore, like {path: clients.jks, password: {file: /run/secrets/store-pass}}"
)]
pub struct TrustStoreFile {
    /// A PKCS#12 or JKS file. Required.
    pub path: Option<String>,
    /// What it is sealed with.
    pub password: Option<SecretFile>,
}

/// The key `tls.hsts`, in one of its two forms.
#[derive(Debug)]
pub enum HstsFile {
    /// For how long, for this host alone.
    Age(Span),
    /// With details.
    Settings(HstsSettingsFile),
}

/// The key `tls.hsts` with details.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with max_age, include_subdomains and preload"
)]
pub struct HstsSettingsFile {
    /// For how long browsers keep it, up to 10 years; `0s` makes them forget. Required.
    pub max_age: Option<Span>,
    /// All subdomains of the host too. Default: `false`.
    pub include_subdomains: Option<Flag>,
    /// Asks for a place on the list that browsers come with. Default: `false`.
    pub preload: Option<Flag>,
}

/// The section `tls.tickets`, in one of its two forms.
#[derive(Debug)]
pub enum TicketsFile {
    /// `off`, or another word.
    Word(String),
    /// Keys from files.
    Keys(TicketKeysFile),
}

/// The section `tls.tickets` as a mapping.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with keys, like {keys: [/run/secrets/ticket.key]}"
)]
pub struct TicketKeysFile {
    /// Files with keys of 48 or 80 bytes, as nginx and HAProxy have them. The first key encrypts,
    /// all decrypt. Required.
    pub keys: Option<OneOrMany>,
}

/// An item of `tls.certificates`. Relative paths begin at the folder of the configuration file.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a certificate, like {cert: tls.crt, key: tls.key}"
)]
pub struct CertificateFile {
    /// File with the certificate and its intermediates in any order, PEM or DER. Either this or
    /// `keystore` is required.
    pub cert: Option<String>,
    /// File with the private key, PEM or DER. Default: the file of `cert`.
    pub key: Option<String>,
    /// What the key is encrypted with.
    pub passphrase: Option<SecretFile>,
    /// Certificate and key in one, instead of `cert` and `key`.
    pub keystore: Option<KeystoreFile>,
    /// File with an OCSP response to staple, DER.
    pub ocsp: Option<String>,
}

/// A key `keystore`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a keystore, like {path: server.p12, password: {file: /run/secrets/store-pass}}"
)]
pub struct KeystoreFile {
    /// A PKCS#12 or JKS file. Required.
    pub path: Option<String>,
    /// What it is sealed with.
    pub password: Option<SecretFile>,
    /// The entry. May be left out where there is one key only.
    pub alias: Option<String>,
    /// What the key is encrypted with. Default: `password`.
    pub key_password: Option<SecretFile>,
}

/// A password, in one of its two forms.
pub enum SecretFile {
    /// Itself.
    Value(String),
    /// Where it is.
    Place(SecretPlaceFile),
}

/// Where a password is: one of these.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "the place of a password, like {file: /run/secrets/key-pass}"
)]
pub struct SecretPlaceFile {
    /// The name of an environment variable.
    pub env: Option<String>,
    /// A file with the password on one line. Relative paths begin at the folder of the
    /// configuration file.
    pub file: Option<String>,
    /// The name of a systemd credential (`LoadCredential=`).
    pub credential: Option<String>,
}

/// A value of `upstreams`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an upstream, like {url: \"http://127.0.0.1:8080\"}"
)]
pub struct UpstreamFile {
    /// `http://host[:port]`, `https://host[:port]`, `h2c://host[:port]` (HTTP/2 in the clear) or
    /// `unix:/path` of a socket. A name stands for all its addresses. This or `urls` is required.
    pub url: Option<String>,
    /// Several of them that serve the same, in place of `url`: each as there, or a mapping with more.
    pub urls: Option<Items<UpstreamUrlFile>>,
    /// Whom to trust behind `https`, and what to show there. Default: whom this system trusts.
    pub tls: Option<UpstreamTlsFile>,
    /// Which address gets which request: `round_robin`; `least_connections`; or always the same one for
    /// a client, by its `address`, a `{cookie: NAME}` or a `{header: NAME}`. Default: `round_robin`.
    pub balance: Option<BalanceFile>,
    /// How its addresses are looked after: `tcp`, or a mapping with `path` and others. Default: they
    /// are not.
    pub health: Option<HealthFile>,
    /// When one of several addresses gets no requests because others failed there: a mapping, or
    /// `off`. Default: after 5 in a row, for 10 s.
    pub eject: Option<EjectFile>,
    /// At how many further addresses a request may be tried that broke off without an answer, if it
    /// may be sent twice (GET and the like, without a body), or that nobody took in time; 0 to 10.
    /// Whatever this says, one goes on to the next address where one refuses connections. Default: 1.
    pub retries: Option<Number>,
    /// How often names are looked up again. Default: `30s`.
    pub resolve: Option<Span>,
    /// `v1` or `v2`: each connection begins with a PROXY protocol header of that version, so that the
    /// backend knows the client's address. Such connections serve one request. Default: `off`.
    pub proxy_protocol: Option<Choice>,
    /// The longest wait for a connection to one address. Default: `5s`.
    pub connect_timeout: Option<Span>,
    /// The longest wait for an answer to begin. Default: that of `read_timeout`.
    pub header_timeout: Option<Span>,
    /// The longest wait between two pieces of an answer, and for its beginning. Default: `60s`.
    pub read_timeout: Option<Span>,
    /// The longest time from the request to the end of its answer, retries and all. Streams end with it
    /// too. Default: none.
    pub timeout: Option<Span>,
    /// The longest wait for the backend to take more of a request. Default: `30s`.
    pub write_timeout: Option<Span>,
    /// How long an unused connection is kept. Default: `55s`.
    pub idle_timeout: Option<Span>,
    /// How long a WebSocket may be silent in both directions. Default: `1h`.
    pub tunnel_timeout: Option<Span>,
    /// Requests that it gets at one time; further ones are answered 503. WebSockets are counted by
    /// themselves, to the same number. Default: `1024`.
    pub max_requests: Option<Number>,
    /// The version of HTTP that it is spoken to in, `1.0`, `1.1` or `2`. gRPC needs `2`. Default:
    /// `1.1`, and `2` behind `h2c://`.
    pub version: Option<Version>,
    /// `false` for a backend that takes no chunked requests: bodies whose length nobody has said are
    /// collected first. Default: `true`, with `version: "1.0"` always `false`.
    pub chunked: Option<Flag>,
    /// Whether all bodies are collected first, so that slow clients do not keep it waiting. Default:
    /// `false`.
    pub buffer_requests: Option<Flag>,
    /// How we log in to it, whoever is asking: `basic` or `digest`. What clients send as
    /// `Authorization` does not go there then. Default: not at all.
    pub login: Option<UpstreamLoginFile>,
}

/// The key `login` of an upstream: one of these.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a way to log in, like {digest: {username: gate, password: {file: /run/secrets/pass}}}"
)]
pub struct UpstreamLoginFile {
    /// The password with each request.
    pub basic: Option<UserAndPasswordFile>,
    /// Proof of the password with each request. Bodies are collected first, because a request may
    /// have to be sent again.
    pub digest: Option<UserAndPasswordFile>,
}

/// As whom to log in.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with username and password"
)]
pub struct UserAndPasswordFile {
    /// Required.
    pub username: Option<String>,
    /// Required. From a file, it is read again when that changes.
    pub password: Option<SecretFile>,
}

/// An item of `urls` of an upstream, in one of its two forms.
#[derive(Debug)]
pub enum UpstreamUrlFile {
    /// The URL.
    Url(String),
    /// With more.
    Settings(UpstreamUrlSettingsFile),
}

/// An item of `urls` of an upstream with more than the URL.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with url, weight and backup"
)]
pub struct UpstreamUrlSettingsFile {
    /// As the key `url` of an upstream. Required.
    pub url: Option<String>,
    /// How many requests it gets for one that another gets, 1 to 256. Default: 1.
    pub weight: Option<Number>,
    /// Gets requests only while none of the others can be reached. Default: `false`.
    pub backup: Option<Flag>,
}

/// The key `balance` of an upstream, in one of its two forms.
#[derive(Debug)]
pub enum BalanceFile {
    /// By name.
    Word(String),
    /// By something of the request.
    Key(BalanceKeyFile),
}

/// The key `balance` of an upstream where something of the request decides.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with the name of a cookie or a header"
)]
pub struct BalanceKeyFile {
    /// The name of a cookie.
    pub cookie: Option<String>,
    /// The name of a header.
    pub header: Option<String>,
}

/// The key `health` of an upstream, in one of its two forms.
#[derive(Debug)]
pub enum HealthFile {
    /// `tcp`.
    Word(String),
    /// With details.
    Settings(HealthSettingsFile),
}

/// The key `health` of an upstream with details.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with path, status, interval and others"
)]
pub struct HealthSettingsFile {
    /// What is asked for with GET. Default: a connection is all that is asked for.
    pub path: Option<String>,
    /// The Host field. Default: that of the first URL.
    pub host: Option<String>,
    /// Which answers are good, as `200` or `"200-399"`. Default: `"200-399"`.
    pub status: Option<StatusRange>,
    /// How often each address is asked. Default: `5s`.
    pub interval: Option<Span>,
    /// The longest wait for an answer. Default: `2s`.
    pub timeout: Option<Span>,
    /// After how many good answers in a row it gets requests again, 1 to 100. Default: 2.
    pub healthy: Option<Number>,
    /// After how many bad ones in a row it gets none, 1 to 100. Default: 3.
    pub unhealthy: Option<Number>,
}

/// The key `eject` of an upstream, in one of its two forms.
#[derive(Debug)]
pub enum EjectFile {
    /// `off`.
    Word(String),
    /// With details.
    Settings(EjectSettingsFile),
}

/// The key `eject` of an upstream with details.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with failures, for and statuses"
)]
pub struct EjectSettingsFile {
    /// After how many failures in a row, 1 to 1000. Default: 5.
    pub failures: Option<Number>,
    /// For how long; then one request tries the address. Default: `10s`.
    #[serde(rename = "for")]
    pub time: Option<Span>,
    /// How many of all addresses may be left out at one time, 1 to 100 in a hundred, rounded up. Default:
    /// 100; where none is left, all are tried.
    pub max_percent: Option<Number>,
    /// Answers that count as failures too, as `[502, 503]`. Default: none.
    pub statuses: Option<Items<Number>>,
}

/// The key `tls` of an upstream.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with ca, pins, server_name, certificate and others"
)]
pub struct UpstreamTlsFile {
    /// Who may vouch for the backend: files or folders with certificates (of a CA, or its own), or
    /// keystores. Default: whom this system trusts.
    pub ca: Option<TrustListFile>,
    /// The backend must have one of these keys: the SHA-256 of its public key, like `sha256//…=` or in
    /// hexadecimal. Without `ca`, the key is all that counts: its certificate may be self-signed, have
    /// expired or be for another name.
    pub pins: Option<OneOrMany>,
    /// The name or address that stands in its certificate. Default: the host of the URL.
    pub server_name: Option<String>,
    /// What it is shown when it asks for a certificate, as an item of `tls.certificates`.
    pub certificate: Option<CertificateFile>,
    /// The oldest version spoken, `1.2` or `1.3`. Default: `1.2`.
    pub min_version: Option<Version>,
    /// Takes any certificate. Default: `false`.
    pub unsafe_skip_verify: Option<Flag>,
}

/// The section `roles`, in one of its two forms.
#[derive(Debug)]
pub enum RolesFile {
    /// Role to abilities; an item may be another role, whose abilities are inherited, or `*`.
    Map(Entries<OneOrMany>),
    /// Roles in order: each may do what those before it may.
    Ladder(Vec<Option<String>>),
}

/// The section `users`, in one of its two forms.
#[derive(Debug)]
pub enum UsersSection {
    /// Written in the configuration itself.
    Inline(Entries<UserFile>),
    /// The path of a file. Relative paths begin at the folder of the configuration file.
    File(String),
}

/// A file of users that has its own key `users` at the top.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping of users")]
pub struct WrappedUsersFile {
    /// The people who can log in.
    pub users: Option<Entries<UserFile>>,
}

/// A value of `users`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a user, like {password: \"$argon2id$…\", roles: [user]}"
)]
pub struct UserFile {
    /// A hash, as `portcullis passwd` prints it. Required.
    pub password: Option<String>,
    /// Names from the section `roles`. Default: none.
    pub roles: Option<OneOrMany>,
    /// One role; an older way to write `roles`.
    pub role: Option<String>,
    /// A disabled user cannot log in. Default: `false`.
    pub disabled: Option<Flag>,
    /// The name to show, sent to the backend.
    pub name: Option<String>,
    /// Sent to the backend.
    pub email: Option<String>,
    /// The groups that the backend is told of. Default: the roles.
    pub groups: Option<OneOrMany>,
    /// What machines carry to act for the user, by name; as `portcullis token create` writes them.
    /// A user with this key needs no password.
    pub tokens: Option<Entries<TokenFile>>,
}

/// A value of `tokens`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a token, like {hash: \"sha256:…\", abilities: [view], expires: 2027-01-31}"
)]
pub struct TokenFile {
    /// `sha256:` and the SHA-256 of the token in hexadecimal. Required.
    pub hash: Option<String>,
    /// What it may be used for, as far as the user may do that. Default: all that the user may.
    pub abilities: Option<OneOrMany>,
    /// When it was made. For people only.
    pub created: Option<String>,
    /// From when on it is good for nothing: `2027-01-31T00:00:00Z`, or a day, from its beginning
    /// (UTC). Default: never.
    pub expires: Option<String>,
}

/// An item of `clients`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a rule, like {match: {issuer: CN=Plant CA}, name: \"{cn}\", roles: [user]}"
)]
pub struct ClientRuleFile {
    /// Which certificates it is about: all that is written has to fit. Required.
    #[serde(rename = "match")]
    pub conditions: Option<ClientMatchFile>,
    /// What the client is called, with captures of `match` or fields of the certificate in braces:
    /// `cn`, `o`, `ou`, `san_dns`, `san_uri`, `san_email`, `san_ip`, `serial`, `sha256`, `subject`.
    /// Required.
    pub name: Option<String>,
    /// Names from the section `roles`; may be an empty list. Required.
    pub roles: Option<OneOrMany>,
    /// Takes certificates with several common names: any of them may fit, and the last of those
    /// counts. Default: `false`, they are refused.
    pub any_cn: Option<Flag>,
}

/// A key `match` of `clients`. Each value is one text or a list, any of which will do. In texts,
/// `*` stands for one or more characters within a part (between the `/` of a URI, the `.` of a DNS
/// name, the `@` of a mail address), `**` for any, and `{name}` is as `*`, and kept for `name`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with what the certificate has, like {issuer: CN=Plant CA}"
)]
pub struct ClientMatchFile {
    /// The common name of the subject.
    pub cn: Option<OneOrMany>,
    /// An organisation of the subject.
    pub o: Option<OneOrMany>,
    /// A unit of the subject.
    pub ou: Option<OneOrMany>,
    /// The whole subject, as `CN=cam-*,O=Plant` (RFC 4514); patterns in the values.
    pub subject: Option<OneOrMany>,
    /// A DNS name.
    pub san_dns: Option<OneOrMany>,
    /// A URI.
    pub san_uri: Option<OneOrMany>,
    /// A mail address.
    pub san_email: Option<OneOrMany>,
    /// An IP address, or a block of them as `10.0.0.0/8`.
    pub san_ip: Option<OneOrMany>,
    /// The whole name of the issuer, as `subject`.
    pub issuer: Option<OneOrMany>,
    /// The serial number in hexadecimal.
    pub serial: Option<OneOrMany>,
    /// The SHA-256 of the certificate in hexadecimal.
    pub sha256: Option<OneOrMany>,
    /// The SHA-256 of its public key, in base64 or hexadecimal, as curl's `--pinnedpubkey`.
    pub spki: Option<OneOrMany>,
    /// The SHA3-256 that ThingsBoard knows it by, in hexadecimal.
    pub thingsboard: Option<OneOrMany>,
}

/// An item of `routes`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a route, like {match: /admin/, can: edit}"
)]
pub struct RouteFile {
    /// A path; with `/` at its end, that folder and all below it. `{name}` stands for one whole
    /// segment; `*` and its like stand for nothing, and for themselves only percent-encoded. Left out:
    /// every path.
    #[serde(rename = "match")]
    pub pattern: Option<String>,
    /// Host names; `*.` stands for one label. Left out: every host.
    pub host: Option<OneOrMany>,
    /// Methods in upper case. Left out: all but CONNECT and TRACE.
    pub methods: Option<OneOrMany>,
    /// The abilities that are needed, all of them. Either this, `client_cert: required` or
    /// `public: true` is required.
    pub can: Option<OneOrMany>,
    /// `required` takes only requests that come with a good certificate, whoever else is asking.
    /// Default: `optional`.
    pub client_cert: Option<Choice>,
    /// What may prove who is asking: `session`, `certificate`, `any` of these two, or `all` of them;
    /// or a list of `session`, `certificate`, `basic` (user name and password with each request) and
    /// `token`, any of which will do. Default: `any`.
    pub credentials: Option<OneOrMany>,
    /// Whose it is, with captures of `match` in braces: only for whoever is called that.
    pub owner: Option<String>,
    /// Abilities; whoever holds all of them need not be the owner. Default: nobody.
    pub owner_or: Option<OneOrMany>,
    /// `true` opens the route to everybody.
    pub public: Option<Flag>,
    /// The name of an upstream. May be left out when there is only one.
    pub upstream: Option<String>,
    /// Who may use it by where they come from, whoever they are. Default: everybody.
    pub addresses: Option<AddressesFile>,
    /// How often it may be asked for, beside `limits.rate`. Default: no limit of its own.
    pub rate: Option<RateFile>,
    /// The largest request body, or `unlimited`. Default: `limits.body`.
    pub body_limit: Option<SizeOrUnlimited>,
    /// The longest wait for an answer, and between two pieces of one. Default: that of the upstream.
    pub read_timeout: Option<Span>,
    /// The longest time from the request to the end of its answer, all waits included. Default: that
    /// of the upstream.
    pub timeout: Option<Span>,
    /// Where a browser without a session is sent, a path on this site. Default: the login page.
    pub redirect: Option<String>,
    /// Whether the backend gets HTTP Basic that was not meant for this gate, where other routes take
    /// it: clients that have a password for one send it to all. Default: `false`.
    pub pass_authorization: Option<Flag>,
    /// Other sites whose pages may open a WebSocket here as whoever is logged in, like
    /// `https://app.example.com`. Default: none but the host itself.
    pub origins: Option<OneOrMany>,
    /// What is taken off the path before the backend gets it: segments that `match` begins with.
    pub strip_prefix: Option<String>,
    /// What is put on the path then.
    pub add_prefix: Option<String>,
    /// Whether redirects (and `Content-Location`, `Refresh`) to the backend lead to the gate, and
    /// their paths get the prefix back. Default: `true`.
    pub rewrite_redirects: Option<Flag>,
    /// Origins by which the backend calls itself in them, like `http://plc.local`, besides its
    /// address.
    pub backend_origins: Option<OneOrMany>,
    /// Fields of the request that the backend gets otherwise than they came.
    pub request_headers: Option<HeaderEditsFile>,
    /// The same of its answers.
    pub response_headers: Option<HeaderEditsFile>,
    /// What the cookies are made to be that it sets.
    pub cookies: Option<CookieEditsFile>,
    /// What it lets pass of paths that backends read differently. Default: nothing.
    pub allow: Option<AllowFile>,
}

/// The keys `request_headers` and `response_headers` of a route.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with set, add and remove")]
pub struct HeaderEditsFile {
    /// In place of whatever came under these names.
    pub set: Option<Entries<OneOrMany>>,
    /// Besides it.
    pub add: Option<Entries<OneOrMany>>,
    /// Names that are not passed on.
    pub remove: Option<OneOrMany>,
}

/// The key `cookies` of a route.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with secure, http_only, same_site, path, domain and except"
)]
pub struct CookieEditsFile {
    /// Adds Secure, for clients that came over TLS. Default: `false`.
    pub secure: Option<Flag>,
    /// Adds HttpOnly. Default: `false`.
    pub http_only: Option<Flag>,
    /// `strict`, `lax` or `none`, in place of whatever the backend says.
    pub same_site: Option<Choice>,
    /// The path of all of them. Default: theirs, with the prefix that was taken off the request's.
    pub path: Option<String>,
    /// `remove`, or the domain in place of theirs. Default: theirs.
    pub domain: Option<String>,
    /// Names of cookies that stay as they are, such as one that scripts have to read.
    pub except: Option<OneOrMany>,
}

/// The key `allow` of a route.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping, like {encoded_slash: true}"
)]
pub struct AllowFile {
    /// `%2f`. Default: `false`, as for all of these.
    pub encoded_slash: Option<Flag>,
    /// `\` as it is.
    pub backslash: Option<Flag>,
    /// `%5c`.
    pub encoded_backslash: Option<Flag>,
    /// `//`.
    pub double_slash: Option<Flag>,
    /// `;` and `%3b`.
    pub semicolon: Option<Flag>,
    /// `%25` before two hex digits.
    pub double_encoding: Option<Flag>,
    /// Bytes that are not UTF-8.
    pub non_utf8: Option<Flag>,
}

/// The key `addresses` of a route.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with allow and deny, like {allow: [10.0.0.0/8]}"
)]
pub struct AddressesFile {
    /// Addresses and blocks that may use it. Default: all.
    pub allow: Option<OneOrMany>,
    /// Addresses and blocks that may not, even where they are allowed. Default: none.
    pub deny: Option<OneOrMany>,
}

/// A key `rate`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with address, user and burst, like {address: 100/s}"
)]
pub struct RateFile {
    /// Requests from one client address (IPv6: from one /64). Default: unlimited.
    pub address: Option<Rate>,
    /// Requests of one user, wherever they come from. Default: unlimited.
    pub user: Option<Rate>,
    /// Requests that may come at one moment after a pause, 1 to 1,000,000. Default: as many as in ten
    /// seconds.
    pub burst: Option<Number>,
}

/// The section `login`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with path, logout, title, home and others"
)]
pub struct LoginFile {
    /// The path of the login page. Default: `/auth/login`.
    pub path: Option<String>,
    /// The path of the logout page. Default: `/auth/logout`.
    pub logout: Option<String>,
    /// What the pages call the thing behind the gate. Default: `Portcullis`.
    pub title: Option<String>,
    /// The colour of buttons and links, like `"#0a7c3e"`. It is made darker or lighter where it could
    /// not be read. Default: blue.
    pub accent: Option<String>,
    /// A picture above the forms: SVG, PNG, JPEG or WebP of up to 64 KiB. Default: none.
    pub logo: Option<String>,
    /// Files with what the pages say in other languages than English, one each. People get the one
    /// that their browser asks for. Default: none.
    pub languages: Option<OneOrMany>,
    /// Where a login goes that came from nowhere in particular. Default: `/`.
    pub home: Option<String>,
    /// The realms that Ioto password hashes may have been made with. Default: `web`,
    /// `example.com`.
    pub realms: Option<OneOrMany>,
    /// When guessing passwords has to wait.
    pub lockout: Option<LockoutFile>,
    /// What the hashes cost that take the place of weak and foreign ones at a login.
    pub argon2id: Option<Argon2idFile>,
    /// Accepts MD5 hashes of passwords, until the login that replaces them. Whoever gets hold of one
    /// has the password. Default: `false`.
    pub unsafe_md5_passwords: Option<Flag>,
}

/// A file that `login.languages` names.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with language, direction and texts"
)]
pub struct LanguageFile {
    /// Which language, like `de` or `pt-BR`.
    pub language: Option<String>,
    /// `ltr` for one that is written from left to right, or `rtl`. Default: `ltr`.
    pub direction: Option<String>,
    /// What pages say. What is missing is said in English.
    #[serde(default)]
    pub texts: Entries<String>,
}

/// The section `login.argon2id`. Together they must not be below the floor of OWASP: with 1 pass
/// 46 MiB, with 2 passes 19, with 3 passes 12, with 4 passes 9, with 5 and more 7.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with memory, passes and lanes"
)]
pub struct Argon2idFile {
    /// Memory, up to `1GiB`: half of the `threads` may need so much at one time. Default: `19MiB`.
    pub memory: Option<Size>,
    /// How often it is gone through, 1 to 64. Default: 2.
    pub passes: Option<Number>,
    /// Parts of it, 1 to 16; one thread works on them all. Default: 1.
    pub lanes: Option<Number>,
}

/// The section `login.lockout`. After so many wrong passwords, each further one has to wait: a
/// second, and then twice as long each time.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with per_user, per_address and longest"
)]
pub struct LockoutFile {
    /// Wrong passwords for a name from a network (IPv4 /24, IPv6 /48), 1 to 100. Default: 5.
    pub per_user: Option<Number>,
    /// Wrong passwords from an address (IPv6: /64), for whichever names, 1 to 10,000. Default: 50.
    pub per_address: Option<Number>,
    /// The longest wait, `1m` to `1d`. Default: `15m`.
    pub longest: Option<Span>,
}

/// The section `sessions`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with store, path, idle, lifetime, remember, same_site, max and per_user"
)]
pub struct SessionsFile {
    /// Where sessions are kept: `memory`, or `file`, which outlives a restart. Default: `memory`.
    pub store: Option<Choice>,
    /// The file for `store: file`, of this gate alone. Default: `sessions.redb` in the state
    /// folder.
    pub path: Option<String>,
    /// A session ends when unused for this long. Default: `30m`.
    pub idle: Option<Span>,
    /// A session ends this long after the login. Default: `12h`.
    pub lifetime: Option<Span>,
    /// People may choose to stay logged in on a device: their session ends when unused for this long
    /// instead, up to `365d`, and a year after the login. Default: they may not.
    pub remember: Option<Span>,
    /// Whether people stay logged in who follow a link from another site: `lax` (they do) or
    /// `strict`. Default: `lax`.
    pub same_site: Option<Choice>,
    /// Sessions held at one time, 1 to 10,000,000; the longest unused ends for a new one. Default:
    /// 100,000.
    pub max: Option<Number>,
    /// Sessions that one user has at one time, 1 to 10,000; the longest unused ends for a new one.
    /// Default: 20.
    pub per_user: Option<Number>,
}

/// The section `identity`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with headers and jwt")]
pub struct IdentityFile {
    /// Sets of header names; none when empty. The user: `x-forwarded-user`, `x-auth-request`,
    /// `remote-user`. The certificate: `xfcc`, `rfc9440`, `nginx-ssl`, `haproxy-ssl`, `wso2`,
    /// `wso2-apim`. Both, signed: `jwt`. Default: `x-forwarded-user`.
    pub headers: Option<OneOrMany>,
    /// What the signed assertions of `jwt` say.
    pub jwt: Option<AssertionFile>,
}

/// The key `jwt` of the section `identity`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with issuer, audience, lifetime and key"
)]
pub struct AssertionFile {
    /// Who says it (`iss`). Default: `portcullis`.
    pub issuer: Option<String>,
    /// For whom it is (`aud`). Default: the name of the upstream that gets it, so that no backend
    /// can use at another what it was told.
    pub audience: Option<String>,
    /// How long an assertion is good, 10 s to 10 m. Default: `60s`.
    pub lifetime: Option<Span>,
    /// The Ed25519 key that signs, a PEM file. Default: a random key at each start.
    pub key: Option<String>,
}

/// The section `headers`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with underscores and drop")]
pub struct HeadersFile {
    /// Fields with `_` in their name: `keep` passes them on, `drop` takes them out, `reject` refuses
    /// the request. Those that would be taken for one that the gate writes are dropped in any case.
    /// Default: `keep`.
    pub underscores: Option<Choice>,
    /// Names of fields that no backend gets from clients, besides those that only the gate writes; with
    /// `*` at the end, all that begin so. As `[X-Corp-User, X-Legacy-*]`. Default: none.
    pub drop: Option<OneOrMany>,
}

/// The section `limits`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with header_bytes, header_fields, body, rate and others"
)]
pub struct LimitsFile {
    /// Bytes of a request head, 1 KiB to 1 MiB. Default: `32KiB`.
    pub header_bytes: Option<Size>,
    /// Fields of a request head, 1 to 1000. Default: 100.
    pub header_fields: Option<Number>,
    /// Bytes of the URL of a request as it is sent, 256 bytes to 1 MiB. Default: `8KiB`.
    pub url_bytes: Option<Size>,
    /// Bytes of a request body. Default: `100MiB`.
    pub body: Option<Size>,
    /// Requests served on one connection before the client has to make a new one, 1 to
    /// 1,000,000,000. Default: 10,000.
    pub requests_per_connection: Option<Number>,
    /// Requests of one HTTP/2 connection served at one time, 1 to 1000. Default: 100.
    pub http2_streams: Option<Number>,
    /// How often one client may ask. Default: unlimited.
    pub rate: Option<RateFile>,
}

/// The section `timeouts`; each up to one hour.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with handshake, head, body, body_rate and idle"
)]
pub struct TimeoutsFile {
    /// From the connection to the end of the TLS handshake. Default: `10s`.
    pub handshake: Option<Span>,
    /// From the first byte of a request head to its last. Default: `10s`.
    pub head: Option<Span>,
    /// Between two pieces of a body. Default: `60s`.
    pub body: Option<Span>,
    /// Bytes a second that a client has to send of a body, or to take of an answer, on an average
    /// over the time for which it is waited for, and after `body` has passed; 0 for any. Default:
    /// `512`.
    pub body_rate: Option<Size>,
    /// Between two requests on a connection. Default: `60s`.
    pub idle: Option<Span>,
}

/// The section `buffering`: request bodies for upstreams with `buffer_requests` or without `chunked`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with total and folder")]
pub struct BufferingFile {
    /// Bytes of all bodies together that are kept at one time; what is beyond is answered 503.
    /// Default: `1GiB`.
    pub total: Option<Size>,
    /// The folder for those above 64 KiB. Its files have no names, and are gone with the process.
    /// Default: what `TMPDIR` says, or else `/var/tmp`.
    pub folder: Option<String>,
}

/// The section `admin`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with address or socket, like {address: 127.0.0.1:9901}"
)]
pub struct AdminFile {
    /// `host:port`, as for a listener. Read-only. This or `socket` is required.
    pub address: Option<Choice>,
    /// The path of a Unix socket, which only the user of this process can open. `portcullis
    /// sessions` uses it.
    pub socket: Option<String>,
}

/// The section `shutdown`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with delay and drain")]
pub struct ShutdownFile {
    /// How long connections are still accepted after the signal, up to one hour. Default: `0s`.
    pub delay: Option<Span>,
    /// How long requests in flight may then take to end, up to a day. Default: `30s`.
    pub drain: Option<Span>,
}

/// The section `log`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with format")]
pub struct LogFile {
    /// `auto` (text on a terminal, else JSON), `json` or `text`. Default: `auto`.
    pub format: Option<Choice>,
}

// === The sections with two forms ===

impl<'de> Deserialize<'de> for RolesFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = RolesFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("roles with their abilities, like {user: [view]}, or a list of roles")
            }

            fn visit_unit<E>(self) -> Result<RolesFile, E> {
                Ok(RolesFile::Ladder(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<RolesFile, A::Error> {
                collect(list).map(RolesFile::Ladder)
            }

            fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<RolesFile, A::Error> {
                Entries::deserialize(MapAccessDeserializer::new(mapping)).map(RolesFile::Map)
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

impl<'de> Deserialize<'de> for UsersSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = UsersSection;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("users by name, or the path of a file with users")
            }

            fn visit_unit<E>(self) -> Result<UsersSection, E> {
                Ok(UsersSection::Inline(Entries::default()))
            }

            fn visit_str<E>(self, path: &str) -> Result<UsersSection, E> {
                Ok(UsersSection::File(path.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<UsersSection, A::Error> {
                Entries::deserialize(MapAccessDeserializer::new(mapping)).map(UsersSection::Inline)
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

impl<'de> Deserialize<'de> for TrustListFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = TrustListFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a file or folder, a keystore, or a list of these")
            }

            fn visit_str<E>(self, path: &str) -> Result<TrustListFile, E> {
                Ok(TrustListFile::One(TrustFile::Path(path.into())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<TrustListFile, A::Error> {
                collect(list).map(|items| TrustListFile::Many(Items(items)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<TrustListFile, A::Error> {
                let keystore = Deserialize::deserialize(MapAccessDeserializer::new(mapping))?;
                Ok(TrustListFile::One(TrustFile::Keystore(keystore)))
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

/// Reads what is either a text or a mapping. `$text` says what the text stands for, `$mapping` what
/// the mapping does.
macro_rules! text_or_mapping {
    ($kind:ident, $expected:expr, text: $text:expr, mapping: $mapping:expr) => {
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Forms;

                impl<'de> Visitor<'de> for Forms {
                    type Value = $kind;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$kind, E> {
                        $text(text)
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<$kind, A::Error> {
                        Deserialize::deserialize(MapAccessDeserializer::new(mapping)).map($mapping)
                    }
                }

                deserializer.deserialize_any(Forms)
            }
        }
    };
}

text_or_mapping!(
    RedirectFile,
    "https, or a mapping with status, port and except",
    text: |to: &str| Ok(RedirectFile::To(to.into())),
    mapping: RedirectFile::Settings
);

text_or_mapping!(
    UpstreamUrlFile,
    "a URL like http://127.0.0.1:8080, or a mapping with url, weight and backup",
    text: |url: &str| Ok(UpstreamUrlFile::Url(url.into())),
    mapping: UpstreamUrlFile::Settings
);

text_or_mapping!(
    BalanceFile,
    "round_robin, least_connections, address, {cookie: NAME} or {header: NAME}",
    text: |word: &str| Ok(BalanceFile::Word(word.into())),
    mapping: BalanceFile::Key
);

text_or_mapping!(
    HealthFile,
    "tcp, or a mapping like {path: /healthz}",
    text: |word: &str| Ok(HealthFile::Word(word.into())),
    mapping: HealthFile::Settings
);

text_or_mapping!(
    EjectFile,
    "off, or a mapping like {failures: 5, for: 10s}",
    text: |word: &str| Ok(EjectFile::Word(word.into())),
    mapping: EjectFile::Settings
);

text_or_mapping!(
    HstsFile,
    "an age like \"365d\", or a mapping with max_age",
    text: |age: &str| Span::deserialize(age.into_deserializer()).map(HstsFile::Age),
    mapping: HstsFile::Settings
);

text_or_mapping!(
    TicketsFile,
    "off, or a mapping like {keys: [/run/secrets/ticket.key]}",
    text: |word: &str| Ok(TicketsFile::Word(word.into())),
    mapping: TicketsFile::Keys
);

text_or_mapping!(
    ClientAuthFile,
    "off, or a mapping like {mode: required, ca: clients-ca.crt}",
    text: |word: &str| Ok(ClientAuthFile::Word(word.into())),
    mapping: ClientAuthFile::Settings
);

text_or_mapping!(
    TrustFile,
    "the path of a file or folder, or a keystore like {path: clients.jks, password: …}",
    text: |path: &str| Ok(TrustFile::Path(path.into())),
    mapping: TrustFile::Keystore
);

text_or_mapping!(
    SecretFile,
    "a password in quotes, or its place, like {file: /run/secrets/pass}",
    text: |value: &str| Ok(SecretFile::Value(value.into())),
    mapping: SecretFile::Place
);

/// Never shows the password.
impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value(…)"),
            Self::Place(place) => place.fmt(f),
        }
    }
}
