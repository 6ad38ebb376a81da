//! Keyspace notifications: what their directive takes, when keys are told of that nobody
//! touches, and in which order. `differential/events.rs` compares the events of all
//! commands with redis-server.

mod support;

use support::client::{Client, Value};
use support::server::Server;
use support::words;

/// Channel and text of the next message to a subscriber.
fn next(subscriber: &mut Client) -> (String, String) {
    match subscriber.read().value() {
        Value::Array(parts) => {
            let [.., channel, text] = parts.as_slice() else {
                panic!("a message has a channel: {parts:?}");
            };
            (channel.text(), text.text())
        }
        other => panic!("a subscriber is sent arrays: {other:?}"),
    }
}

/// The next event: its name and the key.
fn next_event(subscriber: &mut Client) -> (String, String) {
    let (channel, key) = next(subscriber);
    let (_, word) = channel
        .split_once("__:")
        .expect("only events are subscribed to");
    (word.to_owned(), key)
}

fn notified(server: &Server, classes: &str) -> Client {
    set(&mut server.connect(), classes);
    let mut subscriber = server.connect();
    subscriber.call(&["PSUBSCRIBE", "__key*__:*"]);
    subscriber
}

fn set(client: &mut Client, classes: &str) {
    let reply = client.call(&["CONFIG", "SET", "notify-keyspace-events", classes]);
    assert_eq!(reply.raw, b"+OK\r\n", "{reply}");
}

/// What the directive answers to every value is what redis-server answers.
#[test]
fn the_directive_takes_what_redis_takes() {
    let servers = [Server::redis(&[]), Server::cordis(2, &[])];
    let mut clients = servers.each_ref().map(Server::connect);
    for value in [
        "KEA",
        "AKE",
        "",
        "K",
        "E",
        "A",
        "g$lszhxetdnm",
        "KEAnm",
        "KEg$lshzxetd",
        "xK",
        "KEAq",
        "K E",
        "hK",
        "nK",
        "mK",
        "dKE",
        "kEA",
        "KE\nA",
        "AAKK",
        "mmn",
        "\"KEA\"",
    ] {
        let [redis, here] = clients.each_mut().map(|client| {
            let set = client.call(&["CONFIG", "SET", "notify-keyspace-events", value]);
            let get = client.call(&["CONFIG", "GET", "notify-keyspace-events"]);
            (support::show(&set.raw), support::show(&get.raw))
        });
        assert_eq!(here, redis, "{value:?}");
    }
}

/// Each class, and each kind of channel, by itself.
#[test]
fn only_what_is_wanted_is_told() {
    let commands = [
        "SET s 1",
        "LPUSH l 1",
        "SADD t 1",
        "HSET h f 1",
        "ZADD z 1 a",
        "XADD x 1 f v",
        "SET s 1 PX 1",
        "DEL l",
        "GET l",
        "EXPIRE h 100",
        "SPOP t",
        "RENAME h k",
    ];
    for shards in [1, 4] {
        let servers = [Server::redis(&[]), Server::cordis(shards, &[])];
        for classes in [
            "Kg", "E$", "Kl", "Es", "Kh", "Ez", "KEx", "Et", "En", "Km", "A", "K", "E", "KE", "",
            "EA", "KA", "Kgx",
        ] {
            let [redis, here] = servers.each_ref().map(|server| {
                let mut subscriber = notified(server, classes);
                let mut client = server.connect();
                for command in commands {
                    let words: Vec<&str> = command.split(' ').collect();
                    let reply = client.call(&words);
                    assert!(!reply.is_error(), "{command}: {reply}");
                }
                // It goes before the end is told.
                while client.call(&["EXISTS", "s"]).integer() == 1 {}
                set(&mut client, "KEA");
                client.call(&["FLUSHALL"]);
                client.call(&["SET", "end", "1"]);
                let end = ("__keyevent@0__:set".to_owned(), "end".to_owned());
                let told = std::iter::from_fn(|| Some(next(&mut subscriber)));
                let mut told: Vec<_> = told.take_while(|told| *told != end).collect();
                assert_eq!(
                    told.pop(),
                    Some(("__keyspace@0__:end".to_owned(), "set".to_owned()))
                );
                // When it was looked at depends on the clock.
                told.retain(|(channel, text)| !channel.ends_with(":keymiss") && text != "keymiss");
                told.sort();
                told
            });
            assert_eq!(here, redis, "{classes} on {shards} shards");
        }
    }
}

