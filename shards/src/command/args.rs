//! The arguments of a request: slices of the buffer it was received in.
//!
//! Index 0 is the command's name. Nothing is copied; a request that crosses to
//! another core is copied whole, once.

use crate::counted;
use crate::error::{CommandError, until_nul};
use crate::number::parse_i64;
use crate::resp::Reply;
use crate::types::{Span, UnixMs};
use crate::value::LongDouble;

/// A parsed request: a buffer and where in it each argument lies.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buffer: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// `spans` must lie within `buffer`.
    #[inline]
    pub fn new(buffer: &'a [u8], spans: &'a [Span]) -> Self {
        Self { buffer, spans }
    }

    /// Number of arguments, the command's name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is not even a name.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `index`, or nothing beyond the end.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| self.slice(*span))
    }

    /// All arguments from the name on.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let this = *self;
        this.spans.iter().map(move |span| this.slice(*span))
    }

    /// The arguments from `index` on, as a view whose index 0 is `index`.
    #[inline]
    pub fn from(&self, index: usize) -> Args<'a> {
        Self {
            buffer: self.buffer,
            spans: self.spans.get(index..).unwrap_or_default(),
        }
    }

    /// The first `count` arguments, or all if there are fewer.
    #[inline]
    pub fn first(&self, count: usize) -> Args<'a> {
        Self {
            buffer: self.buffer,
            spans: self.spans.get(..count).unwrap_or(self.spans),
        }
    }

    /// The `N` arguments after the name. The row's arity has been checked, so
    /// a mismatch is a wrong row; it is answered as a syntax error.
    #[inline]
    pub fn exactly<const N: usize>(&self) -> Result<[&'a [u8]; N], CommandError> {
        if self.spans.len() != N + 1 {
            return Err(CommandError::Syntax);
        }
        Ok(std::array::from_fn(|i| self.slice(self.spans[i + 1])))
    }

    /// Where the arguments lie.
    #[inline]
    pub fn spans(&self) -> &'a [Span] {
        self.spans
    }

    /// The buffer they lie in.
    #[inline]
    pub fn buffer(&self) -> &'a [u8] {
        self.buffer
    }

    #[inline]
    fn slice(&self, span: Span) -> &'a [u8] {
        span.of(self.buffer)
    }
}

impl<'a> std::ops::Index<usize> for Args<'a> {
    type Output = [u8];

    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        self.slice(self.spans[index])
    }
}

/// Arguments that own their buffer: a part of a request, or one made up.
///
/// Clients decide how long they are. Where there is no memory for all of them, or they
/// are longer than a request can be, there are none at all; whoever runs a request
/// without arguments, not even a name, replies that memory is lacking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedArgs {
    buffer: Vec<u8>,
    spans: Vec<Span>,
    lack: bool,
}

impl OwnedArgs {
    /// Copies `parts`, the name first, one after the other.
    pub fn new<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Self {
        Self::with_room(parts, 0, 0)
    }

    /// As [`OwnedArgs::new`], with room for so many arguments and bytes from
    /// the beginning.
    pub fn with_room<'p>(
        parts: impl IntoIterator<Item = &'p [u8]>,
        count: usize,
        bytes: usize,
    ) -> Self {
        let mut args = Self::default();
        args.lack = args.buffer.try_reserve_exact(bytes).is_err()
            || args.spans.try_reserve_exact(count).is_err();
        for part in parts {
            args.push(part);
        }
        args
    }

    /// A copy of `args` with others in some places.
    pub fn with_instead(args: Args<'_>, instead: &[(usize, Vec<u8>)]) -> Self {
        let replaced = |(position, arg)| {
            let other = instead.iter().find(|(at, _)| *at == position);
            other.map_or(arg, |(_, other)| other.as_slice())
        };
        Self::new(args.iter().enumerate().map(replaced))
    }

    /// Adds one more argument.
    pub fn push(&mut self, part: &[u8]) {
        let end = u32::try_from(self.buffer.len().saturating_add(part.len()));
        if self.lack
            || end.is_err()
            || self.buffer.try_reserve(part.len()).is_err()
            || self.spans.try_reserve(1).is_err()
        {
            return self.give_up();
        }
        // Both are below the end.
        let (start, len) = (self.buffer.len() as u32, part.len() as u32);
        counted::copied(part.len());
        self.buffer.extend_from_slice(part);
        self.spans.push(Span { start, len });
    }

    #[cold]
    fn give_up(&mut self) {
        *self = Self {
            lack: true,
            ..Self::default()
        };
    }

    /// Whether there was no memory for them: then there are none.
    pub fn lack_memory(&self) -> bool {
        self.lack
    }

    /// To hand them to a handler.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.buffer, &self.spans)
    }
}

/// A cursor of SCAN and its relatives, as C's strtoul reads a number: nothing
/// is 0, signs are allowed, and a negative number wraps.
pub fn cursor_of(text: &[u8]) -> Option<u64> {
    let text = until_nul(text);
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, text),
    };
    if digits.is_empty() {
        return text.is_empty().then_some(0);
    }
    let number = digits.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })?;
    Some(match negative {
        true => number.wrapping_neg(),
        false => number,
    })
}

