//! What a write leaves behind: deterministic commands with absolute times.
//!
//! Effects are produced only while somebody records them (a replica, a log);
//! otherwise only the count of changes is kept. A request that changed
//! something is recorded verbatim unless its handler replaced it; a request
//! that changed nothing leaves nothing. Keys that expired while the request
//! looked at them are recorded as `DEL` before it.
//!
//! What belongs together (a transaction's part on this shard) stands between
//! `MULTI` and `EXEC` if it is more than one command.
//!
//! Every change of a key passes here, so this is also where those who watch keys
//! learn of it.
//!
//! The log is RESP: each command is an array of bulk strings, preceded by a
//! `SELECT` when its database differs from the one before.

use crate::types::{DbIndex, Type};
use crate::watch::Watches;

/// What happened to a key, in Redis's words for keyspace notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Set,
    SetRange,
    SetBit,
    GeoSearchStore,
    GeoRadiusStore,
    PfAdd,
    /// Only what a HyperLogLog keeps of its estimate; nobody is notified.
    PfCount,
    Append,
    IncrBy,
    IncrByFloat,
    Del,
    Expire,
    Persist,
    Expired,
    FlushDb,
    SwapDb,
    RenameFrom,
    RenameTo,
    CopyTo,
    MoveFrom,
    MoveTo,
    LPush,
    RPush,
    LPop,
    RPop,
    LSet,
    LTrim,
    LInsert,
    LRem,
    ZAdd,
    ZIncr,
    ZRem,
    ZRemByLex,
    ZRemByRank,
    ZRemByScore,
    ZPopMax,
    ZPopMin,
    ZRangeStore,
    ZDiffStore,
    ZInterStore,
    ZUnionStore,
    SAdd,
    SRem,
    SPop,
    SInterStore,
    SUnionStore,
    SDiffStore,
    SortStore,
    HSet,
    HDel,
    HIncrBy,
    HIncrByFloat,
    HExpire,
    HPersist,
}

/// The effects of the requests of one shard, in order.
#[derive(Debug)]
pub struct Effects {
    recording: bool,
    /// Changes since start; INFO's rdb_changes_since_last_save derives from it.
    changes: u64,
    /// The request at hand changed something.
    changed: bool,
    /// The request at hand was replaced by what is already in the log.
    replaced: bool,
    /// Database of the last command in the log.
    logged_db: Option<DbIndex>,
    db: DbIndex,
    log: Vec<u8>,
    /// Somebody waits for keys to appear.
    awaited: bool,
    /// Keys that have appeared since, with the type of their value.
    appeared: Vec<(Box<[u8]>, Type)>,
    /// Databases have changed places since: any key may have appeared.
    swapped: bool,
    /// What a block has left so far, while one runs.
    block: Option<Block>,
    pub(crate) watches: Watches,
}

/// A block of commands in the log: where it begins, and how many there are.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    start: usize,
    commands: usize,
}

