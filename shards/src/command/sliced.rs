//! Work on a whole shard that is done in slices.
//!
//! A row with [`InSlices::Always`](super::InSlices::Always) is always a transaction
//! that locks whole shards, on one shard as well as on many. Its part is called
//! again and again with the same arguments, at the same instant, and with what
//! it has put into [`Cargo::sliced`](super::Cargo), until that says that there
//! is no more to do. In between the shard serves others. They cannot change what
//! the part reads: its lock keeps writers out, and nothing expires meanwhile.

use super::{Work, digest};
use crate::error::{CommandError, OutOfMemory};
use crate::resp::{FRAME_BYTES, Protocol, Reply};

/// From so many bytes on a piece is closed and another begun: growing it would
/// copy, and a send should not take long.
const PIECE_BYTES: usize = 256 << 10;

/// How far a part in slices has come, and what it has found.
#[derive(Debug, Default)]
pub struct Sliced {
    /// The part is to be called again.
    pub more: bool,
    /// Where to go on: a database, and a place in it.
    pub db: u16,
    pub cursor: u64,
    /// A sum of what was met, for those who make one.
    pub sum: digest::Sum,
    pub found: Pieces,
    /// Instead of all that: what a request has done that works on much.
    pub work: Option<Work>,
    /// What it has replied before the rest of its reply, if that is long: it is neither
    /// moved nor copied when more comes.
    pub written: Vec<Vec<u8>>,
}

/// The elements of an array, written as a reply without its header. A long one
/// is neither moved nor copied as a whole.
#[derive(Debug, Default)]
pub struct Pieces {
    /// Elements in all pieces.
    pub len: usize,
    /// Bytes of all pieces.
    pub bytes: usize,
    pieces: Vec<Vec<u8>>,
}

impl Pieces {
    /// Adds a bulk string.
    ///
    /// # Errors
    /// There is no memory for it; then it is not there.
    pub fn bulk(&mut self, protocol: Protocol, bytes: &[u8]) -> Result<(), CommandError> {
        self.add(protocol, Some(bytes))
    }

    /// Adds a bulk string, or null.
    ///
    /// # Errors
    /// As there.
    pub fn add(&mut self, protocol: Protocol, bytes: Option<&[u8]>) -> Result<(), CommandError> {
        let piece = self.open_piece()?;
        let len = bytes.map_or(0, <[u8]>::len);
        let room = piece.try_reserve(len.saturating_add(FRAME_BYTES));
        room.map_err(|_| CommandError::OutOfMemory)?;
        self.write(protocol, |reply| match bytes {
            Some(bytes) => reply.bulk(bytes),
            None => reply.null(),
        })
    }

    /// Adds an element, whatever it is.
    ///
    /// # Errors
    /// There is no memory for it; then there is nothing more to be done with all this.
    pub fn write(
        &mut self,
        protocol: Protocol,
        write: impl FnOnce(&mut Reply<'_>),
    ) -> Result<(), CommandError> {
        let piece = self.open_piece()?;
        let before = piece.len();
        let mut reply = Reply::new(piece, protocol);
        write(&mut reply);
        reply.complete()?;
        let written = piece.len() - before;
        self.bytes += written;
        self.len += 1;
        Ok(())
    }

    /// Adds bytes that are no element.
    ///
    /// # Errors
    /// There is no memory for them; then there is nothing more to be done with all this.
    pub fn write_bytes<T>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<T, OutOfMemory>,
    ) -> Result<T, CommandError> {
        let piece = self.open_piece()?;
        let before = piece.len();
        let done = write(piece)?;
        let written = piece.len() - before;
        self.bytes += written;
        Ok(done)
    }

    /// The last piece, or another one if that is full.
    fn open_piece(&mut self) -> Result<&mut Vec<u8>, CommandError> {
        let full = |piece: &Vec<u8>| piece.len() >= PIECE_BYTES;
        if self.pieces.last().is_none_or(full) {
            let room = self.pieces.try_reserve(1);
            room.map_err(|_| CommandError::OutOfMemory)?;
            self.pieces.push(Vec::new());
        }
        self.pieces.last_mut().ok_or(CommandError::OutOfMemory)
    }

    /// Adds all elements of another one behind its own.
    pub fn append(&mut self, other: Self) {
        self.len += other.len;
        self.bytes += other.bytes;
        self.pieces.extend(other.pieces);
    }

    /// Whether they do not fit one piece.
    pub fn is_long(&self) -> bool {
        self.bytes > PIECE_BYTES
    }

    /// Writes the header of the array and, if they fit one piece, its elements;
    /// otherwise what is to follow is returned.
    pub fn reply(self, reply: &mut Reply<'_>) -> Vec<Vec<u8>> {
        reply.array(self.len);
        if self.is_long() {
            return self.pieces;
        }
        self.pieces.iter().for_each(|piece| reply.raw(piece));
        Vec::new()
    }

    /// Writes piece `number` of the elements; whether there is another.
    pub fn reply_piece(&self, reply: &mut Reply<'_>, number: usize) -> bool {
        if let Some(piece) = self.pieces.get(number) {
            reply.raw(piece);
        }
        number + 1 < self.pieces.len()
    }

    /// Writes the array.
    pub fn reply_whole(&self, reply: &mut Reply<'_>) {
        reply.array(self.len);
        self.reply_elements(reply);
    }

    /// Writes the elements.
    pub fn reply_elements(&self, reply: &mut Reply<'_>) {
        self.pieces.iter().for_each(|piece| reply.raw(piece));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_array_is_left_in_pieces() {
        let key = [b'k'; 1000];
        let mut found = Pieces::default();
        let mut out = Vec::new();
        for count in [1, 1000] {
            found = Pieces::default();
            (0..count).for_each(|_| found.bulk(Protocol::Resp2, &key).unwrap());
            let mut whole = Vec::new();
            found.reply_whole(&mut Reply::new(&mut whole, Protocol::Resp2));
            out.clear();
            let pieces = found.reply(&mut Reply::new(&mut out, Protocol::Resp2));
            assert_eq!(pieces.is_empty(), count == 1);
            let longest = pieces.iter().map(Vec::len).max();
            assert!(longest.unwrap_or(0) < PIECE_BYTES + 2 * key.len());
            out.extend(pieces.concat());
            assert_eq!(out, whole);
            assert_eq!(whole.len(), format!("*{count}\r\n").len() + count * 1009);
            found = Pieces::default();
        }
        assert_eq!(found.len, 0);
    }
}
