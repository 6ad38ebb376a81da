//! A world of clients that wait: queues over several shards, those who push, and
//! those who block until there is something for them.
//!
//! - BLPOP of one to three keys, BLMOVE and BLMPOP; RPUSH, LPOP, and MGET, which
//!   locks several keys at once and so comes in between;
//! - a waiting client is unblocked with a null or an error, or goes away, with
//!   another in its place;
//! - boxes between nodes arrive in any order that keeps each channel's.
//!
//! In half of the runs whatever takes more than one element does so in slices, with
//! others in between.
//!
//! Every element has a number of its own. When all is over, each is in one hand
//! or in one list, nobody waits for a key that has something, and all nodes are at
//! rest once those who still wait are sent away.

use crate::follower::{Careless, Follower, Recorder};
use crate::network::Network;
use crate::rng::Rng;
use shards::command::OwnedArgs;
use shards::order::{Call, Client, Node, Placement, Unblock};
use shards::{CommandError, DbIndex, Settings, Shard, ShardId, Slices, UnixMs, row};
use std::collections::BTreeMap;

const NOW: UnixMs = UnixMs(1_700_000_000_000);
const KEYS: usize = 6;
const CLIENTS: usize = 8;

/// Someone who asks, and what for.
struct Person {
    id: u64,
    home: usize,
    /// The request under way.
    asked: Option<Asked>,
}

#[derive(Clone)]
struct Asked {
    line: String,
    place: u32,
    /// The keys that it would wait for.
    waits_for: Vec<usize>,
    /// The shard of all of its keys, if there is one.
    owner: Option<ShardId>,
    /// Its waiting was ended.
    ended: bool,
}

/// Rounds of deliveries after which everything must have arrived.
const SETTLED_AFTER: usize = 1000;

/// [`Client::place`] of a request that moves what it replies to another list.
const MOVES: u32 = 1;

pub struct Waits {
    rng: Rng,
    nodes: Vec<Node>,
    recorder: Recorder,
    network: Network,
    people: Vec<Person>,
    next_id: u64,
    /// Numbers of elements from 1 on.
    pushed: u64,
    /// How often each element was handed to someone.
    taken: BTreeMap<u64, u32>,
    pub requests: usize,
    /// Requests that waited and were served.
    pub served: usize,
    broken: Broken,
}

/// The rule that a run breaks, to see whether the checks notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Nothing,
    /// One box in so many gets lost.
    LostBox(usize),
    /// Requests on the core's own keys run without a look at the locks.
    SkippedLocks,
}

fn key(number: usize) -> String {
    format!("queue:{number}")
}

impl Waits {
    pub fn new(seed: u64, broken: Broken) -> Self {
        let mut rng = Rng::new(seed);
        let count = 1 + rng.below(4) as u16;
        let mut settings = Settings::default();
        settings.encodings.list_max_listpack_size = 2;
        if rng.one_in(2) {
            settings.slices = Slices { above: 1, step: 1 };
            settings.long_replies.piece = 1;
        }
        let node = |id| {
            let shard = Shard::new(2, ShardId(id).slots(count), seed, settings.clone());
            Node::new(ShardId(id), count, shard, 7)
        };
        let person = |id| Person {
            id,
            home: id as usize % usize::from(count),
            asked: None,
        };
        let mut nodes: Vec<Node> = (0..count).map(node).collect();
        Self {
            recorder: Recorder::new(&mut nodes, Careless::No),
            nodes,
            network: Network::new(usize::from(count)),
            people: (0..CLIENTS as u64).map(person).collect(),
            next_id: CLIENTS as u64,
            pushed: 0,
            taken: BTreeMap::new(),
            requests: 0,
            served: 0,
            broken,
            rng,
        }
    }

