//! The keys of session tickets (RFC 5077, RFC 8446 section 4.6.1): from files, so that several
//! servers resume each other's sessions, or random and changed by and by.
//!
//! They are ours and not BoringSSL's own, so that a session is resumed after the certificate was
//! changed: BoringSSL keeps its keys in the context, which is built anew then. What a ticket may
//! resume is decided by the session id context that `acceptor` sets, not here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::hmac::HmacCtxRef;
use boring::rand::rand_bytes;
use boring::ssl::{SslContextBuilder, TicketKeyCallbackResult};
use boring::symm::{Cipher, CipherCtxRef};
use zeroize::Zeroizing;

use super::files;

/// The names by which tickets say what they are encrypted with.
const NAME: usize = 16;

/// One key: its name, what authenticates, what encrypts.
#[derive(Clone)]
struct TicketKey {
    name: [u8; NAME],
    hmac: Zeroizing<Vec<u8>>,
    aes: Zeroizing<Vec<u8>>,
}

/// The keys of this moment: the first encrypts, all decrypt. None: no ticket is given or taken.
type TicketKeys = Vec<TicketKey>;

/// The keys that all contexts share, now and after they were built anew.
#[derive(Clone)]
pub(super) struct Tickets(Arc<ArcSwap<TicketKeys>>);

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TicketError {
    /// The file cannot be read.
    #[error("{}: cannot read the ticket keys: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error(
        "{}: expected ticket keys, each of 48 or 80 random bytes, as one key or base64 with a key \
         on each line; make one with: openssl rand -base64 80 | tr -d '\\n'", path.display()
    )]
    NoKeys {
        /// The file.
        path: PathBuf,
    },
    /// Two keys have the same name: which one a ticket means could not be told.
    #[error("{}: two ticket keys begin with the same 16 bytes", path.display())]
    SameName {
        /// The file with the second.
        path: PathBuf,
    },
    /// There is no randomness to be had.
    #[error("TLS: {0}")]
    Library(#[from] ErrorStack),
}

impl Tickets {
    /// With these keys.
    pub(super) fn new(keys: TicketKeySet) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(keys.0)))
    }

    /// From now on with these. Tickets under a key that is not among them mean a full handshake.
    pub(super) fn replace(&self, keys: TicketKeySet) {
        self.0.store(Arc::new(keys.0));
    }

    /// A new random key encrypts from now on; the one before still decrypts.
    pub(super) fn rotate(&self) -> Result<(), TicketError> {
        let old = self.0.load();
        let keys = [TicketKey::random()?].into_iter();
        let keys = keys.chain(old.first().cloned()).collect();
        self.0.store(Arc::new(keys));
        Ok(())
    }

    /// Makes a context use them.
    ///
    /// To be called for each context that a connection can be moved to, and for the one that it
    /// begins with: BoringSSL calls the callback of the first, and `boring` looks the closure up in
    /// the second, by its type. Were it missing there, the process would abort; since the closure
    /// is made here only, its type is always the same.
    #[allow(unsafe_code)]
    pub(super) fn install(&self, context: &mut SslContextBuilder) {
        let keys = Arc::clone(&self.0);
        // SAFETY: the callback has to set the name, the IV, and both contexts consistently, as
        // SSL_CTX_set_tlsext_ticket_key_cb says. `seal` sets all four or gives an error, `open` sets
        // both contexts by the key that the name stands for, or says that there is none; and neither
        // panics, which would abort.
        unsafe {
            context.set_ticket_key_callback(move |_ssl, name, iv, cipher, hmac, encrypts| {
                let keys = keys.load();
                let done = if encrypts {
                    seal(&keys, name, iv, cipher, hmac)
                } else {
                    open(&keys, name, iv, cipher, hmac)
                };
                done.unwrap_or(TicketKeyCallbackResult::Error)
            });
        }
    }
}

fn seal(
    keys: &TicketKeys,
    name: &mut [u8; NAME],
    iv: &mut [u8; 16],
    cipher: &mut CipherCtxRef,
    hmac: &mut HmacCtxRef,
) -> Result<TicketKeyCallbackResult, ErrorStack> {
    let Some(key) = keys.first() else {
        return Ok(TicketKeyCallbackResult::Noop);
    };
    *name = key.name;
    rand_bytes(iv)?;
    cipher.init_encrypt(&key.cipher(), &key.aes, iv)?;
    hmac.init(&key.hmac, &MessageDigest::sha256())?;
    Ok(TicketKeyCallbackResult::Success)
}

fn open(
    keys: &TicketKeys,
    name: &[u8; NAME],
    iv: &[u8; 16],
    cipher: &mut CipherCtxRef,
    hmac: &mut HmacCtxRef,
) -> Result<TicketKeyCallbackResult, ErrorStack> {
    let Some(at) = keys.iter().position(|key| key.name == *name) else {
        return Ok(TicketKeyCallbackResult::Noop);
    };
    let key = &keys[at];
    hmac.init(&key.hmac, &MessageDigest::sha256())?;
    cipher.init_decrypt(&key.cipher(), &key.aes, iv)?;
    Ok(match at {
        0 => TicketKeyCallbackResult::Success,
        // The client gets a ticket under the key that will be there for longer.
        _ => TicketKeyCallbackResult::DecryptSuccessRenew,
    })
}

