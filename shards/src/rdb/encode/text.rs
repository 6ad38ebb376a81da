//! Lengths, numbers and texts, as they are written.

use crate::error::OutOfMemory;
use crate::number::parse_i64;
use crate::rdb::format::{length, text as encoded};
use crate::rdb::lzf;

/// Texts up to this length (bytes) are looked at as numbers: that of the smallest
/// number of four bytes.
const NUMBER_MAX: usize = 11;

/// Texts above this length (bytes) are compressed.
const COMPRESSED_ABOVE: usize = 20;

/// And up to this one: of others it takes too long to do that at once.
pub const COMPRESSED_MAX: usize = 64 << 10;

/// Makes room and writes bytes.
#[inline]
pub fn put(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), OutOfMemory> {
    out.try_reserve(bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

/// A few bytes that are put together before they are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Few {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl Few {
    /// Two lengths and a byte.
    pub const MAX: usize = 19;

    /// A length.
    #[inline]
    pub fn of_len(len: u64) -> Self {
        let mut few = Self::default();
        few.add_len(len);
        few
    }

    /// Adds bytes, which must be as few as [`Few::MAX`] says.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(bytes);
            self.len = end;
        }
    }

    #[inline]
    pub fn add_len(&mut self, len: u64) {
        let [.., e, f, g, h] = len.to_be_bytes();
        match len {
            0..=0x3F => self.add(&[length::SHORT | h]),
            0x40..=0x3FFF => self.add(&[length::MIDDLE | g, h]),
            0x4000..=0xFFFF_FFFF => self.add(&[length::LONG, e, f, g, h]),
            _ => {
                self.add(&[length::HUGE]);
                self.add(&len.to_be_bytes());
            }
        }
    }

    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// A length.
#[inline]
pub fn put_len(out: &mut Vec<u8>, len: u64) -> Result<(), OutOfMemory> {
    put(out, Few::of_len(len).as_bytes())
}

/// A number of up to four bytes; nothing for others.
#[inline]
fn small_number(number: i64) -> Option<Few> {
    let [a, b, c, d, ..] = number.to_le_bytes();
    let mut few = Few::default();
    match number {
        -0x80..=0x7F => few.add(&[length::ENCODED | encoded::INT_8, a]),
        -0x8000..=0x7FFF => few.add(&[length::ENCODED | encoded::INT_16, a, b]),
        -0x8000_0000..=0x7FFF_FFFF => {
            few.add(&[length::ENCODED | encoded::INT_32, a, b, c, d]);
        }
        _ => return None,
    }
    Some(few)
}

/// A text that is a number.
#[inline]
pub fn put_number(out: &mut Vec<u8>, number: i64) -> Result<(), OutOfMemory> {
    match small_number(number) {
        Some(few) => put(out, few.as_bytes()),
        None => put_plain(out, itoa::Buffer::new().format(number).as_bytes()),
    }
}

/// A text: as a number if it is one, or compressed if that makes it shorter and is
/// wanted.
///
/// # Errors
/// There is no memory; nothing is written.
#[inline]
pub fn put_text(out: &mut Vec<u8>, text: &[u8], compress: bool) -> Result<(), OutOfMemory> {
    if text.len() <= NUMBER_MAX {
        if let Some(few) = parse_i64(text).and_then(small_number) {
            return put(out, few.as_bytes());
        }
    } else if compress && text.len() > COMPRESSED_ABOVE && put_compressed(out, text)? {
        return Ok(());
    }
    put_plain(out, text)
}

/// A text as it is.
#[inline]
pub fn put_plain(out: &mut Vec<u8>, text: &[u8]) -> Result<(), OutOfMemory> {
    let head = Few::of_len(text.len() as u64);
    out.try_reserve(text.len().saturating_add(Few::MAX))?;
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(text);
    Ok(())
}

/// What stands before a compressed text.
pub fn compressed_head(compressed: usize, len: usize) -> Few {
    let mut head = Few::default();
    head.add(&[length::ENCODED | encoded::LZF]);
    head.add_len(compressed as u64);
    head.add_len(len as u64);
    head
}

