//! PKCS#12 (RFC 7292): from the file to its bags, and from a bag to a key with its chain. How
//! things are encrypted is in `pbe`; which entry is wanted is decided in `keystore`.
//!
//! ```text
//! PFX: version 3, AuthenticatedSafe (as bytes), MacData (may be missing)
//! AuthenticatedSafe: contents, each as it is or encrypted
//! contents: bags, each a certificate, a key or an encrypted key, with attributes: its name
//!     (friendlyName), which key belongs to which certificate (localKeyId), and Java's mark of a
//!     trusted certificate
//! ```

use std::borrow::Cow;

use boring::pkey::{PKey, Private};
use boring::x509::X509;
use zeroize::Zeroizing;

use super::pbe::{Mac, Password, Rounds, Scheme};
use super::{KeyEntry, KeystoreError, OrDamaged as _, Passwords, Store};
use crate::tls::ber::{
    self, BMP_STRING, EXPLICIT_0, IMPLICIT_0, OCTET_STRING, OID, Reader, SEQUENCE, SET,
};

/// 1.2.840.113549.1.7, to which the kinds of content add one byte.
const PKCS7: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07];
/// 1.2.840.113549.1.12.10.1, to which the kinds of bag add one byte.
const BAG: [u8; 10] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01];
/// 1.2.840.113549.1.9.22.1
const X509_CERTIFICATE: [u8; 10] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
/// 1.2.840.113549.1.9.20
const FRIENDLY_NAME: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x14];
/// 1.2.840.113549.1.9.21
const LOCAL_KEY_ID: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x15];
/// 2.16.840.1.113894.746875.1.1, the mark that the JDK (`sun.security.pkcs12.PKCS12KeyStore`,
/// `TrustedKeyUsage`) gives to the certificates that it trusts.
const TRUSTED_KEY_USAGE: [u8; 12] = [
    0x60, 0x86, 0x48, 0x01, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 0x01, 0x01,
];

/// The most certificates that a chain is followed over.
const LONGEST_CHAIN: usize = 32;

/// Whether `bytes` begin as a PKCS#12 file does: a sequence of the version and a content with its
/// kind. Certificates and keys in DER are sequences as well, but begin otherwise.
pub(super) fn is_pkcs12(bytes: &[u8]) -> bool {
    let begins = || {
        let (SEQUENCE, _, rest) = ber::header(bytes)? else {
            return None;
        };
        let rest = rest.strip_prefix(&[ber::INTEGER, 1, 3])?;
        let (SEQUENCE, _, rest) = ber::header(rest)? else {
            return None;
        };
        rest.strip_prefix(&[OID, 9])?.strip_prefix(&PKCS7)
    };
    begins().is_some()
}

/// An open PKCS#12 store: its check value is right where it has one, and its certificates are
/// readable. Its keys are still locked.
pub(super) struct Pkcs12 {
    /// Whether a password opened anything yet: a store without a check value and with its
    /// certificates in the clear opens with any.
    opened: bool,
    keys: Vec<KeyBag>,
    certificates: Vec<CertificateBag>,
}

struct KeyBag {
    alias: String,
    id: Option<Vec<u8>>,
    lock: Lock,
}

enum Lock {
    /// PrivateKeyInfo, that is, PKCS#8.
    Open(Zeroizing<Vec<u8>>),
    /// EncryptedPrivateKeyInfo.
    Shrouded(Vec<u8>),
}

struct CertificateBag {
    alias: String,
    id: Option<Vec<u8>>,
    trusted: bool,
    certificate: X509,
}

impl Pkcs12 {
    /// Reads the whole store.
    pub(super) fn open(bytes: &[u8], passwords: &Passwords<'_>) -> Result<Self, KeystoreError> {
        let mut rounds = Rounds::for_one_file();
        let (safe, mac) = read_pfx(bytes).or_damaged("its outermost part")??;
        let opened = mac.is_some();
        if let Some(mac) = mac {
            check(&Mac::read(mac)?, passwords.store, &safe, &mut rounds)?;
        }
        let mut opening = Opening {
            passwords: passwords.store_first(),
            rounds,
            unnamed: 0,
            store: Self {
                opened,
                keys: Vec::new(),
                certificates: Vec::new(),
            },
        };
        let mut contents = Reader::new(&safe)
            .enter(SEQUENCE)
            .or_damaged("its list of contents")?;
        while !contents.is_at_end() {
            let content = contents.enter(SEQUENCE);
            opening.read_content(content.or_damaged("its list of contents")?)?;
        }
        Ok(opening.store)
    }
}

