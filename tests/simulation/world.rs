//! The nodes, the channels between them, the clients and chance.
//!
//! One step of the scheduler lets one thing happen: a client sends, a box
//! arrives, a node publishes, time passes, a client goes away, a channel or a
//! node pauses. Everything follows from the seed.

use crate::client::Line;
use crate::follower::{Careless, Follower, Recorder};
use crate::network::Network;
use crate::rng::Rng;
use crate::workload::{Mode, Op, VERBS, Verb, Workload};
use shards::command::OwnedArgs;
use shards::order::{Batch, Call, Client, Node, Placement, Ticket};
use shards::replies::Pending;
use shards::{Settings, Shard, ShardId, UnixMs};
use std::collections::{BTreeMap, VecDeque};

const START_MS: i64 = 1_700_000_000_000;
/// Databases per shard.
const DBS: u16 = 2;
/// How far the clock of a node may lag behind.
pub const LAG_MS: i64 = 5;
/// Replies a connection may wait for, less than the server's so that the
/// limit is met.
const PLACES_MAX: usize = 24;

/// So long, in steps, no client may be kept from sending anything.
const STEPS_QUIET_MAX: u64 = 200_000;

/// The rule that a run breaks, to see whether the checks notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Nothing,
    /// Work is sent before all shards have granted.
    EarlyGrant,
    /// A shard releases a transaction's locks before its work came.
    EarlyRelease,
    /// Requests on the core's own keys run without a look at the locks.
    SkippedLocks,
    /// What a connection sends to one shard does not follow what it sent to several.
    UnfollowedConvoy,
    /// Requests on the core's own keys run at once, whatever their clients have under
    /// way elsewhere.
    SideBySide,
    /// Input is served before what other nodes have sent earlier.
    StaleInput,
    /// Boxes are opened as they come.
    NoFrontier,
    /// Now and then a box is lost, and with it a grant: locks stay.
    LostBox,
    /// Logs are merged so.
    Merges(Careless),
    /// Now and then a reply to this command that is a number is one more.
    Miscounts(Verb),
}

/// A client's connection, as the server keeps it, and the client.
struct Connection {
    id: u64,
    home: ShardId,
    /// Requests that have been sent and not yet been run.
    input: VecDeque<u32>,
    line: Line<u32>,
    /// The request that each place was taken for.
    places: BTreeMap<u32, u32>,
}

/// What happened, in order: the number of a request, and whether it was
/// sent or answered.
#[derive(Clone, Copy)]
pub enum Event {
    Invoked(u32),
    Completed(u32),
}

/// How likely the scheduler lets each thing happen; every run has its own.
struct Pace {
    send: usize,
    deliver: usize,
    publish: usize,
    time: usize,
    disconnect: usize,
    pause: usize,
    go_on: usize,
    pipeline: usize,
}

pub struct World {
    pub nodes: Vec<Node>,
    clocks: Vec<i64>,
    pub now_ms: i64,
    rng: Rng,
    pub workload: Workload,
    broken: Broken,
    connections: Vec<Connection>,
    next_client: u64,
    pub ops: Vec<Op>,
    requests: Vec<OwnedArgs>,
    pub events: Vec<Event>,
    network: Network,
    /// Step until which a node pushes nothing, or stands still.
    push_paused: Vec<u64>,
    node_paused: Vec<u64>,
    step: u64,
    pace: Pace,
    /// What all shards have recorded.
    pub recorder: Recorder,
    /// Clients that went away.
    pub disconnects: u64,
    /// What a client noticed itself.
    pub wrong: Option<String>,
}

