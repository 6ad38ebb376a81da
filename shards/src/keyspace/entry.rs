//! One key, its value and its deadline in one allocation.
//!
//! ```text
//! short: key < 1 KiB
//! ┌────────┬────────────┬───────────────────┬─────┬──────────────┐
//! │ header │ expire_at? │ number | pointer? │ key │ inline value │
//! └────────┴────────────┴───────────────────┴─────┴──────────────┘
//!     8           8               8
//! long: key ≥ 1 KiB; the value is always a number or outside
//! ┌────────┬───────────┬──────────────────┬─────────┬─────┐
//! │ header │ expire_at │ number | pointer │ key_len │ key │
//! └────────┴───────────┴──────────────────┴─────────┴─────┘
//!
//! header, from the low bit
//!   type:4 encoding:4 snapshot:1 expires:1 word:1 outside:1 long:1 freed:1 -:2
//!   key_len:10 value_len:14 clock:24
//! ```
//!
//! `freed` is the slab's: no entry has it. A number lies in the word; a value that is larger than a slab's largest
//! room, or that grew beyond it, is a `Box<Value>` in the word; other strings
//! lie inline behind the key. A long entry has room for everything that may
//! change, so that no change ever copies a long key.
//!
//! Invariants: an entry's room (`slab::same_room`) is the one its header
//! gives; `outside` implies `word`; the box belongs to the entry.
#![allow(unsafe_code)]

mod draft;
mod header;

pub use draft::{Draft, Payload, Settled};
pub use header::CLOCK_MASK;

use super::slab::{Leaving, OutOfMemory, ROOM_MAX, Slab, same_room};
use super::{StringRef, ValueRef, View};
use crate::types::UnixMs;
use crate::value::{Collection, Encoding, Hash, Type, Value};
use header::{EXPIRES, Header, LONG, LONG_KEY_AT, OUTSIDE, SNAPSHOT, TYPE_MASK, WORD};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

impl Settled<'_> {
    /// Allocates and writes the entry.
    #[inline]
    pub fn build(self, slab: &mut Slab) -> Result<Entry, OutOfMemory> {
        let at = slab.alloc(self.size())?;
        // SAFETY: fresh room of the size the header gives.
        unsafe { self.write(at.as_ptr(), true) };
        Ok(Entry { at })
    }

    /// Writes the entry at `at`; the key only if `with_key`.
    ///
    /// # Safety
    /// `at` has room for [`Settled::size`] bytes, nobody else looks at it, and
    /// the key is there already unless `with_key`.
    #[inline]
    unsafe fn write(self, at: *mut u8, with_key: bool) {
        let (header, key) = (self.header, self.draft.key);
        // SAFETY: all writes lie within the size computed from the same header;
        // the first three are aligned as `at` is aligned to 8.
        unsafe {
            at.cast::<u64>().write(header.0);
            if header.has_deadline_room() {
                let deadline = self.draft.expire_at.map_or(0, |at| at.0);
                at.add(8).cast::<i64>().write(deadline);
            }
            let key_at = if header.has(LONG) {
                at.add(24).cast::<u64>().write(key.len() as u64);
                LONG_KEY_AT
            } else {
                header.key_at()
            };
            if with_key {
                ptr::copy_nonoverlapping(key.as_ptr(), at.add(key_at), key.len());
            }
            let word = at.add(header.word_at());
            match self.draft.payload {
                Payload::Int(number) => word.cast::<i64>().write(number),
                Payload::Outside(value, _) => word.cast::<*mut Value>().write(Box::into_raw(value)),
                Payload::Bytes(bytes, _) | Payload::Flat(_, bytes, _) => {
                    let to = at.add(key_at + key.len());
                    ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
                }
            }
        }
    }
}

/// An entry outside of any table. Must be put into one or be freed.
#[must_use]
pub struct Entry {
    at: NonNull<u8>,
}

