//! Patterns over one text of a certificate: `spiffe://plant/{site}/camera/*`.
//!
//! Matched by a table of what can begin where, so the time grows with pattern times text and no
//! pattern can make it explode.

use std::cell::Cell;
use std::sync::Arc;

/// How much may still be compared for one certificate. Whoever has one made writes its texts, and
/// every rule looks at them: without an end, a handshake would buy seconds of a worker.
#[derive(Debug)]
pub(super) struct Budget(Cell<usize>);

impl Budget {
    /// A tenth of a second at the worst. Thousands of rules over the few short texts of a real
    /// certificate take a hundredth of it.
    const STEPS: usize = 1 << 25;

    pub(super) const fn new() -> Self {
        Self(Cell::new(Self::STEPS))
    }

    /// Takes so much off it. `false` where that is no longer there.
    pub(super) fn spend(&self, steps: usize) -> bool {
        let left = self.0.get().saturating_sub(steps);
        self.0.set(left);
        left > 0
    }

    /// Whether it was not enough, so that what was found is not all there is.
    pub(super) const fn is_spent(&self) -> bool {
        self.0.get() == 0
    }
}

/// What a text has to look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPattern {
    pieces: Vec<Piece>,
    /// What `*` and captures stop at.
    separator: Option<u8>,
}

/// A piece of a pattern. Two wildcards are never neighbours, so each begins and ends at a literal
/// or at an end of the text, and no character is cut in two.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// This text.
    Literal(String),
    /// One or more characters.
    Wild(Wild),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wild {
    /// `*`, without the separator.
    Within,
    /// `**`, any characters.
    Across,
    /// `{name}`, as `*`.
    Capture(Arc<str>),
}

/// A character of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatternChar {
    /// As written; it may mean something.
    Plain(char),
    /// Escaped: it stands for itself.
    Escaped(char),
}

impl PatternChar {
    const fn char(self) -> char {
        match self {
            Self::Plain(char) | Self::Escaped(char) => char,
        }
    }
}

/// What a capture took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Captured {
    /// Its name.
    pub(super) name: Arc<str>,
    /// The text; none where there are several ways to cut it out, and nobody said which counts.
    pub(super) text: Option<String>,
}

