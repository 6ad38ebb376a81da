//! What pub/sub promises beyond single lines (`pubsub.rs`), over sockets, with clients on all
//! cores: in which order messages come, behind which writes, that each comes once to whoever
//! listens, and who does not read.

mod support;

use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::client::{Client, Reply, Value, encode};
use support::rng::{Rng, seed};
use support::server::{Server, info_field};
use support::{Roles, long_run, wait_until, words};

fn cordis() -> [Server; 2] {
    [Server::cordis(1, &[]), Server::cordis(4, &[])]
}

/// A message or confirmation: its words.
fn parts(reply: &Reply) -> Vec<Vec<u8>> {
    let value = reply.value();
    let text = |part: &Value| match part {
        Value::Integer(number) => number.to_string().into_bytes(),
        Value::Null => Vec::new(),
        other => other.bytes(),
    };
    value.items().iter().map(text).collect()
}

/// The text of a message to a channel, which must come next.
fn message(client: &mut Client) -> Vec<u8> {
    let reply = client.read();
    let mut parts = parts(&reply);
    assert_eq!(parts[0], b"message", "{reply:?}");
    parts.remove(2)
}

fn number(text: &[u8]) -> u64 {
    let text = std::str::from_utf8(text).expect("it is a number");
    text.parse().expect("it is a number")
}

fn listening(server: &Server, protocol: u8, channel: &str) -> Client {
    let mut client = server.connect_with(protocol);
    let confirmed = client.call(&["SUBSCRIBE", channel]);
    assert_eq!(parts(&confirmed)[0], b"subscribe");
    client
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(words, &mut bytes);
    bytes
}

/// Messages that a publisher sends in a pipeline, with other requests between them.
const PIPELINED: u64 = 3000;

#[test]
fn messages_of_one_publisher_come_in_its_order_whatever_it_does_between() {
    for server in cordis() {
        let mut listeners: Vec<Client> = (0..12)
            .map(|n| listening(&server, 2 + n % 2, "c"))
            .collect();
        listeners[3].call(&["PSUBSCRIBE", "other*"]);
        for publisher in 0..4 {
            let mut client = server.connect_with(2 + publisher % 2);
            let requests = (0..PIPELINED).flat_map(|n| {
                let (key, text) = (format!("key:{n}"), n.to_string());
                let publish = words(&["PUBLISH", "c", &text]);
                let else_ = match n % 7 {
                    0 => words(&["GET", &key]),
                    1 => words(&["MSET", &key, "1", "a", "2", "b", "3", "c", "4"]),
                    2 => words(&["PUBLISH", "nobody", &text]),
                    3 => words(&["PUBLISH", "other", &text]),
                    4 => return vec![publish],
                    _ => words(&["SET", &key, &text]),
                };
                vec![else_, publish]
            });
            let requests: Vec<_> = requests.collect();
            let replies = client.pipeline(&requests);
            for (request, reply) in requests.iter().zip(replies) {
                if request[0] == b"PUBLISH" {
                    let heard = match request[1].as_slice() {
                        b"c" => 12,
                        b"other" => 1,
                        _ => 0,
                    };
                    assert_eq!(reply.integer(), heard, "{}", server.name);
                }
            }
            for client in &mut listeners {
                let mut next = 0;
                while next < PIPELINED {
                    let parts = parts(&client.read());
                    if parts[0] == b"message" {
                        assert_eq!(number(&parts[2]), next, "{}", server.name);
                        next += 1;
                    }
                }
            }
        }
        for mut client in listeners {
            assert_eq!(
                client.call(&["UNSUBSCRIBE", "none"]).value().items().len(),
                3
            );
        }
    }
}

