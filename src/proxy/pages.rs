//! The pages we show people: login, logout, problems. Rendered here, whole, without scripts and
//! without a request to anywhere else.

pub mod accent;
pub mod language;
pub mod logo;
pub mod text;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::request_id::RequestId;
use super::spec::LoginSpec;

use accent::Accent;
use language::{Language, Reader};
use logo::Logo;
use text::{Said, Text};

const STYLE: &str = include_str!("pages/style.css");

/// What makes the pages those of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What they call the thing behind the gate.
    pub title: String,
    /// The colour of their buttons and links, where it is not the usual one.
    pub accent: Option<Accent>,
    /// The picture above the forms, where there is one.
    pub logo: Option<Logo>,
    /// What they are translated to. One for English has other words than ours.
    pub languages: Vec<Language>,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            title: "Portcullis".to_owned(),
            accent: None,
            logo: None,
            languages: Vec::new(),
        }
    }
}

/// The pages of one configuration.
#[derive(Clone, Debug)]
pub struct Pages {
    look: Look,
    /// All of them. The first is for who reads none of the others.
    languages: Vec<Language>,
    style: String,
    policy: String,
}

/// The pages in the language of who looks at them.
#[derive(Clone, Copy, Debug)]
pub struct PagesFor<'p> {
    pages: &'p Pages,
    language: &'p Language,
}

/// What the login page shows.
#[derive(Clone, Debug, Default)]
pub struct LoginForm<'f> {
    /// The token that proves that the form is ours.
    pub token: &'f str,
    /// Where to go afterwards.
    pub rd: &'f str,
    /// The name typed before, to be corrected.
    pub username: &'f str,
    /// Whether it asks for how long.
    pub remember: Remember,
    /// Why the form is there, if there is something to say.
    pub note: Option<Text>,
    /// What went wrong, if something did.
    pub error: Option<&'f Said<'f>>,
}

/// What the page for something that is not possible shows.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'p> {
    /// The status.
    pub status: StatusCode,
    /// What is not possible.
    pub said: &'p Said<'p>,
    /// Where to go instead, with the words for that.
    pub way_on: Option<(&'p str, Text)>,
    /// The request.
    pub id: &'p RequestId,
}

/// Whether somebody can stay logged in on this device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Remember {
    /// It is switched off.
    #[default]
    NotOffered,
    /// They can.
    Offered,
    /// They want to, and something else was wrong.
    Chosen,
}

impl Pages {
    /// Pages that look like this.
    #[must_use]
    pub fn new(look: Look) -> Self {
        let accent = look.accent.map_or_else(String::new, Accent::style);
        let style = format!("{STYLE}{accent}");
        let digest = STANDARD.encode(Sha256::digest(&style));
        let pictures = match look.logo {
            Some(_) => "img-src data:; ",
            None => "",
        };
        // Nothing but our own style sheet, by its hash, and a picture that is in the page. No framing
        // (ASVS 3.4.6), and forms go nowhere but here.
        let policy = format!(
            "default-src 'none'; {pictures}style-src 'sha256-{digest}'; form-action 'self'; \
             frame-ancestors 'none'; base-uri 'none'"
        );
        let english = |language: &Language| language.tag.as_str().eq_ignore_ascii_case("en");
        let (own, others): (Vec<_>, Vec<_>) = look.languages.iter().cloned().partition(english);
        let english = own.into_iter().next().unwrap_or_else(Language::english);
        Self {
            languages: [vec![english], others].concat(),
            look,
            style,
            policy,
        }
    }

