//! A node of a long list: elements one behind the other, with room at both ends.

use super::End;
use crate::error::OutOfMemory;
use crate::value::listpack::{Encoded, Entries, end_of, splice, start_before};

/// Bytes a node is filled up to. A size class of the allocator, and large
/// enough that what a node costs beside its elements does not count.
pub const NODE_BYTES: usize = 4096;

/// Below this a node that lacks room at its end is rearranged; above, moving
/// its elements would be too much work for what fits in then.
const REARRANGED_UP_TO: usize = NODE_BYTES / 4 * 3;

#[derive(Debug, Default)]
pub struct Node {
    pub bytes: Vec<u8>,
    /// Where the first element begins.
    pub start: usize,
    pub count: usize,
}

impl Node {
    /// An empty node that has all its room on the side of `end`.
    pub fn new(capacity: usize, end: End) -> Result<Self, OutOfMemory> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(capacity)?;
        if end == End::Front {
            bytes.resize(capacity, 0);
        }
        Ok(Self {
            start: bytes.len(),
            bytes,
            count: 0,
        })
    }

    /// Bytes of its elements.
    #[inline]
    pub fn live(&self) -> usize {
        self.bytes.len() - self.start
    }

    #[inline]
    pub fn entries(&self) -> Entries<'_> {
        Entries::uncounted(&self.bytes, self.start)
    }

    #[inline]
    pub fn room(&self, end: End) -> usize {
        match end {
            End::Front => self.start,
            End::Back => self.bytes.capacity() - self.bytes.len(),
        }
    }

    /// Whether so many bytes more go to this end of it without any ado.
    #[inline]
    pub fn has_room(&self, end: End, more: usize) -> bool {
        self.room(end) >= more && self.live() + more <= NODE_BYTES
    }

    /// Whether so many bytes more are to go to this end of it.
    pub fn takes(&self, end: End, more: usize) -> bool {
        let filled = self.live() + more;
        filled <= REARRANGED_UP_TO || filled <= NODE_BYTES && self.room(end) >= more
    }

    /// Makes room at one end. What is free beyond that is shared between both,
    /// unless elements have only ever been added at the back.
    pub fn make_room(&mut self, end: End, more: usize) -> Result<(), OutOfMemory> {
        if self.room(end) >= more {
            return Ok(());
        }
        let (live, capacity) = (self.live(), self.bytes.capacity());
        let needed = live + more;
        let mut total = capacity;
        if capacity < needed + needed / 4 {
            total = capacity.max(needed.next_power_of_two().min(NODE_BYTES));
            total = total.max(needed);
        }
        self.bytes.try_reserve_exact(total - self.bytes.len())?;
        let shared = (total - needed) / 2;
        let start = match end {
            End::Back if self.start == 0 => return Ok(()),
            End::Back => shared,
            End::Front => shared + more,
        };
        let old = self.start..self.bytes.len();
        self.bytes.resize(old.end.max(start + live), 0);
        self.bytes.copy_within(old, start);
        self.bytes.truncate(start + live);
        self.start = start;
        Ok(())
    }

    /// Adds an element at an end that has room for it.
    #[inline]
    pub fn push(&mut self, end: End, encoded: &Encoded<'_>) {
        match end {
            End::Front => {
                let start = self.start - encoded.len();
                encoded.write(&mut self.bytes[start..self.start]);
                self.start = start;
            }
            End::Back => encoded.append_to(&mut self.bytes),
        }
        self.count += 1;
    }

    /// Where the element at one end begins.
    #[inline]
    pub fn end(&self, end: End) -> usize {
        match end {
            End::Front => self.start,
            End::Back => start_before(&self.bytes, self.bytes.len()),
        }
    }

    /// Drops the element that begins at `at`, which is that at `end`.
    #[inline]
    pub fn drop_end(&mut self, end: End, at: usize) {
        match end {
            End::Front => self.start = end_of(&self.bytes, at),
            End::Back => self.bytes.truncate(at),
        }
        self.count -= 1;
    }

    /// Adds an element before what is `offset` bytes behind the first one.
    pub fn insert(&mut self, offset: usize, encoded: &Encoded<'_>) -> Result<(), OutOfMemory> {
        self.make_room(End::Back, encoded.len())?;
        let at = self.start + offset;
        splice(&mut self.bytes, at..at, encoded);
        self.count += 1;
        Ok(())
    }

    /// Moves what is `offset` bytes behind the first element, and all after it,
    /// to a node of their own.
    pub fn split_off(&mut self, offset: usize) -> Result<Self, OutOfMemory> {
        let at = self.start + offset;
        let mut tail = Self::new(self.bytes.len() - at, End::Back)?;
        tail.bytes.extend_from_slice(&self.bytes[at..]);
        tail.count = tail.entries().count();
        self.bytes.truncate(at);
        self.count -= tail.count;
        Ok(tail)
    }

    /// Gives back what it does not use, if that is more than an eighth.
    pub fn seal(&mut self) {
        let live = self.live();
        if self.bytes.capacity() - live > live / 8 {
            self.bytes.drain(..self.start);
            self.start = 0;
            self.bytes.shrink_to_fit();
        }
    }
}
