//! Convoys: requests of one round, as their home core sends them on their way.

use super::Node;
use crate::command::{Args, Merge, Row};
use crate::error::CommandError;
use crate::order::batch::Batch;
use crate::order::call::Call;
use crate::order::convoy::Convoy;
use crate::order::reply::Ran;
use crate::order::split::{Owners, part_step};
use crate::order::ticket::{Client, Ticket, TicketKind};
use crate::resp::Reply;
use crate::types::{ShardId, UnixMs};

/// Empty convoys that are kept.
const SPARE_CONVOYS: usize = 16;

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
        convoy
            .boxes
            .resize_with(usize::from(self.site.shards), || None);
        let keys = owners.positions.iter().zip(&owners.shards).enumerate();
        let keys = keys.map(|(index, (at, shard))| {
            let locate = || self.site.shard.locate(args.get(*at).unwrap_or_default());
            let located = owners.located.get(index).copied();
            (*at, *shard, located.unwrap_or_else(locate))
        });
        let placed = self.site.shard.is_ordering_notices();
        let post = &mut self.site.post;
        let request = (args, part_step(row), placed);
        let fits = convoy.join((client, call, merge), request, keys, || post.empty_box());
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
            self.site
                .post
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
        self.site.post.close();
        let first_number = self.site.post.numbers(convoy.members.len());
        let index = self.convoys.vacant_key();
        let ticket = self.site.tickets.issue(TicketKind::Convoy, index);
        convoy.ticket = Some(ticket);
        convoy.missing = convoy.shards();
        for (index, place) in (0..).zip(&mut convoy.boxes) {
            if let Some(mut batch) = place.take() {
                batch.convoy = Some(ticket);
                batch.first_number = first_number;
                self.site.post.depart(ShardId(index), batch);
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

    /// A box of a convoy has come: to be worked on, or answered.
    pub(super) fn receive_parts(
        &mut self,
        now: UnixMs,
        from: ShardId,
        ticket: Ticket,
        batch: Box<Batch>,
    ) {
        if batch.answered {
            self.take_parts(from, ticket, batch);
        } else if let Some(batch) = self.site.run_or_park_box(now, from, ticket, batch) {
            self.take_parts(from, ticket, batch);
        }
        self.pump(now);
    }

    /// The locks for a box of a convoy are free.
    pub(super) fn run_parked_box(&mut self, now: UnixMs, ticket: Ticket) {
        if let Some(batch) = self.site.run_parked_box(now, ticket) {
            self.take_parts(self.site.id, ticket, batch);
        }
        self.site.release_here(ticket);
    }

    /// The answered box of one shard is back. The last one ends the convoy.
    fn take_parts(&mut self, from: ShardId, ticket: Ticket, batch: Box<Batch>) {
        let Some(convoy) = self.convoy(ticket) else {
            return self.site.post.keep(batch);
        };
        convoy.boxes[from.index()] = Some(batch);
        convoy.missing -= 1;
        if convoy.missing > 0 {
            return;
        }
        let mut convoy = self.convoys.remove(ticket.index());
        let bytes_max = self.site.reply_bytes_max();
        let mut merging = convoy.merging();
        for (index, member) in convoy.members.iter().enumerate() {
            let (client, row) = (member.client, member.call.row);
            self.site.post.answer_with(client, row, |out| {
                let ran = merging.merge(index, out, bytes_max);
                let slow = ran.ticks >= self.site.timing.slow;
                (ran, slow.then(|| Box::new(convoy.request(index))))
            });
        }
        for batch in convoy.boxes.iter_mut().filter_map(Option::take) {
            self.site.post.keep(batch);
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
