//! Elements that lie together in one text: listpacks, intsets, and what was before them.
//!
//! Whatever the bytes are, a walk over them ends, and what it says is within them. That
//! counts, lengths backwards and the end are right is checked on the way: who has come
//! to the end has seen nothing but a whole row.

use super::legacy::{Ziplist, Zipmap};
use crate::rdb::format::packed::{END, HEADER, UNCOUNTED};
use crate::rdb::reader::{Fault, Reader};
use crate::value::{Element, listpack};

pub const DAMAGED: Fault = Fault::Corrupt("a listpack is damaged");
const DAMAGED_INTSET: Fault = Fault::Corrupt("an intset is damaged");

/// A walk over such a text; the bytes are shown to every step.
#[derive(Debug)]
pub enum Packed {
    Listpack(Row),
    Ziplist(Ziplist),
    Zipmap(Zipmap),
    Intset(Intset),
    /// The text is a single element, which has been seen or not.
    Plain(bool),
}

impl Packed {
    /// Whether there are more elements. If not, all that is to be checked has been.
    #[inline]
    pub fn has_more(&self, bytes: &[u8]) -> Result<bool, Fault> {
        match self {
            Self::Listpack(row) => row.has_more(bytes),
            Self::Ziplist(list) => list.has_more(bytes),
            Self::Zipmap(map) => map.has_more(bytes),
            Self::Intset(set) => Ok(set.has_more(bytes)),
            Self::Plain(seen) => Ok(!seen),
        }
    }

    /// The next element, which must be there.
    #[inline]
    pub fn next<'b>(&mut self, bytes: &'b [u8]) -> Result<Element<'b>, Fault> {
        match self {
            Self::Listpack(row) => row.next(bytes),
            Self::Ziplist(list) => list.next(bytes),
            Self::Zipmap(map) => map.next(bytes),
            Self::Intset(set) => set.next(bytes),
            Self::Plain(seen) => {
                *seen = true;
                Ok(Element::Bytes(bytes))
            }
        }
    }

    /// How far the walk has come.
    pub fn at(&self) -> usize {
        match self {
            Self::Listpack(row) => row.at,
            Self::Ziplist(list) => list.at(),
            Self::Zipmap(map) => map.at(),
            Self::Intset(set) => set.at,
            Self::Plain(_) => 0,
        }
    }
}

/// A listpack.
#[derive(Debug)]
pub struct Row {
    at: usize,
    seen: u64,
}

impl Row {
    pub fn open(bytes: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(bytes, 0);
        let total = reader.array().map(u32::from_le_bytes);
        let whole = total.is_ok_and(|total| usize::try_from(total) == Ok(bytes.len()));
        if !whole || bytes.len() <= HEADER || bytes.last() != Some(&END) {
            return Err(DAMAGED);
        }
        Ok(Self {
            at: HEADER,
            seen: 0,
        })
    }

    #[inline]
    fn is_at_end(&self, bytes: &[u8]) -> bool {
        self.at.saturating_add(1) >= bytes.len()
    }

    #[inline]
    pub fn has_more(&self, bytes: &[u8]) -> Result<bool, Fault> {
        if !self.is_at_end(bytes) {
            return Ok(true);
        }
        let count = count_of(bytes)?;
        match count == UNCOUNTED || u64::from(count) == self.seen {
            true => Ok(false),
            false => Err(DAMAGED),
        }
    }

    #[inline]
    pub fn next<'b>(&mut self, bytes: &'b [u8]) -> Result<Element<'b>, Fault> {
        let (element, end) = element_at(bytes, self.at).ok_or(DAMAGED)?;
        // The last byte is the mark of the end, and of no element.
        if end >= bytes.len() {
            return Err(DAMAGED);
        }
        self.at = end;
        self.seen = self.seen.saturating_add(1);
        Ok(element)
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn seen(&self) -> u64 {
        self.seen
    }
}

/// The count in a listpack's header.
pub fn count_of(bytes: &[u8]) -> Result<u16, Fault> {
    let count = bytes
        .get(HEADER.saturating_sub(2)..)
        .and_then(|it| it.first_chunk());
    count.copied().map(u16::from_le_bytes).ok_or(DAMAGED)
}

