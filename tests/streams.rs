//! Replies that are made in pieces: they are what they would be in one, take little
//! memory however slowly they are read, and keep nobody waiting.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use support::client::{Client, Value};
use support::server::Server;
use support::{wait_until, words};

/// More elements than a reply in one piece has, and some megabytes.
const ELEMENTS: usize = 200_000;

fn element(number: usize) -> String {
    format!("element {number} of some twenty-eight bytes")
}

/// Fills a key with `name`, elements of which make so many words.
fn fill(client: &mut Client, request: &[&str], word: impl Fn(usize) -> Vec<String>) {
    let numbers: Vec<usize> = (0..ELEMENTS).collect();
    for chunk in numbers.chunks(2000) {
        let mut request = words(request);
        let all = chunk.iter().flat_map(|number| word(*number));
        request.extend(all.map(String::into_bytes));
        assert!(!client.call(&request).is_error());
    }
}

fn listed(shards: u16) -> Server {
    let server = Server::cordis(shards, &[]);
    fill(&mut server.connect(), &["RPUSH", "list"], |number| {
        vec![element(number)]
    });
    server
}

/// A client that has asked for the whole list and reads nothing.
fn stalled(server: &Server) -> Client {
    let mut reader = server.connect();
    reader.send(&["LRANGE", "list", "0", "-1"]);
    let mut first = [0; 8];
    wait_until("the reply begins", || {
        reader.stream().peek(&mut first).is_ok_and(|come| come == 8)
    });
    assert!(first.starts_with(b"*20000"));
    reader
}

fn assert_whole(reply: &Value, from: usize) {
    let items = reply.items();
    assert_eq!(items.len(), ELEMENTS - from);
    for (at, item) in items.iter().enumerate() {
        assert_eq!(item.text(), element(from + at));
    }
}

/// Bytes that the server has allocated.
fn used_memory(client: &mut Client) -> usize {
    let info = client.call(&["INFO", "memory"]).value().text();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    line.expect("INFO says so")
        .trim()
        .parse()
        .expect("a number")
}

/// The most memory that a process has had, bytes.
fn most_memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()));
    let status = status.expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("so many kB")
        << 10
}

fn shards() -> impl Iterator<Item = u16> {
    [1, 4].into_iter()
}

#[test]
fn lists_come_whole_and_in_order() {
    for shards in shards() {
        let server = listed(shards);
        let mut client = server.connect();
        let requests = [
            words(&["PING"]),
            words(&["LRANGE", "list", "0", "-1"]),
            words(&["LRANGE", "list", "-150000", "-1"]),
            words(&["LRANGE", "list", "5", "5"]),
            words(&["LLEN", "list"]),
        ];
        let replies = client.pipeline(&requests);
        assert_eq!(replies[0].value().text(), "PONG");
        assert_whole(&replies[1].value(), 0);
        assert_whole(&replies[2].value(), 50_000);
        assert_eq!(replies[3].value().items()[0].text(), element(5));
        assert_eq!(replies[4].integer(), ELEMENTS as i64, "{shards} shards");
        let stats = client.call(&["INFO", "commandstats"]).value().text();
        assert!(stats.contains("cmdstat_lrange:calls=3,"), "{stats}");
        let stats = client.call(&["INFO", "stats"]).value().text();
        assert!(stats.contains("keyspace_hits:4\r\n"), "{stats}");
    }
}

#[test]
fn ranges_of_streams_come_whole_and_in_order() {
    const ENTRIES: usize = 30_000;
    for shards in shards() {
        let server = Server::cordis(shards, &[]);
        let mut client = server.connect();
        let entry = |number: usize| {
            let (id, value) = (number.to_string(), element(number));
            words(&["XADD", "stream", &id, "f", &value])
        };
        client.pipeline(&(1..=ENTRIES).map(entry).collect::<Vec<_>>());
        client.call(&["XDEL", "stream", "7", "20000"]);
        let there = |number: &usize| ![7, 20_000].contains(number);
        let all: Vec<usize> = (1..=ENTRIES).filter(there).collect();
        let back: Vec<usize> = all.iter().rev().copied().collect();
        for (request, expected) in [
            (&["XRANGE", "stream", "-", "+"][..], &all[..]),
            (&["XREVRANGE", "stream", "+", "-"], &back),
            (&["XRANGE", "stream", "(4", "+"], &all[4..]),
            (
                &["XRANGE", "stream", "8", "+", "COUNT", "25000"],
                &all[6..25_006],
            ),
        ] {
            let reply = client.call(request).value();
            assert_eq!(reply.items().len(), expected.len(), "{request:?}");
            for (got, number) in reply.items().iter().zip(expected) {
                let parts = got.items();
                let (id, value) = (parts[0].text(), parts[1].items()[1].text());
                assert_eq!((id, value), (format!("{number}-0"), element(*number)));
            }
        }
    }
}

