//! Load of connections that resume a TLS session: a new one for each request.
//!
//! The client is HAProxy, on our cores: offering a session is `unsafe` in the `boring` crate, and
//! this package has no `unsafe`. HAProxy opens connections to servers only for requests, so each
//! handshake comes with one; what that costs is to be seen in the case `h1`. An answer that did
//! not come over a resumed session is turned into a 502, which fails the case.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::Result;
use crate::http1::{Client, Request};
use crate::measure::{Tally, Tasks};
use crate::peers::{Proxy, World, free_address};
use crate::process::Process;
use crate::tls::CIPHER;

/// How long it may take until sessions are resumed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The HAProxy that opens the connections.
pub struct Opener {
    _process: Process,
    _folder: TempDir,
}

/// Starts clients that each keep one connection being opened, used once and closed. They need the
/// opener as long as they run.
pub async fn start(
    world: &World,
    proxy: &Proxy,
    at_a_time: usize,
    tally: &Arc<Tally>,
    tasks: &mut Tasks,
) -> Result<Opener> {
    let folder = TempDir::new_in(world.folder.path())?;
    let file = folder.path().join("opener.cfg");
    let address = free_address()?;
    std::fs::write(&file, config(address, proxy.address))?;
    let program = ["haproxy", "-db", "-f", &file.display().to_string()];
    let mut process = Process::start(folder.path(), &world.our_cores, &program)?;
    process.until(|| std::net::TcpStream::connect(address).is_ok())?;

    let request = Request::get("/128", Some(&proxy.cookie));
    until_resumed(address, &request).await?;
    for _ in 0..at_a_time {
        let (request, tally) = (request.clone(), Arc::clone(tally));
        tasks.spawn(async move {
            let mut client = connect(address).await?;
            loop {
                client.ask_well(&request).await?;
                tally.answered();
            }
        });
    }
    Ok(Opener {
        _process: process,
        _folder: folder,
    })
}

fn config(address: SocketAddr, proxy: SocketAddr) -> String {
    format!(
        "global\n  \
         nbthread 1\n\
         defaults\n  \
         mode http\n  \
         timeout connect 5s\n  \
         timeout client 60s\n  \
         timeout server 60s\n\
         listen opener\n  \
         bind {address}\n  \
         http-reuse never\n  \
         option http-server-close\n  \
         http-response deny deny_status 502 unless {{ ssl_bc_is_resumed }}\n  \
         server proxy {proxy} ssl verify none force-tlsv13 ciphersuites {CIPHER} \
         sni str(localhost) alpn http/1.1\n"
    )
}

async fn connect(address: SocketAddr) -> Result<Client<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(Client::new(tcp))
}

/// The first connection cannot resume anything.
async fn until_resumed(address: SocketAddr, request: &Request) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut client = connect(address).await?;
    while let Err(error) = client.ask_well(request).await {
        if Instant::now() > deadline {
            return Err(format!("no session is resumed: {error}").into());
        }
        client = connect(address).await?;
    }
    Ok(())
}
