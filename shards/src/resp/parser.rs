//! Cuts a byte stream into requests without copying them.
//!
//! [`parse`] is resumable: what it has understood of an incomplete request is
//! kept in a [`Partial`] and never looked at again. Lengths are limits first
//! and numbers second; nothing is allocated for a length that was only claimed.
//!
//! It accepts what Redis accepts, byte for byte, which is more than the
//! specification says: the byte after a header's CR and the two bytes after a
//! bulk string are skipped unread, and a NUL byte hides the end of a line
//! behind it, so that such a line only ever grows until it is too long.
//!
//! The usual request has lengths of one or two digits and costs a few compares
//! per argument; everything else takes the general path ([`header_line`]).

use super::inline;
use crate::error::ProtocolError;
use crate::number::parse_i64;
use crate::types::Span;

/// Longest line without its end: a header, or an inline request.
const LINE_MAX: usize = 64 * 1024;
/// What a client that has not authenticated may send at most.
const UNAUTHENTICATED_ARGS_MAX: i64 = 10;
const UNAUTHENTICATED_BULK_MAX: i64 = 16_384;
/// Arguments for which room is made at once; more room comes as they arrive.
const SPANS_AT_ONCE: usize = 64;

/// What a request may be at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest bulk string, bytes (proto-max-bulk-len).
    pub bulk_len: usize,
    /// Longest request, bytes (client-query-buffer-limit). Below 4 GiB.
    pub request_len: usize,
    /// The client has authenticated, or need not.
    pub authenticated: bool,
}

/// How far an incomplete request has been understood. The default is the
/// beginning of a buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Partial {
    /// Where the request begins in the buffer.
    pub start: usize,
    /// Up to where it has been understood; meaningless before the header.
    position: usize,
    /// How many bytes of the line that begins there (or, before the header, at
    /// `start`) are known not to end it.
    searched: usize,
    /// Arguments still to come; zero before the header.
    args_left: usize,
    /// Length of the argument at `position`, once its header has been read.
    bulk_len: Option<usize>,
}

impl Partial {
    /// The beginning of a request at `start`.
    #[inline]
    pub fn at(start: usize) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    /// The caller has copied what begins at `start` to the beginning of another
    /// buffer. `spans` are those of the incomplete request.
    pub fn rebase(&mut self, spans: &mut [Span]) {
        for span in spans {
            let start = (span.start as usize).saturating_sub(self.start);
            // Lossless: it only became smaller.
            span.start = u32::try_from(start).unwrap_or(u32::MAX);
        }
        self.position = self.position.saturating_sub(self.start);
        self.start = 0;
    }
}

/// What [`parse`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Status {
    /// A request; its spans were appended and `partial.start` is now behind it.
    /// A request without arguments (`*0`, an empty line) appends none.
    Complete,
    /// An inline request, rewritten as a RESP array; `partial.start` is behind
    /// it and no spans were appended. Parse it with `authenticated: true`: the
    /// limits before AUTH are for arrays only.
    Inline(Vec<u8>),
    /// More bytes are needed, at least this many.
    Incomplete(usize),
}

/// Looks for one request in `input` from `partial.start` on.
///
/// `spans` must hold what earlier calls appended for this request and may hold
/// requests before it. After `Complete` or `Inline`, call again for the next
/// one. After `Incomplete`, call again with a buffer in which more bytes follow
/// (see [`Partial::rebase`] if it begins elsewhere).
///
/// # Errors
/// The stream has lost its frame and must be closed; `partial` and `spans` are
/// of no more use.
#[inline]
pub fn parse(
    input: &[u8],
    partial: &mut Partial,
    spans: &mut Vec<Span>,
    limits: &Limits,
) -> Result<Status, ProtocolError> {
    if partial.args_left > 0 {
        let rest = input.get(partial.position..).unwrap_or_default();
        if partial.bulk_len.is_some() {
            return argument(input, rest, partial, spans, limits);
        }
        return arguments(input, rest, partial, spans, limits);
    }
    let rest = input.get(partial.start..).unwrap_or_default();
    match rest {
        [b'*', digit @ b'1'..=b'9', b'\r', b'\n', rest @ ..] => {
            partial.args_left = usize::from(digit & 15);
            partial.searched = 0;
            arguments(input, rest, partial, spans, limits)
        }
        [b'*', ..] => array(input, rest, partial, spans, limits),
        [] => Ok(Status::Incomplete(1)),
        _ => inline_request(rest, partial),
    }
}

