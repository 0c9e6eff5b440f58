//! Reading a path as the gate does: decoded once, and refused where it has two readings.
//!
//! Before every decision. The path is the client's choice, and may be as long as a head: so its
//! cost has to be a small one for each byte, refused or not.

#[path = "common/runner.rs"]
mod runner;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use portcullis::gate::path::DecodedPath;

fn main() {
    runner::run(|criterion| {
        let long = "/folder".repeat(300);
        measure(
            criterion,
            "paths/read",
            &[
                ("plain", "/app/index.html"),
                ("long", &long),
                ("long, slashes", &format!("/{}", "a/".repeat(1_000))),
                ("encoded", "/b%C3%BCro/annual%20report.pdf"),
                ("encoded, long", &format!("/{}", "%C3%BC".repeat(350))),
            ],
        );
        measure(
            criterion,
            "paths/refuse",
            &[
                ("dot segment", "/public/../admin/"),
                ("dot segment after a long path", &format!("{long}/..")),
                ("encoded slash", "/public/..%2fadmin/"),
                ("encoded twice", "/public/%252e%252e/admin/"),
                ("not UTF-8", "/public/%c0%af"),
            ],
        );
    });
}

fn measure(criterion: &mut Criterion, name: &str, cases: &[(&str, &str)]) {
    let mut group = criterion.benchmark_group(name);
    for (case, path) in cases {
        let refused = DecodedPath::parse(path).is_err();
        assert_eq!(refused, name == "paths/refuse", "{path}");
        group.throughput(Throughput::Bytes(path.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(case), |bencher| {
            bencher.iter(|| DecodedPath::parse(black_box(path)).map(|path| path.as_str().len()));
        });
    }
    group.finish();
}
