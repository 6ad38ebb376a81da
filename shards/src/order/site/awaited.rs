//! Requests that wait for a key of this shard to appear: BLPOP and its kin.
//!
//! What is decided here and what at their home cores stands in the node's `scattered`.
//!
//! A key that is locked when it appears is looked at when its turn comes: a ticket
//! of its own waits in the queue of the lock, behind the requests that wait there
//! already and before all that come later, so that those who wait for the key are
//! not starved by a stream of blocks. If it turns out that the first of them has
//! another key that is locked, one ticket waits for all of its keys.

use super::{Parked, Site};
use crate::command::{Args, Cargo, OwnedArgs};
use crate::error::CommandError;
use crate::order::batch::{Item, Noted};
use crate::order::call::Call;
use crate::order::locks::{Lock, Scope};
use crate::order::reply::Ran;
use crate::order::ticket::{Client, Ticket, TicketKind};
use crate::order::waiters::{Unblock, Waiter, Waiters, ending};
use crate::resp::Reply;
use crate::shard::Request;
use crate::types::{Blocked, Claim, DbIndex, ShardId, Type, UnixMs};
use hashbrown::HashSet;
use slab::Slab;

/// A key of this shard is held for a client of this core.
pub struct Offer {
    pub client: Client,
    pub ticket: Ticket,
    pub key: Box<[u8]>,
    pub read: Vec<u8>,
}

/// What came of a request that waited, when it ran again.
enum Served {
    Over,
    /// It goes on waiting.
    Waits,
    /// It has much to take, and needs its keys locked for that.
    Long,
    /// It has taken some.
    GoesOn,
}

/// A look at all who wait for a key, first come first.
#[derive(Default)]
struct Round {
    /// How many have been looked at and go on waiting.
    nth: usize,
    /// Databases in which somebody is being served, before those who come later.
    taken: Vec<DbIndex>,
    /// What somebody has looked for in vain; see [`Claim::Shares`].
    vain: Vec<(DbIndex, u64)>,
}

impl Round {
    /// Whether it is the turn of the next in the queue. One who is being served already
    /// has those wait who come later.
    fn may_serve(&mut self, waiter: &Waiter) -> bool {
        let db = waiter.call.db;
        if waiter.waiting.claim == Claim::Reads {
            return !waiter.tries;
        }
        if waiter.tries {
            self.taken.push(db);
            return false;
        }
        let is_vain = |what| self.vain.contains(&(db, what));
        match waiter.waiting.claim {
            Claim::Shares(what) if is_vain(what) => false,
            _ => !self.taken.contains(&db),
        }
    }

    /// There was nothing for the next in the queue.
    fn passes(&mut self, waiter: &Waiter) {
        if let Claim::Shares(what) = waiter.waiting.claim {
            self.vain.push((waiter.call.db, what));
        }
        self.nth += 1;
    }
}

/// Who waits here, and for what.
pub(super) struct Awaited {
    waiters: Waiters,
    /// Keys of this shard that are offered, or wait in a lock's queue.
    offers: Slab<(Box<[u8]>, Type)>,
    /// Hashes of those that wait in a queue.
    queued: HashSet<(u64, Type), ahash::RandomState>,
    /// See [`Site::begun_to_wait`].
    begun: Vec<Client>,
    /// See [`Site::take_turns`].
    turns: Vec<Client>,
}

impl Awaited {
    /// Nobody waits yet.
    pub fn new(hasher: &ahash::RandomState) -> Self {
        Self {
            waiters: Waiters::new(hasher.clone()),
            offers: Slab::new(),
            queued: HashSet::with_hasher(hasher.clone()),
            begun: Vec::new(),
            turns: Vec::new(),
        }
    }

    /// No key is held for anybody.
    pub fn offers_nothing(&self) -> bool {
        self.offers.is_empty()
    }

    /// Whether somebody may be about to be served.
    pub fn may_be_served(&self) -> bool {
        !self.offers.is_empty() || self.waiters.is_any_tried()
    }

