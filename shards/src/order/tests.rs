//! Small scenes: what waits for what, box by box.

mod algebra;
mod bounds;
mod exchange;
mod keys;
mod long;
mod moves;
mod slices;
mod snapshot;
mod taking;
mod tracked;

use super::{Batch, Block, Call, Client, Manner, Node, Placement, Rest, Ticket};
use crate::command::exchange::EXCHANGE;
use crate::command::{
    Args, Arity, Begin, COMMANDS, Context, Group, KeySpec, OwnedArgs, ROW, Row, Run, Write, flags,
};
use crate::error::CommandError;
use crate::keyspace::{StringRef, Ttl, slot_of};
use crate::resp::Protocol;
use crate::shard::Shard;
use crate::tracking::{Letter, Tracks};
use crate::types::{Blocked, DbIndex, Random, Settings, ShardId, Type, UnixMs, Waiting};
use std::collections::{BTreeMap, VecDeque};

mod convoys;
mod instant;
mod readers;
mod waiting;

const NOW: UnixMs = UnixMs(1_700_000_000_000);
const SHARDS: u16 = 3;
/// What is noted for a client whose reply is too long.
const TOO_LONG: &str = "(too long)";

/// Three nodes and what is on its way between them.
struct Scene {
    nodes: Vec<Node>,
    channels: Vec<VecDeque<Box<Batch>>>,
    /// Client and reply, in the order in which the replies came.
    replies: Vec<(u64, String)>,
    db: DbIndex,
    /// By how much each node's clock is ahead, ms.
    ahead: [i64; SHARDS as usize],
    /// Requests may be answered in pieces.
    alone: bool,
    /// What clients have been sent of such replies.
    heard: BTreeMap<u64, Vec<u8>>,
    /// Pieces that have come: the core, the client, and whom to ask for more.
    flows: Vec<(u16, u64, Ticket)>,
    /// Clients who were told that the rest of their reply is lost.
    lost: Vec<u64>,
    /// How long the buffers were in which replies came.
    piece_lens: Vec<usize>,
    /// Bytes of arguments and replies that have gone from node to node.
    shipped: usize,
    /// What the clocks show.
    now: UnixMs,
    /// Requests so far: no two have one place.
    asked: u32,
    /// The last stamp.
    stamp: u64,
    /// Clients that wait for a reply, each as often as it does.
    waiting: Vec<u64>,
    /// For whom requests run.
    tracks: Tracks,
    /// Letters on their way, each with the core that it is for.
    letters: VecDeque<(ShardId, Letter)>,
}

fn row(name: &str) -> &'static Row {
    let mut rows = COMMANDS.iter().copied().flatten().chain([&JOIN, &EXCHANGE]);
    rows.find(|row| row.name.eq_ignore_ascii_case(name))
        .unwrap()
}

