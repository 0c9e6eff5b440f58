//! `portcullis passwd`: hash a password, print it as YAML or put it into a users file, or check it
//! against one; disable, enable or remove a user.
//!
//! Not here: how the file is edited (`config::users_file`), the hash formats (`password::stored`) and
//! what a user may do.

use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::say;
use super::secret::{self, Ask, AskError, Secret};
use crate::config::scalar::Size;
use crate::config::users_file::edit::{Change, entry};
use crate::config::users_file::{RoleName, UsersFile, UsersFileError, read_and_change};
use crate::identity::UserName;
use crate::password::argon2id::{Argon2idError, Argon2idParameters};
use crate::password::stored::{
    HashError, MAX_PASSWORD_BYTES, StoredPassword, hash_argon2id, hash_bcrypt, hash_sha256,
};

/// Add, change, disable or remove a user, or check a password
///
/// Sets the password of a user, who may be new. --disable, --enable and --remove are about users
/// who are in the file, and need no password; a server that runs with that file follows at once.
///
/// A password has at least 8 characters (15 or more are advised) and at most 1024 bytes, of any
/// kind. It is asked for twice on a terminal, otherwise read as one line from standard input.
/// Without --file the entry is printed as YAML.
#[derive(Debug, clap::Args)]
pub struct PasswdArgs {
    /// The users file to change, made if there is none; all else in it stays as it is
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// How to hash; bcrypt takes at most 72 bytes, sha256 is only for systems that read nothing better
    #[arg(long, value_enum, default_value_t = Cipher::Argon2id)]
    cipher: Cipher,

    #[command(flatten)]
    argon2id: Argon2idArguments,

    /// The password itself; other users of this machine can see it in the process list
    #[arg(long, value_name = "WORD")]
    password: Option<WordArgument>,

    /// Change nothing: check the password against the one in the file
    #[arg(long, requires = "file", group = "instead", conflicts_with_all = ["cipher", "memory", "passes", "lanes", "roles"])]
    verify: bool,

    /// Keep the user from logging in; everything said of them stays
    #[arg(long, requires = "file", group = "instead",
        conflicts_with_all = ["cipher", "memory", "passes", "lanes", "roles", "password"])]
    disable: bool,

    /// Let a user who was disabled log in again
    #[arg(long, requires = "file", group = "instead",
        conflicts_with_all = ["cipher", "memory", "passes", "lanes", "roles", "password"])]
    enable: bool,

    /// Take the user out of the file
    #[arg(long, requires = "file", group = "instead",
        conflicts_with_all = ["cipher", "memory", "passes", "lanes", "roles", "password"])]
    remove: bool,

    /// 1 to 64 characters of A-Z a-z 0-9 . _ @ + -
    #[arg(value_parser = UserName::parse)]
    username: UserName,

    /// The user's roles; without any, those in the file stay
    roles: Vec<RoleName>,
}

/// What an argon2id hash costs.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Argon2idArguments {
    /// Memory that argon2id takes, up to 1GiB; 19MiB unless told otherwise. With --passes it must not
    /// be below the floor of OWASP
    #[arg(long, value_name = "SIZE", value_parser = kib)]
    memory: Option<u32>,

    /// How often argon2id goes through it, 1 to 64; twice unless told otherwise
    #[arg(long, value_name = "N")]
    passes: Option<u32>,

    /// Parts of it, 1 to 16; 1 unless told otherwise
    #[arg(long, value_name = "N")]
    lanes: Option<u32>,
}

