//! Finds the members of a large sorted set by their hash.
//!
//! ```text
//! line (64 bytes): 12 tags, the line that goes on, 12 ids, packed to the front
//! lines: one per bucket; buckets are split one at a time, in order
//! ```
//!
//! Linear hashing: with 2^level + split buckets, the first `split` ones and
//! their twins at the end are chosen by one more bit of the hash. An insertion
//! moves one bucket at most, some dozen ids, however many there are; so nothing
//! ever stops to grow. A bucket with more than 12 ids goes on in a spare line.
//!
//! A scan visits buckets in the order of their bits read backwards, in which a
//! bucket that is split is followed by its twin; so a position among all hashes
//! (read backwards) is all a cursor needs to hold. Costs: O(1); 64 bytes for
//! every 6 to 8 ids, and one in some ten lines is a spare one.
//!
//! Spare lines that are not in use form a list. Where they are most of them, those in
//! use move to the front, some with each removal.

use super::members::NO_ID;
use crate::counted;
use crate::error::OutOfMemory;

const LINE: usize = 12;

/// Ids per bucket on average, at most.
const MEAN_MAX: usize = 8;

/// Buckets are merged when they have fewer on average. So far below the other bound
/// that ids which come and go do not split and merge by turns.
const MEAN_MIN: usize = 6;

/// Lines that are allocated together.
const CHUNK: usize = 16;

const NO_LINE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line {
    tags: [u8; LINE],
    next: u32,
    ids: [u32; LINE],
}

impl Line {
    /// Of a spare line that is not in use: the one before it in the list.
    fn before(&mut self) -> &mut u32 {
        &mut self.ids[1]
    }

    fn is_in_use(&self) -> bool {
        self.ids[0] != NO_ID
    }
}

const EMPTY: Line = Line {
    tags: [0; LINE],
    next: NO_LINE,
    ids: [NO_ID; LINE],
};

/// Lines by number; grows by a chunk at a time and never moves one.
#[derive(Debug, Default)]
struct Lines {
    // Boxed, so that growing moves pointers and not lines.
    #[allow(clippy::vec_box)]
    chunks: Vec<Box<[Line; CHUNK]>>,
    len: usize,
}

impl Lines {
    #[inline]
    fn get(&self, line: u32) -> &Line {
        &self.chunks[line as usize / CHUNK][line as usize % CHUNK]
    }

    #[inline]
    fn get_mut(&mut self, line: u32) -> &mut Line {
        &mut self.chunks[line as usize / CHUNK][line as usize % CHUNK]
    }

    /// Makes room for one more line.
    fn reserve(&mut self) -> Result<(), OutOfMemory> {
        if self.len == self.chunks.len() * CHUNK {
            self.chunks.try_reserve(1)?;
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(CHUNK)?;
            chunk.resize(CHUNK, EMPTY);
            let chunk = chunk.try_into().expect("it is as long as a chunk");
            self.chunks.push(chunk);
        }
        Ok(())
    }

    /// Adds a line, for which there is room.
    fn push(&mut self) -> u32 {
        // Lossless: lines are fewer than ids.
        let line = self.len as u32;
        self.len += 1;
        *self.get_mut(line) = EMPTY;
        line
    }

    fn pop(&mut self) {
        self.len -= 1;
        // One may stay, so that lines that come and go do not allocate.
        if self.len + 2 * CHUNK <= self.chunks.len() * CHUNK {
            self.chunks.pop();
            if self.chunks.len() * 4 < self.chunks.capacity() {
                self.chunks.shrink_to(self.chunks.len() * 2);
            }
        }
    }

    /// Goes on with a clone, which is empty at first, by about `budget` lines; whether
    /// there are more.
    fn clone_some(&self, clone: &mut Self, budget: usize) -> Result<bool, OutOfMemory> {
        let mut spent = 0;
        while let Some(chunk) = self.chunks.get(clone.chunks.len()) {
            if spent >= budget {
                return Ok(true);
            }
            clone.len = clone.chunks.len() * CHUNK;
            clone.reserve()?;
            let last = clone.chunks.last_mut().expect("it was made just now");
            **last = **chunk;
            counted::elements(CHUNK);
            spent += CHUNK;
        }
        clone.len = self.len;
        Ok(false)
    }

    fn heap_bytes(&self) -> usize {
        self.chunks.len() * size_of::<[Line; CHUNK]>() + self.chunks.capacity() * size_of::<usize>()
    }
}

/// Ids by the hash of their members.
#[derive(Debug)]
pub struct Index {
    buckets: Lines,
    spares: Lines,
    /// The first spare line that is not in use, and how many are not. Each knows the
    /// one before it, too: see [`Line::before`].
    free: u32,
    free_len: usize,
    level: u32,
    len: usize,
}

