//! A whole configuration, checked: what the server is built from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::gate::Gate;
use crate::identity::address::AddressBlocks;
use crate::listen::spec::ListenerSpec;
use crate::password::argon2id::Argon2idParameters;
use crate::password::credentials::Credentials;
use crate::proxy::rewrite::Rewrite;
use crate::proxy::spec::{
    BufferingSpec, ClientTimeouts, Hsts, IdentitySpec, Limits, LoginSpec, Rates, UpstreamSpec,
};
use crate::store::SessionBounds;
use crate::store::attempts::LockoutPolicy;
use crate::store::file::SessionFile;
use crate::tls::spec::TlsSpec;

/// A configuration without problems.
#[derive(Debug)]
pub struct Settings {
    /// Where clients connect; at least one.
    pub listeners: Vec<ListenerSpec>,
    /// Present whenever a listener speaks https.
    pub tls: Option<TlsSpec>,
    /// What answers over TLS say of Strict-Transport-Security, if anything.
    pub hsts: Option<Arc<Hsts>>,
    /// The backends; a route's `UpstreamId` is a place in this list.
    pub upstreams: Vec<UpstreamSpec>,
    /// What routes change on the way; a route's `RewriteId` is a place in this list.
    pub rewrites: Vec<Rewrite>,
    /// Routes, users, session limits.
    pub gate: Gate,
    /// The users' password hashes.
    pub credentials: Arc<Credentials>,
    /// The login pages, where there is a login.
    pub login: Option<LoginSpec>,
    /// How backends are told who asks.
    pub identity: IdentitySpec,
    /// How much a client may send.
    pub limits: Limits,
    /// How often.
    pub rates: Rates,
    /// How long a client may take.
    pub timeouts: ClientTimeouts,
    /// How request bodies are kept until they are whole.
    pub buffering: BufferingSpec,
    /// Who is believed about where requests come from.
    pub trusted_proxies: AddressBlocks,
    /// Where the admin listener binds, if it does.
    pub admin: Option<SocketAddr>,
    /// The Unix socket where it can be asked to act, if there is one.
    pub admin_socket: Option<PathBuf>,
    /// Threads that accept and forward.
    pub threads: usize,
    /// When guessing passwords has to wait.
    pub lockout: LockoutPolicy,
    /// What the hashes cost that take the place of others.
    pub argon2id: Argon2idParameters,
    /// How many sessions there may be.
    pub session_bounds: SessionBounds,
    /// Where they are kept beside memory, to outlive the process.
    pub session_file: Option<SessionFile>,
    /// After SIGTERM, how long connections are still accepted while readiness already fails.
    pub shutdown_delay: Duration,
    /// After that, how long requests in flight may take to end.
    pub drain_timeout: Duration,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// What was noticed that is no error.
    pub warnings: Vec<String>,
    /// What was written, to compare with what will be.
    pub sections: Sections,
    /// All of it but the users in a file of their own.
    pub text: ConfigText,
}

/// A configuration as it was written. There may be secrets in it.
#[derive(Clone, Default)]
pub struct ConfigText(Zeroizing<String>);

impl ConfigText {
    /// Takes the text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ConfigText {
    /// Says how long it is and nothing of what it says.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ConfigText").field(&self.0.len()).finish()
    }
}

/// What each section of a configuration holds, as far as it takes to see that it has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sections(BTreeMap<String, u64>);

impl Sections {
    /// Of sections by name, each with something that stands for what is in it.
    #[must_use]
    pub const fn new(sections: BTreeMap<String, u64>) -> Self {
        Self(sections)
    }

    /// The names of those that came, went or changed.
    #[must_use]
    pub fn changed_since(&self, before: &Self) -> Vec<String> {
        let names = self.0.keys().chain(before.0.keys());
        let changed = names.filter(|name| self.0.get(*name) != before.0.get(*name));
        let changed: BTreeSet<&String> = changed.collect();
        changed.into_iter().cloned().collect()
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}
