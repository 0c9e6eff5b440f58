//! Portcullis: a gate for anything that has none.
pub mod gate;
pub mod identity;
