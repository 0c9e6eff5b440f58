//! `portcullis token`: tokens that machines carry, in a users file: made, shown and taken back.
//!
//! Not here: how the file is edited (`config::users_file`), what a token looks like
//! (`password::token`) and what one is good for (`gate`).

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::say;
use crate::config::moment;
use crate::config::scalar::parse_duration;
use crate::config::users_file::tokens::{AbilityName, ListedToken, TokenEntry, entry};
use crate::config::users_file::{RoleName, UsersFile, UsersFileError, read_and_change};
use crate::gate::session::Timestamp;
use crate::identity::UserName;
use crate::identity::token::TokenName;
use crate::password::token::{NewToken, stored};
use crate::proxy::now;
use crate::store::secret::NoRandomness;

/// Make, show and revoke the tokens that machines log in with
///
/// A machine sends its token with each request (`Authorization: Bearer ptc_…`) to a route whose
/// `credentials` take one. It acts for a user and may do no more than that user. The users file
/// holds a hash that the token cannot be told from; a server that runs with that file follows at
/// once, also with requests that are under way.
#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it, this once
    Create(CreateArgs),
    /// Show which tokens there are; not the tokens themselves, which nobody has kept
    List(ListArgs),
    /// Take a token back
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// The users file to change; all else in it stays as it is. Without one, the entry for it is
    /// printed to standard error
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// What it may be used for, as far as its user may do that [default: all that the user may]
    #[arg(long, value_name = "ABILITY", value_delimiter = ',')]
    can: Vec<AbilityName>,

    /// From when on it is good for nothing: in so long (`90d`), at a time (`2027-01-31`), or `never`
    #[arg(long, value_name = "WHEN", default_value = "365d", value_parser = expiry)]
    expires: Expiry,

    /// For a user who is new, and has no password: their roles
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',')]
    roles: Vec<RoleName>,

    /// Whom the machine acts for
    #[arg(value_name = "USER", value_parser = UserName::parse)]
    user: UserName,

    /// What to call it: what uses it, or where
    #[arg(value_name = "NAME", value_parser = TokenName::parse)]
    name: TokenName,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// The users file
    #[arg(long, value_name = "FILE")]
    file: PathBuf,

    /// One JSON object a line, for programs
    #[arg(long)]
    json: bool,

    /// Only those of this user
    #[arg(value_name = "USER", value_parser = UserName::parse)]
    user: Option<UserName>,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    /// The users file to change; all else in it stays as it is
    #[arg(long, value_name = "FILE")]
    file: PathBuf,

    /// Whose it is
    #[arg(value_name = "USER", value_parser = UserName::parse)]
    user: UserName,

    /// Which, as `list` shows it
    #[arg(value_name = "NAME", value_parser = TokenName::parse)]
    name: TokenName,
}

/// How long a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    Never,
    In(Duration),
    At(Timestamp),
}

