//! Stored passwords: reading the hash formats, checking a password against one, and the threads
//! that do the work. Also the tokens that machines carry instead.
//!
//! Not here: who the users are, what they may do, lockout and sessions.

pub mod argon2id;
pub mod credentials;
pub mod stored;

pub mod pool;
pub mod upgrade;
pub mod verified;

pub mod token;

mod bf1;
