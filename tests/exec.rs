//! What is special inside a MULTI: commands that wait do not, those on the whole
//! keyspace see all shards at one instant, and who goes away leaves nothing.
//!
//! The real server is asked first, in the same way; Cordis must answer alike.

mod support;

use shards::command::flags;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use support::client::{Client, Reply, Value, encode};
use support::commands::engine_rows;
use support::rng::{Rng, seed};
use support::server::Server;
use support::{long_run, wait_until};

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// MULTI, the lines and EXEC in one go: the replies, the last one EXEC's.
fn exec(client: &mut Client, lines: &[&str]) -> Vec<Reply> {
    let lines = [&["MULTI"], lines, &["EXEC"]].concat();
    let mut bytes = Vec::new();
    lines
        .iter()
        .for_each(|line| encode(&words(line), &mut bytes));
    client.send_raw(&bytes);
    lines.iter().map(|_| client.read()).collect()
}

/// With the elements of arrays in order.
fn sorted(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let mut items: Vec<String> = items.iter().map(sorted).collect();
            items.sort();
            format!("{items:?}")
        }
        other => format!("{other:?}"),
    }
}

const BLOCKING: &[&str] = &[
    "BLPOP no1 no2 no3 0",
    "BRPOP no1 no2 0",
    "BLMOVE no1 no2 LEFT RIGHT 0",
    "BRPOPLPUSH no1 no2 0",
    "BLMPOP 0 3 no1 no2 no3 LEFT COUNT 2",
    "BZPOPMIN no1 no2 0",
    "BZPOPMAX no1 no2 no3 0",
    "BZMPOP 0 2 no1 no2 MAX",
    "XREAD BLOCK 0 STREAMS no1 no2 $ 0",
    "XREADGROUP GROUP g c BLOCK 0 STREAMS no1 no2 > >",
];

#[test]
fn no_command_waits_in_a_block() {
    for row in engine_rows() {
        let name = format!("{} ", row.name.to_uppercase());
        let listed = BLOCKING.iter().any(|line| line.starts_with(&name));
        assert_eq!(listed, row.flags.has(flags::BLOCKING), "{name}");
    }
    let mut expected = Vec::new();
    for server in [
        Server::redis(&[]),
        Server::cordis(1, &[]),
        Server::cordis(4, &[]),
    ] {
        let mut client = server.connect();
        let mut replies = Vec::new();
        for protocol in ["2", "3"] {
            client.call(&["HELLO", protocol]);
            let mut all = Vec::new();
            for line in BLOCKING {
                // Alone, after it was filled and emptied, and among all others.
                replies.push(exec(&mut client, &[line]));
                let (fill, empty) = ("RPUSH no2 a b", "DEL no2");
                replies.push(exec(
                    &mut client,
                    &[fill, line, line, empty, line, "DEL no1"],
                ));
                let (fill, empty) = ("ZADD no2 1 a 2 b", "DEL no2");
                replies.push(exec(
                    &mut client,
                    &[fill, line, line, empty, line, "DEL no1"],
                ));
                all.push(*line);
            }
            replies.push(exec(&mut client, &all));
        }
        if expected.is_empty() {
            expected = replies;
        } else {
            assert_eq!(expected, replies, "{}", server.name);
        }
    }
}

