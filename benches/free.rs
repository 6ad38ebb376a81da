//! How long a shard stands still while a large collection goes: the request
//! itself, and the longest slice of freeing in the background. One run each:
//! `cargo bench --bench free [-- elements]`, 10,000,000 by default.

use rustix::time::{ClockId, clock_gettime};
use shards::command::Run;
use shards::resp::{Limits, Partial, Protocol, Reply, parse};
use shards::{Args, Request, Settings, Shard, UnixMs, row};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the server asks for between two looks at the clock.
const FREE_STEP: usize = 1024;
/// Elements that one request adds.
const TOGETHER: usize = 100;
const LIMITS: Limits = Limits {
    bulk_len: 1 << 20,
    request_len: 1 << 30,
    authenticated: true,
};

/// Processor time of this thread: other processes' turns do not count.
fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

/// Runs a request; how long it took.
fn run(shard: &mut Shard, at: UnixMs, words: &[Vec<u8>]) -> Duration {
    let mut input = Vec::new();
    let mut request = Reply::new(&mut input, Protocol::Resp2);
    request.array(words.len());
    words.iter().for_each(|word| request.bulk(word));
    let mut spans = Vec::new();
    parse(&input, &mut Partial::default(), &mut spans, &LIMITS).expect("it is a request");
    let args = Args::new(&input, &spans);
    let handler = match row(&words[0]).expect("it is a command").run {
        Run::OneShard(handler) => handler,
        Run::EachShard { part, .. } => part,
        _ => panic!("a command on one shard"),
    };
    let request = Request::new(handler, args);
    let mut out = Vec::new();
    let start = now();
    let result = shard.apply(at, &request, &mut out);
    let took = now() - start;
    assert!(result.is_ok(), "{}", out.escape_ascii());
    took
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.into()).collect()
}

/// Fills `key` with elements by a command; the longest time one request took.
fn fill(shard: &mut Shard, command: &str, elements: usize) -> Duration {
    let mut worst = Duration::ZERO;
    for first in (0..elements).step_by(TOGETHER) {
        let mut request = words(&format!("{command} key"));
        for number in first..elements.min(first + TOGETHER) {
            match command {
                "zadd" => request.push((number * 7919 % elements).to_string().into()),
                "hset" => request.push(format!("f:{number:08}").into()),
                _ => {}
            }
            request.push(format!("element:{number:08}").into());
        }
        worst = worst.max(run(shard, UnixMs(1), &request));
    }
    worst
}

fn main() {
    let mut asked = std::env::args().filter_map(|argument| argument.parse().ok());
    let elements: usize = asked.next().unwrap_or(10_000_000);
    for (command, requests) in [
        (
            "rpush",
            &[
                "del key",
                "set key x",
                "flushdb",
                "expire",
                "ltrim key 1000 1999",
            ][..],
        ),
        ("sadd", &["del key", "flushdb"]),
        ("hset", &["del key", "flushdb"]),
        (
            "zadd",
            &["del key", "flushdb", "zremrangebyrank key 0 -1001"],
        ),
    ] {
        for request in requests {
            let mut shard = Shard::new(1, 0..16_384, 1, Settings::default());
            let filled = fill(&mut shard, command, elements);
            let took = if *request == "expire" {
                run(&mut shard, UnixMs(1), &words("pexpire key 10"));
                let start = now();
                shard.expire_due(UnixMs(1_000), 256);
                now() - start
            } else {
                run(&mut shard, UnixMs(1), &words(request))
            };
            let (mut slice, mut slices, began) = (Duration::ZERO, 0, now());
            loop {
                let start = now();
                let more = shard.free_some(FREE_STEP);
                slice = slice.max(now() - start);
                slices += 1;
                if !more {
                    break;
                }
            }
            let freed = now() - began;
            println!(
                "{command} of {elements} (longest {filled:?}), {request}: {took:?}, \
                 then {slices} slices, longest {slice:?}, all {freed:?}"
            );
        }
    }
}
