//! Clients that wait for elements: each is served once, in turn, whatever
//! shards its keys lie on, and nothing is lost when it goes away.

mod support;

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::client::{Client, encode};
use support::rng::{Rng, seed};
use support::server::{Server, info_field};
use support::{long_run, wait_until};

/// Redis first: what is asserted of us holds of it.
fn servers() -> Vec<Server> {
    vec![
        Server::redis(&[]),
        Server::cordis(1, &[]),
        Server::cordis(4, &[]),
    ]
}

/// Keys that lie on all of a few shards.
fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("list:{n}")).collect()
}

fn blocked(client: &mut Client) -> usize {
    let info = client.call(&["INFO", "clients"]).to_string();
    let count = info_field(&info, "blocked_clients").map(str::parse::<usize>);
    count.expect("INFO has it").expect("it is a number")
}

fn wait_for_blocked(client: &mut Client, count: usize) {
    wait_until(&format!("{count} clients are blocked"), || {
        blocked(client) == count
    });
}

#[test]
fn first_come_first_served() {
    for server in servers() {
        let mut other = server.connect();
        let mut waiting: Vec<Client> = Vec::new();
        for n in 0..5 {
            let mut client = server.connect();
            client.send(&["BLPOP", "k", "0"]);
            waiting.push(client);
            wait_for_blocked(&mut other, n + 1);
        }
        for (n, client) in waiting.iter_mut().enumerate() {
            let value = format!("v{n}");
            other.call(&["RPUSH", "k", &value]);
            let reply = format!("*2\r\n$1\r\nk\r\n$2\r\n{value}\r\n");
            assert_eq!(client.read().raw, reply.as_bytes(), "{}", server.name);
        }
        assert_eq!(blocked(&mut other), 0, "{}", server.name);
    }
}

#[test]
fn who_waits_is_served_before_anything_else_happens() {
    for server in servers() {
        for key in keys(8) {
            let (mut waiting, mut other) = (server.connect(), server.connect());
            waiting.send(&["BRPOP", &key, "0"]);
            wait_for_blocked(&mut other, 1);
            let push = vec!["RPUSH", &key, "a", "b", "c"];
            let requests = [push, vec!["LRANGE", &key, "0", "-1"], vec!["DEL", &key]];
            let requests = requests.map(|words| words.into_iter().map(Vec::from).collect());
            let replies = other.pipeline(&requests);
            assert_eq!(replies[0].raw, b":3\r\n", "{}", server.name);
            assert_eq!(
                replies[1].raw, b"*2\r\n$1\r\na\r\n$1\r\nb\r\n",
                "{} {key}",
                server.name
            );
            assert!(waiting.read().raw.ends_with(b"$1\r\nc\r\n"));
        }
    }
}

#[test]
fn one_of_several_keys_is_enough_and_only_one_is_taken() {
    for server in servers() {
        let keys = keys(8);
        let mut other = server.connect();
        for at in 0..keys.len() {
            let mut waiting = server.connect();
            let words = [&["BLPOP".to_owned()], &keys[..], &["0".to_owned()]].concat();
            waiting.send(&words);
            wait_for_blocked(&mut other, 1);
            let second = (at + 3) % keys.len();
            let got = |key: &str, value: &str| {
                let (length, size) = (key.len(), value.len());
                format!("*2\r\n${length}\r\n{key}\r\n${size}\r\n{value}\r\n").into_bytes()
            };
            let first_got = got(&keys[at], "first");
            other.call(&["RPUSH", &keys[at], "first"]);
            // Every other time both may be ready before the client is served: then
            // the keys' order among the arguments counts.
            let both = at % 2 == 1;
            if !both {
                wait_for_blocked(&mut other, 0);
            }
            other.call(&["RPUSH", &keys[second], "second"]);
            let reply = waiting.read().raw;
            let second_got = both && second < at && reply == got(&keys[second], "second");
            assert!(
                reply == first_got || second_got,
                "{}: {reply:?}",
                server.name
            );
            let lengths = [at, second].map(|key| other.call(&["LLEN", &keys[key]]).integer());
            let expected = if second_got { [1, 0] } else { [0, 1] };
            assert_eq!(lengths, expected, "{}", server.name);
            other.call(&["DEL", &keys[at], &keys[second]]);
            assert_eq!(blocked(&mut other), 0, "{}", server.name);
        }
    }
}

