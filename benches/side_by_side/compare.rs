//! The comparisons: core time of each proxy for the same work, as a ratio to plain nginx.
//!
//! A machine that others use is faster at one time and slower at another. So the rounds are
//! interleaved: each measures every case on every proxy, in an order that turns, and a ratio is
//! taken within a round only.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cases::Case;
use crate::certificates::Kind;
use crate::http1::{self, Request};
use crate::measure::{Sample, Tally, Tasks, measure};
use crate::options::Options;
use crate::peers::{Peer, Proxy, World};
use crate::portcullis::Extra;
use crate::report::{Table, goal};
use crate::stats::Spread;
use crate::tls::{Connector, Protocol};
use crate::{Outcome, Result, handshakes, http2, resumption};

const KIB_64: u64 = 64 << 10;
const MIB_10: u64 = 10 << 20;

/// A load on a proxy.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// Connections, and what they ask for.
    Http1(usize, What),
    /// Connections, streams on each, and what they ask for.
    Http2(usize, usize, What),
    /// How many at a time.
    Handshakes(usize),
    /// The same with the ticket of an earlier connection.
    Resumptions(usize),
}

impl Load {
    /// Whether the floor understands it.
    const fn is_for_floor(self) -> bool {
        matches!(self, Self::Http1(..) | Self::Handshakes(_))
    }
}

#[derive(Clone, Copy, Debug)]
enum What {
    Get(&'static str),
    /// A large body and its size.
    GetLarge(&'static str, u64),
    Upload(u64),
}

impl What {
    const fn large_body(self) -> Option<u64> {
        match self {
            Self::Get(_) => None,
            Self::GetLarge(_, size) | Self::Upload(size) => Some(size),
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Get(path) | Self::GetLarge(path, _) => path,
            Self::Upload(_) => "/upload",
        }
    }
}

/// A case that is a comparison.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    case: Case,
    load: Load,
    certificate: Kind,
    /// The ratio to nginx that Portcullis should stay below.
    goal: Option<f64>,
}

impl Comparison {
    const fn of(case: Case) -> Option<Self> {
        let large = What::GetLarge("/64k", KIB_64);
        let huge = What::GetLarge("/10m", MIB_10);
        let (load, goal) = match case {
            Case::H1 => (Load::Http1(32, What::Get("/128")), Some(0.75)),
            Case::H2 => (Load::Http2(32, 16, What::Get("/128")), Some(0.70)),
            Case::Body64k => (Load::Http1(16, large), Some(0.65)),
            Case::Body10m => (Load::Http1(4, huge), Some(0.60)),
            Case::Upload10m => (Load::Http1(4, What::Upload(MIB_10)), None),
            Case::H2Body64k => (Load::Http2(16, 1, large), None),
            Case::H2Body10m => (Load::Http2(4, 1, huge), None),
            Case::HandshakeEcdsa => (Load::Handshakes(8), Some(0.75)),
            Case::HandshakeRsa => (Load::Handshakes(8), None),
            Case::HandshakeResumed => (Load::Resumptions(8), Some(0.75)),
            _ => return None,
        };
        let certificate = match case {
            Case::HandshakeRsa => Kind::Rsa,
            _ => Kind::Ecdsa,
        };
        Some(Self {
            case,
            load,
            certificate,
            goal,
        })
    }
}

/// Whether a case is a comparison.
pub const fn is_for(case: Case) -> bool {
    Comparison::of(case).is_some()
}

/// Measures those of the cases that are comparisons.
pub async fn run(world: &World, options: &Options, cases: &[Case]) -> Vec<Outcome> {
    let comparisons = cases.iter().filter_map(|&case| Comparison::of(case));
    let mut running: Vec<_> = comparisons.map(Running::new).collect();
    if running.is_empty() {
        return Vec::new();
    }
    let mut fleet = Fleet::new(world);
    for round in 0..options.rounds as usize {
        for comparison in running.iter_mut().filter(|it| it.failure.is_none()) {
            eprintln!("round {}: {}", round + 1, comparison.is.case.name());
            let peers = match comparison.is.load.is_for_floor() {
                true => options.peers_and_floor(),
                false => options.peers(),
            };
            let measured = comparison.round(&mut fleet, options, &peers, round).await;
            comparison.failure = measured.err();
        }
    }
    if let Some(proxy) = fleet.proxies.get(&(Peer::Portcullis, Kind::Ecdsa)) {
        match proxy.dropped_lines() {
            Ok(lines) => println!("Lines dropped from Portcullis' access log: {lines}\n"),
            Err(error) => println!("{}\n", proxy.blame(&*error)),
        }
    }
    running.into_iter().map(Running::outcome).collect()
}

/// The proxies that have been needed so far. They run on: an idle proxy takes no core time.
struct Fleet<'w> {
    world: &'w World,
    proxies: HashMap<(Peer, Kind), Proxy>,
}

impl<'w> Fleet<'w> {
    fn new(world: &'w World) -> Self {
        let proxies = HashMap::new();
        Self { world, proxies }
    }

