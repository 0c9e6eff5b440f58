//! What a route changes on the way: prefixes, headers, redirects, cookies.

use crate::config::document::At;
use crate::config::file::{CookieEditsFile, HeaderEditsFile};
use crate::config::scalar::{Entries, Flag, OneOrMany};
use crate::gate::route::{PathPattern, RewriteId};
use crate::proxy::rewrite::{
    CookieEdits, CookieSameSite, DomainEdit, FieldEdits, InvalidEdit, Origin, PathRewrite,
    Redirects, Rewrite, Side,
};

use super::login::lower_site_path;
use super::{choose_word, problem_with};

/// The rewrites of all routes, each once.
pub(super) struct Rewrites(Vec<Rewrite>);

impl Default for Rewrites {
    /// The first is what is usual.
    fn default() -> Self {
        Self(vec![Rewrite::default()])
    }
}

impl Rewrites {
    /// Where it is in the list.
    pub(super) fn place(&mut self, rewrite: Rewrite) -> RewriteId {
        let known = self.0.iter().position(|known| *known == rewrite);
        RewriteId(known.unwrap_or_else(|| {
            self.0.push(rewrite);
            self.0.len() - 1
        }))
    }
}

impl Rewrites {
    /// No route passes these fields of clients on.
    pub(super) fn drop_everywhere(&mut self, names: OneOrMany, at: &At<'_>) {
        for (at, name) in at.texts(names) {
            for rewrite in &mut self.0 {
                if let Err(why) = rewrite.request.remove(Side::Request, &name) {
                    problem_with(&name, why.to_string(), &at);
                    break;
                }
            }
        }
    }
}

impl From<Rewrites> for Vec<Rewrite> {
    fn from(rewrites: Rewrites) -> Self {
        rewrites.0
    }
}

/// The keys of a route that say what is changed.
pub(super) struct WrittenRewrite {
    pub(super) strip_prefix: Option<String>,
    pub(super) add_prefix: Option<String>,
    pub(super) rewrite_redirects: Option<Flag>,
    pub(super) backend_origins: Option<OneOrMany>,
    pub(super) request_headers: Option<HeaderEditsFile>,
    pub(super) response_headers: Option<HeaderEditsFile>,
    pub(super) cookies: Option<CookieEditsFile>,
}

impl WrittenRewrite {
    /// Lowers them, for a route with this `match`. What is wrong is recorded and left out.
    pub(super) fn lower(self, pattern: Option<&str>, at: &At<'_>) -> Rewrite {
        let edits = |written: Option<HeaderEditsFile>, side, key| {
            written.map_or_else(FieldEdits::default, |it| {
                lower_edits(it, side, &at.key(key))
            })
        };
        let cookies = |written| lower_cookies(written, &at.key("cookies"));
        Rewrite {
            path: self.path(pattern, at),
            request: edits(self.request_headers, Side::Request, "request_headers"),
            answer: edits(self.response_headers, Side::Answer, "response_headers"),
            redirects: lower_redirects(self.rewrite_redirects, self.backend_origins, at),
            cookies: self.cookies.map(cookies).unwrap_or_default(),
        }
    }

    fn path(&self, pattern: Option<&str>, at: &At<'_>) -> PathRewrite {
        let lower = |written: &Option<String>, key| {
            let prefix = |written: &String| lower_prefix(written, &at.key(key));
            written.as_ref().and_then(prefix).unwrap_or_default()
        };
        let strip = lower(&self.strip_prefix, "strip_prefix");
        if !strip.is_empty() && !begins_with(pattern.unwrap_or_default(), &strip) {
            at.key("strip_prefix").problem(
                "the paths of this route do not begin with it; match must, segment by segment",
            );
        }
        let add = lower(&self.add_prefix, "add_prefix");
        // It is sent as it stands here.
        if !add.bytes().all(|byte| byte.is_ascii_graphic()) {
            at.key("add_prefix")
                .problem("write it as it is to be sent, with %20 for a space");
        }
        PathRewrite::new(&strip, &add)
    }
}

/// A prefix, without the slash at its end.
fn lower_prefix(written: &str, at: &At<'_>) -> Option<String> {
    let prefix = written.strip_suffix('/').unwrap_or(written);
    if prefix.is_empty() {
        at.problem("expected a prefix of paths like /app, got nothing; leave it out");
        return None;
    }
    match PathPattern::parse(prefix) {
        Ok(PathPattern::Exact(path)) if !path.contains('{') => Some(path),
        Ok(PathPattern::Template(_)) if !prefix.contains('%') => Some(prefix.into()),
        Ok(_) | Err(_) => {
            problem_with(
                written,
                format!(
                    "expected a prefix of paths like /app, got {}",
                    at.quoted(written)
                ),
                at,
            );
            None
        }
    }
}

