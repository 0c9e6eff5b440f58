//! Tokens that machines carry: `ptc_`, 43 random characters, and a checksum of 6.
//!
//! The characters are 0-9 A-Z a-z, so that a double click takes all of one and it can stand
//! anywhere unquoted; 43 of them are 256 bits. Whoever scans for leaked secrets finds it by
//! `ptc_[0-9A-Za-z]{49}`, and knows by the checksum (the CRC-32 of what stands before it) that it is
//! no accident. We keep the SHA-256 only: of a secret that nobody can guess, a quick hash is enough.
//!
//! Whose a token is and what it is good for is for the gate to say.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::identity::token::TokenDigest;

const PREFIX: &str = "ptc_";

/// Characters of 256 random bits: 62^43 is more than 2^256.
const RANDOM: usize = 43;

/// Characters of a checksum: 62^6 is more than 2^32.
const CHECK: usize = 6;

const LENGTH: usize = PREFIX.len() + RANDOM + CHECK;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a stored digest begins with.
const STORED: &str = "sha256:";

/// A new token. `Debug` does not print it.
pub struct NewToken(Zeroizing<String>);

impl NewToken {
    /// Makes one.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Self, getrandom::Error> {
        // Large enough from the start: growing would leave copies of the secret behind.
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        text.push_str(PREFIX);
        while text.len() < PREFIX.len() + RANDOM {
            let mut bytes = Zeroizing::new([0; 64]);
            getrandom::fill(&mut *bytes)?;
            let room = PREFIX.len() + RANDOM - text.len();
            text.extend(bytes.iter().filter_map(|byte| digit(*byte)).take(room));
        }
        let check = checksum(text.as_bytes());
        text.extend(check.map(char::from));
        Ok(Self(text))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is known by.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewToken")
    }
}

/// What the token in this text is known by. Only what we could have made is one.
#[must_use]
pub fn digest_of(text: &[u8]) -> Option<TokenDigest> {
    let (start, check) = text.split_at_checked(LENGTH - CHECK)?;
    let random = start.strip_prefix(PREFIX.as_bytes())?;
    let is_token = random.iter().all(|byte| DIGITS.contains(byte)) && checksum(start) == *check;
    is_token.then(|| TokenDigest(Sha256::digest(text).into()))
}

/// As it is stored.
#[must_use]
pub fn stored(digest: &TokenDigest) -> String {
    format!("{STORED}{}", base16ct::lower::encode_string(&digest.0))
}

/// Reads what [`stored`] writes.
#[must_use]
pub fn parse_stored(text: &str) -> Option<TokenDigest> {
    let mut digest = [0; 32];
    let decoded = base16ct::lower::decode(text.strip_prefix(STORED)?, &mut digest);
    (decoded.ok()?.len() == digest.len()).then_some(TokenDigest(digest))
}

/// A character by a random byte; none for those that would make some characters likelier.
fn digit(byte: u8) -> Option<char> {
    let fair = u8::MAX - u8::MAX % 62;
    (byte < fair).then(|| char::from(DIGITS[usize::from(byte % 62)]))
}

fn checksum(text: &[u8]) -> [u8; CHECK] {
    let mut rest = crc32(text);
    let mut check = [b'0'; CHECK];
    for place in check.iter_mut().rev() {
        *place = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    check
}

/// As in zip and PNG (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            let carry = if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
            (crc >> 1) ^ carry
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_known_again_and_no_two_are_the_same() {
        let tokens = [NewToken::generate().unwrap(), NewToken::generate().unwrap()];
        for token in &tokens {
            let text = token.as_str();
            assert_eq!((text.len(), &text[..4]), (53, "ptc_"), "{text}");
            assert_eq!(digest_of(text.as_bytes()), Some(token.digest()));
            assert_eq!(parse_stored(&stored(&token.digest())), Some(token.digest()));
            assert!(!format!("{token:?}").contains(text));
        }
        assert_ne!(tokens[0].digest(), tokens[1].digest());
    }

    #[test]
    fn every_character_comes_up() {
        let texts: String = (0..200)
            .map(|_| NewToken::generate().unwrap().as_str()[4..47].to_owned())
            .collect();
        assert!(
            DIGITS
                .iter()
                .all(|digit| texts.contains(char::from(*digit)))
        );
    }

    #[test]
    fn what_we_have_not_made_is_no_token() {
        let token = NewToken::generate().unwrap();
        let text = token.as_str();
        let last = if text.ends_with('0') { '1' } else { '0' };
        for bad in [
            "",
            "ptc_",
            &text[..52],
            &format!("{text}0"),
            &format!("{}{last}", &text[..52]),
            &text.to_uppercase(),
            &text.replacen("ptc_", "ptc-", 1),
            &format!("ptc_{}", "é".repeat(24)),
            &"x".repeat(100_000),
        ] {
            assert_eq!(digest_of(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_checksum_is_the_crc_32_that_others_compute() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
        // 0xcbf43926 in 62 digits.
        assert_eq!(&checksum(b"123456789"), b"3jZRME");
    }

    #[test]
    fn a_stored_digest_is_64_lower_case_hex_digits_after_its_name() {
        let hex = "0123456789abcdef".repeat(4);
        assert!(parse_stored(&format!("sha256:{hex}")).is_some());
        for bad in [
            hex.clone(),
            "sha256:".to_owned(),
            format!("sha256:{}", &hex[..62]),
            format!("sha256:{hex}00"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("SHA256:{hex}"),
            format!("sha256:{}", "zz".repeat(32)),
        ] {
            assert_eq!(parse_stored(&bad), None, "{bad}");
        }
    }
}
