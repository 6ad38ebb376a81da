//! Convoys: requests of one round, as their home core sends them on their way.

use super::Node;
use crate::command::{Args, Merge, Row};
use crate::error::CommandError;
use crate::keyspace::{Keyspace, Located};
use crate::order::batch::{Batch, Item, ReplyEnd};
use crate::order::call::Call;
use crate::order::convoy::Convoy;
use crate::order::reply::Ran;
use crate::order::split::{Owners, part_step};
use crate::order::ticket::{Client, Ticket, TicketKind};
use crate::resp::Reply;
use crate::types::{ShardId, UnixMs};

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
        (client, call, merge): (Client, Call, Merge),
        row: &Row,
        owners: Owners,
        args: Args<'_>,
    ) {
        let mut convoy = self
            .open
            .take()
            .unwrap_or_else(|| self.spare_convoys.pop().unwrap_or_default());
        convoy.boxes.resize_with(usize::from(self.shards), || None);
        let keys = owners.positions.iter().zip(&owners.shards).enumerate();
        let keys = keys.map(|(index, (at, shard))| {
            let locate = || self.shard.locate(args.get(*at).unwrap_or_default());
            let located = owners.located.get(index).copied();
            (*at, *shard, located.unwrap_or_else(locate))
        });
        let post = &mut self.post;
        let fits = convoy.join((client, call, merge), (args, part_step(row)), keys, || {
            post.empty_box()
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
            self.post
                .answer(client, call.row, Ran::ended(true), None, &reply);
        }
        if full {
            self.close_convoy();
        }
    }

    /// The convoy that is being filled takes its place in the order: its boxes are
    /// complete. What has been put into boxes before comes before it, on all shards.
    pub(super) fn close_convoy(&mut self) {
        let Some(mut convoy) = self.open.take() else {
            return;
        };
        self.post.close();
        let ticket = self
            .tickets
            .issue(TicketKind::Convoy, self.convoys.vacant_key());
        convoy.ticket = Some(ticket);
        convoy.missing = convoy.shards();
        for (index, place) in (0..).zip(&mut convoy.boxes) {
            if let Some(mut batch) = place.take() {
                batch.convoy = Some(ticket);
                self.post.depart(ShardId(index), batch);
            }
        }
        self.convoys.insert(convoy);
    }

    /// What is sent from now on comes after all that has been begun, also if that is in
    /// the convoy that is being filled.
    #[inline]
    pub fn follow_convoy(&mut self) {
        if self.open.is_some() {
            self.close_convoy();
        }
    }

    fn convoy(&mut self, ticket: Ticket) -> Option<&mut Box<Convoy>> {
        let convoy = self.convoys.get_mut(ticket.index())?;
        (convoy.ticket == Some(ticket)).then_some(convoy)
    }

    /// A box of a convoy has come: to be worked on, or answered. Where other requests
    /// hold locks it waits until those of its keys are free, all of it.
    pub(super) fn receive_parts(
        &mut self,
        now: UnixMs,
        from: ShardId,
        ticket: Ticket,
        batch: Box<Batch>,
    ) {
        if batch.answered {
            self.take_parts(from, ticket, batch);
        } else if self.locks.is_empty() {
            self.run_box(now, from, ticket, batch);
        } else {
            let locks = batch.key_locks().collect();
            self.held.insert(ticket, (from, batch));
            self.lock_now(now, ticket, locks);
        }
        self.pump(now);
    }

    /// The locks for a box of a convoy are free: it runs, as of the instant at which it
    /// came.
    pub(super) fn run_held(&mut self, now: UnixMs, ticket: Ticket) {
        let at = self.looks_at(ticket).unwrap_or(now);
        if let Some((from, batch)) = self.held.remove(&ticket) {
            self.run_box(at, from, ticket, batch);
            self.release_here(ticket);
        }
    }

    fn run_box(&mut self, now: UnixMs, from: ShardId, ticket: Ticket, mut batch: Box<Batch>) {
        self.run_parts(now, &mut batch);
        if from == self.id {
            self.take_parts(from, ticket, batch);
        } else {
            self.post.depart(from, batch);
        }
    }

    /// Runs the parts of a convoy on this shard.
    fn run_parts(&mut self, now: UnixMs, batch: &mut Batch) {
        let mut out = std::mem::take(&mut batch.replies);
        let mut fetched = Fetched::default();
        let mut began = (self.timing.clock)();
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

    /// The answered box of one shard is back. The last one ends the convoy.
    fn take_parts(&mut self, from: ShardId, ticket: Ticket, batch: Box<Batch>) {
        let Some(convoy) = self.convoy(ticket) else {
            return self.post.keep(batch);
        };
        convoy.boxes[from.index()] = Some(batch);
        convoy.missing -= 1;
        if convoy.missing > 0 {
            return;
        }
        let mut convoy = self.convoys.remove(ticket.index());
        let bytes_max = self.reply_bytes_max();
        for index in 0..convoy.members.len() {
            let member = &convoy.members[index];
            let (client, row) = (member.client, member.call.row);
            self.post.answer_with(client, row, |out| {
                let ran = convoy.merge(index, out, bytes_max);
                let slow = ran.ticks >= self.timing.slow;
                (ran, slow.then(|| Box::new(convoy.request(index))))
            });
        }
        for batch in convoy.boxes.iter_mut().filter_map(Option::take) {
            self.post.keep(batch);
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
