//! What goes through all keys does so in slices: meanwhile others are served,
//! except who wants to write, and a client that goes away leaves nothing behind.

mod support;

use support::client::{Client, Value};
use support::server::Server;
use support::{wait_until, words};

const KEYS: usize = 200_000;

fn server(shards: u16) -> Server {
    let server = Server::cordis(shards, &[]);
    let mut client = server.connect();
    for chunk in (0..KEYS).collect::<Vec<_>>().chunks(1000) {
        let mut request = words(&["MSET"]);
        for number in chunk {
            request.push(format!("key:{number}").into_bytes());
            request.push(b"v".to_vec());
        }
        assert_eq!(client.call(&request).value().text(), "OK");
    }
    server
}

/// Whether something has come that is not read yet.
fn has_reply(client: &Client) -> bool {
    let stream = client.stream();
    stream.set_nonblocking(true).expect("a socket can be asked");
    let come = stream.peek(&mut [0]).is_ok();
    stream
        .set_nonblocking(false)
        .expect("a socket can be asked");
    come
}

/// A KEYS that is under way, seen to have begun and not to be over: the client that
/// has sent it, and its id.
fn begun(server: &Server) -> (Client, String) {
    // Matches every key, and takes its time to tell.
    under_way(server, &[&["KEYS", "*:*[0-9]*"]])
}

/// As [`begun`], with these requests, of which the last takes its time.
fn under_way(server: &Server, requests: &[&[&str]]) -> (Client, String) {
    let (mut client, mut other) = (server.connect(), server.connect());
    let id = client.call(&["CLIENT", "ID"]).integer().to_string();
    let (last, before) = requests.split_last().expect("there is one");
    for _ in 0..100 {
        before.iter().for_each(|request| {
            client.call(request);
        });
        client.send(last);
        let name = format!(" cmd={} ", last[0].to_lowercase());
        wait_until("the server has begun", || {
            let list = other.call(&["CLIENT", "LIST", "ID", &id]).to_string();
            list.contains(&name)
        });
        if !has_reply(&client) {
            return (client, id);
        }
        client.read();
        // Or it would be taken for the next one.
        client.call(&["PING"]);
    }
    panic!("{last:?} was never met under way");
}

#[test]
fn a_writer_waits_for_keys_and_a_reader_does_not() {
    for shards in [1, 4] {
        let server = server(shards);
        let (mut reader, mut writer) = (server.connect(), server.connect());
        let mut passed = 0;
        for round in 1.. {
            let (mut walker, _) = begun(&server);
            let new = format!("key:new:{round}");
            writer.send(&["SET", &new, "v"]);
            let mut written_first = false;
            while !has_reply(&walker) {
                written_first |= has_reply(&writer) && !has_reply(&walker);
                let key = format!("key:{passed}");
                assert_eq!(reader.call(&["GET", &key]).value().text(), "v");
                passed += 1;
            }
            let found = walker.read().value();
            assert_eq!(writer.read().value().text(), "OK");
            let is_new = |key: &&Value| key.bytes() == new.as_bytes();
            let news = found.items().iter().filter(is_new).count();
            assert_eq!(found.items().len(), KEYS + news, "{shards} shards");
            // With several shards, the one of the new key may be ready earlier.
            if shards == 1 && written_first {
                assert_eq!(news, 1, "a write came in between");
            }
            assert_eq!(reader.call(&["DEL", &new]).integer(), 1);
            // A read that waits for KEYS is the only one of its round. On a machine
            // with much else to do it may be by chance.
            if round >= 5 && passed > round + 2 {
                break;
            }
            assert!(round < 50, "{passed} reads passed, {shards} shards");
        }
    }
}

#[test]
fn keys_within_a_block_is_of_one_instant_and_sees_the_block() {
    for shards in [1, 4] {
        let server = server(shards);
        let mut client = server.connect();
        for request in [
            &["MULTI"][..],
            &["SET", "key:one", "v"],
            &["KEYS", "key:*"],
            &["DEL", "key:one", "key:1"],
            &["KEYS", "key:?"],
            &["DBSIZE"],
        ] {
            client.call(request);
        }
        let reply = client.call(&["EXEC"]).value();
        let len = |at: usize| reply.items()[at].items().len();
        assert_eq!((len(1), len(3)), (KEYS + 1, 9), "{shards} shards");
        assert_eq!(client.call(&["DBSIZE"]).integer(), KEYS as i64 - 1);
    }
}