impl World {
    pub fn new(seed: u64, mode: Mode, broken: Broken) -> Self {
        let mut rng = Rng::new(seed);
        let shards = 2 + rng.below(4) as u16;
        let workload = Workload::new(mode, shards, &mut rng);
        let hash_seed = rng.next();
        let node = |id| {
            let slots = ShardId(id).slots(shards);
            let settings = Settings {
                keys_per_step: 1,
                ..Settings::default()
            };
            let shard = Shard::new(DBS, slots, hash_seed, settings);
            Node::new(ShardId(id), shards, shard, hash_seed)
        };
        let mut nodes: Vec<Node> = (0..shards).map(node).collect();
        let careless = match broken {
            Broken::Merges(careless) => careless,
            _ => Careless::No,
        };
        let recorder = Recorder::new(&mut nodes, careless);
        for (number, key) in (0..workload.tokens()).zip(&workload.keys) {
            let value = format!("token{number}");
            let request = OwnedArgs::new([&b"set"[..], &key.name, value.as_bytes()]);
            let call = call_of(Verb::Set, key.db);
            let shard = nodes[key.owner.index()].shard_mut();
            let request = call.request(request.args());
            let _ = shard.apply(UnixMs(START_MS), &request, &mut Vec::new());
        }
        let count = usize::from(shards);
        let connection = |id| Connection {
            id,
            home: ShardId((id % u64::from(shards)) as u16),
            input: VecDeque::new(),
            line: Line::new(),
            places: BTreeMap::new(),
        };
        let clients = 2 + rng.below(9) as u64;
        let disconnects = rng.one_in(2);
        Self {
            nodes,
            clocks: vec![START_MS; count],
            now_ms: START_MS,
            workload,
            broken,
            connections: (0..clients).map(connection).collect(),
            next_client: clients,
            ops: Vec::new(),
            requests: Vec::new(),
            events: Vec::new(),
            network: Network::new(count),
            push_paused: vec![0; count],
            node_paused: vec![0; count],
            step: 0,
            pace: Pace {
                send: 1 + rng.below(20),
                deliver: 1 + rng.below(40),
                publish: 1 + rng.below(40),
                time: if mode == Mode::Expiry { 4 } else { 0 },
                disconnect: usize::from(disconnects),
                pause: rng.below(3),
                go_on: 1 + rng.below(40),
                pipeline: 1 + rng.below(12),
            },
            recorder,
            disconnects: 0,
            wrong: None,
            rng,
        }
    }

    /// Lets things happen until `count` requests have been sent and everything
    /// has arrived.
    pub fn run(&mut self, count: usize) {
        let (mut sent, mut sent_at) = (0, 0);
        while self.ops.len() < count && self.wrong.is_none() {
            self.step += 1;
            self.happen();
            if self.ops.len() > sent {
                (sent, sent_at) = (self.ops.len(), self.step);
            } else if self.step - sent_at > STEPS_QUIET_MAX {
                self.wrong = Some("not at rest, but every client waits".into());
            }
        }
        self.push_paused.fill(0);
        self.node_paused.fill(0);
        loop {
            let before = self.events.len();
            for node in 0..self.nodes.len() {
                self.publish(node);
            }
            let mut any = false;
            while self.deliver_one() || self.go_on() {
                any = true;
            }
            if !any && self.events.len() == before {
                break;
            }
        }
        let latest = self.latest();
        self.recorder.finish(&mut self.nodes, latest);
    }

    /// A transaction is judged at the latest instant of all who take part.
    fn latest(&self) -> i64 {
        self.clocks.iter().copied().max().unwrap_or_default()
    }

    /// Why the world is not at rest now that everything has arrived.
    pub fn unrest(&self) -> Option<String> {
        for node in &self.nodes {
            if !node.is_at_rest() || node.has_writes() {
                return Some(format!("node {} is not at rest", node.id().0));
            }
        }
        let waiting = |connection: &&Connection| {
            !connection.line.is_at_rest() || !connection.input.is_empty()
        };
        let connection = self.connections.iter().find(waiting)?;
        Some(format!("client {} waits for a reply", connection.id))
    }

    fn happen(&mut self) {
        let pace = &self.pace;
        let weights = [
            pace.send * 100,
            pace.deliver * 100,
            pace.publish * 100,
            pace.time * 10,
            pace.disconnect,
            pace.pause,
            pace.go_on * 100,
        ];
        let mut at = self.rng.below(weights.iter().sum());
        let mut choice = 0;
        while at >= weights[choice] {
            at -= weights[choice];
            choice += 1;
        }
        match choice {
            0 => self.send(),
            1 => {
                self.deliver_one();
            }
            2 => {
                let node = self.rng.below(self.nodes.len());
                if self.node_paused[node] <= self.step {
                    self.publish(node);
                }
            }
            3 => self.pass_time(),
            4 => self.disconnect(),
            6 => {
                self.go_on();
            }
            _ => {
                let until = self.step + 1 + self.rng.below(2000) as u64;
                if self.rng.one_in(2) {
                    let node = self.rng.below(self.nodes.len());
                    self.push_paused[node] = until;
                } else {
                    let node = self.rng.below(self.nodes.len());
                    self.node_paused[node] = until;
                }
            }
        }
    }

