//! Parts of transactions that are done in slices: KEYS and whatever else goes
//! through a whole shard.
//!
//! Such a part ([`flags::SLICED`](crate::command::flags::SLICED)) runs under a
//! shared lock of the whole shard. What is not over after one call waits in a
//! queue; the server takes a step of it now and then ([`Node::go_on`]) and serves
//! clients in between. Reads pass the lock, writes wait. All steps are judged at the
//! instant of their transaction, and what expires meanwhile is kept for them.
//!
//! The lock is the transaction's: a client that goes away leaves none, because the
//! part runs to its end for nobody.

use super::Node;
use crate::command::{Args, Cargo, OwnedArgs};
use crate::order::batch::{Batch, Call, Item, Ticket};
use crate::order::transaction::Transaction;
use crate::order::watch::Ran;
use crate::types::{ShardId, UnixMs};

/// A part that is not over.
pub(super) struct Slice {
    /// The instant at which its transaction is judged.
    at: UnixMs,
    ticket: Ticket,
    call: Call,
    /// The transaction has nothing else to do on this shard.
    last: bool,
    cargo: Cargo,
    args: OwnedArgs,
    /// What its steps have taken so far.
    ticks: u64,
}

impl Node {
    /// Whether a part of a transaction, or a long reply, is to go on here.
    #[inline]
    pub fn has_slices(&self) -> bool {
        !self.slices.is_empty() || self.long.are_hurried()
    }

    /// Takes one step, of some ten microseconds, of a part that is not over, and
    /// of a long reply. If there are several, each in turn.
    pub fn go_on(&mut self, now: UnixMs) {
        self.go_on_hurried(now);
        let Some(mut slice) = self.slices.pop_front() else {
            return;
        };
        let mut reply = Vec::new();
        let args = slice.args.args();
        let ran = self.apply(slice.at, &slice.call, args, &mut slice.cargo, &mut reply);
        let mut ran = ran.expect("a part of a transaction never waits");
        slice.ticks += ran.ticks;
        if slice.cargo.goes_on() {
            self.slices.push_back(slice);
            return;
        }
        ran.ticks = slice.ticks;
        let Slice {
            ticket,
            last,
            cargo,
            ..
        } = slice;
        if last {
            self.release_here(ticket);
        }
        if ticket.home == self.id {
            self.take_part(now, self.id, ticket, (ran, cargo), reply);
        } else {
            let item = Item::Ended {
                ticket,
                ran,
                cargo,
                reply,
            };
            self.batch_for(ticket.home).push(item, std::iter::empty());
        }
        self.pump(now);
    }

    /// The first step of a part is done, and it is not over.
    pub(super) fn put_off(
        &mut self,
        at: UnixMs,
        ticket: Ticket,
        (call, last, cargo): (Call, bool, Cargo),
        args: Args<'_>,
        ran: Ran,
    ) {
        self.slices.push_back(Slice {
            at,
            ticket,
            call,
            last,
            cargo,
            args: OwnedArgs::new(args.iter()),
            ticks: ran.ticks,
        });
    }

    /// A part that was put off is over on another shard.
    pub(super) fn take_ended(&mut self, now: UnixMs, from: ShardId, at: usize, batch: &mut Batch) {
        let Item::Ended {
            ticket,
            ran,
            cargo,
            reply,
        } = &mut batch.items[at]
        else {
            return;
        };
        let (ticket, part) = (*ticket, (*ran, std::mem::take(cargo)));
        let reply = std::mem::take(reply);
        self.take_part(now, from, ticket, part, reply);
    }

    /// A transaction has its reply, which ends with these pieces.
    pub(super) fn end_with(
        &mut self,
        now: UnixMs,
        transaction: &Transaction,
        (failed, reply): (bool, Vec<u8>),
        pieces: Vec<Vec<u8>>,
    ) {
        if pieces.is_empty() {
            self.end(now, transaction, failed, reply);
            return;
        }
        let Some((ticket, index)) = transaction.parent else {
            self.end(now, transaction, failed, reply);
            if let Some(answer) = self.answers.last_mut() {
                answer.pieces = pieces;
            }
            return;
        };
        let bytes_max = self.reply_bytes_max();
        if let Some(program) = self.program(ticket) {
            program.keep_reply(index as usize, Vec::new(), pieces, bytes_max);
        }
        self.end(now, transaction, failed, reply);
    }
}
