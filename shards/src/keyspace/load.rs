//! The door for what is loaded from a file: straight into the store, without effects,
//! events and statistics.

use super::entry::{CLOCK_MASK, Draft, Payload};
use super::index::Position;
use super::{Db, Keyspace, hash};
use crate::error::OutOfMemory;
use crate::types::UnixMs;
use crate::value::Owned;

/// What became of an entry of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    Stored,
    /// Its time had come: it is not there.
    Past,
}

/// Why an entry of a file cannot be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unloadable {
    /// There is one with its key already; it stays.
    Duplicate,
    OutOfMemory,
}

impl From<OutOfMemory> for Unloadable {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl Keyspace {
    /// Adds an entry that a file has, for a key of this shard, which was used last
    /// `idle_s` seconds ago. A hash may have fields whose time has come; they go as ever.
    ///
    /// # Errors
    /// It cannot be there, and nothing has changed.
    pub fn load(
        &mut self,
        now: UnixMs,
        key: &[u8],
        value: Owned,
        expire_at: Option<UnixMs>,
        idle_s: u64,
    ) -> Result<Loaded, Unloadable> {
        let home = self.home(&self.locate(key));
        let store = self.prepared.as_mut().unwrap_or(&mut self.store);
        if store.find(home, key).is_some() {
            return Err(Unloadable::Duplicate);
        }
        if expire_at.is_some_and(|at| at <= now) {
            return Ok(Loaded::Past);
        }
        let payload = match value {
            Owned::Int(number) => Payload::Int(number),
            Owned::Flat(of, ref bytes, encoding) => Payload::Flat(of, bytes, encoding),
            Owned::Outside(value, encoding) => Payload::Outside(value, encoding),
        };
        let draft = Draft {
            key,
            payload,
            expire_at,
            clock: clock_of(now, idle_s),
            snapshot: false,
        };
        let hasher = &self.hasher;
        let prefix = |key: &[u8]| Position::of_hash(hash(hasher, key)).prefix;
        store.insert(home, draft, prefix)?;
        Ok(Loaded::Stored)
    }
}

impl Db<'_> {
    /// Has a key be one that was used last so many seconds ago.
    pub fn set_idle(&mut self, key: &[u8], idle_s: u64) {
        let clock = clock_of(self.now, idle_s);
        if let Some(place) = self.find(key) {
            self.keyspace.store.touch(place, clock);
        }
    }
}

/// The access clock of what was used so many seconds ago; nothing is older than the clock
/// can tell.
fn clock_of(now: UnixMs, idle_s: u64) -> u32 {
    let idle_s = u32::try_from(idle_s).unwrap_or(CLOCK_MASK).min(CLOCK_MASK);
    // Truncation intended: the clock wraps.
    ((now.0 / 1000) as u32).wrapping_sub(idle_s) & CLOCK_MASK
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::Effects;
    use crate::types::SLOTS;
    use crate::value::{Collection, Encoding, FieldTtl, Growth, Hash};

    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    fn text(text: &str) -> Owned {
        Owned::string(text.as_bytes().to_vec())
    }

    #[test]
    fn what_a_file_has_is_there_without_effects() {
        let mut keyspace = Keyspace::new(1, 0..SLOTS);
        let later = Some(UnixMs(NOW.0 + 5));
        let large = "x".repeat(5000);
        let values = [
            ("int", "12", None),
            ("text", "t", later),
            ("large", &large, None),
        ];
        for (idle, (key, value, at)) in (0..).zip(values) {
            let key = key.as_bytes();
            let loaded = keyspace.load(NOW, key, text(value), at, idle * 10);
            assert_eq!(loaded, Ok(Loaded::Stored));
            let again = keyspace.load(NOW, key, text("other"), None, 0);
            assert_eq!(again, Err(Unloadable::Duplicate));
        }
        let past = keyspace.load(NOW, b"past", text("v"), Some(NOW), 0);
        assert_eq!(past, Ok(Loaded::Past));
        keyspace.check_invariants();
        let info = keyspace.info();
        assert_eq!((info.keys, info.expires, info.misses), (3, 1, 0));
        let mut effects = Effects::default();
        let mut db = keyspace.at(NOW, false, &mut effects);
        for (idle, (key, value, at)) in (0..).zip(values) {
            let key = key.as_bytes();
            assert_eq!(db.object(key).unwrap().idle_s, idle * 10);
            let view = db.lookup(key).unwrap();
            assert_eq!((view.value, view.expire_at), (text(value).view(), at));
        }
        drop(keyspace);
        assert_eq!(effects.changes(), 0);
    }

    #[test]
    fn what_is_idle_for_long_is_as_old_as_the_clock_can_tell() {
        for (idle, told) in [(0, 0), (7, 7), (1 << 24, CLOCK_MASK), (1 << 40, CLOCK_MASK)] {
            let mut keyspace = Keyspace::new(1, 0..SLOTS);
            keyspace.load(NOW, b"k", text("v"), None, idle).unwrap();
            let mut effects = Effects::default();
            let object = keyspace.at(NOW, false, &mut effects).object(b"k");
            assert_eq!(object.unwrap().idle_s, told);
        }
    }

    #[test]
    fn fields_that_expire_are_met_by_the_cycle() {
        let settings = crate::types::Settings::default();
        let growth = Growth {
            thresholds: &settings.encodings,
            seed: 1,
        };
        let mut hash = Hash::from_flat(Encoding::Listpack, Vec::new());
        let ttl = FieldTtl::At(UnixMs(NOW.0 + 5));
        hash.set(b"f", b"v", ttl, &growth).unwrap();
        let mut keyspace = Keyspace::new(1, 0..SLOTS);
        let hash = Owned::collection(hash);
        keyspace.load(NOW, b"h", hash, None, 0).unwrap();
        keyspace.check_invariants();
        assert!(keyspace.store.elements_expire());
        let mut effects = Effects::default();
        keyspace.expire_due(UnixMs(NOW.0 + 5), 1000, &mut effects);
        assert!(keyspace.is_empty());
    }
}
