//! MULTI, EXEC and WATCH against the real server with four shards and with eight,
//! from many clients at once, some of which are killed, and some of which fall
//! silent for a while: does everybody see one history?
//!
//! Five things go on side by side:
//! - Blocks append numbers to lists and read lists. Every number is appended
//!   once, so who read a list has seen exactly the appends before it; with who was
//!   answered before whom, that gives arrows which must not form a circle.
//! - Money moves between accounts; every audit must find all of it.
//! - Counters go up by WATCH, GET, MULTI, SET, EXEC, and count the successes.
//! - Clients that hold queues, watches and half sent blocks vanish or are killed.
//! - A process with many connections, full of blocks and commands on several
//!   shards, is stopped (SIGSTOP) and goes on, again and again, and is killed at
//!   the end. All others fall silent too: in the middle of a block, or before
//!   they read what they asked for.
//!
//! Afterwards nothing may be locked or watched. `CORDIS_LONG=1` plays for twenty
//! minutes.

mod support;

#[path = "simulation/graph.rs"]
mod graph;

use graph::Graph;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::client::{Client, Value, encode};
use support::rng::{Rng, seed};
use support::server::{Server, mortal};
use support::{Roles, long_run, wait_until};

const LISTS: usize = 6;
const ACCOUNTS: usize = 5;
const MONEY: i64 = 1000;
const COUNTERS: usize = 3;

fn dose() -> Duration {
    match long_run() {
        true => Duration::from_secs(1200),
        false => Duration::from_millis(1500),
    }
}

/// What all threads share.
struct Stage {
    stop: AtomicBool,
    roles: Roles,
    port: u16,
    /// Counts what happens: requests that go out, replies that come in.
    clock: AtomicU64,
    numbers: AtomicU64,
    /// How often all counters were raised.
    raised: AtomicI64,
    /// A connection that may be killed, by its id.
    victim: AtomicI64,
}

impl Stage {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }
}

#[derive(Clone, Debug)]
enum Part {
    Append(usize, u64),
    Read(usize),
}

/// A block of appends and reads.
#[derive(Debug)]
struct Op {
    parts: Vec<Part>,
    invoked: u64,
    /// When the reply came, and what was read by each part. Nothing if the
    /// connection was lost.
    done: Option<(u64, Vec<Vec<u64>>)>,
}

fn numbers(value: &Value) -> Vec<u64> {
    let text = match value {
        Value::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    };
    let numbers = text.split(',').filter(|number| !number.is_empty());
    numbers
        .map(|number| number.parse().expect("lists hold numbers"))
        .collect()
}

/// Sends MULTI, the commands and EXEC in one go; the reply to EXEC, or nothing if
/// the connection is lost before it. Now and then it takes a while between two
/// bytes, or before it reads.
fn block(client: &mut Client, rng: &mut Rng, commands: &[Vec<String>]) -> Option<Value> {
    use std::io::Write;
    let mut bytes = Vec::new();
    encode(&["MULTI"], &mut bytes);
    for command in commands {
        encode(command, &mut bytes);
    }
    encode(&["EXEC"], &mut bytes);
    let (now, later) = match rng.one_in(60) {
        true => bytes.split_at(rng.below(bytes.len())),
        false => (&bytes[..], &[][..]),
    };
    client.stream().write_all(now).ok()?;
    if !later.is_empty() {
        silence(rng);
        client.stream().write_all(later).ok()?;
    }
    if rng.one_in(60) {
        silence(rng);
    }
    for _ in 0..=commands.len() {
        let reply = client.try_read().ok()?;
        assert!(!reply.is_error(), "{reply}");
    }
    Some(client.try_read().ok()?.value())
}

fn silence(rng: &mut Rng) {
    std::thread::sleep(Duration::from_millis(1 + rng.below(40) as u64));
}

