//! Replies of the engine, read again: what parts of a request have found, for the core
//! that puts them together or decides on them.
//!
//! What is read was written by [`Reply`](super::Reply), so a form that does not occur
//! there reads as nothing.

use crate::number::parse_i64;

/// The first value of a reply. Of an array this is its length: the elements follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read<'a> {
    Integer(i64),
    Bulk(&'a [u8]),
    Null,
    Array(usize),
    Simple(&'a [u8]),
    Error(&'a [u8]),
}

/// The first value in `bytes`, and what follows it.
pub fn read(bytes: &[u8]) -> Option<(Read<'_>, &[u8])> {
    let (kind, line, rest) = first_line(bytes)?;
    let value = match kind {
        b':' => Read::Integer(parse_i64(line)?),
        b'+' => Read::Simple(line),
        b'-' => Read::Error(line),
        b'_' => Read::Null,
        b'$' | b'*' if line == b"-1" => Read::Null,
        b'*' => Read::Array(len(line)?),
        b'$' => {
            let (bulk, rest) = rest.split_at_checked(len(line)?)?;
            return Some((Read::Bulk(bulk), rest.strip_prefix(b"\r\n")?));
        }
        _ => return None,
    };
    Some((value, rest))
}

/// What a value begins with, the rest of its first line, and what follows that.
#[inline]
fn first_line(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let (line, rest) = rest.split_at_checked(memchr::memchr(b'\n', rest)?)?;
    Some((*kind, line.strip_suffix(b"\r")?, rest.get(1..)?))
}

/// A length in a first line.
fn len(line: &[u8]) -> Option<usize> {
    usize::try_from(parse_i64(line)?).ok()
}

/// The first value in `bytes` as it is written, with all that is in it, whatever its form;
/// and what follows it.
#[inline]
pub fn split_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = short_bulk_len(bytes).or_else(|| value_len(bytes))?;
    bytes.split_at_checked(len)
}

/// Bytes of a short bulk string or a null one, which most elements are.
#[inline]
fn short_bulk_len(bytes: &[u8]) -> Option<usize> {
    let digits = bytes.strip_prefix(b"$")?;
    let mut len = 0usize;
    for (at, byte) in digits.iter().enumerate().take(SHORT_DIGITS) {
        match byte {
            b'0'..=b'9' => {
                len = len
                    .wrapping_mul(10)
                    .wrapping_add(usize::from(byte.wrapping_sub(b'0')));
            }
            b'\r' => return Some(len.wrapping_add(at).wrapping_add(b"$\r\n\r\n".len())),
            b'-' => return Some(b"$-1\r\n".len()),
            _ => return None,
        }
    }
    None
}

/// A length of fewer digits is short.
const SHORT_DIGITS: usize = 8;

fn value_len(bytes: &[u8]) -> Option<usize> {
    let (mut rest, mut missing) = (bytes, 1usize);
    while let Some(left) = missing.checked_sub(1) {
        let (kind, line, after) = first_line(rest)?;
        let (mut inner, mut body) = (0, 0);
        match kind {
            // Nulls of the older protocol.
            b'$' | b'*' if line == b"-1" => {}
            b'$' | b'=' => body = len(line)?.checked_add(b"\r\n".len())?,
            b'*' | b'~' | b'>' => inner = len(line)?,
            b'%' => inner = len(line)?.checked_mul(2)?,
            _ => {}
        }
        rest = after.get(body..)?;
        missing = left.checked_add(inner)?;
    }
    bytes.len().checked_sub(rest.len())
}

/// The number of a reply that is one.
#[inline]
pub fn integer(reply: &[u8]) -> Option<i64> {
    let digits = reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    parse_i64(digits)
}

/// Whether a reply is nothing.
pub fn is_null(reply: &[u8]) -> bool {
    matches!(read(reply), Some((Read::Null, _)))
}

/// The text of a reply that is an error.
pub fn error(reply: &[u8]) -> Option<&[u8]> {
    match read(reply)? {
        (Read::Error(text), _) => Some(text),
        _ => None,
    }
}

/// A bulk string, and what follows it.
pub fn bulk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match read(bytes)? {
        (Read::Bulk(bulk), rest) => Some((bulk, rest)),
        _ => None,
    }
}

