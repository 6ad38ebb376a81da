//! The real server with four shards and with seven, many clients at once and some
//! that are killed or fall silent: does everybody see one history?
//!
//! Three things go on side by side:
//! - Every group of keys has one writer, which counts up in all keys of the
//!   group at once. Readers note how far the writer had come before and after
//!   their request: what they read lies between, and a group never differs
//!   within itself, nor does a later single read fall behind an earlier one.
//! - Tokens wander over names by RENAMENX: at every instant as many names exist
//!   as there are tokens, and no token is there twice.
//! - Clients send pipelines of everything and go away without reading, or stay
//!   and do not read, and are killed.
//!
//! Afterwards nothing may be locked. `CORDIS_LONG=1` plays for twenty
//! minutes.

mod support;

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::client::{Client, Value, encode};
use support::rng::{Rng, seed};
use support::server::Server;
use support::{Roles, long_run, words};

const GROUPS: usize = 3;
const GROUP_KEYS: usize = 5;
const NAMES: usize = 24;
const TOKENS: usize = 8;
/// Keys that stay while others come and go.
const STAYING: usize = 3000;

fn dose() -> Duration {
    match long_run() {
        true => Duration::from_secs(1200),
        false => Duration::from_millis(1500),
    }
}

/// How far the writer of a group has come.
#[derive(Default)]
struct Progress {
    begun: AtomicU64,
    done: AtomicU64,
}