/// Publishers on all cores, listeners on all cores: one order.
#[test]
fn all_see_messages_of_several_publishers_in_one_order() {
    const EACH: usize = 600;
    for server in cordis() {
        let orders: Vec<Vec<Vec<u8>>> = std::thread::scope(|scope| {
            let listeners: Vec<_> = (0..10)
                .map(|n| {
                    let mut client = listening(&server, 2 + n % 2, "c");
                    scope.spawn(move || (0..4 * EACH).map(|_| message(&mut client)).collect())
                })
                .collect();
            for publisher in 0..4 {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.connect();
                    let publish = |n: usize| words(&["PUBLISH", "c", &format!("{publisher}:{n}")]);
                    for burst in (0..EACH).collect::<Vec<_>>().chunks(25) {
                        // One by one, and in bursts.
                        let requests: Vec<_> = burst.iter().map(|n| publish(*n)).collect();
                        let depth = if burst[0] % 2 == 0 { 1 } else { burst.len() };
                        for some in requests.chunks(depth) {
                            let replies = client.pipeline(some);
                            assert!(replies.iter().all(|reply| reply.integer() == 10));
                        }
                    }
                });
            }
            listeners
                .into_iter()
                .map(|it| it.join().expect("it ends"))
                .collect()
        });
        for order in &orders[1..] {
            assert!(*order == orders[0], "{}: two orders", server.name);
        }
        for publisher in 0..4 {
            let prefix = format!("{publisher}:");
            let own = orders[0]
                .iter()
                .filter_map(|text| text.strip_prefix(prefix.as_bytes()));
            assert!(own.map(number).eq(0..EACH as u64), "{}", server.name);
        }
    }
}

/// What `n`-th message is sent behind, in one pipeline: all keys are set to `n`.
fn write_and_publish(n: u64, keys: &[String]) -> Vec<Vec<Vec<u8>>> {
    let text = n.to_string();
    let set = |key: &String| words(&["SET", key, &text]);
    let mset: Vec<Vec<u8>> = std::iter::once(b"MSET".to_vec())
        .chain(
            keys.iter()
                .flat_map(|key| [key.clone().into_bytes(), text.clone().into_bytes()]),
        )
        .collect();
    let publish = words(&["PUBLISH", "c", &text]);
    let mut requests = Vec::new();
    match n % 4 {
        0 => requests.extend(keys.iter().map(set)),
        1 => requests.push(mset),
        2 => {
            requests.push(words(&["MULTI"]));
            requests.extend(keys.iter().map(set));
            requests.push(words(&["EXEC"]));
        }
        _ => {
            // The message comes in the midst of it, and what is seen is all of it.
            requests.push(words(&["MULTI"]));
            requests.push(set(&keys[0]));
            requests.push(publish);
            requests.extend(keys[1..].iter().map(set));
            requests.push(words(&["EXEC"]));
            return requests;
        }
    }
    requests.push(publish);
    requests
}

#[test]
fn whoever_gets_a_message_sees_what_was_written_before_it() {
    const MESSAGES: u64 = 400;
    let keys: Vec<String> = (0..6).map(|n| format!("written:{n}")).collect();
    for server in cordis() {
        std::thread::scope(|scope| {
            for listener in 0..6 {
                let mut client = listening(&server, 2 + listener % 2, "c");
                let mut other = server.connect();
                let (keys, name) = (&keys, &server.name);
                scope.spawn(move || {
                    for n in 0..MESSAGES {
                        assert_eq!(number(&message(&mut client)), n, "{name}");
                        let key = &keys[(n + u64::from(listener)) as usize % keys.len()];
                        let seen = other.call(&["GET", key]);
                        assert!(number(&seen.bytes()) >= n, "{name}: {seen:?} after {n}");
                        let seen = other.call(&[&["MGET".to_owned()], &keys[..]].concat());
                        let seen = parts(&seen);
                        assert!(
                            seen.iter().all(|it| number(it) >= n),
                            "{name}: {seen:?} {n}"
                        );
                    }
                });
            }
            // And on the connection that gets the message.
            let mut client = listening(&server, 3, "c");
            let keys = &keys;
            scope.spawn(move || {
                let (mut next, mut asked, mut seen) = (0, 0, 0);
                while next < MESSAGES || seen < asked {
                    let reply = client.read();
                    if reply.raw[0] == b'>' {
                        next = number(&parts(&reply)[2]) + 1;
                        client.send(&["GET", &keys[next as usize % keys.len()]]);
                        asked += 1;
                        continue;
                    }
                    // Replies come in order: this is to what was asked behind message `seen`.
                    let value = number(&reply.bytes());
                    assert!(value >= seen, "{value} after {seen}");
                    seen += 1;
                }
            });
            let mut publisher = server.connect();
            for n in 0..MESSAGES {
                let requests = write_and_publish(n, keys);
                publisher.pipeline(&requests);
            }
        });
    }
}