/// Blocks about all keys.
const WHOLE: &[&[&str]] = &[
    &[
        "DBSIZE",
        "KEYS *",
        "KEYS key:1*",
        "RANDOMKEY",
        "SCAN 0 COUNT 1000",
    ],
    &[
        "SET new 1",
        "DBSIZE",
        "KEYS n*",
        "DEL new",
        "DBSIZE",
        "EXISTS new key:1",
    ],
    &[
        "SELECT 1",
        "DBSIZE",
        "KEYS *",
        "SELECT 2",
        "RANDOMKEY",
        "KEYS *",
        "SCAN 0",
    ],
    &[
        "SWAPDB 0 1",
        "DBSIZE",
        "KEYS *",
        "GET key:3",
        "SELECT 1",
        "KEYS *",
        "GET key:3",
    ],
    &[
        "GET key:3",
        "SWAPDB 1 0",
        "GET key:3",
        "SET key:3 2",
        "SWAPDB 0 1",
        "GET key:3",
    ],
    &[
        "SELECT 1",
        "FLUSHDB",
        "DBSIZE",
        "SET key:7 x",
        "KEYS *",
        "SELECT 0",
        "DBSIZE",
    ],
    &[
        "SWAPDB 0 9",
        "SWAPDB 0 77",
        "DBSIZE",
        "SELECT 9",
        "DBSIZE",
        "SWAPDB 9 0",
    ],
    &[
        "SELECT 1",
        "SCAN 0 COUNT 1000 MATCH key:*",
        "SCAN 0 TYPE list",
        "TYPE key:7",
    ],
    &[
        "FLUSHDB",
        "DBSIZE",
        "RANDOMKEY",
        "KEYS *",
        "SCAN 0",
        "MSET a 1 b 2 c 3",
        "DBSIZE",
    ],
    &[
        "KEYS *",
        "FLUSHALL",
        "KEYS *",
        "SELECT 1",
        "DBSIZE",
        "SET x 1",
        "FLUSHALL ASYNC",
        "DBSIZE",
    ],
];

#[test]
fn the_whole_keyspace_in_a_block() {
    // Whatever is about all keys has its place above.
    for row in engine_rows() {
        let all =
            row.keys.is_empty() && (row.flags.has(flags::READONLY) || row.flags.has(flags::WRITE));
        let name = row.name.to_uppercase();
        let mut lines = WHOLE.concat().into_iter();
        assert!(!all || lines.any(|line| words(line)[0] == name), "{name}");
    }
    let mut expected: Vec<Vec<String>> = Vec::new();
    for server in [
        Server::redis(&[]),
        Server::cordis(1, &[]),
        Server::cordis(4, &[]),
        Server::cordis(7, &[]),
    ] {
        // From connections on several cores.
        for _ in 0..4 {
            let mut client = server.connect();
            client.call(&["FLUSHALL"]);
            for (db, count) in [("1", 5), ("0", 40)] {
                client.call(&["SELECT", db]);
                for key in 0..count {
                    client.call(&["SET", &format!("key:{key}"), db]);
                }
            }
            let mut replies = Vec::new();
            for block in WHOLE {
                client.call(&["SELECT", "0"]);
                let replies_to = exec(&mut client, block);
                let last = replies_to.last().expect("EXEC has a reply").value();
                let last = last.items().iter();
                // Which key is random; that there is one is not.
                let names = |value: &Value| match value {
                    Value::Bulk(text) if text.starts_with(b"key:") => "a key".to_owned(),
                    other => sorted(other),
                };
                replies.push(last.map(names).collect());
            }
            if expected.is_empty() {
                expected = replies;
            } else {
                assert_eq!(expected, replies, "{}", server.name);
            }
        }
    }
}

