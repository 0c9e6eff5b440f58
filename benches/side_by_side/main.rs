//! Portcullis beside nginx and HAProxy, on the same machine, with the same load.
//!
//! Run it with `benches/side-by-side`. One module each: the options, the cases, the proxies and
//! their configurations, the loads, the measurements, and the report.

#![allow(
    unreachable_pub,
    reason = "a program of several modules, none of which anybody else uses"
)]

mod backend;
mod cases;
mod certificates;
mod compare;
mod cpu;
mod floor;
mod handshakes;
mod haproxy;
mod http1;
mod http2;
mod latency;
mod logins;
mod measure;
mod memory;
mod nginx;
mod options;
mod peers;
mod portcullis;
mod process;
mod refusals;
mod report;
mod resumption;
mod scale;
mod start;
mod stats;
mod tls;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use cases::Case;
use certificates::{Certificate, Kind};
use cpu::Moment;
use options::Options;
use peers::World;
use report::Table;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// A case with its table, or with what was wrong.
type Outcome = (Case, Result<Table>);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(floor::COMMAND) {
        return code(floor::run(arguments).map(|()| ExitCode::SUCCESS));
    }
    // `cargo test --all-targets` starts benchmarks, too, but without this.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("This is no test; benches/side-by-side runs it.");
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
    if options.list {
        list();
        return ExitCode::SUCCESS;
    }
    code(run(&options))
}

fn code(result: Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("side-by-side: {error}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    for case in Case::value_variants() {
        println!("{:20} {}", case.name(), case.about());
    }
}

fn run(options: &Options) -> Result<ExitCode> {
    // Before any thread is there: they inherit it.
    let (core, ours) = cpu::leave_one_to_the_proxies()?;
    let ours: Vec<String> = ours.iter().map(ToString::to_string).collect();
    raise_descriptor_limit()?;
    let folder = TempDir::with_prefix("side-by-side-")?;
    let world = World {
        core,
        our_cores: ours.join(","),
        backend: backend::start()?,
        portcullis: canonical(&options.portcullis)?,
        nginx_keepalive: options.nginx_keepalive,
        ecdsa: Certificate::make(folder.path(), Kind::Ecdsa)?,
        rsa: Certificate::make(folder.path(), Kind::Rsa)?,
        folder,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(until_signal(options, &world))
}

fn canonical(binary: &Path) -> Result<PathBuf> {
    let canonical = binary.canonicalize();
    canonical.map_err(|error| format!("{}: {error}", binary.display()).into())
}

/// Runs all cases. A signal drops everything that is under way, and with it the proxies.
async fn until_signal(options: &Options, world: &World) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        code = run_cases(options, world) => Ok(code),
        _ = terminate.recv() => Err("ended by SIGTERM".into()),
        _ = interrupt.recv() => Err("ended by SIGINT".into()),
    }
}

async fn run_cases(options: &Options, world: &World) -> ExitCode {
    introduce(options, world);
    let cases = options.cases();
    let mut code = ExitCode::SUCCESS;
    let mut report = |(case, result): Outcome| match result {
        Ok(table) => println!("{table}"),
        Err(error) => {
            println!("### {}: FAILED\n\n{error}\n", case.name());
            code = ExitCode::FAILURE;
        }
    };
    let compared = with_others(compare::run(world, options, &cases)).await;
    compared.into_iter().for_each(&mut report);
    for case in cases.into_iter().filter(|case| !compare::is_for(*case)) {
        let result = with_others(run_alone(world, options, case)).await;
        report((case, result));
    }
    code
}

/// Does what is to be done and says how much others disturbed it.
async fn with_others<T>(work: impl Future<Output = T>) -> T {
    let before = Moment::now();
    let done = work.await;
    match before.and_then(|before| before.others_since()) {
        Ok(sentence) => println!("{sentence}\n"),
        Err(error) => println!("Whether others disturbed it is not known: {error}\n"),
    }
    done
}

/// Runs a case that is no comparison of core time.
async fn run_alone(world: &World, options: &Options, case: Case) -> Result<Table> {
    match case {
        Case::Latency => latency::compared(world, options, case, false).await,
        Case::LatencyHandshakes => latency::compared(world, options, case, true).await,
        Case::LatencyLogins => latency::beside_logins(world, options).await,
        Case::IdleMemory => memory::idle(world, options).await,
        Case::Resident => memory::resident(world, options).await,
        Case::Start => start::run(world, options),
        Case::Logins => logins::run(world, options).await,
        Case::LoginTiming => refusals::run(world, options).await,
        Case::Routes => scale::routes(world, options).await,
        Case::Sessions => scale::sessions(world, options).await,
        Case::Certificates => scale::certificates(world, options).await,
        _ => Err("nobody measures this".into()),
    }
}

fn introduce(options: &Options, world: &World) {
    println!("# Side by side\n");
    let portcullis = world.portcullis.display().to_string();
    for (program, argument) in [
        (&*portcullis, "--version"),
        ("nginx", "-v"),
        ("haproxy", "-v"),
    ] {
        println!("- {}", version(program, argument));
    }
    println!(
        "- {} rounds of {} s; ratios are of core time to plain nginx in the same round\n",
        options.rounds,
        options.seconds.as_secs_f64(),
    );
}

/// The first line that a program says about itself, on whichever stream.
fn version(program: &str, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else {
        return format!("{program} is missing");
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or_default().to_owned()
}

/// For thousands of connections.
fn raise_descriptor_limit() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}
