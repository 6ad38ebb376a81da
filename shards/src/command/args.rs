//! The arguments of a request: slices of the buffer it was received in.
//!
//! Index 0 is the command's name. Nothing is copied; a request that crosses to
//! another core is copied whole, once.

use crate::error::{CommandError, until_nul};
use crate::number::parse_i64;
use crate::types::Span;

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
        let start = span.start as usize;
        &self.buffer[start..start + span.len as usize]
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedArgs {
    buffer: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgs {
    /// Copies `parts`, the name first, one after the other. Together they must
    /// be below 4 GiB, as every request is.
    pub fn new<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut args = Self::default();
        for part in parts {
            let short = |len: usize| u32::try_from(len).expect("a request is below 4 GiB");
            let (start, len) = (short(args.buffer.len()), short(part.len()));
            args.buffer.extend_from_slice(part);
            args.spans.push(Span { start, len });
        }
        args
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

/// [`parse_i64`], or the error most commands give.
#[inline]
pub fn integer(text: &[u8]) -> Result<i64, CommandError> {
    parse_i64(text).ok_or(CommandError::NotAnInteger)
}