/// Commands that are refused when they come in: EXEC refuses all. Others fail
/// when they run: the rest runs.
#[test]
fn errors_before_exec_and_within() {
    let before = [
        "NOSUCH",
        "GET",
        "GET a b",
        "SET a",
        "MSET",
        "CLIENT NOSUCH",
        "CONFIG",
        "BLPOP a",
        "SHUTDOWN NOSAVE",
        "EXEC x",
        "DISCARD x",
        "MULTI x",
        "WATCH",
        "COMMAND NOSUCH",
        "OBJECT ENCODING",
        "OBJECT HELP x",
    ];
    let within = [
        "MULTI",
        "WATCH a",
        "INCR text",
        "LPUSH text a",
        "MSET a 1 b",
        "SELECT 99",
        "SETRANGE a -1 x",
        "BLPOP a x",
        "BITOP NOT a b c",
        "ZADD z x y",
        "CONFIG SET nosuch 1",
        "LMPOP 0 a LEFT",
        "SORT text",
        "RENAME nosuch a",
        "SWAPDB 0 99",
    ];
    let mut expected = Vec::new();
    for server in [
        Server::redis(&[]),
        Server::cordis(1, &[]),
        Server::cordis(4, &[]),
    ] {
        let mut client = server.connect();
        client.call(&["SET", "text", "x"]);
        let mut replies = Vec::new();
        for line in before.iter().chain(&within) {
            let mut round = exec(
                &mut client,
                &["SET a 1", "SET b 1", line, "INCR c", "INCR d"],
            );
            // Only EXEC's last: some are replied to with what the server is like.
            for key in ["a", "b", "c", "d"] {
                round.push(client.call(&["GETDEL", key]));
            }
            // That one ends the block at once.
            let aborted = *line == "EXEC x" || round[6].raw.starts_with(b"-EXECABORT");
            assert_eq!(aborted, before.contains(line), "{}: {line}", server.name);
            replies.push((line, round));
        }
        if expected.is_empty() {
            expected = replies;
        } else {
            for (one, other) in expected.iter().zip(&replies) {
                assert_eq!(one, other, "{}", server.name);
            }
        }
    }
}

/// Nobody is left, nothing is watched, and every key can be had at once.
fn nothing_is_left(server: &Server, keys: &[String]) {
    let mut client = server.connect();
    wait_until("those who went away are gone", || {
        let list = client.call(&["CLIENT", "LIST"]).to_string();
        list.lines().count() == 1 && list.contains(" multi=-1 ")
    });
    for key in keys {
        assert_eq!(client.call(&["SET", key, "free"]).raw, b"+OK\r\n");
    }
    let all = [&["EXISTS".to_owned()], keys].concat();
    assert_eq!(client.call(&all).integer(), keys.len() as i64);
    assert_eq!(client.call(&["DBSIZE"]).integer(), keys.len() as i64);
    assert_eq!(client.call(&["FLUSHALL"]).raw, b"+OK\r\n");
}

#[test]
fn who_goes_away_between_multi_and_exec_changes_nothing() {
    let keys: Vec<String> = (0..16).map(|n| format!("key:{n}")).collect();
    for server in [
        Server::redis(&[]),
        Server::cordis(1, &[]),
        Server::cordis(4, &[]),
    ] {
        let mut killer = server.connect();
        for how in 0..5 {
            let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
            for client in &mut clients {
                let watch = [&["WATCH".to_owned()], &keys[..]].concat();
                client.call(&watch);
                client.call(&["MULTI"]);
                for key in &keys {
                    assert_eq!(client.call(&["SET", key, "half"]).raw, b"+QUEUED\r\n");
                }
                match how {
                    0 => client
                        .stream()
                        .shutdown(Shutdown::Both)
                        .expect("it is open"),
                    // In the middle of a request.
                    1 => client.send_raw(b"*1\r\n$4\r\nEX"),
                    2 => client.send_raw(b"*1\r\n$-7\r\n"),
                    3 => drop(client.call(&["RESET"])),
                    _ => {}
                }
            }
            if how == 4 {
                killer.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            }
            drop(clients);
            let exists = [&["EXISTS".to_owned()], &keys[..]].concat();
            assert_eq!(killer.call(&exists).integer(), 0, "{}", server.name);
        }
        drop(killer);
        nothing_is_left(&server, &keys);
    }
}

/// Who is killed in its own block gets the replies up to that first, as from Redis.
#[test]
fn who_kills_itself_in_a_block_is_answered() {
    let mut expected = Vec::new();
    for server in [
        Server::redis(&[]),
        Server::cordis(1, &[]),
        Server::cordis(4, &[]),
    ] {
        for lines in [
            &["SET a 1"][..],
            &["SET a 1", "SET b 1", "SET c 1", "SET d 1"],
        ] {
            let mut client = server.connect();
            let id = client.call(&["CLIENT", "ID"]).integer();
            let kill = format!("CLIENT KILL ID {id} SKIPME no");
            let lines = [&["MULTI"], lines, &[&kill, "GET a", "SET e 1", "EXEC"]].concat();
            let mut bytes = Vec::new();
            lines
                .iter()
                .for_each(|line| encode(&words(line), &mut bytes));
            client.send_raw(&bytes);
            let got = String::from_utf8_lossy(&client.read_to_end()).into_owned();
            let mut other = server.connect();
            let left = other.call(&["MGET", "a", "b", "c", "d", "e"]);
            expected.push((got, left));
            other.call(&["FLUSHALL"]);
        }
        if expected.len() > 2 {
            assert_eq!(expected[..2], expected[2..], "{}", server.name);
            expected.truncate(2);
        }
    }
}

