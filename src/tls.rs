//! TLS: from configured files to a finished handshake. The only folder that knows boring.

pub mod spec;

mod ber;
pub mod files;
pub mod keystore;
pub mod ocsp;
mod pem;
pub mod secret;

pub mod certs;
mod self_signed;

mod names;
mod tickets;

pub mod acceptor;

mod extensions;

pub mod development;
pub mod issue;

pub mod inspect;
pub mod probe;
