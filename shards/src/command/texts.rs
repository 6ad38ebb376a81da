//! Copied strings, one after the other, some of them null.

use crate::counted;
use crate::error::OutOfMemory;

/// From so many bytes on a chunk takes no more: growing it would copy.
const CHUNK_BYTES: usize = 256 << 10;

/// Elements of a chunk of a [`Chunked`] row.
const CHUNK: usize = 4096;

/// Chunks that are freed at once.
const CHUNKS_FREED: usize = 4;

/// A row that grows without moving what is in it.
#[derive(Debug)]
pub struct Chunked<T> {
    /// All full but the last.
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T: Copy> Chunked<T> {
    pub fn len(&self) -> usize {
        let last = self.chunks.last().map_or(0, Vec::len);
        self.chunks.len().saturating_sub(1) * CHUNK + last
    }

    pub fn push(&mut self, value: T) -> Result<(), OutOfMemory> {
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.try_reserve(1)?;
            let mut chunk = Vec::new();
            chunk.try_reserve(1)?;
            self.chunks.push(chunk);
        }
        if let Some(last) = self.chunks.last_mut() {
            last.try_reserve(1)?;
            last.push(value);
        }
        Ok(())
    }

    pub fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    /// Frees some of the memory of one that is not needed any more; whether there is
    /// more of it.
    pub fn free_some(&mut self) -> bool {
        let left = self.chunks.len().saturating_sub(CHUNKS_FREED);
        self.chunks.truncate(left);
        left > 0
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }

    pub fn truncate(&mut self, len: usize) {
        self.chunks.truncate(len.div_ceil(CHUNK));
        let before = self.chunks.len().saturating_sub(1) * CHUNK;
        if let Some(last) = self.chunks.last_mut() {
            last.truncate(len - before);
        }
    }
}

/// See above.
#[derive(Debug, Default)]
pub struct Texts {
    chunks: Vec<Vec<u8>>,
    places: Chunked<Place>,
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
    pub fn push(&mut self, text: Option<&[u8]>) -> Result<(), OutOfMemory> {
        let bytes = text.unwrap_or_default();
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
        })?;
        counted::copied(bytes.len());
        last.extend_from_slice(bytes);
        Ok(())
    }

    /// Forgets all of them, but keeps some memory.
    pub fn clear(&mut self) {
        self.chunks.truncate(1);
        self.chunks.iter_mut().for_each(Vec::clear);
        self.places.truncate(0);
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The one at `index`; nothing if it is null, or beyond the end.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let Place { chunk, start, len } = *self.places.get(index)?;
        let start = start as usize;
        let chunk = self.chunks.get(chunk as usize)?;
        (len != NULL).then(|| &chunk[start..start + len as usize])
    }

    /// Puts the one at `from` in the place of that at `to`, whose bytes stay.
    pub fn overwrite(&mut self, to: usize, from: usize) {
        if let Some(place) = self.places.get(from).copied()
            && let Some(to) = self.places.get_mut(to)
        {
            *to = place;
        }
    }

    /// As [`Chunked::free_some`].
    pub fn free_some(&mut self) -> bool {
        let left = self.chunks.len().saturating_sub(CHUNKS_FREED);
        self.chunks.truncate(left);
        self.places.free_some() || left > 0
    }

    /// Forgets those behind the first `len`, whose bytes stay.
    pub fn truncate(&mut self, len: usize) {
        self.places.truncate(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_grows_and_shrinks_by_chunks() {
        let mut row = Chunked::default();
        for number in 0..3 * CHUNK + 1 {
            assert_eq!(row.len(), number);
            row.push(number).unwrap();
        }
        for len in [3 * CHUNK + 1, 3 * CHUNK, 3 * CHUNK - 1, CHUNK, 1, 0] {
            row.truncate(len);
            assert_eq!(row.len(), len);
            assert_eq!(row.get(len), None);
            assert_eq!(row.get(len.wrapping_sub(1)).copied(), len.checked_sub(1));
        }
        row.push(7).unwrap();
        assert_eq!((row.len(), row.get(0)), (1, Some(&7)));
        while row.len() <= 2 * CHUNKS_FREED * CHUNK {
            row.push(8).unwrap();
        }
        assert!(row.free_some() && row.free_some());
        assert!(!row.free_some(), "there is no more");
        assert_eq!(row.len(), 0);
    }

    #[test]
    fn texts_are_kept_in_place() {
        let mut texts = Texts::default();
        let long = vec![b'x'; CHUNK_BYTES];
        for text in [Some(&b"a"[..]), None, Some(&long), Some(b""), Some(b"e")] {
            texts.push(text).unwrap();
        }
        texts.overwrite(0, 4);
        texts.overwrite(1, 2);
        texts.truncate(2);
        assert_eq!(texts.len(), 2);
        assert_eq!(
            (texts.get(0), texts.get(1)),
            (Some(&b"e"[..]), Some(&long[..]))
        );
        assert_eq!(texts.get(2), None);
    }
}
