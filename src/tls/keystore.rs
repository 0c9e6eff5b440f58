//! Key stores and trust stores: PKCS#12 and JKS, told apart by their bytes and never by their
//! name. Here is what a caller asks for, which entry that is, and what can be wrong.
//!
//! Whether a certificate is valid, fits its key, or in which order a chain is sent, is not looked
//! at: that is `certs`. Files are not read here, and so not named in messages. JCEKS is only
//! recognised: nobody but Java reads it, and `keytool` converts it.

mod jks;
mod pbe;
mod pkcs12;

use std::fmt;

use boring::error::ErrorStack;
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::x509::X509;

use self::jks::Jks;
use self::pbe::Password;
use self::pkcs12::Pkcs12;
use super::ber;
use super::inspect::printable;

/// The kinds of store that are told apart by their first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 7292, also `.p12` and `.pfx`; what Java writes since version 9.
    Pkcs12,
    /// What Java wrote before.
    Jks,
    /// Java's store for secret keys; not read.
    Jceks,
}

impl Kind {
    /// The kind of store that `bytes` begin like, if any.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(&jks::MAGIC) {
            Some(Self::Jks)
        } else if bytes.starts_with(&[0xce; 4]) {
            Some(Self::Jceks)
        } else {
            pkcs12::is_pkcs12(bytes).then_some(Self::Pkcs12)
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pkcs12 => "PKCS#12 keystore",
            Self::Jks => "JKS keystore",
            Self::Jceks => "JCEKS keystore",
        })
    }
}

/// A private key and the certificates that the store holds for it.
pub struct KeyEntry {
    /// The key.
    pub key: PKey<Private>,
    /// Its certificates, the leaf first where the store says which one that is; may be in any
    /// order, or empty.
    pub chain: Vec<X509>,
}

impl fmt::Debug for KeyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEntry")
            .field("chain", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// The passwords of a store and of the key in it.
pub struct Passwords<'p> {
    /// Opens the store.
    pub store: &'p str,
    /// Opens the key, where it has a password of its own. A JKS key has exactly this one. With
    /// PKCS#12 the store's is tried as well: `keytool` takes a `-keypass` and does not use it.
    pub key: Option<&'p str>,
}