#[test]
fn long_replies_keep_their_place() {
    for shards in [1, 4] {
        let server = server(shards);
        let mut client = server.connect();
        let all = words(&["KEYS", "*"]);
        let (ping, none) = (words(&["PING"]), words(&["KEYS", "nothing*"]));
        let requests = [&ping, &all, &none, &all, &ping, &ping].map(Clone::clone);
        let replies = client.pipeline(&requests);
        let count = |at: usize| replies[at].value().items().len();
        assert_eq!([1, 2, 3].map(count), [KEYS, 0, KEYS]);
        for at in [0, 4, 5] {
            assert_eq!(replies[at].value().text(), "PONG", "{shards} shards");
        }
        client.send(&["CLIENT", "REPLY", "SKIP"]);
        client.send(&["KEYS", "*"]);
        assert_eq!(client.call(&["ECHO", "next"]).value().text(), "next");
    }
}

#[test]
fn a_client_killed_during_keys_leaves_no_lock() {
    for shards in [1, 4] {
        let server = server(shards);
        let mut other = server.connect();
        for round in 0..6 {
            let (mut walker, id) = begun(&server);
            if round % 2 == 0 {
                drop(walker);
            } else {
                let killed = other.call(&["CLIENT", "KILL", "ID", &id]);
                assert_eq!(killed.integer(), 1);
                wait_until("it is killed", || walker.is_closed());
            }
            let written = other.call(&["MSET", "key:1", "v", "key:2", "v", "key:3", "v"]);
            assert_eq!(written.value().text(), "OK", "{shards} shards");
        }
        assert_eq!(other.call(&["DBSIZE"]).integer(), KEYS as i64);
        assert_eq!(other.call(&["FLUSHALL"]).value().text(), "OK");
    }
}

/// What DEBUG DIGEST says, and DEBUG DIGEST-VALUE of these keys.
fn digests(client: &mut Client, keys: &[&str]) -> (String, Vec<String>) {
    let all = client.call(&["DEBUG", "DIGEST"]).value().text();
    let request = [&["DEBUG", "DIGEST-VALUE"], keys].concat();
    let values = client.call(&request).value();
    (all, values.items().iter().map(Value::text).collect())
}

const DIGESTED: &[&str] = &["s", "n", "l", "set", "h", "z", "nokey"];

const ONE_WAY: &[&str] = &[
    "SET s text EX 100",
    "SET n 12",
    "RPUSH l a b 3",
    "SADD set 1 2 x",
    "HSET h f 1 g 2",
    "ZADD z 1 a 2.5 b",
    "SELECT 3",
    "SET other v",
    "SELECT 0",
];

/// The same in another order, by other ways, and in other encodings.
const ANOTHER_WAY: &[&str] = &[
    "CONFIG SET set-max-listpack-entries 0 hash-max-listpack-entries 0",
    "CONFIG SET zset-max-listpack-entries 0",
    "ZADD z 2.5 b 0 a",
    "ZINCRBY z 1 a",
    "HSET h g 2 f 0",
    "HINCRBY h f 1",
    "SADD set x y 2",
    "SADD set 1",
    "SREM set y",
    "LPUSH l b a",
    "RPUSH l 3",
    "INCRBY n 12",
    "SET s te",
    "APPEND s xt",
    "EXPIRE s 50",
    "SELECT 3",
    "SET other v",
    "SELECT 0",
];

/// What changes one of the keys, by its number.
const CHANGES: &[(&str, usize)] = &[
    ("SET s texu KEEPTTL", 0),
    ("PERSIST s", 0),
    ("INCR n", 1),
    ("LSET l 0 b", 2),
    ("LSET l 1 a", 2),
    ("SREM set x", 3),
    ("HSET h f 2", 4),
    ("HSET h g 1", 4),
    ("HEXPIRE h 100 FIELDS 1 f", 4),
    ("ZADD z 3 a", 5),
];

fn say(client: &mut Client, lines: &[&str]) {
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(!client.call(&words).is_error(), "{line}");
    }
}

#[test]
fn a_digest_tells_what_is_stored_and_not_how() {
    let debug = ["--enable-debug-command", "yes"];
    let (one, four) = (Server::cordis(1, &debug), Server::cordis(4, &debug));
    let (mut one, mut four) = (one.connect(), four.connect());
    let empty = digests(&mut one, DIGESTED);
    assert_eq!(empty.0, "0".repeat(40));
    say(&mut one, ONE_WAY);
    say(&mut four, ANOTHER_WAY);
    let digest = digests(&mut one, DIGESTED);
    assert_eq!(digest, digests(&mut four, DIGESTED));
    assert!(digest.0.len() == 40 && digest.0 != empty.0);
    assert_eq!(digest.1[6], "0".repeat(40));
    // Every change is seen, in the value and in the whole.
    let mut seen = std::collections::HashSet::from([digest.0]);
    for (line, key) in CHANGES {
        let before = digests(&mut four, DIGESTED);
        say(&mut four, &[line]);
        let after = digests(&mut four, DIGESTED);
        let changed = |at: &usize| before.1[*at] != after.1[*at];
        let changed: Vec<usize> = (0..DIGESTED.len()).filter(changed).collect();
        assert_eq!(changed, [*key], "{line}");
        assert!(seen.insert(after.0), "{line}");
    }
    for line in ["RENAME s t", "MOVE t 2"] {
        say(&mut four, &[line]);
        assert!(seen.insert(digests(&mut four, DIGESTED).0), "{line}");
    }
    say(&mut four, &["MULTI", "DEBUG DIGEST"]);
    let reply = four.call(&["EXEC"]).raw;
    let refused: &[u8] = b"*1\r\n-ERR digest is not allowed inside MULTI\r\n";
    assert_eq!(reply, refused);
}

