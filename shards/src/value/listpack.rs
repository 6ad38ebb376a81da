//! A row of elements in one piece of memory.
//!
//! ```text
//! ┌───────┬────────────────────┬────────────────────┬───
//! │ count │ head  text? length │ head  text? length │ …
//! └───────┴────────────────────┴────────────────────┴───
//!  u16 LE   one element
//! ```
//!
//! Each element is encoded as in Redis's listpack, so that a dump needs but
//! Redis's header of six bytes (whose last two are the count) and its end mark
//! around what is here:
//!
//! | head | then | is |
//! |---|---|---|
//! | `0vvvvvvv` | | a number, 0 to 127 |
//! | `10llllll` | text | text below 64 bytes |
//! | `110vvvvv` | 1 byte | a number of 13 bits, signed |
//! | `1110llll` | 1 byte, text | text below 4 KiB |
//! | `F0` | 4 bytes LE, text | longer text |
//! | `F1` `F2` `F3` `F4` | 2, 3, 4, 8 bytes LE | a number |
//!
//! What follows an element is the length of its head and text, seven bits a
//! byte, to be read backwards from its end: so the row can be walked from both
//! sides. Integers in canonical form are kept as numbers. A count of 65535
//! means "more than fit": then one has to walk. No bytes at all: no elements.
//!
//! Costs: both ends and the next or previous element O(1); an index, a search
//! and every change O(bytes).

mod element;

pub use element::{Element, Encoded, Wanted};
pub(super) use element::{end_of, read, start_before};

use crate::counted;
use crate::error::OutOfMemory;
use element::{checked_len, encode_back, low_byte};
use std::ops::Range;

/// Bytes of the count.
pub(super) const HEADER: usize = 2;

/// Stands for every count from here on.
const UNCOUNTED: u16 = u16::MAX;

/// Where an element begins. Holds until the listpack changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(pub(super) usize);

/// Looks at a listpack.
#[derive(Clone, Copy, Debug)]
pub struct Listpack<'a>(&'a [u8]);

impl PartialEq for Listpack<'_> {
    /// The same elements: the encoding of each is determined, but the count may
    /// have been lost in one of them.
    fn eq(&self, other: &Self) -> bool {
        self.elements() == other.elements()
    }
}

impl Eq for Listpack<'_> {}

