//! Copied strings, one after the other, some of them null.

use crate::error::OutOfMemory;
use crate::number::parse_i64;

/// See above.
#[derive(Default)]
pub struct Texts {
    bytes: Vec<u8>,
    /// Where each ends, and whether there is one.
    ends: Vec<(usize, bool)>,
}

impl Texts {
    pub fn push(&mut self, text: Option<&[u8]>) -> Result<(), OutOfMemory> {
        let bytes = text.unwrap_or_default();
        self.bytes.try_reserve(bytes.len())?;
        self.ends.try_reserve(1)?;
        self.bytes.extend_from_slice(bytes);
        self.ends.push((self.bytes.len(), text.is_some()));
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// All of them together.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The one at `index`; nothing if it is null, or beyond the end.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let (end, there) = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before].0);
        there.then(|| &self.bytes[start..end])
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&[u8]>> + Clone {
        (0..self.len()).map(|index| self.get(index))
    }

    /// From an array of bulk strings and nulls that the engine replied as RESP2.
    pub fn of_reply(reply: &[u8]) -> Result<Self, OutOfMemory> {
        let mut texts = Self::default();
        let line = |bytes: &[u8]| memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
        let mut rest = reply.get(line(reply)..).unwrap_or_default();
        while !rest.is_empty() {
            let start = line(rest);
            let digits = rest.get(1..start.saturating_sub(2)).unwrap_or_default();
            let length = parse_i64(digits).and_then(|length| usize::try_from(length).ok());
            texts.push(length.and_then(|length| rest.get(start..start.checked_add(length)?)))?;
            let end = length.map_or(start, |length| start + length + 2);
            rest = rest.get(end..).unwrap_or_default();
        }
        Ok(texts)
    }
}
