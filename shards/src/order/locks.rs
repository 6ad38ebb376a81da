//! The locks on one shard: one FIFO queue per locked key, and one for the
//! whole shard.
//!
//! A ticket asks for all its locks here at once and waits in the queue of each
//! of its keys. The granted part of a queue is its front: one exclusive ticket
//! or a run of shared ones.
//!
//! A ticket on the whole shard waits until everything that came before it is
//! over; everything that comes after it waits in `behind` until it is over.
//! But while it only reads, and has been granted, tickets that only read come in
//! beside it until the first that wants to write: nothing that holds a lock ever
//! waits for them, so the order of tickets stays the coordinator's. A long read
//! of a whole shard thus holds up writes only.
//!
//! A read without a ticket holds nothing, so it passes writes that wait behind a
//! read of the whole shard: they have not run anywhere yet, and it keeps nobody
//! waiting. Otherwise it overtakes nobody.
//!
//! Costs: asking is one look-up of the key; taking and leaving a queue is
//! constant but for the readers that hold a key together.

use super::batch::{Lock, Scope, Ticket};
use hashbrown::HashMap;
use std::collections::VecDeque;

type Map<K, V> = HashMap<K, V, ahash::RandomState>;

struct Place {
    ticket: Ticket,
    exclusive: bool,
}

/// The tickets on one key, first come first.
#[derive(Default)]
struct Queue {
    places: VecDeque<Place>,
    /// The first so many places are granted.
    granted: usize,
    /// So many places are exclusive, granted or not.
    exclusive: usize,
}

impl Queue {
    /// Whether one that comes now need not wait.
    fn is_free(&self, exclusive: bool) -> bool {
        self.places.is_empty() || (!exclusive && self.exclusive == 0)
    }

    /// Whether the first place that is not granted can be.
    fn next_is_free(&self) -> bool {
        let shared = |place: &Place| !place.exclusive;
        match (self.places.front(), self.places.get(self.granted)) {
            (Some(first), Some(next)) => self.granted == 0 || (shared(first) && shared(next)),
            _ => false,
        }
    }
}

/// A ticket that has come but not gone.
struct Holding {
    locks: Vec<Lock>,
    /// Locks it still waits for.
    missing: usize,
}

/// The ticket on the whole shard.
struct Whole {
    ticket: Ticket,
    granted: bool,
    exclusive: bool,
    /// Others on the whole shard that have come in beside it.
    beside: Vec<Ticket>,
}

impl Whole {
    fn is_read(&self) -> bool {
        self.granted && !self.exclusive
    }
}

/// Emptied queues that are kept, and the capacity up to which one is.
const SPARE_QUEUES: usize = 256;
const SPARE_PLACES: usize = 16;

/// The locks on one shard.
pub struct Locks {
    keys: Map<u64, Queue>,
    tickets: Map<Ticket, Holding>,
    whole: Option<Whole>,
    behind: VecDeque<(Ticket, Vec<Lock>)>,
    /// Emptied queues, to be used again: most last as long as one transaction.
    spare: Vec<VecDeque<Place>>,
}

impl Default for Locks {
    fn default() -> Self {
        // Keys are hashes already; the seeds need not be secret.
        let state = ahash::RandomState::with_seeds(1, 2, 3, 4);
        Self {
            keys: Map::with_hasher(state.clone()),
            tickets: Map::with_hasher(state),
            whole: None,
            behind: VecDeque::new(),
            spare: Vec::new(),
        }
    }
}

impl Locks {
    /// Whether nobody holds or wants a lock.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Whether a ticket has come and not gone.
    #[inline]
    pub fn knows(&self, ticket: Ticket) -> bool {
        self.tickets.contains_key(&ticket)
    }

