//! From text to the mirror structs: YAML, then variables and merge keys, then the shape.
//!
//! The reader of typed data stops at the first mistake. Here each mistake is recorded and cut out
//! of the data, and the reader is asked again, until nothing is left that it refuses.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_path_to_error::{Path as SerdePath, Segment};
use serde_yaml::value::{Tag, TaggedValue};
use serde_yaml::{Mapping, Value};

use super::document::{At, Document};
use super::expand::{Expanded, expand};
use super::locate::{KeyPath, Position, Positions, Step};
use super::problem::{Problem, closest};

/// The most mistakes in the shape of one file that are reported at once.
const MAX_MISTAKES: usize = 200;

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
    let mut bytes = Vec::new();
    File::open(file)
        // One byte more than allowed, to see that there is more.
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| problem(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(problem(format!("larger than {} MiB", MAX_BYTES >> 20)));
    }
    String::from_utf8(bytes).map_err(|_| problem("not a text in UTF-8".into()))
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
    if let Some((position, message)) = positions.broken()
        && (text.len() > MAX_UNSCANNED || text.contains('&'))
    {
        let message = format!("not readable as YAML: {message}");
        return Err(problem(Some(*position), String::new(), message));
    }
    if let Some((path, position)) = positions.duplicate() {
        let message = "written twice; each key may be there once".into();
        return Err(problem(Some(*position), path.to_string(), message));
    }
    let mut value = serde_yaml::from_str(text).map_err(|error| {
        let (position, message) = words_for_syntax(&error);
        problem(position, String::new(), message)
    })?;
    let document = Document::new(file, positions);
    settle(&mut value, &document.root(), variables);
    Ok((document, value))
}

fn words_for_syntax(error: &serde_yaml::Error) -> (Option<Position>, String) {
    let position = error.location().map(|location| Position {
        line: location.line(),
        column: location.column(),
    });
    let message = error.to_string();
    // The place is told by the problem; and the words of the library are its own.
    let message = match message.split_once(" at line ") {
        Some((message, _)) => message,
        None => &message,
    };
    let message = match message {
        "EOF while parsing a value" => "the file is empty",
        message if message.contains("more than one document") => {
            "one document only: take out the line \"---\" and what follows it"
        }
        message => message,
    };
    (position, format!("not readable as YAML: {message}"))
}

// === Variables, merge keys, and what may not be there ===

/// What a refused value becomes: read as if it was not there. A text cannot be it, since tags are
/// themselves refused.
fn refused_value() -> Value {
    Value::Tagged(Box::new(TaggedValue {
        tag: Tag::new("refused"),
        value: Value::Null,
    }))
}

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
                tagged.tag
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

// === The shape ===

/// Reads `value` as a `T`, recording every unknown key and every value of the wrong kind. When
/// nothing can be made of it, the whole place is refused and the default returned.
pub fn fit<T: DeserializeOwned + Default>(value: &mut Value, at: &At<'_>) -> T {
    for _ in 0..MAX_MISTAKES {
        let error = match serde_path_to_error::deserialize(Node(value)) {
            Ok(fitted) => return fitted,
            Err(error) => error,
        };
        let path = key_path(error.path()).unwrap_or_default();
        let place = at.go(at
            .path()
            .steps()
            .iter()
            .chain(path.steps())
            .cloned()
            .collect());
        let misfit = error.inner();
        misfit.report(node_at(value, &path).unwrap_or(value), &place);
        if !cut_out(value, &path, misfit) {
            at.refuse();
            return T::default();
        }
    }
    at.problem(format!(
        "there are more than {MAX_MISTAKES} mistakes; the rest is not shown"
    ));
    at.refuse();
    T::default()
}

/// Why a value does not fit.
#[derive(Debug)]
enum Misfit {
    /// A key that is not one of these.
    UnknownKey(&'static [&'static str]),
    /// Something else than this.
    Expected(String),
}

impl Misfit {
    fn report(&self, found: &Value, at: &At<'_>) {
        match self {
            Self::UnknownKey(known) => report_unknown_key(known, at),
            Self::Expected(expected) => {
                at.problem(expectation(expected, found, at));
                at.refuse();
            }
        }
    }
}

