//! What a password opens: the encryption schemes of key stores and the check value of PKCS#12
//! (RFC 7292 section 4 and appendices B and C; RFC 8018 section 6.2). Where the encrypted bytes
//! stand in a file is read in `pkcs12`.
//!
//! The ciphers and digests are BoringSSL's, except RC2: BoringSSL has it for PKCS#12 files with
//! one key only and does not give it out.

use std::borrow::Cow;

use boring::error::ErrorStack;
use boring::hash::{Hasher, MessageDigest};
use boring::hmac::Hmac;
use boring::memcmp;
use boring::pkcs5::pbkdf2_hmac;
use boring::symm::{self, Cipher};
use rc2::Rc2;
use rc2::cipher::{Block, BlockDecrypt};
use zeroize::Zeroizing;

use super::{KeystoreError, OrDamaged as _};
use crate::tls::ber::{OCTET_STRING, OID, Reader, SEQUENCE};

/// The most rounds of key derivation that one password check may ask for. Java asks for 10,000,
/// OpenSSL for 2,048; a file that asks for much more would keep the start waiting for minutes.
pub(super) const MOST_ROUNDS: u64 = 5_000_000;

/// The rounds that are left for one file, so that many checks cannot ask for what one may not.
pub(super) struct Rounds(u64);

impl Rounds {
    pub(super) fn for_one_file() -> Self {
        Self(4 * MOST_ROUNDS)
    }

    fn spend(&mut self, rounds: u64) -> Result<u32, KeystoreError> {
        let left = self.0.checked_sub(rounds);
        match (u32::try_from(rounds), left) {
            (Ok(0), _) => Err(KeystoreError::Damaged {
                place: "no rounds of key derivation",
            }),
            (Ok(few), Some(left)) if rounds <= MOST_ROUNDS => {
                self.0 = left;
                Ok(few)
            }
            _ => Err(KeystoreError::TooMuchWork { rounds }),
        }
    }
}

/// A password in the two ways that it enters a key: as it is (RFC 8018), and as UTF-16 with two
/// zero bytes at its end (RFC 7292 appendix B.1).
pub(super) struct Password<'p> {
    text: &'p str,
    wide: Zeroizing<Vec<u8>>,
}

impl<'p> Password<'p> {
    /// The forms of `text`: one, but of the empty password two. Some programs write no password
    /// as no bytes, others as the two zero bytes alone.
    pub(super) fn forms(text: &'p str) -> Vec<Self> {
        let mut wide = utf16(text);
        wide.extend_from_slice(&[0, 0]);
        let mut forms = vec![Self { text, wide }];
        if text.is_empty() {
            let wide = Zeroizing::default();
            forms.push(Self { text, wide });
        }
        forms
    }
}

/// `text` in UTF-16, the high byte first, as Java's characters are.
pub(super) fn utf16(text: &str) -> Zeroizing<Vec<u8>> {
    // With room for all of it and the two zero bytes: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * text.len() + 2));
    for unit in text.encode_utf16() {
        bytes.extend_from_slice(&unit.to_be_bytes());
    }
    bytes
}

// === digests ===

/// A digest and the size of the blocks that it works on, in bytes.
#[derive(Clone, Copy)]
struct Digest {
    algorithm: MessageDigest,
    block: usize,
}

const SHA1: [u8; 5] = [0x2b, 0x0e, 0x03, 0x02, 0x1a];
/// 2.16.840.1.101.3.4.2, to which SHA-2 adds one byte.
const NIST_DIGEST: [u8; 8] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

impl Digest {
    fn sha1() -> Self {
        Self {
            algorithm: MessageDigest::sha1(),
            block: 64,
        }
    }

    fn of(oid: &[u8]) -> Option<Self> {
        if oid == SHA1 {
            return Some(Self::sha1());
        }
        let (algorithm, block) = match oid.strip_prefix(&NIST_DIGEST)? {
            [1] => (MessageDigest::sha256(), 64),
            [2] => (MessageDigest::sha384(), 128),
            [3] => (MessageDigest::sha512(), 128),
            [4] => (MessageDigest::sha224(), 64),
            _ => return None,
        };
        Some(Self { algorithm, block })
    }