#[inline]
fn tag(hash: u64) -> u8 {
    (hash >> 56) as u8
}

/// The place of a hash in the order of a scan. Its last 8 bits are the tag's,
/// and are left out: a bucket is chosen by the others.
#[inline]
fn order(hash: u64) -> u32 {
    // Truncation intended: 2^32 buckets are enough.
    (hash as u32).reverse_bits()
}

impl Index {
    /// An empty one.
    pub fn new() -> Result<Self, OutOfMemory> {
        let mut buckets = Lines::default();
        buckets.reserve()?;
        buckets.push();
        Ok(Self {
            buckets,
            spares: Lines::default(),
            free: NO_LINE,
            free_len: 0,
            level: 0,
            len: 0,
        })
    }

    /// An empty one, to be made a clone with [`Index::clone_some`].
    pub fn begin_clone(&self) -> Self {
        Self {
            buckets: Lines::default(),
            spares: Lines::default(),
            ..*self
        }
    }

    /// Goes on with a clone, by about `budget` lines; whether there are more. Until it is
    /// made it must not be looked at.
    pub fn clone_some(&self, clone: &mut Self, budget: usize) -> Result<bool, OutOfMemory> {
        Ok(self.buckets.clone_some(&mut clone.buckets, budget)?
            || self.spares.clone_some(&mut clone.spares, budget)?)
    }

    #[inline]
    fn bucket_of(&self, hash: u64) -> u32 {
        let hash = hash as u32;
        let wide = hash & mask(self.level + 1);
        if (wide as usize) < self.buckets.len {
            wide
        } else {
            hash & mask(self.level)
        }
    }