/// Messages with numbers that publishers send until they are told to stop.
struct Stream {
    /// How many each has begun to send, and knows to have been sent.
    begun: Vec<AtomicU64>,
    sent: Vec<AtomicU64>,
    over: AtomicBool,
    /// Who comes and goes is to come no more.
    closing: AtomicBool,
    /// The sum of what PUBLISH has replied, and of the messages that have come.
    heard: AtomicU64,
    came: AtomicU64,
}

const PUBLISHERS: usize = 4;

impl Stream {
    fn new() -> Self {
        let counts = || (0..PUBLISHERS).map(|_| AtomicU64::new(0)).collect();
        Self {
            begun: counts(),
            sent: counts(),
            over: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            came: AtomicU64::new(0),
        }
    }

    fn closes(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    fn counts(of: &[AtomicU64]) -> Vec<u64> {
        of.iter()
            .map(|count| count.load(Ordering::SeqCst))
            .collect()
    }

    /// Ends who comes and goes, and then those who publish.
    fn end(&self, listeners: Vec<std::thread::ScopedJoinHandle<'_, ()>>) {
        self.closing.store(true, Ordering::SeqCst);
        let ended: Vec<_> = listeners.into_iter().map(|it| it.join()).collect();
        self.over.store(true, Ordering::SeqCst);
        assert!(ended.iter().all(Result::is_ok), "a listener has panicked");
    }

    /// Publishes to the channel `c`, one message or a few at a time, with writes between.
    fn publish(&self, server: &Server, publisher: usize, seed: u64) {
        let mut rng = Rng::new(seed + publisher as u64);
        let mut client = server.connect_with(2 + publisher as u8 % 2);
        while !self.over.load(Ordering::SeqCst) {
            let count = if rng.one_in(2) {
                1
            } else {
                1 + rng.below(20) as u64
            };
            let first = self.begun[publisher].fetch_add(count, Ordering::SeqCst);
            let mut requests = Vec::new();
            for n in first..first + count {
                if rng.one_in(3) {
                    let key = format!("key:{}", rng.below(100));
                    requests.push(words(&["INCR", &key]));
                }
                if rng.one_in(5) {
                    requests.push(words(&["MSET", "m1", "1", "m2", "2", "m3", "3"]));
                }
                let (text, block) = (format!("{publisher}:{n}"), rng.one_in(20));
                if block {
                    requests.extend([words(&["MULTI"]), words(&["INCR", "m4"])]);
                }
                requests.push(words(&["PUBLISH", "c", &text]));
                if block {
                    requests.extend([words(&["SET", "m5", "x"]), words(&["EXEC"])]);
                }
            }
            let replies = client.pipeline(&requests);
            let mut published = 0;
            for (request, reply) in requests.iter().zip(replies) {
                published += match (request[0].as_slice(), reply.value()) {
                    (b"PUBLISH", Value::Integer(heard)) => heard as u64,
                    (b"EXEC", Value::Array(replies)) => match replies[1] {
                        Value::Integer(heard) => heard as u64,
                        ref other => panic!("{other:?}"),
                    },
                    (b"EXEC", other) => panic!("{other:?}"),
                    _ => 0,
                };
            }
            self.heard.fetch_add(published, Ordering::SeqCst);
            self.sent[publisher].fetch_add(count, Ordering::SeqCst);
        }
    }
}

/// What has come to one listener since it listens.
#[derive(Default)]
struct Come {
    first: [Option<u64>; PUBLISHERS],
    next: [u64; PUBLISHERS],
    count: u64,
}

impl Come {
    /// Takes a message in: those of one publisher come one after the other.
    fn take(&mut self, message: &[Vec<u8>]) {
        assert_eq!(message[0], b"message", "{message:?}");
        let text = message[2].as_slice();
        let colon = text
            .iter()
            .position(|byte| *byte == b':')
            .expect("it has one");
        let (publisher, n) = (number(&text[..colon]) as usize, number(&text[colon + 1..]));
        if self.first[publisher].is_none() {
            self.first[publisher] = Some(n);
            self.next[publisher] = n;
        }
        assert_eq!(n, self.next[publisher], "one is missing, or came twice");
        self.next[publisher] += 1;
        self.count += 1;
    }

