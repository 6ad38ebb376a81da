//! A quicksort that puts only the first places in order.
//!
//! It is the one of Bentley and McIlroy ("Engineering a sort function", 1993):
//! a median of three, or of three medians, is the pivot; what equals it is
//! collected at both ends and then moved to the middle. Which of several equal
//! elements come first is left to chance, and clients of Redis, which uses it
//! too, see what chance decides: so every swap is where it must be. Rows made to
//! be slow for it are left to a sort that is never slow. It may be done in slices.

use crate::command::texts::Chunked;
use std::cmp::Ordering;

/// Up to this length, insertion is faster.
const SHORT: usize = 7;
/// What sorting so few counts as, in comparisons.
const SHORT_COST: usize = SHORT * SHORT / 2;
/// So many cuts, one within the other, tell that pivots are bad on purpose.
const CUTS_MAX: u32 = 100;
/// From this length on the pivot is a median of medians.
const LONG: usize = 41;
/// In a slice of less nothing would be done.
const BUDGET_MIN: usize = 2;

/// What can be sorted.
pub trait Row {
    type Item;

    /// One of the items; it must be there.
    fn at(&self, index: usize) -> &Self::Item;

    fn swap(&mut self, one: usize, other: usize);
}

impl<T> Row for [T] {
    type Item = T;

    fn at(&self, index: usize) -> &T {
        &self[index]
    }

    fn swap(&mut self, one: usize, other: usize) {
        <[T]>::swap(self, one, other);
    }
}

impl<T: Copy> Row for Chunked<T> {
    type Item = T;

    fn at(&self, index: usize) -> &T {
        self.get(index).expect("it is one of the items")
    }

    fn swap(&mut self, one: usize, other: usize) {
        let (first, second) = (*self.at(one), *self.at(other));
        for (index, item) in [(one, second), (other, first)] {
            if let Some(place) = self.get_mut(index) {
                *place = item;
            }
        }
    }
}

/// Puts what belongs to the first `count` places there, in order.
pub fn partial_sort<T>(items: &mut [T], count: usize, mut compare: impl FnMut(&T, &T) -> Ordering) {
    PartialSort::new(items.len(), count).go_on(items, usize::MAX, &mut compare);
}

/// How far that has come.
#[derive(Debug)]
pub struct PartialSort {
    /// What is not sorted yet; the next part at the end.
    parts: Vec<Part>,
    at: Option<(Part, Step)>,
}

/// Neighbours of which the first `count` are to be in order.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: usize,
    len: usize,
    count: usize,
    /// So often it may still be cut.
    cuts: u32,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Cutting(Cut),
    /// So many of those that equal the pivot, and of those they change places with, have
    /// been moved.
    Moving(Cut, usize),
    /// As a heap: so many items may not be in the order of one, and so many are in it.
    Heap {
        loose: usize,
        len: usize,
    },
}

/// Where equal ones end on the left, and begin on the right; and between which places
/// items have not been looked at. The pivot is the first item of the part.
#[derive(Clone, Copy, Debug)]
struct Cut {
    left_equal: usize,
    left: usize,
    right: usize,
    right_equal: usize,
}

impl PartialSort {
    /// Of `len` items the first `count` are to be in order.
    pub fn new(len: usize, count: usize) -> Self {
        let whole = Part {
            start: 0,
            len,
            count,
            cuts: CUTS_MAX,
        };
        Self {
            parts: vec![whole],
            at: None,
        }
    }

    /// Goes on with about so many comparisons; whether there is more to do.
    pub fn go_on<R: Row + ?Sized>(
        &mut self,
        items: &mut R,
        budget: usize,
        compare: &mut impl FnMut(&R::Item, &R::Item) -> Ordering,
    ) -> bool {
        let mut left = budget.max(BUDGET_MIN);
        while left > 0 {
            let next = self.at.take().or_else(|| {
                let part = self.parts.pop()?;
                Some((part, part.begin(items, compare)?))
            });
            match next {
                Some((part, step)) => self.at = self.take(part, step, items, &mut left, compare),
                None => left = left.saturating_sub(SHORT_COST),
            }
            if self.at.is_none() && self.parts.is_empty() {
                return false;
            }
        }
        true
    }

    /// Takes a step, as far as what is left allows; what is to be done next.
    fn take<R: Row + ?Sized>(
        &mut self,
        part: Part,
        step: Step,
        items: &mut R,
        left: &mut usize,
        compare: &mut impl FnMut(&R::Item, &R::Item) -> Ordering,
    ) -> Option<(Part, Step)> {
        let next = match step {
            Step::Cutting(cut) => match part.cut_some(cut, items, left, compare) {
                (cut, true) => Step::Moving(cut, 0),
                (cut, false) => Step::Cutting(cut),
            },
            Step::Moving(cut, moved) => {
                let moved = part.move_some(cut, moved, items, left);
                if moved == cut.moves(part.len) {
                    self.parts.extend(part.halves(cut));
                    return None;
                }
                Step::Moving(cut, moved)
            }
            Step::Heap { loose, len } => {
                let (loose, len) = part.heap_some((loose, len), items, left, compare);
                if len < 2 {
                    return None;
                }
                Step::Heap { loose, len }
            }
        };
        Some((part, next))
    }
}