    /// The key that a ticket was for, and the type that is waited for.
    pub fn end_offer(&mut self, ticket: Ticket) -> Option<(Box<[u8]>, Type)> {
        self.offers.try_remove(ticket.index())
    }
}

impl Site {
    /// A client of this core has begun to wait, on several shards.
    pub fn begins_to_wait(&mut self, client: Client) {
        self.awaited.begun.push(client);
    }

    /// What has appeared that somebody may wait for.
    pub fn take_appeared(&mut self) -> Vec<(Box<[u8]>, Type)> {
        if self.shard.effects().take_overturned() {
            self.look_again();
        }
        self.shard.effects().take_appeared()
    }

    /// Ends the waiting of those who have waited long enough on this shard.
    pub fn time_out(&mut self, now: UnixMs) {
        while let Some(index) = self.awaited.waiters.overdue(now) {
            let waiter = self.drop_waiter(index);
            let reply = ending(Unblock::Timeout, waiter.call.protocol);
            let (home, client, call) = (waiter.home, waiter.client, waiter.call);
            let args = waiter.args.args();
            self.answer_late(home, client, &call, args, Ran::ended(false), reply);
        }
        self.hurry_due(now);
    }

    /// How many keys are waited for here, and how many requests are to end at a
    /// deadline.
    pub fn waits(&self) -> (usize, usize) {
        self.awaited.waiters.count()
    }

    /// When [`Site::time_out`] has something to do.
    pub fn next_timeout(&self) -> Option<UnixMs> {
        let all = [self.awaited.waiters.next_deadline(), self.long.next_due()];
        all.into_iter().flatten().min()
    }

    /// Has a request for keys of this shard wait, after it said so.
    pub fn wait(
        &mut self,
        home: ShardId,
        client: Client,
        call: Call,
        args: Args<'_>,
        blocked: &Blocked,
    ) {
        self.add_waiter(Waiter {
            home,
            client,
            call: call.unread(),
            args: OwnedArgs::with_instead(args, &blocked.instead),
            waiting: blocked.waiting,
            elsewhere: false,
            by_turn: false,
            tries: false,
        });
    }

    pub fn add_waiter(&mut self, waiter: Waiter) {
        let client = waiter.client;
        if waiter.args.lack_memory() {
            // Nobody would know for which keys.
            let mut reply = Vec::new();
            Reply::new(&mut reply, waiter.call.protocol).error(&CommandError::OutOfMemory);
            let nothing = OwnedArgs::default();
            let (home, ran) = (waiter.home, Ran::ended(true));
            return self.answer_late(home, client, &waiter.call, nothing.args(), ran, reply);
        }
        if !waiter.elsewhere && waiter.home != self.id {
            self.post.tell(waiter.home, Item::Waits { client });
        } else if !waiter.elsewhere {
            self.awaited.begun.push(client);
        }
        self.awaited.waiters.add(waiter);
        self.shard.effects().set_awaited(true);
    }

    pub fn drop_waiter(&mut self, index: usize) -> Waiter {
        let waiter = self.awaited.waiters.remove(index);
        if self.awaited.waiters.is_empty() {
            self.shard.effects().set_awaited(false);
        }
        waiter
    }

    /// Clients of this core whose requests have begun to wait. Whoever learns of
    /// it may rely on it: what is sent from now on comes after.
    #[inline]
    pub fn begun_to_wait(&mut self) -> Option<Client> {
        self.awaited.begun.pop()
    }

    /// Whether a key has appeared that somebody may wait for: then
    /// [`Node::serve`](crate::order::Node::serve) must be called before anything else runs.
    #[inline]
    pub fn has_appeared(&self) -> bool {
        self.shard.has_appeared()
    }

    /// Has everybody who waits look again.
    pub fn look_again(&mut self) {
        for (key, of) in self.awaited.waiters.awaited() {
            self.shard.effects().appeared(&key, of);
        }
    }

