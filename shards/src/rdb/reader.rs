//! The small parts of the format as they are read: lengths, texts, numbers. And what
//! may be wrong with bytes, and where.
//!
//! A [`Reader`] never reads behind what it was given, and never believes a length before
//! the bytes are there.

use super::format::{length, text};
use super::lzf::{self, LzfError};
use crate::error::OutOfMemory;
use crate::value::Element;
use crate::value::stream::StreamId;
use thiserror::Error;

/// Bytes that cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind} (at byte {offset})")]
pub struct LoadError {
    /// From the beginning of the file, or of the value.
    pub offset: u64,
    pub kind: Fault,
}

impl LoadError {
    pub fn new(at: usize, kind: Fault) -> Self {
        Self {
            offset: at as u64,
            kind,
        }
    }

    /// The same of bytes that begin at this offset.
    #[must_use]
    pub fn behind(self, offset: u64) -> Self {
        Self {
            offset: self.offset.saturating_add(offset),
            ..self
        }
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("it ends too early")]
    Truncated,
    #[error("it is no RDB file")]
    Magic,
    #[error("version {0} of the format is not known")]
    Version(String),
    #[error("{1} (type {0}) cannot be loaded")]
    Type(u8, &'static str),
    #[error("{1} (opcode {0}) cannot be loaded")]
    Opcode(u8, &'static str),
    #[error("a length is written in no known way")]
    Length,
    #[error("a compressed text is damaged")]
    Lzf,
    #[error("{0}")]
    Corrupt(&'static str),
    #[error("the checksum is {found:016x}, the file says {said:016x}")]
    Checksum { found: u64, said: u64 },
    #[error("there is no memory for it")]
    OutOfMemory,
}

impl From<OutOfMemory> for Fault {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl From<LzfError> for Fault {
    fn from(error: LzfError) -> Self {
        match error {
            LzfError::Corrupt => Self::Lzf,
            LzfError::OutOfMemory => Self::OutOfMemory,
        }
    }
}

/// A text as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    Int(i64),
    Raw(&'a [u8]),
    /// To be decompressed to so many bytes.
    Lzf(&'a [u8], u64),
}

impl<'a> Text<'a> {
    /// It, in `inflated` if it was compressed.
    pub fn element(self, inflated: &'a mut Vec<u8>) -> Result<Element<'a>, Fault> {
        Ok(match self {
            Self::Int(number) => Element::Int(number),
            Self::Raw(text) => Element::Bytes(text),
            Self::Lzf(bytes, len) => {
                inflated.clear();
                let len = usize::try_from(len).map_err(|_| Fault::Lzf)?;
                lzf::decompress(bytes, len, inflated)?;
                Element::Bytes(inflated)
            }
        })
    }
}

/// A length, or how the text is encoded whose length would stand here.
enum Head {
    Length(u64),
    Encoded(u8),
}

/// Bytes that are read one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// From this place on, which is within them.
    #[inline]
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// How many have been read.
    #[inline]
    pub fn at(&self) -> usize {
        self.at
    }

    /// What has not been read.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(count).ok_or(Fault::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(Fault::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    /// As many as a length says.
    #[inline]
    pub fn take_long(&mut self, count: u64) -> Result<&'a [u8], Fault> {
        self.take(usize::try_from(count).map_err(|_| Fault::Truncated)?)
    }

    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let chunk = self.rest().first_chunk().ok_or(Fault::Truncated)?;
        self.at = self.at.saturating_add(N);
        Ok(*chunk)
    }

    #[inline]
    pub fn byte(&mut self) -> Result<u8, Fault> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// Eight bytes, the lowest first: a time.
    #[inline]
    pub fn ms(&mut self) -> Result<i64, Fault> {
        self.array().map(i64::from_le_bytes)
    }

    /// Eight bytes, the lowest first: a score.
    #[inline]
    pub fn score(&mut self) -> Result<f64, Fault> {
        self.array().map(f64::from_le_bytes)
    }

    /// A stream's id in sixteen bytes, the highest first.
    #[inline]
    pub fn id(&mut self) -> Result<StreamId, Fault> {
        let ms = self.array().map(u64::from_be_bytes)?;
        Ok(StreamId::new(ms, self.array().map(u64::from_be_bytes)?))
    }

    /// A stream's id in two lengths.
    pub fn short_id(&mut self) -> Result<StreamId, Fault> {
        let ms = self.length()?;
        Ok(StreamId::new(ms, self.length()?))
    }

    #[inline]
    fn head(&mut self) -> Result<Head, Fault> {
        let first = self.byte()?;
        let low = first & 0x3F;
        Ok(match first & 0xC0 {
            length::SHORT => Head::Length(low.into()),
            length::MIDDLE => Head::Length(u64::from(low) << 8 | u64::from(self.byte()?)),
            length::ENCODED => Head::Encoded(low),
            _ => match first {
                length::LONG => Head::Length(self.array().map(u32::from_be_bytes)?.into()),
                length::HUGE => Head::Length(self.array().map(u64::from_be_bytes)?),
                _ => return Err(Fault::Length),
            },
        })
    }

    /// A length, or another number that is not negative.
    #[inline]
    pub fn length(&mut self) -> Result<u64, Fault> {
        match self.head()? {
            Head::Length(length) => Ok(length),
            Head::Encoded(_) => Err(Fault::Length),
        }
    }

    #[inline]
    pub fn text(&mut self) -> Result<Text<'a>, Fault> {
        match self.head()? {
            Head::Length(length) => self.take_long(length).map(Text::Raw),
            Head::Encoded(encoding) => self.encoded(encoding),
        }
    }

    fn encoded(&mut self, encoding: u8) -> Result<Text<'a>, Fault> {
        Ok(match encoding {
            text::INT_8 => Text::Int(self.array().map(i8::from_le_bytes)?.into()),
            text::INT_16 => Text::Int(self.array().map(i16::from_le_bytes)?.into()),
            text::INT_32 => Text::Int(self.array().map(i32::from_le_bytes)?.into()),
            text::LZF => {
                let (packed, len) = (self.length()?, self.length()?);
                Text::Lzf(self.take_long(packed)?, len)
            }
            _ => return Err(Fault::Length),
        })
    }

    /// A score that is written as a text.
    pub fn text_score(&mut self) -> Result<f64, Fault> {
        Ok(match self.byte()? {
            255 => f64::NEG_INFINITY,
            254 => f64::INFINITY,
            253 => f64::NAN,
            len => {
                let text = self.take(len.into())?;
                let float = crate::number::parse_float(text);
                float.ok_or(Fault::Corrupt(NO_SCORE))?.value
            }
        })
    }
}

pub const NO_SCORE: &str = "a score is no number";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_they_are_written() {
        for (bytes, length) in [
            (&b"\x00"[..], 0),
            (b"\x3F", 63),
            (b"\x40\x40", 64),
            (b"\x7F\xFF", 16_383),
            (b"\x80\x00\x00\x40\x00", 16_384),
            (b"\x80\xFF\xFF\xFF\xFF", u64::from(u32::MAX)),
            (b"\x81\x00\x00\x00\x01\x00\x00\x00\x00", 1 << 32),
            (b"\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", u64::MAX),
        ] {
            assert_eq!(Reader::new(bytes, 0).length(), Ok(length));
            for end in 0..bytes.len() {
                let torn = Reader::new(&bytes[..end], 0).length();
                assert_eq!(torn, Err(Fault::Truncated));
            }
        }
        for bytes in [&b"\x82\0\0\0\0"[..], b"\xBF\0", b"\xC0\0", b"\xFF\0\0"] {
            assert_eq!(Reader::new(bytes, 0).length(), Err(Fault::Length));
        }
    }

