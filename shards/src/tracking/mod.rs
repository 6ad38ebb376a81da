//! Client-side caching: who is to be told that keys of one shard have changed.
//!
//! A [`Tracker`] is a client that keeps copies of what it has read. Two ways lead to its
//! being told:
//! - it has read the key here: the [`Table`] remembers it, and forgets it when it is told;
//! - it broadcasts: it is told of every key that begins with one of its prefixes, once a
//!   turn ([`Prefixes`]).
//!
//! All shards know all trackers, and on which core each is to be told. What is to be told
//! lies here as letters until the core takes them, which it does before it lets replies to
//! what has caused them go. A letter that comes late does no harm, as the copy it is about
//! is dropped then; one that comes before the reply with that copy would. So a read
//! registers its keys in the same step in which it runs, and who delivers a letter puts it
//! behind all that the client is still owed.
//!
//! Invariants: who is in an entry of the table is known here, or is being forgotten; a
//! tracker that remembers keys has the number of every entry that it is in.
//!
//! Costs: while nobody tracks, a change costs one look at a flag (`Effects`). Forgetting
//! a tracker costs in proportion to what it tracks, and goes on in steps.

mod prefixes;
mod table;
#[cfg(test)]
mod tests;

use crate::resp::{Protocol, Reply};
use crate::types::ShardId;
use bytes::Bytes;
use hashbrown::HashMap;
use prefixes::Prefixes;
use std::num::NonZeroU32;
use table::{Hold, Table};

pub use prefixes::overlap;

/// A client that tracks, on whatever core; no two have the same number at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tracker(NonZeroU32);

impl Tracker {
    /// Number `nth` of those whose home is core `home` of so many. The numbers wrap.
    pub fn nth(nth: u32, home: ShardId, shards: u16) -> Self {
        let rounds = u32::MAX / u32::from(shards) - 1;
        let number = (nth % rounds + 1) * u32::from(shards) + u32::from(home.0);
        Self(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN))
    }

    /// The core that it is a client of.
    pub fn home(self, shards: u16) -> ShardId {
        let rest = self.0.get() % u32::from(shards);
        ShardId(u16::try_from(rest).unwrap_or_default())
    }
}

/// For whom a request runs, if that matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracks {
    /// Whose copies the keys become that it reads.
    pub reads: Option<Tracker>,
    /// Who need not be told of what it changes.
    pub writes: Option<Tracker>,
}

impl Tracks {
    /// The caller of a command that writes, or reads keys.
    pub fn caller(self, writes: bool, reads: bool) -> Option<Tracker> {
        match (writes, reads) {
            (true, _) => self.writes,
            (false, true) => self.reads,
            (false, false) => None,
        }
    }
}

/// How a tracker wants to be told.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The core that tells it, or who is told in its place.
    pub told_on: ShardId,
    /// Nothing of its own changes.
    pub noloop: bool,
    /// It broadcasts, with these prefixes.
    pub prefixes: Option<Vec<Box<[u8]>>>,
}

/// Something to be told to a tracker, or to all of the core that gets it.
#[derive(Clone, Debug)]
pub struct Letter {
    pub to: Option<Tracker>,
    pub message: Bytes,
}

/// Entries are numbered with 32 bits.
const KEYS_MAX: usize = u32::MAX as usize;
/// Keys that fall out with one that comes.
const DROPPED_AT_ONCE: usize = 8;

/// What a push begins with that tells of changed keys.
const HEAD: &[u8] = b">2\r\n$10\r\ninvalidate\r\n";
/// The same for a client in RESP2 that listens to the channel of that name.
const HEAD_RESP2: &[u8] = b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n";
/// In the place of keys: all of them.
const ALL: &[u8] = b"_\r\n";
const ALL_RESP2: &[u8] = b"$-1\r\n";

impl Letter {
    fn of<'a>(to: Tracker, keys: impl ExactSizeIterator<Item = &'a [u8]>) -> Self {
        let message = message_of(keys);
        Self {
            to: Some(to),
            message,
        }
    }

    /// Any key may have changed; for all trackers.
    fn to_all() -> Self {
        let message = [HEAD, ALL].concat().into();
        Self { to: None, message }
    }

    /// The same for one.
    pub fn of_all(to: Tracker) -> Self {
        let to = Some(to);
        Self {
            to,
            ..Self::to_all()
        }
    }
}

