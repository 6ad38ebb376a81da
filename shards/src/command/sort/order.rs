//! The order of elements, and what is put out in that order.
//!
//! What is sorted are pairs of a rank, which decides nearly always, and the number of
//! an element. Step by step that is a merge sort: runs of as many elements as a step
//! may take are sorted, then merged in rounds, each of which makes half as many runs
//! twice as long. In one step it is one run.

use super::options::Sort;
use crate::command::texts::{Chunked, Texts};
use crate::error::{CommandError, OutOfMemory, until_nul};
use crate::number::parse_float;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

const NOT_A_NUMBER: CommandError =
    CommandError::Static("ERR One or more scores can't be converted into double");

/// So many elements are sorted or merged while one is looked up.
const QUICKER: usize = 4;

/// Elements on their way into an order.
#[derive(Debug)]
pub struct Sorting {
    /// The elements in their own order, which is nobody's wish if they are a set's,
    /// unlike that of a list or a sorted set.
    pub texts: Arc<Texts>,
    /// What they are sorted by, if that is not they themselves.
    keys: Option<Texts>,
    order: Order,
    at: At,
    /// What the last round of merges was made of.
    spare: Chunked<Ranked>,
}

#[derive(Debug)]
enum Order {
    Own,
    Backwards,
    Of { entries: Chunked<Ranked>, by: By },
}

/// How entries of equal ranks are told apart.
#[derive(Clone, Copy, Debug)]
enum By {
    Keys,
    Texts,
}

/// An element: where it belongs, and which it is.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    rank: u64,
    index: usize,
}

/// What is to be done next, and how far that has come.
#[derive(Debug)]
enum At {
    Keys,
    Ranks,
    /// Runs begin there that are not sorted yet; all are of this length, but for
    /// the last.
    Runs {
        from: usize,
        width: usize,
    },
    Merge(Merging),
    Over,
}

/// A round in which neighbouring runs are merged.
#[derive(Debug)]
struct Merging {
    width: usize,
    /// What is merged so far, and how many that are; behind them stands what is left of
    /// an earlier round. And where the two runs at hand stand and end.
    out: Chunked<Ranked>,
    put: usize,
    left: Range<usize>,
    right: Range<usize>,
}

impl Merging {
    /// The first two runs of a round, which goes into what is emptied for it.
    fn new(width: usize, len: usize, out: Chunked<Ranked>) -> Self {
        let mut merging = Self {
            width,
            out,
            put: 0,
            left: 0..0,
            right: 0..0,
        };
        merging.next_runs(len);
        merging
    }

    fn put(&mut self, entry: Ranked) -> Result<(), OutOfMemory> {
        match self.out.get_mut(self.put) {
            Some(place) => *place = entry,
            None => self.out.push(entry)?,
        }
        self.put += 1;
        Ok(())
    }

    fn next_runs(&mut self, len: usize) {
        let start = self.put;
        let middle = start.saturating_add(self.width).min(len);
        self.left = start..middle;
        self.right = middle..middle.saturating_add(self.width).min(len);
    }
}

impl Sorting {
    pub fn new(sort: &Sort<'_>, texts: impl Into<Arc<Texts>>, is_set: bool) -> Self {
        // A set has no order that a replica would find, too.
        let as_set = sort.unsorted && is_set && sort.store.is_some();
        let order = match sort.unsorted && !as_set {
            true if !is_set && sort.descending => Order::Backwards,
            true => Order::Own,
            false => Order::Of {
                entries: Chunked::default(),
                by: if sort.alpha || as_set {
                    By::Keys
                } else {
                    By::Texts
                },
            },
        };
        Self {
            texts: texts.into(),
            keys: sort.by.filter(|_| !sort.unsorted).map(|_| Texts::default()),
            at: match order {
                Order::Of { .. } => At::Keys,
                _ => At::Over,
            },
            order,
            spare: Chunked::default(),
        }
    }

