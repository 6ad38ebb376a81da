//! What clients ask: random requests over a few hot keys.
//!
//! The name of each request carries its number (`SET 17`): handlers do not
//! look at the name, and the effects of a shard repeat it, so that the log of
//! a shard says which request did what. Values carry the number, too.

use crate::rng::Rng;
use shards::command::OwnedArgs;
use shards::{DbIndex, Row, ShardId, row, slot_of};
use std::sync::OnceLock;

/// The kind of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything on every key.
    Mixed,
    /// Every write covers whole groups of keys that lie on different shards:
    /// nobody may ever see a part of a group.
    Groups,
    /// Strings with deadlines, and time that jumps.
    Expiry,
    /// Keys only change their names and databases.
    Tokens,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Set,
    Append,
    Incr,
    Del,
    Unlink,
    MSet,
    MSetOdd,
    MSetNx,
    MGet,
    Exists,
    Touch,
    Lcs,
    DbSize,
    FlushAll,
    RenameNx,
    Keys,
    SwapDb,
}

impl Verb {
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Append => "append",
            Self::Incr => "incr",
            Self::Del => "del",
            Self::Unlink => "unlink",
            Self::MSet | Self::MSetOdd => "mset",
            Self::MSetNx => "msetnx",
            Self::MGet => "mget",
            Self::Exists => "exists",
            Self::Touch => "touch",
            Self::Lcs => "lcs",
            Self::DbSize => "dbsize",
            Self::FlushAll => "flushall",
            Self::RenameNx => "renamenx",
            Self::Keys => "keys",
            Self::SwapDb => "swapdb",
        }
    }

    /// The engine's row for it.
    pub fn row(self) -> &'static Row {
        static ROWS: OnceLock<Vec<&'static Row>> = OnceLock::new();
        let find = |verb: &Verb| row(verb.name()).expect("the engine has the command");
        ROWS.get_or_init(|| VERBS.iter().map(find).collect())[self as usize]
    }
}

/// All verbs, in the order of their declaration.
pub const VERBS: &[Verb] = &[
    Verb::Get,
    Verb::Set,
    Verb::Append,
    Verb::Incr,
    Verb::Del,
    Verb::Unlink,
    Verb::MSet,
    Verb::MSetOdd,
    Verb::MSetNx,
    Verb::MGet,
    Verb::Exists,
    Verb::Touch,
    Verb::Lcs,
    Verb::DbSize,
    Verb::FlushAll,
    Verb::RenameNx,
    Verb::Keys,
    Verb::SwapDb,
];

/// One of the run's keys.
#[derive(Clone, Debug)]
pub struct Key {
    pub db: DbIndex,
    pub name: Vec<u8>,
    pub owner: ShardId,
    /// Holds a number.
    pub counter: bool,
}

/// One request and what became of it.
#[derive(Debug)]
pub struct Op {
    pub connection: u32,
    pub verb: Verb,
    pub db: DbIndex,
    /// Numbers of its keys, each once; of all keys if it is about all.
    pub keys: Vec<u16>,
    /// Milliseconds; only SET has one.
    pub deadline: Option<i64>,
    /// The shard that runs it alone.
    pub owner: Option<ShardId>,
    pub started: bool,
    /// Number of the event.
    pub invoked: u32,
    pub invoked_ms: i64,
    /// The time at which it was answered.
    pub completed_ms: i64,
    /// Number of the event, once the client has the reply.
    pub completed: Option<u32>,
    pub reply: Vec<u8>,
}

/// Chooses requests.
pub struct Workload {
    pub mode: Mode,
    pub keys: Vec<Key>,
    pub group_size: usize,
    weights: Vec<(Verb, usize)>,
}

