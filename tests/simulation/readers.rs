//! A world of streams: those who add, those who read on, and workers of two groups.
//!
//! - XADD to streams of all shards, one at a time, or in a block of several;
//! - XREAD of one to three streams from the beginning or from `$` on, and on from the
//!   last ids;
//! - XREADGROUP for what is new or for a worker's own history, XACK of what it got, some
//!   of it later or never; XAUTOCLAIM of what others left behind;
//! - EXISTS, which locks several keys at once and so comes in between; in some runs
//!   somebody deletes streams, trims them, destroys groups and creates them again;
//! - who waits is unblocked, or has waited long enough; anybody may be killed at any
//!   time, with another in the place, perhaps under the name of the one before;
//! - boxes between nodes arrive in any order that keeps each channel's.
//!
//! In half of the runs whatever is more than one entry is done in slices, with others in
//! between. What must be right stands in [`Once`]; beside it nobody waits for what is
//! there, and whoever follows the logs has the same streams and groups.

#[path = "readers/heard.rs"]
mod heard;
#[path = "readers/rest.rs"]
mod rest;

use crate::follower::{Careless, Recorder, row_of};
use crate::network::Network;
use crate::once::{GROUPS, Id, Once, Reply, STREAMS};
use crate::rng::Rng;
use shards::command::OwnedArgs;
use shards::order::{Batch, Block, Call, Client, Manner, Node, Placement, Ticket, Unblock};
use shards::resp::Protocol;
use shards::stream::Stream;
use shards::{
    Args, Claim, CommandError, Context, DbIndex, Outcome, Settings, Shard, ShardId, Slices, UnixMs,
    Waiting,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const NOW: i64 = 1_700_000_000_000;
/// Rounds of deliveries after which everything must have arrived.
const SETTLED_AFTER: usize = 1000;
const ADDERS: usize = 3;
const READERS: usize = 3;
const WORKERS: usize = 5;

/// The rule that a run breaks, to see whether the checks notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Nothing,
    /// Who begins to wait for what comes after `$` says so again each time.
    StaysRelative,
    /// An entry that is not for the first who waits for some is for nobody.
    WakesFirst,
    /// A group forgets that it has read an entry.
    Forgets,
    /// A record of what is pending gets lost.
    LostRecord,
    /// Work is done before all shards have granted.
    EarlyGrant,
    /// A shard releases a transaction's locks before its work has come.
    EarlyRelease,
    /// Requests on the core's own keys run without a look at the locks.
    SkippedLocks,
    /// One box in so many gets lost.
    LostBox(usize),
}

/// Who reads streams to their ends.
struct Reader {
    streams: Vec<usize>,
    from_start: bool,
    /// It waits for what is to come at some time.
    is_late: bool,
    /// Up to where each has been read.
    at: Vec<Option<Id>>,
    seen: Vec<Vec<u64>>,
}

struct Worker {
    group: usize,
    name: String,
    streams: Vec<usize>,
    /// What it got and has not acknowledged: stream, id and number.
    in_hand: Vec<(usize, Id, u64)>,
    /// It takes over what others leave behind.
    takes_over: bool,
    /// It asks for its history first.
    begins_again: bool,
}

enum Role {
    Adds,
    Reads(Reader),
    Works(Worker),
    /// Locks several keys, or makes trouble with what it says next.
    Disturbs(Vec<String>),
}

struct Person {
    id: u64,
    home: usize,
    role: Role,
}

/// What a request is about.
enum What {
    Adds(Vec<u64>),
    /// The streams from `$` on; and whether all that there is is wanted.
    Reads(Vec<usize>, bool),
    /// For whom; the streams of which what is new is asked for, and the others.
    Works {
        group: usize,
        name: String,
        new: Vec<usize>,
        old: Vec<usize>,
    },
    Acks(usize, usize, Vec<u64>),
    TakesOver(usize, String, usize),
    Other,
}

struct Asked {
    line: String,
    what: What,
    client: Client,
    home: usize,
    may_wait: bool,
    /// The shard of all of its keys, if there is one.
    owner: Option<ShardId>,
    invoked: usize,
    /// When it was heard that it waits.
    begun: Option<usize>,
    /// Its waiting was ended.
    ended: bool,
}