    /// The digest that HMAC works with in PBKDF2 (RFC 8018 appendix B.1.2).
    fn of_hmac(oid: &[u8]) -> Option<MessageDigest> {
        // 1.2.840.113549.2
        match oid.strip_prefix(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02])? {
            [7] => Some(MessageDigest::sha1()),
            [8] => Some(MessageDigest::sha224()),
            [9] => Some(MessageDigest::sha256()),
            [10] => Some(MessageDigest::sha384()),
            [11] => Some(MessageDigest::sha512()),
            _ => None,
        }
    }
}

// === the key derivation of PKCS#12 ===

/// What derived bytes are for; the number is the "ID" of RFC 7292 appendix B.3.
#[derive(Clone, Copy)]
enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// Derives `length` bytes as RFC 7292 appendix B.2 does; the letters are those of the steps there.
fn derive(
    digest: Digest,
    purpose: Purpose,
    password: &Password<'_>,
    salt: &[u8],
    rounds: u32,
    length: usize,
) -> Result<Zeroizing<Vec<u8>>, ErrorStack> {
    let diversifier = vec![purpose as u8; digest.block];
    let whole = |bytes: &[u8]| bytes.len().next_multiple_of(digest.block);
    let salts = salt.iter().cycle().take(whole(salt));
    let passwords = password.wide.iter().cycle().take(whole(&password.wide));
    let length_of_both = whole(salt) + whole(&password.wide);
    let mut input = Zeroizing::new(Vec::with_capacity(length_of_both));
    input.extend(salts.chain(passwords));

    let mut hasher = Hasher::new(digest.algorithm)?;
    let mut derived = Zeroizing::new(Vec::with_capacity(length + digest.block));
    loop {
        hasher.update(&diversifier)?;
        hasher.update(&input)?;
        let mut a = hasher.finish()?;
        for _ in 1..rounds {
            hasher.update(&a)?;
            a = hasher.finish()?;
        }
        derived.extend_from_slice(&a);
        if derived.len() >= length {
            derived.truncate(length);
            return Ok(derived);
        }
        let b: Vec<u8> = a.iter().copied().cycle().take(digest.block).collect();
        for block in input.chunks_exact_mut(digest.block) {
            add_with_one(block, &b);
        }
    }
}

/// Adds `other` and one to `number`, both big-endian; what does not fit is dropped.
fn add_with_one(number: &mut [u8], other: &[u8]) {
    let mut carry = 1;
    for (digit, other) in number.iter_mut().zip(other).rev() {
        let [high, low] = (u16::from(*digit) + u16::from(*other) + carry).to_be_bytes();
        *digit = low;
        carry = u16::from(high);
    }
}

// === the check value ===

/// The check value of a PKCS#12 file: an HMAC over its contents (RFC 7292 section 4, `MacData`).
pub(super) struct Mac<'a> {
    digest: Digest,
    salt: Cow<'a, [u8]>,
    rounds: u64,
    expected: Cow<'a, [u8]>,
}

impl<'a> Mac<'a> {
    /// Reads what stands inside a `MacData`.
    pub(super) fn read(mut data: Reader<'a>) -> Result<Self, KeystoreError> {
        let place = "its check value (MacData)";
        let mut info = data.enter(SEQUENCE).or_damaged(place)?;
        let mut algorithm = info.enter(SEQUENCE).or_damaged(place)?;
        let oid = algorithm.take(OID).or_damaged(place)?;
        let digest = Digest::of(oid).ok_or_else(|| KeystoreError::unsupported(oid))?;
        let expected = info.octets(OCTET_STRING).or_damaged(place)?;
        let salt = data.octets(OCTET_STRING).or_damaged(place)?;
        let rounds = if data.is_at_end() {
            Some(1)
        } else {
            data.number()
        };
        Ok(Self {
            digest,
            salt,
            rounds: rounds.or_damaged(place)?,
            expected,
        })
    }

