//! A world of clients that use MULTI, EXEC and WATCH.
//!
//! Every client waits for each reply before it goes on. What they do:
//!
//! - append to lists (strings of numbers) and read them, alone or in blocks over
//!   several keys, shards and databases, sometimes under WATCH;
//! - move money between accounts, and read all accounts at once;
//! - count: WATCH, GET, MULTI, SET, EXEC;
//! - go away at any instant, with another in their place.
//!
//! One step of the scheduler lets one thing happen; the seed decides which.

use crate::follower::{Careless, Recorder};
use crate::network::Network;
use crate::rng::Rng;
use shards::command::OwnedArgs;
use shards::order::{Batch, Block, Call, Client, Manner, Node, ServerStep, Ticket, Watched};
use shards::resp::Protocol;
use shards::{DbIndex, Settings, Shard, ShardId, UnixMs, row};
use std::collections::BTreeMap;

pub const NOW: UnixMs = UnixMs(1_700_000_000_000);
pub const DBS: u16 = 2;
const LISTS: usize = 6;
pub const ACCOUNTS: usize = 4;
/// What all accounts hold together.
pub const MONEY: i64 = 1000;
/// Row number of EXEC and WATCH, which no command has.
const NUMBER: u16 = 1;

/// The rule that a run breaks, to see whether the checks notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Nothing,
    /// Programs run before all shards have granted.
    EarlyGrant,
    /// A shard releases a program's locks before its commands came.
    EarlyRelease,
    /// Requests on the core's own keys run without a look at the locks.
    SkippedLocks,
    /// EXEC does not look at what is watched.
    SkippedWatch,
    /// Logs are merged so.
    Merges(Careless),
}

/// What a part of an operation does, for the checks.
#[derive(Clone, Debug)]
pub enum Part {
    /// Appends this number to a list.
    Append(usize, u32),
    Read(usize),
    ReadAll(Vec<usize>),
    /// Every account.
    Audit,
    /// Nothing that is checked.
    Other,
}

/// A request or a block, and what became of it.
#[derive(Debug)]
pub struct Op {
    pub client: u64,
    pub parts: Vec<Part>,
    pub block: bool,
    pub counts: bool,
    pub invoked: usize,
    pub completed: Option<usize>,
    pub reply: Vec<u8>,
}

/// What happened, in order.
#[derive(Clone, Copy)]
pub enum Event {
    Invoked(usize),
    Completed(usize),
}

/// What a client will do when the reply is in.
enum Next {
    Anything,
    /// Read the counter, which is watched.
    ReadCounter,
    /// Write the counter, one more than was read.
    WriteCounter,
    /// Run a block of appends: something of it is watched.
    Block,
}

struct Person {
    id: u64,
    home: ShardId,
    waits_for: Option<usize>,
    next: Next,
    watched: Option<Box<Watched>>,
}

pub struct Blocks {
    pub nodes: Vec<Node>,
    rng: Rng,
    broken: Broken,
    people: Vec<Person>,
    next_id: u64,
    pub ops: Vec<Op>,
    pub events: Vec<Event>,
    network: Network,
    /// Commands of the server whose turn has come.
    steps: Vec<(usize, ServerStep)>,
    /// The databases of the blocks that have such, by the number of the request.
    block_dbs: BTreeMap<usize, DbIndex>,
    /// The key and database of each list.
    pub lists: Vec<(DbIndex, Vec<u8>)>,
    pub accounts: Vec<Vec<u8>>,
    next_number: u32,
    pub disconnects: u64,
    weights: [usize; 6],
    /// Nothing keeps a request from its place in the order: see [`Blocks::fair`].
    fair: bool,
    /// What all shards have recorded.
    pub recorder: Recorder,
}

pub fn words(words: &[&[u8]]) -> OwnedArgs {
    OwnedArgs::new(words.iter().copied())
}

