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
    let (kind, rest) = bytes.split_first()?;
    let end = memchr::memchr(b'\n', rest)?;
    let (line, rest) = (rest.get(..end)?, rest.get(end..)?.get(1..)?);
    let line = line.strip_suffix(b"\r")?;
    let len = |line| parse_i64(line).and_then(|len| usize::try_from(len).ok());
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

/// A bulk string, and what follows it.
pub fn bulk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match read(bytes)? {
        (Read::Bulk(bulk), rest) => Some((bulk, rest)),
        _ => None,
    }
}

/// The elements of an array of so many.
pub fn elements(bytes: &[u8], count: usize) -> Option<&[u8]> {
    match read(bytes)? {
        (Read::Array(len), rest) if len == count => Some(rest),
        _ => None,
    }
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
        assert_eq!(
            elements(b"*2\r\n:1\r\n:2\r\n", 2),
            Some(&b":1\r\n:2\r\n"[..])
        );
        assert_eq!(elements(b"*2\r\n:1\r\n:2\r\n", 1), None);
        assert!(is_null(b"$-1\r\n") && !is_null(b"$0\r\n\r\n"));
    }
}
