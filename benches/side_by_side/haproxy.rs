//! HAProxy as it is measured: one thread, no log, everything kept alive.

use crate::Result;
use crate::peers::{MADE_UP_SESSION, Peer, Place, USER};
use crate::portcullis::COOKIE;

/// Writes the configuration and says what to run.
pub fn prepare(place: &Place<'_>, peer: Peer) -> Result<Vec<String>> {
    let file = place.folder.join("haproxy.cfg");
    std::fs::write(&file, config(place, peer)?)?;
    let command = ["haproxy", "-db", "-f"].map(str::to_owned);
    let mut command = Vec::from(command);
    command.push(file.display().to_string());
    Ok(command)
}

/// The cipher suites are in the order of the others, which take what the client prefers.
const GLOBAL: &str = "\
global
  nbthread 1
  maxconn 8000
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256
defaults
  mode http
  http-reuse always
  timeout connect 5s
  timeout client 600s
  timeout server 60s
  timeout http-keep-alive 600s
";

fn config(place: &Place<'_>, peer: Peer) -> Result<String> {
    let rules = match peer {
        Peer::HaproxyMap => gate_rules(place)?,
        _ => String::new(),
    };
    Ok(format!(
        "{GLOBAL}\
         frontend front\n  \
         bind {address} ssl crt {both} alpn h2,http/1.1 ssl-min-ver TLSv1.2 curves X25519:P-256\n\
         {rules}  \
         default_backend back\n\
         backend back\n  \
         server one {backend}\n",
        address = place.address,
        both = place.certificate.both.display(),
        backend = place.backend,
    ))
}

fn gate_rules(place: &Place<'_>) -> Result<String> {
    let map = place.folder.join("sessions.map");
    std::fs::write(&map, format!("{MADE_UP_SESSION} {USER}\n"))?;
    Ok(format!(
        "  http-request set-var(txn.user) req.cook({COOKIE}),map({map})\n  \
         http-request deny deny_status 401 unless {{ var(txn.user) -m found }}\n  \
         http-request set-header X-Forwarded-User %[var(txn.user)]\n",
        map = map.display(),
    ))
}
