//! Whoever follows what the shards record: the merged stream of all their logs, and a
//! shard that plays it.

use crate::replay::{Commands, number};
use shards::command::OwnedArgs;
use shards::order::{Call, LogMerge, Node};
use shards::{DbIndex, Record, Row, Settings, Shard, ShardId, Stamp, UnixMs, row};

/// The rule of merging that is broken, to see whether the checks notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Careless {
    No,
    /// What has come is emitted, whatever may still come from other shards.
    EarlyMerge,
    /// Each log is emitted as it is taken, whatever the stamps say.
    NoStamps,
    /// What goes on in slices is not waited for: what comes behind it is emitted as if it
    /// had left its effects with its first slice.
    Unfinished,
}

/// Merges the logs of nodes, as the server does at the end of each turn.
pub struct Recorder {
    careless: Careless,
    merge: LogMerge,
    /// A clock that all nodes share.
    clock: u64,
    /// What was emitted, and when.
    pub stream: Vec<(i64, Vec<u8>)>,
}

impl Recorder {
    pub fn new(nodes: &mut [Node], careless: Careless) -> Self {
        for node in nodes.iter_mut() {
            node.shard_mut().effects().record(true);
        }
        Self {
            careless,
            merge: LogMerge::new(nodes.len() as u16),
            clock: 0,
            stream: Vec::new(),
        }
    }

    /// A node looks at the clock.
    pub fn stand(&mut self, node: &mut Node) {
        self.clock += 1;
        node.stand(self.clock);
    }

    /// The end of a turn of a node.
    pub fn collect(&mut self, node: &mut Node, now_ms: i64) {
        node.give_records(&mut self.merge);
        match self.careless {
            Careless::No => {}
            Careless::EarlyMerge => self.complete(node.id()),
            Careless::Unfinished if node.has_slices() => self.complete(node.id()),
            Careless::Unfinished => {}
            Careless::NoStamps => (0..node.shards()).for_each(|id| self.complete(ShardId(id))),
        }
        self.emit(now_ms);
        if self.careless == Careless::NoStamps {
            self.merge = LogMerge::new(node.shards());
        }
        self.stand(node);
    }

    fn complete(&mut self, shard: ShardId) {
        let nothing = std::iter::empty::<Record>();
        self.merge.take(shard, nothing, Stamp::LAST);
    }

    /// All nodes are at rest.
    pub fn finish(&mut self, nodes: &mut [Node], now_ms: i64) {
        for node in nodes.iter_mut() {
            self.collect(node, now_ms);
        }
        nodes.iter().for_each(|node| self.complete(node.id()));
        self.emit(now_ms);
        assert!(self.merge.is_empty());
    }

    fn emit(&mut self, now_ms: i64) {
        let mut out = Vec::new();
        self.merge.emit(&mut out, &mut Vec::new());
        if !out.is_empty() {
            self.stream.push((now_ms, out));
        }
    }
}

/// A shard for all slots that does what a stream says, at an instant at which nothing is
/// due: what expires is in the stream.
pub struct Follower {
    shard: Shard,
    db: DbIndex,
}

const BEFORE_EVERYTHING: UnixMs = UnixMs(i64::MIN);

impl Follower {
    pub fn new(dbs: u16) -> Self {
        Self {
            shard: Shard::new(dbs, 0..16_384, 1, Settings::default()),
            db: DbIndex(0),
        }
    }

    pub fn play(&mut self, stream: &[u8]) -> Result<(), String> {
        Commands(stream).try_for_each(|command| self.play_command(&command))
    }

    /// As [`Follower::play`]; `look` may look at it between blocks, and say that it has seen
    /// enough.
    pub fn play_blocks(
        &mut self,
        stream: &[u8],
        look: &mut dyn FnMut(&mut Self) -> bool,
    ) -> Result<(), String> {
        let mut within = false;
        for command in Commands(stream) {
            self.play_command(&command)?;
            within = match command[0] {
                b"MULTI" => true,
                b"EXEC" => false,
                _ => within,
            };
            if !within && command[0] != b"SELECT" && look(self) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn play_command(&mut self, command: &[&[u8]]) -> Result<(), String> {
        match command[0] {
            b"MULTI" | b"EXEC" => {}
            b"SELECT" => self.db = DbIndex(number(command[1])? as u16),
            name => {
                // The number of the request may follow.
                let name = name.split(|byte| *byte == b' ').next().unwrap_or_default();
                let reply = ask(&mut self.shard, self.db, name, command);
                if reply.starts_with(b"-") {
                    let command = command.join(&b' ');
                    let (command, reply) = (command.escape_ascii(), reply.escape_ascii());
                    return Err(format!("a follower fails: {command}: {reply}"));
                }
            }
        }
        Ok(())
    }

    pub fn shard(&mut self) -> &mut Shard {
        &mut self.shard
    }

    /// Whether it holds what the nodes hold, all of which is under these keys. `read` is
    /// how a key is read, `KEY` in the place of the key.
    pub fn same(
        &mut self,
        nodes: &mut [Node],
        keys: &[(DbIndex, Vec<u8>)],
        read: &str,
    ) -> Result<(), String> {
        for (db, key) in keys {
            let words = read.split(' ').map(|word| match word {
                "KEY" => &key[..],
                word => word.as_bytes(),
            });
            let words: Vec<&[u8]> = words.collect();
            let owner = nodes[0].owner(key).index();
            let here = ask(nodes[owner].shard_mut(), *db, words[0], &words);
            let there = ask(&mut self.shard, *db, words[0], &words);
            if here != there {
                let (key, db) = (key.escape_ascii(), db.0);
                let (here, there) = (here.escape_ascii(), there.escape_ascii());
                return Err(format!(
                    "{key} of {db} is {here} here and {there} with a follower"
                ));
            }
        }
        Ok(())
    }
}

/// The row of a request, of a container's its subcommand's.
pub fn row_of<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Option<&'static Row> {
    let row = row(words.next()?)?;
    let name = |word: &[u8]| [row.name.as_bytes(), b"|", word].concat();
    match row.subcommands {
        [] => Some(row),
        rows => {
            let name = name(words.next()?);
            rows.iter()
                .find(|row| row.name.as_bytes().eq_ignore_ascii_case(&name))
        }
    }
}

fn ask(shard: &mut Shard, db: DbIndex, name: &[u8], words: &[&[u8]]) -> Vec<u8> {
    let named = [name].into_iter().chain(words.iter().skip(1).copied());
    let call = Call {
        db,
        no_touch: true,
        ..Call::of(row_of(named).unwrap())
    };
    let args = OwnedArgs::new(words.iter().copied());
    let mut reply = Vec::new();
    let _ = shard.apply(BEFORE_EVERYTHING, &call.request(args.args()), &mut reply);
    reply
}
