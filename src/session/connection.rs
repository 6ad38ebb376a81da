//! Socket ⇄ buffers, and replies that leave in request order.
//!
//! A connection is an entry of a slab, not a task. Idle, it owns no buffer:
//! requests are parsed in the provided buffer they arrived in, and output
//! buffers come from the core's pool and go back after the send.
//!
//! # Order of replies
//! While every request is answered at once, replies go straight to `out`. A
//! request that must wait for other cores takes a *place* in `order`; from
//! then on, replies to later requests are kept in `held` until everything
//! before them has arrived.
//!
//! ```text
//!   order:  [waiting #7] [ready 0..5] [ready 5..9] [waiting #9]
//!   held:    +OK..:12..
//! ```
//!
//! Invariant: the first place of `order`, if any, is waiting, or a long reply that
//! is not over and whose pieces are sent as they come.

mod blocked;

use crate::session::Session;
use crate::session::activity::Share;
use crate::stats::Stats;
use blocked::Blocked;
use rustix::net::Shutdown;
use shards::order::{Client, Ticket};
use shards::resp::Partial;
use shards::{Span, UnixMs};
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::OwnedFd;

/// Replies a connection may have waiting for other cores. Beyond it, its
/// further requests wait.
const PLACES_MAX: usize = 256;

/// Output bytes (filling, held and in flight) from which on a connection's
/// further requests wait until the client has read.
pub const OUTPUT_BYTES_SOFT: usize = 1 << 20;

/// Bytes that may be sent now below which the next piece of a long reply is asked for.
const OUTPUT_BYTES_LOW: usize = 128 << 10;

/// Bytes of replies that are sent although others are on their way.
const HOLD_BYTES: usize = 16 << 10;

/// Bytes of requests that one connection may have executed in one turn of its
/// core, as in Redis: then it is the others' turn. (The last request may be
/// longer.)
pub const TURN_BYTES: usize = 16 << 10;

/// Capacity up to which an empty buffer is kept for its next use.
pub const SPARE_BYTES_MAX: usize = 64 << 10;

/// Unexecuted bytes from which on the socket of a connection that only waits
/// for its turn is no longer read.
pub const TURN_BACKLOG_BYTES: usize = 64 << 10;

/// A connection that has sent a flood is received from a buffer at a time until so
/// many receives in a row did not fill theirs.
const SHORT_RECEIVES: u8 = 16;

/// Bytes of complete but unexecuted requests from which on the socket is no
/// longer read.
pub const BACKLOG_BYTES_MAX: usize = 64 << 20;

/// A reply's place in the order of the connection.
enum Place {
    Waiting {
        /// The reply is dropped when it comes (CLIENT REPLY).
        silent: bool,
    },
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

/// What waits for other cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Requests on one shard each.
    Single,
    Transaction,
}

/// What a connection is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Open,
    /// Everything answered so far is still sent, nothing more is read.
    Closing,
    /// The socket is shut down; waits for the kernel's last completions.
    Closed,
}

/// One client connection.
pub struct Connection {
    pub socket: OwnedFd,
    pub session: Session,
    pub phase: Phase,
    /// Is one of the clients that are counted for maxclients.
    pub counted: bool,
    /// A receive is armed.
    pub receiving: bool,
    /// Its receives are to be of one buffer until this is zero; see
    /// [`Connection::floods`].
    bulk: u8,
    /// Its share of what the core receives.
    pub share: Share,
    /// The turn in which it last executed something, and how many bytes of it.
    turn: u32,
    executed: usize,
    /// CLIENT KILL has named it: it is told what it waits for, and no more.
    pub killed: bool,
    /// Whether it ends is watched, because nothing is received from it. Once begun, that
    /// goes on until it does.
    pub watching: bool,
    /// The client has ended its side of the stream.
    pub ends: bool,
    /// And all that it has sent has been received.
    pub said_all: bool,
    /// It was asked to end, because the client is ahead of us.
    pub stopping_receive: bool,
    /// Bytes handed to the kernel that it has not yet sent.
    pub in_flight: usize,
    /// Since when its output has been over the soft limit.
    pub over_soft_limit_since: Option<UnixMs>,
    /// Is in the core's list of connections that hold replies back.
    pub holding: bool,
    /// Holds nothing back until nothing is waiting: something takes long.
    pub impatient: bool,
    /// Is in the core's list of connections with something to do this turn.
    pub dirty: bool,
    /// Has requests in `input` that wait for room or for a reply.
    pub stalled: bool,
    /// Later requests wait until the replies to earlier ones are complete.
    pub barrier: bool,
    /// The next request waits for the end of a CLIENT PAUSE.
    pub paused: bool,
    /// A blocking command is under way, and may be waiting.
    blocked: Option<Blocked>,
    /// It was given up, but may still be served: the shard of its keys has not answered.
    gives_up: bool,
    /// A block with commands of the server is under way. They run on this session, so
    /// it stays until they have, whatever becomes of the client.
    pub runs_block: bool,

