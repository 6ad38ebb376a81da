//! The large form of sets and hashes: a hash table that grows and shrinks in
//! bounded steps.
//!
//! ```text
//! hash of a key      prefix:32 │ … │ tag:12
//! directory          one segment number per value of the prefix's first `depth` bits
//! segments │ segment │ segment │ …       each with some leading bits of its own
//! groups   │ members, earliest │ …       one per 64 segments
//! ```
//!
//! A full [`Segment`] splits in two by one more bit of the prefix; two sparse
//! ones that differ in their last bit become one. So no request moves more than
//! a segment's records (some thousand), besides the directory's words, of which
//! there is about one per thousand members.
//!
//! *(prefix, tag)* is an order of all keys that nothing changes: a SCAN cursor
//! is a place in it. The number of a segment says nothing; it is for counting,
//! for choosing by chance, and for walking all.
//!
//! Costs: a member takes its bytes, one or two bytes before them, 5 to 6 in the
//! index, and about a tenth of unused room.

mod segment;

use crate::counted;
use crate::error::OutOfMemory;
use crate::types::{Random, UnixMs};
pub use segment::Record;
use segment::{BYTES_MAX, NEVER, RECORDS_MAX, Segment, TAGS};
use std::hash::{BuildHasher, Hasher};

/// Segments per group.
const GROUP: usize = 64;
/// Segments are not split beyond this depth.
const DEPTH_MAX: u32 = 28;
/// Freeing a segment takes as long as freeing so many small things: its memory
/// goes back to the allocator in pages.
const SEGMENT_COST: usize = 64;
/// A table of fewer bytes stays in the processor's cache.
const CACHED_BYTES: usize = 256 * 1024;
/// A segment below one such part of its bounds looks for another to join.
const SPARSE: usize = 8;

/// A table of keys, with values or without.
#[derive(Debug)]
pub struct Table {
    hasher: ahash::RandomState,
    valued: bool,
    depth: u32,
    directory: Vec<u32>,
    segments: Vec<Segment>,
    groups: Vec<Group>,
    /// How many segments have which depth.
    at_depth: [u32; DEPTH_MAX as usize + 1],
    len: usize,
    /// Bytes that the segments hold.
    heap_bytes: usize,
    /// A lower bound of all deadlines, ms.
    earliest: i64,
}

#[derive(Clone, Debug)]
struct Group {
    len: usize,
    earliest: i64,
}

const EMPTY_GROUP: Group = Group {
    len: 0,
    earliest: NEVER,
};

/// How far a walk has come; see [`Table::walk`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    segment: usize,
    slot: usize,
}

/// Where a key belongs.
#[derive(Clone, Copy)]
struct Home {
    prefix: u32,
    tag: u32,
}

impl Table {
    /// An empty table. `seed` keys its hash: what clients cannot guess.
    pub fn new(valued: bool, seed: u64) -> Result<Self, OutOfMemory> {
        let mut table = Self {
            hasher: ahash::RandomState::with_seeds(
                seed,
                seed.rotate_left(17) ^ 0x9E37_79B9_7F4A_7C15,
                seed.rotate_left(31) ^ 0xBF58_476D_1CE4_E5B9,
                seed.rotate_left(47) ^ 0x94D0_49BB_1331_11EB,
            ),
            valued,
            depth: 0,
            directory: Vec::new(),
            segments: Vec::new(),
            groups: Vec::new(),
            at_depth: [0; DEPTH_MAX as usize + 1],
            len: 0,
            heap_bytes: 0,
            earliest: NEVER,
        };
        table.directory.try_reserve_exact(1)?;
        table.segments.try_reserve_exact(1)?;
        table.groups.try_reserve_exact(1)?;
        table.directory.push(0);
        table.groups.push(EMPTY_GROUP);
        table.segments.push(Segment::new(valued, 0, 0));
        table.at_depth[0] = 1;
        Ok(table)
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many segments it has: one more whenever one was split.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.heap_bytes
            + self.directory.capacity() * size_of::<u32>()
            + self.segments.capacity() * size_of::<Segment>()
            + self.groups.capacity() * size_of::<Group>()
    }

