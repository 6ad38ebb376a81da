//! The order of what all shards have done: how far each has come, and who puts it together.
//!
//! While that is wanted, each core gives what its shard has recorded to core 0 at the end
//! of its turn, then says in a *mark* that all cores see before what all of it stands. Core
//! 0 takes what stands before all marks, in the order of stamps (`shards::order::LogMerge`).
//!
//! ```text
//!   core 1   records ─▶ queue ─▶ mark                       sleeps
//!   core 0                         looks at marks ─▶ empties queues ─▶ takes what is complete
//! ```
//!
//! A core that sleeps says nothing and holds nobody up: it has given all that it had, and
//! what it will do stands at a frontier and an instant that are not before those at which
//! it was found asleep. For that, a core that sends it something wakes it before the
//! frontier passes what was sent ([`Core::publish`]), a core that wakes up fences before
//! it looks at the clock ([`Mesh::wake_up`](crate::runtime::mesh::Mesh::wake_up)), and
//! always opens what has come before it does anything else.
//!
//! Where records are not ended yet, which what waits for locks or goes on in slices
//! leaves, the mark stands before them, asleep or not.

use super::{Core, Message};
use crate::runtime::clock;
use shards::order::LogMerge;
use shards::{Notified, Notify, Record, ShardId, Stamp};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far each core has come.
pub struct Marks(Box<[Mark]>);

/// Before this, all that a core has recorded is in its queue to core 0.
#[derive(Default)]
struct Mark {
    turn: AtomicU64,
    within: AtomicU64,
    /// Something is not ended.
    is_open: AtomicBool,
}

impl Marks {
    /// Of cores that record nothing.
    pub fn new(cores: u16) -> Self {
        let marks = Self((0..cores).map(|_| Mark::default()).collect());
        (0..cores).for_each(|id| marks.set(ShardId(id), Stamp::LAST, false));
        marks
    }

    /// Only a core itself sets its mark. Whoever reads it meanwhile finds the one before,
    /// or none of its turn yet.
    fn set(&self, id: ShardId, stamp: Stamp, is_open: bool) {
        let (mark, (turn, within)) = (&self.0[id.index()], stamp.numbers());
        mark.is_open.store(is_open, Ordering::Release);
        mark.within.store(0, Ordering::Release);
        mark.turn.store(turn, Ordering::Release);
        mark.within.store(within, Ordering::Release);
    }

    fn get(&self, id: ShardId) -> Stamp {
        let mark = &self.0[id.index()];
        loop {
            let turn = mark.turn.load(Ordering::Acquire);
            let within = mark.within.load(Ordering::Acquire);
            if mark.turn.load(Ordering::Acquire) == turn {
                return Stamp::of_numbers((turn, within));
            }
        }
    }

    fn is_open(&self, id: ShardId) -> bool {
        self.0[id.index()].is_open.load(Ordering::Acquire)
    }
}

/// What core 0 puts together.
pub struct History {
    merge: LogMerge,
    /// How far each core had come when the marks were looked at.
    seen: Vec<Stamp>,
    /// What is notified, as it was when something was.
    wanted: Notify,
}

impl History {
    /// Of so many cores.
    pub fn new(cores: u16) -> Self {
        Self {
            merge: LogMerge::new(cores),
            seen: vec![Stamp::FIRST; usize::from(cores)],
            wanted: Notify::default(),
        }
    }

    /// Records of a core have come.
    pub fn take(&mut self, from: ShardId, records: Vec<Record>) {
        let seen = self.seen[from.index()];
        self.merge.take(from, records.into_iter(), seen);
    }
}

impl Core {
    /// Whether something that is recorded waits for other cores.
    #[inline]
    pub fn awaits_marks(&self) -> bool {
        let history = self.history.as_ref();
        history.is_some_and(|history| !history.merge.is_empty())
    }

    /// Looks how far all cores have come. What they had recorded before is in the queues
    /// that are emptied after this.
    #[inline]
    pub fn look_at_marks(&mut self) {
        if self.keeps_history || self.awaits_marks() {
            self.read_marks();
        }
    }