    pub fn serve_key(&mut self, now: UnixMs, key: Box<[u8]>, of: Type) -> Option<Offer> {
        let located = self.locate(&key);
        self.next_waiter(now, &key, of, &mut Round::default())?;
        if self.allows(located, true) {
            return self.serve_free(now, key, of, None);
        }
        self.queue_for(key, of, vec![Lock::of_key(located, true)]);
        None
    }

    /// Takes a ticket, under which a key is looked at for those who wait for it;
    /// one at a time.
    pub fn queue_for(&mut self, key: Box<[u8]>, of: Type, mut locks: Vec<Lock>) {
        Lock::unite(&mut locks);
        if self.awaited.queued.insert((self.hash(&key), of)) {
            let number = self.awaited.offers.insert((key, of));
            let ticket = self.tickets.issue(TicketKind::Key, number);
            self.lock(ticket, locks);
        }
    }

    /// The turn of a key has come that somebody waits for.
    pub fn look(&mut self, now: UnixMs, ticket: Ticket) -> Option<Offer> {
        let Some((key, of)) = self.awaited.offers.get(ticket.index()).cloned() else {
            self.release_here(ticket);
            return None;
        };
        self.awaited.queued.remove(&(self.hash(&key), of));
        self.serve_free(now, key, of, Some(ticket))
    }

    /// The next of those who wait for a key for which there may be something. The round
    /// stays at it.
    fn next_waiter(
        &mut self,
        now: UnixMs,
        key: &[u8],
        of: Type,
        round: &mut Round,
    ) -> Option<usize> {
        loop {
            let index = self.awaited.waiters.nth(key, round.nth)?;
            let waiter = self.awaited.waiters.get(index);
            let db = waiter.call.db;
            if waiter.waiting.of == of && round.may_serve(waiter) {
                let ends_without = matches!(waiter.waiting.claim, Claim::Shares(_));
                if ends_without || self.shard.holds(now, db, key, of) {
                    return Some(index);
                }
            }
            round.nth += 1;
        }
    }

    /// Whether there is something for a waiter that is to be given its turn: a transaction
    /// that finds nothing would have it look here again.
    fn has_something(&mut self, now: UnixMs, index: usize) -> bool {
        let waiter = self.awaited.waiters.get(index);
        if waiter.waiting.claim == Claim::Takes {
            return true;
        }
        let request = Request {
            alone: true,
            no_touch: true,
            ..waiter.call.request(waiter.args.args())
        };
        let looked = self.shard.apply(now, &request, &mut Vec::new());
        !matches!(looked, Err(CommandError::Blocked(_)))
    }

    /// Serves those who wait for a key that nobody has locked but `ticket`.
    pub fn serve_free(
        &mut self,
        now: UnixMs,
        key: Box<[u8]>,
        of: Type,
        ticket: Option<Ticket>,
    ) -> Option<Offer> {
        let hash = self.hash(&key);
        // What those need who were looked at and go on waiting: they are first again.
        let mut needed: Vec<Lock> = Vec::new();
        let mut round = Round::default();
        while let Some(index) = self.next_waiter(now, &key, of, &mut round) {
            let waiter = self.awaited.waiters.get(index);
            if waiter.by_turn {
                match self.has_something(now, index) {
                    true => self.give_turn(index),
                    false => round.passes(self.awaited.waiters.get(index)),
                }
                continue;
            }
            if waiter.elsewhere {
                let first = self.first_ready(now, index, &key, of);
                if first == key {
                    // It has the ticket from now on.
                    return self.offer(now, index, &key, of, ticket);
                }
                self.looked(ticket);
                return self.offer(now, index, &first, of, None);
            }
            let locks = self.locks_of(&waiter.call, waiter.args.args());
            // What is done under a ticket stands where that came: meanwhile others may have
            // used a key that it has not locked.
            // And one that was to read has no place in the log for who writes.
            let free = |lock: &Lock| match (lock.scope, ticket) {
                (Scope::Shard, _) => true,
                (Scope::Key(_), Some(ticket)) => self.locks.holds(ticket, *lock),
                (Scope::Key(other), None) => other == hash || self.is_lock_free(lock),
            };
            if !locks.iter().all(free) {
                // Another of its keys is another's. First come first served: it is
                // looked at again when all of them are its.
                self.looked(ticket);
                needed.extend(locks);
                self.queue_for(key, of, needed);
                return None;
            }
            if let Some(ticket) = ticket {
                self.group(ticket, 0);
            }
            let served = self.serve_waiter(now, index, ticket);
            self.shard.effects().leave_ticket();
            match served {
                Served::Over => {}
                Served::Waits => {
                    round.passes(self.awaited.waiters.get(index));
                    needed.extend(locks);
                }
                // It has the ticket from now on.
                Served::GoesOn => return None,
                Served::Long => {
                    self.looked(ticket);
                    needed.extend(locks);
                    self.queue_for(key, of, needed);
                    return None;
                }
            }
        }
        self.looked(ticket);
        None
    }

