//! A world of clients whose requests go on in slices: sets on several shards, united,
//! stored, read and popped from, alone and in blocks.
//!
//! Every client waits for each reply before it goes on. Whoever writes brings a number
//! that no set has had before: SADD adds it, SUNIONSTORE unites its sources with a set
//! that holds it alone (its *mark*), a block takes members and adds it. So each version of
//! a set says who has made it. `unions` judges the run.

use crate::follower::{Careless, Follower, Recorder};
use crate::network::Network;
use crate::rng::Rng;
use shards::command::OwnedArgs;
use shards::order::{Batch, Block, Call, Client, Manner, Node, Placement, Ticket};
use shards::resp::Protocol;
use shards::{CommandError, DbIndex, Settings, Shard, ShardId, Slices, UnixMs, row};

const NOW: UnixMs = UnixMs(1_700_000_000_000);
pub const SETS: usize = 5;
/// Row number of EXEC, which no command has.
const NUMBER: u16 = 1;

/// The rule that a run breaks, to see whether the checks notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Nothing,
    /// Work is sent before all shards have granted.
    EarlyGrant,
    /// A shard releases locks before the work under them came.
    EarlyRelease,
    /// Requests on the core's own keys run without a look at the locks.
    SkippedLocks,
    /// Logs are merged so.
    Merges(Careless),
}

/// What a request, or a command of a block, does.
#[derive(Clone, Debug)]
pub enum Part {
    Members(usize),
    Union(Vec<usize>),
    /// Adds the number of the request.
    Add(usize),
    /// Stores the union of others, and the mark.
    Store(usize, Vec<usize>),
    /// Takes members out; an [`Part::Add`] to the same set follows.
    Pop,
    /// Makes the mark of what follows.
    Mark,
}

/// A request or a block, and what became of it.
pub struct Op {
    pub client: u64,
    pub parts: Vec<Part>,
    pub block: bool,
    /// What it brings, if it writes.
    pub number: u32,
    pub completed: bool,
    pub reply: Vec<u8>,
}

/// What happened, in order.
#[derive(Clone, Copy)]
pub enum Event {
    Invoked(usize),
    Completed(usize),
}

struct Person {
    id: u64,
    home: ShardId,
    waits_for: Option<usize>,
    /// The number whose mark it has made.
    marked: Option<u32>,
}

pub struct Sets {
    pub nodes: Vec<Node>,
    rng: Rng,
    broken: Broken,
    people: Vec<Person>,
    next_id: u64,
    next_number: u32,
    pub ops: Vec<Op>,
    pub events: Vec<Event>,
    network: Network,
    pub recorder: Recorder,
    /// Steps in which something went on that had begun before.
    pub slices: usize,
    weights: [usize; 4],
}

pub fn name(set: usize) -> String {
    format!("set:{set}")
}

fn mark(number: u32) -> String {
    format!("mark:{number}")
}

fn call_of(name: &str) -> Call {
    Call {
        alone: true,
        ..Call::of(row(name).unwrap())
    }
}

fn words(line: &str) -> OwnedArgs {
    OwnedArgs::new(line.split(' ').map(str::as_bytes))
}

impl Sets {
    pub fn new(seed: u64, broken: Broken) -> Self {
        let mut rng = Rng::new(seed);
        let shards = 1 + rng.below(4) as u16;
        let mut settings = Settings {
            slices: Slices {
                above: 1 + rng.below(3),
                step: 1 + rng.below(2),
            },
            ..Settings::default()
        };
        // A reply is handed out when it is whole.
        settings.reply_max.closes = true;
        settings.encodings.set_max_intset_entries = rng.below(8);
        let hash_seed = rng.next();
        let node = |id| {
            let slots = ShardId(id).slots(shards);
            let shard = Shard::new(1, slots, hash_seed, settings.clone());
            Node::new(ShardId(id), shards, shard, hash_seed)
        };
        let mut nodes: Vec<Node> = (0..shards).map(node).collect();
        let careless = match broken {
            Broken::Merges(careless) => careless,
            _ => Careless::No,
        };
        let people = 3 + rng.below(6) as u64;
        let person = |id| Person::new(id, ShardId((id % u64::from(shards)) as u16));
        let weights = [30, 40, 20, 5].map(|weight| weight + rng.below(weight * 2));
        Self {
            recorder: Recorder::new(&mut nodes, careless),
            nodes,
            broken,
            people: (0..people).map(person).collect(),
            next_id: people,
            next_number: 0,
            ops: Vec::new(),
            events: Vec::new(),
            network: Network::new(usize::from(shards)),
            slices: 0,
            weights,
            rng,
        }
    }

