//! The floor: tokio and BoringSSL with nothing between them but the ends of messages.
//!
//! It checks nothing, adds nothing, counts nothing, logs nothing, and trusts both sides. What it
//! costs is what any proxy made of these two costs at least; this program starts itself as one.

use std::net::SocketAddr;

use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;
use crate::http1::content_length;
use crate::peers::Place;
use crate::tls::Acceptor;

/// As first argument, starts this program as the floor.
pub const COMMAND: &str = "floor";

/// What is read at once, the head of a message included.
const PIECE: usize = 64 << 10;

/// Says what to run.
pub fn prepare(place: &Place<'_>) -> Result<Vec<String>> {
    Ok(vec![
        std::env::current_exe()?.display().to_string(),
        COMMAND.to_owned(),
        place.address.to_string(),
        place.backend.to_string(),
        place.certificate.both.display().to_string(),
    ])
}

/// Runs as the floor with the arguments of `prepare`, until it is ended from outside.
pub fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let mut next = || arguments.next().ok_or("too few arguments");
    let (address, backend): (SocketAddr, SocketAddr) = (next()?.parse()?, next()?.parse()?);
    let acceptor = Acceptor::new(next()?.as_ref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (tcp, _) = listener.accept().await?;
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // However it ends: the load notices what it should notice.
                let _ = serve(&acceptor, tcp, backend).await;
            });
        }
    })
}

async fn serve(acceptor: &Acceptor, tcp: TcpStream, backend: SocketAddr) -> Result<()> {
    let mut client = acceptor.accept(tcp).await?;
    let mut buffer = vec![0; PIECE];
    let mut filled = client.read(&mut buffer).await?;
    // As the other proxies, it wants no backend for a handshake alone.
    let mut upstream = TcpStream::connect(backend).await?;
    upstream.set_nodelay(true)?;
    while filled > 0 {
        relay(&mut client, &mut upstream, &mut buffer, filled).await?;
        relay(&mut upstream, &mut client, &mut buffer, 0).await?;
        filled = client.read(&mut buffer).await?;
    }
    client.close().await
}

/// Passes one message on, of which the first `filled` bytes are here.
async fn relay(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    buffer: &mut [u8],
    mut filled: usize,
) -> Result<()> {
    let end = loop {
        if let Some(end) = memmem::find(&buffer[..filled], b"\r\n\r\n") {
            break end + 4;
        }
        filled += some(from.read(&mut buffer[filled..]).await?)?;
    };
    let body = content_length(&buffer[..end])?.unwrap_or(0);
    let mut left = end as u64 + body;
    loop {
        to.write_all(&buffer[..filled]).await?;
        to.flush().await?;
        left = left
            .checked_sub(filled as u64)
            .ok_or("more than a message")?;
        if left == 0 {
            return Ok(());
        }
        filled = some(from.read(buffer).await?)?;
    }
}

fn some(read: usize) -> Result<usize> {
    match read {
        0 => Err("the end in the middle of a message".into()),
        read => Ok(read),
    }
}
