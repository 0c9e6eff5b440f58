//! Changing one user in the text of a users file, so that everything else stays as it was written.
//!
//! How the text falls into lines is in `lines`; the file itself is in `users_file`.

use std::collections::HashMap;
use std::ops::Range;

use serde_yaml::{Mapping, Value};

use super::lines::Lines;
use super::{Obstacle, RoleName};
use crate::identity::UserName;
use crate::identity::token::TokenName;

/// A password and roles for a user, who may be new.
pub struct Change<'a> {
    /// Whose.
    pub user: &'a UserName,
    /// Of the password.
    pub hash: &'a str,
    /// Empty: leave the roles as they are.
    pub roles: &'a [RoleName],
}

// === YAML written ===

/// A user as YAML.
#[must_use]
pub fn entry(user: &UserName, hash: &str, roles: &[RoleName]) -> String {
    let lines = entry_lines(0, 2, &Change { user, hash, roles });
    lines.iter().map(|line| format!("{line}\n")).collect()
}

pub(super) fn entry_lines(indent: usize, step: usize, change: &Change<'_>) -> Vec<String> {
    let name = format!("{:indent$}{}:", "", yaml_word(change.user.as_str()));
    [name]
        .into_iter()
        .chain(field_lines(indent + step, change))
        .collect()
}

pub(super) fn field_lines(indent: usize, change: &Change<'_>) -> Vec<String> {
    let mut lines = vec![password_line_of(indent, change)];
    if !change.roles.is_empty() {
        lines.push(roles_line_of(indent, change));
    }
    lines
}

pub(super) fn password_line_of(indent: usize, change: &Change<'_>) -> String {
    format!("{:indent$}password: {}", "", quoted(change.hash))
}

pub(super) fn roles_line_of(indent: usize, change: &Change<'_>) -> String {
    format!("{:indent$}roles: {}", "", flow_list(change.roles))
}

pub(super) fn flow_list(roles: &[RoleName]) -> String {
    let words: Vec<String> = roles.iter().map(|role| yaml_word(&role.0)).collect();
    format!("[{}]", words.join(", "))
}

/// For hashes and names: none of their characters needs an escape between double quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// A name as YAML, quoted where it would read as a number, a truth value or punctuation.
pub(super) fn yaml_word(name: &str) -> String {
    const NO_TEXT: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_text = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && !NO_TEXT.iter().any(|word| name.eq_ignore_ascii_case(word));
    if is_text {
        name.to_owned()
    } else {
        quoted(name)
    }
}

// === Editing the text ===

/// The key that users may be under, as in the main configuration file.
pub(super) const WRAPPER: &str = "users";

pub(super) enum EditError {
    /// Zero-based line, and what is the matter with it.
    Refused(usize, Obstacle),
    NotYaml(serde_yaml::Error),
    NoSuchUser,
    NoSuchToken(TokenName),
    TokenExists(TokenName),
}

/// Where the users are in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Flat,
    Wrapped,
}

/// The text with the change made and every other byte kept.
///
/// The lines are found by simple rules that know less than all of YAML. What makes that safe is the
/// comparison with a real parser: it must see the same keys beforehand, and afterwards the old
/// content with this one change.
pub(super) fn edit(text: &str, change: &Change<'_>) -> Result<String, EditError> {
    let text = UsersText::read(text)?;
    let (lines, users) = (&text.lines, &text.users);
    let Some(entry) = text.entry(change.user) else {
        let end = users.end;
        let new = Splice {
            range: end..end,
            lines: entry_lines(users.indent, users.step, change),
        };
        let key = Value::from(change.user.as_str());
        let expected = with_change(text.content.clone(), users.layout, &key, change);
        return text.spliced(vec![new], end.saturating_sub(1), expected.as_ref());
    };
    let splices = change_user(lines, users, entry, change)?;
    let expected = with_change(text.content.clone(), users.layout, &entry.key, change);
    text.spliced(splices, entry.line, expected.as_ref())
}

/// The text with the user disabled or enabled, and every other byte kept.
pub(super) fn set_disabled(
    text: &str,
    user: &UserName,
    disabled: bool,
) -> Result<String, EditError> {
    let unchanged = text;
    let text = UsersText::read(text)?;
    let entry = text.entry(user).ok_or(EditError::NoSuchUser)?;
    let Some(splice) = disabled_line(&text, entry, disabled)? else {
        return Ok(unchanged.to_owned());
    };
    let mut expected = text.content.clone();
    let fields = users_in(&mut expected, text.users.layout)
        .and_then(|users| filled(users.get_mut(&entry.key)?));
    if let Some(fields) = fields {
        fields.insert("disabled".into(), disabled.into());
    }
    text.spliced(vec![splice], entry.line, Some(&expected))
}

