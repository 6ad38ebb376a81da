//! Everything one core owns, and what cores ask of each other.
//!
//! A [`Core`] lives on one thread and is handed down the path of a request as
//! `&mut Core`: nothing in it is shared, locked or counted.

mod asker;

use crate::config::{Authority, Config};
use crate::runtime::jobs::Jobs;
use crate::runtime::mesh::Mesh;
use crate::runtime::ring::Ring;
use crate::runtime::sequencer::Sequencer;
use crate::runtime::ticks;
use crate::session::activity::Activity;
use crate::session::connection::SPARE_BYTES_MAX;
use crate::session::{ClientFilter, Connection, Session};
use crate::stats::Stats;
use crate::stats::latency::{EventKind, Events};
use crate::stats::slowlog::{SlowEntry, SlowLog, cut};
use shards::command::{Args, Flags, OwnedArgs, flags};
use shards::order::{Batch, Block, Node, Replied, Rest, Ticket, Timing, Unblock};
use shards::resp::Reply;
use shards::{CommandError, DbIndex, ReplyMax, ShardId, UnixMs};
use slab::Slab;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

pub use asker::Asker;

/// What travels between cores.
pub enum Message {
    /// Requests, locks, grants and replies of the keyspace.
    Batch(Box<Batch>),
    /// Every core answers a question about itself or does something to itself.
    Ask {
        ticket: u32,
        question: Arc<Question>,
    },
    Answer {
        ticket: u32,
        answer: Answer,
    },
    /// A core wants to know when this one has acted on what the kernel knows now, …
    Settle,
    /// … and has its answer.
    Settled,
    /// All that the sender had for the receiver before it was asked this is sent.
    Passed(Asked),
}

/// A question to all cores: who asks, and under which number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub by: ShardId,
    pub ticket: u32,
}

/// A question that this core answers once it is still; see `coordinator::pause`.
pub struct Pausing {
    pub asked: Asked,
    /// Cores that may have sent something here before they were asked, and this core
    /// if it was not asked yet.
    pub missing: u16,
    /// Something that may write has been under way.
    pub busy: bool,
    /// Changes that this shard had counted when it first heard of it.
    pub changes: u64,
}

/// What one core can ask of all. Closed on purpose: it is the whole list of
/// what reaches over cores besides keys.
pub enum Question {
    /// CLIENT LIST: the matching clients, and who asks.
    Clients(ClientFilter, Running),
    /// Ends the matching connections.
    Kill(ClientFilter),
    /// Counters and gauges for INFO; with the histograms of latencies or without.
    Stats { histograms: bool },
    /// CONFIG RESETSTAT.
    ResetStats,
    /// Takes over the configuration after a CONFIG SET.
    Configure(Box<Config>),
    /// SLOWLOG GET: the newest so many entries.
    Slow(usize),
    /// SLOWLOG LEN.
    SlowCount,
    /// SLOWLOG RESET.
    ForgetSlow,
    /// LATENCY's events.
    Events,
    /// LATENCY RESET of these events; of all if there is none. Counts those
    /// that it had.
    ForgetEvents(Vec<EventKind>),
    /// CLIENT PAUSE. Counts those on which something has been under way since.
    Pause(Pause),
    /// The same of a pause that is known.
    Still,
    /// CLIENT UNPAUSE.
    Unpause,
    /// CLIENT UNBLOCK of this client.
    Unblock(i64, Unblock),
    /// DEBUG SET-ACTIVE-EXPIRE.
    ActiveExpire(bool),
    /// DEBUG OBJECT: its owner answers with the reply.
    Object { db: DbIndex, key: Box<[u8]> },
    /// DEBUG SLEEP: the whole server stands still.
    Sleep(std::time::Duration),
}

/// The client whose command is being executed.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    pub client: u64,
    /// Bytes of the request as it was received, and of its arguments.
    pub request_bytes: usize,
    pub args_bytes: usize,
}

/// A time in which clients wait.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    pub until: UnixMs,
    /// All commands wait, not only those that may write.
    pub all: bool,
}

impl Pause {
    /// Whether a command with these flags waits.
    #[inline]
    pub fn holds(&self, command: Flags) -> bool {
        self.all || command.has(flags::WRITE) || command.has(flags::MAY_REPLICATE)
    }
}