    /// Judges a client that was confirmed to listen when those had `begun`, and that wanted
    /// to leave when these were `sent`.
    fn judge(&self, begun: &[u64], sent: &[u64]) {
        for publisher in 0..PUBLISHERS {
            let (begun, sent) = (begun[publisher], sent[publisher]);
            match self.first[publisher] {
                Some(first) => assert!(first <= begun, "{first} is the first after {begun}"),
                None => assert!(sent <= begun, "{begun}..{sent} have not come"),
            }
            let next = self.next[publisher];
            assert!(next >= sent || sent <= begun, "{next} of {sent} have come");
        }
    }
}

/// Listens for a while, some of it in a block, and leaves again.
fn come_and_go(stream: &Stream, client: &mut Client, resp3: bool, rng: &mut Rng) {
    let mut come = Come::default();
    if rng.one_in(3) {
        let block = ["GET", "SUBSCRIBE", "MGET", "GET"];
        let requests = [
            vec!["MULTI"],
            vec![block[0], "key:1"],
            vec![block[1], "c"],
            vec![block[2], "key:2", "key:3", "key:4"],
            vec![block[3], "key:5"],
            vec!["EXEC"],
        ];
        requests.iter().for_each(|words| client.send(words));
        // Nothing comes before it is confirmed that the client listens.
        for start in [
            &b"+OK"[..],
            b"+QUEUED",
            b"+QUEUED",
            b"+QUEUED",
            b"+QUEUED",
            b"*4",
        ] {
            let reply = client.read();
            assert!(reply.raw.starts_with(start), "{reply:?}");
        }
    } else {
        // Behind requests that other shards answer.
        let before = rng.below(4);
        (0..before).for_each(|n| client.send(&["EXISTS", &format!("key:{n}")]));
        client.send(&["SUBSCRIBE", "c"]);
        (0..before).for_each(|_| assert!(client.read().integer() < 2));
        assert_eq!(parts(&client.read())[0], b"subscribe");
    }
    let begun = Stream::counts(&stream.begun);
    let most = rng.below(200);
    for _ in 0..most {
        if stream.closes() {
            break;
        }
        come.take(&parts(&client.read()));
    }
    let sent = Stream::counts(&stream.sent);
    let muted = resp3 && rng.one_in(3);
    let mut leave = Vec::new();
    if muted {
        leave.extend(request(&["CLIENT", "REPLY", "SKIP"]));
    }
    leave.extend(request(if rng.one_in(2) {
        &["UNSUBSCRIBE"]
    } else {
        &["UNSUBSCRIBE", "c"]
    }));
    leave.extend(request(&["ECHO", "gone"]));
    client.send_raw(&leave);
    loop {
        let parts = parts(&client.read());
        if parts[0] == b"unsubscribe" {
            break;
        }
        come.take(&parts);
    }
    assert_eq!(client.read().bytes(), b"gone", "nothing comes any more");
    come.judge(&begun, &sent);
    stream.came.fetch_add(come.count, Ordering::SeqCst);
}

#[test]
fn every_message_comes_once_to_whoever_listens() {
    let seed = seed("every_message_comes_once_to_whoever_listens");
    let time = Duration::from_millis(if long_run() { 600_000 } else { 2500 });
    for server in cordis() {
        let stream = Stream::new();
        let roles = Roles::new(&["stayed"]);
        std::thread::scope(|scope| {
            for publisher in 0..PUBLISHERS {
                let (stream, server) = (&stream, &server);
                scope.spawn(move || stream.publish(server, publisher, seed));
            }
            let listeners = (0..6).map(|n| {
                let (stream, server, roles) = (&stream, &server, &roles);
                scope.spawn(move || {
                    let mut rng = Rng::new(seed ^ n);
                    let resp3 = n % 2 == 1;
                    let mut client = server.connect_with(2 + u8::from(resp3));
                    while !stream.closes() {
                        come_and_go(stream, &mut client, resp3, &mut rng);
                        roles.did("stayed");
                        if rng.one_in(5) {
                            client = server.connect_with(2 + u8::from(resp3));
                        }
                    }
                })
            });
            let listeners: Vec<_> = listeners.collect();
            let end = Instant::now() + time;
            while roles.go_on(end) {
                std::thread::sleep(Duration::from_millis(20));
            }
            stream.end(listeners);
        });
        let [heard, came] = [&stream.heard, &stream.came].map(|it| it.load(Ordering::SeqCst));
        assert!(came > 1000, "{came}");
        assert_eq!(heard, came, "{}: heard, and came", server.name);
        assert_nobody_listens(&server);
    }
}

fn assert_nobody_listens(server: &Server) {
    let mut client = server.connect();
    assert_eq!(client.call(&["PUBLISH", "c", "x"]).integer(), 0);
    assert_eq!(client.call(&["PUBSUB", "NUMPAT"]).integer(), 0);
    for what in ["CHANNELS", "SHARDCHANNELS"] {
        assert_eq!(
            client.call(&["PUBSUB", what]).raw,
            b"*0\r\n",
            "{}",
            server.name
        );
    }
}

/// The same for those who stay, while others are killed, drop their sockets, or stop reading.
#[test]
fn who_stays_misses_nothing_while_others_are_killed() {
    let seed = seed("who_stays_misses_nothing_while_others_are_killed");
    let time = Duration::from_millis(if long_run() { 600_000 } else { 2500 });
    for server in cordis() {
        let stream = Stream::new();
        let gone = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let stayers: Vec<_> = (0..4)
                .map(|n| {
                    let mut client = listening(&server, 2 + n % 2, "c");
                    let stream = &stream;
                    scope.spawn(move || {
                        let mut come = Come::default();
                        loop {
                            let parts = parts(&client.read());
                            if parts[0] == b"message" && parts[2] == b"end" {
                                break;
                            }
                            come.take(&parts);
                        }
                        come.judge(&[0; PUBLISHERS], &Stream::counts(&stream.sent));
                    })
                })
                .collect();
            let publishers: Vec<_> = (0..PUBLISHERS)
                .map(|publisher| {
                    let (stream, server) = (&stream, &server);
                    scope.spawn(move || stream.publish(server, publisher, seed))
                })
                .collect();
            let vanishing = (0..4).map(|n| {
                let (stream, server, gone) = (&stream, &server, &gone);
                scope.spawn(move || {
                    let mut rng = Rng::new(seed ^ (n << 8));
                    while !stream.closes() {
                        vanish(server, &mut rng);
                        gone.fetch_add(1, Ordering::SeqCst);
                    }
                })
            });
            let vanishing: Vec<_> = vanishing.collect();
            let end = Instant::now() + time;
            while Instant::now() < end || gone.load(Ordering::SeqCst) < 40 {
                std::thread::sleep(Duration::from_millis(20));
            }
            stream.end(vanishing);
            publishers
                .into_iter()
                .for_each(|it| it.join().expect("it ends"));
            server.connect().call(&["PUBLISH", "c", "end"]);
            stayers
                .into_iter()
                .for_each(|it| it.join().expect("it ends"));
        });
        let mut client = server.connect();
        wait_until("nobody listens any more", || {
            let count = client.call(&["PUBSUB", "NUMSUB", "c"]);
            number(&parts(&count)[1]) == 0
        });
        assert_nobody_listens(&server);
    }
}

