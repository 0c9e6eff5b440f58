//! The files that connections and logins to backends are made of: loaded at start, and again when
//! they change. What is wrong keeps what was loaded before.

use std::path::Path;
use std::sync::Arc;

use super::reload::digest;
use crate::config::settings::Settings;
use crate::proxy::upstream_login::{UpstreamLogin, UpstreamLoginError};
use crate::tls::connector::{Connector, ConnectorError};
use crate::tls::secret::Answers;

/// What of the backends is made of files, as it is in force.
#[derive(Debug)]
pub struct LiveUpstreams(Vec<Live>);

#[derive(Debug)]
struct Live {
    upstream: Arc<str>,
    part: Part,
    /// What was in its files before they were read.
    seen: [u8; 32],
    is_right: bool,
}

/// A part of a backend that is made of files.
#[derive(Debug)]
enum Part {
    /// How connections to it are made secure.
    Tls(Arc<Connector>),
    /// How we log in to it.
    Login(Arc<UpstreamLogin>),
}

impl Part {
    fn files(&self) -> Vec<&Path> {
        match self {
            Self::Tls(connector) => connector.spec().files().collect(),
            Self::Login(login) => login.spec().password.file().into_iter().collect(),
        }
    }

    fn load(&self, answers: &Answers) -> Result<(), UpstreamError> {
        match self {
            Self::Tls(connector) => Ok(connector.load(answers)?),
            Self::Login(login) => Ok(login.load()?),
        }
    }

    /// What the log calls it when it is loaded again.
    const fn event(&self) -> &'static str {
        match self {
            Self::Tls(_) => "upstream.tls",
            Self::Login(_) => "upstream.login",
        }
    }
}

/// Why a part of a backend cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Its TLS.
    #[error(transparent)]
    Tls(#[from] ConnectorError),
    /// Our login there.
    #[error(transparent)]
    Login(#[from] UpstreamLoginError),
}

/// What became of a part whose files have changed.
pub(super) struct Renewed {
    pub(super) upstream: Arc<str>,
    pub(super) event: &'static str,
    pub(super) result: Result<(), UpstreamError>,
}

impl LiveUpstreams {
    /// Loads all of them.
    ///
    /// # Errors
    /// Whatever is wrong, of each of them.
    pub fn load(settings: &Settings, answers: &Answers) -> Result<Self, Vec<UpstreamError>> {
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        for upstream in &settings.upstreams {
            let tls = upstream.tls.iter().map(|it| Part::Tls(Arc::clone(it)));
            let login = upstream.login.iter().map(|it| Part::Login(Arc::clone(it)));
            for part in tls.chain(login) {
                // Before they are read: what changes meanwhile is a change afterwards.
                let seen = digest(part.files());
                errors.extend(part.load(answers).err());
                all.push(Live {
                    upstream: Arc::clone(&upstream.name),
                    part,
                    seen,
                    is_right: true,
                });
            }
        }
        match errors.is_empty() {
            true => Ok(Self(all)),
            false => Err(errors),
        }
    }

    /// Loads those again whose files have changed.
    pub(super) fn renew(&mut self, answers: &Answers) -> Vec<Renewed> {
        let mut renewed = Vec::new();
        for live in &mut self.0 {
            let seen = digest(live.part.files());
            if seen == live.seen {
                continue;
            }
            live.seen = seen;
            let result = live.part.load(answers);
            live.is_right = result.is_ok();
            renewed.push(Renewed {
                upstream: Arc::clone(&live.upstream),
                event: live.part.event(),
                result,
            });
        }
        renewed
    }

    /// Whether all are as their files say.
    pub(super) fn are_right(&self) -> bool {
        self.0.iter().all(|live| live.is_right)
    }

    /// All files that are read.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().flat_map(|live| live.part.files())
    }
}