/// The row of a request, that of its subcommand if it has one.
fn row_of(args: Args<'_>) -> &'static Row {
    let row = row(std::str::from_utf8(&args[0]).unwrap());
    let mut subcommands = row.subcommands.iter();
    let is_named = |sub: &&Row| {
        let name = sub.name.rsplit('|').next().unwrap_or_default();
        args.get(1)
            .is_some_and(|arg| arg.eq_ignore_ascii_case(name.as_bytes()))
    };
    subcommands.find(is_named).unwrap_or(row)
}

/// A key of a shard: `a1` is one of shard 1.
fn key_of(name: &str, shard: u16) -> String {
    let keys = (0..).map(|number| format!("{name}{number}"));
    let owner = |key: &String| ShardId::of_slot(slot_of(key.as_bytes()), SHARDS);
    keys.into_iter()
        .find(|key| owner(key) == ShardId(shard))
        .unwrap()
}

/// `a@1` stands for a key of shard 1.
fn words(line: &str) -> OwnedArgs {
    let word = |word: &str| match word.split_once('@') {
        Some((name, shard)) => key_of(name, shard.parse().unwrap()).into_bytes(),
        None => word.as_bytes().to_vec(),
    };
    let words: Vec<Vec<u8>> = line.split(' ').map(word).collect();
    OwnedArgs::new(words.iter().map(Vec::as_slice))
}

impl Scene {
    /// With a request that has begun on shard 0 and is not over: it holds its locks.
    fn with_under_way(mut self, home: u16, line: &str) -> Self {
        self.ask(home, 1, line);
        self.deliver_all();
        assert!(self.go_on(0), "{line} has more to do");
        assert!(self.said().is_empty(), "{line}");
        self
    }

    fn new() -> Self {
        let node = |id| {
            let settings = Settings {
                keys_per_step: 1,
                ..Settings::default()
            };
            let shard = Shard::new(2, ShardId(id).slots(SHARDS), 7, settings);
            Node::new(ShardId(id), SHARDS, shard, 7)
        };
        Self {
            nodes: (0..SHARDS).map(node).collect(),
            channels: (0..SHARDS * SHARDS).map(|_| VecDeque::new()).collect(),
            replies: Vec::new(),
            db: DbIndex(0),
            ahead: [0; SHARDS as usize],
            alone: false,
            heard: BTreeMap::new(),
            flows: Vec::new(),
            lost: Vec::new(),
            piece_lens: Vec::new(),
            shipped: 0,
            now: NOW,
            asked: 0,
            stamp: 0,
            waiting: Vec::new(),
            tracks: Tracks::default(),
            letters: VecDeque::new(),
        }
    }

    /// A client of node `home` asks, as the server's dispatch does it.
    fn ask(&mut self, home: u16, client: u64, line: &str) {
        let args = words(line);
        let args = args.args();
        let row = row_of(args);
        let now = self.clock(home);
        let node = &mut self.nodes[usize::from(home)];
        let placement = match row.run {
            Run::OneShard(_) => {
                let mut keys = Vec::new();
                crate::command::keys_of(row, args, &mut keys).unwrap();
                Placement::One(node.owner(&args[*keys.first().unwrap_or(&1)]))
            }
            _ => node.place(row, args),
        };
        let call = Call {
            alone: self.alone,
            db: self.db,
            caller: self
                .tracks
                .caller(row.flags.has(flags::WRITE), row.flags.has(flags::READONLY)),
            ..Call::of(row)
        };
        self.asked += 1;
        let waiting = Client {
            key: 0,
            id: client,
            place: self.asked,
        };
        let is_waiting = self.waiting.contains(&client);
        self.waiting.push(client);
        match placement {
            Placement::One(owner) if owner != ShardId(home) || is_waiting => {
                node.send(owner, waiting, call, args);
            }
            Placement::One(_) if node.must_wait(&call, args) => node.park(now, waiting, call, args),
            Placement::One(_) => {
                let mut reply = Vec::new();
                match node.apply(now, &call, args, &mut reply) {
                    Err(CommandError::Long) => node.reply_at_length(now, waiting, call, args),
                    Err(CommandError::Blocked(why)) => node.wait(waiting, call, args, &why),
                    Err(CommandError::TooLong) => {
                        assert!(reply.is_empty());
                        self.waiting.pop();
                        self.replies.push((client, TOO_LONG.into()));
                    }
                    _ => {
                        self.waiting.pop();
                        self.replies.push((client, text(&reply)));
                    }
                }
            }
            Placement::Several(owners) => node.begin(now, waiting, call, row, args, owners),
        }
        self.nodes[usize::from(home)].serve(now);
        self.collect(home);
    }

    /// A client of node `home` has a block run whose keys all lie there.
    fn exec(&mut self, home: u16, client: u64, lines: &[String]) {
        let (waiting, manner, block) = self.block(client, lines);
        let mut reply = Vec::new();
        let who = (waiting, || waiting);
        let node = &mut self.nodes[usize::from(home)];
        let over = node.exec_here(self.now, who, (0, manner), block, &mut reply);
        assert!(over.is_some(), "none of its keys is locked");
        self.replies.push((client, text(&reply)));
        self.collect(home);
    }

    /// A client of node `home` has a block run whose keys lie on several shards.
    fn exec_over_shards(&mut self, home: u16, client: u64, lines: &[String]) {
        let (waiting, manner, block) = self.block(client, lines);
        self.nodes[usize::from(home)].exec(self.now, waiting, (0, manner), block);
        self.collect(home);
    }

    fn block(&mut self, client: u64, lines: &[String]) -> (Client, Manner, Box<Block>) {
        let mut block = Box::<Block>::default();
        for line in lines {
            let row = row(line.split(' ').next().unwrap());
            assert!(block.push(0, row, None, words(line).args()));
        }
        let manner = Manner {
            db: self.db,
            protocol: Protocol::Resp2,
            no_touch: false,
            tracks: self.tracks,
            silent: false,
        };
        self.asked += 1;
        let waiting = Client {
            key: 0,
            id: client,
            place: self.asked,
        };
        (waiting, manner, block)
    }

    /// What time a node believes it is.
    fn clock(&self, node: u16) -> UnixMs {
        UnixMs(self.now.0 + self.ahead[usize::from(node)])
    }

    fn collect(&mut self, home: u16) {
        let (replies, heard) = (&mut self.replies, &mut self.heard);
        let (waiting, piece_lens) = (&mut self.waiting, &mut self.piece_lens);
        let node = &mut self.nodes[usize::from(home)];
        node.replies(|replied| {
            if replied.client.is_only_counted() {
                return;
            }
            let client = replied.client.id;
            if replied.rest == Rest::Nothing
                && let Some(at) = waiting.iter().position(|id| *id == client)
            {
                waiting.remove(at);
            }
            if replied.ran.too_long {
                assert!(replied.whole().is_empty(), "nothing of it is kept");
                replies.push((client, TOO_LONG.into()));
                return;
            }
            let pieces = replied.pieces.iter().map(Vec::len);
            piece_lens.extend(pieces.chain([replied.reply.len()]));
            heard.entry(client).or_default().extend(replied.whole());
            match replied.rest {
                Rest::Nothing | Rest::InVain => {
                    let reply = heard.remove(&client).unwrap_or_default();
                    replies.push((client, text(&reply)));
                }
                Rest::Follows(ticket) => self.flows.push((home, client, ticket)),
                Rest::Lost => self.lost.push(client),
            }
        });
        for (to, letters) in node.take_letters() {
            self.letters
                .extend(letters.into_iter().map(|letter| (to, letter)));
        }
        let channels = &mut self.channels;
        self.stamp += u64::from(node.wants_stamp());
        node.outgoing(self.stamp, |target, batch| {
            channels[usize::from(home * SHARDS + target.0)].push_back(batch);
        });
    }

    /// The smallest stamp of what is on its way to a node.
    fn frontier(&self, node: u16) -> u64 {
        let channels = (0..SHARDS).map(|from| &self.channels[usize::from(from * SHARDS + node)]);
        let stamps = channels.flatten().map(|batch| batch.stamp);
        stamps.filter(|stamp| *stamp > 0).min().unwrap_or(u64::MAX)
    }

    /// A node opens what it has received and may open.
    fn catch_up(&mut self, node: u16) -> bool {
        let (now, frontier) = (self.clock(node), self.frontier(node));
        let any = self.nodes[usize::from(node)].catch_up(now, frontier);
        self.collect(node);
        any
    }

    /// One box from one node to another, if there is one.
    fn deliver(&mut self, from: u16, to: u16) -> bool {
        let Some(batch) = self.channels[usize::from(from * SHARDS + to)].pop_front() else {
            return false;
        };
        self.shipped += match batch.answered {
            true => batch.replies.len(),
            false => batch.bytes.len(),
        };
        self.nodes[usize::from(to)].receive(ShardId(from), batch);
        self.catch_up(to);
        true
    }

    /// What is on its way, and what follows from it.
    fn deliver_all(&mut self) {
        let any = |scene: &mut Self| {
            (0..SHARDS).any(|node| scene.catch_up(node))
                || (0..SHARDS * SHARDS).any(|at| scene.deliver(at / SHARDS, at % SHARDS))
        };
        while any(self) {}
    }

    /// Everything that is on its way arrives, in an order that chance decides.
    fn deliver_by_chance(&mut self, random: &mut Random) {
        let waits = |scene: &Self| {
            scene.channels.iter().any(|channel| !channel.is_empty())
                || scene.nodes.iter().any(Node::has_incoming)
        };
        while waits(self) {
            self.deliver_one_by_chance(random);
        }
    }

    /// A box of a channel that chance decides, if that has one.
    fn deliver_one_by_chance(&mut self, random: &mut Random) {
        let channel = (random.next() % u64::from(SHARDS * SHARDS)) as u16;
        if !self.deliver(channel / SHARDS, channel % SHARDS) {
            self.catch_up(channel % SHARDS);
        }
    }

    /// A node takes a step of what is not over.
    fn go_on(&mut self, node: u16) -> bool {
        let more = self.nodes[usize::from(node)].has_slices();
        let now = self.clock(node);
        self.nodes[usize::from(node)].go_on(now);
        self.collect(node);
        more
    }

    fn settle_but_for_long_replies(&mut self) {
        self.deliver_all();
        while (0..SHARDS).any(|node| self.go_on(node)) {
            self.deliver_all();
        }
    }

    /// Everything that is on its way or not over, and what follows from it.
    fn settle(&mut self) {
        self.settle_but_for_long_replies();
        for node in &self.nodes {
            assert!(node.is_at_rest() && node.is_unlocked() && !node.has_writes());
        }
    }

    fn said(&mut self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.replies)
    }
}

