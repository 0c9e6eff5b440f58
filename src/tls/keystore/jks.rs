//! JKS, the key store that Java wrote until version 9. Which entry is wanted, and JCEKS, are
//! elsewhere.
//!
//! The layout is that of `sun.security.provider.JavaKeyStore` and `KeyProtector` in the JDK.
//! All numbers are big-endian:
//!
//! ```text
//! u32 0xFEEDFEED, u32 version (1 or 2), u32 count
//! count times: u32 tag, name alias, u64 milliseconds since 1970, then
//!     tag 1, a key: u32 length and EncryptedPrivateKeyInfo, u32 count of its certificates
//!     tag 2, a trusted certificate
//! a certificate: name of its type (version 2 only), u32 length and DER
//! a name: u16 length and modified UTF-8
//! 20 bytes: SHA-1 of the password (UTF-16), "Mighty Aphrodite" and everything before
//! ```

use boring::memcmp;
use boring::pkey::PKey;
use boring::sha::Sha1;
use boring::x509::X509;
use zeroize::Zeroizing;

use super::{KeyEntry, KeystoreError, OrDamaged as _, Passwords, Store, pbe};
use crate::tls::ber::{self, OCTET_STRING, OID, SEQUENCE};

pub(super) const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];

/// What Java mixes into the digest, so that it is no plain hash of password and file.
const WHITENER: &[u8] = b"Mighty Aphrodite";

const SHA1_LENGTH: usize = 20;

/// An open JKS store: its digest is right. Its keys are still locked.
pub(super) struct Jks {
    keys: Vec<Key>,
    trusted: Vec<(String, X509)>,
}

struct Key {
    alias: String,
    /// EncryptedPrivateKeyInfo.
    protected: Vec<u8>,
    chain: Vec<X509>,
}

impl Jks {
    /// Reads the whole store.
    pub(super) fn open(bytes: &[u8], password: &str) -> Result<Self, KeystoreError> {
        let end = bytes.len().checked_sub(SHA1_LENGTH).or_damaged(CUT_OFF)?;
        let (contents, digest) = bytes.split_at(end);
        // Entries before the digest: those of a damaged store say where, those of a whole one
        // show that it is the password.
        let store = Self::read(&mut Reader(contents))?;
        let made = sha1(&[&pbe::utf16(password), WHITENER, contents]);
        if memcmp::eq(&made, digest) {
            Ok(store)
        } else {
            Err(KeystoreError::WrongStorePassword)
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, KeystoreError> {
        let [_magic, version, count] = [reader.u32()?, reader.u32()?, reader.u32()?];
        if !(1..=2).contains(&version) {
            return Err(KeystoreError::Damaged {
                place: "its version is neither 1 nor 2",
            });
        }
        let mut store = Self {
            keys: Vec::new(),
            trusted: Vec::new(),
        };
        for _ in 0..count {
            store.read_entry(reader, version)?;
        }
        if reader.0.is_empty() {
            Ok(store)
        } else {
            Err(KeystoreError::Damaged {
                place: "there is more after its last entry",
            })
        }
    }

    fn read_entry(&mut self, reader: &mut Reader<'_>, version: u32) -> Result<(), KeystoreError> {
        let tag = reader.u32()?;
        let alias = reader.name()?;
        let _created = reader.take(8)?;
        match tag {
            1 => {
                let protected = reader.bytes()?.to_owned();
                let certificates = 0..reader.u32()?;
                let chain = certificates.map(|_| reader.certificate(version));
                self.keys.push(Key {
                    alias,
                    protected,
                    chain: chain.collect::<Result<_, _>>()?,
                });
            }
            2 => self.trusted.push((alias, reader.certificate(version)?)),
            _ => {
                return Err(KeystoreError::Damaged {
                    place: "an entry is neither a key nor a certificate",
                });
            }
        }
        Ok(())
    }
}

impl Store for Jks {
    fn keys(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.alias.clone()).collect()
    }

    fn trusted(self: Box<Self>) -> Vec<(String, X509)> {
        self.trusted
    }

    fn unlock(&self, key: usize, passwords: &Passwords<'_>) -> Result<KeyEntry, KeystoreError> {
        let key = &self.keys[key];
        let password = passwords.key.unwrap_or(passwords.store);
        let pkcs8 = unprotect(&key.protected, password)?;
        let pkcs8 = pkcs8.ok_or_else(|| KeystoreError::WrongKeyPassword {
            alias: super::printable(&key.alias),
        })?;
        Ok(KeyEntry {
            key: PKey::private_key_from_pkcs8(&pkcs8).map_err(KeystoreError::UnusableKey)?,
            chain: key.chain.clone(),
        })
    }
}

/// 1.3.6.1.4.1.42.2.17.1.1, Sun's own way to lock a key.
const KEY_PROTECTOR: [u8; 10] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x2a, 0x02, 0x11, 0x01, 0x01];