    /// A lower bound of the deadlines in it; nothing if there is none.
    pub fn earliest(&self) -> Option<UnixMs> {
        (self.earliest != NEVER).then_some(UnixMs(self.earliest))
    }

    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<Record<'_>> {
        let home = self.home(key);
        let segment = &self.segments[self.number(home.prefix)];
        segment.record(segment.find(home.tag, key)?)
    }

    /// Reads what will be read for these keys (some of them, if they are many). Here
    /// the processor waits for all of them at once, there for one after the other: a
    /// key of a large table costs two misses of the cache.
    pub fn fetch<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        const TOGETHER: usize = 32;
        if self.heap_bytes < CACHED_BYTES {
            return;
        }
        let (mut homes, mut count, mut seen) = ([(0, 0); TOGETHER], 0, 0);
        for (place, key) in homes.iter_mut().zip(keys) {
            let home = self.home(key);
            *place = (self.number(home.prefix), home.tag);
            count += 1;
            seen ^= self.segments[place.0].touch_index(home.tag);
        }
        for (number, tag) in &homes[..count] {
            seen ^= u32::from(self.segments[*number].touch_record(*tag));
        }
        std::hint::black_box(seen);
    }

    /// Adds a record, or replaces that of the same key; whether it is new. When
    /// memory is lacking, the table holds what it held.
    pub fn insert(&mut self, record: &Record<'_>) -> Result<bool, OutOfMemory> {
        let home = self.home(record.key);
        let mut number = self.number(home.prefix);
        let found = self.segments[number].find(home.tag, record.key);
        if found.is_some() && !self.valued && record.expire_at.is_none() {
            return Ok(false);
        }
        if found.is_none() && self.segments[number].is_full() {
            number = self.split_for(home.prefix)?;
        }
        let segment = &mut self.segments[number];
        let before = segment.heap_bytes();
        let result = match found {
            Some(slot) => segment.replace(slot, record),
            None => segment.insert(home.tag, record),
        };
        let after = segment.heap_bytes();
        self.heap_bytes = self.heap_bytes - before + after;
        result?;
        if record.expire_at.is_some() {
            self.lower_bound(number);
        }
        if found.is_none() {
            self.len += 1;
            self.groups[number / GROUP].len += 1;
        } else if self.segments[number].live_bytes() > 2 * BYTES_MAX {
            // Values have grown. It has happened, so nothing depends on this.
            let _ = self.split_for(home.prefix);
        } else if after < before {
            self.join_if_sparse(number);
        }
        Ok(found.is_none())
    }

    /// Gives a key that is there another deadline, or none. A large value is not
    /// copied. When memory is lacking, the table holds what it held.
    pub fn set_deadline(&mut self, key: &[u8], at: Option<UnixMs>) -> Result<(), OutOfMemory> {
        let home = self.home(key);
        let number = self.number(home.prefix);
        let segment = &mut self.segments[number];
        let Some(slot) = segment.find(home.tag, key) else {
            return Ok(());
        };
        let before = segment.heap_bytes();
        let result = segment.set_deadline(slot, at);
        self.heap_bytes = self.heap_bytes - before + segment.heap_bytes();
        self.lower_bound(number);
        result
    }

    /// Removes a key; whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let home = self.home(key);
        let number = self.number(home.prefix);
        let segment = &mut self.segments[number];
        let Some(slot) = segment.find(home.tag, key) else {
            return false;
        };
        let before = segment.heap_bytes();
        segment.remove(slot);
        let after = segment.heap_bytes();
        self.heap_bytes = self.heap_bytes - before + after;
        self.len -= 1;
        self.groups[number / GROUP].len -= 1;
        self.join_if_sparse(number);
        true
    }

    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.iter_from(0)
    }

    /// What [`Table::iter`] has behind so many records.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = Record<'_>> {
        let mut left = index;
        let mut is_before = |records: usize| {
            let before = left >= records;
            left -= if before { records } else { 0 };
            before
        };
        let groups = self.groups.iter();
        let first = groups.take_while(|it| is_before(it.len)).count() * GROUP;
        let rest = self.segments.get(first..).unwrap_or_default();
        let skipped = rest.iter().take_while(|it| is_before(it.len())).count();
        let (first, others) = match rest[skipped..].split_first() {
            Some((first, others)) => (Some(first.iter_from(left)), others),
            None => (None, &rest[..0]),
        };
        let others = others.iter().flat_map(|segment| segment.iter_from(0));
        first.into_iter().flatten().chain(others)
    }

    /// Visits up to `count` records from a place on, which it moves on, until `visit`
    /// fails. Meanwhile the table must not change.
    pub fn walk<E>(
        &self,
        at: &mut Cursor,
        count: usize,
        mut visit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut left = count;
        while left > 0
            && let Some(segment) = self.segments.get(at.segment)
        {
            let (next, visited) = segment.walk(at.slot, left, &mut visit)?;
            left -= visited;
            match next {
                Some(slot) => at.slot = slot,
                None => (at.segment, at.slot) = (at.segment + 1, 0),
            }
        }
        Ok(())
    }

    /// One of the records, each with the same chance. There must be one.
    pub fn choose(&self, random: &mut Random) -> Record<'_> {
        let mut nth = below(random, self.len);
        let mut skip = |records: usize| {
            let here = nth < records;
            nth -= if here { 0 } else { records };
            here
        };
        let group = self.groups.iter().position(|group| skip(group.len));
        let first = group.expect("the groups count all records") * GROUP;
        let mut segments = self.segments[first..].iter();
        let segment = segments.find(|segment| skip(segment.len()));
        let segment = segment.expect("the group counts its segments' records");
        // At least a fifth of the slots are in use, in small segments one of eight.
        loop {
            if let Some(record) = segment.record(below(random, segment.slots())) {
                return record;
            }
        }
    }

    /// Visits the records behind `cursor`, about `budget` of them, and returns
    /// where to go on; 0 is the beginning and the end. A record that is in the
    /// table from the first call to the last is visited at least once.
    pub fn scan(&self, cursor: u64, budget: usize, visit: &mut dyn FnMut(Record<'_>)) -> u64 {
        let (mut prefix, depth) = ((cursor >> 18) as u32, (cursor >> 12 & 63) as u32);
        let mut tag = cursor as u32 & (TAGS - 1);
        let mut segment = &self.segments[self.number(prefix)];
        if segment.depth < depth {
            // It has been joined with one that was not visited yet.
            tag = 0;
        }
        let (mut spent, mut visited) = (0, 0);
        while spent < budget.saturating_mul(10).max(10) && visited < budget.max(1) {
            spent += 1;
            let next = segment.scan(tag, &mut |record| {
                visited += 1;
                visit(record);
            });
            if let Some(next) = next {
                tag = next;
                continue;
            }
            tag = 0;
            let end = u64::from(segment.prefix) + (1 << (32 - segment.depth));
            let Ok(end) = u32::try_from(end) else {
                return 0;
            };
            prefix = end;
            segment = &self.segments[self.number(prefix)];
        }
        u64::from(segment.prefix) << 18 | u64::from(segment.depth) << 12 | u64::from(tag)
    }

    /// Removes records that are due at `now`, after showing their keys to
    /// `gone`, until about `budget` were looked at; whether more may be due.
    pub fn expire(&mut self, now: UnixMs, budget: usize, gone: &mut dyn FnMut(&[u8])) -> bool {
        let (mut spent, mut number) = (0, 0);
        // Segments that become sparse are joined, so there may be fewer and fewer.
        while let Some(group) = self.groups.get(number) {
            if group.earliest > now.0 {
                number += 1;
                continue;
            }
            let start = number * GROUP;
            let mut at = start;
            while at < self.segments.len().min(start + GROUP) {
                let segment = &mut self.segments[at];
                if segment.earliest > now.0 {
                    at += 1;
                    continue;
                }
                if spent >= budget {
                    return true;
                }
                let (before, len) = (segment.heap_bytes(), segment.len());
                segment.expire(now, gone);
                self.heap_bytes = self.heap_bytes - before + segment.heap_bytes();
                self.len -= len - segment.len();
                self.groups[number].len -= len - segment.len();
                spent += 1 + len;
                // Another segment may be here now, one that was behind.
                self.join_if_sparse(at);
            }
            let end = self.segments.len().min(start + GROUP);
            if let Some(group) = self.groups.get_mut(number) {
                let bounds = self.segments[start..end].iter().map(|it| it.earliest);
                group.earliest = bounds.min().unwrap_or(NEVER);
            }
            number += 1;
        }
        let bounds = self.groups.iter().map(|group| group.earliest);
        self.earliest = bounds.min().unwrap_or(NEVER);
        // One that was passed may have been joined with one that was not reached.
        self.earliest <= now.0
    }

    /// Frees large records, about `budget` of them, and segments, which count as
    /// [`SEGMENT_COST`] each; whether there is more. The table is not used
    /// otherwise any more.
    pub fn free_some(&mut self, mut budget: usize) -> bool {
        while budget > 0 {
            let Some(segment) = self.segments.last_mut() else {
                return false;
            };
            if segment.free_some(&mut budget) {
                return true;
            }
            self.segments.pop();
            budget = budget.saturating_sub(SEGMENT_COST);
        }
        !self.segments.is_empty()
    }

    pub fn try_clone(&self) -> Result<Self, OutOfMemory> {
        let mut clone = self.begin_clone()?;
        self.clone_some(&mut clone, usize::MAX)?;
        Ok(clone)
    }

    /// A clone that is to be made with [`Table::clone_some`].
    pub fn begin_clone(&self) -> Result<Self, OutOfMemory> {
        let mut clone = Self::new(self.valued, 0)?;
        clone.hasher = self.hasher.clone();
        clone.segments.clear();
        clone.segments.try_reserve_exact(self.segments.len())?;
        clone.directory.clear();
        clone.directory.try_reserve_exact(self.directory.len())?;
        clone.directory.extend_from_slice(&self.directory);
        clone.groups.clear();
        clone.groups.try_reserve_exact(self.groups.len())?;
        clone.groups.extend_from_slice(&self.groups);
        (clone.depth, clone.at_depth) = (self.depth, self.at_depth);
        (clone.len, clone.earliest) = (self.len, self.earliest);
        Ok(clone)
    }

    /// Goes on with a clone, by about `budget` records; whether there are more. Until it
    /// is made it must not be looked at.
    pub fn clone_some(&self, clone: &mut Self, budget: usize) -> Result<bool, OutOfMemory> {
        let mut spent = 0;
        while let Some(segment) = self.segments.get(clone.segments.len()) {
            if spent >= budget {
                return Ok(true);
            }
            let twin = segment.try_clone()?;
            counted::elements(twin.len());
            spent += twin
                .len()
                .max(twin.heap_bytes() / super::COPIED_BYTES)
                .max(1);
            clone.heap_bytes += twin.heap_bytes();
            clone.segments.push(twin);
        }
        Ok(false)
    }

    #[inline]
    fn home(&self, key: &[u8]) -> Home {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        let hash = hasher.finish();
        Home {
            prefix: (hash >> 32) as u32,
            // Truncation intended: the lowest bits.
            tag: hash as u32 & (TAGS - 1),
        }
    }

    /// The segment that `prefix` belongs to.
    #[inline]
    fn number(&self, prefix: u32) -> usize {
        let place = u64::from(prefix) >> (32 - self.depth);
        self.directory[place as usize] as usize
    }

    fn lower_bound(&mut self, number: usize) {
        let at = self.segments[number].earliest;
        let group = &mut self.groups[number / GROUP];
        group.earliest = group.earliest.min(at);
        self.earliest = self.earliest.min(at);
    }

    /// Splits the segment that `prefix` belongs to, unless it is too deep; the
    /// number of the one it belongs to afterwards.
    fn split_for(&mut self, prefix: u32) -> Result<usize, OutOfMemory> {
        let number = self.number(prefix);
        let depth = self.segments[number].depth;
        if depth == DEPTH_MAX {
            return Ok(number);
        }
        self.segments.try_reserve(1)?;
        self.groups.try_reserve(1)?;
        let bit = 1 << (31 - depth);
        let hasher = &self.hasher;
        let second = |key: &[u8]| {
            let mut hasher = hasher.build_hasher();
            hasher.write(key);
            (hasher.finish() >> 32) as u32 & bit != 0
        };
        let segment = &mut self.segments[number];
        let before = segment.heap_bytes();
        let mut directory = Vec::new();
        if depth == self.depth {
            directory = twice(&self.directory)?;
        }
        let (one, other) = segment.split(second)?;
        if !directory.is_empty() {
            self.directory = directory;
            self.depth += 1;
        }
        *segment = one;
        self.heap_bytes = self.heap_bytes - before + segment.heap_bytes() + other.heap_bytes();
        self.at_depth[depth as usize] -= 1;
        self.at_depth[depth as usize + 1] += 2;
        self.groups[number / GROUP].len -= other.len();
        self.add_segment(other);
        self.lower_bound(number);
        Ok(self.number(prefix))
    }

    /// Appends a segment, for which there is room, and has the directory name it.
    fn add_segment(&mut self, segment: Segment) {
        let number = self.segments.len();
        if number.is_multiple_of(GROUP) {
            self.groups.push(EMPTY_GROUP);
        }
        self.groups[number / GROUP].len += segment.len();
        self.segments.push(segment);
        self.lower_bound(number);
        self.name(number);
    }

    /// Has the directory name the segment `number` where its prefix belongs.
    fn name(&mut self, number: usize) {
        let segment = &self.segments[number];
        let first = (u64::from(segment.prefix) >> (32 - self.depth)) as usize;
        let places = 1 << (self.depth - segment.depth);
        // Lossless: fewer segments than directory words, at most 2^28.
        self.directory[first..first + places].fill(number as u32);
    }

    /// Joins a sparse segment with the one that was split from it, if that is
    /// small, too, and what becomes of them likewise. Only segments behind it may get
    /// other numbers.
    fn join_if_sparse(&mut self, number: usize) {
        let mut number = number;
        while let Some(joined) = self.join(number) {
            number = joined;
        }
    }

    /// One such step; the number of what has become of both.
    fn join(&mut self, number: usize) -> Option<usize> {
        let small = |segment: &Segment, part: usize| {
            segment.len() < RECORDS_MAX / part && segment.live_bytes() < BYTES_MAX / part
        };
        let segment = &self.segments[number];
        let depth = segment.depth;
        if depth == 0 || !small(segment, SPARSE) {
            return None;
        }
        let other = self.number(segment.prefix ^ 1 << (32 - depth));
        if self.segments[other].depth != depth || !small(&self.segments[other], SPARSE / 2) {
            return None;
        }
        let (kept, gone) = (number.min(other), number.max(other));
        let mut absorbed = self.take_segment(gone);
        let (len, heap) = (absorbed.len(), absorbed.heap_bytes());
        let segment = &mut self.segments[kept];
        let before = segment.heap_bytes() + heap;
        match segment.absorb(&mut absorbed) {
            Ok(()) => {
                segment.prefix &= !(1 << (32 - depth));
                segment.depth -= 1;
                self.heap_bytes = self.heap_bytes - before + segment.heap_bytes();
                self.at_depth[depth as usize] -= 2;
                self.at_depth[depth as usize - 1] += 1;
                self.groups[kept / GROUP].len += len;
                self.lower_bound(kept);
                self.name(kept);
                self.halve_directory();
                Some(kept)
            }
            Err(_) => {
                self.add_segment(absorbed);
                None
            }
        }
    }

    /// Takes a segment out; the last one gets its number.
    fn take_segment(&mut self, number: usize) -> Segment {
        let last = self.segments.len() - 1;
        let moved = self.segments[last].len();
        let taken = self.segments.swap_remove(number);
        self.groups[last / GROUP].len -= moved;
        if number != last {
            let group = &mut self.groups[number / GROUP];
            group.len = group.len + moved - taken.len();
            self.lower_bound(number);
            self.name(number);
        }
        if last.is_multiple_of(GROUP) {
            self.groups.pop();
        }
        if self.segments.len() * 4 < self.segments.capacity() {
            self.segments.shrink_to(self.segments.len() * 2);
            self.groups.shrink_to(self.groups.len() * 2);
        }
        taken
    }

    fn halve_directory(&mut self) {
        while self.depth > 0 && self.at_depth[self.depth as usize] == 0 {
            for place in 0..self.directory.len() / 2 {
                self.directory[place] = self.directory[2 * place];
            }
            self.directory.truncate(self.directory.len() / 2);
            self.directory.shrink_to_fit();
            self.depth -= 1;
        }
    }

    /// Panics if the structure contradicts itself.
    #[cfg(test)]
    pub fn check(&self) {
        assert_eq!(self.directory.len(), 1 << self.depth);
        let mut at_depth = [0; DEPTH_MAX as usize + 1];
        for (number, segment) in self.segments.iter().enumerate() {
            at_depth[segment.depth as usize] += 1;
            let shift = 32 - segment.depth;
            segment.check(|tag, key| {
                let home = self.home(key);
                let apart = u64::from(home.prefix ^ segment.prefix) >> shift;
                home.tag == tag && apart == 0 && self.number(home.prefix) == number
            });
            assert!(self.groups[number / GROUP].earliest <= segment.earliest);
        }
        assert_eq!(at_depth, self.at_depth);
        assert!(self.depth == 0 || at_depth[self.depth as usize] > 0);
        let names = |number| self.directory.iter().filter(|it| **it == number).count();
        assert!((0..self.segments.len() as u32).all(|number| names(number) > 0));
        assert_eq!(self.groups.len(), self.segments.len().div_ceil(GROUP));
        for (group, segments) in self.groups.iter().zip(self.segments.chunks(GROUP)) {
            let len = segments.iter().map(Segment::len).sum::<usize>();
            assert_eq!(group.len, len);
            assert!(self.earliest <= group.earliest);
        }
        assert_eq!(self.len, self.iter().count());
        let heap = self.segments.iter().map(Segment::heap_bytes).sum::<usize>();
        assert_eq!(heap, self.heap_bytes);
    }
}

/// A directory for one more bit.
fn twice(directory: &[u32]) -> Result<Vec<u32>, OutOfMemory> {
    let mut double = Vec::new();
    double.try_reserve_exact(directory.len() * 2)?;
    double.extend(directory.iter().flat_map(|number| [*number; 2]));
    Ok(double)
}

/// A number below `end`, which is not 0; all have the same chance.
pub fn below(random: &mut Random, end: usize) -> usize {
    ((u128::from(random.next()) * end as u128) >> 64) as usize
}

#[cfg(test)]
mod tests;
