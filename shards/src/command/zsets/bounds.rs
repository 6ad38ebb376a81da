//! What a range of a sorted set is between: ranks, scores or texts.

use crate::command::args::integer;
use crate::error::{CommandError, until_nul};
use crate::number::parse_float;
use crate::value::{Cut, ZsetRef};
use std::ops::Range;

const NOT_A_FLOAT: CommandError = CommandError::Static("ERR min or max is not a float");
const NOT_A_TEXT: CommandError = CommandError::Static("ERR min or max not valid string range item");

/// The kinds of ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Rank,
    Score,
    Lex,
}

/// A range as it was asked for.
#[derive(Clone, Copy, Debug)]
pub enum Bounds<'a> {
    /// Both included; negative ones count from the end.
    Ranks(i64, i64),
    Cuts(Cut<'a>, Cut<'a>),
}

/// Which side of a bound is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Min,
    Max,
}

impl<'a> Bounds<'a> {
    pub fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Self, CommandError> {
        Ok(match by {
            By::Rank => Self::Ranks(integer(min)?, integer(max)?),
            By::Score => Self::Cuts(score_cut(min, Side::Min)?, score_cut(max, Side::Max)?),
            By::Lex => {
                let cut = |text, side| text_cut(text, side).ok_or(NOT_A_TEXT);
                Self::Cuts(cut(min, Side::Min)?, cut(max, Side::Max)?)
            }
        })
    }

    /// The ranks of a sorted set that are meant, in its order. With `reverse`
    /// ranks count from the end.
    pub fn ranks(self, zset: ZsetRef<'_>, reverse: bool) -> Range<usize> {
        match self {
            Self::Cuts(min, max) => zset.between(min, max, reverse),
            Self::Ranks(start, stop) => {
                let len = zset.len();
                let ranks = absolute(start, stop, len);
                if reverse {
                    len - ranks.end..len - ranks.start
                } else {
                    ranks
                }
            }
        }
    }
}

/// From `start` to `stop`, both included, of `len`.
fn absolute(start: i64, stop: i64, len: usize) -> Range<usize> {
    let at = |index: i64| match usize::try_from(index) {
        Ok(index) => Some(index.min(len)),
        Err(_) => len.checked_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let start = at(start).unwrap_or(0);
    let end = at(stop).map_or(0, |stop| (stop + 1).min(len));
    start..end.max(start)
}

/// A score, with `(` if members that have it are out. Read as C reads a string,
/// so nothing is zero, and blanks before it do not matter.
fn score_cut<'a>(text: &[u8], side: Side) -> Result<Cut<'a>, CommandError> {
    let (exclusive, number) = match text {
        [b'(', number @ ..] => (true, number),
        _ => (false, text),
    };
    let number = until_nul(number);
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = number.iter().position(|byte| !is_blank(byte));
    let value = match start {
        Some(start) => parse_float(&number[start..]).map(|float| float.value),
        None => number.is_empty().then_some(0.0),
    };
    let value = value.filter(|value| !value.is_nan()).ok_or(NOT_A_FLOAT)?;
    Ok(match (side, exclusive) {
        (Side::Min, false) | (Side::Max, true) => Cut::BelowScore(value),
        (Side::Min, true) | (Side::Max, false) => Cut::AboveScore(value),
    })
}

/// `[` or `(` and a text, or `-` and `+` for the ends.
fn text_cut(text: &[u8], side: Side) -> Option<Cut<'_>> {
    Some(match (text, side) {
        ([b'-'], _) => Cut::Start,
        ([b'+'], _) => Cut::End,
        ([b'[', text @ ..], Side::Min) | ([b'(', text @ ..], Side::Max) => Cut::BelowMember(text),
        ([b'(', text @ ..], Side::Min) | ([b'[', text @ ..], Side::Max) => Cut::AboveMember(text),
        _ => return None,
    })
}