    /// Received bytes that are not yet executed, from `partial.start` on.
    pub input: Vec<u8>,
    pub partial: Partial,
    /// Spans of the incomplete request.
    pub spans: Vec<Span>,

    /// Pieces of long replies, and what came before and between them: to be sent
    /// before `out`.
    pieces: VecDeque<Vec<u8>>,
    /// Bytes in `pieces`, and in those of `order`.
    pieces_bytes: usize,
    /// Replies to send next.
    pub out: Vec<u8>,
    order: VecDeque<Place>,
    /// What is waiting, if anything is.
    waiting: Kind,
    /// Number of the first place in `order`.
    first_place: u32,
    held: Vec<u8>,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(socket: OwnedFd, session: Session) -> Self {
        Self {
            socket,
            session,
            phase: Phase::Open,
            counted: true,
            receiving: false,
            bulk: 0,
            share: Share::new(),
            turn: 0,
            executed: 0,
            killed: false,
            watching: false,
            ends: false,
            said_all: false,
            stopping_receive: false,
            in_flight: 0,
            over_soft_limit_since: None,
            holding: false,
            impatient: false,
            dirty: false,
            stalled: false,
            barrier: false,
            paused: false,
            blocked: None,
            gives_up: false,
            runs_block: false,
            input: Vec::new(),
            partial: Partial::default(),
            spans: Vec::new(),
            pieces: VecDeque::new(),
            pieces_bytes: 0,
            out: Vec::new(),
            order: VecDeque::new(),
            waiting: Kind::Single,
            first_place: 0,
            held: Vec::new(),
        }
    }

    /// Whether the next request may be executed.
    #[inline]
    pub fn may_execute(&self) -> bool {
        self.phase == Phase::Open
            && !self.barrier
            && !self.paused
            && self.order.len() < PLACES_MAX
            && self.output_bytes() < OUTPUT_BYTES_SOFT
    }

    /// Something was received: a buffer `full` or not, and `more` may come unless receiving
    /// has ended with it. Then it is not there to be stopped.
    #[inline]
    pub fn received(&mut self, full: bool, more: bool) {
        self.receiving = more;
        self.stopping_receive &= more;
        if self.bulk > 0 {
            self.bulk = if full { SHORT_RECEIVES } else { self.bulk - 1 };
        }
    }

    /// It has sent much more than its turns allow to execute. A multishot receive
    /// takes all that the kernel has, megabytes, which then is copied and kept; so
    /// from now on it is received from a buffer at a time, as its turn comes.
    pub fn floods(&mut self) {
        self.bulk = SHORT_RECEIVES;
    }

    /// Whether it is received from a buffer at a time.
    #[inline]
    pub fn in_bulk(&self) -> bool {
        self.bulk > 0
    }

    /// Bytes that may still be executed in this turn.
    #[inline]
    pub fn allowance(&self, turn: u32) -> usize {
        let executed = if self.turn == turn { self.executed } else { 0 };
        TURN_BYTES.saturating_sub(executed)
    }

    /// `bytes` were executed in this turn.
    #[inline]
    pub fn spend(&mut self, turn: u32, bytes: usize) {
        if self.turn != turn {
            (self.turn, self.executed) = (turn, 0);
        }
        self.executed += bytes;
    }

    /// Bytes of replies that wait to be sent or are being sent.
    #[inline]
    pub fn output_bytes(&self) -> usize {
        self.out.len() + self.held.len() + self.pieces_bytes + self.in_flight
    }

    /// Whether replies are outstanding, and the last request for which one is was of
    /// this kind.
    #[inline]
    pub fn waits_for(&self, kind: Kind) -> bool {
        self.waiting == kind && !self.order.is_empty()
    }

