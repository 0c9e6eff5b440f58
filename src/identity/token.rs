//! Words for the tokens that machines carry: what one is called, and what one is known by.
//!
//! The text of a token, which is a secret, is made and read in `password::token`.

use std::fmt;
use std::sync::Arc;

use super::UserName;

/// What a token is called, unique among those of its user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenName(Arc<str>);

impl TokenName {
    /// Takes a name of 1 to 64 bytes from `A-Z a-z 0-9 . _ @ + -`, as for users.
    ///
    /// # Errors
    /// [`InvalidTokenName`] for anything else.
    pub fn parse(name: &str) -> Result<Self, InvalidTokenName> {
        match UserName::parse(name) {
            Ok(_) => Ok(Self(name.into())),
            Err(_) => Err(InvalidTokenName),
        }
    }

    /// The name as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token name with a character outside the accepted set, empty, or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token name has 1 to 64 characters from A-Z a-z 0-9 . _ @ + -")]
pub struct InvalidTokenName;

/// The SHA-256 of a token. The token itself is only with whoever it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenDigest(pub [u8; 32]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_name_is_one_that_a_user_could_have() {
        for good in ["ci", "backup-2026", &"x".repeat(64)] {
            assert!(TokenName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\n", "a:b", &"x".repeat(65)] {
            assert_eq!(TokenName::parse(bad), Err(InvalidTokenName), "{bad:?}");
        }
    }
}
