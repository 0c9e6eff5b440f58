//! The HTTP/1 codec, one for both sides of the proxy: strict parsing of heads and bodies, and
//! writing them.
//!
//! A message that two parsers could read differently is refused here, so that everything behind
//! works on heads with one meaning. HTTP/2 requests pass the same checks and come out as the same
//! [`head::RequestHead`]. Read `fields` first: all others build on it.
//!
//! Not here: policy (which paths, hosts and fields are wanted). All but `read` and `timer` see only buffers and
//! know no socket and no clock. Nothing in this folder imports the rest of the crate.

pub mod body;
pub mod buffers;
pub mod fields;
pub mod head;
pub mod read;
pub mod response;
pub mod timer;
pub mod write;
