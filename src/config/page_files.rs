//! The files that the login section names: what pages show beside our own words.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::Source;
use super::document::At;
use super::file::LoginFile;
use crate::proxy::pages::logo::Logo;
use crate::tls::files::read;

/// What was in them.
#[derive(Default)]
pub struct PageFiles {
    /// The picture, where one is named and good.
    pub logo: Option<Logo>,
    /// Stands for all that, where there is any.
    pub content: Option<u64>,
}

impl PageFiles {
    /// Reads the files that `login` names. What is wrong with them is recorded at `top`.
    #[must_use]
    pub fn read(login: Option<&LoginFile>, source: &Source<'_>, top: &At<'_>) -> Self {
        let Some(login) = login else {
            return Self::default();
        };
        let at = top.key("login");
        let logo = login.logo.as_ref();
        let logo = logo.and_then(|logo| read_logo(logo, source, &at.key("logo")));
        let content = logo.is_some().then(|| {
            let mut hasher = DefaultHasher::new();
            logo.hash(&mut hasher);
            hasher.finish()
        });
        Self { logo, content }
    }
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