/// The header of an array in general. `rest` begins with it.
#[cold]
fn array(
    input: &[u8],
    rest: &[u8],
    partial: &mut Partial,
    spans: &mut Vec<Span>,
    limits: &Limits,
) -> Result<Status, ProtocolError> {
    let line = header_line(rest, &mut partial.searched);
    let Some((line, rest)) = line.map_err(|TooLong| ProtocolError::MultibulkCountString)? else {
        return Ok(Status::Incomplete(1));
    };
    let count = line
        .get(1..)
        .and_then(parse_i64)
        .ok_or(ProtocolError::MultibulkLength)?;
    if count > i64::from(i32::MAX) {
        return Err(ProtocolError::MultibulkLength);
    }
    if count > UNAUTHENTICATED_ARGS_MAX && !limits.authenticated {
        return Err(ProtocolError::UnauthenticatedMultibulkLength);
    }
    match usize::try_from(count) {
        Err(_) | Ok(0) => {
            *partial = Partial::at(position(input, rest));
            Ok(Status::Complete)
        }
        Ok(count) => {
            partial.args_left = count;
            partial.searched = 0;
            arguments(input, rest, partial, spans, limits)
        }
    }
}

/// Reads arguments from `rest`, the tail of `input`, until there are none left.
#[inline]
fn arguments(
    input: &[u8],
    mut rest: &[u8],
    partial: &mut Partial,
    spans: &mut Vec<Span>,
    limits: &Limits,
) -> Result<Status, ProtocolError> {
    let mut left = partial.args_left;
    reserve(spans, left.min(SPANS_AT_ONCE))?;
    while left > 0 {
        let Some((len, body)) = short_header(rest) else {
            break;
        };
        let Some((_, after)) = body.split_at_checked(len.wrapping_add(2)) else {
            break;
        };
        if len > limits.bulk_len {
            break;
        }
        push(spans, position(input, body), len)?;
        rest = after;
        left = left.wrapping_sub(1);
    }
    if left == 0 {
        let end = position(input, rest);
        if end.wrapping_sub(partial.start) > limits.request_len {
            return Err(ProtocolError::QueryBufferLimit);
        }
        *partial = Partial::at(end);
        return Ok(Status::Complete);
    }
    partial.position = position(input, rest);
    if left != partial.args_left {
        partial.searched = 0;
    }
    partial.args_left = left;
    argument(input, rest, partial, spans, limits)
}

/// One argument in general, then the rest of them.
fn argument(
    input: &[u8],
    rest: &[u8],
    partial: &mut Partial,
    spans: &mut Vec<Span>,
    limits: &Limits,
) -> Result<Status, ProtocolError> {
    let mut rest = rest;
    while partial.args_left > 0 {
        let len = match partial.bulk_len {
            Some(len) => len,
            None => match bulk_header(rest, partial, limits)? {
                None => return Ok(Status::Incomplete(1)),
                Some((len, body)) => {
                    rest = body;
                    partial.position = position(input, rest);
                    partial.searched = 0;
                    partial.bulk_len = Some(len);
                    len
                }
            },
        };
        let end = len.saturating_add(2);
        let request_len = partial
            .position
            .saturating_sub(partial.start)
            .saturating_add(end);
        if request_len > limits.request_len {
            return Err(ProtocolError::QueryBufferLimit);
        }
        let Some((_, after)) = rest.split_at_checked(end) else {
            return Ok(Status::Incomplete(end.saturating_sub(rest.len())));
        };
        push(spans, partial.position, len)?;
        rest = after;
        partial.position = position(input, rest);
        partial.bulk_len = None;
        partial.args_left = partial.args_left.saturating_sub(1);
    }
    *partial = Partial::at(partial.position);
    Ok(Status::Complete)
}

