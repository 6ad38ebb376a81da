//! The slots of one keyspace, the memory of its entries, and what is counted
//! about them. Every insertion, change and removal of an entry passes here.
//!
//! ```text
//! groups │ keys, earliest │ …      one per 128 slots
//! slots  │ index, earliest │ …     one per slot of the shard
//! slab     the entries themselves
//! ```
//!
//! `earliest` is a lower bound of the deadlines below it: a key's deadline
//! lowers it at once, removals leave it, the expiry cycle raises it. Slots
//! exist from the first insertion on, so an unused database costs nothing.

mod walk;

use super::cut::Cut;
use super::entry::{Draft, EntryMut, EntryRef};
use super::graveyard::bury;
use super::index::{Index, Place as SlotPlace, Position};
use super::slab::{OutOfMemory, Slab};
use super::table::Table;
use crate::types::UnixMs;
use crate::value::{Encoding, Value};
use std::collections::BTreeSet;
use std::ops::Range;

/// Slots per group.
pub const GROUP: usize = 128;
/// The bound of what has no deadline.
pub const NEVER: i64 = i64::MAX;

/// One slot.
pub struct SlotKeys {
    pub index: Index,
    pub earliest: i64,
}

/// A row of slots, so that skipping empty and undue ones is cheap.
#[derive(Clone)]
pub struct Group {
    pub keys: usize,
    pub earliest: i64,
}

/// Where an entry is, until the next insertion or removal in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    slot: usize,
    place: SlotPlace,
}

/// Where a key belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// Index of its slot within the shard.
    pub slot: usize,
    pub position: Position,
}

/// What [`Store::find_mut`] has found.
pub struct Found<'a> {
    pub place: Place,
    entry: EntryMut<'a>,
    bit: bool,
    cut: &'a mut Option<Box<Cut>>,
}

impl<'a> Found<'a> {
    #[inline]
    pub fn look(&self) -> EntryRef<'_> {
        self.entry.look()
    }

    #[inline]
    pub fn into_change(self) -> EntryMut<'a> {
        before_change(self.entry, self.bit, self.cut)
    }
}

/// Entries, and what is counted about them.
pub struct Store {
    pub slots: Vec<SlotKeys>,
    pub groups: Vec<Group>,
    slab: Slab,
    len: usize,
    /// Entries whose value lies outside or that are too large for the slab.
    scattered: usize,
    /// Entries with a deadline, and the sum of their deadlines.
    expiring: usize,
    deadlines: i128,
    slot_count: usize,
    /// The snapshot bit that new and changed entries get.
    snapshot: bool,
    /// While a snapshot has not walked all of it. Without one all entries have the bit.
    cut: Option<Box<Cut>>,
    /// There may be elements with deadlines.
    elements_expire: bool,
}

impl Store {
    /// An empty store of `slot_count` slots.
    pub fn new(slot_count: usize) -> Self {
        Self {
            slots: Vec::new(),
            groups: Vec::new(),
            slab: Slab::default(),
            len: 0,
            scattered: 0,
            expiring: 0,
            deadlines: 0,
            slot_count,
            snapshot: false,
            cut: None,
            elements_expire: false,
        }
    }

    /// An empty store to take this one's place.
    pub fn successor(&self) -> Self {
        let mut store = Self::new(self.slot_count);
        store.snapshot = self.snapshot;
        store
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn slot_count(&self) -> usize {
        self.slot_count
    }

    /// Entries with a deadline.
    pub fn expiring(&self) -> usize {
        self.expiring
    }

    /// The mean of all deadlines.
    pub fn mean_deadline(&self) -> Option<UnixMs> {
        let mean = self.deadlines.checked_div(self.expiring as i128)?;
        i64::try_from(mean).ok().map(UnixMs)
    }

    /// Finds a key, and its entry.
    #[inline]
    pub fn find(&self, home: Home, key: &[u8]) -> Option<(Place, EntryRef<'_>)> {
        let slot = home.slot;
        let (place, entry) = self.slots.get(slot)?.index.find(home.position, key)?;
        Some((Place { slot, place }, entry))
    }

    /// The slot of a home, if any slot exists yet.
    #[inline]
    pub fn slot(&self, home: Home) -> Option<&SlotKeys> {
        self.slots.get(home.slot)
    }

    #[inline]
    pub fn entry(&self, place: Place) -> EntryRef<'_> {
        self.slots[place.slot].index.entry(place.place)
    }

