//! TLS: from configured files to a finished handshake. The only folder that knows boring.

pub mod acceptor;
pub mod certs;
pub mod development;
pub mod keystore;
pub mod inspect;
pub mod issue;
pub mod probe;
pub mod spec;

mod extensions;
