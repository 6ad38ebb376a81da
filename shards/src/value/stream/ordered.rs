//! Items in the order of their ids, in two levels.
//!
//! ```text
//! chunks: │ low │ items │   in a deque; `low` ≤ every id in it,
//!         ├─────┼───────┤   and > every id of the chunk before
//!         │ low │ items │ ─▶ item item item …   a deque of up to CHUNK
//!         └─────┴───────┘
//! ```
//!
//! What is appended fills chunks to the last place, what leaves at the front moves
//! nothing. A full chunk that an item is to go into in the middle is split.
//!
//! Invariants: no chunk is empty; two neighbours are more than half of a chunk
//! together, but for want of memory; a chunk has at most about twice the room it
//! needs. Costs: O(log n) to find, and up to half a chunk moved to change; per chunk a
//! move in the outer deque.

use super::StreamId;
use crate::counted;
use crate::error::OutOfMemory;
use std::collections::{VecDeque, vec_deque};

/// Items of a full chunk.
const CHUNK: usize = 128;

/// With so little room a deque is not made smaller.
const ROOM_MIN: usize = 4;

/// What lies in an [`Ordered`].
pub trait Keyed {
    fn key(&self) -> StreamId;
}

impl Keyed for StreamId {
    #[inline]
    fn key(&self) -> StreamId {
        *self
    }
}

#[derive(Debug)]
struct Chunk<T> {
    low: StreamId,
    items: VecDeque<T>,
}

/// See the module.
#[derive(Debug)]
pub struct Ordered<T> {
    chunks: VecDeque<Chunk<T>>,
    len: usize,
    /// Room for items in all chunks.
    room: usize,
}

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Where an item lies, or would, until the next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    chunk: usize,
    at: usize,
}