    /// In the language that `reader` likes best.
    #[must_use]
    pub fn read_by(&self, reader: Reader<'_>) -> PagesFor<'_> {
        let language = match self.languages.as_slice() {
            // Nobody's wishes need to be read.
            [only] => only,
            several => &several[reader.prefers(several).unwrap_or(0)],
        };
        PagesFor {
            pages: self,
            language,
        }
    }
}

impl PagesFor<'_> {
    /// The fields of an answer that is one of them.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("Content-Security-Policy", self.pages.policy.clone()),
            ("Content-Language", self.language.tag.as_str().to_owned()),
        ];
        if self.pages.languages.len() > 1 {
            fields.push(("Vary", "Accept-Language".to_owned()));
        }
        fields
    }

    fn html(&self, said: impl Into<Said<'static>>) -> String {
        self.language.html(&said.into())
    }

    /// The login form.
    #[must_use]
    pub fn login(&self, login: &LoginSpec, form: &LoginForm<'_>) -> String {
        let note = form.note.map_or_else(String::new, |note| {
            format!("<p role=\"status\">{}</p>", self.html(note))
        });
        let error = form.error.map_or_else(String::new, |error| {
            let error = self.language.html(error);
            format!("<p class=\"error\" role=\"alert\" id=\"error\">{error}</p>")
        });
        let described = match form.error {
            Some(_) => " aria-describedby=\"error\" aria-invalid=\"true\"",
            None => "",
        };
        let (name_focus, password_focus) = match form.username {
            "" => (" autofocus", ""),
            _ => ("", " autofocus"),
        };
        let body = format!(
            "{logo}<h1>{title}</h1>{note}{error}\
             <form method=\"post\" action=\"{action}\">\
             <input type=\"hidden\" name=\"csrf\" value=\"{token}\">\
             <input type=\"hidden\" name=\"rd\" value=\"{rd}\">\
             <label for=\"username\">{user_name}</label>\
             <input id=\"username\" name=\"username\" type=\"text\" value=\"{username}\" \
             autocomplete=\"username\" autocapitalize=\"none\" spellcheck=\"false\" \
             required maxlength=\"64\"{described}{name_focus}>\
             <label for=\"password\">{password}</label>\
             <input id=\"password\" name=\"password\" type=\"password\" \
             autocomplete=\"current-password\" required{described}{password_focus}>\
             {remember}<button type=\"submit\">{log_in}</button></form>",
            logo = self.logo(""),
            title = escape(&self.pages.look.title),
            user_name = self.html(Text::UserName),
            password = self.html(Text::Password),
            remember = self.remember(form.remember),
            log_in = self.html(Text::LogIn),
            action = escape(&login.path),
            token = escape(form.token),
            rd = escape(form.rd),
            username = escape(form.username),
        );
        self.page(Text::LogIn, &body)
    }

    fn remember(&self, remember: Remember) -> String {
        let checked = match remember {
            Remember::NotOffered => return String::new(),
            Remember::Offered => "",
            Remember::Chosen => " checked",
        };
        format!(
            "<label class=\"choice\"><input name=\"remember\" type=\"checkbox\" value=\"1\"{checked}>\
             {}</label>",
            self.html(Text::Remember)
        )
    }

    /// The form that logs out.
    #[must_use]
    pub fn logout(&self, login: &LoginSpec, user: &str, token: &str) -> String {
        let body = format!(
            "{}<h1>{}</h1><p>{}</p>\
             <form method=\"post\" action=\"{}\">\
             <input type=\"hidden\" name=\"csrf\" value=\"{}\">\
             <button type=\"submit\" autofocus>{}</button></form>\
             <p><a href=\"{}\">{}</a></p>",
            self.logo(""),
            escape(&self.pages.look.title),
            self.language.html(&Text::LoggedInAs.with(user)),
            escape(&login.logout),
            escape(token),
            self.html(Text::LogOut),
            escape(&login.home),
            self.html(Text::StayLoggedIn),
        );
        self.page(Text::LogOut, &body)
    }

    /// What is shown after logging out.
    #[must_use]
    pub fn logged_out(&self, login: &LoginSpec) -> String {
        let body = format!(
            "{}<h1>{}</h1><p role=\"status\">{}</p>\
             <p><a href=\"{}\">{}</a></p>",
            self.logo(""),
            escape(&self.pages.look.title),
            self.html(Text::YouAreLoggedOut),
            escape(&login.path),
            self.html(Text::LogInAgain),
        );
        self.page(Text::LoggedOut, &body)
    }

    /// What is shown when something is not possible.
    #[must_use]
    pub fn problem(&self, problem: &Problem<'_>) -> String {
        let heading = Text::heading(problem.status);
        let way_on = problem.way_on.map(|(path, words)| {
            let words = self.html(words);
            format!("<p><a href=\"{}\">{words}</a></p>", escape(path))
        });
        let body = format!(
            "{}<h1>{}</h1><p>{}</p>{}<p class=\"small\">{} · {}</p>",
            self.logo(&self.pages.look.title),
            self.html(heading),
            self.language.html(problem.said),
            way_on.unwrap_or_default(),
            problem.status.as_u16(),
            self.language
                .html(&Text::RequestId.with(problem.id.as_str())),
        );
        self.page(heading, &body)
    }

    /// The picture, where there is one. Where the title stands below, it says nothing more than that.
    fn logo(&self, says: &str) -> String {
        let image = |logo: &Logo| format!("<img src=\"{}\" alt=\"{}\">", logo.uri(), escape(says));
        let logo = self.pages.look.logo.as_ref();
        logo.map_or_else(String::new, image)
    }

    fn page(&self, heading: Text, body: &str) -> String {
        format!(
            "<!doctype html><html {}><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">\
             <meta name=\"robots\" content=\"noindex\">\
             <title>{} · {}</title><style>{}</style></head>\
             <body><main>{body}</main></body></html>\n",
            self.language.attributes(),
            self.html(heading),
            escape(&self.pages.look.title),
            self.pages.style,
        )
    }
}