pub struct Readers {
    rng: Rng,
    nodes: Vec<Node>,
    recorder: Recorder,
    network: Network,
    people: Vec<Person>,
    next_id: u64,
    /// Requests under way, by the ids of their clients, also of those who have gone.
    asked: BTreeMap<u64, Asked>,
    /// Pieces of replies that are not whole.
    heard: HashMap<u64, Vec<u8>>,
    /// Who has gone and reads no rest of a reply.
    dropped: BTreeSet<u64>,
    once: Once,
    now: UnixMs,
    /// Little is added: most who read wait, many for the same.
    is_calm: bool,
    /// Counts what happens.
    instant: usize,
    pub requests: usize,
    /// Requests that waited and were served.
    pub served: usize,
    /// Clients that were killed.
    pub killed: usize,
    broken: Broken,
}

fn key(stream: usize) -> String {
    format!("stream:{stream}")
}

fn id_text((ms, seq): Id) -> String {
    format!("{ms}-{seq}")
}

/// The handler of a request that looks whether a stream contradicts itself.
fn check_stream(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if let Some(stream) = ctx.db.read_as::<Stream>(&args[1])? {
        stream.check_invariants();
    }
    ctx.reply.ok();
    Ok(())
}

impl Readers {
    pub fn new(seed: u64, broken: Broken) -> Self {
        let mut rng = Rng::new(seed);
        let count = 1 + rng.below(4) as u16;
        let mut settings = Settings::default();
        if rng.one_in(2) {
            settings.slices = Slices { above: 1, step: 1 };
            settings.long_replies.elements = 1;
            settings.long_replies.piece = 1;
        }
        let node = |id| {
            let shard = Shard::new(1, ShardId(id).slots(count), seed, settings.clone());
            Node::new(ShardId(id), count, shard, 7)
        };
        let mut nodes: Vec<Node> = (0..count).map(node).collect();
        let mut world = Self {
            recorder: Recorder::new(&mut nodes, Careless::No),
            nodes,
            network: Network::new(usize::from(count)),
            people: Vec::new(),
            next_id: 0,
            asked: BTreeMap::new(),
            heard: HashMap::new(),
            dropped: BTreeSet::new(),
            once: Once::default(),
            now: UnixMs(NOW),
            is_calm: rng.one_in(2),
            instant: 0,
            requests: 0,
            served: 0,
            killed: 0,
            broken,
            rng,
        };
        world.once.lenient = world.rng.one_in(3);
        for (stream, group) in pairs() {
            world.direct(&format!(
                "XGROUP CREATE {} g{group} 0 MKSTREAM",
                key(stream)
            ));
        }
        for nth in 0..=ADDERS + READERS + WORKERS {
            let role = world.role(nth, None);
            let home = nth % usize::from(count);
            world.people.push(Person {
                id: nth as u64,
                home,
                role,
            });
        }
        world.next_id = world.people.len() as u64;
        world
    }

    /// What the `nth` of all people does, perhaps under a name that there was.
    fn role(&mut self, nth: usize, name: Option<String>) -> Role {
        let all = [(); 1 + STREAMS / 2].map(|()| self.rng.below(STREAMS));
        let some = 1 + self.rng.below(all.len());
        let mut streams: BTreeSet<usize> = all.into_iter().take(some).collect();
        if self.is_calm {
            // Who waits for less waits for what others wait for, too.
            streams = (0..some).collect();
        }
        let streams: Vec<usize> = streams.into_iter().collect();
        if nth < ADDERS {
            Role::Adds
        } else if nth < ADDERS + READERS {
            let (from_start, is_late) = (self.rng.one_in(2), self.rng.one_in(2));
            let at = match (from_start, is_late) {
                (true, _) => Some((0, 0)),
                (false, true) => Some((NOW as u64 + self.rng.below(600) as u64, 0)),
                (false, false) => None,
            };
            Role::Reads(Reader {
                from_start,
                is_late: is_late && !from_start,
                at: vec![at; streams.len()],
                seen: vec![Vec::new(); streams.len()],
                streams,
            })
        } else if nth < ADDERS + READERS + WORKERS {
            let begins_again = name.is_some();
            Role::Works(Worker {
                group: usize::from(nth == ADDERS + READERS),
                name: name.unwrap_or_else(|| format!("worker:{nth}:{}", self.next_id)),
                streams,
                in_hand: Vec::new(),
                takes_over: self.rng.one_in(3),
                begins_again,
            })
        } else {
            Role::Disturbs(Vec::new())
        }
    }

