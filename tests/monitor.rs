//! MONITOR: what it shows, beside redis-server, and in which order.

#[path = "support/mod.rs"]
mod support;

use support::client::{Client, Value, encode};
use support::server::{Server, info_field};
use support::{wait_until, words};

fn servers(options: &[&str]) -> [Server; 3] {
    [
        Server::redis(options),
        Server::cordis(1, options),
        Server::cordis(4, options),
    ]
}

/// A client in MONITOR mode.
fn monitor(server: &Server) -> Client {
    let mut monitor = server.connect();
    assert_eq!(monitor.call(&["MONITOR"]).raw, b"+OK\r\n");
    monitor
}

/// A line as a monitor is told it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    database: String,
    port: u16,
    command: String,
}

/// The next line, whose time is a time.
fn line(monitor: &mut Client) -> Line {
    let reply = monitor.read();
    let Value::Simple(text) = reply.value() else {
        panic!("no line: {reply:?}");
    };
    let text = String::from_utf8(text).expect("what is no ASCII is escaped");
    let (time, rest) = text.split_once(" [").expect("a time");
    let (seconds, micros) = time.split_once('.').expect("a fraction");
    assert!(
        seconds.parse::<u64>().is_ok() && micros.len() == 6,
        "{text}"
    );
    assert!(micros.bytes().all(|digit| digit.is_ascii_digit()), "{text}");
    let (from, command) = rest.split_once("] ").expect("an address");
    let (database, address) = from.split_once(' ').expect("a database");
    let port = address.strip_prefix("127.0.0.1:").expect("an address");
    Line {
        database: database.to_owned(),
        port: port.parse().expect("a port"),
        command: command.to_owned(),
    }
}

fn port_of(client: &Client) -> u16 {
    let address = client.stream().local_addr();
    address.expect("it is connected").port()
}

/// The lines about some clients, by their names, until one of them says ECHO end.
fn lines(monitor: &mut Client, clients: &[(&str, &Client)]) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = line(monitor);
        let name = clients
            .iter()
            .find(|(_, client)| port_of(client) == line.port)
            .map(|(name, _)| *name);
        let Line {
            database, command, ..
        } = line;
        let end = command == "\"ECHO\" \"end\"";
        lines.push(format!("{database} {} {command}", name.unwrap_or("?")));
        if end {
            return lines;
        }
    }
}

/// Commands of one client, each of which gets a reply before the next is sent.
const ALONE: &[&str] = &[
    "SET a 1",
    "get a",
    "Get missing",
    "HGET a f",
    "LPUSH a x",
    "NOSUCH a",
    "GET",
    "MSET a 1 b 2 c 3 d 4 e 5 f 6",
    "MGET a b c d e f",
    "DEL a b c d e f",
    "SCAN 0 COUNT 1",
    "KEYS *",
    "DBSIZE",
    "RANDOMKEY",
    "TOUCH a b",
    "AUTH secret",
    "AUTH default secret",
    "AUTH default secret more",
    "HELLO 2 AUTH default secret",
    "hello 2 auth default secret setname me",
    "HELLO 2 SETNAME auth",
    "HELLO 2 AUTH default",
    "CONFIG SET requirepass other",
    "CONFIG SET requirepass secret",
    "CONFIG SET masterauth secret",
    "CONFIG GET maxmemory",
    "CLIENT LIST",
    "CLIENT SETNAME me",
    "CLIENT GETNAME",
    "CLIENT ID",
    "CLIENT NOSUCH",
    "SLOWLOG LEN",
    "DEBUG SLEEP 0",
    "OBJECT ENCODING a",
    "MEMORY USAGE a",
    "COMMAND COUNT",
    "ACL WHOAMI",
    "INFO nosuch",
    "LASTSAVE",
    "TIME",
    "ECHO hello",
    "PING",
    "SELECT 3",
    "SET k v",
    "SELECT 99",
    "SWAPDB 3 4",
    "MULTI",
    "SET k v",
    "INCR k",
    "EXEC",
    "MULTI",
    "DISCARD",
    "MULTI",
    "EXEC",
    "EXEC",
    "MULTI",
    "NOSUCH",
    "EXEC",
    "MULTI",
    "MSET a 1 b 2 c 3 d 4 e 5 f 6",
    "SELECT 5",
    "GET k",
    "AUTH default secret",
    "CONFIG GET maxmemory",
    "PING",
    "SELECT 6",
    "MGET a b c d e f",
    "exec",
    "MULTI",
    "MULTI",
    "GET a",
    "EXEC",
    "MULTI",
    "GET a",
    "INFO nosuch",
    "GET b",
    "PUBLISH channel text",
    "MGET a b c d",
    "CLIENT PAUSE 0",
    "CLIENT SETNAME me",
    "GET c",
    "EXEC",
    "MULTI",
    "GET a",
    "INFO nosuch",
    "GET b",
    "EXEC",
    "MULTI",
    "SELECT 2",
    "PUBLISH channel text",
    "EXEC",
    "WATCH w1 w2 w3",
    "UNWATCH",
    "WATCH w1",
    "MULTI",
    "GET w1",
    "EXEC",
    "WATCH w1 w2 w3 w4",
    "MULTI",
    "GET w1",
    "SELECT 0",
    "GET w2",
    "EXEC",
    "BLPOP nothing 0.01",
    "BRPOPLPUSH nothing other 0.01",
    "BZPOPMIN n1 n2 n3 n4 0.01",
    "XREAD BLOCK 10 STREAMS s1 s2 0 0",
    "SUBSCRIBE channel",
    "GET a",
    "PING",
    "UNSUBSCRIBE channel",
    "PUBLISH channel text",
    "FLUSHDB",
    "FLUSHALL",
    "RESET",
    "ECHO end",
];

