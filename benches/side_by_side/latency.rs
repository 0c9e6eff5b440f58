//! How long answers take at a fixed rate.
//!
//! The load is open: every request has a moment at which it should be sent, whatever became of
//! those before it, and its latency counts from that moment. A load that waits for an answer
//! before it sends the next request would leave out just those that a stall delays (coordinated
//! omission).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cases::Case;
use crate::certificates::Kind;
use crate::http1::{self, Client, Request};
use crate::measure::{Tally, Tasks, measure, until_broken};
use crate::options::Options;
use crate::peers::{Peer, Proxy, World};
use crate::portcullis::Extra;
use crate::report::{Table, goal};
use crate::stats::{Percentiles, Spread};
use crate::tls::{Connector, Protocol};
use crate::{Result, handshakes, logins};

const CONNECTIONS: usize = 64;

/// What comes first is not counted: caches and buffers are still cold.
const WARM_UP: Duration = Duration::from_millis(300);

/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who is compared.
const PEERS: [Peer; 3] = [Peer::Nginx, Peer::Haproxy, Peer::Portcullis];

/// Clients that disturb the others.
const LOGINS: usize = 16;
const HANDSHAKES: usize = 4;

/// A fixed rate over some connections.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub connections: usize,
    /// Requests a second, by all connections together.
    pub rate: f64,
}

/// What was measured at a pace, in microseconds.
pub struct Paced {
    latency: Percentiles,
    /// How late the load itself was, at the 99th percentile: with too little core time of its own
    /// it measures itself.
    late: f64,
}

/// Latencies of nginx, HAProxy and Portcullis at half of what nginx can do.
pub async fn compared(
    world: &World,
    options: &Options,
    case: Case,
    disturbed: bool,
) -> Result<Table> {
    let peers: Vec<Peer> = options.peers();
    let peers: Vec<Peer> = PEERS.into_iter().filter(|it| peers.contains(it)).collect();
    let mut proxies = Vec::new();
    for &peer in &peers {
        let extra = Extra::default();
        proxies.push(Proxy::start_checked(world, peer, Kind::Ecdsa, &extra).await?);
    }
    let pace = half_of(&proxies[0], options).await?;
    let mut rounds: HashMap<Peer, Vec<Paced>> = HashMap::new();
    for round in 0..options.rounds as usize {
        eprintln!("round {}: {}", round + 1, case.name());
        for turn in 0..proxies.len() {
            let proxy = &proxies[(turn + round) % proxies.len()];
            let mut others = Tasks::new();
            for _ in 0..if disturbed { HANDSHAKES } else { 0 } {
                others.spawn(handshakes::closed_loop(proxy.address, Arc::default()));
            }
            let latencies = at_pace(proxy, pace, options.seconds, &mut others).await;
            let latencies = latencies.map_err(|error| proxy.blame(&*error))?;
            rounds.entry(proxy.peer).or_default().push(latencies);
        }
    }
    Ok(table_of_peers(case, pace, &peers, &rounds))
}

fn table_of_peers(
    case: Case,
    pace: Pace,
    peers: &[Peer],
    rounds: &HashMap<Peer, Vec<Paced>>,
) -> Table {
    let mut table = new_table(case, "proxy", pace);
    for peer in peers {
        // Only the undisturbed case has a goal, and HAProxy is its measure.
        let rival = rounds.get(&Peer::Haproxy);
        let rival = rival.filter(|_| case == Case::Latency && *peer == Peer::Portcullis);
        let wanted = rival.map(|rival| {
            let (ours, theirs) = (p99_of(&rounds[peer]).median, p99_of(rival).median);
            goal("p99 of haproxy", ours <= theirs)
        });
        table.row(cells(peer.name(), &rounds[peer], wanted));
    }
    table
}

/// Latencies of Portcullis at a quarter of what nginx can do, alone and while others log in.
pub async fn beside_logins(world: &World, options: &Options) -> Result<Table> {
    let extra = Extra::default();
    let nginx = Proxy::start_checked(world, Peer::Nginx, Kind::Ecdsa, &extra).await?;
    let mut pace = half_of(&nginx, options).await?;
    pace.rate /= 2.0;
    drop(nginx);

    let proxy = Proxy::start_checked(world, Peer::Portcullis, Kind::Ecdsa, &extra).await?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let count = Arc::new(logins::Count::default());
    for round in 0..options.rounds {
        eprintln!("round {}: latency-logins", round + 1);
        let blame = |error: crate::Error| proxy.blame(&*error);
        let alone = at_pace(&proxy, pace, options.seconds, &mut Tasks::new()).await;
        without.push(alone.map_err(blame)?);
        let mut others = logins::start(&proxy, LOGINS, &count)?;
        let disturbed = at_pace(&proxy, pace, options.seconds, &mut others).await;
        with.push(disturbed.map_err(blame)?);
    }
    let mut table = new_table(Case::LatencyLogins, "portcullis", pace);
    table.row(cells("alone", &without, None));
    let is_met = p99_of(&with).median <= 1.5 * p99_of(&without).median;
    let wanted = goal("p99 1.5 x", is_met);
    table.row(cells("with logins", &with, Some(wanted)));
    table.note(format!("Meanwhile, {count}."));
    Ok(table)
}

