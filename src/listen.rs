//! Accepting connections: one thread a core, each with its own socket, runtime and upstream pool.

pub mod accept;
mod entry;
pub mod socket;
pub mod spec;
pub mod stream;