#[test]
fn lines_are_those_of_redis() {
    let mut shown = Vec::new();
    for server in servers(&["--requirepass", "secret"]) {
        let mut monitors = [server.connect(), server.connect()];
        for monitor in &mut monitors {
            assert_eq!(monitor.call(&["MONITOR"]).raw, b"+OK\r\n");
        }
        let mut one = server.connect();
        let mut two = Client::connect(server.port());
        assert!(two.call(&["GET", "a"]).to_string().starts_with("NOAUTH"));
        for command in ALONE {
            one.call(&words_of(command));
            if *command == "RESET" {
                one.call(&["AUTH", "secret"]);
            }
        }
        let mut seen = monitors
            .iter_mut()
            .map(|monitor| lines(monitor, &[("one", &one), ("two", &two)]));
        let (first, second) = (seen.next().expect("one"), seen.next().expect("two"));
        assert_eq!(first, second);
        shown.push((server.name.clone(), first));
    }
    same(&shown);
}

/// What is seen of servers is the same.
fn same(shown: &[(String, Vec<String>)]) {
    let (_, expected) = &shown[0];
    for (name, lines) in &shown[1..] {
        for (line, wanted) in lines.iter().zip(expected) {
            assert_eq!(line, wanted, "{name}");
        }
        assert_eq!(lines.len(), expected.len(), "{name}");
    }
}

#[test]
fn arguments_are_quoted_as_in_redis() {
    let mut shown = Vec::new();
    for server in servers(&[]) {
        let mut monitor = monitor(&server);
        let mut client = server.connect();
        let all: Vec<u8> = (0..=255).collect();
        client.call(&[&b"SET"[..], b"", &all]);
        client.call(&[&b"\x53eT"[..], &all, b"\"\\ \r\n'"]);
        client.send_raw(b"set inline \"a \\x00 b\"\r\n");
        client.read();
        client.call(&[&b"SET"[..], b"long", &vec![b'x'; 100_000]]);
        client.call(&[&b"SET"[..], b"long", &vec![0; 100_000]]);
        client.call(&["ECHO", "end"]);
        let lines = lines(&mut monitor, &[("client", &client)]);
        assert!(lines[4].len() > 400_000, "{}", server.name);
        shown.push((server.name.clone(), lines));
    }
    same(&shown);
}

