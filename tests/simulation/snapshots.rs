//! A world in which snapshots are made while clients change everything: strings and large
//! values of all types, alone, over shards, in blocks, with moves, expiry, flushes and
//! databases that change places.
//!
//! What a snapshot holds must be what whoever follows the merged logs holds at one instant
//! between its beginning and its cut: after some block of the log, and before another. So
//! it is an instant of the one history. Of each client's writes, which go from shard to
//! shard in turn, it has the first so many. And no large value is encoded in one piece.

use crate::blocks::DBS;
use crate::follower::{Careless, Follower, Recorder};
use crate::network::Network;
use crate::rng::Rng;
use shards::command::snapshot::Begun;
use shards::command::{OwnedArgs, digest};
use shards::order::{Block, Call, Client, Manner, Node, Placement};
use shards::rdb::{self, Item, Scanner, Terms};
use shards::resp::Protocol;
use shards::{
    Chunk, CommandError, DbIndex, Growth, Owned, Row, Settings, Shard, ShardId, Slices, Thresholds,
    UnixMs, row,
};
use std::collections::BTreeMap;

const START: i64 = 1_700_000_000_000;
/// Keys of all kinds, and those that every client counts with.
const KEYS: usize = 12;
const COUNTERS: usize = 4;
/// So long, in steps, no client may be kept from sending anything.
const QUIET_MAX: usize = 200_000;
/// The connection for which snapshots are made.
const CUTTER: u32 = 1 << 20;

/// The rule that a run breaks, to see whether the checks notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Nothing,
    /// Shards begin the snapshot by themselves, one after the other.
    Uncut,
    /// Requests on the core's own keys run without a look at the locks.
    SkippedLocks,
    /// What follows a piece of a value is written before the rest of it.
    TornValue,
    /// A chunk is lost now and then.
    LostChunk,
}

struct Person {
    id: u64,
    home: ShardId,
    /// Requests without a reply.
    owed: usize,
    /// How often it has counted.
    counted: u64,
}

/// What all keys hold, each as a digest, with deadlines.
type Held = BTreeMap<(u16, Vec<u8>), Vec<u8>>;

/// A snapshot that is being made.
struct Making {
    /// Everything up to here was emitted before it was asked for.
    from: usize,
    begun: Option<Begun>,
    file: Vec<u8>,
    /// What has come of nodes and cannot be written yet.
    waiting: Vec<Vec<Chunk>>,
    /// The node whose value has not been written whole.
    open: Option<usize>,
}

/// A snapshot that is made.
pub struct Made {
    from: usize,
    number: usize,
    file: Vec<u8>,
    keys: u64,
}

pub struct Snapshots {
    nodes: Vec<Node>,
    clocks: Vec<i64>,
    now_ms: i64,
    rng: Rng,
    broken: Broken,
    people: Vec<Person>,
    network: Network,
    recorder: Recorder,
    making: Option<Making>,
    pub made: Vec<Made>,
    pub requests: usize,
    keys: Vec<Vec<u8>>,
    weights: [usize; 9],
    /// Databases are flushed and change places.
    overturns: bool,
    /// Keys and fields expire. Then nothing is made of several keys: what is due and is kept
    /// for others is no part of that, but it is there for who follows the log.
    expires: bool,
    /// Requests that a client may have under way.
    pipeline: usize,
    place: u32,
}

/// Values of some elements are large, and encoded in small steps.
fn settings(rdb_compression: bool) -> Settings {
    let settings = Settings::default();
    Settings {
        rdb_compression,
        keys_per_step: 3,
        slices: Slices { above: 16, step: 3 },
        encodings: Thresholds {
            list_max_listpack_size: 3,
            hash_max_listpack_entries: 4,
            set_max_intset_entries: 4,
            set_max_listpack_entries: 4,
            zset_max_listpack_entries: 4,
            ..settings.encodings.clone()
        },
        ..settings
    }
}

