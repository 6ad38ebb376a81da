//! Entries of a stream in one piece of memory.
//!
//! ```text
//! bytes: ┌───────┬──────┬─────┬──────┬───────┬───────┬───┐
//!        │ count │ name │ … × │ gone │ entry │ entry │ … │     count names, shared by
//!        └───────┴──────┴─────┴──────┴───────┴───────┴───┘     entries with these fields
//!                                    ▲ start
//! entry: ┌───────┬────┬─────┬──────────────────────────────────────┬────────┐
//!        │ flags │ ms │ seq │ value × count, or                    │ length │
//!        │       │    │     │ fields, then (name, value) × fields  │        │
//!        └───────┴────┴─────┴──────────────────────────────────────┴────────┘
//! ```
//!
//! All numbers are of as few bytes as they need (`varint`); names and values have
//! their length before them. `ms` counts from the first id that was put here, and so does
//! `seq` within the same millisecond. `length` is that of the entry before it, to be read
//! from its end: so a walk towards the front needs not look at values.
//!
//! A deleted entry is marked; those at the front are passed over by `start`. When a part
//! of the bytes is dead, what lives is moved together.
//!
//! Invariants: at least one entry lives, and that at `start` does; `first` ≤ all ids ≤
//! `last`; `count` counts all that were ever put here, `live` those that live. A node
//! of more than `BYTES_MAX` bytes has one entry.

use super::ordered::Keyed;
use super::{StreamId, varint};
use crate::counted;
use crate::error::OutOfMemory;
use crate::types::Thresholds;
use crate::value::is_same;

/// A node's bytes, whatever the configuration says, if it has more than one entry.
const BYTES_MAX: usize = 64 << 10;
/// And its entries.
const ENTRIES_MAX: usize = 4096;

/// Longer names are not shared.
const NAMES_MAX: usize = 1024;

/// When so many-th of the bytes are dead, what lives is moved together.
const DEAD_PART: usize = 4;

/// Nodes that have at most so much together become one.
const JOINED_BYTES: usize = 1024;
const JOINED_ENTRIES: u16 = 50;

/// Flags of an entry.
const DELETED: u8 = 1;
const SHARES_NAMES: u8 = 2;

/// Up to where a node is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    bytes: usize,
    entries: usize,
}

impl NodeLimits {
    /// 0 means no limit but that of the work that one step may be.
    pub fn new(bytes: usize, entries: usize) -> Self {
        let limit = |wanted: usize, most: usize| match wanted {
            0 => most,
            wanted => wanted.min(most),
        };
        Self {
            bytes: limit(bytes, BYTES_MAX),
            entries: limit(entries, ENTRIES_MAX),
        }
    }

    /// The room for what will become about so many bytes.
    #[inline]
    pub fn room(self, bytes: usize) -> usize {
        bytes.min(self.bytes)
    }

    /// Those that are configured.
    #[inline]
    pub fn of(thresholds: &Thresholds) -> Self {
        Self::new(
            thresholds.stream_node_max_bytes,
            thresholds.stream_node_max_entries,
        )
    }
}

/// What an entry is made of: its fields and values, in order.
pub trait Pairs<'a>: ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone {}

impl<'a, I: ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone> Pairs<'a> for I {}

/// Words that are fields and values in turn, as [`Pairs`]. There is an even number of
/// them.
#[inline]
pub fn pairs<'a>(words: impl ExactSizeIterator<Item = &'a [u8]> + Clone) -> impl Pairs<'a> {
    Paired(words)
}

#[derive(Clone)]
struct Paired<I>(I);

impl<'a, I: ExactSizeIterator<Item = &'a [u8]>> Iterator for Paired<I> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.0.len() / 2;
        (len, Some(len))
    }
}

impl<'a, I: ExactSizeIterator<Item = &'a [u8]>> ExactSizeIterator for Paired<I> {}

/// See the module.
#[derive(Debug)]
pub struct Node {
    first: StreamId,
    last: StreamId,
    bytes: Vec<u8>,
    start: u32,
    /// Bytes of entries that do not live.
    dead: u32,
    count: u16,
    live: u16,
}

impl Keyed for Node {
    #[inline]
    fn key(&self) -> StreamId {
        self.first
    }
}

/// How an entry is to be written.
#[derive(Clone, Copy)]
struct Plan {
    flags: u8,
    ms: u64,
    seq: u64,
    /// Bytes without the length behind them.
    len: usize,
}