/// The elements of a listpack, between its header and its end.
pub fn elements_of(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(HEADER..bytes.len().checked_sub(1)?)
}

/// The element of a listpack at a place, and where it ends, if it is whole.
#[inline]
fn element_at(bytes: &[u8], at: usize) -> Option<(Element<'_>, usize)> {
    let rest = bytes.get(at..)?;
    let head = *rest.first()?;
    let (element, len) = match head {
        0x00..=0x7F => (Element::Int(head.into()), 1),
        0x80..=0xBF => text(rest, 1, usize::from(head & 0x3F))?,
        0xC0..=0xDF => {
            let low = *rest.get(1)?;
            let bits = u16::from(head & 0x1F) << 8 | u16::from(low);
            let number = i16::from_le_bytes((bits << 3).to_le_bytes()) >> 3;
            (Element::Int(number.into()), 2)
        }
        0xE0..=0xEF => {
            let len = usize::from(head & 0x0F) << 8 | usize::from(*rest.get(1)?);
            text(rest, 2, len)?
        }
        0xF0 => {
            let len = rest.get(1..).and_then(|it| it.first_chunk())?;
            text(rest, 5, usize::try_from(u32::from_le_bytes(*len)).ok()?)?
        }
        0xF1 => (Element::Int(number(rest.get(1..3)?)), 3),
        0xF2 => (Element::Int(number(rest.get(1..4)?)), 4),
        0xF3 => (Element::Int(number(rest.get(1..5)?)), 5),
        0xF4 => (Element::Int(number(rest.get(1..9)?)), 9),
        0xF5..=0xFF => return None,
    };
    let back = has_length_behind(rest.get(len..)?, len)?;
    Some((element, at.checked_add(len)?.checked_add(back)?))
}

#[inline]
fn text(rest: &[u8], head: usize, len: usize) -> Option<(Element<'_>, usize)> {
    let end = head.checked_add(len)?;
    Some((Element::Bytes(rest.get(head..end)?), end))
}

/// A number of up to eight bytes, the lowest first.
#[inline]
pub fn number(bytes: &[u8]) -> i64 {
    let mut le = match bytes.last() {
        Some(0x80..) => [0xFF; 8],
        _ => [0; 8],
    };
    for (to, from) in le.iter_mut().zip(bytes) {
        *to = *from;
    }
    i64::from_le_bytes(le)
}