    /// Goes on with about `budget` elements; whether there is more to do. `look` adds
    /// what a pattern, given with its place in [`Sort::patterns`], names for an element,
    /// given with its number.
    pub fn sort_some(
        &mut self,
        sort: &Sort<'_>,
        budget: usize,
        mut look: impl FnMut((usize, &[u8]), (usize, &[u8]), &mut Texts) -> Result<(), CommandError>,
    ) -> Result<bool, CommandError> {
        let len = self.texts.len();
        let Self {
            texts,
            keys,
            order: Order::Of { entries, by },
            at,
            spare,
            ..
        } = self
        else {
            return Ok(false);
        };
        let quick = budget.saturating_mul(QUICKER);
        let compare = |one: &Ranked, other: &Ranked| {
            let of = match by {
                By::Keys => keys.as_ref().unwrap_or(texts),
                By::Texts => &*texts,
            };
            let rank = one.rank.cmp(&other.rank);
            let text = || of.get(one.index).cmp(&of.get(other.index));
            let own = || one.index.cmp(&other.index);
            rank.then_with(text).then_with(own)
        };
        *at = match std::mem::replace(at, At::Over) {
            At::Keys => match (keys, sort.by) {
                (Some(keys), Some(pattern)) if keys.len() < len => {
                    for index in keys.len()..keys.len().saturating_add(budget).min(len) {
                        let element = texts.get(index).unwrap_or_default();
                        look((0, pattern), (index, element), keys)?;
                    }
                    At::Keys
                }
                _ => At::Ranks,
            },
            At::Ranks => {
                let of = keys.as_ref().unwrap_or(texts);
                let start = entries.len();
                for index in start..start.saturating_add(quick).min(len) {
                    let rank = match by {
                        By::Keys => first_bytes(of.get(index)),
                        By::Texts => rank_of(score(of.get(index))?),
                    };
                    entries.push(Ranked { rank, index })?;
                }
                match entries.len() < len {
                    true => At::Ranks,
                    false => At::Runs {
                        from: 0,
                        width: quick,
                    },
                }
            }
            At::Runs { from, width } => {
                let end = from.saturating_add(width).min(len);
                sort_run(entries, from..end, compare)?;
                match (end < len, width < len) {
                    (true, _) => At::Runs { from: end, width },
                    (false, true) => At::Merge(Merging::new(width, len, Chunked::default())),
                    (false, false) => At::Over,
                }
            }
            At::Merge(merging) => merge_some((entries, spare), merging, quick, compare)?,
            At::Over => At::Over,
        };
        Ok(!matches!(self.at, At::Over))
    }

    /// Frees some of the memory of one that is not needed any more; whether there is
    /// more of it.
    pub fn free_some(&mut self) -> bool {
        // The last who has the elements frees them.
        let texts = Arc::get_mut(&mut self.texts).is_some_and(Texts::free_some);
        let keys = self.keys.as_mut().is_some_and(Texts::free_some);
        let entries = match &mut self.order {
            Order::Of { entries, .. } => entries.free_some(),
            Order::Own | Order::Backwards => false,
        };
        self.spare.free_some() | texts | keys | entries
    }

