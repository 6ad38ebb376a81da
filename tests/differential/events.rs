//! What the engine says has happened to keys, against what redis-server notifies.
//!
//! The engine runs in this process: all cases whose commands it has a row for, line by
//! line. `tests/notifications.rs` looks at what clients are sent.

use crate::cases;
use crate::support::client::{Client, Value};
use crate::support::generate::{Generator, Request, Shape};
use crate::support::rng::seed;
use crate::support::server::Server;
use crate::support::show_command;
use shards::command::OwnedArgs;
use shards::{DbIndex, Notified, Notify, Request as Asked, Row, Settings, Shard, UnixMs};
use std::time::SystemTime;

/// Files of cases about what the engine alone has not: blocks, settings, connections.
const LEFT_OUT: &[&str] = &[
    "connection.txt",
    "introspection.txt",
    "server.txt",
    "thresholds.txt",
    "transactions.txt",
];

/// All of them.
const CLASSES: &str = "KEAnm";

/// What one shard has become, and which database is selected.
struct Engine {
    shard: Shard,
    db: DbIndex,
}

impl Engine {
    fn new() -> Self {
        let mut shard = Shard::new(16, 0..16_384, 1, Settings::default());
        let all = Notify::parse(CLASSES.as_bytes());
        shard.effects().notify(all.expect("they are known"), false);
        let db = DbIndex(0);
        Self { shard, db }
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
        self.run(row, request)?;
        let notices = self.shard.effects().take_notices();
        let word = |it: &Notified| format!("{} {} in {}", it.word, it.key.escape_ascii(), it.db.0);
        Some(notices.iter().map(word).collect())
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
}

/// What it is called, the key and the database.
type Event = (String, String, String);

/// A client that is told all events, and another that marks where to read up to.
struct Listener {
    subscriber: Client,
    marker: Client,
}

impl Listener {
    fn new(server: &Server) -> Self {
        let [mut subscriber, mut marker] = [server.connect(), server.connect()];
        subscriber.call(&["PSUBSCRIBE", "__key*__:*"]);
        marker.call(&["SELECT", "15"]);
        Self { subscriber, marker }
    }

