//! Several connections that take turns, to both servers: pipelines, blocks and
//! questions of the server's own within them, and connections that end in whatever
//! way. Only one connection is at work at a time, so that there is one history.

use crate::shapes;
use crate::support::client::{Client, Reply, encode};
use crate::support::generate::{Generator, Request};
use crate::support::rng::{Rng, seed};
use crate::support::same::{Comparison, comparison, same};
use crate::support::server::Server;
use crate::support::state::{changes, difference_of_states};
use crate::support::{long_run, show_command, words};
use std::time::Duration;

const CONNECTIONS: usize = 4;

/// Two servers and as many connections to each.
struct Stage {
    servers: [Server; 2],
    pairs: Vec<[Client; 2]>,
    watching: [Client; 2],
    /// Which connections have a MULTI open.
    open: [bool; CONNECTIONS],
    generator: Generator,
    rng: Rng,
    /// What was sent last, for whoever reads of a failure.
    told: Vec<String>,
}

/// How a turn of a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    GoesOn,
    /// All is read, and the connection closed.
    Closes,
    /// No more is sent; what was sent is answered, and the server closes.
    HalfCloses,
    /// All is read, and the connection reset.
    Resets,
}

impl Stage {
    fn new(shards: u16, seed: u64) -> Self {
        let redis = Server::redis(&["--hash-max-listpack-entries", "512"]);
        let cordis = Server::cordis(shards, &["--enable-debug-command", "yes"]);
        let shapes = shapes(&mut redis.connect());
        let servers = [redis, cordis];
        let connect = || servers.each_ref().map(Server::connect);
        Self {
            pairs: (0..CONNECTIONS).map(|_| connect()).collect(),
            watching: connect(),
            open: [false; CONNECTIONS],
            generator: Generator::new(seed, shapes),
            rng: Rng::new(seed),
            told: Vec::new(),
            servers,
        }
    }

    /// A request whose reply is the same to the byte, also within EXEC's.
    fn exact(&mut self) -> Request {
        loop {
            let request = self.generator.next();
            if comparison(&request) == Comparison::Exact {
                return request;
            }
        }
    }

    /// One whose reply chance has nothing to do with.
    fn certain(&mut self) -> Request {
        loop {
            let request = self.generator.next();
            let how = comparison(&request);
            if ![Comparison::Picked, Comparison::Scanned, Comparison::Shape].contains(&how) {
                return request;
            }
        }
    }

    fn batch(&mut self, at: usize) -> Vec<Request> {
        let mut batch = Vec::new();
        if std::mem::take(&mut self.open[at]) {
            batch.push(self.exact());
            batch.push(words(&["EXEC"]));
        }
        for _ in 0..1 + self.rng.below(5) {
            match self.rng.below(12) {
                0 => {
                    batch.extend(self.block(at));
                    if self.open[at] {
                        break;
                    }
                }
                1 => batch.push(words(&["INFO", "keyspace"])),
                2 => batch.extend(self.threshold()),
                3 => batch.push(words(&["DEBUG", "OBJECT", "nokey"])),
                4 => batch.push(words(&["DBSIZE"])),
                _ => batch.push(self.certain()),
            }
        }
        batch
    }

    /// MULTI to EXEC or DISCARD, or to nowhere yet.
    fn block(&mut self, at: usize) -> Vec<Request> {
        let mut block = Vec::new();
        if self.rng.one_in(3) {
            block.push(words(&["WATCH", "a", "list:1"]));
        }
        block.push(words(&["MULTI"]));
        for _ in 0..self.rng.below(4) {
            block.push(self.exact());
        }
        match self.rng.below(6) {
            0 => block.push(words(&["DISCARD"])),
            1 => self.open[at] = true,
            _ => block.push(words(&["EXEC"])),
        }
        block
    }