    /// A client sends a pipeline.
    fn send(&mut self) {
        let index = self.rng.below(self.connections.len());
        let home = self.connections[index].home.index();
        if self.node_paused[home] > self.step || self.connections[index].input.len() > 64 {
            return;
        }
        for _ in 0..1 + self.rng.below(self.pace.pipeline) {
            let id = self.ops.len() as u32;
            let number = self.connections[index].id as u32;
            let mut op = self.workload.choose(number, self.now_ms, &mut self.rng);
            op.invoked = self.events.len() as u32;
            self.events.push(Event::Invoked(id));
            self.requests.push(self.workload.request(id, &op));
            self.ops.push(op);
            self.connections[index].input.push_back(id);
        }
        if self.broken != Broken::StaleInput {
            self.catch_up(home);
        }
        self.resume(index);
        if self.rng.one_in(10) {
            let (length, by_last) = (self.rng.below(40), self.rng.one_in(2));
            self.connections[index].line.push(length, by_last);
            self.read(index);
        }
        self.hand_out(home);
    }

    fn pass_time(&mut self) {
        let jump = if self.rng.one_in(20) { 400 } else { 12 };
        self.now_ms += self.rng.below(jump) as i64;
        for node in 0..self.nodes.len() {
            let behind = self.rng.below(LAG_MS as usize + 1) as i64;
            self.clocks[node] = self.clocks[node].max(self.now_ms - behind);
            self.recorder.stand(&mut self.nodes[node]);
            if self.rng.one_in(4) {
                let now = UnixMs(self.clocks[node]);
                self.nodes[node].shard_mut().expire_due(now, 64);
            }
            let latest = self.latest();
            self.recorder.collect(&mut self.nodes[node], latest);
        }
    }

    /// A client goes away, and another takes its place.
    fn disconnect(&mut self) {
        let index = self.rng.below(self.connections.len());
        self.disconnects += 1;
        let connection = &mut self.connections[index];
        connection.id = self.next_client;
        self.next_client += 1;
        connection.input.clear();
        connection.line = Line::new();
        connection.places.clear();
    }

    /// Runs what a connection has sent, as far as it goes.
    fn resume(&mut self, index: usize) {
        while let Some(id) = self.connections[index].input.front().copied() {
            if self.connections[index].line.replies.places() >= PLACES_MAX || !self.start(index, id)
            {
                return;
            }
            self.connections[index].input.pop_front();
        }
    }

    /// Runs one request; false if it has to wait for earlier ones.
    fn start(&mut self, index: usize, id: u32) -> bool {
        let home = self.connections[index].home;
        let op = &self.ops[id as usize];
        let row = op.verb.row();
        let request = std::mem::take(&mut self.requests[id as usize]);
        let node = &mut self.nodes[home.index()];
        let args = request.args();
        let located = row
            .keys
            .first()
            .and_then(|_| args.get(1))
            .map(|key| node.shard().locate(key));
        let placement = match located {
            Some(located) if matches!(row.run, shards::command::Run::OneShard(_)) => {
                Placement::One(node.owner_of(&located))
            }
            _ => node.place(row, args),
        };
        let (kind, owner) = match placement {
            Placement::One(owner) => (Pending::Single, Some(owner)),
            Placement::Several(_) => (Pending::Transaction, None),
        };
        let connection = &mut self.connections[index];
        let is_waiting = connection.line.replies.is_waiting();
        if kind == Pending::Single
            && connection.line.replies.waits_for(Pending::Transaction)
            && self.broken != Broken::UnfollowedConvoy
        {
            self.nodes[home.index()].follow_convoy();
        }
        let call = Call {
            row: op.verb as u16,
            db: op.db,
            located,
            ..Call::of(row)
        };
        let now = UnixMs(self.clocks[home.index()]);
        self.ops[id as usize].owner = owner;
        self.ops[id as usize].started = true;
        match placement {
            Placement::One(owner)
                if owner == home && (!is_waiting || self.broken == Broken::SideBySide) =>
            {
                self.here(index, id, call, &request)
            }
            Placement::One(owner) => {
                let client = self.client(index, id, kind);
                let node = &mut self.nodes[home.index()];
                node.send(owner, client, call, args);
            }
            Placement::Several(owners) => {
                let client = self.client(index, id, kind);
                self.nodes[home.index()].begin(now, client, call, row, args, owners);
            }
        }
        true
    }