#[test]
fn sets_and_hashes_come_whole_and_once() {
    for shards in shards() {
        let server = Server::cordis(shards, &[]);
        let mut client = server.connect();
        fill(&mut client, &["SADD", "set"], |number| {
            vec![element(number)]
        });
        fill(&mut client, &["HSET", "hash"], |number| {
            vec![element(number), format!("{number}")]
        });
        let all: BTreeSet<String> = (0..ELEMENTS).map(element).collect();
        let values: BTreeSet<String> = (0..ELEMENTS).map(|number| number.to_string()).collect();
        for protocol in ["2", "3"] {
            client.call(&["HELLO", protocol]);
            for (request, expected) in [
                (["SMEMBERS", "set"], &all),
                (["HKEYS", "hash"], &all),
                (["HVALS", "hash"], &values),
            ] {
                let reply = client.call(&request).value();
                assert_eq!(reply.items().len(), ELEMENTS);
                let found: BTreeSet<String> = reply.items().iter().map(Value::text).collect();
                assert!(found == *expected, "{request:?}");
            }
            let pairs = client.call(&["HGETALL", "hash"]).value().pairs();
            assert_eq!(pairs.len(), ELEMENTS);
            let found: BTreeMap<String, String> = pairs
                .iter()
                .map(|(name, value)| (name.text(), value.text()))
                .collect();
            let same = |number| found.get(&element(number)) == Some(&number.to_string());
            assert!((0..ELEMENTS).all(same), "{shards} shards");
        }
    }
}

#[test]
fn ranges_of_sorted_sets_come_in_order_both_ways() {
    for shards in shards() {
        let server = Server::cordis(shards, &[]);
        let mut client = server.connect();
        fill(&mut client, &["ZADD", "zset"], |number| {
            vec![number.to_string(), element(number)]
        });
        let last = (ELEMENTS - 1).to_string();
        let forwards: [&[&str]; 3] = [
            &["ZRANGE", "zset", "10", "-1"],
            &["ZRANGEBYSCORE", "zset", "10", "+inf"],
            &[
                "ZRANGE", "zset", "0", "+inf", "BYSCORE", "LIMIT", "10", "-1",
            ],
        ];
        for request in forwards {
            assert_whole(&client.call(request).value(), 10);
        }
        let backwards: [&[&str]; 3] = [
            &["ZREVRANGE", "zset", "0", "-11", "WITHSCORES"],
            &["ZREVRANGEBYSCORE", "zset", &last, "10", "WITHSCORES"],
            &["ZRANGE", "zset", "0", "-11", "REV", "WITHSCORES"],
        ];
        for protocol in ["2", "3"] {
            client.call(&["HELLO", protocol]);
            for request in backwards {
                let reply = client.call(request).value();
                let items = reply.items();
                let text = |at: usize, half: usize| match protocol {
                    "2" => items[2 * at + half].text(),
                    _ => items[at].items()[half].text(),
                };
                for at in 0..ELEMENTS - 10 {
                    let number = ELEMENTS - 1 - at;
                    assert_eq!(text(at, 0), element(number), "{request:?}");
                    assert_eq!(text(at, 1), number.to_string());
                }
            }
        }
    }
}

#[test]
fn a_reply_that_nobody_reads_takes_little_memory() {
    for shards in shards() {
        let server = listed(shards);
        let mut client = server.connect();
        let before = used_memory(&mut client);
        let mut readers: Vec<Client> = (0..5).map(|_| stalled(&server)).collect();
        let after = used_memory(&mut client);
        let most = 5 * (1 << 20);
        assert!(after < before + most, "{} bytes more", after - before);
        for reader in &mut readers {
            assert_whole(&reader.read().value(), 0);
        }
    }
}

#[test]
fn who_writes_waits_for_no_reader_who_does_not_read() {
    for shards in shards() {
        let server = listed(shards);
        let mut writer = server.connect();
        let writes: [&[&str]; 4] = [
            &["RPUSH", "list", "another"],
            &["RPOP", "list"],
            &["MSET", "key:1", "v", "key:2", "v"],
            &["FLUSHALL"],
        ];
        for write in writes {
            let mut reader = stalled(&server);
            assert!(!writer.call(write).is_error(), "{write:?}");
            let reply = reader.read().value();
            let items = reply.items();
            if write[0] == "RPOP" {
                assert_eq!(items.last().map(Value::text), Some("another".into()));
            } else {
                assert_whole(&reply, 0);
            }
        }
        assert_eq!(writer.call(&["DBSIZE"]).integer(), 0);
    }
}