    async fn launch(&mut self, peer: Peer, kind: Kind) -> Result<()> {
        if !self.proxies.contains_key(&(peer, kind)) {
            let extra = Extra::default();
            let proxy = Proxy::start_checked(self.world, peer, kind, &extra).await?;
            self.proxies.insert((peer, kind), proxy);
        }
        Ok(())
    }
}

/// A comparison with what has been measured so far.
struct Running {
    is: Comparison,
    rounds: Vec<HashMap<Peer, Sample>>,
    failure: Option<crate::Error>,
}

impl Running {
    fn new(is: Comparison) -> Self {
        Self {
            is,
            rounds: Vec::new(),
            failure: None,
        }
    }

    async fn round(
        &mut self,
        fleet: &mut Fleet<'_>,
        options: &Options,
        peers: &[Peer],
        round: usize,
    ) -> Result<()> {
        let mut samples = HashMap::new();
        for turn in 0..peers.len() {
            let peer = peers[(turn + round) % peers.len()];
            fleet.launch(peer, self.is.certificate).await?;
            let proxy = &fleet.proxies[&(peer, self.is.certificate)];
            let sample = one(fleet.world, proxy, self.is.load, options).await;
            samples.insert(peer, sample.map_err(|error| proxy.blame(&*error))?);
        }
        self.rounds.push(samples);
        Ok(())
    }

    fn outcome(self) -> Outcome {
        let result = match self.failure {
            Some(error) => Err(error),
            None => Ok(table(self.is, &self.rounds)),
        };
        (self.is.case, result)
    }
}

async fn one(world: &World, proxy: &Proxy, load: Load, options: &Options) -> Result<Sample> {
    let tally = Arc::new(Tally::default());
    let mut tasks = start(proxy, load, &tally)?;
    let _opener = match load {
        Load::Resumptions(count) => {
            Some(resumption::start(world, proxy, count, &tally, &mut tasks).await?)
        }
        _ => None,
    };
    let large_body = match load {
        Load::Http1(_, what) | Load::Http2(_, _, what) => what.large_body(),
        Load::Handshakes(_) | Load::Resumptions(_) => None,
    };
    measure(proxy, &mut tasks, &tally, large_body, options.seconds).await
}

fn start(proxy: &Proxy, load: Load, tally: &Arc<Tally>) -> Result<Tasks> {
    let mut tasks = Tasks::new();
    let (address, cookie) = (proxy.address, proxy.cookie.as_str());
    match load {
        Load::Http1(connections, what) => {
            let connector = Connector::new(Protocol::Http1)?;
            let request = match what {
                What::Upload(size) => {
                    Request::upload(what.path(), Some(cookie), usize::try_from(size)?)
                }
                _ => Request::get(what.path(), Some(cookie)),
            };
            let requests: Arc<[Request]> = [request].into();
            for _ in 0..connections {
                let (connector, requests) = (connector.clone(), Arc::clone(&requests));
                let tally = Arc::clone(tally);
                tasks.spawn(http1::closed_loop(connector, address, requests, 0, tally));
            }
        }
        Load::Http2(connections, streams, what) => {
            let connector = Connector::new(Protocol::Http2)?;
            let request = http2::get(what.path(), cookie)?;
            for _ in 0..connections {
                let (connector, request) = (connector.clone(), request.clone());
                let tally = Arc::clone(tally);
                tasks.spawn(http2::closed_loop(
                    connector, address, streams, request, tally,
                ));
            }
        }
        Load::Handshakes(at_a_time) => {
            for _ in 0..at_a_time {
                tasks.spawn(handshakes::closed_loop(address, Arc::clone(tally)));
            }
        }
        // These are started with their opener.
        Load::Resumptions(_) => {}
    }
    Ok(tasks)
}

fn table(comparison: Comparison, rounds: &[HashMap<Peer, Sample>]) -> Table {
    let columns = ["proxy", "ratio", "min..max", "µs", "busy", "1/s", "goal"];
    let mut table = Table::new(comparison.case, &columns);
    let Some(first) = rounds.first() else {
        return table;
    };
    for peer in Peer::ALL
        .into_iter()
        .filter(|peer| first.contains_key(peer))
    {
        let ratio = |round: &HashMap<Peer, Sample>| {
            round[&peer].microseconds / round[&Peer::Nginx].microseconds
        };
        let ratio = Spread::of(rounds.iter().map(ratio));
        let median_of = |value: fn(&Sample) -> f64| {
            Spread::of(rounds.iter().map(|it| value(&it[&peer]))).median
        };
        let wanted = comparison.goal.filter(|_| peer == Peer::Portcullis);
        table.row([
            peer.name().to_owned(),
            format!("{:.2}", ratio.median),
            format!("{:.2}..{:.2}", ratio.min, ratio.max),
            format!("{:.1}", median_of(|sample| sample.microseconds)),
            format!("{:.0} %", median_of(|sample| sample.busy * 100.0)),
            format!("{:.0}", median_of(|sample| sample.requests)),
            wanted.map_or_else(String::new, |wanted| {
                goal(&format!("{wanted:.2}"), ratio.median <= wanted)
            }),
        ]);
    }
    table
}
