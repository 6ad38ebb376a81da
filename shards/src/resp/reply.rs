//! Writes replies, RESP2 or RESP3, straight into an output buffer.

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
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    protocol: Protocol,
}

/// Where an aggregate of unknown length began; see [`Reply::array_deferred`].
#[derive(Debug)]
pub struct Mark(usize);

impl<'a> Reply<'a> {
    /// Appends to `out`.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, protocol: Protocol) -> Self {
        Self { out, protocol }
    }

    /// The version replies are written for.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Bytes in the buffer, those before this reply included.
    #[inline]
    pub fn written(&self) -> usize {
        self.out.len()
    }

    /// `+text`. The text has no CR or LF.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        self.out.push(b'+');
        self.line(text.as_bytes());
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
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
        self.out.push(b'-');
        let clean = |byte: &u8| {
            if matches!(byte, b'\r' | b'\n') {
                b' '
            } else {
                *byte
            }
        };
        let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
        let shown = end.and_then(|last| text.get(..=last)).unwrap_or_default();
        self.out.extend(shown.iter().map(clean));
        self.out.extend_from_slice(b"\r\n");
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
        self.out.reserve(bytes.len().saturating_add(32));
        match u8::try_from(bytes.len()) {
            // Two digits, as most keys and values have: no general formatting.
            Ok(len @ 10..100) => {
                let (tens, ones) = (b'0'.wrapping_add(len / 10), b'0'.wrapping_add(len % 10));
                let header = [b'$', tens, ones, b'\r', b'\n'];
                self.out.extend_from_slice(&header);
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
                self.out.push(b',');
                self.line(text);
            }
        }
    }

    /// The null of the version: `$-1` or `_`.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// The null array of the version: `*-1` or `_`.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.protocol {
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
        self.out.extend_from_slice(match (self.protocol, value) {
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
                self.out.extend_from_slice(format.as_bytes());
                self.out.push(b':');
                self.line(text.as_bytes());
            }
        }
    }

    /// Appends replies as they were written elsewhere.
    pub fn raw(&mut self, replies: &[u8]) {
        self.out.extend_from_slice(replies);
    }

    /// Begins an array whose length is known only at its end; give the mark to
    /// [`Reply::end_array`].
    pub fn array_deferred(&mut self) -> Mark {
        Mark(self.out.len())
    }

    /// Writes the header of the array begun at `mark`: everything written since
    /// is moved up, so use it for small replies.
    pub fn end_array(&mut self, mark: Mark, len: usize) {
        let tail = self.out.split_off(mark.0);
        self.array(len);
        self.out.extend_from_slice(&tail);
    }

    #[inline]
    fn header(&mut self, kind: u8, number: i64) {
        // One digit, as what most requests are answered with: no general
        // formatting.
        if let Ok(digit @ 0..10) = u8::try_from(number) {
            let line = [kind, b'0'.wrapping_add(digit), b'\r', b'\n'];
            return self.out.extend_from_slice(&line);
        }
        if let Some((line, len)) = number_line(kind, number) {
            // A copy of a length that is not known is a call.
            let end = self.out.len().saturating_add(len);
            self.out.extend_from_slice(&line);
            return self.out.truncate(end);
        }
        self.out.push(kind);
        self.line(itoa::Buffer::new().format(number).as_bytes());
    }

    #[inline]
    fn line(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }
}
