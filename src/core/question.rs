//! What travels between cores, and what they ask each other.

use super::{Asker, Context, Core, LoadFigures, Loaded, Progress, SaveFigures};
use crate::stats::Stats;
use crate::stats::latency::Events;
use crate::stats::slowlog::SlowEntry;
use shards::command::{Args, OwnedArgs};
use shards::order::Batch;
use shards::tracking::Letter;
use shards::{CommandError, Record, ShardId, UnixMs};
use std::sync::Arc;

/// What travels between cores.
pub enum Message {
    /// Requests, locks, grants and replies of the keyspace.
    Batch(Box<Batch>),
    /// What trackers of keys are to be told by the receiver. It is in no order with boxes.
    Letters(Vec<Letter>),
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
    /// What the shard of the sender has recorded, for core 0.
    Records(Vec<Record>),
    /// All that the sender had for the receiver before it was asked this is sent.
    Passed(QuestionId),
}

/// A question to cores: who asks, and under which number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuestionId {
    pub by: ShardId,
    pub ticket: u32,
}

/// A question that this core answers once it is still; see `questions::pause`.
pub struct PauseQuestion {
    pub asked: QuestionId,
    /// Cores that may have sent something here before they were asked, and this core
    /// if it was not asked yet.
    pub missing: u16,
    /// Something that may write has been under way.
    pub busy: bool,
    /// Changes that this shard had counted when it first heard of it.
    pub changes: u64,
}

/// A time in which clients wait.
#[derive(Clone, Copy, Debug)]
pub struct ClientPause {
    pub by: PausedBy,
    pub until: UnixMs,
    /// All commands wait, not only those that may write.
    pub all: bool,
}

/// What has clients wait. One may end while another goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PausedBy {
    /// CLIENT PAUSE.
    Command,
    /// The server, while it saves its last dump or exchanges what it holds.
    Server,
}

impl ClientPause {
    /// Whether a command waits that may write, or may not.
    #[inline]
    pub fn holds(&self, may_write: bool) -> bool {
        self.all || may_write
    }
}

/// A core's answer to a [`Question`].
pub enum Answer {
    Done,
    Count(u64),
    Text(Vec<u8>),
    Names(Vec<Box<[u8]>>),
    Counts(Vec<u64>),
    Error(CommandError),
    Loaded(Loaded),
    Stats(Box<CoreStats>),
    /// Newest first.
    Slow(Vec<SlowEntry>),
    Events(Events),
}

/// What INFO needs to know of a core.
#[derive(Clone, Default)]
pub struct CoreStats {
    pub stats: Stats,
    pub clients: u64,
    /// Clients that wait in a blocking command or for the end of a pause.
    pub blocked: u64,
    /// Hashes of what clients listen to, of each kind.
    pub topics: [Vec<u64>; 3],
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
    /// Clients that track keys; keys of this shard that they track, how many copies there
    /// are of these, and prefixes, which all shards know.
    pub trackers: u64,
    pub tracked_keys: u64,
    pub tracked_copies: u64,
    pub tracked_prefixes: u64,
    pub input_buffer_max: usize,
    pub output_buffer_max: usize,
    /// Of the core that conducts.
    pub dumps: Option<DumpStats>,
    /// Keys of the dump under way that this shard has given.
    pub saved_keys: u64,
}

/// What there is to be told of dumps.
#[derive(Clone)]
pub struct DumpStats {
    pub save: SaveFigures,
    pub load: LoadFigures,
    pub loading: Option<Arc<Progress>>,
}

/// One database on one shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyspaceStats {
    pub keys: u64,
    pub expires: u64,
    pub avg_ttl_ms: u64,
}

/// Writes the reply once every core has answered.
pub type Finish = fn(&mut Context<'_>, Args<'_>, Vec<Answer>) -> Result<(), CommandError>;

/// Work that may block.
pub type Job = Box<dyn FnOnce() -> Answer + Send>;

/// What one core can ask of others.
pub enum Question {
    /// Each does this to itself, and answers what comes back.
    Do(Deed),
    /// Each does this to itself, and answers by `gather::give_answer` when it can.
    Begin(Beginning),
    /// CLIENT PAUSE. Counts those on which something has been under way since.
    Pause(ClientPause),
    /// The same of a pause that is known.
    Still,
}

/// What a core does to itself for another.
pub type Deed = Box<dyn Fn(&mut Core) -> Answer + Send + Sync>;

/// The same of what takes its time.
pub type Beginning = Box<dyn Fn(&mut Core, QuestionId) + Send + Sync>;

/// Whom a question is for.
#[derive(Clone, Debug)]
pub enum Whom {
    /// This core included.
    All,
    /// At least one, each once.
    These(Vec<ShardId>),
}

/// What a server command asks, and how.
pub struct Inquiry {
    pub question: Question,
    pub whom: Whom,
    /// Writes the reply from the answers, which come in core order.
    pub finish: Finish,
    /// Later requests of the connection wait for the answers, because they may depend
    /// on what the cores were told, or must not be seen by what they look at.
    pub barrier: bool,
}

impl Question {
    /// Each core does this to itself.
    pub fn of(deed: impl Fn(&mut Core) -> Answer + Send + Sync + 'static) -> Self {
        Self::Do(Box::new(deed))
    }

    /// Each core begins with this, and answers later.
    pub fn begin(beginning: impl Fn(&mut Core, QuestionId) + Send + Sync + 'static) -> Self {
        Self::Begin(Box::new(beginning))
    }
}

/// Answers of cores that somebody waits for.
pub struct Gathering {
    /// Answers that have not come in yet.
    pub missing: u16,
    /// By core; those that are not asked have none.
    pub answers: Vec<Option<Answer>>,
    /// It begins a pause: all are asked anew until none had anything under way.
    pub pauses: bool,
    pub then: Then,
}

/// What becomes of answers.
pub enum Then {
    /// The reply to a command of the server.
    Reply {
        asker: Asker,
        /// Of the reply, in the order of the connection; of no meaning within a block.
        place: u32,
        finish: Finish,
        request: OwnedArgs,
        /// Later requests of the connection wait.
        barrier: bool,
    },
    /// What this core does next; no client has asked.
    Do(fn(&mut Core, Vec<Answer>)),
}