impl Blocks {
    pub fn new(seed: u64, broken: Broken) -> Self {
        let mut rng = Rng::new(seed);
        let shards = 2 + rng.below(3) as u16;
        let count = usize::from(shards);
        let hash_seed = rng.next();
        let node = |id| {
            let slots = ShardId(id).slots(shards);
            let shard = Shard::new(DBS, slots, hash_seed, Settings::default());
            Node::new(ShardId(id), shards, shard, hash_seed)
        };
        let start = rng.below(100_000);
        let list = |n: usize| {
            let db = DbIndex(u16::from(n.is_multiple_of(4)));
            (db, format!("list{}", start + n).into_bytes())
        };
        let account = |n: usize| format!("account{}", start + n).into_bytes();
        let people = 3 + rng.below(6) as u64;
        let person = |id| Person::new(id, ShardId((id % u64::from(shards)) as u16));
        let weights = [
            40,
            20 + rng.below(80),
            20 + rng.below(80),
            5 + rng.below(20),
            usize::from(rng.one_in(2)),
            usize::from(rng.one_in(2)),
        ];
        let mut nodes: Vec<Node> = (0..shards).map(node).collect();
        let careless = match broken {
            Broken::Merges(careless) => careless,
            _ => Careless::No,
        };
        let recorder = Recorder::new(&mut nodes, careless);
        let mut world = Self {
            nodes,
            broken,
            people: (0..people).map(person).collect(),
            next_id: people,
            ops: Vec::new(),
            events: Vec::new(),
            network: Network::new(count),
            steps: Vec::new(),
            block_dbs: BTreeMap::new(),
            lists: (0..LISTS).map(list).collect(),
            accounts: (0..ACCOUNTS).map(account).collect(),
            next_number: 0,
            disconnects: 0,
            weights,
            fair: false,
            recorder,
            rng,
        };
        let first = world.accounts[0].clone();
        world.direct("set", DbIndex(0), &[b"SET", &first, b"1000"]);
        world
    }

    /// A crowd on few keys, whose requests come to where they queue at once: what those
    /// on several shards say to the shards arrives, single ones are their own core's.
    /// Everything after that takes its
    /// time. Nobody may be overtaken then.
    pub fn fair(seed: u64, broken: Broken) -> Self {
        let mut world = Self::new(seed, broken);
        world.fair = true;
        world.weights[4] = 0; // nobody goes away
        while world.people.len() < 16 {
            let (id, shards) = (world.next_id, world.nodes.len() as u64);
            world
                .people
                .push(Person::new(id, ShardId((id % shards) as u16)));
            world.next_id += 1;
        }
        world
    }

    /// Runs a request on its shard at once, beside everything else.
    fn direct(&mut self, name: &str, db: DbIndex, args: &[&[u8]]) -> Vec<u8> {
        let args = words(args);
        let owner = self.nodes[0].owner(&args.args()[1]);
        let call = call_of(name, db);
        let mut out = Vec::new();
        let shard = self.nodes[owner.index()].shard_mut();
        let _ = shard.apply(NOW, &call.request(args.args()), &mut out);
        out
    }

    /// What a list holds.
    pub fn stored(&mut self, list: usize) -> Vec<u8> {
        let (db, key) = self.lists[list].clone();
        self.direct("get", db, &[b"GET", &key])
    }

    /// What the counter says.
    pub fn counter(&mut self) -> Vec<u8> {
        self.direct("get", DbIndex(0), &[b"GET", b"counter"])
    }

    /// Lets things happen until `count` operations have begun and everything
    /// has arrived; then everybody goes away.
    pub fn run(&mut self, count: usize) {
        while self.ops.len() < count {
            self.happen();
        }
        self.settle();
        for index in 0..self.people.len() {
            self.leave(index);
        }
        self.settle();
        self.recorder.finish(&mut self.nodes, NOW.0);
    }

    fn settle(&mut self) {
        loop {
            for node in 0..self.nodes.len() {
                self.publish(node);
            }
            let (mut any, steps) = (!self.steps.is_empty(), self.steps.len());
            (0..steps).for_each(|_| self.serve());
            while self.deliver() {
                any = true;
            }
            if !any {
                return;
            }
        }
    }

