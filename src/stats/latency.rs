//! LATENCY's events: what took longer than `latency-monitor-threshold`.

use std::collections::{BTreeMap, VecDeque};

/// Samples that are kept of an event, as in Redis.
pub const SAMPLES_MAX: usize = 160;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// A command that is not called fast.
    Command,
    /// A command that is.
    FastCommand,
    /// A slice of deleting keys whose time has come.
    ExpireCycle,
}

impl EventKind {
    pub const ALL: [Self; 3] = [Self::Command, Self::FastCommand, Self::ExpireCycle];

    /// As LATENCY calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::FastCommand => "fast-command",
            Self::ExpireCycle => "expire-cycle",
        }
    }
}

/// The samples of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    /// Second since 1970 and milliseconds, oldest first; one per second, the
    /// longest of it.
    pub samples: VecDeque<(i64, u64)>,
    /// The longest ever.
    pub max_ms: u64,
}

impl Samples {
    /// Something took so long.
    pub fn add(&mut self, at_s: i64, took_ms: u64) {
        self.max_ms = self.max_ms.max(took_ms);
        match self.samples.back_mut() {
            Some((second, ms)) if *second == at_s => *ms = took_ms.max(*ms),
            _ => self.samples.push_back((at_s, took_ms)),
        }
        if self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    /// Takes another core's samples in.
    fn merge(&mut self, other: &Self) {
        let mut seconds: BTreeMap<i64, u64> = BTreeMap::new();
        for (second, ms) in self.samples.iter().chain(&other.samples) {
            let longest = seconds.entry(*second).or_default();
            *longest = (*longest).max(*ms);
        }
        let surplus = seconds.len().saturating_sub(SAMPLES_MAX);
        self.samples = seconds.into_iter().skip(surplus).collect();
        self.max_ms = self.max_ms.max(other.max_ms);
    }
}

/// The events of one core, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events(pub BTreeMap<EventKind, Samples>);

impl Events {
    /// Something took so long.
    pub fn add(&mut self, kind: EventKind, at_s: i64, took_ms: u64) {
        self.0.entry(kind).or_default().add(at_s, took_ms);
    }

    /// Takes another core's events in.
    pub fn merge(&mut self, other: &Self) {
        for (kind, samples) in &other.0 {
            self.0.entry(*kind).or_default().merge(samples);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_sample_and_cores_merge() {
        let mut one = Samples::default();
        for (second, ms) in [(1, 5), (1, 9), (1, 7), (3, 4)] {
            one.add(second, ms);
        }
        let mut other = Samples::default();
        other.add(1, 20);
        other.add(2, 1);
        one.merge(&other);
        assert_eq!(one.samples, [(1, 20), (2, 1), (3, 4)]);
        assert_eq!(one.max_ms, 20);
        for second in 0..500 {
            one.add(1000 + second, 1);
            other.add(2000 + second, 1);
        }
        assert_eq!(one.samples.len(), SAMPLES_MAX);
        one.merge(&other);
        assert_eq!(one.samples.len(), SAMPLES_MAX);
        assert_eq!(one.samples[0].0, 2500 - 160);
    }
}
