//! Users while the server runs: swapped in when they change, everything else as it is; and their
//! passwords stored better when they log in.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::pages;
use super::sessions::SessionEnds;
use crate::config::settings::Settings;
use crate::config::users_file::{Rehashed, UsersFileError, rehash};
use crate::gate::Gate;
use crate::gate::users::{Unclear, Users};
use crate::identity::UserName;
use crate::observe::log::{Level, Logger};
use crate::observe::words::in_full;
use crate::password::credentials::Credentials;
use crate::password::stored::StoredPassword;
use crate::password::upgrade::Upgrade;
use crate::proxy::{Shared, Snapshot};

/// The users of a running server.
pub(super) struct LiveUsers {
    shared: Arc<Shared>,
    log: Logger,
    same: SamePasswords,
    ends: SessionEnds,
    /// The users of the last configuration that was right as a whole. What is taken away is taken from
    /// these, so that it comes back when it is written again.
    whole: (Users, Arc<Credentials>),
    /// Whether something has been taken away from them.
    are_narrowed: bool,
    /// Why passwords were not stored better, each said once.
    said: HashSet<String>,
}

/// Which hashes are of one password, as far as we know because we made one from the other.
///
/// A session is bound to the fingerprint of the hash it was begun with, so that it ends when the
/// password is changed. A better hash has another fingerprint and is no change of the password: we
/// made it from the password that was right for the old one, at that moment. So the users whose
/// stored hash is exactly the one that we made keep the credential epoch of the old one. A hash
/// that anybody else writes is not known here and ends the sessions, as it should. Nothing of this
/// outlives the process: sessions in a file that are older than a better hash end at the next start.
#[derive(Default)]
struct SamePasswords(HashMap<(UserName, u64), u64>);

impl SamePasswords {
    fn epoch(&self, user: &UserName, fingerprint: u64) -> u64 {
        let known = self.0.get(&(user.clone(), fingerprint));
        known.copied().unwrap_or(fingerprint)
    }

    /// Gives `users`, as they were read, the epochs of their passwords, and forgets hashes that are
    /// not in use any more.
    fn apply(&mut self, users: &mut Users) {
        self.0.retain(|(name, fingerprint), epoch| {
            let user = users.find(name);
            user.is_some_and(|user| [*fingerprint, *epoch].contains(&user.credential_epoch))
        });
        users.set_epochs(|user| self.epoch(&user.name, user.credential_epoch));
    }
}

impl LiveUsers {
    /// Those of `shared`. `wake` is called when there is something to [`LiveUsers::upgrade`].
    pub(super) fn new(
        shared: Arc<Shared>,
        ends: SessionEnds,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        shared.upgrades.listen(wake);
        let snapshot = shared.snapshot.load_full();
        Self {
            log: shared.log.lane(),
            shared,
            same: SamePasswords::default(),
            ends,
            whole: (
                snapshot.gate.users.clone(),
                Arc::clone(&snapshot.credentials),
            ),
            are_narrowed: false,
            said: HashSet::new(),
        }
    }

    /// Puts the users of `settings` in the place of those that are in force. What else `settings`
    /// says must be what is in force already: abilities come from `roles`, and it is for the caller
    /// to know that these have not changed. How many there are now.
    pub(super) fn swap(&mut self, settings: Settings) -> usize {
        let old = self.shared.snapshot.load_full();
        let count = settings.gate.users.len();
        let gate = Gate {
            own_pages: settings.gate.own_pages,
            ..with_users(&old.gate, settings.gate.users)
        };
        self.put(Snapshot {
            // With the first of them comes the login, and with the last it may go.
            pages: pages(settings.login.as_ref()),
            login: settings.login,
            ..with_gate(&old, gate, settings.credentials)
        });
        let snapshot = self.shared.snapshot.load_full();
        self.whole = (
            snapshot.gate.users.clone(),
            Arc::clone(&snapshot.credentials),
        );
        self.are_narrowed = false;
        count
    }

    /// Whether less is in force than was configured last.
    pub(super) const fn are_narrowed(&self) -> bool {
        self.are_narrowed
    }