/// Clients whose blocks write one number to all keys, pausing on the way, are
/// killed all the time: nobody ever sees two numbers, and no lock stays.
fn killed_while_their_exec_is_under_way(shards: u16) {
    let server = Server::cordis(shards, &["--enable-debug-command", "yes"]);
    let seed = seed("killed_while_their_exec_is_under_way");
    let keys: Vec<String> = (0..24).map(|n| format!("key:{n}")).collect();
    let (stop, numbers, victim) = (AtomicBool::new(false), AtomicU64::new(1), AtomicU64::new(0));
    let rounds = if long_run() { 20_000 } else { 400 };
    let mut begun = Vec::new();
    let write = |mut rng: Rng| {
        let (mut done, mut lost) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            let mut client = server.connect();
            let id = client.call(&["CLIENT", "ID"]).integer();
            let mut bytes = Vec::new();
            for _ in 0..4 {
                let number = numbers.fetch_add(1, Ordering::Relaxed).to_string();
                encode(&["MULTI"], &mut bytes);
                for (n, key) in keys.iter().enumerate() {
                    encode(&["SET", key, &number], &mut bytes);
                    // The block has to wait for an answer before it goes on.
                    match rng.below(12) {
                        0 => encode(&["BITOP", "OR", "scratch", key, &keys[n / 2]], &mut bytes),
                        1 => encode(&["RENAME", key, "elsewhere"], &mut bytes),
                        2 => encode(&["CONFIG", "GET", "port"], &mut bytes),
                        _ => continue,
                    }
                    encode(&["SET", key, &number], &mut bytes);
                }
                encode(&["DEL", "scratch", "elsewhere"], &mut bytes);
                encode(&["EXEC"], &mut bytes);
            }
            use std::io::Write;
            victim.store(id.cast_unsigned(), Ordering::SeqCst);
            let _ = client.stream().write_all(&bytes);
            // It may have been killed by now.
            let _ = client.stream().shutdown(std::net::Shutdown::Write);
            match client.read_to_end().ends_with(b"\r\n") {
                true => done += 1,
                false => lost += 1,
            }
        }
        (done, lost)
    };
    let (mut killed, mut halves) = (0, Vec::new());
    std::thread::scope(|scope| {
        let (write, rng) = (&write, |n: u64| Rng::new(seed ^ n << 32));
        let writers: Vec<_> = (0..4).map(|n| scope.spawn(move || write(rng(n)))).collect();
        let (mut rng, mut client) = (rng(9), server.connect());
        let mget = [&["MGET".to_owned()], &keys[..]].concat();
        for _ in 0..rounds {
            std::thread::sleep(Duration::from_micros(rng.below(1500) as u64));
            let id = victim.swap(0, Ordering::SeqCst);
            if id > 0 {
                let reply = client.call(&["CLIENT", "KILL", "ID", &id.to_string()]);
                killed += reply.integer();
            }
            let read = client.call(&mget).value();
            halves.extend(
                read.items()
                    .iter()
                    .find(|item| **item != read.items()[0])
                    .cloned(),
            );
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            begun.push(writer.join().expect("a writer only reads and writes"));
        }
    });
    println!("{shards} shards: {killed} killed, (answered, lost) {begun:?}");
    assert_eq!(halves, [], "half of a block");
    assert!(killed > 10, "{killed}");
    nothing_is_left(&server, &keys);
}

