//! The users as the gate needs them: who exists, and what they may do.
//!
//! Their password hashes are elsewhere (`password`); the gate only knows the credential epoch,
//! which changes with the password.

use std::sync::Arc;

use foldhash::HashMap;

use super::ability::AbilitySet;
use super::session::Session;
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

impl User {
    fn no_more_than(&self, before: &Self) -> Self {
        let roles = self.roles.iter().filter(|it| before.roles.contains(it));
        Self {
            name: self.name.clone(),
            roles: roles.cloned().collect(),
            abilities: self.abilities.common(&before.abilities),
            disabled: self.disabled || before.disabled,
            // What backends know them by, which may decide what they may do there.
            email: before.email.clone(),
            display_name: before.display_name.clone(),
            credential_epoch: self.credential_epoch,
        }
    }
}

/// What happened to somebody who could log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// They are disabled or not there any more.
    Gone,
    /// They have another password.
    Password,
    /// They have other roles, or these allow other things.
    Rights,
}

impl Changed {
    /// A stable word for logs (`auth.reason`) and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "user_gone",
            Self::Password => "password_changed",
            Self::Rights => "rights_changed",
        }
    }
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

    /// Those of `self` who are in `before`, too, with nothing that they had not before: what both
    /// allow. Of the `unclear` it is not known what is said now, and they are as they were.
    #[must_use]
    pub fn no_more_than(self, before: &Self, unclear: &[UserName]) -> Self {
        let kept = unclear.iter().filter_map(|name| before.find(name));
        let narrowed = self.0.into_values().filter_map(|user| {
            let before = before.0.get(&user.name)?;
            Some(user.no_more_than(before))
        });
        narrowed.chain(kept.cloned()).collect()
    }

    /// Those who prove less than they did in `before`, and why: their sessions have to end.
    pub fn changed_since<'u>(
        &'u self,
        before: &'u Self,
    ) -> impl Iterator<Item = (&'u UserName, Changed)> {
        let active = before.0.values().filter(|user| !user.disabled);
        active.filter_map(|before| Some((&before.name, self.change_of(before)?)))
    }

    /// What happened to the user of a session since it began, as far as the session shows.
    #[must_use]
    pub fn change_since(&self, session: &Session) -> Option<Changed> {
        match self.active(&session.user) {
            None => Some(Changed::Gone),
            Some(user) if user.credential_epoch != session.credential_epoch => {
                Some(Changed::Password)
            }
            Some(_) => None,
        }
    }

    fn change_of(&self, before: &User) -> Option<Changed> {
        let Some(now) = self.active(&before.name) else {
            return Some(Changed::Gone);
        };
        if now.credential_epoch != before.credential_epoch {
            return Some(Changed::Password);
        }
        let is_same = now.abilities == before.abilities && now.roles == before.roles;
        (!is_same).then_some(Changed::Rights)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::ability::Ability;

    /// From `name roles abilities epoch`, `-` for none; disabled with a `!` before the name.
    fn user(text: &str) -> User {
        let mut words = text.split(' ');
        let mut next = || words.next().unwrap();
        let name = next();
        let list = |word: &str| -> Vec<String> {
            let parts = word.split(',').filter(|it| *it != "-");
            parts.map(str::to_owned).collect()
        };
        User {
            name: UserName::parse(name.trim_start_matches('!')).unwrap(),
            disabled: name.starts_with('!'),
            roles: list(next()),
            abilities: match next() {
                "*" => AbilitySet::All,
                some => AbilitySet::Some(list(some).iter().map(|it| Ability::new(it)).collect()),
            },
            credential_epoch: next().parse().unwrap(),
            email: None,
            display_name: None,
        }
    }

    fn users(text: &str) -> Users {
        let lines = text.split("; ").filter(|it| !it.is_empty());
        lines.map(user).collect()
    }

    #[track_caller]
    fn check_narrowed(before: &str, after: &str, expected: &str) {
        let narrowed = users(after).no_more_than(&users(before), &[]);
        let sorted = |users: &Users| {
            let mut users: Vec<_> = users.0.values().cloned().collect();
            users.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
            users
        };
        assert_eq!(sorted(&narrowed), sorted(&users(expected)));
    }

    #[test]
    fn what_is_narrowed_is_what_both_allow_with_the_passwords_of_now() {
        let ada = "ada user,admin view,edit 1";
        check_narrowed(ada, ada, ada);
        check_narrowed(ada, "", "");
        check_narrowed("", ada, "");
        check_narrowed(
            ada,
            "!ada user,admin view,edit 1",
            "!ada user,admin view,edit 1",
        );
        check_narrowed("!ada user view 1", "ada user view 1", "!ada user view 1");
        check_narrowed(ada, "ada user view 2", "ada user view 2");
        check_narrowed("ada user view 1", ada, "ada user view 1");
        check_narrowed("ada root * 1", "ada root view 1", "ada root view 1");
        check_narrowed("ada root view 1", "ada root * 1", "ada root view 1");
        check_narrowed("ada a x 1", "ada b y 1", "ada - - 1");
    }

    #[track_caller]
    fn check_changed(before: &str, after: &str, expected: Option<Changed>) {
        let (before, after) = (users(before), users(after));
        let mut changed = after.changed_since(&before);
        assert_eq!(changed.next().map(|(_, why)| why), expected);
        assert_eq!(changed.next(), None);
    }

    #[test]
    fn whoever_proves_less_than_before_is_named_with_the_reason() {
        let ada = "ada user view 1";
        for (after, why) in [
            (ada, None),
            ("ada user view 1; eve user view 1", None),
            ("", Some(Changed::Gone)),
            ("!ada user view 1", Some(Changed::Gone)),
            ("ada user view 2", Some(Changed::Password)),
            ("ada user,admin view 1", Some(Changed::Rights)),
            ("ada user view,edit 1", Some(Changed::Rights)),
            ("ada - - 1", Some(Changed::Rights)),
        ] {
            check_changed(ada, after, why);
        }
        // Who was nobody before has no session.
        check_changed("!ada user view 1", ada, None);
        check_changed("!ada user view 1", "", None);
    }
}
