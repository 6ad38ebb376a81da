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

use crate::error::OutOfMemory;
use crate::number::parse_i64;
use std::ops::Range;

/// Bytes of the count.
const HEADER: usize = 2;

/// Stands for every count from here on.
const UNCOUNTED: u16 = u16::MAX;

/// An element as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> From<&'a [u8]> for Element<'a> {
    /// A number, if it is one in canonical form.
    #[inline]
    fn from(text: &'a [u8]) -> Self {
        // The longest number has 20 characters, and most texts fail at once.
        match text {
            [b'-' | b'0'..=b'9', ..] if text.len() <= 20 => {
                parse_i64(text).map_or(Self::Bytes(text), Self::Int)
            }
            _ => Self::Bytes(text),
        }
    }
}

impl From<i64> for Element<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl<'a> Element<'a> {
    /// Whether it is this text; a number is not formatted for that.
    #[inline]
    pub fn eq_bytes(self, text: &[u8]) -> bool {
        match self {
            Self::Int(number) => parse_i64(text) == Some(number),
            Self::Bytes(bytes) => bytes == text,
        }
    }

    /// Its text. `buffer` holds that of a number.
    #[inline]
    pub fn to_bytes<'b>(self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Int(number) => buffer.format(number).as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Hands its text to `look`.
    #[inline]
    pub fn with_bytes<R>(self, look: impl FnOnce(&[u8]) -> R) -> R {
        look(self.to_bytes(&mut itoa::Buffer::new()))
    }

    /// Length of its text.
    #[inline]
    pub fn len_bytes(self) -> usize {
        match self {
            Self::Int(number) => {
                let digits = number.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
                digits + usize::from(number < 0)
            }
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Bytes it takes in a listpack.
    #[inline]
    pub fn room(self) -> usize {
        let encoded = Encoded::new(self);
        encoded.len()
    }
}

/// Where an element begins. Holds until the listpack changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(usize);

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
        match Element::from(text) {
            Element::Int(number) => self.search(step, |at| match self.element(at) {
                Element::Int(other) => other == number,
                // Nothing here writes a number like this, but a file may.
                Element::Bytes(bytes) => bytes == text,
            }),
            // Most texts differ in the head already, which holds the length.
            Element::Bytes(_) if text.len() < 64 => {
                let head = 0x80 | low_byte(text.len() as u64);
                self.search(step, |at| {
                    self.0[at.0] == head && &self.0[at.0 + 1..][..text.len()] == text
                })
            }
            wanted => self.search(step, |at| self.element(at) == wanted),
        }
    }

