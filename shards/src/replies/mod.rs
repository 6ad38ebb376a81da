//! The order of a connection's replies.
//!
//! While every request is answered at once, replies go straight to `out`. A request
//! that must wait for other cores takes a *place* in `order`; from then on, replies to
//! later requests are kept in `held` until everything before them has come.
//!
//! ```text
//!   sent ◀─ in flight ◀─ pieces: [a long reply …] [64 KiB] [64 KiB]
//!                        out:    +OK..:12..
//!                        order:  [waiting #7] [ready 0..5] [ready 5..9] [waiting #9]
//!                        held:                 +OK..         :12..
//!                        outbox:              ↑ a push, behind the place before it
//! ```
//!
//! A long reply comes in pieces, which are moved instead of copied, and what was to be
//! sent before them becomes a piece, too. If its shard makes it as its client reads (it
//! *flows*), each next piece is asked for. A message for many clients is a piece that
//! they share. What a client is told unasked waits in the [`outbox`].
//!
//! Invariants ([`Replies::check_invariants`]):
//! - The first place, if any, is waiting, or a reply that flows; what has come of that is
//!   sent as it comes, so `order` has none of its pieces.
//! - Ranges of ready places lie in `held`, none in another; the rest of it has gone. If
//!   nothing waits, `held` is empty.
//! - No piece to be sent is empty.
//! - What waits in the outbox stands behind places of `order`, and in their order.
//! - `kept_bytes` are all bytes that wait but those in `out`.
//!
//! There is no socket here and no clock: whoever owns it takes what is to be sent, and
//! says when that has been.

mod limit;
pub mod outbox;
mod piece;
#[cfg(test)]
mod tests;

pub use limit::{Class, Output, OutputMax};
pub use outbox::Untold;
pub use piece::Piece;

use crate::order::Ticket;
use outbox::Outbox;
use std::collections::VecDeque;
use std::ops::Range;

/// Bytes that may be sent now below which the next piece of a long reply is asked for,
/// while its client reads.
pub const OUTPUT_BYTES_LOW: usize = 128 << 10;

/// Bytes of replies that are sent although others are on their way.
const HOLD_BYTES: usize = 16 << 10;

/// Pieces that are shorter are copied together to be sent: a send costs more.
const GATHERED_BYTES_MAX: usize = 16 << 10;

/// Capacity up to which an empty buffer is kept for its next use.
pub const SPARE_BYTES_MAX: usize = 64 << 10;

/// What waits for other cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pending {
    /// Requests on one shard each.
    Single,
    Transaction,
}

/// There was no memory for a reply: without it the stream makes no sense any more. What
/// it was for is over all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost;

/// A reply's place in the order of the connection.
#[derive(Debug)]
enum Place {
    Waiting {
        /// The reply is dropped when it comes (CLIENT REPLY).
        silent: bool,
    },
    /// What lies there in `held`.
    Ready(Range<usize>),
    /// A long reply.
    Pieces(Vec<Vec<u8>>),
    /// A long reply that comes as it is asked for.
    Flowing {
        from: Ticket,
        /// What has come but cannot be sent yet.
        pieces: Vec<Vec<u8>>,
        /// The next piece is on its way.
        asked: bool,
    },
}

/// Appends replies; false if there is no memory for them.
#[inline]
fn append(buffer: &mut Vec<u8>, replies: &[u8]) -> bool {
    let room = buffer.try_reserve(replies.len()).is_ok();
    if room {
        buffer.extend_from_slice(replies);
    }
    room
}

fn bytes_of(pieces: &[Vec<u8>]) -> usize {
    pieces.iter().map(Vec::len).sum()
}

/// The replies of one connection, from where they are written to where they are sent.
#[derive(Debug)]
pub struct Replies {
    /// Pieces of long replies, long pushes, and what came before and between them: to be
    /// sent before `out`.
    pieces: VecDeque<Piece>,
    /// Bytes that wait, beside those in `out`.
    kept_bytes: usize,
    /// Replies to send next.
    out: Vec<u8>,
    /// Bytes that were taken to be sent, and of which nobody has said that they were.
    in_flight: usize,
    order: VecDeque<Place>,
    /// What is waiting, if anything is.
    waiting: Pending,
    /// Number of the first place in `order`.
    first_place: u32,
    held: Vec<u8>,
    /// Bytes in `held` that have gone.
    held_gone: usize,
    outbox: Outbox,
}

