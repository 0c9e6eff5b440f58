//! What a request costs Portcullis when there is much of something, beside the same with little.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::cases::Case;
use crate::certificates::Kind;
use crate::http1::{self, Client, Request};
use crate::measure::{Sample, Tally, Tasks, measure};
use crate::options::Options;
use crate::peers::{Peer, Proxy, World};
use crate::portcullis::{Extra, log_in_with, name_of};
use crate::report::{Table, goal};
use crate::stats::Spread;
use crate::tls::{Connector, Protocol};
use crate::{Result, handshakes};

const CONNECTIONS: usize = 32;

const FEW_ROUTES: usize = 10;
/// As many as a configuration may have.
const MANY_ROUTES: usize = 10_000;

const FEW_SESSIONS: usize = 1_000;
const MANY_SESSIONS: usize = 100_000;

const FEW_CERTIFICATES: usize = 1;
const MANY_CERTIFICATES: usize = 1_000;

/// Handshakes at a time.
const HANDSHAKES: usize = 8;

/// How much more the many may cost.
const GOAL: f64 = 1.05;

/// A Portcullis and what it is asked for.
struct Side {
    name: String,
    proxy: Proxy,
    load: Load,
}

/// What is asked for in turn.
enum Load {
    Requests(Arc<[Request]>),
    /// Full handshakes for these names.
    Handshakes(Arc<[String]>),
}

/// With few routes and with many; the last of them matches.
pub async fn routes(world: &World, options: &Options) -> Result<Table> {
    let side = async |routes| {
        let extra = Extra {
            // Every configuration has one already: the one that matches.
            routes: routes - 1,
            ..Extra::default()
        };
        let proxy = Proxy::start_checked(world, Peer::Portcullis, Kind::Ecdsa, &extra).await?;
        Result::Ok(Side {
            name: format!("{routes} routes"),
            load: Load::Requests([Request::get("/128", Some(&proxy.cookie))].into()),
            proxy,
        })
    };
    let sides = [side(FEW_ROUTES).await?, side(MANY_ROUTES).await?];
    compared(Case::Routes, options, &sides).await
}

/// With few people logged in and with many; their sessions are used in turn.
pub async fn sessions(world: &World, options: &Options) -> Result<Table> {
    let side = async |sessions| {
        let extra = Extra {
            cheap_logins: true,
            ..Extra::default()
        };
        let proxy = Proxy::start_checked(world, Peer::Portcullis, Kind::Ecdsa, &extra).await?;
        eprintln!("sessions: {sessions} logins");
        let requests = log_in_often(&proxy, sessions).await;
        Result::Ok(Side {
            name: format!("{sessions} sessions"),
            load: Load::Requests(requests.map_err(|error| proxy.blame(&*error))?.into()),
            proxy,
        })
    };
    let sides = [side(FEW_SESSIONS).await?, side(MANY_SESSIONS).await?];
    compared(Case::Sessions, options, &sides).await
}

/// With few certificates and with many; they are asked for by name in turn.
pub async fn certificates(world: &World, options: &Options) -> Result<Table> {
    let side = async |certificates| {
        let extra = Extra {
            certificates,
            ..Extra::default()
        };
        let proxy = Proxy::start_checked(world, Peer::Portcullis, Kind::Ecdsa, &extra).await?;
        let ready_after = proxy.ready_after.as_secs_f64() * 1e3;
        Result::Ok(Side {
            name: format!("{certificates} certificates, ready after {ready_after:.0} ms"),
            load: Load::Handshakes((0..certificates).map(name_of).collect()),
            proxy,
        })
    };
    let sides = [
        side(FEW_CERTIFICATES).await?,
        side(MANY_CERTIFICATES).await?,
    ];
    compared(Case::Certificates, options, &sides).await
}

/// Requests with the cookies of so many new sessions.
async fn log_in_often(proxy: &Proxy, sessions: usize) -> Result<Vec<Request>> {
    let connector = Connector::new(Protocol::Http1)?;
    let mut tasks = JoinSet::new();
    for number in 0..CONNECTIONS {
        let (connector, address) = (connector.clone(), proxy.address);
        let share = sessions / CONNECTIONS + usize::from(number < sessions % CONNECTIONS);
        tasks.spawn(async move {
            let mut client = Client::connect(&connector, address).await?;
            let mut requests = Vec::new();
            for _ in 0..share {
                let cookie = log_in_with(&mut client).await?;
                requests.push(Request::get("/128", Some(&cookie)));
            }
            Result::Ok(requests)
        });
    }
    let mut all = Vec::new();
    while let Some(requests) = tasks.join_next().await {
        all.extend(requests??);
    }
    Ok(all)
}

async fn compared(case: Case, options: &Options, sides: &[Side; 2]) -> Result<Table> {
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        eprintln!("round {}: {}", round + 1, case.name());
        // Whoever is second finds a warmer machine.
        let pair = if round % 2 == 0 {
            [
                one(&sides[0], options).await?,
                one(&sides[1], options).await?,
            ]
        } else {
            let many = one(&sides[1], options).await?;
            [one(&sides[0], options).await?, many]
        };
        rounds.push(pair);
    }
    Ok(table(case, sides, &rounds))
}

async fn one(side: &Side, options: &Options) -> Result<Sample> {
    let connector = Connector::new(Protocol::Http1)?;
    let tally = Arc::new(Tally::default());
    let mut tasks = Tasks::new();
    let address = side.proxy.address;
    match &side.load {
        Load::Requests(requests) => {
            for number in 0..CONNECTIONS {
                let first = number * requests.len() / CONNECTIONS;
                let (connector, tally) = (connector.clone(), Arc::clone(&tally));
                let requests = Arc::clone(requests);
                tasks.spawn(http1::closed_loop(
                    connector, address, requests, first, tally,
                ));
            }
        }
        Load::Handshakes(names) => {
            for number in 0..HANDSHAKES {
                let first = number * names.len() / HANDSHAKES;
                let (names, tally) = (Arc::clone(names), Arc::clone(&tally));
                let load = handshakes::closed_loop_by_name(address, names, first, tally);
                tasks.spawn(load);
            }
        }
    }
    let sample = measure(&side.proxy, &mut tasks, &tally, None, options.seconds).await;
    sample.map_err(|error| side.proxy.blame(&*error).into())
}

fn table(case: Case, sides: &[Side; 2], rounds: &[[Sample; 2]]) -> Table {
    let mut table = Table::new(case, &["portcullis", "ratio", "min..max", "µs", "goal"]);
    for (index, side) in sides.iter().enumerate() {
        let ratio = |round: &[Sample; 2]| round[index].microseconds / round[0].microseconds;
        let ratio = Spread::of(rounds.iter().map(ratio));
        let each = Spread::of(rounds.iter().map(|round| round[index].microseconds));
        let wanted = (index == 1).then(|| goal(&format!("{GOAL:.2}"), ratio.median <= GOAL));
        table.row([
            side.name.clone(),
            format!("{:.2}", ratio.median),
            format!("{:.2}..{:.2}", ratio.min, ratio.max),
            format!("{:.1}", each.median),
            wanted.unwrap_or_default(),
        ]);
    }
    table
}
