//! One file of the configuration while it is read: where things are in it, which values may not be
//! repeated, and what was found wrong so far.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::mem;
use std::path::{Path, PathBuf};

use super::locate::{KeyPath, Position, Positions, Step};
use super::problem::{Problem, by_position, closest};
use super::scalar::{Entries, Items, OneOrMany};
use crate::password::stored::StoredPassword;
use crate::tls::files;

/// One file while it is read.
#[derive(Debug)]
pub struct Document {
    file: PathBuf,
    positions: Positions,
    findings: RefCell<Findings>,
}

#[derive(Debug, Default)]
struct Findings {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// Values that were refused; that they are now missing is no second problem.
    refused: HashSet<KeyPath>,
    /// Texts that hold the value of a variable, and how they were written.
    private: HashMap<String, String>,
    /// The files and folders that have to be there, and what is in them.
    inputs: Vec<(KeyPath, String, PathBuf, &'static str)>,
}

impl Document {
    /// The document in `file`, of which nothing is known yet but where things are.
    #[must_use]
    pub fn new(file: &Path, positions: Positions) -> Self {
        Self {
            file: file.into(),
            positions,
            findings: RefCell::default(),
        }
    }

    /// Its top.
    #[must_use]
    pub fn root(&self) -> At<'_> {
        At {
            document: self,
            path: KeyPath::default(),
        }
    }

    /// The problems found so far; they are known no more afterwards.
    #[must_use]
    pub fn take_problems(&self) -> Vec<Problem> {
        mem::take(&mut self.findings.borrow_mut().problems)
    }

    /// The files that are needed and cannot be opened, each with what to say of it.
    #[must_use]
    pub fn missing_inputs(&self) -> Vec<(PathBuf, Problem)> {
        let inputs = mem::take(&mut self.findings.borrow_mut().inputs);
        let mut missing = Vec::new();
        for (key, written, path, what) in inputs {
            let Err(error) = files::look_at(&path) else {
                continue;
            };
            let at = self.root().go(key);
            let named = match at.is_private(&written) {
                true => at.quoted(&written),
                false => path.display().to_string(),
            };
            let hint = files::hint(&error);
            let position = self.positions.value(at.path());
            let message = format!("{named}: cannot read the {what}: {error}{hint}");
            missing.push((path, at.finding(position, message)));
        }
        missing
    }

    /// What was noticed that is no problem, in the order of the file.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let warnings = self.findings.borrow().warnings.clone();
        let lines = by_position(warnings);
        lines.iter().map(ToString::to_string).collect()
    }
}

/// A place in a document.
#[derive(Clone, Debug)]
pub struct At<'d> {
    document: &'d Document,
    path: KeyPath,
}

