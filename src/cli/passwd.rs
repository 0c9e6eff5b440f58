//! `portcullis passwd`: hash a password, print it as YAML or put it into a users file, or check it
//! against one.
//!
//! The file is edited line by line, so that comments, order and layout stay as somebody wrote them;
//! what cannot be edited safely that way is refused and left untouched. Not here: the hash formats
//! (`password::stored`) and what a user may do.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, BufRead, IsTerminal as _, Write as _};
use std::iter;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_yaml::{Mapping, Value};
use zeroize::Zeroizing;

use crate::identity::UserName;
use crate::password::stored::{
    FormatError, HashError, MAX_PASSWORD_BYTES, StoredPassword, hash_argon2id, hash_bcrypt,
    hash_sha256,
};

/// Hash a password for a user, and put it into a users file
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

    /// The password itself; other users of this machine can see it in the process list
    #[arg(long, value_name = "WORD")]
    password: Option<WordArgument>,

    /// Change nothing: check the password against the one in the file
    #[arg(long, requires = "file", conflicts_with_all = ["cipher", "roles"])]
    verify: bool,

    /// 1 to 64 characters of A-Z a-z 0-9 . _ @ + -
    #[arg(value_parser = UserName::parse)]
    username: UserName,

    /// The user's roles; without any, those in the file stay
    roles: Vec<RoleName>,
}

/// Why `passwd` did not do it. Nothing has been changed, except with [`PasswdError::NotDurable`].
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
    #[error("cannot hash the password")]
    Hash(#[from] HashError),
    #[error("cannot write to standard output")]
    Print(#[source] io::Error),
    #[error("cannot read {}", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("cannot write {}", file.display())]
    Write { file: PathBuf, source: io::Error },
    #[error("cannot replace {}: it is a mount point; mount the folder it is in instead", file.display())]
    MountPoint { file: PathBuf, source: io::Error },
    #[error("{} was changed, but a power cut may still undo it", file.display())]
    NotDurable { file: PathBuf, source: io::Error },
    #[error("{} is not a regular file", file.display())]
    NotAFile { file: PathBuf },
    #[error("{} is a symbolic link to a file that does not exist", file.display())]
    DanglingLink { file: PathBuf },
    #[error("{} is not UTF-8 text", file.display())]
    NotText { file: PathBuf },
    #[error("{} was changed by somebody else meanwhile; try again", file.display())]
    ChangedMeanwhile { file: PathBuf },
    #[error("{}:{line}: {obstacle}; the file was not changed", file.display())]
    Refused {
        file: PathBuf,
        line: usize,
        obstacle: Obstacle,
    },
    #[error("{} is not valid YAML", file.display())]
    NotYaml {
        file: PathBuf,
        source: serde_yaml::Error,
    },
    #[error("{} has no user `{user}`", file.display())]
    NoSuchUser { file: PathBuf, user: UserName },
    #[error("the entry of `{user}` in {} has no password hash", file.display())]
    NoPassword { file: PathBuf, user: UserName },
    #[error("the password hash of `{user}` in {} cannot be used", file.display())]
    StoredHash {
        file: PathBuf,
        user: UserName,
        source: FormatError,
    },
    #[error("this is not the password of `{user}`")]
    WrongPassword { user: UserName },
}

/// Why a users file is left alone rather than edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    #[error("a tab is used for indentation; use spaces")]
    Tab,
    #[error("this line break is neither LF nor CRLF")]
    LineBreak,
    #[error("more than one YAML document, or a directive; keep one document of users")]
    Documents,
    #[error("anchors, aliases and tags (& * << !) cannot be edited safely; write the values out")]
    Anchor,
    #[error("flow style ({{…}}) cannot be edited safely; write the entry as an indented block")]
    FlowStyle,
    #[error("the same key is on line {first} already; remove one of the two")]
    Duplicate { first: usize },
    #[error("expected `name:` here")]
    NotAKey,
    #[error("expected a user with `password:` and `roles:` indented below the name")]
    NotAUser,
    #[error("expected a plain value on this one line")]
    NotOneLine,
    #[error("this cannot be edited safely; write it as plain block style YAML")]
    Unclear,
}

/// The name of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RoleName(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role name has characters from A-Z a-z 0-9 _ - only")]
struct InvalidRoleName;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Cipher {
    Argon2id,
    Bcrypt,
    Sha256,
}

/// The value of `--password`; `Debug` does not print it.
#[derive(Clone)]
struct WordArgument(Zeroizing<String>);

type Password = Zeroizing<Vec<u8>>;

const MIN_CHARACTERS: usize = 8;

/// A quarter of a second on one core of a server.
const BCRYPT_COST: u32 = 12;

/// Runs the command; prints to standard output what was asked for and nothing else.
pub fn run(args: PasswdArgs) -> Result<(), PasswdError> {
    let PasswdArgs {
        file,
        cipher,
        password,
        verify,
        username,
        roles,
    } = args;
    let file = file.as_deref().map(UsersFile::read).transpose()?;
    if let (true, Some(file)) = (verify, &file) {
        let stored = file.stored_password(&username)?;
        let password = read_password(password, &username, Ask::Once)?;
        return check(&stored, &username, &password).and_then(|()| print("ok\n"));
    }
    let password = read_password(password, &username, Ask::Twice)?;
    check_policy(&password)?;
    let hash = hash(cipher, &username, &password)?;
    let Some(file) = file else {
        return print(&entry(&username, &hash, &roles));
    };
    file.change(&Change {
        user: &username,
        hash: &hash,
        roles: &roles,
    })?;
    say(&format!(
        "{}: password of `{username}` set",
        file.path.display()
    ));
    Ok(())
}

fn hash(cipher: Cipher, user: &UserName, password: &Password) -> Result<String, HashError> {
    match cipher {
        Cipher::Argon2id => hash_argon2id(password),
        Cipher::Bcrypt => hash_bcrypt(password, BCRYPT_COST),
        Cipher::Sha256 => {
            say("warning: a sha256 hash is quick to guess; use argon2id wherever you can");
            Ok(hash_sha256(user.as_str(), password))
        }
    }
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

/// A word to the operator. That standard error is closed is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

// === The password ===

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    Once,
    Twice,
}

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
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return password_line(stdin.lock()).map_err(PasswdError::Ask);
    }
    let prompt = |text: String| {
        rpassword::prompt_password(text).map(|word| Zeroizing::new(word.into_bytes()))
    };
    let password = prompt(format!("Password for {user}: ")).map_err(PasswdError::Ask)?;
    if ask == Ask::Twice
        && prompt("The same again: ".to_owned()).map_err(PasswdError::Ask)? != password
    {
        return Err(PasswdError::Mismatch);
    }
    Ok(password)
}

/// One line without its end, and not much more of it than a password may have: enough to tell that
/// it is too long.
fn password_line(input: impl BufRead) -> io::Result<Password> {
    let most = MAX_PASSWORD_BYTES + "\r\n".len() + 1;
    // Large enough from the start: growing would leave copies of the password behind.
    let mut line = Zeroizing::new(Vec::with_capacity(most));
    input.take(most as u64).read_until(b'\n', &mut line)?;
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
    Ok(line)
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

// === Roles ===

impl FromStr for RoleName {
    type Err = InvalidRoleName;

    fn from_str(name: &str) -> Result<Self, InvalidRoleName> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if name.is_empty() || !name.bytes().all(fits) {
            return Err(InvalidRoleName);
        }
        Ok(Self(name.to_owned()))
    }
}