    /// Why the world is not at rest now that everything has arrived.
    pub fn unrest(&self) -> Option<String> {
        for node in &self.nodes {
            if !node.is_at_rest() || node.has_writes() {
                return Some(format!("node {} is not at rest", node.id().0));
            }
            if !node.shard().is_unwatched() {
                return Some(format!("shard {} is still watched", node.id().0));
            }
        }
        None
    }

    fn happen(&mut self) {
        let mut at = self.rng.below(self.weights.iter().sum());
        let mut choice = 0;
        while at >= self.weights[choice] {
            at -= self.weights[choice];
            choice += 1;
        }
        match choice {
            0 => {
                let index = self.rng.below(self.people.len());
                self.catch_up(self.people[index].home.index());
                if self.people[index].waits_for.is_some() {
                } else if self.fair {
                    self.act_fairly(index);
                } else {
                    self.act(index);
                }
            }
            1 => {
                self.deliver();
            }
            2 => {
                let node = self.rng.below(self.nodes.len());
                self.publish(node);
            }
            3 => self.serve(),
            4 if self.rng.one_in(40) => {
                let index = self.rng.below(self.people.len());
                self.leave(index);
                self.disconnects += 1;
            }
            _ => {}
        }
    }

    /// A client goes away; another takes its place.
    fn leave(&mut self, index: usize) {
        let person = &mut self.people[index];
        let home = person.home;
        if let Some(watched) = person.watched.take() {
            self.nodes[home.index()].unwatch(&watched);
        }
        self.people[index] = Person::new(self.next_id, home);
        self.next_id += 1;
    }

    fn act(&mut self, index: usize) {
        match std::mem::replace(&mut self.people[index].next, Next::Anything) {
            Next::Anything => self.begin(index),
            Next::ReadCounter => {
                self.single(index, DbIndex(0), "get", &[b"GET", b"counter"], Part::Other);
                self.people[index].next = Next::WriteCounter;
            }
            Next::WriteCounter => self.write_counter(index),
            Next::Block => self.lists_block(index),
        }
    }

    /// An append or a read on the client's own core, or a block of them on several
    /// shards, and whatever gives it its place in the order.
    fn act_fairly(&mut self, index: usize) {
        let home = self.people[index].home;
        let owner = |world: &Self, list: usize| world.nodes[0].owner(&world.lists[list].1);
        if self.rng.one_in(2) {
            let list = self.rng.below(LISTS);
            let (db, key) = self.lists[list].clone();
            if owner(self, list) == home && self.rng.one_in(2) {
                self.single(index, db, "get", &[b"GET", &key], Part::Read(list));
            } else if owner(self, list) == home {
                let number = self.number();
                let text = format!("{number},");
                let args: [&[u8]; 3] = [b"APPEND", &key, text.as_bytes()];
                self.single(index, db, "append", &args, Part::Append(list, number));
            }
            return;
        }
        let chosen: Vec<usize> = (0..2 + self.rng.below(3))
            .map(|_| self.rng.below(LISTS))
            .filter(|list| self.lists[*list].0 == DbIndex(0))
            .collect();
        let mut owners = chosen.iter().map(|list| owner(self, *list));
        let Some(first) = owners.next() else { return };
        if owners.all(|owner| owner == first) {
            return;
        }
        let (mut block, mut parts) = (Box::new(Block::default()), Vec::new());
        for list in chosen {
            let key = self.lists[list].1.clone();
            if self.rng.one_in(2) {
                self.push(&mut block, "get", &[b"GET", &key]);
                parts.push(Part::Read(list));
            } else {
                let number = self.number();
                let text = format!("{number},");
                self.push(&mut block, "append", &[b"APPEND", &key, text.as_bytes()]);
                parts.push(Part::Append(list, number));
            }
        }
        self.exec(index, DbIndex(0), block, parts);
        self.order(home.index());
    }

