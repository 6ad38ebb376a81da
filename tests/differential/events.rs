//! What the engine says has happened to keys, against what redis-server notifies.
//!
//! The engine runs in this process, because nothing tells clients of it yet: all
//! cases whose commands it has a row for, line by line.

use crate::cases;
use crate::support::client::{Client, Value};
use crate::support::generate::{Generator, Request, Shape};
use crate::support::rng::seed;
use crate::support::server::Server;
use crate::support::show_command;
use shards::command::OwnedArgs;
use shards::{DbIndex, Request as Asked, Row, Settings, Shard, UnixMs, heard};
use std::time::SystemTime;

/// Files of cases about what the engine alone has not: blocks, settings, connections.
const LEFT_OUT: &[&str] = &[
    "connection.txt",
    "introspection.txt",
    "server.txt",
    "thresholds.txt",
    "transactions.txt",
];

/// What one shard has become, and which database is selected.
struct Engine {
    shard: Shard,
    db: DbIndex,
}

impl Engine {
    fn new() -> Self {
        Self {
            shard: Shard::new(16, 0..16_384, 1, Settings::default()),
            db: DbIndex(0),
        }
    }

    /// Runs a request if it is the engine's; what it has told, one word after the
    /// other.
    fn told(&mut self, request: &Request) -> Option<Vec<String>> {
        let name = request.first()?.to_ascii_lowercase();
        if name == b"select" {
            let number = std::str::from_utf8(request.get(1)?).ok()?.parse().ok();
            self.db = number.filter(|db| *db < 16).map_or(self.db, DbIndex);
            return Some(Vec::new());
        }
        let row = shards::row(&name)?;
        heard::take();
        self.run(row, request)?;
        let heard = heard::take();
        let mut told = Vec::new();
        for (at, (db, key, event)) in heard.iter().enumerate() {
            let word = |word| format!("{word} {} in {}", key.escape_ascii(), db.0);
            told.extend(event.notices().iter().map(|notice| word(notice.word)));
            let last = heard[at + 1..].iter().all(|(_, other, _)| other != key);
            let of_elements = event
                .notices()
                .iter()
                .any(|notice| "lshz".contains(notice.class.letter()));
            if last && of_elements && !self.exists(*db, key) {
                told.push(word("del"));
            }
        }
        Some(told)
    }

    fn run(&mut self, row: &'static Row, request: &Request) -> Option<Vec<u8>> {
        if !row.arity.accepts(request.len()) {
            return Some(Vec::new());
        }
        let sub = request.get(1).map(|sub| sub.to_ascii_lowercase());
        let is_sub = |row: &&Row| {
            let name = row.name.split_once('|').map(|(_, sub)| sub.as_bytes());
            name == sub.as_deref()
        };
        let row = match row.subcommands {
            [] => row,
            subs => subs.iter().find(is_sub)?,
        };
        if !row.arity.accepts(request.len()) {
            return Some(Vec::new());
        }
        let args = OwnedArgs::new(request.iter().map(Vec::as_slice));
        let asked = Asked {
            db: self.db,
            ..Asked::new(row.run.whole(), args.args())
        };
        let mut out = Vec::new();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = i64::try_from(now.expect("after 1970").as_millis()).expect("before the end");
        // What has failed is no difference: it has told nothing.
        let _ = self.shard.apply(UnixMs(now), &asked, &mut out);
        Some(out)
    }

    fn exists(&mut self, db: DbIndex, key: &[u8]) -> bool {
        let before = std::mem::replace(&mut self.db, db);
        let request = vec![b"exists".to_vec(), key.to_vec()];
        let row = shards::row("exists").expect("the engine has it");
        let there = self.run(row, &request) == Some(b":1\r\n".to_vec());
        self.db = before;
        there
    }
}

/// Everything that a subscriber has been sent by now.
fn notified(subscriber: &mut Client) -> Vec<String> {
    subscriber.send(&["PING", "all"]);
    let mut words = Vec::new();
    loop {
        let Value::Array(parts) = subscriber.read().value() else {
            panic!("a subscriber is sent arrays");
        };
        let [kind, _, channel, key] = parts.as_slice() else {
            return words;
        };
        assert!(kind.text() == "pmessage");
        let channel = channel.text();
        let (db, word) = channel
            .strip_prefix("__keyevent@")
            .and_then(|rest| rest.split_once("__:"))
            .expect("only events are subscribed to");
        words.push(format!("{word} {} in {db}", key.bytes().escape_ascii()));
    }
}

/// Where two servers are compared, and what was found.
struct Comparison {
    redis: Server,
    subscriber: Client,
    differences: Vec<String>,
    /// Events that redis-server has notified.
    events: usize,
}

impl Comparison {
    /// Runs requests on both from an empty keyspace on; `place` names one.
    fn run(&mut self, requests: &[Request], place: impl Fn(usize) -> String) {
        let mut client = self.redis.connect();
        client.call(&["FLUSHALL"]);
        let mut engine = Engine::new();
        for (at, request) in requests.iter().enumerate() {
            client.call(request);
            let expected = notified(&mut self.subscriber);
            let Some(told) = engine.told(request) else {
                continue;
            };
            self.events += expected.len();
            if told != expected {
                let line = format!("{} {}", place(at), show_command(request));
                let text = format!("{line}\n  redis: {expected:?}\n  here:  {told:?}");
                self.differences.push(text);
            }
        }
    }
}

/// Runs all cases and a stream of what `shapes` makes on both; panics with all that
/// differs.
pub fn run(shapes: impl Fn(&mut Client) -> Vec<Shape>) {
    let options = [
        "--hash-max-listpack-entries",
        "512",
        "--notify-keyspace-events",
        "EA",
    ];
    let redis = Server::redis(&options);
    let mut subscriber = redis.connect();
    subscriber.call(&["PSUBSCRIBE", "__keyevent@*"]);
    let stream = Generator::new(seed("events"), shapes(&mut redis.connect())).stream(8_000);
    let mut comparison = Comparison {
        redis,
        subscriber,
        differences: Vec::new(),
        events: 0,
    };
    for (file, text) in cases::files() {
        if LEFT_OUT.iter().any(|left_out| file.ends_with(left_out)) {
            continue;
        }
        for case in cases::cases(&text) {
            let requests: Vec<Request> = case.iter().map(|line| line.request.clone()).collect();
            if !requests.iter().any(|request| request == &[b"MULTI"]) {
                comparison.run(&requests, |at| format!("{file}:{}", case[at].number));
            }
        }
    }
    comparison.run(&stream, |at| format!("request {at} of the stream"));
    let Comparison {
        differences,
        events,
        ..
    } = comparison;
    assert!(events > 2000, "only {events} events were compared");
    assert!(
        differences.is_empty(),
        "{} requests differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
