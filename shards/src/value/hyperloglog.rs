//! HyperLogLogs in the string representation of Redis.
//!
//! ```text
//! ┌────────┬──────────┬─────┬─────────────────────┬───────────────────┐
//! │ "HYLL" │ encoding │  0  │ cached count, LE    │ 16384 registers … │
//! └────────┴──────────┴─────┴─────────────────────┴───────────────────┘
//!     4         1        3      8, top bit: stale
//! dense (0)   6 bits each, the lowest bits of a byte first: 12304 bytes in all
//! sparse (1)  runs of equal registers
//!   00llllll            l+1 registers are 0
//!   01llllll llllllll   l+1 registers are 0
//!   1vvvvvll            l+1 registers are v+1
//! ```
//!
//! The bytes are the client's: GET reads them and SET writes them, so whoever
//! reads a register here expects anything. What is written is, byte for byte,
//! what Redis would write: which runs are cut, merged and when a sparse one
//! becomes dense follows its rules.
//!
//! The count is estimated after Otmar Ertl, "New cardinality estimation
//! algorithms for HyperLogLog sketches" (arXiv:1702.01284), the improved raw
//! estimator: from a histogram of the registers, without tables of corrections.

use super::copy;
use crate::error::OutOfMemory;

const INDEX_BITS: u32 = 14;
/// Number of registers.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of a hash that are looked at for zeros; a register is at most one more.
const ZEROS_MAX: u32 = 64 - INDEX_BITS;
const REGISTER_BITS: usize = 6;
const HEADER_BYTES: usize = 16;
const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * REGISTER_BITS / 8;
const MAGIC: &[u8] = b"HYLL";
const ENCODING_AT: usize = 4;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// Where the cached count lies.
pub const CACHE_AT: usize = 8;
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;

/// Longest runs, and the largest value, of the sparse encoding.
const ZEROS_RUN_MAX: usize = 64;
const VALUE_RUN_MAX: usize = 4;
const VALUE_MAX: u8 = 32;

/// The registers of a sparse HyperLogLog are not 16384.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// The registers, each in a byte.
pub type Registers = [u8; REGISTERS];

/// Which register an element concerns, and what it must be at least.
pub fn register_of(element: &[u8]) -> (usize, u8) {
    let hash = murmur(element);
    let index = hash as usize % REGISTERS;
    let zeros = (hash >> INDEX_BITS | 1 << ZEROS_MAX).trailing_zeros();
    // Lossless: at most 50.
    #[allow(clippy::cast_possible_truncation)]
    let rank = zeros as u8 + 1;
    (index, rank)
}

/// MurmurHash64A of Austin Appleby, with the seed Redis has chosen.
fn murmur(bytes: &[u8]) -> u64 {
    const SEED: u64 = 0xADC8_3B19;
    const FACTOR: u64 = 0xC6A4_A793_5BD1_E995;
    const SHIFT: u32 = 47;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let (words, tail) = bytes.as_chunks();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(FACTOR);
        word ^= word >> SHIFT;
        hash = (hash ^ word.wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
    }
    if !tail.is_empty() {
        let mut word = [0; 8];
        word[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
    }
    hash ^= hash >> SHIFT;
    hash = hash.wrapping_mul(FACTOR);
    hash ^ hash >> SHIFT
}

/// How often each value occurs among the registers.
struct Histogram([u32; 64]);

impl Histogram {
    /// The number of different elements that made the registers so.
    fn estimate(&self) -> u64 {
        const ALPHA: f64 = 0.5 / std::f64::consts::LN_2;
        let registers = REGISTERS as f64;
        let share = |value: usize| f64::from(self.0[value]) / registers;
        let highest = ZEROS_MAX as usize + 1;
        let mut sum = registers * tau(1.0 - share(highest));
        for value in (1..highest).rev() {
            sum = 0.5 * (sum + f64::from(self.0[value]));
        }
        sum += registers * sigma(share(0));
        // Saturation intended: all registers at their highest give some 10^18.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let estimate = (ALPHA * registers * registers / sum).round() as u64;
        estimate
    }
}

/// Ertl's σ: what the registers at zero contribute.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut weight, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * weight;
        weight += weight;
        if sum == before {
            return sum;
        }
    }
}

/// Ertl's τ: what the registers at their highest contribute.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut weight, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * weight;
        if sum == before {
            return sum / 3.0;
        }
    }
}

/// A run of the sparse encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    value: u8,
    registers: usize,
    /// Bytes it is written in.
    bytes: usize,
}