    /// A ticket asks for its locks on this shard, all at once; each scope at
    /// most once. Whether it has them all; if not, a [`Locks::release`] will
    /// say when.
    pub fn lock(&mut self, ticket: Ticket, locks: Vec<Lock>) -> bool {
        let beside = self.behind.is_empty() && self.lets_in(&locks);
        if self.whole.is_some() && !beside {
            self.behind.push_back((ticket, locks));
            return false;
        }
        self.come_in(ticket, locks)
    }

    /// Whether the ticket on the whole shard lets others with these locks in
    /// beside it.
    fn lets_in(&self, locks: &[Lock]) -> bool {
        self.whole.as_ref().is_some_and(Whole::is_read) && !wants_to_write(locks)
    }

    /// [`Locks::lock`] of a ticket that need not wait behind one on the whole shard.
    fn come_in(&mut self, ticket: Ticket, locks: Vec<Lock>) -> bool {
        if let [
            Lock {
                scope: Scope::Shard,
                exclusive,
            },
        ] = locks[..]
        {
            let granted = self.whole.is_some() || self.tickets.is_empty();
            match &mut self.whole {
                Some(whole) => whole.beside.push(ticket),
                None => {
                    self.whole = Some(Whole {
                        ticket,
                        granted,
                        exclusive,
                        beside: Vec::new(),
                    });
                }
            }
            self.tickets.insert(
                ticket,
                Holding {
                    locks,
                    missing: usize::from(!granted),
                },
            );
            return granted;
        }
        let mut missing = 0;
        for lock in &locks {
            let Scope::Key(key) = lock.scope else {
                continue;
            };
            let spare = &mut self.spare;
            let queue = self.keys.entry(key).or_insert_with(|| Queue {
                places: spare.pop().unwrap_or_default(),
                ..Queue::default()
            });
            if queue.is_free(lock.exclusive) {
                queue.granted += 1;
            } else {
                missing += 1;
            }
            queue.exclusive += usize::from(lock.exclusive);
            queue.places.push_back(Place {
                ticket,
                exclusive: lock.exclusive,
            });
        }
        self.tickets.insert(ticket, Holding { locks, missing });
        missing == 0
    }

    /// Whether a request for a key may run now, without a ticket.
    pub fn allows(&self, key: u64, exclusive: bool) -> bool {
        let bars = |whole: &Whole| exclusive || whole.exclusive;
        let queue = self.keys.get(&key);
        !self.whole.as_ref().is_some_and(bars) && queue.is_none_or(|queue| queue.is_free(exclusive))
    }

    /// Whether a request that concerns all keys may run now, without a ticket.
    pub fn allows_all(&self, exclusive: bool) -> bool {
        self.tickets.is_empty()
            || !exclusive
                && !self.whole.as_ref().is_some_and(|whole| whole.exclusive)
                && self.keys.values().all(|queue| queue.exclusive == 0)
    }

    /// A ticket is over on this shard. Those that have all their locks now are
    /// appended to `granted`, first come first.
    pub fn release(&mut self, ticket: Ticket, granted: &mut VecDeque<Ticket>) {
        let Some(holding) = self.tickets.remove(&ticket) else {
            return;
        };
        if let Some(whole) = &mut self.whole {
            if whole.ticket == ticket
                && let Some(next) = whole.beside.pop()
            {
                whole.ticket = next;
                return;
            }
            if whole.ticket == ticket {
                self.whole = None;
                self.come_forward(granted);
                return;
            }
            whole.beside.retain(|other| *other != ticket);
        }
        for lock in &holding.locks {
            if let Scope::Key(key) = lock.scope {
                self.leave(key, ticket, granted);
            }
        }
        if let Some(whole) = &mut self.whole
            && !whole.granted
            && self.tickets.len() == 1
        {
            whole.granted = true;
            granted.push_back(whole.ticket);
            self.come_beside(granted);
        }
    }

