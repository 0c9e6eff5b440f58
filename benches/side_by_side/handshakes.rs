//! Load of TLS handshakes: a new connection each, closed as soon as both sides are done.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::Result;
use crate::measure::Tally;
use crate::tls::{Connector, Protocol};

/// Full handshakes, one after the other, until it is dropped.
pub async fn closed_loop(address: SocketAddr, tally: Arc<Tally>) -> Result<()> {
    let connector = Connector::new(Protocol::Http1)?;
    loop {
        connector.connect(address).await?.close().await?;
        tally.answered();
    }
}