    /// What a node tells the others arrives.
    fn order(&mut self, node: usize) {
        self.publish(node);
        for from in 0..self.nodes.len() {
            while self.network.push(from) {}
        }
        for to in 0..self.nodes.len() {
            self.catch_up(to);
        }
    }

    fn begin(&mut self, index: usize) {
        match self.rng.below(12) {
            0 | 1 => {
                let list = self.rng.below(LISTS);
                let (db, key) = self.lists[list].clone();
                self.single(index, db, "get", &[b"GET", &key], Part::Read(list));
            }
            2 | 3 => {
                let list = self.rng.below(LISTS);
                let (db, key) = self.lists[list].clone();
                let number = self.number();
                let text = format!("{number},");
                let args: [&[u8]; 3] = [b"APPEND", &key, text.as_bytes()];
                self.single(index, db, "append", &args, Part::Append(list, number));
            }
            4..7 => self.lists_block(index),
            7 => {
                let keys: Vec<usize> = (0..1 + self.rng.below(3))
                    .map(|_| self.rng.below(LISTS))
                    .collect();
                let db = self.lists[keys[0]].0;
                let names: Vec<Vec<u8>> = keys
                    .iter()
                    .filter(|key| self.lists[**key].0 == db)
                    .map(|key| self.lists[*key].1.clone())
                    .collect();
                let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
                self.watch(index, db, &names);
                self.people[index].next = Next::Block;
            }
            8 => {
                self.watch(index, DbIndex(0), &[b"counter"]);
                self.people[index].next = Next::ReadCounter;
            }
            9 => self.transfer(index),
            _ => self.audit(index),
        }
    }

