//! Long replies: requests on this shard alone that are answered in pieces.
//!
//! A handler that finds its reply long ([`CommandError::Long`]) is called again
//! under a ticket: a shared lock of its keys, so that all pieces show the same
//! instant. It makes one piece at a time:
//!
//! ```text
//!   first piece ─▶ client reads ─▶ its core asks ─▶ next piece ─▶ … ─▶ release
//! ```
//!
//! so a reply takes little memory, however long it is and however slowly it is
//! read. But nobody is to wait for a client that does not read. As soon as
//! somebody waits for one of the locks, or the key is about to expire, the reply
//! is *hurried*: all that is left is made in slices, and waits at the client's
//! core, as all of it would in Redis. Meanwhile the key stays, with all that was in
//! it when the reply began.
//!
//! A client that goes away has its core drop the reply. No lock depends on it.
//!
//! A request that has much to do (`command/work.rs`) comes here in the same way, and is
//! hurried from the beginning. It may write, and then what it replies is held back until
//! the end, so its client cannot have it dropped: it runs whole.

use super::{Parked, Site};
use crate::command::Cargo;
use crate::order::batch::{Batch, Item};
use crate::order::call::Call;
use crate::order::locks::Scope;
use crate::order::reply::Ran;
use crate::order::reply::Rest;
use crate::order::ticket::Ticket;
use crate::types::UnixMs;
use hashbrown::HashMap;
use std::collections::{BTreeSet, VecDeque};

/// A reply whose key goes by itself within so many milliseconds is hurried.
const HURRY_MS: i64 = 1000;

/// A piece of this length that is held back has another begin.
const HELD_PIECE_BYTES: usize = 64 * 1024;

/// A reply that is under way.
struct LongReply {
    request: Parked,
    /// All of it is as of then.
    began: UnixMs,
    /// How far it has come.
    cargo: Cargo,
    /// A piece of it is out.
    is_out: bool,
    /// It is not handed out before the end: what a write replies, which may still fail; and
    /// what is made without waiting for its client, who gets none of it if it is more than he
    /// may have.
    is_held: bool,
    held: Held,
    /// That was more than its client may have: nothing is kept of it.
    too_long: bool,
    /// What its pieces have taken so far.
    ticks: u64,
    hurried: bool,
    /// The hash of its key, if that would go by itself: it stays until all is made.
    kept: Option<u64>,
}

/// What is held back of a reply, in pieces: in one buffer it would be copied again and
/// again as it grows.
#[derive(Default)]
struct Held {
    pieces: Vec<Vec<u8>>,
    bytes: usize,
}

impl Held {
    /// Takes the last piece back while there is room in it.
    fn open(&mut self) -> Vec<u8> {
        let piece = self.pieces.pop_if(|piece| piece.len() < HELD_PIECE_BYTES);
        let piece = piece.unwrap_or_default();
        self.bytes -= piece.len();
        piece
    }

    fn push(&mut self, piece: Vec<u8>) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push(piece);
        }
    }
}

/// The long replies of one shard.
pub(super) struct LongReplies {
    /// By the ticket that holds the locks.
    replies: HashMap<Ticket, LongReply, ahash::RandomState>,
    hurried: VecDeque<Ticket>,
    /// When those whose keys go by themselves are to be hurried.
    due: BTreeSet<(UnixMs, Ticket)>,
}

impl LongReplies {
    pub(super) fn new(hasher: ahash::RandomState) -> Self {
        Self {
            replies: HashMap::with_hasher(hasher),
            hurried: VecDeque::new(),
            due: BTreeSet::new(),
        }
    }

    /// Nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    /// Some are to be made without waiting for clients.
    #[inline]
    pub(super) fn are_hurried(&self) -> bool {
        !self.hurried.is_empty()
    }

    pub(super) fn next_due(&self) -> Option<UnixMs> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whether one of them may change keys: it is made in slices.
    pub(super) fn have_writes(&self) -> bool {
        self.replies.values().any(|reply| reply.request.writes())
    }