    /// Plays so many steps and says what is wrong afterwards.
    pub fn run(&mut self, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            match self.rng.below(100) {
                0..=34 => self.ask(),
                35..=84 => {
                    self.deliver();
                }
                85..=88 => {
                    self.go_on();
                }
                89..=96 => {
                    let node = self.rng.below(self.nodes.len());
                    self.publish(node);
                }
                _ => self.end_waiting(),
            }
        }
        self.settle()?;
        self.check_waiting()?;
        for index in 0..self.people.len() {
            self.unblock(index, Unblock::Timeout);
        }
        self.settle()?;
        self.check_rest()?;
        self.check_follower()
    }

    /// Whoever follows the merged logs has the same lists: what has come to them and
    /// gone, did so in the same order.
    fn check_follower(&mut self) -> Result<(), String> {
        self.recorder.finish(&mut self.nodes, NOW.0);
        let mut follower = Follower::new(2);
        for (_, stream) in &self.recorder.stream {
            follower.play(stream)?;
        }
        let name = |number| (DbIndex(0), key(number).into_bytes());
        let keys: Vec<_> = (0..KEYS).map(name).collect();
        follower.same(&mut self.nodes, &keys, "LRANGE KEY 0 -1")
    }

    /// Someone who has no request under way sends one.
    fn ask(&mut self) {
        let index = self.rng.below(self.people.len());
        if self.people[index].asked.is_some() {
            return;
        }
        let names: Vec<usize> = (0..3).map(|_| self.rng.below(KEYS)).collect();
        let [a, b, c] = [0, 1, 2].map(|at: usize| key(names[at]));
        let (line, waits_for) = match self.rng.below(12) {
            0..=3 => {
                self.pushed += 1;
                (format!("RPUSH {a} {}", self.pushed), vec![])
            }
            4 => {
                self.pushed += 2;
                let (one, two) = (self.pushed - 1, self.pushed);
                (format!("RPUSH {a} {one} {two}"), vec![])
            }
            5 if self.rng.one_in(2) => {
                self.pushed += 5;
                let some: Vec<String> = (self.pushed - 4..=self.pushed)
                    .map(|number| number.to_string())
                    .collect();
                (format!("RPUSH {a} {}", some.join(" ")), vec![])
            }
            5 => (format!("BLPOP {a} 0"), names[..1].to_vec()),
            6 | 7 => (format!("BLPOP {a} {b} {c} 0"), names.clone()),
            8 => (format!("BLMOVE {a} {b} LEFT RIGHT 0"), names[..1].to_vec()),
            9 => {
                let count = 1 + self.rng.below(6);
                let line = format!("BLMPOP 0 2 {a} {b} LEFT COUNT {count}");
                (line, names[..2].to_vec())
            }
            10 => match self.rng.below(3) {
                0 => (format!("LPOP {a}"), vec![]),
                1 => (format!("RPOP {a} {}", 1 + self.rng.below(6)), vec![]),
                _ => (format!("LMPOP 2 {a} {b} RIGHT COUNT 3"), vec![]),
            },
            _ => (format!("MGET {a} {b} {c}"), vec![]),
        };
        self.requests += 1;
        self.send(index, &line, waits_for);
    }

    /// Sends a request, as the server's dispatch does it.
    fn send(&mut self, index: usize, line: &str, waits_for: Vec<usize>) {
        let Person { id, home, .. } = self.people[index];
        let words = OwnedArgs::new(line.split(' ').map(str::as_bytes));
        let (args, row) = (words.args(), row(line.split(' ').next().unwrap()).unwrap());
        self.catch_up(home);
        let node = &mut self.nodes[home];
        let placement = node.place(row, args);
        let call = Call {
            alone: true,
            ..Call::of(row)
        };
        let client = Client {
            key: index as u32,
            id,
            place: if line.starts_with("BLMOVE") { MOVES } else { 0 },
        };
        let owner = match &placement {
            Placement::One(owner) => Some(*owner),
            Placement::Several(_) => None,
        };
        self.people[index].asked = Some(Asked {
            line: line.to_owned(),
            place: client.place,
            waits_for,
            owner,
            ended: false,
        });
        match placement {
            Placement::One(owner) if owner.index() == home => {
                if self.broken != Broken::SkippedLocks && node.must_wait(&call, args) {
                    node.park(NOW, client, call, args);
                } else {
                    let mut out = Vec::new();
                    match node.shard_mut().apply(NOW, &call.request(args), &mut out) {
                        Err(CommandError::Blocked(waiting)) => {
                            node.wait(client, call, args, &waiting);
                        }
                        Err(CommandError::Long) => {
                            node.reply_at_length(NOW, client, call, args);
                        }
                        _ => self.complete(client, &out),
                    }
                }
            }
            Placement::One(owner) => node.send(owner, client, call, args),
            Placement::Several(owners) => node.begin(NOW, client, call, row, args, owners),
        }
        self.nodes[home].serve(NOW);
        self.hand_out(home);
    }

    /// The waiting of someone is ended, or someone goes away.
    fn end_waiting(&mut self) {
        let index = self.rng.below(self.people.len());
        let how = [Unblock::Timeout, Unblock::Error, Unblock::Gone][self.rng.below(3)];
        self.unblock(index, how);
        // Else it has only ended its side of the stream, and waits for the answer.
        if how == Unblock::Gone && self.rng.one_in(2) {
            self.next_id += 1;
            self.people[index] = Person {
                id: self.next_id,
                home: self.rng.below(self.nodes.len()),
                asked: None,
            };
        }
    }

    fn unblock(&mut self, index: usize, how: Unblock) {
        let person = &mut self.people[index];
        let Some(asked) = &mut person.asked else {
            return;
        };
        if asked.waits_for.is_empty() || std::mem::replace(&mut asked.ended, true) {
            return;
        }
        let client = Client {
            key: index as u32,
            id: person.id,
            place: asked.place,
        };
        let (owner, home) = (asked.owner, person.home);
        self.nodes[home].unblock(client, owner, how);
        self.hand_out(home);
    }

    fn hand_out(&mut self, node: usize) {
        let mut replies = Vec::new();
        self.nodes[node].replies(|replied| replies.push((replied.client, replied.reply.to_vec())));
        for (client, reply) in replies {
            self.complete(client, &reply);
        }
    }

    fn complete(&mut self, client: Client, reply: &[u8]) {
        if let Some(person) = self.people.get_mut(client.key as usize)
            && person.id == client.id
        {
            let asked = person.asked.take().expect("one reply to one request");
            self.served += usize::from(!asked.waits_for.is_empty() && reply.starts_with(b"*"));
        }
        // Who has gone may have been served before.
        if client.place != MOVES {
            self.take(reply);
        }
    }

    /// Counts the elements in a reply: those words that are numbers.
    fn take(&mut self, reply: &[u8]) {
        let lines: Vec<&[u8]> = reply.split(|byte| *byte == b'\n').collect();
        for pair in lines.windows(2) {
            let number = std::str::from_utf8(pair[1]).ok().map(str::trim);
            if pair[0].starts_with(b"$")
                && let Some(number) = number.and_then(|number| number.parse().ok())
            {
                *self.taken.entry(number).or_default() += 1;
            }
        }
    }

    fn publish(&mut self, node: usize) {
        self.network.publish(node, &mut self.nodes[node]);
        self.recorder.collect(&mut self.nodes[node], NOW.0);
    }

    /// A random node pushes a box, or takes in what was pushed to it; false if nothing
    /// of that can be done.
    fn deliver(&mut self) -> bool {
        let mut steps = self.network.steps(&mut self.rng, false);
        steps.any(|(node, pushes)| match pushes {
            true => self.network.push(node),
            false => self.catch_up(node),
        })
    }

    /// A node that works in slices takes a step; false if none does.
    fn go_on(&mut self) -> bool {
        let first = self.rng.below(self.nodes.len());
        let count = self.nodes.len();
        let mut nodes = (0..count).map(|nth| (first + nth) % count);
        let Some(node) = nodes.find(|node| self.nodes[*node].has_slices()) else {
            return false;
        };
        self.recorder.stand(&mut self.nodes[node]);
        self.nodes[node].go_on(NOW);
        self.hand_out(node);
        true
    }

    /// A node takes in what was pushed to it and opens what it may; whether there was
    /// anything.
    fn catch_up(&mut self, node: usize) -> bool {
        let frontier = self.network.frontier();
        let mut any = false;
        for (from, batch) in self.network.take(node) {
            any = true;
            let lost = match self.broken {
                Broken::LostBox(many) => self.rng.one_in(many),
                _ => false,
            };
            if !lost {
                self.nodes[node].receive(from, batch);
            }
        }
        self.recorder.stand(&mut self.nodes[node]);
        any |= self.nodes[node].catch_up(NOW, frontier);
        self.recorder.stand(&mut self.nodes[node]);
        self.hand_out(node);
        any
    }

    /// Lets everything that is on its way arrive, and what follows from it.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..SETTLED_AFTER {
            (0..self.nodes.len()).for_each(|node| self.publish(node));
            if !self.deliver() && !self.go_on() {
                return Ok(());
            }
            while self.deliver() || self.go_on() {}
        }
        let asked = self.people.iter().filter_map(|one| one.asked.as_ref());
        let lines: Vec<&str> = asked.map(|asked| asked.line.as_str()).collect();
        Err(format!("never at rest: {}", lines.join("; ")))
    }

    /// What a list holds.
    fn list(&mut self, number: usize) -> Vec<u8> {
        let words = OwnedArgs::new(["LRANGE", &key(number), "0", "-1"].map(str::as_bytes));
        let args = words.args();
        let owner = self.nodes[0].owner(&args[1]);
        let request = Call::of(row("lrange").unwrap()).request(args);
        let mut out = Vec::new();
        let read = self.nodes[owner.index()]
            .shard_mut()
            .apply(NOW, &request, &mut out);
        assert!(read.is_ok(), "queues are lists");
        out
    }

    /// Nobody waits in vain.
    fn check_waiting(&mut self) -> Result<(), String> {
        for index in 0..self.people.len() {
            let Some(asked) = self.people[index].asked.clone() else {
                continue;
            };
            if asked.waits_for.is_empty() || asked.ended {
                return Err(format!("client {index} has no reply"));
            }
            for number in asked.waits_for {
                if self.list(number) != b"*0\r\n" {
                    return Err(format!("client {index} waits for {}", key(number)));
                }
            }
        }
        Ok(())
    }

    /// Everything is over, and every element is somewhere, once.
    fn check_rest(&mut self) -> Result<(), String> {
        if let Some(index) = self.people.iter().position(|one| one.asked.is_some()) {
            return Err(format!("client {index} has no reply"));
        }
        if let Some(node) = self
            .nodes
            .iter()
            .position(|node| !node.is_at_rest() || node.has_writes())
        {
            return Err(format!("node {node} is not at rest"));
        }
        for number in 0..KEYS {
            let list = self.list(number);
            self.take(&list);
        }
        let wrong = (1..=self.pushed).find(|number| self.taken.get(number) != Some(&1));
        match wrong {
            None => Ok(()),
            Some(number) => {
                let times = self.taken.get(&number).copied().unwrap_or_default();
                Err(format!("element {number} is there {times} times"))
            }
        }
    }
}
