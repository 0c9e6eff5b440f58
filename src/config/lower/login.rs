//! The section `login`.

use std::time::Duration;

use crate::config::document::At;
use crate::config::file::{Argon2idFile, LockoutFile, LoginFile};
use crate::config::page_files::PageFiles;
use crate::config::scalar::{Flag, Number, OneOrMany, Size};
use crate::gate::OwnPaths;
use crate::gate::route::PathPattern;
use crate::password::argon2id::{Argon2idError, Argon2idParameters};
use crate::password::stored::DEFAULT_REALMS;
use crate::proxy::cookie::SameSite;
use crate::proxy::pages::Look;
use crate::proxy::pages::accent::Accent;
use crate::proxy::spec::LoginSpec;
use crate::store::attempts::LockoutPolicy;

use super::{DAY, in_range, span_within};

const MINUTE: Duration = Duration::from_secs(60);

/// The login pages, and what passwords are checked and stored with.
pub(super) struct Login {
    /// The pages.
    pub(super) spec: LoginSpec,
    /// Tried for hashes that have a realm in them.
    pub(super) realms: Vec<String>,
    /// When guessing has to wait.
    pub(super) lockout: LockoutPolicy,
    /// What new hashes cost.
    pub(super) argon2id: Argon2idParameters,
    /// Whether MD5 hashes will do.
    pub(super) allows_md5: bool,
}

impl Login {
    /// Where the pages are, as the gate knows them.
    pub(super) fn own_paths(&self) -> OwnPaths {
        OwnPaths {
            login: self.spec.path.clone(),
            logout: self.spec.logout.clone(),
        }
    }
}

/// The login pages, with the defaults for what is not written. `same_site` is from the section
/// `sessions`, and `files` are those that the section names.
pub(super) fn lower(
    written: LoginFile,
    same_site: SameSite,
    files: PageFiles,
    at: &At<'_>,
) -> Login {
    let LoginFile {
        path,
        logout,
        title,
        home,
        realms,
        lockout,
        accent,
        argon2id,
        unsafe_md5_passwords,
        // These come as `files`, with what is in them.
        logo: _,
        languages: _,
    } = written;
    let own = |written: Option<String>, key, default: &str| {
        let path = written.and_then(|path| lower_own_path(path, &at.key(key)));
        path.unwrap_or_else(|| default.into())
    };
    let home_path = home.and_then(|home| lower_site_path(&home, &at.key("home")));
    let spec = LoginSpec {
        path: own(path, "path", "/auth/login"),
        logout: own(logout, "logout", "/auth/logout"),
        look: Look {
            title: lower_title(title, &at.key("title")),
            accent: accent.and_then(|accent| lower_accent(&accent, &at.key("accent"))),
            logo: files.logo,
            languages: files.languages,
        },
        home: home_path.unwrap_or_else(|| "/".into()),
        same_site,
    };
    if spec.path == spec.logout {
        at.key("logout")
            .problem("login and logout need a path each");
    }
    if spec.home == spec.path || spec.home == spec.logout {
        at.key("home")
            .problem("a login would lead back to the login or logout page");
    }
    let realms = lower_realms(realms, &at.key("realms"));
    let lockout = lower_lockout(lockout.unwrap_or_default(), &at.key("lockout"));
    Login {
        spec,
        realms,
        lockout,
        argon2id: lower_argon2id(argon2id.unwrap_or_default(), &at.key("argon2id")),
        allows_md5: unsafe_md5_passwords == Some(Flag(true)),
    }
}

fn lower_argon2id(written: Argon2idFile, at: &At<'_>) -> Argon2idParameters {
    let Argon2idFile {
        memory,
        passes,
        lanes,
    } = written;
    let default = Argon2idParameters::default();
    let within = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let number = |written: Option<Number>| written.map(|Number(number)| within(number));
    let kib = memory.map(|Size(bytes)| within(bytes >> 10));
    let parameters = Argon2idParameters::new(
        kib.unwrap_or_else(|| default.memory()),
        number(passes).unwrap_or_else(|| default.passes()),
        number(lanes).unwrap_or_else(|| default.lanes()),
    );
    parameters.unwrap_or_else(|error| {
        let key = match error {
            Argon2idError::Passes => "passes",
            Argon2idError::Lanes => "lanes",
            Argon2idError::Memory | Argon2idError::BelowFloor { .. } => "memory",
        };
        at.key(key).problem(error.to_string());
        default
    })
}