/// Several clients, pipelines, blocks that are watched, and clients that wait.
#[test]
fn clients_are_told_apart_and_seen_in_their_order() {
    let mut shown = Vec::new();
    for server in servers(&[]) {
        let mut monitor = monitor(&server);
        let [mut one, mut two] = [server.connect(), server.connect()];
        one.call(&words_of("SELECT 1"));
        two.call(&words_of("SELECT 1"));
        // What is watched changes, on one shard and on several.
        for keys in ["w", "w v u t s r q p"] {
            one.call(&words_of(&format!("WATCH {keys}")));
            two.call(&words_of("SET w changed"));
            for command in ["MULTI", "GET w", "SELECT 7", "SET x y", "EXEC"] {
                one.call(&words_of(command));
            }
            one.call(&words_of(&format!("WATCH {keys}")));
            two.call(&words_of("SET w again"));
            for command in ["MULTI", "GET w", "MGET a b c d", "EXEC"] {
                one.call(&words_of(command));
            }
        }
        // A client waits, and is served by what another sends.
        one.send(&["BLPOP", "list", "other list", "0"]);
        wait_until("it waits", || {
            let info = two.call(&["INFO", "clients"]).to_string();
            info_field(&info, "blocked_clients") == Some("1")
        });
        two.call(&["RPUSH", "list", "element"]);
        one.read();
        // A pipeline is shown as it was sent.
        let pipeline: Vec<Vec<Vec<u8>>> = (0..300)
            .flat_map(|n| {
                let watched = ["WATCH q", "MULTI", "GET a", "MSET a 1 b 2 c 3", "EXEC"];
                let plain = [
                    format!("SET key{n} {n}"),
                    "MGET a b c d".into(),
                    "PING".into(),
                ];
                let plain = plain
                    .into_iter()
                    .chain(["SELECT 2".into(), "SCAN 0".into()]);
                let watched = watched.into_iter().map(String::from);
                let block = ["MULTI", "GET b", "SELECT 1", "GET c", "EXEC"].map(String::from);
                let all = plain
                    .chain(watched.filter(move |_| n % 3 == 0))
                    .chain(block);
                all.map(|command| words_of(&command)).collect::<Vec<_>>()
            })
            .collect();
        let replies = one.pipeline(&pipeline);
        one.send(&["CLIENT", "REPLY", "SKIP"]);
        one.send(&["GET", "skipped"]);
        one.call(&["ECHO", "end"]);
        let mut lines = lines(&mut monitor, &[("one", &one), ("two", &two)]);
        lines.retain(|line| !line.contains("\"INFO\""));
        // It is answered as if nobody saw it. Of SCAN the order is the server's own.
        let compared = pipeline
            .iter()
            .zip(replies)
            .filter(|(request, _)| request[0] != b"SCAN");
        lines.extend(compared.map(|(_, reply)| reply.raw.escape_ascii().to_string()));
        shown.push((server.name.clone(), lines));
    }
    same(&shown);
}

fn words_of(command: &str) -> Vec<Vec<u8>> {
    words(&command.split(' ').collect::<Vec<_>>())
}

/// What a client that monitors may do, and how it ends.
#[test]
fn who_monitors_is_answered_as_by_redis() {
    let mut shown = Vec::new();
    for server in servers(&[]) {
        let mut heard = Vec::new();
        let mut client = server.connect();
        client.call(&["SET", "a", "1"]);
        for command in ["MULTI", "MONITOR", "GET a", "EXEC", "MONITOR x", "MONITOR"] {
            heard.push(client.call(&words_of(command)).raw);
        }
        // Who monitors already is not answered. What keys hold is not for it.
        let refused = [
            "GET a",
            "SET a 1",
            "PUBLISH a b",
            "DBSIZE",
            "BLPOP a 0",
            "KEYS *",
        ];
        let without = ["MONITOR", "CLIENT NOSUCH", "GET", "NOSUCH"];
        for command in refused.iter().chain(&without) {
            client.send(&words_of(command));
        }
        // A line about its own command comes behind the reply.
        let mut pipeline = Vec::new();
        for command in [
            "PING",
            "ECHO x",
            "SELECT 1",
            "INFO nosuch",
            "MULTI",
            "GET a",
            "EXEC",
        ] {
            encode(&words_of(command), &mut pipeline);
        }
        client.send_raw(&pipeline);
        client.send(&["HELLO", "3"]);
        client.send(&["PING"]);
        client.send(&["RESET"]);
        client.send(&["GET", "a"]);
        client.send(&["ECHO", "end"]);
        loop {
            let reply = client.read();
            let text = reply.raw.escape_ascii().to_string();
            heard.push(match text.split_once("] ") {
                Some((_, command)) if reply.raw[0] == b'+' => command.as_bytes().to_vec(),
                // Of HELLO.
                _ if reply.raw[0] == b'%' => b"%".to_vec(),
                _ => reply.raw,
            });
            if text.contains("end") {
                break;
            }
        }
        let heard = heard.iter().map(|raw| raw.escape_ascii().to_string());
        shown.push((server.name.clone(), heard.collect()));
    }
    same(&shown);
}