/// Within a block nothing is seen of what comes and goes, and nothing waits.
#[test]
fn a_block_serves_those_who_wait_when_it_is_over() {
    for server in servers() {
        let mut other = server.connect();
        for key in keys(8) {
            let mut waiting = server.connect();
            waiting.send(&["BLPOP", &key, "far", "0"]);
            wait_for_blocked(&mut other, 1);
            let words = |words: &[&str]| words.iter().map(|word| Vec::from(*word)).collect();
            let replies = other.pipeline(&[
                words(&["MULTI"]),
                words(&["RPUSH", &key, "a"]),
                words(&["BLPOP", &key, "0"]),
                words(&["BLPOP", "far", &key, "0"]),
                words(&["BLMOVE", &key, "else", "LEFT", "LEFT", "0"]),
                words(&["RPUSH", &key, "b"]),
                words(&["SET", "else", "1"]),
                words(&["EXEC"]),
                words(&["DEL", "else"]),
            ]);
            let expected = format!(
                "*6\r\n:1\r\n*2\r\n${}\r\n{key}\r\n$1\r\na\r\n*-1\r\n$-1\r\n:1\r\n+OK\r\n",
                key.len()
            );
            let raw = String::from_utf8(replies[7].raw.clone()).expect("plain");
            assert_eq!(raw, expected, "{}", server.name);
            assert!(
                waiting.read().raw.ends_with(b"$1\r\nb\r\n"),
                "{}",
                server.name
            );
            assert_eq!(other.call(&["EXISTS", &key]).integer(), 0);
        }
    }
}

#[test]
fn a_move_waits_for_its_source() {
    for server in servers() {
        let mut other = server.connect();
        for (n, key) in keys(8).iter().enumerate() {
            let target = format!("target:{n}");
            let mut waiting = server.connect();
            waiting.send(&["BLMOVE", key, &target, "LEFT", "RIGHT", "0"]);
            wait_for_blocked(&mut other, 1);
            // Its destination appears: that is nothing to take.
            other.call(&["RPUSH", &target, "old"]);
            other.call(&["RPUSH", key, "new"]);
            assert_eq!(waiting.read().raw, b"$3\r\nnew\r\n", "{}", server.name);
            let list = other.call(&["LRANGE", &target, "0", "-1"]);
            assert_eq!(list.raw, b"*2\r\n$3\r\nold\r\n$3\r\nnew\r\n");
            assert_eq!(other.call(&["EXISTS", key]).integer(), 0);
        }
    }
}

#[test]
fn what_follows_waits_and_time_ends() {
    for server in servers() {
        let mut client = server.connect();
        let keys = keys(6);
        let block = [&["BLPOP".to_owned()], &keys[..], &["0.05".to_owned()]].concat();
        let words = |words: &[&str]| words.iter().map(|word| Vec::from(*word)).collect();
        let replies = client.pipeline(&[
            words(&["BLMOVE", "a", "b", "LEFT", "LEFT", "0.02"]),
            words(&["SET", "s", "1"]),
            block.iter().map(|word| Vec::from(word.as_str())).collect(),
            words(&["GET", "s"]),
        ]);
        let raw: Vec<_> = replies.iter().map(|reply| reply.raw.as_slice()).collect();
        let expected: [&[u8]; 4] = [b"*-1\r\n", b"+OK\r\n", b"*-1\r\n", b"$1\r\n1\r\n"];
        assert_eq!(raw, expected, "{}", server.name);
        assert_eq!(blocked(&mut client), 0, "{}", server.name);
    }
}

#[test]
fn who_goes_away_takes_nothing_along() {
    for server in servers() {
        let mut other = server.connect();
        let keys = keys(6);
        let several = [&["BLPOP".to_owned()], &keys[..], &["0".to_owned()]].concat();
        let one = ["BLPOP".to_owned(), keys[0].clone(), "0".to_owned()];
        let mut waiting = Vec::new();
        for n in 0..20 {
            let mut client = server.connect();
            client.send(if n % 2 == 0 { &several } else { &one[..] });
            waiting.push(client);
        }
        wait_for_blocked(&mut other, 20);
        for (n, client) in waiting.iter().enumerate() {
            if n % 4 < 2 {
                client
                    .stream()
                    .shutdown(Shutdown::Both)
                    .expect("it is open");
            }
        }
        wait_for_blocked(&mut other, 10);
        other.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        wait_for_blocked(&mut other, 0);
        for key in &keys {
            assert_eq!(other.call(&["RPUSH", key, "v"]).integer(), 1);
            assert_eq!(other.call(&["LLEN", key]).integer(), 1, "{}", server.name);
        }
    }
}

