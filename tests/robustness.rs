//! Many connections, killed clients, garbage: the server stays up, gives back
//! what it took, and nobody else notices.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use support::client::Client;
use support::rng::{Rng, seed};
use support::server::{Server, info_field};
use support::{long_run, wait_until};

/// A client that uses the server all along and must see no error.
struct Healthy {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Healthy {
    fn start(server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut client = server.connect();
        // Answered, so accepted: what is counted from here on includes it.
        assert_eq!(client.call(&["PING"]).raw, b"+PONG\r\n");
        let thread = std::thread::spawn(move || {
            let mut rounds = 0;
            while !stopped.load(Ordering::Relaxed) {
                let key = format!("healthy:{}", rounds % 100);
                let value = rounds.to_string();
                assert_eq!(client.call(&["SET", &key, &value]).raw, b"+OK\r\n");
                assert_eq!(client.call(&["GET", &key]).to_string(), value);
                rounds += 1;
                // A steady client, not a load: the machine has others to serve.
                std::thread::sleep(Duration::from_millis(1));
            }
            rounds
        });
        Self { stop, thread }
    }

    /// Fails the test if the client saw anything odd.
    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let rounds = self.thread.join().expect("the healthy client saw no error");
        assert!(rounds > 0);
    }
}

/// What a server held before a test, to be held again after it.
struct Holdings {
    files: usize,
    rss_bytes: u64,
}

impl Holdings {
    fn of(server: &Server) -> Self {
        Self {
            files: server.open_files(),
            rss_bytes: server.rss_bytes(),
        }
    }

    /// Waits until the server has let go of everything but `slack_bytes`.
    fn must_return(&self, server: &Server, slack_bytes: u64) {
        wait_until("the server closes its connections", || {
            server.open_files() <= self.files
        });
        let limit = self.rss_bytes + slack_bytes;
        wait_until(
            &format!(
                "memory comes back to {} + {slack_bytes} bytes (now {})",
                self.rss_bytes,
                server.rss_bytes()
            ),
            || server.rss_bytes() <= limit,
        );
    }
}

/// Connections made at once before those that are measured: buffers, tables
/// and the allocator's arenas take their working size.
fn warm_up(server: &Server) {
    let mut clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.call(&["PING"]).raw, b"+PONG\r\n");
    }
    // What the server opens as it begins to serve is open now.
    let files = server.open_files() - clients.len();
    drop(clients);
    wait_until("the first connections are closed", || {
        server.open_files() <= files
    });
}

const SLACK_BYTES: u64 = 16 * 1024 * 1024;

#[test]
fn ten_thousand_connections_come_and_go() {
    let mut cordis = Server::cordis(2, &[]);
    warm_up(&cordis);
    let healthy = Healthy::start(&cordis);
    let before = Holdings::of(&cordis);
    for round in 0..100 {
        let mut clients: Vec<Client> = (0..100).map(|_| cordis.connect()).collect();
        // Some say nothing, some use the connection, some leave replies unread.
        for (i, client) in clients.iter_mut().enumerate() {
            match i % 3 {
                0 => assert_eq!(
                    client.call(&["SET", "k", "v"]).raw,
                    b"+OK\r\n",
                    "round {round}"
                ),
                1 => client.send(&["GET", "k"]),
                _ => {}
            }
        }
    }
    before.must_return(&cordis, SLACK_BYTES);
    healthy.finish();
    cordis.assert_alive();
}

/// A hundred clients that vanish somewhere within a pipeline.
fn die_in_mid_request(server: &Server, rng: &mut Rng) {
    let mut clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for client in &mut clients {
        let mut request = Vec::new();
        for i in 0..1 + rng.below(20) {
            let value = vec![b'v'; 1 + rng.below(20_000)];
            let key = format!("k{}", rng.below(50));
            let args: Vec<&[u8]> = match i % 3 {
                0 => vec![b"SET", key.as_bytes(), &value],
                1 => vec![b"MGET", key.as_bytes(), b"k1", b"k2", b"k3"],
                _ => vec![b"GET", key.as_bytes()],
            };
            support::client::encode(&args, &mut request);
        }
        request.truncate(1 + rng.below(request.len()));
        client.send_raw(&request);
        if rng.one_in(2) {
            // Closing with unread replies sends a reset instead of an end.
            let linger = socket2::SockRef::from(client.stream());
            linger
                .set_linger(Some(Duration::ZERO))
                .expect("the option exists");
        }
    }
}

