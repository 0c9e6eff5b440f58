//! Memory: of a proxy at rest, of a busy one, and of each connection that does nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Result;
use crate::cases::Case;
use crate::certificates::Kind;
use crate::http1::{Client, Request};
use crate::latency::{Pace, at_pace};
use crate::measure::Tasks;
use crate::options::Options;
use crate::peers::{Peer, Proxy, World};
use crate::portcullis::Extra;
use crate::process::Process;
use crate::report::{Table, goal};
use crate::stats::Spread;
use crate::tls::{Connector, Protocol};

const FEW: usize = 1000;
const MANY: usize = 3000;

/// How many connect at the same time: fewer than any proxy's backlog.
const AT_A_TIME: usize = 32;

/// Memory that changes no more for this long is settled.
const SETTLED: Duration = Duration::from_millis(200);

/// What is in use, even if it never settles.
const PATIENCE: Duration = Duration::from_secs(5);

const IDLE_GOAL_KIB: f64 = 10.0;
const AT_REST_GOAL_MIB: f64 = 20.0;
const BUSY_GOAL_MIB: f64 = 40.0;

/// What each further idle connection takes.
pub async fn idle(world: &World, options: &Options) -> Result<Table> {
    let measure = async |peer| {
        let extra = Extra::default();
        let proxy = Proxy::start_checked(world, peer, Kind::Ecdsa, &extra).await?;
        let each = each_connection(&proxy).await;
        each.map_err(|error| proxy.blame(&*error).into())
    };
    let rounds = each_round(options, Case::IdleMemory, measure).await?;
    let mut table = Table::new(Case::IdleMemory, &["proxy", "KiB each", "min..max", "goal"]);
    for peer in options.peers() {
        let each = Spread::of(rounds[&peer].iter().copied());
        let wanted = (peer == Peer::Portcullis)
            .then(|| goal(&format!("{IDLE_GOAL_KIB:.0}"), each.median <= IDLE_GOAL_KIB));
        table.row([
            peer.name().to_owned(),
            format!("{:.1}", each.median),
            format!("{:.1}..{:.1}", each.min, each.max),
            wanted.unwrap_or_default(),
        ]);
    }
    Ok(table)
}

/// KiB for each connection between the few and the many.
async fn each_connection(proxy: &Proxy) -> Result<f64> {
    let mut open = Vec::new();
    connect_until(proxy, &mut open, FEW).await?;
    let few = settled(&proxy.process).await?;
    connect_until(proxy, &mut open, MANY).await?;
    let many = settled(&proxy.process).await?;
    Ok((many - few) / (MANY - FEW) as f64)
}

async fn connect_until(proxy: &Proxy, open: &mut Vec<Client>, count: usize) -> Result<()> {
    let connector = Connector::new(Protocol::Http1)?;
    let request = Request::get("/128", Some(&proxy.cookie));
    while open.len() < count {
        let mut batch = JoinSet::new();
        for _ in 0..AT_A_TIME.min(count - open.len()) {
            let (connector, request) = (connector.clone(), request.clone());
            let address = proxy.address;
            batch.spawn(async move {
                let mut client = Client::connect(&connector, address).await?;
                client.ask_well(&request).await?;
                Result::Ok(client)
            });
        }
        while let Some(connected) = batch.join_next().await {
            open.push(connected??);
        }
    }
    Ok(())
}

/// What a proxy takes at rest, and while many connections ask for a little.
pub async fn resident(world: &World, options: &Options) -> Result<Table> {
    let measure = async |peer| {
        let mut proxy = Proxy::start(world, peer, Kind::Ecdsa, &Extra::default())?;
        let at_rest = settled(&proxy.process).await?;
        proxy.log_in_and_check().await?;
        let busy = while_busy(&proxy, options.seconds).await;
        let busy = busy.map_err(|error| proxy.blame(&*error))?;
        Ok((at_rest / 1024.0, busy / 1024.0))
    };
    let rounds = each_round(options, Case::Resident, measure).await?;
    let columns = ["proxy", "MiB at rest", "goal", "MiB busy", "goal"];
    let mut table = Table::new(Case::Resident, &columns);
    for peer in options.peers() {
        let at_rest = Spread::of(rounds[&peer].iter().map(|it| it.0)).median;
        let busy = Spread::of(rounds[&peer].iter().map(|it| it.1)).median;
        let wanted = |value: f64, below: f64| {
            let is_ours = peer == Peer::Portcullis;
            let wanted = is_ours.then(|| goal(&format!("below {below:.0}"), value < below));
            wanted.unwrap_or_default()
        };
        table.row([
            peer.name().to_owned(),
            format!("{at_rest:.1}"),
            wanted(at_rest, AT_REST_GOAL_MIB),
            format!("{busy:.1}"),
            wanted(busy, BUSY_GOAL_MIB),
        ]);
    }
    table.note("Busy is the most there was with 1,000 connections and 1,000 requests/s.".into());
    Ok(table)
}

/// The most KiB there were while 1,000 connections made 1,000 requests a second.
async fn while_busy(proxy: &Proxy, time: Duration) -> Result<f64> {
    let pace = Pace {
        connections: FEW,
        rate: 1000.0,
    };
    let mut most: f64 = 0.0;
    let watch = async {
        loop {
            most = most.max(resident_kib(&proxy.process)?);
            sleep(Duration::from_millis(20)).await;
        }
    };
    let mut nobody_else = Tasks::new();
    let ended: Result<()> = tokio::select! {
        done = at_pace(proxy, pace, time, &mut nobody_else) => done.map(|_| ()),
        failed = watch => failed,
    };
    ended.map(|()| most)
}

/// Every peer in every round, in an order that turns.
async fn each_round<T>(
    options: &Options,
    case: Case,
    measure: impl AsyncFn(Peer) -> Result<T>,
) -> Result<HashMap<Peer, Vec<T>>> {
    let peers = options.peers();
    let mut values: HashMap<Peer, Vec<T>> = HashMap::new();
    for round in 0..options.rounds as usize {
        eprintln!("round {}: {}", round + 1, case.name());
        for turn in 0..peers.len() {
            let peer = peers[(turn + round) % peers.len()];
            values.entry(peer).or_default().push(measure(peer).await?);
        }
    }
    Ok(values)
}

/// What is resident once it changes no more.
async fn settled(process: &Process) -> Result<f64> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = resident_kib(process)?;
    loop {
        sleep(SETTLED).await;
        let now = resident_kib(process)?;
        if now == last || Instant::now() > deadline {
            return Ok(now);
        }
        last = now;
    }
}

/// KiB that a proxy's processes have in memory. What they share counts for each of them.
fn resident_kib(process: &Process) -> Result<f64> {
    let mut sum = 0.0;
    for pid in process.processes()? {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        sum += number.ok_or("no VmRSS")?.parse::<f64>()?;
    }
    Ok(sum)
}
