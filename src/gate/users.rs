//! The users as the gate needs them: who exists, and what they may do.
//!
//! Their password hashes are elsewhere (`password`); the gate only knows the credential epoch,
//! which changes with the password.

use std::sync::Arc;

use foldhash::HashMap;

use super::ability::AbilitySet;
use crate::identity::UserName;

/// A configured user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name they log in with.
    pub name: UserName,
    /// Their roles as configured; sent to the backend as groups.
    pub roles: Vec<String>,
    /// What the roles grant together.
    pub abilities: AbilitySet,
    /// A disabled user cannot log in, and their sessions prove nothing.
    pub disabled: bool,
    /// Sent to the backend where given.
    pub email: Option<String>,
    /// The name to show, sent to the backend where given.
    pub display_name: Option<String>,
    /// Changes whenever the password does.
    pub credential_epoch: u64,
}

/// All configured users.
#[derive(Clone, Debug, Default)]
pub struct Users(HashMap<UserName, Arc<User>>);

impl Users {
    /// The user of this name, unless there is none or they are disabled.
    #[must_use]
    pub fn active(&self, name: &UserName) -> Option<&Arc<User>> {
        self.0.get(name).filter(|user| !user.disabled)
    }

    /// The user of this name, disabled or not.
    #[must_use]
    pub fn find(&self, name: &UserName) -> Option<&User> {
        self.0.get(name).map(AsRef::as_ref)
    }

    /// Whether there is a user of this name who is disabled.
    #[must_use]
    pub fn is_disabled(&self, name: &UserName) -> bool {
        self.0.get(name).is_some_and(|user| user.disabled)
    }

    /// Gives each the credential epoch that `epoch` says.
    pub fn set_epochs(&mut self, epoch: impl Fn(&User) -> u64) {
        for user in self.0.values_mut() {
            let epoch = epoch(user);
            if epoch != user.credential_epoch {
                Arc::make_mut(user).credential_epoch = epoch;
            }
        }
    }

    /// How many are configured.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody can log in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<User> for Users {
    fn from_iter<I: IntoIterator<Item = User>>(users: I) -> Self {
        let named = |user: User| (user.name.clone(), Arc::new(user));
        Self(users.into_iter().map(named).collect())
    }
}