type Pfx<'a> = (Cow<'a, [u8]>, Option<Reader<'a>>);

/// The AuthenticatedSafe and what stands inside the MacData. `None` where something is missing.
fn read_pfx(bytes: &[u8]) -> Option<Result<Pfx<'_>, KeystoreError>> {
    let mut file = Reader::new(bytes);
    let mut pfx = file.enter(SEQUENCE).filter(|_| file.is_at_end())?;
    pfx.number()?;
    let mut content = pfx.enter(SEQUENCE)?;
    let kind = content.take(OID)?;
    if kind.strip_prefix(&PKCS7) != Some(&[1]) {
        return Some(Err(KeystoreError::unsupported(kind)));
    }
    let safe = content.enter(EXPLICIT_0)?.octets(OCTET_STRING)?;
    if pfx.is_at_end() {
        return Some(Ok((safe, None)));
    }
    pfx.enter(SEQUENCE).map(|mac| Ok((safe, Some(mac))))
}

fn check(
    mac: &Mac<'_>,
    password: &str,
    safe: &[u8],
    rounds: &mut Rounds,
) -> Result<(), KeystoreError> {
    for form in Password::forms(password) {
        if mac.confirms(&form, safe, rounds)? {
            return Ok(());
        }
    }
    Err(KeystoreError::WrongStorePassword)
}

// === impl Opening ===

/// A store while it is read.
struct Opening<'p> {
    passwords: Vec<Password<'p>>,
    rounds: Rounds,
    /// Entries without a name so far.
    unnamed: usize,
    store: Pkcs12,
}

impl Opening<'_> {
    /// Reads what stands inside a ContentInfo.
    fn read_content(&mut self, mut content: Reader<'_>) -> Result<(), KeystoreError> {
        let place = "one of its contents";
        let kind = content.take(OID).or_damaged(place)?;
        let mut inside = content.enter(EXPLICIT_0).or_damaged(place)?;
        match kind.strip_prefix(&PKCS7) {
            Some([1]) => {
                let bags = inside.octets(OCTET_STRING).or_damaged(place)?;
                self.read_bags(&bags)
            }
            Some([6]) => {
                let bags = self.decrypt_content(inside)?;
                self.read_bags(&bags)
            }
            _ => Err(KeystoreError::unsupported(kind)),
        }
    }

    /// The contents of an EncryptedData (RFC 5652 section 8).
    fn decrypt_content(
        &mut self,
        mut inside: Reader<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
        let place = "one of its encrypted contents";
        let mut data = inside.enter(SEQUENCE).or_damaged(place)?;
        data.number().or_damaged(place)?;
        let mut info = data.enter(SEQUENCE).or_damaged(place)?;
        info.take(OID).or_damaged(place)?;
        let scheme = Scheme::read(info.enter(SEQUENCE).or_damaged(place)?)?;
        let encrypted = info.octets(IMPLICIT_0).or_damaged(place)?;
        for password in &self.passwords {
            let plain = scheme.decrypt(password, &encrypted, &mut self.rounds)?;
            // A wrong password may leave a right padding, but no sequence.
            let plain = plain.filter(|plain| is_one_sequence(plain));
            if let Some(plain) = plain {
                self.store.opened = true;
                return Ok(plain);
            }
        }
        Err(KeystoreError::WrongStorePassword)
    }

    /// Reads a SafeContents.
    fn read_bags(&mut self, bytes: &[u8]) -> Result<(), KeystoreError> {
        let mut bags = Reader::new(bytes)
            .enter(SEQUENCE)
            .or_damaged("a list of bags")?;
        while !bags.is_at_end() {
            let bag = bags.enter(SEQUENCE).or_damaged("a list of bags")?;
            self.read_bag(bag)?;
        }
        Ok(())
    }

    /// Reads what stands inside a SafeBag. Revocation lists, secrets and what else may be in one
    /// is left alone.
    fn read_bag(&mut self, mut bag: Reader<'_>) -> Result<(), KeystoreError> {
        let kind = bag.take(OID).or_damaged("a bag")?;
        let value = bag.take(EXPLICIT_0).or_damaged("a bag")?;
        let attributes = Attributes::read(bag).or_damaged("the attributes of a bag")?;
        match kind.strip_prefix(&BAG) {
            Some([1]) => self.add_key(attributes, Lock::Open(Zeroizing::new(value.to_owned()))),
            Some([2]) => self.add_key(attributes, Lock::Shrouded(value.to_owned())),
            Some([3]) => self.add_certificate(attributes, value)?,
            _ => {}
        }
        Ok(())
    }

    fn add_key(&mut self, attributes: Attributes, lock: Lock) {
        let alias = attributes.name.unwrap_or_else(|| self.number());
        self.store.keys.push(KeyBag {
            alias,
            id: attributes.id,
            lock,
        });
    }

    /// Java numbers the entries that have no name, and `keytool -list` shows them so.
    fn number(&mut self) -> String {
        self.unnamed += 1;
        self.unnamed.to_string()
    }

    /// Adds what stands in a CertBag; certificates other than X.509 are left alone.
    fn add_certificate(&mut self, attributes: Attributes, bag: &[u8]) -> Result<(), KeystoreError> {
        let place = "a certificate";
        let mut bag = Reader::new(bag).enter(SEQUENCE).or_damaged(place)?;
        if bag.take(OID).or_damaged(place)? != X509_CERTIFICATE {
            return Ok(());
        }
        let mut value = bag.enter(EXPLICIT_0).or_damaged(place)?;
        let der = value.octets(OCTET_STRING).or_damaged(place)?;
        let certificate = X509::from_der(&der).ok().or_damaged(place)?;
        let alias = match attributes.name {
            Some(name) => name,
            None if attributes.trusted => self.number(),
            None => super::subject(&certificate),
        };
        self.store.certificates.push(CertificateBag {
            alias,
            id: attributes.id,
            trusted: attributes.trusted,
            certificate,
        });
        Ok(())
    }
}

