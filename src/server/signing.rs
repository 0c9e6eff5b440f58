//! The key of assertions: `tls` makes it, `proxy` signs with it, and neither knows the other.

use crate::proxy::assertion::Sign;
use crate::proxy::spec::IdentitySpec;
use crate::tls::signing::{SigningKey, SigningKeyError};

impl Sign for SigningKey {
    fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        self.sign(message)
    }

    fn public_key(&self) -> [u8; 32] {
        self.public_key()
    }
}

/// Why assertions cannot be signed, with where that is configured.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The key of the configuration.
    #[error("{place}: {error}")]
    Configured {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        error: SigningKeyError,
    },
    /// A random one.
    #[error(transparent)]
    Random(SigningKeyError),
}

/// The key that signs what backends are told, where they are told by assertions.
///
/// # Errors
/// [`SigningError`], naming the place and the file.
pub fn load(identity: &IdentitySpec) -> Result<Option<SigningKey>, SigningError> {
    let Some(assertion) = &identity.assertion else {
        return Ok(None);
    };
    let key = match &assertion.key {
        None => SigningKey::random().map_err(SigningError::Random)?,
        Some(key) => SigningKey::load(&key.file).map_err(|error| SigningError::Configured {
            place: key.place.clone(),
            error,
        })?,
    };
    Ok(Some(key))
}