#[test]
fn killed_while_their_exec_is_under_way_on_four_shards() {
    killed_while_their_exec_is_under_way(4);
}

#[test]
fn killed_while_their_exec_is_under_way_on_eight_shards() {
    killed_while_their_exec_is_under_way(8);
}

/// A block runs whole, also the server's commands in it, when its client resets the
/// connection while it waits for its turn.
#[test]
fn a_block_whose_client_is_gone_stays_in_its_database() {
    const WALKS: usize = 10;
    const KEYS: usize = 200_000;
    for shards in [1, 4] {
        let server = Server::cordis(shards, &[]);
        let mut other = server.connect();
        for many in 0..KEYS / 1000 {
            let keys = (0..1000).flat_map(|n| [format!("key:{many}:{n}"), "v".to_owned()]);
            other.call(
                &["MSET".to_owned()]
                    .into_iter()
                    .chain(keys)
                    .collect::<Vec<_>>(),
            );
        }
        for round in 0..10 {
            other.call(&["SELECT", "5"]);
            other.call(&["SET", "x", "1"]);
            // Walks through all keys are in the way of FLUSHDB.
            let mut walker = server.connect();
            (0..WALKS).for_each(|_| walker.send(&["KEYS", "*n*o*t*h*i*n*g"]));
            let mut victim = server.connect();
            let mut bytes = Vec::new();
            for line in ["MULTI", "SELECT 5", "FLUSHDB", "CONFIG RESETSTAT", "EXEC"] {
                encode(&words(line), &mut bytes);
            }
            victim.send_raw(&bytes);
            rustix::net::sockopt::set_socket_linger(victim.stream(), Some(Duration::from_secs(0)))
                .expect("it is open");
            drop(victim);
            (0..WALKS).for_each(|_| assert_eq!(walker.read().raw, b"*0\r\n"));
            wait_until("the block has run, or its client was gone before", || {
                let list = other.call(&["CLIENT", "LIST"]).to_string();
                list.lines().filter(|line| line.contains("id=")).count() == 2
            });
            other.call(&["SELECT", "0"]);
            let left = other.call(&["DBSIZE"]).integer();
            assert_eq!(left, KEYS as i64, "round {round} on {shards} shards");
        }
    }
}

/// A block whose reply passes its client's limit is over like any other: its session,
/// on which the server's commands in it ran, goes.
#[test]
fn a_block_whose_reply_is_too_long_leaves_no_client_behind() {
    for shards in [1, 4] {
        let limit = "normal 1mb 0 0";
        let server = Server::cordis(shards, &["--client-output-buffer-limit", limit]);
        let mut other = server.connect();
        other.call(&["SET", "big", &"x".repeat(200_000)]);
        let get = ["GET big"; 20];
        let lines = [&["MULTI", "SELECT 0", "CLIENT ID"], &get[..], &["EXEC"]].concat();
        let mut bytes = Vec::new();
        lines
            .iter()
            .for_each(|line| encode(&words(line), &mut bytes));
        let mut asking = server.connect();
        asking.send_raw(&bytes);
        while asking.try_read().is_ok() {}
        wait_until("it is gone", || {
            let info = other.call(&["INFO", "clients"]).to_string();
            info.contains("connected_clients:1\r\n") || info.contains("connected_clients:1\\r")
        });
    }
}

/// How a client leaves that has sent EXEC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// With a reset, before it has read anything: what it is sent fails.
    Unread,
    Reset,
    HalfClose,
    Killed,
}