impl Default for Replies {
    fn default() -> Self {
        Self::new()
    }
}

impl Replies {
    /// Nothing has been asked for yet.
    pub fn new() -> Self {
        Self {
            pieces: VecDeque::new(),
            kept_bytes: 0,
            out: Vec::new(),
            in_flight: 0,
            order: VecDeque::new(),
            waiting: Pending::Single,
            first_place: 0,
            held: Vec::new(),
            held_gone: 0,
            outbox: Outbox::default(),
        }
    }

    /// Whether replies are outstanding.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        !self.order.is_empty()
    }

    /// Whether replies are outstanding, and the last request for which one is was of
    /// this kind.
    #[inline]
    pub fn waits_for(&self, pending: Pending) -> bool {
        self.waiting == pending && !self.order.is_empty()
    }

    /// Replies, or neighbours that are ready, of which not all that comes before has come.
    #[inline]
    pub fn places(&self) -> usize {
        self.order.len()
    }

    /// The place that was taken last, if anything is outstanding.
    pub fn last_place(&self) -> Option<u32> {
        let last = (self.order.len() as u32).checked_sub(1)?;
        Some(self.first_place.wrapping_add(last))
    }

    /// Bytes of replies that wait to be sent or are being sent.
    #[inline]
    pub fn output_bytes(&self) -> usize {
        self.out.len() + self.kept_bytes + self.in_flight
    }

    /// What its buffers take of memory, with what is being sent.
    pub fn buffer_bytes(&self) -> usize {
        let spare = self.out.capacity() - self.out.len() + self.held_gone;
        self.output_bytes() + spare + self.held.capacity() - self.held.len()
    }

    /// Whether it has a buffer for the next reply.
    #[inline]
    pub fn has_buffer(&self) -> bool {
        self.out.capacity() > 0
    }

    /// An empty buffer for the next replies, if it has none.
    #[inline]
    pub fn lend_buffer(&mut self, buffer: Vec<u8>) {
        debug_assert!(self.out.is_empty() && buffer.is_empty());
        self.out = buffer;
    }

    /// Where the reply to the request at hand is to be written: call
    /// [`Replies::reply_written`] with the length from before.
    #[inline]
    pub fn reply_buffer(&mut self) -> &mut Vec<u8> {
        if self.order.is_empty() {
            &mut self.out
        } else {
            &mut self.held
        }
    }

    /// A reply was appended to the [`Replies::reply_buffer`], which was `before` bytes
    /// long. It is dropped if it is `silent`.
    #[inline]
    pub fn reply_written(&mut self, before: usize, silent: bool) {
        if silent {
            self.reply_buffer().truncate(before);
        }
        if self.order.is_empty() {
            return;
        }
        let written = before..self.held.len();
        if written.is_empty() {
            return;
        }
        self.kept_bytes += written.len();
        let last = self.first_place.wrapping_add(self.order.len() as u32 - 1);
        match self.order.back_mut() {
            // Neighbours become one place, unless an early answer or a push came between.
            Some(Place::Ready(range))
                if range.end == written.start && !self.outbox.follows(last) =>
            {
                range.end = written.end;
            }
            _ => self.order.push_back(Place::Ready(written)),
        }
    }

    /// Takes a place for a reply that will come later, and which is dropped if it is
    /// `silent`.
    #[inline]
    pub fn wait(&mut self, silent: bool) -> u32 {
        let place = self.first_place.wrapping_add(self.order.len() as u32);
        self.order.push_back(Place::Waiting { silent });
        place
    }

    /// The same for the reply to a request of this kind.
    #[inline]
    pub fn wait_for(&mut self, pending: Pending, silent: bool) -> u32 {
        self.waiting = pending;
        self.wait(silent)
    }

    /// Takes a place before all others, for something that they are to wait for. It must
    /// not stand before a reply that is being sent.
    pub fn wait_before(&mut self) -> u32 {
        debug_assert!(!self.is_unread());
        self.first_place = self.first_place.wrapping_sub(1);
        self.order.push_front(Place::Waiting { silent: true });
        self.first_place
    }

    #[inline]
    fn index(&self, place: u32) -> usize {
        place.wrapping_sub(self.first_place) as usize
    }

    /// Whether the reply for `place` is to be dropped.
    pub fn is_unheard(&self, place: u32) -> bool {
        let at = self.order.get(self.index(place));
        matches!(at, Some(Place::Waiting { silent: true }))
    }

    /// The reply for `place` has come. Everything that no longer waits for anything can
    /// be sent.
    #[inline]
    pub fn answer(&mut self, place: u32, reply: &[u8]) -> Result<(), Lost> {
        let index = self.index(place);
        let silent = match self.order.get(index) {
            Some(Place::Waiting { silent }) => *silent,
            Some(Place::Flowing { .. }) => {
                self.end_flow(index, reply.to_vec());
                return self.pop_ready();
            }
            // The rest of a long reply that nobody wanted was under way already.
            Some(Place::Ready(_) | Place::Pieces(_)) | None => return Ok(()),
        };
        let reply = if silent { &[] } else { reply };
        if index > 0 {
            let start = self.held.len();
            let room = append(&mut self.held, reply);
            self.kept_bytes += self.held.len() - start;
            self.order[index] = Place::Ready(start..self.held.len());
            return if room { Ok(()) } else { Err(Lost) };
        }
        let room = append(&mut self.out, reply);
        let popped = self.pop_place().and(self.pop_ready());
        if room { popped } else { Err(Lost) }
    }

    /// [`Replies::answer`] with a reply that goes on with these pieces.
    #[inline]
    pub fn answer_in_pieces(
        &mut self,
        place: u32,
        reply: &[u8],
        pieces: Vec<Vec<u8>>,
    ) -> Result<(), Lost> {
        if pieces.is_empty() {
            self.answer(place, reply)
        } else {
            self.answer_at_length(place, reply, pieces)
        }
    }

    #[cold]
    fn answer_at_length(
        &mut self,
        place: u32,
        reply: &[u8],
        mut pieces: Vec<Vec<u8>>,
    ) -> Result<(), Lost> {
        if self.is_unheard(place) {
            return self.answer(place, &[]);
        }
        let index = self.index(place);
        pieces.insert(0, reply.to_vec());
        let come_bytes = bytes_of(&pieces);
        let mut all = match self.order.get_mut(index) {
            Some(Place::Waiting { .. }) => Vec::new(),
            // The end of a long reply may be long itself.
            Some(Place::Flowing { pieces, .. }) => std::mem::take(pieces),
            Some(Place::Ready(_) | Place::Pieces(_)) | None => return Ok(()),
        };
        all.append(&mut pieces);
        self.order[index] = Place::Pieces(all);
        self.kept_bytes += come_bytes;
        self.pop_ready()
    }

    /// A piece of the reply for `place` has come, and more may be asked for; false
    /// if nobody wants it: then the reply is complete as it is.
    #[cold]
    pub fn answer_flowing(
        &mut self,
        place: u32,
        from: Ticket,
        mut come: Vec<Vec<u8>>,
    ) -> Result<bool, Lost> {
        if self.is_unheard(place) {
            return self.answer(place, &[]).map(|()| false);
        }
        let index = self.index(place);
        let come_bytes = bytes_of(&come);
        match self.order.get_mut(index) {
            Some(Place::Flowing { pieces, asked, .. }) => {
                pieces.append(&mut come);
                *asked = false;
            }
            Some(at @ Place::Waiting { .. }) => {
                *at = Place::Flowing {
                    from,
                    pieces: come,
                    asked: false,
                };
            }
            // It has been said before that nobody wants it.
            Some(Place::Ready(_) | Place::Pieces(_)) | None => return Ok(false),
        }
        self.kept_bytes += come_bytes;
        self.pop_ready().map(|()| true)
    }

    /// The last piece of a reply has come.
    #[cold]
    fn end_flow(&mut self, index: usize, last: Vec<u8>) {
        if let Some(place) = self.order.get_mut(index)
            && let Place::Flowing { pieces, .. } = place
        {
            self.kept_bytes += last.len();
            let mut pieces = std::mem::take(pieces);
            pieces.push(last);
            *place = Place::Pieces(pieces);
        }
    }

    /// Whether what it waits for is that its client reads a long reply.
    #[inline]
    pub fn is_unread(&self) -> bool {
        matches!(self.order.front(), Some(Place::Flowing { .. }))
    }

    /// Whether the client has read so much that less than `low` bytes can be sent, and the
    /// next piece of a long reply is to be asked for: whose. Replies in later places do
    /// not count: they cannot leave before this one has ended.
    #[inline]
    pub fn wants_more(&mut self, low: usize) -> Option<Ticket> {
        if !self.is_unread() {
            return None;
        }
        let pieces: usize = self.pieces.iter().map(|piece| piece.len()).sum();
        if self.out.len() + self.in_flight + pieces >= low {
            return None;
        }
        match self.order.front_mut() {
            Some(Place::Flowing { from, asked, .. }) if !*asked => {
                *asked = true;
                Some(*from)
            }
            _ => None,
        }
    }

    /// The places of the long replies that are under way.
    pub fn flowing(&self) -> Vec<u32> {
        let flows = |place: &Place| matches!(place, Place::Flowing { .. });
        let places = (0..).zip(&self.order);
        let flowing = places.filter(|(_, place)| flows(place));
        flowing
            .map(|(at, _)| self.first_place.wrapping_add(at))
            .collect()
    }

    /// Gives up the long replies that are under way.
    pub fn take_flows(&mut self) -> Vec<Ticket> {
        let Self {
            order, kept_bytes, ..
        } = self;
        let give_up = |place: &mut Place| match place {
            Place::Flowing { from, pieces, .. } => {
                let from = *from;
                *kept_bytes -= bytes_of(pieces);
                *place = Place::Waiting { silent: true };
                Some(from)
            }
            _ => None,
        };
        order.iter_mut().filter_map(give_up).collect()
    }

    /// Moves everything that no longer waits for anything to where it is sent from. If
    /// there is no memory for it, places go on being freed.
    #[inline]
    fn pop_ready(&mut self) -> Result<(), Lost> {
        let mut popped = Ok(());
        loop {
            match self.order.front_mut() {
                Some(Place::Ready(range)) => {
                    self.held_gone += range.len();
                    self.kept_bytes -= range.len();
                    if !append(&mut self.out, &self.held[range.clone()]) {
                        popped = Err(Lost);
                    }
                }
                Some(Place::Pieces(pieces)) => {
                    let pieces = std::mem::take(pieces);
                    self.send_pieces(pieces);
                }
                Some(Place::Flowing { pieces, .. }) => {
                    let pieces = std::mem::take(pieces);
                    self.send_pieces(pieces);
                    break;
                }
                Some(Place::Waiting { .. }) | None => break,
            }
            popped = popped.and(self.pop_place());
        }
        if self.order.is_empty() {
            self.held.clear();
            self.held_gone = 0;
            self.held.shrink_to(SPARE_BYTES_MAX);
        } else if self.held_gone >= SPARE_BYTES_MAX {
            self.close_ranks();
        }
        popped
    }

    /// A pipeline that never ends always waits for something. So what has gone of `held`
    /// makes room for what comes once it is as much as the rest, which is moved then.
    #[cold]
    fn close_ranks(&mut self) {
        if self.held_gone < self.held.len() / 2 {
            return;
        }
        let ready = |place| match place {
            &mut Place::Ready(ref mut range) => Some(range),
            _ => None,
        };
        let mut ranges: Vec<&mut Range<usize>> = self.order.iter_mut().filter_map(ready).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let mut end = 0;
        for range in ranges {
            let length = range.len();
            self.held.copy_within(range.clone(), end);
            *range = end..end + length;
            end += length;
        }
        self.held.truncate(end);
        self.held_gone = 0;
    }

    #[inline]
    fn pop_place(&mut self) -> Result<(), Lost> {
        self.order.pop_front();
        self.first_place = self.first_place.wrapping_add(1);
        if self.outbox.is_empty() {
            return Ok(());
        }
        self.pop_pushes()
    }

    /// Pieces, which are counted already, are to be sent next, after `out`.
    #[cold]
    fn send_pieces(&mut self, pieces: Vec<Vec<u8>>) {
        self.kept_bytes -= bytes_of(&pieces);
        self.send_next(pieces.into_iter().map(Piece::Owned));
    }

    /// These are to be sent next, after `out`. An empty one would be sent, too, and nobody
    /// would know that it is under way.
    fn send_next(&mut self, pieces: impl IntoIterator<Item = Piece>) {
        let before = (!self.out.is_empty()).then(|| Piece::Owned(std::mem::take(&mut self.out)));
        for piece in before.into_iter().chain(pieces) {
            if !piece.is_empty() {
                self.kept_bytes += piece.len();
                self.pieces.push_back(piece);
            }
        }
    }

    /// Whether replies that are ready should wait for those of other cores that
    /// are on their way: one send costs more than most requests.
    #[inline]
    pub fn holds_back(&self) -> bool {
        !self.order.is_empty() && self.out.len() < HOLD_BYTES && self.pieces.is_empty()
    }

    /// Whether there is something to send.
    #[inline]
    pub fn has_output(&self) -> bool {
        !self.out.is_empty() || !self.pieces.is_empty()
    }

    /// Whether something was taken that has not been sent yet.
    #[inline]
    pub fn is_in_flight(&self) -> bool {
        self.in_flight > 0
    }

    /// Takes what is to be sent next: it is in flight from now on.
    #[inline]
    pub fn take_output(&mut self) -> Piece {
        let taken = match self.pieces.pop_front() {
            None => Piece::Owned(std::mem::take(&mut self.out)),
            Some(first) => self.gather(first),
        };
        self.in_flight = taken.len();
        taken
    }

    /// What was in flight has been sent, or never will be.
    #[inline]
    pub fn sent(&mut self) {
        self.in_flight = 0;
    }

    /// A piece that was taken, with what comes after it if all that is short.
    #[cold]
    fn gather(&mut self, first: Piece) -> Piece {
        self.kept_bytes -= first.len();
        let is_short = |piece: &Piece| piece.len() < GATHERED_BYTES_MAX;
        let mut gathered = first;
        while is_short(&gathered) && self.pieces.front().is_some_and(is_short) {
            let mut bytes = match gathered {
                Piece::Owned(bytes) => bytes,
                Piece::Shared(bytes) => bytes.into(),
            };
            let next = self.pieces.front();
            let room = next.is_some_and(|next| append(&mut bytes, next));
            gathered = Piece::Owned(bytes);
            if !room {
                break;
            }
            let next = self.pieces.pop_front();
            self.kept_bytes -= next.map_or(0, |next| next.len());
        }
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
        gathered
    }

    /// Nothing that could be sent now is sent, and no push.
    pub fn drop_output(&mut self) {
        let pieces: usize = self.pieces.iter().map(|piece| piece.len()).sum();
        self.kept_bytes -= pieces + self.outbox.bytes();
        self.out = Vec::new();
        self.pieces = VecDeque::new();
        self.outbox.clear();
    }

    /// Gives back what is not needed while nothing waits.
    pub fn shed(&mut self) {
        if self.order.is_empty() {
            self.held = Vec::new();
            self.order = VecDeque::new();
        }
    }

    /// What is true whenever nothing is being done with it.
    pub fn check_invariants(&self) {
        let pieces: usize = self.pieces.iter().map(|piece| piece.len()).sum();
        let (mut ready, mut bytes) = (Vec::new(), pieces + self.outbox.bytes());
        for (at, place) in self.order.iter().enumerate() {
            match place {
                Place::Waiting { .. } => {}
                Place::Flowing { pieces, .. } => {
                    assert!(at > 0 || pieces.is_empty(), "it is sent as it comes");
                    bytes += bytes_of(pieces);
                }
                Place::Ready(_) | Place::Pieces(_) if at == 0 => panic!("it waits for nothing"),
                Place::Ready(range) => ready.push(range.clone()),
                Place::Pieces(pieces) => bytes += bytes_of(pieces),
            }
        }
        ready.retain(|range| !range.is_empty());
        ready.sort_by_key(|range| range.start);
        let apart = |pair: &[Range<usize>]| pair[0].end <= pair[1].start;
        assert!(ready.windows(2).all(apart), "{ready:?}");
        let end = ready.last().map_or(0, |range| range.end);
        assert!(end <= self.held.len(), "{end} of {}", self.held.len());
        let held: usize = ready.iter().map(Range::len).sum();
        assert_eq!(held + self.held_gone, self.held.len());
        assert!(!self.order.is_empty() || self.held.is_empty());
        assert!(self.pieces.iter().all(|piece| !piece.is_empty()));
        assert_eq!(bytes + held, self.kept_bytes);
        let behind: Vec<usize> = self
            .outbox
            .places()
            .map(|place| self.index(place))
            .collect();
        assert!(behind.is_sorted(), "{behind:?}");
        assert!(behind.iter().all(|at| *at < self.order.len()), "{behind:?}");
    }
}
