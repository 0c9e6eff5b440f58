//! Logins, as many as the hashing threads take.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::time::sleep;

use crate::cases::Case;
use crate::certificates::Kind;
use crate::http1::{Client, Request};
use crate::measure::{Tasks, until_broken};
use crate::options::Options;
use crate::peers::{Peer, Proxy, USER, World};
use crate::portcullis::{Extra, PASSWORD};
use crate::report::Table;
use crate::stats::Spread;
use crate::tls::{Connector, Protocol};
use crate::{Result, cpu};

const CLIENTS: usize = 8;

/// What became of logins.
#[derive(Debug, Default)]
pub struct Count {
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl Count {
    fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (accepted, refused) = (self.accepted(), self.refused());
        write!(
            f,
            "{accepted} logins were accepted and {refused} answered with 503"
        )
    }
}

/// Logs in with the right password, 8 clients at a time.
pub async fn run(world: &World, options: &Options) -> Result<Table> {
    let extra = Extra::default();
    let proxy = Proxy::start_checked(world, Peer::Portcullis, Kind::Ecdsa, &extra).await?;
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        eprintln!("round {}: logins", round + 1);
        let measured = one(&proxy, options).await;
        rounds.push(measured.map_err(|error| proxy.blame(&*error))?);
    }
    let columns = ["proxy", "200 1/s", "min..max", "503 1/s", "ms each"];
    let mut table = Table::new(Case::Logins, &columns);
    let accepted = Spread::of(rounds.iter().map(|it| it.accepted));
    table.row([
        "portcullis".to_owned(),
        format!("{:.1}", accepted.median),
        format!("{:.1}..{:.1}", accepted.min, accepted.max),
        format!(
            "{:.1}",
            Spread::of(rounds.iter().map(|it| it.refused)).median
        ),
        format!("{:.1}", Spread::of(rounds.iter().map(|it| it.each)).median),
    ]);
    table.note("argon2id with 19 MiB and two passes; core time.".to_owned());
    Ok(table)
}

/// One measurement: logins a second, and milliseconds of core time for each.
struct Measured {
    accepted: f64,
    refused: f64,
    each: f64,
}

async fn one(proxy: &Proxy, options: &Options) -> Result<Measured> {
    let count = Arc::new(Count::default());
    let mut tasks = start(proxy, CLIENTS, &count)?;
    let processes = proxy.process.processes()?;
    let (begun, before) = (Instant::now(), cpu::nanoseconds(&processes)?);
    until_broken(&mut tasks, sleep(options.seconds)).await?;
    let (seconds, after) = (begun.elapsed().as_secs_f64(), cpu::nanoseconds(&processes)?);
    let (accepted, refused) = (count.accepted() as f64, count.refused() as f64);
    Ok(Measured {
        accepted: accepted / seconds,
        refused: refused / seconds,
        each: (after - before) as f64 / 1e6 / accepted,
    })
}

/// Starts clients that log in without a pause.
pub fn start(proxy: &Proxy, clients: usize, count: &Arc<Count>) -> Result<Tasks> {
    let connector = Connector::new(Protocol::Http1)?;
    let mut tasks = Tasks::new();
    for _ in 0..clients {
        let (connector, address) = (connector.clone(), proxy.address);
        let count = Arc::clone(count);
        tasks.spawn(async move {
            let mut client = Client::connect(&connector, address).await?;
            let request = Request::login(USER, PASSWORD);
            loop {
                let counter = match client.ask(&request, |_| ()).await? {
                    200 => &count.accepted,
                    503 => &count.refused,
                    other => return Err(format!("a login was answered with {other}").into()),
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    Ok(tasks)
}
