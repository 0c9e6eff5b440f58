//! Abilities and roles: what a route asks for, and what a user's roles grant.
//!
//! Roles come in the three shapes that Ioto used: a map of role to abilities, a map in which an
//! item may be another role (inherited, cycles are harmless), and an ordered list in which each role
//! includes those before it. In all of them the role's own name counts as an ability, and `*`
//! grants all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Something a route can ask for, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ability(Arc<str>);

impl Ability {
    /// The ability called `name`. `*` is not one; it is only meaningful in a role.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What somebody may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AbilitySet {
    /// Everything: a role said `*`.
    All,
    /// These only; none when empty.
    Some(BTreeSet<Ability>),
}

impl Default for AbilitySet {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl AbilitySet {
    /// The first of `wanted` that is not held, if any.
    #[must_use]
    pub fn first_missing<'w>(&self, wanted: &'w [Ability]) -> Option<&'w Ability> {
        match self {
            Self::All => None,
            Self::Some(held) => wanted.iter().find(|ability| !held.contains(*ability)),
        }
    }

    /// What both hold.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, both) | (both, Self::All) => both.clone(),
            (Self::Some(some), Self::Some(others)) => Self::Some(some & others),
        }
    }

    fn add(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (_, Self::All) => *self = Self::All,
            (Self::Some(held), Self::Some(more)) => held.extend(more.iter().cloned()),
        }
    }
}

/// Every configured role with the abilities it grants, inheritance resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles(BTreeMap<Arc<str>, AbilitySet>);

impl Roles {
    /// From a map of role to items; an item is an ability, another role, or `*`.
    #[must_use]
    pub fn from_map(items: &BTreeMap<String, Vec<String>>) -> Self {
        let granted = |role: &String| {
            let mut abilities = AbilitySet::default();
            expand(role, items, &mut BTreeSet::new(), &mut abilities);
            (role.as_str().into(), abilities)
        };
        Self(items.keys().map(granted).collect())
    }

    /// From a ladder: each role may do what those before it may.
    #[must_use]
    pub fn from_ladder(roles: &[String]) -> Self {
        let up_to = |(at, role): (usize, &String)| {
            let abilities = roles[..=at].iter().map(|name| Ability::new(name)).collect();
            (role.as_str().into(), AbilitySet::Some(abilities))
        };
        Self(roles.iter().enumerate().map(up_to).collect())
    }

    /// Whether a role of this name is configured.
    #[must_use]
    pub fn contains(&self, role: &str) -> bool {
        self.0.contains_key(role)
    }

    /// The names of all roles, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(AsRef::as_ref)
    }

    /// Whether any role grants `ability`.
    #[must_use]
    pub fn grant(&self, ability: &Ability) -> bool {
        let wanted = std::slice::from_ref(ability);
        self.0
            .values()
            .any(|held| held.first_missing(wanted).is_none())
    }

    /// The names of all abilities that some role grants, sorted, each once.
    #[must_use]
    pub fn ability_names(&self) -> BTreeSet<&str> {
        let named = |set| match set {
            &AbilitySet::All => None,
            AbilitySet::Some(held) => Some(held.iter().map(Ability::as_str)),
        };
        self.0.values().filter_map(named).flatten().collect()
    }

    /// What all of `roles` grant together. Unknown roles grant nothing.
    #[must_use]
    pub fn abilities_of<'r>(&self, roles: impl IntoIterator<Item = &'r str>) -> AbilitySet {
        let mut union = AbilitySet::default();
        for granted in roles.into_iter().filter_map(|role| self.0.get(role)) {
            union.add(granted);
        }
        union
    }
}

fn expand<'i>(
    role: &'i str,
    items: &'i BTreeMap<String, Vec<String>>,
    seen: &mut BTreeSet<&'i str>,
    abilities: &mut AbilitySet,
) {
    // A role met twice adds nothing new; this is also what ends a cycle.
    if !seen.insert(role) {
        return;
    }
    abilities.add(&AbilitySet::Some(BTreeSet::from([Ability::new(role)])));
    for item in items.get(role).into_iter().flatten() {
        match item.as_str() {
            "*" => *abilities = AbilitySet::All,
            inherited if items.contains_key(inherited) => {
                expand(inherited, items, seen, abilities);
            }
            ability => abilities.add(&AbilitySet::Some(BTreeSet::from([Ability::new(ability)]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(roles: &[(&str, &[&str])]) -> Roles {
        let items = roles
            .iter()
            .map(|(role, items)| {
                let items = items.iter().map(ToString::to_string).collect();
                ((*role).to_owned(), items)
            })
            .collect();
        Roles::from_map(&items)
    }

    #[track_caller]
    fn check(roles: &Roles, held: &[&str], wanted: &[&str], missing: Option<&str>) {
        let wanted: Vec<_> = wanted.iter().map(|name| Ability::new(name)).collect();
        let set = roles.abilities_of(held.iter().copied());
        assert_eq!(set.first_missing(&wanted).map(Ability::as_str), missing);
    }

    #[test]
    fn a_user_holds_the_union_of_their_roles() {
        let roles = map(&[("user", &["view"]), ("operator", &["edit"])]);
        check(&roles, &["user", "operator"], &["view", "edit"], None);
        check(&roles, &["user"], &["view", "edit"], Some("edit"));
        check(&roles, &[], &["view"], Some("view"));
    }

    #[test]
    fn an_item_that_is_a_role_is_inherited_even_in_a_cycle() {
        let roles = map(&[("a", &["b", "x"]), ("b", &["a", "y"]), ("c", &["z"])]);
        check(&roles, &["a"], &["a", "b", "x", "y"], None);
        check(&roles, &["b"], &["a", "b", "x", "y"], None);
        check(&roles, &["a"], &["z"], Some("z"));
    }

    #[test]
    fn a_ladder_includes_the_roles_below_and_not_those_above() {
        let roles = Roles::from_ladder(&["user".into(), "admin".into()]);
        check(&roles, &["admin"], &["user", "admin"], None);
        check(&roles, &["user"], &["admin"], Some("admin"));
    }

    #[test]
    fn what_two_have_in_common_is_held_by_both_and_a_star_is_only_one_beside_a_star() {
        let roles = map(&[
            ("root", &["*"]),
            ("user", &["view"]),
            ("editor", &["view", "edit"]),
        ]);
        let common = |one, other| {
            let [one, other] = [one, other].map(|role| roles.abilities_of([role]));
            assert_eq!(one.common(&other), other.common(&one));
            one.common(&other)
        };
        let view = AbilitySet::Some([Ability::new("view")].into());
        assert_eq!(common("user", "editor"), view);
        assert_eq!(common("root", "editor"), roles.abilities_of(["editor"]));
        assert_eq!(common("root", "root"), AbilitySet::All);
        assert_eq!(common("root", "nobody"), AbilitySet::default());
    }

    #[test]
    fn a_star_grants_all_and_an_unknown_role_grants_nothing() {
        let roles = map(&[("root", &["*"]), ("user", &["view"])]);
        check(&roles, &["root"], &["anything"], None);
        check(&roles, &["nobody"], &["view"], Some("view"));
        assert!(roles.grant(&Ability::new("anything")));
        assert!(!map(&[("user", &["view"])]).grant(&Ability::new("edit")));
    }
}