/// The options of a walk through one collection (SSCAN, HSCAN, ZSCAN).
pub struct Scan<'a> {
    /// Elements to look at with this call.
    pub count: usize,
    /// Values are not asked for (HSCAN).
    pub no_values: bool,
    pattern: Option<&'a [u8]>,
}

impl<'a> Scan<'a> {
    /// The cursor, argument 2. To be read before the key is looked at.
    pub fn cursor(args: Args<'_>) -> Result<u64, CommandError> {
        const INVALID: CommandError = CommandError::Static("ERR invalid cursor");
        args.get(2).and_then(cursor_of).ok_or(INVALID)
    }

    /// The options behind it. Redis reads them only if the key is there.
    pub fn parse(args: Args<'a>, with_values: bool) -> Result<Self, CommandError> {
        let mut scan = Self {
            count: 10,
            no_values: false,
            pattern: None,
        };
        let mut index = 3;
        while let Some(option) = args.get(index) {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            let value = args.get(index + 1);
            match value {
                Some(count) if is(b"COUNT") => {
                    let count = usize::try_from(integer(count)?).ok();
                    scan.count = count.filter(|it| *it > 0).ok_or(CommandError::Syntax)?;
                    index += 2;
                }
                Some(pattern) if is(b"MATCH") => {
                    scan.pattern = Some(pattern).filter(|it| *it != b"*");
                    index += 2;
                }
                _ if with_values && is(b"NOVALUES") => {
                    scan.no_values = true;
                    index += 1;
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(scan)
    }

    /// Whether an element is to be replied.
    pub fn wants(&self, element: &[u8]) -> bool {
        let pattern = self.pattern;
        pattern.is_none_or(|pattern| crate::glob::matches(pattern, element))
    }

    /// Replies the next cursor and the `len` elements, written already.
    pub fn reply(reply: &mut Reply<'_>, next: u64, len: usize, elements: &[u8]) {
        reply.array(2);
        reply.bulk(itoa::Buffer::new().format(next).as_bytes());
        reply.array(len);
        reply.raw(elements);
    }

    /// The reply for a missing key.
    pub fn reply_nothing(reply: &mut Reply<'_>) {
        Self::reply(reply, 0, 0, b"");
    }
}

/// Checks a count of elements chosen by chance; below zero they may repeat.
///
/// More repetitions than a reply could hold are refused as too much memory.
pub fn random_count(count: i64) -> Result<i64, CommandError> {
    const REPEATED_MAX: i64 = 1 << 24;
    if count == i64::MIN {
        return Err(CommandError::Static(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    if count < -REPEATED_MAX {
        return Err(CommandError::OutOfMemory);
    }
    Ok(count)
}

/// The timeout of a blocking command, seconds with a fraction: until when it
/// waits. 0 is for ever.
pub fn deadline(text: &[u8], now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
    const NO_FLOAT: CommandError =
        CommandError::Static("ERR timeout is not a float or out of range");
    const NEGATIVE: CommandError = CommandError::Static("ERR timeout is negative");
    const TOO_LATE: CommandError = CommandError::Static("ERR timeout is out of range");
    let seconds = LongDouble::parse(text).ok_or(NO_FLOAT)?;
    let ms = seconds.thousandfold_ceil().ok_or(TOO_LATE)?;
    match ms {
        ..0 => Err(NEGATIVE),
        0 => Ok(None),
        _ => {
            let until = now.0.checked_add(ms).ok_or(TOO_LATE)?;
            Ok(Some(UnixMs(until)))
        }
    }
}

/// As [`deadline`], of milliseconds.
pub fn deadline_ms(text: &[u8], now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
    const NO_INTEGER: CommandError =
        CommandError::Static("ERR timeout is not an integer or out of range");
    const NEGATIVE: CommandError = CommandError::Static("ERR timeout is negative");
    const TOO_LATE: CommandError = CommandError::Static("ERR timeout is out of range");
    match parse_i64(text).ok_or(NO_INTEGER)? {
        ..0 => Err(NEGATIVE),
        0 => Ok(None),
        ms => Ok(Some(UnixMs(now.0.checked_add(ms).ok_or(TOO_LATE)?))),
    }
}

/// The keys of a request that ends with a timeout, and until when it waits.
/// The row's arity asks for both.
pub fn keys_and_deadline<'a>(
    args: Args<'a>,
    now: UnixMs,
) -> Result<(impl Iterator<Item = &'a [u8]>, Option<UnixMs>), CommandError> {
    let last = args.len().saturating_sub(1);
    let until = deadline(args.get(last).unwrap_or_default(), now)?;
    Ok((args.iter().take(last).skip(1), until))
}

/// [`parse_i64`], or the error most commands give.
#[inline]
pub fn integer(text: &[u8]) -> Result<i64, CommandError> {
    parse_i64(text).ok_or(CommandError::NotAnInteger)
}