// === YAML written ===

fn entry(user: &UserName, hash: &str, roles: &[RoleName]) -> String {
    let lines = entry_lines(0, 2, &Change { user, hash, roles });
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn entry_lines(indent: usize, step: usize, change: &Change<'_>) -> Vec<String> {
    let name = format!("{:indent$}{}:", "", yaml_word(change.user.as_str()));
    [name]
        .into_iter()
        .chain(field_lines(indent + step, change))
        .collect()
}

fn field_lines(indent: usize, change: &Change<'_>) -> Vec<String> {
    let mut lines = vec![password_line_of(indent, change)];
    if !change.roles.is_empty() {
        lines.push(roles_line_of(indent, change));
    }
    lines
}

fn password_line_of(indent: usize, change: &Change<'_>) -> String {
    format!("{:indent$}password: {}", "", quoted(change.hash))
}

fn roles_line_of(indent: usize, change: &Change<'_>) -> String {
    format!("{:indent$}roles: {}", "", flow_list(change.roles))
}

fn flow_list(roles: &[RoleName]) -> String {
    let words: Vec<String> = roles.iter().map(|role| yaml_word(&role.0)).collect();
    format!("[{}]", words.join(", "))
}

/// For hashes and names: none of their characters needs an escape between double quotes.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// A name as YAML, quoted where it would read as a number, a truth value or punctuation.
fn yaml_word(name: &str) -> String {
    const NO_TEXT: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_text = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && !NO_TEXT.iter().any(|word| name.eq_ignore_ascii_case(word));
    if is_text {
        name.to_owned()
    } else {
        quoted(name)
    }
}

// === The users file ===

const FIRST_LINE: &str = "# Users of Portcullis: name, password hash, roles. To set a password: portcullis passwd --file FILE NAME\n";

struct Change<'a> {
    user: &'a UserName,
    hash: &'a str,
    /// Empty: leave the roles as they are.
    roles: &'a [RoleName],
}

/// A users file as it was when it was read.
struct UsersFile {
    /// As the operator wrote it, for messages.
    path: PathBuf,
    /// What is replaced: the file itself where `path` is a symbolic link to it.
    target: PathBuf,
    /// `None`: there is none yet.
    old: Option<OldFile>,
}

struct OldFile {
    text: String,
    metadata: Metadata,
}

impl UsersFile {
    fn read(path: &Path) -> Result<Self, PasswdError> {
        let file = path.to_path_buf();
        let failed = |source| PasswdError::Read {
            file: path.to_path_buf(),
            source,
        };
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::missing(path),
            Err(error) => return Err(failed(error)),
        };
        let metadata = fs::metadata(&target).map_err(failed)?;
        if !metadata.is_file() {
            return Err(PasswdError::NotAFile { file });
        }
        let bytes = fs::read(&target).map_err(failed)?;
        let Ok(text) = String::from_utf8(bytes) else {
            return Err(PasswdError::NotText { file });
        };
        Ok(Self {
            path: file,
            target,
            old: Some(OldFile { text, metadata }),
        })
    }

    /// A file still to be made. Its folder must exist: better said before a password is asked for.
    fn missing(path: &Path) -> Result<Self, PasswdError> {
        let file = path.to_path_buf();
        if fs::symlink_metadata(path).is_ok() {
            return Err(PasswdError::DanglingLink { file });
        }
        match fs::metadata(folder_of(path)) {
            Ok(folder) if folder.is_dir() => Ok(Self {
                path: file.clone(),
                target: file,
                old: None,
            }),
            Ok(_) => Err(PasswdError::NotAFile { file }),
            Err(source) => Err(PasswdError::Read { file, source }),
        }
    }

    fn stored_password(&self, user: &UserName) -> Result<StoredPassword, PasswdError> {
        let file = || self.path.clone();
        let text = self.old.as_ref().map_or("", |old| old.text.as_str());
        let root: Value = serde_yaml::from_str(text).map_err(|source| PasswdError::NotYaml {
            file: file(),
            source,
        })?;
        let users = match Layout::of(&root) {
            Ok(Layout::Wrapped) => root.get(WRAPPER),
            Ok(Layout::Flat) => Some(&root),
            Err(_) => None,
        };
        let entry = users
            .and_then(Value::as_mapping)
            .and_then(|users| users.iter().find(|(key, _)| key_text(key) == user.as_str()))
            .ok_or_else(|| PasswdError::NoSuchUser {
                file: file(),
                user: user.clone(),
            })?;
        let password = entry
            .1
            .get("password")
            .and_then(Value::as_str)
            .ok_or_else(|| PasswdError::NoPassword {
                file: file(),
                user: user.clone(),
            })?;
        StoredPassword::parse(password).map_err(|source| PasswdError::StoredHash {
            file: file(),
            user: user.clone(),
            source,
        })
    }

    /// Puts the change into the file, all or nothing.
    fn change(&self, change: &Change<'_>) -> Result<(), PasswdError> {
        let text = self
            .old
            .as_ref()
            .map_or(FIRST_LINE, |old| old.text.as_str());
        let text = edit(text, change).map_err(|error| match error {
            EditError::Refused(line, obstacle) => PasswdError::Refused {
                file: self.path.clone(),
                line: line + 1,
                obstacle,
            },
            EditError::NotYaml(source) => PasswdError::NotYaml {
                file: self.path.clone(),
                source,
            },
        })?;
        self.replace(&text)
    }

    /// Writes the new text beside the file and renames it over: a reader or a crash sees the old
    /// whole or the new whole.
    fn replace(&self, text: &str) -> Result<(), PasswdError> {
        let failed = |source| PasswdError::Write {
            file: self.path.clone(),
            source,
        };
        let folder = folder_of(&self.target);
        let mut beside = Beside::create(folder).map_err(failed)?;
        beside
            .fill(text, self.old.as_ref().map(|old| &old.metadata))
            .map_err(failed)?;
        if self.is_changed().map_err(failed)? {
            return Err(PasswdError::ChangedMeanwhile {
                file: self.path.clone(),
            });
        }
        beside
            .rename_to(&self.target)
            .map_err(|source| match source.kind() {
                io::ErrorKind::ResourceBusy => PasswdError::MountPoint {
                    file: self.path.clone(),
                    source,
                },
                _ => failed(source),
            })?;
        // A rename is on disk once its folder is.
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| PasswdError::NotDurable {
                file: self.path.clone(),
                source,
            })
    }

    /// Two operators at once: the second must not undo what the first has just written.
    fn is_changed(&self) -> io::Result<bool> {
        match (fs::read(&self.target), &self.old) {
            (Ok(now), Some(old)) => Ok(now != old.text.as_bytes()),
            (Ok(_), None) => Ok(true),
            (Err(error), None) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            (Err(error), _) => Err(error),
        }
    }
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A new file in the same folder, deleted unless it is renamed.
struct Beside {
    path: PathBuf,
    file: File,
    is_renamed: bool,
}