    /// Takes a ticket out of a key's queue and grants what follows.
    fn leave(&mut self, key: u64, ticket: Ticket, granted: &mut VecDeque<Ticket>) {
        let Some(queue) = self.keys.get_mut(&key) else {
            return;
        };
        // Who leaves has been granted, so it stands at the front.
        let at = queue.places.iter().position(|place| place.ticket == ticket);
        let Some(left) = at.and_then(|at| queue.places.remove(at)) else {
            return;
        };
        queue.granted -= usize::from(at.is_some_and(|at| at < queue.granted));
        queue.exclusive -= usize::from(left.exclusive);
        while queue.next_is_free() {
            let next = queue.places[queue.granted].ticket;
            queue.granted += 1;
            if let Some(holding) = self.tickets.get_mut(&next) {
                holding.missing -= 1;
                if holding.missing == 0 {
                    granted.push_back(next);
                }
            }
        }
        if queue.places.is_empty() {
            let left = self.keys.remove(&key);
            if let Some(Queue { places, .. }) = left
                && self.spare.len() < SPARE_QUEUES
                && places.capacity() <= SPARE_PLACES
            {
                self.spare.push(places);
            }
        }
    }

    /// The ticket on the whole shard is over: what waited behind it comes in
    /// as if it came now, up to the next of its kind.
    fn come_forward(&mut self, granted: &mut VecDeque<Ticket>) {
        while self.whole.is_none()
            && let Some((ticket, locks)) = self.behind.pop_front()
        {
            if self.come_in(ticket, locks) {
                granted.push_back(ticket);
            }
        }
        self.come_beside(granted);
    }

    /// A ticket on the whole shard has been granted: those that it lets in come in.
    fn come_beside(&mut self, granted: &mut VecDeque<Ticket>) {
        while let Some((_, locks)) = self.behind.front()
            && self.lets_in(locks)
            && let Some((ticket, locks)) = self.behind.pop_front()
        {
            if self.come_in(ticket, locks) {
                granted.push_back(ticket);
            }
        }
    }
}