impl Snapshots {
    pub fn new(seed: u64, broken: Broken) -> Self {
        let mut rng = Rng::new(seed);
        let shards = 1 + rng.below(4) as u16;
        let (hash_seed, compresses) = (rng.next(), rng.one_in(2));
        let node = |id| {
            let slots = ShardId(id).slots(shards);
            let shard = Shard::new(DBS, slots, hash_seed, settings(compresses));
            Node::new(ShardId(id), shards, shard, hash_seed)
        };
        let mut nodes: Vec<Node> = (0..shards).map(node).collect();
        let recorder = Recorder::new(&mut nodes, Careless::No);
        let person = |id| Person {
            id,
            home: ShardId((id % u64::from(shards)) as u16),
            owed: 0,
            counted: 0,
        };
        let people = 2 + rng.below(6) as u64;
        let start = rng.below(100_000);
        let keys = (0..KEYS).map(|n| format!("k{}", start + n).into_bytes());
        let count = usize::from(shards);
        Self {
            clocks: vec![START; count],
            now_ms: START,
            broken,
            people: (0..people).map(person).collect(),
            network: Network::new(count),
            recorder,
            making: None,
            made: Vec::new(),
            requests: 0,
            keys: keys.collect(),
            weights: [
                20 + rng.below(60),
                20 + rng.below(80),
                20 + rng.below(80),
                5 + rng.below(40),
                1 + rng.below(30),
                1 + rng.below(30),
                rng.below(6),
                1 + rng.below(4),
                1,
            ],
            overturns: rng.one_in(2),
            expires: rng.one_in(2),
            // One shard sends itself nothing.
            pipeline: if count == 1 { 1 } else { 6 },
            place: 0,
            nodes,
            rng,
        }
    }

    /// Lets things happen until `count` requests have been sent and a last snapshot is made.
    pub fn run(&mut self, count: usize) -> Result<(), String> {
        let (mut seen, mut quiet) = (0, 0);
        while self.requests < count {
            self.happen()?;
            quiet = if self.requests > seen { 0 } else { quiet + 1 };
            seen = self.requests;
            if quiet > QUIET_MAX {
                return Err("not at rest, but every client waits".into());
            }
        }
        for _ in 0..1_000_000 {
            for node in 0..self.nodes.len() {
                self.publish(node);
            }
            let mut any = self.deliver();
            for node in 0..self.nodes.len() {
                any |= self.nodes[node].has_slices() || self.nodes[node].is_being_cut();
                self.go_on(node);
                self.walk(node);
                self.take(node);
            }
            self.end_snapshot()?;
            if !any && self.making.is_none() {
                let latest = self.now_ms;
                self.recorder.finish(&mut self.nodes, latest);
                return self.rest();
            }
        }
        Err("it does not come to rest".into())
    }

    fn rest(&self) -> Result<(), String> {
        if let Some(node) = self
            .nodes
            .iter()
            .find(|it| !it.is_at_rest() || it.has_writes())
        {
            return Err(format!("node {} is not at rest", node.id().0));
        }
        match self.people.iter().find(|person| person.owed > 0) {
            Some(person) => Err(format!("client {} waits for a reply", person.id)),
            None => Ok(()),
        }
    }

    fn happen(&mut self) -> Result<(), String> {
        let mut at = self.rng.below(self.weights.iter().sum());
        let mut choice = 0;
        while at >= self.weights[choice] {
            at -= self.weights[choice];
            choice += 1;
        }
        let node = self.rng.below(self.nodes.len());
        match choice {
            0 => self.act(),
            1 => {
                self.deliver();
            }
            2 => self.publish(node),
            3 => self.go_on(node),
            4 => self.walk(node),
            5 => self.take(node),
            6 => self.pass_time(),
            7 => self.expire(node),
            _ => self.begin_snapshot(),
        }
        self.end_snapshot()
    }

    fn now(&self, node: usize) -> UnixMs {
        UnixMs(self.clocks[node])
    }

    fn pass_time(&mut self) {
        self.now_ms += self.rng.below(20) as i64;
        for clock in &mut self.clocks {
            let behind = self.rng.below(4) as i64;
            *clock = (*clock).max(self.now_ms - behind);
        }
    }

    fn expire(&mut self, node: usize) {
        self.recorder.stand(&mut self.nodes[node]);
        let now = self.now(node);
        self.nodes[node].shard_mut().expire_due(now, 20);
        self.nodes[node].shard_mut().free_some(20);
    }