    /// Refreshes the access clock of an entry and looks at it.
    #[inline]
    pub fn touch(&mut self, place: Place, clock: u32) -> EntryRef<'_> {
        let mut entry = self.slots[place.slot].index.entry_mut(place.place);
        if entry.look().clock() != clock {
            entry.set_clock(clock);
        }
        entry.into_ref()
    }

    #[inline]
    fn changing(&mut self, place: Place) -> EntryMut<'_> {
        let entry = self.slots[place.slot].index.entry_mut(place.place);
        before_change(entry, self.snapshot, &mut self.cut)
    }

    /// As [`Store::find`]; the caller may change the value outside, or the encoding,
    /// once [`Found::into_change`] was called. What that does to deadlines is told by
    /// [`Store::note_elements`].
    #[inline]
    pub fn find_mut(&mut self, home: Home, key: &[u8]) -> Option<Found<'_>> {
        let (slot, bit) = (home.slot, self.snapshot);
        let (place, entry) = self
            .slots
            .get_mut(slot)?
            .index
            .find_mut(home.position, key)?;
        let place = Place { slot, place };
        let cut = &mut self.cut;
        Some(Found {
            place,
            entry,
            bit,
            cut,
        })
    }

    /// As [`Store::changing`], for one that is about to be removed.
    #[inline]
    fn removing(&mut self, place: Place) {
        let entry = self.slots[place.slot].index.entry_mut(place.place);
        if entry.look().snapshot() != self.snapshot {
            part(entry, self.snapshot, &mut self.cut);
        }
    }

    /// Adds an entry for a key that is not there.
    #[inline]
    pub fn insert(
        &mut self,
        home: Home,
        mut draft: Draft<'_>,
        prefix: impl Fn(&[u8]) -> u32,
    ) -> Result<(), OutOfMemory> {
        if self.slots.is_empty() {
            self.open();
        }
        draft.snapshot = self.snapshot;
        let expire_at = draft.expire_at;
        let index = &mut self.slots[home.slot].index;
        index.reserve(home.position, prefix)?;
        let built = draft.settle().and_then(|draft| draft.build(&mut self.slab));
        let entry = built.inspect_err(|_| index.unreserve(home.position))?;
        self.scattered += usize::from(entry.look().is_scattered());
        let elements = entry.look().elements_due_at();
        index.insert(home.position, entry);
        self.len += 1;
        self.groups[home.slot / GROUP].keys += 1;
        self.add_deadline(home.slot, expire_at);
        self.add_element_deadline(home.slot, elements);
        Ok(())
    }

    /// Replaces an entry by `draft`, which has the same key. Returns the old value, as
    /// [`Store::remove`] does.
    #[inline]
    pub fn replace(
        &mut self,
        place: Place,
        mut draft: Draft<'_>,
    ) -> Result<Option<Box<Value>>, OutOfMemory> {
        draft.snapshot = self.snapshot;
        let expire_at = draft.expire_at;
        let draft = draft.settle()?;
        let index = &mut self.slots[place.slot].index;
        let entry = index.entry_mut(place.place);
        let (was_scattered, old) = (entry.look().is_scattered(), entry.look().expire_at());
        let is_met = entry.look().snapshot() == self.snapshot;
        let rewritten = match is_met || !is_kept(&entry, &self.cut) {
            true => before_change(entry, self.snapshot, &mut self.cut).rewrite(draft),
            false => Err(draft),
        };
        let value = match rewritten {
            Ok(value) => value,
            Err(draft) => {
                let fresh = draft.build(&mut self.slab)?;
                // Nothing can fail any more that would leave it without its value.
                let entry = index.entry_mut(place.place);
                if entry.look().snapshot() != self.snapshot {
                    part(entry, self.snapshot, &mut self.cut);
                }
                index.replace(place.place, fresh).free(&mut self.slab)
            }
        };
        let is_scattered = index.entry(place.place).is_scattered();
        self.scattered += usize::from(is_scattered);
        self.scattered -= usize::from(was_scattered);
        self.move_deadline(place, old, expire_at);
        self.note_elements(place);
        Ok(value)
    }

    /// Removes an entry. Returns its value if it lay outside; an empty one if a snapshot
    /// has not encoded it and keeps it.
    #[inline]
    pub fn remove(&mut self, place: Place) -> Option<Box<Value>> {
        let value = self.remove_only(place);
        self.slots[place.slot].index.shrink(place.place);
        value
    }

    /// As [`Store::remove`], with the value for somebody else: a snapshot encodes it before.
    pub fn take(&mut self, place: Place) -> Option<Box<Value>> {
        self.changing(place);
        self.remove(place)
    }

    /// As [`Store::remove`], but leaves the tables as large as they are, for a
    /// walk along a line; call [`Store::shrink`] afterwards.
    pub fn remove_only(&mut self, place: Place) -> Option<Box<Value>> {
        self.removing(place);
        let entry = self.slots[place.slot].index.remove(place.place);
        let (expire_at, scattered) = (entry.look().expire_at(), entry.look().is_scattered());
        self.scattered -= usize::from(scattered);
        self.len -= 1;
        self.groups[place.slot / GROUP].keys -= 1;
        self.drop_deadline(expire_at);
        entry.free(&mut self.slab)
    }

    /// Gives memory back around a place something was removed from.
    pub fn shrink(&mut self, place: Place) {
        self.slots[place.slot].index.shrink(place.place);
    }

    /// Changes only the deadline.
    #[inline]
    pub fn set_expire_at(
        &mut self,
        place: Place,
        expire_at: Option<UnixMs>,
    ) -> Result<(), OutOfMemory> {
        let index = &mut self.slots[place.slot].index;
        let entry = index.entry_mut(place.place);
        let mut entry = before_change(entry, self.snapshot, &mut self.cut);
        let (was_scattered, old) = (entry.look().is_scattered(), entry.look().expire_at());
        if !entry.set_expire_at(expire_at) {
            let copy = entry.rebuild(expire_at, &mut self.slab)?;
            self.scattered += usize::from(copy.look().is_scattered());
            self.scattered -= usize::from(was_scattered);
            let moved = index.replace(place.place, copy).free(&mut self.slab);
            debug_assert!(moved.is_none(), "the copy has the value");
        }
        self.move_deadline(place, old, expire_at);
        Ok(())
    }

    /// The number of an entry that is kept as a number, to be changed.
    #[inline]
    pub fn number(&mut self, place: Place) -> Option<&mut i64> {
        self.changing(place).into_number()
    }

    /// Overwrites part of a string in place and marks it raw: inline if it
    /// stays in its room, or outside; its new length. Nothing: do it otherwise.
    pub fn overwrite(
        &mut self,
        place: Place,
        offset: usize,
        bytes: &[u8],
    ) -> Result<Option<usize>, OutOfMemory> {
        let mut entry = self.changing(place);
        let Some(Value::String(string)) = entry.outside() else {
            return Ok(entry.overwrite_inline(offset, bytes));
        };
        let end = offset.checked_add(bytes.len()).ok_or(OutOfMemory)?;
        if let Some(more) = end.checked_sub(string.len()) {
            reserve(string, more)?;
            string.resize(end, 0);
        }
        string[offset..end].copy_from_slice(bytes);
        let length = string.len();
        entry.set_encoding(Encoding::Raw);
        Ok(Some(length))
    }

    /// The value of an entry that lies outside, to be changed.
    #[inline]
    pub fn outside(&mut self, place: Place) -> Option<&mut Value> {
        self.changing(place).into_outside()
    }

    #[inline]
    fn add_deadline(&mut self, slot: usize, expire_at: Option<UnixMs>) {
        if let Some(UnixMs(at)) = expire_at {
            self.expiring += 1;
            self.deadlines += i128::from(at);
            self.lower_bounds(slot, at);
        }
    }

    #[inline]
    fn drop_deadline(&mut self, expire_at: Option<UnixMs>) {
        if let Some(UnixMs(at)) = expire_at {
            self.expiring -= 1;
            self.deadlines -= i128::from(at);
        }
    }

    #[inline]
    fn move_deadline(&mut self, place: Place, old: Option<UnixMs>, new: Option<UnixMs>) {
        if old != new {
            self.drop_deadline(old);
            self.add_deadline(place.slot, new);
            self.slots[place.slot]
                .index
                .set_expires(place.place, new.is_some());
            self.note_elements(place);
        }
    }

    /// Looks whether the value at `place` has elements with deadlines; to be
    /// called after it was changed.
    #[inline]
    pub fn note_elements(&mut self, place: Place) {
        let at = self.entry(place).elements_due_at();
        if at.is_some() {
            self.add_element_deadline(place.slot, at);
            self.slots[place.slot].index.set_expires(place.place, true);
        }
    }

    fn add_element_deadline(&mut self, slot: usize, at: Option<UnixMs>) {
        if let Some(UnixMs(at)) = at {
            self.elements_expire = true;
            self.lower_bounds(slot, at);
        }
    }

    /// Whether there may be elements with deadlines; if not, nobody need look.
    #[inline]
    pub fn elements_expire(&self) -> bool {
        self.elements_expire
    }

    #[inline]
    fn lower_bounds(&mut self, slot: usize, at: i64) {
        let bound = &mut self.slots[slot].earliest;
        *bound = at.min(*bound);
        let bound = &mut self.groups[slot / GROUP].earliest;
        *bound = at.min(*bound);
    }

    #[cold]
    fn open(&mut self) {
        let count = self.slot_count;
        self.slots.resize_with(count, || SlotKeys {
            index: Index::default(),
            earliest: NEVER,
        });
        self.groups.resize(
            count.div_ceil(GROUP),
            Group {
                keys: 0,
                earliest: NEVER,
            },
        );
    }

    /// The place of a slot's entry.
    pub fn place(slot: usize, place: SlotPlace) -> Place {
        Place { slot, place }
    }

    /// The slots from `from` on that hold keys, `range` within the shard.
    pub fn used_slots(&self, range: Range<usize>) -> impl Iterator<Item = usize> {
        let end = range.end.min(self.slots.len());
        let mut at = range.start;
        std::iter::from_fn(move || {
            while at < end {
                let slot = at;
                if self.groups[slot / GROUP].keys == 0 {
                    at = (slot / GROUP + 1) * GROUP;
                    continue;
                }
                at += 1;
                if self.slots[slot].index.tables().any(|table| table.len() > 0) {
                    return Some(slot);
                }
            }
            None
        })
    }

    /// Bytes held for entries that are not too large for a page.
    pub fn page_bytes(&self) -> usize {
        self.slab.page_bytes()
    }

    /// Moves entries out of pages that most have left, about `budget` of them; whether
    /// there is more. `home` is where a key belongs.
    #[inline]
    pub fn gather(&mut self, budget: usize, home: impl Fn(&[u8]) -> Home) -> bool {
        self.slab.has_sparse() && self.gather_some(budget, home)
    }

    #[cold]
    fn gather_some(&mut self, mut budget: usize, home: impl Fn(&[u8]) -> Home) -> bool {
        while budget > 0 && self.slab.has_sparse() {
            let Some(mut leaving) = self.slab.begin_leaving(&mut budget) else {
                continue;
            };
            while let Some(entry) = EntryRef::next_leaving(&mut self.slab, &mut leaving) {
                budget = budget.saturating_sub(1);
                let home = home(entry.key());
                let index = &mut self.slots[home.slot].index;
                let found = index.find(home.position, entry.key());
                let (place, _) = found.expect("what lies in the slab is in a table");
                let Ok(copy) = index.entry_mut(place).relocate(&mut self.slab) else {
                    break;
                };
                let moved = index.replace(place, copy).free(&mut self.slab);
                debug_assert!(moved.is_none(), "the copy has the value");
            }
            self.slab.end_leaving(leaving);
        }
        self.slab.has_sparse()
    }

    /// Frees at least some of up to `budget` entries and pages; whether there
    /// is more. Large values come to `later`. The store must not be used
    /// otherwise any more.
    ///
    /// Entries that lie whole in the slab go with their pages, untouched, once
    /// all scattered ones are freed.
    pub fn dismantle(&mut self, mut budget: usize, later: &mut Vec<Value>) -> bool {
        while budget > 0 {
            let Some(slot) = self.slots.last_mut() else {
                return self.slab.drop_pages(budget);
            };
            let Some(table) = slot.index.take_table() else {
                self.slots.pop();
                budget -= 1;
                continue;
            };
            // One by one where there are scattered entries, else untouched.
            let cost = match self.scattered {
                0 => table.lines(),
                _ => table.len(),
            };
            budget = budget.saturating_sub(1 + cost);
            self.free_table(table, later);
        }
        true
    }

    fn free_table(&mut self, mut table: Table, later: &mut Vec<Value>) {
        if self.scattered == 0 {
            table.abandon(&mut self.slab);
            return;
        }
        for entry in table.drain() {
            self.scattered -= usize::from(entry.look().is_scattered());
            if let Some(value) = entry.free(&mut self.slab) {
                bury(*value, later);
            }
        }
    }

    /// Checks everything; panics if something contradicts itself. `home` is
    /// where a key belongs; `bound` is an upper limit of a slot's `earliest`
    /// that the expiry cycle holds for it meanwhile.
    pub fn check_invariants(&self, home: impl Fn(&[u8]) -> Home, walked: Option<(usize, i64)>) {
        let (mut len, mut expiring, mut deadlines, mut scattered) = (0, 0, 0, 0);
        let mut keys = vec![0; self.groups.len()];
        for (number, slot) in self.slots.iter().enumerate() {
            slot.index.check_invariants(|key| home(key).position);
            let held = walked
                .filter(|(at, _)| *at == number)
                .map_or(NEVER, |(_, bound)| bound);
            let mut seen = BTreeSet::new();
            for entry in slot.index.iter() {
                let place = (number, home(entry.key()).position);
                let is_met = self.cut.as_ref().is_none_or(|cut| place < cut.at);
                assert!(!is_met || entry.snapshot() == self.snapshot, "it is met");
                assert_eq!(home(entry.key()).slot, number, "in its key's slot");
                assert!(seen.insert(entry.key()), "no key stands twice");
                len += 1;
                keys[number / GROUP] += 1;
                scattered += usize::from(entry.is_scattered());
                if let Some(UnixMs(at)) = entry.expire_at() {
                    expiring += 1;
                    deadlines += i128::from(at);
                }
                if let Some(UnixMs(at)) = entry.due_at() {
                    assert!(slot.earliest.min(held) <= at, "the slot's bound is one");
                    assert!(
                        self.groups[number / GROUP].earliest <= at,
                        "the group's bound is one"
                    );
                }
            }
        }
        assert!(
            keys.iter()
                .zip(&self.groups)
                .all(|(keys, group)| *keys == group.keys)
        );
        assert_eq!(len, self.len);
        assert_eq!(scattered, self.scattered);
        assert_eq!((expiring, deadlines), (self.expiring, self.deadlines));
        assert_eq!(self.slab.entries(), len, "no entry is lost or held twice");
        self.slab.check_invariants();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        while self.dismantle(usize::MAX, &mut Vec::new()) {}
    }
}

