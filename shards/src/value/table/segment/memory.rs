//! The memory of a segment: room for records, buffers of their own, and what the
//! removed ones have left.

use super::index::{offset_of, slots_for, tag_of};
use super::{EMPTY, Record, Segment, TAG_BITS};
use crate::error::OutOfMemory;

/// Offsets are below this (bytes).
const OFFSET_LIMIT: usize = (1 << (32 - TAG_BITS)) - 1;
/// A list of fewer buffers may have any number that are unused.
const COMPACTED_FROM: usize = 32;

impl Segment {
    pub(super) fn keep_large(&mut self, record: &Record<'_>) -> Result<u32, OutOfMemory> {
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(record.key.len() + record.value.len())?;
        buffer.extend_from_slice(record.key);
        buffer.extend_from_slice(record.value);
        self.large.try_reserve(1)?;
        self.large_bytes += buffer.capacity();
        if self.large_free > 0 {
            let unused = self.large.iter().position(|buffer| buffer.capacity() == 0);
            let number = unused.expect("unused buffers are counted");
            self.large_free -= 1;
            self.large[number] = buffer;
            return Ok(number as u32);
        }
        self.large.push(buffer);
        Ok((self.large.len() - 1) as u32)
    }

    /// Counts the record at `offset` as dead and frees its buffer.
    pub(super) fn bury(&mut self, offset: usize) {
        let head = self.head(offset);
        if head.outside {
            let number = self.number_at(head.body);
            let buffer = std::mem::take(&mut self.large[number]);
            self.large_bytes -= buffer.capacity();
            self.large_free += 1;
        }
        self.dead += head.end - offset;
    }

    /// Makes room for a record of `more` bytes.
    pub(super) fn reserve_bytes(&mut self, more: usize) -> Result<(), OutOfMemory> {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            if self.dead * 4 > self.bytes.len() {
                return self.compact(more);
            }
            self.bytes
                .try_reserve_exact(capacity_for(needed) - self.bytes.len())?;
        }
        if needed > OFFSET_LIMIT {
            return Err(OutOfMemory);
        }
        Ok(())
    }

    /// Copies the live records to fresh memory with room for `more` bytes.
    pub(super) fn compact(&mut self, more: usize) -> Result<(), OutOfMemory> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(capacity_for(self.live_bytes() + more))?;
        for slot in 0..self.index.len() {
            let word = self.index[slot];
            if word != EMPTY {
                let from = offset_of(word);
                let end = self.head(from).end;
                self.index[slot] = (bytes.len() as u32) << TAG_BITS | tag_of(word);
                bytes.extend_from_slice(&self.bytes[from..end]);
            }
        }
        self.bytes = bytes;
        self.dead = 0;
        Ok(())
    }

    /// Gives memory back when most of it is unused. What cannot be had for that
    /// is done without.
    #[inline]
    pub(super) fn shrink(&mut self) {
        if self.index.len() > 16 && self.len * 4 < self.index.len() {
            let _ = self.rebuild_index(slots_for(self.len));
        }
        if self.bytes.len() > 256 && self.dead * 2 > self.bytes.len() {
            let _ = self.compact(0);
        }
        if self.large_free > 0 {
            if self.large_free == self.large.len() {
                self.large = Vec::new();
                self.large_free = 0;
            } else if self.large.len() >= COMPACTED_FROM && self.large_free * 2 >= self.large.len()
            {
                let _ = self.compact_large();
            }
        }
    }

    /// Gives the buffers in use the lowest numbers.
    pub(super) fn compact_large(&mut self) -> Result<(), OutOfMemory> {
        let mut large = Vec::new();
        large.try_reserve_exact(self.large.len() - self.large_free)?;
        for slot in 0..self.index.len() {
            let word = self.index[slot];
            if word == EMPTY {
                continue;
            }
            let head = self.head(offset_of(word));
            if head.outside {
                let number = self.number_at(head.body);
                let new = large.len() as u32;
                large.push(std::mem::take(&mut self.large[number]));
                self.bytes[head.body..head.end].copy_from_slice(&new.to_le_bytes());
            }
        }
        self.large = large;
        self.large_free = 0;
        Ok(())
    }
}

/// The next capacity at which an allocator with four sizes per doubling wastes
/// nothing (bytes).
pub(super) fn capacity_for(bytes: usize) -> usize {
    let step = (bytes.max(64).next_power_of_two() / 8).max(16);
    bytes.max(1).next_multiple_of(step)
}