/// Listens, reads a little in order, and goes in some way.
fn vanish(server: &Server, rng: &mut Rng) {
    let mut client = listening(server, 2 + rng.below(2) as u8, "c");
    client.call(&["PSUBSCRIBE", "other*"]);
    let mut come = Come::default();
    for _ in 0..rng.below(30) {
        let parts = parts(&client.read());
        if parts[0] == b"message" && parts[2] != b"end" {
            come.take(&parts);
        }
    }
    match rng.below(4) {
        0 => {
            let address = client.stream().local_addr().expect("it is connected");
            let killed = server
                .connect()
                .call(&["CLIENT", "KILL", &address.to_string()]);
            assert_eq!(killed.raw, b"+OK\r\n");
            client.read_to_end();
        }
        1 => {
            let stopped = client.stream().shutdown(Shutdown::Both);
            stopped.expect("it is connected");
        }
        2 => client.send(&["QUIT"]),
        _ => {
            client.finish_sending();
            client.read_to_end();
        }
    }
}

/// Lengths at which messages are kept, sent or shared in another way.
const LENGTHS: [usize; 14] = [
    0,
    1,
    900,
    1000,
    1001,
    1002,
    1003,
    1023,
    1024,
    16_383,
    16_384,
    70_000,
    1 << 20,
    64 << 20,
];