/// Who has only ended its side of the stream still reads: what is taken for it arrives.
#[test]
fn who_has_said_all_gets_what_is_there_and_takes_nothing_later() {
    for server in servers() {
        let mut other = server.connect();
        let keys = keys(8);
        let all = [&["BLPOP".to_owned()], &keys[..], &["0".to_owned()]].concat();
        for n in 0..40 {
            let key = &keys[n % keys.len()];
            let one = ["BLPOP".to_owned(), key.clone(), "0".to_owned()];
            let to = ["BLMOVE", key, "to", "LEFT", "LEFT", "0"].map(str::to_owned);
            let requests = [&one[..], &all[..], &to[..]];
            other.call(&["RPUSH", key, "there"]);
            let mut asking = server.connect();
            asking.send(requests[n % requests.len()]);
            asking.finish_sending();
            let reply = asking.read_to_end();
            let name = &server.name;
            assert!(reply.ends_with(b"$5\r\nthere\r\n"), "{name} {n}: {reply:?}");
            assert_eq!(other.call(&["EXISTS", key]).integer(), 0, "{name}");
            // There is nothing any more: it does not wait.
            let mut asking = server.connect();
            asking.send(requests[n % requests.len()]);
            asking.finish_sending();
            assert_eq!(asking.read_to_end(), b"", "{name} {n}");
            assert_eq!(other.call(&["RPUSH", key, "late"]).integer(), 1);
            assert_eq!(other.call(&["LPOP", key]).bytes(), b"late", "{name} {n}");
        }
    }
}

/// Who is served after a long time has been quiet since then, not since it asked: it is
/// not closed for its silence (`timeout`).
#[test]
fn who_was_served_just_now_is_not_idle() {
    for server in servers() {
        let mut other = server.connect();
        let keys = keys(6);
        let single = vec!["BLPOP".into(), keys[0].clone(), "2".into()];
        let several = [&["BLPOP".to_owned()], &keys[..], &["2".to_owned()]].concat();
        let mut waiting = [server.connect(), server.connect()];
        for (client, block) in waiting.iter_mut().zip([single, several]) {
            client.call(&["CLIENT", "SETNAME", "waited"]);
            client.send(&block);
        }
        for client in &mut waiting {
            assert_eq!(client.read().raw, b"*-1\r\n", "{}", server.name);
        }
        let list = other.call(&["CLIENT", "LIST"]).value().text();
        let waited = list.lines().filter(|line| line.contains("name=waited"));
        let seconds = |line: &str, field: &str| {
            let mut words = line.split(' ');
            let value = words.find_map(|word| word.strip_prefix(field));
            value
                .expect("it is there")
                .parse::<i64>()
                .expect("a number")
        };
        // Each is rounded down.
        let active = waited.map(|line| seconds(line, "age=") - seconds(line, "idle="));
        let active: Vec<i64> = active.collect();
        assert!(
            active.len() == 2 && active.iter().all(|after| *after >= 1),
            "{active:?}"
        );
    }
}

/// However much a client has sent behind the command that it waits in, it is noticed that
/// it has gone; and beyond the limit of what it may send it is closed.
#[test]
fn the_end_of_who_waits_is_noticed_behind_much_that_it_has_sent() {
    const MUCH: usize = 80 << 20;
    for server in servers() {
        let mut other = server.connect();
        let keys = keys(6);
        let blocks = [
            vec!["BLPOP".into(), keys[0].clone(), "0".into()],
            vec!["BLPOP".into(), keys[1].clone(), "0".into()],
            [&["BRPOP".to_owned()], &keys[..], &["0".to_owned()]].concat(),
        ];
        for block in &blocks {
            let mut waiting = server.connect();
            waiting.send(block);
            wait_for_blocked(&mut other, 1);
            let mut requests = Vec::new();
            encode(&["SET", "never", &"x".repeat(1 << 20)], &mut requests);
            (0..MUCH >> 20).for_each(|_| waiting.send_raw(&requests));
            drop(waiting);
            wait_for_blocked(&mut other, 0);
            assert_eq!(other.call(&["RPUSH", &keys[0], "x"]).integer(), 1);
            assert_eq!(other.call(&["LPOP", &keys[0]]).bytes(), b"x");
        }
        let limit = ["CONFIG", "SET", "client-query-buffer-limit", "1mb"];
        assert_eq!(other.call(&limit).raw, b"+OK\r\n");
        let mut waiting = server.connect();
        waiting.send(&blocks[2]);
        wait_for_blocked(&mut other, 1);
        let mut request = Vec::new();
        encode(&["SET", "never", "x"], &mut request);
        // More than the limit; the server may close before it has all.
        waiting.send_what_is_taken(&request.repeat(3 * (1 << 20) / request.len()));
        assert_eq!(waiting.read_to_end(), b"", "{}", server.name);
        wait_for_blocked(&mut other, 0);
        assert_eq!(other.call(&["EXISTS", "never"]).integer(), 0);
        let stats = other.call(&["INFO", "stats"]).value().text();
        let closed = info_field(&stats, "client_query_buffer_limit_disconnections");
        assert!(closed.is_none_or(|closed| closed == "1"), "{closed:?}");
    }
}

