//! What was deleted at once but is freed in slices: whole databases after
//! FLUSHALL, and large values.

use super::store::Store;
use crate::value::Value;

/// Values with more bytes than this on the heap are not freed on the spot.
const DEFER_ABOVE: usize = 64 * 1024;

/// The dead.
#[derive(Default)]
pub struct Graveyard {
    stores: Vec<Store>,
    values: Vec<Value>,
}

impl Graveyard {
    /// Frees a value now, or keeps it for later if it is large.
    #[inline]
    pub fn bury(&mut self, value: Option<Box<Value>>) {
        if let Some(value) = value
            && value.heap_bytes() > DEFER_ABOVE
        {
            self.values.push(*value);
        }
    }

    /// Keeps a whole store for later.
    pub fn bury_store(&mut self, store: Store) {
        self.stores.push(store);
    }

    /// Frees about `budget` entries, elements, pages or large strings; whether
    /// there is more.
    pub fn free_some(&mut self, budget: usize) -> bool {
        if let Some(value) = self.values.last_mut()
            && !value.free_some(budget)
        {
            self.values.pop();
            if self.values.is_empty() {
                self.values = Vec::new();
            }
        }
        if let Some(store) = self.stores.last_mut()
            && !store.dismantle(budget)
        {
            self.stores.pop();
        }
        !self.stores.is_empty() || !self.values.is_empty()
    }
}