impl Default for Effects {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Effects {
    /// No effects yet. `seed` keys the hash of watched keys.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            recording: false,
            changes: 0,
            changed: false,
            replaced: false,
            logged_db: None,
            db: DbIndex(0),
            log: Vec::new(),
            awaited: false,
            appeared: Vec::new(),
            swapped: false,
            block: None,
            watches: Watches::new(seed),
        }
    }

    /// Starts or stops recording. Stopping drops what was not taken.
    pub fn record(&mut self, on: bool) {
        self.recording = on;
        self.log = Vec::new();
        self.logged_db = None;
    }

    /// Whether somebody asked for effects.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// Number of changes since start.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes the log recorded so far.
    pub fn take(&mut self) -> Vec<u8> {
        self.logged_db = None;
        std::mem::take(&mut self.log)
    }

    /// A request on `db` begins.
    #[inline]
    pub(crate) fn begin(&mut self, db: DbIndex) {
        self.db = db;
        self.changed = false;
        self.replaced = false;
    }

    /// The request has succeeded; records it unless it changed nothing or was
    /// replaced.
    #[inline]
    pub(crate) fn finish<'a>(&mut self, request: impl ExactSizeIterator<Item = &'a [u8]>) {
        if self.recording && self.changed && !self.replaced {
            self.write(request);
        }
    }

    /// What follows happens in another database; returns the one before.
    pub(crate) fn select(&mut self, db: DbIndex) -> DbIndex {
        std::mem::replace(&mut self.db, db)
    }

    /// What is recorded from now on belongs together.
    pub(crate) fn open_block(&mut self) {
        if self.recording && self.block.is_none() {
            self.block = Some(Block::default());
        }
    }

    /// The end of what belongs together: more than one command is put between
    /// MULTI and EXEC.
    pub(crate) fn close_block(&mut self) {
        let Some(Block { start, commands }) = self.block.take() else {
            return;
        };
        if commands > 1 {
            let mut multi = Vec::new();
            append_command(&mut multi, [&b"MULTI"[..]].into_iter());
            self.log.splice(start..start, multi);
            append_command(&mut self.log, [&b"EXEC"[..]].into_iter());
        }
    }

    #[inline]
    pub(crate) fn changed(&mut self, key: &[u8], event: Event) {
        if event == Event::SwapDb {
            self.swapped = self.awaited;
        }
        self.changes += 1;
        self.changed = true;
        if !self.watches.is_empty() {
            self.watches.touch(self.db, key);
        }
    }

    /// Puts a command in place of the request, or nothing.
    pub(crate) fn replace(&mut self, parts: &[&[u8]]) {
        self.replaced = true;
        if self.recording && !parts.is_empty() {
            self.write(parts.iter().copied());
        }
    }

    /// `key` was found expired and is gone.
    pub(crate) fn expired(&mut self, key: &[u8]) {
        self.changes += 1;
        if !self.watches.is_empty() {
            self.watches.touch(self.db, key);
        }
        if self.recording {
            self.write([&b"DEL"[..], key].into_iter());
        }
    }

    /// A key has come to hold a value of this type, in whatever database.
    #[inline]
    pub(crate) fn appeared(&mut self, key: &[u8], of: Type) {
        if self.awaited {
            self.appeared.push((key.into(), of));
        }
    }

    /// Whether [`Effects::appeared`] is to remember anything.
    pub(crate) fn set_awaited(&mut self, awaited: bool) {
        self.awaited = awaited;
    }

    /// Whether a key has appeared that somebody may wait for.
    #[inline]
    pub(crate) fn has_appeared(&self) -> bool {
        self.swapped || !self.appeared.is_empty()
    }

    /// Whether databases have changed places. Forgets it.
    pub(crate) fn take_swapped(&mut self) -> bool {
        std::mem::take(&mut self.swapped)
    }

    /// The keys that have appeared, first come first.
    pub(crate) fn take_appeared(&mut self) -> Vec<(Box<[u8]>, Type)> {
        std::mem::take(&mut self.appeared)
    }

    /// The time of these fields of the hash `key` had come, and they are gone.
    pub(crate) fn expired_fields(&mut self, key: &[u8], fields: &[Vec<u8>]) {
        self.changes += 1;
        if self.recording {
            let mut parts = vec![&b"HDEL"[..], key];
            parts.extend(fields.iter().map(Vec::as_slice));
            self.write(parts.into_iter());
        }
    }

    fn write<'a>(&mut self, parts: impl ExactSizeIterator<Item = &'a [u8]>) {
        if let Some(block) = &mut self.block {
            if block.commands == 0 {
                block.start = self.log.len();
            }
            block.commands += 1;
        }
        if self.logged_db != Some(self.db) {
            self.logged_db = Some(self.db);
            let mut buffer = itoa::Buffer::new();
            let index = buffer.format(self.db.0).as_bytes();
            append_command(&mut self.log, [&b"SELECT"[..], index].into_iter());
        }
        append_command(&mut self.log, parts);
    }
}

/// Appends one command as a RESP array of bulk strings.
fn append_command<'a>(log: &mut Vec<u8>, parts: impl ExactSizeIterator<Item = &'a [u8]>) {
    let mut reply = crate::resp::Reply::new(log, crate::resp::Protocol::Resp2);
    reply.array(parts.len());
    for part in parts {
        reply.bulk(part);
    }
}
