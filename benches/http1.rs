//! The HTTP/1 codec: heads of requests and answers, and bodies in chunks.
//!
//! It reads every byte that a client or a backend sends before anything else is known of it. A head
//! is read out of one buffer again and again, as on a connection; copying it in there is measured
//! too, as is letting go of it.

#[path = "common/heads.rs"]
mod heads;
#[path = "common/runner.rs"]
mod runner;

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use http::Method;
use portcullis::http1::body::{BodyDecoder, Decoded};
use portcullis::http1::buffers;
use portcullis::http1::head::{HeadLimits, RequestHead};
use portcullis::http1::response::ResponseHead;

fn main() {
    runner::run(|criterion| {
        request_heads(criterion);
        response_head(criterion);
        chunks(criterion);
    });
}

fn request_heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http1/request head");
    let limits = HeadLimits::default();
    for (case, head) in [
        ("minimal", "GET / HTTP/1.1\r\nHost: plant-3.example\r\n\r\n"),
        ("browser, 12 fields", heads::BROWSER),
        ("60 fields", &heads::hostile()),
    ] {
        let mut buffer = BytesMut::with_capacity(buffers::SIZE);
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(case), |bencher| {
            bencher.iter(|| {
                buffer.extend_from_slice(black_box(head.as_bytes()));
                RequestHead::parse(&mut buffer, &limits).unwrap().unwrap()
            });
        });
    }
    group.finish();
}

fn response_head(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http1/response head");
    let limits = HeadLimits::default();
    let mut buffer = BytesMut::with_capacity(buffers::SIZE);
    group.throughput(Throughput::Bytes(heads::ANSWER.len() as u64));
    group.bench_function("10 fields", |bencher| {
        bencher.iter(|| {
            buffer.extend_from_slice(black_box(heads::ANSWER.as_bytes()));
            let head = ResponseHead::parse(&mut buffer, &Method::GET, &limits);
            head.unwrap().unwrap()
        });
    });
    group.finish();
}

fn chunks(criterion: &mut Criterion) {
    const BODY: usize = 64 << 10;
    let mut group = criterion.benchmark_group("http1/64 KiB in chunks");
    group.throughput(Throughput::Bytes(BODY as u64));
    for size in [256, 4 << 10, 16 << 10] {
        let body = in_chunks(&vec![b'x'; BODY], size);
        assert_eq!(decoded(&mut BytesMut::from(&*body)), BODY);
        group.bench_function(BenchmarkId::new("chunks of", size), |bencher| {
            let fresh = || BytesMut::from(&*body);
            bencher.iter_batched_ref(fresh, decoded, BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut encoded = Vec::new();
    for chunk in body.chunks(size) {
        encoded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        encoded.extend_from_slice(chunk);
        encoded.extend_from_slice(b"\r\n");
    }
    encoded.extend_from_slice(b"0\r\n\r\n");
    encoded
}

/// The length of the whole body in `buffer`.
fn decoded(buffer: &mut BytesMut) -> usize {
    let mut decoder = BodyDecoder::chunked();
    let mut length = 0;
    loop {
        match decoder.decode(buffer).unwrap() {
            Decoded::Data(data) => length += data.len(),
            Decoded::NeedMore => unreachable!("all of it is there"),
            Decoded::End => return length,
        }
    }
}
