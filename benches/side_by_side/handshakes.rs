//! Load of TLS handshakes: a new connection each, closed as soon as both sides are done.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::Result;
use crate::measure::Tally;
use crate::tls::{Connector, Protocol};

/// Full handshakes, one after the other, until it is dropped.
pub async fn closed_loop(address: SocketAddr, tally: Arc<Tally>) -> Result<()> {
    closed_loop_by_name(address, ["localhost".to_owned()].into(), 0, tally).await
}

/// The same for several names in turn, beginning with the first given.
pub async fn closed_loop_by_name(
    address: SocketAddr,
    names: Arc<[String]>,
    first: usize,
    tally: Arc<Tally>,
) -> Result<()> {
    let connector = Connector::new(Protocol::Http1)?;
    for name in names.iter().cycle().skip(first % names.len()) {
        connector.connect_to(address, name).await?.close().await?;
        tally.answered();
    }
    Ok(())
}