/// Whether a ticket changes anything: all of its locks are of one kind.
fn wants_to_write(locks: &[Lock]) -> bool {
    locks.iter().any(|lock| lock.exclusive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ShardId;

    fn ticket(number: u32) -> Ticket {
        Ticket {
            home: ShardId(0),
            number,
            serial: 0,
        }
    }

    fn key(key: u64, exclusive: bool) -> Lock {
        Lock {
            scope: Scope::Key(key),
            exclusive,
        }
    }

    fn whole(exclusive: bool) -> Vec<Lock> {
        vec![Lock {
            scope: Scope::Shard,
            exclusive,
        }]
    }

    fn release(locks: &mut Locks, number: u32) -> Vec<u32> {
        let mut granted = VecDeque::new();
        locks.release(ticket(number), &mut granted);
        granted.into_iter().map(|ticket| ticket.number).collect()
    }

    #[test]
    fn queues_are_first_come_first_served() {
        let mut locks = Locks::default();
        assert!(locks.lock(ticket(1), vec![key(7, true), key(8, true)]));
        assert!(!locks.lock(ticket(2), vec![key(8, true), key(9, true)]));
        assert!(!locks.allows(8, false));
        assert!(locks.allows(10, true));
        assert!(!locks.lock(ticket(3), vec![key(8, false)]));
        assert_eq!(release(&mut locks, 1), [2]);
        assert_eq!(release(&mut locks, 2), [3]);
        assert!(locks.allows(8, false) && !locks.allows(8, true));
        assert_eq!(release(&mut locks, 3), [0; 0]);
        assert!(locks.is_empty() && locks.keys.is_empty());
    }

    #[test]
    fn shared_locks_are_held_together_and_no_reader_overtakes_a_writer() {
        let mut locks = Locks::default();
        assert!(locks.lock(ticket(1), vec![key(1, false)]));
        assert!(locks.lock(ticket(2), vec![key(1, false)]));
        assert!(!locks.lock(ticket(3), vec![key(1, true)]));
        assert!(!locks.lock(ticket(4), vec![key(1, false)]));
        assert!(!locks.allows(1, false) && !locks.allows_all(false));
        assert_eq!(release(&mut locks, 1), [0; 0]);
        assert_eq!(release(&mut locks, 2), [3]);
        assert_eq!(release(&mut locks, 3), [4]);
        assert_eq!(release(&mut locks, 4), [0; 0]);
        assert!(locks.is_empty());
    }

    #[test]
    fn the_whole_shard_waits_for_what_came_before_and_holds_up_what_comes_after() {
        let mut locks = Locks::default();
        assert!(locks.lock(ticket(1), vec![key(1, true)]));
        assert!(!locks.lock(ticket(2), whole(true)));
        assert!(!locks.allows(5, false), "a request after it waits");
        assert!(!locks.lock(ticket(3), vec![key(5, false)]));
        assert!(!locks.lock(ticket(4), vec![key(5, true)]));
        assert_eq!(release(&mut locks, 1), [2]);
        assert_eq!(release(&mut locks, 2), [3]);
        assert_eq!(release(&mut locks, 3), [4]);
        assert_eq!(release(&mut locks, 4), [0; 0]);
        assert!(locks.is_empty() && locks.keys.is_empty());
    }

    #[test]
    fn readers_pass_a_reader_of_the_whole_shard() {
        let mut locks = Locks::default();
        assert!(locks.lock(ticket(1), whole(false)));
        assert!(locks.allows(1, false) && !locks.allows(1, true));
        assert!(locks.lock(ticket(2), vec![key(1, false)]));
        assert!(!locks.lock(ticket(3), vec![key(1, true), key(2, true)]));
        assert!(!locks.lock(ticket(4), vec![key(3, false)]), "in order");
        assert!(locks.allows(1, false) && locks.allows_all(false));
        assert_eq!(release(&mut locks, 1), [4]);
        assert!(!locks.allows(1, false) && !locks.allows(2, false));
        assert_eq!(release(&mut locks, 2), [3]);
        assert!(!locks.allows(1, false) && !locks.allows(2, false));
        assert_eq!(release(&mut locks, 3), [0; 0]);
        assert_eq!(release(&mut locks, 4), [0; 0]);
        assert!(locks.is_empty() && locks.keys.is_empty());
    }

    #[test]
    fn several_readers_share_the_whole_shard_until_a_writer_comes() {
        let mut locks = Locks::default();
        assert!(locks.lock(ticket(1), vec![key(9, true)]));
        assert!(!locks.lock(ticket(2), whole(false)));
        assert!(!locks.lock(ticket(3), whole(false)));
        assert!(!locks.lock(ticket(4), vec![key(1, false)]));
        assert!(!locks.lock(ticket(5), vec![key(1, true)]));
        assert!(!locks.lock(ticket(6), whole(false)));
        assert!(locks.allows(1, false) && !locks.allows(9, false));
        assert_eq!(release(&mut locks, 1), [2, 3, 4]);
        assert_eq!(release(&mut locks, 2), [0; 0]);
        assert!(!locks.allows(5, true), "the other one still reads");
        assert_eq!(release(&mut locks, 4), [0; 0]);
        assert_eq!(release(&mut locks, 3), [5]);
        assert!(!locks.allows(1, false) && locks.allows(2, false));
        assert_eq!(release(&mut locks, 5), [6]);
        assert_eq!(release(&mut locks, 6), [0; 0]);
        assert!(locks.is_empty() && locks.keys.is_empty());
    }

    #[test]
    fn two_tickets_on_the_whole_shard_take_turns() {
        let mut locks = Locks::default();
        assert!(locks.lock(ticket(1), whole(true)));
        assert!(!locks.lock(ticket(2), whole(true)));
        assert_eq!(release(&mut locks, 1), [2]);
        assert_eq!(release(&mut locks, 2), [0; 0]);
        assert!(locks.is_empty());
    }
}
