//! Operations on the bits of byte strings, eight bytes at a time.
//!
//! Bit 0 is the highest bit of byte 0, as everywhere in Redis's bitmaps. What
//! does not depend on the order of bytes works on words as they lie in memory;
//! searches turn them round. Loops are plain, so that the compiler vectorizes
//! them; none of them allocates.

use std::ops::Range;

const WORD_BYTES: usize = 8;

/// The bit at `offset`; 0 beyond the end.
pub fn bit(text: &[u8], offset: usize) -> u8 {
    let byte = text.get(offset / 8).copied().unwrap_or(0);
    byte >> (7 - offset % 8) & 1
}

/// The number of bits set. Carry-save addition over several words was tried and
/// was no faster than what the compiler makes of this.
pub fn count(text: &[u8]) -> u64 {
    let (words, tail) = text.as_chunks::<WORD_BYTES>();
    let ones = |word: &[u8; WORD_BYTES]| u64::from(u64::from_ne_bytes(*word).count_ones());
    let in_tail = tail.iter().map(|byte| u64::from(byte.count_ones()));
    words.iter().map(ones).sum::<u64>() + in_tail.sum::<u64>()
}

/// The number of bits set among those of `range`, which lies within `text`.
pub fn count_range(text: &[u8], range: Range<usize>) -> u64 {
    let Some(parts) = Parts::of(text, &range) else {
        return 0;
    };
    let edges = parts
        .edges
        .iter()
        .map(|(_, byte, mask)| u64::from((byte & mask).count_ones()));
    edges.sum::<u64>() + count(parts.whole)
}

/// Where the first bit equal to `wanted` stands in `range`, which lies within
/// `text`.
pub fn find(text: &[u8], range: Range<usize>, wanted: bool) -> Option<usize> {
    let parts = Parts::of(text, &range)?;
    let skipped = if wanted { 0 } else { u8::MAX };
    let in_edge = |edge: &(usize, u8, u8)| {
        let (at, byte, mask) = *edge;
        let found = (byte ^ skipped) & mask;
        (found != 0).then(|| at * 8 + found.leading_zeros() as usize)
    };
    let in_whole = || {
        let found = find_in_bytes(parts.whole, skipped)?;
        Some(parts.whole_at * 8 + found)
    };
    let [first, last] = &parts.edges;
    in_edge(first).or_else(in_whole).or_else(|| in_edge(last))
}

/// The first bit in which `bytes` differ from a row of `skipped`.
fn find_in_bytes(bytes: &[u8], skipped: u8) -> Option<usize> {
    let dull = u64::from_ne_bytes([skipped; WORD_BYTES]);
    let (words, tail) = bytes.as_chunks::<WORD_BYTES>();
    let boring = |word: &&[u8; WORD_BYTES]| u64::from_ne_bytes(**word) == dull;
    let at = words.iter().take_while(boring).count();
    if let Some(word) = words.get(at) {
        let differing = u64::from_be_bytes(*word) ^ dull;
        return Some(at * 64 + differing.leading_zeros() as usize);
    }
    let byte = tail.iter().position(|byte| *byte != skipped)?;
    let differing = tail[byte] ^ skipped;
    Some((at * WORD_BYTES + byte) * 8 + differing.leading_zeros() as usize)
}

/// A range of bits as whole bytes and the bytes at its edges.
struct Parts<'a> {
    /// Position, byte and the mask of its bits within the range, zero if there
    /// is no such edge: the first byte, and the last.
    edges: [(usize, u8, u8); 2],
    whole: &'a [u8],
    whole_at: usize,
}

impl<'a> Parts<'a> {
    /// Nothing for an empty range.
    fn of(text: &'a [u8], range: &Range<usize>) -> Option<Self> {
        if range.is_empty() {
            return None;
        }
        let (first, last) = (range.start / 8, (range.end - 1) / 8);
        let mut head = u8::MAX >> (range.start % 8);
        let mut tail = u8::MAX << (7 - (range.end - 1) % 8);
        if first == last {
            head &= tail;
            tail = 0;
        }
        Some(Self {
            edges: [(first, text[first], head), (last, text[last], tail)],
            whole: text.get(first + 1..last).unwrap_or_default(),
            whole_at: first + 1,
        })
    }
}

