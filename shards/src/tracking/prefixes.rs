//! Prefixes of keys that trackers are told of whether they have read them or not.
//!
//! The keys that change in a turn are kept for each prefix that they begin with, each
//! once, with who has changed it last, and told together.
//!
//! Costs: a change is looked up once for each length that a prefix has.

use super::{Tracker, message_of};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Keys that have changed, and by whom.
type Changed = BTreeMap<Box<[u8]>, Option<Tracker>>;

/// Who broadcasts with a prefix, and what has changed under it.
#[derive(Debug, Default)]
struct Under {
    trackers: BTreeSet<Tracker>,
    changed: Changed,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    all: BTreeMap<Box<[u8]>, Under>,
    /// How many prefixes there are of each length.
    lengths: BTreeMap<usize, usize>,
    /// Something has changed under one of them.
    stirred: bool,
}

/// Whether one of these is the beginning of the other.
pub fn overlap(one: &[u8], other: &[u8]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

impl Prefixes {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    #[inline]
    pub(super) fn are_stirred(&self) -> bool {
        self.stirred
    }

    pub(super) fn add(&mut self, prefix: &[u8], tracker: Tracker) {
        let lengths = &mut self.lengths;
        let under = self.all.entry(prefix.into()).or_insert_with(|| {
            *lengths.entry(prefix.len()).or_insert(0) += 1;
            Under::default()
        });
        under.trackers.insert(tracker);
    }

    pub(super) fn remove(&mut self, prefix: &[u8], tracker: Tracker) {
        let Some(under) = self.all.get_mut(prefix) else {
            return;
        };
        under.trackers.remove(&tracker);
        if under.trackers.is_empty() {
            self.all.remove(prefix);
            if let Some(count) = self.lengths.get_mut(&prefix.len()) {
                *count -= 1;
                if *count == 0 {
                    self.lengths.remove(&prefix.len());
                }
            }
        }
    }

    /// A key has changed.
    pub(super) fn touch(&mut self, key: &[u8], by: Option<Tracker>) {
        for length in self.lengths.keys() {
            let Some(prefix) = key.get(..*length) else {
                return;
            };
            if let Some(under) = self.all.get_mut(prefix) {
                under.changed.insert(key.into(), by);
                self.stirred = true;
            }
        }
    }

    /// Names whom to tell, a message with all that has changed, and that with those who
    /// have changed it; then forgets it.
    pub(super) fn take(&mut self, mut tell: impl FnMut(Tracker, &Bytes, &Changed)) {
        if !std::mem::take(&mut self.stirred) {
            return;
        }
        for under in self.all.values_mut() {
            let changed = std::mem::take(&mut under.changed);
            if changed.is_empty() {
                continue;
            }
            let keys: Vec<&[u8]> = changed.keys().map(|key| &**key).collect();
            let message = message_of(keys.into_iter());
            for tracker in &under.trackers {
                tell(*tracker, &message, &changed);
            }
        }
    }
}
