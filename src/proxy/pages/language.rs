//! The languages that pages can be in, and which of them somebody reads.
//!
//! Only pages are translated: what programs get and what is logged stays in English.

use std::fmt::{self, Write as _};

use super::escape;
use super::text::{Said, Text};
use crate::http1::fields::Fields;

/// A language as a tag of BCP 47, like `de` or `pt-BR`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LanguageTag(String);

impl fmt::Debug for LanguageTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl LanguageTag {
    /// A language of two or three letters, and what follows it after hyphens.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let language = parts.next()?;
        let is_language =
            matches!(language.len(), 2 | 3) && language.bytes().all(|it| it.is_ascii_alphabetic());
        let mut is_part = |part: &str| {
            matches!(part.len(), 1..=8) && part.bytes().all(|it| it.is_ascii_alphanumeric())
        };
        let is_tag = is_language && text.len() <= 35 && parts.all(&mut is_part);
        is_tag.then(|| Self(text.to_owned()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How well it fits a range: by how many letters, and `None` for another language.
    fn fits(&self, range: &[u8]) -> Option<usize> {
        let tag = self.0.as_bytes();
        let common = tag.len().min(range.len());
        let (same, rest) = (
            tag[..common].eq_ignore_ascii_case(&range[..common]),
            tag.get(common).or_else(|| range.get(common)),
        );
        // `de` is good for who reads `de-AT`, and `pt-BR` for who reads `pt`.
        (same && matches!(rest, None | Some(b'-'))).then_some(common)
    }
}

/// Which way a language is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From left to right.
    #[default]
    LeftToRight,
    /// From right to left.
    RightToLeft,
}

/// What pages say in a language. What it has no words for is said in English.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Language {
    /// Which.
    pub tag: LanguageTag,
    /// Its direction.
    pub direction: Direction,
    /// The words for each text, in the order of [`Text::ALL`].
    texts: Vec<Option<String>>,
}

impl Language {
    /// One without words.
    #[must_use]
    pub fn new(tag: LanguageTag, direction: Direction) -> Self {
        Self {
            tag,
            direction,
            texts: vec![None; Text::ALL.len()],
        }
    }

    /// Our own.
    #[must_use]
    pub fn english() -> Self {
        Self::new(LanguageTag("en".to_owned()), Direction::LeftToRight)
    }

    /// Gives it the words for `text`. There is a place in them for what is put in.
    pub fn set(&mut self, text: Text, words: String) {
        self.texts[text as usize] = Some(words);
    }

    /// The texts that it has no words for.
    pub fn missing(&self) -> impl Iterator<Item = Text> {
        let both = Text::ALL.iter().zip(&self.texts);
        both.filter(|(_, words)| words.is_none())
            .map(|(text, _)| *text)
    }

    fn words(&self, text: Text) -> &str {
        let own = self.texts[text as usize].as_deref();
        own.unwrap_or_else(|| text.english())
    }

    /// What is said, as HTML. What was put in stands apart from it: a name may be written from left
    /// to right where all else is not.
    #[must_use]
    pub fn html(&self, said: &Said<'_>) -> String {
        let words = self.words(said.text);
        let mut html = match (&said.value, words.split_once('{'), words.split_once('}')) {
            (Some(value), Some((before, _)), Some((_, after))) => format!(
                "{}<bdi>{}</bdi>{}",
                escape(before),
                escape(value),
                escape(after)
            ),
            _ => escape(words),
        };
        if let Some(then) = said.then {
            // Writing to a String does not fail.
            let _ = write!(html, " {}", escape(self.words(then)));
        }
        html
    }

    /// The attributes of the `<html>` element.
    #[must_use]
    pub fn attributes(&self) -> String {
        let direction = match self.direction {
            Direction::LeftToRight => "",
            Direction::RightToLeft => " dir=\"rtl\"",
        };
        format!("lang=\"{}\"{direction}", self.tag.as_str())
    }
}

/// Who looks at a page: what they have said of the languages that they read.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Reader<'h>(Option<&'h [u8]>);

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

/// The most that is read of what somebody says of their languages. Browsers name a handful.
const MOST_RANGES: usize = 16;

impl<'h> Reader<'h> {
    /// Who has sent these fields.
    #[must_use]
    pub fn of(fields: &'h Fields) -> Self {
        Self(fields.get("accept-language"))
    }

    /// The place in `languages` of the one that they like best; `None` where they read none of them.
    #[must_use]
    pub fn prefers(self, languages: &[Language]) -> Option<usize> {
        let mut ranges: Vec<(&[u8], u16)> = self.ranges().collect();
        // What they like as much stays in their order.
        ranges.sort_by_key(|(_, quality)| u16::MAX - quality);
        let (refused, read): (Vec<_>, Vec<_>) = ranges.iter().partition(|(_, it)| *it == 0);
        let is_refused = |language: &Language| {
            let tag = language.tag.as_str().as_bytes();
            refused
                .iter()
                .any(|(range, _)| range.eq_ignore_ascii_case(tag))
        };
        let candidates = || {
            languages
                .iter()
                .enumerate()
                .filter(|(_, it)| !is_refused(it))
        };
        read.iter().find_map(|(range, _)| {
            if *range == b"*" {
                return candidates().next().map(|(place, _)| place);
            }
            let fitting = candidates().filter_map(|(place, it)| Some((it.tag.fits(range)?, place)));
            // Of several that fit as well, the first.
            let best = fitting.max_by_key(|(letters, place)| (*letters, usize::MAX - place));
            best.map(|(_, place)| place)
        })
    }

