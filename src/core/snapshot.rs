//! What a core keeps for snapshots: data only, on which `snapshots` acts.

use super::{Core, QuestionId};
use crate::config::StartError;
use crate::runtime::park::Alarm;
use shards::rdb::Form;
use shards::{Chunk, DbIndex, Owned, Settings, ShardId, UnixMs};
use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::time::Instant;

/// Why commands of some kinds are refused for the time being.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hindrances {
    /// The last dump could not be written, and writes are to stop then.
    pub disk: bool,
    /// A dump is being read.
    pub loading: bool,
}

impl Hindrances {
    pub const NONE: Self = Self {
        disk: false,
        loading: false,
    };
}

/// A core's part in snapshots.
#[derive(Default)]
pub struct Snapshots {
    /// Something of it is to go on in this turn and the next.
    pub is_busy: bool,
    /// The last turn had something to do for it.
    pub works: bool,
    /// The thread has something to do, and will report.
    pub awaits_report: bool,
    /// What this shard still has to give to the file that is being written.
    pub walk: Option<Walk>,
    /// What this shard still has to take from the file that is being read.
    pub load: Option<Load>,
    /// The last background save has failed.
    pub save_failed: bool,
    /// The core that decides about all of them has it, which is core 0.
    pub conductor: Option<Box<Conductor>>,
}

/// A shard's part of a file that is being written.
pub struct Walk {
    pub to: Sender<Given>,
    /// Bytes that were given and are not written yet.
    pub unwritten: Arc<AtomicUsize>,
    /// Keys in what it has given.
    pub keys: u64,
    /// Beside clients it goes on then.
    pub rests_until: Instant,
    /// Who is to hear of the end.
    pub asked: QuestionId,
}

/// A piece, and the shard that gives it, in the shard's order.
pub type Given = (ShardId, Piece);

/// What shards give to a file.
pub enum Piece {
    Chunk(Chunk),
    /// Something is missing, and why.
    Lacks(&'static str),
    /// The shard has given all.
    Last,
}

/// What the thread for files is to do.
pub enum Order {
    Save(SaveOrder),
    Load(LoadOrder),
}

/// A file to be written.
pub struct SaveOrder {
    pub folder: PathBuf,
    pub name: Vec<u8>,
    /// What stands before the shards' pieces.
    pub head: Vec<u8>,
    pub given: Receiver<Given>,
    /// By shard: bytes that it has given and that are not written yet.
    pub unwritten: Vec<Arc<AtomicUsize>>,
    pub checksum: bool,
    pub incremental_fsync: bool,
    /// Nobody wants it any more.
    pub cancelled: Arc<AtomicBool>,
    /// Rung when it is over.
    pub alarm: Alarm,
}

/// What the thread for files has done.
pub enum Report {
    Saved(Result<u64, String>),
    /// Without a reason: a shard has one.
    Read(Result<ReadFile, Option<String>>),
}

/// A file to be read.
pub struct LoadOrder {
    pub path: PathBuf,
    /// It, if it is open.
    pub file: Option<File>,
    /// By shard.
    pub to: Vec<SyncSender<Batch>>,
    /// What is due at this time is passed over.
    pub now: UnixMs,
    pub databases: u16,
    /// Whether the checksum is looked at.
    pub checked: bool,
    pub settings: Settings,
    /// Makes seeds of tables.
    pub seeds: ahash::RandomState,
    pub progress: Arc<Progress>,
    /// Rung when it is over.
    pub alarm: Alarm,
}

/// What a file has for one shard.
#[derive(Default)]
pub struct Batch {
    /// Keys and values, in the order of the entries.
    pub bytes: Vec<u8>,
    pub entries: VecDeque<BatchEntry>,
    /// Bytes before those of the next entry.
    pub passed: usize,
}

/// An entry of a batch.
pub struct BatchEntry {
    pub db: DbIndex,
    pub key_len: usize,
    pub form: Form,
    pub value: BatchValue,
    /// Of the value, in the file.
    pub offset: u64,
    pub expire_at: Option<UnixMs>,
    pub idle_s: u64,
}

/// The value of one.
pub enum BatchValue {
    /// So many bytes behind the key.
    Bytes(usize),
    Decoded(Owned),
}

impl Batch {
    /// The next entry, its key, and its value if that is still to be decoded.
    pub fn next(&mut self) -> Option<(BatchEntry, &[u8], &[u8])> {
        let entry = self.entries.pop_front()?;
        let value_len = match entry.value {
            BatchValue::Bytes(len) => len,
            BatchValue::Decoded(_) => 0,
        };
        let (key, end) = (self.passed, self.passed + entry.key_len);
        self.passed = end + value_len;
        Some((entry, &self.bytes[key..end], &self.bytes[end..self.passed]))
    }
}

/// What the thread has found in a file beside what it gave to shards.
#[derive(Default)]
pub struct ReadFile {
    pub libraries: Vec<Vec<u8>>,
    pub expired: u64,
    /// Collections that have no element.
    pub empty: u64,
}

/// A shard's part of a file that is being read.
pub struct Load {
    pub from: Receiver<Batch>,
    pub batch: Batch,
    pub loaded: Loaded,
    /// Makes seeds of tables.
    pub seeds: ahash::RandomState,
    /// Keys that are there already are replaced.
    pub merge: bool,
    /// Who is to hear of the end.
    pub asked: QuestionId,
}

/// What a shard has taken.
#[derive(Default)]
pub struct Loaded {
    pub keys: u64,
    pub expired: u64,
    pub empty: u64,
    /// Why it takes no more.
    pub failed: Option<String>,
}

impl Loaded {
    pub fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.expired += other.expired;
        self.empty += other.empty;
        self.failed = self.failed.take().or(other.failed);
    }
}