/// Bytes of which each part looks different.
fn text(length: usize, seed: u64) -> Vec<u8> {
    let mut text = Rng::new(seed).bytes(length.min(1 << 16));
    while text.len() < length {
        let more = (length - text.len()).min(text.len());
        text.extend_from_within(..more);
        let last = text.len() - 1;
        text[last] = text[last].wrapping_add(1);
    }
    text
}

#[test]
fn messages_of_any_length_come_whole() {
    let options = ["--client-output-buffer-limit", "pubsub 0 0 0"];
    for server in [Server::cordis(1, &options), Server::cordis(4, &options)] {
        let mut publishers: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        let mut listeners: Vec<Client> =
            (0..5).map(|n| listening(&server, 2 + n % 2, "c")).collect();
        listeners[1].call(&["PSUBSCRIBE", "c*"]);
        listeners[4].call(&["SSUBSCRIBE", "c"]);
        for (n, length) in LENGTHS.into_iter().enumerate() {
            let text = text(length, n as u64);
            let publisher = &mut publishers[n % 4];
            let heard = std::thread::scope(|scope| {
                let text = &text;
                for (n, client) in listeners.iter_mut().enumerate() {
                    scope.spawn(move || {
                        assert!(message(client) == *text, "{length}");
                        if n == 1 {
                            assert!(parts(&client.read())[3] == *text, "{length}");
                        }
                        if n == 4 {
                            assert!(parts(&client.read())[2] == *text, "{length}");
                        }
                    });
                }
                let heard = publisher.call(&[b"PUBLISH", &b"c"[..], text]).integer();
                let sharded = publisher.call(&[b"SPUBLISH", &b"c"[..], text]).integer();
                (heard, sharded)
            });
            assert_eq!(heard, (6, 1), "{}", server.name);
        }
        // What is under way to several who do not read is there once.
        let [mut stopped, mut other] = [listening(&server, 2, "big"), server.connect()];
        let huge = text(64 << 20, 9);
        other.call(&[b"PUBLISH", &b"big"[..], &huge]);
        other.call(&[b"PUBLISH", &b"big"[..], &huge]);
        let mut reading = listening(&server, 3, "big");
        for n in 0..100 {
            let n = n.to_string();
            assert_eq!(other.call(&["PUBLISH", "c", &n]).integer(), 6);
            for (at, client) in listeners.iter_mut().enumerate() {
                assert_eq!(message(client), n.as_bytes());
                if at == 1 {
                    client.read();
                }
            }
        }
        // Nor does it hold up who reads the same channel.
        assert_eq!(other.call(&["PUBLISH", "big", "small"]).integer(), 2);
        assert_eq!(message(&mut reading), b"small");
        assert!(message(&mut stopped) == huge && message(&mut stopped) == huge);
        assert_eq!(message(&mut stopped), b"small", "{}", server.name);
    }
}

/// What a field of INFO counts.
fn info(client: &mut Client, section: &str, field: &str) -> u64 {
    let text = client.call(&["INFO", section]).value().text();
    let value = info_field(&text, field).expect("INFO has it");
    value.parse().expect("it is a number")
}