/// What BITOP does with two or more strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    /// Combines `result` with the bytes of one more string; a shorter one
    /// counts as followed by zeros. `bytes` is no longer than `result`.
    pub fn apply(self, result: &mut [u8], bytes: &[u8]) {
        let (both, beyond) = result.split_at_mut(bytes.len());
        match self {
            Self::And => {
                combine(both, bytes, |a, b| a & b);
                beyond.fill(0);
            }
            Self::Or => combine(both, bytes, |a, b| a | b),
            Self::Xor => combine(both, bytes, |a, b| a ^ b),
            Self::Not => {
                combine(both, bytes, |_, b| !b);
                beyond.fill(u8::MAX);
            }
        }
    }
}

#[inline]
fn combine(result: &mut [u8], bytes: &[u8], operation: impl Fn(u64, u64) -> u64) {
    let (result_words, result_tail) = result.as_chunks_mut::<WORD_BYTES>();
    let (words, tail) = bytes.as_chunks::<WORD_BYTES>();
    for (to, from) in result_words.iter_mut().zip(words) {
        let word = operation(u64::from_ne_bytes(*to), u64::from_ne_bytes(*from));
        *to = word.to_ne_bytes();
    }
    for (to, from) in result_tail.iter_mut().zip(tail) {
        // Truncation intended: the operations are those of bits.
        #[allow(clippy::cast_possible_truncation)]
        let byte = operation(u64::from(*to), u64::from(*from)) as u8;
        *to = byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that look random, with some rows of one value.
    fn text(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut byte = || {
            state = state
                .wrapping_mul(0x5851_F42D_4C95_7F2D)
                .wrapping_add(0x1405_7B7E_F767_814F);
            match state >> 60 {
                0..4 => 0,
                4..8 => u8::MAX,
                _ => (state >> 40) as u8,
            }
        };
        (0..length).map(|_| byte()).collect()
    }

    #[test]
    fn counts_are_those_of_a_plain_loop() {
        for length in [0, 1, 7, 8, 9, 63, 64, 65, 200, 1000] {
            let text = text(length, length as u64);
            let plain: u64 = (0..length * 8).map(|at| u64::from(bit(&text, at))).sum();
            assert_eq!(count(&text), plain);
        }
        assert_eq!(count(&vec![u8::MAX; 10_000]), 80_000);
    }

    #[test]
    fn ranges_are_those_of_a_plain_loop() {
        for seed in 0..20 {
            let text = text(40, seed);
            for start in 0..320 {
                for end in (start..=320).step_by(3) {
                    let mut plain = (start..end).map(|at| bit(&text, at) == 1);
                    let ones = plain.clone().filter(|bit| *bit).count();
                    assert_eq!(count_range(&text, start..end), ones as u64);
                    for wanted in [false, true] {
                        let at = plain.clone().position(|bit| bit == wanted);
                        assert_eq!(find(&text, start..end, wanted), at.map(|at| start + at));
                    }
                    plain.next();
                }
            }
        }
        assert_eq!(find(&[0; 100], 0..800, true), None);
        assert_eq!(find(&[u8::MAX; 100], 1..799, false), None);
    }

    #[test]
    fn combinations_are_those_of_bytes() {
        for (long, short) in [(0, 0), (1, 1), (9, 3), (20, 17), (64, 40)] {
            let (a, b) = (text(long, 1), text(short, 2));
            let at = |index: usize| b.get(index).copied().unwrap_or(0);
            for (operation, plain) in [
                (Operation::And, (|a, b| a & b) as fn(u8, u8) -> u8),
                (Operation::Or, |a, b| a | b),
                (Operation::Xor, |a, b| a ^ b),
                (Operation::Not, |_, b| !b),
            ] {
                let mut result = a.clone();
                operation.apply(&mut result, &b);
                let expected = (0..long).map(|index| plain(a[index], at(index)));
                assert_eq!(result, expected.collect::<Vec<_>>(), "{operation:?}");
            }
        }
    }
}
