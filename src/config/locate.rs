//! Where things are in a YAML file: the path to a value, and its line and column.
//!
//! The data itself never comes from here, only from the YAML reader proper. What this pass also
//! does, because it sees the whole file before anything is built from it, is to hold the limits on
//! nesting and on what aliases multiply.

use std::collections::HashMap;
use std::fmt;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

/// The deepest nesting accepted. The configuration itself needs six levels.
pub const MAX_DEPTH: usize = 64;

/// The most values accepted once aliases are followed: few lines of YAML can stand for billions.
pub const MAX_VALUES: usize = 1_000_000;

/// A line and a column, both counted from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1.
    pub column: usize,
}

impl Position {
    const START: Self = Self { line: 1, column: 1 };

    fn of(marker: Marker) -> Self {
        Self {
            line: marker.line(),
            column: marker.col() + 1,
        }
    }
}

/// The way from the top of a file to a value in it, `routes[2].upstream`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyPath(Vec<Step>);

/// One step of a [`KeyPath`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// To the value of a key.
    Key(String),
    /// To an item of a list, counted from 0.
    Item(usize),
}

impl KeyPath {
    /// This path and one step more.
    #[must_use]
    pub fn then(&self, step: Step) -> Self {
        let mut steps = Vec::with_capacity(self.0.len() + 1);
        steps.extend_from_slice(&self.0);
        steps.push(step);
        Self(steps)
    }

    /// The steps from the top.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The last key, if the path ends in one.
    #[must_use]
    pub fn last_key(&self) -> Option<&str> {
        match self.0.last()? {
            Step::Key(key) => Some(key),
            Step::Item(_) => None,
        }
    }
}

impl FromIterator<Step> for KeyPath {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 64;
        let plain = |c: char| c.is_alphanumeric() || "_-@+/<".contains(c);
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Item(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    f.write_str(if at == 0 { "" } else { "." })?;
                    let end = key.char_indices().nth(MOST).map(|(end, _)| end);
                    let shown = &key[..end.unwrap_or(key.len())];
                    if !shown.is_empty() && shown.chars().all(plain) {
                        f.write_str(shown)?;
                    } else {
                        write!(f, "{shown:?}")?;
                    }
                    f.write_str(if end.is_some() { "…" } else { "" })?;
                }
            }
        }
        Ok(())
    }
}

/// The positions of all keys and values of a file.
#[derive(Debug)]
pub struct Positions {
    root: Node,
    duplicate: Option<(KeyPath, Position)>,
    second_document: Option<Position>,
    broken: Option<(Position, String)>,
}

/// A file that is not read at all, because reading it could take all memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Nested too deeply, from here on.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    Depth(Position),
    /// Too many values.
    #[error("more than {MAX_VALUES} values, with those that aliases repeat")]
    Values(Position),
}

impl Excess {
    /// Where the limit was passed.
    #[must_use]
    pub const fn position(self) -> Position {
        match self {
            Self::Depth(position) | Self::Values(position) => position,
        }
    }
}

#[derive(Debug)]
struct Node {
    key: Option<Position>,
    value: Position,
    children: Children,
}

#[derive(Debug)]
enum Children {
    None,
    Items(Vec<Node>),
    Entries(HashMap<String, Node>),
}

impl Node {
    const fn at(value: Position, children: Children) -> Self {
        Self {
            key: None,
            value,
            children,
        }
    }

    fn child(&self, step: &Step) -> Option<&Self> {
        match (&self.children, step) {
            (Children::Items(items), Step::Item(index)) => items.get(*index),
            (Children::Entries(entries), Step::Key(key)) => entries.get(key),
            _ => None,
        }
    }
}

impl Positions {
    /// Scans `text`. A syntax error ends the scan; what came before it is known.
    ///
    /// # Errors
    /// [`Excess`] for a file that must not be read further.
    pub fn scan(text: &str) -> Result<Self, Excess> {
        let mut scan = Scan::default();
        for event in Parser::new_from_str(text) {
            match event {
                Ok((Event::DocumentStart(_), span)) if scan.root.is_some() => {
                    scan.second_document = Some(Position::of(span.start));
                    break;
                }
                Ok((event, span)) => scan.take(event, Position::of(span.start))?,
                Err(error) => return scan.finish_broken(&error),
            }
        }
        Ok(scan.finish(None))
    }

    /// Where the value at `path` begins; of a path that the file does not have, its closest parent.
    #[must_use]
    pub fn value(&self, path: &KeyPath) -> Position {
        self.nearest(path).0.value
    }

