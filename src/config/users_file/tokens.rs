//! Adding a token to a user in the text of a users file, taking one away, and reading which there
//! are. Everything else stays as it was written, as in `edit`.

use std::str::FromStr;

use serde_yaml::Value;

use super::edit::{
    EditError, Entry, Layout, Splice, UsersText, filled, flow_list, key_text, quoted, users_at,
    users_in, yaml_word,
};
use super::{Obstacle, RoleName};
use crate::identity::UserName;
use crate::identity::token::TokenName;

/// The key that the tokens of a user are under.
const TOKENS: &str = "tokens";

/// A token for a user.
pub struct TokenEntry<'a> {
    /// What it is called.
    pub name: &'a TokenName,
    /// What it is known by, as it is stored.
    pub hash: &'a str,
    /// What it may be used for; empty: all that the user may do.
    pub abilities: &'a [AbilityName],
    /// When it was made.
    pub created: &'a str,
    /// From when on it is good for nothing.
    pub expires: Option<&'a str>,
}

/// The name of an ability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbilityName(String);

/// An ability whose name would have to be written with more care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of an ability has characters from A-Z a-z 0-9 . _ : / - only")]
pub struct InvalidAbilityName;

impl FromStr for AbilityName {
    type Err = InvalidAbilityName;

    fn from_str(name: &str) -> Result<Self, InvalidAbilityName> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
        if name.is_empty() || !name.bytes().all(fits) {
            return Err(InvalidAbilityName);
        }
        Ok(Self(name.to_owned()))
    }
}

/// A token as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedToken {
    /// Whose.
    pub user: String,
    /// What it is called.
    pub name: String,
    /// What it may be used for; `None`: all that the user may do.
    pub abilities: Option<Vec<String>>,
    /// When it was made.
    pub created: Option<String>,
    /// From when on it is good for nothing.
    pub expires: Option<String>,
}

// === YAML written ===

