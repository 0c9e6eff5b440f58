//! What is found out or made for one connection and holds for its next requests.

use std::fmt;

use parking_lot::Mutex;

/// One thing of a connection, made when it is first asked for. A connection that never asks holds
/// two words. The requests of a connection are served by one thread, so nobody waits for another.
#[derive(Default)]
pub(super) struct Memo<T>(Mutex<Option<Box<T>>>);

impl<T: Default> Memo<T> {
    /// Looks at it, or changes it.
    pub(super) fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(self.0.lock().get_or_insert_default())
    }
}

/// A copy remembers nothing.
impl<T> Clone for Memo<T> {
    fn clone(&self) -> Self {
        Self(Mutex::new(None))
    }
}

/// Not what it holds: certificates and tokens.
impl<T> fmt::Debug for Memo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo").finish_non_exhaustive()
    }
}
