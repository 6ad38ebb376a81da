//! The post of a node: boxes that leave it, and answers to clients of its core.
//!
//! What is written for another node goes into the box that is being filled for it. At
//! the end of a turn all boxes leave, with one stamp; see [`order`](super). The node's
//! box to itself is among them. Boxes are used again.
//!
//! Answers lie behind each other in one arena until the server takes them. A long one
//! is moved, not copied.
//!
//! Invariants: what is put into a box comes behind everything that was put into boxes
//! before [`Post::close`], on all shards. What is kept as spare is empty.

use super::batch::{Batch, Item};
use super::reply::{Ran, Replied, Rest};
use super::ticket::Client;
use crate::command::OwnedArgs;
use crate::types::ShardId;

/// A reply for a client of this core, in the arena of [`Post::hand_out`].
struct Undelivered {
    client: Client,
    row: u16,
    ran: Ran,
    /// The request, if it was slow.
    slow: Option<Box<OwnedArgs>>,
    end: usize,
    /// What follows the reply, if that is long.
    pieces: Vec<Vec<u8>>,
    rest: Rest,
}

/// Boxes that are kept to be filled again.
const SPARE_BOXES: usize = 64;

/// Memory for answers that is kept.
const KEEP_BYTES: usize = 256 * 1024;

/// Bytes of a reply beyond which it is cheaper to move it than to copy it.
pub(super) const MOVED_BYTES: usize = 64 << 10;

/// See the module.
pub(super) struct Post {
    /// The node's own shard.
    id: ShardId,
    /// The boxes that are being filled.
    outgoing: Vec<Option<Box<Batch>>>,
    /// Boxes that are complete: answered ones on their way back, full ones,
    /// and those of convoys.
    departing: Vec<(ShardId, Box<Batch>)>,
    /// The next number of this turn. 0 is for what has none, and comes before all of them.
    next_number: u32,
    // They travel as boxes, so they are kept as boxes.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Batch>>,
    answers: Vec<Undelivered>,
    answer_bytes: Vec<u8>,
}

impl Post {
    pub fn new(id: ShardId, shards: u16) -> Self {
        Self {
            id,
            outgoing: (0..shards).map(|_| None).collect(),
            departing: Vec::new(),
            next_number: 1,
            spare: Vec::new(),
            answers: Vec::new(),
            answer_bytes: Vec::new(),
        }
    }

    /// Nothing is to be sent and nothing to be answered.
    pub fn is_at_rest(&self) -> bool {
        self.answers.is_empty()
            && self.departing.is_empty()
            && self.outgoing.iter().flatten().all(|batch| batch.is_empty())
    }
}

/// Boxes.
impl Post {
    /// The box that is being filled for a node.
    #[inline]
    pub fn batch_for(&mut self, target: ShardId) -> &mut Batch {
        let outgoing = &mut self.outgoing[target.index()];
        if outgoing.as_ref().is_some_and(|batch| batch.is_full())
            && let Some(full) = outgoing.take()
        {
            self.departing.push((target, full));
        }
        outgoing.get_or_insert_with(|| self.spare.pop().unwrap_or_default())
    }

    /// The next `count` numbers of this turn; see [`Item::Request`].
    #[inline]
    pub fn numbers(&mut self, count: usize) -> u32 {
        let first = self.next_number;
        self.next_number += u32::try_from(count).expect("a turn sends fewer than 2^32 requests");
        first
    }

    /// Tells a node something that has no arguments.
    pub fn tell(&mut self, target: ShardId, item: Item) {
        self.batch_for(target).push(item, std::iter::empty());
    }

    /// A box that is to be filled elsewhere.
    pub fn empty_box(&mut self) -> Box<Batch> {
        self.spare.pop().unwrap_or_default()
    }

    /// Keeps the memory of a box that is over.
    pub fn keep(&mut self, mut batch: Box<Batch>) {
        if self.spare.len() < SPARE_BOXES {
            batch.clear();
            self.spare.push(batch);
        }
    }

    /// A box is complete.
    pub fn depart(&mut self, target: ShardId, batch: Box<Batch>) {
        self.departing.push((target, batch));
    }

    /// The boxes that are being filled are complete: whatever follows comes behind
    /// them, on all shards.
    pub fn close(&mut self) {
        for (index, batch) in (0..).zip(&mut self.outgoing) {
            if let Some(batch) = batch.take() {
                self.departing.push((ShardId(index), batch));
            }
        }
    }

    /// Whether anything is to leave that needs a stamp.
    #[inline]
    pub fn wants_stamp(&self) -> bool {
        let asks = |batch: &Batch| !batch.answered;
        self.outgoing.iter().flatten().any(|batch| asks(batch))
            || self.departing.iter().any(|(_, batch)| asks(batch))
    }

    /// All boxes leave; those that ask for something have this stamp.
    #[inline]
    pub fn leave(&mut self, stamp: u64, mut send: impl FnMut(ShardId, Box<Batch>)) {
        self.close();
        self.next_number = 1;
        for (target, mut batch) in self.departing.drain(..) {
            batch.stamp = if batch.answered { 0 } else { stamp };
            send(target, batch);
        }
    }

    /// Boxes that the node will send to itself.
    pub fn own_boxes(&self) -> impl Iterator<Item = &Batch> {
        let own = |(target, _): &&(ShardId, Box<Batch>)| *target == self.id;
        let departing = self.departing.iter().filter(own).map(|(_, batch)| batch);
        let boxes = self.outgoing[self.id.index()].iter().chain(departing);
        boxes.map(|batch| &**batch)
    }
}