fn text(reply: &[u8]) -> String {
    String::from_utf8_lossy(reply)
        .replace("\r\n", " ")
        .trim_end()
        .into()
}

fn said(client: u64, reply: &str) -> (u64, String) {
    (client, reply.into())
}

/// A request with some of its keys in other places.
fn moved(line: &str, places: &[(&str, &str)]) -> String {
    let words = line.split(' ').map(|word| {
        let place = places.iter().find(|(here, _)| *here == word);
        place.map_or(word, |(_, there)| there)
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A transaction of a client of node 1 that holds its key on node 0; the lock
/// for node 2 is still on its way.
fn half_locked(line: &str) -> Scene {
    let mut scene = Scene::new();
    scene.ask(1, 1, line);
    assert!(scene.deliver(1, 0), "the one lock");
    assert!(scene.said().is_empty());
    scene
}

#[test]
fn a_request_on_a_locked_key_waits_and_others_pass() {
    let mut scene = half_locked("MSETNX a@0 new b@2 new");
    scene.ask(0, 2, "GET a@0");
    scene.ask(0, 3, "SET c@0 1");
    scene.ask(0, 4, "MGET c@0");
    assert_eq!(scene.said(), [said(3, "+OK"), said(4, "*1 $1 1")]);
    scene.settle();
    assert!(scene.said().contains(&said(2, "$3 new")));
}

/// It stands in the order where it was sent: who sees what came after it finds it, or
/// waits for it.
#[test]
fn a_request_that_waits_for_a_lock_does_not_hold_up_those_behind_it() {
    let mut scene = half_locked("MSETNX a@0 new b@2 new");
    scene.ask(0, 2, "APPEND a@0 first");
    scene.ask(0, 2, "SET c@0 second");
    scene.ask(2, 3, "APPEND a@0 1");
    scene.ask(2, 3, "SET d@1 2");
    let pairs = [(2, 0), (0, 1), (2, 1)];
    while scene.catch_up(0) || pairs.iter().any(|(from, to)| scene.deliver(*from, *to)) {}
    scene.ask(0, 4, "GET c@0");
    scene.ask(0, 4, "GET a@0");
    scene.ask(1, 5, "GET d@1");
    scene.ask(1, 5, "GET a@0");
    let seen = [said(2, "+OK"), said(4, "$6 second"), said(5, "$1 2")];
    assert_eq!(scene.said(), seen);
    scene.settle();
    let replies = scene.said();
    assert!(replies.contains(&said(4, "$9 newfirst1")), "{replies:?}");
    assert!(replies.contains(&said(5, "$9 newfirst1")), "{replies:?}");
}

#[test]
fn a_key_is_locked_in_every_database() {
    let mut scene = half_locked("MSETNX a@0 new b@2 new");
    scene.db = DbIndex(1);
    scene.ask(0, 2, "GET a@0");
    assert!(scene.said().is_empty());
    scene.settle();
    assert!(scene.said().contains(&said(2, "$-1")));
}

#[test]
fn transactions_that_cross_do_not_deadlock() {
    let mut scene = Scene::new();
    scene.ask(1, 1, "MSET a@0 1 b@1 1 c@2 1");
    scene.ask(2, 2, "MSET c@2 2 b@1 2 a@0 2");
    scene.ask(0, 3, "MGET b@1 a@0 c@2");
    scene.settle();
    let replies = scene.said();
    assert_eq!(replies.len(), 3);
    scene.ask(1, 1, "MGET a@0 b@1 c@2");
    scene.settle();
    let same = ["*3 $1 1 $1 1 $1 1", "*3 $1 2 $1 2 $1 2"];
    assert!(same.contains(&scene.said()[0].1.as_str()));
}

#[test]
fn a_count_of_all_keys_lets_reads_pass_and_holds_up_writes() {
    let mut scene = half_locked("DBSIZE");
    scene.ask(0, 2, "GET a@0");
    scene.ask(0, 3, "SET a@0 1");
    scene.ask(0, 4, "GET b@0");
    scene.ask(0, 5, "GET a@0");
    // What the writer's client sends next may run elsewhere, so it is not overtaken.
    assert_eq!(scene.said(), [said(2, "$-1"), said(4, "$-1")]);
    scene.settle();
    let replies = scene.said();
    assert!(replies.contains(&said(1, ":0")));
    assert!(replies.contains(&said(5, "$1 1")));
}

#[test]
fn a_flush_waits_for_what_came_before_and_holds_up_all_that_follows() {
    let mut scene = half_locked("MSETNX a@0 1 b@2 1");
    scene.ask(0, 2, "FLUSHALL");
    assert!(scene.catch_up(0));
    scene.ask(0, 3, "GET c@0");
    scene.ask(0, 4, "SET a@0 after");
    assert!(scene.said().is_empty());
    scene.settle();
    scene.ask(0, 5, "MGET a@0 b@2");
    scene.settle();
    assert_eq!(scene.said().last(), Some(&said(5, "*2 $5 after $-1")));
}

#[test]
fn two_hops_run_under_the_same_locks_and_release_them() {
    for (there, reply, then) in [(false, ":1", "*2 $1 1 $1 2"), (true, ":0", "*2 $-1 $1 x")] {
        let mut scene = Scene::new();
        if there {
            scene.ask(2, 9, "SET b@2 x");
        }
        scene.ask(1, 1, "MSETNX a@0 1 b@2 2");
        assert!(scene.deliver(1, 0) && scene.deliver(1, 2));
        assert!(scene.deliver(0, 1) && scene.deliver(2, 1));
        // What is read now is what is decided on: nobody else writes.
        scene.ask(2, 2, "SET b@2 y");
        assert!(scene.deliver(1, 0) && scene.deliver(1, 2));
        scene.said();
        scene.ask(0, 3, "MGET a@0 b@2");
        scene.settle();
        let replies = scene.said();
        assert!(replies.contains(&said(1, reply)), "{replies:?}");
        assert!(!replies.contains(&said(3, then)), "the SET came in between");
        assert!(
            replies
                .iter()
                .any(|(client, reply)| *client == 3 && reply.ends_with("$1 y"))
        );
    }
}

#[test]
fn a_request_that_lacks_an_argument_changes_nothing_anywhere() {
    let mut scene = Scene::new();
    scene.ask(1, 1, "MSET a@0 1 b@2 1 c@1");
    scene.settle();
    assert!(scene.said()[0].1.starts_with("-ERR wrong number"));
    scene.ask(1, 1, "EXISTS a@0 b@2 c@1");
    scene.settle();
    assert_eq!(scene.said(), [said(1, ":0")]);
}

#[test]
fn a_stray_grant_ends_nothing_early() {
    let mut scene = Scene::new();
    scene.ask(1, 1, "MSETNX a@0 1 b@2 1");
    assert!(scene.deliver(1, 0) && scene.deliver(1, 2));
    let granted = scene.channels[usize::from(2 * SHARDS + 1)].front();
    let ticket = granted.and_then(|batch| batch.grants().next()).unwrap();
    assert!(scene.deliver(0, 1) && scene.deliver(2, 1));
    scene.nodes[1].receive(ShardId(2), Box::new(Batch::granted(ticket)));
    scene.catch_up(1);
    assert!(scene.said().is_empty(), "both shards have yet to write");
    scene.settle();
    assert_eq!(scene.said(), [said(1, ":1")]);
}

/// Joins what its keys after the first hold, and stores it at the first.
static JOIN: Row = Row {
    name: "join",
    syntax: "destination key [key ...]",
    summary: "",
    since: "",
    complexity: "",
    group: Group::String,
    arity: Arity::AtLeast(2),
    keys: &[
        KeySpec::range(0, 1, &["OW", "update"]),
        KeySpec {
            begin: Begin::Index(2),
            ..KeySpec::every(1, &["RO", "access"])
        },
    ],
    flags: flags::WRITE,
    run: Run::ReadThenWrite {
        whole: |_, _| Ok(()),
        read: |ctx, args| {
            ctx.reply.array(args.len() - 1);
            for key in args.from(1).iter() {
                match ctx.db.read_string(key)? {
                    Some(StringRef::Bytes(text)) => ctx.reply.bulk(text),
                    _ => ctx.reply.bulk(b""),
                }
            }
            Ok(())
        },
        decide: |decision| {
            let text = |bulk: &&[u8]| {
                let line = bulk.iter().position(|byte| *byte == b'\n').unwrap() + 1;
                bulk[line..bulk.len() - 2].to_vec()
            };
            let joined: Vec<Vec<u8>> = decision.read.iter().map(text).collect();
            let joined = joined.join(&b"+"[..]);
            let write = |ctx: &mut Context<'_>, args: Args<'_>| {
                ctx.db.set(&args[1], &args[2], Ttl::Clear)?;
                ctx.reply.ok();
                Ok(())
            };
            if joined.len() > 1 {
                let args = [b"SET", &decision.args[1], &joined];
                decision.writes.push(Write {
                    handler: write,
                    args: OwnedArgs::new(args),
                });
            }
            decision.reply.bulk(&joined);
            Ok(())
        },
        skip: 1,
    },
    ..ROW
};

#[test]
fn a_destination_is_locked_but_not_read() {
    let mut scene = Scene::new();
    scene.ask(0, 9, "MSET a@1 A b@2 B d@0 D");
    scene.settle();
    scene.said();
    // The destination's shard alone, with a source, and twice in the request.
    for (line, reply, stored, get) in [
        ("JOIN d@0 a@1 b@2", "$3 A+B", "$3 A+B", "GET d@0"),
        ("JOIN b@2 a@1 b@2", "$3 A+B", "$3 A+B", "GET b@2"),
        ("JOIN a@1 a@1 d@0", "$5 A+A+B", "$5 A+A+B", "GET a@1"),
        ("JOIN d@0 n@1 n@1", "$1 +", "$3 A+B", "GET d@0"),
    ] {
        scene.ask(1, 1, line);
        scene.settle();
        assert_eq!(scene.said(), [said(1, reply)], "{line}");
        let home = get.split('@').nth(1).unwrap().parse().unwrap();
        scene.ask(home, 2, get);
        assert_eq!(scene.said(), [said(2, stored)], "{line}");
    }
}

#[test]
fn what_waits_for_a_destination_comes_after_it_is_written() {
    let mut scene = half_locked("JOIN d@0 a@1 b@2");
    scene.ask(0, 2, "SET d@0 later");
    scene.ask(0, 3, "GET d@0");
    assert!(scene.said().is_empty());
    scene.settle();
    let replies = scene.said();
    assert!(replies.contains(&said(3, "$5 later")), "{replies:?}");
}

#[test]
fn the_keys_of_all_shards_are_one_array() {
    let mut scene = Scene::new();
    for shard in [2, 0, 1] {
        scene.ask(shard, 9, &format!("SET k@{shard} v"));
    }
    scene.said();
    let keys: Vec<String> = (0..3).map(|shard| key_of("k", shard)).collect();
    let lengths = keys.iter().map(|key| format!("${} {key}", key.len()));
    let all = lengths.collect::<Vec<_>>().join(" ");
    scene.ask(1, 1, "KEYS *");
    scene.ask(1, 2, "KEYS nosuch");
    scene.settle();
    assert_eq!(scene.said(), [said(1, &format!("*3 {all}")), said(2, "*0")]);
}

#[test]
fn a_random_key_is_of_any_shard() {
    let mut scene = Scene::new();
    scene.ask(1, 1, "RANDOMKEY");
    scene.settle();
    assert_eq!(scene.said(), [said(1, "$-1")]);
    scene.ask(1, 9, "MSET k@0 1 a@2 1 b@2 1 c@2 1");
    scene.settle();
    scene.said();
    let mut of_first = 0;
    for _ in 0..1000 {
        scene.ask(1, 1, "RANDOMKEY");
        scene.settle();
        of_first += usize::from(scene.said()[0].1.ends_with(&key_of("k", 0)));
    }
    assert!((180..320).contains(&of_first), "{of_first} of 250");
}

#[test]
fn a_walk_goes_on_from_shard_to_shard_until_it_has_met_enough() {
    let mut scene = Scene::new();
    scene.ask(1, 9, "MSET a@0 1 b@1 1 c@2 1");
    scene.settle();
    scene.said();
    scene.ask(2, 1, "SCAN 0");
    scene.settle();
    let reply = scene.said().remove(0).1;
    assert!(reply.starts_with("*2 $1 0 *3 "), "{reply}");
    let (mut cursor, mut met) = ("0".to_owned(), Vec::new());
    loop {
        scene.ask(1, 1, &format!("SCAN {cursor} COUNT 1"));
        scene.settle();
        let reply = scene.said().remove(0).1;
        let words: Vec<&str> = reply.split(' ').collect();
        met.extend(words.get(5).map(ToString::to_string));
        cursor = words[2].to_owned();
        if cursor == "0" {
            break;
        }
    }
    met.sort();
    assert_eq!(
        met,
        ["a", "b", "c"].map(|name| key_of(name, "abc".find(name).unwrap() as u16))
    );
    scene.ask(1, 1, "SCAN nothing");
    assert_eq!(scene.said(), [said(1, "-ERR invalid cursor")]);
}

#[test]
fn a_walk_waits_for_what_is_locked() {
    let mut scene = half_locked("MSETNX a@0 new b@2 new");
    scene.ask(0, 2, "SCAN 0");
    scene.ask(0, 3, "SCAN 0 MATCH nosuch");
    assert!(
        scene.said().is_empty(),
        "it might see one half and miss the other"
    );
    // It only reads, so other reads pass.
    scene.ask(0, 4, "GET c@0");
    assert_eq!(scene.said(), [said(4, "$-1")]);
    scene.settle();
    let replies = scene.said();
    let found = replies.iter().find(|(client, _)| *client == 2).unwrap();
    assert!(found.1.starts_with("*2 $1 0 *2 "), "{found:?}");
    assert!(replies.contains(&said(3, "*2 $1 0 *0")));
}

#[test]
fn databases_are_exchanged_on_all_shards() {
    let mut scene = Scene::new();
    scene.ask(1, 1, "MSET a@0 1 b@1 1 c@2 1");
    scene.ask(1, 1, "SWAPDB 0 1");
    scene.ask(2, 2, "SWAPDB 0 x");
    scene.settle();
    assert!(
        scene
            .said()
            .contains(&said(2, "-ERR invalid second DB index"))
    );
    scene.ask(1, 1, "EXISTS a@0 b@1 c@2");
    scene.db = DbIndex(1);
    scene.ask(1, 2, "EXISTS a@0 b@1 c@2");
    scene.settle();
    let replies = scene.said();
    assert!(replies.contains(&said(1, ":0")) && replies.contains(&said(2, ":3")));
}

/// There is always somebody who has the key locked, and somebody who wants it.
#[test]
fn who_waits_for_a_key_is_not_starved_by_transactions() {
    let mut scene = Scene::new();
    for element in 0..60 {
        scene.ask(2, 9, &format!("RPUSH b@2 {element}"));
    }
    scene.said();
    let args = words("BLPOP a@0 0");
    let call = Call {
        alone: true,
        ..Call::of(row("blpop"))
    };
    let client = Client {
        key: 0,
        id: 8,
        place: 0,
    };
    let blocked = Blocked {
        waiting: Waiting::to_take(Type::List, None),
        instead: Vec::new(),
    };
    scene.nodes[0].wait(client, call, args.args(), &blocked);
    let (mut begun, mut done) = (0, 0);
    while done < 50 {
        while begun < done + 4 {
            scene.ask(begun % 3, u64::from(begun % 3), "LMOVE b@2 a@0 LEFT RIGHT");
            begun += 1;
        }
        for channel in 0..SHARDS * SHARDS {
            scene.deliver(channel / SHARDS, channel % SHARDS);
        }
        let said = scene.said();
        done += u16::try_from(said.iter().filter(|(client, _)| *client < 8).count()).unwrap();
        if said.iter().any(|(client, _)| *client == 8) {
            assert!(done < 12, "{done} transactions came first");
            scene.settle();
            return;
        }
    }
    panic!("it waits although there are 50 elements");
}
