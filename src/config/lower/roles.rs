//! The section `roles`.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::document::At;
use crate::config::file::RolesFile;
use crate::config::problem::closest;
use crate::config::scalar::{Entries, Items, OneOrMany};
use crate::gate::ability::{Ability, Roles};

/// The roles as users and routes refer to them.
pub(super) struct KnownRoles {
    /// What each role grants.
    pub(super) roles: Roles,
    /// Whether a role or ability that is not there may be called unknown.
    complete: bool,
}

impl KnownRoles {
    /// Records a problem for a role that is not configured.
    pub(super) fn check_role(&self, role: &str, at: &At<'_>) {
        if !self.complete || self.roles.contains(role) {
            return;
        }
        let named = at.quoted(role);
        let meant = at.suggestion(role, self.roles.names());
        at.problem(format!("no role is named {named}{meant}"));
    }

    /// Records a problem for an ability that nobody could ever have.
    pub(super) fn check_ability(&self, ability: &Ability, at: &At<'_>) {
        if !self.complete || self.roles.grant(ability) {
            return;
        }
        let named = at.quoted(ability.as_str());
        let known = self.roles.ability_names();
        let meant = if known.is_empty() {
            "; add it to a role in the section roles".into()
        } else {
            // A role counts as an ability too, which is seldom what was looked for.
            let roles: BTreeSet<&str> = self.roles.names().collect();
            let plain = known.difference(&roles).copied().collect::<BTreeSet<_>>();
            let is_close = closest(ability.as_str(), known.iter().copied()).is_some();
            let offered = if is_close || plain.is_empty() {
                known
            } else {
                plain
            };
            at.suggestion(ability.as_str(), offered)
        };
        at.problem(format!("no role grants {named}{meant}"));
    }
}

/// The most roles accepted. Inheritance is followed through all of them.
const MAX_ROLES: usize = 1000;

/// The roles, in whichever of the three shapes they are written.
pub(super) fn lower(written: Option<RolesFile>, at: &At<'_>) -> KnownRoles {
    let at = at.key("roles");
    let count = match &written {
        None => 0,
        Some(RolesFile::Map(map)) => map.0.len(),
        Some(RolesFile::Ladder(roles)) => roles.len(),
    };
    if count > MAX_ROLES {
        at.problem(format!("more than {MAX_ROLES} roles"));
        at.refuse();
    }
    // What was refused as a whole, or in part, may hold any name.
    let mut complete = !at.is_refused();
    let roles = match written.filter(|_| complete) {
        None => Roles::default(),
        Some(RolesFile::Map(map)) => Roles::from_map(&lower_map(map, &at, &mut complete)),
        Some(RolesFile::Ladder(roles)) => {
            complete &= roles.iter().all(Option::is_some);
            Roles::from_ladder(&lower_ladder(roles, &at))
        }
    };
    KnownRoles { roles, complete }
}

fn lower_map(
    written: Entries<OneOrMany>,
    at: &At<'_>,
    complete: &mut bool,
) -> BTreeMap<String, Vec<String>> {
    let mut roles = BTreeMap::new();
    for (at, role, items) in at.entries(written) {
        check_role_name(&role, &at, At::key_problem);
        let all_read = match &items {
            None => false,
            Some(OneOrMany::One(_)) => true,
            Some(OneOrMany::Many(items)) => items.iter().all(Option::is_some),
        };
        *complete &= all_read;
        let items = items.map(|items| at.texts(items)).unwrap_or_default();
        for (at, _) in items.iter().filter(|(_, item)| item.is_empty()) {
            at.problem("an ability without a name");
        }
        roles.insert(role, items.into_iter().map(|(_, item)| item).collect());
    }
    roles
}

fn lower_ladder(written: Vec<Option<String>>, at: &At<'_>) -> Vec<String> {
    let mut roles = Vec::new();
    let mut seen = BTreeSet::new();
    for (at, role) in at.items(Items(written)) {
        check_role_name(&role, &at, At::problem);
        if !seen.insert(role.clone()) {
            at.problem(format!(
                "the role {} is in the list already",
                at.quoted(&role)
            ));
        }
        roles.push(role);
    }
    roles
}

/// A role is sent to the backend as an item of a list with commas.
fn check_role_name<'d>(role: &str, at: &At<'d>, problem: impl Fn(&At<'d>, String)) {
    if role == "*" {
        problem(
            at,
            "a role cannot be named \"*\"; write [\"*\"] as its abilities".into(),
        );
    } else if !is_list_item(role) {
        let message = "a role name must not be empty, begin or end with a space, or have a comma";
        problem(at, message.into());
    }
}

/// Whether a name can be told to the backend as an item of a list with commas.
pub(super) fn is_list_item(name: &str) -> bool {
    let legal = |c: char| c != ',' && !c.is_control();
    !name.is_empty() && name.trim() == name && name.chars().all(legal)
}
