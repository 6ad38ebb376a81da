//! Which trackers have copies of which keys.
//!
//! ```text
//!   index:   hash of key ─▶ number of entry
//!   entries: [key | who has a copy]  …           (keys of all databases together)
//!   Hold:    of one tracker, the numbers of entries that it is in, or was
//! ```
//!
//! An entry goes as a whole, when its key changes. The numbers in [`Hold`]s stay, and
//! may come to mean other entries: who is to be taken out of an entry is looked for in it
//! first. Those that mean nothing any more are swept out when they are half of all.

use super::Tracker;
use hashbrown::HashTable;
use slab::Slab;

/// Who has a copy of a key. Mostly one.
#[derive(Debug)]
enum Holders {
    One(Tracker),
    /// In order.
    Many(Vec<Tracker>),
}

impl Holders {
    fn as_slice(&self) -> &[Tracker] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    /// False if it was one already.
    fn insert(&mut self, new: Tracker) -> bool {
        let Err(at) = self.as_slice().binary_search(&new) else {
            return false;
        };
        match self {
            Self::Many(many) => many.insert(at, new),
            Self::One(one) => {
                let mut both = vec![*one];
                both.insert(at, new);
                *self = Self::Many(both);
            }
        }
        true
    }
}

#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    holders: Holders,
}

/// The entries that a tracker is in.
#[derive(Debug, Default)]
pub(super) struct Hold {
    entries: Vec<u32>,
    /// How many there are.
    live: usize,
}

/// Numbers without meaning that a [`Hold`] may have, beside half of all.
const SLACK: usize = 32;

impl Hold {
    /// An entry has gone.
    pub(super) fn lose(&mut self) {
        self.live -= 1;
    }

    pub(super) fn entries(self) -> Vec<u32> {
        self.entries
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    index: HashTable<u32>,
    entries: Slab<Entry>,
    /// All holders of all entries.
    copies: usize,
    pub(super) keys_max: usize,
    /// The entry that is looked at next for one to fall out.
    hand: usize,
    state: ahash::RandomState,
}

impl Table {
    pub(super) fn new(state: ahash::RandomState) -> Self {
        Self {
            index: HashTable::new(),
            entries: Slab::new(),
            copies: 0,
            keys_max: usize::MAX,
            hand: 0,
            state,
        }
    }

    pub(super) fn keys(&self) -> usize {
        self.index.len()
    }

    pub(super) fn copies(&self) -> usize {
        self.copies
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.state.hash_one(key)
    }

    /// A tracker has a copy of a key from now on.
    pub(super) fn remember(&mut self, reader: Tracker, hold: &mut Hold, key: &[u8]) {
        let hash = self.hash(key);
        let Self { index, entries, .. } = self;
        let is_it = |number: &u32| *entries[*number as usize].key == *key;
        let number = match index.find(hash, is_it) {
            Some(number) => {
                if !entries[*number as usize].holders.insert(reader) {
                    return;
                }
                *number
            }
            None => {
                let number = entries.insert(Entry {
                    key: key.into(),
                    holders: Holders::One(reader),
                });
                let number = u32::try_from(number).expect("fewer keys than that fit in memory");
                let rehash = |number: &u32| self.state.hash_one(&*entries[*number as usize].key);
                index.insert_unique(hash, number, rehash);
                number
            }
        };
        self.copies += 1;
        hold.entries.push(number);
        hold.live += 1;
        if hold.entries.len() > 2 * hold.live + SLACK {
            self.sweep(reader, hold);
        }
    }

    /// Sweeps out the numbers that do not mean entries of the tracker.
    #[cold]
    fn sweep(&self, of: Tracker, hold: &mut Hold) {
        hold.entries.sort_unstable();
        hold.entries.dedup();
        hold.entries.retain(|number| {
            let entry = self.entries.get(*number as usize);
            entry.is_some_and(|it| it.holders.as_slice().binary_search(&of).is_ok())
        });
        debug_assert_eq!(hold.entries.len(), hold.live);
    }

    /// A key that is to fall out, because there are more than there may be: any.
    pub(super) fn too_many(&mut self) -> Option<Box<[u8]>> {
        if self.keys() <= self.keys_max {
            return None;
        }
        loop {
            self.hand = match self.hand {
                0 => self.entries.capacity().checked_sub(1)?,
                hand => hand - 1,
            };
            if let Some(entry) = self.entries.get(self.hand) {
                return Some(entry.key.clone());
            }
        }
    }

    /// Forgets who has copies of a key; these are told.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<impl Iterator<Item = Tracker> + use<>> {
        if self.index.is_empty() {
            return None;
        }
        let hash = self.hash(key);
        let Self { index, entries, .. } = self;
        let is_it = |number: &u32| *entries[*number as usize].key == *key;
        let found = index.find_entry(hash, is_it).ok()?;
        let (number, _) = found.remove();
        let holders = match entries.remove(number as usize).holders {
            Holders::One(one) => vec![one],
            Holders::Many(many) => many,
        };
        self.copies -= holders.len();
        self.shrink();
        Some(holders.into_iter())
    }

    /// A tracker that is gone is in this entry no more, if it was.
    pub(super) fn take_out(&mut self, number: u32, tracker: Tracker) {
        let Some(entry) = self.entries.get_mut(number as usize) else {
            return;
        };
        let Ok(at) = entry.holders.as_slice().binary_search(&tracker) else {
            return;
        };
        self.copies -= 1;
        match &mut entry.holders {
            Holders::Many(many) if many.len() > 1 => {
                many.remove(at);
            }
            _ => {
                let entry = self.entries.remove(number as usize);
                let hash = self.hash(&entry.key);
                if let Ok(found) = self.index.find_entry(hash, |other| *other == number) {
                    found.remove();
                }
                self.shrink();
            }
        }
    }

    /// Gives memory back when there is nothing left.
    fn shrink(&mut self) {
        if self.index.is_empty() {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.index = HashTable::new();
        self.entries = Slab::new();
        (self.copies, self.hand) = (0, 0);
    }
}