/// Sends a block that takes its time and leaves before it is over; false if it is over
/// already, as it may be on a loaded machine.
fn leave_behind(server: &Server, other: &mut Client, block: &[&str], leaving: Leaving) -> bool {
    let mut client = server.connect();
    let id = client.call(&["CLIENT", "ID"]).integer().to_string();
    let mut bytes = Vec::new();
    let lines = [&["MULTI"], block, &["EXEC"]].concat();
    for line in &lines {
        encode(&words(line), &mut bytes);
    }
    client.send_raw(&bytes);
    if leaving != Leaving::Unread {
        (1..lines.len()).for_each(|_| drop(client.read()));
        let stream = client.stream();
        stream.set_nonblocking(true).expect("it is open");
        let early = stream.peek(&mut [0]).map_err(|error| error.kind());
        stream.set_nonblocking(false).expect("it is open");
        if early != Err(ErrorKind::WouldBlock) {
            return false;
        }
    }
    match leaving {
        Leaving::Unread | Leaving::Reset => {
            let socket = socket2::SockRef::from(client.stream());
            let linger = socket.set_linger(Some(Duration::ZERO));
            linger.expect("it is a socket");
        }
        Leaving::HalfClose => {
            let stream = client.stream();
            stream.shutdown(Shutdown::Write).expect("it is open");
            client.try_read().expect("who still reads is answered");
        }
        Leaving::Killed => {
            other.call(&["CLIENT", "KILL", "ID", &id]);
        }
    }
    true
}

/// The commands of the server in a block run although nobody is left to be told:
/// what follows SELECT goes to the database that it names.
fn a_block_keeps_its_database_when_its_client_has_gone(shards: u16) {
    const KEYS: usize = 60_000;
    let server = Server::cordis(shards, &[]);
    let mut other = server.connect();
    for chunk in (0..KEYS).collect::<Vec<_>>().chunks(1000) {
        let pairs = chunk
            .iter()
            .flat_map(|n| [format!("key:{n}"), String::new()]);
        let words: Vec<String> = std::iter::once("MSET".to_owned()).chain(pairs).collect();
        other.call(&words);
    }
    // What goes through all keys many times takes its time.
    let mut block = vec!["KEYS *0000"; 30];
    block.extend(["SELECT 5", "FLUSHDB", "CLIENT LIST", "SELECT 6"]);
    block.extend(["SET done 1", "CONFIG SET timeout 77777", "SELECT 0"]);
    let mut run = 0;
    let mut ways = vec![Leaving::Unread; 10];
    ways.extend([Leaving::Reset, Leaving::HalfClose, Leaving::Killed]);
    let mut early = 0;
    while let Some(leaving) = ways.pop() {
        other.call(&["CONFIG", "SET", "timeout", "0"]);
        other.call(&["SELECT", "5"]);
        other.call(&["MSET", "a", "1", "b", "2", "c", "3"]);
        if !leave_behind(&server, &mut other, &block, leaving) {
            early += 1;
            assert!(early < 100, "no block takes long enough to be left");
            ways.push(leaving);
        }
        if leaving != Leaving::Unread {
            other.call(&["SELECT", "6"]);
            wait_until("the block is over", || {
                other.call(&["EXISTS", "done"]).integer() == 1
            });
        }
        wait_until("the client has gone", || {
            let list = other.call(&["CLIENT", "LIST"]).to_string();
            list.lines().filter(|line| line.contains("id=")).count() == 1
        });
        // These wait for what the block has locked.
        let mut sizes = Vec::new();
        for db in ["0", "5", "6"] {
            other.call(&["SELECT", db]);
            sizes.push(other.call(&["DBSIZE"]).integer());
        }
        let all = KEYS as i64;
        let has_run = sizes[2] == 1;
        let expected = if has_run { [all, 0, 1] } else { [all, 3, 0] };
        assert_eq!(sizes, expected, "{shards} shards, {leaving:?}");
        let timeout = other.call(&["CONFIG", "GET", "timeout"]).raw;
        assert_eq!(
            timeout.ends_with(b"$5\r\n77777\r\n"),
            has_run,
            "{leaving:?}"
        );
        run += usize::from(has_run);
        other.call(&["DEL", "done"]);
    }
    assert!(run > 3, "{run} blocks were run");
}

#[test]
fn a_block_keeps_its_database_when_its_client_has_gone_on_one_shard() {
    a_block_keeps_its_database_when_its_client_has_gone(1);
}

#[test]
fn a_block_keeps_its_database_when_its_client_has_gone_on_four_shards() {
    a_block_keeps_its_database_when_its_client_has_gone(4);
}
