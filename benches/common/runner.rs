//! How every micro benchmark here is run.

use std::env;
use std::time::Duration;

use criterion::Criterion;

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs `benches` where `cargo bench` started the program.
pub(crate) fn run(benches: impl FnOnce(&mut Criterion)) {
    // `cargo test --all-targets` starts benchmarks, too, but without this.
    if !env::args().any(|argument| argument == "--bench") {
        println!("This is no test; `cargo bench` runs it.");
        return;
    }
    // What is measured takes microseconds at most: two seconds hold enough of it.
    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
}