impl Cut {
    /// How many of those on the left, and on the right, that equal the pivot are swapped
    /// for others.
    fn moved(self, len: usize) -> (usize, usize) {
        let left = self.left_equal.min(self.left - self.left_equal);
        let right = (self.right_equal - self.right).min(len - self.right_equal);
        (left, right)
    }

    fn moves(self, len: usize) -> usize {
        let (left, right) = self.moved(len);
        left + right
    }
}

impl Part {
    /// Puts the pivot to the front; nothing if there is no more to do.
    fn begin<R: Row + ?Sized>(
        self,
        items: &mut R,
        compare: &mut impl FnMut(&R::Item, &R::Item) -> Ordering,
    ) -> Option<Step> {
        let Self { start, len, .. } = self;
        if self.count == 0 {
            return None;
        }
        if len < SHORT {
            self.insertion_sort(items, compare);
            return None;
        }
        if self.cuts == 0 {
            let loose = len / 2;
            return Some(Step::Heap { loose, len });
        }
        let of_part =
            |one: usize, other: usize| compare(items.at(start + one), items.at(start + other));
        let pivot = choose_pivot(len, of_part);
        items.swap(start, start + pivot);
        Some(Step::Cutting(Cut {
            left_equal: 1,
            left: 1,
            right: len,
            right_equal: len,
        }))
    }

    fn insertion_sort<R: Row + ?Sized>(
        self,
        items: &mut R,
        compare: &mut impl FnMut(&R::Item, &R::Item) -> Ordering,
    ) {
        for end in self.start + 1..self.start + self.len {
            let mut at = end;
            while at > self.start && compare(items.at(at - 1), items.at(at)).is_gt() {
                items.swap(at, at - 1);
                at -= 1;
            }
        }
    }

    /// Collects what equals the pivot at both ends, and between them what is below it and
    /// what is above; whether all has been looked at.
    fn cut_some<R: Row + ?Sized>(
        self,
        mut cut: Cut,
        items: &mut R,
        budget: &mut usize,
        compare: &mut impl FnMut(&R::Item, &R::Item) -> Ordering,
    ) -> (Cut, bool) {
        let start = self.start;
        loop {
            while cut.left < cut.right {
                if *budget == 0 {
                    return (cut, false);
                }
                *budget -= 1;
                let order = compare(items.at(start + cut.left), items.at(start));
                if order.is_gt() {
                    break;
                }
                if order.is_eq() {
                    items.swap(start + cut.left_equal, start + cut.left);
                    cut.left_equal += 1;
                }
                cut.left += 1;
            }
            while cut.left < cut.right {
                if *budget == 0 {
                    return (cut, false);
                }
                *budget -= 1;
                let order = compare(items.at(start + cut.right - 1), items.at(start));
                if order.is_lt() {
                    break;
                }
                if order.is_eq() {
                    cut.right_equal -= 1;
                    items.swap(start + cut.right - 1, start + cut.right_equal);
                }
                cut.right -= 1;
            }
            if cut.left >= cut.right {
                return (cut, true);
            }
            cut.right -= 1;
            items.swap(start + cut.left, start + cut.right);
            cut.left += 1;
        }
    }

    /// Moves what equals the pivot to the middle; how much of it is done.
    fn move_some<R: Row + ?Sized>(
        self,
        cut: Cut,
        moved: usize,
        items: &mut R,
        budget: &mut usize,
    ) -> usize {
        let (left, right) = cut.moved(self.len);
        let end = moved.saturating_add(*budget).min(left + right);
        *budget -= end - moved;
        for at in moved..end {
            let (one, other) = match at.checked_sub(left) {
                None => (at, cut.left - left + at),
                Some(at) => (cut.left + at, self.len - right + at),
            };
            items.swap(self.start + one, self.start + other);
        }
        end
    }

    /// What is above the pivot and what is below it.
    fn halves(self, cut: Cut) -> impl Iterator<Item = Self> {
        let (below, above) = (cut.left - cut.left_equal, cut.right_equal - cut.right);
        let cuts = self.cuts - 1;
        let before = self.len - above;
        let above = Self {
            start: self.start + before,
            len: above,
            count: self.count.saturating_sub(before),
            cuts,
        };
        let below = Self {
            len: below,
            cuts,
            ..self
        };
        [above, below].into_iter().filter(|part| part.len > 1)
    }