    /// A request on keys of the client's own core.
    fn here(&mut self, index: usize, id: u32, call: Call, request: &OwnedArgs) {
        let home = self.connections[index].home;
        let args = request.args();
        let node = &self.nodes[home.index()];
        let looks = self.broken != Broken::SkippedLocks;
        if looks && !node.is_unlocked() && node.must_wait(&call, args) {
            let client = self.client(index, id, Pending::Single);
            let now = UnixMs(self.clocks[home.index()]);
            self.nodes[home.index()].park(now, client, call, args);
            return;
        }
        let now = UnixMs(self.clocks[home.index()]);
        let mut reply = Vec::new();
        let shard = self.nodes[home.index()].shard_mut();
        let _ = shard.apply(now, &call.request(args), &mut reply);
        let reply = self.perhaps_miscounted(id, reply);
        let line = &mut self.connections[index].line;
        line.ask(id);
        line.reply(&reply);
        self.read(index);
    }

    fn client(&mut self, index: usize, id: u32, kind: Pending) -> Client {
        let connection = &mut self.connections[index];
        let place = connection.line.replies.wait_for(kind, false);
        connection.line.ask(id);
        connection.places.insert(place, id);
        Client {
            key: index as u32,
            id: connection.id,
            place,
        }
    }

    /// A reply as it is, or off by one if that is the rule to be broken.
    fn perhaps_miscounted(&mut self, id: u32, reply: Vec<u8>) -> Vec<u8> {
        let is_off = self.broken == Broken::Miscounts(self.ops[id as usize].verb);
        match reply.strip_prefix(b":").map(<[u8]>::trim_ascii_end) {
            Some(digits) if is_off && self.rng.one_in(5) => {
                let number = shards::parse_i64(digits).expect("the engine writes numbers");
                format!(":{}\r\n", number + 1).into_bytes()
            }
            _ => reply,
        }
    }

    /// A client reads what has come for it.
    fn read(&mut self, index: usize) {
        match self.connections[index].line.read() {
            Ok(replies) => {
                for (id, reply) in replies {
                    let op = &mut self.ops[id as usize];
                    op.reply = reply;
                    op.completed = Some(self.events.len() as u32);
                    op.completed_ms = self.now_ms;
                    self.events.push(Event::Completed(id));
                }
            }
            Err(wrong) => self.wrong = Some(wrong),
        }
    }

    /// Gives clients the replies that a node has for them.
    fn hand_out(&mut self, node: usize) {
        while self.nodes[node].has_replies() {
            let mut replies: Vec<(Client, u16, Vec<u8>)> = Vec::new();
            self.nodes[node].replies(|replied| {
                replies.push((replied.client, replied.row, replied.whole()));
            });
            let mut woken = Vec::new();
            for (client, row, reply) in replies {
                let index = client.key as usize;
                if self.connections[index].id == client.id {
                    self.answer(index, client.place, row, reply);
                    woken.push(index);
                }
            }
            for index in woken {
                self.resume(index);
            }
        }
    }

    fn answer(&mut self, index: usize, place: u32, row: u16, reply: Vec<u8>) {
        let connection = &mut self.connections[index];
        let Some(id) = connection.places.remove(&place) else {
            self.wrong = Some(format!(
                "client {}: nobody waits for a reply",
                connection.id
            ));
            return;
        };
        if VERBS[usize::from(row)] != self.ops[id as usize].verb {
            self.wrong = Some(format!("request {id} was answered as another command"));
        }
        let reply = self.perhaps_miscounted(id, reply);
        let replies = &mut self.connections[index].line.replies;
        let answered = replies.answer(place, &reply);
        answered.expect("there is memory");
        self.read(index);
    }

    /// A node sends what it has for others.
    fn publish(&mut self, node: usize) {
        self.network.publish(node, &mut self.nodes[node]);
        let latest = self.latest();
        self.recorder.collect(&mut self.nodes[node], latest);
    }

