//! Per-core counters. Nobody shares them; INFO asks every core and sums.
//!
//! How long single commands took is kept in three ways: a sum and a histogram
//! per row, the log of slow commands, and the samples of LATENCY.

pub mod histogram;
pub mod latency;
pub mod slowlog;

use histogram::Histogram;

use shards::UnixMs;
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

/// Looks at background work per second while a core is awake: the tick of
/// `net::driver`.
pub const HZ: u32 = 100;

/// Calls of one row.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowStats {
    pub calls: u64,
    /// Refused before it ran (arity, authentication …).
    pub rejected: u64,
    /// Ran and replied an error.
    pub failed: u64,
    /// What all calls took together.
    pub ns: u64,
}

/// Samples that a rate is the mean of, as in Redis.
const SAMPLES: usize = 16;
/// At least so long after one sample comes the next.
const SAMPLE_MS: i64 = 100;

/// How fast counters grow: their growth per second in each of the last samples.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    sampled_at: UnixMs,
    /// What [`Rates::mean`] tells the growth of, at the last sample.
    counted: [u64; 5],
    per_second: [[u64; 5]; SAMPLES],
    next: usize,
}

impl Rates {
    fn sample(&mut self, now: UnixMs, counters: [u64; 5]) {
        let elapsed_ms = now.0 - self.sampled_at.0;
        // A clock that was set back starts a new sample.
        if (0..SAMPLE_MS).contains(&elapsed_ms) {
            return;
        }
        for ((sample, counter), counted) in self.per_second[self.next]
            .iter_mut()
            .zip(counters)
            .zip(self.counted)
        {
            let growth = counter.saturating_sub(counted);
            let per_second = growth
                .saturating_mul(1000)
                .checked_div(elapsed_ms.max(0) as u64);
            *sample = per_second.unwrap_or(0);
        }
        self.sampled_at = now;
        self.counted = counters;
        self.next = (self.next + 1) % SAMPLES;
    }

    /// Commands, bytes in, bytes out, turns and microseconds of work per second.
    pub fn mean(&self) -> [u64; 5] {
        let sum = |index: usize| {
            self.per_second
                .iter()
                .map(|sample| sample[index])
                .sum::<u64>()
        };
        [0, 1, 2, 3, 4].map(|index| sum(index) / SAMPLES as u64)
    }

    /// Adds another core's. The samples need not be of the same instants, as
    /// only their mean is ever looked at.
    fn add(&mut self, other: &Self) {
        let ours = self.per_second.iter_mut().flatten();
        for (sum, sample) in ours.zip(other.per_second.iter().flatten()) {
            *sum += sample;
        }
    }
}

/// One core's counters.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub connections_received: u64,
    pub connections_rejected: u64,
    /// Clients that were closed for what waited to be sent to them, or for what they
    /// had sent in one piece.
    pub output_limit_disconnections: u64,
    pub query_limit_disconnections: u64,
    pub commands: u64,
    pub input_bytes: u64,
    pub output_bytes: u64,
    pub errors: u64,
    /// Receives that brought something, and sends.
    pub reads: u64,
    pub writes: u64,
    /// Wrong passwords.
    pub denied: u64,
    /// Times that deleting expired keys had to stop because others were to be served.
    pub expiry_capped: u64,
    /// What deleting expired keys took.
    pub expiry_ns: u64,
    /// Turns of the loop, and the CPU time of the core, in microseconds; as of the last
    /// [`Stats::note_work`].
    pub turns: u64,
    pub worked_us: u64,
    /// Number of the turn and CPU time up to which they are counted.
    noted: (u32, Duration),
    /// Errors by the first word of their text. The server has only so many.
    pub error_codes: BTreeMap<Box<str>, u64>,
    pub rates: Rates,
    /// Indexed by row number.
    pub rows: Vec<RowStats>,
    /// Indexed by row number; empty if nobody asked for them.
    pub histograms: Vec<Option<Histogram>>,
    /// `latency-tracking`: the histograms are kept.
    pub tracking: bool,
}

impl Stats {
    /// Zeroes for `rows` rows.
    pub fn new(rows: usize) -> Self {
        Self {
            rows: vec![RowStats::default(); rows],
            histograms: vec![None; rows],
            tracking: true,
            ..Self::default()
        }
    }

