//! A bounded piece of a [`Table`](super::Table): records in one piece of
//! memory, and a small open-addressing index of them.
//!
//! ```text
//! index   │ offset:20 tag:12 │ empty │ offset tag │ …    u32 each, at most 4/5 full
//! bytes   │ record │ dead record │ record │ …
//! record  key_len<<2|deadline<<1|outside  (value_len)  (deadline: 8)  key  (value)
//!         with `outside`: the number of a buffer in `large` (4) instead of key and value
//! ```
//!
//! Lengths are varints; `value_len` is there in a table with values. A key with
//! its value above [`INLINE_MAX`] lies in a buffer of its own, so that moving
//! records stays cheap.
//!
//! The home of a record in the index is `tag * slots >> 12`: monotonic in the
//! tag, for any number of slots. So the index grows by a quarter rather than
//! twofold, growing reads no record, and a SCAN by tags needs to know nothing
//! of the index's size. Removal closes the gap in the index; the record's bytes
//! are dead until a quarter of them is, then the live ones move together.

mod index;
mod memory;

use crate::counted;
use crate::error::OutOfMemory;
use crate::types::UnixMs;
use crate::value::is_same;
use index::{home, next, offset_of, tag_of};
use memory::capacity_for;

const TAG_BITS: u32 = 12;
/// Tags are below this.
pub const TAGS: u32 = 1 << TAG_BITS;
/// Marks an unused slot: no record begins that far.
const EMPTY: u32 = u32::MAX;
/// Key and value together lie among the others up to this length (bytes).
const INLINE_MAX: usize = 1024;
/// Live bytes and records above which a segment is to be split. Moving so many
/// takes some 0.1 ms.
pub const BYTES_MAX: usize = 48 * 1024;
pub const RECORDS_MAX: usize = 2600;
/// Bytes of two varints, a deadline and the number of a buffer, at most.
const HEAD_MAX: usize = 32;
/// The bound of what has no deadline.
pub const NEVER: i64 = i64::MAX;

/// What a table keeps of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub key: &'a [u8],
    /// Empty in a table without values.
    pub value: &'a [u8],
    pub expire_at: Option<UnixMs>,
}

/// See above.
#[derive(Debug)]
pub struct Segment {
    bytes: Vec<u8>,
    index: Vec<u32>,
    large: Vec<Vec<u8>>,
    large_bytes: usize,
    /// Unused buffers in `large`.
    large_free: usize,
    len: usize,
    /// Bytes of removed records.
    dead: usize,
    /// A lower bound of the deadlines here, ms.
    pub earliest: i64,
    /// The first hash (its upper half) that belongs here, and how many of its
    /// leading bits decide that.
    pub prefix: u32,
    pub depth: u32,
    valued: bool,
}

/// A record's head, decoded.
struct Head {
    key_len: usize,
    value_len: usize,
    expire_at: Option<UnixMs>,
    outside: bool,
    /// Where key and value (or the buffer's number) begin, and where they end.
    body: usize,
    end: usize,
}

impl Segment {
    pub fn new(valued: bool, prefix: u32, depth: u32) -> Self {
        Self {
            bytes: Vec::new(),
            index: Vec::new(),
            large: Vec::new(),
            large_bytes: 0,
            large_free: 0,
            len: 0,
            dead: 0,
            earliest: NEVER,
            prefix,
            depth,
            valued,
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of live records, buffers aside.
    pub fn live_bytes(&self) -> usize {
        self.bytes.len() - self.dead
    }

    pub fn is_full(&self) -> bool {
        self.len >= RECORDS_MAX || self.live_bytes() >= BYTES_MAX
    }

    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.index.capacity() * size_of::<u32>()
            + self.large.capacity() * size_of::<Vec<u8>>()
            + self.large_bytes
    }

    /// The slot of `key`'s word.
    #[inline]
    pub fn find(&self, tag: u32, key: &[u8]) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        let mut slot = home(tag, self.index.len());
        loop {
            counted::line();
            let word = self.index[slot];
            if word == EMPTY {
                return None;
            }
            if tag_of(word) == tag && is_same(self.key_at(offset_of(word)), key) {
                return Some(slot);
            }
            slot = next(slot, self.index.len());
        }
    }

