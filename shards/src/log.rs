//! What the writes of one shard leave, as records in the order of everything.
//!
//! All shards together have one order (`order`), and each record says where it stands
//! in it: its [`Stamp`]. So the logs of all shards become one by merging them by
//! stamp; `order/merge.rs` does that.
//!
//! A record stands where its request has *come* to the shard, not where it has run. A
//! request that must wait for locks, and a ticket that asks for them, take
//! their record at once, empty and *open*. Whoever comes later to the same keys waits
//! behind them, so in the order of records each key changes as it did. The log can be
//! taken up to the first open record.
//!
//! ```text
//!   SET a 1 │ ticket 7, open │ SET b 1, DEL c │ ticket 9, open │ SET d 1
//!   └ taken ┘                └───────── wait for ticket 7 ─────────────┘
//! ```
//!
//! What a ticket leaves on several shards has one stamp on all of them, and is one
//! block. A shard where it has changed nothing has no record of it: that
//! nothing is missing is known from how far each log is complete ([`Log::until`]).
//!
//! What expires asks for no lock. The `DEL` of a key that an open ticket has to itself
//! goes into the record of that ticket, behind what it has done so far; any other
//! stands at the end of the log.
//!
//! Beside commands a record has what clients are to be notified of. What a ticket has done
//! on several shards is put in the order in which one server would have done it: by the
//! [`Rank`] of each notice.
//!
//! A record has no `SELECT`: it says for each run of commands in which database
//! they are. What concerns the whole keyspace (FLUSHALL, FLUSHDB, SWAPDB) runs on all
//! shards and is recorded by each, as *common*: it is one change, and a block that
//! has parts on several shards takes it once, when it has come to it in all of them.

use crate::resp::{Protocol, Reply};
use crate::types::DbIndex;
use hashbrown::HashMap;
use std::collections::VecDeque;

/// Where something stands in the order of all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    turn: u64,
    within: u64,
}

/// Marks what has run at once: it comes behind all boxes up to its turn.
const AT_ONCE: u64 = 1 << 63;

impl Stamp {
    /// Before everything.
    pub const FIRST: Self = Self { turn: 0, within: 0 };
    /// Behind everything.
    pub const LAST: Self = Self {
        turn: u64::MAX,
        within: u64::MAX,
    };

    /// Of thing number `number` of those that a node has sent with this stamp.
    pub fn sent(turn: u64, number: u32) -> Self {
        let within = u64::from(number);
        Self { turn, within }
    }

    /// Of what runs at once on a node that has opened all boxes below `frontier`, at the
    /// instant `clock`, below 2^63, of a clock that all nodes share and that never
    /// goes back.
    pub fn at_once(frontier: u64, clock: u64) -> Self {
        Self {
            turn: frontier.saturating_sub(1),
            within: AT_ONCE | clock,
        }
    }

    /// The numbers that it is, to be shared between cores.
    pub fn numbers(self) -> (u64, u64) {
        (self.turn, self.within)
    }

    /// See [`Stamp::numbers`].
    pub fn of_numbers((turn, within): (u64, u64)) -> Self {
        Self { turn, within }
    }

    /// The first one behind it.
    #[must_use]
    pub fn next(self) -> Self {
        let within = self.within.saturating_add(1);
        Self { within, ..self }
    }
}

/// A ticket of a node, or one request of those that a box of its carries: what belongs
/// together, on whatever shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TicketId(pub u128);

/// Where a notice stands among those of its ticket: by the number of the command in its
/// block, then by what such an event follows, then by the place of its key among the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    pub step: u32,
    pub phase: u8,
    pub place: u32,
}

/// One notice of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notified {
    pub db: DbIndex,
    pub key: Box<[u8]>,
    /// What `__keyevent@<db>__:` is followed by.
    pub word: &'static str,
    pub(crate) rank: Rank,
}

impl Notified {
    /// Whether it is about this key.
    pub fn is_of(&self, db: DbIndex, key: &[u8]) -> bool {
        self.db == db && *self.key == *key
    }
}

/// Commands that follow each other in one database.
#[derive(Clone, Copy, Debug)]
struct DbSpan {
    db: DbIndex,
    /// Where it ends in the bytes; it begins where the one before ends.
    end: usize,
    /// It is one command, and all shards have it.
    common: bool,
}

