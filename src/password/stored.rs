//! Stored passwords: which hash formats are read, what checking one costs, and how new hashes are
//! made.
//!
//! Checking takes milliseconds to a second of one core, so the gate does it in the hashing `pool`
//! only. Not here: the rules for choosing a password, and the users file.

use std::fmt;
use std::hint::black_box;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::alphabet::BCRYPT;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{
    GeneralPurpose, GeneralPurposeConfig, STANDARD, STANDARD_NO_PAD,
};
use md5::Md5;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

use super::argon2id::{self, Argon2idParameters};
use super::bf1;

/// A longer password never matches and is never hashed: generous for a passphrase, and it bounds
/// what a stranger can make the gate work on.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// bcrypt looks at 72 bytes; what comes after would not count.
pub const MAX_BCRYPT_PASSWORD_BYTES: usize = 72;

/// A stored password hash in a known format, parsed once when configuration loads. `Debug` never
/// prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredPassword {
    hash: Hash,
    fingerprint: u64,
}

/// What one verification costs: the same value means the same work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cost {
    /// Memory in KiB, passes, lanes.
    Argon2id { m: u32, t: u32, p: u32 },
    /// Two to the power of `cost` key schedules.
    Bcrypt { cost: u32 },
    /// Once for each string that may have been hashed.
    Bf1 { rounds: u32 },
    /// Once for each string that may have been hashed.
    Sha256,
    /// Once for each string that may have been hashed.
    Md5,
}

/// Why a text is not taken as a stored password. Says what was found and what would be right, and
/// never repeats the text: it may be somebody's password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("the password hash is empty; make one with `portcullis passwd`")]
    Empty,
    #[error("the password hash has white space at its start or end; remove it")]
    SurroundingSpace,
    #[error(
        "this is not a password hash in a known format ($argon2id$, $2b$, BF1:, SHA256: or 64 \
         lower-case hex digits), and plain passwords are never accepted; make a hash with \
         `portcullis passwd`"
    )]
    NotAHash,
    #[error(
        "{format} password hashes are not accepted: {reason}; make a new one with `portcullis passwd`"
    )]
    NotAccepted {
        format: &'static str,
        reason: &'static str,
    },
    /// The format, and what is wrong.
    #[error("the {0} password hash cannot be used: {1}")]
    Malformed(&'static str, &'static str),
}

/// Why no hash could be made.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    #[error("the password is longer than {limit} bytes, which is all that {format} takes in")]
    TooLong { format: &'static str, limit: usize },
    #[error("bcrypt cannot hash a password with a NUL character in it")]
    ContainsNul,
    #[error("the bcrypt cost must be from {MIN_BCRYPT_COST} to {MAX_BCRYPT_COST}")]
    BcryptCost,
    #[error("the system gives no random numbers for a salt")]
    Random(#[source] getrandom::Error),
    #[error("argon2id failed")]
    Argon2id(#[source] argon2::Error),
}

// === impl StoredPassword ===

impl StoredPassword {
    /// Reads `$argon2id$…` (PHC), `$2a$`, `$2b$` and `$2y$` (bcrypt), `BF1:rounds:salt:hash`,
    /// `SHA256:<64 hex digits>` and 64 bare lower-case hex digits, `MD5:<32 hex digits>` and 32 bare
    /// ones. Whether MD5 will do is for the caller to say: see [`Self::is_md5`].
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        if text.is_empty() {
            return Err(FormatError::Empty);
        }
        if text.trim() != text {
            return Err(FormatError::SurroundingSpace);
        }
        let hash = Hash::parse(text)?;
        let digest: [u8; 32] = Sha256::digest(text).into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Ok(Self {
            hash,
            fingerprint: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        })
    }

    /// Whether `password` is the one that was hashed. The work depends on [`Self::cost`] and the
    /// number of realms alone, not on the outcome.
    ///
    /// BF1, SHA256 and MD5 hash one of `password`, `user:password` and `user:realm:password`, and the
    /// text does not say which, so all of them are tried; `realms` empty stands for
    /// [`DEFAULT_REALMS`].
    pub fn verify(&self, user: &str, password: &[u8], realms: &[String]) -> bool {
        self.hash.matches(user, password, realms)
    }

    /// What one verification costs, comparable: the same value means the same work.
    pub fn cost(&self) -> Cost {
        match self.hash {
            Hash::Argon2id { m, t, p, .. } => Cost::Argon2id { m, t, p },
            Hash::Bcrypt { cost, .. } => Cost::Bcrypt { cost },
            Hash::Bf1 { rounds, .. } => Cost::Bf1 { rounds },
            Hash::Sha256 { .. } => Cost::Sha256,
            Hash::Md5 { .. } => Cost::Md5,
        }
    }

    /// Whether a stolen copy of the hash is cheap to guess, so that it should be replaced.
    pub fn is_weak(&self) -> bool {
        match self.cost() {
            Cost::Argon2id { m, t, .. } => !argon2id::is_at_floor(m, t),
            Cost::Bcrypt { cost } => cost < BCRYPT_FLOOR,
            Cost::Bf1 { .. } | Cost::Sha256 | Cost::Md5 => true,
        }
    }

    /// Whether it is stored as a new one of these parameters would be, or better. Others are foreign
    /// or weak.
    pub fn is_preferred(&self, new: Argon2idParameters) -> bool {
        matches!(self.hash, Hash::Argon2id { m, t, .. } if new.is_reached_by(m, t))
    }

    /// Whether it is of the one format that nobody should use without having said so: MD5 without
    /// salt is looked up rather than guessed.
    pub fn is_md5(&self) -> bool {
        matches!(self.hash, Hash::Md5 { .. })
    }

    pub fn format_name(&self) -> &'static str {
        match self.hash {
            Hash::Argon2id { .. } => "argon2id",
            Hash::Bcrypt { .. } => "bcrypt",
            Hash::Bf1 { .. } => "BF1",
            Hash::Sha256 { .. } => "SHA256",
            Hash::Md5 { .. } => "MD5",
        }
    }

    /// 64 bits of SHA-256 over the stored text: enough to notice that a password was changed
    /// without keeping it.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

impl fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredPassword({})", self.format_name())
    }
}