fn is_one_sequence(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    reader.take(SEQUENCE).is_some() && reader.is_at_end()
}

/// What the attributes of a bag say (RFC 7292 section 4.2).
#[derive(Default)]
struct Attributes {
    name: Option<String>,
    id: Option<Vec<u8>>,
    trusted: bool,
}

impl Attributes {
    /// Reads the rest of a SafeBag.
    fn read(mut bag: Reader<'_>) -> Option<Self> {
        let mut attributes = Self::default();
        if bag.is_at_end() {
            return Some(attributes);
        }
        let mut set = bag.enter(SET)?;
        while !set.is_at_end() {
            let mut attribute = set.enter(SEQUENCE)?;
            let oid = attribute.take(OID)?;
            let mut values = attribute.enter(SET)?;
            if oid == FRIENDLY_NAME {
                attributes.name = values.take(BMP_STRING).map(utf16);
            } else if oid == LOCAL_KEY_ID {
                attributes.id = values.octets(OCTET_STRING).map(Cow::into_owned);
            } else if oid == TRUSTED_KEY_USAGE {
                attributes.trusted = true;
            }
        }
        Some(attributes)
    }
}

fn utf16(bytes: &[u8]) -> String {
    let (pairs, _) = bytes.as_chunks();
    let units: Vec<u16> = pairs.iter().copied().map(u16::from_be_bytes).collect();
    String::from_utf16_lossy(&units)
}

// === impl Pkcs12 ===

