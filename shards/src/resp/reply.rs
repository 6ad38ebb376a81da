//! Writes replies, RESP2 or RESP3, straight into an output buffer.

use crate::counted;
use crate::error::{CommandError, ProtocolError};
use crate::number::{float_text, number_line};

/// The protocol version a connection speaks (HELLO).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// A writer of replies.
///
/// A reply may end before its end: where it passes what its client may have, or
/// where there is no memory for more. From then on all that is written is dropped,
/// and [`Reply::is_cut`]: whoever made the writer looks, and sends nothing of it.
/// That is found out only where the buffer must grow anyway, so a short reply pays
/// nothing for it.
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    /// Length that the buffer may grow to; [`CUT`]: nothing more is written.
    end: usize,
    protocol: Protocol,
}

/// No buffer with anything in it ends there.
const CUT: usize = 0;

/// A buffer with this end grows as a `Vec` does, and no lack of memory is borne with.
const NEVER_CUT: usize = usize::MAX;

/// A length that is beyond all memory, and to which some can be added.
pub const UNLIMITED: usize = usize::MAX >> 1;

/// What `$length` and the line ends around a string may take.
pub const FRAME_BYTES: usize = 32;

/// Bytes that a buffer has room for when it has any.
const ROOM_MIN: usize = 64;

/// Where an aggregate of unknown length began; see [`Reply::array_deferred`].
#[derive(Debug)]
pub struct Mark(usize);