// === impl Cost ===

impl Cost {
    /// Does the work of one verification against nothing and throws the result away.
    pub fn burn(&self, password: &[u8]) {
        self.burn_as("", password, &[]);
    }

    /// [`Cost::burn`] for formats whose work also depends on how many realms are tried.
    pub(super) fn burn_as(&self, user: &str, password: &[u8], realms: &[String]) {
        black_box(self.decoy().matches(user, black_box(password), realms));
    }

    /// A hash of this cost that stands for no password.
    fn decoy(&self) -> Hash {
        match *self {
            Self::Argon2id { m, t, p } => Hash::Argon2id {
                m,
                t,
                p,
                salt: vec![0; NEW_SALT_LEN],
                tag: vec![0; NEW_TAG_LEN],
            },
            Self::Bcrypt { cost } => Hash::Bcrypt {
                cost,
                salt: [0; 16],
                tag: [0; 23],
            },
            Self::Bf1 { rounds } => Hash::Bf1 {
                rounds,
                salt: "0".repeat(16),
                tag: [0; bf1::DIGEST_LEN],
            },
            Self::Sha256 => Hash::Sha256 { tag: [0; 32] },
            Self::Md5 => Hash::Md5 { tag: [0; 16] },
        }
    }
}

// === New hashes ===

const NEW_SALT_LEN: usize = 16;
const NEW_TAG_LEN: usize = 32;

/// Hashes with argon2id; the result is a PHC string.
pub fn hash_argon2id(password: &[u8], new: Argon2idParameters) -> Result<String, HashError> {
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(HashError::TooLong {
            format: "argon2id",
            limit: MAX_PASSWORD_BYTES,
        });
    }
    let salt: [u8; NEW_SALT_LEN] = random()?;
    let mut tag = [0; NEW_TAG_LEN];
    let (m, t, p) = (new.memory(), new.passes(), new.lanes());
    argon2id(m, t, p, password, &salt, &mut tag).map_err(HashError::Argon2id)?;
    let (salt, tag) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(tag));
    Ok(format!("$argon2id$v=19$m={m},t={t},p={p}${salt}${tag}"))
}

/// Hashes with bcrypt (`$2b$`).
pub fn hash_bcrypt(password: &[u8], cost: u32) -> Result<String, HashError> {
    if password.len() > MAX_BCRYPT_PASSWORD_BYTES {
        return Err(HashError::TooLong {
            format: "bcrypt",
            limit: MAX_BCRYPT_PASSWORD_BYTES,
        });
    }
    if password.contains(&0) {
        return Err(HashError::ContainsNul);
    }
    if !(MIN_BCRYPT_COST..=MAX_BCRYPT_COST).contains(&cost) {
        return Err(HashError::BcryptCost);
    }
    let salt = random()?;
    let tag = bcrypt(cost, salt, password);
    let (salt, tag) = (BCRYPT_BASE64.encode(salt), BCRYPT_BASE64.encode(tag));
    Ok(format!("$2b${cost:02}${salt}{tag}"))
}

/// The bare hex digest of `user:password` that Ioto's `pass` utility prints: unsalted and fast to
/// guess, for systems that read nothing better.
pub fn hash_sha256(user: &str, password: &[u8]) -> String {
    let digest = Sha256::new()
        .chain_update(user)
        .chain_update(":")
        .chain_update(password)
        .finalize();
    format!("{digest:x}")
}

fn random<const N: usize>() -> Result<[u8; N], HashError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(HashError::Random)?;
    Ok(bytes)
}

// === impl Hash: checking ===

#[derive(Clone, PartialEq, Eq)]
enum Hash {
    Argon2id {
        m: u32,
        t: u32,
        p: u32,
        salt: Vec<u8>,
        tag: Vec<u8>,
    },
    Bcrypt {
        cost: u32,
        salt: [u8; 16],
        tag: [u8; 23],
    },
    Bf1 {
        rounds: u32,
        salt: String,
        tag: [u8; bf1::DIGEST_LEN],
    },
    Sha256 {
        tag: [u8; 32],
    },
    Md5 {
        tag: [u8; 16],
    },
}

/// What Ioto puts between user and password if nobody set a realm: its server, then its tool.
pub const DEFAULT_REALMS: [&str; 2] = ["web", "example.com"];

const BCRYPT_FLOOR: u32 = 10;

impl Hash {
    fn matches(&self, user: &str, password: &[u8], realms: &[String]) -> bool {
        // A password that is too long is cut for the work and refused whatever comes out.
        let within = Choice::from(u8::from(password.len() <= MAX_PASSWORD_BYTES));
        let password = &password[..password.len().min(MAX_PASSWORD_BYTES)];
        let equal = match self {
            Self::Argon2id { m, t, p, salt, tag } => {
                let mut computed = vec![0; tag.len()];
                let done = argon2id(*m, *t, *p, password, salt, &mut computed).is_ok();
                computed.ct_eq(tag) & Choice::from(u8::from(done))
            }
            Self::Bcrypt { cost, salt, tag } => {
                // bcrypt repeats a key with its final NUL to fill 72 bytes, so that "a" and "a\0a"
                // are one key; and it would ignore what follows the 72nd byte.
                let whole = password.len() <= MAX_BCRYPT_PASSWORD_BYTES && !password.contains(&0);
                bcrypt(*cost, *salt, password).ct_eq(tag) & Choice::from(u8::from(whole))
            }
            Self::Bf1 { rounds, salt, tag } => any_input(user, password, realms, |input| {
                let whole = Choice::from(u8::from(input.len() <= bf1::MAX_INPUT));
                bf1_digest(*rounds, salt, input).ct_eq(tag) & whole
            }),
            Self::Sha256 { tag } => {
                any_input(user, password, realms, |input| sha256(input).ct_eq(tag))
            }
            Self::Md5 { tag } => any_input(user, password, realms, |input| md5(input).ct_eq(tag)),
        };
        bool::from(equal & within)
    }
}