fn report_unknown_key(known: &[&str], at: &At<'_>) {
    let written = at.path().last_key().unwrap_or_default();
    let Some(meant) = closest(written, known.iter().copied()) else {
        let allowed = known.join(", ");
        return at.key_problem(format!("unknown key; allowed here: {allowed}"));
    };
    at.key_problem(format!("unknown key; did you mean {meant:?}?"));
    // What was meant is not missing, only misspelt.
    let (_, parent) = at
        .path()
        .steps()
        .split_last()
        .unwrap_or((&Step::Item(0), &[]));
    let meant = Step::Key(meant.into());
    at.go(parent.iter().cloned().chain([meant]).collect())
        .refuse();
}

fn expectation(expected: &str, found: &Value, at: &At<'_>) -> String {
    let (expected, hint) = match (expected, found) {
        ("a string", Value::Bool(_) | Value::Number(_)) => ("text", "; put it in quotes"),
        ("a string", _) => ("text", ""),
        _ => (expected, ""),
    };
    let found = match found {
        Value::Null => "nothing".into(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) if is_secret(at) => {
            "something else".into()
        }
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => at.quoted(text),
        Value::Sequence(_) => "the list […]".into(),
        Value::Mapping(_) | Value::Tagged(_) => "the mapping {…}".to_owned(),
    };
    format!("expected {expected}, got {found}{hint}")
}

fn is_secret(at: &At<'_>) -> bool {
    at.path().last_key() == Some("password")
}

fn key_path(path: &SerdePath) -> Option<KeyPath> {
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(Step::Item(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    };
    path.iter().map(step).collect()
}

fn node_at<'v>(value: &'v Value, path: &KeyPath) -> Option<&'v Value> {
    path.steps()
        .iter()
        .try_fold(value, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Item(index) => value.get(index),
        })
}

/// Takes what does not fit out of `value`: an unknown key altogether, a wrong value by marking it,
/// so that the other items of its list keep their numbers. `false` at the top, where nothing would
/// be left.
fn cut_out(value: &mut Value, path: &KeyPath, misfit: &Misfit) -> bool {
    let Some((last, parents)) = path.steps().split_last() else {
        return false;
    };
    let parent = parents.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Item(index) => value.get_mut(index),
    });
    match (last, misfit, parent) {
        (Step::Key(key), Misfit::UnknownKey(_), Some(Value::Mapping(parent))) => {
            parent.shift_remove(key).is_some()
        }
        (Step::Key(key), _, Some(parent)) => mark_refused(parent.get_mut(key)),
        (Step::Item(index), _, Some(parent)) => mark_refused(parent.get_mut(index)),
        (_, _, None) => false,
    }
}

fn mark_refused(value: Option<&mut Value>) -> bool {
    value.is_some_and(|value| {
        *value = refused_value();
        true
    })
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey(_) => f.write_str("unknown key"),
            Self::Expected(expected) => write!(f, "expected {expected}"),
        }
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(expected: T) -> Self {
        Self::Expected(expected.to_string())
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::Expected(expected.to_string())
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::Expected(expected.to_string())
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownKey(known)
    }
}

/// A YAML value as typed data is read from it, with errors that can be put in words. In three
/// things it differs from the YAML library's own reader: a section with nothing in it is an empty
/// section, any other value with nothing in it is a mistake rather than absent, and a list is no
/// section.
#[derive(Clone, Copy)]
struct Node<'v>(&'v Value);

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Null | Value::Tagged(_) => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Sequence(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.iter().map(Node)))
            }
            Value::Mapping(mapping) => {
                let entry = |(key, value): (&'de Value, _)| Some((key.as_str()?, Node(value)));
                visitor.visit_map(MapDeserializer::new(mapping.iter().filter_map(entry)))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Tagged(_) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Mapping(_) => self.deserialize_any(visitor),
            Value::Null => {
                let nothing = std::iter::empty::<(&str, Self)>();
                visitor.visit_map(MapDeserializer::new(nothing))
            }
            _ => Err(de::Error::invalid_type(de::Unexpected::Unit, &visitor)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Misfit> for Node<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