    /// Reads the word where a search for `tag` begins.
    #[inline]
    pub fn touch_index(&self, tag: u32) -> u32 {
        let slot = home(tag, self.index.len());
        self.index.get(slot).copied().unwrap_or(EMPTY)
    }

    /// Reads the beginning of the first record with `tag`.
    #[inline]
    pub fn touch_record(&self, tag: u32) -> u8 {
        if self.len == 0 {
            return 0;
        }
        let mut slot = home(tag, self.index.len());
        while self.index[slot] != EMPTY {
            if tag_of(self.index[slot]) == tag {
                return self.bytes[offset_of(self.index[slot])];
            }
            slot = next(slot, self.index.len());
        }
        0
    }

    /// The record whose word is at `slot`; nothing if the slot is empty.
    #[inline]
    pub fn record(&self, slot: usize) -> Option<Record<'_>> {
        let word = self
            .index
            .get(slot)
            .copied()
            .filter(|word| *word != EMPTY)?;
        Some(self.record_at(offset_of(word)))
    }

    pub fn slots(&self) -> usize {
        self.index.len()
    }

    /// Every record behind so many.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = Record<'_>> {
        let words = self.index.iter().filter(|word| **word != EMPTY);
        words
            .skip(index)
            .map(|word| self.record_at(offset_of(*word)))
    }

    /// Visits up to `count` records in slots from `slot` on, until `visit` fails. Where to
    /// go on, unless that is all, and how many it were.
    pub fn walk<E>(
        &self,
        slot: usize,
        count: usize,
        visit: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(Option<usize>, usize), E> {
        let mut visited = 0;
        for (at, word) in self.index.iter().enumerate().skip(slot) {
            if *word == EMPTY {
                continue;
            }
            if visited == count {
                return Ok((Some(at), visited));
            }
            visit(self.record_at(offset_of(*word)))?;
            visited += 1;
        }
        Ok((None, visited))
    }

    /// Visits the records with tags from `tag` on that share its home; the
    /// first tag of the next home, if there is one.
    pub fn scan(&self, tag: u32, visit: &mut dyn FnMut(Record<'_>)) -> Option<u32> {
        let slots = self.index.len();
        if slots == 0 {
            return None;
        }
        let place = home(tag, slots);
        let mut slot = place;
        while self.index[slot] != EMPTY {
            let word = self.index[slot];
            if tag_of(word) >= tag && home(tag_of(word), slots) == place {
                visit(self.record_at(offset_of(word)));
            }
            slot = next(slot, slots);
        }
        // The smallest tag whose home is the next place. With more slots than
        // tags some places are no tag's home.
        let first = ((place + 1) << TAG_BITS).div_ceil(slots);
        u32::try_from(first).ok().filter(|first| *first < TAGS)
    }

    /// Adds a record for a key that is not here.
    pub fn insert(&mut self, tag: u32, record: &Record<'_>) -> Result<(), OutOfMemory> {
        self.reserve_slot()?;
        let offset = self.append(record)?;
        self.place((offset as u32) << TAG_BITS | tag);
        self.len += 1;
        Ok(())
    }

    /// Gives the record at `slot` another value or deadline. When memory is
    /// lacking it is as it was.
    pub fn replace(&mut self, slot: usize, record: &Record<'_>) -> Result<(), OutOfMemory> {
        let old = self.head(offset_of(self.index[slot]));
        let alike = !old.outside
            && old.value_len == record.value.len()
            && old.expire_at.is_some() == record.expire_at.is_some();
        if alike {
            if let Some(at) = record.expire_at {
                self.bytes[old.body - 8..old.body].copy_from_slice(&at.0.to_le_bytes());
                self.earliest = self.earliest.min(at.0);
            }
            let value_at = old.body + old.key_len;
            self.bytes[value_at..old.end].copy_from_slice(record.value);
            return Ok(());
        }
        // May move all records, but no word: only the words' offsets change.
        let offset = self.append(record)?;
        let word = self.index[slot];
        self.bury(offset_of(word));
        self.index[slot] = (offset as u32) << TAG_BITS | tag_of(word);
        self.shrink();
        Ok(())
    }

    /// Gives the record at `slot` another deadline, or none. A large one is not
    /// copied. When memory is lacking it is as it was.
    pub fn set_deadline(&mut self, slot: usize, at: Option<UnixMs>) -> Result<(), OutOfMemory> {
        let from = offset_of(self.index[slot]);
        let old = self.head(from);
        if old.expire_at.is_none() && at.is_none() {
            return Ok(());
        }
        if let (Some(_), Some(at)) = (old.expire_at, at) {
            self.bytes[old.body - 8..old.body].copy_from_slice(&at.0.to_le_bytes());
            self.earliest = self.earliest.min(at.0);
            return Ok(());
        }
        let body_len = old.end - old.body;
        let (mut head, mut len) = ([0; HEAD_MAX], 0);
        self.push_head(
            &mut head,
            &mut len,
            &Head {
                expire_at: at,
                ..old
            },
        );
        // May move all records.
        self.reserve_bytes(len + body_len)?;
        let word = self.index[slot];
        let (from, offset) = (offset_of(word), self.bytes.len());
        let old = self.head(from);
        self.bytes.extend_from_slice(&head[..len]);
        self.bytes.extend_from_within(old.body..old.end);
        self.dead += old.end - from;
        self.index[slot] = (offset as u32) << TAG_BITS | tag_of(word);
        self.earliest = at.map_or(self.earliest, |at| self.earliest.min(at.0));
        self.shrink();
        Ok(())
    }

    /// Removes the record at `slot`.
    pub fn remove(&mut self, slot: usize) {
        self.bury(offset_of(self.index[slot]));
        self.unplace(slot);
        self.len -= 1;
        self.shrink();
    }

    /// Removes what is due at `now`, after showing each key to `gone`. Raises
    /// the bound of deadlines.
    pub fn expire(&mut self, now: UnixMs, gone: &mut dyn FnMut(&[u8])) {
        let mut slot = 0;
        let mut earliest = NEVER;
        while slot < self.index.len() {
            match self.record(slot) {
                Some(record) if record.expire_at.is_some_and(|at| at <= now) => {
                    gone(record.key);
                    self.bury(offset_of(self.index[slot]));
                    // Something else may lie here now: look again.
                    self.unplace(slot);
                    self.len -= 1;
                }
                Some(record) => {
                    earliest = earliest.min(record.expire_at.map_or(NEVER, |at| at.0));
                    slot += 1;
                }
                None => slot += 1,
            }
        }
        self.earliest = earliest;
        self.shrink();
    }

    /// Moves everything from `other` here; both are small. When memory is
    /// lacking, nothing has happened.
    pub fn absorb(&mut self, other: &mut Self) -> Result<(), OutOfMemory> {
        self.bytes.try_reserve(other.live_bytes())?;
        self.large.try_reserve(other.large.len())?;
        self.reserve_slots(self.len + other.len)?;
        let words = std::mem::take(&mut other.index);
        for word in words.into_iter().filter(|word| *word != EMPTY) {
            self.adopt(other, word);
        }
        self.earliest = self.earliest.min(other.earliest);
        Ok(())
    }

    /// Moves each record to one of two segments: to the second if `second` says
    /// so of its key. When memory is lacking, nothing has happened.
    pub fn split(
        &mut self,
        second: impl Fn(&[u8]) -> bool,
    ) -> Result<(Segment, Segment), OutOfMemory> {
        let depth = self.depth + 1;
        let mut parts = [
            Segment::new(self.valued, self.prefix, depth),
            Segment::new(self.valued, self.prefix | 1 << (32 - depth), depth),
        ];
        let mut sizes = [(0, 0, 0); 2];
        let mut sides = Vec::new();
        sides.try_reserve_exact(self.len)?;
        for word in self.index.iter().filter(|word| **word != EMPTY) {
            let head = self.head(offset_of(*word));
            let side = second(self.key_at(offset_of(*word)));
            let size = &mut sizes[usize::from(side)];
            size.0 += 1;
            size.1 += head.end - offset_of(*word);
            size.2 += usize::from(head.outside);
            sides.push(side);
        }
        for (part, (records, bytes, large)) in parts.iter_mut().zip(sizes) {
            part.bytes.try_reserve_exact(capacity_for(bytes))?;
            part.large.try_reserve(large)?;
            part.reserve_slots(records)?;
        }
        let words = std::mem::take(&mut self.index);
        let used = words.into_iter().filter(|word| *word != EMPTY);
        for (word, side) in used.zip(sides) {
            parts[usize::from(side)].adopt(self, word);
        }
        for part in &mut parts {
            part.earliest = if part.len == 0 { NEVER } else { self.earliest };
        }
        let [first, second] = parts;
        Ok((first, second))
    }

    pub fn try_clone(&self) -> Result<Self, OutOfMemory> {
        let mut clone = Self::new(self.valued, self.prefix, self.depth);
        clone.bytes.try_reserve_exact(self.bytes.capacity())?;
        clone.bytes.extend_from_slice(&self.bytes);
        clone.index.try_reserve_exact(self.index.len())?;
        clone.index.extend_from_slice(&self.index);
        clone.large.try_reserve_exact(self.large.len())?;
        for buffer in &self.large {
            clone.large.push(super::super::copy(buffer)?);
        }
        clone.large_bytes = clone.large.iter().map(Vec::capacity).sum();
        clone.large_free = self.large_free;
        (clone.len, clone.dead, clone.earliest) = (self.len, self.dead, self.earliest);
        Ok(clone)
    }

    /// Frees up to `budget` buffers and takes them off it; whether there are
    /// more.
    pub fn free_some(&mut self, budget: &mut usize) -> bool {
        let freed = self.large.len().min(*budget);
        self.large.truncate(self.large.len() - freed);
        *budget -= freed;
        !self.large.is_empty()
    }

    /// Takes over a record of `other`, for which there is room.
    fn adopt(&mut self, other: &mut Self, word: u32) {
        let from = offset_of(word);
        let head = other.head(from);
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes[from..head.end]);
        if head.outside {
            let number = other.number_at(head.body);
            let buffer = std::mem::take(&mut other.large[number]);
            let number = self.large.len() as u32;
            self.large_bytes += buffer.capacity();
            self.large.push(buffer);
            let end = self.bytes.len();
            self.bytes[end - 4..].copy_from_slice(&number.to_le_bytes());
        }
        self.place((offset as u32) << TAG_BITS | tag_of(word));
        self.len += 1;
    }

    fn key_at(&self, offset: usize) -> &[u8] {
        // The common case without decoding all of the head.
        let byte = self.bytes[offset];
        if !self.valued && byte & 0x83 == 0 {
            let start = offset + 1;
            return &self.bytes[start..start + usize::from(byte >> 2)];
        }
        self.record_at(offset).key
    }

    fn record_at(&self, offset: usize) -> Record<'_> {
        counted::elements(1);
        let head = self.head(offset);
        let body = if head.outside {
            &self.large[self.number_at(head.body)]
        } else {
            &self.bytes[head.body..head.end]
        };
        let (key, value) = body.split_at(head.key_len);
        Record {
            key,
            value,
            expire_at: head.expire_at,
        }
    }

    #[inline]
    fn head(&self, offset: usize) -> Head {
        let mut at = offset;
        let first = self.varint(&mut at);
        let value_len = if self.valued { self.varint(&mut at) } else { 0 };
        let expire_at = (first & 2 != 0).then(|| {
            let bytes = self.bytes[at..at + 8].try_into();
            at += 8;
            UnixMs(i64::from_le_bytes(bytes.expect("it is 8 bytes long")))
        });
        let (key_len, outside) = (first >> 2, first & 1 != 0);
        let body_len = if outside { 4 } else { key_len + value_len };
        Head {
            key_len,
            value_len,
            expire_at,
            outside,
            body: at,
            end: at + body_len,
        }
    }

    #[inline]
    fn varint(&self, at: &mut usize) -> usize {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.bytes[*at];
            *at += 1;
            value |= usize::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return value;
            }
            shift += 7;
        }
    }

    fn number_at(&self, at: usize) -> usize {
        let bytes = self.bytes[at..at + 4].try_into();
        u32::from_le_bytes(bytes.expect("it is 4 bytes long")) as usize
    }

    /// Writes a record behind the others; where it begins.
    fn append(&mut self, record: &Record<'_>) -> Result<usize, OutOfMemory> {
        let body_len = record.key.len() + record.value.len();
        let outside = body_len > INLINE_MAX;
        let (mut head, mut len) = ([0; HEAD_MAX], 0);
        self.push_head(
            &mut head,
            &mut len,
            &Head {
                key_len: record.key.len(),
                value_len: record.value.len(),
                expire_at: record.expire_at,
                outside,
                body: 0,
                end: 0,
            },
        );
        self.reserve_bytes(len + if outside { 4 } else { body_len })?;
        if outside {
            let number = self.keep_large(record)?;
            head[len..len + 4].copy_from_slice(&number.to_le_bytes());
            len += 4;
        }
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(&head[..len]);
        if !outside {
            self.bytes.extend_from_slice(record.key);
            self.bytes.extend_from_slice(record.value);
        }
        if let Some(at) = record.expire_at {
            self.earliest = self.earliest.min(at.0);
        }
        Ok(offset)
    }

    /// Writes what precedes key and value.
    #[inline]
    fn push_head(&self, to: &mut [u8; HEAD_MAX], len: &mut usize, head: &Head) {
        let flags = usize::from(head.expire_at.is_some()) << 1 | usize::from(head.outside);
        push_varint(to, len, head.key_len << 2 | flags);
        if self.valued {
            push_varint(to, len, head.value_len);
        }
        if let Some(at) = head.expire_at {
            to[*len..*len + 8].copy_from_slice(&at.0.to_le_bytes());
            *len += 8;
        }
    }

    /// Panics if the structure contradicts itself. `fits` says whether a key
    /// with this tag belongs here.
    #[cfg(test)]
    pub fn check(&self, fits: impl Fn(u32, &[u8]) -> bool) {
        let (mut len, mut live, mut large) = (0, 0, 0);
        for word in self.index.iter().filter(|word| **word != EMPTY) {
            let head = self.head(offset_of(*word));
            let record = self.record_at(offset_of(*word));
            assert!(fits(tag_of(*word), record.key));
            let slot = self.find(tag_of(*word), record.key).expect("it is found");
            assert_eq!(self.index[slot], *word, "no key is here twice");
            assert!(record.expire_at.is_none_or(|at| self.earliest <= at.0));
            len += 1;
            live += head.end - offset_of(*word);
            large += usize::from(head.outside);
        }
        assert_eq!((len, live), (self.len, self.live_bytes()));
        assert_eq!(large + self.large_free, self.large.len());
        let capacities = self.large.iter().map(Vec::capacity);
        assert_eq!(capacities.sum::<usize>(), self.large_bytes);
        assert!(self.len * 5 <= self.index.len() * 4);
    }
}

fn push_varint(head: &mut [u8; HEAD_MAX], len: &mut usize, mut value: usize) {
    while value >= 0x80 {
        head[*len] = value as u8 | 0x80;
        *len += 1;
        value >>= 7;
    }
    head[*len] = value as u8;
    *len += 1;
}