    /// What has happened since it was last asked, as event, key and database. Each was
    /// told by the channel of the key, then by that of the event.
    fn heard(&mut self) -> Vec<Event> {
        const MARK: &str = "where the test has come to";
        self.marker.call(&["SET", MARK, ""]);
        let mut heard = Vec::new();
        loop {
            let [of_key, of_event] = [(); 2].map(|()| message(&mut self.subscriber));
            let (word, key, db) = (of_event.name, of_event.text, of_event.db);
            assert_eq!(
                (&of_key.kind[..], &of_event.kind[..]),
                ("keyspace", "keyevent")
            );
            assert_eq!(
                (of_key.name, of_key.text, &of_key.db),
                (key.clone(), word.clone(), &db)
            );
            match (key == MARK, word.as_str()) {
                (false, _) => heard.push((word, key, db)),
                (true, "set") => return heard,
                (true, _) => {}
            }
        }
    }
}

/// What a subscriber is told of an event.
struct Told {
    kind: String,
    db: String,
    /// What the channel is named after.
    name: String,
    text: String,
}

fn message(subscriber: &mut Client) -> Told {
    let Value::Array(parts) = subscriber.read().value() else {
        panic!("a subscriber is sent arrays");
    };
    let [kind, _, channel, text] = parts.as_slice() else {
        panic!("nothing else is sent: {parts:?}");
    };
    assert!(kind.text() == "pmessage");
    let escaped = |value: &Value| value.bytes().escape_ascii().to_string();
    let channel = escaped(channel);
    let (before, name) = channel.split_once("__:").expect("it is matched so");
    let (kind, db) = before.split_once('@').expect("a database is named");
    Told {
        kind: kind.trim_start_matches('_').to_owned(),
        db: db.to_owned(),
        name: name.to_owned(),
        text: escaped(text),
    }
}

/// What redis-server tells of a request beyond what is to be compared.
fn forgive(request: &Request, failed: bool, heard: &mut Vec<Event>) {
    if request[0].eq_ignore_ascii_case(b"XREAD") && !failed {
        // It looks at all keys twice, and tells of both times.
        heard.truncate(heard.len() / 2);
    }
}

/// Where two servers are compared, and what was found.
struct Comparison {
    redis: Server,
    listener: Listener,
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
            let failed = client.call(request).is_error();
            let mut heard = self.listener.heard();
            forgive(request, failed, &mut heard);
            let word = |(word, key, db): &_| format!("{word} {key} in {db}");
            let expected: Vec<String> = heard.iter().map(word).collect();
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
        CLASSES,
    ];
    let redis = Server::redis(&options);
    let stream = Generator::new(seed("events"), shapes(&mut redis.connect())).stream(8_000);
    let mut comparison = Comparison {
        listener: Listener::new(&redis),
        redis,
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

/// Cases that change what is told, or end connections.
const NOT_BY_SOCKETS: &[&str] = &["connection.txt", "introspection.txt", "server.txt"];

/// Runs all cases on both servers, and compares what subscribers of both are sent.
pub fn compare_what_is_sent(shards: u16) {
    let options = [
        "--hash-max-listpack-entries",
        "512",
        "--notify-keyspace-events",
        CLASSES,
        "--enable-debug-command",
        "yes",
    ];
    let servers = [Server::redis(&options), Server::cordis(shards, &options)];
    let mut listeners = servers.each_ref().map(Listener::new);
    let (mut differences, mut events) = (Vec::new(), 0);
    for (file, text) in cases::files() {
        if NOT_BY_SOCKETS
            .iter()
            .any(|left_out| file.ends_with(left_out))
        {
            continue;
        }
        for case in cases::cases(&text) {
            let clients = servers.each_ref().map(Server::connect);
            let of_case = Case::new(shards, clients, &case);
            events += of_case.run(&file, &case, &mut listeners, &mut differences);
        }
    }
    assert!(events > 2000, "only {events} events were compared");
    let count = differences.len();
    assert!(
        count == 0,
        "{count} requests differ:\n{}",
        differences.join("\n")
    );
}

/// Requests of which several shards tell in whatever order.
const IN_ANY_ORDER: &[&[u8]] = &[b"XREADGROUP"];

/// A case that runs on both servers.
struct Case {
    shards: u16,
    clients: [Client; 2],
    /// Keys become due within it. They may be found expired at different lines.
    sleeps: bool,
    expired: [Vec<Event>; 2],
}

impl Case {
    fn new(shards: u16, mut clients: [Client; 2], lines: &[cases::Line]) -> Self {
        for client in &mut clients {
            client.call(&["FLUSHALL"]);
            // Keys expire when they are met, and so at the same line.
            let quiet = client.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
            assert_eq!(quiet.raw, b"+OK\r\n", "{quiet}");
        }
        Self {
            shards,
            clients,
            sleeps: lines.iter().any(|line| line.request[0] == b"DEBUG"),
            expired: Default::default(),
        }
    }

    /// Adds what differs; how many events there were.
    fn run(
        mut self,
        file: &str,
        lines: &[cases::Line],
        listeners: &mut [Listener; 2],
        differences: &mut Vec<String>,
    ) -> usize {
        let mut events = 0;
        for line in lines {
            let [redis, here] = self.heard(&line.request, listeners);
            events += redis.len();
            if redis != here {
                let command = show_command(&line.request);
                let place = format!("{file}:{} {command}", line.number);
                differences.push(format!("{place}\n  redis: {redis:?}\n  here:  {here:?}"));
            }
        }
        let [redis, here] = self.expired;
        if redis != here {
            differences.push(format!(
                "{file}:{} and before\n  redis: {redis:?}\n  here:  {here:?}",
                lines[0].number
            ));
        }
        events
    }

    /// What both tell of a request, as it is to be compared.
    fn heard(&mut self, request: &Request, listeners: &mut [Listener; 2]) -> [Vec<Event>; 2] {
        let failed = self
            .clients
            .each_mut()
            .map(|it| it.call(request).is_error());
        let mut both = listeners.each_mut().map(Listener::heard);
        forgive(request, failed[0], &mut both[0]);
        for (heard, expired) in both.iter_mut().zip(&mut self.expired) {
            if self.sleeps {
                expired.extend(heard.extract_if(.., |(word, ..)| word == "expired"));
            }
            if self.shards > 1 && failed[0] {
                // Redis has not looked at what comes behind the key that is to blame.
                heard.retain(|(word, ..)| word != "keymiss");
            }
            let name = request[0].to_ascii_uppercase();
            let of_several = self.shards > 1;
            if name.starts_with(b"SORT") || of_several && IN_ANY_ORDER.contains(&&name[..]) {
                heard.sort_by_key(|(_, key, db)| (db.clone(), key.clone()));
            } else if of_several {
                // Misses on several shards are told of in whatever order.
                let misses = heard.extract_if(.., |(word, ..)| word == "keymiss");
                let mut misses: Vec<Event> = misses.collect();
                misses.sort();
                heard.extend(misses);
            }
        }
        both
    }
}