    fn take(&mut self, ticket: Ticket) -> Option<LongReply> {
        let reply = self.replies.remove(&ticket)?;
        if let Some(at) = reply.hurry_at() {
            self.due.remove(&(at, ticket));
        }
        Some(reply)
    }

    fn put(&mut self, ticket: Ticket, reply: LongReply) {
        if let Some(at) = reply.hurry_at().filter(|_| !reply.hurried) {
            self.due.insert((at, ticket));
        }
        self.replies.insert(ticket, reply);
    }
}

impl LongReply {
    fn hurry_at(&self) -> Option<UnixMs> {
        let goes_at = self.cargo.long?.goes_at?;
        Some(UnixMs(goes_at.0.saturating_sub(HURRY_MS)))
    }
}

impl Site {
    /// A request has taken its first step under this ticket; it goes on.
    pub(super) fn begin_long(
        &mut self,
        now: UnixMs,
        ticket: Ticket,
        request: Parked,
        (cargo, ran): (Cargo, Ran),
        piece: Vec<u8>,
    ) {
        let works = cargo.goes_on();
        let args = request.args.args();
        let key = request.call.only_key().and_then(|at| args.get(at));
        let goes = key.filter(|_| cargo.long.is_some_and(|long| long.goes_at.is_some()));
        let kept = goes.map(|key| self.hash(key));
        if let Some(hash) = kept {
            self.shard.keep().hold(hash);
        }
        if works {
            self.look_for_long(now, ticket);
        } else {
            self.look_over(ticket);
        }
        let is_held = request.writes() || works && self.shard.settings.reply_max.closes;
        let mut reply = LongReply {
            request,
            began: now,
            cargo,
            is_out: false,
            is_held,
            held: Held::default(),
            too_long: ran.too_long,
            ticks: ran.ticks,
            hurried: false,
            kept,
        };
        self.hand_on(&mut reply, ticket, piece);
        let is_due = reply.hurry_at().is_some_and(|at| at <= now);
        self.long.put(ticket, reply);
        self.locks.note_waits(true);
        if works || is_due || self.locks.is_awaited(ticket) {
            self.hurry(ticket);
        }
    }

    /// The client has read what it was sent of a reply: the next piece.
    pub fn ask(&mut self, ticket: Ticket) {
        if ticket.home != self.id {
            self.post.tell(ticket.home, Item::Ask { ticket });
            return;
        }
        if self.long.replies.get(&ticket).is_some_and(|it| !it.hurried) {
            self.go_on_long(ticket);
        }
    }

    /// Nobody reads the rest of a reply.
    pub fn drop_reply(&mut self, ticket: Ticket) {
        if ticket.home != self.id {
            self.post.tell(ticket.home, Item::Drop { ticket });
            return;
        }
        if let Some(reply) = self.long.take(ticket) {
            self.end_long(ticket, &reply);
        }
    }

    /// Makes a piece of a reply that is hurried; if there are several, of each in
    /// turn.
    pub fn go_on_hurried(&mut self) {
        let Some(ticket) = self.long.hurried.pop_front() else {
            return;
        };
        if self.go_on_long(ticket) {
            self.long.hurried.push_back(ticket);
        }
    }