/// Letters, each with the core that it is for or for all, by these.
pub fn by_core(letters: Vec<(Option<ShardId>, Letter)>, cores: u16) -> Vec<(ShardId, Vec<Letter>)> {
    let mut all: Vec<(ShardId, Vec<Letter>)> =
        (0..cores).map(|id| (ShardId(id), Vec::new())).collect();
    for (core, letter) in letters {
        match core {
            Some(core) => all[core.index()].1.push(letter),
            None => all.iter_mut().for_each(|(_, own)| own.push(letter.clone())),
        }
    }
    all.retain(|(_, own)| !own.is_empty());
    all
}

/// A push that names these keys.
fn message_of<'a>(keys: impl ExactSizeIterator<Item = &'a [u8]>) -> Bytes {
    let mut message = HEAD.to_vec();
    let mut reply = Reply::new(&mut message, Protocol::Resp3);
    reply.array(keys.len());
    keys.for_each(|key| reply.bulk(key));
    message.into()
}

/// A letter's message as one on the channel for clients in RESP2.
pub fn as_published(message: &[u8]) -> Vec<u8> {
    let keys = message.get(HEAD.len()..).unwrap_or_default();
    let keys = if keys == ALL { ALL_RESP2 } else { keys };
    [HEAD_RESP2, keys].concat()
}

/// What a shard knows of a tracker.
#[derive(Debug)]
struct Known {
    told_on: ShardId,
    noloop: bool,
    /// The prefixes that it broadcasts with.
    prefixes: Option<Vec<Box<[u8]>>>,
    holds: Hold,
}

/// Who tracks what on this shard; see the module.
#[derive(Debug)]
pub struct Tracking {
    trackers: HashMap<Tracker, Known, ahash::RandomState>,
    table: Table,
    prefixes: Prefixes,
    /// What trackers that have gone have left in the table.
    leaving: Vec<(Tracker, Vec<u32>)>,
    /// Who makes the request at hand, and is not to be told of what it changes.
    by: Option<Tracker>,
    /// It tells of what concerns all shards.
    is_first: bool,
    /// Each with the core that it is for: all, if there is none.
    letters: Vec<(Option<ShardId>, Letter)>,
}

impl Tracking {
    /// Nobody tracks. `seed` keys the hash of keys; one shard of all `is_first`.
    pub fn new(seed: u64, is_first: bool) -> Self {
        let state = ahash::RandomState::with_seeds(seed, 14, 15, 16);
        Self {
            trackers: HashMap::with_hasher(state.clone()),
            table: Table::new(state),
            prefixes: Prefixes::default(),
            leaving: Vec::new(),
            by: None,
            is_first,
            letters: Vec::new(),
        }
    }

    /// Whether anybody tracks.
    #[inline]
    pub fn is_on(&self) -> bool {
        !self.trackers.is_empty()
    }

    /// How many keys the table may have.
    pub fn limit(&mut self, keys_max: usize) {
        self.table.keys_max = keys_max.clamp(1, KEYS_MAX);
    }

    /// From now on this tracker is told, in this way. If it is known already, its
    /// prefixes are those that it has had and these.
    pub fn admit(&mut self, tracker: Tracker, wish: Wish) {
        let Wish {
            told_on,
            noloop,
            prefixes,
        } = wish;
        let known = self.trackers.entry(tracker).or_insert_with(|| Known {
            told_on,
            noloop,
            prefixes: None,
            holds: Hold::default(),
        });
        (known.told_on, known.noloop) = (told_on, noloop);
        for prefix in prefixes.into_iter().flatten() {
            let own = known.prefixes.get_or_insert_default();
            if !own.contains(&prefix) {
                self.prefixes.add(&prefix, tracker);
                own.push(prefix);
            }
        }
    }

    /// A tracker is told no more. What it leaves in the table goes with
    /// [`Tracking::forget_some`].
    pub fn forget(&mut self, tracker: Tracker) {
        let Some(known) = self.trackers.remove(&tracker) else {
            return;
        };
        for prefix in known.prefixes.into_iter().flatten() {
            self.prefixes.remove(&prefix, tracker);
        }
        let left = known.holds.entries();
        if !left.is_empty() {
            self.leaving.push((tracker, left));
        }
    }

