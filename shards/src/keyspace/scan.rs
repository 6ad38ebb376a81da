//! Going through keys: SCAN's cursors, whole slots, and one at random.
//!
//! ```text
//! cursor │ slot: 14 │ prefix: 16 │ tag: 18 │       0: the beginning, the end
//! ```
//!
//! Entries have an order, (slot, prefix, tag), that never changes while they
//! live: see `index`. A cursor is a place in this order, so it needs no state,
//! survives growth and shrinking, and a key that is there from the first call
//! to the last is met. One that moves between calls (deleted and added again),
//! or whose table is split, may be met twice.

use super::index::Position;
use super::store::GROUP;
use super::table::TAG_BITS;
use super::{Db, Keyspace, View, slot_of};
use crate::types::{SLOTS, Slot, UnixMs};

const PREFIX_BITS: u32 = 16;

/// A key and its entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Item<'a> {
    pub key: &'a [u8],
    pub view: View<'a>,
}

/// The slot in which a walk goes on; the last one for what is no cursor.
pub fn cursor_slot(cursor: u64) -> Slot {
    let slot = cursor >> (PREFIX_BITS + TAG_BITS);
    Slot(u16::try_from(slot).unwrap_or(SLOTS).min(SLOTS - 1))
}

fn cursor_of(slot: u16, position: Position) -> u64 {
    let prefix = u64::from(slot) << PREFIX_BITS | u64::from(position.prefix);
    prefix << TAG_BITS | u64::from(position.tag)
}

impl Keyspace {
    /// Meets about `budget` keys from `cursor` on and returns the cursor to go
    /// on with. Cursors are the same for all shards: one whose slot lies behind
    /// this shard's is for the shard that owns it, and comes back as it is; the
    /// last shard ends with 0. Expired keys are not met.
    pub fn scan(
        &self,
        now: UnixMs,
        cursor: u64,
        budget: usize,
        visit: &mut dyn FnMut(Item<'_>),
    ) -> u64 {
        let (first, end) = (u64::from(self.first_slot), u64::from(self.end_slot()));
        let mut position = Position {
            prefix: (cursor >> TAG_BITS) as u32 & ((1 << PREFIX_BITS) - 1),
            tag: cursor as u32 & ((1 << TAG_BITS) - 1),
        };
        let asked = cursor >> (PREFIX_BITS + TAG_BITS);
        if asked >= u64::from(SLOTS) {
            return 0;
        }
        if asked >= end {
            return cursor;
        }
        if asked < first {
            position = Position::START;
        }
        let start = asked.max(first) - first;
        let mut spent = 0;
        for slot in self
            .store
            .used_slots(start as usize..self.store.slot_count())
        {
            if slot as u64 != start {
                position = Position::START;
            }
            let index = &self.store.slots[slot].index;
            let mut next = Some(position);
            while let Some(at) = next {
                if spent >= budget.max(1) {
                    return cursor_of(self.first_slot + slot as u16, at);
                }
                spent += 1;
                let mut met = 0;
                next = index.visit_line(at, &mut |_, entry| {
                    met += 1;
                    if entry.expire_at().is_none_or(|at| at > now) {
                        visit(Item {
                            key: entry.key(),
                            view: entry.view(),
                        });
                    }
                });
                spent += usize::saturating_sub(met, 1);
            }
        }
        if self.end_slot() == SLOTS {
            0
        } else {
            cursor_of(self.end_slot(), Position::START)
        }
    }

    /// Meets every entry of a slot, due ones included.
    pub fn for_each_in_slot(&self, slot: Slot, visit: &mut dyn FnMut(Item<'_>)) {
        let number = usize::from(slot.0).checked_sub(usize::from(self.first_slot));
        let slot = number.and_then(|number| self.store.slots.get(number));
        let entries = slot.into_iter().flat_map(|slot| slot.index.iter());
        entries.for_each(|entry| {
            visit(Item {
                key: entry.key(),
                view: entry.view(),
            })
        });
    }

    /// The key that `random` chooses, uniformly but for the choice within a
    /// slot's table; expired or not.
    fn key_at(&self, random: u64) -> Option<(&[u8], Option<UnixMs>)> {
        let mut nth = ((u128::from(random) * self.store.len() as u128) >> 64) as usize;
        let mut skip = |keys: usize| {
            let here = nth < keys;
            nth -= if here { 0 } else { keys };
            here
        };
        let group = self
            .store
            .groups
            .iter()
            .position(|group| skip(group.keys))?;
        let slots = self.store.slots.get(group * GROUP..)?;
        let slot = slots.iter().find(|slot| skip(slot.index.len()))?;
        // What chose the slot must not choose within it too.
        let entry = slot
            .index
            .at_random(random.wrapping_mul(0x9E37_79B9_7F4A_7C15))?;
        Some((entry.key(), entry.expire_at()))
    }
}

impl Db<'_> {
    /// See [`Keyspace::scan`].
    pub fn scan(&self, cursor: u64, budget: usize, visit: &mut dyn FnMut(Item<'_>)) -> u64 {
        self.keyspace.scan(self.now, cursor, budget, visit)
    }

    /// Whether a cursor lies beyond the keys of this shard.
    pub fn is_beyond(&self, cursor: u64) -> bool {
        cursor_slot(cursor).0 >= self.keyspace.end_slot()
    }

    /// Whether a walk is over on this shard with this cursor, which
    /// [`Db::scan`] has returned.
    pub fn is_end(&self, cursor: u64) -> bool {
        cursor == 0 || self.is_beyond(cursor)
    }

    /// A key chosen by `random`; expired ones it comes upon are deleted. Where there is
    /// hardly anything else, it may be one whose time has come, too.
    pub fn random_key(&mut self, mut random: u64) -> Option<Vec<u8>> {
        /// Expired keys that are deleted in one go. Where so many are, the next key
        /// that is not is as good as any.
        const MISSES_MAX: usize = 100;
        let mut misses = 0;
        loop {
            let (key, expire_at) = self.keyspace.key_at(random)?;
            let key = key.to_vec();
            if expire_at.is_none_or(|at| at > self.now) {
                return Some(key);
            }
            // Finding it deletes it, unless it is to stay.
            let _ = self.find(&key);
            misses += 1;
            if misses >= MISSES_MAX || self.is_hidden(&key) {
                return self.first_key_from(slot_of(&key)).unwrap_or(Some(key));
            }
            random = random
                .wrapping_mul(0x5851_F42D_4C95_7F2D)
                .wrapping_add(0x1405_7B7E_F767_814F);
        }
    }

    /// The first key from this slot on, or from the beginning; nothing is known if that
    /// takes too long to find.
    fn first_key_from(&self, slot: Slot) -> Option<Option<Vec<u8>>> {
        const TOGETHER: usize = 16;
        const STEPS: usize = 250;
        let (mut cursor, mut starts) = (cursor_of(slot.0, Position::START), 1);
        for _ in 0..STEPS {
            let mut found = None;
            cursor = self.scan(cursor, TOGETHER, &mut |item| {
                found.get_or_insert_with(|| item.key.to_vec());
            });
            if found.is_some() {
                return Some(found);
            }
            if self.is_end(cursor) {
                if starts == 2 {
                    return Some(None);
                }
                (cursor, starts) = (0, 2);
            }
        }
        None
    }
}
