//! A client's socket, and what goes on with it.
//!
//! A connection is an entry of a slab, not a task. Idle, it owns no buffer:
//! requests are parsed in the provided buffer they arrived in, and output
//! buffers come from the core's pool and go back after the send. In which order
//! replies leave is [`Replies`]' to know; here is what follows from that for the
//! socket and for further requests.

mod blocked;
mod reader;

use crate::session::Session;
use crate::session::activity::Share;
use crate::session::monitored::MonitoredBlock;
use crate::stats::Stats;
use blocked::Blocked;
use reader::Reader;
use rustix::net::Shutdown;
use shards::order::{Client, Ticket};
use shards::pubsub::{Cause, Told};
use shards::replies::{Class, Lost, Output, OutputMax, Piece, Replies, Untold};
use shards::resp::Partial;
use shards::{Span, UnixMs};
use std::os::fd::OwnedFd;

pub use shards::replies::{Pending, SPARE_BYTES_MAX};

/// Replies a connection may have waiting for other cores. Beyond it, its
/// further requests wait.
const PLACES_MAX: usize = 256;

/// Output bytes (filling, held and in flight) from which on a connection's
/// further requests wait until the client has read, if it does; see [`reader`].
pub const OUTPUT_BYTES_SOFT: usize = 1 << 20;

/// Bytes of requests that one connection may have executed in one turn of its
/// core, as in Redis: then it is the others' turn. (The last request may be
/// longer.)
pub const TURN_BYTES: usize = 16 << 10;

/// So much a socket takes at once, unless its client does not read.
const SOON_BYTES: usize = 16 << 10;

/// Unexecuted bytes from which on the socket of a connection that only waits
/// for its turn is no longer read.
pub const TURN_BACKLOG_BYTES: usize = 64 << 10;

/// A connection that has sent a flood is received from a buffer at a time until so
/// many receives in a row did not fill theirs.
const SHORT_RECEIVES: u8 = 16;

