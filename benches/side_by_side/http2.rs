//! Load over HTTP/2: connections with a fixed number of streams at any time.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::task::JoinSet;

use crate::Result;
use crate::http1::TYPICAL_FIELDS;
use crate::measure::Tally;
use crate::tls::Connector;

/// About what browsers allow, so that nobody waits for a window on loopback.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A request for a path as a browser would send it.
pub fn get(path: &str, cookie: &str) -> Result<Request<()>> {
    let mut request = Request::get(format!("https://localhost{path}"));
    for (name, value) in TYPICAL_FIELDS {
        request = request.header(name, value);
    }
    Ok(request.header("cookie", cookie).body(())?)
}

/// Keeps `streams` requests under way on one connection until it is dropped.
pub async fn closed_loop(
    connector: Connector,
    address: SocketAddr,
    streams: usize,
    request: Request<()>,
    tally: Arc<Tally>,
) -> Result<()> {
    let stream = connector.connect(address).await?;
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake::<_, Bytes>(stream)
        .await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { Ok(connection.await?) });
    for _ in 0..streams {
        let (client, request) = (client.clone(), request.clone());
        tasks.spawn(repeat(client, request, Arc::clone(&tally)));
    }
    match tasks.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

async fn repeat(
    mut client: SendRequest<Bytes>,
    request: Request<()>,
    tally: Arc<Tally>,
) -> Result<()> {
    loop {
        client = client.ready().await?;
        let (answer, _) = client.send_request(request.clone(), true)?;
        let (head, mut body) = answer.await?.into_parts();
        if head.status != 200 {
            return Err(format!("answered with {}", head.status).into());
        }
        while let Some(piece) = body.data().await {
            let piece = piece?;
            tally.moved(piece.len());
            body.flow_control().release_capacity(piece.len())?;
        }
        tally.answered();
    }
}