/// How far reading has come.
pub struct Progress {
    pub began_at: UnixMs,
    pub began: Instant,
    pub total: AtomicU64,
    pub read: AtomicU64,
    /// What the writer of the file had in use.
    pub memory: AtomicU64,
}

impl Progress {
    pub fn new(began_at: UnixMs) -> Self {
        Self {
            began_at,
            began: Instant::now(),
            total: AtomicU64::new(0),
            read: AtomicU64::new(0),
            memory: AtomicU64::new(0),
        }
    }

    pub fn percent(&self) -> f64 {
        let read = self.read.load(Ordering::Relaxed) as f64;
        let total = self.total.load(Ordering::Relaxed);
        100.0 * read / total.max(1) as f64
    }
}

/// What the last dump that was read had.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadFigures {
    pub keys: u64,
    pub expired: u64,
}

/// The state of saving.
pub struct Conductor {
    pub orders: Sender<Order>,
    pub reports: Receiver<Report>,
    pub alarm: Alarm,
    pub saving: Option<Saving>,
    /// Who waits for the file of another client to be over.
    pub waiting: VecDeque<(SaveKind, QuestionId)>,
    /// One is to begin as soon as none is under way.
    pub scheduled: bool,
    /// The server is to end.
    pub ending: Option<Ending>,
    pub reload: Option<Reload>,
    pub figures: SaveFigures,
    /// The file that is being read.
    pub loading: Option<(Arc<Progress>, PathBuf)>,
    /// What the thread has said of it.
    pub read: Option<Result<ReadFile, Option<String>>>,
    pub loaded: LoadFigures,
    /// Who waits for the server to have loaded what it starts with.
    pub started: Option<Sender<Result<(), StartError>>>,
    /// Sources of libraries of functions, which no command knows: they came with the dump
    /// and go with the next.
    pub libraries: Vec<Vec<u8>>,
    /// When save points were last looked at.
    pub looked_at: UnixMs,
}

/// Why a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveKind {
    /// SAVE: its client waits for the file.
    Foreground,
    /// BGSAVE: its client waits for the cut.
    Background,
    /// The last before the server ends.
    Ending,
    /// To be loaded again.
    Reload,
}

/// A file that is being written.
pub struct Saving {
    pub kind: SaveKind,
    pub began_at: UnixMs,
    /// Who is to hear of the cut, or of the end.
    pub asked: Option<QuestionId>,
    /// All shards' changes at the cut, once it is made.
    pub changes: Option<u64>,
    /// No shard knows of it any more.
    pub walked: bool,
    /// What came of the file.
    pub written: Option<Result<u64, String>>,
    pub cancelled: Arc<AtomicBool>,
}

/// SHUTDOWN, or a signal.
pub struct Ending {
    /// Clients that are told if the server does not end after all.
    pub asked: Vec<QuestionId>,
    /// Also if the dump cannot be written.
    pub force: bool,
    /// Nothing is written any more.
    pub is_still: bool,
}

/// DEBUG RELOAD.
pub struct Reload {
    pub asked: QuestionId,
    pub options: ReloadOptions,
    /// All is loaded, and shards are about to exchange it for what they hold.
    pub exchanges: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct ReloadOptions {
    pub save: bool,
    /// What is not in the file goes.
    pub flush: bool,
    /// What is in the file replaces what is there.
    pub merge: bool,
}

/// What INFO and save points need to know.
#[derive(Clone, Debug)]
pub struct SaveFigures {
    pub last_save_s: i64,
    /// When a background save was last begun.
    pub last_try_s: i64,
    /// Why the last background save has failed, if it has.
    pub failed: Option<String>,
    /// What the last background save took.
    pub last_took_s: i64,
    pub saves: u64,
    /// Of the changes that all shards have counted, those that the last dump has.
    pub changes: u64,
    /// Since when a background save is under way.
    pub background_since: Option<UnixMs>,
    /// Keys of what is being saved.
    pub keys: u64,
}

impl SaveFigures {
    /// Of a server that starts: what it has then counts as saved.
    pub fn new(now: UnixMs) -> Self {
        Self {
            last_save_s: now.0 / 1000,
            last_try_s: 0,
            failed: None,
            last_took_s: -1,
            saves: 0,
            changes: 0,
            background_since: None,
            keys: 0,
        }
    }
}

impl Conductor {
    /// Whether a dump may be begun to be written or read.
    pub fn is_free(&self) -> bool {
        self.saving.is_none()
            && self.ending.is_none()
            && self.reload.is_none()
            && self.loading.is_none()
    }
}

impl Core {
    /// The state of saving; this is the core that has it.
    pub fn conductor(&mut self) -> &mut Conductor {
        let conductor = self.snapshots.conductor.as_mut();
        conductor.expect("only the core that conducts is asked")
    }
}