    #[test]
    fn texts_have_four_forms() {
        let read = |bytes: &[u8]| {
            let mut inflated = Vec::new();
            let text = Reader::new(bytes, 0).text()?;
            let element = text.element(&mut inflated)?;
            Ok(element.with_bytes(<[u8]>::to_vec))
        };
        for (bytes, text) in [
            (&b"\x03abc"[..], &b"abc"[..]),
            (b"\xC0\xFF", b"-1"),
            (b"\xC1\x00\x80", b"-32768"),
            (b"\xC2\xFF\xFF\xFF\x7F", b"2147483647"),
            (b"\xC3\x05\x0A\x01aa\xC0\x00", b"aaaaaaaaaa"),
        ] {
            assert_eq!(read(bytes).as_deref(), Ok(text));
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), Err(Fault::Truncated));
            }
        }
        assert_eq!(read(b"\xC4\x00"), Err(Fault::Length));
        // What the length promises is not there, nor reserved.
        let huge = b"\x81\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFFabc";
        assert_eq!(read(huge), Err(Fault::Truncated));
        let huge = b"\xC3\x03\x81\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01aa";
        assert_eq!(read(huge), Err(Fault::Lzf));
    }

    #[test]
    fn scores_are_texts_or_marks() {
        let read = |bytes: &[u8]| Reader::new(bytes, 0).text_score();
        assert_eq!(read(b"\x03-.5"), Ok(-0.5));
        assert_eq!(read(b"\x0417e2"), Ok(1700.0));
        assert_eq!(read(b"\xFE"), Ok(f64::INFINITY));
        assert_eq!(read(b"\xFF"), Ok(f64::NEG_INFINITY));
        assert!(read(b"\xFD").unwrap().is_nan());
        assert_eq!(read(b"\x01x"), Err(Fault::Corrupt(NO_SCORE)));
        assert_eq!(read(b"\x00"), Err(Fault::Corrupt(NO_SCORE)));
    }
}
