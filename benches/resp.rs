//! Throughput of the parser and of replies: `cargo bench -p shards --bench resp`.
//!
//! For figures that do not depend on the machine's mood see `instructions.sh`.

use divan::Bencher;
use divan::counter::ItemsCount;
use shards::resp::{Limits, Partial, Protocol, Reply, Status, parse};
use std::hint::black_box;

const REQUESTS: usize = 1_000;
const LIMITS: Limits = Limits {
    bulk_len: 512 << 20,
    request_len: 1 << 30,
    authenticated: true,
};

fn main() {
    divan::main();
}

/// `REQUESTS` times the same request.
fn stream(words: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, Protocol::Resp2);
    reply.array(words.len());
    words.iter().for_each(|word| reply.bulk(word));
    out.repeat(REQUESTS)
}

fn parse_all(bencher: Bencher<'_, '_>, input: &[u8]) {
    let mut spans = Vec::new();
    bencher.counter(ItemsCount::new(REQUESTS)).bench_local(|| {
        let mut partial = Partial::default();
        while let Ok(Status::Complete) = parse(black_box(input), &mut partial, &mut spans, &LIMITS)
        {
            black_box(&spans);
            spans.clear();
        }
    });
}

#[divan::bench]
fn parse_get(bencher: Bencher<'_, '_>) {
    parse_all(bencher, &stream(&[b"GET", b"key:000000000001"]));
}

#[divan::bench(args = [32, 1024])]
fn parse_set(bencher: Bencher<'_, '_>, value: usize) {
    parse_all(
        bencher,
        &stream(&[b"SET", b"key:000000000001", &vec![b'x'; value]]),
    );
}

#[divan::bench]
fn parse_mset_of_ten(bencher: Bencher<'_, '_>) {
    let mut words = vec![&b"MSET"[..]];
    words.extend(
        [
            &b"key:000000000001"[..],
            b"0123456789abcdef0123456789abcdef",
        ]
        .repeat(10),
    );
    parse_all(bencher, &stream(&words));
}

fn reply_all(bencher: Bencher<'_, '_>, write: impl Fn(&mut Reply<'_>)) {
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(REQUESTS)).bench_local(|| {
        out.clear();
        for _ in 0..REQUESTS {
            write(&mut Reply::new(black_box(&mut out), Protocol::Resp2));
        }
    });
}

#[divan::bench]
fn reply_ok(bencher: Bencher<'_, '_>) {
    reply_all(bencher, |reply| reply.ok());
}

#[divan::bench(args = [32, 1024])]
fn reply_bulk(bencher: Bencher<'_, '_>, len: usize) {
    let value = vec![b'x'; len];
    reply_all(bencher, |reply| reply.bulk(black_box(&value)));
}

#[divan::bench]
fn reply_integer(bencher: Bencher<'_, '_>) {
    reply_all(bencher, |reply| reply.integer(black_box(123_456)));
}
