//! A sorted row of integers of one width.
//!
//! ```text
//! ┌───────┬────────┬────────┬───
//! │ width │ number │ number │ …     ascending, little-endian, two's complement
//! └───────┴────────┴────────┴───
//!     1     2, 4 or 8 each
//! ```
//!
//! The width is the least that holds all numbers that were ever added, as in
//! Redis. No bytes at all: no numbers. Searching is O(log n), changing O(n).

use crate::counted;
use crate::error::OutOfMemory;

/// Looks at an intset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intset<'a>(&'a [u8]);

impl<'a> Intset<'a> {
    /// `bytes` were written by this module.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The width, and all numbers as they lie there.
    pub fn parts(self) -> (usize, &'a [u8]) {
        let (width, numbers) = self.0.split_first().unwrap_or((&2, &[]));
        (usize::from(*width), numbers)
    }

    #[inline]
    pub fn len(self) -> usize {
        let (width, numbers) = self.parts();
        numbers.len() / width
    }

    pub fn is_empty(self) -> bool {
        self.0.len() <= 1
    }

    /// The number at `index`, from the smallest.
    #[inline]
    pub fn get(self, index: usize) -> Option<i64> {
        let (width, numbers) = self.parts();
        numbers.get(index * width..(index + 1) * width).map(decode)
    }

    /// Where `number` is, or where it would be.
    pub fn find(self, number: i64) -> Result<usize, usize> {
        let (width, numbers) = self.parts();
        let (mut from, mut to) = (0, numbers.len() / width);
        while from < to {
            counted::line();
            let middle = from + (to - from) / 2;
            let other = decode(&numbers[middle * width..(middle + 1) * width]);
            match other.cmp(&number) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        Err(from)
    }

    pub fn contains(self, number: i64) -> bool {
        self.find(number).is_ok()
    }

    /// All numbers, ascending.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = i64> + Clone + 'a {
        let (width, numbers) = self.parts();
        numbers.chunks_exact(width).map(decode)
    }
}

#[inline]
fn decode(bytes: &[u8]) -> i64 {
    counted::elements(1);
    let all = "the width is 2, 4 or 8";
    match bytes.len() {
        2 => i16::from_le_bytes(bytes.try_into().expect(all)).into(),
        4 => i32::from_le_bytes(bytes.try_into().expect(all)).into(),
        _ => i64::from_le_bytes(bytes.try_into().expect(all)),
    }
}

fn width_of(number: i64) -> usize {
    if i16::try_from(number).is_ok() {
        2
    } else if i32::try_from(number).is_ok() {
        4
    } else {
        8
    }
}

/// The set of these numbers, which ascend.
pub fn of_sorted(numbers: &[i64]) -> Result<Vec<u8>, OutOfMemory> {
    debug_assert!(numbers.is_sorted_by(|one, other| one < other));
    let ends = [numbers.first(), numbers.last()].into_iter().flatten();
    let Some(width) = ends.map(|number| width_of(*number)).max() else {
        return Ok(Vec::new());
    };
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(1 + numbers.len() * width)?;
    bytes.push(width as u8);
    for number in numbers {
        bytes.extend_from_slice(&number.to_le_bytes()[..width]);
    }
    Ok(bytes)
}

/// Adds a number; whether it is new. When memory is lacking, nothing has
/// changed.
pub fn insert(bytes: &mut Vec<u8>, number: i64) -> Result<bool, OutOfMemory> {
    let Err(index) = Intset(bytes).find(number) else {
        return Ok(false);
    };
    let width = usize::from(bytes.first().copied().unwrap_or(0));
    let needed = width_of(number);
    if needed > width {
        widen(bytes, needed)?;
    }
    let width = needed.max(width);
    bytes.try_reserve(width)?;
    let at = 1 + index * width;
    let end = bytes.len();
    bytes.resize(end + width, 0);
    bytes.copy_within(at..end, at + width);
    bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
    Ok(true)
}

/// Removes a number; whether it was there.
pub fn remove(bytes: &mut Vec<u8>, number: i64) -> bool {
    let Ok(index) = Intset(bytes).find(number) else {
        return false;
    };
    let width = usize::from(bytes[0]);
    let at = 1 + index * width;
    bytes.drain(at..at + width);
    true
}

/// Gives every number `width` bytes, which are more than it has.
fn widen(bytes: &mut Vec<u8>, width: usize) -> Result<(), OutOfMemory> {
    let old = Intset(bytes);
    let mut wide = Vec::new();
    wide.try_reserve(1 + (old.len() + 1) * width)?;
    wide.push(width as u8);
    for number in old.iter() {
        wide.extend_from_slice(&number.to_le_bytes()[..width]);
    }
    *bytes = wide;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn widths_are_those_of_redis() {
        let mut bytes = Vec::new();
        for (number, width) in [(32767, 2), (-32768, 2), (32768, 4), (i64::MIN, 8), (1, 8)] {
            assert!(insert(&mut bytes, number).unwrap());
            assert_eq!(bytes[0], width);
        }
        assert_eq!(bytes.len(), 1 + 5 * 8);
        assert!(remove(&mut bytes, i64::MIN));
        assert_eq!(bytes[0], 8);
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_a_set(steps in proptest::collection::vec((0..3, 0..4, -20i64..20), 0..200)) {
            let (mut bytes, mut twin) = (Vec::new(), BTreeSet::new());
            for (what, scale, number) in steps {
                let number = number.saturating_mul([1, 3_000, 200_000_000, i64::MAX / 10][scale as usize]);
                if what > 0 {
                    proptest::prop_assert_eq!(insert(&mut bytes, number).unwrap(), twin.insert(number));
                } else {
                    proptest::prop_assert_eq!(remove(&mut bytes, number), twin.remove(&number));
                }
                let set = Intset::new(&bytes);
                proptest::prop_assert!(set.iter().eq(twin.iter().copied()));
                proptest::prop_assert_eq!((set.len(), set.is_empty()), (twin.len(), twin.is_empty()));
                proptest::prop_assert_eq!(set.get(0), twin.first().copied());
                proptest::prop_assert_eq!(set.get(set.len()), None);
                proptest::prop_assert_eq!(set.contains(number), twin.contains(&number));
                let sorted: Vec<i64> = twin.iter().copied().collect();
                let fresh = of_sorted(&sorted).unwrap();
                proptest::prop_assert!(Intset::new(&fresh).iter().eq(sorted.iter().copied()));
                proptest::prop_assert!(fresh.len() <= bytes.len());
            }
        }
    }
}