fn new_table(case: Case, first: &str, pace: Pace) -> Table {
    let columns = [
        first,
        "p50",
        "p90",
        "p99",
        "min..max",
        "p99.9",
        "load late",
        "goal",
    ];
    let mut table = Table::new(case, &columns);
    table.note(format!(
        "Microseconds, at {:.0} requests/s over {} connections; min..max are of p99. The \
         load itself was late by no more than `load late` in 99 of 100 requests: where that is not \
         small, it had too little core time for its figures to mean much.",
        pace.rate, pace.connections
    ));
    table
}

fn cells(name: &str, rounds: &[Paced], wanted: Option<String>) -> [String; 8] {
    let median_of = |value: fn(&Paced) -> f64| {
        let median = Spread::of(rounds.iter().map(value)).median;
        format!("{median:.0}")
    };
    let p99 = p99_of(rounds);
    [
        name.to_owned(),
        median_of(|it| it.latency.p50),
        median_of(|it| it.latency.p90),
        format!("{:.0}", p99.median),
        format!("{:.0}..{:.0}", p99.min, p99.max),
        median_of(|it| it.latency.p999),
        median_of(|it| it.late),
        wanted.unwrap_or_default(),
    ]
}

fn p99_of(rounds: &[Paced]) -> Spread {
    Spread::of(rounds.iter().map(|it| it.latency.p99))
}

/// Half of the requests that this proxy can answer.
async fn half_of(nginx: &Proxy, options: &Options) -> Result<Pace> {
    let connector = Connector::new(Protocol::Http1)?;
    let requests: Arc<[Request]> = [Request::get("/128", Some(&nginx.cookie))].into();
    let tally = Arc::new(Tally::default());
    let mut tasks = Tasks::new();
    for _ in 0..CONNECTIONS {
        let (connector, requests) = (connector.clone(), Arc::clone(&requests));
        let tally = Arc::clone(&tally);
        tasks.spawn(http1::closed_loop(
            connector,
            nginx.address,
            requests,
            0,
            tally,
        ));
    }
    let sample = measure(nginx, &mut tasks, &tally, None, options.seconds).await?;
    Ok(Pace {
        connections: CONNECTIONS,
        rate: sample.requests / 2.0,
    })
}

/// Sends requests at a fixed rate while `others`, which may be nobody, do what they do.
pub async fn at_pace(
    proxy: &Proxy,
    pace: Pace,
    time: Duration,
    others: &mut Tasks,
) -> Result<Paced> {
    until_broken(others, scheduled(proxy, pace, time)).await?
}

async fn scheduled(proxy: &Proxy, pace: Pace, time: Duration) -> Result<Paced> {
    let clients = connect(proxy, pace.connections).await?;
    let request = Arc::new(Request::get("/128", Some(&proxy.cookie)));
    let begin = Instant::now() + Duration::from_millis(10);
    let counted_from = begin + WARM_UP;
    let mut schedules = Vec::new();
    let mut tasks = JoinSet::new();
    for client in clients {
        let (schedule, due) = unbounded_channel();
        schedules.push(schedule);
        let request = Arc::clone(&request);
        tasks.spawn(keep_schedule(client, request, due, counted_from));
    }
    let end = counted_from + time;
    // The schedules end here, and with them the connections, once all is answered.
    let late = dispatch(schedules, begin, end, pace.rate).await;
    let mut latencies = Vec::new();
    let collect = async {
        while let Some(ended) = tasks.join_next().await {
            latencies.extend(ended??);
        }
        Result::Ok(())
    };
    let in_time = timeout(PATIENCE, collect).await;
    in_time.map_err(|_| "it fell behind the rate and did not catch up")??;
    Ok(Paced {
        latency: Percentiles::of(latencies),
        late: Percentiles::of(late).p99,
    })
}

/// Connections that have each made one request.
async fn connect(proxy: &Proxy, connections: usize) -> Result<Vec<Client>> {
    let connector = Connector::new(Protocol::Http1)?;
    let request = Request::get("/128", Some(&proxy.cookie));
    let mut clients = Vec::new();
    for _ in 0..connections {
        let mut client = Client::connect(&connector, proxy.address).await?;
        client.ask_well(&request).await?;
        clients.push(client);
    }
    Ok(clients)
}

/// Hands out the moments, to one connection after the other, and says how late that was each time.
///
/// The runtime's own timers tick once a millisecond, which is longer than most answers take. So
/// this asks the clock all the time: between two looks at it the runtime looks for answers, and
/// the backend, which may share our core, gets its turn. That is exact to a few microseconds, and
/// takes nothing but time in which we have nothing to do.
async fn dispatch(
    schedules: Vec<UnboundedSender<Instant>>,
    begin: Instant,
    end: Instant,
    rate: f64,
) -> Vec<f64> {
    let mut late = Vec::new();
    for (number, schedule) in (0_u32..).zip(schedules.iter().cycle()) {
        let due = begin + Duration::from_secs_f64(f64::from(number) / rate);
        while Instant::now() < due {
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
        // A connection that takes no more is broken; its task says how.
        if due >= end || schedule.send(due).is_err() {
            break;
        }
        late.push(due.elapsed().as_secs_f64() * 1e6);
    }
    late
}

/// Sends each request when it is due, or as soon as the answer before it is there. Gives back the
/// latencies in microseconds.
async fn keep_schedule(
    mut client: Client,
    request: Arc<Request>,
    mut schedule: UnboundedReceiver<Instant>,
    counted_from: Instant,
) -> Result<Vec<f64>> {
    let mut latencies = Vec::new();
    while let Some(due) = schedule.recv().await {
        client.ask_well(&request).await?;
        if due >= counted_from {
            latencies.push(due.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(latencies)
}