    /// Lets things happen until `count` operations have begun and everything has arrived.
    pub fn run(&mut self, count: usize) {
        while self.ops.len() < count {
            let mut at = self.rng.below(self.weights.iter().sum::<usize>() + 1);
            let mut choice = 0;
            while choice < self.weights.len() && at >= self.weights[choice] {
                at -= self.weights[choice];
                choice += 1;
            }
            match choice {
                0 => self.act(),
                1 => {
                    self.deliver();
                }
                2 => {
                    let node = self.rng.below(self.nodes.len());
                    self.publish(node);
                }
                3 => {
                    self.go_on();
                }
                _ => self.leave(),
            }
        }
        loop {
            (0..self.nodes.len()).for_each(|node| self.publish(node));
            if !self.deliver() && !self.go_on() {
                break;
            }
            while self.deliver() || self.go_on() {}
        }
        self.recorder.finish(&mut self.nodes, NOW.0);
    }

    /// Why the world is not at rest now that everything has arrived.
    pub fn unrest(&self) -> Option<String> {
        let mut nodes = self.nodes.iter();
        let node = nodes.find(|node| !node.is_at_rest() || node.has_writes());
        let node = node.map(|node| format!("node {} is not at rest", node.id().0));
        let mut people = self.people.iter();
        node.or_else(|| {
            let one = people.find(|one| one.waits_for.is_some())?;
            Some(format!("client {} waits for a reply, not at rest", one.id))
        })
    }

    /// Whether who follows the merged logs holds what the nodes hold.
    pub fn follow(&mut self) -> Result<(), String> {
        let mut follower = Follower::new(1);
        for (_, stream) in &self.recorder.stream {
            follower.play(stream)?;
        }
        let keys: Vec<_> = (0..SETS)
            .map(|set| (DbIndex(0), name(set).into_bytes()))
            .collect();
        follower.same(&mut self.nodes, &keys, "SORT KEY")
    }

    fn leave(&mut self) {
        let index = self.rng.below(self.people.len());
        if self.rng.one_in(20) {
            let home = self.people[index].home;
            self.people[index] = Person::new(self.next_id, home);
            self.next_id += 1;
        }
    }

