//! What the program tells its operator: log lines, metrics, and the admin listener.

pub mod admin;
pub mod line;
pub mod log;
pub mod metrics;
pub mod tally;
pub mod words;