/// Commands that nothing else comes between.
#[derive(Debug, Default)]
pub struct Record {
    stamp: Stamp,
    ticket: Option<TicketId>,
    /// Its commands are one block.
    together: bool,
    commands: usize,
    bytes: Vec<u8>,
    spans: Vec<DbSpan>,
    notices: Vec<Notified>,
}

impl Record {
    /// Takes what is to be notified.
    pub(crate) fn take_notices(&mut self) -> Vec<Notified> {
        std::mem::take(&mut self.notices)
    }

    fn is_empty(&self) -> bool {
        self.commands == 0 && self.notices.is_empty()
    }

    /// Where it stands.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Whose it is, if other shards may have a part of it.
    pub fn ticket(&self) -> Option<TicketId> {
        self.ticket.filter(|_| self.together)
    }

    fn write<'a>(
        &mut self,
        db: DbIndex,
        parts: impl ExactSizeIterator<Item = &'a [u8]>,
        common: bool,
    ) {
        append_command(&mut self.bytes, parts);
        self.commands += 1;
        let end = self.bytes.len();
        match self.spans.last_mut() {
            Some(last) if last.db == db && !last.common && !common => last.end = end,
            _ => self.spans.push(DbSpan { db, end, common }),
        }
    }

    /// Puts what stands from `start` on between MULTI and EXEC.
    fn enclose(&mut self, start: usize) {
        let mut multi = Vec::new();
        append_command(&mut multi, [&b"MULTI"[..]].into_iter());
        self.bytes.splice(start..start, multi.iter().copied());
        append_command(&mut self.bytes, [&b"EXEC"[..]].into_iter());
        for span in self.spans.iter_mut().filter(|span| span.end > start) {
            span.end += multi.len();
        }
        if let Some(last) = self.spans.last_mut() {
            last.end = self.bytes.len();
        }
    }
}

/// What a ticket has to itself until it is over: hashes of keys.
#[derive(Debug, Default)]
struct Scope {
    keys: Vec<u64>,
    all: bool,
}

#[derive(Debug)]
struct Logged {
    record: Record,
    /// More may come.
    open: Option<Box<Scope>>,
}

/// Commands of one request, or of a block that runs in one piece.
#[derive(Clone, Copy, Debug, Default)]
struct Unit {
    start: usize,
    commands: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Log {
    /// Where what comes now stands.
    stamp: Stamp,
    entries: VecDeque<Logged>,
    /// The number of the first of them.
    first: u64,
    /// Numbers of those that are open.
    open: HashMap<TicketId, u64, ahash::RandomState>,
    /// What is written now goes there; else to the end.
    at: Option<u64>,
    /// What belongs together of what is written now.
    unit: Option<Unit>,
}

impl Log {
    /// Empty. `seed` keys a hash.
    pub fn new(seed: u64) -> Self {
        Self {
            stamp: Stamp::FIRST,
            entries: VecDeque::new(),
            first: 0,
            open: HashMap::with_hasher(ahash::RandomState::with_seeds(seed, 8, 9, 10)),
            at: None,
            unit: None,
        }
    }

    /// What comes from now on stands there, unless that is before what has come.
    #[inline]
    pub fn stand(&mut self, stamp: Stamp) {
        self.stamp = self.stamp.max(stamp);
    }

    /// Everything that stands before this is in the log, and none of it is open.
    pub fn until(&self) -> Stamp {
        let first = self.open.values().min();
        let first = first.and_then(|number| self.entries.get(self.index(*number)));
        first.map_or(self.stamp.next(), |entry| entry.record.stamp)
    }

    /// [`Log::until`] at the end of a turn: what comes from now on does not stand before it.
    pub fn end_turn(&mut self) -> Stamp {
        let until = self.until();
        self.stamp = self.stamp.max(until);
        until
    }

    /// Whether there is a record to which more may come.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    fn index(&self, number: u64) -> usize {
        // The log is in memory.
        usize::try_from(number - self.first).expect("an address has room for it")
    }

    /// A ticket takes its record. Until it is closed, the ticket has the keys with these
    /// hashes to itself, or `all`. `together`: what it leaves is one block.
    pub fn reserve(
        &mut self,
        ticket: TicketId,
        (keys, all): (impl Iterator<Item = u64>, bool),
        together: bool,
    ) {
        let number = self.number_of(ticket, together);
        let index = self.index(number);
        if let Some(scope) = &mut self.entries[index].open {
            scope.keys.extend(keys);
            scope.all |= all;
        }
    }

