//! From a file to YAML data: the text, its variables and its merge keys. What kinds of values make
//! sense where is for `shape` to say.

use std::fs::Metadata;
use std::io::{self, Read as _};
use std::path::Path;

use serde_yaml::{Mapping, Value};

use super::document::{At, Document};
use super::expand::{Expanded, expand};
use super::locate::{KeyPath, Position, Positions};
use super::problem::Problem;
use super::shape::refused_value;
use crate::tls::files;

/// The largest file read, in bytes. Ten thousand users fit in half of it.
const MAX_BYTES: u64 = 4 << 20;

/// Reads a file whole.
///
/// # Errors
/// Why it cannot be read, is too large, or is no text.
pub fn read_text(file: &Path) -> Result<String, Problem> {
    let problem = |message: String| Problem {
        file: file.into(),
        position: None,
        path: String::new(),
        message,
    };
    let (bytes, _) = read_bytes(file).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => problem(error.to_string()),
        _ => problem(format!("cannot be read: {error}")),
    })?;
    String::from_utf8(bytes).map_err(|_| problem("not a text in UTF-8".into()))
}

/// The same, whatever is in it.
///
/// # Errors
/// Why it cannot be read, or that it is too large. What is no regular file is not waited for.
pub fn read_bytes(file: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    let (file, metadata) = files::open(file)?;
    let mut bytes = Vec::new();
    // One byte more than allowed, to see that there is more.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("larger than {} MiB", MAX_BYTES >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok((bytes, metadata))
}

/// The largest text read that could not be held to the limits on nesting and aliases, in bytes.
/// The YAML library takes the square of the depth in time, which within this is a second.
const MAX_UNSCANNED: usize = 64 << 10;

/// A source of environment variables.
pub type Variables<'v> = &'v dyn Fn(&str) -> Option<String>;

/// Reads `text` as YAML, expands variables and merge keys, and notes what no configuration may
/// hold. What is refused stays in the value as a marker that reads as absent.
///
/// # Errors
/// The one problem with a text that is no YAML, or too large a structure.
pub fn read_yaml(
    text: &str,
    file: &Path,
    variables: Variables<'_>,
) -> Result<(Document, Value), Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let problem = |position, path: String, message: String| Problem {
        file: file.into(),
        position,
        path,
        message,
    };
    let positions = Positions::scan(text)
        .map_err(|excess| problem(Some(excess.position()), String::new(), excess.to_string()))?;
    if let Some((path, position, message)) = why_not_read(&positions, text) {
        return Err(problem(Some(position), path.to_string(), message));
    }
    let mut value = serde_yaml::from_str(text).map_err(|error| {
        let (position, message) = words_for_syntax(&error);
        let hint = position.map_or_else(String::new, |position| hint(text, position));
        problem(position, String::new(), message + &hint)
    })?;
    let document = Document::new(file, positions);
    settle(&mut value, &document.root(), variables);
    Ok((document, value))
}

/// What the scan has found already.
fn why_not_read(positions: &Positions, text: &str) -> Option<(KeyPath, Position, String)> {
    if let Some((position, message)) = positions.broken()
        && (text.len() > MAX_UNSCANNED || text.contains('&'))
    {
        let hint = hint(text, *position);
        let message = format!("not readable as YAML: {message}{hint}");
        return Some((KeyPath::default(), *position, message));
    }
    if let Some(position) = positions.second_document() {
        let message = "a second document begins here; take out this line and what follows";
        return Some((KeyPath::default(), position, message.into()));
    }
    let (path, position) = positions.duplicate()?.clone();
    let message = "written twice; each key may be there once".into();
    Some((path, position, message))
}

fn words_for_syntax(error: &serde_yaml::Error) -> (Option<Position>, String) {
    let position = error.location().map(|location| Position {
        line: location.line(),
        column: location.column(),
    });
    let message = error.to_string();
    // The place is told by the problem.
    let message = match message.split_once(" at line ") {
        Some((message, _)) => message,
        None => &message,
    };
    (position, format!("not readable as YAML: {message}"))
}