    /// A call of row `row` is over and has taken so long.
    #[inline]
    pub fn ran(&mut self, row: u16, ns: u64) {
        let row = usize::from(row);
        self.rows[row].calls += 1;
        self.rows[row].ns += ns;
        if self.tracking {
            match &mut self.histograms[row] {
                Some(histogram) => histogram.record(ns),
                first => first.insert(Histogram::default()).record(ns),
            }
        }
    }

    /// The counters without the histograms, which are large.
    pub fn without_histograms(&self) -> Self {
        Self {
            error_codes: self.error_codes.clone(),
            rates: self.rates.clone(),
            rows: self.rows.clone(),
            histograms: Vec::new(),
            ..*self
        }
    }

    /// Frees the histograms.
    pub fn forget_histograms(&mut self) {
        self.histograms.fill(None);
    }

    /// Counts an error; `text` is the line without its `-`.
    #[cold]
    pub fn count_error(&mut self, text: &[u8]) {
        self.errors += 1;
        let end = text.iter().position(u8::is_ascii_whitespace);
        let code = text[..end.unwrap_or(text.len())].utf8_chunks().next();
        let code = code.map_or("", |chunk| chunk.valid());
        match self.error_codes.get_mut(code) {
            Some(count) => *count += 1,
            None => {
                self.error_codes.insert(code.into(), 1);
            }
        }
    }

    /// Counts the turns up to number `turn`, and the CPU time up to `worked`. Turn
    /// numbers wrap: call it now and then.
    pub fn note_work(&mut self, turn: u32, worked: Duration) {
        let (last_turn, last_worked) = std::mem::replace(&mut self.noted, (turn, worked));
        self.turns += u64::from(turn.wrapping_sub(last_turn));
        self.worked_us += worked.saturating_sub(last_worked).as_micros() as u64;
    }

    /// Work is counted from here on.
    pub fn begin_work(&mut self, turn: u32, worked: Duration) {
        self.noted = (turn, worked);
    }

    /// Looks at how the counters have grown, if it is time to.
    pub fn sample(&mut self, now: UnixMs) {
        let counters = [
            self.commands,
            self.input_bytes,
            self.output_bytes,
            self.turns,
            self.worked_us,
        ];
        self.rates.sample(now, counters);
    }
}

impl AddAssign<&Stats> for Stats {
    fn add_assign(&mut self, other: &Stats) {
        self.connections_received += other.connections_received;
        self.connections_rejected += other.connections_rejected;
        self.output_limit_disconnections += other.output_limit_disconnections;
        self.query_limit_disconnections += other.query_limit_disconnections;
        self.commands += other.commands;
        self.input_bytes += other.input_bytes;
        self.output_bytes += other.output_bytes;
        self.errors += other.errors;
        self.reads += other.reads;
        self.writes += other.writes;
        self.denied += other.denied;
        self.expiry_capped += other.expiry_capped;
        self.expiry_ns += other.expiry_ns;
        self.turns += other.turns;
        self.worked_us += other.worked_us;
        for (code, count) in &other.error_codes {
            *self.error_codes.entry(code.clone()).or_default() += count;
        }
        self.rates.add(&other.rates);
        for (sum, row) in self.rows.iter_mut().zip(&other.rows) {
            sum.calls += row.calls;
            sum.rejected += row.rejected;
            sum.failed += row.failed;
            sum.ns += row.ns;
        }
        for (sum, histogram) in self.histograms.iter_mut().zip(&other.histograms) {
            if let Some(histogram) = histogram {
                *sum.get_or_insert_default() += histogram;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_means_over_samples_of_a_tenth_of_a_second() {
        let mut stats = Stats::new(0);
        let mut now = UnixMs(1_000_000);
        stats.sample(now);
        for _ in 0..SAMPLES {
            for _ in 0..10 {
                now.0 += 10;
                stats.commands += 1;
                stats.input_bytes += 20;
                stats.sample(now);
            }
        }
        assert_eq!(stats.rates.mean(), [100, 2000, 0, 0, 0]);
        let mut sum = stats.clone();
        sum += &stats;
        assert_eq!(sum.rates.mean(), [200, 4000, 0, 0, 0]);
        for _ in 0..SAMPLES {
            now.0 += 100;
            stats.sample(now);
        }
        assert_eq!(stats.rates.mean(), [0; 5]);
    }

    #[test]
    fn a_clock_set_back_does_no_harm() {
        let mut stats = Stats::new(0);
        stats.sample(UnixMs(5_000_000));
        stats.commands += 100;
        stats.sample(UnixMs(1_000));
        stats.sample(UnixMs(2_000));
        assert_eq!(stats.rates.mean(), [0; 5]);
    }
}
