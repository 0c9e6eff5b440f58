//! The lines of a YAML text, as far as editing one in place needs to understand them.

use std::iter;
use std::ops::Range;

use super::Obstacle;
use super::edit::{EditError, Entry, Splice};
use serde_yaml::Value;

/// A text by lines, so that it can be put together again with nothing lost.
pub(super) struct Lines<'a> {
    pub(super) byte_order_mark: &'a str,
    /// Each with its end as it was.
    pub(super) lines: Vec<(&'a str, &'a str)>,
    /// What new lines end with.
    pub(super) line_end: &'a str,
}

impl<'a> Lines<'a> {
    pub(super) fn split(text: &'a str) -> Result<Self, EditError> {
        let text_after = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (byte_order_mark, text) = text.split_at(text.len() - text_after.len());
        let lines: Vec<(&str, &str)> = text
            .split_inclusive('\n')
            .map(|line| {
                let ended = line
                    .strip_suffix("\r\n")
                    .or_else(|| line.strip_suffix('\n'));
                line.split_at(ended.unwrap_or(line).len())
            })
            .collect();
        let line_end = lines
            .first()
            .map_or("\n", |(_, end)| if end.is_empty() { "\n" } else { end });
        let lines = Self {
            byte_order_mark,
            lines,
            line_end,
        };
        for line in 0..lines.len() {
            // YAML ends a line at these as well; counting lines would go wrong.
            if lines
                .text(line)
                .contains(['\r', '\u{85}', '\u{2028}', '\u{2029}'])
            {
                return Err(EditError::Refused(line, Obstacle::LineBreak));
            }
            if lines.is_content(line) && lines.text(line)[lines.indent(line)..].starts_with('\t') {
                return Err(EditError::Refused(line, Obstacle::Tab));
            }
        }
        Ok(lines)
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn text(&self, line: usize) -> &'a str {
        self.lines[line].0
    }

    pub(super) fn indent(&self, line: usize) -> usize {
        let text = self.text(line);
        text.len() - text.trim_start_matches(' ').len()
    }

    pub(super) fn is_comment(&self, line: usize) -> bool {
        self.text(line).trim_start().starts_with('#')
    }

    pub(super) fn is_content(&self, line: usize) -> bool {
        !self.text(line).trim().is_empty() && !self.is_comment(line)
    }

    pub(super) fn first_content(&self, mut range: Range<usize>) -> Option<usize> {
        range.find(|line| self.is_content(*line))
    }

    /// The one document's lines, without the `---` that may start it.
    pub(super) fn body(&self) -> Result<Range<usize>, EditError> {
        let mut start = 0;
        for line in (0..self.len()).filter(|line| self.is_content(*line)) {
            let text = self.text(line);
            let is_first = Some(line) == self.first_content(0..self.len());
            if is_first && is_blank_or_comment(text.strip_prefix("---").unwrap_or(text)) {
                start = line + 1;
            } else if text.starts_with("---") || text.starts_with("...") || text.starts_with('%') {
                return Err(EditError::Refused(line, Obstacle::Documents));
            }
        }
        Ok(start..self.len())
    }

    /// A duplicate key is what a parser reports worst and a hurried hand does most.
    pub(super) fn why_invalid(&self, error: serde_yaml::Error) -> EditError {
        let duplicate = self.body().ok().and_then(|body| self.duplicate(body));
        duplicate.unwrap_or(EditError::NotYaml(error))
    }

    pub(super) fn duplicate(&self, range: Range<usize>) -> Option<EditError> {
        let first = self.first_content(range.clone())?;
        match self.block(range, self.indent(first)) {
            Ok(entries) => entries
                .iter()
                .find_map(|entry| self.duplicate(entry.line + 1..entry.last + 1)),
            Err(refused @ EditError::Refused(_, Obstacle::Duplicate { .. })) => Some(refused),
            Err(_) => None,
        }
    }