    /// Whether this password and these contents make the check value.
    pub(super) fn confirms(
        &self,
        password: &Password<'_>,
        contents: &[u8],
        rounds: &mut Rounds,
    ) -> Result<bool, KeystoreError> {
        let Digest { algorithm, .. } = self.digest;
        let (count, size) = (rounds.spend(self.rounds)?, algorithm.size());
        let key = derive(self.digest, Purpose::Mac, password, &self.salt, count, size)?;
        let mut mac = Hmac::init(&key, &algorithm)?;
        mac.update(contents)?;
        let made = mac.finalize()?;
        Ok(made.len() == self.expected.len() && memcmp::eq(&made, &self.expected))
    }
}

// === encryption schemes ===

/// How something was encrypted with a password.
pub(super) enum Scheme<'a> {
    /// Key and IV both come from the password (RFC 7292 appendix C).
    Pkcs12 {
        cipher: Pkcs12Cipher,
        salt: Cow<'a, [u8]>,
        rounds: u64,
    },
    /// PBES2 with PBKDF2: the IV is given (RFC 8018 section 6.2).
    Pbes2 {
        digest: MessageDigest,
        salt: Cow<'a, [u8]>,
        rounds: u64,
        cipher: Cipher,
        iv: &'a [u8],
    },
}

/// The ciphers of RFC 7292 appendix C, apart from RC4.
#[derive(Clone, Copy)]
pub(super) enum Pkcs12Cipher {
    TripleDes3Keys,
    TripleDes2Keys,
    Rc2 { key_length: usize },
}

impl Pkcs12Cipher {
    fn of(oid: &[u8]) -> Option<Self> {
        // 1.2.840.113549.1.12.1
        let scheme = oid.strip_prefix(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01])?;
        match scheme {
            [3] => Some(Self::TripleDes3Keys),
            [4] => Some(Self::TripleDes2Keys),
            [5] => Some(Self::Rc2 { key_length: 16 }),
            [6] => Some(Self::Rc2 { key_length: 5 }),
            _ => None,
        }
    }

    fn key_length(self) -> usize {
        match self {
            Self::TripleDes3Keys => 24,
            Self::TripleDes2Keys => 16,
            Self::Rc2 { key_length } => key_length,
        }
    }

    /// The contents, or `None` where key and contents do not belong together.
    fn decrypt(self, key: &[u8], iv: &[u8], encrypted: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::TripleDes3Keys => cbc(Cipher::des_ede3_cbc(), key, iv, encrypted),
            Self::TripleDes2Keys => {
                // The third key is the first one again.
                let mut three_keys = Zeroizing::new([0; 24]);
                three_keys[..16].copy_from_slice(key.get(..16)?);
                three_keys[16..].copy_from_slice(key.get(..8)?);
                cbc(Cipher::des_ede3_cbc(), &*three_keys, iv, encrypted)
            }
            Self::Rc2 { .. } => rc2_cbc(key, iv, encrypted),
        }
    }
}

const PBES2: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];

impl<'a> Scheme<'a> {
    /// Reads what stands inside an `AlgorithmIdentifier`.
    pub(super) fn read(mut algorithm: Reader<'a>) -> Result<Self, KeystoreError> {
        let place = "the parameters of an encryption";
        let oid = algorithm.take(OID).or_damaged(place)?;
        if oid == PBES2 {
            return Self::read_pbes2(algorithm).or_damaged(place)?;
        }
        let cipher = Pkcs12Cipher::of(oid).ok_or_else(|| KeystoreError::unsupported(oid))?;
        let mut parameters = algorithm.enter(SEQUENCE).or_damaged(place)?;
        let salt = parameters.octets(OCTET_STRING).or_damaged(place)?;
        let rounds = parameters.number().or_damaged(place)?;
        Ok(Self::Pkcs12 {
            cipher,
            salt,
            rounds,
        })
    }