/// Whether every path of a route with this `match` begins with the segments of `prefix`.
fn begins_with(pattern: &str, prefix: &str) -> bool {
    let pattern = PathPattern::parse(pattern).map(|it| it.to_string());
    pattern.is_ok_and(|pattern| {
        pattern
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn lower_redirects(rewrite: Option<Flag>, origins: Option<OneOrMany>, at: &At<'_>) -> Redirects {
    let origins_at = at.key("backend_origins");
    if rewrite == Some(Flag(false)) {
        if origins.is_some() {
            origins_at.key_problem("rewrite_redirects: false leaves all as they are; take one out");
        }
        return Redirects::AsTheyAre;
    }
    let written = origins.map_or_else(Vec::new, |written| origins_at.texts(written));
    let origins = written.into_iter().filter_map(|(at, text)| {
        let origin = Origin::parse(&text);
        if origin.is_none() {
            let got = at.quoted(&text);
            at.problem(format!(
                "expected an origin like http://plc.local, got {got}"
            ));
        }
        origin
    });
    Redirects::Rewritten {
        also: origins.collect(),
    }
}

/// How one kind of change is recorded.
type Change = fn(&mut FieldEdits, Side, &str, &[&str]) -> Result<(), InvalidEdit>;

fn lower_edits(written: HeaderEditsFile, side: Side, at: &At<'_>) -> FieldEdits {
    let HeaderEditsFile { set, add, remove } = written;
    let mut edits = FieldEdits::default();
    let changes: [(_, Option<Entries<OneOrMany>>, Change); 2] =
        [("set", set, FieldEdits::set), ("add", add, FieldEdits::add)];
    for (key, entries, change) in changes {
        for (at, name, values) in at.key(key).entries(entries.unwrap_or_default()) {
            let Some(values) = values else { continue };
            let values: Vec<String> = at.texts(values).into_iter().map(|(_, it)| it).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            match change(&mut edits, side, &name, &values) {
                Ok(()) => {}
                Err(why @ (InvalidEdit::Value | InvalidEdit::HostValue)) => {
                    at.problem(why.to_string());
                }
                Err(why) => at.key_problem(why.to_string()),
            }
        }
    }
    let remove_at = at.key("remove");
    for (at, name) in remove.map_or_else(Vec::new, |names| remove_at.texts(names)) {
        if let Err(why) = edits.remove(side, &name) {
            problem_with(&name, why.to_string(), &at);
        }
    }
    edits
}

const SAME_SITE: [(&str, Option<CookieSameSite>); 3] = [
    ("strict", Some(CookieSameSite::Strict)),
    ("lax", Some(CookieSameSite::Lax)),
    ("none", Some(CookieSameSite::None)),
];

fn lower_cookies(written: CookieEditsFile, at: &At<'_>) -> CookieEdits {
    let CookieEditsFile {
        secure,
        http_only,
        same_site,
        path,
        domain,
        except,
    } = written;
    let same_site_at = at.key("same_site");
    let same_site = same_site.and_then(|word| choose_word(&word, &SAME_SITE, &same_site_at));
    let path = path.and_then(|path| lower_cookie_path(&path, &at.key("path")));
    let domain = domain.and_then(|domain| lower_domain(&domain, &at.key("domain")));
    let except_at = at.key("except");
    let except = except.map_or_else(Vec::new, |names| except_at.texts(names));
    CookieEdits {
        secure: secure == Some(Flag(true)),
        http_only: http_only == Some(Flag(true)),
        same_site,
        path: path.map(Into::into),
        domain,
        except: except.into_iter().map(|(_, name)| name.into()).collect(),
    }
}

fn lower_cookie_path(written: &str, at: &At<'_>) -> Option<String> {
    let path = lower_site_path(written, at)?;
    if path.contains(';') {
        at.problem("a cookie's path has no ;");
        return None;
    }
    Some(path)
}

fn lower_domain(written: &str, at: &At<'_>) -> Option<DomainEdit> {
    if written == "remove" {
        return Some(DomainEdit::Remove);
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    let is_name = written.contains('.') && written.bytes().all(legal);
    if !is_name {
        let got = at.quoted(written);
        at.problem(format!(
            "expected remove or a domain like example.com, got {got}"
        ));
        return None;
    }
    Some(DomainEdit::Set(written.into()))
}