/// Why `token` did not do it. Nothing has been changed, except with [`UsersFileError::NotDurable`]
/// and [`TokenError::Lost`].
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("a token that expires at {written} is of no use any more")]
    ExpiresInThePast { written: String },
    #[error("a token cannot expire after the year 9999; say `never`")]
    ExpiresTooLate,
    #[error("cannot make a token")]
    Random(#[source] NoRandomness),
    #[error(transparent)]
    File(#[from] UsersFileError),
    #[error("`{user}` is nobody in {}; to make them, name their roles with --role", file.display())]
    NoSuchUser { user: UserName, file: PathBuf },
    #[error("cannot write to standard output; the token is lost, so revoke it")]
    Lost(#[source] io::Error),
    #[error("cannot write to standard output")]
    Print(#[source] io::Error),
}

fn expiry(text: &str) -> Result<Expiry, &'static str> {
    if text == "never" {
        return Ok(Expiry::Never);
    }
    let lasts = parse_duration(text).map(Expiry::In);
    let ends = || moment::parse(text).map(Expiry::At);
    lasts
        .or_else(ends)
        .ok_or("expected a length of time (90d), a time (2027-01-31T00:00:00Z), a day, or never")
}

/// Does it.
///
/// # Errors
/// [`TokenError`].
pub fn run(args: TokenArgs) -> Result<(), TokenError> {
    let out = &mut io::stdout().lock();
    match args.command {
        TokenCommand::Create(args) => create(&args, out),
        TokenCommand::List(args) => list(&args, out),
        TokenCommand::Revoke(args) => revoke(&args),
    }
}

fn create(args: &CreateArgs, out: &mut impl Write) -> Result<(), TokenError> {
    let now = now();
    let expires = args.expires.written(now)?;
    let created = moment::write(now).unwrap_or_default();
    let token = NewToken::generate().map_err(|error| TokenError::Random(error.into()))?;
    let new = TokenEntry {
        name: &args.name,
        hash: &stored(&token.digest()),
        abilities: &args.can,
        created: &created,
        expires: expires.as_deref(),
    };
    // Before it is shown: one that is not in the file is of no use to anybody.
    match &args.file {
        Some(file) => add(file.clone(), args, &new)?,
        None => say(entry(&args.user, &args.roles, &new).trim_end()),
    }
    writeln!(out, "{}", token.as_str())
        .and_then(|()| out.flush())
        .map_err(TokenError::Lost)
}

fn add(file: PathBuf, args: &CreateArgs, new: &TokenEntry<'_>) -> Result<(), TokenError> {
    let added = read_and_change(&file, |it| it.add_token(&args.user, &args.roles, new));
    added.map_err(|error| match error {
        UsersFileError::NoSuchUser { user, file } => TokenError::NoSuchUser { user, file },
        other => other.into(),
    })?;
    let until = match new.expires {
        Some(expires) => format!("good until {expires}"),
        None => "good until it is revoked".to_owned(),
    };
    say(&format!(
        "{}: token `{}` of `{}` made, {until}; it is shown only now",
        file.display(),
        args.name,
        args.user
    ));
    if !(args.roles.is_empty() && args.can.is_empty()) {
        say("the roles and abilities have to be in the configuration; run `portcullis check`");
    }
    Ok(())
}

fn list(args: &ListArgs, out: &mut impl Write) -> Result<(), TokenError> {
    let file = UsersFile::read(&args.file)?;
    let wanted = args.user.as_ref().map(UserName::as_str);
    let mut tokens = file.tokens()?;
    tokens.retain(|token| wanted.is_none_or(|wanted| token.user == wanted));
    let printed = match args.json {
        true => tokens
            .iter()
            .try_for_each(|token| writeln!(out, "{}", as_json(token))),
        false => print_table(&tokens, now(), out),
    };
    printed
        .and_then(|()| out.flush())
        .map_err(TokenError::Print)
}

fn as_json(token: &ListedToken) -> serde_json::Value {
    serde_json::json!({
        "user": token.user,
        "name": token.name,
        "abilities": token.abilities,
        "created": token.created,
        "expires": token.expires,
    })
}

/// Names of usual length stand in columns; longer ones push the rest aside rather than be cut.
fn print_table(tokens: &[ListedToken], now: Timestamp, out: &mut impl Write) -> io::Result<()> {
    if tokens.is_empty() {
        return writeln!(out, "there are no tokens");
    }
    let mut row = |cells: [&str; 5]| {
        let [user, name, created, expires, abilities] = cells;
        writeln!(
            out,
            "{user:<20}  {name:<20}  {created:<20}  {expires:<20}  {abilities}"
        )
    };
    row(["USER", "NAME", "CREATED", "EXPIRES", "MAY DO"])?;
    for token in tokens {
        let expires = token.expires.as_deref().unwrap_or("never");
        let is_over = moment::parse(expires).is_some_and(|expires| expires <= now);
        let abilities = match &token.abilities {
            _ if is_over => "nothing, it has expired".to_owned(),
            Some(abilities) => abilities.join(", "),
            None => "all that the user may".to_owned(),
        };
        let created = token.created.as_deref().unwrap_or("-");
        row([&token.user, &token.name, created, expires, &abilities])?;
    }
    Ok(())
}

fn revoke(args: &RevokeArgs) -> Result<(), TokenError> {
    read_and_change(&args.file, |it| it.revoke_token(&args.user, &args.name))?;
    say(&format!(
        "{}: token `{}` of `{}` revoked",
        args.file.display(),
        args.name,
        args.user
    ));
    Ok(())
}

// === impl Expiry ===

impl Expiry {
    /// As it stands in the file; nothing for never.
    fn written(self, now: Timestamp) -> Result<Option<String>, TokenError> {
        let end = match self {
            Self::Never => return Ok(None),
            Self::In(span) => {
                let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
                Timestamp(now.0.saturating_add(millis))
            }
            Self::At(end) => end,
        };
        let written = moment::write(end).ok_or(TokenError::ExpiresTooLate)?;
        if moment::parse(&written).is_none_or(|end| end <= now) {
            return Err(TokenError::ExpiresInThePast { written });
        }
        Ok(Some(written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_801_353_600_500);

    #[test]
    fn an_expiry_is_a_length_of_time_a_time_a_day_or_never() {
        for (text, expected) in [
            ("never", None),
            ("1s", Some("2027-01-31T00:00:01Z")),
            ("90d", Some("2027-05-01T00:00:00Z")),
            ("2027-02-01", Some("2027-02-01T00:00:00Z")),
            ("2027-01-31T12:00:00+01:00", Some("2027-01-31T11:00:00Z")),
        ] {
            let written = expiry(text).unwrap().written(NOW).unwrap();
            assert_eq!(written.as_deref(), expected, "{text}");
        }
        for text in ["", "90", "tomorrow", "2027-02-30", "-1d", "Never"] {
            assert!(expiry(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_over_already_or_beyond_all_calendars_is_refused() {
        let refused = |text| expiry(text).unwrap().written(NOW).unwrap_err();
        for text in ["0s", "1ms", "2027-01-31", "2027-01-31T00:00:00Z"] {
            let error = refused(text);
            assert!(
                matches!(error, TokenError::ExpiresInThePast { .. }),
                "{text}: {error}"
            );
        }
        let error = refused("9999999999d");
        assert!(matches!(error, TokenError::ExpiresTooLate), "{error}");
    }

    #[test]
    fn the_table_says_what_each_may_do_and_which_are_over() {
        let token = |name: &str, abilities: Option<&[&str]>, expires: Option<&str>| ListedToken {
            user: "ralph".into(),
            name: name.into(),
            abilities: abilities.map(|it| it.iter().map(ToString::to_string).collect()),
            created: Some("2026-01-01T00:00:00Z".into()),
            expires: expires.map(str::to_owned),
        };
        let tokens = [
            token("ci", Some(&["view", "edit"]), Some("2027-01-31T00:00:01Z")),
            token("old", Some(&["view"]), Some("2027-01-31")),
            token("all", None, None),
        ];
        let mut out = Vec::new();
        print_table(&tokens, NOW, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split("  ").filter(|it| !it.is_empty()).collect())
            .map(|cells: Vec<&str>| cells.into_iter().map(str::trim).collect())
            .collect();
        let created = "2026-01-01T00:00:00Z";
        assert_eq!(rows[0], ["USER", "NAME", "CREATED", "EXPIRES", "MAY DO"]);
        let ends = "2027-01-31T00:00:01Z";
        assert_eq!(rows[1], ["ralph", "ci", created, ends, "view, edit"]);
        let over = "nothing, it has expired";
        assert_eq!(rows[2], ["ralph", "old", created, "2027-01-31", over]);
        let all = "all that the user may";
        assert_eq!(rows[3], ["ralph", "all", created, "never", all]);
        let mut out = Vec::new();
        print_table(&[], NOW, &mut out).unwrap();
        assert_eq!(out, b"there are no tokens\n");
    }
}
