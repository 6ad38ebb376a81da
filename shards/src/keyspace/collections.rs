//! The doors for values with elements.
//!
//! A collection in a flat encoding that fits lies within its entry. To change
//! it, a door copies it to a scratch buffer, works there, and writes it back:
//! at most a room of a slab (2 KiB) either way. One that lies outside is
//! changed where it is. A change may turn one form into the other; nothing
//! outside comes back in.

use super::store::{Home, Place};
use super::{Db, Payload, Ttl, View};
use crate::error::{CommandError, Unfinished};
use crate::value::{Collection, Encoding, Type, Value};

/// A scratch buffer is kept up to this capacity (bytes).
const SCRATCH_MAX: usize = 16 * 1024;

impl Db<'_> {
    /// [`Db::read`] for a collection.
    #[inline]
    pub fn read_as<C: Collection>(
        &mut self,
        key: &[u8],
    ) -> Result<Option<C::Ref<'_>>, CommandError> {
        let place = self.find_counted(key);
        self.look_as::<C>(place)
    }

    /// [`Db::lookup`] for a collection.
    #[inline]
    pub fn lookup_as<C: Collection>(
        &mut self,
        key: &[u8],
    ) -> Result<Option<C::Ref<'_>>, CommandError> {
        let place = self.find(key);
        self.look_as::<C>(place)
    }

    #[inline]
    fn look_as<C: Collection>(
        &mut self,
        place: Option<Place>,
    ) -> Result<Option<C::Ref<'_>>, CommandError> {
        let Some(place) = place else {
            return Ok(None);
        };
        let clock = self.clock();
        let store = &mut self.keyspace.store;
        let entry = if self.touch {
            store.touch(place, clock)
        } else {
            store.entry(place)
        };
        if entry.type_of() != C::TYPE {
            return Err(CommandError::WrongType);
        }
        Ok(Some(match entry.outside() {
            Some(value) => C::of(value).expect("the header names its type").view(),
            None => C::view_flat(entry.encoding(), entry.inline()),
        }))
    }

    /// Changes a collection that exists, in a way that cannot fail; nothing if
    /// there is no such key. One that `change` leaves empty is deleted.
    ///
    /// # Errors
    /// The key holds another type; or there is no memory for what `change`
    /// left, and then it is as it was.
    #[inline]
    pub fn edit<C: Collection, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut C) -> R,
    ) -> Result<Option<R>, CommandError> {
        Ok(self.try_edit(key, |collection: &mut C| Ok(change(collection)))?)
    }

    /// As [`Db::edit`], with a change that may lack memory.
    ///
    /// # Errors
    /// As there; or `change` has failed. What it had done until then stays if the
    /// collection lies outside its entry, and then the error says so.
    #[inline]
    pub fn try_edit<C: Collection, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut C) -> Result<R, Unfinished>,
    ) -> Result<Option<R>, Unfinished> {
        let home = self.home(key);
        match self.edit_found(home, key, change) {
            Ok(result) => result.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// As [`Db::try_edit`], but a key that is not there begins as an empty
    /// collection; if `change` leaves it empty, it is not created.
    #[inline]
    pub fn edit_or_create<C: Collection, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut C) -> Result<R, Unfinished>,
    ) -> Result<R, Unfinished> {
        let home = self.home(key);
        let change = match self.edit_found(home, key, change) {
            Ok(result) => return result,
            Err(change) => change,
        };
        let mut fresh = C::from_flat(Encoding::Listpack, self.scratch());
        let result = change(&mut fresh).map_err(nothing_kept)?;
        if fresh.is_empty() {
            self.keep_scratch(fresh.into_flat());
        } else {
            self.store_collection(home, None, key, fresh, Ttl::Clear)?;
        }
        Ok(result)
    }

    /// Changes the collection at `key`; gives `change` back if there is none.
    #[inline]
    fn edit_found<C: Collection, R, F>(
        &mut self,
        home: Home,
        key: &[u8],
        change: F,
    ) -> Result<Result<R, Unfinished>, F>
    where
        F: FnOnce(&mut C) -> Result<R, Unfinished>,
    {
        let clock = self.clock();
        let store = &mut self.keyspace.store;
        let Some(found) = store.find_mut(home, key) else {
            return Err(change);
        };
        let place = found.place;
        if found.look().expire_at().is_some_and(|at| at <= self.now) {
            self.keyspace.expire(place, key, self.effects);
            return Err(change);
        }
        if !found.look().is_of(C::TYPE) {
            return Ok(Err(CommandError::WrongType.into()));
        }
        let mut entry = found.into_change();
        if self.touch && entry.look().clock() != clock {
            entry.set_clock(clock);
        }
        let Some(value) = entry.outside() else {
            return Ok(self.edit_inline(home, place, key, change));
        };
        let collection = C::of_mut(value).expect("the header names its type");
        let result = change(collection);
        let encoding = collection.encoding();
        if collection.is_empty() {
            let value = store.remove(place);
            self.keyspace.graveyard.bury(value);
            self.effects.emptied(key);
            return Ok(result);
        }
        collection.trim();
        if entry.look().encoding() != encoding {
            entry.set_encoding(encoding);
        }
        if C::TYPE == Type::Hash {
            store.note_elements(place);
        }
        Ok(result)
    }

    fn edit_inline<C: Collection, R>(
        &mut self,
        home: Home,
        place: Place,
        key: &[u8],
        change: impl FnOnce(&mut C) -> Result<R, Unfinished>,
    ) -> Result<R, Unfinished> {
        let mut bytes = self.scratch();
        let entry = self.keyspace.store.entry(place);
        let flat = entry.inline();
        bytes
            .try_reserve(flat.len())
            .map_err(|_| CommandError::OutOfMemory)?;
        bytes.extend_from_slice(flat);
        let mut collection = C::from_flat(entry.encoding(), bytes);
        let result = change(&mut collection).map_err(nothing_kept)?;
        if collection.is_empty() {
            self.keep_scratch(collection.into_flat());
            let value = self.keyspace.store.remove(place);
            self.keyspace.graveyard.bury(value);
            self.effects.emptied(key);
        } else {
            self.store_collection(home, Some(place), key, collection, Ttl::Keep)?;
        }
        Ok(result)
    }

    /// Frees what was taken from a collection, in slices if it is large.
    pub fn bury<C: Collection>(&mut self, parts: impl IntoIterator<Item = C>) {
        for part in parts {
            self.keyspace.graveyard.bury_part(part.into_value());
        }
    }

    /// Frees a value that no key holds, in slices if it is large.
    pub fn bury_value(&mut self, value: Value) {
        self.keyspace.graveyard.bury_part(value);
    }

    /// Sets `key` to a collection, whatever it held; to nothing if it is empty.
    /// Whether the key exists afterwards.
    pub fn put_collection<C: Collection>(
        &mut self,
        key: &[u8],
        collection: C,
        ttl: Ttl,
    ) -> Result<bool, CommandError> {
        if collection.is_empty() {
            self.delete(key);
            return Ok(false);
        }
        let home = self.home(key);
        let place = self.find_to_write(home, key);
        self.store_collection(home, place, key, collection, ttl)?;
        Ok(true)
    }

    fn store_collection<C: Collection>(
        &mut self,
        home: Home,
        place: Option<Place>,
        key: &[u8],
        collection: C,
        ttl: Ttl,
    ) -> Result<(), CommandError> {
        let known = place.map(|place| self.keyspace.store.entry(place).type_of());
        let encoding = collection.encoding();
        if let Some(flat) = collection.flat() {
            let payload = Payload::Flat(C::TYPE, flat, encoding);
            self.put_at(home, place, key, payload, ttl)?;
            self.keep_scratch(collection.into_flat());
        } else {
            let value: Box<Value> = Box::new(collection.into_value());
            self.put_at(home, place, key, Payload::Outside(value, encoding), ttl)?;
        }
        if known != Some(C::TYPE) {
            self.effects.appeared(key, C::TYPE);
        }
        Ok(())
    }

    fn scratch(&mut self) -> Vec<u8> {
        let mut scratch = std::mem::take(&mut self.keyspace.scratch);
        scratch.clear();
        scratch
    }

    fn keep_scratch(&mut self, scratch: Option<Vec<u8>>) {
        if let Some(scratch) = scratch
            && scratch.capacity() <= SCRATCH_MAX
        {
            self.keyspace.scratch = scratch;
        }
    }
}

/// A change has failed on a copy, which is forgotten.
fn nothing_kept(unfinished: Unfinished) -> Unfinished {
    Unfinished {
        done: 0,
        ..unfinished
    }
}

impl View<'_> {
    /// Whether the value is of this type.
    pub fn is<C: Collection>(&self) -> bool {
        self.value.type_of() == C::TYPE
    }
}
