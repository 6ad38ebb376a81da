//! A quicksort that puts only the first places in order.
//!
//! It is the one of Bentley and McIlroy ("Engineering a sort function", 1993):
//! a median of three, or of three medians, is the pivot; what equals it is
//! collected at both ends and then moved to the middle. Which of several equal
//! elements come first is left to chance, and clients of Redis, which uses it
//! too, see what chance decides: so every swap is where it must be. Rows made to
//! be slow for it are left to a sort that is never slow.

use std::cmp::Ordering;

/// Up to this length, insertion is faster.
const SHORT: usize = 7;
/// So many cuts, one within the other, tell that pivots are bad on purpose.
const CUTS_MAX: u32 = 100;
/// From this length on the pivot is a median of medians.
const LONG: usize = 41;

/// Puts what belongs to the first `count` places there, in order.
pub fn partial_sort<T>(
    items: &mut [T],
    count: usize,
    compare: &mut impl FnMut(&T, &T) -> Ordering,
) {
    sort(items, count, CUTS_MAX, compare);
}

fn sort<T>(items: &mut [T], count: usize, cuts: u32, compare: &mut impl FnMut(&T, &T) -> Ordering) {
    let (mut items, mut count, mut cuts) = (items, count, cuts);
    while count > 0 {
        if items.len() < SHORT {
            insertion_sort(items, compare);
            return;
        }
        if cuts == 0 {
            items.sort_by(compare);
            return;
        }
        cuts -= 1;
        let (below, above) = partition(items, compare);
        if below > 1 {
            sort(&mut items[..below], count, cuts, compare);
        }
        let start = items.len() - above;
        if above < 2 {
            return;
        }
        items = &mut items[start..];
        count = count.saturating_sub(start);
    }
}

fn insertion_sort<T>(items: &mut [T], compare: &mut impl FnMut(&T, &T) -> Ordering) {
    for end in 1..items.len() {
        let mut at = end;
        while at > 0 && compare(&items[at - 1], &items[at]).is_gt() {
            items.swap(at, at - 1);
            at -= 1;
        }
    }
}

/// Cuts at a pivot: how many are below it, at the beginning, and above it, at
/// the end.
fn partition<T>(items: &mut [T], compare: &mut impl FnMut(&T, &T) -> Ordering) -> (usize, usize) {
    let len = items.len();
    let pivot = choose_pivot(items, compare);
    items.swap(0, pivot);
    // Equal ones: before `left_equal` and from `right_equal` on.
    let (mut left_equal, mut left) = (1, 1);
    let (mut right_equal, mut right) = (len, len);
    loop {
        while left < right {
            let order = compare(&items[left], &items[0]);
            if order.is_gt() {
                break;
            }
            if order.is_eq() {
                items.swap(left_equal, left);
                left_equal += 1;
            }
            left += 1;
        }
        while left < right {
            let order = compare(&items[right - 1], &items[0]);
            if order.is_lt() {
                break;
            }
            if order.is_eq() {
                right_equal -= 1;
                items.swap(right - 1, right_equal);
            }
            right -= 1;
        }
        if left >= right {
            break;
        }
        right -= 1;
        items.swap(left, right);
        left += 1;
    }
    let (below, above) = (left - left_equal, right_equal - right);
    let moved = left_equal.min(below);
    swap_rows(items, 0, left - moved, moved);
    let moved = above.min(len - right_equal);
    swap_rows(items, left, len - moved, moved);
    (below, above)
}

fn swap_rows<T>(items: &mut [T], one: usize, other: usize, len: usize) {
    for at in 0..len {
        items.swap(one + at, other + at);
    }
}

/// The place of the pivot; there are at least seven items.
fn choose_pivot<T>(items: &[T], compare: &mut impl FnMut(&T, &T) -> Ordering) -> usize {
    let len = items.len();
    let (mut low, mut middle, mut high) = (0, len / 2, len - 1);
    if len == SHORT {
        return middle;
    }
    let mut median = |a: usize, b: usize, c: usize| {
        let mut below = |one: usize, other: usize| compare(&items[one], &items[other]);
        if below(a, b).is_lt() {
            match below(b, c).is_lt() {
                true => b,
                false if below(a, c).is_lt() => c,
                false => a,
            }
        } else {
            match below(b, c).is_gt() {
                true => b,
                false if below(a, c).is_lt() => a,
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
                    partial_sort(&mut part, count, &mut u64::cmp);
                    let count = count.min(part.len());
                    assert_eq!(part[..count], sorted[..count]);
                    part.sort_unstable();
                    assert_eq!(part, sorted);
                }
            }
        }
    }
}
