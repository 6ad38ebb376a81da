//! Everything one core owns.
//!
//! A [`Core`] lives on one thread and is handed down the path of a request as
//! `&mut Core`: nothing in it is shared, locked or counted.

mod asker;
mod context;
mod deliver;
mod history;
mod listeners;
mod monitor;
mod notify;
mod own;
mod question;
mod snapshot;
mod spare_buffers;
mod timing;
mod tracking;

use crate::config::{Authority, Config};
use crate::runtime::clock;
use crate::runtime::jobs::Jobs;
use crate::runtime::mesh::Mesh;
use crate::runtime::park::Bell;
use crate::runtime::ring::Ring;
use crate::runtime::sequencer::Sequencer;
use crate::session::Connection;
use crate::session::activity::Activity;
use crate::stats::Stats;
use crate::stats::latency::Events;
use crate::stats::slowlog::SlowLog;
use shards::command::{Flags, flags};
use shards::order::{Block, Node};
use shards::pubsub::Audience;
use shards::replies::OutputMax;
use shards::{Shard, ShardId, UnixMs};
use slab::Slab;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

pub use asker::Asker;
pub use context::Context;
pub use history::{History, Marks};
pub use listeners::{CROWD, TOLD_PER_TURN};
use monitor::Monitors;
pub use question::{
    Answer, ClientPause, CoreStats, DumpStats, Finish, Gathering, Inquiry, Job, KeyspaceStats,
    Message, PauseQuestion, PausedBy, Question, QuestionId, Then, Whom,
};
pub use snapshot::{
    Batch, BatchEntry, BatchValue, Conductor, Ending, Given, Hindrances, Load, LoadFigures,
    LoadOrder, Loaded, Order, Piece, Progress, ReadFile, Reload, ReloadOptions, Report,
    SaveFigures, SaveKind, SaveOrder, Saving, Snapshots, Walk,
};
pub use spare_buffers::SpareBuffers;
pub use tracking::Trackers;

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
    /// The shard records what it does, to be put in one order with what others do.
    pub keeps_history: bool,
    /// Where that is done.
    pub history: Option<Box<History>>,
    pub connections: Slab<Box<Connection>>,
    /// Number of this turn of the loop.
    pub turn: u32,
    /// Connections that have had their share of this turn and go on in the next.
    pub next_turn: Vec<u32>,
    /// Connections that hold replies back.
    pub holding: Vec<u32>,
    /// Connections that are over a soft limit of output, or wait for their client's reading.
    pub owed_much: VecDeque<u32>,
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
    /// How much may wait for clients, by the numbers of their classes.
    pub output_max: [OutputMax; 4],
    /// When the command before ended, in ticks, if nothing was done since;
    /// otherwise 0.
    pub lap: u64,
    /// Arguments of the request at hand that must not be shown.
    pub secret: Vec<usize>,
    /// Keys expire also when nobody looks at them (DEBUG SET-ACTIVE-EXPIRE).
    pub active_expire: bool,
    /// What is in force of `pauses`, until one of them ends.
    pub pause: Option<ClientPause>,
    /// One of each cause.
    pauses: Vec<ClientPause>,
    /// A request may have to wait for the end of a pause, or somebody monitors it.
    pub has_detours: bool,
    monitors: Monitors,
    /// Connections whose next request waits for the end of a pause.
    pub paused: Vec<u32>,
    /// Who asks when what was under way before it is over.
    pub pause_questions: Vec<PauseQuestion>,
    /// The flags of each row, by its number, and of what the server has run by itself.
    pub row_flags: Vec<Flags>,
    /// Why commands of some kinds are refused at present.
    pub hindrances: Hindrances,
    pub snapshots: Snapshots,
    /// Who tracks keys.
    pub trackers: Trackers,
    /// What a command of the server asks once it has answers: set by its finish.
    pub further: Option<Inquiry>,
    /// Replies to what the server has had run by itself.
    pub own_replies: Vec<Vec<u8>>,
    /// The time of this turn.
    pub now: UnixMs,
    /// Connections with something to send, to close or to go on with.
    pub dirty: Vec<u32>,
    /// Connections that were told something together with many others. They are sent it a
    /// few at a time, behind all that is in `dirty`.
    pub crowd: VecDeque<u32>,
    /// So many clients were told something in this turn.
    pub told: usize,
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
    /// How far each core has recorded what it has done.
    pub marks: Marks,
    /// On which cores somebody listens to a channel.
    pub audience: Arc<Audience>,
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
    /// A signal asks the server to end, once it has saved what is to be saved.
    pub end_asked: AtomicBool,
    /// The server stops; every core looks once per heartbeat.
    pub stopping: AtomicBool,
    /// Changes that each shard has counted, as of its last tick.
    pub changes: Box<[AtomicU64]>,
}

/// What a core is made of.
pub struct Parts {
    pub mesh: Mesh<Message>,
    pub sequencer: Sequencer,
    pub ring: Ring,
    /// Tells the core that a job is done.
    pub bell: Bell,
    pub config: Config,
    /// Of chance, for the shard and what it hashes with.
    pub seed: u64,
    /// The flags of each row, by its number.
    pub row_flags: Vec<Flags>,
    pub snapshots: Snapshots,
    pub shared: Arc<Shared>,
}