impl<T> Ordered<T> {
    pub const fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            len: 0,
            room: 0,
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap, without those that items have elsewhere.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Chunk<T>>() + self.room * size_of::<T>()
    }

    #[inline]
    pub fn first(&self) -> Option<&T> {
        self.chunks.front()?.items.front()
    }

    #[inline]
    pub fn last(&self) -> Option<&T> {
        self.chunks.back()?.items.back()
    }

    #[inline]
    pub fn last_mut(&mut self) -> Option<&mut T> {
        self.chunks.back_mut()?.items.back_mut()
    }

    /// The one before the last.
    pub fn last_but_one_mut(&mut self) -> Option<&mut T> {
        let last = self.chunks.len().checked_sub(1)?;
        let at = self.chunks[last].items.len().checked_sub(1)?;
        let place = self.before(Place { chunk: last, at })?;
        self.at_mut(place)
    }

    #[inline]
    pub fn at(&self, place: Place) -> Option<&T> {
        self.chunks.get(place.chunk)?.items.get(place.at)
    }

    #[inline]
    pub fn at_mut(&mut self, place: Place) -> Option<&mut T> {
        self.chunks.get_mut(place.chunk)?.items.get_mut(place.at)
    }

    /// The first place, whether there is an item or not.
    pub const FRONT: Place = Place { chunk: 0, at: 0 };

    /// The place before.
    #[inline]
    pub fn before(&self, place: Place) -> Option<Place> {
        if let Some(at) = place.at.checked_sub(1) {
            return Some(Place { at, ..place });
        }
        let chunk = place.chunk.checked_sub(1)?;
        let at = self.chunks.get(chunk)?.items.len().checked_sub(1)?;
        Some(Place { chunk, at })
    }

    /// The place behind; there need not be an item.
    #[inline]
    pub fn behind(&self, place: Place) -> Place {
        let items = self.chunks.get(place.chunk);
        if items.is_some_and(|chunk| place.at + 1 < chunk.items.len()) {
            return Place {
                at: place.at + 1,
                ..place
            };
        }
        Place {
            chunk: place.chunk + 1,
            at: 0,
        }
    }

    /// All items, in order.
    pub fn iter(&self) -> Iter<'_, T> {
        self.iter_from(Self::FRONT)
    }

    /// The items from a place on.
    pub fn iter_from(&self, place: Place) -> Iter<'_, T> {
        let mut iter = Iter::default();
        if let Some(chunk) = self.chunks.get(place.chunk) {
            iter.front = chunk.items.range(place.at.min(chunk.items.len())..);
            iter.chunks = self.chunks.range(place.chunk + 1..);
        }
        iter
    }

    /// Makes room for one more chunk.
    fn reserve_chunk(&mut self) -> Result<(), OutOfMemory> {
        if self.chunks.len() == self.chunks.capacity() {
            let more = (self.chunks.len() / 2).max(1);
            self.chunks.try_reserve_exact(more)?;
        }
        Ok(())
    }

    /// Makes room for one more item in a chunk that is not full.
    #[inline]
    fn reserve_item(&mut self, chunk: usize) -> Result<(), OutOfMemory> {
        let items = &mut self.chunks[chunk].items;
        let room = items.capacity();
        if items.len() == room {
            let more = (room / 2).clamp(1, CHUNK - room);
            items.try_reserve_exact(more)?;
            self.room += items.capacity() - room;
        }
        Ok(())
    }

    /// Removes an item that is there.
    pub fn remove_at(&mut self, place: Place) -> Option<T> {
        let item = self.chunks.get_mut(place.chunk)?.items.remove(place.at)?;
        self.len -= 1;
        self.tidy(place.chunk);
        Some(item)
    }

    pub fn pop_first(&mut self) -> Option<T> {
        self.remove_at(Self::FRONT)
    }

    /// Gives back what a chunk from which something was removed has no use for.
    fn tidy(&mut self, at: usize) {
        let len = self.chunks[at].items.len();
        if len == 0 {
            self.drop_chunk(at);
            return;
        }
        if len > CHUNK / 2 {
            return;
        }
        let len_of = |at: usize| self.chunks.get(at).map_or(CHUNK, |chunk| chunk.items.len());
        if at > 0 && len_of(at - 1) + len <= CHUNK / 2 {
            self.join(at - 1);
        } else if len_of(at + 1) + len <= CHUNK / 2 {
            self.join(at);
        } else {
            self.shrink_items(at);
        }
    }

    fn shrink_items(&mut self, at: usize) {
        let items = &mut self.chunks[at].items;
        let (len, room) = (items.len(), items.capacity());
        if room > ROOM_MIN && len < room / 2 {
            items.shrink_to(len + len / 4);
            self.room -= room - items.capacity();
        }
    }

    /// Puts the items of the chunk behind `at` to it, if there is memory.
    fn join(&mut self, at: usize) {
        let [left, right] = [at, at + 1].map(|at| self.chunks[at].items.len());
        let room = self.chunks[at].items.capacity();
        if self.chunks[at].items.try_reserve_exact(right).is_err() {
            return;
        }
        let mut moved = std::mem::take(&mut self.chunks[at + 1].items);
        let items = &mut self.chunks[at].items;
        self.room += items.capacity() - room;
        self.room -= moved.capacity();
        items.append(&mut moved);
        debug_assert_eq!(items.len(), left + right);
        self.chunks.remove(at + 1);
        self.shrink_chunks();
        self.shrink_items(at);
    }

    fn drop_chunk(&mut self, at: usize) {
        if let Some(chunk) = self.chunks.remove(at) {
            self.room -= chunk.items.capacity();
        }
        self.shrink_chunks();
    }

    fn shrink_chunks(&mut self) {
        let (len, room) = (self.chunks.len(), self.chunks.capacity());
        if room > ROOM_MIN && len < room / 2 || len == 0 {
            self.chunks.shrink_to(len + len / 4);
        }
    }

    /// Drops items at the end until about `budget` is spent on them; whether there are
    /// more.
    pub fn free_some(&mut self, budget: &mut usize, mut cost: impl FnMut(&mut T) -> usize) -> bool {
        while *budget > 0
            && let Some(chunk) = self.chunks.back_mut()
        {
            match chunk.items.pop_back() {
                Some(mut item) => {
                    self.len -= 1;
                    *budget = budget.saturating_sub(cost(&mut item));
                }
                None => {
                    self.room -= chunk.items.capacity();
                    self.chunks.pop_back();
                }
            }
        }
        !self.chunks.is_empty()
    }

    /// Goes on with a copy of all items that began as nothing, until about `budget` is
    /// spent on them; whether there are more. `copy` gives the copy and its cost.
    pub fn clone_some(
        &self,
        clone: &mut Self,
        budget: &mut usize,
        mut copy: impl FnMut(&T) -> Result<(T, usize), OutOfMemory>,
    ) -> Result<bool, OutOfMemory> {
        loop {
            let at = clone.chunks.len().saturating_sub(1);
            let copied = clone.chunks.back().map_or(0, |chunk| chunk.items.len());
            let Some(from) = self.chunks.get(at) else {
                return Ok(false);
            };
            if copied == from.items.len() {
                let Some(next) = self.chunks.get(at + 1) else {
                    return Ok(false);
                };
                clone.push_chunk(next.low, next.items.len())?;
                continue;
            }
            if clone.chunks.is_empty() {
                clone.chunks.try_reserve_exact(self.chunks.len())?;
                clone.push_chunk(from.low, from.items.len())?;
            }
            for item in from.items.range(copied..) {
                if *budget == 0 {
                    return Ok(true);
                }
                let (item, cost) = copy(item)?;
                *budget = budget.saturating_sub(cost.max(1));
                clone.len += 1;
                if let Some(chunk) = clone.chunks.back_mut() {
                    chunk.items.push_back(item);
                }
            }
        }
    }

    fn push_chunk(&mut self, low: StreamId, room: usize) -> Result<(), OutOfMemory> {
        let mut items = VecDeque::new();
        items.try_reserve_exact(room)?;
        self.reserve_chunk()?;
        self.room += items.capacity();
        self.chunks.push_back(Chunk { low, items });
        Ok(())
    }
}