/// The PKCS#8 key inside, or `None` where the password does not fit.
fn unprotect(
    protected: &[u8],
    password: &str,
) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
    let place = "a locked key";
    let mut info = ber::Reader::new(protected)
        .enter(SEQUENCE)
        .or_damaged(place)?;
    let mut algorithm = info.enter(SEQUENCE).or_damaged(place)?;
    let oid = algorithm.take(OID).or_damaged(place)?;
    if oid != KEY_PROTECTOR {
        return Err(KeystoreError::unsupported(oid));
    }
    let locked = info.take(OCTET_STRING).or_damaged(place)?;
    let (salt, rest) = locked.split_at_checked(SHA1_LENGTH).or_damaged(place)?;
    let end = rest.len().checked_sub(SHA1_LENGTH).or_damaged(place)?;
    let (encrypted, check) = rest.split_at(end);

    let password = pbe::utf16(password);
    let mut plain = Zeroizing::new(Vec::with_capacity(encrypted.len()));
    let mut mask = Zeroizing::new(sha1(&[&password, salt]));
    for piece in encrypted.chunks(SHA1_LENGTH) {
        plain.extend(piece.iter().zip(&*mask).map(|(byte, mask)| byte ^ mask));
        *mask = sha1(&[&password, &*mask]);
    }
    let genuine = memcmp::eq(&sha1(&[&password, &plain]), check);
    Ok(genuine.then_some(plain))
}

fn sha1(pieces: &[&[u8]]) -> [u8; SHA1_LENGTH] {
    let mut sha1 = Sha1::new();
    for piece in pieces {
        sha1.update(piece);
    }
    sha1.finish()
}

const CUT_OFF: &str = "it ends too early";

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], KeystoreError> {
        let (taken, rest) = self.0.split_at_checked(length).or_damaged(CUT_OFF)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], KeystoreError> {
        let (taken, rest) = self.0.split_first_chunk().or_damaged(CUT_OFF)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, KeystoreError> {
        self.array().map(u32::from_be_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], KeystoreError> {
        let length = usize::try_from(self.u32()?).ok().or_damaged(CUT_OFF)?;
        self.take(length)
    }

    fn name(&mut self) -> Result<String, KeystoreError> {
        let length = self.array().map(u16::from_be_bytes)?;
        self.take(length.into()).map(modified_utf8)
    }

    fn certificate(&mut self, version: u32) -> Result<X509, KeystoreError> {
        let kind = if version == 1 {
            "X.509".to_owned()
        } else {
            self.name()?
        };
        if kind != "X.509" {
            return Err(KeystoreError::Damaged {
                place: "a certificate is not of type X.509",
            });
        }
        X509::from_der(self.bytes()?)
            .ok()
            .or_damaged("a certificate")
    }
}

/// Java's own UTF-8: each UTF-16 unit by itself, and zero in two bytes (`java.io.DataInput`). It
/// only names things, so what is none becomes a replacement character.
fn modified_utf8(bytes: &[u8]) -> String {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let unit;
        (unit, rest) = match (*first, after) {
            (first @ 0..0x80, after) => (u16::from(first), after),
            (first @ 0xc0..0xe0, [b @ 0x80..0xc0, after @ ..]) => {
                (bits(&[first & 0x1f, *b]), after)
            }
            (first @ 0xe0..0xf0, [b @ 0x80..0xc0, c @ 0x80..0xc0, after @ ..]) => {
                (bits(&[first & 0x0f, *b, *c]), after)
            }
            (_, after) => (0xfffd, after),
        };
        units.push(unit);
    }
    String::from_utf16_lossy(&units)
}

/// Six bits of each byte.
fn bits(bytes: &[u8]) -> u16 {
    bytes
        .iter()
        .fold(0, |unit, byte| unit << 6 | u16::from(byte & 0x3f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::certs::CertifiedKey;

    #[test]
    fn names_are_in_javas_own_utf8() {
        #[track_caller]
        fn check(bytes: &[u8], expected: &str) {
            assert_eq!(modified_utf8(bytes), expected);
        }
        check("wso2carbon".as_bytes(), "wso2carbon");
        check("schlüssel €".as_bytes(), "schlüssel €");
        check(&[b'a', 0xc0, 0x80, b'b'], "a\0b");
        // U+1F511, as two surrogates of three bytes each.
        check(&[0xed, 0xa0, 0xbd, 0xed, 0xb4, 0x91], "\u{1f511}");
        check(&[0xc3], "\u{fffd}");
        check(&[0xff, b'a'], "\u{fffd}a");
    }

    /// A store of version 1 with one trusted certificate.
    fn version_1(certificate: &[u8], password: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 2]);
        bytes.extend_from_slice(b"ca");
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&u32::try_from(certificate.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(certificate);
        let digest = sha1(&[&pbe::utf16(password), WHITENER, &bytes]);
        bytes.extend_from_slice(&digest);
        bytes
    }

    #[test]
    fn certificates_of_version_1_have_no_type() {
        let certified = CertifiedKey::self_signed_for_localhost().unwrap();
        let bytes = version_1(&certified.leaf.to_der().unwrap(), "store-pw");
        let store = Jks::open(&bytes, "store-pw").unwrap();
        let [(name, _)] = &Box::new(store).trusted()[..] else {
            panic!("one certificate");
        };
        assert_eq!(name, "ca");
    }
}