impl<'a> Listpack<'a> {
    /// `bytes` were written by this module, or [`validate`] accepts them.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What it was made of.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The elements without the count, as they lie there.
    #[inline]
    fn elements(self) -> &'a [u8] {
        self.0.get(HEADER..).unwrap_or_default()
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.0.len() <= HEADER
    }

    /// Number of elements; O(1) up to 65534 of them.
    #[inline]
    pub fn len(self) -> usize {
        let Some(header) = self.0.first_chunk() else {
            return 0;
        };
        match u16::from_le_bytes(*header) {
            UNCOUNTED => self.iter().count(),
            count => usize::from(count),
        }
    }

    /// How far element `index` is from the end, if that is nearer.
    fn nearer_to_end(self, index: usize) -> Option<usize> {
        let count = u16::from_le_bytes(*self.0.first_chunk()?);
        let from_end = usize::from(count).checked_sub(index.checked_add(1)?)?;
        (count != UNCOUNTED && from_end < index).then_some(from_end)
    }

    /// Element `index`.
    pub fn get(self, index: usize) -> Option<Element<'a>> {
        Some(self.element(self.at(index)?))
    }

    /// Where element `index` begins. Walks from the nearer end.
    pub fn at(self, index: usize) -> Option<At> {
        let mut entries = self.entries();
        let found = match self.nearer_to_end(index) {
            Some(from_end) => entries.nth_back(from_end),
            None => entries.nth(index),
        };
        found.map(|(at, _)| at)
    }

    /// The element that begins at `at`.
    #[inline]
    pub fn element(self, at: At) -> Element<'a> {
        read(self.0, at.0)
    }

    /// Where the first element begins.
    pub fn first(self) -> Option<At> {
        (!self.is_empty()).then_some(At(HEADER))
    }

    /// Where the last element begins.
    pub fn last(self) -> Option<At> {
        (!self.is_empty()).then(|| At(start_before(self.0, self.0.len())))
    }

    /// Where the element after that at `at` begins.
    #[inline]
    pub fn next(self, at: At) -> Option<At> {
        let next = end_of(self.0, at.0);
        (next < self.0.len()).then_some(At(next))
    }

    /// Where the element before that at `at` begins.
    #[inline]
    pub fn previous(self, at: At) -> Option<At> {
        (at.0 > HEADER).then(|| At(start_before(self.0, at.0)))
    }

    /// All elements.
    #[inline]
    pub fn iter(self) -> Iter<'a> {
        Iter(self.entries())
    }

    /// The elements from element `index` on.
    #[inline]
    pub fn iter_from(self, index: usize) -> Iter<'a> {
        if index == 0 {
            return self.iter();
        }
        let at = self.at(index);
        Iter(at.map_or_else(Entries::default, |at| self.entries_from(at)))
    }

    /// The elements before element `index`.
    pub fn iter_until(self, index: usize) -> Iter<'a> {
        let end = self.at(index);
        Iter(end.map_or_else(
            || self.entries(),
            |end| Entries::between(self.0, HEADER, end),
        ))
    }

    /// All elements, and where they begin.
    #[inline]
    pub fn entries(self) -> Entries<'a> {
        Entries {
            bytes: self.0,
            front: HEADER,
            back: self.0.len(),
        }
    }

    /// The elements from `at` on, and where they begin.
    #[inline]
    pub fn entries_from(self, at: At) -> Entries<'a> {
        Entries {
            front: at.0,
            ..self.entries()
        }
    }

    /// The elements up to that at `at`, and where they begin.
    #[inline]
    pub fn entries_to(self, at: At) -> Entries<'a> {
        Entries {
            back: end_of(self.0, at.0),
            ..self.entries()
        }
    }

    /// The first element that is `text`, among those at the indices 0, `step`,
    /// twice `step` and so on.
    #[inline]
    pub fn find(self, text: &[u8], step: usize) -> Option<At> {
        // Most texts differ in the head already, which holds the length.
        if let (Element::Bytes(_), 0..64) = (Element::from(text), text.len()) {
            let head = 0x80 | low_byte(text.len() as u64);
            return self.search(step, |at| {
                self.0[at.0] == head && &self.0[at.0 + 1..][..text.len()] == text
            });
        }
        let wanted = Wanted::new(text);
        self.search(step, |at| wanted.is(self.element(at)))
    }

    #[inline]
    fn search(self, step: usize, is_it: impl Fn(At) -> bool) -> Option<At> {
        let mut at = HEADER;
        while at < self.0.len() {
            counted::elements(1);
            if is_it(At(at)) {
                return Some(At(at));
            }
            for _ in 0..step {
                if at >= self.0.len() {
                    return None;
                }
                at = end_of(self.0, at);
            }
        }
        None
    }
}

impl<'a> IntoIterator for Listpack<'a> {
    type Item = Element<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// See [`Listpack::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a>(Entries<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        self.0.next().map(|(_, element)| element)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|(_, element)| element)
    }
}

/// See [`Listpack::entries`].
#[derive(Clone, Debug, Default)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    front: usize,
    back: usize,
}

impl<'a> Entries<'a> {
    /// Elements that lie in `bytes` from `front` to its end, without a count.
    #[inline]
    pub(super) fn uncounted(bytes: &'a [u8], front: usize) -> Self {
        Self {
            bytes,
            front,
            back: bytes.len(),
        }
    }

    /// Elements that lie in `bytes` from `front` to one that begins at `back`.
    pub(super) fn between(bytes: &'a [u8], front: usize, back: At) -> Self {
        Self {
            bytes,
            front,
            back: back.0,
        }
    }

    /// Skips up to `count` elements.
    pub fn skip_some(&mut self, count: usize) {
        for _ in 0..count {
            if self.front >= self.back {
                return;
            }
            counted::elements(1);
            self.front = end_of(self.bytes, self.front);
        }
    }

    /// Where the next element begins, or where the last one ends.
    pub fn position(&self) -> At {
        At(self.front)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (At, Element<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        counted::elements(1);
        let at = self.front;
        self.front = end_of(self.bytes, at);
        Some((At(at), read(self.bytes, at)))
    }
}

impl DoubleEndedIterator for Entries<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        counted::elements(1);
        self.back = start_before(self.bytes, self.back);
        Some((At(self.back), read(self.bytes, self.back)))
    }
}

