//! The files that TLS to backends is made of: loaded at start, and again when they change. What is
//! wrong keeps what was loaded before.

use std::sync::Arc;

use super::reload::digest;
use crate::config::settings::Settings;
use crate::tls::connector::{Connector, ConnectorError};
use crate::tls::secret::Answers;

/// The backends that are spoken to over TLS, as they are in force.
#[derive(Debug)]
pub struct LiveConnectors(Vec<Live>);

#[derive(Debug)]
struct Live {
    upstream: Arc<str>,
    connector: Arc<Connector>,
    /// What was in its files before they were read.
    seen: [u8; 32],
    is_right: bool,
}

/// What became of one whose files have changed.
pub(super) struct Renewed {
    pub(super) upstream: Arc<str>,
    pub(super) result: Result<(), ConnectorError>,
}

impl LiveConnectors {
    /// Loads all of them.
    ///
    /// # Errors
    /// Whatever is wrong, of each of them.
    pub fn load(settings: &Settings, answers: &Answers) -> Result<Self, Vec<ConnectorError>> {
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        for upstream in &settings.upstreams {
            let Some(connector) = &upstream.tls else {
                continue;
            };
            // Before they are read: what changes meanwhile is a change afterwards.
            let seen = digest(connector.spec().files());
            errors.extend(connector.load(answers).err());
            all.push(Live {
                upstream: Arc::clone(&upstream.name),
                connector: Arc::clone(connector),
                seen,
                is_right: true,
            });
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
            let seen = digest(live.connector.spec().files());
            if seen == live.seen {
                continue;
            }
            live.seen = seen;
            let result = live.connector.load(answers);
            live.is_right = result.is_ok();
            renewed.push(Renewed {
                upstream: Arc::clone(&live.upstream),
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
    pub(super) fn files(&self) -> impl Iterator<Item = &std::path::Path> {
        self.0.iter().flat_map(|live| live.connector.spec().files())
    }
}