#[test]
fn a_client_that_goes_away_leaves_no_lock() {
    for shards in shards() {
        let server = listed(shards);
        let mut client = server.connect();
        for round in 0..4 {
            let mut reader = server.connect();
            let id = reader.call(&["CLIENT", "ID"]).integer().to_string();
            reader.send(&["LRANGE", "list", "0", "-1"]);
            if round % 2 == 0 {
                assert_eq!(client.call(&["CLIENT", "KILL", "ID", &id]).integer(), 1);
                reader.read_to_end();
            }
            drop(reader);
            let len = client.call(&["RPUSH", "list", "more"]).integer();
            assert_eq!(len, (ELEMENTS + round + 1) as i64, "{shards} shards");
        }
    }
}

#[test]
fn a_silent_client_is_told_nothing() {
    for shards in shards() {
        let server = listed(shards);
        let mut client = server.connect();
        client.send(&["CLIENT", "REPLY", "SKIP"]);
        client.send(&["LRANGE", "list", "0", "-1"]);
        assert_eq!(client.call(&["ECHO", "next"]).value().text(), "next");
        client.send(&["CLIENT", "REPLY", "OFF"]);
        client.send(&["LRANGE", "list", "0", "-1"]);
        client.send(&["RPUSH", "list", "new"]);
        client.send(&["CLIENT", "REPLY", "ON"]);
        assert_eq!(client.read().value().text(), "OK");
        let len = client.call(&["LLEN", "list"]).integer();
        assert_eq!(len, ELEMENTS as i64 + 1, "{shards} shards");
    }
}

#[test]
fn within_a_block_a_long_reply_is_one_of_several() {
    for shards in shards() {
        let server = listed(shards);
        let mut client = server.connect();
        for request in [
            &["MULTI"][..],
            &["RPUSH", "list", "last"],
            &["LRANGE", "list", "0", "-1"],
            &["LPOP", "list"],
        ] {
            client.call(request);
        }
        let reply = client.call(&["EXEC"]).value();
        assert_eq!(reply.items()[1].items().len(), ELEMENTS + 1);
        assert_eq!(reply.items()[2].text(), element(0), "{shards} shards");
    }
}

#[test]
fn a_key_that_expires_while_it_is_read_is_read_to_its_end() {
    for shards in shards() {
        let server = listed(shards);
        let mut client = server.connect();
        assert_eq!(client.call(&["PEXPIRE", "list", "1500"]).integer(), 1);
        let mut reader = stalled(&server);
        wait_until("the key expires", || {
            client.call(&["EXISTS", "list"]).integer() == 0
        });
        assert_whole(&reader.read().value(), 0);
        wait_until("the key is gone", || {
            client.call(&["DBSIZE"]).integer() == 0
        });
        let stats = client.call(&["INFO", "stats"]).value().text();
        assert!(stats.contains("expired_keys:1\r\n"), "{stats}");
    }
}

/// Long replies and large ones of several shards in one pipeline, read at once: those of
/// later places wait without holding up the first.
#[test]
fn long_replies_of_several_shards_are_pipelined() {
    for shards in shards() {
        let server = Server::cordis(shards, &[]);
        let mut client = server.connect();
        for key in 0..4 {
            let name = format!("list:{key}");
            fill(&mut client, &["RPUSH", &name], |number| {
                vec![element(number)]
            });
            client.call(&["SET", &format!("big:{key}"), &"x".repeat(150_000)]);
        }
        // Clients of every core.
        for _ in 0..4 * shards {
            let mut client = server.connect();
            let mut requests = Vec::new();
            for key in 0..4 {
                requests.push(words(&["LRANGE", &format!("list:{key}"), "0", "-1"]));
                requests.push(words(&["GET", &format!("big:{}", (key + 1) % 4)]));
            }
            for reply in client.pipeline(&requests).chunks(2) {
                assert_whole(&reply[0].value(), 0);
                assert_eq!(reply[1].bytes().len(), 150_000);
            }
        }
    }
}