/// Keys and fields go by themselves; each is told of once.
#[test]
fn what_nobody_touches_expires_and_is_told() {
    for shards in [1, 4] {
        let server = Server::cordis(shards, &[]);
        let mut subscriber = notified(&server, "Exhg");
        let mut client = server.connect();
        client.call(&["HSET", "hash", "f", "1", "g", "2"]);
        client.call(&["HSET", "whole", "f", "1"]);
        assert_eq!(next_event(&mut subscriber).0, "hset");
        assert_eq!(next_event(&mut subscriber).0, "hset");
        let keys: Vec<String> = (0..40).map(|number| format!("key:{number}")).collect();
        for key in &keys {
            client.call(&["SET", key, "1", "PX", "20"]);
            assert_eq!(
                next_event(&mut subscriber),
                ("expire".to_owned(), key.clone())
            );
        }
        client.call(&["HPEXPIRE", "hash", "20", "FIELDS", "1", "f"]);
        client.call(&["HPEXPIRE", "whole", "20", "FIELDS", "1", "f"]);
        let mut told: Vec<_> = (0..keys.len() + 5)
            .map(|_| next_event(&mut subscriber))
            .collect();
        told.sort();
        let event = |word: &str, key: &str| (word.to_owned(), key.to_owned());
        let mut expected: Vec<_> = keys.iter().map(|key| event("expired", key)).collect();
        expected.push(event("del", "whole"));
        for key in ["hash", "whole"] {
            expected.extend([event("hexpire", key), event("hexpired", key)]);
        }
        expected.sort();
        assert_eq!(told, expected, "on {shards} shards");
        // Who looks now finds nothing that is still to be told.
        for key in keys.iter().map(String::as_str).chain(["whole"]) {
            assert_eq!(client.call(&["EXISTS", key]).integer(), 0);
        }
        assert_eq!(client.call(&["HLEN", "hash"]).integer(), 1);
        client.call(&["DEL", "hash"]);
        assert_eq!(next_event(&mut subscriber), event("del", "hash"));
    }
}

/// Who waits for a key is served by an event of its own, behind that which gave it.
#[test]
fn who_is_served_is_told_of_behind_what_served_it() {
    let waits: &[(&[&str], &[&str])] = &[
        (&["BLPOP", "a", "0"], &["RPUSH", "a", "1", "2"]),
        (&["BRPOP", "a", "b", "0"], &["RPUSH", "b", "1"]),
        (
            &["BLMOVE", "a", "a", "LEFT", "RIGHT", "0"],
            &["RPUSH", "a", "1"],
        ),
        (
            &["BLMPOP", "0", "1", "a", "LEFT", "COUNT", "9"],
            &["LPUSH", "a", "1", "2"],
        ),
        (&["BZPOPMIN", "z", "0"], &["ZADD", "z", "1", "m"]),
        (
            &["BZMPOP", "0", "1", "z", "MAX"],
            &["ZADD", "z", "1", "m", "2", "n"],
        ),
        (
            &[
                "XREADGROUP",
                "GROUP",
                "g",
                "c",
                "BLOCK",
                "0",
                "STREAMS",
                "x",
                ">",
            ],
            &["XADD", "x", "1-1", "f", "v"],
        ),
    ];
    for shards in [1, 4] {
        let servers = [Server::redis(&[]), Server::cordis(shards, &[])];
        for (wait, serve) in waits {
            let [redis, here] = servers.each_ref().map(|server| {
                let mut client = server.connect();
                client.call(&["FLUSHALL"]);
                client.call(&["XGROUP", "CREATE", "x", "g", "$", "MKSTREAM"]);
                client.call(&["XGROUP", "CREATECONSUMER", "x", "g", "c"]);
                let mut subscriber = notified(server, "EAn");
                let mut waiting = server.connect();
                waiting.send(wait);
                support::wait_until("the client waits", || {
                    let info = client.call(&["INFO", "clients"]).to_string();
                    info.contains("blocked_clients:1")
                });
                client.call(serve);
                let reply = waiting.read();
                assert!(!reply.is_error(), "{reply}");
                client.call(&["SET", "end", "1"]);
                let end = ("set".to_owned(), "end".to_owned());
                let told = std::iter::from_fn(|| Some(next_event(&mut subscriber)));
                told.take_while(|told| *told != end).collect::<Vec<_>>()
            });
            assert_eq!(here, redis, "{wait:?} on {shards} shards");
        }
    }
}

