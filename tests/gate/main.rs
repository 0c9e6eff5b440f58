//! The built server, driven from outside by real clients in front of real backends.
//!
//! One binary, so that it is linked once. `harness` starts things; every other file is about one
//! promise, and each test's name is the rule it holds.

#![allow(
    unreachable_pub,
    dead_code,
    reason = "the harness is a small library of its own"
)]

mod harness;

mod abuse;
mod addresses;
mod assertions;
mod backend_logins;
mod balance;
mod browser;
mod certs;
mod client_auth;
mod clients;
mod command_line;
mod corpus;
mod crashes;
mod examples;
mod floods;
mod forwarding;
mod grpc;
mod headers;
mod http2_backends;
mod legacy;
mod limits;
mod login;
mod machines;
mod operation;
mod paths;
mod redirects;
mod remembered;
mod rewriting;
mod sessions;
mod smuggling;
mod streaming;
mod streams;
mod structure;
mod tls;
mod trailers;
mod upstreams;
mod users;
mod websocket;