fn line(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn list(number: usize) -> String {
    format!("list:{number}")
}

fn account(number: usize) -> String {
    format!("account:{number}")
}

/// Appends and reads, in blocks of one to four commands. The connection may be
/// killed by others at any time.
fn append(stage: &Stage, mut rng: Rng) -> Vec<Op> {
    let mut ops = Vec::new();
    let mut client = Client::connect(stage.port);
    while stage.goes_on() {
        if rng.one_in(20)
            && let Ok(id) = client.try_call(&["CLIENT", "ID"])
        {
            stage.victim.store(id.integer(), Ordering::SeqCst);
        }
        let (mut parts, mut commands) = (Vec::new(), Vec::new());
        for _ in 0..1 + rng.below(4) {
            let at = rng.below(LISTS);
            if rng.one_in(2) {
                let number = stage.numbers.fetch_add(1, Ordering::Relaxed);
                commands.push(line(&["APPEND", &list(at), &format!("{number},")]));
                parts.push(Part::Append(at, number));
            } else {
                commands.push(line(&["GET", &list(at)]));
                parts.push(Part::Read(at));
            }
        }
        let invoked = stage.tick();
        let done = block(&mut client, &mut rng, &commands).map(|reply| {
            let read: Vec<Vec<u64>> = reply.items().iter().map(numbers).collect();
            assert_eq!(read.len(), parts.len(), "{reply:?}");
            (stage.tick(), read)
        });
        if done.is_none() {
            client = Client::connect(stage.port);
        }
        ops.push(Op {
            parts,
            invoked,
            done,
        });
    }
    ops
}

/// Moves money, and audits.
fn bank(stage: &Stage, mut rng: Rng) -> u64 {
    let mut client = Client::connect(stage.port);
    let mut rounds = 0;
    while stage.goes_on() {
        rounds += 1;
        let (from, to) = (account(rng.below(ACCOUNTS)), account(rng.below(ACCOUNTS)));
        if rng.one_in(2) {
            let amount = rng.below(20).to_string();
            let commands = [
                line(&["DECRBY", &from, &amount]),
                line(&["INCRBY", &to, &amount]),
            ];
            assert!(block(&mut client, &mut rng, &commands).is_some());
            continue;
        }
        let accounts: Vec<String> = (0..ACCOUNTS).map(account).collect();
        let read = if rng.one_in(2) {
            let get = |name: &String| line(&["GET", name]);
            let commands: Vec<_> = accounts.iter().map(get).collect();
            block(&mut client, &mut rng, &commands).expect("nobody kills this client")
        } else {
            let words = std::iter::once("MGET".to_owned()).chain(accounts);
            client.call(&words.collect::<Vec<_>>()).value()
        };
        let balance = |value: &Value| match value {
            Value::Null => 0,
            other => other.text().parse::<i64>().expect("accounts hold numbers"),
        };
        let sum: i64 = read.items().iter().map(balance).sum();
        assert_eq!(sum, MONEY, "{read:?}");
        stage.roles.did("bank");
    }
    rounds
}

/// Raises counters on different shards together, if nobody else does meanwhile.
fn count(stage: &Stage, mut rng: Rng) -> u64 {
    let mut client = Client::connect(stage.port);
    let mut raised = 0;
    while stage.goes_on() {
        let names: Vec<String> = (0..COUNTERS).map(|n| format!("counter:{n}")).collect();
        let one = &names[rng.below(COUNTERS)];
        let watch: Vec<&str> = ["WATCH"]
            .into_iter()
            .chain(names.iter().map(String::as_str))
            .collect();
        assert_eq!(client.call(&watch).raw, b"+OK\r\n");
        let read = client.call(&["GET", one]);
        let value = match read.value() {
            Value::Null => 0,
            other => other.text().parse::<i64>().expect("counters hold numbers"),
        };
        let next = (value + 1).to_string();
        let commands: Vec<_> = names
            .iter()
            .map(|name| line(&["SET", name, &next]))
            .collect();
        match block(&mut client, &mut rng, &commands).expect("nobody kills this client") {
            Value::Null => {}
            _ => {
                raised += 1;
                stage.roles.did("count");
            }
        }
    }
    stage.raised.fetch_add(raised, Ordering::SeqCst);
    raised.unsigned_abs()
}

/// Begins all sorts of things and goes away in the middle.
fn vanish(stage: &Stage, mut rng: Rng) -> u64 {
    use std::io::Write;
    let mut vanished = 0;
    while stage.goes_on() {
        let client = Client::connect(stage.port);
        let mut bytes = Vec::new();
        for _ in 0..1 + rng.below(3) {
            let (from, to) = (account(rng.below(ACCOUNTS)), account(rng.below(ACCOUNTS)));
            encode(&["WATCH", &from, &to, "counter:0"], &mut bytes);
            encode(&["MULTI"], &mut bytes);
            encode(&["DECRBY", &from, "7"], &mut bytes);
            encode(&["SELECT", "0"], &mut bytes);
            encode(&["CONFIG", "GET", "port"], &mut bytes);
            encode(&["INCRBY", &to, "7"], &mut bytes);
            if rng.one_in(3) {
                encode(&["GET", "counter:0"], &mut bytes);
            }
            encode(&["EXEC"], &mut bytes);
        }
        let sent = rng.below(bytes.len() + 1).max(bytes.len() / 2);
        // The server may have closed already.
        let _ = client.stream().write_all(&bytes[..sent]);
        if rng.one_in(2) {
            std::thread::sleep(Duration::from_micros(rng.below(500) as u64));
        }
        drop(client);
        vanished += 1;
        stage.roles.did("vanish");
    }
    vanished
}

/// Sends blocks without end and reads their replies, until it is killed: the
/// replies of some connections are never read. Prints nothing.
const DRIVEN: &str = r#"
import socket, sys, time
def line(text):
    words = text.split()
    return "*%d\r\n" % len(words) + "".join("$%d\r\n%s\r\n" % (len(w), w) for w in words)
lines = ["MULTI", "MGET account:0 account:1 account:2 account:3", "DECRBY account:1 3",
         "SET stopped:1 x", "COPY stopped:1 stopped:2 REPLACE", "INCRBY account:4 3", "EXEC",
         "MSET stopped:3 1 stopped:4 2 stopped:5 3", "WATCH stopped:1 stopped:3",
         "RENAME stopped:3 stopped:6", "MULTI", "GET stopped:6", "DEL stopped:4", "EXEC"]
request = "".join(map(line, lines)).encode() * 4
ends = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(8)]
for end in ends:
    end.setblocking(False)