impl<'p> Passwords<'p> {
    fn store_first(&self) -> Vec<Password<'p>> {
        self.forms([Some(self.store), self.key])
    }

    fn key_first(&self) -> Vec<Password<'p>> {
        self.forms([self.key, Some(self.store)])
    }

    fn forms(&self, [first, second]: [Option<&'p str>; 2]) -> Vec<Password<'p>> {
        let second = second.filter(|second| first != Some(*second));
        let texts = first.into_iter().chain(second);
        texts.flat_map(Password::forms).collect()
    }
}

/// Why a store gives no key or certificates.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// None of the kinds.
    #[error("this is no key store; expected PKCS#12 or JKS")]
    NoKeystore,
    /// JCEKS.
    #[error(
        "a JCEKS keystore is not supported; convert it to PKCS#12: keytool -importkeystore \
         -srckeystore OLD.jceks -srcstoretype JCEKS -destkeystore NEW.p12 -deststoretype PKCS12"
    )]
    Jceks,
    /// The check value, or what the password should open, does not come out right.
    #[error(
        "wrong store password, or the store is damaged: its contents and the password do not fit \
         together; give the password that it was made with"
    )]
    WrongStorePassword,
    /// The key has another password.
    #[error(
        "the store opens, the key {alias} does not: it has a password of its own; give that as \
         key_password"
    )]
    WrongKeyPassword {
        /// The entry.
        alias: String,
    },
    /// No entry of that name.
    #[error("no entry is named {alias}; it has: {has}")]
    NoSuchEntry {
        /// What was asked for.
        alias: String,
        /// What there is.
        has: Names,
    },
    /// More than one key of that name.
    #[error("several keys are named {alias}; give each a name of its own, or keep one")]
    SameName {
        /// What was asked for.
        alias: String,
    },
    /// No private key at all.
    #[error("no private key in it; it holds certificates only: {has}")]
    NoKey {
        /// The certificates.
        has: Names,
    },
    /// Nothing at all.
    #[error("nothing is in it, neither a key nor a certificate")]
    Empty,
    /// Several keys, and no word which one.
    #[error("several private keys are in it; choose one with alias: {keys}")]
    SeveralKeys {
        /// The keys.
        keys: Names,
    },
    /// The name is that of a certificate.
    #[error("{alias} is a trusted certificate, not a key; keys in it: {keys}")]
    NotAKey {
        /// What was asked for.
        alias: String,
        /// The keys.
        keys: Names,
    },
    /// No trusted certificate.
    #[error(
        "no trusted certificate in it, only keys with their chains: {keys}; add one with \
         keytool -importcert"
    )]
    NothingTrusted {
        /// The keys.
        keys: Names,
    },
    /// Encrypted or checked in a way that is not known here.
    #[error(
        "{algorithm} is not supported; write the store anew with keytool -importkeystore \
         -deststoretype PKCS12, which uses AES"
    )]
    Unsupported {
        /// What it is.
        algorithm: Algorithm,
    },
    /// A file that would keep us busy.
    #[error(
        "it asks for {rounds} rounds of key derivation, and at most {} are done; write it anew \
         with fewer (Java's default is 10000)",
        pbe::MOST_ROUNDS
    )]
    TooMuchWork {
        /// What it asks for.
        rounds: u64,
    },
    /// Not built as it should be.
    #[error("the store is damaged or cut off: {place}")]
    Damaged {
        /// What is wrong, or where.
        place: &'static str,
    },
    /// The password fits, the key is none that BoringSSL can use.
    #[error("its private key cannot be used; expected RSA, ECDSA or Ed25519: {0}")]
    UnusableKey(#[source] ErrorStack),
    /// The TLS library failed in a way that the store does not explain.
    #[error("TLS: {0}")]
    Library(#[from] ErrorStack),
}

impl KeystoreError {
    fn unsupported(oid: &[u8]) -> Self {
        let algorithm = Algorithm::of(oid);
        Self::Unsupported { algorithm }
    }
}

/// What a store must have at some place.
trait OrDamaged<T> {
    /// What is there, or that the store is damaged at this place.
    fn or_damaged(self, place: &'static str) -> Result<T, KeystoreError>;
}

impl<T> OrDamaged<T> for Option<T> {
    fn or_damaged(self, place: &'static str) -> Result<T, KeystoreError> {
        self.ok_or(KeystoreError::Damaged { place })
    }
}

/// Names of entries, as a message shows them.
#[derive(Debug, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl Names {
    /// So many are shown; a store of public authorities has 150.
    const SHOWN: usize = 20;

    fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(names.into_iter().map(printable).collect())
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let shown = &self.0[..self.0.len().min(Self::SHOWN)];
        f.write_str(&shown.join(", "))?;
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// An algorithm that is not supported: its object identifier, and its name where it is known.
#[derive(Debug, PartialEq, Eq)]
pub struct Algorithm {
    oid: String,
}

impl Algorithm {
    /// Those that files of the last thirty years may have.
    const KNOWN: &[(&str, &str)] = &[
        ("1.2.840.113549.1.5.1", "PBE with MD2 and DES"),
        ("1.2.840.113549.1.5.3", "PBE with MD5 and DES"),
        ("1.2.840.113549.1.5.10", "PBE with SHA-1 and DES"),
        ("1.2.840.113549.1.5.11", "PBE with SHA-1 and RC2"),
        ("1.2.840.113549.1.5.14", "PBMAC1"),
        (
            "1.2.840.113549.1.7.2",
            "a store signed with a key (signedData)",
        ),
        (
            "1.2.840.113549.1.7.3",
            "a store encrypted for a key (envelopedData)",
        ),
        ("1.2.840.113549.1.12.1.1", "PBE with SHA-1 and 128-bit RC4"),
        ("1.2.840.113549.1.12.1.2", "PBE with SHA-1 and 40-bit RC4"),
        ("1.2.840.113549.2.5", "MD5"),
        ("1.2.840.113549.3.2", "RC2"),
        ("1.3.6.1.4.1.11591.4.11", "scrypt"),
        (
            "1.3.6.1.4.1.42.2.19.1",
            "PBE with MD5 and triple DES of JCEKS",
        ),
    ];

    fn of(oid: &[u8]) -> Self {
        Self {
            oid: ber::shown(oid),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::KNOWN.iter().find(|(oid, _)| *oid == self.oid) {
            Some((oid, name)) => write!(f, "{name} ({oid})"),
            None => write!(f, "the algorithm {}", self.oid),
        }
    }
}

/// The key that `alias` names, or the only one there is. Names are compared as Java does, without
/// regard to case.
///
/// # Errors
/// [`KeystoreError`], with what is wrong and the fix.
pub fn key_entry(
    bytes: &[u8],
    passwords: &Passwords<'_>,
    alias: Option<&str>,
) -> Result<KeyEntry, KeystoreError> {
    let store = open(bytes, passwords)?;
    let keys = store.keys();
    let chosen = match (alias, keys.as_slice()) {
        (Some(alias), _) => named(&keys, alias)?,
        (None, [_only]) => Some(0),
        (None, []) => None,
        (None, several) => {
            let keys = Names::of(several.iter().map(String::as_str));
            return Err(KeystoreError::SeveralKeys { keys });
        }
    };
    match chosen {
        Some(key) => store.unlock(key, passwords),
        None => Err(no_key(&keys, &store.trusted(), alias)),
    }
}

/// The place of the key with this name.
fn named(keys: &[String], alias: &str) -> Result<Option<usize>, KeystoreError> {
    let wanted = alias.to_lowercase();
    let mut found = (0..keys.len()).filter(|&key| keys[key].to_lowercase() == wanted);
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(KeystoreError::SameName {
            alias: printable(alias),
        }),
        (first, _) => Ok(first),
    }
}

/// Why there is no key, or none of that name.
fn no_key(keys: &[String], trusted: &[(String, X509)], alias: Option<&str>) -> KeystoreError {
    let certificates = || trusted.iter().map(|(name, _)| name.as_str());
    let all = || keys.iter().map(String::as_str);
    match alias {
        _ if keys.is_empty() && trusted.is_empty() => KeystoreError::Empty,
        _ if keys.is_empty() => KeystoreError::NoKey {
            has: Names::of(certificates()),
        },
        Some(alias) if certificates().any(|name| name.to_lowercase() == alias.to_lowercase()) => {
            KeystoreError::NotAKey {
                alias: printable(alias),
                keys: Names::of(all()),
            }
        }
        alias => KeystoreError::NoSuchEntry {
            alias: printable(alias.unwrap_or_default()),
            has: Names::of(all().chain(certificates())),
        },
    }
}

/// All certificates that the store vouches for: the trusted entries of a JKS store; of a PKCS#12
/// store those with Java's mark of trust, or all of them where none has it and no key is there.
/// The chain of a key is not trusted for being in the store, as in Java.
///
/// # Errors
/// [`KeystoreError`], with what is wrong and the fix; never an empty list.
pub fn trusted(bytes: &[u8], store_password: &str) -> Result<Vec<X509>, KeystoreError> {
    let passwords = Passwords {
        store: store_password,
        key: None,
    };
    let store = open(bytes, &passwords)?;
    let keys = store.keys();
    let certificates = store.trusted();
    match (certificates.is_empty(), keys.is_empty()) {
        (false, _) => Ok(certificates.into_iter().map(|(_, x509)| x509).collect()),
        (true, true) => Err(KeystoreError::Empty),
        (true, false) => Err(KeystoreError::NothingTrusted {
            keys: Names::of(keys.iter().map(String::as_str)),
        }),
    }
}

/// All that is in a store.
#[derive(Debug)]
pub struct Entries {
    /// The keys by name; `None` where a key has a password of its own.
    pub keys: Vec<(String, Option<KeyEntry>)>,
    /// The certificates that it vouches for, with their names.
    pub trusted: Vec<(String, X509)>,
}

/// Everything in the store that its password opens.
///
/// # Errors
/// [`KeystoreError`], with what is wrong and the fix.
pub fn entries(bytes: &[u8], store_password: &str) -> Result<Entries, KeystoreError> {
    let passwords = Passwords {
        store: store_password,
        key: None,
    };
    let store = open(bytes, &passwords)?;
    let mut keys = Vec::new();
    for (at, name) in store.keys().into_iter().enumerate() {
        let entry = match store.unlock(at, &passwords) {
            Ok(entry) => Some(entry),
            Err(KeystoreError::WrongKeyPassword { .. }) => None,
            Err(error) => return Err(error),
        };
        keys.push((printable(&name), entry));
    }
    let trusted = store.trusted().into_iter();
    Ok(Entries {
        keys,
        trusted: trusted.map(|(name, it)| (printable(&name), it)).collect(),
    })
}

fn open(bytes: &[u8], passwords: &Passwords<'_>) -> Result<Box<dyn Store>, KeystoreError> {
    match Kind::of(bytes).ok_or(KeystoreError::NoKeystore)? {
        Kind::Pkcs12 => Ok(Box::new(Pkcs12::open(bytes, passwords)?)),
        Kind::Jks => Ok(Box::new(Jks::open(bytes, passwords.store)?)),
        Kind::Jceks => Err(KeystoreError::Jceks),
    }
}

/// An open store. What it holds is known, its keys are still locked.
trait Store {
    /// The names of its keys.
    fn keys(&self) -> Vec<String>;

    /// The certificates that it vouches for, with their names.
    fn trusted(self: Box<Self>) -> Vec<(String, X509)>;

    /// The key at this place among [`Store::keys`], with its chain.
    fn unlock(&self, key: usize, passwords: &Passwords<'_>) -> Result<KeyEntry, KeystoreError>;
}

/// What a certificate without a name is called: the common name of its subject.
fn subject(certificate: &X509) -> String {
    let mut names = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
    let name = names.next().and_then(|name| name.data().as_utf8().ok());
    name.map_or_else(|| "without a name".to_owned(), |name| name.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::sync::OnceLock;

    use boring::sha::{sha1, sha256};
    use tempfile::TempDir;

    use super::*;

    const STORE: &str = "store-pw";
    const KEY: &str = "key-pw";

    /// Stores made by the real `openssl` and `keytool`, once for all tests.
    struct Fixtures(TempDir);

    impl Fixtures {
        fn get() -> &'static Self {
            static MADE: OnceLock<Fixtures> = OnceLock::new();
            MADE.get_or_init(|| {
                let fixtures = Self(tempfile::tempdir().unwrap());
                fixtures.make_certificates();
                fixtures.make_with_openssl();
                fixtures.make_with_keytool();
                fixtures
            })
        }

        fn path(&self) -> &Path {
            self.0.path()
        }

        #[track_caller]
        fn run(&self, program: &str, arguments: &str) {
            self.run_with_answers("", program, arguments);
        }

        /// Runs the program without a terminal, so that it asks on its standard input.
        #[track_caller]
        fn run_with_answers(&self, answers: &str, program: &str, arguments: &str) {
            let mut command = Command::new("setsid");
            command.args(["--wait", program]);
            command.args(arguments.split(' ').map(|word| word.replace('+', " ")));
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            command.stderr(Stdio::piped()).current_dir(self.path());
            let mut child = command.spawn().unwrap();
            let mut input = child.stdin.take().unwrap();
            input.write_all(answers.as_bytes()).unwrap();
            drop(input);
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{arguments}: {output:?}");
        }

        fn make_certificates(&self) {
            let ec = "ec -pkeyopt ec_paramgen_curve:P-256";
            let authority = "-keyout ca.key -out ca.pem -days 30 -subj /CN=Test+CA";
            self.run(
                "openssl",
                &format!("req -x509 -nodes -newkey {ec} {authority}"),
            );
            for (name, algorithm) in [("rsa", "rsa:2048"), ("ec", ec)] {
                let request = format!("-keyout {name}.key -out {name}.csr -subj /CN={name}");
                self.run(
                    "openssl",
                    &format!("req -nodes -newkey {algorithm} {request}"),
                );
                let by = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 30";
                let sign = format!("x509 -req -in {name}.csr -out {name}.pem {by}");
                self.run("openssl", &sign);
            }
        }

        fn make_with_openssl(&self) {
            let rsa = "-inkey rsa.key -in rsa.pem -certfile ca.pem -name Web";
            let ec = "-inkey ec.key -in ec.pem -name Api";
            let alone = "-inkey ec.key -in ec.pem";
            let aes128 = "-keypbe AES-128-CBC -certpbe AES-128-CBC -macalg sha1";
            let odd = "-legacy -keypbe PBE-SHA1-2DES -certpbe PBE-SHA1-RC2-128 -macalg sha512";
            for (name, options, password) in [
                ("modern", rsa, STORE),
                ("ec", ec, STORE),
                ("legacy", &format!("-legacy {rsa}"), STORE),
                // Without a word about it, -nomac leaves the certificates in the clear.
                (
                    "nomac",
                    &format!("-nomac -certpbe AES-256-CBC {rsa}"),
                    STORE,
                ),
                ("nomac-clear", &format!("-nomac {rsa}"), STORE),
                ("plain", &format!("-keypbe NONE -certpbe NONE {rsa}"), STORE),
                ("aes128", &format!("{aes128} {rsa}"), STORE),
                ("odd", &format!("{odd} {rsa}"), STORE),
                (
                    "rc4",
                    &format!("-legacy -certpbe PBE-SHA1-RC4-128 {ec}"),
                    STORE,
                ),
                ("quick", &format!("-iter 1 -nomaciter {ec}"), STORE),
                (
                    "slow",
                    &format!("-iter 5000001 -certpbe NONE -nomac {ec}"),
                    STORE,
                ),
                ("empty", alone, ""),
                ("empty-legacy", &format!("-legacy {alone}"), ""),
                ("empty-nomac", &format!("-legacy -nomac {alone}"), ""),
                ("authorities", "-nokeys -in ca.pem", STORE),
            ] {
                let file = format!("-out {name}.p12 -passout pass:{password}");
                self.run("openssl", &format!("pkcs12 -export {options} {file}"));
            }
            for (name, certificates) in [("own", "NONE"), ("two", "AES-256-CBC")] {
                let options = format!("-twopass -certpbe {certificates} -out {name}.p12 {ec}");
                // The check value's password, then that of the contents, each said again.
                let answers = format!("{STORE}\n{STORE}\n{KEY}\n{KEY}\n");
                let arguments = format!("pkcs12 -export {options}");
                self.run_with_answers(&answers, "openssl", &arguments);
            }
        }

        fn make_with_keytool(&self) {
            let both = "-srcstorepass store-pw -deststorepass store-pw -noprompt";
            let import = |from: &str, to: &str, options: &str| {
                let files = format!("-srckeystore {from} -destkeystore {to}");
                self.run(
                    "keytool",
                    &format!("-importkeystore {files} {both} {options}"),
                );
            };
            import("modern.p12", "merged.p12", "-deststoretype PKCS12");
            import("ec.p12", "merged.p12", "-deststoretype PKCS12");
            import("merged.p12", "chains.jks", "-deststoretype JKS");
            let old = "-deststoretype PKCS12 -J-Dkeystore.pkcs12.legacy";
            import("modern.p12", "java8.p12", old);

            let generate = |to: &str, options: &str| {
                let options = format!("-keystore {to} -storepass store-pw {options}");
                let dname = "-dname CN=Web -alias Web -validity 30";
                self.run("keytool", &format!("-genkeypair {options} {dname}"));
            };
            generate("own.jks", "-storetype JKS -keyalg RSA -keypass key-pw");
            generate(
                "own-java.p12",
                "-storetype PKCS12 -keyalg EC -keypass key-pw",
            );

            let trust = |to: &str, kind: &str| {
                let options = format!("-keystore {to} -storetype {kind} -storepass store-pw");
                let what = "-importcert -alias MyCA -file ca.pem -noprompt";
                self.run("keytool", &format!("{what} {options}"));
            };
            trust("own.jks", "JKS");
            trust("own-java.p12", "PKCS12");
            trust("trust.jks", "JKS");
            trust("trust.p12", "PKCS12");
            trust("trust.jceks", "JCEKS");
        }
    }

    fn file(name: &str) -> Vec<u8> {
        std::fs::read(Fixtures::get().path().join(name)).unwrap()
    }

    fn store_password(store: &str) -> Passwords<'_> {
        Passwords { store, key: None }
    }

    fn both_passwords<'p>(store: &'p str, key: &'p str) -> Passwords<'p> {
        Passwords {
            store,
            key: Some(key),
        }
    }

    /// The common names of the chain, after a look whether the key is that of the leaf.
    #[track_caller]
    fn chain_of(bytes: &[u8], passwords: &Passwords<'_>, alias: Option<&str>) -> Vec<String> {
        let KeyEntry { key, chain } = key_entry(bytes, passwords, alias).unwrap();
        assert!(chain[0].public_key().unwrap().public_eq(&key));
        chain.iter().map(subject).collect()
    }

    #[track_caller]
    fn refusal(name: &str, passwords: &Passwords<'_>, alias: Option<&str>) -> String {
        let refused = key_entry(&file(name), passwords, alias);
        refused.unwrap_err().to_string()
    }

    // === kinds ===

    #[test]
    fn kinds_are_told_apart_by_their_bytes() {
        assert_eq!(Kind::of(&file("modern.p12")), Some(Kind::Pkcs12));
        assert_eq!(Kind::of(&file("merged.p12")), Some(Kind::Pkcs12));
        assert_eq!(Kind::of(&file("trust.jks")), Some(Kind::Jks));
        assert_eq!(Kind::of(&file("trust.jceks")), Some(Kind::Jceks));
        assert_eq!(Kind::Pkcs12.to_string(), "PKCS#12 keystore");
    }

    #[test]
    fn certificates_and_keys_are_no_stores() {
        let rsa = PKey::private_key_from_pem(&file("rsa.key")).unwrap();
        let ec = PKey::private_key_from_pem(&file("ec.key")).unwrap();
        let certificate = X509::from_pem(&file("ca.pem")).unwrap();
        for other in [
            certificate.to_der().unwrap(),
            rsa.private_key_to_der_pkcs8().unwrap(),
            rsa.rsa().unwrap().private_key_to_der().unwrap(),
            ec.ec_key().unwrap().private_key_to_der().unwrap(),
            rsa.public_key_to_der().unwrap(),
            file("ca.pem"),
            Vec::new(),
        ] {
            assert_eq!(Kind::of(&other), None);
            let refused = key_entry(&other, &store_password(STORE), None);
            assert!(matches!(refused, Err(KeystoreError::NoKeystore)));
        }
    }

    #[test]
    fn jceks_is_refused_with_the_way_to_convert_it() {
        let message = refusal("trust.jceks", &store_password(STORE), None);
        assert!(message.contains("keytool -importkeystore"), "{message}");
        assert!(matches!(
            trusted(&file("trust.jceks"), STORE),
            Err(KeystoreError::Jceks)
        ));
    }

    // === keys ===

    #[test]
    fn every_way_to_write_one_key_is_read() {
        for name in [
            "modern.p12", // AES-256, HMAC-SHA256, check value SHA-256
            "legacy.p12", // certificates 40-bit RC2, key triple DES, SHA-1
            "nomac.p12",
            "nomac-clear.p12",
            "plain.p12",
            "aes128.p12", // check value SHA-1
            "odd.p12",    // 128-bit RC2, triple DES with two keys, SHA-512
            "java8.p12",
        ] {
            let bytes = file(name);
            for alias in [None, Some("Web"), Some("web"), Some("WEB")] {
                let chain = chain_of(&bytes, &store_password(STORE), alias);
                assert_eq!(chain, ["rsa", "Test CA"], "{name} {alias:?}");
            }
        }
    }

    #[test]
    fn a_wrong_store_password_is_called_that() {
        for name in [
            "modern.p12",
            "legacy.p12",
            "nomac.p12",
            "plain.p12",
            "java8.p12",
            "authorities.p12",
            "chains.jks",
            "trust.jks",
        ] {
            for wrong in ["store-pW", "", "store-pw ", "schlüssel"] {
                let refused = key_entry(&file(name), &store_password(wrong), None);
                assert!(
                    matches!(refused, Err(KeystoreError::WrongStorePassword)),
                    "{name}: {refused:?}"
                );
                let refused = trusted(&file(name), wrong);
                assert!(
                    matches!(refused, Err(KeystoreError::WrongStorePassword)),
                    "{name}: {refused:?}"
                );
            }
        }
        // Anything opens this store, so that only its key can tell.
        let refused = key_entry(&file("nomac-clear.p12"), &store_password("x"), None);
        assert!(
            matches!(refused, Err(KeystoreError::WrongStorePassword)),
            "{refused:?}"
        );
    }

    #[test]
    fn a_key_with_a_password_of_its_own_needs_it() {
        for (name, alias, subject) in [("own.jks", "Web", "Web"), ("own.p12", "Api", "ec")] {
            let bytes = file(name);
            let chain = chain_of(&bytes, &both_passwords(STORE, KEY), Some(alias));
            assert_eq!(chain, [subject]);
            for wrong in [store_password(STORE), both_passwords(STORE, "key-pW")] {
                let message = refusal(name, &wrong, Some(alias));
                let expected = "the store opens, the key";
                assert!(message.starts_with(expected), "{name}: {message}");
                assert!(
                    message.contains("give that as key_password"),
                    "{name}: {message}"
                );
            }
        }
    }

    #[test]
    fn a_key_password_that_keytool_did_not_use_does_no_harm() {
        let bytes = file("own-java.p12");
        for passwords in [store_password(STORE), both_passwords(STORE, KEY)] {
            assert_eq!(chain_of(&bytes, &passwords, None), ["Web"]);
        }
    }

    #[test]
    fn certificates_may_be_under_the_key_password_too() {
        let bytes = file("two.p12");
        let chain = chain_of(&bytes, &both_passwords(STORE, KEY), None);
        assert_eq!(chain, ["ec"]);
        assert!(key_entry(&bytes, &both_passwords(KEY, STORE), None).is_err());
    }

    #[test]
    fn one_of_several_keys_is_chosen_by_its_name() {
        for name in ["merged.p12", "chains.jks"] {
            let bytes = file(name);
            let passwords = store_password(STORE);
            let web = chain_of(&bytes, &passwords, Some("Web"));
            assert_eq!(web, ["rsa", "Test CA"], "{name}");
            let api = chain_of(&bytes, &passwords, Some("api"));
            assert_eq!(api[0], "ec", "{name}");

            let several = refusal(name, &passwords, None);
            assert!(several.contains("choose one with alias: "), "{several}");
            assert!(
                several.contains("web") && several.contains("api"),
                "{several}"
            );
            let other = refusal(name, &passwords, Some("wbe"));
            assert!(
                other.starts_with("no entry is named wbe; it has: "),
                "{other}"
            );
            assert!(other.contains("web") && other.contains("api"), "{other}");
        }
    }

    #[test]
    fn a_trusted_certificate_is_no_key() {
        for name in ["own.jks", "own-java.p12"] {
            let message = refusal(name, &store_password(STORE), Some("MyCA"));
            let expected = "MyCA is a trusted certificate, not a key; keys in it: web";
            assert_eq!(message, expected, "{name}");
        }
    }

    #[test]
    fn a_store_without_keys_says_so() {
        for (name, certificate) in [
            ("trust.jks", "myca"),
            ("trust.p12", "myca"),
            ("authorities.p12", "Test CA"),
        ] {
            for alias in [None, Some(certificate), Some("other")] {
                let message = refusal(name, &store_password(STORE), alias);
                let expected = "no private key in it; it holds certificates only: ";
                let expected = format!("{expected}{certificate}");
                assert_eq!(message.to_lowercase(), expected.to_lowercase(), "{name}");
            }
        }
        let nothing = key_entry(&empty_jks(), &store_password(STORE), None);
        assert!(matches!(nothing, Err(KeystoreError::Empty)), "{nothing:?}");
    }

    fn empty_jks() -> Vec<u8> {
        let contents = [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 0];
        let wide = pbe::utf16(STORE);
        let digest = sha1(&[&wide[..], b"Mighty Aphrodite", &contents].concat());
        [&contents[..], &digest].concat()
    }

    #[test]
    fn the_empty_password_opens_in_both_its_forms() {
        for name in ["empty.p12", "empty-legacy.p12", "empty-nomac.p12"] {
            assert_eq!(chain_of(&file(name), &store_password(""), None), ["ec"]);
            let wrong = refusal(name, &store_password("x"), None);
            assert!(wrong.starts_with("wrong store password"), "{wrong}");
        }
        let bytes = with_check_value_of_no_bytes(file("empty.p12"));
        assert_ne!(bytes, file("empty.p12"));
        assert_eq!(chain_of(&bytes, &store_password(""), None), ["ec"]);
    }

    /// The same file as a program writes it for which no password is no bytes at all. The file
    /// ends: SHA-256 digest (0x04, 32, bytes), salt (0x04, length, bytes), rounds (0x02, 2, bytes).
    fn with_check_value_of_no_bytes(mut bytes: Vec<u8>) -> Vec<u8> {
        let (rest, rounds) = bytes.split_last_chunk::<4>().unwrap();
        let [0x02, 2, rounds @ ..] = *rounds else {
            panic!("rounds in two bytes");
        };
        let salt_length = [8, 16].into_iter().find(|&length| {
            let at = rest.len() - length - 2;
            rest[at..].starts_with(&[0x04, u8::try_from(length).unwrap()])
        });
        let salt_at = rest.len() - salt_length.unwrap();
        let digest_at = salt_at - 2 - 32;
        // RFC 7292 appendix B.2 for one block and no password.
        let mut input = vec![3; 64];
        input.extend(rest[salt_at..].iter().copied().cycle().take(64));
        let mut key = sha256(&input);
        for _ in 1..u16::from_be_bytes(rounds) {
            key = sha256(&key);
        }
        let mut store = ber::Reader::new(&bytes).enter(ber::SEQUENCE).unwrap();
        store.number();
        let mut content = store.enter(ber::SEQUENCE).unwrap();
        content.take(ber::OID);
        let mut content = content.enter(ber::EXPLICIT_0).unwrap();
        let contents = content.octets(ber::OCTET_STRING).unwrap();
        let mac = boring::hash::hmac_sha256(&key, &contents).unwrap();
        bytes[digest_at..digest_at + 32].copy_from_slice(&mac);
        bytes
    }

    #[test]
    fn elements_without_a_length_and_strings_in_pieces_are_read() {
        for name in ["modern.p12", "legacy.p12", "merged.p12"] {
            let bytes = as_ber(&file(name));
            assert_eq!(Kind::of(&bytes), Some(Kind::Pkcs12), "{name}");
            let chain = chain_of(&bytes, &store_password(STORE), Some("web"));
            assert_eq!(chain, ["rsa", "Test CA"], "{name}");
        }
    }

    /// The same elements as Bouncy Castle or NSS write them.
    fn as_ber(der: &[u8]) -> Vec<u8> {
        let mut ber = Vec::new();
        let mut rest = der;
        while !rest.is_empty() {
            let (tag, length, after) = ber::header(rest).unwrap();
            let (contents, after) = after.split_at(usize::try_from(length.unwrap()).unwrap());
            if tag & 0x20 != 0 {
                ber.extend_from_slice(&[tag, 0x80]);
                ber.extend(as_ber(contents));
                ber.extend_from_slice(&[0, 0]);
            } else if tag == ber::OCTET_STRING {
                ber.extend_from_slice(&[0x24, 0x80]);
                for piece in contents.chunks(100) {
                    ber.extend_from_slice(&[tag, u8::try_from(piece.len()).unwrap()]);
                    ber.extend_from_slice(piece);
                }
                ber.extend_from_slice(&[0, 0]);
            } else {
                ber.extend_from_slice(&rest[..rest.len() - after.len()]);
            }
            rest = after;
        }
        ber
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let message = refusal("rc4.p12", &store_password(STORE), None);
        let expected = "PBE with SHA-1 and 128-bit RC4 (1.2.840.113549.1.12.1.1) is not supported";
        assert!(message.starts_with(expected), "{message}");
    }

    #[test]
    fn rounds_have_a_limit() {
        let message = refusal("slow.p12", &store_password(STORE), None);
        assert!(
            message.starts_with("it asks for 5000001 rounds"),
            "{message}"
        );
    }

    // === trusted certificates ===

    #[test]
    fn trusted_certificates_are_those_that_the_store_vouches_for() {
        for name in [
            "trust.jks",
            "trust.p12",
            "authorities.p12",
            "own.jks",
            "own-java.p12",
        ] {
            let certificates = trusted(&file(name), STORE).unwrap();
            let names: Vec<_> = certificates.iter().map(subject).collect();
            assert_eq!(names, ["Test CA"], "{name}");
        }
    }

    #[test]
    fn the_chain_of_a_key_is_not_trusted_for_being_there() {
        for name in ["modern.p12", "merged.p12", "chains.jks"] {
            let refused = trusted(&file(name), STORE).unwrap_err().to_string();
            let expected = "no trusted certificate in it, only keys with their chains: ";
            assert!(refused.starts_with(expected), "{name}: {refused}");
        }
        let nothing = trusted(&empty_jks(), STORE);
        assert!(matches!(nothing, Err(KeystoreError::Empty)), "{nothing:?}");
    }

    // === damage ===

    #[test]
    fn a_store_cut_off_anywhere_is_refused() {
        for name in ["quick.p12", "own.p12", "chains.jks", "trust.jks"] {
            let bytes = file(name);
            for length in 0..bytes.len() {
                let passwords = both_passwords(STORE, KEY);
                let cut = &bytes[..length];
                assert!(
                    key_entry(cut, &passwords, Some("api")).is_err(),
                    "{name} {length}"
                );
                assert!(trusted(cut, STORE).is_err(), "{name} {length}");
            }
            let longer = [&bytes[..], b"\n"].concat();
            assert!(key_entry(&longer, &store_password(STORE), None).is_err());
        }
    }

    #[test]
    fn a_changed_byte_of_a_jks_store_is_noticed() {
        for name in ["chains.jks", "own.jks"] {
            let mut bytes = file(name);
            for at in 0..bytes.len() {
                for change in [0x01, 0x80, 0xff] {
                    bytes[at] ^= change;
                    assert!(trusted(&bytes, STORE).is_err(), "{name} {at}");
                    bytes[at] ^= change;
                }
            }
        }
        assert_eq!(trusted(&file("own.jks"), STORE).unwrap().len(), 1);
    }

    #[test]
    fn a_changed_byte_of_a_pkcs12_store_gives_no_other_key() {
        let mut bytes = file("quick.p12");
        let whole = key_entry(&bytes, &store_password(STORE), None).unwrap();
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                bytes[at] ^= change;
                if let Ok(entry) = key_entry(&bytes, &store_password(STORE), None) {
                    assert!(entry.key.public_eq(&whole.key), "{at}");
                }
                bytes[at] ^= change;
            }
        }
    }

    #[test]
    fn random_bytes_are_refused() {
        let mut state: u32 = 1;
        for start in [
            &file("quick.p12")[..40],
            &[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2],
            &[],
        ] {
            for length in 0..300 {
                let mut bytes = start.to_vec();
                bytes.extend((0..length).map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state.to_be_bytes()[0]
                }));
                assert!(key_entry(&bytes, &store_password(STORE), None).is_err());
                assert!(trusted(&bytes, STORE).is_err());
            }
        }
    }

    #[test]
    fn names_in_messages_are_few_and_printable() {
        let names: Vec<String> = (0..23).map(|n| format!("a\x1b{n}")).collect();
        let shown = Names::of(names.iter().map(String::as_str)).to_string();
        assert!(shown.starts_with("a\u{fffd}0, a\u{fffd}1, "), "{shown}");
        assert!(shown.ends_with("a\u{fffd}19 and 3 more"), "{shown}");
    }
}