/// Why `passwd` did not do it. Nothing has been changed, except with
/// [`UsersFileError::NotDurable`].
#[derive(Debug, thiserror::Error)]
pub enum PasswdError {
    #[error(
        "the password has {found} characters; at least {MIN_CHARACTERS} are needed, and 15 or more are advised"
    )]
    TooShort { found: usize },
    #[error("the password is longer than {MAX_PASSWORD_BYTES} bytes")]
    TooLong,
    #[error("the password contains a NUL character, which many programs take for its end")]
    ContainsNul,
    #[error("the two passwords differ")]
    Mismatch,
    #[error("cannot read the password")]
    Ask(#[source] io::Error),
    #[error("no such hash is made")]
    Argon2id(#[from] Argon2idError),
    #[error("--memory, --passes and --lanes are for argon2id only")]
    NotArgon2id,
    #[error("cannot hash the password")]
    Hash(#[from] HashError),
    #[error("cannot write to standard output")]
    Print(#[source] io::Error),
    #[error(transparent)]
    File(#[from] UsersFileError),
    #[error("this is not the password of `{user}`")]
    WrongPassword { user: UserName },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Cipher {
    Argon2id,
    Bcrypt,
    Sha256,
}

/// The value of `--password`; `Debug` does not print it.
#[derive(Clone)]
struct WordArgument(Zeroizing<String>);

type Password = Secret;

const MIN_CHARACTERS: usize = 8;

/// A quarter of a second on one core of a server.
const BCRYPT_COST: u32 = 12;

/// Runs the command; prints to standard output what was asked for and nothing else.
pub fn run(args: PasswdArgs) -> Result<(), PasswdError> {
    let PasswdArgs {
        file,
        cipher,
        argon2id,
        password,
        verify,
        disable,
        enable,
        remove,
        username,
        roles,
    } = args;
    let file = file.as_deref().map(UsersFile::read).transpose()?;
    match &file {
        Some(file) if verify => return verify_one(file, &username, password),
        Some(file) if disable || enable => {
            read_and_change(&file.path, |file| file.set_disabled(&username, disable))?;
            let done = if disable { "disabled" } else { "enabled" };
            say(&format!("{}: `{username}` {done}", file.path.display()));
            return Ok(());
        }
        Some(file) if remove => {
            read_and_change(&file.path, |file| file.remove(&username))?;
            say(&format!("{}: `{username}` removed", file.path.display()));
            return Ok(());
        }
        _ => {}
    }
    let parameters = argon2id.parameters(cipher)?;
    let password = read_password(password, &username, Ask::Twice)?;
    check_policy(&password)?;
    let hash = hash(cipher, parameters, &username, &password)?;
    let Some(file) = file else {
        return print(&entry(&username, &hash, &roles));
    };
    let change = Change {
        user: &username,
        hash: &hash,
        roles: &roles,
    };
    read_and_change(&file.path, |file| file.change(&change))?;
    say(&format!(
        "{}: password of `{username}` set",
        file.path.display()
    ));
    Ok(())
}

impl Argon2idArguments {
    fn parameters(self, cipher: Cipher) -> Result<Argon2idParameters, PasswdError> {
        let default = Argon2idParameters::default();
        let Self {
            memory,
            passes,
            lanes,
        } = self;
        if cipher != Cipher::Argon2id && memory.or(passes).or(lanes).is_some() {
            return Err(PasswdError::NotArgon2id);
        }
        Ok(Argon2idParameters::new(
            memory.unwrap_or_else(|| default.memory()),
            passes.unwrap_or_else(|| default.passes()),
            lanes.unwrap_or_else(|| default.lanes()),
        )?)
    }
}

/// In KiB.
fn kib(size: &str) -> Result<u32, &'static str> {
    let size = Size::parse(size).ok_or("expected a size like 64MiB")?;
    Ok(u32::try_from(size.0 >> 10).unwrap_or(u32::MAX))
}

fn hash(
    cipher: Cipher,
    parameters: Argon2idParameters,
    user: &UserName,
    password: &Password,
) -> Result<String, HashError> {
    match cipher {
        Cipher::Argon2id => hash_argon2id(password, parameters),
        Cipher::Bcrypt => hash_bcrypt(password, BCRYPT_COST),
        Cipher::Sha256 => {
            say("warning: a sha256 hash is quick to guess; use argon2id wherever you can");
            Ok(hash_sha256(user.as_str(), password))
        }
    }
}

/// Says how the password is stored, then whether it is the one that is given.
fn verify_one(
    file: &UsersFile,
    user: &UserName,
    password: Option<WordArgument>,
) -> Result<(), PasswdError> {
    let stored = file.stored_password(user)?;
    let password = read_password(password, user, Ask::Once)?;
    let format = stored.format_name();
    say(&match stored.is_preferred(Argon2idParameters::default()) {
        true => format!("stored with {format}"),
        false => format!("stored with {format}; argon2id takes its place at a login"),
    });
    check(&stored, user, &password).and_then(|()| print("ok\n"))
}

fn check(stored: &StoredPassword, user: &UserName, password: &Password) -> Result<(), PasswdError> {
    if !stored.verify(user.as_str(), password, &[]) {
        return Err(PasswdError::WrongPassword { user: user.clone() });
    }
    Ok(())
}

fn print(text: &str) -> Result<(), PasswdError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(PasswdError::Print)
}

// === The password ===

fn read_password(
    argument: Option<WordArgument>,
    user: &UserName,
    ask: Ask,
) -> Result<Password, PasswdError> {
    if let Some(WordArgument(mut word)) = argument {
        say(
            "warning: --password shows in the process list and in the shell's history; leave it out \
             to be asked",
        );
        return Ok(Zeroizing::new(std::mem::take(&mut *word).into_bytes()));
    }
    secret::ask(&format!("Password for {user}: "), ask).map_err(|error| match error {
        AskError::Read(error) => PasswdError::Ask(error),
        AskError::Mismatch => PasswdError::Mismatch,
    })
}

/// Length is all that is asked for: rules of composition make passwords worse.
fn check_policy(password: &[u8]) -> Result<(), PasswdError> {
    let found = std::str::from_utf8(password).map_or(password.len(), |text| text.chars().count());
    if found < MIN_CHARACTERS {
        return Err(PasswdError::TooShort { found });
    }
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(PasswdError::TooLong);
    }
    if password.contains(&0) {
        return Err(PasswdError::ContainsNul);
    }
    Ok(())
}

impl FromStr for WordArgument {
    type Err = std::convert::Infallible;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(word.to_owned())))
    }
}

impl fmt::Debug for WordArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WordArgument")
    }
}

#[cfg(test)]
mod tests;
