//! What listpacks were before Redis 7: ziplists, and before Redis 2.6 zipmaps.
//!
//! ```text
//! ziplist  length:4  tail:4  count:2 │ before  head  text? │ … │ FF
//! zipmap   count:1 │ length  field  length  free:1  value  unused:free │ … │ FF
//! ```
//!
//! `before` is the length of the entry before, in one byte or, after FE, in four. The
//! lengths in a zipmap are written in the same way. Numbers have the lowest byte first,
//! but for lengths of texts in a ziplist.

use super::packed::number;
use crate::rdb::reader::{Fault, Reader};
use crate::value::Element;

const DAMAGED: Fault = Fault::Corrupt("a ziplist is damaged");
const DAMAGED_MAP: Fault = Fault::Corrupt("a zipmap is damaged");

/// Ends both.
const END: u8 = 0xFF;
/// Four bytes of a length follow.
const LONG: u8 = 0xFE;

/// Bytes before the first entry of a ziplist.
const HEADER: usize = 10;
/// A ziplist with so many entries or more does not count them.
const UNCOUNTED: u16 = u16::MAX;
/// As a zipmap.
const UNCOUNTED_MAP: u8 = LONG;

/// A walk over a ziplist.
#[derive(Debug)]
pub struct Ziplist {
    at: usize,
    /// Bytes of the entry before.
    before: usize,
    /// Where the last entry begins.
    tail: usize,
    count: u16,
    seen: u64,
}

impl Ziplist {
    pub fn open(bytes: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(bytes, 0);
        let mut long = || reader.array().map(u32::from_le_bytes).map(usize::try_from);
        let (Ok(Ok(total)), Ok(Ok(tail))) = (long(), long()) else {
            return Err(DAMAGED);
        };
        let count = reader.array().map(u16::from_le_bytes);
        if total != bytes.len() || bytes.len() <= HEADER || bytes.last() != Some(&END) {
            return Err(DAMAGED);
        }
        Ok(Self {
            at: HEADER,
            before: 0,
            tail,
            count: count.map_err(|_| DAMAGED)?,
            seen: 0,
        })
    }

    pub fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub fn has_more(&self, bytes: &[u8]) -> Result<bool, Fault> {
        if self.at.saturating_add(1) < bytes.len() {
            return Ok(true);
        }
        let is_counted = self.count == UNCOUNTED || u64::from(self.count) == self.seen;
        // Of an empty one it is where the first would begin.
        let has_tail = self.at.checked_sub(self.before) == Some(self.tail);
        match is_counted && has_tail {
            true => Ok(false),
            false => Err(DAMAGED),
        }
    }

    pub fn next<'b>(&mut self, bytes: &'b [u8]) -> Result<Element<'b>, Fault> {
        let mut reader = Reader::new(bytes, self.at);
        let element = self.read(&mut reader).map_err(|_| DAMAGED)?;
        if reader.rest().is_empty() {
            return Err(DAMAGED);
        }
        self.before = reader.at().saturating_sub(self.at);
        self.at = reader.at();
        self.seen = self.seen.saturating_add(1);
        Ok(element)
    }

    fn read<'b>(&self, reader: &mut Reader<'b>) -> Result<Element<'b>, Fault> {
        if length(reader)? != Some(self.before) {
            return Err(DAMAGED);
        }
        let head = reader.byte()?;
        let len = match head {
            0x00..=0x3F => usize::from(head),
            0x40..=0x7F => usize::from(head & 0x3F) << 8 | usize::from(reader.byte()?),
            0x80..=0xBF => {
                let len = reader.array().map(u32::from_be_bytes)?;
                usize::try_from(len).map_err(|_| DAMAGED)?
            }
            0xC0 => return Ok(Element::Int(number(reader.take(2)?))),
            0xD0 => return Ok(Element::Int(number(reader.take(4)?))),
            0xE0 => return Ok(Element::Int(number(reader.take(8)?))),
            0xF0 => return Ok(Element::Int(number(reader.take(3)?))),
            0xFE => return Ok(Element::Int(number(reader.take(1)?))),
            // Numbers from 0 to 12 are within the head.
            0xF1..=0xFD => return Ok(Element::Int(i64::from(head & 0x0F).saturating_sub(1))),
            _ => return Err(DAMAGED),
        };
        reader.take(len).map(Element::Bytes)
    }
}

/// A length of one byte or five; nothing if it is the end.
fn length(reader: &mut Reader<'_>) -> Result<Option<usize>, Fault> {
    Ok(match reader.byte()? {
        END => None,
        LONG => usize::try_from(reader.array().map(u32::from_le_bytes)?).ok(),
        short => Some(short.into()),
    })
}