impl Run {
    /// The run at the beginning of `bytes`; nothing if they end before it does.
    fn read(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let (value, registers, length) = match first >> 6 {
            0 => (0, usize::from(first & 0x3F) + 1, 1),
            1 => {
                let low = *bytes.get(1)?;
                let high = usize::from(first & 0x3F) << 8;
                (0, high + usize::from(low) + 1, 2)
            }
            _ => ((first >> 2 & 0x1F) + 1, usize::from(first & 3) + 1, 1),
        };
        Some(Self {
            value,
            registers,
            bytes: length,
        })
    }
}

/// A few runs about to be written: at most three, of two bytes at most.
#[derive(Default)]
struct Runs {
    bytes: [u8; 6],
    len: usize,
}

impl Runs {
    /// Adds `registers` of `value`, as few as one run can hold; none for none.
    fn push(&mut self, value: u8, registers: usize) {
        // Truncations intended: the callers keep to what a run can hold.
        #[allow(clippy::cast_possible_truncation)]
        let length = registers.wrapping_sub(1) as u16;
        let [high, low] = length.to_be_bytes();
        match (registers, value) {
            (0, _) => {}
            (_, 1..) => self.put(0x80 | (value - 1) << 2 | low),
            (1..=ZEROS_RUN_MAX, 0) => self.put(low),
            (_, 0) => {
                self.put(0x40 | high);
                self.put(low);
            }
        }
    }

    fn put(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn dense_get(bytes: &[u8], index: usize) -> u8 {
    let (at, shift) = dense_place(index);
    let pair = [bytes[at], bytes.get(at + 1).copied().unwrap_or(0)];
    (u16::from_le_bytes(pair) >> shift & 0x3F) as u8
}

fn dense_set(bytes: &mut [u8], index: usize, value: u8) {
    let (at, shift) = dense_place(index);
    let mask = 0x3F << shift;
    let pair = [bytes[at], bytes.get(at + 1).copied().unwrap_or(0)];
    let word = u16::from_le_bytes(pair) & !mask | u16::from(value) << shift;
    let [low, high] = word.to_le_bytes();
    bytes[at] = low;
    if let Some(next) = bytes.get_mut(at + 1) {
        *next = high;
    }
}

/// The first byte of a register, and how many bits of it come before.
fn dense_place(index: usize) -> (usize, usize) {
    let bit = index * REGISTER_BITS;
    (HEADER_BYTES + bit / 8, bit % 8)
}

/// A HyperLogLog that is looked at.
#[derive(Clone, Copy)]
pub struct HyperLogLogRef<'a> {
    bytes: &'a [u8],
}

impl<'a> HyperLogLogRef<'a> {
    /// A string as a HyperLogLog, if it begins like one.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let it = Self { bytes };
        let plausible = bytes.len() >= HEADER_BYTES
            && bytes.starts_with(MAGIC)
            && (bytes[ENCODING_AT] == SPARSE || it.is_dense() && bytes.len() == DENSE_BYTES);
        plausible.then_some(it)
    }

    pub fn is_dense(&self) -> bool {
        self.bytes[ENCODING_AT] == DENSE
    }

    /// The count, if nothing was added since it was last estimated.
    pub fn cached_count(&self) -> Option<u64> {
        let cache = *self.bytes[CACHE_AT..].first_chunk()?;
        (self.bytes[STALE_AT] & STALE == 0).then(|| u64::from_le_bytes(cache))
    }

    /// Estimates the count.
    pub fn count(&self) -> Result<u64, Corrupt> {
        let mut histogram = Histogram([0; 64]);
        self.each(|value, registers| histogram.0[usize::from(value)] += registers as u32)?;
        Ok(histogram.estimate())
    }

    /// Raises each of `registers` to what it is here.
    pub fn merge_into(&self, registers: &mut Registers) -> Result<(), Corrupt> {
        let mut index = 0;
        self.each(|value, run| {
            for register in &mut registers[index..index + run] {
                *register = value.max(*register);
            }
            index += run;
        })
    }

    /// Calls `found` with values and for how many registers each holds, in
    /// order; never for more than there are.
    fn each(&self, mut found: impl FnMut(u8, usize)) -> Result<(), Corrupt> {
        if self.is_dense() {
            (0..REGISTERS).for_each(|index| found(dense_get(self.bytes, index), 1));
            return Ok(());
        }
        let mut missing = REGISTERS;
        let mut rest = &self.bytes[HEADER_BYTES..];
        while !rest.is_empty() {
            let run = Run::read(rest).ok_or(Corrupt)?;
            missing = missing.checked_sub(run.registers).ok_or(Corrupt)?;
            found(run.value, run.registers);
            rest = &rest[run.bytes..];
        }
        if missing == 0 { Ok(()) } else { Err(Corrupt) }
    }

    /// Whether a dense one would not change if `element` were added.
    pub fn has(&self, element: &[u8]) -> bool {
        let (index, rank) = register_of(element);
        dense_get(self.bytes, index) >= rank
    }