    /// Each range with its quality in thousandths (RFC 9110 section 12.5.4).
    fn ranges(self) -> impl Iterator<Item = (&'h [u8], u16)> {
        let items = self.0.unwrap_or_default().split(|byte| *byte == b',');
        items.take(MOST_RANGES).filter_map(|item| {
            let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let range = parts.next().filter(|range| !range.is_empty())?;
            let quality = match parts.next() {
                None => 1000,
                Some(weight) => quality(weight)?,
            };
            Some((range, quality))
        })
    }
}

/// Reads `q=0.5`.
fn quality(weight: &[u8]) -> Option<u16> {
    let value = weight
        .strip_prefix(b"q=")
        .or_else(|| weight.strip_prefix(b"Q="))?;
    let (whole, digits) = match value {
        [whole, b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        [whole] => (whole, &[][..]),
        _ => return None,
    };
    let digit = |place: usize| match digits.get(place) {
        None => Some(0),
        Some(digit @ b'0'..=b'9') => Some(u16::from(digit - b'0')),
        Some(_) => None,
    };
    let thousandths = digit(0)? * 100 + digit(1)? * 10 + digit(2)?;
    match (whole, thousandths) {
        (b'0', _) => Some(thousandths),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language(tag: &str) -> Language {
        Language::new(LanguageTag::parse(tag).unwrap(), Direction::LeftToRight)
    }

    #[track_caller]
    fn check_preferred(said: &str, expected: Option<&str>) {
        let languages = ["en", "de", "pt-BR", "zh-Hant", "zh-Hans"].map(language);
        let found = Reader(Some(said.as_bytes())).prefers(&languages);
        let found = found.map(|place| languages[place].tag.as_str());
        assert_eq!(found, expected, "{said}");
    }

    #[test]
    fn people_get_the_language_that_they_like_best_of_those_that_there_are() {
        check_preferred("de", Some("de"));
        check_preferred("DE-at, en;q=0.9", Some("de"));
        check_preferred("fr-FR,fr;q=0.9,en;q=0.8,de;q=0.7", Some("en"));
        check_preferred("en;q=0.5,de;q=0.8", Some("de"));
        check_preferred("de;q=0.8 , en ; q=0.81", Some("en"));
        check_preferred("pt", Some("pt-BR"));
        check_preferred("pt-PT, en;q=0.1", Some("en"));
        check_preferred("zh-Hans-CN", Some("zh-Hans"));
        check_preferred("zh", Some("zh-Hant"));
        check_preferred("fr, *;q=0.1", Some("en"));
        check_preferred("*, en;q=0", Some("de"));
        check_preferred("de;q=0, de;q=0.000", None);
        check_preferred("fr", None);
        check_preferred("d", None);
        check_preferred("dead", None);
        check_preferred("", None);
    }

    #[test]
    fn what_cannot_be_read_is_passed_over() {
        for bad in [
            "de;q=2",
            "de;q=1.001",
            "de;q=0.1234",
            "de;q=x",
            "de;x=1",
            "de;q=",
            ";q=1",
        ] {
            check_preferred(bad, None);
            check_preferred(&format!("{bad},en;q=0.1"), Some("en"));
        }
        // Nobody reads that many, and nobody makes us sort them.
        let many = "xx,".repeat(MOST_RANGES);
        check_preferred(&format!("{many}de"), None);
    }

    #[test]
    fn a_language_has_a_tag_that_can_stand_in_a_page() {
        for good in ["de", "pt-BR", "zh-Hant-TW", "sl-rozaj-biske-1994"] {
            assert!(LanguageTag::parse(good).is_some(), "{good}");
        }
        for bad in [
            "", "d", "german", "de_DE", "de-", "-de", "de\"", "de-äö", "de--AT", "12",
        ] {
            assert_eq!(LanguageTag::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn nothing_in_a_language_or_a_name_becomes_markup() {
        let mut language = language("de");
        language.set(Text::LoggedInAs, "<i>{user}</i> & so".to_owned());
        let html = language.html(&Text::LoggedInAs.with("<b>{user}"));
        let expected = "&lt;i&gt;<bdi>&lt;b&gt;{user}</bdi>&lt;/i&gt; &amp; so";
        assert_eq!(html, expected);
        // What it has no words for is said in English.
        assert_eq!(language.html(&Text::LogIn.into()), "Log in");
        assert_eq!(language.missing().count(), Text::ALL.len() - 1);
    }
}
