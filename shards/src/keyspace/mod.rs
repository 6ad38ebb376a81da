//! One numbered database on one shard, and the only doors to its entries.
//!
//! [`Db`] is a [`Keyspace`] at an instant: the instant decides which entries
//! have expired, so two looks within one request can never disagree. Every
//! door drops an expired entry it meets and records a `DEL` for it, unless the
//! entry is to stay ([`Keep`](crate::Keep)). Then a door that looks does not show
//! it, and one that writes drops it all the same, so that no key stands twice.
//!
//! From the bottom: `slab` has the memory, `entry` one key and its value in
//! it, `table` finds entries, `index` is the tables of one slot, `store` all
//! slots and what is counted about them. `cut`, `expiry`, `scan` and `graveyard` are
//! what happens beside requests. `README.md` of the crate has the pictures.

mod collections;
mod cut;
mod entry;
mod expiry;
mod fresh;
mod graveyard;
mod index;
mod load;
mod parcel;
mod scan;
mod slab;
mod slots;
mod store;
mod strings;
mod table;
mod view;

pub use cut::{Chunk, Walked, take_chunks, walk};
pub use expiry::ExpireProgress;
pub use load::{Loaded, Unloadable};
pub use parcel::{Copied, Parcel};
pub use scan::{Item, cursor_slot};
pub use slots::slot_of;
pub use view::{Object, StringRef, Ttl, ValueRef, View};

use crate::effects::Effects;
use crate::error::CommandError;
use crate::types::{DbIndex, Settings, Slot, UnixMs};
use crate::value::Value;
use entry::{CLOCK_MASK, Draft, Payload};
use graveyard::Graveyard;
use index::Position;
use slab::ROOM_MAX;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use store::{Home, Place, Store};

/// Where a key belongs: computed once per request, the same for all databases
/// of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    pub slot: Slot,
    pub(crate) hash: u64,
}

/// What INFO tells about a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceInfo {
    pub keys: usize,
    /// Keys with a deadline.
    pub expires: usize,
    /// The mean of all deadlines.
    pub mean_deadline: Option<UnixMs>,
    /// Memory held for small entries, used or not.
    pub page_bytes: usize,
    pub hits: u64,
    pub misses: u64,
    /// Keys deleted because their time had come.
    pub expired: u64,
    /// Keys and large values that were deleted and are to be freed, and that were.
    pub unfreed: usize,
    pub freed: u64,
}

/// One numbered database on one shard.
pub struct Keyspace {
    hasher: ahash::RandomState,
    first_slot: u16,
    store: Store,
    /// To take its place; see `fresh`.
    prepared: Option<Store>,
    graveyard: Graveyard,
    /// Stores that were cleared while a snapshot had not walked them.
    leaving: Vec<Store>,
    /// What a snapshot has encoded of stores that it has walked.
    walked: Vec<cut::Cut>,
    /// See [`Keyspace::take_ended`] and [`Keyspace::encoded_whole`].
    ended: Vec<Located>,
    encoded_whole: u64,
    cycle: expiry::Cycle,
    hits: u64,
    misses: u64,
    expired: u64,
    /// Where small collections are changed; see `collections`.
    scratch: Vec<u8>,
}

impl Keyspace {
    /// An empty database for the keys of `slots`; `seed` keys its hash.
    pub fn new(seed: u64, slots: Range<u16>) -> Self {
        let hasher = ahash::RandomState::with_seeds(
            seed,
            seed.rotate_left(17) ^ 0x9E37_79B9_7F4A_7C15,
            seed.rotate_left(31) ^ 0xBF58_476D_1CE4_E5B9,
            seed.rotate_left(47) ^ 0x94D0_49BB_1331_11EB,
        );
        Self {
            hasher,
            first_slot: slots.start,
            store: Store::new(slots.len()),
            prepared: None,
            graveyard: Graveyard::default(),
            leaving: Vec::new(),
            walked: Vec::new(),
            ended: Vec::new(),
            encoded_whole: 0,
            cycle: expiry::Cycle::default(),
            hits: 0,
            misses: 0,
            expired: 0,
            scratch: Vec::new(),
        }
    }

    /// The database at the instant `now`. With `touch`, reads refresh access times.
    #[inline]
    pub fn at<'a>(&'a mut self, now: UnixMs, touch: bool, effects: &'a mut Effects) -> Db<'a> {
        Db {
            keyspace: self,
            effects,
            now,
            touch,
            hint: None,
            known: &[],
        }
    }

