//! Copied strings, one after the other, some of them null.

use crate::error::OutOfMemory;
use crate::number::parse_i64;

/// From so many bytes on a chunk takes no more: growing it would copy.
const CHUNK_BYTES: usize = 256 << 10;

/// See above.
#[derive(Debug, Default)]
pub struct Texts {
    chunks: Vec<Vec<u8>>,
    places: Vec<Place>,
    bytes_len: usize,
}

/// Where one is, in one of the chunks. No string is 4 GiB long.
#[derive(Clone, Copy, Debug)]
struct Place {
    chunk: u32,
    start: u32,
    len: u32,
}

/// The length of what is null.
const NULL: u32 = u32::MAX;

impl Texts {
    /// Says how many will come.
    pub fn expect(&mut self, count: usize) -> Result<(), OutOfMemory> {
        Ok(self.places.try_reserve_exact(count)?)
    }

    pub fn push(&mut self, text: Option<&[u8]>) -> Result<(), OutOfMemory> {
        let bytes = text.unwrap_or_default();
        self.places.try_reserve(1)?;
        let is_full = |chunk: &Vec<u8>| chunk.len() >= CHUNK_BYTES;
        if self.chunks.last().is_none_or(is_full) {
            self.chunks.try_reserve(1)?;
            self.chunks.push(Vec::new());
        }
        let number = |of: usize| u32::try_from(of).map_err(|_| OutOfMemory);
        let chunk = number(self.chunks.len() - 1)?;
        let last = self.chunks.last_mut().ok_or(OutOfMemory)?;
        last.try_reserve(bytes.len())?;
        self.places.push(Place {
            chunk,
            start: number(last.len())?,
            len: match text {
                Some(text) => number(text.len())?,
                None => NULL,
            },
        });
        last.extend_from_slice(bytes);
        self.bytes_len += bytes.len();
        Ok(())
    }

    pub fn clear(&mut self) {
        self.chunks.truncate(1);
        self.chunks.iter_mut().for_each(Vec::clear);
        self.places.clear();
        self.bytes_len = 0;
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// All of them together.
    pub fn bytes_len(&self) -> usize {
        self.bytes_len
    }

    /// The one at `index`; nothing if it is null, or beyond the end.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let Place { chunk, start, len } = *self.places.get(index)?;
        let start = start as usize;
        let chunk = self.chunks.get(chunk as usize)?;
        (len != NULL).then(|| &chunk[start..start + len as usize])
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