impl Entry {
    /// The address as a table keeps it; [`Entry::from_address`] turns it back.
    #[inline]
    pub fn into_address(self) -> u64 {
        self.at.as_ptr().expose_provenance() as u64
    }

    /// # Safety
    /// `address` came from [`Entry::into_address`], and stands for one entry at
    /// a time.
    #[inline]
    pub unsafe fn from_address(address: u64) -> Self {
        // SAFETY: the caller's promise.
        let at = unsafe { pointer(address) };
        Self { at }
    }

    /// Looks at it.
    #[inline]
    pub fn look(&self) -> EntryRef<'_> {
        EntryRef {
            at: self.at,
            of: PhantomData,
        }
    }

    /// Gives the memory back; returns the value if it was outside.
    #[inline]
    pub fn free(self, slab: &mut Slab) -> Option<Box<Value>> {
        let (size, header) = (self.look().size(), self.look().header());
        // SAFETY: the entry is owned, so nobody looks at it; its size is the
        // one it was allocated with (same room), and the box belongs to it.
        unsafe {
            let value = take_value(self.at, header);
            slab.free(self.at, size);
            value
        }
    }
}

/// # Safety
/// `address` came from [`Entry::into_address`].
#[inline]
unsafe fn pointer(address: u64) -> NonNull<u8> {
    // SAFETY: addresses of entries are not null.
    unsafe { NonNull::new_unchecked(ptr::with_exposed_provenance_mut(address as usize)) }
}

/// Takes the box of an entry, if it has one.
///
/// # Safety
/// `header` is the header of the live entry at `at`, which is not looked at
/// any more before it is rewritten or freed.
#[inline]
unsafe fn take_value(at: NonNull<u8>, header: Header) -> Option<Box<Value>> {
    if !header.has(OUTSIDE) {
        return None;
    }
    // SAFETY: `outside` says that the word is a pointer from Box::into_raw.
    unsafe {
        Some(Box::from_raw(
            at.as_ptr()
                .add(header.word_at())
                .cast::<*mut Value>()
                .read(),
        ))
    }
}

/// An entry that is only looked at.
#[derive(Clone, Copy)]
pub struct EntryRef<'a> {
    at: NonNull<u8>,
    of: PhantomData<&'a Entry>,
}

impl<'a> EntryRef<'a> {
    /// # Safety
    /// `address` came from [`Entry::into_address`]; the entry is alive and
    /// unchanged for `'a`.
    #[inline]
    pub unsafe fn from_address(address: u64) -> Self {
        // SAFETY: the caller's promise.
        let at = unsafe { pointer(address) };
        Self {
            at,
            of: PhantomData,
        }
    }

    /// The next entry of a page that is being left; see [`Slab::next_leaving`].
    pub fn next_leaving(slab: &'a mut Slab, leaving: &mut Leaving) -> Option<Self> {
        let at = slab.next_leaving(leaving)?;
        Some(Self {
            // What is in use of a slab are entries: `Settled::build` and its like fill a
            // room as soon as they have it.
            at,
            of: PhantomData,
        })
    }

    /// The same entry, to be changed in place.
    ///
    /// # Safety
    /// Nobody else looks at the entry for `'m`, and it lives so long.
    #[inline]
    pub unsafe fn into_mut<'m>(self) -> EntryMut<'m> {
        EntryMut {
            at: self.at,
            of: PhantomData,
        }
    }

    #[inline]
    fn header(self) -> Header {
        // SAFETY: a live entry begins with its header, aligned to 8.
        Header(unsafe { self.at.cast::<u64>().read() })
    }

    #[inline]
    fn word(self) -> NonNull<u8> {
        // SAFETY: the offset lies within the entry.
        unsafe { self.at.add(self.header().word_at()) }
    }

    #[inline]
    fn key_span(self) -> (usize, usize) {
        let header = self.header();
        if header.has(LONG) {
            // SAFETY: a long entry has its key's length there.
            (LONG_KEY_AT, unsafe { self.at.add(24).cast::<u64>().read() }
                as usize)
        } else {
            (header.key_at(), header.key_len())
        }
    }