impl TextPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A sentence that says what is right.
    pub(super) fn parse(text: &str, separator: Option<u8>) -> Result<Self, String> {
        let chars: Vec<PatternChar> = text.chars().map(PatternChar::Plain).collect();
        Self::from_chars(&chars, separator)
    }

    /// Reads a pattern in which some characters are escaped.
    ///
    /// # Errors
    /// A sentence that says what is right.
    pub(super) fn from_chars(chars: &[PatternChar], separator: Option<u8>) -> Result<Self, String> {
        let pieces = read_pieces(chars)?;
        let wild = |piece: &Piece| matches!(piece, Piece::Wild(_));
        if pieces.windows(2).any(|pair| pair.iter().all(wild)) {
            return Err(
                "two wildcards side by side share a text in many ways; put something between them"
                    .into(),
            );
        }
        Ok(Self { pieces, separator })
    }

    /// Makes all literals lower case.
    pub(super) fn lower(&mut self) {
        for piece in &mut self.pieces {
            if let Piece::Literal(text) = piece {
                text.make_ascii_lowercase();
            }
        }
    }

    /// Makes lower case what stands after the last `@`. `false` where there is none.
    pub(super) fn lower_after_at(&mut self) -> bool {
        for piece in self.pieces.iter_mut().rev() {
            if let Piece::Literal(text) = piece {
                let at = text.rfind('@');
                text[at.unwrap_or(0)..].make_ascii_lowercase();
                if at.is_some() {
                    return true;
                }
            }
        }
        false
    }

    /// Whether it is `**` and nothing else.
    pub(super) fn is_anything(&self) -> bool {
        self.pieces == [Piece::Wild(Wild::Across)]
    }

    /// The names of its captures.
    pub fn captures(&self) -> impl Iterator<Item = &Arc<str>> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Wild(Wild::Capture(name)) => Some(name),
            Piece::Literal(_) | Piece::Wild(_) => None,
        })
    }

    /// The longest text that a pattern fits, in bytes: what is longer is made to keep us busy. A
    /// client is called something of 256 bytes at most, and names of hosts and addresses end there
    /// too.
    const LONGEST_TEXT: usize = 1024;

    /// What the captures take where `text` fits.
    pub(super) fn fit(&self, text: &str, budget: &Budget) -> Option<Vec<Captured>> {
        if text.len() > Self::LONGEST_TEXT || !budget.spend(1) || !self.ends_fit(text) {
            return None;
        }
        if !budget.spend(text.len() * self.pieces.len()) {
            return None;
        }
        let table = self.starts(text.as_bytes());
        if !*table.last()?.last()? {
            return None;
        }
        // If there are several ways to cut the text, then these two differ: of any two ways, what
        // is earlier in either is a way too, so there is one in which everything is earliest, and
        // one in which everything is latest.
        let earliest = self.trace(&table, text, Prefer::Earliest);
        let latest = self.trace(&table, text, Prefer::Latest);
        let pairs = earliest.into_iter().zip(latest);
        let captured = pairs.map(|((name, first), (_, last))| Captured {
            name,
            text: (first == last).then(|| text[first.0..first.1].to_owned()),
        });
        Some(captured.collect())
    }

    /// A quick look that spares nearly all texts the table.
    fn ends_fit(&self, text: &str) -> bool {
        match (self.pieces.as_slice(), self.pieces.last()) {
            ([Piece::Literal(whole)], _) => text == whole,
            ([Piece::Literal(start), ..], Some(Piece::Literal(end))) => {
                text.starts_with(start) && text.ends_with(end)
            }
            ([Piece::Literal(start), ..], _) => text.starts_with(start),
            (_, Some(Piece::Literal(end))) => text.ends_with(end),
            _ => true,
        }
    }

    /// For each piece, and for the end, at which bytes it can begin.
    fn starts(&self, text: &[u8]) -> Vec<Vec<bool>> {
        let mut here = vec![false; text.len() + 1];
        here[0] = true;
        let mut table = vec![here];
        for (at, piece) in self.pieces.iter().enumerate() {
            let here = &table[at];
            let mut next = vec![false; text.len() + 1];
            match piece {
                Piece::Literal(literal) => {
                    let literal = literal.as_bytes();
                    let fits = |start: &usize| here[*start] && text[*start..].starts_with(literal);
                    for start in (0..=text.len()).filter(fits) {
                        next[start + literal.len()] = true;
                    }
                }
                Piece::Wild(wild) => {
                    let mut begun = false;
                    for (at, byte) in text.iter().enumerate() {
                        begun = (begun || here[at]) && self.takes(wild, *byte);
                        next[at + 1] = begun;
                    }
                }
            }
            table.push(next);
        }
        table
    }

    fn takes(&self, wild: &Wild, byte: u8) -> bool {
        matches!(wild, Wild::Across) || self.separator != Some(byte)
    }

    /// Where each capture begins and ends, in one of the ways that the table allows; from the last
    /// to the first.
    fn trace(
        &self,
        table: &[Vec<bool>],
        text: &str,
        prefer: Prefer,
    ) -> Vec<(Arc<str>, (usize, usize))> {
        let bytes = text.as_bytes();
        let mut captures = Vec::new();
        let mut end = bytes.len();
        for (piece, starts) in self.pieces.iter().zip(table).rev() {
            let start = match piece {
                Piece::Literal(literal) => end - literal.len(),
                Piece::Wild(wild) => {
                    let taken = (0..end).rev().take_while(|at| self.takes(wild, bytes[*at]));
                    let mut possible = taken.filter(|at| starts[*at]);
                    let chosen = match prefer {
                        Prefer::Earliest => possible.last(),
                        Prefer::Latest => possible.next(),
                    };
                    chosen.unwrap_or_default()
                }
            };
            if let Piece::Wild(Wild::Capture(name)) = piece {
                captures.push((Arc::clone(name), (start, end)));
            }
            end = start;
        }
        captures
    }
}

#[derive(Clone, Copy)]
enum Prefer {
    Earliest,
    Latest,
}