    /// Number of keys, expired ones not yet met included.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Figures for INFO.
    pub fn info(&self) -> KeyspaceInfo {
        KeyspaceInfo {
            keys: self.store.len(),
            expires: self.store.expiring(),
            mean_deadline: self.store.mean_deadline(),
            page_bytes: self.store.page_bytes(),
            hits: self.hits,
            misses: self.misses,
            expired: self.expired,
            unfreed: self.graveyard.pending() + self.leaving.iter().map(Store::len).sum::<usize>(),
            freed: self.graveyard.freed(),
        }
    }

    /// Sets INFO's counters back (CONFIG RESETSTAT).
    pub fn reset_counters(&mut self) {
        (self.hits, self.misses, self.expired) = (0, 0, 0);
        self.graveyard.forget();
    }

    /// Where a key belongs.
    #[inline]
    pub fn locate(&self, key: &[u8]) -> Located {
        Located {
            slot: slot_of(key),
            hash: hash(&self.hasher, key),
        }
    }

    /// What [`Located`] tells of a key beside its slot.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        hash(&self.hasher, key)
    }

    /// Has the processor fetch the line of the table where the search for a key
    /// begins. Worth it some hundred nanoseconds before the search.
    #[inline]
    pub fn prefetch_line(&self, located: &Located) {
        let home = self.home(located);
        if let Some(slot) = self.store.slot(home) {
            slot.index.prefetch_line(home.position);
        }
    }

    /// Has the processor fetch the entry of a key; reads the line.
    #[inline]
    pub fn prefetch_entry(&self, located: &Located) {
        let home = self.home(located);
        if let Some(slot) = self.store.slot(home) {
            slot.index.prefetch_entry(home.position);
        }
    }

    /// Has elements of the value at a key fetched, if it is so large that they are not
    /// in the processor's cache anyway.
    pub fn fetch_elements<'e>(
        &self,
        located: &Located,
        key: &[u8],
        elements: impl Iterator<Item = &'e [u8]>,
    ) {
        if let Some((_, entry)) = self.store.find(self.home(located), key)
            && let Some(value) = entry.outside()
        {
            value.fetch(elements);
        }
    }

    /// Deletes every key; the memory is freed by [`Keyspace::free_some`], once a snapshot
    /// that is under way has walked it.
    pub fn clear(&mut self) {
        if self.store.slots.is_empty() {
            return;
        }
        let successor = self.store.successor();
        let store = std::mem::replace(&mut self.store, successor);
        self.leave(store);
        self.cycle = expiry::Cycle::default();
    }

    /// Frees a slice of what [`Keyspace::clear`] and deletions of large values
    /// left, about `budget` entries, or else what few entries hold of what many needed;
    /// whether there is more.
    pub fn free_some(&mut self, budget: usize) -> bool {
        let (hasher, first_slot) = (&self.hasher, self.first_slot);
        let home = |key: &[u8]| Home {
            slot: usize::from(slot_of(key).0 - first_slot),
            position: Position::of_hash(hash(hasher, key)),
        };
        self.graveyard.free_some(budget) || self.store.gather(budget, home)
    }

    /// Checks the whole structure; panics if it contradicts itself. For tests.
    pub fn check_invariants(&self) {
        let home = |key: &[u8]| self.home(&self.locate(key));
        self.store.check_invariants(home, self.cycle.walked());
    }

    fn end_slot(&self) -> u16 {
        // Lossless: made from a range of u16.
        self.first_slot + self.store.slot_count() as u16
    }

    /// Where a key lies within this shard, to which it must belong.
    #[inline]
    fn home(&self, located: &Located) -> Home {
        let slot = usize::from(located.slot.0.wrapping_sub(self.first_slot));
        assert!(
            slot < self.store.slot_count(),
            "a key comes to its own shard"
        );
        Home {
            slot,
            position: Position::of_hash(located.hash),
        }
    }

    /// Removes an entry whose time has come, unless it is to stay.
    #[cold]
    fn pass(&mut self, now: UnixMs, place: Place, key: &[u8], effects: &mut Effects) {
        let keep = effects.keep();
        let may_go = self.store.entry(place).expire_at() <= Some(keep.until(now));
        if !may_go || keep.holds(|| self.hash(key)) {
            effects.hidden(key);
            return;
        }
        self.expire(place, key, effects);
    }

    /// Removes an entry whose time has come.
    #[cold]
    fn expire(&mut self, place: Place, key: &[u8], effects: &mut Effects) {
        let value = self.store.remove(place);
        note_gone(effects, key, value.as_deref());
        self.graveyard.bury(value);
        self.expired += 1;
        effects.expired(key, || hash(&self.hasher, key));
    }
}

