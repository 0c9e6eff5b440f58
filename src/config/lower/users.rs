//! The users, from the section `users` or from a file of their own.

use std::collections::HashMap;

use crate::config::document::At;
use crate::config::file::UserFile;
use crate::config::scalar::{Flag, OneOrMany};
use crate::gate::users::{Unclear, User, UserToken, Users};
use crate::identity::UserName;
use crate::password::stored::StoredPassword;

use super::WrittenUsers;
use super::roles::{KnownRoles, is_list_item};
use super::tokens::{self, KnownDigests};

/// The users and the hashes of their passwords.
#[derive(Default)]
pub(super) struct KnownUsers {
    /// As the gate knows them.
    pub(super) users: Users,
    /// What their passwords are checked against.
    pub(super) passwords: HashMap<UserName, StoredPassword>,
    /// Those of whom not all could be read.
    pub(super) unclear: Unclear,
}

/// The users, as far as they can be read: whoever uses them though there are problems has to look at
/// those who are unclear. Passwords stored with MD5 only where the section `login` allows them.
pub(super) fn lower(written: WrittenUsers<'_>, roles: &KnownRoles, allows_md5: bool) -> KnownUsers {
    let WrittenUsers { entries, at } = written;
    let mut known = Known {
        roles,
        allows_md5,
        digests: KnownDigests::new(),
    };
    let (mut users, mut passwords) = (Vec::new(), HashMap::new());
    let mut unclear = Unclear::default();
    for (at, name, user) in at.entries(entries) {
        let parsed = UserName::parse(&name);
        if let Err(error) = parsed {
            at.key_problem(error.to_string());
            // Looked at all the same, so that all that is wrong is told at once.
            if let (Some(user), Ok(stand_in)) = (user, UserName::parse("x")) {
                drop(lower_one(user, stand_in, &mut known, &at));
            }
            continue;
        }
        let (Ok(name), Some(user)) = (parsed.clone(), user) else {
            unclear.entries.extend(parsed.ok());
            continue;
        };
        let (user, tokens, password) = lower_one(user, name.clone(), &mut known, &at);
        match password {
            Ok(password) => passwords.extend(password.map(|it| (name, it))),
            Err(NoPassword) => unclear.passwords.push(name),
        }
        users.push((user, tokens));
    }
    KnownUsers {
        users: users.into_iter().collect(),
        passwords,
        unclear,
    }
}

/// What users are read with.
struct Known<'k> {
    roles: &'k KnownRoles,
    allows_md5: bool,
    digests: KnownDigests,
}

/// There is one, or should be, and it cannot be read. That was recorded.
struct NoPassword;

type LoweredUser = (
    User,
    Vec<UserToken>,
    Result<Option<StoredPassword>, NoPassword>,
);

fn lower_one(written: UserFile, name: UserName, known: &mut Known<'_>, at: &At<'_>) -> LoweredUser {
    let UserFile {
        password,
        roles,
        role,
        disabled,
        name: display_name,
        email,
        groups,
        tokens,
    } = written;
    let roles = lower_roles(roles, role, known.roles, at);
    let display_name = lower_text(display_name, &at.key("name"));
    let email = lower_text(email, &at.key("email"));
    let groups = groups.map(|groups| lower_groups(groups, &at.key("groups")));
    // A machine that has nothing but tokens does not log in, not even when the last one is revoked.
    let needs_password = tokens.is_none() || password.is_some();
    let tokens = tokens.unwrap_or_default();
    let tokens = tokens::lower(tokens, known.roles, &mut known.digests, &at.key("tokens"));
    let password = match needs_password {
        true => lower_password(password, &name, known.allows_md5, at)
            .map(Some)
            .ok_or(NoPassword),
        false => Ok(None),
    };
    let fingerprint = match &password {
        Ok(Some(password)) => password.fingerprint(),
        Ok(None) | Err(NoPassword) => 0,
    };
    let granted = &known.roles.roles;
    let user = User {
        abilities: granted.abilities_of(roles.iter().map(String::as_str)),
        name,
        roles,
        groups,
        disabled: disabled == Some(Flag(true)),
        email,
        display_name,
        credential_epoch: fingerprint,
    };
    (user, tokens, password)
}

/// The names of roles, each once.
pub(super) fn lower_roles(
    roles: Option<OneOrMany>,
    role: Option<String>,
    known: &KnownRoles,
    at: &At<'_>,
) -> Vec<String> {
    if roles.is_some() && role.is_some() {
        at.key("role")
            .key_problem("roles is there too; put all of them there");
    }
    let mut names: Vec<String> = Vec::new();
    let several = roles.map(|roles| at.key("roles").texts(roles));
    let single = role.map(|role| (at.key("role"), role));
    for (at, name) in several.into_iter().flatten().chain(single) {
        known.check_role(&name, &at);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The names of groups, each once.
fn lower_groups(written: OneOrMany, at: &At<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for (at, name) in at.texts(written) {
        if !is_list_item(&name) {
            at.problem("a group must not be empty, begin or end with a space, or have a comma");
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// A text that is sent to the backend in a header.
fn lower_text(written: Option<String>, at: &At<'_>) -> Option<String> {
    const MOST: usize = 256;
    let text = written?;
    if text.is_empty() || text.len() > MOST || text.chars().any(char::is_control) {
        at.problem(format!(
            "expected 1 to {MOST} bytes without control characters"
        ));
    }
    Some(text)
}

fn lower_password(
    written: Option<String>,
    user: &UserName,
    allows_md5: bool,
    at: &At<'_>,
) -> Option<StoredPassword> {
    let hint = "add a hash made with `portcullis passwd`";
    let written = at.required("password", written, hint)?;
    let at = at.key("password");
    let password = match StoredPassword::parse(&written) {
        Ok(password) => password,
        Err(error) => {
            at.problem(error.to_string());
            return None;
        }
    };
    if password.is_md5() && !allows_md5 {
        at.problem(
            "MD5 password hashes are only accepted with `unsafe_md5_passwords: true` in the section \
             login; make a new one with `portcullis passwd`",
        );
        return None;
    }
    if password.is_weak() {
        let format = password.format_name();
        at.warn(format!(
            "the {format} hash of {user} is cheap to guess from a stolen copy; \
             make a new one with `portcullis passwd`"
        ));
    }
    Some(password)
}
