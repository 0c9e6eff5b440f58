//! One attempt to prove who somebody is by a password, however it came: lockout, the hashing pool,
//! a better hash where that is due, and the record of it.
//!
//! The form and its answers are in `login`, passwords that come with every request in `basic`.

use std::time::Instant;

use zeroize::Zeroizing;

use super::client::ClientFacts;
use super::request_id::RequestId;
use super::{Shared, Snapshot};
use crate::gate::session::Timestamp;
use crate::gate::users::User;
use crate::identity::UserName;
use crate::observe::log::{Level, Line, LogFull, Logger};
use crate::observe::metrics::observe;
use crate::password::pool::PoolError;
use crate::store::attempts::Locked;

/// Where attempts come from and go on record.
#[derive(Clone, Copy)]
pub(super) struct PasswordAttempts<'a> {
    pub(super) client: &'a ClientFacts,
    pub(super) shared: &'a Shared,
    pub(super) log: &'a Logger,
    pub(super) snapshot: &'a Snapshot,
    pub(super) id: &'a RequestId,
    pub(super) now: Timestamp,
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    Right,
    /// Or there is no such user.
    Wrong,
    /// Nobody looked: too many were wrong before.
    Locked(Locked),
    /// Nobody looked: too many are being looked at.
    Busy,
    /// It could not be looked at.
    Failed,
}

impl Tried {
    /// A word for log and metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Right => "success",
            Self::Wrong => "bad_credentials",
            Self::Locked(_) => "locked",
            Self::Busy => "throttled",
            Self::Failed => "error",
        }
    }
}

impl<'a> PasswordAttempts<'a> {
    /// The user of the name that was typed, unless there is none or they are disabled.
    pub(super) fn user(&self, typed: &str) -> Option<&'a User> {
        let name = UserName::parse(typed).ok()?;
        self.snapshot.gate.users.active(&name).map(AsRef::as_ref)
    }

    /// Whether it is the password of `user`, who goes by the name that was typed. Where nobody does,
    /// that costs as much.
    pub(super) async fn make(
        &self,
        typed: &str,
        password: Zeroizing<Vec<u8>>,
        user: Option<&User>,
    ) -> Tried {
        let attempts = &self.shared.attempts;
        let begun = match attempts.begin(typed, self.client.ip, self.now) {
            Ok(begun) => begun,
            Err(locked) => return Tried::Locked(locked),
        };
        let credentials = &self.snapshot.credentials;
        let attempt = credentials.attempt(typed, password, user.is_some());
        let (hashing, upgrades) = (&self.shared.hashing, &self.shared.upgrades);
        let upgrade =
            user.and_then(|user| upgrades.candidate(&attempt, &user.name, user.credential_epoch));
        match (hashing.verify(attempt).await, user) {
            (Ok(true), Some(_)) => {
                attempts.succeeded(begun);
                if let Some(upgrade) = upgrade {
                    upgrades.begin(upgrade, hashing);
                }
                Tried::Right
            }
            (Ok(_), _) => Tried::Wrong,
            (Err(PoolError::Busy), _) => {
                attempts.not_tried(begun);
                Tried::Busy
            }
            (Err(PoolError::Stopped | PoolError::Panicked), _) => {
                attempts.not_tried(begun);
                Tried::Failed
            }
        }
    }

    /// Counts an attempt that began at `started`, and puts it on record. A name that is nobody's may
    /// be a password typed into the wrong field: only users are named.
    ///
    /// # Errors
    /// [`LogFull`] where it is not on record. It must not succeed then.
    pub(super) fn put_on_record(
        &self,
        method: &'static str,
        result: &'static str,
        user: Option<&User>,
        started: Instant,
    ) -> Result<(), LogFull> {
        let metrics = &self.shared.metrics;
        let counter = &metrics.auth_logins;
        counter.with_label_values(&[method, result]).inc();
        let duration = metrics.auth_login_duration.with_label_values(&[method]);
        observe(&duration, started.elapsed());
        let (level, event) = match result {
            "success" => (Level::Info, "login.success"),
            _ => (Level::Warn, "login.failure"),
        };
        let name = user.map(|user| user.name.as_str());
        let line = self.line(level, event).maybe_text("user.name", name);
        self.log.audit(match result {
            "success" => line,
            reason => line.text("auth.reason", reason),
        })
    }

    /// Begins a line about this request that must be on record.
    pub(super) fn line(&self, level: Level, event: &str) -> Line {
        self.log
            .line(level, event)
            .text("client.address", &self.client.address)
            .text("request.id", self.id.as_str())
    }
}