named = line("CLIENT SETNAME " + sys.argv[2]).encode()
rest = [named + request] * len(ends)
while True:
    for number, end in enumerate(ends):
        try:
            rest[number] = rest[number] or request
            rest[number] = rest[number][end.send(rest[number]):]
        except BlockingIOError:
            pass
        try:
            while number % 4 and end.recv(65536):
                pass
        except BlockingIOError:
            pass
    time.sleep(0.002)
"#;

/// Stops a process full of clients, has it go on, and kills it at the end.
fn halt(stage: &Stage, mut rng: Rng) -> u64 {
    let mut stopped = 0;
    while stage.goes_on() {
        let mut clients = mortal("python3");
        let name = format!("driven-{stopped}");
        let clients = clients.args(["-c", DRIVEN, &stage.port.to_string(), &name]);
        let mut clients = clients.spawn().expect("python3 is installed");
        let signal = |name: &str| {
            let id = clients.id().to_string();
            let sent = std::process::Command::new("kill")
                .args([name, &id])
                .status();
            assert!(sent.expect("kill is installed").success());
        };
        wait_until("the clients of the process send blocks", || {
            let mut other = Client::connect(stage.port);
            let list = other.call(&["CLIENT", "LIST"]).to_string();
            list.contains(&format!(" name={name} "))
        });
        for _ in 0..3 + rng.below(6) {
            signal("-STOP");
            silence(&mut rng);
            signal("-CONT");
            silence(&mut rng);
            stopped += 1;
            stage.roles.did("halt");
        }
        if rng.one_in(2) {
            signal("-STOP");
            silence(&mut rng);
        }
        clients.kill().expect("it runs");
        clients.wait().expect("it was killed");
    }
    stopped
}

/// Kills whoever may be killed.
fn kill(stage: &Stage, mut rng: Rng) -> u64 {
    let mut client = Client::connect(stage.port);
    let mut killed = 0;
    while stage.goes_on() {
        let id = stage.victim.swap(0, Ordering::SeqCst);
        if id > 0 {
            let reply = client.call(&["CLIENT", "KILL", "ID", &id.to_string()]);
            killed += reply.integer().unsigned_abs();
            if killed > 0 {
                stage.roles.did("kill");
            }
        }
        std::thread::sleep(Duration::from_millis(1 + rng.below(10) as u64));
    }
    killed
}

#[test]
fn blocks_of_many_clients_are_one_history() {
    one_history(4, "blocks_of_many_clients_are_one_history");
}

/// More shards than cores: each is often in the middle of something.
#[test]
fn blocks_on_eight_shards_are_one_history() {
    one_history(8, "blocks_on_eight_shards_are_one_history");
}