/// Tries every string that Ioto may have hashed, all of them even after a match.
fn any_input(
    user: &str,
    password: &[u8],
    realms: &[String],
    mut check: impl FnMut(&[u8]) -> Choice,
) -> Choice {
    let realms: Vec<&str> = if realms.is_empty() {
        DEFAULT_REALMS.to_vec()
    } else {
        realms.iter().map(String::as_str).collect()
    };
    let with_realm = realms.iter().map(|realm| format!("{user}:{realm}:"));
    let prefixes = [String::new(), format!("{user}:")]
        .into_iter()
        .chain(with_realm);
    prefixes.fold(Choice::from(0), |matched, prefix| {
        let mut input = Zeroizing::new(Vec::with_capacity(prefix.len() + password.len()));
        input.extend_from_slice(prefix.as_bytes());
        input.extend_from_slice(password);
        matched | check(&input)
    })
}

fn argon2id(
    m: u32,
    t: u32,
    p: u32,
    password: &[u8],
    salt: &[u8],
    tag: &mut [u8],
) -> argon2::Result<()> {
    #[cfg(test)]
    meter::record(Cost::Argon2id { m, t, p });
    let params = Params::new(m, t, p, None)?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(password, salt, tag)
}

/// bcrypt of the first 72 bytes: refusing the others is the caller's part.
fn bcrypt(cost: u32, salt: [u8; 16], password: &[u8]) -> [u8; 23] {
    #[cfg(test)]
    meter::record(Cost::Bcrypt { cost });
    let mut key = Zeroizing::new([0; MAX_BCRYPT_PASSWORD_BYTES]);
    let taken = password.len().min(key.len());
    key[..taken].copy_from_slice(&password[..taken]);
    // The password's final NUL is part of the key, unless 72 bytes have left no room for it.
    let key = &key[..key.len().min(taken + 1)];
    let [tag @ .., _] = bcrypt::bcrypt(cost, salt, key);
    tag
}

fn bf1_digest(rounds: u32, salt: &str, input: &[u8]) -> [u8; bf1::DIGEST_LEN] {
    #[cfg(test)]
    meter::record(Cost::Bf1 { rounds });
    bf1::digest(rounds, salt, input)
}

fn sha256(input: &[u8]) -> [u8; 32] {
    #[cfg(test)]
    meter::record(Cost::Sha256);
    Sha256::digest(input).into()
}

fn md5(input: &[u8]) -> [u8; 16] {
    #[cfg(test)]
    meter::record(Cost::Md5);
    Md5::digest(input).into()
}

// === impl Hash: parsing ===

/// Formats that are recognised only to say what is the matter with them.
const NOT_ACCEPTED: [(&str, &str, &str); 12] = [
    (
        "$argon2i$",
        "argon2i",
        "it is weak against guessing on graphics cards",
    ),
    (
        "$argon2d$",
        "argon2d",
        "its memory access depends on the password",
    ),
    (
        "$2x$",
        "$2x$ bcrypt",
        "it marks hashes of a faulty implementation",
    ),
    ("$1$", "MD5 crypt", "it is broken"),
    ("$apr1$", "Apache MD5", "it is broken"),
    ("$5$", "SHA-256 crypt", "it is not supported"),
    ("$6$", "SHA-512 crypt", "it is not supported"),
    ("$y$", "yescrypt", "it is not supported"),
    ("$scrypt$", "scrypt", "it is not supported"),
    ("$pbkdf2", "PBKDF2", "it is not supported"),
    (
        "SHA512:",
        "SHA512",
        "Ioto makes them but cannot verify them",
    ),
    ("{", "LDAP", "they are not supported"),
];

const MIN_BCRYPT_COST: u32 = 4;
/// A single login at 16 takes seconds; each step doubles it.
const MAX_BCRYPT_COST: u32 = 16;
/// Ioto takes 128 unless told otherwise. This many cost a login in the order of a second.
const MAX_BF1_ROUNDS: u32 = 1_000_000;

/// bcrypt's alphabet. The last character of a salt carries four bits that mean nothing, and some
/// implementations leave them set.
const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &BCRYPT,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

impl Hash {
    fn parse(text: &str) -> Result<Self, FormatError> {
        if let Some(rest) = text.strip_prefix("$argon2id$") {
            return Self::parse_argon2id(rest);
        }
        if let Some(rest) = ["$2a$", "$2b$", "$2y$"]
            .iter()
            .find_map(|tag| text.strip_prefix(tag))
        {
            return Self::parse_bcrypt(rest);
        }
        if let Some(rest) = text.strip_prefix("BF1:") {
            return Self::parse_bf1(rest);
        }
        if let Some(rest) = text.strip_prefix("SHA256:") {
            return Self::parse_sha256(rest);
        }
        if let Some((_, format, reason)) =
            NOT_ACCEPTED.iter().find(|(tag, ..)| text.starts_with(tag))
        {
            return Err(FormatError::NotAccepted { format, reason });
        }
        if let Some(rest) = text.strip_prefix("MD5:") {
            return Self::parse_md5(rest);
        }
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.len() {
            64 if is_hex => Self::parse_sha256(bare("bare SHA-256", text)?),
            32 if is_hex => Self::parse_md5(bare("bare MD5", text)?),
            _ => Err(FormatError::NotAHash),
        }
    }