    /// Bytes of the entry itself.
    #[inline]
    pub fn size(self) -> usize {
        let (at, length) = self.key_span();
        at + length + self.header().value_len()
    }

    #[inline]
    pub fn key(self) -> &'a [u8] {
        let (at, length) = self.key_span();
        // SAFETY: the span lies within the entry, which lives for 'a.
        unsafe { NonNull::slice_from_raw_parts(self.at.add(at), length).as_ref() }
    }

    #[inline]
    pub fn expire_at(self) -> Option<UnixMs> {
        // SAFETY: `expires` says that the deadline is there.
        let read = || UnixMs(unsafe { self.at.add(8).cast::<i64>().read() });
        self.header().has(EXPIRES).then(read)
    }

    /// A lower bound of the deadlines that elements of its value have.
    #[inline]
    pub fn elements_due_at(self) -> Option<UnixMs> {
        if self.type_of() != Type::Hash {
            return None;
        }
        let hash = match self.outside() {
            Some(value) => Hash::of(value).expect("the header names its type").view(),
            None => Hash::view_flat(self.encoding(), self.inline()),
        };
        hash.earliest()
    }

    /// When there is something to expire here at the earliest.
    #[inline]
    pub fn due_at(self) -> Option<UnixMs> {
        let deadlines = [self.expire_at(), self.elements_due_at()];
        deadlines.into_iter().flatten().min()
    }

    #[inline]
    pub fn view(self) -> View<'a> {
        View {
            value: self.value(),
            expire_at: self.expire_at(),
        }
    }

    #[inline]
    pub fn value(self) -> ValueRef<'a> {
        // Most values: strings that lie inline.
        if self.header().0 & (TYPE_MASK | WORD) == 0 {
            return ValueRef::String(StringRef::Bytes(self.inline()));
        }
        self.other_value()
    }

    fn other_value(self) -> ValueRef<'a> {
        match (self.number(), self.outside()) {
            (Some(number), _) => ValueRef::String(StringRef::Int(number)),
            (None, Some(value)) => value.view(),
            (None, None) => ValueRef::of_flat(self.type_of(), self.encoding(), self.inline()),
        }
    }

    /// The value, if it is kept as a number.
    #[inline]
    pub fn number(self) -> Option<i64> {
        let is_number = self.header().0 & (WORD | OUTSIDE) == WORD;
        // SAFETY: the word holds a number unless `outside`.
        is_number.then(|| unsafe { self.word().cast::<i64>().read() })
    }

    /// The type of its value.
    #[inline]
    pub fn type_of(self) -> Type {
        self.header().type_of()
    }

    /// Whether its value has this type.
    #[inline]
    pub fn is_of(self, of: Type) -> bool {
        self.header().0 & TYPE_MASK == of as u64
    }

    /// The bytes of the value within the entry; none if it lies elsewhere.
    #[inline]
    pub fn inline(self) -> &'a [u8] {
        let (at, length) = self.key_span();
        let value = NonNull::slice_from_raw_parts(
            // SAFETY: the inline value follows the key.
            unsafe { self.at.add(at + length) },
            self.header().value_len(),
        );
        // SAFETY: it lies within the entry, which lives for 'a.
        unsafe { value.as_ref() }
    }

    /// The value, if it lies outside.
    #[inline]
    pub fn outside(self) -> Option<&'a Value> {
        let word = self.word().cast::<*const Value>();
        // SAFETY: `outside` says that the word is a box of the entry's, which
        // lives for 'a.
        self.header().has(OUTSIDE).then(|| unsafe { &*word.read() })
    }

    /// Whether freeing it takes more than dropping its page.
    #[inline]
    pub fn is_scattered(self) -> bool {
        self.header().has(OUTSIDE) || self.size() > ROOM_MAX
    }

    /// Bytes of the value outside, bytes.
    pub fn outside_bytes(self) -> usize {
        self.outside()
            .map_or(0, |value| size_of::<Value>() + value.heap_bytes())
    }

    pub fn encoding(self) -> Encoding {
        self.header().encoding()
    }

    /// The access clock (24 bits).
    #[inline]
    pub fn clock(self) -> u32 {
        self.header().clock()
    }

    /// The snapshot bit: whether the cut at hand has seen the entry.
    pub fn snapshot(self) -> bool {
        self.header().has(SNAPSHOT)
    }
}

