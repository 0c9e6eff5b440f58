//! The key that signs assertions: Ed25519, random or from a file.

use std::fmt;
use std::path::{Path, PathBuf};

use boring::error::ErrorStack;
use boring::pkey::{Id, PKey, Private};
use boring::sign::Signer;

use super::files;
use super::pem::{self, Flaw};

/// An Ed25519 key pair.
pub struct SigningKey {
    key: PKey<Private>,
    public: [u8; 32],
}

/// Never shows the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

/// Why there is no key that signs.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The file cannot be read.
    #[error("{}: cannot read the signing key: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something else is in the file.
    #[error(
        "{}: found {found}; expected an Ed25519 private key (make one with: \
         openssl genpkey -algorithm ed25519 -out {})", path.display(), path.display()
    )]
    NotEd25519 {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// No key can be made.
    #[error("cannot make a signing key: {0}")]
    Library(#[from] ErrorStack),
}

impl SigningKey {
    /// A new key, for as long as the program runs.
    ///
    /// # Errors
    /// [`SigningKeyError::Library`], for want of memory.
    pub fn random() -> Result<Self, SigningKeyError> {
        Ok(Self::of(PKey::generate(Id::ED25519)?)?)
    }

    /// The key in a file, PEM or DER, not encrypted.
    ///
    /// # Errors
    /// [`SigningKeyError`], naming the file.
    pub fn load(path: &Path) -> Result<Self, SigningKeyError> {
        let bytes = files::read(path).map_err(|source| SigningKeyError::Unreadable {
            path: path.into(),
            source,
        })?;
        let not_ed25519 = |found: String| SigningKeyError::NotEd25519 {
            path: path.into(),
            found,
        };
        let key = pem::private_key(&bytes, None).map_err(|flaw| {
            not_ed25519(match flaw {
                Flaw::Damaged(error) => format!("a damaged private key ({error})"),
                _ => pem::what_is(&bytes).to_owned(),
            })
        })?;
        match key.id() {
            Id::ED25519 => Ok(Self::of(key)?),
            Id::RSA => Err(not_ed25519("an RSA key".into())),
            Id::EC => Err(not_ed25519("an EC key".into())),
            _ => Err(not_ed25519("another kind of private key".into())),
        }
    }

    fn of(key: PKey<Private>) -> Result<Self, ErrorStack> {
        let mut public = [0; 32];
        key.raw_public_key(&mut public)?;
        Ok(Self { key, public })
    }

    /// The public half.
    #[must_use]
    pub const fn public_key(&self) -> [u8; 32] {
        self.public
    }

    /// The signature of a message; none for want of memory.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        let mut signature = [0; 64];
        let mut signer = Signer::new_without_digest(&self.key).ok()?;
        let length = signer.sign_oneshot(&mut signature, message).ok()?;
        (length == signature.len()).then_some(signature)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn openssl(folder: &Path, arguments: &str) {
        let run = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(run.status.success(), "{arguments}: {run:?}");
    }

    /// The public key as openssl reads it: an algorithm that has no parameters, then the key.
    fn public_der(key: &SigningKey) -> Vec<u8> {
        let begin = [48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0];
        [&begin[..], &key.public_key()].concat()
    }

    #[test]
    fn others_find_a_signature_good_and_one_of_something_else_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        openssl(folder.path(), "genpkey -algorithm ed25519 -out key.pem");
        for key in [
            SigningKey::random().unwrap(),
            SigningKey::load(&at("key.pem")).unwrap(),
        ] {
            std::fs::write(at("public.der"), public_der(&key)).unwrap();
            std::fs::write(at("signature"), key.sign(b"message").unwrap()).unwrap();
            for (message, is_good) in [(&b"message"[..], true), (b"massage", false)] {
                std::fs::write(at("message"), message).unwrap();
                let verify = Command::new("openssl")
                    .args("pkeyutl -verify -rawin -pubin -keyform DER".split(' '))
                    .args("-inkey public.der -in message -sigfile signature".split(' '))
                    .current_dir(folder.path())
                    .output()
                    .unwrap();
                assert_eq!(verify.status.success(), is_good, "{verify:?}");
            }
        }
    }

    #[test]
    fn what_is_no_ed25519_key_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        openssl(
            folder.path(),
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem",
        );
        openssl(folder.path(), "genpkey -algorithm ed25519 -out key.pem");
        openssl(folder.path(), "pkey -in key.pem -pubout -out public.pem");
        openssl(
            folder.path(),
            "pkcs8 -topk8 -in key.pem -passout pass:x -out secret.pem",
        );
        std::fs::write(at("text.pem"), "hello").unwrap();
        for (file, found) in [
            ("ec.pem", "found an EC key"),
            ("public.pem", "found a public key"),
            ("secret.pem", "found an encrypted private key"),
            ("text.pem", "found neither PEM nor DER"),
            ("missing.pem", "cannot read the signing key"),
        ] {
            let error = SigningKey::load(&at(file)).unwrap_err().to_string();
            assert!(error.contains(found) && error.contains(file), "{error}");
        }
    }
}
