//! How long the calls of one command took.
//!
//! Counters over nanoseconds: one per value below 256, above that 128 per power
//! of two, so that a value is known to two significant digits, as in Redis.
//!
//! ```text
//! value  0 … 255 | 256 … 511 by 2 | 512 … 1023 by 4 | … | 2^29 … 2^30 - 1
//! index  0 … 255 | 256 … 383      | 384 … 511       | … | … 3071
//! ```

use std::ops::AddAssign;

/// Values below this have a counter each.
const EXACT: u64 = 256;
/// Counters per power of two.
const PER_POWER: usize = 128;
const COUNTERS: usize = EXACT as usize + 22 * PER_POWER;
/// Longer calls count as this long.
const MAX_NS: u64 = 1_000_000_000;

/// 24 KiB, made at the first call of a command.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u64]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; COUNTERS].into(),
        }
    }
}

#[inline]
fn index_of(ns: u64) -> usize {
    let ns = ns.min(MAX_NS);
    if ns < EXACT {
        return ns as usize;
    }
    let shift = ns.ilog2() - PER_POWER.ilog2();
    (shift as usize + 1) * PER_POWER + (ns >> shift) as usize - PER_POWER
}

/// The largest value that counter `index` counts.
fn upper_of(index: usize) -> u64 {
    if index < EXACT as usize {
        return index as u64;
    }
    let shift = index / PER_POWER - 1;
    (((index % PER_POWER + PER_POWER + 1) as u64) << shift) - 1
}

impl Histogram {
    /// A call took so long.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.counts[index_of(ns)] += 1;
    }

    /// Number of calls.
    pub fn calls(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Nanoseconds within which so many per cent of all calls ended.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = (percent / 100.0 * self.calls() as f64 + 0.5) as u64;
        let mut seen = 0;
        let enough = |count: &u64| {
            seen += count;
            seen >= wanted.max(1)
        };
        self.counts.iter().position(enough).map_or(0, upper_of)
    }

    /// For each power of two in which calls ended: its microseconds, and how
    /// many calls took no longer.
    pub fn cumulative_us(&self) -> Vec<(u64, u64)> {
        let calls = self.calls();
        let mut steps = Vec::new();
        let mut seen = 0;
        let mut next = 0;
        for power in 10..=30 {
            let last = index_of(1 << power);
            let within: u64 = self.counts[next..=last].iter().sum();
            if within > 0 {
                seen += within;
                steps.push((upper_of(last) / 1000, seen));
            }
            next = last + 1;
            if seen == calls {
                break;
            }
        }
        steps
    }
}

impl AddAssign<&Histogram> for Histogram {
    fn add_assign(&mut self, other: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_lie_side_by_side() {
        let mut last = 0;
        for ns in (0..100_000).chain((100_000..MAX_NS).step_by(9_973)) {
            let index = index_of(ns);
            assert!(index < COUNTERS && (last..=last + 70).contains(&index));
            let upper = upper_of(index);
            assert!(ns <= upper && upper - ns <= ns / 128, "{ns} {upper}");
            assert_eq!(index_of(upper.min(MAX_NS)), index);
            last = index;
        }
        assert_eq!(index_of(u64::MAX), index_of(MAX_NS));
    }

    /// The steps are those that redis-server shows: 1, 2, 4, 8, 16, 33, 66 …
    #[test]
    fn percentiles_and_steps() {
        let mut histogram = Histogram::default();
        for ns in [500, 1003, 1003, 3000, 20_000, 40_000] {
            histogram.record(ns);
        }
        assert_eq!(histogram.calls(), 6);
        assert_eq!(histogram.percentile(50.0), 1003);
        assert_eq!(histogram.percentile(0.0), 501);
        assert_eq!(histogram.percentile(100.0), 40_191);
        assert_eq!(
            histogram.cumulative_us(),
            [(1, 3), (4, 4), (33, 5), (66, 6)]
        );
        let mut twice = histogram.clone();
        twice += &histogram;
        assert_eq!(twice.calls(), 12);
        assert_eq!(Histogram::default().cumulative_us(), []);
        let mut longest = Histogram::default();
        longest.record(u64::MAX);
        assert_eq!(longest.cumulative_us().len(), 1);
    }
}