impl Beside {
    fn create(folder: &Path) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let path = folder.join(format!(
            ".portcullis-passwd-{:016x}",
            u64::from_ne_bytes(random)
        ));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self {
            path,
            file,
            is_renamed: false,
        })
    }

    fn fill(&mut self, text: &str, like: Option<&Metadata>) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        if let Some(like) = like {
            // Only root may give files away; for anybody else the new file is their own, as with
            // an editor. Before the mode, because a change of owner clears bits of it.
            let _ = fchown(&self.file, Some(like.uid()), Some(like.gid()))
                .or_else(|_| fchown(&self.file, None, Some(like.gid())));
            self.file
                .set_permissions(Permissions::from_mode(like.mode() & 0o7777))?;
        }
        self.file.sync_all()
    }

    fn rename_to(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.is_renamed = true;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.is_renamed {
            // Nothing better to do if this fails: the error that led here is being reported.
            let _ = fs::remove_file(&self.path);
        }
    }
}

// === Editing the text ===

/// The key that users may be under, as in the main configuration file.
const WRAPPER: &str = "users";

enum EditError {
    /// Zero-based line, and what is the matter with it.
    Refused(usize, Obstacle),
    NotYaml(serde_yaml::Error),
}

/// Where the users are in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Flat,
    Wrapped,
}

/// The text with the change made and every other byte kept.
///
/// The lines are found by simple rules that know less than all of YAML. What makes that safe is the
/// comparison with a real parser: it must see the same keys beforehand, and afterwards the old
/// content with this one change.
fn edit(text: &str, change: &Change<'_>) -> Result<String, EditError> {
    let lines = Lines::split(text)?;
    let old: Value = serde_yaml::from_str(text).map_err(|error| lines.why_invalid(error))?;
    let users = Users::find(&lines, &old)?;
    let entry = users
        .entries
        .iter()
        .find(|entry| entry.name == change.user.as_str());
    let splices = match entry {
        Some(entry) => change_user(&lines, &users, entry, change)?,
        None => vec![Splice {
            range: users.end..users.end,
            lines: entry_lines(users.indent, users.step, change),
        }],
    };
    let new_text = lines.spliced(splices);
    let key = entry.map_or_else(
        || Value::from(change.user.as_str()),
        |entry| entry.key.clone(),
    );
    let expected = with_change(old, users.layout, &key, change);
    let line = entry.map_or_else(|| users.end.saturating_sub(1), |entry| entry.line);
    match serde_yaml::from_str::<Value>(&new_text) {
        Ok(new) if Some(&new) == expected.as_ref() => Ok(new_text),
        _ => Err(EditError::Refused(line, Obstacle::Unclear)),
    }
}

/// The users of a file, by line.
struct Users {
    layout: Layout,
    entries: Vec<Entry>,
    /// Of the names.
    indent: usize,
    /// How much deeper the fields of a user are.
    step: usize,
    /// Where a new user goes.
    end: usize,
}

/// One `key: …` of a block mapping.
struct Entry {
    name: String,
    key: Value,
    line: usize,
    /// Where the text after the colon begins.
    value_at: usize,
    /// The last line that belongs to it, comments not counted.
    last: usize,
}

/// Lines that replace those of a range, without their ends.
struct Splice {
    range: Range<usize>,
    lines: Vec<String>,
}

impl Layout {
    /// Wrapped if `users:` holds users; a flat file may well have a user of that name.
    fn of(root: &Value) -> Result<Self, Obstacle> {
        match root.get(WRAPPER) {
            None => Ok(Self::Flat),
            Some(Value::Null) => Ok(Self::Wrapped),
            Some(Value::Mapping(users)) if users.values().all(is_user) => Ok(Self::Wrapped),
            Some(Value::Mapping(_)) => Ok(Self::Flat),
            Some(_) => Err(Obstacle::NotAUser),
        }
    }
}

fn is_user(value: &Value) -> bool {
    value.is_mapping() || value.is_null()
}

fn looks_like_user(value: &Value) -> bool {
    match value {
        Value::Mapping(fields) => {
            fields.is_empty() || fields.contains_key("password") || fields.contains_key("roles")
        }
        _ => value.is_null(),
    }
}

impl Users {
    fn find(lines: &Lines<'_>, root: &Value) -> Result<Self, EditError> {
        let body = lines.body()?;
        let Some(first) = lines.first_content(body.clone()) else {
            let end = lines.len();
            return Ok(Self {
                layout: Layout::Flat,
                entries: Vec::new(),
                indent: 0,
                step: 2,
                end,
            });
        };
        let indent = lines.indent(first);
        let top = lines.block(body, indent)?;
        agree(&top, root, first)?;
        let wrapper = top.iter().find(|entry| entry.name == WRAPPER);
        let refused =
            |obstacle| EditError::Refused(wrapper.map_or(first, |entry| entry.line), obstacle);
        match (Layout::of(root).map_err(refused)?, wrapper) {
            (Layout::Wrapped, Some(wrapper)) => Self::wrapped(lines, root, indent, wrapper),
            _ => Self::flat(lines, root, indent, top),
        }
    }

    fn flat(
        lines: &Lines<'_>,
        root: &Value,
        indent: usize,
        entries: Vec<Entry>,
    ) -> Result<Self, EditError> {
        let users = Self::new(lines, Layout::Flat, indent, entries, lines.len())?;
        // What does not look like a user means that this is some other file.
        let is_stray = |entry: &&Entry| !root.get(&entry.key).is_some_and(looks_like_user);
        match users.entries.iter().find(is_stray) {
            Some(stray) => Err(EditError::Refused(stray.line, Obstacle::NotAUser)),
            None => Ok(users),
        }
    }

    fn wrapped(
        lines: &Lines<'_>,
        root: &Value,
        indent: usize,
        wrapper: &Entry,
    ) -> Result<Self, EditError> {
        lines.refuse_value(wrapper, Obstacle::NotAUser)?;
        let range = wrapper.line + 1..wrapper.last + 1;
        let inner = lines
            .first_content(range.clone())
            .map_or(indent + 2, |first| lines.indent(first));
        let entries = lines.block(range, inner)?;
        agree(
            &entries,
            root.get(WRAPPER).unwrap_or(&Value::Null),
            wrapper.line,
        )?;
        // Comments as deep as the users still belong to them.
        let comments = (wrapper.last + 1..lines.len())
            .take_while(|line| lines.is_comment(*line) && lines.indent(*line) >= inner)
            .count();
        Self::new(
            lines,
            Layout::Wrapped,
            inner,
            entries,
            wrapper.last + 1 + comments,
        )
    }

    fn new(
        lines: &Lines<'_>,
        layout: Layout,
        indent: usize,
        entries: Vec<Entry>,
        end: usize,
    ) -> Result<Self, EditError> {
        for line in entries.iter().flat_map(|entry| entry.line..=entry.last) {
            if lines.has_anchor(line) {
                return Err(EditError::Refused(line, Obstacle::Anchor));
            }
        }
        let fields = |entry: &Entry| lines.first_content(entry.line + 1..entry.last + 1);
        let step = entries
            .iter()
            .find_map(fields)
            .map(|line| lines.indent(line).saturating_sub(indent));
        Ok(Self {
            layout,
            entries,
            indent,
            step: step.filter(|step| *step > 0).unwrap_or(2),
            end,
        })
    }
}

