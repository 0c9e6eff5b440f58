//! The decision about one request of a user who is logged in, over tables of 10 to 10,000 routes.
//!
//! It is made for every request, so what it costs must not grow with the configuration. Over
//! `folders`, each request also matches the catch-all at the end, as is usual; `any` takes all
//! folders in random order, so that caches help no more than they would in service. Over `hosts`,
//! routes differ by host name only. `spellings` are paths that a backend could take for another.
//! `depth` is the client's choice: a path of as many segments as fit into a head.

#[path = "common/gate.rs"]
mod gate;
#[path = "common/random.rs"]
mod random;
#[path = "common/runner.rs"]
mod runner;

use std::hint::black_box;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, measurement::WallTime};
use gate::{NOW, request, route};
use portcullis::gate::request::RequestView;
use portcullis::gate::route::HostPattern;
use portcullis::gate::{Decision, Gate};
use random::Random;

const SIZES: [usize; 3] = [10, 1_000, 10_000];
const HOST: &str = "plant-3.example";

fn main() {
    runner::run(|criterion| {
        over_folders(criterion);
        over_hosts(criterion);
        over_spellings(criterion);
        over_depth(criterion);
    });
}

fn over_folders(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide/folders");
    for size in SIZES {
        let gate = gate_of_folders(size);
        for (case, path) in [
            ("first", page_in(0)),
            ("last", page_in(size - 1)),
            ("catch-all", "/elsewhere/page".to_owned()),
        ] {
            let id = BenchmarkId::new(case, size);
            measure(&mut group, id, &gate, &[request(HOST, &path)]);
        }
        let mut folders: Vec<usize> = (0..size).collect();
        Random::new(1).shuffle(&mut folders);
        let paths: Vec<String> = folders.into_iter().map(page_in).collect();
        // Of one session: its look-up is measured elsewhere.
        let one = request(HOST, "");
        let of_path = |path| RequestView {
            path,
            ..one.clone()
        };
        let requests: Vec<_> = paths.iter().map(|path| of_path(path)).collect();
        measure(&mut group, BenchmarkId::new("any", size), &gate, &requests);
    }
    group.finish();
}

fn over_hosts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide/hosts");
    for size in SIZES {
        let name = |at: usize| format!("plant-{at}.example");
        let on_host = |at| route(HostPattern::parse([&*name(at)]).unwrap(), "");
        let gate = gate::gate((0..size).map(on_host).collect());
        for (case, host) in [("first", name(0)), ("last", name(size - 1))] {
            let id = BenchmarkId::new(case, size);
            measure(&mut group, id, &gate, &[request(&host, "/app/page")]);
        }
    }
    group.finish();
}

fn over_spellings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide/spellings");
    let gate = gate_of_folders(1_000);
    for (case, path) in [
        ("plain", "/folder-7/page"),
        ("dot", "/folder-7/page.html"),
        ("slash at the end", "/folder-7/page/"),
        ("upper case", "/FOLDER-7/page"),
        ("percent-encoded", "/folder-7/%70age"),
    ] {
        let id = BenchmarkId::from_parameter(case);
        measure(&mut group, id, &gate, &[request(HOST, path)]);
    }
    group.finish();
}

fn over_depth(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide/depth");
    let gate = gate_of_folders(10);
    for depth in [1, 10, 100, 1_000, 16_000] {
        for (case, segment) in [("plain", "/a"), ("upper case", "/A")] {
            let id = BenchmarkId::new(case, depth);
            let path = segment.repeat(depth);
            measure(&mut group, id, &gate, &[request(HOST, &path)]);
        }
    }
    group.finish();
}

/// Folders in the order of their numbers, and the catch-all.
fn gate_of_folders(size: usize) -> Gate {
    let folders = (0..size).map(|at| format!("/folder-{at}/"));
    let patterns = folders.chain([String::new()]);
    gate::gate(patterns.map(|it| route(HostPattern::Any, &it)).collect())
}

fn page_in(folder: usize) -> String {
    format!("/folder-{folder}/page")
}

/// One decision, of `requests` in turn.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    gate: &Gate,
    requests: &[RequestView<'_>],
) {
    for request in requests {
        let decision = gate.decide(request, NOW);
        assert!(matches!(decision, Decision::Forward(_)), "{decision:?}");
    }
    let mut in_turn = requests.iter().cycle();
    group.bench_function(id, |bencher| {
        bencher.iter(|| {
            in_turn
                .next()
                .map(|request| gate.decide(black_box(request), NOW))
        });
    });
}