    /// Takes a place for the reply to a request that waits for other cores.
    #[inline]
    pub fn client(&mut self, key: u32, kind: Kind) -> Client {
        self.waiting = kind;
        let place = self.wait();
        Client {
            key,
            id: self.session.id,
            place,
        }
    }

    /// Takes the place of a block with commands of the server. What follows is to be
    /// run as these want it, and which replies to the block are dropped is theirs to say.
    pub fn client_of_block(&mut self, key: u32) -> Client {
        let client = self.client(key, Kind::Transaction);
        self.order.pop_back();
        self.order.push_back(Place::Waiting { silent: false });
        self.barrier = true;
        self.runs_block = true;
        client
    }

    /// Takes a place before all others, for something that they are to wait for.
    pub fn place_before(&mut self, key: u32) -> Client {
        self.first_place = self.first_place.wrapping_sub(1);
        self.order.push_front(Place::Waiting { silent: true });
        Client {
            key,
            id: self.session.id,
            place: self.first_place,
        }
    }

    /// Whether replies that are ready should wait for those of other cores that
    /// are on their way: one send costs more than most requests.
    #[inline]
    pub fn holds_back(&self) -> bool {
        !self.order.is_empty()
            && !self.impatient
            && self.out.len() < HOLD_BYTES
            && self.pieces.is_empty()
    }