/// Whether the lines were read as YAML reads them: the same keys in the same order.
fn agree(entries: &[Entry], value: &Value, line: usize) -> Result<(), EditError> {
    let no_keys = Mapping::new();
    let keys = match value {
        Value::Mapping(mapping) => mapping.keys(),
        _ => no_keys.keys(),
    };
    if keys.eq(entries.iter().map(|entry| &entry.key)) {
        return Ok(());
    }
    Err(EditError::Refused(line, Obstacle::Unclear))
}

fn change_user(
    lines: &Lines<'_>,
    users: &Users,
    entry: &Entry,
    change: &Change<'_>,
) -> Result<Vec<Splice>, EditError> {
    lines.refuse_value(entry, Obstacle::NotAUser)?;
    let body = entry.line + 1..entry.last + 1;
    let below = |lines| Splice {
        range: body.start..body.start,
        lines,
    };
    let Some(first) = lines.first_content(body.clone()) else {
        return Ok(vec![below(field_lines(users.indent + users.step, change))]);
    };
    let indent = lines.indent(first);
    let fields: HashMap<String, Entry> = lines
        .block(body.clone(), indent)?
        .into_iter()
        .map(|field| (field.name.clone(), field))
        .collect();
    let password = match fields.get("password") {
        Some(field) => lines.with_value(field, &quoted(change.hash))?,
        None => below(vec![password_line_of(indent, change)]),
    };
    let after_password = password.range.end;
    let roles = match fields.get("roles") {
        _ if change.roles.is_empty() => None,
        Some(field) if field.last > field.line => Some(change_role_items(lines, field, change)?),
        Some(field) => Some(lines.with_value(field, &flow_list(change.roles))?),
        None => Some(Splice {
            range: after_password..after_password,
            lines: vec![roles_line_of(indent, change)],
        }),
    };
    Ok([password].into_iter().chain(roles).collect())
}

/// Changes a list with one role a line. A role that stays keeps its line and with it the comment
/// there; lines with nothing but a comment stay where they are.
fn change_role_items(
    lines: &Lines<'_>,
    field: &Entry,
    change: &Change<'_>,
) -> Result<Splice, EditError> {
    lines.refuse_value(field, Obstacle::NotOneLine)?;
    let range = field.line + 1..field.last + 1;
    let mut old = HashMap::new();
    for line in range.clone().filter(|line| lines.is_content(*line)) {
        let role = lines
            .item(line)
            .ok_or(EditError::Refused(line, Obstacle::NotOneLine))?;
        old.insert(role, lines.text(line));
    }
    let indent = lines
        .first_content(range.clone())
        .map_or(0, |line| lines.indent(line));
    let mut wanted = change.roles.iter().map(|role| match old.get(&role.0) {
        Some(line) => (*line).to_owned(),
        None => format!("{:indent$}- {}", "", yaml_word(&role.0)),
    });
    let mut list = Vec::new();
    for line in range.clone() {
        if lines.is_content(line) {
            list.extend(wanted.next());
        } else {
            list.push(lines.text(line).to_owned());
        }
    }
    list.extend(wanted);
    Ok(Splice { range, lines: list })
}

/// The content that the file must have afterwards.
fn with_change(mut root: Value, layout: Layout, key: &Value, change: &Change<'_>) -> Option<Value> {
    let users = match layout {
        Layout::Flat => filled(&mut root)?,
        Layout::Wrapped => filled(root.get_mut(WRAPPER)?)?,
    };
    let user = filled(users.entry(key.clone()).or_insert(Value::Null))?;
    user.insert("password".into(), change.hash.into());
    if !change.roles.is_empty() {
        let roles = change.roles.iter().map(|role| Value::from(role.0.as_str()));
        user.insert("roles".into(), Value::Sequence(roles.collect()));
    }
    Some(root)
}

/// The mapping in `value`, which may be empty.
fn filled(value: &mut Value) -> Option<&mut Mapping> {
    if value.is_null() {
        *value = Value::Mapping(Mapping::new());
    }
    value.as_mapping_mut()
}

/// A key as text: YAML reads a user called 123 as a number.
fn key_text(key: &Value) -> String {
    match key {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        _ => String::new(),
    }
}

// === Lines ===

/// A text by lines, so that it can be put together again with nothing lost.
struct Lines<'a> {
    byte_order_mark: &'a str,
    /// Each with its end as it was.
    lines: Vec<(&'a str, &'a str)>,
    /// What new lines end with.
    line_end: &'a str,
}

impl<'a> Lines<'a> {
    fn split(text: &'a str) -> Result<Self, EditError> {
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

    fn len(&self) -> usize {
        self.lines.len()
    }

    fn text(&self, line: usize) -> &'a str {
        self.lines[line].0
    }

    fn indent(&self, line: usize) -> usize {
        let text = self.text(line);
        text.len() - text.trim_start_matches(' ').len()
    }

    fn is_comment(&self, line: usize) -> bool {
        self.text(line).trim_start().starts_with('#')
    }

    fn is_content(&self, line: usize) -> bool {
        !self.text(line).trim().is_empty() && !self.is_comment(line)
    }

    fn first_content(&self, mut range: Range<usize>) -> Option<usize> {
        range.find(|line| self.is_content(*line))
    }

