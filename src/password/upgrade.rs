//! Stored passwords that should be stored better: noticed at a good login, when the password is
//! there to be hashed again.
//!
//! The login neither waits for this nor fails by it. Hashing is the pool's; writing is whoever
//! listens, on a thread of its own; here is only what lies between.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::argon2id::Argon2idParameters;
use super::pool::{Attempt, HashPool};
use super::stored::hash_argon2id;
use crate::identity::UserName;

/// A better hash of a password that was just verified against the stored one.
#[derive(Clone)]
pub struct Upgrade {
    /// Whose.
    pub user: UserName,
    /// The fingerprint of the stored hash that the password was verified against.
    pub verified: u64,
    /// The format of that one.
    pub format: &'static str,
    /// The credential epoch of the user at that time.
    pub epoch: u64,
    /// The better hash.
    pub hash: String,
}

/// What an attempt leads to if it succeeds. No `Debug`: it holds the password.
pub struct Candidate {
    user: UserName,
    verified: u64,
    format: &'static str,
    epoch: u64,
    password: Zeroizing<Vec<u8>>,
}

/// The upgrades that wait for being written. Bounded: one for each stored password.
#[derive(Clone, Default)]
pub struct Upgrades(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// What new hashes cost.
    new: Argon2idParameters,
    state: Mutex<State>,
    /// Called when there is something to write. Nobody listens where nothing is ever written.
    listener: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct State {
    /// The fingerprints of the stored hashes that were tried. Once each: where the file cannot be
    /// changed, no login after the first should cost the work.
    tried: HashSet<u64>,
    waiting: Vec<Upgrade>,
    /// One at a time: a rush of logins must not find the pool busy with these.
    is_hashing: bool,
}

impl fmt::Debug for Upgrades {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrades").finish_non_exhaustive()
    }
}

impl Upgrades {
    /// Hashes of these parameters take the place of others.
    #[must_use]
    pub fn new(new: Argon2idParameters) -> Self {
        Self(Arc::new(Inner {
            new,
            ..Inner::default()
        }))
    }

    /// From now on, calls `listener` when there is something to take. Only the first one counts.
    pub fn listen(&self, listener: impl Fn() + Send + Sync + 'static) {
        drop(self.0.listener.set(Box::new(listener)));
    }

    /// What to do after `attempt`, of a user with this credential epoch, should it succeed.
    #[must_use]
    pub fn candidate(&self, attempt: &Attempt, user: &UserName, epoch: u64) -> Option<Candidate> {
        self.0.listener.get()?;
        let stored = attempt.stored.as_ref()?;
        let verified = stored.fingerprint();
        if stored.is_preferred(self.0.new) || self.0.state.lock().tried.contains(&verified) {
            return None;
        }
        Some(Candidate {
            user: user.clone(),
            verified,
            format: stored.format_name(),
            epoch,
            password: attempt.password.clone(),
        })
    }

    /// Has the password of a candidate hashed, now that it is known to be the right one. With too
    /// much to do, there will be other logins.
    pub fn begin(&self, candidate: Candidate, pool: &HashPool) {
        {
            let state = &mut *self.0.state.lock();
            if state.is_hashing || !state.tried.insert(candidate.verified) {
                return;
            }
            state.is_hashing = true;
        }
        let verified = candidate.verified;
        let upgrades = self.clone();
        if pool.run(move || upgrades.hash(candidate)).is_err() {
            let state = &mut *self.0.state.lock();
            state.is_hashing = false;
            state.tried.remove(&verified);
        }
    }

    fn hash(&self, candidate: Candidate) {
        let hashed = hash_argon2id(&candidate.password, self.0.new);
        let state = &mut *self.0.state.lock();
        state.is_hashing = false;
        let Ok(hash) = hashed else { return };
        state.waiting.push(Upgrade {
            user: candidate.user,
            verified: candidate.verified,
            format: candidate.format,
            epoch: candidate.epoch,
            hash,
        });
        if let Some(listener) = self.0.listener.get() {
            listener();
        }
    }

    /// All that wait.
    #[must_use]
    pub fn take(&self) -> Vec<Upgrade> {
        std::mem::take(&mut self.0.state.lock().waiting)
    }

    /// Has everything tried again: what was in the way may be gone.
    pub fn try_again(&self) {
        self.0.state.lock().tried.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::super::stored::{StoredPassword, hash_sha256};
    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    fn attempt(hash: &str) -> Attempt {
        Attempt {
            user: "ralph".into(),
            password: Zeroizing::new(b"pass5".to_vec()),
            stored: Some(StoredPassword::parse(hash).unwrap()),
            costs: [].into(),
            realms: [].into(),
        }
    }

    #[test]
    fn what_is_stored_badly_is_hashed_again_once_and_what_is_stored_well_is_not() {
        let dear = Argon2idParameters::new(24_576, 2, 1).unwrap();
        let (upgrades, pool) = (
            Upgrades::new(dear),
            HashPool::new(NonZeroUsize::MIN, 4).unwrap(),
        );
        let ralph = UserName::parse("ralph").unwrap();
        let weak = attempt(&hash_sha256("ralph", b"pass5"));
        // Where nobody would write it, nothing is hashed.
        assert!(upgrades.candidate(&weak, &ralph, 7).is_none());
        let (sender, told) = channel();
        upgrades.listen(move || sender.send(()).unwrap());
        let strong = attempt(&hash_argon2id(b"pass5", dear).unwrap());
        assert!(upgrades.candidate(&strong, &ralph, 7).is_none());
        let cheaper = hash_argon2id(b"pass5", Argon2idParameters::default()).unwrap();
        assert!(upgrades.candidate(&attempt(&cheaper), &ralph, 7).is_some());

        let candidate = upgrades.candidate(&weak, &ralph, 7).unwrap();
        let second = upgrades.candidate(&weak, &ralph, 7).unwrap();
        upgrades.begin(candidate, &pool);
        told.recv_timeout(WAIT).unwrap();
        upgrades.begin(second, &pool);
        let [upgrade] = upgrades.take().try_into().ok().unwrap();
        assert_eq!((upgrade.epoch, upgrade.format), (7, "SHA256"));
        let better = StoredPassword::parse(&upgrade.hash).unwrap();
        assert!(better.is_preferred(dear) && better.verify("ralph", b"pass5", &[]));
        assert!(upgrades.candidate(&weak, &ralph, 7).is_none());
        upgrades.try_again();
        assert!(upgrades.candidate(&weak, &ralph, 7).is_some());
    }
}