    /// Whether replies are outstanding.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        !self.order.is_empty()
    }

    /// Where the reply to the request at hand is to be written: call
    /// [`Connection::reply_written`] with the length from before.
    #[inline]
    pub fn reply_buffer(&mut self) -> &mut Vec<u8> {
        if self.order.is_empty() {
            &mut self.out
        } else {
            &mut self.held
        }
    }

    /// A reply was appended to the [`Connection::reply_buffer`], which was `before` bytes long.
    #[inline]
    pub fn reply_written(&mut self, before: usize) {
        if self.session.is_silent() {
            self.reply_buffer().truncate(before);
        }
        if self.order.is_empty() {
            return;
        }
        let written = before..self.held.len();
        if written.is_empty() {
            return;
        }
        match self.order.back_mut() {
            // Neighbours become one place, unless an early answer came between.
            Some(Place::Ready(range)) if range.end == written.start => range.end = written.end,
            _ => self.order.push_back(Place::Ready(written)),
        }
    }

    /// Takes a place for a reply that will come later.
    #[inline]
    pub fn wait(&mut self) -> u32 {
        let place = self.first_place.wrapping_add(self.order.len() as u32);
        self.order.push_back(Place::Waiting {
            silent: self.session.is_silent(),
        });
        place
    }

    /// The reply for `place` has come. Everything that no longer waits for
    /// anything moves to `out`.
    #[inline]
    pub fn answer(&mut self, place: u32, reply: &[u8]) {
        let index = place.wrapping_sub(self.first_place) as usize;
        if let Some(Place::Flowing { .. }) = self.order.get(index) {
            return self.end_flow(index, reply.to_vec());
        }
        let silent = matches!(self.order.get(index), Some(Place::Waiting { silent: true }));
        let reply = if silent { &[] } else { reply };
        if index > 0 {
            let start = self.held.len();
            if !append(&mut self.held, reply) {
                self.close();
            }
            if let Some(waiting) = self.order.get_mut(index) {
                *waiting = Place::Ready(start..self.held.len());
            }
            return;
        }
        if !append(&mut self.out, reply) {
            self.close();
        }
        self.pop_place();
        self.pop_ready();
    }

    /// [`Connection::answer`] with a reply that goes on with these pieces.
    #[inline]
    pub fn answer_in_pieces(&mut self, place: u32, reply: &[u8], pieces: Vec<Vec<u8>>) {
        if pieces.is_empty() {
            self.answer(place, reply);
        } else {
            self.answer_at_length(place, reply, pieces);
        }
    }

    #[cold]
    fn answer_at_length(&mut self, place: u32, reply: &[u8], mut pieces: Vec<Vec<u8>>) {
        let index = place.wrapping_sub(self.first_place) as usize;
        if let Some(Place::Waiting { silent: true }) = self.order.get(index) {
            return self.answer(place, &[]);
        }
        pieces.insert(0, reply.to_vec());
        self.pieces_bytes += pieces.iter().map(Vec::len).sum::<usize>();
        if let Some(waiting) = self.order.get_mut(index) {
            *waiting = Place::Pieces(pieces);
        }
        self.pop_ready();
    }

    /// A piece of the reply for `place` has come, and more may be asked for; false
    /// if nobody wants it: then the reply is complete as it is.
    #[cold]
    pub fn answer_flowing(&mut self, place: u32, from: Ticket, mut come: Vec<Vec<u8>>) -> bool {
        let index = place.wrapping_sub(self.first_place) as usize;
        let Some(at) = self
            .order
            .get_mut(index)
            .filter(|_| self.phase != Phase::Closed)
        else {
            return false;
        };
        if let Place::Waiting { silent: true } = at {
            self.answer(place, &[]);
            return false;
        }
        self.pieces_bytes += come.iter().map(Vec::len).sum::<usize>();
        if let Place::Flowing { pieces, asked, .. } = at {
            pieces.append(&mut come);
            *asked = false;
        } else {
            *at = Place::Flowing {
                from,
                pieces: come,
                asked: false,
            };
        }
        // Whatever comes after it waits.
        self.barrier = true;
        self.impatient = true;
        self.pop_ready();
        true
    }

    /// The last piece of a reply has come.
    #[cold]
    fn end_flow(&mut self, index: usize, last: Vec<u8>) {
        self.pieces_bytes += last.len();
        if let Some(place) = self.order.get_mut(index)
            && let Place::Flowing { pieces, .. } = place
        {
            let mut pieces = std::mem::take(pieces);
            pieces.push(last);
            *place = Place::Pieces(pieces);
        }
        self.pop_ready();
    }

    /// Whether the client has read so much that the next piece of a long reply is
    /// to be asked for: whose. Replies in later places do not count: they cannot leave
    /// before this one has ended.
    #[inline]
    pub fn wants_more(&mut self) -> Option<Ticket> {
        if !self.is_unread() || self.phase == Phase::Closed {
            return None;
        }
        let pieces: usize = self.pieces.iter().map(Vec::len).sum();
        if self.out.len() + self.in_flight + pieces >= OUTPUT_BYTES_LOW {
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

    /// Gives up the long replies that are under way.
    pub fn take_flows(&mut self) -> Vec<Ticket> {
        let give_up = |place: &mut Place| match *place {
            Place::Flowing { from, .. } => {
                *place = Place::Waiting { silent: true };
                Some(from)
            }
            _ => None,
        };
        self.order.iter_mut().filter_map(give_up).collect()
    }

    /// Moves everything that no longer waits for anything to `out`.
    #[inline]
    fn pop_ready(&mut self) {
        loop {
            match self.order.front_mut() {
                Some(Place::Ready(range)) => {
                    if !append(&mut self.out, &self.held[range.clone()]) {
                        // Without a reply the stream makes no sense any more, but the
                        // places go on being freed: what runs on this session ends.
                        self.close();
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
            self.pop_place();
        }
        if self.order.is_empty() {
            self.barrier = false;
            self.blocked = None;
            self.gives_up = false;
            if std::mem::take(&mut self.runs_block) {
                self.session.command_done();
            }
            self.impatient = false;
            self.held.clear();
            self.held.shrink_to(SPARE_BYTES_MAX);
        }
    }

    /// Pieces, which are counted already, are to be sent next, after `out`. An empty one
    /// would be sent, too, and nobody would know that it is under way.
    #[cold]
    fn send_pieces(&mut self, pieces: Vec<Vec<u8>>) {
        if !self.out.is_empty() {
            self.pieces_bytes += self.out.len();
            self.pieces.push_back(std::mem::take(&mut self.out));
        }
        let is_piece = |piece: &Vec<u8>| !piece.is_empty();
        self.pieces.extend(pieces.into_iter().filter(is_piece));
    }

    /// Whether there is something to send.
    #[inline]
    pub fn has_output(&self) -> bool {
        !self.out.is_empty() || !self.pieces.is_empty()
    }

    /// What is to be sent next.
    #[inline]
    pub fn take_output(&mut self) -> Vec<u8> {
        match self.pieces.pop_front() {
            None => std::mem::take(&mut self.out),
            Some(piece) => {
                self.pieces_bytes -= piece.len();
                if self.pieces.is_empty() {
                    self.pieces = VecDeque::new();
                }
                piece
            }
        }
    }

    /// Nothing is sent any more.
    pub fn drop_output(&mut self) {
        self.out.clear();
        while self.pieces.front().is_some() {
            self.take_output();
        }
    }

    /// Whether what it waits for is that its client reads a long reply.
    pub fn is_unread(&self) -> bool {
        matches!(self.order.front(), Some(Place::Flowing { .. }))
    }

    fn pop_place(&mut self) {
        self.order.pop_front();
        self.first_place = self.first_place.wrapping_add(1);
    }

    /// More waits to be sent to the client than its limit allows, or would: it is
    /// closed, and is sent no more of it.
    #[cold]
    pub fn close_at_limit(&mut self, stats: &mut Stats) {
        if self.phase == Phase::Closed {
            return;
        }
        stats.output_limit_disconnections += 1;
        tracing::warn!(
            id = self.session.id,
            peer = %self.session.peer,
            "client-output-buffer-limit: closing a client that is owed too much"
        );
        self.drop_output();
        self.out = Vec::new();
        self.close();
    }

    /// The reply to the command at hand is too long: its client is closed, unless it does
    /// not want it.
    #[cold]
    pub fn reply_too_long(&mut self, stats: &mut Stats) {
        if !self.session.is_silent() {
            self.close_at_limit(stats);
        }
    }

    /// Whether the reply for `place` is to be dropped.
    pub fn is_unheard(&self, place: u32) -> bool {
        let index = place.wrapping_sub(self.first_place) as usize;
        matches!(self.order.get(index), Some(Place::Waiting { silent: true }))
    }

    /// Stops talking to the client at once.
    pub fn close(&mut self) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            // Ends the armed receive and a send that waits for the client. It
            // fails only if the peer is gone already.
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        }
    }

    /// Drops what an idle connection does not need. `held` and `order` keep
    /// small allocations only while the connection is busy.
    pub fn shed(&mut self) {
        if self.order.is_empty() {
            self.held = Vec::new();
            self.order = VecDeque::new();
        }
        if self.input.is_empty() {
            self.input = Vec::new();
            self.spans = Vec::new();
        }
    }

    /// Unexecuted bytes in `input`.
    #[inline]
    pub fn backlog(&self) -> usize {
        self.input.len() - self.partial.start
    }

    /// Bytes of buffers that this connection holds (CLIENT LIST's tot-mem and obl).
    pub fn buffer_bytes(&self) -> (usize, usize) {
        (
            self.input.capacity() + self.spans.capacity() * size_of::<Span>(),
            self.out.capacity() + self.held.capacity() + self.pieces_bytes + self.in_flight,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::ShardId;

    fn connection() -> Connection {
        let (socket, _) = std::os::unix::net::UnixStream::pair().expect("sockets can be had");
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let session = Session::new(1, nowhere, nowhere, UnixMs(0));
        Connection::new(socket.into(), session)
    }

    #[test]
    fn nothing_empty_is_sent() {
        let mut connection = connection();
        let places = [(); 4].map(|()| connection.client(1, Kind::Single).place);
        let (home, number, serial) = (ShardId(0), 1, 1);
        let ticket = Ticket {
            home,
            number,
            serial,
        };
        connection.answer_in_pieces(places[0], b"", vec![b"a".to_vec(), Vec::new()]);
        connection.answer_flowing(places[1], ticket, vec![Vec::new(), b"b".to_vec()]);
        connection.answer_flowing(places[1], ticket, vec![Vec::new()]);
        connection.answer(places[1], b"");
        connection.answer_in_pieces(places[2], b"", vec![Vec::new()]);
        connection.answer(places[3], b"c");
        let mut sent = Vec::new();
        while connection.has_output() {
            sent.push(connection.take_output());
        }
        assert_eq!(sent, [b"a", b"b", b"c"]);
        assert_eq!(connection.output_bytes(), 0);
    }

    /// As when the queue of completions is full: there is nothing left to be stopped, and
    /// nobody would say that it has been.
    #[test]
    fn a_receive_that_ends_while_it_is_being_stopped_can_begin_again() {
        let mut connection = connection();
        connection.receiving = true;
        connection.stopping_receive = true;
        connection.received(true, true);
        assert!(connection.receiving && connection.stopping_receive);
        connection.received(true, false);
        assert!(!connection.receiving && !connection.stopping_receive);
    }
}