    fn begin_snapshot(&mut self) {
        if self.making.is_some() {
            return;
        }
        for node in 0..self.nodes.len() {
            let latest = self.now_ms;
            self.recorder.collect(&mut self.nodes[node], latest);
        }
        let mut making = Making {
            from: self.recorder.stream.len(),
            begun: None,
            file: Vec::new(),
            waiting: self.nodes.iter().map(|_| Vec::new()).collect(),
            open: None,
        };
        if self.broken == Broken::Uncut {
            making.begun = Some(Begun::default());
            self.making = Some(making);
            return;
        }
        self.making = Some(making);
        let home = self.rng.below(self.nodes.len());
        let client = Client {
            key: CUTTER,
            id: 0,
            place: 0,
        };
        let now = self.now(home);
        self.recorder.stand(&mut self.nodes[home]);
        self.nodes[home].cut(now, client);
        self.hand_out(home);
    }

    fn walk(&mut self, node: usize) {
        let now = self.now(node);
        let shard = self.nodes[node].shard_mut();
        if self.broken == Broken::Uncut
            && let Some(making) = &mut self.making
            && making.begun.is_some()
            && making.waiting[node].is_empty()
            && !shard.is_being_cut()
        {
            // As if it had been told to.
            shard.begin_cut();
            making.waiting[node].push(Chunk::default());
        }
        if self.nodes[node].is_being_cut() {
            self.recorder.stand(&mut self.nodes[node]);
            self.nodes[node].go_on_cut(now);
            self.hand_out(node);
        }
    }

    /// What a node has encoded is written, as far as it may.
    fn take(&mut self, node: usize) {
        let Some(making) = &mut self.making else {
            return;
        };
        let mut chunks = self.nodes[node].take_chunks().expect("there is memory");
        if self.broken == Broken::LostChunk && self.rng.one_in(20) {
            chunks.pop();
        }
        making.waiting[node].extend(chunks);
        let torn = self.broken == Broken::TornValue;
        loop {
            let of = match making.open {
                Some(node) if !torn => node,
                _ => self.rng.below(self.nodes.len()),
            };
            let waiting = &mut making.waiting[of];
            if waiting.is_empty() {
                return;
            }
            let chunk = waiting.remove(0);
            making.file.extend(chunk.bytes);
            making.open = chunk.more.then_some(of);
        }
    }

    /// The snapshot is made if all nodes have made their parts.
    fn end_snapshot(&mut self) -> Result<(), String> {
        let is_over = |making: &mut Making| {
            let nothing_waits = making.waiting.iter().all(Vec::is_empty);
            making.begun.is_some() && making.open.is_none() && nothing_waits
        };
        let cut = self.nodes.iter().any(Node::is_being_cut);
        let Some(making) = self.making.take_if(|it| !cut && is_over(it)) else {
            return Ok(());
        };
        let whole: u64 = self.nodes.iter().map(|it| it.shard().encoded_whole()).sum();
        if whole > 0 {
            return Err(format!("{whole} large values were encoded in one piece"));
        }
        let dbs = making.begun.unwrap_or_default().dbs;
        self.made.push(Made {
            from: making.from,
            number: self.made.len(),
            file: making.file,
            keys: dbs.values().map(|it| it.keys).sum(),
        });
        Ok(())
    }

    /// A client sends something.
    fn act(&mut self) {
        let index = self.rng.below(self.people.len());
        let home = self.people[index].home.index();
        self.catch_up(home);
        let person = &self.people[index];
        if person.owed == 0 && self.rng.one_in(5) {
            self.block(index);
        } else if person.owed < self.pipeline {
            let db = DbIndex(self.rng.below(DBS.into()) as u16);
            match self.rng.one_in(3) {
                true => self.count(index),
                false => {
                    let line = self.line();
                    self.ask(index, db, &line);
                }
            }
        }
        self.hand_out(home);
    }

    /// A client counts on one shard after the other.
    fn count(&mut self, index: usize) {
        let person = &mut self.people[index];
        let (id, number) = (person.id, person.counted);
        person.counted += 1;
        let key = counter(id, number as usize % COUNTERS);
        let round = number / COUNTERS as u64 + 1;
        self.ask(index, DbIndex(0), &format!("set {key} {round}"));
    }

    fn key(&mut self) -> String {
        let key = &self.keys[self.rng.below(KEYS)];
        String::from_utf8_lossy(key).into_owned()
    }

