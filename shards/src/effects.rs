//! What a write leaves behind: deterministic commands with absolute times.
//!
//! Effects are produced only while somebody records them (a replica, a log);
//! otherwise only the count of changes is kept. A request that changed
//! something is recorded verbatim unless its handler replaced it; a request
//! that changed nothing leaves nothing. Keys that expired while the request
//! looked at them are recorded as `DEL` before it.
//!
//! What belongs together (what one request leaves, a transaction's part on this
//! shard) stands between `MULTI` and `EXEC` if it is more than one command. A block that runs in one
//! piece is written where it runs. One that runs bit by bit while others run in
//! between (see `order`) is kept apart until it is over, so that nobody who reads
//! the log sees half of it: its locks keep what it touches from everybody else,
//! so it may come later than they do. Only expiry asks for no lock; a key that
//! expires after a block wrote it is recorded with the block.
//!
//! Every change of a key passes here, so this is also where those who watch keys
//! learn of it.
//!
//! The log is RESP: each command is an array of bulk strings, preceded by a
//! `SELECT` when its database differs from the one before.
//!
//! What concerns the whole keyspace (FLUSHALL, FLUSHDB, SWAPDB) runs on all shards
//! and so stands in all of their logs, at the same place in the order of blocks. It
//! is one change, not one per shard, and [`Effects::common`] says where: whoever
//! merges logs goes on behind it when he has come to it in all of them, and takes it
//! once. To take SWAPDB from each would undo it.

mod event;

pub use event::{Event, Notice, heard};

use crate::keep::Keep;
use crate::resp::{Protocol, Reply};
use crate::types::{DbIndex, Type};
use crate::watch::Watches;
use hashbrown::HashMap;
use std::collections::BTreeSet;
use std::ops::Range;

/// The effects of the requests of one shard, in order.
#[derive(Debug)]
pub struct Effects {
    recording: bool,
    /// Changes that requests have made since start, counted as Redis counts them;
    /// INFO's rdb_changes_since_last_save derives from it. What expires is none.
    changes: u64,
    /// The request at hand changed something.
    changed: bool,
    /// The request at hand was replaced by what is already in the log.
    replaced: bool,
    /// Database of the last command in the log.
    logged_db: Option<DbIndex>,
    db: DbIndex,
    log: Vec<u8>,
    /// Where in the log stands what all shards have recorded.
    common: Vec<Range<usize>>,
    /// The request at hand is one that all shards record.
    is_common: bool,
    /// What the request at hand has put in its own place, outside of blocks.
    group: Block,
    /// Somebody waits for keys to appear.
    awaited: bool,
    /// Keys that have appeared since, with the type of their value.
    appeared: Vec<(Box<[u8]>, Type)>,
    /// Databases have changed places since: any key may have appeared.
    swapped: bool,
    /// What a block has left so far, while one runs in one piece.
    block: Option<Block>,
    /// What blocks that are not over have left.
    pieces: HashMap<BlockId, Pieces, ahash::RandomState>,
    /// What is recorded now goes to the pieces of this block.
    piecemeal: Option<BlockId>,
    pub(crate) watches: Watches,
    keep: Keep,
}

/// A block that runs bit by bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BlockId(pub u128);

/// A block of commands in the log: where it begins, and how many there are.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    start: usize,
    commands: usize,
}

/// What a block has left that is not over.
#[derive(Debug, Default)]
struct Pieces {
    log: Vec<u8>,
    /// As [`Effects::common`].
    common: Vec<Range<usize>>,
    commands: usize,
    /// Database of the first command, which the log does not select, and of the
    /// last.
    dbs: Option<(DbIndex, DbIndex)>,
    /// Where the arguments stand in `log`: the keys are among them.
    words: Vec<Range<usize>>,
    /// Hashes of the first so many of them, computed when a key expires.
    hashes: (usize, BTreeSet<u64>),
    /// It has exchanged databases: every key is its own.
    swapped: bool,
}

