//! A fixed amount of work for callgrind; `instructions.sh` runs it.
//!
//! `instructions SCENARIO COUNT` sends COUNT requests over 1,000 keys through
//! the parser, and, unless the scenario begins with `parse-`, into a shard.
//! Commands on collections go to one large key, which has all elements already;
//! `new-NAME` lets it grow instead.
//! `orderN-NAME` sends them to N nodes on this thread, for random ones of 100,000
//! keys: each node takes in what two pipelines of sixteen bring it in a turn, then
//! the nodes exchange boxes until all is answered. How many turns and boxes that
//! took goes to stderr.

use shards::command::{Handler, Run};
use shards::order::{Call, Client, Node, Placement};
use shards::resp::{Limits, Partial, Protocol, Reply, Status, parse};
use shards::{Args, Request, Row, Settings, Shard, ShardId, UnixMs, row};
use std::hint::black_box;

const KEYS: usize = 1_000;
/// Keys of several nodes, and how many are drawn before they come again.
const SPREAD: usize = 100_000;
const DRAWN: usize = 50_000;
/// Requests that a node takes in during a turn.
const TURN: usize = 32;
/// Of a collection: more than `instructions.sh` sends requests.
const ELEMENTS: usize = 25_000;
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
    if let Some((nodes, name)) = executed.then(|| order(name)).flatten() {
        let mut nodes = Nodes::new(nodes);
        nodes.play("mset", &stream("mset", 0..SPREAD), SPREAD / 10);
        nodes.play(name, &stream(name, random_keys()), count);
        eprintln!("{} turns, {} boxes", nodes.turns, nodes.boxes);
        return;
    }
    let mut bench = Bench::new();
    bench.play("set", KEYS, true);
    let name = match (name.strip_prefix("new-"), name) {
        (Some(name), _) => name,
        (None, "sadd" | "hset" | "zadd") => {
            bench.play(name, ELEMENTS, true);
            name
        }
        (None, "lpop") => {
            bench.play("lpush", ELEMENTS, true);
            name
        }
        (None, _) => name,
    };
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
        let input = stream(name, 0..KEYS);
        let mut left = count;
        while left > 0 {
            let mut partial = Partial::default();
            while left > 0
                && let Ok(Status::Complete) =
                    parse(black_box(&input), &mut partial, &mut self.spans, &LIMITS)
            {
                left -= 1;
                if executed {
                    let request = Request::new(handler, Args::new(&input, &self.spans));
                    let _ = self.shard.apply(UnixMs(1), &request, &mut self.out);
                }
                black_box(&self.spans);
                self.spans.clear();
            }
            self.out.clear();
        }
    }
}

/// `order2-mget` apart.
fn order(scenario: &str) -> Option<(u16, &str)> {
    let (nodes, name) = scenario.strip_prefix("order")?.split_once('-')?;
    Some((nodes.parse().ok()?, name))
}

/// Several cores on one thread.
struct Nodes {
    nodes: Vec<Node>,
    out: Vec<u8>,
    turns: usize,
    boxes: usize,
    /// The last stamp.
    stamp: u64,
    /// The client has something under way.
    is_waiting: bool,
}

impl Nodes {
    fn new(count: u16) -> Self {
        let node = |id| {
            let shard = Shard::new(1, ShardId(id).slots(count), 1, Settings::default());
            Node::new(ShardId(id), count, shard, 1)
        };
        Self {
            nodes: (0..count).map(node).collect(),
            out: Vec::new(),
            turns: 0,
            boxes: 0,
            stamp: 0,
            is_waiting: false,
        }
    }

    /// Sends requests through all nodes in turn.
    fn play(&mut self, name: &str, input: &[u8], count: usize) {
        let row = row(name).unwrap_or_else(|| panic!("no such scenario: {name}"));
        let (mut partial, mut spans) = (Partial::default(), Vec::new());
        (self.turns, self.boxes) = (0, 0);
        for number in 0..count {
            if parse(black_box(input), &mut partial, &mut spans, &LIMITS) != Ok(Status::Complete) {
                partial = Partial::default();
                spans.clear();
                let _ = parse(input, &mut partial, &mut spans, &LIMITS);
            }
            let home = number / TURN % self.nodes.len();
            if number % TURN == 0 {
                // Another client.
                self.is_waiting = false;
            }
            self.ask(home, row, Args::new(input, &spans));
            spans.clear();
            if (number + 1) % (TURN * self.nodes.len()) == 0 || number + 1 == count {
                while self.exchange() {}
                self.out.clear();
            }
        }
    }