/// What has to be written for it; nothing for a user who is enabled because nothing else is said.
fn disabled_line(
    text: &UsersText<'_>,
    entry: &Entry,
    disabled: bool,
) -> Result<Option<Splice>, EditError> {
    let lines = &text.lines;
    lines.refuse_value(entry, Obstacle::NotAUser)?;
    let body = entry.line + 1..entry.last + 1;
    let first = lines.first_content(body.clone());
    let indent = first.map_or(text.users.indent + text.users.step, |line| {
        lines.indent(line)
    });
    let fields = lines.block(body.clone(), indent)?;
    if let Some(field) = fields.iter().find(|field| field.name == "disabled") {
        return lines.with_value(field, &disabled.to_string()).map(Some);
    }
    Ok(disabled.then(|| Splice {
        range: body.end..body.end,
        lines: vec![format!("{:indent$}disabled: true", "")],
    }))
}

/// The text without the user, and every other line kept: comments before and after, too.
pub(super) fn remove(text: &str, user: &UserName) -> Result<String, EditError> {
    let text = UsersText::read(text)?;
    let entry = text.entry(user).ok_or(EditError::NoSuchUser)?;
    let splice = Splice {
        range: entry.line..entry.last + 1,
        lines: Vec::new(),
    };
    let mut expected = text.content.clone();
    if let Some(users) = users_at(&mut expected, text.users.layout) {
        let left = users.as_mapping_mut().filter(|users| users.len() > 1);
        match left {
            Some(left) => drop(left.shift_remove(&entry.key)),
            // Without any line, there is nothing and not a mapping of nothing.
            None => *users = Value::Null,
        }
    }
    text.spliced(vec![splice], entry.line, Some(&expected))
}

/// The text of a users file, and what a parser sees in it.
pub(super) struct UsersText<'t> {
    pub(super) lines: Lines<'t>,
    pub(super) content: Value,
    pub(super) users: Users,
}

impl<'t> UsersText<'t> {
    pub(super) fn read(text: &'t str) -> Result<Self, EditError> {
        let lines = Lines::split(text)?;
        let content = serde_yaml::from_str(text).map_err(|error| lines.why_invalid(error))?;
        let users = Users::find(&lines, &content)?;
        // The gate would not read the file, and go on with what it has read before.
        if let Some(entry) = users.entries.iter().find(|entry| !entry.key.is_string()) {
            return Err(EditError::Refused(entry.line, Obstacle::NameIsNotText));
        }
        Ok(Self {
            lines,
            content,
            users,
        })
    }

    pub(super) fn entry(&self, user: &UserName) -> Option<&Entry> {
        let entries = &mut self.users.entries.iter();
        entries.find(|entry| entry.name == user.as_str())
    }

    /// The text with these changes around `line`, if a parser sees in it what is expected.
    pub(super) fn spliced(
        &self,
        splices: Vec<Splice>,
        line: usize,
        expected: Option<&Value>,
    ) -> Result<String, EditError> {
        let text = self.lines.spliced(splices);
        match serde_yaml::from_str::<Value>(&text) {
            Ok(new) if Some(&new) == expected => Ok(text),
            _ => Err(EditError::Refused(line, Obstacle::Unclear)),
        }
    }
}

/// The users of a file, by line.
pub(super) struct Users {
    pub(super) layout: Layout,
    pub(super) entries: Vec<Entry>,
    /// Of the names.
    pub(super) indent: usize,
    /// How much deeper the fields of a user are.
    pub(super) step: usize,
    /// Where a new user goes.
    pub(super) end: usize,
}

/// One `key: …` of a block mapping.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) key: Value,
    pub(super) line: usize,
    /// Where the text after the colon begins.
    pub(super) value_at: usize,
    /// The last line that belongs to it, comments not counted.
    pub(super) last: usize,
}

/// Lines that replace those of a range, without their ends.
pub(super) struct Splice {
    pub(super) range: Range<usize>,
    pub(super) lines: Vec<String>,
}