#[inline]
fn hash(hasher: &ahash::RandomState, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// The doors.
pub struct Db<'a> {
    keyspace: &'a mut Keyspace,
    effects: &'a mut Effects,
    now: UnixMs,
    touch: bool,
    /// Where the bytes at this place belong. They are not read through it.
    hint: Option<(*const [u8], Located)>,
    known: &'a [Located],
}

impl<'a> Db<'a> {
    /// Says where `key` belongs, so that doors that are asked for these very
    /// bytes need not compute it.
    #[inline]
    pub fn hint(&mut self, located: Located, key: &'a [u8]) {
        self.hint = Some((key, located));
    }

    /// Says where all keys of the request belong, in its order, and that their
    /// memory is being fetched.
    #[inline]
    pub fn know(&mut self, known: &'a [Located]) {
        self.known = known;
    }

    /// What [`Db::know`] was told.
    #[inline]
    pub fn known(&self) -> &'a [Located] {
        self.known
    }
}

impl Db<'_> {
    /// Finds out where several keys belong and has their memory fetched, before
    /// they are looked at one by one: for as many as there are places.
    #[inline]
    pub fn fetch<'k>(&self, keys: impl Iterator<Item = &'k [u8]>, places: &mut [Option<Located>]) {
        for (place, key) in places.iter_mut().zip(keys) {
            let located = self.locate(key);
            self.keyspace.prefetch_line(&located);
            *place = Some(located);
        }
        for located in places.iter().flatten() {
            self.keyspace.prefetch_entry(located);
        }
    }

    /// As [`Db::hint`], for a key that is borrowed until [`Db::forget_hint`] at least.
    #[inline]
    pub fn hint_for_now(&mut self, located: Located, key: &[u8]) {
        self.hint = Some((key, located));
    }

    #[inline]
    pub fn forget_hint(&mut self) {
        self.hint = None;
    }

    /// The instant of the request.
    #[inline]
    pub fn now(&self) -> UnixMs {
        self.now
    }

    /// Whether `key` belongs to this shard. The doors must not be asked for one
    /// that does not.
    pub fn owns(&self, key: &[u8]) -> bool {
        let slot = self.keyspace.locate(key).slot.0;
        let slot = slot.wrapping_sub(self.keyspace.first_slot);
        usize::from(slot) < self.keyspace.store.slot_count()
    }

    /// Whether these are keys of the first shard of all.
    pub fn is_first(&self) -> bool {
        self.keyspace.first_slot == 0
    }

    /// Whether looks refresh access times.
    pub fn touches(&self) -> bool {
        self.touch
    }

    /// Looks refresh access times from here on, whatever the client asked for.
    pub fn touch_from_here(&mut self) {
        self.touch = true;
    }

    #[inline]
    pub(crate) fn effects(&mut self) -> &mut Effects {
        self.effects
    }

    #[inline]
    fn home(&self, key: &[u8]) -> Home {
        self.keyspace.home(&self.locate(key))
    }

    #[inline]
    fn locate(&self, key: &[u8]) -> Located {
        match self.hint {
            // The hinted slice is borrowed as long as the hint is there, so the
            // same address and length are the same bytes.
            Some((hinted, located)) if std::ptr::eq(hinted, key) => located,
            _ => self.keyspace.locate(key),
        }
    }

    /// Finds a key that has not expired, to be looked at.
    #[inline]
    fn find(&mut self, key: &[u8]) -> Option<Place> {
        let (place, entry) = self.keyspace.store.find(self.home(key), key)?;
        let expire_at = entry.expire_at();
        if expire_at.is_some_and(|at| at <= self.now) {
            self.keyspace.pass(self.now, place, key, self.effects);
            return None;
        }
        Some(place)
    }

    /// As [`Db::find`], for a reading command: counts a hit or a miss.
    #[inline]
    fn find_counted(&mut self, key: &[u8]) -> Option<Place> {
        let Some(place) = self.find(key) else {
            self.missed(key);
            return None;
        };
        self.keyspace.hits += 1;
        Some(place)
    }

    #[cold]
    #[inline(never)]
    fn missed(&mut self, key: &[u8]) {
        self.keyspace.misses += 1;
        self.effects.missed(key);
    }

    /// Finds a key that has not expired, to be written. One that has is not there
    /// any more, whoever wants it to stay.
    #[inline]
    fn find_to_write(&mut self, home: Home, key: &[u8]) -> Option<Place> {
        let (place, entry) = self.keyspace.store.find(home, key)?;
        let expire_at = entry.expire_at();
        if expire_at.is_some_and(|at| at <= self.now) {
            self.keyspace.expire(place, key, self.effects);
            return None;
        }
        Some(place)
    }

    /// The access clock: seconds.
    #[inline]
    fn clock(&self) -> u32 {
        // Truncation intended: the clock wraps every 194 days.
        (self.now.0 / 1000) as u32 & CLOCK_MASK
    }

    #[inline]
    fn view(&mut self, place: Place) -> View<'_> {
        let clock = self.clock();
        if self.touch {
            self.keyspace.store.touch(place, clock).view()
        } else {
            self.keyspace.store.entry(place).view()
        }
    }

    /// The deadline of a key, expired or not, if the key is there. Changes nothing.
    pub(crate) fn deadline(&self, key: &[u8]) -> Option<Option<UnixMs>> {
        let store = &self.keyspace.store;
        let (_, entry) = store.find(self.home(key), key)?;
        Some(entry.expire_at())
    }

    /// Whether a key is there although its time has come.
    pub(crate) fn is_hidden(&self, key: &[u8]) -> bool {
        let now = self.now;
        self.deadline(key).flatten().is_some_and(|at| at <= now)
    }

    /// When a key, or something in its value, goes by itself at the earliest.
    pub(crate) fn goes_at(&self, key: &[u8]) -> Option<UnixMs> {
        let store = &self.keyspace.store;
        let (_, entry) = store.find(self.home(key), key)?;
        entry.due_at()
    }

    /// The request that has counted a hit runs once more, and counts it then.
    pub(crate) fn uncount_hit(&mut self) {
        self.keyspace.hits = self.keyspace.hits.saturating_sub(1);
    }

    /// As [`Db::uncount_hit`] for all that a request has counted before it found that
    /// it is to run once more: what the shard does not take back itself.
    pub(crate) fn uncount(&mut self, hits: usize, misses: usize) {
        let keyspace = &mut *self.keyspace;
        keyspace.hits = (keyspace.hits + 1).saturating_sub(hits as u64);
        keyspace.misses = keyspace.misses.saturating_sub(misses as u64);
        self.effects.forget_misses(misses);
    }

    /// Looks at a key for a reading command: counts a hit or a miss and
    /// refreshes the access time.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<View<'_>> {
        let place = self.find_counted(key)?;
        Some(self.view(place))
    }

    /// As [`Db::read`], without refreshing the access time (TTL, TYPE, EXISTS …).
    #[inline]
    pub fn peek(&mut self, key: &[u8]) -> Option<View<'_>> {
        let place = self.find_counted(key)?;
        Some(self.keyspace.store.entry(place).view())
    }

    /// As [`Db::peek`], but nobody is notified of a miss.
    pub fn peek_quietly(&mut self, key: &[u8]) -> Option<View<'_>> {
        let place = self.find(key);
        self.keyspace.hits += u64::from(place.is_some());
        self.keyspace.misses += u64::from(place.is_none());
        Some(self.keyspace.store.entry(place?).view())
    }

    /// Looks at a key for a writing command: no hit or miss is counted.
    #[inline]
    pub fn lookup(&mut self, key: &[u8]) -> Option<View<'_>> {
        let place = self.find(key)?;
        Some(self.view(place))
    }

    /// What OBJECT tells about a key; touches and counts nothing.
    pub fn object(&mut self, key: &[u8]) -> Option<Object> {
        let place = self.find(key)?;
        let entry = self.keyspace.store.entry(place);
        let table_word = size_of::<u64>();
        Some(Object {
            encoding: entry.encoding(),
            idle_s: self.clock().wrapping_sub(entry.clock()) & CLOCK_MASK,
            bytes: slab::room_bytes(entry.size()) + entry.outside_bytes() + table_word,
        })
    }

    #[inline]
    fn put(&mut self, key: &[u8], payload: Payload<'_>, ttl: Ttl) -> Result<(), CommandError> {
        let home = self.home(key);
        let place = self.find_to_write(home, key);
        self.put_at(home, place, key, payload, ttl)
    }

    /// Writes an entry over the one at `place`, or a new one.
    #[inline]
    fn put_at(
        &mut self,
        home: Home,
        place: Option<Place>,
        key: &[u8],
        payload: Payload<'_>,
        ttl: Ttl,
    ) -> Result<(), CommandError> {
        let clock = self.clock();
        let Keyspace {
            store,
            hasher,
            graveyard,
            ..
        } = &mut *self.keyspace;
        let expire_at = match (ttl, place) {
            (Ttl::At(at), _) => Some(at),
            (Ttl::Keep, Some(place)) => store.entry(place).expire_at(),
            (Ttl::Keep, None) | (Ttl::Clear, _) => None,
        };
        let draft = Draft {
            key,
            payload,
            expire_at,
            clock,
            snapshot: false,
        };
        match place {
            Some(place) => {
                let value = store.replace(place, draft)?;
                note_gone(self.effects, key, value.as_deref());
                graveyard.bury(value);
            }
            None => {
                let prefix = |key: &[u8]| Position::of_hash(hash(hasher, key)).prefix;
                store.insert(home, draft, prefix)?;
                self.effects.created(key);
            }
        }
        Ok(())
    }

    /// Deletes a key; whether it was there.
    #[inline]
    pub fn delete(&mut self, key: &[u8]) -> bool {
        let Some(place) = self.find_to_write(self.home(key), key) else {
            return false;
        };
        let value = self.keyspace.store.remove(place);
        note_gone(self.effects, key, value.as_deref());
        self.keyspace.graveyard.bury(value);
        true
    }

    /// Deletes a key because the last element of its value is taken.
    pub fn delete_emptied(&mut self, key: &[u8]) {
        if self.delete(key) {
            self.effects.emptied(key);
        }
    }

    /// Sets or removes a key's deadline; whether the key is there.
    pub fn set_expire_at(&mut self, key: &[u8], at: Option<UnixMs>) -> bool {
        let Some(place) = self.find_to_write(self.home(key), key) else {
            return false;
        };
        // At most one small room is needed, as a Box would: the same end.
        if self.keyspace.store.set_expire_at(place, at).is_err() {
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; ROOM_MAX]>());
        }
        true
    }

    /// Number of keys, expired ones not yet met included, as DBSIZE counts.
    pub fn len(&self) -> usize {
        self.keyspace.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keyspace.is_empty()
    }

    /// Figures for INFO, and for who begins a snapshot.
    pub fn info(&self) -> KeyspaceInfo {
        self.keyspace.info()
    }

    /// Whether there may be hashes whose fields have deadlines.
    pub fn elements_expire(&self) -> bool {
        self.keyspace.store.elements_expire()
    }

    /// Deletes every key.
    pub fn clear(&mut self) {
        self.keyspace.clear();
    }

    /// See [`Keyspace::begin_cut`].
    pub fn begin_cut(&mut self, db: DbIndex, settings: &Settings) {
        self.keyspace.begin_cut(db, settings);
    }

    /// See [`Keyspace::is_being_cut`].
    pub fn is_being_cut(&self) -> bool {
        self.keyspace.is_being_cut()
    }

    /// See [`Keyspace::renew`].
    pub fn renew(&mut self) {
        self.keyspace.renew();
    }

    /// See [`Keyspace::is_prepared`].
    pub fn is_prepared(&self, key: &[u8]) -> bool {
        self.keyspace.is_prepared(self.now, key)
    }

    /// Exchanges everything with another database.
    pub fn swap(&mut self, other: &mut Keyspace) {
        std::mem::swap(self.keyspace, other);
    }
}

/// A key has lost what it held. Only what lies outside its entry is told.
#[inline]
fn note_gone(effects: &mut Effects, key: &[u8], value: Option<&Value>) {
    if let Some(value) = value {
        effects.gone(key, value.type_of());
    }
}