impl<'a> Reply<'a> {
    /// Appends to `out`, for what is short: it is never cut.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, protocol: Protocol) -> Self {
        Self::until(out, protocol, NEVER_CUT)
    }

    /// Appends to `out`, which grows to `end` bytes at most, what is in it already
    /// included. Room that it has beyond that may be used.
    #[inline]
    pub fn until(out: &'a mut Vec<u8>, protocol: Protocol, end: usize) -> Self {
        Self { out, end, protocol }
    }

    /// Whether something was dropped, so that what was written makes no sense.
    #[inline]
    pub fn is_cut(&self) -> bool {
        self.end == CUT
    }

    /// The end of a command of which a client can make the reply long.
    ///
    /// # Errors
    /// It is cut: then there is none.
    #[inline]
    pub fn complete(&self) -> Result<(), CommandError> {
        match self.is_cut() {
            true => Err(CommandError::TooLong),
            false => Ok(()),
        }
    }

    /// Whether there is room for so many bytes more; they are dropped otherwise.
    #[inline]
    fn room(&mut self, bytes: usize) -> bool {
        if bytes > self.out.capacity().wrapping_sub(self.out.len()) {
            return self.grow(bytes);
        }
        true
    }

    /// Makes room as a `Vec` does by itself, but only as far as it may, and fails
    /// where there is no memory.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, bytes: usize) -> bool {
        let (len, end) = (self.out.len(), self.end);
        if end == NEVER_CUT {
            self.out.reserve(bytes);
            return true;
        }
        let needed = len.saturating_add(bytes);
        let doubled = self.out.capacity().saturating_mul(2).max(ROOM_MIN);
        let most = doubled.min(end).max(needed).saturating_sub(len);
        let grown = needed <= end
            && (self.out.try_reserve_exact(most).is_ok()
                || self.out.try_reserve_exact(bytes).is_ok());
        if !grown {
            self.end = CUT;
        }
        grown
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if self.room(bytes.len()) {
            self.out.extend_from_slice(bytes);
        }
    }

    /// The version replies are written for.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What follows is written for this version.
    pub fn speak(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Takes back what was written from a length of the buffer on: it goes another way.
    ///
    /// # Errors
    /// There is no memory for it; it is gone.
    pub fn take_from(&mut self, begin: usize) -> Result<Vec<u8>, CommandError> {
        if begin == 0 {
            return Ok(std::mem::take(self.out));
        }
        let mut taken = Vec::new();
        let written = self.out.get(begin..).unwrap_or_default();
        let reserved = taken.try_reserve_exact(written.len());
        if reserved.is_ok() {
            counted::copied(written.len());
            taken.extend_from_slice(written);
        }
        self.out.truncate(begin);
        reserved.map_err(|_| CommandError::OutOfMemory)?;
        Ok(taken)
    }

    /// Bytes in the buffer, those before this reply included.
    #[inline]
    pub fn written(&self) -> usize {
        self.out.len()
    }

    /// `+text`. The text has no CR or LF.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        self.put(b"+");
        self.line(text.as_bytes());
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.put(b"+OK\r\n");
    }

    /// `-text`. A CR or LF that came in with the request becomes a space, or
    /// goes if it ends the text.
    pub fn error(&mut self, error: &CommandError) {
        self.error_bytes(&error.to_bytes());
    }

    /// As [`Reply::error`], for texts that have no `CommandError`.
    pub fn error_text(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    fn error_bytes(&mut self, text: &[u8]) {
        self.put(b"-");
        let clean = |byte: &u8| {
            if matches!(byte, b'\r' | b'\n') {
                b' '
            } else {
                *byte
            }
        };
        let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
        let shown = end.and_then(|last| text.get(..=last)).unwrap_or_default();
        if self.room(shown.len()) {
            self.out.extend(shown.iter().map(clean));
        }
        self.put(b"\r\n");
    }

    /// The last words before a connection is closed.
    pub fn protocol_error(&mut self, error: ProtocolError) {
        let mut text = b"ERR Protocol error: ".to_vec();
        match error {
            // Whatever byte it was, it is shown as it is.
            ProtocolError::ExpectedBulk(byte) => {
                text.extend_from_slice(b"expected '$', got '");
                text.extend_from_slice(&[byte, b'\'']);
            }
            other => text.extend_from_slice(other.to_string().as_bytes()),
        }
        self.error_bytes(&text);
    }

    /// `:number`.
    #[inline]
    pub fn integer(&mut self, number: i64) {
        self.header(b':', number);
    }

    /// `$length` and the bytes.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        if !self.room(bytes.len().saturating_add(FRAME_BYTES)) {
            return;
        }
        match u8::try_from(bytes.len()) {
            // Two digits, as most keys and values have: no general formatting.
            Ok(len @ 10..100) => {
                let (tens, ones) = (b'0'.wrapping_add(len / 10), b'0'.wrapping_add(len % 10));
                let header = [b'$', tens, ones, b'\r', b'\n'];
                self.put(&header);
            }
            _ => self.header(b'$', bytes.len() as i64),
        }
        self.line(bytes);
    }

    /// A number as a bulk string.
    #[inline]
    pub fn bulk_integer(&mut self, number: i64) {
        self.bulk(itoa::Buffer::new().format(number).as_bytes());
    }

    /// A floating-point number; RESP2: a bulk string.
    #[inline]
    pub fn double(&mut self, number: f64) {
        self.double_text(float_text(number).as_bytes());
    }

    /// A floating-point number that is written already; RESP2: a bulk string.
    #[inline]
    pub fn double_text(&mut self, text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.put(b",");
                self.line(text);
            }
        }
    }

    /// The null of the version: `$-1` or `_`.
    #[inline]
    pub fn null(&mut self) {
        self.put(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// The null array of the version: `*-1` or `_`.
    pub fn null_array(&mut self) {
        self.put(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// The header of an array; `len` replies must follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len as i64);
    }

    /// The header of a map; `len` pairs must follow. RESP2: a flat array.
    pub fn map(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', (len as i64).saturating_mul(2)),
            Protocol::Resp3 => self.header(b'%', len as i64),
        }
    }

    /// The header of a set; `len` replies must follow. RESP2: an array.
    pub fn set(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', len as i64),
            Protocol::Resp3 => self.header(b'~', len as i64),
        }
    }

    /// The header of a push message; `len` replies must follow. RESP2: an array.
    pub fn push(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', len as i64),
            Protocol::Resp3 => self.header(b'>', len as i64),
        }
    }

    /// A boolean; RESP2: `:1` or `:0`.
    pub fn boolean(&mut self, value: bool) {
        self.put(match (self.protocol, value) {
            (Protocol::Resp2, true) => b":1\r\n",
            (Protocol::Resp2, false) => b":0\r\n",
            (Protocol::Resp3, true) => b"#t\r\n",
            (Protocol::Resp3, false) => b"#f\r\n",
        });
    }

    /// Text with a format of three letters (`txt`, `mkd`); RESP2: a bulk string.
    pub fn verbatim(&mut self, format: &str, text: &str) {
        debug_assert_eq!(format.len(), 3);
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => {
                self.header(b'=', (text.len() as i64).saturating_add(4));
                self.put(format.as_bytes());
                self.put(b":");
                self.line(text.as_bytes());
            }
        }
    }

    /// Appends replies as they were written elsewhere.
    pub fn raw(&mut self, replies: &[u8]) {
        counted::copied(replies.len());
        self.put(replies);
    }

    /// Begins an array whose length is known only at its end; give the mark to
    /// [`Reply::end_array`].
    pub fn array_deferred(&mut self) -> Mark {
        Mark(self.out.len())
    }

    /// Writes the header of the array begun at `mark`: everything written since
    /// is moved up, so use it for small replies.
    pub fn end_array(&mut self, mark: Mark, len: usize) {
        let before = self.out.len();
        self.array(len);
        let header = self.out.len().saturating_sub(before);
        if let Some(array) = self.out.get_mut(mark.0..) {
            array.rotate_right(header);
        }
    }

    /// Corrects the header of the array that begins at `mark`, which told another length.
    pub fn correct_array(&mut self, mark: &Mark, told: usize, len: usize) {
        let before = self.out.len();
        self.array(len);
        let header = self.out.len().saturating_sub(before);
        // `*`, the digits and the end of the line.
        let wrong = itoa::Buffer::new().format(told).len().saturating_add(3);
        if self.is_cut() {
            return;
        }
        let Some(array) = self.out.get_mut(mark.0..) else {
            return;
        };
        array.rotate_right(header);
        let start = mark.0.saturating_add(header);
        let end = start.saturating_add(wrong).min(self.out.len());
        self.out.drain(start.min(end)..end);
    }

    #[inline]
    fn header(&mut self, kind: u8, number: i64) {
        // One digit, as what most requests are answered with: no general
        // formatting.
        if let Ok(digit @ 0..10) = u8::try_from(number) {
            let line = [kind, b'0'.wrapping_add(digit), b'\r', b'\n'];
            return self.put(&line);
        }
        if let Some((line, len)) = number_line(kind, number) {
            // A copy of a length that is not known is a call.
            let end = self.out.len().saturating_add(len);
            if self.room(line.len()) {
                self.out.extend_from_slice(&line);
                self.out.truncate(end);
            }
            return;
        }
        self.put(&[kind]);
        self.line(itoa::Buffer::new().format(number).as_bytes());
    }

    #[inline]
    fn line(&mut self, bytes: &[u8]) {
        counted::copied(bytes.len());
        self.put(bytes);
        self.put(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replies of which a byte more is too much are whole; one byte less and they are
    /// cut, and no memory beyond the end is taken.
    #[test]
    fn a_reply_ends_where_it_may_not_go_on() {
        for elements in [1, 3, 1000] {
            let write = |end: usize| {
                let mut out = Vec::new();
                let mut reply = Reply::until(&mut out, Protocol::Resp2, end);
                reply.array(elements);
                for _ in 0..elements {
                    reply.bulk(&[b'x'; 100]);
                    reply.integer(123_456_789_012);
                }
                let is_cut = reply.is_cut();
                assert_eq!(reply.complete().is_err(), is_cut);
                (is_cut, out)
            };
            let (_, whole) = write(UNLIMITED);
            // A string asks for room for the longest frame that it may have.
            let enough = whole.len() + FRAME_BYTES;
            assert_eq!(write(enough), (false, whole.clone()));
            for end in [1, 50, whole.len() / 2, whole.len() - 1] {
                let (is_cut, out) = write(end);
                assert!(is_cut && out.capacity() <= end, "{end} of {}", whole.len());
            }
        }
    }

    #[test]
    fn an_array_of_unknown_length_is_as_one_of_known_length() {
        for len in [0usize, 3, 12] {
            let [mut known, mut found] = [b"before".to_vec(), b"before".to_vec()];
            let mut reply = Reply::new(&mut known, Protocol::Resp2);
            reply.array(len);
            (0..len).for_each(|_| reply.bulk(b"element"));
            let mut reply = Reply::new(&mut found, Protocol::Resp2);
            let mark = reply.array_deferred();
            (0..len).for_each(|_| reply.bulk(b"element"));
            reply.end_array(mark, len);
            assert_eq!(known, found);
        }
    }
}