    /// Plays so many steps and says what is wrong then or afterwards.
    pub fn run(&mut self, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            self.instant += 1;
            let index = self.rng.below(self.people.len());
            match self.rng.below(100) {
                0..=34 => self.act(index)?,
                35..=82 => {
                    self.deliver()?;
                }
                83..=86 => {
                    self.go_on()?;
                }
                87..=94 => {
                    let node = self.rng.below(self.nodes.len());
                    self.publish(node);
                }
                95 => self.pass_time()?,
                96 => self.kill(index)?,
                97 => {
                    let how = [Unblock::Timeout, Unblock::Error][self.rng.below(2)];
                    let id = self.people[index].id;
                    self.unblock(id, how)?;
                }
                _ => {}
            }
        }
        self.settle()?;
        self.check_waiting()?;
        let ids: Vec<u64> = self.asked.keys().copied().collect();
        for id in ids {
            self.unblock(id, Unblock::Timeout)?;
        }
        self.settle()?;
        self.check_rest()?;
        self.check_follower()?;
        self.check_entries()
    }

    /// Runs a request on its shard at once, beside everything else.
    fn direct(&mut self, line: &str) -> Reply {
        let words = OwnedArgs::new(line.split(' ').map(str::as_bytes));
        let row = row_of(line.split(' ').map(str::as_bytes)).unwrap();
        let mut positions = Vec::new();
        for keys in row.keys {
            keys.positions(words.args(), &mut positions);
        }
        let owner = self.nodes[0].owner(&words.args()[positions[0]]).index();
        let mut out = Vec::new();
        let request = Call::of(row).request(words.args());
        let _ = self.nodes[owner]
            .shard_mut()
            .apply(self.now, &request, &mut out);
        Reply::parse(&out).unwrap()
    }

    /// Somebody who has no request under way sends one.
    fn act(&mut self, index: usize) -> Result<(), String> {
        if !self.is_calm || !matches!(self.people[index].role, Role::Adds) {
            return self.request(index);
        }
        // Then all who add do so at once: somebody's turn is not over when the next comes.
        if self.rng.one_in(20) {
            (0..ADDERS).try_for_each(|adder| self.request(adder))?;
        }
        Ok(())
    }

    fn request(&mut self, index: usize) -> Result<(), String> {
        if self.asked.contains_key(&self.people[index].id) {
            return Ok(());
        }
        let mut role = std::mem::replace(&mut self.people[index].role, Role::Adds);
        let (lines, what) = match &mut role {
            Role::Adds => self.add(),
            Role::Reads(reader) => self.read(reader),
            Role::Works(worker) => self.work(worker),
            Role::Disturbs(next) => self.disturb(next),
        };
        self.people[index].role = role;
        self.requests += 1;
        self.send(index, &lines, what)
    }

    fn add(&mut self) -> (Vec<String>, What) {
        let streams = if self.is_calm { 2 } else { STREAMS };
        let mut streams = vec![self.rng.below(streams)];
        if self.rng.one_in(3) {
            let others = (0..STREAMS).filter(|it| *it != streams[0]);
            let others: Vec<usize> = others.filter(|_| self.rng.one_in(2)).collect();
            streams.extend(others);
        }
        let numbers = self.once.add(&streams, self.instant);
        let line = |(stream, number)| format!("XADD {} * n {number}", key(stream));
        let lines = streams.into_iter().zip(&numbers).map(line).collect();
        (lines, What::Adds(numbers))
    }

    fn block(&mut self) -> String {
        match self.rng.below(5) {
            0 => String::new(),
            1 | 2 => format!("BLOCK {} ", 1 + self.rng.below(100)),
            _ => "BLOCK 0 ".to_owned(),
        }
    }

    fn count(&mut self) -> String {
        match self.rng.one_in(2) {
            true => format!("COUNT {} ", 1 + self.rng.below(4)),
            false => String::new(),
        }
    }

    fn read(&mut self, reader: &Reader) -> (Vec<String>, What) {
        let (count, block) = (self.count(), self.block());
        let keys: Vec<String> = reader.streams.iter().map(|it| key(*it)).collect();
        let at = reader.at.iter();
        let ids: Vec<String> = at.map(|at| at.map_or("$".into(), id_text)).collect();
        let last = reader.streams.iter().zip(&reader.at);
        let last = last
            .filter(|(_, at)| at.is_none())
            .map(|(it, _)| *it)
            .collect();
        let (keys, ids) = (keys.join(" "), ids.join(" "));
        let line = format!("XREAD {count}{block}STREAMS {keys} {ids}");
        (vec![line], What::Reads(last, count.is_empty()))
    }

    fn work(&mut self, worker: &mut Worker) -> (Vec<String>, What) {
        let (group, name) = (worker.group, worker.name.clone());
        if !worker.in_hand.is_empty() && !worker.begins_again && !self.rng.one_in(4) {
            let stream = worker.in_hand[self.rng.below(worker.in_hand.len())].0;
            let (mut ids, mut numbers, most) = (String::new(), Vec::new(), 1 + self.rng.below(3));
            worker.in_hand.retain(|(of, id, number)| {
                let stays = *of != stream || numbers.len() == most;
                if !stays && !numbers.contains(number) {
                    ids += &format!(" {}", id_text(*id));
                    numbers.push(*number);
                }
                stays
            });
            let line = format!("XACK {} g{group}{ids}", key(stream));
            return (vec![line], What::Acks(group, stream, numbers));
        }
        if worker.takes_over && self.rng.one_in(3) {
            let stream = self.rng.below(STREAMS);
            let count = self.count();
            let line = format!("XAUTOCLAIM {} g{group} {name} 0 0 {count}", key(stream));
            let what = What::TakesOver(group, name, stream);
            return (vec![line.trim_end().to_owned()], what);
        }
        let (count, block) = (self.count(), self.block());
        let all_old = std::mem::take(&mut worker.begins_again) || self.rng.one_in(10);
        let (old, new): (Vec<usize>, Vec<usize>) = worker
            .streams
            .iter()
            .partition(|_| all_old || self.rng.one_in(12));
        let keys: Vec<String> = old.iter().chain(&new).map(|it| key(*it)).collect();
        let (keys, ids) = (
            keys.join(" "),
            [" 0".repeat(old.len()), " >".repeat(new.len())],
        );
        let ids = ids.concat();
        let line = format!("XREADGROUP GROUP g{group} {name} {count}{block}STREAMS {keys}{ids}");
        (
            vec![line],
            What::Works {
                group,
                name,
                new,
                old,
            },
        )
    }

    fn disturb(&mut self, next: &mut Vec<String>) -> (Vec<String>, What) {
        if let Some(line) = next.pop() {
            return (vec![line], What::Other);
        }
        let [one, other, third] = [(); 3].map(|()| key(self.rng.below(STREAMS)));
        let group = self.rng.below(GROUPS);
        let create = |group| format!("XGROUP CREATE {one} g{group} $ MKSTREAM");
        let line = match self.rng.below(12) {
            0 if self.once.lenient => {
                next.extend((0..GROUPS).map(create));
                format!("DEL {one} {other}")
            }
            1 | 2 if self.once.lenient => {
                next.push(create(group));
                format!("XGROUP DESTROY {one} g{group}")
            }
            3 if self.once.lenient => format!("XTRIM {one} MAXLEN 2"),
            _ => format!("EXISTS {one} {other} {third}"),
        };
        (vec![line], What::Other)
    }

    /// Sends a request, or a block of several, as the server's dispatch does it.
    fn send(&mut self, index: usize, lines: &[String], what: What) -> Result<(), String> {
        let Person { id, home, .. } = self.people[index];
        let client = Client {
            key: index as u32,
            id,
            place: self.requests as u32,
        };
        let may_wait = lines[0].contains("BLOCK");
        self.asked.insert(
            id,
            Asked {
                line: lines.join("; "),
                what,
                client,
                home,
                may_wait,
                owner: None,
                invoked: self.instant,
                begun: None,
                ended: false,
            },
        );
        self.catch_up(home)?;
        match lines {
            [line] => self.send_one(home, client, line)?,
            lines => self.send_block(home, client, lines)?,
        }
        self.nodes[home].serve(self.now);
        self.hand_out(home)
    }

    fn send_one(&mut self, home: usize, client: Client, line: &str) -> Result<(), String> {
        let words = OwnedArgs::new(line.split(' ').map(str::as_bytes));
        let args = words.args();
        let row = row_of(args.iter()).unwrap();
        let (now, broken) = (self.now, self.broken);
        let node = &mut self.nodes[home];
        let placement = node.place(row, args);
        let call = Call {
            alone: true,
            ..Call::of(row)
        };
        match placement {
            Placement::One(owner) => {
                self.asked.get_mut(&client.id).unwrap().owner = Some(owner);
                if owner.index() != home {
                    node.send(owner, client, call, args);
                } else if broken != Broken::SkippedLocks && node.must_wait(&call, args) {
                    node.park(now, client, call, args);
                } else {
                    let mut out = Vec::new();
                    match node.shard_mut().apply(now, &call.request(args), &mut out) {
                        Err(CommandError::Blocked(mut blocked)) => {
                            if broken == Broken::StaysRelative {
                                blocked.instead.clear();
                            }
                            break_waiting(broken, &mut blocked.waiting);
                            node.wait(client, call, args, &blocked);
                        }
                        Err(CommandError::Long) => node.reply_at_length(now, client, call, args),
                        _ => self.complete(client, &out)?,
                    }
                }
            }
            Placement::Several(owners) => node.begin(now, client, call, row, args, owners),
        }
        Ok(())
    }

    fn send_block(&mut self, home: usize, client: Client, lines: &[String]) -> Result<(), String> {
        let mut block = Box::new(Block::default());
        for line in lines {
            let words = OwnedArgs::new(line.split(' ').map(str::as_bytes));
            let row = row_of(words.args().iter()).unwrap();
            assert!(block.push(0, row, None, words.args()));
        }
        let manner = Manner {
            db: DbIndex(0),
            protocol: Protocol::Resp2,
            no_touch: false,
            tracks: Default::default(),
            silent: false,
        };
        let (how, now) = ((1, manner), self.now);
        let node = &mut self.nodes[home];
        match node.place_block(&block) {
            Some(owner) if owner.index() == home => {
                let mut reply = Vec::new();
                let over = node.exec_here(now, (client, || client), how, block, &mut reply);
                if over.is_some() {
                    self.complete(client, &reply)?;
                }
            }
            Some(owner) => node.exec_there(owner, client, how, block),
            None => node.exec(now, client, how, block),
        }
        Ok(())
    }

    /// Somebody is killed, another comes.
    fn kill(&mut self, index: usize) -> Result<(), String> {
        let (id, home) = (self.people[index].id, self.people[index].home);
        if self.asked.contains_key(&id) {
            self.killed += 1;
        }
        self.unblock(id, Unblock::Gone)?;
        let name = match &self.people[index].role {
            Role::Works(worker) if self.rng.one_in(2) => Some(worker.name.clone()),
            _ => None,
        };
        let from_elsewhere = self.rng.one_in(2);
        let home = match from_elsewhere {
            true => self.rng.below(self.nodes.len()),
            false => home,
        };
        let (id, role) = (self.next_id, self.role(index, name));
        self.next_id += 1;
        self.people[index] = Person { id, home, role };
        Ok(())
    }

    /// The waiting of somebody is ended, if it may wait.
    fn unblock(&mut self, id: u64, how: Unblock) -> Result<(), String> {
        let Some(asked) = self.asked.get_mut(&id).filter(|asked| asked.may_wait) else {
            return Ok(());
        };
        if std::mem::replace(&mut asked.ended, true) {
            return Ok(());
        }
        let (client, owner, home) = (asked.client, asked.owner, asked.home);
        self.nodes[home].unblock(client, owner, how);
        self.hand_out(home)
    }
}