/// Members of each of two sets that have half of them in common.
const MEMBERS: usize = 200_000;

fn with_sets(shards: u16) -> Server {
    let server = Server::cordis(shards, &[]);
    let mut client = server.connect();
    for (key, first) in [("{a}s", 0), ("{a}t", MEMBERS / 2)] {
        for start in (first..first + MEMBERS).step_by(1000) {
            let mut request = words(&["SADD", key]);
            request.extend((start..start + 1000).map(|it| format!("member:{it}").into_bytes()));
            assert_eq!(client.call(&request).integer(), 1000);
        }
    }
    client.call(&["SET", "{a}k", "v"]);
    server
}

const ALL: i64 = MEMBERS as i64 * 3 / 2;
const UNITE: &[&str] = &["SUNIONSTORE", "{a}d", "{a}s", "{a}t"];

#[test]
fn who_has_much_to_do_lets_others_pass_and_is_not_seen_half_done() {
    const SORT: &[&str] = &["SORT", "{a}s", "ALPHA", "STORE", "{a}d"];
    for shards in [1, 4] {
        let server = with_sets(shards);
        let (mut reader, mut waiting) = (server.connect(), server.connect());
        let cases = [
            (UNITE, "SCARD", ALL),
            (SORT, "LLEN", MEMBERS as i64),
            (
                &["SDIFFSTORE", "{a}d", "{a}s", "{a}t"],
                "SCARD",
                MEMBERS as i64 / 2,
            ),
        ];
        for (request, length, expected) in cases {
            let mut passed = 0;
            while passed == 0 {
                let (mut client, _) = under_way(&server, &[&["DEL", "{a}d"], request]);
                waiting.send(&[length, "{a}d"]);
                while !has_reply(&client) {
                    assert_eq!(reader.call(&["GET", "{a}k"]).value().text(), "v");
                    passed += usize::from(!has_reply(&client));
                }
                assert_eq!(client.read().integer(), expected, "{request:?}");
                assert_eq!(waiting.read().integer(), expected, "{request:?}");
            }
        }
    }
}

#[test]
fn a_write_with_much_to_do_runs_whole_although_its_client_is_gone() {
    for shards in [1, 4] {
        let server = with_sets(shards);
        let mut other = server.connect();
        let block: &[&[&str]] = &[
            &["MULTI"],
            &["SET", "{a}k", "begun"],
            UNITE,
            &["SET", "{a}k", "over"],
            &["EXEC"],
        ];
        for requests in [&[UNITE][..], block] {
            other.call(&["DEL", "{a}d"]);
            let (client, id) = under_way(&server, requests);
            drop(client);
            assert_eq!(other.call(&["SCARD", "{a}d"]).integer(), ALL);
            wait_until("it is gone", || {
                other
                    .call(&["CLIENT", "LIST", "ID", &id])
                    .value()
                    .text()
                    .is_empty()
            });
        }
        assert_eq!(other.call(&["GET", "{a}k"]).value().text(), "over");
    }
}

#[test]
fn what_concerns_all_keys_waits_for_who_has_much_to_do() {
    for shards in [1, 4] {
        let server = with_sets(shards);
        let mut other = server.connect();
        let (mut client, _) = under_way(&server, &[UNITE]);
        assert_eq!(other.call(&["SWAPDB", "0", "1"]).value().text(), "OK");
        assert_eq!(client.read().integer(), ALL);
        assert_eq!(other.call(&["DBSIZE"]).integer(), 0);
        other.call(&["SELECT", "1"]);
        assert_eq!(other.call(&["SCARD", "{a}d"]).integer(), ALL);
        client.call(&["SELECT", "1"]);
        client.send(UNITE);
        assert_eq!(other.call(&["FLUSHALL"]).value().text(), "OK");
        assert_eq!(other.call(&["DBSIZE"]).integer(), 0);
        // It ran before, or after and found nothing.
        assert!([0, ALL].contains(&client.read().integer()));
    }
}
