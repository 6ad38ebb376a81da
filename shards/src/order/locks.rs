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
//! waits for them, so the order of tickets stays that of stamps. A long read
//! of a whole shard thus holds up writes only.
//!
//! A snapshot *stands ahead* on keys whose large values it encodes: it shares them, before
//! all others, and waits for nobody. Who has been granted a key to write that it has not
//! begun to write waits for it after all. To tickets on the whole shard it is not there:
//! it follows the values wherever they go. While one is under way, something stands ahead
//! all the time, so that whoever asks looks here.
//!
//! A read without a ticket holds nothing, so it passes what waits behind a read of
//! the whole shard, but for writes of its own key and of all: what their clients sent
//! after them may have run on other shards, so whoever has seen that must not find them missing
//! here. Otherwise it overtakes nobody.
//!
//! Costs: asking is one look-up of the key; taking and leaving a queue is
//! constant but for the readers that hold a key together. A key that one ticket
//! alone holds costs a line of the table and no allocation.

use super::ticket::Ticket;
use crate::keyspace::Located;
use crate::types::Slot;
use hashbrown::hash_table::Entry;
use hashbrown::{HashMap, HashTable};
use slab::Slab;
use std::collections::VecDeque;

/// What a ticket asks for on one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    pub scope: Scope,
    pub exclusive: bool,
    /// That of the key, if it is to be written.
    pub slot: Slot,
}

impl Lock {
    /// Of a key.
    pub fn of_key(key: Located, exclusive: bool) -> Self {
        Self {
            scope: Scope::Key(key.hash),
            exclusive,
            slot: key.slot,
        }
    }

    /// Of a key that is only looked at.
    pub fn to_read(hash: u64) -> Self {
        Self {
            scope: Scope::Key(hash),
            exclusive: false,
            slot: Slot(0),
        }
    }

    /// Of the whole shard.
    pub fn of_shard(exclusive: bool) -> Self {
        Self {
            scope: Scope::Shard,
            exclusive,
            slot: Slot(0),
        }
    }

    /// The key that may be written under it.
    pub fn written(&self) -> Option<Located> {
        match self.scope {
            Scope::Key(hash) if self.exclusive => Some(Located {
                slot: self.slot,
                hash,
            }),
            _ => None,
        }
    }

    /// Puts locks in order, each scope once: of what is read and written the latter
    /// counts.
    pub fn unite(locks: &mut Vec<Self>) {
        locks.sort_unstable_by_key(|lock| (lock.scope, !lock.exclusive));
        locks.dedup_by_key(|lock| lock.scope);
    }
}

/// One key, or everything a shard has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Hash of the key, of whatever database. Two keys that share it wait for
    /// each other needlessly, which harms nothing.
    Key(u64),
    Shard,
}

/// A ticket in a queue: its number among those that hold or want locks here.
#[derive(Clone, Copy)]
struct Claim {
    holding: u32,
    exclusive: bool,
}

/// The tickets on one key, first come first. Nearly always there is one: it
/// needs no memory but the line of the table.
struct Queue {
    key: u64,
    /// The only ticket, and it is granted, unless there are more.
    only: Claim,
    /// All of them, if there are several or have been.
    all: Option<Box<Claims>>,
}

/// The claims of a queue that has been longer than one.
#[derive(Default)]
struct Claims {
    claims: VecDeque<Claim>,
    /// The first so many claims are granted.
    granted: usize,
    /// So many claims are exclusive, granted or not.
    exclusive: usize,
}

impl Queue {
    /// Whether one that comes now need not wait.
    #[inline]
    fn is_free(&self, exclusive: bool) -> bool {
        let any_exclusive = match &self.all {
            None => self.only.exclusive,
            Some(all) => all.exclusive > 0,
        };
        !exclusive && !any_exclusive
    }

    /// Room for more than one.
    fn widen(&mut self, empty: impl FnOnce() -> Box<Claims>) -> &mut Claims {
        let only = self.only;
        self.all.get_or_insert_with(|| {
            let mut all = empty();
            all.claims.push_back(only);
            all.granted = 1;
            all.exclusive = usize::from(only.exclusive);
            all
        })
    }
}