    /// Where the key at `path` begins; for items of a list and unknown paths as [`Self::value`].
    #[must_use]
    pub fn key(&self, path: &KeyPath) -> Position {
        match self.nearest(path) {
            (node, true) => node.key.unwrap_or(node.value),
            (node, false) => node.value,
        }
    }

    /// The first key that is written twice in one mapping, and where the second time.
    #[must_use]
    pub const fn duplicate(&self) -> Option<&(KeyPath, Position)> {
        self.duplicate.as_ref()
    }

    /// Where a second document begins. It was not scanned.
    #[must_use]
    pub const fn second_document(&self) -> Option<Position> {
        self.second_document
    }

    /// Where the scan met a syntax error, and what it was. The YAML reader proper may see it
    /// otherwise; but what comes after this place was not held to the limits.
    #[must_use]
    pub const fn broken(&self) -> Option<&(Position, String)> {
        self.broken.as_ref()
    }

    /// The node at `path` and `true`, or its closest parent and `false`.
    fn nearest(&self, path: &KeyPath) -> (&Node, bool) {
        let mut node = &self.root;
        for step in path.steps() {
            match node.child(step) {
                Some(child) => node = child,
                None => return (node, false),
            }
        }
        (node, true)
    }
}

/// A scan under way: the collections that are open, and what is known of anchors.
#[derive(Default)]
struct Scan {
    open: Vec<Open>,
    root: Option<Node>,
    duplicate: Option<(KeyPath, Position)>,
    second_document: Option<Position>,
    /// How many values each anchor stands for.
    anchors: HashMap<usize, usize>,
}

struct Open {
    node: Node,
    anchor: usize,
    values: usize,
    /// In a mapping, the key whose value comes next.
    key: Option<(String, Position)>,
}