impl<'d> At<'d> {
    /// The value of `key` in this mapping.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.into()))
    }

    /// An item of this list.
    #[must_use]
    pub fn item(&self, index: usize) -> Self {
        self.then(Step::Item(index))
    }

    /// The place at `path`, from the top of the document.
    #[must_use]
    pub const fn go(&self, path: KeyPath) -> Self {
        Self {
            document: self.document,
            path,
        }
    }

    fn then(&self, step: Step) -> Self {
        self.go(self.path.then(step))
    }

    /// How it is written in messages.
    #[must_use]
    pub const fn path(&self) -> &KeyPath {
        &self.path
    }

    /// Where it is written, for who finds something wrong with it later: the file, the position in
    /// it, and the path.
    #[must_use]
    pub fn place(&self) -> String {
        let position = self.document.positions.value(&self.path);
        let place = self.finding(position, String::new()).to_string();
        place.trim_end_matches([':', ' ']).to_owned()
    }

    // === What is wrong here ===

    /// Records a problem with the value here, or with its absence.
    pub fn problem(&self, message: impl Into<String>) {
        let position = self.document.positions.value(&self.path);
        let problem = self.finding(position, message.into());
        self.document.findings.borrow_mut().problems.push(problem);
    }

    /// Records a problem with the key rather than with its value.
    pub fn key_problem(&self, message: impl Into<String>) {
        let position = self.document.positions.key(&self.path);
        let problem = self.finding(position, message.into());
        self.document.findings.borrow_mut().problems.push(problem);
    }

    /// Records something worth a look.
    pub fn warn(&self, message: impl Into<String>) {
        let position = self.document.positions.key(&self.path);
        let warning = self.finding(position, message.into());
        self.document.findings.borrow_mut().warnings.push(warning);
    }

    fn finding(&self, position: Position, message: String) -> Problem {
        Problem {
            file: self.document.file.clone(),
            position: Some(position),
            path: self.path.to_string(),
            // One line, and nothing that a terminal would obey.
            message: message.replace(char::is_control, "\u{fffd}"),
        }
    }

    /// Remembers that the file or folder `path`, which is `written` here, has to be there.
    pub fn needs(&self, written: &str, path: &Path, what: &'static str) {
        let input = (self.path.clone(), written.into(), path.into(), what);
        self.document.findings.borrow_mut().inputs.push(input);
    }

    /// Remembers that the value here was refused, and that somebody was told.
    pub fn refuse(&self) {
        let path = self.path.clone();
        self.document.findings.borrow_mut().refused.insert(path);
    }

    /// Whether what was written here was refused, by itself or with what it stands in.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let refused = &self.document.findings.borrow().refused;
        let steps = self.path.steps();
        let mut parents = (0..=steps.len()).map(|end| steps[..end].iter().cloned().collect());
        !refused.is_empty() && parents.any(|path: KeyPath| refused.contains(&path))
    }

    /// Whether anything wrong was found here or below.
    #[must_use]
    pub fn has_problem(&self) -> bool {
        let here = self.path.to_string();
        let below = |path: &str| {
            let rest = path.strip_prefix(&here);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let findings = self.document.findings.borrow();
        findings.problems.iter().any(|it| below(&it.path))
    }

    /// Takes the value of `key`, and records a problem when there is none.
    pub fn required<T>(&self, key: &str, value: Option<T>, hint: &str) -> Option<T> {
        let at = self.key(key);
        if value.is_none() && !at.is_refused() {
            at.problem(format!("missing; {hint}"));
        }
        value
    }

    // === What may be said ===

    /// Remembers that `text` holds the value of a variable and was written as `written`.
    pub fn keep_private(&self, text: &str, written: String) {
        let mut findings = self.document.findings.borrow_mut();
        findings.private.insert(text.into(), written);
    }

    /// Whether `text` is one that holds the value of a variable.
    #[must_use]
    pub fn is_private(&self, text: &str) -> bool {
        self.document.findings.borrow().private.contains_key(text)
    }

    /// Whether `text` was put together from one that holds the value of a variable.
    #[must_use]
    pub fn has_private(&self, text: &str) -> bool {
        let private = &self.document.findings.borrow().private;
        private
            .keys()
            .any(|private| !private.is_empty() && text.contains(private))
    }

    /// `text` in quotes as messages may repeat it: a variable is named, its value is not told, and
    /// neither is a password hash, wherever it was put.
    #[must_use]
    pub fn quoted(&self, text: &str) -> String {
        const MOST: usize = 80;
        if StoredPassword::parse(text).is_ok() {
            return "a password hash".into();
        }
        let findings = self.document.findings.borrow();
        let text = findings.private.get(text).map_or(text, String::as_str);
        match text.char_indices().nth(MOST) {
            Some((end, _)) => format!("{:?}…", &text[..end]),
            None => format!("{text:?}"),
        }
    }

    /// The end of a message about a name that is not known: the name that was meant, or else those
    /// that there are.
    #[must_use]
    pub fn suggestion<'c>(
        &self,
        written: &str,
        known: impl IntoIterator<Item = &'c str>,
    ) -> String {
        const MOST: usize = 12;
        let known: Vec<&str> = known
            .into_iter()
            .filter(|name| !self.is_private(name))
            .collect();
        if let Some(meant) = closest(written, known.iter().copied()) {
            return format!("; did you mean {meant:?}?");
        }
        let mut listed: Vec<_> = known
            .iter()
            .take(MOST)
            .map(|name| format!("{name:?}"))
            .collect();
        if known.len() > MOST {
            listed.push("…".into());
        }
        match listed.as_slice() {
            [] => String::new(),
            [only] => format!("; there is only {only}"),
            several => format!("; there are {}", several.join(", ")),
        }
    }

    // === What is below ===

    /// The items of the list here that were not refused, each with its place.
    pub fn items<T>(&self, items: Items<T>) -> impl Iterator<Item = (Self, T)> + use<'d, T> {
        let list = self.clone();
        let numbered = items.0.into_iter().enumerate();
        numbered.filter_map(move |(index, item)| Some((list.item(index), item?)))
    }

    /// The texts here that were not refused, each with its place.
    #[must_use]
    pub fn texts(&self, texts: OneOrMany) -> Vec<(Self, String)> {
        match texts {
            OneOrMany::One(text) => vec![(self.clone(), text)],
            OneOrMany::Many(items) => self.items(Items(items)).collect(),
        }
    }

    /// The entries of the mapping here, each with its place; refused ones without their value.
    pub fn entries<T>(
        &self,
        entries: Entries<T>,
    ) -> impl Iterator<Item = (Self, String, Option<T>)> + use<'d, T> {
        let mapping = self.clone();
        let entries = entries.0.into_iter();
        entries.map(move |(name, value)| (mapping.key(&name), name, value))
    }
}
