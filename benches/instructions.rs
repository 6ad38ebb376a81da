//! A fixed amount of work for callgrind; `instructions.sh` runs it.
//!
//! `instructions SCENARIO COUNT` sends COUNT requests over 1,000 keys through
//! the parser, and, unless the scenario begins with `parse-`, into a shard.

use shards::command::{Handler, Run};
use shards::resp::{Limits, Partial, Protocol, Reply, Status, parse};
use shards::{Args, COMMANDS, DbIndex, Request, Settings, Shard, UnixMs};
use std::hint::black_box;

const KEYS: usize = 1_000;
const LIMITS: Limits = Limits {
    bulk_len: 512 << 20,
    request_len: 1 << 30,
    authenticated: true,
};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let scenario = arguments.next().unwrap_or_default();
    let count = arguments.next().and_then(|count| count.parse().ok());
    // `cargo bench` passes options of its own; then there is nothing to do.
    let Some(count) = count else { return };
    let (executed, name) = match scenario.strip_prefix("parse-") {
        Some(name) => (false, name),
        None => (true, scenario.as_str()),
    };
    let mut bench = Bench::new();
    bench.play("set", KEYS, true);
    bench.play(name, count, executed);
}

struct Bench {
    shard: Shard,
    out: Vec<u8>,
    spans: Vec<shards::Span>,
}

impl Bench {
    fn new() -> Self {
        Self {
            shard: Shard::new(1, 0..16_384, 1, Settings::default()),
            out: Vec::new(),
            spans: Vec::new(),
        }
    }

    fn play(&mut self, name: &str, count: usize, executed: bool) {
        let handler = handler(name);
        let input = stream(name);
        let mut left = count;
        while left > 0 {
            let mut partial = Partial::default();
            while left > 0
                && let Ok(Status::Complete) =
                    parse(black_box(&input), &mut partial, &mut self.spans, &LIMITS)
            {
                left -= 1;
                if executed {
                    let request = Request {
                        handler,
                        args: Args::new(&input, &self.spans),
                        db: DbIndex(0),
                        protocol: Protocol::Resp2,
                        no_touch: false,
                        may_block: false,
                        located: None,
                    };
                    let _ = self.shard.apply(UnixMs(1), &request, &mut self.out);
                }
                black_box(&self.spans);
                self.spans.clear();
            }
            self.out.clear();
        }
    }
}

fn handler(name: &str) -> Handler {
    let mut rows = COMMANDS.iter().flat_map(|family| family.iter());
    match rows.find(|row| row.name == name).map(|row| row.run) {
        Some(Run::OneShard(handler)) => handler,
        Some(Run::EachShard { part, .. }) => part,
        _ => panic!("no such scenario: {name}"),
    }
}

/// One request for every key; ten keys at once for commands on several.
fn stream(name: &str) -> Vec<u8> {
    let value = b"0123456789abcdefghijklmnopqrstuv";
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, Protocol::Resp2);
    let (keys, values) = match name {
        "set" => (1, true),
        "mset" => (10, true),
        "mget" => (10, false),
        _ => (1, false),
    };
    for first in (0..KEYS).step_by(keys) {
        reply.array(1 + keys * (1 + usize::from(values)));
        reply.bulk(name.as_bytes());
        for key in first..first + keys {
            reply.bulk(format!("key:{key:012}").as_bytes());
            if values {
                reply.bulk(value);
            }
        }
    }
    out
}