/// A core's answer to a [`Question`].
pub enum Answer {
    Done,
    Count(u64),
    Text(Vec<u8>),
    Stats(Box<CoreStats>),
    /// Newest first.
    Slow(Vec<SlowEntry>),
    Events(Events),
}

/// What INFO needs to know of a core.
#[derive(Clone, Debug, Default)]
pub struct CoreStats {
    pub stats: Stats,
    pub clients: u64,
    /// Clients that wait in a blocking command or for the end of a pause.
    pub blocked: u64,
    /// What connections take.
    pub client_bytes: u64,
    /// Per database: keys, keys with a TTL, sum of known TTLs in ms.
    pub keyspace: Vec<KeyspaceStats>,
    pub hits: u64,
    pub misses: u64,
    pub expired: u64,
    pub changes: u64,
    /// Keys that blocking commands wait for, and commands that wait until a deadline.
    pub waited_keys: u64,
    pub waiting_until: u64,
    /// Keys and large values that were deleted and are to be freed, and that were.
    pub unfreed: u64,
    pub freed: u64,
    pub input_buffer_max: usize,
    pub output_buffer_max: usize,
}

/// One database on one shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyspaceStats {
    pub keys: u64,
    pub expires: u64,
    pub avg_ttl_ms: u64,
}

/// A server command that waits for answers of several cores.
pub struct Gathering {
    pub asker: Asker,
    /// Of the reply, in the order of the connection; of no meaning within a block.
    pub place: u32,
    /// Answers that have not come in yet.
    pub missing: u16,
    /// In core order.
    pub answers: Vec<Option<Answer>>,
    pub finish: Finish,
    pub request: OwnedArgs,
    /// It begins a pause: all are asked anew until none had anything under way.
    pub pauses: bool,
}

/// Writes the reply once every core has answered.
pub type Finish = fn(&mut Call<'_>, Args<'_>, Vec<Answer>) -> Result<(), CommandError>;

/// Work that may block.
pub type Job = Box<dyn FnOnce() -> Answer + Send>;

/// What a server command may touch. The reply goes to `out`, never into the
/// connection's own buffers.
pub struct Call<'a> {
    pub core: &'a mut Core,
    /// The connection's key in `core.connections`.
    pub key: u32,
    pub out: &'a mut Vec<u8>,
}

impl Call<'_> {
    /// The connection the request came on.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.core.connections[self.key as usize]
    }

    /// The client that called.
    pub fn session(&mut self) -> &mut Session {
        &mut self.connection().session
    }

    /// Whether the client is on this machine.
    pub fn is_local(&mut self) -> bool {
        self.session().peer.ip().to_canonical().is_loopback()
    }

    /// Replies the help of a container: a line that Redis has for all, the
    /// given lines, and the subcommand HELP.
    pub fn help(&mut self, container: &str, lines: &[&str]) {
        let first = format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
        let mut reply = self.reply();
        reply.array(lines.len() + 3);
        reply.simple(&first);
        for line in lines {
            reply.simple(line);
        }
        reply.simple("HELP");
        reply.simple("    Prints this help.");
    }

    /// Argument `at` of the request is a secret: nobody may see it in a log.
    pub fn redact(&mut self, at: usize) {
        self.core.secret.push(at);
    }

    /// [`Call::reply`], for a reply that a client can make as long as it likes: it is
    /// cut where it is too long, and the command is to end with [`Reply::complete`].
    pub fn long_reply(&mut self) -> Reply<'_> {
        let max = self.core.node.shard.settings.reply_max.bytes;
        let protocol = self.core.connections[self.key as usize].session.protocol;
        Reply::until(self.out, protocol, max)
    }

    /// A writer in the client's protocol version.
    pub fn reply(&mut self) -> Reply<'_> {
        let protocol = self.core.connections[self.key as usize].session.protocol;
        Reply::new(self.out, protocol)
    }
}

/// Empty output buffers, to be used again: a few, and none that is large.
#[derive(Default)]
pub struct SpareBuffers(Vec<Vec<u8>>);

impl SpareBuffers {
    /// Buffers that are kept.
    const KEPT: usize = 256;

    /// An empty buffer: a spare one if there is any.
    #[inline]
    pub fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    /// A buffer is no longer used, and what it holds no longer needed.
    #[inline]
    pub fn keep(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= SPARE_BYTES_MAX && self.0.len() < Self::KEPT {
            buffer.clear();
            self.0.push(buffer);
        }
    }