impl<T: Keyed> Ordered<T> {
    /// The chunk where an id belongs; 0 if it is before all.
    #[inline]
    fn chunk_of(&self, id: StreamId) -> usize {
        match self.chunks.back() {
            Some(last) if last.low <= id => self.chunks.len() - 1,
            // What is pending longest is acknowledged first, as a rule.
            _ if self.chunks.get(1).is_none_or(|second| second.low > id) => 0,
            _ => {
                let behind = self.chunks.partition_point(|chunk| {
                    counted::line();
                    chunk.low <= id
                });
                behind.saturating_sub(1)
            }
        }
    }

    /// Where the first item lies whose id is not less.
    #[inline]
    pub fn seek(&self, id: StreamId) -> Place {
        let chunk = self.chunk_of(id);
        let at = self.chunks.get(chunk).map_or(0, |chunk| {
            let items = &chunk.items;
            items.partition_point(|item| item.key() < id)
        });
        if self.chunks.get(chunk).is_some_and(|c| at < c.items.len()) {
            Place { chunk, at }
        } else {
            Place {
                chunk: chunk + 1,
                at: 0,
            }
        }
    }

    /// How many items there are from this id on. O(chunks).
    pub fn len_from(&self, id: StreamId) -> usize {
        let place = self.seek(id);
        let behind = self.chunks.range(place.chunk.min(self.chunks.len())..);
        behind.map(|chunk| chunk.items.len()).sum::<usize>() - place.at
    }

    /// Where the item with this id lies.
    #[inline]
    pub fn find(&self, id: StreamId) -> Option<Place> {
        let place = self.seek(id);
        (self.at(place)?.key() == id).then_some(place)
    }

    #[inline]
    pub fn get(&self, id: StreamId) -> Option<&T> {
        self.at(self.find(id)?)
    }