impl Claims {
    /// One more comes; whether it has to wait. One that stands last already
    /// takes no second claim: of its two wishes the stronger counts.
    fn come(&mut self, claim: Claim) -> bool {
        if let Some(last) = self.claims.back_mut()
            && last.holding == claim.holding
        {
            if !claim.exclusive || last.exclusive {
                return false;
            }
            last.exclusive = true;
            self.exclusive += 1;
            // Others that were granted to read with it must leave first.
            let waits = self.granted == self.claims.len() && self.granted > 1;
            self.granted -= usize::from(waits);
            return waits;
        }
        let granted = self.claims.is_empty() || !claim.exclusive && self.exclusive == 0;
        self.granted += usize::from(granted);
        self.exclusive += usize::from(claim.exclusive);
        self.claims.push_back(claim);
        !granted
    }

    /// One comes before all others, to share. Who had the key to itself is no longer
    /// granted it, and returned.
    fn come_first(&mut self, claim: Claim) -> Option<u32> {
        let holder = self.claims.front().filter(|_| self.granted > 0);
        let alone = holder.filter(|holder| holder.exclusive);
        let alone = alone.map(|holder| holder.holding);
        self.granted += usize::from(alone.is_none());
        self.claims.push_front(claim);
        alone
    }

    /// Whether the first claim that is not granted can be.
    fn next_is_free(&self) -> bool {
        let shared = |claim: &Claim| !claim.exclusive;
        match (self.claims.front(), self.claims.get(self.granted)) {
            (Some(first), Some(next)) => self.granted == 0 || (shared(first) && shared(next)),
            _ => false,
        }
    }

    /// A ticket goes; whether it was there.
    fn go(&mut self, holding: u32) -> bool {
        // Who goes has been granted, so it stands at the front.
        let at = self
            .claims
            .iter()
            .position(|claim| claim.holding == holding);
        let Some(gone) = at.and_then(|at| self.claims.remove(at)) else {
            return false;
        };
        self.granted -= usize::from(at.is_some_and(|at| at < self.granted));
        self.exclusive -= usize::from(gone.exclusive);
        true
    }
}

/// A ticket that has come but not gone.
struct Holding {
    ticket: Ticket,
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

/// A ticket that waits behind the one on the whole shard.
struct Behind {
    ticket: Ticket,
    locks: Vec<Lock>,
}

/// Keys for which memory is kept when none is locked.
const SPARE_KEYS: usize = 4096;

/// Memory of long queues that is kept, and the capacity up to which it is.
const SPARE: usize = 64;
const SPARE_CLAIMS: usize = 64;

/// The locks on one shard.
pub struct Locks {
    /// By key, which is a hash already.
    keys: HashTable<Queue>,
    holdings: Slab<Holding>,
    tickets: HashMap<Ticket, u32, ahash::RandomState>,
    /// How many of the tickets stand ahead.
    ahead: usize,
    whole: Option<Whole>,
    behind: VecDeque<Behind>,
    /// What tickets in `behind` are to write, and how many of them.
    written_behind: HashMap<Scope, u32, ahash::RandomState>,
    #[allow(clippy::vec_box)] // they move into queues as boxes
    spare: Vec<Box<Claims>>,
    /// Whether to note what tickets begin to wait for.
    notes_waits: bool,
    waits: Vec<Scope>,
    /// Tickets that have all their locks, and that nobody has acted on yet.
    granted: VecDeque<Ticket>,
}

impl Default for Locks {
    fn default() -> Self {
        Self {
            keys: HashTable::new(),
            holdings: Slab::new(),
            // Clients do not choose tickets: the seeds need not be secret.
            tickets: HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4)),
            ahead: 0,
            whole: None,
            behind: VecDeque::new(),
            written_behind: HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4)),
            spare: Vec::new(),
            notes_waits: false,
            waits: Vec::new(),
            granted: VecDeque::new(),
        }
    }
}

impl Locks {
    /// Whether nobody holds or wants a lock.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Whether nobody holds or wants a lock but what stands ahead.
    #[inline]
    pub fn are_all_ahead(&self) -> bool {
        self.tickets.len() == self.ahead
    }

