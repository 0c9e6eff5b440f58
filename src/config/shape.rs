//! From YAML data to the mirror structs, with every unknown key and every value of the wrong kind
//! put in words.
//!
//! The reader of typed data stops at the first mistake. Here each mistake is recorded and cut out
//! of the data, and the reader is asked again, until nothing is left that it refuses.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_path_to_error::{Path as SerdePath, Segment};
use serde_yaml::Value;
use serde_yaml::value::{Tag, TaggedValue};

use super::document::At;
use super::locate::{KeyPath, Step};
use super::problem::closest;

/// The most mistakes in the shape of one file that are reported at once.
const MAX_MISTAKES: usize = 200;

/// Reads `value`, a whole document, as a `T`, recording every unknown key and every value of the
/// wrong kind. When nothing can be made of it, all of it is refused and the default returned.
pub fn fit<T: DeserializeOwned + Default>(value: &mut Value, top: &At<'_>) -> T {
    for _ in 0..MAX_MISTAKES {
        let error = match serde_path_to_error::deserialize(Node(value)) {
            Ok(fitted) => return fitted,
            Err(error) => error,
        };
        let path = key_path(error.path()).unwrap_or_default();
        let misfit = error.inner();
        let found = node_at(value, &path).unwrap_or(value);
        misfit.report(found, &top.go(path.clone()));
        if !cut_out(value, &path, misfit) {
            top.refuse();
            return T::default();
        }
    }
    top.problem(format!(
        "there are more than {MAX_MISTAKES} mistakes; the rest is not shown"
    ));
    top.refuse();
    T::default()
}

/// What a refused value becomes: read as if it was not there. A text cannot be it, since tags are
/// themselves refused.
pub(super) fn refused_value() -> Value {
    Value::Tagged(Box::new(TaggedValue {
        tag: Tag::new("refused"),
        value: Value::Null,
    }))
}

/// Why a value does not fit.
#[derive(Debug)]
enum Misfit {
    /// A key that is not one of these.
    UnknownKey(&'static [&'static str]),
    /// A kind of value where this was expected.
    WrongKind(String),
    /// The right kind, but nothing that stands for this.
    WrongValue(String),
}

impl Misfit {
    fn report(&self, found: &Value, at: &At<'_>) {
        match self {
            Self::UnknownKey(known) => report_unknown_key(known, at),
            Self::WrongKind(expected) => {
                let (expected, hint) = match (expected.as_str(), found) {
                    ("a string", Value::Bool(_) | Value::Number(_)) => {
                        ("text", "; put it in quotes")
                    }
                    ("a string", _) => ("text", ""),
                    // In lists of names quotes would only lead to the next mistake, but for numbers.
                    ("a word or a list of words", Value::Bool(_)) if is_field(at) => {
                        (expected.as_str(), "; put it in quotes")
                    }
                    ("a word or a list of words", Value::Number(_)) => {
                        (expected.as_str(), "; put it in quotes")
                    }
                    (expected, _) => (expected, ""),
                };
                at.problem(format!(
                    "expected {expected}, got {}{hint}",
                    kind(found, at)
                ));
                at.refuse();
            }
            Self::WrongValue(expected) => {
                let found = found
                    .as_str()
                    .map_or_else(|| kind(found, at), |text| at.quoted(text));
                at.problem(format!("expected {expected}, got {found}"));
                at.refuse();
            }
        }
    }
}

/// What others call what we have, and we call it.
const SYNONYMS: [(&str, &[&str]); 16] = [
    ("insecure", &["unsafe_skip_verify"]),
    ("insecure_skip_verify", &["unsafe_skip_verify"]),
    ("skip_verify", &["unsafe_skip_verify"]),
    ("verify", &["unsafe_skip_verify"]),
    ("sni", &["server_name"]),
    ("server", &["url", "upstream"]),
    ("servers", &["urls"]),
    ("path", &["match"]),
    ("prefix", &["match"]),
    ("location", &["match"]),
    ("backend", &["upstream"]),
    ("hosts", &["host"]),
    ("headers", &["request_headers", "response_headers"]),
    ("roles", &["can"]),
    ("ability", &["can"]),
    ("abilities", &["can"]),
];

fn report_unknown_key(known: &[&str], at: &At<'_>) {
    let written = at.path().last_key().unwrap_or_default();
    let Some((_, parent)) = at.path().steps().split_last() else {
        return;
    };
    let beside = |key: &str| {
        let key = Step::Key(key.into());
        at.go(parent.iter().cloned().chain([key]).collect())
    };
    if known == ["basic", "digest"] && ["username", "user", "password"].contains(&written) {
        let at = at.go(parent.iter().cloned().collect());
        at.problem("say how, as basic: {username: …, password: …} or digest: {…}");
        return at.refuse();
    }
    let is_same = |(other, _): &&(&str, &[&str])| *other == written;
    let synonyms = SYNONYMS
        .iter()
        .find(is_same)
        .map_or(&[][..], |(_, ours)| ours);
    let mut meant: Vec<&str> = synonyms.to_vec();
    meant.retain(|key| known.contains(key));
    if meant.is_empty() {
        meant.extend(closest(written, known.iter().copied()));
    }
    if meant.is_empty() {
        let allowed = known.join(", ");
        return at.key_problem(format!("unknown key; allowed here: {allowed}"));
    }
    let quoted: Vec<_> = meant.iter().map(|key| format!("{key:?}")).collect();
    let quoted = quoted.join(" or ");
    at.key_problem(format!("unknown key; did you mean {quoted}?"));
    // What was meant is not missing, only misspelt.
    meant.iter().for_each(|key| beside(key).refuse());
}

/// Whether it is the value of a header field.
fn is_field(at: &At<'_>) -> bool {
    let parent = at.path().steps().iter().rev().nth(1);
    matches!(parent, Some(Step::Key(key)) if ["set", "add"].contains(&key.as_str()))
}

/// What a value of the wrong kind is called. Its text is not repeated: where a user was expected it
/// may be their password, where an upstream was, a URL with one in it.
fn kind(found: &Value, at: &At<'_>) -> String {
    match found {
        Value::Null => "nothing".into(),
        Value::Bool(_) | Value::Number(_) if is_secret(at) => "something else".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "text".into(),
        Value::Sequence(_) => "the list […]".into(),
        Value::Mapping(_) | Value::Tagged(_) => "the mapping {…}".into(),
    }
}

fn is_secret(at: &At<'_>) -> bool {
    let secrets = ["password", "passphrase", "key_password"];
    at.path()
        .last_key()
        .is_some_and(|key| secrets.contains(&key))
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
            Self::WrongKind(expected) | Self::WrongValue(expected) => {
                write!(f, "expected {expected}")
            }
        }
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(expected: T) -> Self {
        Self::WrongKind(expected.to_string())
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::WrongKind(expected.to_string())
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::WrongValue(expected.to_string())
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