    /// The id with this hash that `is` holds for.
    #[inline]
    pub fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let mut line = self.buckets.get(self.bucket_of(hash));
        loop {
            for (at, id) in line.ids.iter().enumerate() {
                if line.tags[at] == tag && *id != NO_ID && is(*id) {
                    return Some(*id);
                }
            }
            if line.next == NO_LINE {
                return None;
            }
            line = self.spares.get(line.next);
        }
    }

    /// Adds an id that is not there. `hash_of` tells the hash of others. When memory
    /// is lacking, nothing has changed.
    pub fn insert(
        &mut self,
        hash: u64,
        id: u32,
        hash_of: impl Fn(u32) -> u64,
    ) -> Result<(), OutOfMemory> {
        self.put(self.bucket_of(hash), tag(hash), id)?;
        self.len += 1;
        // Without the memory for it buckets are fuller for a while.
        if self.len > self.buckets.len * MEAN_MAX && self.buckets.reserve().is_ok() {
            self.split(hash_of);
        }
        Ok(())
    }

    /// Gives an id that is there, and its hash, another number.
    pub fn rename(&mut self, hash: u64, id: u32, new: u32) {
        let bucket = self.bucket_of(hash);
        let mut spare = None;
        loop {
            let line = self.line_mut(bucket, spare);
            if let Some(at) = line.ids.iter().position(|other| *other == id) {
                line.ids[at] = new;
                return;
            }
            assert_ne!(line.next, NO_LINE, "an id that is renamed is there");
            spare = Some(line.next);
        }
    }

    /// Makes sure of a spare line.
    fn reserve_spare(&mut self) -> Result<(), OutOfMemory> {
        match self.free {
            NO_LINE => self.spares.reserve(),
            _ => Ok(()),
        }
    }

    /// Adds an id to a bucket. Memory may be lacking only if there is no spare line.
    #[inline]
    fn put(&mut self, bucket: u32, tag: u8, id: u32) -> Result<(), OutOfMemory> {
        let (mut spare, mut next) = (None, self.buckets.get(bucket).next);
        while next != NO_LINE {
            spare = Some(next);
            next = self.spares.get(next).next;
        }
        let line = self.line_mut(bucket, spare);
        if let Some(at) = line.ids.iter().position(|id| *id == NO_ID) {
            line.tags[at] = tag;
            line.ids[at] = id;
            return Ok(());
        }
        self.reserve_spare()?;
        let next = self.take_spare();
        self.line_mut(bucket, spare).next = next;
        let line = self.spares.get_mut(next);
        line.tags[0] = tag;
        line.ids[0] = id;
        Ok(())
    }

    /// As [`Index::put`], where there are as many spare lines as it may take.
    fn put_again(&mut self, bucket: u32, tag: u8, id: u32) {
        self.put(bucket, tag, id).expect("there is a spare line");
    }

    fn line_mut(&mut self, bucket: u32, spare: Option<u32>) -> &mut Line {
        match spare {
            Some(spare) => self.spares.get_mut(spare),
            None => self.buckets.get_mut(bucket),
        }
    }

    fn take_spare(&mut self) -> u32 {
        if self.free == NO_LINE {
            return self.spares.push();
        }
        let spare = self.free;
        self.unlink_free(spare);
        *self.spares.get_mut(spare) = EMPTY;
        spare
    }

    fn release_spare(&mut self, spare: u32) {
        let next = std::mem::replace(&mut self.free, spare);
        if next != NO_LINE {
            *self.spares.get_mut(next).before() = spare;
        }
        let line = self.spares.get_mut(spare);
        *line = EMPTY;
        line.next = next;
        *line.before() = NO_LINE;
        self.free_len += 1;
    }

    fn unlink_free(&mut self, spare: u32) {
        let line = self.spares.get_mut(spare);
        let (next, before) = (line.next, *line.before());
        match before {
            NO_LINE => self.free = next,
            _ => self.spares.get_mut(before).next = next,
        }
        if next != NO_LINE {
            *self.spares.get_mut(next).before() = before;
        }
        self.free_len -= 1;
    }

    /// Gives the last spare lines back, if most are not in use.
    fn trim(&mut self, hash_of: impl Fn(u32) -> u64) {
        /// Lines that are given back in one go: more than become free.
        const STEPS: usize = 4;
        for _ in 0..STEPS {
            if self.free_len * 2 < self.spares.len || self.spares.len <= CHUNK {
                return;
            }
            // Lossless: lines are fewer than ids.
            let last = self.spares.len as u32 - 1;
            if self.spares.get(last).is_in_use() {
                self.move_spare(last, &hash_of);
            } else {
                self.unlink_free(last);
            }
            self.spares.pop();
        }
    }

    /// Moves a spare line that is in use to one that is not.
    fn move_spare(&mut self, from: u32, hash_of: impl Fn(u32) -> u64) {
        let line = *self.spares.get(from);
        let to = self.take_spare();
        *self.spares.get_mut(to) = line;
        let bucket = self.bucket_of(hash_of(line.ids[0]));
        let mut before = None;
        loop {
            let line = self.line_mut(bucket, before);
            if line.next == from {
                line.next = to;
                return;
            }
            assert_ne!(line.next, NO_LINE, "a line in use is its bucket's");
            before = Some(line.next);
        }
    }

    /// Takes all of a bucket's ids out; its spare lines become free.
    fn drain(&mut self, bucket: u32, mut visit: impl FnMut(&mut Self, u8, u32)) {
        let mut line = std::mem::replace(self.buckets.get_mut(bucket), EMPTY);
        loop {
            let ids = line.ids.into_iter().zip(line.tags);
            let next = line.next;
            for (id, tag) in ids.take_while(|(id, _)| *id != NO_ID) {
                visit(self, tag, id);
            }
            if next == NO_LINE {
                return;
            }
            line = *self.spares.get(next);
            // Before its ids find a new place, so that there are as many spare lines as
            // they may need.
            self.release_spare(next);
        }
    }

    /// Splits a bucket; there is room for one more.
    fn split(&mut self, hash_of: impl Fn(u32) -> u64) {
        let twin = self.buckets.push();
        let bucket = twin & mask(self.level);
        let bit = 1u32 << self.level;
        self.drain(bucket, |this, tag, id| {
            let target = if hash_of(id) as u32 & bit == 0 {
                bucket
            } else {
                twin
            };
            this.put_again(target, tag, id);
        });
        if self.buckets.len == 1 << (self.level + 1) {
            self.level += 1;
        }
    }

    /// The opposite of a split; not done if there is no memory for it.
    fn merge(&mut self) {
        // One line more than the two buckets have between them.
        if self.reserve_spare().is_err() {
            return;
        }
        if self.buckets.len == 1 << self.level {
            self.level -= 1;
        }
        // Lossless: buckets are fewer than ids.
        let twin = self.buckets.len as u32 - 1;
        let bucket = twin & mask(self.level);
        self.drain(twin, |this, tag, id| this.put_again(bucket, tag, id));
        self.buckets.pop();
    }

    /// Removes an id, which must be there. `hash_of` tells the hash of others.
    pub fn remove(&mut self, hash: u64, id: u32, hash_of: impl Fn(u32) -> u64) {
        let bucket = self.bucket_of(hash);
        let (mut found, mut before, mut last) = (None, None, None);
        loop {
            let line = self.line_mut(bucket, last);
            if found.is_none()
                && let Some(at) = line.ids.iter().position(|other| *other == id)
            {
                found = Some((last, at));
            }
            let next = line.next;
            if next == NO_LINE {
                break;
            }
            (before, last) = (Some(last), Some(next));
        }
        let (hole, at) = found.expect("a member that is removed is there");
        // The last id of the bucket takes the place.
        let line = self.line_mut(bucket, last);
        let end = line.ids.iter().rposition(|id| *id != NO_ID);
        let end = end.expect("a spare line in use is not empty");
        let (tag, moved) = (line.tags[end], line.ids[end]);
        line.ids[end] = NO_ID;
        let emptied = end == 0;
        if !(emptied && hole == last) && (hole, at) != (last, end) {
            let line = self.line_mut(bucket, hole);
            (line.tags[at], line.ids[at]) = (tag, moved);
        }
        if let (true, Some(before), Some(last)) = (emptied, before, last) {
            self.line_mut(bucket, before).next = NO_LINE;
            self.release_spare(last);
        }
        self.len -= 1;
        if self.buckets.len > 1 && self.len < (self.buckets.len - 1) * MEAN_MIN {
            self.merge();
        }
        self.trim(hash_of);
    }

    /// Visits whole buckets from `cursor` (0 at first) until about `budget` ids
    /// were seen. Returns the next cursor, 0 at the end. An id that is there all
    /// the time is seen by a scan from 0 to 0.
    pub fn scan(
        &self,
        cursor: u64,
        budget: usize,
        hash_of: impl Fn(u32) -> u64,
        mut visit: impl FnMut(u32),
    ) -> u64 {
        let (mut from, mut seen) = (cursor as u32, 0);
        loop {
            let bucket = self.bucket_of(u64::from(from.reverse_bits()));
            let mut line = self.buckets.get(bucket);
            loop {
                for id in line.ids.into_iter().take_while(|id| *id != NO_ID) {
                    // Part of the bucket may have been seen when it was smaller.
                    if order(hash_of(id)) >= from {
                        visit(id);
                        seen += 1;
                    }
                }
                if line.next == NO_LINE {
                    break;
                }
                line = self.spares.get(line.next);
            }
            // The bits that choose this bucket, and so how many hashes it has.
            let unsplit =
                self.buckets.len - (1 << self.level) <= (bucket & mask(self.level)) as usize;
            let bits = self.level + u32::from(!unsplit);
            let width = 1u64 << (32 - bits);
            let end = (u64::from(bucket.reverse_bits()) / width + 1) * width;
            match u32::try_from(end) {
                Ok(end) if seen < budget => from = end,
                Ok(end) => return u64::from(end),
                Err(_) => return 0,
            }
        }
    }

    pub fn heap_bytes(&self) -> usize {
        self.buckets.heap_bytes() + self.spares.heap_bytes()
    }

    /// Drops about `budget` ids; whether there is more. Nothing else may be
    /// done with it afterwards.
    pub fn free_some(&mut self, budget: usize) -> bool {
        for _ in 0..=budget / (CHUNK * MEAN_MAX) {
            if self.spares.chunks.pop().is_none() && self.buckets.chunks.pop().is_none() {
                return false;
            }
        }
        true
    }

    /// Panics if the structure contradicts itself.
    #[cfg(test)]
    pub fn check_invariants(&self, hash_of: impl Fn(u32) -> u64) {
        let (mut seen, mut spares) = (std::collections::BTreeSet::new(), 0);
        assert!(self.buckets.len >= 1 << self.level && self.buckets.len < 2 << self.level);
        for bucket in 0..u32::try_from(self.buckets.len).unwrap() {
            let mut line = self.buckets.get(bucket);
            loop {
                let used = line.ids.iter().take_while(|id| **id != NO_ID).count();
                assert!(line.ids[used..].iter().all(|id| *id == NO_ID));
                assert!(used == LINE || line.next == NO_LINE);
                for at in 0..used {
                    let hash = hash_of(line.ids[at]);
                    assert_eq!((self.bucket_of(hash), tag(hash)), (bucket, line.tags[at]));
                    assert!(seen.insert(line.ids[at]));
                }
                if line.next == NO_LINE {
                    break;
                }
                line = self.spares.get(line.next);
                assert_ne!(line.ids[0], NO_ID);
                spares += 1;
            }
        }
        assert_eq!(seen.len(), self.len);
        let (mut free, mut before, mut unused) = (self.free, NO_LINE, 0);
        while free != NO_LINE {
            let mut line = *self.spares.get(free);
            assert_eq!((line.is_in_use(), *line.before()), (false, before));
            (unused, before, free) = (unused + 1, free, line.next);
        }
        assert_eq!(unused, self.free_len);
        assert_eq!(spares + unused, self.spares.len);
    }
}

#[inline]
fn mask(bits: u32) -> u32 {
    // Truncation intended: at 32 bits all are set.
    ((1u64 << bits) - 1) as u32
}