/// The length that begins `rest` and what follows its header, if that is there.
fn bulk_header<'a>(
    rest: &'a [u8],
    partial: &mut Partial,
    limits: &Limits,
) -> Result<Option<(usize, &'a [u8])>, ProtocolError> {
    let line = header_line(rest, &mut partial.searched);
    let Some((line, body)) = line.map_err(|TooLong| ProtocolError::BulkCountString)? else {
        return Ok(None);
    };
    let digits = match line {
        [b'$', digits @ ..] => digits,
        // An empty line begins with its CR.
        other => {
            return Err(ProtocolError::ExpectedBulk(
                *other.first().unwrap_or(&b'\r'),
            ));
        }
    };
    let len = parse_i64(digits).ok_or(ProtocolError::BulkLength)?;
    let allowed = |len: &usize| *len <= limits.bulk_len;
    let bytes = usize::try_from(len)
        .ok()
        .filter(allowed)
        .ok_or(ProtocolError::BulkLength)?;
    if len > UNAUTHENTICATED_BULK_MAX && !limits.authenticated {
        return Err(ProtocolError::UnauthenticatedBulkLength);
    }
    Ok(Some((bytes, body)))
}

/// A header line and what follows it.
type Line<'a> = (&'a [u8], &'a [u8]);

/// A line was longer than [`LINE_MAX`].
struct TooLong;

/// Splits `rest` into a line that ends with CR and what follows the byte after
/// the CR. `searched` is how many bytes of the line are known not to end it.
fn header_line<'a>(rest: &'a [u8], searched: &mut usize) -> Result<Option<Line<'a>>, TooLong> {
    let Some(end) = line_end(rest, b'\r', searched)? else {
        return Ok(None);
    };
    let Some((line, [_cr, _any, after @ ..])) = rest.split_at_checked(end) else {
        return Ok(None);
    };
    Ok(Some((line, after)))
}

/// Where the line that begins `rest` ends with `terminator`. How long a line
/// may be does not depend on how much of it was received at once.
fn line_end(rest: &[u8], terminator: u8, searched: &mut usize) -> Result<Option<usize>, TooLong> {
    let window = rest.get(..=LINE_MAX).unwrap_or(rest);
    let unseen = window.get(*searched..).unwrap_or_default();
    let found = memchr::memchr2(terminator, 0, unseen);
    *searched = searched.saturating_add(found.unwrap_or(unseen.len()));
    if found.is_some() && rest.get(*searched) == Some(&terminator) {
        return Ok(Some(*searched));
    }
    if rest.len() > LINE_MAX {
        Err(TooLong)
    } else {
        Ok(None)
    }
}

/// A request that is no array: words on a line.
#[cold]
fn inline_request(rest: &[u8], partial: &mut Partial) -> Result<Status, ProtocolError> {
    let end = line_end(rest, b'\n', &mut partial.searched);
    let Some(end) = end.map_err(|TooLong| ProtocolError::InlineTooBig)? else {
        return Ok(Status::Incomplete(1));
    };
    let line = rest.get(..end).unwrap_or_default();
    let words = inline::split(line.strip_suffix(b"\r").unwrap_or(line))?;
    *partial = Partial::at(partial.start.saturating_add(end).saturating_add(1));
    if words.is_empty() {
        return Ok(Status::Complete);
    }
    Ok(Status::Inline(inline::as_array(&words)))
}

/// Makes room, fallibly: how many arguments there are is the client's choice.
#[inline]
fn reserve(spans: &mut Vec<Span>, more: usize) -> Result<(), ProtocolError> {
    spans
        .try_reserve(more)
        .map_err(|_| ProtocolError::QueryBufferLimit)
}

#[inline]
fn push(spans: &mut Vec<Span>, start: usize, len: usize) -> Result<(), ProtocolError> {
    let (Ok(start), Ok(len)) = (u32::try_from(start), u32::try_from(len)) else {
        return Err(ProtocolError::QueryBufferLimit);
    };
    if spans.len() == spans.capacity() {
        reserve(spans, 1)?;
    }
    spans.push(Span { start, len });
    Ok(())
}

