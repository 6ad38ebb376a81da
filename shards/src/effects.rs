//! What a write leaves behind: deterministic commands with absolute times.
//!
//! Effects are produced only while somebody records them (a replica, a log);
//! otherwise only the count of changes is kept. A request that changed
//! something is recorded verbatim unless its handler replaced it; a request
//! that changed nothing leaves nothing. Keys that expired while the request
//! looked at them are recorded as `DEL` before it.
//!
//! What belongs together (what one request leaves, a transaction's part on this
//! shard) is one block if it is more than one command. Where what a request leaves stands
//! in the log, and how the logs of all shards become one, is the log's matter
//! ([`Log`]).
//!
//! Every change of a key passes here, so this is also where those who watch keys
//! learn of it.

mod event;
mod notices;

pub use event::{Event, Notice, Notify};
use notices::Notices;

use crate::keep::Keep;
use crate::log::{Log, Notified, Rank, Record, Stamp, Stream, TicketId};
use crate::tracking::Tracking;
use crate::types::{DbIndex, Type};
use crate::watch::Watches;

/// The effects of the requests of one shard, in order.
#[derive(Debug)]
pub struct Effects {
    /// Somebody asks for commands.
    recording: bool,
    /// Notices go to the log, to be put in the order of all shards.
    ordered: bool,
    /// Either: the log keeps the places of all that may write.
    logging: bool,
    /// The number in its block of the command at hand.
    step: u32,
    /// Changes that requests have made since start, counted as Redis counts them;
    /// INFO's rdb_changes_since_last_save derives from it. What expires is none.
    changes: u64,
    /// The request at hand changed something.
    changed: bool,
    /// The request at hand was replaced by what is already in the log.
    replaced: bool,
    db: DbIndex,
    log: Log,
    /// The request at hand is one that all shards record.
    is_common: bool,
    /// A block runs in one piece.
    in_block: bool,
    /// The request at hand stands for itself, and has put something in its own place.
    is_replacing: bool,
    /// Somebody waits for keys to appear.
    awaited: bool,
    /// Keys that have appeared since, with the type of their value.
    appeared: Vec<(Box<[u8]>, Type)>,
    /// Databases have changed places or been emptied since: any key may have appeared,
    /// or be gone.
    overturned: bool,
    /// A snapshot has begun since.
    cut: bool,
    /// Somebody is to be told of what happens to keys: who watches or tracks them, or is
    /// notified.
    listens: bool,
    watches: Watches,
    pub(crate) tracking: Tracking,
    notices: Notices,
    keep: Keep,
}

impl Default for Effects {
    fn default() -> Self {
        Self::new(0, true)
    }
}

impl Effects {
    /// No effects yet. `seed` keys the hash of watched keys; one shard of all `is_first`.
    pub(crate) fn new(seed: u64, is_first: bool) -> Self {
        Self {
            recording: false,
            ordered: false,
            logging: false,
            step: 0,
            changes: 0,
            changed: false,
            replaced: false,
            db: DbIndex(0),
            log: Log::new(seed),
            is_common: false,
            in_block: false,
            is_replacing: false,
            awaited: false,
            appeared: Vec::new(),
            overturned: false,
            cut: false,
            listens: false,
            watches: Watches::new(seed),
            tracking: Tracking::new(seed, is_first),
            notices: Notices::default(),
            keep: Keep::new(seed),
        }
    }

