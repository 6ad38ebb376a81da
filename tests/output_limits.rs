//! Who does not read is dropped at the limit of its class (`client-output-buffer-limit`),
//! beside redis-server.

#[path = "support/mod.rs"]
mod support;

use support::client::{Client, encode};
use support::server::{Server, info_field};
use support::wait_until;

const CLIENTS: usize = 20;
/// Beyond what the kernel takes off a server whose client does not read.
const OWED_BYTES: usize = 24 << 20;

fn servers(options: &[&str]) -> [Server; 3] {
    [
        Server::redis(options),
        Server::cordis(1, options),
        Server::cordis(4, options),
    ]
}

/// Connected clients.
fn clients(other: &mut Client) -> usize {
    let info = other.call(&["INFO", "clients"]).to_string();
    let count = info_field(&info, "connected_clients");
    count
        .and_then(|count| count.parse().ok())
        .expect("a number of clients")
}

/// Clients that were closed at their limit, where the server says so.
fn dropped(other: &mut Client) -> Option<usize> {
    let info = other.call(&["INFO", "stats"]).to_string();
    let count = info_field(&info, "client_output_buffer_limit_disconnections");
    count.and_then(|count| count.parse().ok())
}

/// The same request, so often that its replies take [`OWED_BYTES`].
fn owing(request: &[&str], reply_bytes: usize) -> Vec<u8> {
    let mut once = Vec::new();
    encode(request, &mut once);
    once.repeat(OWED_BYTES / reply_bytes)
}

/// A value, and collections whose replies are made as they are read.
fn fill(other: &mut Client) {
    for key in ["a", "b", "c", "d"] {
        other.call(&["SET", key, &"x".repeat(100_000)]);
        other.call(&["SET", &format!("little {key}"), &"x".repeat(10_000)]);
    }
    let words: Vec<String> = (0..20_000).map(|n| format!("{n:0>100}")).collect();
    for words in words.chunks(1000) {
        let words = words.iter().map(String::as_str);
        let mut push = vec!["RPUSH", "list"];
        push.extend(words.clone());
        other.call(&push);
        let mut add = vec!["SADD", "set"];
        add.extend(words);
        other.call(&add);
    }
}

/// Whether its replies are made or its requests still wait, and whether these are many or
/// few, of one shard or of several.
#[test]
fn who_never_reads_is_dropped_at_its_limit() {
    let limit = ["--client-output-buffer-limit", "normal 4mb 0 0"];
    for server in servers(&limit) {
        let mut other = server.connect();
        fill(&mut other);
        let pipelines = [
            owing(&["GET", "a"], 100_000),
            [
                owing(&["GET", "a"], 400_000),
                owing(&["GET", "b"], 400_000),
                owing(&["GET", "c"], 400_000),
                owing(&["GET", "d"], 400_000),
            ]
            .concat(),
            owing(&["MGET", "a", "b", "c", "d"], 400_000),
            owing(&["PING"], 7),
            owing(&["ECHO", &"e".repeat(10)], 17),
            owing(&["LRANGE", "list", "0", "-1"], 2_120_000),
            owing(&["SMEMBERS", "set"], 2_120_000),
            [
                owing(&["LRANGE", "list", "0", "-1"], 8_000_000),
                owing(&["GET", "a"], 100_000),
            ]
            .concat(),
        ];
        let mut all = 0;
        for (number, pipeline) in (1..).zip(&pipelines) {
            let count = if number == 1 { CLIENTS } else { CLIENTS / 5 };
            all += count;
            let mut owed: Vec<Client> = (0..count).map(|_| server.connect()).collect();
            for client in &mut owed {
                client.send_what_is_taken(pipeline);
            }
            let what = format!("{}: pipeline {number} is dropped", server.name);
            wait_until(&what, || clients(&mut other) == 1);
            let dropped = dropped(&mut other);
            assert!(
                dropped.is_none_or(|dropped| dropped == all),
                "{what}: {dropped:?}"
            );
        }
    }
}

/// The soft limit has its seconds, and is passed by what waits as well.
#[test]
fn who_never_reads_is_dropped_at_its_soft_limit() {
    for limit in ["normal 0 4mb 1", "normal 100mb 4mb 1"] {
        for server in servers(&["--client-output-buffer-limit", limit]) {
            let mut other = server.connect();
            fill(&mut other);
            let mut owed: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
            for client in &mut owed {
                client.send_what_is_taken(&owing(&["GET", "a"], 100_000));
            }
            let what = format!("{}: all are dropped with {limit}", server.name);
            wait_until(&what, || clients(&mut other) == 1);
        }
    }
}

