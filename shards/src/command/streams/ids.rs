//! Ids of entries as clients write them.

use crate::error::{CommandError, until_nul};
use crate::number::parse_i64;
use crate::value::stream::StreamId;

/// What is no id.
pub const INVALID: CommandError =
    CommandError::Static("ERR Invalid stream ID specified as stream command argument");

/// Longer texts are no ids, whatever they say.
const TEXT_MAX: usize = 127;

/// An id as XADD takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    Whole(StreamId),
    /// `ms-*`: the sequence is still to be found.
    Within(u64),
}

/// `ms`, `ms-seq`, or one of `-` and `+`: the least and the greatest. Where a sequence is
/// missing it is this.
pub fn parse(text: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        // As a C string, a sign is one with a NUL behind it.
        [b'-', 0, ..] if text.len() <= TEXT_MAX => Ok(StreamId::MIN),
        [b'+', 0, ..] if text.len() <= TEXT_MAX => Ok(StreamId::MAX),
        _ => strict(text, missing_seq),
    }
}

/// As [`parse`], without `-` and `+`.
#[inline]
pub fn strict(text: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match halves(text)? {
        (ms, None) => Ok(StreamId::new(ms, missing_seq)),
        (ms, Some(seq)) => Ok(StreamId::new(ms, number(seq)?)),
    }
}

/// As [`strict`], or `ms-*`.
pub fn given(text: &[u8]) -> Result<Given, CommandError> {
    match halves(text)? {
        (ms, None) => Ok(Given::Whole(StreamId::new(ms, 0))),
        (ms, Some(b"*")) => Ok(Given::Within(ms)),
        (ms, Some(seq)) => Ok(Given::Whole(StreamId::new(ms, number(seq)?))),
    }
}

/// Where a range begins; the id itself is not in it after `(`.
pub fn start(text: &[u8]) -> Result<StreamId, CommandError> {
    const NONE: CommandError = CommandError::Static("ERR invalid start ID for the interval");
    match text {
        [b'(', id @ ..] if !id.is_empty() => strict(id, 0)?.next().ok_or(NONE),
        _ => parse(text, 0),
    }
}

/// Where a range ends; the id itself is not in it after `(`.
pub fn end(text: &[u8]) -> Result<StreamId, CommandError> {
    const NONE: CommandError = CommandError::Static("ERR invalid end ID for the interval");
    match text {
        [b'(', id @ ..] if !id.is_empty() => strict(id, u64::MAX)?.prev().ok_or(NONE),
        _ => parse(text, u64::MAX),
    }
}

/// The milliseconds, and what is behind the `-`.
#[inline]
fn halves(text: &[u8]) -> Result<(u64, Option<&[u8]>), CommandError> {
    if text.len() > TEXT_MAX {
        return Err(INVALID);
    }
    let text = until_nul(text);
    match text.iter().position(|byte| *byte == b'-') {
        None => Ok((number(text)?, None)),
        Some(at) => Ok((number(&text[..at])?, Some(&text[at + 1..]))),
    }
}

#[inline]
fn number(text: &[u8]) -> Result<u64, CommandError> {
    let found = match text {
        [b'0'..=b'9', ..] => digits(text),
        _ => odd(text),
    };
    found.ok_or(INVALID)
}

/// A number of digits and nothing else.
#[inline]
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        let number = number.checked_mul(10).filter(|_| digit < 10)?;
        number.checked_add(u64::from(digit))
    })
}

/// Redis also takes what C's `strtoull` reads: spaces before it, a sign, and a negative
/// number, which wraps; but not one that it can read by itself.
#[cold]
fn odd(text: &[u8]) -> Option<u64> {
    if parse_i64(text).is_some_and(|number| number < 0) {
        return None;
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_space(byte))?;
    match &text[start..] {
        [b'-', rest @ ..] => digits(rest).map(u64::wrapping_neg),
        [b'+', rest @ ..] => digits(rest),
        rest => digits(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> Result<StreamId, CommandError> {
        Ok(StreamId::new(ms, seq))
    }

    /// Each was asked of redis-server 7.0.15.
    #[test]
    fn ids_are_read_as_redis_reads_them() {
        for (text, expected) in [
            ("7", id(7, 9)),
            ("7-3", id(7, 3)),
            ("007-03", id(7, 3)),
            ("0-0", id(0, 0)),
            (
                "18446744073709551615-18446744073709551615",
                Ok(StreamId::MAX),
            ),
            ("18446744073709551616", Err(INVALID)),
            ("1-18446744073709551616", Err(INVALID)),
            (" 5", id(5, 9)),
            ("5 ", Err(INVALID)),
            ("+5-+6", id(5, 6)),
            ("1- 6", id(1, 6)),
            ("1--6", Err(INVALID)),
            ("1--06", id(1, 6u64.wrapping_neg())),
            ("1--0", id(1, 0)),
            ("-5", Err(INVALID)),
            ("5-", Err(INVALID)),
            ("", Err(INVALID)),
            (" ", Err(INVALID)),
            ("+", Err(INVALID)),
            ("-", Err(INVALID)),
            ("1-2-3", Err(INVALID)),
            ("1-*", Err(INVALID)),
            ("x", Err(INVALID)),
            ("5\0x", id(5, 9)),
        ] {
            assert_eq!(strict(text.as_bytes(), 9), expected, "{text:?}");
        }
        assert_eq!(parse(b"-", 9), id(0, 0));
        assert_eq!(parse(b"+", 9), Ok(StreamId::MAX));
        let longest = [b'0'; TEXT_MAX];
        assert_eq!(strict(&longest, 9), id(0, 9));
        assert_eq!(strict(&[b'0'; TEXT_MAX + 1], 9), Err(INVALID));
        assert_eq!(given(b"5-*"), Ok(Given::Within(5)));
        assert_eq!(given(b"5"), Ok(Given::Whole(StreamId::new(5, 0))));
        assert_eq!(given(b"*"), Err(INVALID));
    }

    #[test]
    fn bounds_may_leave_the_id_itself_out() {
        assert_eq!(start(b"(5"), id(5, 1));
        assert_eq!(end(b"(5"), id(5, u64::MAX - 1));
        assert_eq!(end(b"(5-0"), id(4, u64::MAX));
        assert_eq!(start(b"5"), id(5, 0));
        assert_eq!(end(b"5"), id(5, u64::MAX));
        assert_eq!(start(b"("), Err(INVALID));
        assert_eq!(start(b"(-"), Err(INVALID));
        let last = b"(18446744073709551615-18446744073709551615";
        assert!(start(last).is_err_and(|error| error != INVALID));
        assert!(end(b"(0-0").is_err_and(|error| error != INVALID));
    }
}
