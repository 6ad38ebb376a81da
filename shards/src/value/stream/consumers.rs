//! The consumers of a group.
//!
//! ```text
//! slots   │ consumer │ free │ consumer │ …    a consumer's number is that of its slot;
//!                      │ ▲                    those that are free are linked
//!                      ▼ │
//! names   2, 0, …                             slots in the order of the names
//! ```
//!
//! Records of what is pending name a consumer by its number. So a consumer can be moved
//! to another slot only by whoever corrects its records; see `group`.

use super::StreamId;
use super::ordered::{self, Ordered};
use crate::error::OutOfMemory;
use crate::types::UnixMs;
use crate::value::copy;

/// The number of a consumer, until one of its group is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConsumerId(u32);

impl ConsumerId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Who reads from a group.
#[derive(Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it last tried to read or to claim.
    pub seen: UnixMs,
    /// When it last got something.
    pub active: Option<UnixMs>,
    pub(super) ids: Ordered<StreamId>,
}

impl Consumer {
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// How many ids are pending with it.
    pub fn pending_len(&self) -> usize {
        self.ids.len()
    }

    /// The ids that are pending with it.
    pub fn ids(&self) -> ordered::Iter<'_, StreamId> {
        self.ids.iter()
    }

    /// Those of them from an id on.
    pub fn ids_from(&self, id: StreamId) -> ordered::Iter<'_, StreamId> {
        self.ids.range_from(id)
    }

    /// How many ids from this one on are pending with it.
    pub fn pending_len_from(&self, id: StreamId) -> usize {
        self.ids.len_from(id)
    }

    /// Bytes without those of its ids.
    fn own_bytes(&self) -> usize {
        size_of::<Self>() + self.name.len()
    }
}

#[derive(Debug)]
enum Slot {
    Used(Box<Consumer>),
    Free { before: u32, behind: u32 },
}

/// No slot.
const NONE: u32 = u32::MAX;

/// So many slots may be free, whatever the number of consumers.
const FREE_MIN: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct Consumers {
    slots: Vec<Slot>,
    names: Vec<u32>,
    /// The first free slot.
    free: u32,
    /// Bytes of all consumers and their ids.
    bytes: usize,
}