#[test]
fn a_thousand_clients_die_in_mid_request() {
    let seed = seed("a_thousand_clients_die_in_mid_request");
    let mut rng = Rng::new(seed);
    let mut cordis = Server::cordis(4, &[]);
    let healthy = Healthy::start(&cordis);
    let files = cordis.open_files();
    // Once unmeasured: what the allocator keeps for next time is no leak, what
    // grows with every round is.
    for _ in 0..10 {
        die_in_mid_request(&cordis, &mut rng);
    }
    wait_until("the dead of the first round are gone", || {
        cordis.open_files() <= files
    });
    let before = Holdings::of(&cordis);
    for _ in 0..10 {
        die_in_mid_request(&cordis, &mut rng);
    }
    // Their keys go; the healthy client keeps its own.
    let mut client = cordis.connect();
    for key in 0..50 {
        client.call(&["DEL", &format!("k{key}")]);
    }
    drop(client);
    before.must_return(&cordis, 2 * SLACK_BYTES);
    healthy.finish();
    cordis.assert_alive();
}

/// Sends `bytes` pseudo-random bytes, as often as the server closes on anew.
fn send_garbage(port: u16, seed: u64, bytes: usize) {
    let mut rng = Rng::new(seed);
    let mut sent = 0;
    while sent < bytes {
        let stream = TcpStream::connect(("127.0.0.1", port));
        let mut stream = stream.expect("the server accepts connections");
        stream
            .set_write_timeout(Some(Duration::from_secs(5)))
            .expect("not zero");
        stream.set_nonblocking(false).expect("a plain option");
        let mut sink = [0u8; 16 * 1024];
        // Half of it looks like the protocol at first, to get further in.
        let prefixes: [&[u8]; 5] = [
            b"",
            b"*3\r\n$3\r\nSET\r\n$4\r\n",
            b"*2\r\n$",
            b"GET ",
            b"*1\r\n$5\r\n",
        ];
        let _ = stream.write_all(prefixes[rng.below(prefixes.len())]);
        while sent < bytes {
            let chunk = rng.bytes(4096);
            sent += chunk.len();
            if stream.write_all(&chunk).is_err() {
                break;
            }
            stream
                .set_read_timeout(Some(Duration::from_millis(1)))
                .expect("not zero");
            if matches!(stream.read(&mut sink), Ok(0)) {
                break;
            }
        }
    }
}

#[test]
fn garbage_harms_nobody() {
    let seed = seed("garbage_harms_nobody");
    let total = if long_run() { 100_000_000 } else { 10_000_000 };
    let mut cordis = Server::cordis(2, &[]);
    warm_up(&cordis);
    let healthy = Healthy::start(&cordis);
    let before = Holdings::of(&cordis);
    let port = cordis.port();
    std::thread::scope(|scope| {
        for i in 0..100 {
            scope.spawn(move || send_garbage(port, seed + i, total / 100));
        }
    });
    before.must_return(&cordis, SLACK_BYTES);
    healthy.finish();
    cordis.assert_alive();
}

#[test]
fn more_clients_than_allowed_are_told_so() {
    let redis = Server::redis(&["--maxclients", "20"]);
    let cordis = Server::cordis(2, &["--maxclients", "20"]);
    for server in [&redis, &cordis] {
        // One of the allowed connections may still belong to the start-up check.
        wait_until("only this test is connected", || {
            server
                .connect()
                .call(&["CLIENT", "LIST"])
                .to_string()
                .lines()
                .count()
                == 1
        });
        let mut clients: Vec<Client> = Vec::new();
        let refused = loop {
            assert!(clients.len() < 40, "{} accepts without limit", server.name);
            let mut client = Client::connect(server.port());
            let _ = client.stream().write_all(b"PING\r\n");
            match client.try_read() {
                Ok(reply) if reply.is_error() => break reply.to_string(),
                Ok(_) => clients.push(client),
                // A reset may overtake the refusal.
                Err(_) => break "ERR max number of clients reached".to_string(),
            }
        };
        assert_eq!(
            refused, "ERR max number of clients reached",
            "{}",
            server.name
        );
        assert!(
            (19..=20).contains(&clients.len()),
            "{}: {}",
            server.name,
            clients.len()
        );
        drop(clients);
        wait_until("places become free", || {
            let mut client = Client::connect(server.port());
            client
                .try_call(&["PING"])
                .is_ok_and(|reply| !reply.is_error())
        });
    }
}

