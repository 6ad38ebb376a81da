//! Parts of transactions, and commands of blocks, that are done in slices: KEYS and
//! whatever else goes through a whole shard, and those that go through many elements.
//!
//! The former ([`InSlices::Always`](crate::command::InSlices::Always)) run under a
//! shared lock of the whole shard, the latter ([`InSlices::IfMuch`](crate::command::InSlices::IfMuch))
//! under the locks of their keys. What is not over after one call waits in a
//! queue; the server takes a step of it now and then ([`Node::go_on`](crate::order::Node::go_on)) and serves
//! clients in between. Reads pass the lock, writes wait. All steps are judged at the
//! instant of their transaction, and what expires meanwhile is kept for them.
//!
//! The lock is the transaction's: a client that goes away leaves none, because the
//! part runs to its end for nobody.

use super::Site;
use super::block::LongBlock;
use crate::command::{Args, Cargo, OwnedArgs};
use crate::order::batch::Item;
use crate::order::call::Call;
use crate::order::reply::Ran;
use crate::order::ticket::Ticket;
use crate::types::UnixMs;

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
    /// Who holds its locks, and its number there.
    within: Ticket,
    number: u32,
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

/// A part that was done in slices is over: for its home core.
pub struct Over {
    pub ticket: Ticket,
    /// The number of the command in its program, and its row.
    pub step: Option<(u32, u16)>,
    pub ran: Ran,
    /// The command, if it was slow.
    pub slow: Option<Box<OwnedArgs>>,
    pub cargo: Cargo,
    pub reply: Vec<u8>,
}

/// What a step has led to.
pub enum Stepped {
    /// There is more to do.
    On,
    /// What it was part of is over, and whoever is to know has been told, unless that is
    /// this core.
    Over(Option<Box<Over>>),
}

impl Site {
    /// Whether a part of a transaction, or a long reply, is to go on here.
    #[inline]
    pub fn has_slices(&self) -> bool {
        !self.slices.is_empty() || self.long.are_hurried() || self.snapshot.is_hurried()
    }

    /// Takes one step, of some ten microseconds, of what is not over; if there is
    /// more than one, of each in turn.
    pub fn take_step(&mut self) -> Stepped {
        match self.slices.pop_front() {
            Some(Slice::Part(part)) => self.go_on_with_part(part),
            Some(Slice::Block(block)) => self.go_on_with_block(block),
            None => Stepped::On,
        }
    }

    fn go_on_with_part(&mut self, mut part: Box<Part>) -> Stepped {
        let before = part.reply.len();
        self.group(part.within, part.number);
        let args = part.args.args();
        let ran = self.apply(part.at, &part.call, args, &mut part.cargo, &mut part.reply);
        self.shard.effects().leave_ticket();
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
            return Stepped::On;
        }
        ran.too_long = part.too_long;
        Stepped::Over(self.part_over(*part, ran).map(Box::new))
    }

    /// A part is over: its home core is told, or to be told if that is this one.
    fn part_over(&mut self, part: Part, ran: Ran) -> Option<Over> {
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
        let step = step.map(|index| (index, call.row));
        if ticket.home == self.id {
            return Some(Over {
                ticket,
                step,
                ran,
                slow,
                cargo,
                reply,
            });
        }
        let item = Item::Ended {
            ticket,
            step,
            ran,
            cargo,
            reply,
        };
        let request = slow.iter().flat_map(|request| request.args().iter());
        let request = request.filter(|_| step.is_some());
        self.post.batch_for(ticket.home).push(item, request);
        None
    }

    /// The first step of a part is done, with this reply, and it is not over.
    pub fn put_off(
        &mut self,
        (at, ticket, within, number): (UnixMs, Ticket, Ticket, u32),
        (call, last, cargo): (Call, bool, Cargo),
        step: Option<u32>,
        args: Args<'_>,
        (ran, reply): (Ran, Vec<u8>),
    ) {
        self.slices.push_back(Slice::Part(Box::new(Part {
            at,
            ticket,
            within,
            number,
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
}