#[test]
fn clients_are_unblocked_on_request() {
    for server in servers() {
        let mut other = server.connect();
        let keys = keys(6);
        for words in [
            [&["BLPOP".to_owned()], &keys[..], &["0".to_owned()]].concat(),
            vec!["BLPOP".into(), keys[1].clone(), "0".into()],
        ] {
            for (how, reply) in [
                ("TIMEOUT", "*-1\r\n"),
                (
                    "ERROR",
                    "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n",
                ),
            ] {
                let mut waiting = server.connect();
                let id = waiting.call(&["CLIENT", "ID"]).integer().to_string();
                assert_eq!(other.call(&["CLIENT", "UNBLOCK", &id, how]).integer(), 0);
                waiting.send(&words);
                wait_for_blocked(&mut other, 1);
                assert_eq!(other.call(&["CLIENT", "UNBLOCK", &id, how]).integer(), 1);
                assert_eq!(waiting.read().raw, reply.as_bytes(), "{}", server.name);
                assert_eq!(waiting.call(&["PING"]).raw, b"+PONG\r\n");
                assert_eq!(blocked(&mut other), 0);
            }
        }
    }
}

/// Many producers and consumers over all shards: what was pushed is delivered,
/// each element once.
#[test]
fn every_element_is_delivered_once() {
    let seed = seed("every_element_is_delivered_once");
    let elements = if long_run() { 1_000_000 } else { 4_000 };
    let (producers, consumers) = (4, 8);
    let server = Server::cordis(4, &[]);
    let keys = keys(6);
    let taken = AtomicUsize::new(0);
    let seen: Vec<String> = std::thread::scope(|scope| {
        for producer in 0..producers {
            let (server, keys) = (&server, &keys);
            scope.spawn(move || {
                let mut rng = Rng::new(seed + producer as u64);
                let mut client = server.connect();
                for n in (producer..elements).step_by(producers) {
                    let key = &keys[rng.below(keys.len())];
                    let push = if rng.one_in(2) { "LPUSH" } else { "RPUSH" };
                    if rng.one_in(2) {
                        client.call(&[push, key, &n.to_string()]);
                        continue;
                    }
                    // In a block that locks other keys they wait for, too.
                    let other = &keys[rng.below(keys.len())];
                    client.call(&["MULTI"]);
                    client.call(&["LLEN", other]);
                    client.call(&[push, key, &n.to_string()]);
                    client.call(&["PERSIST", other]);
                    assert_eq!(client.call(&["EXEC"]).value().items().len(), 3);
                }
            });
        }
        let consume = |consumer: usize| {
            let mut rng = Rng::new(seed + 1000 + consumer as u64);
            let mut client = server.connect();
            let mut seen = Vec::new();
            while taken.load(Ordering::Relaxed) < elements {
                // All of them now and then, or a key could be left to nobody.
                let few = 1 + rng.below(3);
                let mut words = vec![if rng.one_in(2) { "BLPOP" } else { "BRPOP" }.to_owned()];
                if rng.one_in(3) {
                    words.extend(keys.iter().cloned());
                } else {
                    words.extend((0..few).map(|_| keys[rng.below(keys.len())].clone()));
                }
                words.push("0.05".to_owned());
                let reply = client.call(&words).raw;
                if reply != b"*-1\r\n" {
                    let text = String::from_utf8(reply).expect("numbers and keys");
                    let lines: Vec<&str> = text.split("\r\n").collect();
                    seen.push(lines[4].to_owned());
                    taken.fetch_add(1, Ordering::Relaxed);
                }
            }
            seen
        };
        let consumers: Vec<_> = (0..consumers)
            .map(|consumer| scope.spawn(move || consume(consumer)))
            .collect();
        let seen = consumers.into_iter().map(|consumer| consumer.join());
        seen.flat_map(|seen| seen.expect("a consumer saw no error"))
            .collect()
    });
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for element in &seen {
        *counts.entry(element).or_default() += 1;
    }
    assert_eq!(counts.len(), elements, "nothing is lost");
    assert_eq!(seen.len(), elements, "nothing is delivered twice");
    let mut client = server.connect();
    assert_eq!(client.call(&["DBSIZE"]).integer(), 0);
}