impl Consumers {
    pub const fn new() -> Self {
        Self {
            slots: Vec::new(),
            names: Vec::new(),
            free: NONE,
            bytes: 0,
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.names.capacity() * size_of::<u32>()
            + self.bytes
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn get(&self, id: ConsumerId) -> Option<&Consumer> {
        match self.slots.get(id.index())? {
            Slot::Used(consumer) => Some(consumer),
            Slot::Free { .. } => None,
        }
    }

    pub fn get_mut(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        match self.slots.get_mut(id.index())? {
            Slot::Used(consumer) => Some(consumer),
            Slot::Free { .. } => None,
        }
    }

    /// Changes the ids of a consumer.
    #[inline]
    pub fn change_ids<R>(
        &mut self,
        id: ConsumerId,
        change: impl FnOnce(&mut Ordered<StreamId>) -> R,
    ) -> Option<R> {
        let Some(Slot::Used(consumer)) = self.slots.get_mut(id.index()) else {
            return None;
        };
        let before = consumer.ids.heap_bytes();
        let changed = change(&mut consumer.ids);
        self.bytes = self.bytes + consumer.ids.heap_bytes() - before;
        Some(changed)
    }

    /// All, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ConsumerId, &Consumer)> + Clone + '_ {
        self.names
            .iter()
            .map(|slot| match &self.slots[*slot as usize] {
                Slot::Used(consumer) => (ConsumerId(*slot), &**consumer),
                Slot::Free { .. } => unreachable!("names are those of consumers"),
            })
    }

    /// The one with so many before it in the order of the names.
    pub fn at(&self, nth: usize) -> Option<(ConsumerId, &Consumer)> {
        let id = ConsumerId(*self.names.get(nth)?);
        Some((id, self.get(id)?))
    }

    /// Where a name lies among the names, or would.
    fn place_of(&self, name: &[u8]) -> Result<usize, usize> {
        self.names
            .binary_search_by(|slot| match &self.slots[*slot as usize] {
                Slot::Used(consumer) => consumer.name[..].cmp(name),
                Slot::Free { .. } => unreachable!("names are those of consumers"),
            })
    }

    pub fn find(&self, name: &[u8]) -> Option<ConsumerId> {
        let at = self.place_of(name).ok()?;
        Some(ConsumerId(self.names[at]))
    }

    /// Adds a consumer, if it is not there; and whether it was not.
    ///
    /// # Errors
    /// There is no memory for it; nothing has changed.
    pub fn find_or_create(
        &mut self,
        name: &[u8],
        now: UnixMs,
    ) -> Result<(ConsumerId, bool), OutOfMemory> {
        let at = match self.place_of(name) {
            Ok(at) => return Ok((ConsumerId(self.names[at]), false)),
            Err(at) => at,
        };
        let name = copy(name)?.into_boxed_slice();
        self.names.try_reserve(1)?;
        if self.free == NONE {
            self.slots.try_reserve(1)?;
        }
        let next = u32::try_from(self.slots.len()).map_err(|_| OutOfMemory)?;
        let consumer = Slot::Used(Box::new(Consumer {
            name,
            seen: now,
            active: None,
            ids: Ordered::new(),
        }));
        let slot = match self.free {
            NONE => {
                self.slots.push(consumer);
                next
            }
            free => {
                self.unlink(free);
                self.slots[free as usize] = consumer;
                free
            }
        };
        self.names.insert(at, slot);
        let id = ConsumerId(slot);
        self.bytes += self.get(id).map_or(0, Consumer::own_bytes);
        Ok((id, true))
    }

    /// Takes a free slot off the list of them.
    fn unlink(&mut self, slot: u32) {
        let Slot::Free { before, behind } = self.slots[slot as usize] else {
            return;
        };
        match self.slots.get_mut(before as usize) {
            Some(Slot::Free { behind: to, .. }) => *to = behind,
            _ => self.free = behind,
        }
        if let Some(Slot::Free { before: to, .. }) = self.slots.get_mut(behind as usize) {
            *to = before;
        }
    }

    /// Empties a slot, and puts it on the list.
    fn release(&mut self, slot: u32) -> Slot {
        let behind = self.free;
        if let Some(Slot::Free { before, .. }) = self.slots.get_mut(behind as usize) {
            *before = slot;
        }
        self.free = slot;
        let free = Slot::Free {
            before: NONE,
            behind,
        };
        std::mem::replace(&mut self.slots[slot as usize], free)
    }

    /// Removes a consumer.
    pub fn remove(&mut self, name: &[u8]) -> Option<Box<Consumer>> {
        let at = self.place_of(name).ok()?;
        let slot = self.names.remove(at);
        let Slot::Used(consumer) = self.release(slot) else {
            return None;
        };
        self.bytes -= consumer.own_bytes() + consumer.ids.heap_bytes();
        shrink(&mut self.names);
        Some(consumer)
    }

    /// Whether there are so many free slots that [`Consumers::close_ranks`] should be
    /// called.
    pub fn is_sparse(&self) -> bool {
        self.slots.len() > 2 * self.names.len() + FREE_MIN
    }

    /// Gives the last slot back. A consumer in it moves to a free one, unless it has more
    /// ids than `most`; where it is now.
    pub fn close_ranks(&mut self, most: usize) -> Option<ConsumerId> {
        // Lossless: slots have numbers.
        let last = self.slots.len().checked_sub(1)? as u32;
        let moved = match &self.slots[last as usize] {
            Slot::Free { .. } => None,
            Slot::Used(consumer) if consumer.ids.len() > most => return None,
            Slot::Used(consumer) => Some(self.place_of(&consumer.name).ok()?),
        };
        let to = moved.map(|name| {
            let to = self.free;
            self.unlink(to);
            let consumer = self.release(last);
            self.slots[to as usize] = consumer;
            self.names[name] = to;
            ConsumerId(to)
        });
        self.unlink(last);
        self.slots.pop();
        shrink(&mut self.slots);
        to
    }

    /// Drops consumers and their ids, about as much as `budget` elements; whether there
    /// are more.
    pub fn free_some(&mut self, budget: &mut usize) -> bool {
        while *budget > 0
            && let Some(slot) = self.slots.last_mut()
        {
            if let Slot::Used(consumer) = slot
                && ordered::free_plain(&mut consumer.ids, budget)
            {
                break;
            }
            *budget = budget.saturating_sub(1);
            self.slots.pop();
        }
        !self.slots.is_empty()
    }

    /// Goes on with a copy that began as nothing; whether there is more.
    pub fn clone_some(&self, clone: &mut Self, budget: &mut usize) -> Result<bool, OutOfMemory> {
        if clone.names.is_empty() && clone.slots.is_empty() {
            clone.slots.try_reserve_exact(self.slots.len())?;
            clone.names.try_reserve_exact(self.names.len())?;
        }
        loop {
            let at = clone.slots.len().saturating_sub(1);
            if let (Some(Slot::Used(from)), Some(Slot::Used(to))) =
                (self.slots.get(at), clone.slots.last_mut())
            {
                let before = to.ids.heap_bytes();
                let more = ordered::clone_plain(&from.ids, &mut to.ids, budget);
                clone.bytes += to.ids.heap_bytes() - before;
                if more? {
                    return Ok(true);
                }
            }
            let Some(next) = self.slots.get(clone.slots.len()) else {
                break;
            };
            if *budget == 0 {
                return Ok(true);
            }
            *budget -= 1;
            let slot = match next {
                Slot::Free { before, behind } => Slot::Free {
                    before: *before,
                    behind: *behind,
                },
                Slot::Used(consumer) => {
                    clone.bytes += consumer.own_bytes();
                    Slot::Used(Box::new(Consumer {
                        name: copy(&consumer.name)?.into_boxed_slice(),
                        seen: consumer.seen,
                        active: consumer.active,
                        ids: Ordered::new(),
                    }))
                }
            };
            clone.slots.push(slot);
        }
        clone.names.clear();
        clone.names.extend_from_slice(&self.names);
        clone.free = self.free;
        Ok(false)
    }

    /// Checks it; panics if it contradicts itself. For tests.
    pub fn check_invariants(&self) {
        let names: Vec<_> = self.iter().map(|(_, consumer)| &consumer.name).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
        let (mut free, mut before, mut at) = (0, NONE, self.free);
        while at != NONE {
            let Slot::Free { before: to, behind } = self.slots[at as usize] else {
                panic!("a consumer is taken for free");
            };
            assert_eq!(to, before);
            (before, at) = (at, behind);
            free += 1;
        }
        assert_eq!(free + names.len(), self.slots.len());
        let bytes = self.iter().map(|(_, consumer)| {
            consumer.ids.check_invariants();
            consumer.own_bytes() + consumer.ids.heap_bytes()
        });
        assert_eq!(bytes.sum::<usize>(), self.bytes);
    }
}

/// Gives back room that removals have left.
fn shrink<T>(items: &mut Vec<T>) {
    if items.capacity() > FREE_MIN && items.len() < items.capacity() / 4 {
        items.shrink_to(items.capacity() / 2);
    }
}