/// There are bounds, because without any this would be off by another name.
fn lower_lockout(written: LockoutFile, at: &At<'_>) -> LockoutPolicy {
    let LockoutFile {
        per_user,
        per_address,
        longest,
    } = written;
    let default = LockoutPolicy::default();
    let count = |written, default: u32, most, key| {
        let default = usize::try_from(default).unwrap_or(usize::MAX);
        let count = in_range(written, default, 1..=most, &at.key(key));
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    LockoutPolicy {
        per_user: count(per_user, default.per_user, 100, "per_user"),
        per_address: count(per_address, default.per_address, 10_000, "per_address"),
        longest: span_within(longest, default.longest, MINUTE..=DAY, &at.key("longest")),
    }
}

/// The path of a page of our own: one exact path.
fn lower_own_path(written: String, at: &At<'_>) -> Option<String> {
    if let Ok(PathPattern::Exact(path)) = PathPattern::parse(&written) {
        return Some(path);
    }
    let got = at.quoted(&written);
    at.problem(format!(
        "expected one path like /auth/login, without / at its end, got {got}"
    ));
    None
}

/// A place on this site that a browser is sent to. `//host` and `/\host` would be another site.
pub(super) fn lower_site_path(written: &str, at: &At<'_>) -> Option<String> {
    let visible = written
        .bytes()
        .all(|byte| matches!(byte, 0x21..=0x7e) && byte != b'\\');
    if visible && written.starts_with('/') && !written.starts_with("//") {
        return Some(written.into());
    }
    let got = at.quoted(written);
    at.problem(format!(
        "expected a path on this site like /auth/login, got {got}"
    ));
    None
}

fn lower_title(written: Option<String>, at: &At<'_>) -> String {
    const MOST: usize = 100;
    let title = written.unwrap_or_else(|| Look::default().title);
    let fits = (1..=MOST).contains(&title.chars().count());
    if !fits || title.chars().any(char::is_control) {
        at.problem(format!("expected 1 to {MOST} characters on one line"));
    }
    title
}

fn lower_accent(written: &str, at: &At<'_>) -> Option<Accent> {
    let accent = Accent::parse(written);
    if accent.is_none() {
        let got = at.quoted(written);
        at.problem(format!("expected a colour like \"#0a7c3e\", got {got}"));
    }
    accent
}

fn lower_realms(written: Option<OneOrMany>, at: &At<'_>) -> Vec<String> {
    let Some(written) = written else {
        return DEFAULT_REALMS.map(str::to_owned).into();
    };
    if written.is_empty() {
        at.problem("an empty list; name a realm, or leave realms out");
    }
    at.texts(written)
        .into_iter()
        .map(|(_, realm)| realm)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::lower::testing::at_top;

    #[test]
    fn a_redirect_stays_on_this_site() {
        for good in ["/", "/auth/login", "/auth/login?rd=/x", "/a%20b"] {
            assert!(at_top(|at| lower_site_path(good, at)).0.is_some(), "{good}");
        }
        for bad in [
            "",
            "login",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil",
            "https://evil.example",
            "/a b",
            "/a\r\nSet-Cookie: x",
            "/ä",
            "javascript:alert(1)",
        ] {
            let (path, problems) = at_top(|at| lower_site_path(bad, at));
            assert_eq!((path, problems.len()), (None, 1), "{bad}");
        }
    }

    #[test]
    fn a_page_of_our_own_has_one_exact_path() {
        for good in ["/", "/auth/login", "/login.html"] {
            assert!(
                at_top(|at| lower_own_path(good.into(), at)).0.is_some(),
                "{good}"
            );
        }
        for bad in [
            "", "login", "/auth/", "/a//b", "/a?b", "/a;b", "/%61", "/../a",
        ] {
            let (path, problems) = at_top(|at| lower_own_path(bad.into(), at));
            assert_eq!((path, problems.len()), (None, 1), "{bad}");
        }
    }
}