    /// Makes the next piece of a reply; whether there is more.
    fn go_on_long(&mut self, ticket: Ticket) -> bool {
        let Some(mut reply) = self.long.take(ticket) else {
            return false;
        };
        let mut piece = reply.held.open();
        let before = piece.len();
        let request = &reply.request;
        let call = Call {
            no_touch: true,
            ..request.call
        };
        self.group(ticket, 0);
        let ran = self.apply(
            reply.began,
            &call,
            request.args.args(),
            &mut reply.cargo,
            &mut piece,
        );
        self.shard.effects().leave_ticket();
        let ends_badly = |ran: &Ran| reply.is_out && (ran.failed || ran.too_long);
        let Some(ran) = ran.ok().filter(|ran| !ends_badly(ran)) else {
            // It cannot be finished, and half of it is out.
            self.hand_out(&reply, Rest::Lost, Vec::new());
            self.end_long(ticket, &reply);
            return false;
        };
        reply.ticks += ran.ticks;
        if ran.failed {
            piece.drain(..before);
            reply.held = Held::default();
        }
        if reply.is_held {
            let bytes = reply.held.bytes + piece.len();
            reply.too_long |= ran.too_long || bytes > self.reply_bytes_max();
        }
        if reply.too_long {
            piece = Vec::new();
            reply.held = Held::default();
        }
        if reply.cargo.more() {
            self.hand_on(&mut reply, ticket, piece);
            self.long.put(ticket, reply);
            return true;
        }
        let ran = Ran {
            ticks: reply.ticks,
            too_long: ran.too_long || reply.too_long,
            ..ran
        };
        for piece in std::mem::take(&mut reply.held.pieces) {
            self.hand_out(&reply, Rest::Follows(ticket), piece);
        }
        let (home, client) = (reply.request.home, reply.request.client);
        let args = reply.request.args.args();
        self.answer_late(home, client, &call, args, ran, piece);
        self.end_long(ticket, &reply);
        false
    }

    fn end_long(&mut self, ticket: Ticket, reply: &LongReply) {
        if let Some(hash) = reply.kept {
            self.shard.keep().let_go(hash);
        }
        if self.long.is_empty() && !self.snapshot.is_under_way() {
            self.locks.note_waits(false);
        }
        self.release_here(ticket);
    }

    /// Brings a piece to the client's core, if there is one and it need not be held back;
    /// more follows.
    fn hand_on(&mut self, reply: &mut LongReply, ticket: Ticket, piece: Vec<u8>) {
        if reply.is_held {
            reply.held.push(piece);
        } else if !piece.is_empty() {
            reply.is_out = true;
            self.hand_out(reply, Rest::Follows(ticket), piece);
        }
    }

    /// Brings a piece to the client's core.
    fn hand_out(&mut self, reply: &LongReply, rest: Rest, piece: Vec<u8>) {
        let request = &reply.request;
        let (client, row) = (request.client, request.call.row);
        self.post.send_piece(request.home, client, row, rest, piece);
    }

    /// Handles an item of a box that concerns a long reply.
    pub fn receive_long(&mut self, batch: &mut Batch, index: usize) {
        match batch.items[index] {
            Item::Ask { ticket } => self.ask(ticket),
            Item::Drop { ticket } => self.drop_reply(ticket),
            Item::Piece {
                client,
                row,
                rest,
                ref mut piece,
            } => {
                let piece = std::mem::take(piece);
                self.post.answer_piece(client, row, rest, piece);
            }
            _ => {}
        }
    }

    /// The rest of a reply is made without waiting for its client.
    fn hurry(&mut self, ticket: Ticket) {
        let Some(mut reply) = self.long.take(ticket) else {
            return;
        };
        if !reply.hurried {
            reply.hurried = true;
            self.long.hurried.push_back(ticket);
        }
        self.long.put(ticket, reply);
    }

    /// Hurries the replies in whose way somebody has begun to wait.
    #[inline]
    pub(super) fn mind_waits(&mut self) {
        if self.locks.has_noted_waits() {
            self.hurry_awaited();
        }
    }

    #[cold]
    fn hurry_awaited(&mut self) {
        for scope in self.locks.take_waits() {
            let holders: Vec<Ticket> = match scope {
                Scope::Key(key) => self.locks.holders(key).collect(),
                Scope::Shard => self.long.replies.keys().copied().collect(),
            };
            holders.into_iter().for_each(|ticket| self.hurry(ticket));
            if let Scope::Key(key) = scope {
                self.hurry_encoding(key);
            }
        }
    }

    /// Hurries the replies whose keys are about to go.
    pub fn hurry_due(&mut self, now: UnixMs) {
        while let Some((at, ticket)) = self.long.due.first().copied()
            && at <= now
        {
            self.hurry(ticket);
        }
    }
}