/// THE place that every change or removal of an entry passes before it happens: a
/// snapshot that has not met the entry yet saves the old value here. Afterwards the
/// entry carries `bit`, that of the cut at hand.
#[inline]
fn before_change<'a>(entry: EntryMut<'a>, bit: bool, cut: &mut Option<Box<Cut>>) -> EntryMut<'a> {
    match entry.look().snapshot() == bit {
        true => entry,
        false => meet(entry, bit, cut),
    }
}

/// Whether a snapshot keeps the value of an entry that it has not met when that goes.
#[cold]
fn is_kept(entry: &EntryMut<'_>, cut: &Option<Box<Cut>>) -> bool {
    let cut = cut.as_ref().filter(|cut| cut.is_made());
    cut.is_some_and(|cut| cut.is_large(entry.look()))
}

/// As [`before_change`], before an entry is removed that a snapshot has not met: a large
/// value is handed over to it.
#[cold]
#[inline(never)]
fn part(mut entry: EntryMut<'_>, bit: bool, cut: &mut Option<Box<Cut>>) {
    if is_kept(&entry, cut)
        && let Some(cut) = cut
    {
        cut.hand_over(&mut entry);
        entry.set_snapshot(bit);
    } else {
        meet(entry, bit, cut);
    }
}

/// By value: an entry that is borrowed for a call would have to lie in memory, on every
/// path.
#[cold]
#[inline(never)]
fn meet<'a>(mut entry: EntryMut<'a>, bit: bool, cut: &mut Option<Box<Cut>>) -> EntryMut<'a> {
    if let Some(cut) = cut {
        cut.save(entry.look());
    }
    entry.set_snapshot(bit);
    entry
}

/// Makes room for more bytes: doubles a small string, grows a large one by an
/// eighth, so that appending stays cheap and waste bounded.
fn reserve(string: &mut Vec<u8>, more: usize) -> Result<(), OutOfMemory> {
    const DOUBLE_BELOW: usize = 1 << 20;
    if more <= string.capacity() - string.len() {
        return Ok(());
    }
    let spare = if string.len() < DOUBLE_BELOW {
        string.len()
    } else {
        string.len() / 8
    };
    let roomy = string.try_reserve_exact(more.max(spare));
    roomy
        .or_else(|_| string.try_reserve_exact(more))
        .map_err(|_| OutOfMemory)
}