    /// Hands out what is wanted for the elements of these places in the order.
    pub fn put_out(
        &self,
        sort: &Sort<'_>,
        places: Range<usize>,
        mut look: impl FnMut((usize, &[u8]), (usize, &[u8]), &mut Texts) -> Result<(), CommandError>,
        mut put: impl FnMut(Option<&[u8]>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let mut found = Texts::default();
        for place in places {
            let index = self.index(sort, place);
            let element = self.texts.get(index);
            if sort.gets.is_empty() {
                put(element)?;
            }
            for (nth, pattern) in sort.gets.iter().enumerate() {
                if *pattern == b"#" {
                    put(element)?;
                    continue;
                }
                found.clear();
                let element = (index, element.unwrap_or_default());
                look((nth + 1, pattern), element, &mut found)?;
                put(found.get(0))?;
            }
        }
        Ok(())
    }

    /// The number of the element at a place of the order.
    fn index(&self, sort: &Sort<'_>, place: usize) -> usize {
        let backwards = self.texts.len() - 1 - place;
        match &self.order {
            Order::Own => place,
            Order::Backwards => backwards,
            Order::Of { entries, .. } => {
                let place = if sort.descending { backwards } else { place };
                entries.get(place).map_or(place, |entry| entry.index)
            }
        }
    }
}

/// Sorts some neighbours, which are copied for it.
fn sort_run(
    entries: &mut Chunked<Ranked>,
    some: Range<usize>,
    compare: impl Fn(&Ranked, &Ranked) -> Ordering,
) -> Result<(), OutOfMemory> {
    let mut run: Vec<Ranked> = Vec::new();
    run.try_reserve_exact(some.len())?;
    run.extend(some.clone().filter_map(|index| entries.get(index)));
    run.sort_unstable_by(compare);
    for (index, sorted) in some.zip(run) {
        if let Some(entry) = entries.get_mut(index) {
            *entry = sorted;
        }
    }
    Ok(())
}

/// Goes on with a round of merges, and begins the next when it is over.
fn merge_some(
    (entries, spare): (&mut Chunked<Ranked>, &mut Chunked<Ranked>),
    mut merging: Merging,
    budget: usize,
    compare: impl Fn(&Ranked, &Ranked) -> Ordering,
) -> Result<At, OutOfMemory> {
    let len = entries.len();
    let end = merging.put.saturating_add(budget).min(len);
    while merging.put < end {
        let first = |run: &Range<usize>| match run.is_empty() {
            true => None,
            false => entries.get(run.start).copied(),
        };
        let next = match (first(&merging.left), first(&merging.right)) {
            (Some(one), Some(other)) if compare(&other, &one).is_lt() => {
                merging.right.start += 1;
                other
            }
            (Some(one), _) => {
                merging.left.start += 1;
                one
            }
            (None, Some(other)) => {
                merging.right.start += 1;
                other
            }
            (None, None) => {
                merging.next_runs(len);
                continue;
            }
        };
        merging.put(next)?;
    }
    if merging.put < len {
        return Ok(At::Merge(merging));
    }
    std::mem::swap(entries, &mut merging.out);
    let width = merging.width.saturating_mul(2);
    if width < len {
        return Ok(At::Merge(Merging::new(width, len, merging.out)));
    }
    *spare = merging.out;
    Ok(At::Over)
}

/// In the order of numbers, of which 0 is one.
fn rank_of(score: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    let bits = (score + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// In the order of texts, where they differ in their first bytes.
fn first_bytes(text: Option<&[u8]>) -> u64 {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(text.unwrap_or_default()) {
        *to = *from;
    }
    u64::from_be_bytes(first)
}

/// A number as C's strtod reads it: spaces before it are skipped, nothing is
/// zero, and what follows a NUL is not seen.
fn score(text: Option<&[u8]>) -> Result<f64, CommandError> {
    let text = until_nul(text.unwrap_or_default());
    if text.is_empty() {
        return Ok(0.0);
    }
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let start = text.iter().position(|byte| !is_space(byte));
    let start = start.ok_or(NOT_A_NUMBER)?;
    let float = parse_float(&text[start..]).ok_or(NOT_A_NUMBER)?;
    match float.out_of_range || float.value.is_nan() {
        true => Err(NOT_A_NUMBER),
        false => Ok(float.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::OwnedArgs;
    use crate::types::Random;

    /// What SORT with these options makes of numbers and texts, a step at a time.
    fn sorted(options: &str, count: usize, step: usize) -> Vec<Vec<u8>> {
        let words = ["SORT", "k"].into_iter().chain(options.split_whitespace());
        let args = OwnedArgs::new(words.map(str::as_bytes));
        let sort = Sort::parse(args.args()).unwrap();
        let (mut texts, mut random) = (Texts::default(), Random::new(7));
        for _ in 0..count {
            let number = random.next() % 50;
            let text = match number % 3 {
                0 => format!("{number}"),
                1 => format!("-{number}.0"),
                _ => format!("0{number}"),
            };
            texts.push(Some(text.as_bytes())).unwrap();
        }
        let mut sorting = Sorting::new(&sort, texts, false);
        let by = |_: (usize, &[u8]), (index, _): (usize, &[u8]), out: &mut Texts| {
            let text = (index % 5 > 0).then(|| format!("{}", index % 5).into_bytes());
            Ok(out.push(text.as_deref())?)
        };
        while sorting.sort_some(&sort, step, by).unwrap() {}
        let mut found = Vec::new();
        let put = |text: Option<&[u8]>| {
            found.push(text.unwrap_or_default().to_vec());
            Ok(())
        };
        sorting.put_out(&sort, sort.range(count), by, put).unwrap();
        found
    }

    #[test]
    fn steps_lead_to_the_same_order() {
        let options = [
            "",
            "DESC",
            "ALPHA",
            "ALPHA DESC LIMIT 3 9",
            "BY w*",
            "BY w* DESC ALPHA GET # GET v*",
            "BY nosort DESC",
        ];
        for options in options {
            for count in [0, 1, 2, 7, 64, 65, 300] {
                let whole = sorted(options, count, usize::MAX);
                for step in [1, 2, 3, 64] {
                    assert_eq!(
                        sorted(options, count, step),
                        whole,
                        "{options} {count} {step}"
                    );
                }
            }
        }
        let numbers: Vec<f64> = sorted("", 300, 7)
            .iter()
            .map(|text| score(Some(text)).unwrap())
            .collect();
        assert!(numbers.is_sorted());
        assert!(sorted("ALPHA", 300, 7).is_sorted());
    }

    #[test]
    fn ranks_are_in_the_order_of_numbers() {
        let numbers = [
            f64::NEG_INFINITY,
            -2.5,
            -1e-300,
            0.0,
            1e-300,
            7.0,
            f64::INFINITY,
        ];
        assert!(numbers.map(rank_of).is_sorted_by(|one, other| one < other));
        assert_eq!(rank_of(-0.0), rank_of(0.0));
    }
}