    /// The items from an id on.
    pub fn range_from(&self, id: StreamId) -> Iter<'_, T> {
        self.iter_from(self.seek(id))
    }

    /// Adds an item. There is none with its id.
    ///
    /// # Errors
    /// There is no memory for it; nothing has changed.
    #[inline]
    pub fn insert(&mut self, item: T) -> Result<(), OutOfMemory> {
        match self.chunks.back_mut() {
            Some(last)
                if last.items.len() < last.items.capacity()
                    && last.items.len() < CHUNK
                    && last
                        .items
                        .back()
                        .is_some_and(|last| last.key() < item.key()) =>
            {
                last.items.push_back(item);
                self.len += 1;
                Ok(())
            }
            _ => self.insert_elsewhere(item),
        }
    }

    fn insert_elsewhere(&mut self, item: T) -> Result<(), OutOfMemory> {
        let id = item.key();
        if self.last().is_none_or(|last| last.key() < id) {
            let full = self.chunks.back().is_none_or(|c| c.items.len() == CHUNK);
            if full {
                let room = if self.chunks.is_empty() { 1 } else { CHUNK / 8 };
                self.push_chunk(id, room)?;
            } else {
                self.reserve_item(self.chunks.len() - 1)?;
            }
            if let Some(last) = self.chunks.back_mut() {
                last.items.push_back(item);
            }
            self.len += 1;
            return Ok(());
        }
        let mut chunk = self.chunk_of(id);
        let mut at = self.chunks[chunk].items.partition_point(|i| i.key() < id);
        if self.chunks[chunk].items.len() == CHUNK {
            self.split(chunk)?;
            let left = self.chunks[chunk].items.len();
            if at > left {
                (chunk, at) = (chunk + 1, at - left);
            }
        }
        self.reserve_item(chunk)?;
        let chunk = &mut self.chunks[chunk];
        chunk.low = chunk.low.min(id);
        chunk.items.insert(at, item);
        self.len += 1;
        Ok(())
    }

    /// Moves the second half of a full chunk to one behind it.
    fn split(&mut self, at: usize) -> Result<(), OutOfMemory> {
        let mut right = VecDeque::new();
        right.try_reserve_exact(CHUNK - CHUNK / 2 + CHUNK / 8)?;
        self.reserve_chunk()?;
        right.extend(self.chunks[at].items.drain(CHUNK / 2..));
        let low = right.front().map_or(StreamId::MAX, Keyed::key);
        self.room += right.capacity();
        self.chunks.insert(at + 1, Chunk { low, items: right });
        Ok(())
    }

    #[inline]
    pub fn remove(&mut self, id: StreamId) -> Option<T> {
        self.remove_at(self.find(id)?)
    }

    /// Checks it; panics if it contradicts itself. For tests.
    pub fn check_invariants(&self) {
        let mut before = None;
        let (mut len, mut room) = (0, 0);
        for chunk in &self.chunks {
            assert!(!chunk.items.is_empty() && chunk.items.len() <= CHUNK);
            assert!(before.is_none_or(|id| id < chunk.low));
            assert!(chunk.low <= chunk.items[0].key());
            for item in &chunk.items {
                assert!(before.is_none_or(|id| id < item.key()));
                before = Some(item.key());
            }
            len += chunk.items.len();
            room += chunk.items.capacity();
            let most = (2 * chunk.items.len() + 2).max(CHUNK / 8);
            assert!(chunk.items.capacity() <= most, "{}", chunk.items.len());
        }
        for (one, other) in self.chunks.iter().zip(self.chunks.iter().skip(1)) {
            assert!(one.items.len() + other.items.len() > CHUNK / 2);
        }
        assert_eq!((len, room), (self.len, self.room));
        assert!(self.chunks.capacity() <= 2 * self.chunks.len() + ROOM_MIN);
    }
}

/// See [`Ordered::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    front: vec_deque::Iter<'a, T>,
    chunks: vec_deque::Iter<'a, Chunk<T>>,
    back: vec_deque::Iter<'a, T>,
}

impl<T> Default for Iter<'_, T> {
    fn default() -> Self {
        Self {
            front: vec_deque::Iter::default(),
            chunks: vec_deque::Iter::default(),
            back: vec_deque::Iter::default(),
        }
    }
}

