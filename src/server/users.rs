//! Users while the server runs: swapped in when they change, everything else as it is.

use std::sync::Arc;

use super::pages;
use crate::config::settings::Settings;
use crate::gate::Gate;
use crate::proxy::{Shared, Snapshot};

/// Puts the users of `settings` in the place of those that are in force. What else `settings` says
/// must be what is in force already: abilities come from `roles`, and it is for the caller to know
/// that these have not changed. How many there are now.
///
/// Sessions need no care: the gate looks at the users of the moment with every request, so those of
/// somebody who is gone or disabled, or has another password, prove nothing from now on.
pub(super) fn swap(shared: &Shared, settings: Settings) -> usize {
    let old = shared.snapshot.load_full();
    let users = settings.gate.users.len();
    let snapshot = Snapshot {
        gate: Gate {
            // The very same ones: connections remember what these said of their certificates.
            clients: Arc::clone(&old.gate.clients),
            ..settings.gate
        },
        credentials: settings.credentials,
        upstreams: old.upstreams.clone(),
        identity: Arc::clone(&old.identity),
        // With the first of them comes the login, and with the last it may go.
        pages: pages(settings.login.as_ref()),
        login: settings.login,
        limits: old.limits,
        timeouts: old.timeouts,
    };
    shared.snapshot.store(Arc::new(snapshot));
    users
}