impl Plan {
    fn bytes(&self) -> usize {
        self.len.saturating_add(varint::len(self.len as u64))
    }
}

#[inline]
fn text_len(text: &[u8]) -> usize {
    varint::len(text.len() as u64) + text.len()
}

#[inline]
fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    varint::put(bytes, text.len() as u64);
    bytes.extend_from_slice(text);
}

#[inline]
fn take_text<'a>(bytes: &'a [u8], at: &mut usize) -> &'a [u8] {
    // Lossless: the length of something in memory.
    let len = varint::take(bytes, at) as usize;
    let text = &bytes[*at..*at + len];
    *at += len;
    text
}

/// The beginning of an entry.
struct Head {
    flags: u8,
    id: StreamId,
    /// Where the rest begins.
    body: usize,
}

impl Node {
    /// A node with one entry, with room for about so many bytes.
    pub fn new<'e>(id: StreamId, fields: impl Pairs<'e>, room: usize) -> Result<Self, OutOfMemory> {
        let names = fields.clone().map(|(name, _)| text_len(name));
        let names = names.fold(0usize, usize::saturating_add);
        let shared = if names <= NAMES_MAX { fields.len() } else { 0 };
        let mut node = Self {
            first: id,
            last: id,
            bytes: Vec::new(),
            start: 0,
            dead: 0,
            count: 0,
            live: 0,
        };
        let header = varint::len(shared as u64) + if shared > 0 { names } else { 0 };
        node.bytes.try_reserve_exact(header)?;
        varint::put(&mut node.bytes, shared as u64);
        for (name, _) in fields.clone().take(shared) {
            put_text(&mut node.bytes, name);
        }
        // Lossless: NAMES_MAX and a number.
        #[allow(clippy::cast_possible_truncation)]
        let start = header as u32;
        node.start = start;
        let plan = node.plan(id, fields.clone());
        let needed = header.saturating_add(plan.bytes());
        node.bytes
            .try_reserve_exact(needed.max(room.min(BYTES_MAX)) - header)?;
        node.write(id, fields, plan);
        Ok(node)
    }

    /// Takes all of it, to be put back in its place.
    pub fn take(&mut self) -> Self {
        Self {
            bytes: std::mem::take(&mut self.bytes),
            ..*self
        }
    }

    /// Bytes on the heap.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Bytes in use.
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Entries that live.
    #[inline]
    pub fn live(&self) -> usize {
        usize::from(self.live)
    }

    /// The first id that was put here.
    #[inline]
    pub fn first(&self) -> StreamId {
        self.first
    }

    /// The names that entries may share.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone + '_ {
        let (bytes, mut at) = (&self.bytes[..], 0);
        // Lossless: the number of things in memory.
        let count = varint::take(bytes, &mut at) as usize;
        (0..count).map(move |_| take_text(bytes, &mut at))
    }

    /// The last id that was put here.
    #[inline]
    pub fn last(&self) -> StreamId {
        self.last
    }

    #[inline]
    pub fn start(&self) -> usize {
        self.start as usize
    }

    /// How an entry would be written behind the others.
    #[inline]
    fn plan<'e>(&self, id: StreamId, fields: impl Pairs<'e>) -> Plan {
        let ms = id.ms - self.first.ms;
        let seq = if ms == 0 {
            id.seq - self.first.seq
        } else {
            id.seq
        };
        let head = 1 + varint::len(ms) + varint::len(seq);
        let (flags, body) = match self.shared_len(fields.clone()) {
            Some(len) => (SHARES_NAMES, len),
            None => (0, own_len(fields)),
        };
        Plan {
            flags,
            ms,
            seq,
            len: head.saturating_add(body),
        }
    }

    /// Bytes of the values if the names are those of the node.
    #[inline]
    fn shared_len<'e>(&self, fields: impl Pairs<'e>) -> Option<usize> {
        let mut at = 0;
        let count = varint::take(&self.bytes, &mut at);
        if count == 0 || fields.len() as u64 != count {
            return None;
        }
        let mut len = 0usize;
        for (name, value) in fields {
            if !is_same(take_text(&self.bytes, &mut at), name) {
                return None;
            }
            len = len.saturating_add(text_len(value));
        }
        Some(len)
    }

    /// Adds an entry whose id is greater than all; whether it fits.
    ///
    /// # Errors
    /// There is no memory for it; nothing has changed.
    #[inline]
    pub fn push<'e>(
        &mut self,
        id: StreamId,
        fields: impl Pairs<'e>,
        limits: NodeLimits,
    ) -> Result<bool, OutOfMemory> {
        if usize::from(self.count) >= limits.entries {
            return Ok(false);
        }
        let plan = self.plan(id, fields.clone());
        let needed = self.bytes.len().saturating_add(plan.bytes());
        if needed > limits.bytes {
            return Ok(false);
        }
        let room = self.bytes.capacity();
        if needed > room {
            let wanted = needed.max((room + room / 2).min(limits.bytes));
            self.bytes.try_reserve_exact(wanted - self.bytes.len())?;
        }
        self.write(id, fields, plan);
        Ok(true)
    }

    /// Writes an entry for which there is room.
    #[inline]
    fn write<'e>(&mut self, id: StreamId, fields: impl Pairs<'e>, plan: Plan) {
        let bytes = &mut self.bytes;
        let start = bytes.len();
        bytes.push(plan.flags);
        varint::put(bytes, plan.ms);
        varint::put(bytes, plan.seq);
        if plan.flags & SHARES_NAMES != 0 {
            for (_, value) in fields {
                put_text(bytes, value);
            }
        } else {
            varint::put(bytes, fields.len() as u64);
            for (name, value) in fields {
                put_text(bytes, name);
                put_text(bytes, value);
            }
        }
        debug_assert_eq!(bytes.len() - start, plan.len);
        varint::put_back(bytes, plan.len as u64);
        self.last = id;
        self.count += 1;
        self.live += 1;
    }

    /// Gives back the room that it will not need as nothing is added any more.
    pub fn seal(&mut self) {
        self.bytes.shrink_to_fit();
    }

    #[inline]
    fn head(&self, at: usize) -> Head {
        let flags = self.bytes[at];
        let mut body = at + 1;
        let ms = varint::take(&self.bytes, &mut body);
        let seq = varint::take(&self.bytes, &mut body);
        let id = StreamId {
            ms: self.first.ms + ms,
            seq: if ms == 0 { self.first.seq + seq } else { seq },
        };
        Head { flags, id, body }
    }

    #[inline]
    fn fields(&self, head: &Head) -> Fields<'_> {
        let mut names = 0;
        let shared = varint::take(&self.bytes, &mut names);
        let mut body = head.body;
        let shares = head.flags & SHARES_NAMES != 0;
        let left = if shares {
            shared
        } else {
            varint::take(&self.bytes, &mut body)
        };
        Fields {
            names: shares.then(|| &self.bytes[names..]),
            rest: &self.bytes[body..],
            // Lossless: the number of things in memory.
            left: left as usize,
        }
    }

    /// The first entry that lives. However many fields it has, they are not looked at.
    pub fn first_entry(&self) -> Entry<'_> {
        let head = self.head(self.start());
        let fields = self.fields(&head);
        Entry {
            id: head.id,
            fields,
        }
    }

    /// The next entry that lives, at `at` or behind, which moves behind it.
    #[inline]
    pub fn next_live(&self, at: &mut usize) -> Option<Entry<'_>> {
        while *at < self.bytes.len() {
            let head = self.head(*at);
            let fields = self.fields(&head);
            let end = self.bytes.len() - fields.rest_behind().len();
            let len = (end - *at) as u64;
            *at = end + varint::len(len);
            if head.flags & DELETED == 0 {
                let id = head.id;
                return Some(Entry { id, fields });
            }
        }
        None
    }

    /// Where the entry begins that ends at `end`.
    #[inline]
    fn start_of(&self, mut end: usize) -> usize {
        // Lossless: the length of something in memory.
        let len = varint::take_back(&self.bytes, &mut end) as usize;
        end - len
    }

    /// The last entry that lives before `end`, which moves to its beginning.
    #[inline]
    pub fn prev_live(&self, end: &mut usize) -> Option<Entry<'_>> {
        while *end > self.start() {
            *end = self.start_of(*end);
            let head = self.head(*end);
            if head.flags & DELETED == 0 {
                let fields = self.fields(&head);
                return Some(Entry {
                    id: head.id,
                    fields,
                });
            }
        }
        None
    }

    /// Where the entries begin whose ids are not less than this.
    #[inline]
    pub fn seek(&self, id: StreamId) -> usize {
        if id <= self.first {
            return self.start();
        }
        let mut end = self.bytes.len();
        while end > self.start() {
            counted::elements(1);
            let at = self.start_of(end);
            if self.head(at).id < id {
                return end;
            }
            end = at;
        }
        end
    }

    /// How many entries live from one id to another.
    pub fn count(&self, from: StreamId, to: StreamId) -> usize {
        let mut at = self.seek(from);
        std::iter::from_fn(|| self.next_live(&mut at))
            .take_while(|entry| entry.id <= to)
            .count()
    }

    /// The entry with this id, if it lives.
    #[inline]
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        let at = self.seek(id);
        if at == self.bytes.len() {
            return None;
        }
        let head = self.head(at);
        let lives = head.id == id && head.flags & DELETED == 0;
        lives.then(|| Entry {
            id,
            fields: self.fields(&head),
        })
    }

    /// Deletes the entry with this id; whether it lived. If it was the only one the node
    /// is to go.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let at = self.seek(id);
        if at == self.bytes.len() {
            return false;
        }
        let head = self.head(at);
        if head.id != id || head.flags & DELETED != 0 {
            return false;
        }
        self.bytes[at] |= DELETED;
        self.live -= 1;
        if self.live > 0 {
            self.bury(at, self.end_of(at));
            self.pass_dead();
            self.compact_if_sparse();
        }
        true
    }

    /// Where the entry ends that begins at `at`.
    fn end_of(&self, at: usize) -> usize {
        let head = self.head(at);
        let end = self.bytes.len() - self.fields(&head).rest_behind().len();
        end + varint::len((end - at) as u64)
    }

    /// Counts the bytes of an entry among the dead.
    fn bury(&mut self, at: usize, end: usize) {
        // Lossless: a node where one of several entries dies has at most BYTES_MAX.
        #[allow(clippy::cast_possible_truncation)]
        let dead = (end - at) as u32;
        self.dead += dead;
    }

    /// Has `start` be where something lives.
    fn pass_dead(&mut self) {
        while self.start() < self.bytes.len() && self.bytes[self.start()] & DELETED != 0 {
            // Lossless: as in `bury`.
            #[allow(clippy::cast_possible_truncation)]
            let start = self.end_of(self.start()) as u32;
            self.start = start;
        }
    }

    /// Deletes entries from the front as long as `wanted` says so; how many. At least one
    /// stays.
    pub fn delete_front(&mut self, mut wanted: impl FnMut(StreamId) -> bool) -> usize {
        let before = self.live;
        while self.live > 1 && wanted(self.head(self.start()).id) {
            counted::elements(1);
            let (at, end) = (self.start(), self.end_of(self.start()));
            self.bury(at, end);
            // Lossless: as in `bury`.
            #[allow(clippy::cast_possible_truncation)]
            let start = end as u32;
            self.start = start;
            self.live -= 1;
            self.pass_dead();
        }
        self.compact_if_sparse();
        usize::from(before - self.live)
    }

    fn compact_if_sparse(&mut self) {
        if self.dead as usize >= self.bytes.len() / DEAD_PART {
            self.compact();
        }
    }

    /// Where the names end.
    fn names_end(&self) -> usize {
        let mut at = 0;
        for _ in 0..varint::take(&self.bytes, &mut at) {
            take_text(&self.bytes, &mut at);
        }
        at
    }

    /// Moves what lives together.
    fn compact(&mut self) {
        let mut to = self.names_end();
        let mut from = self.start();
        // Lossless: names are short.
        #[allow(clippy::cast_possible_truncation)]
        let start = to as u32;
        while from < self.bytes.len() {
            let end = self.end_of(from);
            if self.bytes[from] & DELETED == 0 {
                self.bytes.copy_within(from..end, to);
                to += end - from;
            }
            // What was behind `end` has not been moved yet.
            from = end;
        }
        self.bytes.truncate(to);
        self.bytes.shrink_to_fit();
        (self.start, self.dead) = (start, 0);
    }

    fn live_bytes(&self) -> usize {
        self.bytes.len() - self.dead as usize
    }

    /// Whether it and the one behind it are so sparse that they should be one.
    pub fn joins(&self, other: &Self) -> bool {
        self.live + other.live <= JOINED_ENTRIES
            && self.live_bytes() + other.live_bytes() <= JOINED_BYTES
    }

    /// Takes the entries of the node behind it; whether there was memory for them.
    pub fn join(&mut self, other: &Self) -> bool {
        let (len, last, counts) = (self.bytes.len(), self.last, (self.count, self.live));
        // As if there were no others: what has gone is no reason against it.
        self.count = self.live;
        let limits = NodeLimits::new(0, 0);
        let mut at = other.start();
        while let Some(entry) = other.next_live(&mut at) {
            if !matches!(self.push(entry.id, entry.fields, limits), Ok(true)) {
                self.bytes.truncate(len);
                self.last = last;
                (self.count, self.live) = counts;
                return false;
            }
        }
        self.last = other.last;
        self.bytes.shrink_to_fit();
        true
    }

    pub fn try_clone(&self) -> Result<Self, OutOfMemory> {
        Ok(Self {
            bytes: crate::value::copy(&self.bytes)?,
            ..*self
        })
    }

    /// Checks it; panics if it contradicts itself. For tests.
    pub fn check_invariants(&self) {
        let mut at = self.names_end();
        assert!(self.start() >= at && self.live > 0 && self.live <= self.count);
        assert_eq!(self.bytes[self.start()] & DELETED, 0);
        at = self.start();
        let (mut live, mut dead, mut before) = (0, at - self.names_end(), None);
        while at < self.bytes.len() {
            let (head, end) = (self.head(at), self.end_of(at));
            assert_eq!(self.start_of(end), at);
            assert!(before.is_none_or(|id| id < head.id));
            assert!(self.first <= head.id && head.id <= self.last);
            before = Some(head.id);
            if head.flags & DELETED == 0 {
                live += 1;
            } else {
                dead += end - at;
            }
            at = end;
        }
        assert_eq!((at, live), (self.bytes.len(), self.live));
        assert_eq!(dead, self.dead as usize);
        assert!(dead == 0 || dead < self.bytes.len() / DEAD_PART);
        assert!(self.live == 1 || self.bytes.len() <= BYTES_MAX);
    }
}