impl Store for Pkcs12 {
    fn keys(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.alias.clone()).collect()
    }

    /// The certificates that carry Java's mark. Where none does and there is no key either, all
    /// of them: then nothing else can be meant (`openssl pkcs12 -export -nokeys`). Beside a key
    /// they are its chain, which Java does not trust for being there.
    fn trusted(self: Box<Self>) -> Vec<(String, X509)> {
        let any_marked = self.certificates.iter().any(|bag| bag.trusted);
        let all = !any_marked && self.keys.is_empty();
        let bags = self.certificates.into_iter();
        bags.filter(|bag| all || bag.trusted)
            .map(|bag| (bag.alias, bag.certificate))
            .collect()
    }

    fn unlock(&self, key: usize, passwords: &Passwords<'_>) -> Result<KeyEntry, KeystoreError> {
        let bag = &self.keys[key];
        let key = match &bag.lock {
            Lock::Open(pkcs8) => {
                PKey::private_key_from_pkcs8(pkcs8).map_err(KeystoreError::UnusableKey)?
            }
            Lock::Shrouded(info) => {
                let key = decrypt_key(info, &passwords.key_first())?;
                key.ok_or_else(|| self.wrong_password(bag, passwords))?
            }
        };
        let leaf = self.leaf_of(bag.id.as_deref(), &key);
        let chain = leaf.map(|leaf| self.chain_of(leaf)).unwrap_or_default();
        Ok(KeyEntry { key, chain })
    }
}

impl Pkcs12 {
    /// Which of the passwords it is that does not open a key.
    fn wrong_password(&self, bag: &KeyBag, passwords: &Passwords<'_>) -> KeystoreError {
        if self.opened || passwords.key.is_some() {
            let alias = super::printable(&bag.alias);
            KeystoreError::WrongKeyPassword { alias }
        } else {
            KeystoreError::WrongStorePassword
        }
    }

    /// The certificate of a key: that of the same id where its public key agrees, else one whose
    /// public key agrees, else that of the same id (the caller sees that the two do not match).
    fn leaf_of(&self, id: Option<&[u8]>, key: &PKey<Private>) -> Option<&X509> {
        let same_id = |bag: &&CertificateBag| id.is_some() && bag.id.as_deref() == id;
        let same_key = |bag: &&CertificateBag| {
            let public = bag.certificate.public_key();
            public.is_ok_and(|public| public.public_eq(key))
        };
        let bags = || self.certificates.iter();
        bags()
            .find(|bag| same_id(bag) && same_key(bag))
            .or_else(|| bags().find(same_key))
            .or_else(|| bags().find(same_id))
            .map(|bag| &bag.certificate)
    }

    /// `leaf`, those that issued it, those that issued these, and so on: a file may hold the
    /// chains of several keys.
    fn chain_of(&self, leaf: &X509) -> Vec<X509> {
        let mut chain = vec![leaf.clone()];
        let mut subject = 0;
        while subject < chain.len() && chain.len() < LONGEST_CHAIN {
            for CertificateBag { certificate, .. } in &self.certificates {
                let issued = certificate.issued(&chain[subject]).is_ok();
                if issued && !chain.iter().any(|known| same(known, certificate)) {
                    chain.push(certificate.clone());
                }
            }
            subject += 1;
        }
        chain
    }
}

fn same(one: &X509, other: &X509) -> bool {
    matches!((one.to_der(), other.to_der()), (Ok(one), Ok(other)) if one == other)
}

