//! The users as the gate needs them: who exists, and what they and their tokens may do.
//!
//! Their password hashes are elsewhere (`password`); the gate only knows the credential epoch,
//! which changes with the password. Of tokens it knows the digest.

use std::sync::Arc;

use foldhash::HashMap;

use super::ability::AbilitySet;
use super::session::{Session, Timestamp};
use crate::identity::UserName;
use crate::identity::token::{TokenDigest, TokenName};

/// A configured user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name they log in with.
    pub name: UserName,
    /// Their roles as configured; sent to the backend as groups where there are no others.
    pub roles: Vec<String>,
    /// Sent to the backend in place of the roles, where any are given.
    pub groups: Option<Vec<String>>,
    /// What the roles grant together.
    pub abilities: AbilitySet,
    /// A disabled user cannot log in, and their sessions and tokens prove nothing.
    pub disabled: bool,
    /// Sent to the backend where given.
    pub email: Option<String>,
    /// The name to show, sent to the backend where given.
    pub display_name: Option<String>,
    /// Changes whenever the password does.
    pub credential_epoch: u64,
}

/// A token of a user, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserToken {
    /// What it is called.
    pub name: TokenName,
    /// What it is known by.
    pub digest: TokenDigest,
    /// What it may be used for, as far as the user may do that.
    pub abilities: AbilitySet,
    /// From when on it is good for nothing.
    pub expires: Option<Timestamp>,
}

/// A token and whoever acts by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is called.
    pub name: TokenName,
    /// Its user, with no other abilities than the token has: whatever looks at what they may do sees
    /// what the token may.
    pub bearer: Arc<User>,
    /// From when on it is good for nothing.
    pub expires: Option<Timestamp>,
}

// === impl User ===

impl User {
    /// The groups that the backend is told of.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        self.groups.as_ref().unwrap_or(&self.roles)
    }

    fn no_more_than(&self, before: &Self) -> Self {
        let are_roles = self.groups.is_none() && before.groups.is_none();
        Self {
            name: self.name.clone(),
            roles: in_both(&self.roles, &before.roles),
            groups: (!are_roles).then(|| in_both(self.groups(), before.groups())),
            abilities: self.abilities.common(&before.abilities),
            disabled: self.disabled || before.disabled,
            // What backends know them by, which may decide what they may do there.
            email: before.email.clone(),
            display_name: before.display_name.clone(),
            credential_epoch: self.credential_epoch,
        }
    }
}

fn in_both(some: &[String], others: &[String]) -> Vec<String> {
    let common = some.iter().filter(|it| others.contains(it));
    common.cloned().collect()
}

// === impl Token ===

impl Token {
    fn of(token: &UserToken, user: &User) -> Self {
        let abilities = user.abilities.common(&token.abilities);
        // A backend that decides by groups would give it all that its user may.
        let is_narrower = abilities != user.abilities;
        let (roles, groups) = match is_narrower {
            true => (Vec::new(), Some(Vec::new())),
            false => (user.roles.clone(), user.groups.clone()),
        };
        let bearer = User {
            abilities,
            roles,
            groups,
            // It outlives the password: nothing of the one is known by the other.
            credential_epoch: 0,
            ..user.clone()
        };
        Self {
            name: token.name.clone(),
            bearer: Arc::new(bearer),
            expires: token.expires,
        }
    }

