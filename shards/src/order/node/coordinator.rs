//! What the coordinator does, and what shards do as it says.

use super::convoy::{CONVOY, EVERYWHERE};
use super::{Node, number_of};
use crate::order::batch::{Item, Lock, Ticket};
use crate::types::ShardId;

impl Node {
    /// As coordinator: this transaction comes next. Everybody who takes part
    /// is told to lock.
    pub(super) fn order(&mut self, ticket: Ticket, locks: &[(ShardId, Lock)]) {
        for group in locks.chunk_by(|a, b| a.0 == b.0) {
            let Some((target, _)) = group.first().copied() else {
                continue;
            };
            if target == self.id {
                self.lock_here(ticket, group);
            } else {
                self.order_there(target, ticket, group);
            }
        }
        // What it is to lock there its home core knows.
        if is_eager(ticket) && ticket.home != self.id {
            self.order_there(ticket.home, ticket, &[]);
        }
    }

    /// As coordinator: another shard is told to lock.
    pub(super) fn order_there(
        &mut self,
        target: ShardId,
        ticket: Ticket,
        locks: &[(ShardId, Lock)],
    ) {
        let batch = self.batch_for(target);
        batch.locks.extend_from_slice(locks);
        let locks_end = number_of(batch.locks.len());
        batch.push(Item::Lock { ticket, locks_end }, std::iter::empty());
    }

    /// The coordinator says: lock this; nothing if this node knows what.
    pub(super) fn lock_here(&mut self, ticket: Ticket, locks: &[(ShardId, Lock)]) {
        let locks = if locks.is_empty() {
            self.own_locks(ticket)
        } else {
            locks.iter().map(|(_, lock)| *lock).collect()
        };
        self.lock(ticket, locks);
    }

    /// A ticket asks for its locks on this shard; `granted` will name it.
    pub(super) fn lock(&mut self, ticket: Ticket, locks: Vec<Lock>) {
        if self.try_lock(ticket, locks) {
            self.granted.push_back(ticket);
        }
    }

    /// A ticket asks for its locks on this shard; whether it has what it needs
    /// to go on. If not, `granted` will name it when it has.
    ///
    /// A convoy on all shards needs no more than its places in the queues. When it
    /// has them everywhere, so has whatever was ordered before it: who has seen it
    /// done on one shard finds what it has not done yet, and what it comes after,
    /// locked.
    pub(super) fn try_lock(&mut self, ticket: Ticket, locks: Vec<Lock>) -> bool {
        let granted = if is_eager(ticket) {
            self.locks.queue(ticket, locks)
        } else {
            self.locks.lock(ticket, locks)
        };
        self.mind_waits();
        granted
    }
}

/// Whether a ticket is that of a convoy on all shards.
fn is_eager(ticket: Ticket) -> bool {
    const EAGER: u32 = CONVOY | EVERYWHERE;
    ticket.number & EAGER == EAGER
}