/// The key in an EncryptedPrivateKeyInfo (RFC 5958 section 3), or `None` where no password fits.
fn decrypt_key(
    info: &[u8],
    passwords: &[Password<'_>],
) -> Result<Option<PKey<Private>>, KeystoreError> {
    let place = "an encrypted key";
    let mut info = Reader::new(info).enter(SEQUENCE).or_damaged(place)?;
    let scheme = Scheme::read(info.enter(SEQUENCE).or_damaged(place)?)?;
    let encrypted = info.octets(OCTET_STRING).or_damaged(place)?;
    let mut rounds = Rounds::for_one_file();
    for password in passwords {
        let plain = scheme.decrypt(password, &encrypted, &mut rounds)?;
        if let Some(pkcs8) = plain.filter(|plain| is_pkcs8(plain)) {
            let key = PKey::private_key_from_pkcs8(&pkcs8);
            return key.map(Some).map_err(KeystoreError::UnusableKey);
        }
    }
    Ok(None)
}

/// Whether `bytes` are built as a PrivateKeyInfo: what a wrong password leaves is not.
fn is_pkcs8(bytes: &[u8]) -> bool {
    let parts = || {
        let mut info = Reader::new(bytes).enter(SEQUENCE)?;
        info.number()?;
        info.enter(SEQUENCE)?.take(OID)?;
        info.take(OCTET_STRING)
    };
    parts().is_some()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use crate::tls::certs::CertifiedKey;

    use super::*;

    /// The DER of `key`, encrypted by the real `openssl pkcs8`.
    fn encrypt(key: &PKey<Private>, options: &str) -> Vec<u8> {
        let arguments = format!("pkcs8 -topk8 -outform DER -passout pass:key-pw {options}");
        let mut openssl = Command::new("openssl")
            .args(arguments.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pem = key.private_key_to_pem_pkcs8().unwrap();
        openssl.stdin.take().unwrap().write_all(&pem).unwrap();
        let output = openssl.wait_with_output().unwrap();
        assert!(output.status.success(), "{options}");
        output.stdout
    }

    #[test]
    fn ciphers_and_digests_of_pbes2_are_read() {
        let CertifiedKey { key, .. } = CertifiedKey::self_signed_for_localhost().unwrap();
        for options in [
            "-v2 aes-128-cbc -v2prf hmacWithSHA1",
            "-v2 aes-192-cbc -v2prf hmacWithSHA224",
            "-v2 aes-256-cbc -v2prf hmacWithSHA256",
            "-v2 aes-256-cbc -v2prf hmacWithSHA384",
            "-v2 des3 -v2prf hmacWithSHA512",
        ] {
            let encrypted = encrypt(&key, options);
            let open = |password| decrypt_key(&encrypted, &Password::forms(password)).unwrap();
            assert!(open("key-pw").unwrap().public_eq(&key), "{options}");
            assert!(open("key-pW").is_none(), "{options}");
        }
    }

    #[test]
    fn other_ways_to_encrypt_are_named() {
        let CertifiedKey { key, .. } = CertifiedKey::self_signed_for_localhost().unwrap();
        for (options, name) in [
            ("-scrypt", "scrypt (1.3.6.1.4.1.11591.4.11)"),
            (
                "-v2 camellia-128-cbc",
                "the algorithm 1.2.392.200011.61.1.1.1.2",
            ),
        ] {
            let encrypted = encrypt(&key, options);
            let Err(refused) = decrypt_key(&encrypted, &Password::forms("key-pw")) else {
                panic!("{options}");
            };
            let message = refused.to_string();
            assert!(
                message.starts_with(&format!("{name} is not supported")),
                "{message}"
            );
        }
    }

    #[test]
    fn the_public_key_says_which_certificate_is_the_leaf_and_then_the_id() {
        let own = CertifiedKey::self_signed_for_localhost().unwrap();
        let other = CertifiedKey::self_signed_for_localhost().unwrap();
        let leaf_among = |certificates: &[(&X509, Option<u8>)]| {
            let bag = |&(certificate, id): &(&X509, Option<u8>)| CertificateBag {
                alias: String::new(),
                id: id.map(|id| vec![id]),
                trusted: false,
                certificate: X509::clone(certificate),
            };
            let store = Pkcs12 {
                opened: true,
                keys: Vec::new(),
                certificates: certificates.iter().map(bag).collect(),
            };
            let leaf = store.leaf_of(Some(&[1]), &own.key);
            leaf.map(|leaf| same(leaf, &own.leaf))
        };
        let (own, other) = (&own.leaf, &other.leaf);
        assert_eq!(leaf_among(&[(other, None), (own, Some(1))]), Some(true));
        assert_eq!(leaf_among(&[(other, Some(1)), (own, None)]), Some(true));
        assert_eq!(leaf_among(&[(other, None), (other, Some(1))]), Some(false));
        assert_eq!(leaf_among(&[(other, None), (other, Some(2))]), None);
    }

    #[test]
    fn a_wrong_password_is_never_taken_for_a_damaged_key() {
        let CertifiedKey { key, .. } = CertifiedKey::self_signed_for_localhost().unwrap();
        let encrypted = encrypt(&key, "-v2 aes-128-cbc -iter 1");
        // One in 256 leaves a right padding.
        for number in 0..2000 {
            let password = number.to_string();
            let opened = decrypt_key(&encrypted, &Password::forms(&password));
            assert!(opened.unwrap().is_none(), "{password}");
        }
    }
}