    /// A random node takes a step of what is not over; false if nothing is.
    fn go_on(&mut self) -> bool {
        let offset = self.rng.below(self.nodes.len());
        for at in 0..self.nodes.len() {
            let node = (at + offset) % self.nodes.len();
            if self.node_paused[node] <= self.step && self.nodes[node].has_slices() {
                self.recorder.stand(&mut self.nodes[node]);
                self.nodes[node].go_on(UnixMs(self.clocks[node]));
                self.hand_out(node);
                return true;
            }
        }
        false
    }

    /// A random node pushes a box, or takes in what was pushed to it; false if nothing
    /// of that can be done.
    fn deliver_one(&mut self) -> bool {
        // What is not taken in for long is missed the more.
        let stale = self.broken == Broken::StaleInput && !self.rng.one_in(10);
        for (node, pushes) in self.network.steps(&mut self.rng, stale) {
            let any = match pushes {
                true => self.push_paused[node] <= self.step && self.network.push(node),
                false => self.node_paused[node] <= self.step && self.catch_up(node),
            };
            if any {
                return true;
            }
        }
        false
    }

    /// A node takes in what was pushed to it and opens what it may; whether there was
    /// anything.
    fn catch_up(&mut self, node: usize) -> bool {
        let frontier = match self.broken {
            Broken::NoFrontier => u64::MAX,
            _ => self.network.frontier(),
        };
        let now = UnixMs(self.clocks[node]);
        let mut any = false;
        for (source, batch) in self.network.take(node) {
            any = true;
            self.receive(source, node, batch);
        }
        self.recorder.stand(&mut self.nodes[node]);
        any |= self.nodes[node].catch_up(now, frontier);
        self.recorder.stand(&mut self.nodes[node]);
        self.hand_out(node);
        any
    }

    fn receive(&mut self, source: ShardId, to: usize, batch: Box<Batch>) {
        let (from, target) = (source.index(), ShardId(to as u16));
        let tickets: Vec<Ticket> = match self.broken {
            Broken::EarlyGrant | Broken::EarlyRelease | Broken::LostBox => batch.grants().collect(),
            _ => Vec::new(),
        };
        if self.broken == Broken::LostBox && !tickets.is_empty() && self.rng.one_in(50) {
            return;
        }
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

    /// What a key holds now that everything has arrived.
    pub fn stored(&mut self, key: u16) -> Vec<u8> {
        let key = &self.workload.keys[usize::from(key)];
        let request = OwnedArgs::new([&b"get"[..], &key.name]);
        let node = key.owner.index();
        let call = call_of(Verb::Get, key.db);
        let mut reply = Vec::new();
        let now = UnixMs(self.clocks[node]);
        let shard = self.nodes[node].shard_mut();
        let _ = shard.apply(now, &call.request(request.args()), &mut reply);
        reply
    }

    /// Whoever follows the merged logs has what all shards have.
    pub fn follow(&mut self) -> Result<(), String> {
        let mut follower = Follower::new(DBS);
        for (_, stream) in &self.recorder.stream {
            follower.play(stream)?;
        }
        let keys = self.workload.keys.iter();
        let in_db = |db: u16| {
            keys.clone()
                .map(move |key| (shards::DbIndex(db), key.name.clone()))
        };
        let keys: Vec<_> = (0..DBS).flat_map(in_db).collect();
        follower.same(&mut self.nodes, &keys, "GET KEY")
    }

    /// Number of keys on all nodes, in all databases.
    pub fn keys_stored(&self) -> usize {
        let dbs = |node: &Node| -> usize {
            let len = |db| node.shard().keyspace(shards::DbIndex(db)).len();
            (0..DBS).map(len).sum()
        };
        self.nodes.iter().map(dbs).sum()
    }

    /// Every invariant of every keyspace.
    pub fn check_invariants(&self) {
        for node in &self.nodes {
            for db in 0..DBS {
                node.shard()
                    .keyspace(shards::DbIndex(db))
                    .check_invariants();
            }
        }
    }
}

/// A request that the world itself makes.
fn call_of(verb: Verb, db: shards::DbIndex) -> Call {
    Call {
        db,
        ..Call::of(verb.row())
    }
}
