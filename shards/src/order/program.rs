//! What MULTI has collected: a block of commands, and a block on several shards
//! as its home core drives it.

use super::call::Call;
use super::reply::Ran;
use super::ticket::{Client, Ticket};
use crate::command::{Args, Handler, OwnedArgs, Row, flags};
use crate::keyspace::Located;
use crate::resp::Protocol;
use crate::tracking::{Tracker, Tracks};
use crate::types::{DbIndex, ShardId, Span, UnixMs};
use hashbrown::HashSet;
use std::ops::Range;

/// How a client wants its commands run, as far as commands can change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    pub db: DbIndex,
    pub protocol: Protocol,
    pub no_touch: bool,
    pub tracks: Tracks,
    /// It wants no replies.
    pub silent: bool,
}

impl Manner {
    /// A request whose keys, if it has any, are nobody's concern on its way.
    pub(super) fn keyless(self, handler: Handler, row: u16) -> Call {
        Call {
            handler,
            row,
            db: self.db,
            protocol: self.protocol,
            no_touch: true,
            caller: None,
            alone: false,
            write: false,
            keys: &[],
            located: None,
        }
    }
}

/// Who watches, and what: the keys' shards and hashes.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The client; see [`Watches`](crate::watch::Watches).
    pub(super) watcher: u64,
    pub(super) keys: HashSet<WatchedKey, ahash::RandomState>,
}

impl Default for Watched {
    fn default() -> Self {
        // Keys are hashes already; the seeds need not be secret.
        let state = ahash::RandomState::with_seeds(1, 2, 3, 4);
        Self {
            watcher: 0,
            keys: HashSet::with_hasher(state),
        }
    }
}

/// A watched key of a database, as it is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct WatchedKey {
    pub shard: ShardId,
    pub db: DbIndex,
    pub hash: u64,
}

impl Watched {
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The shards that know of it, each once.
    pub(super) fn shards(&self) -> Vec<ShardId> {
        let mut shards: Vec<ShardId> = self.keys.iter().map(|key| key.shard).collect();
        shards.sort_unstable();
        shards.dedup();
        shards
    }
}

/// What runs a command of a block.
#[derive(Clone, Copy)]
pub(super) enum Runs {
    Engine {
        row: &'static Row,
        located: Option<Located>,
    },
    /// The server. `apart`: everything before it must be over.
    Server { apart: bool },
}

struct Command {
    /// Number of its row in the server's table.
    row: u16,
    runs: Runs,
    write: bool,
    /// Where its arguments end; they begin where those of the one before end.
    spans_end: usize,
}

/// Longest block, all arguments together: a span names less than 4 GiB.
const BYTES_MAX: usize = 3 << 30;

/// The commands of a MULTI, in order, with their arguments.
#[derive(Default)]
pub struct Block {
    commands: Vec<Command>,
    spans: Vec<Span>,
    bytes: Vec<u8>,
    /// A command of it may work in slices.
    heavy: bool,
    /// What EXEC depends on.
    pub watched: Option<Box<Watched>>,
}

/// A command of a block with its arguments.
#[derive(Clone, Copy)]
pub(super) struct Queued<'a> {
    pub row: u16,
    pub runs: Runs,
    pub write: bool,
    pub args: Args<'a>,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.rows()).finish()
    }
}

impl Block {
    /// Number of commands.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Whether it may go on in slices.
    pub(super) fn is_heavy(&self) -> bool {
        self.heavy
    }

    /// Memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
            + self.spans.len() * size_of::<Span>()
            + self.commands.len() * size_of::<Command>()
    }

    /// Adds a command of the engine; `number` is its row's in the server's
    /// table. False if there is no room for it.
    pub fn push(
        &mut self,
        number: u16,
        row: &'static Row,
        located: Option<Located>,
        args: Args<'_>,
    ) -> bool {
        let write = row.flags.has(flags::WRITE);
        self.heavy |= row.is_heavy(args.len());
        self.add(number, Runs::Engine { row, located }, write, args)
    }

    /// Adds a command that the server runs. With `apart` it waits until
    /// everything before it is over; else it may run earlier.
    pub fn push_server(&mut self, number: u16, apart: bool, args: Args<'_>) -> bool {
        self.add(number, Runs::Server { apart }, false, args)
    }

    fn add(&mut self, row: u16, runs: Runs, write: bool, args: Args<'_>) -> bool {
        let bytes: usize = args.iter().map(<[u8]>::len).sum();
        if self.bytes.len() + bytes > BYTES_MAX
            || self.bytes.try_reserve(bytes).is_err()
            || self.spans.try_reserve(args.len()).is_err()
            || self.commands.try_reserve(1).is_err()
        {
            return false;
        }
        for arg in args.iter() {
            let short = |len: usize| u32::try_from(len).expect("a block is below 4 GiB");
            let (start, len) = (short(self.bytes.len()), short(arg.len()));
            self.bytes.extend_from_slice(arg);
            self.spans.push(Span { start, len });
        }
        self.commands.push(Command {
            row,
            runs,
            write,
            spans_end: self.spans.len(),
        });
        true
    }

    pub(super) fn get(&self, index: usize) -> Option<Queued<'_>> {
        let command = self.commands.get(index)?;
        let start = index
            .checked_sub(1)
            .map_or(0, |before| self.commands[before].spans_end);
        Some(Queued {
            row: command.row,
            runs: command.runs,
            write: command.write,
            args: Args::new(&self.bytes, &self.spans[start..command.spans_end]),
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Queued<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Whether the server runs a command of it.
    pub fn has_server_commands(&self) -> bool {
        let server = |command: &Command| matches!(command.runs, Runs::Server { .. });
        self.commands.iter().any(server)
    }

    /// Whether a command of it may change keys.
    pub(super) fn writes(&self) -> bool {
        self.commands.iter().any(|command| command.write)
    }

    /// Its commands: their rows, their arguments, and whether the server runs them.
    pub fn commands(&self) -> impl Iterator<Item = (u16, Args<'_>, bool)> {
        self.iter().map(|queued| {
            let serves = matches!(queued.runs, Runs::Server { .. });
            (queued.row, queued.args, serves)
        })
    }

    /// The numbers of its commands' rows.
    pub fn rows(&self) -> impl Iterator<Item = u16> {
        self.commands.iter().map(|command| command.row)
    }

    /// Empties it for the next use; what a large one left is given back.
    pub fn clear(&mut self) {
        const KEEP: usize = 16;
        self.commands.clear();
        self.spans.clear();
        self.bytes.clear();
        self.commands.shrink_to(KEEP);
        self.spans.shrink_to(KEEP * 4);
        self.bytes.shrink_to(KEEP * 64);
        self.heavy = false;
        self.watched = None;
    }
}

impl Queued<'_> {
    /// As a request on one shard.
    pub fn call(&self, manner: Manner) -> Option<Call> {
        let Runs::Engine { row, located } = self.runs else {
            return None;
        };
        Some(Call {
            handler: row.run.whole(),
            row: self.row,
            db: manner.db,
            protocol: manner.protocol,
            no_touch: manner.no_touch,
            caller: self.caller(manner),
            alone: false,
            write: self.write,
            keys: row.keys,
            located,
        })
    }

    /// For whom it runs, if that matters.
    pub fn caller(&self, manner: Manner) -> Option<Tracker> {
        let Runs::Engine { row, .. } = self.runs else {
            return None;
        };
        let reads = row.flags.has(flags::READONLY);
        manner.tracks.caller(self.write, reads)
    }
}