    /// Something that a client may ask for.
    fn line(&mut self) -> String {
        if self.overturns && self.rng.one_in(60) {
            let all = ["flushall", "flushdb", "swapdb 0 1", "swapdb 0 1"];
            return all[self.rng.below(all.len())].into();
        }
        let (key, other, third) = (self.key(), self.key(), self.key());
        let first = self.rng.below(60);
        let many = |what: &dyn Fn(usize) -> String| {
            let all: Vec<String> = (first..first + 24).map(what).collect();
            all.join(" ")
        };
        let (one, two) = (self.rng.below(90), self.rng.below(90));
        let choice = self.rng.below(40);
        let of_several = [22, 30].contains(&choice);
        let of_time = [4, 26, 31].contains(&choice) || choice > 36;
        match choice {
            _ if of_several && self.expires || of_time && !self.expires => {
                format!("mset {key} {one} {third} {two}")
            }
            0..4 => format!("set {key} {one}"),
            4 => format!("set {key} {one} px {}", 1 + two),
            5..8 => format!("mset {key} {one} {other} {one} {third} {one}"),
            8 => format!("del {key} {other} {third}"),
            9..12 => format!("rename {key} {other}"),
            12 => format!("copy {key} {other} replace"),
            13 => format!("move {key} 1"),
            14 | 15 => format!("rpush {key} {}", many(&|n| format!("e{n}"))),
            16 => format!("lpop {key} 2"),
            17 => format!("lmove {key} {other} left right"),
            18 | 19 => format!("sadd {key} {}", many(&|n| format!("m{n}"))),
            20 => format!("srem {key} m{one} m{two}"),
            21 => format!("smove {key} {other} m{one}"),
            22 => format!("sunionstore {key} {other} {third}"),
            23 | 24 => format!("hset {key} {}", many(&|n| format!("f{n} {one}"))),
            25 => format!("hincrby {key} f{one} 1"),
            26 => format!("hpexpire {key} {} fields 2 f{one} f{two}", 1 + two),
            27 | 28 => format!("zadd {key} {}", many(&|n| format!("{n} z{n}"))),
            29 => format!("zremrangebyrank {key} 0 2"),
            30 => format!("zunionstore {key} 2 {other} {third}"),
            31 => format!("pexpire {key} {}", 1 + two),
            32 => format!("persist {key}"),
            33 => format!("append {key} {one}"),
            34 => format!("setrange {key} 150000 {one}"),
            35 => format!("xadd {key} * f {one}"),
            36 => format!("mget {key} {other} {third}"),
            _ => format!("getex {key} px {}", 1 + two),
        }
    }

    fn client(&mut self, index: usize) -> Client {
        self.place += 1;
        self.people[index].owed += 1;
        Client {
            key: index as u32,
            id: self.people[index].id,
            place: self.place,
        }
    }

    fn ask(&mut self, index: usize, db: DbIndex, line: &str) {
        self.requests += 1;
        let args = OwnedArgs::new(line.split(' ').map(str::as_bytes));
        let args = args.args();
        let row = row(&args[0]).unwrap();
        let person = &self.people[index];
        let (home, waits) = (person.home, person.owed > 0);
        let now = self.now(home.index());
        let node = &mut self.nodes[home.index()];
        let placement = match row.run {
            shards::command::Run::OneShard(_) if !row.keys.is_empty() => {
                Placement::One(node.owner(&args[1]))
            }
            _ => node.place(row, args),
        };
        let call = Call {
            db,
            alone: true,
            ..Call::of(row)
        };
        let owner = match placement {
            Placement::Several(owners) => {
                let client = self.client(index);
                let node = &mut self.nodes[home.index()];
                return node.begin(now, client, call, row, args, owners);
            }
            Placement::One(owner) => owner,
        };
        node.follow_convoy();
        if owner != home || waits {
            let client = self.client(index);
            return self.nodes[home.index()].send(owner, client, call, args);
        }
        let looks = self.broken != Broken::SkippedLocks;
        if looks && node.must_wait(&call, args) {
            let client = self.client(index);
            return self.nodes[home.index()].park(now, client, call, args);
        }
        let shard = node.shard_mut();
        let ran = shard.apply(now, &call.request(args), &mut Vec::new());
        if ran == Err(CommandError::Long) {
            let client = self.client(index);
            self.nodes[home.index()].reply_at_length(now, client, call, args);
        }
    }