/// A compressed text, if it has a form that is shorter and is not too long for that.
pub fn put_compressed(out: &mut Vec<u8>, text: &[u8]) -> Result<bool, OutOfMemory> {
    if text.len() > COMPRESSED_MAX {
        return Ok(false);
    }
    let start = out.len();
    // What its length will be is not known yet: that of the text takes no less.
    let head = compressed_head(text.len(), text.len());
    put(out, head.as_bytes())?;
    let from = out.len();
    let result = lzf::compress(text, out);
    if !matches!(result, Ok(true)) {
        out.truncate(start);
        return result;
    }
    let head = compressed_head(out.len().saturating_sub(from), text.len());
    let head = head.as_bytes();
    let to = start.saturating_add(head.len());
    if to != from {
        let end = out.len();
        out.copy_within(from..end, to);
        out.truncate(end.saturating_sub(from.saturating_sub(to)));
    }
    if let Some(place) = out.get_mut(start..to) {
        place.copy_from_slice(head);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &[u8], compress: bool) -> Vec<u8> {
        let mut out = b"before".to_vec();
        put_text(&mut out, text, compress).unwrap();
        out.strip_prefix(b"before").unwrap().to_vec()
    }

    #[test]
    fn lengths_take_as_few_bytes_as_they_may() {
        for (len, bytes) in [
            (0, &b"\x00"[..]),
            (63, b"\x3F"),
            (64, b"\x40\x40"),
            (16_383, b"\x7F\xFF"),
            (16_384, b"\x80\x00\x00\x40\x00"),
            (u64::from(u32::MAX), b"\x80\xFF\xFF\xFF\xFF"),
            (1 << 32, b"\x81\x00\x00\x00\x01\x00\x00\x00\x00"),
            (u64::MAX, b"\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"),
        ] {
            assert_eq!(Few::of_len(len).as_bytes(), bytes);
        }
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn numbers_are_written_as_such() {
        for (text, bytes) in [
            ("0", &b"\xC0\x00"[..]),
            ("127", b"\xC0\x7F"),
            ("-128", b"\xC0\x80"),
            ("128", b"\xC1\x80\x00"),
            ("-32768", b"\xC1\x00\x80"),
            ("32768", b"\xC2\x00\x80\x00\x00"),
            ("-2147483648", b"\xC2\x00\x00\x00\x80"),
            ("2147483648", b"\x0A2147483648"),
            ("007", b"\x03007"),
            ("-0", b"\x02-0"),
            ("", b"\x00"),
        ] {
            assert_eq!(written(text.as_bytes(), true), bytes, "{text}");
            if let Some(number) = parse_i64(text.as_bytes()) {
                let mut out = Vec::new();
                put_number(&mut out, number).unwrap();
                assert_eq!(out, bytes, "{text}");
            }
        }
        let mut out = Vec::new();
        put_number(&mut out, i64::MIN).unwrap();
        assert_eq!(out, b"\x14-9223372036854775808");
    }

    #[test]
    fn long_texts_are_compressed_if_that_is_wanted() {
        assert_eq!(
            written(&[b'a'; 20], true),
            [&b"\x14"[..], &[b'a'; 20]].concat()
        );
        for len in [21, 63, 64, 200, 16_383, 16_384, COMPRESSED_MAX] {
            let text = vec![b'a'; len];
            let plain = written(&text, false);
            assert_eq!(plain, [Few::of_len(len as u64).as_bytes(), &text].concat());
            let bytes = written(&text, true);
            assert_eq!(bytes[0], 0xC3);
            let heads = (1..40_000).map(|compressed| compressed_head(compressed, len));
            let found = heads.zip(1..).find(|(head, compressed)| {
                let end = head.as_bytes().len() + compressed;
                bytes.len() == end && bytes.starts_with(head.as_bytes())
            });
            let (head, compressed) = found.expect("two lengths");
            let mut back = Vec::new();
            let body = &bytes[head.as_bytes().len()..];
            assert_eq!(body.len(), compressed);
            lzf::decompress(body, len, &mut back).unwrap();
            assert_eq!(back, text);
        }
        let long = vec![b'a'; COMPRESSED_MAX + 1];
        assert_eq!(written(&long, true), written(&long, false));
        let random: Vec<u8> = (0u32..64)
            .map(|at| (at.pow(2).wrapping_mul(7_919) >> 3) as u8)
            .collect();
        assert_eq!(written(&random, true), [&b"\x40\x40"[..], &random].concat());
    }
}