    /// Whether [`Tracking::forget_some`] has something to do.
    #[inline]
    pub fn is_forgetting(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Takes about so many keys of trackers that have gone out of the table; whether
    /// there is more.
    pub fn forget_some(&mut self, budget: usize) -> bool {
        for _ in 0..budget {
            let Some((tracker, left)) = self.leaving.last_mut() else {
                return false;
            };
            match left.pop() {
                Some(entry) => self.table.take_out(entry, *tracker),
                None => drop(self.leaving.pop()),
            }
        }
        self.is_forgetting()
    }

    /// Somebody has read these keys just now and keeps copies.
    pub fn remember<'a>(&mut self, reader: Tracker, keys: impl Iterator<Item = &'a [u8]>) {
        for key in keys {
            let Some(known) = self.trackers.get_mut(&reader) else {
                return;
            };
            if known.prefixes.is_some() {
                return;
            }
            self.table.remember(reader, &mut known.holds, key);
            self.drop_some();
        }
    }

    /// Has some of the keys fall out that are more than there may be. There are many only
    /// after the limit was lowered.
    fn drop_some(&mut self) {
        for _ in 0..DROPPED_AT_ONCE {
            let Some(key) = self.table.too_many() else {
                return;
            };
            self.tell_holders(&key, None);
        }
    }

    /// What is changed from now on is changed by this client, or by nobody. Returns who
    /// it was before.
    pub fn set_caller(&mut self, by: Option<Tracker>) -> Option<Tracker> {
        std::mem::replace(&mut self.by, by)
    }

    /// A key has changed.
    pub fn touch(&mut self, key: &[u8]) {
        self.changed(key, self.by);
    }

    /// A key is gone, or seems so, although nobody has deleted it.
    pub fn passes(&mut self, key: &[u8]) {
        self.changed(key, None);
    }

    fn changed(&mut self, key: &[u8], by: Option<Tracker>) {
        self.prefixes.touch(key, by);
        self.tell_holders(key, by);
    }

    /// Tells those who have a copy of a key, and forgets that they have.
    fn tell_holders(&mut self, key: &[u8], by: Option<Tracker>) {
        let Some(holders) = self.table.remove(key) else {
            return;
        };
        let message = message_of([key].into_iter());
        for holder in holders {
            let Some(known) = self.trackers.get_mut(&holder) else {
                continue;
            };
            known.holds.lose();
            if !(known.noloop && by == Some(holder)) {
                let letter = Letter {
                    to: Some(holder),
                    message: message.clone(),
                };
                self.letters.push((Some(known.told_on), letter));
            }
        }
    }

    /// Any key may have changed, on all shards: that is told by one of them, which all
    /// others wait for.
    pub fn overturn(&mut self) {
        self.table.clear();
        for known in self.trackers.values_mut() {
            known.holds = Hold::default();
        }
        self.leaving.clear();
        let has_said_so = |(core, _): &(Option<ShardId>, Letter)| core.is_none();
        if self.is_first && !self.letters.last().is_some_and(has_said_so) {
            self.letters.push((None, Letter::to_all()));
        }
    }

    /// Whether [`Tracking::take_letters`] has any.
    #[inline]
    pub fn has_letters(&self) -> bool {
        !self.letters.is_empty() || self.prefixes.are_stirred()
    }

    /// Takes all letters, each with the core that it is for, or for all.
    pub fn take_letters(&mut self) -> Vec<(Option<ShardId>, Letter)> {
        let Self {
            trackers,
            letters,
            prefixes,
            ..
        } = self;
        prefixes.take(|to, by_all, changed| {
            let Some(known) = trackers.get(&to) else {
                return;
            };
            let is_own = |by: &Option<Tracker>| known.noloop && *by == Some(to);
            let letter = match changed.values().any(is_own) {
                false => Letter {
                    to: Some(to),
                    message: by_all.clone(),
                },
                true => {
                    let others = changed.iter().filter(|(_, by)| !is_own(by));
                    let others: Vec<&[u8]> = others.map(|(key, _)| &**key).collect();
                    if others.is_empty() {
                        return;
                    }
                    Letter::of(to, others.into_iter())
                }
            };
            letters.push((Some(known.told_on), letter));
        });
        std::mem::take(letters)
    }

    /// Keys in the table, and how many copies of them there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.table.keys(), self.table.copies())
    }

    /// Prefixes that somebody broadcasts with.
    pub fn prefixes(&self) -> usize {
        self.prefixes.len()
    }
}