impl Layout {
    /// Wrapped if `users:` holds users; a flat file may well have a user of that name.
    pub(super) fn of(root: &Value) -> Result<Self, Obstacle> {
        match root.get(WRAPPER) {
            Some(users) if !users.is_mapping() && !users.is_null() => Err(Obstacle::NotAUser),
            _ if holds_users(root) => Ok(Self::Wrapped),
            _ => Ok(Self::Flat),
        }
    }
}

/// Whether the users of a file are under a key of their own, rather than one of them being called so.
pub(in crate::config) fn holds_users(root: &Value) -> bool {
    match root.get(WRAPPER) {
        None => false,
        Some(Value::Mapping(users)) => users.values().all(is_user),
        Some(_) => true,
    }
}

pub(super) fn is_user(value: &Value) -> bool {
    value.is_mapping() || value.is_null()
}

pub(super) fn looks_like_user(value: &Value) -> bool {
    match value {
        Value::Mapping(fields) => {
            let mut known = ["password", "roles", "tokens"].into_iter();
            fields.is_empty() || known.any(|key| fields.contains_key(key))
        }
        _ => value.is_null(),
    }
}

impl Users {
    pub(super) fn find(lines: &Lines<'_>, root: &Value) -> Result<Self, EditError> {
        let body = lines.body()?;
        let Some(first) = lines.first_content(body.clone()) else {
            let end = lines.len();
            return Ok(Self {
                layout: Layout::Flat,
                entries: Vec::new(),
                indent: 0,
                step: 2,
                end,
            });
        };
        let indent = lines.indent(first);
        let top = lines.block(body, indent)?;
        agree(&top, root, first)?;
        let wrapper = top.iter().find(|entry| entry.name == WRAPPER);
        let refused =
            |obstacle| EditError::Refused(wrapper.map_or(first, |entry| entry.line), obstacle);
        match (Layout::of(root).map_err(refused)?, wrapper) {
            (Layout::Wrapped, Some(wrapper)) => Self::wrapped(lines, root, indent, wrapper),
            _ => Self::flat(lines, root, indent, top),
        }
    }

    pub(super) fn flat(
        lines: &Lines<'_>,
        root: &Value,
        indent: usize,
        entries: Vec<Entry>,
    ) -> Result<Self, EditError> {
        let users = Self::new(lines, Layout::Flat, indent, entries, lines.len())?;
        // What does not look like a user means that this is some other file.
        let is_stray = |entry: &&Entry| !root.get(&entry.key).is_some_and(looks_like_user);
        match users.entries.iter().find(is_stray) {
            Some(stray) => Err(EditError::Refused(stray.line, Obstacle::NotAUser)),
            None => Ok(users),
        }
    }

    pub(super) fn wrapped(
        lines: &Lines<'_>,
        root: &Value,
        indent: usize,
        wrapper: &Entry,
    ) -> Result<Self, EditError> {
        lines.refuse_value(wrapper, Obstacle::NotAUser)?;
        let range = wrapper.line + 1..wrapper.last + 1;
        let inner = lines
            .first_content(range.clone())
            .map_or(indent + 2, |first| lines.indent(first));
        let entries = lines.block(range, inner)?;
        agree(
            &entries,
            root.get(WRAPPER).unwrap_or(&Value::Null),
            wrapper.line,
        )?;
        // Comments as deep as the users still belong to them.
        let comments = (wrapper.last + 1..lines.len())
            .take_while(|line| lines.is_comment(*line) && lines.indent(*line) >= inner)
            .count();
        Self::new(
            lines,
            Layout::Wrapped,
            inner,
            entries,
            wrapper.last + 1 + comments,
        )
    }

    pub(super) fn new(
        lines: &Lines<'_>,
        layout: Layout,
        indent: usize,
        entries: Vec<Entry>,
        end: usize,
    ) -> Result<Self, EditError> {
        for line in entries.iter().flat_map(|entry| entry.line..=entry.last) {
            if lines.has_anchor(line) {
                return Err(EditError::Refused(line, Obstacle::Anchor));
            }
        }
        let fields = |entry: &Entry| lines.first_content(entry.line + 1..entry.last + 1);
        let step = entries
            .iter()
            .find_map(fields)
            .map(|line| lines.indent(line).saturating_sub(indent));
        Ok(Self {
            layout,
            entries,
            indent,
            step: step.filter(|step| *step > 0).unwrap_or(2),
            end,
        })
    }
}