/// An entry that may be changed in place.
pub struct EntryMut<'a> {
    at: NonNull<u8>,
    of: PhantomData<&'a mut Entry>,
}

impl<'a> EntryMut<'a> {
    /// # Safety
    /// `address` came from [`Entry::into_address`]; the entry is alive and
    /// nobody else looks at it for `'a`.
    #[inline]
    pub unsafe fn from_address(address: u64) -> Self {
        // SAFETY: the caller's promise.
        let at = unsafe { pointer(address) };
        Self {
            at,
            of: PhantomData,
        }
    }

    #[inline]
    pub fn look(&self) -> EntryRef<'_> {
        EntryRef {
            at: self.at,
            of: PhantomData,
        }
    }

    #[inline]
    pub fn into_ref(self) -> EntryRef<'a> {
        EntryRef {
            at: self.at,
            of: PhantomData,
        }
    }

    #[inline]
    fn set_header(&mut self, header: Header) {
        // SAFETY: a live entry begins with its header.
        unsafe { self.at.cast::<u64>().write(header.0) };
    }

    #[inline]
    pub fn set_clock(&mut self, clock: u32) {
        let header = self.look().header().with_clock(clock);
        self.set_header(header);
    }

    pub fn set_snapshot(&mut self, bit: bool) {
        let header = self.look().header().0 & !SNAPSHOT;
        self.set_header(Header(header | if bit { SNAPSHOT } else { 0 }));
    }

    /// Changes the deadline if the entry has room for the new one and needs no
    /// less; whether it was done.
    pub fn set_expire_at(&mut self, expire_at: Option<UnixMs>) -> bool {
        let header = self.look().header();
        if !header.has(LONG) && header.has(EXPIRES) != expire_at.is_some() {
            return false;
        }
        if let Some(deadline) = expire_at {
            // SAFETY: there is room for a deadline, by the check above.
            unsafe { self.at.add(8).cast::<i64>().write(deadline.0) };
        }
        let flag = if expire_at.is_some() { EXPIRES } else { 0 };
        self.set_header(Header(header.0 & !EXPIRES | flag));
        true
    }

    /// A copy with or without a deadline, for a table to hold in its stead; the
    /// value outside moves to the copy. For when [`EntryMut::set_expire_at`]
    /// cannot do it in place, so the entry is short.
    pub fn rebuild(
        &mut self,
        expire_at: Option<UnixMs>,
        slab: &mut Slab,
    ) -> Result<Entry, OutOfMemory> {
        let old = self.look().header();
        assert!(!old.has(LONG), "long entries have room for a deadline");
        let flag = if expire_at.is_some() { EXPIRES } else { 0 };
        let new = Header(old.0 & !EXPIRES | flag);
        let tail = old.key_len() + old.value_len();
        let at = slab.alloc(new.key_at() + tail)?;
        // SAFETY: the room is fresh and as large as the header says; what is
        // copied lies within the old entry.
        unsafe {
            let (from, to) = (self.at.as_ptr(), at.as_ptr());
            to.cast::<u64>().write(new.0);
            if let Some(deadline) = expire_at {
                to.add(8).cast::<i64>().write(deadline.0);
            }
            if old.has(WORD) {
                let word = from.add(old.word_at()).cast::<*mut Value>();
                to.add(new.word_at())
                    .cast::<*mut Value>()
                    .write(word.read());
            }
            ptr::copy_nonoverlapping(from.add(old.key_at()), to.add(new.key_at()), tail);
        }
        // The box has a new owner.
        self.set_header(Header(old.0 & !OUTSIDE));
        Ok(Entry { at })
    }

    /// A copy, for a table to hold in its stead; the value outside moves to the copy.
    pub fn relocate(&mut self, slab: &mut Slab) -> Result<Entry, OutOfMemory> {
        let (header, size) = (self.look().header(), self.look().size());
        let at = slab.alloc(size)?;
        // SAFETY: the room is fresh and as large as the entry.
        unsafe { ptr::copy_nonoverlapping(self.at.as_ptr(), at.as_ptr(), size) };
        // The box has a new owner.
        self.set_header(Header(header.0 & !OUTSIDE));
        Ok(Entry { at })
    }

    /// The number kept in the word, to be changed in place.
    #[inline]
    pub fn into_number(self) -> Option<&'a mut i64> {
        let header = self.look().header();
        if header.0 & (WORD | OUTSIDE) != WORD {
            return None;
        }
        // SAFETY: the word holds a number, and the entry is ours for 'a.
        Some(unsafe { self.look().word().cast::<i64>().as_mut() })
    }

    /// The value outside, to be changed in place.
    #[inline]
    pub fn outside(&mut self) -> Option<&mut Value> {
        if !self.look().header().has(OUTSIDE) {
            return None;
        }
        // SAFETY: the word is a box of the entry's, and the entry is ours.
        Some(unsafe { &mut *self.look().word().cast::<*mut Value>().read() })
    }

    /// As [`EntryMut::outside`], for as long as the entry is ours.
    #[inline]
    pub fn into_outside(self) -> Option<&'a mut Value> {
        if !self.look().header().has(OUTSIDE) {
            return None;
        }
        // SAFETY: the word is a box of the entry's, and the entry is ours for 'a.
        Some(unsafe { &mut *self.look().word().cast::<*mut Value>().read() })
    }

    /// Marks a value as kept otherwise than before.
    #[inline]
    pub fn set_encoding(&mut self, encoding: Encoding) {
        let header = self.look().header().with_encoding(encoding);
        self.set_header(header);
    }

    /// Overwrites an inline value from `offset` on, with zero bytes in any gap,
    /// if it stays in its room; its new length, or nothing was done.
    pub fn overwrite_inline(&mut self, offset: usize, bytes: &[u8]) -> Option<usize> {
        let header = self.look().header();
        if header.has(WORD) {
            return None;
        }
        let (key_at, key_len) = self.look().key_span();
        let (start, old) = (key_at + key_len, header.value_len());
        let new = old.max(offset.checked_add(bytes.len())?);
        let total = start.checked_add(new)?;
        if total > ROOM_MAX || !same_room(start + old, total) {
            return None;
        }
        // SAFETY: up to `total` everything lies in the entry's room.
        unsafe {
            let value = self.at.as_ptr().add(start);
            if offset > old {
                value.add(old).write_bytes(0, offset - old);
            }
            ptr::copy_nonoverlapping(bytes.as_ptr(), value.add(offset), bytes.len());
        }
        self.set_header(header.with_value_len(new).with_encoding(Encoding::Raw));
        Some(new)
    }

    /// Becomes `draft`, which has the same key, if that needs the same room.
    /// Returns the value that was outside, or the draft if it does not fit.
    #[inline]
    pub fn rewrite<'d>(&mut self, draft: Settled<'d>) -> Result<Option<Box<Value>>, Settled<'d>> {
        let old = self.look().header();
        if !same_room(self.look().size(), draft.size()) {
            return Err(draft);
        }
        let with_key = !draft.header.has(LONG) && old.key_at() != draft.header.key_at();
        // SAFETY: the room is the same; the old value is taken out first; the
        // draft's key is not in this entry, which we hold exclusively.
        unsafe {
            let value = take_value(self.at, old);
            draft.write(self.at.as_ptr(), with_key);
            Ok(value)
        }
    }
}

#[cfg(test)]
mod tests;