    #[cold]
    fn read_marks(&mut self) {
        let Some(history) = &mut self.history else {
            return;
        };
        let now = Stamp::at_once(self.sequencer.frontier(), clock::monotonic_ns());
        let sleeps = self.mesh.who_sleeps();
        for id in (0..self.shards).map(ShardId).filter(|id| *id != self.id) {
            // In this order: who sleeps has said before whether something is open.
            let sleeps = sleeps(id);
            let mark = self.shared.marks.get(id);
            history.seen[id.index()] = match sleeps && !self.shared.marks.is_open(id) {
                true => mark.max(now),
                false => mark,
            };
        }
    }

    /// What this core does at once from now on stands behind all boxes that it has opened,
    /// which are those below `frontier`.
    #[inline]
    pub fn stand(&mut self, frontier: u64) {
        if self.keeps_history {
            self.node.catch_up(self.now, frontier);
            self.node.stand(clock::monotonic_ns());
        }
    }

    /// The end of a turn: gives what was recorded to core 0, or takes there what is complete.
    #[inline]
    pub fn give_history(&mut self) {
        if self.keeps_history || self.awaits_marks() {
            self.give_records();
        }
    }

    #[cold]
    fn give_records(&mut self) {
        let (records, until, is_open) = match self.keeps_history {
            true => self.node.take_records(),
            false => (Vec::new(), Stamp::LAST, false),
        };
        let Some(history) = &mut self.history else {
            if !records.is_empty() {
                self.mesh.send(ShardId(0), Message::Records(records));
            }
            if self.mesh.has_sent_all() {
                self.shared.marks.set(self.id, until, is_open);
            }
            return;
        };
        history.merge.take(self.id, records.into_iter(), until);
        let others = (0..self.shards).map(ShardId).filter(|id| *id != self.id);
        for id in others {
            let seen = history.seen[id.index()];
            history.merge.take(id, std::iter::empty(), seen);
        }
        let (mut commands, mut notices) = (Vec::new(), Vec::<Notified>::new());
        history.merge.emit(&mut commands, &mut notices);
        let wanted = history.wanted;
        self.notify(wanted, &notices);
    }

    /// The shard keeps its history from now on, or no longer.
    pub fn keep_history(&mut self, wanted: Notify) {
        let keeps = self.shards > 1 && wanted.is_on();
        self.give_history();
        if self.keeps_history != keeps {
            // Nobody is to wait for a core that records nothing, nor to be ahead of one
            // that begins to.
            let stamp = if keeps { Stamp::FIRST } else { Stamp::LAST };
            self.shared.marks.set(self.id, stamp, false);
        }
        self.keeps_history = keeps;
        if let Some(history) = self.history.as_mut().filter(|_| keeps) {
            history.wanted = wanted;
        }
        let effects = self.node.shard_mut().effects();
        effects.notify(wanted, keeps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever looks at a mark while it is set never finds one that was not reached.
    #[test]
    fn marks_are_never_ahead() {
        const ROUNDS: u64 = 300_000;
        let marks = Marks::new(2);
        let id = ShardId(1);
        assert_eq!(marks.get(id), Stamp::LAST);
        // Stamps grow; what is within a turn may be less than in the one before.
        let stamp = |round: u64| {
            let turn = round / 3;
            Stamp::of_numbers((turn, (ROUNDS - turn) * 8 + round % 3))
        };
        marks.set(id, stamp(0), false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut before = Stamp::FIRST;
                while before < stamp(ROUNDS) {
                    let found = marks.get(id);
                    let (turn, within) = found.numbers();
                    let most = (ROUNDS - turn) * 8 + 2;
                    assert!(within <= most, "{within} in turn {turn}");
                    before = found;
                }
            });
            for round in 0..=ROUNDS {
                marks.set(id, stamp(round), false);
            }
            reader.join().expect("it finds nothing amiss");
        });
    }
}
