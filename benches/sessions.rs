//! From a Cookie field to the session: for every request of somebody who is logged in.
//!
//! The way to the digest is a base64 check and a SHA-256. The look-up is measured among a thousand
//! to a million sessions, in random order: with more of them it costs what memory costs that is in
//! no cache, and nothing else. A miss is what a forged or old cookie costs. How much memory a million
//! of them take is said first; most where each has a user of its own.

#[path = "common/random.rs"]
mod random;
#[path = "common/runner.rs"]
mod runner;

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use criterion::{BenchmarkId, Criterion};
use portcullis::gate::session::{Session, SessionDigest, Timestamp};
use portcullis::http1::fields::Fields;
use portcullis::identity::UserName;
use portcullis::proxy::cookie;

use portcullis::store::memory::MemoryStore;
use portcullis::store::secret::SessionId;
use portcullis::store::{SessionBounds, SessionStore};
use random::Random;

fn main() {
    runner::run(|criterion| {
        memory();
        digests(criterion);
        look_ups(criterion);
    });
}

const ROOMY: SessionBounds = SessionBounds {
    max: usize::MAX,
    per_user: 20,
};

/// What a million sessions of a million users add to the memory of the process. The names are not
/// counted: those belong to the configuration.
fn memory() {
    const COUNT: usize = 1_000_000;
    let mut random = Random::new(1);
    let names = names(COUNT);
    let before = resident_kib();
    let store = MemoryStore::new(ROOMY);
    for user in &names {
        let session = Session::begin(user.clone(), 1, Timestamp(0));
        answer(store.begin(digest(&mut random), session)).unwrap();
    }
    let megabytes = (resident_kib() - before) * 1024 / 1_000_000;
    println!("sessions/memory: {} sessions: {megabytes} MB", store.kept());
}

fn names(count: usize) -> Vec<UserName> {
    let names = (0..count).map(|at| UserName::parse(&format!("user-{at}")));
    names.map(Result::unwrap).collect()
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse().unwrap()
}

fn digests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sessions/digest");
    let id = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE";
    assert!(SessionId::digest_of(id.as_bytes()).is_some());
    for (case, value) in [
        ("of an id", id),
        ("of no id", "*bCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE"),
    ] {
        group.bench_function(case, |bencher| {
            bencher.iter(|| SessionId::digest_of(black_box(value.as_bytes())));
        });
    }
    let cookies = format!("theme=dark; {}={id}; lang=en", cookie::SESSION);
    let fields = [("Accept", "*/*"), ("Cookie", &*cookies)];
    let fields = fields.map(|(name, value)| (name, value.as_bytes()));
    let fields = Fields::from_pairs(fields).unwrap();
    assert!(cookie::session(&fields).is_ok());
    group.bench_function("of a cookie among others", |bencher| {
        bencher.iter(|| cookie::session(black_box(&fields)));
    });
    group.finish();
}

fn look_ups(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sessions/look-up");
    for size in [1_000, 10_000, 100_000, 1_000_000] {
        let mut random = Random::new(size);
        let store = MemoryStore::new(ROOMY);
        let mut kept: Vec<_> = (0..size).map(|_| digest(&mut random)).collect();
        let users = names(kept.len().div_ceil(ROOMY.per_user));
        for (digest, user) in kept.iter().zip(users.iter().cycle()) {
            let session = Session::begin(user.clone(), 1, Timestamp(0));
            answer(store.begin(*digest, session)).unwrap();
        }
        // Not in the order in which they lie in memory.
        random.shuffle(&mut kept);
        let unknown: Vec<_> = (0..size).map(|_| digest(&mut random)).collect();
        for (case, digests) in [("hit", &kept), ("miss", &unknown)] {
            let found = answer(store.look_up(&digests[0])).unwrap().is_some();
            assert_eq!(found, case == "hit");
            let mut in_turn = digests.iter().cycle();
            group.bench_function(BenchmarkId::new(case, size), |bencher| {
                bencher.iter(|| in_turn.next().map(|digest| answer(store.look_up(digest))));
            });
        }
    }
    group.finish();
}

fn digest(random: &mut Random) -> SessionDigest {
    let mut bytes = [0; 32];
    for eight in bytes.chunks_mut(8) {
        eight.copy_from_slice(&random.number().to_le_bytes());
    }
    SessionDigest(bytes)
}

/// What a store in memory answers: without a runtime, whose cost would be measured too.
fn answer<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("it has nothing to wait for"),
    }
}