    /// The same where something else waits for a restart, or is wrong: takes from the users in
    /// force what the new ones have not, and gives nobody anything. With the roles and routes in
    /// force, somebody could do what neither the old configuration nor the new one allows; but
    /// whoever is disabled is to be out at once, whatever else is being changed. What is `unclear` is as
    /// it was.
    pub(super) fn take_away(&mut self, settings: Settings, unclear: &Unclear) {
        let old = self.shared.snapshot.load_full();
        let (whole, passwords) = &self.whole;
        let users = settings.gate.users.no_more_than(whole, unclear);
        let kept = [&*unclear.passwords, &*unclear.entries].concat();
        let credentials = settings.credentials.beside(passwords, &kept);
        let gate = with_users(&old.gate, users);
        self.put(with_gate(&old, gate, Arc::new(credentials)));
        self.are_narrowed = true;
    }

    /// Puts a snapshot with other users in force. The gate looks at the users of the moment with
    /// every request, so sessions of somebody who is gone or disabled, or has another password,
    /// prove nothing from then on; they are ended all the same, on record.
    fn put(&mut self, mut snapshot: Snapshot) {
        self.same.apply(&mut snapshot.gate.users);
        let snapshot = Arc::new(snapshot);
        let old = self.shared.snapshot.swap(Arc::clone(&snapshot));
        let users = &snapshot.gate.users;
        for (user, why) in users.changed_since(&old.gate.users) {
            self.ends.end(user, why);
        }
        self.shared.upgrades.try_again();
    }

    /// Writes the better hashes that logins have left, into the file that the users are in. What is
    /// written is read again as any other change of it is.
    pub(super) fn upgrade(&mut self, file: Option<&Path>) {
        for upgrade in self.shared.upgrades.take() {
            let user = upgrade.user.as_str();
            match self.write(&upgrade, file) {
                Ok(Rehashed::Written) => {
                    let line = self.log.line(Level::Info, "password.upgraded");
                    let line = line.text("user.name", user);
                    self.log.note(line.text("password.format", upgrade.format));
                }
                Ok(Rehashed::Superseded) => {}
                Err(why) => self.say_why_not(why),
            }
        }
    }

    /// Somebody asked: what was in the way is tried again, and said again if it still is.
    pub(super) fn try_again(&mut self) {
        self.said.clear();
        self.shared.upgrades.try_again();
    }

    fn write(&mut self, upgrade: &Upgrade, file: Option<&Path>) -> Result<Rehashed, String> {
        let file = file.ok_or("users in the configuration itself are not changed")?;
        let better = StoredPassword::parse(&upgrade.hash).map_err(|error| error.to_string())?;
        // Before it can be read from there.
        let same = (upgrade.user.clone(), better.fingerprint());
        self.same.0.insert(same, upgrade.epoch);
        let written = rehash(file, &upgrade.user, upgrade.verified, &upgrade.hash);
        written.or_else(|error| match error {
            // It is there, and that is what counts for those who log in.
            UsersFileError::NotDurable { .. } => Ok(Rehashed::Written),
            error => Err(in_full(&error)),
        })
    }

    fn say_why_not(&mut self, why: String) {
        if self.said.contains(&why) {
            return;
        }
        let message = format!("a password stays stored as it is: {why}");
        let line = self.log.line(Level::Warn, "password.not_upgraded");
        self.log.note(line.text("message", &message));
        self.said.insert(why);
    }
}

/// The same gate with other users.
fn with_users(gate: &Gate, users: Users) -> Gate {
    Gate {
        users,
        routes: Arc::clone(&gate.routes),
        // The very same ones: connections remember what these said of their certificates.
        clients: Arc::clone(&gate.clients),
        sessions: gate.sessions,
        own_pages: gate.own_pages.clone(),
    }
}

/// The same snapshot with other users and passwords.
fn with_gate(snapshot: &Snapshot, gate: Gate, credentials: Arc<Credentials>) -> Snapshot {
    Snapshot {
        gate,
        credentials,
        upstreams: snapshot.upstreams.clone(),
        rewrites: snapshot.rewrites.clone(),
        identity: Arc::clone(&snapshot.identity),
        login: snapshot.login.clone(),
        pages: snapshot.pages.clone(),
        limits: snapshot.limits,
        timeouts: snapshot.timeouts,
        trusted_proxies: Arc::clone(&snapshot.trusted_proxies),
    }
}