    /// Whether a ticket has come and not gone.
    #[inline]
    pub fn knows(&self, ticket: Ticket) -> bool {
        self.tickets.contains_key(&ticket)
    }

    /// A ticket asks for its locks on this shard, all at once: the whole shard
    /// alone, or keys, each as often as it likes. Whether it has them all; if
    /// not, [`Locks::next_granted`] will name it.
    pub fn lock(&mut self, ticket: Ticket, locks: Vec<Lock>) -> bool {
        let beside = self.behind.is_empty() && self.lets_in(&locks);
        if self.whole.is_some() && !beside {
            for scope in written(&locks) {
                *self.written_behind.entry(scope).or_default() += 1;
            }
            self.behind.push_back(Behind { ticket, locks });
            return false;
        }
        self.come_in(ticket, locks)
    }

    #[cold]
    fn is_written_behind(&self, key: u64) -> bool {
        let mut scopes = [Scope::Key(key), Scope::Shard].into_iter();
        scopes.any(|scope| self.written_behind.contains_key(&scope))
    }

    /// The first of those that wait behind the ticket on the whole shard.
    fn next_behind(&mut self) -> Option<Behind> {
        let next = self.behind.pop_front()?;
        for scope in written(&next.locks) {
            if let Some(count) = self.written_behind.get_mut(&scope) {
                *count -= 1;
                if *count == 0 {
                    self.written_behind.remove(&scope);
                }
            }
        }
        Some(next)
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
                ..
            },
        ] = locks[..]
        {
            let granted = self.whole.is_some() || self.are_all_ahead();
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
            self.hold(ticket, locks, usize::from(!granted));
            if !granted && self.notes_waits {
                self.waits.push(Scope::Shard);
            }
            return granted;
        }
        // The number that it will have.
        let holding = number(self.holdings.vacant_key());
        let mut missing = 0;
        for lock in &locks {
            let Scope::Key(key) = lock.scope else {
                continue;
            };
            let claim = Claim {
                holding,
                exclusive: lock.exclusive,
            };
            let same = |queue: &Queue| queue.key == key;
            match self.keys.entry(key, same, |queue| queue.key) {
                Entry::Vacant(vacant) => {
                    vacant.insert(Queue {
                        key,
                        only: claim,
                        all: None,
                    });
                }
                Entry::Occupied(queue) => {
                    let spare = &mut self.spare;
                    let empty = || spare.pop().unwrap_or_default();
                    let waits = queue.into_mut().widen(empty).come(claim);
                    missing += usize::from(waits);
                    if waits && self.notes_waits {
                        self.waits.push(Scope::Key(key));
                    }
                }
            }
        }
        self.hold(ticket, locks, missing);
        missing == 0
    }

    fn hold(&mut self, ticket: Ticket, locks: Vec<Lock>, missing: usize) {
        let holding = self.holdings.insert(Holding {
            ticket,
            locks,
            missing,
        });
        self.tickets.insert(ticket, number(holding));
    }

    /// From now on what tickets begin to wait for is noted, or no longer.
    pub fn note_waits(&mut self, notes: bool) {
        self.notes_waits = notes;
        self.waits.clear();
    }

    #[inline]
    pub fn has_noted_waits(&self) -> bool {
        !self.waits.is_empty()
    }

    /// What tickets have begun to wait for since the last call.
    pub fn take_waits(&mut self) -> Vec<Scope> {
        std::mem::take(&mut self.waits)
    }

    /// Those to whom a key has been granted.
    pub fn holders(&self, key: u64) -> impl Iterator<Item = Ticket> {
        let queue = self.keys.find(key, |queue| queue.key == key);
        let (only, all) = match queue {
            None => (None, None),
            Some(Queue {
                all: None, only, ..
            }) => (Some(only), None),
            Some(Queue { all: Some(all), .. }) => (None, Some(all.claims.iter().take(all.granted))),
        };
        let claims = only.into_iter().chain(all.into_iter().flatten());
        claims.filter_map(|claim| Some(self.holdings.get(claim.holding as usize)?.ticket))
    }

    /// Whether somebody has been granted a key to write.
    pub fn is_held_alone(&self, key: u64) -> bool {
        let queue = self.keys.find(key, |queue| queue.key == key);
        queue.is_some_and(|queue| match &queue.all {
            None => queue.only.exclusive,
            Some(all) => {
                let holder = all.claims.front().filter(|_| all.granted > 0);
                holder.is_some_and(|holder| holder.exclusive)
            }
        })
    }

    /// Whether what was granted to a ticket is enough for this.
    pub fn holds(&self, ticket: Ticket, lock: Lock) -> bool {
        let number = self.tickets.get(&ticket);
        let holding = number.and_then(|number| self.holdings.get(*number as usize));
        let is_enough = |held: &Lock| held.scope == lock.scope && held.exclusive >= lock.exclusive;
        holding.is_some_and(|holding| holding.missing == 0 && holding.locks.iter().any(is_enough))
    }

    /// Whether somebody waits for what a ticket holds.
    pub fn is_awaited(&self, ticket: Ticket) -> bool {
        let holding = self.tickets.get(&ticket);
        let Some(holding) = holding.and_then(|at| self.holdings.get(*at as usize)) else {
            return false;
        };
        let is_awaited = |lock: &Lock| match lock.scope {
            Scope::Key(key) => {
                let queue = self.keys.find(key, |queue| queue.key == key);
                let all = queue.and_then(|queue| queue.all.as_ref());
                all.is_some_and(|all| all.granted < all.claims.len())
            }
            Scope::Shard => !self.behind.is_empty(),
        };
        self.whole.as_ref().is_some_and(|whole| !whole.granted)
            || holding.locks.iter().any(is_awaited)
    }

    /// Whether a request for a key may run now, without a ticket.
    pub fn allows(&self, key: u64, exclusive: bool) -> bool {
        let bars = |whole: &Whole| exclusive || whole.exclusive;
        let queue = self.keys.find(key, |queue| queue.key == key);
        !self.whole.as_ref().is_some_and(bars)
            && queue.is_none_or(|queue| queue.is_free(exclusive))
            && (self.written_behind.is_empty() || !self.is_written_behind(key))
    }

    /// Whether a request that concerns all keys may run now, without a ticket.
    pub fn allows_all(&self, exclusive: bool) -> bool {
        self.are_all_ahead()
            || !exclusive
                && !self.whole.as_ref().is_some_and(|whole| whole.exclusive)
                && self.written_behind.is_empty()
                && self.keys.iter().all(|queue| queue.is_free(false))
    }

    /// As [`Locks::lock`]; [`Locks::next_granted`] names the ticket when it has them all.
    pub fn queue(&mut self, ticket: Ticket, locks: Vec<Lock>) {
        if self.lock(ticket, locks) {
            self.granted.push_back(ticket);
        }
    }

    /// The next ticket that has all its locks, first come first.
    #[inline]
    pub fn next_granted(&mut self) -> Option<Ticket> {
        self.granted.pop_front()
    }

    /// Whether [`Locks::next_granted`] has any.
    pub fn has_granted(&self) -> bool {
        !self.granted.is_empty()
    }

    /// A ticket is over on this shard. [`Locks::next_granted`] names those that have now
    /// what they asked for.
    pub fn release(&mut self, ticket: Ticket) {
        let Some(number) = self.tickets.remove(&ticket) else {
            return;
        };
        let Holding { locks, .. } = self.holdings.remove(number as usize);
        if let Some(whole) = &mut self.whole {
            if whole.ticket == ticket
                && let Some(next) = whole.beside.pop()
            {
                whole.ticket = next;
                return;
            }
            if whole.ticket == ticket {
                self.whole = None;
                self.come_forward();
                return;
            }
            whole.beside.retain(|other| *other != ticket);
        }
        for lock in &locks {
            if let Scope::Key(key) = lock.scope {
                self.leave(key, number);
            }
        }
        if self.keys.is_empty() && self.keys.capacity() > SPARE_KEYS {
            self.keys = HashTable::new();
        }
        if let Some(whole) = &mut self.whole
            && !whole.granted
            && self.tickets.len() == self.ahead + 1
        {
            whole.granted = true;
            self.granted.push_back(whole.ticket);
            self.come_beside();
        }
    }

    /// A ticket stands ahead from now on, on this key if it names one. Who holds that to
    /// write has not begun to, and waits for it.
    pub fn stand_ahead(&mut self, ticket: Ticket, key: Option<u64>) {
        self.ahead += 1;
        let locks = key.map(Lock::to_read);
        self.hold(ticket, locks.into_iter().collect(), 0);
        let (Some(key), Some(holding)) = (key, self.tickets.get(&ticket)) else {
            return;
        };
        let claim = Claim {
            holding: *holding,
            exclusive: false,
        };
        let same = |queue: &Queue| queue.key == key;
        match self.keys.entry(key, same, |queue| queue.key) {
            Entry::Vacant(vacant) => {
                vacant.insert(Queue {
                    key,
                    only: claim,
                    all: None,
                });
            }
            Entry::Occupied(queue) => {
                let spare = &mut self.spare;
                let all = queue.into_mut().widen(|| spare.pop().unwrap_or_default());
                if let Some(holder) = all.come_first(claim)
                    && let Some(holding) = self.holdings.get_mut(holder as usize)
                {
                    holding.missing += 1;
                }
            }
        }
    }

    /// A ticket that stands ahead goes; see [`Locks::release`].
    pub fn stand_back(&mut self, ticket: Ticket) {
        if let Some(number) = self.tickets.remove(&ticket) {
            self.ahead -= 1;
            for lock in self.holdings.remove(number as usize).locks {
                if let Scope::Key(key) = lock.scope {
                    self.leave(key, number);
                }
            }
        }
    }

    /// The keys that a ticket may write here.
    pub fn written_by(&self, ticket: Ticket) -> Vec<Located> {
        let number = self.tickets.get(&ticket);
        let holding = number.and_then(|number| self.holdings.get(*number as usize));
        let locks = holding.iter().flat_map(|holding| &holding.locks);
        locks.filter_map(Lock::written).collect()
    }

    /// Takes a ticket out of a key's queue and grants what follows.
    #[inline]
    fn leave(&mut self, key: u64, number: u32) {
        let Ok(mut entry) = self.keys.find_entry(key, |queue| queue.key == key) else {
            return;
        };
        let queue = entry.get_mut();
        let Some(all) = &mut queue.all else {
            if queue.only.holding == number {
                entry.remove();
            }
            return;
        };
        if !all.go(number) {
            return;
        }
        while all.next_is_free() {
            let next = all.claims[all.granted].holding;
            all.granted += 1;
            if let Some(holding) = self.holdings.get_mut(next as usize) {
                holding.missing -= 1;
                if holding.missing == 0 {
                    self.granted.push_back(holding.ticket);
                }
            }
        }
        if all.claims.is_empty()
            && let (Queue { all: Some(all), .. }, _) = entry.remove()
            && self.spare.len() < SPARE
            && all.claims.capacity() <= SPARE_CLAIMS
        {
            self.spare.push(all);
        }
    }

    /// The ticket on the whole shard is over: what waited behind it comes in
    /// as if it came now, up to the next of its kind.
    fn come_forward(&mut self) {
        while self.whole.is_none()
            && let Some(next) = self.next_behind()
        {
            self.come_late(next);
        }
        self.come_beside();
    }

    /// A ticket on the whole shard has been granted: those that it lets in come in.
    fn come_beside(&mut self) {
        while let Some(next) = self.behind.front()
            && self.lets_in(&next.locks)
            && let Some(next) = self.next_behind()
        {
            self.come_late(next);
        }
    }

    fn come_late(&mut self, late: Behind) {
        if self.come_in(late.ticket, late.locks) {
            self.granted.push_back(late.ticket);
        }
    }
}

/// A number of a ticket; memory bounds them far below 2^32.
fn number(holding: usize) -> u32 {
    u32::try_from(holding).expect("fewer than 2^32 tickets")
}

/// What a ticket is to write, each as often as it names it.
fn written(locks: &[Lock]) -> impl Iterator<Item = Scope> {
    let locks = locks.iter().filter(|lock| lock.exclusive);
    locks.map(|lock| lock.scope)
}

/// Whether a ticket changes anything.
fn wants_to_write(locks: &[Lock]) -> bool {
    locks.iter().any(|lock| lock.exclusive)
}

#[cfg(test)]
mod tests;