/// Requests whose replies have 300 MB and more: keys on whatever shard, on several,
/// in blocks, by chance, of the server itself.
fn greedy_requests() -> Vec<Vec<Vec<Vec<u8>>>> {
    let repeated = |name: &str, keys: &[&str]| {
        let keys = keys.iter().cycle().take(3000);
        words(&[&[name], &keys.copied().collect::<Vec<&str>>()[..]].concat())
    };
    let block = |command: Vec<Vec<u8>>| {
        let mut block = vec![words(&["MULTI"]), words(&["INCR", "count"])];
        block.extend(std::iter::repeat_n(command, 10));
        block.push(words(&["EXEC"]));
        block
    };
    let docs: Vec<&str> = std::iter::repeat_n("SET", 300_000).collect();
    let docs = words(&[&["COMMAND", "DOCS"], &docs[..]].concat());
    vec![
        vec![repeated("MGET", &["a"])],
        vec![repeated("MGET", &["b"])],
        vec![repeated("MGET", &["c"])],
        vec![repeated("MGET", &["a", "b", "c", "d", "e"])],
        vec![words(&["SRANDMEMBER", "set", "-3000"])],
        vec![words(&["HRANDFIELD", "hash", "-3000", "WITHVALUES"])],
        vec![words(&["ZRANDMEMBER", "zset", "-3000"])],
        block(repeated("MGET", &["a"])),
        block(repeated("MGET", &["a", "b", "c", "d", "e"])),
        vec![docs],
    ]
}

#[test]
fn a_reply_ends_at_its_clients_limit() {
    let limit = ["--client-output-buffer-limit", "normal 2mb 0 0"];
    for server in [
        Server::redis(&limit),
        Server::cordis(1, &limit),
        Server::cordis(4, &limit),
    ] {
        let mut client = server.connect();
        let value = "v".repeat(100_000);
        for request in [
            &[
                "MSET", "a", &value, "b", &value, "c", &value, "d", &value, "e", &value,
            ][..],
            &["SADD", "set", &value],
            &["HSET", "hash", "field", &value],
            &["ZADD", "zset", "1", &value],
        ] {
            assert!(!client.call(request).is_error());
        }
        let before = most_memory(&server);
        let requests = greedy_requests();
        let count = requests.len();
        for pipeline in requests {
            let mut greedy = server.connect();
            let mut bytes = Vec::new();
            let blocks = pipeline.len() > 1;
            let name = String::from_utf8_lossy(&pipeline[0][0]).into_owned();
            for request in &pipeline {
                support::client::encode(request, &mut bytes);
            }
            greedy.send_raw(&bytes);
            let heard = greedy.read_to_end();
            assert!(heard.len() < 1000, "{name}: {} bytes", heard.len());
            assert!(blocks || heard.is_empty(), "{name}");
        }
        let grown = most_memory(&server) - before;
        assert!(grown < 80 << 20, "{} MiB", grown >> 20);
        // What a block does it has done.
        assert_eq!(client.call(&["GET", "count"]).value().text(), "2");
        assert_eq!(client.call(&["STRLEN", "e"]).integer(), 100_000);
        let stats = client.call(&["INFO", "stats"]).value().text();
        let closed =
            support::server::info_field(&stats, "client_output_buffer_limit_disconnections");
        assert!(
            closed.is_none_or(|closed| closed == count.to_string()),
            "{closed:?}"
        );
    }
}

/// Redis keeps the first 16 KiB of what waits in a buffer that it does not count, and
/// what comes next in one that counts as more than it holds.
#[test]
fn a_small_limit_begins_behind_the_first_buffer() {
    for server in [
        Server::redis(&["--enable-debug-command", "yes"]),
        Server::cordis(1, &[]),
        Server::cordis(4, &[]),
    ] {
        let mut other = server.connect();
        if server.name.contains("redis") {
            // The first buffer would shrink with time.
            let fixed = other.call(&["DEBUG", "REPLYBUFFER", "RESIZING", "0"]);
            assert_eq!(fixed.raw, b"+OK\r\n");
        }
        for limit in ["1", "1000", "16384", "20504"] {
            // With its header and its end.
            for length in [16_384 - 10, 16_384 - 9] {
                let name = &server.name;
                let none = [
                    "CONFIG",
                    "SET",
                    "client-output-buffer-limit",
                    "normal 0 0 0",
                ];
                assert_eq!(other.call(&none).raw, b"+OK\r\n");
                other.call(&["SET", "k", &"x".repeat(length)]);
                let small = format!("normal {limit} 0 0");
                let small = ["CONFIG", "SET", "client-output-buffer-limit", &small];
                assert_eq!(other.call(&small).raw, b"+OK\r\n");
                let mut client = server.connect();
                client.send(&["GET", "k"]);
                let heard = client.try_read().map_or(0, |reply| reply.raw.len());
                let expected = if length == 16_384 - 10 { 16_384 } else { 0 };
                assert_eq!(heard, expected, "{name}: {limit}, {length}");
            }
        }
    }
}