    fn number_of(&mut self, ticket: TicketId, together: bool) -> u64 {
        if let Some(number) = self.open.get(&ticket) {
            return *number;
        }
        let number = self.first + self.entries.len() as u64;
        self.entries.push_back(Logged {
            record: Record {
                stamp: self.stamp,
                ticket: Some(ticket),
                together,
                ..Record::default()
            },
            open: Some(Box::default()),
        });
        self.open.insert(ticket, number);
        number
    }

    /// What is written from now on goes to the record of this ticket, which takes one
    /// now if it has none.
    pub fn enter(&mut self, ticket: TicketId) {
        self.at = Some(self.number_of(ticket, true));
    }

    /// What is written from now on goes to the end.
    pub fn leave(&mut self) {
        self.at = None;
    }

    /// Whether this ticket has a record that is open.
    #[inline]
    pub fn knows(&self, ticket: TicketId) -> bool {
        !self.open.is_empty() && self.open.contains_key(&ticket)
    }

    /// A ticket is over.
    #[inline]
    pub fn close(&mut self, ticket: TicketId) {
        if !self.open.is_empty() {
            self.close_record(ticket);
        }
    }

    fn close_record(&mut self, ticket: TicketId) {
        let Some(number) = self.open.remove(&ticket) else {
            return;
        };
        let index = self.index(number);
        self.entries[index].open = None;
        let is_last = index + 1 == self.entries.len();
        if is_last && self.entries[index].record.is_empty() {
            self.entries.pop_back();
        }
    }

    /// The record that is written to.
    fn target(&mut self) -> &mut Record {
        let index = match self.at {
            Some(number) => self.index(number),
            None => self.last(),
        };
        &mut self.entries[index].record
    }

    /// A record at the end for what has no ticket.
    fn last(&mut self) -> usize {
        let fits = |entry: &Logged| {
            let record = &entry.record;
            record.ticket.is_none() && record.stamp == self.stamp
        };
        if !self.entries.back().is_some_and(fits) {
            let stamp = self.stamp;
            self.entries.push_back(Logged {
                record: Record {
                    stamp,
                    ..Record::default()
                },
                open: None,
            });
        }
        self.entries.len() - 1
    }

    /// Appends a command. `common`: all shards do.
    pub fn write<'a>(
        &mut self,
        db: DbIndex,
        parts: impl ExactSizeIterator<Item = &'a [u8]>,
        common: bool,
    ) {
        let unit = self.unit;
        let record = self.target();
        let start = record.bytes.len();
        record.write(db, parts, common);
        if let Some(Unit { commands, .. }) = unit {
            let start = unit
                .filter(|_| commands > 0)
                .map_or(start, |unit| unit.start);
            let commands = commands + 1;
            self.unit = Some(Unit { start, commands });
        }
    }

    /// Appends what nobody has asked for and is about a key with this hash: to the
    /// record of the first ticket that has the key to itself.
    pub fn write_of_key<'a>(
        &mut self,
        hash: impl FnOnce() -> u64,
        db: DbIndex,
        parts: impl ExactSizeIterator<Item = &'a [u8]>,
    ) {
        match self.holder(hash) {
            Some(record) => record.write(db, parts, false),
            None => self.write(db, parts, false),
        }
    }

    /// The record of the first ticket that has a key with this hash to itself, if what is
    /// written now is not a ticket's anyway.
    fn holder(&mut self, hash: impl FnOnce() -> u64) -> Option<&mut Record> {
        if self.at.is_some() || self.open.is_empty() {
            return None;
        }
        let hash = hash();
        let has = |number: &&u64| {
            let scope = self.entries[self.index(**number)].open.as_deref();
            scope.is_some_and(|scope| scope.all || scope.keys.contains(&hash))
        };
        let number = self.open.values().filter(has).min().copied()?;
        let index = self.index(number);
        Some(&mut self.entries[index].record)
    }

    /// Appends what is to be notified.
    pub fn notice(&mut self, notices: impl Iterator<Item = Notified>) {
        self.target().notices.extend(notices);
    }

    /// As [`Log::notice`], of what nobody has asked for and is about a key with this hash.
    pub fn notice_of_key(
        &mut self,
        hash: impl FnOnce() -> u64,
        notices: impl Iterator<Item = Notified>,
    ) {
        match self.holder(hash) {
            Some(record) => record.notices.extend(notices),
            None => self.notice(notices),
        }
    }

    /// What the request at hand is to notify of, and others before it.
    pub fn recent_notices(&mut self) -> Option<&mut Vec<Notified>> {
        let index = match self.at {
            Some(number) => self.index(number),
            None => self.entries.len().checked_sub(1)?,
        };
        Some(&mut self.entries[index].record.notices)
    }

    /// What is written from now on belongs together; whether it did not before.
    pub fn begin_unit(&mut self) -> bool {
        let begins = self.unit.is_none();
        self.unit.get_or_insert_default();
        begins
    }

    /// The end of what belongs together: more than one command is put between
    /// MULTI and EXEC.
    pub fn end_unit(&mut self) {
        let Some(Unit { start, commands }) = self.unit.take() else {
            return;
        };
        if commands > 1 {
            let record = self.target();
            if !record.together {
                record.enclose(start);
            }
        }
    }

    /// The records up to the first that is open.
    pub fn take(&mut self) -> impl Iterator<Item = Record> {
        let taken = match self.open.values().min() {
            Some(number) => self.index(*number),
            None => self.entries.len(),
        };
        self.first += taken as u64;
        let records = self.entries.drain(..taken).map(|entry| entry.record);
        records.filter(|record| !record.is_empty())
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries = VecDeque::new();
        self.open.clear();
        (self.at, self.unit) = (None, None);
    }
}

