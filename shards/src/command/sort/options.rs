//! What SORT's arguments say.

use crate::command::Args;
use crate::command::args::integer;
use crate::error::{CommandError, until_nul};
use std::ops::Range;

/// See above.
pub struct Sort<'a> {
    pub by: Option<&'a [u8]>,
    /// Some BY had no `*`: the order stays what it is.
    pub unsorted: bool,
    pub alpha: bool,
    pub descending: bool,
    pub gets: Vec<&'a [u8]>,
    pub store: Option<&'a [u8]>,
    offset: i64,
    count: i64,
}

impl<'a> Sort<'a> {
    /// # Errors
    /// There is something that is no option, or a limit that is no number.
    pub fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        Self::parse_with(args, |_| {})
    }

    /// As [`Sort::parse`]; `stored_at` is told where each destination stands.
    fn parse_with(args: Args<'a>, mut stored_at: impl FnMut(usize)) -> Result<Self, CommandError> {
        let mut sort = Self {
            by: None,
            unsorted: false,
            alpha: false,
            descending: false,
            gets: Vec::new(),
            store: None,
            offset: 0,
            count: -1,
        };
        let may_store = !args
            .get(0)
            .unwrap_or_default()
            .eq_ignore_ascii_case(b"SORT_RO");
        let mut index = 2;
        while let Some(option) = args.get(index) {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            match (args.get(index + 1), args.get(index + 2)) {
                _ if is(b"ASC") => sort.descending = false,
                _ if is(b"DESC") => sort.descending = true,
                _ if is(b"ALPHA") => sort.alpha = true,
                (Some(offset), Some(count)) if is(b"LIMIT") => {
                    (sort.offset, sort.count) = (integer(offset)?, integer(count)?);
                    index += 2;
                }
                (Some(key), _) if may_store && is(b"STORE") => {
                    sort.store = Some(key);
                    index += 1;
                    stored_at(index);
                }
                (Some(pattern), _) if is(b"BY") => {
                    sort.by = Some(pattern);
                    sort.unsorted |= star(pattern).is_none();
                    index += 1;
                }
                (Some(pattern), _) if is(b"GET") => {
                    sort.gets.push(pattern);
                    index += 1;
                }
                _ => return Err(CommandError::Syntax),
            }
            index += 1;
        }
        Ok(sort)
    }

    /// The pattern of BY, which may be no pattern, then those of GET.
    pub fn patterns(&self) -> Vec<&'a [u8]> {
        let by = if self.unsorted { None } else { self.by };
        let mut patterns = vec![by.unwrap_or_default()];
        patterns.extend(&self.gets);
        patterns
    }

    /// Which of `len` elements LIMIT leaves.
    pub fn range(&self, len: usize) -> Range<usize> {
        let start = usize::try_from(self.offset.max(0)).map_or(len, |start| start.min(len));
        let count = usize::try_from(self.count).unwrap_or(len);
        start..start.saturating_add(count).min(len)
    }
}

/// The position of the last STORE's key.
pub fn destination(args: Args<'_>) -> Option<usize> {
    let mut position = None;
    Sort::parse_with(args, |at| position = Some(at)).ok()?;
    position
}

/// Whether the request looks at keys that patterns name.
pub fn reaches_any_key(args: Args<'_>) -> bool {
    let sort = Sort::parse(args);
    sort.is_ok_and(|sort| sort.patterns().iter().any(|it| star(it).is_some()))
}

fn star(pattern: &[u8]) -> Option<usize> {
    memchr::memchr(b'*', until_nul(pattern))
}

/// A pattern around its `*`.
pub struct SplitPattern<'a> {
    pub before: &'a [u8],
    pub after: &'a [u8],
    /// The field of a hash.
    pub field: Option<&'a [u8]>,
}

/// Nothing for what is no pattern. `->` with nothing behind it is part of a key.
pub fn split_pattern(pattern: &[u8]) -> Option<SplitPattern<'_>> {
    let at = star(pattern)?;
    let (before, after) = (&pattern[..at], &pattern[at + 1..]);
    let arrow = until_nul(after).windows(2).position(|two| two == b"->");
    let arrow = arrow.filter(|arrow| after.get(arrow + 2).is_some_and(|byte| *byte != 0));
    Some(match arrow {
        Some(arrow) => SplitPattern {
            before,
            after: &after[..arrow],
            field: Some(&after[arrow + 2..]),
        },
        None => SplitPattern {
            before,
            after,
            field: None,
        },
    })
}