    /// Memory that they take.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(Vec::capacity).sum()
    }
}

/// Everything one core owns.
pub struct Core {
    pub id: ShardId,
    /// Number of cores, and so of shards.
    pub shards: u16,
    /// The shard, its locks, and what goes to other shards.
    pub node: Node,
    pub ring: Ring,
    pub mesh: Mesh<Message>,
    /// The order of what cores send each other.
    pub sequencer: Sequencer,
    pub connections: Slab<Box<Connection>>,
    /// Number of this turn of the loop.
    pub turn: u32,
    /// Connections that have had their share of this turn and go on in the next.
    pub next_turn: Vec<u32>,
    /// Connections that hold replies back.
    pub holding: Vec<u32>,
    /// How busy clients are.
    pub activity: Activity,
    /// When memory use was last looked at for its peak.
    pub peak_noted_at: UnixMs,
    /// The connection that background upkeep has visited last.
    pub next_visit: usize,
    pub gatherings: Slab<Gathering>,
    /// What other cores have asked in this turn.
    pub asked: Vec<(ShardId, u32, Arc<Question>)>,
    pub config: Config,
    pub stats: Stats,
    pub slow_log: SlowLog,
    pub events: Events,
    /// From so many ticks on a command is looked at: for SLOWLOG or LATENCY.
    pub noteworthy_ticks: u64,
    /// When the command before ended, in ticks, if nothing was done since;
    /// otherwise 0.
    pub lap: u64,
    /// Arguments of the request at hand that must not be shown.
    pub secret: Vec<usize>,
    /// Keys expire also when nobody looks at them (DEBUG SET-ACTIVE-EXPIRE).
    pub active_expire: bool,
    /// CLIENT PAUSE is in force.
    pub pause: Option<Pause>,
    /// Connections whose next request waits for its end.
    pub paused: Vec<u32>,
    /// Who asks when what was under way before it is over.
    pub pausing: Vec<Pausing>,
    /// The flags of each row, by its number.
    pub row_flags: Vec<Flags>,
    /// The time of this turn.
    pub now: UnixMs,
    /// Connections with something to send, to close or to go on with.
    pub dirty: Vec<u32>,
    /// Empty output buffers, to be used again.
    pub spare_buffers: SpareBuffers,
    /// Empty blocks, for the next MULTI.
    #[allow(clippy::vec_box)] // they travel as boxes
    pub spare_blocks: Vec<Box<Block>>,
    pub shared: Arc<Shared>,
    /// Work that may block, which ends with an answer and what that is for.
    pub jobs: Jobs<(u32, Answer)>,
}

/// What all cores can see: set at start or changed rarely.
pub struct Shared {
    pub run_id: String,
    pub started_at: UnixMs,
    pub tcp_port: u16,
    /// What CONFIG SET changes.
    pub config: Authority,
    /// Memory in use when all cores had started.
    pub startup_bytes: AtomicU64,
    /// Number of the next entry of a slow log.
    pub next_slow: AtomicU64,
    /// Identifier of the next client.
    pub next_client: AtomicU64,
    /// Connected clients of all cores, for maxclients.
    pub clients: AtomicU64,
    /// All is in place: cores take clients from here on.
    pub serving: AtomicBool,
    /// The server is asked to stop; every core looks once per heartbeat.
    pub stopping: AtomicBool,
}