/// Records as one stream of commands: arrays of bulk strings, preceded by a `SELECT`
/// when their database differs from that of the one before.
#[derive(Debug, Default)]
pub struct Stream {
    db: Option<DbIndex>,
}

impl Stream {
    /// Appends what belongs together: a record, or all those of a ticket.
    pub fn append(&mut self, records: &[Record], out: &mut Vec<u8>) {
        let commands: usize = records.iter().map(|record| record.commands).sum();
        let common = |record: &Record| record.spans.iter().filter(|span| span.common).count();
        let again: usize = records.iter().skip(1).map(common).sum();
        let together = records.first().is_some_and(|first| first.together);
        let encloses = together && commands - again > 1;
        if encloses {
            let mut firsts = records.iter().filter_map(|record| record.spans.first());
            let apart = firsts.clone().find(|span| !span.common);
            if let Some(first) = apart.or(firsts.next()) {
                self.select(first.db, out);
            }
            append_command(out, [&b"MULTI"[..]].into_iter());
        }
        let mut rests: Vec<(&[DbSpan], usize, &[u8])> = Vec::with_capacity(records.len());
        rests.extend(records.iter().map(|it| (&it.spans[..], 0, &it.bytes[..])));
        while rests.iter().any(|(spans, ..)| !spans.is_empty()) {
            for rest in &mut rests {
                while rest.0.first().is_some_and(|span| !span.common) {
                    self.append_span(rest, out);
                }
            }
            // All shards have come to it.
            let mut arrived = rests.iter_mut().filter(|(spans, ..)| !spans.is_empty());
            if let Some(first) = arrived.next() {
                self.append_span(first, out);
            }
            for (spans, start, _) in arrived {
                (*start, *spans) = (spans[0].end, &spans[1..]);
            }
        }
        if encloses {
            append_command(out, [&b"EXEC"[..]].into_iter());
        }
    }

    fn select(&mut self, db: DbIndex, out: &mut Vec<u8>) {
        if self.db.replace(db) != Some(db) {
            let mut buffer = itoa::Buffer::new();
            let index = buffer.format(db.0).as_bytes();
            append_command(out, [&b"SELECT"[..], index].into_iter());
        }
    }

    /// Appends the first span of those that are left.
    fn append_span(
        &mut self,
        (spans, start, bytes): &mut (&[DbSpan], usize, &[u8]),
        out: &mut Vec<u8>,
    ) {
        let Some((span, rest)) = spans.split_first() else {
            return;
        };
        self.select(span.db, out);
        out.extend_from_slice(&bytes[*start..span.end]);
        (*spans, *start) = (rest, span.end);
    }
}

/// Appends one command as a RESP array of bulk strings.
fn append_command<'a>(log: &mut Vec<u8>, parts: impl ExactSizeIterator<Item = &'a [u8]>) {
    Reply::new(log, Protocol::Resp2).array(parts.len());
    for part in parts {
        Reply::new(log, Protocol::Resp2).bulk(part);
    }
}