/// The text of a reply that is a bulk string; empty if it is nothing.
pub fn bulk_text(reply: &[u8]) -> &[u8] {
    bulk(reply).map_or(&[], |(text, _)| text)
}

/// How many elements an array has, and those.
pub fn array(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match read(bytes)? {
        (Read::Array(len), rest) => Some((len, rest)),
        _ => None,
    }
}

/// The elements of an array, however many they are.
#[inline]
pub fn all_elements(bytes: &[u8]) -> Option<&[u8]> {
    let (kind, _, elements) = first_line(bytes)?;
    (kind == b'*').then_some(elements)
}

/// The elements of an array of so many.
pub fn elements(bytes: &[u8], count: usize) -> Option<&[u8]> {
    array(bytes).and_then(|(len, elements)| (len == count).then_some(elements))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Protocol, Reply};

    #[test]
    fn what_is_written_reads_the_same() {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let mut bytes = Vec::new();
            let mut reply = Reply::new(&mut bytes, protocol);
            reply.array(2);
            reply.bulk(b"a\r\nb");
            reply.integer(-7);
            reply.null();
            reply.null_array();
            reply.ok();
            reply.bulk(b"");
            let expected = [
                Read::Array(2),
                Read::Bulk(b"a\r\nb"),
                Read::Integer(-7),
                Read::Null,
                Read::Null,
                Read::Simple(b"OK"),
                Read::Bulk(b""),
            ];
            let mut rest = &bytes[..];
            for value in expected {
                let (found, after) = read(rest).unwrap();
                assert_eq!(found, value);
                rest = after;
            }
            assert_eq!(rest, b"");
        }
    }

    #[test]
    fn what_is_cut_off_or_of_another_form_is_nothing() {
        for bytes in [
            &b""[..],
            b":",
            b":1",
            b":x\r\n",
            b"$3\r\nab\r\n",
            b"$-2\r\n",
            b"%1\r\n",
        ] {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
        assert_eq!(integer(b":12\r\n"), Some(12));
        assert_eq!(integer(b"$1\r\n1\r\n"), None);
        assert_eq!(
            bulk(b"$1\r\na\r\n:1\r\n"),
            Some((&b"a"[..], &b":1\r\n"[..]))
        );
        assert_eq!(bulk_text(b"$1\r\na\r\n"), b"a");
        assert_eq!(bulk_text(b"$-1\r\n"), b"");
        assert_eq!(
            elements(b"*2\r\n:1\r\n:2\r\n", 2),
            Some(&b":1\r\n:2\r\n"[..])
        );
        assert_eq!(all_elements(b"*1\r\n:1\r\n"), Some(&b":1\r\n"[..]));
        assert_eq!(all_elements(b"$1\r\na\r\n"), None);
        assert_eq!(elements(b"*2\r\n:1\r\n:2\r\n", 1), None);
        assert_eq!(error(b"-ERR no\r\n"), Some(&b"ERR no"[..]));
        assert_eq!(error(b"+OK\r\n"), None);
        assert!(is_null(b"$-1\r\n") && !is_null(b"$0\r\n\r\n"));
    }

    #[test]
    fn a_value_is_split_off_with_all_that_is_in_it() {
        let values: &[&[u8]] = &[
            b":1\r\n",
            b"+OK\r\n",
            b"-ERR no\r\n",
            b"_\r\n",
            b",1.5\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"$0\r\n\r\n",
            b"$2\r\n\r\n\r\n",
            b"=5\r\ntxt:a\r\n",
            b"*0\r\n",
            b"*2\r\n*1\r\n$1\r\na\r\n~1\r\n:1\r\n",
            b"%1\r\n+k\r\n*2\r\n:1\r\n_\r\n",
        ];
        for value in values {
            let both = [value, &b":7\r\n"[..]].concat();
            assert_eq!(split_value(&both), Some((*value, &b":7\r\n"[..])));
            assert_eq!(value_len(&both), Some(value.len()));
            let (_, cut) = value.split_last().unwrap();
            assert_eq!(split_value(cut), None, "{cut:?}");
        }
        assert_eq!(split_value(b""), None);
        assert_eq!(split_value(b"*2\r\n:1\r\n"), None);
    }
}