    fn no_more_than(&self, before: &Self) -> Self {
        let ends = [self.expires, before.expires];
        Self {
            name: self.name.clone(),
            bearer: Arc::new(self.bearer.no_more_than(&before.bearer)),
            expires: ends.into_iter().flatten().min(),
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
    /// They have other roles or groups, or the roles allow other things.
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

/// Those of whom it could not be read all that is said of them.
#[derive(Clone, Debug, Default)]
pub struct Unclear {
    /// There is a password, and nobody knows which.
    pub passwords: Vec<UserName>,
    /// There is an entry, and nothing more is known.
    pub entries: Vec<UserName>,
}

/// All configured users.
#[derive(Clone, Debug, Default)]
pub struct Users {
    by_name: HashMap<UserName, Arc<User>>,
    tokens: HashMap<TokenDigest, Arc<Token>>,
}

impl Users {
    /// The token with this digest, whether or not it is good for anything.
    #[must_use]
    pub fn token(&self, digest: &TokenDigest) -> Option<&Arc<Token>> {
        self.tokens.get(digest)
    }

    /// The user of this name, unless there is none or they are disabled.
    #[must_use]
    pub fn active(&self, name: &UserName) -> Option<&Arc<User>> {
        self.by_name.get(name).filter(|user| !user.disabled)
    }

    /// The user of this name, disabled or not.
    #[must_use]
    pub fn find(&self, name: &UserName) -> Option<&User> {
        self.by_name.get(name).map(AsRef::as_ref)
    }

    /// Whether there is a user of this name who is disabled.
    #[must_use]
    pub fn is_disabled(&self, name: &UserName) -> bool {
        self.by_name.get(name).is_some_and(|user| user.disabled)
    }

    /// Those of `self` who are in `before`, too, with nothing that they had not before: what both
    /// allow. Whoever is disabled in one of the two is, and what is unclear is as it was.
    #[must_use]
    pub fn no_more_than(self, before: &Self, unclear: &Unclear) -> Self {
        let mut by_name: HashMap<UserName, Arc<User>> = HashMap::default();
        for (name, user) in self.by_name {
            let narrowed = match before.by_name.get(&name) {
                Some(before) => {
                    let mut narrowed = user.no_more_than(before);
                    if unclear.passwords.contains(&name) {
                        narrowed.credential_epoch = before.credential_epoch;
                    }
                    Arc::new(narrowed)
                }
                // Their certificates would be good for something without an entry that says so.
                None if user.disabled => user,
                None => continue,
            };
            by_name.insert(name, narrowed);
        }
        for (name, user) in &before.by_name {
            if user.disabled || unclear.entries.contains(name) {
                let known = by_name.entry(name.clone());
                known.or_insert_with(|| Arc::clone(user));
            }
        }
        let tokens = self.tokens.into_iter().filter_map(|(digest, token)| {
            let before = before.tokens.get(&digest)?;
            let is_theirs = token.bearer.name == before.bearer.name;
            is_theirs.then(|| (digest, Arc::new(token.no_more_than(before))))
        });
        let of_unclear = before.tokens.iter().filter_map(|(digest, token)| {
            let is_theirs = unclear.entries.contains(&token.bearer.name);
            is_theirs.then(|| (*digest, Arc::clone(token)))
        });
        Self {
            by_name,
            tokens: tokens.chain(of_unclear).collect(),
        }
    }

    /// Those who prove less than they did in `before`, and why: their sessions have to end.
    pub fn changed_since<'u>(
        &'u self,
        before: &'u Self,
    ) -> impl Iterator<Item = (&'u UserName, Changed)> {
        let active = before.by_name.values().filter(|user| !user.disabled);
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
        let is_same = now.abilities == before.abilities
            && now.roles == before.roles
            && now.groups() == before.groups();
        (!is_same).then_some(Changed::Rights)
    }

    /// Gives each the credential epoch that `epoch` says.
    pub fn set_epochs(&mut self, epoch: impl Fn(&User) -> u64) {
        for user in self.by_name.values_mut() {
            let epoch = epoch(user);
            if epoch != user.credential_epoch {
                Arc::make_mut(user).credential_epoch = epoch;
            }
        }
    }

    /// How many are configured.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether any of them has a token.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Whether nobody can log in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

impl FromIterator<(User, Vec<UserToken>)> for Users {
    fn from_iter<I: IntoIterator<Item = (User, Vec<UserToken>)>>(users: I) -> Self {
        let mut all = Self::default();
        for (user, tokens) in users {
            let known = |it: &UserToken| (it.digest, Arc::new(Token::of(it, &user)));
            all.tokens.extend(tokens.iter().map(known));
            all.by_name.insert(user.name.clone(), Arc::new(user));
        }
        all
    }
}

impl FromIterator<User> for Users {
    fn from_iter<I: IntoIterator<Item = User>>(users: I) -> Self {
        users.into_iter().map(|user| (user, Vec::new())).collect()
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
            groups: None,
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

    fn users_with(who: &str, tokens: &[UserToken]) -> Users {
        [(user(who), tokens.to_vec())].into_iter().collect()
    }

    #[track_caller]
    fn check_narrowed(before: &str, after: &str, expected: &str) {
        let narrowed = users(after).no_more_than(&users(before), &Unclear::default());
        let sorted = |users: &Users| {
            let mut users: Vec<_> = users.by_name.values().cloned().collect();
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
        // A certificate of that name would be good for something without the entry.
        check_narrowed("!ada user view 1", "", "!ada user view 1");
        check_narrowed("", "!ada user view 1", "!ada user view 1");
        check_narrowed(ada, "ada user view 2", "ada user view 2");
        check_narrowed("ada user view 1", ada, "ada user view 1");
        check_narrowed("ada root * 1", "ada root view 1", "ada root view 1");
        check_narrowed("ada root view 1", "ada root * 1", "ada root view 1");
        check_narrowed("ada a x 1", "ada b y 1", "ada - - 1");
    }

    #[test]
    fn what_is_unclear_is_as_it_was_and_what_is_clear_of_it_counts() {
        let name = || vec![UserName::parse("ada").unwrap()];
        let all = AbilitySet::All;
        let tokens = [token(1, all.clone(), None), token(2, all.clone(), None)];
        let before = users_with("ada user,admin view,edit 1", &tokens);
        let has = |users: &Users, byte| users.token(&TokenDigest([byte; 32])).is_some();

        // The password cannot be read, and a token and a role are not there any more.
        let after = users_with("ada user view 0", &tokens[..1]);
        let unclear = Unclear {
            passwords: name(),
            entries: Vec::new(),
        };
        let narrowed = after.no_more_than(&before, &unclear);
        let ada = narrowed.by_name.values().next().unwrap();
        assert_eq!(**ada, user("ada user view 1"));
        assert!(has(&narrowed, 1) && !has(&narrowed, 2));

        let unclear = Unclear {
            passwords: Vec::new(),
            entries: name(),
        };
        let narrowed = users("").no_more_than(&before, &unclear);
        assert_eq!(narrowed.by_name, before.by_name);
        assert!(has(&narrowed, 1) && has(&narrowed, 2));
    }

    fn token(byte: u8, can: AbilitySet, expires: Option<u64>) -> UserToken {
        UserToken {
            name: TokenName::parse("ci").unwrap(),
            digest: TokenDigest([byte; 32]),
            abilities: can,
            expires: expires.map(Timestamp),
        }
    }

    fn can(names: &str) -> AbilitySet {
        AbilitySet::Some(names.split(',').map(Ability::new).collect())
    }

    #[test]
    fn a_token_is_narrowed_with_its_user_and_never_given_to_another() {
        let users = |who: &str, tokens: &[UserToken]| -> Users {
            [(user(who), tokens.to_vec())].into_iter().collect()
        };
        let all = AbilitySet::All;
        let before = users(
            "ada user view,edit 1",
            &[
                token(1, all.clone(), None),
                token(2, can("view"), Some(5)),
                token(3, all.clone(), Some(5)),
            ],
        );
        let after = [
            token(1, all.clone(), Some(9)),
            token(2, all.clone(), None),
            token(4, all, None),
        ];
        let narrowed = users("ada user edit 2", &after).no_more_than(&before, &Unclear::default());
        let said = |byte| {
            let token = narrowed.token(&TokenDigest([byte; 32]))?;
            Some((token.bearer.abilities.clone(), token.expires.map(|it| it.0)))
        };
        assert_eq!(said(1), Some((can("edit"), Some(9))));
        assert_eq!(said(2), Some((AbilitySet::default(), Some(5))));
        assert_eq!([said(3), said(4)], [None, None]);
        let of_eve =
            users("eve user view,edit 1", &after).no_more_than(&before, &Unclear::default());
        assert!(of_eve.token(&TokenDigest([1; 32])).is_none());
        let disabled = users("!ada user edit 1", &after).no_more_than(&before, &Unclear::default());
        assert!(
            disabled
                .token(&TokenDigest([1; 32]))
                .unwrap()
                .bearer
                .disabled
        );
    }

    #[test]
    fn groups_are_told_in_place_of_roles_and_count_as_rights() {
        let with = |roles: &str, groups: Option<&str>| User {
            groups: groups.map(|it| it.split(',').map(str::to_owned).collect()),
            ..user(&format!("ada {roles} view 1"))
        };
        let all = |user: User| -> Users { [user].into_iter().collect() };
        assert_eq!(with("a,b", None).groups(), ["a", "b"]);
        assert_eq!(with("a,b", Some("x")).groups(), ["x"]);
        for (before, after, narrowed) in [
            (None, Some("x"), Some("")),
            (Some("x,y"), Some("y,z"), Some("y")),
            (Some("a"), None, Some("a")),
            (None, Some("a"), Some("a")),
        ] {
            let (before, after) = (all(with("a", before)), all(with("a", after)));
            let now = after.clone().no_more_than(&before, &Unclear::default());
            let groups = now.by_name.values().next().unwrap().groups().join(",");
            assert_eq!(Some(groups.as_str()), narrowed);
            let why = after.changed_since(&before).map(|(_, why)| why).next();
            let is_same = before.by_name.values().next().unwrap().groups()
                == after.by_name.values().next().unwrap().groups();
            assert_eq!(why, (!is_same).then_some(Changed::Rights));
        }
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