    /// `None` where something is missing.
    fn read_pbes2(mut algorithm: Reader<'a>) -> Option<Result<Self, KeystoreError>> {
        let mut parameters = algorithm.enter(SEQUENCE)?;
        let mut derivation = parameters.enter(SEQUENCE)?;
        let mut encryption = parameters.enter(SEQUENCE)?;

        let function = derivation.take(OID)?;
        if function != PBKDF2 {
            return Some(Err(KeystoreError::unsupported(function)));
        }
        let mut derivation = derivation.enter(SEQUENCE)?;
        let salt = derivation.octets(OCTET_STRING)?;
        let rounds = derivation.number()?;
        // The length of the key, which the cipher says as well.
        derivation.number();
        let digest = match derivation.enter(SEQUENCE) {
            None => MessageDigest::sha1(),
            Some(mut hmac) => {
                let oid = hmac.take(OID)?;
                let Some(digest) = Digest::of_hmac(oid) else {
                    return Some(Err(KeystoreError::unsupported(oid)));
                };
                digest
            }
        };

        let oid = encryption.take(OID)?;
        let Some(cipher) = pbes2_cipher(oid) else {
            return Some(Err(KeystoreError::unsupported(oid)));
        };
        let iv = encryption.take(OCTET_STRING)?;
        let fits = Some(iv.len()) == cipher.iv_len();
        fits.then_some(Ok(Self::Pbes2 {
            digest,
            salt,
            rounds,
            cipher,
            iv,
        }))
    }

    /// The contents, or `None` where the password does not fit (or, seldom, where it only seems
    /// to: the caller looks whether the contents make sense).
    pub(super) fn decrypt(
        &self,
        password: &Password<'_>,
        encrypted: &[u8],
        left: &mut Rounds,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        match self {
            Self::Pkcs12 {
                cipher,
                salt,
                rounds,
            } => {
                let count = left.spend(*rounds)?;
                let of = |purpose, length| {
                    derive(Digest::sha1(), purpose, password, salt, count, length)
                };
                let (key, iv) = (of(Purpose::Key, cipher.key_length())?, of(Purpose::Iv, 8)?);
                Ok(cipher.decrypt(&key, &iv, encrypted))
            }
            Self::Pbes2 {
                digest,
                salt,
                rounds,
                cipher,
                iv,
            } => {
                let count = left.spend(*rounds)? as usize;
                let mut key = Zeroizing::new(vec![0; cipher.key_len()]);
                pbkdf2_hmac(password.text.as_bytes(), salt, count, *digest, &mut key)?;
                Ok(cbc(*cipher, &key, iv, encrypted))
            }
        }
    }
}

fn pbes2_cipher(oid: &[u8]) -> Option<Cipher> {
    match oid {
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x02] => Some(Cipher::aes_128_cbc()),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x16] => Some(Cipher::aes_192_cbc()),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a] => Some(Cipher::aes_256_cbc()),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x03, 0x07] => Some(Cipher::des_ede3_cbc()),
        _ => None,
    }
}

fn cbc(cipher: Cipher, key: &[u8], iv: &[u8], encrypted: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let contents = symm::decrypt(cipher, key, Some(iv), encrypted).ok()?;
    Some(Zeroizing::new(contents))
}

/// RC2 with as many effective bits as the key has, in CBC mode, the padding taken off.
fn rc2_cbc(key: &[u8], iv: &[u8], encrypted: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = Rc2::new_with_eff_key_len(key, 8 * key.len());
    let (blocks, []) = encrypted.as_chunks::<8>() else {
        return None;
    };
    let mut contents = Zeroizing::new(Vec::with_capacity(encrypted.len()));
    let mut before: [u8; 8] = iv.try_into().ok()?;
    for block in blocks {
        let mut plain = Block::<Rc2>::from(*block);
        cipher.decrypt_block(&mut plain);
        contents.extend(
            plain
                .iter()
                .zip(before)
                .map(|(plain, before)| plain ^ before),
        );
        before = *block;
    }
    let padding = *contents.last()?;
    let length = contents.len().checked_sub(padding.into())?;
    let whole = (1..=8).contains(&padding) && contents[length..].iter().all(|&b| b == padding);
    whole.then(|| {
        contents.truncate(length);
        contents
    })
}