/// The node of a core, with an empty shard.
fn node(id: ShardId, config: &Config, seed: u64, shared: &Shared) -> Node {
    let shards = config.server.shards;
    let (slots, settings) = (id.slots(shards), config.engine.clone());
    let shard = Shard::new(config.server.databases, slots, seed, settings);
    let mut node = Node::new(id, shards, shard, seed);
    node.share_audience(Arc::clone(&shared.audience));
    node
}

impl Core {
    /// A core with an empty shard that serves nobody yet.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            mesh,
            sequencer,
            ring,
            bell,
            config,
            seed,
            mut row_flags,
            snapshots,
            shared,
        } = parts;
        row_flags.push(flags::SKIP_SLOWLOG);
        let (id, shards) = (mesh.id(), config.server.shards);
        let mut core = Self {
            id,
            shards,
            node: node(id, &config, seed, &shared),
            ring,
            mesh,
            sequencer,
            keeps_history: false,
            history: (id == ShardId(0) && shards > 1).then(|| Box::new(History::new(shards))),
            connections: Slab::new(),
            turn: 0,
            next_turn: Vec::new(),
            holding: Vec::new(),
            owed_much: VecDeque::new(),
            activity: Activity::default(),
            peak_noted_at: UnixMs(0),
            next_visit: 0,
            gatherings: Slab::new(),
            asked: Vec::new(),
            config,
            stats: Stats::new(row_flags.len()),
            slow_log: SlowLog::default(),
            events: Events::default(),
            noteworthy_ticks: u64::MAX,
            output_max: [OutputMax::new(0, 0, u64::MAX); 4],
            lap: 0,
            secret: Vec::new(),
            active_expire: true,
            pause: None,
            pauses: Vec::new(),
            has_detours: false,
            monitors: Monitors::default(),
            paused: Vec::new(),
            pause_questions: Vec::new(),
            row_flags,
            hindrances: Hindrances::default(),
            snapshots,
            trackers: Trackers::default(),
            further: None,
            own_replies: Vec::new(),
            now: clock::now(),
            dirty: Vec::new(),
            crowd: VecDeque::new(),
            told: 0,
            spare_buffers: SpareBuffers::default(),
            spare_blocks: Vec::new(),
            shared,
            jobs: Jobs::new(bell),
        };
        core.time_as_configured();
        core.notify_as_configured();
        core
    }

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

    /// Has clients wait; of two pauses of one cause the longer and the stricter hold.
    pub fn begin_pause(&mut self, new: ClientPause) {
        match self.pauses.iter_mut().find(|pause| pause.by == new.by) {
            Some(pause) => {
                pause.until = pause.until.max(new.until);
                pause.all |= new.all;
            }
            None => self.pauses.push(new),
        }
        // What is due is hidden, but the keys are as they were when it ends.
        self.node.shard_mut().keep().hold_all(true);
        self.sum_up_pauses();
    }

    /// Ends the pause of one cause, if there is one.
    pub fn end_pause(&mut self, by: PausedBy) {
        self.pauses.retain(|pause| pause.by != by);
        self.sum_up_pauses();
    }

    /// Ends the pauses whose time has come.
    pub fn end_pauses_due(&mut self) {
        let now = self.now;
        self.pauses.retain(|pause| pause.until > now);
        self.sum_up_pauses();
    }

    /// Lets the clients go on that have been held up and are not any more.
    fn sum_up_pauses(&mut self) {
        self.pause = self
            .pauses
            .iter()
            .copied()
            .reduce(|one, other| ClientPause {
                by: one.by,
                until: one.until.min(other.until),
                all: one.all || other.all,
            });
        if self.pause.is_none() {
            self.node.shard_mut().keep().hold_all(false);
        }
        self.mind_detours();
        // Those that still have to wait are found to when they are asked again.
        for key in std::mem::take(&mut self.paused) {
            if let Some(connection) = self.connections.get_mut(key as usize) {
                connection.paused = false;
                self.mark_dirty(key);
            }
        }
    }

    /// Whether requests have to take a detour may have changed.
    fn mind_detours(&mut self) {
        self.has_detours = self.pause.is_some() || self.is_monitored();
    }

    /// Sends what found no room in a queue earlier; whether something is still waiting.
    #[inline]
    pub fn send_overdue(&mut self) -> bool {
        if self.mesh.has_sent_all() {
            self.sequencer.shut();
            return false;
        }
        let waits = self.mesh.send_overdue();
        let ring = &mut self.ring;
        self.mesh.sleepers(|fd| ring.ring_other(fd));
        if !waits {
            self.sequencer.shut();
        }
        waits
    }

    /// Sends everything that this turn has for other cores and wakes who sleeps.
    #[inline]
    pub fn publish(&mut self) {
        self.tell_monitors();
        if self.shards == 1 {
            return;
        }
        self.give_history();
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
        // Before the frontier passes what was sent: who still sleeps then has opened all
        // that lies below it.
        mesh.sleepers(|fd| ring.ring_other(fd));
        if mesh.has_sent_all() {
            sequencer.shut();
        }
    }
}
