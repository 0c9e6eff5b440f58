//! How long it takes from the start of a proxy until it serves.

use crate::Result;
use crate::cases::Case;
use crate::certificates::Kind;
use crate::options::Options;
use crate::peers::{Peer, Proxy, World};
use crate::portcullis::Extra;
use crate::report::{Table, goal};
use crate::stats::Spread;

const STARTS: usize = 10;

const GOAL_MS: f64 = 100.0;

/// Starts each proxy ten times.
pub fn run(world: &World, options: &Options) -> Result<Table> {
    let columns = ["proxy", "ms", "min..max", "goal"];
    let mut table = Table::new(Case::Start, &columns);
    for peer in options.peers() {
        eprintln!("start: {}", peer.name());
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let proxy = Proxy::start(world, peer, Kind::Ecdsa, &Extra::default())?;
            times.push(proxy.ready_after.as_secs_f64() * 1e3);
        }
        let times = Spread::of(times);
        let wanted = (peer == Peer::Portcullis)
            .then(|| goal(&format!("below {GOAL_MS:.0}"), times.median < GOAL_MS));
        table.row([
            peer.name().to_owned(),
            format!("{:.1}", times.median),
            format!("{:.1}..{:.1}", times.min, times.max),
            wanted.unwrap_or_default(),
        ]);
    }
    table.note(
        "Portcullis is ready when it says so, the others when they accept a connection.".into(),
    );
    Ok(table)
}