impl Core {
    /// Marks a connection for the end of the turn: its output is sent, its
    /// waiting requests go on, it is closed if it is to be closed.
    #[inline]
    pub fn mark_dirty(&mut self, key: u32) {
        let connection = &mut self.connections[key as usize];
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(key);
        }
    }

    /// The connection `key`, if it still is client `id`.
    #[inline]
    pub fn client(&mut self, key: u32, id: u64) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(key as usize)?;
        (connection.session.id == id).then_some(&mut **connection)
    }

    /// A client watches no more.
    pub fn unwatch(&mut self, key: u32) {
        let session = &mut self.connections[key as usize].session;
        let queued = session.queue.as_mut();
        let queued = queued.and_then(|queue| queue.block.watched.take());
        for watched in session.watched.take().into_iter().chain(queued) {
            self.node.unwatch(&watched);
        }
    }

    /// Ends an open MULTI without running it; the client watches no more.
    pub fn discard(&mut self, key: u32) {
        self.unwatch(key);
        self.connections[key as usize].session.queue = None;
    }

    /// Hands out the replies that have come from shards.
    #[inline]
    pub fn deliver(&mut self) {
        while let Some(client) = self.node.begun_to_wait() {
            if let Some(connection) = self.client(client.key, client.id)
                && connection.waits(client.place)
            {
                self.mark_dirty(client.key);
            }
        }
        // Long replies that nobody reads are dropped, and what that lets through may
        // be the next of them.
        while self.node.has_replies() {
            for ticket in self.hand_out() {
                self.node.drop_reply(self.now, ticket);
            }
        }
    }

    /// The replies that have come so far; gives those back of which nobody wants the
    /// rest.
    #[inline]
    fn hand_out(&mut self) -> Vec<Ticket> {
        let Self {
            node,
            connections,
            stats,
            dirty,
            ..
        } = self;
        let (mut slow, mut unread) = (Vec::new(), Vec::new());
        node.replies(|replied| {
            let Replied {
                client,
                row,
                ran,
                reply,
                slow: request,
                pieces,
                rest,
            } = replied;
            if rest != Rest::Nothing {
                if rest == Rest::InVain {
                    stats.commands = stats.commands.saturating_sub(1);
                }
                let connection = connections.get_mut(client.key as usize);
                let connection = connection.filter(|it| it.session.id == client.id);
                if let Some(connection) = connection {
                    if !std::mem::replace(&mut connection.dirty, true) {
                        dirty.push(client.key);
                    }
                    unread.extend(flow(connection, client.place, rest, pieces));
                } else if let Rest::Follows(ticket) = rest {
                    unread.push(ticket);
                }
                return;
            }
            stats.ran(row, ticks::to_ns(ran.ticks));
            if ran.failed {
                stats.count_error(reply.get(1..).unwrap_or_default());
                stats.rows[usize::from(row)].failed += 1;
            }
            if let Some(args) = request {
                slow.push((client, row, ran.ticks, OwnedArgs::new(args.iter())));
            }
            let Some(connection) = connections.get_mut(client.key as usize) else {
                return;
            };
            if connection.session.id != client.id {
                return;
            }
            if ran.too_long {
                if !connection.is_unheard(client.place) {
                    connection.close_at_limit(stats);
                }
                // Its place is free all the same: what runs on its session is over.
                connection.answer(client.place, &[]);
            } else {
                connection.answer_in_pieces(client.place, reply, pieces);
            }
            if !std::mem::replace(&mut connection.dirty, true) {
                dirty.push(client.key);
            }
        });
        if !slow.is_empty() {
            self.secret.clear();
        }
        for (client, row, ticks, request) in slow {
            self.note(client.connection(), client.id, row, ticks, request.args());
        }
        unread
    }

    /// Lets the clients that a pause has held up go on.
    pub fn end_pause(&mut self) {
        self.pause = None;
        self.node.shard.keep().hold_all(false);
        for key in std::mem::take(&mut self.paused) {
            if let Some(connection) = self.connections.get_mut(key as usize) {
                connection.paused = false;
                self.mark_dirty(key);
            }
        }
    }

    /// What must be known of the configuration where commands run and are timed.
    pub fn time_as_configured(&mut self) {
        let slow_us = u64::try_from(self.config.slowlog_log_slower_than);
        let slow_ns = slow_us.map_or(u64::MAX, |us| us.saturating_mul(1000));
        let event_ns = match self.config.latency_monitor_threshold_ms {
            0 => u64::MAX,
            ms => ms.saturating_mul(1_000_000),
        };
        self.noteworthy_ticks = match slow_ns.min(event_ns) {
            u64::MAX => u64::MAX,
            ns => ticks::of_ns(ns),
        };
        self.node.timing = Timing {
            clock: ticks::now,
            slow: self.noteworthy_ticks,
        };
        self.node.shard.settings.reply_max = reply_max(&self.config);
        self.stats.tracking = self.config.latency_tracking;
        if !self.stats.tracking {
            self.stats.forget_histograms();
        }
    }

    /// A slice of deleting expired keys that began then is over.
    pub fn note_expire_cycle(&mut self, began: Instant) {
        let threshold_ms = self.config.latency_monitor_threshold_ms;
        if threshold_ms == 0 {
            return;
        }
        let took_ms = began.elapsed().as_millis() as u64;
        if took_ms >= threshold_ms {
            let at_s = self.now.0 / 1000;
            self.events.add(EventKind::ExpireCycle, at_s, took_ms);
        }
    }

    /// A command of client `id` took long: SLOWLOG and LATENCY hear of it, if
    /// it was long enough for them.
    #[cold]
    pub fn note(&mut self, key: u32, id: u64, row: u16, ticks: u64, args: Args<'_>) {
        let took_us = ticks::to_ns(ticks) / 1000;
        let (at_s, took_ms) = (self.now.0 / 1000, took_us / 1000);
        let row_flags = self.row_flags[usize::from(row)];
        let threshold_ms = self.config.latency_monitor_threshold_ms;
        if threshold_ms > 0 && took_ms >= threshold_ms {
            let fast = row_flags.has(flags::FAST);
            let kind = if fast {
                EventKind::FastCommand
            } else {
                EventKind::Command
            };
            self.events.add(kind, at_s, took_ms);
        }
        let slow_us = u64::try_from(self.config.slowlog_log_slower_than);
        let is_slow = slow_us.is_ok_and(|slow_us| took_us >= slow_us);
        if !is_slow || row_flags.has(flags::SKIP_SLOWLOG) {
            return;
        }
        // A client that has gone meanwhile has left neither address nor name.
        let client = self.client(key, id).map(|connection| {
            let session = &connection.session;
            (session.peer.to_string(), session.name.clone())
        });
        let (address, name) = client.unwrap_or_default();
        let entry = SlowEntry {
            id: self.shared.next_slow.fetch_add(1, Ordering::Relaxed),
            at_s,
            took_us,
            args: cut(args, &self.secret),
            address,
            name,
        };
        self.slow_log.push(entry, self.config.slowlog_max_len);
    }

    /// Sends everything that this turn has for other cores and wakes who sleeps.
    #[inline]
    pub fn publish(&mut self) {
        if self.shards == 1 {
            return;
        }
        let Self {
            node,
            mesh,
            sequencer,
            ring,
            ..
        } = self;
        let stamp = match node.wants_stamp() {
            true => sequencer.stamp(),
            false => 0,
        };
        node.outgoing(stamp, |target, batch| {
            mesh.send(target, Message::Batch(batch))
        });
        if mesh.has_sent_all() {
            sequencer.shut();
        }
        mesh.sleepers(|fd| ring.ring_other(fd));
    }

    /// Asks every other core.
    pub fn ask_others(&mut self, ticket: u32, question: &Arc<Question>) {
        for index in (0..self.shards).filter(|index| *index != self.id.0) {
            let question = Arc::clone(question);
            self.mesh
                .send(ShardId(index), Message::Ask { ticket, question });
        }
    }
}

