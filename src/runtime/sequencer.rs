//! Numbers what cores send each other, so that all open it in one order.
//!
//! A core that sends boxes takes the next *stamp* for all of them. From before that
//! until they are in the queues of their receivers its *door* is open; it says from
//! which stamp on. What lies below the smallest open door, and below the next stamp,
//! has arrived: that is the *frontier* up to which a core may open what it has
//! received. (Why this is one history: `shards::order`.)
//!
//! ```text
//!   send:    door := next   stamp := next++   push … push   door := shut
//!   receive: frontier := max(passed, min(next, all doors))   passed := frontier
//!            pop all   open those below it
//! ```
//!
//! Whoever computes a frontier above a stamp has read `next` after that stamp was
//! taken, so it sees the door that was opened before; or that it has been shut, and
//! then it sees what was pushed meanwhile. Nobody waits for a core that does not
//! send, be it asleep or busy.
//!
//! A door may be opened with a stamp that others have taken and pushed meanwhile; who
//! looks at it then is told less than others were told before. So what has once been
//! a frontier is kept for all (`passed`), and the frontier never goes back, whoever asks:
//! if one core has opened a box and answered, no other has to leave it shut later.

use shards::ShardId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The door of a core that is not about to send.
const SHUT: u64 = u64::MAX;

/// What all cores share. Lines of the cache are shared by doors on purpose: they are
/// read far more often than written.
struct Counter {
    next: AtomicU64,
    /// The greatest frontier so far. Beside `next`, as who needs one needs the other.
    passed: AtomicU64,
    doors: Box<[AtomicU64]>,
}

/// One core's end.
pub struct Sequencer {
    id: ShardId,
    counter: Arc<Counter>,
    /// The own door is open.
    is_open: bool,
    /// The last frontier, and whether it was the next stamp, too.
    frontier: u64,
    is_whole: bool,
}

/// One for each core.
pub fn sequencers(cores: u16) -> Vec<Sequencer> {
    let counter = Arc::new(Counter {
        // 0 stands for no stamp.
        next: AtomicU64::new(1),
        passed: AtomicU64::new(1),
        doors: (0..cores).map(|_| AtomicU64::new(SHUT)).collect(),
    });
    let end = |id| Sequencer {
        id: ShardId(id),
        counter: Arc::clone(&counter),
        is_open: false,
        frontier: 0,
        is_whole: false,
    };
    (0..cores).map(end).collect()
}

impl Sequencer {
    /// A stamp for what is to be sent, all of which must be pushed before
    /// [`Sequencer::shut`].
    #[inline]
    pub fn stamp(&mut self) -> u64 {
        let Counter { next, doors, .. } = &*self.counter;
        // If it is still open, what was to be sent then is still to be sent.
        if !std::mem::replace(&mut self.is_open, true) {
            doors[self.id.index()].store(next.load(Ordering::Relaxed), Ordering::SeqCst);
        }
        next.fetch_add(1, Ordering::SeqCst)
    }

    /// Everything that has a stamp of this core is pushed.
    #[inline]
    pub fn shut(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.counter.doors[self.id.index()].store(SHUT, Ordering::Release);
        }
    }

    /// The stamp below which everything has been pushed. What is popped after this
    /// call contains it.
    #[inline]
    pub fn frontier(&mut self) -> u64 {
        let Counter {
            next,
            passed,
            doors,
        } = &*self.counter;
        let next = next.load(Ordering::SeqCst);
        if self.is_whole && next == self.frontier {
            return next;
        }
        let doors = doors.iter().map(|door| door.load(Ordering::SeqCst)).min();
        let frontier = doors.unwrap_or(SHUT).min(next);
        let before = passed.load(Ordering::SeqCst);
        self.frontier = match frontier > before {
            true => passed.fetch_max(frontier, Ordering::SeqCst).max(frontier),
            false => before,
        };
        self.is_whole = self.frontier == next;
        self.frontier
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    #[test]
    fn the_frontier_stands_before_what_is_not_pushed() {
        let mut ends = sequencers(2);
        let mut other = ends.pop().expect("two cores");
        let mut own = ends.pop().expect("two cores");
        assert_eq!((own.frontier(), other.frontier()), (1, 1));
        assert_eq!(own.stamp(), 1);
        assert_eq!(other.stamp(), 2);
        other.shut();
        assert_eq!((own.frontier(), other.frontier()), (1, 1));
        // Still not pushed, and more with it.
        assert_eq!(own.stamp(), 3);
        assert_eq!(other.frontier(), 1);
        own.shut();
        assert_eq!((own.frontier(), other.frontier()), (4, 4));
        other.shut();
        assert_eq!(other.stamp(), 4);
        assert_eq!(own.frontier(), 4);
    }

    /// No core computes a frontier below one that another has had before.
    #[test]
    fn the_frontier_never_goes_back() {
        const CORES: u16 = 4;
        const ROUNDS: u32 = 12_000_000;
        let greatest = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for mut end in sequencers(CORES) {
                let greatest = &greatest;
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        if round % 3 > 0 {
                            end.stamp();
                            end.shut();
                        }
                        let before = greatest.load(Ordering::SeqCst);
                        let frontier = end.frontier();
                        assert!(frontier >= before, "{frontier} after {before}");
                        greatest.fetch_max(frontier, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    /// Every receiver has what lies below its frontier when it has computed it.
    #[test]
    fn what_lies_below_the_frontier_has_arrived() {
        const CORES: u16 = 4;
        const SENDS: usize = 20_000;
        let pairs: Vec<_> = (0..CORES).map(|_| channel::<u64>()).collect();
        let (senders, receivers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let seen = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for (mut end, receiver) in sequencers(CORES).into_iter().zip(receivers) {
                let senders = senders.clone();
                let seen = &seen;
                scope.spawn(move || {
                    let (mut below, mut got) = (0, Vec::new());
                    let own = end.id.index();
                    for _ in 0..SENDS {
                        let stamp = end.stamp();
                        for (_, sender) in (0..).zip(&senders).filter(|(to, _)| *to != own) {
                            sender.send(stamp).expect("receivers outlive senders");
                        }
                        end.shut();
                        let frontier = end.frontier();
                        while let Ok(stamp) = receiver.try_recv() {
                            assert!(stamp >= below, "{stamp} came after {below} was given out");
                            got.push(stamp);
                        }
                        below = frontier;
                    }
                    drop(senders);
                    seen.lock().expect("nobody fails").push(receiver);
                });
            }
        });
    }
}
