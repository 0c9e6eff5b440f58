//! The files that the section `login` names: the logo, and what pages say in other languages.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::Source;
use super::document::{At, Document};
use super::file::{LanguageFile, LoginFile};
use super::problem::{Problem, closest};
use super::read::{read_text, read_yaml};
use super::scalar::Entries;
use super::shape::fit;
use crate::proxy::pages::language::{Direction, Language, LanguageTag};
use crate::proxy::pages::logo::Logo;
use crate::proxy::pages::text::{Text, placeholders};
use crate::tls::files::read;

/// The longest text that a page has room for, in characters.
const MOST_CHARACTERS: usize = 500;

/// What was in them.
#[derive(Default)]
pub struct PageFiles {
    /// The picture, where one is named and good.
    pub logo: Option<Logo>,
    /// The languages, in the order of their files.
    pub languages: Vec<Language>,
}

impl PageFiles {
    /// Stands for all that, where there is any.
    #[must_use]
    pub fn content(&self) -> Option<u64> {
        let Self { logo, languages } = self;
        (logo.is_some() || !languages.is_empty()).then(|| {
            let mut hasher = DefaultHasher::new();
            (logo, languages).hash(&mut hasher);
            hasher.finish()
        })
    }
}

/// The files of languages, and what was found in them.
#[derive(Default)]
pub struct LanguageDocuments {
    documents: Vec<Document>,
    /// Of those that are no YAML.
    broken: Vec<Problem>,
}

impl LanguageDocuments {
    /// The problems found in them, a file each.
    pub fn take_problems(&self) -> impl Iterator<Item = Vec<Problem>> {
        let of_documents = self.documents.iter().map(Document::take_problems);
        let of_broken = self.broken.iter().map(|problem| vec![problem.clone()]);
        of_documents.chain(of_broken)
    }

    /// What was noticed in them.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.documents.iter().flat_map(Document::warnings)
    }
}

/// Reads the files that `login` names. What is wrong with them is recorded at `top`, the
/// configuration's, and what is wrong in them with their own documents.
#[must_use]
pub fn read_page_files(
    login: Option<&LoginFile>,
    source: &Source<'_>,
    top: &At<'_>,
) -> (PageFiles, LanguageDocuments) {
    let (mut files, mut documents) = (PageFiles::default(), LanguageDocuments::default());
    let Some(login) = login else {
        return (files, documents);
    };
    let at = top.key("login");
    let logo = login.logo.as_ref();
    files.logo = logo.and_then(|logo| read_logo(logo, source, &at.key("logo")));
    let Some(written) = login.languages.clone() else {
        return (files, documents);
    };
    let at = at.key("languages");
    if written.is_empty() {
        at.problem("an empty list; name a file, or leave languages out");
    }
    for (at, file) in at.texts(written) {
        let Some(language) = documents.read(&file, source, &at) else {
            continue;
        };
        let tag = language.tag.as_str();
        let same = |it: &Language| it.tag.as_str().eq_ignore_ascii_case(tag);
        if files.languages.iter().any(same) {
            at.problem(format!("another file before it is for {tag:?} too"));
        }
        files.languages.push(language);
    }
    (files, documents)
}

fn read_logo(written: &str, source: &Source<'_>, at: &At<'_>) -> Option<Logo> {
    let named = at.quoted(written);
    let bytes = match read(&source.folder().join(written)) {
        Ok(bytes) => bytes,
        Err(error) => {
            at.problem(format!("the file {named}: cannot be read: {error}"));
            return None;
        }
    };
    let logo = Logo::read(&bytes);
    logo.map_err(|why| at.problem(format!("the file {named}: {why}")))
        .ok()
}

impl LanguageDocuments {
    /// The language in a file, if there is one.
    fn read(&mut self, written: &str, source: &Source<'_>, at: &At<'_>) -> Option<Language> {
        let file = source.folder().join(written);
        let text = match read_text(&file) {
            Ok(text) => text,
            Err(problem) => {
                let named = at.quoted(written);
                at.problem(format!("the file {named}: {}", problem.message));
                return None;
            }
        };
        match read_yaml(&text, &file, source.variables) {
            Ok((document, mut value)) => {
                let written = fit(&mut value, &document.root());
                let language = lower_language(written, &document.root());
                self.documents.push(document);
                language
            }
            Err(problem) => {
                self.broken.push(problem);
                None
            }
        }
    }
}