/// How long the reply to one request may be: as long as its client's limit of output
/// allows, and not longer than the machine's memory. Redis does not count what lies
/// in its first buffer.
fn reply_max(config: &Config) -> ReplyMax {
    const UNCOUNTED: u64 = 16 << 10;
    let memory = crate::runtime::memory::total();
    let hard = config.output_limits.normal.hard_bytes;
    let limit = Some(hard)
        .filter(|hard| *hard > 0)
        .map(|hard| hard.saturating_add(UNCOUNTED));
    let closes = limit.is_some_and(|limit| limit < memory);
    let bytes = limit.unwrap_or(memory).min(memory);
    ReplyMax {
        bytes: usize::try_from(bytes).unwrap_or(usize::MAX >> 1),
        closes,
    }
}

/// Hands a piece of a long reply to its connection. If that does not want the rest,
/// returns whose it is.
fn flow(
    connection: &mut Connection,
    place: u32,
    rest: Rest,
    pieces: Vec<Vec<u8>>,
) -> Option<Ticket> {
    match rest {
        Rest::Follows(ticket) => {
            let flows = connection.answer_flowing(place, ticket, pieces);
            (!flows).then_some(ticket)
        }
        Rest::Lost => {
            connection.close();
            None
        }
        Rest::InVain => {
            connection.answer(place, &[]);
            None
        }
        Rest::Nothing => None,
    }
}
