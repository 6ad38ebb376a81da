//! Which elements of a listpack were seen before: a table of where they begin.
//!
//! An element is compared as it is written there. That is enough, since it is written in
//! one way only, and none is the beginning of another.

use crate::error::OutOfMemory;

/// A slot that is free: no element begins there.
const FREE: u32 = 0;

/// Slots of the first table.
const SLOTS_MIN: usize = 16;

/// See the module.
#[derive(Debug)]
pub struct Seen {
    /// Places, and part of the hash of what is there. A power of two of them.
    slots: Vec<(u32, u32)>,
    len: usize,
    hasher: ahash::RandomState,
}

impl Seen {
    /// `seed` keys the hash: what nobody can guess who makes a file.
    pub fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            len: 0,
            hasher: ahash::RandomState::with_seeds(
                seed,
                seed.rotate_left(13) ^ 0x9E37_79B9_7F4A_7C15,
                seed.rotate_left(29) ^ 0xBF58_476D_1CE4_E5B9,
                seed.rotate_left(43) ^ 0x94D0_49BB_1331_11EB,
            ),
        }
    }

    /// Notes the element of `bytes` between two places, the first of which is not 0;
    /// whether it is new.
    ///
    /// # Errors
    /// There is no memory.
    pub fn insert(&mut self, bytes: &[u8], from: usize, to: usize) -> Result<bool, OutOfMemory> {
        if self.len >= self.slots.len() / 2 {
            self.grow()?;
        }
        let element = bytes.get(from..to).unwrap_or_default();
        let hash = self.hasher.hash_one(element);
        // Truncation intended: any bits will do.
        #[allow(clippy::cast_possible_truncation)]
        let part = (hash >> 32) as u32;
        let at = u32::try_from(from).map_err(|_| OutOfMemory)?;
        for nth in 0..self.slots.len() {
            let index = self.index(hash, nth);
            let Some(slot) = self.slots.get_mut(index) else {
                break;
            };
            if slot.0 == FREE {
                *slot = (at, part);
                self.len = self.len.saturating_add(1);
                return Ok(true);
            }
            let there = bytes.get(slot.0 as usize..).unwrap_or_default();
            if slot.1 == part && there.starts_with(element) {
                return Ok(false);
            }
        }
        Err(OutOfMemory)
    }

    #[inline]
    fn index(&self, hash: u64, nth: usize) -> usize {
        // Truncation intended. The upper half of the hash, which is kept.
        #[allow(clippy::cast_possible_truncation)]
        let start = (hash >> 32) as usize;
        start.wrapping_add(nth) & self.slots.len().wrapping_sub(1)
    }

    fn grow(&mut self) -> Result<(), OutOfMemory> {
        let count = self.slots.len().saturating_mul(2).max(SLOTS_MIN);
        let mut slots = Vec::new();
        slots.try_reserve_exact(count)?;
        slots.resize(count, (FREE, 0));
        let old = std::mem::replace(&mut self.slots, slots);
        for (at, part) in old.into_iter().filter(|slot| slot.0 != FREE) {
            for nth in 0..count {
                let index = self.index(u64::from(part) << 32, nth);
                if let Some(slot) = self.slots.get_mut(index)
                    && slot.0 == FREE
                {
                    *slot = (at, part);
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::listpack;

    #[test]
    fn each_is_new_once() {
        let mut flat = Vec::new();
        let mut seen = Seen::new(7);
        for round in 0..2 {
            for number in -300_i64..5_000 {
                let text = match number % 3 {
                    0 => number.to_string(),
                    _ => format!("text {number}"),
                };
                let from = flat.len().max(2);
                listpack::push_back(&mut flat, text.as_bytes()).unwrap();
                let new = seen.insert(&flat, from, flat.len()).unwrap();
                assert_eq!(new, round == 0, "{text}");
            }
        }
    }
}
