//! What was deleted at once but is freed in slices: whole databases after
//! FLUSHALL, and large values.

use super::store::Store;
use crate::value::Value;

/// Values with more bytes than this on the heap are not freed on the spot.
const DEFER_ABOVE: usize = 64 * 1024;

/// Freeing so many bytes of a collection counts as one entry.
const BYTES_PER_ENTRY: usize = 256;

/// The dead.
#[derive(Default)]
pub struct Graveyard {
    stores: Vec<Store>,
    values: Vec<Value>,
    /// Keys of the stores when they were buried.
    keys: usize,
    /// Keys and large values that were freed later than they were deleted.
    freed: u64,
}

impl Graveyard {
    /// Frees a value now, or keeps it for later if it is large.
    #[inline]
    pub fn bury(&mut self, value: Option<Box<Value>>) {
        if let Some(value) = value {
            bury(*value, &mut self.values);
        }
    }

    /// As [`Graveyard::bury`], for a part of a value.
    pub fn bury_part(&mut self, value: Value) {
        bury(value, &mut self.values);
    }

    /// Keeps a whole store for later.
    pub fn bury_store(&mut self, store: Store) {
        self.keys += store.len();
        self.stores.push(store);
    }

    /// Keys and large values that are still to be freed. Those of a store count until
    /// no store is left.
    pub fn pending(&self) -> usize {
        self.keys + self.values.len()
    }

    /// How many there were before; see [`Graveyard::forget`].
    pub fn freed(&self) -> u64 {
        self.freed
    }

    /// Counts what was freed anew.
    pub fn forget(&mut self) {
        self.freed = 0;
    }

    /// Frees about `budget` entries, elements, pages or large strings; whether
    /// there is more.
    pub fn free_some(&mut self, mut budget: usize) -> bool {
        while budget > 0
            && let Some(value) = self.values.last_mut()
        {
            // Asked first: once it is being freed, it need not know any more.
            let cost = 1 + value.heap_bytes() / BYTES_PER_ENTRY;
            if value.free_some(budget) {
                budget = 0;
            } else {
                self.values.pop();
                self.freed += 1;
                budget = budget.saturating_sub(cost);
            }
        }
        if self.values.is_empty() {
            self.values = Vec::new();
        }
        if budget > 0
            && let Some(store) = self.stores.last_mut()
            && !store.dismantle(budget, &mut self.values)
        {
            self.stores.pop();
            if self.stores.is_empty() {
                self.freed += std::mem::take(&mut self.keys) as u64;
            }
        }
        !self.stores.is_empty() || !self.values.is_empty()
    }
}

/// Frees a value now, or puts it to those that are freed later if it is large and there is
/// memory for that.
#[inline]
pub fn bury(value: Value, later: &mut Vec<Value>) {
    if value.heap_bytes() > DEFER_ABOVE && later.try_reserve(1).is_ok() {
        later.push(value);
    }
}