impl Workload {
    pub fn new(mode: Mode, shards: u16, rng: &mut Rng) -> Self {
        let group_size = if mode == Mode::Groups {
            2 + rng.below(usize::from(shards).min(3))
        } else {
            1
        };
        let count = group_size * (1 + rng.below(if mode == Mode::Groups { 3 } else { 10 })).max(2);
        let count = if mode == Mode::Tokens {
            4 + rng.below(12)
        } else {
            count
        };
        let mut keys: Vec<Key> = Vec::new();
        let two_dbs = matches!(mode, Mode::Mixed | Mode::Expiry);
        let mut number = rng.below(100_000);
        while keys.len() < count {
            number += 1;
            let name = format!("k{number}").into_bytes();
            let owner = ShardId::of_slot(slot_of(&name), shards);
            // Neighbours of a group lie on different shards.
            let apart = !keys.len().is_multiple_of(group_size)
                && keys.last().is_some_and(|key| key.owner == owner);
            if apart {
                continue;
            }
            let group = keys.len() / group_size;
            keys.push(Key {
                db: DbIndex(u16::from(two_dbs && group % 5 == 4)),
                name,
                owner,
                counter: mode == Mode::Mixed && group % 4 == 3,
            });
        }
        Self {
            mode,
            keys,
            group_size,
            weights: weights(mode, rng),
        }
    }

    /// Keys that there are from the beginning, with a value each, in `Tokens`.
    pub fn tokens(&self) -> usize {
        match self.mode {
            Mode::Tokens => self.keys.len() / 2,
            _ => 0,
        }
    }

    /// The next request of a client.
    pub fn choose(&self, connection: u32, now_ms: i64, rng: &mut Rng) -> Op {
        let verb = self.verb(rng);
        let first = rng.below(self.keys.len());
        let db = match self.mode {
            Mode::Tokens => DbIndex(rng.below(2) as u16),
            _ => self.keys[first].db,
        };
        let all = (0..self.keys.len() as u16).collect();
        let keys: Vec<u16> = match verb {
            Verb::DbSize | Verb::FlushAll | Verb::Keys | Verb::SwapDb => all,
            Verb::Exists | Verb::MGet if self.mode == Mode::Tokens => all,
            Verb::Get | Verb::Set | Verb::Append | Verb::Incr => vec![first as u16],
            _ if self.mode == Mode::Groups => self.groups(verb, first, rng),
            _ => self.several(verb, first, rng),
        };
        let timed = self.mode == Mode::Expiry && verb == Verb::Set && !rng.one_in(3);
        Op {
            connection,
            verb: self.fitting(verb, &keys),
            db,
            keys,
            deadline: timed.then(|| now_ms + 1 + rng.below(300) as i64),
            owner: None,
            started: false,
            invoked: 0,
            invoked_ms: now_ms,
            completed_ms: now_ms,
            completed: None,
            reply: Vec::new(),
        }
    }

    fn verb(&self, rng: &mut Rng) -> Verb {
        let sum: usize = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut at = rng.below(sum);
        for (verb, weight) in &self.weights {
            if at < *weight {
                return *verb;
            }
            at -= weight;
        }
        Verb::Get
    }

    /// APPEND is for strings and INCR for numbers.
    fn fitting(&self, verb: Verb, keys: &[u16]) -> Verb {
        match (verb, self.keys[usize::from(keys[0])].counter) {
            (Verb::Append, true) => Verb::Incr,
            (Verb::Incr, false) => Verb::Append,
            _ => verb,
        }
    }

    fn groups(&self, verb: Verb, first: usize, rng: &mut Rng) -> Vec<u16> {
        let group = first - first % self.group_size;
        if verb == Verb::Lcs {
            return vec![group as u16, group as u16 + 1];
        }
        let mut keys: Vec<u16> = (group as u16..(group + self.group_size) as u16).collect();
        let other = rng.below(self.keys.len());
        let other = other - other % self.group_size;
        if other != group && rng.one_in(3) {
            keys.extend(other as u16..(other + self.group_size) as u16);
        }
        for at in (1..keys.len()).rev() {
            keys.swap(at, rng.below(at + 1));
        }
        keys
    }