/// A block and how it is run: what travels to its shard.
pub(super) struct Task {
    pub block: Box<Block>,
    pub manner: Manner,
    /// Number of EXEC's row.
    pub row: u16,
    /// What its commands did, on the way back.
    pub done: Vec<Done>,
}

/// A command of a block that has run, for those who count.
pub(super) struct Done {
    pub row: u16,
    pub ran: Ran,
    /// The command, if it was slow.
    pub slow: Option<Box<OwnedArgs>>,
    /// The line that says why it failed.
    pub error: Vec<u8>,
}

impl Task {
    pub fn new(block: Box<Block>, manner: Manner, row: u16) -> Self {
        Self {
            block,
            manner,
            row,
            done: Vec::new(),
        }
    }
}

/// What a program is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// `missing` counts grants.
    Locking,
    /// `missing` counts shards that have yet to say whether what is watched has
    /// changed.
    Checking,
    /// `missing` counts replies.
    Running,
}

/// Why no further command is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    No,
    /// This command must first say what it writes, or where it goes on.
    For(usize),
    /// Everything begun must be over.
    UntilQuiet,
    /// The server runs the command before `next`.
    Server,
}

impl Program {
    /// Command `index`, later than those before, is begun for somebody who wants no reply.
    pub fn leave_out(&mut self, index: usize) {
        match self.unheard.last_mut() {
            Some(range) if range.end == index => range.end = index + 1,
            _ => self.unheard.push(index..index + 1),
        }
    }

    /// Whether the reply to a command is left out.
    pub fn is_unheard(&self, index: usize) -> bool {
        let after = self.unheard.partition_point(|range| range.start <= index);
        let last = after.checked_sub(1).map(|at| &self.unheard[at]);
        last.is_some_and(|range| range.contains(&index))
    }

    /// Keeps the reply to a command, which goes on with `pieces`.
    pub fn keep_reply(
        &mut self,
        index: usize,
        reply: Vec<u8>,
        pieces: Vec<Vec<u8>>,
        bytes_max: usize,
    ) {
        if self.is_unheard(index) {
            return;
        }
        let bytes = pieces.iter().map(Vec::len).sum::<usize>() + reply.len();
        self.bytes = self.bytes.saturating_add(bytes);
        self.too_long |= self.bytes > bytes_max;
        if self.too_long {
            self.replies = Vec::new();
            self.pieces = Vec::new();
            return;
        }
        if let Some(place) = self.replies.get_mut(index) {
            *place = reply;
        }
        if !pieces.is_empty() {
            self.pieces.push((index, pieces));
        }
    }
}

/// A block that is run under locks, command by command.
pub(super) struct Program {
    pub client: Client,
    pub ticket: Ticket,
    /// Number of EXEC's row.
    pub row: u16,
    /// Away while the program is driven.
    pub block: Option<Box<Block>>,
    /// Before its first command, for the reply as a whole.
    pub protocol: Protocol,
    pub manner: Manner,
    /// Shards with locks.
    pub participants: Vec<ShardId>,
    pub phase: Phase,
    pub missing: usize,
    /// The instant at which all of it is judged, once all have granted.
    pub at: UnixMs,
    /// Something watched has changed.
    pub changed: bool,
    /// The command to begin next.
    pub next: usize,
    pub pause: Pause,
    /// All commands are begun and all locks released.
    pub over: bool,
    /// Replies from this one on are left out.
    pub cut: usize,
    /// Of others, those that are left out, in order.
    pub unheard: Vec<Range<usize>>,
    /// So is what stands for the block as a whole.
    pub headless: bool,
    pub replies: Vec<Vec<u8>>,
    /// Bytes of all of them.
    pub bytes: usize,
    /// They are longer than they may be together: none is kept.
    pub too_long: bool,
    /// What follows the reply to a command, if that is long.
    pub pieces: Vec<(usize, Vec<Vec<u8>>)>,
}
