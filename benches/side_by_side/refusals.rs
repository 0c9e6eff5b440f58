//! How long a login takes that is refused, by why it is: whoever can tell the reasons apart by the
//! clock learns who has an account here (OWASP ASVS 6.3.8).

use std::time::Instant;

use crate::Result;
use crate::cases::Case;
use crate::certificates::Kind;
use crate::http1::{Client, Request};
use crate::options::Options;
use crate::peers::{Peer, Proxy, World};
use crate::portcullis::{Extra, Person};
use crate::report::Table;
use crate::stats::{Percentiles, Spread};
use crate::tls::{Connector, Protocol};

/// Refused logins of each kind in each round.
const TRIES: usize = 200;
/// Names of each kind: with fewer, the lockout would refuse them before that.
const NAMES: usize = 4;

/// All of them wrong; the first is what the others are compared with, the second what that says of
/// the machine.
const KINDS: [(&str, Person); 5] = [
    ("wrong password, argon2id", Person::Argon2id),
    ("the same again", Person::Argon2id),
    ("wrong password, bcrypt", Person::Bcrypt),
    ("disabled user", Person::Disabled),
    ("unknown user", Person::Unknown),
];

/// What each kind took, in milliseconds.
type Taken = [Vec<f64>; KINDS.len()];

/// Tries wrong passwords, of all kinds in turns.
pub async fn run(world: &World, options: &Options) -> Result<Table> {
    let extra = Extra {
        people: NAMES,
        ..Extra::default()
    };
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        eprintln!("round {}: refused logins", round + 1);
        // A new one each time: the old one knows these names by now.
        let proxy = Proxy::start_checked(world, Peer::Portcullis, Kind::Ecdsa, &extra).await?;
        let taken = one(&proxy).await;
        rounds.push(taken.map_err(|error| proxy.blame(&*error))?);
    }
    let columns = ["refused", "ms", "p90", "to the first", "min..max"];
    let mut table = Table::new(Case::LoginTiming, &columns);
    for (kind, (name, _)) in KINDS.iter().enumerate() {
        let all = rounds.iter().flat_map(|taken| taken[kind].iter().copied());
        let all = Percentiles::of(all.collect());
        let ratio = |taken: &Taken| median(&taken[kind]) / median(&taken[0]);
        let ratio = Spread::of(rounds.iter().map(ratio));
        table.row([
            (*name).to_owned(),
            format!("{:.2}", all.p50),
            format!("{:.2}", all.p90),
            format!("{:.3}", ratio.median),
            format!("{:.3}..{:.3}", ratio.min, ratio.max),
        ]);
    }
    table.note(format!(
        "{TRIES} tries of each kind in a round; the ratio is of the medians of a round."
    ));
    Ok(table)
}

fn median(values: &[f64]) -> f64 {
    Spread::of(values.iter().copied()).median
}

async fn one(proxy: &Proxy) -> Result<Taken> {
    let connector = Connector::new(Protocol::Http1)?;
    let mut client = Client::connect(&connector, proxy.address).await?;
    let mut taken = Taken::default();
    for number in 0..TRIES {
        for (times, (_, person)) in taken.iter_mut().zip(KINDS) {
            let request = Request::login(&person.name(number % NAMES), "not this one");
            let begun = Instant::now();
            let status = client.ask(&request, |_| ()).await?;
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
            if status != 401 {
                return Err(format!("a wrong password was answered with {status}").into());
            }
        }
    }
    Ok(taken)
}