struct Shared {
    stop: AtomicBool,
    roles: Roles,
    groups: [Progress; GROUPS],
    port: u16,
    /// A connection that may be killed, by its id.
    victim: AtomicI64,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

fn group_key(group: usize, key: usize) -> String {
    format!("group:{group}:{key}")
}

fn name(number: usize) -> String {
    format!("name:{number}")
}

/// A request of a word and then others.
fn request(first: &str, rest: impl IntoIterator<Item = String>) -> Vec<Vec<u8>> {
    let rest = rest.into_iter().map(String::into_bytes);
    std::iter::once(first.as_bytes().to_vec())
        .chain(rest)
        .collect()
}

/// Counts up in a group. Now and then its connection ends, between requests.
fn write_group(shared: &Shared, group: usize, mut rng: Rng) {
    let mut client = Client::connect(shared.port);
    while shared.goes_on() {
        let progress = &shared.groups[group];
        let count = progress.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let mut keys: Vec<usize> = (0..GROUP_KEYS).collect();
        for at in (1..keys.len()).rev() {
            keys.swap(at, rng.below(at + 1));
        }
        let pairs = keys
            .iter()
            .flat_map(|key| [group_key(group, *key), count.to_string()]);
        let reply = client.call(&request("MSET", pairs));
        assert_eq!(reply.raw, b"+OK\r\n", "{reply}");
        progress.done.store(count, Ordering::SeqCst);
        if rng.one_in(50) {
            client = Client::connect(shared.port);
        }
    }
}

/// Reads groups, whole and key by key.
fn read_groups(shared: &Shared, mut rng: Rng) -> u64 {
    let mut client = Client::connect(shared.port);
    let mut latest = [0; GROUPS];
    let mut rounds = 0;
    while shared.goes_on() {
        let group = rng.below(GROUPS);
        let progress = &shared.groups[group];
        let before = progress.done.load(Ordering::SeqCst).max(latest[group]);
        let number = |value: &Value| match value {
            Value::Null => 0,
            other => other.text().parse::<u64>().expect("a group holds numbers"),
        };
        let read = if rng.one_in(3) {
            let keys = (0..GROUP_KEYS).map(|key| group_key(group, key));
            let reply = client.call(&request("MGET", keys)).value();
            let read: Vec<u64> = reply.items().iter().map(number).collect();
            assert_eq!(read.len(), GROUP_KEYS);
            assert!(
                read.iter().all(|one| *one == read[0]),
                "half of a group: {read:?}"
            );
            read[0]
        } else {
            let key = group_key(group, rng.below(GROUP_KEYS));
            number(&client.call(&["GET", &key]).value())
        };
        let after = progress.begun.load(Ordering::SeqCst);
        assert!(
            (before..=after).contains(&read),
            "group {group} held {read}, not between {before} and {after}"
        );
        latest[group] = read;
        rounds += 1;
        shared.roles.did("reads");
    }
    rounds
}

/// Has tokens wander, and counts them.
fn wander(shared: &Shared, mut rng: Rng) -> u64 {
    let mut client = Client::connect(shared.port);
    let mut wanderings = 0;
    while shared.goes_on() {
        if rng.one_in(4) {
            count_tokens(&mut client, &mut rng);
            continue;
        }
        let (from, to) = (name(rng.below(NAMES)), name(rng.below(NAMES)));
        let reply = client.call(&["RENAMENX", &from, &to]);
        match reply.raw.as_slice() {
            b":1\r\n" => {
                wanderings += 1;
                shared.roles.did("renamed");
            }
            b":0\r\n" | b"-ERR no such key\r\n" => {}
            _ => panic!("{reply}"),
        }
    }
    wanderings
}

fn count_tokens(client: &mut Client, rng: &mut Rng) {
    let names = (0..NAMES).map(name);
    if rng.one_in(2) {
        let count = client.call(&request("EXISTS", names)).integer();
        assert_eq!(count, TOKENS as i64, "tokens");
        return;
    }
    let reply = match rng.one_in(2) {
        true => client.call(&request("MGET", names)).value(),
        false => client.call(&["KEYS", "name:*"]).value(),
    };
    let there = reply.items().iter().filter(|value| **value != Value::Null);
    let there: Vec<String> = there.map(Value::text).collect();
    let distinct: HashSet<&String> = there.iter().collect();
    assert_eq!((there.len(), distinct.len()), (TOKENS, TOKENS), "{there:?}");
}

/// Sends pipelines and goes away.
fn vanish(shared: &Shared, mut rng: Rng) -> u64 {
    let mut vanished = 0;
    while shared.goes_on() {
        let mut client = Client::connect(shared.port);
        if rng.one_in(3)
            && let Ok(id) = client.try_call(&["CLIENT", "ID"])
        {
            shared.victim.store(id.integer(), Ordering::SeqCst);
        }
        for _ in 0..1 + rng.below(12) {
            let (one, other) = (name(rng.below(NAMES)), name(rng.below(NAMES)));
            let (stray, lost) = (
                format!("stray:{}", rng.below(40)),
                format!("stray:{}", rng.below(40)),
            );
            let line = match rng.below(9) {
                0 => vec!["RENAMENX", &one, &other],
                1 => vec!["RENAME", &stray, &lost],
                2 => vec!["MSET", &stray, "1", &lost, "2"],
                3 => vec!["MGET", &stray, &one, "group:0:0", "group:0:1"],
                4 => vec!["COPY", &stray, &lost, "REPLACE"],
                5 => vec!["BITOP", "NOT", &stray, &lost],
                6 => vec!["MSETNX", &stray, "1", &lost, "2"],
                7 => vec!["SCAN", "0", "COUNT", "100"],
                _ => vec!["DEL", &stray, &lost],
            };
            let mut bytes = Vec::new();
            encode(&line, &mut bytes);
            // It may have been killed.
            let _ = client.stream().write_all(&bytes);
        }
        if rng.one_in(20) {
            std::thread::sleep(Duration::from_millis(1 + rng.below(40) as u64));
        }
        if rng.one_in(2) {
            let _ = client.try_read();
        }
        vanished += 1;
        shared.roles.did("vanished");
        drop(client);
        std::thread::sleep(Duration::from_millis(1));
    }
    vanished
}

/// Kills whoever may be killed.
fn kill(shared: &Shared, mut rng: Rng) -> u64 {
    let mut client = Client::connect(shared.port);
    let mut killed = 0;
    while shared.goes_on() {
        let id = shared.victim.swap(0, Ordering::SeqCst);
        if id > 0 {
            let reply = client.call(&["CLIENT", "KILL", "ID", &id.to_string()]);
            killed += reply.integer().unsigned_abs();
            if killed > 0 {
                shared.roles.did("killed");
            }
        }
        std::thread::sleep(Duration::from_micros(rng.below(3000) as u64));
    }
    killed
}

#[test]
fn clients_see_one_history_and_leave_no_lock() {
    one_history(4, "clients_see_one_history_and_leave_no_lock");
}

/// More shards than cores: each is often in the middle of something.
#[test]
fn clients_of_seven_shards_see_one_history() {
    one_history(7, "clients_of_seven_shards_see_one_history");
}

fn one_history(shards: u16, test: &str) {
    let mut server = Server::cordis(shards, &[]);
    let seed = seed(test);
    let mut client = server.connect();
    for token in 0..TOKENS {
        client.call(&["SET", &name(token), &format!("token {token}")]);
    }
    let shared = Arc::new(Shared {
        stop: AtomicBool::new(false),
        roles: Roles::new(&["reads", "renamed", "vanished", "killed"]),
        groups: Default::default(),
        port: server.port(),
        victim: AtomicI64::new(0),
    });
    let start = |number: u64, work: fn(&Shared, Rng) -> u64| {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || work(&shared, Rng::new(seed ^ number << 32)))
    };
    let writers = (0..GROUPS).map(|group| {
        let (shared, rng) = (Arc::clone(&shared), Rng::new(seed ^ group as u64));
        std::thread::spawn(move || write_group(&shared, group, rng))
    });
    let writers: Vec<_> = writers.collect();
    let others = [
        ("reads", start(1, read_groups)),
        ("reads", start(2, read_groups)),
        ("renamed", start(3, wander)),
        ("renamed", start(4, wander)),
        ("vanished", start(5, vanish)),
        ("killed", start(6, kill)),
    ];
    let end = Instant::now() + dose();
    while shared.roles.go_on(end) && others.iter().all(|(_, thread)| !thread.is_finished()) {
        std::thread::sleep(Duration::from_millis(20));
    }
    shared.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().expect("the writer saw only what it may");
    }
    for (what, thread) in others {
        let count = thread.join().expect("the client saw only what it may");
        println!("{what}: {count}");
    }
    assert!(shared.roles.all_did(), "some have done nothing");
    nothing_is_locked(&mut client);
    server.assert_alive();
}