/// Of a thousand who listen to `c`, so many do not read. They listen to `bulk`, too, and so
/// do as many who read.
const STOPPED: usize = 50;
const READING: usize = 950;

/// They go at their limit, the others miss nothing, and what is kept for all of them is
/// kept once.
#[test]
fn who_does_not_read_is_dropped_at_the_limit_and_nobody_else_notices() {
    const LENGTH: usize = 64 << 10;
    /// So far the last reader may be behind.
    const BEHIND: u64 = 8;
    for shards in [1, 4] {
        let server = Server::cordis(shards, &["--client-output-buffer-limit", "pubsub 1mb 0 0"]);
        let both = |n: usize| {
            let mut client = listening(&server, 2 + (n % 2) as u8, "c");
            client.call(&["SUBSCRIBE", "bulk"]);
            client
        };
        let mut stopped: Vec<Client> = (0..STOPPED).map(both).collect();
        let mut listeners: Vec<Client> = (0..STOPPED).map(both).collect();
        listeners.extend((STOPPED..READING).map(|_| listening(&server, 2, "c")));
        let [mut publisher, mut observer] = [server.connect(), server.connect()];
        let before = info(&mut observer, "memory", "used_memory");
        let dropped = "client_output_buffer_limit_disconnections";
        let (read, mut most, mut sent) = (AtomicU64::new(0), 0, 0);
        std::thread::scope(|scope| {
            while !listeners.is_empty() {
                let rest = listeners.len().saturating_sub(STOPPED);
                let (group, read, bulk) = (listeners.split_off(rest), &read, rest == 0);
                scope.spawn(move || read_all(group, bulk.then_some(LENGTH), read));
            }
            while info(&mut observer, "stats", dropped) < STOPPED as u64 {
                let mut text = sent.to_string().into_bytes();
                let few = publisher.call(&[b"PUBLISH", &b"c"[..], &text]).integer() as usize;
                assert!((READING..=READING + STOPPED).contains(&few), "{few}");
                text.resize(LENGTH, b' ');
                let heard = publisher.call(&[b"PUBLISH", &b"bulk"[..], &text]).integer() as usize;
                assert!((STOPPED..=2 * STOPPED).contains(&heard), "{heard}");
                sent += 1;
                most = most.max(info(&mut observer, "memory", "used_memory"));
                wait_until("those who read have read", || {
                    read.load(Ordering::SeqCst) + BEHIND * READING as u64 >= sent * READING as u64
                });
            }
            assert_eq!(
                publisher.call(&["PUBLISH", "c", "end"]).integer() as usize,
                READING
            );
        });
        assert_eq!(read.into_inner(), sent * READING as u64, "{}", server.name);
        assert_eq!(info(&mut observer, "stats", dropped), STOPPED as u64);
        for client in &mut stopped {
            // A part has come, and then the end.
            let come = client.read_to_end();
            assert!(come.len() < sent as usize * LENGTH, "{}", server.name);
        }
        assert_nobody_listens(&server);
        // Each for itself would keep its megabyte.
        let grown = most.saturating_sub(before);
        println!("{}: {sent} messages, {grown} bytes more", server.name);
        assert!(
            grown < (STOPPED as u64) << 19,
            "{}: {grown} bytes",
            server.name
        );
    }
}

/// Reads by turns what comes to many connections, until the end, and has them leave; with
/// each message one in bulk comes if that has a length.
fn read_all(mut clients: Vec<Client>, bulk: Option<usize>, read: &AtomicU64) {
    let mut over = false;
    for n in 0.. {
        for client in &mut clients {
            let text = message(client);
            over = text == b"end";
            if over {
                continue;
            }
            assert_eq!(number(&text), n);
            if let Some(length) = bulk {
                let text = message(client);
                assert!(text.len() == length && number(text.trim_ascii_end()) == n);
            }
            read.fetch_add(1, Ordering::SeqCst);
        }
        if over {
            break;
        }
    }
    for client in &mut clients {
        client.send(&["UNSUBSCRIBE", "bulk", "c"]);
        let left = [client.read(), client.read()];
        assert!(left.iter().all(|it| parts(it)[0] == b"unsubscribe"));
    }
}