#[test]
fn a_server_with_more_shards_than_cores_serves() {
    let mut cordis = Server::cordis(16, &[]);
    let mut client = cordis.connect();
    for i in 0..500 {
        assert_eq!(client.call(&["SET", &format!("k{i}"), "v"]).raw, b"+OK\r\n");
    }
    assert_eq!(client.call(&["DBSIZE"]).integer(), 500);
    cordis.assert_alive();
}

/// Buffers that were large once are not kept, neither those that blocks were answered
/// from nor those of connections that go on working.
#[test]
fn large_requests_and_replies_leave_no_memory_behind() {
    const ROUNDS: usize = 60;
    let server = Server::cordis(4, &[]);
    let mut client = server.connect();
    let used = |client: &mut Client| -> usize {
        let info = client.call(&["INFO", "memory"]).value().text();
        let bytes = info_field(&info, "used_memory").map(str::parse);
        bytes.expect("INFO has it").expect("a number")
    };
    client.call(&["SET", "big", &"x".repeat(1 << 20)]);
    let before = used(&mut client);
    let many: Vec<String> = (0..100_000).map(|n| format!("none:{n}")).collect();
    let many = [&["DEL".to_owned()], &many[..]].concat();
    let mut clients: Vec<Client> = (0..ROUNDS).map(|_| server.connect()).collect();
    for client in &mut clients {
        let words = |words: &[&str]| words.iter().map(|word| Vec::from(*word)).collect();
        let replies = client.pipeline(&[
            words(&["MULTI"]),
            words(&["GET", "big"]),
            words(&["GET", "big"]),
            words(&["EXEC"]),
            words(&["PING"]),
        ]);
        assert_eq!(replies[3].value().items().len(), 2);
        // Held back behind a reply of another core.
        let gets = ["other:1", "big", "other:2", "big", "other:3"].map(|key| words(&["GET", key]));
        assert_eq!(client.pipeline(&gets)[1].bytes().len(), 1 << 20);
        assert_eq!(client.call(&many).integer(), 0);
    }
    // They all go on, so nothing is given up for want of work. What cores keep for
    // their own use does not depend on the number of clients.
    for client in &mut clients {
        client.call(&["PING"]);
    }
    let kept = used(&mut client).saturating_sub(before);
    assert!(kept < 48 << 20, "{kept} bytes are kept");
}

/// How a client can end its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// It only ends its side of the stream.
    HalfClose,
    Close,
    Reset,
}

const LEAVES: [Leave; 3] = [Leave::HalfClose, Leave::Close, Leave::Reset];

/// Ends the connection; gives the client back if it can still read.
fn leave(client: Client, how: Leave) -> Option<Client> {
    match how {
        Leave::HalfClose => {
            client.finish_sending();
            return Some(client);
        }
        Leave::Close => {}
        Leave::Reset => {
            let socket = socket2::SockRef::from(client.stream());
            let linger = socket.set_linger(Some(Duration::ZERO));
            linger.expect("the option exists");
        }
    }
    None
}

/// A client, once the server has no other: the start-up check was one.
fn alone(server: &Server) -> Client {
    let mut client = server.connect();
    wait_until("only this test is connected", || listed(&mut client) == 1);
    client
}

fn listed(client: &mut Client) -> usize {
    client.call(&["CLIENT", "LIST"]).to_string().lines().count()
}

fn blocked(client: &mut Client) -> usize {
    let info = client.call(&["INFO", "clients"]).to_string();
    let count = info_field(&info, "blocked_clients").map(str::parse);
    count.expect("INFO has it").expect("a number")
}

/// Redis first: what is asserted of us holds of it.
fn servers(options: &[&str]) -> [Server; 3] {
    [
        Server::redis(options),
        Server::cordis(1, options),
        Server::cordis(4, options),
    ]
}

/// So many SETs of so many bytes.
fn sets(count: usize, bytes: usize) -> Vec<u8> {
    let mut requests = Vec::new();
    for n in 0..count {
        let key = format!("k{}", n % 50);
        support::client::encode(&["SET", &key, &"v".repeat(bytes)], &mut requests);
    }
    requests
}