/// Whether the lines were read as YAML reads them: the same keys in the same order.
pub(super) fn agree(entries: &[Entry], value: &Value, line: usize) -> Result<(), EditError> {
    let no_keys = Mapping::new();
    let keys = match value {
        Value::Mapping(mapping) => mapping.keys(),
        _ => no_keys.keys(),
    };
    if keys.eq(entries.iter().map(|entry| &entry.key)) {
        return Ok(());
    }
    Err(EditError::Refused(line, Obstacle::Unclear))
}

pub(super) fn change_user(
    lines: &Lines<'_>,
    users: &Users,
    entry: &Entry,
    change: &Change<'_>,
) -> Result<Vec<Splice>, EditError> {
    lines.refuse_value(entry, Obstacle::NotAUser)?;
    let body = entry.line + 1..entry.last + 1;
    let below = |lines| Splice {
        range: body.start..body.start,
        lines,
    };
    let Some(first) = lines.first_content(body.clone()) else {
        return Ok(vec![below(field_lines(users.indent + users.step, change))]);
    };
    let indent = lines.indent(first);
    let fields: HashMap<String, Entry> = lines
        .block(body.clone(), indent)?
        .into_iter()
        .map(|field| (field.name.clone(), field))
        .collect();
    let password = match fields.get("password") {
        Some(field) => lines.with_value(field, &quoted(change.hash))?,
        None => below(vec![password_line_of(indent, change)]),
    };
    let after_password = password.range.end;
    let roles = match fields.get("roles") {
        _ if change.roles.is_empty() => None,
        Some(field) if field.last > field.line => Some(change_role_items(lines, field, change)?),
        Some(field) => Some(lines.with_value(field, &flow_list(change.roles))?),
        None => Some(Splice {
            range: after_password..after_password,
            lines: vec![roles_line_of(indent, change)],
        }),
    };
    Ok([password].into_iter().chain(roles).collect())
}

/// Changes a list with one role a line. A role that stays keeps its line and with it the comment
/// there; lines with nothing but a comment stay where they are.
pub(super) fn change_role_items(
    lines: &Lines<'_>,
    field: &Entry,
    change: &Change<'_>,
) -> Result<Splice, EditError> {
    lines.refuse_value(field, Obstacle::NotOneLine)?;
    let range = field.line + 1..field.last + 1;
    let mut old = HashMap::new();
    for line in range.clone().filter(|line| lines.is_content(*line)) {
        let role = lines
            .item(line)
            .ok_or(EditError::Refused(line, Obstacle::NotOneLine))?;
        old.insert(role, lines.text(line));
    }
    let indent = lines
        .first_content(range.clone())
        .map_or(0, |line| lines.indent(line));
    let mut wanted = change.roles.iter().map(|role| match old.get(&role.0) {
        Some(line) => (*line).to_owned(),
        None => format!("{:indent$}- {}", "", yaml_word(&role.0)),
    });
    let mut list = Vec::new();
    for line in range.clone() {
        if lines.is_content(line) {
            list.extend(wanted.next());
        } else {
            list.push(lines.text(line).to_owned());
        }
    }
    list.extend(wanted);
    Ok(Splice { range, lines: list })
}

/// The content that the file must have afterwards.
pub(super) fn with_change(
    mut root: Value,
    layout: Layout,
    key: &Value,
    change: &Change<'_>,
) -> Option<Value> {
    let users = users_in(&mut root, layout)?;
    let user = filled(users.entry(key.clone()).or_insert(Value::Null))?;
    user.insert("password".into(), change.hash.into());
    if !change.roles.is_empty() {
        let roles = change.roles.iter().map(|role| Value::from(role.0.as_str()));
        user.insert("roles".into(), Value::Sequence(roles.collect()));
    }
    Some(root)
}

/// Where the users are.
pub(super) fn users_at(root: &mut Value, layout: Layout) -> Option<&mut Value> {
    match layout {
        Layout::Flat => Some(root),
        Layout::Wrapped => root.get_mut(WRAPPER),
    }
}

pub(super) fn users_in(root: &mut Value, layout: Layout) -> Option<&mut Mapping> {
    filled(users_at(root, layout)?)
}

/// The mapping in `value`, which may be empty.
pub(super) fn filled(value: &mut Value) -> Option<&mut Mapping> {
    if value.is_null() {
        *value = Value::Mapping(Mapping::new());
    }
    value.as_mapping_mut()
}

/// A key as text: YAML reads a user called 123 as a number.
pub(super) fn key_text(key: &Value) -> String {
    match key {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        _ => String::new(),
    }
}