impl TicketKey {
    fn random() -> Result<Self, ErrorStack> {
        let mut key = Self {
            name: [0; NAME],
            hmac: vec![0; 32].into(),
            aes: vec![0; 32].into(),
        };
        rand_bytes(&mut key.name)?;
        rand_bytes(&mut key.hmac)?;
        rand_bytes(&mut key.aes)?;
        Ok(key)
    }

    /// As nginx and HAProxy have it: the name, the key of the HMAC, that of AES-128 or AES-256.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let half = match bytes.len() {
            48 => 16,
            80 => 32,
            _ => return None,
        };
        let (name, keys) = bytes.split_first_chunk::<NAME>()?;
        let (hmac, aes) = keys.split_at(half);
        if !(may_be_random(hmac) && may_be_random(aes)) {
            return None;
        }
        Some(Self {
            name: *name,
            hmac: hmac.to_vec().into(),
            aes: aes.to_vec().into(),
        })
    }

    fn cipher(&self) -> Cipher {
        match self.aes.len() {
            16 => Cipher::aes_128_cbc(),
            _ => Cipher::aes_256_cbc(),
        }
    }
}

/// Whether there is anything random about a key. So few different bytes never come by chance; a file
/// that was made and not filled has one.
fn may_be_random(key: &[u8]) -> bool {
    const FEWEST: usize = 5;
    let mut different = Zeroizing::new(key.to_vec());
    different.sort_unstable();
    different.dedup();
    different.len() >= FEWEST
}

/// Keys that were read and checked, not yet in use.
pub(super) struct TicketKeySet(TicketKeys);

impl TicketKeySet {
    /// None: nothing is resumed.
    pub(super) const fn none() -> Self {
        Self(Vec::new())
    }

    /// One that nobody else has.
    pub(super) fn random() -> Result<Self, TicketError> {
        Ok(Self(vec![TicketKey::random()?]))
    }

    /// Those in `files`, in their order.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, TicketError> {
        let mut keys: TicketKeys = Vec::new();
        for path in files {
            for key in read(path)? {
                if keys.iter().any(|other| other.name == key.name) {
                    let path = path.clone();
                    return Err(TicketError::SameName { path });
                }
                keys.push(key);
            }
        }
        Ok(Self(keys))
    }
}

fn read(path: &Path) -> Result<TicketKeys, TicketError> {
    let bytes = files::read(path).map_err(|source| TicketError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let no_keys = || TicketError::NoKeys {
        path: path.to_owned(),
    };
    // Text of the right length is no key: random bytes are never all of them letters.
    let text = std::str::from_utf8(&bytes)
        .ok()
        .filter(|text| text.is_ascii());
    let Some(text) = text else {
        let key = TicketKey::from_bytes(&bytes).ok_or_else(no_keys)?;
        return Ok(vec![key]);
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys = lines.map(|line| {
        let decoded = STANDARD.decode(line).ok().map(Zeroizing::new);
        decoded.and_then(|bytes| TicketKey::from_bytes(&bytes))
    });
    let keys: Option<TicketKeys> = keys.collect();
    keys.filter(|keys| !keys.is_empty()).ok_or_else(no_keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(bytes: &[u8]) -> Result<Vec<usize>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes).unwrap();
        let keys = TicketKeySet::read(&[file.path().to_owned()]);
        let lengths = keys.map(|keys| keys.0.iter().map(|key| key.aes.len()).collect());
        lengths.map_err(|error| error.to_string())
    }

    /// All different, not all of them text, and others for each length.
    fn bytes<const LENGTH: usize>() -> [u8; LENGTH] {
        std::array::from_fn(|at| (0x80 + LENGTH + at).to_le_bytes()[0])
    }

    #[test]
    fn keys_are_read_as_nginx_and_haproxy_have_them() {
        let (short, long) = (bytes::<48>(), bytes::<80>());
        assert_eq!(read_text(&short), Ok(vec![16]));
        assert_eq!(read_text(&long), Ok(vec![32]));
        let lines = format!("{}\n{}\n", STANDARD.encode(long), STANDARD.encode(short));
        assert_eq!(read_text(lines.as_bytes()), Ok(vec![32, 16]));
    }

    #[test]
    fn what_is_no_key_is_refused_by_name() {
        let line = STANDARD.encode(bytes::<48>());
        let twice = format!("{line}\n{line}");
        let half = format!("{line}\nAAAA\n");
        for (bytes, words) in [
            (&b""[..], "expected ticket keys"),
            (&[0; 47], "expected ticket keys"),
            (&[0; 48], "expected ticket keys"),
            (&[0xff; 80], "expected ticket keys"),
            (&[b'a'; 48], "expected ticket keys"),
            (&bytes::<49>(), "expected ticket keys"),
            (half.as_bytes(), "expected ticket keys"),
            (twice.as_bytes(), "same 16 bytes"),
        ] {
            let error = read_text(bytes).unwrap_err();
            assert!(error.starts_with('/') && error.contains(words), "{error}");
        }
    }
}