    /// Starts or stops recording. Stopping drops what was not taken.
    pub fn record(&mut self, on: bool) {
        self.recording = on;
        self.logging = on || self.ordered;
        self.log.clear();
        (self.is_common, self.in_block, self.is_replacing) = (false, false, false);
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

    /// Which notices are collected from now on: for [`Effects::take_notices`], or in the
    /// records, in the order of all shards. What was not taken when that ends is forgotten.
    pub fn notify(&mut self, wanted: Notify, ordered: bool) {
        self.notices.wanted = match wanted.is_on() {
            true => wanted,
            false => Notify::default(),
        };
        self.ordered = ordered && wanted.is_on();
        let logged = std::mem::replace(&mut self.logging, self.recording || self.ordered);
        if logged && !self.logging {
            self.log.clear();
            (self.in_block, self.is_replacing) = (false, false);
        }
        self.listen();
    }

    /// Whether places in the log are kept.
    #[inline]
    pub(crate) fn is_logging(&self) -> bool {
        self.logging
    }

    /// Whether notices go to the log.
    #[inline]
    pub(crate) fn is_ordering_notices(&self) -> bool {
        self.ordered
    }

    /// The command at hand is that of its block with this number.
    #[inline]
    pub(crate) fn at_step(&mut self, step: u32) {
        self.step = step;
    }

    /// Puts what is collected into the log, if it goes there.
    fn log_notices(&mut self) {
        if self.ordered && !self.notices.list.is_empty() {
            self.rank_notices();
            self.log.notice(self.notices.list.drain(..));
        }
    }

    /// As [`Effects::log_notices`], of what nobody has asked for and is about one key.
    fn log_notices_of(&mut self, hash: impl FnOnce() -> u64) {
        if self.ordered && !self.notices.list.is_empty() {
            self.rank_notices();
            self.log.notice_of_key(hash, self.notices.list.drain(..));
        }
    }

    fn rank_notices(&mut self) {
        let rank = Rank {
            step: self.step,
            ..Rank::default()
        };
        self.notices.list.iter_mut().for_each(|it| it.rank = rank);
    }

    /// Says of what the part at hand is to notify of where the keys stand in the request:
    /// its keys with their places, in order.
    pub(crate) fn place_part<'a>(&mut self, keys: impl Iterator<Item = (&'a [u8], u32)> + Clone) {
        let Some(notices) = self.log.recent_notices() else {
            return;
        };
        // They are told in the order of the keys, some more than once.
        let (step, mut rest) = (self.step, keys.clone());
        for notice in notices.iter_mut().filter(|it| it.rank.step == step) {
            let is_of = |(key, _): &(&[u8], u32)| **key == *notice.key;
            if let Some(behind) = rest.clone().position(|it| is_of(&it)).filter(|it| *it > 0) {
                rest.nth(behind - 1);
            }
            let place = rest.clone().next().filter(is_of);
            if let Some((_, place)) = place.or_else(|| keys.clone().find(is_of)) {
                notice.rank.place = place;
            }
        }
    }

    /// Whether there are any since they were last taken.
    #[inline]
    pub(crate) fn has_notices(&self) -> bool {
        !self.notices.list.is_empty()
    }

    /// What there is to notify of, in order.
    pub fn take_notices(&mut self) -> Vec<Notified> {
        std::mem::take(&mut self.notices.list)
    }

    /// Somebody may have begun or ceased to.
    pub(crate) fn listen(&mut self) {
        self.listens =
            !self.watches.is_empty() || self.tracking.is_on() || self.notices.wanted.is_on();
    }

    /// Who watches which keys.
    pub(crate) fn watches(&self) -> &Watches {
        &self.watches
    }

    /// Changes who watches what.
    pub(crate) fn watch<T>(&mut self, change: impl FnOnce(&mut Watches) -> T) -> T {
        let done = change(&mut self.watches);
        self.listen();
        done
    }

    /// Takes the records so far, up to the first of a ticket that is not over.
    pub fn records(&mut self) -> impl Iterator<Item = Record> {
        self.log.take()
    }

    /// The end of a turn: everything that stands before this is in [`Effects::records`]
    /// now.
    pub fn end_turn(&mut self) -> Stamp {
        self.log.end_turn()
    }

    /// Whether there is a record to which more may come.
    pub fn is_open(&self) -> bool {
        self.log.is_open()
    }

    /// [`Effects::records`] as one stream: the log of a shard that is the only one.
    pub fn take(&mut self) -> Vec<u8> {
        let (mut stream, mut out) = (Stream::default(), Vec::new());
        for record in self.log.take() {
            stream.append(&[record], &mut out);
        }
        out
    }

    /// What is recorded from now on stands there. Asked only while somebody records.
    #[inline]
    pub(crate) fn stand_at(&mut self, stamp: impl FnOnce() -> Stamp) {
        if self.logging {
            self.log.stand(stamp());
        }
    }

    /// A ticket that may write takes its place in the log; see [`Log::reserve`].
    pub(crate) fn reserve(
        &mut self,
        ticket: TicketId,
        scope: (impl Iterator<Item = u64>, bool),
        together: bool,
    ) {
        if self.logging {
            self.log.reserve(ticket, scope, together);
        }
    }

    /// What is recorded until [`Effects::end_part`] is the part of a request on several
    /// shards, which `writes`.
    #[inline]
    pub(crate) fn begin_part(&mut self, ticket: TicketId, writes: bool) {
        if self.logging {
            self.step = 0;
            if writes {
                self.log.enter(ticket);
            } else {
                self.open_block();
            }
        }
    }

    /// See [`Effects::begin_part`].
    #[inline]
    pub(crate) fn end_part(&mut self, ticket: TicketId) {
        if self.logging {
            self.leave_ticket();
            self.log.close(ticket);
        }
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
        debug_assert!(self.notices.is_settled(), "an event tells of it");
        if self.recording {
            if self.changed && !self.replaced {
                self.write(request);
            }
            self.close_group();
        }
    }

    /// The request has failed; what it has recorded all the same stays.
    pub(crate) fn fail(&mut self) {
        self.notices.settle();
        self.close_group();
    }

    /// The end of what one request has put in its place.
    fn close_group(&mut self) {
        self.is_common = false;
        if std::mem::take(&mut self.is_replacing) {
            self.log.end_unit();
        }
    }

    /// What follows happens in another database; returns the one before.
    pub(crate) fn select(&mut self, db: DbIndex) -> DbIndex {
        std::mem::replace(&mut self.db, db)
    }

    /// What is recorded from now on belongs together.
    pub(crate) fn open_block(&mut self) {
        if self.logging && self.log.begin_unit() {
            self.in_block = true;
        }
    }

    /// The end of what belongs together: more than one command is put between
    /// MULTI and EXEC.
    pub(crate) fn close_block(&mut self) {
        if std::mem::take(&mut self.in_block) {
            self.log.end_unit();
        }
    }

    /// What is recorded from now on, until [`Effects::leave_ticket`], belongs to a
    /// ticket that is over at [`Effects::end_ticket`]; or stands for itself, if the ticket
    /// has taken no place because it only reads.
    pub(crate) fn enter_ticket(&mut self, ticket: TicketId) {
        if !self.log.knows(ticket) {
            self.open_block();
        } else {
            self.log.enter(ticket);
        }
    }

    /// What follows belongs to no ticket.
    pub(crate) fn leave_ticket(&mut self) {
        self.close_block();
        self.log.leave();
    }

    /// A ticket is over.
    pub(crate) fn end_ticket(&mut self, ticket: TicketId) {
        self.log.close(ticket);
    }

    #[inline]
    pub(crate) fn changed(&mut self, key: &[u8], event: Event) {
        self.changed_times(key, event, 1);
    }

    /// As [`Effects::changed`], counted as so many: INFO counts elements, as in
    /// Redis, where several go in or out at once.
    #[inline]
    pub(crate) fn changed_times(&mut self, key: &[u8], event: Event, count: usize) {
        if event == Event::SwapDb || event == Event::FlushDb {
            self.overturn();
            self.is_common = true;
        }
        self.changes += count as u64;
        self.changed = true;
        self.touched(key, event);
    }

    /// As [`Effects::changed_times`], but those who watch the key learn nothing.
    pub(crate) fn noticed(&mut self, key: &[u8], event: Event, count: usize) {
        if self.listens {
            self.notices.add(self.db, key, event);
            self.log_notices();
        }
        self.counts(count);
    }

    /// The request at hand has changed something that no event is about.
    pub(crate) fn counts(&mut self, count: usize) {
        self.changes += count as u64;
        self.changed = true;
    }

    /// Any key may have appeared, be another one, or be gone.
    #[cold]
    fn overturn(&mut self) {
        self.overturned = self.awaited;
    }

    /// Tells those who watch or track a key, and those who are notified.
    #[inline]
    pub(crate) fn touched(&mut self, key: &[u8], event: Event) {
        if self.listens {
            self.tell(key, event);
        }
    }

    #[inline(never)]
    fn tell(&mut self, key: &[u8], event: Event) {
        self.watches.touch(self.db, key);
        match event {
            Event::FlushDb | Event::SwapDb => self.tracking.overturn(),
            _ => self.tracking.touch(key),
        }
        self.notices.add(self.db, key, event);
        self.log_notices();
    }

    /// A key has come to be there; an event is to tell by what.
    #[inline]
    pub(crate) fn created(&mut self, key: &[u8]) {
        if self.listens {
            self.notices.created(self.db, key);
        }
    }

    /// A key has gone with the last element of its value; an event is to tell by what.
    #[inline]
    pub(crate) fn emptied(&mut self, key: &[u8]) {
        if self.listens {
            self.notices.emptied(self.db, key);
        }
    }

    /// A key is back that was taken away for a moment.
    pub(crate) fn put_back(&mut self) {
        self.notices.settle();
    }

    /// A read has found no such key.
    #[inline]
    pub(crate) fn missed(&mut self, key: &[u8]) {
        if self.listens {
            self.notices.add(self.db, key, Event::KeyMiss);
            self.log_notices();
        }
    }

    /// The request at hand runs once more, and misses so many keys again.
    pub(crate) fn forget_misses(&mut self, misses: usize) {
        let list = match self.ordered {
            true => self.log.recent_notices(),
            false => Some(&mut self.notices.list),
        };
        if let Some(list) = list.filter(|_| self.listens) {
            Notices::forget_misses(list, misses);
        }
    }

    /// Puts a command in place of the request, or nothing.
    pub(crate) fn replace(&mut self, parts: &[&[u8]]) {
        self.replace_words(parts.iter().copied());
    }

    /// As [`Effects::replace`].
    pub(crate) fn replace_words<'a>(&mut self, words: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.replaced = true;
        if self.recording && words.len() > 0 {
            if !self.in_block && self.log.begin_unit() {
                self.is_replacing = true;
            }
            self.write(words);
        }
    }

    /// `key`, which has this hash, was found expired and is gone.
    pub(crate) fn expired(&mut self, key: &[u8], hash: impl FnOnce() -> u64) {
        self.passes(key, true);
        if !self.listens && !self.recording {
            return;
        }
        let hash = hash();
        self.notices.add(self.db, key, Event::Expired);
        self.log_notices_of(|| hash);
        if self.recording {
            let parts = [&b"DEL"[..], key].into_iter();
            self.log.write_of_key(|| hash, self.db, parts);
        }
    }

    /// `key` was found expired and is no longer shown, but it is not gone yet.
    pub(crate) fn hidden(&mut self, key: &[u8]) {
        self.passes(key, false);
    }

    /// The time of a key has come: it is hidden, or has `gone`.
    fn passes(&mut self, key: &[u8], gone: bool) {
        if self.listens {
            self.watches.pass(self.db, key, gone);
            self.tracking.passes(key);
        }
    }

    /// A key has come to hold a value of this type, in whatever database, or the value
    /// there has grown.
    #[inline]
    pub(crate) fn appeared(&mut self, key: &[u8], of: Type) {
        if self.awaited {
            self.appeared.push((key.into(), of));
        }
    }

    /// A key no longer holds a value of this type, which may be what somebody waits for.
    #[inline]
    pub(crate) fn gone(&mut self, key: &[u8], of: Type) {
        // Who waits for one to take from goes on waiting.
        if of == Type::Stream {
            self.appeared(key, of);
        }
    }

    /// Whether [`Effects::appeared`] is to remember anything.
    pub(crate) fn set_awaited(&mut self, awaited: bool) {
        self.awaited = awaited;
    }

    /// Whether a key has appeared that somebody may wait for.
    #[inline]
    pub(crate) fn has_appeared(&self) -> bool {
        self.overturned || !self.appeared.is_empty()
    }

    /// Whether databases have changed places or been emptied. Forgets it.
    pub(crate) fn take_overturned(&mut self) -> bool {
        std::mem::take(&mut self.overturned)
    }

    /// A snapshot has begun.
    pub(crate) fn note_cut(&mut self) {
        self.cut = true;
    }

    /// Whether one has begun since this was last asked.
    #[inline]
    pub(crate) fn take_cut(&mut self) -> bool {
        std::mem::take(&mut self.cut)
    }

    /// The keys that have appeared, first come first.
    pub(crate) fn take_appeared(&mut self) -> Vec<(Box<[u8]>, Type)> {
        std::mem::take(&mut self.appeared)
    }

    /// The time of these fields of the hash `key` had come, and they are gone; the key with
    /// them, if it is `emptied`.
    pub(crate) fn expired_fields(
        &mut self,
        key: &[u8],
        hash: impl FnOnce() -> u64,
        fields: &[Vec<u8>],
        emptied: bool,
    ) {
        if !self.listens && !self.recording {
            return;
        }
        let hash = hash();
        if emptied {
            self.emptied(key);
        }
        // Whoever looks, it is not he who has changed it.
        let by = self.tracking.set_caller(None);
        self.watches.touch(self.db, key);
        self.tracking.touch(key);
        self.tracking.set_caller(by);
        self.notices.add(self.db, key, Event::HExpired);
        self.log_notices_of(|| hash);
        if self.recording {
            let mut parts = vec![&b"HDEL"[..], key];
            parts.extend(fields.iter().map(Vec::as_slice));
            self.log.write_of_key(|| hash, self.db, parts.into_iter());
        }
    }

    fn write<'a>(&mut self, parts: impl ExactSizeIterator<Item = &'a [u8]>) {
        let is_common = std::mem::take(&mut self.is_common);
        self.log.write(self.db, parts, is_common);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TicketId = TicketId(1);
    const OTHER: TicketId = TicketId(2);

    fn recording() -> Effects {
        let mut effects = Effects::new(1, true);
        effects.record(true);
        effects.begin(DbIndex(0));
        effects
    }

    fn run(effects: &mut Effects, words: &str) {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        effects.changed(words[1], Event::Set);
        effects.replace(&words);
        effects.finish(words.into_iter());
    }

    fn reserve(effects: &mut Effects, ticket: TicketId, keys: &[u64]) {
        effects.reserve(ticket, (keys.iter().copied(), false), true);
    }

    fn piece(effects: &mut Effects, ticket: TicketId, words: &str) {
        effects.enter_ticket(ticket);
        run(effects, words);
        effects.leave_ticket();
    }

    /// The hash of a key, for tests: its first letter.
    fn hash(key: &[u8]) -> impl FnOnce() -> u64 {
        let first = u64::from(key[0]);
        move || first
    }

    fn expire(effects: &mut Effects, key: &[u8]) {
        effects.expired(key, hash(key));
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
    fn pieces_of_a_ticket_stand_together_where_it_came() {
        let mut effects = recording();
        run(&mut effects, "SET a 1");
        reserve(&mut effects, ONE, &[]);
        piece(&mut effects, ONE, "SET b 1");
        run(&mut effects, "SET c 1");
        reserve(&mut effects, OTHER, &[]);
        piece(&mut effects, OTHER, "SET d 1");
        run(&mut effects, "SET e 1");
        assert_eq!(taken(&mut effects), "SELECT 0, SET a 1");
        effects.begin(DbIndex(3));
        piece(&mut effects, ONE, "SET b 2");
        assert_eq!(taken(&mut effects), "", "it is not over");
        effects.end_ticket(ONE);
        assert_eq!(
            taken(&mut effects),
            "SELECT 0, MULTI, SET b 1, SELECT 3, SET b 2, EXEC, SELECT 0, SET c 1"
        );
        effects.end_ticket(TicketId(3));
        effects.end_ticket(OTHER);
        assert_eq!(taken(&mut effects), "SELECT 0, SET d 1, SET e 1");
    }

    #[test]
    fn what_one_request_leaves_stands_together() {
        let mut effects = recording();
        let ask = |effects: &mut Effects, replacements: &[&[&[u8]]]| {
            effects.begin(DbIndex(0));
            expire(effects, b"x");
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
    fn a_block_in_one_piece_stands_together() {
        let mut effects = recording();
        run(&mut effects, "SET a 1");
        effects.open_block();
        run(&mut effects, "SET a 2");
        effects.begin(DbIndex(3));
        run(&mut effects, "SET b 1");
        effects.close_block();
        effects.open_block();
        run(&mut effects, "SET c 1");
        effects.close_block();
        let log = "SELECT 0, SET a 1, MULTI, SET a 2, SELECT 3, SET b 1, EXEC, SET c 1";
        assert_eq!(taken(&mut effects), log);
    }

    #[test]
    fn a_key_expires_with_the_ticket_that_has_it() {
        let mut effects = recording();
        expire(&mut effects, b"a");
        reserve(&mut effects, ONE, &[u64::from(b'a')]);
        reserve(&mut effects, OTHER, &[u64::from(b'a'), u64::from(b'b')]);
        expire(&mut effects, b"a");
        piece(&mut effects, ONE, "PEXPIREAT a 5");
        expire(&mut effects, b"a");
        expire(&mut effects, b"c");
        effects.expired_fields(b"b", hash(b"b"), &[b"field".to_vec()], false);
        effects.end_ticket(ONE);
        expire(&mut effects, b"a");
        effects.end_ticket(OTHER);
        assert_eq!(
            taken(&mut effects),
            "SELECT 0, DEL a, MULTI, DEL a, PEXPIREAT a 5, DEL a, EXEC, \
             MULTI, HDEL b field, DEL a, EXEC, DEL c"
        );
    }

    #[test]
    fn whatever_expires_goes_with_who_has_the_shard() {
        let mut effects = recording();
        effects.reserve(ONE, (std::iter::empty(), true), true);
        piece(&mut effects, ONE, "SWAPDB 0 1");
        expire(&mut effects, b"a");
        assert_eq!(taken(&mut effects), "");
        effects.end_ticket(ONE);
        let log = "SELECT 0, MULTI, SWAPDB 0 1, DEL a, EXEC";
        assert_eq!(taken(&mut effects), log);
    }

    #[test]
    fn what_only_reads_takes_no_place() {
        let mut effects = recording();
        piece(&mut effects, ONE, "PFCOUNT a");
        run(&mut effects, "SET b 1");
        let log = "SELECT 0, PFCOUNT a, SET b 1";
        assert_eq!(taken(&mut effects), log);
    }

    #[test]
    fn who_stops_recording_forgets_what_is_not_over() {
        let mut effects = recording();
        reserve(&mut effects, ONE, &[]);
        piece(&mut effects, ONE, "SET a 1");
        effects.record(false);
        effects.record(true);
        effects.end_ticket(ONE);
        assert_eq!(taken(&mut effects), "");
    }
}
