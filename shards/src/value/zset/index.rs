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
//! every 8 ids, and one in some ten lines is a spare one.

use super::members::NO_ID;

const LINE: usize = 12;

/// Ids per bucket on average, at most.
const MEAN_MAX: usize = 8;

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

const EMPTY: Line = Line {
    tags: [0; LINE],
    next: NO_LINE,
    ids: [NO_ID; LINE],
};

/// Lines by number; grows by a chunk at a time and never moves one.
#[derive(Clone, Debug, Default)]
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

    fn push(&mut self) -> u32 {
        if self.len == self.chunks.len() * CHUNK {
            self.chunks.push(Box::new([EMPTY; CHUNK]));
        }
        // Lossless: lines are fewer than ids.
        let line = self.len as u32;
        self.len += 1;
        *self.get_mut(line) = EMPTY;
        line
    }

    fn pop(&mut self) {
        self.len -= 1;
        if self.len + CHUNK == self.chunks.len() * CHUNK {
            self.chunks.pop();
        }
    }

    fn heap_bytes(&self) -> usize {
        self.chunks.len() * size_of::<[Line; CHUNK]>() + self.chunks.capacity() * size_of::<usize>()
    }
}

/// Ids by the hash of their members.
#[derive(Clone, Debug)]
pub struct Index {
    buckets: Lines,
    spares: Lines,
    /// The first spare line that is not in use.
    free: u32,
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

impl Default for Index {
    fn default() -> Self {
        let mut buckets = Lines::default();
        buckets.push();
        Self {
            buckets,
            spares: Lines::default(),
            free: NO_LINE,
            level: 0,
            len: 0,
        }
    }
}

impl Index {
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

    /// Adds an id that is not there. `hash_of` tells the hash of others.
    pub fn insert(&mut self, hash: u64, id: u32, hash_of: impl Fn(u32) -> u64) {
        self.put(self.bucket_of(hash), tag(hash), id);
        self.len += 1;
        if self.len > self.buckets.len * MEAN_MAX {
            self.split(hash_of);
        }
    }

    fn put(&mut self, bucket: u32, tag: u8, id: u32) {
        let (mut spare, mut next) = (None, self.buckets.get(bucket).next);
        while next != NO_LINE {
            spare = Some(next);
            next = self.spares.get(next).next;
        }
        let line = self.line_mut(bucket, spare);
        if let Some(at) = line.ids.iter().position(|id| *id == NO_ID) {
            line.tags[at] = tag;
            line.ids[at] = id;
            return;
        }
        let next = self.take_spare();
        self.line_mut(bucket, spare).next = next;
        let line = self.spares.get_mut(next);
        line.tags[0] = tag;
        line.ids[0] = id;
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
        let line = self.spares.get_mut(spare);
        self.free = line.next;
        *line = EMPTY;
        spare
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
            self.spares.get_mut(next).next = self.free;
            self.free = next;
        }
    }

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
            this.put(target, tag, id);
        });
        if self.buckets.len == 1 << (self.level + 1) {
            self.level += 1;
        }
    }

    /// The opposite of a split.
    fn merge(&mut self) {
        if self.buckets.len == 1 << self.level {
            self.level -= 1;
        }
        // Lossless: buckets are fewer than ids.
        let twin = self.buckets.len as u32 - 1;
        let bucket = twin & mask(self.level);
        self.drain(twin, |this, tag, id| this.put(bucket, tag, id));
        self.buckets.pop();
    }

    /// Removes an id, which must be there.
    pub fn remove(&mut self, hash: u64, id: u32) {
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
            self.spares.get_mut(last).next = self.free;
            self.free = last;
        }
        self.len -= 1;
        // Half as full as when it was split.
        if self.buckets.len > 1 && self.len * 2 < (self.buckets.len - 1) * MEAN_MAX {
            self.merge();
        }
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
        let mut free = self.free;
        while free != NO_LINE {
            (spares, free) = (spares + 1, self.spares.get(free).next);
        }
        assert_eq!(spares, self.spares.len);
    }
}

#[inline]
fn mask(bits: u32) -> u32 {
    // Truncation intended: at 32 bits all are set.
    ((1u64 << bits) - 1) as u32
}