/// Bytes of the body of an entry with names of its own.
fn own_len<'e>(fields: impl Pairs<'e>) -> usize {
    let count = varint::len(fields.len() as u64);
    fields.fold(count, |len, (name, value)| {
        len.saturating_add(text_len(name))
            .saturating_add(text_len(value))
    })
}

/// An entry that is looked at.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub id: StreamId,
    pub fields: Fields<'a>,
}

impl PartialEq for Entry<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.fields.clone().eq(other.fields.clone())
    }
}

/// A place among the fields of an entry.
#[derive(Clone, Copy, Debug)]
pub struct FieldsPlace {
    names: usize,
    rest: usize,
    left: usize,
}

/// The fields and values of an entry, in order.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    /// The names that are left, if they are those of the node.
    names: Option<&'a [u8]>,
    /// What is left of the entry, and what is behind it.
    rest: &'a [u8],
    left: usize,
}

impl<'a> Fields<'a> {
    /// Whether the names are those that the node's entries share.
    pub fn are_shared(&self) -> bool {
        self.names.is_some()
    }

    /// Where these fields begin among those of their entry.
    pub fn place(&self) -> FieldsPlace {
        FieldsPlace {
            names: self.names.map_or(0, <[u8]>::len),
            rest: self.rest.len(),
            left: self.left,
        }
    }

    /// The fields from a place on, of all that the entry has.
    pub fn from(self, place: FieldsPlace) -> Self {
        let last = |bytes: &'a [u8], len: usize| &bytes[bytes.len() - len..];
        Self {
            names: self.names.map(|names| last(names, place.names)),
            rest: last(self.rest, place.rest),
            left: place.left,
        }
    }

    /// What is behind the entry.
    fn rest_behind(&self) -> &'a [u8] {
        let (mut at, mut left) = (0, self.left);
        if self.names.is_none() {
            left *= 2;
        }
        for _ in 0..left {
            take_text(self.rest, &mut at);
        }
        &self.rest[at..]
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let take = |from: &mut &'a [u8]| {
            let mut at = 0;
            let text = take_text(from, &mut at);
            *from = &from[at..];
            text
        };
        let name = take(self.names.as_mut().unwrap_or(&mut self.rest));
        Some((name, take(&mut self.rest)))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Fields<'_> {}