    /// The runs of a sparse one, in words: `z:` and `Z:` for short and long ones
    /// of zeros, `v:` for a value and how many of it. Shows what there is, also
    /// if it is corrupt, but no more than a sound one can have.
    pub fn describe(&self) -> String {
        let mut words = Vec::new();
        let mut rest = &self.bytes[HEADER_BYTES..];
        while let Some(first) = rest.first().filter(|_| words.len() < REGISTERS) {
            // A run that is cut off reads as if a zero followed.
            let run = Run::read(rest).or_else(|| Run::read(&[*first, 0]));
            let Some(run) = run else { break };
            words.push(match (run.value, run.bytes) {
                (0, 1) => format!("z:{}", run.registers),
                (0, _) => format!("Z:{}", run.registers),
                (value, _) => format!("v:{value},{}", run.registers),
            });
            rest = rest.get(run.bytes..).unwrap_or_default();
        }
        words.join(" ")
    }
}

/// Adds an element to a dense one in place; whether a register changed.
pub fn add_in_place(dense: &mut [u8], element: &[u8]) -> bool {
    let (index, rank) = register_of(element);
    let raised = dense_get(dense, index) < rank;
    if raised {
        dense_set(dense, index, rank);
        dense[STALE_AT] |= STALE;
    }
    raised
}

/// A HyperLogLog that can be changed.
pub struct HyperLogLog {
    bytes: Vec<u8>,
}