/// Whether the length of an element follows it, to be read backwards; in how many bytes.
#[inline]
fn has_length_behind(rest: &[u8], len: usize) -> Option<usize> {
    if len <= 127 {
        return (usize::from(*rest.first()?) == len).then_some(1);
    }
    let size: usize = match len {
        0..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    let mut found = 0usize;
    for (nth, byte) in rest.get(..size)?.iter().enumerate() {
        // All but the leftmost say that there is more to the left.
        if (byte & 0x80 != 0) != (nth > 0) {
            return None;
        }
        found = found << 7 | usize::from(byte & 0x7F);
    }
    (found == len).then_some(size)
}

/// Whether an element of so many bytes is written as it is in memory: numbers are
/// numbers, and as short as they can be.
#[inline]
pub fn is_as_kept(element: Element<'_>, bytes: usize) -> bool {
    let kept = match element {
        Element::Int(_) => element,
        Element::Bytes(text) => Element::from(text),
    };
    kept == element && kept.room() == bytes
}

/// Appends an element as it is kept in memory.
#[inline]
pub fn push(flat: &mut Vec<u8>, element: Element<'_>) -> Result<(), Fault> {
    match element {
        Element::Int(_) => listpack::push_back(flat, element)?,
        Element::Bytes(text) => listpack::push_back(flat, text)?,
    }
    Ok(())
}

/// Integers in order; width and count, four bytes each, precede them.
#[derive(Debug)]
pub struct Intset {
    at: usize,
    width: usize,
    before: Option<i64>,
}

impl Intset {
    pub fn open(bytes: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(bytes, 0);
        let mut number = || reader.array().map(u32::from_le_bytes);
        let (Ok(width), Ok(count)) = (number(), number()) else {
            return Err(DAMAGED_INTSET);
        };
        let needed = u64::from(width).checked_mul(count.into());
        if !matches!(width, 2 | 4 | 8) || count == 0 || needed != Some(reader.rest().len() as u64) {
            return Err(DAMAGED_INTSET);
        }
        Ok(Self {
            at: reader.at(),
            width: usize::try_from(width).map_err(|_| DAMAGED_INTSET)?,
            before: None,
        })
    }

    #[inline]
    fn has_more(&self, bytes: &[u8]) -> bool {
        self.at < bytes.len()
    }

    #[inline]
    fn next<'b>(&mut self, bytes: &'b [u8]) -> Result<Element<'b>, Fault> {
        let end = self.at.saturating_add(self.width);
        let number = number(bytes.get(self.at..end).ok_or(DAMAGED_INTSET)?);
        if self.before.is_some_and(|before| before >= number) {
            return Err(Fault::Corrupt("the integers of a set are not in order"));
        }
        (self.at, self.before) = (end, Some(number));
        Ok(Element::Int(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::written::{intset, listpack};

    fn walk(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
        let mut row = Row::open(bytes)?;
        let mut found = Vec::new();
        while row.has_more(bytes)? {
            found.push(row.next(bytes)?.with_bytes(<[u8]>::to_vec));
        }
        Ok(found)
    }

    #[test]
    fn elements_of_every_size_are_read() {
        let mut texts: Vec<Vec<u8>> = [0, 1, 62, 63, 64, 126, 127, 128, 4_000, 4_095, 4_096]
            .into_iter()
            .chain([16_370, 16_381, 16_382, 16_383, 2_097_140, 2_097_151])
            .map(|len| vec![b'x'; len])
            .collect();
        let edges = [0, 127, 128, 4_095, 4_096, 32_767, 32_768, 1 << 23, i64::MAX];
        for number in edges {
            for number in [number, -number, -number - 1] {
                texts.push(number.to_string().into_bytes());
            }
        }
        assert_eq!(walk(&listpack(&texts)).unwrap(), texts);
        assert_eq!(walk(&listpack::<&str>(&[])).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let bytes = listpack(&["one", "2", "-300", "70000"]);
        assert!(walk(&bytes).is_ok());
        for end in 0..bytes.len() {
            assert!(walk(&bytes[..end]).is_err());
        }
        // Heads, counts and lengths: everything but the text and low bits of numbers.
        let text = 7..10;
        let (mut refused, mut accepted) = (0, 0);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[at] ^= 1 << bit;
                match walk(&other) {
                    Err(_) => refused += 1,
                    Ok(found) => {
                        accepted += 1;
                        assert!(found.len() == 4 || other[4..6] == [0xFF; 2]);
                    }
                }
                assert!(!text.contains(&at) || walk(&other).is_ok());
            }
        }
        assert!(refused > accepted, "{refused} {accepted}");
        let mut uncounted = bytes.clone();
        uncounted[4..6].copy_from_slice(&[0xFF; 2]);
        assert_eq!(walk(&uncounted).unwrap().len(), 4);
    }

    #[test]
    fn integers_of_a_set_ascend() {
        let walk = |width: u32, count: u32, numbers: &[i64]| {
            let mut bytes = intset(width, numbers);
            bytes[4..8].copy_from_slice(&count.to_le_bytes());
            let mut set = Intset::open(&bytes)?;
            let mut found = Vec::new();
            while set.has_more(&bytes) {
                found.push(set.next(&bytes)?.with_bytes(<[u8]>::to_vec));
            }
            Ok(found.len())
        };
        let damaged = Err(DAMAGED_INTSET);
        for width in [2, 4, 8] {
            assert_eq!(walk(width, 3, &[-5, 0, 300]), Ok(3));
            assert!(walk(width, 3, &[-5, 0, 0]).is_err());
            assert!(walk(width, 3, &[0, -1, 3]).is_err());
            for count in [0, 2, 4, u32::MAX] {
                assert_eq!(walk(width, count, &[-5, 0, 300]), damaged);
            }
        }
        assert_eq!(walk(8, 0, &[]), damaged);
        for width in [0, 1, 3, 6, 16, u32::MAX] {
            assert_eq!(walk(width, 1, &[1]), damaged);
        }
    }
}