/// A walk over a zipmap, whose elements are fields and values by turns.
#[derive(Debug)]
pub struct Zipmap {
    at: usize,
    seen: u64,
}

impl Zipmap {
    pub fn open(bytes: &[u8]) -> Result<Self, Fault> {
        match bytes.len() >= 2 && bytes.last() == Some(&END) {
            true => Ok(Self { at: 1, seen: 0 }),
            false => Err(DAMAGED_MAP),
        }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub fn has_more(&self, bytes: &[u8]) -> Result<bool, Fault> {
        if self.at.saturating_add(1) < bytes.len() {
            return Ok(true);
        }
        let count = bytes.first().copied().unwrap_or_default();
        match count >= UNCOUNTED_MAP || u64::from(count).saturating_mul(2) == self.seen {
            true => Ok(false),
            false => Err(DAMAGED_MAP),
        }
    }

    pub fn next<'b>(&mut self, bytes: &'b [u8]) -> Result<Element<'b>, Fault> {
        let mut reader = Reader::new(bytes, self.at);
        let text = self.read(&mut reader).map_err(|_| DAMAGED_MAP)?;
        if reader.rest().is_empty() {
            return Err(DAMAGED_MAP);
        }
        self.at = reader.at();
        self.seen = self.seen.saturating_add(1);
        Ok(Element::Bytes(text))
    }

    fn read<'b>(&self, reader: &mut Reader<'b>) -> Result<&'b [u8], Fault> {
        let len = length(reader)?.ok_or(DAMAGED_MAP)?;
        let is_value = self.seen % 2 == 1;
        let free = if is_value { reader.byte()? } else { 0 };
        let text = reader.take(len)?;
        reader.take(free.into())?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::written::{ziplist, zipmap};

    fn walk_list(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
        let mut list = Ziplist::open(bytes)?;
        let mut found = Vec::new();
        while list.has_more(bytes)? {
            found.push(list.next(bytes)?.with_bytes(<[u8]>::to_vec));
        }
        Ok(found)
    }

    fn walk_map(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
        let mut map = Zipmap::open(bytes)?;
        let mut found = Vec::new();
        while map.has_more(bytes)? {
            found.push(map.next(bytes)?.with_bytes(<[u8]>::to_vec));
        }
        Ok(found)
    }

    #[test]
    fn ziplists_are_read() {
        let mut texts: Vec<Vec<u8>> = [0, 1, 63, 64, 250, 251, 252, 253, 254, 16_383, 16_384]
            .into_iter()
            .map(|len| vec![b'x'; len])
            .collect();
        for number in [
            0,
            12,
            13,
            127,
            128,
            32_767,
            32_768,
            1 << 23,
            1 << 31,
            i64::MAX,
        ] {
            for number in [number, -number, -number - 1] {
                texts.push(number.to_string().into_bytes());
            }
        }
        for wide in [false, true] {
            assert_eq!(walk_list(&ziplist(&texts, wide)).unwrap(), texts);
            assert_eq!(walk_list(&ziplist::<&str>(&[], wide)).unwrap().len(), 0);
        }
    }

    #[test]
    fn damaged_ziplists_are_refused() {
        let bytes = ziplist(&["one", "2", "-300", "70000", &"x".repeat(70)], false);
        assert_eq!(walk_list(&bytes).unwrap().len(), 5);
        for end in 0..bytes.len() {
            assert!(walk_list(&bytes[..end]).is_err());
        }
        for at in 0..HEADER {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(walk_list(&other).is_err(), "{at}");
        }
        for at in HEADER..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[at] ^= 1 << bit;
                if let Ok(found) = walk_list(&other) {
                    assert_eq!(found.len(), 5);
                }
            }
        }
    }

    #[test]
    fn zipmaps_are_read() {
        let long = "v".repeat(300);
        let expected = ["f", "1", "", "", "long", &long];
        for free in [0, 3, 255] {
            let bytes = zipmap(&expected, free);
            assert_eq!(walk_map(&bytes).unwrap(), expected.map(str::as_bytes));
            for end in 0..bytes.len() {
                assert!(walk_map(&bytes[..end]).is_err());
            }
        }
        let many = vec!["text"; 600];
        let found = walk_map(&zipmap(&many, 0)).unwrap();
        assert!(found.len() == 600 && found.iter().all(|it| it == b"text"));
        // A field without a value; a count that is wrong.
        assert!(walk_map(b"\x01\x01f\xFF").is_err());
        assert!(walk_map(b"\x02\x01f\x01\x00v\xFF").is_err());
    }
}