impl Scan {
    fn take(&mut self, event: Event<'_>, position: Position) -> Result<(), Excess> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                self.anchors.insert(anchor, 1);
                let absent = text.is_empty() && style == ScalarStyle::Plain;
                self.scalar(text.into_owned(), absent, position);
                self.count(1, position)
            }
            Event::Alias(anchor) => {
                let values = self.anchors.get(&anchor).copied().unwrap_or(1);
                self.scalar(String::new(), false, position);
                self.count(values, position)
            }
            Event::SequenceStart(anchor, _) => {
                self.open(Children::Items(Vec::new()), anchor, position)
            }
            Event::MappingStart(anchor, _) => {
                self.open(Children::Entries(HashMap::new()), anchor, position)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            _ => Ok(()),
        }
    }

    fn open(
        &mut self,
        children: Children,
        anchor: usize,
        position: Position,
    ) -> Result<(), Excess> {
        if self.open.len() == MAX_DEPTH {
            return Err(Excess::Depth(position));
        }
        self.open.push(Open {
            node: Node::at(position, children),
            anchor,
            values: 1,
            key: None,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Excess> {
        let Some(closed) = self.open.pop() else {
            return Ok(());
        };
        self.anchors.insert(closed.anchor, closed.values);
        let position = closed.node.value;
        if self.expects_key() {
            self.set_key("?".into(), position);
        } else {
            self.attach(closed.node);
        }
        self.count(closed.values, position)
    }

    fn count(&mut self, values: usize, position: Position) -> Result<(), Excess> {
        let Some(parent) = self.open.last_mut() else {
            return Ok(());
        };
        parent.values = parent.values.saturating_add(values);
        if parent.values > MAX_VALUES {
            return Err(Excess::Values(position));
        }
        Ok(())
    }

    fn expects_key(&self) -> bool {
        self.open.last().is_some_and(|parent| {
            matches!(parent.node.children, Children::Entries(_)) && parent.key.is_none()
        })
    }

    fn set_key(&mut self, key: String, position: Position) {
        if let Some(parent) = self.open.last_mut() {
            parent.key = Some((key, position));
        }
    }

    fn scalar(&mut self, text: String, absent: bool, position: Position) {
        if self.expects_key() {
            return self.set_key(text, position);
        }
        let key = self.open.last().and_then(|parent| parent.key.as_ref());
        let position = match key {
            // A value that is not there has no place of its own.
            Some((_, key)) if absent => *key,
            _ => position,
        };
        self.attach(Node::at(position, Children::None));
    }

    fn attach(&mut self, mut node: Node) {
        let Some(parent) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return;
        };
        match &mut parent.node.children {
            Children::None => {}
            Children::Items(items) => items.push(node),
            Children::Entries(entries) => {
                let Some((key, position)) = parent.key.take() else {
                    return;
                };
                node.key = Some(position);
                if entries.insert(key.clone(), node).is_some() && self.duplicate.is_none() {
                    self.duplicate = Some((self.path_of(key), position));
                }
            }
        }
    }

    /// The path of `key` in the mapping that is open.
    fn path_of(&self, key: String) -> KeyPath {
        let parents = self.open.iter().take(self.open.len().saturating_sub(1));
        let to_parent = parents.filter_map(|open| match (&open.node.children, &open.key) {
            (Children::Items(items), _) => Some(Step::Item(items.len())),
            (_, Some((key, _))) => Some(Step::Key(key.clone())),
            _ => None,
        });
        to_parent.chain([Step::Key(key)]).collect()
    }

    fn finish_broken(mut self, error: &ScanError) -> Result<Positions, Excess> {
        let position = Position::of(*error.marker());
        // The scanner's own limit, on brackets within brackets.
        if error.info().contains("recursion limit") {
            return Err(Excess::Depth(position));
        }
        // Some collections are still open; what they hold is still good.
        while !self.open.is_empty() {
            self.close()?;
        }
        Ok(self.finish(Some((position, error.info().to_owned()))))
    }

    fn finish(self, broken: Option<(Position, String)>) -> Positions {
        let nothing = || Node::at(Position::START, Children::None);
        Positions {
            root: self.root.unwrap_or_else(nothing),
            duplicate: self.duplicate,
            second_document: self.second_document,
            broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "\
# a comment
listeners:
  - address: 0.0.0.0:8443
    protocol: http
  - {address: \":80\", protocol: https}
sessions:
users: &people
  \"ralph.x\": {password: x}
others: *people
";

    fn path(text: &str) -> KeyPath {
        let step = |word: &str| match word.parse() {
            Ok(index) => Step::Item(index),
            Err(_) => Step::Key(word.into()),
        };
        text.split_whitespace().map(step).collect()
    }

    #[track_caller]
    fn check(at: &str, key: (usize, usize), value: (usize, usize)) {
        let positions = Positions::scan(DEVICE).unwrap();
        let place = |position: Position| (position.line, position.column);
        assert_eq!(place(positions.key(&path(at))), key, "key of {at}");
        assert_eq!(place(positions.value(&path(at))), value, "value of {at}");
    }

    #[test]
    fn keys_and_values_are_found() {
        check("listeners", (2, 1), (3, 3));
        check("listeners 0", (3, 5), (3, 5));
        check("listeners 0 protocol", (4, 5), (4, 15));
        check("listeners 1", (5, 5), (5, 5));
        check("listeners 1 protocol", (5, 22), (5, 32));
        check("users ralph.x password", (8, 15), (8, 25));
    }

    #[test]
    fn what_is_absent_is_reported_at_its_parent_or_key() {
        check("", (2, 1), (2, 1));
        check("tls", (2, 1), (2, 1));
        check("listeners 0 port", (3, 5), (3, 5));
        check("sessions", (6, 1), (6, 1));
        check("others ralph.x password", (9, 9), (9, 9));
    }

    #[test]
    fn a_path_reads_as_it_would_be_written() {
        assert_eq!(path("routes 2 upstream").to_string(), "routes[2].upstream");
        assert_eq!(
            path("users ralph.x roles 0").to_string(),
            "users.\"ralph.x\".roles[0]"
        );
        assert_eq!(path("").to_string(), "");
    }

    #[test]
    fn a_key_written_twice_is_known() {
        let positions = Positions::scan("a:\n  - b: 1\n  - c: 1\n    d: 1\n    c: 2\n").unwrap();
        let (path, position) = positions.duplicate().unwrap();
        assert_eq!(path.to_string(), "a[1].c");
        assert_eq!((position.line, position.column), (5, 5));
        assert!(Positions::scan(DEVICE).unwrap().duplicate().is_none());
    }

    #[test]
    fn after_a_syntax_error_the_beginning_is_known() {
        let positions = Positions::scan("a:\n  b: 1\n  c: [1, }\n").unwrap();
        assert_eq!(positions.value(&path("a b")).line, 2);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Positions::scan(&nested(MAX_DEPTH)).is_ok());
        let refused = Positions::scan(&nested(MAX_DEPTH + 1)).unwrap_err();
        assert!(matches!(refused, Excess::Depth(at) if at.column == MAX_DEPTH + 1));
        assert!(Positions::scan(&"- ".repeat(100_000)).is_err());
        assert!(Positions::scan(&"[".repeat(4 << 20)).is_err());
    }

    #[test]
    fn what_aliases_multiply_is_bounded() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let alias = format!("*a{},", level - 1).repeat(10);
            text += &format!("a{level}: &a{level} [{alias}]\n");
        }
        assert!(matches!(Positions::scan(&text), Err(Excess::Values(_))));
    }
}
