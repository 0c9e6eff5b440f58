//! The id that follows one request through our log, the backend's and the client's.

use std::cell::RefCell;
use std::sync::Arc;

use crate::http1::fields::Fields;
use crate::store::secret::random;

/// 128 random bits as 32 hex digits, or what a trusted proxy has called the request already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    random: [u8; Self::LENGTH],
    given: Option<Arc<str>>,
}

/// Random bytes of this thread that no id was made of yet.
struct Reserve {
    bytes: [u8; Self::SIZE],
    used: usize,
}

impl Reserve {
    /// For 64 ids: one system call for each would cost as much as the decision.
    const SIZE: usize = 1024;

    const fn empty() -> Self {
        Self {
            bytes: [0; Self::SIZE],
            used: Self::SIZE,
        }
    }

    fn take(&mut self) -> [u8; RequestId::LENGTH / 2] {
        if self.used == Self::SIZE {
            // It identifies and does not protect: without randomness, requests are still served
            // (those that need a secret are refused where the secret is made).
            self.bytes = random().unwrap_or([0; Self::SIZE]);
            self.used = 0;
        }
        let mut id = [0; RequestId::LENGTH / 2];
        id.copy_from_slice(&self.bytes[self.used..][..RequestId::LENGTH / 2]);
        self.used += id.len();
        id
    }
}

impl RequestId {
    const LENGTH: usize = 32;

    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        thread_local! {
            static RESERVE: RefCell<Reserve> = const { RefCell::new(Reserve::empty()) };
        }
        let random = RESERVE.with_borrow_mut(Reserve::take);
        let mut text = [0; Self::LENGTH];
        let encoded = base16ct::lower::encode(&random, &mut text);
        debug_assert!(encoded.is_ok(), "two digits a byte");
        Self {
            random: text,
            given: None,
        }
    }

    /// Four bytes that are as random as it is.
    #[must_use]
    pub fn some_bytes(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.random;
        [a, b, c, d]
    }

    /// The one that a trusted proxy has given, where it can be written anywhere; this one if not.
    #[must_use]
    pub(super) fn or_given(self, fields: &Fields) -> Self {
        let mut given = fields.get_all("x-request-id");
        let only = given.next().filter(|_| given.next().is_none());
        let given = only.and_then(|id| str::from_utf8(id).ok());
        Self {
            given: given.filter(|id| is_id(id)).map(Into::into),
            ..self
        }
    }

    /// As it is told.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.given.as_deref().unwrap_or_else(|| self.random())
    }

    /// Our own digits.
    #[must_use]
    pub fn random(&self) -> &str {
        str::from_utf8(&self.random).unwrap_or_default()
    }
}

fn is_id(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_hex_digits_and_none_comes_twice() {
        let ids: BTreeSet<String> = (0..1000)
            .map(|_| RequestId::generate().as_str().to_owned())
            .collect();
        assert_eq!(ids.len(), 1000);
        let digit = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
        assert!(ids.iter().all(|id| id.len() == 32 && id.chars().all(digit)));
    }
}