    /// A key was looked at under a ticket, if there was one.
    pub fn looked(&mut self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            // Nothing has appeared by this alone.
            self.awaited.offers.try_remove(ticket.index());
            self.release_here(ticket);
        }
    }

    /// Runs the request of a waiter again, under `held` if there is one: that has all its
    /// keys locked.
    fn serve_waiter(&mut self, now: UnixMs, index: usize, held: Option<Ticket>) -> Served {
        let waiter = self.awaited.waiters.get(index);
        let request = waiter.call.request(waiter.args.args());
        let mut reply = Vec::new();
        let mut cargo = Cargo {
            divisible: held.is_some(),
            ..Cargo::default()
        };
        let began = (self.timing.clock)();
        let shard = &mut self.shard;
        let outcome = shard.apply_with(now, &request, &mut cargo, &mut reply);
        match outcome {
            Err(CommandError::Blocked(_)) => return Served::Waits,
            Err(CommandError::Long) => return Served::Long,
            _ => {}
        }
        let ran = Ran::of(&outcome, (self.timing.clock)().saturating_sub(began));
        let waiter = self.drop_waiter(index);
        let (home, client, call) = (waiter.home, waiter.client, waiter.call);
        if let Some(ticket) = held.filter(|_| cargo.goes_on()) {
            let request = Parked::new(home, client, call, waiter.args.args());
            self.begin_long(now, ticket, request, (cargo, ran), reply);
            return Served::GoesOn;
        }
        self.answer_late(home, client, &call, waiter.args.args(), ran, reply);
        Served::Over
    }

    /// The first of a waiter's keys here that it can be offered: `key`, or one that it
    /// named before that and for which there is something, too.
    pub fn first_ready(&mut self, now: UnixMs, index: usize, key: &[u8], of: Type) -> Box<[u8]> {
        let waiter = self.awaited.waiters.get(index);
        let db = waiter.call.db;
        let named = waiter.args.args().iter().skip(1);
        let before = named.take_while(|other| *other != key);
        let free: Vec<Box<[u8]>> = before
            .filter(|other| self.allows_key(other, true))
            .map(Box::from)
            .collect();
        let mut free = free.into_iter();
        let first = free.find(|other| self.shard.holds(now, db, other, of));
        first.unwrap_or_else(|| key.into())
    }

    /// Tells the home core of a waiter that there is something for it, which only a
    /// transaction with other shards can take.
    fn give_turn(&mut self, index: usize) {
        self.awaited.waiters.set_tries(index, true);
        let Waiter { home, client, .. } = *self.awaited.waiters.get(index);
        if home == self.id {
            self.awaited.turns.push(client);
        } else {
            self.post.tell(home, Item::Turn { client });
        }
    }

    /// Clients of this core whose turns have come, first come first.
    pub fn take_turns(&mut self) -> Vec<Client> {
        std::mem::take(&mut self.awaited.turns)
    }

    /// Locks a key for a waiter that waits on other shards, too, unless `held` has
    /// it locked already, and tells its home core what was read of it.
    pub fn offer(
        &mut self,
        now: UnixMs,
        index: usize,
        key: &[u8],
        of: Type,
        held: Option<Ticket>,
    ) -> Option<Offer> {
        self.awaited.waiters.set_tries(index, true);
        let ticket = held.unwrap_or_else(|| {
            let number = self.awaited.offers.insert((key.into(), of));
            let ticket = self.tickets.issue(TicketKind::Key, number);
            let granted = self.try_lock(ticket, vec![Lock::of_key(self.locate(key), true)]);
            assert!(granted, "the key was free just now");
            ticket
        });
        let waiter = self.awaited.waiters.get(index);
        let (home, client) = (waiter.home, waiter.client);
        let args = waiter.args.args();
        let args = OwnedArgs::new(args.get(0).into_iter().chain([key]));
        let mut read = Vec::new();
        // An error is an element that leads to nothing: the lock comes back.
        if !args.lack_memory() {
            let request = waiter.call.request(args.args());
            let _ = self.shard.apply(now, &request, &mut read);
        }
        if home == self.id {
            let key = key.into();
            return Some(Offer {
                client,
                ticket,
                key,
                read,
            });
        }
        let item = Item::Offer { client, ticket };
        let batch = self.post.batch_for(home);
        batch.push(item, [key, &read[..]].into_iter());
        None
    }

    /// Notes the keys of a request that waits on other shards, too.
    pub fn note(&mut self, home: ShardId, noted: Noted, args: OwnedArgs) {
        if let Some(index) = self.awaited.waiters.of_client(home, noted.client) {
            // It has tried in vain. What has appeared meanwhile is looked at.
            self.awaited.waiters.set_tries(index, false);
            return self.look_for(index);
        }
        self.add_waiter(Waiter {
            home,
            client: noted.client,
            call: noted.call,
            args,
            waiting: noted.waiting,
            elsewhere: true,
            by_turn: noted.by_turn,
            tries: false,
        });
    }

    /// Has the keys of a waiter of several shards looked at.
    pub fn look_for(&mut self, index: usize) {
        let waiter = self.awaited.waiters.get(index);
        for key in waiter.keys() {
            self.shard.effects().appeared(key, waiter.waiting.of);
        }
    }

    /// As [`Node::unblock`], on the shard where the request waits.
    pub fn unblock_here(&mut self, home: ShardId, client: Client, how: Unblock) {
        if let Some(index) = self.awaited.waiters.of_client(home, client) {
            if self.awaited.waiters.get(index).tries {
                // Those behind it have waited for how that ends.
                self.look_for(index);
            }
            let waiter = self.drop_waiter(index);
            let reply = ending(how, waiter.call.protocol);
            if !waiter.elsewhere && how == Unblock::Gone {
                self.post.send_in_vain(home, client, waiter.call.row);
            } else if !waiter.elsewhere {
                let failed = how == Unblock::Error;
                let args = waiter.args.args();
                self.answer_late(home, client, &waiter.call, args, Ran::ended(failed), reply);
            }
            return;
        }
        // It may wait for a lock. When it runs, it will not wait for more.
        for (_, request) in self.parked.iter_mut() {
            if request.home == home && request.client == client {
                request.call.alone = false;
            }
        }
    }

    /// Another shard holds a key for a client: it is not to be offered any here.
    /// Says whether it is sure that there is none; nothing if this shard has made an offer,
    /// too, which is an answer, or has said it to another core.
    pub fn recall(&mut self, home: ShardId, client: Client) -> Option<bool> {
        let index = self.awaited.waiters.of_client(home, client);
        let index = index.filter(|index| !self.awaited.waiters.get(*index).tries)?;
        self.awaited.waiters.set_tries(index, true);
        let args = self.awaited.waiters.get(index).args.args();
        let is_free = |key: &[u8]| self.locks.allows(self.shard.hash(key), false);
        let sure = args.iter().skip(1).all(is_free);
        if home == self.id {
            return Some(sure);
        }
        self.post.tell(home, Item::Recalled { client, sure });
        None
    }
}