/// Everything can be read and written: alone, together, and as a whole.
fn nothing_is_locked(client: &mut Client) {
    count_tokens(client, &mut Rng::new(1));
    let keys = (0..GROUPS).flat_map(|group| (0..GROUP_KEYS).map(move |key| group_key(group, key)));
    let strays = (0..40).map(|stray| format!("stray:{stray}"));
    let keys: Vec<String> = keys.chain((0..NAMES).map(name)).chain(strays).collect();
    for key in &keys {
        assert_eq!(client.call(&["SET", key, "free"]).raw, b"+OK\r\n");
    }
    let all = client
        .call(&request("EXISTS", keys.iter().cloned()))
        .integer();
    assert_eq!(all, keys.len() as i64);
    assert_eq!(client.call(&["DBSIZE"]).integer(), all);
    assert_eq!(client.call(&["FLUSHALL"]).raw, b"+OK\r\n");
    assert_eq!(client.call(&["DBSIZE"]).integer(), 0);
}

/// Adds and removes many keys, so that tables grow, split and shrink.
fn churn(shared: &Shared, mut rng: Rng) -> u64 {
    let mut client = Client::connect(shared.port);
    let mut rounds = 0;
    while shared.goes_on() {
        // Some go all into one slot, and swell it.
        let tag = if rng.one_in(2) { "{t}" } else { "" };
        let db = rng.below(2).to_string();
        client.call(&["SELECT", &db]);
        let many = |verb: &str| -> Vec<Vec<Vec<u8>>> {
            let keys = (0..1500).map(|key| format!("{tag}churn:{key}"));
            let value = (verb == "SET").then_some("v");
            let line = |key: String| {
                words(
                    &[Some(verb), Some(&key), value]
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>(),
                )
            };
            keys.map(line).collect()
        };
        for verb in ["SET", "DEL"] {
            client.pipeline(&many(verb));
        }
        rounds += 1;
        shared.roles.did("churned");
    }
    rounds
}

/// Has databases change places: both have the keys that stay.
fn swap(shared: &Shared, _: Rng) -> u64 {
    let mut client = Client::connect(shared.port);
    let mut rounds = 0;
    while shared.goes_on() {
        assert_eq!(client.call(&["SWAPDB", "0", "1"]).raw, b"+OK\r\n");
        rounds += 1;
        shared.roles.did("swapped");
        std::thread::sleep(Duration::from_millis(2));
    }
    rounds
}

/// Walks over all keys; how many calls it took.
fn walk(client: &mut Client, count: &str, met: &mut HashSet<String>) -> u64 {
    let (mut cursor, mut calls) = ("0".to_owned(), 0);
    loop {
        let reply = client
            .call(&["SCAN", &cursor, "COUNT", count, "MATCH", "stay:*"])
            .value();
        let [next, keys] = reply.items() else {
            panic!("SCAN replied {reply:?}")
        };
        met.extend(keys.items().iter().map(Value::text));
        cursor = next.text();
        calls += 1;
        if cursor == "0" {
            return calls;
        }
    }
}

#[test]
fn a_walk_meets_every_key_that_stays() {
    let server = Server::cordis(4, &[]);
    let seed = seed("a_walk_meets_every_key_that_stays");
    let mut client = server.connect();
    for db in ["1", "0"] {
        client.call(&["SELECT", db]);
        let set = |key: usize| words(&["SET", &format!("stay:{key}"), "v"]);
        client.pipeline(&(0..STAYING).map(set).collect::<Vec<_>>());
    }
    let shared = Arc::new(Shared {
        stop: AtomicBool::new(false),
        roles: Roles::new(&["churned", "swapped"]),
        groups: Default::default(),
        port: server.port(),
        victim: AtomicI64::new(0),
    });
    let start = |number: u64, work: fn(&Shared, Rng) -> u64| {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || work(&shared, Rng::new(seed ^ number << 32)))
    };
    let others = [start(1, churn), start(2, churn), start(3, swap)];
    let end = Instant::now() + dose();
    let mut walks = 0;
    while shared.roles.go_on(end) || walks < 3 {
        let mut met = HashSet::new();
        let calls = walk(&mut client, ["10", "100", "2000"][walks % 3], &mut met);
        assert_eq!(met.len(), STAYING, "after {calls} calls");
        walks += 1;
    }
    shared.stop.store(true, Ordering::Relaxed);
    for thread in others {
        thread.join().expect("the client saw no error");
    }
    assert!(shared.roles.all_did(), "some have done nothing");
}