/// Adds an element at the end.
///
/// # Errors
/// Of this and all that follow: there is no memory for it; nothing has changed.
#[inline]
pub fn push_back<'e>(
    bytes: &mut Vec<u8>,
    element: impl Into<Element<'e>>,
) -> Result<(), OutOfMemory> {
    let encoded = Encoded::new(element.into());
    begin(bytes, encoded.len())?;
    encoded.append_to(bytes);
    count_more(bytes, 1);
    Ok(())
}

/// Adds elements at the end, or none of them.
pub fn append<'e, E: Into<Element<'e>>>(
    bytes: &mut Vec<u8>,
    elements: impl Iterator<Item = E> + Clone,
) -> Result<(), OutOfMemory> {
    let room = |element: E| element.into().room();
    begin(bytes, elements.clone().map(room).sum())?;
    for element in elements {
        push_back(bytes, element)?;
    }
    Ok(())
}

/// Adds all elements of another listpack at the end.
pub fn append_listpack(bytes: &mut Vec<u8>, other: Listpack<'_>) -> Result<(), OutOfMemory> {
    begin(bytes, other.elements().len())?;
    bytes.extend_from_slice(other.elements());
    count_more(bytes, other.len());
    Ok(())
}

/// Adds an element at the front.
#[inline]
pub fn push_front<'e>(
    bytes: &mut Vec<u8>,
    element: impl Into<Element<'e>>,
) -> Result<(), OutOfMemory> {
    insert_before(bytes, At(HEADER), element)
}

/// Adds elements at the front, one after the other, or none of them: the last
/// one is the first in the end.
pub fn prepend<'e, E: Into<Element<'e>>>(
    bytes: &mut Vec<u8>,
    elements: impl ExactSizeIterator<Item = E> + Clone,
) -> Result<(), OutOfMemory> {
    let room = |element: E| element.into().room();
    let (count, more) = (elements.len(), elements.clone().map(room).sum());
    begin(bytes, more)?;
    let old_len = bytes.len();
    bytes.resize(old_len + more, 0);
    bytes.copy_within(HEADER..old_len, HEADER + more);
    let mut end = HEADER + more;
    for element in elements {
        let encoded = Encoded::new(element.into());
        let start = end - encoded.len();
        encoded.write(&mut bytes[start..end]);
        end = start;
    }
    count_more(bytes, count);
    Ok(())
}

/// Adds an element before that at `at`, which then begins later.
#[inline]
pub fn insert_before<'e>(
    bytes: &mut Vec<u8>,
    at: At,
    element: impl Into<Element<'e>>,
) -> Result<(), OutOfMemory> {
    put(bytes, at.0..at.0, element.into())?;
    count_more(bytes, 1);
    Ok(())
}

/// Adds an element after that at `at`, which stays where it is.
pub fn insert_after<'e>(
    bytes: &mut Vec<u8>,
    at: At,
    element: impl Into<Element<'e>>,
) -> Result<(), OutOfMemory> {
    let end = At(end_of(bytes, at.0));
    insert_before(bytes, end, element)
}

/// Puts an element in the place of that at `at`.
pub fn replace<'e>(
    bytes: &mut Vec<u8>,
    at: At,
    element: impl Into<Element<'e>>,
) -> Result<(), OutOfMemory> {
    let end = end_of(bytes, at.0);
    put(bytes, at.0..end, element.into())
}

/// Removes `count` elements, that at `at` and those after it; fewer if there
/// are not so many. What came after them begins at `at` then.
pub fn remove(bytes: &mut Vec<u8>, at: At, count: usize) {
    let (mut end, mut removed) = (at.0, 0);
    while removed < count && end < bytes.len() {
        end = end_of(bytes, end);
        removed += 1;
    }
    bytes.drain(at.0..end);
    count_less(bytes, removed);
}

/// Removes up to `count` elements that are `text`, beginning with that at `at`,
/// and returns how many.
pub fn remove_equal(bytes: &mut Vec<u8>, at: At, text: &[u8], count: usize) -> usize {
    let removed = cut_equal(bytes, at, Wanted::new(text), count);
    count_less(bytes, removed);
    removed
}