fn lower_language(written: LanguageFile, top: &At<'_>) -> Option<Language> {
    let LanguageFile {
        language,
        direction,
        texts,
    } = written;
    let direction = direction.and_then(|it| lower_direction(&it, &top.key("direction")));
    let hint = "name it by its tag, like de or pt-BR";
    let written = top.required("language", language, hint);
    let tag = written.as_deref().and_then(|written| {
        let tag = LanguageTag::parse(written);
        if tag.is_none() {
            let at = top.key("language");
            let got = at.quoted(written);
            at.problem(format!("expected a tag like de or pt-BR, got {got}"));
        }
        tag
    });
    // Its texts are looked at whatever it is.
    let unknown = || Language::english().tag;
    let mut language = Language::new(
        tag.clone().unwrap_or_else(unknown),
        direction.unwrap_or_default(),
    );
    lower_texts(texts, &mut language, &top.key("texts"));
    tag.map(|_| language)
}

fn lower_direction(written: &str, at: &At<'_>) -> Option<Direction> {
    match written {
        "ltr" => Some(Direction::LeftToRight),
        "rtl" => Some(Direction::RightToLeft),
        _ => {
            let got = at.quoted(written);
            at.problem(format!("expected ltr or rtl, got {got}"));
            None
        }
    }
}

fn lower_texts(texts: Entries<String>, language: &mut Language, at: &At<'_>) {
    let mut is_right = true;
    for (at, key, words) in at.entries(texts) {
        let Some(text) = Text::of_key(&key) else {
            let meant = closest(&key, Text::ALL.iter().map(|text| text.key()));
            let meant = meant.map(|it| format!("; did you mean {it:?}?"));
            at.key_problem(format!("no page says this{}", meant.unwrap_or_default()));
            is_right = false;
            continue;
        };
        let Some(words) = words else {
            is_right = false;
            continue;
        };
        match why_not(text, &words) {
            Some(why) => at.problem(why),
            None => language.set(text, words),
        }
    }
    // One that is misspelt is not missing as well.
    if is_right {
        warn_of_missing(language, at);
    }
}

/// Why these cannot be the words for a text.
fn why_not(text: Text, words: &str) -> Option<String> {
    let is_long = words.chars().count() > MOST_CHARACTERS;
    if is_long || words.trim().is_empty() || words.contains(char::is_control) {
        return Some(format!(
            "expected 1 to {MOST_CHARACTERS} characters on one line"
        ));
    }
    let expected = text.placeholder();
    let found: Vec<&str> = placeholders(words).collect();
    let has_other_braces = words.matches(['{', '}']).count() != 2 * found.len();
    match expected {
        Some(name) if found == [name] && !has_other_braces => None,
        Some(name) => Some(format!(
            "must say {{{name}}} once, and nothing else in braces"
        )),
        None if words.contains(['{', '}']) => {
            Some("nothing is put in here; take out the braces".into())
        }
        None => None,
    }
}

/// The next version may say more than this one, and its pages are to be there all the same.
fn warn_of_missing(language: &Language, at: &At<'_>) {
    const MOST: usize = 5;
    let missing: Vec<&str> = language.missing().map(Text::key).collect();
    let shown = missing
        .iter()
        .take(MOST)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    let more = match missing.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    if !missing.is_empty() {
        at.warn(format!(
            "said in English, since they are not here: {shown}{more}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What is written in a file of `conf/languages`, and the texts that are missing there.
    fn written(name: &str) -> (Vec<(String, Option<String>)>, Vec<Text>) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/languages");
        let file = folder.join(name);
        let text = read_text(&file).unwrap();
        let (document, mut value) = read_yaml(&text, &file, &|_| None).unwrap();
        let top = document.root();
        let texts = |value: &mut _| fit::<LanguageFile>(value, &top).texts.0;
        let words = texts(&mut value.clone());
        let language = lower_language(fit(&mut value, &top), &top).unwrap();
        assert_eq!(document.take_problems(), []);
        (words, language.missing().collect())
    }

    #[test]
    fn the_languages_that_come_with_us_have_words_for_everything() {
        for name in ["en.yaml", "de.yaml", "ar.yaml"] {
            assert_eq!(written(name).1, [], "{name}");
        }
    }

    #[test]
    fn the_file_to_begin_with_says_what_is_said_without_it() {
        let (words, _) = written("en.yaml");
        let own = Text::ALL.iter().map(|text| (text.key(), text.english()));
        let own = own.map(|(key, english)| (key.to_owned(), Some(english.to_owned())));
        assert_eq!(words, own.collect::<Vec<_>>());
    }
}