impl HyperLogLog {
    /// Without elements, sparse.
    pub fn new() -> Self {
        let mut runs = Runs::default();
        runs.push(0, REGISTERS);
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..MAGIC.len()].copy_from_slice(MAGIC);
        bytes[ENCODING_AT] = SPARSE;
        bytes.extend_from_slice(runs.as_bytes());
        Self { bytes }
    }

    pub fn copy_of(it: HyperLogLogRef<'_>) -> Result<Self, OutOfMemory> {
        let bytes = copy(it.bytes)?;
        Ok(Self { bytes })
    }

    pub fn view(&self) -> HyperLogLogRef<'_> {
        HyperLogLogRef { bytes: &self.bytes }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Says that the cached count is not the count any more.
    pub fn make_stale(&mut self) {
        self.bytes[STALE_AT] |= STALE;
    }

    /// Adds an element; whether a register changed. A sparse one that would be
    /// longer than `sparse_max` bytes becomes dense.
    pub fn add(&mut self, element: &[u8], sparse_max: usize) -> Result<bool, Corrupt> {
        let (index, rank) = register_of(element);
        self.raise(index, rank, sparse_max)
    }

    /// Raises registers to those of `wanted` that are higher.
    pub fn raise_to(&mut self, wanted: &Registers, sparse_max: usize) -> Result<(), Corrupt> {
        let mut registers = [0; REGISTERS];
        self.view().merge_into(&mut registers)?;
        for (index, (old, new)) in registers.iter().zip(wanted).enumerate() {
            if new > old {
                self.raise(index, *new, sparse_max)?;
            }
        }
        Ok(())
    }

    /// Makes it dense; whether it was not. The cached count stays.
    pub fn make_dense(&mut self) -> Result<bool, Corrupt> {
        if self.view().is_dense() {
            return Ok(false);
        }
        let mut registers = [0; REGISTERS];
        self.view().merge_into(&mut registers)?;
        let mut dense = vec![0; DENSE_BYTES];
        dense[..HEADER_BYTES].copy_from_slice(&self.bytes[..HEADER_BYTES]);
        dense[ENCODING_AT] = DENSE;
        for (index, value) in registers.iter().enumerate() {
            dense_set(&mut dense, index, *value);
        }
        self.bytes = dense;
        Ok(true)
    }

    /// Raises one register; whether it was lower. On error nothing has changed.
    fn raise(&mut self, index: usize, value: u8, sparse_max: usize) -> Result<bool, Corrupt> {
        if !self.view().is_dense() {
            if value <= VALUE_MAX
                && let Some(raised) = self.raise_sparse(index, value, sparse_max)?
            {
                return Ok(raised);
            }
            self.make_dense()?;
        }
        let raised = dense_get(&self.bytes, index) < value;
        if raised {
            dense_set(&mut self.bytes, index, value);
        }
        Ok(raised)
    }

    /// As [`HyperLogLog::raise`]; nothing if it must become dense first.
    fn raise_sparse(
        &mut self,
        index: usize,
        value: u8,
        sparse_max: usize,
    ) -> Result<Option<bool>, Corrupt> {
        let (mut at, mut first, mut before) = (HEADER_BYTES, 0, HEADER_BYTES);
        let run = loop {
            let run = Run::read(&self.bytes[at..]).ok_or(Corrupt)?;
            if index < first + run.registers {
                break run;
            }
            (before, first, at) = (at, first + run.registers, at + run.bytes);
        };
        if run.value >= value {
            return Ok(Some(false));
        }
        let mut runs = Runs::default();
        runs.push(run.value, index - first);
        runs.push(value, 1);
        runs.push(run.value, first + run.registers - index - 1);
        let longer = runs.len.saturating_sub(run.bytes);
        if longer > 0 && self.bytes.len() + longer > sparse_max {
            return Ok(None);
        }
        let replaced = at..at + run.bytes;
        self.bytes.splice(replaced, runs.as_bytes().iter().copied());
        self.merge_runs(before);
        Ok(Some(true))
    }

    /// Makes one run of neighbours of the same value where they fit together,
    /// looking at five runs from `at` on: as many as a change can concern.
    fn merge_runs(&mut self, mut at: usize) {
        const LOOKED_AT: usize = 5;
        for _ in 0..LOOKED_AT {
            let Some(run) = self.bytes.get(at..).and_then(Run::read) else {
                return;
            };
            let next = self.bytes.get(at + run.bytes..).and_then(Run::read);
            match next {
                Some(next)
                    if run.value > 0
                        && next.value == run.value
                        && run.registers + next.registers <= VALUE_RUN_MAX =>
                {
                    let mut merged = Runs::default();
                    merged.push(run.value, run.registers + next.registers);
                    self.bytes[at + 1] = merged.bytes[0];
                    self.bytes.remove(at);
                }
                _ => at += run.bytes,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds `count` elements to a sparse one and to a dense one.
    fn pair(count: u32) -> (HyperLogLog, HyperLogLog) {
        let (mut sparse, mut dense) = (HyperLogLog::new(), HyperLogLog::new());
        assert_eq!(dense.make_dense(), Ok(true));
        for number in 0..count {
            let element = number.to_le_bytes();
            let in_place = add_in_place(&mut dense.bytes, &element);
            assert_eq!(sparse.add(&element, usize::MAX), Ok(in_place));
            assert!(dense.view().has(&element));
        }
        (sparse, dense)
    }

    #[test]
    fn both_encodings_hold_the_same() {
        for count in [0, 1, 10, 1000, 5000] {
            let (mut sparse, dense) = pair(count);
            assert!(!sparse.view().is_dense());
            assert_eq!(sparse.view().count(), dense.view().count());
            let error = dense.view().count().unwrap().abs_diff(u64::from(count));
            assert!(error <= u64::from(count / 50), "{count}: off by {error}");
            sparse.make_dense().unwrap();
            sparse.make_stale();
            assert_eq!(sparse.bytes[HEADER_BYTES..], dense.bytes[HEADER_BYTES..]);
        }
    }

    #[test]
    fn a_sparse_one_becomes_dense_when_it_is_too_long() {
        let mut it = HyperLogLog::new();
        let mut number = 0u32;
        while !it.view().is_dense() {
            assert!(it.bytes.len() <= 100);
            number += 1;
            it.add(&number.to_le_bytes(), 100).unwrap();
        }
        assert!(it.view().has(&number.to_le_bytes()));
    }

    #[test]
    fn hashes_are_those_of_the_reference_implementation() {
        // PFDEBUG DECODE of redis-server 7.0.15 after PFADD of one element.
        assert_eq!(register_of(b"a"), (12_711, 2));
        assert_eq!(register_of(b"b"), (15_780, 1));
        assert_eq!(register_of(b"c"), (8_436, 1));
        assert_eq!(register_of(b""), (5_938, 2));
        assert_eq!(register_of(b"hello"), (9_216, 1));
        assert_eq!(register_of(b"0123456789abcdef"), (5_949, 1));
    }

    #[test]
    fn anything_may_stand_in_a_string() {
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            (state >> 33) as usize
        };
        let (sparse, dense) = pair(300);
        for round in 0..3_000 {
            let good = if round % 4 == 0 { &dense } else { &sparse };
            let mut bytes = good.bytes.clone();
            for _ in 0..1 + random() % 4 {
                let at = HEADER_BYTES + random() % (bytes.len() - HEADER_BYTES);
                bytes[at] = random() as u8;
            }
            if !good.view().is_dense() {
                bytes.truncate(bytes.len() - random() % 8);
            }
            let it = HyperLogLogRef::of(&bytes).unwrap();
            let _ = (it.count(), it.cached_count(), it.describe());
            let mut registers = [0; REGISTERS];
            let sound = it.merge_into(&mut registers).is_ok();
            let mut copy = HyperLogLog::copy_of(it).unwrap();
            for _ in 0..20 {
                let _ = copy.add(&random().to_le_bytes(), 3000);
            }
            assert_eq!(copy.raise_to(&registers, 3000).is_ok(), sound);
            assert_eq!(copy.make_dense().is_ok(), sound);
        }
    }
}