/// However much it has sent, before the command in which it waits and behind it, and
/// however much of that no longer fits anywhere.
#[test]
fn a_client_that_goes_while_it_waits_takes_nothing_along() {
    for server in servers(&[]) {
        let mut other = alone(&server);
        for how in LEAVES {
            for (before, behind, bytes) in [
                (0, 0, 1),
                (400, 200, 1_000),
                (30, 0, 16_384),
                (0, 30, 100_000),
                (3_000, 3_000, 1_000),
            ] {
                let case = format!("{} {how:?} {before} {behind} {bytes}", server.name);
                let mut client = server.connect();
                let mut requests = sets(before, bytes);
                support::client::encode(&["BLPOP", "lost", "0"], &mut requests);
                let mut writer = client.stream().try_clone().expect("it can be shared");
                let sending = std::thread::spawn(move || writer.write_all(&requests));
                (0..before).for_each(|_| assert_eq!(client.read().raw, b"+OK\r\n", "{case}"));
                sending.join().expect("no panic").expect("it is read");
                wait_until(&case, || blocked(&mut other) == 1);
                client.send_raw(&sets(behind, bytes));
                let reading = leave(client, how);
                wait_until(&case, || listed(&mut other) == 1);
                assert_eq!(blocked(&mut other), 0, "{case}");
                let replies = reading.map(|mut client| client.read_to_end());
                assert_eq!(replies.unwrap_or_default(), b"", "{case}");
                assert_eq!(other.call(&["RPUSH", "lost", "x"]).integer(), 1, "{case}");
                assert_eq!(other.call(&["LPOP", "lost"]).bytes(), b"x", "{case}");
            }
        }
    }
}

/// What the client of a paused server has sent is not run when it is gone by then.
#[test]
fn what_waits_for_the_end_of_a_pause_is_dropped_with_its_client() {
    for server in servers(&[]) {
        let mut other = alone(&server);
        for how in LEAVES {
            for (before, behind) in [("", 0), ("GET none\r\n", 0), ("GET none\r\n", 600)] {
                let case = format!("{} {how:?} {before:?} {behind}", server.name);
                let pause = ["CLIENT", "PAUSE", "1000000", "WRITE"];
                assert_eq!(other.call(&pause).raw, b"+OK\r\n");
                let mut client = server.connect();
                client.send_raw(before.as_bytes());
                client.send(&["SET", "late", "1"]);
                client.send_raw(&sets(behind, 1_000));
                wait_until(&case, || blocked(&mut other) == 1);
                let reading = leave(client, how);
                wait_until(&case, || listed(&mut other) == 1);
                if let Some(mut client) = reading {
                    let expected = if before.is_empty() { "" } else { "$-1\r\n" };
                    assert_eq!(client.read_to_end(), expected.as_bytes(), "{case}");
                }
                assert_eq!(other.call(&["CLIENT", "UNPAUSE"]).raw, b"+OK\r\n");
                assert_eq!(other.call(&["SET", "mark", "1"]).raw, b"+OK\r\n");
                assert_eq!(other.call(&["EXISTS", "late", "k1"]).integer(), 0, "{case}");
            }
        }
    }
}

/// A place is free as soon as its client has gone, whichever core hears of that when.
#[test]
fn who_comes_for_one_who_has_gone_is_admitted() {
    for shards in [1, 4] {
        let server = Server::cordis(shards, &["--maxclients", "10"]);
        let mut clients: Vec<Client> = Vec::new();
        wait_until("the start-up check is over", || {
            clients.push(Client::connect(server.port()));
            let client = clients.last_mut().expect("just pushed");
            if client.call(&["PING"]).is_error() {
                clients.pop();
            }
            clients.len() == 10
        });
        for round in 0..300 {
            let how = LEAVES[1 + round % 2];
            leave(clients.remove(round * 7 % 10), how);
            let mut client = Client::connect(server.port());
            let reply = client.call(&["PING"]).raw;
            assert_eq!(reply, b"+PONG\r\n", "{shards} shards, {round}");
            clients.push(client);
        }
        // Crowds find no room, and nobody is left waiting.
        for round in 0..3 {
            let crowd: Vec<Client> = (0..200).map(|_| Client::connect(server.port())).collect();
            for mut client in crowd {
                let reply = client.read().to_string();
                assert_eq!(reply, "ERR max number of clients reached", "{round}");
            }
        }
        for client in &mut clients {
            assert_eq!(client.call(&["PING"]).raw, b"+PONG\r\n");
        }
        assert_eq!(listed(&mut clients[0]), 10);
    }
}
