//! What goes through all keys does so in slices: meanwhile others are served,
//! except who wants to write, and a client that goes away leaves nothing behind.

mod support;

use std::time::Duration;
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

/// A KEYS that is under way: the client that has sent it.
fn begun(server: &Server) -> Client {
    let mut client = server.connect();
    // Matches every key, and takes its time to tell.
    client.send(&["KEYS", "*:*[0-9]*"]);
    std::thread::sleep(Duration::from_millis(5));
    client
}

#[test]
fn a_writer_waits_for_keys_and_a_reader_does_not() {
    for shards in [1, 4] {
        let server = server(shards);
        let (mut reader, mut writer) = (server.connect(), server.connect());
        let mut passed = 0;
        for round in 0..5 {
            let mut walker = begun(&server);
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
        }
        assert!(passed > 15, "{passed} reads passed, {shards} shards");
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
            let mut walker = begun(&server);
            if round % 2 == 0 {
                drop(walker);
            } else {
                let clients = other.call(&["CLIENT", "LIST"]).value().text();
                let line = clients.lines().find(|line| line.contains("cmd=keys"));
                if let Some(line) = line {
                    let id = line.split(' ').next().unwrap().trim_start_matches("id=");
                    other.call(&["CLIENT", "KILL", "ID", id]);
                    wait_until("it is killed", || walker.is_closed());
                }
            }
            let written = other.call(&["MSET", "key:1", "v", "key:2", "v", "key:3", "v"]);
            assert_eq!(written.value().text(), "OK", "{shards} shards");
        }
        assert_eq!(other.call(&["DBSIZE"]).integer(), KEYS as i64);
        assert_eq!(other.call(&["FLUSHALL"]).value().text(), "OK");
    }
}
