//! Convoys: requests of one round, as their home core sends them on their way.

use super::Node;
use crate::command::{Args, Merge, Row};
use crate::error::CommandError;
use crate::keyspace::{Keyspace, Located};
use crate::order::batch::{Batch, Call, Client, Item, Lock, ReplyEnd, Ticket, clear_to};
use crate::order::convoy::Convoy;
use crate::order::split::{Owners, part_step};
use crate::order::watch::Ran;
use crate::resp::Reply;
use crate::types::{ShardId, UnixMs};

/// Marks the numbers of tickets that belong to convoys.
pub(super) const CONVOY: u32 = 1 << 28;

/// Marks the numbers of those that take part on all shards.
pub(super) const EVERYWHERE: u32 = 1 << 27;

/// Empty convoys that are kept.
const SPARE_CONVOYS: usize = 16;

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

impl Node {
    /// Has a request travel with the convoy that is being filled.
    pub(super) fn join(
        &mut self,
        now: UnixMs,
        (client, call, merge): (Client, Call, Merge),
        row: &Row,
        owners: Owners,
        args: Args<'_>,
    ) {
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.writes != call.write)
        {
            self.close_convoy(now);
        }
        let mut convoy = self
            .open
            .take()
            .unwrap_or_else(|| self.spare_convoys.pop().unwrap_or_default());
        convoy.writes = call.write;
        convoy.boxes.resize_with(usize::from(self.shards), || None);
        let keys = owners.positions.iter().zip(&owners.shards).enumerate();
        let keys = keys.map(|(index, (at, shard))| {
            let locate = || self.shard.locate(args.get(*at).unwrap_or_default());
            let located = owners.located.get(index).copied();
            (*at, *shard, located.unwrap_or_else(locate))
        });
        let spare = &mut self.spare;
        let fits = convoy.join((client, call, merge), (args, part_step(row)), keys, || {
            spare.pop().unwrap_or_default()
        });
        let full = convoy.is_full();
        if convoy.members.is_empty() {
            self.spare_convoys.push(convoy);
        } else {
            self.open = Some(convoy);
        }
        self.reuse(owners);
        if !fits {
            let mut reply = Vec::new();
            Reply::new(&mut reply, call.protocol).error(&CommandError::OutOfMemory);
            self.answer(client, call.row, Ran::ended(true), None, &reply);
        }
        if full {
            self.close_convoy(now);
        }
    }

    /// The convoy that is being filled takes its place in the order. Whatever
    /// is begun after it comes after it.
    pub(super) fn close_convoy(&mut self, now: UnixMs) {
        let Some(mut convoy) = self.open.take() else {
            return;
        };
        let index = self.convoys.vacant_key();
        let shards = convoy.shards();
        let everywhere = shards == usize::from(self.shards);
        let ticket = self.ticket(index, CONVOY | if everywhere { EVERYWHERE } else { 0 });
        convoy.ticket = Some(ticket);
        convoy.locking = true;
        convoy.missing = shards;
        let partner = convoy.partner(self.id);
        if let Some(partner) = partner.filter(|_| self.id == self.coordinator) {
            self.begin_with(partner, ticket, &mut convoy);
        } else {
            // What this shard is to lock it knows itself: it is told only when.
            let known = everywhere && self.id != self.coordinator;
            let mut locks = std::mem::take(&mut self.lock_room);
            locks.extend(convoy.locks(known.then_some(self.id)));
            self.ask_for_place(ticket, &locks);
            clear_to(&mut locks, SPARE_KEYS);
            self.lock_room = locks;
        }
        self.convoys.insert(convoy);
        self.pump(now);
    }

    /// A convoy of the coordinator's own and one other shard begins. Once it has
    /// its locks here nothing is left to wait for: the box goes out with the locks
    /// that it needs, and when it is back answered, the work here may begin.
    fn begin_with(&mut self, partner: ShardId, ticket: Ticket, convoy: &mut Convoy) {
        let granted = self.try_lock(ticket, convoy.locks_of(self.id));
        if granted && let Some(mut batch) = convoy.boxes[partner.index()].take() {
            convoy.locking = false;
            (batch.convoy, batch.unlocked) = (Some(ticket), true);
            // What has been ordered before it must not come later.
            let before = self.outgoing[partner.index()].take();
            let before = before.map(|before| (partner, before));
            self.departing.extend(before);
            self.departing.push((partner, batch));
            return;
        }
        let locks: Vec<(ShardId, Lock)> = convoy.locks(Some(self.id)).collect();
        self.order_there(partner, ticket, &locks);
    }

    /// What a convoy of this node is to lock here.
    pub(super) fn own_locks(&mut self, ticket: Ticket) -> Vec<Lock> {
        let own = self.id;
        let convoy = self.convoy(ticket);
        convoy.map_or_else(Vec::new, |convoy| convoy.locks_of(own))
    }

    fn convoy(&mut self, ticket: Ticket) -> Option<&mut Box<Convoy>> {
        let index = ticket.number & !(CONVOY | EVERYWHERE);
        let convoy = self.convoys.get_mut(index as usize)?;
        (convoy.ticket == Some(ticket)).then_some(convoy)
    }

    /// One more shard has granted a convoy of this node. When all have, its
    /// boxes go out.
    pub(super) fn convoy_granted(&mut self, now: UnixMs, ticket: Ticket) {
        let Some(convoy) = self.convoy(ticket).filter(|convoy| convoy.locking) else {
            return;
        };
        convoy.missing -= 1;
        if convoy.missing > 0 {
            return;
        }
        convoy.locking = false;
        convoy.missing = convoy.shards();
        let mut boxes = std::mem::take(&mut convoy.boxes);
        let mut own = None;
        for (index, place) in (0..).zip(&mut boxes) {
            let Some(mut batch) = place.take() else {
                continue;
            };
            batch.convoy = Some(ticket);
            if ShardId(index) == self.id {
                own = Some(batch);
            } else {
                self.departing.push((ShardId(index), batch));
            }
        }
        if let Some(convoy) = self.convoy(ticket) {
            convoy.boxes = boxes;
        }
        if let Some(batch) = own {
            self.run_or_hold(now, self.id, ticket, batch);
        }
    }

    /// A box of a convoy has come: to be worked on, or answered.
    pub(super) fn receive_parts(
        &mut self,
        now: UnixMs,
        from: ShardId,
        ticket: Ticket,
        mut batch: Box<Batch>,
    ) {
        if batch.answered {
            self.take_parts(now, from, ticket, batch);
        } else {
            if std::mem::take(&mut batch.unlocked) {
                self.locks.queue(ticket, batch.key_locks().collect());
                self.mind_waits();
            }
            self.run_or_hold(now, from, ticket, batch);
        }
        self.pump(now);
    }

    /// Runs a box of a convoy as soon as its locks are free.
    fn run_or_hold(&mut self, now: UnixMs, from: ShardId, ticket: Ticket, batch: Box<Batch>) {
        if self.locks.waits(ticket) {
            self.held.insert(ticket, (from, batch));
        } else {
            self.run_box(now, from, ticket, batch);
        }
    }

    /// Runs a box whose locks have become free; false if there is none.
    #[inline]
    pub(super) fn run_held(&mut self, now: UnixMs) -> bool {
        let Some(ticket) = self.locks.next_ready() else {
            return false;
        };
        // Otherwise it is still on its way.
        if let Some((from, batch)) = self.held.remove(&ticket) {
            self.run_box(now, from, ticket, batch);
        }
        true
    }

    fn run_box(&mut self, now: UnixMs, from: ShardId, ticket: Ticket, mut batch: Box<Batch>) {
        self.run_parts(now, ticket, &mut batch);
        if from == self.id {
            self.take_parts(now, from, ticket, batch);
        } else {
            self.departing.push((from, batch));
        }
    }

    /// Runs the parts of a convoy on this shard and releases its locks here.
    fn run_parts(&mut self, now: UnixMs, ticket: Ticket, batch: &mut Batch) {
        let mut out = std::mem::take(&mut batch.replies);
        let mut fetched = Fetched::default();
        let mut began = (self.watch.clock)();
        for index in 0..batch.items.len() {
            let Item::Part { call, .. } = batch.items[index] else {
                continue;
            };
            let keys = batch.keys(index);
            let keyspace = self.shard.keyspace(call.db);
            fetched.fetch(keyspace, &batch.located, keys.end);
            let request = call.request(batch.args(index));
            self.shard.effects().open_block();
            let known = &batch.located[keys];
            let ran = self.shard.apply_known(now, &request, known, &mut out);
            self.shard.effects().close_block();
            let ended = (self.watch.clock)();
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
        self.release_here(ticket);
        batch.answered = true;
    }

    /// The answered box of one shard is back. The last one ends the convoy.
    fn take_parts(&mut self, now: UnixMs, from: ShardId, ticket: Ticket, batch: Box<Batch>) {
        let own = self.id.index();
        let Some(convoy) = self.convoy(ticket).filter(|convoy| !convoy.locking) else {
            return self.keep(batch);
        };
        convoy.boxes[from.index()] = Some(batch);
        convoy.missing -= 1;
        if convoy.missing > 0 {
            // What has waited for the only other shard; see `begin_with`.
            if let Some(own) = convoy.boxes[own].take_if(|own| !own.answered) {
                self.run_or_hold(now, self.id, ticket, own);
            }
            return;
        }
        let index = ticket.number & !(CONVOY | EVERYWHERE);
        let mut convoy = self.convoys.remove(index as usize);
        let bytes_max = self.reply_bytes_max();
        for index in 0..convoy.members.len() {
            let ended = convoy.merge(index, &mut self.answer_bytes, bytes_max);
            let slow = ended.ticks >= self.watch.slow;
            let slow = slow.then(|| Box::new(convoy.request(index)));
            let ran = Ran {
                failed: ended.failed,
                too_long: ended.too_long,
                ticks: ended.ticks,
            };
            let member = &convoy.members[index];
            self.answered(member.client, member.call.row, ran, slow);
        }
        for batch in convoy.boxes.iter_mut().filter_map(Option::take) {
            self.keep(batch);
        }
        if self.spare_convoys.len() < SPARE_CONVOYS {
            convoy.clear();
            self.spare_convoys.push(convoy);
        }
    }

    /// Keeps the memory of what is no longer needed.
    pub(super) fn reuse(&mut self, owners: Owners) {
        if self.spare_owners.is_none() && owners.positions.capacity() <= SPARE_KEYS {
            self.spare_owners = Some(owners);
        }
    }
}

/// Keys of a request up to which the memory for their positions is kept.
const SPARE_KEYS: usize = 1024;