impl Pieces {
    fn write<'a>(
        &mut self,
        db: DbIndex,
        parts: impl ExactSizeIterator<Item = &'a [u8]>,
        is_common: bool,
    ) {
        let (first, last) = self.dbs.unwrap_or((db, db));
        if last != db {
            append_select(&mut self.log, db);
        }
        self.dbs = Some((first, db));
        self.commands += 1;
        let words = &mut self.words;
        let start = self.log.len();
        append_noting(&mut self.log, parts, |word| words.push(word));
        if is_common {
            self.common.push(start..self.log.len());
        }
    }

    /// Whether it may have written a key: it has named it.
    fn names(&mut self, key: &[u8], hasher: &ahash::RandomState) -> bool {
        let (done, hashes) = &mut self.hashes;
        let words = self.words[*done..].iter();
        hashes.extend(words.map(|word| hasher.hash_one(&self.log[word.clone()])));
        *done = self.words.len();
        self.swapped || hashes.contains(&hasher.hash_one(key))
    }
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
            common: Vec::new(),
            is_common: false,
            group: Block::default(),
            awaited: false,
            appeared: Vec::new(),
            swapped: false,
            block: None,
            pieces: HashMap::with_hasher(ahash::RandomState::with_seeds(seed, 8, 9, 10)),
            piecemeal: None,
            watches: Watches::new(seed),
            keep: Keep::new(seed),
        }
    }

    /// Starts or stops recording. Stopping drops what was not taken.
    pub fn record(&mut self, on: bool) {
        self.recording = on;
        self.log = Vec::new();
        self.common = Vec::new();
        (self.is_common, self.group) = (false, Block::default());
        self.logged_db = None;
        (self.block, self.piecemeal) = (None, None);
        self.pieces.clear();
    }

    /// Whether somebody asked for effects.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// Whether the request at hand has changed something.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed
    }

    /// What stays on this shard although its time has come.
    pub fn keep(&mut self) -> &mut Keep {
        &mut self.keep
    }

    /// Number of changes since start.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes the log recorded so far, without blocks that are not over.
    pub fn take(&mut self) -> Vec<u8> {
        self.logged_db = None;
        self.common.clear();
        std::mem::take(&mut self.log)
    }

    /// Where in what [`Effects::take`] would return stand commands that all shards
    /// have recorded, in order.
    pub fn common(&self) -> &[Range<usize>] {
        &self.common
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
        if self.recording {
            if self.changed && !self.replaced {
                self.write(request);
            }
            self.close_group();
        }
    }

    /// The request has failed; what it has recorded all the same stays.
    pub(crate) fn fail(&mut self) {
        self.close_group();
    }

    /// The end of what one request has put in its place.
    fn close_group(&mut self) {
        self.is_common = false;
        let group = std::mem::take(&mut self.group);
        self.enclose(group);
    }

    /// Puts the commands from `block.start` on between MULTI and EXEC, if there is
    /// more than one.
    fn enclose(&mut self, block: Block) {
        if block.commands <= 1 {
            return;
        }
        let mut multi = Vec::new();
        append_command(&mut multi, [&b"MULTI"[..]].into_iter());
        for range in &mut self.common {
            if range.start >= block.start {
                *range = range.start + multi.len()..range.end + multi.len();
            }
        }
        self.log.splice(block.start..block.start, multi);
        append_command(&mut self.log, [&b"EXEC"[..]].into_iter());
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
        if let Some(block) = self.block.take() {
            self.enclose(block);
        }
    }

    /// What is recorded from now on, until [`Effects::pause_block`], belongs to a
    /// block that is over at [`Effects::end_block`]: at once, if this is the
    /// `last` of it.
    pub(crate) fn go_on_with_block(&mut self, id: BlockId, last: bool) {
        if last && !self.pieces.contains_key(&id) {
            self.open_block();
        } else if self.recording {
            self.piecemeal = Some(id);
        }
    }

    /// What follows belongs to no block.
    pub(crate) fn pause_block(&mut self) {
        self.piecemeal = None;
        self.close_block();
    }

    /// A block is over: what it has left goes into the log in one piece.
    pub(crate) fn end_block(&mut self, id: BlockId) {
        let Some(pieces) = self.pieces.remove(&id) else {
            return;
        };
        let together = pieces.commands > 1;
        if together {
            append_command(&mut self.log, [&b"MULTI"[..]].into_iter());
        }
        if let Some((first, last)) = pieces.dbs {
            self.select_in_log(first);
            self.logged_db = Some(last);
        }
        let start = self.log.len();
        let common = pieces.common.iter();
        self.common
            .extend(common.map(|range| range.start + start..range.end + start));
        self.log.extend_from_slice(&pieces.log);
        if together {
            append_command(&mut self.log, [&b"EXEC"[..]].into_iter());
        }
    }

    #[inline]
    pub(crate) fn changed(&mut self, key: &[u8], event: Event) {
        self.changed_times(key, event, 1);
    }

    /// As [`Effects::changed`], counted as so many: INFO counts elements, as in
    /// Redis, where several go in or out at once.
    #[inline]
    pub(crate) fn changed_times(&mut self, key: &[u8], event: Event, count: usize) {
        if event == Event::SwapDb {
            self.swap();
        }
        if event == Event::SwapDb || event == Event::FlushDb {
            self.is_common = true;
        }
        self.changes += count as u64;
        self.changed = true;
        self.touched(key, event);
    }

    /// Any key may have appeared, and be another one.
    #[cold]
    fn swap(&mut self) {
        self.swapped = self.awaited;
        if let Some(id) = self.piecemeal {
            self.pieces.entry(id).or_default().swapped = true;
        }
    }

    /// Tells those who watch a key.
    #[inline]
    pub(crate) fn touched(&mut self, key: &[u8], event: Event) {
        heard::note(self.db, key, event);
        if !self.watches.is_empty() {
            self.watches.touch(self.db, key);
        }
    }

    /// Puts a command in place of the request, or nothing.
    pub(crate) fn replace(&mut self, parts: &[&[u8]]) {
        self.replaced = true;
        if self.recording && !parts.is_empty() {
            if self.block.is_none() && self.piecemeal.is_none() {
                if self.group.commands == 0 {
                    self.group.start = self.log.len();
                }
                self.group.commands += 1;
            }
            self.write(parts.iter().copied());
        }
    }

    /// `key` was found expired and is gone.
    pub(crate) fn expired(&mut self, key: &[u8]) {
        heard::note(self.db, key, Event::Expired);
        self.watches.pass(self.db, key, true);
        if self.recording {
            self.write_of_key(key, [&b"DEL"[..], key].into_iter());
        }
    }

    /// `key` was found expired and is no longer shown, but it is not gone yet.
    pub(crate) fn hidden(&mut self, key: &[u8]) {
        self.watches.pass(self.db, key, false);
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
        self.touched(key, Event::HExpired);
        if self.recording {
            let mut parts = vec![&b"HDEL"[..], key];
            parts.extend(fields.iter().map(Vec::as_slice));
            self.write_of_key(key, parts.into_iter());
        }
    }

    /// Records what nobody has asked for: with the block that wrote the key, if
    /// there is one that is not over.
    fn write_of_key<'a>(&mut self, key: &[u8], parts: impl ExactSizeIterator<Item = &'a [u8]>) {
        if self.piecemeal.is_none() && !self.pieces.is_empty() {
            let hasher = self.pieces.hasher().clone();
            for pieces in self.pieces.values_mut() {
                if pieces.names(key, &hasher) {
                    return pieces.write(self.db, parts, false);
                }
            }
        }
        self.write(parts);
    }

    fn write<'a>(&mut self, parts: impl ExactSizeIterator<Item = &'a [u8]>) {
        let is_common = std::mem::take(&mut self.is_common);
        if let Some(id) = self.piecemeal {
            let pieces = self.pieces.entry(id).or_default();
            return pieces.write(self.db, parts, is_common);
        }
        if let Some(block) = &mut self.block {
            if block.commands == 0 {
                block.start = self.log.len();
            }
            block.commands += 1;
        }
        self.select_in_log(self.db);
        let start = self.log.len();
        append_command(&mut self.log, parts);
        if is_common {
            self.common.push(start..self.log.len());
        }
    }

    fn select_in_log(&mut self, db: DbIndex) {
        if self.logged_db != Some(db) {
            self.logged_db = Some(db);
            append_select(&mut self.log, db);
        }
    }
}

