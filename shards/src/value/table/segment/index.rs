//! The index of a segment: where the words stand.

use super::{EMPTY, Segment, TAG_BITS, TAGS};
use crate::error::OutOfMemory;

impl Segment {
    pub(super) fn reserve_slot(&mut self) -> Result<(), OutOfMemory> {
        if (self.len + 1) * 5 > self.index.len() * 4 {
            return self.reserve_slots(self.len + 1);
        }
        Ok(())
    }

    pub(super) fn reserve_slots(&mut self, records: usize) -> Result<(), OutOfMemory> {
        if records * 5 > self.index.len() * 4 {
            return self.rebuild_index(slots_for(records));
        }
        Ok(())
    }

    pub(super) fn rebuild_index(&mut self, slots: usize) -> Result<(), OutOfMemory> {
        let mut index = Vec::new();
        index.try_reserve_exact(slots)?;
        index.resize(slots, EMPTY);
        let words = std::mem::replace(&mut self.index, index);
        for word in words.into_iter().filter(|word| *word != EMPTY) {
            self.place(word);
        }
        Ok(())
    }

    /// Puts a word into the index, which has room for it.
    pub(super) fn place(&mut self, word: u32) {
        let mut slot = home(tag_of(word), self.index.len());
        while self.index[slot] != EMPTY {
            slot = next(slot, self.index.len());
        }
        self.index[slot] = word;
    }

    /// Empties a slot, and moves up what would not be found any more.
    pub(super) fn unplace(&mut self, slot: usize) {
        let slots = self.index.len();
        let (mut hole, mut at) = (slot, next(slot, slots));
        while self.index[at] != EMPTY {
            let away = |from: usize| (at + slots - from) % slots;
            if away(home(tag_of(self.index[at]), slots)) >= away(hole) {
                self.index[hole] = self.index[at];
                hole = at;
            }
            at = next(at, slots);
        }
        self.index[hole] = EMPTY;
    }
}

#[inline]
pub(super) fn home(tag: u32, slots: usize) -> usize {
    (tag as usize * slots) >> TAG_BITS
}

#[inline]
pub(super) fn next(slot: usize, slots: usize) -> usize {
    if slot + 1 == slots { 0 } else { slot + 1 }
}

#[inline]
pub(super) fn tag_of(word: u32) -> u32 {
    word & (TAGS - 1)
}

#[inline]
pub(super) fn offset_of(word: u32) -> usize {
    (word >> TAG_BITS) as usize
}

/// Slots for so many records and some more.
pub(super) fn slots_for(records: usize) -> usize {
    8.max(records * 3 / 2 + 4)
}