    /// The entries of the block mapping whose keys are indented by `indent`.
    pub(super) fn block(
        &self,
        range: Range<usize>,
        indent: usize,
    ) -> Result<Vec<Entry>, EditError> {
        let mut entries: Vec<Entry> = Vec::new();
        for line in range.filter(|line| self.is_content(*line)) {
            // The items of a list may be indented no deeper than its key.
            let depth = self.indent(line);
            let is_inside = depth > indent || (depth == indent && self.is_item(line));
            match entries.last_mut() {
                Some(last) if is_inside => last.last = line,
                _ if depth == indent => {
                    let entry = self.entry(line)?;
                    if let Some(first) = entries.iter().find(|other| other.name == entry.name) {
                        let first = first.line + 1;
                        return Err(EditError::Refused(line, Obstacle::Duplicate { first }));
                    }
                    entries.push(entry);
                }
                _ => return Err(EditError::Refused(line, Obstacle::NotAKey)),
            }
        }
        Ok(entries)
    }

    pub(super) fn entry(&self, line: usize) -> Result<Entry, EditError> {
        let indent = self.indent(line);
        let text = &self.text(line)[indent..];
        let Some((raw, after)) = key_of(text) else {
            let obstacle = match text.as_bytes().first() {
                Some(b'{' | b'[') => Obstacle::FlowStyle,
                Some(b'&' | b'*' | b'!') => Obstacle::Anchor,
                _ => Obstacle::NotAKey,
            };
            return Err(EditError::Refused(line, obstacle));
        };
        let key: Value =
            serde_yaml::from_str(raw).map_err(|_| EditError::Refused(line, Obstacle::NotAKey))?;
        let name = key.as_str().unwrap_or(raw).to_owned();
        Ok(Entry {
            name,
            key,
            line,
            value_at: indent + after,
            last: line,
        })
    }

    pub(super) fn is_item(&self, line: usize) -> bool {
        let text = self.text(line).trim_start();
        text == "-" || text.starts_with("- ")
    }

    /// The text of a list item that is one plain word.
    pub(super) fn item(&self, line: usize) -> Option<String> {
        let after = self.text(line).trim_start().strip_prefix("- ")?;
        let value = &after[one_value(after)?];
        serde_yaml::from_str::<String>(value).ok()
    }

    /// Whether an anchor, alias, tag or merge key stands where a key or value begins.
    pub(super) fn has_anchor(&self, line: usize) -> bool {
        let text = self
            .text(line)
            .trim_start()
            .trim_start_matches("- ")
            .trim_start();
        let value = key_of(text).map_or("", |(_, after)| text[after..].trim_start());
        let begins = |text: &str| text.starts_with(['&', '*', '!']) || text.starts_with("<<");
        self.is_content(line) && (begins(text) || begins(value))
    }

    /// Refuses an entry that has a value on the line of its key, where a block was expected.
    pub(super) fn refuse_value(&self, entry: &Entry, otherwise: Obstacle) -> Result<(), EditError> {
        let after = &self.text(entry.line)[entry.value_at..];
        if is_blank_or_comment(after) {
            return Ok(());
        }
        let obstacle = match after.trim_start().as_bytes().first() {
            Some(b'{') => Obstacle::FlowStyle,
            Some(b'&' | b'*' | b'!') => Obstacle::Anchor,
            _ => otherwise,
        };
        Err(EditError::Refused(entry.line, obstacle))
    }

    /// The entry's line with another value; what surrounds the value stays.
    pub(super) fn with_value(&self, entry: &Entry, value: &str) -> Result<Splice, EditError> {
        let refused = EditError::Refused(entry.line, Obstacle::NotOneLine);
        if entry.last > entry.line {
            return Err(refused);
        }
        let (before, after) = self.text(entry.line).split_at(entry.value_at);
        let old = one_value(after).ok_or(refused)?;
        let space = if old.start == 0 { " " } else { "" };
        let line = format!(
            "{before}{}{space}{value}{}",
            &after[..old.start],
            &after[old.end..]
        );
        Ok(Splice {
            range: entry.line..entry.line + 1,
            lines: vec![line],
        })
    }

