//! At which instant what waits for locks is judged, and that nothing goes meanwhile.
//!
//! A request that waits for locks stands in the order where it came, so it sees the
//! shard as of then, however late it runs: a later request of another client may have
//! been served in between. From then on, the shard keeps what was not due
//! ([`Keep`](crate::Keep)), until the locks are released.
//!
//! Whatever a transaction or a block does, in however many rounds and on however many
//! shards, it does at one instant: the latest at which a shard was asked for its locks.
//! So nothing that is alive at the instant is missing, although each shard reads a
//! clock of its own.
//!
//! ```text
//!   shard A   asked ├───────── keeps ────────────┤ release
//!   shard B         ·    asked ├──── keeps ─────────┤ release
//!                              ^ the instant
//! ```
//!
//! A long reply has its instant, too, but keeps its key alone: its client may take
//! its time.

use super::Site;
use crate::keep::Keep;
use crate::order::ticket::{Ticket, TicketKind};
use crate::types::UnixMs;
use hashbrown::HashMap;

/// Since when what holds or wants locks looks at a shard.
pub(super) struct Looks(HashMap<Ticket, UnixMs, ahash::RandomState>);

impl Looks {
    pub fn new(hasher: ahash::RandomState) -> Self {
        Self(HashMap::with_hasher(hasher))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn begin(&mut self, now: UnixMs, ticket: Ticket, keep: &mut Keep) {
        if self.0.insert(ticket, now).is_none() {
            keep.look(now);
        }
    }

    #[inline]
    fn end(&mut self, ticket: Ticket, keep: &mut Keep) {
        if !self.0.is_empty()
            && let Some(at) = self.0.remove(&ticket)
        {
            keep.looked(at);
        }
    }
}

impl Site {
    /// A ticket has asked for its locks here.
    #[inline]
    pub(super) fn look_from(&mut self, now: UnixMs, ticket: Ticket) {
        if ticket.kind != TicketKind::Key && self.locks.knows(ticket) {
            self.look_for_long(now, ticket);
        }
    }

    /// A request on this shard alone, which holds its locks, does not end at once.
    pub(super) fn look_for_long(&mut self, now: UnixMs, ticket: Ticket) {
        self.looks.begin(now, ticket, self.shard.keep());
    }

    /// When it did.
    #[inline]
    pub fn looks_at(&self, ticket: Ticket) -> Option<UnixMs> {
        self.looks.0.get(&ticket).copied()
    }

    /// This shard releases the locks of a transaction.
    #[inline]
    pub(super) fn look_over(&mut self, ticket: Ticket) {
        self.looks.end(ticket, self.shard.keep());
    }
}