/// A user who has nothing but this token, as YAML.
#[must_use]
pub fn entry(user: &UserName, roles: &[RoleName], token: &TokenEntry<'_>) -> String {
    let lines = user_lines(0, 2, user, roles, token);
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn user_lines(
    indent: usize,
    step: usize,
    user: &UserName,
    roles: &[RoleName],
    token: &TokenEntry<'_>,
) -> Vec<String> {
    let inner = indent + step;
    let mut lines = vec![format!("{:indent$}{}:", "", yaml_word(user.as_str()))];
    if !roles.is_empty() {
        lines.push(format!("{:inner$}roles: {}", "", flow_list(roles)));
    }
    lines.push(format!("{:inner$}{TOKENS}:", ""));
    lines.extend(token_lines(inner + step, step, token));
    lines
}

fn token_lines(indent: usize, step: usize, token: &TokenEntry<'_>) -> Vec<String> {
    let name = yaml_word(token.name.as_str());
    let field = |key: &str, value: &str| format!("{:1$}{key}: {value}", "", indent + step);
    let abilities: Vec<String> = token.abilities.iter().map(|it| quoted(&it.0)).collect();
    let abilities = (!abilities.is_empty()).then(|| format!("[{}]", abilities.join(", ")));
    [
        Some(format!("{:indent$}{name}:", "")),
        Some(field("hash", &quoted(token.hash))),
        abilities.map(|it| field("abilities", &it)),
        Some(field("created", &quoted(token.created))),
        token.expires.map(|it| field("expires", &quoted(it))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn token_value(token: &TokenEntry<'_>) -> Value {
    let mut fields = serde_yaml::Mapping::new();
    fields.insert("hash".into(), token.hash.into());
    if !token.abilities.is_empty() {
        let names = token.abilities.iter().map(|it| Value::from(it.0.as_str()));
        fields.insert("abilities".into(), Value::Sequence(names.collect()));
    }
    fields.insert("created".into(), token.created.into());
    if let Some(expires) = token.expires {
        fields.insert("expires".into(), expires.into());
    }
    fields.into()
}

// === Editing the text ===

/// The text with one more token. A user who is not there is made where `roles` are given.
pub(super) fn add(
    text: &str,
    user: &UserName,
    roles: &[RoleName],
    token: &TokenEntry<'_>,
) -> Result<String, EditError> {
    let text = UsersText::read(text)?;
    let (key, splice, line) = match text.entry(user) {
        Some(entry) => (
            entry.key.clone(),
            added_line(&text, entry, token)?,
            entry.line,
        ),
        None if roles.is_empty() => return Err(EditError::NoSuchUser),
        None => {
            let (indent, step, end) = (text.users.indent, text.users.step, text.users.end);
            let splice = Splice {
                range: end..end,
                lines: user_lines(indent, step, user, roles, token),
            };
            (user.as_str().into(), splice, end.saturating_sub(1))
        }
    };
    let is_new = text.entry(user).is_none();
    let mut expected = text.content.clone();
    let fields = users_in(&mut expected, text.users.layout)
        .and_then(|users| filled(users.entry(key).or_insert(Value::Null)));
    if let Some(fields) = fields {
        if is_new {
            let names = roles.iter().map(|role| Value::from(role.0.as_str()));
            fields.insert("roles".into(), Value::Sequence(names.collect()));
        }
        let tokens = fields.entry(TOKENS.into()).or_insert(Value::Null);
        if let Some(tokens) = filled(tokens) {
            tokens.insert(token.name.as_str().into(), token_value(token));
        }
    }
    text.spliced(vec![splice], line, Some(&expected))
}

/// Where a token goes with a user who is there.
fn added_line(
    text: &UsersText<'_>,
    entry: &Entry,
    token: &TokenEntry<'_>,
) -> Result<Splice, EditError> {
    let (lines, step) = (&text.lines, text.users.step);
    let (indent, tokens) = tokens_of(text, entry)?;
    let Some(tokens) = tokens else {
        let end = entry.last + 1;
        let mut new = vec![format!("{:indent$}{TOKENS}:", "")];
        new.extend(token_lines(indent + step, step, token));
        return Ok(Splice {
            range: end..end,
            lines: new,
        });
    };
    let Some(first) = lines.first_content(tokens.line + 1..tokens.last + 1) else {
        let mut new = vec![without_value(text, &tokens)?];
        new.extend(token_lines(indent + step, step, token));
        return Ok(Splice {
            range: tokens.line..tokens.line + 1,
            lines: new,
        });
    };
    let indent = lines.indent(first);
    let known = all_of(text, &tokens)?;
    if known.iter().any(|it| it.name == token.name.as_str()) {
        return Err(EditError::TokenExists(token.name.clone()));
    }
    let end = tokens.last + 1;
    Ok(Splice {
        range: end..end,
        lines: token_lines(indent, step, token),
    })
}

/// The text without the token, and every other line kept. A user whose last one is taken away stays
/// somebody for tokens, who needs no password.
pub(super) fn revoke(text: &str, user: &UserName, token: &TokenName) -> Result<String, EditError> {
    let text = UsersText::read(text)?;
    let entry = text.entry(user).ok_or(EditError::NoSuchUser)?;
    let no_such_token = || EditError::NoSuchToken(token.clone());
    let (indent, tokens) = tokens_of(&text, entry)?;
    let tokens = tokens.ok_or_else(no_such_token)?;
    let known = all_of(&text, &tokens)?;
    let named = known.iter().find(|it| it.name == token.as_str());
    let named = named.ok_or_else(no_such_token)?;
    let mut splices = vec![Splice {
        range: named.line..named.last + 1,
        lines: Vec::new(),
    }];
    if known.len() == 1 {
        let comment = comment_of(&text, &tokens);
        splices.push(Splice {
            range: tokens.line..tokens.line + 1,
            lines: vec![format!("{:indent$}{TOKENS}: {{}}{comment}", "")],
        });
    }
    let mut expected = text.content.clone();
    let left = users_in(&mut expected, text.users.layout)
        .and_then(|users| users.get_mut(&entry.key)?.get_mut(TOKENS)?.as_mapping_mut());
    if let Some(left) = left {
        left.shift_remove(&named.key);
    }
    text.spliced(splices, named.line, Some(&expected))
}

/// How deep the fields of a user are, and the one with their tokens.
fn tokens_of(text: &UsersText<'_>, entry: &Entry) -> Result<(usize, Option<Entry>), EditError> {
    let lines = &text.lines;
    lines.refuse_value(entry, Obstacle::NotAUser)?;
    let body = entry.line + 1..entry.last + 1;
    let Some(first) = lines.first_content(body.clone()) else {
        return Ok((text.users.indent + text.users.step, None));
    };
    let indent = lines.indent(first);
    let fields = lines.block(body, indent)?;
    Ok((indent, fields.into_iter().find(|it| it.name == TOKENS)))
}

/// The tokens of a user by line.
fn all_of(text: &UsersText<'_>, tokens: &Entry) -> Result<Vec<Entry>, EditError> {
    let lines = &text.lines;
    let body = tokens.line + 1..tokens.last + 1;
    let Some(first) = lines.first_content(body.clone()) else {
        without_value(text, tokens)?;
        return Ok(Vec::new());
    };
    lines.refuse_value(tokens, Obstacle::NotOneLine)?;
    lines.block(body, lines.indent(first))
}

/// The line of a key that has no tokens below it, ready for the first.
fn without_value(text: &UsersText<'_>, tokens: &Entry) -> Result<String, EditError> {
    let (key, after) = text.lines.text(tokens.line).split_at(tokens.value_at);
    let comment = comment_of(text, tokens);
    match after[..after.len() - comment.len()].trim() {
        "" | "{}" => Ok(format!("{key}{comment}")),
        flow if flow.starts_with('{') => Err(EditError::Refused(tokens.line, Obstacle::FlowStyle)),
        _ => Err(EditError::Refused(tokens.line, Obstacle::NotOneLine)),
    }
}

/// What is said behind the value on the line of a key, with the space before it.
fn comment_of<'t>(text: &UsersText<'t>, entry: &Entry) -> &'t str {
    let after = &text.lines.text(entry.line)[entry.value_at..];
    after.find(" #").map_or("", |at| &after[at..])
}

// === Reading ===

/// The tokens in the content of a users file, in its order.
pub(super) fn listed(mut root: Value) -> Result<Vec<ListedToken>, Obstacle> {
    let layout = Layout::of(&root)?;
    let users = users_at(&mut root, layout).and_then(|users| users.as_mapping());
    let mut found = Vec::new();
    for (user, fields) in users.into_iter().flatten() {
        let tokens = fields.get(TOKENS).and_then(Value::as_mapping);
        for (name, token) in tokens.into_iter().flatten() {
            let text = |key| token.get(key).and_then(Value::as_str).map(str::to_owned);
            found.push(ListedToken {
                user: key_text(user),
                name: key_text(name),
                abilities: token.get("abilities").map(words),
                created: text("created"),
                expires: text("expires"),
            });
        }
    }
    Ok(found)
}

/// A word, or a list of words.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Sequence(items) => items.iter().map(key_text).collect(),
        one => vec![key_text(one)],
    }
}