impl<T> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Self {
            front: self.front.clone(),
            chunks: self.chunks.clone(),
            back: self.back.clone(),
        }
    }
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.front.next() {
                return Some(item);
            }
            match self.chunks.next() {
                Some(chunk) => self.front = chunk.items.iter(),
                None => return self.back.next(),
            }
        }
    }
}

impl<T> DoubleEndedIterator for Iter<'_, T> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.back.next_back() {
                return Some(item);
            }
            match self.chunks.next_back() {
                Some(chunk) => self.back = chunk.items.iter(),
                None => return self.front.next_back(),
            }
        }
    }
}

/// So many plain items are freed or copied with as much work as an element.
const PLAIN: usize = 16;

/// [`Ordered::free_some`] for items that have nothing elsewhere.
pub fn free_plain<T>(items: &mut Ordered<T>, budget: &mut usize) -> bool {
    let mut some = budget.saturating_mul(PLAIN);
    let more = items.free_some(&mut some, |_| 1);
    *budget = some / PLAIN;
    more
}

/// [`Ordered::clone_some`] for such items.
pub fn clone_plain<T: Copy>(
    items: &Ordered<T>,
    clone: &mut Ordered<T>,
    budget: &mut usize,
) -> Result<bool, OutOfMemory> {
    let mut some = budget.saturating_mul(PLAIN);
    let more = items.clone_some(clone, &mut some, |item| Ok((*item, 1)));
    *budget = some / PLAIN;
    more
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Random;
    use std::collections::BTreeSet;

    fn id(number: u64) -> StreamId {
        StreamId::new(number / 8, number % 8)
    }

    /// The same items, found from any of them and from both ends.
    fn check(items: &Ordered<StreamId>, twin: &BTreeSet<StreamId>, random: &mut Random) {
        items.check_invariants();
        assert_eq!(items.len(), twin.len());
        assert!(items.iter().eq(twin));
        assert!(items.iter().rev().eq(twin.iter().rev()));
        assert_eq!(items.first(), twin.first());
        assert_eq!(items.last(), twin.last());
        let from = id(random.next() % 40_000);
        assert!(items.range_from(from).eq(twin.range(from..)));
        let mut ends = items.range_from(from);
        let mut others = twin.range(from..);
        for step in 0..2_000 {
            let (one, other) = if step % 3 == 0 {
                (ends.next(), others.next())
            } else {
                (ends.next_back(), others.next_back())
            };
            assert_eq!(one, other);
        }
        for budget in [1, 50, usize::MAX] {
            let mut clone = Ordered::new();
            while clone_plain(items, &mut clone, &mut { budget }).unwrap() {}
            assert!(clone.iter().eq(twin));
            clone.check_invariants();
            while free_plain(&mut clone, &mut { budget }) {}
            assert_eq!((clone.len(), clone.room), (0, 0));
        }
    }

    #[test]
    fn items_come_and_go_in_any_order() {
        let mut random = Random::new(5);
        let (mut items, mut twin) = (Ordered::new(), BTreeSet::new());
        // Grows and shrinks, at the end, in the middle and at the front.
        for (phase, bias) in [(0, 9), (1, 2), (2, 7), (3, 1), (4, 8), (5, 1)] {
            for step in 0..12_000_u64 {
                let any = id(random.next() % 40_000);
                if random.next() % 10 < bias {
                    let new = match phase {
                        0 => id(step),
                        _ => any,
                    };
                    if twin.insert(new) {
                        items.insert(new).unwrap();
                    }
                } else {
                    let old = match phase {
                        3 => twin.first().copied(),
                        _ => twin.range(any..).next().copied(),
                    };
                    let removed = old.and_then(|old| items.remove(old));
                    assert_eq!(removed, old);
                    old.map(|old| twin.remove(&old));
                }
                if step % 64 == 0 {
                    items.check_invariants();
                    assert_eq!(items.get(any), twin.get(&any));
                }
            }
            check(&items, &twin, &mut random);
        }
        while let Some(first) = items.pop_first() {
            assert_eq!(twin.pop_first(), Some(first));
        }
        check(&items, &twin, &mut random);
        assert_eq!(items.heap_bytes(), 0);
    }
}