/// Bytes of complete but unexecuted requests from which on the socket is no
/// longer read.
pub const BACKLOG_BYTES_MAX: usize = 64 << 20;

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
    /// The turn in which it was last sent something, …
    sent_in: u32,
    /// … which the kernel did not take at once.
    lags: bool,
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
    /// Whose limits of output are its own.
    pub class: Class,
    /// Since when its output has been over the soft limit.
    pub over_soft_limit_since: Option<UnixMs>,
    /// Is in the core's list of connections that are owed much.
    pub owed_much: bool,
    /// How its client reads, while something waits for that.
    reader: Option<Reader>,
    /// Output bytes from which on its further requests wait.
    made_up_to: usize,
    /// Is in the core's list of connections that hold replies back.
    pub holding: bool,
    /// Holds nothing back until nothing is waiting: something takes long.
    pub impatient: bool,
    /// Is in the core's list of connections with something to do this turn.
    pub dirty: bool,
    /// Is in the core's crowd.
    pub in_crowd: bool,
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
    /// It has its client listen: what that is told of it comes behind the block's reply,
    /// which confirms it.
    pub listens_within: bool,
    /// A block under way of which monitors are told as it runs.
    pub monitored_block: Option<Box<MonitoredBlock>>,

    /// Received bytes that are not yet executed, from `partial.start` on.
    pub input: Vec<u8>,
    pub partial: Partial,
    /// Spans of the incomplete request.
    pub spans: Vec<Span>,

    replies: Replies,
    /// Bytes that it was told unasked, and may not have been sent: at most so many.
    told_bytes: usize,
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
            sent_in: 0,
            lags: false,
            killed: false,
            watching: false,
            ends: false,
            said_all: false,
            stopping_receive: false,
            class: Class::Normal,
            over_soft_limit_since: None,
            owed_much: false,
            reader: None,
            made_up_to: OUTPUT_BYTES_SOFT,
            holding: false,
            impatient: false,
            dirty: false,
            in_crowd: false,
            stalled: false,
            barrier: false,
            paused: false,
            blocked: None,
            gives_up: false,
            runs_block: false,
            listens_within: false,
            monitored_block: None,
            input: Vec::new(),
            partial: Partial::default(),
            spans: Vec::new(),
            replies: Replies::new(),
            told_bytes: 0,
        }
    }

    /// Whether the next request may be executed.
    #[inline]
    pub fn may_execute(&self) -> bool {
        self.phase == Phase::Open
            && !self.barrier
            && !self.paused
            && self.replies.places() < PLACES_MAX
            && self.output_bytes() < self.made_up_to
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
        self.replies.output_bytes()
    }

    /// The place that was taken last, if any reply is outstanding.
    pub fn last_place(&self) -> Option<u32> {
        self.replies.last_place()
    }

    /// Tells the client something that it has not asked for.
    ///
    /// # Errors
    /// It cannot be told, and has to go.
    pub fn tell(&mut self, told: &Told<'_>, max: OutputMax) -> Result<(), Untold> {
        let protocol = self.session.protocol;
        let block = self.listens_within.then(|| self.last_place()).flatten();
        let Some(place) = block else {
            return self.replies.tell(told, protocol, max.hard);
        };
        let mut told = told.clone();
        told.cause = Some(Cause {
            key: told.to,
            place,
        });
        self.replies.tell(&told, protocol, max.hard)
    }

    /// Whether replies are outstanding.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.replies.is_waiting()
    }

    /// Whether replies are outstanding, and the last request for which one is was of
    /// this kind.
    #[inline]
    pub fn waits_for(&self, pending: Pending) -> bool {
        self.replies.waits_for(pending)
    }

    /// Takes a place for the reply to a request that waits for other cores.
    #[inline]
    pub fn client(&mut self, key: u32, pending: Pending) -> Client {
        let place = self.replies.wait_for(pending, self.session.is_silent());
        self.client_at(key, place)
    }

    #[inline]
    fn client_at(&self, key: u32, place: u32) -> Client {
        Client {
            key,
            id: self.session.id,
            place,
        }
    }

    /// Takes the place of a block with commands of the server. What follows is to be
    /// run as these want it, and which replies to the block are dropped is theirs to say.
    pub fn client_of_block(&mut self, key: u32) -> Client {
        let place = self.replies.wait_for(Pending::Transaction, false);
        self.barrier = true;
        self.runs_block = true;
        self.client_at(key, place)
    }

    /// The same for one of which monitors are told as it runs.
    pub fn client_of_monitored_block(&mut self, key: u32, pending: Pending) -> Client {
        let client = self.client(key, pending);
        self.barrier = true;
        self.runs_block = true;
        client
    }

    /// Takes a place before all others, for something that they are to wait for.
    pub fn place_before(&mut self, key: u32) -> Client {
        let place = self.replies.wait_before();
        self.client_at(key, place)
    }

    /// Takes a place for a reply that will come later.
    #[inline]
    pub fn wait(&mut self) -> u32 {
        self.replies.wait(self.session.is_silent())
    }

    /// Whether it has a buffer for the next reply; if not, it can be lent one.
    #[inline]
    pub fn has_buffer(&self) -> bool {
        self.replies.has_buffer()
    }

    /// See [`Replies::lend_buffer`].
    #[inline]
    pub fn lend_buffer(&mut self, buffer: Vec<u8>) {
        self.replies.lend_buffer(buffer);
    }

    /// Tells the client something that it has not asked for behind all that it is owed: a
    /// reply that is still to come may be older. It waits for no blocking command that is
    /// known to wait. Of what is told so no more than `max` bytes may wait.
    pub fn push_late(&mut self, push: Piece, max: usize, stats: &mut Stats) {
        self.told_bytes = self.told_bytes.min(self.output_bytes()) + push.len();
        if self.told_bytes > max {
            return self.close_at_limit(stats);
        }
        let behind = self.last_owed();
        if self.replies.push_late(push, behind).is_err() {
            self.close();
        }
    }

    /// Where the reply to the request at hand is to be written: call
    /// [`Connection::reply_written`] with the length from before.
    #[inline]
    pub fn reply_buffer(&mut self) -> &mut Vec<u8> {
        self.replies.reply_buffer()
    }

    /// A reply was appended to the [`Connection::reply_buffer`], which was `before` bytes long.
    #[inline]
    pub fn reply_written(&mut self, before: usize) {
        self.replies.reply_written(before, self.session.is_silent());
    }

    /// The reply for `place` has come.
    #[inline]
    pub fn answer(&mut self, place: u32, reply: &[u8]) {
        let answered = self.replies.answer(place, reply);
        self.answered(answered, reply);
    }

    /// [`Connection::answer`] with a reply that goes on with these pieces.
    #[inline]
    pub fn answer_in_pieces(&mut self, place: u32, reply: &[u8], pieces: Vec<Vec<u8>>) {
        let answered = self.replies.answer_in_pieces(place, reply, pieces);
        self.answered(answered, reply);
    }

    /// A piece of the reply for `place` has come, and more may be asked for; false
    /// if nobody wants it: then the reply is complete as it is.
    #[cold]
    pub fn answer_flowing(&mut self, place: u32, from: Ticket, pieces: Vec<Vec<u8>>) -> bool {
        if self.phase == Phase::Closed {
            // The rest will not come, and what it was for is to be over all the same.
            self.answer(place, &[]);
            return false;
        }
        let answered = self.replies.answer_flowing(place, from, pieces);
        let flows = answered.unwrap_or(false);
        if flows {
            // Whatever comes after it waits.
            self.barrier = true;
            self.impatient = true;
        }
        self.answered(answered.map(|_| ()), &[]);
        flows
    }

    /// What follows from an answer. When the last that was outstanding has come, further
    /// requests are free to run.
    #[inline]
    fn answered(&mut self, answered: Result<(), Lost>, reply: &[u8]) {
        if answered.is_err() {
            self.close();
        }
        if self.replies.is_waiting() {
            return;
        }
        self.barrier = false;
        self.blocked = None;
        self.gives_up = false;
        if std::mem::take(&mut self.runs_block) {
            self.session.command_done();
            self.session.caching_over();
            if let Some(block) = &mut self.monitored_block {
                block.ends(reply);
            }
        }
        self.listens_within = false;
        self.impatient = false;
    }

    /// Whether the next piece of a long reply is to be asked for: whose.
    #[inline]
    pub fn wants_more(&mut self) -> Option<Ticket> {
        match self.phase {
            Phase::Closed => None,
            _ => self.replies.wants_more(self.flows_up_to()),
        }
    }

    /// Gives up the long replies that are under way.
    pub fn take_flows(&mut self) -> Vec<Ticket> {
        let places = self.replies.flowing();
        let tickets = self.replies.take_flows();
        for place in places {
            self.answer(place, &[]);
        }
        tickets
    }

    /// Whether replies that are ready should wait for those of other cores that
    /// are on their way.
    #[inline]
    pub fn holds_back(&self) -> bool {
        !self.impatient && self.replies.holds_back()
    }

    /// Whether there is something to send.
    #[inline]
    pub fn has_output(&self) -> bool {
        self.replies.has_output()
    }

    /// Whether the kernel has something to send.
    #[inline]
    pub fn is_in_flight(&self) -> bool {
        self.replies.is_in_flight()
    }

    /// What is to be sent next, which the kernel has from now on.
    #[inline]
    pub fn take_output(&mut self) -> Piece {
        self.replies.take_output()
    }

    /// So many bytes are given to the kernel in this turn; whether it most probably takes
    /// them at once: few, and it did so before.
    #[inline]
    pub fn sends(&mut self, turn: u32, bytes: usize) -> bool {
        self.sent_in = turn;
        !self.lags && bytes <= SOON_BYTES
    }

    /// The kernel has sent what it had, or given it up.
    #[inline]
    pub fn sent(&mut self, turn: u32) {
        self.lags = self.sent_in != turn;
        self.replies.sent();
    }

    /// Nothing is sent any more.
    pub fn drop_output(&mut self) {
        self.replies.drop_output();
    }

    /// Whether what it waits for is that its client reads a long reply.
    pub fn is_unread(&self) -> bool {
        self.replies.is_unread()
    }

    /// Whether the reply for `place` is to be dropped.
    pub fn is_unheard(&self, place: u32) -> bool {
        self.replies.is_unheard(place)
    }

    /// Closes the client if more waits for it than it may have, or than it may have for
    /// so long, and has; whether it does. Notes since when.
    pub fn judge_output(
        &mut self,
        max: OutputMax,
        soft_s: u32,
        now: UnixMs,
        stats: &mut Stats,
    ) -> bool {
        let over = match max.judge(self.output_bytes()) {
            Output::BeyondHard => true,
            Output::BeyondSoft => {
                let since = *self.over_soft_limit_since.get_or_insert(now);
                now.0 - since.0 > i64::from(soft_s) * 1000
            }
            Output::Within => {
                self.over_soft_limit_since = None;
                false
            }
        };
        if over {
            self.close_at_limit(stats);
        }
        over
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
            class = self.class.name(),
            "client-output-buffer-limit: closing a client that is owed too much"
        );
        self.drop_output();
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

    /// Stops talking to the client at once.
    pub fn close(&mut self) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            // Ends the armed receive and a send that waits for the client. It
            // fails only if the peer is gone already.
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        }
    }

    /// Drops what an idle connection does not need. Small allocations are kept only
    /// while it is busy.
    pub fn shed(&mut self) {
        self.replies.shed();
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
            self.replies.buffer_bytes(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let (socket, _) = std::os::unix::net::UnixStream::pair().expect("sockets can be had");
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let session = Session::new(1, nowhere, nowhere, UnixMs(0));
        Connection::new(socket.into(), session)
    }

    #[test]
    fn the_soft_limit_has_its_time_and_falls_short_of_the_hard_one() {
        let mut connection = connection();
        let mut stats = Stats::default();
        let max = OutputMax {
            hard: 100,
            soft: 10,
            to_pass: Some(100),
        };
        let mut judge = |bytes: usize, now_ms| {
            connection.phase = Phase::Open;
            connection.drop_output();
            connection.reply_buffer().resize(bytes, b'x');
            let over = connection.judge_output(max, 2, UnixMs(now_ms), &mut stats);
            assert_eq!(connection.phase == Phase::Closed, over);
            assert_eq!(connection.has_output(), !over);
            over
        };
        assert!(
            !judge(11, 1000) && !judge(100, 3000),
            "not longer than that"
        );
        assert!(judge(11, 3001));
        assert!(!judge(10, 3002), "the client has read");
        assert!(!judge(11, 3003) && !judge(11, 5003));
        assert!(judge(11, 5004));
        assert!(judge(101, 0), "at once");
        assert_eq!(stats.output_limit_disconnections, 3);
    }

    /// The rest of a long reply is made for nobody when its client has gone, so nobody says
    /// that it is over.
    #[test]
    fn who_is_gone_is_let_go_although_a_long_reply_was_to_come() {
        let ticket = Ticket {
            home: shards::ShardId(0),
            kind: shards::order::TicketKind::Request,
            number: 1,
            serial: 1,
        };
        for comes_late in [true, false] {
            let mut connection = connection();
            let first = connection.wait();
            let long = connection.wait();
            let blocking = connection.wait();
            connection.block(None);
            if !comes_late {
                assert!(connection.answer_flowing(long, ticket, vec![vec![b'x']]));
            }
            connection.close();
            let given_up = connection.take_flows();
            connection.unblock();
            connection.answer(blocking, &[]);
            if comes_late {
                assert!(given_up.is_empty() && !connection.is_released());
                assert!(!connection.answer_flowing(long, ticket, vec![vec![b'x']]));
            } else {
                assert_eq!(given_up, [ticket]);
            }
            // What was under way to it comes all the same.
            assert!(!connection.answer_flowing(long, ticket, vec![vec![b'x']]));
            connection.answer(long, b"x");
            assert!(!connection.is_released());
            connection.answer(first, b"first");
            assert!(connection.is_released(), "{comes_late}");
        }
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
