//! Whose a certificate is: the rules of `clients`.
//!
//! Whether it is good was found out before (`tls`); here is only what it says. What comes out is a
//! user like any other, but one who cannot log in.

use std::sync::Arc;

use super::users::User;
use crate::identity::certificate::{ClientIdentity, InvalidCertificate};
use crate::identity::{InvalidIdentity, NoIdentity};

/// The rules, in order; the first that is about a certificate decides.
#[derive(Debug, Default)]
pub struct Clients {}

impl Clients {
    /// Whose this certificate is.
    ///
    /// # Errors
    /// Why it is nobody's.
    pub fn identify(&self, _certificate: &ClientIdentity) -> Result<Arc<User>, NoIdentity> {
        let why = InvalidIdentity::Certificate(InvalidCertificate::NoRule);
        Err(NoIdentity::Invalid(why))
    }
}
