//! A store beside the one that is served: what is loaded into it takes the other's place
//! at once, when all of it is there.

use super::{Keyspace, expiry};
use crate::types::UnixMs;

impl Keyspace {
    /// What is loaded from now on goes into an empty store that nobody sees.
    pub fn prepare(&mut self) {
        self.forget_prepared();
        self.prepared = Some(self.store.successor());
    }

    /// The store that nobody has seen goes.
    pub fn forget_prepared(&mut self) {
        if let Some(store) = self.prepared.take() {
            self.graveyard.bury_store(store);
        }
    }

    /// What was prepared takes the place of what is there, which is freed as if it had
    /// been cleared.
    pub fn renew(&mut self) {
        let Some(prepared) = self.prepared.take() else {
            return;
        };
        let store = std::mem::replace(&mut self.store, prepared);
        self.leave(store);
        self.cycle = expiry::Cycle::default();
    }

    /// Whether this key is there once more, and not due.
    pub fn is_prepared(&self, now: UnixMs, key: &[u8]) -> bool {
        let home = self.home(&self.locate(key));
        let found = self.prepared.as_ref().and_then(|it| it.find(home, key));
        found.is_some_and(|(_, entry)| entry.expire_at().is_none_or(|at| at > now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::Effects;
    use crate::types::SLOTS;
    use crate::value::Owned;

    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    fn load(keyspace: &mut Keyspace, key: &[u8]) {
        let value = Owned::string(b"v".to_vec());
        keyspace.load(NOW, key, value, None, 0).unwrap();
    }

    fn keys(keyspace: &mut Keyspace) -> (usize, bool, bool) {
        let mut effects = Effects::default();
        let mut db = keyspace.at(NOW, false, &mut effects);
        let [old, new] = [b"old", b"new"].map(|key| db.lookup(key).is_some());
        (db.len(), old, new)
    }

    #[test]
    fn what_is_prepared_is_seen_when_it_takes_the_place() {
        let mut keyspace = Keyspace::new(1, 0..SLOTS);
        load(&mut keyspace, b"old");
        keyspace.prepare();
        load(&mut keyspace, b"new");
        assert_eq!(keys(&mut keyspace), (1, true, false));
        assert!(keyspace.is_prepared(NOW, b"new") && !keyspace.is_prepared(NOW, b"old"));
        keyspace.forget_prepared();
        keyspace.renew();
        assert_eq!(keys(&mut keyspace), (1, true, false));
        keyspace.prepare();
        load(&mut keyspace, b"new");
        keyspace.renew();
        assert_eq!(keys(&mut keyspace), (1, false, true));
        keyspace.check_invariants();
        while keyspace.free_some(1) {}
        load(&mut keyspace, b"old");
        assert_eq!(keys(&mut keyspace), (2, true, true));
    }

    /// What the store held at the cut is saved although it is not there any more.
    #[test]
    fn a_snapshot_goes_on_with_what_was_there() {
        let mut keyspace = Keyspace::new(1, 0..SLOTS);
        load(&mut keyspace, b"old");
        keyspace.prepare();
        load(&mut keyspace, b"new");
        let settings = crate::types::Settings::default();
        keyspace.begin_cut(crate::types::DbIndex(0), &settings);
        keyspace.renew();
        assert!(keyspace.is_being_cut());
        while keyspace.walk_cut(10).more {}
        keyspace.check_invariants();
    }
}
