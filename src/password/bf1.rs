//! BF1, the Blowfish digest that Ioto calls "bcrypt": one key schedule, then the same three blocks
//! encrypted over and over.
//!
//! It is no password hash by today's measure (a guess costs microseconds) and is read only so that
//! existing users can move. Parsing the `BF1:…` text, and which strings are tried, is in `stored`.

use blowfish::Blowfish;
use zeroize::Zeroizing;

/// Ioto refuses to hash more than this, so a longer input can never have been stored.
pub(super) const MAX_INPUT: usize = 64;

pub(super) const DIGEST_LEN: usize = 24;

/// The BF1 digest of `input`, of any length: refusing those over [`MAX_INPUT`] is the caller's part.
pub(super) fn digest(rounds: u32, salt: &str, input: &[u8]) -> [u8; DIGEST_LEN] {
    let cipher = keyed(salt, input);
    // "OrpheanBeholderScryDoubt" as big-endian words.
    let mut blocks: [[u32; 2]; 3] = [
        [0x4f72_7068, 0x6561_6e42],
        [0x6568_6f6c, 0x6465_7253],
        [0x6372_7944, 0x6f75_6274],
    ];
    for block in &mut blocks {
        for _ in 0..rounds {
            *block = cipher.bc_encrypt(*block);
        }
    }
    let mut digest = [0; DIGEST_LEN];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(blocks.as_flattened()) {
        // Little-endian although they were read big-endian: the original dumps its words from
        // memory, and every device it runs on is little-endian.
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

/// Blowfish keyed with `salt:input`. Of a key longer than 72 bytes the schedule uses the first 72.
fn keyed(salt: &str, input: &[u8]) -> Blowfish {
    let mut key = Zeroizing::new(Vec::with_capacity(salt.len() + 1 + input.len()));
    key.extend_from_slice(salt.as_bytes());
    key.push(b':');
    key.extend_from_slice(input);
    let mut cipher: Blowfish = Blowfish::bc_init_state();
    cipher.bc_expand_key(&key);
    cipher
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    #[track_caller]
    fn check(input: &str, rounds: u32, salt: &str, hash: &str) {
        assert_eq!(
            STANDARD.encode(digest(rounds, salt, input.as_bytes())),
            hash
        );
    }

    #[test]
    fn digests_equal_those_of_the_original() {
        let salt = "0123456789abcdef";
        check(
            "pass5",
            128,
            "7B1MFk55Gswv648L",
            "+zReK36LKHWNfbYKKNTsXhiqLMDxTsyK",
        );
        check(
            "ralph:Test Realm:password",
            128,
            "ErbpOzVtv19JV20U",
            "+i8PT5V/4GiR9Ti6NhoEkVG99dG78GuP",
        );
        check("pass5", 128, salt, "4Z/dCOBTlxaMM1iB757MY/EOelEPcpI1");
        check("ralph:pass5", 128, salt, "H+MpzKEvVbiASMw2UfH3ly4eT+ZY6juR");
        check(
            "ralph:example.com:pass5",
            128,
            salt,
            "i7yNFAx7+OizHvybblB87qlO41FheV8t",
        );
        check("pässwörd", 128, salt, "qzOhDGh+MyAOiLa7JPN1KUKnEtEzWsqM");
        check("", 128, salt, "dR1wQC9LvbwRHfc+SAsJnIE4YAje3knx");
        check(
            "alice:web:Secret-123!",
            1024,
            "RFlQ805LsN3fidZa",
            "6XsyQkBW9LWVzGOGj9t/XmkwUtk2DCv8",
        );
    }

    #[test]
    fn key_bytes_past_the_72nd_do_not_count_as_in_the_original() {
        let salt = "0123456789abcdef";
        let same = "Kr1TdglrFzvpxfD2U6ekhcEEiam/Ja2C";
        check(&"a".repeat(64), 128, salt, same);
        check(&("a".repeat(55) + &"b".repeat(9)), 128, salt, same);
        assert_ne!(
            digest(128, salt, "a".repeat(55).as_bytes()),
            digest(128, salt, ("a".repeat(54) + "b").as_bytes())
        );
    }

    #[test]
    fn an_input_of_any_length_has_a_digest() {
        for length in [65, 1024, 100_000] {
            digest(1, "salt", &vec![0xff; length]);
        }
    }
}