    #[inline]
    fn search(self, step: usize, is_it: impl Fn(At) -> bool) -> Option<At> {
        let mut at = HEADER;
        while at < self.0.len() {
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
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    front: usize,
    back: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (At, Element<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
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
    bytes.extend_from_slice(encoded.head());
    bytes.extend_from_slice(encoded.text);
    bytes.extend_from_slice(encoded.back());
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

/// Length of the head and text of the first element, if they are whole.
fn checked_len(bytes: &[u8]) -> Option<usize> {
    let head = *bytes.first()?;
    let needed = match head {
        0xE0..=0xEF => 2,
        0xF0 => 5,
        0xF5..=0xFF => return None,
        _ => 1,
    };
    bytes.get(..needed)?;
    let len = len_of(bytes, 0);
    (len <= bytes.len()).then_some(len)
}

/// An element on its way into a listpack.
struct Encoded<'a> {
    head: [u8; 9],
    head_len: usize,
    text: &'a [u8],
    back: [u8; 5],
    back_len: usize,
}

impl<'a> Encoded<'a> {
    #[inline]
    fn new(element: Element<'a>) -> Self {
        let (head, head_len, text) = match element {
            Element::Int(number) => {
                let (head, len) = encode_number(number);
                (head, len, &[][..])
            }
            Element::Bytes(text) => {
                let (head, len) = encode_length(text.len());
                (head, len, text)
            }
        };
        let (back, back_len) = encode_back(head_len + text.len());
        Self {
            head,
            head_len,
            text,
            back,
            back_len,
        }
    }

    #[inline]
    fn len(&self) -> usize {
        self.head_len + self.text.len() + self.back_len
    }

    #[inline]
    fn head(&self) -> &[u8] {
        &self.head[..self.head_len]
    }

    #[inline]
    fn back(&self) -> &[u8] {
        &self.back[..self.back_len]
    }
}

/// The lowest byte.
#[inline]
fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

#[inline]
fn encode_number(number: i64) -> ([u8; 9], usize) {
    let le = number.to_le_bytes();
    let mut head = [0; 9];
    let len = match number {
        0..=127 => {
            head[0] = le[0];
            return (head, 1);
        }
        -4096..=4095 => {
            head[0] = 0xC0 | le[1] & 0x1F;
            head[1] = le[0];
            return (head, 2);
        }
        -0x8000..=0x7FFF => 2,
        -0x80_0000..=0x7F_FFFF => 3,
        -0x8000_0000..=0x7FFF_FFFF => 4,
        _ => 8,
    };
    head[0] = match len {
        2 => 0xF1,
        3 => 0xF2,
        4 => 0xF3,
        _ => 0xF4,
    };
    head[1..=len].copy_from_slice(&le[..len]);
    (head, len + 1)
}

#[inline]
fn encode_length(len: usize) -> ([u8; 9], usize) {
    let le = (len as u64).to_le_bytes();
    let mut head = [0; 9];
    if len < 64 {
        head[0] = 0x80 | le[0];
        (head, 1)
    } else if len < 4096 {
        head[0] = 0xE0 | le[1];
        head[1] = le[0];
        (head, 2)
    } else {
        // A request is below 4 GiB, and so is each of its arguments.
        head[0] = 0xF0;
        head[1..5].copy_from_slice(&le[..4]);
        (head, 5)
    }
}

/// The length behind an element. Redis goes over to the next size one number
/// earlier than it must, but for the first.
#[inline]
fn encode_back(len: usize) -> ([u8; 5], usize) {
    let mut back = [0; 5];
    if len <= 127 {
        back[0] = low_byte(len as u64);
        return (back, 1);
    }
    let size = match len {
        0..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    for (at, byte) in back[..size].iter_mut().enumerate() {
        let bits = low_byte(len as u64 >> (7 * (size - 1 - at))) & 0x7F;
        // All but the leftmost say that there is more to the left.
        *byte = if at == 0 { bits } else { bits | 0x80 };
    }
    (back, size)
}

/// Length of the head and text of the element that begins at `at`.
#[inline]
fn len_of(bytes: &[u8], at: usize) -> usize {
    let head = bytes[at];
    match head {
        0x00..=0x7F => 1,
        0x80..=0xBF => 1 + usize::from(head & 0x3F),
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 2 + (usize::from(head & 0x0F) << 8 | usize::from(bytes[at + 1])),
        0xF0 => 5 + usize::try_from(u32_at(bytes, at + 1)).expect("a length fits"),
        0xF1 => 3,
        0xF2 => 4,
        0xF3 => 5,
        0xF4 => 9,
        0xF5..=0xFF => unreachable!("no element begins so"),
    }
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let chunk = bytes[at..].first_chunk().expect("elements are whole");
    u32::from_le_bytes(*chunk)
}

/// Where the element after that at `at` begins.
#[inline]
fn end_of(bytes: &[u8], at: usize) -> usize {
    let len = len_of(bytes, at);
    let back_len = if len <= 127 { 1 } else { encode_back(len).1 };
    at + len + back_len
}

/// Where the element that ends at `end` begins.
#[inline]
fn start_before(bytes: &[u8], end: usize) -> usize {
    let (mut at, mut len, mut shift) = (end, 0, 0);
    loop {
        at -= 1;
        let byte = bytes[at];
        len |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return at - len;
        }
        shift += 7;
    }
}

/// The element that begins at `at`.
#[inline]
fn read(bytes: &[u8], at: usize) -> Element<'_> {
    let head = bytes[at];
    let rest = &bytes[at + 1..];
    match head {
        0x00..=0x7F => Element::Int(i64::from(head)),
        0x80..=0xBF => Element::Bytes(&rest[..usize::from(head & 0x3F)]),
        0xC0..=0xDF => {
            let bits = i64::from(head & 0x1F) << 8 | i64::from(rest[0]);
            Element::Int(signed(bits, 13))
        }
        0xE0..=0xEF => {
            let len = usize::from(head & 0x0F) << 8 | usize::from(rest[0]);
            Element::Bytes(&rest[1..=len])
        }
        0xF0 => {
            let end = len_of(bytes, at);
            Element::Bytes(&bytes[at + 5..at + end])
        }
        _ => {
            let size = len_of(bytes, at) - 1;
            let mut le = [0; 8];
            le[..size].copy_from_slice(&rest[..size]);
            Element::Int(signed(i64::from_le_bytes(le), 8 * size))
        }
    }
}

/// A number of so many bits, as two's complement.
#[inline]
fn signed(number: i64, bits: usize) -> i64 {
    let unused = 64 - bits;
    number << unused >> unused
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
    let (old_len, end) = (bytes.len(), place.start + encoded.len());
    if end > place.end {
        bytes.resize(old_len + end - place.end, 0);
    }
    bytes.copy_within(place.end..old_len, end);
    bytes.truncate(old_len - place.len() + encoded.len());
    let room = &mut bytes[place.start..end];
    let (head, room) = room.split_at_mut(encoded.head_len);
    let (text, back) = room.split_at_mut(encoded.text.len());
    head.copy_from_slice(encoded.head());
    text.copy_from_slice(encoded.text);
    back.copy_from_slice(encoded.back());
    Ok(())
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