impl Readers {
    fn publish(&mut self, node: usize) {
        self.network.publish(node, &mut self.nodes[node]);
        self.recorder.collect(&mut self.nodes[node], self.now.0);
    }

    /// A random node pushes a box, or takes in what was pushed to it; false if nothing
    /// of that can be done.
    fn deliver(&mut self) -> Result<bool, String> {
        for (node, pushes) in self.network.steps(&mut self.rng, false) {
            let any = match pushes {
                true => self.network.push(node),
                false => self.catch_up(node)?,
            };
            if any {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A node that works in slices takes a step; false if none does.
    fn go_on(&mut self) -> Result<bool, String> {
        let first = self.rng.below(self.nodes.len());
        let count = self.nodes.len();
        let mut nodes = (0..count).map(|nth| (first + nth) % count);
        let Some(node) = nodes.find(|node| self.nodes[*node].has_slices()) else {
            return Ok(false);
        };
        self.recorder.stand(&mut self.nodes[node]);
        self.nodes[node].go_on(self.now);
        self.hand_out(node)?;
        Ok(true)
    }

    /// Time passes; some have waited long enough.
    fn pass_time(&mut self) -> Result<(), String> {
        self.now.0 += 1 + self.rng.below(60) as i64;
        for node in 0..self.nodes.len() {
            self.recorder.stand(&mut self.nodes[node]);
            self.nodes[node].time_out(self.now);
            self.hand_out(node)?;
        }
        Ok(())
    }

    /// A node takes in what was pushed to it and opens what it may; whether there was
    /// anything.
    fn catch_up(&mut self, node: usize) -> Result<bool, String> {
        let frontier = self.network.frontier();
        let mut any = false;
        for (from, batch) in self.network.take(node) {
            any = true;
            self.receive(from, node, batch);
        }
        self.recorder.stand(&mut self.nodes[node]);
        any |= self.nodes[node].catch_up(self.now, frontier);
        self.recorder.stand(&mut self.nodes[node]);
        self.hand_out(node)?;
        Ok(any)
    }

    fn receive(&mut self, source: ShardId, to: usize, batch: Box<Batch>) {
        let (from, target) = (source.index(), ShardId(to as u16));
        let tickets: Vec<Ticket> = batch.grants().collect();
        match self.broken {
            Broken::LostBox(many) if self.rng.one_in(many) => return,
            Broken::EarlyRelease => {
                for ticket in &tickets {
                    self.nodes[from].receive(target, Box::new(Batch::release(*ticket)));
                }
            }
            _ => {}
        }
        self.nodes[to].receive(source, batch);
        if self.broken == Broken::EarlyGrant {
            for ticket in tickets {
                self.nodes[to].receive(source, Box::new(Batch::granted(ticket)));
            }
        }
    }

    /// Lets everything that is on its way arrive, and what follows from it.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..SETTLED_AFTER {
            (0..self.nodes.len()).for_each(|node| self.publish(node));
            if !self.deliver()? && !self.go_on()? {
                // What is looked at from now on is no request, and is done in one go.
                for node in &mut self.nodes {
                    let settings = &mut node.shard_mut().settings;
                    settings.slices = Settings::default().slices;
                    settings.long_replies = Settings::default().long_replies;
                }
                return Ok(());
            }
            while self.deliver()? || self.go_on()? {}
        }
        let lines: Vec<&str> = self.asked.values().map(|it| it.line.as_str()).collect();
        Err(format!("never at rest: {}", lines.join("; ")))
    }
}

/// Every stream with every group.
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..STREAMS).flat_map(|stream| (0..GROUPS).map(move |group| (stream, group)))
}

/// Has a request wait in another way than it says.
fn break_waiting(broken: Broken, waiting: &mut Waiting) {
    waiting.claim = match (broken, waiting.claim) {
        (Broken::WakesFirst, Claim::Reads) => Claim::Shares(0),
        (_, claim) => claim,
    };
}
