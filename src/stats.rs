//! Per-core counters. Nobody shares them; INFO asks every core and sums.

use std::ops::AddAssign;

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
}

/// One core's counters.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub connections_received: u64,
    pub connections_rejected: u64,
    pub commands: u64,
    pub input_bytes: u64,
    pub output_bytes: u64,
    pub errors: u64,
    /// Indexed by row number.
    pub rows: Vec<RowStats>,
}

impl Stats {
    /// Zeroes for `rows` rows.
    pub fn new(rows: usize) -> Self {
        Self {
            rows: vec![RowStats::default(); rows],
            ..Self::default()
        }
    }
}

impl AddAssign<&Stats> for Stats {
    fn add_assign(&mut self, other: &Stats) {
        self.connections_received += other.connections_received;
        self.connections_rejected += other.connections_rejected;
        self.commands += other.commands;
        self.input_bytes += other.input_bytes;
        self.output_bytes += other.output_bytes;
        self.errors += other.errors;
        for (sum, row) in self.rows.iter_mut().zip(&other.rows) {
            sum.calls += row.calls;
            sum.rejected += row.rejected;
            sum.failed += row.failed;
        }
    }
}