    fn number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number
    }

    fn some_sets(&mut self, most: usize) -> Vec<usize> {
        let count = self.rng.below(most + 1);
        (0..count).map(|_| self.rng.below(SETS)).collect()
    }

    fn act(&mut self) {
        let index = self.rng.below(self.people.len());
        let home = self.people[index].home.index();
        self.catch_up(home);
        if self.people[index].waits_for.is_some() {
            return;
        }
        if let Some(number) = self.people[index].marked.take() {
            return self.store(index, number);
        }
        let set = self.rng.below(SETS);
        match self.rng.below(12) {
            0..=2 => {
                let number = self.number();
                let line = format!("sadd {} {number}", name(set));
                self.single(index, &line, Part::Add(set), number);
            }
            3..=6 => {
                let number = self.number();
                let line = format!("sadd {} {number}", mark(number));
                self.single(index, &line, Part::Mark, number);
                self.people[index].marked = Some(number);
            }
            7 => self.single(
                index,
                &format!("smembers {}", name(set)),
                Part::Members(set),
                0,
            ),
            8 | 9 => {
                let mut sets = self.some_sets(2);
                sets.push(set);
                let names: Vec<String> = sets.iter().map(|set| name(*set)).collect();
                let line = format!("sunion {}", names.join(" "));
                self.single(index, &line, Part::Union(sets), 0);
            }
            10 => {
                let number = self.number();
                let pop = format!("spop {} {}", name(set), 1 + self.rng.below(6));
                let add = format!("sadd {} {number}", name(set));
                self.block(index, &[(pop, Part::Pop), (add, Part::Add(set))], number);
            }
            _ => {
                let other = self.rng.below(SETS);
                let read = |set| (format!("smembers {}", name(set)), Part::Members(set));
                self.block(index, &[read(set), read(other)], 0);
            }
        }
    }

    /// The mark is made: the request that needs it, alone or in a block.
    fn store(&mut self, index: usize, number: u32) {
        let (set, sources) = (self.rng.below(SETS), self.some_sets(2));
        let names: Vec<String> = sources.iter().map(|set| name(*set) + " ").collect();
        let line = format!(
            "sunionstore {} {}{}",
            name(set),
            names.concat(),
            mark(number)
        );
        let part = Part::Store(set, sources);
        if self.rng.one_in(3) {
            let read = self.rng.below(SETS);
            let read = (format!("smembers {}", name(read)), Part::Members(read));
            // What it has stored itself could not be told from what others have.
            let parts = [read, (line, part)];
            self.block(index, &parts, number);
        } else {
            self.single(index, &line, part, number);
        }
    }

    fn invoke(&mut self, index: usize, parts: Vec<Part>, block: bool, number: u32) -> Client {
        let op = self.ops.len();
        self.events.push(Event::Invoked(op));
        let person = &mut self.people[index];
        person.waits_for = Some(op);
        self.ops.push(Op {
            client: person.id,
            parts,
            block,
            number,
            completed: false,
            reply: Vec::new(),
        });
        Client {
            key: index as u32,
            id: person.id,
            place: op as u32,
        }
    }

    fn single(&mut self, index: usize, line: &str, part: Part, number: u32) {
        let client = self.invoke(index, vec![part], false, number);
        let home = self.people[index].home;
        let request = words(line);
        let (args, verb) = (request.args(), line.split(' ').next().unwrap());
        let (call, row) = (call_of(verb), row(verb).unwrap());
        let node = &mut self.nodes[home.index()];
        match node.place(row, args) {
            Placement::Several(owners) => node.begin(NOW, client, call, row, args, owners),
            Placement::One(owner) if owner != home => node.send(owner, client, call, args),
            Placement::One(_)
                if self.broken != Broken::SkippedLocks && node.must_wait(&call, args) =>
            {
                node.park(NOW, client, call, args);
            }
            Placement::One(_) => {
                let mut out = Vec::new();
                match node.shard_mut().apply(NOW, &call.request(args), &mut out) {
                    Err(CommandError::Long) => node.reply_at_length(NOW, client, call, args),
                    _ => self.answer(client, out),
                }
            }
        }
        self.hand_out(home.index());
    }

    fn block(&mut self, index: usize, commands: &[(String, Part)], number: u32) {
        let mut block = Box::new(Block::default());
        for (line, _) in commands {
            let row = row(line.split(' ').next().unwrap()).unwrap();
            assert!(block.push(0, row, None, words(line).args()));
        }
        let parts = commands.iter().map(|(_, part)| part.clone()).collect();
        let client = self.invoke(index, parts, true, number);
        let home = self.people[index].home;
        let manner = Manner {
            db: DbIndex(0),
            protocol: Protocol::Resp2,
            no_touch: false,
            tracks: Default::default(),
            silent: false,
        };
        let how = (NUMBER, manner);
        let node = &mut self.nodes[home.index()];
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
        (self.ops[op].completed, self.ops[op].reply) = (true, reply);
        self.events.push(Event::Completed(op));
    }

    fn hand_out(&mut self, node: usize) {
        let mut replies = Vec::new();
        self.nodes[node].replies(|replied| replies.push((replied.client, replied.whole())));
        for (client, reply) in replies {
            self.answer(client, reply);
        }
    }

    fn publish(&mut self, node: usize) {
        self.network.publish(node, &mut self.nodes[node]);
        self.recorder.collect(&mut self.nodes[node], NOW.0);
    }

    fn deliver(&mut self) -> bool {
        let mut steps = self.network.steps(&mut self.rng, false);
        steps.any(|(node, pushes)| match pushes {
            true => self.network.push(node),
            false => self.catch_up(node),
        })
    }

    /// A node that works in slices takes a step; false if none does.
    fn go_on(&mut self) -> bool {
        let (first, count) = (self.rng.below(self.nodes.len()), self.nodes.len());
        let mut nodes = (0..count).map(|nth| (first + nth) % count);
        let Some(node) = nodes.find(|node| self.nodes[*node].has_slices()) else {
            return false;
        };
        self.slices += 1;
        self.recorder.stand(&mut self.nodes[node]);
        self.nodes[node].go_on(NOW);
        self.hand_out(node);
        true
    }

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
        let tickets: Vec<Ticket> = batch.grants().collect();
        if self.broken == Broken::EarlyRelease {
            let from = &mut self.nodes[source.index()];
            for ticket in &tickets {
                from.receive(ShardId(to as u16), Box::new(Batch::release(*ticket)));
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
            marked: None,
        }
    }
}