    fn number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number
    }

    fn watch(&mut self, index: usize, db: DbIndex, keys: &[&[u8]]) {
        let op = self.invoke(index, vec![Part::Other], false);
        let person = &mut self.people[index];
        let client = person.client(index, op);
        let mut watched = person.watched.take().unwrap_or_default();
        let manner = manner(db);
        let (home, keys) = (person.home, words(keys));
        let node = &mut self.nodes[home.index()];
        node.watch(NOW, client, (NUMBER, manner), keys.args(), &mut watched);
        self.people[index].watched = Some(watched);
        self.hand_out(home.index());
    }

    fn invoke(&mut self, index: usize, parts: Vec<Part>, block: bool) -> usize {
        let op = self.ops.len();
        self.events.push(Event::Invoked(op));
        self.ops.push(Op {
            client: self.people[index].id,
            parts,
            block,
            counts: false,
            invoked: self.events.len(),
            completed: None,
            reply: Vec::new(),
        });
        self.people[index].waits_for = Some(op);
        op
    }

    fn single(&mut self, index: usize, db: DbIndex, name: &str, args: &[&[u8]], part: Part) {
        let op = self.invoke(index, vec![part], false);
        let (call, args) = (call_of(name, db), words(args));
        let person = &self.people[index];
        let (home, client) = (person.home, person.client(index, op));
        let node = &mut self.nodes[home.index()];
        let owner = node.owner(&args.args()[1]);
        if owner != home {
            node.send(owner, client, call, args.args());
            return;
        }
        let looks = self.broken != Broken::SkippedLocks;
        if looks && node.must_wait(&call, args.args()) {
            node.park(NOW, client, call, args.args());
            return;
        }
        let mut reply = Vec::new();
        let _ = node
            .shard_mut()
            .apply(NOW, &call.request(args.args()), &mut reply);
        self.answer(client, reply);
    }

    /// A block of appends to lists and reads of them.
    fn lists_block(&mut self, index: usize) {
        let db = self.lists[self.rng.below(LISTS)].0;
        let lists: Vec<usize> = (0..LISTS).filter(|at| self.lists[*at].0 == db).collect();
        let (mut block, mut parts) = (Box::new(Block::default()), Vec::new());
        for _ in 0..1 + self.rng.below(4) {
            let list = lists[self.rng.below(lists.len())];
            let key = self.lists[list].1.clone();
            match self.rng.below(8) {
                0..3 => {
                    let number = self.number();
                    let text = format!("{number},");
                    self.push(&mut block, "append", &[b"APPEND", &key, text.as_bytes()]);
                    parts.push(Part::Append(list, number));
                }
                3 | 4 => {
                    self.push(&mut block, "get", &[b"GET", &key]);
                    parts.push(Part::Read(list));
                }
                5 => {
                    let other = lists[self.rng.below(lists.len())];
                    let name = self.lists[other].1.clone();
                    self.push(&mut block, "mget", &[b"MGET", &key, &name]);
                    parts.push(Part::ReadAll(vec![list, other]));
                }
                6 => {
                    let other = self.lists[lists[self.rng.below(lists.len())]].1.clone();
                    let args: [&[u8]; 5] = [b"BITOP", b"OR", b"scratch", &key, &other];
                    self.push(&mut block, "bitop", &args);
                    parts.push(Part::Other);
                }
                _ => {
                    let apart = self.rng.one_in(2);
                    let args = words(&[b"PING"]);
                    assert!(block.push_server(NUMBER, apart, args.args()));
                    parts.push(Part::Other);
                }
            }
        }
        self.exec(index, db, block, parts);
    }

    fn push(&self, block: &mut Block, name: &str, args: &[&[u8]]) {
        assert!(block.push(0, row(name).unwrap(), None, words(args).args()));
    }

    fn write_counter(&mut self, index: usize) {
        let id = self.people[index].id;
        let mut read = self.ops.iter().rev().filter(|op| op.client == id);
        let reply = read.next().map(|op| op.reply.clone()).unwrap_or_default();
        let value = bulk(&reply).unwrap_or_default();
        let value: u64 = value.parse().unwrap_or(0);
        let mut block = Box::new(Block::default());
        let text = (value + 1).to_string();
        self.push(&mut block, "set", &[b"SET", b"counter", text.as_bytes()]);
        let mut parts = vec![Part::Other];
        if self.rng.one_in(2) {
            let list = 1 + self.rng.below(3);
            let number = self.number();
            let (key, text) = (self.lists[list].1.clone(), format!("{number},"));
            self.push(&mut block, "append", &[b"APPEND", &key, text.as_bytes()]);
            parts.push(Part::Append(list, number));
        }
        let op = self.exec(index, DbIndex(0), block, parts);
        self.ops[op].counts = true;
    }

    fn transfer(&mut self, index: usize) {
        let (from, to) = (self.rng.below(ACCOUNTS), self.rng.below(ACCOUNTS));
        let amount = (1 + self.rng.below(50)).to_string();
        let (from, to) = (self.accounts[from].clone(), self.accounts[to].clone());
        let mut block = Box::new(Block::default());
        self.push(&mut block, "decrby", &[b"DECRBY", &from, amount.as_bytes()]);
        self.push(&mut block, "incrby", &[b"INCRBY", &to, amount.as_bytes()]);
        self.exec(index, DbIndex(0), block, vec![Part::Other, Part::Other]);
    }

    fn audit(&mut self, index: usize) {
        let mut args: Vec<&[u8]> = vec![b"MGET"];
        let accounts = self.accounts.clone();
        args.extend(accounts.iter().map(Vec::as_slice));
        let mut block = Box::new(Block::default());
        self.push(&mut block, "mget", &args);
        self.exec(index, DbIndex(0), block, vec![Part::Audit]);
    }

    /// EXEC.
    fn exec(
        &mut self,
        index: usize,
        db: DbIndex,
        mut block: Box<Block>,
        parts: Vec<Part>,
    ) -> usize {
        let op = self.invoke(index, parts, true);
        let person = &mut self.people[index];
        let (home, client) = (person.home, person.client(index, op));
        block.watched = person.watched.take();
        let node = &mut self.nodes[home.index()];
        if self.broken == Broken::SkippedWatch
            && let Some(watched) = block.watched.take()
        {
            node.unwatch(&watched);
        }
        if block.has_server_commands() {
            self.block_dbs.insert(op, db);
        }
        let how = (NUMBER, manner(db));
        match node.place_block(&block) {
            Some(owner) if owner == home => {
                let mut reply = Vec::new();
                let over = node.exec_here(NOW, (client, || client), how, block, &mut reply);
                if over.is_some() {
                    self.answer(client, reply);
                }
            }
            Some(owner) => node.exec_there(owner, client, how, block),
            None => node.exec(NOW, client, how, block),
        }
        self.hand_out(home.index());
        op
    }

    fn answer(&mut self, client: Client, reply: Vec<u8>) {
        let Some(person) = self.people.get_mut(client.key as usize) else {
            return;
        };
        if person.id != client.id {
            return;
        }
        let op = client.place as usize;
        assert_eq!(person.waits_for.take(), Some(op), "nobody asked for this");
        self.ops[op].reply = reply;
        self.ops[op].completed = Some(self.events.len());
        self.events.push(Event::Completed(op));
    }

    /// Gives clients the replies that a node has for them.
    fn hand_out(&mut self, node: usize) {
        let mut replies = Vec::new();
        self.nodes[node].replies(|replied| {
            replies.push((replied.client, replied.reply.to_vec()));
        });
        for (client, reply) in replies {
            self.answer(client, reply);
        }
        while let Some(step) = self.nodes[node].server_step() {
            self.steps.push((node, step));
        }
    }

    /// The server of some core runs a command of a block.
    fn serve(&mut self) {
        if self.steps.is_empty() {
            return;
        }
        let (node, step) = self.steps.swap_remove(self.rng.below(self.steps.len()));
        let db = self.block_dbs[&(step.client.place as usize)];
        self.nodes[node].resume(NOW, step.ticket, b"+PONG\r\n".to_vec(), manner(db));
        self.hand_out(node);
    }

    /// A node sends what it has for others, and its log is taken.
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

    /// A node takes in what was pushed to it and opens what it may; whether there was
    /// anything.
    fn catch_up(&mut self, node: usize) -> bool {
        let frontier = self.network.frontier();
        let mut any = false;
        for (source, batch) in self.network.take(node) {
            any = true;
            self.receive(source, node, batch);
        }
        self.recorder.stand(&mut self.nodes[node]);
        any |= self.nodes[node].catch_up(NOW, frontier);
        self.recorder.stand(&mut self.nodes[node]);
        self.hand_out(node);
        any
    }

    fn receive(&mut self, source: ShardId, to: usize, batch: Box<Batch>) {
        let (from, target) = (source.index(), ShardId(to as u16));
        let tickets: Vec<Ticket> = batch.grants().collect();
        if self.broken == Broken::EarlyRelease {
            for ticket in &tickets {
                self.nodes[from].receive(target, Box::new(Batch::release(*ticket)));
            }
        }
        self.nodes[to].receive(source, batch);
        if self.broken == Broken::EarlyGrant {
            for ticket in tickets {
                self.nodes[to].receive(source, Box::new(Batch::granted(ticket)));
            }
        }
    }
}

impl Person {
    fn new(id: u64, home: ShardId) -> Self {
        Self {
            id,
            home,
            waits_for: None,
            next: Next::Anything,
            watched: None,
        }
    }

    /// As the node knows it, with the operation for its place.
    fn client(&self, index: usize, op: usize) -> Client {
        Client {
            key: index as u32,
            id: self.id,
            place: op as u32,
        }
    }
}

pub fn call_of(name: &str, db: DbIndex) -> Call {
    Call {
        db,
        ..Call::of(row(name).unwrap())
    }
}

fn manner(db: DbIndex) -> Manner {
    Manner {
        db,
        protocol: Protocol::Resp2,
        no_touch: false,
        tracks: Default::default(),
        silent: false,
    }
}

/// The text of a bulk string.
pub fn bulk(reply: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(reply).ok()?;
    let (head, rest) = text.split_once("\r\n")?;
    head.strip_prefix('$')?.parse::<usize>().ok()?;
    Some(rest.strip_suffix("\r\n")?.to_owned())
}