fn append_select(log: &mut Vec<u8>, db: DbIndex) {
    let mut buffer = itoa::Buffer::new();
    let index = buffer.format(db.0).as_bytes();
    append_command(log, [&b"SELECT"[..], index].into_iter());
}

/// Appends one command as a RESP array of bulk strings.
fn append_command<'a>(log: &mut Vec<u8>, parts: impl ExactSizeIterator<Item = &'a [u8]>) {
    append_noting(log, parts, |_| {});
}

/// The same; `note` is told where each word stands.
fn append_noting<'a>(
    log: &mut Vec<u8>,
    parts: impl ExactSizeIterator<Item = &'a [u8]>,
    mut note: impl FnMut(Range<usize>),
) {
    Reply::new(log, Protocol::Resp2).array(parts.len());
    for part in parts {
        Reply::new(log, Protocol::Resp2).bulk(part);
        let end = log.len() - b"\r\n".len();
        note(end - part.len()..end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: BlockId = BlockId(1);
    const OTHER: BlockId = BlockId(2);

    fn recording() -> Effects {
        let mut effects = Effects::new(1);
        effects.record(true);
        effects.begin(DbIndex(0));
        effects
    }

    fn run(effects: &mut Effects, words: &str) {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        effects.changed(words[1], Event::Set);
        effects.replace(&words);
    }

    fn piece(effects: &mut Effects, block: BlockId, words: &str) {
        effects.go_on_with_block(block, false);
        run(effects, words);
        effects.pause_block();
    }

    /// The log, a command after the other, without lengths.
    fn taken(effects: &mut Effects) -> String {
        let log = String::from_utf8(effects.take()).expect("the tests' words are text");
        let words = log.split("\r\n").filter(|line| !line.starts_with('$'));
        let words: Vec<&str> = words.collect();
        let line = words.join(" ");
        let commands = line.split('*').skip(1);
        let commands = commands.filter_map(|command| Some(command.split_once(' ')?.1.trim()));
        commands.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn pieces_of_a_block_stand_together_when_it_is_over() {
        let mut effects = recording();
        run(&mut effects, "SET a 1");
        piece(&mut effects, ONE, "SET b 1");
        run(&mut effects, "SET c 1");
        piece(&mut effects, OTHER, "SET d 1");
        assert_eq!(taken(&mut effects), "SELECT 0, SET a 1, SET c 1");
        effects.begin(DbIndex(3));
        piece(&mut effects, ONE, "SET b 2");
        effects.begin(DbIndex(0));
        effects.end_block(ONE);
        effects.end_block(OTHER);
        effects.end_block(BlockId(3));
        assert_eq!(
            taken(&mut effects),
            "MULTI, SELECT 0, SET b 1, SELECT 3, SET b 2, EXEC, SELECT 0, SET d 1"
        );
        assert!(effects.pieces.is_empty());
    }

    #[test]
    fn what_one_request_leaves_stands_together() {
        let mut effects = recording();
        let ask = |effects: &mut Effects, replacements: &[&[&[u8]]]| {
            effects.begin(DbIndex(0));
            effects.expired(b"x");
            effects.changed(b"a", Event::SortStore);
            replacements.iter().for_each(|it| effects.replace(it));
            effects.finish([&b"SORT"[..]].into_iter());
        };
        ask(&mut effects, &[&[b"DEL", b"a"], &[b"RPUSH", b"a", b"1"]]);
        ask(&mut effects, &[&[b"DEL", b"a"]]);
        ask(&mut effects, &[&[]]);
        ask(&mut effects, &[]);
        effects.begin(DbIndex(0));
        effects.replace(&[b"HSET", b"h", b"f", b"1"]);
        effects.replace(&[b"HPEXPIREAT", b"h", b"9"]);
        effects.fail();
        assert_eq!(
            taken(&mut effects),
            "SELECT 0, DEL x, MULTI, DEL a, RPUSH a 1, EXEC, DEL x, DEL a, DEL x, DEL x, SORT, \
             MULTI, HSET h f 1, HPEXPIREAT h 9, EXEC"
        );
    }

    #[test]
    fn what_all_shards_record_is_known_wherever_it_stands() {
        let mut effects = recording();
        let swap = |effects: &mut Effects| {
            effects.begin(DbIndex(1));
            effects.changed(b"", Event::SwapDb);
            effects.finish([&b"SWAPDB"[..], b"0", b"1"].into_iter());
        };
        swap(&mut effects);
        run(&mut effects, "SET a 1");
        effects.go_on_with_block(ONE, true);
        run(&mut effects, "SET a 1");
        swap(&mut effects);
        effects.pause_block();
        effects.go_on_with_block(OTHER, false);
        swap(&mut effects);
        run(&mut effects, "SET a 1");
        effects.pause_block();
        assert_eq!(effects.common().len(), 2);
        effects.end_block(OTHER);
        let common = effects.common().to_vec();
        let log = effects.take();
        assert_eq!(common.len(), 3);
        for range in common {
            assert_eq!(
                log[range].escape_ascii().to_string(),
                r"*3\r\n$6\r\nSWAPDB\r\n$1\r\n0\r\n$1\r\n1\r\n"
            );
        }
        assert!(effects.common().is_empty());
    }

    #[test]
    fn the_only_piece_of_a_block_is_written_at_once() {
        let mut effects = recording();
        effects.go_on_with_block(ONE, true);
        run(&mut effects, "SET a 1");
        run(&mut effects, "SET b 1");
        effects.pause_block();
        effects.go_on_with_block(ONE, true);
        run(&mut effects, "SET c 1");
        effects.pause_block();
        let log = "MULTI, SELECT 0, SET a 1, SET b 1, EXEC, SET c 1";
        assert_eq!(taken(&mut effects), log);
        assert!(effects.pieces.is_empty());
    }

    #[test]
    fn a_key_expires_after_the_block_that_wrote_it() {
        let mut effects = recording();
        effects.expired(b"a");
        piece(&mut effects, ONE, "PEXPIREAT a 5");
        piece(&mut effects, OTHER, "SET b 1");
        effects.expired(b"a");
        effects.expired(b"c");
        effects.expired_fields(b"b", &[b"field".to_vec()]);
        assert_eq!(taken(&mut effects), "SELECT 0, DEL a, DEL c");
        effects.end_block(ONE);
        effects.end_block(OTHER);
        assert_eq!(
            taken(&mut effects),
            "MULTI, SELECT 0, PEXPIREAT a 5, DEL a, EXEC, MULTI, SET b 1, HDEL b field, EXEC"
        );
    }

    #[test]
    fn whatever_expires_after_an_exchange_of_databases_comes_after_it() {
        let mut effects = recording();
        effects.go_on_with_block(ONE, false);
        effects.changed(b"", Event::SwapDb);
        effects.replace(&[b"SWAPDB", b"0", b"1"]);
        effects.pause_block();
        effects.expired(b"a");
        assert_eq!(taken(&mut effects), "");
        effects.end_block(ONE);
        let log = "MULTI, SELECT 0, SWAPDB 0 1, DEL a, EXEC";
        assert_eq!(taken(&mut effects), log);
    }

    #[test]
    fn who_stops_recording_forgets_what_is_not_over() {
        let mut effects = recording();
        piece(&mut effects, ONE, "SET a 1");
        effects.record(false);
        effects.record(true);
        effects.end_block(ONE);
        assert_eq!(taken(&mut effects), "");
    }
}
