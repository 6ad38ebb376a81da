//! At which instant a transaction is judged, and that nothing goes meanwhile.
//!
//! Whatever a transaction or a block does, in however many rounds and on however many
//! shards, it does at one instant: the latest at which a shard has granted its locks.
//! From its grant on, a shard keeps what was not due then ([`Keep`](crate::Keep)),
//! until it releases the locks. So nothing that is alive at the instant is missing,
//! although each shard reads a clock of its own.
//!
//! ```text
//!   shard A   grant ├──────── keeps ────────────┤ release
//!   shard B         ·    grant ├──── keeps ─────────┤ release
//!                              ^ the instant
//! ```
//!
//! Convoys are not among them: each part of them is a single look.

use super::{CONVOY, Node, OFFERED, PARKED};
use crate::order::batch::Ticket;
use crate::types::UnixMs;

impl Node {
    /// This shard has granted a transaction its locks.
    #[inline]
    pub(super) fn look_from(&mut self, now: UnixMs, ticket: Ticket) {
        const ONE_LOOK: u32 = CONVOY | OFFERED | PARKED;
        if ticket.number & ONE_LOOK == 0 && self.locks.knows(ticket) {
            self.look_for_long(now, ticket);
        }
    }

    /// A request on this shard alone, which holds its locks, does not end at once.
    pub(super) fn look_for_long(&mut self, now: UnixMs, ticket: Ticket) {
        if self.looks.insert(ticket, now).is_none() {
            self.shard.keep().look(now);
        }
    }

    /// This shard releases the locks of a transaction.
    #[inline]
    pub(super) fn look_over(&mut self, ticket: Ticket) {
        if !self.looks.is_empty()
            && let Some(at) = self.looks.remove(&ticket)
        {
            self.shard.keep().looked(at);
        }
    }
}
