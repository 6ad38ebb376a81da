//! Parts of transactions, and commands of blocks, that are done in slices: KEYS and
//! whatever else goes through a whole shard, and those that go through many elements.
//!
//! The former ([`flags::SLICED`](crate::command::flags::SLICED)) run under a
//! shared lock of the whole shard, the latter ([`flags::HEAVY`](crate::command::flags::HEAVY))
//! under the locks of their keys. What is not over after one call waits in a
//! queue; the server takes a step of it now and then ([`Node::go_on`]) and serves
//! clients in between. Reads pass the lock, writes wait. All steps are judged at the
//! instant of their transaction, and what expires meanwhile is kept for them.
//!
//! The lock is the transaction's: a client that goes away leaves none, because the
//! part runs to its end for nobody.

use super::Node;
use super::block::LongBlock;
use crate::command::{Args, Cargo, OwnedArgs};
use crate::order::batch::{Batch, Item};
use crate::order::call::Call;
use crate::order::reply::Ran;
use crate::order::ticket::Ticket;
use crate::order::transaction::Transaction;
use crate::types::{ShardId, UnixMs};

/// From so many bytes on a reply is put aside while more comes.
const PIECE_BYTES: usize = 256 << 10;

/// What is not over.
pub(super) enum Slice {
    Part(Box<Part>),
    Block(Box<LongBlock>),
}

impl Slice {
    /// Whether it may change keys.
    pub fn writes(&self) -> bool {
        match self {
            Self::Part(part) => part.call.write,
            Self::Block(block) => block.writes(),
        }
    }
}

/// A part of a transaction, or a command of a program.
pub(super) struct Part {
    /// The instant at which its transaction is judged.
    at: UnixMs,
    ticket: Ticket,
    /// Who holds its locks.
    within: Ticket,
    call: Call,
    /// The number of the command in its program.
    step: Option<u32>,
    /// The transaction has nothing else to do on this shard.
    last: bool,
    cargo: Cargo,
    args: OwnedArgs,
    /// What its steps have replied, after what has been put aside, and what they have
    /// taken.
    reply: Vec<u8>,
    pieces: Vec<Vec<u8>>,
    pieces_len: usize,
    ticks: u64,
    /// That was too long: nothing is kept of it.
    too_long: bool,
}

impl Part {
    /// Puts a long reply aside, as more will come: growing it would copy.
    fn put_aside(&mut self) {
        let full = !self.cargo.inner && self.reply.len() >= PIECE_BYTES;
        if full && self.pieces.try_reserve(1).is_ok() {
            self.pieces_len += self.reply.len();
            self.pieces.push(std::mem::take(&mut self.reply));
        }
    }
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
        match self.slices.pop_front() {
            None => {}
            Some(Slice::Block(block)) => self.go_on_with(now, block),
            Some(Slice::Part(part)) => self.go_on_with_part(now, part),
        }
    }

    fn go_on_with_part(&mut self, now: UnixMs, mut part: Box<Part>) {
        let before = part.reply.len();
        self.group(part.within, false);
        let args = part.args.args();
        let ran = self.apply(part.at, &part.call, args, &mut part.cargo, &mut part.reply);
        self.shard.effects().pause_block();
        let mut ran = ran.expect("a part of a transaction never waits");
        part.ticks += ran.ticks;
        ran.ticks = part.ticks;
        if ran.failed {
            // It may not even have been called, for lack of arguments.
            part.cargo.sliced = None;
            part.reply.drain(..before);
            part.pieces = Vec::new();
        }
        let len = part.pieces_len + part.reply.len();
        let too_long = !part.cargo.inner && len > self.reply_bytes_max();
        part.too_long |= ran.too_long || too_long;
        if part.too_long {
            (part.reply, part.pieces) = (Vec::new(), Vec::new());
        }
        if part.cargo.goes_on() {
            part.put_aside();
            self.slices.push_back(Slice::Part(part));
            return;
        }
        ran.too_long = part.too_long;
        self.part_over(now, *part, ran);
        self.pump(now);
    }

    fn part_over(&mut self, now: UnixMs, part: Part, ran: Ran) {
        let Part {
            ticket,
            call,
            step,
            mut cargo,
            args,
            mut reply,
            mut pieces,
            ..
        } = part;
        if !pieces.is_empty() {
            pieces.push(std::mem::take(&mut reply));
            cargo.sliced.get_or_insert_default().written = pieces;
        }
        if part.last {
            self.release_here(ticket);
        }
        let slow = self.timing.keep(ran.ticks, args.args());
        match step {
            _ if ticket.home != self.id => {
                let item = Item::Ended {
                    ticket,
                    step: step.map(|index| (index, call.row)),
                    ran,
                    cargo,
                    reply,
                };
                let request = slow.iter().flat_map(|request| request.args().iter());
                let request = request.filter(|_| step.is_some());
                self.post.batch_for(ticket.home).push(item, request);
            }
            None => self.take_part(now, self.id, ticket, (ran, cargo), reply),
            Some(index) => {
                self.keep_written((ticket, index), cargo);
                let how = (call.row, ran, slow);
                self.step_done(now, (ticket, index as usize), how, reply);
            }
        }
    }

    /// The first step of a part is done, with this reply, and it is not over.
    pub(super) fn put_off(
        &mut self,
        (at, ticket, within): (UnixMs, Ticket, Ticket),
        (call, last, cargo): (Call, bool, Cargo),
        step: Option<u32>,
        args: Args<'_>,
        (ran, reply): (Ran, Vec<u8>),
    ) {
        self.slices.push_back(Slice::Part(Box::new(Part {
            at,
            ticket,
            within,
            call,
            step,
            last,
            cargo,
            args: OwnedArgs::new(args.iter()),
            reply,
            pieces: Vec::new(),
            pieces_len: 0,
            ticks: ran.ticks,
            too_long: ran.too_long,
        })));
    }

    /// What a command of a program has replied before the rest of its reply.
    fn keep_written(&mut self, (ticket, index): (Ticket, u32), cargo: Cargo) {
        let written = cargo.sliced.map(|sliced| sliced.written);
        let bytes_max = self.reply_bytes_max();
        if let Some(written) = written.filter(|written| !written.is_empty())
            && let Some(program) = self.program(ticket)
        {
            program.keep_reply(index as usize, Vec::new(), written, bytes_max);
        }
    }

    /// A part that was put off is over on another shard.
    pub(super) fn take_ended(&mut self, now: UnixMs, from: ShardId, at: usize, batch: &mut Batch) {
        let Item::Ended {
            ticket,
            step,
            ran,
            cargo,
            reply,
        } = &mut batch.items[at]
        else {
            return;
        };
        let (ticket, step, ran) = (*ticket, *step, *ran);
        let (cargo, reply) = (std::mem::take(cargo), std::mem::take(reply));
        match step {
            None => self.take_part(now, from, ticket, (ran, cargo), reply),
            Some((index, row)) => {
                self.keep_written((ticket, index), cargo);
                let slow = self.timing.keep(ran.ticks, batch.args(at));
                let how = (row, ran, slow);
                self.step_done(now, (ticket, index as usize), how, reply);
            }
        }
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
            self.post.follow_with(pieces);
            return;
        };
        let bytes_max = self.reply_bytes_max();
        if let Some(program) = self.program(ticket) {
            program.keep_reply(index as usize, Vec::new(), pieces, bytes_max);
        }
        self.end(now, transaction, failed, reply);
    }
}