fn read_pieces(chars: &[PatternChar]) -> Result<Vec<Piece>, String> {
    use PatternChar::Plain;

    if chars.is_empty() {
        return Err("an empty text fits nothing; `**` stands for any text".into());
    }
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = chars;
    while let [first, tail @ ..] = rest {
        let wild = match (first, tail) {
            (Plain('*'), [Plain('*'), after @ ..]) => {
                rest = after;
                Wild::Across
            }
            (Plain('*'), after) => {
                rest = after;
                Wild::Within
            }
            (Plain('{'), inside) => {
                let (name, after) = read_placeholder(inside)?;
                rest = after;
                Wild::Capture(name.into())
            }
            (Plain('}'), _) => {
                return Err("} without {; expected a name in braces, like {site}".into());
            }
            (other, after) => {
                literal.push(other.char());
                rest = after;
                continue;
            }
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Wild(wild));
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// The name up to `}`, and what follows.
fn read_placeholder(inside: &[PatternChar]) -> Result<(String, &[PatternChar]), String> {
    let end = inside
        .iter()
        .position(|it| *it == PatternChar::Plain('}'))
        .ok_or("{ without }; expected a name in braces, like {site}")?;
    let name: String = inside[..end].iter().map(|it| it.char()).collect();
    if !is_placeholder_name(&name) {
        return Err(format!(
            "{name:?} cannot stand in braces; expected a name of a-z, 0-9 and _"
        ));
    }
    Ok((name, &inside[end + 1..]))
}

/// Whether this can be the name of a capture: `[a-z_][a-z0-9_]*`.
#[must_use]
pub fn is_placeholder_name(name: &str) -> bool {
    let legal = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    name.bytes().all(legal) && !name.is_empty() && !name.as_bytes()[0].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The captures of a fit as `name=text`, `-` for no fit, `?` for a capture that is not clear.
    #[track_caller]
    fn check(pattern: &str, separator: Option<u8>, text: &str, expected: &str) {
        let found = TextPattern::parse(pattern, separator).unwrap();
        let said = found.fit(text, &Budget::new()).map_or_else(
            || "-".into(),
            |captured| {
                let one =
                    |it: &Captured| format!("{}={}", it.name, it.text.as_deref().unwrap_or("?"));
                let mut all: Vec<String> = captured.iter().map(one).collect();
                all.reverse();
                all.join(" ")
            },
        );
        assert_eq!(said, expected, "{pattern} on {text:?}");
    }

    const URI: Option<u8> = Some(b'/');

    #[test]
    fn a_star_takes_one_or_more_characters_but_no_separator() {
        check("a/*", URI, "a/b", "");
        check("a/*", URI, "a/", "-");
        check("a/*", URI, "a/b/c", "-");
        check("a/*/c", URI, "a/b/c", "");
        check("a/*/c", URI, "a/b/x/c", "-");
        check("*.plant", Some(b'.'), "cam.plant", "");
        check("*.plant", Some(b'.'), "a.cam.plant", "-");
        check("*.plant", Some(b'.'), ".plant", "-");
        check("*", None, "a/b.c@d", "");
        check("*", None, "", "-");
    }

    #[test]
    fn two_stars_take_separators_too_and_still_not_nothing() {
        check("a/**", URI, "a/b/c", "");
        check("a/**", URI, "a/", "-");
        check("**", URI, "/", "");
        check("**", None, "", "-");
        check("**/x/*", URI, "a/b/x/c", "");
        check("**/x/*", URI, "x/c", "-");
        check("a**b", URI, "ab", "-");
        check("*/**/z", URI, "a/b/c/z", "");
        check("*/**/z", URI, "a/z", "-");
    }

    #[test]
    fn a_later_fit_is_found_where_an_earlier_one_leads_nowhere() {
        // The first "-x" would leave "b/c" to a star that takes no slash.
        check("**-x*", URI, "a-xb/c-xd", "");
        check("**-x*", URI, "a-xb/c-x", "-");
        check("*a*b", URI, "xaxab", "");
        check("**aab", None, "aaaab", "");
    }

    #[test]
    fn captures_give_what_they_took() {
        let camera = "spiffe://plant/{site}/camera/{id}";
        check(
            camera,
            URI,
            "spiffe://plant/north/camera/7",
            "site=north id=7",
        );
        check(camera, URI, "spiffe://plant/north/east/camera/7", "-");
        check(camera, URI, "spiffe://plant//camera/7", "-");
        check(camera, URI, "spiffe://plant/north/camera/7/x", "-");
        check("cam-{id}", None, "cam-Lučić 7", "id=Lučić 7");
        check("{a}", None, "é", "a=é");
    }

    #[test]
    fn a_capture_that_could_be_cut_in_two_ways_is_not_guessed() {
        check("{a}-{b}", None, "x-y", "a=x b=y");
        check("{a}-{b}", None, "x-y-z", "a=? b=?");
        check("*-*/{x}", None, "a-b-c/d", "x=d");
        check("*a{x}a*", None, "1a2a3a2a4", "x=?");
        check("{a}.{b}", Some(b'.'), "x.y", "a=x b=y");
        check("{a}.{b}", Some(b'.'), "x.y.z", "-");
    }

    #[test]
    fn everything_else_stands_for_itself() {
        for literal in [
            "a.b", "a+", "(a)", "[a]", "^a$", "a|b", "a\\d", "a?", "$1", "é",
        ] {
            check(literal, None, literal, "");
            check(literal, None, "axb", "-");
        }
        check("a.b", None, "aXb", "-");
        check("A", None, "a", "-");
        check("a", None, "a\n", "-");
        check("a", None, "xa", "-");
        check("a*", None, "a\nb", "");
        check("*a", None, "b\na", "");
        check("a*c", None, "a\r\n\u{2028}c", "");
    }

    #[test]
    fn long_texts_fit_up_to_a_limit_and_no_pattern_beyond_it() {
        let long = "a".repeat(TextPattern::LONGEST_TEXT - 1);
        check("*a*a*a*b", None, &format!("{long}c"), "-");
        check("*a*a*a*b", None, &format!("{long}b"), "");
        check("a**b", None, &format!("{long}b"), "");
        check("**", None, &format!("{long}b"), "");
        for pattern in ["*a*a*a*b", "a**b", "**", &format!("{long}ab")] {
            check(pattern, None, &format!("{long}ab"), "-");
        }
    }

    #[test]
    fn what_is_compared_comes_off_a_budget_and_without_it_nothing_fits() {
        let budget = Budget::new();
        let pattern = TextPattern::parse("a*c", None).unwrap();
        assert!(pattern.fit("abc", &budget).is_some() && !budget.is_spent());
        assert!(!budget.spend(Budget::STEPS) && budget.is_spent());
        assert!(pattern.fit("abc", &budget).is_none());
    }

    /// All ways to cut `text` into `pieces`: where each capture begins and ends.
    fn ways(
        pieces: &[Piece],
        separator: Option<u8>,
        text: &str,
        at: usize,
    ) -> Vec<Vec<(usize, usize)>> {
        let Some((first, rest)) = pieces.split_first() else {
            return if at == text.len() {
                vec![Vec::new()]
            } else {
                Vec::new()
            };
        };
        let ends = at..=text.len();
        let fits = |end: &usize| {
            let taken = &text[at..*end];
            match first {
                Piece::Literal(literal) => taken == literal,
                Piece::Wild(Wild::Across) => !taken.is_empty(),
                Piece::Wild(_) => {
                    !taken.is_empty() && !taken.bytes().any(|it| Some(it) == separator)
                }
            }
        };
        let mut all = Vec::new();
        for end in ends.filter(fits) {
            for mut way in ways(rest, separator, text, end) {
                if matches!(first, Piece::Wild(Wild::Capture(_))) {
                    way.insert(0, (at, end));
                }
                all.push(way);
            }
        }
        all
    }

    #[test]
    fn what_fits_and_what_is_clear_is_what_trying_all_ways_says() {
        const PIECES: [&str; 8] = ["a", "/", "ab", "*", "**", "{x}", "{y}", "a/"];
        const LETTERS: [&str; 3] = ["a", "b", "/"];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % limit as u64).unwrap()
        };
        let mut fitting = 0;
        for _ in 0..100_000 {
            let pattern: String = (0..=below(5)).map(|_| PIECES[below(8)]).collect();
            let text: String = (0..below(8)).map(|_| LETTERS[below(3)]).collect();
            let Ok(parsed) = TextPattern::parse(&pattern, URI) else {
                continue;
            };
            let ways = ways(&parsed.pieces, URI, &text, 0);
            let Some(mut captured) = parsed.fit(&text, &Budget::new()) else {
                assert!(ways.is_empty(), "{pattern} on {text}");
                continue;
            };
            fitting += 1;
            captured.reverse();
            for (at, captured) in captured.iter().enumerate() {
                let (start, end) = ways[0][at];
                let clear = ways.iter().all(|way| way[at] == (start, end));
                let expected = clear.then(|| text[start..end].to_owned());
                assert_eq!(captured.text, expected, "{pattern} on {text}");
            }
        }
        assert!(fitting > 1000, "{fitting}");
    }

    #[test]
    fn patterns_that_say_too_little_are_refused() {
        for bad in [
            "", "***", "*{a}", "{a}{b}", "{a}**", "{", "}", "{a", "a}", "{}", "{A}", "{1}",
            "{a b}", "{a{b}}",
        ] {
            assert!(TextPattern::parse(bad, None).is_err(), "{bad}");
        }
        for good in ["*", "**", "{a}", "*-{a}", "{_1}"] {
            assert!(TextPattern::parse(good, None).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_escaped_means_nothing() {
        let chars: Vec<_> = "*{a}".chars().map(PatternChar::Escaped).collect();
        let pattern = TextPattern::from_chars(&chars, None).unwrap();
        let fits = |text| pattern.fit(text, &Budget::new()).is_some();
        assert!(fits("*{a}") && !fits("x"));
    }
}