/// Answers to clients of this core.
impl Post {
    /// Hands out the answers and forgets them.
    pub fn hand_out(&mut self, mut deliver: impl FnMut(Replied<'_>)) {
        let mut start = 0;
        for Undelivered {
            client,
            row,
            ran,
            slow,
            end,
            pieces,
            rest,
        } in self.answers.drain(..)
        {
            deliver(Replied {
                client,
                row,
                ran,
                slow: slow.as_ref().map(|request| request.args()),
                reply: &self.answer_bytes[start..end],
                pieces,
                rest,
            });
            start = end;
        }
        self.answer_bytes.clear();
        self.answer_bytes.shrink_to(KEEP_BYTES);
    }

    /// Whether [`Post::hand_out`] has any.
    #[inline]
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    pub fn answer(
        &mut self,
        client: Client,
        row: u16,
        ran: Ran,
        slow: Option<Box<OwnedArgs>>,
        reply: &[u8],
    ) {
        if reply.len() > MOVED_BYTES {
            return self.answer_apart(client, row, ran, slow, reply);
        }
        let too_long = ran.too_long | !self.append(reply);
        self.answered(client, row, Ran { too_long, ..ran }, slow);
    }

    /// False if there is no memory for a reply.
    #[inline]
    fn append(&mut self, reply: &[u8]) -> bool {
        let fits = self.answer_bytes.try_reserve(reply.len()).is_ok();
        if fits {
            self.answer_bytes.extend_from_slice(reply);
        }
        fits
    }

    /// [`Post::answer`] with a reply that is copied this once, if there is memory for
    /// it, and then moved.
    #[cold]
    fn answer_apart(
        &mut self,
        client: Client,
        row: u16,
        ran: Ran,
        slow: Option<Box<OwnedArgs>>,
        reply: &[u8],
    ) {
        let mut own = Vec::new();
        let too_long = own.try_reserve_exact(reply.len()).is_err();
        if !too_long {
            own.extend_from_slice(reply);
        }
        self.answer_owned(client, row, Ran { too_long, ..ran }, slow, own);
    }

    /// [`Post::answer`] with a reply of its own. A long one is not copied.
    pub fn answer_owned(
        &mut self,
        client: Client,
        row: u16,
        ran: Ran,
        slow: Option<Box<OwnedArgs>>,
        reply: Vec<u8>,
    ) {
        let moved = reply.len() > MOVED_BYTES;
        let too_long = ran.too_long | !(moved || self.append(&reply));
        self.answered(client, row, Ran { too_long, ..ran }, slow);
        if moved {
            self.follow_with(vec![reply]);
        }
    }

    /// [`Post::answer`] with a reply that is written where answers lie.
    #[inline]
    pub fn answer_with(
        &mut self,
        client: Client,
        row: u16,
        write: impl FnOnce(&mut Vec<u8>) -> (Ran, Option<Box<OwnedArgs>>),
    ) {
        let (ran, slow) = write(&mut self.answer_bytes);
        self.answered(client, row, ran, slow);
    }

    /// The reply has been appended to `answer_bytes`.
    fn answered(&mut self, client: Client, row: u16, ran: Ran, slow: Option<Box<OwnedArgs>>) {
        let end = self.answer_bytes.len();
        self.answers.push(Undelivered {
            client,
            row,
            ran,
            slow,
            end,
            pieces: Vec::new(),
            rest: Rest::Nothing,
        });
    }

    /// The last answer goes on with these pieces.
    pub fn follow_with(&mut self, pieces: Vec<Vec<u8>>) {
        if let Some(answer) = self.answers.last_mut() {
            answer.pieces = pieces;
        }
    }

    /// A piece of a reply has come for a client of this core.
    pub fn answer_piece(&mut self, client: Client, row: u16, rest: Rest, piece: Vec<u8>) {
        self.answer(client, row, Ran::ended(false), None, &[]);
        if let Some(answer) = self.answers.last_mut() {
            answer.pieces = vec![piece];
            answer.rest = rest;
        }
    }
}

/// Replies to clients of any core, whose boxes have gone back without them.
impl Post {
    /// The whole reply.
    pub fn send_reply(
        &mut self,
        home: ShardId,
        client: Client,
        row: u16,
        ran: Ran,
        slow: Option<Box<OwnedArgs>>,
        reply: Vec<u8>,
    ) {
        if home == self.id {
            return self.answer_owned(client, row, ran, slow, reply);
        }
        let item = Item::Late {
            client,
            row,
            ran,
            reply,
        };
        let request = slow.iter().flat_map(|request| request.args().iter());
        self.batch_for(home).push(item, request);
    }

    /// A piece of it.
    pub fn send_piece(
        &mut self,
        home: ShardId,
        client: Client,
        row: u16,
        rest: Rest,
        piece: Vec<u8>,
    ) {
        if home == self.id {
            return self.answer_piece(client, row, rest, piece);
        }
        let item = Item::Piece {
            client,
            row,
            rest,
            piece,
        };
        self.tell(home, item);
    }

    /// A request has ended that waited in vain for a client who has gone.
    pub fn send_in_vain(&mut self, home: ShardId, client: Client, row: u16) {
        self.send_piece(home, client, row, Rest::InVain, Vec::new());
    }
}
