//! The password hashes of all users, and what checking one must cost.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::pool::Attempt;
use super::stored::{Cost, StoredPassword};
use crate::identity::UserName;
use zeroize::Zeroizing;

/// Every user's stored password.
pub struct Credentials {
    passwords: HashMap<UserName, StoredPassword>,
    costs: Arc<[Cost]>,
    realms: Arc<[String]>,
}

impl std::fmt::Debug for Credentials {
    /// Says how many there are and nothing of what they are.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("users", &self.passwords.len())
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// From the configured users. `realms` are tried for Ioto's hashes of `user:realm:password`.
    #[must_use]
    pub fn new(passwords: HashMap<UserName, StoredPassword>, realms: Vec<String>) -> Self {
        let distinct: BTreeSet<Cost> = passwords.values().map(StoredPassword::cost).collect();
        Self {
            passwords,
            costs: distinct.into_iter().collect(),
            realms: realms.into(),
        }
    }

    /// The same passwords, with the realms of `others` and the passwords that these users have there.
    #[must_use]
    pub fn beside(&self, others: &Self, users: &[UserName]) -> Self {
        let mut passwords = self.passwords.clone();
        let theirs = |name: &UserName| Some((name.clone(), others.passwords.get(name)?.clone()));
        passwords.extend(users.iter().filter_map(theirs));
        Self::new(passwords, others.realms.to_vec())
    }

    /// An attempt of `user` with `password`, for the hashing pool. A user without a stored
    /// password gives one that fails after the same work as any other: nobody learns from the
    /// answer or its time who exists (OWASP ASVS 6.3.8).
    #[must_use]
    pub fn attempt(&self, user: &str, password: Zeroizing<Vec<u8>>, active: bool) -> Attempt {
        let known = UserName::parse(user).ok().filter(|_| active);
        Attempt {
            user: user.to_owned(),
            password,
            stored: known.and_then(|name| self.passwords.get(&name).cloned()),
            costs: Arc::clone(&self.costs),
            realms: Arc::clone(&self.realms),
        }
    }
}