    fn block(&mut self, index: usize) {
        let (mut block, db) = (Box::<Block>::default(), DbIndex(self.rng.below(2) as u16));
        for _ in 0..1 + self.rng.below(4) {
            let line = self.line();
            let args = OwnedArgs::new(line.split(' ').map(str::as_bytes));
            let row = row(&args.args()[0]).unwrap();
            // Under the lock of the whole shard large values are encoded in one piece.
            if !row.keys.is_empty() {
                assert!(block.push(0, row, None, args.args()));
            }
        }
        self.requests += 1;
        let manner = Manner {
            db,
            protocol: Protocol::Resp2,
            no_touch: false,
            tracks: Default::default(),
            silent: false,
        };
        let home = self.people[index].home;
        let now = self.now(home.index());
        let client = self.client(index);
        let node = &mut self.nodes[home.index()];
        match node.place_block(&block) {
            Some(owner) if owner == home => {
                let who = (client, || client);
                let over = node.exec_here(now, who, (0, manner), block, &mut Vec::new());
                if over.is_some() {
                    self.people[index].owed -= 1;
                }
            }
            Some(owner) => node.exec_there(owner, client, (0, manner), block),
            None => node.exec(now, client, (0, manner), block),
        }
    }

    /// Gives clients the replies that a node has for them.
    fn hand_out(&mut self, node: usize) {
        let (people, making) = (&mut self.people, &mut self.making);
        let mut asks = Vec::new();
        self.nodes[node].replies(|replied| {
            if replied.client.key == CUTTER {
                let begun = Begun::read(&replied.whole()).expect("none is under way");
                if let Some(making) = making {
                    making.begun = Some(begun);
                }
                return;
            }
            if replied.client.is_only_counted() {
                return;
            }
            match replied.rest {
                shards::order::Rest::Follows(ticket) => asks.push(ticket),
                _ => people[replied.client.key as usize].owed -= 1,
            }
        });
        let now = self.now(node);
        for ticket in asks {
            self.nodes[node].ask(now, ticket);
        }
        if self.nodes[node].has_replies() {
            self.hand_out(node);
        }
    }

    fn publish(&mut self, node: usize) {
        self.network.publish(node, &mut self.nodes[node]);
        let latest = self.now_ms;
        self.recorder.collect(&mut self.nodes[node], latest);
    }

    fn go_on(&mut self, node: usize) {
        if self.nodes[node].has_slices() {
            self.recorder.stand(&mut self.nodes[node]);
            let now = self.now(node);
            self.nodes[node].go_on(now);
            self.hand_out(node);
        }
    }

    fn deliver(&mut self) -> bool {
        let mut steps = self.network.steps(&mut self.rng, false);
        steps.any(|(node, pushes)| match pushes {
            true => self.network.push(node),
            false => self.catch_up(node),
        })
    }

    fn catch_up(&mut self, node: usize) -> bool {
        let frontier = self.network.frontier();
        let now = self.now(node);
        let mut any = false;
        for (source, batch) in self.network.take(node) {
            any = true;
            self.nodes[node].receive(source, batch);
        }
        self.recorder.stand(&mut self.nodes[node]);
        any |= self.nodes[node].catch_up(now, frontier);
        self.recorder.stand(&mut self.nodes[node]);
        self.hand_out(node);
        any
    }

