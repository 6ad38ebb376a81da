//! What stays although its time has come.
//!
//! Whoever looks at keys judges them at one instant: what is due then is not
//! shown. Whether it also goes for good is another question, which is answered
//! here, for all databases of a shard:
//!
//! | who asks for it | what stays |
//! |---|---|
//! | somebody who judges at an instant for longer than one look (a block, a transaction with several rounds, a walk through all keys) | what was not due then |
//! | a reply that is made in pieces | its key, with all its elements |
//! | a pause, in which nothing is to change | everything |
//!
//! What stays is hidden from those who judge later. A door that writes a hidden
//! key removes it first, and what it held is never seen again: who may write a
//! key has it for himself, so nobody above looks at it any more.
//!
//! Costs: nothing is asked here before something due is met.

use crate::types::UnixMs;
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug)]
pub struct Keep {
    all: bool,
    /// At how many looks that are under way each instant is.
    instants: BTreeMap<UnixMs, u32>,
    /// Hashes of keys, and for how many each stays.
    keys: HashMap<u64, u32, ahash::RandomState>,
}

impl Keep {
    /// Nothing stays.
    pub fn new(seed: u64) -> Self {
        Self {
            all: false,
            instants: BTreeMap::new(),
            keys: HashMap::with_hasher(ahash::RandomState::with_seeds(seed, 11, 12, 13)),
        }
    }

    /// Somebody judges at `at`, until a [`Keep::looked`] for every call of this.
    pub fn look(&mut self, at: UnixMs) {
        *self.instants.entry(at).or_insert(0) += 1;
    }

    /// See [`Keep::look`].
    pub fn looked(&mut self, at: UnixMs) {
        if let Some(count) = self.instants.get_mut(&at) {
            *count -= 1;
            if *count == 0 {
                self.instants.remove(&at);
            }
        }
    }

    /// Keys with this hash stay, until a [`Keep::let_go`] for every call of this.
    pub fn hold(&mut self, hash: u64) {
        *self.keys.entry(hash).or_insert(0) += 1;
    }

    /// See [`Keep::hold`].
    pub fn let_go(&mut self, hash: u64) {
        if let Some(count) = self.keys.get_mut(&hash) {
            *count -= 1;
            if *count == 0 {
                self.keys.remove(&hash);
            }
        }
    }

    /// From now on everything stays, or no longer.
    pub fn hold_all(&mut self, on: bool) {
        self.all = on;
    }

    /// The last instant at which something due may go, for one who judges at `now`.
    pub fn until(&self, now: UnixMs) -> UnixMs {
        if self.all {
            return UnixMs(i64::MIN);
        }
        let first = self.instants.first_key_value();
        first.map_or(now, |(at, _)| now.min(*at))
    }

    /// Whether some keys stay, whatever their deadline.
    pub fn holds_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whether a key with this hash stays, whatever its deadline. The hash is
    /// computed only if it matters.
    pub fn holds(&self, hash: impl FnOnce() -> u64) -> bool {
        self.holds_keys() && self.keys.contains_key(&hash())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1000);

    #[test]
    fn the_earliest_look_decides_what_may_go() {
        let mut keep = Keep::new(1);
        assert_eq!(keep.until(NOW), NOW);
        for at in [900, 800, 1100, 800] {
            keep.look(UnixMs(at));
        }
        assert_eq!(keep.until(NOW), UnixMs(800));
        keep.looked(UnixMs(800));
        assert_eq!(keep.until(NOW), UnixMs(800), "two look from then");
        keep.looked(UnixMs(800));
        assert_eq!(keep.until(NOW), UnixMs(900));
        keep.hold_all(true);
        assert!(keep.until(NOW) < UnixMs(0));
        keep.hold_all(false);
        keep.looked(UnixMs(900));
        assert_eq!(keep.until(NOW), NOW, "who looks from later keeps nothing");
    }

    #[test]
    fn a_key_stays_until_all_have_let_it_go() {
        let mut keep = Keep::new(1);
        keep.hold(7);
        keep.hold(7);
        keep.let_go(7);
        assert!(keep.holds(|| 7) && !keep.holds(|| 8));
        keep.let_go(7);
        assert!(!keep.holds_keys());
    }
}
