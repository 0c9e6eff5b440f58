//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::cases::Case;
use crate::peers::Peer;

/// Portcullis beside nginx and HAProxy: what each request, connection and handshake costs
///
/// Every proxy is a real process with one worker, on a core of its own; the load and the backend
/// have the others. The cost of a request is what the proxy's tasks spent on that core, by the
/// kernel's count, and the figure that matters is its ratio to plain nginx in the same round.
#[derive(Debug, Parser)]
#[command(name = "benches/side-by-side", bin_name = "benches/side-by-side")]
pub struct Options {
    /// How often everything is measured, one proxy after the other
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,

    /// How long each measurement takes, after its warm-up
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub seconds: Duration,

    /// Only these cases
    #[arg(long, value_delimiter = ',', value_name = "CASE")]
    pub only: Vec<Case>,

    /// Only these proxies; nginx is always one of them
    #[arg(long, value_delimiter = ',', value_name = "PEER")]
    peers: Vec<Peer>,

    /// Idle connections to the backend that nginx keeps
    ///
    /// More requests than these at one time make it open new ones.
    #[arg(long, default_value_t = 64, value_name = "NUMBER")]
    pub nginx_keepalive: usize,

    /// Says what the cases are, and ends
    #[arg(long)]
    pub list: bool,

    /// The binary to measure
    #[arg(long, env = "PORTCULLIS", default_value = env!("CARGO_BIN_EXE_portcullis"), hide_default_value = true)]
    pub portcullis: PathBuf,

    /// What `cargo bench` says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// The cases that were asked for, in the order of the list.
    pub fn cases(&self) -> Vec<Case> {
        let is_wanted = |case: &Case| self.only.is_empty() || self.only.contains(case);
        let all = Case::value_variants().iter().copied();
        all.filter(is_wanted).collect()
    }

    /// The proxies that were asked for, without the floor, which is no whole proxy.
    pub fn peers(&self) -> Vec<Peer> {
        let all = self.peers_and_floor();
        all.into_iter().filter(|&it| it != Peer::Floor).collect()
    }

    /// The proxies that were asked for; nginx is the measure of the others.
    pub fn peers_and_floor(&self) -> Vec<Peer> {
        let is_wanted = |peer: &Peer| {
            *peer == Peer::Nginx || self.peers.is_empty() || self.peers.contains(peer)
        };
        Peer::ALL.into_iter().filter(is_wanted).collect()
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.1..=600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("expected 0.1 to 600".into())
    }
}
