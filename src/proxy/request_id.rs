//! The id that follows one request through our log, the backend's and the client's.

use std::fmt::Write as _;

use crate::store::secret::random;

/// 128 random bits as 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        // It identifies and does not protect: without randomness, requests are still served
        // (those that need a secret are refused where the secret is made).
        let bytes: [u8; 16] = random().unwrap_or_default();
        let mut text = String::with_capacity(32);
        for byte in bytes {
            let written = write!(text, "{byte:02x}");
            debug_assert!(written.is_ok());
        }
        Self(text)
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