    fn several(&self, verb: Verb, first: usize, rng: &mut Rng) -> Vec<u16> {
        let db = self.keys[first].db;
        let mut keys = vec![first as u16];
        let most = if matches!(verb, Verb::Lcs | Verb::RenameNx) {
            2
        } else {
            1 + rng.below(4)
        };
        for _ in 0..most * 2 {
            let key = rng.below(self.keys.len()) as u16;
            if keys.len() < most && self.keys[usize::from(key)].db == db && !keys.contains(&key) {
                keys.push(key);
            }
        }
        if matches!(verb, Verb::Lcs | Verb::RenameNx) && keys.len() == 1 {
            keys.push(first as u16);
        }
        keys
    }

    /// What request `id` writes to a key.
    pub fn value(&self, id: u32, op: &Op, key: u16) -> Vec<u8> {
        if self.keys[usize::from(key)].counter {
            return format!("9{id}000000").into_bytes();
        }
        let text = format!("v{id:07}k{:x}", key % 16).into_bytes();
        // Now and then something that does not lie in a small room.
        if op.verb != Verb::Append && id.is_multiple_of(97) && self.mode != Mode::Groups {
            return text.repeat(60);
        }
        text
    }

    /// The request as it is sent.
    pub fn request(&self, id: u32, op: &Op) -> OwnedArgs {
        let mut parts = vec![format!("{} {id}", op.verb.name()).into_bytes()];
        let name = |key: &u16| self.keys[usize::from(*key)].name.clone();
        match op.verb {
            Verb::DbSize | Verb::FlushAll => {}
            Verb::Keys => parts.push(b"*".to_vec()),
            Verb::SwapDb => parts.extend([b"0".to_vec(), b"1".to_vec()]),
            Verb::Set | Verb::Append | Verb::MSet | Verb::MSetNx | Verb::MSetOdd => {
                for key in &op.keys {
                    parts.push(name(key));
                    parts.push(self.value(id, op, *key));
                }
            }
            _ => parts.extend(op.keys.iter().map(name)),
        }
        if op.verb == Verb::MSetOdd {
            parts.pop();
        }
        if op.verb == Verb::Lcs {
            parts.push(b"LEN".to_vec());
        }
        if let Some(deadline) = op.deadline {
            parts.push(b"PXAT".to_vec());
            parts.push(deadline.to_string().into_bytes());
        }
        OwnedArgs::new(parts.iter().map(Vec::as_slice))
    }
}

/// How often each verb comes; every run has its own preferences.
fn weights(mode: Mode, rng: &mut Rng) -> Vec<(Verb, usize)> {
    VERBS
        .iter()
        .map(|verb| {
            let usual = match (verb, mode) {
                (Verb::RenameNx, Mode::Tokens) => 16,
                (Verb::MGet | Verb::Exists | Verb::Keys, Mode::Tokens) => 6,
                (Verb::Get | Verb::SwapDb, Mode::Tokens) => 2,
                (Verb::Keys, Mode::Groups) => 4,
                (_, Mode::Tokens) | (Verb::RenameNx | Verb::Keys | Verb::SwapDb, _) => 0,
                (Verb::Set | Verb::Append | Verb::Incr, Mode::Groups) => 0,
                (Verb::DbSize | Verb::Lcs, Mode::Expiry) => 0,
                (Verb::FlushAll | Verb::MSetOdd, _) => return (*verb, rng.below(2)),
                (Verb::Get, _) => 12,
                (Verb::MGet | Verb::MSet, _) => 8,
                (Verb::Set, Mode::Expiry) => 16,
                (Verb::Set | Verb::Append | Verb::Incr, _) => 6,
                (Verb::MSetNx | Verb::Del, _) => 3,
                _ => 2,
            };
            (
                *verb,
                if usual == 0 {
                    0
                } else {
                    rng.below(usual * 2) + usize::from(*verb == Verb::Get)
                },
            )
        })
        .collect()
}
