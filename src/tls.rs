//! TLS: from configured files to a finished handshake. The only folder that knows boring.

pub mod spec;

mod ber;
mod dn;
mod times;

pub mod files;
pub mod keystore;
pub mod ocsp;
mod pem;
pub mod secret;

pub mod certs;
pub mod self_signed;

mod names;
mod tickets;

mod store;
pub mod trust;

mod client_auth;
mod peer;
mod policies;

pub mod acceptor;
pub mod connector;

mod extensions;

pub mod development;
pub mod issue;
pub mod signing;

pub mod inspect;
pub mod probe;
