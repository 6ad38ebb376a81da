//! Parts of convoys, as their shard runs them.

use super::Site;
use crate::keyspace::{Keyspace, Located};
use crate::order::batch::{Batch, Item, ReplyEnd};
use crate::order::locks::Lock;
use crate::order::reply::Ran;
use crate::order::ticket::Ticket;
use crate::types::{ShardId, UnixMs};

/// Keys of a box whose entries are fetched ahead of the part that is to run, and
/// beyond them those of which only the lines of the tables are.
const ENTRIES_AHEAD: usize = 12;
const LINES_AHEAD: usize = 24;

/// How far the memory of a box's keys has been fetched.
#[derive(Default)]
struct Fetched {
    entries: usize,
    lines: usize,
}

impl Fetched {
    /// Fetches what lies ahead of the part whose keys end there.
    #[inline]
    fn fetch(&mut self, keyspace: &Keyspace, located: &[Located], end: usize) {
        let lines = located.len().min(end + LINES_AHEAD).max(self.lines);
        for key in &located[self.lines..lines] {
            keyspace.prefetch_line(key);
        }
        let entries = located.len().min(end + ENTRIES_AHEAD).max(self.entries);
        for key in &located[self.entries..entries] {
            keyspace.prefetch_entry(key);
        }
        (self.entries, self.lines) = (entries, lines);
    }
}

impl Site {
    /// Runs a box of a convoy, or has it wait: given back when it has run. Where other
    /// requests hold locks it waits until those of its keys are free, all of it.
    pub fn run_or_park_box(
        &mut self,
        now: UnixMs,
        from: ShardId,
        ticket: Ticket,
        mut batch: Box<Batch>,
    ) -> Option<Box<Batch>> {
        if self.locks.is_empty() || self.is_box_free(&batch) {
            self.run_parts(now, ticket, &mut batch);
            return self.ran_parts(from, batch);
        }
        let locks = batch.key_locks().collect();
        if self.shard.effects().is_recording() {
            self.reserve_parts(ticket, &batch);
        }
        self.parked_boxes.insert(ticket, (from, batch));
        self.lock_now(now, ticket, locks);
        None
    }

    /// Whether nobody but a snapshot has locks, and it need not encode anything first that
    /// the parts of a box change.
    #[cold]
    fn is_box_free(&self, batch: &Batch) -> bool {
        let free = |lock: Lock| self.is_lock_free(&lock);
        self.locks.are_all_ahead() && batch.key_locks().all(free)
    }

    /// The parts of a box that has to wait take their places in the log.
    #[cold]
    fn reserve_parts(&mut self, ticket: Ticket, batch: &Batch) {
        for (index, item) in batch.items.iter().enumerate() {
            if let Item::Part { call, member, .. } = item
                && call.write
            {
                let keys = batch.located[batch.keys(index)].iter();
                let scope = (keys.map(|key| key.hash), false);
                let effects = self.shard.effects();
                effects.stand_at(|| batch.stamp_of(index));
                effects.reserve(ticket.part_id(*member), scope, true);
            }
        }
    }

    /// The locks for a box of a convoy are free: it runs, as of the instant at which it
    /// came. Afterwards its ticket is to be released.
    pub fn run_parked_box(&mut self, now: UnixMs, ticket: Ticket) -> Option<Box<Batch>> {
        let at = self.looks_at(ticket).unwrap_or(now);
        let (from, mut batch) = self.parked_boxes.remove(&ticket)?;
        self.run_parts(at, ticket, &mut batch);
        self.ran_parts(from, batch)
    }

    /// Sends an answered box back, unless it is this core's.
    fn ran_parts(&mut self, from: ShardId, batch: Box<Batch>) -> Option<Box<Batch>> {
        if from == self.id {
            return Some(batch);
        }
        self.post.depart(from, batch);
        None
    }

    /// Runs the parts of a convoy on this shard.
    fn run_parts(&mut self, now: UnixMs, ticket: Ticket, batch: &mut Batch) {
        let mut out = std::mem::take(&mut batch.replies);
        let mut fetched = Fetched::default();
        let mut began = (self.timing.clock)();
        for index in 0..batch.items.len() {
            let Item::Part { call, member, .. } = batch.items[index] else {
                continue;
            };
            let keys = batch.keys(index);
            let keyspace = self.shard.keyspace(call.db);
            fetched.fetch(keyspace, &batch.located, keys.end);
            let request = call.request(batch.args(index));
            let id = ticket.part_id(member);
            let effects = self.shard.effects();
            effects.stand_at(|| batch.stamp_of(index));
            effects.begin_part(id, call.write);
            let known = &batch.located[keys];
            self.begins(&call);
            let ran = self.shard.apply_known(now, &request, known, &mut out);
            self.ran(&call, batch.args(index));
            let effects = self.shard.effects();
            if effects.is_ordering_notices() {
                effects.place_part(batch.placed_keys(index));
            }
            effects.end_part(id);
            let ended = (self.timing.clock)();
            let answer = ReplyEnd {
                end: out.len(),
                ran: Ran::of(&ran, ended.saturating_sub(began)),
            };
            began = ended;
            if let Item::Part { reply, .. } = &mut batch.items[index] {
                *reply = Some(answer);
            }
        }
        batch.replies = out;
        batch.answered = true;
    }
}