    /// Goes on with a heap whose first item is the last in order.
    fn heap_some<R: Row + ?Sized>(
        self,
        (mut loose, mut len): (usize, usize),
        items: &mut R,
        budget: &mut usize,
        compare: &mut impl FnMut(&R::Item, &R::Item) -> Ordering,
    ) -> (usize, usize) {
        while *budget > 0 && len > 1 {
            let mut at = match loose.checked_sub(1) {
                Some(less) => {
                    loose = less;
                    less
                }
                None => {
                    len -= 1;
                    items.swap(self.start, self.start + len);
                    0
                }
            };
            while 2 * at + 1 < len {
                *budget = budget.saturating_sub(2);
                let item = |at: usize| items.at(self.start + at);
                let mut child = 2 * at + 1;
                if child + 1 < len && compare(item(child), item(child + 1)).is_lt() {
                    child += 1;
                }
                if compare(item(at), item(child)).is_ge() {
                    break;
                }
                items.swap(self.start + at, self.start + child);
                at = child;
            }
            *budget = budget.saturating_sub(1);
        }
        (loose, len)
    }
}

/// The place of the pivot among at least seven items.
fn choose_pivot(len: usize, mut compare: impl FnMut(usize, usize) -> Ordering) -> usize {
    let (mut low, mut middle, mut high) = (0, len / 2, len - 1);
    if len == SHORT {
        return middle;
    }
    let mut median = |a: usize, b: usize, c: usize| {
        if compare(a, b).is_lt() {
            match compare(b, c).is_lt() {
                true => b,
                false if compare(a, c).is_lt() => c,
                false => a,
            }
        } else {
            match compare(b, c).is_gt() {
                true => b,
                false if compare(a, c).is_lt() => a,
                false => c,
            }
        }
    };
    if len >= LONG {
        let step = len / 8;
        low = median(low, low + step, low + 2 * step);
        middle = median(middle - step, middle, middle + step);
        high = median(high - 2 * step, high - step, high);
    }
    median(low, middle, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_places_are_those_of_a_sorted_row() {
        let mut state = 3u64;
        let mut random = |end: u64| {
            state = state
                .wrapping_mul(0x5851_F42D_4C95_7F2D)
                .wrapping_add(0x1405_7B7E_F767_814F);
            (state >> 33) % end
        };
        for len in (0..60).chain([100, 500, 3_000]) {
            for values in [1, 3, 10, 1_000_000] {
                let row: Vec<u64> = (0..len).map(|_| random(values)).collect();
                let mut sorted = row.clone();
                sorted.sort_unstable();
                for count in [0, 1, 2, len as usize / 2, len as usize] {
                    let mut part = row.clone();
                    partial_sort(&mut part, count, u64::cmp);
                    let count = count.min(part.len());
                    assert_eq!(part[..count], sorted[..count]);
                    part.sort_unstable();
                    assert_eq!(part, sorted);
                }
            }
        }
    }

    /// What a sort with so many comparisons in a slice makes of a row, and how many
    /// slices that takes.
    fn in_slices(
        row: &[(u8, usize)],
        (count, cuts): (usize, u32),
        budget: usize,
    ) -> Vec<(u8, usize)> {
        let mut items = Chunked::default();
        row.iter().for_each(|item| items.push(*item).unwrap());
        let mut sort = PartialSort::new(row.len(), count);
        sort.parts[0].cuts = cuts;
        let mut compare = |one: &(u8, usize), other: &(u8, usize)| one.0.cmp(&other.0);
        let mut slices = 1;
        while sort.go_on(&mut items, budget, &mut compare) {
            slices += 1;
        }
        let least = row.len() / budget.max(SHORT_COST) / 2;
        assert!(count < row.len() || slices >= least, "{slices} slices");
        (0..row.len()).map(|index| *items.at(index)).collect()
    }

    /// Which of several equal ones come first, too.
    #[test]
    fn slices_lead_to_the_same_order() {
        let mut state = 5usize;
        for len in [0, 1, 2, 6, 7, 40, 41, 300, 2_000] {
            for values in [1, 2, 5, 250] {
                let mut number = |index: usize| {
                    state = state
                        .wrapping_mul(0x5851_F42D_4C95_7F2D)
                        .wrapping_add(index);
                    (u8::try_from((state >> 33) % values).unwrap(), index)
                };
                let row: Vec<(u8, usize)> = (0..len).map(&mut number).collect();
                for count in [0, len.min(1), len / 3, len] {
                    for cuts in [CUTS_MAX, 3, 0] {
                        let whole = in_slices(&row, (count, cuts), usize::MAX);
                        assert!(whole[..count].is_sorted_by_key(|item| item.0));
                        for budget in [0, 1, 3, 100] {
                            let sliced = in_slices(&row, (count, cuts), budget);
                            assert_eq!(sliced, whole, "{len} {values} {count} {budget}");
                        }
                    }
                    let mut flat = row.clone();
                    partial_sort(&mut flat, count, |one, other| one.0.cmp(&other.0));
                    assert_eq!(flat, in_slices(&row, (count, CUTS_MAX), 5));
                }
            }
        }
    }
}