#[test]
fn lists_of_clients_name_monitors() {
    for server in servers(&[]) {
        let mut other = server.connect();
        let mut one = monitor(&server);
        let mut two = monitor(&server);
        let mut flags = |of: &[&str]| {
            let list = other.call(&[&["CLIENT", "LIST"], of].concat()).to_string();
            let flags = list.lines().filter_map(|line| line.split(" flags=").nth(1));
            let flags = flags.filter_map(|rest| rest.split(' ').next());
            let mut flags: Vec<String> = flags.map(String::from).collect();
            flags.sort();
            flags
        };
        assert_eq!(flags(&[]), ["N", "O", "O"], "{}", server.name);
        assert_eq!(flags(&["TYPE", "normal"]), ["N", "O", "O"]);
        assert!(flags(&["TYPE", "replica"]).is_empty());
        assert!(flags(&["TYPE", "pubsub"]).is_empty());
        // One that listens, too, is of that type.
        one.send(&["SUBSCRIBE", "channel"]);
        one.read();
        assert_eq!(line(&mut two).command, "\"SUBSCRIBE\" \"channel\"");
        assert_eq!(flags(&["TYPE", "pubsub"]), ["OP"], "{}", server.name);
        let mut kill = |kind: &str| {
            let killed = other.call(&["CLIENT", "KILL", "TYPE", kind]);
            killed.integer()
        };
        assert_eq!(kill("replica"), 0);
        assert_eq!(kill("normal"), 1, "{}", server.name);
        assert!(two.is_closed());
        assert_eq!(other.call(&["PING"]).to_string(), "PONG");
    }
}

/// The request number `number` of a client: of one shard or several, of the server, or a
/// block.
fn numbered(number: usize) -> Vec<Vec<Vec<u8>>> {
    let n = number;
    match n % 8 {
        0 => vec![words_of(&format!("MGET {n} x{n} y{n} z{n}"))],
        1 => vec![words_of(&format!("ECHO {n}"))],
        2 => ["MULTI".to_owned(), format!("GET {n}"), "EXEC".to_owned()]
            .map(|command| words_of(&command))
            .to_vec(),
        _ => vec![words_of(&format!("SET {n} {n}"))],
    }
}

/// The numbers that clients send are seen in their order, and a word that one client
/// says because of another's comes behind that, whichever cores serve them.
#[test]
fn lines_are_in_the_order_of_each_connection_and_of_cause() {
    const WRITERS: usize = 4;
    const NUMBERS: usize = 10_000;
    for shards in [1, 4] {
        let server = Server::cordis(shards, &[]);
        let mut monitors = [monitor(&server), monitor(&server)];
        let mut writers: Vec<Client> = (0..WRITERS).map(|_| server.connect()).collect();
        let mut speakers: Vec<Client> = (0..5).map(|_| server.connect()).collect();
        let ports: Vec<u16> = writers.iter().map(port_of).collect();
        std::thread::scope(|scope| {
            let writing: Vec<_> = writers
                .iter_mut()
                .map(|client| {
                    scope.spawn(move || {
                        let requests: Vec<_> = (0..NUMBERS).flat_map(numbered).collect();
                        client.pipeline(&requests);
                    })
                })
                .collect();
            let reading: Vec<_> = monitors
                .iter_mut()
                .map(|monitor| scope.spawn(|| see_all(monitor, &ports, NUMBERS)))
                .collect();
            let mut words = 0;
            while words < 100 || !writing.iter().all(|thread| thread.is_finished()) {
                for speaker in &mut speakers {
                    let request = match words % 3 {
                        0 => vec!["SET".to_owned(), format!("word{words}"), String::new()],
                        1 => vec!["ECHO".to_owned(), format!("word{words}")],
                        _ => vec!["EXISTS".to_owned(), format!("word{words}"), "b".to_owned()],
                    };
                    speaker.call(&request);
                    words += 1;
                }
            }
            speakers[0].call(&["ECHO", "end"]);
            for thread in reading {
                let seen = thread.join().expect("the order holds");
                assert_eq!(seen, words, "{shards} shards");
            }
        });
    }
}