    /// The one document's lines, without the `---` that may start it.
    fn body(&self) -> Result<Range<usize>, EditError> {
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
    fn why_invalid(&self, error: serde_yaml::Error) -> EditError {
        let duplicate = self.body().ok().and_then(|body| self.duplicate(body));
        duplicate.unwrap_or(EditError::NotYaml(error))
    }

    fn duplicate(&self, range: Range<usize>) -> Option<EditError> {
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
    fn block(&self, range: Range<usize>, indent: usize) -> Result<Vec<Entry>, EditError> {
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

    fn entry(&self, line: usize) -> Result<Entry, EditError> {
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

    fn is_item(&self, line: usize) -> bool {
        let text = self.text(line).trim_start();
        text == "-" || text.starts_with("- ")
    }

    /// The text of a list item that is one plain word.
    fn item(&self, line: usize) -> Option<String> {
        let after = self.text(line).trim_start().strip_prefix("- ")?;
        let value = &after[one_value(after)?];
        serde_yaml::from_str::<String>(value).ok()
    }

    /// Whether an anchor, alias, tag or merge key stands where a key or value begins.
    fn has_anchor(&self, line: usize) -> bool {
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
    fn refuse_value(&self, entry: &Entry, otherwise: Obstacle) -> Result<(), EditError> {
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
    fn with_value(&self, entry: &Entry, value: &str) -> Result<Splice, EditError> {
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

    fn spliced(&self, mut splices: Vec<Splice>) -> String {
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
            text.truncate(text.len() - self.line_end.len());
        }
        format!("{}{text}", self.byte_order_mark)
    }
}

/// A key at the start of `text`, and where the text after its colon begins.
fn key_of(text: &str) -> Option<(&str, usize)> {
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
fn one_value(text: &str) -> Option<Range<usize>> {
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
fn is_blank_or_comment(text: &str) -> bool {
    let trimmed = text.trim_start();
    trimmed.is_empty() || (trimmed.starts_with('#') && trimmed.len() < text.len())
}

/// How long the quoted text is that `text` begins with, quotes included.
fn quoted_length(text: &str) -> Option<usize> {
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
fn list_length(text: &str) -> Option<usize> {
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

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::os::unix::fs::{chown, symlink};

    use clap::{Args as _, FromArgMatches as _};
    use tempfile::TempDir;

    use super::*;

    const OLD: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";
    const NEW: &str = "BF1:00128:7B1MFk55Gswv648L:+zReK36LKHWNfbYKKNTsXhiqLMDxTsyK";

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    fn roles(names: &[&str]) -> Vec<RoleName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn edited(old: &str, name: &str, new_roles: &[&str]) -> Result<String, (usize, Obstacle)> {
        let change = Change {
            user: &user(name),
            hash: NEW,
            roles: &roles(new_roles),
        };
        edit(old, &change).map_err(|error| match error {
            EditError::Refused(line, obstacle) => (line + 1, obstacle),
            EditError::NotYaml(error) => panic!("not YAML: {error}"),
        })
    }

    /// In the texts of the tests `OLD` and `NEW` stand for the hashes.
    fn with_hashes(text: &str) -> String {
        text.replace("OLD", OLD).replace("NEW", NEW)
    }

    #[track_caller]
    fn check(old: &str, name: &str, roles: &[&str], new: &str) {
        assert_eq!(edited(&with_hashes(old), name, roles), Ok(with_hashes(new)));
    }

    #[track_caller]
    fn refused(old: &str, name: &str, line: usize, obstacle: Obstacle) {
        assert_eq!(
            edited(&with_hashes(old), name, &["view"]),
            Err((line, obstacle))
        );
    }

    fn parsed(line: &[&str]) -> Result<PasswdArgs, clap::Error> {
        let command = PasswdArgs::augment_args(clap::Command::new("passwd"));
        let words = ["passwd"].iter().chain(line);
        PasswdArgs::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    fn run_line(line: &[&str]) -> Result<(), PasswdError> {
        run(parsed(line).unwrap())
    }

    fn folder_with(text: &str) -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("users.yaml");
        fs::write(&file, with_hashes(text)).unwrap();
        (folder, file)
    }

    fn names_in(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().mode() & 0o7777
    }

    // === Command line ===

    #[test]
    fn the_historic_line_is_understood() {
        let args = parsed(&[
            "--cipher",
            "bcrypt",
            "--file",
            "auth.conf",
            "--password",
            "word word",
            "ralph",
            "administrator",
            "user",
        ])
        .unwrap();
        assert_eq!(args.cipher, Cipher::Bcrypt);
        assert_eq!(args.file.as_deref(), Some(Path::new("auth.conf")));
        assert_eq!(args.password.unwrap().0.as_str(), "word word");
        assert_eq!(args.username.as_str(), "ralph");
        assert_eq!(args.roles, roles(&["administrator", "user"]));
    }

    #[test]
    fn a_name_alone_means_argon2id_and_no_roles() {
        let args = parsed(&["ralph"]).unwrap();
        assert_eq!(
            (args.cipher, args.roles.len(), args.verify),
            (Cipher::Argon2id, 0, false)
        );
    }

    #[test]
    fn lines_that_contradict_themselves_are_refused() {
        assert!(parsed(&["--verify", "--file", "f", "ralph"]).is_ok());
        assert!(parsed(&["--verify", "ralph"]).is_err());
        assert!(parsed(&["--verify", "--file", "f", "ralph", "view"]).is_err());
        assert!(parsed(&["--verify", "--file", "f", "--cipher", "bcrypt", "ralph"]).is_err());
        assert!(parsed(&[]).is_err());
    }

    #[test]
    fn names_must_fit_and_others_are_refused() {
        for name in ["a", "ralph.x_y@plant+1-2", &"u".repeat(64)] {
            assert!(parsed(&[name]).is_ok(), "{name}");
        }
        for name in ["", "a b", "a:b", "ä", "a\n", "a/b", &"u".repeat(65)] {
            assert!(parsed(&[name]).is_err(), "{name}");
        }
        for role in ["view", "a-b_9"] {
            assert!(parsed(&["ralph", role]).is_ok(), "{role}");
        }
        for role in ["", "a.b", "a,b", "ä", "a]"] {
            assert!(parsed(&["ralph", role]).is_err(), "{role}");
        }
    }

    #[test]
    fn debug_of_the_arguments_hides_the_password() {
        let args = parsed(&["--password", "hunter2", "ralph"]).unwrap();
        assert!(!format!("{args:?}").contains("hunter2"));
    }

    // === The password ===

    #[test]
    fn eight_characters_are_enough_and_seven_are_not() {
        for good in ["12345678", "pässwörd", "        ", &"x".repeat(1024)] {
            assert!(check_policy(good.as_bytes()).is_ok(), "{good}");
        }
        for short in ["", "1234567", "ääääääá"] {
            let error = check_policy(short.as_bytes()).unwrap_err();
            assert!(matches!(error, PasswdError::TooShort { .. }), "{short}");
        }
    }

    #[test]
    fn a_password_too_long_or_with_a_nul_is_refused_rather_than_cut() {
        assert!(matches!(
            check_policy(&[b'x'; 1025]),
            Err(PasswdError::TooLong)
        ));
        assert!(matches!(
            check_policy(b"1234567\x008"),
            Err(PasswdError::ContainsNul)
        ));
    }

    #[test]
    fn bcrypt_refuses_more_than_72_bytes_where_argon2id_does_not() {
        let long: Password = Zeroizing::new(vec![b'x'; 73]);
        assert!(matches!(
            hash(Cipher::Bcrypt, &user("ralph"), &long),
            Err(HashError::TooLong { limit: 72, .. })
        ));
        assert!(hash(Cipher::Argon2id, &user("ralph"), &long).is_ok());
    }

    #[test]
    fn one_line_end_is_taken_off_and_nothing_else() {
        for (input, password) in [
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            ("secret", "secret"),
            ("secret\n\n", "secret"),
            ("secret\nmore\n", "secret"),
            (" a b \t\n", " a b \t"),
            ("a\rb\n", "a\rb"),
            ("secret\r", "secret\r"),
            ("\n", ""),
            ("", ""),
        ] {
            assert_eq!(
                password_line(input.as_bytes()).unwrap().as_slice(),
                password.as_bytes()
            );
        }
    }

    #[test]
    fn a_line_of_any_length_is_either_whole_or_too_long() {
        for length in [1024, 1025, 1026, 1027, 100_000] {
            for end in ["", "\n", "\r\n"] {
                let line = password_line(("x".repeat(length) + end).as_bytes()).unwrap();
                assert_eq!(
                    check_policy(&line).is_ok(),
                    length == 1024,
                    "{length} {end:?}"
                );
            }
        }
    }

    // === YAML written ===

    #[test]
    fn the_entry_is_yaml_for_the_users_file() {
        assert_eq!(
            entry(&user("ralph"), "$2b$x", &roles(&["a", "b"])),
            "ralph:\n  password: \"$2b$x\"\n  roles: [a, b]\n"
        );
        assert_eq!(
            entry(&user("ralph"), "x", &[]),
            "ralph:\n  password: \"x\"\n"
        );
    }

    #[test]
    fn every_name_is_read_back_as_the_same_text() {
        for name in [
            "ralph",
            "123",
            "1e3",
            "0x1F",
            "1_000",
            "-",
            "--",
            "---",
            "-a",
            "+1",
            ".5",
            ".inf",
            ".nan",
            "@a",
            "_",
            "_a",
            "true",
            "No",
            "NULL",
            "y",
            "a@b.c",
            "2026-01-01",
            "e5",
            "on",
            "null",
            "Off",
            "users",
        ] {
            let text = entry(&user(name), "x", &[]);
            let value: Value = serde_yaml::from_str(&text).unwrap();
            assert!(value[name]["password"] == "x", "{text}");
            assert_eq!(
                edited(&text, name, &[]).unwrap(),
                entry(&user(name), NEW, &[])
            );
        }
        for role in ["view", "1", "-", "no", "_", "true"] {
            let value: Value = serde_yaml::from_str(&flow_list(&roles(&[role]))).unwrap();
            assert!(value[0] == role, "{role}");
        }
    }

    // === Editing: what is kept and what is changed ===

    #[test]
    fn only_the_password_of_the_user_changes_and_all_else_stays() {
        let old = "# Users\n\nralph:   # the boss\n  # set in May\n  password:   \"OLD\"   # temporary\n\n  \
                   roles: [administrator]  # all\n  email: ralph@x\n\n# the others\nanna:\n    roles:\n    - view\n    \
                   password: OLD\n\n# end\n";
        let new = old.replacen("\"OLD\"", "\"NEW\"", 1);
        check(old, "ralph", &[], &new);
        check(
            old,
            "anna",
            &[],
            &old.replace("password: OLD", "password: \"NEW\""),
        );
    }

    #[test]
    fn roles_change_only_if_some_are_given() {
        let old = "ralph:\n  roles: [a, 'b c', \"]\"] # x\n  password: OLD\n";
        check(
            old,
            "ralph",
            &[],
            "ralph:\n  roles: [a, 'b c', \"]\"] # x\n  password: \"NEW\"\n",
        );
        check(
            old,
            "ralph",
            &["view", "no"],
            "ralph:\n  roles: [view, \"no\"] # x\n  password: \"NEW\"\n",
        );
    }

    #[test]
    fn roles_one_a_line_keep_their_comments() {
        let old = "ralph:\n  password: 'OLD'\n  roles:  # why\n    - view # to look\n    # careful\n    - edit\n\n    - admin\nanna: {}\n";
        check(
            old,
            "ralph",
            &["view", "admin"],
            "ralph:\n  password: \"NEW\"\n  roles:  # why\n    - view # to look\n    # careful\n    - admin\n\nanna: {}\n",
        );
        check(
            "ralph:\n  password: OLD\n  roles:\n  - \"view\"\n  email: x\n",
            "ralph",
            &["edit", "view", "1"],
            "ralph:\n  password: \"NEW\"\n  roles:\n  - edit\n  - \"view\"\n  - \"1\"\n  email: x\n",
        );
    }

    #[test]
    fn fields_that_are_missing_are_added() {
        check(
            "ralph:\n    disabled: true\n    roles: [b] # x\nanna:\n",
            "ralph",
            &["a"],
            "ralph:\n    password: \"NEW\"\n    disabled: true\n    roles: [a] # x\nanna:\n",
        );
        check(
            "ralph:\n  roles: [a]\n",
            "ralph",
            &["b"],
            "ralph:\n  password: \"NEW\"\n  roles: [b]\n",
        );
        check(
            "ralph:\n  password: OLD\n",
            "ralph",
            &["b"],
            "ralph:\n  password: \"NEW\"\n  roles: [b]\n",
        );
        check(
            "ralph: # soon\n",
            "ralph",
            &["a"],
            "ralph: # soon\n  password: \"NEW\"\n  roles: [a]\n",
        );
        check(
            "ralph:\n  password:\n  roles: # none\n",
            "ralph",
            &["a"],
            "ralph:\n  password: \"NEW\"\n  roles: [a] # none\n",
        );
    }

    #[test]
    fn a_new_user_goes_to_the_end() {
        let added = "ralph:\n  password: \"NEW\"\n  roles: [a]\n";
        check("", "ralph", &["a"], added);
        check("# nobody\n", "ralph", &["a"], &format!("# nobody\n{added}"));
        check("---\n", "ralph", &["a"], &format!("---\n{added}"));
        let old = "anna: {password: OLD}\n# end\n";
        check(old, "ralph", &["a"], &format!("{old}{added}"));
        check(
            "anna:\n    password: OLD\n",
            "ralph",
            &[],
            "anna:\n    password: OLD\nralph:\n    password: \"NEW\"\n",
        );
    }

    #[test]
    fn users_may_be_one_level_deeper() {
        let old = "listeners:\n- address: :80\nusers: # all\n   anna:\n      password: OLD\n   # anna's end\n# users' end\nroles: {a: [b]}\n";
        check(old, "anna", &[], &old.replace("OLD", "\"NEW\""));
        check(
            old,
            "ralph",
            &["a"],
            &old.replace(
                "# users' end",
                "   ralph:\n      password: \"NEW\"\n      roles: [a]\n# users' end",
            ),
        );
        check(
            "users:\n",
            "ralph",
            &[],
            "users:\n  ralph:\n    password: \"NEW\"\n",
        );
    }

    #[test]
    fn a_user_may_be_called_users() {
        check(
            "users:\n  password: OLD\n",
            "users",
            &[],
            "users:\n  password: \"NEW\"\n",
        );
    }

    #[test]
    fn quoted_and_numeric_names_are_found() {
        check(
            "\"ralph\" :\n  'password': OLD\n",
            "ralph",
            &[],
            "\"ralph\" :\n  'password': \"NEW\"\n",
        );
        check(
            "123:\n  password: OLD\n",
            "123",
            &[],
            "123:\n  password: \"NEW\"\n",
        );
        check(
            "'it''s':\n  password: OLD\nit:\n  password: OLD\n",
            "it",
            &[],
            "'it''s':\n  password: OLD\nit:\n  password: \"NEW\"\n",
        );
    }

    #[test]
    fn line_ends_stay_as_they_are() {
        let old = "\u{feff}# a\r\nralph:\r\n  password: OLD\r\n";
        check(
            old,
            "ralph",
            &["a"],
            "\u{feff}# a\r\nralph:\r\n  password: \"NEW\"\r\n  roles: [a]\r\n",
        );
        check(
            "a:\r\n  password: OLD",
            "a",
            &[],
            "a:\r\n  password: \"NEW\"",
        );
        check(
            "a:\n  password: OLD\r\n  roles: [a]\n",
            "a",
            &[],
            "a:\n  password: \"NEW\"\r\n  roles: [a]\n",
        );
        check(
            "a:\n  password: OLD",
            "b",
            &[],
            "a:\n  password: OLD\nb:\n  password: \"NEW\"",
        );
    }

    #[test]
    fn texts_of_several_lines_elsewhere_do_no_harm() {
        let old = "anna:\n  note: |\n    ralph:\n      password: x\n  bio: \"a\n    b: c\"\n  roles: [a,\n    b]\nralph:\n  password: OLD\n";
        check(old, "ralph", &[], &old.replace("OLD", "\"NEW\""));
    }

    // === Editing: what is refused ===

    #[test]
    fn flow_style_is_refused_for_the_user_and_at_the_top() {
        let old = "anna:\n  password: OLD\nralph: {password: OLD}\n";
        refused(old, "ralph", 3, Obstacle::FlowStyle);
        check(old, "anna", &[], &old.replacen("OLD", "\"NEW\"", 1));
        refused(
            "# x\n{ralph: {password: OLD}}\n",
            "ralph",
            2,
            Obstacle::FlowStyle,
        );
        refused("{}", "ralph", 1, Obstacle::FlowStyle);
        refused("users: {}\n", "ralph", 1, Obstacle::FlowStyle);
        refused(
            "ralph:\n  {password: OLD}\n",
            "ralph",
            2,
            Obstacle::FlowStyle,
        );
    }

    #[test]
    fn anchors_aliases_merges_and_tags_are_refused() {
        refused(
            "anna: &a\n  password: OLD\nralph:\n  <<: *a\n",
            "ralph",
            1,
            Obstacle::Anchor,
        );
        refused(
            "anna:\n  password: &a OLD\nralph:\n  password: *a\n",
            "ralph",
            2,
            Obstacle::Anchor,
        );
        refused(
            "anna:\n  roles:\n  - &a view\nralph:\n  password: OLD\n",
            "ralph",
            3,
            Obstacle::Anchor,
        );
        refused(
            "x: &x 1\nusers:\n  ralph:\n    password: OLD\n    n: *x\n",
            "ralph",
            5,
            Obstacle::Anchor,
        );
        refused(
            "users: &u\n  ralph:\n    password: OLD\n",
            "ralph",
            1,
            Obstacle::Anchor,
        );
        refused("&a ralph:\n  password: OLD\n", "ralph", 1, Obstacle::Anchor);
        refused(
            "ralph:\n  password: !secret OLD\n",
            "ralph",
            2,
            Obstacle::Anchor,
        );
        check(
            "x: &x 1\nusers:\n  ralph:\n    password: OLD\n",
            "ralph",
            &[],
            "x: &x 1\nusers:\n  ralph:\n    password: \"NEW\"\n",
        );
    }

    #[test]
    fn an_anchor_hidden_in_a_list_does_not_change_another_user() {
        let old =
            "ralph:\n  password: OLD\n  roles: [&a edit]\nanna:\n  password: OLD\n  roles: [*a]\n";
        refused(old, "ralph", 1, Obstacle::Unclear);
        check(old, "ralph", &[], &old.replacen("OLD", "\"NEW\"", 1));
    }

    #[test]
    fn tabs_in_the_indentation_are_refused() {
        refused(
            "ralph:\n  password: \"a\n\tb\"\n",
            "ralph",
            3,
            Obstacle::Tab,
        );
        check(
            "ralph:\n  password:\tOLD\n",
            "ralph",
            &[],
            "ralph:\n  password:\t\"NEW\"\n",
        );
    }

    #[test]
    fn duplicates_are_refused_with_both_lines() {
        let first = |first| Obstacle::Duplicate { first };
        refused(
            "ralph:\n  password: OLD\nralph:\n  password: OLD\n",
            "ralph",
            3,
            first(1),
        );
        refused(
            "users:\n  a:\n    roles: []\n  'a':\n    roles: []\n",
            "ralph",
            4,
            first(2),
        );
        refused(
            "ralph:\n  password: OLD\n  roles: []\n  password: OLD\n",
            "anna",
            4,
            first(2),
        );
        refused(
            "12:\n  password: OLD\n\"12\":\n  password: OLD\n",
            "12",
            3,
            first(1),
        );
    }

    #[test]
    fn several_documents_and_directives_are_refused() {
        refused(
            "ralph:\n  password: OLD\n...\n",
            "ralph",
            3,
            Obstacle::Documents,
        );
        refused(
            "%YAML 1.2\n---\nralph:\n  password: OLD\n",
            "ralph",
            1,
            Obstacle::Documents,
        );
        refused("--- {a: {password: x}}\n", "ralph", 1, Obstacle::Documents);
        check(
            "# x\n--- # y\nralph:\n  password: OLD\n",
            "ralph",
            &[],
            "# x\n--- # y\nralph:\n  password: \"NEW\"\n",
        );
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        refused("listeners:\n- address: x\n", "ralph", 1, Obstacle::NotAUser);
        refused(
            "# x\nadmin:\n  address: x\n",
            "ralph",
            2,
            Obstacle::NotAUser,
        );
        refused("ralph: OLD\n", "ralph", 1, Obstacle::NotAUser);
        refused("users: /etc/users.yaml\n", "ralph", 1, Obstacle::NotAUser);
        refused("users:\n- ralph\n", "ralph", 1, Obstacle::NotAUser);
        refused("- ralph\n", "ralph", 1, Obstacle::NotAKey);
        refused("ralph\n", "ralph", 1, Obstacle::NotAKey);
        refused("? ralph\n: password: OLD\n", "ralph", 1, Obstacle::NotAKey);
        refused(
            "users:\n  ralph: OLD\n  anna:\n    password: OLD\n",
            "ralph",
            1,
            Obstacle::NotAUser,
        );
    }

    #[test]
    fn values_that_are_not_on_their_line_are_refused() {
        for password in [
            "|\n    OLD",
            ">-\n    OLD",
            "\"a\n    b\"",
            "a\n    b",
            "{file: x}",
        ] {
            refused(
                &format!("ralph:\n  password: {password}\n"),
                "ralph",
                2,
                Obstacle::NotOneLine,
            );
        }
        refused(
            "ralph:\n  password:\n    OLD\n",
            "ralph",
            2,
            Obstacle::NotOneLine,
        );
        refused(
            "ralph:\n  password: OLD\n  roles: [a,\n    b]\n",
            "ralph",
            3,
            Obstacle::NotOneLine,
        );
        refused(
            "ralph:\n  password: OLD\n  roles:\n  - {a: b}\n",
            "ralph",
            4,
            Obstacle::NotOneLine,
        );
        refused(
            "ralph:\n  password: OLD\n  roles:\n  - a\n    b\n",
            "ralph",
            5,
            Obstacle::NotOneLine,
        );
    }

    #[test]
    fn what_only_looks_like_a_user_is_refused() {
        refused(
            "ralph:\n  password: \"x\nanna: y\"\n",
            "anna",
            1,
            Obstacle::Unclear,
        );
        refused(
            "ralph:\n  roles: []\n  bio: \"x\n  password: y\"\n",
            "ralph",
            1,
            Obstacle::Unclear,
        );
        refused("a\rb:\n  password: OLD\n", "ralph", 1, Obstacle::LineBreak);
        refused(
            "# a\u{2028}b\nralph:\n  password: OLD\n",
            "ralph",
            1,
            Obstacle::LineBreak,
        );
    }

    #[test]
    fn no_text_panics_and_every_edit_keeps_the_other_lines() {
        let sample = "# é\r\n\"users\": # x\n  ralph:\n    password: 'OLD' # y\n    roles:\n    - \"a\"\n    - b\n  \
                      anna: {password: \"OLD\", roles: [a, 'b']}\n  carl:\n    note: |\n      x: *y\nroles: {}";
        for at in sample.char_indices().map(|(at, _)| at) {
            for piece in [
                "", "\n", "\t", "\"", "'", "[", "}", ": ", "- ", "&a ", "#", " #", "é", "\\", "\r",
                "---\n", "  ",
            ] {
                for text in [
                    format!("{}{piece}{}", &sample[..at], &sample[at..]),
                    format!("{}{piece}", &sample[..at]),
                ] {
                    let change = Change {
                        user: &user("ralph"),
                        hash: NEW,
                        roles: &roles(&["c", "b"]),
                    };
                    let Ok(new) = edit(&text, &change) else {
                        continue;
                    };
                    let has = |line: &&str| new.contains(line.trim_end());
                    let lost: Vec<&str> = text.lines().filter(|line| !has(line)).collect();
                    let may_change = |line: &&str| {
                        line.contains("pass") || line.contains('-') || line.contains("roles")
                    };
                    assert!(lost.iter().all(may_change), "{text}\n=>\n{new}\n{lost:?}");
                }
            }
        }
    }

    // === Files ===

    #[test]
    fn a_new_file_is_private_and_says_what_it_is() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("users.yaml");
        let path = file.to_str().unwrap();
        run_line(&[
            "--file",
            path,
            "--password",
            "correct horse",
            "--cipher",
            "sha256",
            "ralph",
            "view",
        ])
        .unwrap();
        let hash = hash_sha256("ralph", b"correct horse");
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(
            text,
            format!("{FIRST_LINE}ralph:\n  password: \"{hash}\"\n  roles: [view]\n")
        );
        assert_eq!(mode(&file), 0o600);
        assert_eq!(names_in(folder.path()), ["users.yaml"]);
    }

    #[test]
    fn the_right_password_is_verified_and_a_wrong_one_is_not() {
        let (_folder, file) = folder_with(
            "ralph:\n  password: OLD\n12: {password: NEW}\nnone:\n  roles: [a]\nbad:\n  password: x\n",
        );
        let path = file.to_str().unwrap();
        let verify =
            |password, name| run_line(&["--verify", "--file", path, "--password", password, name]);
        assert!(verify("correctbatteryhorsestapler", "ralph").is_ok());
        assert!(matches!(
            verify("wrong", "ralph"),
            Err(PasswdError::WrongPassword { .. })
        ));
        // Stored passwords may be shorter than new ones.
        assert!(verify("pass5", "12").is_ok());
        assert!(matches!(
            verify("pass5", "anna"),
            Err(PasswdError::NoSuchUser { .. })
        ));
        assert!(matches!(
            verify("pass5", "none"),
            Err(PasswdError::NoPassword { .. })
        ));
        assert!(matches!(
            verify("x", "bad"),
            Err(PasswdError::StoredHash { .. })
        ));
        let (_folder, file) = folder_with("users:\n  ralph: {password: NEW}\n");
        assert!(
            run_line(&[
                "--verify",
                "--file",
                file.to_str().unwrap(),
                "--password",
                "pass5",
                "ralph"
            ])
            .is_ok()
        );
    }

    #[test]
    fn what_was_set_is_verified() {
        let (_folder, file) = folder_with("users:\n  anna:\n    password: OLD\n");
        let path = file.to_str().unwrap();
        for cipher in ["argon2id", "sha256"] {
            run_line(&[
                "--file",
                path,
                "--password",
                "correct horse",
                "--cipher",
                cipher,
                "ralph",
            ])
            .unwrap();
            run_line(&[
                "--verify",
                "--file",
                path,
                "--password",
                "correct horse",
                "ralph",
            ])
            .unwrap();
        }
    }

    #[test]
    fn the_mode_and_owner_of_the_file_stay() {
        let (_folder, file) = folder_with("ralph:\n  password: OLD\n");
        // Works for root alone; for anybody else the owner stays anyway.
        let _ = chown(&file, Some(12345), Some(12345));
        let owner = |file: &Path| {
            fs::metadata(file)
                .map(|data| (data.uid(), data.gid()))
                .unwrap()
        };
        for wanted in [0o640, 0o600, 0o664] {
            fs::set_permissions(&file, Permissions::from_mode(wanted)).unwrap();
            let before = owner(&file);
            let change = Change {
                user: &user("ralph"),
                hash: NEW,
                roles: &[],
            };
            UsersFile::read(&file).unwrap().change(&change).unwrap();
            assert_eq!((mode(&file), owner(&file)), (wanted, before));
        }
    }

    #[test]
    fn a_symbolic_link_stays_and_its_target_is_edited() {
        let (folder, file) = folder_with("ralph:\n  password: OLD\n");
        let links = TempDir::new().unwrap();
        let link = links.path().join("link.yaml");
        symlink(&file, &link).unwrap();
        let change = Change {
            user: &user("ralph"),
            hash: NEW,
            roles: &[],
        };
        UsersFile::read(&link).unwrap().change(&change).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            with_hashes("ralph:\n  password: \"NEW\"\n")
        );
        assert_eq!(names_in(folder.path()), ["users.yaml"]);
        assert_eq!(names_in(links.path()), ["link.yaml"]);
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let folder = TempDir::new().unwrap();
        let link = folder.path().join("link.yaml");
        symlink(folder.path().join("nowhere"), &link).unwrap();
        assert!(matches!(
            UsersFile::read(&link),
            Err(PasswdError::DanglingLink { .. })
        ));
        assert!(matches!(
            UsersFile::read(folder.path()),
            Err(PasswdError::NotAFile { .. })
        ));
        let nowhere = folder.path().join("no/users.yaml");
        assert!(matches!(
            UsersFile::read(&nowhere),
            Err(PasswdError::Read { .. })
        ));
        let binary = folder.path().join("binary");
        fs::write(&binary, [0xff, 0xfe]).unwrap();
        assert!(matches!(
            UsersFile::read(&binary),
            Err(PasswdError::NotText { .. })
        ));
    }

    #[test]
    fn a_refusal_names_file_and_line_and_leaves_every_byte() {
        let (folder, file) = folder_with("anna:\n  password: OLD\nralph: {password: OLD}");
        let before = fs::read(&file).unwrap();
        let path = file.to_str().unwrap();
        let error =
            run_line(&["--file", path, "--password", "correct horse", "ralph"]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("{path}:3: flow style ({{…}}) ")),
            "{error}"
        );
        let error = run_line(&["--file", path, "--password", "short", "anna"]).unwrap_err();
        assert!(error.to_string().contains("at least 8"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), before);
        assert_eq!(names_in(folder.path()), ["users.yaml"]);

        fs::write(&file, "a: [").unwrap();
        let error =
            run_line(&["--file", path, "--password", "correct horse", "ralph"]).unwrap_err();
        assert!(matches!(error, PasswdError::NotYaml { .. }) && error.source().is_some());
        assert_eq!(fs::read(&file).unwrap(), b"a: [");
    }

    #[test]
    fn a_file_that_somebody_else_changed_meanwhile_is_left_to_them() {
        let (folder, file) = folder_with("ralph:\n  password: OLD\n");
        let change = Change {
            user: &user("ralph"),
            hash: NEW,
            roles: &[],
        };
        let read = UsersFile::read(&file).unwrap();
        fs::write(&file, "# theirs\n").unwrap();
        assert!(matches!(
            read.change(&change),
            Err(PasswdError::ChangedMeanwhile { .. })
        ));
        assert_eq!(fs::read(&file).unwrap(), b"# theirs\n");

        let new = folder.path().join("new.yaml");
        let read = UsersFile::read(&new).unwrap();
        fs::write(&new, "# theirs\n").unwrap();
        assert!(matches!(
            read.change(&change),
            Err(PasswdError::ChangedMeanwhile { .. })
        ));
        assert_eq!(fs::read(&new).unwrap(), b"# theirs\n");
        assert_eq!(names_in(folder.path()), ["new.yaml", "users.yaml"]);
    }
}