    /// Judges what has been made.
    pub fn check(&self) -> Result<(), String> {
        let names = self.names();
        for made in &self.made {
            let wrong = |wrong: String| format!("snapshot {}: {wrong}", made.number);
            let mut shard = made.load().map_err(wrong)?;
            let held = held(&mut shard, &names);
            if self.broken != Broken::Uncut && held.len() as u64 != made.keys {
                return Err(wrong(format!("{} keys of {}", held.len(), made.keys)));
            }
            self.is_an_instant(made, &held, &names).map_err(wrong)?;
            if !self.overturns {
                self.has_prefixes(&mut shard).map_err(wrong)?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Vec<Vec<u8>> {
        let people = self.people.iter();
        let counters = people.flat_map(|person| (0..COUNTERS).map(|nth| counter(person.id, nth)));
        let counters = counters.map(String::into_bytes);
        self.keys.iter().cloned().chain(counters).collect()
    }

    /// Whether whoever follows the logs has just this at some time after the snapshot was
    /// asked for.
    fn is_an_instant(&self, made: &Made, held: &Held, names: &[Vec<u8>]) -> Result<(), String> {
        let mut follower = Follower::new(DBS);
        for (_, stream) in &self.recorder.stream[..made.from] {
            follower.play(stream)?;
        }
        let mut nearest = usize::MAX;
        let mut looks = |follower: &mut Follower| {
            let there = self::held(follower.shard(), names);
            let differ = |(key, it): &(&(u16, Vec<u8>), &Vec<u8>)| held.get(*key) != Some(*it);
            let differences =
                there.iter().filter(differ).count() + held.len().abs_diff(there.len());
            nearest = nearest.min(differences);
            differences == 0
        };
        if looks(&mut follower) {
            return Ok(());
        }
        for (_, stream) in &self.recorder.stream[made.from..] {
            let mut same = false;
            follower.play_blocks(stream, &mut |follower| {
                same |= looks(follower);
                same
            })?;
            if same {
                return Ok(());
            }
        }
        Err(format!(
            "it is no instant of the history: {nearest} keys differ at best"
        ))
    }

    /// Whether of each client's writes the first so many are there.
    fn has_prefixes(&self, shard: &mut Shard) -> Result<(), String> {
        for person in &self.people {
            let read = |nth| read_number(shard, &counter(person.id, nth));
            let rounds: Vec<u64> = (0..COUNTERS).map(read).collect();
            let is_prefix = rounds.is_sorted_by(|one, next| one >= next);
            let (first, last) = (rounds[0], rounds[COUNTERS - 1]);
            if !is_prefix || first > last + 1 {
                return Err(format!("client {} has counted {rounds:?}", person.id));
            }
        }
        Ok(())
    }
}

fn counter(id: u64, nth: usize) -> String {
    format!("counter{nth}of{id}")
}

/// Nothing is due by then.
const BEFORE_EVERYTHING: UnixMs = UnixMs(i64::MIN);

impl Made {
    /// A shard for all slots that has loaded the file.
    fn load(&self) -> Result<Shard, String> {
        let mut file = Vec::new();
        let version = rdb::format::version::REDIS_7_4;
        rdb::file_head(version, &[], &mut file).unwrap();
        file.extend(&self.file);
        rdb::file_end(None, &mut file).unwrap();
        let mut scanner = Scanner::new(false);
        scanner.feed(&file).unwrap();
        scanner.finish();
        let mut shard = Shard::new(DBS, 0..16_384, 1, Settings::default());
        let settings = Settings::default();
        let terms = Terms {
            growth: Growth {
                thresholds: &settings.encodings,
                seed: 1,
            },
            now: BEFORE_EVERYTHING,
        };
        while let Some(item) = scanner.next().map_err(|wrong| wrong.to_string())? {
            let Item::Entry(entry) = item else { continue };
            let value = rdb::decode(entry.form, entry.value, &terms);
            let value: Owned = value
                .map_err(|wrong| wrong.to_string())?
                .ok_or("a value is empty")?;
            let loaded = shard.load(
                BEFORE_EVERYTHING,
                entry.db,
                entry.key,
                value,
                (entry.expire_at, 0),
            );
            loaded.map_err(|why| format!("{} is {why:?}", entry.key.escape_ascii()))?;
        }
        Ok(shard)
    }
}

/// What a shard for all slots holds under these names: a digest of each value, and its
/// deadline.
pub fn held(shard: &mut Shard, names: &[Vec<u8>]) -> Held {
    let mut held = Held::new();
    for (db, name) in (0..DBS).flat_map(|db| names.iter().map(move |name| (db, name))) {
        let value = read(shard, DbIndex(db), &digest::DIGEST_VALUE, name);
        if value != NOTHING {
            let deadline = read(shard, DbIndex(db), row("pexpiretime").unwrap(), name);
            held.insert((db, name.clone()), [value, deadline].concat());
        }
    }
    held
}

/// The digest of a key that is not there.
const NOTHING: &[u8] = b"*1\r\n+0000000000000000000000000000000000000000\r\n";

fn read(shard: &mut Shard, db: DbIndex, row: &'static Row, name: &[u8]) -> Vec<u8> {
    let args = OwnedArgs::new([row.name.as_bytes(), name]);
    let call = Call {
        db,
        no_touch: true,
        ..Call::of(row)
    };
    let mut reply = Vec::new();
    let _ = shard.apply(BEFORE_EVERYTHING, &call.request(args.args()), &mut reply);
    reply
}

fn read_number(shard: &mut Shard, name: &str) -> u64 {
    let reply = read(shard, DbIndex(0), row("get").unwrap(), name.as_bytes());
    let text = crate::blocks::bulk(&reply);
    text.map_or(0, |text| text.parse().unwrap())
}