/// What most likely is wrong in the line where YAML broke off, where that is clear.
fn hint(text: &str, position: Position) -> String {
    let line = text.lines().nth(position.line.saturating_sub(1));
    let line = line.unwrap_or_default();
    let indentation = line.trim_start();
    if line[..line.len() - indentation.len()].contains('\t') {
        return "; this line begins with a tab, where YAML takes spaces only".into();
    }
    let starts = line.match_indices("${").map(|(at, _)| at);
    let mut bare = starts.filter(|at| line[..*at].matches(['"', '\'']).count().is_multiple_of(2));
    let variable = bare.find_map(|at| {
        let end = at + line[at..].find('}')? + 1;
        Some(&line[at..end])
    });
    variable.map_or_else(String::new, |variable| {
        format!("; between {{}} or [] put variables in quotes, as \"{variable}\"")
    })
}

// === Variables, merge keys, and what may not be there ===

fn settle(value: &mut Value, at: &At<'_>, variables: Variables<'_>) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => {
            if !expand_in_place(text, at, variables) {
                *value = refused_value();
            }
        }
        Value::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                settle(item, &at.item(index), variables);
            }
        }
        Value::Mapping(mapping) => {
            remove_keys_that_are_no_text(mapping, at);
            for (key, value) in mapping.iter_mut() {
                settle(value, &at.key(key.as_str().unwrap_or_default()), variables);
            }
            merge(mapping, at);
        }
        Value::Tagged(tagged) => {
            at.problem(format!(
                "the tag {} means nothing here; take it out",
                at.quoted(&tagged.tag.to_string())
            ));
            at.refuse();
            *value = refused_value();
        }
    }
}

/// Returns `false` for a text that cannot be expanded.
fn expand_in_place(text: &mut String, at: &At<'_>, variables: Variables<'_>) -> bool {
    match expand(text, variables) {
        Ok(Expanded::Unchanged) => true,
        Ok(Expanded::Public(expanded)) => {
            // An empty text that nobody wrote as such is told apart from one that was meant.
            if expanded.is_empty() {
                at.keep_private(&expanded, text.clone());
            }
            *text = expanded;
            true
        }
        Ok(Expanded::Private(expanded)) => {
            at.keep_private(&expanded, text.clone());
            *text = expanded;
            true
        }
        Err(error) => {
            at.problem(error.to_string());
            at.refuse();
            false
        }
    }
}

fn remove_keys_that_are_no_text(mapping: &mut Mapping, at: &At<'_>) {
    mapping.retain(|key, _| {
        let written = match key {
            Value::String(_) => return true,
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => number.to_string(),
            _ => {
                at.problem("a key is not text");
                return false;
            }
        };
        let message = format!("a key must be text; write it in quotes, as \"{written}\"");
        at.key(&written).key_problem(message);
        false
    });
}

/// Puts the mappings under `<<` into the one that holds it, whose own keys win.
fn merge(mapping: &mut Mapping, at: &At<'_>) {
    let Some(merged) = mapping.shift_remove("<<") else {
        return;
    };
    let sources = match merged {
        Value::Sequence(sources) => sources,
        single => vec![single],
    };
    for source in sources {
        match source {
            Value::Mapping(source) => {
                for (key, value) in source {
                    mapping.entry(key).or_insert(value);
                }
            }
            _ => at
                .key("<<")
                .problem("expected a mapping to merge, like *name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_or_device_in_the_place_of_a_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for path in [&*pipe, folder.path(), Path::new("/dev/zero")] {
            let problem = read_text(path).unwrap_err();
            assert_eq!(problem.message, "cannot be read: not a regular file");
        }
    }

    #[test]
    fn a_file_has_an_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MAX_BYTES).unwrap();
        assert!(read_text(file.path()).is_ok());
        file.as_file().set_len(MAX_BYTES + 1).unwrap();
        let problem = read_text(file.path()).unwrap_err();
        assert_eq!(problem.message, "larger than 4 MiB");
    }
}