    fn ask(&mut self, home: usize, row: &'static Row, args: Args<'_>) {
        let node = &mut self.nodes[home];
        let client = Client {
            key: 0,
            id: 1,
            place: 0,
        };
        let placement = node.place(row, args);
        let call = Call::of(row);
        match placement {
            Placement::One(owner) if owner.index() == home && !self.is_waiting => {
                assert!(node.is_unlocked(), "who comes one by one holds no locks");
                let _ = node
                    .shard_mut()
                    .apply(UnixMs(1), &call.request(args), &mut self.out);
            }
            Placement::One(owner) => {
                self.is_waiting = true;
                node.send(owner, client, call, args);
            }
            Placement::Several(owners) => {
                self.is_waiting = true;
                node.begin(UnixMs(1), client, call, row, args, owners);
            }
        }
    }

    /// Delivers all boxes that are on their way; false if there are none.
    fn exchange(&mut self) -> bool {
        let mut boxes = Vec::new();
        for (from, node) in (0..).zip(&mut self.nodes) {
            self.stamp += u64::from(node.wants_stamp());
            node.outgoing(self.stamp, |target, batch| {
                boxes.push((ShardId(from), target, batch))
            });
        }
        let mut any = !boxes.is_empty();
        self.turns += usize::from(any);
        self.boxes += boxes.len();
        for (from, target, batch) in boxes {
            self.nodes[target.index()].receive(from, batch);
        }
        let out = &mut self.out;
        for node in &mut self.nodes {
            any |= node.catch_up(UnixMs(1), u64::MAX);
            node.replies(|replied| out.extend_from_slice(replied.reply));
        }
        any
    }
}

fn handler(name: &str) -> Handler {
    match row(command(name)).expect("there is such a command").run {
        Run::OneShard(handler) => handler,
        Run::EachShard { part, .. } => part,
        _ => panic!("no such scenario: {name}"),
    }
}

/// Keys in no order; the same in every run.
fn random_keys() -> impl Iterator<Item = usize> {
    let mut state = 1u64;
    (0..DRAWN).map(move |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % SPREAD
    })
}

/// The command that a scenario is of.
fn command(name: &str) -> &str {
    name.strip_suffix("-maxlen").unwrap_or(name)
}

/// One request for every key; ten keys at once for commands on several.
fn stream(name: &str, keys: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let value = b"0123456789abcdefghijklmnopqrstuv";
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, Protocol::Resp2);
    if let "sadd" | "hset" | "zadd" | "lpush" | "lpop" | "xadd" | "xadd-maxlen" = name {
        for number in 0..ELEMENTS {
            let (element, score) = (format!("element:{number:012}"), number * 7919 % ELEMENTS);
            let rest = match name {
                "zadd" => vec![score.to_string(), element],
                "hset" => vec![element, "xxx".to_owned()],
                "lpop" => vec![],
                "xadd" | "xadd-maxlen" => {
                    let words = ["MAXLEN", "~", "1000", "*", "f", "v"];
                    let words = &words[if name == "xadd" { 3 } else { 0 }..];
                    words.iter().map(|word| (*word).to_owned()).collect()
                }
                _ => vec![element],
            };
            reply.array(2 + rest.len());
            reply.bulk(command(name).as_bytes());
            reply.bulk(b"collection");
            rest.iter().for_each(|word| reply.bulk(word.as_bytes()));
        }
        return out;
    }
    let (at_once, values) = match name {
        "set" => (1, true),
        "mset" => (10, true),
        "mget" => (10, false),
        _ => (1, false),
    };
    let mut keys = keys.into_iter().peekable();
    while keys.peek().is_some() {
        reply.array(1 + at_once * (1 + usize::from(values)));
        reply.bulk(name.as_bytes());
        for key in keys.by_ref().take(at_once) {
            reply.bulk(format!("key:{key:012}").as_bytes());
            if values {
                reply.bulk(value);
            }
        }
    }
    out
}
