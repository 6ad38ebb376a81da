//! The order of elements, and what is put out in that order.

use super::Elements;
use super::options::Sort;
use super::texts::Texts;
use crate::error::{CommandError, OutOfMemory, until_nul};
use crate::number::parse_float;
use std::cmp::Ordering;

const NOT_A_NUMBER: CommandError =
    CommandError::Static("ERR One or more scores can't be converted into double");

/// Sorts, cuts, and puts out. `look` adds what a pattern, given with its place
/// in [`Sort::patterns`], names for the element of an index.
pub fn arrange(
    sort: &Sort<'_>,
    elements: &Elements,
    mut look: impl FnMut((usize, &[u8]), usize, &mut Texts) -> Result<(), CommandError>,
) -> Result<Texts, CommandError> {
    let texts = &elements.texts;
    // A set has no order that a replica would find, too.
    let as_set = sort.unsorted && elements.is_set && sort.store.is_some();
    let mut order = indices(texts.len())?;
    if sort.unsorted && !as_set {
        if !elements.is_set && sort.descending {
            order.reverse();
        }
    } else {
        let by = sort.by.filter(|_| !as_set);
        let mut keys = Texts::default();
        if let Some(pattern) = by {
            for index in 0..texts.len() {
                look((0, pattern), index, &mut keys)?;
            }
        }
        let keys = by.map_or(texts, |_| &keys);
        if sort.alpha || as_set {
            order.sort_by(|one, other| keys.get(*one).cmp(&keys.get(*other)));
        } else {
            let scores = scores(keys)?;
            order.sort_by(|one, other| {
                let by_score = scores[*one].partial_cmp(&scores[*other]);
                let by_text = || texts.get(*one).cmp(&texts.get(*other));
                by_score.unwrap_or(Ordering::Equal).then_with(by_text)
            });
        }
        if sort.descending {
            order.reverse();
        }
    }
    let mut found = Texts::default();
    for index in &order[sort.range(texts.len())] {
        if sort.gets.is_empty() {
            found.push(texts.get(*index))?;
        }
        for (place, pattern) in sort.gets.iter().enumerate() {
            match *pattern {
                b"#" => found.push(texts.get(*index))?,
                pattern => look((place + 1, pattern), *index, &mut found)?,
            }
        }
    }
    Ok(found)
}

fn indices(len: usize) -> Result<Vec<usize>, OutOfMemory> {
    let mut indices = Vec::new();
    indices.try_reserve_exact(len)?;
    indices.extend(0..len);
    Ok(indices)
}

fn scores(keys: &Texts) -> Result<Vec<f64>, CommandError> {
    let mut scores = Vec::new();
    scores
        .try_reserve_exact(keys.len())
        .map_err(|_| CommandError::OutOfMemory)?;
    for key in keys.iter() {
        scores.push(match key {
            Some(text) => score(text).ok_or(NOT_A_NUMBER)?,
            None => 0.0,
        });
    }
    Ok(scores)
}

/// A number as C's strtod reads it: spaces before it are skipped, nothing is
/// zero, and what follows a NUL is not seen.
fn score(text: &[u8]) -> Option<f64> {
    let text = until_nul(text);
    if text.is_empty() {
        return Some(0.0);
    }
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let start = text.iter().position(|byte| !is_space(byte))?;
    let float = parse_float(&text[start..])?;
    (!float.out_of_range && !float.value.is_nan()).then_some(float.value)
}