/// Several clients at once, over all shards: of each client, all that it has done, in the
/// order in which it has sent it, whatever the shards, once.
#[test]
fn events_come_in_the_order_of_each_client_under_load() {
    const CLIENTS: usize = 4;
    const KEYS: usize = 16;
    const ROUNDS: usize = 200;
    let life: &[(&[&str], &[&str])] = &[
        (&["SET", "KEY", "a"], &["new", "set"]),
        (&["APPEND", "KEY", "b"], &["append"]),
        (&["EXPIRE", "KEY", "1000"], &["expire"]),
        (&["PERSIST", "KEY"], &["persist"]),
        (&["SETRANGE", "KEY", "0", "c"], &["setrange"]),
        (&["DEL", "KEY"], &["del"]),
    ];
    // Step by step through all keys, so that shards take turns.
    let of_round = |client: usize| {
        let steps = life.iter();
        steps.flat_map(move |step| (0..KEYS).map(move |key| (step, format!("{client}:{key}"))))
    };
    let expected: Vec<Vec<(String, String)>> = (0..CLIENTS)
        .map(|client| {
            let told = |((_, told), key): (&(_, &[&str]), String)| {
                let event = move |word: &&str| ((*word).to_owned(), key.clone());
                told.iter().map(event).collect::<Vec<_>>()
            };
            of_round(client).flat_map(told).collect()
        })
        .collect();
    let server = Server::cordis(4, &[]);
    let mut subscriber = notified(&server, "EAn");
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut client = server.connect();
            scope.spawn(move || {
                let requests: Vec<_> = of_round(number)
                    .map(|((words_of, _), key)| {
                        let key = key.as_str();
                        let named = |word: &&'static str| if *word == "KEY" { key } else { *word };
                        words(&words_of.iter().map(named).collect::<Vec<_>>())
                    })
                    .collect();
                for _ in 0..ROUNDS {
                    for reply in client.pipeline(&requests) {
                        assert!(!reply.is_error(), "{reply}");
                    }
                }
            });
        }
        let mut told = [0; CLIENTS];
        while told
            .iter()
            .zip(&expected)
            .any(|(told, of_round)| *told < ROUNDS * of_round.len())
        {
            let event = next_event(&mut subscriber);
            let client: usize = event.1[..1].parse().expect("keys begin with their client");
            let of_round = &expected[client];
            assert_eq!(
                event,
                of_round[told[client] % of_round.len()],
                "event {told:?}"
            );
            told[client] += 1;
        }
    });
}

/// Who speaks RESP3 may listen and write on one connection.
#[test]
fn a_client_is_told_of_its_own_writes() {
    for shards in [1, 4] {
        let server = Server::cordis(shards, &["--notify-keyspace-events", "KA"]);
        let mut client = server.connect_with(3);
        client.send(&["PSUBSCRIBE", "__keyspace@0__:*"]);
        client.read();
        for round in 0..100 {
            let key = format!("key:{round}");
            client.send(&["SET", &key, "1"]);
            let replies = [client.read(), client.read()].map(|reply| support::show(&reply.raw));
            let told = |text: &String| text.contains(&format!("__keyspace@0__:{key}"));
            assert_eq!(
                replies.iter().filter(|text| told(text)).count(),
                1,
                "{replies:?}"
            );
        }
    }
}