    /// `v=19$m=19456,t=2,p=1$salt$tag`, as PHC has it: no other order, nothing more.
    fn parse_argon2id(rest: &str) -> Result<Self, FormatError> {
        let parts: Vec<&str> = rest.split('$').collect();
        let [version, params, salt, tag] = parts[..] else {
            return Err(FormatError::Malformed(
                "argon2id",
                "it must read $argon2id$v=19$m=…,t=…,p=…$salt$hash",
            ));
        };
        if version != "v=19" {
            return Err(FormatError::Malformed(
                "argon2id",
                "its version must be v=19",
            ));
        }
        let params: Vec<&str> = params.split(',').collect();
        let [m, t, p] = params[..] else {
            return Err(FormatError::Malformed(
                "argon2id",
                "its parameters must be m, t and p, in this order",
            ));
        };
        let p = setting(p, "p=", 1, 16).ok_or(FormatError::Malformed(
            "argon2id",
            "p (lanes) must be a number from 1 to 16",
        ))?;
        let t = setting(t, "t=", 1, 64).ok_or(FormatError::Malformed(
            "argon2id",
            "t (passes) must be a number from 1 to 64",
        ))?;
        let m = setting(m, "m=", 8 * p, 1 << 20).ok_or(FormatError::Malformed(
            "argon2id",
            "m (memory) must be a number from 8 times p to 1048576 KiB",
        ))?;
        let salt = STANDARD_NO_PAD
            .decode(salt)
            .ok()
            .filter(|salt| (8..=64).contains(&salt.len()));
        let salt = salt.ok_or(FormatError::Malformed(
            "argon2id",
            "its salt must be 8 to 64 bytes in base64 without padding",
        ))?;
        let tag = STANDARD_NO_PAD
            .decode(tag)
            .ok()
            .filter(|tag| (16..=64).contains(&tag.len()));
        let tag = tag.ok_or(FormatError::Malformed(
            "argon2id",
            "its hash must be 16 to 64 bytes in base64 without padding",
        ))?;
        Ok(Self::Argon2id { m, t, p, salt, tag })
    }

    /// `12$` and 53 characters: 22 of salt, 31 of hash.
    fn parse_bcrypt(rest: &str) -> Result<Self, FormatError> {
        let shape = "after the cost it must have 53 characters of [./A-Za-z0-9]";
        let (cost, salt_and_tag) = rest.split_once('$').ok_or(FormatError::Malformed(
            "bcrypt",
            "it must read $2b$cost$salt-and-hash",
        ))?;
        let cost = Some(cost).filter(|cost| cost.len() == 2);
        let cost = cost
            .and_then(|cost| setting(cost, "", MIN_BCRYPT_COST, MAX_BCRYPT_COST))
            .ok_or(FormatError::Malformed(
                "bcrypt",
                "its cost must be two digits from 04 to 16",
            ))?;
        let (salt, tag) = salt_and_tag
            .split_at_checked(22)
            .ok_or(FormatError::Malformed("bcrypt", shape))?;
        let decode = |text| {
            BCRYPT_BASE64
                .decode(text)
                .map_err(|_| FormatError::Malformed("bcrypt", shape))
        };
        let salt = decode(salt)?
            .try_into()
            .map_err(|_| FormatError::Malformed("bcrypt", shape))?;
        let tag = decode(tag)?
            .try_into()
            .map_err(|_| FormatError::Malformed("bcrypt", shape))?;
        Ok(Self::Bcrypt { cost, salt, tag })
    }

    /// `00128:salt:hash`.
    fn parse_bf1(rest: &str) -> Result<Self, FormatError> {
        let parts: Vec<&str> = rest.split(':').collect();
        let [rounds, salt, tag] = parts[..] else {
            return Err(FormatError::Malformed(
                "BF1",
                "it must read BF1:rounds:salt:hash",
            ));
        };
        // Zero rounds would leave a constant as the hash, so that every password matched.
        let rounds = setting(rounds, "", 1, MAX_BF1_ROUNDS).ok_or(FormatError::Malformed(
            "BF1",
            "its rounds must be a number from 1 to 1000000",
        ))?;
        let is_salt = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/';
        if !(1..=64).contains(&salt.len()) || !salt.bytes().all(is_salt) {
            return Err(FormatError::Malformed(
                "BF1",
                "its salt must be 1 to 64 characters of [A-Za-z0-9./]",
            ));
        }
        let tag = STANDARD
            .decode(tag)
            .ok()
            .and_then(|tag| tag.try_into().ok());
        let tag = tag.ok_or(FormatError::Malformed(
            "BF1",
            "its hash must be 32 characters of standard base64",
        ))?;
        Ok(Self::Bf1 {
            rounds,
            salt: salt.to_owned(),
            tag,
        })
    }

    fn parse_sha256(rest: &str) -> Result<Self, FormatError> {
        let tag = hex(rest).ok_or(FormatError::Malformed(
            "SHA256",
            "it must have 64 hex digits",
        ))?;
        Ok(Self::Sha256 { tag })
    }

    fn parse_md5(rest: &str) -> Result<Self, FormatError> {
        let tag = hex(rest).ok_or(FormatError::Malformed("MD5", "it must have 32 hex digits"))?;
        Ok(Self::Md5 { tag })
    }
}

/// Hex digits without the name of their format: those that Ioto's tools print.
fn bare<'t>(format: &'static str, digits: &'t str) -> Result<&'t str, FormatError> {
    match digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Err(FormatError::Malformed(
            format,
            "its hex digits must be lower-case",
        )),
        false => Ok(digits),
    }
}

/// A decimal number after `name`, within bounds. Digits only: `parse` alone would take a `+`.
fn setting(text: &str, name: &str, least: u32, most: u32) -> Option<u32> {
    let digits = text.strip_prefix(name)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    base16ct::mixed::decode_vec(text).ok()?.try_into().ok()
}

