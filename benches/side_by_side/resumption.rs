//! Load of resumed TLS handshakes.
//!
//! The client is `openssl s_client`, a process for each: offering a session is `unsafe` in the
//! `boring` crate, and this package has no `unsafe`. Processes take most of our own core, so a
//! proxy is far from busy here and each handshake finds colder caches; that is so for all proxies.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Weak};

use crate::Result;
use crate::http1::Request;
use crate::measure::{Tally, Tasks};
use crate::peers::Proxy;
use crate::tls::{CIPHER, GROUPS};

/// Starts clients that resume one session, again and again, as long as somebody has the tally.
pub fn start(proxy: &Proxy, at_a_time: usize, tally: &Arc<Tally>, tasks: &mut Tasks) -> Result<()> {
    let session = Arc::new(session_of(proxy)?);
    for _ in 0..at_a_time {
        let (session, address) = (Arc::clone(&session), proxy.address);
        let tally = Arc::downgrade(tally);
        tasks.spawn_blocking(move || closed_loop(address, &session, &tally));
    }
    Ok(())
}

/// A file with a session that the proxy has given us. It comes with an answer: some servers send
/// tickets only with their first data.
fn session_of(proxy: &Proxy) -> Result<PathBuf> {
    let file = proxy.folder().join("session");
    let mut command = s_client(proxy.address);
    command.arg("-ign_eof").arg("-sess_out").arg(&file);
    let request = Request::get_and_close("/128", &proxy.cookie);
    run(command, request.text())?;
    Ok(file)
}

fn closed_loop(address: SocketAddr, session: &Path, tally: &Weak<Tally>) -> Result<()> {
    while let Some(tally) = tally.upgrade() {
        let mut command = s_client(address);
        command.arg("-sess_in").arg(session);
        // At the end of its input it says goodbye and waits for the proxy's.
        let output = run(command, "")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !text.contains("Reused, TLSv1.3") {
            return Err(format!("the session was not resumed:\n{text}").into());
        }
        tally.answered();
    }
    Ok(())
}

fn s_client(address: SocketAddr) -> Command {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string()]);
    command.args(["-tls1_3", "-groups", GROUPS, "-ciphersuites", CIPHER]);
    command.args(["-servername", "localhost", "-alpn", "http/1.1"]);
    // Reading all authorities and a configuration would take it longer than the handshake.
    command.args(["-no-CAfile", "-no-CApath", "-no-CAstore"]);
    command.env("OPENSSL_CONF", "/dev/null");
    command
}

fn run(mut command: Command, input: &str) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdin = child.stdin.take();
    stdin.ok_or("no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => Ok(output),
        false => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}