/// Where `rest`, the tail of `input`, begins in it.
#[inline]
fn position(input: &[u8], rest: &[u8]) -> usize {
    input.len().wrapping_sub(rest.len())
}

/// The header of a bulk string whose length has one or two digits: the length
/// and what follows. Anything else is for the general path.
///
/// One load and two compares; matching the bytes one by one took 60
/// instructions for an argument of two digits instead of 46.
#[inline]
fn short_header(rest: &[u8]) -> Option<(usize, &[u8])> {
    // Little-endian: XOR with the expected bytes, '0' for a digit, leaves zeros
    // and the digits' values.
    const ONE: u32 = u32::from_le_bytes(*b"$0\r\0");
    const TWO: u32 = u32::from_le_bytes(*b"$00\r");
    let (header, body) = rest.split_first_chunk::<4>()?;
    let word = u32::from_le_bytes(*header);
    // A byte is a digit's value if neither it nor it plus 6 reaches 16.
    let two = word ^ TWO;
    if (two | two.wrapping_add(0x0006_0600)) & 0xFFF0_F0FF == 0 && two & 0xFF00 != 0 {
        let len = (two >> 8 & 15).wrapping_mul(10).wrapping_add(two >> 16);
        return Some((len as usize, body.get(1..)?));
    }
    let one = word ^ ONE;
    if (one | one.wrapping_add(0x0600)) & 0x00FF_F0FF == 0 {
        return Some(((one >> 8 & 15) as usize, body));
    }
    None
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    const OPEN: Limits = Limits {
        bulk_len: 512 << 20,
        request_len: 1 << 30,
        authenticated: true,
    };
    const CLOSED: Limits = Limits {
        authenticated: false,
        ..OPEN
    };

    /// Every request in `input` up to where more bytes are needed, and whether
    /// the stream broke there.
    fn read(input: &[u8], limits: &Limits) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
        let (mut partial, mut requests) = (Partial::default(), Vec::new());
        loop {
            let mut spans = Vec::new();
            match parse(input, &mut partial, &mut spans, limits) {
                Ok(Status::Complete) if spans.is_empty() => {}
                Ok(Status::Complete) => requests.push(words(input, &spans)),
                Ok(Status::Inline(array)) => {
                    let status = parse(&array, &mut Partial::default(), &mut spans, &OPEN);
                    assert_eq!(status, Ok(Status::Complete));
                    requests.push(words(&array, &spans));
                }
                Ok(Status::Incomplete(more)) => {
                    assert!(more > 0);
                    return (requests, None);
                }
                Err(error) => return (requests, Some(error)),
            }
        }
    }

    fn words(input: &[u8], spans: &[Span]) -> Vec<Vec<u8>> {
        let at = |span: &Span| span.start as usize..(span.start + span.len) as usize;
        spans.iter().map(|span| input[at(span)].to_vec()).collect()
    }

    fn requests(input: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let (requests, error) = read(input, &OPEN);
        assert_eq!(error, None, "{}", input.escape_ascii());
        requests
    }

    fn error(input: &[u8], limits: &Limits) -> Option<ProtocolError> {
        read(input, limits).1
    }

    #[test]
    fn arrays() {
        assert_eq!(
            requests(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"),
            [[b"GET".to_vec(), b"a".to_vec()]]
        );
        let long = [b"*12\r\n".to_vec(), b"$1\r\nx\r\n".repeat(12)].concat();
        assert_eq!(requests(&long), [vec![b"x".to_vec(); 12]]);
        let big = [
            b"*1\r\n$1000\r\n".to_vec(),
            vec![b'y'; 1000],
            b"\r\n".to_vec(),
        ]
        .concat();
        assert_eq!(requests(&big.repeat(2)), vec![vec![vec![b'y'; 1000]]; 2]);
        assert_eq!(requests(b"*1\r\n$0\r\n\r\n"), [[b"".to_vec()]]);
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn accepts_what_redis_accepts() {
        const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
        for nothing in [
            &b"*0\r\n"[..],
            b"*-1\r\n",
            b"*-10\r\n",
            b"\r\n\n\r\n",
            b"   \r\n",
        ] {
            assert_eq!(requests(&[nothing, PING].concat()), [[b"PING".to_vec()]]);
        }
        assert_eq!(requests(b"*1\rx$4\rxPINGxx"), [[b"PING".to_vec()]]);
        for endless in [
            &b"*1\r\nhello"[..],
            b"*2147483647\r\n",
            b"*1\r\n$536870912\r\n",
            b"*\x001\r\n",
            b"*1\r\n$\x004\r\nPING\r\n",
            b"PING a\x00b\r\n",
            b"\x00\r\n",
        ] {
            assert!(requests(endless).is_empty(), "{}", endless.escape_ascii());
        }
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn refuses_what_redis_refuses() {
        use ProtocolError::*;
        for (input, expected) in [
            (&b"*2147483648\r\n"[..], MultibulkLength),
            (b"*99999999999999999999\r\n", MultibulkLength),
            (b"*\r\n", MultibulkLength),
            (b"*+1\r\n", MultibulkLength),
            (b"*01\r\n", MultibulkLength),
            (b"* 1\r\n", MultibulkLength),
            (b"*1\n*1\r\n", MultibulkLength),
            (b"*1\r\n\r\n", ExpectedBulk(b'\r')),
            (b"*1\r\n\n4\r\n", ExpectedBulk(b'\n')),
            (b"*1\r\nPING\r\n", ExpectedBulk(b'P')),
            (b"*1\r\n\xff4\r\n", ExpectedBulk(0xff)),
            (b"*1\r\n$\r\n", BulkLength),
            (b"*1\r\n$-1\r\n", BulkLength),
            (b"*1\r\n$x\r\n", BulkLength),
            (b"*1\r\n$04\r\nPING\r\n", BulkLength),
            (b"*1\r\n$536870913\r\n", BulkLength),
        ] {
            assert_eq!(
                error(input, &OPEN),
                Some(expected),
                "{}",
                input.escape_ascii()
            );
        }
    }

    #[test]
    fn lines_have_a_longest_length() {
        for (prefix, byte, expected) in [
            (&b"*"[..], b'1', ProtocolError::MultibulkCountString),
            (b"*1\r\n$", b'1', ProtocolError::BulkCountString),
            (b"", b'a', ProtocolError::InlineTooBig),
            (b"a\0", b'\n', ProtocolError::InlineTooBig),
        ] {
            let line = prefix.len()
                - prefix
                    .iter()
                    .rposition(|b| *b == b'\n')
                    .map_or(0, |i| i + 1);
            let mut input = prefix.to_vec();
            input.resize(prefix.len() + LINE_MAX - line, byte);
            assert_eq!(error(&input, &OPEN), None);
            input.push(byte);
            assert_eq!(error(&input, &OPEN), Some(expected));
        }
        let word = vec![b'a'; LINE_MAX];
        assert_eq!(requests(&[&word[..], b"\n"].concat()), [[word]]);
    }

    #[test]
    fn limits_before_auth_are_for_arrays() {
        use ProtocolError::{UnauthenticatedBulkLength, UnauthenticatedMultibulkLength};
        assert_eq!(error(b"*10\r\n$4\r\n", &CLOSED), None);
        assert_eq!(
            error(b"*11\r\n", &CLOSED),
            Some(UnauthenticatedMultibulkLength)
        );
        assert_eq!(
            error(b"*2147483648\r\n", &CLOSED),
            Some(ProtocolError::MultibulkLength)
        );
        assert_eq!(error(b"*1\r\n$16384\r\n", &CLOSED), None);
        assert_eq!(
            error(b"*1\r\n$16385\r\n", &CLOSED),
            Some(UnauthenticatedBulkLength)
        );
        assert_eq!(
            read(b"PING 1 2 3 4 5 6 7 8 9 10 11 12\r\n", &CLOSED).0[0].len(),
            13
        );
    }

    #[test]
    fn a_request_has_a_longest_length() {
        let limits = Limits {
            request_len: 30,
            ..OPEN
        };
        let short = b"*1\r\n$4\r\nPING\r\n";
        assert_eq!(error(&short.repeat(5), &limits), None);
        for long in [
            &b"*1\r\n$4000\r\n"[..],
            b"*9\r\n$4\r\nPING\r\n$9\r\n123456789\r\n$1\r\n",
        ] {
            let mut long = long.to_vec();
            long.extend_from_slice(&b"x\r\n$1\r\n".repeat(8));
            assert_eq!(error(&long, &limits), Some(ProtocolError::QueryBufferLimit));
        }
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn inline_requests() {
        for (input, expected) in [
            (&b"PING\n"[..], &[&b"PING"[..]][..]),
            (b"  PING  \t\"a b\"  \r\n", &[b"PING", b"a b"]),
            (b"\x0bPING\x0b\x0ca\r\n", &[b"PING\x0b\x0ca"]),
            (
                b"P \"\\x41\\n\\r\\t\\b\\a\\z\\\"\\xzz\"\r\n",
                &[b"P", b"A\n\r\t\x08\x07z\"xzz"],
            ),
            (b"P 'a\\'b\\n\"'\r\n", &[b"P", b"a'b\\n\""]),
            (b"P a\"b c\"\r\n", &[b"P", b"ab c"]),
            (b"P \"\"\r\n", &[b"P", b""]),
            (b"\"P\"\r\n", &[b"P"]),
            (b"PI\rNG\r\n", &[b"PI", b"NG"]),
            (
                b"P \\x41 \"\\x4\" \xff\r\n",
                &[b"P", b"\\x41", b"x4", b"\xff"],
            ),
        ] {
            assert_eq!(requests(input), [expected], "{}", input.escape_ascii());
        }
        for input in [
            &b"P \"a\r\n"[..],
            b"P 'a\r\n",
            b"P \"a\"b\r\n",
            b"P 'a'b\r\n",
            b"P a\"b c\"'x'\r\n",
            b"P \"\\\n",
        ] {
            let unbalanced = Some(ProtocolError::UnbalancedQuotes);
            assert_eq!(error(input, &OPEN), unbalanced, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn nothing_understood_is_looked_at_again() {
        // The bytes already understood are destroyed before the rest arrives.
        let whole = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\n";
        let mut input = whole.to_vec();
        let (mut partial, mut spans) = (Partial::default(), Vec::new());
        let status = parse(&input, &mut partial, &mut spans, &OPEN);
        assert_eq!(status, Ok(Status::Incomplete(1002)));
        input.fill(b'!');
        input.extend_from_slice(&[b'v'; 1000]);
        let status = parse(&input, &mut partial, &mut spans, &OPEN);
        assert_eq!(status, Ok(Status::Incomplete(2)));
        input.extend_from_slice(b"\r\n*");
        assert_eq!(
            parse(&input, &mut partial, &mut spans, &OPEN),
            Ok(Status::Complete)
        );
        assert_eq!(partial.start, whole.len() + 1002);
        assert_eq!(words(&input, &spans)[2], vec![b'v'; 1000]);
    }

    #[test]
    fn a_partial_request_moves_to_another_buffer() {
        let mut input = b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r".to_vec();
        let (mut partial, mut spans) = (Partial::default(), Vec::new());
        assert_eq!(
            parse(&input, &mut partial, &mut spans, &OPEN),
            Ok(Status::Complete)
        );
        spans.clear();
        assert_eq!(
            parse(&input, &mut partial, &mut spans, &OPEN),
            Ok(Status::Incomplete(1))
        );
        input.drain(..partial.start);
        partial.rebase(&mut spans);
        input.extend_from_slice(b"\nk\r\n");
        assert_eq!(
            parse(&input, &mut partial, &mut spans, &OPEN),
            Ok(Status::Complete)
        );
        assert_eq!(words(&input, &spans), [b"GET".to_vec(), b"k".to_vec()]);
    }
}
