//! Who watches which keys of one shard (WATCH), and whether they changed.
//!
//! A watcher is a client, by its number. It is told only once, by EXEC, which
//! takes everything the client has watched here away: whether any of it has
//! changed since.
//!
//! A key whose time had come already when it was watched may still be there, hidden
//! (see [`Keep`](crate::Keep)). That it goes then changes nothing for its watcher.
//!
//! Invariant: a watcher stands in the list of a key exactly once for each time
//! the key stands in its own list; no list is empty.
//!
//! Costs: while nobody watches, a change costs one look at a length.

use crate::types::DbIndex;
use hashbrown::{Equivalent, HashMap};
use std::hash::{Hash, Hasher};

/// A key of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DbKey {
    db: DbIndex,
    key: Box<[u8]>,
}

/// The same, borrowed for a look-up.
struct DbKeyRef<'a> {
    db: DbIndex,
    key: &'a [u8],
}

impl Hash for DbKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.db, &*self.key).hash(state);
    }
}

impl Hash for DbKeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.db, self.key).hash(state);
    }
}

impl Equivalent<DbKey> for DbKeyRef<'_> {
    fn equivalent(&self, place: &DbKey) -> bool {
        self.db == place.db && self.key == &*place.key
    }
}

/// What one client watches here.
#[derive(Debug, Default)]
struct Watching {
    places: Vec<DbKey>,
    changed: bool,
}

type Map<K, V> = HashMap<K, V, ahash::RandomState>;

/// Somebody who watches a key.
#[derive(Clone, Copy, Debug)]
struct Watcher {
    id: u64,
    /// The key was hidden when this began, and has not gone since.
    hidden: bool,
}

/// All watched keys of a shard.
#[derive(Debug)]
pub struct Watches {
    keys: Map<DbKey, Vec<Watcher>>,
    watchers: Map<u64, Watching>,
}

impl Watches {
    /// Nobody watches. `seed` keys the hashes: keys are the clients' choice.
    pub fn new(seed: u64) -> Self {
        let state = ahash::RandomState::with_seeds(seed, 5, 6, 7);
        Self {
            keys: Map::with_hasher(state.clone()),
            watchers: Map::with_hasher(state),
        }
    }

    /// Whether nobody watches anything.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    /// From now on changes of a key, which is `hidden` perhaps, count for this
    /// watcher.
    pub fn add(&mut self, watcher: u64, (db, key): (DbIndex, &[u8]), hidden: bool) {
        let place = DbKeyRef { db, key };
        if let Some(watchers) = self.keys.get(&place)
            && watchers.iter().any(|other| other.id == watcher)
        {
            return;
        }
        let place = DbKey {
            db,
            key: key.into(),
        };
        let watchers = self.keys.entry(place.clone()).or_default();
        watchers.push(Watcher {
            id: watcher,
            hidden,
        });
        let watching = self.watchers.entry(watcher).or_default();
        watching.places.push(place);
    }

    /// A key has changed.
    pub fn touch(&mut self, db: DbIndex, key: &[u8]) {
        let watchers = self.keys.get(&DbKeyRef { db, key });
        for watcher in watchers.into_iter().flatten() {
            if let Some(watching) = self.watchers.get_mut(&watcher.id) {
                watching.changed = true;
            }
        }
    }

    /// The time of a key has come: it is hidden, or has `gone`.
    pub fn pass(&mut self, db: DbIndex, key: &[u8], gone: bool) {
        if self.is_empty() {
            return;
        }
        let watchers = self.keys.get_mut(&DbKeyRef { db, key });
        for watcher in watchers.into_iter().flatten() {
            if !watcher.hidden
                && let Some(watching) = self.watchers.get_mut(&watcher.id)
            {
                watching.changed = true;
            }
            watcher.hidden &= !gone;
        }
    }

    /// The watched keys of a database.
    pub fn in_db(&self, db: DbIndex) -> Vec<Box<[u8]>> {
        let places = self.keys.keys().filter(|place| place.db == db);
        places.map(|place| place.key.clone()).collect()
    }

    /// What a watcher watches, unless something of it has changed already.
    pub fn unchanged(&self, watcher: u64) -> Option<Vec<(DbIndex, Box<[u8]>)>> {
        let watching = self.watchers.get(&watcher)?;
        let place = |place: &DbKey| (place.db, place.key.clone());
        (!watching.changed).then(|| watching.places.iter().map(place).collect())
    }

    /// A watcher watches no more; whether nothing that it watched has changed.
    pub fn remove(&mut self, watcher: u64) -> bool {
        let Some(watching) = self.watchers.remove(&watcher) else {
            return false;
        };
        for place in &watching.places {
            if let Some(watchers) = self.keys.get_mut(place) {
                watchers.retain(|other| other.id != watcher);
                if watchers.is_empty() {
                    self.keys.remove(place);
                }
            }
        }
        if self.watchers.is_empty() {
            self.keys.shrink_to(64);
            self.watchers.shrink_to(64);
        }
        !watching.changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_learns_of_changes_of_its_keys_only() {
        let (zero, one) = (DbIndex(0), DbIndex(1));
        let mut watches = Watches::new(1);
        for key in [b"a", b"b", b"a"] {
            watches.add(7, (zero, key), false);
        }
        watches.add(8, (one, b"a"), false);
        watches.add(9, (zero, b"b"), false);
        watches.touch(zero, b"a");
        watches.touch(one, b"b");
        assert_eq!(watches.in_db(zero).len(), 2);
        assert_eq!(watches.unchanged(7), None);
        assert_eq!(watches.unchanged(8), Some(vec![(one, b"a"[..].into())]));
        assert!(!watches.remove(7));
        assert!(watches.remove(8));
        watches.touch(zero, b"b");
        assert!(!watches.remove(9));
        assert!(watches.is_empty() && watches.keys.is_empty());
        assert!(!watches.remove(9), "nobody watches twice");
    }

    #[test]
    fn that_a_key_goes_whose_time_had_come_changes_nothing() {
        let db = DbIndex(0);
        let mut watches = Watches::new(1);
        watches.add(1, (db, b"k"), false);
        watches.add(2, (db, b"k"), true);
        watches.add(3, (db, b"k"), true);
        watches.pass(db, b"k", false);
        watches.pass(db, b"k", true);
        assert!(!watches.remove(1));
        assert!(watches.remove(2));
        // It has come again, and goes again.
        watches.pass(db, b"k", true);
        assert!(!watches.remove(3));
    }
}