/// Counts what is really hashed on this thread, so that tests can compare work without a clock.
#[cfg(test)]
pub(super) mod meter {
    use std::cell::RefCell;

    use super::Cost;

    thread_local! {
        static DONE: RefCell<Vec<Cost>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn record(cost: Cost) {
        DONE.with_borrow_mut(|done| done.push(cost));
    }

    pub(in super::super) fn take() -> Vec<Cost> {
        DONE.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOC_SAMPLE: &str = "BF1:00128:7B1MFk55Gswv648L:+zReK36LKHWNfbYKKNTsXhiqLMDxTsyK";
    const BARE_SHA256: &str = "74aed7ffe6e795fb8730016790306423ad8f52ad0b9507172bd7f50bedb7d9ef";
    const MD5: &str = "MD5:123b28ffae9fdec0c8e4b9dc92deb9bc";
    const ARGON2ID: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    const BCRYPT_04: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";

    fn stored(text: &str) -> StoredPassword {
        StoredPassword::parse(text).unwrap()
    }

    fn realms(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[track_caller]
    fn accepts(text: &str, user: &str, password: &str) {
        assert!(stored(text).verify(
            user,
            password.as_bytes(),
            &realms(&["Test Realm", "web", "example.com"])
        ));
        let wrong = format!("{password}!");
        assert!(!stored(text).verify(
            user,
            wrong.as_bytes(),
            &realms(&["Test Realm", "web", "example.com"])
        ));
    }

    #[track_caller]
    fn refuses(text: &str, user: &str, password: &[u8]) {
        assert!(!stored(text).verify(user, password, &[]));
    }

    #[track_caller]
    fn rejected(text: &str, saying: &str) {
        let error = StoredPassword::parse(text).unwrap_err().to_string();
        assert!(error.contains(saying), "{error}");
    }

    // === BF1 ===

    #[test]
    fn bf1_is_matched_by_password_alone_with_user_and_with_realm() {
        accepts(DOC_SAMPLE, "ralph", "pass5");
        accepts(
            "BF1:00128:0123456789abcdef:H+MpzKEvVbiASMw2UfH3ly4eT+ZY6juR",
            "ralph",
            "pass5",
        );
        accepts(
            "BF1:00128:0123456789abcdef:i7yNFAx7+OizHvybblB87qlO41FheV8t",
            "ralph",
            "pass5",
        );
        accepts(
            "BF1:00128:ErbpOzVtv19JV20U:+i8PT5V/4GiR9Ti6NhoEkVG99dG78GuP",
            "ralph",
            "password",
        );
        accepts(
            "BF1:01024:RFlQ805LsN3fidZa:6XsyQkBW9LWVzGOGj9t/XmkwUtk2DCv8",
            "alice",
            "Secret-123!",
        );
        accepts(
            "BF1:00128:0123456789abcdef:qzOhDGh+MyAOiLa7JPN1KUKnEtEzWsqM",
            "anna",
            "pässwörd",
        );
        accepts(
            "BF1:00128:0123456789abcdef:dR1wQC9LvbwRHfc+SAsJnIE4YAje3knx",
            "anna",
            "",
        );
    }

    #[test]
    fn bf1_with_the_user_in_it_refuses_another_user() {
        refuses(
            "BF1:00128:0123456789abcdef:H+MpzKEvVbiASMw2UfH3ly4eT+ZY6juR",
            "bob",
            b"pass5",
        );
    }

    #[test]
    fn bf1_with_a_realm_is_matched_only_if_the_realm_is_tried() {
        let in_example_com = stored("BF1:00128:0123456789abcdef:i7yNFAx7+OizHvybblB87qlO41FheV8t");
        assert!(
            in_example_com.verify("ralph", b"pass5", &[]),
            "example.com is tried by default"
        );
        assert!(in_example_com.verify("ralph", b"pass5", &realms(&["x", "example.com"])));
        assert!(!in_example_com.verify("ralph", b"pass5", &realms(&["x"])));
    }

    #[test]
    fn bf1_matches_64_bytes_but_never_65() {
        let text = "BF1:00128:0123456789abcdef:Kr1TdglrFzvpxfD2U6ekhcEEiam/Ja2C";
        assert!(stored(text).verify("u", &[b'a'; 64], &[]));
        assert!(stored(text).verify("u", &[[b'a'; 55].as_slice(), &[b'b'; 9]].concat(), &[]));
        refuses(text, "u", &[b'a'; 65]);
        refuses(text, "u", &[b'b'; 64]);
    }

    #[test]
    fn bf1_parts_must_be_well_formed() {
        let (salt, hash) = ("0123456789abcdef", "4Z/dCOBTlxaMM1iB757MY/EOelEPcpI1");
        for rounds in ["1", "00128", "1000000", "0000000128"] {
            stored(&format!("BF1:{rounds}:{salt}:{hash}"));
        }
        for rounds in [
            "",
            "0",
            "00000",
            "x",
            "-1",
            "+1",
            "1e3",
            " 1",
            "1000001",
            "99999999999999999999",
        ] {
            rejected(
                &format!("BF1:{rounds}:{salt}:{hash}"),
                "rounds must be a number from 1 to 1000000",
            );
        }
        for salt in ["a", "a./Z9", &"s".repeat(64)] {
            stored(&format!("BF1:00128:{salt}:{hash}"));
        }
        for salt in ["", "a b", "ä", "a+b", &"s".repeat(65)] {
            rejected(
                &format!("BF1:00128:{salt}:{hash}"),
                "salt must be 1 to 64 characters",
            );
        }
        for hash in [
            "",
            "4Z/d",
            &hash[1..],
            &format!("{hash}AAAA"),
            &hash.replace('/', "_"),
            &format!("{}=", &hash[..31]),
        ] {
            rejected(
                &format!("BF1:00128:{salt}:{hash}"),
                "32 characters of standard base64",
            );
        }
        for text in ["BF1:", "BF1:1:a", &format!("{DOC_SAMPLE}:x")] {
            rejected(text, "must read BF1:rounds:salt:hash");
        }
    }

    // === SHA-256 ===

    #[test]
    fn sha256_is_matched_bare_and_with_realm() {
        accepts(BARE_SHA256, "ralph", "pass5");
        accepts(&format!("SHA256:{BARE_SHA256}"), "ralph", "pass5");
        accepts(
            "SHA256:4f187ca398bf09684ada397d47cb1e73865e223bca21aa7f72f5b3b8a30285fd",
            "ralph",
            "pass5",
        );
        accepts(
            "SHA256:11c66702489123a02c7dd0860e47fc4989bb0805ba5835fbbb36f316ec83eb83",
            "alice",
            "password",
        );
        accepts(
            "SHA256:4F187CA398BF09684ADA397D47CB1E73865E223BCA21AA7F72F5B3B8A30285FD",
            "ralph",
            "pass5",
        );
    }

    #[test]
    fn sha256_of_another_user_or_untried_realm_is_refused() {
        refuses(BARE_SHA256, "bob", b"pass5");
        refuses(
            "SHA256:11c66702489123a02c7dd0860e47fc4989bb0805ba5835fbbb36f316ec83eb83",
            "alice",
            b"password",
        );
    }

    #[test]
    fn sha256_must_have_64_hex_digits_and_lower_case_if_bare() {
        rejected(&BARE_SHA256.to_uppercase(), "lower-case");
        for digits in [
            "",
            &BARE_SHA256[1..],
            &format!("{BARE_SHA256}0"),
            &BARE_SHA256.replace('7', "g"),
        ] {
            rejected(&format!("SHA256:{digits}"), "64 hex digits");
        }
        rejected(&BARE_SHA256[1..], "not a password hash");
        rejected(&BARE_SHA256.replace('7', "é"), "not a password hash");
    }

    #[test]
    fn a_new_sha256_is_what_the_pass_utility_prints() {
        assert_eq!(hash_sha256("ralph", b"pass5"), BARE_SHA256);
    }

    // === MD5 ===

    #[test]
    fn md5_is_matched_tagged_and_bare_and_says_that_it_is_md5() {
        let digits = MD5.strip_prefix("MD5:").unwrap();
        for text in [
            digits,
            &format!("MD5:{digits}"),
            &format!("MD5:{}", digits.to_uppercase()),
        ] {
            accepts(text, "bob", "password");
            refuses(text, "alice", b"password");
            assert!(stored(text).is_md5());
        }
        assert!(!stored(BARE_SHA256).is_md5());
    }

    #[test]
    fn md5_must_have_32_hex_digits_and_lower_case_if_bare() {
        let digits = MD5.strip_prefix("MD5:").unwrap();
        rejected(&digits.to_uppercase(), "lower-case");
        for digits in [
            "",
            &digits[1..],
            &format!("{digits}00"),
            "hunter2",
            &digits.replace('3', "g"),
        ] {
            rejected(&format!("MD5:{digits}"), "32 hex digits");
        }
        rejected(&digits[1..], "not a password hash");
    }

    // === argon2id ===

    #[test]
    fn argon2id_equals_the_reference_implementation() {
        accepts(ARGON2ID, "anyone", "password");
        accepts(
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
            "anyone",
            "password",
        );
        refuses(ARGON2ID, "anyone", b"");
        refuses(ARGON2ID, "anyone", b"Password");
    }

    #[test]
    fn a_new_argon2id_is_at_the_owasp_floor_and_salted() {
        let default = Argon2idParameters::default();
        let text = hash_argon2id(b"correct horse", default).unwrap();
        assert!(
            text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{text}"
        );
        let floor = Cost::Argon2id {
            m: 19_456,
            t: 2,
            p: 1,
        };
        assert_eq!(stored(&text).cost(), floor);
        assert!(!stored(&text).is_weak());
        assert!(stored(&text).verify("anyone", b"correct horse", &[]));
        assert_ne!(text, hash_argon2id(b"correct horse", default).unwrap());
    }

    #[test]
    fn argon2id_parameters_have_limits() {
        let with = |params: &str| ARGON2ID.replace("m=256,t=2,p=1", params);
        for params in ["m=8,t=1,p=1", "m=1048576,t=64,p=16", "m=128,t=1,p=16"] {
            stored(&with(params));
        }
        for params in [
            "m=7,t=1,p=1",
            "m=1048577,t=1,p=1",
            "m=127,t=1,p=16",
            "m=,t=1,p=1",
            "m=4294967296,t=1,p=1",
            "m=+8,t=1,p=1",
        ] {
            rejected(&with(params), "m (memory)");
        }
        for params in ["m=8,t=0,p=1", "m=8,t=65,p=1", "m=8,p=1,t=1", "m=8,t=-1,p=1"] {
            rejected(
                &with(params),
                if params.contains("p=1,t") {
                    "p (lanes)"
                } else {
                    "t (passes)"
                },
            );
        }
        for params in ["m=256,t=1,p=0", "m=256,t=1,p=17", "m=256,t=1,p=4294967295"] {
            rejected(&with(params), "p (lanes)");
        }
        for params in ["", "m=256", "m=256,t=1", "m=256,t=1,p=1,keyid=AAAA"] {
            rejected(&with(params), "m, t and p, in this order");
        }
    }

    #[test]
    fn argon2id_parts_must_be_well_formed() {
        rejected(&ARGON2ID.replace("v=19", "v=16"), "v=19");
        rejected(&ARGON2ID.replace("v=19$", ""), "must read $argon2id$");
        rejected(&format!("{ARGON2ID}$x"), "must read $argon2id$");
        for salt in ["", "c29tZXNhbA", "c29tZXNhbHQ=", "!!!!!!!!!!!!"] {
            rejected(
                &ARGON2ID.replace("c29tZXNhbHQ", salt),
                "salt must be 8 to 64 bytes",
            );
        }
        let tag = "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        stored(&ARGON2ID.replace(tag, "AAAAAAAAAAAAAAAAAAAAAA"));
        for short in ["", "AAAAAAAAAAAAAAAAAAAA", &"A".repeat(88)] {
            rejected(&ARGON2ID.replace(tag, short), "hash must be 16 to 64 bytes");
        }
    }

    // === bcrypt ===

    #[test]
    fn bcrypt_equals_other_implementations() {
        accepts(BCRYPT_04, "anyone", "correctbatteryhorsestapler");
        accepts(
            "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "anyone",
            "U*U",
        );
        accepts(
            "$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a",
            "anyone",
            "U*U*U",
        );
        accepts(
            "$2y$04$gqX1HLKe1WYeb3HnsOcyo.PYPar607zRP9Sqe3BotVLdaJkABaXIS",
            "anyone",
            "pässwörd",
        );
    }

    #[test]
    fn bcrypt_matches_72_bytes_but_never_what_it_would_cut() {
        let text = "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui";
        let whole = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        assert_eq!(whole.len(), 72);
        assert!(stored(text).verify("anyone", whole, &[]));
        refuses(text, "anyone", b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored");
        refuses(text, "anyone", &whole[..71]);
    }

    #[test]
    fn bcrypt_refuses_a_nul_that_would_make_two_passwords_one() {
        let text = hash_bcrypt(b"a", 4).unwrap();
        assert!(stored(&text).verify("anyone", b"a", &[]));
        refuses(&text, "anyone", b"a\0a");
        refuses(&text, "anyone", b"a\0");
    }

    #[test]
    fn bcrypt_parts_must_be_well_formed() {
        let with_cost = |cost: &str| BCRYPT_04.replace("$04$", &format!("${cost}$"));
        for cost in ["04", "12", "16"] {
            stored(&with_cost(cost));
        }
        for cost in ["03", "17", "31", "99", "4", "004", "+4", "", "ab"] {
            rejected(&with_cost(cost), "two digits from 04 to 16");
        }
        for text in [
            &BCRYPT_04[..59],
            &format!("{BCRYPT_04}a"),
            &BCRYPT_04.replace('Q', "!"),
            "$2b$04$",
            "$2b$04$ääääääääääääääääääääääääää.",
        ] {
            rejected(text, "53 characters");
        }
        rejected("$2b$04", "must read $2b$");
    }

    #[test]
    fn a_new_bcrypt_refuses_what_bcrypt_would_not_tell_apart() {
        accepts(
            &hash_bcrypt(b"correct horse", 4).unwrap(),
            "anyone",
            "correct horse",
        );
        assert!(stored(&hash_bcrypt(&[b'a'; 72], 4).unwrap()).verify("anyone", &[b'a'; 72], &[]));
        assert!(matches!(
            hash_bcrypt(&[b'a'; 73], 4),
            Err(HashError::TooLong { limit: 72, .. })
        ));
        assert!(matches!(
            hash_bcrypt(b"a\0b", 4),
            Err(HashError::ContainsNul)
        ));
        for cost in [0, 3, 17, 32] {
            assert!(matches!(
                hash_bcrypt(b"a", cost),
                Err(HashError::BcryptCost)
            ));
        }
    }

    // === All formats ===

    #[test]
    fn what_is_no_accepted_hash_is_rejected_with_its_own_reason() {
        rejected("", "empty");
        rejected(&format!("{BARE_SHA256}\n"), "white space");
        rejected("hunter2", "plain passwords are never accepted");
        rejected("$argon2id", "not a password hash");
        rejected("bf1:1:a:b", "not a password hash");
        rejected(
            "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
            "argon2i password hashes",
        );
        rejected(
            "$argon2d$v=19$m=256,t=2,p=1$c29tZXNhbHQ$AAAA",
            "argon2d password hashes",
        );
        rejected(&BCRYPT_04.replace("$2b$", "$2x$"), "faulty implementation");
        rejected("SHA512:00", "SHA512");
        rejected("{SSHA}AAAA", "LDAP");
        rejected("$6$salt$hash", "SHA-512 crypt");
        rejected("$apr1$salt$hash", "Apache MD5");
    }

    #[test]
    fn an_error_never_repeats_the_text() {
        for text in [
            "hunter2",
            "MD5:hunter2",
            "SHA256:hunter2",
            "SHA512:hunter2",
            "BF1:hunter2",
            "BF1:hunter2:hunter2:hunter2",
            "$2b$hunter2$hunter2",
            "$2b$04$hunter2",
            "$argon2id$hunter2",
            "$argon2id$v=19$m=hunter2,t=1,p=1$a$b",
            "$argon2i$hunter2",
            "{hunter2}",
            " hunter2",
            "$6$hunter2",
        ] {
            let error = StoredPassword::parse(text).unwrap_err();
            assert!(
                !format!("{error} {error:?}").contains("hunter2"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn debug_never_prints_the_hash() {
        assert_eq!(format!("{:?}", stored(DOC_SAMPLE)), "StoredPassword(BF1)");
        assert_eq!(
            format!("{:?}", Some(stored(ARGON2ID))),
            "Some(StoredPassword(argon2id))"
        );
    }

    #[test]
    fn no_input_panics() {
        let long = vec![0xff; 100_000];
        for text in [DOC_SAMPLE, BARE_SHA256, MD5, ARGON2ID, BCRYPT_04] {
            for password in [b"".as_slice(), b"\0", b"\xff\xfe", b"::::", &long] {
                for user in ["", ":", "ä", &"u".repeat(10_000)] {
                    refuses(text, user, password);
                }
                stored(text).cost().burn(password);
            }
            for end in 0..text.len() {
                let _ = StoredPassword::parse(&text[..end]);
                let _ = StoredPassword::parse(&format!("{}é{}", &text[..end], &text[end..]));
            }
        }
    }

    #[test]
    fn a_password_of_1024_bytes_is_taken_and_one_more_never_matches() {
        let long = [b'x'; 1025];
        let text = hash_sha256("ralph", &long[..1024]);
        assert!(stored(&text).verify("ralph", &long[..1024], &[]));
        refuses(&hash_sha256("ralph", &long), "ralph", &long);
        // Cut for the work only: the longer password must not pass for its own beginning.
        refuses(&text, "ralph", &long);
        assert!(matches!(
            hash_argon2id(&long, Argon2idParameters::default()),
            Err(HashError::TooLong { limit: 1024, .. })
        ));
    }

    #[test]
    fn the_same_cost_means_the_same_work_whether_burnt_right_or_wrong() {
        for text in [DOC_SAMPLE, BARE_SHA256, MD5, ARGON2ID, BCRYPT_04] {
            let stored = stored(text);
            meter::take();
            stored.cost().burn(b"pass5");
            let work = meter::take();
            assert!(work.iter().all(|cost| *cost == stored.cost()) && !work.is_empty());
            for password in [
                b"pass5".as_slice(),
                b"wrong",
                b"",
                &[b'x'; 80],
                &[b'x'; 2000],
            ] {
                stored.verify("ralph", password, &[]);
                assert_eq!(meter::take(), work);
            }
        }
    }

    #[test]
    fn costs_differ_where_the_work_does_and_only_there() {
        let argon2id = stored(ARGON2ID).cost();
        assert_eq!(argon2id, Cost::Argon2id { m: 256, t: 2, p: 1 });
        assert_eq!(
            argon2id,
            stored(&ARGON2ID.replace("c29tZXNhbHQ", "AAAAAAAAAAA")).cost()
        );
        assert_ne!(argon2id, stored(&ARGON2ID.replace("t=2", "t=3")).cost());
        assert_eq!(stored(BCRYPT_04).cost(), Cost::Bcrypt { cost: 4 });
        assert_eq!(stored(DOC_SAMPLE).cost(), Cost::Bf1 { rounds: 128 });
        assert_eq!(
            stored(BARE_SHA256).cost(),
            stored(&format!("SHA256:{BARE_SHA256}")).cost()
        );
    }

    #[test]
    fn weak_is_what_is_below_the_owasp_floor() {
        let argon2id = |params: &str| ARGON2ID.replace("m=256,t=2,p=1", params);
        let bcrypt = |cost: &str| BCRYPT_04.replace("$04$", &format!("${cost}$"));
        for strong in [
            "m=19456,t=2,p=1",
            "m=47104,t=1,p=1",
            "m=7168,t=5,p=1",
            "m=65536,t=3,p=4",
        ] {
            assert!(!stored(&argon2id(strong)).is_weak(), "{strong}");
        }
        for weak in ["m=19455,t=2,p=1", "m=19456,t=1,p=1", "m=7167,t=64,p=1"] {
            assert!(stored(&argon2id(weak)).is_weak(), "{weak}");
        }
        assert!(!stored(&bcrypt("10")).is_weak());
        assert!(stored(&bcrypt("09")).is_weak());
        assert!(stored(DOC_SAMPLE).is_weak() && stored(BARE_SHA256).is_weak());
        assert!(stored(MD5).is_weak());
    }

    #[test]
    fn only_argon2id_that_costs_as_much_as_a_new_one_may_stay() {
        let argon2id = |params: &str| ARGON2ID.replace("m=256,t=2,p=1", params);
        let new = Argon2idParameters::default();
        for kept in ["m=19456,t=2,p=1", "m=65536,t=3,p=4", "m=47104,t=1,p=1"] {
            assert!(stored(&argon2id(kept)).is_preferred(new), "{kept}");
        }
        assert!(!stored(&argon2id("m=7167,t=64,p=1")).is_preferred(new));
        assert!(!stored(&BCRYPT_04.replace("$04$", "$12$")).is_preferred(new));
        let dear = Argon2idParameters::new(65_536, 3, 1).unwrap();
        assert!(stored(&argon2id("m=65536,t=3,p=1")).is_preferred(dear));
        assert!(stored(&argon2id("m=65536,t=4,p=4")).is_preferred(dear));
        assert!(!stored(&argon2id("m=65536,t=2,p=4")).is_preferred(dear));
    }

    #[test]
    fn the_fingerprint_changes_with_the_hash_and_only_then() {
        assert_eq!(
            stored(DOC_SAMPLE).fingerprint(),
            stored(DOC_SAMPLE).fingerprint()
        );
        let other = "BF1:00128:0123456789abcdef:4Z/dCOBTlxaMM1iB757MY/EOelEPcpI1";
        assert_ne!(
            stored(DOC_SAMPLE).fingerprint(),
            stored(other).fingerprint()
        );
        // The first eight bytes of `printf %s '<bare>' | sha256sum`.
        assert_eq!(stored(BARE_SHA256).fingerprint(), 0xa2b9_2832_3f8a_c08a);
    }

    #[test]
    fn format_names_are_those_operators_know() {
        let names = [ARGON2ID, BCRYPT_04, DOC_SAMPLE, BARE_SHA256, MD5]
            .map(|text| stored(text).format_name());
        assert_eq!(names, ["argon2id", "bcrypt", "BF1", "SHA256", "MD5"]);
    }
}
