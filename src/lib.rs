//! Portcullis: a gate for anything that has none.
//!
//! The folders follow a connection through the program, so this is also the order to read them in.
//! `ARCHITECTURE.md` says who may import whom, and what must never be true.

pub mod cli;
pub mod server;

pub mod config;

pub mod listen;

pub mod proxy_protocol;

pub mod tls;

pub mod identity;

pub mod gate;

pub mod password;

pub mod store;

pub mod http1;

pub mod proxy;

pub mod observe;