    /// A threshold that changes, and what that means to what comes next.
    fn threshold(&mut self) -> Vec<Request> {
        // Of one element at a time: 7.2 looks ahead at how many come, 7.0 did not.
        let (name, key, one) = *self.rng.pick(&[
            (
                "hash-max-listpack-entries",
                "hash:1",
                ["HSET", "hash:1", "1", "2"],
            ),
            (
                "zset-max-listpack-entries",
                "zset:1",
                ["ZADD", "zset:1", "1", "2"],
            ),
        ]);
        let value = *self.rng.pick(&["1", "2", "3", "128", "512"]);
        let mut batch = vec![words(&["CONFIG", "SET", name, value]), words(&one)];
        batch.push(words(&["OBJECT", "ENCODING", key]));
        batch
    }

    fn turn(&mut self) {
        let at = self.rng.below(CONNECTIONS);
        let batch = self.batch(at);
        let end = match self.rng.below(20) {
            0 => End::Closes,
            1 => End::HalfCloses,
            2 => End::Resets,
            _ => End::GoesOn,
        };
        self.told.push(format!("connection {at}, {end:?}"));
        let lines = batch.iter().map(|it| show_command(it));
        self.told.extend(lines);
        let before = self.watching.each_mut().map(changes);
        let pair = &mut self.pairs[at];
        let mut bytes = Vec::new();
        batch.iter().for_each(|it| encode(it, &mut bytes));
        for client in pair.iter_mut() {
            client.send_raw(&bytes);
            if end == End::HalfCloses {
                client.finish_sending();
            }
        }
        for request in &batch {
            let [expected, got] = pair.each_mut().map(Client::read);
            if !agree(request, &expected, &got) {
                let from = self.told.len().saturating_sub(60);
                let told = self.told[from..].join("\n  ");
                let asked = show_command(request);
                panic!("after\n  {told}\nto {asked}\n  redis:  {expected:?}\n  cordis: {got:?}");
            }
        }
        if end == End::HalfCloses {
            assert!(pair.iter_mut().all(Client::is_closed));
        }
        let after = self.watching.each_mut().map(changes);
        let counted = [0, 1].map(|server| after[server] - before[server]);
        let told = self.told[self.told.len().saturating_sub(60)..].join("\n  ");
        assert_eq!(counted[0], counted[1], "changes after\n  {told}");
        if end != End::GoesOn {
            let new = self.servers.each_ref().map(Server::connect);
            self.open[at] = false;
            let old = std::mem::replace(&mut self.pairs[at], new);
            if end == End::Resets {
                old.iter().for_each(reset);
            }
        }
    }
}

/// The next close resets the connection.
fn reset(client: &Client) {
    let linger = Some(Duration::ZERO);
    let socket = socket2::SockRef::from(client.stream());
    socket.set_linger(linger).expect("a socket has the option");
}

fn agree(request: &Request, expected: &Reply, got: &Reply) -> bool {
    if request[0].eq_ignore_ascii_case(b"INFO") && !expected.is_error() && !got.is_error() {
        // The mean of what is left to live follows the clock.
        let lines = |reply: &Reply| -> Vec<String> {
            let text = reply.to_string();
            let lines = text.lines();
            lines
                .map(|line| line.split(",avg_ttl").next().unwrap_or(line).to_owned())
                .collect()
        };
        return lines(expected) == lines(got);
    }
    same(comparison(request), request, expected, got)
}

fn sessions(test: &str, shards: u16) {
    let seed = seed(test);
    for round in 0..if long_run() { 50 } else { 1 } {
        let mut stage = Stage::new(shards, seed.wrapping_add(round));
        for _ in 0..1_500 {
            stage.turn();
        }
        let [redis, cordis] = &stage.servers;
        if let Some(difference) = difference_of_states(redis, cordis) {
            panic!("in the end: {difference}");
        }
        stage.servers[1].assert_alive();
    }
}

#[test]
fn connections_that_take_turns_agree_on_one_shard() {
    sessions("connections_that_take_turns_agree_on_one_shard", 1);
}

#[test]
fn connections_that_take_turns_agree_on_four_shards() {
    sessions("connections_that_take_turns_agree_on_four_shards", 4);
}