/// Its requests wait until it has read, however low its limit.
#[test]
fn who_reads_what_it_has_asked_for_is_not_dropped() {
    for shards in [1, 4] {
        let limit = ["--client-output-buffer-limit", "normal 4mb 1mb 60"];
        let server = Server::cordis(shards, &limit);
        let mut other = server.connect();
        fill(&mut other);
        let key = |n: usize| ["little a", "little b", "little c", "little d"][n % 4];
        let request = |n| vec![b"GET".to_vec(), key(n).as_bytes().to_vec()];
        let requests: Vec<Vec<Vec<u8>>> = (0..4000).map(request).collect();
        for reply in server.connect().pipeline(&requests) {
            assert_eq!(reply.raw.len(), 10_000 + "$10000\r\n\r\n".len());
        }
        assert_eq!(dropped(&mut other), Some(0));
    }
}

/// It is given all that it has asked for, as in Redis, and may read it whenever it likes.
#[test]
fn who_does_not_read_has_up_to_its_limit_waiting() {
    let limit = ["--client-output-buffer-limit", "normal 64mb 0 0"];
    for server in servers(&limit) {
        let mut other = server.connect();
        fill(&mut other);
        let mut owed = server.connect();
        let pipeline = [
            owing(&["GET", "a"], 200_000),
            owing(&["LRANGE", "list", "0", "-1"], 4_240_000),
            owing(&["GET", "b"], 200_000),
        ];
        owed.send_raw(&pipeline.concat());
        let gets = 2 * (OWED_BYTES / 200_000);
        let all = format!("cmdstat_get:calls={gets},");
        let what = format!("{}: all has run", server.name);
        wait_until(&what, || {
            let stats = other.call(&["INFO", "commandstats"]).to_string();
            stats.contains(&all)
        });
        let get = 100_000 + "$100000\r\n\r\n".len();
        for _ in 0..gets / 2 {
            assert_eq!(owed.read().raw.len(), get);
        }
        for _ in 0..OWED_BYTES / 4_240_000 {
            assert_eq!(owed.read().value().items().len(), 20_000);
        }
        for _ in 0..gets / 2 {
            assert_eq!(owed.read().raw.len(), get);
        }
        assert_eq!(clients(&mut other), 2);
    }
}

/// The limit of subscribers is passed by what others publish, whom nobody keeps from it,
/// and who reads gets all of it.
#[test]
fn who_listens_and_does_not_read_is_dropped_at_its_limit() {
    const LIMIT: u64 = 4 << 20;
    let limits = ["pubsub 4mb 0 0", "pubsub 0 4mb 1", "pubsub 1gb 4mb 1"];
    for limit in limits {
        for server in servers(&["--client-output-buffer-limit", limit]) {
            let mut publisher = server.connect();
            let text = "t".repeat(50_000);
            let mut reading = listener(&server);
            let silent: Vec<Client> = (0..CLIENTS).map(|_| listener(&server)).collect();
            for sent in 0..OWED_BYTES / text.len() {
                let heard = publisher.call(&["PUBLISH", "channel", &text]).integer();
                assert!((1..=1 + CLIENTS as i64).contains(&heard), "{heard}");
                assert!(reading.read().raw.len() > text.len());
                if sent % 100 == 0 && limit == limits[0] && server.name.contains("cordis") {
                    let most = owed(&mut publisher).into_iter().max();
                    assert!(most <= Some(LIMIT + (16 << 10)), "{most:?}");
                }
            }
            let what = format!("{}: all are dropped with {limit}", server.name);
            wait_until(&what, || clients(&mut publisher) == 2);
            let dropped = dropped(&mut publisher);
            assert!(dropped.is_none_or(|dropped| dropped == CLIENTS));
            assert_eq!(publisher.call(&["PUBLISH", "channel", "x"]).integer(), 1);
            assert_eq!(reading.read().value().items()[2].text(), "x");
            drop(silent);
        }
    }
}

/// A client that listens to a channel.
fn listener(server: &Server) -> Client {
    let mut listener = server.connect();
    assert_eq!(
        listener
            .call(&["SUBSCRIBE", "channel"])
            .value()
            .items()
            .len(),
        3
    );
    listener
}

/// Bytes that each client is owed.
fn owed(other: &mut Client) -> Vec<u64> {
    let list = other.call(&["CLIENT", "LIST"]).to_string();
    let bytes = list.lines().filter_map(|line| {
        let field = line.split(" obl=").nth(1)?.split(' ').next()?;
        field.parse().ok()
    });
    bytes.collect()
}