    pub(super) fn spliced(&self, mut splices: Vec<Splice>) -> String {
        let mut lines: Vec<String> = self
            .lines
            .iter()
            .map(|(text, end)| format!("{text}{end}"))
            .collect();
        let is_last_open = self.lines.last().is_some_and(|(_, end)| end.is_empty());
        if let (true, Some(last)) = (is_last_open, lines.last_mut()) {
            last.push_str(self.line_end);
        }
        // From the end, so that the line numbers before stay right.
        splices.sort_by_key(|splice| (splice.range.start, splice.range.end));
        for Splice { range, lines: new } in splices.into_iter().rev() {
            // Where line ends are mixed, a changed line keeps its own.
            let old_ends = self.lines[range.clone()].iter().map(|(_, end)| *end);
            let ends = old_ends
                .filter(|end| !end.is_empty())
                .chain(iter::repeat(self.line_end));
            lines.splice(
                range,
                new.into_iter().zip(ends).map(|(line, end)| line + end),
            );
        }
        let mut text = lines.concat();
        if is_last_open {
            text.truncate(text.len().saturating_sub(self.line_end.len()));
        }
        format!("{}{text}", self.byte_order_mark)
    }
}

/// A key at the start of `text`, and where the text after its colon begins.
pub(super) fn key_of(text: &str) -> Option<(&str, usize)> {
    let ends_key = |at: usize| matches!(text.as_bytes().get(at + 1), None | Some(b' ' | b'\t'));
    let length = match text.as_bytes().first()? {
        b'"' | b'\'' => quoted_length(text)?,
        b'{' | b'[' | b'&' | b'*' | b'!' | b'|' | b'>' | b'#' | b'%' | b'@' | b'`' => return None,
        _ => text
            .match_indices(':')
            .map(|(at, _)| at)
            .find(|at| ends_key(*at))?,
    };
    let colon = length + text[length..].find(|c: char| c != ' ')?;
    let is_key =
        text[colon..].starts_with(':') && ends_key(colon) && !text[..length].contains(" #");
    is_key.then(|| (text[..length].trim_end(), colon + 1))
}

/// The one value in what follows a colon or dash, if it is whole on this line: a quoted text, a
/// plain text or a list in brackets. Empty if there is none.
pub(super) fn one_value(text: &str) -> Option<Range<usize>> {
    let start = text.len() - text.trim_start().len();
    let value = &text[start..];
    if is_blank_or_comment(text) {
        return Some(0..0);
    }
    let length = match value.as_bytes()[0] {
        b'"' | b'\'' => quoted_length(value)?,
        b'[' => list_length(value)?,
        b'{' | b'&' | b'*' | b'!' | b'|' | b'>' | b'%' | b'@' | b'`' => return None,
        _ => value
            .find(" #")
            .map_or(value, |at| &value[..at])
            .trim_end()
            .len(),
    };
    is_blank_or_comment(&value[length..]).then_some(start..start + length)
}

/// Nothing but white space, or white space and a comment.
pub(super) fn is_blank_or_comment(text: &str) -> bool {
    let trimmed = text.trim_start();
    trimmed.is_empty() || (trimmed.starts_with('#') && trimmed.len() < text.len())
}

/// How long the quoted text is that `text` begins with, quotes included.
pub(super) fn quoted_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let quote = *bytes.first()?;
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            b'\\' if quote == b'"' => at += 2,
            byte if byte == quote && quote == b'\'' && bytes.get(at + 1) == Some(&b'\'') => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// How long the list in brackets is that `text` begins with.
pub(super) fn list_length(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    loop {
        match *text.as_bytes().get(at)? {
            b'"' | b'\'' => at += quoted_length(&text[at..])? - 1,
            b'[' => depth += 1,
            b']' if depth == 1 => return Some(at + 1),
            b']' => depth -= 1,
            b'#' => return None,
            _ => {}
        }
        at += 1;
    }
}