/// As [`remove_equal`], without a count to keep.
pub(super) fn cut_equal(bytes: &mut Vec<u8>, at: At, wanted: Wanted<'_>, count: usize) -> usize {
    let (mut read_at, mut kept, mut removed) = (at.0, at.0, 0);
    while removed < count && read_at < bytes.len() {
        let end = end_of(bytes, read_at);
        counted::elements(1);
        if wanted.is(read(bytes, read_at)) {
            removed += 1;
        } else {
            bytes.copy_within(read_at..end, kept);
            kept += end - read_at;
        }
        read_at = end;
    }
    bytes.drain(kept..read_at);
    removed
}

/// Moves the elements from that at `at` on to a listpack of their own.
pub fn split_off(bytes: &mut Vec<u8>, at: At) -> Result<Vec<u8>, OutOfMemory> {
    let mut tail = Vec::new();
    let count = Listpack(bytes).entries_from(at).count();
    tail.try_reserve_exact(HEADER + bytes.len() - at.0)?;
    begin(&mut tail, bytes.len() - at.0)?;
    tail.extend_from_slice(&bytes[at.0..]);
    count_more(&mut tail, count);
    bytes.truncate(at.0);
    count_less(bytes, count);
    Ok(tail)
}

/// Whether these bytes are a listpack as this module writes it, from whatever
/// source. Never panics. O(bytes).
pub fn validate(bytes: &[u8]) -> bool {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
        return bytes.is_empty();
    };
    let (mut at, mut count) = (HEADER, 0);
    while at < bytes.len() {
        let Some(len) = checked_len(&bytes[at..]) else {
            return false;
        };
        let (back, back_len) = encode_back(len);
        let Some(found) = bytes.get(at + len..at + len + back_len) else {
            return false;
        };
        if found != &back[..back_len] {
            return false;
        }
        at += len + back_len;
        count += 1;
    }
    let told = u16::from_le_bytes(*header);
    told == UNCOUNTED || usize::from(told) == count
}

/// Makes room for more; gives an empty buffer its count.
#[inline]
fn begin(bytes: &mut Vec<u8>, more: usize) -> Result<(), OutOfMemory> {
    if bytes.is_empty() {
        bytes.try_reserve(HEADER + more)?;
        bytes.extend_from_slice(&[0; HEADER]);
    }
    bytes.try_reserve(more)?;
    Ok(())
}

/// Puts an element where those in `place` are.
fn put(bytes: &mut Vec<u8>, place: Range<usize>, element: Element<'_>) -> Result<(), OutOfMemory> {
    let encoded = Encoded::new(element);
    begin(bytes, encoded.len())?;
    splice(bytes, place, &encoded);
    Ok(())
}

/// Puts an element where those in `place` are; there is room.
pub(super) fn splice(bytes: &mut Vec<u8>, place: Range<usize>, encoded: &Encoded<'_>) {
    let (old_len, end) = (bytes.len(), place.start + encoded.len());
    if end > place.end {
        bytes.resize(old_len + end - place.end, 0);
    }
    bytes.copy_within(place.end..old_len, end);
    bytes.truncate(old_len - place.len() + encoded.len());
    encoded.write(&mut bytes[place.start..end]);
}

#[inline]
fn count_more(bytes: &mut [u8], more: usize) {
    if let Some(header) = bytes.first_chunk_mut::<HEADER>() {
        let count = usize::from(u16::from_le_bytes(*header)) + more;
        *header = u16::try_from(count).unwrap_or(UNCOUNTED).to_le_bytes();
    }
}

/// A count that was lost stays lost until the last element goes.
fn count_less(bytes: &mut [u8], less: usize) {
    let empty = bytes.len() <= HEADER;
    if let Some(header) = bytes.first_chunk_mut::<HEADER>() {
        let count = match u16::from_le_bytes(*header) {
            _ if empty => 0,
            UNCOUNTED => UNCOUNTED,
            count => u16::try_from(usize::from(count) - less).expect("less than what was counted"),
        };
        *header = count.to_le_bytes();
    }
}

#[cfg(test)]
mod tests;