/// Reads all lines: those from each of `ports` have all numbers in order, and words of
/// others are in order. How many words there are.
fn see_all(monitor: &mut Client, ports: &[u16], numbers: usize) -> usize {
    let mut next = vec![0; ports.len()];
    let mut words = 0;
    loop {
        let Line { port, command, .. } = line(monitor);
        let first = command.split('"').nth(3).unwrap_or_default().to_owned();
        match ports.iter().position(|other| *other == port) {
            // Of MULTI and EXEC.
            Some(_) if first.is_empty() => {}
            Some(writer) => {
                assert_eq!(first, next[writer].to_string(), "of {port}");
                next[writer] += 1;
            }
            None if first == "end" => break,
            None => {
                assert_eq!(first, format!("word{words}"));
                words += 1;
            }
        }
    }
    assert!(next.iter().all(|next| *next == numbers), "{next:?}");
    words
}

/// It is dropped at its limit: that of normal clients, as in Redis, or if they have none,
/// that of subscribers. Others miss nothing, and nobody waits for it.
#[test]
fn a_monitor_that_does_not_read_is_dropped_at_its_limit() {
    let normal = ["--client-output-buffer-limit", "normal 1mb 0 0"];
    let pubsub = ["--client-output-buffer-limit", "pubsub 1mb 0 0"];
    let soft = ["--client-output-buffer-limit", "pubsub 1gb 1mb 1"];
    for (server, silent) in [
        (Server::redis(&normal), 3),
        (Server::cordis(1, &normal), 3),
        (Server::cordis(4, &normal), 3),
        (Server::cordis(1, &pubsub), 3),
        (Server::cordis(4, &pubsub), 3),
        (Server::cordis(4, &soft), 3),
    ] {
        let mut other = server.connect();
        let unread: Vec<Client> = (0..silent).map(|_| monitor(&server)).collect();
        let mut reading = monitor(&server);
        let value = "v".repeat(50_000);
        let mut sent = 0;
        let mut monitors = silent + 1;
        // More than the kernel takes for who does not read.
        while monitors > 1 {
            for _ in 0..20 {
                let key = format!("key{sent}");
                other.call(&["SET", &key, &value]);
                let seen = line(&mut reading).command;
                assert!(seen.starts_with(&format!("\"SET\" \"{key}\" ")));
                sent += 1;
            }
            assert!(sent < 20_000, "{}: none is dropped", server.name);
            let list = other.call(&["CLIENT", "LIST"]).to_string();
            monitors = list.lines().filter(|line| line.contains("flags=O")).count();
        }
        drop(unread);
        assert_eq!(other.call(&["ECHO", "end"]).to_string(), "end");
        assert_eq!(line(&mut reading).command, "\"ECHO\" \"end\"");
    }
}

/// Monitors that come and go while clients are busy leave nothing behind.
#[test]
fn monitors_come_and_go() {
    for shards in [1, 4] {
        let server = Server::cordis(shards, &[]);
        let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        for round in 0..100 {
            let mut watching = server.connect();
            if round % 4 == 0 {
                // Gone before all cores know.
                watching.send(&["MONITOR"]);
                drop(watching);
                continue;
            }
            watching.call(&["MONITOR"]);
            for (number, client) in clients.iter_mut().enumerate() {
                client.call(&["SET", &format!("{round} {number}"), "x"]);
            }
            for number in 0..clients.len() {
                let expected = format!("\"SET\" \"{round} {number}\" \"x\"");
                assert_eq!(line(&mut watching).command, expected);
            }
            if round % 4 == 1 {
                assert_eq!(watching.call(&["RESET"]).raw, b"+RESET\r\n");
                clients[0].call(&["SET", "unseen", "x"]);
                assert_eq!(watching.call(&["PING"]).raw, b"+PONG\r\n");
            } else if round % 4 == 2 {
                let id = format!("{}", port_of(&watching));
                let address = format!("127.0.0.1:{id}");
                clients[0].call(&["CLIENT", "KILL", "ADDR", &address]);
                assert!(watching.is_closed());
            }
        }
        wait_until("all are gone", || {
            let info = clients[0].call(&["INFO", "clients"]).to_string();
            info_field(&info, "connected_clients") == Some("4")
        });
    }
}
