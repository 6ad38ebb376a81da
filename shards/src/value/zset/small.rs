//! A small sorted set: a listpack of members and scores by turns, in order.
//!
//! A score that is an integer is kept as one. Any other is kept as the eight
//! bytes of its `f64` (little endian), which are not compared as text: this is
//! where a dump differs, which has the score's text.

use super::Cut;
use crate::error::OutOfMemory;
use crate::value::listpack::{self, At, Element, Entries, Listpack};
use std::cmp::Ordering;
use std::ops::Range;

/// Integers up to here (exclusive) are scores without loss.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Compares a member with bytes, as text.
#[inline]
pub fn compare(member: Element<'_>, bytes: &[u8]) -> Ordering {
    member.with_bytes(|text| text.cmp(bytes))
}

#[inline]
fn score_of(element: Element<'_>) -> f64 {
    match element {
        Element::Int(number) => number as f64,
        Element::Bytes(bytes) => {
            f64::from_le_bytes(bytes.try_into().expect("a score has eight bytes"))
        }
    }
}

/// A score as it is kept; `buffer` holds it.
fn kept(score: f64, buffer: &mut [u8; 8]) -> Element<'_> {
    if score.trunc() == score && score.abs() < EXACT {
        // Lossless but for -0, which becomes 0, as in Redis's listpacks.
        return Element::Int(score as i64);
    }
    *buffer = score.to_le_bytes();
    Element::Bytes(buffer)
}

/// Members and scores, from both sides.
#[derive(Clone, Debug)]
pub struct Pairs<'a>(Entries<'a>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (At, Element<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (at, member) = self.0.next()?;
        let (_, score) = self.0.next()?;
        Some((at, member, score_of(score)))
    }
}

impl DoubleEndedIterator for Pairs<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let (_, score) = self.0.next_back()?;
        let (at, member) = self.0.next_back()?;
        Some((at, member, score_of(score)))
    }
}

#[inline]
pub fn pairs(row: Listpack<'_>) -> Pairs<'_> {
    Pairs(row.entries())
}

/// The pairs of these ranks; from the first one on, or up to the last one.
pub fn pairs_of<'a>(row: Listpack<'a>, ranks: &Range<usize>, reverse: bool) -> Pairs<'a> {
    let edge = if reverse {
        (2 * ranks.end).checked_sub(1).and_then(|last| row.at(last))
    } else {
        row.at(2 * ranks.start)
    };
    match edge {
        Some(at) if reverse => Pairs(row.entries_to(at)),
        Some(at) => Pairs(row.entries_from(at)),
        None => Pairs(Listpack::new(&[]).entries()),
    }
}

pub fn len(row: Listpack<'_>) -> usize {
    row.len() / 2
}

/// Where a member is, and its score.
#[inline]
pub fn find(row: Listpack<'_>, member: &[u8]) -> Option<(At, f64)> {
    let at = row.find(member, 2)?;
    let score = row.next(at).expect("a member has a score");
    Some((at, score_of(row.element(score))))
}

/// The ranks between two cuts. With `reverse` they are looked for from the end:
/// it makes a difference where members are compared that have different scores,
/// and then the answer is Redis's.
pub fn between(row: Listpack<'_>, min: Cut<'_>, max: Cut<'_>, reverse: bool) -> Range<usize> {
    let before = |cut: Cut<'_>, pair: &(At, Element<'_>, f64)| cut.is_behind(pair.2, || pair.1);
    let mut all = pairs(row);
    let outside = |first, last| !before(max, first) || before(min, last);
    let (mut first, mut last) = (pairs(row), pairs(row));
    match (first.next(), last.next_back()) {
        (Some(first), Some(last)) if !outside(&first, &last) => {}
        _ => return 0..0,
    }
    if reverse {
        let skipped = all.by_ref().rev();
        let skipped = skipped.take_while(|pair| !before(max, pair)).count();
        let end = len(row) - skipped;
        let back = pairs_of(row, &(0..end), true).rev();
        let count = back.take_while(|pair| !before(min, pair)).count();
        return end - count..end;
    }
    let start = all.take_while(|pair| before(min, pair)).count();
    let rest = pairs_of(row, &(start..start), false);
    let count = rest.take_while(|pair| before(max, pair)).count();
    start..start + count
}

/// Adds a member that is not there.
///
/// # Errors
/// There is no memory; nothing has changed.
pub fn insert(bytes: &mut Vec<u8>, member: &[u8], score: f64) -> Result<(), OutOfMemory> {
    let row = Listpack::new(bytes);
    let is_behind = |(_, other, of_other): &(At, Element<'_>, f64)| {
        *of_other > score || *of_other == score && compare(*other, member).is_gt()
    };
    // What comes last is what is added most often.
    let behind = match pairs(row).next_back() {
        Some(last) if is_behind(&last) => pairs(row).find(is_behind).map(|(at, ..)| at),
        _ => None,
    };
    let mut buffer = [0; 8];
    let score = kept(score, &mut buffer);
    let member = Element::from(member);
    bytes.try_reserve(member.room() + score.room() + 2)?;
    match behind {
        Some(at) => {
            listpack::insert_before(bytes, at, score)?;
            listpack::insert_before(bytes, at, member)
        }
        None => {
            listpack::push_back(bytes, member)?;
            listpack::push_back(bytes, score)
        }
    }
}

/// Gives the member at `at` another score.
///
/// # Errors
/// There is no memory; nothing has changed.
pub fn change_score(
    bytes: &mut Vec<u8>,
    at: At,
    member: &[u8],
    score: f64,
) -> Result<(), OutOfMemory> {
    // Whatever is removed makes room for all but these.
    bytes.try_reserve(16)?;
    listpack::remove(bytes, at, 2);
    insert(bytes, member, score)
}

pub fn remove(bytes: &mut Vec<u8>, at: At) {
    listpack::remove(bytes, at, 2);
}

pub fn remove_range(bytes: &mut Vec<u8>, ranks: &Range<usize>) {
    if let Some(at) = Listpack::new(bytes).at(2 * ranks.start) {
        listpack::remove(bytes, at, 2 * ranks.len());
    }
}