/// The words for a status.
#[must_use]
pub fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

/// Text as it may stand in HTML, in an element or in a quoted attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// What may not stand in the value of a query parameter as it is: all but the unreserved
/// characters of RFC 3986 and the slash.
const NOT_IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Text as it may stand in the value of a query parameter.
#[must_use]
pub fn encode_query(text: &str) -> String {
    utf8_percent_encode(text, NOT_IN_QUERY).to_string()
}

#[cfg(test)]
mod tests {
    use super::language::{Direction, LanguageTag};
    use super::*;
    use crate::proxy::cookie::SameSite;

    #[test]
    fn nothing_that_was_typed_becomes_markup() {
        let hostile = "\"><script>alert('x')</script>&";
        let look = Look {
            title: hostile.to_owned(),
            ..Look::default()
        };
        let login = LoginSpec {
            look: look.clone(),
            path: "/auth/login".into(),
            logout: "/auth/logout".into(),
            home: "/".into(),
            same_site: SameSite::Lax,
        };
        let form = LoginForm {
            token: hostile,
            rd: hostile,
            username: hostile,
            remember: Remember::Chosen,
            note: None,
            error: Some(&Text::AmbiguousPath.with(hostile)),
        };
        let pages = Pages::new(look);
        let page = pages.read_by(Reader::default()).login(&login, &form);
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)"), "{page}");
    }

    fn field<'f>(fields: &'f [(&str, String)], name: &str) -> Option<&'f str> {
        let mut found = fields.iter().filter(|(it, _)| *it == name);
        found.next().map(|(_, value)| value.as_str())
    }

    #[test]
    fn pictures_are_allowed_where_there_is_a_logo_and_nowhere_else() {
        let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>";
        for (logo, allowed) in [(None, false), (Some(Logo::read(svg).unwrap()), true)] {
            let pages = Pages::new(Look {
                logo,
                ..Look::default()
            });
            let fields = pages.read_by(Reader::default()).fields();
            let policy = field(&fields, "Content-Security-Policy").unwrap();
            assert_eq!(policy.contains("img-src data:;"), allowed, "{policy}");
            assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        }
    }

    #[test]
    fn english_is_there_for_who_reads_nothing_else_in_whichever_words() {
        let language = |tag, words: &str| {
            let mut language =
                Language::new(LanguageTag::parse(tag).unwrap(), Direction::default());
            language.set(Text::NothingHere, words.to_owned());
            language
        };
        let (de, en) = (language("de", "Nichts"), language("en", "Nope"));
        let ours = Text::NothingHere.english();
        for (languages, varies, said) in [
            (vec![], None, ours),
            (vec![de.clone()], Some("Accept-Language"), ours),
            (vec![de, en.clone()], Some("Accept-Language"), "Nope"),
            (vec![en], None, "Nope"),
        ] {
            let pages = Pages::new(Look {
                languages,
                ..Look::default()
            });
            let page = pages.read_by(Reader::default());
            assert_eq!(page.html(Text::NothingHere), said);
            let fields = page.fields();
            assert_eq!(field(&fields, "Vary"), varies);
            assert_eq!(field(&fields, "Content-Language"), Some("en"));
        }
    }

    #[test]
    fn a_query_value_cannot_end_its_parameter() {
        assert_eq!(encode_query("/a?b=c&d=é#x"), "/a%3Fb%3Dc%26d%3D%C3%A9%23x");
    }
}