fn one_history(shards: u16, test: &str) {
    let mut server = Server::cordis(shards, &[]);
    let seed = seed(test);
    let mut client = server.connect();
    client.call(&["SET", &account(0), &MONEY.to_string()]);
    let stage = Stage {
        stop: AtomicBool::new(false),
        roles: Roles::new(&["bank", "count", "vanish", "kill", "halt"]),
        port: server.port(),
        clock: AtomicU64::new(0),
        numbers: AtomicU64::new(0),
        raised: AtomicI64::new(0),
        victim: AtomicI64::new(0),
    };
    let rng = |number: u64| Rng::new(seed ^ number << 32);
    let (ops, counts) = std::thread::scope(|scope| {
        let stage = &stage;
        let appenders: Vec<_> = (0..4)
            .map(|n| scope.spawn(move || append(stage, rng(n))))
            .collect();
        let others = [
            ("bank", scope.spawn(move || bank(stage, rng(10)))),
            ("bank", scope.spawn(move || bank(stage, rng(11)))),
            ("count", scope.spawn(move || count(stage, rng(12)))),
            ("count", scope.spawn(move || count(stage, rng(13)))),
            ("vanish", scope.spawn(move || vanish(stage, rng(14)))),
            ("kill", scope.spawn(move || kill(stage, rng(15)))),
            ("halt", scope.spawn(move || halt(stage, rng(16)))),
        ];
        let end = Instant::now() + dose();
        while stage.roles.go_on(end) && others.iter().all(|(_, thread)| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stage.stop.store(true, Ordering::Relaxed);
        let mut ops = Vec::new();
        for appender in appenders {
            ops.extend(appender.join().expect("the client saw only what it may"));
        }
        let join = |(what, thread): (_, std::thread::ScopedJoinHandle<'_, u64>)| {
            (
                what,
                thread.join().expect("the client saw only what it may"),
            )
        };
        (ops, others.map(join))
    });
    println!("{} blocks, {counts:?}", ops.len());
    let did = |what: &str| counts.iter().any(|(who, count)| *who == what && *count > 0);
    assert!(counts.iter().all(|(who, _)| did(who)), "{counts:?}");
    let raised = stage.raised.load(Ordering::SeqCst);
    for counter in 0..COUNTERS {
        let name = format!("counter:{counter}");
        assert_eq!(client.call(&["GET", &name]).to_string(), raised.to_string());
    }
    let left = (0..LISTS).map(|at| numbers(&client.call(&["GET", &list(at)]).value()));
    judge(&ops, &left.collect::<Vec<_>>());
    nothing_is_left(&mut client);
    server.assert_alive();
}

/// Whether there is an order of all blocks that explains what they read.
fn judge(ops: &[Op], lists: &[Vec<u64>]) {
    let mut graph = Graph::default();
    let mut writers = HashMap::new();
    for (id, op) in ops.iter().enumerate() {
        for part in &op.parts {
            if let Part::Append(at, number) = part {
                writers.insert(*number, id as u32);
                let there = lists[*at].contains(number);
                assert!(there || op.done.is_none(), "{number} is lost: {op:?}");
            }
        }
    }
    for numbers in lists {
        for pair in numbers.windows(2) {
            graph.edge(writers[&pair[0]], writers[&pair[1]]);
        }
    }
    for (id, op) in ops.iter().enumerate() {
        let Some((_, read)) = &op.done else { continue };
        for (part, read) in op.parts.iter().zip(read) {
            let Part::Read(at) = part else { continue };
            assert!(
                lists[*at].starts_with(read),
                "list {at} was never that: {op:?}"
            );
            if let Some(last) = read.last() {
                graph.edge(writers[last], id as u32);
            }
            if let Some(next) = lists[*at].get(read.len()) {
                graph.edge(id as u32, writers[next]);
            }
        }
    }
    let nodes = real_time(ops, &mut graph);
    if let Some(cycle) = graph.cycle(nodes) {
        let describe = |node: &u32| ops.get(*node as usize).map(|op| format!("{op:?}"));
        let lines: Vec<String> = cycle.iter().filter_map(describe).collect();
        panic!("not one history:\n  {}", lines.join("\n  "));
    }
}

/// Who was answered before another began comes before it; the number of nodes.
fn real_time(ops: &[Op], graph: &mut Graph) -> usize {
    let mut events: Vec<(u64, bool, u32)> = Vec::new();
    for (id, op) in ops.iter().enumerate() {
        events.push((op.invoked, false, id as u32));
        if let Some((at, _)) = op.done {
            events.push((at, true, id as u32));
        }
    }
    events.sort_unstable();
    let (mut nodes, mut latest) = (ops.len() as u32, None);
    for (_, done, id) in events {
        if !done {
            if let Some(latest) = latest {
                graph.edge(latest, id);
            }
            continue;
        }
        graph.edge(id, nodes);
        if let Some(latest) = latest.replace(nodes) {
            graph.edge(latest, nodes);
        }
        nodes += 1;
    }
    nodes as usize
}

/// No lock, no watch, no queue.
fn nothing_is_left(client: &mut Client) {
    wait_until("those who vanished are gone", || {
        let list = client.call(&["CLIENT", "LIST"]).to_string();
        list.lines().count() == 1 && list.contains(" multi=-1 ")
    });
    let keys = (0..LISTS).map(list).chain((0..ACCOUNTS).map(account));
    for key in keys {
        assert_eq!(client.call(&["SET", &key, "free"]).raw, b"+OK\r\n");
    }
    assert_eq!(client.call(&["FLUSHALL"]).raw, b"+OK\r\n");
    assert_eq!(client.call(&["DBSIZE"]).integer(), 0);
}
